"""What a photograph says of itself: where it was taken, where it looks, whether it is a panorama.

Read from EXIF (CIPA DC-008, GPS IFD), from Google's photo sphere metadata in XMP (``GPano``), and
from the description that Mapillary's app writes. Text of a file is searched, never parsed as XML.
"""

from __future__ import annotations

import json
import math
import re
from typing import IO, Any, NamedTuple

from PIL import Image

from streetgauge.imagery.image_file import opened

__all__ = ["ExifInfo", "read_exif", "panorama_heading"]

_GPS = 0x8825
_DESCRIPTION = 270
_MOST = 1 << 18  # characters of metadata that are searched
# As an attribute (GPano:PoseHeadingDegrees="90") or an element (...>90</GPano:...).
_GPANO = r"GPano:{}\s*(?:=\s*[\"']|>)\s*([^\"'<]{{1,40}})"
_HEADING = re.compile(_GPANO.format("PoseHeadingDegrees"))
_PROJECTION = re.compile(_GPANO.format("ProjectionType"))


class ExifInfo(NamedTuple):
    """What a photograph says of itself.

    Parameters
    ----------
    lat, lon : float
        Degrees; NaN if it does not say.
    heading : float
        Where it looks (of a panorama: where its middle does), degrees from north, 0 to 360; NaN if
        it does not say. A magnetic direction is taken as it is.
    panorama : bool
        Whether it says that it is an equirectangular panorama.
    """

    lat: float
    lon: float
    heading: float
    panorama: bool


def read_exif(handle: IO[bytes]) -> ExifInfo:
    """Read what a photograph says of itself; its pixels are not decoded.

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
    """Where the middle of a panorama looks, as the file says in XMP or EXIF; NaN if it does not."""
    pose = _pose(image)
    if math.isnan(pose) and image.width == 2 * image.height:
        return _turn(_direction(image.getexif()))
    return pose


def _pose(image: Image.Image) -> float:
    match = _HEADING.search(_xmp(image))
    return _turn(_number(match[1])) if match else math.nan


def _direction(exif: Image.Exif) -> float:
    """Where a photograph looks, as its camera or Mapillary's app says; NaN if neither does."""
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
    """Degrees from degrees, minutes and seconds; the tag before says which half of the Earth."""
    parts = gps.get(tag)
    if not isinstance(parts, tuple) or not 1 <= len(parts) <= 3:
        return math.nan
    numbers = [_number(part) for part in parts]
    value = sum(number / 60**place for place, number in enumerate(numbers))
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
