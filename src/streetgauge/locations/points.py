"""Locations by their coordinates; the boundaries say which area each lies in."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.locations.coordinate_tables import read_located
from streetgauge.locations.frames import concat_skips, location_frame, skip_frame
from streetgauge.settings import PointLocations

if TYPE_CHECKING:
    import geopandas as gpd
    from pyproj import CRS

__all__ = ["areas_of_points", "read_points"]


def read_points(settings: PointLocations, areas: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read locations and find the area that each lies in.

    Parameters
    ----------
    settings : PointLocations
        The table (CSV, also gzipped or alone in a zip, or Parquet), its columns, and the
        coordinates' system.
    areas : GeoDataFrame
        Boundaries indexed by area code, in any coordinate system.

    Returns
    -------
    frame : DataFrame
        As `read_locations` describes it; oa, lsoa and msoa are missing. ``attrs["overlaps"]``
        counts locations that lie inside of two areas at once: pair of areas -> locations.
    skips : DataFrame
        Locations without coordinates, and locations outside every area.

    Raises
    ------
    InputError
        If the areas have no boundaries, a column is absent, an id is empty or stands twice, a
        coordinate is no number or impossible, or no location lies in any area.
    """
    path = settings.file
    if "geometry" not in areas:
        raise InputError(
            "locations from points",
            "the areas have no boundaries, so nothing says which area a point lies in",
            "set 'areas.file' to a boundary file, or use a postcode directory",
        )
    points = read_located(settings)
    known = points.known
    found = np.full(len(points.ids), -1)
    found[known], overlaps = areas_of_points(points.x[known], points.y[known], points.crs, areas)
    inside = found >= 0
    if not inside.any():
        raise InputError(
            path,
            f"none of its {len(points.ids):,} points lies in an area of the study",
            f"look at 'locations.lat', 'locations.lon' and 'locations.crs' ({settings.crs})",
        )
    frame = location_frame(
        {
            "location_id": points.ids[inside],
            "postcode": [postcode or None for postcode in points.postcodes[inside]],
            "lat": points.lat[inside],
            "lon": points.lon[inside],
            "area": areas.index.to_numpy(object)[found[inside]],
        }
    )
    frame.attrs = {"overlaps": overlaps}
    skips = [
        skip_frame("it has no coordinates", location_id=sorted(points.ids[~known])),
        skip_frame("it lies outside every area", location_id=sorted(points.ids[known & ~inside])),
    ]
    return frame, concat_skips(skips)


def areas_of_points(
    x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], crs: CRS, areas: gpd.GeoDataFrame
) -> tuple[np.ndarray[Any, Any], dict[str, int]]:
    """Find the area that each point lies in.

    Parameters
    ----------
    x, y : arrays of float, shape (n,)
        Coordinates in ``crs``, easting or longitude first.
    crs : pyproj.CRS
        Their coordinate system.
    areas : GeoDataFrame
        Boundaries in any coordinate system, in any order.

    Returns
    -------
    found : array of int, shape (n,)
        Position of the area in ``areas``; -1 outside all of them. A point on the border of several
        areas, or where areas overlap, belongs to the one whose code sorts first.
    overlaps : dict of str to int
        Points inside of two areas, so not on their border: "A and B" -> points.
    """
    import shapely
    from pyproj import Transformer

    transformer = Transformer.from_crs(crs, areas.crs, always_xy=True)
    points = shapely.points(*transformer.transform(x, y))
    shapes = areas.geometry.to_numpy()
    # The tree holds the points, so that each polygon is prepared once for all of its points.
    polygon, point = shapely.STRtree(points).query(shapes, predicate="intersects")
    by_code = np.argsort(areas.index.to_numpy(object))
    rank = np.empty(len(areas), dtype=np.int64)
    rank[by_code] = np.arange(len(areas))
    first = np.full(len(points), len(areas))
    np.minimum.at(first, point, rank[polygon])
    found = np.append(by_code, -1)[first]
    return found, _overlaps(polygon, point, shapes, points, areas.index)


def _overlaps(
    polygon: np.ndarray[Any, Any],
    point: np.ndarray[Any, Any],
    shapes: np.ndarray[Any, Any],
    points: np.ndarray[Any, Any],
    codes: pd.Index,
) -> dict[str, int]:
    import shapely

    several = np.bincount(point, minlength=len(points))[point] > 1
    polygon, point = polygon[several], point[several]
    within = shapely.contains(shapes[polygon], points[point])  # no point of a border is
    pairs: Counter[str] = Counter()
    held = pd.Series(codes.to_numpy(object)[polygon[within]]).groupby(point[within])
    for _, names in held:
        if len(names) > 1:
            pairs[" and ".join(sorted(names)[:2])] += 1
    return dict(pairs.most_common())
