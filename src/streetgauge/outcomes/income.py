"""Household income estimates of the Greater London Authority."""

from __future__ import annotations

from streetgauge.errors import InputError, closest
from streetgauge.outcomes.outcome import (
    Outcome,
    empty_cells,
    find_header,
    one_row_an_area,
    provenance,
    refuse,
)
from streetgauge.settings import IncomeOutcome
from streetgauge.tables import as_table, read_sheets, to_numbers

__all__ = ["read_income"]

# The pound sign, and what is left of it where an encoding lost it.
POUND = "£?\ufffd"


def read_income(name: str, settings: IncomeOutcome) -> Outcome:
    """Read mean or median household income of a year.

    Parameters
    ----------
    name : str
        The outcome's key.
    settings : IncomeOutcome
        File, statistic and year; the column is ``Mean 2012/13`` or the like.

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
    column = f"{settings.statistic} {settings.year}".lower()
    sheets = read_sheets(path)
    found = find_header(
        sheets, lambda cells: _columns(cells) if column in _columns(cells) else None
    )
    if found is None or "code" not in found[2]:
        known = [cell for sheet in sheets for cell in sheet.rows[0] if cell]
        wanted = f"{settings.statistic.title()} {settings.year}" if found is None else "Code"
        raise InputError(path, f"there is no column {wanted!r}", closest(wanted, known))
    sheet, position, columns = found
    table = as_table(sheet, position)
    codes, cells = table.iloc[:, columns["code"]], table.iloc[:, columns[column]]
    numbers = to_numbers(cells, path, currency=POUND)
    refuse(numbers < 0, numbers, path, "no income", "mend the cell")
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
        ),
        missing=empty_cells(codes, cells, numbers),
    )


def _columns(cells: tuple[str, ...]) -> dict[str, int]:
    return {" ".join(cell.lower().split()): n for n, cell in reversed(list(enumerate(cells)))}
