from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from streetgauge.devices import choose_device
from streetgauge.errors import InputError
from streetgauge.learn.scoring import Standardisation, score_locations
from streetgauge.learn.training import (
    Best,
    EpochFigures,
    Samples,
    TrainedNetwork,
    balanced_weights,
    batches,
    train_network,
)
from streetgauge.settings import TrainSettings

CPU = torch.device("cpu")


def train(
    world: Any, outcomes: list[int] | None = None, **changes: Any
) -> tuple[TrainedNetwork, list[EpochFigures], np.ndarray]:
    """Learn two thirds of the areas, stop on the rest."""
    target = world.deciles[:, outcomes or [0, 1]].astype(np.float32)
    rows = np.arange(len(world.ids))
    held = np.array([int(area[1:]) % 3 == 0 for area in world.areas])
    weight = balanced_weights(target, rows[~held])
    settings = TrainSettings(**{"epochs": 6, "batch": 32, "device": "cpu"} | changes)
    figures: list[EpochFigures] = []
    trained = train_network(
        Samples(world.features, world.present, target, weight),
        rows[~held],
        rows[held],
        settings,
        seed=1,
        network_seeds=[10 + m for m in outcomes or [0, 1]],
        on_epoch=figures.append,
    )
    return trained, figures, rows[held]


@pytest.mark.parametrize("network", ["paper-2019", "port-2020"])
def test_it_learns(make_world: Any, network: str) -> None:
    _, figures, _ = train(make_world(), network=network)
    assert min(f.validation_mae.max() for f in figures) < 1.6  # by chance it is above 3
    assert figures[-1].train_loss.max() < 0.7 * figures[0].train_loss.max()


def test_an_outcome_is_trained_as_if_it_were_alone(make_world: Any) -> None:
    together, _, _ = train(make_world(), [0, 1], epochs=2)
    alone, _, _ = train(make_world(), [1], epochs=2)
    np.testing.assert_allclose(
        together.validation_score[:, 1], alone.validation_score[:, 0], rtol=0.02, atol=0.02
    )


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(make_world: Any) -> None:
    first, again = (train(make_world(), epochs=2)[0] for _ in range(2))
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name])
    other = train(make_world(), [1, 0], epochs=2)[0]
    assert not torch.equal(first.network.score.weight, other.network.score.weight)


def test_the_weights_kept_are_those_of_each_outcomes_best_epoch(make_world: Any) -> None:
    world = make_world(noise=3.0, n_areas=24)  # hard, so that outcomes overfit soon
    trained, figures, held = train(world, epochs=12, patience=12)
    losses = np.array([f.validation_loss for f in figures])
    np.testing.assert_array_equal(trained.best_epoch, losses.argmin(axis=0) + 1)
    assert len(set(trained.best_epoch)) > 1, "choose a world in which the outcomes differ"
    again = score_locations(
        trained.network, trained.standardisation, world.features, world.present, held, CPU
    )
    np.testing.assert_array_equal(again, trained.validation_score)


def test_an_outcome_that_has_stopped_stays_stopped() -> None:
    from streetgauge.learn.network import Network

    network = Network(2, [0, 1])
    best = Best(network, patience=2)
    score = np.zeros((1, 2), np.float32)
    losses = [(1.0, 1.0), (2.0, 0.9), (2.0, 0.8), (2.0, 0.7), (0.1, 0.6)]
    for epoch, loss in enumerate(losses, 1):
        learning = best.update(network, epoch, np.array(loss, np.float32), score + epoch)
    assert best.epoch.tolist() == [1, 5]
    assert learning.tolist() == [False, True]
    assert best.score.tolist() == [[1, 5]]


def test_training_ends_when_every_outcome_has_stopped(make_world: Any) -> None:
    rng = np.random.default_rng(0)
    world = make_world(n_areas=12)
    world.features[:] = rng.normal(size=world.features.shape)  # nothing to learn
    _, figures, _ = train(world, epochs=40, patience=2)
    assert len(figures) < 40
    assert not figures[-1].learning.any()


def test_noise_is_for_training_only(make_world: Any) -> None:
    world = make_world()
    trained, _, held = train(world, epochs=1, noise=5.0)
    scores = [
        score_locations(
            trained.network, trained.standardisation, world.features, world.present, held, CPU
        )
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*scores)
    quiet, _, _ = train(world, epochs=1, noise=0.0)
    assert not np.array_equal(quiet.validation_score, trained.validation_score)


def test_rows_outside_the_two_parts_are_never_looked_at(make_world: Any) -> None:
    world = make_world()
    target = world.deciles.astype(np.float32)
    training, validation = np.arange(0, 120), np.arange(120, 180)

    def scores() -> np.ndarray:
        weight = balanced_weights(target, training)
        samples = Samples(world.features, world.present, target, weight)
        settings = TrainSettings(epochs=2, device="cpu")
        return train_network(
            samples, training, validation, settings, seed=1, network_seeds=[1, 2]
        ).validation_score

    before = scores()
    world.features[180:] = 1e9
    target[180:] = 1
    np.testing.assert_array_equal(scores(), before)


def test_batches_hold_every_row_once_and_are_nearly_of_one_size() -> None:
    dealt = list(batches(np.arange(101), 10, np.random.default_rng(0)))
    assert sorted(np.concatenate(dealt)) == list(range(101))
    assert {len(rows) for rows in dealt} == {9, 10}


def test_balanced_weights_let_every_class_count_the_same() -> None:
    target = np.array([[1], [1], [1], [2], [np.nan], [3], [2]], np.float32)
    rows = np.arange(5)  # the training part: class 3 is not in it
    weight = balanced_weights(target, rows)[:, 0]
    np.testing.assert_allclose(weight, [2 / 3] * 3 + [2, 0, 0, 2], rtol=1e-6)
    doubled = balanced_weights(target, rows, [2, 1, 1, 1, 1, 1, 1])[:, 0]
    assert doubled[0] == pytest.approx(2 * doubled[1])
    assert doubled[:3].sum() == pytest.approx(doubled[3])


def test_features_are_standardised_by_the_views_that_are_there(make_world: Any) -> None:
    rng = np.random.default_rng(0)
    features = (1000 + 3 * rng.normal(size=(3000, 2, 4))).astype(np.float32)
    features[:, :, 3] = 7  # never varies
    present = rng.random((3000, 2)) < 0.8
    features[~present] = np.nan
    rows = rng.permutation(3000)[:2500]
    scale = Standardisation.of(features, present, rows)
    seen = features[rows][present[rows]].astype(np.float64)
    np.testing.assert_allclose(scale.mean, seen.mean(0), rtol=1e-6)
    np.testing.assert_allclose(scale.sd[:3], seen.std(0)[:3], rtol=1e-4)
    assert scale.sd[3] == 1
    batch = scale.batch(features, rows, CPU).numpy()[present[rows]]
    assert np.abs(batch.mean(0)).max() < 1e-3
    assert batch[:, 3].tolist() == [0] * len(batch)


def test_features_that_are_no_numbers_are_refused() -> None:
    features = np.zeros((5, 1, 2), np.float32)
    features[2, 0, 1] = np.inf
    with pytest.raises(InputError, match="no finite number"):
        Standardisation.of(features, np.ones((5, 1), np.bool_), np.arange(5))


def test_a_device_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert choose_device("cpu") == CPU
    with pytest.raises(InputError, match="device 'cuda': torch finds none"):
        choose_device("cuda")
