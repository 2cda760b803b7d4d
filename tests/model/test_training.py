"""The training loop, and its checkpoints."""

from __future__ import annotations

import errno
import json
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from scipy.special import expit
from scipy.stats import binom, kendalltau

from streetgauge.devices import choose_device, choose_precision
from streetgauge.errors import InputError
from streetgauge.model import reading, training
from streetgauge.model import training as module
from streetgauge.model.model import outputs_of, scores_of
from streetgauge.model.network import Network
from streetgauge.model.optimiser import Adam
from streetgauge.model.reading import Reader
from streetgauge.model.training import (
    Checkpoint,
    EarlyStopping,
    EpochFigures,
    Execution,
    TrainedNetwork,
    balanced_weights,
    train_network,
)
from streetgauge.settings import TrainSettings

CPU = torch.device("cpu")


def parts(world: Any) -> tuple[np.ndarray, np.ndarray]:
    """Learn two thirds of the areas, stop on the rest."""
    held = np.array([int(area[1:]) % 3 == 0 for area in world.areas])
    return np.flatnonzero(~held), np.flatnonzero(held)


def train(
    world: Any,
    outcomes: list[int] | None = None,
    checkpoint: Checkpoint | None = None,
    start: Any = None,
    scale: Any = None,
    on_epoch: Any = None,
    stopping: bool = True,
    seed: int = 1,
    **changes: Any,
) -> tuple[TrainedNetwork, list[EpochFigures], np.ndarray]:
    target = world.deciles[:, outcomes or [0, 1]].astype(np.float32)
    rows, validation = parts(world)
    settings = TrainSettings(
        **{"network": "port-2020", "epochs": 6, "batch": 32, "device": "cpu", "noise": 0.05}
        | {"precision": "float32", "dropout": 0.0, "mixup": False}
        | changes
    )
    figures: list[EpochFigures] = []

    def note(epoch: EpochFigures) -> None:
        figures.append(epoch)
        if on_epoch:
            on_epoch(epoch)

    data = replace(
        world.data(["income", "health"][: target.shape[1]]),
        deciles=target,
        sample_weight=balanced_weights(target, rows),
    )
    trained = train_network(
        data,
        (rows, validation if stopping else validation[:0]),
        settings,
        seed=seed,
        network_seeds=[10 + m for m in outcomes or [0, 1]],
        start=start,
        scale=scale,
        execution=Execution(checkpoint or Checkpoint(), note),
    )
    return trained, figures, validation


def scored(trained: TrainedNetwork, world: Any, rows: np.ndarray) -> np.ndarray:
    reader = Reader(world.features, world.present, trained.standardisation, CPU)
    return scores_of(trained.network, outputs_of(trained.network, reader, rows))


def same_weights(one: TrainedNetwork, other: TrainedNetwork) -> bool:
    theirs = other.network.state_dict()
    return all(torch.equal(x, theirs[name]) for name, x in one.network.state_dict().items())


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "paper-2019"},
        {"network": "port-2020"},
        {"network": "shared"},
        {"network": "shared", "dropout": 0.3},
        {"network": "shared", "pooling": "attention"},
        {"network": "shared", "components": 4},
        {"network": "shared", "precision": "bfloat16"},
        {"network": "paper-2019", "mixup": True},
        {"network": "shared", "mixup": True},
    ],
)
def test_it_learns(make_world: Any, changes: dict[str, Any]) -> None:
    _, figures, _ = train(make_world(), **changes)
    assert min(f.validation_mae.max() for f in figures) < 1.6  # by chance it is above 3
    assert figures[-1].train_loss.max() < 0.7 * figures[0].train_loss.max()
    assert max(f.validation_tau.min() for f in figures) > 0.6


def test_an_outcome_without_a_shared_trunk_is_trained_as_if_it_were_alone(make_world: Any) -> None:
    world = make_world()
    together, _, held = train(world, [0, 1], epochs=2, mixup=True)
    alone, _, _ = train(world, [1], epochs=2, mixup=True)
    np.testing.assert_allclose(
        scored(together, world, held)[:, 1], scored(alone, world, held)[:, 0], rtol=0.02, atol=0.02
    )


def test_mixup_keeps_a_network_from_being_sure_of_what_it_knows_by_heart(make_world: Any) -> None:
    world = make_world(noise=3.0, n_areas=24, dimension=64)
    plain, mixed = (
        train(world, network="shared", epochs=25, stopping=False, mixup=mixup)[0]
        for mixup in (False, True)
    )
    rows, held = parts(world)
    sure, surer = (float(scored(one, world, rows).std()) for one in (mixed, plain))
    assert sure < 0.8 * surer
    assert tau_of(mixed, world, held) > tau_of(plain, world, held) - 0.02


