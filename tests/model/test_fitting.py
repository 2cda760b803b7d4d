"""How a model is made: balanced, trained, put on the scale of the outcomes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from streetgauge.model import fit_model, fitting
from streetgauge.model.calibration import Scored
from streetgauge.model.fitting import (
    _weigh_areas_equally,
    calibration_scores,
    ensemble_parts,
    figures,
    match_scores,
    untested,
)
from streetgauge.model.model import outputs_of, scores_of
from streetgauge.model.network import Network
from streetgauge.model.reading import Reader, Standardisation
from streetgauge.model.training_data import TrainingData
from streetgauge.settings import FoldSettings, TrainSettings
from streetgauge.splits import Split, make_splits

OUTCOMES = ["income", "health"]


def split_of(world: Any, **settings: Any) -> Split:
    folds = FoldSettings(scheme="train-only", **settings)
    return make_splits(folds, world.areas, world.deciles, seed=1)[0]


def fit(world: Any, split: Split, **changes: Any) -> Any:
    settings = {"epochs": 1, "batch": 64, "ensemble_size": 1, "device": "cpu"}
    start, weight = changes.pop("start", None), changes.pop("sample_weight", None)
    data = world.data(OUTCOMES, sample_weight=weight)
    return fit_model(data, split, TrainSettings(**settings | changes), seed=1, start=start)


class Told:
    """Stands for a function: notes what it is told, and says what it is to say."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.calls = answer, []

    def __call__(self, *given: Any, **named: Any) -> Any:
        self.calls.append((given, named))
        return self.answer


def test_areas_weigh_the_same_however_many_locations_they_have() -> None:
    areas = np.array(["a", "b", "b", "c", "c", "c", "x"], object)
    pool = np.array([5, 0, 1, 2, 3, 4])  # x is tested
    weight = _weigh_areas_equally(areas, pool, None)
    np.testing.assert_allclose(weight, [1, 1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3, 0])
    own = _weigh_areas_equally(areas, pool, [1, 2, 2, 0, 3, 3, 1])
    np.testing.assert_allclose(own, [1, 1, 1, 0, 1, 1, 0])


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize(("equal", "sign"), [("areas", 1), ("locations", -1)])
def test_many_small_areas_or_few_large_ones_say_which_way_the_score_goes(
    members: int, equal: Any, sign: int
) -> None:
    """Sixty small areas are better off with the feature, eight large ones worse."""
    rng = np.random.default_rng(0)
    sizes = np.r_[np.full(60, 2), np.full(8, 80)]
    way = np.repeat(np.r_[np.ones(60), -np.ones(8)], sizes)
    decile = np.repeat(np.r_[np.arange(60) % 10 + 1, [1, 2, 3, 4, 7, 8, 9, 10]], sizes)
    x = way * (decile - 5.5) + rng.normal(size=len(way))
    features = np.repeat(x[:, None, None], 2, 1).astype(np.float32)
    areas = np.repeat([f"A{i:02d}" for i in range(68)], sizes)
    deciles = decile[:, None].astype(float)
    folds = FoldSettings(scheme="train-only", validation=0.3)
    (split,) = make_splits(folds, areas, deciles, seed=1)
    settings = TrainSettings(
        sample_weighting=equal, ensemble_size=members, epochs=12, batch=32, device="cpu"
    )
    present = np.ones(features.shape[:2], np.bool_)
    data = TrainingData(features, present, deciles, areas, np.arange(len(areas)), ["y"])
    model, _ = fit_model(data, split, settings, seed=1)
    probe = np.linspace(-4, 4, 9, dtype=np.float32)[:, None, None].repeat(2, 1)
    said = model.predict(probe, np.ones(probe.shape[:2], np.bool_)).score[:, 0]
    assert np.sign(said[-1] - said[0]) == sign


