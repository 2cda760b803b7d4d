"""Panoramax: any instance of GeoVisio, or the catalogue of all, through their STAC API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from streetgauge.imagery.services import Box, Found, TooManyError, degrees, is_plain, moment, point
from streetgauge.io.http import RequestError, WebService, read_token
from streetgauge.settings import PanoramaxImagery

__all__ = ["Panoramax"]

MOST = 1000  # images of one answer
# SPDX names of the licences whose terms may be known by their name alone.
LICENCES = {
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "etalab-2.0": "https://spdx.org/licenses/etalab-2.0.html",
}
CLOSED = ("", "proprietary", "other", "various")


class Panoramax:
    """Search for and fetch images of Panoramax.

    Each image has its instance's licence. Images that name none are left alone.

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

    def __init__(self, settings: PanoramaxImagery) -> None:
        self._settings = settings
        token = read_token(settings.token_variable, "this instance", settings.endpoint)
        self._client = WebService(
            "Panoramax",
            settings.endpoint,
            settings.requests_per_second,
            f"Bearer {token}" if token else None,
        )

    def search(self, box: Box) -> list[Found]:
        """Give all usable images in a box.

        Raises
        ------
        TooManyError
            If there are more than one answer holds.
        RequestError
            If there is no answer.
        """
        answer = self._ask(box, MOST)
        rows = answer.get("features")
        if not isinstance(rows, list):
            raise RequestError("the response has no list of images", 200)
        found = [image for row in rows if (image := _read(row)) is not None]
        # An instance may hold its answers shorter than asked; then it says where they go on.
        if len(rows) >= MOST or (rows and "next" in _links(answer)):
            raise TooManyError(found)
        return found

    def fetch(self, image_id: str, address: str) -> bytes:
        """Fetch an image from its own instance."""
        return self._client.file(address)

    def stop(self) -> None:
        """End all waiting: the run is over."""
        self._client.stop()

    def probe(self, box: Box) -> str:
        """Ask for one image."""
        self._ask(box, 1)
        return f"Panoramax answers at {self._settings.endpoint}"

    def _ask(self, box: Box, limit: int) -> dict[str, Any]:
        oldest, newest = self._settings.oldest, self._settings.newest
        after = newest and newest + timedelta(days=1)
        period = None
        if oldest or after:
            start = f"{oldest}T00:00:00Z" if oldest else ".."
            period = f"{start}/{f'{after}T00:00:00Z' if after else '..'}"
        return self._client.json(
            f"{self._settings.endpoint}/search",
            {"bbox": box.written(), "limit": limit, "datetime": period},
        )


def _read(row: Any) -> Found | None:
    """Read one STAC item; None if it cannot be used."""
    if not isinstance(row, dict) or not is_plain(row.get("id")):
        return None
    about, assets = row.get("properties"), row.get("assets")
    if not isinstance(about, dict) or not isinstance(assets, dict):
        return None
    place, heading = point(row.get("geometry")), degrees(about.get("view:azimuth"))
    licence = str(about.get("license") or "")
    address = _address(assets)
    if place is None or heading is None or address is None or licence.lower() in CLOSED:
        return None
    inside = about.get("pers:interior_orientation")
    inside = inside if isinstance(inside, dict) else {}
    links = _links(row)
    return Found(
        image_id=row["id"],
        lat=place[1],
        lon=place[0],
        heading=heading,
        panorama=inside.get("field_of_view") == 360,
        captured_at=moment(about.get("datetime")),
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


def _links(row: dict[str, Any]) -> dict[str, str]:
    links = row.get("links")
    return {
        str(link.get("rel")): str(link.get("href", ""))
        for link in (links if isinstance(links, list) else ())
        if isinstance(link, dict)
    }


def _producers(row: dict[str, Any]) -> str:
    """Name who took the image, each once."""
    providers = row.get("providers")
    names = [
        str(each["name"])
        for each in (providers if isinstance(providers, list) else ())
        if isinstance(each, dict) and each.get("name")
    ]
    return " and ".join(dict.fromkeys(names)) or "a contributor"
