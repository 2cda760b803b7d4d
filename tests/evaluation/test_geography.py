"""Coordinates in metres."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

from streetgauge.errors import InputError
from streetgauge.evaluation import area_coordinates, location_coordinates, positions_of_areas


def squares(side=100.0, n=4, crs="EPSG:27700"):
    corner = [(500_000 + side * i, 200_000) for i in range(n)]
    shapes = [box(x, y, x + side, y + side) for x, y in corner]
    index = pd.Index([f"A{i}" for i in range(n)], name="area")
    columns = {"name": [f"Area {i}" for i in range(n)], "geometry": shapes}
    return gpd.GeoDataFrame(columns, index=index, crs=crs)


def test_the_centroid_is_in_the_metres_of_a_projected_file():
    found = area_coordinates(squares())
    assert found.loc["A1"].tolist() == [500_150.0, 200_050.0]


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:2263"])  # degrees, feet
def test_other_units_become_metres(crs):
    if crs == "EPSG:2263":
        source = squares(crs="EPSG:2263")  # 100 US survey feet
        expected = 100 * 1200 / 3937
    else:
        source, expected = squares().to_crs(crs), 100.0
    found = area_coordinates(source)
    between = np.hypot(*(found.loc["A1"] - found.loc["A0"]))
    assert between == pytest.approx(expected, rel=2e-3)


def test_an_area_without_a_boundary_has_no_place():
    frame = squares()
    frame.loc["A2", "geometry"] = None
    found = area_coordinates(frame)
    assert found.loc["A2"].isna().all()
    assert found.drop("A2").notna().all(axis=None)


def test_boundaries_that_do_not_say_where_they_are_are_refused():
    with pytest.raises(InputError, match="coordinate system"):
        area_coordinates(squares(crs=None))


def test_locations_give_the_mean_place_of_their_area_whatever_their_order():
    frame = pd.DataFrame(
        {
            "area": ["A", "A", "B", None, "C"],
            "lat": [51.5, 51.6, 51.55, 51.5, np.nan],
            "lon": [0.0, 0.0, 0.1, 0.0, 0.2],
        }
    )
    found = location_coordinates(frame)
    assert found.index.tolist() == ["A", "B"]
    # 0.1 degree of longitude at 51.55 degrees north is 6.93 km.
    assert np.hypot(*(found.loc["B"] - found.loc["A"])) == pytest.approx(6935, rel=3e-3)
    shuffled = location_coordinates(frame.iloc[::-1])
    pd.testing.assert_frame_equal(found, shuffled, check_exact=True)


def test_without_any_position_there_are_no_coordinates():
    frame = pd.DataFrame({"area": ["A"], "lat": [np.nan], "lon": [np.nan]})
    assert location_coordinates(frame).empty


def test_areas_lie_where_their_boundaries_are_and_without_any_where_their_locations_are():
    locations = pd.DataFrame({"area": ["A0", "A1"], "lat": [51.5, 51.6], "lon": [0.0, 0.1]})
    areas = squares()
    pd.testing.assert_frame_equal(positions_of_areas(areas, locations), area_coordinates(areas))
    plain = pd.DataFrame(areas.drop(columns="geometry"))
    found = positions_of_areas(plain, locations)
    pd.testing.assert_frame_equal(found, location_coordinates(locations))
