"""Numbers of people find their locations and areas by key."""

from __future__ import annotations

import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.evaluation import area_people, location_people, read_population
from streetgauge.settings import PopulationSettings

LOCATIONS = pd.DataFrame(
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
    found = location_people(people, LOCATIONS)
    assert found.to_dict() == {"1": 1200.0, "2": 5.0, "3": 5.0}
    assert area_people(found, LOCATIONS).to_dict() == {"A": 1205.0, "B": 5.0}


def test_rows_of_one_key_are_added_up_and_ids_come_first(tmp_path):
    people = read_population(settings_of(tmp_path, "pcd,n\n1,3\n1,4\n3,1\n"))
    assert location_people(people, LOCATIONS).to_dict() == {"1": 7.0, "3": 1.0}


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
        location_people(read_population(settings_of(tmp_path, text)), LOCATIONS)


def test_it_is_said_whose_numbers_they_are(tmp_path):
    with pytest.raises(ValueError, match="not both"):
        settings_of(tmp_path, "", area="code")
