"""The cases of a folder: which image, DICOM series or workspace belongs to which label map."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from SpinalCordSegLib.errors import TrainingDataError
from SpinalCordSegLib.images.dicom_scan import is_dicom_file
from SpinalCordSegLib.images.volume_file import is_volume_file
from SpinalCordSegLib.plain_json import parse_json
from SpinalCordSegTrainerLib.datasets.case import (
    Case,
    MatchedFiles,
    is_label_file,
    label_stem,
    session_of,
    stem,
    subject_of,
)
from SpinalCordSegTrainerLib.datasets.label_names import description_for, is_label_description, read_label_names
from SpinalCordSegTrainerLib.datasets.manifest import read_participants
from SpinalCordSegTrainerLib.datasets.workspace import SUFFIX, read_workspace

_STRONGEST_T = 100
_OTHER_LABEL = re.compile(r"_label-(?!SC_)")  # BIDS: grey matter, discs, …; the cord's is _label-SC


@dataclass
class _Found:
    """What lies in a folder, sorted; ``twice``: images beside one of the same name; ``dicom``: folders whose own files
    are DICOM."""

    images: dict[tuple[str, str], Path] = field(default_factory=dict)
    twice: list[Path] = field(default_factory=list)
    labels: list[Path] = field(default_factory=list)
    workspaces: list[Path] = field(default_factory=list)
    descriptions: list[Path] = field(default_factory=list)
    dicom: list[Path] = field(default_factory=list)


def match_folder(folder: Path) -> MatchedFiles:
    """Pairs by name, workspaces, DICOM folders; what does not fit together is told instead of refused."""
    found = _look(folder)
    problems = [(path, "another image of that name lies beside it; keep one of the two") for path in found.twice]
    cases: list[Case] = []
    for path in found.workspaces:
        try:
            cases.append(read_workspace(path))
        except TrainingDataError as error:
            problems.append((path, str(error).removeprefix(f"{path.name}: ")))
    spoken_for = {path.resolve() for case in cases for path in (case.image, case.label)}
    pairs: dict[Path, Path] = {}
    for label in (one for one in found.labels if one.resolve() not in spoken_for):
        image = _image_of(label, folder, found)
        if image is None:
            problems.append(
                (label, f"no image {label_stem(label)} belongs to this label map; add it or remove the map")
            )
        elif image in pairs:
            problems.append((label, f"{pairs[image].name} labels the same image; keep one of the two"))
        else:
            pairs[image] = label
    cases += [_case(image, label, folder) for image, label in pairs.items()]
    kept = _named(cases, problems)
    taken = spoken_for | {image.resolve() for image in pairs}
    unlabelled = [path for path in found.images.values() if path.resolve() not in taken]
    unlabelled += [path for path in found.dicom if not any(path.resolve().is_relative_to(one) for one in taken)]
    return MatchedFiles(tuple(_with_facts(kept, folder, found, problems)), tuple(problems), tuple(sorted(unlabelled)))


def _look(folder: Path) -> _Found:
    found = _Found()
    for where, inside, names in os.walk(folder):
        inside[:] = sorted(one for one in inside if not one.startswith("."))
        paths = [Path(where) / name for name in sorted(names)]
        for path in paths:
            if is_label_file(path) and (label_stem(path) is not None or not is_volume_file(path)):
                found.labels += [] if _OTHER_LABEL.search(path.name) else [path]
            elif is_volume_file(path):
                before = found.images.get(_place(path, folder))
                found.twice += [path] if before is not None and before.parent == path.parent else []
                found.images[_place(path, folder)] = path
            elif path.suffix.lower() == SUFFIX and not path.name.startswith("."):
                found.workspaces.append(path)
            elif is_label_description(path):
                found.descriptions.append(path)
        others = [path for path in paths if not (is_label_file(path) or path.name.startswith("."))]
        if any(is_dicom_file(path) for path in others[:3]):
            found.dicom.append(Path(where))
    return found


def _place(path: Path, folder: Path) -> tuple[str, str]:
    """Relative folder, without derivatives/NAME in it, and the stem: the same for an image and its BIDS label."""
    parts = list(path.relative_to(folder).parent.parts)
    if "derivatives" in parts:
        at = parts.index("derivatives")
        del parts[at : at + 2]
    return "/".join(parts), stem(path)


def _image_of(label: Path, folder: Path, found: _Found) -> Path | None:
    """The image a label map belongs to: a file of its name, else a DICOM folder of its name, beside or around it."""
    where, own = _place(label, folder)
    name = label_stem(label) or own
    image = found.images.get((where, name))
    if image is not None:
        return image
    beside, around = label.parent / name, label.parent
    if any(one.is_relative_to(beside) for one in found.dicom):
        return beside
    return around if around.name == name and any(one.is_relative_to(around) for one in found.dicom) else None


def _case(image: Path, label: Path, folder: Path) -> Case:
    relative = image.relative_to(folder) if image != folder else Path(image.name)
    name = image.name if image.is_dir() else stem(image)
    return Case(name, subject_of(relative), image, label, session_of(relative))


def _named(cases: list[Case], problems: list[tuple[Path, str]]) -> list[Case]:
    kept: dict[str, Case] = {}
    for case in sorted(cases, key=lambda one: (one.name, str(one.image))):
        if case.name in kept:
            problems.append((case.image, f"two cases are called {case.name}; give them different names"))
        kept.setdefault(case.name, case)
    return list(kept.values())


def _with_facts(cases: list[Case], folder: Path, found: _Found, problems: list[tuple[Path, str]]) -> Iterator[Case]:
    participants = read_participants(folder)
    for case in cases:
        facts = dict(_sidecar(case.image)) | dict(participants.get(case.subject, ()))
        names = case.label_names
        try:
            others = [one.name for one in cases if one is not case]
            described = description_for(case.name, others, case.label.parent, folder, found.descriptions)
            if not names and described is not None:
                names = read_label_names(described)
        except TrainingDataError as error:
            problems.append((case.label, str(error)))
            continue
        yield replace(case, facts=(*case.facts, *sorted(facts.items())), label_names=names)


def _sidecar(image: Path) -> Iterator[tuple[str, str]]:
    """The scanner, from the BIDS JSON beside an image; nothing where there is none."""
    path = image.parent / f"{stem(image)}.json"
    try:
        told = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if not isinstance(told, dict):
        return
    scanner = scanner_words(
        told.get("Manufacturer"), told.get("ManufacturersModelName"), told.get("MagneticFieldStrength")
    )
    if scanner:
        yield "scanner", scanner
    if isinstance(told.get("InstitutionName"), str):
        yield "site", told["InstitutionName"]


def scanner_words(manufacturer: object, model: object, field_t: object) -> str:
    """ "Siemens Prisma 3 T"; "" where neither maker nor model is known."""
    words = " ".join(one.strip() for one in (manufacturer, model) if isinstance(one, str) and one.strip())
    known = isinstance(field_t, (int, float)) and 0 < field_t < _STRONGEST_T  # JSON may hold any number
    return f"{words} {field_t:.2g} T" if words and known else words