def tau_of(trained: TrainedNetwork, world: Any, rows: np.ndarray) -> float:
    pairs = zip(scored(trained, world, rows).T, world.deciles[rows].T, strict=True)
    return float(np.mean([kendalltau(*pair).statistic for pair in pairs]))


def test_the_weights_saved_are_those_of_each_outcomes_best_epoch(make_world: Any) -> None:
    world = make_world(noise=3.0, n_areas=24)  # hard, so that outcomes overfit soon
    trained, figures, held = train(world, epochs=12, patience=12)
    losses = np.array([f.validation_loss for f in figures])
    np.testing.assert_array_equal(trained.best_epoch, losses.argmin(axis=0) + 1)
    assert len(set(trained.best_epoch)) > 1, "choose a world in which the outcomes differ"
    for m, epoch in enumerate(trained.best_epoch):
        stopped, _, _ = train(world, epochs=int(epoch), patience=12)
        np.testing.assert_array_equal(
            scored(trained, world, held)[:, m], scored(stopped, world, held)[:, m]
        )


def test_a_shared_network_is_saved_whole_at_the_least_mean_loss(make_world: Any) -> None:
    world = make_world(noise=3.0, n_areas=24)
    trained, figures, _ = train(world, epochs=12, patience=12, network="shared")
    losses = np.array([f.validation_loss for f in figures])
    best = losses.mean(1).argmin() + 1
    assert 1 < best < 12
    assert trained.best_epoch.tolist() == [best] * 2
    stopped, _, _ = train(world, epochs=int(best), patience=12, network="shared")
    assert same_weights(trained, stopped)


def test_with_nothing_to_stop_it_training_goes_on_to_its_end_and_keeps_the_last_weights(
    make_world: Any,
) -> None:
    world = make_world()
    stopped, _, held = train(world, epochs=3, patience=9, learning_rate=1e-4)
    assert stopped.best_epoch.tolist() == [3, 3]  # each epoch was better
    slow = {"epochs": 3, "patience": 1, "learning_rate": 1e-4, "stopping": False}
    blind, figures, _ = train(world, **slow)
    assert same_weights(stopped, blind)
    assert [each.epoch for each in figures] == [1, 2, 3]
    assert np.isnan(figures[-1].validation_loss).all()
    world.deciles[held] = 11 - world.deciles[held]  # of no account, even where all gets worse
    assert same_weights(train(world, **slow)[0], blind)
    tuned, _, _ = train(world, epochs=2, stopping=False, start=blind.network)
    assert tuned.best_epoch.tolist() == [2, 2]
    assert not same_weights(tuned, blind)
    with pytest.raises(InputError, match="diverge"):
        train(world, epochs=2, learning_rate=1e30, stopping=False)


def test_an_outcome_that_has_stopped_stays_stopped() -> None:
    network = Network(2, [0, 1], TrainSettings(network="paper-2019", ensemble_size=1, dropout=0.0))
    best = EarlyStopping(network, patience=2)
    losses = [(1.0, 1.0), (2.0, 0.9), (2.0, 0.8), (2.0, 0.7), (0.1, 0.6)]
    for epoch, loss in enumerate(losses, 1):
        learning = best.update(network, epoch, np.array(loss, np.float32))
    assert best.step.tolist() == [1, 5]
    assert learning.tolist() == [False, True]


def test_training_ends_when_every_outcome_has_stopped(make_world: Any) -> None:
    rng = np.random.default_rng(0)
    world = make_world(n_areas=12)
    world.features[:] = rng.normal(size=world.features.shape)  # nothing to learn
    for network in ("port-2020", "shared"):
        _, figures, _ = train(world, epochs=40, patience=2, network=network)
        assert len(figures) < 40
        assert not figures[-1].training.any()
        best = np.array([f.validation_loss for f in figures])
        best = best.mean(1, keepdims=True) if network == "shared" else best
        assert len(figures) == best.argmin(0).max() + 1 + 2  # patience, and not one look more


