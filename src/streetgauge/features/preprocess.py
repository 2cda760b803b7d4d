"""From images' files to a backbone's input, as its record has it and as stores hold it.

What an image's features are depends on nothing but the image: not on the others in its batch, nor
on its position among them. So work can be cut anyhow, here and on a cluster, and gives the same
bits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from streetgauge.features.backbones import Backbone
from streetgauge.features.store_file import SIGNATURE
from streetgauge.imagery import QUALITY, ImageError, ImageSource, decode, decode_cuts, quality_of

Pixels = npt.NDArray[np.uint8]

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
# Of these torch has the same resampler as Pillow, on vectors of 8-bit numbers.
_FAST = ("bicubic", "bilinear")
_REACH = 2  # pixels of the result that it reaches to the side
_MOST_MARGIN = 32


class _Axis(NamedTuple):
    """Pixels of the original, how many of the result they become, and where the crop begins."""

    start: int
    stop: int
    size: int
    cut: int


def prepare(image: Pixels, backbone: Backbone) -> Pixels:
    """Scale the shorter side and cut the square at the centre, in one step, or squash the image.

    The square is cut from the original, with fractions of pixels, and only that is resampled: the
    aspect ratio stays exact and the cost does not grow with a panorama's length. The result is
    that of Pillow's resampler. Where the grid allows, torch's is used, eight times as fast: it
    rounds its weights to 16 bits, so that on real images up to 2 of 100 values differ, for some
    sizes up to 8, nearly all of them by 1 of 255 and none by more than 2.

    Parameters
    ----------
    image : array of uint8, [height, width, 3]
        Red, green, blue.
    backbone : Backbone
        How.

    Returns
    -------
    array of uint8, [crop, crop, 3]
    """
    height, width = image.shape[:2]
    if backbone.squash:
        return _resized(image, backbone, (0, 0, width, height))
    grid = _grid(height, width, backbone.resize, backbone.crop)
    if grid is None or backbone.interpolation not in _FAST:
        return _by_pillow(image, backbone)
    return _by_torch(image, backbone, *grid)


def _by_pillow(image: Pixels, backbone: Backbone) -> Pixels:
    height, width = image.shape[:2]
    side = min(height, width) * backbone.crop / backbone.resize
    left, top = (width - side) / 2, (height - side) / 2
    return _resized(image, backbone, (left, top, left + side, top + side))


def _resized(image: Pixels, backbone: Backbone, box: tuple[float, float, float, float]) -> Pixels:
    square = (backbone.crop, backbone.crop)
    resized = Image.fromarray(image).resize(square, _FILTERS[backbone.interpolation], box=box)
    return np.asarray(resized)


def _by_torch(image: Pixels, backbone: Backbone, rows: _Axis, columns: _Axis) -> Pixels:
    import torch  # here: reading a store needs no torch

    part = np.ascontiguousarray(image[rows.start : rows.stop, columns.start : columns.stop])
    # As a batch of one with whole strides torch sees that channels are last, and retains that;
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

    A resampler reaches beyond the crop, so the crop is made with a margin, unless it ends where the
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
    if backbone.squash:
        rule |= {"resize": {"sides": backbone.crop, "interpolation": backbone.interpolation}}
        del rule["crop"]
    return json.dumps(rule, sort_keys=True)


def exact_json(backbone: Backbone, precision: str) -> str:
    """Write which layers are not rounded, where others are, as JSON; empty if there are none.

    Of two stores in bfloat16 or int8 whose texts differ, features differ by more than rounding.
    """
    return json.dumps(backbone.exact) if backbone.exact and precision != "float32" else ""


# An image's file, or why it could not be read.
Raw = bytes | ImageError


class DecodedBatch(NamedTuple):
    """What a batch of n images is.

    Parameters
    ----------
    pixels : array of uint8, [n, crop, crop, 3]
        Ready for the network; zeros where an image cannot be read.
    reasons : list of n
        Why an image cannot be read; None if it can.
    signatures : array of uint8, [n, 16]
        What each image's content is.
    quality : array of QUALITY, [n]
        Measured on ``pixels``; zeros where an image cannot be read.
    """

    pixels: Pixels
    reasons: list[str | None]
    signatures: npt.NDArray[np.uint8]
    quality: npt.NDArray[np.void]

    @property
    def whole(self) -> npt.NDArray[np.bool_]:
        """Which images could be read, [n]."""
        return np.array([reason is None for reason in self.reasons], dtype=bool)


def _plain_buffer(shape: tuple[int, ...]) -> Pixels:
    return np.zeros(shape, dtype=np.uint8)


def preprocess_batch(
    rows: Sequence[ImageSource],
    raws: Sequence[Raw],
    backbone: Backbone,
    buffer: Callable[[tuple[int, ...]], Pixels] = _plain_buffer,
) -> DecodedBatch:
    """Decode images and prepare them for a network.

    Parameters
    ----------
    rows : sequence of ImageSource, [n]
        Where they are, and what is cut from them.
    raws : sequence of bytes or ImageError, [n]
        Their files, as `raw_images` gives them: neighbours that are one file are decoded once.
    backbone : Backbone
        What the network expects.
    buffer : callable
        Gives zeros of a shape, for the pixels.

    Returns
    -------
    DecodedBatch
    """
    side = backbone.crop
    pixels = buffer((len(rows), side, side, 3))
    reasons: list[str | None] = []
    quality = np.zeros(len(rows), dtype=QUALITY)
    for _, group in groupby(range(len(rows)), lambda i: id(raws[i])):
        at = list(group)
        for i, one in zip(at, _decoded(raws[at[0]], rows, at), strict=True):
            if isinstance(one, ImageError):
                reasons.append(one.reason)
                continue
            pixels[i] = prepare(one, backbone)
            quality[i] = quality_of(pixels[i])
            reasons.append(None)
    return DecodedBatch(pixels, reasons, signatures_of(rows, raws), quality)


def _decoded(raw: Raw, rows: Sequence[ImageSource], at: list[int]) -> Sequence[Pixels | ImageError]:
    if isinstance(raw, ImageError):
        return [raw] * len(at)
    try:
        if len(at) == 1:
            return [decode(raw, rows[at[0]].cut)]
        return decode_cuts(raw, [rows[i].cut for i in at])
    except ImageError as error:
        return [error] * len(at)


def signatures_of(rows: Sequence[ImageSource], raws: Sequence[Raw]) -> npt.NDArray[np.uint8]:
    """Fingerprints of images' content, and of what is cut from them: uint8, [n, 16]."""
    signatures = np.zeros((len(rows), SIGNATURE), dtype=np.uint8)
    last: Any = None
    for i, (row, raw) in enumerate(zip(rows, raws, strict=True)):
        if raw is not last:
            content = raw.reason.encode() if isinstance(raw, ImageError) else raw
            last, of_file = raw, hashlib.sha256(content)
        whole = of_file.copy()
        whole.update(repr(row.cut).encode())
        signatures[i] = np.frombuffer(whole.digest()[:SIGNATURE], dtype=np.uint8)
    return signatures
