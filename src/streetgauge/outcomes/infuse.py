"""Files of InFuse (UK Data Service), which the labels of the 2019 paper come from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from streetgauge.errors import InputError
from streetgauge.io.tables import Sheet, as_table
from streetgauge.outcomes.counts import LEVELS, CensusTable, plain
from streetgauge.outcomes.outcome import Columns, find_header

__all__ = ["nearest_cells", "read_infuse"]

_CELL = re.compile(r"f\d+(?![0-9a-z])")


def read_infuse(sheets: Sequence[Sheet], path: Path, level: str) -> CensusTable | None:
    """Read a table of InFuse: rows of one kind of area, columns by their cell codes.

    Below the header stands a row that describes the columns, without an area; rows end in a comma.
    A header is a cell code (``F1777``) or starts with one (``F1777-p-generalhealth-verybad``).

    Returns
    -------
    CensusTable or None
        None if no sheet has a header with GEO_CODE.

    Raises
    ------
    InputError
        If no row is of that kind of area, or two columns have one cell code.
    """
    found = find_header(sheets, _columns)
    if found is None:
        return None
    sheet, position, columns = found
    table = as_table(sheet, position, ragged=True)
    codes = table.iloc[:, columns["area"]]
    described = codes != ""
    if "level" in columns:
        kinds = table.iloc[:, columns["level"]].str.upper()
        wanted = LEVELS[level].infuse
        rows = described & kinds.str.startswith(wanted)
        if not rows.any():
            there = kinds[described & (kinds != "")].value_counts()
            known = ", ".join(f"{kind} ({count:,} rows)" for kind, count in there.items())
            raise InputError(
                path,
                f"no row is of the level {level!r} (GEO_TYP2 = {wanted!r})",
                f"it has {known or 'no areas'}; tick that level in InFuse, or set 'level'",
            )
        described = rows
    headers = {plain(str(header)): str(header) for header in table.columns}
    for header in map(str, table.columns):
        cell = _CELL.match(header.strip().lower())
        if cell is None:
            continue
        if headers.setdefault(cell[0], header) != header:
            raise InputError(
                path,
                f"two columns have the cell code {cell[0].upper()!r}: {headers[cell[0]]!r} and "
                f"{header!r}",
                "take one of them out",
            )
    return CensusTable(
        path, codes[described], table[described], headers, infuse=True, vintage="2011"
    )


def nearest_cells(code: str, table: CensusTable, count: int = 3) -> str:
    """Name the cells of the file with the numbers nearest to one that is not there."""
    wanted = int(code[1:])
    there = [cell.upper() for cell in table.headers if _CELL.fullmatch(cell)]
    nearest = sorted(there, key=lambda cell: (abs(int(cell[1:]) - wanted), cell))[:count]
    return f"the nearest there are {', '.join(nearest)}" if nearest else "it has no cells at all"


def _columns(cells: tuple[str, ...]) -> Columns | None:
    names = [cell.upper() for cell in cells]
    if "GEO_CODE" not in names:
        return None
    found = {"area": names.index("GEO_CODE")}
    if "GEO_TYP2" in names:
        found["level"] = names.index("GEO_TYP2")
    return found
