"""What is known of areas besides their predictions."""

from __future__ import annotations

import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.evaluation import add_coverage, area_people, location_people, mark, read_population
from streetgauge.settings import PopulationSettings

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


def test_images_are_those_of_the_locations_that_have_a_prediction():
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


POSTCODES = pd.DataFrame(
    {
        "location_id": ["1", "2", "3"],
        "area": ["A", "A", "B"],
        "postcode": ["AB1 2CD", "AB12CE", "AB1 2CE"],
    }
)


def settings_of(tmp_path, text, **keys):
    file = tmp_path / "people.csv"
    file.write_text(text, encoding="utf-8")
    return PopulationSettings(**{"file": file, "location": "pcd", "people": "n"} | keys)


def test_a_postcode_is_found_however_it_is_spaced_and_shared_by_its_locations(tmp_path):
    people = read_population(
        settings_of(tmp_path, 'pcd,n\nab12cd,"1,200"\nAB1  2CE,10\nZZ9 9ZZ,5\n')
    )
    found = location_people(people, POSTCODES)
    assert found.to_dict() == {"1": 1200.0, "2": 5.0, "3": 5.0}
    assert area_people(found, POSTCODES).to_dict() == {"A": 1205.0, "B": 5.0}


def test_rows_of_one_key_are_added_up_and_ids_come_first(tmp_path):
    people = read_population(settings_of(tmp_path, "pcd,n\n1,3\n1,4\n3,1\n"))
    assert location_people(people, POSTCODES).to_dict() == {"1": 7.0, "3": 1.0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pcd,people\n1,3\n", "no column 'n'"),
        ("pcd,n\n1,-3\n", "negative number of people"),
        ("pcd,n\n1,many\n", "many"),
        ("pcd,n\nXX1 1XX,3\n", "a number for no location or postcode.*XX1 1XX"),
    ],
)
def test_numbers_that_cannot_be_used_are_refused(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        location_people(read_population(settings_of(tmp_path, text)), POSTCODES)


def test_it_is_reported_whose_numbers_they_are(tmp_path):
    with pytest.raises(ValueError, match="either 'location' or 'area'"):
        settings_of(tmp_path, "", area="code")
