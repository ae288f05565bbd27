"""Prediction on the input's own grid, bounded and stoppable; windows about the cord; when GPU memory runs out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from storage_orders import STORAGE_ORDERS, stored, unstored
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from SpinalCordSegLib import inference, torch_inference
from SpinalCordSegLib.errors import Cancelled, DeviceError, VoxelError
from SpinalCordSegLib.image_io import Image
from SpinalCordSegLib.inference import Prediction, Work, predict
from SpinalCordSegLib.model.checkpoint import Calibration, Checkpoint, NetworkConfig
from SpinalCordSegLib.model.cpu_engine import Window
from SpinalCordSegLib.model.networks import build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig, normalise
from SpinalCordSegLib.pipeline import SegmentOptions, segment_image
from SpinalCordSegLib.postprocessing import find_cord
from SpinalCordSegLib.torch_inference import choose_device, predict_with_torch
from SpinalCordSegLib.volume import Volume

FIXED = NormalisationConfig("fixed_pixel", pixel_mm=0.7)
SPACING_MM = (0.9, 0.6, 3.0)


class Bright:
    """An engine to which bright pixels are cord. Counts what it computes; a window's outermost 16 pixels are wrong, as
    the network's."""

    name, takes_windows = "bright", True

    def __init__(self) -> None:
        self.whole = self.windows = 0

    def logits(self, inputs: np.ndarray, window: Window | None = None) -> np.ndarray:
        if window is None:
            self.whole += 1
            return 20 * (inputs - 0.5)
        self.windows += 1
        top, bottom, left, right = window
        found = 20 * (inputs[:, :, top:bottom, left:right] - 0.5)
        for edge in (found[..., :16, :], found[..., -16:, :], found[..., :16], found[..., -16:]):
            edge.fill(-3.0)
        return found


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch) -> Bright:
    engine = Bright()
    monkeypatch.setattr(inference, "cpu_engine", lambda checkpoint: engine)
    return engine


def checkpoint(
    normalisation: NormalisationConfig = FIXED, calibration: Calibration | None = None, name: str = "deep_unet"
) -> Checkpoint:
    network = NetworkConfig(name, 1)
    torch.manual_seed(2)
    weights = build_network(network).state_dict()
    return Checkpoint("test", "0", network, normalisation, weights, calibration or Calibration())


def tube(n_slices: int = 7, dtype: type = np.int16) -> Volume:
    """A bright elliptic cylinder, 12×8 mm, off the middle, in canonical axes."""
    x = (np.arange(60) + 0.5 - 30)[:, None] * SPACING_MM[0]
    y = (np.arange(90) + 0.5 - 45)[None, :] * SPACING_MM[1]
    inside = ((x - 5) / 6) ** 2 + ((y + 8) / 4) ** 2 <= 1
    voxels = np.repeat((100 + 900 * inside)[:, :, None], n_slices, axis=2).astype(dtype)
    matrix = np.diag([*SPACING_MM, 1.0])
    matrix[:3, 3] = (-27, -27, 40)
    return Volume.from_ijk(voxels, matrix)


def noise(n_slices: int) -> Volume:
    voxels = np.random.default_rng(0).uniform(0, 100, (60, 90, n_slices))
    return tube(n_slices).with_ijk(voxels.astype(np.float32))


@pytest.mark.parametrize("normalisation", [FIXED, NormalisationConfig()], ids=["fixed", "paper"])
def test_the_tube_is_found_where_it_is(bright: Bright, normalisation: NormalisationConfig) -> None:
    volume = tube()
    result = predict(volume, checkpoint(normalisation), device="cpu")
    probability = result.probability.ijk
    assert probability.dtype == np.float32 and probability.shape == volume.ijk_shape
    assert np.array_equal(result.probability.ijk_to_ras, volume.ijk_to_ras)
    assert probability.min() >= 0 and probability.max() <= 1
    assert np.mean((probability > 0.5) == (volume.ijk > 500)) > 0.995
    assert result.device == "cpu" and result.notes == () and result.seconds > 0


def test_cancelling_stops_before_the_next_slice(bright: Bright) -> None:
    with pytest.raises(Cancelled, match="4 of 7"):
        predict(tube(7), checkpoint(), device="cpu", cancelled=lambda: bright.whole == 4)
    assert bright.whole == 4


