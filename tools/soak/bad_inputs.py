"""Damaged inputs by the hundred: every one must end in an answer or in one line that says what is wrong."""

from __future__ import annotations

import hashlib
import importlib
import json
import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forked_run import Ended, fresh, run_forked
from formats import FORMATS, Format

_SECONDS = 60.0
_MORE_MIB = 1536  # address space beyond what the process has
_PEAK_MIB = 700.0  # resident, beyond that of a good input
# of Python and its libraries, which say nothing to a user
_FOREIGN = re.compile(
    r"NoneType|\b(dict|tuple|str|int|float|bool|dtype|codec|mmap|iterable|unhashable)\b|__|Errno|\w+Error\b|allow_pickle"
)
_PREFIX = {"lib": "spinalcordseg: error: ", "train": "spinalcordseg-train: error: ", "recipes": "Recipes: error: "}


@dataclass(frozen=True)
class Finding:
    """What went wrong with which input; ``kept``: where the input and what was said lie."""

    format: str
    damage: str
    command: str
    wrong: str
    kept: Path


@dataclass
class Tally:
    """Of one format: how many ended in which exit code, and what was found."""

    codes: Counter[int] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_mib: float = 0.0


def call_of(program: str, arguments: Sequence[str]) -> Callable[[], int]:
    """The program's main with these arguments, for a fork."""
    names = {"lib": "SpinalCordSegLib.cli", "train": "SpinalCordSegTrainerLib.cli", "recipes": "Recipes.cli"}
    main = importlib.import_module(names[program]).main
    return lambda: int(main(list(arguments)))


class BadInputs:
    """``samples``: what make_samples wrote. ``place``: for working copies and, in ``findings``, for what went wrong."""

    def __init__(self, samples: Path, place: Path, seed: int) -> None:
        self._samples, self._place, self._seed = samples, place, seed
        self.model = samples / "tiny.safetensors"

    def run(self, number: int, kind: Format, tally: Tally) -> None:
        """Case ``number`` of a format: the same damage for the same seed."""
        rng = random.Random(f"{self._seed} {kind.name} {number}")
        at, out = fresh(self._place / "in"), self._place / "out"
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(self._samples / kind.sample, at, dirs_exist_ok=True)
        file = rng.choice(sorted(path for path in at.glob(kind.files) if path.is_file()))
        damage = rng.choice(kind.damages)
        original = file.read_bytes()
        try:
            damaged = damage(rng, original)
        except ValueError:  # JSON damage on a file of a folder that is no JSON
            damaged = original[: rng.randrange(len(original))]
        file.write_bytes(damaged)
        program, arguments = rng.choice(kind.commands)(at, out, self.model)
        before = _state(at)
        ended = run_forked(
            call_of(program, arguments), fresh(self._place / "said"), seconds=_SECONDS, more_mib=_MORE_MIB
        )
        tally.codes[ended.code] += 1
        tally.slowest_s, tally.peak_mib = max(tally.slowest_s, ended.seconds), max(tally.peak_mib, ended.peak_mib)
        wrong = judged(ended, program, out, edits=kind.edits)
        if not kind.edits and _state(at) != before:
            wrong.append("the input folder was changed")
        for text in wrong:
            kept = self._keep(at, out, ended, number, kind)
            tally.findings.append(Finding(kind.name, f"{file.name} {damage.__name__}", " ".join(arguments), text, kept))

    def check_samples(self) -> list[str]:
        """Every command on its good sample; gives those that did not take it, for then their damage proves nothing."""
        wrong = []
        for kind in FORMATS:
            for command in kind.commands:
                at, out = fresh(self._place / "in"), self._place / "out"
                shutil.rmtree(out, ignore_errors=True)
                shutil.copytree(self._samples / kind.sample, at, dirs_exist_ok=True)
                program, arguments = command(at, out, self.model)
                ended = run_forked(call_of(program, arguments), fresh(self._place / "said"), seconds=_SECONDS)
                if ended.code:
                    wrong.append(f"{kind.name}: {' '.join(arguments)}: exit code {ended.code}: {ended.error[-400:]}")
        return wrong

    def _keep(self, at: Path, out: Path, ended: Ended, number: int, kind: Format) -> Path:
        kept = fresh(
            self._place / "findings" / f"{kind.name.replace(' ', '_').replace('/', '_')}_{self._seed}_{number}"
        )
        shutil.copytree(at, kept / "in", symlinks=True)
        if out.exists():
            shutil.copytree(out, kept / "out", symlinks=True)
        (kept / "said.txt").write_text(f"exit code {ended.code}\n{ended.said}\n{ended.error}")
        return kept


