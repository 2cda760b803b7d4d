"""The small tables of official statistics, read whole, as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from streetgauge.errors import InputError, closest, summary
from streetgauge.io.tables.cells import require_columns
from streetgauge.io.tables.raw import (
    DAMAGED,
    PARQUET,
    UNPACKING,
    ZIP,
    damaged,
    decoded,
    delimiter_of,
    is_workbook,
    opened,
)
from streetgauge.io.tables.workbook import read_pages
from streetgauge.io.vector import open_vector

VECTOR_SUFFIXES = (".geojson", ".json", ".shp", ".fgb")
OLE = b"\xd0\xcf\x11\xe0"  # Excel before 2007
_LIMIT = 2 << 30  # bytes of text: a table of areas has less, a zip made to do harm has more
_SAMPLE = 1 << 18  # characters
_HEADER_WITHIN = 60  # rows: titles and metadata above a header are fewer
Columns = dict[str, int]  # role -> position


@dataclass(frozen=True, eq=False)
class Sheet:
    """One sheet of a file: all its rows as text without blank ones.

    Parameters
    ----------
    path : Path
        The file.
    name : str or None
        The sheet of a workbook or the layer of a GeoPackage; None where the format has none.
    rows : tuple of tuples of str
        The cells without blanks at their ends; an empty cell is "".
    numbers : tuple of int
        Where each row stands in the file, from 1: the line of a text file, the row of a workbook,
        the record of a Parquet file or a layer.
    workbook : bool
        Whether cells may stand anywhere, also next to the table.
    """

    path: Path
    name: str | None
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...]
    workbook: bool = False

    @property
    def title(self) -> str:
        """The file's name, and the sheet's where there is one: the subject of an error."""
        return f"{self.path}, sheet {self.name!r}" if self.name else str(self.path)


def read_sheets(path: Path, member: str | None = None) -> tuple[Sheet, ...]:
    """Read every sheet of a table as text.

    Text with cells separated by comma, semicolon or tab (also gzipped or in a zip; UTF-8 with or
    without a byte order mark, UTF-16, Latin-1; line ends LF, CRLF or bare CR), workbooks (.xlsx,
    .xlsm, .xls, .ods: stored values only, nothing in them is run), Parquet, GeoPackage and other
    vector files. The format is seen from the content, not from the name. A file read before is not
    read again until it changes or `forget_sheets` is called.

    Parameters
    ----------
    path : Path
        The file.
    member : str, optional
        The table to take out of a zip with several, as `zipped_tables` names it; else the largest.

    Raises
    ------
    InputError
        If there is no such file, it is empty, or it is none of these formats.
    """
    try:
        state = path.stat()
        return _sheets(path, member, state.st_mtime_ns, state.st_size)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(path, "there is no such file", "correct the path") from None
    except IsADirectoryError:
        raise InputError(path, "this is a folder", "name a file in it") from None


def forget_sheets() -> None:
    """Free what `read_sheets` has cached."""
    _sheets.cache_clear()
    _cached_table.cache_clear()


def choose_sheet(sheets: Sequence[Sheet], name: str | None, path: Path, setting: str) -> Sheet:
    """Take the sheet that is named, or the first.

    Raises
    ------
    InputError
        If no sheet has that name.
    """
    if name is None:
        return sheets[0]
    for sheet in sheets:
        if sheet.name == name:
            return sheet
    known = [sheet.name for sheet in sheets if sheet.name]
    raise InputError(path, f"there is no {setting} {name!r}", closest(name, known))


def find_header(
    sheets: Sequence[Sheet], recognise: Callable[[tuple[str, ...]], Columns | None]
) -> tuple[Sheet, int, Columns] | None:
    """Find the first row that is recognised as the header, in any sheet.

    Returns
    -------
    tuple of Sheet, int, dict; or None
        The sheet, the header's position in its rows, and the columns by role that ``recognise``
        saw in it.
    """
    for sheet in sheets:
        for position, cells in enumerate(sheet.rows[:_HEADER_WITHIN]):
            found = recognise(cells)
            if found is not None:
                return sheet, position, found
    return None


def read_columns(
    path: Path, columns: Mapping[str, str | None], name: str | None = None, setting: str = "sheet"
) -> tuple[pd.DataFrame, str]:
    """Read columns of a table by their names, whatever titles stand above its header.

    Parameters
    ----------
    path : Path
        The file.
    columns : mapping of setting to column name
        What is needed; None is not needed. A line break in a header counts as a blank; a column
        without a name is called "column 1" by its position.
    name : str, optional
        Of the sheet or layer; if not given the first that has all the columns.
    setting : str
        Which setting gave that name, for errors.

    Returns
    -------
    table : DataFrame
        As `as_table` gives it; the columns have the names by which they were asked for.
    title : str
        The file and its sheet, for errors.

    Raises
    ------
    InputError
        If there is no such sheet or column, or two columns have one of the names.
    """
    sheets = read_sheets(path)
    wanted = {" ".join(column.split()): column for column in columns.values() if column is not None}
    chosen = sheets if name is None else [choose_sheet(sheets, name, path, setting)]
    found = find_header(
        chosen, lambda cells: {} if wanted.keys() <= {*_plain_headers(cells)} else None
    )
    sheet, header = found[:2] if found else (chosen[0], 0)
    names = _plain_headers(sheet.rows[header])
    others = [each.name for each in sheets if each.name and each.name != sheet.name]
    kind = "sheets" if sheet.workbook else "layers"
    asked = [wanted.get(each, each) for each in names]
    require_columns(asked, columns, sheet.title, others, kind)
    for column in wanted:
        if sum(" ".join(cell.split()) == column for cell in sheet.rows[header]) > 1:
            raise InputError(
                sheet.title, f"there are two columns {column!r}", "rename one of them in the file"
            )
    table = as_table(sheet, header)
    return table.set_axis(asked, axis="columns"), sheet.title


def _plain_headers(header: Sequence[str]) -> list[str]:
    """Names of columns with one blank for a line break."""
    return column_names([" ".join(cell.split()) for cell in header])


def as_table(sheet: Sheet, header: int = 0, *, ragged: bool = False) -> pd.DataFrame:
    """Take one row as the header and the rows after it as text columns.

    Parameters
    ----------
    sheet : Sheet
        As read.
    header : int
        Position of the header among ``sheet.rows``.
    ragged : bool
        Fill rows that are too short with empty cells (notes below a table have few cells);
        else refuse them, because a cut-off file looks like that.

    Returns
    -------
    DataFrame
        Columns of text named as in the file; the index holds the rows' numbers in the file. From
        its second appearance on, a name has its position added (``"road (column 19)"``); a column
        without a name is called by its position (``"column 1"``). ``attrs["stray_cells"]`` counts
        the cells of a workbook right of the last header, which are no part of the table.

    Raises
    ------
    InputError
        If a row of a text file has more cells than the header, or fewer and ``ragged`` is not set.
    """
    return _cached_table(sheet, header, ragged).copy(deep=False)


@lru_cache(maxsize=4)
def _cached_table(sheet: Sheet, header: int, ragged: bool) -> pd.DataFrame:
    import pyarrow as pa

    names = column_names(sheet.rows[header])
    width, stray = len(names), 0
    rows = []
    for number, cells in zip(sheet.numbers[header + 1 :], sheet.rows[header + 1 :], strict=True):
        if len(cells) == width:  # nearly all rows, of which there are many
            rows.append(cells)
            continue
        extra = sum(map(bool, cells[width:]))
        stray += extra
        if extra and not sheet.workbook:
            raise InputError(
                f"{sheet.title}: row {number}",
                f"it has {len(_without_trailing_blanks(cells))} cells, the header {width}",
                "quote cells that contain commas",
            )
        if len(cells) < width and not ragged:
            raise InputError(
                f"{sheet.title}: row {number}",
                f"it has {len(cells)} cells, the header {width}",
                "fetch the file again if it is cut off, or remove notes below the table",
            )
        rows.append(cells[:width] + ("",) * (width - len(cells)))
    index = pd.Index(sheet.numbers[header + 1 :], name="row", dtype="int64")
    columns = zip(*rows, strict=True) if rows else [()] * width
    # pyarrow takes a third of the time that pandas takes for text.
    arrays = [pd.array(pa.array(cells, pa.string()), dtype="str") for cells in columns]
    texts = [pd.Series(array, index=index) for array in arrays]
    table = pd.concat(texts, axis="columns", keys=names) if texts else pd.DataFrame(index=index)
    table.attrs["stray_cells"] = stray
    return table


@lru_cache(maxsize=4)
def _sheets(path: Path, member: str | None, modified: int, size: int) -> tuple[Sheet, ...]:
    """Several outcomes often stand in one file, which is read once for all of them."""
    with path.open("rb") as handle:
        start = handle.read(16)
    if start.startswith(PARQUET):
        sheets = [_typed_sheet(path, None, _read_parquet(path))]
    elif start.startswith(b"SQLite format 3") or path.suffix.lower() in VECTOR_SUFFIXES:
        sheets = _read_layers(path)
    elif start.startswith(OLE) or (start.startswith(ZIP) and is_workbook(path)):
        sheets = [_page(path, name, rows) for name, rows in read_pages(path)]
    else:
        sheets = [_read_text(path, member)]
    if not any(sheet.rows for sheet in sheets):
        raise InputError(path, "the table is empty", "fetch the file again")
    return tuple(sheet for sheet in sheets if sheet.rows)


def _read_text(path: Path, member: str | None) -> Sheet:
    try:
        with opened(path, member) as handle:
            content = handle.read(_LIMIT + 1)
    except UNPACKING as error:
        raise InputError(path, f"it cannot be unpacked ({error})", "fetch it again") from None
    if len(content) > _LIMIT:
        raise InputError(path, "unpacked it is larger than 2 GiB", "cut it down to the study")
    text = decoded(content)
    if "\0" in text:
        raise InputError(
            path,
            "this is not a table",
            "give text (.csv), a workbook (.xlsx, .xls, .ods), Parquet or GeoPackage",
        )
    # Bare CR is a line end too (csv refuses it), and inside a quoted cell it is only a blank.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    reader = csv.reader(io.StringIO(text), delimiter=delimiter_of(text[:_SAMPLE]), strict=False)
    rows, numbers, line = [], [], 1
    try:
        for cells in reader:
            row = tuple(map(str.strip, cells))
            if any(row):
                rows.append(row)
                numbers.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}: row {line}", f"this is not CSV: {error}", "fix that row"
        ) from None
    return Sheet(path, None, tuple(rows), tuple(numbers))


def _page(path: Path, name: str, rows: Sequence[Sequence[object]]) -> Sheet:
    texts = (tuple(map(_text, cells)) for cells in rows)
    filled = [(number, cells) for number, cells in enumerate(texts, start=1) if any(cells)]
    numbers, cells = zip(*filled, strict=True) if filled else ((), ())
    return Sheet(path, name, _padded(cells), numbers, workbook=True)


def _padded(rows: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Give all rows of a workbook the same width: there, short rows are no sign of damage."""
    width = max(map(len, rows), default=0)
    return tuple(cells + ("",) * (width - len(cells)) for cells in rows)


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        table.validate(full=True)  # texts that are not UTF-8
        plain = [
            name
            for name, field in zip(table.column_names, table.schema, strict=True)
            if not (pa.types.is_nested(field.type) or pa.types.is_binary(field.type))
        ]
        frame: pd.DataFrame = table.select(plain).to_pandas(ignore_metadata=True)
    except (pa.ArrowException, *DAMAGED) as error:
        raise damaged(path, error) from None
    return frame


