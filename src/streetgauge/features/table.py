"""Features that exist already: a table with one row an image, joined to locations."""

from __future__ import annotations

import csv
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.errors import InputError, closest, summary
from streetgauge.features.store import FeatureStore, usable
from streetgauge.io.files import atomic_path, sha256_of
from streetgauge.progress import Progress, silent
from streetgauge.settings import TableFeatures
from streetgauge.skips import AllExcludedError, skips_frame

# WGS84: semi-major axis in metres, squared eccentricity.
SEMI_MAJOR, ECCENTRICITY_2 = 6_378_137.0, 0.00669437999014
MAX_VIEWS = 64

Skip = dict[str, str | None]
# For each location (slot): positions of its rows by view, -1 where it has none; [N, V]
RowsOf = npt.NDArray[np.intp]


def join_table(
    settings: TableFeatures,
    locations: pd.DataFrame,
    path: Path,
    *,
    cache_key: str = "",
    progress: Progress = silent,
) -> pd.DataFrame:
    """Join a table of features to locations, into a store.

    With ``settings.location_id`` rows are joined by key: by location and view, or, without a view,
    up to ``k`` rows of a location (if ``k`` is not set, as many as the location with the most rows
    has, and any are enough). With ``settings.area`` each location takes the rows of its area in the
    same way. With coordinates a location takes the ``k`` nearest rows within
    ``within`` metres, nearest first; of rows equally far away, and of a location's rows without a
    view, those with the lower latitude, longitude and features (in the order of ``columns``) come
    first. So neither the order of the table's rows nor that of the locations matters.

    Distances are straight lines between points on the WGS84 ellipsoid: less than a millimetre
    from the way along the ground at 1 km.

    Parameters
    ----------
    settings : TableFeatures
        The table, and how it is joined.
    locations : DataFrame
        ``location_id``, and ``lat``, ``lon`` in degrees for a join by coordinates or ``area`` for
        one by area.
    path : Path
        The store. Its views are those of the table, or "1" to "k".
    cache_key : str
        Hash of all inputs and settings.
    progress : Progress
        Reports every location.

    Returns
    -------
    DataFrame
        ``location_id, view, area, stage, reason``: rows without all their numbers, rows of unknown
        locations, and locations or views without a row.

    Raises
    ------
    InputError
        If the table cannot be read, lacks a column, a feature is not a number (with its row), a
        coordinate is none, a location and view stand in it twice, a location has more rows than
        ``k``, or no location has any row.
    """
    matched = match_rows(settings, locations, progress)
    ids, table, rows_of, present = matched.ids, matched.table, matched.rows_of, matched.present
    unused = {"file"} if settings.area else {"file", "area"}
    attributes = {
        "backbone": "table",
        "weights_sha256": sha256_of(settings.file),
        "transform": json.dumps(matched.settings.model_dump(mode="json", exclude=unused)),
        "cache_key": cache_key,
    }
    with atomic_path(path) as temporary:
        dimension = len(settings.columns)
        with FeatureStore.create(
            temporary, ids, matched.views, dimension, attributes, dtype=settings.dtype
        ) as store:
            for start in range(0, len(ids), 4096):
                slots = np.arange(start, min(start + 4096, len(ids)))
                features = table.features[rows_of[slots]]
                store.write(slots, features, present[slots], matched.done[slots])
    return matched.skips


