"""A corrected case added to a training set: image and label map as ITK-SNAP would leave them, and where both are from.

FOLDER/sub-CODE_ses-01.nii.gz, sub-CODE_ses-01_seg.nii.gz (1 is the cord), sub-CODE_ses-01.json (provenance, and the
scanner as BIDS names it). The trainer takes the folder as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from SpinalCordSegLib.case import Case
from SpinalCordSegLib.errors import ConfigurationError, OutputError, SpinalCordSegError, VoxelError
from SpinalCordSegLib.files import from_json, json_object, to_json, write_json
from SpinalCordSegLib.identity import Identity, differing
from SpinalCordSegLib.image_io import read_labels, write_volume
from SpinalCordSegLib.mask_versions import refuse_changed
from SpinalCordSegLib.volume import Volume, fingerprint, mask_sha256, place_on

_SUBJECT = re.compile(r"[A-Za-z0-9]{1,40}")
_SCANNER = {  # BIDS name → key of a report's acquisition
    "Manufacturer": "manufacturer",
    "ManufacturersModelName": "model",
    "MagneticFieldStrength": "field_strength_t",
}
_MOST_SESSIONS = 9999


@dataclass(frozen=True)
class TrainingCase:
    """The files of one case of a training set. ``added``: False where this image with this mask was there already."""

    image: Path
    label: Path
    provenance: Path
    added: bool = True


def add_to_training_set(
    folder: Path,
    image: Volume,
    mask: Volume,
    subject: str,
    *,
    case: Case | None = None,
    replace: bool = False,
) -> TrainingCase:
    """Write a case into ``folder`` (made when needed) as the next session of ``subject``; no file is written over.

    ``image``: as it was segmented. ``mask``: cord where not zero, on its grid. ``subject``: a code of letters and
    digits, never a name; all cases of a person have the same, so that they stay on one side of a split. ``case``:
    for model and changes. ``replace``: take the place of an earlier mask of this very image.
    Nothing of a header goes along. Raises ConfigurationError (code), GeometryError (other grid), VoxelError (empty
    mask), OutputError (this image is there for another subject, or with another mask and ``replace`` is not set; the
    system refuses).
    """
    if not _SUBJECT.fullmatch(subject):
        raise ConfigurationError(
            f'"{subject}" is not a subject code: give letters and digits, at most 40, nothing that tells who it is'
        )
    mask = place_on(mask, image)
    if not np.any(mask.voxels):
        raise VoxelError("the mask is empty: nothing can be learnt from it")
    label = mask.with_voxels((np.asarray(mask.voxels) != 0).astype(np.uint8))
    _check_subject(folder, subject, None if case is None else case.input.identity)
    provenance = _provenance(image, label, case)
    earlier = _earlier(folder, provenance["SpinalCordSeg"]["image_sha256"])
    if earlier is not None:
        if not earlier.image.name.startswith(f"sub-{subject}_"):
            raise OutputError(
                f"this very image is there as {earlier.image.name}, another subject than {subject}: give that code, or"
                f" delete {earlier.image.name}, {earlier.label.name} and {earlier.provenance.name} first"
            )
        if _label_sha256(earlier.label) == provenance["SpinalCordSeg"]["mask_sha256"]:
            if _read_provenance(earlier.provenance).get("mask_sha256") != provenance["SpinalCordSeg"]["mask_sha256"]:
                write_json(earlier.provenance, provenance)  # its writing failed
            return TrainingCase(earlier.image, earlier.label, earlier.provenance, added=False)
        if not replace:
            raise OutputError(f"{earlier.label.name} is another mask of this very image: replace it with --force")
        refuse_changed(earlier.label, _read_provenance(earlier.provenance).get("mask_sha256", ""))
    entry = earlier or _next(folder, subject)
    if earlier is None:  # the label map last: only with it the trainer takes the image for a case
        write_json(entry.provenance, provenance)
        write_volume(image.with_voxels(_plain(image.voxels)), entry.image)
        write_volume(label, entry.label)
    else:  # the provenance last: a mask that is not the one it names was changed by somebody
        write_volume(label, entry.label)
        write_json(entry.provenance, provenance)
    return entry


def _provenance(image: Volume, mask: Volume, case: Case | None) -> dict[str, Any]:
    own: dict[str, Any] = {
        "image_sha256": fingerprint(image),
        "mask_sha256": mask_sha256(mask),
        "slices_with_cord": int(np.count_nonzero(mask.voxels.any(axis=(1, 2)))),
        "reviewed_by": None,
    }
    if case is None:
        return {"SpinalCordSeg": own}
    changes, model = case.changes, case.model
    own |= {
        "mask_state": case.mask_state,
        "model": model and {name: getattr(model, name) for name in ("name", "version", "sha256", "licence")},
        "software_version": case.software_version,
        "changes": None if changes is None else {"slices": len(changes.slices), "dice": changes.dice},
        "review_state": case.review.state,
        "reviewed_by": case.review.who or None,
    }
    if case.input.identity is not None:
        own["identity"] = to_json(case.input.identity)
    acquisition = case.input.acquisition or {}
    scanner = {bids: acquisition[key] for bids, key in _SCANNER.items() if acquisition.get(key)}
    return {**scanner, "SpinalCordSeg": own}


def _check_subject(folder: Path, subject: str, who: Identity | None) -> None:
    """Raise ConfigurationError where the set holds another patient under this code, or this one under another, or a
    code of other capitals, which some disks take for the same."""
    for path in sorted(folder.glob("sub-*_ses-*.json")) if folder.is_dir() else []:
        other = path.name.removeprefix("sub-").partition("_")[0]
        try:
            whose = from_json(Identity, _read_provenance(path)["identity"])
        except (KeyError, ValueError):
            whose = None
        if other == subject:
            is_mixed = bool(differing(who, whose))
        else:
            same_capitals = other.casefold() == subject.casefold()
            is_mixed = same_capitals or (who is not None and whose is not None and who.is_patient(whose))
        if is_mixed:
            raise ConfigurationError(
                f"{path.name} in {folder} is of {'another' if other == subject else 'the same'} patient by its header,"
                f" or {other} and {subject} differ in capitals alone: give every person one code of their own"
            )


def _earlier(folder: Path, image_sha256: str) -> TrainingCase | None:
    """The case of this very image that is there already."""
    for path in sorted(folder.glob("sub-*.json")) if folder.is_dir() else []:
        if _read_provenance(path).get("image_sha256") == image_sha256:
            case = _case(folder, path.stem)
            if case.image.is_file() and case.label.is_file():
                return case
    return None


def _label_sha256(label: Path) -> str:
    """mask_sha256 of a label map that is there; "" for one that cannot be read, which is nobody's mask."""
    try:
        return mask_sha256(read_labels(label))
    except SpinalCordSegError:
        return ""


def _read_provenance(provenance: Path) -> dict[str, Any]:
    """What an earlier provenance file says of us; {} for a file of somebody else's."""
    own = json_object(provenance).get("SpinalCordSeg")
    return own if isinstance(own, dict) else {}


def _next(folder: Path, subject: str) -> TrainingCase:
    for number in range(1, _MOST_SESSIONS):
        case = _case(folder, f"sub-{subject}_ses-{number:02d}")
        if not any(path.exists() for path in (case.image, case.label, case.provenance)):
            return case
    raise OutputError(f"{folder} holds {_MOST_SESSIONS} sessions of {subject} already: choose another folder")


def _case(folder: Path, name: str) -> TrainingCase:
    return TrainingCase(folder / f"{name}.nii.gz", folder / f"{name}_seg.nii.gz", folder / f"{name}.json")


def _plain(voxels: np.ndarray) -> np.ndarray:
    """Whole numbers as int16, as scanners give them; anything else as float32."""
    if voxels.size and np.all(np.abs(voxels) < 32767) and np.array_equal(voxels, np.rint(voxels)):
        return voxels.astype(np.int16)
    return voxels.astype(np.float32)
