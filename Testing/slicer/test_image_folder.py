"""The images of a work list's cases: how much is read to find one, and what damage hides none of the others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from dicom_neck import write_series
from threshold_model import SPACING_MM, neck_image

import SpinalCordSegLib.dicom as dicom
from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegLib.image_io import read_image, write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
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


def _case(name: str, fingerprint: str = "", source: str = "") -> SimpleNamespace:
    found = SimpleNamespace(fingerprint=fingerprint, image_fingerprint="", source=source)
    return SimpleNamespace(name=name, input=found)


def test_a_series_is_found_by_its_fingerprint_and_no_image_is_read_twice(archive, monkeypatch):
    known = [fingerprint(dicom.read_series(dicom.list_series(folder)[0])) for folder in sorted(archive.iterdir())]
    read, folders, images = dicom.read_series, [], ImageFolder(archive)
    monkeypatch.setattr(dicom, "read_series", lambda series: folders.append(series.uid) or read(series))
    for number in range(_N, 0, -1):
        found = images.find(_case(f"{_NAME}_ab12", known[number - 1]))
        assert found.path.parent.name == f"P{number}" and found.is_known
    assert len(folders) <= 2 * _N
    folders.clear()
    assert images.find(_case(f"{_NAME}_ab12", "of an image that is not there")) is None and not folders
    assert images.find(_case("another", known[0])) is None


def test_an_image_is_looked_for_first_where_the_batch_had_found_it(archive, monkeypatch):
    monkeypatch.setattr("SpinalCordSegNodes.case_data._list", None)  # no other header is read
    third = fingerprint(read_image(archive / "P3").volume)
    assert ImageFolder(archive).find(_case("any", third, "P3")).path == archive / "P3"


def test_a_damaged_file_hides_no_other_series(archive):
    for path in (archive / "P2").iterdir():  # two series in one folder, as a flat export has them
        path.rename(archive / "P1" / f"second {path.name}")
    damaged = archive / "P1" / "AA000"
    deflated = b"\x02\0\x10\0UI\x16\x001.2.840.10008.1.2.1.99"
    length = b"\x02\0\0\0UL\x04\0" + len(deflated).to_bytes(4, "little")
    damaged.write_bytes(b"\0" * 128 + b"DICM" + length + deflated + b"\xff" * 40)
    volumes = [read().ijk for _name, _path, read in ImageFolder(archive)._candidates(_case(_NAME))]
    assert sorted(int(voxels.min()) for voxels in volumes) == [40, 41, 42, 43]


def test_one_of_several_images_of_a_name_is_taken_by_its_fingerprint_only(tmp_path):
    first = make_phantom(PhantomConfig(shape=(16, 16, 4), cord_csa_mm2=20.0)).image
    for number, folder in enumerate(("p1", "p2")):
        write_volume(first.with_ijk(first.ijk + number), tmp_path / folder / "T1.nii.gz")
    images = ImageFolder(tmp_path)
    known = fingerprint(read_image(tmp_path / "p2" / "T1.nii.gz").volume)
    for case in ("T1", "p2_T1"):
        assert images.find(_case(case, known)).path == tmp_path / "p2" / "T1.nii.gz"
        assert images.find(_case(case, "of an image that is not there")) is None
    (tmp_path / "p2" / "T1.nii.gz").unlink()
    assert images.find(_case("T1")).path == tmp_path / "p1" / "T1.nii.gz"  # a measured mask knows no image
    (tmp_path / "p1" / "T1.nii.gz").write_bytes(b"cut off")
    with pytest.raises(SpinalCordSegError):
        images.find(_case("T1"))
