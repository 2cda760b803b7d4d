"""What cells, columns and keys of a table must hold, and errors that name the row."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.errors import InputError, closest
from streetgauge.io.tables.workbook import UNKNOWN_FORMULA

# What publishers write where there is no number (also the ONS's symbols), in lower case.
_MARKS = (
    "na n/a #n/a nan null none missing - -- \u2013 \u2014 . .. ... : * ** c x z u [c] [x] [z] [u]"
)
MISSING_MARKS = frozenset(["", UNKNOWN_FORMULA, *_MARKS.split()])
_USUAL = r"^-?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.[0-9]+)?$"
_NUMBER = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:,\d{3})+)?(?:\.\d*)?(?:[eE][+-]?\d+)?")


def is_among(
    keys: pd.Series | pd.Index, others: pd.Series | pd.Index | npt.NDArray[Any]
) -> npt.NDArray[np.bool_]:
    """Tell which texts are among others; pandas' own `isin` makes an object of each of these.

    Examples
    --------
    >>> is_among(pd.Index(["a", "b"]), pd.Index(["b", "c"])).tolist()
    [False, True]
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if keys.dtype != "str":
        return np.asarray(keys.isin(others))
    own, among = (pa.array(pd.Series(each), pa.large_string()) for each in (keys, others))
    return np.asarray(pc.is_in(own, value_set=among))


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


def as_codes(texts: pd.Series) -> pd.Series:
    """Take codes for what they are where a program has written them as decimals: 6001400100.0."""
    filled = texts[texts != ""]
    decimals = len(filled) > 0 and filled.str.fullmatch(r"\d+\.0").all()
    return texts.str.removesuffix(".0") if decimals else texts


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
        "fix the cell, or leave it empty if the value is not known",
    )


def require_columns(
    table: Collection[Any],
    columns: Mapping[str, str | None],
    path: object,
    others: Sequence[str] = (),
    kind: str = "sheets",
) -> None:
    """Refuse a table that lacks a column, naming the closest one.

    Parameters
    ----------
    table : DataFrame, or collection of str
        The table as read, or the names in its header.
    columns : mapping of setting to column name
        What is needed, e.g. ``{"value": "Mean 2012/13"}``; None is not needed.
    path : object
        Named in the error.
    others : sequence of str
        The file's other sheets, which may have the column.
    kind : str
        What they are: "sheets" or "layers".

    Raises
    ------
    InputError
        If a named column is not there.
    """
    more = f"; its other {kind} are {', '.join(map(repr, others[:6]))}" if others else ""
    for setting, column in columns.items():
        if column is not None and column not in table:
            raise InputError(
                path,
                f"there is no column {column!r} (setting '{setting}')",
                closest(column, table) + more,
            )


def refuse_numbers(
    wrong: pd.Series, numbers: pd.Series, subject: object, what: str, step: str
) -> None:
    """Raise an error about the first number that is wrong, with its row, column and value.

    Parameters
    ----------
    wrong : Series of bool
        Which are; the index of ``numbers``.
    numbers : Series of float
        The index holds the rows' numbers, the name is the column's.
    subject : object
        The file, named in errors.
    what : str
        What the number is: "a negative count".
    step : str
        What to do about it.
    """
    if wrong.any():
        position = int(wrong.to_numpy().argmax())
        raise InputError(
            f"{subject}: row {numbers.index[position]}, column {numbers.name!r}",
            f"{numbers.iloc[position]:g} is {what}",
            step,
        )


def refuse_repeated(
    keys: pd.Series | pd.Index,
    subject: object | Callable[[int, int], str],
    what: str,
    *,
    values: pd.DataFrame | None = None,
    unless_equal: bool = False,
    step: str = "keep one of the rows",
) -> None:
    """Refuse a table with two rows of one key.

    Parameters
    ----------
    keys : Series or Index of str
        One a row; the index of a series holds the rows' numbers, by which the error names both.
    subject : object or callable
        The file, named in errors; a callable names two rows, given their positions.
    what : str
        What a key is: "area".
    values : DataFrame, optional
        Of the same rows; the error gives the first in which the two rows differ.
    unless_equal : bool
        Rows with the same values may have one key.
    step : str
        What to do about it.

    Raises
    ------
    InputError
        Naming the key, both rows and what differs.
    """
    codes, distinct = pd.factorize(keys)
    repeated = pd.Series(codes).duplicated().to_numpy()
    first = np.flatnonzero(~repeated)[codes]  # of each row, the first with its key
    differ = np.zeros((len(codes), 1), dtype=bool)
    if values is not None:
        cells = values.to_numpy()
        differ = (cells != cells[first]) & ~(pd.isna(cells) & pd.isna(cells[first]))
    wrong = differ.any(axis=1) if unless_equal else repeated
    if not wrong.any():
        return
    second = int(wrong.argmax())
    rows = (int(first[second]), second)
    if callable(subject):
        subject = subject(*rows)
    elif isinstance(keys, pd.Series):
        subject = f"{subject}: rows {' and '.join(str(keys.index[row]) for row in rows)}"
    reason = f"{what} {distinct[codes[second]]!r} appears more than once"
    if values is not None and differ[second].any():
        column = int(differ[second].argmax())
        both = values.iloc[list(rows), column].map(_shown)
        reason += f", with {' and '.join(both)} in column {values.columns[column]!r}"
    raise InputError(subject, reason, step)


def _shown(cell: object) -> str:
    return f"{cell:g}" if isinstance(cell, float) else repr(cell)
