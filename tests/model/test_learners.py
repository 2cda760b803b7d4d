"""Learners through fitting, bundles and cross-validation, on worlds of known answers."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV

sys.path.insert(0, str(Path(__file__).parent))

from worlds import WORLDS, World

from streetgauge.model import cross_validate
from streetgauge.model.bundle import Bundle
from streetgauge.model.learners import StackModel, fit_learner, learner_calibration_scores
from streetgauge.model.model import Model
from streetgauge.model.training_data import TrainingData
from streetgauge.settings import TrainSettings
from streetgauge.splits.folds import Split

FAST = {"epochs": 3, "ensemble_size": 3, "device": "cpu", "width": 32}
LEARNERS = ("kernel", "ridge", "stack")


def small(name: str = "composition", seed: int = 0, **size: int) -> World:
    return WORLDS[name](seed, **{"areas": 100, "locations": 4, "views": 4} | size)


def data_of(world: World, outcomes: int = 1) -> TrainingData:
    areas = np.array([f"E{a:04d}" for a in world.area], object)
    ids = np.array([f"P{i:05d}" for i in range(len(areas))], object)
    deciles = np.repeat(world.deciles, outcomes, axis=1)[world.area]
    names = [f"outcome{m}" for m in range(outcomes)]
    return TrainingData(world.features, world.present, deciles, areas, ids, names)


def halves(world: World, **parts: np.ndarray) -> Split:
    first = world.area < len(world.deciles) // 2
    nothing = np.empty(0, np.int64)
    split = Split("fold-1", 1, np.flatnonzero(first), nothing, np.flatnonzero(~first))
    return replace(split, **parts)


def settings(learner: str, **more: object) -> TrainSettings:
    return TrainSettings.model_validate({**FAST, "learner": learner, **more})


def area_means(world: World, rows: np.ndarray, score: np.ndarray) -> np.ndarray:
    area = world.area[rows]
    total = np.bincount(area, score, minlength=len(world.deciles))
    count = np.bincount(area, minlength=len(world.deciles))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


@pytest.mark.parametrize("learner", ["kernel", "stack"])
def test_the_decile_of_a_location_follows_its_score_however_flat_probabilities_are(learner):
    world = small("linear")
    data, split = data_of(world), halves(world)
    model, _ = fit_learner(data, split, settings(learner), seed=3)
    flat = replace(model, temperature=np.array([[0.3, 0.1]]))
    found = flat.predict(data.features, data.present, split.test)
    # The mode of a binomial of 9 trials.
    expected = np.floor(10 * expit(found.score[:, 0])) + 1
    assert found.decile[:, 0].tolist() == expected.tolist()
    assert len(set(expected)) > 5


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_learner_fits_predicts_and_is_saved(learner, tmp_path):
    world = small("linear")
    data, split = data_of(world, outcomes=2), halves(world)
    model, record = fit_learner(data, split, settings(learner), seed=3)
    assert isinstance(model, StackModel)
    assert (model.network is None) == (learner != "stack")
    assert (record.training_areas, record.training_locations) == (50, 200)
    assert all(loss < 2.3 for loss in record.validation_loss)

    said = model.predict(data.features, data.present, split.test)
    assert said.score.shape == (200, 2)
    assert said.probabilities.sum(axis=2) == pytest.approx(1)
    assert ((said.decile >= 1) & (said.decile <= 10)).all()
    assert np.isnan(said.score_sd).all() == (learner != "stack")
    score = area_means(world, split.test, said.score[:, 0])[50:]
    assert spearmanr(score, world.deciles[50:, 0])[0] > 0.7

    bundle = Bundle(model, ("a", "b"), "fold-1", settings(learner), 3, "key", record)
    bundle.save(tmp_path / "bundle")
    again = Bundle.load(tmp_path / "bundle")
    assert again.dimension == 8
    loaded = again.predict(data.features, data.present, rows=split.test)
    assert np.array_equal(loaded.score, said.score)
    assert np.array_equal(loaded.probabilities, said.probabilities)
    one = again.pick(["b"]).predict(data.features, data.present, rows=split.test)
    assert one.score[:, 0] == pytest.approx(said.score[:, 1], abs=1e-6)
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert ("Network `shared`" in card) == (learner == "stack")


@pytest.mark.parametrize("name", WORLDS)
def test_a_stack_is_about_as_good_as_the_best_standard_learner_on_each_world(name):
    world = WORLDS[name](0, areas=200)
    data, split = data_of(world), halves(world)
    model, _ = fit_learner(data, split, settings("stack", epochs=15, width=None), seed=0)
    said = model.predict(data.features, data.present, split.test)
    truth = world.deciles[:, 0]
    means, first = world.means, np.arange(100)
    forest = RandomForestRegressor(100, random_state=0).fit(means[first], truth[first])
    line = RidgeCV(np.logspace(-1, 4, 11)).fit(means[first], truth[first])
    kernel, _ = fit_learner(data, split, settings("kernel"), seed=0)
    alone = kernel.predict(data.features, data.present, split.test).score[:, 0]
    best = max(
        spearmanr(predicted, truth[100:])[0]
        for predicted in (
            forest.predict(means[100:]),
            line.predict(means[100:]),
            area_means(world, split.test, alone)[100:],
        )
    )
    score = area_means(world, split.test, said.score[:, 0])[100:]
    assert spearmanr(score, truth[100:])[0] > best - 0.05


def test_the_network_alone_is_what_it_was():
    world = small()
    data, split = data_of(world), halves(world)
    model, _ = fit_learner(data, split, settings("network"), seed=3)
    stack, _ = fit_learner(data, split, settings("stack"), seed=3)
    assert isinstance(model, Model)
    one, other = (
        m.predict(data.features, data.present, split.test).score for m in (model, stack.network)
    )
    assert np.array_equal(one, other)


def test_the_parts_of_a_stack_are_what_each_learner_predicts_alone():
    data, split = data_of(small(), outcomes=2), halves(small())
    model, _ = fit_learner(data, split, settings("stack"), seed=3)
    parts = model.predict(data.features, data.present, split.test).parts
    assert list(parts) == ["network", "kernel", "ridge"]
    for learner, part in parts.items():
        alone, _ = fit_learner(data, split, settings(learner), seed=3)
        said = alone.predict(data.features, data.present, split.test)
        assert np.array_equal(part, said.score), learner
        assert not said.parts


def test_scores_of_areas_have_the_scale_of_their_deciles():
    world = small("linear", areas=200)
    data, split = data_of(world), halves(world)
    for learner in LEARNERS:
        model, _ = fit_learner(data, split, settings(learner), seed=0)
        said = model.predict(data.features, data.present, split.test)
        decile = 5.5 + 9 / 4 * area_means(world, split.test, said.score[:, 0])[100:]
        slope = np.polyfit(decile, world.deciles[100:, 0], 1)[0]
        assert 0.8 < slope < 1.25, learner


@pytest.mark.parametrize("learner", ["kernel", "stack"])
def test_probabilities_of_locations_are_as_sure_as_they_should_be(learner):
    world = small("linear", areas=200)
    data, split = data_of(world), halves(world)
    model, _ = fit_learner(data, split, settings(learner), seed=0)
    said = model.predict(data.features, data.present, split.test).probabilities[:, 0]
    truth = data.deciles[split.test, 0].astype(int) - 1
    loss = -np.log(said[np.arange(len(truth)), truth]).mean()
    sure = replace(model, temperature=None)
    own = sure.predict(data.features, data.present, split.test).probabilities[:, 0]
    assert loss < np.log(10)
    assert loss < -np.log(np.maximum(own[np.arange(len(truth)), truth], 1e-300)).mean()


@pytest.mark.parametrize("learner", ["kernel", "stack"])
def test_the_calibration_set_is_scored_by_what_was_not_trained_on_it(learner):
    world = small("linear")
    noise = np.random.default_rng(0).integers(1, 11, world.deciles.shape).astype(float)
    world = replace(world, deciles=noise)
    data, split = data_of(world), halves(world)
    model, _ = fit_learner(data, split, settings(learner), seed=0)
    rows, score = learner_calibration_scores(model, data, split, settings(learner), seed=0)
    assert sorted(rows) == sorted(split.training)
    held = area_means(world, rows, score[:, 0])[:50]
    assert spearmanr(held, noise[:50, 0])[0] < 0.35


def test_cross_validation_of_a_stack_is_the_same_again_and_in_another_order(tmp_path):
    world = small("composition")
    data = data_of(world)
    fold = world.area % 2
    nothing = np.empty(0, np.int64)
    splits = [
        Split(f"fold-{f + 1}", f + 1, np.flatnonzero(fold != f), nothing, np.flatnonzero(fold == f))
        for f in (0, 1)
    ]
    how = {"seed": 1, "cache_key": "key"}
    first = cross_validate(data, splits, settings("stack"), directory=tmp_path / "a", **how)
    again = cross_validate(data, splits, settings("stack"), directory=tmp_path / "a", **how)
    assert first.equals(again)
    other = cross_validate(data, splits, settings("stack"), directory=tmp_path / "b", **how)
    assert first.equals(other)
    areas = first.groupby("area")[["score", "actual_decile"]].mean().astype(float)
    assert areas.corr(method="spearman").iloc[0, 1] > 0.3


def test_one_member_few_areas_and_missing_labels_work():
    world = small("linear", areas=24, locations=2, views=1)
    data, split = data_of(world, outcomes=2), halves(world)
    lacking = data.deciles.copy()
    lacking[::2, 1] = np.nan
    data = replace(data, deciles=lacking)
    for learner in LEARNERS:
        for size in (1, 3):
            model, _ = fit_learner(
                data, split, settings(learner, ensemble_size=size, epochs=1), seed=0
            )
            said = model.predict(data.features, data.present, split.test)
            assert np.isfinite(said.score).all()
            assert np.isfinite(said.probabilities).all()


SMALL = {
    "one location an area": {"locations": 1},
    "one view": {"views": 1},
    "one location and one view": {"locations": 1, "views": 1},
    "20 areas": {"areas": 20},
}


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("case", [*SMALL, "constant features", "4,096 columns and 85 areas"])
def test_small_and_odd_inputs_are_predicted(learner, case):
    world = small("linear", **SMALL.get(case, {"areas": 85}))
    if case == "constant features":
        world = replace(world, features=np.ones_like(world.features))
    if case == "4,096 columns and 85 areas":
        noise = np.random.default_rng(0).normal(size=(*world.features.shape[:2], 4096))
        noise[..., :8] += 4 * world.features
        world = replace(world, features=noise.astype(np.float32))
    training = world.area < 0.8 * len(world.deciles)  # as in five folds
    parts = {"training": np.flatnonzero(training), "test": np.flatnonzero(~training)}
    data, split = data_of(world), halves(world, **parts)
    model, _ = fit_learner(data, split, settings(learner, epochs=1), seed=0)
    said = model.predict(data.features, data.present, split.test)
    assert np.isfinite(said.score).all()
    assert said.probabilities.sum(axis=2) == pytest.approx(1)
    if case == "constant features":
        assert np.ptp(said.score) == pytest.approx(0, abs=1e-6)
    elif learner != "stack" and case != "20 areas":  # the network had one epoch
        score = area_means(world, split.test, said.score[:, 0])
        known = ~np.isnan(score)
        assert spearmanr(score[known], world.deciles[known, 0])[0] > 0.3
