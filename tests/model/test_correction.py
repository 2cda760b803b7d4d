"""What labels add to the model of another city, in worlds where that city helps or does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from streetgauge.model import Bundle
from streetgauge.model.correction import SPREADS, _Process
from streetgauge.model.learners import StackModel, fit_learner, learner_calibration_scores
from streetgauge.model.training_data import TrainingData
from streetgauge.settings import FoldSettings, TrainSettings
from streetgauge.splits import Split, make_splits, take_share
from streetgauge.synthetic import simulate_features

RIDGE = TrainSettings(learner="ridge", device="cpu")
CORRECT = RIDGE.model_copy(update={"tune": "correction"})


def city(name: str, seed: int, *, way: int = 1, outcomes: int = 1) -> TrainingData:
    """Eighty areas in a light of their own; cities of one `way` show the outcomes alike."""
    rng = np.random.default_rng([seed, *name.encode()])
    area = np.repeat(np.arange(80), 4)
    names = ("income", "health", "crime")[:outcomes]
    deciles = np.column_stack([rng.permutation(80) // 8 + 1.0 for _ in names])[area]
    codes = np.array([f"{name}{seed}-{a:02d}" for a in area])
    ids = np.array([f"{code}-{i:03d}" for i, code in enumerate(codes)])
    labels = pd.DataFrame(deciles, pd.Index(ids, name="location_id"), names)
    shown = {"dimension": 24, "views": 2, "signal": 0.15}
    features = simulate_features(labels, codes, **shown, seed=way)
    features += rng.normal(size=24).astype(np.float32)
    return TrainingData(features, np.ones(features.shape[:2], np.bool_), deciles, codes, ids, names)


def whole(data: TrainingData) -> Split:
    (split,) = make_splits(FoldSettings(scheme="train-only"), data.areas, data.deciles, seed=0)
    return split


def lent(data: TrainingData) -> StackModel:
    model, _ = fit_learner(data, whole(data), RIDGE, seed=0)
    assert isinstance(model, StackModel)
    return model


def curve(source: StackModel, here: TrainingData, shares: tuple[float, ...]) -> list[float]:
    """Rank correlation of held-out areas along the shares; without labels first."""
    splits = make_splits(FoldSettings(final=False), here.areas, here.deciles, seed=0)
    found = []
    for share in (0.0, *shares):
        score = np.full(here.deciles.shape, np.nan)
        for split in splits:
            model = source
            if share:
                part = take_share(split, here.areas, here.deciles, share, 0)
                model, _ = fit_learner(here, part, CORRECT, seed=0, start=source)
            predicted = model.predict(here.features, here.present, split.test)
            score[split.test] = predicted.score
        means = (pd.DataFrame(x).groupby(here.areas).mean() for x in (score, here.deciles))
        found.append(next(means).corrwith(next(means), method="spearman").mean())
    return found


def test_a_few_labels_never_make_a_city_that_shows_outcomes_alike_clearly_worse() -> None:
    shares = (0.02, 0.05, 0.1, 1.0)
    found = []
    for seed in range(4):
        first, second = (city(name, seed, outcomes=3) for name in "ab")
        found += [curve(lent(first), second, shares), curve(lent(second), first, shares)]
    none, *along = np.mean(found, axis=0)
    assert none > 0.5
    assert min(along) > none - 0.01
    assert along[-1] > none - 0.005


def test_labels_take_over_where_the_other_city_shows_the_outcome_in_another_way() -> None:
    found = []
    for seed in range(3):
        found.append(curve(lent(city("a", seed, way=2)), city("b", seed), (0.1, 0.5, 1.0)))
    none, tenth, half, all_of_them = np.mean(found, axis=0)
    assert none < 0.3
    assert none - 0.05 < tenth < half < all_of_them
    assert all_of_them > 0.55


def test_a_model_that_labels_do_not_improve_keeps_the_order_that_it_came_with() -> None:
    here, source = city("b", 1), lent(city("a", 1))
    before = source.predict(here.features, here.present).score[:, 0]
    own = pd.Series(before).groupby(here.areas).mean()
    # What the model says, and chance: labels have nothing to add.
    decile = 5.5 + 9 / 4 * own + np.random.default_rng(3).normal(size=80)
    right = replace(here, deciles=decile.loc[here.areas].to_numpy()[:, None].round().clip(1, 10))
    gains = []
    for share in (0.05, 0.1, 0.2, 0.5, 1.0):
        part = take_share(whole(here), here.areas, here.deciles, share, 0)
        model, record = fit_learner(right, part, CORRECT, seed=0, start=source)
        assert record.gain is not None
        gains += record.gain
        moved = model.predict(here.features, here.present).score[:, 0] - before
        assert (np.ptp(moved) < 1e-6) == (record.gain == [0.0])
    assert 0.0 in gains
    assert max(gains) < 0.05


def test_the_gain_is_that_of_predicting_each_area_by_the_others() -> None:
    rng = np.random.default_rng(0)
    vectors, residual = rng.normal(size=(9, 3)), rng.normal(size=9)
    residual += 2 * vectors[:, 0]
    axes, explained = np.linalg.qr(rng.normal(size=(3, 2)))[0], np.array([0.3, 0.1])
    process = _Process(vectors, axes, explained, 1.0, np.full(9, 0.5), known=True)
    gain, slopes, alone = process.judged(residual)
    prior = np.eye(3) - (axes * explained) @ axes.T

    def one(spread: float, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        own = vectors[rows]
        level = 0.5 * np.eye(len(rows)) + 0.5
        covariance = own @ (prior + spread * np.eye(3)) @ own.T + level
        alpha = np.linalg.solve(covariance, residual[rows])
        _, determinant = np.linalg.slogdet(covariance)
        student = (10 + len(rows)) / 2 * np.log1p(residual[rows] @ alpha / 10)
        return (prior + spread * np.eye(3)) @ own.T @ alpha, alpha, -determinant / 2 - student

    every = np.arange(9)
    evidence = [one(s, every)[2] - k * np.log(2) for k, s in enumerate(SPREADS)]
    weight = np.exp(evidence) / np.exp(evidence).sum()
    expected = sum(w * one(s, every)[0] for w, s in zip(weight, SPREADS, strict=True))
    np.testing.assert_allclose(slopes, expected)
    held, plain = np.zeros((2, 9))
    for i in every:
        others = np.delete(every, i)
        for w, s in zip(weight, SPREADS, strict=True):
            slope, alpha, _ = one(s, others)
            held[i] += w * (vectors[i] @ slope + 0.5 * alpha.sum())
        plain[i] = 0.5 * np.linalg.solve(0.5 * np.eye(8) + 0.5, residual[others]).sum()
    np.testing.assert_allclose(alone, held - held.mean())
    squares = ((residual - held) ** 2).sum() / ((residual - plain) ** 2).sum()
    assert gain == pytest.approx(1 - squares)


@pytest.mark.parametrize("learner", ["ridge", "kernel", "network", "stack"])
def test_a_corrected_model_of_any_learner_is_stored_and_corrected_again(
    learner: str, tmp_path: object
) -> None:
    settings = TrainSettings(
        learner=learner, device="cpu", epochs=2, ensemble_size=2, width=16, tune="correction"
    )
    there, here = city("a", 0, way=2), city("b", 0)
    own, _ = fit_learner(there, whole(there), settings, seed=0)
    model, record = fit_learner(here, whole(here), settings, seed=0, start=own)
    again, _ = fit_learner(there, whole(there), settings, seed=0, start=model)
    assert isinstance(again, StackModel)
    assert len(again.corrections) == 2
    bundle = Bundle(again, ("income",), "all", settings, 0, "x", record, {"start": {"study": "A"}})
    bundle.save(f"{tmp_path}/bundle")
    stored = Bundle.load(f"{tmp_path}/bundle")
    before, after = (x.predict(here.features, here.present) for x in (again, stored.model))
    np.testing.assert_array_equal(before.score, after.score)
    assert not before.parts
    assert stored.training is not None
    assert stored.training.gain == record.gain
    assert record.training_areas == 80
    rows, score = learner_calibration_scores(model, here, whole(here), settings, seed=0)
    assert sorted(rows) == list(range(320))
    # Areas that the others predict are predicted worse than by a model that knows them.
    fitted = model.predict(here.features, here.present, rows).score[:, 0]
    frame = pd.DataFrame({"held": score[:, 0], "fitted": fitted, "actual": here.deciles[rows, 0]})
    agreement = frame.groupby(here.areas[rows]).mean().corr()["actual"]
    assert 0.2 < agreement["held"] < agreement["fitted"]
