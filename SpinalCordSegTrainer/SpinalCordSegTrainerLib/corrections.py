"""Learning from a few corrected cases: a trained model takes over a person's corrections, and keeps what it could do.

BatchNorm keeps the statistics of the starting model: its own come from crops about the cord, and whole slices of a few
people break it before the first update. A third of each batch is from the corrected cases: half of it slices that the
starting model draws otherwise, half slices that it draws just so, but for the neighbours of the former, where a fault
may go on. The rest are rehearsal slices, whose target is what the starting model draws on them, so that its areas on
other scanners stay near where they were (Li and Hoiem 2017, Learning without forgetting, arXiv:1606.09282).

Where the corrected images have bright fluid (T2w, T2*w), the outline that their rater draws is a threshold of the
model for such images alone, fitted by area before and after the training, so that it moves no outline on others.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile  # noqa: TID251  (what numpy raises)

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, special
from torch import nn

from SpinalCordSegLib.errors import Cancelled, TrainingDataError
from SpinalCordSegLib.files import from_json, parse_json
from SpinalCordSegLib.model.checkpoint import (
    REPEATABILITY,
    Calibration,
    Checkpoint,
    checkpoint_network,
    package_models_folder,
)
from SpinalCordSegLib.quality_control import BRIGHT_FLUID_CONTRASTS, contrast_of
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegTrainerLib.batches import BatchSampler, Slices, on_device, slice_counts, validate
from SpinalCordSegTrainerLib.config import SMALL, CropConfig, RateConfig, TrainingConfig
from SpinalCordSegTrainerLib.dataset import LabelledCase, load_case
from SpinalCordSegTrainerLib.distributed import Processes, cpu_has_bfloat16
from SpinalCordSegTrainerLib.evaluation import CaseScore, Evaluation, Masks, model_masks
from SpinalCordSegTrainerLib.losses import learning_rate
from SpinalCordSegTrainerLib.run_folder import public_config
from SpinalCordSegTrainerLib.slice_cache import CacheInfo, SliceCache, check_normalisation, slices_of
from SpinalCordSegTrainerLib.split import folds
from SpinalCordSegTrainerLib.trainer import learn

REHEARSAL = "rehearsal.npz"
_HELD_OUT = 5  # of the simulated people every fifth is for judging
_MOST_FOLDS = 3  # so many people are judged one by one; of more a third is held out once
_MOST_DICE_LOSS, _MOST_AREA_CHANGE = 0.003, 1.0  # the latter in points of %
_REHEARSED = 2.0  # times as many slices of a batch as corrected ones
_SHARES = (1.0, 0.75, 0.5, 0.25)  # of the new weights in their mean with the old

RECIPE = replace(
    SMALL,
    crop=CropConfig(size=96, near_cord=0.9, jitter_px=16),
    rate=RateConfig("cosine", base_lr=1e-5, max_lr=1.5e-4, warmup_updates=5),
    batch_size=9,
    epochs=1,
    updates_per_epoch=48,
    freeze_statistics=True,
    even_patients=False,
)


def read_rehearsal(path: Path | None = None) -> SliceCache:
    """The slices that ship with the models, (n, 96, 96), with the cord as simulated. Raises TrainingDataError."""
    path = path or package_models_folder() / REHEARSAL
    try:
        with np.load(path, allow_pickle=False) as file:  # noqa: TID251  (allow_pickle=False)
            info = from_json(CacheInfo, parse_json(str(file["info"])))
            return SliceCache(path.with_suffix(""), file["images"], file["coverage"], info)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise TrainingDataError(f"{path}: cannot be read ({error}); install SpinalCordSeg again") from error


@dataclass(frozen=True)
class Effect:
    """Before and after, on some slices: mean Dice, and signed area error in % (NaN where nothing was judged)."""

    dice: tuple[float, float]
    area_percent: tuple[float, float]
    count: int

    @property
    def is_small(self) -> bool:
        lost, moved = self.dice[0] - self.dice[1], self.area_percent[1] - self.area_percent[0]
        return lost <= _MOST_DICE_LOSS and abs(moved) <= _MOST_AREA_CHANGE

    def text(self) -> str:
        return "Dice {:.3f} → {:.3f}, area {:+.1f} → {:+.1f} %".format(*self.dice, *self.area_percent)


@dataclass(frozen=True)
class Learnt:
    """The new model, and what it changed. ``new``: on corrected cases that the judged model had not seen, None for one
    patient; ``old``: on rehearsal slices held out. ``offered``: whether it is better on the one and no worse on the
    other; ``text`` says so in plain words."""

    model: Checkpoint
    new: Effect | None
    old: Effect
    offered: bool
    text: str


def learn_from_corrections(
    base: Checkpoint,
    cases: Sequence[LabelledCase],
    cache: SliceCache,
    *,
    only_labelled: bool = False,
    seed: int = 0,
    device: torch.device | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Learnt:
    """Teach ``base`` the corrected ``cases``, whose slices are in ``cache``.

    Models that miss some of the patients are judged on them; the one that is given has learnt from all.
    ``progress``: (updates done, updates). Raises Cancelled when stopped, TrainingDataError where the rehearsal slices
    or no case can be used, ConfigurationError for a model or a cache that is normalised otherwise than those slices.
    """
    began, device = time.monotonic(), device or torch.device("cpu")
    rehearsal = read_rehearsal()
    for one in (rehearsal, cache):
        check_normalisation(one, base.normalisation)
    fast = device.type == "cuda" or cpu_has_bfloat16()
    config = replace(
        RECIPE, name=f"{base.name}-corrected", network=base.network, normalisation=base.normalisation, seed=seed,
        precision="mixed" if fast else "float32",
    )  # fmt: skip
    has_bright_fluid = 2 * sum(map(_has_bright_fluid, cases)) > len(cases)
    learner = _Learner(base, rehearsal, config, device, stopped, has_bright_fluid)
    everybody = sorted(set(cache.info.subjects))
    held_out = _held_out(everybody, seed)
    updates, total = learner.updates, learner.updates * (len(held_out) + 1)
    drawn = model_masks(base, device.type, stopped)
    changed, kept = np.concatenate([_changed(case, drawn, only_labelled) for case in cases], axis=1)
    before, after = Evaluation(only_labelled=only_labelled), Evaluation(only_labelled=only_labelled)
    for number, subjects in enumerate([*held_out, ()]):
        learnt_from = slices_of(cache, set(everybody) - set(subjects))
        parts = [learnt_from[marks[learnt_from]] for marks in (changed, kept)]
        parts = [part for part in parts if len(part)]
        corrected = [Slices(cache, part, 1.0 / len(parts), config.standard) for part in parts]
        model, old = learner.taught(corrected, lambda done, begun=number * updates: progress(begun + done, total))  # type: ignore[misc]
        judged = [case for case in cases if case.subject in subjects]
        if judged:
            before.judge(judged, drawn)
            after.judge(judged, model_masks(model, device.type, stopped))
    new = _effect_on_cases(before.scores, after.scores) if before.scores else None
    offered, text = verdict(new, old)
    facts = {
        "cases": len(cases),
        "patients": len(everybody),
        "slices": len(cache),
        "minutes": round((time.monotonic() - began) / 60, 2),
    }
    return Learnt(_with_card(model, base, config, facts, new, old), new, old, offered, text)


def _changed(case: LabelledCase, drawn: Masks, only_labelled: bool) -> NDArray[np.bool_]:
    """(2, n) of the cached slices of a case: whether the label is another than ``drawn``; whether it is the same, there
    and on both sides of the slice."""
    loaded = load_case(case)
    label, found = loaded.mask.voxels != 0, drawn(loaded)[0].voxels != 0
    changed = (label != found).any(axis=(1, 2))
    both = np.stack([changed, ~ndimage.binary_dilation(changed)])
    return both[:, label.any(axis=(1, 2))] if only_labelled else both


def _has_bright_fluid(case: LabelledCase) -> bool:
    loaded = load_case(case)
    return contrast_of(loaded.image, loaded.mask) in BRIGHT_FLUID_CONTRASTS


def _held_out(subjects: Sequence[str], seed: int) -> list[tuple[str, ...]]:
    """Whom the judged models do not see: nobody of one patient, each of a few in turn, a third of more."""
    if len(subjects) == 1:
        return []
    every = [one.validation for one in folds(subjects, min(len(subjects), _MOST_FOLDS), seed)]
    return every if len(subjects) <= _MOST_FOLDS else every[:1]


class _Learner:
    """Trains copies of ``base``, each from its weights, beside the same rehearsal."""

    def __init__(
        self,
        base: Checkpoint,
        rehearsal: SliceCache,
        config: TrainingConfig,
        device: torch.device,
        stopped: Callable[[], bool],
        has_bright_fluid: bool,
    ) -> None:
        self._base, self._config, self._device, self._stopped = base, config, device, stopped
        self._has_bright_fluid = has_bright_fluid
        self.updates = config.updates_per_epoch or 0
        people = sorted(set(rehearsal.info.subjects))
        judged = set(people[::_HELD_OUT])
        self._judged = Slices(rehearsal, slices_of(rehearsal, judged))
        self._before = self._on_old(base)
        drawn = torch.sigmoid(self._logits(self._network(base), rehearsal))
        targets = replace(rehearsal, coverage=drawn.half().numpy())
        self._rehearsed = Slices(targets, slices_of(rehearsal, set(people) - judged), _REHEARSED)

    def _network(self, model: Checkpoint) -> nn.Module:
        """With the calibration within its last layer: it learns the logits that it is used with."""
        network = checkpoint_network(model)
        *_others, last = (module for module in network.modules() if isinstance(module, nn.Conv2d))
        with torch.no_grad():
            last.weight.mul_(model.calibration.scale)
            if last.bias is not None:
                last.bias.mul_(model.calibration.scale).add_(model.calibration.bias)
        return network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _logits(self, network: nn.Module, cache: SliceCache, indices: NDArray[np.int64] | None = None) -> torch.Tensor:
        every = Slices(cache, np.arange(len(cache)) if indices is None else indices)
        batches = every.batches(self._config.validation.batch_size)
        with torch.inference_mode():
            network.eval()
            return torch.cat([network(on_device(images, self._device)).float().cpu()[:, 0] for images, _ in batches])

    def taught(self, corrected: Sequence[Slices], progress: Callable[[int], None]) -> tuple[Checkpoint, Effect]:
        """The model, and what it changed on the rehearsal slices held out. Of the mean of old and new weights it has as
        much of the new ones as leaves those slices as they were (Wortsman et al. 2022, Robust fine-tuning,
        arXiv:2109.01903). ``progress``: updates done."""
        config, network = self._config, self._network(self._base)
        optimiser = torch.optim.Adam(network.parameters())
        sampler = BatchSampler((*corrected, self._rehearsed), config)
        to_learn = _Shifted(network, -self._outline(network, corrected) if self._has_bright_fluid else 0.0)
        for update in range(self.updates):
            if self._stopped():
                raise Cancelled("stopped; nothing was kept")
            rate = learning_rate(config.rate, update, self.updates, update / self.updates)
            before, after = (sum(sampler.drawn(one)[: len(corrected)]) for one in (update, update + 1))
            to_learn.count = after - before
            learn(to_learn, optimiser, rate, sampler.batch(update), config, Processes(device=self._device))
            progress(update + 1)
        start, end = self._network(self._base).state_dict(), copy.deepcopy(network.state_dict())
        for share in _SHARES:
            mean = {name: torch.lerp(start[name], one, share) for name, one in end.items() if one.is_floating_point()}
            network.load_state_dict(mean, strict=False)
            model = self._calibrated(network, corrected)
            old = self._old_effect(model)
            if old.is_small:
                break
        return model, old

    def _calibrated(self, network: nn.Module, corrected: Sequence[Slices]) -> Checkpoint:
        """The area on the rehearsal slices is that of the starting model."""
        shift, threshold = self._outline(network, [self._rehearsed]), self._base.calibration.bright_fluid_threshold
        if self._has_bright_fluid:
            threshold = float(special.expit(self._outline(network, corrected) - shift))
        weights = {name: values.cpu().numpy() for name, values in network.state_dict().items()}
        return replace(self._base, weights=weights, calibration=Calibration(1.0, -shift, threshold))

    def _outline(self, network: nn.Module, parts: Sequence[Slices]) -> float:
        """The logit above which the network's area is that of the coverage, summed over slices of one cache."""
        cache, indices = parts[0].cache, np.concatenate([part.indices for part in parts])
        wanted = (cache.read(indices)[1] > 0.5).mean()
        return float(np.quantile(self._logits(network, cache, indices), 1 - wanted)) if 0 < wanted < 1 else 0.0

    def _on_old(self, model: Checkpoint) -> dict[str, Any]:
        """Scores on the rehearsal slices held out, against the cord as it was simulated."""
        size, network = self._config.validation.batch_size, self._network(model)
        return validate(*slice_counts(network, [self._judged], self._config.loss, size, self._device))

    def _old_effect(self, model: Checkpoint) -> Effect:
        one, two = self._before, self._on_old(model)
        return Effect((one["dice"], two["dice"]), (one["area_percent"], two["area_percent"]), one["n_slices"])


