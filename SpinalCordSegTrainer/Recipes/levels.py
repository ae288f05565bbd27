"""The finder of discs: its network, the volumes with marked discs, training and export (``python -m Recipes levels``).

It is trained on simulated ribbons, then on real ones with marked discs too. Of the people trained on, each is judged by
a network that never saw that person; the others are never trained on.
"""

from __future__ import annotations

import copy
import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from Recipes.simulation.ribbons import UNKNOWN, read_spine, real_sample, simulated_ribbon
from SpinalCordSegLib.disc_finder import (
    ANTERIOR_MM,
    CARD,
    LEAST_CORD_MM,
    LOG_SHARE,
    RIBBON,
    DiscFinder,
    Ribbon,
    network_input,
    straighten,
)
from SpinalCordSegLib.image_io import read_image, read_labels, write_volume
from SpinalCordSegLib.model.checkpoint import find_model, load_checkpoint
from SpinalCordSegLib.morphometry import centreline
from SpinalCordSegLib.pipeline import segment_image
from SpinalCordSegLib.postprocessing import CordMask, clean
from SpinalCordSegLib.vertebral_levels import C2_C3, disc_number
from SpinalCordSegLib.volume import Volume, place_on

N_DISCS = 6  # C2/C3 to C7/T1


class RibbonNetwork(nn.Module):
    """(B, 2, n, 81), n even → log of the share of each disc on every row and of "not in the image": (B, 6, n + 1)."""

    def __init__(self) -> None:
        super().__init__()

        def layer(taken: int, given: int, stride: tuple[int, int]) -> nn.Sequential:
            convolution = nn.Conv2d(taken, given, 3, stride, 1, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(given), nn.ReLU())

        self.across = nn.Sequential(
            layer(2, 16, (2, 2)), layer(16, 24, (1, 2)), layer(24, 32, (1, 2)), layer(32, 48, (1, 2))
        )
        self.project = nn.Conv1d(48 * 6, 64, 1)
        self.along = nn.ModuleList(
            nn.Sequential(nn.Conv1d(64, 64, 3, padding=d, dilation=d, bias=False), nn.BatchNorm1d(64), nn.ReLU())
            for d in (1, 2, 4, 8, 16, 32, 1)
        )
        self.fine = nn.Conv1d(64, 48, 5, padding=2)
        self.rows = nn.Conv1d(48, N_DISCS, 1)
        self.absent = nn.Linear(128, N_DISCS)

    def forward(self, ribbon: torch.Tensor) -> torch.Tensor:
        x = self.across(ribbon)
        x = torch.relu(self.project(x.permute(0, 1, 3, 2).flatten(1, 2)))
        for layer in self.along:
            x = x + layer(x)
        seen = ribbon[:, 1].amax(2)
        half = torch.nn.functional.max_pool1d(seen[:, None], 2)
        mean = (x * half).sum(2) / half.sum(2).clamp_min(1)
        absent = self.absent(torch.cat([mean, (x * half).amax(2)], 1))
        rows = self.rows(torch.relu(self.fine(x.repeat_interleave(2, dim=2))))
        rows = rows - 30 * (1 - seen[:, None])
        return torch.log_softmax(torch.cat([rows, absent[:, :, None]], 2), 2)


_TARGET_SD = 1.5  # rows