@dataclass(frozen=True, eq=False)
class Matched:
    """Rows of a table that belong to locations.

    Parameters
    ----------
    settings : TableFeatures
        With ``k`` and ``require``, also where they followed from the rows.
    table : Columns
        The rows.
    ids : array of str, [N]
        The locations, sorted.
    views : list of str, length V
        Names of the views.
    rows_of : array of int, [N, V]
        Position in `table`, -1 where there is none.
    skips : DataFrame
        As of `join_table`.
    """

    settings: TableFeatures
    table: Columns
    ids: npt.NDArray[np.str_]
    views: list[str]
    rows_of: RowsOf
    skips: pd.DataFrame

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Which views there are: [N, V]."""
        return self.rows_of >= 0

    @property
    def done(self) -> npt.NDArray[np.bool_]:
        """Which locations have enough views: [N]."""
        return usable(self.present, self.settings.require or "all")


def match_rows(
    settings: TableFeatures, locations: pd.DataFrame, progress: Progress = silent
) -> Matched:
    """Find the rows of every location; parameters and errors are those of `join_table`."""
    table = read_columns(settings)
    nothing_whole = len(table.complete) > 0 and not table.complete.any()
    skips = [*_incomplete(settings, table)]
    ids = np.array(sorted({str(location) for location in locations["location_id"]}), dtype=str)
    of_area = None if settings.area is None else _areas_of(locations, ids)
    keys = ids if of_area is None else np.unique(of_area)
    table = table.usable()
    if settings.view is None:
        table = _in_order(table)
        settings = _with_views(settings, table, keys)
        views = [str(rank) for rank in range(1, (settings.k or 0) + 1)]
    else:
        views = _view_names(settings, table)
    if of_area is not None:
        rows_of = _by_area(settings, table, of_area, ids, len(views), skips)
    elif settings.location_id is None:
        rows_of = _by_coordinates(settings, table, locations, ids, skips, progress)
    elif settings.view is None:
        rows_of = _by_location(settings, table, ids, len(views), skips)
    else:
        rows_of = _by_view(settings, table, ids, views, skips)
    if not (rows_of >= 0).any():
        reason, step = "none of its rows belongs to a location", _hint(settings)
        if nothing_whole:
            reason, step = "every row lacks a number", "see the columns that study.toml names"
        raise AllExcludedError(settings.file, reason, step, skips_frame(skips))
    return Matched(settings, table, ids, views, rows_of, skips_frame(skips))


def _areas_of(locations: pd.DataFrame, ids: npt.NDArray[np.str_]) -> npt.NDArray[np.str_]:
    """Give the area of each of these locations."""
    areas = locations["area"].astype(str).set_axis(locations["location_id"].astype(str))
    return areas.reindex(ids).to_numpy(str)


def _with_views(
    settings: TableFeatures, table: Columns, ids: npt.NDArray[np.str_]
) -> TableFeatures:
    """Set how many views a location has, where that follows from its rows.

    Nobody has asked for a number then, so that locations with fewer rows than others are used.
    """
    if settings.k is not None:
        return settings
    rows = pd.Series(table.keys, dtype=str).value_counts()
    rows = rows[rows.index.isin(ids)]
    if len(rows) and rows.iloc[0] > MAX_VIEWS:
        what = "location" if settings.area is None else "area"
        step = "name the column that distinguishes a location's images as 'view'"
        raise InputError(
            settings.file,
            f"{what} {rows.index[0]!r} has {rows.iloc[0]:,} rows, more than {MAX_VIEWS}",
            step if settings.area is None else "give a table with a row an area",
        )
    k = int(rows.iloc[0]) if len(rows) else 1
    return settings.model_copy(update={"k": k, "require": settings.require or "any"})


def _hint(settings: TableFeatures) -> str:
    if settings.area is not None:
        return f"compare its column {settings.area!r} with the areas of the locations"
    if settings.location_id is None:
        return f"no image lies within {settings.within:g} m of a location: check lat and lon"
    return f"compare its column {settings.location_id!r} with the locations' ids"


def _incomplete(settings: TableFeatures, table: Columns) -> Iterator[Skip]:
    """Rows that lack a number or a key."""
    names = [name for name in (settings.lat, settings.lon) if name] + list(settings.columns)
    numbers = np.column_stack([table.points, table.features])
    for i in np.flatnonzero(~table.complete):
        gaps = np.flatnonzero(~np.isfinite(numbers[i]))
        keys = [n for n in (settings.location_id, settings.view) if n]
        what = names[gaps[0]] if len(gaps) else " or ".join(keys)
        found = "infinity" if len(gaps) and np.isinf(numbers[i, gaps[0]]) else "nothing"
        yield {
            "location_id": table.keys[i] or None if settings.location_id else None,
            "area": table.keys[i] or None if settings.area else None,
            "view": table.views[i] or None if settings.view else None,
            "reason": f"a row of the table has {found} in column {what!r}",
        }


def _in_order(table: Columns) -> Columns:
    """Sort the rows by what they hold: how they stood in the file is then forgotten."""
    keys = [*table.features.T[::-1], *table.points.T[::-1]]
    return table.taken(np.lexsort(keys))


def _by_coordinates(
    settings: TableFeatures,
    table: Columns,
    locations: pd.DataFrame,
    ids: npt.NDArray[np.str_],
    skips: list[Skip],
    progress: Progress,
) -> RowsOf:
    """Find the k nearest rows of each location."""
    from scipy.spatial import cKDTree

    k, within = settings.k or 0, settings.within
    unique = locations.drop_duplicates("location_id").set_index("location_id")
    where = unique[["lat", "lon"]].reindex(ids).to_numpy(np.float64)
    known = np.isfinite(where).all(axis=1)
    rows_of = np.full((len(ids), k), -1, dtype=np.intp)
    skips += [_without(ids[i], "the location has no coordinates") for i in np.flatnonzero(~known)]
    if not len(table.features):
        return rows_of
    points = _earth_centred(table.points)
    tree = cKDTree(points)
    with progress("features", len(ids), "locations") as advance:
        for slots in np.array_split(np.flatnonzero(known), max(1, len(ids) // 1024)):
            centres = _earth_centred(where[slots])
            # The k-th distance bounds the search; all rows as near are compared, not some of them.
            far = tree.query(centres, k=[k], distance_upper_bound=within * (1 + 1e-9))[0][:, 0]
            near = tree.query_ball_point(centres, np.minimum(far, within) * (1 + 1e-9))
            for slot, centre, rows in zip(slots, centres, near, strict=True):
                chosen = _nearest(points, centre, np.sort(np.array(rows, dtype=np.intp)), settings)
                rows_of[slot, : len(chosen)] = chosen
                if len(chosen) < k:
                    skips.append(
                        _too_few(ids[slot], len(chosen), settings, f" within {within:g} m")
                    )
            advance(len(slots))
    return rows_of


def _nearest(
    points: npt.NDArray[np.float64],
    centre: npt.NDArray[np.float64],
    rows: npt.NDArray[np.intp],
    settings: TableFeatures,
) -> npt.NDArray[np.intp]:
    """Of candidates in the table's order, the nearest; the stable sort retains it for ties."""
    distances = np.sqrt(((points[rows] - centre) ** 2).sum(axis=1))
    order = np.argsort(distances, kind="stable")
    nearest: npt.NDArray[np.intp] = rows[order[distances[order] <= settings.within][: settings.k]]
    return nearest


