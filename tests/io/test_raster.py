"""A GeoTIFF is opened by what it is, and nothing that it names or that lies next to it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streetgauge.errors import InputError
from streetgauge.io import raster as module
from streetgauge.io.raster import open_raster

rasterio = pytest.importorskip("rasterio", reason="the extra 'raster' is not installed")


def write(path: Path, **more: Any) -> Path:
    place = rasterio.transform.from_origin(530_000, 180_000, 10, 10)
    about = {"crs": "EPSG:27700", "transform": place, "dtype": "int16", **more}
    with rasterio.open(path, "w", driver="GTiff", height=64, width=64, count=2, **about) as file:
        file.write(np.arange(2 * 64 * 64).reshape(2, 64, 64).astype(about["dtype"]))
    return path


VRT = """<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1">
<SimpleSource><SourceFilename>{0}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""


@pytest.mark.parametrize("content", [VRT, "", "GTIFF_DIR:1:{0}", "II", "/vsicurl/http://x/{0}"])
def test_what_is_no_geotiff_is_refused_whatever_its_name(tmp_path: Path, content: str) -> None:
    secret = write(tmp_path / "secret.tif")
    file = tmp_path / "a.tif"
    file.write_text(content.format(secret))
    with (
        pytest.raises(InputError, match="this is not a GeoTIFF, whatever its name"),
        open_raster(file),
    ):
        pass


def test_a_tag_that_names_another_file_is_refused_before_that_is_opened(tmp_path: Path) -> None:
    """Opening the pipe would wait for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    file = write(tmp_path / "a.tif")
    with rasterio.open(file, "r+") as raster:
        raster.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(pipe))
    assert b"OVERVIEW_FILE" in file.read_bytes()  # in the file itself
    with pytest.raises(InputError, match="its metadata name another file"), open_raster(file):
        pass


def test_files_next_to_it_are_not_read(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tif", nodata=5)
    for name in ("a.tif.ovr", "a.tif.msk"):
        write(tmp_path / name, dtype="uint8", crs=None)
    world = "1\n0\n0\n-1\n0\n0\n"
    for name in ("a.tfw", "a.wld", "a.tifw"):
        (tmp_path / name).write_text(world)
    (tmp_path / "a.tif.aux.xml").write_text(
        "<PAMDataset><GeoTransform>0,1,0,0,0,-1</GeoTransform><SRS>EPSG:4326</SRS>"
        "<Metadata domain='OVERVIEWS'><MDI key='OVERVIEW_FILE'>/etc/passwd</MDI></Metadata>"
        "<PAMRasterBand band='1'><NoDataValue>9</NoDataValue></PAMRasterBand></PAMDataset>"
    )
    with open_raster(file) as raster:
        assert raster.files == [str(file)]
        assert raster.crs.to_epsg() == 27700
        assert (raster.transform.a, raster.transform.c) == (10, 530_000)
        assert raster.nodatavals == (5, 5)
        assert raster.overviews(1) == []
        assert raster.mask_flag_enums[0] == [rasterio.enums.MaskFlags.nodata]


def test_a_world_file_gives_no_position(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tif", transform=None)
    (tmp_path / "a.tfw").write_text("10\n0\n0\n-10\n530000\n180000\n")
    with pytest.raises(InputError, match="it has no position on the map"), open_raster(file):
        pass


def test_a_raster_without_a_coordinate_system_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tif", crs=None)
    sentence = r"a\.tif: it has no coordinate system; write it into the file, e\.g\. `gdal_edit"
    with pytest.raises(InputError, match=sentence), open_raster(file):
        pass


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tif", dtype="complex64")
    with pytest.raises(InputError, match="its bands hold complex numbers"), open_raster(file):
        pass


def test_a_raster_in_one_huge_block_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LARGEST_BLOCK", 64 * 64 * 2 * 2 - 1)
    file = write(tmp_path / "a.tif", interleave="pixel", blockysize=64, compress="deflate")
    with pytest.raises(InputError, match="without 0 MB; rewrite it with"), open_raster(file):
        pass
    alone = write(tmp_path / "b.tif", interleave="band", blockysize=64, compress="deflate")
    with open_raster(alone) as raster:  # a band's block is half as large
        assert raster.count == 2


@pytest.mark.parametrize("left", [4, 8, 200, 9000])
def test_a_file_that_is_cut_off_is_one_sentence(tmp_path: Path, left: int) -> None:
    file = write(tmp_path / "a.tif", compress="deflate")
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(InputError, match=r"a\.tif: it "), open_raster(file) as raster:
        raster.read()


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"), open_raster(tmp_path / "a.tif"):
        pass


def test_without_rasterio_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with (
        pytest.raises(InputError, match=r"rasterio is not installed; pip install .*\[raster\]"),
        open_raster(write(tmp_path / "a.tif")),
    ):
        pass


def test_settings_of_gdal_are_as_before_afterwards(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tif")
    with rasterio.Env():
        before = dict(rasterio.env.getenv())
        with open_raster(file):
            assert rasterio.env.getenv()["GDAL_PAM_ENABLED"] == "NO"
        assert rasterio.env.getenv() == before


def test_what_is_virtual_is_refused_in_settings(grid: Path, refuse: Callable[..., str]) -> None:
    text = (grid / "study.toml").read_text(encoding="utf-8")
    start, end = text.index("[features]"), text.index("[folds]")
    for name in ("/vsicurl/http://x/a.tif", "/vsizip/a.zip/a.tif"):
        own = f'[features]\nsource = "raster"\nfile = "{name}"\n\n'
        (grid / "study.toml").write_text(text[:start] + own + text[end:], encoding="utf-8")
        assert "virtual file systems, which are closed" in refuse("features", grid)
