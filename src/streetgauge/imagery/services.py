"""An image that a service of open street imagery has, and what all such services can do."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from streetgauge.errors import StreetgaugeError

__all__ = ["Box", "Found", "Service", "TooManyError", "degrees", "is_plain", "moment", "point"]


class Box(NamedTuple):
    """A part of the map, in degrees."""

    west: float
    south: float
    east: float
    north: float

    def written(self) -> str:
        """Write it as both APIs want it."""
        return ",".join(f"{value:.7f}" for value in self)

    def quarters(self) -> tuple[Box, Box, Box, Box]:
        """Cut it in four."""
        lon, lat = (self.west + self.east) / 2, (self.south + self.north) / 2
        return (
            Box(self.west, self.south, lon, lat),
            Box(lon, self.south, self.east, lat),
            Box(self.west, lat, lon, self.north),
            Box(lon, lat, self.east, self.north),
        )


class Found(NamedTuple):
    """One image, as a service describes it.

    ``heading`` is where it looks to in degrees (of a panorama: where its middle does);
    ``captured_at`` is ISO 8601 in UTC, "" if unknown; ``address`` is where it is fetched, "" if
    that must be asked for when it is.
    """

    image_id: str
    lat: float
    lon: float
    heading: float
    panorama: bool
    captured_at: str
    licence: str
    licence_url: str
    attribution: str
    source_url: str
    address: str


class TooManyError(StreetgaugeError):
    """More images lie in a box than one answer holds; ``found`` are those that it held."""

    def __init__(self, found: Sequence[Found] = ()) -> None:
        self.found = list(found)
        super().__init__("more images than one answer holds")


class Service(Protocol):
    """A service of open street imagery."""

    name: str

    def search(self, box: Box) -> list[Found]:
        """Give all usable images in a box; raise `TooManyError` if there are more."""

    def fetch(self, image_id: str, address: str) -> bytes:
        """Give the bytes of an image."""

    def stop(self) -> None:
        """End all waiting: the run is over."""

    def probe(self, box: Box) -> str:
        """Ask one cheap question, so that a wrong token or address shows; say what answered."""


def is_plain(image_id: object) -> bool:
    """Whether an id is fit to be a file's name: it comes from elsewhere."""
    return isinstance(image_id, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,80}", image_id) is not None


def point(geometry: Any) -> tuple[float, float] | None:
    """Longitude and latitude of a GeoJSON point, None if it is none on the globe."""
    try:
        lon, lat = (float(value) for value in geometry["coordinates"][:2])
    except (TypeError, KeyError, ValueError):
        return None
    return (lon, lat) if abs(lon) <= 180 and abs(lat) <= 90 else None


def degrees(value: Any) -> float | None:
    """Give a heading from 0 to below 360, None if it is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) % 360.0 % 360.0  # twice: -1e-20 % 360 is 360


def moment(value: Any) -> str:
    """Give a time (milliseconds since 1970, or ISO 8601) in UTC, "" if it is none."""
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
        else:
            time = datetime.fromtimestamp(value / 1000, UTC)
        time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (TypeError, ValueError, OverflowError, OSError):
        return ""
