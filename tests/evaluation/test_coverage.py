"""Areas say how much of them was seen."""

from __future__ import annotations

import pandas as pd

from streetgauge.evaluation import add_coverage, mark

LOCATIONS = pd.DataFrame(
    {
        "location_id": ["1", "2", "3", "4", "5", "6"],
        "area": ["A", "A", "A", "A", "B", "B"],
        "postcode": ["P1", "P1", "P2", "P3", None, None],
    }
)
AREAS = pd.DataFrame({"area": ["A", "B", "A"], "outcome": ["x", "x", "y"]})
PREDICTIONS = pd.DataFrame(
    {
        "location_id": ["1", "2", "3", "5", "1"],
        "area": ["A", "A", "A", "B", "A"],
        "outcome": ["x", "x", "x", "x", "y"],
    }
)


def test_the_share_seen_is_of_postcodes_and_of_locations_where_there_are_none():
    found = add_coverage(AREAS, LOCATIONS, PREDICTIONS)
    assert found["share_with_images"].tolist() == [2 / 3, 1 / 2, 1 / 3]
    assert found["n_views"].isna().all()


def test_pictures_are_those_of_the_locations_that_have_a_prediction():
    views = pd.Series({"1": 4, "2": 3, "3": 4, "4": 4, "5": 1})
    found = add_coverage(AREAS, LOCATIONS, PREDICTIONS, views)
    assert found["n_views"].tolist() == [11, 1, 4]
    again = add_coverage(
        AREAS.sample(frac=1, random_state=1),
        LOCATIONS.sample(frac=1, random_state=2),
        PREDICTIONS.sample(frac=1, random_state=3),
        views,
    )
    pd.testing.assert_frame_equal(again.sort_index(), found)


def test_what_is_not_measured_is_marked():
    areas = pd.DataFrame(
        {"n_locations": [5, 2, 5, 2], "actual_decile": pd.array([1, 2, None, None], dtype="Int64")}
    )
    assert mark(areas, 3)["status"].tolist() == [
        *("measured", "too few locations", "no actual decile", "no actual decile")
    ]
