"""Versions of a mask: whole or not there, none written over, found after a kill -9."""

import os
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from SpinalCordSegLib.errors import ConfigurationError, InputFileError, OutputError
from SpinalCordSegLib.mask_versions import MaskVersions
from SpinalCordSegLib.metrics import mask_sha256
from SpinalCordSegLib.volume import Volume

NOON = datetime(2024, 1, 31, 12, 0, 0, tzinfo=timezone.utc)
GRID = np.array([[0, 0, -3.0, 5], [-0.5, 0, 0, 7], [0, 0.6, 0, -9], [0, 0, 0, 1]])


def _mask(number: int) -> Volume:
    """A different one for every number; the larger, the more voxels."""
    voxels = np.zeros((12, 11, 10), np.uint8)
    voxels.reshape(-1)[:number] = 1
    return Volume.from_ijk(voxels, GRID)


@pytest.fixture
def store(tmp_path: Path) -> MaskVersions:
    return MaskVersions(tmp_path / "versions", keep=3)


def test_versions_are_kept_and_read_back(store: MaskVersions) -> None:
    first = store.save(_mask(5), NOON)
    second = store.save(_mask(6), NOON, who="A. Meyer", state="corrected")
    assert [version.number for version in store.versions()] == [2, 1]
    assert first.path.name == f"v000001_20240131T120000Z_{mask_sha256(_mask(5))[:16]}.nii.gz"
    assert (first.maker(), second.maker()) == (("", ""), ("A. Meyer", "corrected"))
    back = second.read()
    assert np.array_equal(back.ijk, _mask(6).ijk != 0) and np.allclose(
        back.voxel_to_ras, _mask(6).voxel_to_ras, atol=1e-4
    )
    assert store.save(_mask(6)) is None  # nothing new
    assert store.save(_mask(6), state="corrected") is None
    assert store.save(_mask(6), who="B", state="accepted").number == 3
    assert store.save(_mask(5)).number == 4  # taken back: a version of its own


def test_the_oldest_go_and_strangers_stay(store: MaskVersions) -> None:
    store.place.mkdir(parents=True)
    (store.place / "v000001_notes.nii.gz").write_text("mine")
    for number in range(1, 8):
        store.save(_mask(number), state="corrected")
    assert [version.number for version in store.versions()] == [7, 6, 5]
    assert (store.place / "v000001_notes.nii.gz").read_text() == "mine"
    assert len(list(store.place.iterdir())) == 7  # three, who made them, and the stranger


def test_recovery_is_offered_only_for_work_that_is_nowhere_else(store: MaskVersions) -> None:
    assert store.recovery() is None
    store.save(_mask(5))
    found = store.recovery(mask_sha256(_mask(4)))
    assert found is not None and found.holds(mask_sha256(_mask(5)))
    assert store.recovery(mask_sha256(_mask(5))) is None  # the mask at hand is this one
    assert found.read().ijk.sum() == 5
    store.save(_mask(6))
    assert store.recovery().number == 2


def test_a_damaged_version_is_reported(store: MaskVersions) -> None:
    saved, other = store.save(_mask(5)), store.save(_mask(6))
    saved.path.write_bytes(other.path.read_bytes())
    with pytest.raises(InputFileError, match="take the version before"):
        saved.read()
    other.path.write_bytes(other.path.read_bytes()[:40])
    with pytest.raises(InputFileError):
        other.read()


def test_two_programs_never_write_over_each_other(store: MaskVersions, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(_mask(1))
    monkeypatch.setattr(MaskVersions, "versions", lambda self: ())  # sees none of the other program's
    again = store.save(_mask(2))
    monkeypatch.undo()
    assert again.number == 1
    assert sorted(version.read().ijk.sum() for version in store.versions()) == [1, 2]


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_what_cannot_be_written_is_refused(store: MaskVersions, tmp_path: Path) -> None:
    (tmp_path / "versions").write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        store.save(_mask(1))
    with pytest.raises(ConfigurationError, match="at least 1"):
        MaskVersions(tmp_path, keep=0)


def test_kill_minus_nine_loses_nothing_that_was_saved(tmp_path: Path, work_until_killed) -> None:
    store = MaskVersions(tmp_path / "versions")
    (tmp_path / "saved").write_text("0")

    def work() -> None:
        number = len(store.versions()) + 1
        store.save(_mask(number))
        (tmp_path / "saved").write_text(str(number))

    for wait_s in np.random.default_rng(7).uniform(0.05, 0.1, 5):
        work_until_killed(work, float(wait_s))
        saved = [int(version.read().ijk.sum()) for version in store.versions()]  # each is whole
        assert saved == list(range(len(saved), 0, -1))
        assert len(saved) >= int((tmp_path / "saved").read_text() or 0)
