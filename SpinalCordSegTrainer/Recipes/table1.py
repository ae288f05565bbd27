"""Table 1 of the paper (Bueno et al. 2022) trained again: its rows, one for comparison, and a page with both figures.

All rows share slices and split, and are scored on the people held out; some are trained from two seeds. Every run has a
folder of its own; stopped or killed, the whole goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from SpinalCordSegLib.files import write_json, write_text
from SpinalCordSegLib.metrics import ConfusionCounts
from SpinalCordSegLib.model.checkpoint import checkpoint_network, load_checkpoint
from SpinalCordSegLib.torch_inference import device_name
from SpinalCordSegTrainerLib.batches import open_sources, slice_counts
from SpinalCordSegTrainerLib.config import CropConfig, LossConfig, RateConfig, TrainingConfig
from SpinalCordSegTrainerLib.evaluation import statistics
from SpinalCordSegTrainerLib.run_folder import figure
from SpinalCordSegTrainerLib.trainer import Progress, Training

_SCORES = ("dice", "sd", "mcc", "p25", "p50", "p75")
_QUARTILES = ("p25", "p50", "p75")


@dataclass(frozen=True)
class Row:
    """One training. ``paper``: what the paper reports on its own 4,260 validation slices, which are private; in the
    order of _SCORES."""

    key: str
    network: Literal["ra_unet", "unet", "deep_unet"]
    loss: LossConfig
    rate: RateConfig
    paper: tuple[float, ...] = ()


def _loss(name: Literal["focal_tversky", "tversky"], fn_weight: float, gamma: float = 1.33) -> LossConfig:
    return LossConfig(name=name, fn_weight=fn_weight, fp_weight=round(1 - fn_weight, 3), gamma=gamma)


def _fixed(rate: float) -> RateConfig:
    return RateConfig(plan="fixed", base_lr=rate, max_lr=rate)


_TL6, _TL7 = _loss("tversky", 0.6), _loss("tversky", 0.7)
_FTL6, _FTL7 = _loss("focal_tversky", 0.6), _loss("focal_tversky", 0.7)
_FTL6_16 = _loss("focal_tversky", 0.6, 1.6)
BEST, FIXED = "9-ra_unet-ftl-clr", "10-ra_unet-ftl-1e-4"
BASELINE = "1-unet-tl"
TWICE = (BASELINE, "6-ra_unet-ftl", BEST, FIXED)  # trained from two seeds

ROWS = (
    Row(BASELINE, "unet", _TL6, _fixed(1e-5), (0.66, 0.24, 0.68, 0.57, 0.75, 0.84)),
    Row("2-unet-tl-0.7", "unet", _TL7, _fixed(1e-5), (0.68, 0.24, 0.71, 0.61, 0.77, 0.85)),
    Row("3-unet-ftl-0.7", "unet", _FTL7, _fixed(1e-5), (0.62, 0.25, 0.64, 0.53, 0.71, 0.81)),
    Row("4-unet-ftl", "unet", _FTL6, _fixed(1e-5), (0.68, 0.27, 0.70, 0.62, 0.80, 0.87)),
    Row("5-unet-ftl-1.6", "unet", _FTL6_16, _fixed(1e-5), (0.74, 0.23, 0.77, 0.70, 0.82, 0.88)),
    Row("6-ra_unet-ftl", "ra_unet", _FTL6, _fixed(1e-5), (0.86, 0.11, 0.89, 0.85, 0.89, 0.92)),
    Row("7-ra_unet-ftl-1.6", "ra_unet", _FTL6_16, _fixed(1e-4), (0.80, 0.22, 0.84, 0.82, 0.87, 0.90)),
    Row("8-deep_unet-clr", "deep_unet", _FTL6, RateConfig("clr", 1e-4, 1e-2), (0.79, 0.25, 0.83, 0.82, 0.89, 0.92)),
    Row(BEST, "ra_unet", _FTL6, RateConfig("clr", 1e-5, 1e-3), (0.904, 0.101, 0.95, 0.90, 0.92, 0.94)),
    Row(FIXED, "ra_unet", _FTL6, _fixed(1e-4)),  # the paper's Fig. 10 compares row 9 with a fixed rate
)


SCALE = 8  # an eighth of the paper's 31,340 updates at 8 times its rates: Adam can travel as far
_SCALED_WIDTH = {"ra_unet": 4, "unet": 1, "deep_unet": 4}  # 0.74, 0.49 and 0.15 million parameters


def scaled(config: TrainingConfig) -> TrainingConfig:
    """For two cores and two hours: 3,915 updates of 8 crops of 96 pixels; ``train_rows`` narrows the networks."""
    return replace(
        config,
        crop=CropConfig(size=96, near_cord=0.8, jitter_px=28),
        batch_size=8,
        epochs=15,
        updates_per_epoch=261,
        patience=None,
        validation=replace(config.validation, max_slices=60),
        rate=replace(config.rate, half_cycle_epochs=3.75),
    )


def train_rows(
    rows: Sequence[Row],
    base: TrainingConfig,
    output: Path,
    device: torch.device,
    *,
    scale: int = 1,
    seeds: int = 1,
    report: Callable[[Progress], None] | None = None,
    stopped: Callable[[], bool] | None = None,
    begun: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Train and score the rows; each result as table1.json holds it, with "dice_of_slices" and "history" besides.

    ``base``: data, split, seed and length of all rows. ``scale``: times the paper's rates; above 1 the networks are
    narrower too. ``seeds``: of the rows in TWICE. Raises Cancelled after saving, and what Training raises.
    """
    results = []
    for row, seed in ((row, n) for n in range(seeds) for row in rows if n == 0 or row.key in TWICE):
        key = row.key if seed == 0 else f"{row.key}-seed{seed}"
        if begun is not None:
            begun(key)
        width = base.network.width if scale == 1 else _SCALED_WIDTH[row.network]
        network = replace(base.network, name=row.network, width=width)
        rate = replace(base.rate, plan=row.rate.plan, base_lr=row.rate.base_lr * scale, max_lr=row.rate.max_lr * scale)
        config = replace(base, name=key, network=network, loss=row.loss, rate=rate, seed=base.seed + seed)
        run = Training(config, output / key, resume=None, device=device, report=report, stopped=stopped)
        history = run.run().history
        people, counts = _scored(run)
        with_cord = [n for n, one in enumerate(counts) if one.true_positive + one.false_negative]
        dice = [counts[n].dice() for n in with_cord]
        results.append(
            {
                "row": row.key,
                "seed": config.seed,
                "network": row.network,
                "loss": asdict(row.loss),
                "rate": asdict(rate),
                "paper": dict(zip(_SCORES, row.paper, strict=True)) if row.paper else None,
                "dice": statistics(dice),
                "mcc": sum(counts, ConfusionCounts()).mcc(),
                "dice_per_epoch": [one["dice"] for one in history],
                "minutes": history[-1]["minutes"],
                "dice_of_slices": dice,
                "people": [people[n] for n in with_cord],
                "history": history,
            }
        )
    return results


