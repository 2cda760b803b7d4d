"""Boundaries on the page: small, and without gaps."""

from __future__ import annotations

import json
import time

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from shapely.geometry import Point, Polygon, box

from streetgauge.report import render
from streetgauge.report.map import outline


def polygons(drawn):
    shapes = []
    for rings in drawn["shapes"]:
        points = [np.cumsum(np.reshape(ring, (-1, 2)), axis=0) for ring in rings or ()]
        shapes.append(shapely.union_all([shapely.make_valid(Polygon(p)) for p in points]))
    return np.array(shapes)


def wavy(n=6):
    """Neighbours that share borders of many points."""
    t = np.linspace(0, 1, 200)
    lines = [np.column_stack([i + 0.2 * np.sin(9 * t + i), n * t]) * 1000 for i in range(n + 1)]
    shapes = [Polygon(np.r_[lines[i], lines[i + 1][::-1]]) for i in range(n)]
    index = pd.Index([f"A{i}" for i in range(n)], name="area")
    return gpd.GeoDataFrame({"geometry": shapes}, index=index, crs="EPSG:27700")


def test_areas_keep_their_shape():
    source = wavy()
    drawn = outline(source)
    found = polygons(drawn)
    scale = (source.total_bounds[2] - source.total_bounds[0]) / drawn["width"]
    np.testing.assert_allclose(shapely.area(found) * scale**2, source.area, rtol=2e-3)
    assert drawn["height"] / drawn["width"] > 0.8


def test_neighbours_stay_without_gap_or_overlap():
    found = polygons(outline(wavy()))
    whole = shapely.union_all(found)
    assert shapely.get_num_interior_rings(whole) == 0
    assert abs(shapely.area(found).sum() - shapely.area(whole)) < 1e-6 * shapely.area(whole)


def test_north_is_up(make_grid):
    drawn = outline(make_grid(2, 2))
    heights = [shapely.centroid(p).y for p in polygons(drawn)]
    assert heights[0] > heights[2]  # the page's y runs down; A000 lies in the south


def test_degrees_become_metres_so_that_shapes_are_not_stretched(make_grid):
    drawn = outline(make_grid(4, 4).to_crs("EPSG:4326"))
    assert 0.97 < drawn["height"] / drawn["width"] < 1.03


def test_an_area_too_small_to_see_stays_as_a_dot():
    index = pd.Index(["large", "small"], name="area")
    shapes = [box(0, 0, 1e5, 1e5), box(1e5, 0, 1e5 + 0.1, 0.1)]
    drawn = outline(gpd.GeoDataFrame({"geometry": shapes}, index=index, crs="EPSG:27700"))
    assert shapely.area(polygons(drawn)[1]) > 0


def test_holes_stay_holes(make_grid):
    frame = make_grid(1, 1)
    ring = frame.geometry.iloc[0]
    frame["geometry"] = [ring.difference(ring.buffer(-300))]
    assert len(outline(frame)["shapes"][0]) == 2


def test_areas_without_a_polygon_are_left_blank(make_grid):
    frame = make_grid(3, 1)
    frame.loc["A001", "geometry"] = None
    frame.loc["A002", "geometry"] = Point(500_000, 200_000)
    drawn = outline(frame)
    assert [shape is None for shape in drawn["shapes"]] == [False, True, True]
    assert outline(frame.loc[["A001", "A002"]]) is None


def test_a_border_runs_around_each_district_once(make_grid):
    frame = make_grid(8, 6)  # 8 km by 6 km, cut in the middle
    drawn = outline(frame)
    lines = [np.cumsum(np.reshape(line, (-1, 2)), axis=0) for line in drawn["borders"]]
    length = sum(np.hypot(*np.diff(line, axis=0).T).sum() for line in lines)
    per_km = drawn["width"] / 8
    assert abs(length / per_km - (2 * (8 + 6) + 6)) < 0.05
    assert outline(frame.assign(district="one"))["borders"] == []
    assert outline(frame.drop(columns="district"))["borders"] == []


def test_londons_map_is_small_and_whole(shared_data, make_study):
    folder = shared_data / "london" / "LSOA_2011_London_gen_MHW.zip"
    inside = "LSOA/LSOA_2011_London_gen_MHW.shp"
    frame = gpd.read_file(f"/vsizip/{folder}/{inside}", columns=["LSOA11CD", "LAD11NM"])
    frame = frame.rename(columns={"LSOA11CD": "area", "LAD11NM": "district"}).set_index("area")
    began = time.perf_counter()
    drawn = outline(frame)
    assert time.perf_counter() - began < 20  # 1.3 s when nothing else runs
    assert len(drawn["shapes"]) == 4835
    assert all(drawn["shapes"])
    scale = (frame.total_bounds[2] - frame.total_bounds[0]) / drawn["width"]
    lost = 1 - shapely.area(polygons(drawn)).sum() * scale**2 / frame.area.sum()
    assert abs(lost) < 0.002
    assert len(json.dumps(drawn, separators=(",", ":"))) < 1.5e6
    html = render(make_study(frame))
    assert len(html.encode()) < 8e6
