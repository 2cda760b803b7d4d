"""Locations of tables with a row each: by coordinates within boundaries, or with their areas."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from streetgauge.errors import InputError
from streetgauge.io.tables import (
    read_header,
    refuse_repeated,
    require_columns,
    scan_columns,
    to_numbers,
    zipped_tables,
)
from streetgauge.locations.boundaries import WGS84, parse_crs
from streetgauge.locations.frames import concat_skips, location_frame, skip_frame
from streetgauge.settings import PointLocations, TableLocations

if TYPE_CHECKING:
    import geopandas as gpd
    from pyproj import CRS


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
        If the areas have no boundaries, a column is absent, an id is empty or repeated, a
        coordinate is not a number or impossible, or no location lies in any area.
    """
    path = settings.file
    if "geometry" not in areas:
        raise InputError(
            "locations from points",
            "the areas have no boundaries, so the area of a point is unknown",
            "set 'areas.file' to a boundary file, or use a postcode directory",
        )
    rows, crs = _read_rows(settings)
    x, y = rows["x"].to_numpy(), rows["y"].to_numpy()
    known = ~np.isnan(x)
    found = np.full(len(rows), -1)
    found[known], overlaps = areas_of_points(x[known], y[known], crs, areas)
    inside = found >= 0
    if not inside.any():
        boundaries: Any = areas
        west, south, east, north = boundaries.to_crs(WGS84).total_bounds
        raise InputError(
            path,
            f"none of its {len(rows):,} points lies in an area of the study: they lie around "
            f"({rows['lat'].median():.3f}, {rows['lon'].median():.3f}), the areas between "
            f"({south:.3f}, {west:.3f}) and ({north:.3f}, {east:.3f})",
            f"check 'locations.lat', 'locations.lon' and 'locations.crs' ({settings.crs}), and the "
            f"system that the boundary file states ({boundaries.crs.to_string()})",
        )
    frame = location_frame(rows[inside].assign(area=areas.index.to_numpy(object)[found[inside]]))
    frame.attrs = {"overlaps": overlaps}
    ids = rows["location_id"]
    skips = [
        skip_frame("it has no coordinates", location_id=sorted(ids[~known])),
        skip_frame("it lies outside every area", location_id=sorted(ids[known & ~inside])),
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


def read_table_locations(
    settings: TableLocations, areas: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read locations with the area that the table gives each.

    Parameters
    ----------
    settings : TableLocations
        The table (CSV, also gzipped or alone in a zip, or Parquet), its columns, and the
        coordinates' system.
    areas : DataFrame
        Indexed by area code; boundaries are not used.

    Returns
    -------
    frame : DataFrame
        As `read_locations` describes it; oa, lsoa and msoa are missing.
        ``attrs["no_coordinates"]`` counts locations without.
    skips : DataFrame
        Locations without an area, and those whose area is none of the study's.

    Raises
    ------
    InputError
        If a column is absent, an id is empty or repeated, a coordinate is not a number or
        impossible, or no area is one of the study's.
    """
    rows, _ = _read_rows(settings)
    inside = rows["area"].isin(areas.index)
    if not inside.any():
        study = repr(areas.index[0]) if len(areas) else "none"
        raise InputError(
            settings.file,
            f"none of its areas is one of the study's: column {settings.area!r} has "
            f"{rows['area'].iloc[0]!r}, the study {study}",
            "set 'locations.area' to the column with the codes of the study's areas",
        )
    frame = location_frame(rows[inside])
    frame.attrs = {"no_coordinates": int(frame["lat"].isna().sum())}
    blank = rows["area"] == ""
    others = rows[~inside & ~blank].sort_values("location_id")
    skips = [
        skip_frame("it has no area", location_id=sorted(rows["location_id"][blank])),
        skip_frame(
            "its area is none of the study's",
            location_id=list(others["location_id"]),
            area=list(others["area"]),
        ),
    ]
    return frame, concat_skips(skips)


def _read_rows(settings: PointLocations | TableLocations) -> tuple[pd.DataFrame, CRS]:
    """Read a table of locations, and the coordinate system of its columns x and y.

    Raises
    ------
    InputError
        If a column is absent, an id is empty or repeated, or a coordinate is not a number or
        impossible in its system.
    """
    from pyproj import Transformer

    path, area = settings.file, getattr(settings, "area", None)
    cells = _read_cells(settings, area)
    ids = cells[settings.id]
    if (ids == "").any():
        raise InputError(
            f"{path}: row {(ids == '').idxmax()}", f"there is no {ids.name!r}", "give it an id"
        )
    refuse_repeated(ids, path, "location_id", values=None if area is None else cells[[area]])
    if settings.lat in cells:
        y, x = (to_numbers(cells[column], path) for column in (settings.lat, settings.lon))
        x, y = x.where(y.notna()), y.where(x.notna())
    else:
        x = y = pd.Series(np.nan, cells.index)
    crs = parse_crs(settings.crs, "locations.crs")
    lon, lat = x, y
    if crs != parse_crs(WGS84, ""):
        to_degrees = Transformer.from_crs(crs, WGS84, always_xy=True)
        lon, lat = (pd.Series(each, x.index) for each in to_degrees.transform(x, y))
        lon, lat = lon.where(x.notna()), lat.where(x.notna())
    impossible = (lat.abs() > 90) | (lon.abs() > 180)
    if impossible.any():
        row = int(impossible.to_numpy().argmax())
        cell = cells.iloc[row]
        raise InputError(
            f"{path}: row {cells.index[row]}",
            f"{settings.lat} {cell[settings.lat]}, {settings.lon} {cell[settings.lon]} is not a "
            f"position in {settings.crs}",
            "set 'locations.crs' to the coordinates' system, e.g. 'EPSG:27700'",
        )
    columns = {"location_id": ids, "x": x, "y": y, "lon": lon, "lat": lat}
    if area is not None:
        columns["area"] = cells[area]
    if settings.postcode is not None:
        columns["postcode"] = cells[settings.postcode].mask(cells[settings.postcode] == "")
    return pd.DataFrame(columns), crs


def _read_cells(settings: PointLocations | TableLocations, area: str | None) -> pd.DataFrame:
    path = settings.file
    zipped = zipped_tables(path) or (None,)
    if len(zipped) > 1:
        raise InputError(
            path, f"the zip has {len(zipped)} CSV files", "unpack the one that is meant and name it"
        )
    named = {
        "id": settings.id,
        "lat": settings.lat,
        "lon": settings.lon,
        "postcode": settings.postcode,
        "area": area,
    }
    header = read_header(path, zipped[0])
    usual = (settings.lat, settings.lon) == ("lat", "lon")
    if area is not None and usual and not {"lat", "lon"} & set(header):
        named |= {"lat": None, "lon": None}  # an id and an area are enough
    require_columns(header, named, path)
    columns = list(dict.fromkeys(column for column in named.values() if column is not None))
    batches = list(scan_columns(path, columns, member=zipped[0]))
    if not sum(batch.num_rows for batch in batches):
        raise InputError(path, "the table has no rows", "fetch it again")
    cells: pd.DataFrame = pa.Table.from_batches(batches).to_pandas().astype("str")
    cells = cells.apply(lambda column: column.str.strip())
    return cells.set_axis(pd.RangeIndex(2, len(cells) + 2))  # the header is row 1
