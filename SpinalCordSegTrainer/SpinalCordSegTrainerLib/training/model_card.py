"""The model card as Markdown: data, split, scores, curves, intended use, limits. Every figure comes from the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from SpinalCordSegLib.network.checkpoint import Checkpoint
from SpinalCordSegTrainerLib.config import TrainingConfig
from SpinalCordSegTrainerLib.training.sources import OpenedSources

_FEW_SUBJECTS = 20


def limits(config: TrainingConfig, sources: OpenedSources, row: dict[str, Any]) -> list[str]:
    """What a user must know, from what the run had and lacked."""
    told = []
    kinds = {source["kind"] for source in sources.provenance}
    if kinds == {"simulated"}:
        told.append("Trained on simulated slices only: check it on scans of your own before you rely on it.")
    if "real" in kinds and sources.patients < _FEW_SUBJECTS:
        who = f"{sources.patients} subjects only"
        told.append(f"Trained on real slices of {who}: other scanners and patients may differ.")
    if not row["n_slices"]:
        told.append("Nothing was held out: no score here says how it does on new cases.")
    elif not config.validation.caches:
        told.append("Validated on subjects held out of the same data: other scanners were not measured.")
    if sources.on_both_sides:
        told.append(f"{sources.on_both_sides} subjects trained on were also held out: its scores are too good.")
    if row["dice"] is not None and row["dice"] < 0.8:
        told.append(f"Its mean Dice per slice on validation is {row['dice']:.3f}, too low for measuring.")
    if config.normalisation.kind == "fixed_pixel":
        told.append(f"Made for pixels of {config.normalisation.pixel_mm} mm; images are resampled to that.")
    told.append("Masks have to be looked at before their measures are used. Not a medical device.")
    return told


def markdown(model: Checkpoint) -> str:
    """The card of a trained model as a page to read."""
    training, scores, provenance = model.training, model.scores, model.provenance
    network = f"{model.network.name}, width {model.network.width}"
    lines = [f"# {model.name} {model.version}", ""]
    lines += [f"- Network: {network}", f"- Input: {_normalisation(model)}", f"- Licence: {model.licence}"]
    lines += [f"- SHA-256 of the weights file: {model.sha256}", f"- Made with SpinalCordSeg {model.software_version}"]
    if training.get("from_model"):
        lines.append(f"- Fine-tuned from {training['from_model']}")
    lines += ["", "## Intended use", "", str(provenance.get("intended_use", "not stated")), "", "## Limits", ""]
    lines += [f"- {limit}" for limit in provenance.get("limits", ())]
    lines += ["", "## Data trained on", "", *_table(_data_rows(provenance.get("sources", ())))]
    lines += ["", "## Split, by subject", "", *_table(list(provenance.get("split", ())))]
    lines += ["", "## Training", "", *_recipe(training)]
    lines += ["", "## Scores on the slices held out", "", *_table([scores.get("validation", {})])]
    if "old_cases" in scores:
        old = scores["old_cases"]
        lines += ["", "## Old cases, before and after", ""]
        lines += _table([{"model": when, **old[when]} for when in ("before", "after")])
    lines += ["", "## Curves", "", "![curves](curves.png)", "", *_table(_epochs(scores.get("per_epoch", {})))]
    return "\n".join(lines) + "\n"


def _normalisation(model: Checkpoint) -> str:
    kind = model.normalisation
    if kind.kind == "paper":
        return f"axial slices resized to {kind.size}², grey values by {kind.intensity}"
    return f"axial slices of {kind.pixel_mm} mm pixels, grey values by {kind.intensity}"


def _data_rows(sources: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("cache", "kind", "slices", "subjects", "weight", "policy")
    return [{name: source.get(name) for name in names} for source in sources]


def _recipe(training: dict[str, Any]) -> list[str]:
    loss, rate = training["loss"], training["rate"]
    gamma = f", γ {loss['gamma']}" if loss["name"] == "focal_tversky" else ""
    return [
        f"- Loss: {loss['name']}, weight of missed cord {loss['fn_weight']}, of false cord {loss['fp_weight']}{gamma}",
        f"- Rate: {rate['plan']}, {rate['base_lr']:g} to {rate['max_lr']:g}",
        f"- {training['updates']} updates of {training['batch_size']} slices, {training['minutes']} minutes",
        f"- Seed {training['seed']}, precision {training['precision']}",
    ]


def _epochs(curves: dict[str, list[Any]]) -> list[dict[str, Any]]:
    count = max((len(values) for values in curves.values()), default=0)
    return [{"epoch": n + 1, **{name: values[n] for name, values in curves.items()}} for n in range(count)]


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    rows = [row for row in rows if row]
    if not rows:
        return ["none"]
    names = list(rows[0])
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |", "|" + " --- |" * len(names)]
    return lines + ["| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
