"""Locations by their coordinates; the boundaries say which area each lies in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from streetgauge.errors import InputError
from streetgauge.files import require_columns
from streetgauge.locations._frame import concat_skips, location_frame, skip_frame
from streetgauge.settings import PointLocations
from streetgauge.tables import read_header, scan_columns, to_numbers

if TYPE_CHECKING:
    import geopandas as gpd
    from pyproj import CRS

__all__ = ["areas_of_points", "read_points"]

WGS84 = "EPSG:4326"


def read_points(settings: PointLocations, areas: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read locations and find the area that each lies in.

    Parameters
    ----------
    settings : PointLocations
        The table (CSV, also gzipped, or Parquet), its columns, and the coordinates' system.
    areas : GeoDataFrame
        Boundaries indexed by area code, in any coordinate system.

    Returns
    -------
    frame : DataFrame
        As `read_locations` describes it; oa, lsoa and msoa are missing.
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
    cells = _read_cells(settings)
    ids = _unique_ids(cells[settings.id], path)
    y, x = (to_numbers(cells[c], path).to_numpy() for c in (settings.lat, settings.lon))
    known = ~(np.isnan(x) | np.isnan(y))
    crs = _crs(settings)
    lon, lat = _to_wgs84(x, y, crs)
    _refuse_impossible(lat, lon, known, cells, settings)
    found = np.full(len(ids), -1)
    found[known] = areas_of_points(x[known], y[known], crs, areas)
    inside = found >= 0
    if not inside.any():
        raise InputError(
            path,
            f"none of its {len(ids):,} points lies in an area of the study",
            f"look at 'locations.lat', 'locations.lon' and 'locations.crs' ({settings.crs})",
        )
    postcodes = cells[settings.postcode].to_numpy(object) if settings.postcode else None
    frame = location_frame(
        {
            "location_id": ids[inside],
            "postcode": [p or None for p in postcodes[inside]] if postcodes is not None else None,
            "lat": lat[inside],
            "lon": lon[inside],
            "area": areas.index.to_numpy(object)[found[inside]],
        }
    )
    skips = [
        skip_frame("it has no coordinates", location_id=sorted(ids[~known])),
        skip_frame("it lies outside every area", location_id=sorted(ids[known & ~inside])),
    ]
    return frame, concat_skips(skips)


def areas_of_points(
    x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], crs: CRS, areas: gpd.GeoDataFrame
) -> np.ndarray[Any, Any]:
    """Find the area that each point lies in.

    Parameters
    ----------
    x, y : arrays of float, shape (n,)
        Coordinates in ``crs``, easting or longitude first.
    crs : pyproj.CRS
        Their coordinate system.
    areas : GeoDataFrame
        Boundaries in any coordinate system.

    Returns
    -------
    array of int, shape (n,)
        Position of the area in ``areas``; -1 outside all of them. A point on the border of several
        areas, or where areas overlap, belongs to the first of them in the order of ``areas``.
    """
    import shapely
    from pyproj import Transformer

    transformer = Transformer.from_crs(crs, areas.crs, always_xy=True)
    points = shapely.points(*transformer.transform(x, y))
    # The tree holds the points, so that each polygon is prepared once for all of its points.
    polygon, point = shapely.STRtree(points).query(
        areas.geometry.to_numpy(), predicate="intersects"
    )
    found = np.full(len(points), len(areas))
    np.minimum.at(found, point, polygon)
    found[found == len(areas)] = -1
    return found


def _read_cells(settings: PointLocations) -> pd.DataFrame:
    path = settings.file
    header = read_header(path)
    named = {
        "id": settings.id,
        "lat": settings.lat,
        "lon": settings.lon,
        "postcode": settings.postcode,
    }
    require_columns(pd.DataFrame(columns=pd.Index(header)), named, path)
    columns = list(dict.fromkeys(column for column in named.values() if column is not None))
    batches = list(scan_columns(path, columns))
    if not sum(batch.num_rows for batch in batches):
        raise InputError(path, "the table has no rows", "fetch it again")
    cells: pd.DataFrame = pa.Table.from_batches(batches).to_pandas().astype("str")
    cells = cells.apply(lambda column: column.str.strip())
    return cells.set_axis(pd.RangeIndex(2, len(cells) + 2))  # the header is row 1


def _unique_ids(ids: pd.Series, path: Path) -> np.ndarray[Any, Any]:
    if (ids == "").any():
        row = (ids == "").idxmax()
        raise InputError(f"{path}: row {row}", f"there is no {ids.name!r}", "give it an id")
    twice = ids.duplicated(keep=False)
    if twice.any():
        key = ids[twice].iloc[0]
        first, second = ids.index[ids == key][:2]
        raise InputError(
            f"{path}: rows {first} and {second}",
            f"location_id {key!r} stands there twice",
            "keep one of the rows",
        )
    return ids.to_numpy(object)


def _crs(settings: PointLocations) -> CRS:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        return CRS.from_user_input(settings.crs)
    except CRSError:
        raise InputError(
            f"locations.crs = {settings.crs!r}",
            "this is no coordinate system",
            "write for example 'EPSG:4326' (latitude and longitude) or 'EPSG:27700'",
        ) from None


def _to_wgs84(
    x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], crs: CRS
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    from pyproj import CRS, Transformer

    if crs == CRS.from_user_input(WGS84):
        return x, y
    lon, lat = Transformer.from_crs(crs, WGS84, always_xy=True).transform(x, y)
    return lon, lat


def _refuse_impossible(
    lat: np.ndarray[Any, Any],
    lon: np.ndarray[Any, Any],
    known: np.ndarray[Any, Any],
    cells: pd.DataFrame,
    settings: PointLocations,
) -> None:
    with np.errstate(invalid="ignore"):
        possible = (np.abs(lat) <= 90) & (np.abs(lon) <= 180)
    wrong = known & ~possible
    if wrong.any():
        position = int(wrong.argmax())
        cell = cells.iloc[position]
        raise InputError(
            f"{settings.file}: row {cells.index[position]}",
            f"{settings.lat} {cell[settings.lat]}, {settings.lon} {cell[settings.lon]} is no place "
            f"in {settings.crs}",
            "set 'locations.crs' to the coordinates' system, e.g. 'EPSG:27700'",
        )
