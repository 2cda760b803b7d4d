"""What boundary files state of themselves: false coordinate systems, other layers, cut files."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest
import shapely

from streetgauge.errors import InputError
from streetgauge.locations import read_areas, read_locations
from streetgauge.settings import AreaSettings, PointLocations

LONDON = [shapely.box(-0.1, 51.5, -0.09, 51.51), shapely.box(-0.09, 51.5, -0.08, 51.51)]


def boundaries(path: Path, crs: str) -> gpd.GeoDataFrame:
    frame = gpd.GeoDataFrame({"code": ["A1", "A2"]}, geometry=LONDON, crs=crs)
    frame.to_file(path, layer="areas")
    return frame


def areas(path: Path, **settings: str) -> AreaSettings:
    return AreaSettings.model_validate({"file": path, "code": "code", **settings})


def test_degrees_that_a_file_states_to_be_metres_are_refused_and_can_be_put_right(
    tmp_path: Path,
) -> None:
    # Numbers in degrees that the British grid is made for: nobody's metres.
    path = tmp_path / "t.gpkg"
    boundaries(path, "EPSG:27700")
    with pytest.raises(InputError) as error:
        read_areas(areas(path))
    assert "count as EPSG:27700, but their coordinates (-0.1, 51.5) are degrees" in str(error.value)
    assert "set 'areas.crs' to the system they are in, e.g. crs = \"EPSG:4326\"" in str(error.value)
    right = read_areas(areas(path, crs="EPSG:4326"))
    assert gpd.GeoDataFrame(right).crs == "EPSG:4326"


@pytest.mark.parametrize("box", [(0, 0, 100, 100), (300, 52, 400, 58), (-2, 300, 1, 400)])
def test_metres_near_the_origin_of_a_grid_are_no_degrees(
    box: tuple[float, ...], tmp_path: Path
) -> None:
    frame = gpd.GeoDataFrame({"code": ["A1"]}, geometry=[shapely.box(*box)], crs=27700)
    frame.to_file(tmp_path / "t.gpkg")
    assert gpd.GeoDataFrame(read_areas(areas(tmp_path / "t.gpkg"))).crs == "EPSG:27700"


def test_where_no_point_lies_in_an_area_both_positions_and_the_stated_system_are_named(
    tmp_path: Path,
) -> None:
    # Irish grid stated for British coordinates: the areas land elsewhere.
    frame = gpd.GeoDataFrame(
        {"code": ["A1"]}, geometry=[shapely.box(530000, 180000, 531000, 181000)], crs=29902
    )
    frame.to_file(tmp_path / "t.gpkg")
    pd.DataFrame({"id": ["p"], "lat": [51.5], "lon": [-0.1]}).to_csv(
        tmp_path / "p.csv", index=False
    )
    points = PointLocations.model_validate(
        {"source": "points", "file": tmp_path / "p.csv", "id": "id"}
    )
    with pytest.raises(InputError) as error:
        read_locations(points, read_areas(areas(tmp_path / "t.gpkg")))
    assert "they lie around (51.500, -0.100), the areas between (52." in str(error.value)
    assert "the system that the boundary file states (EPSG:29902)" in str(error.value)


def test_a_column_that_another_layer_may_have_is_refused_with_the_other_layers(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.gpkg"
    frame = boundaries(path, "EPSG:4326")
    frame.rename(columns={"code": "zone"}).to_file(path, layer="zones")
    with pytest.raises(InputError, match=r"no column 'zone' .*; its other layers are 'zones'"):
        read_areas(areas(path, code="zone"))
    assert list(read_areas(areas(path, code="zone", layer="zones")).index) == ["A1", "A2"]


@pytest.mark.parametrize("name", ["t.gpkg", "t.zip"])
def test_a_boundary_file_that_is_cut_off_is_refused_as_cut_off(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    boundaries(tmp_path / "whole.gpkg", "EPSG:4326")
    if name == "t.zip":
        import zipfile

        with zipfile.ZipFile(path, "w") as archive:
            archive.write(tmp_path / "whole.gpkg", "whole.gpkg")
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path.write_bytes((tmp_path / "whole.gpkg").read_bytes()[:3000])
    with pytest.raises(
        InputError, match=r"the file is cut off or damaged: .*fetch (it|them) again"
    ):
        read_areas(areas(path))
