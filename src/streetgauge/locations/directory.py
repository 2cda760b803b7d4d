"""Postcode directories of the Office for National Statistics, recognised by their header."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from streetgauge.errors import InputError
from streetgauge.locations._frame import concat_skips, location_frame, skip_frame, texts
from streetgauge.settings import DirectoryLocations
from streetgauge.tables import read_header, scan_columns

__all__ = ["HEADERS", "NULL_LATITUDE", "read_directory"]

# What a column holds -> how the layouts of 2011 to 2025 call it, in lower case, the best first.
# {} stands for the year of the census: 11 or 21.
HEADERS: dict[str, tuple[str, ...]] = {
    "postcode": ("pcds", "pcd7", "pcd", "pcd8", "pcd2", "postcode"),
    "terminated": ("doterm",),
    "lat": ("lat", "latitude"),
    "lon": ("long", "lon", "longitude"),
    "east": ("oseast1m", "east1m"),
    "north": ("osnrth1m", "north1m"),
    "oa": ("oa{}", "oa{}cd"),
    "lsoa": ("lsoa{}", "lsoa{}cd"),
    "msoa": ("msoa{}", "msoa{}cd"),
}
NULL_LATITUDE = 99.999999  # the ONS's mark of a postcode without coordinates
BRITISH_GRID, IRISH_GRID = "EPSG:27700", "EPSG:29902"
_PSEUDO_CODE = re.compile(r"[A-Z]9{8}")  # e.g. M99999999: the Isle of Man has no such areas


def read_directory(
    settings: DirectoryLocations, areas: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the postcodes of the study's areas.

    The location_id is the postcode in capitals without blanks. Only the columns needed are read,
    a block of the file at a time, and only rows of the study's areas are kept.

    Parameters
    ----------
    settings : DirectoryLocations
        The directory (CSV, also gzipped, or Parquet), which of its areas are the study's, and
        whether terminated postcodes count.
    areas : DataFrame
        Indexed by area code.

    Returns
    -------
    frame : DataFrame
        As `read_locations` describes it; ``attrs["outside"]`` counts the rows left out because
        their area is none of the study's.
    skips : DataFrame
        Terminated postcodes, if ``live_only``.

    Raises
    ------
    InputError
        If the header is not recognised, no row lies in the study's areas, a postcode is empty or
        stands twice, or a coordinate is no number.
    """
    path = settings.file
    columns = _recognise(read_header(path), settings)
    kept, outside_ids, example = _scan(path, columns, settings.area[:-2], areas.index)
    if kept.num_rows == 0:
        raise InputError(
            path,
            f"none of its areas is one of the study's: column {columns[settings.area[:-2]]!r} has "
            f"{example!r}, the study {areas.index[0]!r}",
            "set 'locations.area' to the kind and year of the study's areas, or give the "
            "directory of the same country",
        )
    _refuse_duplicates(kept, outside_ids, path)
    skips = []
    if settings.live_only:
        ended = pc.not_equal(kept["terminated"], "")
        left_out = kept.filter(ended)
        skips.append(
            skip_frame(
                [f"the postcode was terminated in {m}" for m in left_out["terminated"].to_pylist()],
                location_id=left_out["location_id"].to_pylist(),
                area=left_out["area"].to_pylist(),
            )
        )
        kept = kept.filter(pc.invert(ended))
    ids = texts(kept["location_id"])
    lat, lon = _coordinates(kept, columns, path)
    frame = location_frame(
        {
            "location_id": ids,
            "postcode": [f"{key[:-3]} {key[-3:]}" for key in ids],
            "lat": lat,
            "lon": lon,
            **{role: _codes(kept[role]) for role in ("oa", "lsoa", "msoa")},
            "area": texts(kept["area"]),
        }
    )
    frame.attrs["outside"] = len(outside_ids)
    return frame, concat_skips(skips)


def _recognise(header: Sequence[str], settings: DirectoryLocations) -> dict[str, str]:
    """Find which column holds what: role -> name as in the file."""
    kind, year = settings.area[:-2], settings.area[-2:]
    plain = {name.strip().lower(): name for name in reversed(header)}
    found = {}
    for role, names in HEADERS.items():
        for name in names:
            if name.format(year) in plain:
                found[role] = plain[name.format(year)]
                break
    needed = {"postcode": "postcodes", kind: f"the areas ({settings.area})"}
    if settings.live_only:
        needed["terminated"] = "the date of termination"
    for role, what in needed.items():
        if role not in found:
            known = ", ".join(name.format(year) for name in HEADERS[role])
            raise InputError(
                settings.file,
                f"no column holds {what}: none is called {known}",
                f"the columns are {', '.join(header[:60])}",
            )
    return found


