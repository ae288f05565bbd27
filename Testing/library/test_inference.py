"""Prediction: on the own grid of the input, bounded, stoppable, on the device named, and when memory runs out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from SpinalCordSegLib import torch_inference as device_module
from SpinalCordSegLib.errors import Cancelled, ConfigurationError, DeviceError, VoxelError
from SpinalCordSegLib.inference import predict
from SpinalCordSegLib.model.checkpoint import Calibration, Checkpoint, checkpoint_network
from SpinalCordSegLib.model.networks import NetworkConfig, build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.torch_inference import DeviceNetwork, choose_device
from SpinalCordSegLib.volume import Volume

FIXED = NormalisationConfig("fixed_pixel", pixel_mm=0.7)
SPACING_MM = (0.9, 0.6, 3.0)


class Bright(nn.Module):
    """Bright pixels are cord. Remembers the batches it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(tuple(x.shape))
        return 20 * (x - 0.5)


class SmallGpu(Bright):
    """As if on a GPU that holds ``capacity`` slices; on the CPU there is room for all."""

    def __init__(self, capacity: int, error: Callable[[], RuntimeError] = torch.cuda.OutOfMemoryError) -> None:
        super().__init__()
        self.capacity, self.error, self.place = capacity, error, "cpu"

    def to(self, *arguments: object, **options: object) -> SmallGpu:
        if arguments:
            self.place = str(arguments[0])
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self.place != "cpu" and len(x) > self.capacity:
            raise self.error()
        return super().forward(x)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "choose_device", lambda name: (torch.device("mps"), ()))
    monkeypatch.setattr(DeviceNetwork, "on_device", lambda self, values: values)


def checkpoint(normalisation: NormalisationConfig = FIXED, calibration: Calibration | None = None) -> Checkpoint:
    network = NetworkConfig("deep_unet", 1)
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


@pytest.mark.parametrize("normalisation", [FIXED, NormalisationConfig()], ids=["fixed", "paper"])
def test_the_tube_is_found_where_it_is(normalisation: NormalisationConfig) -> None:
    volume = tube()
    result = predict(volume, checkpoint(normalisation), device="cpu", network=Bright())
    probability = result.probability.ijk
    assert probability.dtype == np.float32 and probability.shape == volume.ijk_shape
    assert np.array_equal(result.probability.ijk_to_ras, volume.ijk_to_ras)
    assert probability.min() >= 0 and probability.max() <= 1
    agreement = np.mean((probability > 0.5) == (volume.ijk > 500))
    assert agreement > 0.995
    assert result.device == "cpu" and result.notes == () and result.seconds > 0


def test_the_number_of_slices_at_a_time_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    volume = tube(5).with_ijk(rng.uniform(0, 100, (60, 90, 5)).astype(np.float32))
    network = checkpoint_network(checkpoint())
    one, five = (predict(volume, checkpoint(), device="cpu", batch_size=n, network=network) for n in (1, 5))
    assert (one.batch_size, five.batch_size) == (1, 5)
    assert np.ptp(one.probability.ijk) > 0.1
    assert np.abs(one.probability.ijk - five.probability.ijk).max() < 1e-5


def test_progress_counts_every_slice() -> None:
    seen: list[tuple[int, int]] = []
    predict(
        tube(7), checkpoint(), device="cpu", batch_size=3, network=Bright(), progress=lambda *step: seen.append(step)
    )
    assert seen == [(0, 7), (3, 7), (6, 7), (7, 7)]


def test_cancelling_stops_before_the_next_batch() -> None:
    network = Bright()
    with pytest.raises(Cancelled, match="4 of 7"):
        predict(
            tube(7),
            checkpoint(),
            device="cpu",
            batch_size=2,
            network=network,
            cancelled=lambda: len(network.batches) == 2,
        )
    assert len(network.batches) == 2


