"""Files of Nomis, the ONS's service for census tables: queries and bulk downloads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from streetgauge.errors import InputError
from streetgauge.io.tables import Sheet, as_table
from streetgauge.outcomes.counts import CensusTable, plain
from streetgauge.outcomes.outcome import Columns, find_header

__all__ = ["read_nomis"]

_BULK_HEADERS = ("geography code", "geographycode")
_CODE = re.compile(r"[A-Z]\d{8}")  # the ONS's nine-character codes
_CODE_AND_NAME = re.compile(r"(\S+) : .*")
_WORD = re.compile(r"\S+")
_TABLE = re.compile(r"\b((?:KS|QS|LC|DC)\d{3,4}(?:EW|UK)?|TS\d{3}[A-Z]?)\b")
_YEAR = re.compile(r"\b(?:19|20)\d1\b")  # years of a census


def read_nomis(sheets: Sequence[Sheet], path: Path) -> CensusTable:
    """Read a table of Nomis: its header is found, whatever stands above it and below.

    Layouts: a query, text or workbook, with title and metadata above the header and a note on
    disclosure below, area codes in a column ``mnemonic`` or in the first one as
    ``E01000907 : Camden 001A``; a bulk download, with codes in a column ``geography code`` and the
    table's subject before every header. Of a bulk download with rows for town and country apart
    (``Rural Urban``), those for both together are taken.

    Raises
    ------
    InputError
        If there is no table with area codes, or a row with counts has no area code.
    """
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
            "there is no column with area codes ('mnemonic', 'geography code', 'GEO_CODE', or "
            "codes like 'E01000907 : Camden')",
            "download the table from Nomis with area codes",
        )
    counts = _both_together(as_table(sheet, position, ragged=True))
    codes = counts.iloc[:, column].str.replace(_CODE_AND_NAME, r"\1", regex=True)
    codes = codes.where(codes.str.fullmatch(_WORD), "")
    bulk = plain(sheet.rows[position][column]) in _BULK_HEADERS
    name, vintage = _described(sheet, position)
    if bulk:
        vintage = _date(counts) or vintage
    return CensusTable(
        path,
        codes,
        counts,
        _headers(list(counts.columns), bulk=bulk),
        name=name,
        vintage=vintage,
    )


def _code_column(cells: tuple[str, ...]) -> Columns | None:
    written = [plain(cell) for cell in cells]
    for header in ("mnemonic", *_BULK_HEADERS):
        if header in written:
            return {"area": written.index(header)}
    return None


def _coded_cell(cells: tuple[str, ...]) -> Columns | None:
    """Find the code in a row of data; without a known header the table's content must do."""
    for column, cell in enumerate(cells[:3]):
        code = _CODE_AND_NAME.sub(r"\1", cell)
        counts = any(other.replace(",", "").isdigit() for other in cells[column + 1 :])
        if counts and (_CODE.fullmatch(code) or (code != cell and code.isalnum())):
            return {"area": column}
    return None


def _both_together(table: pd.DataFrame) -> pd.DataFrame:
    for header in table.columns:
        if plain(str(header)) == "rural urban" and len(table[header].unique()) > 1:
            return table[table[header].str.lower() == "total"]
    return table


def _headers(headers: Sequence[str], *, bulk: bool) -> dict[str, str]:
    """Headers in plain writing; those of bulk downloads also without the table's subject."""
    found: dict[str, str] = {}
    for header in headers:
        written = plain(header)
        found.setdefault(written, header)
        percent = "; measures:" in written  # what is left of another measure than the value
        if bulk and ": " in written and not percent:
            found.setdefault(written.split(": ", 1)[1], header)
    return found


def _described(sheet: Sheet, position: int) -> tuple[str | None, str | None]:
    """Find the table's number and the year of the census in the rows above the header."""
    name = vintage = None
    for cells in sheet.rows[:position]:
        label, rest = plain(cells[0]).removesuffix(":").strip(), " ".join(cells[1:])
        if label == "date" and (year := _YEAR.search(rest)):
            vintage = year[0]
        elif name is None and (table := _TABLE.search(cells[0].upper())):
            name = table[1]
    if vintage is None and (year := _YEAR.search(sheet.rows[position][0])):
        vintage = year[0]  # '2011 super output area - lower layer'
    return name, vintage


def _date(counts: pd.DataFrame) -> str | None:
    for header in counts.columns:
        if plain(str(header)) == "date":
            years = counts[header].str.extract(f"({_YEAR.pattern})", expand=False).dropna()
            return str(years.iloc[0]) if len(years.unique()) == 1 else None
    return None
