"""Good files in odd places, and impossible sizes, through ``measure`` and ``segment``: see bad_places.py."""

from __future__ import annotations

import shutil
from pathlib import Path

from bad_inputs import Finding, Tally, call_of, judged
from bad_places import PLACES, Place
from forked_run import fresh, run_forked

_PEAK_MIB = 900.0


def run_place(place: Place, samples: Path, room: Path, command: str, tally: Tally) -> None:
    """One place through "measure" or "segment"."""
    at, out = fresh(room / "in"), room / "out"
    _remove(out)
    _remove(room / "elsewhere")
    given, output = place.prepare(samples / "names" / "neck.nii.gz", at, out)
    arguments = [command, str(given), "--output", str(output)]
    if command == "segment":
        arguments += ["--model", str(samples / "tiny.safetensors"), "--device", "cpu"]
    ended = run_forked(call_of("lib", arguments), fresh(room / "said"), as_nobody=place.nobody)
    tally.codes[ended.code] += 1
    tally.slowest_s, tally.peak_mib = max(tally.slowest_s, ended.seconds), max(tally.peak_mib, ended.peak_mib)
    wrong = judged(ended, "lib", out, edits=True, peak_mib=_PEAK_MIB)
    if ended.code not in place.expected:
        wrong.append(f"exit code {ended.code}, expected {place.expected}: {ended.error[-300:]}")
    beside = [
        path.name
        for path in room.iterdir()
        if path.name not in ("in", "out", "said", "samples", "elsewhere", "findings")
    ]
    if beside:
        wrong.append(f"written outside the output folder: {beside}")
    if (room / "elsewhere").exists() and [path.name for path in (room / "elsewhere").iterdir()] != ["mine.txt"]:
        wrong.append("written through a link into somebody's folder")
    tally.findings += [Finding(place.name, command, " ".join(map(repr, arguments)), text, room) for text in wrong]


def _remove(path: Path) -> None:
    for one in (path, *path.rglob("*")) if path.is_dir() and not path.is_symlink() else ():
        if one.is_dir() and not one.is_symlink():
            one.chmod(0o755)
    shutil.rmtree(path, ignore_errors=True)


def soak_odd_places(samples: Path, room: Path, every: int = 1) -> Tally:
    """Every place, or every so manieth, through both commands."""
    tally = Tally()
    for number, place in enumerate(PLACES[::every]):
        for command in ("measure", "segment") if every == 1 else (("measure", "segment")[number % 2],):
            run_place(place, samples, room, command, tally)
    return tally
