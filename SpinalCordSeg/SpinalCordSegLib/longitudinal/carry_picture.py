"""The fit of two images to be judged by eye: the same planes of both, with the same outline."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from SpinalCordSegLib.errors import MissingPackageError
from SpinalCordSegLib.images.volume import Volume, input_slice_index
from SpinalCordSegLib.longitudinal.carry import CarriedMask, resample_image
from SpinalCordSegLib.reporting.montage_view import CordScene, View, chosen_slices, outline

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_TILES, _COLUMNS, _TILE_MM, _SCALE = 8, 4, 40.0, 6.0
_PLANE_MM, _PLANE_HEIGHT = 60.0, 514
_GAP, _MARGIN, _HEAD, _LABEL = 10, 20, 64, 24
_CONTOUR, _INK, _PAPER, _DOUBT = (244, 214, 49), (29, 39, 51), (255, 255, 255), (217, 115, 13)
_AROUND_MM = 30.0


def carry_picture(image: Volume, mask: Volume, target: Volume, carried: CarriedMask) -> bytes:
    """PNG: above the image that was segmented, below the other one on the same grid after the fit; left the sagittal
    plane along the cord, then axial slices from superior to inferior. Yellow: the outline, the same in both.

    Raises MissingPackageError without Pillow.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise MissingPackageError("the picture of the fit needs Pillow: install it") from error
    fitted = resample_image(image, carried.registration.fixed_to_moving, target)
    scenes = [CordScene.of(one, mask, _AROUND_MM) for one in (image, fitted)]
    filled = np.flatnonzero(scenes[0].mask.any(axis=(0, 1))).tolist()
    numbers = chosen_slices(filled, [], _TILES)[::-1]
    scale = min(_SCALE, _PLANE_HEIGHT / (scenes[0].mask.shape[2] * scenes[0].spacing_mm[2]))
    tile = round(_TILE_MM * _SCALE) + _GAP
    planes = [scene.along(1, _PLANE_MM, scale) for scene in scenes]
    beside = _MARGIN + planes[0].grey.shape[1] + _GAP
    block = max(planes[0].grey.shape[0] + _LABEL, -(-len(numbers) // _COLUMNS) * (tile + _LABEL)) + _GAP
    width = beside + min(_COLUMNS, len(numbers)) * tile + _MARGIN
    picture = Image.new("RGB", (width, _HEAD + 2 * block + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(picture)
    words = "; ".join(carried.doubts) or "no doubt was raised; look at the outline all the same"
    _write(pen, (_MARGIN, 14), f"moved {carried.moved_mm:.1f} mm, turned {carried.turned_deg:.1f} deg", _INK)
    _write(pen, (_MARGIN, 38), words.replace("°", " deg"), _DOUBT if carried.doubts else _INK)
    names = ("segmented image", "other image, after the fit")
    for number, (scene, plane, name) in enumerate(zip(scenes, planes, names, strict=True)):
        top = _HEAD + number * block
        _write(pen, (_MARGIN, top), name, _INK)
        picture.paste(_drawn(plane), (_MARGIN, top + _LABEL))
        for at, k in enumerate(numbers):
            place = beside + at % _COLUMNS * tile, top + at // _COLUMNS * (tile + _LABEL)
            _write(pen, place, f"slice {input_slice_index(mask, k)}", _INK)
            picture.paste(_drawn(scene.axial(k, _TILE_MM, _SCALE)), (place[0], place[1] + _LABEL))
            _write(pen, (place[0] + 5, place[1] + _LABEL + 3), "R", _PAPER)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _drawn(view: View) -> Picture:
    from PIL import Image

    pixels = np.repeat(np.rint(view.grey * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    pixels[outline(view.mask, 1)] = _CONTOUR
    return Image.fromarray(pixels)


def _write(pen: object, at: tuple[int, int], text: str, colour: tuple[int, int, int]) -> None:
    from PIL import ImageDraw, ImageFont

    assert isinstance(pen, ImageDraw.ImageDraw)
    plain = text.encode("ascii", "replace").decode()
    pen.text(at, plain, fill=colour, font=ImageFont.load_default(16))
