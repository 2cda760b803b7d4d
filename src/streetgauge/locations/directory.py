"""Postcode directories of the Office for National Statistics: postcodes, and areas by postcodes."""

from __future__ import annotations

import re
from calendar import month_name
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from streetgauge.errors import InputError
from streetgauge.io.tables import read_header, refuse_repeated, scan_columns, zipped_tables
from streetgauge.locations.frames import concat_skips, skip_frame, sorted_frame
from streetgauge.locations.layouts import (
    ROLES,
    Layout,
    any_pseudo,
    is_pseudo,
    recognise,
    without_pseudo,
)
from streetgauge.locations.study_area import LABELS
from streetgauge.settings import DirectoryLocations

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
        If a cell is not a number, or no degrees.
    """
    if not {"lat", "lon"} <= columns.keys():
        if {"east", "north"} <= columns.keys():
            return _from_grid(table, columns, where)
        return np.full(table.num_rows, np.nan), np.full(table.num_rows, np.nan)
    lat, lon = (_as_floats(table, role, columns, where) for role in ("lat", "lon"))
    none = np.isnan(lat) | np.isnan(lon) | ((lat == 0) & (lon == 0))
    none |= np.abs(lat - NULL_LATITUDE) < 1e-5
    lat[none] = lon[none] = np.nan
    for role, angles, limit in (("lat", lat, 90), ("lon", lon, 180)):
        wrong = np.abs(angles) > limit
        if wrong.any():
            position = int(wrong.argmax())
            raise InputError(
                f"{where(_position(table, position))}, column {columns[role]!r}",
                f"{angles[position]:g} is beyond {limit} degrees",
                "fix the coordinates",
            )
    return lat, lon


def _from_grid(table: pa.Table, columns: Mapping[str, str], where: Where) -> tuple[Array, Array]:
    from pyproj import Transformer

    x, y = (_as_floats(table, role, columns, where) for role in ("east", "north"))
    irish = pc.starts_with(table["location_id"], "BT").to_numpy()
    lat, lon = np.full_like(x, np.nan), np.full_like(x, np.nan)
    known = ~(np.isnan(x) | np.isnan(y)) & ~((x == 0) & (y == 0))
    for grid, rows in ((BRITISH_GRID, known & ~irish), (IRISH_GRID, known & irish)):
        to_degrees = Transformer.from_crs(grid, "EPSG:4326", always_xy=True)
        lon[rows], lat[rows] = to_degrees.transform(x[rows], y[rows])
    return lat, lon


def _as_floats(table: pa.Table, role: str, columns: Mapping[str, str], where: Where) -> Array:
    cells = pc.utf8_trim_whitespace(table[role])
    cells = pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)
    try:
        numbers = pc.cast(cells, pa.float64())
    except pa.ArrowInvalid:
        for position, cell in enumerate(cells.to_pylist()):
            if cell is not None and not _is_number(cell):
                raise InputError(
                    f"{where(_position(table, position))}, column {columns[role]!r}",
                    f"{cell!r} is not a number",
                    "fix the cell, or leave it empty",
                ) from None
        raise
    array: Array = numbers.to_numpy().copy()
    return array


def _position(table: pa.Table, position: int) -> tuple[int, int]:
    return table["table"][position].as_py(), table["row"][position].as_py()


def _is_number(cell: str) -> bool:
    try:
        pa.array([cell], pa.string()).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


_AT_ONCE = 16  # blocks of the file; more take memory, fewer time
_PLACED_BY = ("lat", "lon", "east", "north")
_IN_PARTS = "multi_csv"  # the folder of a published zip with the directory cut into many files


def read_directory(
    settings: DirectoryLocations, areas: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the postcodes of the study's areas.

    The location_id is the postcode in capitals without blanks. Only the columns needed are read,
    a block of the file at a time, and only rows of the study's areas are held.

    Parameters
    ----------
    settings : DirectoryLocations
        The directory (CSV, also gzipped, Parquet, or the published zip, whole or cut into many
        files), which of its areas are the study's, and whether terminated postcodes count.
    areas : DataFrame
        Indexed by area code.

    Returns
    -------
    frame : DataFrame
        As `read_locations` describes it. ``attrs`` count rows: ``rows`` of the file, ``outside``
        (their area is none of the study's), of these ``no_area`` (no code at all) and
        ``pseudo_codes`` (code -> rows); ``repeated`` (equal to another row, and not
        counted), ``terminated`` (excluded), ``no_coordinates`` (used without); ``layout`` names the
        published layout or is None.
    skips : DataFrame
        Terminated postcodes, if ``live_only``.

    Raises
    ------
    InputError
        If the header is not recognised, no row lies in the study's areas, a postcode is empty or
        appears again with another area or position, or a coordinate is not a number.
    """
    directory = _Directory.open(settings)
    kind = settings.area[:-2]
    matched, outside, counts = _scan(directory, kind, areas.index, settings.live_only)
    rows = len(matched)
    matched = _once(directory, matched)
    counts["repeated"] = rows - len(matched)
    _refuse_strangers(directory, matched, outside)
    skips = []
    if settings.live_only:
        ended = pc.not_equal(matched["terminated"], "")
        excluded = matched.filter(ended)
        skips.append(
            skip_frame(
                [_terminated(month) for month in excluded["terminated"].to_pylist()],
                location_id=excluded["location_id"].to_pylist(),
                area=excluded["area"].to_pylist(),
            )
        )
        matched = matched.filter(pc.invert(ended))
    lat, lon = degrees(matched, directory.layout.columns, directory.where)
    ids = matched["location_id"]
    first, last = (pc.utf8_slice_codeunits(ids, *part) for part in ((0, -3), (-3, None)))
    frame = sorted_frame(
        {
            "location_id": ids,
            "postcode": pc.binary_join_element_wise(first, last, " "),
            "lat": lat,
            "lon": lon,
            **{role: without_pseudo(matched[role]) for role in ("oa", "lsoa", "msoa")},
            "area": matched["area"],
        }
    )
    frame.attrs = {
        **counts,
        "terminated": sum(map(len, skips)),
        "no_coordinates": int(np.isnan(lat).sum()),
        "layout": directory.layout.name,
    }
    return frame, concat_skips(skips)


