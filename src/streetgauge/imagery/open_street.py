"""Images of open street imagery for a study's locations: searched, chosen, fetched, credited."""

from __future__ import annotations

import itertools
import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.imagery.decoding import read_image
from streetgauge.imagery.image_file import ImageError
from streetgauge.imagery.services import (
    Box,
    Found,
    GoneError,
    Mapillary,
    Panoramax,
    Service,
    TooManyError,
)
from streetgauge.io.files import atomic_path, digest, write_json
from streetgauge.io.http import RequestError
from streetgauge.progress import Progress, silent
from streetgauge.settings import MapillaryImagery, OpenImagery, PanoramaxImagery
from streetgauge.skips import skips_frame

METRES = 111_195.0  # of a degree of latitude, on a sphere of 6,371 km
CELL = 0.01  # degrees: about 1 km; a cell's locations are searched for together
DEEPEST = 8  # a cell is cut in four so often at most, to pieces of 4 m
WORKERS = 8
# So many requests after each other that went wrong, each tried several times, are no accident.
IN_A_ROW = 4
LATER = "run the same command later: what was fetched stays"
COLUMNS = {
    **{"location_id": "str", "view": "str", "path": "str", "heading": "float64"},
    **{"panorama": "bool", "provider": "str", "image_id": "str"},
    **{"lat": "float64", "lon": "float64", "captured_at": "datetime64[ms, UTC]"},
    **{"distance_m": "float64", "licence": "str", "licence_url": "str"},
    **{"attribution": "str", "source_url": "str"},
}
Row = dict[str, Any]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Collected(NamedTuple):
    """What was collected.

    Parameters
    ----------
    images : DataFrame
        One row a view, sorted by location and view: ``location_id, view, path`` (below the
        folder), ``heading`` (of the image, or of a panorama's middle; degrees),
        ``panorama``, ``provider, image_id, lat, lon, captured_at, distance_m, licence,
        licence_url, attribution, source_url``.
    skips : DataFrame
        Locations and views without an image, with the reason.
    retryable : int
        Images that could not be fetched, and locations that could not be searched for, this time:
        another run may have them.
    """

    images: pd.DataFrame
    skips: pd.DataFrame
    retryable: int


def collect_images(
    settings: OpenImagery,
    locations: pd.DataFrame,
    folder: Path,
    work: Path,
    *,
    progress: Progress = silent,
) -> Collected:
    """Search for, choose and fetch the images of a study's locations.

    A run that was stopped goes on where it was: what was found in a part of the map is stored in
    ``work``, and an image that is there is not fetched again. An image gets its name only when
    it was fetched whole and could be decoded.

    Parameters
    ----------
    settings : OpenImagery
        From where, which images, how fast.
    locations : DataFrame
        ``location_id``, ``lat``, ``lon`` (degrees; missing: the location is skipped).
    folder : Path
        Where the images go, as ``<end of id>/<id>.jpg``.
    work : Path
        Where answers are stored until all is there; the caller removes it.

    Returns
    -------
    Collected

    Raises
    ------
    InputError
        If the token is missing or refused, the service does not answer or wants to be left alone,
        or there is not one image.
    """
    service = _service(settings)
    workers = max(1, min(WORKERS, math.ceil(settings.requests_per_second)))
    _remove_parts(folder)
    placed = locations.dropna(subset=["lat", "lon"]).sort_values("location_id", ignore_index=True)
    lost = sorted(set(locations["location_id"]) - set(placed["location_id"]))
    skips: list[Row] = [{"location_id": each, "reason": "it has no coordinates"} for each in lost]
    choices: list[Row] = []
    retryable = 0

    def search(cell: pd.DataFrame) -> tuple[list[Row], list[Row]]:
        return _search_cell(service, settings, cell, work)

    cells = _cells(placed)
    with progress("searching for images", len(cells), "squares") as advance:
        for cell, answer in _in_order(service, search, cells, workers, settings):
            if isinstance(answer, RequestError):
                reason = f"the search failed: {answer.explained}"
                retryable += len(cell)
                skips += [{"location_id": i, "reason": reason} for i in cell["location_id"]]
            else:
                choices += answer[0]
                skips += answer[1]
            advance(1)
    addresses = {str(row["image_id"]): str(row["address"]) for row in choices}
    failed: dict[str, str] = {}

    def fetch(image: tuple[str, str]) -> str | None:
        return _fetch(service, *image, folder / _name(image[0]))

    with progress("fetching images", len(addresses), "images") as advance:
        for image, wrong in _in_order(service, fetch, sorted(addresses.items()), workers, settings):
            if isinstance(wrong, RequestError):
                failed[image[0]] = f"the image could not be fetched: {wrong.explained}"
                retryable += 1
            elif wrong is not None:
                failed[image[0]] = wrong
            advance(1)
    return _outcome(settings, choices, failed, skips, retryable)


