"""The command line that finds and measures the cord, as a run for the panel: an image out, a finished case back in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import OutputError
from SpinalCordSegLib.volume import Volume
from SpinalCordSegLib.worker import LEAST_FREE_BYTES, RERUN_MASK, available_bytes
from SpinalCordSegNodes.case_data import CaseFolder, read_case_folder
from SpinalCordSegNodes.results import result_of, write_result_folder
from SpinalCordSegNodes.segmentations import AI_COPY, cord_segment_id, mask_of_segment, volume_behind, volume_node_of
from SpinalCordSegNodes.views import DISCS, marked_discs
from SpinalCordSegWidgets.process import LIBRARY, ChildProcess, CommandLine, CommandRun

if TYPE_CHECKING:
    pass

if TYPE_CHECKING:
    from SpinalCordSegLib.case import Case

_IMAGE, _MASK, _RESULTS = "volume.nrrd", "mask.nrrd", "results"
_OUTPUT = ("--output", _RESULTS, "--mask-format", "nrrd", "--progress", "json")

CordRun = CommandRun[CaseFolder]


def segment_run(
    volume: Volume,
    base: Path,
    *,
    model: Path,
    device: str,
    python: str = "",
    waiting: ChildProcess | None = None,
) -> CordRun:
    """Find the cord in ``volume`` and measure it. ``base``: for the scratch folder. ``waiting``: a child of
    ``waiting_child`` to do it. Raises OutputError."""
    options = ["--model", str(model), "--device", device]
    arguments = ["segment", _IMAGE, *_OUTPUT, *options]
    return CommandRun(_command_line(), arguments, base, volumes={_IMAGE: volume}, python=python, waiting=waiting)


def waiting_child(base: Path, model: Path, device: str, python: str = "") -> ChildProcess:
    """A child, not started yet, that loads libraries and model and waits for one ``segment_run``."""
    arguments = [str(model), device]
    return ChildProcess(
        "SpinalCordSegLib.cli", arguments, packages=(LIBRARY,), folder=base, python=python, waiting=True
    )


def measure_run(
    mask: Volume, base: Path, *, image: Volume | None = None, more: Sequence[str] = (), python: str = ""
) -> CordRun:
    """Measure a mask (bool); ``image``, on the same grid, is shown in the report. ``more``: further arguments of the
    command. Needs no torch."""
    volumes, options = {_MASK: mask}, []
    if image is not None:
        volumes[_IMAGE], options = image, ["--image", _IMAGE]
    arguments = ["measure", _MASK, *_OUTPUT, *options, *more]
    return CommandRun(_command_line(), arguments, base, volumes=volumes, python=python)


def _command_line() -> CommandLine[CaseFolder]:
    return CommandLine(
        "SpinalCordSegLib.cli",
        (LIBRARY,),
        lambda scratch, event: read_case_folder(scratch / str(event.get("folder"))),
        if_out_of_memory=_("close other programs"),
    )


# A child process that has everything loaded and waits for the next Apply: one run each, so every run is a fresh one.
#
# It goes with the scene and with the module, by itself after ten minutes, and where memory grows short; a run that is
# cancelled ends it as it ends any other child.


_log = logging.getLogger(__name__)


class WarmChild:
    """At most one. ``base``: for scratch folders."""

    def __init__(self, base: Path, python: str = "") -> None:
        self._base, self._python = base, python
        self._child: ChildProcess | None = None
        self._prepared: tuple[Path, str] | None = None

    def prepare(self, model: Path | None, device: str) -> None:
        """Have one wait for a run with this model and device, where memory allows; never raises."""
        if model is None or (self.waiting and self._prepared == (model, device)):
            return
        self.end()
        free = available_bytes()
        if free is None or free < LEAST_FREE_BYTES:
            return
        try:
            self._base.mkdir(parents=True, exist_ok=True)
            child = waiting_child(self._base, model, device, self._python)
            child.start()
        except (OutputError, OSError) as error:  # the next run starts its own, and says what is wrong
            _log.debug("no child waits: %s", error)
            return
        self._child, self._prepared = child, (model, device)

    @property
    def waiting(self) -> bool:
        return self._child is not None and self._child.exit_code is None

    def take(self, model: Path | None, device: str) -> ChildProcess | None:
        """The one that waits for such a run, the caller's from now on; None when there is none, or it has not told that
        an order would reach it: a launcher in between may keep standard input to itself."""
        child = self._child
        if child is None or not self.waiting or self._prepared != (model, device):
            return None
        child.poll()
        if not child.attached:
            return None
        self._child = None
        return child

    def end(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None


# A run of any command of ours, for the panel: files in, one object out.


RESULTS = "results"  # what the command is given as --output, below the folder it runs in

Outcome = TypeVar("Outcome")


def task_run(
    arguments: Sequence[str],
    prepare: Callable[[Path], None],
    read: Callable[[Path], Outcome],
    base: Path,
    python: str = "",
) -> CommandRun[Outcome]:
    """Begin. ``prepare`` fills the folder that the command runs in, ``read`` makes of its folder "results" what is
    wanted; both folders are gone when the run is closed. ``arguments``: names in the folder, relative.

    Raises SpinalCordSegError when the inputs cannot be written or Python not be started.
    """
    line = CommandLine(
        "SpinalCordSegLib.cli",
        (LIBRARY,),
        lambda scratch, _event: read(scratch / RESULTS),
        if_out_of_memory=_("close other programs"),
        without_event=True,
    )
    return CommandRun(line, [*arguments, "--progress", "json"], base, prepare=prepare, python=python)


# Measuring a mask of the scene in full: the AI's as corrected by a person, any other as a mask made elsewhere.


_CASE, _MEASURED_MASK, _MEASURED_IMAGE = "case", "corrected.nrrd", "volume.nrrd"


def mask_measure_run(segmentation: Any, segment_id: str, base: Path, by: str = "") -> CordRun:
    """Begin; the outcome is a CaseFolder. ``by``: who corrected the mask. Marked discs go along, for the levels.

    Raises SpinalCordSegError.
    """
    mask = mask_of_segment(segmentation, segment_id)
    image = volume_behind(segmentation, mask)
    discs = disc_arguments(volume_node_of(segmentation) or segmentation)
    ai = _ai_mask(segmentation, segment_id)
    if ai is None:
        return measure_run(mask, base, image=image, more=discs)
    result = result_of(segmentation)

    def prepare(folder: Path) -> None:
        from SpinalCordSegLib.image_io import write_volume  # SimpleITK: only now

        assert result is not None
        write_result_folder(result, segment_id, folder / RESULTS / _CASE, ai)
        write_volume(mask, folder / _MEASURED_MASK)
        if image is not None:
            write_volume(image, folder / _MEASURED_IMAGE)

    arguments = ["correct", f"{RESULTS}/{_CASE}", _MEASURED_MASK, "--reopen", "--by", by, *discs]
    arguments += ["--image", _MEASURED_IMAGE] if image is not None else []
    return task_run(arguments, prepare, _read, base)


def disc_arguments(owner: Any) -> list[str]:
    """The marked discs of an image or mask node, as the command line takes them."""
    return [
        f"--disc={DISCS[disc]}=" + ",".join(f"{mm:.3f}" for mm in place) for disc, place in marked_discs(owner).items()
    ]


def _read(folder: Path) -> CaseFolder:
    return read_case_folder(folder / _CASE)


def _ai_mask(segmentation: Any, segment_id: str) -> Volume | None:
    """What the AI drew, where this segment began as that and its report says so; else None."""
    result = result_of(segmentation)
    copy = segmentation.GetNodeReference(AI_COPY)
    if result is None or copy is None or not result.report_content().get("model"):
        return None
    copy_id = cord_segment_id(copy)
    if not copy_id or segment_id != cord_segment_id(segmentation) or result.slices is None:
        return None
    return mask_of_segment(copy, copy_id)


# The motion between two visits, found in a child process.


@dataclass(frozen=True, eq=False)
class Motion:
    """``current_to_prior``: 4×4, RAS mm. ``ambiguous``: a vertebra further up or down fits nearly as well."""

    current_to_prior: NDArray[np.float64]
    ambiguous: bool = False


def motion_run(current: tuple[Volume, Volume], prior: tuple[Volume, Volume], base: Path) -> CommandRun[Motion]:
    """Begin to look for it; the run's outcome is a Motion. ``current``, ``prior``: image and mask on one grid."""
    files = {"fixed": current[0], "fixed_mask": current[1], "moving": prior[0], "moving_mask": prior[1]}

    def prepare(folder: Path) -> None:
        from SpinalCordSegLib.image_io import write_volume  # SimpleITK: only now

        for name, volume in files.items():
            write_volume(volume, folder / f"{name}.nrrd")

    line = CommandLine("SpinalCordSegLib.worker:panel_main", (LIBRARY,), _read_motion)
    return CommandRun(line, ["register", "--progress", "json"], base, prepare=prepare)


