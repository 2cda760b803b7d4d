"""Sentences and caveats follow the numbers."""

from __future__ import annotations

from textwrap import wrap
from types import SimpleNamespace

import pandas as pd
import pytest

from streetgauge.evaluation import describe_scheme
from streetgauge.report import text as words
from streetgauge.report.text import evaluation, predicted
from streetgauge.settings import FOLD_KINDS, FoldSettings


def account(low=0.5, high=0.9, value=0.7, n=500, over="nearest-areas", **more):
    adds = {
        "over": over,
        "mae": {"value": value, "low": low, "high": high},
        "over_spearman": over,
        "spearman": {"value": 0.1, "low": 0.0, "high": 0.2},
    }
    return {
        "n_areas": n,
        "metrics": {
            "mae": {"value": 1.34, "low": 1.2, "high": 1.5},
            "within_1": {"value": 0.62, "low": 0.6, "high": 0.7},
        },
        "baselines": {"constant": {}, "nearest-areas": {}},
        "gain": adds,
        **more,
    }


SCHEME = describe_scheme(FoldSettings(), 5)
METRICS = {"classes": 10, "folds": 5, "neighbours": 5, "scheme": SCHEME}
LABELS = {"a": "Apples", "b": "Berries"}


def summary(**accounts):
    return words.summary({k: LABELS[k] for k in accounts}, {**METRICS, "outcomes": accounts})


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [
        (None, 2, False, "–"),
        (-0.456, 2, False, "−0.46"),
        (-0.001, 2, True, "0.00"),
        (0.2, 1, True, "+0.2"),
    ],
)
def test_numbers_have_a_real_minus_and_no_signed_zero(value, digits, sign, text):
    assert words.number(value, digits, sign=sign) == text


def test_a_clear_gain_is_called_one_and_others_are_not():
    assert words.gain_direction(account()) == "more"
    assert words.gain_direction(account(low=-0.1, value=0.1)) == "unclear"
    # However little of the interval lies below nothing.
    assert words.gain_direction(account(low=-0.001, value=0.1)) == "unclear"
    assert words.gain_direction(account(low=-0.9, value=-0.7, high=0.001)) == "unclear"
    assert words.gain_direction(account(low=-0.9, value=-0.7, high=-0.5)) == "less"
    assert words.gain_direction(account() | {"gain": None}) == ""


def test_a_finding_says_how_far_off_and_against_what():
    text = words.finding(account(), METRICS)
    assert text.startswith("62% of 500 areas")
    assert "mean absolute error is 1.3 deciles" in text
    assert "0.70 deciles closer than the 5 nearest areas" in text
    worse = words.finding(account(low=-0.9, value=-0.7, high=-0.5, over="constant"), METRICS)
    assert "0.70 deciles further off than the middle decile for every area" in worse
    assert "(interval 0.50 to 0.90)" in worse
    unclear = words.finding(account(low=-0.1, value=0.1, high=0.3), METRICS)
    assert "not clearly better or worse" in unclear
    assert "interval of what they add: −0.10 to +0.30" in unclear


def best_estimate(low: float, over_images: float) -> dict:
    """What `evaluate` gives of a best estimate, as far as sentences need it."""
    gain = {"value": low + 0.2, "low": low, "high": low + 0.4}
    more = {"value": over_images, "low": over_images - 0.1, "high": over_images + 0.1}
    return {
        "from": "images, places",
        "metrics": {"mae": {"value": 1.1, "low": 1.0, "high": 1.2}},
        "gain": {"over": "kriging", "mae": gain},
        "gain_over_images": {"mae": more},
    }


def test_a_finding_ends_with_the_best_estimate_and_whether_it_needs_images():
    clear = words.finding(account() | {"best": best_estimate(0.1, 0.2)}, METRICS)
    best = "The best estimate, from images and places, has a mean absolute error of 1.10 deciles"
    assert f"{best}. That is 0.20 deciles closer than images alone" in clear
    assert "does not need" not in clear
    unclear = words.finding(account() | {"best": best_estimate(-0.1, 0.2)}, METRICS)
    assert unclear.endswith("kriging of the areas around: that images help is not shown.")
    useless = words.finding(account() | {"best": best_estimate(-0.3, -0.2)}, METRICS)
    assert "0.20 deciles further off than images alone" in useless
    assert "It is no better than kriging of the areas around" in useless
    assert useless.endswith("this map does not need images.")


