"""Every door by which a person's mask comes into a case, times everything that is done with a case; two processes at
once; programs stopped and killed at random moments; a full disk. Nothing may be lost, nothing passed over in silence.

python tools/soak/masks_of_persons.py [--only matrix|races|kills|disk] [--n 100] [--seed N]
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import mask_doors as doors

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.volume import mask_sha256

_PARTS = ("matrix", "races", "kills", "disk")


def main() -> int:
    """Run the parts that were asked for; 1 where anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=_PARTS)
    parser.add_argument("--n", type=int, default=100, help="races and kills (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    random.seed(chosen.seed)
    for name, stand_in in doors.stand_ins().items():
        patch(name, stand_in).start()
    with tempfile.TemporaryDirectory() as place:
        neck = Path(place) / "neck"
        neck.mkdir()
        doors.new_case(neck)
        parts = {
            "matrix": lambda: matrix(neck), "races": lambda: races(neck, chosen.n), "kills": lambda: kills(neck, chosen.n),
            "disk": lambda: disk(neck),
        }  # fmt: skip
        return int(sum(parts[part]() for part in _PARTS if chosen.only in (None, part)) > 0)


def _copy(source: Path) -> Path:
    return shutil.copytree(source, Path(tempfile.mkdtemp(dir=source.parent)) / "root", symlinks=True)


def matrix(neck: Path) -> int:
    """Each door times each act."""
    found = 0
    for door in doors.DOORS:
        behind = _copy(neck)
        sha256 = door(behind)
        for act in doors.ACTS:
            root = _copy(behind)
            before = doors.State.of(root)
            code, said = act(root)
            wrong = doors.faults(root, sha256, before, code, said)
            if wrong:
                print(f"{door.__name__} x {act.__name__}: {wrong}\n  {said}", flush=True)
            found += bool(wrong)
            shutil.rmtree(root.parent, ignore_errors=True)
    print(f"matrix: {len(doors.DOORS)} doors x {len(doors.ACTS)} acts, {found} wrong", flush=True)
    return found


_ONE = """
import sys
from unittest.mock import patch
sys.path.insert(0, {tools!r})
import mask_doors as doors
for name, stand_in in doors.stand_ins().items():
    patch(name, stand_in).start()
print("ready", flush=True)
sys.stdin.readline()
sys.exit(doors.main(sys.argv[1:]))
"""


def _start(*words: object) -> subprocess.Popen[str]:
    """A program that is loaded and waits for a line before it acts."""
    code = _ONE.format(tools=str(Path(__file__).parent))
    pipe = subprocess.PIPE
    program = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)], stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    return program


def _pairs(root: Path) -> list[tuple[list[object], list[object]]]:
    write_volume(doors.MINE, root / "mine.nii.gz")
    write_volume(doors.OTHER, root / "other.nii.gz")
    case = doors.folder(root)
    mine: list[object] = ["correct", case, root / "mine.nii.gz", "--by", "A"]
    other: list[object] = ["correct", case, root / "other.nii.gz", "--by", "B"]
    force: list[object] = ["segment", root / "neck.nii.gz", "--output", root / "out", "--force"]
    accept: list[object] = ["review", case, "--accept", "--by", "B"]
    seen: list[object] = ["review", case, "--seen", "3", "--by", "B"]
    return [(mine, other), (mine, force), (mine, accept), (mine, seen), (force, accept)]


