"""Lengths as arguments of the command line."""

from __future__ import annotations

import argparse


def length_mm(text: str) -> float:
    """Millimetres, 0 or more. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no length: give millimetres, 0 or more")
    return value
