"""The network and its binomial head, against plain torch, NumPy and SciPy.

4096 -> 512 -> 256 -> 128 for every view, the mean over the views, 64, 1. One number h a location,
p = sigmoid(h), and the deciles are the ten results of a binomial of nine trials.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import binom
from torch import nn

from streetgauge.model import binomial, fit_model
from streetgauge.model.network import Network
from streetgauge.settings import TrainSettings

mpmath.mp.dps = 60  # digits enough for 1 - p where p is 1 - exp(-100)

ALL = torch.ones(5, 3, dtype=torch.bool)
LAYERS = [(4096, 512), (512, 256), (256, 128), (128, 64), (64, 1)]

scores = st.floats(-30, 30)
scales = st.integers(2, 60)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def shaken(network: Network) -> Network:
    """Move every parameter off its first value: zeros hide mistakes."""
    generator = torch.Generator().manual_seed(9)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return network.eval()


def plain_network(network: Network, m: int) -> nn.Sequential:
    """The network of one outcome, put together from torch's own layers."""

    def layers(block: nn.Module) -> list[nn.Module]:
        inputs, outputs = block.dense.weight.shape[1:]
        dense = nn.Linear(inputs, outputs)
        dense.weight.data = block.dense.weight.data[m].T.contiguous()
        dense.bias.data = block.dense.bias.data[m]
        if block.norm is None:
            return [dense, nn.ReLU()]
        norm = nn.BatchNorm1d(outputs)
        norm.weight.data, norm.bias.data = block.norm.weight.data[m], block.norm.bias.data[m]
        return [dense, norm, nn.ReLU()]

    last = nn.Linear(64, 1)
    last.weight.data, last.bias.data = network.score.weight.data[m].T, network.score.bias.data[m]
    view = nn.Sequential(*(layer for block in network.views for layer in layers(block)))
    return nn.Sequential(view, nn.Sequential(*layers(network.location), last))


@pytest.mark.parametrize("variant", ["paper-2019", "port-2020"])
def test_a_stack_is_as_many_plain_networks_of_torch(variant: str) -> None:
    network = Network(7, [1, 2, 3], TrainSettings(network=variant, ensemble_size=1, dropout=0.0))
    x = normal(5, 3, 7)
    for mode in (True, False):
        network.train(mode)
        stacked = network(x, ALL).view(5, 3)
        for m in range(3):
            view, rest = plain_network(network, m).train(True)
            if mode or variant == "port-2020":
                alone = rest(view(x.flatten(0, 1)).view(5, 3, 128).mean(1))[:, 0]
                torch.testing.assert_close(stacked[:, m], alone, rtol=1e-4, atol=1e-5)


def test_batch_norm_of_the_papers_network_equals_numpy_in_float64() -> None:
    network = Network(12, [4], TrainSettings(network="paper-2019", ensemble_size=1, dropout=0.0))
    x = normal(50, 4, 12)
    network.train()
    network(x)
    shaken(network)

    def block(layer: nn.Module, y: np.ndarray) -> np.ndarray:
        weight, bias = (p.detach().double().numpy()[0] for p in layer.dense.parameters())
        norm = {k: v.double().numpy() for k, v in layer.norm.state_dict().items()}
        scaled = (y @ weight + bias - norm["running_mean"][0]) / np.sqrt(
            norm["running_variance"][0] + 1e-5
        )
        return np.maximum(scaled * norm["weight"][0] + norm["bias"][0], 0)

    y = x.double().numpy()
    for layer in network.views:
        y = block(layer, y)
    y = block(network.location, y.mean(1))
    weight, bias = (p.detach().double().numpy()[0] for p in network.score.parameters())
    with torch.inference_mode():
        np.testing.assert_allclose(network(x)[:, 0], y @ weight + bias, atol=1e-5, rtol=1e-4)


def test_first_weights_are_xavier_normal() -> None:
    weight = (
        Network(1000, [3], TrainSettings(network="paper-2019", ensemble_size=1, dropout=0.0))
        .views[0]
        .dense.weight
    )
    assert weight.std().item() == pytest.approx((2 / (1000 + 512)) ** 0.5, rel=0.01)
    assert abs(weight.mean().item()) < 1e-3


