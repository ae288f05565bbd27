"""The finder of discs: simulated ribbons, training, export, and how it is judged (``python -m Recipes levels``).

A ribbon is drawn from the spine, cord and CSF of the PAM50 atlas, warped to a person's neck, given random grey values,
and cut as scans are. Real ribbons with marked discs are mixed in afterwards; the people it is judged on are never
trained on.
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
from scipy import ndimage
from torch import nn

from SpinalCordSegLib.disc_finder import (
    ANTERIOR_MM,
    CARD,
    LEAST_CORD_MM,
    LOG_SHARE,
    RIBBON,
    TEMPLATES,
    DiscFinder,
    FoundDiscs,
    Ribbon,
    bands,
    find_discs,
    network_input,
    straighten,
    template,
)
from SpinalCordSegLib.image_io import read_image, read_labels, write_volume
from SpinalCordSegLib.model.checkpoint import find_model, load_checkpoint
from SpinalCordSegLib.morphometry import Centreline, centreline
from SpinalCordSegLib.pipeline import segment_image
from SpinalCordSegLib.postprocessing import clean
from SpinalCordSegLib.vertebral_levels import TEMPLATE_LENGTH_MM, disc_number
from SpinalCordSegLib.volume import Volume, place_on

N_ROWS = 176
N_DISCS = 6  # C2/C3 to C7/T1
UNKNOWN = np.inf  # a disc that nobody marked: it may be in the image or not; NaN: it is not

# Discs of the template, mm along its cord from C2/C3, which is PAM50's slice 908 counted from inferior (0.5 mm).
DISC_MM = -np.cumsum([0.0, *(TEMPLATE_LENGTH_MM[name] for name in ("C3", "C4", "C5", "C6", "C7"))])
_C2_C3_SLICE, _ATLAS_MM = 908, 0.5
MARROW, CORTEX, DISC, CORD, CSF, SPINOUS = range(6)  # channels of the maps


@dataclass(frozen=True, eq=False)
class SpineMaps:
    """``shares``: (2, z, y, 6), of each tissue 0..1 in the middle 8 mm, and the same 6 mm beside it (for scoliosis).
    ``y_middle``: index of the cord's middle; y grows to anterior. ``front_mm``: (z,), front of the vertebrae."""

    shares: NDArray[np.float32]
    y_middle: int
    front_mm: NDArray[np.float64]


def read_spine(folder: Path) -> SpineMaps:
    """From ``folder``/atlas. Raises InputFileError when a map is missing."""
    spine, cord, csf = (
        read_labels(folder / "atlas" / f"PAM50_{name}.nii.gz").voxels[:, ::-1] > 0 for name in ("spine", "cord", "csf")
    )
    middle = spine.shape[2] // 2
    y_middle = round(float(np.argwhere(cord[:, :, middle])[:, 1].mean()))
    stacks = []
    for offsets in ((0,), (-12, 12)):
        parts = [slice(middle + at - 8, middle + at + 9) for at in offsets]
        stacks.append(np.mean([_shares(spine[..., x], cord[..., x], csf[..., x], y_middle) for x in parts], axis=0))
    column = stacks[0][..., [MARROW, DISC]].sum(axis=-1) > 0.2
    front = np.array([np.flatnonzero(row)[-1] if row.any() else 0 for row in column], dtype=np.float64)
    front[front < y_middle + 20] = np.median(front[front >= y_middle + 20])
    front = ndimage.gaussian_filter1d(front, 12)
    return SpineMaps(np.stack(stacks).astype(np.float32), y_middle, (front - y_middle) * _ATLAS_MM)


def _shares(spine: NDArray, cord: NDArray, csf: NDArray, y_middle: int) -> NDArray[np.float32]:
    """(z, y, 6), mean over x. Discs are what lies between vertebral bodies below the dens."""
    in_front = np.zeros_like(spine)
    in_front[:, y_middle + 8 :] = spine[:, y_middle + 8 :]
    behind = spine & ~in_front
    closed = ndimage.binary_closing(np.pad(in_front, ((12, 12), (0, 0), (0, 0))), np.ones((19, 1, 1)))[12:-12]
    disc = closed & ~in_front
    disc[_C2_C3_SLICE + 7 :] = False
    bodies, arches = (ndimage.binary_erosion(one, np.ones((3, 3, 1)), border_value=1) for one in (in_front, behind))
    cortex = (in_front & ~bodies) | (behind & ~arches)
    return np.stack([one.mean(axis=2) for one in (bodies, cortex, disc, cord, csf & ~cord, arches)], axis=-1)


