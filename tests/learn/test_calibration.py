from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import spearmanr

from streetgauge.learn.calibration import Scored, calibrate


def sample(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True scores, and classes drawn from them."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 1.5, n)
    return true, rng.binomial(9, expit(true)) + 1.0


def scored(score: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> Scored:
    return Scored(score, target, np.ones(len(score)) if weight is None else weight)


@pytest.mark.parametrize(("shift", "stretch"), [(1.0, 1.0), (-0.7, 0.4), (0.0, 2.5)])
def test_shift_and_stretch_are_undone(shift: float, stretch: float) -> None:
    true, classes = sample(4000)
    h = scored((true - shift) * stretch, classes)
    a, b = calibrate(h, h, areas=4000)
    assert a == pytest.approx(shift, abs=0.1)
    assert b == pytest.approx(1 / stretch, rel=0.06)


def test_a_network_that_is_too_sure_of_what_it_has_learnt_is_held_back() -> None:
    true, classes = sample(2000)
    known, new = scored(true, classes), scored(2 * true, classes)
    assert calibrate(known, new, areas=2000)[1] == pytest.approx(0.5, abs=0.05)


def test_scores_on_the_right_scale_are_left_alone_however_few_the_validation_areas() -> None:
    learnt = scored(*sample(1000, 99))
    for seed in range(20):
        a, b = calibrate(learnt, scored(*sample(12, seed)), areas=12)
        assert abs(a) < 0.1
        assert abs(np.log(b)) < 0.45


def test_the_shift_is_not_taken_from_the_validation_part() -> None:
    learnt = scored(*sample(1000))
    true, classes = sample(1000, 1)
    lucky = classes > 5  # a validation part that happens to hold the better-off areas
    a, b = calibrate(learnt, scored(true[lucky], classes[lucky]), areas=12)
    assert abs(a / b) < 0.1


def test_pooled_folds_are_in_the_right_order_though_their_networks_are_shifted() -> None:
    shifts, stretches = [1.5, -1, 0.5, -0.5, 0], [1, 0.5, 2, 1, 1]
    raw, pooled, truth = [], [], []
    for fold, (shift, stretch) in enumerate(zip(shifts, stretches, strict=True)):
        true, classes = sample(900, fold)
        h = (true - shift) * stretch
        a, b = calibrate(
            scored(h[:500], classes[:500]), scored(h[500:700], classes[500:700]), areas=40
        )
        raw.append(h[700:])
        pooled.append(a + b * h[700:])
        truth.append(true[700:])
    right = np.concatenate(truth)
    assert spearmanr(np.concatenate(raw), right).statistic < 0.87
    assert spearmanr(np.concatenate(pooled), right).statistic > 0.98


def test_the_slope_stays_positive_when_scores_are_upside_down() -> None:
    true, classes = sample(500)
    assert calibrate(scored(true, classes), scored(-true, classes), areas=500)[1] > 0


def test_missing_labels_and_weights_are_minded() -> None:
    true, classes = sample(600)
    spoilt = classes.copy()
    spoilt[:200] = np.nan
    spoilt[200:400] = 10
    weight = np.where(np.arange(600) < 400, 0.0, 1.0)
    clean = scored(true[400:], classes[400:])
    expected = calibrate(clean, clean, areas=50)
    dirty = scored(true, spoilt, weight)
    assert calibrate(dirty, dirty, areas=50) == pytest.approx(expected, abs=1e-4)


def test_without_labels_nothing_is_changed() -> None:
    nothing = scored(np.ones(1), np.array([np.nan]))
    assert calibrate(nothing, nothing, areas=0) == (0.0, 1.0)
