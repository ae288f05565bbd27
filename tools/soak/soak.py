"""The soak: bad inputs by the hundred, odd places, kills at random moments, full disks. Seeded, bounded in time.

python tools/soak/soak.py [--seed N] [--minutes M] [--cases N] [--kills N] [--only inputs|places|kills|disk]

Exit code 1 when anything was found; what it was, with the input, stays in out/soak.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bad_inputs import BadInputs, print_tallies, soak_bad_inputs
from cut_off import print_endings, soak_full_disk, soak_kills
from forked_run import fresh, run_forked, warm_up
from odd_places import soak_odd_places
from samples import make_samples

_PARTS = ("inputs", "places", "kills", "disk")


def main() -> int:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000, help="default: another one every time")
    parser.add_argument("--minutes", type=float, default=30.0, help="for the bad inputs at most (default: %(default)s)")
    parser.add_argument("--cases", type=int, default=1000, help="bad inputs (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=100, help="default: %(default)s")
    parser.add_argument("--only", choices=_PARTS, help="one part alone")
    parser.add_argument("--about", default="", help="formats of bad inputs, or work cut off, whose name holds this")
    parser.add_argument("--place", type=Path, default=Path("out/soak"), help="default: %(default)s")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    warm_up()
    room = fresh(chosen.place.resolve())
    samples = good_samples(room)
    wrong = BadInputs(samples, room, chosen.seed).check_samples() if chosen.only in (None, "inputs") else []
    print(*wrong, sep="\n", end="\n" if wrong else "", flush=True)
    parts = [part for part in _PARTS if chosen.only in (None, part)]
    return int(any([bool(wrong), *(_part(part, samples, room, chosen) for part in parts)]))


def good_samples(room: Path) -> Path:
    """The samples, made in a fork; gives their folder."""
    samples = fresh(room / "samples")
    made = run_forked(lambda: make_samples(samples) or 0, fresh(room / "said"), seconds=300, more_mib=8000)  # type: ignore[func-returns-value]
    if made.code:
        raise RuntimeError(f"the samples could not be made: {made.said}{made.error}")
    return samples


def _part(part: str, samples: Path, room: Path, chosen: argparse.Namespace) -> bool:
    """Run one part and tell it; True where something is wrong."""
    if part == "inputs":
        tallies = soak_bad_inputs(samples, room, chosen.seed, chosen.cases, chosen.minutes, chosen.about)
        print_tallies(tallies)
        return any(one.findings for one in tallies.values())
    if part == "places":
        places = soak_odd_places(samples, fresh(room / "places"))
        print_tallies({"odd places": places})
        return bool(places.findings)
    if part == "kills":
        found = soak_kills(samples, room, chosen.seed, chosen.kills, chosen.about)
        print_endings("kills", found)
    else:
        full = soak_full_disk(samples, room, chosen.about)
        if full is None:
            print("FULL DISK: NOT TRIED, mounting a small disk is not permitted here (it takes root)")
            return False
        print_endings("full disk", full)
        found = full
    sys.stdout.flush()
    return any(one.wrong for one in found.values())


if __name__ == "__main__":
    sys.exit(main())
