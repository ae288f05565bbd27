"""Keep libraries from writing to stderr: a user gets one line, ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import SimpleITK as sitk


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Nothing that ITK and the C libraries below it print inside this block is seen.

    They use the process's file descriptor 2, so what other threads write there meanwhile is lost too.
    """
    try:
        kept = os.dup(2)
    except OSError:  # no stderr at all, as under pythonw
        yield
        return
    shows_warnings = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        sitk.ProcessObject.SetGlobalWarningDisplay(shows_warnings)
