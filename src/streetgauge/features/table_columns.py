"""The columns of a table of features that a join needs, as arrays."""

from __future__ import annotations

import csv
import io
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.errors import InputError, closest
from streetgauge.settings import TableFeatures

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
    location_ids, views : array of str, [n]
        Keys; "" where there is none.
    points : array of float, [n, 2], or [n, 0]
        Latitude and longitude in degrees.
    features : array of float32, [n, D]
        Not finite where a cell is empty.
    complete : array of bool, [n]
        Whether a row has all that it needs.
    """

    numbers: npt.NDArray[np.intp]
    location_ids: npt.NDArray[np.object_]
    views: npt.NDArray[np.object_]
    points: npt.NDArray[np.float64]
    features: npt.NDArray[np.float32]
    complete: npt.NDArray[np.bool_]

    def taken(self, rows: npt.NDArray[Any]) -> Columns:
        """Take some rows, in that order."""
        return replace(
            self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)}
        )

    def kept(self) -> Columns:
        """Take the complete rows."""
        return self.taken(self.complete)


def read_columns(settings: TableFeatures) -> Columns:
    """Read the columns that the settings name.

    A name may stand in the header more than once: of such columns the numeric one is taken for a
    feature or a coordinate (the last, if several are), and the first for a key.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or a cell is no number.
    """
    keys = [name for name in (settings.location_id, settings.view) if name]
    degrees = [name for name in (settings.lat, settings.lon) if name]
    numeric = [*degrees, *settings.columns]
    frame, header = _read(settings.file, keys, numeric)
    file = settings.file
    n = len(frame)
    texts = {
        name: frame[header.index(name)].fillna("").astype(str).str.strip().to_numpy(object)
        for name in keys
    }
    columns = {name: _numbers(file, frame, header, name) for name in numeric}
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
        texts.get(settings.location_id or "", nothing),
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
            'mend it, or remove transform = "sqrt"',
        )
    roots: npt.NDArray[Any] = np.sqrt(features)
    return roots


def _stacked(columns: list[Any], n: int, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.column_stack(columns).astype(kind) if columns else np.empty((n, 0), dtype=kind)


def _read(
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
        reason = str(error).strip().partition("\n")[0][:200]
        raise InputError(file, f"it cannot be read as a table: {reason}") from None


def _parquet_header(file: Path) -> list[str]:
    import pyarrow.parquet as pq

    return list(pq.read_schema(file).names)


def _read_parquet(
    file: Path, header: list[str], needed: list[int], texts: list[int]
) -> pd.DataFrame:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file).read(columns=list(dict.fromkeys(header[i] for i in needed)))
    # Reading by name keeps all columns of a name, in the file's order.
    frame = pd.DataFrame({place: table.column(i).to_pandas() for i, place in enumerate(needed)})
    for place in texts:
        column = table.column(needed.index(place))
        whole = column.combine_chunks().cast(_text_of(column.type))  # 7 stays 7 beside a gap
        texts_of = whole.to_pandas()
        frame[place] = texts_of.astype("str").where(texts_of.notna(), None)
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


def _numbers(file: Path, frame: pd.DataFrame, header: list[str], name: str) -> npt.NDArray[Any]:
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
        f"column {name!r} holds {str(column.iloc[bad[0]])[:60]!r}, which is no number",
        "mend the row, or name other columns",
    )


def _check_degrees(settings: TableFeatures, points: npt.NDArray[np.float64]) -> None:
    for place, limit in enumerate((90, 180)[: points.shape[1]]):
        bad = np.flatnonzero(np.abs(points[:, place]) > limit)
        if len(bad):
            name = (settings.lat, settings.lon)[place]
            raise InputError(
                f"{settings.file}: row {bad[0] + 1}",
                f"column {name!r} holds {points[bad[0], place]:g}, not degrees",
                "give latitude and longitude in degrees (WGS84)",
            )
