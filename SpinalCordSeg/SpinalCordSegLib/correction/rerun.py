"""The network asked again about some slices only: its answer there goes into a mask that stays as it is elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from SpinalCordSegLib.errors import ConfigurationError, GeometryError
from SpinalCordSegLib.images.volume import Volume, from_canonical, to_canonical
from SpinalCordSegLib.inference.along_cord import SIGMA_MM, average_along, reach_slices
from SpinalCordSegLib.inference.mask import MaskConfig, find_cord
from SpinalCordSegLib.inference.steady_area import steady_area

if TYPE_CHECKING:
    from SpinalCordSegLib.network.checkpoint import Checkpoint

_CONTEXT_MM = 20.0  # about one vertebral level each way says which of several regions is the cord


def rerun_slices(
    image: Volume,
    mask: Volume,
    checkpoint: Checkpoint,
    slices: tuple[int, int],
    *,
    threshold: float = 0.5,
    along_mm: float = SIGMA_MM,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Volume:
    """A new mask with ``slices`` (canonical, half-open) as the network sees them; all others stay.

    With ``along_mm`` thin ones are averaged with their neighbours over that SD (``along_cord``), and where the network
    is in doubt of the edge, the area follows that of the mask's slices around (``steady_area``), which are taken for
    certain; 0: neither.

    ``image``: as it was segmented. ``mask``: cord where not zero, on the same grid; the result is bool. Among several
    regions the one that continues the mask's neighbouring slices is taken; a slice where the network finds none becomes
    empty. Raises GeometryError (another grid), ConfigurationError (range), Cancelled, DeviceError, VoxelError.
    """
    from SpinalCordSegLib.inference.predict import predict

    if not image.same_grid(mask):
        raise GeometryError(f"the mask (shape {mask.shape}) lies on another grid than the image (shape {image.shape})")
    first, end = slices
    voxels = to_canonical(mask).voxels != 0
    if not 0 <= first < end <= voxels.shape[2]:
        raise ConfigurationError(
            f"slices {first}:{end} do not fit {voxels.shape[2]} slices: give FIRST:END within them"
        )
    reach = reach_slices(along_mm, to_canonical(image).spacing_mm[2])
    wider = max(0, first - reach), min(voxels.shape[2], end + reach)
    prediction = predict(image, checkpoint, device=device, slice_range=wider, progress=progress, cancelled=cancelled)
    merged = voxels.copy()
    averaged = _averaged(prediction.probability, wider, along_mm)
    merged[:, :, first:end] = _chosen(averaged, voxels, slices, threshold, steady=along_mm > 0)
    return from_canonical(merged, mask)


def _averaged(probability: Volume, computed: tuple[int, int], along_mm: float) -> Volume:
    """The slices that were computed, averaged among themselves: those beside them are 0 for want of an answer."""
    canonical = to_canonical(probability)
    part = Volume(canonical.voxels[:, :, computed[0] : computed[1]], canonical.ijk_to_ras)
    voxels = canonical.voxels.copy()
    voxels[:, :, computed[0] : computed[1]] = average_along(part, along_mm).voxels
    return from_canonical(voxels, probability)


def _chosen(
    probability: Volume, voxels: np.ndarray, slices: tuple[int, int], threshold: float, steady: bool
) -> np.ndarray:
    """The network's region in ``slices``, chosen and steadied with the mask around them taken for certain."""
    first, end = slices
    canonical = to_canonical(probability)
    context = max(1, round(_CONTEXT_MM / canonical.spacing_mm[2]))
    low, high = max(0, first - context), min(voxels.shape[2], end + context)
    chance = voxels[:, :, low:high].astype(np.float32)
    chance[:, :, first - low : end - low] = canonical.voxels[:, :, first:end]
    matrix = canonical.ijk_to_ras.copy()
    matrix[:, 3] = matrix @ (0, 0, low, 1)
    around = Volume(chance, matrix)
    found = find_cord(around, MaskConfig(threshold=threshold)).mask
    if steady:
        found = steady_area(found, around, threshold).mask
    return found.voxels[:, :, first - low : end - low]