def races(neck: Path, n: int) -> int:
    """Two programs at one case at once: one wins, the other is refused or waits for it."""
    found, ends = 0, Counter[str]()
    for number in range(n):
        root = _copy(neck)
        pairs = _pairs(root)
        pair = pairs[number % len(pairs)]
        programs = [_start(*words) for words in pair]
        for program in random.sample(programs, 2):
            program.stdin.write("\n")  # type: ignore[union-attr]
            program.stdin.flush()  # type: ignore[union-attr]
            time.sleep(random.choice((0, 0, 0.02, 0.1)))
        said = [program.communicate(timeout=300)[0] for program in programs]
        codes = [program.returncode for program in programs]
        ends[f"{pair[0][0]} + {pair[1][0]}: {codes}"] += 1
        now = doors.State.of(root)
        made = {"mine": doors.SHA, "other": mask_sha256(doors.OTHER)}
        wrong = [
            f"{name} lost"
            for name, words, code in zip(("mine", "other"), pair, codes, strict=True)
            if code == 0 and words[0] == "correct" and made[name] not in _in_case(now, root)
        ]
        wrong += ["figures of another mask"] * (now.own != now.measured)
        wrong += ["refused without a word"] * any(c and "error:" not in s for c, s in zip(codes, said, strict=True))
        state = doors.Case.load(doors.folder(root), needs_slices=False)
        accepts = [code for words, code in zip(pair, codes, strict=True) if "--accept" in words]
        wrong += ["a decision is lost"] * (accepts == [0] and "accepted" not in [act.what for act in state.history])
        if wrong:
            print(f"race {number} {pair[0][0]} + {pair[1][0]}: {wrong} {codes}\n  {said}", flush=True)
        found += bool(wrong)
        shutil.rmtree(root.parent, ignore_errors=True)
    print(f"races: {n}, {found} wrong; {dict(ends)}", flush=True)
    return found


def _in_case(now: doors.State, root: Path) -> set[str]:
    return {one for path, one in now.masks.items() if doors.folder(root) in path.parents}


def kills(neck: Path, n: int) -> int:
    """Stopped and let go on, or killed, at a random moment: the case is whole, and the person's mask is there."""
    found, ends = 0, Counter[str]()
    for number in range(n):
        root = _copy(neck)
        doors.corrected(root)
        write_volume(doors.OTHER, root / "other.nii.gz")
        program = _start("correct", doors.folder(root), root / "other.nii.gz", "--by", "B")
        program.stdin.write("\n")  # type: ignore[union-attr]
        program.stdin.flush()  # type: ignore[union-attr]
        time.sleep(random.uniform(0, 0.5))
        if number % 2:
            program.send_signal(signal.SIGKILL)
            program.wait()
        else:
            program.send_signal(signal.SIGSTOP)
            time.sleep(random.uniform(0, 0.3))
            program.send_signal(signal.SIGCONT)
        said = program.communicate(timeout=300)[0]
        ends[f"{'killed' if number % 2 else 'stopped'}: {program.returncode}"] += 1
        code, then = doors.run("review", doors.folder(root), "--seen", "3", "--by", "C")  # a dead lock holds up nobody
        now = doors.State.of(root)
        wrong = ["lost"] * (doors.SHA not in _in_case(now, root)) + ["not whole"] * (now.own != now.measured or code)
        if program.returncode == 0 and mask_sha256(doors.OTHER) != now.own:
            wrong.append("said to be done, and is not")
        if wrong:
            print(f"kill {number}: {wrong} {program.returncode}\n  {said}\n  {then}", flush=True)
        found += bool(wrong)
        shutil.rmtree(root.parent, ignore_errors=True)
    print(f"stopped and killed: {n}, {found} wrong; {dict(ends)}", flush=True)
    return found


def disk(neck: Path) -> int:
    """The disk is full after so many bytes of a file, from none to all: nothing half-written, nothing lost."""
    found = 0
    sizes = (0, 200, 500, 1000, 2000, 5000, 20_000)
    for size in sizes:
        for act in doors.ACTS[:11]:
            root = _copy(neck)
            doors.corrected(root)
            write_volume(doors.OTHER, root / "other.nii.gz")
            before = doors.State.of(root)
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                sys.dont_write_bytecode = True  # or Python keeps half a module
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
                code, said = 1, ""
                try:
                    code, said = act(root)
                except (OSError, SpinalCordSegError):  # of the act's own preparation
                    code, said = 2, "error: not begun"
                silent = code != 0 and "error:" not in said
                os._exit(1 if silent or "Traceback" in said else 0)
            _, status = os.waitpid(child, 0)
            now = doors.State.of(root)
            wrong = ["silent"] * (status != 0) + ["lost"] * (doors.SHA not in _in_case(now, root))
            wrong += ["not whole"] * (now.own != now.measured) + ["versions went"] * (
                not set(_in_case(before, root)) <= set(_in_case(now, root))
            )
            if wrong:
                print(f"disk {size} {act.__name__}: {wrong}", flush=True)
            found += bool(wrong)
            shutil.rmtree(root.parent, ignore_errors=True)
    print(f"full disk: {len(sizes)} sizes x 11 acts, {found} wrong", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
