"""Doors by which a person's mask comes into a case's folder, what is done with the case then, and what must hold."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from SpinalCordSegLib.case import Case, ModelSummary, save_case
from SpinalCordSegLib.case_folder import Summary
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegLib.image_io import read_image, read_labels, write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.review import Review
from SpinalCordSegLib.volume import Volume, fingerprint, mask_sha256

NECK = make_phantom(PhantomConfig(shape=(48, 40, 8), spacing_mm=(0.75, 1.0, 3.0), orientation="LPI"))


def edited(k: int, by: int) -> Volume:
    voxels = NECK.mask.ijk.copy()
    voxels[:, :, k] = np.roll(voxels[:, :, k], by, axis=0)
    return NECK.mask.with_ijk(voxels)


MINE, OTHER = edited(4, 2), edited(5, 3)
SHA = mask_sha256(MINE)


def segment_image(image: Any, *_: object, **__: object) -> Case:
    """What a network would find, in its place."""
    found = measure_mask(NECK.mask, image.case_name, image=image)
    return replace(found, mask_state="AI", review=Review(), model=ModelSummary("tiny", "3", "ab" * 32, "CC0-1.0"))


def new_case(root: Path) -> None:
    """ROOT/neck.nii.gz and its case of a network, ROOT/out/neck."""
    write_volume(NECK.image, root / "neck.nii.gz")
    image = read_image(root / "neck.nii.gz")
    case = segment_image(image)
    case = save_case(replace(case, input=replace(case.input, fingerprint=fingerprint(image.volume))), folder(root))
    Summary(root / "out" / "summary.csv").put(case.summary_row())


def stand_ins() -> dict[str, Any]:
    """What is put in the place of network and pictures, by its full name, so that an act takes milliseconds."""
    return {
        "SpinalCordSegLib.commands.segment_image": segment_image,
        "SpinalCordSegLib.commands.load_checkpoint": lambda _: None,
        "SpinalCordSegLib.report.montage_png": lambda _: b"picture",
        "SpinalCordSegLib.case._write_page": lambda _, place: (place / "report.html").write_text("page"),
    }


def folder(root: Path) -> Path:
    return root / "out" / "neck"


def run(*words: object) -> tuple[int, str]:
    """The exit code and all that was said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main([str(word) for word in words])
    return code, said.getvalue()


def _done(*words: object) -> None:
    code, said = run(*words)
    assert code == 0, said


# Doors. Each gives mask_sha256 of what must not be lost.


def in_place(root: Path) -> str:
    write_volume(MINE, folder(root) / "mask.nii.gz")
    return SHA


def in_place_same_time(root: Path) -> str:
    path = folder(root) / "mask.nii.gz"
    former = path.stat()
    write_volume(MINE, path)
    os.utime(path, ns=(former.st_atime_ns, former.st_mtime_ns))
    return SHA


def in_place_clock_back(root: Path) -> str:
    in_place(root)
    os.utime(folder(root) / "mask.nii.gz", (1, 1))
    return SHA


def in_place_another_label(root: Path) -> str:
    write_volume(MINE.with_ijk(MINE.ijk.astype(np.uint8) * 7), folder(root) / "mask.nii.gz")
    return SHA


def in_place_empty(root: Path) -> str:
    empty = MINE.with_ijk(np.zeros_like(MINE.ijk))
    write_volume(empty, folder(root) / "mask.nii.gz")
    return mask_sha256(empty)


def _beside(name: str) -> Callable[[Path], str]:
    def door(root: Path) -> str:
        (folder(root) / name).parent.mkdir(exist_ok=True)
        write_volume(MINE, folder(root) / name)
        return SHA

    door.__name__ = f"beside_{name}"
    return door


def beside_corrected(root: Path) -> str:
    corrected(root, OTHER)
    return _beside("mask_new.nii.gz")(root)


def beside_with_another_label(root: Path) -> str:
    voxels = MINE.ijk.astype(np.uint8)
    voxels[:3, :3, :] = 2
    write_volume(MINE.with_ijk(voxels), folder(root) / "mask.nrrd")
    return _fingerprint(folder(root) / "mask.nrrd")


def in_place_second_label(root: Path) -> str:
    """A lesion within the cord."""
    voxels = NECK.mask.ijk.astype(np.uint8)
    voxels[tuple(np.argwhere(voxels)[::9].T)] = 2
    write_volume(NECK.mask.with_ijk(voxels), folder(root) / "mask.nii.gz")
    return _fingerprint(folder(root) / "mask.nii.gz")


def wrong_file_edited(root: Path) -> str:
    write_volume(MINE, folder(root) / "mask_ai.nii.gz")
    return SHA


def given(root: Path) -> str:
    write_volume(MINE, root / "mine.nii.gz")
    _done("measure", root / "mine.nii.gz", "--output", root / "out", "--code", "neck", "--force")
    (root / "mine.nii.gz").unlink()
    return SHA