def _read_layers(path: Path) -> list[Sheet]:
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError

    try:
        with open_vector(path) as dataset:
            layers = [str(name) for name in pyogrio.list_layers(dataset)[:, 0]]
            frames = [
                pyogrio.read_dataframe(dataset, layer=layer, read_geometry=False)
                for layer in layers
            ]
    except (DataSourceError, DataLayerError, ValueError) as error:  # ValueError: no UTF-8
        raise InputError(
            path, f"the file cannot be read ({summary(error)})", "fetch it again"
        ) from None
    return [_typed_sheet(path, *each) for each in zip(layers, frames, strict=True)]


def _typed_sheet(path: Path, name: str | None, frame: pd.DataFrame) -> Sheet:
    """Write typed columns out as text: numbers in full, so that reading them back loses nothing."""
    columns = [[_text(value) for value in frame[column].astype(object)] for column in frame]
    header = tuple(str(column) for column in frame.columns)
    rows = tuple(zip(*columns, strict=True)) if columns else ()
    # The header is not a record: the first record is number 1.
    return Sheet(path, name, (header, *rows), tuple(range(len(rows) + 1)))


def _text(value: object) -> str:
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    if isinstance(value, float):
        if value != value:
            return ""
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value).strip()


def _without_trailing_blanks(cells: Sequence[str]) -> tuple[str, ...]:
    end = len(cells)
    while end and not cells[end - 1]:
        end -= 1
    return tuple(cells[:end])


def column_names(header: Sequence[str]) -> list[str]:
    """Name the columns below a header: each has a name of its own, also where its cell is empty."""
    seen: set[str] = set()
    names = []
    for position, name in enumerate(_without_trailing_blanks(header), start=1):
        unique = f"{name} (column {position})" if name in seen else name
        names.append(unique or f"column {position}")
        seen.add(name or names[-1])
    return names
