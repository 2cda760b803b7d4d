"""Probabilities of deciles: known worlds are found again, and what is stated is what happens."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from streetgauge.evaluation import equal_count, evaluate_probabilities
from streetgauge.evaluation.metrics import ranked_probability_scores
from streetgauge.evaluation.probabilities import Distributions, calibration_error, normal_scores


def world(n, r, classes=10, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    score = r * truth + np.sqrt(1 - r**2) * rng.normal(size=n)
    return normal_scores(score), equal_count(truth, classes)


def best(x, r, classes=10):
    """What is known of the decile by who made the world."""
    borders = norm.ppf(np.arange(classes + 1) / classes)
    return np.diff(norm.cdf((borders - r * x[:, None]) / np.sqrt(1 - r**2)), axis=1)


@pytest.mark.parametrize(("n", "off"), [(85, 0.05), (4000, 0.02)])
def test_the_distribution_of_a_known_world_is_found(n, off):
    x, decile = world(n, 0.7)
    at = np.linspace(-1.5, 1.5, 7)
    found = Distributions.fit(x, decile).at(at)
    np.testing.assert_allclose(found, best(at, 0.7), atol=off * 2)
    assert np.abs(found - best(at, 0.7)).mean() < off


def test_it_is_better_than_one_shape_where_the_city_is_not_one_shape():
    rng = np.random.default_rng(1)
    x, decile = world(8000, 0.95)
    # Below the middle the score says nothing but that.
    low = x < 0
    decile[low] = rng.integers(1, 6, low.sum())
    found = Distributions.fit(x[::2], decile[::2]).at(x[1::2])
    lower, upper = np.repeat([0.2, 0.0], 5), best(x[1::2], 0.95)
    known = np.where(low[1::2, None], lower, upper)
    ours = ranked_probability_scores(found, decile[1::2]).mean()
    ideal = ranked_probability_scores(known, decile[1::2]).mean()
    r = np.corrcoef(x, normal_scores(decile))[0, 1]
    one_shape = ranked_probability_scores(best(x[1::2], r), decile[1::2]).mean()
    assert ours < ideal + 0.05 < one_shape
    assert found[x[1::2] < -0.5][:, 5:].sum(1).mean() < 0.1


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 60),
    classes=st.integers(2, 15),
    seed=st.integers(0, 10**6),
    spread=st.floats(0, 8),
)
def test_probabilities_are_some_and_fall_or_stay_as_the_score_rises(n, classes, seed, spread):
    rng = np.random.default_rng(seed)
    x, decile = spread * rng.normal(size=n), rng.integers(1, classes + 1, n)
    at = np.linspace(-5, 5, 101)
    p = Distributions.fit(x, decile, classes).at(at)
    assert p.shape == (101, classes)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(1), 1)
    assert (np.diff(np.cumsum(p, axis=1), axis=0) <= 1e-9).all()


def test_areas_in_any_order_give_the_same():
    x, decile = world(300, 0.5)
    order = np.random.default_rng(2).permutation(300)
    np.testing.assert_allclose(
        Distributions.fit(x, decile).table,
        Distributions.fit(x[order], decile[order]).table,
        atol=1e-7,
    )


def test_normal_scores_say_where_values_stand():
    np.testing.assert_allclose(normal_scores([3.0, 1.0, 2.0]), norm.ppf([5 / 6, 1 / 6, 0.5]))
    np.testing.assert_array_equal(normal_scores([4.0, 4.0, 4.0]), 0)
    among = [1.0, 2.0, 2.0, 3.0]
    np.testing.assert_allclose(
        normal_scores([0.0, 2.0, 2.5, 9.0], among), norm.ppf([1 / 8, 0.5, 0.75, 7 / 8])
    )
    np.testing.assert_allclose(normal_scores(among, among), normal_scores(among))


def test_the_calibration_error_is_that_of_a_plain_count():
    # P(decile 1) is .25 for all, and it is decile 1 in 3 of 4: off by .5 throughout.
    p = np.tile([0.25, 0.75], (8, 1))
    actual = np.array([1, 1, 1, 2] * 2)
    assert calibration_error(p, actual, groups=1) == pytest.approx(0.5)
    assert calibration_error(np.eye(3)[[0, 1, 2]], [1, 2, 3]) == 0
    assert np.isnan(calibration_error(np.empty((0, 3)), []))


def test_probabilities_that_made_the_world_are_calibrated_and_sharper_ones_are_not():
    rng = np.random.default_rng(3)
    x = rng.normal(size=20000)
    p = best(x, 0.6)
    actual = 1 + (rng.random((20000, 1)) > np.cumsum(p, axis=1)).sum(1)
    assert calibration_error(p, actual) < 0.012
    sharp = p**4 / (p**4).sum(1, keepdims=True)
    assert calibration_error(sharp, actual) > 0.05


def test_the_account_is_of_areas_of_locations_and_of_their_mean():
    columns = ["p1", "p2"]
    areas = pd.DataFrame({"area": ["A", "B"], "actual_decile": pd.array([1, pd.NA], dtype="Int64")})
    areas[columns] = [[1.0, 0.0], [0.5, 0.5]]
    rows = pd.DataFrame({"area": ["A", "A"], "actual_decile": pd.array([1, 1], dtype="Int64")})
    rows[columns] = [[0.5, 0.5], [0.0, 1.0]]
    found = evaluate_probabilities(areas, rows, classes=2)
    assert found["areas"]["rps"] == 0
    assert found["locations"]["rps"] == pytest.approx((0.25 + 1) / 2)
    assert found["mean_of_locations"]["rps"] == pytest.approx(0.75**2)
    assert set(evaluate_probabilities(areas, None, 2)) == {"areas"}
    assert evaluate_probabilities(areas.iloc[1:], None, 2)["areas"]["rps"] is None


def test_equal_probabilities_share_what_happened_whatever_the_order_of_the_rows():
    actual = np.repeat(np.arange(1, 11), 100)
    same = np.full((1000, 10), 0.1)
    assert calibration_error(same, actual) == pytest.approx(0, abs=1e-12)
    rng = np.random.default_rng(0)
    two = rng.dirichlet(np.ones(10), 2)[rng.integers(0, 2, 1000)]
    order = rng.permutation(1000)
    again = calibration_error(two[order], actual[order])
    assert again == pytest.approx(calibration_error(two, actual), abs=1e-12)