def _earth_centred(degrees: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Latitude and longitude as metres from the centre of the earth, at sea level; [n, 3]."""
    lat, lon = np.radians(degrees).T
    radius = SEMI_MAJOR / np.sqrt(1 - ECCENTRICITY_2 * np.sin(lat) ** 2)
    return np.column_stack(
        [
            radius * np.cos(lat) * np.cos(lon),
            radius * np.cos(lat) * np.sin(lon),
            radius * (1 - ECCENTRICITY_2) * np.sin(lat),
        ]
    )


def _by_location(
    settings: TableFeatures,
    table: Columns,
    ids: npt.NDArray[np.str_],
    k: int,
    skips: list[Skip],
) -> RowsOf:
    """All rows of each location, in the table's order."""
    slots = _slots(table, ids, skips)
    rows_of = np.full((len(ids), k), -1, dtype=np.intp)
    count = np.zeros(len(ids), dtype=np.intp)
    for row in np.flatnonzero(slots >= 0):
        slot = slots[row]
        if count[slot] == k:
            raise InputError(
                settings.file,
                f"location {str(ids[slot])!r} has {int((slots == slot).sum())} rows, and k is {k}",
                "set k to the most rows of a location, or name the column 'view'",
            )
        rows_of[slot, count[slot]] = row
        count[slot] += 1
    short = np.flatnonzero(count < k)
    skips += [_too_few(ids[i], int(count[i]), settings, "") for i in short]
    return rows_of


def _by_area(
    settings: TableFeatures,
    table: Columns,
    of_area: npt.NDArray[np.str_],
    ids: npt.NDArray[np.str_],
    k: int,
    skips: list[Skip],
) -> RowsOf:
    """All rows of each location's area, in the table's order."""
    areas, slot = np.unique(of_area, return_inverse=True)
    own = pd.Index(areas).get_indexer(pd.Index(table.keys, dtype=str))
    rows_of = np.full((len(areas), k), -1, dtype=np.intp)
    count = np.zeros(len(areas), dtype=np.intp)
    for row in np.flatnonzero(own >= 0):  # rows of areas without a location are no loss
        area = own[row]
        if count[area] == k:
            raise InputError(
                settings.file,
                f"area {str(areas[area])!r} has {int((own == area).sum())} rows, and k is {k}",
                "set k to the most rows of an area",
            )
        rows_of[area, count[area]] = row
        count[area] += 1
    for i in np.flatnonzero(count[slot] < k):
        short = _too_few(ids[i], int(count[slot[i]]), settings, " for its area")
        skips.append({**short, "area": str(of_area[i])})
    return rows_of[slot]


def _by_view(
    settings: TableFeatures,
    table: Columns,
    ids: npt.NDArray[np.str_],
    views: list[str],
    skips: list[Skip],
) -> RowsOf:
    """Find the one row of each location and view."""
    slots = _slots(table, ids, skips)
    column_of = {view: column for column, view in enumerate(views)}
    rows_of = np.full((len(ids), len(views)), -1, dtype=np.intp)
    for row in np.flatnonzero(slots >= 0):
        slot, column = slots[row], column_of[table.views[row]]
        if (other := rows_of[slot, column]) >= 0:
            raise InputError(
                f"{settings.file}: row {table.numbers[row]}",
                f"view {table.views[row]!r} of location {str(ids[slot])!r} occurs twice, "
                f"first in row {table.numbers[other]}",
                "remove one of the two",
            )
        rows_of[slot, column] = row
    suffix = " and all are needed" if settings.require == "all" else ""
    for location, absent in zip(ids, rows_of < 0, strict=True):
        if absent.all():
            skips.append(_without(location, "the table has no row of this location"))
            continue
        for missing in np.flatnonzero(absent):
            reason = f"the table has no row of this view{suffix}"
            skips.append({"location_id": str(location), "view": views[missing], "reason": reason})
    return rows_of


def _slots(table: Columns, ids: npt.NDArray[np.str_], skips: list[Skip]) -> npt.NDArray[np.intp]:
    """Position of each row's location; rows of other locations are skipped."""
    slots: npt.NDArray[np.intp] = pd.Index(ids).get_indexer(pd.Index(table.keys, dtype=str))
    for row in np.flatnonzero(slots < 0):
        reason = "the location of this row is not one of the study's"
        view = table.views[row] or None
        skips.append({"location_id": table.keys[row], "view": view, "reason": reason})
    return slots


def _view_names(settings: TableFeatures, table: Columns) -> list[str]:
    """Sort the views in the table: 2 before 10 where all are numbers."""
    names = set(table.views)
    if len(names) > MAX_VIEWS:
        raise InputError(
            settings.file,
            f"column {settings.view!r} names {len(names):,} views, more than {MAX_VIEWS}",
            "name the column that distinguishes a location's images",
        )
    key: Callable[[str], Any] = int if all(name.isdecimal() for name in names) else str
    return sorted(names, key=key)


def _too_few(location: str, count: int, settings: TableFeatures, where: str) -> Skip:
    wanted = "needed" if settings.require == "all" else "wanted"
    number = "no row" if count == 0 else "1 row" if count == 1 else f"{count} rows"
    return _without(location, f"{number} of the table{where}, {settings.k} {wanted}")


def _without(location: str, reason: str) -> Skip:
    return {"location_id": str(location), "reason": reason}


# What stands where there is no number.
_GAPS = [
    *("", "NA", "N/A", "n/a", "<NA>", "#NA", "#N/A"),
    *("NaN", "nan", "-NaN", "-nan", "NULL", "null", "None"),
]


@dataclass(frozen=True)
class Columns:
    """Rows of a table of features; what the settings do not name is empty.

    Parameters
    ----------
    numbers : array of int, [n]
        Where each row stands in the table, from 1, the header not counted.
    keys, views : array of str, [n]
        The location, or the area, and the view; "" where there is none.
    points : array of float, [n, 2], or [n, 0]
        Latitude and longitude in degrees.
    features : array of float32, [n, D]
        Not finite where a cell is empty.
    complete : array of bool, [n]
        Whether a row has all that it needs.
    """

    numbers: npt.NDArray[np.intp]
    keys: npt.NDArray[np.object_]
    views: npt.NDArray[np.object_]
    points: npt.NDArray[np.float64]
    features: npt.NDArray[np.float32]
    complete: npt.NDArray[np.bool_]

    def taken(self, rows: npt.NDArray[Any]) -> Columns:
        """Take some rows, in that order."""
        return replace(
            self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)}
        )

    def usable(self) -> Columns:
        """Take the complete rows."""
        return self.taken(self.complete)


