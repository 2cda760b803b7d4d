"""Features that know an outcome, and copied areas, are named; features of images are not."""

from __future__ import annotations

import numpy as np
import pandas as pd

from streetgauge.evaluation.leaks import feature_leaks, shared_images

AREAS = pd.Index([f"A{i:03d}" for i in range(120)], name="area")


def world(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give features of which two know each outcome at rho .7 or so, as images may."""
    rng = np.random.default_rng(seed)
    values = pd.DataFrame(rng.normal(size=(120, 2)), AREAS, ["Income", "Crime"])
    features = rng.normal(size=(120, 30))
    features[:, :2] += values.to_numpy()
    return pd.DataFrame(features, AREAS), values


def test_features_that_agree_with_an_outcome_as_images_do_are_no_leak() -> None:
    for seed in range(20):
        assert feature_leaks(*world(seed), "features.csv") == []


def test_an_outcomes_own_value_among_the_features_is_named_by_its_column() -> None:
    features, values = world()
    features[11] = -np.exp(values["Crime"])  # any monotone function of it
    (leak,) = feature_leaks(features, values, "t.csv", [f"f{i}" for i in range(30)])
    assert (leak["kind"], leak["outcome"], leak["column"]) == ("value", "Crime", 12)
    assert leak["spearman"] == -1
    assert leak["message"].startswith("Feature column 12 (f11) of t.csv puts areas in the order of")
    assert "remove this column" in leak["message"]


def test_a_feature_that_knows_an_outcome_too_well_is_named() -> None:
    features, values = world()
    features[4] = values["Income"] + np.random.default_rng(1).normal(0, 0.25, 120)
    features[5] = features[4] + np.random.default_rng(2).normal(0, 0.05, 120)
    (leak,) = feature_leaks(features, values, "resnet")
    assert (leak["kind"], leak["outcome"], leak["n_columns"]) == ("feature", "Income", 2)
    assert 0.9 < leak["spearman"] < 0.999
    assert leak["column"] in (5, 6)
    assert "and 1 more over 0.9" in leak["message"]


def test_an_outcome_that_is_spread_over_many_features_is_found_as_a_component() -> None:
    rng = np.random.default_rng(3)
    _, values = world()
    # No column has a rho over .9 by itself.
    spread = values["Crime"].to_numpy()[:, None] + rng.normal(size=(120, 40))
    (leak,) = feature_leaks(pd.DataFrame(spread, AREAS), values, "resnet")
    assert (leak["kind"], leak["outcome"], leak["column"]) == ("component", "Crime", 1)
    assert "Principal component 1 of resnet" in leak["message"]


def test_of_few_areas_and_many_features_chance_is_no_leak() -> None:
    rng = np.random.default_rng(4)
    few = AREAS[:9]
    features = pd.DataFrame(rng.normal(size=(9, 4000)), few)
    values = pd.DataFrame({"Income": rng.normal(size=9)}, few)
    assert features.corrwith(values["Income"], method="spearman").abs().max() > 0.9
    assert feature_leaks(features, values, "resnet") == []


def test_areas_without_a_value_and_constant_features_count_nothing() -> None:
    features, values = world()
    features[7] = 1.0
    features[8] = values["Income"]
    values.loc[AREAS[:30], "Income"] = np.nan
    (leak,) = feature_leaks(features, values, "t.csv")
    assert leak["column"] == 9
    values["Income"] = np.nan
    assert feature_leaks(features, values, "t.csv") == []
    assert feature_leaks(features.iloc[:0], values, "t.csv") == []


def test_areas_with_the_features_of_another_are_counted_unless_they_are_coarse() -> None:
    features, values = world()
    features.loc["A007"] = features.loc["A070"]
    features.loc["A008"] = features.loc["A070"]
    (leak,) = feature_leaks(features, values, "t.csv")
    assert (leak["kind"], leak["n_areas"]) == ("copies", 3)
    assert "(A007 and A008)" in leak["message"]
    assert feature_leaks(features.iloc[:, :2].round(), values, "t.csv") == []


def counts(**changes: int) -> dict[str, int]:
    names = ("images", "vectors", "either", "coordinates", "training_shared")
    plain = {"fold": 1, "tested": 50, "training_views": 200}
    return {**plain, **dict.fromkeys(names, 0), **changes}


def test_what_is_shared_is_summed_over_folds_and_stated_with_what_was_done() -> None:
    folds = [counts(vectors=3, either=4, images=1, training_shared=6), counts(fold=2)]
    found = shared_images(folds, "exclude")
    assert found is not None
    assert (found["tested"], found["either"], found["training_shared"]) == (100, 4, 6)
    assert found["message"] == (
        "4 of 100 tested locations (4.0%) have an image, or its features, in common with the "
        "training part of their fold; 1.5% of the training views are excluded for that."
    )
    allowed = shared_images(folds, "allow")
    assert allowed is not None
    assert 'these figures may flatter: set shared_images = "exclude"' in allowed["message"]
    placed = shared_images([counts(coordinates=5)], "exclude")
    assert placed is not None
    assert placed["message"].startswith("5 of 50 tested locations (10.0%) have the coordinates of")


def test_nothing_shared_has_no_message_and_nothing_counted_no_entry() -> None:
    found = shared_images([counts()], "exclude")
    assert found is not None
    assert found["message"] is None
    assert shared_images(None, "exclude") is None
