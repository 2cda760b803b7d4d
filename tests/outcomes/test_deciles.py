from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.outcomes import deciles


def series(values: object, name: str = "noise") -> pd.Series:
    numbers = pd.Series(values, dtype="float64", name=name)
    return numbers.set_axis([f"A{n:04d}" for n in range(len(numbers))])


def test_the_worst_off_tenth_is_decile_1_whichever_way_the_values_run() -> None:
    up = series(np.arange(100.0))
    better = deciles(up, "higher-is-better")
    worse = deciles(up, "higher-is-worse")
    assert better.iloc[0] == 1
    assert better.iloc[99] == 10
    assert worse.iloc[0] == 10
    assert worse.iloc[99] == 1
    assert set(better.value_counts()) == set(worse.value_counts()) == {10}
    assert better.dtype == "Int64"


def test_the_cut_is_that_of_qcut_on_the_values_and_classes_only_renumber_it() -> None:
    rng = np.random.default_rng(7)
    values = series(rng.integers(0, 400, 4835))  # many ties
    expected = pd.qcut(values, 10, labels=False)
    assert (deciles(values, "higher-is-better") == expected + 1).all()
    assert (deciles(values, "higher-is-worse") == 10 - expected).all()


def test_equal_values_share_a_decile_and_a_border_value_belongs_below() -> None:
    values = series([1, 2, 3, 3, 5, 6])
    assert deciles(values, "higher-is-better", classes=2).tolist() == [1, 1, 1, 1, 2, 2]
    assert deciles(values, "higher-is-worse", classes=2).tolist() == [2, 2, 2, 2, 1, 1]


def test_a_missing_value_has_no_decile_and_does_not_move_the_others() -> None:
    whole = series(np.arange(50.0))
    holed = pd.concat([whole, pd.Series({"Z": np.nan})]).rename("noise")
    cut = deciles(holed, "higher-is-better")
    assert cut["Z"] is pd.NA
    assert (cut[whole.index] == deciles(whole, "higher-is-better")).all()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([3.0] * 30, "outcome 'noise': it is constant: all 30 areas have the value 3"),
        ([3.0], "outcome 'noise': only one area has a value, and classes need several"),
        ([1.0, 2.0, 3.0], "outcome 'noise': 3 distinct values cannot be cut into 10 classes"),
        ([np.nan] * 5, "outcome 'noise': no area of the study has a value"),
        ([0.0] * 30 + list(range(1, 71)), "30 of 100 areas share the value 0, more than one of 10"),
    ],
)
def test_what_cannot_be_cut_is_refused_naming_the_outcome(values: list[float], reason: str) -> None:
    with pytest.raises(InputError) as error:
        deciles(series(values), "higher-is-better")
    assert reason in str(error.value)


@given(
    values=st.lists(st.integers(-(10**6), 10**6), min_size=20, max_size=80, unique=True),
    seed=st.integers(0, 2**16),
)
def test_the_order_of_areas_changes_nothing_and_classes_differ_by_at_most_one(
    values: list[int], seed: int
) -> None:
    numbers = series(values)
    shuffled = numbers.sample(frac=1, random_state=seed)
    cut = deciles(numbers, "higher-is-worse")
    assert deciles(shuffled, "higher-is-worse").reindex(numbers.index).equals(cut)
    counts = cut.value_counts()
    assert counts.max() - counts.min() <= 1
    worst_first = numbers.sort_values(ascending=False).index
    assert cut[worst_first].is_monotonic_increasing
