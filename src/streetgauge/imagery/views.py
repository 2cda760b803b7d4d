"""Which image is which view of which location: from names, a manifest, or the photographs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.errors import InputError, closest
from streetgauge.imagery.candidates import (
    Candidate,
    Row,
    read_manifest,
    read_names,
    read_photographs,
    unknown,
)
from streetgauge.imagery.folders import Folder
from streetgauge.settings import ImagerySettings
from streetgauge.skips import AllExcludedError, skips_frame

Key = tuple[str, str]
Floats = npt.NDArray[np.floating[Any]]
RADIUS = 6_371_008.8  # metres: the Earth's mean radius (IUGG)


class _Taken(NamedTuple):
    """An image that became a view; of two for one view, the smaller tuple is the better."""

    distance: float  # metres from the location
    turned: float  # degrees from the view's heading
    name: str
    image: Candidate


def find_views(
    settings: ImagerySettings, locations: Iterable[str] | pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find the images of locations, and what is missing.

    Parameters
    ----------
    settings : ImagerySettings
        Where the images are, and by what they are identified: their names, a manifest, or EXIF.
    locations : iterable of str or DataFrame
        The study's locations in any order: their ids, or ``location_id``, ``lat``, ``lon`` (which
        images with coordinates need).

    Returns
    -------
    views : DataFrame
        One row an image: ``location_id``, ``view``, ``path`` and ``member`` (its name in the
        archive at ``path``, "" of a plain file). If it is to be cut from a panorama, ``heading``,
        ``panorama_heading`` (NaN: that of the file), ``pitch``, ``fov`` in degrees and ``size`` in
        pixels; else these are NaN. Plain files come first, by location and then in the order of
        ``settings.views``; then archives, each from front to back. Every image found is there,
        also of locations that lack another; whether it can be read is not checked.
    skips : DataFrame
        ``location_id, view, area, stage, reason``: views and locations without an image, images
        that belong to none, and what archives hold besides images.

    Raises
    ------
    InputError
        If there is no such folder, it is empty, no file fits the pattern, no image belongs to a
        location, an image could belong to two, a view has two, or the manifest cannot be used.
    """
    if not isinstance(locations, pd.DataFrame):
        ids = pd.Series(sorted(set(locations)), dtype="str")
        locations = pd.DataFrame({"location_id": ids})
    wanted = set(locations["location_id"])
    folder = Folder(settings.folder)
    skips: list[Row] = []
    gone: list[Candidate] = []
    if settings.manifest is not None:
        images, gone = read_manifest(settings, folder)
        skips += [row for one in gone if (row := _lost(settings, wanted, one))]
    elif settings.exif:
        images = list(read_photographs(settings, folder, skips))
    else:
        images = list(read_names(settings, folder, wanted, skips))
    if not images and not skips:
        _refuse_all(settings, folder)
    taken = _assigned(settings, images, locations, skips)
    if not taken:
        _refuse_unknown(settings, sorted(wanted), skips)
    skips += _missing(settings, sorted(wanted), taken, gone)
    skips += [{"reason": reason} for reason in folder.skipped]
    return _frame(settings, taken), skips_frame(skips)


def _assigned(
    settings: ImagerySettings, images: list[Candidate], table: pd.DataFrame, skips: list[Row]
) -> dict[Key, _Taken]:
    """Give each image to its location and view; of several for one view the best wins."""
    taken: dict[Key, _Taken] = {}
    wanted = set(table["location_id"])
    for image, distance in _located(settings, images, table):
        label = image.file.name
        if math.isinf(distance) and math.isnan(image.lat):
            skips.append({"reason": f"its position is unknown: {label}"})
            continue
        if distance > settings.within:
            skips.append({"reason": f"no location lies within {settings.within:g} m: {label}"})
            continue
        if row := unknown(settings, wanted, image):
            skips.append(row)
            continue
        assert image.location is not None
        views = _views_of(settings, image)
        if not views:
            reason = f"the image has no heading: {label}"
            skips.append({"reason": reason})  # what its location lacks is a row of the location
        beaten: dict[str, Row] = {}
        for view, turned in views:
            new = _Taken(distance, turned, f"{image.file.path}\0{label}", image)
            old = taken.get((image.location, view))
            if old is not None and _is_given(old.image) and _is_given(image):
                _refuse_twice(settings, image.location, view, old.image, image)
            if old is None or new[:3] < old[:3]:
                taken[image.location, view] = new
                new = old or new
            if old is not None:
                # A row of the image: the view has one, which may be broken, with a row of its own.
                name, where = new.image.file.name, f"view {view!r} of {image.location!r}"
                beaten[name] = {"reason": f"another image is closer to {where}: {name}"}
        skips += beaten.values()
    return taken


