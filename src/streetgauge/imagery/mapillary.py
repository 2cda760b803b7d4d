"""Mapillary, through version 4 of its Graph API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from streetgauge.imagery.services import Box, Found, TooManyError, degrees, is_plain, moment, point
from streetgauge.io.http import RequestError, WebService, read_token
from streetgauge.settings import MapillaryImagery

__all__ = ["Mapillary"]

# All that is asked of an image. Its file's address expires, so that is asked for at the download.
FIELDS = (
    *("id", "geometry", "computed_geometry", "compass_angle", "computed_compass_angle"),
    *("captured_at", "camera_type", "is_pano", "creator"),
)
FILE = "thumb_2048_url"  # 2,048 pixels wide, also of panoramas
MOST = 2000  # images of one answer, which has no next page
# Kinds of cameras, as OpenSfM names them.
FLAT, ROUND = ("perspective", "brown"), ("spherical", "equirectangular")
LICENCE, LICENCE_URL = "CC-BY-SA-4.0", "https://creativecommons.org/licenses/by-sa/4.0/"


class Mapillary:
    """Search for and fetch images of Mapillary's contributors.

    Where the service has computed position and heading itself (structure from motion), these are
    taken, else what the camera said. Fisheye images are left alone: they show no view as the
    others do.

    Parameters
    ----------
    settings : MapillaryImagery
        Token's place, rate, dates, kinds of images.

    Raises
    ------
    InputError
        If there is no token.

    References
    ----------
    Mapillary API documentation, https://www.mapillary.com/developer/api-documentation
    """

    name = "mapillary"

    def __init__(self, settings: MapillaryImagery) -> None:
        self._settings = settings
        token = read_token(
            settings.token_variable, "Mapillary", "https://www.mapillary.com/dashboard/developers"
        )
        self._client = WebService(
            "Mapillary", settings.endpoint, settings.requests_per_second, f"OAuth {token}"
        )

    def search(self, box: Box) -> list[Found]:
        """Give all usable images in a box of less than 0.01 square degrees.

        Raises
        ------
        TooManyError
            If there are more than one answer holds.
        RequestError
            If there is no answer.
        """
        try:
            answer = self._ask(box, ",".join(FIELDS), MOST)
        except RequestError as error:
            if error.status == 500 and "reduce the amount" in error.message:
                raise TooManyError from None
            raise
        rows = answer.get("data")
        if not isinstance(rows, list):
            raise RequestError("the response has no list of images", 200)
        found = [image for row in rows if (image := _read(row)) is not None]
        if len(rows) >= MOST:
            raise TooManyError(found)
        return found

    def fetch(self, image_id: str, address: str) -> bytes:
        """Ask for the image's present address, and fetch it."""
        answer = self._client.json(f"{self._settings.endpoint}/{image_id}", {"fields": FILE})
        present = answer.get(FILE)
        if not isinstance(present, str):
            raise RequestError("it has no file any more", 404)
        return self._client.file(present)

    def stop(self) -> None:
        """End all waiting: the run is over."""
        self._client.stop()

    def probe(self, box: Box) -> str:
        """Ask for one image's id."""
        self._ask(box, "id", 1)
        return "Mapillary answers and accepts the token"

    def _ask(self, box: Box, fields: str, limit: int) -> dict[str, Any]:
        settings = self._settings
        only = {"only": "true", "never": "false"}.get(settings.panoramas)
        after = settings.newest and settings.newest + timedelta(days=1)
        return self._client.json(
            f"{settings.endpoint}/images",
            {
                "fields": fields,
                "bbox": box.written(),
                "limit": limit,
                "is_pano": only,
                "start_captured_at": settings.oldest and f"{settings.oldest}T00:00:00Z",
                "end_captured_at": after and f"{after}T00:00:00Z",
            },
        )


def _read(row: Any) -> Found | None:
    """Read one image of an answer; None if it cannot be used."""
    if not isinstance(row, dict) or not is_plain(row.get("id")):
        return None
    place = point(row.get("computed_geometry")) or point(row.get("geometry"))
    heading = degrees(row.get("computed_compass_angle"))
    heading = degrees(row.get("compass_angle")) if heading is None else heading
    kind = row.get("camera_type")
    if place is None or heading is None or kind not in (None, *FLAT, *ROUND):
        return None
    creator = row.get("creator")
    named = creator.get("username") if isinstance(creator, dict) else None
    return Found(
        image_id=row["id"],
        lat=place[1],
        lon=place[0],
        heading=heading,
        panorama=row.get("is_pano") is True or kind in ROUND,
        captured_at=moment(row.get("captured_at")),
        licence=LICENCE,
        licence_url=LICENCE_URL,
        attribution=f"{named or 'a contributor'}, Mapillary",
        source_url=f"https://www.mapillary.com/app/?pKey={row['id']}&focus=photo",
        address="",
    )
