"""Which image is which view of which location: from names, a manifest, or the photographs."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from streetgauge.errors import InputError, closest
from streetgauge.imagery.candidate import Candidate
from streetgauge.imagery.decoding import ImageError, ImageSource, raw_images
from streetgauge.imagery.exif import read_exif
from streetgauge.imagery.folders import Folder
from streetgauge.imagery.manifest import read_manifest
from streetgauge.imagery.nearest import LocationIndex
from streetgauge.imagery.patterns import Pattern
from streetgauge.io.remote import is_url
from streetgauge.settings import ImagerySettings
from streetgauge.skips import skips_frame

__all__ = ["find_views"]

Row = dict[str, str | None]
Key = tuple[str, str]


class _Taken(NamedTuple):
    """An image that became a view; of two for one view, the smaller tuple is the better."""

    distance: float  # metres from the location
    turned: float  # degrees from the view's heading
    name: str
    image: Candidate


def find_views(
    settings: ImagerySettings, locations: Iterable[str] | pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find the images of locations, and say what is missing.

    Parameters
    ----------
    settings : ImagerySettings
        Where the images are, and what says which is which: their names, a manifest, or EXIF.
    locations : iterable of str or DataFrame
        The study's locations in any order: their ids, or ``location_id``, ``lat``, ``lon`` (which
        images with coordinates need).

    Returns
    -------
    views : DataFrame
        One row an image: ``location_id``, ``view``, ``path`` and ``member`` (its name in the
        archive at ``path``, "" of a plain file). If it is to be cut from a panorama, ``heading``,
        ``panorama_heading`` (NaN: as the file says), ``pitch``, ``fov`` in degrees and ``size`` in
        pixels; else these are NaN. Plain files come first, by location and then in the order of
        ``settings.views``; then archives, each from front to back. Every image found is there,
        also of locations that lack another; whether it can be read is not looked at.
    skips : DataFrame
        ``location_id, view, area, stage, reason``: views and locations without an image, images
        that belong to none, and what archives hold beside images.

    Raises
    ------
    InputError
        If there is no such folder, it is empty, no file fits the pattern, no image belongs to a
        location, an image could belong to two, a view has two, or the manifest cannot be used.
    """
    places = _placed(locations)
    wanted = set(places["location_id"])
    folder = Folder(settings.folder)
    skips: list[Row] = []
    gone: list[Candidate] = []
    if settings.manifest is not None:
        images, gone = _listed(settings, folder)
        skips += [row for one in gone if (row := _lost(settings, wanted, one))]
    elif settings.exif:
        images = list(_photographs(settings, folder, skips))
    else:
        images = list(_named(settings, folder, wanted, skips))
    if not images and not skips:
        _refuse_all(settings, folder)
    taken = _assigned(settings, images, places, skips)
    if not taken:
        _refuse_strangers(settings, sorted(wanted), skips)
    skips += _missing(settings, sorted(wanted), taken, gone)
    skips += [{"reason": reason} for reason in folder.left_out]
    return _frame(settings, taken), skips_frame(skips)


def _placed(locations: Iterable[str] | pd.DataFrame) -> pd.DataFrame:
    if isinstance(locations, pd.DataFrame):
        return locations
    return pd.DataFrame({"location_id": pd.Series(sorted(set(locations)), dtype="str")})


def _named(
    settings: ImagerySettings, folder: Folder, wanted: set[str], skips: list[Row]
) -> Iterator[Candidate]:
    """Images by their names."""
    pattern = Pattern(settings.pattern, settings.views)
    only = settings.views[0] if len(settings.views) == 1 and not settings.panoramas else None
    for file in folder.files(pattern):
        owners = pattern.owners(file.name, wanted)
        if len(owners) > 1:
            first, second = sorted(owners)[:2]
            raise InputError(
                f"{settings.folder}/{file.name}",
                f"it fits view {first[1]!r} of location {first[0]!r} and view {second[1]!r} of "
                f"location {second[0]!r}",
                "use a pattern that keeps ids and views apart, or a manifest",
            )
        for location, view in owners:
            yield Candidate(
                file, location, view or only, panorama=settings.panoramas, where=file.name
            )
        if not owners and (found := pattern.stranger(file.name)):
            image = Candidate(file, found[0], found[1] or None)
            skips += [row for row in (_unknown(settings, wanted, image),) if row]


def _listed(settings: ImagerySettings, folder: Folder) -> tuple[list[Candidate], list[Candidate]]:
    """Images that a manifest names: those that are there, and those that are not."""
    assert settings.manifest is not None
    return read_manifest(
        settings.manifest,
        folder,
        panoramas=settings.panoramas,
        one_view=len(settings.views) == 1,
    )


def _photographs(
    settings: ImagerySettings, folder: Folder, skips: list[Row]
) -> Iterator[Candidate]:
    """Images that say themselves where they were taken."""
    pattern = Pattern(settings.pattern, settings.views)
    files = [file for file in folder.files(pattern) if pattern.fits(file.name)]
    for file in sorted(files, key=lambda file: (file.path, file.place)):
        try:
            if file.member or is_url(file.path):
                (raw,) = raw_images([ImageSource(file.path, file.member)])
                if isinstance(raw, ImageError):
                    raise raw
                note = read_exif(io.BytesIO(raw))
            else:
                with Path(file.path).open("rb") as handle:
                    note = read_exif(handle)
        except ImageError as error:
            skips.append({"reason": f"{error.reason}: {file.name}"})
            continue
        except OSError as error:
            why = f"the file cannot be opened: {error.strerror or error}"
            skips.append({"reason": f"{why}: {file.name}"})
            continue
        if math.isnan(note.lat):
            skips.append({"reason": f"the photograph does not say where it was taken: {file.name}"})
            continue
        yield Candidate(
            file,
            lat=note.lat,
            lon=note.lon,
            heading=note.heading,
            panorama=settings.panoramas or note.panorama,
            where=file.name,
        )


