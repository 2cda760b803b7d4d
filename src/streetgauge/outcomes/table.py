"""Any table with one row an area."""

from __future__ import annotations

import pandas as pd

from streetgauge.errors import InputError
from streetgauge.files import require_columns
from streetgauge.outcomes.outcome import (
    Outcome,
    empty_cells,
    find_header,
    one_row_an_area,
    provenance,
    refuse_no_decile,
)
from streetgauge.settings import TableOutcome
from streetgauge.tables import as_table, choose_sheet, read_sheets, to_numbers

__all__ = ["read_table"]


def read_table(name: str, settings: TableOutcome) -> Outcome:
    """Read a column of values, and of published deciles if one is named.

    Parameters
    ----------
    name : str
        The outcome's key.
    settings : TableOutcome
        File, columns and direction. Titles above the header are passed over.

    Returns
    -------
    Outcome
        Values as in the file.

    Raises
    ------
    InputError
        If a column is absent, a cell is text that is no known missing mark, a decile is not 1 to
        10, or an area stands twice with different values.
    """
    path = settings.file
    sheets = read_sheets(path)
    key = "layer" if settings.layer is not None else "sheet"
    sheet = choose_sheet(sheets, settings.layer or settings.sheet, path, key)
    named = {"area": settings.area, "value": settings.value}
    if settings.decile is not None:
        named["decile"] = settings.decile
    found = find_header([sheet], lambda cells: {} if set(named.values()) <= set(cells) else None)
    header = found[1] if found else 0
    require_columns(pd.DataFrame(columns=pd.Index(sheet.rows[header])), named, sheet.title)
    for column in named.values():
        if sheet.rows[header].count(column) > 1:
            raise InputError(
                sheet.title, f"there are two columns {column!r}", "rename one of them in the file"
            )
    table = as_table(sheet, header)
    codes, cells = table[settings.area], table[settings.value]
    roles = [settings.value] + ([settings.decile] if settings.decile else [])
    numbers = pd.DataFrame({c: to_numbers(table[c], sheet.title) for c in dict.fromkeys(roles)})
    if settings.decile is not None:
        refuse_no_decile(numbers[settings.decile], sheet.title)
    by_area = one_row_an_area(codes, numbers, sheet.title)
    published = by_area[settings.decile].astype("Int64") if settings.decile else None
    return Outcome(
        name=name,
        label=settings.label or name,
        values=by_area[settings.value],
        direction=settings.direction,
        published=published,
        provenance=provenance("table", [path], named, rows_without_code=int((codes == "").sum())),
        missing=empty_cells(codes, cells, numbers[settings.value]),
    )
