from __future__ import annotations

import zipfile
from pathlib import Path

import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.locations import counted, read_locations
from streetgauge.settings import TableLocations

AREAS = pd.DataFrame({"name": None}, index=pd.Index(["A1", "B1", "C1"], name="area"))
WORLD = pd.DataFrame(
    {
        "location_id": ["p3", "p1", "p2", "p4"],
        "lat": ["51.5", "52", "", "51"],
        "lon": ["0", "-1.5", "", "0"],
        "area": ["A1", "B1", "A1", "Z9"],
    }
)


def table(path: Path, frame: pd.DataFrame = WORLD, **more: object) -> TableLocations:
    frame.to_csv(path, index=False)
    return TableLocations.model_validate({"source": "table", "file": path, **more})


def test_a_table_says_the_areas_and_needs_no_boundaries(tmp_path: Path) -> None:
    frame, skips = read_locations(table(tmp_path / "t.csv"), AREAS)
    assert frame[["location_id", "area"]].values.tolist() == [
        ["p1", "B1"],
        ["p2", "A1"],
        ["p3", "A1"],
    ]
    assert frame["lat"].tolist()[::2] == [52.0, 51.5]
    assert frame.loc[1, ["lat", "lon"]].isna().all()
    assert frame[["postcode", "oa", "lsoa", "msoa"]].isna().all().all()
    assert skips[["location_id", "area", "reason"]].values.tolist() == [
        ["p4", "Z9", "its area is none of the study's"],
        [None, "C1", "no location lies in this area"],
    ]
    assert counted(frame) == ("1 locations have an area but no coordinates",)


def test_what_is_excluded_is_listed_in_order(tmp_path: Path) -> None:
    world = WORLD.assign(area=["Z9", "Z8", "", "A1"])
    _, skips = read_locations(table(tmp_path / "t.csv", world), AREAS)
    assert skips[["location_id", "area", "reason"]].values.tolist()[:3] == [
        ["p2", None, "it has no area"],
        ["p1", "Z8", "its area is none of the study's"],
        ["p3", "Z9", "its area is none of the study's"],
    ]


def test_columns_are_named_and_grid_references_become_degrees(tmp_path: Path) -> None:
    other = WORLD.assign(lat="180000", lon="530000", pc="AB1 2CD").rename(
        columns={"location_id": "key", "area": "tract"}
    )
    settings = table(
        tmp_path / "t.csv", other, id="key", area="tract", crs="EPSG:27700", postcode="pc"
    )
    frame, _ = read_locations(settings, AREAS)
    assert frame["lat"].tolist() == pytest.approx([51.504] * 3, abs=1e-3)
    assert frame["postcode"].tolist() == ["AB1 2CD"] * 3


def test_a_table_alone_in_a_zip_is_read_in_place(tmp_path: Path) -> None:
    settings = table(tmp_path / "t.csv")
    expected, _ = read_locations(settings, AREAS)
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "t.csv", "deep/t.csv")
    zipped = settings.model_copy(update={"file": tmp_path / "t.zip"})
    pd.testing.assert_frame_equal(read_locations(zipped, AREAS)[0], expected)
    with zipfile.ZipFile(tmp_path / "t.zip", "a") as archive:
        archive.write(tmp_path / "t.csv", "again.csv")
    with pytest.raises(InputError, match="the zip has 2 CSV files"):
        read_locations(zipped, AREAS)


@pytest.mark.parametrize(
    ("change", "more", "reason"),
    [
        (
            {"location_id": ["p1", "p1", "p2", "p4"]},
            {},
            "rows 2 and 3: location_id 'p1' appears more than once, with 'A1' and 'B1' "
            "in column 'area'; keep one",
        ),
        ({"area": "Z9"}, {}, "none of its areas is one of the study's: column 'area' has 'Z9'"),
        ({"lat": "100"}, {}, "row 2: lat 100, lon 0 is not a position in EPSG:4326"),
        ({}, {"area": "aera"}, "no column 'aera' (setting 'area'); did you mean 'area'?"),
        ({}, {"crs": "x"}, "locations.crs = 'x': this is not a coordinate system"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(
    change: dict[str, object], more: dict[str, object], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        read_locations(table(tmp_path / "t.csv", WORLD.assign(**change), **more), AREAS)
    assert reason in str(error.value)


def test_an_id_and_an_area_are_enough_and_what_is_not_possible_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("location_id,area\np1,A1\np2,B1\n", encoding="utf-8")
    settings = TableLocations.model_validate({"source": "table", "file": path})
    frame, skips = read_locations(settings, pd.DataFrame(index=pd.Index(["A1", "B1"], name="area")))
    assert list(frame["location_id"]) == ["p1", "p2"]
    assert list(frame["area"]) == ["A1", "B1"]
    assert frame[["lat", "lon"]].isna().all(axis=None)
    assert skips.empty
    lines = counted(frame)
    assert lines[0] == "2 locations have an area but no coordinates"
    assert lines[1].startswith("without coordinates there are no spatial folds")


@pytest.mark.parametrize("change", [{"lat": "north"}, {"lon": "east"}])
def test_coordinates_that_the_settings_name_must_be_there(
    change: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("location_id,area\np1,A1\n", encoding="utf-8")
    settings = TableLocations.model_validate({"source": "table", "file": path, **change})
    with pytest.raises(InputError, match="there is no column"):
        read_locations(settings, pd.DataFrame(index=pd.Index(["A1"], name="area")))


def test_half_of_the_coordinates_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("location_id,area,lat\np1,A1,51.5\n", encoding="utf-8")
    settings = TableLocations.model_validate({"source": "table", "file": path})
    with pytest.raises(InputError, match="there is no column 'lon'"):
        read_locations(settings, pd.DataFrame(index=pd.Index(["A1"], name="area")))
