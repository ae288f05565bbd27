"""Slices computed with cord tracking: some of them whole, those between where the cord must be, whole after all where
that leaves a doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from SpinalCordSegLib.inference.cord_windows import Box, exact_part, is_settled, only_region, whole_slices, windows
from SpinalCordSegLib.inference.engine import Engine
from SpinalCordSegLib.inference.slice_workers import Stretch, in_order
from SpinalCordSegLib.network.folded_ra_unet import Window
from SpinalCordSegLib.network.normalise import LOGIT_LIMIT, Placement


class Slices(Protocol):
    """What is needed of the volume in work."""

    first: int
    last: int
    slice_mm: float
    pixel_mm: tuple[float, float]

    def inputs(self, stretch: Stretch, device: torch.device) -> tuple[Tensor, Placement]: ...
    def calibrated(self, logits: Tensor) -> Tensor: ...
    def put(self, stretch: Stretch, calibrated: Tensor, placement: Placement) -> None: ...
    def check(self) -> None: ...


class TrackedSlices:
    """``n_windowed``: slices so far that were computed in a window only."""

    def __init__(self, slices: Slices, engine: Engine, workers: int, threads: int) -> None:
        self._slices, self._engine = slices, engine
        self._workers, self._threads = workers, threads
        self._regions: dict[int, Box | None] = {}
        self._windows: dict[int, Window | None] = {}
        self._shape = (0, 0)
        self._in_window: list[int] = []  # appended to by several threads

    @property
    def n_windowed(self) -> int:
        return len(self._in_window)

    def run(self) -> Iterator[int]:
        """Compute all slices; yields the number of those finished. Raises what computing and checking raise."""
        slices = self._slices
        whole = whole_slices(slices.first, slices.last, slices.slice_mm)
        count = 0
        for _ in self._computed(whole, self._whole):
            count += 1
            yield count
        self._windows = windows(whole, [self._regions[number] for number in whole], self._shape)
        for _ in self._computed(sorted(self._windows), self._between):
            count += 1
            yield count

    def _computed(self, numbers: list[int], compute: Callable[[Stretch], None]) -> Iterator[Stretch]:
        stretches = [(number, number + 1) for number in numbers]
        return in_order(stretches, compute, self._workers, self._threads, self._slices.check)

    def _whole(self, stretch: Stretch) -> None:
        with torch.inference_mode():
            inputs, placement = self._slices.inputs(stretch, torch.device("cpu"))
            logits = self._slices.calibrated(self._engine.logits(inputs))
            self._shape = (int(logits.shape[2]), int(logits.shape[3]))
            self._regions[stretch[0]] = only_region(logits[0, 0].numpy(), self._pixel_mm2(placement))
            self._slices.put(stretch, logits, placement)

    def _between(self, stretch: Stretch) -> None:
        window = self._windows[stretch[0]]
        if window is None or self._engine.window_logits is None:
            self._whole(stretch)
            return
        with torch.inference_mode():
            inputs, placement = self._slices.inputs(stretch, torch.device("cpu"))
            found = self._slices.calibrated(self._engine.window_logits(inputs, window))
            top, bottom, left, right = exact_part(window, self._shape)
            inner = found[..., top - window[0] : bottom - window[0], left - window[2] : right - window[2]]
            pixel_mm2 = self._pixel_mm2(placement)
            if is_settled(inner[0, 0].numpy(), (top, bottom, left, right), self._shape, pixel_mm2):
                logits = torch.full_like(inputs, -LOGIT_LIMIT)
                logits[..., top:bottom, left:right] = inner
                self._in_window.append(stretch[0])
            else:
                logits = self._slices.calibrated(self._engine.logits(inputs))
            self._slices.put(stretch, logits, placement)

    def _pixel_mm2(self, placement: Placement) -> float:
        row_mm, column_mm = self._slices.pixel_mm
        return placement.rows.step * row_mm * placement.columns.step * column_mm