def probe(settings: OpenImagery, locations: pd.DataFrame) -> str:
    """Ask the service one cheap question around the first location.

    Raises
    ------
    InputError
        If the token is missing or refused, or there is no usable answer.
    """
    service = _service(settings)
    placed = locations.dropna(subset=["lat", "lon"])
    if placed.empty:
        raise InputError("locations", "none has coordinates", "give lat and lon")
    box = Box(*_around(placed.iloc[:1], settings.within)[0])
    try:
        status = service.probe(box)
    except RequestError as error:
        raise _no_answer(settings, error, "check the address and the network") from None
    return f"{status}; {len(placed):,} locations in {len(_cells(placed)):,} squares to search"


def credits_of(images: pd.DataFrame) -> list[dict[str, Any]]:
    """Sum up whose images are used, as their licences ask to be shown.

    Returns
    -------
    list of dict
        For each provider and licence, most images first: ``provider, licence, licence_url,
        images, contributors``, and ``line``: one sentence to show.
    """
    keys = ["provider", "licence", "licence_url"]
    rows = []
    for key, part in images.groupby(keys, sort=True):
        provider, licence, url = map(str, key)
        count, people = part["image_id"].nunique(), part["attribution"].nunique()
        names = part["attribution"].iloc[0] if people == 1 else f"{people:,} contributors"
        what = "image" if count == 1 else "images"
        line = f"{count:,} {what} by {names}, {provider.capitalize()}, {licence}"
        row = {"provider": provider, "licence": licence, "licence_url": url}
        rows.append({**row, "images": count, "contributors": people, "line": line})
    return sorted(rows, key=lambda row: -row["images"])


def _service(settings: OpenImagery) -> Service:
    if isinstance(settings, MapillaryImagery):
        return Mapillary(settings)
    assert isinstance(settings, PanoramaxImagery)
    return Panoramax(settings)


def _cells(placed: pd.DataFrame) -> list[pd.DataFrame]:
    """Cut the locations into squares of the map, from south to north."""
    squares = np.floor(placed[["lat", "lon"]] / CELL).astype("int64")
    keys = [squares["lat"], squares["lon"]]
    return [part.reset_index(drop=True) for _, part in placed.groupby(keys, sort=True)]


def _around(locations: pd.DataFrame, within: float) -> npt.NDArray[np.float64]:
    """West, south, east, north of the square around each location, in degrees."""
    lat, lon = locations["lat"].to_numpy(float), locations["lon"].to_numpy(float)
    up = np.full(len(locations), within / METRES * 1.001)
    across = up / np.maximum(np.cos(np.radians(lat)), 0.01)
    return np.column_stack([lon - across, lat - up, lon + across, lat + up])


def _search_cell(
    service: Service, settings: OpenImagery, locations: pd.DataFrame, work: Path
) -> tuple[list[Row], list[Row]]:
    """Search around the locations of a cell and choose; or read what was chosen before."""
    key = digest(
        {
            "provider": service.name,
            "settings": settings.model_dump(mode="json"),
            "locations": locations[["location_id", "lat", "lon"]].to_dict("records"),
        }
    )
    file = work / f"{key}.json"
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return stored["choices"], stored["skips"]
    except FileNotFoundError:
        pass
    around = _around(locations, settings.within)
    box = Box(*around[:, :2].min(axis=0), *around[:, 2:].max(axis=0))
    found = _search(service, box, around, 0)
    choices, skips = choose(locations, list(found.values()), settings)
    write_json({"choices": choices, "skips": skips}, file)
    return choices, skips


def _search(
    service: Service, box: Box, around: npt.NDArray[np.float64], depth: int
) -> dict[str, Found]:
    """Search a box; one with too much in it is cut in four, parts without a location skipped."""
    try:
        return {image.image_id: image for image in service.search(box)}
    except TooManyError as error:
        if depth == DEEPEST and not error.found:
            raise RequestError("more images lie at one point than one answer holds") from None
        if depth == DEEPEST:
            return {image.image_id: image for image in error.found}
    found: dict[str, Found] = {}
    for part in box.quarters():
        apart = (around[:, :2] > part[2:]).any(axis=1) | (around[:, 2:] < part[:2]).any(axis=1)
        if not apart.all():
            found |= _search(service, part, around, depth + 1)
    return found


