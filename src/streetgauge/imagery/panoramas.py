"""Equirectangular panoramas cut into images as a camera would take them.

A panorama's columns are headings, evenly: its middle column faces the panorama's own heading. Its
rows are elevations, from straight up to straight down. A cut is the gnomonic projection (what a
lens without distortion shows) of the sphere around the viewer. Ours because py360convert takes
single points of the whole panorama, which shows false patterns where a cut is coarser than it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from streetgauge.imagery.image_file import (
    MAX_PIXELS,
    ImageError,
    direction,
    number_of,
    turned,
    xmp_text,
    xmp_value,
)

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Cut(NamedTuple):
    """Which part of a panorama a view is.

    Parameters
    ----------
    heading : float
        Which way the view faces: degrees clockwise from north, 0 to 360.
    panorama_heading : float
        Which way the panorama's middle column faces, degrees; NaN: by the file itself
        (``GPano:PoseHeadingDegrees``, else EXIF), north if it has none.
    pitch : float
        Degrees upwards from the horizon, -90 to 90.
    fov : float
        Degrees from the left to the right edge at the middle row, below 180.
    size : int
        Pixels of each side.

    Examples
    --------
    >>> Cut(heading=90.0).fov
    90.0
    """

    heading: float
    panorama_heading: float = math.nan
    pitch: float = 0.0
    fov: float = 90.0
    size: int = 448


class Part(NamedTuple):
    """Which part of a sphere a panorama shows, as shares of the sphere's width and height."""

    left: float
    top: float
    width: float
    height: float


class Sphere(NamedTuple):
    """What a panorama's metadata give of the sphere that it shows.

    Parameters
    ----------
    heading : float
        Which way the sphere's middle faces, degrees from north; NaN if not known.
    pitch, roll : float
        How its camera was held: degrees upwards, and clockwise as seen from behind it.
    part : Part or None
        What part of the sphere it shows; None for the whole.
    unread : str
        What it has for its heading, if that is not a number and nothing else gives the heading.
    """

    heading: float = math.nan
    pitch: float = 0.0
    roll: float = 0.0
    part: Part | None = None
    unread: str = ""


def read_sphere(image: Image.Image) -> Sphere:
    """Read the sphere from an open image's XMP and EXIF.

    Raises
    ------
    ImageError
        If its pitch, its roll or the part that it shows cannot be read or cannot be.
    """
    xmp = xmp_text(image)
    words = xmp_value(xmp, "GPano:PoseHeadingDegrees")
    heading = turned(number_of(words))
    heading = direction(image, xmp) if math.isnan(heading) else heading
    return Sphere(
        heading,
        _read_number(xmp, "PosePitchDegrees") or 0.0,
        _read_number(xmp, "PoseRollDegrees") or 0.0,
        _read_part(xmp, *image.size),
        words if math.isnan(heading) else "",
    )


def _read_number(xmp: str, name: str) -> float | None:
    """Read a number of the photo sphere's metadata; None if it is not there."""
    words = xmp_value(xmp, f"GPano:{name}")
    if words and math.isnan(number_of(words)):
        raise ImageError(f"the panorama's {name} is not a number: {words!a}")
    return number_of(words) if words else None


def _read_part(xmp: str, width: int, height: int) -> Part | None:
    """Read which part of the sphere an image of this size is; None if it is the whole."""
    full = [_read_number(xmp, f"FullPano{name}Pixels") for name in ("Width", "Height")]
    shown = [_read_number(xmp, f"CroppedAreaImage{name}Pixels") for name in ("Width", "Height")]
    start = [_read_number(xmp, f"CroppedArea{name}Pixels") for name in ("Left", "Top")]
    numbers = []
    for whole, part, at in zip(full, shown, start, strict=True):
        if whole is None or part is None:
            return None
        if at is None and part != whole:
            raise ImageError("the panorama's metadata do not state which part of the sphere it is")
        numbers.append((whole, part, at or 0.0))
    if all(part == whole for whole, part, _ in numbers):
        return None
    (wide, across, left), (high, down, top) = numbers
    fits = 0 < across <= wide and 0 < down <= high and 0 <= left < wide and 0 <= top <= high - down
    if not fits or not _is_double(wide, high):
        raise ImageError("the panorama's metadata crop more than there is of a sphere")
    if not _is_double(width * down, height * across / 2):  # another size, the same shape
        if _is_double(width, height):  # filled up to the whole, with its old metadata
            return None
        raise ImageError(f"the panorama's metadata describe another image than {width} x {height}")
    return Part(left / wide, top / high, across / wide, down / high)


def _is_double(width: float, height: float) -> bool:
    """Whether something is twice as wide as high, as a sphere is, but for rounding."""
    return abs(width - 2 * height) <= max(2, 0.01 * width)


