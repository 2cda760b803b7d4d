from __future__ import annotations

import pytest

from streetgauge.skips import left_out, skips_frame, without_value


@pytest.mark.parametrize(
    ("having", "missing", "says"),
    [
        (96, 4, "4 % of areas have no value"),
        (4834, 1, "under 1 % of areas have no value"),
        (0, 3, "100 % of areas have no value"),
        (5, 0, ""),
    ],
)
def test_the_share_of_areas_without_a_value_is_said_where_there_are_any(
    having: int, missing: int, says: str
) -> None:
    assert without_value({"n_areas": having, "n_missing": missing}) == says


def test_an_outcome_of_which_nothing_is_kept_is_not_called_incomplete() -> None:
    assert without_value({}) == ""


def test_members_of_archives_are_counted_one_by_one_over_all_archives() -> None:
    rows = [
        f"archive {i}.tgz: {i} of its members are links, not plain files, e.g. 'X: 1 of its'"
        for i in range(1, 9)
    ]
    rows += ["archive 1.tgz: it is damaged: cut off, after 3 files", *["an image is black"] * 2]
    assert left_out(skips_frame({"reason": reason} for reason in rows)) == (
        "excluded: 36 in archives that are links, not plain files",
        "excluded: 2 an image is black",
        "excluded: archive 1.tgz: it is damaged: cut off, after 3 files",
    )


def test_beyond_six_reasons_the_rest_is_one_line() -> None:
    rows = [f"reason {i}" for i in range(9) for _ in range(9 - i)]
    lines = left_out(skips_frame({"reason": reason} for reason in rows))
    assert lines[0] == "excluded: 9 reason 0"
    assert lines[6:] == ("excluded: 6 for 3 other reasons",)
    assert left_out(skips_frame([])) == ()
