"""Who an image is of, without telling it: salted hashes of what its header states of the patient.

Hashes of one salt can be compared, and say nothing else: the salt is 32 random bytes in a folder of the user's own, and
is never written beside a case.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from SpinalCordSegLib.errors import OutputError
from SpinalCordSegLib.files import atomic_write, locked, user_folder

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
