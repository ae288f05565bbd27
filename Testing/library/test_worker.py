"""The worker: standard input read in a thread, and the panels' own commands."""

from __future__ import annotations

import json
import os
import sys
import threading

import numpy as np
import pytest
from threshold_model import SPACING_MM, neck_image, write_threshold_model

from SpinalCordSegLib import worker
from SpinalCordSegLib.image_io import read_labels, write_volume


@pytest.fixture(params=["as here", "as on Windows"])
def pipe(request, monkeypatch):
    """Both ends, read as here or in Windows' way; what Windows would report comes from a count of what was written."""
    reading, writing = os.pipe()
    if request.param == "as on Windows":
        import fcntl
        import struct
        import termios

        closed = threading.Event()

        def waiting(descriptor: int) -> int | None:
            (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))
            return None if not count and closed.is_set() else count

        monkeypatch.setattr(worker, "_IS_WINDOWS", True)
        monkeypatch.setattr(worker, "_LOOK_S", 0.005)
        monkeypatch.setattr(worker, "_bytes_waiting", waiting)
        close = os.close
        monkeypatch.setattr(os, "close", lambda one: (close(one), closed.set()))
    yield reading, writing
    os.close(reading)


def test_parts_come_as_they_are_written_and_then_the_end(pipe):
    reading, writing = pipe
    os.write(writing, b"stay\nmore")
    assert worker.read_part(reading, 5) == b"stay\n"
    assert worker.read_part(reading) == b"more"
    threading.Timer(0.05, lambda: os.write(writing, b"later")).start()
    assert worker.read_part(reading) == b"later"
    threading.Timer(0.05, lambda: os.close(writing)).start()
    assert worker.read_part(reading) == b""


def test_what_can_train_is_another_question(monkeypatch):
    assert worker.probe(training=True)["devices"][-1] == {"name": "cpu", "label": "CPU"}
    monkeypatch.setitem(sys.modules, "torch", None)
    assert worker.probe(training=True) == {"state": "absent", "detail": "torch", "devices": []}
    assert worker.probe()["state"] == "ready"


def _result(capsys):
    """What the command gave the panel."""
    (event,) = (e for e in map(json.loads, capsys.readouterr().out.splitlines()) if e["event"] == "result")
    return event


def test_rerun_changes_its_slices_only(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = neck_image(np.diag([*SPACING_MM, 1.0]), (2, 0, 1))  # axes stored superior, right, anterior
    cord = image.voxels > 500
    mask = cord.copy()
    mask[4:9] = False
    mask[15, 3, 3] = True  # somebody's own, far from the cord
    write_volume(image, tmp_path / "volume.nrrd")
    write_volume(image.with_voxels(mask), tmp_path / "mask.nrrd")
    model = write_threshold_model(tmp_path / "model.safetensors")
    command = ["rerun", "--progress", "json", "--slices", "5:7", "--model", str(model), "--device", "cpu"]
    assert worker.panel_main([*command, "--threshold", "0.5", "--smooth-z", "1.6"]) == 0
    found = read_labels(tmp_path / _result(capsys)["mask"]).voxels != 0
    untouched = [k for k in range(mask.shape[0]) if k not in (5, 6)]
    assert np.array_equal(found[untouched], mask[untouched])
    assert (found[5:7] & cord[5:7]).sum() > 0.7 * cord[5:7].sum()
