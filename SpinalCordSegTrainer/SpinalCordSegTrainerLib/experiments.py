"""Table 1 of the paper (Bueno et al. 2022) trained again: its rows, three for comparison, and a page with both figures.

All rows share slices, split and seed, and are scored on those held out. Every row is a run in a folder of its own;
stopped or killed, the whole goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from SpinalCordSegLib.files import parse_json, write_json, write_text
from SpinalCordSegLib.inference import device_name
from SpinalCordSegLib.metrics import ConfusionCounts
from SpinalCordSegLib.model.checkpoint import checkpoint_network, load_checkpoint
from SpinalCordSegTrainerLib.batches import BatchSampler, open_sources, slice_counts
from SpinalCordSegTrainerLib.config import CropConfig, LossConfig, RateConfig, TrainingConfig
from SpinalCordSegTrainerLib.evaluation import statistics
from SpinalCordSegTrainerLib.lr_finder import range_test, write_range_test
from SpinalCordSegTrainerLib.run_folder import figure, new_state, saved_state, write_table
from SpinalCordSegTrainerLib.trainer import Progress, Training, starting_weights


@dataclass(frozen=True)
class PaperScores:
    """What the paper reports on its own 4,260 validation slices, which are private."""

    dice: float
    sd: float
    mcc: float
    p25: float
    p50: float
    p75: float


@dataclass(frozen=True)
class Row:
    """One training. ``rate`` None: the cyclical rate between the bounds that a range test finds for this network."""

    key: str
    network: Literal["ra_unet", "unet", "deep_unet"]
    loss: LossConfig
    rate: RateConfig | None
    paper: PaperScores | None = None


def _loss(name: Literal["focal_tversky", "tversky"], fn_weight: float, gamma: float = 1.33) -> LossConfig:
    return LossConfig(name=name, fn_weight=fn_weight, fp_weight=round(1 - fn_weight, 3), gamma=gamma)


def _fixed(rate: float) -> RateConfig:
    return RateConfig(plan="fixed", base_lr=rate, max_lr=rate)


def _cyclical(base_lr: float, max_lr: float) -> RateConfig:
    return RateConfig(plan="clr", base_lr=base_lr, max_lr=max_lr)


_TL6, _TL7 = _loss("tversky", 0.6), _loss("tversky", 0.7)
_FTL6, _FTL7 = _loss("focal_tversky", 0.6), _loss("focal_tversky", 0.7)
_FTL6_16 = _loss("focal_tversky", 0.6, 1.6)
BEST, FIXED = "9-ra_unet-ftl-clr", "10-ra_unet-ftl-1e-4"
BASELINE = "1-unet-tl"

PAPER_ROWS = (
    Row(BASELINE, "unet", _TL6, _fixed(1e-5), PaperScores(0.66, 0.24, 0.68, 0.57, 0.75, 0.84)),
    Row("2-unet-tl-0.7", "unet", _TL7, _fixed(1e-5), PaperScores(0.68, 0.24, 0.71, 0.61, 0.77, 0.85)),
    Row("3-unet-ftl-0.7", "unet", _FTL7, _fixed(1e-5), PaperScores(0.62, 0.25, 0.64, 0.53, 0.71, 0.81)),
    Row("4-unet-ftl", "unet", _FTL6, _fixed(1e-5), PaperScores(0.68, 0.27, 0.70, 0.62, 0.80, 0.87)),
    Row("5-unet-ftl-1.6", "unet", _FTL6_16, _fixed(1e-5), PaperScores(0.74, 0.23, 0.77, 0.70, 0.82, 0.88)),
    Row("6-ra_unet-ftl", "ra_unet", _FTL6, _fixed(1e-5), PaperScores(0.86, 0.11, 0.89, 0.85, 0.89, 0.92)),
    Row("7-ra_unet-ftl-1.6", "ra_unet", _FTL6_16, _fixed(1e-4), PaperScores(0.80, 0.22, 0.84, 0.82, 0.87, 0.90)),
    Row("8-deep_unet-clr", "deep_unet", _FTL6, _cyclical(1e-4, 1e-2), PaperScores(0.79, 0.25, 0.83, 0.82, 0.89, 0.92)),
    Row(BEST, "ra_unet", _FTL6, _cyclical(1e-5, 1e-3), PaperScores(0.904, 0.101, 0.95, 0.90, 0.92, 0.94)),
)
# The paper's Fig. 10 compares row 9 with a fixed rate; each network with its own rate is the fairer comparison.
ADDED_ROWS = (
    Row(FIXED, "ra_unet", _FTL6, _fixed(1e-4)),
    Row("11-unet-own-rate", "unet", _FTL6, None),
    Row("12-deep_unet-own-rate", "deep_unet", _FTL6, None),
    Row("13-ra_unet-own-rate", "ra_unet", _FTL6, None),
)
ROWS = PAPER_ROWS + ADDED_ROWS


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


QUICK_SWEEP_UPDATES = 240  # as many as a row is trained for; 60 found no bounds for any network
QUICK_RATE_FACTOR = 10.0  # 240 updates in place of some 31,000: at 1e-5 no network would leave its start


def row_config(row: Row, base: TrainingConfig, rate_factor: float = 1.0) -> TrainingConfig:
    """``base`` with what the row says; data, split, seed and length stay. A rate to be found stays ``base``'s."""
    rate = base.rate
    if row.rate is not None:
        low, high = row.rate.base_lr * rate_factor, row.rate.max_lr * rate_factor
        rate = replace(base.rate, plan=row.rate.plan, base_lr=low, max_lr=high)
    return replace(base, name=row.key, network=replace(base.network, name=row.network), loss=row.loss, rate=rate)