def test_a_range_restricts_the_work() -> None:
    network, seen = Bright(), []
    result = predict(
        tube(7),
        checkpoint(),
        device="cpu",
        network=network,
        slice_range=(2, 5),
        progress=lambda *step: seen.append(step),
    )
    computed = result.probability.ijk.max(axis=(0, 1)) > 0
    assert computed.tolist() == [False, False, True, True, True, False, False]
    assert sum(shape[0] for shape in network.batches) == 3 and seen[-1] == (3, 3)


@pytest.mark.parametrize("slice_range", [(-1, 3), (3, 3), (5, 2), (0, 8)])
def test_a_range_that_does_not_fit_is_refused(slice_range: tuple[int, int]) -> None:
    with pytest.raises(ConfigurationError, match="7 axial slices"):
        predict(tube(7), checkpoint(), device="cpu", network=Bright(), slice_range=slice_range)


def test_calibration_acts_on_the_logits() -> None:
    plain = predict(tube(1), checkpoint(), device="cpu", network=Bright()).probability.ijk
    calibrated = predict(
        tube(1), checkpoint(calibration=Calibration(0.5, -2.0)), device="cpu", network=Bright()
    ).probability.ijk
    inside = (plain > 0.9) & (plain < 1 - 1e-5)
    logits = np.log(plain[inside] / (1 - plain[inside].astype(float)))
    assert inside.any()
    assert calibrated[inside] == pytest.approx(1 / (1 + np.exp(2 - 0.5 * logits)), rel=1e-3)


@pytest.mark.parametrize("shape", [(60, 90, 1), (1, 1, 1), (5, 3, 4)])
def test_one_slice_tiny_and_constant_volumes(shape: tuple[int, int, int]) -> None:
    volume = Volume.from_ijk(np.full(shape, 7, np.int16), np.diag([0.5, 0.8, 5.0, 1.0]))
    result = predict(volume, checkpoint(), device="cpu")
    assert result.probability.ijk_shape == shape and np.isfinite(result.probability.ijk).all()


def test_3000_pixels_square() -> None:
    voxels = np.zeros((3000, 3000, 2), np.uint8)
    voxels[1400:1640, 1500:1660] = 200  # 12×8 mm
    volume = Volume.from_ijk(voxels, np.diag([0.05, 0.05, 1.0, 1.0]))
    network = Bright()
    result = predict(volume, checkpoint(), device="cpu", network=network)
    assert network.batches == [(2, 1, 224, 224)]
    area_mm2 = (result.probability.ijk[:, :, 1] > 0.5).sum() * 0.05**2
    assert area_mm2 == pytest.approx(96, rel=0.05)  # a rectangle of 17×11 network pixels


def test_nan_names_the_slice_of_the_input() -> None:
    volume = tube(7, np.float32)
    flipped = Volume.from_ijk(volume.ijk[:, :, ::-1].copy(), volume.ijk_to_ras @ np.diag([1, 1, -1.0, 1]))
    flipped.ijk[3, 4, 1] = np.nan
    with pytest.raises(VoxelError, match="slice 1 "):
        predict(flipped, checkpoint(), device="cpu", network=Bright())


def test_the_batch_is_halved_when_gpu_memory_runs_out(gpu: None) -> None:
    network = SmallGpu(capacity=3)
    result = predict(tube(9), checkpoint(), batch_size=8, network=network)
    assert result.batch_size == 2 and result.device == "mps"
    assert len(result.notes) == 2 and "2 slices at a time" in result.notes[-1]
    assert sum(shape[0] for shape in network.batches) == 9


@pytest.mark.parametrize(
    "error",
    [
        lambda: torch.cuda.OutOfMemoryError("CUDA out of memory"),
        lambda: RuntimeError("MPS backend out of memory"),
        lambda: RuntimeError("cuBLAS error: CUBLAS_STATUS_ALLOC_FAILED"),
    ],
    ids=["cuda", "mps", "cublas"],
)
def test_the_cpu_takes_over_at_last_and_it_is_said(gpu: None, error: Callable[[], RuntimeError]) -> None:
    network = SmallGpu(0, error)
    result = predict(tube(6), checkpoint(), batch_size=2, network=network)
    assert result.device == "cpu" and "the CPU took over" in result.notes[-1]
    assert network.place == "cpu" and sum(shape[0] for shape in network.batches) == 6
    agreement = np.mean((result.probability.ijk > 0.5) == (tube(6).ijk > 500))
    assert agreement > 0.995