def survey_directory(settings: DirectoryLocations) -> pd.DataFrame:
    """Give what each area of a directory lies in and where, by its postcodes.

    The result is cached: several stages need it in one run.

    Returns
    -------
    DataFrame
        Indexed by area code, sorted, without pseudo codes: ``district``, ``ward``, ``county``,
        ``region``, ``country`` (the one with most of the area's postcodes, of equals the first
        code; None where the directory has none), ``lat``, ``lon`` (means, degrees, NaN where
        no postcode has coordinates).

    Raises
    ------
    InputError
        As `read_directory`.
    """
    directory = _Directory.open(settings)
    state = settings.file.stat()
    return _survey(directory, settings.area[:-2], state.st_mtime_ns, state.st_size).copy()


@dataclass(frozen=True)
class _Directory:
    """A directory's file: the tables in it (members of a zip, or None) and what they hold."""

    path: Path
    members: tuple[str | None, ...]
    headers: tuple[tuple[str, ...], ...]
    area: str
    live_only: bool

    @classmethod
    def open(cls, settings: DirectoryLocations) -> _Directory:
        path = settings.file
        members = _tables_with_postcodes(path)
        headers = tuple(tuple(read_header(path, member)) for member in members)
        return cls(path, members, headers, settings.area, settings.live_only)

    @cached_property
    def layout(self) -> Layout:
        """What the columns hold, the same in all its tables."""
        layouts = [
            recognise(header, self.area, self.path, live_only=self.live_only)
            for header in dict.fromkeys(self.headers)
        ]
        if any(layout.columns != layouts[0].columns for layout in layouts):
            raise InputError(
                self.path, "its CSV files have different columns", "fetch the zip again"
            )
        return layouts[0]

    def where(self, *positions: tuple[int, int]) -> str:
        """Name rows of the directory, (table, row), for an error."""
        tables = dict.fromkeys(table for table, _ in positions)
        parts = []
        for table in tables:
            rows = [str(row) for t, row in positions if t == table]
            member = self.members[table]
            named = f"{'rows' if len(rows) > 1 else 'row'} {' and '.join(rows)}"
            parts.append(f"{member}, {named}" if member else named)
        return f"{self.path}: {' and '.join(parts)}"

    def blocks(self, roles: Sequence[str]) -> Iterator[pa.Table]:
        """Run through the roles that it has, with the columns ``table`` and ``row``."""
        columns = {r: c for r, c in self.layout.columns.items() if r in roles}
        found = False
        for table, member in enumerate(self.members):
            start = 2  # the header is row 1
            names = list(dict.fromkeys(columns.values()))
            batches = scan_columns(self.path, names, member=member, codes=True)
            for block in _read_ahead(batches):
                found = found or block.num_rows > 0
                own = {role: block[name] for role, name in columns.items()}
                own["table"] = pa.array(np.full(block.num_rows, table, dtype=np.int16))
                own["row"] = pa.array(np.arange(start, start + block.num_rows))
                start += block.num_rows
                yield pa.table(own)
        if not found:
            raise InputError(self.path, "the table has no rows", "fetch it again")


