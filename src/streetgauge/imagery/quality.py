"""Images that show nothing, or not this location: measured one by one, then filtered together.

What is measured of an image is 24 bytes next to its features; what it means is decided when all
images are there, because only then is it known which of them are the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

QUALITY = np.dtype(
    [
        ("brightness", "<f4"),
        ("contrast", "<f4"),
        ("sharpness", "<f4"),
        ("uniform", "<f4"),
        ("fingerprint", "<u8"),
    ]
)
# What can be wrong with an image; of several findings the first is its name.
FINDINGS = {
    "black": "the image is black",
    "blank": "the image is blank",
    "placeholder": "the image is a notice that there is none",
    "duplicate": "the same image stands elsewhere",
    "blurred": "the image is blurred",
}
FINGERPRINT = 2  # how fingerprints are made: those made in another way cannot be the same
SIDE = 256  # pixels of the shorter side that are measured, at most twice as many

# Set apart from 90 real images of streets (54 photographs, 36 cuts of panoramas) at 224 pixels.
BLACK = 16.0  # mean brightness below, 0 to 255; the darkest of them has 45 ...
FAINT = 8.0  # ... and contrast below: a night with street lamps has more
BLANK = 3.0  # standard deviation of brightness; the least of them is 35
UNIFORM = 0.85  # share of pixels that are as bright as most, to 4 of 255; the most of them is 0.30
BRIGHT = 96.0  # mean brightness of a notice at least: its ground is light
REPEATED = 5  # locations that no one image can be of
SHARP = 0.02  # sharpness below; the least of them is 0.07, blurred by 4 of 640 pixels 0.006 to 0.03


def quality_of(pixels: npt.NDArray[np.uint8]) -> np.void:
    """Measure an image as the network sees it.

    Parameters
    ----------
    pixels : array of uint8, [height, width, 3]
        Of a large image every second, third ... pixel is measured, but for the fingerprint.

    Returns
    -------
    numpy.void of dtype QUALITY
        ``brightness`` and ``contrast`` are mean and standard deviation of green, 0 to 255;
        ``sharpness`` is the variance of its Laplacian over its own variance (Pech-Pacheco et al.
        2000, ICPR, made independent of contrast); ``uniform`` is the share of pixels within 4 of
        the most usual value; ``fingerprint`` is a hash of all pixels, never 0, whose last byte is
        `FINGERPRINT`.
    """
    step = max(1, min(pixels.shape[:2]) // SIDE)
    green = np.ascontiguousarray(pixels[::step, ::step, 1])
    few = green[::2, ::2]
    counts = np.bincount(few.ravel(), minlength=256)
    values = np.arange(256)
    mean = float(counts @ values) / few.size
    variance = float(counts @ (values - mean) ** 2) / few.size
    around = np.convolve(counts, np.ones(9, dtype=np.int64), mode="same")
    edges = _variance(_laplacian(green)) if min(green.shape) > 2 else 0.0
    sharpness = edges / variance if variance > 0 else 0.0
    hashed = hashlib.sha256(str(pixels.shape).encode())
    hashed.update(np.ascontiguousarray(pixels).data)
    fingerprint = int.from_bytes(hashed.digest()[:8], "little") & ~0xFF | FINGERPRINT
    quality = np.zeros((), dtype=QUALITY)
    quality[()] = (mean, variance**0.5, sharpness, around.max() / few.size, fingerprint)
    one: np.void = quality[()]  # type: ignore[assignment]  # a scalar, which numpy's types miss
    return one


def _laplacian(green: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    """Neighbours less four times the pixel, of all pixels but those at the edge."""
    height, width = green.shape
    line = green.astype(np.int16).ravel()  # one long row is several times as fast as many short
    found = line[2 * width :] + line[: -2 * width]
    middle = line[width:-width]
    found -= 4 * middle
    found[1:] += middle[:-1]
    found[:-1] += middle[1:]
    return found.reshape(height - 2, width)[:, 1:-1]  # those at the ends saw another row


def _variance(values: npt.NDArray[np.int16]) -> float:
    """Variance of whole numbers: their sums are exact, so in any order and everywhere the same."""
    wide = values.astype(np.float64)
    mean = float(wide.sum()) / wide.size
    np.square(wide, out=wide)
    return float(wide.sum()) / wide.size - mean**2


def findings(
    quality: npt.NDArray[np.void], locations: Sequence[str], views: Sequence[str]
) -> pd.DataFrame:
    """List what was found of every image that was measured.

    Parameters
    ----------
    quality : array of QUALITY, [N, V]
        Zero where no image was measured.
    locations : sequence of str, [N]
    views : sequence of str, [V]

    Returns
    -------
    DataFrame
        ``location_id``, ``view``, what was measured, ``n_identical`` (how many images have these
        very pixels, itself included), ``finding`` (the first of `FINDINGS` that holds, or "") and
        for each of `FINDINGS` whether it holds: an image can be several. Black is dark without
        lamps; blank has one colour; a placeholder is a light even ground with a few words, or one
        image at five locations and more; a duplicate has the pixels of another image; blurred
        is about a Gaussian blur by 4 pixels of 640 and more.
    """
    slot, view = np.nonzero(quality["fingerprint"])
    of = quality[slot, view]
    _, group, counts = np.unique(of["fingerprint"], return_inverse=True, return_counts=True)
    same = counts[group]
    pairs = np.unique(np.column_stack([group, slot]), axis=0)
    n_locations = np.bincount(pairs[:, 0], minlength=len(counts))[group]
    notice = (of["uniform"] > UNIFORM) & (of["brightness"] > BRIGHT)
    conditions = {
        "black": (of["brightness"] < BLACK) & (of["contrast"] < FAINT),
        "blank": of["contrast"] < BLANK,
        "placeholder": notice | (n_locations >= REPEATED),
        "duplicate": same > 1,
        "blurred": of["sharpness"] < SHARP,
    }
    return pd.DataFrame(
        {
            "location_id": np.asarray(locations, dtype=str)[slot],
            "view": np.asarray(views, dtype=str)[view],
            **{name: of[name] for name in QUALITY.names or ()},
            "n_identical": same.astype(np.int64),
            "finding": np.select(list(conditions.values()), list(conditions), ""),
            **conditions,
        }
    )
