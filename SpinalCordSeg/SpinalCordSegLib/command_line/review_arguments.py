"""The arguments of ``review``; nothing is loaded for them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

AddCommon = Callable[[argparse.ArgumentParser], None]


def add_review(commands: Any, add_common: AddCommon) -> None:
    """Add the command and its arguments."""
    review = commands.add_parser(
        "review",
        help="list what is to be reviewed, and accept or reject cases",
        description="Without a decision: the cases in FOLDER with their states, the next one to look at with its"
        " doubtful slices, the worst first, and FOLDER/review.csv with one row a case. States are kept in the cases'"
        " own folders, so the work can be left and taken up at any time.",
    )
    review.add_argument("folder", type=Path, metavar="FOLDER", help="what segment wrote its results into, or one case")
    review.add_argument("--case", metavar="NAME", help="this case, instead of the next open one")
    review.add_argument("--next", action="store_true", help="the open case after --case")
    review.add_argument("--previous", action="store_true", help="the case before --case")
    review.add_argument(
        "--seen", action="append", default=[], metavar="SLICE",
        help='these slices were looked at: the input\'s own, as in the list; a number, or "all" flagged ones',
    )  # fmt: skip
    states = review.add_mutually_exclusive_group()
    for state, words in (
        ("accepted", "accept the case"),
        ("rejected", "reject it: it is not exported any more"),
        ("in review", "take a decision back"),
    ):
        option = "--reopen" if state == "in review" else f"--{state[:6]}"
        states.add_argument(option, dest="state", action="store_const", const=state, help=words)
    review.add_argument("--by", default="", metavar="NAME", help="who decides; needed to accept and to reject")
    add_common(review)
