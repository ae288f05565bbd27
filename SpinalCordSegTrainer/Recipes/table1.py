"""Table 1 of the paper (Bueno et al. 2022) trained again: its rows, one for comparison, and a page with both figures.

All rows share slices, split and seed, and are scored on those held out. Every row is a run in a folder of its own;
stopped or killed, the whole goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

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


def quick(config: TrainingConfig) -> TrainingConfig:
    """A scaled version for two cores and twenty minutes: a quarter of the width, crops of 64 pixels, few updates.

    Small crops near the cord buy updates: with crops of 128 and half of the updates the first row found nothing.
    """
    return replace(
        config,
        network=replace(config.network, width=2),
        crop=CropConfig(size=64, near_cord=0.8, jitter_px=24),
        batch_size=8,
        epochs=6,
        updates_per_epoch=40,
        patience=None,
        statistics_batches=4,
        validation=replace(config.validation, max_slices=20),
        rate=replace(config.rate, half_cycle_epochs=3.0),
    )


QUICK_RATE_FACTOR = 10.0  # 240 updates in place of some 31,000: at 1e-5 no network would leave its start


def train_rows(
    rows: Sequence[Row],
    base: TrainingConfig,
    output: Path,
    device: torch.device,
    *,
    scaled: bool = False,
    report: Callable[[Progress], None] | None = None,
    stopped: Callable[[], bool] | None = None,
    begun: Callable[[Row], None] | None = None,
) -> list[dict[str, Any]]:
    """Train and score the rows; each result as table1.json holds it, with "dice_of_slices" and "history" besides.

    ``base``: data, split, seed and length of all rows. ``scaled``: for few updates, with ten times the paper's rates.
    Raises Cancelled after saving, and what Training raises.
    """
    results = []
    for row in rows:
        if begun is not None:
            begun(row)
        config = replace(base, name=row.key, network=replace(base.network, name=row.network), loss=row.loss)
        rate, factor = row.rate, QUICK_RATE_FACTOR if scaled else 1.0
        rate = replace(base.rate, plan=rate.plan, base_lr=rate.base_lr * factor, max_lr=rate.max_lr * factor)
        run = Training(
            replace(config, rate=rate), output / row.key, resume=None, device=device, report=report, stopped=stopped
        )
        history = run.run().history
        counts = _slice_counts(run)
        dice = [one.dice() for one in counts if one.true_positive + one.false_negative]
        results.append(
            {
                "row": row.key,
                "network": row.network,
                "loss": asdict(row.loss),
                "rate": asdict(rate),
                "paper": dict(zip(_SCORES, row.paper, strict=True)) if row.paper else None,
                "dice": statistics(dice),
                "mcc": sum(counts, ConfusionCounts()).mcc(),
                "dice_per_epoch": [one["dice"] for one in history],
                "minutes": history[-1]["minutes"],
                "dice_of_slices": dice,
                "history": history,
            }
        )
    return results


def _slice_counts(run: Training) -> list[ConfusionCounts]:
    """Exact counts of every slice that the run held out, at probability 0.5."""
    network = checkpoint_network(load_checkpoint(run.best)).to(run.device)
    size = run.config.validation.batch_size
    return [one for one, _ in slice_counts(network, run.sources.held_out, run.config.loss, size, run.device)[1]]


def write_experiment(results: Sequence[dict[str, Any]], note: str, folder: Path) -> str:
    """Write table1.md, table1.json and the two pictures; gives the page. ``note``: on what data, how long.

    Raises OutputError.
    """
    rows = [{name: one[name] for name in one if name not in ("dice_of_slices", "history")} for one in results]
    page = experiment_page(rows, note)
    write_text(folder / "table1.md", page)
    write_json(folder / "table1.json", {"note": note, "rows": rows})
    _histograms(results, folder / "histograms.png")
    _per_epoch(results, folder / "dice_per_epoch.png")
    return page


def experiment_page(rows: Sequence[dict[str, Any]], note: str) -> str:
    """The table in Markdown, ours beside the paper's, and whether the order of first and last row is the paper's."""
    lines = ["# Table 1 of the paper, trained again", "", note, ""]
    lines += [
        "| row | loss | fn/fp, γ | rate | Dice here | Dice paper | MCC here | MCC paper | P25 P50 P75 here | paper |"
    ]
    lines += ["|" + " --- |" * 10, *(_line(one) for one in rows), ""]
    means = {one["row"]: one["dice"]["mean"] for one in rows}
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
    here = "–" if dice["mean"] is None else f"{dice['mean']:.3f} ± {dice['sd'] or 0:.3f}"
    quartiles = "–" if dice["mean"] is None else " ".join(f"{dice[name]:.2f}" for name in _QUARTILES)
    theirs = ["–", "–", "–"]
    if paper is not None:
        known = (paper["dice"], paper["sd"])
        printed = (f"{value:.2f}" if round(value, 2) == value else f"{value:.3f}" for value in known)
        theirs = [" ± ".join(printed), f"{paper['mcc']:.2f}", " ".join(f"{paper[name]:.2f}" for name in _QUARTILES)]
    cells = [one["row"], "FTL" if focal else "TL", weights, speed, here, theirs[0], f"{one['mcc']:.3f}", theirs[1]]
    return "| " + " | ".join([*cells, quartiles, theirs[2]]) + " |"


def _histograms(results: Sequence[dict[str, Any]], path: Path) -> None:
    edges = [number / 40 for number in range(41)]
    columns = min(3, len(results))
    with figure(path, len(results), columns) as axes:
        for number, (axis, result) in enumerate(zip(axes, results, strict=True)):
            axis.hist(result["dice_of_slices"], bins=edges)
            axis.set_title(f"{result['row']}: mean {result['dice']['mean'] or 0:.3f}", fontsize=9)
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
            axis.plot([one["epoch"] for one in result["history"]], values, ".-", label=result["row"])
        axis.set_xlabel("epoch")
        axis.set_ylim(0, 1)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_ylabel("Dice on validation")
        axis.legend(fontsize=8)


def data_note(base: TrainingConfig, scaled: bool, device: torch.device) -> str:
    """On what data and for how long, as text."""
    opened = open_sources(base)
    count, held = sum(part["slices"] for part in opened.provenance), sum(len(one.indices) for one in opened.held_out)
    kinds = ", ".join(sorted({part["kind"] for part in opened.provenance}))
    length = f"{base.epochs} epochs of {base.updates_per_epoch or 'all'} updates, batches of {base.batch_size}"
    text = " Scaled version (--quick): width 2, crops, few updates, all rates of the paper × 10." if scaled else ""
    scored = f"{count} {kinds} slices, scored on {held} more held out by subject"
    return f"{scored}; {length}; seed {base.seed}; {device_name(device)}.{text}"
