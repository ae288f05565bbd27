"""Standard input is read in a thread without waiting inside the system's read, as Windows needs it."""

from __future__ import annotations

import os
import threading

import pytest

from SpinalCordSegLib.command_line import standard_input


@pytest.fixture(params=["as here", "as on Windows"])
def pipe(request, monkeypatch):
    """Both ends, read as here or in Windows' way; what Windows would tell comes from a count of what was written."""
    reading, writing = os.pipe()
    if request.param == "as on Windows":
        import fcntl
        import struct
        import termios

        closed = threading.Event()

        def waiting(descriptor: int) -> int | None:
            (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))
            return None if not count and closed.is_set() else count

        monkeypatch.setattr(standard_input, "_IS_WINDOWS", True)
        monkeypatch.setattr(standard_input, "_LOOK_S", 0.005)
        monkeypatch.setattr(standard_input, "_bytes_waiting", waiting)
        close = os.close
        monkeypatch.setattr(os, "close", lambda one: (close(one), closed.set()))
    yield reading, writing
    os.close(reading)


def test_parts_come_as_they_are_written_and_then_the_end(pipe) -> None:
    reading, writing = pipe
    os.write(writing, b"stay\nmore")
    assert standard_input.read_part(reading, 5) == b"stay\n"
    assert standard_input.read_part(reading) == b"more"
    threading.Timer(0.05, lambda: os.write(writing, b"later")).start()
    assert standard_input.read_part(reading) == b"later"
    threading.Timer(0.05, lambda: os.close(writing)).start()
    assert standard_input.read_part(reading) == b""
