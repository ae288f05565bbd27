"""The worker: standard input read in a thread, and the panels' own commands."""

import os
import sys
import threading

import pytest

from SpinalCordSegLib import worker


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
