"""Boundaries are opened by what they are, and nothing that they name is opened or fetched."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import geopandas as gpd
import pyogrio
import pytest
from shapely.geometry import box

from streetgauge.errors import InputError
from streetgauge.io.tables import read_sheets
from streetgauge.io.vector import driver_of, only_driver, open_vector
from streetgauge.locations.boundaries import read_boundaries

Refuse = Callable[..., str]
SECRET = "TOPSECRETVALUE"


@pytest.fixture
def server() -> Iterator[tuple[int, list[str]]]:
    """Give the port of a server of this machine, and what it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"type": "FeatureCollection", "features": []}')

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as each:
        threading.Thread(target=each.serve_forever, daemon=True).start()
        yield each.server_port, asked
        each.shutdown()


@pytest.fixture
def areas(tmp_path: Path) -> Path:
    """Give a folder with one area in every format that is read, and a file that nobody names."""
    frame = gpd.GeoDataFrame({"code": ["E1"]}, geometry=[box(0, 51, 1, 52)], crs="EPSG:4326")
    folder = tmp_path / "areas"
    folder.mkdir()
    frame.to_file(folder / "a.gpkg", driver="GPKG")
    frame.to_file(folder / "a.geojson", driver="GeoJSON")
    frame.to_file(folder / "a.shp", driver="ESRI Shapefile")
    frame.to_file(folder / "a.fgb", driver="FlatGeobuf")
    frame.to_parquet(folder / "a.parquet")
    for kinds, name in ((("shp", "shx", "dbf", "prj"), "shp.zip"), (("gpkg",), "gpkg.zip")):
        with zipfile.ZipFile(folder / name, "w") as archive:
            for kind in kinds:
                archive.write(folder / f"a.{kind}", f"in a folder/a.{kind}")
    (tmp_path / "secret.csv").write_text(f"code,name\nE1,{SECRET}\n")
    secret = json.loads((folder / "a.geojson").read_text())
    secret["features"][0]["properties"] = {SECRET: SECRET}
    (tmp_path / "secret.geojson").write_text(json.dumps(secret))
    return folder


@pytest.mark.parametrize(
    "name", ["a.gpkg", "a.geojson", "a.shp", "a.fgb", "a.parquet", "shp.zip", "gpkg.zip"]
)
def test_the_formats_that_are_promised_are_read(areas: Path, name: str) -> None:
    before = pyogrio.list_drivers()
    assert read_boundaries(areas / name)["code"].tolist() == ["E1"]
    assert pyogrio.list_drivers() == before


def test_gdal_has_one_driver_while_a_file_is_open_and_all_again_after(
    areas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with open_vector(areas / "a.gpkg"):
        assert [*pyogrio.list_drivers()] == ["GPKG"]
    with pytest.raises(ValueError, match="own"), only_driver("GeoJSON"):
        raise ValueError("own")
    assert len(pyogrio.list_drivers()) > 20
    assert pyogrio.get_gdal_config_option("GDAL_HTTP_PROXY") is None
    assert os.environ["NO_PROXY"] == "*"


@pytest.mark.parametrize("name", ["is_a_vrt", "is_a_pipeline", "from_the_web"])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_file_that_names_others_is_refused_by_what_it_is(
    areas: Path, shared_cases: Path, name: str, zipped: bool
) -> None:
    file = areas / f"{name}.geojson"
    shutil.copy(shared_cases / "hostile" / f"boundaries_{name}.geojson", file)
    if zipped:
        with zipfile.ZipFile(areas / "x.zip", "w") as archive:
            archive.write(file, "a.geojson")
        file = areas / "x.zip"
    for read in (read_boundaries, *(() if zipped else (read_sheets,))):
        with pytest.raises(InputError, match="its content is of no known format") as no:
            read(file)
        assert SECRET not in str(no.value)
        assert "secret" not in str(no.value).replace(str(areas), "")


@pytest.mark.parametrize("kind", ["link", "URL"])
@pytest.mark.parametrize("where", ["top", "geometry", "escaped"])
def test_a_coordinate_system_that_is_an_address_is_not_fetched(
    areas: Path, server: tuple[int, list[str]], kind: str, where: str
) -> None:
    port, asked = server
    system = {"type": kind, "properties": {"url": f"http://127.0.0.1:{port}/x"}}
    content = json.loads((areas / "a.geojson").read_text())
    content.pop("crs", None)
    (content["features"][0]["geometry"] if where == "geometry" else content)["crs"] = system
    text = json.dumps(content)
    if where == "escaped":
        text = text.replace('"crs"', '"\\u0063rs"')
    (areas / "linked.geojson").write_text(text)
    if where == "escaped":
        read_boundaries(areas / "linked.geojson")  # GDAL finds the network closed
    else:
        with pytest.raises(InputError, match="its coordinate system is an address"):
            read_boundaries(areas / "linked.geojson")
    assert asked == []


def test_what_is_named_like_one_format_and_holds_another_is_read_as_what_it_holds_or_refused(
    areas: Path,
) -> None:
    shutil.copy(areas / "a.gpkg", areas / "named.geojson")
    assert read_boundaries(areas / "named.geojson")["code"].tolist() == ["E1"]
    for start in (b"<kml>", b"\x89HDF", b"LAYER", b"[1]", b"\x1f\x8b"):
        assert driver_of(start) is None
        (areas / "odd.geojson").write_bytes(start)
        with pytest.raises(InputError, match="its content is of no known format; give GeoPackage"):
            read_boundaries(areas / "odd.geojson")


def test_names_of_virtual_file_systems_are_refused_in_the_settings(
    grid: Path, refuse: Refuse
) -> None:
    toml = grid / "study.toml"
    for name in ("/vsicurl/http://127.0.0.1/x.geojson", "/vsizip/x.zip", "/vsistdin/"):
        text = toml.read_text().replace('"areas.geojson"', f'"{name}"')
        assert text != toml.read_text()
        (grid / "x.toml").write_text(text)
        assert "areas.file: /vsi" in refuse("check", grid / "x.toml")
        assert "virtual file systems, which are closed" in refuse("run", grid / "x.toml")
