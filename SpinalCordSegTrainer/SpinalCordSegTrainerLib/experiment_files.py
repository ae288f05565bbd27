"""Table 1 as measured here beside the paper's: a page, a table, histograms of Dice, Dice per epoch (its Fig. 8-10)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from SpinalCordSegLib.files import write_json, write_text
from SpinalCordSegTrainerLib.evaluation import statistics
from SpinalCordSegTrainerLib.experiment_rows import BASELINE, BEST, FIXED
from SpinalCordSegTrainerLib.experiments import RowResult
from SpinalCordSegTrainerLib.run_folder import figure, write_table


def write_experiment(results: Sequence[RowResult], note: str, folder: Path) -> str:
    """Write table1.md, .csv, .json and the two pictures; gives the page. ``note``: on what data, how long.

    Raises OutputError.
    """
    told = [result.told() for result in results]
    page = experiment_page(told, note)
    write_text(folder / "table1.md", page)
    write_table([_flat(one) for one in told], folder / "table1.csv")
    write_json(folder / "table1.json", {"note": note, "rows": told})
    _histograms(results, folder / "histograms.png")
    _per_epoch(results, folder / "dice_per_epoch.png")
    return page


def experiment_page(told: Sequence[dict[str, Any]], note: str) -> str:
    """The table in Markdown, ours beside the paper's, and whether the order of first and last row is the paper's."""
    lines = ["# Table 1 of the paper, trained again", "", note, ""]
    lines += [
        "| row | loss | fn/fp, γ | rate | Dice here | Dice paper | MCC here | MCC paper | P25 P50 P75 here | paper |"
    ]
    lines += ["|" + " --- |" * 10, *(_line(one) for one in told), ""]
    means = {one["row"]: one["dice"]["mean"] for one in told}
    best, baseline = means.get(BEST), means.get(BASELINE)
    if best is not None and baseline is not None:
        word = "at or above" if best >= baseline else "BELOW"
        lines += [f"RA-U-Net + FTL + CLR ({best:.3f}) is {word} plain U-Net + TL ({baseline:.3f}) in mean Dice.", ""]
    return "\n".join(lines)


def _line(one: dict[str, Any]) -> str:
    loss, rate, paper, dice = one["loss"], one["rate"], one["paper"], one["dice"]
    focal = loss["name"] == "focal_tversky"
    weights = f"{loss['fn_weight']:g}/{loss['fp_weight']:g}" + (f", {loss['gamma']:g}" if focal else "")
    speed = f"{rate['max_lr']:.0e}" if rate["plan"] == "fixed" else f"CLR {rate['base_lr']:.0e}..{rate['max_lr']:.0e}"
    speed += "" if one["rate_found"] else " (none found)"
    here = "–" if dice["mean"] is None else f"{dice['mean']:.3f} ± {dice['sd'] or 0:.3f}"
    quartiles = "–" if dice["mean"] is None else " ".join(f"{dice[name]:.2f}" for name in ("p25", "p50", "p75"))
    theirs = ["–", "–", "–"]
    if paper is not None:
        theirs = [f"{_as_printed(paper['dice'])} ± {_as_printed(paper['sd'])}", f"{paper['mcc']:.2f}"]
        theirs.append(" ".join(f"{paper[name]:.2f}" for name in ("p25", "p50", "p75")))
    cells = [one["row"], "FTL" if focal else "TL", weights, speed, here, theirs[0], f"{one['mcc']:.3f}", theirs[1]]
    return "| " + " | ".join([*cells, quartiles, theirs[2]]) + " |"


def _as_printed(value: float) -> str:
    return f"{value:.2f}" if round(value, 2) == value else f"{value:.3f}"


def _flat(one: dict[str, Any]) -> dict[str, Any]:
    paper = one["paper"] or {}
    row = {"row": one["row"], "network": one["network"], "loss": one["loss"]["name"]}
    row |= {name: one["loss"][name] for name in ("fn_weight", "fp_weight", "gamma")}
    row |= {name: one["rate"][name] for name in ("plan", "base_lr", "max_lr")}
    row |= {f"dice_{name}": one["dice"][name] for name in ("n", "mean", "sd", "p25", "p50", "p75")}
    row |= {"mcc": one["mcc"], "minutes": one["minutes"]}
    return row | {f"paper_{name}": paper.get(name) for name in ("dice", "sd", "mcc", "p25", "p50", "p75")}


def _histograms(results: Sequence[RowResult], path: Path) -> None:
    edges = [number / 40 for number in range(41)]
    columns = min(3, len(results))
    with figure(path, len(results), columns) as axes:
        for number, (axis, result) in enumerate(zip(axes or (), results, strict=bool(axes))):
            axis.hist(result.dice, bins=edges)
            axis.set_title(f"{result.row.key}: mean {statistics(result.dice)['mean'] or 0:.3f}", fontsize=9)
            axis.yaxis.get_major_locator().set_params(integer=True)
            if number % columns == 0:
                axis.set_ylabel("slices")
            if number + columns >= len(results):
                axis.set_xlabel("Dice of a slice")
                axis.tick_params(labelbottom=True)
            if result.row.paper is not None:
                axis.axvline(result.row.paper.dice, color="tab:red", ls="--", lw=1, label="paper's mean")
                axis.legend(loc="upper left", fontsize=7)


def _per_epoch(results: Sequence[RowResult], path: Path) -> None:
    chosen = [result for result in results if result.row.key in (BEST, FIXED)]
    if not chosen:
        return
    with figure(path, 1) as axes:
        for axis in axes or ():
            for result in chosen:
                values = [float("nan") if one["dice"] is None else one["dice"] for one in result.history]
                axis.plot([one["epoch"] for one in result.history], values, ".-", label=result.row.key)
            axis.set_xlabel("epoch")
            axis.set_ylim(0, 1)
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.set_ylabel("Dice on validation")
            axis.legend(fontsize=8)
