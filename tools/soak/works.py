"""Work that may be cut off at any moment, and what must hold then: for kills and for full disks."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from bad_inputs import call_of
from outcome import outcome

from SpinalCordSegLib.case import Case
from SpinalCordSegLib.case_folder import Summary, read_mask
from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.mask_versions import MaskVersions
from SpinalCordSegLib.model.checkpoint import load_checkpoint
from SpinalCordSegLib.review_page import PICTURES
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.config import read_config
from SpinalCordSegTrainerLib.run_folder import STATE, load_state
from SpinalCordSegTrainerLib.slice_cache import SliceCache

_CASES = 4
_CHILD_INPUT = b"stay\n"


@dataclass(frozen=True)
class Work:
    """``prepare(folder, samples)`` makes input and whatever was there before; ``call(folder, samples)`` is the work,
    that can be called again; ``after(folder)``: what is wrong with what lies there however it ended; ``result``: what the
    end has to be, the same after a disturbed and an undisturbed run; ``finished``: files that a second call has to leave
    as they are, byte for byte; ``program``: see call_of."""

    name: str
    prepare: Callable[[Path, Path], None]
    call: Callable[[Path, Path], Callable[[], int]]
    after: Callable[[Path], list[str]]
    result: Callable[[Path], dict[str, str]]
    finished: Callable[[Path], list[Path]] = lambda folder: []
    program: str = "lib"


def _put_images(folder: Path, samples: Path) -> None:
    """Four images; the first has its finished result, and a file of somebody's lies beside it."""
    stored = samples / "results" / "v0.nii.gz"
    for n in range(_CASES):
        (folder / "in").mkdir(parents=True, exist_ok=True)
        data = read_mask_like(stored, n)
        write_volume(data, folder / "in" / f"neck{n}.nii.gz")
    first = _segment(folder, samples, "in/neck0.nii.gz")
    if first():
        raise RuntimeError("the case that is there before could not be made")
    (folder / "out" / "mine.txt").write_text("mine")
    (folder / "out" / "neck0" / "mine.txt").write_text("mine")


def read_mask_like(path: Path, n: int) -> Volume:
    """The sample image, shifted in brightness, so that every one is another."""
    from SpinalCordSegLib.image_io import read_image

    image = read_image(path).volume
    return image.with_ijk((image.ijk + n).astype(np.int16))


def _segment(folder: Path, samples: Path, what: str = "in") -> Callable[[], int]:
    model = ["--model", str(samples / "tiny.safetensors"), "--device", "cpu"]
    return call_of("lib", ["segment", str(folder / what), "--output", str(folder / "out"), *model])


def _child_of_panel(folder: Path, samples: Path) -> Callable[[], int]:
    """As the panel starts it: through the worker, with a heartbeat on its standard input."""

    def call() -> int:
        from SpinalCordSegLib.worker import main

        ours, theirs = os.pipe()
        os.write(theirs, _CHILD_INPUT)  # stays open until this process ends
        os.dup2(ours, 0)
        model = ["--model", str(samples / "tiny.safetensors"), "--device", "cpu"]
        words = ["segment", str(folder / "in"), "--output", str(folder / "out"), *model, "--progress", "json"]
        return main(["SpinalCordSegLib.cli", *words])

    return call


def whole_cases(out: Path) -> list[str]:
    """What is wrong with a folder of results: a visible case that is not whole, a table that cannot be read."""
    wrong = []
    for path in sorted(out.iterdir()) if out.is_dir() else ():
        if path.is_dir() and not path.name.startswith(".") and path.name != PICTURES and not _is_whole(path):
            wrong.append(f"{path.name} is not whole")
    if (out / "summary.csv").exists():
        Summary(out / "summary.csv")
    return wrong


def _is_whole(case: Path) -> bool:
    try:
        return bool(Case.load(case).mask.shape)
    except SpinalCordSegError:
        return False


def _after_segment(folder: Path) -> list[str]:
    wrong = whole_cases(folder / "out")
    for mine in ("out/mine.txt", "out/neck0/mine.txt"):
        if not (folder / mine).exists() or (folder / mine).read_text() != "mine":
            wrong.append(f"{mine} is gone")
    if not (folder / "out" / "neck0" / "report.json").exists():
        wrong.append("the case that was there before is gone")
    return wrong


def _cases(folder: Path) -> dict[str, str]:
    return outcome(folder / "out")


def _finished_cases(folder: Path) -> list[Path]:
    whole = [path for path in (folder / "out").glob("neck*") if _is_whole(path)]
    return [file for case in whole for file in case.iterdir()]


def _put_results(folder: Path, samples: Path) -> None:
    shutil.copytree(samples / "results", folder, dirs_exist_ok=True)


def _correct(folder: Path, samples: Path) -> Callable[[], int]:
    words = ["correct", str(folder / "done" / "V1"), str(folder / "v0_mask.nii.gz"), "--by", "A"]
    return call_of("lib", [*words, "--image", str(folder / "v1.nii.gz")])


