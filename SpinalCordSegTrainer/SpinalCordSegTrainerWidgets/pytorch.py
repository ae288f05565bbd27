"""Is PyTorch there to train with, and does it work? Slicer's PyTorch extension installs and repairs it, on a click."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import slicer.util
from slicer.i18n import tr as _

from SpinalCordSegWidgets.install import (
    INSTALL_ERRORS,
    Dependencies,
    broken_package,
    install,
    installed_version,
    missing_packages,
    offer_restart,
)


def check_training(
    probe: Mapping[str, Any] | None = None,
    installed: Callable[[str], str | None] = installed_version,
    platform: str = sys.platform,
) -> Dependencies:
    """What training needs. ``probe``: the answer of SpinalCordSegLib.worker where one is known."""
    from packaging.specifiers import SpecifierSet

    torch, wanted = installed("torch"), torch_requirement(platform)
    if torch is None:
        text = _("PyTorch is needed to train, and is not installed. It is a download of 0.2 to 3 GB.")
        return Dependencies(text, _("Install PyTorch…"), False)
    broken = broken_package(probe or {}, "torch", "PyTorch")
    if broken is not None:
        return broken
    if not SpecifierSet(wanted).contains(torch or "0", prereleases=True):
        text = _("PyTorch {version} does not fit: {wanted} is needed.").format(version=torch, wanted=wanted)
        return Dependencies(text, _("Replace PyTorch…"), False, replaces=True)
    text = _("Safetensors is needed to train, and is not installed.")
    return missing_packages(installed, text if installed("safetensors") is None else "")


def torch_requirement(platform: str = sys.platform) -> str:
    """From 2.13 on the paths of PyTorch's licence files are too long for Windows' default limit."""
    return ">=2.4,<2.13" if platform == "win32" else ">=2.4"


def repair(dependencies: Dependencies) -> str:
    """Do what the message proposes; gives a message."""
    if dependencies.packages:
        return install(dependencies.packages, again=dependencies.replaces)
    try:
        logic = importlib.import_module("PyTorchUtils").PyTorchUtilsLogic()
    except ModuleNotFoundError:
        return _(
            "Install the extension “PyTorch” first: View menu, Extensions Manager, search for PyTorch. Restart Slicer"
            " and come back here."
        )
    absent = not dependencies.replaces
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
        return _("PyTorch was not installed. See the Python console (View menu).")
    if not absent:
        offer_restart("SpinalCordSegTrainer")
    return _("PyTorch is installed.") if absent else _("PyTorch is replaced: restart Slicer.")