class _Shifted(nn.Module):
    """``network``, the logits of the first ``count`` slices of a batch moved by ``shift``."""

    def __init__(self, network: nn.Module, shift: float) -> None:
        super().__init__()
        self.network, self.shift, self.count = network, shift, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(images)
        return logits + self.shift * (torch.arange(len(images), device=logits.device) < self.count)[:, None, None, None]


def _effect_on_cases(before: Sequence[CaseScore], after: Sequence[CaseScore]) -> Effect:
    pairs = ((one.dice, one.csa_error_percent) for scores in (before, after) for one in scores)
    (dice, area), (new_dice, new_area) = np.reshape(list(pairs), (2, -1, 2)).mean(axis=1).tolist()
    return Effect((dice, new_dice), (area, new_area), len(after))


def verdict(new: Effect | None, old: Effect) -> tuple[bool, str]:
    """Whether a model is offered, and the reason in plain words."""
    moved = old.area_percent[1] - old.area_percent[0]
    lost = old.dice[0] - old.dice[1]
    lines = []
    if new is None:
        better = True
        lines.append("One patient: the new model was not tried on images it has not learnt from.")
    else:
        better = new.dice[1] > new.dice[0] and abs(new.area_percent[1]) <= abs(new.area_percent[0]) + _MOST_AREA_CHANGE
        cases = "1 corrected case" if new.count == 1 else f"{new.count} corrected cases"
        lines.append(f"On {cases}, each by a model that had not seen the patient: {new.text()}.")
    lines.append(f"On {old.count} slices of other scanners: {old.text()}.")
    if better and old.is_small:
        lines.append("The new model is offered: " + ("better on your images, " if new else "") + "the same elsewhere.")
    else:
        why = [] if better else ["it is no better on your images"]
        why += [] if old.is_small else [f"elsewhere it draws the cord {moved:+.1f} % in area, Dice {-lost:+.3f}"]
        lines.append(f"The new model is not offered: {' and '.join(why)}. Keep the model you have.")
    return better and old.is_small, "\n".join(lines)


def _with_card(
    model: Checkpoint, base: Checkpoint, config: TrainingConfig, facts: dict[str, Any], new: Effect | None, old: Effect
) -> Checkpoint:
    """Licence, use, sources, limits and repeatability are those of the starting model; what was learnt is added."""
    start = {name: getattr(base, name) for name in ("name", "version", "sha256", "licence")}
    learnt = {"kind": "real", "cache": "corrections", "subjects": facts["patients"], "slices": facts["slices"]}
    limit = f"Learnt from {facts['cases']} corrected cases of {facts['patients']} patients, from {base.name}"
    limits = [f"{limit} {base.version}: other scanners and patients may differ.", *base.provenance.get("limits", [])]
    sources = [*base.provenance.get("sources", []), learnt]
    scores = {name: base.scores[name] for name in (REPEATABILITY,) if name in base.scores}
    return replace(
        model,
        name=config.name,
        version=f"{base.version}+{facts['cases']}",
        training={**public_config(config), "recipe": "corrections", **facts},
        scores={**scores, "corrections": {"new": new and asdict(new), "old": asdict(old)}},
        provenance={**base.provenance, "started_from": start, "sources": sources, "limits": limits},
        software_version=SOFTWARE_VERSION,
        sha256=None,
    )
