from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import binom

from streetgauge.model import binomial

mpmath.mp.dps = 60  # digits enough for 1 - p where p is 1 - exp(-100)

scores = st.floats(-30, 30)
scales = st.integers(2, 60)


@given(scores, scales)
@settings(deadline=None)
def test_probabilities_are_the_binomial_of_scipy(h: float, classes: int) -> None:
    # Counted from the rarer end, for 1 - p would lose the digits that scipy needs.
    expected = binom.pmf(np.arange(classes), classes - 1, 1 / (1 + np.exp(abs(h))))
    expected = expected[::-1] if h > 0 else expected
    np.testing.assert_allclose(binomial.probabilities(h, classes), expected, rtol=1e-9, atol=1e-300)


@given(scores, scales)
@settings(deadline=None)
def test_torch_and_numpy_are_twins(h: float, classes: int) -> None:
    ours = binomial.log_probabilities(torch.tensor(h, dtype=torch.float64), classes).exp()
    np.testing.assert_allclose(ours, binomial.probabilities(h, classes), rtol=1e-9, atol=1e-300)
    assert ours.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("h", [1e4, -1e4, 88.8, -104, 0.0])
def test_values_and_gradients_stay_finite_where_p_rounds_to_0_or_1(
    dtype: torch.dtype, h: float
) -> None:
    score = torch.full((10, 1), h, dtype=dtype, requires_grad=True)
    target = torch.arange(1.0, 11.0)[:, None]
    log_p = binomial.log_probabilities(score)
    assert log_p.isfinite().all()
    loss = binomial.loss(score, target)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert score.grad is not None
    assert score.grad.isfinite().all()


def test_the_loss_at_large_scores_is_right_where_the_naive_formulas_overflow_or_go_flat() -> None:
    h = torch.tensor([[200.0]], requires_grad=True)
    worst = torch.tensor([[1.0]])
    assert torch.log1p(torch.exp(h)).isinf()  # the log of 1 + exp, written down as it is
    assert (1 - torch.sigmoid(h)).item() == 0  # p itself leaves nothing to take the log of
    loss = binomial.loss(h, worst)
    loss.sum().backward()
    assert loss.item() == pytest.approx(9 * 200)
    assert h.grad is not None
    assert h.grad.item() == pytest.approx(9)  # still says which way to go


@given(st.floats(-20, 20), st.integers(2, 30), st.data())
@settings(deadline=None)
def test_the_gradient_is_expected_minus_observed_successes(
    h: float, classes: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, classes))
    score = torch.tensor([[h]], dtype=torch.float64, requires_grad=True)
    binomial.loss(score, torch.tensor([[float(k)]]), classes=classes).sum().backward()
    assert score.grad is not None
    p = 1 / (1 + np.exp(-h))
    assert score.grad.item() == pytest.approx((classes - 1) * p - (k - 1), abs=1e-9)


def exact_log_probability(h: float, k: int, classes: int) -> mpmath.mpf:
    p, q = (1 / (1 + mpmath.exp(sign * mpmath.mpf(h))) for sign in (-1, 1))
    ways = mpmath.binomial(classes - 1, k - 1)
    return mpmath.log(ways) + (k - 1) * mpmath.log(p) + (classes - k) * mpmath.log(q)


@given(st.floats(-1e4, 1e4, width=32), st.integers(2, 100), st.data())
@settings(deadline=None)
def test_log_probabilities_are_exact_for_any_scale_and_score(
    h: float, classes: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, classes))
    truth = exact_log_probability(h, k, classes)
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        score = torch.tensor(h, dtype=dtype)
        ours = binomial.log_probabilities(score, classes)[k - 1].item()
        assert abs(ours - truth) <= tolerance * max(1, abs(truth))
        alone = -binomial.negative_log_likelihood(score, torch.tensor(float(k)), classes).item()
        assert abs(alone - truth) <= tolerance * max(1, abs(truth))
    if truth > -700:
        assert abs(binomial.probabilities(h, classes)[k - 1] / mpmath.exp(truth) - 1) < 1e-11


@given(st.floats(-1e4, 1e4, width=32), st.integers(2, 100), st.data())
@settings(deadline=None)
def test_gradients_are_right_in_every_precision(
    h: float, classes: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, classes))
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 2**-8)):
        score = torch.tensor([[h]], dtype=dtype, requires_grad=True)
        binomial.loss(score, torch.tensor([[float(k)]]), classes=classes).sum().backward()
        assert score.grad is not None
        assert score.grad.dtype == dtype
        p = expit(score.detach().double().item())
        truth = (classes - 1) * p - (k - 1)
        assert abs(score.grad.item() - truth) <= tolerance * (classes - 1)


def test_constants_made_while_predicting_serve_training_too() -> None:
    with torch.inference_mode():
        binomial.log_probabilities(torch.zeros(2), 23)
    h = torch.zeros(2, 1, requires_grad=True)
    binomial.loss(h, torch.ones(2, 1), classes=23).sum().backward()
    assert h.grad is not None


def test_the_loss_of_one_class_is_its_log_probability() -> None:
    h = torch.linspace(-4, 4, 9)
    every = binomial.log_probabilities(h, 7)
    for k in range(1, 8):
        ours = binomial.negative_log_likelihood(h, torch.full((9,), float(k)), 7)
        torch.testing.assert_close(ours, -every[:, k - 1])


def test_a_missing_label_has_no_weight_and_no_gradient() -> None:
    h = torch.tensor([[0.5, 1.0], [2.0, -1.0]], requires_grad=True)
    target = torch.tensor([[3.0, float("nan")], [float("nan"), float("nan")]])
    loss = binomial.loss(h, target, torch.ones(2, 2))
    loss.sum().backward()
    assert loss[0].item() == pytest.approx(
        binomial.negative_log_likelihood(torch.tensor(0.5), torch.tensor(3.0)).item()
    )
    assert loss[1].item() == 0
    assert h.grad is not None
    assert h.grad[0, 0] != 0
    assert h.grad.flatten()[1:].tolist() == [0, 0, 0]


def test_a_sample_of_weight_2_counts_as_two() -> None:
    h, target = torch.tensor([[0.5], [2.0]]), torch.tensor([[3.0], [9.0]])
    weighted = binomial.loss(h, target, torch.tensor([[2.0], [1.0]]))
    repeated = binomial.loss(h[[0, 0, 1]], target[[0, 0, 1]])
    torch.testing.assert_close(weighted, repeated)


def test_a_scale_of_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        binomial.probabilities(0.0, 1)