def beside_half_saved(root: Path) -> str:
    (folder(root) / "mask.nrrd").write_bytes(b"NRRD0004\nhalf")
    return ""


def corrected(root: Path, mask: Volume = MINE) -> str:
    write_volume(mask, root / "mine.nii.gz")
    _done("correct", folder(root), root / "mine.nii.gz", "--by", "A")
    (root / "mine.nii.gz").unlink()
    return mask_sha256(mask)


def corrected_twice(root: Path) -> str:
    corrected(root)
    corrected(root, OTHER)
    return SHA


def corrected_with_specks(root: Path) -> str:
    voxels = MINE.ijk.copy()
    voxels[1, 1, 3] = True  # cleaned when it is measured
    return corrected(root, MINE.with_ijk(voxels))


def corrected_then_in_place(root: Path) -> str:
    corrected(root, OTHER)
    return in_place(root)


def accepted(root: Path) -> str:
    _done("review", folder(root), "--accept", "--by", "A")
    return mask_sha256(NECK.mask)


def corrected_accepted(root: Path) -> str:
    corrected(root)
    _done("review", folder(root), "--accept", "--by", "A")
    return SHA


def accepted_then_in_place(root: Path) -> str:
    accepted(root)
    return in_place(root)


def rejected(root: Path) -> str:
    _done("review", folder(root), "--reject", "--by", "A")
    return ""


def reopened(root: Path) -> str:
    corrected_accepted(root)
    _done("review", folder(root), "--reopen", "--by", "A")
    return SHA


def restored(root: Path) -> str:
    corrected_twice(root)
    _done("correct", folder(root), "--restore", "1", "--by", "A")
    return mask_sha256(OTHER)


def renamed(root: Path) -> str:
    corrected(root)
    folder(root).rename(root / "out" / "Neck2")
    return SHA


def copied(root: Path) -> str:
    corrected(root)
    shutil.copytree(folder(root), root / "out" / "copy")
    return SHA


def linked(root: Path) -> str:
    corrected(root)
    folder(root).rename(root / "elsewhere")
    folder(root).symlink_to("../elsewhere")
    return SHA


def linked_mask(root: Path) -> str:
    write_volume(MINE, root / "mine.nii.gz")
    (folder(root) / "mask.nii.gz").unlink()
    (folder(root) / "mask.nii.gz").symlink_to("../../mine.nii.gz")
    return SHA


def hard_linked_mask(root: Path) -> str:
    write_volume(MINE, root / "mine.nii.gz")
    (folder(root) / "mask.nii.gz").unlink()
    os.link(root / "mine.nii.gz", folder(root) / "mask.nii.gz")
    return SHA


def _report(root: Path, **changes: Any) -> None:
    path = folder(root) / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def state_edited(root: Path) -> str:
    corrected(root)
    _report(root, mask_state="AI", changes=None, review={"state": "ai"}, history=[])
    return SHA


def _without(name: str, before: Callable[[Path], str]) -> Callable[[Path], str]:
    def door(root: Path) -> str:
        sha256 = before(root)
        (folder(root) / name).unlink()
        return sha256

    door.__name__ = f"{before.__name__}_without_{name}"
    return door


def report_damaged(root: Path) -> str:
    sha256 = corrected(root)
    (folder(root) / "report.json").write_text('{"schema": "Spinal')
    return sha256


def fingerprint_gone(root: Path) -> str:
    in_place(root)
    content = json.loads((folder(root) / "report.json").read_text())
    del content["mask_sha256"]
    (folder(root) / "report.json").write_text(json.dumps(content))
    return SHA


def files_gone(root: Path) -> str:
    in_place(root)
    _report(root, files=[])
    return SHA


def half_saved(root: Path) -> str:
    (folder(root) / "mask.nii.gz").write_bytes(b"half")
    return ""


def read_only(root: Path) -> str:
    corrected(root)
    folder(root).chmod(0o555)
    return SHA


DOORS = (
    in_place, in_place_second_label, wrong_file_edited, given, in_place_same_time, in_place_clock_back, in_place_another_label, in_place_empty, half_saved,
    *map(_beside, ("edited/mask.nii.gz", "mask (copy of A).nii.gz", "mask.nrrd", "mask.seg.nrrd", "mask.nii", "mask_edited.nii.gz", "Segmentation.seg.nrrd")),
    beside_corrected, beside_with_another_label, beside_half_saved, corrected, corrected_twice, corrected_with_specks,
    corrected_then_in_place, accepted, corrected_accepted, accepted_then_in_place, rejected, reopened, restored,
    renamed, copied, linked, linked_mask, hard_linked_mask, state_edited, report_damaged, fingerprint_gone, files_gone,
    read_only,
    *(_without(name, in_place) for name in ("report.json", "slices.csv", "mask_ai.nii.gz")),
    *(_without(name, corrected) for name in ("slices.csv", "montage.png", "report.html", "mask.nii.gz")),
)  # fmt: skip


# What is done with the case.


