"""One batch of images: from their bytes to a network's input, and from there to features.

What an image's features are depends on nothing but the image: not on the others in its batch,
nor on its place among them. So work can be cut anyhow, here and on a cluster, and gives the same
bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streetgauge.features.backbones import Backbone
from streetgauge.features.network import Network
from streetgauge.features.store import SIGNATURE
from streetgauge.features.transform import prepare
from streetgauge.imagery import (
    QUALITY,
    ImageError,
    ImageSource,
    decode,
    decode_cuts,
    quality_of,
)

__all__ = [
    "NOT_FINITE",
    "DecodedBatch",
    "Raw",
    "features_of",
    "finite",
    "preprocess_batch",
    "signatures_of",
]

Pixels = npt.NDArray[np.uint8]
# An image's file, or why it could not be read.
Raw = bytes | ImageError

# Every engine's pass through the network divides it: a batch is filled up to a multiple of it, so
# that every pass is of the same shape and takes the same way through the same instructions.
PASS = 8
# Why an image is left out whose features are not numbers to compute with.
NOT_FINITE = "the network gave no finite number"


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
        Says what the network expects.
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
        places = list(group)
        for i, one in zip(places, _decoded(raws[places[0]], rows, places), strict=True):
            if isinstance(one, ImageError):
                reasons.append(one.reason)
                continue
            pixels[i] = prepare(one, backbone)
            quality[i] = quality_of(pixels[i])
            reasons.append(None)
    return DecodedBatch(pixels, reasons, signatures_of(rows, raws), quality)


def _decoded(
    raw: Raw, rows: Sequence[ImageSource], places: list[int]
) -> Sequence[Pixels | ImageError]:
    if isinstance(raw, ImageError):
        return [raw] * len(places)
    try:
        if len(places) == 1:
            return [decode(raw, rows[places[0]].cut)]
        return list(decode_cuts(raw, [rows[i].cut for i in places]))
    except ImageError as error:
        return [error] * len(places)


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


def features_of(network: Network, pixels: Pixels) -> npt.NDArray[np.float32]:
    """Features of prepared images: uint8 [n, crop, crop, 3] -> float32 [n, D]."""
    step = PASS if network.device == "cpu" else network.batch
    short = -len(pixels) % step
    if short:
        pixels = np.concatenate([pixels, np.zeros((short, *pixels.shape[1:]), dtype=np.uint8)])
    return network.features(pixels)[: len(pixels) - short]


def finite(
    decoded: DecodedBatch, features: npt.NDArray[np.float32]
) -> tuple[DecodedBatch, npt.NDArray[np.float32]]:
    """Leave out images of which a network gave anything but finite numbers.

    Parameters
    ----------
    decoded : DecodedBatch
        The images, [n].
    features : array of float32, [n, D]
        What the network gave of them; zeros where an image could not be read.

    Returns
    -------
    decoded : DecodedBatch
        With a reason, and without a quality, for those that are left out.
    features : array of float32, [n, D]
        Zeros for those.
    """
    bad = ~np.logical_and.reduce(np.isfinite(features), axis=1)
    if not bad.any():
        return decoded, features
    named = zip(decoded.reasons, bad, strict=True)
    reasons = [NOT_FINITE if strange else reason for reason, strange in named]
    quality = decoded.quality.copy()
    quality[bad] = np.zeros((), dtype=QUALITY)
    features = np.where(bad[:, None], np.float32(0), features)
    return decoded._replace(reasons=reasons, quality=quality), features
