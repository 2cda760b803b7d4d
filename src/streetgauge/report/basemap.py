"""Water, roads and names of places under the map, from files that the user names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import shapely

from streetgauge.errors import InputError
from streetgauge.locations.boundaries import read_boundaries

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["on_map", "read_basemap"]

# What each file must have: the name of its shapes, and shapely's types of them.
SHAPES = {
    "water": ("polygons", (3, 6)),
    "roads": ("lines", (1, 5)),
    "places": ("points", (0,)),
}
MOST_POINTS = 40_000  # of water, and of roads: a quarter of a megabyte each
MOST_PLACES = 400
LONGEST = 40  # characters of a name


def read_basemap(files: Mapping[str, Path | None]) -> dict[str, gpd.GeoDataFrame]:
    """Read the layers that a study names.

    Parameters
    ----------
    files : mapping
        ``water`` (polygons), ``roads`` (lines) and ``places`` (points with a column ``name``).

    Returns
    -------
    dict of GeoDataFrame
        By layer, each in its file's coordinate system.

    Raises
    ------
    InputError
        If a file cannot be read, states no coordinate system, or has none of those shapes.
    """
    return {kind: _read(kind, path) for kind, path in files.items() if path is not None}


def _read(kind: str, path: Path) -> gpd.GeoDataFrame:
    what, types = SHAPES[kind]
    frame: Any = read_boundaries(
        path, columns={"report.places": "name"} if kind == "places" else {}
    )
    if "geometry" in frame and frame.crs is None:
        step = "give a file that states one, e.g. a GeoPackage"
        raise InputError(f"{path}: report.{kind}", "it states no coordinate system", step)
    if "geometry" in frame:
        shapes = frame.geometry.to_numpy()
        bounds = shapely.bounds(shapes)  # not a number for what is empty or missing
        fit = np.isin(shapely.get_type_id(shapes), types) & np.isfinite(bounds).all(axis=1)
        frame = frame[fit]
    if "geometry" not in frame or frame.empty:
        raise InputError(f"{path}: report.{kind}", f"it has no {what}", f"give a file of {what}")
    return frame


def on_map(
    layers: Mapping[str, gpd.GeoDataFrame],
    crs: Any,
    frame: tuple[float, float, float, float],
    step: float,
) -> dict[str, list[Any]]:
    """Put the layers on the grid of the map, clipped to it and simplified.

    Parameters
    ----------
    layers : mapping of GeoDataFrame
        From `read_basemap`.
    crs : CRS or None
        Of the map, in metres; None where the layers are in its coordinates.
    frame : tuple
        West, south, east and north of the map.
    step : float
        Of its grid, in metres.

    Returns
    -------
    dict
        ``water`` and ``roads``: arrays of points on the grid, y down; ``places``: x, y and name.
    """
    result: dict[str, list[Any]] = {}
    for kind, layer in layers.items():
        shapes = (layer.geometry if crs is None else layer.geometry.to_crs(crs)).to_numpy()
        if kind == "places":
            result[kind] = _places(shapes, layer["name"].tolist(), frame, step)
            continue
        inside = shapely.clip_by_rect(shapely.make_valid(shapes), *frame)
        parts = shapely.get_parts(shapely.get_parts(inside))
        if kind == "water":
            parts = shapely.get_rings(parts[shapely.get_type_id(parts) == 3])
        result[kind] = [_grid(line, frame, step) for line in _simple(parts, step)]
    return result


def _simple(lines: npt.NDArray[Any], tolerance: float) -> npt.NDArray[Any]:
    """Simplify until few points are left; what becomes shorter than a few steps is dropped."""
    while True:
        simple = shapely.simplify(lines[shapely.length(lines) > 4 * tolerance], tolerance)
        if shapely.get_num_coordinates(simple).sum() <= MOST_POINTS:
            return np.asarray(simple)
        tolerance *= 1.6


def _grid(
    shape: Any, frame: tuple[float, float, float, float], step: float
) -> npt.NDArray[np.int64]:
    points = shapely.get_coordinates(shape)
    moved = np.column_stack([points[:, 0] - frame[0], frame[3] - points[:, 1]])
    return np.rint(moved / step).astype(np.int64)


def _places(
    points: npt.NDArray[Any],
    names: list[Any],
    frame: tuple[float, float, float, float],
    step: float,
) -> list[tuple[int, int, str]]:
    grid = _grid(points, frame, step)
    west, south, east, north = frame
    most = ((east - west) / step, (north - south) / step)
    return [
        (int(x), int(y), str(name)[:LONGEST])
        for (x, y), name in zip(grid, names, strict=True)
        if 0 <= x <= most[0] and 0 <= y <= most[1] and isinstance(name, str) and name.strip()
    ][:MOST_PLACES]
