"""Damaged and hostile files, tables and headers: each is one clear line, and nothing is half-written."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from SpinalCordSegLib.case import restore_interrupted, save_case
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import DicomSeriesError, InputFileError, OutputError
from SpinalCordSegLib.files import remove_abandoned_parts
from SpinalCordSegLib.identity import safe_case_name
from SpinalCordSegLib.image_io import read_grid, read_image, write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.training_set import add_to_training_set
from SpinalCordSegLib.work_list import read_work_list

MASK = make_phantom(PhantomConfig(shape=(40, 32, 3), spacing_mm=(0.7, 0.9, 4.0))).mask
_NRRD = (
    "NRRD0004\ntype: {}\ndimension: 3\nspace: left-posterior-superior\nsizes: {}\nspace directions: (1,0,0) (0,1,0)"
    " (0,0,1)\nkinds: domain domain domain\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
)
_META = (
    "ObjectType = Image\nNDims = {}\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
    "DimSize = {}\nElementSpacing = 1 1 1\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
)
DEEP = "[" * 100_000


def _refused(capsys, path: Path, words: str, output: Path) -> None:
    assert main(["measure", str(path), "--output", str(output)]) in (1, 2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words in error and "unexpected" not in error, error
    assert not output.exists() or not any(output.iterdir())


def _text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _nifti(path: Path, **fields: tuple[int, str, float]) -> Path:
    write_volume(MASK, path)
    data = bytearray(path.read_bytes())
    for offset, code, value in fields.values():
        struct.pack_into("<" + code, data, offset, value)
    path.write_bytes(bytes(data))
    return path


_BAD = {
    "NRRD of 8 GB": (lambda at: _text(at / "x.nrrd", _NRRD.format("short", "2000 2000 1000")), "cut short"),
    "MetaImage of 10^12 voxels": (lambda at: _text(at / "x.mha", _META.format(3, "10000 10000 10000")), "claims"),
    "MetaImage of 32767 axes": (lambda at: _text(at / "x.mha", _META.format(32767, "4 4 4")), "NDims"),
    "NIfTI whose voxels begin at NaN": (
        lambda at: _nifti(at / "x.nii", begin=(108, "f", float("nan"))),
        "begin at byte nan",
    ),
}


@pytest.mark.parametrize("kind", _BAD)
def test_headers_that_claim_the_impossible(kind: str, tmp_path: Path, capsys) -> None:
    make, words = _BAD[kind]
    _refused(capsys, make(tmp_path), words, tmp_path / "out")


@pytest.mark.skipif(os.name != "posix", reason="pipes, and names that are no text, as POSIX has them")
def test_pipes_devices_and_names_that_are_no_text(tmp_path: Path, capsys) -> None:
    os.mkfifo(tmp_path / "pipe.nii.gz")
    _refused(capsys, tmp_path / "pipe.nii.gz", "a pipe or a device", tmp_path / "out")
    (tmp_path / "zero.nii.gz").symlink_to("/dev/zero")
    _refused(capsys, tmp_path / "zero.nii.gz", "a pipe or a device", tmp_path / "out")
    foreign = tmp_path / os.fsdecode(b"neck\xff.nii.gz")
    foreign.write_bytes(b"x" * 400)
    _refused(capsys, foreign, "not UTF-8", tmp_path / "out")
    with pytest.raises(InputFileError, match="not UTF-8"):
        read_grid(foreign)
    with pytest.raises(OutputError, match="not UTF-8"):
        write_volume(MASK, tmp_path / os.fsdecode(b"\xff.nii.gz"))


def test_a_result_taken_away_and_not_replaced_comes_back(tmp_path: Path) -> None:
    """What kill -9 leaves between the two renames of a replacement."""
    case = tmp_path / "neck"
    save_case(measure_mask(MASK, "neck"), case, has_pictures=False)
    (case / "mine.txt").write_text("mine")
    hidden = case.with_name(".neck.0123456789ab.old")
    case.rename(hidden)
    assert [item.case for item in read_work_list(tmp_path).items] == ["neck"]
    assert (case / "mine.txt").read_text() == "mine" and not hidden.exists()
    # and where the new one was in place already, only what is not ours comes along
    hidden.mkdir()
    for name in ("other.txt", "slices.csv"):
        (hidden / name).write_text("old")
    restore_interrupted(tmp_path)
    assert (case / "other.txt").read_text() == "old" != (case / "slices.csv").read_text() and not hidden.exists()


def test_only_old_remains_of_ours_are_removed(tmp_path: Path) -> None:
    names = (".neck.0123456789ab.part", ".0123456789ab.part.csv", ".part", "neck.part", ".mine.part")
    for name in names:
        _text(tmp_path / name, "x")
    remove_abandoned_parts(tmp_path)
    assert len(list(tmp_path.iterdir())) == len(names)  # they may be somebody's who is writing
    remove_abandoned_parts(tmp_path, age_s=-1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.part", ".part", "neck.part"]


_NO_NETWORK = """
import socket, sys
def shut(*_, **__):
    sys.stderr.write("THE NETWORK WAS ASKED FOR\\n")
    raise AssertionError("the network is shut")
