"""Work killed at random moments, and work on a disk that is full: what was there stays, a second call does the rest."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bad_inputs import judged
from forked_run import fresh, run_forked
from outcome import differences
from works import WORKS, Work

_DISK_MIB = 32
_FREE_KIB = (0, 1, 4, 16)
_SHARES = (0.1, 0.25, 0.4, 0.6, 0.8, 0.95)  # of what the whole work needs
_SECONDS = 120.0


@dataclass
class Endings:
    """Of one kind of work. ``killed``: before it ended; ``refused``: by the disk; ``completed``: by a second call."""

    killed: int = 0
    refused: int = 0
    completed: int = 0
    wrong: list[str] = field(default_factory=list)


class CutOff:
    """``room``: for what is needed beside. The work is prepared once; every attempt has a copy, always at ``at``: some
    files tell where they lie."""

    def __init__(self, work: Work, samples: Path, room: Path, at: Path) -> None:
        self._work, self._samples, self._room, self._at = work, samples, fresh(room), at
        self._template = self._room / "template"
        self._said = fresh(self._room / "said")
        self._do(lambda: self._work.prepare(self._template, self._samples) or 0)  # type: ignore[func-returns-value]
        whole = self._copy()
        started = time.monotonic()
        self._do(self._work.call(whole, self._samples))
        self._lasts = time.monotonic() - started
        self.needs_kib = _size_kib(whole) - _size_kib(self._template)
        self._goal = self._look(whole, "result")

    def kill(self, number: int, rng: random.Random, endings: Endings) -> None:
        """One run, killed within the time that a whole one takes, and begun again."""
        killed = False
        while not killed:  # a run that ends before its moment comes does not count
            at = self._copy()
            child = os.fork()
            if child == 0:
                self._silently(at)
            time.sleep(rng.uniform(0, self._lasts))
            os.kill(child, signal.SIGKILL)
            killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        endings.killed += 1
        self._judge(at, endings, f"kill {number}")
        self._complete(at, endings, f"kill {number}")
        shutil.rmtree(at)

    def fill_disk(self, free_kib: int, endings: Endings) -> None:
        """One run on a disk with so little left, and once more when there is room."""
        at = self._copy()
        filling = _fill(at.parent, free_kib)
        ended = run_forked(self._work.call(at, self._samples), self._said, seconds=_SECONDS)
        told = ended.said + ended.error
        if ended.code in (1, 2):
            endings.refused += 1
            if "disk is full" not in told and "No space left" not in told:
                endings.wrong.append(f"{free_kib} KiB: not told that the disk is full: {told[-300:]}")
        wrong = judged(ended, self._work.program, at, edits=True, talks=True)
        endings.wrong += [f"{free_kib} KiB: {text}" for text in wrong]
        self._judge(at, endings, f"{free_kib} KiB")
        left = [path.name for path in at.rglob(".*")]
        if left:
            endings.wrong.append(f"{free_kib} KiB: left behind: {left}")
        filling.unlink()
        self._complete(at, endings, f"{free_kib} KiB")

    def _silently(self, at: Path) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        try:
            self._work.call(at, self._samples)()
        finally:
            os._exit(0)

    def _judge(self, at: Path, endings: Endings, when: str) -> None:
        endings.wrong += [f"{when}: {text}" for text in self._look(at, "after")]

    def _complete(self, at: Path, endings: Endings, when: str) -> None:
        before = self._look(at, "finished")
        ended = run_forked(self._work.call(at, self._samples), self._said, seconds=_SECONDS)
        wrong = [f"{path} was finished and is another one now" for path, sha in before.items() if _digest(path) != sha]
        if ended.code:
            wrong.append(f"ended in {ended.code}: {ended.error[-300:]}")
        else:
            wrong += differences(self._goal, self._look(at, "result"))
        endings.completed += not wrong
        endings.wrong += [f"{when}: the second call: {text}" for text in wrong]
        self._judge(at, endings, f"{when}, second call")

    def _look(self, at: Path, which: str) -> dict[str, str]:
        """What the work's ``which`` finds, as a dictionary; in a fork, as it reads images: nothing is computed in the
        first process."""
        look = getattr(self._work, which)

        def call() -> int:
            found = look(at)
            if which == "finished":
                found = {str(path): _digest(path) for path in found}
            print(json.dumps(dict.fromkeys(found, "") if which == "after" else found))
            return 0

        ended = run_forked(call, self._said, seconds=_SECONDS)
        if ended.code:
            return {f"{which} cannot be read: {ended.error[-300:]}": ""}
        return dict(json.loads(ended.said.splitlines()[-1]))

    def _copy(self) -> Path:
        shutil.rmtree(self._at, ignore_errors=True)
        shutil.copytree(self._template, self._at)
        return self._at

    def _do(self, call) -> None:  # type: ignore[no-untyped-def]
        ended = run_forked(call, self._said, seconds=_SECONDS)
        if ended.code:
            raise RuntimeError(f"{self._work.name}: {ended.said}{ended.error}")


def _size_kib(folder: Path) -> int:
    """In whole pages, as a disk in memory counts."""
    return sum(-(-path.stat().st_size // 4096) * 4 for path in folder.rglob("*") if path.is_file())


def _digest(path: Path | str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return "gone"


def soak_kills(samples: Path, room: Path, seed: int, kills: int, about: str = "") -> dict[str, Endings]:
    """About ``kills`` kills, as many of each kind of work whose name holds ``about``."""
    found = {}
    chosen = [work for work in WORKS if about in work.name]
    for work in chosen:
        rng, endings = random.Random(f"{seed} {work.name}"), Endings()
        cut = CutOff(work, samples, room / "kills", room / "work")
        for number in range(max(1, round(kills / len(chosen)))):
            cut.kill(number, rng, endings)
        found[work.name] = endings
        print_endings("kills so far", {work.name: endings})
    return found


def soak_full_disk(samples: Path, room: Path, about: str = "") -> dict[str, Endings] | None:
    """Every kind of work on a small disk with little room; None where no disk can be mounted (root only)."""
    found = {}
    with small_disk(room / "disk") as disk:
        if disk is None:
            return None
        for work in (work for work in WORKS if about in work.name):
            endings = Endings()
            cut = CutOff(work, samples, room / "full", disk / "work")
            for free_kib in (*_FREE_KIB, *(round(share * cut.needs_kib) for share in _SHARES)):
                cut.fill_disk(free_kib, endings)
            shutil.rmtree(disk / "work")
            found[work.name] = endings
            print_endings("full disk so far", {work.name: endings})
    return found


@contextmanager
def small_disk(place: Path) -> Iterator[Path | None]:
    """A disk in memory; None, where the system does not let us mount one."""
    place.mkdir(parents=True, exist_ok=True)
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MIB}m,mode=0777", "tmpfs", str(place)]
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    try:
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=False)


def _fill(disk: Path, free_kib: int) -> Path:
    """A file that leaves so much of the disk free."""
    filling = disk / "filling"
    with filling.open("wb") as file:
        file.write(bytes(max(0, shutil.disk_usage(disk).free - (free_kib << 10))))
    return filling


def print_endings(title: str, found: dict[str, Endings]) -> None:
    print(f"{title:26} {'killed':>7} {'refused':>8} {'completed':>10} {'wrong':>6}")
    for name, one in found.items():
        print(f"{name:26} {one.killed:7} {one.refused:8} {one.completed:10} {len(one.wrong):6}", flush=True)
        for text in one.wrong:
            print(f"WRONG {name}: {text}", flush=True)
