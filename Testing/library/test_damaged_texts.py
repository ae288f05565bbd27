"""Tables, reports and headers that hold other things than were written: one line each, and nothing half-written."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from SpinalCordSegLib.case import Summary, save_case
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import DicomSeriesError, InputFileError, ModelFileError, OutputError
from SpinalCordSegLib.image_io import read_image, safe_case_name, write_volume
from SpinalCordSegLib.model.checkpoint import load_card
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.training_set import add_to_training_set

MASK = make_phantom(PhantomConfig(shape=(40, 32, 3), spacing_mm=(0.7, 0.9, 4.0))).mask
DEEP = "[" * 100_000
LONG = "a" * 200_000  # more than a cell of Python's csv may have


@pytest.fixture
def case(tmp_path: Path) -> Path:
    save_case(measure_mask(MASK, "neck"), tmp_path / "results" / "neck", has_pictures=False)
    return tmp_path / "results" / "neck"


def _one_line(capsys: Any, words: str, *arguments: object) -> None:
    assert main([str(word) for word in arguments]) in (1, 2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words in error and "unexpected" not in error, error


@pytest.mark.parametrize("table", ["canonical_slice,csa_raw_mm2,flags\n0," + LONG, "a,b\n1,2\n"])
def test_a_visit_whose_slices_are_no_table(case: Path, tmp_path: Path, capsys: Any, table: str) -> None:
    (case / "slices.csv").write_text(table)
    _one_line(capsys, "slices.csv", "follow-up", case, "--date", "2021-01-31", "--output", tmp_path / "t")


@pytest.mark.parametrize("table", ["person,folder\nP1," + LONG, "", "person\n", "person,folder\n,x\n"])
def test_manifests_of_visits_that_are_no_table(tmp_path: Path, capsys: Any, table: str) -> None:
    (tmp_path / "visits.csv").write_text(table)
    _one_line(capsys, "visits.csv", "follow-up", tmp_path / "visits.csv", "--output", tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_a_summary_that_is_no_table_of_ours(tmp_path: Path) -> None:
    for text in ("case\n" + LONG, "a,b\n", "\0\0"):
        (tmp_path / "summary.csv").write_text(text)
        with pytest.raises(OutputError, match=r"summary\.csv"):
            Summary(tmp_path / "summary.csv")
        assert (tmp_path / "summary.csv").read_text() == text


def test_side_files_nested_without_end(tmp_path: Path) -> None:
    write_volume(MASK, tmp_path / "neck.nii.gz")
    (tmp_path / "neck.json").write_text(DEEP)
    assert safe_case_name(tmp_path / "neck.nii.gz") == "neck"
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "sub-P1_ses-1.json").write_text(DEEP)
    assert add_to_training_set(tmp_path / "set", MASK, MASK, "P1").added


def test_a_model_whose_header_is_nested_without_end(tmp_path: Path) -> None:
    for text in ('{"a":' * 100_000, json.dumps({"__metadata__": {"card": DEEP, "digest": ""}})):
        path = tmp_path / "x.safetensors"
        path.write_bytes(struct.pack("<Q", len(text)) + text.encode())
        with pytest.raises(ModelFileError, match=r"damaged|not that of a safetensors file"):
            load_card(path)


def test_a_dicom_file_of_a_thousand_million_frames(dicom: Any, tmp_path: Path, save_dicom: Any) -> None:
    one = dicom.enhanced()
    one.NumberOfFrames = 1_000_000_000
    save_dicom(one, tmp_path / "x.dcm", ExplicitVRLittleEndian)
    with pytest.raises(InputFileError, match="claims 1000000000×4×5 voxels"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    "changes", [{"Rows": 2}, {"Columns": 10, "Rows": 2}, {"BitsAllocated": 8}, {"NumberOfFrames": 3}]
)
def test_dicom_pixels_that_are_not_those_of_the_header(dicom: Any, tmp_path: Path, changes: dict[str, int]) -> None:
    dicom.write(tmp_path, change=lambda k: changes if k == 1 else {})
    with pytest.raises((InputFileError, DicomSeriesError)):
        read_image(tmp_path)


@pytest.mark.parametrize("keyword", ["InstanceNumber", "SeriesNumber", "NumberOfFrames"])
def test_a_dicom_number_that_is_infinite(dicom: Any, tmp_path: Path, keyword: str) -> None:
    """As text in a field of whole numbers: whether it is refused or passed over, it is no crash."""
    dicom.write(tmp_path)
    for path in tmp_path.iterdir():
        one = dcmread(path)
        tag = Tag(keyword)
        one._dict[tag] = RawDataElement(tag, "IS", 6, b"1e999 ", 0, False, True)
        one.save_as(path)
    with contextlib.suppress(InputFileError, DicomSeriesError):
        assert read_image(tmp_path).volume.ijk_shape == (5, 4, 4)


def test_a_number_of_thousands_of_digits_in_an_nrrd(tmp_path: Path) -> None:
    """It ended the whole program, inside ITK."""
    header = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nspacings: 1 {} 1\nencoding: raw\nendian: little\n"
    (tmp_path / "x.nrrd").write_bytes((header.format("9" * 5000) + "\n").encode() + bytes(8))
    with pytest.raises(InputFileError, match="100 digits"):
        read_image(tmp_path / "x.nrrd")
    (tmp_path / "y.nrrd").write_bytes((header.format("1") + "remark:=" + "9" * 5000 + "\n\n").encode() + bytes(8))
    assert read_image(tmp_path / "y.nrrd").volume.ijk_shape == (2, 2, 2)
