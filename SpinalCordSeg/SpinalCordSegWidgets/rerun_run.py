"""The network asked again about some slices, by the command line ``rerun`` in a child process."""

from __future__ import annotations

from pathlib import Path

from SpinalCordSegLib.correction.case_settings import CaseSettings
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegWidgets.command_run import CommandRun
from SpinalCordSegWidgets.task_run import RESULTS, task_run


def rerun_run(
    image: Volume,
    mask: Volume,
    slices: tuple[int, int],
    base: Path,
    *,
    model: Path,
    device: str,
    settings: CaseSettings,
) -> CommandRun[Volume]:
    """Begin; the outcome is the whole mask with ``slices`` (the input's own, both included) found again by ``model``,
    with the case's threshold and averaging."""
    first, last = sorted(slices)

    def prepare(folder: Path) -> None:
        from SpinalCordSegLib.images.files import write_volume  # SimpleITK: only now

        write_volume(image, folder / "volume.nrrd")
        write_volume(mask, folder / "mask.nrrd")

    arguments = ["rerun", "volume.nrrd", "mask.nrrd", "--slices", f"{first}:{last + 1}"]
    arguments += ["--model", str(model), "--device", device, "--output", RESULTS]
    arguments += ["--threshold", str(settings.threshold), "--along-mm", str(settings.along_mm)]
    return task_run(arguments, prepare, _read, base)


def _read(folder: Path) -> Volume:
    from SpinalCordSegLib.images.files import read_labels

    return read_labels(folder / "mask.nrrd")
