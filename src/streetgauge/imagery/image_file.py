"""An image file, opened with care: one short reason if it is broken, else its position and heading.

Where a photograph was taken, which way it faces and whether it is a panorama are read from EXIF
(CIPA DC-008, GPS IFD), from XMP (the same tags, and Google's photo sphere metadata ``GPano``), and
from the description that Mapillary's app writes. Text of a file is searched, never parsed as XML.
"""

from __future__ import annotations

import ctypes
import datetime
import io
import json
import math
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from typing import IO, Any, NamedTuple

from PIL import Image, UnidentifiedImageError

from streetgauge.errors import StreetgaugeError, summary
from streetgauge.imagery.jpeg import without_junk

MAX_PIXELS = 100_000_000
# Of images with more pixels one is decoded at a time, whatever the number of threads: each takes
# about 12 bytes a pixel, all together as much as a machine has.
LARGE = 20_000_000
_ALONE = threading.RLock()

# Only formats that hold images and nothing else: others of Pillow's readers start programs (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF", "HEIF")
# What a HEIC file has behind "ftyp" (ISO/IEC 23008-12).
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")

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
# libtiff prints by itself. Not every build of Pillow shows its functions.
with suppress(OSError, AttributeError, TypeError):
    _libtiff = ctypes.CDLL(Image.core.__file__)  # type: ignore[attr-defined]
    _libtiff.TIFFSetErrorHandler(None)
    _libtiff.TIFFSetWarningHandler(None)


_GPS = 0x8825
_EXIF = 0x8769
_DESCRIPTION = 270
_MOST = 1 << 18  # characters of metadata that are searched
# As an attribute (GPano:PoseHeadingDegrees="90") or an element (...>90</GPano:...).
_VALUE = r"{}\s*(?:=\s*[\"']|>)\s*([^\"'<]{{1,40}})"
_DAY = re.compile(r"((?:19|20)\d\d)[:_-](\d\d)[:_-](\d\d)")
_NO_POSITION = "the photograph has no coordinates"
_NO_HALF = "position unknown: the coordinates lack N or S, or E or W"


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
        with _open(handle) as image:
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


def _open(handle: IO[bytes]) -> Image.Image:
    """Open a file, also a JPEG with junk in its header that Pillow stumbles over."""
    try:
        return Image.open(handle, formats=_formats())
    except DAMAGE:
        handle.seek(0)
        start = handle.read(12)
        if start[4:8] == b"ftyp" and start[8:] in HEIC and "HEIF" not in _formats():
            reason = "this is a HEIC image; to read it, pip install 'streetgauge[heic]'"
            raise ImageError(reason) from None
        for clean in without_junk(start + handle.read()) if start[:1] == b"\xff" else ():
            with suppress(*DAMAGE):
                return Image.open(io.BytesIO(clean), formats=_formats())
        raise


def _message_of(error: BaseException) -> str:
    """Give a reader's message, if it is written for people, without Python's names."""
    message = summary(error, 120)
    if "MAX_TEXT" in message:  # PNG: a small file that unpacks to any number of letters
        return "its text comments are larger than an image's may be"
    # What Python itself reports of a reader that stumbled is about the reader.
    if not isinstance(error, _WITH_MESSAGE) or " " not in message:
        return "its parts do not fit together"
    # Counts of bytes would make a reason of its own of every file.
    return re.sub(r" \(\d+ bytes not processed\)", "", message)


@cache
def _formats() -> tuple[str, ...]:
    """Those of the formats that can be read here."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
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
    why_not : str
        Why it has no position; "" if it has one.
    """

    lat: float
    lon: float
    heading: float
    panorama: bool
    why_not: str = ""


def read_exif(handle: IO[bytes]) -> ExifInfo:
    """Read the metadata of a photograph; its pixels are not decoded.

    Raises
    ------
    ImageError
        If it is not an image.
    """
    with opened(handle) as image:
        xmp = xmp_text(image)
        lat, lon, why_not = _position(image, xmp)
        projection = xmp_value(xmp, "GPano:ProjectionType").lower()
        pose = number_of(xmp_value(xmp, "GPano:PoseHeadingDegrees"))
        heading = direction(image, xmp)
    panorama = projection == "equirectangular"
    if panorama and not math.isnan(pose):
        heading = turned(pose)
    return ExifInfo(lat, lon, heading, panorama, why_not)


def read_captured(handle: IO[bytes]) -> str:
    """Read when a photograph was taken: "2019-05-31"; "" if it does not state a day.

    From EXIF (DateTimeOriginal, else the day of GPS), else the description of Mapillary's app. The
    time at which the file was written (DateTime) is no such day.

    Raises
    ------
    ImageError
        If it is not an image.
    """
    with opened(handle) as image:
        exif = image.getexif()
        found = (
            exif.get_ifd(_EXIF).get(36867),
            exif.get_ifd(_GPS).get(29),
            _described(exif).get("MAPCaptureTime"),
        )
    for text in found:
        day = _DAY.match(text.strip()) if isinstance(text, str) else None
        with suppress(ValueError):
            if day is not None:
                return datetime.date(*map(int, day.groups())).isoformat()
    return ""