def simulated_ribbon(maps: SpineMaps, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A ribbon (N_ROWS, 81), NaN where a scan would end, and the rows of its discs, NaN where they are not in it.

    Ranges were set by eye on public necks and widened: scale of the neck 0.5 to 1.4, lordosis, block vertebrae, weak
    discs, osteophytes, scoliosis, skull base and airway, slices of 1 to 6 mm, slabs that end askew, thoracic scans and
    heads that end above C2/C3.
    """
    uniform, normal, chance = rng.uniform, rng.normal, lambda p: rng.random() < p
    rows = np.arange(N_ROWS, dtype=np.float64)
    v = ANTERIOR_MM
    scale = np.exp(normal(0, 0.11)) if chance(0.88) else uniform(0.5, 0.8)
    kind = rng.random()
    if kind < 0.62:
        top, length = uniform(8, 95), uniform(50, N_ROWS)
    elif kind < 0.72:  # a short field of view
        top, length = uniform(-10, 60), uniform(25, 60)
    elif kind < 0.90:  # cropped about or below C2/C3
        top, length = uniform(-75, 12), uniform(50, N_ROWS)
    elif kind < 0.95:  # the chest
        top, length = uniform(-280, -60), uniform(60, N_ROWS)
    else:  # a head that ends above C2/C3
        length = uniform(15, 70)
        top = length + uniform(1, 30)
    s = top - length + rows  # mm of the person from C2/C3
    knots = np.arange(-480.0, 200.0, 16.0)
    drift = np.cumsum(normal(0, 0.07, len(knots)) * 16)
    drift = ndimage.gaussian_filter1d(drift - np.interp(0, knots, drift), 0.7)

    def to_template(mm: NDArray) -> NDArray:
        return mm / scale + np.interp(mm / scale, knots, drift)

    t = to_template(s)
    tilt = np.tan(np.deg2rad(uniform(-4, 22)))  # discs slope
    depth = np.exp(normal(0, 0.1)) * (1 if scale > 0.8 else 0.85)
    bend_knots = np.arange(-480.0, 200.0, 30.0)
    shift = np.interp(t, bend_knots, np.cumsum(normal(0, 1.0, len(bend_knots))))
    shift -= np.interp(0, t, shift)
    across = (v[None] - shift[:, None]) / depth
    across = np.where(across > 9, across - uniform(-2, 3), across)  # canals differ in width
    along = t[:, None] + tilt * np.maximum(across - 8, 0) - 0.5 * tilt * np.maximum(-across - 8, 0)
    x: NDArray[Any] = _sampled(maps.shares[0], along, across, maps.y_middle)
    if chance(0.3):  # scoliosis: the ribbon leaves the middle of the spine
        side = np.interp(rows, np.linspace(0, N_ROWS, 6), np.clip(normal(0, 0.6, 6), 0, 1))[:, None, None]
        beside = _sampled(maps.shares[1], along, across, maps.y_middle)
        beside[..., [CORD, CSF]] = x[..., [CORD, CSF]]
        x = (1 - side) * x + side * beside
    above = np.maximum(along - 38, 0)  # the atlas ends 41 mm above C2/C3: cord and CSF go on
    beyond = along > 40
    x[..., CORD] = np.where(beyond, np.abs(across) < 6 + 0.10 * above, x[..., CORD])
    x[..., CSF] = np.where(beyond, (np.abs(across - 1) < 11 + 0.15 * above) & (x[..., CORD] < 0.5), x[..., CSF])
    discs_mm = np.append(DISC_MM, DISC_MM[-1] - 21.5)
    for at in discs_mm:
        near = np.exp(-0.5 * ((along - at) / 3) ** 2)
        if chance(0.06):  # a block vertebra
            fused = np.clip(2 * near, 0, 1) * uniform(0.6, 1)
            x[..., MARROW] += fused * (x[..., DISC] + 0.7 * x[..., CORTEX])
            x[..., DISC] *= 1 - fused
            x[..., CORTEX] *= 1 - 0.7 * fused
        elif chance(0.3):  # a weak disc
            weak = near * uniform(0.2, 1)
            x[..., MARROW] += weak * x[..., DISC]
            x[..., DISC] *= 1 - weak
        if chance(0.12):  # an osteophyte
            spur = near * ((across > uniform(3, 7)) & (across < 12))
            x *= 1 - 0.9 * spur[..., None]
            x[..., CORTEX] += 0.9 * spur
    grey = uniform(0.05, 1, 12)
    if chance(0.6):  # T1w and gradient echoes
        grey[CORD], grey[CSF], grey[DISC] = uniform(0.55, 0.9), uniform(0.1, 0.7), uniform(0.3, 1)
        grey[MARROW] = uniform(0.1, 0.7)
        grey[SPINOUS] = grey[MARROW] * uniform(0.7, 1.2)
    elif chance(0.6):  # T2w
        grey[CSF], grey[CORD] = uniform(0.9, 1.4), uniform(0.2, 0.6)
    grey[CORTEX] = uniform(0, 0.3)
    front = np.interp(along, (np.arange(len(maps.front_mm)) - _C2_C3_SLICE) * _ATLAS_MM, maps.front_mm)
    soft = np.where(across > 0, grey[6], grey[7])
    soft = np.where(across > front + uniform(3, 9), grey[8] * rng.choice([0.05, 0.3, 1]), soft)  # airway
    soft = np.where(across > front + uniform(14, 26), grey[9], soft)
    soft = np.where(across < -uniform(24, 40), grey[10] * rng.choice([1, 1.6]), soft)  # fat of the neck
    head = along - uniform(38, 50)
    cerebellum = (head > 0) & (across < -6 - uniform(0, 6)) & (head > uniform(0, 8) - 0.5 * (across + 8))
    soft = np.where(cerebellum, grey[CORD] * uniform(0.8, 1.1), soft)
    clivus = (head > -4) & (across > 10) & (across < 10 + 1.1 * np.maximum(head, 0) + uniform(2, 6))
    soft = np.where(clivus, grey[MARROW] * uniform(0.8, 2), soft)
    if chance(0.5):  # ligament, veins
        soft = np.where(np.abs(across - uniform(6, 11)) < 1.2, grey[11], soft)
    texture = _noise(rng, uniform(1.5, 5))
    soft = soft * (1 + 0.25 * texture)
    image = (1 - np.clip(x.sum(axis=-1), 0, 1)) * soft + x @ grey[:6]
    if chance(0.4):  # the synchondrosis of the dens
        image += np.exp(-0.5 * (along - uniform(12, 18)) ** 2) * (x[..., MARROW] > 0.3) * uniform(-0.5, 0.5)
    image += 0.08 * texture + 0.1 * rng.random() * _noise(rng, (6, 3))
    if chance(0.6):
        image = thick_slices(image, uniform(2, 6), rng.random())
    image = ndimage.gaussian_filter(image, (uniform(0, 1), uniform(0.2, 1.3)))
    bias = np.interp(rows, np.linspace(0, N_ROWS, 5), normal(0, 0.4, 5))[:, None] + normal(0, 0.012) * v
    image = image * np.exp(bias) + normal(0, uniform(0.005, 0.08), image.shape)
    outside = (rows[:, None] > length + normal(0, 0.15) * v) | (rows[:, None] < normal(0, 0.15) * v)
    if chance(0.35):
        outside |= v > uniform(16, 44)
    if chance(0.25):
        outside |= v < -uniform(12, 36)
    fine = np.arange(-320.0, 150.0, 0.25)
    found = np.interp(DISC_MM - 2 * tilt, to_template(fine), fine) - s[0]  # where the disc ends behind
    found[(found < 0) | (found > length)] = np.nan
    return np.where(outside, np.nan, image).astype(np.float32), found


def _sampled(shares: NDArray, along_mm: NDArray, across_mm: NDArray, y_middle: int) -> NDArray[np.float32]:
    """Bilinear, all tissues at once; nothing outside the atlas."""
    z, y = along_mm / _ATLAS_MM + _C2_C3_SLICE, across_mm / _ATLAS_MM + y_middle
    k, j = np.floor(z).astype(int), np.floor(y).astype(int)
    inside = (k >= 0) & (k < shares.shape[0] - 1) & (j >= 0) & (j < shares.shape[1] - 1)
    k, j = np.where(inside, k, 0), np.where(inside, j, 0)
    a, b = (z - k)[..., None].astype(np.float32), (y - j)[..., None].astype(np.float32)
    low = (1 - b) * shares[k, j] + b * shares[k, j + 1]
    high = (1 - b) * shares[k + 1, j] + b * shares[k + 1, j + 1]
    return np.where(inside[..., None], (1 - a) * low + a * high, np.float32(0))


def _noise(rng: np.random.Generator, blur: Any) -> NDArray:
    noise = ndimage.gaussian_filter(rng.standard_normal((N_ROWS, len(ANTERIOR_MM)), dtype=np.float32), blur)
    return noise / (noise.std() + 1e-6)


def thick_slices(image: NDArray, thickness: float, phase: float) -> NDArray:
    """The same with its rows averaged over a slice's ``thickness`` (in rows) and interpolated between slices."""
    blurred = ndimage.uniform_filter1d(image, round(thickness), axis=0)
    at = np.arange(phase * thickness, len(image) - 1, thickness)
    slices = blurred[at.astype(int)]
    where = np.clip(np.interp(np.arange(len(image)), at, np.arange(len(at))), 0, len(at) - 1)
    low = np.minimum(where.astype(int), len(at) - 2)
    share = (where - low)[:, None]
    return (1 - share) * slices[low] + share * slices[low + 1]


def real_sample(
    image: NDArray[np.float32], rows: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A real ribbon stretched, cut, coarsened and given other grey values; ``rows`` of its discs as in training."""
    scale = np.exp(rng.uniform(-0.18, 0.18))
    high = float(np.flatnonzero(np.isfinite(image).any(axis=1))[-1])
    if rng.random() < 0.55:  # cropped, often below C2/C3
        high = rng.uniform(max(rows[0] - 60, 30), high) if rng.random() < 0.8 else rng.uniform(30, high)
    length = rng.uniform(40, N_ROWS) if rng.random() < 0.6 else N_ROWS
    low = high - length / scale
    at = low + np.arange(N_ROWS) / scale
    values = np.where(np.isfinite(image), image, 0)
    across = np.arange(image.shape[1]) + rng.uniform(-3, 3)
    grid = np.meshgrid(at, across, indexing="ij")
    out = ndimage.map_coordinates(values, grid, order=1, mode="nearest")
    seen = ndimage.map_coordinates(np.isfinite(image).astype(np.float32), grid, order=1) > 0.99
    out = np.maximum(out, 0)
    out = (out / max(float(out[seen].max(initial=0)), 1e-6)) ** np.exp(rng.uniform(-0.5, 0.5))
    if rng.random() < 0.5:
        out = thick_slices(out, rng.uniform(2, 6), rng.random())
    out = ndimage.gaussian_filter(out, rng.uniform(0, 1.0, 2))
    out = out + rng.normal(0, rng.uniform(0, 0.06) * out[seen].std() if seen.any() else 0, out.shape)
    seen &= (at[:, None] < high + rng.normal(0, 0.12) * ANTERIOR_MM) & (at[:, None] >= max(low, 0))
    if rng.random() < 0.3:
        seen &= rng.uniform(18, 44) > ANTERIOR_MM
    found = np.where(np.isfinite(rows), (rows - low) * scale, UNKNOWN)
    found[np.isfinite(found) & ((rows < max(low, 0)) | (rows > high))] = np.nan
    return np.where(seen, out, np.nan).astype(np.float32), found


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
            f"t2star_masked/{p}_run-1_T2starw.nii.gz", p.removesuffix("Ses1").removesuffix("Ses2"), "judge",
            f"t2star_masked/{p}_run-1_T2starw_seg-manual.nii.gz",
        )
        for p in ("sub-10062Ses1", "sub-10062Ses2", "sub-9418", "sub-9584", "sub-9604", "sub-9669", "sub-9709Ses1",
                  "sub-9709Ses2")
    ),
    MarkedVolume("hard/gadolinium_neck_T1w.nii.gz", "gadolinium", "nothing"),
    MarkedVolume("hard/ms_brain_T1w.nii.gz", "ms_brain", "nothing"),
    MarkedVolume("hard/lumbar_T2w.nii.gz", "lumbar", "nothing"),
    MarkedVolume("hard/neck_T2starw.nii.gz", "sct", "nothing", "hard/neck_T2starw_seg.nii.gz"),
)  # fmt: skip
# Each person is held out in one fold; the figures of the people trained on come from the fold without them.
FOLDS = (("errsm_11", "errsm_18", "head"), ("errsm_21", "errsm_23"), ("errsm_24", "scanners"))


@dataclass(frozen=True, eq=False)
class RealRibbon:
    """``discs_mm``: marked discs, number → mm along the cord."""

    volume: MarkedVolume
    ribbon: Ribbon
    discs_mm: dict[int, float]

    @property
    def rows(self) -> NDArray[np.float64]:
        """(6,), of C2/C3 to C7/T1; UNKNOWN where unmarked."""
        return np.array([self.discs_mm.get(3 + i, UNKNOWN) - self.ribbon.arc_mm[0] for i in range(N_DISCS)])


def read_marks(data: Path) -> dict[str, dict[int, tuple[float, float, float]]]:
    """Volume → disc → RAS mm: ``data``/levels.csv, and the lower discs in the table beside this file."""
    marks: dict[str, dict[int, tuple[float, float, float]]] = {}
    for path in (Path(__file__).with_name("lower_discs.csv"), data / "levels.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                place = float(row["R_mm"]), float(row["A_mm"]), float(row["S_mm"])
                marks.setdefault(row["volume"], {})[disc_number(row["disc"])] = place
    return marks


def read_volume(volume: MarkedVolume, data: Path, masks: Path) -> tuple[Volume, Centreline]:
    """Image and centreline of the cord. ``masks``: where the shipped model's masks are kept. Raises as read_image."""
    image = read_image(data / volume.image)
    path = data / volume.mask if volume.mask else masks / f"{Path(volume.name).name}.nii.gz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        case = segment_image(image, load_checkpoint(find_model()))
        write_volume(case.mask, path)
    mask = place_on(read_labels(path), image.volume)
    return image.volume, centreline(clean(mask.with_voxels(mask.voxels > 0)).mask)


def real_ribbons(data: Path, masks: Path) -> list[RealRibbon]:
    """Every volume with enough cord for a ribbon."""
    marks, found = read_marks(data), []
    for volume in VOLUMES:
        image, line = read_volume(volume, data, masks)
        if line.end_mm >= LEAST_CORD_MM:
            discs_mm = {disc: line.nearest(place)[0] for disc, place in marks.get(volume.name, {}).items()}
            found.append(RealRibbon(volume, straighten(image, line), discs_mm))
    return found


def person_templates(ribbons: Sequence[RealRibbon]) -> dict[str, NDArray[np.float32]]:
    """Person → mean of ``template`` over the person's ribbons, of those trained on."""
    parts: dict[str, list[NDArray]] = {}
    for one in ribbons:
        if one.volume.role == "train":
            seen = bands(network_input(one.ribbon.image))
            parts.setdefault(one.volume.person, []).append(template(seen, one.rows[0]))
    return {person: _mean_template(each, 0.5) for person, each in parts.items()}


def atlas_templates(simulated: Pool) -> dict[str, NDArray[np.float32]]:
    """Mean simulated ribbons, one with discs darker and one with discs brighter than bone, as ``template`` gives them;
    of necks that show C2/C3 to C5/C6, within 15 % of the atlas's size."""
    parts: dict[str, list[NDArray]] = {"dark discs": [], "bright discs": []}
    column = slice(23, 29)  # of ``bands``: 10 to 21 mm in front of the cord's middle
    for inputs, rows in zip(simulated.inputs, simulated.rows, strict=True):
        if not np.isfinite(rows[:4]).all():
            continue
        scale = (rows[0] - rows[3]) / (DISC_MM[0] - DISC_MM[3])
        found = bands(inputs.astype(np.float32))
        profile = found[0][:, column].mean(axis=1)
        between = (rows[1:3] + rows[2:4]) / 2
        contrast = profile[rows[1:4].astype(int)].mean() - profile[between.astype(int)].mean()
        if abs(scale - 1) < 0.15 and abs(contrast) > 0.25:
            parts["bright discs" if contrast > 0 else "dark discs"].append(template(found, rows[0], 1 / scale))
    return {name: _mean_template(each, 0.3) for name, each in parts.items()}


def _mean_template(parts: Sequence[NDArray], least_seen: float) -> NDArray[np.float32]:
    values, seen = np.sum(parts, axis=0)
    kept = seen > least_seen * len(parts)
    return np.stack([np.where(kept, values / np.maximum(seen, 1), 0), kept]).astype(np.float32)


class _WithTemplates(nn.Module):
    def __init__(self, network: RibbonNetwork, templates: NDArray) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("people", torch.from_numpy(templates.astype(np.float16)))

    def forward(self, ribbon: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # an output must depend on the input, or ONNX Runtime does not give it
        return self.network(ribbon), self.get_buffer("people").float() + 0 * ribbon[0, 0, 0, 0]


def export_finder(network: RibbonNetwork, templates: dict[str, NDArray], card: dict[str, Any], path: Path) -> None:
    """One ONNX file of network, templates and card. Raises AssertionError where ONNX Runtime computes otherwise."""
    import onnx

    file: Any = io.BytesIO()
    example = torch.rand(1, 2, 120, len(ANTERIOR_MM))
    torch.onnx.export(
        _WithTemplates(network, np.stack(list(templates.values()))).eval(), (example,), file, dynamo=False,
        opset_version=17, input_names=[RIBBON], output_names=[LOG_SHARE, TEMPLATES],
        dynamic_axes={RIBBON: {2: "rows"}, LOG_SHARE: {2: "rows_and_none"}},
    )  # fmt: skip
    model = onnx.load_from_string(file.getvalue())
    onnx.helper.set_model_props(model, {CARD: json.dumps(card | {"templates": list(templates)})})
    model.producer_name, model.producer_version = "SpinalCordSeg", ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    with torch.inference_mode():
        wanted = network(example).numpy()[0]
    apart = np.abs(DiscFinder(path).log_share(example.numpy()[0]) - wanted).max()
    assert apart < 1e-3, f"ONNX Runtime and torch differ by {apart:g}"


# How it is judged.


@dataclass(frozen=True)
class Answer:
    """``error_mm``: of C2/C3 along the cord; NaN where nothing was answered or nobody marked it. ``last_error_mm``: of
    C7/T1 likewise."""

    volume: str
    person: str
    role: str
    answered: bool
    error_mm: float
    last_error_mm: float
    reason: str


def judged(one: RealRibbon, found: FoundDiscs) -> Answer:
    answered, volume = found.c2_c3_mm is not None, one.volume
    error_mm = _mm(found) - one.discs_mm.get(3, np.nan)
    last_error_mm = found.lower_mm.get(8, np.nan) - one.discs_mm.get(8, np.nan)
    return Answer(volume.name, volume.person, volume.role, answered, error_mm, last_error_mm, found.reason)


def _mm(found: FoundDiscs) -> float:
    return np.nan if found.c2_c3_mm is None else found.c2_c3_mm


def cropped(ribbon: Ribbon, low_row: float, high_row: float) -> Ribbon:
    """The same where the image holds only rows from ``low_row`` to ``high_row``, and the cord ends there."""
    low, high = max(0, round(low_row)), min(len(ribbon.image), round(high_row) + 1)
    image = ribbon.image.copy()
    image[:low], image[high:] = np.nan, np.nan
    kept = slice(max(0, low - 15), high + 30)
    return Ribbon(image[kept], ribbon.arc_mm[kept], ribbon.ras_mm[kept])


def judge(ribbons: Sequence[RealRibbon], finder_of: Callable[[str], DiscFinder]) -> dict[str, Any]:
    """The table of the bars, as text → value, and every answer. ``finder_of``: of a person, one not trained on it."""
    answers, below, above = [], [], []
    for one in ribbons:
        finder = finder_of(one.volume.person)
        answers.append(judged(one, finder.find(one.ribbon)))
        if 3 not in one.discs_mm:
            continue
        row = one.rows[0]
        for gap in range(5, 31, 5):
            below.append((one.volume, gap, finder.find(cropped(one.ribbon, 0, row - gap)).c2_c3_mm is not None))
            if row + gap + 20 < len(one.ribbon.image):
                part = cropped(one.ribbon, row + gap, len(one.ribbon.image))
                above.append((one.volume, gap, finder.find(part).c2_c3_mm is not None))
    return {"answers": answers, "below": below, "above": above}


def judge_simulated(maps: SpineMaps, finder: DiscFinder, count: int, seed: int) -> NDArray[np.float64]:
    """(count, 2): the true and the answered row of C2/C3, NaN where there is none."""
    rng, rows = np.random.default_rng(seed), np.full((count, 2), np.nan)
    for i in range(count):
        image, discs = simulated_ribbon(maps, rng)
        at = np.arange(float(N_ROWS))
        found = finder.find(Ribbon(image, at, np.zeros((N_ROWS, 3))))
        rows[i] = discs[0], _mm(found)
    return rows


def on_other_grid(image: Volume, spacing_mm: tuple[float, float, float], turned_deg: float) -> Volume:
    """The image resampled to another voxel size and a grid turned about two axes, about its middle."""
    angle = np.deg2rad(turned_deg)
    about_x = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    about_y = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_x @ about_y @ np.diag(spacing_mm)
    extent = np.linalg.norm(image.voxel_to_ras[:3, :3], axis=0)[::-1] * np.array(image.shape)[::-1]  # R, A, S
    shape = np.ceil(extent / spacing_mm).astype(int)
    middle = image.voxel_to_ras[:3, :3] @ ((np.array(image.shape) - 1) / 2) + image.voxel_to_ras[:3, 3]
    matrix[:3, 3] = middle - matrix[:3, :3] @ ((shape - 1) / 2)
    index = np.indices(shape).reshape(3, -1)
    ras = matrix[:3, :3] @ index + matrix[:3, 3:]
    to_voxel = np.linalg.inv(image.voxel_to_ras)
    at = to_voxel[:3, :3] @ ras + to_voxel[:3, 3:]
    voxels = ndimage.map_coordinates(image.voxels.astype(np.float32), at, order=1, mode="constant")
    return Volume.from_ijk(voxels.reshape(shape), matrix)


def same_level(data: Path, masks: Path, volume: MarkedVolume, finder: DiscFinder) -> dict[str, float]:
    """How far C2/C3 of the same image lies elsewhere, mm, on other grids; NaN where it is not answered."""
    image, line = read_volume(volume, data, masks)
    first_mm = _mm(find_discs(image, line, finder))
    label = read_labels(data / volume.mask)
    label = place_on(label, image)
    apart = {}
    grids = {"oblique 1 mm": ((1.0, 1.0, 1.0), 12.0), "0.5×0.5×3 mm": ((0.5, 0.5, 3.0), 0.0),
             "0.5×0.5×5 mm": ((0.5, 0.5, 5.0), 0.0), "oblique 0.7×0.7×2 mm": ((0.7, 0.7, 2.0), 8.0)}  # fmt: skip
    for name, (spacing_mm, turned_deg) in grids.items():
        other = on_other_grid(image, spacing_mm, turned_deg)
        mask = on_other_grid(label.with_voxels((label.voxels > 0).astype(np.float32)), spacing_mm, turned_deg)
        own = centreline(clean(mask.with_voxels(mask.voxels > 0.5)).mask)
        found_mm = _mm(find_discs(other, own, finder))
        there_mm = line.nearest(own.point_at(found_mm).tolist())[0] if np.isfinite(found_mm) else np.nan
        apart[name] = there_mm - first_mm
    return apart


# From data to the file that ships, and to the table.

_POOL, _POOL_SEED, _JUDGED_SEED = 3400, 11, 991
_REAL_SAMPLES = 150  # a person
_UPDATES, _REAL_UPDATES = 600, 120
FINDER = "disc_finder.onnx"
Report = Callable[[str, int, int], None]


def train_finder(data: Path, output: Path, report: Report, updates: int = _UPDATES) -> Path:
    """Train on simulation, then on the people of role "train" too, once with all and once for each fold; gives the
    finder of all. ``output`` keeps the ribbons' masks and what each fold became. Minutes on one core."""
    maps, rng = read_spine(data), np.random.default_rng(_POOL_SEED)
    drawn = []
    for i in range(_POOL):
        drawn.append(_pooled(*simulated_ribbon(maps, rng)))
        if i % 100 == 0:
            report("simulate", i, _POOL)
    simulated = _pool(drawn)
    first = train_network(simulated, [], updates, report=lambda done, loss: report("simulation", done, updates))
    ribbons = real_ribbons(data, output / "masks")
    real, people = real_pools(ribbons, rng), atlas_templates(simulated) | person_templates(ribbons)
    for fold in ((), *FOLDS):
        pools = [pool for person, pool in real.items() if person not in fold]
        network = train_network(
            simulated, pools, updates * _REAL_UPDATES // _UPDATES, start=first, max_lr=1e-3,
            report=lambda done, loss: report("real necks", done, updates * _REAL_UPDATES // _UPDATES),
        )  # fmt: skip
        kept = {person: one for person, one in people.items() if person not in fold}
        card = {
            "what": "discs C2/C3 to C7/T1 on a 1 mm mid-sagittal ribbon along the cord",
            "trained_on": f"{_POOL} ribbons simulated from PAM50, and {', '.join(sorted(kept))} of the public data",
            "held_out": list(fold),
            "licence": "templates and weights derive from data under MIT, CC BY 4.0 and PDDL; see NOTICE",
        }
        export_finder(network, kept, card, fold_path(output, fold))
    return fold_path(output, ())


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


def judge_finder(data: Path, output: Path, path: Path, count: int = 500) -> str:
    """The table of the bars for the finder ``path``; people trained on are judged by the fold without them, as
    ``train_finder`` left it in ``output``."""
    whole = DiscFinder(path)
    folds = {person: DiscFinder(fold_path(output, fold)) for fold in FOLDS for person in fold}
    ribbons = real_ribbons(data, output / "masks")
    found = judge(ribbons, lambda person: folds.get(person, whole))
    lines = ["| volume | person | answered | C2/C3 off, mm | C7/T1 off, mm | |", "|---|---|---|---|---|---|"]
    for one in found["answers"]:
        lines.append(
            f"| {one.volume} | {one.person} | {'yes' if one.answered else 'no'} | {one.error_mm:.1f} |"
            f" {one.last_error_mm:.1f} | {one.reason} |"
        )
    for role in ("train", "judge"):
        lines.append("\n" + _summary([one for one in found["answers"] if one.role == role], f'people of role "{role}"'))
    for name in ("below", "above"):
        wrong = [f"{volume.name} {gap} mm" for volume, gap, answered in found[name] if answered]
        share = f"{len(wrong)} of {len(found[name])} answered"
        lines.append(f"\nends 5 to 30 mm {name} C2/C3: {share}" + (f" ({', '.join(wrong)})" if wrong else ""))
    wrong = [one.volume for one in found["answers"] if one.role == "nothing" and one.answered]
    lines.append(f"\nvolumes without C2/C3: {len(wrong)} answered {', '.join(wrong)}")
    true, given = judge_simulated(read_spine(data), whole, count, _JUDGED_SEED).T
    answered = np.isfinite(given)
    wrong_share = np.mean(answered & ~(np.abs(given - true) <= 8))
    lines.append(
        f"\n{count} simulated necks: {answered.mean():.0%} answered, {np.isfinite(true).mean():.0%} show C2/C3;"
        f" median error {np.nanmedian(np.abs(given - true)):.1f} mm, wrong by over 8 mm or not there {wrong_share:.1%}"
    )
    for volume in VOLUMES:
        if volume.name in ("t1w_masked/sct-testing_T1w", "t2_masked/errsm_18_T2w"):
            apart = same_level(data, output / "masks", volume, folds.get(volume.person, whole))
            lines.append(f"\n{volume.name} on other grids: " + ", ".join(f"{k} {v:+.1f} mm" for k, v in apart.items()))
    return "\n".join(lines)


def _summary(answers: Sequence[Answer], name: str) -> str:
    """Per person: each counts once, by the mean over its volumes."""
    marked = [one for one in answers if one.answered and np.isfinite(one.error_mm)]
    people: dict[str, list[float]] = {}
    for one in marked:
        people.setdefault(one.person, []).append(abs(one.error_mm))
    near = [np.mean(np.array(errors) <= 3) for errors in people.values()]
    far = sum(abs(one.error_mm) > 8 for one in marked)
    last = [abs(one.last_error_mm) for one in answers if np.isfinite(one.last_error_mm)]
    return (
        f"{name}: {sum(one.answered for one in answers)} of {len(answers)} volumes answered; within 3 mm"
        f" {np.mean(near) if near else np.nan:.0%} (mean over {len(people)} people); beyond 8 mm {far}; C7/T1 within"
        f" 5 mm {sum(mm <= 5 for mm in last)} of {len(last)}"
    )