@pytest.mark.parametrize(("variant", "norm"), [("paper-2019", True), ("port-2020", False)])
def test_the_layers_are_the_papers_and_nothing_else_is_trained(variant: str, norm: bool) -> None:
    given = TrainSettings(network=variant, ensemble_size=1, dropout=0.0)  # type: ignore[arg-type]
    network = Network(4096, [1], given)
    blocks = [*network.views, network.location]
    shapes = [tuple(block.dense.weight.shape[1:]) for block in blocks]
    assert [*shapes, tuple(network.score.weight.shape[1:])] == LAYERS
    assert all((block.norm is not None) == norm for block in blocks)
    dense = sum(inputs * outputs + outputs for inputs, outputs in LAYERS)
    scale = norm * sum(2 * outputs for _, outputs in LAYERS[:-1])
    assert sum(parameter.numel() for parameter in network.parameters()) == dense + scale


def test_locations_of_four_views_of_4096_are_scored_as_by_plain_layers_in_float64() -> None:
    network = shaken(
        Network(4096, [1], TrainSettings(network="port-2020", ensemble_size=1, dropout=0.0))
    )
    x = normal(6, 4, 4096)
    plain = plain_network(network, 0).double().eval()
    with torch.inference_mode():
        outputs = network(x)
        view, rest = plain
        h = rest(view(x.double().flatten(0, 1)).view(6, 4, 128).mean(1))[:, 0].numpy()
        np.testing.assert_allclose(outputs.view(6), h, rtol=1e-4, atol=1e-4)
        found = network.head.probabilities(outputs)[:, 0]
    expected = binom.pmf(np.arange(10), 9, expit(h)[:, None])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_trained_city_is_predicted_as_plain_numpy_and_scipy_do(
    make_city: Callable[..., Any],
) -> None:
    city = make_city(dimension=24)
    given = TrainSettings(
        network="paper-2019", ensemble_size=1, dropout=0.0, mixup=False, noise=0.05, epochs=6,
        learning_rate=3e-3, device="cpu", precision="float32",
    )  # fmt: skip
    (split,) = city.split(scheme="train-validation-test", test=0.3, final=False)
    model, _ = fit_model(city.data(), split, given, seed=1)
    rows = split.test
    predicted = model.predict(city.features, city.present, rows, "cpu")
    training = city.features[split.training].astype(np.float64)
    mean, sd = training.mean(axis=(0, 1)), training.std(axis=(0, 1))
    state = {k: v.double().numpy() for k, v in model.network.state_dict().items()}

    def block(name: str, x: np.ndarray, m: int) -> np.ndarray:
        x = x @ state[f"{name}.dense.weight"][m] + state[f"{name}.dense.bias"][m]
        away = x - state[f"{name}.norm.running_mean"][m]
        away = away / np.sqrt(state[f"{name}.norm.running_variance"][m] + 1e-5)
        return np.maximum(away * state[f"{name}.norm.weight"][m] + state[f"{name}.norm.bias"][m], 0)

    for m in range(2):
        x = (city.features[rows].astype(np.float64) - mean) / sd
        for i in range(3):
            x = block(f"views.{i}", x, m)
        x = block("location", x.mean(axis=1), m)
        h = (x @ state["score.weight"][m] + state["score.bias"][m])[:, 0]
        a, b = model.calibration[m]
        np.testing.assert_allclose(predicted.score[:, m], a + b * h, rtol=1e-3, atol=1e-3)
        pmf = binom.pmf(np.arange(10), 9, expit(predicted.score[:, m])[:, None])
        np.testing.assert_array_equal(predicted.decile[:, m], pmf.argmax(axis=1) + 1)
        assert np.corrcoef(h, city.deciles[rows, m])[0, 1] > 0.8


# --- the binomial -------------------------------------------------------------------------------


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


def test_ten_deciles_are_the_formula_with_the_first_the_worst_off() -> None:
    h = np.array([-3.0, 0.0, 0.4, 2.0])
    p = 1 / (1 + np.exp(-h))[:, None]
    k = np.arange(1, 11)
    ways = np.array([1, 9, 36, 84, 126, 126, 84, 36, 9, 1])
    expected = ways * p ** (k - 1) * (1 - p) ** (10 - k)
    np.testing.assert_allclose(binomial.probabilities(h), expected, rtol=1e-12)
    assert expected.argmax(axis=1).tolist() == [0, 4, 5, 8]  # a higher score is better off


def test_the_loss_is_the_cross_entropy_of_the_binomial() -> None:
    rng = np.random.default_rng(0)
    h, k = rng.normal(0, 2, 200), rng.integers(1, 11, 200)
    expected = -binom.logpmf(k - 1, 9, expit(h)).mean()
    given = torch.from_numpy(h)[:, None], torch.from_numpy(k).double()[:, None]
    assert binomial.loss(*given).item() == pytest.approx(expected, rel=1e-9)


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
