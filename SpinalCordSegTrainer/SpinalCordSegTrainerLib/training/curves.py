"""Curves of a run: a CSV always, a PNG where matplotlib is installed."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from SpinalCordSegLib.writing import atomic_write, write_text

_log = logging.getLogger(__name__)


def write_curves(history: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write ``epochs.csv`` and ``curves.png``: loss of training and validation, MCC and Dice, rate, per epoch.

    Empty history writes nothing. Without matplotlib the picture is left out, with a word in the log.
    Raises OutputError.
    """
    if not history:
        return
    write_table(history, folder / "epochs.csv")
    epochs = [row["epoch"] for row in history]
    with figure(folder / "curves.png", 3) as axes:
        if axes is None:
            return
        _lines(axes[0], epochs, history, ("train_loss", "loss"), ("training", "validation"), "loss")
        _lines(axes[1], epochs, history, ("dice", "mcc"), ("Dice", "MCC"), "validation score")
        _lines(axes[2], epochs, history, ("rate",), ("rate",), "learning rate")
        axes[2].set_yscale("log")
        axes[2].set_xlabel("epoch")


@contextmanager
def figure(path: Path, count: int, columns: int = 1) -> Iterator[list[Any] | None]:
    """``count`` matplotlib axes below each other, or in rows of several ``columns``, which then share their scales; the
    picture is written at the end. None without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        _log.warning("%s is left out: matplotlib is not installed (pip install matplotlib)", path.name)
        yield None
        return
    rows, several = -(-count // columns), columns > 1
    size = (3.4 * columns, 1.8 * rows + 0.4) if several else (7, 2.4 * rows + 0.4)
    picture = Figure(figsize=size, layout="constrained")
    axes = list(picture.subplots(rows, columns, squeeze=False, sharex=several, sharey=several).flat)
    for unused in axes[count:]:
        unused.set_axis_off()
    yield axes[:count]
    with atomic_write(path) as temporary:
        picture.savefig(temporary, dpi=110)


def write_table(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Rows as CSV, columns in the order of the first row; None is an empty cell. Raises OutputError."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _lines(
    axis: Any,
    epochs: Sequence[int],
    history: Sequence[dict[str, Any]],
    columns: Sequence[str],
    names: Sequence[str],
    label: str,
) -> None:
    for column, name in zip(columns, names, strict=True):
        axis.plot(epochs, [float("nan") if row[column] is None else row[column] for row in history], ".-", label=name)
    axis.set_ylabel(label)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    axis.legend(loc="best", fontsize=8)