def _located(
    settings: ImagerySettings, images: list[Candidate], table: pd.DataFrame
) -> Iterator[tuple[Candidate, float]]:
    """Images with their location and its distance, which is 0 where the location is given."""
    if all(image.location is not None for image in images):
        yield from ((image, 0.0) for image in images)
        return
    if not {"lat", "lon"} <= set(table.columns):
        raise InputError(
            settings.manifest or settings.folder,
            "the images have coordinates and the locations have none",
            "give a table of locations with lat and lon",
        )
    lat = np.array([image.lat for image in images])
    lon = np.array([image.lon for image in images])
    ids, distances = LocationIndex(table).nearest(lat, lon)
    for image, location, distance in zip(images, ids.tolist(), distances.tolist(), strict=True):
        yield image._replace(location=location), distance


def _views_of(settings: ImagerySettings, image: Candidate) -> list[tuple[str, float]]:
    """Give the views that an image shows, and by how many degrees it faces past each."""
    if image.view is not None:
        return [(image.view, 0.0)]
    if image.panorama:
        return [(view, 0.0) for view in settings.views]
    if math.isnan(image.heading):
        return [(settings.views[0], 0.0)] if len(settings.views) == 1 else []
    turned = {
        view: abs((image.heading - heading + 180) % 360 - 180)
        for view, heading in settings.heading_of.items()
    }
    view = min(turned, key=lambda view: turned[view])
    return [(view, turned[view])]


def _is_given(image: Candidate) -> bool:
    """Whether it is given, and not computed, which location and view an image is of."""
    by_id = math.isnan(image.lat)
    return by_id and (image.view is not None or image.panorama)


def _lost(settings: ImagerySettings, wanted: set[str], image: Candidate) -> Row | None:
    """Return the skip of a file that the manifest names and that is not there, if it is no view."""
    if image.location is None:
        return {"reason": _not_there(image)}
    return unknown(settings, wanted, image)


def _not_there(image: Candidate) -> str:
    return f"the file that the manifest names is not there: {image.file.name}"


def _missing(
    settings: ImagerySettings, wanted: list[str], taken: dict[Key, _Taken], gone: list[Candidate]
) -> Iterator[Row]:
    suffix = " and all are needed" if settings.require == "all" else ""
    named = {
        (str(image.location), view): _not_there(image)
        for image in gone
        for view, _ in _views_of(settings, image)
    }
    for location in wanted:
        absent = [view for view in settings.views if (location, view) not in taken]
        if len(absent) == len(settings.views) and not any((location, v) in named for v in absent):
            yield {"location_id": location, "reason": "there is no image of this location"}
            continue
        for view in absent:
            reason = named.get((location, view), "there is no image of this view")
            yield {"location_id": location, "view": view, "reason": f"{reason}{suffix}"}


def _frame(settings: ImagerySettings, taken: dict[Key, _Taken]) -> pd.DataFrame:
    order = {view: number for number, view in enumerate(settings.views)}

    def first_to_last(key: Key) -> tuple[bool, str, int, str, int]:
        file = taken[key].image.file
        packed = bool(file.member)
        return packed, file.path if packed else "", file.position, key[0], order[key[1]]

    keys = sorted(taken, key=first_to_last)
    images = [taken[key].image for key in keys]
    files = [image.file for image in images]
    cut = np.array([image.panorama for image in images], dtype=bool)
    heading = [settings.heading_of[view] for _, view in keys]
    return pd.DataFrame(
        {
            "location_id": pd.Series([location for location, _ in keys], dtype="str"),
            "view": pd.Series([view for _, view in keys], dtype="str"),
            "path": pd.Series([file.path for file in files], dtype="str"),
            "member": pd.Series([file.member for file in files], dtype="str"),
            "heading": np.where(cut, np.array(heading, dtype=float), np.nan),
            "panorama_heading": np.where(cut, [p.heading for p in images], np.nan),
            "pitch": np.where(cut, settings.pitch, np.nan),
            "fov": np.where(cut, settings.fov, np.nan),
            "size": np.where(cut, float(settings.size), np.nan),
        }
    )


