"""A batch on a local dask cluster gives what the serial one gives; a cluster that cannot be used is told at once."""

import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from SpinalCordSegLib import batch
from SpinalCordSegLib.batch import BatchOptions, run_batch
from SpinalCordSegLib.case import Case
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.image_io import Image, write_volume
from SpinalCordSegLib.model.checkpoint import Checkpoint, NetworkConfig, save_checkpoint
from SpinalCordSegLib.model.networks import build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.pipeline import SegmentOptions, measure_mask
from SpinalCordSegLib.volume import Volume

dask = pytest.importorskip("dask", reason="DASK MISSING: clusters were not tested (extra: cluster)")
LocalCluster = pytest.importorskip(
    "distributed", reason="DISTRIBUTED MISSING: clusters were not tested (extra: cluster)"
).LocalCluster


@pytest.fixture
def cohort(tmp_path: Path) -> tuple[list[str], Path]:
    """Ten small volumes of 1 × 0.8 × 5 mm, one file that is none, and an untrained model that finds something."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    rng = np.random.default_rng(2)
    paths = []
    for number in range(10):
        voxels = rng.integers(0, 200, (40, 50, 4)).astype(np.int16)
        write_volume(Volume.from_ijk(voxels, np.diag([1.0, 0.8, 5.0, 1.0])), tmp_path / f"a{number}.nii.gz")
        paths.append(str(tmp_path / f"a{number}.nii.gz"))
    (tmp_path / "bad.nii.gz").write_bytes(b"nothing")
    paths.insert(1, str(tmp_path / "bad.nii.gz"))
    config = NetworkConfig("unet", 1)
    network = build_network(config)
    model = Checkpoint("m", "1", config, NormalisationConfig(size=64), dict(network.state_dict()))
    save_checkpoint(model, tmp_path / "m.safetensors")
    return paths, tmp_path / "m.safetensors"


@pytest.mark.timeout(600)
def test_results_are_those_of_the_serial_run_though_the_worker_is_killed(
    cohort: tuple[list[str], Path], tmp_path: Path
) -> None:
    paths, model = cohort
    common = ["segment", *paths, "--model", str(model), "--device", "cpu", "--threshold", "0.4"]
    assert main([*common, "--output", str(tmp_path / "serial")]) == 1
    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 2, "processes": True, "dashboard_address": None}
    with LocalCluster(**options) as local, dask.config.set({"distributed.comm.timeouts.connect": "3s"}):
        there = [*common, "--output", str(tmp_path / "there"), "--scheduler", local.scheduler_address]

        def kill() -> None:
            while not (tmp_path / "there" / "a0").exists():
                time.sleep(0.01)
            for worker in local.workers.values():  # the model is gone with it; it is started again
                os.kill(worker.pid, signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        assert main(there) == 1
        assert not killer.is_alive()
        assert main(there) == 1  # finished results are kept
    for name in (f"a{number}" for number in range(10)):
        one, other = tmp_path / "serial" / name, tmp_path / "there" / name
        cases = [Case.load(folder) for folder in (one, other)]
        assert cases[0].mask_sha256 == cases[1].mask_sha256 and cases[0].slices.csv() == cases[1].slices.csv()
        assert (cases[0].flags, cases[0].input, cases[0].model) == (cases[1].flags, cases[1].input, cases[1].model)
        assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    for name in ("serial", "there"):
        assert len((tmp_path / name / "summary.csv").read_text(encoding="utf-8").splitlines()) == 12


def test_no_scheduler_and_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_CONNECT_SECONDS", 0.5)
    with pytest.raises(ConfigurationError, match="no scheduler answers"):
        batch.Cluster("tcp://127.0.0.1:1")
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=None, protocol="tcp") as local,
        pytest.raises(ConfigurationError, match="no workers"),
    ):
        batch.Cluster(local.scheduler_address)


class _Serial:
    """A scheduler's client that computes at once."""

    status = "running"

    def submit(self, _task: Any, image: Image | None, *_: Any, **__: Any) -> Any:
        if image is None:  # the model
            return None
        return SimpleNamespace(result=lambda timeout: measure_mask(image.volume.with_ijk(image.volume.ijk > 0), "x"))


def test_an_unexpected_fault_while_reading_ahead_shifts_nobody(tmp_path: Path) -> None:
    """Under codes a case that takes the place of another is another person's."""
    widths = {"p1": 9, "p2": 10, "p3": 11, "p4": 12}

    def read(path: Path) -> Image:
        if path.stem == "p3":
            raise TypeError("a header value is None")
        voxels = np.zeros((40, 40, 20), np.uint8)
        voxels[10 : 10 + widths[path.stem], 10:17, 2:18] = 1
        return Image(Volume.from_ijk(voxels, np.eye(4)), path, path.stem)

    remote = object.__new__(batch.Cluster)
    remote._client, remote.threads = _Serial(), 1
    inputs = [Path(f"{name}.nii") for name in widths]
    load = remote.loader(inputs, read, None, SegmentOptions())  # type: ignore[arg-type]
    outcomes = list(run_batch(inputs, load, BatchOptions(tmp_path, code="S")))
    assert [one.state for one in outcomes] == ["done", "done", "failed", "done"]
    for one, name in zip(outcomes, widths, strict=True):
        assert one.case is None if name == "p3" else one.case.volume_mm3 == widths[name] * 7 * 16