def cut_panorama(panorama: Pixels, cuts: Sequence[Cut]) -> list[Pixels]:
    """Cut views out of a panorama of the whole sphere.

    Every pixel of a cut is the bilinear mean of the four around its direction. Where the cut has
    fewer pixels than the panorama, these are first averaged: the panorama is halved again and
    again, and each pixel takes from the two sizes next to its own (trilinear sampling; Williams
    1983, Pyramidal Parametrics, SIGGRAPH), so that nothing flickers or turns to moire.

    Parameters
    ----------
    panorama : array of uint8, [height, 2 * height, 3]
        The whole sphere.
    cuts : sequence of Cut
        What to cut; an unknown ``panorama_heading`` counts as north.

    Returns
    -------
    list of arrays of uint8, [cut.size, cut.size, 3]

    Raises
    ------
    ImageError
        If the image is not twice as wide as high, so not the whole sphere.

    Examples
    --------
    >>> panorama = np.zeros((64, 128, 3), np.uint8)
    >>> north, east = cut_panorama(panorama, [Cut(0.0, size=32), Cut(90.0, size=32)])
    >>> north.shape
    (32, 32, 3)
    """
    whole = Panorama(panorama)
    return [whole.cut(cut) for cut in cuts]


class Panorama:
    """A panorama from which views are cut, as `cut_panorama` does.

    Parameters
    ----------
    pixels : array of uint8, [height, width, 3]
        The sphere, or the part of it that ``sphere`` names.
    sphere : Sphere
        What is known of it.

    Raises
    ------
    ImageError
        If it is neither the whole sphere nor such a part.
    """

    def __init__(self, pixels: Pixels, sphere: Sphere | None = None) -> None:
        self._sphere = sphere or Sphere()
        if self._sphere.part is not None:
            pixels = _filled_up(pixels, self._sphere.part)
        height, width = pixels.shape[:2]
        if not _is_double(width, height):
            raise ImageError(f"a panorama is twice as wide as high, and this is {width} x {height}")
        self._width = width
        self._pyramid = _Pyramid(pixels)

    def cut(self, cut: Cut) -> Pixels:
        """Cut one view.

        Raises
        ------
        ImageError
            If the panorama does not show all of it, or its heading cannot be read.
        """
        own = cut.panorama_heading
        if math.isnan(own):
            if self._sphere.unread:
                raise ImageError(f"the panorama's heading is not a number: {self._sphere.unread!a}")
            own = 0.0 if math.isnan(self._sphere.heading) else self._sphere.heading
        turn, down, level = _directions(cut.pitch, cut.fov, cut.size)
        # As a share of the panorama's width, exact in float64 where it wraps.
        across = turn + np.float32((cut.heading - own + 180) % 360 / 360)
        if self._sphere.pitch or self._sphere.roll:
            across, down = _tilted(across, down, self._sphere)
        part = self._sphere.part
        if part is not None and not _shows(part, across, down, 1 / self._width):
            raise ImageError("the panorama does not show the whole of this view")
        return _cut(self._pyramid, self._width, across, down, level, cut.size)


