"""Cases on disk, and both their files read onto one grid.

Data is a folder (``NAME`` beside ``NAME_seg``, ``_label``, ``_mask`` or ``NAME.seg.nrrd``; ``images/NAME`` and
``labels/NAME``; nnU-Net's ``imagesTr/NAME_0000`` and ``labelsTr/NAME``; BIDS with the label maps in
``derivatives/labels``; DICOM folders; ITK-SNAP workspaces), a manifest (CSV), or one workspace.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from xml.etree import ElementTree  # noqa: TID251  (expat refuses every entity)

import numpy as np
from scipy import ndimage

from SpinalCordSegLib.dicom import is_dicom_file
from SpinalCordSegLib.errors import GeometryError, SpinalCordSegError, TrainingDataError
from SpinalCordSegLib.files import file_stem, file_suffix, is_plain_name, json_object, read_table
from SpinalCordSegLib.identity import scanner_text, stated_scanner
from SpinalCordSegLib.image_io import (
    cord_value,
    is_volume_file,
    read_image,
    read_labels,
    select_label,
)
from SpinalCordSegLib.volume import Volume, difference, place_on

_log = logging.getLogger(__name__)

# One labelled case as it lies on disk, and what its file names say.


LABEL_ENDINGS = (
    "_seg-manual", "_seg", "-seg", "_segmentation", "_label-sc_seg", "_label-sc_mask", "_label", "-label", "_labels",
    "_mask", "-mask",
)  # fmt: skip
"""In small letters; a file may have capitals."""

_FIRST_CHANNEL = "_0000"  # nnU-Net's ending of an image: imagesTr/NAME_0000 and labelsTr/NAME
CORD_ENDING = "_cord"  # of a label map, or of an image of the cord
_SUBJECT = re.compile(r"sub-([a-zA-Z0-9]+)")
_VISIT = r"[_-]?((?=[a-z]*[0-9])[0-9a-z]+|(?<=-)[a-z]+)"  # "1", "02", "m12"; letters alone as BIDS has them: "ses-pre"
# What follows a session is cut off only behind a number, the patient's: of "MS_session1_001" it is yet to come.
_WORD = rf"(ses(sion)?|visit|(v|tp)(?=[0-9])){_VISIT}"
_SESSION_ON = re.compile(rf"^(.*?[0-9](.*?[0-9a-z])?)[_-]{_WORD}([_-].*)?$", re.IGNORECASE)
_SESSION_END = re.compile(rf"(?<=[0-9a-z])([_-]{_WORD}|ses(sion)?{_VISIT})$", re.IGNORECASE)


@dataclass(frozen=True)
class LabelledCase:
    """``image``: a file or a DICOM folder. ``subject``: whose case; all cases of one stay on one side of a split.

    ``label_value``: the cord's, where it is told. ``label_names``: (value, name) of the labels. ``series``: which of
    several DICOM series. ``facts``: further columns, as ("site", "Oslo"), names in lower case. ``tolerant``: a label
    map on another grid is resampled.
    """

    name: str
    subject: str
    image: Path
    label: Path
    label_value: int | None = None
    label_names: tuple[tuple[int, str], ...] = ()
    series: str | None = None
    facts: tuple[tuple[str, str], ...] = ()
    tolerant: bool = False


@dataclass(frozen=True)
class MatchedFiles:
    """``problems``: names of files that belong to no case, each with the reason. ``unlabelled``: images without map."""

    cases: tuple[LabelledCase, ...]
    problems: tuple[tuple[str, str], ...]
    unlabelled: tuple[Path, ...] = ()


def subject_of(path: Path) -> str:
    """Whose image: BIDS "sub-X" of the name or a folder, else the file's stem up to a session that follows a number; a
    session at the end of either is cut off, too.

    "sub-9709Ses1_run-1_T2starw" and "sub-9709Ses2_…" are both 9709; "P07_ses-1_T1w", "P07_visit2" and "P07_v3_T1w" are
    all P07; "MS_session1_001" stays whole.
    """
    found = _SUBJECT.search(path.name) or _SUBJECT.search(str(path))
    name = found.group(1) if found else _SESSION_ON.sub(r"\1", file_stem(path))
    return _SESSION_END.sub("", name)


def label_stem(path: Path) -> str | None:
    """The name of the image that this file labels; None for an image."""
    name = file_stem(path)
    ending = next((one for one in sorted(LABEL_ENDINGS, key=len, reverse=True) if name.lower().endswith(one)), None)
    if ending is None:
        return name if file_suffix(path) == ".seg.nrrd" else None
    return name[: -len(ending)]


# A table that names the cases: one row each, paths relative to the table.


SUFFIXES = (".csv", ".tsv")
_NAMES = {
    "image": ("image", "imagepath", "volume"),
    "label": ("label", "labelpath", "segmentation", "mask", "seg"),
    "name": ("name", "case"),
    "subject": ("subject", "subjectid", "patient", "patientid", "participant", "participantid", "person", "personid"),
    "session": ("session", "visit", "sessionid"),
    "label_value": ("labelvalue", "value"),
    "series": ("series",),
}


def read_manifest(path: Path) -> MatchedFiles:
    """Columns ``image`` and ``label``; further ones: ``name``, ``subject``, ``session``, ``label_value`` (the cord's),
    ``series`` (of a DICOM folder). All others (site, scanner, …) are kept as facts. Rows that cannot be a case are
    problems.

    Raises InputFileError when the table cannot be read, TrainingDataError when it lacks a column or holds no row.
    """
    rows = read_table(path)
    head = rows[0][1] if rows else {}
    plain = {re.sub(r"[\W_]", "", name): name for name in head}  # "Patient ID" is patient_id and PatientID
    columns = {kind: next((plain[name] for name in names if name in plain), "") for kind, names in _NAMES.items()}
    for kind in ("image", "label"):
        if not columns[kind]:
            found = f"its columns are {', '.join(head)}" if head else "it holds no row"
            raise TrainingDataError(
                f"{path.name}: the column {kind} is missing ({found}); a manifest needs image,label"
            )
    if not columns["subject"]:
        _log.warning("%s has no column subject: the names of the images tell whose they are", path.name)
    cases: dict[str, LabelledCase] = {}
    problems: list[tuple[str, str]] = []
    images: dict[tuple[Path, str | None], str] = {}
    for line, row in rows:
        try:
            case = _manifest_case(path, row, columns)
            if case.name in cases:
                raise TrainingDataError(f"another row is called {case.name} too; give a column name")
            if (case.image, case.series) in images:
                raise TrainingDataError(f"row {images[case.image, case.series]} names the same image; keep one")
        except TrainingDataError as error:
            problems.append(((path.parent / row.get(columns["image"], "")).name, f"{path.name}, line {line}: {error}"))
            continue
        cases[case.name] = case
        images[case.image, case.series] = case.name
    return MatchedFiles(tuple(cases.values()), tuple(problems))


def _manifest_case(path: Path, row: dict[str, str], columns: dict[str, str]) -> LabelledCase:
    cell = {kind: row.get(name, "") for kind, name in columns.items()}
    if not cell["image"] or not cell["label"]:
        raise TrainingDataError(f"the {'image' if not cell['image'] else 'label'} is missing")
    image, label = path.parent / cell["image"], path.parent / cell["label"]
    for one in (image, label):
        if not one.exists():
            raise TrainingDataError(f"{one.name} does not exist; check the path")
    if image == label:
        raise TrainingDataError("image and label are the same file")
    if cell["label_value"] and not _is_value(cell["label_value"]):
        raise TrainingDataError(f"label_value {cell['label_value']} is not a whole number")
    name = cell["name"] or "_".join(part for part in (cell["subject"], cell["session"], file_stem(image)) if part)
    if not is_plain_name(name):  # results are called so
        raise TrainingDataError(f'"{name}" cannot be the name of a case: leave out / and \\')
    relative, known = Path(cell["image"]), set(columns.values())
    return LabelledCase(
        name,
        cell["subject"] or subject_of(relative),
        image,
        label,
        int(cell["label_value"]) if cell["label_value"] else None,
        (),
        cell["series"] or None,
        tuple((name, value) for name, value in row.items() if name not in known and value),
    )


def _is_value(text: str) -> bool:
    """A whole number that a label map can hold."""
    return text.isdecimal() and len(text) < 10


# ITK-SNAP workspaces (.itksnap): main image, segmentation, label names; moved layers are refused.
#
# The file is XML with a document type inside, as ITK-SNAP writes it. Entities and everything that would be fetched
# from elsewhere are refused, so that a workspace can neither read other files nor grow without bound.


SUFFIX = ".itksnap"
_MOST_BYTES = 16 << 20
_FOREIGN = re.compile(rb"<!ENTITY|<!DOCTYPE[^\[>]*\b(SYSTEM|PUBLIC)\b")


def read_workspace(path: Path) -> LabelledCase:
    """The case that a workspace describes.

    Raises TrainingDataError: not XML of ITK-SNAP, entities in it, no or several main images or segmentations, a layer
    with a transform, a layer file that is not there.
    """
    entries = _entries(path)
    found: dict[str, dict[str, str]] = {}
    for place, value in entries.items():
        folder, layer, key = (*place.split("/", 2), "", "")[:3]
        if folder == "Layers" and layer.startswith("Layer"):
            found.setdefault(layer, {})[key] = value
    layers = [found[name] for name in sorted(found)]
    drawn = [one for one in layers if one.get("Role") == "SegmentationRole"]
    if len(drawn) > 1:
        drawn = [one for one in drawn if "cord" in _nickname(one).lower()] or drawn
    files = []
    for chosen, what in (([one for one in layers if one.get("Role") == "MainRole"], "main image"),
                         (drawn, "segmentation")):  # fmt: skip
        if len(chosen) != 1:
            raise TrainingDataError(
                f"{path.name}: holds {len(chosen) or 'no'} {what} layers, expected one; save it with one"
            )
        if chosen[0].get("ImageTransform/IsIdentity", "1").lower() not in ("1", "true"):
            raise TrainingDataError(
                f"{path.name}: the {what} is moved by a transform; resample it in ITK-SNAP and save without transform"
            )
        files.append(_layer_file(chosen[0].get("AbsolutePath", ""), entries.get("SaveLocation", ""), path))
    image, label = files
    main = next(one for one in layers if one.get("Role") == "MainRole")
    names = []
    for key, index in main.items():
        if key.startswith("ProjectMetaData/IRIS/LabelTable/") and key.endswith("/Index") and _is_value(index):
            names.append((int(index), main.get(key.removesuffix("Index") + "Label", "")))
    name = path.name[: -len(SUFFIX)]
    subject = subject_of(image) if "sub-" in image.name else subject_of(Path(name + ".nii"))
    return LabelledCase(name, subject, image, label, None, tuple(sorted(one for one in names if one[0] != 0)))


def _nickname(layer: dict[str, str]) -> str:
    file = PureWindowsPath(layer.get("AbsolutePath", "")).name
    return layer.get("LayerMetaData/CustomNickName", "") + " " + file_stem(Path(file))


def _layer_file(stored: str, saved_at: str, path: Path) -> Path:
    """Where a layer lies: as far from the workspace as it was when saved, else where it was then."""
    if not stored:
        raise TrainingDataError(f"{path.name}: a layer has no file; save the workspace in ITK-SNAP again")
    layer, before = PureWindowsPath(stored), PureWindowsPath(saved_at)  # which splits at both / and \
    candidates = [path.parent / stored.replace("\\", "/")]  # an absolute path stays as it is
    for ups, parent in enumerate((before, *before.parents) if saved_at else ()):
        if layer.is_relative_to(parent):
            candidates.insert(0, path.parent.joinpath(*[".."] * ups, *layer.relative_to(parent).parts))
            break
    for one in candidates:
        if one.exists():
            return one
    raise TrainingDataError(f"{path.name}: its layer {layer.name} is not there; move it together with its workspace")


def _entries(path: Path) -> dict[str, str]:
    """Every entry of a workspace by its place, "Layers/Layer.000/Role"."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrainingDataError(f"{path.name} cannot be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise TrainingDataError(f"{path.name} is {len(content) >> 20} MiB large, which no workspace is; save it again")
    if b"\0" in content or _FOREIGN.search(content):  # no zero byte: the pattern would not see UTF-16
        raise TrainingDataError(f"{path.name}: declares entities or foreign files, which no workspace needs; refused")
    try:
        return dict(_entries_of(ElementTree.fromstring(content)))
    except (ElementTree.ParseError, LookupError, ValueError, RecursionError) as error:  # LookupError: no such encoding
        raise TrainingDataError(f"{path.name} is not a workspace of ITK-SNAP ({error}); save it again") from error


def _entries_of(folder: ElementTree.Element, place: str = "") -> Iterator[tuple[str, str]]:
    for one in folder:
        key = place + one.get("key", "")
        if one.tag == "folder":
            yield from _entries_of(one, f"{key}/")
        elif one.tag == "entry":
            yield key, one.get("value", "")


# A label map brought onto its image's grid: as place_on does, or, where that was allowed, resampled.


_LEAST_KEPT = 0.8  # of the cord's volume must lie inside the image


def read_cord(path: Path, image: Volume, label: int | None, *, tolerant: bool = False) -> tuple[Volume, str]:
    """The cord of a label map, in any format that ITK-SNAP writes, as bool on the grid of its image; and what was done
    to bring it there, "" for nothing.

    ``tolerant`` resamples what lies on another grid (linear, at one half) when most of the cord lies inside the image.
    Raises as read_labels, select_label and place_on do.
    """
    mask = select_label(read_labels(path), label, path.name)
    try:
        placed = place_on(mask, image, (path.name, "its image"))
    except GeometryError as error:
        if not tolerant:
            raise GeometryError(f"{error}; --tolerant resamples it") from error
    else:
        if (mask.orientation, mask.shape) == (image.orientation, image.shape):
            return placed, ""
        stored = f"stored as {mask.orientation} with shape {'×'.join(map(str, mask.ijk_shape))}"
        return placed, f"{path.name}: {stored}, put on its image's grid without resampling"
    step = np.linalg.inv(mask.ijk_to_ras) @ image.ijk_to_ras
    weights = ndimage.affine_transform(
        mask.ijk.astype(np.float32), step[:3, :3], step[:3, 3], output_shape=image.ijk_shape, order=1
    )
    placed = image.with_ijk(weights >= 0.5)
    before, after = (float(of.ijk.sum()) * of.voxel_volume_mm3 for of in (mask, placed))
    if after < _LEAST_KEPT * before:
        raise GeometryError(
            f"{path.name} does not lie on its image: of {before:.0f} mm³ only {after:.0f} mm³ fall inside"
            f" ({difference(mask, image)}); it may belong to another image"
        )
    change = f"{before:.0f} mm³ became {after:.0f} mm³"
    return placed, f"{path.name}: resampled to its image ({difference(mask, image)}): {change}"


# The cases of a folder: which image, DICOM series or workspace belongs to which label map.


_OTHER_LABEL = re.compile(r"_label-(?!SC_)")  # BIDS: grey matter, discs, …; the cord's is _label-SC


def match_folder(folder: Path) -> MatchedFiles:
    """Pairs by name, workspaces, DICOM folders; what does not fit together is a problem."""
    images: dict[tuple[str, str], Path] = {}
    labels: list[Path] = []
    dicom: list[Path] = []  # folders whose own files are DICOM
    cases: list[LabelledCase] = []
    problems: list[tuple[str, str]] = []
    for where, inside, names in os.walk(folder):
        inside[:] = sorted(one for one in inside if not one.startswith("."))
        paths = [Path(where) / name for name in sorted(names) if not name.startswith(".")]
        for path in paths:
            if is_volume_file(path) and label_stem(path) is not None:
                labels += [] if _OTHER_LABEL.search(path.name) else [path]
            elif is_volume_file(path):
                before = images.get(_place(path, folder))
                if before is not None and before.parent == path.parent:
                    problems.append((path.name, "another image of that name lies beside it; keep one of the two"))
                images[_place(path, folder)] = path
            elif path.suffix.lower() == SUFFIX:
                try:
                    cases.append(read_workspace(path))
                except TrainingDataError as error:
                    problems.append((path.name, str(error).removeprefix(f"{path.name}: ")))
        if any(is_dicom_file(path) for path in [one for one in paths if not is_volume_file(one)][:3]):
            dicom.append(Path(where))
    of_workspaces = {path.resolve() for case in cases for path in (case.image, case.label)}
    pairs: dict[Path, Path] = {}
    labels.sort(key=lambda path: "_seg" not in path.name)  # a brain's "_mask" may lie beside
    for label in (one for one in labels if one.resolve() not in of_workspaces):
        image = _image_of(label, folder, images, dicom)
        if image is None:
            problems.append(
                (label.name, f"no image {label_stem(label)} belongs to this label map; add it or remove the map")
            )
        elif image in pairs:
            problems.append((label.name, f"{pairs[image].name} labels the same image; keep one of the two"))
        else:
            pairs[image] = label
    for label in (path for path in images.values() if path not in pairs):
        image = _image_beside(label, folder, images)
        if image and image not in pairs and not of_workspaces & {label.resolve(), image.resolve()}:
            pairs[image] = label
    of_folders = _named_by_folder(pairs)
    for image, label in pairs.items():
        relative, name = image.relative_to(folder) if image != folder else Path(image.name), image.name
        if not image.is_dir():
            name, bare = file_stem(image), file_stem(image).removesuffix(_FIRST_CHANNEL)
            name = bare if bare in (label_stem(label), file_stem(label)) else name  # cases may be numbered from 0000
        relative = relative.with_name(f"{name}.nii")  # a folder's name has no suffix, though it may look so
        if image in of_folders:
            relative, name = relative.parent.with_name(f"{image.parent.name}.nii"), f"{image.parent.name}_{name}"
        cases.append(LabelledCase(name, subject_of(relative), image, label))
    named: dict[str, LabelledCase] = {}
    for case in sorted(cases, key=lambda one: (one.name, str(one.image))):
        if (other := named.setdefault(case.name, case)) is not case:
            both = " and ".join(f"{one.image.parent.name}/{one.image.name}" for one in (other, case))
            reason = f"two cases are called {case.name} ({both}): give them different names, or name them in a manifest"
            problems.append((case.image.name, reason))
    taken = of_workspaces | {path.resolve() for pair in pairs.items() for path in pair}
    unlabelled = [path for path in images.values() if path.resolve() not in taken]
    unlabelled += [path for path in dicom if not any(path.resolve().is_relative_to(one) for one in taken)]
    return MatchedFiles(tuple(_with_facts(named.values(), folder)), tuple(problems), tuple(sorted(unlabelled)))


def _named_by_folder(images: Iterable[Path]) -> set[Path]:
    """Images of one name, each the only one in its folder, the folders beside each other: a folder holds a patient.

    Where a folder holds several, it may be a visit of many patients ("baseline/P01", "followup/P01").
    """
    files = [one for one in images if not one.is_dir()]
    alone = {folder for folder, count in Counter(one.parent for one in files).items() if count == 1}
    found: set[Path] = set()
    for stem in {file_stem(one) for one in files}:
        same = [one for one in files if file_stem(one) == stem]
        if len(same) > 1 and len({one.parent.parent for one in same}) == 1 and {one.parent for one in same} <= alone:
            found.update(same)
    return found


def _place(path: Path, folder: Path) -> tuple[str, str]:
    """Relative folder, without derivatives/NAME in it, and the stem: the same for an image and its BIDS label."""
    parts = list(path.relative_to(folder).parent.parts)
    if "derivatives" in parts:
        at = parts.index("derivatives")
        del parts[at : at + 2]
    return "/".join(parts), file_stem(path)


def _image_beside(label: Path, folder: Path, images: dict[tuple[str, str], Path]) -> Path | None:
    """The image file of a label map's name, in its folder, or in ``images`` beside its folder ``labels``."""
    where, own = _place(label, folder)
    name = label_stem(label) or own.removesuffix(CORD_ENDING)
    places = (where, re.sub(r"(^|/)labels(T[rs])?$", r"\1images\2", where))
    keys = [(place, named) for place in places for named in (name, name + _FIRST_CHANNEL)]
    return next((path for key in keys if (path := images.get(key, label)) != label), None)


def _image_of(label: Path, folder: Path, images: dict[tuple[str, str], Path], dicom: Sequence[Path]) -> Path | None:
    """The image a label map belongs to: a file of its name, else a DICOM folder of its name, beside or around it."""
    if (image := _image_beside(label, folder, images)) is not None:
        return image
    name = label_stem(label) or file_stem(label)
    beside, around = label.parent / name, label.parent
    if any(one.is_relative_to(beside) for one in dicom):
        return beside
    return around if around.name == name and any(one.is_relative_to(around) for one in dicom) else None


def _with_facts(cases: Iterable[LabelledCase], folder: Path) -> Iterator[LabelledCase]:
    """The cases with what participants.tsv and BIDS sidecars say of them."""
    table = folder / "participants.tsv"
    participants = {
        row.get("participant_id", "").removeprefix("sub-"): row
        for _, row in (read_table(table) if table.is_file() else ())
    }
    for case in cases:
        row = participants.get(case.subject, {}) if case.subject else {}
        facts = _sidecar(case.image) | {key: value for key, value in row.items() if value and key != "participant_id"}
        yield replace(case, facts=(*case.facts, *sorted(facts.items())))


def _sidecar(image: Path) -> dict[str, str]:
    """The scanner, from the BIDS JSON beside an image; nothing where there is none."""
    site = json_object(image.parent / f"{file_stem(image)}.json").get("InstitutionName")
    facts = {"scanner": scanner_text(stated_scanner(image)), "site": site}
    return {key: value for key, value in facts.items() if isinstance(value, str) and value}


_MOST_LISTED = 5
_MOST_CSA_MM2 = 1000.0  # mean over the slices; a cord has 50 to 100, a brain 10 000
_MOST_COVERED = 0.5  # of the image; a cord is a few per cent even of a tight crop


@dataclass(frozen=True, eq=False)
class LoadedCase:
    """``case``: as it was matched, with the scanner where the image's own header says it. ``image``: float32 voxels.
    ``mask``: bool voxels on the same grid; it may be empty. ``notes``: how the label map came there, mostly nothing."""

    case: LabelledCase
    image: Volume
    mask: Volume
    notes: tuple[str, ...] = ()


def match_files(data: Path, label: int | None = None, *, tolerant: bool = False) -> MatchedFiles:
    """Images and label maps, by name; whatever does not fit together is in ``problems``. ``label``: value of the cord
    in all maps; None leaves it to each case. ``tolerant``: as each case shall have it.

    A folder with a ``manifest.csv`` is what that table says. Raises TrainingDataError when ``data`` is missing, of
    another kind, or holds no case.
    """
    data = Path(data)
    table = data / "manifest.csv" if data.is_dir() else data
    if table.is_file() and table.suffix.lower() in SUFFIXES:
        matched = read_manifest(table)
    elif data.is_file() and data.suffix.lower() == SUFFIX:
        matched = MatchedFiles((read_workspace(data),), ())
    elif data.is_dir():
        matched = match_folder(data)
    else:
        raise TrainingDataError(
            f"{data}: is not a folder; give the folder that holds images and label maps, a manifest (.csv) or an"
            " ITK-SNAP workspace (.itksnap)"
        )
    if not matched.cases:
        reasons = "".join(f"; {name}: {reason}" for name, reason in matched.problems[:_MOST_LISTED])
        if there := [path.name for path in matched.unlabelled[:_MOST_LISTED]]:
            reasons += f"; images without one: {', '.join(there)}{' …' * (len(matched.unlabelled) > _MOST_LISTED)}"
        raise TrainingDataError(
            f"{data}: no image with a label map; expected NAME.nii.gz beside NAME_seg.nii.gz (or _label, _mask),"
            " images/NAME with labels/NAME, BIDS with derivatives/labels, an ITK-SNAP workspace, or a manifest (CSV)"
            f" with image,label{reasons}"
        )
    read_as = {"tolerant": tolerant} if label is None else {"tolerant": tolerant, "label_value": label}
    return replace(matched, cases=tuple(replace(case, **read_as) for case in matched.cases))


def load_case(case: LabelledCase) -> LoadedCase:
    """Read one case.

    Raises TrainingDataError naming the file: unreadable, NaN, several labels, another grid than the image's, an image
    without contrast, a label that covers most of it or is far larger than a cord.
    """
    try:
        read = read_image(case.image, case.series)
        image = read.volume
        chosen = cord_value(case.label_names) if case.label_value is None else case.label_value
        mask, note = read_cord(case.label, image, chosen, tolerant=case.tolerant)
        if image.ijk.min() == image.ijk.max():
            raise TrainingDataError(f"{case.image.name} holds the same value everywhere; export it again")
        n_voxels, n_slices = np.count_nonzero(mask.voxels), np.count_nonzero(mask.voxels.any(axis=(1, 2)))
        covered = float(n_voxels) / mask.voxels.size
        if covered > _MOST_COVERED:
            raise TrainingDataError(
                f"{case.label.name} calls {100 * covered:.0f} % of the image cord; cord and background may be swapped:"
                " name the cord's value with --label N"
            )
        area_mm2 = n_voxels * mask.voxel_volume_mm3 / mask.slice_mm / max(1, n_slices)
        if area_mm2 > _MOST_CSA_MM2:
            raise TrainingDataError(
                f"{case.label.name} has a mean area of {area_mm2:.0f} mm², a cord 50 to 100: is it a brain's? Give the"
                " cord's label map"
            )
    except SpinalCordSegError as error:
        raise TrainingDataError(f"case {case.name}: {error}") from error
    notes = [note] if note else []
    if case.label_value is None and chosen is not None:
        notes.append(f"label {chosen} taken as the cord by its name, {dict(case.label_names)[chosen]}")
    if read.dicom is not None and "scanner" not in dict(case.facts):
        scanner = scanner_text(vars(read.dicom))
        case = replace(case, facts=(*case.facts, ("scanner", scanner))) if scanner else case
    return LoadedCase(case, image, mask, tuple(notes))