@dataclass(frozen=True)
class RowResult:
    """``dice``: of every held-out slice with cord, by the weights of least validation loss. ``history``: one entry
    per epoch. ``rate``: the one used. ``found``: False where a range test found no bounds and the paper's were used."""

    row: Row
    rate: RateConfig
    dice: tuple[float, ...]
    mcc: float
    history: list[dict[str, Any]]
    found: bool = True

    def as_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        paper = None if self.row.paper is None else asdict(self.row.paper)
        return {
            "row": self.row.key,
            "network": self.row.network,
            "loss": asdict(self.row.loss),
            "rate": asdict(self.rate),
            "rate_found": self.found,
            "paper": paper,
            "dice": statistics(self.dice),
            "mcc": self.mcc,
            "dice_per_epoch": [one["dice"] for one in self.history],
            "minutes": self.history[-1]["minutes"],
        }


@dataclass(frozen=True, eq=False)
class Experiment:
    """``base``: data, split, seed and length of all rows. ``rate_factor``: on the paper's rates, also on those that a
    range test falls back to. ``sweep_updates``: of a range test, None for two epochs."""

    base: TrainingConfig
    output: Path
    device: torch.device
    rate_factor: float = 1.0
    sweep_updates: int | None = None
    report: Callable[[Progress], None] | None = None
    stopped: Callable[[], bool] | None = None

    def run(self, rows: Sequence[Row], begun: Callable[[Row], None] | None = None) -> list[RowResult]:
        """Train and score all rows. Raises Cancelled after saving, and what Training raises."""
        results = []
        for row in rows:
            if begun is not None:
                begun(row)
            results.append(self._row(row))
        return results

    def _row(self, row: Row) -> RowResult:
        folder = self.output / row.key
        config = row_config(row, self.base, self.rate_factor)
        found = True
        if row.rate is None:
            rate, found = self._found_rate(config, folder)
            config = replace(config, rate=rate)
        run = Training(
            config,
            folder,
            resume=saved_state(folder / "state.safetensors") is not None,
            device=self.device,
            report=self.report,
            stopped=self.stopped,
        )
        result = run.run()
        network = checkpoint_network(load_checkpoint(result.best)).to(self.device)
        counts = slice_counts(network, run.sources.held_out, config.validation.batch_size, self.device)
        with_cord = [one for one in counts if one.true_positive + one.false_negative]
        pooled = sum(counts, ConfusionCounts())
        return RowResult(row, config.rate, tuple(one.dice() for one in with_cord), pooled.mcc(), result.history, found)

    def _found_rate(self, config: TrainingConfig, folder: Path) -> tuple[RateConfig, bool]:
        """The cyclical rate between the bounds of this network's own range test, which is made once, and whether it
        found any; the paper's, scaled as in the other rows, where it did not."""
        path = folder / "range_test.json"
        if path.exists():
            bounds = parse_json(path.read_text(encoding="utf-8"))
        else:
            batches = BatchSampler(open_sources(config).training, config)
            state = new_state(config, self.device, starting_weights(config))
            test = range_test(state, batches, config, self.device, updates=self.sweep_updates)
            write_range_test(test, folder)
            bounds = asdict(test.bounds)
        factor = 1.0 if bounds["found"] else self.rate_factor
        low, high = bounds["base_lr"] * factor, bounds["max_lr"] * factor
        return replace(config.rate, plan="clr", base_lr=low, max_lr=high), bool(bounds["found"])


def write_experiment(results: Sequence[RowResult], note: str, folder: Path) -> str:
    """Write table1.md, .csv, .json and the two pictures; gives the page. ``note``: on what data, how long.

    Raises OutputError.
    """
    rows = [result.as_json() for result in results]
    page = experiment_page(rows, note)
    write_text(folder / "table1.md", page)
    write_table([_flat(one) for one in rows], folder / "table1.csv")
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
        for number, (axis, result) in enumerate(zip(axes, results, strict=True)):
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
        for axis in axes:
            for result in chosen:
                values = [float("nan") if one["dice"] is None else one["dice"] for one in result.history]
                axis.plot([one["epoch"] for one in result.history], values, ".-", label=result.row.key)
            axis.set_xlabel("epoch")
            axis.set_ylim(0, 1)
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.set_ylabel("Dice on validation")
            axis.legend(fontsize=8)


def data_note(base: TrainingConfig, quick: bool, device: torch.device) -> str:
    """On what data and for how long, as text."""
    opened = open_sources(base)
    count, held = sum(part["slices"] for part in opened.provenance), sum(len(one.indices) for one in opened.held_out)
    kinds = ", ".join(sorted({part["kind"] for part in opened.provenance}))
    length = f"{base.epochs} epochs of {base.updates_per_epoch or 'all'} updates, batches of {base.batch_size}"
    scaled = " Scaled version (--quick): width 2, crops, few updates, all rates of the paper × 10." if quick else ""
    scored = f"{count} {kinds} slices, scored on {held} more held out by subject"
    return f"{scored}; {length}; seed {base.seed}; {device_name(device)}.{scaled}"
