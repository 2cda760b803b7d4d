"""Which of the images around a location become its views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.imagery.services import Found
from streetgauge.settings import OpenImagery

__all__ = ["METRES", "choose"]

METRES = 111_195.0  # of a degree of latitude, on a sphere of 6,371 km
Choice = dict[str, object]
Row = dict[str, str | None]


def choose(
    places: pd.DataFrame, found: Sequence[Found], settings: OpenImagery
) -> tuple[list[Choice], list[Row]]:
    """Choose the images of each location.

    A location takes the nearest panorama, from which all its views will be cut; where there is
    none (or none is wanted), each view takes the nearest image that looks to the view's heading
    within ``settings.angle``. An image belongs to one view of a location at most: that whose
    heading is closest to its own. Of equally near images, the one that looks better is taken,
    then the newer one.

    Parameters
    ----------
    places : DataFrame
        ``location_id``, ``lat``, ``lon`` in degrees.
    found : sequence of Found
        Images, in any order.
    settings : OpenImagery
        Views and headings, distance, angle, dates, panoramas or not, completeness.

    Returns
    -------
    choices : list of dict
        ``location_id``, ``view``, ``distance_m`` and all of `Found`: one a view.
    skips : list of dict
        Locations and views that have none. A location that needs all its views and lacks one has
        no choices.
    """
    images = sorted(filter(lambda each: _wanted(each, settings), found))
    lat = np.array([image.lat for image in images])
    lon = np.array([image.lon for image in images])
    heading = np.array([image.heading for image in images])
    round_ = np.array([image.panorama for image in images], dtype=bool)
    newest = np.argsort(np.argsort([image.captured_at for image in images]))
    # Degrees between each image's heading and each view's.
    apart = np.abs((heading[:, None] - np.array([*settings.heading_of.values()]) + 180) % 360 - 180)
    closest = apart.argmin(axis=1) if len(images) else np.zeros(0, dtype=int)
    choices: list[Choice] = []
    skips: list[Row] = []
    nothing = f"there is no open image within {settings.within:g} m"
    rows = places[["location_id", "lat", "lon"]].itertuples(index=False, name=None)
    for location, at_lat, at_lon in rows:
        distance = METRES * np.hypot(lat - at_lat, (lon - at_lon) * np.cos(np.radians(at_lat)))
        near = np.flatnonzero(distance <= settings.within)
        if not len(near):
            skips.append({"location_id": location, "reason": nothing})
            continue
        panoramas = near[round_[near]]
        if len(panoramas):
            one = _first(panoramas, distance, -newest)
            taken = dict.fromkeys(settings.views, one)
        else:
            taken = {}
            for number, view in enumerate(settings.views):
                turned = apart[:, number]
                fit = near[(closest[near] == number) & (turned[near] <= settings.angle)]
                if len(fit):
                    taken[view] = _first(fit, distance, turned, -newest)
        absent = [view for view in settings.views if view not in taken]
        together = settings.require == "all"
        ending = ", and all views are needed" if together else ""
        reason = f"{nothing} that looks this way{ending}"
        skips += [{"location_id": location, "view": view, "reason": reason} for view in absent]
        if absent and together:
            continue
        for view, number in taken.items():
            metres = round(float(distance[number]), 2)
            about = images[number]._asdict()
            choices.append({"location_id": location, "view": view, "distance_m": metres, **about})
    return choices, skips


def _wanted(image: Found, settings: OpenImagery) -> bool:
    day = image.captured_at[:10]
    if settings.oldest is not None and day < str(settings.oldest):
        return False
    if settings.newest is not None and not "" < day <= str(settings.newest):
        return False
    if settings.panoramas == "prefer":
        return True
    return image.panorama is (settings.panoramas == "only")


def _first(among: npt.NDArray[np.intp], *keys: npt.NDArray[np.generic]) -> int:
    """Give the one that comes first by these keys; then by its id, in whose order they are."""
    order = np.lexsort([key[among] for key in reversed(keys)])
    return int(among[order[0]])