def _scored(run: Training) -> tuple[list[str], list[ConfusionCounts]]:
    """Of every slice held out, whose it is and its exact counts at probability 0.5."""
    network = checkpoint_network(load_checkpoint(run.best)).to(run.device)
    config = replace(run.config, validation=replace(run.config.validation, max_slices=None))
    held_out = open_sources(config).held_out
    counts = slice_counts(network, held_out, config.loss, config.validation.batch_size, run.device)[1]
    people = [str(one.cache.info.subjects[n]) for one in held_out for n in one.indices]
    return people, [one for one, *_ in counts]


def difference(results: Sequence[dict[str, Any]], row: str, other: str, draws: int = 2000) -> tuple[float, ...]:
    """Mean Dice of a row less that of another: mean over people (each the mean of their slices and of the seeds), and
    its 95 % interval from as many draws of seeds and people with replacement."""
    rng, means = np.random.default_rng(0), []
    for key in (row, other):
        runs = [one for one in results if one["row"] == key]
        names = sorted(set(runs[0]["people"]))
        dice = [
            [np.mean(np.array(run["dice_of_slices"])[np.array(run["people"]) == who]) for who in names] for run in runs
        ]
        means.append(np.array(dice))  # (seeds, people)
    drawn = []
    for _ in range(draws):
        who = rng.integers(means[0].shape[1], size=means[0].shape[1])
        one, two = (m[rng.integers(len(m), size=len(m))][:, who].mean() for m in means)
        drawn.append(one - two)
    return (float(means[0].mean() - means[1].mean()), *(float(v) for v in np.quantile(drawn, (0.025, 0.975))))


def write_experiment(results: Sequence[dict[str, Any]], note: str, folder: Path) -> str:
    """Write table1.md, table1.json and the two pictures; gives the page. ``note``: on what data, how long.

    Raises OutputError.
    """
    rows = [{name: one[name] for name in one if name not in ("dice_of_slices", "people", "history")} for one in results]
    page = experiment_page(rows, note)
    if {BEST, BASELINE} <= {one["row"] for one in rows}:
        mean, low, high = difference(results, BEST, BASELINE)
        which = "RA-U-Net + FTL + CLR less plain U-Net + TL"
        page += f"\n{which}: {mean:+.3f} (95 % {low:+.3f} to {high:+.3f}) in the mean Dice of a person held out.\n"
    write_text(folder / "table1.md", page)
    write_json(folder / "table1.json", {"note": note, "rows": rows})
    _histograms(results, folder / "histograms.png")
    _per_epoch(results, folder / "dice_per_epoch.png")
    return page