def read_columns(settings: TableFeatures) -> Columns:
    """Read the columns that the settings name.

    A name may stand in the header more than once: of such columns the numeric one is taken for a
    feature or a coordinate (the last, if several are), and the first for a key.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or a cell is not a number.
    """
    key = settings.location_id or settings.area
    keys = [name for name in (key, settings.view) if name]
    degrees = [name for name in (settings.lat, settings.lon) if name]
    numeric = [*degrees, *settings.columns]
    frame, header = _read_needed(settings.file, keys, numeric)
    file = settings.file
    n = len(frame)
    texts = {
        name: frame[header.index(name)].fillna("").astype(str).str.strip().to_numpy(object)
        for name in keys
    }
    columns = {name: _numeric_column(file, frame, header, name) for name in numeric}
    points = _stacked([columns[name] for name in degrees], n, np.dtype(np.float64))
    with np.errstate(over="ignore"):  # beyond float32: infinite, hence reported as incomplete
        features = _stacked([columns[name] for name in settings.columns], n, np.dtype(np.float32))
    if settings.transform == "sqrt":
        features = _roots(settings, features)
    _check_degrees(settings, points)
    complete = np.isfinite(points).all(axis=1) & np.isfinite(features).all(axis=1)
    for values in texts.values():
        complete &= values != ""
    nothing = np.full(n, "", dtype=object)
    return Columns(
        np.arange(1, n + 1),
        texts.get(key or "", nothing),
        texts.get(settings.view or "", nothing),
        points,
        features,
        complete,
    )


