"""Cases on disk: folders, manifests, workspaces, label maps on other grids, and every fault named."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from cord_files import CORD_MM3, GRID, SHAPE, cord_image, cord_label, put_case

from SpinalCordSegLib.errors import GeometryError, TrainingDataError
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.cli import main
from SpinalCordSegTrainerLib.dataset import (
    load_case,
    match_files,
    read_cord,
    read_workspace,
    subject_of,
)
from SpinalCordSegTrainerLib.dataset_check import check_cases, summary
from SpinalCordSegTrainerLib.slice_cache import cache_cases


def _put(folder: Path, image: str, label: str, volume: Volume | None = None) -> None:
    write_volume(cord_image(), folder / image)
    write_volume(volume or cord_label(), folder / label)


def test_pairs_in_one_folder(tmp_path: Path) -> None:
    _put(tmp_path, "b.nii.gz", "b_seg.nii.gz")
    _put(tmp_path, "a.nrrd", "a_seg-manual.nii.gz")
    _put(tmp_path, "c.nii.gz", "c.seg.nrrd")
    write_volume(cord_image(), tmp_path / "unlabelled.nii.gz")
    assert [(case.name, case.label.name) for case in match_files(tmp_path).cases] == [
        ("a", "a_seg-manual.nii.gz"),
        ("b", "b_seg.nii.gz"),
        ("c", "c.seg.nrrd"),
    ]


def test_pairs_whose_names_alone_do_not_tell_image_from_label(tmp_path: Path) -> None:
    for image, label in (
        ("images/a.nii.gz", "labels/a.nii.gz"), ("b.nii.gz", "b_cord.nii.gz"), ("c_cord.nii.gz", "c_cord_seg.nii.gz"),
        ("images/d.nii.gz", "labels/d_seg.nii.gz"), ("e.nii.gz", "e-seg.nii.gz"), ("f.nii.gz", "f_segmentation.nii.gz"),
        ("i.nii.gz", "i_Segmentation.nii.gz"), ("j.nii.gz", "j-label.nii.gz"),
        ("imagesTr/k_0000.nii.gz", "labelsTr/k.nii.gz"), ("l_0000.nii.gz", "l_0000_seg.nii.gz"),
    ):  # fmt: skip
        _put(tmp_path, image, label)
    for unlabelled in ("c.nii.gz", "g_cord.nii.gz", "labels/h.nii.gz"):
        write_volume(cord_image(), tmp_path / unlabelled)
    matched = match_files(tmp_path)
    assert [(case.name, case.label.name) for case in matched.cases] == [
        ("a", "a.nii.gz"), ("b", "b_cord.nii.gz"), ("c_cord", "c_cord_seg.nii.gz"), ("d", "d_seg.nii.gz"),
        ("e", "e-seg.nii.gz"), ("f", "f_segmentation.nii.gz"), ("i", "i_Segmentation.nii.gz"), ("j", "j-label.nii.gz"),
        ("k", "k.nii.gz"), ("l_0000", "l_0000_seg.nii.gz"),
    ]  # fmt: skip
    assert matched.cases[0].label.parent.name == "labels"
    assert [path.name for path in matched.unlabelled] == ["c.nii.gz", "g_cord.nii.gz", "h.nii.gz"]
    assert not matched.problems


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (("Ann/T2.nii.gz", "Ben_visit1/T2.nii.gz"), [("Ann_T2", "Ann"), ("Ben_visit1_T2", "Ben")]),
        (("P.1/T2.nii.gz", "P.2/T2.nii.gz"), [("P.1_T2", "P.1"), ("P.2_T2", "P.2")]),
        (("P01/T2.nii.gz", "P01_visit2/T2.nii.gz"), [("P01_T2", "P01"), ("P01_visit2_T2", "P01")]),
        (("first/P1.nii.gz", "first/P2.nii.gz", "next/P1.nii.gz"), [("P1", "P1"), ("P2", "P2")]),  # a visit a folder
        (("A/visit1/T2.nii.gz", "B/visit1/T2.nii.gz"), [("T2", "T2")]),
    ],
)
def test_folders_that_are_patients(tmp_path: Path, images: tuple[str, ...], found: list[tuple[str, str]]) -> None:
    for image in images:
        _put(tmp_path, image, image.replace(".nii", "_seg.nii"))
    matched = match_files(tmp_path)
    assert [(case.name, case.subject) for case in matched.cases] == found
    assert len(found) + len(matched.problems) == len(images)
    for name, reason in matched.problems:
        assert all(image[-len("x/T2.nii.gz") :] in reason for image in images if image.endswith(name))


def test_bids(tmp_path: Path) -> None:
    anat = "sub-07/ses-01/anat/sub-07_ses-01_T1w"
    _put(tmp_path, f"{anat}.nii.gz", f"derivatives/labels/{anat}_seg-manual.nii.gz")
    (case,) = match_files(tmp_path).cases
    assert (case.name, case.subject) == ("sub-07_ses-01_T1w", "07")


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("sub-9709Ses1_run-1_T2starw.nii.gz", "9709"),
        ("sub-9709Ses2_run-1_T2starw.nii.gz", "9709"),
        ("sub-05_ses-02_T1w.nii.gz", "05"),
        ("sub-03/anat/t1.nii.gz", "03"),
        ("P07_ses-1_T1w.nii.gz", "P07"),
        ("P07-Session2-run-1.nii.gz", "P07"),
        ("P07_ses-pre_T1w.nii.gz", "P07"),
        ("P07_visit2.nii.gz", "P07"),
        ("P07_v3_T1w.nii.gz", "P07"),
        ("MS_session1_001.nii.gz", "MS_session1_001"),
        ("study_ses-01_P07_T1w.nii.gz", "study_ses-01_P07_T1w"),
        ("Kumar_Sesha_T1.nii.gz", "Kumar_Sesha_T1"),
        ("P07_Sesha_T1.nii.gz", "P07_Sesha_T1"),
        ("moses_2_T1w.nii.gz", "moses_2_T1w"),
    ],
)
def test_subjects(path: str, subject: str) -> None:
    assert subject_of(Path(path)) == subject


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="not a folder"):
        match_files(tmp_path / "none")
    with pytest.raises(TrainingDataError, match="no image with a label map"):
        match_files(tmp_path)
    for text, words in (("image,mark\na,b\n", "column label is missing"), ("image,label\n", "holds no row")):
        with pytest.raises(TrainingDataError, match=words):
            match_files(_manifest(tmp_path, text))


def test_of_several_labels_one_is_chosen(tmp_path: Path) -> None:
    _put(tmp_path, "a.nii.gz", "a_label.nii.gz", _label_with(2))
    (case,) = match_files(tmp_path, 2).cases
    assert load_case(case).mask.ijk.sum() == 1
    (checked,) = check_cases(match_files(tmp_path, 2))
    assert (checked.usable, checked.labels, checked.n_cord_slices) == (True, (1, 2), 1)


def test_slices_on_a_grid_of_fixed_pixels_keep_area_and_place(tmp_path: Path) -> None:
    _put(tmp_path, "a.nii.gz", "a_seg.nii.gz")
    config = NormalisationConfig(kind="fixed_pixel", pixel_mm=0.4, size=96)
    cases = match_files(tmp_path).cases
    cache, _ = cache_cases(cases, tmp_path / "c", config, only_labelled=True)
    assert len(cache) == 3
    _, coverage = cache.read(np.arange(3))
    np.testing.assert_allclose(coverage.sum((1, 2)) * 0.4**2, 48.0, rtol=0.01)  # 6 × 8 mm
    # i runs to posterior: the field is 36 mm deep, the cord from 12 to 18 mm, so its centre is 3 mm before the middle.
    # j runs to the right, columns start at the right: 24 mm wide, cord centre 12 mm from the left, the middle.
    row, column = cache.info.centres[0] or (0, 0)
    assert row == pytest.approx((96 - 1) / 2 - 3 / 0.4, abs=0.05)
    assert column == pytest.approx((96 - 1) / 2, abs=0.05)
    assert len(cache_cases(cases, tmp_path / "all", config)[0]) == 5


def _manifest(folder: Path, text: str, name: str = "cases.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8-sig")
    return folder / name


def test_columns_of_a_manifest(tmp_path: Path) -> None:
    put_case(tmp_path / "x", "a", 0, cord_label(3))
    put_case(tmp_path / "x", "b", 1)
    path = _manifest(
        tmp_path,
        "Image;Label;Patient;Session;label_value;Site;Scanner\n"
        "x/a.nii.gz;x/a_seg.nii.gz;P7;2;3;Oslo;Vida\n;;;;;;\nx/b.nii.gz;x/b_seg.nii.gz;P7;1;;Oslo;Prisma\n",
    )
    first, second = match_files(path).cases
    assert (first.name, first.subject) == ("P7_2_a", "P7")
    assert dict(second.facts) == {"site": "Oslo", "scanner": "Prisma"}
    assert load_case(first).mask.ijk.sum() == 480
    _manifest(tmp_path, path.read_text(encoding="utf-8-sig"), "manifest.csv")
    assert len(match_files(tmp_path).cases) == 2  # a folder's own manifest counts, not its files' names


@pytest.mark.parametrize(("column", "is_known"), [("PatientID", True), ("Participant ID", True), ("code", False)])
def test_whose_a_case_is(tmp_path: Path, caplog: pytest.LogCaptureFixture, column: str, is_known: bool) -> None:
    for n, name in enumerate("ab"):
        put_case(tmp_path, name, n)
    rows = [f"{name}.nii.gz,{name}_seg.nii.gz,P1" for name in "ab"]
    cases = match_files(_manifest(tmp_path, "\n".join([f"image,label,{column}", *rows, ""]))).cases
    assert len({case.subject for case in cases}) == (1 if is_known else 2)
    assert ("has no column subject" in caplog.text) != is_known


def test_rows_that_cannot_be_a_case_are_told(tmp_path: Path) -> None:
    put_case(tmp_path, "a")
    put_case(tmp_path, "b")
    path = _manifest(
        tmp_path,
        "image,label,name,label_value\na.nii.gz,a_seg.nii.gz,a,\na.nii.gz,b_seg.nii.gz,again,\n"
        "c.nii.gz,a_seg.nii.gz,c,\nb.nii.gz,,b,\nb.nii.gz,b.nii.gz,b,\nb.nii.gz,b_seg.nii.gz,a,\n"
        "b.nii.gz,b_seg.nii.gz,b,²\n",
    )
    matched = match_files(path)
    assert [case.name for case in matched.cases] == ["a"]
    reasons = [reason for _, reason in matched.problems]
    for reason, words in zip(
        reasons,
        ["line 3: row a names the same image", "line 4: c.nii.gz does not exist", "line 5: the label is missing",
         "line 6: image and label are the same", "line 7: another row is called a", "line 8: label_value ²"],
        strict=True,
    ):  # fmt: skip
        assert words in reason


def test_participants_and_sidecar_say_site_and_scanner(tmp_path: Path) -> None:
    put_case(tmp_path, "sub-01_T1w")
    (tmp_path / "participants.tsv").write_text("participant_id\tsite\nsub-01\tBergen\n", encoding="utf-8")
    sidecar = '{"Manufacturer": "Siemens", "ManufacturersModelName": "Vida", "MagneticFieldStrength": 3}'
    (tmp_path / "sub-01_T1w.json").write_text(sidecar, encoding="utf-8")
    (case,) = match_files(tmp_path).cases
    assert dict(case.facts) == {"site": "Bergen", "scanner": "Siemens Vida 3 T"}


def test_a_dicom_folder_and_its_label_map(tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / "dicom_t1w_head"
    folder = tmp_path / "patient9"
    folder.mkdir()
    for path in sorted(one for one in source.rglob("*") if one.is_file() and one.suffix != ".md")[:3]:
        (folder / path.name).symlink_to(path)
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "0.dcm").symlink_to(next(folder.iterdir()))
    put_case(tmp_path, "patient9")
    (tmp_path / "patient9.nii.gz").unlink()
    matched = match_files(tmp_path)
    assert [(case.name, case.image) for case in matched.cases] == [("patient9", folder)]
    assert matched.unlabelled == (tmp_path / "alone",)


def test_a_name_that_leads_to_another_folder_is_told(tmp_path: Path) -> None:
    put_case(tmp_path, "a")
    for cells in ("name,subject\na.nii.gz,a_seg.nii.gz,../x,P1", "name,subject\na.nii.gz,a_seg.nii.gz,a\\b,P1",
                  "subject\na.nii.gz,a_seg.nii.gz,/tmp/x"):  # fmt: skip
        with pytest.raises(TrainingDataError, match="cannot be the name of a case"):
            match_files(_manifest(tmp_path, f"image,label,{cells}\n"))


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
    (tmp_path / "ws").mkdir()
    label = cord_label(2)
    label.ijk[15:20, 16:32, 1:4] = 1
    put_case(tmp_path, "a", 0, label)
    (tmp_path / "a.nii.gz").unlink()
    write_volume(cord_image(), tmp_path / "img" / "a.nii.gz")
    return tmp_path


def test_layers_names_and_a_moved_folder(moved: Path) -> None:
    path = _write(moved / "ws" / "patient4_ses-02.itksnap", _pair(label=_transform(1)), "/was/here/ws")
    case = read_workspace(path)
    assert (case.name, case.subject) == ("patient4_ses-02", "patient4")
    assert case.image.resolve() == moved / "img" / "a.nii.gz"
    assert case.label_names == ((1, "Canal"), (2, "Spinal cord"))
    loaded = load_case(case)
    assert loaded.mask.ijk.sum() == 10 * 16 * 3
    assert "label 2 taken as the cord by its name" in loaded.notes[0]
    assert [one.name for one in match_files(path).cases] == ["patient4_ses-02"]
    assert [one.name for one in match_files(moved).cases] == ["patient4_ses-02"]  # not its files a second time
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


@pytest.mark.parametrize(
    ("layers", "doctype", "words"),
    [
        (_pair(label=_transform(0)), DOCTYPE.format(extra=""), "segmentation is moved by a transform"),
        (_pair(main=_transform(0)), DOCTYPE.format(extra=""), "main image is moved by a transform"),
        (_layer(0, "/was/here/img/a.nii.gz", "MainRole"), "", "no segmentation layers"),
        (_pair().replace("a_seg", "b_seg"), "", "layer b_seg.nii.gz is not there"),
        (_pair(), ENTITY, "declares entities"),
        (_pair(), BOMB, "declares entities"),
        (_pair(), '<!DOCTYPE registry SYSTEM "http://example.org/registry.dtd">', "declares entities or foreign files"),
        ("<folder", "", "not a workspace"),
    ],
)
def test_refused(layers: str, doctype: str, words: str, moved: Path) -> None:
    with pytest.raises(TrainingDataError, match=words):
        read_workspace(_write(moved / "ws" / "w.itksnap", layers, "/was/here/ws", doctype))


def test_a_label_map_that_slicer_cropped_and_reordered_is_taken(tmp_path: Path) -> None:
    """Cases 20 and 21."""
    low = GRID.copy()
    low[:, 3] = GRID @ [20, 16, 1, 1]
    cropped = Volume.from_ijk(cord_label().ijk[20:30, 16:32, 1:4], low)
    _put(tmp_path, "a.nii.gz", "a_seg.seg.nrrd", cropped.reoriented("LIP"))
    loaded = load_case(match_files(tmp_path).cases[0])
    np.testing.assert_array_equal(loaded.mask.ijk, cord_label().ijk == 1)


def _finer_label() -> Volume:
    """The box at half the voxel size in i and j, the same corners."""
    grid = GRID.copy()
    grid[:3, 0] /= 2
    grid[:3, 1] /= 2
    grid[:3, 3] -= (GRID[:3, 0] + GRID[:3, 1]) / 4
    return Volume.from_ijk(np.repeat(np.repeat(cord_label().ijk, 2, 0), 2, 1) == 1, grid)


def test_tolerance_resamples_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a_seg.nii.gz"
    write_volume(_finer_label(), path)
    with pytest.raises(GeometryError, match=r"shape 120×96×5 instead of 60×48×5, spacing 0\.3×0\.25×4 instead"):
        read_cord(path, cord_image(), None)
    placed, note = read_cord(path, cord_image(), None, tolerant=True)
    np.testing.assert_array_equal(placed.ijk, cord_label().ijk == 1)
    assert f"{CORD_MM3:.0f} mm³ became {CORD_MM3:.0f} mm³" in note


def _moved(column: int, row: int, to: float) -> np.ndarray:
    grid = GRID.copy()
    grid[row, column] = to
    return grid


def _label_with(value: int) -> Volume:
    label = cord_label()
    label.ijk[0, 0, 0] = value
    return label


def _cut_short(path: Path) -> None:
    write_volume(cord_image(7), path)
    path.write_bytes(path.read_bytes()[:2000])


def _write_4d(path: Path) -> None:
    volume = sitk.GetImageFromArray(np.ones((5, 48, 60), np.int16))
    sitk.WriteImage(sitk.JoinSeries([volume, volume]), str(path))


BRAIN = GRID @ np.diag([5.0, 5.0, 1.0, 1.0])
IMAGE, LABEL = {"bad.nii.gz": cord_image(7)}, {"bad_seg.nii.gz": cord_label()}
# fault → further files of the folder (a volume, a text, or what writes it), and how the fault is named
FAULTS: dict[str, tuple[dict[str, object], str]] = {
    "image missing": (LABEL, "no image bad belongs"),
    "label missing": (IMAGE, "no label map"),
    "two label maps": (IMAGE | LABEL | {"bad_seg-manual.nii.gz": cord_label()}, "labels the same image"),
    "two images": (IMAGE | LABEL | {"bad.nrrd": cord_image(8)}, "another image of that name"),
    "two cases of one name": (
        IMAGE | LABEL | {"below/bad.nii.gz": cord_image(9), "below/bad_seg.nii.gz": cord_label()},
        "two cases are called bad",
    ),
    "truncated gzip": (LABEL | {"bad.nii.gz": _cut_short}, "cut short"),
    "4D": (LABEL | {"bad.nii.gz": _write_4d}, "4 dimensions"),
    "no contrast": (LABEL | {"bad.nii.gz": Volume.from_ijk(np.full(SHAPE, 7), GRID)}, "same value everywhere"),
    "fractions": (
        IMAGE | {"bad_seg.nii.gz": Volume.from_ijk(cord_label().ijk * np.float32(0.4), GRID)}, "not whole numbers",
    ),
    "several labels": (IMAGE | {"bad_seg.nii.gz": _label_with(2)}, "2 labels"),
    "cord and background swapped": (
        IMAGE | {"bad_seg.nii.gz": Volume.from_ijk(1 - cord_label().ijk, GRID)}, "97 % of the image",
    ),
    "a brain's mask": (
        {"bad.nii.gz": cord_image(7, BRAIN), "bad_mask.nii.gz": cord_label(grid=BRAIN)}, "mean area of 1200 mm²",
    ),
    "another origin": (IMAGE | {"bad_seg.nii.gz": cord_label(grid=_moved(3, 0, -7.0))}, "first voxel 3 mm away"),
    "flipped axis": (IMAGE | {"bad_seg.nii.gz": cord_label(grid=_moved(2, 2, -4.0))}, "first voxel 16 mm away"),
    "the same voxels as another patient": (
        LABEL | {"bad.nii.gz": cord_image(1)}, "the same voxels as a, as another patient",
    ),
    "workspace damaged": ({"bad.itksnap": "<registry>"}, "not a workspace"),
}  # fmt: skip


def _with_fault(folder: Path, name: str) -> str:
    """The good case a, and the fault; gives how it is named."""
    put_case(folder, "a", 1)
    files, reason = FAULTS[name]
    for file, content in files.items():
        path = folder / file
        if isinstance(content, Volume):
            write_volume(content, path)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            content(path)  # type: ignore[operator]
    return reason


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_and_the_good_case_stays(name: str, tmp_path: Path) -> None:
    reason = _with_fault(tmp_path, name)
    checked = {one.name: one for one in check_cases(match_files(tmp_path))}
    (refused,) = [one for one in checked.values() if not one.usable]
    assert checked["a"].usable and refused.name.startswith("bad")
    assert reason in refused.reason and str(tmp_path) not in refused.reason
    assert summary(list(checked.values()))["usable"] == len(checked) - 1


def test_training_leaves_out_what_cannot_be_used_and_needs_something(tmp_path: Path) -> None:
    reason = _with_fault(tmp_path, "the same voxels as another patient")
    cases, config = match_files(tmp_path).cases, NormalisationConfig(size=32)
    cache, ((case, told),) = cache_cases(cases, tmp_path / "cache", config)
    assert (cache.info.source["cases"], case, reason in told) == (["a"], "bad", True)
    (tmp_path / "a.nii.gz").write_bytes(b"cut short")
    with pytest.raises(TrainingDataError, match="no case can be used"):
        cache_cases([one for one in cases if one.name == "a"], tmp_path / "none", config)
    assert not (tmp_path / "none").exists()


def test_odd_cases_stay_usable_with_a_remark(tmp_path: Path) -> None:
    put_case(tmp_path, "sub-1_ses-1", 1)
    put_case(tmp_path, "sub-1_ses-2", 1)  # the same patient twice
    put_case(tmp_path, "empty", 2, Volume.from_ijk(np.zeros(SHAPE, np.uint8), GRID))
    gap = cord_label()
    gap.ijk[:, :, 2] = 0
    put_case(tmp_path, "gap", 3, gap)
    centimetres = np.diag([0.1, 0.1, 0.1, 1.0]) @ GRID
    put_case(tmp_path, "small", 4, cord_label(grid=centimetres), cord_image(4, centimetres))
    remarks = {one.name: " ".join(one.remarks) for one in check_cases(match_files(tmp_path)) if one.usable}
    assert "same voxels as sub-1_ses-1" in remarks["sub-1_ses-2"]
    assert "is empty" in remarks["empty"]
    assert "1 slices without label" in remarks["gap"]
    assert "no cord's" in remarks["small"]


def test_what_a_good_case_holds_and_outliers(tmp_path: Path) -> None:
    for number in range(5):
        put_case(tmp_path, f"sub-{number}", number)
    large = cord_label()
    large.ijk[20:50, 16:32, 1:4] = 1
    put_case(tmp_path, "sub-8", 8, large)
    found = {case.name: case for case in check_cases(match_files(tmp_path))}
    case = found["sub-1"]
    assert case.usable and case.remarks == () and case.subject == "1" and case.labels == (1,)
    assert (case.n_slices, case.n_cord_slices) == (5, 3)
    assert (case.volume_mm3, case.mean_csa_mm2) == (pytest.approx(CORD_MM3), pytest.approx(48.0, rel=0.01))
    assert [name for name, case in found.items() if case.remarks] == ["sub-8"]
    assert "median 48 mm²" in " ".join(found["sub-8"].remarks)


def test_check_reports_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_case(tmp_path, "good")
    assert main(["check", str(tmp_path), "--progress", "json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["progress", "checked", "result", "end"]
    assert (events[0]["stage"], events[0]["done"], events[0]["of"]) == ("cases", 1, 1)
    assert events[1]["case"]["usable"] and events[2]["usable"] == 1
    (tmp_path / "good_seg.nii.gz").write_bytes(b"x")
    assert main(["check", str(tmp_path)]) == 1
    assert "0 of 1 cases can be used" in capsys.readouterr().out
    put_case(tmp_path, "good")
    assert main(["check", str(tmp_path)]) == 0
    out = capsys.readouterr().out  # one patient; of the five slices three are drawn
    assert "2 slices have no cord" in out and "nobody can be held out" in out
    assert main(["check", str(tmp_path / "none"), "--progress", "json"]) == 2
    assert json.loads(capsys.readouterr().out.splitlines()[0])["kind"] == "TrainingDataError"
