"""Are the packages to find the cord (ONNX Runtime) there, and do they work? Known from what is installed and from the
probe; nothing is imported here.

What is wrong is shown with its repair, which runs only on a click, through Slicer's package installer.
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess  # noqa: TID251  (for the error of a failed pip)
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import qt
import slicer.util
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import OutputError
from SpinalCordSegWidgets.jobs import PANEL_PROGRAM, Job, JobControl
from SpinalCordSegWidgets.section import ask_folder

# Replacing one of these breaks Slicer or another extension.
_KEEP = ("numpy", "scipy", "pydicom", "SimpleITK", "vtk", "Pillow", "requests", "torch")

_RESUME = "SpinalCordSeg/Resume"  # in Slicer's settings
# of a failed pip; ImportError: what was installed does not start
INSTALL_ERRORS = (subprocess.CalledProcessError, RuntimeError, OSError, ImportError)


SIZE = "50 MB"  # of all packages but PyTorch


def install(
    requirements: Sequence[str], *, agreed: bool = False, again: bool = False, wheels: Path | None = None
) -> str:
    """Install packages, after the user agreed; gives a message. Ranges as "rich>=13".

    ``again``: although they are there. ``wheels``: from this folder, without the network.
    """
    from slicer.packaging import pip_install  # noqa: TID251  (on a click)

    names = ", ".join(requirements)
    question = _("Download and install {names} (about {size})? They find the cord, draw figures, make page and DICOM.")
    if not (agreed or wheels or slicer.util.confirmOkCancelDisplay(question.format(names=names, size=SIZE))):
        return _("Nothing was installed.")
    arguments = [*(["--no-index", "--find-links", str(wheels)] if wheels else []), *requirements]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(kept_versions()) + "\n", encoding="utf-8")
        try:
            pip_install(
                arguments,
                constraints=constraints,
                no_deps_requirements=["--force-reinstall", *arguments] if again else None,  # what they need stays
                requester="SpinalCordSeg",
            )
        except INSTALL_ERRORS as error:
            text = _("Not installed: {names} ({reason}). Without the internet: Model and device, Packages, a folder.")
            return text.format(names=names, reason=error)
    importlib.invalidate_caches()
    if again:
        offer_restart("SpinalCordSeg")
    return _("Installed: {names}.").format(names=names)


def package_actions(parent: Any, act: Callable[..., None]) -> list[tuple[str, Callable[[], Any] | None]]:
    """Of a menu: each package with its version, and what can be done. ``act``: see ``install``."""
    everything = tuple(_PACKAGES.values())
    versions = {name: installed_version(name) for name in (*_PACKAGES, "torch")}
    return [
        *((f"{name} {_('not installed') if found is None else found}", None) for name, found in versions.items()),
        (_("Install again…"), lambda: act(everything, again=True)),
        (
            _("Install from a folder of wheels…"),
            lambda: ask_folder(parent, _("Folder of wheels"), lambda folder: act(everything, wheels=folder)),
        ),
    ]


def offer_restart(module: str) -> None:
    """What is loaded stays as it was until Slicer starts again, in ``module`` then."""
    if slicer.util.confirmYesNoDisplay(_("Slicer must be restarted to use what was installed. Restart it now?")):
        qt.QSettings().setValue(_RESUME, module)
        slicer.util.restart()


def resume() -> None:
    """Slicer has started: go to the module that a restart was asked for in."""
    module = str(qt.QSettings().value(_RESUME) or "")
    qt.QSettings().remove(_RESUME)
    if module:
        slicer.util.selectModule(module)


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


# All but PyTorch: installed by one click. Only the first is needed to find the cord.
_PACKAGES = {
    "onnxruntime": "onnxruntime>=1.18,<2",
    "safetensors": "safetensors>=0.4.3,<1",
    "matplotlib": "matplotlib>=3.8,<4",
    "jinja2": "Jinja2>=3.1,<4",
    "highdicom": "highdicom>=0.27,<1",
}


@dataclass(frozen=True)
class Dependencies:
    """``message``, ``action``: what is wrong and what repairs it, "" when all is there. ``can_run``: what is missing
    is not needed to find the cord, or to train. ``packages``: what pip is asked for, () for PyTorch. ``replaces``:
    it is there already, and of no use."""

    message: str = ""
    action: str = ""
    can_run: bool = True
    packages: tuple[str, ...] = ()
    replaces: bool = False

    @property
    def can_install(self) -> bool:
        """Whether the one thing that hinders is that packages are not there."""
        return not self.can_run and bool(self.packages) and not self.replaces

    def show(self, ui: Any) -> None:
        """In the frame at the top of a panel; hidden when all is there."""
        ui.noticeFrame.setVisible(bool(self.message))
        ui.noticeLabel.setText(self.message)
        ui.noticeButton.text = self.action
        ui.noticeButton.setVisible(bool(self.action))


def installed_version(package: str) -> str | None:
    """What is installed, without importing it; "" when its record is damaged, None when there is none."""
    if importlib.util.find_spec(package) is None:
        return None
    try:
        return version(package) or ""
    except PackageNotFoundError:
        return ""


def check_dependencies(
    probe: Mapping[str, Any] | None = None, installed: Callable[[str], str | None] = installed_version
) -> Dependencies:
    """For finding the cord. ``probe``: the answer of SpinalCordSegLib.worker where one is known."""
    if installed("onnxruntime") is None:
        text = _("ONNX Runtime is needed to find the cord, and is not installed. Measuring a mask works without it.")
        return missing_packages(installed, text)
    broken = broken_package(probe or {}, "onnxruntime", "ONNX Runtime")
    return broken or missing_packages(installed)


def missing_packages(installed: Callable[[str], str | None], message: str = "") -> Dependencies:
    """What is not there. ``message``: why nothing runs without it; "" where something does."""
    missing = [name for name in _PACKAGES if installed(name) is None]
    if not missing:
        return Dependencies()
    text = _("Packages for models, figures, report and DICOM are not installed: {names}.")
    packages = tuple(_PACKAGES[name] for name in missing)
    return Dependencies(message or text.format(names=", ".join(missing)), _("Install packages…"), not message, packages)


def broken_package(probe: Mapping[str, Any], package: str, title: str) -> Dependencies | None:
    """What hinders a package that is there; None when nothing is known to."""
    detail = str(probe.get("detail") or "")
    if probe.get("state") == "absent" and detail != package:  # it is there, something that it needs is not
        detail = _("{package} is missing").format(package=detail)
    elif probe.get("state") != "broken" or not detail:
        return None
    text = _("{package} is installed but does not start ({detail}). Install it again, then restart Slicer.")
    packages = (_PACKAGES[package],) if package in _PACKAGES else ()
    text = text.format(package=title, detail=detail)
    return Dependencies(text, _("Repair {package}…").format(package=title), False, packages, replaces=True)


# What the devices are: asked in a child process.


class DeviceProbe:
    """``answer``: of SpinalCordSegLib.worker.probe; None until it is known. ``report`` is called when it has come.
    ``training``: ask what PyTorch can do, not what finds the cord."""

    def __init__(self, report: Callable[[], None], training: bool = False) -> None:
        self._report, self._training = report, training
        self._control = JobControl(lambda: None)
        self._versions: list[str | None] = []
        self.answer: Mapping[str, Any] | None = None

    def ask(self) -> None:
        """Once for what is installed now."""
        versions = [installed_version(name) for name in ("onnxruntime", "torch")]
        if self._control.running or (self.answer is not None and versions == self._versions):
            return
        self._versions = versions
        arguments = ["probe", *["--training"] * self._training]
        try:
            self._control.start(Job(PANEL_PROGRAM, arguments, lambda _folder, answer: answer), on_end=self._on_end)
        except OutputError as error:
            self._take({"state": "broken", "detail": str(error)})

    def forget(self) -> None:
        """After something was installed."""
        self.close()
        self.answer = None

    def close(self) -> None:
        self._control.close()

    def _on_end(self, job: Job[dict[str, Any]]) -> None:
        failed = "" if job.failure is None else job.failure.report.splitlines()[-1]
        self._take(job.result or {"state": "broken", "detail": failed})

    def _take(self, answer: Mapping[str, Any]) -> None:
        self.answer = answer
        self._report()


class DeviceChoice:
    """Fills a combo box by hand: what there is to choose is only known at run time."""

    def __init__(self, box: Any) -> None:
        self._box = box
        self.show(None)

    def show(self, probe: Mapping[str, Any] | None) -> None:
        """The selection stays where it can."""
        chosen = self.name
        devices = list((probe or {}).get("devices") or [])
        self._box.blockSignals(True)
        self._box.clear()
        best = f" ({devices[0]['label']})" if devices else ""
        self._box.addItem(_("Automatic") + best, "auto")
        for device in devices or [{"name": "cpu", "label": "CPU"}]:
            self._box.addItem(str(device["label"]), device["name"])
        self.select(chosen)
        self._box.blockSignals(False)

    @property
    def name(self) -> str:
        """As the command line takes it."""
        return self._box.itemData(self._box.currentIndex) or "auto"

    def select(self, name: str) -> None:
        self._box.setCurrentIndex(max(0, self._box.findData(name)))
