"""Images that every installation has, to try engines on and to compare them."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

# Photographs inside packages that are needed anyway: a temple, a flower, a person.
_PHOTOGRAPHS = (
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)


def known_images(count: int, side: int, seed: int = 0, *, drawn: bool = True) -> Pixels:
    """Give images that are the same on every machine.

    Every other one (without ``drawn``, every one) is a part of a photograph, at some scale,
    brightness and contrast. The rest are drawn with a spectrum of amplitudes 1 / frequency, as
    natural images have (Field 1987, *J. Opt. Soc. Am. A* 4), brighter above than below, with
    sharp rectangles before it: they reach colours and contrasts that the photographs do not.

    Returns
    -------
    array of uint8, [count, side, side, 3]
    """
    rng = np.random.default_rng([seed, side])
    return np.stack([(_drawn if drawn and i % 2 else _cut)(side, rng) for i in range(count)])


def _cut(side: int, rng: np.random.Generator) -> Pixels:
    """Part of a photograph."""
    photographs = _photographs()
    whole = photographs[rng.integers(len(photographs))]
    size = min(whole.size) * rng.uniform(0.35, 1)
    left, top = (rng.uniform(0, length - size) for length in whole.size)
    part = whole.resize(
        (side, side), Image.Resampling.BICUBIC, box=(left, top, left + size, top + size)
    )
    pixels = np.asarray(part, dtype=np.float64)[:, :: rng.choice([-1, 1])]
    mean = pixels.mean()
    pixels = mean * rng.uniform(0.6, 1.3) + (pixels - mean) * rng.uniform(0.6, 1.4)
    return _as_pixels(pixels)


@cache
def _photographs() -> tuple[Image.Image, ...]:
    opened = []
    for package, inner in _PHOTOGRAPHS:
        found = find_spec(package)
        assert found is not None  # a dependency
        assert found.origin is not None
        with Image.open(Path(found.origin).parent / inner) as image:
            opened.append(image.convert("RGB"))
    return tuple(opened)


def _drawn(side: int, rng: np.random.Generator) -> Pixels:
    frequencies = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    fall = np.maximum(frequencies, 1 / side) ** -rng.uniform(0.8, 1.4)
    spectra = np.fft.rfft2(rng.normal(size=(4, side, side))) * fall
    layers = np.fft.irfft2(spectra, s=(side, side))
    layers /= layers.std(axis=(1, 2), keepdims=True)
    light, colours = layers[0], layers[1:].transpose(1, 2, 0)
    sky = np.linspace(rng.uniform(0, 1.5), rng.uniform(-1, 0), side)[:, None]
    image = (light + sky)[..., None] + 0.25 * colours + rng.normal(0, 0.3, 3)
    for _ in range(rng.integers(0, 14)):
        top, left = rng.integers(0, side, 2)
        height, width = rng.integers(side // 32, side // 2, 2)
        part = image[top : top + height, left : left + width]
        part *= rng.uniform(0, 0.5)
        part += rng.normal(0, 1.1) + rng.normal(0, 0.5, 3)
    return _as_pixels(rng.uniform(70, 150) + rng.uniform(25, 65) * image)


def _as_pixels(values: npt.NDArray[np.float64]) -> Pixels:
    return np.clip(values, 0, 255).astype(np.uint8)
