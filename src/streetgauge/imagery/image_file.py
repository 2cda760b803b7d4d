"""An image file, opened with care: one short reason if it is broken, else its position and heading.

Where a photograph was taken, which way it faces and whether it is a panorama are read from EXIF
(CIPA DC-008, GPS IFD), from Google's photo sphere metadata in XMP (``GPano``), and from the
description that Mapillary's app writes. Text of a file is searched, never parsed as XML.
"""

from __future__ import annotations

import json
import math
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import IO, Any, NamedTuple

from PIL import Image, UnidentifiedImageError

from streetgauge.errors import StreetgaugeError

__all__ = ["MAX_PIXELS", "ExifInfo", "ImageError", "opened", "panorama_heading", "read_exif"]

MAX_PIXELS = 100_000_000
# Of images with more pixels one is decoded at a time, whatever the number of threads: each takes
# about 12 bytes a pixel, all together as much as a machine has.
LARGE = 20_000_000
_ALONE = threading.RLock()

# Only formats that hold images and nothing else: others of Pillow's readers start programs (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")

# What Pillow's readers raise on damaged files, as its documentation and its fuzz tests have it; a
# RuntimeError is what the one of AVIF raises for all that its decoder reports.
DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError, struct.error),
    *(RuntimeError, ArithmeticError, AssertionError, AttributeError),
)

# Those of them with which readers have their own messages.
_WITH_MESSAGE = (OSError, SyntaxError, ValueError, EOFError, RuntimeError)


# What Pillow would print of single images, with lines of its source, is a reason here or nothing:
# it warns of 90 million pixels, which are allowed, and of odd tags that nobody reads.
warnings.filterwarnings("ignore", module=r"PIL\.")


_GPS = 0x8825
_DESCRIPTION = 270
_MOST = 1 << 18  # characters of metadata that are searched
# As an attribute (GPano:PoseHeadingDegrees="90") or an element (...>90</GPano:...).
_GPANO = r"GPano:{}\s*(?:=\s*[\"']|>)\s*([^\"'<]{{1,40}})"
_HEADING = re.compile(_GPANO.format("PoseHeadingDegrees"))
_PROJECTION = re.compile(_GPANO.format("ProjectionType"))


class ImageError(StreetgaugeError):
    """An image that cannot be read; the message is a short reason, fit for a table.

    Parameters
    ----------
    reason : str
        What is wrong with the file, without its name.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@contextmanager
def opened(handle: IO[bytes], max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open an image: its header is read, its pixels are not.

    Whatever goes wrong inside of the block because of the file is raised as `ImageError`. Where
    the image is large, no other thread is in such a block with another large one.

    Raises
    ------
    ImageError
        If it is truncated, damaged, larger than allowed or not an image at all.
    """
    try:
        with Image.open(handle, formats=_formats()) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError(f"{width} x {height} pixels are more than {max_pixels:,}")
            with _ALONE if width * height > LARGE else nullcontext():
                yield image
    except UnidentifiedImageError:
        raise ImageError("the file is not an image of a known format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"more pixels than {max_pixels:,}") from None
    except DAMAGE as error:
        raise ImageError(f"the image is damaged: {_message_of(error)}") from None


def _message_of(error: BaseException) -> str:
    """Give a reader's message, if it is written for people, without Python's names."""
    message = str(error).partition("\n")[0][:120]
    if "MAX_TEXT" in message:  # PNG: a small file that unpacks to any number of letters
        return "its text comments are larger than an image's may be"
    # What Python itself reports of a reader that stumbled is about the reader.
    if not isinstance(error, _WITH_MESSAGE) or " " not in message:
        return "its parts do not fit together"
    # Counts of bytes would make a reason of its own of every file.
    return re.sub(r" \(\d+ bytes not processed\)", "", message)


@cache
def _formats() -> tuple[str, ...]:
    """Those of the formats that this build of Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


class ExifInfo(NamedTuple):
    """Where a photograph was taken, and which way it faces, by its own metadata.

    Parameters
    ----------
    lat, lon : float
        Degrees; NaN if it has none.
    heading : float
        Which way it faces (of a panorama: its middle), degrees from north, 0 to 360; NaN if it has
        none. A magnetic direction is taken as it is.
    panorama : bool
        Whether its metadata call it an equirectangular panorama.
    """

    lat: float
    lon: float
    heading: float
    panorama: bool


def read_exif(handle: IO[bytes]) -> ExifInfo:
    """Read the metadata of a photograph; its pixels are not decoded.

    Raises
    ------
    ImageError
        If it is not an image.
    """
    with opened(handle) as image:
        exif = image.getexif()
        gps = exif.get_ifd(_GPS)
        lat, lon = _angle(gps, 2, "S", 90), _angle(gps, 4, "W", 180)
        heading = _direction(exif)
        own = _pose(image)
        projection = _PROJECTION.search(_xmp(image))
    if math.isnan(lat) or math.isnan(lon) or (lat == 0 and lon == 0):  # 0, 0: no fix
        lat = lon = math.nan
    panorama = projection is not None and projection[1].strip().lower() == "equirectangular"
    return ExifInfo(lat, lon, _turn(own if panorama and not math.isnan(own) else heading), panorama)


def panorama_heading(image: Image.Image) -> float:
    """Which way the middle of a panorama faces, by its XMP or EXIF; NaN if it has neither."""
    pose = _pose(image)
    if math.isnan(pose) and image.width == 2 * image.height:
        return _turn(_direction(image.getexif()))
    return pose


def _pose(image: Image.Image) -> float:
    match = _HEADING.search(_xmp(image))
    return _turn(_number(match[1])) if match else math.nan


def _direction(exif: Image.Exif) -> float:
    """Which way a photograph faces, by its camera or Mapillary's app; NaN if neither wrote it."""
    heading = _number(exif.get_ifd(_GPS).get(17))
    return _described(exif.get(_DESCRIPTION)) if math.isnan(heading) else heading


def _xmp(image: Image.Image) -> str:
    for key in ("xmp", "XML:com.adobe.xmp"):
        text = image.info.get(key)
        if text:
            plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
            return plain[:_MOST]
    return ""


def _angle(gps: dict[int, Any], tag: int, negative: str, limit: float) -> float:
    """Degrees from degrees, minutes and seconds; the tag before has the half of the Earth."""
    parts = gps.get(tag)
    if not isinstance(parts, tuple) or not 1 <= len(parts) <= 3:
        return math.nan
    numbers = [_number(part) for part in parts]
    value = sum(number / 60**power for power, number in enumerate(numbers))
    sign = -1 if str(gps.get(tag - 1, "")).strip("\0 ").upper() == negative else 1
    return sign * value if abs(value) <= limit else math.nan  # a NaN is not


def _described(text: object) -> float:
    """Heading that Mapillary's app writes into the image's description, as JSON."""
    if not isinstance(text, str) or not text.startswith("{"):
        return math.nan
    try:
        content = json.loads(text[:_MOST])
    except (ValueError, RecursionError):
        return math.nan
    compass = content.get("MAPCompassHeading") if isinstance(content, dict) else None
    return _number(compass.get("TrueHeading")) if isinstance(compass, dict) else math.nan


def _number(value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _turn(degrees: float) -> float:
    return degrees % 360 % 360 if not math.isnan(degrees) else math.nan  # twice: -1e-20 % 360 = 360