def _segment(*options: str) -> Callable[[Path], tuple[int, str]]:
    def act(root: Path) -> tuple[int, str]:
        return run("segment", root / "neck.nii.gz", "--output", root / "out", *options)

    act.__name__ = " ".join(("segment", *options))
    return act


segment_forced = _segment("--force")


def measure_over(root: Path) -> tuple[int, str]:
    write_volume(OTHER, root / "other" / "neck.nii.gz")
    return run("measure", root / "other" / "neck.nii.gz", "--output", root / "out", "--code", "neck", "--force")


def _correct(*options: str) -> Callable[[Path], tuple[int, str]]:
    def act(root: Path) -> tuple[int, str]:
        write_volume(OTHER, root / "other.nii.gz")
        words = [root / "other.nii.gz"] if not {"--fill", "--smooth", "--restore"} & {*options} else []
        return run("correct", folder(root), *words, "--by", "B", *options)

    act.__name__ = " ".join(("correct", *options))
    return act


def _review(*options: str) -> Callable[[Path], tuple[int, str]]:
    def act(root: Path) -> tuple[int, str]:
        return run("review", folder(root) if options else root / "out", *options)

    act.__name__ = " ".join(("review", *options))
    return act


def follow_up(root: Path) -> tuple[int, str]:
    words = [word for day in ("2020", "2021") for word in ("--date", f"{day}-01-01", "--disc", "4")]
    return run("follow-up", folder(root), folder(root), *words, "--output", root / "followed")


def training_set(root: Path) -> tuple[int, str]:
    words = ("--image", root / "neck.nii.gz", "--subject", "P1", "--output", root / "set")
    return run("training-set", folder(root), *words)


ACTS = (
    _segment(), _segment("--force"), _segment("--force", "--mask-format", "nrrd"),
    _segment("--force", "--mask-format", "seg.nrrd"), _segment("--disc", "C2/C3=4"), measure_over,
    _correct(), _correct("--reopen"), _correct("--fill", "2:5"), _correct("--smooth", "2:5", "--reopen"),
    _correct("--restore", "0", "--reopen"), _review("--accept", "--by", "B"), _review("--reopen", "--by", "B"),
    _review("--seen", "3", "--by", "B"), _review(), follow_up, training_set,
)  # fmt: skip


# What must hold afterwards.


_known: dict[tuple[str, bytes], str] = {}  # by name and content: most masks are looked at again and again


def _fingerprint(path: Path) -> str:
    try:
        key = path.name, path.read_bytes()
        if key not in _known:
            labels = read_labels(path)
            _known[key] = "several labels " * (len(np.unique(labels.voxels)) > 2) + mask_sha256(labels)
        return _known[key]
    except (SpinalCordSegError, OSError):
        return f"unreadable {path.name}"


@dataclass(frozen=True)
class State:
    """``masks``: fingerprint of every mask below the root. ``own``: of the case's own file; ``measured``: of the one
    that its figures are of; ``files``: what its report names; None, "" and () where there is no report."""

    masks: dict[Path, str]
    own: str | None
    measured: str
    files: tuple[str, ...]

    @classmethod
    def of(cls, root: Path) -> State:
        found = {
            path: _fingerprint(path)
            for path in (Path(place, name) for place, _, names in os.walk(root, followlinks=True) for name in names)
            if path.name.endswith((".nii.gz", ".nrrd", ".nii")) and path.is_file() and "set" not in path.parts
        }
        try:
            content = json.loads((folder(root) / "report.json").read_text())
        except (OSError, ValueError):
            return cls(found, None, "", ())
        own = next((name for name in content["files"] if name.startswith("mask.")), "mask.nii.gz")
        return cls(found, found.get(folder(root) / own), content.get("mask_sha256", ""), tuple(content["files"]))


def faults(root: Path, sha256: str, before: State, code: int, said: str) -> list[str]:
    """What an act that ended with ``code`` and these words lost, or did not say."""
    now, case = State.of(root), folder(root)
    found = ["lost"] if sha256 and sha256 not in now.masks.values() else []
    found += ["traceback"] if "Traceback" in said else []
    if (
        now.files
        and now.own != now.measured
        and code == 0
        and "changed after" not in said
        and "cannot be read" not in said
    ):
        found.append("silent: the figures are of another mask")
    kept = {one for path, one in now.masks.items() if path.parent.name == "versions"}
    for path, one in now.masks.items():
        if (
            path.parent in (case, case / "edited")
            and path.name not in (now.files if path.parent == case else ())
            and one.split()[-1] not in {*kept, now.own}
            and now.files
        ):
            named = path.name in said or "is kept too, as mask_" in said or "error:" in said
            found += [f"silent: {path.name} is not of the case"] * (not named)
    if code == 0 and before.own not in (None, before.measured, now.own) and "kept as a version" not in said:
        found.append("silent: what was saved in place is a version now")
    if before.own not in (None, now.own) and code:
        found.append("replaced, though refused")
    return found