def _read_motion(_folder: Path, found: dict[str, Any]) -> Motion:
    return Motion(np.array(found["fixed_to_moving"], dtype=np.float64), bool(found["ambiguous"]))


# The network asked again about some slices, in a child process.


def rerun_run(
    image: Volume,
    mask: Volume,
    slices: tuple[int, int],
    base: Path,
    *,
    model: Path,
    device: str,
    case: Case | None,
) -> CommandRun[Volume]:
    """Begin; the outcome is the whole mask with ``slices`` (the input's own, both included) found again by ``model``,
    with the case's threshold and averaging."""
    first, last = sorted(slices)

    def prepare(folder: Path) -> None:
        from SpinalCordSegLib.image_io import write_volume  # SimpleITK: only now

        write_volume(image, folder / "volume.nrrd")
        write_volume(mask, folder / "mask.nrrd")

    arguments = ["rerun", "--progress", "json", "--slices", f"{first}:{last + 1}", "--model", str(model)]
    arguments += ["--device", device]
    if case is not None and case.threshold is not None and case.along_mm is not None:
        arguments += ["--threshold", str(case.threshold), "--smooth-z", str(case.along_mm)]
    return CommandRun(
        CommandLine("SpinalCordSegLib.worker:panel_main", (LIBRARY,), _read_rerun), arguments, base, prepare=prepare
    )


def _read_rerun(folder: Path, _found: dict[str, Any]) -> Volume:
    from SpinalCordSegLib.image_io import read_labels

    return read_labels(folder / RERUN_MASK)


# A corrected mask into the case's own folder, measured anew by the command line ``correct`` in a child process.


_STORED_MASK = "corrected.nrrd"


def store_run(case: Path, mask: Volume, image: Path | None, by: str, base: Path) -> CommandRun[CaseFolder]:
    """Begin; the outcome is the case as its folder has it then. ``by``: who corrected; ``image``: for the pictures."""

    def prepare(folder: Path) -> None:
        from SpinalCordSegLib.image_io import write_volume  # SimpleITK: only now

        write_volume(mask, folder / _STORED_MASK)

    arguments = ["correct", str(case), _STORED_MASK, "--reopen", "--by", by]
    arguments += ["--image", str(image)] if image is not None else []
    return task_run(arguments, prepare, lambda _results: read_case_folder(case), base)
