"""The interval of a district's mean: it covers, it knows dependence, and it sees no own error."""

import numpy as np
import pandas as pd
import pytest

from streetgauge.analysis.districts import district_intervals


def world(rng, districts: int, between: float, within: float) -> pd.DataFrame:
    """Estimates and actual values whose errors have those standard deviations."""
    sizes = rng.integers(3, 40, districts)
    of = np.repeat(np.arange(districts), sizes)
    estimate = 5.5 + rng.normal(0, 1, districts)[of] + rng.normal(0, 1, len(of))
    error = rng.normal(0, between, districts)[of] + rng.normal(0, within, len(of))
    return pd.DataFrame(
        {"district": of.astype(str), "estimate": estimate, "actual": estimate + error}
    )


def covered(areas: pd.DataFrame, **options: float) -> pd.Series:
    found = district_intervals(areas, classes=100, **options)
    actual = areas["actual"].groupby(areas["district"]).mean()
    return (found["low"] <= actual) & (actual <= found["high"])


@pytest.mark.parametrize(
    ("districts", "between", "most"),
    [(6, 0.8, 0.93), (33, 0.8, 0.93), (33, 0.0, 0.94), (6, 0.0, 1)],
)
def test_intervals_cover_actual_means_as_often_as_stated(
    districts: int, between: float, most: float
) -> None:
    rng = np.random.default_rng(7)
    worlds = (world(rng, districts, between, 1.5) for _ in range(750 // districts))
    share = np.mean([covered(each).mean() for each in worlds])
    # Of six districts without an effect of their own the variance of effects is never below 0.
    assert 0.87 < share < most


def test_errors_that_a_district_shares_make_its_interval_wider() -> None:
    rng = np.random.default_rng(3)
    wide, narrow = (district_intervals(world(rng, 33, between, 1.5)) for between in (1.0, 0.0))
    assert (wide["high"] - wide["low"]).mean() > 2 * (narrow["high"] - narrow["low"]).mean()


def test_the_interval_of_a_district_does_not_use_its_own_actual_values() -> None:
    areas = world(np.random.default_rng(4), 8, 0.5, 1.0)
    own = areas["district"] == "3"
    changed = areas.assign(actual=areas["actual"].mask(own))
    columns = ["low", "high"]
    before, after = (district_intervals(each).loc["3", columns] for each in (areas, changed))
    assert before.tolist() == after.tolist()


def test_the_chance_of_being_the_worst_off_is_shared_by_districts_that_are_alike() -> None:
    areas = pd.DataFrame({"district": list("aabbccddeeff"), "estimate": [2.0] * 4 + [8.0] * 8})
    areas["actual"] = areas["estimate"] + [0.2, -0.2] * 6
    chance = district_intervals(areas)["worst"]
    assert chance["a"] == pytest.approx(0.5, abs=0.05)
    assert chance[["a", "b"]].sum() == pytest.approx(1.0)


def test_of_few_districts_or_no_actual_values_there_is_a_mean_and_no_interval() -> None:
    few = world(np.random.default_rng(5), 4, 0.5, 1.0)
    for areas in (few, world(np.random.default_rng(6), 9, 0.5, 1.0).assign(actual=np.nan)):
        found = district_intervals(areas)
        assert found["mean"].notna().all()
        assert found[["low", "high", "worst"]].isna().all(axis=None)
