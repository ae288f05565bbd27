"""The CPU when its memory runs out while several slices are worked on at once; and the network in half the bits."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from SpinalCordSegLib import inference as predict_module
from SpinalCordSegLib.errors import ConfigurationError, DeviceError
from SpinalCordSegLib.inference import predict
from SpinalCordSegLib.model.checkpoint import Checkpoint
from SpinalCordSegLib.model.cpu_engine import Engine
from SpinalCordSegLib.model.networks import NetworkConfig, build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.volume import Volume

_PIXEL_MM = 1.0


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(4)
    config = NetworkConfig("ra_unet", 1)
    weights = dict(build_network(config).state_dict())
    return Checkpoint("test", "0", config, NormalisationConfig("fixed_pixel", pixel_mm=_PIXEL_MM), weights)


class RoomForOne:
    """Bright pixels are cord; memory runs out for whoever comes while another is at work. The first waits for that."""

    def __init__(self) -> None:
        self._room, self._crowded, self._first = threading.Lock(), threading.Event(), True
        self.refused = 0

    def logits(self, inputs: Tensor) -> Tensor:
        if not self._room.acquire(blocking=False):
            self.refused += 1
            self._crowded.set()
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        with_others, self._first = self._first, False
        try:
            assert not with_others or self._crowded.wait(20)
            return 20 * (inputs - 0.5)
        finally:
            self._room.release()


def stripes(n_slices: int = 9) -> Volume:
    """A different bright stripe in every slice, 96×96 pixels of 1 mm."""
    voxels = np.zeros((96, 96, n_slices), np.int16)
    for k in range(n_slices):
        voxels[8 * k : 8 * k + 8, 40:50, k] = 1000
    return Volume.from_ijk(voxels, np.eye(4))


@pytest.mark.parametrize("track_cord", [False, True])
def test_when_memory_runs_short_every_slice_is_done_all_the_same(
    two_threads: None, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, track_cord: bool
) -> None:
    room = RoomForOne()
    engine = Engine("narrow", room.logits, window_logits=lambda inputs, window: room.logits(inputs))
    monkeypatch.setattr(predict_module, "ready_engine", lambda *arguments: engine)
    told: list[int] = []
    found = predict(
        stripes(), checkpoint, device="cpu", track_cord=track_cord, progress=lambda done, total: told.append(done)
    )
    assert room.refused >= 1 and torch.get_num_threads() == 2
    assert found.notes == ("memory ran short: one slice at a time from there on",) and found.batch_size == 1
    assert np.array_equal(found.probability.ijk > 0.5, stripes().ijk > 0) and told[-1] == 9


def test_no_memory_for_a_single_slice_is_said(
    two_threads: None, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def logits(inputs: Tensor) -> Tensor:
        raise MemoryError

    monkeypatch.setattr(predict_module, "ready_engine", lambda *arguments: Engine("none", logits))
    with pytest.raises(DeviceError, match="memory ran out with one slice at a time"):
        predict(stripes(), checkpoint, device="cpu")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_the_bits_are_used_where_asked_for_and_named(checkpoint: Checkpoint, precision: str) -> None:
    """On the CPU as on a GPU; there is none here."""
    exact = predict(stripes(3), checkpoint, device="cpu")
    half = predict(stripes(3), checkpoint, device="cpu", precision=precision)
    assert half.engine == f"torch {torch.__version__}, {precision}" and precision not in exact.engine
    apart = np.abs(half.probability.ijk - exact.probability.ijk).max()
    assert 0 < apart < 0.05 and half.probability.ijk.dtype == np.float32


def test_an_unknown_precision_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(ConfigurationError, match="int8"):
        predict(stripes(1), checkpoint, device="cpu", precision="int8")