def test_figures_are_those_of_the_validation_part_weighted_as_in_training(make_world: Any) -> None:
    world = make_world()
    world.deciles[world.deciles <= 7] = 1  # one class is frequent, and weighs no more
    rows, held = parts(world)
    world.deciles[held, 1] = 11 - world.deciles[held, 1]  # what is learnt of it is upside down
    trained, (figures,), _ = train(world, epochs=1)
    truth, h = world.deciles[held], scored(trained, world, held).astype(float)
    weight = balanced_weights(world.deciles.astype(np.float32), rows)[held]
    for m in range(2):
        loss = -binom.logpmf(truth[:, m] - 1, 9, expit(h[:, m]))
        expected = np.average(loss, weights=weight[:, m])
        assert abs(expected - loss.mean()) > 0.05 * expected
        assert figures.validation_loss[m] == pytest.approx(expected, rel=1e-4)
        tau = kendalltau(h[:, m], truth[:, m]).statistic
        assert figures.validation_tau[m] == pytest.approx(tau, abs=1e-6)
        likeliest = binom.pmf(np.arange(10), 9, expit(h[:, m : m + 1])).argmax(1) + 1
        mae = np.abs(likeliest - truth[:, m]).mean()
        assert figures.validation_mae[m] == pytest.approx(mae, rel=1e-5)
    assert figures.validation_tau[1] < 0 < figures.validation_tau[0]


