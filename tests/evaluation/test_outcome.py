"""The account of an outcome in worlds whose answers are known."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import r2_score

from streetgauge.errors import InputError
from streetgauge.evaluation import METRICS, EvaluationInputs, equal_count, evaluate
from streetgauge.evaluation.outcome import expected_values
from streetgauge.settings import EvaluationSettings

SETTINGS = EvaluationSettings(draws=100)
AREAS = 600


def world(noise=0.7, seed=0, n=AREAS):
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "area": [f"A{i:04d}" for i in range(n)],
            "outcome": "income",
            "fold": rng.integers(1, 6, n),
            "n_locations": rng.integers(1, 40, n),
            "score": latent + rng.normal(0, noise, n),
            "actual_decile": equal_count(latent),
            "actual_value": 30_000 * np.exp(latent / 2),
        }
    )
    frame["decile"] = equal_count(frame["score"])
    whole = {"decile": "Int64", "actual_decile": "Int64"}
    return frame.astype(whole)


def account_of(frame, settings=SETTINGS, **more):
    found = evaluate(frame, settings, seed=3, inputs=EvaluationInputs(**more))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found["outcomes"]["income"]


def certain(deciles, classes=10):
    """Probabilities that are sure of a decile."""
    table = np.eye(classes)[np.asarray(deciles, dtype=int) - 1]
    return pd.DataFrame(table, columns=[f"p{k}" for k in range(1, classes + 1)])


def test_a_perfect_model_scores_perfectly():
    frame = world(noise=0.0)
    account = account_of(frame.join(certain(frame["actual_decile"])))
    best = {"mae": 0.0, "rps": 0.0} | dict.fromkeys(set(METRICS) - {"mae"}, 1.0)
    for metric, value in best.items():
        assert account["metrics"][metric] == pytest.approx(
            {"value": value, "low": value, "high": value}, abs=1e-12
        )
    assert account["metrics"]["r2"]["value"] > 0.99
    assert account["extremes"]["slope"]["value"] == 1
    assert {row["mae"]["value"] for row in account["groups"]["deprivation"].values()} == {0.0}
    assert set(account["undefined"]) <= {
        f"baselines.constant.{m}" for m in ("pearson", "spearman", "kendall", "kappa")
    }


def test_a_shuffled_model_scores_as_chance():
    frame, found = world(noise=0.2), []
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(AREAS)
        said = frame[["score", "decile"]].to_numpy()[order]
        shuffled = frame.assign(score=said[:, 0].astype(float), decile=said[:, 1].astype(int))
        found.append(account_of(shuffled)["metrics"])

    def mean(metric):
        return np.mean([each[metric]["value"] for each in found])

    assert mean("mae") == pytest.approx(3.3, abs=0.1)  # of two independent uniform deciles
    assert mean("exact") == pytest.approx(0.1, abs=0.02)
    for metric in ("pearson", "spearman", "kendall", "kappa"):
        assert mean(metric) == pytest.approx(0, abs=0.04)
        inside = [each[metric]["low"] <= 0 <= each[metric]["high"] for each in found]
        assert sum(inside) >= 5  # of 90% intervals
    assert -0.05 < mean("r2") < 0.01


def test_the_order_of_rows_changes_nothing():
    frame = world()
    frame = frame.join(certain(frame["decile"])).assign(weight=np.arange(AREAS) % 7)
    about = pd.DataFrame({"district": frame["area"].str[:3].to_numpy()}, frame["area"])
    one = account_of(frame, columns=about)
    two = account_of(
        frame.sample(frac=1, random_state=1), columns=about.sample(frac=1, random_state=2)
    )
    assert one == two


def test_the_ranked_probability_score_is_its_plain_sum():
    frame = world()
    p = np.random.default_rng(5).dirichlet(np.ones(10), AREAS)
    columns = [f"p{k}" for k in range(1, 11)]
    found = account_of(frame.join(pd.DataFrame(p, columns=columns)))["metrics"]["rps"]
    expected = np.mean(
        [
            sum((row[:k].sum() - (y <= k)) ** 2 for k in range(1, 10))
            for row, y in zip(p, frame["actual_decile"], strict=True)
        ]
    )
    assert found["value"] == pytest.approx(expected)
    assert found["low"] < expected < found["high"]
    # Sure of the predicted decile, it is the mean absolute error.
    sure = account_of(frame.join(certain(frame["decile"])))["metrics"]
    assert sure["rps"]["value"] == pytest.approx(sure["mae"]["value"])


def test_r2_is_that_of_values_read_off_the_other_folds():
    frame = world()
    expected = np.zeros(AREAS)
    for fold in range(1, 6):
        held = frame["fold"].to_numpy() == fold
        fit = IsotonicRegression(out_of_bounds="clip").fit(
            frame.loc[~held, "score"], frame.loc[~held, "actual_value"]
        )
        expected[held] = fit.predict(frame.loc[held, "score"])
    np.testing.assert_allclose(expected_values(frame.set_index("area")), expected)
    found = account_of(frame)["metrics"]["r2"]
    assert found["value"] == pytest.approx(r2_score(frame["actual_value"], expected))
    assert found["low"] < found["value"] < found["high"]


def test_r2_is_the_same_where_higher_is_worse():
    frame = world()
    worse = frame.assign(actual_value=-frame["actual_value"])
    one, two = (account_of(f)["metrics"]["r2"]["value"] for f in (frame, worse))
    assert one == pytest.approx(two)


def test_weights_are_those_of_areas_that_stand_several_times():
    frame = world(n=200)
    weight = np.random.default_rng(0).integers(0, 4, 200)
    account = account_of(frame.assign(weight=weight * 100.0))
    found = account["metrics"]
    rows = frame.loc[frame.index.repeat(weight)]
    actual, said = rows["actual_decile"].to_numpy(int), rows["decile"].to_numpy(int)
    assert found["mae"]["value"] == pytest.approx(np.abs(actual - said).mean())
    assert found["exact"]["value"] == pytest.approx((actual == said).mean())
    assert found["pearson"]["value"] == pytest.approx(stats.pearsonr(actual, said)[0])
    assert found["spearman"]["value"] == pytest.approx(stats.spearmanr(actual, said)[0])
    assert found["kendall"]["value"] == pytest.approx(stats.kendalltau(actual, said)[0])
    assert np.sum(account["confusion"]) == 200  # areas, not people


def test_groups_show_where_errors_are_larger():
    frame = world(noise=0.1, n=900)
    rng = np.random.default_rng(1)
    few = frame["n_locations"] <= frame["n_locations"].median()
    wrong = rng.integers(1, 11, 900)
    frame["decile"] = frame["decile"].where(~few, pd.array(wrong, dtype="Int64"))
    about = pd.DataFrame(
        {"district": [f"D{i % 3}" for i in range(900)], "kind": np.where(few, "rural", "urban")},
        frame["area"],
    )
    settings = EvaluationSettings(draws=100, groups=("kind",))
    groups = account_of(frame, settings, columns=about)["groups"]
    assert set(groups) == {"deprivation", "images", "district", "kind"}
    assert groups["images"]["few"]["mae"]["low"] > groups["images"]["many"]["mae"]["high"]
    assert groups["kind"]["rural"] == groups["images"]["few"]
    # Guesses at random are too high for deprived areas and too low for affluent ones.
    assert groups["deprivation"]["deprived"]["bias"]["low"] > 0.5
    assert groups["deprivation"]["affluent"]["bias"]["high"] < -0.5
    assert [row["n_areas"] for row in groups["deprivation"].values()] == [270, 270, 360]
    rows = frame[np.arange(900) % 3 == 1]
    error = (rows["decile"] - rows["actual_decile"]).astype(float)
    own = groups["district"]["D1"]
    assert own["mae"]["value"] == pytest.approx(error.abs().mean())
    assert own["bias"]["value"] == pytest.approx(error.mean())
    assert own["within_1"] == pytest.approx((error.abs() <= 1).mean())
    rho = stats.spearmanr(rows["decile"].to_numpy(int), rows["actual_decile"].to_numpy(int))[0]
    assert own["spearman"] == pytest.approx(rho)


def test_images_are_counted_where_their_number_is_known():
    frame = world(n=100).assign(n_views=pd.array([4, 1] * 50, dtype="Int64"))
    groups = account_of(frame)["groups"]["images"]
    assert (groups["few"]["n_areas"], groups["many"]["n_areas"]) == (50, 50)
    alike = account_of(frame.assign(n_views=pd.array([4] * 100, dtype="Int64")))["groups"]
    assert "images" not in alike


def test_predictions_in_the_middle_have_a_small_slope_and_nobody_at_the_ends():
    frame = world(noise=0.0)
    squeezed = frame.assign(decile=(4 + frame["decile"] // 4).astype("Int64"))
    extremes = account_of(squeezed)["extremes"]
    line = stats.linregress(frame["actual_decile"].to_numpy(int), squeezed["decile"].to_numpy(int))
    assert extremes["slope"]["value"] == pytest.approx(line.slope)
    assert extremes["lowest"] == {"actual": 0.1, "predicted": 0.0}
    assert extremes["highest"] == {"actual": 0.1, "predicted": 0.0}


def test_areas_with_too_few_locations_are_counted_and_not_measured():
    frame = world()
    few = frame["n_locations"] < 5
    account = account_of(frame, EvaluationSettings(draws=100, min_locations=5))
    assert account["n_areas"] == int((~few).sum())
    assert account["n_areas_too_few_locations"] == int(few.sum()) > 0
    assert np.sum(account["confusion"]) == account["n_areas"]


def undefined_of(frame, **more):
    account = account_of(frame, **more)
    return {
        name: reason
        for name, reason in account["undefined"].items()
        if name.startswith(("metrics", "extremes"))
    }, account["metrics"]


def test_what_is_not_defined_is_null_and_says_why():
    frame = world()
    found, metrics = undefined_of(frame.assign(decile=pd.array([5] * AREAS, dtype="Int64")))
    assert found["metrics.spearman"] == "all areas have the same predicted class"
    assert metrics["spearman"] == {"value": None, "low": None, "high": None}
    assert metrics["kappa"]["value"] == 0  # it is defined: as good as chance
    assert found["metrics.rps"] == "areas have no probabilities"
    found, _ = undefined_of(frame.assign(actual_decile=pd.array([5] * AREAS, dtype="Int64")))
    assert found["metrics.kendall"] == "all areas have the same actual class"
    assert found["extremes.slope"] == "actual classes do not vary"
    found, _ = undefined_of(frame.iloc[:1])
    assert found[
        "metrics.kappa" if frame["decile"][0] == frame["actual_decile"][0] else "metrics.pearson"
    ]
    assert found["metrics.pearson"] == "neither actual nor predicted classes vary"
    found, metrics = undefined_of(
        frame.assign(actual_decile=pd.array([pd.NA] * AREAS, dtype="Int64"))
    )
    assert found["metrics.mae"] == "no area is measured"
    assert metrics["mae"]["value"] is None
    found, _ = undefined_of(frame.assign(fold=1))
    assert found["metrics.r2"] == "no other fold links scores to values"
    found, _ = undefined_of(frame.assign(actual_value=7.0))
    assert found["metrics.r2"] == "actual values do not vary"
    found, _ = undefined_of(frame.drop(columns="actual_value"))
    assert found["metrics.r2"] == "areas have no actual values"


def test_one_area_is_measured_without_a_warning(recwarn):
    account = account_of(world(n=30).iloc[:1])
    assert account["n_areas"] == 1
    assert account["metrics"]["mae"]["value"] is not None
    assert not recwarn.list


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: pd.concat([f, f.iloc[:1]]), "area 'A0000' appears more than once"),
        (
            lambda f: f.join(certain(f["decile"]) * 0.5),
            "area 'A0000' for 'income': p1 to p10 sum to 0.5, not 1",
        ),
    ],
)
def test_areas_that_cannot_be_measured_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        account_of(change(world(n=30)))


def test_a_group_that_areas_do_not_have_is_refused():
    about = pd.DataFrame({"rural_urban": "urban"}, world(n=30)["area"])
    with pytest.raises(InputError, match=r"no column 'ruralurban'.*rural_urban"):
        account_of(world(n=30), EvaluationSettings(groups=("ruralurban",)), columns=about)
