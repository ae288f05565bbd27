"""What the trainer needs beside the segmentation: told from what is installed, installed on a click."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from slicer.i18n import tr as _

from SpinalCordSegWidgets.dependencies import Dependencies, check_dependencies, installed_version, repair
from SpinalCordSegWidgets.package_install import install

# package → what is asked for; none of them needs torch
_NEEDED = {"matplotlib": "matplotlib>=3.8", "rich": "rich>=13", "typer": "typer>=0.12"}
_STATE = "no_trainer_packages"


def check_packages(
    probe: Mapping[str, Any] | None = None, installed: Callable[[str], str | None] = installed_version
) -> Dependencies:
    """PyTorch first, then what draws curves and reads the command line."""
    found = check_dependencies(probe, installed)
    if not found.ready:
        return found
    missing = missing_packages(installed)
    if not missing:
        return found
    words = _("The trainer needs {names} for its command line and pictures: a download of about 20 MB.")
    return Dependencies(_STATE, words.format(names=", ".join(missing)), _("Install…"))


def missing_packages(installed: Callable[[str], str | None] = installed_version) -> list[str]:
    return [name for name in _NEEDED if installed(name) is None]


def repair_packages(dependencies: Dependencies) -> str:
    """Do what the message proposes; gives what to tell the user afterwards."""
    if dependencies.state != _STATE:
        return repair(dependencies)
    missing = missing_packages()
    question = _("Download and install {names} (about 20 MB)? The trainer's command line and pictures need them.")
    return install([_NEEDED[name] for name in missing], question.format(names=", ".join(missing)))
