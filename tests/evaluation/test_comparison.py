"""Two sets of predicted areas, and images and baselines, compared."""

from __future__ import annotations

import json
import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.ensemble import RandomForestRegressor

from streetgauge.classes import equal_count
from streetgauge.errors import InputError
from streetgauge.evaluation import (
    EvaluationInputs,
    Operand,
    aggregate,
    compare_areas,
    compare_figures,
    draw_metrics,
    evaluate,
    headline,
    intervals,
)
from streetgauge.evaluation.baselines import Baselines
from streetgauge.evaluation.comparison import evaluate_shuffled
from streetgauge.evaluation.metrics import confusion_matrix, measure
from streetgauge.settings import EvaluationSettings


def world(noise: float, *, n: int = 300, seed: int = 0, prefix: str = "A") -> pd.DataFrame:
    """Give areas whose predictions are as far off as the noise is strong."""
    rng = np.random.default_rng([seed, 7])
    truth = rng.permutation(n)
    score = truth + noise * n * np.random.default_rng([seed, 8]).normal(size=n)
    actual, decile = (1 + 10 * pd.Series(v).rank(method="first").sub(1).floordiv(n / 10).div(10)
                      for v in (truth, score))  # fmt: skip
    return pd.DataFrame(
        {
            "area": [f"{prefix}{i:04d}" for i in range(n)],
            "actual_decile": actual.round().astype("Int64"),
            "decile": decile.round().astype("Int64"),
            "n_locations": 3,
        }
    )