def choose(
    locations: pd.DataFrame, found: Sequence[Found], settings: OpenImagery
) -> tuple[list[Row], list[Row]]:
    """Choose the images of each location.

    A location takes the nearest panorama, from which all its views will be cut; where there is
    none (or none is wanted), each view takes the nearest image that faces the view's heading
    within ``settings.angle``. An image belongs to one view of a location at most: that whose
    heading is closest to its own. Of equally near images, the one whose heading is closer is taken,
    then the newer one.

    Parameters
    ----------
    locations : DataFrame
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
    choices: list[Row] = []
    skips: list[Row] = []
    nothing = f"there is no open image within {settings.within:g} m"
    rows = locations[["location_id", "lat", "lon"]].itertuples(index=False, name=None)
    for location, at_lat, at_lon in rows:
        east = lon - at_lon
        east[np.abs(east) > 180] -= np.copysign(360, east[np.abs(east) > 180])  # antimeridian
        distance = METRES * np.hypot(lat - at_lat, east * np.cos(np.radians(at_lat)))
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
        reason = f"{nothing} that faces this way{ending}"
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


def _name(image_id: str) -> str:
    """Path below the folder: half a million files in one folder are slow to list."""
    return f"{image_id[-2:]}/{image_id}.jpg"


def _fetch(service: Service, image_id: str, address: str, file: Path) -> str | None:
    """Fetch an image unless it is there; give the reason if there is none for good."""
    if file.exists():
        return None
    reason = ""
    for _ in range(2):  # a "busy" page may come with the status of success
        try:
            raw = service.fetch(image_id, address)
        except GoneError as error:
            return error.reason
        try:
            with atomic_path(file) as part:
                part.write_bytes(raw)
                read_image(part)
        except ImageError as error:
            reason = error.reason
        else:
            return None
    raise RequestError(f"what was fetched cannot be used: {reason}", 200)


def _remove_parts(folder: Path) -> None:
    """Remove what a killed run had not finished writing."""
    for part in folder.glob("*/.*.tmp.jpg"):
        part.unlink()


def _in_order(
    service: Service,
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    settings: OpenImagery,
) -> Iterator[tuple[Item, Result | RequestError]]:
    """Work on items in threads and give the results in order; stop when nothing goes well."""
    bad = 0
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    rest = iter(items)
    pool = ThreadPoolExecutor(workers)
    try:
        waiting.extend((item, pool.submit(work, item)) for item in itertools.islice(rest, workers))
        while waiting:
            item, future = waiting.popleft()
            result: Result | RequestError
            try:
                result, bad = future.result(), 0
            except RequestError as error:
                result, bad = error, bad + error.transient
                if bad == IN_A_ROW:
                    raise _no_answer(settings, error, LATER) from None
            waiting.extend((one, pool.submit(work, one)) for one in itertools.islice(rest, 1))
            yield item, result
    except BaseException:  # also when a person stops the run, or the caller has an error
        service.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _no_answer(settings: OpenImagery, error: RequestError, step: str) -> InputError:
    endpoint = getattr(settings, "endpoint", "the service")
    return InputError(endpoint, f"it does not answer as it should: {error.explained}", step)


def _outcome(
    settings: OpenImagery,
    choices: list[Row],
    failed: dict[str, str],
    skips: list[Row],
    retryable: int,
) -> Collected:
    """Exclude what could not be fetched, and make the tables."""
    for row in choices:
        if (reason := failed.get(row["image_id"])) is not None:
            absent = {"location_id": row["location_id"], "view": row["view"], "reason": reason}
            skips.append(absent)
    there = [row for row in choices if row["image_id"] not in failed]
    frame = pd.DataFrame(there, columns=[*there[0]] if there else [*Found._fields])
    if frame.empty:
        counts = pd.Series([row["reason"] for row in skips]).value_counts()
        raise InputError(
            getattr(settings, "endpoint", "the service"),
            f"there is not one image for the study's locations: {counts.index[0]}",
            LATER
            if retryable
            else "widen imagery.within, imagery.angle or the dates, or use another source",
        )
    order = {view: number for number, view in enumerate(settings.views)}
    frame = frame.assign(
        path=[_name(each) for each in frame["image_id"]],
        provider=settings.model_dump()["source"],
        captured_at=pd.to_datetime(frame["captured_at"], utc=True, errors="coerce"),
        order=frame["view"].map(order),
    ).sort_values(["location_id", "order"], ignore_index=True)
    return Collected(frame[list(COLUMNS)].astype(COLUMNS), skips_frame(skips, "images"), retryable)
