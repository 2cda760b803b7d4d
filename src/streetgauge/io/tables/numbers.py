"""Cells that should be numbers."""

from __future__ import annotations

import math
import re
from contextlib import suppress

import numpy as np
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.io.tables.workbook import UNKNOWN_FORMULA

__all__ = ["MISSING_MARKS", "to_numbers"]

# What publishers write where there is no number (also the ONS's symbols), in lower case.
_MARKS = (
    "na n/a #n/a nan null none missing - -- \u2013 \u2014 . .. ... : * ** c x z u [c] [x] [z] [u]"
)
MISSING_MARKS = frozenset(["", UNKNOWN_FORMULA, *_MARKS.split()])
_USUAL = r"^-?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.[0-9]+)?$"
_NUMBER = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:,\d{3})+)?(?:\.\d*)?(?:[eE][+-]?\d+)?")


def to_numbers(texts: pd.Series, subject: object, *, currency: str = "£$€") -> pd.Series:
    """Read cells as numbers.

    Parameters
    ----------
    texts : Series of str
        The cells; the index holds the rows' numbers, the name is the column's.
    subject : object
        The file, named in errors.
    currency : str
        Signs that may stand before a number, each a single character.

    Returns
    -------
    Series of float
        NaN where the cell is empty or holds a known missing mark (``..``, ``n/a``, ``[c]``, ...).
        Thousands may be set off by commas: "29,199" is 29199.

    Raises
    ------
    InputError
        If a cell holds any other text, with its row, column and value.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    # Nearly all cells are digits, with commas or without: those are read together.
    cells = pa.array(texts.to_numpy(dtype=object), pa.string())
    usual = pc.match_substring_regex(cells, _USUAL)
    digits = pc.replace_substring(pc.if_else(usual, cells, pa.scalar(None, pa.string())), ",", "")
    # A copy: pyarrow's own memory cannot be written to.
    values = np.array(pc.cast(digits, pa.float64()).to_numpy(zero_copy_only=False))
    for position in np.flatnonzero(~usual.to_numpy(zero_copy_only=False)).tolist():
        cell, row = texts.iloc[position], texts.index[position]
        values[position] = _number(cell, row, texts.name, subject, currency)
    return pd.Series(values, index=texts.index, name=texts.name, dtype="float64")


def _number(cell: str, row: object, column: object, subject: object, currency: str) -> float:
    bare = cell.strip()
    if bare.lower() in MISSING_MARKS:
        return math.nan
    digits = bare.removeprefix("\u00c2").lstrip(currency).strip()  # "\u00c2£": £ decoded twice
    if _NUMBER.fullmatch(digits) and any(map(str.isdigit, digits)):
        with suppress(ValueError):
            number = float(digits.replace(",", ""))
            if math.isfinite(number):
                return number
    raise InputError(
        f"{subject}: row {row}, column {column!r}",
        f"{cell!r} is not a number",
        "mend the cell, or leave it empty if the value is not known",
    )
