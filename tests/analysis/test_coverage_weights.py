"""Areas that have images stand for those that have none, in training and in what is reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from small_worlds import add_columns, change
from streetgauge.analysis.coverage_weights import (
    compare_weighting,
    effective_number,
    inverse_probability,
)
from streetgauge.errors import InputError
from streetgauge.io.files import read_table
from streetgauge.model import fit_learner
from streetgauge.model.crossvalidation import cross_validate
from streetgauge.model.training_data import TrainingData
from streetgauge.settings import FoldSettings, TrainSettings
from streetgauge.splits import Split, make_splits

Run = Callable[..., tuple[int, str, str]]
LEARNERS = ("ridge", "kernel", "network", "stack")


def codes(n: int) -> pd.Index:
    return pd.Index([f"E{i:05d}" for i in range(n)], dtype="str", name="area")


# --- the weights ----------------------------------------------------------------------------------


def test_weights_give_each_group_its_part_of_all_areas() -> None:
    """A tenth of the rural areas have images and nine tenths of the urban ones: 9 to 1."""
    areas = codes(2_000)
    kind = pd.Series(np.where(np.arange(2_000) % 2, "urban", "rural"), areas)
    has = pd.Series(
        np.where(kind == "urban", np.arange(2_000) % 20 != 1, np.arange(2_000) % 20 == 0), areas
    )
    weight = inverse_probability(has, kind.to_frame("kind"))
    assert weight.index.equals(areas[has.to_numpy()])
    by_kind = weight.groupby(kind.reindex(weight.index)).sum()
    assert by_kind["rural"] == pytest.approx(by_kind["urban"], rel=0.05)
    assert weight.mean() == pytest.approx(1)


def test_a_covariate_s_weighted_mean_is_that_of_all_areas() -> None:
    rng = np.random.default_rng(1)
    areas = codes(5_000)
    density = pd.Series(rng.normal(size=5_000), areas)
    has = pd.Series(rng.random(5_000) < 1 / (1 + np.exp(-density - 0.5)), areas)
    weight = inverse_probability(has, density.to_frame("density"))
    of_covered = density.reindex(weight.index)
    assert of_covered.mean() > 0.3
    assert abs(np.average(of_covered, weights=weight)) < 0.06


def test_columns_that_distinguish_nothing_give_weights_of_exactly_one() -> None:
    areas = codes(40)
    has = pd.Series(np.arange(40) < 25, areas)
    assert set(inverse_probability(has, pd.DataFrame({"kind": "same"}, areas))) == {1.0}
    everywhere = pd.Series(True, areas)
    numbers = pd.DataFrame({"density": np.arange(40.0)}, areas)
    assert set(inverse_probability(everywhere, numbers)) == {1.0}


def test_missing_numbers_and_missing_groups_are_groups_of_their_own() -> None:
    areas = codes(400)
    unknown = np.arange(400) < 200
    has = pd.Series(~unknown | (np.arange(400) % 4 == 0), areas)
    for column in (np.where(unknown, np.nan, 3.0), np.where(unknown, None, "urban")):
        weight = inverse_probability(has, pd.DataFrame({"column": column}, areas))
        assert weight["E00000"] / weight["E00399"] == pytest.approx(4, rel=0.1)


def test_no_area_has_a_weight_beyond_the_last_percentile() -> None:
    areas = codes(1_000)
    density = pd.Series(np.arange(1_000) / 100, areas)
    has = pd.Series(density > 5, areas)
    has.iloc[3] = True  # which alone would count as much as hundreds
    weight = inverse_probability(has, density.to_frame("density"))
    assert weight.iloc[0] == weight.nlargest(5).iloc[-1]


def test_the_effective_number_is_all_areas_only_if_all_count_the_same() -> None:
    assert effective_number(np.full(50, 0.3)) == pytest.approx(50)
    assert effective_number([1, 0, 0]) == pytest.approx(1)


# --- training -------------------------------------------------------------------------------------


def two_kinds(n: int = 500, seed: int = 5) -> tuple[TrainingData, Split, np.ndarray, np.ndarray]:
    """Make a world in which images mean the reverse in rural areas, most of which have none.

    Four of five areas are rural; their decile rises with the feature, that of urban areas falls.
    One rural area in ten has images, and every urban one.

    Returns
    -------
    data, split (all covered areas are trained on), weights of the locations, features to predict
    """
    rng = np.random.default_rng(seed)
    rural = np.arange(n) % 5 != 0
    x = rng.normal(size=n)
    value = np.where(rural, x, -x) + 0.1 * rng.normal(size=n)
    decile = value.argsort().argsort() * 10 // n + 1.0
    has = ~rural | (rng.random(n) < 0.1)
    kind = pd.DataFrame({"kind": np.where(rural, "rural", "urban")}, codes(n))
    weights = inverse_probability(pd.Series(has, kind.index), kind)
    area = np.repeat(np.flatnonzero(has), 3)
    features = rng.normal(0, 0.3, (len(area), 1, 4)).astype(np.float32)
    features[:, 0, 0] += x[area]
    names = np.asarray(kind.index)[area]
    ids = np.array([f"L{i:05d}" for i in range(len(area))])
    present = np.ones((len(area), 1), np.bool_)
    data = TrainingData(features, present, decile[area][:, None], names, ids, ["income"])
    (split,) = make_splits(FoldSettings(scheme="train-only"), data.areas, data.deciles, seed=1)
    query = np.zeros((2, 1, 4), np.float32)
    query[:, 0, 0] = (-1.5, 1.5)
    return data, split, weights.reindex(names).to_numpy(float), query


@pytest.mark.parametrize("learner", LEARNERS)
def test_weights_repair_what_missing_areas_make_wrong_for_every_learner(learner: Any) -> None:
    data, split, weight, query = two_kinds()
    settings = TrainSettings(learner=learner, ensemble_size=2, epochs=40, batch=32, device="cpu")
    rises = []
    for own in (None, weight):
        model, _ = fit_learner(replace(data, sample_weight=own), split, settings, seed=3)
        low, high = model.predict(query, np.ones((2, 1), np.bool_)).score[:, 0]
        rises.append(high - low)
    assert rises[0] < -0.1  # as in the urban areas, which have the images
    assert rises[1] > 0.1  # as in most areas


@pytest.mark.parametrize("learner", ["network", "stack"])
def test_weights_of_one_change_no_bit(learner: Any, make_world: Any, tmp_path: Path) -> None:
    world = make_world(n_areas=24, outcomes=1)
    settings = TrainSettings(learner=learner, ensemble_size=2, epochs=2, device="cpu")
    splits = make_splits(FoldSettings(k=2), world.areas, world.deciles, seed=1)
    tables = []
    for name, weight in (("without", None), ("with", np.ones(len(world.areas)))):
        data = world.data(["income"], sample_weight=weight)
        place = tmp_path / name
        tables.append(
            cross_validate(data, splits, settings, seed=1, directory=place, cache_key="s")
        )
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_weights_stay_with_their_locations_where_some_are_taken_or_put_into_rows(
    make_world: Any,
) -> None:
    world = make_world(n_areas=10, per_area=2, outcomes=1)
    weight = np.arange(20.0)
    splits = make_splits(FoldSettings(k=2), world.areas, world.deciles, seed=1)
    data = world.data(["income"], sample_weight=weight, rows=np.arange(20)[::-1].copy())
    by_row, _ = data.by_row(splits)
    assert dict(zip(by_row.location_ids, by_row.sample_weight, strict=True)) == dict(
        zip(world.ids, weight, strict=True)
    )
    taken, _ = data.take(weight % 3 == 0, splits)
    assert taken.sample_weight.tolist() == [0, 3, 6, 9, 12, 15, 18]
    with pytest.raises(InputError, match="sample_weight"):
        replace(data, sample_weight=weight[1:]).by_row(splits)


def test_metrics_are_those_of_areas_as_weighted() -> None:
    frame = pd.DataFrame({"area": ["a", "b", "c"], "outcome": "income", "actual_decile": [1, 2, 3]})
    trained = {"with": frame.assign(decile=[1, 2, 5]), "without": frame.assign(decile=[3, 2, 3])}
    weights = pd.Series({"a": 2.0, "b": 1.0, "c": 1.0})
    found = compare_weighting(trained, weights, 10)["income"]
    assert found["n_areas"] == 3
    assert found["with"]["mae"] == pytest.approx(2 / 3)
    assert found["with"]["mae_weighted"] == pytest.approx(2 / 4)
    assert found["without"]["mae_weighted"] == pytest.approx(4 / 4)


# --- a study --------------------------------------------------------------------------------------


def without_images(place: Path, ring: list[str]) -> None:
    """Name a column of the areas, and take the images of every second area of the last 24."""
    add_columns(place, ring=ring)
    places = pd.read_csv(place / "places.csv")["place"]
    gone = {name for i, name in enumerate(places) if i // 8 >= 25 and i // 8 % 2}
    features = pd.read_csv(place / "features.csv")
    features[~features["place"].isin(gone)].to_csv(place / "features.csv", index=False)
    change(place, "[train]", '[coverage]\nweights = ["ring"]\n\n[train]')


def test_a_study_states_what_weights_in_training_change(plain: Path, run: Run) -> None:
    without_images(plain, ["inner" if i < 25 else "outer" for i in range(49)])
    code, _, err = run("run", plain)
    assert code == 0, err
    assert "areas weighted by how likely they have images, from ring: 37 count as 3" in err
    found = json.loads((plain / "metrics.json").read_text())["coverage_weights"]
    assert found["columns"] == ["ring"]
    assert found["n_areas"] == 37
    assert 30 < found["effective"] < 37
    assert found["largest"] == pytest.approx(2 * 37 / 49, rel=0.15)
    income = found["outcomes"]["income"]
    assert income["with"].keys() == income["without"].keys()
    own = read_table(plain / "predictions.parquet")
    unweighted = read_table(plain / "model" / "unweighted" / "predictions.parquet")
    assert own["location_id"].equals(unweighted["location_id"])
    assert (own["score"] != unweighted["score"]).any()
    page = (plain / "report.html").read_text()
    assert "Training weighted areas by the inverse of the probability that they have images" in page
    code, out, err = run("coverage", plain)
    assert code == 0, err
    assert "of equal weight" in " ".join((out + err).split())


def test_a_column_that_distinguishes_nothing_leaves_a_study_as_it_is_to_the_bit(
    plain: Path, run: Run
) -> None:
    without_images(plain, ["same"] * 49)
    code, _, err = run("areas", plain)
    code, _, err = run("run", plain) if code else (code, "", err)
    assert code == 0, err
    own = read_table(plain / "predictions.parquet")
    unweighted = read_table(plain / "model" / "unweighted" / "predictions.parquet")
    assert set(unweighted.pop("weight")) == {1.0}
    pd.testing.assert_frame_equal(own, unweighted, check_exact=True)
    change(plain, '[coverage]\nweights = ["ring"]\n\n', "")
    code, _, err = run("run", plain)
    assert code == 0, err
    pd.testing.assert_frame_equal(read_table(plain / "predictions.parquet"), own, check_exact=True)
    assert not (plain / "model" / "unweighted").exists()
    assert "coverage_weights" not in json.loads((plain / "metrics.json").read_text())


def test_weights_from_a_column_that_no_area_has_are_refused(plain: Path, refuse: Any) -> None:
    change(plain, "[train]", '[coverage]\nweights = ["density"]\n\n[train]')
    assert "coverage.weights names 'density', which the areas do not have" in refuse("check", plain)


def test_too_few_areas_without_images_are_refused(plain: Path, refuse: Any) -> None:
    without_images(plain, ["inner" if i < 25 else "outer" for i in range(49)])
    places = pd.read_csv(plain / "places.csv")["place"]
    features = pd.read_csv(plain / "features.csv")
    few = set(places[:24])  # three areas
    features[features["place"].isin(few)].to_csv(plain / "features.csv", index=False)
    said = refuse("run", plain)
    assert "3 areas have images and 46 have none, and each must be at least 10" in said
