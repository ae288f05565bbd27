"""Manifests, DICOM folders, participants and label descriptions: who, where, which label."""

from __future__ import annotations

from pathlib import Path

import pytest
from cord_files import cord_label, put_case

from SpinalCordSegLib.errors import TrainingDataError
from SpinalCordSegTrainerLib.dataset import cord_value, find_cases, load_case, match_files, read_label_names

DESCRIPTION = """################
# ITK-SnAP Label Description File
################
    0     0    0    0        0  0  0    "Clear Label"
    2   255    0    0        1  1  1    "Spinal canal"
    5   244  214   49      0.5  1  1    "Spinal cord"
"""


def _manifest(folder: Path, text: str, name: str = "cases.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8-sig")
    return folder / name


def test_columns_of_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    put_case(tmp_path / "x", "a", 0, cord_label(3))
    put_case(tmp_path / "x", "b", 1)
    path = _manifest(
        tmp_path,
        "Image;Label;Patient;Session;label_value;Site;Scanner\n"
        "x/a.nii.gz;x/a_seg.nii.gz;P7;2;3;Oslo;Vida\n;;;;;;\nx/b.nii.gz;x/b_seg.nii.gz;P7;1;;Oslo;Prisma\n",
    )
    first, second = find_cases(path)
    assert (first.name, first.subject, first.session) == ("P7_2_a", "P7", "2")
    assert dict(second.facts) == {"site": "Oslo", "scanner": "Prisma"}
    assert load_case(first).mask.voxels.sum() == 480
    _manifest(tmp_path, path.read_text(encoding="utf-8-sig"), "manifest.csv")
    assert len(find_cases(tmp_path)) == 2  # a folder's own manifest counts, not its files' names


def test_rows_that_cannot_be_a_case_are_told(tmp_path: Path) -> None:
    put_case(tmp_path, "a")
    put_case(tmp_path, "b")
    path = _manifest(
        tmp_path,
        "image,label,name,label_value\na.nii.gz,a_seg.nii.gz,a,\na.nii.gz,b_seg.nii.gz,again,\n"
        "c.nii.gz,a_seg.nii.gz,c,\nb.nii.gz,,b,\nb.nii.gz,b.nii.gz,b,\nb.nii.gz,b_seg.nii.gz,a,\n"
        "b.nii.gz,b_seg.nii.gz,b,cord\n",
    )
    matched = match_files(path)
    assert [case.name for case in matched.cases] == ["a"]
    reasons = [reason for _, reason in matched.problems]
    for reason, words in zip(
        reasons,
        ["line 3: row a names the same image", "line 4: c.nii.gz does not exist", "line 5: the label is missing",
         "line 6: image and label are the same", "line 7: another row is called a", "line 8: label_value cord"],
        strict=True,
    ):  # fmt: skip
        assert words in reason


@pytest.mark.parametrize(
    ("text", "words"), [("image,mark\na,b\n", "column label is missing"), ("image,label\n", "holds no row")]
)
def test_unusable_manifests(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match=words):
        find_cases(_manifest(tmp_path, text))


def test_participants_and_sidecar_say_site_and_scanner(tmp_path: Path) -> None:
    put_case(tmp_path, "sub-01_T1w")
    (tmp_path / "participants.tsv").write_text("participant_id\tsite\nsub-01\tBergen\n", encoding="utf-8")
    sidecar = '{"Manufacturer": "Siemens", "ManufacturersModelName": "Vida", "MagneticFieldStrength": 3}'
    (tmp_path / "sub-01_T1w.json").write_text(sidecar, encoding="utf-8")
    (case,) = find_cases(tmp_path)
    assert dict(case.facts) == {"site": "Bergen", "scanner": "Siemens Vida 3 T"}


def test_label_descriptions_choose_the_cord(tmp_path: Path) -> None:
    label = cord_label(5)
    label.voxels[10:15, 16:32, 1:4] = 2
    put_case(tmp_path, "a", 0, label)
    put_case(tmp_path, "b", 1, label)
    (tmp_path / "labels.txt").write_text(DESCRIPTION, encoding="utf-8")
    (tmp_path / "b_labels.txt").write_text(DESCRIPTION.replace("Spinal c", "Other c"), encoding="utf-8")
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    first, second = find_cases(tmp_path)
    assert load_case(first).mask.voxels.sum() == 480
    assert load_case(first, 2).mask.voxels.sum() == 240
    assert second.label_names == ((2, "Other canal"), (5, "Other cord"))
    assert read_label_names(tmp_path / "labels.txt") == ((2, "Spinal canal"), (5, "Spinal cord"))
    (tmp_path / "more.label").write_text(DESCRIPTION, encoding="utf-8")
    (reason,) = [reason for _, reason in match_files(tmp_path).problems]
    assert "2 label descriptions could belong to a" in reason


@pytest.mark.parametrize(
    ("names", "value"),
    [
        (("Cord",), 1), (("SC", "GM"), 1), (("spinal_cord", "spinal canal"), 1), (("Label 1",), None),
        (("cord", "spinal cord"), None), (("grey matter of the cord",), None), (("record",), None), (("scar",), None),
    ],
)  # fmt: skip
def test_which_name_is_the_cord(names: tuple[str, ...], value: int | None) -> None:
    assert cord_value(tuple(enumerate(names, 1))) == value


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


@pytest.mark.parametrize("cell", ["../x", "/tmp/x", "a/b", "..", "a\\b"])
def test_a_name_that_leads_to_another_folder_is_told(tmp_path: Path, cell: str) -> None:
    put_case(tmp_path, "a")
    path = _manifest(tmp_path, f"image,label,name,subject\na.nii.gz,a_seg.nii.gz,{cell},P1\n")
    matched = match_files(path)
    assert not matched.cases and "cannot be the name of a case" in matched.problems[0][1]
    path = _manifest(tmp_path, f"image,label,subject\na.nii.gz,a_seg.nii.gz,{cell}/x\n")  # the name is made of it
    assert not match_files(path).cases


@pytest.mark.parametrize(
    ("field_t", "scanner"), [("3.0", "Maker M 3 T"), ("1" + "0" * 400, "Maker M"), ("1e999", "Maker M")]
)
def test_a_side_file_may_hold_any_number(tmp_path: Path, field_t: str, scanner: str) -> None:
    put_case(tmp_path, "a")
    told = f'{{"Manufacturer": "Maker", "ManufacturersModelName": "M", "MagneticFieldStrength": {field_t}}}'
    (tmp_path / "a.json").write_text(told)
    assert dict(match_files(tmp_path).cases[0].facts)["scanner"] == scanner
