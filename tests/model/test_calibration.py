from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from streetgauge.model import binomial
from streetgauge.model.calibration import Scored, apply_temperature, calibrate, fit_temperature


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


def test_a_network_that_is_too_sure_of_its_training_data_is_held_back() -> None:
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


def test_an_offset_that_few_training_areas_show_is_mostly_chance() -> None:
    true, classes = sample(1000)
    learnt = scored(true - 1.0, classes)
    few, some, many = (
        calibrate(learnt, learnt, areas=1000, training_areas=areas)[0] for areas in (2, 20, 20_000)
    )
    assert 0 < few < some < many
    assert few < 0.4
    assert many == pytest.approx(1.0, abs=0.1)


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


def held_out(n: int, u: float, v: float, seed: int = 1, classes: int = 10) -> tuple:
    """Locations whose classes were drawn with a known temperature."""
    rng = np.random.default_rng(seed)
    score = rng.normal(0, 1.5, n)
    own = binomial.probabilities(score, classes)
    true = apply_temperature(own[:, None], score[:, None], np.array([[u, v]]))[:, 0]
    target = 1.0 + (rng.random((n, 1)) > np.cumsum(true, axis=1)).sum(1)
    return own, score, np.minimum(target, classes)


@pytest.mark.parametrize(("u", "v"), [(1.0, 1.0), (0.1, 0.3), (0.5, 0.5), (1.6, 2.0)])
def test_the_sharpness_of_a_known_world_is_found(u: float, v: float) -> None:
    own, score, target = held_out(20000, u, v)
    found = fit_temperature(own, score, target, np.ones(20000), areas=2000)
    np.testing.assert_allclose(found, (u, v), atol=0.05)


def test_what_weighs_nothing_does_not_tell_how_sure_to_be() -> None:
    own, score, target = held_out(4000, 0.3, 0.5)
    spoilt = target.copy()
    spoilt[::2] = own[::2].argmax(1) + 1  # as if the head were always right
    weight = np.arange(4000) % 2 * 1.0
    half = (each[1::2] for each in (own, score, target, weight))
    np.testing.assert_allclose(
        fit_temperature(own, score, spoilt, weight, areas=400),
        fit_temperature(*half, areas=400),
        atol=1e-3,
    )


def test_full_sharpness_is_the_head_itself_and_none_is_flat() -> None:
    own, score, _ = held_out(50, 1.0, 1.0)
    same = apply_temperature(own[:, None], score[:, None], np.array([[1.0, 1.0]]))
    np.testing.assert_allclose(same[:, 0], own, atol=1e-12)
    flat = apply_temperature(own[:, None], score[:, None], np.array([[0.0, 0.0]]))
    np.testing.assert_allclose(flat, 0.1)


def test_what_no_binomial_can_be_is_flattened_until_it_is_calibrated() -> None:
    rng = np.random.default_rng(2)
    score = rng.normal(0, 1, 4000)
    target = rng.integers(1, 11, 4000).astype(float)  # the score says nothing
    own = binomial.probabilities(score, 10)
    found = np.array([fit_temperature(own, score, target, np.ones(4000), areas=400)])
    flat = apply_temperature(own[:, None], score[:, None], found)[:, 0]
    assert np.abs(flat - 0.1).max() < 0.05


def test_few_areas_stay_near_where_they_began_and_none_there() -> None:
    own, score, target = held_out(30, 0.1, 0.3)
    begun = np.array([0.9, 0.8])
    few = fit_temperature(own, score, target, np.ones(30), areas=1, start=begun)
    many = fit_temperature(own, score, target, np.ones(30), areas=1000, start=begun)
    assert np.abs(np.array(few) - begun).sum() < np.abs(np.array(many) - begun).sum()
    nothing = fit_temperature(own[:0], score[:0], target[:0], np.ones(0), areas=0, start=begun)
    assert nothing == (0.9, 0.8)
    assert fit_temperature(own[:0], score[:0], target[:0], np.ones(0), areas=0) == (1.0, 1.0)