def _refuse_twice(
    settings: ImagerySettings, location: str, view: str, one: Candidate, other: Candidate
) -> None:
    if settings.manifest is not None:
        raise InputError(
            other.where,
            f"view {view!r} of location {location!r} is named twice, first in "
            f"{one.where.rpartition(': ')[2]}",
            "remove one of the two",
        )
    first, second = sorted((one.where, other.where))
    raise InputError(
        settings.folder,
        f"view {view!r} of location {location!r} has two images: {first} and {second}",
        "remove one of the two, or use a pattern that fits one",
    )


def _refuse_all(settings: ImagerySettings, folder: Folder) -> None:
    there = folder.some()
    if folder.skipped and not there:
        raise InputError(
            settings.folder, f"nothing here can be read: {folder.skipped[0]}", "copy it here again"
        )
    if settings.manifest is not None:
        raise InputError(settings.manifest, "none of its files is there", "check imagery.folder")
    if not there:
        raise InputError(settings.folder, "there is no file in this folder", "put images there")
    raise InputError(
        settings.folder,
        f"no file fits the pattern {settings.pattern!r}",
        f"there are, for example, {', '.join(there)}",
    )


def _refuse_unknown(settings: ImagerySettings, wanted: list[str], skips: list[Row]) -> None:
    subject = settings.manifest or settings.folder
    ids = sorted({str(row["location_id"]) for row in skips if row.get("location_id")})
    if not ids and skips:
        raise AllExcludedError(
            subject,
            f"no image can be used: {skips[0]['reason']}",
            "check the [imagery] section and the locations' coordinates",
            skips_frame(skips),
        )
    if not ids:
        raise InputError(subject, "none of its files is there", "check imagery.folder")
    step = closest(ids[0], wanted, limit=3)
    raise AllExcludedError(
        subject,
        f"no image belongs to a location of the study: they are of {', '.join(ids[:3])}",
        f"of the study's locations, {step}" if step.startswith("there are") else step,
        skips_frame(skips),
    )


class LocationIndex:
    """Where locations are, to find the nearest.

    Parameters
    ----------
    locations : DataFrame
        ``location_id``, ``lat``, ``lon`` in degrees; those without coordinates are never nearest.
        Of several at the very same point the first by id stands for all.
    """

    def __init__(self, locations: pd.DataFrame) -> None:
        from scipy.spatial import cKDTree

        known = locations[["location_id", "lat", "lon"]].dropna().sort_values("location_id")
        known = known.drop_duplicates(["lat", "lon"])
        self._ids = known["location_id"].to_numpy(str)
        self._tree = cKDTree(_on_sphere(known["lat"].to_numpy(float), known["lon"].to_numpy(float)))

    def nearest(self, lat: Floats, lon: Floats) -> tuple[npt.NDArray[np.str_], Floats]:
        """Find the location nearest to each point, and its distance in metres, on a sphere.

        Without coordinates, of the point or of all locations, the distance is infinite.
        """
        ids = np.full(len(lat), "", dtype=self._ids.dtype if len(self._ids) else "U1")
        distance = np.full(len(lat), np.inf)
        known = ~(np.isnan(lat) | np.isnan(lon))
        if len(self._ids) and known.any():
            chord, at = self._tree.query(_on_sphere(lat[known], lon[known]))
            ids[known] = self._ids[at]
            distance[known] = 2 * RADIUS * np.arcsin(np.minimum(chord / 2, 1))
        return ids, distance


def _on_sphere(lat: Floats, lon: Floats) -> Floats:
    """Points [n, 3] on the unit sphere: there is no seam at 180 degrees and none at the poles."""
    lat, lon = np.radians(lat), np.radians(lon)
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
