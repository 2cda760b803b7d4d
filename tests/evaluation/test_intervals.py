"""Intervals hold what they promise, whatever the classes, the folds and the order of rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from streetgauge.evaluation import aggregate, equal_count, evaluate_intervals, intervals
from streetgauge.evaluation.intervals import _mass_before, intervals_elsewhere


def city(n=600, classes=10, r=0.6, folds=5, seed=1, outcome="income", shift=0.0):
    """Areas whose score hangs together with their decile as closely as r says."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    score = r * truth + np.sqrt(1 - r**2) * rng.normal(size=n)
    fold = 1 + rng.permutation(n) % folds
    score = score + shift * (fold == 1) * rng.normal(size=n)
    return pd.DataFrame(
        {
            "area": [f"A{i:05d}" for i in range(n)],
            "outcome": outcome,
            "fold": fold,
            "n_locations": 3,
            "score": score,
            "decile": pd.array(equal_count(score, classes), dtype="Int64"),
            "actual_decile": pd.array(equal_count(truth, classes), dtype="Int64"),
        }
    )


def covered(frame: pd.DataFrame) -> np.ndarray:
    return frame["actual_decile"].between(frame["low"], frame["high"]).to_numpy(bool)


@pytest.mark.parametrize(
    ("n", "classes", "r", "coverage"),
    [(600, 10, 0.6, 0.9), (600, 10, 0.0, 0.9), (600, 5, 0.8, 0.8), (400, 20, 0.7, 0.95)],
)
def test_where_folds_are_alike_coverage_is_within_its_binomial_interval(n, classes, r, coverage):
    hits = [covered(intervals(city(n, classes, r, seed=s), coverage, classes)) for s in range(8)]
    total = 8 * n
    low, high = binom.ppf([0.0005, 0.9995], total, coverage)
    # It may exceed the aim a little: by 1 / (n + 1), and where there are ties.
    assert low <= np.sum(hits) <= high + total * 0.01


@pytest.mark.parametrize("n", [1, 2, 9, 25, 85])
def test_few_areas_get_valid_intervals_and_probabilities(n):
    frame = intervals(city(n, folds=min(5, n)))
    assert (frame["low"] <= frame["decile"]).all()
    assert (frame["decile"] <= frame["high"]).all()
    assert frame["low"].min() >= 1
    assert frame["high"].max() <= 10
    p = frame.filter(regex=r"^p\d").to_numpy()
    np.testing.assert_allclose(p.sum(1), 1)
    assert (p >= 0).all()
    if n < 10:  # nine others are needed for nine tenths
        assert frame["low"].eq(1).all()
        assert frame["high"].eq(10).all()


def test_ten_others_are_enough_for_nine_tenths():
    # Fold 2 is judged by fold 1: of ten areas the ceil(11 x 0.9) = 10th smallest is taken.
    frame = city(11, r=0.99).assign(fold=[1] * 10 + [2])
    alone = intervals(frame, 0.9).iloc[-1]
    assert alone["high"] - alone["low"] < 9
    assert intervals(frame, 0.95).iloc[-1][["low", "high"]].tolist() == [1, 10]
    # Of nine, the ceil(10 x 0.9) = 9th.
    nine = intervals(frame.iloc[1:], 0.9).iloc[-1]
    assert nine["high"] - nine["low"] < 9
    assert intervals(frame.iloc[2:], 0.9).iloc[-1][["low", "high"]].tolist() == [1, 10]


def test_rows_may_be_in_any_order_and_keep_theirs():
    frame = pd.concat([city(150), city(150, seed=2, outcome="crime")], ignore_index=True)
    shuffled = frame.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(
        intervals(shuffled).sort_index(), intervals(frame), check_exact=True
    )
    assert intervals(shuffled)["area"].tolist() == shuffled["area"].tolist()


def test_made_twice_they_are_the_same():
    once = intervals(city(150))
    pd.testing.assert_frame_equal(intervals(once), once, check_exact=True)


def test_an_areas_own_fold_has_no_say_in_its_interval_and_probabilities():
    frame = city(400)
    before = intervals(frame)
    mine = frame["fold"] == 2
    wrong = frame.assign(actual_decile=frame["actual_decile"].where(~mine, 11 - frame["decile"]))
    after = intervals(wrong)
    columns = ["low", "high", *(f"p{k}" for k in range(1, 11))]
    pd.testing.assert_frame_equal(
        before.loc[mine, columns], after.loc[mine, columns], check_exact=True
    )
    # The others did train on fold 2: it says now that errors are larger.
    width = (after["high"] - after["low"]) - (before["high"] - before["low"])
    assert width[~mine].mean() > 0.5


def test_predictions_that_are_all_right_have_intervals_of_one_decile():
    frame = city(200, r=1.0)
    frame = intervals(frame)
    assert (frame["low"] == frame["actual_decile"]).all()
    assert (frame["high"] == frame["actual_decile"]).all()