@pytest.mark.parametrize("track_cord", [False, True])
def test_a_range_restricts_the_work_and_progress_counts_every_slice(bright: Bright, track_cord: bool) -> None:
    seen: list[tuple[int, int]] = []
    result = predict(
        neck(), checkpoint(CONFIG), device="cpu", track_cord=track_cord, slice_range=(2, 9),
        progress=lambda *step: seen.append(step),
    )  # fmt: skip
    assert np.flatnonzero(result.probability.ijk.max(axis=(0, 1))).tolist() == list(range(2, 9))
    assert seen == [(done, 7) for done in range(8)]


def test_calibration_acts_on_the_logits(bright: Bright) -> None:
    plain, calibrated = (
        predict(tube(1), checkpoint(calibration=calibration), device="cpu").probability.ijk
        for calibration in (None, Calibration(0.5, -2.0))
    )
    inside = (plain > 0.9) & (plain < 1 - 1e-5)
    logits = np.log(plain[inside] / (1 - plain[inside].astype(float)))
    assert inside.any()
    assert calibrated[inside] == pytest.approx(1 / (1 + np.exp(2 - 0.5 * logits)), rel=1e-3)


def test_a_volume_of_one_constant_voxel() -> None:
    volume = Volume.from_ijk(np.full((1, 1, 1), 7, np.int16), np.diag([0.5, 0.8, 5.0, 1.0]))
    result = predict(volume, checkpoint(), device="cpu")
    assert result.probability.ijk_shape == (1, 1, 1) and np.isfinite(result.probability.ijk).all()


def test_nan_names_the_slice_of_the_input(bright: Bright) -> None:
    volume = tube(7, np.float32)
    flipped = Volume.from_ijk(volume.ijk[:, :, ::-1].copy(), volume.ijk_to_ras @ np.diag([1, 1, -1.0, 1]))
    flipped.ijk[3, 4, 1] = np.nan
    with pytest.raises(VoxelError, match="slice 1 "):
        predict(flipped, checkpoint(), device="cpu")


# ---- Windows about the cord

CONFIG = NormalisationConfig("fixed_pixel", pixel_mm=1.0)


def neck(n_slices: int = 21, stray: int | None = None, moved: int = 0, lean: float = 0.5) -> Volume:
    """A bright cord of 8×12 mm that leans by ``lean`` pixels a slice, in slice 7 by ``moved`` more, on 160×160 pixels
    of 1 mm."""
    pixels = np.zeros((n_slices, 160, 160), np.int16)
    for number in range(n_slices):
        left = 60 + int(lean * number) + moved * (number == 7)
        pixels[number, 70:78, left : left + 12] = 1000
    pixels[:, 2, 2] = 1  # never constant
    if stray is not None:
        pixels[stray, 20:26, 100:106] = 1000
    voxels = np.ascontiguousarray(pixels.transpose(2, 1, 0)[::-1, ::-1])
    return Volume.from_ijk(voxels, np.eye(4))


@pytest.mark.parametrize(
    ("volume", "windows", "settled"),
    [
        (neck(), 19, 19),
        (neck(stray=20), 19, 19),
        (neck(moved=30), 19, 18),  # out of its window
        (neck(moved=16), 19, 18),  # at its window's edge
        (neck(lean=1), 0, 0),  # so much that no path leads from one slice computed whole to the next
    ],
    ids=["a cord", "a stray", "a cord that leaves its window", "one at its window's edge", "a cord that leans"],
)
def test_the_cord_is_that_of_the_full_run(bright: Bright, volume: Volume, windows: int, settled: int) -> None:
    full, tracked = (
        predict(volume, checkpoint(CONFIG), device="cpu", track_cord=track).probability.ijk for track in (False, True)
    )
    assert np.array_equal(full > 0.5, tracked > 0.5) and (full > 0.5).any()
    assert (bright.windows, bright.whole) == (windows, 2 * 21 - settled)


@pytest.mark.parametrize(("threshold", "on", "windows"), [(0.5, True, 19), (0.05, True, 0), (0.5, False, 0)])
def test_tracking_is_the_rule_but_not_for_a_threshold_below_what_is_looked_for(
    bright: Bright, threshold: float, on: bool, windows: int
) -> None:
    options = SegmentOptions(threshold=threshold, track_cord=on, device="cpu")
    segment_image(Image(neck(), Path("neck"), "neck"), checkpoint(CONFIG), options)
    assert bright.windows == windows


# ---- By torch


class SmallGpu(nn.Module):
    """Bright pixels are cord; holds ``capacity`` slices. Remembers the batches it was given, and how it was run."""

    def __init__(self, capacity: int = 99, error: Callable[[], Exception] = torch.cuda.OutOfMemoryError) -> None:
        super().__init__()
        self.capacity, self.error = capacity, error
        self.batches: list[int] = []
        self.how: dict[str, bool] = {}

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.capacity:
            raise self.error()
        self.batches.append(len(x))
        self.how = {
            "inference": torch.is_inference_mode_enabled(), "training": self.training,
            "tf32": torch.backends.cudnn.allow_tf32,
        }  # fmt: skip
        return 20 * (x - 0.5)


