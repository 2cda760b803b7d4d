from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import spearmanr

from streetgauge.learn.calibration import calibrate


def sample(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True scores, and classes drawn from them."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 1.5, n)
    return true, rng.binomial(9, expit(true)) + 1.0


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (-0.7, 2.5), (0.0, 0.4)])
def test_shift_and_stretch_are_undone(a: float, b: float) -> None:
    true, classes = sample(4000)
    found = calibrate((true - a) / b, classes, np.ones(4000), areas=4000)
    assert found == pytest.approx((a, b), abs=0.06)


def test_scores_on_the_right_scale_are_left_alone_however_few_the_areas() -> None:
    for seed in range(10):
        true, classes = sample(12, seed)
        a, b = calibrate(true, classes, np.ones(12), areas=12)
        assert abs(a) < 0.12
        assert abs(np.log(b)) < 0.25


def test_pooled_folds_are_in_the_right_order_though_their_networks_are_shifted() -> None:
    shifts, stretches = [1.5, -1, 0.5, -0.5, 0], [1, 0.5, 2, 1, 1]
    raw, pooled, truth = [], [], []
    for fold, (shift, stretch) in enumerate(zip(shifts, stretches, strict=True)):
        true, classes = sample(400, fold)
        h = (true - shift) * stretch
        a, b = calibrate(h[:200], classes[:200], np.ones(200), areas=40)
        raw.append(h[200:])
        pooled.append(a + b * h[200:])
        truth.append(true[200:])
    right = np.concatenate(truth)
    assert spearmanr(np.concatenate(raw), right).statistic < 0.87
    assert spearmanr(np.concatenate(pooled), right).statistic > 0.98


def test_the_slope_stays_positive_when_scores_are_upside_down() -> None:
    true, classes = sample(500)
    _, b = calibrate(-true, classes, np.ones(500), areas=500)
    assert b > 0


def test_missing_labels_and_weights_are_minded() -> None:
    true, classes = sample(600)
    spoilt = classes.copy()
    spoilt[:200] = np.nan
    spoilt[200:400] = 10
    weight = np.where(np.arange(600) < 400, 0.0, 1.0)
    expected = calibrate(true[400:], classes[400:], np.ones(200), areas=50)
    assert calibrate(true, spoilt, weight, areas=50) == pytest.approx(expected, abs=1e-4)


def test_without_labels_nothing_is_changed() -> None:
    assert calibrate([1.0], [np.nan], [1.0], areas=1) == (0.0, 1.0)
