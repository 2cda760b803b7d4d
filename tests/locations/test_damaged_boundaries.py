from __future__ import annotations

import json
import random
import warnings
import zipfile
from pathlib import Path

import geopandas as gpd
import pyarrow.parquet as pq
import pytest
import shapely

from streetgauge.errors import InputError
from streetgauge.locations import read_areas
from streetgauge.settings import AreaSettings

SQUARES = gpd.GeoDataFrame(
    {"code": ["A1", "A2"], "name": ["one", "tw\u00f6"]},
    geometry=[shapely.box(x, 50, x + 1, 51) for x in (0, 1)],
    crs="EPSG:4326",
)
TRIES = 30
FORMATS = ("t.gpkg", "t.geojson", "t.parquet", "t.zip")


def read(path: Path, **more: object) -> gpd.GeoDataFrame:
    areas = read_areas(
        AreaSettings.model_validate({"file": path, "code": "code", "name": "name", **more})
    )
    assert isinstance(areas, gpd.GeoDataFrame)
    return areas


def written(path: Path) -> Path:
    if path.suffix == ".parquet":
        SQUARES.to_parquet(path)
    elif path.suffix == ".zip":
        folder = path.parent / "shape"
        folder.mkdir()
        SQUARES.to_file(folder / "areas.shp")
        with zipfile.ZipFile(path, "w") as archive:
            for member in sorted(folder.iterdir()):
                archive.write(member, member.name)
    else:
        SQUARES.to_file(path)
    return path


def geojson(path: Path, *rings: list[list[float]]) -> Path:
    features = [
        {
            "type": "Feature",
            "properties": {"code": f"A{number}", "name": None},
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        }
        for number, ring in enumerate(rings, start=1)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def sentence(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_open_ring_is_closed_and_counted_as_repaired(tmp_path: Path) -> None:
    open_ring = [[0.0, 50.0], [1.0, 50.0], [1.0, 51.0], [0.0, 51.0]]
    bow_tie = [[2.0, 50.0], [3.0, 51.0], [3.0, 50.0], [2.0, 51.0]]  # open, and invalid once closed
    square = [[4.0, 50.0], [5.0, 50.0], [5.0, 51.0], [4.0, 51.0], [4.0, 50.0]]
    path = geojson(tmp_path / "t.geojson", square, open_ring, bow_tie)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        areas = read(path)
    assert areas.attrs["repaired"] == 2
    assert areas.geometry.is_valid.all()
    assert areas.geometry["A2"].equals(shapely.box(0, 50, 1, 51))
    assert read(path, include=["A1"]).attrs["repaired"] == 0
    assert read(path, include=["A2"]).attrs["repaired"] == 1


def test_a_ring_of_one_point_is_no_boundary(tmp_path: Path) -> None:
    assert "area 'A1': it has no boundary" in sentence(
        geojson(tmp_path / "t.geojson", [[0.0, 1.0]])
    )


def test_a_file_without_areas_says_so(tmp_path: Path) -> None:
    empty = tmp_path / "empty.geojson"
    empty.write_text('{"type": "FeatureCollection", "features": []}')
    assert sentence(empty) == f"{empty}: it has no areas; give a file with the areas' shapes."
    SQUARES.iloc[:0].to_parquet(tmp_path / "empty.parquet")
    assert "it has no areas" in sentence(tmp_path / "empty.parquet")
    SQUARES.iloc[:0].to_file(tmp_path / "empty.gpkg", layer="none")
    assert "it has no areas" in sentence(tmp_path / "empty.gpkg")
    SQUARES.to_file(tmp_path / "empty.gpkg", layer="some")
    with pytest.raises(InputError, match="layer 'none' has no areas"):
        read(tmp_path / "empty.gpkg", layer="none")


def test_text_in_no_encoding_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "t.gpkg")
    path.write_bytes(path.read_bytes().replace("tw\u00f6".encode(), b"tw\xff\xfe"))
    assert "the boundaries cannot be read" in sentence(path)


def test_a_zip_of_an_unsupported_version_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "t.zip")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 99  # version needed to extract: 9.9
    path.write_bytes(content)
    assert "it cannot be unpacked (zip file version 9.9)" in sentence(path)


@pytest.mark.parametrize(
    "geo",
    [
        b"no json",
        b"{}",
        b'{"version": "1.0.0", "primary_column": "code", "columns": {"code": {"encoding": "WKB"}}}',
        b'{"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": '
        b'{"encoding": "WKB", "crs": {"type": "GeographicCRS"}}}}',
    ],
)
def test_geoparquet_that_describes_itself_wrongly_is_refused(geo: bytes, tmp_path: Path) -> None:
    path = written(tmp_path / "t.parquet")
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"geo": geo}), path)
    assert "this Parquet file is damaged" in sentence(path)


def test_coordinates_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    shapes = [SQUARES.geometry[0], shapely.Polygon([(0, 0), (1, 0), (1, float("inf")), (0, 0)])]
    SQUARES.set_geometry(shapes, crs="EPSG:4326").to_parquet(tmp_path / "t.parquet")
    assert "area 'A2': a coordinate of its boundary is not a number" in sentence(
        tmp_path / "t.parquet"
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_read_or_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    content = written(tmp_path / name).read_bytes()
    chance = random.Random(name)
    damaged = [content[: chance.randrange(len(content))] for _ in range(TRIES)]
    for _ in range(2 * TRIES):
        other = bytearray(content)
        for _ in range(chance.choice((1, 4, 40))):
            other[chance.randrange(len(other))] = chance.randrange(256)
        damaged.append(bytes(other))
    sentences = []
    for number, each in enumerate(damaged):
        path = tmp_path / f"{number}{Path(name).suffix}"  # GDAL remembers files by their names
        path.write_bytes(each)
        try:
            read_areas(AreaSettings(file=path, code="code", name="name"))
        except InputError as error:
            sentences.append(str(error))
        path.unlink()
    assert len(sentences) > TRIES // 2
    assert all("\n" not in each and len(each) < 700 for each in sentences)
