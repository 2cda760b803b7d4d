"""What training and test share is counted, excluded and stated, from study.toml to the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from small_worlds import change

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def study(grid_writer: Callable[..., Path], tmp_path: Path) -> Path:
    """Give a world of 25 areas in which three locations have the images of areas 12 and 13."""
    place = grid_writer(tmp_path / "grid", side=5, per_area=4)
    features = pd.read_csv(place / "features.csv").set_index(["place", "view"])
    columns = ["f0", "f1", "f2", "f3"]
    # Chance alone, so that no column knows an outcome.
    rng = np.random.default_rng(0)
    features[["f0", "f1"]] += rng.normal(scale=4, size=(len(features), 1)).round(4)
    for copy, original in (("P00000", "P00050"), ("P00004", "P00051")):
        features.loc[(copy, 1), columns] = features.loc[(original, 1), columns].to_numpy()
    features.loc["P00001", columns] = features.loc["P00052", columns].to_numpy()
    features.reset_index().to_csv(place / "features.csv", index=False)
    change(place, 'learner = "network"', 'learner = "ridge"')
    change(place, "k = 3", "k = 3\nother_folds = false\nfinal = false")
    return place


def test_shared_images_are_counted_excluded_and_stated(study: Path, run: Run) -> None:
    code, out, err = run("run", study)
    assert code == 0, err
    leaks = json.loads((study / "metrics.json").read_text(encoding="utf-8"))["leaks"]
    folds = pd.read_parquet(study / "folds.parquet").set_index("location_id")["fold"]
    pairs = [("P00000", "P00050"), ("P00004", "P00051"), ("P00001", "P00052")]
    apart = [pair for pair in pairs if folds[pair[0]] != folds[pair[1]]]
    assert len(apart) >= 2  # a world that shows something
    assert (leaks["tested"], leaks["either"]) == (100, 2 * len(apart))
    assert (leaks["vectors"], leaks["images"], leaks["coordinates"]) == (2 * len(apart), 0, 0)
    views = 2 * sum(1 + (pair[0] == "P00001") for pair in apart)
    assert leaks["training_shared"] == views
    assert leaks["message"] in " ".join(out.split("NOTE: ")[1].split())
    assert leaks["message"] in (study / "report.html").read_text(encoding="utf-8")
    assert leaks["message"] in " ".join(run("run", study, "-q")[1].split())
    splits = pd.read_parquet(study / "splits.parquet")
    gone = splits[splits["reason"] == "all of its images stand in the test part as well"]
    both = {"P00001", "P00052"}
    assert set(gone["location_id"]) == (both if ("P00001", "P00052") in apart else set())


def test_shared_images_that_are_allowed_flatter_and_change_what_is_predicted(
    study: Path, run: Run
) -> None:
    run("run", study)
    before = pd.read_parquet(study / "predictions.parquet")
    change(study, "other_folds = false", 'other_folds = false\nshared_images = "allow"')
    code, out, err = run("run", study)
    assert code == 0, err
    assert "these figures may flatter: set shared_images" in " ".join(out.split())
    assert not pd.read_parquet(study / "splits.parquet")["reason"].notna().any()
    after = pd.read_parquet(study / "predictions.parquet")
    assert not np.allclose(before["score"], after["score"])


def test_an_outcome_among_the_features_is_named_on_the_screen_and_in_the_report(
    study: Path, run: Run
) -> None:
    features = pd.read_csv(study / "features.csv")
    income = pd.read_csv(study / "outcomes.csv")["income"]
    features["f2"] = income[features["place"].str[1:].astype(int) // 4].to_numpy()
    features.to_csv(study / "features.csv", index=False)
    checked = run("check", study)[2]
    code, out, err = run("run", study)
    assert code == 0, err
    sentence = "Feature column 3 (f2) of features.csv puts areas in the order of Household income"
    assert sentence in " ".join(out.split())
    assert sentence in checked
    assert sentence in (study / "report.html").read_text(encoding="utf-8")
    (leak,) = json.loads((study / "metrics.json").read_text(encoding="utf-8"))["feature_leaks"]
    assert (leak["kind"], leak["column"], leak["spearman"]) == ("value", 3, pytest.approx(1))


def test_locations_that_share_features_with_another_area_are_counted_before_a_run(
    study: Path, run: Run
) -> None:
    code, _, err = run("check", study)
    assert code == 0, err
    assert "leaks: 6 of 100 locations have features in common with another area" in err
    change(study, "k = 3", 'k = 3\nshared_images = "allow"')
    assert 'shared_images = "allow" under [folds]' in run("check", study)[2]