def test_intervals_are_wider_where_deciles_are_harder_to_tell():
    rng = np.random.default_rng(4)
    frame = city(3000, r=1.0)
    # In the lower half the prediction says nothing but that it is the lower half.
    low = frame["actual_decile"].to_numpy() <= 5
    actual = frame["actual_decile"].to_numpy().copy()
    actual[low] = rng.integers(1, 6, low.sum())
    frame = intervals(frame.assign(actual_decile=pd.array(actual, dtype="Int64")))
    width = (frame["high"] - frame["low"] + 1).astype(float)
    middle = frame["decile"].between(2, 4)
    assert width[middle].mean() >= 4
    assert width[frame["decile"] >= 8].mean() < 2.5
    assert covered(frame).mean() >= 0.88


def test_constant_scores_say_nothing_and_their_intervals_hold_enough():
    frame = city(1000).assign(score=0.5, decile=pd.array([5] * 1000, dtype="Int64"))
    result = intervals(frame)
    p = result.filter(regex=r"^p\d").to_numpy()
    np.testing.assert_allclose(p, 0.1, atol=0.03)
    assert covered(result).mean() >= 0.88
    assert (result["low"] <= 5).all()
    assert (result["high"] >= 5).all()


def test_scores_that_order_areas_the_wrong_way_round_are_not_believed():
    frame = city(1000)
    p = intervals(frame.assign(score=-frame["score"]))
    worst = p.nsmallest(50, "score")
    assert worst[["p1", "p2"]].sum(axis=1).mean() < 0.35  # not sure of the wrong end


def test_with_one_fold_the_interval_is_everything_and_all_deciles_are_alike():
    result = intervals(city(100, folds=1))
    assert set(result["low"]) == {1}
    assert set(result["high"]) == {10}
    assert (result.filter(regex=r"^p\d").to_numpy() == 0.1).all()


def test_with_one_fold_areas_that_were_held_aside_say_how_wide():
    hits, widths = [], []
    for seed in range(6):
        both = city(500, folds=2, seed=seed)
        calibration = both.loc[both["fold"] == 2, ["outcome", "score", "actual_decile"]]
        result = intervals(
            both[both["fold"] == 1], calibration_set=calibration.sample(frac=1, random_state=1)
        )
        assert (result["low"] <= result["decile"]).all()
        assert (result["decile"] <= result["high"]).all()
        hits.append(covered(result).mean())
        widths.append((result["high"] - result["low"] + 1).mean())
    assert np.mean(hits) == pytest.approx(0.9, abs=0.025)
    assert np.mean(widths) < 8
    # With folds, they are not asked.
    folds = city(300)
    pd.testing.assert_frame_equal(intervals(folds, calibration_set=calibration), intervals(folds))


def test_a_split_area_lends_nothing_and_spans_the_scale():
    frame = city(200, r=1.0)
    split_areas = frame.index[:20]
    frame.loc[split_areas, "fold"] = 0
    result = intervals(frame)
    assert result.loc[split_areas, ["low", "high"]].drop_duplicates().to_numpy().tolist() == [
        [1, 10]
    ]
    assert (result.loc[split_areas, "p1"] == 0.1).all()
    wrong = frame.assign(
        actual_decile=frame["actual_decile"].where(~frame.index.isin(split_areas), 1)
    )
    again = intervals(wrong)
    columns = ["low", "high", "p1", "p10"]
    pd.testing.assert_frame_equal(
        again.drop(split_areas)[columns], result.drop(split_areas)[columns], check_exact=True
    )


def test_an_area_without_an_actual_decile_gets_an_interval():
    frame = city(200)
    frame.loc[7, "actual_decile"] = pd.NA
    row = intervals(frame).loc[7]
    assert row["low"] <= row["decile"] <= row["high"]
    assert row["high"] - row["low"] < 9


def test_the_mass_is_that_of_plain_steps_to_the_more_probable_neighbour():
    rng = np.random.default_rng(5)
    p = rng.dirichlet(np.ones(7), 300)
    start = rng.integers(1, 8, 300)
    found = _mass_before(p, start)
    for row, first, mass in zip(p, start, found, strict=True):
        low = high = first
        total, expected = row[first - 1], np.zeros(7)
        while high - low < 6:
            up = row[high] if high < 7 else -1
            down = row[low - 2] if low > 1 else -1
            low, high, taken = (low, high + 1, high + 1) if up > down else (low - 1, high, low - 1)
            expected[taken - 1] = total
            total += row[taken - 1]
        np.testing.assert_allclose(mass, expected, atol=1e-12)


