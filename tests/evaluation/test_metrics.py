"""Metrics from the confusion matrix are those of scikit-learn and SciPy, ties and all."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from streetgauge.evaluation.metrics import (
    METRICS,
    confusion_matrix,
    estimate,
    measure,
    shrinkage,
    why_undefined,
)


def of(actual, predicted, classes=10):
    return {k: float(v) for k, v in measure(confusion_matrix(actual, predicted, classes)).items()}


@st.composite
def pairs(draw):
    classes = draw(st.integers(2, 10))
    n = draw(st.integers(2, 120))
    decile = st.integers(1, classes)
    return (
        draw(st.lists(decile, min_size=n, max_size=n)),
        draw(st.lists(decile, min_size=n, max_size=n)),
        classes,
    )


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_every_metric_equals_its_reference(case):
    actual, predicted, classes = case
    found = of(actual, predicted, classes)
    distance = np.abs(np.subtract(actual, predicted))
    expected = {
        "mae": sk.mean_absolute_error(actual, predicted),
        "exact": sk.accuracy_score(actual, predicted),
        "within_1": (distance <= 1).mean(),
        "within_2": (distance <= 2).mean(),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the references warn of what is not defined
        expected |= {
            "pearson": stats.pearsonr(actual, predicted)[0],
            "spearman": stats.spearmanr(actual, predicted)[0],
            "kendall": stats.kendalltau(actual, predicted)[0],
            "kappa": sk.cohen_kappa_score(
                actual, predicted, weights="quadratic", labels=range(1, classes + 1)
            ),
        }
    assert set(found) == set(expected) == set(METRICS)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name


def test_a_perfect_prediction_has_every_best_value():
    deciles = np.repeat(np.arange(1, 11), 7)
    found = of(deciles, deciles)
    assert found.pop("mae") == 0
    assert set(found.values()) == {1.0}


def test_a_constant_prediction_has_no_correlation_and_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = of([1, 2, 3, 4], [2, 2, 2, 2])
        nothing = of([], [])
    assert found["mae"] == 1.0
    assert all(np.isnan(found[name]) for name in ("pearson", "spearman", "kendall"))
    assert found["kappa"] == 0
    assert all(np.isnan(value) for value in nothing.values())


def test_what_is_not_defined_is_none_in_json():
    assert estimate(np.nan, [np.nan, np.nan], 0.9) == {"value": None, "low": None, "high": None}
    # Draws in which it is not defined are left aside.
    found = estimate(0.5, [np.nan, 0.0, 1.0], 0.5)
    assert found == {"value": 0.5, "low": 0.25, "high": 0.75}


def test_tables_of_any_shape_are_measured_at_once():
    tables = np.random.default_rng(0).integers(0, 9, (3, 4, 10, 10))
    together = measure(tables)
    for name, values in together.items():
        assert values.shape == (3, 4)
        assert values[1, 2] == float(measure(tables[1, 2])[name])


def test_a_decile_out_of_range_is_refused():
    with pytest.raises(ValueError, match="between 1 and 10"):
        confusion_matrix([0, 1], [1, 1], 10)


@pytest.mark.parametrize("decile", range(1, 11))
def test_areas_of_one_class_hang_together_in_no_way_whatever_they_weigh(decile):
    """The mean of equal values need not be that value to the last bit: w k / w is not always k."""
    for weight in (0.1, 0.3, 1 / 3, 0.7, 1.0, 1.1):
        table = np.zeros((10, 10))
        table[decile - 1, 4] = weight
        assert set(why_undefined(table)) >= {"pearson", "spearman", "kendall"}
        assert np.isnan(shrinkage(table)["slope"])
        table[:, 4] = weight  # all are predicted the same, and differ
        table[:, 4] *= np.arange(1, 11)
        assert set(why_undefined(table)) >= {"pearson", "spearman", "kendall"}