@pytest.mark.parametrize(("noise", "constant"), [(0.0, False), (0.3, True)])
def test_the_seed_decides_the_order_and_the_noise(
    make_world: Any, monkeypatch: pytest.MonkeyPatch, noise: float, constant: bool
) -> None:
    world, seen, forward = make_world(), [], Network.forward
    if constant:  # then batches differ by their noise alone
        world.features[:] = 5.0

    def noted(self: Network, features: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        if self.training:
            seen.append(features.clone())
        return forward(self, features, *rest, **named)

    monkeypatch.setattr(Network, "forward", noted)
    looked = []
    for seed in (1, 1, 2):
        seen.clear()
        train(world, epochs=1, noise=noise, seed=seed)
        looked.append(seen[0])
    assert torch.equal(looked[0], looked[1])
    assert not torch.equal(looked[0], looked[2])


def test_noise_has_the_standard_deviation_of_the_setting_and_no_side(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, seen, forward = make_world(), [], Network.forward
    world.features[:] = 5.0  # standardised they are 0: what is looked at is the noise

    def noted(self: Network, features: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        if self.training:
            seen.append(features.clone())
        else:
            assert not features.any()
        return forward(self, features, *rest, **named)

    monkeypatch.setattr(Network, "forward", noted)
    train(world, epochs=3, noise=0.3)
    noise = torch.cat(seen)
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.02)
    assert not torch.equal(noise[:30], noise[len(noise) // 2 :][:30])


def test_rows_outside_the_two_parts_are_never_read(make_world: Any) -> None:
    world = make_world()
    target = world.deciles.astype(np.float32)
    training, validation = np.arange(0, 120), np.arange(120, 180)

    def learnt() -> TrainedNetwork:
        weight = balanced_weights(target, training)
        data = replace(world.data(["a", "b"]), deciles=target, sample_weight=weight)
        settings = TrainSettings(epochs=2, device="cpu", components=4)
        return train_network(data, (training, validation), settings, seed=1, network_seeds=[1, 2])

    before = learnt()
    world.features[180:] = 1e9
    target[180:] = 1
    assert same_weights(learnt(), before)


def test_bfloat16_and_float32_learn_nearly_the_same(make_world: Any) -> None:
    world = make_world(dimension=64)
    exact, exact_figures, held = train(world)
    rounded, figures, _ = train(world, precision="bfloat16")
    assert (exact.precision, rounded.precision) == ("float32", "bfloat16")
    assert not same_weights(exact, rounded)
    assert figures[-1].validation_loss == pytest.approx(exact_figures[-1].validation_loss, rel=0.05)
    one, other = scored(exact, world, held), scored(rounded, world, held)
    assert np.corrcoef(one[:, 0], other[:, 0])[0, 1] > 0.98


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "paper-2019"},
        {"network": "shared", "dropout": 0.4, "mixup": True, "schedule": "plateau"},
        {"network": "shared", "components": 5, "head": "clm", "schedule": "cosine"},
        {"network": "shared", "stopping": False},
        {"network": "shared", "look": 50},
    ],
)
def test_a_training_that_was_killed_goes_on_bit_for_bit(
    make_world: Any, tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(noise=2.0)
    changes = dict(changes)
    monkeypatch.setattr(training, "EVAL_EVERY", changes.pop("look", training.EVAL_EVERY))
    whole, told, _ = train(world, **changes)

    def checkpoint() -> Checkpoint:
        return Checkpoint(tmp_path / "checkpoint.safetensors", "cache_key", every=0)

    def kill(figures: EpochFigures) -> None:
        if figures.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(world, checkpoint=checkpoint(), on_epoch=kill, **changes)
    with safe_open(tmp_path / "checkpoint.safetensors", "pt") as file:
        assert json.loads(file.metadata()["training"])["history"][-1]["step"] == 3
    resumed, told_again, _ = train(world, checkpoint=checkpoint(), **changes)
    assert same_weights(resumed, whole)
    assert [f.epoch for f in told_again] == [f.epoch for f in told]
    for one, other in zip(told, told_again, strict=True):
        for mine, theirs in zip(astuple(one), astuple(other), strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_a_training_that_was_killed_after_its_best_evaluation_step_still_ends_with_it(
    make_world: Any, tmp_path: Path, schedule: str
) -> None:
    world = make_world(noise=3.0, n_areas=24)  # hard, so that it overfits soon
    changes = {"network": "shared", "epochs": 14, "patience": 5, "schedule": schedule}
    whole, told, _ = train(world, **changes)
    best = int(whole.best_epoch[0])
    assert 1 < best < len(told) - 3, "choose a world in which the best look is in the middle"

    def checkpoint() -> Checkpoint:
        return Checkpoint(tmp_path / "checkpoint.safetensors", "cache_key", every=0)

    def kill(figures: EpochFigures) -> None:
        if figures.step == best + 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(world, checkpoint=checkpoint(), on_epoch=kill, **changes)
    resumed, told_again, _ = train(world, checkpoint=checkpoint(), **changes)
    assert resumed.best_epoch.tolist() == whole.best_epoch.tolist()
    assert same_weights(resumed, whole)
    losses, again = (np.array([f.validation_loss for f in each]) for each in (told, told_again))
    np.testing.assert_array_equal(losses, again)


def test_a_long_epoch_is_evaluated_several_times_and_can_be_stopped_within(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(noise=2.0)
    _, epochs, _ = train(world, epochs=2)
    monkeypatch.setattr(training, "EVAL_EVERY", -(-len(parts(world)[0]) // 4))
    trained, looks, _ = train(world, epochs=2)
    assert [figures.epoch for figures in epochs] == [1, 2]
    assert [figures.epoch for figures in looks] == [0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]
    assert [figures.step for figures in looks] == [1, 2, 3, 4, 5, 6, 7, 8]
    losses = np.array([figures.validation_loss for figures in looks])
    np.testing.assert_array_equal(trained.best_epoch, (losses.argmin(axis=0) + 1) / 4)


def test_the_parts_of_an_epoch_hold_every_row_once_and_the_next_epoch_is_shuffled_anew(
    make_world: Any,
) -> None:
    world = make_world()
    rows = parts(world)[0]
    each = len(world.features[0].tobytes()) / 2**30
    for memory in (np.inf, each * len(rows) / 3):  # held at once, and in windows
        reader = Reader(
            world.features,
            world.present,
            None,
            torch.device("cpu"),
            torch.float32,
            memory,
        )
        course = training.EpochSampler(reader, rows, 3, np.random.default_rng(0))
        dealt = [
            np.concatenate([batch.rows for batch in course.part(look, 16)]) for look in range(1, 7)
        ]
        for epoch in (dealt[:3], dealt[3:]):
            assert sorted(np.concatenate(epoch)) == sorted(rows)
        assert set(dealt[0]) != set(dealt[3])


def test_only_a_spread_of_a_large_validation_part_is_read(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, seen = make_world(), []

    def noted(network: Any, reader: Any, rows: np.ndarray) -> Any:
        seen.append(rows)
        return outputs_of(network, reader, rows)

    monkeypatch.setattr(training, "outputs_of", noted)
    monkeypatch.setattr(training, "EVAL_ROWS", 10)
    _, _, validation = train(world, epochs=2)
    assert [len(rows) for rows in seen] == [10, 10]
    assert {validation[0], validation[-1]} <= set(seen[0]) <= set(validation)


def test_tuning_moves_only_what_it_should(make_world: Any) -> None:
    world = make_world()
    for network in ("paper-2019", "shared"):
        first, _, _ = train(world, epochs=1, network=network, learning_rate=1e-4)
        start = {"start": first.network, "scale": first.standardisation}
        before = {name: x.clone() for name, x in first.network.state_dict().items()}
        for tune in ("head", "all", "scaled"):
            tuned, _, _ = train(
                world, epochs=4, network=network, tune=tune, learning_rate=1e-3, **start
            )
            moved = {n for n, x in tuned.network.state_dict().items() if not x.equal(before[n])}
            trunk = {name for name in moved if name.startswith("views")}
            assert bool(trunk) is (tune != "head")
            assert "score.weight" in moved
        assert all(x.equal(before[n]) for n, x in first.network.state_dict().items())


def test_tuning_that_only_makes_worse_leaves_the_model_as_it_was(make_world: Any) -> None:
    world = make_world()
    first, _, held = train(world, network="shared", epochs=4)
    spoilt = make_world()
    rows = np.setdiff1d(np.arange(len(world.ids)), held)
    spoilt.deciles[rows] = 11 - spoilt.deciles[rows]  # what is learnt from is upside down
    begun = {"start": first.network, "scale": first.standardisation, "network": "shared"}
    tuned, figures, _ = train(spoilt, epochs=3, learning_rate=0.003, **begun)
    assert len(figures) == 3
    assert tuned.best_epoch.tolist() == [0, 0]
    assert same_weights(tuned, first)


def test_the_rate_falls_as_scheduled(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    rate = Adam.rate

    def noted(self: Adam, passed: float, drops: int) -> float:
        rates.append(rate(self, passed, drops))
        return rates[-1]

    monkeypatch.setattr(Adam, "rate", noted)
    train(make_world(), schedule="cosine", epochs=4, learning_rate=0.01)
    assert rates[0] == pytest.approx(0.01)
    assert (np.diff(rates) < 0).all()
    assert rates[len(rates) // 2] == pytest.approx(0.005, rel=0.01)
    rates.clear()
    world = make_world(n_areas=12)
    world.features[:] = np.random.default_rng(0).normal(size=world.features.shape)
    _, figures, _ = train(world, schedule="plateau", epochs=12, patience=6, learning_rate=0.01)
    assert set(np.round(rates, 12)) >= {0.01, 0.003, 0.0009}
    assert len(figures) > 3


def test_a_rate_at_which_training_diverges_is_reported(make_world: Any) -> None:
    world = make_world()
    world.features[0] = 3e38  # finite, but not for long
    with pytest.raises(InputError, match="learning_rate"):
        train(world, learning_rate=1e30)


def test_precision_is_chosen_by_what_the_processor_has() -> None:
    assert choose_precision("float32", CPU) == torch.float32
    assert choose_precision("bfloat16", CPU) == torch.bfloat16
    has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert choose_precision("auto", CPU) == (torch.bfloat16 if has else torch.float32)
    assert choose_precision("auto", torch.device("mps")) == torch.float32


def test_a_device_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert choose_device("cpu") == CPU
    with pytest.raises(InputError, match="device 'cuda': torch finds none"):
        choose_device("cuda")


@pytest.mark.parametrize("part", [0, 1], ids=["training", "validation"])
def test_a_feature_that_is_no_number_is_named_by_its_row_though_others_gave_the_scale(
    make_world: Any, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(reading, "ENOUGH", 10)
    world = make_world()
    row = int(parts(world)[part][1])
    world.features[row, 0, 1] = np.nan
    with pytest.raises(InputError, match=f"features, row {row}, view 1, feature 2: nan"):
        train(world)


TENSORS = {"a": torch.arange(3.0), "b": torch.zeros(2, dtype=torch.uint8)}


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "deep" / "c.safetensors", "cache_key", every=0)
    assert kept.load() is None
    kept.save(TENSORS, {"epoch": 3, "state": 2**127})
    tensors, said = kept.load() or ({}, {})
    assert said == {"cache_key": "cache_key", "layout": module.LAYOUT, "epoch": 3, "state": 2**127}
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    kept.remove()
    assert kept.load() is None


def test_a_checkpoint_of_another_training_or_half_a_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    Checkpoint(path, "one", every=0).save(TENSORS, {})
    assert Checkpoint(path, "other").load() is None
    whole = path.read_bytes()
    for length in (0, 5, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert Checkpoint(path, "one").load() is None


def test_a_checkpoint_of_another_version_s_layout_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Checkpoint(tmp_path / "c.safetensors", "one", every=0)
    kept.save(TENSORS, {})
    assert kept.load() is not None
    monkeypatch.setattr(module, "LAYOUT", module.LAYOUT + 1)
    assert kept.load() is None


def test_none_is_written_before_it_is_time(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "c.safetensors", "cache_key", every=3600)
    kept.save(TENSORS, {})
    assert kept.load() is None


def test_a_full_disk_is_reported_and_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Checkpoint(tmp_path / "c.safetensors", "cache_key", every=0)
    kept.save(TENSORS, {"epoch": 1})

    def full(tensors: Any, path: Path, **given: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(InputError, match=r"No space left.*free some disk space"):
        kept.save(TENSORS, {"epoch": 2})
    monkeypatch.undo()
    assert (kept.load() or ({}, {}))[1]["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]