def test_a_study_compared_with_itself_differs_by_nothing() -> None:
    one = world(0.3)
    found = compare_areas(Operand(one), Operand(one.copy()))
    assert found["paired"]
    assert found["n_areas"] == {"a": 300, "b": 300, "shared": 300}
    assert found["different_actual"] == 0
    assert found["agreement"] == {"exact": 1.0, "mae": 0.0, "spearman": pytest.approx(1)}
    for each in found["metrics"].values():
        assert each["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
        assert each["b_better"] == 0.5
        assert each["a"] == each["b"]


def test_the_better_of_two_is_better_in_all_draws_and_the_figures_are_those_of_measure() -> None:
    worse, better = world(0.6), world(0.1)
    found = compare_areas(Operand(worse), Operand(better), seed=3)
    for name, frame in (("a", worse), ("b", better)):
        plain = measure(confusion_matrix(frame["actual_decile"], frame["decile"], 10))
        for metric, value in plain.items():
            assert found["metrics"][metric][name]["value"] == pytest.approx(float(value))
    mae, rank = (found["metrics"][m] for m in ("mae", "spearman"))
    assert mae["b_better"] == rank["b_better"] == 1
    assert mae["difference"]["high"] < 0 < rank["difference"]["low"]
    json.dumps(found, allow_nan=False)


def test_the_paired_interval_is_that_of_differences_by_area() -> None:
    a, b = world(0.3), world(0.32, seed=0)
    found = compare_areas(Operand(a), Operand(b), draws=4000)["metrics"]["mae"]["difference"]
    error = [(f["decile"] - f["actual_decile"]).abs().astype(float) for f in (a, b)]
    each = error[1] - error[0]
    assert found["value"] == pytest.approx(each.mean())
    half = 1.645 * each.std() / np.sqrt(len(each))  # the central limit theorem
    assert found["high"] - found["low"] == pytest.approx(2 * half, rel=0.08)
    # Errors of the same areas resemble each other: unpaired, it would be wider.
    apart = compare_areas(Operand(a), Operand(b.assign(area="X" + b["area"])), draws=4000)
    assert not apart["paired"]
    wide = apart["metrics"]["mae"]["difference"]
    assert wide["value"] == pytest.approx(found["value"])
    both = 1.645 * np.sqrt(sum(e.var() / len(e) for e in error))
    assert wide["high"] - wide["low"] == pytest.approx(2 * both, rel=0.08)
    assert wide["high"] - wide["low"] > 1.2 * (found["high"] - found["low"])


@pytest.mark.parametrize("prefix", ["A", "X"])
def test_the_order_of_rows_plays_no_part_and_exchange_turns_the_signs(prefix: str) -> None:
    a, b = world(0.3), world(0.5, seed=1, prefix=prefix)
    found = compare_areas(Operand(a), Operand(b), draws=300)
    shuffled = [f.sample(frac=1, random_state=i) for i, f in enumerate((a, b))]
    assert compare_areas(*map(Operand, shuffled), draws=300) == found
    turned = compare_areas(Operand(b), Operand(a), draws=300)
    for metric, each in found["metrics"].items():
        other = turned["metrics"][metric]
        assert other["a"] == each["b"]
        assert other["difference"]["low"] == pytest.approx(-each["difference"]["high"])
        assert other["b_better"] == pytest.approx(1 - each["b_better"])


def test_shared_areas_alone_are_paired_and_few_are_not() -> None:
    a, b = world(0.3), world(0.2, seed=2)
    half = b.iloc[:150]
    found = compare_areas(Operand(a), Operand(half))
    assert found["n_areas"] == {"a": 300, "b": 150, "shared": 150}
    own = measure(confusion_matrix(*(a.iloc[:150][c] for c in ("actual_decile", "decile")), 10))
    assert found["metrics"]["mae"]["a"]["value"] == pytest.approx(float(own["mae"]))
    assert found["different_actual"] > 100  # another permutation of the truth
    few = b.assign(area=np.where(np.arange(300) < 9, b["area"], "X" + b["area"]))
    assert not compare_areas(Operand(a), Operand(few))["paired"]


def test_areas_without_truth_or_with_few_locations_are_not_compared() -> None:
    a, b = world(0.3), world(0.2)
    a.loc[:4, "actual_decile"] = pd.NA
    b.loc[5:9, "n_locations"] = 1
    found = compare_areas(Operand(a, min_locations=1), Operand(b, min_locations=2))
    assert found["n_areas"] == {"a": 295, "b": 295, "shared": 290}


def test_areas_that_are_drawn_together_widen_the_interval() -> None:
    a = world(0.3).assign(decile=lambda f: f["actual_decile"])
    # Blocks of ten areas in which b is off by the same.
    block = pd.Series(np.arange(300) // 10, index=a["area"])
    off = np.random.default_rng(0).integers(0, 4, 30)[block.to_numpy()]
    b = a.assign(decile=a["actual_decile"] + np.where(a["actual_decile"] <= 5, off, -off))
    one, many = (
        compare_areas(Operand(a), Operand(b, unit=unit))["metrics"]["mae"]["difference"]
        for unit in (None, block)
    )
    assert one["value"] == many["value"]
    assert many["high"] - many["low"] > 1.5 * (one["high"] - one["low"])


def test_weights_count() -> None:
    a, b = world(0.3), world(0.5)
    weight = pd.Series(np.arange(300) % 3, index=a["area"], dtype=float)
    found = compare_areas(Operand(a, weight=weight), Operand(b, weight=weight))["metrics"]["mae"][
        "difference"
    ]["value"]
    error = [(f["decile"] - f["actual_decile"]).abs().to_numpy(float) for f in (a, b)]
    assert found == pytest.approx(np.average(error[1] - error[0], weights=weight))


def test_populations_that_differ_are_neither_side_s_to_choose() -> None:
    a, b = world(0.3), world(0.5)
    one = pd.Series(1.0 + np.arange(300) % 3, index=a["area"])
    other = one[::-1].set_axis(one.index)
    plain = compare_areas(Operand(a), Operand(b))
    assert plain["weighted"] is None
    for weights in ((one, other), (one, None), (None, other)):
        found = compare_areas(Operand(a, weight=weights[0]), Operand(b, weight=weights[1]))
        assert found["weighted"] is False
        assert found["metrics"] == plain["metrics"]
    # The same people, in thousands, and counted once more.
    weighted = compare_areas(Operand(a, weight=one), Operand(b, weight=one))
    again = compare_areas(Operand(a, weight=one), Operand(b, weight=1.003 * one / 1000))
    assert weighted["weighted"] is again["weighted"] is True
    mae = [each["metrics"]["mae"]["difference"]["value"] for each in (weighted, again, plain)]
    assert mae[0] == pytest.approx(mae[1])
    assert mae[0] != pytest.approx(mae[2])


def test_two_cities_have_their_own_people_or_none() -> None:
    a, b = world(0.3), world(0.5, prefix="X")
    people = [pd.Series(1.0 + np.arange(300) % k, index=f["area"]) for f, k in ((a, 3), (b, 7))]
    found = compare_areas(Operand(a, weight=people[0]), Operand(b, weight=people[1]))
    assert not found["paired"]
    assert found["weighted"] is True
    for name, frame, weight in (("a", a, people[0]), ("b", b, people[1])):
        error = (frame["decile"] - frame["actual_decile"]).abs().to_numpy(float)
        expected = np.average(error, weights=weight)
        assert found["metrics"]["mae"][name]["value"] == pytest.approx(expected)
    half = compare_areas(Operand(a, weight=people[0]), Operand(b))
    assert half["weighted"] is False
    assert half["metrics"] == compare_areas(Operand(a), Operand(b))["metrics"]


def test_constant_predictions_have_no_rank_correlation_and_say_why() -> None:
    a = world(0.3)
    found = compare_areas(Operand(a), Operand(a.assign(decile=pd.array([5] * 300, dtype="Int64"))))
    rank = found["metrics"]["spearman"]
    assert rank["b"]["value"] is rank["difference"]["value"] is rank["b_better"] is None
    assert found["undefined"]["b.spearman"] == "all areas have the same predicted class"


def test_the_ranked_probability_score_is_compared_where_both_have_probabilities() -> None:
    a = world(0.3)
    sure = pd.DataFrame(np.eye(10)[a["actual_decile"].to_numpy(int) - 1], index=a.index)
    even = pd.DataFrame(np.full((300, 10), 0.1), index=a.index)
    sure.columns = even.columns = [f"p{k}" for k in range(1, 11)]
    found = compare_areas(
        Operand(pd.concat([a, even], axis=1)), Operand(pd.concat([a, sure], axis=1))
    )
    assert found["metrics"]["rps"]["b"]["value"] == 0
    assert found["metrics"]["rps"]["b_better"] == 1
    assert "rps" not in compare_areas(Operand(a), Operand(pd.concat([a, sure], axis=1)))["metrics"]


def test_what_cannot_be_compared_is_refused() -> None:
    a = world(0.3)
    with pytest.raises(InputError, match="'A0000' appears more than once"):
        compare_areas(Operand(a), Operand(pd.concat([a, a.iloc[:1]])))
    with pytest.raises(InputError, match="areas of b: none is measured, so"):
        compare_areas(Operand(a), Operand(a.assign(actual_decile=pd.NA)))


def test_figures_alone_give_the_interval_of_independent_sides() -> None:
    a = {"mae": {"value": 2.0, "low": 1.7, "high": 2.4}, "kappa": {"value": None}}
    b = {"mae": {"value": 1.5, "low": 1.1, "high": 1.8}, "kappa": {"value": 0.3}}
    found = compare_figures(a, b)
    assert list(found) == ["mae"]
    gap = found["mae"]["difference"]
    assert gap["value"] == pytest.approx(-0.5)
    assert gap["low"] == pytest.approx(-0.5 - np.hypot(0.4, 0.4))
    assert gap["high"] == pytest.approx(-0.5 + np.hypot(0.3, 0.3))
    bare = compare_figures({"mae": {"value": 2.0}}, b)["mae"]["difference"]
    assert bare == {"value": -0.5, "low": None, "high": None}


def test_drawn_metrics_of_several_predictions_are_on_the_same_draws() -> None:
    frame = world(0.4).set_index("area")
    rng = np.random.default_rng(0)
    drawn = draw_metrics({"x": frame, "y": frame.iloc[::-1]}, 10, 200, rng)
    for metric, values in drawn["x"].drawn.items():
        np.testing.assert_array_equal(values, drawn["y"].drawn[metric])


def test_the_bootstrap_of_the_tables_is_the_bootstrap_of_the_areas() -> None:
    frame = world(0.5).set_index("area").astype("int64")
    rng = np.random.default_rng(4)
    drawn = draw_metrics({"p": frame}, 10, 2000, rng, metrics=("spearman",))["p"].drawn["spearman"]
    plain = []
    for _ in range(600):
        rows = frame.iloc[rng.integers(0, 300, 300)]
        plain.append(stats.spearmanr(rows["actual_decile"], rows["decile"])[0])
    assert drawn.mean() == pytest.approx(np.mean(plain), abs=0.004)
    assert drawn.std() == pytest.approx(np.std(plain), rel=0.12)


def test_a_thousand_draws_of_london_take_a_moment() -> None:
    frame = world(0.5, n=4830).set_index("area")
    began = time.perf_counter()
    draw_metrics({"p": frame}, 10, 1000, np.random.default_rng(0))
    assert time.perf_counter() - began < 5  # 0.1 s when nothing else runs


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


def test_a_model_that_only_knows_coordinates_adds_nothing_over_the_baselines(city):
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
    # Two-sided 1% of the normal distribution, and 1 / sqrt(100) for a correlation of 101 pairs.
    assert evaluate_shuffled([(label, score)], 10)["chance"] == pytest.approx(
        1.3 * 2.5758 / 10, 1e-4
    )
    # Of several shuffles the largest counts, so that each is allowed less.
    five = evaluate_shuffled([(label, score)] * 5, 10)["chance"]
    assert five == pytest.approx(1.3 * 3.0902 / 10, 1e-4)