def _read_ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Give some batches as one table while the next are read: reading and filtering overlap."""

    def some() -> list[pa.RecordBatch]:
        return list(islice(batches, _AT_ONCE))

    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(some)
        while ready := coming.result():
            coming = reader.submit(some)
            yield pa.Table.from_batches(ready)


def _tables_with_postcodes(path: Path) -> tuple[str | None, ...]:
    """Find the tables with postcodes: in a zip one that is whole, or many that are its parts."""
    zipped = zipped_tables(path)
    if zipped is None:
        return (None,)
    known = set(ROLES["postcode"])
    tables = [m for m in zipped if known & {c.strip().lower() for c in read_header(path, m)}]
    if not tables:
        raise InputError(
            path,
            f"none of its {len(zipped)} CSV files has postcodes, a column called "
            f"{', '.join(ROLES['postcode'])}",
            "give the zip of an ONS Postcode Directory as it is published",
        )
    whole = [name for name in tables if _IN_PARTS not in PurePosixPath(name).parts]
    if len(whole) > 1:
        raise InputError(
            path,
            f"{len(whole)} of its CSV files have postcodes: {', '.join(whole[:4])}",
            "unpack the one that is meant and name it",
        )
    return tuple(whole or tables)


def _scan(
    directory: _Directory, kind: str, areas: pd.Index, live_only: bool
) -> tuple[pa.Table, pa.Table, dict[Hashable, Any]]:
    """Rows of the study's areas, keys and rows of all others, and how many of them are what."""
    wanted = pa.array(areas.to_numpy(dtype=object), pa.string())
    roles = ("postcode", "oa", "lsoa", "msoa", *_PLACED_BY, *(["terminated"] * live_only))
    matched, outside = [], []
    counts: dict[Hashable, Any] = {"rows": 0, "outside": 0, "no_area": 0}
    pseudo: Counter[str] = Counter()
    example = ""
    for block in directory.blocks(roles):
        codes = pc.utf8_trim_whitespace(block[kind])
        block = block.append_column("location_id", _ids(block["postcode"]))
        block = block.append_column("area", codes)
        inside = pc.is_in(codes, value_set=wanted)
        others = pc.invert(inside)
        matched.append(block.filter(inside))
        outside.append(block.select(["table", "row", "location_id"]).filter(others))
        foreign = codes.filter(others)
        counts["rows"] += block.num_rows
        counts["outside"] += len(foreign)
        counts["no_area"] += pc.sum(pc.equal(foreign, "")).as_py() or 0
        if any_pseudo(foreign):
            found = pc.value_counts(foreign.filter(is_pseudo(foreign)))
            pseudo.update({pair["values"]: pair["counts"] for pair in found.to_pylist()})
        if not example and len(foreign):
            plain = foreign.filter(pc.invert(pc.or_(is_pseudo(foreign), pc.equal(foreign, ""))))
            example = plain[0].as_py() if len(plain) else ""
    if counts["outside"] == counts["rows"]:
        raise _none_of_the_study(directory, kind, areas, example)
    table = pa.concat_tables(matched)
    blank = pa.nulls(table.num_rows, pa.string())
    for role in ("oa", "lsoa", "msoa"):
        if role not in table.column_names:
            table = table.append_column(role, blank)
    counts["pseudo_codes"] = dict(sorted(pseudo.items()))
    return table, pa.concat_tables(outside), counts


def _ids(postcodes: pa.ChunkedArray) -> pa.ChunkedArray:
    """Postcodes in capitals without blanks."""
    ids = pc.replace_substring(pc.ascii_upper(postcodes), " ", "")
    if not pc.all(pc.ascii_is_alnum(ids)).as_py():  # other kinds of blanks, which take longer
        ids = pc.replace_substring_regex(ids, r"[\s\x{a0}]+", "")
    return ids


def _none_of_the_study(
    directory: _Directory, kind: str, areas: pd.Index, example: str
) -> InputError:
    column = directory.layout.columns[kind]
    study = repr(areas[0]) if len(areas) else "none"
    return InputError(
        directory.path,
        f"none of its areas is one of the study's: column {column!r} has {example!r}, the study "
        f"{study}",
        "set 'locations.area' to the kind and year of the study's areas, or give the directory of "
        "the same country",
    )


