"""The study area: districts by code, pattern or name, a box, or a polygon."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from streetgauge.errors import InputError, closest
from streetgauge.locations.boundaries import (
    WGS84,
    checked_boundaries,
    is_boundaries,
    read_boundaries,
)


def _codes(prefix: str, first: int, last: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{number:06d}" for number in range(first, last + 1))


# The paper's four cities by the codes of their local authority districts (ONS Code History
# Database): the boroughs of London with the City, and the districts of three metropolitan counties.
PLACES: dict[str, tuple[str, ...]] = {
    "London": _codes("E09", 1, 33),
    "Greater Manchester": _codes("E08", 1, 10),
    "West Midlands": _codes("E08", 25, 31),
    "West Yorkshire": _codes("E08", 32, 36),
}
_NAMES = {name.casefold(): name for name in PLACES}

# What a postcode directory has an area lie in, and a study area may be named by.
LABELS = ("district", "ward", "county", "region", "country")
Survey = Callable[[], pd.DataFrame]


def in_place(
    areas: pd.DataFrame, place: Sequence[str], path: Path, survey: Survey | None
) -> np.ndarray[Any, Any]:
    """Find which areas lie in the named districts.

    Parameters
    ----------
    areas : DataFrame
        Indexed by area code, with a column ``district`` (codes or names, or None).
    place : sequence of str
        Codes, patterns like ``"E09*"``, names as they stand in ``district``, or names of `PLACES`;
        an area that fits any of them is in.
    path : Path
        The areas' file, named in errors.
    survey : callable, optional
        Gives for areas of a directory the columns ``district``, ``ward``, ``county``, ``region``,
        ``country``; it takes time and is asked only if ``district`` does not answer.

    Returns
    -------
    array of bool, one for each area

    Raises
    ------
    InputError
        If no area lies in one of them, with what it is close to.
    """
    chosen = np.zeros(len(areas), dtype=bool)
    for name in place:
        known = _NAMES.get(name.strip().casefold())
        codes = PLACES[known] if known else (name,)
        inside = fits(areas["district"], codes)
        if known and not inside.any():
            inside = fits(areas["district"], (name,))
        if survey is not None and not inside.any():
            surveyed = survey().reindex(areas.index)
            for label in LABELS:
                inside |= fits(surveyed[label], codes)
        if not inside.any():
            raise _nowhere(name, codes, areas, path, survey)
        chosen |= inside
    return chosen


def fits(values: pd.Series | pd.Index, patterns: Iterable[str]) -> np.ndarray[Any, Any]:
    """Find which values are like one of the patterns; a missing value is like none."""
    codes, unique = pd.factorize(values)
    chosen = np.zeros(len(unique) + 1, dtype=bool)  # the last stands for missing values, code -1
    patterns = tuple(patterns)
    plain = {pattern for pattern in patterns if not set(pattern) & set("*?[")}
    globs = [pattern for pattern in patterns if pattern not in plain]
    for position, value in enumerate(unique):
        text = str(value)
        chosen[position] = text in plain or any(fnmatchcase(text, glob) for glob in globs)
    return chosen[codes]


def in_box(
    points: np.ndarray[Any, Any], box: tuple[float, float, float, float], path: Path
) -> np.ndarray[Any, Any]:
    """Find which points (longitude, latitude; shape (n, 2)) lie in a box, its border included.

    Raises
    ------
    InputError
        If none does, with the box that they span.
    """
    west, south, east, north = box
    x, y = points.T
    inside: np.ndarray[Any, Any] = (west <= x) & (x <= east) & (south <= y) & (y <= north)
    if not inside.any():
        raise InputError(
            f"areas.bbox = {list(box)}", "no area's middle lies in it", _extent_text(points, path)
        )
    return inside


def in_polygon(points: np.ndarray[Any, Any], polygon: Path, path: Path) -> np.ndarray[Any, Any]:
    """Find which points (longitude, latitude; shape (n, 2)) lie in a file's polygons.

    Raises
    ------
    InputError
        If the file has no polygons or no coordinate system, or no point lies in them.
    """
    import shapely
    from pyproj import Transformer

    if not polygon.exists():
        raise InputError(polygon, "there is no such file", "fix 'areas.polygon' in study.toml")
    if not is_boundaries(polygon):
        raise InputError(
            polygon, "this is not a boundary file", "give GeoJSON, GeoPackage or a zip"
        )
    raw: Any = read_boundaries(polygon)
    if "geometry" not in raw:
        raise InputError(
            polygon, "its layer has no polygons", "give a file with the study area's shape"
        )
    shapes, _ = checked_boundaries(raw, polygon, setting=None)
    whole = shapely.union_all(shapes.geometry.to_numpy())
    shapely.prepare(whole)
    to_polygon = Transformer.from_crs(WGS84, shapes.crs, always_xy=True)
    known = ~np.isnan(points).any(axis=1)
    inside = np.zeros(len(points), dtype=bool)
    inside[known] = shapely.intersects_xy(whole, *to_polygon.transform(*points[known].T))
    if not inside.any():
        raise InputError(
            polygon, "no area's middle lies in its polygons", _extent_text(points, path)
        )
    return inside


def representative_points(areas: pd.DataFrame, survey: Survey | None) -> np.ndarray[Any, Any]:
    """Give each area's longitude and latitude, shape (n, 2): a point that is inside the area.

    Without boundaries it is the mean of the area's postcodes, NaN where none has coordinates.

    Raises
    ------
    InputError
        If there are neither boundaries nor a postcode directory.
    """
    if "geometry" in areas:
        boundaries: Any = areas
        points = boundaries.geometry.representative_point().to_crs(WGS84)
        return np.column_stack([points.x, points.y])
    if survey is None:
        raise InputError(
            "areas.bbox, areas.polygon",
            "the areas have no boundaries, so their position is unknown",
            "set 'areas.file' to a boundary file, or use a postcode directory in [locations]",
        )
    table = survey().reindex(areas.index)
    return table[["lon", "lat"]].to_numpy(np.float64)


def _extent_text(points: np.ndarray[Any, Any], path: Path) -> str:
    if np.isnan(points).all():
        return f"none of the areas of {path} has coordinates"
    west, south = np.nanmin(points, axis=0)
    east, north = np.nanmax(points, axis=0)
    return (
        f"the areas of {path} lie within [{west:.3f}, {south:.3f}, {east:.3f}, {north:.3f}] "
        "(west, south, east, north in degrees)"
    )


def _nowhere(
    name: str, codes: tuple[str, ...], areas: pd.DataFrame, path: Path, survey: Survey | None
) -> InputError:
    own = [str(value) for value in areas["district"].dropna().unique()]
    surveyed = pd.DataFrame() if survey is None else survey()
    labels = [surveyed[label].dropna().unique() for label in LABELS if label in surveyed]
    far = [str(code) for codes_in in labels for code in codes_in]
    also = f" ({codes[0]} to {codes[-1]})" if len(codes) > 1 else ""
    if not own and not far:
        return InputError(
            f"{path}: areas.place",
            f"the districts of the areas are unknown, so none lies in {name!r}{also}",
            "set 'areas.district' to the column with district codes, or use a postcode directory "
            "in [locations]",
        )
    if fits(areas.index, codes).any():
        step = f"the areas' own codes are like that: use areas.include = [{name!r}]"
    else:
        step = "" if also else closest(name, [*PLACES, *sorted({*own, *far})])
        if not step.startswith("did"):
            some = sorted(own or far)
            step = f"its areas lie in {', '.join(some[:4])}" + (" ..." if len(some) > 4 else "")
            if also and own:
                step += "; set 'areas.district' to a column with district codes"
    return InputError(f"{path}: areas.place", f"no area lies in {name!r}{also}", step)
