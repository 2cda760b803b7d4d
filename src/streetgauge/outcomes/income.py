"""Household income estimates of the Greater London Authority."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from streetgauge.errors import InputError, closest
from streetgauge.io.tables import (
    Columns,
    Sheet,
    as_table,
    find_header,
    read_sheets,
    refuse_numbers,
    to_numbers,
)
from streetgauge.outcomes.outcome import (
    Outcome,
    empty_cells,
    one_row_an_area,
    plain_header,
    provenance,
    stray_cells,
)
from streetgauge.settings import IncomeOutcome

# The pound sign, and what is left of it where an encoding lost it: a question mark, the sign for
# an unknown character (also when its own bytes were read as Latin-1), DOS's pound read as Windows'.
POUND = "£?\ufffdï¿½Â\u0153"
_CODES = ("code", "lsoa code", "msoa code", "ward code", "area code", "lsoa11cd", "lsoa21cd")


def read_income(
    name: str, settings: IncomeOutcome, areas: Sequence[str] | pd.Index = ()
) -> Outcome:
    """Read mean or median household income of a year.

    Parameters
    ----------
    name : str
        The outcome's key.
    settings : IncomeOutcome
        File (text or workbook, any sheet of it), statistic and year; the column is
        ``Mean 2012/13`` or the like.
    areas : sequence of str
        Codes of the study's areas: which sheet is read of a workbook with one for every kind.

    Returns
    -------
    Outcome
        Pounds a year, higher is better.

    Raises
    ------
    InputError
        If there are no columns ``Code`` and the statistic's, or an income is negative.
    """
    path = settings.file
    wanted = f"{settings.statistic.title()} {settings.year}"
    sheets = read_sheets(path)
    found = _sheet_of(sheets, wanted, areas)
    if found is None:
        known = [cell for sheet in sheets for row in sheet.rows[:1] for cell in row if cell]
        years = find_header(sheets, lambda cells: _income_columns(cells, None))
        if years is not None:
            known = [cell for cell in years[0].rows[years[1]] if cell]
        there = wanted if years is not None else "Code"
        names = [repr(sheet.name) for sheet in sheets if sheet.name]
        more = f"; its sheets are {', '.join(names)}" if len(names) > 1 else ""
        raise InputError(path, f"there is no column {there!r}", closest(there, known) + more)
    sheet, position, columns = found
    table = as_table(sheet, position)
    codes, cells = table.iloc[:, columns["area"]], table.iloc[:, columns["value"]]
    numbers = to_numbers(cells, path, currency=POUND)
    refuse_numbers(numbers < 0, numbers, path, "no income", "fix the cell")
    return Outcome(
        name=name,
        label=settings.label or name,
        values=one_row_an_area(codes, numbers.to_frame(), path).iloc[:, 0],
        direction="higher-is-better",
        provenance=provenance(
            "income",
            [path],
            {"area": str(codes.name), "value": str(cells.name)},
            publisher="Greater London Authority",
            licence="Open Government Licence v2.0",
            rows_without_code=int((codes == "").sum()),
            vintage=settings.year,
            cells=[str(cells.name)],
        ),
        missing=empty_cells(codes, cells, numbers),
        notes=stray_cells(table),
    )


def _sheet_of(
    sheets: Sequence[Sheet], wanted: str, areas: Sequence[str] | pd.Index
) -> tuple[Sheet, int, Columns] | None:
    """Find the sheet with the statistic that has most of the study's areas, the first of equals."""
    hits = [find_header([sheet], lambda cells: _income_columns(cells, wanted)) for sheet in sheets]

    def shared(hit: tuple[Sheet, int, Columns]) -> int:
        sheet, position, columns = hit
        return int(as_table(sheet, position).iloc[:, columns["area"]].isin(areas).sum())

    found = [hit for hit in hits if hit is not None]
    return max(found, key=shared) if len(found) > 1 else next(iter(found), None)


def _income_columns(cells: tuple[str, ...], wanted: str | None) -> Columns | None:
    """Where code and statistic stand; with no statistic wanted, where only the code does."""
    written = [_plain_year(cell) for cell in cells]
    codes = [written.index(code) for code in _CODES if code in written]
    if not codes:
        return None
    if wanted is None:
        return {"area": codes[0]}
    value = _plain_year(wanted)
    return {"area": codes[0], "value": written.index(value)} if value in written else None


def _plain_year(header: str) -> str:
    """Write a header without what differs between releases: 2012_13, 2012-13, 2012/2013."""
    return re.sub(r"\b((?:19|20)\d\d)[ /\-–](?:19|20)?(\d\d)\b", r"\1/\2", plain_header(header))
