"""Three worlds whose headline is known: a perfect model, a shuffled one, one that knows places."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor

from streetgauge.classes import equal_count
from streetgauge.evaluation import EvaluationInputs, aggregate, evaluate, headline, intervals
from streetgauge.evaluation.baselines import Baselines
from streetgauge.evaluation.comparison import evaluate_shuffled
from streetgauge.settings import EvaluationSettings

SETTINGS = EvaluationSettings(draws=300)
N = 500


@pytest.fixture(scope="module")
def city():
    """Areas with labels that are partly smooth in space, in random folds and in folds of blocks."""
    rng = np.random.default_rng(11)
    areas = [f"A{i:04d}" for i in range(N)]
    place = pd.DataFrame(rng.uniform(0, 1e4, (N, 2)), areas, columns=["x", "y"])
    smooth = np.sin(place["x"] / 1500) + np.cos(place["y"] / 1800)
    latent = (smooth + 0.7 * rng.normal(size=N)).to_numpy()
    block = place.floordiv(1250).astype(int).astype(str).agg(" ".join, axis=1)
    dealt = {name: i % 5 + 1 for i, name in enumerate(rng.permutation(block.unique()))}
    folds = {"random": rng.integers(1, 6, N), "spatial": block.map(dealt).to_numpy()}
    return areas, place, latent, folds


def told(city, score_of):
    """Judge a model in both kinds of folds: ``score_of(fold)`` gives the areas' scores."""
    areas, place, latent, folds = city
    methods = Baselines(place)
    sides = {}
    for kind, fold in folds.items():
        rows = pd.DataFrame(
            {
                "location_id": [f"L{i}" for i in range(N)],
                "area": areas,
                "fold": fold,
                "outcome": "income",
                "score": score_of(fold),
                "actual_decile": pd.array(equal_count(latent), dtype="Int64"),
            }
        )
        frame = intervals(aggregate(rows))
        sides[kind] = evaluate(
            frame, SETTINGS, seed=1, baselines=methods, inputs=EvaluationInputs(place)
        )
    return sides, headline(sides)["income"]


def test_a_perfect_model_scores_perfectly_and_adds_all_that_was_missing(city):
    sides, found = told(city, lambda fold: city[2])
    for kind, cell in found.items():
        account = sides[kind]["outcomes"]["income"]
        for metric, value in {"mae": 0, "exact": 1, "spearman": 1, "kappa": 1}.items():
            measured = account["metrics"][metric]
            assert measured["value"] == measured["low"] == measured["high"] == pytest.approx(value)
        assert cell["mae"]["value"] == pytest.approx(cell["mae"]["baseline"])
        assert cell["mae"]["low"] > 0.5
        assert cell["spearman"]["value"] == pytest.approx(1 - cell["spearman"]["baseline"])


def test_a_shuffled_model_scores_as_chance_and_adds_less_than_nothing(city):
    shuffled = np.random.default_rng(3).permutation(city[2])
    sides, found = told(city, lambda fold: shuffled)
    for kind, cell in found.items():
        rho = sides[kind]["outcomes"]["income"]["metrics"]["spearman"]
        assert abs(rho["value"]) < 0.1
        assert sides[kind]["outcomes"]["income"]["metrics"]["mae"]["value"] > 3
        assert cell["mae"]["high"] < 0
        assert cell["spearman"]["high"] < 0


def test_a_model_that_only_knows_places_adds_nothing_over_the_baselines(city):
    _, place, latent, _ = city

    def forest(fold):
        score = np.empty(N)
        for part in np.unique(fold):
            model = RandomForestRegressor(60, min_samples_leaf=3, random_state=0)
            model.fit(place[fold != part], latent[fold != part])
            score[fold == part] = model.predict(place[fold == part])
        return score

    sides, found = told(city, forest)
    rho = sides["random"]["outcomes"]["income"]["metrics"]["spearman"]["value"]
    assert rho > 0.5  # it looks good, as long as nothing stands beside it
    for cell in found.values():
        assert cell["mae"]["low"] <= 0
        assert cell["spearman"]["low"] <= 0


def test_the_baseline_is_the_best_on_these_areas_for_each_metric_and_kind_of_folds(city):
    sides, found = told(city, lambda fold: city[2])
    for kind, cell in found.items():
        baselines = sides[kind]["outcomes"]["income"]["baselines"]
        assert cell["mae"]["baseline"] == min(each["mae"] for each in baselines.values())
        known = [b["spearman"] for b in baselines.values() if b["spearman"] is not None]
        assert cell["spearman"]["baseline"] == max(known)
        assert cell["scheme"] == sides[kind]["scheme"]["description"]
        assert cell["n_areas"] == N


def test_baselines_that_put_areas_in_the_wrong_order_are_no_yardstick():
    rng = np.random.default_rng(0)
    actual = equal_count(rng.normal(size=200))
    index = [f"A{i:03d}" for i in range(200)]
    frame = pd.DataFrame(
        {
            "area": index,
            "outcome": "income",
            "fold": rng.integers(1, 41, 200),
            "n_locations": 9,
            "score": rng.normal(size=200) + 0.1 * actual,
            "actual_decile": actual,
        }
    ).assign(decile=lambda f: equal_count(f["score"]))
    unknown = pd.Series(rng.uniform(size=200), index)
    metrics = evaluate(frame, SETTINGS, seed=1, baselines=Baselines(density=unknown))
    account = metrics["outcomes"]["income"]
    assert account["baselines"]["density"]["spearman"] < 0
    rho = account["metrics"]["spearman"]
    assert account["gain"]["over_spearman"] == "constant"
    assert account["gain"]["spearman"] == rho
    cell = headline({"random": metrics})["income"]["random"]["spearman"]
    assert cell["baseline"] == 0
    assert cell["value"] == cell["images"] == rho["value"]


def test_what_chance_allows_is_a_third_wider_than_of_independent_pairs():
    rng, n = np.random.default_rng(0), 101
    label, score = pd.Series(rng.integers(1, 11, n)), pd.Series(rng.normal(size=n))
    # Two-sided 1 % of the normal distribution, and 1 / sqrt(100) for a correlation of 101 pairs.
    assert evaluate_shuffled([(label, score)], 10)["chance"] == pytest.approx(
        1.3 * 2.5758 / 10, 1e-4
    )
    # Of several shuffles the largest counts, so that each is allowed less.
    five = evaluate_shuffled([(label, score)] * 5, 10)["chance"]
    assert five == pytest.approx(1.3 * 3.0902 / 10, 1e-4)