def test_the_account_counts_what_is_covered_by_decile_and_by_district():
    frame = pd.DataFrame(
        {
            "low": pd.array([1, 2, 3, 1], dtype="Int64"),
            "high": pd.array([2, 2, 4, 4], dtype="Int64"),
            "actual_decile": pd.array([1, 1, 4, pd.NA], dtype="Int64"),
        },
        index=["A", "B", "C", "D"],
    )
    districts = pd.Series({"A": "north", "B": "north", "C": "south", "D": "south"})
    found = evaluate_intervals(frame, 0.9, classes=4, districts=districts)
    assert found["n_areas"] == 3
    assert found["share"] == pytest.approx(2 / 3)
    assert found["mean_width"] == pytest.approx(5 / 3)
    # Clopper and Pearson's interval of 2 of 3.
    assert (found["low"], found["high"]) == pytest.approx((0.0943, 0.9916), abs=1e-4)
    assert not found["below_level"]
    assert [each["n_areas"] for each in found["by_decile"]] == [2, 0, 0, 1]
    assert found["by_decile"][0]["share"] == 0.5
    assert found["by_decile"][1]["share"] is None
    assert found["by_district"]["north"] == {"n_areas": 2, "share": 0.5, "mean_width": 1.5}
    assert found["by_district"]["south"]["share"] == 1
    assert evaluate_intervals(frame.iloc[3:], 0.9, classes=4)["share"] is None


def test_a_fold_unlike_the_others_is_reported_to_fall_short():
    frame = intervals(city(3000, r=0.9, shift=2.0))
    lonely = frame[frame["fold"] == 1].set_index("area")
    assert evaluate_intervals(lonely, 0.9)["below_level"]
    assert not evaluate_intervals(intervals(city(3000, r=0.9)).set_index("area"), 0.9)[
        "below_level"
    ]


def test_what_aggregate_gives_has_intervals():
    rng = np.random.default_rng(6)
    rows = pd.DataFrame(
        {
            "location_id": [f"L{i:04d}" for i in range(900)],
            "area": [f"A{i // 3:03d}" for i in range(900)],
            "fold": [1 + i // 3 % 5 for i in range(900)],
            "outcome": "income",
            "score": [i // 3 + rng.normal() for i in range(900)],
            "actual_decile": pd.array([1 + i // 90 for i in range(900)], dtype="Int64"),
        }
    )
    shuffled = rows.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(
        intervals(aggregate(rows)), intervals(aggregate(shuffled)), check_exact=True
    )


def test_a_level_that_floats_cannot_hold_takes_no_area_more_than_it_needs():
    # 75 x 0.68 is 51, and 51.00000000000001 in floats.
    for seed in range(12):
        frame = city(75, r=0.5, seed=seed).assign(fold=[1] * 74 + [2])
        as_written, less = (intervals(frame, level).iloc[-1] for level in (0.68, 0.68 - 1e-12))
        assert as_written[["low", "high"]].tolist() == less[["low", "high"]].tolist()


def a_city(n, seed, shift=0.0):
    """Areas whose score shows their decile with noise; deciles are cut in the first city."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(shift, 1, n)
    score = latent + 0.7 * rng.normal(size=n)
    borders = np.quantile(np.random.default_rng(0).normal(size=10_000), np.arange(0.1, 1, 0.1))
    cuts = np.quantile(np.random.default_rng(1).normal(0, 1.22, 10_000), np.arange(0.1, 1, 0.1))
    actual, decile = 1 + np.searchsorted(borders, latent), 1 + np.searchsorted(cuts, score)
    return pd.DataFrame(
        {"outcome": "income", "score": score, "decile": decile, "actual_decile": actual}
    )


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_intervals_elsewhere_hold_in_a_city_like_the_first_wherever_its_scores_lie(shift):
    first = a_city(800, 2)[["score", "decile", "actual_decile"]].to_numpy(float)
    city = a_city(2000, 3, shift)
    found = intervals_elsewhere(city, {"income": first})
    assert list(found)[:5] == ["outcome", "score", "decile", "low", "high"]
    inside = found["actual_decile"].between(found["low"], found["high"])
    assert 0.86 < inside.mean() < 0.94
    assert ((found["low"] <= found["decile"]) & (found["decile"] <= found["high"])).all()
    assert (found["high"] - found["low"] + 1).mean() < 7
    reverse = intervals_elsewhere(city[::-1], {"income": first[::-1]})[::-1]
    pd.testing.assert_frame_equal(reverse, found)


def test_intervals_elsewhere_are_everything_where_too_few_areas_were_held_out():
    first = a_city(8, 2)[["score", "decile", "actual_decile"]].to_numpy(float)
    found = intervals_elsewhere(a_city(50, 3), {"income": first})
    assert found["low"].eq(1).all()
    assert found["high"].eq(10).all()


def test_scores_of_another_scale_stand_within_their_own_city_where_deciles_were_cut_there():
    first = a_city(800, 2)[["score", "decile", "actual_decile"]].to_numpy(float)
    city = a_city(1000, 3)
    other = city.assign(score=100 + 5 * city["score"])  # the same order
    same, moved = (
        intervals_elsewhere(each, {"income": first}, own_scale=True) for each in (city, other)
    )
    assert same["low"].equals(moved["low"])
    assert same["high"].equals(moved["high"])
