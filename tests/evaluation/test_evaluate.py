"""metrics.json in worlds whose answers are known."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from small_worlds import nearest
from streetgauge.errors import InputError
from streetgauge.evaluation import (
    METRICS,
    EvaluationInputs,
    aggregate,
    equal_count,
    evaluate,
    intervals,
)
from streetgauge.evaluation.aggregate import cut
from streetgauge.evaluation.baselines import BaselinePrediction, Baselines
from streetgauge.report.text import plainer
from streetgauge.settings import EvaluationSettings

SETTINGS = EvaluationSettings(draws=200)


class Nearby(Baselines):
    """The nearest areas and nothing else, with a method that looks at images and is perfect."""

    def __init__(self, place):
        super().__init__()
        self.place = place

    def predict(self, outcome, frame, *, classes=10, counts=None, training_areas=None):
        actual = frame["actual_decile"]
        score = nearest(actual, frame["fold"], self.place, training_areas=training_areas)
        near = pd.Series(cut(score.to_numpy(), classes, counts), actual.index, dtype="Int64")
        return {
            "nearest-areas": BaselinePrediction(near, near.astype(float)),
            "all-knowing": BaselinePrediction(
                actual.fillna(5), actual.fillna(5).astype(float), uses_images=True
            ),
        }


def city(n=400, noise=1.0, smooth=0.0, seed=0, outcomes=("income",), folds=5):
    """Areas with a latent that is partly smooth in space; two locations an area that see it."""
    rng = np.random.default_rng(seed)
    areas = np.array([f"A{i:04d}" for i in range(n)])
    place = pd.DataFrame(rng.uniform(0, 1e4, (n, 2)), areas, columns=["x", "y"])
    fold = rng.integers(1, folds + 1, n)
    frames, best = [], {"location_id": [f"L{i:05d}" for i in range(2 * n)]}
    for name in outcomes:
        latent = smooth * np.sin(place["x"].to_numpy() / 2e3) + rng.normal(size=n)
        seen = np.repeat(latent, 2)
        best[name] = seen + rng.normal(0, 0.1, 2 * n)
        frames.append(
            pd.DataFrame(
                {
                    "location_id": best["location_id"],
                    "area": np.repeat(areas, 2),
                    "fold": np.repeat(fold, 2),
                    "outcome": name,
                    "score": seen + rng.normal(0, noise, 2 * n),
                    "actual_decile": pd.array(np.repeat(equal_count(latent), 2), dtype="Int64"),
                }
            )
        )
    return pd.concat(frames, ignore_index=True), place, pd.DataFrame(best)


def account_of(rows, place, **more):
    frame = intervals(aggregate(rows))
    return evaluate(frame, SETTINGS, seed=1, inputs=EvaluationInputs(place, **more))["outcomes"][
        "income"
    ]


def test_it_is_json_with_everything_that_was_promised():
    predictions, place, best = city(outcomes=("income", "crime"))
    frame = intervals(aggregate(predictions))
    found = evaluate(
        frame,
        SETTINGS,
        seed=1,
        inputs=EvaluationInputs(place, oracle=best, predictions=predictions),
    )
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["format_version"], found["classes"], found["folds"]) == (2, 10, 5)
    assert found["scheme"]["description"] == "5-fold cross-validation by area"
    assert set(found["outcomes"]) == {"income", "crime"}
    account = found["outcomes"]["income"]
    assert account["n_areas"] == 400
    assert account["n_locations"] == 800
    assert np.sum(account["confusion"]) == 400
    for measured in (account["metrics"], account["oracle"]):
        for metric in METRICS:
            each = measured[metric]
            assert each["low"] <= each["value"] <= each["high"]
    assert set(account["baselines"]) >= {"constant", "nearest-areas"}


def test_images_that_see_the_latent_beat_what_has_no_image():
    account = account_of(*city(noise=0.5)[:2])
    adds = account["gain"]
    assert adds["mae"]["low"] > 0.5
    # Place tells nothing in this city, so the best baseline is the middle.
    assert adds["over"] == "constant"
    assert adds["spearman"]["low"] > 0.5


def test_images_that_see_nothing_add_nothing():
    account = account_of(*city(noise=100.0, smooth=8.0)[:2])
    assert account["gain"]["over"] in ("nearest-areas", "kriging")
    assert account["gain"]["mae"]["high"] < 0
    assert account["gain"]["spearman"]["high"] < 0


def test_the_difference_is_that_of_the_two_values():
    account = account_of(*city()[:2])
    adds, base = account["gain"], account["baselines"]
    expected = base[adds["over"]]["mae"] - account["metrics"]["mae"]["value"]
    assert adds["mae"]["value"] == pytest.approx(expected)


def test_a_pair_that_always_agrees_differs_by_exactly_nothing():
    predictions, place, _ = city(smooth=5.0)
    frame = aggregate(predictions)
    # The images say what the nearest areas say: unpaired draws would give an interval.
    rows = frame.set_index("area")
    rows["decile"] = cut(nearest(rows["actual_decile"], rows["fold"], place))
    found = evaluate(
        rows.reset_index(),
        SETTINGS,
        seed=1,
        baselines=Nearby(place),
        inputs=EvaluationInputs(place),
    )
    adds = found["outcomes"]["income"]["gain"]
    assert adds["over"] == "nearest-areas"
    assert adds["mae"] == adds["spearman"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_the_constant_baseline_has_no_correlation():
    constant = account_of(*city()[:2])["baselines"]["constant"]
    assert constant["mae"] == pytest.approx(2.5, abs=0.1)
    assert constant["spearman"] is constant["pearson"] is constant["kendall"] is None


def test_the_oracle_bounds_the_share_of_the_possible():
    predictions, place, best = city(noise=1.0)
    account = account_of(predictions, place, oracle=best, predictions=predictions)
    oracle = account["oracle"]
    assert oracle["spearman"]["value"] > 0.97
    share = account["metrics"]["spearman"]["value"] / oracle["spearman"]["value"]
    assert oracle["share_of_attainable"]["spearman"] == pytest.approx(share)
    assert 0 < oracle["share_of_attainable"]["mae"] < 1


def test_predictions_as_good_as_the_oracle_reach_all_that_is_possible():
    predictions, place, best = city()
    predictions["score"] = predictions["location_id"].map(best.set_index("location_id")["income"])
    account = account_of(predictions, place, oracle=best, predictions=predictions)
    assert set(account["oracle"]["share_of_attainable"].values()) == {1.0}


def test_predictions_in_the_wrong_order_have_no_share_of_what_is_attainable():
    predictions, place, best = city()
    truth = predictions["location_id"].map(best.set_index("location_id")["income"])
    wrong = predictions.assign(score=-truth)
    account = account_of(wrong, place, oracle=best, predictions=wrong)
    assert account["metrics"]["spearman"]["value"] < 0
    assert account["oracle"]["share_of_attainable"]["spearman"] is None
    assert account["oracle"]["share_of_attainable"]["mae"] is None


def test_areas_that_the_model_knew_have_no_share_of_what_is_attainable():
    predictions, place, best = city(noise=1.0)
    known = {"oracle": best, "predictions": predictions, "scheme": {"known_areas": 3}}
    account = account_of(predictions, place, **known)
    assert account["oracle"]["share_of_attainable"] == {}
    assert account["oracle"]["spearman"]["value"] > 0.97


def test_rho_within_folds_does_not_see_that_folds_are_on_different_scales():
    predictions, place, _ = city(noise=0.5)
    plain = account_of(predictions, place)
    shifted = account_of(predictions.assign(score=lambda f: f["score"] + 9 * f["fold"]), place)
    # Within a fold areas are in the same order, but in only two deciles instead of ten.
    assert shifted["metrics"]["spearman"]["value"] < 0.3
    assert shifted["spearman_within_folds"] > 0.75
    rho = plain["metrics"]["spearman"]["value"]
    assert plain["spearman_within_folds"] == pytest.approx(rho, abs=0.03)


def test_an_oracle_that_lacks_locations_is_compared_on_the_areas_that_it_knows():
    predictions, place, best = city()
    account = account_of(predictions, place, oracle=best.iloc[:200], predictions=predictions)
    assert account["oracle"]["n_areas"] == 100
    assert account["n_areas"] == 400


def test_the_order_of_rows_does_not_matter():
    predictions, place, best = city(outcomes=("income", "crime"))
    frame = intervals(aggregate(predictions))
    one = evaluate(
        frame,
        SETTINGS,
        seed=1,
        inputs=EvaluationInputs(place, oracle=best, predictions=predictions),
    )
    two = evaluate(
        frame.sample(frac=1, random_state=1),
        SETTINGS,
        seed=1,
        inputs=EvaluationInputs(
            place.sample(frac=1, random_state=2),
            oracle=best.sample(frac=1, random_state=3),
            predictions=predictions.sample(frac=1, random_state=4),
        ),
    )
    assert one == two


def test_an_outcomes_figures_do_not_depend_on_the_other_outcomes():
    predictions, place, _ = city(outcomes=("income", "crime"))
    frame = intervals(aggregate(predictions))
    alone = evaluate(
        frame[frame["outcome"] == "crime"], SETTINGS, seed=1, inputs=EvaluationInputs(place)
    )
    together = evaluate(frame, SETTINGS, seed=1, inputs=EvaluationInputs(place))
    assert alone["outcomes"]["crime"] == together["outcomes"]["crime"]


def test_missing_labels_and_missing_areas_are_counted():
    predictions, place, _ = city(n=100)
    predictions.loc[predictions["area"] == "A0005", "actual_decile"] = pd.NA
    left = predictions[predictions["area"] != "A0007"]
    account = account_of(left, place, study_areas=place.index)
    assert account["n_areas"] == 98
    assert account["n_areas_without_actual"] == 1
    assert account["n_areas_without_prediction"] == 1


def test_without_coordinates_no_baseline_uses_coordinates():
    predictions, _, _ = city()
    found = account_of(predictions, None)["baselines"]
    assert "constant" in found
    assert not {"nearest-areas", "kriging"} & set(found)


def test_with_one_fold_there_is_no_baseline_and_it_says_none():
    predictions, place, _ = city(folds=1)
    account = account_of(predictions, place)
    assert account["baselines"] == {}
    assert account["gain"] is None


def test_an_outcome_without_any_actual_decile_has_no_figures():
    predictions, place, _ = city(n=50)
    predictions["actual_decile"] = pd.array([pd.NA] * len(predictions), dtype="Int64")
    account = account_of(predictions, place)
    assert account["n_areas"] == 0
    assert account["metrics"]["mae"] == {"value": None, "low": None, "high": None}
    assert json.dumps(account, allow_nan=False)


def test_constant_predictions_are_measured_without_a_warning(recwarn):
    predictions, place, _ = city(n=50)
    account = account_of(predictions.assign(score=0.5), place)
    assert account["metrics"]["spearman"]["value"] is None
    assert account["metrics"]["mae"]["value"] > 0
    assert not recwarn.list


def test_the_areas_intervals_are_checked_against_their_promise():
    held = account_of(*city(n=1000)[:2])["intervals"]
    assert held["level"] == 0.9
    assert held["share"] >= 0.88
    assert 1 <= held["mean_width"] <= 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda o: o.rename(columns={"location_id": "id"}), "no column 'location_id'"),
        (lambda o: pd.concat([o, o.iloc[:1]]), "'L00000' appears more than once"),
        (lambda o: o.rename(columns={"income": "wealth"}), "no outcome of the study"),
    ],
)
def test_an_oracle_that_cannot_be_used_is_refused(change, words):
    predictions, place, best = city(n=50)
    with pytest.raises(InputError, match=words):
        account_of(predictions, place, oracle=change(best), predictions=predictions)


class Linear(Baselines):
    """One plainer learner on images, that is as far off the latent as it is asked to be."""

    def __init__(self, deciles):
        super().__init__()
        self.deciles = deciles

    def predict(self, outcome, frame, *, classes=10, counts=None, training_areas=None):
        known = self.deciles.reindex(frame.index).astype("Int64")
        return {"linear": BaselinePrediction(known, known.astype(float), uses_images=True)}


def compared_with_linear(noise):
    """Evaluate a learner with noise 1 next to a plainer one with the given noise."""
    predictions, place, _ = city(noise=1.0)
    plainer = city(noise=noise)[0].groupby("area")["score"].mean()
    found = evaluate(
        intervals(aggregate(predictions)),
        SETTINGS,
        seed=1,
        baselines=Linear(pd.Series(equal_count(plainer), plainer.index)),
        inputs=EvaluationInputs(place),
    )
    return found["outcomes"]["income"], found


@pytest.mark.parametrize(("noise", "better"), [(0.3, True), (1.0, False), (3.0, False)])
def test_a_plainer_learner_that_is_clearly_better_is_named_and_others_are_not(noise, better):
    account, metrics = compared_with_linear(noise)
    own, other = account["metrics"], account["with_images"]["linear"]
    gain = other["gain"]
    assert gain["mae"]["value"] == pytest.approx(other["mae"] - own["mae"]["value"])
    assert gain["spearman"]["value"] == pytest.approx(own["spearman"]["value"] - other["spearman"])
    assert other["mae_interval"]["low"] < other["mae"] < other["mae_interval"]["high"]
    assert (gain["mae"]["high"] < 0) == (gain["spearman"]["high"] < 0) == better
    sentences = plainer({**metrics, "kind": "random"}, {"income": "Income"}, "network")
    assert len(sentences) == better
    if better:
        figures = f", by {-gain['mae']['value']:.2f} deciles for Income in random folds"
        assert figures in sentences[0].replace("\u00a0", " ").replace("\u202f", " ")
        assert 'learner = "ridge" or "kernel"' in sentences[0]


def test_other_learners_of_the_images_are_evaluated_as_the_mapped_one_is():
    predictions, place, _ = city(noise=1.0)
    better = city(noise=0.3)[0]["score"]
    given = predictions.assign(score_network=predictions["score"], score_kernel=better)
    areas = aggregate(given, further=["score_network", "score_kernel"])
    inputs = EvaluationInputs(place)
    metrics = evaluate(intervals(areas), SETTINGS, seed=1, inputs=inputs)
    account = metrics["outcomes"]["income"]
    assert list(account["with_images"]) == ["network", "kernel"]
    same, other = account["with_images"].values()
    assert same["mae"] == account["metrics"]["mae"]["value"]
    assert same["gain"]["spearman"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    alone = evaluate(
        intervals(aggregate(predictions.assign(score=better))), SETTINGS, seed=1, inputs=inputs
    )["outcomes"]["income"]
    assert other["spearman"] == alone["metrics"]["spearman"]["value"]
    assert other["gain"]["mae"]["high"] < 0
    (sentence,) = plainer({**metrics, "kind": "random"}, {"income": "Income"}, "stack")
    assert 'Try learner = "kernel" under [train].' in sentence
    # Where areas were not held out as a whole, nothing is compared.
    split = intervals(areas.assign(fold=areas["fold"].where(areas["area"] != areas["area"][0], 0)))
    leaking = evaluate(split, SETTINGS, seed=1, inputs=inputs)["outcomes"]["income"]
    assert leaking["with_images"] == {}


def test_a_pair_of_learners_that_agree_differs_by_exactly_nothing():
    same = compared_with_linear(1.0)[0]["with_images"]["linear"]["gain"]
    assert same["mae"] == same["spearman"] == {"value": 0.0, "low": 0.0, "high": 0.0}