def experiment_page(rows: Sequence[dict[str, Any]], note: str) -> str:
    """The table in Markdown, ours beside the paper's."""
    lines = ["# Table 1 of the paper, trained again", "", note, ""]
    titles = (
        "row | seed | loss | fn/fp, γ | rate | Dice here | Dice paper | MCC here | MCC paper | P25 P50 P75 here | paper"
    )
    lines += [f"| {titles} |", "|" + " --- |" * 11, *(_line(one) for one in rows), ""]
    return "\n".join(lines)


def _line(one: dict[str, Any]) -> str:
    loss, rate, paper, dice = one["loss"], one["rate"], one["paper"], one["dice"]
    focal = loss["name"] == "focal_tversky"
    weights = f"{loss['fn_weight']:g}/{loss['fp_weight']:g}" + (f", {loss['gamma']:g}" if focal else "")
    speed = f"{rate['max_lr']:.0e}" if rate["plan"] == "fixed" else f"CLR {rate['base_lr']:.0e}..{rate['max_lr']:.0e}"
    here = "–" if dice["mean"] is None else f"{dice['mean']:.3f} ± {dice['sd'] or 0:.3f}"
    quartiles = "–" if dice["mean"] is None else " ".join(f"{dice[name]:.2f}" for name in _QUARTILES)
    theirs = ["–", "–", "–"]
    if paper is not None:
        known = (paper["dice"], paper["sd"])
        printed = (f"{value:.2f}" if round(value, 2) == value else f"{value:.3f}" for value in known)
        theirs = [" ± ".join(printed), f"{paper['mcc']:.2f}", " ".join(f"{paper[name]:.2f}" for name in _QUARTILES)]
    cells = [
        one["row"],
        str(one["seed"]),
        "FTL" if focal else "TL",
        weights,
        speed,
        here,
        theirs[0],
        f"{one['mcc']:.3f}",
        theirs[1],
    ]
    return "| " + " | ".join([*cells, quartiles, theirs[2]]) + " |"


def _histograms(results: Sequence[dict[str, Any]], path: Path) -> None:
    edges = [number / 40 for number in range(41)]
    columns = min(3, len(results))
    with figure(path, len(results), columns) as axes:
        for number, (axis, result) in enumerate(zip(axes, results, strict=True)):
            axis.hist(result["dice_of_slices"], bins=edges)
            axis.set_title(
                f"{result['row']}, seed {result['seed']}: mean {result['dice']['mean'] or 0:.3f}", fontsize=9
            )
            axis.yaxis.get_major_locator().set_params(integer=True)
            if number % columns == 0:
                axis.set_ylabel("slices")
            if number + columns >= len(results):
                axis.set_xlabel("Dice of a slice")
                axis.tick_params(labelbottom=True)
            if result["paper"] is not None:
                axis.axvline(result["paper"]["dice"], color="tab:red", ls="--", lw=1, label="paper's mean")
                axis.legend(loc="upper left", fontsize=7)


def _per_epoch(results: Sequence[dict[str, Any]], path: Path) -> None:
    chosen = [result for result in results if result["row"] in (BEST, FIXED)]
    if not chosen:
        return
    with figure(path, 1) as (axis,):
        for result in chosen:
            values = [float("nan") if one["dice"] is None else one["dice"] for one in result["history"]]
            axis.plot(
                [one["epoch"] for one in result["history"]],
                values,
                ".-",
                label=f"{result['row']}, seed {result['seed']}",
            )
        axis.set_xlabel("epoch")
        axis.set_ylim(0, 1)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_ylabel("Dice on validation")
        axis.legend(fontsize=8)


def data_note(base: TrainingConfig, scale: int, device: torch.device) -> str:
    """On what data and for how long, as text."""
    opened = open_sources(base)
    count, held = sum(part["slices"] for part in opened.provenance), sum(len(one.indices) for one in opened.held_out)
    kinds = ", ".join(sorted({part["kind"] for part in opened.provenance}))
    length = f"{base.epochs} epochs of {base.updates_per_epoch or 'all'} updates, batches of {base.batch_size}"
    text = f" Scaled: narrower networks, crops, all rates of the paper × {scale}." if scale > 1 else ""
    scored = f"{count} {kinds} slices; {held} others, held out by subject, score each epoch"
    return f"{scored}; {length}; {device_name(device)}.{text}"
