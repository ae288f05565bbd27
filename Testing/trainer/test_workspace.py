"""Workspaces as ITK-SNAP writes them: layers, names, moved folders, transforms, and XML that tries more."""

from __future__ import annotations

from pathlib import Path

import pytest
from cord_files import cord_label, put_case

from SpinalCordSegLib.errors import TrainingDataError
from SpinalCordSegTrainerLib.dataset import find_cases, load_case, read_workspace

DOCTYPE = """<!DOCTYPE registry [
<!ELEMENT registry (entry*,folder*)>
<!ELEMENT folder (entry*,folder*)>
<!ELEMENT entry EMPTY>
<!ATTLIST folder key CDATA #REQUIRED>
<!ATTLIST entry key CDATA #REQUIRED>
<!ATTLIST entry value CDATA #REQUIRED>
{extra}]>"""
NAMES = """<folder key="ProjectMetaData"><folder key="IRIS"><folder key="LabelTable">
<entry key="NumberOfElements" value="2"/>
<folder key="Element[0]"><entry key="Index" value="1"/><entry key="Label" value="Canal"/></folder>
<folder key="Element[1]"><entry key="Index" value="2"/><entry key="Label" value="Spinal cord"/></folder>
</folder></folder></folder>"""


def _layer(number: int, path: str, role: str, inside: str = "", nickname: str = "") -> str:
    return (
        f'<folder key="Layer[{number:03d}]"><entry key="AbsolutePath" value="{path}"/>'
        f'<entry key="Role" value="{role}"/><folder key="LayerMetaData">'
        f'<entry key="CustomNickName" value="{nickname}"/></folder>{inside}</folder>'
    )


def _transform(identity: int) -> str:
    return f'<folder key="ImageTransform"><entry key="IsIdentity" value="{identity}"/></folder>'


def _write(path: Path, layers: str, saved_at: str = "", doctype: str = DOCTYPE.format(extra="")) -> Path:
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8" ?>\n<!--ITK-SNAP (itksnap.org) Project File-->\n'
        f'{doctype}\n<registry>\n<entry key="SaveLocation" value="{saved_at}"/>\n'
        f'<entry key="Version" value="20190612"/><folder key="Layers">{layers}</folder></registry>\n',
        encoding="utf-8",
    )
    return path


def _pair(main: str = "", label: str = "") -> str:
    return _layer(0, "/was/here/img/a.nii.gz", "MainRole", NAMES + main) + _layer(
        1, "/was/here/a_seg.nii.gz", "SegmentationRole", label
    )


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """Saved in /was/here/ws, then moved: the image beside the workspace's folder in img, the label in between."""
    (tmp_path / "img").mkdir()
    (tmp_path / "ws").mkdir()
    label = cord_label(2)
    label.voxels[15:20, 16:32, 1:4] = 1
    put_case(tmp_path, "a", 0, label)
    (tmp_path / "a.nii.gz").rename(tmp_path / "img" / "a.nii.gz")
    return tmp_path


def test_layers_names_and_a_moved_folder(moved: Path) -> None:
    path = _write(moved / "ws" / "patient4_ses-02.itksnap", _pair(label=_transform(1)), "/was/here/ws")
    case = read_workspace(path)
    assert (case.name, case.subject, case.session) == ("patient4_ses-02", "patient4", "02")
    assert case.image.resolve() == moved / "img" / "a.nii.gz"
    assert case.label_names == ((1, "Canal"), (2, "Spinal cord"))
    loaded = load_case(case)
    assert loaded.mask.voxels.sum() == 10 * 16 * 3
    assert "label 2 taken as the cord by its name" in loaded.notes[0]
    assert [one.name for one in find_cases(path)] == ["patient4_ses-02"]
    assert [one.name for one in find_cases(moved)] == ["patient4_ses-02"]  # not its files a second time


def test_windows_paths(moved: Path) -> None:
    layers = _layer(0, "C:\\data\\img\\a.nii.gz", "MainRole") + _layer(1, "C:\\data\\a_seg.nii.gz", "SegmentationRole")
    case = read_workspace(_write(moved / "ws" / "w.itksnap", layers, "C:\\data\\ws"))
    assert case.label.resolve() == moved / "a_seg.nii.gz"


def test_of_several_segmentations_the_one_called_cord(moved: Path) -> None:
    more = _layer(2, "/was/here/none.nii.gz", "SegmentationRole", nickname="lesions")
    path = moved / "ws" / "w.itksnap"
    with pytest.raises(TrainingDataError, match="2 segmentation layers"):
        read_workspace(_write(path, _pair() + more, "/was/here/ws"))
    cord = _layer(1, "/was/here/a_seg.nii.gz", "SegmentationRole", nickname="Spinal cord")
    layers = _layer(0, "/was/here/img/a.nii.gz", "MainRole") + cord + more
    assert read_workspace(_write(path, layers, "/was/here/ws")).label.name == "a_seg.nii.gz"


ENTITY = DOCTYPE.format(extra='<!ENTITY leak SYSTEM "file:///etc/hostname">')
BOMB = DOCTYPE.format(extra='<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">')
PARAMETER = DOCTYPE.format(extra='<!ENTITY % p SYSTEM "file:///etc/hostname"> %p;')


@pytest.mark.parametrize(
    ("layers", "doctype", "words"),
    [
        (_pair(label=_transform(0)), DOCTYPE.format(extra=""), "segmentation is moved by a transform"),
        (_pair(main=_transform(0)), DOCTYPE.format(extra=""), "main image is moved by a transform"),
        (_layer(0, "/was/here/img/a.nii.gz", "MainRole"), "", "no segmentation layers"),
        (_pair().replace("a_seg", "b_seg"), "", "layer b_seg.nii.gz is not there"),
        (_pair(), ENTITY, "declares entities"),
        (_pair(), BOMB, "declares entities"),
        (_pair(), PARAMETER, "declares entities"),
        (_pair(), '<!DOCTYPE registry SYSTEM "http://example.org/registry.dtd">', "declares entities or foreign files"),
        ("<folder", "", "not a workspace"),
    ],
)
def test_refused(layers: str, doctype: str, words: str, moved: Path) -> None:
    with pytest.raises(TrainingDataError, match=words):
        read_workspace(_write(moved / "ws" / "w.itksnap", layers, "/was/here/ws", doctype))


@pytest.mark.parametrize("encoding", ["UTF-nothing", "UTF1e308", "idna", "\u00e4"])
def test_an_encoding_that_does_not_exist(moved: Path, encoding: str) -> None:
    path = _write(moved / "ws" / "w.itksnap", _pair())
    path.write_text(path.read_text(encoding="utf-8").replace("UTF-8", encoding, 1), encoding="utf-8")
    assert encoding in path.read_text(encoding="utf-8")
    with pytest.raises(TrainingDataError, match="not a workspace"):
        read_workspace(path)