def _roots(settings: TableFeatures, features: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Take square roots; rows are counted from 1."""
    if (features < 0).any():
        row, column = (int(i[0]) for i in np.nonzero(features < 0))
        raise InputError(
            f"{settings.file}: row {row + 1}, column {settings.columns[column]!r}",
            f"{features[row, column]:g} is negative and has no square root",
            'correct it, or remove transform = "sqrt"',
        )
    roots: npt.NDArray[Any] = np.sqrt(features)
    return roots


def _stacked(columns: list[Any], n: int, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.column_stack(columns).astype(kind) if columns else np.empty((n, 0), dtype=kind)


def _read_needed(
    file: Path, keys: Sequence[str], numeric: Sequence[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Read the needed columns, named by their position in the header, and the header."""
    parquet = file.suffix.lower() in (".parquet", ".pq")
    try:
        header = _parquet_header(file) if parquet else _csv_header(file)
        for name in (*keys, *numeric):
            if name not in header:
                reason = f"there is no column {name!r}"
                raise InputError(file, reason, closest(name, dict.fromkeys(header)))
        needed = [i for i, name in enumerate(header) if name in {*keys, *numeric}]
        texts = [header.index(name) for name in keys]
        read = _read_parquet if parquet else _read_csv
        return read(file, header, needed, texts), header
    except FileNotFoundError:
        raise InputError(file, "there is no such file", "check features.file") from None
    # Errors of pandas, Arrow, csv and UTF-8 are ValueErrors or OSErrors.
    except (
        OSError,
        ValueError,
        csv.Error,
        zipfile.BadZipFile,
        EOFError,
        pd.errors.ParserWarning,
    ) as error:
        reason = f"it cannot be read as a table: {summary(error)}"
        step = "give CSV or Parquet with as many cells in each row as in the header"
        raise InputError(file, reason, step) from None


def _parquet_header(file: Path) -> list[str]:
    import pyarrow.parquet as pq

    return list(pq.read_schema(file).names)


def _read_parquet(
    file: Path, header: list[str], needed: list[int], texts: list[int]
) -> pd.DataFrame:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file).read(columns=list(dict.fromkeys(header[i] for i in needed)))
    # Reading by name gives all columns of a name, among themselves in the file's order.
    places: dict[str, list[int]] = {}
    for place, name in enumerate(table.column_names):
        places.setdefault(name, []).append(place)
    earlier = [header[:index].count(header[index]) for index in needed]
    columns = {
        index: table.column(places[header[index]][count])
        for index, count in zip(needed, earlier, strict=True)
    }
    frame = pd.DataFrame({index: column.to_pandas() for index, column in columns.items()})
    for index in texts:
        column = columns[index]
        whole = column.combine_chunks().cast(_text_of(column.type))  # 7 stays 7 next to a gap
        texts_of = whole.to_pandas()
        frame[index] = texts_of.astype("str").where(texts_of.notna(), None)
    return frame


