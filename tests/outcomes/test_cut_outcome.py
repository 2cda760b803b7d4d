"""Which areas are cut into classes: the study's, a wider set, by people, or as published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.outcomes import build_outcomes, deciles
from streetgauge.settings import DecileSettings, DeprivationOutcome, TableOutcome

CODES = [f"E{n:03d}" for n in range(60)] + [f"W{n:03d}" for n in range(40)]
CITY = pd.Index(CODES[:20])


@pytest.fixture
def rents(tmp_path: Path) -> dict[str, TableOutcome]:
    """A nation in which the city has the lowest values; W areas are the highest."""
    path = tmp_path / "rents.csv"
    pd.DataFrame({"code": CODES, "rent": np.arange(100.0)}).to_csv(path, index=False)
    chosen = {"source": "table", "file": path, "area": "code", "value": "rent"}
    return {"rent": TableOutcome.model_validate({**chosen, "direction": "higher-is-better"})}


def cut(settings: dict, areas: pd.Index = CITY, **more: object) -> pd.Series:
    frame, _, _ = build_outcomes(settings, areas, DecileSettings.model_validate(more))
    return frame.set_index("area").iloc[:, 1]


def test_a_wider_set_says_where_the_city_stands_in_it(rents: dict) -> None:
    assert cut(rents).value_counts().tolist() == [2] * 10
    assert cut(rents, within="nation").value_counts().to_dict() == {1: 10, 2: 10}
    # Of the 60 areas with codes like E the city's 20 are the lowest third.
    assert cut(rents, within=["E*"]).tolist() == [1 + n // 6 for n in range(20)]
    assert cut(rents, within=["E*"], classes=5).tolist() == [1 + n // 12 for n in range(20)]


def test_the_metadata_say_how_classes_were_cut(rents: dict) -> None:
    chosen = DecileSettings.model_validate({"within": ["E*"], "classes": 5})
    about = build_outcomes(rents, CITY, chosen)[1]["rent"]
    assert (about["classes"], about["within"], about["weighted"]) == (5, ["E*"], False)


def test_a_city_within_one_class_of_the_nation_and_an_unknown_region_are_refused(
    rents: dict,
) -> None:
    with pytest.raises(InputError, match='use within = "study" under'):
        cut(rents, CITY[:5], within="nation", classes=2)
    with pytest.raises(InputError, match="no area of its file has a code like 'S\\*'"):
        cut(rents, within=["S*"])


def test_areas_outside_the_wider_set_have_no_class_and_are_listed(rents: dict) -> None:
    areas = pd.Index([*CITY, "W000"])
    chosen = DecileSettings.model_validate({"within": ["E*"]})
    frame, about, skips = build_outcomes(rents, areas, chosen)
    assert frame.set_index("area").loc["W000", "rent_decile"] is pd.NA
    assert about["rent"]["n_missing"] == 1
    assert "is not in 'within'" in skips["reason"].iloc[0]


def test_with_people_as_weights_classes_hold_equal_shares_of_them(
    rents: dict, tmp_path: Path
) -> None:
    people = pd.DataFrame({"code": CODES, "people": 1000})
    people.loc[people["code"].isin(CITY[10:]), "people"] = 3000
    people.sample(frac=1, random_state=1).to_csv(tmp_path / "people.csv", index=False)
    weights = {"file": tmp_path / "people.csv", "area": "code", "population": "people"}
    halves = cut(rents, classes=2, weights=weights)
    # 10,000 people live in the lower ten areas, 30,000 in the upper: the border lies within those.
    assert halves.value_counts().to_dict() == {1: 14, 2: 6}
    assert halves.is_monotonic_increasing


def test_an_area_without_people_has_no_class_and_a_negative_number_is_refused(
    rents: dict, tmp_path: Path
) -> None:
    path = tmp_path / "people.csv"
    weights = {"file": path, "area": "code", "population": "people"}
    rows = [f"{code},{100}" for code in CITY[:19]]
    path.write_text("\n".join(["code,people", *rows]))
    assert cut(rents, classes=5, weights=weights).isna().sum() == 1
    path.write_text("\n".join(["code,people", *rows, "E019,-5"]))
    with pytest.raises(InputError, match="row 21, column 'people': -5 is a negative number of"):
        cut(rents, classes=5, weights=weights)
    path.write_text("area,people\nE000,1\n")
    with pytest.raises(InputError, match=r"no column 'code' \(setting 'deciles.weights.area'\)"):
        cut(rents, classes=5, weights=weights)


def test_weights_of_the_same_size_are_no_weights() -> None:
    values = pd.Series(np.random.default_rng(1).normal(size=95), name="x")
    ones = pd.Series(7.0, index=values.index)
    for direction in ("higher-is-better", "higher-is-worse"):
        assert deciles(values, direction, 10, ones).equals(deciles(values, direction))


def test_published_deciles_are_put_together_to_quintiles_and_halves(tmp_path: Path) -> None:
    codes = [f"E01{n:06d}" for n in range(1, 101)]
    frame = pd.DataFrame({"lsoa11cd": codes, "IMD_rank": np.arange(1, 101)})
    frame["IMD_decile"] = 1 + np.arange(100) // 10
    frame.to_csv(tmp_path / "imd.csv", index=False)
    chosen = DeprivationOutcome.model_validate(
        {"source": "deprivation", "file": tmp_path / "imd.csv", "deciles": "published"}
    )
    for classes in (2, 5, 10):
        got = cut({"imd": chosen}, pd.Index(codes), classes=classes)
        assert got.tolist() == [1 + n * classes // 100 for n in range(100)]


def test_a_table_s_own_classes_are_taken_as_they_are_up_to_the_study_s(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    pd.DataFrame({"code": CODES, "q": 1 + np.arange(100) // 20}).to_csv(path, index=False)
    chosen = TableOutcome.model_validate(
        {
            "source": "table",
            "file": path,
            "area": "code",
            "value": "q",
            "decile": "q",
            "direction": "higher-is-better",
            "deciles": "published",
        }
    )
    got = cut({"q": chosen}, pd.Index(CODES), classes=5)
    assert got.value_counts().to_dict() == dict.fromkeys(range(1, 6), 20)
    with pytest.raises(InputError, match="5 is no class from 1 to 4"):
        cut({"q": chosen}, pd.Index(CODES), classes=4)
