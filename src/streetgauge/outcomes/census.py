"""Shares of counts from census tables in the layouts of Nomis."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from streetgauge.errors import InputError, closest
from streetgauge.outcomes.measures import MEASURES, Sum
from streetgauge.outcomes.outcome import (
    Columns,
    Outcome,
    find_header,
    one_row_an_area,
    provenance,
    refuse,
)
from streetgauge.settings import CensusOutcome
from streetgauge.tables import as_table, read_sheets, to_numbers

__all__ = ["CensusTable", "read_census", "read_counts"]

_CODE_HEADERS = ("mnemonic", "geography code", "geographycode")
_CODE = re.compile(r"[A-Z]\d{8}")  # the ONS's nine-character codes
_CODE_AND_NAME = re.compile(r"(\S+) : .*")
_WORD = re.compile(r"\S+")
_MEASURE_SUFFIX = re.compile(r"\s*; measures: value$")


@dataclass(frozen=True, eq=False)
class CensusTable:
    """One census table: counts as text, by row number.

    Parameters
    ----------
    path : Path
        The file.
    codes : Series of str
        Area codes by row number; "" for notes below the table.
    counts : DataFrame of str
        The cells, columns named as in the file.
    headers : mapping of str to str
        Header in plain writing -> header as in the file.
    """

    path: Path
    codes: pd.Series
    counts: pd.DataFrame
    headers: Mapping[str, str]


def read_census(name: str, settings: CensusOutcome) -> Outcome:
    """Read a share of counts: one of the paper's measures, or columns that the settings name.

    Parameters
    ----------
    name : str
        The outcome's key.
    settings : CensusOutcome
        Files and measure, or files and columns.

    Returns
    -------
    Outcome
        Shares from 0 to 1. Missing, with the reason, where a count is missing or the total is 0.

    Raises
    ------
    InputError
        If no file has the columns, a count is negative or no number, an area stands twice with
        different counts, or a share is greater than 1.
    """
    tables = [read_counts(path) for path in settings.files]
    if settings.measure is not None:
        measure = MEASURES[settings.measure]
        tops, bottoms, direction = measure.numerator, measure.denominator, "higher-is-worse"
        what = f"measure {settings.measure!r} (census table {measure.tables})"
    else:
        assert settings.direction is not None  # the settings see to it
        tops, bottoms = (Sum(settings.numerator),), (Sum(settings.denominator),)
        direction, what = settings.direction, f"outcome {name!r}"
    top = _add_up(tables, tops, "numerator", what)
    bottom = _add_up(tables, bottoms, "denominator", what)
    values, missing = _divide(top, bottom)
    return Outcome(
        name=name,
        label=settings.label or name,
        values=values,
        direction="higher-is-better" if direction == "higher-is-better" else "higher-is-worse",
        provenance=provenance(
            "census",
            settings.files,
            {"numerator": top.columns, "denominator": bottom.columns},
            publisher="Office for National Statistics (Census 2011, Nomis)",
            licence="Open Government Licence v3.0",
        ),
        missing=missing,
    )


def read_counts(path: Path) -> CensusTable:
    """Read a Nomis table: its header is found, whatever stands above it and below.

    Known layouts: text or workbook with title and metadata above the header and a note on
    disclosure below; area codes in a column ``mnemonic`` or ``geography code``, or in the first
    column as ``E01000907 : Camden 001A``; headers with or without ``; measures: Value``.

    Raises
    ------
    InputError
        If there is no table with area codes, or a row with counts has no area code.
    """
    sheets = read_sheets(path)
    by_header = find_header(sheets, _code_column)
    by_content = None if by_header else find_header(sheets, _coded_cell)
    if by_header:
        sheet, position, column = by_header[0], by_header[1], by_header[2]["area"]
    elif by_content and by_content[1] > 0:
        # The header is the row above the first row of data.
        sheet, position, column = by_content[0], by_content[1] - 1, by_content[2]["area"]
    else:
        raise InputError(
            path,
            "there is no column with area codes ('mnemonic', or codes like 'E01000907 : Camden')",
            "download the table from Nomis with area codes",
        )
    counts = as_table(sheet, position, ragged=True)
    codes = counts.iloc[:, column].str.replace(_CODE_AND_NAME, r"\1", regex=True)
    codes = codes.where(codes.str.fullmatch(_WORD), "")
    return CensusTable(path, codes, counts, _plain_headers(list(counts.columns), column))


def _code_column(cells: tuple[str, ...]) -> Columns | None:
    plain = [_plain(cell) for cell in cells]
    for header in _CODE_HEADERS:
        if header in plain:
            return {"area": plain.index(header)}
    return None


def _coded_cell(cells: tuple[str, ...]) -> Columns | None:
    """Find the code in a row of data; without a known header the table's content must do."""
    for column, cell in enumerate(cells[:3]):
        code = _CODE_AND_NAME.sub(r"\1", cell)
        counts = any(other.replace(",", "").isdigit() for other in cells[column + 1 :])
        if counts and (_CODE.fullmatch(code) or (code != cell and code.isalnum())):
            return {"area": column}
    return None