def _text_of(kind: Any) -> Any:
    """Give the type that a column of ids is cast to on its way to text: its own, or text."""
    import pyarrow as pa

    plain = pa.types.is_dictionary(kind)
    readable = pa.types.is_integer(kind) or pa.types.is_large_string(kind)
    return pa.string() if plain or readable else kind


def _csv_header(file: Path) -> list[str]:
    with _opened(file) as handle:
        text = io.TextIOWrapper(handle, encoding="utf-8-sig", newline="")
        header = next(csv.reader(text), [])
        text.detach()
    if not header:
        raise InputError(file, "it is empty", "give a table with a header")
    return [name.strip() for name in header]


def _read_csv(file: Path, header: list[str], needed: list[int], texts: list[int]) -> pd.DataFrame:
    # A row with more cells than the header is only refused if all columns are read.
    with _opened(file) as handle, warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        gaps: Any = {i: _GAPS for i in range(len(header)) if i not in texts}
        # Names are replaced by positions: pandas would rename the second of two equal names.
        frame = pd.read_csv(
            handle,
            encoding="utf-8-sig",
            header=0,
            names=list(range(len(header))),
            dtype=dict.fromkeys(texts, "str"),
            # Keys are text as they are: "NA" and "null" are ids, too.
            keep_default_na=False,
            na_values=gaps,
            index_col=False,
            low_memory=False,
        )
    return frame[needed]


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    """Open a CSV, also if it is the one CSV in a zip; nothing is unpacked to disk."""
    if file.suffix.lower() != ".zip":
        with file.open("rb") as handle:
            yield handle
        return
    with zipfile.ZipFile(file) as archive:
        names = [
            name
            for name in archive.namelist()
            if name.lower().endswith(".csv") and not name.startswith("__MACOSX/")
        ]
        if len(names) != 1:
            raise InputError(file, f"it holds {len(names)} CSV files", "give a zip with one")
        with archive.open(names[0]) as handle:
            yield handle


def _numeric_column(
    file: Path, frame: pd.DataFrame, header: list[str], name: str
) -> npt.NDArray[Any]:
    """Take the column of this name that is numeric; the last one, if several are."""
    candidates = [frame[i] for i, other in enumerate(header) if other == name]
    for column in reversed(candidates):
        # A column without any value reads as numbers too; then another may be meant.
        if pd.api.types.is_numeric_dtype(column) and (column.notna().any() or len(candidates) == 1):
            return np.asarray(column, dtype=np.float64)
    column = candidates[-1]
    values = pd.to_numeric(column, errors="coerce")
    bad = np.flatnonzero(values.isna() & column.notna() & (column.astype(str).str.strip() != ""))
    if not len(bad):
        return np.asarray(values, dtype=np.float64)
    raise InputError(
        f"{file}: row {bad[0] + 1}",
        f"column {name!r} holds {str(column.iloc[bad[0]])[:60]!r}, which is not a number",
        "correct the row, or name other columns",
    )


def _check_degrees(settings: TableFeatures, points: npt.NDArray[np.float64]) -> None:
    for axis, limit in enumerate((90, 180)[: points.shape[1]]):
        bad = np.flatnonzero(np.abs(points[:, axis]) > limit)
        if len(bad):
            name = (settings.lat, settings.lon)[axis]
            raise InputError(
                f"{settings.file}: row {bad[0] + 1}",
                f"column {name!r} holds {points[bad[0], axis]:g}, not degrees",
                "give latitude and longitude in degrees (WGS84)",
            )
