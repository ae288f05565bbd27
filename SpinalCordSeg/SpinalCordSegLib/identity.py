"""Who an image is of, without telling it: salted hashes of what its header states, and names that do not tell it.

Hashes of one salt can be compared, and say nothing else: the salt is 32 random bytes in a folder of the user's own, and
is never written beside a case.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpinalCordSegLib.errors import ConfigurationError, OutputError
from SpinalCordSegLib.files import atomic_write, file_stem, json_object, locked, user_folder

if TYPE_CHECKING:
    from SpinalCordSegLib.dicom import DicomSeries

_KEYWORDS = {"patient_id": "PatientID", "birth_date": "PatientBirthDate", "sex": "PatientSex"}
PATIENT_ID = "patient ID"
_TITLES = {"patient_id": PATIENT_ID, "birth_date": "birth date", "sex": "sex"}
# What stands in a header where the value was taken away: it names nobody.
_PLACEHOLDER = re.compile(
    r"[0x]*|9{4,}|anon(ym\w*)?\d{0,2}|unknown|unk|none|null|na|nil|empty|removed|deidentified|patient(id)?|subject|test|0*1"
)
_NO_BIRTH_DATES = ("19000101", "19700101", "18000101", "18581117", "00010101", "10000101", "99991231")
_SALT_BYTES = 32
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Identity:
    """Hashes of the patient's ID, birth date and sex, 16 hex digits; "" where the header does not state it. ``salt``:
    which salt they were made with."""

    salt: str
    patient_id: str = ""
    birth_date: str = ""
    sex: str = ""

    @classmethod
    def of(cls, known: Mapping[str, str]) -> Identity | None:
        """Of ``known_of``; None where nothing is known, or no salt can be kept."""
        salt = _salt(user_folder() / "salt") if known else None
        if salt is None:
            return None
        return cls(_hash(salt, "salt"), **{name: _hash(salt, f"{name} {text}") for name, text in known.items()})

    def is_patient(self, other: Identity) -> bool:
        """Whether both state one patient ID."""
        return bool(self.patient_id) and (self.salt, self.patient_id) == (other.salt, other.patient_id)


def known_of(stated: Callable[[str], str]) -> dict[str, str]:
    """What tells a patient from others, by fields of Identity, spelt alike; without placeholders. ``stated``: gives the
    header's text of a DICOM keyword, "" for none."""
    patient_id = re.sub(r"[\W_]+", "", stated(_KEYWORDS["patient_id"]).casefold())
    birth_date = re.sub(r"\D", "", stated(_KEYWORDS["birth_date"]))[:8]
    found = {
        "patient_id": "" if _PLACEHOLDER.fullmatch(patient_id) else patient_id.lstrip("0"),
        "birth_date": "" if len(birth_date) != 8 or birth_date in _NO_BIRTH_DATES else birth_date,
        "sex": sex if (sex := stated(_KEYWORDS["sex"]).strip().upper()) in ("M", "F") else "",
    }
    return {name: text for name, text in found.items() if text}


def differing(one: Identity | None, other: Identity | None) -> list[str]:
    """What both state, and not alike: "patient ID", "birth date", "sex"; [] where nothing can be compared."""
    if one is None or other is None or one.salt != other.salt:
        return []
    mine, theirs = asdict(one), asdict(other)
    return [title for name, title in _TITLES.items() if mine[name] and theirs[name] and mine[name] != theirs[name]]


def _hash(salt: bytes, text: str) -> str:
    return hmac.new(salt, text.encode(), hashlib.sha256).hexdigest()[:16]


