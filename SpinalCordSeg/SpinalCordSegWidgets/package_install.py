"""Installing Python packages into Slicer: only on a click, and never at the cost of a package that is there."""

from __future__ import annotations

import importlib
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from slicer.i18n import tr as _

# Replacing one of these breaks Slicer or another extension.
_KEEP = ("numpy", "scipy", "pydicom", "SimpleITK", "vtk", "Pillow", "requests", "torch")

# How a failed pip arrives; ImportError: what was installed does not start.
INSTALL_ERRORS = (subprocess.CalledProcessError, RuntimeError, OSError, ImportError)


def install(requirements: Sequence[str], question: str) -> str:
    """Install the packages after the user agreed; gives what to tell afterwards. ``question``: with size and purpose.

    Ranges as "rich>=13", no pins. Uses ``slicer.packaging`` (Slicer 5.11 and later), else ``slicer.util.pip_install``.
    """
    import slicer.util

    names = ", ".join(requirements)
    if not slicer.util.confirmOkCancelDisplay(question):
        return _("Nothing was installed.")
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(kept_versions()) + "\n", encoding="utf-8")
        try:
            _install(requirements, constraints)
        except INSTALL_ERRORS as error:
            return _("Not installed: {names} ({reason}). The Python console tells more.").format(
                names=names, reason=error
            )
    importlib.invalidate_caches()
    return _("Installed: {names}.").format(names=names)


def kept_versions() -> list[str]:
    """Requirements that hold every package of Slicer's at the version that is there."""
    kept = []
    for name in _KEEP:
        try:
            # What follows "+" names the build ("2.6.0+cu124") and is not on every index.
            kept.append(f"{name}=={version(name).partition('+')[0]}")
        except PackageNotFoundError:
            continue
    return kept


def _install(requirements: Sequence[str], constraints: Path) -> None:
    import slicer.util

    try:
        from slicer.packaging import pip_ensure
    except ImportError:
        slicer.util.pip_install([*requirements, "--constraint", str(constraints)])
        return
    from packaging.requirements import Requirement

    pip_ensure(
        [Requirement(one) for one in requirements],
        constraints=constraints,
        prompt_install=False,
        requester="SpinalCordSeg",
    )
