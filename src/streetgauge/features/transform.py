"""From an image of any size to a backbone's input, as its record says and as stores keep it."""

from __future__ import annotations

import json
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from streetgauge.features.backbones import Backbone

__all__ = ["exact_json", "prepare", "transform_json"]

Pixels = npt.NDArray[np.uint8]

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
# Of these torch has the same resampler as Pillow, on vectors of 8-bit numbers.
_FAST = ("bicubic", "bilinear")
_REACH = 2  # pixels of the result that it looks to the side
_MOST_MARGIN = 32


class _Axis(NamedTuple):
    """Pixels of the original, how many of the result they become, and where the crop begins."""

    start: int
    stop: int
    size: int
    cut: int


def prepare(image: Pixels, backbone: Backbone) -> Pixels:
    """Scale the shorter side and cut the square at the centre, in one step.

    The square is cut from the original, with fractions of pixels, and only that is resampled: the
    aspect ratio is kept exactly and the cost does not grow with a panorama's length. The result is
    that of Pillow's resampler. Where the grid allows, torch's is used, eight times as fast: it
    rounds its weights to 16 bits, so that on real images up to 2 of 100 values differ, for some
    sizes up to 8, nearly all of them by 1 of 255 and none by more than 2.

    Parameters
    ----------
    image : array of uint8, [height, width, 3]
        Red, green, blue.
    backbone : Backbone
        Says how.

    Returns
    -------
    array of uint8, [crop, crop, 3]
    """
    height, width = image.shape[:2]
    grid = _grid(height, width, backbone.resize, backbone.crop)
    if grid is None or backbone.interpolation not in _FAST:
        return _by_pillow(image, backbone)
    return _by_torch(image, backbone, *grid)


def _by_pillow(image: Pixels, backbone: Backbone) -> Pixels:
    height, width = image.shape[:2]
    side = min(height, width) * backbone.crop / backbone.resize
    left, top = (width - side) / 2, (height - side) / 2
    resized = Image.fromarray(image).resize(
        (backbone.crop, backbone.crop),
        _FILTERS[backbone.interpolation],
        box=(left, top, left + side, top + side),
    )
    return np.asarray(resized)


def _by_torch(image: Pixels, backbone: Backbone, rows: _Axis, columns: _Axis) -> Pixels:
    import torch  # here: reading a store needs no torch

    part = np.ascontiguousarray(image[rows.start : rows.stop, columns.start : columns.stop])
    # As a batch of one with whole strides torch sees that channels are last, and keeps them there;
    # seen as planes the result would have to be turned, which takes half as long again.
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(part.reshape(1, *part.shape)).permute(0, 3, 1, 2),
        size=(rows.size, columns.size),
        mode=backbone.interpolation,
        antialias=True,
    )
    whole: Pixels = resized[0].permute(1, 2, 0).numpy()
    crop = backbone.crop
    return whole[rows.cut : rows.cut + crop, columns.cut : columns.cut + crop]


@lru_cache(maxsize=256)
def _grid(height: int, width: int, resize: int, crop: int) -> tuple[_Axis, _Axis] | None:
    """Find whole pixels of the original that become whole pixels of the result; None if none do.

    A resampler looks beyond the crop, so the crop is made with a margin, unless it ends where the
    image does. The margin is a whole number of pixels on both sides of the resampler.
    """
    side = Fraction(min(height, width) * crop, resize)
    scale = side / crop
    if scale < 1:
        return None
    margin = -(-_REACH // scale.denominator) * scale.denominator
    rows, columns = (_axis(extent, side, crop, margin, scale) for extent in (height, width))
    return None if rows is None or columns is None else (rows, columns)


def _axis(extent: int, side: Fraction, crop: int, margin: int, scale: Fraction) -> _Axis | None:
    if side == extent:
        return _Axis(0, extent, crop, 0)
    start = (extent - side) / 2 - margin * scale
    stop = extent - start
    if margin > _MOST_MARGIN or start < 0 or start.denominator > 1:
        return None
    return _Axis(int(start), int(stop), crop + 2 * margin, margin)


def transform_json(backbone: Backbone) -> str:
    """Write the rule from image to input as JSON: stores with equal text are comparable."""
    rule = {
        "resize": {"shorter_side": backbone.resize, "interpolation": backbone.interpolation},
        "crop": {"centre": backbone.crop},
        "resampler": "pillow, antialiased, box of the crop in the original",
        "scale": backbone.scale,
        "mean": backbone.mean,
        "std": backbone.std,
        "channels": backbone.channels,
        "layer": backbone.layer,
    }
    return json.dumps(rule, sort_keys=True)


def exact_json(backbone: Backbone, precision: str) -> str:
    """Write which layers are not rounded, where others are, as JSON; empty if that is said by none.

    Of two stores in bfloat16 or int8 whose texts differ, features differ by more than rounding.
    """
    return json.dumps(backbone.exact) if backbone.exact and precision != "float32" else ""