def _scan(
    path: Path, columns: dict[str, str], kind: str, areas: pd.Index
) -> tuple[pa.Table, pa.ChunkedArray, str]:
    """Rows of the study's areas, the ids of all others, and one area code of the file."""
    wanted = pa.array(areas.to_numpy(dtype=object), pa.string())
    kept, outside, example, start = [], [], "", 2  # the header is row 1
    for batch in scan_columns(path, list(dict.fromkeys(columns.values()))):
        codes = pc.utf8_trim_whitespace(batch.column(columns[kind]))
        ids = pc.utf8_upper(
            pc.replace_substring_regex(batch.column(columns["postcode"]), r"\s+", "")
        )
        inside = pc.is_in(codes, value_set=wanted)
        rows = pa.array(np.arange(start, start + batch.num_rows))
        start += batch.num_rows
        blank = pa.array([""] * batch.num_rows, pa.string())
        own = {"row": rows, "location_id": ids, "area": codes}
        for role in HEADERS:
            own[role] = batch.column(columns[role]) if role in columns else blank
        kept.append(pa.table(own).filter(inside))
        outside.append(ids.filter(pc.invert(inside)))
        if not example:
            known = (code for code in codes.to_pylist() if code and not _PSEUDO_CODE.match(code))
            example = next(known, "")
    if not kept:
        raise InputError(path, "the table has no rows", "fetch it again")
    return pa.concat_tables(kept), pa.chunked_array(outside, pa.string()), example


def _refuse_duplicates(kept: pa.Table, outside: pa.ChunkedArray, path: Path) -> None:
    ids = pd.Series(kept["location_id"].to_numpy(zero_copy_only=False), dtype="object")
    rows = kept["row"].to_numpy()
    if (ids == "").any():
        row = rows[int((ids == "").argmax())]
        raise InputError(f"{path}: row {row}", "there is no postcode", "mend or remove the row")
    twice = ids.duplicated(keep=False)
    if twice.any():
        key = ids[twice].iloc[0]
        first, second = rows[(ids == key).to_numpy()][:2]
        raise InputError(
            f"{path}: rows {first} and {second}",
            f"location_id {key!r} stands there twice",
            "keep one of the rows",
        )
    strangers = pc.is_in(pa.array(ids, pa.string()), value_set=pc.unique(outside))
    if pc.any(strangers).as_py():
        position = strangers.index(pa.scalar(True)).as_py()
        raise InputError(
            f"{path}: row {rows[position]}",
            f"location_id {ids[position]!r} stands there and in a row with another area, "
            "which is none of the study's",
            "keep one of the rows",
        )


def _coordinates(
    kept: pa.Table, columns: dict[str, str], path: Path
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Latitude and longitude in degrees; both NaN where the directory has none."""
    if "lat" not in columns and "east" in columns:
        return _from_grid(kept, columns, path)  # early layouts have no degrees
    lat, lon = (_numbers(kept, role, columns, path) for role in ("lat", "lon"))
    none = np.isnan(lat) | np.isnan(lon) | np.isclose(lat, NULL_LATITUDE, atol=1e-5)
    lat[none] = lon[none] = np.nan
    for role, degrees, limit in (("lat", lat, 90), ("lon", lon, 180)):
        wrong = np.abs(degrees) > limit
        if wrong.any():
            row = kept["row"][int(wrong.argmax())]
            raise InputError(
                f"{path}: row {row}, column {columns[role]!r}",
                f"{degrees[wrong.argmax()]:g} is beyond {limit} degrees",
                "mend the coordinates",
            )
    return lat, lon


def _from_grid(
    kept: pa.Table, columns: dict[str, str], path: Path
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Turn grid references into degrees: British, and Irish for Northern Ireland's postcodes."""
    from pyproj import Transformer

    x, y = (_numbers(kept, role, columns, path) for role in ("east", "north"))
    irish = pc.starts_with(kept["location_id"], "BT").to_numpy()
    lat, lon = np.full_like(x, np.nan), np.full_like(x, np.nan)
    known = ~(np.isnan(x) | np.isnan(y)) & ~((x == 0) & (y == 0))
    for grid, rows in ((BRITISH_GRID, known & ~irish), (IRISH_GRID, known & irish)):
        to_degrees = Transformer.from_crs(grid, "EPSG:4326", always_xy=True)
        lon[rows], lat[rows] = to_degrees.transform(x[rows], y[rows])
    return lat, lon


def _numbers(
    kept: pa.Table, role: str, columns: dict[str, str], path: Path
) -> np.ndarray[Any, Any]:
    cells = pc.utf8_trim_whitespace(kept[role])
    cells = pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)
    try:
        numbers = pc.cast(cells, pa.float64())
    except pa.ArrowInvalid:
        for row, cell in zip(kept["row"].to_pylist(), cells.to_pylist(), strict=True):
            if cell is not None and not _is_number(cell):
                raise InputError(
                    f"{path}: row {row}, column {columns[role]!r}",
                    f"{cell!r} is not a number",
                    "mend the cell, or leave it empty",
                ) from None
        raise
    array: np.ndarray[Any, Any] = numbers.to_numpy().copy()
    return array


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _codes(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    codes = texts(pc.utf8_trim_whitespace(column))
    pseudo = {code for code in set(codes) if code and _PSEUDO_CODE.fullmatch(code)}
    if pseudo:
        codes[np.isin(codes.astype(str), list(pseudo))] = None
    return codes