def _plain(header: str) -> str:
    return _MEASURE_SUFFIX.sub("", " ".join(header.lower().split()))


def _plain_headers(headers: Sequence[str], code_column: int) -> dict[str, str]:
    """Headers in plain writing; bulk downloads put the table's subject before each of them."""
    found = {_plain(header): header for header in headers}
    prefixed = [
        header
        for position, header in enumerate(headers)
        if position > code_column and "; measures:" in header.lower() and ": " in header
    ]
    for header in prefixed:
        found.setdefault(_plain(header).split(": ", 1)[1], header)
    return found


@dataclass(frozen=True, eq=False)
class _Count:
    """A count by area, and where it was found."""

    path: Path
    columns: str
    by_area: pd.Series


def _add_up(tables: Sequence[CensusTable], ways: Sequence[Sum], role: str, what: str) -> _Count:
    for way in ways:
        for table in tables:
            if all(_plain(column) in table.headers for column in way.columns):
                return _count(table, way)
    files = " and ".join(str(table.path) for table in tables)
    known = {plain: header for table in tables for plain, header in table.headers.items()}
    absent = [column for column in ways[0].columns if _plain(column) not in known]
    if not absent:
        raise InputError(
            files,
            f"the columns {str(ways[0])!r}, which the {role} of {what} needs, are in no one file",
            "give the table that has them all",
        )
    raise InputError(
        files,
        f"there is no column {absent[0]!r}, which the {role} of {what} needs",
        closest(absent[0], known.values()),
    )


def _count(table: CensusTable, way: Sum) -> _Count:
    headers = [table.headers[_plain(column)] for column in way.columns]
    noted = table.codes == ""
    _refuse_counts_without_code(table.counts.loc[noted, headers], table.path)
    cells = table.counts.loc[~noted, headers]
    numbers = pd.DataFrame({h: to_numbers(cells[h], table.path) for h in headers})
    for header in headers:
        column = numbers[header]
        refuse(column < 0, column, table.path, "a negative count", "fetch the table again")
    by_area = one_row_an_area(table.codes[~noted], numbers, table.path)
    added = by_area[headers[: len(way.add)]].sum(axis=1, skipna=False)
    taken = by_area[headers[len(way.add) :]].sum(axis=1, skipna=False)
    return _Count(table.path, str(way), added - taken)


def _refuse_counts_without_code(notes: pd.DataFrame, path: Path) -> None:
    """Refuse counts in rows that should be notes: they belong to an area whose code is lost."""
    counts = notes.apply(lambda cells: cells.str.fullmatch(r"\d[\d,.]*")).any(axis=1)
    if counts.any():
        raise InputError(
            f"{path}: row {notes.index[int(counts.to_numpy().argmax())]}",
            "there are counts but no area code",
            "download the table from Nomis with area codes",
        )


def _divide(top: _Count, bottom: _Count) -> tuple[pd.Series, dict[str, str]]:
    areas = top.by_area.index.union(bottom.by_area.index).sort_values()
    upper, lower = top.by_area.reindex(areas), bottom.by_area.reindex(areas)
    missing: dict[str, str] = {}
    for count, numbers in ((bottom, lower), (top, upper)):
        for area in areas[numbers.isna()]:
            absent = "no row" if area not in count.by_area.index else f"no {count.columns!r}"
            missing[area] = f"{count.path.name} has {absent} for it"
    for area in areas[lower == 0]:
        missing[area] = f"the total {bottom.columns!r} is 0"
    values = (upper / lower.where(lower != 0)).rename("share")
    wrong = areas[(values > 1) | (lower < 0)]
    if len(wrong):
        area = wrong[0]
        raise InputError(
            f"{top.path}: area {area!r}",
            f"{upper[area]:g} ({top.columns}) of {lower[area]:g} ({bottom.columns}) is no share "
            "from 0 to 1",
            "the tables do not belong together, or a column is not a count",
        )
    return values, missing