@lru_cache(maxsize=4)
def _salt(path: Path) -> bytes | None:
    """Made once, for its user alone; None where it cannot be kept."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            if not path.exists():
                with atomic_write(path) as temporary:
                    temporary.touch(mode=0o600)
                    temporary.write_bytes(secrets.token_bytes(_SALT_BYTES))
        salt = path.read_bytes()
    except (OSError, OutputError) as error:
        _log.warning("no salt can be kept in your own folder, so cases do not know their patient: %s", error)
        return None
    if len(salt) == _SALT_BYTES:
        return salt
    _log.warning("%s is damaged, so cases do not know their patient: remove it", path)
    return None


# Whether a text tells who the patient is: the test that keeps names and numbers out of what we write.


_SHORTEST_PART = 3  # "Li" or "02" alone would match half of all file names
_LETTERS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ı": "i"}
)


def identity_words(texts: Iterable[str]) -> frozenset[str]:
    """The parts of names and identifiers that must not show, in every spelling that is looked for.

    Each text is split at "^", "=", "\\\\", spaces and punctuation; parts under 3 characters count only joined with the
    others ("Li^Na" gives "lina"). Identifiers count without leading zeros too. Nothing known gives an empty set.
    """
    words: set[str] = set()
    for name in (name for text in texts for name in text.split("=")):
        parts = re.findall(r"[^\W_]+", name)
        for spelling in _spellings(parts):
            joined = ["".join(spelling), "".join(reversed(spelling))]
            words.update(word for word in [*spelling, *joined] if _long_enough(word))
            words.update(bare for word in spelling if _long_enough(bare := word.lstrip("0")))
    return frozenset(words)


def _long_enough(word: str) -> bool:
    """Two letters of a script like Chinese are a name; two Latin ones are in every word."""
    return len(word) >= (_SHORTEST_PART if word.isascii() else _SHORTEST_PART - 1)


def tells_identity(text: str, words: Iterable[str]) -> bool:
    """True when ``text`` holds one of ``words``, whatever its case, accents and separators."""
    forms = {"".join(spelling) for spelling in _spellings(re.findall(r"[^\W_]+", text))}
    return any(word in form for word in words for form in forms)


def _spellings(parts: list[str]) -> list[list[str]]:
    """Without accents, once by dropping them (Müller → muller), once as they are transcribed (mueller)."""
    folded = [unicodedata.normalize("NFC", part).casefold() for part in parts]
    return [[_bare(part) for part in folded], [_bare(part.translate(_LETTERS)) for part in folded]]


def _bare(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


# A name for a case's folder, safe for any file system, that does not tell who the patient is. It is checked against
# what a DICOM header states, the JSON file that dcm2niix leaves beside a NIfTI, and the "0010|..." fields that ITK
# copies into NRRD and MetaImage files; without any of these a file's base name is the user's own choice, and kept.


_LONGEST = 64
_MAX_SIDECAR_BYTES = 1 << 20
_SIDECAR_KEYS = ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "OtherPatientIDs")
_ITK_PATIENT_GROUP = "0010|"
_ITK_FIELDS = {"PatientID": "0010|0020", "PatientBirthDate": "0010|0030", "PatientSex": "0010|0040"}
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def safe_case_name(path: Path, dicom: DicomSeries | None = None, fields: dict[str, str] | None = None) -> str:
    """The base name of a file, or description and number of a DICOM series, made safe.

    Letters and digits of any script, "-", "_", "." and "+", at most 64 characters, never beginning with "-" or ".".
    A generated code, the same every time for the same data, takes its place when nothing is left, or when it holds
    a part of the patient's name or identifiers. ``fields``: text fields of a NRRD or MetaImage header.
    """
    path = Path(path)
    if dicom is not None:
        raw = "-".join(filter(None, (dicom.description or "series", "" if dicom.number is None else str(dicom.number))))
        words = dicom.patient_words
    else:
        raw = file_stem(path)
        words = patient_words(path, fields or {})
    return safe_name(raw, words) or _code(path, dicom)


def safe_name(text: str, words: frozenset[str]) -> str:
    """A case's name of ``text``; "" where nothing is left or it holds one of ``words``, which tell the patient."""
    name = _sanitise(text)
    if not name or tells_identity(text, words):
        return ""
    return f"case-{name}" if _RESERVED.match(name) else name


def patient_words(path: Path, fields: Mapping[str, str]) -> frozenset[str]:
    """What tells the patient of an image file, by its text fields and the JSON file beside it."""
    stated = [value for key, value in fields.items() if key.startswith(_ITK_PATIENT_GROUP)]
    return identity_words([*(text for key, text in _sidecar(path).items() if key in _SIDECAR_KEYS), *stated])


def names_with_folders(path: Path, name: str, words: frozenset[str]) -> list[str]:
    """``name`` after one and after two of the folders that the file lies in, safe for any file system; none from a
    folder on that tells the patient."""
    found = []
    for folder in path.absolute().parents[:2]:
        if not _sanitise(folder.name) or tells_identity(folder.name, words):
            break
        name = _sanitise(f"{folder.name}_{name}")
        found.append(name)
    return found


