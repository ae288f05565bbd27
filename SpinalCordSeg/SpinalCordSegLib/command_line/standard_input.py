"""Reading standard input in a thread without ever waiting inside the system's read, where Windows cannot bear it.

Windows does one thing at a time with a pipe: while a thread waits in a read, whoever asks the pipe for anything waits
too. The run-time library of OpenBLAS asks it while numpy is loaded, so the whole program would stand still until the
parent writes again (numpy issue 24290).
"""

from __future__ import annotations

import os
import time

_IS_WINDOWS = os.name == "nt"
_LOOK_S = 0.1
_UNKNOWN = 1 << 20


def read_part(descriptor: int, most: int = 1024) -> bytes:
    """What has come, at most so many bytes, once something has; b"" at the end of input. Raises OSError."""
    if _IS_WINDOWS:
        while not (waiting := _bytes_waiting(descriptor)):
            if waiting is None:
                return b""
            time.sleep(_LOOK_S)
        most = min(most, waiting)
    return os.read(descriptor, most)


def _bytes_waiting(descriptor: int) -> int | None:
    """How many can be read at once, None at the end; what is no pipe (a file, a console) may be read as it is."""
    import ctypes
    import msvcrt

    waiting = ctypes.c_ulong()
    handle = msvcrt.get_osfhandle(descriptor)  # type: ignore[attr-defined, unused-ignore]
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined, unused-ignore]
    if kernel.PeekNamedPipe(ctypes.c_void_p(handle), None, 0, None, ctypes.byref(waiting), None):
        return waiting.value
    broken_pipe = 109
    error = ctypes.get_last_error()  # type: ignore[attr-defined, unused-ignore]
    return None if error == broken_pipe else _UNKNOWN