def test_the_summary_counts_the_outcomes():
    less = account(low=-0.9, value=-0.7, high=-0.5)
    assert summary(a=account(), b=account()).startswith("For all 2 outcomes")
    mixed = summary(a=account(), b=less)
    assert "For 1 of 2 outcomes the images come" in mixed
    assert "without images. These are Apples." in mixed
    assert "For Berries the best baseline without images is clearly closer." in mixed
    assert summary(a=less, b=less).startswith("For none of the 2 outcomes")
    assert "clearly closer than" in summary(a=account())
    assert "not known" in summary(a=account() | {"gain": None})


class Study:
    """What caveats look at."""

    def __init__(self, accounts, *, simulated=False, table=None, skips=0):
        self.simulated = simulated
        self.metrics = {**METRICS, "outcomes": accounts}
        empty = pd.DataFrame(columns=["area", "outcome", "fold", "score", "actual_decile"])
        self.table = empty.assign(n_locations=0) if table is None else table
        self.skips = pd.DataFrame({"reason": ["x"] * skips})
        self.provenance = {}
        self.imagery, self.credits = {}, ()


def caveats(*arguments, **more):
    return " ".join(words.caveats(Study(*arguments, **more), LABELS))


def test_random_area_folds_always_carry_their_caveat():
    text = caveats({"a": account()})
    assert "flatters every method" in text
    assert "5-fold cross-validation by area: most of an area’s neighbours" in text
    for other in ("few areas", "no prediction", "locations", "excluded"):
        assert other not in text


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"n": 85}, "few areas to measure with: 85"),
        ({"n_areas_without_prediction": 1}, "1 area of the study has no prediction"),
        ({"n_areas_without_prediction": 12}, "12 areas of the study have no prediction"),
        ({"n_areas_without_actual": 1060}, "not measured: Apples (1,060)"),
        ({"baselines": {"constant": {}}}, "no nearest-areas baseline"),
    ],
)
def test_each_number_calls_for_its_caveat(more, text):
    assert text in caveats({"a": account(**more)})
    assert text not in caveats({"a": account()})


def test_skips_are_counted():
    assert "3 records" in caveats({"a": account()}, skips=3)