def check_code(code: str) -> str:
    """A subject code given by the user, as it is. Raises ConfigurationError where no folder can be called so."""
    if not code or code != _sanitise(code) or _RESERVED.match(code):
        raise ConfigurationError(
            f'"{code}" cannot be a code: letters, digits, "-", "_", "." and "+", at most {_LONGEST}, not beginning'
            ' with "-" or "."'
        )
    return code


def _sanitise(raw: str) -> str:
    composed = unicodedata.normalize("NFC", raw)
    kept = "".join(letter if letter.isalnum() or letter in "-_.+" else "-" for letter in composed)
    return re.sub(r"-{2,}", "-", kept)[:_LONGEST].strip("-. ")


def _code(path: Path, dicom: DicomSeries | None) -> str:
    """From the series UID or the file's content, never from the name: a hashed name can be guessed back."""
    digest = hashlib.sha256()
    if dicom is not None:
        digest.update(dicom.uid.encode())
    elif path.is_file():
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return f"case-{digest.hexdigest()[:8]}"


def _sidecar(path: Path) -> dict[str, str]:
    """What the JSON file beside a NIfTI states."""
    sidecar = path.with_name(f"{file_stem(path)}.json")
    with suppress(OSError):  # none there: then it states no name
        if sidecar.stat().st_size <= _MAX_SIDECAR_BYTES:
            return {key: str(value) for key, value in json_object(sidecar).items() if value is not None}
    return {}


def stated_identity(path: Path, fields: Mapping[str, str]) -> Identity | None:
    """Of an image file that is not DICOM, by its text fields and the JSON file beside it."""
    stated = {name: fields.get(key, "") for name, key in _ITK_FIELDS.items()} | _sidecar(path)
    return Identity.of(known_of(lambda keyword: stated.get(keyword, "")))


def stated_scanner(path: Path) -> dict[str, Any] | None:
    """Manufacturer, model and field strength by the JSON file beside a NIfTI, as a case's acquisition; None without."""
    stated = _sidecar(path)
    tesla = stated.get("MagneticFieldStrength", "")
    found: dict[str, Any] = {"manufacturer": stated.get("Manufacturer"), "model": stated.get("ManufacturersModelName")}
    with suppress(ValueError):
        found["field_strength_t"] = float(tesla) if 0 < float(tesla) < 25 else None
    return found if any(found.values()) else None


def scanner_text(acquisition: Mapping[str, Any] | None) -> str:
    """ "Siemens Prisma 3 T", as far as it is known."""
    known = acquisition or {}
    tesla = known.get("field_strength_t")
    return " ".join(filter(None, (known.get("manufacturer"), known.get("model"), f"{tesla:g} T" if tesla else "")))


# What a program reports of a failure, for whoever is asked for help: without names of files and folders, which are
# named after people, and without anything that was typed about a person.


_IMAGE_NAME = re.compile(r"[^\s/\\'\"()]+\.(nii|nrrd|nhdr|mha|mhd|hdr|img|dcm|itksnap)(\.gz)?\b", re.IGNORECASE)
# Options whose values tell a person apart from others: days, ages, codes, typed names, places in a body.
_PERSONAL = ("--date", "--person", "--age", "--by", "--subject", "--disc", "--found", "--code")


def private_values(arguments: Sequence[str]) -> dict[str, str]:
    """Folders and files by their whole and their last name, and the values of personal options, given as "--x=value" or
    "--x value"."""
    found: dict[str, str] = {}
    for before, argument in zip(["", *arguments], arguments, strict=False):
        name, _equals, value = argument.partition("=")
        if before in _PERSONAL:
            name, value = before, argument
        if name in _PERSONAL:
            found |= {value: "VALUE", value.partition("=")[2]: "VALUE"}  # a disc: "C2/C3=1.0,2.0,3.0"
        elif Path(argument).is_absolute():
            found |= {argument: "FOLDER", Path(argument).name: "FOLDER"}
    return {value: text for value, text in found.items() if value}


def without_values(text: str, hidden: Mapping[str, str], *, images: bool = False) -> str:
    """``hidden``: what must not be read, and what stands in its place. ``images``: no name of an image file either."""
    for value in sorted(hidden, key=len, reverse=True):  # what lies in a folder before the folder itself
        text = re.sub(rf"(?<!\w)(?<!--){re.escape(value)}(?!\w)", lambda _: hidden[value], text)  # noqa: B023
    return _IMAGE_NAME.sub(r"IMAGE.\1", text) if images else text
