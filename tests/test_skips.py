from __future__ import annotations

import pytest

from streetgauge.skips import without_value


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