def _after_correct(folder: Path) -> list[str]:
    wrong = [f"{name} is not whole" for name in ("V0", "V1") if not _is_whole(folder / "done" / name)]
    wrong += whole_cases(folder / "done")
    given = read_mask(folder / "done" / "V0", "mask_given")
    return wrong + ([] if given is not None else ["the mask before the correction is gone"])


def _corrected(folder: Path) -> dict[str, str]:
    """What was seen and when is told for each correction; a second one after a kill is a second event."""
    return outcome(folder / "done", leave_out=("report.json", "report.html")) | {
        name: repr(_numbers(folder / "done" / name)) for name in ("V0", "V1")
    }


def _numbers(case: Path) -> object:
    case_there = Case.load(case)
    return case_there.mask_sha256, case_there.volume_mm3, case_there.mask_state, case_there.changes


def _track(folder: Path, samples: Path) -> Callable[[], int]:
    return call_of("lib", ["follow-up", str(folder / "visits.csv"), "--output", str(folder / "tracked")])


def _put_tracked(folder: Path, samples: Path) -> None:
    _put_results(folder, samples)
    if _track(folder, samples)():
        raise RuntimeError("the follow-up that is there before could not be made")


def _after_track(folder: Path) -> list[str]:
    """There were files before, so each has to be there, whole, old or new; visits are as they were."""
    wrong = _after_correct(folder)
    for path in ("P1/follow_up.json", "P1/follow_up.csv", "P1/follow_up.html", "cohort.csv"):
        file = folder / "tracked" / path
        if not file.exists() or not file.stat().st_size:
            wrong.append(f"{path} is gone or empty")
        elif path.endswith("json"):
            json.loads(file.read_text())
        elif path.endswith("html") and "</html>" not in file.read_text():
            wrong.append(f"{path} is cut short")
    return wrong


def _tracked(folder: Path) -> dict[str, str]:
    return outcome(folder)


_SETTINGS = ("network.width=1", "epochs=2", "updates_per_epoch=2", "batch_size=2", "crop.size=32", "statistics_batches=1",
             "normalisation.size=64")  # fmt: skip


def _put_cases(folder: Path, samples: Path) -> None:
    shutil.copytree(samples / "training_sidecar", folder / "data")


def _train(folder: Path, samples: Path) -> Callable[[], int]:
    """Goes on where there is something to go on with, as its own message tells."""
    run = folder / "run"
    if (run / STATE).exists():
        return call_of("train", ["train", "--resume", "--output", str(run)])
    settings = [word for one in _SETTINGS for word in ("--set", one)]
    return call_of("train", ["train", str(folder / "data"), "--output", str(run), *settings])


def _after_train(folder: Path) -> list[str]:
    run = folder / "run"
    if (run / "cache").exists():
        SliceCache.open(run / "cache")
    for path in run.glob("*.safetensors") if run.exists() else ():
        if "state" not in path.name:
            load_checkpoint(path)
    state = run / STATE
    if state.exists():
        load_state(read_config(run / "config.json"), state, torch.device("cpu"))
    return []


def _trained(folder: Path) -> dict[str, str]:
    """Weights, curves, cache and split; the card's digest, the record of starts and the state hold times."""
    return outcome(folder, ("run.json", STATE))


def _finished_cache(folder: Path) -> list[Path]:
    return list((folder / "run" / "cache").glob("*"))


def _mask(number: int) -> Volume:
    voxels = np.zeros((40, 40, 30), np.uint8)
    voxels.reshape(-1)[:number] = 1
    return Volume.from_ijk(voxels, np.diag([0.5, 0.6, 3.0, 1.0]))


def _put_versions(folder: Path, samples: Path) -> None:
    for number in (1, 2, 3):
        MaskVersions(folder, keep=100).save(_mask(number))


def _autosave(folder: Path, samples: Path) -> Callable[[], int]:
    """Saves versions 4 to 40, those that are not there yet."""

    def call() -> int:
        store = MaskVersions(folder, keep=100)
        try:
            for number in range(len(store.versions()) + 1, 41):
                store.save(_mask(number))
        except SpinalCordSegError as error:
            print(f"spinalcordseg: error: {error}", file=sys.stderr)
            return 2
        return 0

    return call


def _after_autosave(folder: Path) -> list[str]:
    found = MaskVersions(folder, keep=100).versions()
    sizes = [int(one.read().ijk.sum()) for one in found]  # raises where one is damaged
    return [] if sizes == list(range(len(sizes), 0, -1)) and len(sizes) >= 3 else [f"versions {sizes}"]


def _versions(folder: Path) -> dict[str, str]:
    return outcome(folder)


def _finished_versions(folder: Path) -> list[Path]:
    return [one.path for one in MaskVersions(folder, keep=100).versions()]


WORKS: tuple[Work, ...] = (
    Work("segment, batch", _put_images, _segment, _after_segment, _cases, _finished_cases),
    Work("segment, panel's child", _put_images, _child_of_panel, _after_segment, _cases, _finished_cases),
    Work("correct", _put_results, _correct, _after_correct, _corrected),
    Work("track", _put_tracked, _track, _after_track, _tracked),
    Work("train", _put_cases, _train, _after_train, _trained, _finished_cache, "train"),
    Work("autosave", _put_versions, _autosave, _after_autosave, _versions, _finished_versions),
)
