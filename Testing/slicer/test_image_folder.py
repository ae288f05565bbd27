"""The images of a work list's cases: how much is read to find one, and what damage hides none of the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_neck import write_series
from threshold_model import SPACING_MM, neck_image

import SpinalCordSegLib.dicom as dicom
from SpinalCordSegLib.pipeline import fingerprint
from SpinalCordSegNodes.case_data import ImageFolder

_N = 4
_NAME = "T1w-neck-4"


@pytest.fixture
def archive(tmp_path) -> Path:
    """A folder for each of four persons: the same protocol, other voxels."""
    image = neck_image(np.diag([*SPACING_MM, 1.0]))
    for person in range(_N):
        write_series(image.with_ijk(image.ijk + person), tmp_path / "archive" / f"P{person + 1}")
    return tmp_path / "archive"


@pytest.fixture
def series_read(monkeypatch) -> list[str]:
    """The folder of each series whose pixels were read."""
    read, folders = dicom.read_series, []

    def counted(series):
        folders.append(series.files[0].parent.name)
        return read(series)

    monkeypatch.setattr(dicom, "read_series", counted)
    return folders


def _fingerprints(archive: Path) -> list[str]:
    return [fingerprint(dicom.read_series(dicom.list_series(folder)[0])) for folder in sorted(archive.iterdir())]


def test_no_image_is_read_again_to_be_passed_over_again(archive, series_read):
    known, images = _fingerprints(archive), ImageFolder(archive)
    series_read.clear()
    for number in range(_N, 0, -1):  # the batch's own order was another
        found = images.find(_NAME if number == _N else f"{_NAME}_{_N + 1 - number}", known[number - 1])
        assert found.path.parent.name == f"P{number}"
    assert len(series_read) <= 2 * _N
    series_read.clear()
    assert images.find(f"{_NAME}_2", "of an image that is not there") is None and not series_read


def test_the_nth_image_of_a_name_is_read_first(archive, series_read):
    known = _fingerprints(archive)
    series_read.clear()
    assert ImageFolder(archive).find(f"{_NAME}_3", known[2]).path.parent.name == "P3"
    assert series_read == ["P3"]
    assert ImageFolder(archive).find(f"{_NAME}_3", known[3]).path.parent.name == "P4"
    assert ImageFolder(archive).find(f"{_NAME}_99", known[1]).path.parent.name == "P2"


def test_a_damaged_file_hides_no_other_series(archive):
    for path in (archive / "P2").iterdir():  # two series in one folder, as a flat export has them
        path.rename(archive / "P1" / f"second {path.name}")
    damaged = archive / "P1" / "AA000"
    deflated = b"\x02\0\x10\0UI\x16\x001.2.840.10008.1.2.1.99"
    length = b"\x02\0\0\0UL\x04\0" + len(deflated).to_bytes(4, "little")
    damaged.write_bytes(b"\0" * 128 + b"DICM" + length + deflated + b"\xff" * 40)
    volumes = [read().ijk for _name, _path, read in ImageFolder(archive)._candidates(_NAME)]
    assert sorted(int(voxels.min()) for voxels in volumes) == [40, 41, 42, 43]