def test_scores_are_calibrated_by_their_parts_and_count_areas_not_locations(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    world.deciles[world.areas == "A003", 0] = np.nan
    split = split_of(world, validation=0.25)
    assert {"A003"} <= set(world.areas[np.concatenate([split.training, split.validation])])
    calibrate, fit_temperature = Told((0.3, 2.0)), Told((0.4, 0.6))
    monkeypatch.setattr(fitting, "calibrate", calibrate)
    monkeypatch.setattr(fitting, "fit_temperature", fit_temperature)
    weight = np.where(np.arange(len(world.ids)) % 3 == 0, 0.0, 1.0)
    model, _ = fit(world, split, sample_weight=weight)
    np.testing.assert_allclose(model.calibration, [[0.3, 2.0]] * 2)
    np.testing.assert_allclose(model.temperature, [[0.4, 0.6]] * 2)
    for m in range(2):
        held = split.validation[~np.isnan(world.deciles[split.validation, m])]
        (training, validation), named = calibrate.calls[m]
        assert named["areas"] == len(set(world.areas[held]))
        assert named["training_areas"] == len(set(world.areas[split.training]))
        for part, rows in ((training, split.training), (validation, split.validation)):
            assert isinstance(part, Scored)
            np.testing.assert_array_equal(np.sort(part.target), np.sort(world.deciles[rows, m]))
            assert (part.weight == 0).sum() >= (weight[rows] == 0).sum() > 0
        (_, score, target, weights), named = fit_temperature.calls[m]
        assert named == {"areas": len(set(world.areas[held])), "start": None}
        assert len(score) == len(target) == len(weights) == len(held)
        # The scores are the calibrated ones: 0.3 + 2 h, h as it was given to the calibration.
        known = ~np.isnan(validation.target)
        np.testing.assert_allclose(score, 0.3 + 2 * validation.score[known])


def test_a_tuned_model_is_calibrated_from_the_scale_of_its_start(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    split = split_of(world, validation=0.25)
    start, _ = fit(world, split)
    monkeypatch.setattr(fitting, "match_scores", Told(np.array([[0.5, 3.0], [-1.0, 0.25]])))
    monkeypatch.setattr(fitting, "calibrate", Told((0.3, 2.0)))
    fit_temperature = Told((0.4, 0.6))
    monkeypatch.setattr(fitting, "fit_temperature", fit_temperature)
    tuned, _ = fit(world, split, start=start)
    # 0.3 + 2 (a + b h)
    np.testing.assert_allclose(tuned.calibration, [[1.3, 6.0], [-1.7, 0.5]])
    begun = [named["start"] for _, named in fit_temperature.calls]
    np.testing.assert_array_equal(begun, start.temperature)


def test_members_have_seeds_of_their_own_and_one_standardisation(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, train, told = make_world(), fitting.train_network, []

    def noted(*given: Any, **named: Any) -> Any:
        told.append(named)
        best = np.array([len(told), 9.0 - len(told)])
        return replace(train(*given, **named), best_epoch=best)

    monkeypatch.setattr(fitting, "train_network", noted)
    _, record = fit(world, split_of(world), ensemble_size=3)
    assert record.best_epoch == [3, 8]  # that of the member that went on the longest
    assert len({named["seed"] for named in told}) == 3
    assert len({seed for named in told for seed in named["network_seeds"]}) == 6
    assert len({id(named["scale"]) for named in told}) == 1


def test_the_calibration_set_is_scored_by_the_member_that_it_stopped(make_world: Any) -> None:
    world = make_world()
    split = split_of(world)
    model, _ = fit(world, split, ensemble_size=3)
    target = world.deciles.astype(np.float32)
    data = replace(world.data(OUTCOMES), deciles=target)
    settings = TrainSettings(ensemble_size=3, device="cpu")
    rows, score = calibration_scores(model, data, split, settings, seed=1)
    pool = np.sort(np.concatenate([split.training, split.validation]))
    assert sorted(rows) == pool.tolist()
    each = model.member_scores(world.features, world.present, [rows] * 3, "cpu")
    for e, (_, stopping) in enumerate(ensemble_parts(data, split, pool, 3, 1)):
        own = np.isin(rows, stopping)
        by_member = each.reshape(3, len(rows), -1)[:, own]
        np.testing.assert_allclose(score[own], by_member[e], rtol=1e-5, atol=1e-6)
        assert abs(score[own] - by_member[e - 1]).mean() > 1e-3


def test_the_record_has_loss_and_error_of_those_that_have_a_label() -> None:
    score = np.array([[0.0], [-3.0], [3.0]])
    target = np.array([[1.0], [np.nan], [2.0]], np.float32)
    losses, errors = figures(score, target, 4)
    # At h = 0 the likeliest of 4 classes is the second (the first of two), at 3 the fourth.
    p = 1 / (1 + np.exp(-3))
    assert losses == [pytest.approx(-(np.log(1 / 8) + np.log(3 * p * (1 - p) ** 2)) / 2)]
    assert errors == [pytest.approx((1 + 2) / 2)]


def test_tuned_scores_get_the_mean_and_the_sd_of_those_before(make_world: Any) -> None:
    world = make_world()
    rows = np.arange(0, len(world.ids), 2)
    scale = Standardisation.of(world.features, world.present, rows)
    reader = Reader(world.features, world.present, scale, torch.device("cpu"))
    start = Network(8, [1, 2], TrainSettings(network="shared", ensemble_size=1, dropout=0.0))
    # Tuning that has moved and stretched everything and taught nothing.
    tuned = start.calibrated(torch.tensor([2.0, -1.0]), torch.tensor([0.25, 3.0]))
    calibration = np.array([[0.5, 2.0], [-0.3, 0.7]])
    found = match_scores(start, calibration, tuned, reader, rows)

    def scored(network: Network) -> np.ndarray:
        return scores_of(network, outputs_of(network, reader, rows)).astype(float)

    before = calibration[:, 0] + calibration[:, 1] * scored(start)
    after = found[:, 0] + found[:, 1] * scored(tuned)
    np.testing.assert_allclose(after, before, atol=1e-4)
    assert found[:, 1] == pytest.approx(calibration[:, 1] / [0.25, 3.0], rel=1e-3)


def test_the_scale_comes_from_all_that_is_not_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [np.array(rows) for rows in ([7, 1], [4], [2, 5])]
    split = Split("fold-1", 1, *parts, {"near": np.array([8]), "no label": np.array([0, 6])})
    assert untested(split).tolist() == [0, 1, 4, 6, 7, 8]
    monkeypatch.setattr(fitting, "UNTESTED_ROWS", 3)
    assert len(untested(split)) == 3