@pytest.fixture
def by_torch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Prediction | None, list[str]]]:
    """``predict_with_torch`` of a volume with a network, on the CPU in place of a GPU; and its notes."""

    def run(volume: Volume, network: nn.Module) -> tuple[Prediction | None, list[str]]:
        monkeypatch.setattr(torch_inference, "checkpoint_network", lambda checkpoint: network)
        notes: list[str] = []
        work = Work(volume, checkpoint(), (0, volume.shape[0]))
        names = predict_with_torch(work, torch.device("cpu"), notes)
        return names and Prediction(work.probability, *names), notes

    return run


def test_torch_finds_what_the_cpu_s_engine_finds_in_batches(by_torch: Callable, bright: Bright) -> None:
    network, before = SmallGpu().train(), torch.backends.cudnn.allow_tf32
    found, notes = by_torch(noise(20), network)
    assert network.batches == [16, 4] and notes == [] and found.engine == f"torch {torch.__version__}"
    assert network.how == {"inference": True, "training": False, "tf32": False}
    assert torch.backends.cudnn.allow_tf32 == before
    wanted = predict(noise(20), checkpoint(), device="cpu").probability.ijk
    assert np.abs(found.probability.ijk - wanted).max() < 1e-5 and np.ptp(wanted) > 0.1


@pytest.mark.parametrize(
    "error",
    [
        lambda: torch.cuda.OutOfMemoryError("CUDA out of memory"),
        lambda: RuntimeError("MPS backend out of memory"),
        lambda: RuntimeError("cuBLAS error: CUBLAS_STATUS_ALLOC_FAILED"),
        None,
    ],
    ids=["cuda", "mps", "cublas", "none"],
)
def test_a_gpu_finishes_or_the_cpu_takes_over_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, bright: Bright, error: Callable[[], Exception] | None
) -> None:
    def choose(name: str) -> tuple[torch.device, list[str]]:
        return torch.device("mps"), []

    monkeypatch.setattr(torch_inference, "choose_device", choose)
    network = SmallGpu(0, error) if error else SmallGpu()
    monkeypatch.setattr(torch_inference, "checkpoint_network", lambda checkpoint: network)
    monkeypatch.setattr(Tensor, "to", lambda self, *_: self)
    result = predict(tube(6), checkpoint(), device="mps")
    assert result.device == ("cpu" if error else "mps")
    assert ["the CPU took over" in note for note in result.notes] == [True] * bool(error)
    assert np.mean((result.probability.ijk > 0.5) == (tube(6).ijk > 500)) > 0.995


def test_another_failure_of_a_gpu_is_a_device_error(by_torch: Callable) -> None:
    with pytest.raises(DeviceError, match=r"failed \(no kernel image\)"):
        by_torch(tube(2), SmallGpu(0, lambda: RuntimeError("no kernel image\nat line 3")))


@pytest.mark.gpu
def test_gpu_and_cpu_give_the_same_mask() -> None:
    cpu, cuda = (predict(noise(5), checkpoint(), device=device).probability.ijk for device in ("cpu", "cuda"))
    assert np.abs(cpu - cuda).max() < 1e-3


@pytest.mark.parametrize(
    ("name", "present", "failures", "chosen"),
    [
        ("auto", set(), {}, "cpu"),
        ("auto", {"mps"}, {}, "mps"),
        ("auto", {"mps", "cuda"}, {}, "cuda"),
        ("auto", {"cuda"}, {"cuda": "no kernel"}, "cpu"),  # with a note
        ("cuda", {"cuda"}, {}, "cuda"),
        ("cuda", set(), {}, "finds none"),
        ("cuda", {"cuda"}, {"cuda": "no kernel"}, "no kernel"),
        ("tpu", set(), {}, "choose one of"),
    ],
)
def test_the_device_chosen(
    monkeypatch: pytest.MonkeyPatch, name: str, present: set, failures: dict, chosen: str
) -> None:
    monkeypatch.setattr(torch_inference, "_present", lambda name: name in present)
    monkeypatch.setattr(torch_inference, "_trial_failure", lambda name: failures.get(name, ""))
    if chosen not in ("cpu", "cuda", "mps"):
        with pytest.raises(DeviceError, match=chosen):
            choose_device(name)
    else:
        notes = [text for text in failures.values() if name == "auto"]
        device, found = choose_device(name)
        assert device == torch.device(chosen) and len(found) == len(notes)
        assert all(text in note for text, note in zip(notes, found, strict=True))