def _position(image: Image.Image, xmp: str) -> tuple[float, float, str]:
    """Latitude, longitude, and why there are none: from EXIF, else XMP, else the description."""
    exif = image.getexif()
    gps, described = exif.get_ifd(_GPS), _described(exif)
    found = (
        (_angle(gps, 2, "NS", 90), _angle(gps, 4, "EW", 180)),
        (
            _xmp_angle(xmp_value(xmp, "exif:GPSLatitude"), "NS", 90),
            _xmp_angle(xmp_value(xmp, "exif:GPSLongitude"), "EW", 180),
        ),
        (_within(described.get("MAPLatitude"), 90), _within(described.get("MAPLongitude"), 180)),
    )
    for lat, lon in found:
        # 0, 0: no fix
        if not (math.isnan(lat) or math.isnan(lon) or (lat == 0 and lon == 0)):
            return lat, lon, ""
    halves = _half(gps, 2, "NS"), _half(gps, 4, "EW")
    lacking = 2 in gps and 4 in gps and "" in halves
    return math.nan, math.nan, _NO_HALF if lacking else _NO_POSITION


def direction(image: Image.Image, xmp: str) -> float:
    """Which way a photograph faces, by its camera or Mapillary's app; NaN if neither wrote it.

    Degrees from north, 0 to 360. What is not a direction by EXIF's own rule, 0 to 360, is none.
    """
    exif = image.getexif()
    heading = _within(exif.get_ifd(_GPS).get(17), 360, 0)
    if math.isnan(heading):
        heading = _within(number_of(xmp_value(xmp, "exif:GPSImgDirection")), 360, 0)
    if math.isnan(heading):
        compass = _described(exif).get("MAPCompassHeading")
        heading = _finite(compass.get("TrueHeading")) if isinstance(compass, dict) else math.nan
    return turned(heading)


def xmp_text(image: Image.Image) -> str:
    """XMP of an image as it stands there, "" if it has none."""
    for key in ("xmp", "XML:com.adobe.xmp"):
        text = image.info.get(key)
        if text:
            plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
            return plain[:_MOST]
    return ""


def xmp_value(xmp: str, name: str) -> str:
    """Value of a property in XMP, "" if it is not there."""
    match = re.search(_VALUE.format(name), xmp)
    return match[1].strip() if match else ""


def number_of(text: str) -> float:
    """Read a number as metadata write it: ``90``, ``90/1`` or ``0,5``; NaN if it is none."""
    above, _, below = text.replace(",", ".").partition("/")
    divisor = _finite(below) if below else 1.0
    return _finite(above) / divisor if divisor else math.nan


def turned(degrees: float) -> float:
    """Give an angle from 0 to below 360."""
    return degrees % 360 % 360 if not math.isnan(degrees) else math.nan  # twice: -1e-20 % 360 = 360


def _half(gps: dict[int, Any], tag: int, halves: str) -> str:
    """Half of the Earth that the tag before names, "" if it is none of the two."""
    value = gps.get(tag - 1, "")
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    half = text.strip("\0 ").upper()
    return half if len(half) == 1 and half in halves else ""


def _angle(gps: dict[int, Any], tag: int, halves: str, limit: float) -> float:
    """Degrees from degrees, minutes and seconds; NaN without the half of the Earth."""
    parts, half = gps.get(tag), _half(gps, tag, halves)
    if not isinstance(parts, tuple) or not 1 <= len(parts) <= 3 or not half:
        return math.nan
    return _signed([_finite(part) for part in parts], half, halves, limit)


def _xmp_angle(text: str, halves: str, limit: float) -> float:
    """Degrees from XMP's ``36,48.2423S`` or ``36,48,14S``; NaN if it is none."""
    parts, half = text[:-1].split(","), text[-1:].upper()
    if not half or half not in halves or len(parts) > 3:
        return math.nan
    return _signed([_finite(part) for part in parts], half, halves, limit)


def _signed(parts: list[float], half: str, halves: str, limit: float) -> float:
    value = sum(number / 60**power for power, number in enumerate(parts))
    return _within(value if half == halves[0] else -value, limit)


def _within(value: object, high: float, low: float | None = None) -> float:
    """Give a number within bounds (of both signs unless one is given); NaN if it is none."""
    number = _finite(value)
    return number if (-high if low is None else low) <= number <= high else math.nan


def _described(exif: Image.Exif) -> dict[str, Any]:
    """Read what Mapillary's app writes into the image's description, as JSON."""
    text = exif.get(_DESCRIPTION)
    if not isinstance(text, str) or not text.startswith("{"):
        return {}
    try:
        content = json.loads(text[:_MOST])
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _finite(value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan
