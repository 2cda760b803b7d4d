"""Services of open street imagery, Mapillary and Panoramax, and how they describe an image."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from streetgauge.errors import StreetgaugeError
from streetgauge.io.http import RequestError, WebService, read_token
from streetgauge.settings import MapillaryImagery, PanoramaxImagery

# All that is asked of an image of Mapillary. Its file's address expires, so that is asked for at
# the download.
FIELDS = (
    *("id", "geometry", "computed_geometry", "compass_angle", "computed_compass_angle"),
    *("captured_at", "camera_type", "is_pano", "creator"),
)
FILE = "thumb_2048_url"  # 2,048 pixels wide, also of panoramas
# Kinds of cameras, as OpenSfM names them.
FLAT, ROUND = ("perspective", "brown"), ("spherical", "equirectangular")
# SPDX names of the licences whose terms may be known by their name alone.
LICENCES = {
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "etalab-2.0": "https://spdx.org/licenses/etalab-2.0.html",
}
# Statuses of a file's address that has expired, or of a file that is gone.
STALE = (401, 403, 404, 410)
# Mapillary's answer to a box with too much in it has the status of a fault.
TOO_MUCH = "reduce the amount of data"
CLOSED = ("", "proprietary", "other", "various")


class Box(NamedTuple):
    """A part of the map, in degrees."""

    west: float
    south: float
    east: float
    north: float

    def written(self) -> str:
        """Write it as both APIs want it."""
        return ",".join(f"{value:.7f}" for value in self)

    def wrapped(self) -> tuple[Box, ...]:
        """Give it within -180 to 180 and -90 to 90 degrees: in two where the antimeridian cuts it.

        Locations near the antimeridian have boxes that reach beyond it.
        """
        south, north = max(self.south, -90.0), min(self.north, 90.0)
        turn = -360.0 if self.west >= 180 else 360.0 if self.east <= -180 else 0.0
        west, east = self.west + turn, self.east + turn
        if west < -180:
            return Box(west + 360, south, 180.0, north), Box(-180.0, south, east, north)
        if east > 180:
            return Box(west, south, 180.0, north), Box(-180.0, south, east - 360, north)
        return (Box(west, south, east, north),)

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

    ``heading`` is which way it faces in degrees (of a panorama: its middle);
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


class GoneError(RequestError):
    """An image that the service itself does not have any more."""

    def __init__(self, image_id: str, error: RequestError | None = None) -> None:
        why = f" ({error.explained.replace(image_id, '...')})" if error is not None else ""
        super().__init__(f"the image is gone{why}", 410)


class Service(ABC):
    """A service of open street imagery."""

    name: str
    most: int
    """Images of one response."""
    _rows: str  # where a response lists its images
    _too_much: str | None = None

    def __init__(
        self, settings: MapillaryImagery | PanoramaxImagery, credentials: str | None
    ) -> None:
        self._endpoint, rate = settings.endpoint, settings.requests_per_second
        self._web = WebService(
            self.name.capitalize(), self._endpoint, rate, credentials, self._too_much
        )
        after = settings.newest and settings.newest + timedelta(days=1)
        self._start = settings.oldest and f"{settings.oldest}T00:00:00Z"
        self._end = after and f"{after}T00:00:00Z"

    def search(self, box: Box) -> list[Found]:
        """Give all usable images in a box, which may reach over the antimeridian.

        Raises
        ------
        TooManyError
            If there are more than one response holds.
        RequestError
            If there is no response.
        """
        return [image for part in box.wrapped() for image in self._search(part)]

    def _search(self, box: Box) -> list[Found]:
        try:
            response = self._ask(box, self.most)
        except RequestError as error:
            if self._too_much is not None and self._too_much in error.message.lower():
                raise TooManyError from None
            raise
        rows = response.get(self._rows)
        if not isinstance(rows, list):
            raise RequestError("the response has no list of images", 200)
        usable = (row for row in rows if isinstance(row, dict) and _is_plain(row.get("id")))
        found = [image for row in usable if (image := self._read_image(row)) is not None]
        # A response may be shorter than asked; then it links to the next one.
        if len(rows) >= self.most or (rows and "next" in _links(response)):
            raise TooManyError(found)
        return found

    def fetch(self, image_id: str, address: str) -> bytes:
        """Give the bytes of an image.

        An address that is refused may have expired: the API is asked for the present one.

        Raises
        ------
        GoneError
            If the service does not have the image any more.
        RequestError
            If the file cannot be had now.
        """
        try:
            return self._web.file(address or self._present_address(image_id))
        except RequestError as error:
            if isinstance(error, GoneError) or error.status not in STALE:
                raise
        return self._web.file(self._present_address(image_id))

    def _present_address(self, image_id: str) -> str:
        """Ask the API where an image's file is now."""
        try:
            address = self._ask_address(image_id)
        except RequestError as error:
            if error.status in (404, 410) or "does not exist" in error.message:
                raise GoneError(image_id, error) from None
            raise
        if address is None:
            raise GoneError(image_id)
        return address

    def stop(self) -> None:
        """End all waiting: the run is over."""
        self._web.stop()

    @abstractmethod
    def probe(self, box: Box) -> str:
        """Ask one cheap question, so that a wrong token or address shows; return what answered."""

    @abstractmethod
    def _ask(self, box: Box, limit: int) -> dict[str, Any]:
        """Ask for so many images in a box."""

    @abstractmethod
    def _ask_address(self, image_id: str) -> str | None:
        """Ask for the present address of an image's file; None if it has none."""

    @abstractmethod
    def _read_image(self, row: dict[str, Any]) -> Found | None:
        """Read one image of a response; None if it cannot be used."""


class Mapillary(Service):
    """Search for and fetch images of Mapillary's contributors, through version 4 of its Graph API.

    Where the service has computed position and heading itself (structure from motion), these are
    taken, else what the camera reported. Fisheye images are never taken: they show no view as the
    others do. A box has less than 0.01 square degrees.

    Parameters
    ----------
    settings : MapillaryImagery
        Where the token is, rate, dates, kinds of images.

    Raises
    ------
    InputError
        If there is no token.

    References
    ----------
    Mapillary API documentation, https://www.mapillary.com/developer/api-documentation
    """

    name = "mapillary"
    most = 2000
    _rows = "data"
    _too_much = TOO_MUCH

    def __init__(self, settings: MapillaryImagery) -> None:
        where = "https://www.mapillary.com/dashboard/developers"
        token = read_token(settings.token_variable, "Mapillary", where)
        self._panoramas = {"only": "true", "never": "false"}.get(settings.panoramas)
        super().__init__(settings, f"OAuth {token}")

    def _ask_address(self, image_id: str) -> str | None:
        found = self._web.json(f"{self._endpoint}/{image_id}", {"fields": FILE}).get(FILE)
        return found if isinstance(found, str) else None

    def probe(self, box: Box) -> str:
        """Ask for one image's id."""
        self._ask(box.wrapped()[0], 1)
        return "Mapillary answers and accepts the token"

    def _ask(self, box: Box, limit: int) -> dict[str, Any]:
        return self._web.json(
            f"{self._endpoint}/images",
            {
                "fields": ",".join(FIELDS) if limit > 1 else "id",
                "bbox": box.written(),
                "limit": limit,
                "is_pano": self._panoramas,
                "start_captured_at": self._start,
                "end_captured_at": self._end,
            },
        )

    def _read_image(self, row: dict[str, Any]) -> Found | None:
        position = _point(row.get("computed_geometry")) or _point(row.get("geometry"))
        heading = _degrees(row.get("computed_compass_angle"))
        heading = _degrees(row.get("compass_angle")) if heading is None else heading
        kind = row.get("camera_type")
        if position is None or heading is None or kind not in (None, *FLAT, *ROUND):
            return None
        creator = row.get("creator")
        named = creator.get("username") if isinstance(creator, dict) else None
        return Found(
            image_id=row["id"],
            lat=position[1],
            lon=position[0],
            heading=heading,
            panorama=row.get("is_pano") is True or kind in ROUND,
            captured_at=_moment(row.get("captured_at")),
            licence="CC-BY-SA-4.0",
            licence_url=LICENCES["CC-BY-SA-4.0"],
            attribution=f"{named or 'a contributor'}, Mapillary",
            source_url=f"https://www.mapillary.com/app/?pKey={row['id']}&focus=photo",
            address="",
        )


class Panoramax(Service):
    """Search for and fetch images of Panoramax: any instance of GeoVisio, or the catalogue of all.

    Each image has its instance's licence. Images that name none are never taken.

    Parameters
    ----------
    settings : PanoramaxImagery
        Address, rate, dates, kinds of images.

    Raises
    ------
    InputError
        If a token is asked for and there is none.

    References
    ----------
    GeoVisio's API, https://gitlab.com/panoramax/server/api; SpatioTemporal Asset Catalogs (STAC)
    with the extensions *view* and *perspective imagery*.
    """

    name = "panoramax"
    most = 1000
    _rows = "features"

    def __init__(self, settings: PanoramaxImagery) -> None:
        token = read_token(settings.token_variable, "this instance", settings.endpoint)
        super().__init__(settings, f"Bearer {token}" if token else None)

    def probe(self, box: Box) -> str:
        """Ask for one image."""
        self._ask(box.wrapped()[0], 1)
        return f"Panoramax answers at {self._endpoint}"

    def _ask_address(self, image_id: str) -> str | None:
        response = self._web.json(f"{self._endpoint}/search", {"ids": image_id, "limit": 1})
        for row in _dicts(response.get(self._rows)):
            if row.get("id") == image_id and isinstance(row.get("assets"), dict):
                return _address(row["assets"])
        return None

    def _ask(self, box: Box, limit: int) -> dict[str, Any]:
        bounded = self._start or self._end
        period = f"{self._start or '..'}/{self._end or '..'}" if bounded else None
        parameters = {"bbox": box.written(), "limit": limit, "datetime": period}
        return self._web.json(f"{self._endpoint}/search", parameters)

    def _read_image(self, row: dict[str, Any]) -> Found | None:
        about, assets = row.get("properties"), row.get("assets")
        if not isinstance(about, dict) or not isinstance(assets, dict):
            return None
        position, heading = _point(row.get("geometry")), _degrees(about.get("view:azimuth"))
        licence = str(about.get("license") or "")
        address = _address(assets)
        if position is None or heading is None or address is None or licence.lower() in CLOSED:
            return None
        inside = about.get("pers:interior_orientation")
        links = _links(row)
        return Found(
            image_id=row["id"],
            lat=position[1],
            lon=position[0],
            heading=heading,
            panorama=isinstance(inside, dict) and inside.get("field_of_view") == 360,
            captured_at=_moment(about.get("datetime")),
            licence=licence,
            licence_url=links.get("license") or LICENCES.get(licence, ""),
            attribution=f"{_producers(row)}, Panoramax",
            source_url=links.get("self") or address,
            address=address,
        )


def _address(assets: dict[str, Any]) -> str | None:
    """Where the image is: 2,048 pixels wide where there is such a one, else the whole."""
    for name in ("sd", "hd"):
        asset = assets.get(name)
        if isinstance(asset, dict) and isinstance(asset.get("href"), str):
            return str(asset["href"])
    return None


def _dicts(rows: Any) -> list[dict[str, Any]]:
    """Those of a list's members that are objects; none if it is no list."""
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _links(row: dict[str, Any]) -> dict[str, str]:
    links = _dicts(row.get("links"))
    return {str(link.get("rel")): str(link.get("href", "")) for link in links}


def _producers(row: dict[str, Any]) -> str:
    """Name who took the image, each once."""
    names = [str(each["name"]) for each in _dicts(row.get("providers")) if each.get("name")]
    return " and ".join(dict.fromkeys(names)) or "a contributor"


def _is_plain(image_id: object) -> bool:
    """Whether an id is fit to be a file's name: it comes from elsewhere."""
    return isinstance(image_id, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,80}", image_id) is not None


def _point(geometry: Any) -> tuple[float, float] | None:
    """Longitude and latitude of a GeoJSON point, None if it is none on the globe."""
    try:
        lon, lat = (float(value) for value in geometry["coordinates"][:2])
    except (TypeError, KeyError, ValueError):
        return None
    return (lon, lat) if abs(lon) <= 180 and abs(lat) <= 90 else None


def _degrees(value: Any) -> float | None:
    """Give a heading from 0 to below 360, None if it is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) % 360.0 % 360.0  # twice: -1e-20 % 360 is 360


def _moment(value: Any) -> str:
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
