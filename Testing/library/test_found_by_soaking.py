"""Inputs that once ended the program in a traceback, hung it or took its memory: each is one clear line now."""

import csv
import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from SpinalCordSegLib.case import restore_interrupted, save_case
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import InputFileError, OutputError
from SpinalCordSegLib.files import remove_abandoned_parts
from SpinalCordSegLib.image_io import read_grid, read_image, write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import measure_mask
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


def _refused(capsys, path: Path, words: str, output: Path) -> None:
    assert main(["measure", str(path), "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words in error and "unexpected" not in error
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


@pytest.fixture
def case(tmp_path: Path) -> Path:
    save_case(measure_mask(MASK, "neck"), tmp_path / "results" / "neck", has_pictures=False)
    return tmp_path / "results" / "neck"


def test_a_result_taken_away_and_not_replaced_comes_back(case: Path) -> None:
    """What kill -9 leaves between the two renames of a replacement."""
    (case / "mine.txt").write_text("mine")
    hidden = case.with_name(".neck.0123456789ab.old")
    case.rename(hidden)
    case.with_name(".neck.0123456789ab.part").mkdir()
    (case.with_name(".neck.0123456789ab.part") / "report.json").write_text("{}")
    assert [item.case for item in read_work_list(case.parent).items] == ["neck"]
    assert (case / "mine.txt").read_text() == "mine" and not hidden.exists()
    # and where the new one was in place already, only what is not ours comes along
    hidden.mkdir()
    (hidden / "other.txt").write_text("other")
    (hidden / "slices.csv").write_text("old")
    restore_interrupted(case.parent)
    assert (case / "other.txt").read_text() == "other" and not hidden.exists()
    assert next(csv.reader((case / "slices.csv").open())) != ["old"]


def test_only_old_remains_of_ours_are_removed(tmp_path: Path) -> None:
    names = (".neck.0123456789ab.part", ".0123456789ab.part.csv", ".part", "neck.part", ".mine.part")
    for name in names:
        _text(tmp_path / name, "x")
    remove_abandoned_parts(tmp_path)
    assert len(list(tmp_path.iterdir())) == len(names)  # they may be somebody's who is writing
    remove_abandoned_parts(tmp_path, age_s=-1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.part", ".part", "neck.part"]


_ONE_UPDATE = [
    word
    for one in (
        "network.name=deep_unet", "network.width=1", "batch_size=2", "updates_per_epoch=1", "epochs=1", "crop.size=32",
        "statistics_batches=1", "normalisation.size=64",
    )
    for word in ("--set", one)
]  # fmt: skip
_NO_NETWORK = """
import socket, sys
def shut(*_, **__):
    sys.stderr.write("THE NETWORK WAS ASKED FOR\\n")
    raise AssertionError("the network is shut")
socket.socket.connect = socket.socket.connect_ex = socket.socket.bind = socket.socket.sendto = shut
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = shut
from SpinalCordSegLib.cli import main
from SpinalCordSegTrainerLib.cli import main as trainer
import json
for program, words in json.loads(sys.argv[1]):
    code = {"lib": main, "train": trainer}[program](words)
    assert code == 0, (words, code)
"""


def test_no_command_asks_for_the_network(tmp_path: Path, dicom, neck) -> None:
    """segment, measure, follow-up, export, evaluate, train in a program whose sockets refuse to be used."""
    series = neck.write(tmp_path / "series")
    case = neck.finish(series, tmp_path / "results" / "neck")
    label = read_grid(next(case.glob("mask.*"))).volume
    grey = (label.ijk * 100 + np.arange(label.ijk_shape[0])[:, None, None]).astype(np.int16)
    for n, name in enumerate(("anna", "berta")):
        write_volume(label.with_ijk(grey + 9 * n * label.ijk.astype(np.int16)), tmp_path / "data" / f"{name}.nii.gz")
        write_volume(label, tmp_path / "data" / f"{name}_seg.nii.gz")
        write_volume(label, tmp_path / "drawn" / f"{name}.nii.gz")
    out = str(tmp_path / "out")
    work = [
        ("lib", ["segment", str(series), "--output", f"{out}/segment", "--device", "cpu"]),
        ("lib", ["measure", str(tmp_path / "drawn" / "anna.nii.gz"), "--output", f"{out}/measure"]),
        ("lib", ["export", str(case), "--dicom", str(series), "--output", f"{out}/export"]),
        ("lib", ["follow-up", str(case), str(case), "--date", "2021-01-31", "--date", "2022-01-31",
                 "--disc", "3", "--disc", "3", "--output", f"{out}/track"]),
        ("train", ["evaluate", str(tmp_path / "data"), "--predictions", str(tmp_path / "drawn"),
                   "--output", f"{out}/evaluate"]),
        ("train", ["train", str(tmp_path / "data"), "--output", f"{out}/run", "--device", "cpu", *_ONE_UPDATE]),
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", _NO_NETWORK, json.dumps(work)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "NETWORK WAS ASKED" not in done.stderr
    assert (tmp_path / "out" / "run" / "last.safetensors").is_file()


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
