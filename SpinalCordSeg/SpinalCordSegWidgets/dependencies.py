"""Is PyTorch there and fit to use? Told from what is installed and the probe's answer; never imported here.

What is wrong is said plainly with its repair, which runs only on a click: torch through Slicer's PyTorch extension,
safetensors through Slicer's package installer.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import slicer.util
from slicer.i18n import tr as _

from SpinalCordSegWidgets.package_install import INSTALL_ERRORS, install

_OLDEST = (2, 4)
_NOT_ON_WINDOWS = (2, 13)  # the paths of its licence files are too long for Windows' default limit
_SAFETENSORS = "safetensors>=0.4.3,<1"


@dataclass(frozen=True)
class Dependencies:
    """``state``: ready, absent, old, too_new, broken or no_safetensors. ``message``, ``action``: "" when ready."""

    state: str
    message: str = ""
    action: str = ""

    @property
    def ready(self) -> bool:
        return self.state == "ready"


def installed_version(package: str) -> str | None:
    """What is installed, without importing it; "" when its record is damaged, None when there is none."""
    if importlib.util.find_spec(package) is None:
        return None
    try:
        return version(package) or ""
    except PackageNotFoundError:
        return ""


def check_dependencies(
    probe: Mapping[str, Any] | None = None,
    installed: Callable[[str], str | None] = installed_version,
    platform: str = sys.platform,
) -> Dependencies:
    """``probe``: the answer of SpinalCordSegLib.probe where one is known."""
    torch = installed("torch")
    if torch is None:
        return Dependencies(
            "absent",
            _(
                "PyTorch is needed to find the cord and to train, and is not installed. It is a download of 0.2 to"
                " 3 GB. Measuring a mask works without it."
            ),
            _("Install PyTorch…"),
        )
    why_broken = _why_broken(torch, probe or {})
    if why_broken:
        words = _("PyTorch is installed but does not start ({detail}). Install it again, then restart Slicer.")
        return Dependencies("broken", words.format(detail=why_broken), _("Repair PyTorch…"))
    if _numbers(torch) < _OLDEST:
        words = _("PyTorch {version} is too old: {oldest} or newer is needed.")
        return Dependencies("old", words.format(version=torch, oldest="2.4"), _("Update PyTorch…"))
    if platform == "win32" and _numbers(torch) >= _NOT_ON_WINDOWS:
        words = _("PyTorch {version} does not install completely on Windows: take a version before 2.13.")
        return Dependencies("too_new", words.format(version=torch), _("Replace PyTorch…"))
    if installed("safetensors") is None:
        words = _("The package safetensors reads the models and is not installed. It is a download of 0.5 MB.")
        return Dependencies("no_safetensors", words, _("Install safetensors…"))
    return Dependencies("ready")


def _why_broken(torch: str, probe: Mapping[str, Any]) -> str:
    """What hinders a PyTorch that is there; "" when nothing is known to. ``torch``: its version."""
    detail = str(probe.get("detail") or "")
    if probe.get("state") == "absent" and detail != "safetensors":  # it is there, something that it needs is not
        return _("{package} is missing").format(package=detail)
    if not torch or probe.get("state") == "broken":
        return detail or _("its record is damaged")
    return ""


def torch_requirement(platform: str = sys.platform) -> str:
    return ">=2.4,<2.13" if platform == "win32" else ">=2.4"


def repair(dependencies: Dependencies) -> str:
    """Do what the message proposes; gives what to tell the user afterwards."""
    if dependencies.state == "no_safetensors":
        return install([_SAFETENSORS], _("Download and install safetensors (0.5 MB)? It reads the models."))
    try:
        logic = importlib.import_module("PyTorchUtils").PyTorchUtilsLogic()
    except ModuleNotFoundError:
        return _(
            "Install the extension “PyTorch” first: View menu, Extensions Manager, search for PyTorch. Restart Slicer"
            " and come back here."
        )
    absent = dependencies.state == "absent"
    question = _("PyTorch is removed and downloaded anew (0.2 to 3 GB). Other extensions may use it too. Go on?")
    if not absent and not slicer.util.confirmOkCancelDisplay(question):  # the extension removes it without asking
        return _("Nothing was changed.")
    try:
        if not absent:
            logic.uninstallTorch()
        installed = logic.installTorch(askConfirmation=absent, torchVersionRequirement=torch_requirement())
    except INSTALL_ERRORS:
        installed = None
    if installed is None:
        return _("PyTorch was not installed. The Python console tells more (View menu).")
    return _("PyTorch is installed.") if absent else _("PyTorch is replaced: restart Slicer.")


def _numbers(text: str) -> tuple[int, ...]:
    """ "2.13.0+cpu" → (2, 13)."""
    return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in text.split("+")[0].split(".")[:2])
