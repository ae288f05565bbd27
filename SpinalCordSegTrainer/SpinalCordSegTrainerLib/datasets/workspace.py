"""ITK-SNAP workspaces (.itksnap): main image, segmentation, label names; moved layers are refused.

The file is XML with a document type inside, as ITK-SNAP writes it. Entities and everything that would be fetched
from elsewhere are refused, so that a workspace can neither read other files nor grow without bound.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NoReturn
from xml.parsers import expat

from SpinalCordSegLib.errors import TrainingDataError
from SpinalCordSegTrainerLib.datasets.case import Case, session_of, stem, subject_of

SUFFIX = ".itksnap"
_MOST_BYTES = 16 << 20
_IDENTITY = ("1", "true")


@dataclass
class _Folder:
    entries: dict[str, str] = field(default_factory=dict)
    folders: dict[str, _Folder] = field(default_factory=dict)

    def at(self, *names: str) -> _Folder:
        """The folder at this path; an empty one where there is none."""
        here = self
        for name in names:
            here = here.folders.get(name, _Folder())
        return here


def read_workspace(path: Path) -> Case:
    """The case that a workspace describes.

    Raises TrainingDataError: not XML of ITK-SNAP, entities in it, no or several main images or segmentations, a layer
    with a transform, a layer file that is not there.
    """
    root = _parse(path)
    layers = [one for key, one in sorted(root.at("Layers").folders.items()) if key.startswith("Layer")]
    main = _only([one for one in layers if one.entries.get("Role") == "MainRole"], "main image", path)
    drawn = [one for one in layers if one.entries.get("Role") == "SegmentationRole"]
    if len(drawn) > 1:
        drawn = [one for one in drawn if "cord" in _nickname(one).lower()] or drawn
    label = _only(drawn, "segmentation", path)
    for layer, what in ((main, "main image"), (label, "segmentation")):
        transform = layer.at("ImageTransform").entries.get("IsIdentity", "1").lower()
        if transform not in _IDENTITY:
            raise TrainingDataError(
                f"{path.name}: the {what} is moved by a transform; resample it in ITK-SNAP and save without transform"
            )
    image_path, label_path = (_layer_file(one, root, path) for one in (main, label))
    name = path.name[: -len(SUFFIX)]
    subject = subject_of(image_path) if "sub-" in str(image_path.name) else subject_of(Path(name + ".nii"))
    return Case(name, subject, image_path, label_path, session_of(path) or session_of(image_path), None, _names(main))


def _nickname(layer: _Folder) -> str:
    told = layer.at("LayerMetaData").entries
    return told.get("CustomNickName", "") + " " + stem(Path(_last_part(layer.entries.get("AbsolutePath", ""))))


def _names(main: _Folder) -> tuple[tuple[int, str], ...]:
    table = main.at("ProjectMetaData", "IRIS", "LabelTable").folders.values()
    told = ((one.entries.get("Index", ""), one.entries.get("Label", "")) for one in table)
    return tuple(
        sorted((int(index), name) for index, name in told if index.isdecimal() and len(index) < 10 and int(index) != 0)
    )


def _only(layers: list[_Folder], what: str, path: Path) -> _Folder:
    if len(layers) != 1:
        raise TrainingDataError(
            f"{path.name}: holds {len(layers) or 'no'} {what} layers, expected one; save it with one"
        )
    return layers[0]


def _layer_file(layer: _Folder, root: _Folder, path: Path) -> Path:
    """Where a layer lies: as far from the workspace as it was when saved, else where it was then."""
    stored = layer.entries.get("AbsolutePath", "")
    if not stored:
        raise TrainingDataError(f"{path.name}: a layer has no file; save the workspace in ITK-SNAP again")
    candidates = [
        path.parent / _native(relative) for relative in _relatives(stored, root.entries.get("SaveLocation", ""))
    ]
    candidates.append(Path(stored) if Path(stored).is_absolute() else path.parent / _native(stored))
    found = next((one for one in candidates if one.exists()), None)
    if found is None:
        raise TrainingDataError(
            f"{path.name}: its layer {_last_part(stored)} is not there; move it together with its workspace"
        )
    return found


def _relatives(stored: str, saved_at: str) -> list[str]:
    kind = PureWindowsPath if "\\" in stored or ":" in stored[:3] else PurePosixPath
    where, base = kind(stored), kind(saved_at)
    if not saved_at or not where.is_absolute():
        return []
    for up, parent in enumerate((base, *base.parents)):
        if where.is_relative_to(parent):
            return ["/".join([".."] * up + list(where.relative_to(parent).parts))]
    return []


def _native(stored: str) -> Path:
    return Path(*PureWindowsPath(stored).parts) if "\\" in stored else Path(stored)


def _last_part(stored: str) -> str:
    return PureWindowsPath(stored).name


def _parse(path: Path) -> _Folder:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrainingDataError(f"{path.name} cannot be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise TrainingDataError(f"{path.name} is {len(content) >> 20} MiB large, which no workspace is; save it again")
    open_folders = [_Folder()]

    def begin(tag: str, attributes: dict[str, str]) -> None:
        key = attributes.get("key", "")
        if tag == "folder":
            open_folders.append(open_folders[-1].folders.setdefault(key, _Folder()))
        elif tag == "entry":
            open_folders[-1].entries[key] = attributes.get("value", "")

    def end(tag: str) -> None:
        if tag == "folder":
            open_folders.pop()

    def refuse(*_: object) -> NoReturn:
        raise TrainingDataError(f"{path.name}: declares entities or foreign files, which no workspace needs; refused")

    def doctype(_name: str, system: str | None, public: str | None, _inside: bool) -> None:
        if system or public:
            refuse()

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.StartDoctypeDeclHandler = doctype
    parser.EntityDeclHandler = parser.UnparsedEntityDeclHandler = parser.ExternalEntityRefHandler = refuse
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # LookupError: an encoding that does not exist
        raise TrainingDataError(f"{path.name} is not a workspace of ITK-SNAP ({error}); save it again") from error
    return open_folders[0]
