"""Boundaries small enough for a page: simplified together, on a grid of whole numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from streetgauge.evaluation import metric_crs

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["outline"]

Integers = npt.NDArray[np.int64]

GRID = 8192  # the longer side, in steps
MOST_POINTS = 160_000  # about 1 MB of numbers
COARSEST = 1 / 300  # of the longer side


def outline(areas: gpd.GeoDataFrame) -> dict[str, Any] | None:
    """Draw the areas' boundaries for the page.

    Neighbours are simplified together (``shapely.coverage_simplify``) and rounded to one grid, so
    that no gap opens between them. An area that becomes too small for the grid stays as a dot.

    Parameters
    ----------
    areas : GeoDataFrame by area
        Boundaries; with ``district``, borders between districts are drawn too.

    Returns
    -------
    dict or None
        ``width``, ``height`` (steps of the grid); ``shapes``: for every row of ``areas`` a list of
        rings ``[x, y, dx, dy, dx, dy, ...]``, or None where there is no polygon; ``borders``: lines
        written in the same way. None if no row has a polygon.
    """
    import shapely

    geometry = areas.geometry
    if areas.crs is not None:
        geometry = geometry.to_crs(metric_crs(areas))
    polygons = np.asarray(geometry.values, dtype=object)
    kind = shapely.get_type_id(polygons)
    usable = np.isin(kind, [3, 6]) & ~shapely.is_empty(polygons)  # polygons, multipolygons
    if not usable.any():
        return None
    left, bottom, right, top = shapely.total_bounds(polygons[usable])
    longer = max(right - left, top - bottom) or 1.0
    step = longer / GRID
    simple = polygons.copy()
    simple[usable] = _simplified(polygons[usable], step, longer * COARSEST)

    def on_grid(points: npt.NDArray[np.float64]) -> Integers:
        # The page's y runs down.
        moved = np.column_stack([points[:, 0] - left, top - points[:, 1]])
        return np.rint(moved / step).astype(np.int64)

    shapes: list[list[Integers] | None] = []
    for polygon, original, used in zip(simple, polygons, usable, strict=True):
        if not used:
            shapes.append(None)
            continue
        rings = [ring for points in _rings(polygon) if len(ring := _tidy(on_grid(points))) > 3]
        shapes.append(rings or [_dot(on_grid(shapely.get_coordinates(original.centroid))[0])])
    districts = areas["district"].tolist() if "district" in areas.columns else None
    return {
        "width": max(round((right - left) / step), 1),
        "height": max(round((top - bottom) / step), 1),
        "shapes": [None if s is None else [_deltas(ring[:-1]) for ring in s] for s in shapes],
        "borders": [] if districts is None else [_deltas(b) for b in _borders(shapes, districts)],
    }


def _simplified(polygons: npt.NDArray[Any], tolerance: float, coarsest: float) -> npt.NDArray[Any]:
    import shapely

    result = shapely.coverage_simplify(polygons, tolerance)
    while shapely.get_num_coordinates(result).sum() > MOST_POINTS and tolerance < coarsest:
        tolerance *= 2
        result = shapely.coverage_simplify(polygons, tolerance)
    return np.asarray(result, dtype=object)


def _rings(polygon: Any) -> Iterator[npt.NDArray[np.float64]]:
    import shapely

    for part in shapely.get_parts(polygon):
        for ring in shapely.get_rings(part):
            yield shapely.get_coordinates(ring)


def _tidy(points: Integers) -> Integers:
    """Drop points that fall on the one before."""
    moved = np.r_[True, (np.diff(points, axis=0) != 0).any(1)]
    return points[moved]


def _dot(centre: Integers) -> Integers:
    around = np.array([[-3, 0], [0, -3], [3, 0], [0, 3], [-3, 0]])
    return np.asarray(centre + around, dtype=np.int64)


def _deltas(points: Integers) -> list[int]:
    steps: list[int] = np.diff(points, axis=0, prepend=np.zeros((1, 2), np.int64)).ravel().tolist()
    return steps


def _borders(shapes: list[list[Integers] | None], districts: list[Any]) -> list[Integers]:
    """Draw the outlines of the districts: their areas united, each common border once."""
    import shapely

    members: dict[Any, list[Any]] = {}
    for rings, district in zip(shapes, districts, strict=True):
        # Rings are filled, holes too: a district that lies in the hole draws its own outline.
        for ring in rings or ():
            members.setdefault(district, []).append(shapely.Polygon(ring))
    if len(members) < 2:
        return []
    outlines = []
    for polygons in members.values():
        # Boundary files rarely fit to the last point: what opens between neighbours is no border.
        whole = shapely.union_all(shapely.make_valid(polygons), grid_size=1)
        parts = [p for p in shapely.get_parts(whole) if shapely.get_type_id(p) == 3]
        outlines += [shapely.get_exterior_ring(part) for part in parts]
    lines = shapely.line_merge(shapely.union_all(outlines, grid_size=1))
    return [
        np.rint(shapely.get_coordinates(line)).astype(np.int64) for line in shapely.get_parts(lines)
    ]
