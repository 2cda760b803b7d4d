from __future__ import annotations

import pytest

from streetgauge.skips import describe_skips, skips_frame, without_value


@pytest.mark.parametrize(
    ("having", "missing", "says"),
    [
        (96, 4, "4% of areas have no value"),
        (4834, 1, "under 1% of areas have no value"),
        (0, 3, "100% of areas have no value"),
        (5, 0, ""),
    ],
)
def test_the_share_of_areas_without_a_value_is_reported_where_there_are_any(
    having: int, missing: int, says: str
) -> None:
    assert without_value({"n_areas": having, "n_missing": missing}) == says


def test_an_outcome_of_which_nothing_is_stored_is_not_called_incomplete() -> None:
    assert without_value({}) == ""


def test_members_of_archives_are_counted_one_by_one_over_all_archives() -> None:
    rows = [
        f"archive {i}.tgz: {i} of its members are links, not plain files, e.g. 'X: 1 of its'"
        for i in range(1, 9)
    ]
    rows += ["archive 1.tgz: it is damaged: cut off, after 3 files", *["an image is black"] * 2]
    assert describe_skips(skips_frame({"reason": reason} for reason in rows)) == (
        "36 members of archives excluded: they are links, not plain files",
        "2 excluded: an image is black",
        "1 excluded: archive 1.tgz: it is damaged: cut off, after 3 files",
    )


def test_beyond_six_reasons_the_rest_is_one_line() -> None:
    rows = [f"reason {i}" for i in range(9) for _ in range(9 - i)]
    lines = describe_skips(skips_frame({"reason": reason} for reason in rows))
    assert lines[0] == "9 excluded: reason 0"
    assert lines[6:] == ("6 excluded for 3 other reasons",)
    assert describe_skips(skips_frame([])) == ()


def test_each_reason_counts_what_it_excludes_the_smallest_thing_that_a_row_names() -> None:
    rows = [
        {"location_id": "A", "area": "E01", "reason": "postcode terminated June 2010"},
        {"location_id": "B", "area": "E01", "reason": "postcode terminated June 2010"},
        {"location_id": "C", "view": "0", "area": "E01", "reason": "it is black"},
        {"area": "E02", "reason": "no location lies in this area"},
    ]
    assert describe_skips(skips_frame(rows)) == (
        "2 locations excluded: postcode terminated June 2010",
        "1 area excluded: no location lies in this area",
        "1 view excluded: it is black",
    )
