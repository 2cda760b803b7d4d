"""A stack of learners: weights that are known where one of them is right, and sane elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from streetgauge.errors import InputError
from streetgauge.model import stack as module
from streetgauge.model.stack import fit_stack


def truth(areas: int = 400, outcomes: int = 2, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(1, 11, (areas, outcomes)).astype(float)


def noisy(labels: np.ndarray, sd: float, seed: int) -> np.ndarray:
    return labels + np.random.default_rng(seed).normal(0, sd, labels.shape)


def test_a_learner_that_is_right_has_all_the_weight_that_equal_areas_leave_it():
    labels = truth()
    found = fit_stack([labels, noisy(labels, 50, 1)], labels)
    assert found.weight[0] > 0.95
    assert found.weight.sum() == pytest.approx(1)
    assert found.combine([labels, labels]) == pytest.approx(labels, abs=0.3)


def test_learners_that_err_alike_apart_from_each_other_have_equal_weights_and_err_less():
    labels = truth()
    both = np.stack([noisy(labels, 2, 1), noisy(labels, 2, 2)])
    found = fit_stack(both, labels)
    assert found.weight == pytest.approx([0.5, 0.5], abs=0.06)
    new = truth(seed=9)
    apart = np.stack([noisy(new, 2, 3), noisy(new, 2, 4)])
    errors = [np.abs(one - new).mean() for one in apart]
    assert np.abs(found.combine(apart) - new).mean() < 0.85 * min(errors)


def test_weights_are_those_of_the_least_squared_error(monkeypatch):
    monkeypatch.setattr(module, "EQUAL_AREAS", 0.0)
    labels = truth(outcomes=1)
    both = np.stack([noisy(labels, 1, 1), noisy(labels, 3, 2)])
    found = fit_stack(both, labels)
    shares = np.linspace(0, 1, 1001)
    lines = found.shift[:, 0] + found.slope[:, 0] * both[..., 0].T
    errors = [((lines @ [w, 1 - w] - labels[:, 0]) ** 2).sum() for w in shares]
    assert found.weight[0] == pytest.approx(shares[np.argmin(errors)], abs=2e-3)


def test_a_scale_of_its_own_changes_nothing():
    labels = truth()
    both = np.stack([noisy(labels, 2, 1), noisy(labels, 2, 2)])
    other = np.stack([both[0] / 7 - 3, both[1]])
    one, two = fit_stack(both, labels), fit_stack(other, labels)
    assert one.weight == pytest.approx(two.weight)
    assert one.combine(both) == pytest.approx(two.combine(other))


def test_a_learner_of_the_reverse_order_or_constant_changes_no_order():
    labels = truth()
    found = fit_stack([labels, 11 - labels, np.full_like(labels, 5)], labels)
    assert found.slope[0] == pytest.approx(1)
    assert found.slope[1] == pytest.approx(0.05)
    assert found.slope[2] == pytest.approx(0)
    order = found.combine([labels, 11 - labels, np.full_like(labels, 5)])
    assert np.corrcoef(order[:, 0], labels[:, 0])[0, 1] == pytest.approx(1)


def test_areas_are_distinguished_also_where_nothing_agrees_with_the_labels():
    labels = truth(outcomes=1)
    found = fit_stack([11 - labels], labels)
    assert len(np.unique(found.combine([labels]))) == 10


def test_few_areas_leave_weights_near_equal_ones():
    labels = truth()
    both = np.stack([noisy(labels, 1, 1), noisy(labels, 6, 2)])
    few, many = fit_stack(both[:, :8], labels[:8]), fit_stack(both, labels)
    assert 0.5 < few.weight[0] < many.weight[0]


def test_weights_are_shared_by_outcomes_that_count_alike_whatever_their_scale():
    labels = truth()
    both = np.stack([noisy(labels, 1, 1), noisy(labels, 4, 2)])
    assert fit_stack(both, labels).weight.shape == (2,)
    stretched = labels * [1, 1000]
    again = fit_stack(both * [1, 1000], stretched)
    assert again.weight == pytest.approx(fit_stack(both, labels).weight, abs=1e-6)


def test_missing_labels_missing_predictions_and_areas_without_weight_are_not_used():
    labels = truth()
    both = np.stack([noisy(labels, 1, 1), noisy(labels, 3, 2)])
    known = fit_stack(both[:, :200], labels[:200])
    lacking, absent = labels.copy(), both.copy()
    lacking[200:] = np.nan
    absent[1, 200:] = np.nan
    weight = np.r_[np.ones(200), np.zeros(200)]
    for found in (
        fit_stack(both, lacking),
        fit_stack(absent, labels),
        fit_stack(both, labels, weight=weight),
    ):
        assert found.weight == pytest.approx(known.weight)
        assert found.slope == pytest.approx(known.slope)


@pytest.mark.parametrize("label", [np.nan, 4.0])
def test_without_two_different_labels_weights_are_equal(label):
    labels = np.full((20, 1), label)
    given = np.random.default_rng(0).normal(size=(3, 20, 1))
    found = fit_stack(given, labels)
    assert found.weight == pytest.approx(1 / 3)
    assert np.isfinite(found.combine(given)).all()
    if not np.isnan(label):
        assert found.combine(given) == pytest.approx(label)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"their shape is \(2, 5, 1\), and that of the labels"):
        fit_stack(np.zeros((2, 5, 1)), np.zeros((6, 1)))
    with pytest.raises(InputError, match="their shape is"):
        fit_stack(np.zeros((0, 5, 1)), np.zeros((5, 1)))
