from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.locations import counted, read_locations
from streetgauge.settings import PointLocations

# Two squares of 10 km that share a border, and one that no point lies in.
AREAS = gpd.GeoDataFrame(
    {"name": None, "district": None},
    geometry=[shapely.box(x, 170_000, x + 10_000, 180_000) for x in (510_000, 520_000, 590_000)],
    index=pd.Index(["A1", "B1", "C1"], name="area"),
    crs="EPSG:27700",
)
WORLD = pd.DataFrame(
    {
        "key": ["p1", "p2", "p3", "p4", "p5"],
        "north": [175_000, 175_000, 175_000, 250_000, None],
        "east": [515_000, 525_000, 520_000, 515_000, 515_000],
        "pc": ["AB1 2CD", "", "AB1 2CE", "AB1 2CF", "AB1 2CG"],
    }
)


def points(path: Path, **more: object) -> PointLocations:
    return PointLocations.model_validate(
        {
            "source": "points",
            "file": path,
            "id": "key",
            "lat": "north",
            "lon": "east",
            "crs": "EPSG:27700",
            "postcode": "pc",
            **more,
        }
    )


def written(path: Path, frame: pd.DataFrame = WORLD) -> Path:
    frame.to_csv(path, index=False)
    return path


def test_points_lie_in_their_areas_and_what_does_not_is_listed(tmp_path: Path) -> None:
    frame, skips = read_locations(points(written(tmp_path / "p.csv")), AREAS)
    assert frame[["location_id", "area"]].values.tolist() == [
        ["p1", "A1"],
        ["p2", "B1"],
        ["p3", "A1"],  # on the border of both
    ]
    assert frame["postcode"].tolist()[::2] == ["AB1 2CD", "AB1 2CE"]
    assert pd.isna(frame.loc[1, "postcode"])
    assert skips[["location_id", "area", "reason"]].values.tolist() == [
        ["p5", None, "it has no coordinates"],
        ["p4", None, "it lies outside every area"],
        [None, "C1", "no location lies in this area"],
    ]
    assert frame.attrs["outside"] == 0


def test_coordinates_come_out_in_degrees_whatever_they_went_in(tmp_path: Path) -> None:
    east_north = read_locations(points(written(tmp_path / "en.csv")), AREAS)[0]
    degrees = east_north.rename(columns={"location_id": "key", "lat": "north", "lon": "east"})
    path = written(tmp_path / "deg.csv", degrees[["key", "north", "east"]])
    again = read_locations(points(path, crs="EPSG:4326", postcode=None), AREAS)[0]
    np.testing.assert_allclose(again[["lat", "lon"]], east_north[["lat", "lon"]], atol=1e-9)
    assert east_north["lat"].between(51.4, 51.5).all()
    assert east_north["lon"].between(-0.4, -0.1).all()
    # p3 lies on a border to the millimetre, no closer, once it went through degrees.
    assert again["area"].tolist()[:2] == ["A1", "B1"]


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25
)
@given(
    rows=st.permutations(range(len(WORLD))),
    columns=st.permutations(list(WORLD.columns)),
    areas=st.permutations(range(len(AREAS))),
)
def test_the_order_of_points_columns_and_polygons_changes_nothing(
    rows: list[int], columns: list[str], areas: list[int], tmp_path: Path
) -> None:
    expected, skipped = read_locations(points(written(tmp_path / "plain.csv")), AREAS)
    path = written(tmp_path / "moved.csv", WORLD.iloc[rows][columns])
    frame, skips = read_locations(points(path), AREAS.iloc[areas].sort_index())
    pd.testing.assert_frame_equal(frame, expected)
    pd.testing.assert_frame_equal(skips, skipped)


def test_parquet_points_are_the_same(tmp_path: Path) -> None:
    expected, _ = read_locations(points(written(tmp_path / "p.csv")), AREAS)
    WORLD.to_parquet(tmp_path / "p.parquet")
    frame, _ = read_locations(points(tmp_path / "p.parquet"), AREAS)
    pd.testing.assert_frame_equal(frame, expected)


@pytest.mark.parametrize(
    ("change", "more", "reason"),
    [
        (
            {"key": ["p1", "p2", "p1", "p4", "p5"]},
            {},
            "rows 2 and 4: location_id 'p1' appears more than once",
        ),
        ({"key": ["p1", "", "p3", "p4", "p5"]}, {}, "row 3: there is no 'key'"),
        ({"east": ["1", "??", "1", "1", "1"]}, {}, "row 3, column 'east': '??' is not a number"),
        (
            {},
            {"crs": "EPSG:4326"},
            "row 2: north 175000.0, east 515000 is not a position in EPSG:4326",
        ),
        ({"north": 1, "east": 1}, {}, "none of its 5 points lies in an area"),
        ({}, {"crs": "Mars"}, "locations.crs = 'Mars': this is not a coordinate system"),
        ({}, {"lat": "nord"}, "no column 'nord' (setting 'lat'); did you mean 'north'"),
    ],
)
def test_what_is_wrong_with_points_is_named(
    change: dict[str, object], more: dict[str, object], reason: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "p.csv", WORLD.assign(**change))
    with pytest.raises(InputError) as error:
        read_locations(points(path, **more), AREAS)
    assert reason in str(error.value)


def test_points_need_boundaries(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the areas have no boundaries"):
        read_locations(points(written(tmp_path / "p.csv")), pd.DataFrame(AREAS[["name"]]))


def test_a_point_on_a_border_goes_to_the_first_code_whatever_the_order(tmp_path: Path) -> None:
    settings = points(written(tmp_path / "p.csv"))
    for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0]):
        frame, _ = read_locations(settings, AREAS.iloc[order])
        assert frame.set_index("location_id").loc["p3", "area"] == "A1"
        assert frame.attrs["overlaps"] == {}


def test_points_inside_of_two_areas_are_reported(tmp_path: Path) -> None:
    shapes = list(AREAS.geometry)
    shapes[0] = shapely.box(510_000, 170_000, 526_000, 180_000)  # 6 km into B1
    overlapping = AREAS.set_geometry(shapes)
    frame, skips = read_locations(points(written(tmp_path / "p.csv")), overlapping)
    # p2 lies in both; p3 lies inside of A1 and on the border of B1, which is no overlap.
    assert frame["area"].tolist() == ["A1", "A1", "A1"]
    assert frame.attrs["overlaps"] == {"A1 and B1": 1}
    assert counted(frame) == (
        "1 locations lie in two areas that overlap (A1 and B1); each was given to the one whose "
        "code sorts first",
    )
    assert "B1" in skips["area"].tolist()