def judged(
    ended: Ended, program: str, out: Path, *, edits: bool = False, peak_mib: float | None = None, talks: bool = False
) -> list[str]:
    """What is wrong with how a command ended; [] where nothing is. ``talks``: it tells its progress before an error."""
    wrong = []
    text = ended.said + ended.error
    if ended.hung:
        return [f"hung: {_place_of(ended.error)}"]
    if ended.code not in (0, 1, 2):  # 130, cancelled, too: nobody did
        wrong.append(f"exit code {ended.code}: {_place_of(ended.error)}")
    elif "Traceback (most recent" in text or "an unexpected " in text:
        wrong.append(f"crashed: {_place_of(text)}")
    if "memory ran out" in text or "not enough memory" in text or "MemoryError" in text:
        wrong.append("memory ran out for a small file")
    if peak_mib is not None and ended.peak_mib > peak_mib:
        wrong.append(f"took {ended.peak_mib:.0f} MiB")
    lines = [line for line in ended.error.splitlines() if line.strip() and not line.startswith(("WARNING", "INFO"))]
    lines = lines[-1:] if talks else lines
    if ended.code == 2 and not wrong and (len(lines) != 1 or not lines[0].startswith(_PREFIX[program])):
        wrong.append(f"an error of {len(lines)} lines: {lines[-1][:200] if lines else 'none'}")
    text = re.sub(r'"kind": "\w+"', "", text)  # of the events that a panel reads
    if not wrong and (found := _FOREIGN.search(text)):
        wrong.append(f"Python's words: {text[max(0, found.start() - 100) :][:200]}")
    wrong += _left_behind(out)
    if ended.code == 2 and program == "lib" and not edits and out.exists() and any(p.is_file() for p in out.rglob("*")):
        wrong.append(f"files were left: {[str(p.relative_to(out)) for p in out.rglob('*')][:5]}")
    return wrong


def _left_behind(out: Path) -> list[str]:
    """Half-written files and folders, empty files, cases without their report."""
    wrong = []
    for path in out.rglob("*") if out.exists() else ():
        if path.name.startswith(".") or ".part" in path.name or path.name.endswith(".old"):
            wrong.append(f"left behind: {path.name}")
        elif path.is_file() and path.stat().st_size == 0:
            wrong.append(f"an empty file: {path.name}")
        elif path.name.startswith("mask.") and not _whole(path.parent):
            wrong.append(f"a case that is not whole: {path.parent.name}")
        elif path.suffix == ".json" and not _is_json(path):
            wrong.append(f"no JSON: {path.name}")
    return wrong


def _whole(case: Path) -> bool:
    try:
        return all((case / name).is_file() for name in json.loads((case / "report.json").read_text())["files"])
    except (OSError, ValueError, KeyError):
        return False


def _is_json(path: Path) -> bool:
    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except ValueError:
        return False
    return True


def _place_of(text: str) -> str:
    """The last line of ours in a traceback, and the last line of all."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    ours = [line for line in lines if "SpinalCordSeg" in line and ("File " in line)]
    where = ours[-1 if "most recent call last" in text else 0] if ours else ""
    return f"{where[-140:]} {lines[-1][:300] if lines else ''}"


def _state(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def soak_bad_inputs(
    samples: Path, place: Path, seed: int, count: int, minutes: float, only: str = ""
) -> dict[str, Tally]:
    """About ``count`` damaged inputs over all formats, or as many as ``minutes`` allow, in turns over the formats."""
    work = BadInputs(samples, place, seed)
    chosen = [kind for kind in FORMATS if only.lower() in kind.name.lower()]
    total = sum(kind.share for kind in chosen)
    wanted = {kind.name: max(1, round(count * kind.share / total)) for kind in chosen}
    tallies = {kind.name: Tally() for kind in chosen}
    end = time.monotonic() + 60 * minutes
    for number in range(max(wanted.values())):
        for kind in chosen:
            if number < wanted[kind.name] and time.monotonic() < end:
                work.run(number, kind, tallies[kind.name])
    return tallies


def print_tallies(tallies: dict[str, Tally]) -> None:
    print(f"{'format':26} {'cases':>6} {'answered':>9} {'refused':>8} {'wrong':>6} {'slowest':>8} {'peak':>9}")
    for name, tally in tallies.items():
        n = sum(tally.codes.values())
        answered = tally.codes[0] + tally.codes[1]
        row = f"{name:26} {n:6} {answered:9} {tally.codes[2]:8} {len(tally.findings):6} {tally.slowest_s:6.1f} s"
        print(f"{row} {tally.peak_mib:5.0f} MiB")
    for tally in tallies.values():
        for one in tally.findings:
            print(
                f"WRONG {one.format}: {one.wrong}\n      {one.damage}; {one.command[:160]}\n      {one.kept}",
                file=sys.stderr,
            )