socket.socket.connect = socket.socket.connect_ex = socket.socket.bind = socket.socket.sendto = shut
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = shut
from SpinalCordSegLib.cli import main
import json
for words in json.loads(sys.argv[1]):
    assert main(words) == 0, words
"""


def test_no_command_asks_for_the_network(tmp_path: Path, neck) -> None:
    """segment, measure, export and follow-up in a program whose sockets refuse to be used."""
    series = neck.write(tmp_path / "series")
    case, out = str(neck.finish(series, tmp_path / "neck")), str(tmp_path / "out")
    work = [
        ["segment", str(series), "--output", f"{out}/segment", "--device", "cpu"],
        ["measure", f"{case}/mask.nii.gz", "--output", f"{out}/measure"],
        ["export", case, "--dicom", str(series), "--output", f"{out}/export"],
        ["follow-up", case, case, "--date", "2021-01-31", "--date", "2022-01-31", "--disc", "3", "--disc", "3",
         "--output", f"{out}/track"],
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", _NO_NETWORK, json.dumps(work)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "NETWORK WAS ASKED" not in done.stderr


def test_a_gzip_whose_header_claims_more_than_any_volume_has_is_not_unpacked(tmp_path: Path, capsys) -> None:
    write_volume(MASK, tmp_path / "x.nii")
    data = bytearray((tmp_path / "x.nii").read_bytes())
    struct.pack_into("<4h", data, 40, 3, 32767, 32767, 32767)
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(bytes(data) + bytes(1 << 22), 1))
    _refused(capsys, tmp_path / "bomb.nii.gz", "claims 32767×32767×32767 voxels", tmp_path / "out")


def test_deflated_dicom_is_refused_before_it_is_unpacked(tmp_path: Path, dicom) -> None:
    for path in dicom.write(tmp_path).iterdir():
        one = dcmread(path)
        one.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        one.save_as(path)
    with pytest.raises(InputFileError, match="deflated DICOM"):
        read_image(tmp_path)


def test_compressed_dicom_whose_header_claims_gigabytes(tmp_path: Path, dicom) -> None:
    for path in dicom.write(tmp_path).iterdir():
        one = dcmread(path)
        one.compress(RLELossless)
        one.Rows = one.Columns = 65535
        one.save_as(path)
    with pytest.raises(InputFileError, match="claims"):
        read_image(tmp_path)


@pytest.mark.parametrize("table", ["person,folder\nP1," + "a" * 200_000, "", "person\n", "person,folder\n,x\n"])
def test_manifests_of_visits_that_are_no_table(tmp_path: Path, capsys: Any, table: str) -> None:
    (tmp_path / "visits.csv").write_text(table)
    assert main(["follow-up", str(tmp_path / "visits.csv"), "--output", str(tmp_path / "t")]) == 2
    assert "visits.csv" in capsys.readouterr().err and not (tmp_path / "t").exists()


def test_side_files_nested_without_end(tmp_path: Path) -> None:
    write_volume(MASK, tmp_path / "neck.nii.gz")
    (tmp_path / "neck.json").write_text(DEEP)
    assert safe_case_name(tmp_path / "neck.nii.gz") == "neck"
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "sub-P1_ses-1.json").write_text(DEEP)
    assert add_to_training_set(tmp_path / "set", MASK, MASK, "P1").added


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
