from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from streetgauge.model import binomial


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
