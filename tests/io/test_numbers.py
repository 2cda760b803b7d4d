from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.io.tables import MISSING_MARKS, to_numbers


def number(cell: str, **options: str) -> float:
    return float(
        to_numbers(pd.Series([cell], index=[7], name="value"), "file.csv", **options).iloc[0]
    )


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("29,199", 29199.0),
        ("1,234,567.5", 1234567.5),
        ("29199.0", 29199.0),
        (" -3.5 ", -3.5),
        ("1e3", 1000.0),
        ("£70,480", 70480.0),
        ("Â£70,480", 70480.0),
        (".5", 0.5),
    ],
)
def test_numbers_as_publishers_write_them_are_read(cell: str, expected: float) -> None:
    assert number(cell) == expected


@pytest.mark.parametrize("mark", sorted(MISSING_MARKS))
def test_known_missing_marks_are_missing_whatever_their_case(mark: str) -> None:
    assert math.isnan(number(mark))
    assert math.isnan(number(f" {mark.upper()} "))


@pytest.mark.parametrize(
    "cell",
    ["1,5", "12,34", "abc", "1.2.3", "1_000", "inf", "0x10", "12%", "?12", "1e999", ".", "+"],
)
def test_any_other_text_is_refused_with_row_column_and_value(cell: str) -> None:
    if cell in MISSING_MARKS:
        assert math.isnan(number(cell))
        return
    with pytest.raises(InputError) as error:
        number(cell)
    assert "file.csv: row 7, column 'value'" in str(error.value)
    assert repr(cell) in str(error.value)


def test_a_lost_pound_sign_counts_as_one_only_where_it_is_asked_for() -> None:
    assert number("?70,480", currency="£?") == 70480.0
    with pytest.raises(InputError):
        number("?70,480")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_written_in_full_is_read_back_exactly(value: float) -> None:
    assert number(repr(value)) == value


@given(st.integers(min_value=-(10**12), max_value=10**12))
def test_thousands_commas_change_nothing(value: int) -> None:
    assert number(f"{value:,}") == value
