"""Tables with one row a location: their ids and coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from streetgauge.errors import InputError
from streetgauge.io.files import require_columns
from streetgauge.io.tables import read_header, scan_columns, to_numbers, zipped_tables
from streetgauge.locations.boundaries import parse_crs
from streetgauge.settings import PointLocations, TableLocations

if TYPE_CHECKING:
    from pyproj import CRS

__all__ = ["Located", "read_located"]

Array = np.ndarray[Any, Any]
WGS84 = "EPSG:4326"


@dataclass(frozen=True)
class Located:
    """Rows of a table as arrays of one length.

    Parameters
    ----------
    ids, postcodes, areas : array of str
        Unique ids; "" where there is no postcode or area.
    x, y : array of float
        Coordinates in ``crs``, easting or longitude first; NaN where there are none.
    lon, lat : array of float
        The same in degrees, WGS 84.
    crs : CRS
        The table's coordinate system.
    """

    ids: Array
    postcodes: Array
    areas: Array
    x: Array
    y: Array
    lon: Array
    lat: Array
    crs: CRS

    @property
    def known(self) -> Array:
        """Which rows have coordinates."""
        known: Array = ~(np.isnan(self.x) | np.isnan(self.y))
        return known


def read_located(settings: PointLocations | TableLocations) -> Located:
    """Read a table of locations.

    Raises
    ------
    InputError
        If a column is absent, an id is empty or stands twice, or a coordinate is no number or no
        place in its system.
    """
    area = settings.area if isinstance(settings, TableLocations) else None
    cells = _read_cells(settings, area)
    path = settings.file
    ids = _unique_ids(cells, settings, area)
    y, x = (to_numbers(cells[c], path).to_numpy() for c in (settings.lat, settings.lon))
    crs = parse_crs(settings.crs, "locations.crs")
    lon, lat = _to_wgs84(x, y, crs)
    blank = np.full(len(ids), "", dtype=object)
    found = Located(
        ids=ids,
        postcodes=blank if settings.postcode is None else cells[settings.postcode].to_numpy(object),
        areas=blank if area is None else cells[area].to_numpy(object),
        x=x,
        y=y,
        lon=np.where(np.isnan(x + y), np.nan, lon),
        lat=np.where(np.isnan(x + y), np.nan, lat),
        crs=crs,
    )
    _refuse_impossible(found, cells, settings)
    return found


def _read_cells(settings: PointLocations | TableLocations, area: str | None) -> pd.DataFrame:
    path = settings.file
    member = _only_table(path)
    named = {
        "id": settings.id,
        "lat": settings.lat,
        "lon": settings.lon,
        "postcode": settings.postcode,
        "area": area,
    }
    header = read_header(path, member)
    require_columns(pd.DataFrame(columns=pd.Index(header)), named, path)
    columns = list(dict.fromkeys(column for column in named.values() if column is not None))
    batches = list(scan_columns(path, columns, member=member))
    if not sum(batch.num_rows for batch in batches):
        raise InputError(path, "the table has no rows", "fetch it again")
    cells: pd.DataFrame = pa.Table.from_batches(batches).to_pandas().astype("str")
    cells = cells.apply(lambda column: column.str.strip())
    return cells.set_axis(pd.RangeIndex(2, len(cells) + 2))  # the header is row 1


def _only_table(path: Path) -> str | None:
    zipped = zipped_tables(path)
    if zipped is None:
        return None
    if len(zipped) > 1:
        raise InputError(
            path, f"the zip has {len(zipped)} CSV files", "unpack the one that is meant and name it"
        )
    return zipped[0]


def _unique_ids(
    cells: pd.DataFrame, settings: PointLocations | TableLocations, area: str | None
) -> Array:
    ids, path = cells[settings.id], settings.file
    if (ids == "").any():
        row = (ids == "").idxmax()
        raise InputError(f"{path}: row {row}", f"there is no {ids.name!r}", "give it an id")
    twice = ids.duplicated(keep=False)
    if twice.any():
        key = ids[twice].iloc[0]
        first, second = ids.index[ids == key][:2]
        reason = f"location_id {key!r} stands there twice"
        if area is not None and cells[area][first] != cells[area][second]:
            reason += f", in area {cells[area][first]!r} and in {cells[area][second]!r}"
        raise InputError(f"{path}: rows {first} and {second}", reason, "keep one of the rows")
    return ids.to_numpy(object)


def _to_wgs84(x: Array, y: Array, crs: CRS) -> tuple[Array, Array]:
    from pyproj import CRS, Transformer

    if crs == CRS.from_user_input(WGS84):
        return x, y
    lon, lat = Transformer.from_crs(crs, WGS84, always_xy=True).transform(x, y)
    return lon, lat


def _refuse_impossible(
    found: Located, cells: pd.DataFrame, settings: PointLocations | TableLocations
) -> None:
    with np.errstate(invalid="ignore"):
        possible = (np.abs(found.lat) <= 90) & (np.abs(found.lon) <= 180)
    wrong = found.known & ~possible
    if wrong.any():
        position = int(wrong.argmax())
        cell = cells.iloc[position]
        raise InputError(
            f"{settings.file}: row {cells.index[position]}",
            f"{settings.lat} {cell[settings.lat]}, {settings.lon} {cell[settings.lon]} is no place "
            f"in {settings.crs}",
            "set 'locations.crs' to the coordinates' system, e.g. 'EPSG:27700'",
        )
