"""Versions of a correction: whole or not there, none written over, found after a kill -9."""

import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from SpinalCordSegLib.errors import ConfigurationError, InputFileError, OutputError
from SpinalCordSegLib.mask_versions import CorrectionStore, read_version
from SpinalCordSegLib.metrics import mask_sha256
from SpinalCordSegLib.volume import Volume

NOON = datetime(2024, 1, 31, 12, 0, 0, tzinfo=timezone.utc)
GRID = np.array([[0, 0, -3.0, 5], [-0.5, 0, 0, 7], [0, 0.6, 0, -9], [0, 0, 0, 1]])


def _mask(number: int) -> Volume:
    """A different one for every number; the larger, the more voxels."""
    voxels = np.zeros((12, 11, 10), np.uint8)
    voxels.reshape(-1)[:number] = 1
    return Volume(voxels, GRID)


@pytest.fixture
def store(tmp_path: Path) -> CorrectionStore:
    return CorrectionStore(tmp_path / "autosave", "neck-01", keep=3)


def test_versions_are_kept_and_read_back(store: CorrectionStore) -> None:
    first = store.save(_mask(5), NOON)
    second = store.save(_mask(6), NOON)
    assert [version.number for version in store.versions()] == [2, 1]
    assert first.path.name == f"v000001_20240131T120000Z_{mask_sha256(_mask(5))[:16]}.nii.gz"
    back = read_version(second)
    assert np.array_equal(back.voxels, _mask(6).voxels != 0) and back.same_grid(_mask(6))
    assert store.save(_mask(6)) is None  # nothing new
    assert store.save(_mask(5)).number == 3  # taken back: a version of its own


def test_the_oldest_go_and_strangers_stay(store: CorrectionStore) -> None:
    store.place.mkdir(parents=True)
    (store.place / "v000001_notes.txt").write_text("mine")
    for number in range(1, 8):
        store.save(_mask(number))
    assert [version.number for version in store.versions()] == [8, 7, 6]  # number 1 was taken, so never used
    assert (store.place / "v000001_notes.txt").read_text() == "mine"


def test_recovery_is_offered_once_and_only_for_work_that_is_nowhere_else(store: CorrectionStore) -> None:
    assert store.recovery() is None
    store.save(_mask(5))
    found = store.recovery(mask_sha256(_mask(4)))
    assert found is not None and found.holds(mask_sha256(_mask(5)))
    assert store.recovery(mask_sha256(_mask(5))) is None  # the mask at hand is this one
    store.dismiss(found)
    assert store.recovery() is None and read_version(found).voxels.sum() == 5
    store.save(_mask(6))
    assert store.recovery().number == 2


def test_a_damaged_version_is_told(store: CorrectionStore) -> None:
    saved, other = store.save(_mask(5)), store.save(_mask(6))
    saved.path.write_bytes(other.path.read_bytes())
    with pytest.raises(InputFileError, match="take the version before"):
        read_version(saved)
    other.path.write_bytes(other.path.read_bytes()[:40])
    with pytest.raises(InputFileError):
        read_version(other)


def test_two_programs_never_write_over_each_other(store: CorrectionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(_mask(1))
    monkeypatch.setattr(CorrectionStore, "versions", lambda self: ())  # sees none of the other program's
    again = store.save(_mask(2))
    monkeypatch.undo()
    assert again.number == 2 and len(store.versions()) == 2


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_what_cannot_be_written_or_called_so_is_refused(store: CorrectionStore, tmp_path: Path) -> None:
    (tmp_path / "autosave").write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        store.save(_mask(1))
    with pytest.raises(ConfigurationError):
        CorrectionStore(tmp_path, "../elsewhere")
    with pytest.raises(ConfigurationError, match="at least 1"):
        CorrectionStore(tmp_path, "a", keep=0)


_SAVING = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_correction_store import _mask
from SpinalCordSegLib.mask_versions import CorrectionStore
store = CorrectionStore(Path(sys.argv[1]), "neck-01", keep=1000)
number = int(sys.argv[3])
while True:
    number += 1
    store.save(_mask(number))
    print(number, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_kill_minus_nine_loses_nothing_that_was_saved(tmp_path: Path) -> None:
    random, last = np.random.default_rng(7), 0
    for _ in range(3):
        program = subprocess.Popen(
            [sys.executable, "-c", _SAVING, str(tmp_path), str(Path(__file__).parent), str(last)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        told = [int(program.stdout.readline()) for _ in range(4)]
        time.sleep(float(random.uniform(0, 0.02)))
        program.send_signal(signal.SIGKILL)
        told += [int(line) for line in program.communicate()[0].split()]
        store = CorrectionStore(tmp_path, "neck-01", keep=1000)
        saved = [int(read_version(version).voxels.sum()) for version in store.versions()]  # each is whole
        last = told[-1]
        assert set(saved) >= set(range(1, last + 1)) and set(saved) <= set(range(1, last + 2))
        assert store.recovery().holds(mask_sha256(_mask(saved[0])))
        last = saved[0]
