from __future__ import annotations

import zipfile
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest
import shapely

from streetgauge.errors import InputError
from streetgauge.locations import read_areas
from streetgauge.settings import AreaSettings

SQUARES = gpd.GeoDataFrame(
    {"code": ["B2", "A1", "B1"], "name": ["b two", None, "b one"], "town": ["B", "A", "B"]},
    geometry=[shapely.box(x, 0, x + 10, 10) for x in (20, 0, 10)],
    crs="EPSG:27700",
)


def settings(path: Path, **more: object) -> AreaSettings:
    return AreaSettings.model_validate(
        {"file": path, "code": "code", "name": "name", "district": "town", **more}
    )


def written(path: Path, frame: gpd.GeoDataFrame = SQUARES) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.name == "t.zip":
        folder = path.parent / "shape"
        folder.mkdir()
        frame.to_file(folder / "areas.shp")
        with zipfile.ZipFile(path, "w") as archive:
            archive.mkdir("deep folder/")
            for member in folder.iterdir():
                archive.write(member, f"deep folder/{member.name}")
    else:
        frame.to_file(path)
    return path


@pytest.mark.parametrize("name", ["t.gpkg", "t.geojson", "t.shp", "t.zip", "t.parquet", "t.fgb"])
def test_boundaries_are_the_same_from_every_format(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "a folder {1}"  # GDAL must cope with such names
    folder.mkdir()
    areas = read_areas(settings(written(folder / name)))
    assert isinstance(areas, gpd.GeoDataFrame)
    assert areas.index.tolist() == ["A1", "B1", "B2"]
    assert areas.index.name == "area"
    assert list(areas.columns) == ["name", "district", "geometry"]
    assert areas["name"].tolist() == [None, "b one", "b two"]
    assert areas["district"].tolist() == ["A", "B", "B"]
    assert areas.crs == "EPSG:27700"
    assert areas.geometry.area.round(6).tolist() == [100.0] * 3
    assert areas.attrs == {"repaired": 0, "excluded": 0}


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".xlsx", ".plain.parquet"])
def test_a_table_gives_areas_without_boundaries(suffix: str, tmp_path: Path) -> None:
    frame = pd.DataFrame(SQUARES.drop(columns="geometry"))
    path = tmp_path / f"t{suffix}"
    if suffix == ".xlsx":
        frame.to_excel(path, index=False)
    elif suffix.endswith(".parquet"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    areas = read_areas(settings(path))
    assert areas.index.tolist() == ["A1", "B1", "B2"]
    assert list(areas.columns) == ["name", "district"]
    assert areas["name"].tolist() == [None, "b one", "b two"]


def test_names_that_are_not_asked_for_are_none(tmp_path: Path) -> None:
    areas = read_areas(settings(written(tmp_path / "t.gpkg"), name=None, district=None))
    assert areas["name"].tolist() == areas["district"].tolist() == [None] * 3


def test_include_keeps_codes_like_its_patterns_and_counts_the_rest(tmp_path: Path) -> None:
    path = written(tmp_path / "t.gpkg")
    areas = read_areas(settings(path, include=["B*"]))
    assert areas.index.tolist() == ["B1", "B2"]
    assert areas.attrs["excluded"] == 1
    with pytest.raises(InputError, match=r"no code is like 'C\*'.*codes are like"):
        read_areas(settings(path, include=["B*", "C*"]))


def test_a_layer_is_chosen_by_name(tmp_path: Path) -> None:
    path = tmp_path / "t.gpkg"
    SQUARES.iloc[:1].to_file(path, layer="one")
    SQUARES.to_file(path, layer="all")
    assert len(read_areas(settings(path))) == 1
    assert len(read_areas(settings(path, layer="all"))) == 3
    with pytest.raises(InputError, match="no layer 'al'; did you mean 'all'"):
        read_areas(settings(path, layer="al"))


def test_an_invalid_polygon_is_made_valid_and_counted(tmp_path: Path) -> None:
    bow_tie = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    frame = SQUARES.set_geometry([SQUARES.geometry[0], bow_tie, SQUARES.geometry[2]])
    areas = read_areas(settings(written(tmp_path / "t.gpkg", frame)))
    assert areas.attrs["repaired"] == 1
    assert areas.geometry.is_valid.all()
    assert areas.geometry["A1"].area == pytest.approx(50)
    assert areas.geometry["A1"].geom_type == "MultiPolygon"
    assert areas.crs == "EPSG:27700"


def test_boundaries_without_a_coordinate_system_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "t.shp")
    path.with_suffix(".prj").unlink()
    with pytest.raises(InputError, match=r"no coordinate system; set 'areas.crs' to the system"):
        read_areas(settings(path))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (pd.concat([SQUARES, SQUARES.iloc[[1]]]), "rows 2 and 4: area 'A1' appears more than once"),
        (SQUARES.assign(code=["B2", None, "B1"]), "row 2: there is no code in column 'code'"),
        (SQUARES.set_geometry(SQUARES.centroid), "area 'A1': it is not a polygon"),
        (
            SQUARES.set_geometry([SQUARES.geometry[0], None, SQUARES.geometry[2]]),
            "area 'A1': it has no boundary",
        ),
        (SQUARES.rename(columns={"code": "codes"}), "no column 'code' .*did you mean 'codes'"),
    ],
)
def test_what_is_wrong_in_boundaries_is_named(
    frame: gpd.GeoDataFrame, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=reason):
        read_areas(settings(written(tmp_path / "t.gpkg", frame)))