def _filled_up(pixels: Pixels, part: Part) -> Pixels:
    """Fill a part up to the whole sphere with its own edges, so that means at them are right."""
    height, width = pixels.shape[:2]
    whole = round(width / part.width), round(height / part.height)
    if whole[0] * whole[1] > MAX_PIXELS:
        raise ImageError(f"the panorama's whole sphere has more than {MAX_PIXELS:,} pixels")
    extra, below = whole[0] - width, whole[1] - height
    above = min(round(part.top * whole[1]), below)
    sides = (extra // 2, extra - extra // 2)
    filled = np.pad(pixels, ((above, below - above), sides, (0, 0)), mode="edge")
    return np.roll(filled, round(part.left * whole[0]) - sides[0], axis=1)


def _shows(part: Part, across: Floats, down: Floats, pixel: float) -> bool:
    """Whether all directions lie in a part of the sphere, to a pixel (as a share of the width)."""
    right = (across - part.left + pixel) % 1
    below = down - part.top
    inside = (right <= part.width + 2 * pixel) & (below >= -2 * pixel)
    return bool((inside & (below <= part.height + 2 * pixel)).all())


def _tilted(across: Floats, down: Floats, sphere: Sphere) -> tuple[Floats, Floats]:
    """Where directions of the world lie in a sphere whose camera was not held level."""
    turn, high = 2 * math.pi * (across.astype(float) - 0.5), math.pi * (0.5 - down.astype(float))
    right, ahead = np.sin(turn) * np.cos(high), np.cos(turn) * np.cos(high)
    above = np.sin(high)
    pitch, roll = math.radians(sphere.pitch), math.radians(sphere.roll)
    ahead, above = (
        ahead * math.cos(pitch) + above * math.sin(pitch),
        above * math.cos(pitch) - ahead * math.sin(pitch),
    )
    # The camera turns clockwise, so what it sees turns counterclockwise.
    right, above = (
        right * math.cos(roll) - above * math.sin(roll),
        above * math.cos(roll) + right * math.sin(roll),
    )
    across = (np.arctan2(right, ahead) / (2 * math.pi) + 0.5).astype(np.float32)
    down = (0.5 - np.arctan2(above, np.hypot(right, ahead)) / math.pi).astype(np.float32)
    return across, down


class _Level(NamedTuple):
    """A panorama at one of its sizes: its three channels, flat."""

    width: int
    height: int
    planes: list[npt.NDArray[np.uint8]]


class _Pyramid:
    """A panorama at the sizes that are asked for; 0 is its own, 1 its half."""

    def __init__(self, panorama: Pixels) -> None:
        self._image = Image.fromarray(panorama)
        self._levels: dict[int, _Level] = {}

    def __getitem__(self, step: int) -> _Level:
        if step not in self._levels:
            image = _reduced(self._image, 2**step)
            planes = [np.asarray(plane).reshape(-1) for plane in image.split()]
            self._levels[step] = _Level(*image.size, planes)
        return self._levels[step]


def _cut(
    pyramid: _Pyramid, width: int, across: Floats, down: Floats, level: Floats, size: int
) -> Pixels:
    # How often it is to be halved: binary logarithm of the panorama's pixels by the cut's.
    level = np.maximum(level + np.float32(math.log2(width / (2 * math.pi))), 0)
    first, last = math.floor(float(level.min())), math.ceil(float(level.max()))
    out = np.zeros((3, size * size), np.float32)
    for step in range(first, last + 1):
        share = 1 - np.abs(level - np.float32(step))
        (here,) = np.nonzero(share > 0)
        if first == last:  # nothing to mix
            out = _sampled(pyramid[step], across, down)
        elif len(here):
            out[:, here] += share[here] * _sampled(pyramid[step], across[here], down[here])
    pixels = (out + np.float32(0.5)).astype(np.uint8).reshape(3, size, size)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


@lru_cache(maxsize=8)
def _directions(pitch: float, fov: float, size: int) -> tuple[Floats, Floats, Floats]:
    """Give the direction of each pixel of a cut, and how fine it is; the same for all headings.

    Returns
    -------
    turn, down : arrays of float32, [size * size]
        Angle to the right as a share of the circle, -0.5 to 0.5, and position from straight up (0)
        to straight down (1).
    level : array of float32, [size * size]
        Minus the binary logarithm of the cut's pixels to a radian at this point, the geometric mean
        of both directions.
    """
    focal = size / 2 / math.tan(math.radians(fov) / 2)
    along = (np.arange(size) + 0.5 - size / 2) / focal
    right, above = along[None, :], -along[:, None]
    tilt = math.radians(pitch)
    ahead = math.cos(tilt) - above * math.sin(tilt)
    high = math.sin(tilt) + above * math.cos(tilt)
    flat = np.hypot(right, ahead)
    turn = np.arctan2(right, np.broadcast_to(ahead, (size, size))) / (2 * math.pi)
    down = 0.5 - np.arctan2(high, flat) / math.pi
    # A flat image has focal / cos^2 pixels to a radian outwards and focal / cos around.
    from_axis = 1 / np.sqrt(1 + right**2 + above**2)
    level = 1.5 * np.log2(from_axis) - math.log2(focal)
    maps = tuple(np.ascontiguousarray(m, np.float32).ravel() for m in (turn, down, level))
    for each in maps:
        each.flags.writeable = False  # they are shared
    return maps[0], maps[1], maps[2]


def _reduced(image: Image.Image, times: int) -> Image.Image:
    """Average squares of so many pixels a side."""
    if times == 1:
        return image
    width, height = image.size
    if width % times == 0 and height % times == 0:
        return image.reduce(times)
    size = (max(1, math.ceil(width / times)), max(1, math.ceil(height / times)))
    return image.resize(size, Image.Resampling.BOX)


def _sampled(level: _Level, across: Floats, down: Floats) -> Floats:
    """Bilinear samples [3, n] at positions given as shares of the width and the height."""
    width, height = level.width, level.height
    x = across * np.float32(width) - np.float32(0.5)
    y = down * np.float32(height) - np.float32(0.5)
    left, top = np.floor(x), np.floor(y)
    x -= left
    y -= top
    column, row = left.astype(np.int64), top.astype(np.int64)
    corners = [_corner(row + j, column + i, width, height) for j in (0, 1) for i in (0, 1)]
    out = np.empty((3, len(x)), np.float32)
    # A channel at a time: numpy's arithmetic is several times slower over rows of three.
    for channel, flat in enumerate(level.planes):
        a, b, c, d = (flat.take(corner).astype(np.float32) for corner in corners)
        for one, other in ((a, b), (c, d)):
            other -= one
            other *= x
            one += other
        c -= a
        c *= y
        np.add(a, c, out=out[channel])
    return out


def _corner(
    row: npt.NDArray[np.int64], column: npt.NDArray[np.int64], width: int, height: int
) -> npt.NDArray[np.int64]:
    """Position of pixels in the flat image; it goes on at its sides, and behind each pole."""
    beyond = (row < 0) | (row >= height)
    if beyond.any():
        row = np.clip(row, 0, height - 1)
        column = np.where(beyond, column + width // 2, column)
    column = np.where(column < 0, column + width, column)
    column = np.where(column >= width, column - width, column)
    column = np.where(column >= width, column - width, column)
    return row * width + column
