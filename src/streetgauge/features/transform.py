"""From a picture of any size to a backbone's input, as its record says and as stores keep it."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
from PIL import Image

from streetgauge.features.backbones import Backbone

__all__ = ["prepare", "transform_json"]

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


def prepare(picture: npt.NDArray[np.uint8], backbone: Backbone) -> npt.NDArray[np.uint8]:
    """Scale the shorter side and cut the square at the centre, in one step.

    The square is cut from the original, with fractions of pixels, and only that is resampled: the
    aspect ratio is kept exactly and the cost does not grow with a panorama's length.

    Parameters
    ----------
    picture : array of uint8, [height, width, 3]
        Red, green, blue.
    backbone : Backbone
        Says how.

    Returns
    -------
    array of uint8, [crop, crop, 3]
    """
    height, width = picture.shape[:2]
    side = min(height, width) * backbone.crop / backbone.resize
    left, top = (width - side) / 2, (height - side) / 2
    resized = Image.fromarray(picture).resize(
        (backbone.crop, backbone.crop),
        _FILTERS[backbone.interpolation],
        box=(left, top, left + side, top + side),
    )
    return np.asarray(resized)


def transform_json(backbone: Backbone) -> str:
    """Write the rule from picture to input as JSON: stores with equal text are comparable."""
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