def table(shift):
    rows = [
        {"area": f"A{i}", "outcome": "a", "fold": 1 + i % 5, "actual_decile": 1 + i // 10}
        for i in range(100)
    ]
    frame = pd.DataFrame(rows).assign(n_locations=5)
    noise = ((frame.index * 37) % 100 - 50) / 100
    return frame.assign(score=frame["actual_decile"] + noise + shift * (frame["fold"] == 2))


def test_folds_that_disagree_on_the_level_of_scores_are_reported():
    text = caveats({"a": account(spearman_within_folds=0.834)}, table=table(4.0))
    assert "For Apples (Spearman’s ρ within folds 0.83) the networks" in text
    assert "do not agree on the level" in text
    assert "do not agree on the level" not in caveats({"a": account()}, table=table(0.0))


def test_areas_with_few_locations_are_counted():
    few = table(0.0).assign(n_locations=[1, 2] + [5] * 98)
    text = "2 areas of 100 rest on one or two locations"
    assert text in caveats({"a": account()}, table=few)
    # Of images that nobody used there is nothing to report.
    assert text not in caveats({"a": account()}, table=few, simulated=True)


def both(**accounts):
    own = {"outcomes": accounts, "classes": 10, "neighbours": 5, "kind": "random"}
    held = {"description": "spatial block cross-validation (500 m, 5 folds)"}
    return own | {"other_folds": {"kind": "spatial", "outcomes": accounts, "scheme": held}}


def test_it_says_for_how_many_outcomes_the_other_folds_agree():
    labels = {"a": "Income", "b": "Crime"}
    clear, unclear = account(), account(low=-0.2)
    found = words.other_summary(labels, both(a=clear, b=unclear))
    assert found.startswith("With spatial block cross-validation (500 m, 5 folds), they do so")
    assert "for the same 1 of 2. In that test" in found
    fewer = both(a=clear, b=clear) | {"other_folds": both(a=clear, b=unclear)["other_folds"]}
    assert "for 1 of 2 (Income)" in words.other_summary(labels, fewer)
    assert "most neighbours of an area are held out" in found
    assert "for none of 2. In that test" in words.other_summary(labels, both(a=unclear, b=unclear))
    none = both(a=clear, b=clear) | {"other_folds": both(a=unclear, b=unclear)["other_folds"]}
    assert "for none of 2. In that test" in words.other_summary(labels, none)
    assert "for all 2." in words.other_summary(labels, both(a=clear, b=clear))
    assert "they do so." in words.other_summary({"a": "Income"}, both(a=clear))
    assert words.other_summary(labels, {"outcomes": {"a": clear}}) == ""
    assert words.other_summary(labels, both(a=account() | {"gain": None})) == ""


def test_gains_of_all_outcomes_lie_on_one_line_from_the_lowest_to_the_highest_end():
    cells = {
        ("spatial", "income"): {"low": 0.5, "value": 1.0, "high": 3.0},
        ("spatial", "health"): {"low": -1.0, "value": 0.0, "high": 1.0},
        ("spatial", "crime"): {"low": None, "value": None, "high": None},
    }
    assert evaluation.gains(cells) == {
        ("spatial", "income"): {"zero": 25.0, "low": 37.5, "value": 50.0, "high": 100.0},
        ("spatial", "health"): {"zero": 25.0, "low": 0.0, "value": 25.0, "high": 50.0},
    }


def compared(name, mae, spearman):
    """An outcome with one plainer learner; gains are those of images alone."""
    ends = ("value", "low", "high")
    gain = {m: dict(zip(ends, v, strict=True)) for m, v in (("mae", mae), ("spearman", spearman))}
    return account(with_images={name: {"mae": 1.0, "gain": gain}})


@pytest.mark.parametrize(
    ("mae", "spearman", "named"),
    [
        ((-0.3, -0.4, -0.2), (0.0, -0.1, 0.1), True),
        ((-0.3, -0.4, 0.0), (-0.1, -0.2, -0.05), False),  # the MAE is not clearly lower
        ((-0.3, -0.4, -0.2), (0.1, 0.05, 0.2), False),  # but the order is clearly worse
        ((-0.3, None, None), (0.0, None, None), False),
        ((-0.3, -0.4, -0.2), (None, None, None), True),
    ],
)
def test_a_plainer_learner_is_better_by_its_mae_unless_rho_contradicts(mae, spearman, named):
    metrics = {**METRICS, "outcomes": {"a": compared("linear", mae, spearman)}}
    assert bool(words.plainer(metrics, LABELS)) == named


def test_of_a_plainer_learner_that_uses_places_the_best_estimate_is_named_and_no_setting():
    found = compared("linear-and-kriging", (-0.3, -0.4, -0.2), (0.0, -0.1, 0.1))
    random, spatial = ({**METRICS, "kind": k, "outcomes": {"a": found}} for k in FOLD_KINDS)
    sentence = words.plainer({**random, "other_folds": spatial}, LABELS, "ridge")
    assert sentence == [
        "The study’s learner (ridge) errs clearly more on images than "
        "linear-and-kriging (with places), by 0.30 deciles for Apples in random and spatial folds. "
        "Like the best estimate, linear-and-kriging uses places as well as images."
    ]


def test_the_learner_in_use_is_not_what_is_to_be_tried():
    found = compared("linear", (-0.3, -0.4, -0.2), (0.0, -0.1, 0.1))
    (sentence,) = words.plainer({**METRICS, "outcomes": {"a": found}}, LABELS, "ridge")
    assert sentence.endswith(
        '(linear), by 0.30 deciles for Apples in these folds. Try learner = "kernel" under [train].'
    )


def test_a_learner_that_is_better_for_one_outcome_and_worse_on_average_is_not_named():
    lower, higher = (-0.1, -0.2, -0.05), (0.2, 0.1, 0.3)
    outcomes = {
        name: compared("kernel", gain, (0.0, -0.1, 0.1))
        for name, gain in (("a", lower), ("b", higher))
    }
    assert words.plainer({**METRICS, "outcomes": outcomes}, LABELS, "stack") == []
    outcomes["b"] = compared("kernel", (0.0, -0.1, 0.1), (0.0, -0.1, 0.1))
    (sentence,) = words.plainer({**METRICS, "outcomes": outcomes}, LABELS, "stack")
    assert sentence == (
        "The study’s learner (stack) errs clearly more on images than "
        "Gaussian processes alone (kernel), by 0.10 deciles for Apples in these folds. "
        'Try learner = "kernel" under [train].'
    )


def test_of_a_ridge_and_its_yardstick_one_is_named():
    gain = (-0.1, -0.2, -0.05), (0.0, -0.1, 0.1)
    both = [compared(each, *gain)["with_images"] for each in ("ridge", "linear")]
    outcomes = {"a": account(with_images=both[0] | both[1])}
    (sentence,) = words.plainer({**METRICS, "outcomes": outcomes}, LABELS, "stack")
    assert "(linear)" not in sentence
    assert 'Try learner = "ridge" under' in sentence
    # What was measured and is no better is not what is to be tried.
    alike = (0.0, -0.1, 0.1), (0.0, -0.1, 0.1)
    for each in ("kernel", "ridge"):
        outcomes["a"]["with_images"][each] = compared(each, *alike)["with_images"][each]
    (sentence,) = words.plainer({**METRICS, "outcomes": outcomes}, LABELS, "stack")
    assert sentence.endswith("in these folds. No other learner of [train] is clearly better.")
    assert "(linear), by 0.10 deciles for Apples" in sentence


def test_of_many_outcomes_the_note_on_plainer_learners_takes_three_lines():
    names = {n: f"Welsh Index of Multiple Deprivation 2019, {n}" for n in "abcde"}
    gains = {n: (-0.2 - i / 10, -0.9, -0.1) for i, n in enumerate(names)}
    outcomes = {}
    for name, gain in gains.items():
        both = [compared(each, gain, (0.0, -0.1, 0.1)) for each in ("linear", "linear-and-kriging")]
        outcomes[name] = both[0] | {"with_images": both[0]["with_images"] | both[1]["with_images"]}
    spatial = {**METRICS, "kind": "spatial", "outcomes": outcomes}
    (sentence,) = words.plainer({**spatial, "kind": "random", "other_folds": spatial}, names)
    assert (
        "(linear), by 0.20 to 0.60 deciles for all 5 outcomes in random and spatial folds."
        in sentence
    )
    assert "(with places), by 0.20 to 0.60 there. Try" in sentence
    assert sentence.count("learner = ") == 1
    assert len(wrap(f"NOTE: {sentence}", 100)) <= 3
    for outcome in "abc":  # now their outcomes differ
        del outcomes[outcome]["with_images"]["linear"]
    fewer = {**spatial, "outcomes": {n: outcomes[n] for n in "abcd"}}
    (sentence,) = words.plainer({**spatial, "kind": "random", "other_folds": fewer}, names)
    assert "for all 5 outcomes in random or spatial folds" in sentence
    assert f"(linear), by 0.50 to 0.60 deciles for {names['d']} and {names['e']} in" in sentence


def test_areas_without_a_prediction_are_no_skipped_locations_of_a_predicted_city():
    skips = [("L1", "features"), ("L1", "features"), ("L2", "locations"), ("", "areas")]
    city = SimpleNamespace(
        skips=pd.DataFrame(skips, columns=["location_id", "stage"]),
        table=pd.DataFrame({"area": ["A", "A", "B"]}),
        locations=["L3"] * 1200,
        bundle={"outcomes": ["income", "crime"]},
    )
    assert dict(predicted.counts(city)) == {
        "areas with a prediction": "2",
        "locations predicted": "1,200",
        "locations skipped": "2",
        "outcomes": "2",
    }
