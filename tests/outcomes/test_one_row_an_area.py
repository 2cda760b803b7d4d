"""Numbers are keyed by area; an area may stand twice if it says the same twice."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.outcomes.outcome import one_row_an_area

CODES = st.sampled_from(["", "B", "A", "C"])
NUMBERS = st.sampled_from([1.0, 2.0, np.nan])


@given(st.lists(st.tuples(CODES, NUMBERS, NUMBERS), max_size=12))
def test_each_area_has_its_row_or_the_first_contradiction_is_named(
    rows: list[tuple[str, float, float]],
) -> None:
    index = pd.Index(range(5, 5 + len(rows)))
    codes = pd.Series([code for code, _, _ in rows], index, dtype="str")
    numbers = pd.DataFrame([row[1:] for row in rows], index, ["x", "y"], dtype="float64")
    first: dict[str, tuple[int, tuple[float, ...]]] = {}
    wrong = None
    for row, (code, *cells) in zip(index, rows, strict=True):
        before = first.setdefault(code, (row, tuple(cells)))
        if code and wrong is None and not np.array_equal(before[1], cells, equal_nan=True):
            wrong = f"rows {before[0]} and {row}: area '{code}' appears more than once"
    if wrong is not None:
        with pytest.raises(InputError, match=wrong):
            one_row_an_area(codes, numbers, "file")
        return
    found = one_row_an_area(codes, numbers, "file")
    assert found.index.tolist() == sorted(set(codes) - {""})
    for code, row in found.iterrows():
        np.testing.assert_array_equal(row, first[str(code)][1])


def test_a_nation_that_stands_twice_takes_no_time() -> None:
    codes = pd.Series([f"E{i:08d}" for i in range(33_000)] * 2)
    began = time.perf_counter()
    found = one_row_an_area(codes, pd.DataFrame({"x": np.tile(np.arange(33e3), 2)}), "file")
    assert time.perf_counter() - began < 3  # 0.1 s when nothing else runs
    assert len(found) == 33_000
