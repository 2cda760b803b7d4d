from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.outcomes.lookup import FAMILIES, vintages, year_in


@pytest.mark.parametrize(
    ("words", "year"),
    [
        ("LSOA11CD", 2011),
        ("lsoa21", 2021),
        ("LSOA code (2011)", 2011),
        ("2011 super output area - lower layer", 2011),
        ("DZ2001_Code", 2001),
        ("LSOA 2011", 2011),
        ("Code", None),
        ("GEO_CODE", None),
        ("lsoa11_to_lsoa21", None),
        ("2012/13", None),
        ("E01000111", None),
        (None, None),
    ],
)
def test_the_year_of_areas_is_found_in_a_column_s_name(words: str | None, year: int | None) -> None:
    assert year_in(words) == year


@pytest.mark.parametrize(
    ("codes", "stated", "expected"),
    [
        # The last LSOA of 2011 and the first that is new in 2021.
        (["E01000001", "E01033768"], None, {"E01": "LSOA 2011"}),
        (["E01000001", "E01033769"], None, {"E01": "LSOA 2021"}),
        (["W01000003", "W01001959"], None, {"W01": "LSOA 2021"}),
        (["W01001958"], None, {"W01": "LSOA 2011"}),
        (["E02006934"], None, {"E02": "MSOA 2011"}),
        (["E02006935"], None, {"E02": "MSOA 2021"}),
        (["E00176774"], None, {"E00": "OA 2011"}),
        (["E00176775"], None, {"E00": "OA 2021"}),
        # A code of every release: the column says which.
        (["E01000001"], "LSOA21CD", {"E01": "LSOA 2021"}),
        (["E01000001"], "LSOA01CD", {"E01": "LSOA 2001"}),
        (["E01000001"], "Code", {"E01": "LSOA 2011"}),
        # Scotland numbers anew each time, so that the codes say it whatever the column is called.
        (["S01006505"], None, {"S01": "data zone 2001"}),
        (["S01006506", "S01013481"], "Data_Zone", {"S01": "data zone 2011"}),
        (["S01013482"], None, {"S01": "data zone 2022"}),
        (["95AA01S1", "N20000001"], None, {"95": "SOA 2001", "N20": "data zone 2021"}),
        # Numbers beyond the newest release are of no real area: made-up cities have such codes.
        (["E01035763", "E01900012", "S01020874", "E01000000"], "LSOA11CD", {}),
        (["E01035762", "W01002040"], None, {"E01": "LSOA 2021", "W01": "LSOA 2021"}),
        # Other countries and kinds are not known, and have no vintage.
        (["06037101110", "A01", "E09000001", ""], "GEOID21", {}),
        (["E01000001", "W01000001", "E09000001"], None, {"E01": "LSOA 2011", "W01": "LSOA 2011"}),
    ],
)
def test_codes_and_column_tell_the_vintage(
    codes: list[str], stated: str | None, expected: dict[str, str]
) -> None:
    assert {k: str(v) for k, v in vintages(codes, stated).items()} == expected
    assert vintages(codes[::-1], stated) == vintages(codes, stated)


@pytest.mark.parametrize(
    ("codes", "stated", "reason"),
    [
        (
            ["S01000001", "S01006506"],
            None,
            "'S01000001' is a data zone of 2001, 'S01006506' of 2011",
        ),
        (
            ["S01013482", "S01006506"],
            None,
            "'S01006506' is a data zone of 2011, 'S01013482' of 2022",
        ),
        (["E01000001", "E01034000"], "LSOA11CD", "'LSOA11CD' is of 2011, and 'E01034000' is new"),
        (
            ["E01033000"],
            "LSOA code (2001)",
            "is of 2001, and 'E01033000' is new among the LSOAs of 2011",
        ),
    ],
)
def test_codes_of_two_vintages_in_one_file_are_refused_naming_one_of_each(
    codes: list[str], stated: str | None, reason: str
) -> None:
    with pytest.raises(InputError) as refused:
        vintages(codes, stated, "t.csv")
    assert "t.csv: the file mixes codes of two vintages" in str(refused.value)
    assert reason in str(refused.value)


@given(st.lists(st.text(max_size=12)), st.text(max_size=12))
def test_any_text_may_stand_where_codes_do(codes: list[str], stated: str) -> None:
    try:
        found = vintages(codes, stated)
    except InputError:
        return
    assert found.keys() <= FAMILIES.keys()
