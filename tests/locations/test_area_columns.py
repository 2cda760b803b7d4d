"""Further columns of the areas are read, to split by."""

from __future__ import annotations

from pathlib import Path

import pytest

from streetgauge.errors import InputError
from streetgauge.locations import read_areas
from streetgauge.settings import AreaSettings


def test_further_columns_stand_next_to_the_district(tmp_path: Path) -> None:
    (tmp_path / "areas.csv").write_text("code,city\nB2,South\nA1,North\nC3,\n")
    areas = read_areas(AreaSettings(file=tmp_path / "areas.csv", code="code", columns=("city",)))
    assert list(areas.columns) == ["name", "district", "city"]
    assert areas["city"].to_dict() == {"A1": "North", "B2": "South", "C3": None}


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "areas.csv").write_text("code,city\nA1,North\n")
    settings = AreaSettings(file=tmp_path / "areas.csv", code="code", columns=("town",))
    with pytest.raises(InputError, match="there is no column 'town'"):
        read_areas(settings)


def test_a_column_with_the_name_of_another_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be called 'district'"):
        AreaSettings(file=Path("areas.csv"), code="code", columns=("district",))