def _assigned(
    settings: ImagerySettings, images: list[Candidate], places: pd.DataFrame, skips: list[Row]
) -> dict[Key, _Taken]:
    """Give each image to its location and view; of several for one view keep the best."""
    taken: dict[Key, _Taken] = {}
    wanted = set(places["location_id"])
    for image, distance in _located(settings, images, places):
        label = image.file.name
        if distance > settings.within:
            skips.append({"reason": f"no location lies within {settings.within:g} m: {label}"})
            continue
        if row := _unknown(settings, wanted, image):
            skips.append(row)
            continue
        assert image.location is not None
        views = _views_of(settings, image)
        if not views:
            reason = f"it is not known where the image looks: {label}"
            skips.append({"reason": reason})  # what its location lacks is said of the location
        beaten: dict[str, Row] = {}
        for view, turned in views:
            new = _Taken(distance, turned, f"{image.file.path}\0{label}", image)
            old = taken.get((image.location, view))
            if old is not None and _is_told(old.image) and _is_told(image):
                _refuse_twice(settings, image.location, view, old.image, image)
            if old is None or new[:3] < old[:3]:
                taken[image.location, view] = new
                new = old or new
            if old is not None:
                # Of the image, not of the view, which has one: that may be broken, and say so.
                name, where = new.image.file.name, f"view {view!r} of {image.location!r}"
                beaten[name] = {"reason": f"another image is closer to {where}: {name}"}
        skips += beaten.values()
    return taken


def _located(
    settings: ImagerySettings, images: list[Candidate], places: pd.DataFrame
) -> Iterator[tuple[Candidate, float]]:
    """Images with their location and its distance, which is 0 where the location is told."""
    if all(image.location is not None for image in images):
        yield from ((image, 0.0) for image in images)
        return
    if not {"lat", "lon"} <= set(places.columns):
        raise InputError(
            settings.manifest or settings.folder,
            "the images have coordinates and the locations have none",
            "give a table of locations with lat and lon",
        )
    lat = np.array([image.lat for image in images])
    lon = np.array([image.lon for image in images])
    ids, distances = LocationIndex(places).nearest(lat, lon)
    for image, location, distance in zip(images, ids.tolist(), distances.tolist(), strict=True):
        yield image._replace(location=location), distance


def _views_of(settings: ImagerySettings, image: Candidate) -> list[tuple[str, float]]:
    """Give the views that an image shows, and by how many degrees it looks past each."""
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


def _is_told(image: Candidate) -> bool:
    """Whether it is told, and not reckoned, which location and view an image is of."""
    by_id = math.isnan(image.lat)
    return by_id and (image.view is not None or image.panorama)


def _unknown(settings: ImagerySettings, wanted: set[str], image: Candidate) -> Row | None:
    """Say what is strange about the location or view of an image; None if nothing is."""
    location, view = image.location, image.view
    if view is not None and view not in settings.views:
        reason = f"the view is none of {', '.join(settings.views)}"
    elif location is not None and location not in wanted:
        reason = "the location is not one of the study's"
    else:
        return None
    return {"location_id": location, "view": view, "reason": reason}


def _lost(settings: ImagerySettings, wanted: set[str], image: Candidate) -> Row | None:
    """Say what a file that the manifest names and that is not there would have been, if no view."""
    if image.location is None:
        return {"reason": _not_there(image)}
    return _unknown(settings, wanted, image)


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
    order = {view: place for place, view in enumerate(settings.views)}

    def first_to_last(key: Key) -> tuple[bool, str, int, str, int]:
        file = taken[key].image.file
        packed = bool(file.member)
        return packed, file.path if packed else "", file.place, key[0], order[key[1]]

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
            "keep one of the two",
        )
    first, second = sorted((one.where, other.where))
    raise InputError(
        settings.folder,
        f"view {view!r} of location {location!r} has two images: {first} and {second}",
        "keep one of the two, or use a pattern that fits one",
    )


def _refuse_all(settings: ImagerySettings, folder: Folder) -> None:
    there = folder.some()
    if folder.left_out and not there:
        raise InputError(
            settings.folder, f"nothing here can be read: {folder.left_out[0]}", "put it here anew"
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


def _refuse_strangers(settings: ImagerySettings, wanted: list[str], skips: list[Row]) -> None:
    subject = settings.manifest or settings.folder
    ids = sorted({str(row["location_id"]) for row in skips if row.get("location_id")})
    if not ids and skips:
        raise InputError(
            subject,
            f"no image can be used: {skips[0]['reason']}",
            "check the [imagery] section and the locations' coordinates",
        )
    if not ids:
        raise InputError(subject, "none of its files is there", "check imagery.folder")
    step = closest(ids[0], wanted, limit=3)
    raise InputError(
        subject,
        f"no image belongs to a location of the study: they are of {', '.join(ids[:3])}",
        f"of the study's locations, {step}" if step.startswith("there are") else step,
    )