def test_the_trial_computes() -> None:
    assert torch_inference._trial_failure("cpu") == ""
    assert torch_inference._trial_failure("meta") != ""


# All 48 ways to store one oblique volume give the same physical mask: isotropic and 0.5×0.5×5 mm.


GRIDS = {"isotropic": ((44, 40, 5), (1.0, 1.0, 1.0)), "thick": ((88, 76, 4), (0.5, 0.5, 5.0))}

NORMALISATION = NormalisationConfig("fixed_pixel", pixel_mm=0.8, intensity="percentile", min_size=64)


class BrightAndRandom:
    """Finds what is bright, with an edge that a random network frays: it knows left from right and front from back."""

    name, takes_windows = "bright and random", False

    def __init__(self, volume: Volume) -> None:
        torch.manual_seed(3)
        self.network = build_network(NetworkConfig("deep_unet", 1))
        inputs, _ = normalise(torch.from_numpy(volume.voxels.copy()), volume.pixel_mm, NORMALISATION)
        update_bn([inputs], self.network)
        with torch.no_grad():
            output = self.network.eval()(inputs)
        self.mean, self.deviation = output.mean(), output.std()
        self.known: dict[bytes, np.ndarray] = {}

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        key = inputs.tobytes()
        if key not in self.known:  # the same input, from each of 48 volumes, is computed once
            x = torch.from_numpy(inputs)
            with torch.no_grad():
                fray = torch.tanh((self.network(x) - self.mean) / self.deviation)
                self.known[key] = (12 * (x - 0.6) + 2 * fray).numpy()
        return self.known[key]


def oblique(degrees: float) -> np.ndarray:
    """Turned about x, then about z."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def oblique_neck(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], degrees: float) -> Volume:
    """A bright cord that leans, another body on one side, texture; no symmetry of any kind."""
    rng = np.random.default_rng(4)
    x, y, z = (
        (np.arange(n) + 0.5 - n / 2).reshape([-1 if axis == a else 1 for a in range(3)]) * mm
        for axis, (n, mm) in enumerate(zip(shape, spacing_mm, strict=True))
    )
    cord = ((x - 0.2 * z - 1) / 6) ** 2 + ((y + 2) / 4.5) ** 2 < 1
    body = ((x - 12) / 4) ** 2 + ((y - 12) / 3) ** 2 + 0 * z < 1
    voxels = gaussian_filter(cord * 80.0 + body * 60.0, 0.7 / np.array(spacing_mm))
    voxels += gaussian_filter(rng.normal(0, 60, shape), 1.5 / np.array(spacing_mm))
    matrix = np.eye(4)
    matrix[:3, :3] = oblique(degrees) * spacing_mm
    matrix[:3, 3] = (-20, 13, 77)
    return Volume.from_ijk(voxels.astype(np.float32), matrix)


@pytest.mark.parametrize("grid", GRIDS)
def test_48_orientations_one_mask(grid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = oblique_neck(*GRIDS[grid], 20.0)
    engine = BrightAndRandom(volume)
    monkeypatch.setattr(inference, "cpu_engine", lambda checkpoint: engine)
    checkpoint = Checkpoint("random", "0", NetworkConfig("deep_unet", 1), NORMALISATION, {})
    masks, probabilities = [], []
    for order, flips in STORAGE_ORDERS:
        image = stored(volume, order, flips)
        probability = predict(image, checkpoint, device="cpu").probability
        mask = find_cord(probability, image).mask
        assert mask.shape == image.shape and np.array_equal(mask.ijk_to_ras, image.ijk_to_ras)
        masks.append(unstored(mask.ijk, order, flips))
        probabilities.append(unstored(probability.ijk, order, flips))
    assert len(masks) == 48
    assert all(np.array_equal(probability, probabilities[0]) for probability in probabilities)
    assert all(np.array_equal(mask, masks[0]) for mask in masks)
    # The mask is no accident: there, in every slice, of a cord's area, on the cord, and not symmetrical.
    areas_mm2 = masks[0].sum(axis=(0, 1)) * np.prod(volume.ijk_spacing_mm[:2])
    assert (areas_mm2 > 40).all() and (areas_mm2 < 200).all()
    assert not np.array_equal(masks[0], masks[0][::-1]) and not np.array_equal(masks[0], masks[0][:, ::-1])
