"""Units above the areas are judged by all their areas, each counting the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.evaluation import (
    EvaluationInputs,
    aggregate,
    equal_count,
    evaluate,
    raise_level,
    units_of_areas,
)
from streetgauge.evaluation.baselines import BaselinePrediction
from streetgauge.evaluation.levels import predictions_of_units
from streetgauge.settings import EvaluationSettings


def city(seed=0, areas=120, of=4):
    """Areas in units of four, with 1 to 6 locations each."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=areas) + np.repeat(rng.normal(size=areas // of), of)
    count = rng.integers(1, 7, areas)
    row = np.repeat(np.arange(areas), count)
    codes = np.array([f"A{i:03d}" for i in range(areas)])
    predictions = pd.DataFrame(
        {
            "location_id": [f"L{i:04d}" for i in range(len(row))],
            "area": codes[row],
            "fold": 1 + row % 3,
            "outcome": "illness",
            "score": latent[row] + rng.normal(0, 0.2, len(row)),
            "decile": 1,
            "actual_decile": equal_count(latent)[row],
        }
    )
    frame = aggregate(predictions)
    value = pd.Series(50 - 10 * latent, codes)  # higher is worse
    frame["actual_value"] = frame["area"].map(value)
    frame["n_views"] = frame["n_locations"] * 4
    unit = pd.Series([f"U{i // of:02d}" for i in range(areas)], pd.Index(codes, name="area"))
    return predictions, frame, unit


def test_a_unit_is_the_mean_of_its_areas_whatever_their_locations():
    predictions, areas, unit = city()
    found = raise_level(predictions, areas, unit).frame.set_index("area")
    below = areas.assign(unit=areas["area"].map(unit))
    score = below.groupby("unit")["score"].mean()
    value = below.groupby("unit")["actual_value"].mean()
    np.testing.assert_allclose(found["score"], score)
    np.testing.assert_allclose(found["actual_value"], value)
    assert found["decile"].tolist() == equal_count(score).tolist()
    # Illness: the highest share is decile 1, as it is of the areas.
    assert found["actual_decile"].tolist() == (11 - equal_count(value, ties="lowest")).tolist()
    assert found["n_areas"].eq(4).all()
    assert found["n_locations"].sum() == len(predictions)
    assert found["n_views"].sum() == 4 * len(predictions)


def test_areas_count_by_their_people():
    predictions, areas, unit = city()
    areas["weight"] = np.random.default_rng(1).integers(0, 9, len(areas)) * 100.0
    found = raise_level(predictions, areas, unit).frame.set_index("area")
    for code, rows in areas.assign(unit=areas["area"].map(unit)).groupby("unit"):
        weight = rows["weight"] if rows["weight"].sum() else None
        for column in ("score", "actual_value"):
            mean = np.average(rows[column], weights=weight)
            assert found.loc[code, column] == pytest.approx(mean)


def test_the_order_of_rows_changes_no_bit_of_a_level():
    predictions, areas, unit = city()
    one = raise_level(predictions, areas, unit).frame
    two = raise_level(
        *(t.sample(frac=1, random_state=i) for i, t in enumerate((predictions, areas, unit)))
    ).frame
    pd.testing.assert_frame_equal(one, two)


def test_without_values_a_unit_has_the_mean_decile_of_its_areas():
    predictions, areas, unit = city()
    areas = areas.drop(columns="actual_value")
    found = raise_level(predictions, areas, unit).frame.set_index("area")["actual_decile"]
    mean = areas["actual_decile"].astype(float).groupby(areas["area"].map(unit)).mean()
    assert found.tolist() == equal_count(mean, ties="lowest").tolist()