def test_files_that_hold_no_boundaries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_areas(settings(tmp_path / "none.gpkg"))
    (tmp_path / "bad.geojson").write_text("{}")
    with pytest.raises(InputError, match="the boundaries cannot be read"):
        read_areas(settings(tmp_path / "bad.geojson"))
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(InputError, match="no boundary file in the zip"):
        read_areas(settings(tmp_path / "t.zip"))
    (tmp_path / "cut.zip").write_bytes((tmp_path / "t.zip").read_bytes()[:40])
    with pytest.raises(InputError, match="it cannot be unpacked"):
        read_areas(settings(tmp_path / "cut.zip"))


def test_a_zip_with_two_shapefiles_asks_which(tmp_path: Path) -> None:
    for name in ("msoa", "lsoa"):
        SQUARES.to_file(tmp_path / f"{name}.shp")
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for member in sorted(tmp_path.glob("?soa.*")):
            archive.write(member, member.name)
    with pytest.raises(InputError, match=r"2 boundary files; .* one of lsoa, msoa"):
        read_areas(settings(path))
    assert len(read_areas(settings(path, layer="lsoa"))) == 3


def test_the_system_of_boundaries_that_state_none_can_be_set(tmp_path: Path) -> None:
    path = written(tmp_path / "t.shp")
    stated = read_areas(settings(path))
    path.with_suffix(".prj").unlink()
    areas = read_areas(settings(path, crs="EPSG:27700"))
    assert areas.crs == "EPSG:27700"
    assert areas.geometry.equals(stated.geometry)
    with pytest.raises(
        InputError, match=r"areas\.crs = 'EPSG:277000': this is not a coordinate syst"
    ):
        read_areas(settings(path, crs="EPSG:277000"))
    SQUARES.set_crs(None, allow_override=True).to_parquet(tmp_path / "p.parquet")
    assert read_areas(settings(tmp_path / "p.parquet", crs="EPSG:27700")).crs == "EPSG:27700"


def test_a_system_that_contradicts_the_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "t.gpkg")
    assert read_areas(settings(path, crs="EPSG:27700")).crs == "EPSG:27700"
    with pytest.raises(InputError, match="itself states the system EPSG:27700; remove"):
        read_areas(settings(path, crs="EPSG:3857"))


def test_geojson_in_metres_counts_as_degrees_only_where_it_can_be(tmp_path: Path) -> None:
    shifted = SQUARES.set_geometry(SQUARES.translate(530_000, 180_000))
    path = tmp_path / "t.geojson"
    # GeoJSON without a word on its system is in degrees by its standard (RFC 7946).
    shifted.set_crs(None, allow_override=True).to_file(path, engine="pyogrio")
    with pytest.raises(InputError) as error:
        read_areas(settings(path))
    assert "count as EPSG:4326, but their coordinates (530000, 180000) are not degrees" in str(
        error.value
    )
    assert "set 'areas.crs'" in str(error.value)
    assert read_areas(settings(path, crs="EPSG:27700")).crs == "EPSG:27700"
    with pytest.raises(InputError, match="are not degrees; write the system they are in"):
        read_areas(settings(path, crs="EPSG:4258"))


def test_a_polygon_that_encloses_nothing_is_refused(tmp_path: Path) -> None:
    flat = shapely.Polygon([(0, 0), (10, 10), (0, 0), (10, 10), (0, 0)])
    frame = SQUARES.set_geometry([SQUARES.geometry[0], flat, SQUARES.geometry[2]])
    with pytest.raises(InputError, match="area 'A1': its polygon is invalid and encloses nothing"):
        read_areas(settings(written(tmp_path / "t.gpkg", frame)))


def test_boundaries_without_a_code_column_are_refused_with_their_columns(tmp_path: Path) -> None:
    path = written(tmp_path / "t.gpkg")
    with pytest.raises(
        InputError, match=r"set 'areas\.code' to one of its columns: code, name, town"
    ):
        read_areas(AreaSettings(file=path))