def test_no_memory_on_the_cpu_is_a_device_error() -> None:
    class Hungry(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(DeviceError, match="memory ran out"):
        predict(tube(2), checkpoint(), device="cpu", network=Hungry())


def test_the_network_runs_without_gradients_in_evaluation_and_full_precision() -> None:
    seen = {}

    class Nosy(Bright):
        def forward(self, x: Tensor) -> Tensor:
            seen.update(
                inference=torch.is_inference_mode_enabled(),
                training=self.training,
                tf32=torch.backends.cudnn.allow_tf32,
                dtype=x.dtype,
            )
            return super().forward(x)

    before = torch.backends.cudnn.allow_tf32
    predict(tube(1), checkpoint(), device="cpu", network=Nosy().train())
    assert seen == {"inference": True, "training": False, "tf32": False, "dtype": torch.float32}
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.gpu
def test_gpu_and_cpu_give_the_same_mask() -> None:
    volume = tube(5).with_ijk(np.random.default_rng(0).uniform(0, 100, (60, 90, 5)).astype(np.float32))
    cpu = predict(volume, checkpoint(), device="cpu").probability.ijk
    cuda = predict(volume, checkpoint(), device="cuda").probability.ijk
    assert np.abs(cpu - cuda).max() < 1e-3


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict:
    """A machine by hand: which devices are present, and how each fails its trial."""
    state: dict = {"present": set(), "failures": {}}
    monkeypatch.setattr(device_module, "_present", lambda name: name in state["present"])
    monkeypatch.setattr(device_module, "_trial_failure", lambda name: state["failures"].get(name, ""))
    return state


@pytest.mark.parametrize(("present", "chosen"), [(set(), "cpu"), ({"mps"}, "mps"), ({"mps", "cuda"}, "cuda")])
def test_auto_takes_the_best(machine: dict, present: set, chosen: str) -> None:
    machine["present"] = present
    assert choose_device("auto") == (torch.device(chosen), ())


def test_auto_says_why_it_left_a_gpu(machine: dict) -> None:
    machine["present"], machine["failures"] = {"cuda"}, {"cuda": "no kernel image is available"}
    device, notes = choose_device("auto")
    assert device == torch.device("cpu")
    assert len(notes) == 1 and "no kernel image" in notes[0]


def test_a_named_device_is_that_or_an_error(machine: dict) -> None:
    with pytest.raises(DeviceError, match="finds none"):
        choose_device("cuda")
    machine["present"], machine["failures"] = {"cuda"}, {"cuda": "no kernel image is available"}
    with pytest.raises(DeviceError, match="no kernel image"):
        choose_device("cuda")
    machine["failures"] = {}
    assert choose_device("cuda") == (torch.device("cuda"), ())


def test_the_trial_computes() -> None:
    assert device_module._trial_failure("cpu") == ""
    assert device_module._trial_failure("meta") != ""


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_the_bits_are_used_where_asked_for_and_named(precision: str) -> None:
    """On the CPU as on a GPU; there is none here."""
    exact = predict(tube(3), checkpoint(), device="cpu")
    half = predict(tube(3), checkpoint(), device="cpu", precision=precision)
    assert half.engine == f"torch {torch.__version__}, {precision}" and precision not in exact.engine
    apart = np.abs(half.probability.ijk - exact.probability.ijk).max()
    assert 0 < apart < 0.05 and half.probability.ijk.dtype == np.float32


@pytest.mark.parametrize(
    ("asked", "error"), [({"device": "tpu"}, DeviceError), ({"precision": "int8"}, ConfigurationError)]
)
def test_unknown_names_are_refused(asked: dict, error: type[Exception]) -> None:
    with pytest.raises(error, match="choose one of"):
        predict(tube(1), checkpoint(), **asked)
