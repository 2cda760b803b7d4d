from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from streetgauge.model.network import Network
from streetgauge.model.optimiser import Adam, Group, groups_of
from streetgauge.settings import TrainSettings


def moved(optimiser: Any, weights: list[torch.Tensor], *how: Any) -> list[torch.Tensor]:
    """Three steps down a bowl."""
    for _ in range(3):
        optimiser.zero_grad()
        sum(((w - 1) ** 2).sum() for w in weights).backward()
        optimiser.step(*how)
    return [w.detach().clone() for w in weights]


def weights_of(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator).requires_grad_() for shape in ((3, 4), (5,))]


def test_it_moves_weights_as_torchs_own_class_does() -> None:
    settings = TrainSettings(learning_rate=0.1, weight_decay=0.01)
    ours, theirs = weights_of(0), weights_of(0)
    groups = [Group([ours[0]], 1.0), Group([ours[1]], 0.25)]
    torchs = [{"params": [theirs[0]], "lr": 0.1}, {"params": [theirs[1]], "lr": 0.025}]
    found = moved(Adam(groups, settings), ours, 0.0, 0)
    expected = moved(torch.optim.Adam(torchs, weight_decay=0.01, fused=True), theirs)
    for mine, other in zip(found, expected, strict=True):
        assert torch.equal(mine, other)


def test_one_that_was_put_back_goes_on_as_if_it_had_not_been_left() -> None:
    settings = TrainSettings(learning_rate=0.1)
    whole, halves = weights_of(1), weights_of(1)
    optimiser = Adam([Group(whole, 1.0)], settings)
    moved(optimiser, whole, 0.0, 0)
    expected = moved(optimiser, whole, 0.0, 0)
    first = Adam([Group(halves, 1.0)], settings)
    moved(first, halves, 0.0, 0)
    kept = {name: moment.clone() for name, moment in first.state_dict().items()}
    second = Adam([Group(halves, 1.0)], settings)
    second.load_state_dict(kept)
    for mine, other in zip(moved(second, halves, 0.0, 0), expected, strict=True):
        assert torch.equal(mine, other)


def test_layers_that_read_many_features_and_tuned_trunks_take_smaller_steps() -> None:
    def factors(dimension: int, **changes: Any) -> dict[str, float]:
        network = Network(
            dimension, [1, 2], TrainSettings(network="shared", ensemble_size=1, dropout=0.0)
        )
        groups = groups_of(network, TrainSettings(**changes))
        return {
            name: group.factor
            for group in groups
            for name, parameter in network.named_parameters()
            if any(parameter is each for each in group.parameters)
        }

    assert set(factors(1024).values()) == {1.0}
    wide = factors(4096)
    slower = {name for name, factor in wide.items() if factor == 0.25}
    assert slower == {"views.0.dense.weight", "direct.weight"}
    tuned = factors(20, tune="scaled")
    assert {name for name, factor in tuned.items() if factor == 0.1} == {
        name for name in tuned if name.startswith("views.")
    }
    assert not any(name.startswith("views.") for name in factors(20, tune="head"))


@pytest.mark.parametrize(
    ("schedule", "passed", "drops", "expected"),
    [("constant", 0.7, 3, 0.01), ("cosine", 0.5, 3, 0.005), ("plateau", 0.7, 2, 0.0009)],
)
def test_the_rate_is_as_scheduled(
    schedule: Any, passed: float, drops: int, expected: float
) -> None:
    settings = TrainSettings(learning_rate=0.01, schedule=schedule)
    assert Adam([], settings).rate(passed, drops) == pytest.approx(expected)


def test_learning_does_not_wait_for_torchs_compiler_to_be_imported() -> None:
    code = """
import sys
import numpy as np
from streetgauge.model.training import train_network
from streetgauge.model.training_data import TrainingData
from streetgauge.settings import TrainSettings
rng = np.random.default_rng(0)
features = rng.normal(size=(40, 2, 8)).astype("float32")
target = rng.integers(1, 11, (40, 1)).astype("float32")
keys = np.arange(40)
data = TrainingData(features, np.ones((40, 2), bool), target, keys, keys, ["income"])
settings = TrainSettings(epochs=1, device="cpu")
train_network(data, (keys[:30], keys[30:]), settings, seed=1, network_seeds=[1])
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
