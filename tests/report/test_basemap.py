"""Water, roads and places under the map: on its grid, clipped, simplified, or refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from shapely.geometry import LineString, Point, box

from streetgauge.errors import InputError
from streetgauge.report import read_basemap, render
from streetgauge.report.basemap import LONGEST, MOST_POINTS, on_map

FRAME, STEP = (500_000.0, 200_000.0, 508_000.0, 206_000.0), 1.0


def frame(*shapes, crs=27700, **columns) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame({**columns, "geometry": list(shapes)}, crs=crs)


def test_layers_lie_on_the_grid_of_the_map_and_end_at_its_edge():
    layers = {
        "water": frame(box(499_000, 201_000, 501_000, 202_000)),
        "roads": frame(LineString([(502_000, 203_000), (520_000, 203_000)])),
        "places": frame(Point(504_000, 203_000), Point(0, 0), name=["Centre", "Far"]),
    }
    found = on_map(layers, "EPSG:27700", FRAME, STEP)
    (ring,), (road,) = found["water"], found["roads"]
    assert (ring.min(0).tolist(), ring.max(0).tolist()) == ([0, 4000], [1000, 5000])
    assert sorted(road.tolist()) == [[2000, 3000], [8000, 3000]]
    assert found["places"] == [(4000, 3000, "Centre")]


def test_a_large_layer_is_simplified_to_what_a_page_can_hold():
    rng = np.random.default_rng(2)
    lines = [
        LineString(np.cumsum(rng.normal(0, 9, (400, 2)), axis=0) + np.array([504_000, 203_000]))
        for _ in range(120)
    ]
    found = on_map({"roads": frame(*lines)}, "EPSG:27700", FRAME, STEP)
    assert 0 < sum(map(len, found["roads"])) <= MOST_POINTS


def test_files_in_degrees_are_read_and_names_are_cut(tmp_path: Path):
    file = tmp_path / "places.geojson"
    frame(Point(-0.5, 51.7), crs=4326, name=["N" * 99]).to_file(file, driver="GeoJSON")
    layers = read_basemap({"places": file, "water": None})
    wide = (400_000.0, 100_000.0, 600_000.0, 300_000.0)
    ((_, _, name),) = on_map(layers, "EPSG:27700", wide, 10.0)["places"]
    assert name == "N" * LONGEST


@pytest.mark.parametrize(
    ("kind", "content", "sentence"),
    [
        ("water", '{"type": "FeatureCollection", "features": []}', "no areas"),
        ("water", "<OGRVRTDataSource/>", "its content is of no known format"),
        ("roads", None, "report.roads: it has no lines; give a file of lines"),
        ("places", None, "name"),
        ("water", '{"type": "FeatureCollection", "features": [', "cannot be read"),
    ],
)
def test_a_file_that_is_no_such_layer_is_refused_in_a_sentence(tmp_path, kind, content, sentence):
    file = tmp_path / "layer.geojson"
    if content is None:
        frame(box(0, 0, 1, 1), crs=4326).to_file(file, driver="GeoJSON")
    else:
        file.write_text(content)
    with pytest.raises(InputError, match=r".") as caught:
        read_basemap({kind: file})
    assert sentence in str(caught.value)


def test_water_covers_the_areas_and_a_hostile_place_stays_text(show, make_study):
    hostile = "<img src=x onerror=alert(1)>"
    layers = {
        "water": frame(box(502_000, 202_000, 503_000, 203_000)),
        "places": frame(Point(506_000, 204_000), name=[hostile]),
    }
    html = render(replace(make_study(), basemap=layers))
    assert hostile not in html
    data = html.partition('id="data">')[2].partition("</script>")[0]
    assert json.loads(data)["geometry"]["places"][0][2] == hostile
    opened = show(html, color_scheme="light")
    opened.drawn()
    assert opened.seen(*opened.point("predicted", 2, 2)) == opened.variable("--water")
    assert opened.complaints == []