def test_areas_without_a_value_do_not_make_the_units_value():
    predictions, areas, unit = city()
    unknown = areas["area"].isin(["A000", *(f"A{i:03d}" for i in range(4, 8))])
    areas.loc[unknown, "actual_decile"] = pd.NA
    found = raise_level(predictions, areas, unit).frame.set_index("area")
    rest = areas[areas["area"].isin(["A001", "A002", "A003"])]["actual_value"]
    assert found.loc["U00", "actual_value"] == pytest.approx(rest.mean())
    assert pd.isna(found.loc["U01", "actual_decile"])
    assert found.loc["U01", "decile"] >= 1  # kept, and predicted


def test_a_unit_of_which_less_than_half_is_known_has_no_actual_decile():
    predictions, areas, unit = city()
    known = areas["area"].isin(["A003", "A006", "A007", *areas["area"][8:]])
    areas.loc[~known, "actual_decile"] = pd.NA
    found = raise_level(predictions, areas, unit).frame.set_index("area")
    assert found["actual_decile"].isna().to_dict() == {
        each: each == "U00" for each in found.index
    }  # of U00 a quarter is known, of U01 half


def test_images_that_nobody_counted_are_not_none():
    predictions, areas, unit = city()
    areas["n_views"] = areas["n_views"].astype("Int64")
    areas.loc[areas["area"].isin(["A000", "A001", "A002", "A003", "A004"]), "n_views"] = pd.NA
    found = raise_level(predictions, areas, unit).frame.set_index("area")["n_views"]
    assert pd.isna(found["U00"])
    assert found["U01"] == areas.set_index("area").loc[["A005", "A006", "A007"], "n_views"].sum()


def test_levels_have_the_same_account_with_the_same_baselines():
    predictions, areas, unit = city()
    level = raise_level(predictions, areas, unit)
    place = pd.DataFrame(
        {"x": np.arange(120) * 100.0, "y": 0.0}, pd.Index(areas["area"], name="area")
    )
    found = evaluate(
        areas,
        EvaluationSettings(draws=100),
        seed=0,
        inputs=EvaluationInputs(place, levels={"unit": level}),
    )
    below, above = found["outcomes"]["illness"], found["levels"]["unit"]["outcomes"]["illness"]
    assert above["n_areas"] == 30
    assert above["n_areas_below"] == 120
    assert set(above["baselines"]) == set(below["baselines"])
    assert above["metrics"]["spearman"]["value"] > 0.9
    # Neighbours are in the same unit here, and held out in other folds.
    near = above["baselines"]["nearest-areas"]["spearman"]
    assert near > below["baselines"]["nearest-areas"]["spearman"]


def test_guesses_of_areas_become_the_units_mean_cut_again():
    _, areas, unit = city()
    frame = areas.set_index("area")
    score = pd.Series(np.random.default_rng(3).normal(size=120), frame.index)
    guess = BaselinePrediction(pd.Series(5, frame.index, dtype="Int64"), score)
    found = predictions_of_units({"x": guess}, frame, unit, 10)["x"].deciles
    assert found.tolist() == equal_count(score.groupby(unit).mean()).tolist()


def test_an_area_lies_where_most_of_its_locations_do():
    areas = pd.DataFrame({"name": ["a", "b", "c"]}, pd.Index(["A", "B", "C"], name="area"))
    locations = pd.DataFrame(
        {
            "location_id": list("12345"),
            "area": ["A", "A", "A", "B", "B"],
            "msoa": ["M2", "M1", "M2", "M9", "M1"],
        }
    )
    found = units_of_areas("msoa", areas, locations)
    assert found.dropna().to_dict() == {"A": "M2", "B": "M1"}
    own = units_of_areas("ward", areas.assign(ward=[1, 1, None]), locations)
    assert own.notna().tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("level", "words"), [("warrd", "no column 'warrd'.*ward"), ("lsoa", "'lsoa' is empty")]
)
def test_a_level_that_is_not_there_is_refused(level, words):
    areas = pd.DataFrame({"ward": ["W"]}, pd.Index(["A"], name="area"))
    locations = pd.DataFrame({"location_id": ["1"], "area": ["A"], "lsoa": [None]})
    with pytest.raises(InputError, match=words):
        units_of_areas(level, areas, locations)
