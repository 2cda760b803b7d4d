"""Areas are placed where their training labels are most like their neighbours'."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from streetgauge.evaluation import EvaluationInputs, evaluate
from streetgauge.evaluation.baselines import Baselines, Kriging, Nearest, Placements, out_of_fold
from streetgauge.settings import EvaluationSettings

N = 200
AREAS = pd.Index([f"A{i:04d}" for i in range(N)], name="area")
PLACED = ("nearest-areas", "kriging", "density-and-kriging", "columns-and-kriging")
PLACED_WITH_IMAGES = ("linear-and-kriging",)


def points(rng):
    return pd.DataFrame(rng.uniform(0, 1e4, (N, 2)), AREAS, columns=["x", "y"])


def smooth(place):
    """Deciles that are alike where areas lie together."""
    latent = np.sin(place["x"] / 2000) + np.cos(place["y"] / 2500)
    return ((latent.rank() - 1) * 10 // len(latent) + 1).astype("Int64")


def world(follows, seed=5, folds=4):
    """Two placements that know nothing of each other; the labels follow one of them."""
    rng = np.random.default_rng(seed)
    places = {"centroids": points(rng), "locations": points(rng)}
    labels = smooth(places[follows])
    frame = pd.DataFrame({"actual_decile": labels, "fold": rng.integers(1, folds + 1, N)}, AREAS)
    return frame, places


def methods(places, **more):
    rng = np.random.default_rng(8)
    facts = {
        "density": pd.Series(rng.uniform(size=N), AREAS),
        "columns": pd.DataFrame({"size": rng.normal(size=N)}, AREAS),
        "features": pd.DataFrame(rng.normal(size=(N, 3)), AREAS),
    }
    return Baselines(places["centroids"], location_means=places["locations"], **facts, **more)


@pytest.mark.parametrize("follows", ["centroids", "locations"])
def test_areas_are_placed_where_the_labels_are_smooth(follows):
    frame, places = world(follows)
    both = methods(places)
    other = next(name for name in places if name != follows)
    assert both.placement(frame) == {follows: 4, other: 0}
    one, wrong = (methods({"centroids": places[n], "locations": None}) for n in (follows, other))
    predicted, right, bad = (each.predict("income", frame) for each in (both, one, wrong))
    for name in (*PLACED, *PLACED_WITH_IMAGES):
        errors = [
            (each[name].deciles - frame["actual_decile"]).abs().mean()
            for each in (predicted, right, bad)
        ]
        assert errors[0] < 1.3
        assert errors[0] < errors[2] - 1
        if name in ("nearest-areas", "kriging"):
            pd.testing.assert_series_equal(
                predicted[name].scores, right[name].scores, check_exact=True
            )


def test_each_fold_has_the_placement_that_its_own_training_areas_show():
    rng = np.random.default_rng(3)
    places = {"centroids": points(rng), "locations": points(rng)}
    fold = pd.Series(np.where(np.arange(N) < 100, 1, 2), AREAS)
    # Areas of the first fold are alike by centroids, those of the second by locations.
    first = fold == 1
    labels = smooth(places["centroids"][first]), smooth(places["locations"][~first])
    frame = pd.DataFrame({"actual_decile": pd.concat(labels), "fold": fold})
    both = methods(places)
    assert both.placement(frame) == {"centroids": 1, "locations": 1}
    found = both.predict("income", frame)
    for name, method in (("nearest-areas", Nearest), ("kriging", Kriging)):
        by = {
            where: out_of_fold(method(each), frame["actual_decile"], fold)
            for where, each in places.items()
        }
        # What the tested areas' own labels show would be the other placement.
        expected = by["locations"].where(first, by["centroids"])
        pd.testing.assert_series_equal(found[name].scores, expected, check_exact=True)


def test_labels_of_tested_areas_cannot_change_where_areas_are_placed():
    frame, places = world("centroids")
    mine = frame["fold"] == 2
    other = frame.copy()
    # By locations the tested areas are as smooth as can be, by centroids no longer.
    other.loc[mine, "actual_decile"] = smooth(places["locations"][mine])
    # Training areas are given by fold, so that no other fold's labels change with the tested ones.
    rows = [
        pd.DataFrame({"fold": part, "area": AREAS[frame["fold"] != part]})
        for part in sorted(frame["fold"].unique())
    ]
    training = pd.concat(rows, ignore_index=True)
    training["decile"] = frame["actual_decile"].loc[training["area"]].to_numpy()
    both = methods(places)
    assert both.placement(other, training) == both.placement(frame, training)
    before, after = (
        both.predict("income", each, training_areas=training) for each in (frame, other)
    )
    for name in (*PLACED, *PLACED_WITH_IMAGES):
        pd.testing.assert_series_equal(
            before[name].scores[mine], after[name].scores[mine], check_exact=True
        )


def test_the_error_that_decides_is_that_of_areas_predicted_one_by_one():
    rng = np.random.default_rng(11)
    for seed in range(12):
        _, places = world("centroids", seed)
        training = pd.Series(rng.integers(1, 11, 60).astype(float), AREAS[:60])
        mixed = {"a": places["centroids"], "b": places["locations"]}
        errors = {}
        for name, each in mixed.items():
            guesses = [
                Nearest(each, 3)(training.drop(area), pd.Index([area]))[0]
                for area in training.index
            ]
            errors[name] = np.abs(np.array(guesses) - training.to_numpy()).mean()
        assert Placements(mixed, 3).best(training) == min(errors, key=errors.get)


def test_equal_placements_leave_areas_at_their_centroids():
    frame, places = world("centroids")
    twice = Placements({"centroids": places["centroids"], "locations": places["centroids"] + 0.0})
    assert twice.best(frame["actual_decile"].astype(float)) == "centroids"
    swapped = Placements(dict(reversed(list(places.items()))))
    alone = frame["actual_decile"].astype(float).iloc[:1]
    assert swapped.best(alone) == "locations", "a single area shows nothing: the first is taken"


def test_an_area_that_one_placement_lacks_is_where_the_other_has_it():
    _, places = world("locations")
    lone = AREAS[7]
    lacking = {**places, "locations": places["locations"].drop(index=lone)}
    found = Placements(lacking).coordinates
    assert found["locations"].loc[lone].tolist() == places["centroids"].loc[lone].tolist()
    nowhere = {**places, "centroids": places["centroids"].copy()}
    nowhere["centroids"].loc[lone] = np.nan
    found = Placements(nowhere).coordinates
    assert found["centroids"].loc[lone].tolist() == places["locations"].loc[lone].tolist()
    assert found["locations"].equals(places["locations"])


def test_where_there_is_one_placement_it_is_used_and_no_choice_is_counted():
    frame, places = world("locations")
    for one in (
        Baselines(places["locations"]),
        Baselines(None, location_means=places["locations"]),
        Baselines(places["centroids"] * np.nan, location_means=places["locations"]),
    ):
        assert one.placement(frame) is None
        score = one.predict("income", frame)["nearest-areas"].scores
        expected = out_of_fold(Nearest(places["locations"]), frame["actual_decile"], frame["fold"])
        pd.testing.assert_series_equal(score, expected, check_exact=True)
    assert Baselines().placement(frame) is None
    assert methods(places).placement(frame.assign(fold=0)) is None


def test_areas_at_one_point_are_predicted_from_each_other_and_never_from_themselves():
    # Two groups, each at a point; labels are alike within groups only by the first placement.
    areas = AREAS[:40]
    group = np.arange(40) % 2
    here = pd.DataFrame({"x": group * 1e3, "y": 0.0}, areas)
    halves = pd.DataFrame({"x": (np.arange(40) < 20) * 1e3, "y": 0.0}, areas)
    training = pd.Series(np.where(group == 0, 1.0, 10.0), areas)
    assert Placements({"halves": halves, "groups": here}).best(training) == "groups"
    # Every label but its own predicts the area wrongly: to use its own would look perfect.
    pairs = pd.DataFrame({"x": (np.arange(40) // 2) * 1e3, "y": 0.0}, areas)
    chosen = Placements({"pairs": pairs, "groups": here}, neighbours=1).best(training)
    assert chosen == "groups"


def test_metrics_count_the_folds_of_each_placement():
    frame, places = world("locations")
    areas = frame.reset_index().assign(
        outcome="income", n_locations=5, score=5.0, decile=frame["actual_decile"].to_numpy()
    )
    areas = areas.assign(low=1, high=10)
    settings = EvaluationSettings(draws=100)
    inputs = EvaluationInputs(coordinates=places["centroids"])
    metrics = evaluate(areas, settings, seed=1, inputs=inputs, baselines=methods(places))
    assert metrics["outcomes"]["income"]["placement"] == {"centroids": 0, "locations": 4}
    metrics = evaluate(areas, settings, seed=1, inputs=inputs)
    assert metrics["outcomes"]["income"]["placement"] is None
