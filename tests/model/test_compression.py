from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from streetgauge.errors import InputError
from streetgauge.model.model import outputs_of
from streetgauge.model.network import Network
from streetgauge.model.reading import Reader, Standardisation, principal_components
from streetgauge.model.training import train_network
from streetgauge.model.training_data import TrainingData
from streetgauge.settings import TrainSettings

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def reader() -> Reader:
    """Features of rank 5 in 40 dimensions, but for a little noise; a fifth of the views absent."""
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(600, 3, 5)) * [5, 4, 3, 2, 1]
    features = spread @ rng.normal(size=(5, 40)) + 0.01 * rng.normal(size=(600, 3, 40))
    present = rng.random((600, 3)) < 0.8
    present[:, 0] = True
    features = features.astype(np.float32)
    features[~present] = np.nan
    scale = Standardisation.of(features, present, np.arange(400))
    return Reader(features, present, scale, CPU)


def seen_by(reader: Reader, rows: np.ndarray) -> np.ndarray:
    batch = reader.batch(rows)
    views = batch.views if batch.present is None else batch.views[batch.present]
    return views.reshape(-1, views.shape[-1]).double().numpy()


def test_components_are_those_of_the_singular_value_decomposition(reader: Reader) -> None:
    training = np.arange(400)
    basis = principal_components(reader, training, 4, 1).double().numpy()
    _, _, directions = np.linalg.svd(seen_by(reader, training), full_matrices=False)
    unit = basis / np.linalg.norm(basis, axis=0)
    np.testing.assert_allclose(np.abs((unit * directions[:4].T).sum(0)), 1, atol=1e-3)
    projected = seen_by(reader, training) @ basis
    assert np.mean(projected**2) == pytest.approx(1, rel=1e-4)


def test_rows_that_are_held_are_found_in_any_order_and_others_are_refused(reader: Reader) -> None:
    rows = np.array([7, 30, 31, 500])
    basis = principal_components(reader, np.arange(400), 4, 1)
    held = reader.projected(rows, basis)
    order = np.array([500, 7, 31, 30])
    np.testing.assert_allclose(
        seen_by(held, order), seen_by(reader, order) @ basis.numpy(), rtol=1e-4
    )
    for other in (8, 501):
        with pytest.raises(IndexError):
            held.batch(np.array([7, other]))


def test_components_come_from_the_training_part_alone(reader: Reader) -> None:
    spoilt = Reader(reader.source.copy(), reader.present, reader.scale, CPU)
    spoilt.features[400:] = 1e6
    one, other = (principal_components(r, np.arange(400), 3, 1) for r in (reader, spoilt))
    assert torch.equal(one, other)


@pytest.mark.parametrize("variant", ["shared", "port-2020", "paper-2019"])
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_a_network_with_its_projection_gives_on_features_what_it_gave_on_components(
    reader: Reader, variant: Any, pooling: Any
) -> None:
    rows = np.arange(500)
    basis = principal_components(reader, rows[:400], 5, 1)
    small = Network(
        5,
        [1, 2],
        TrainSettings(network=variant, pooling=pooling, width=16, ensemble_size=1, dropout=0.0),
    ).eval()
    if small.direct is not None:
        small.direct.weight.data += 0.1
    whole = small.fold_projection(basis)
    assert whole.views[0].dense.weight.shape[1:] == (40, 16)
    assert small.views[0].dense.weight.shape[1:] == (5, 16)  # it is left as it was
    torch.testing.assert_close(
        outputs_of(whole, reader, rows),
        outputs_of(small, reader.projected(rows, basis), rows),
        rtol=1e-3,
        atol=1e-4,
    )


def test_a_trained_network_says_of_all_features_what_it_learnt_on_the_components(
    reader: Reader,
) -> None:
    rng = np.random.default_rng(1)
    target = rng.integers(1, 11, (600, 2)).astype(np.float32)
    keys = np.arange(600)
    data = TrainingData(reader.source, reader.present, target, keys, keys, ["income", "health"])
    trained = train_network(
        data,
        (np.arange(400), np.arange(400, 500)),
        TrainSettings(components=6, epochs=2, precision="float32", device="cpu"),
        seed=1,
        network_seeds=[1, 2],
    )
    inputs = (each.views[0].dense.weight.shape[1] for each in (trained.as_trained, trained.network))
    assert tuple(inputs) == (6, 40)
    rows = np.arange(350, 500)
    whole = Reader(reader.source, reader.present, trained.standardisation, CPU)
    torch.testing.assert_close(
        outputs_of(trained.network, whole, rows), trained.outputs(rows), rtol=1e-4, atol=1e-4
    )


def test_components_are_those_of_rows_by_chance_not_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streetgauge.model.reading.SAMPLE", 100)
    features = np.zeros((1000, 2, 30), np.float32)
    chance = np.random.default_rng(0)
    features[:100, :, 0] = chance.normal(size=(100, 2))  # the first vary in one direction
    features[100:, :, 1] = chance.normal(size=(900, 2))
    reader = Reader(features, np.ones((1000, 2), np.bool_), None, CPU)
    basis = principal_components(reader, np.arange(1000), 1, 3)
    assert int(basis.abs().argmax()) == 1


def test_more_components_than_features_are_refused(reader: Reader) -> None:
    with pytest.raises(InputError, match="40 components of 40 features compress nothing"):
        principal_components(reader, np.arange(400), 40, 1)


def test_the_seed_decides(reader: Reader) -> None:
    def found(seed: int) -> Any:
        return principal_components(reader, np.arange(400), 3, seed)

    assert torch.equal(found(1), found(1))
