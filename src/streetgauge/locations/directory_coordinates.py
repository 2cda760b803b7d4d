"""Coordinates of a postcode directory, in degrees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streetgauge.errors import InputError

__all__ = ["NULL_LATITUDE", "degrees"]

NULL_LATITUDE = 99.999999  # the ONS's mark of a postcode without coordinates
BRITISH_GRID, IRISH_GRID = "EPSG:27700", "EPSG:29902"
Where = Callable[[tuple[int, int]], str]
Array = np.ndarray[Any, Any]


def degrees(table: pa.Table, columns: Mapping[str, str], where: Where) -> tuple[Array, Array]:
    """Latitude and longitude, both NaN where the directory has none.

    It has none where a cell is empty, the latitude is 99.999999, or both are 0 (in the oldest).
    Layouts without degrees have grid references: British, and Irish for Northern Ireland.

    Parameters
    ----------
    table : Table
        Text columns ``lat`` and ``lon``, or ``east`` and ``north``; ``location_id`` (a postcode
        without blanks), ``table`` and ``row``.
    columns : mapping of str to str
        Role -> the column's name, for errors.
    where : callable
        Names a row for an error.

    Raises
    ------
    InputError
        If a cell is no number, or no degrees.
    """
    if not {"lat", "lon"} <= columns.keys():
        if {"east", "north"} <= columns.keys():
            return _from_grid(table, columns, where)
        return np.full(table.num_rows, np.nan), np.full(table.num_rows, np.nan)
    lat, lon = (_numbers(table, role, columns, where) for role in ("lat", "lon"))
    none = np.isnan(lat) | np.isnan(lon) | ((lat == 0) & (lon == 0))
    none |= np.abs(lat - NULL_LATITUDE) < 1e-5
    lat[none] = lon[none] = np.nan
    for role, angles, limit in (("lat", lat, 90), ("lon", lon, 180)):
        wrong = np.abs(angles) > limit
        if wrong.any():
            position = int(wrong.argmax())
            raise InputError(
                f"{where(_place(table, position))}, column {columns[role]!r}",
                f"{angles[position]:g} is beyond {limit} degrees",
                "mend the coordinates",
            )
    return lat, lon


def _from_grid(table: pa.Table, columns: Mapping[str, str], where: Where) -> tuple[Array, Array]:
    from pyproj import Transformer

    x, y = (_numbers(table, role, columns, where) for role in ("east", "north"))
    irish = pc.starts_with(table["location_id"], "BT").to_numpy()
    lat, lon = np.full_like(x, np.nan), np.full_like(x, np.nan)
    known = ~(np.isnan(x) | np.isnan(y)) & ~((x == 0) & (y == 0))
    for grid, rows in ((BRITISH_GRID, known & ~irish), (IRISH_GRID, known & irish)):
        to_degrees = Transformer.from_crs(grid, "EPSG:4326", always_xy=True)
        lon[rows], lat[rows] = to_degrees.transform(x[rows], y[rows])
    return lat, lon


def _numbers(table: pa.Table, role: str, columns: Mapping[str, str], where: Where) -> Array:
    cells = pc.utf8_trim_whitespace(table[role])
    cells = pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)
    try:
        numbers = pc.cast(cells, pa.float64())
    except pa.ArrowInvalid:
        for position, cell in enumerate(cells.to_pylist()):
            if cell is not None and not _is_number(cell):
                raise InputError(
                    f"{where(_place(table, position))}, column {columns[role]!r}",
                    f"{cell!r} is not a number",
                    "mend the cell, or leave it empty",
                ) from None
        raise
    array: Array = numbers.to_numpy().copy()
    return array


def _place(table: pa.Table, position: int) -> tuple[int, int]:
    return table["table"][position].as_py(), table["row"][position].as_py()


def _is_number(cell: str) -> bool:
    try:
        pa.array([cell], pa.string()).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True