def ribbon_loss(log_share: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Cross-entropy against a narrow bell on the disc's row, or "not in the image"; unknown discs count nothing."""
    n = log_share.shape[2] - 1
    inside, absent = torch.isfinite(rows), torch.isnan(rows)
    place = torch.where(inside, rows, torch.zeros_like(rows))
    bell = torch.exp(-0.5 * ((torch.arange(n) - place[:, :, None]) / _TARGET_SD) ** 2)
    bell = bell / bell.sum(2, keepdim=True).clamp_min(1e-6) * inside[:, :, None]
    target = torch.cat([bell, absent[:, :, None].float()], 2)
    weight = torch.ones(N_DISCS)
    weight[0] = 3
    return -(weight * (target * log_share).sum(2)).sum() / (weight * (inside | absent)).sum()


@dataclass(frozen=True, eq=False)
class Pool:
    """Training ribbons: network inputs (n, 2, N_ROWS, 81) float16, and rows of discs (n, 6)."""

    inputs: NDArray[np.float16]
    rows: NDArray[np.float64]


def train_network(
    simulated: Pool,
    real: Sequence[Pool],
    updates: int,
    *,
    start: RibbonNetwork | None = None,
    max_lr: float = 3e-3,
    batch: int = 12,
    real_share: float = 0.5,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> RibbonNetwork:
    """``real``: a pool a person, each person equally often; none: simulation alone. ``start`` is left as it is."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = copy.deepcopy(start) if start is not None else RibbonNetwork()
    optimiser = torch.optim.AdamW(network.parameters(), lr=max_lr, weight_decay=1e-4)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr, updates, pct_start=0.1)
    n_real = round(batch * real_share) if real else 0
    losses: list[float] = []
    network.train()
    for update in range(updates):
        chosen = [(simulated, int(rng.integers(len(simulated.rows)))) for _ in range(batch - n_real)]
        for _ in range(n_real):
            pool = real[int(rng.integers(len(real)))]
            chosen.append((pool, int(rng.integers(len(pool.rows)))))
        inputs = torch.from_numpy(np.stack([pool.inputs[at] for pool, at in chosen]).astype(np.float32))
        rows = torch.from_numpy(np.stack([pool.rows[at] for pool, at in chosen]).astype(np.float32))
        loss = ribbon_loss(network(inputs), rows)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        rate.step()
        losses.append(loss.item())
        if report is not None and update % 50 == 49:
            report(update + 1, float(np.mean(losses[-50:])))
    return network.eval()


# Real ribbons: the public volumes, their marks, and who is trained on.


@dataclass(frozen=True)
class MarkedVolume:
    """``mask``: a rater's, below the folder of data; "": the shipped model's. ``role``: "train", "judge" or "nothing"
    (to be left unanswered)."""

    image: str
    person: str
    role: str
    mask: str = ""

    @property
    def name(self) -> str:
        return self.image.removesuffix(".nii.gz")


_MT_MASK = "mt_masked/sub-05_acq-MTon_MTS_seg.nii.gz"
VOLUMES = (
    *(
        MarkedVolume(f"t2_masked/{p}_T2w.nii.gz", p, "train", f"t2_masked/{p}_T2w_seg-manual.nii.gz")
        for p in ("errsm_11", "errsm_18", "errsm_21", "errsm_23", "errsm_24")
    ),
    MarkedVolume("dicom_t1w_head", "head", "train"),
    *(
        MarkedVolume(f"t1w_scanners/sub-{scanner}_acq-T1w_MTS.nii.gz", "scanners", "train")
        for scanner in ("chibaIngenia", "juntendo750w", "juntendoPrisma", "oxfordFmrib", "perform", "tokyoSigna2")
    ),
    MarkedVolume(
        "t1w_masked/sct-testing_T1w.nii.gz", "sct", "judge", "t1w_masked/sct-testing_T1w_seg-manual.nii.gz"
    ),
    MarkedVolume("hard/neck_T2w.nii.gz", "sct", "judge", "hard/neck_T2w_seg.nii.gz"),
    MarkedVolume("mt_masked/sub-05_acq-MTon_MTS.nii.gz", "sub-05", "judge", _MT_MASK),
    MarkedVolume("mt_masked/sub-05_acq-MToff_MTS.nii.gz", "sub-05", "judge", _MT_MASK),
    MarkedVolume("hard/uih_neck_T1w.nii.gz", "uih", "judge"),
    *(
        MarkedVolume(
            f"t2star_masked/sub-{session}_run-1_T2starw.nii.gz", session[:-4] if "Ses" in session else session,
            "judge" if session == "9604" else "train",
            f"t2star_masked/sub-{session}_run-1_T2starw_seg-manual.nii.gz",
        )
        for session in ("10062Ses1", "10062Ses2", "9418", "9584", "9604", "9669", "9709Ses1", "9709Ses2")
    ),
    MarkedVolume("hard/gadolinium_neck_T1w.nii.gz", "gadolinium", "nothing"),
    MarkedVolume("hard/ms_brain_T1w.nii.gz", "ms_brain", "nothing"),
    MarkedVolume("hard/lumbar_T2w.nii.gz", "lumbar", "nothing"),
    MarkedVolume("hard/neck_T2starw.nii.gz", "sct", "nothing", "hard/neck_T2starw_seg.nii.gz"),
)  # fmt: skip
# Each person is held out in one fold; the figures of the people trained on come from the fold without them.
FOLDS = (
    ("errsm_11", "errsm_18", "head", "9418", "10062"), ("errsm_21", "errsm_23", "9584", "9669"),
    ("errsm_24", "scanners", "9709"),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class RealRibbon:
    """``discs_mm``: marked discs, number → mm along the cord."""

    volume: MarkedVolume
    ribbon: Ribbon
    discs_mm: dict[int, float]

    @property
    def rows(self) -> NDArray[np.float64]:
        """(6,), of C2/C3 to C7/T1; UNKNOWN where unmarked."""
        return np.array([self.discs_mm.get(C2_C3 + i, UNKNOWN) - self.ribbon.arc_mm[0] for i in range(N_DISCS)])


def read_marks(data: Path) -> dict[str, dict[int, tuple[float, float, float]]]:
    """Volume → disc → RAS mm: ``data``/levels.csv, and the lower discs in the table beside this file."""
    marks: dict[str, dict[int, tuple[float, float, float]]] = {}
    for path in (Path(__file__).with_name("lower_discs.csv"), data / "levels.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                place = float(row["R_mm"]), float(row["A_mm"]), float(row["S_mm"])
                marks.setdefault(row["volume"], {})[disc_number(row["disc"])] = place
    return marks


def read_volume(volume: MarkedVolume, data: Path, masks: Path) -> tuple[Volume, CordMask]:
    """Image and cord. ``masks``: where the shipped model's masks are kept. Raises as read_image."""
    image = read_image(data / volume.image)
    path = data / volume.mask if volume.mask else masks / f"{Path(volume.name).name}.nii.gz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        case = segment_image(image, load_checkpoint(find_model()))
        write_volume(case.mask, path)
    mask = place_on(read_labels(path), image.volume)
    return image.volume, clean(mask.with_voxels(mask.voxels > 0))


def real_ribbons(data: Path, masks: Path) -> list[RealRibbon]:
    """Every volume with enough cord for a ribbon."""
    marks, found = read_marks(data), []
    for volume in VOLUMES:
        image, cord = read_volume(volume, data, masks)
        line = centreline(cord.mask)
        if line.end_mm >= LEAST_CORD_MM:
            discs_mm = {disc: line.nearest(place)[0] for disc, place in marks.get(volume.name, {}).items()}
            found.append(RealRibbon(volume, straighten(image, line), discs_mm))
    return found


class MeanNetwork(nn.Module):
    """The mean of the probabilities of several networks, as one."""

    def __init__(self, networks: Sequence[RibbonNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, ribbon: torch.Tensor) -> torch.Tensor:
        return torch.stack([network(ribbon).exp() for network in self.networks]).mean(0).clamp_min(1e-12).log()


def export_finder(networks: Sequence[RibbonNetwork], card: dict[str, Any], path: Path) -> None:
    """One ONNX file of the networks' mean and card. Raises AssertionError where ONNX Runtime computes otherwise."""
    import onnx

    network = MeanNetwork(networks).eval()

    file: Any = io.BytesIO()
    example = torch.rand(1, 2, 120, len(ANTERIOR_MM))
    torch.onnx.export(
        network, (example,), file, dynamo=False, opset_version=17, input_names=[RIBBON],
        output_names=[LOG_SHARE], dynamic_axes={RIBBON: {2: "rows"}, LOG_SHARE: {2: "rows_and_none"}},
    )  # fmt: skip
    model = onnx.load_from_string(file.getvalue())
    onnx.helper.set_model_props(model, {CARD: json.dumps(card)})
    model.producer_name, model.producer_version = "SpinalCordSeg", ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    with torch.inference_mode():
        wanted = network(example).numpy()[0]
    apart = np.abs(DiscFinder(path).log_share(example.numpy()[0]) - wanted).max()
    assert apart < 1e-3, f"ONNX Runtime and torch differ by {apart:g}"


# From data to the file that ships.

_POOL, _POOL_SEED = 10000, 11
_REAL_SAMPLES = 400  # a person
_UPDATES = 600  # on simulation alone
_STAGES = ((800, 2e-3), (600, 1e-3))  # with real necks: updates, and the rate they begin at
FINDER = "disc_finder.onnx"
Report = Callable[[str, int, int], None]


def train_finder(data: Path, output: Path, report: Report) -> Path:
    """Train on simulation, then on the people of role "train" too, once with all and once for each fold; gives the
    finder of all. ``output`` keeps the ribbons' masks and what each fold became. Ten minutes on one core."""
    maps, rng = read_spine(data), np.random.default_rng(_POOL_SEED)
    drawn = []
    for i in range(_POOL):
        drawn.append(_pooled(*simulated_ribbon(maps, rng)))
        if i % 100 == 0:
            report("simulate", i, _POOL)
    simulated = _pool(drawn)
    first = train_network(simulated, [], _UPDATES, report=lambda done, loss: report("simulation", done, _UPDATES))
    real = real_pools(real_ribbons(data, output / "masks"), rng)
    for fold in ((), *FOLDS):
        kept, networks = {person: pool for person, pool in real.items() if person not in fold}, [first]
        for updates, rate in _STAGES:
            network = train_network(
                simulated, list(kept.values()), updates, start=networks[-1], max_lr=rate,
                report=lambda done, loss: report("real necks", done, updates),  # noqa: B023 - called within the turn
            )  # fmt: skip
            networks.append(network)
        export_finder(networks[1:], card(sorted(kept), fold), fold_path(output, fold))
    return fold_path(output, ())


def card(people: Sequence[str], held_out: Sequence[str]) -> dict[str, Any]:
    return {
        "what": "discs C2/C3 to C7/T1 on a 1 mm mid-sagittal ribbon along the cord",
        "trained_on": f"{_POOL} ribbons simulated from PAM50, and {', '.join(people)} of the public data",
        "held_out": list(held_out),
        "licence": "weights derive from data under MIT, CC BY 4.0, CC0 and PDDL; see NOTICE",
    }


def fold_path(output: Path, fold: Sequence[str]) -> Path:
    return output / ("_".join(["without", *fold, ""]) + FINDER if fold else FINDER)


def _pooled(image: NDArray[np.float32], rows: NDArray[np.float64]) -> tuple[NDArray[np.float16], NDArray[np.float64]]:
    return network_input(image).astype(np.float16), rows


def _pool(samples: Sequence[tuple[NDArray[np.float16], NDArray[np.float64]]]) -> Pool:
    return Pool(np.stack([one for one, _ in samples]), np.stack([rows for _, rows in samples]))


def real_pools(ribbons: Sequence[RealRibbon], rng: np.random.Generator) -> dict[str, Pool]:
    """Person → augmented ribbons, of those trained on."""
    trained = [one for one in ribbons if one.volume.role == "train"]
    pools = {}
    for person in dict.fromkeys(one.volume.person for one in trained):
        own = [one for one in trained if one.volume.person == person]
        chosen = [own[i % len(own)] for i in range(_REAL_SAMPLES)]
        pools[person] = _pool([_pooled(*real_sample(one.ribbon.image, one.rows, rng)) for one in chosen])
    return pools
