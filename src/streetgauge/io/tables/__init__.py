"""Tables as bodies publish them, read as text: the content of each cell, and its row in the file.

`read_sheets` takes the small tables of official statistics whole, whatever the format, encoding and
line ends: every cell is the text of the file, and every row knows its number, so that an error can
name them. `scan_columns` runs through a few columns of a table too large for that. `to_numbers`
distinguishes numbers, known missing marks, and text that is neither.
"""

from __future__ import annotations

from streetgauge.io.tables.cells import (
    MISSING_MARKS,
    as_codes,
    is_among,
    refuse_numbers,
    refuse_repeated,
    require_columns,
    to_numbers,
)
from streetgauge.io.tables.columns import read_header, scan_columns
from streetgauge.io.tables.raw import zipped_tables
from streetgauge.io.tables.sheets import (
    VECTOR_SUFFIXES,
    Columns,
    Sheet,
    as_table,
    choose_sheet,
    find_header,
    forget_sheets,
    read_columns,
    read_sheets,
)

__all__ = [
    "MISSING_MARKS",
    "VECTOR_SUFFIXES",
    "Columns",
    "Sheet",
    "as_codes",
    "as_table",
    "choose_sheet",
    "find_header",
    "forget_sheets",
    "is_among",
    "read_columns",
    "read_header",
    "read_sheets",
    "refuse_numbers",
    "refuse_repeated",
    "require_columns",
    "scan_columns",
    "to_numbers",
    "zipped_tables",
]