def _terminated(month: str) -> str:
    """Name the month of a date like 201006; what is no such date is repeated."""
    if re.fullmatch(r"\d{4}(0[1-9]|1[0-2])", month):
        month = f"{month_name[int(month[4:])]} {month[:4]}"
    return f"postcode terminated {month}"


def _once(directory: _Directory, matched: pa.Table) -> pa.Table:
    """Take one of equal rows of a postcode; refuse rows that differ."""
    ids = matched["location_id"]
    blank = pc.index(ids, "").as_py()
    if blank >= 0:
        row = matched.slice(blank, 1).select(["table", "row"]).to_pylist()[0]
        raise InputError(
            directory.where((row["table"], row["row"])),
            "there is no postcode",
            "fix or remove the row",
        )
    if pc.count_distinct(ids).as_py() == len(ids):
        return matched
    keys = ids.to_pandas()
    several = matched.filter(pa.array(keys.duplicated(keep=False))).to_pandas()
    # Areas first: of all that differs they matter most.
    known = ["area", *(role for role in directory.layout.columns if role in several)]
    values = several[known].drop(columns="postcode").apply(lambda cells: cells.str.strip())
    refuse_repeated(
        several["location_id"],
        lambda *rows: directory.where(*several[["table", "row"]].to_numpy()[list(rows)]),
        "location_id",
        values=values.rename(columns={**directory.layout.columns, "area": directory.area}),
        unless_equal=True,
    )
    return matched.filter(pa.array(~keys.duplicated()))


def _refuse_strangers(directory: _Directory, matched: pa.Table, outside: pa.Table) -> None:
    """Refuse a postcode of the study that has another row, in an area outside it."""
    ids = matched["location_id"]
    strangers = pc.is_in(outside["location_id"], value_set=ids.combine_chunks())
    if pc.any(strangers).as_py():
        other = outside.filter(strangers).slice(0, 1).to_pylist()[0]
        own = matched.filter(pc.equal(ids, other["location_id"])).to_pylist()[0]
        raise InputError(
            directory.where((own["table"], own["row"]), (other["table"], other["row"])),
            f"location_id {own['location_id']!r} appears more than once, in area {own['area']!r} "
            "and in one that is none of the study's",
            "keep one of the rows",
        )


@lru_cache(maxsize=2)
def _survey(directory: _Directory, kind: str, modified: int, size: int) -> pd.DataFrame:
    columns = directory.layout.columns
    labels = [label for label in LABELS if label in columns]
    parts = []
    for block in directory.blocks(("postcode", kind, *labels, *_PLACED_BY)):
        block = block.append_column("area", pc.utf8_trim_whitespace(block[kind]))
        block = block.append_column("location_id", _ids(block["postcode"]))
        block = block.filter(
            pc.invert(pc.or_(is_pseudo(block["area"]), pc.equal(block["area"], "")))
        )
        lat, lon = degrees(block, columns, directory.where)
        block = block.select(["area", *labels]).append_column("one", pa.array(np.ones(len(block))))
        for name, values in (("lat", lat), ("lon", lon)):
            block = block.append_column(name, pa.array(values, from_pandas=True))
        sums = [("one", "sum"), ("lat", "sum"), ("lat", "count"), ("lon", "sum")]
        parts.append(block.group_by(["area", *labels]).aggregate(sums))
    rows = pa.concat_tables(parts).to_pandas()
    areas = rows.groupby("area")[["lat_sum", "lat_count", "lon_sum"]].sum()
    found = pd.DataFrame(index=areas.index)
    for label in LABELS:
        found[label] = _most_common_label(rows, label) if label in labels else None
    count = areas["lat_count"].where(areas["lat_count"] > 0)
    found["lat"], found["lon"] = areas["lat_sum"] / count, areas["lon_sum"] / count
    return found


def _most_common_label(rows: pd.DataFrame, label: str) -> pd.Series:
    """Give the value with most postcodes for each area; pseudo codes and blanks do not count."""
    named = rows[["area", label, "one_sum"]]
    named = named.assign(**{label: named[label].str.strip()})
    pseudo = is_pseudo(pa.array(named[label].to_numpy(object), pa.string()))
    named = named[~pseudo.to_numpy(zero_copy_only=False) & (named[label] != "").to_numpy()]
    totals = named.groupby(["area", label])["one_sum"].sum().reset_index()
    totals = totals.sort_values(["area", "one_sum", label], ascending=[True, False, True])
    most: pd.Series = totals.drop_duplicates("area").set_index("area")[label]
    return most
