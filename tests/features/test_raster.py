"""A raster is sampled by location or averaged by area, reading no more of it than is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.affinity import rotate
from shapely.geometry import Point, box

from streetgauge.errors import InputError
from streetgauge.features import FeatureStore, sample_raster, store_raster
from streetgauge.features import raster as module
from streetgauge.settings import RasterFeatures
from streetgauge.skips import AllExcludedError

rasterio = pytest.importorskip("rasterio", reason="the extra 'raster' is not installed")

WEST, NORTH, PIXEL = 530_000.0, 180_000.0, 10.0
SIDE = 600


def write(path: Path, values: np.ndarray[Any, Any], **more: Any) -> Path:
    bands, high, wide = values.shape
    place = rasterio.transform.from_origin(WEST, NORTH, PIXEL, PIXEL)
    about = {"crs": "EPSG:27700", "transform": place, "dtype": values.dtype, **more}
    with rasterio.open(
        path, "w", driver="GTiff", height=high, width=wide, count=bands, **about
    ) as file:
        file.write(values)
    return path


def pixels(kind: str = "int16", bands: int = 3) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(-100, 100, (bands, SIDE, SIDE)).astype(kind)


def places(x: Any, y: Any, area: Any = "A") -> pd.DataFrame:
    points = gpd.GeoSeries.from_xy(x, y, crs="EPSG:27700").to_crs(4326)
    ids = [f"L{i:04d}" for i in range(len(points))]
    return pd.DataFrame({"location_id": ids, "lat": points.y, "lon": points.x, "area": area})


def in_pixels(row: Any, column: Any, area: Any = "A") -> pd.DataFrame:
    """Locations a little off the middle of pixels."""
    x = WEST + (np.asarray(column) + 0.3) * PIXEL
    return places(x, NORTH - (np.asarray(row) + 0.6) * PIXEL, area)


def settings(file: Path, **more: Any) -> RasterFeatures:
    return RasterFeatures(source="raster", file=file, **more)


def boundaries(*shapes: Any) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(
        geometry=list(shapes), index=[f"A{i}" for i in range(len(shapes))], crs="EPSG:27700"
    )


LAYOUTS = [
    {},
    {"interleave": "band"},
    {"tiled": True, "blockxsize": 64, "blockysize": 128, "compress": "deflate"},
    {"tiled": True, "blockxsize": 512, "blockysize": 512, "interleave": "pixel", "bigtiff": "yes"},
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_location_has_the_pixel_that_it_lies_in(tmp_path: Path, layout: dict[str, Any]) -> None:
    values = pixels()
    row, column = np.random.default_rng(1).integers(0, SIDE, (2, 500))
    row[:2], column[:2] = (0, SIDE - 1), (SIDE - 1, 0)
    file = write(tmp_path / "a.tif", values, **layout)
    sample = sample_raster(settings(file), in_pixels(row, column))
    assert sample.done.all()
    np.testing.assert_array_equal(sample.values, values[:, row, column].T)
    chosen = sample_raster(settings(file, bands=(3, 1)), in_pixels(row, column))
    np.testing.assert_array_equal(chosen.values, values[[2, 0]][:, row, column].T)
    assert chosen.columns == ("band 3", "band 1")


def test_degrees_are_transformed_to_the_rasters_system_and_rotation(tmp_path: Path) -> None:
    """A raster in degrees that is turned by 30 degrees about its corner has the same pixels."""
    values = pixels()
    turned = (
        rasterio.Affine.translation(-0.1, 51.5)
        @ rasterio.Affine.rotation(30)
        @ rasterio.Affine.scale(1e-4, -1e-4)
    )
    row, column = np.random.default_rng(1).integers(0, SIDE, (2, 50))
    x, y = column + 0.3, row + 0.6
    lon = turned.a * x + turned.b * y + turned.c
    lat = turned.d * x + turned.e * y + turned.f
    frame = in_pixels(row, column).assign(lat=lat, lon=lon)
    file = write(tmp_path / "a.tif", values, crs="EPSG:4326", transform=turned)
    np.testing.assert_array_equal(
        sample_raster(settings(file), frame).values, values[:, row, column].T
    )


def test_locations_without_values_are_skipped_with_their_reason(tmp_path: Path) -> None:
    values = pixels("float32")
    values[1, 5, 5], values[2, 6, 6], values[0, 7, 7] = np.nan, -9999, np.inf
    file = write(tmp_path / "a.tif", values, nodata=-9999)
    frame = in_pixels([4, 5, 6, 7, -1, SIDE, 8], [4, 5, 6, 7, 3, 3, 8])
    frame.loc[6, ["lat", "lon"]] = np.nan
    path = tmp_path / "a.h5"
    skips = store_raster(settings(file), frame, path, cache_key="k")
    assert dict(zip(skips["location_id"], skips["reason"], strict=True)) == {
        "L0001": module.NO_DATA,
        "L0002": module.NO_DATA,
        "L0003": module.NO_DATA,
        "L0004": module.OUTSIDE,
        "L0005": module.OUTSIDE,
        "L0006": module.NO_POSITION,
    }
    store = FeatureStore.open(path)
    assert store.done.tolist() == [True] + [False] * 6
    assert (store.backbone, store.views) == ("raster", ("1",))
    np.testing.assert_array_equal(store.features[0, 0], values[:, 4, 4])
    assert not store.features[1:].any()
    store.verify()


def test_pixels_that_the_file_masks_have_no_data(tmp_path: Path) -> None:
    file = tmp_path / "a.tif"
    values = pixels()
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        place = rasterio.transform.from_origin(WEST, NORTH, PIXEL, PIXEL)
        about = {"crs": "EPSG:27700", "transform": place, "dtype": "int16", "count": 3}
        with rasterio.open(file, "w", driver="GTiff", height=SIDE, width=SIDE, **about) as raster:
            raster.write(values)
            mask = np.full((SIDE, SIDE), 255, np.uint8)
            mask[5] = 0
            raster.write_mask(mask)
    sample = sample_raster(settings(file), in_pixels([4, 5], [4, 5]))
    assert sample.reasons.tolist() == ["", module.NO_DATA]


def test_the_order_of_locations_and_of_reading_makes_no_difference(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tif", pixels(), tiled=True, blockxsize=64, blockysize=64)
    frame = in_pixels(*np.random.default_rng(1).integers(0, SIDE, (2, 300)))
    one = sample_raster(settings(file), frame)
    other = sample_raster(settings(file), frame.sample(frac=1, random_state=0))
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.values, other.values)


def test_only_blocks_with_locations_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "a.tif", pixels(), tiled=True, blockxsize=256, blockysize=256)
    read = []
    before = module._Reader.read
    monkeypatch.setattr(
        module._Reader, "read", lambda self, tile: read.append(tile) or before(self, tile)
    )
    sample_raster(settings(file), in_pixels([3, 300, 9, 301], [3, 3, 9, 20]))
    assert read == [(0, 0), (1, 0)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_area_has_the_mean_of_the_pixels_whose_centres_lie_in_it(
    tmp_path: Path, layout: dict[str, Any]
) -> None:
    values = pixels("int8")
    file = write(tmp_path / "a.tif", values, nodata=-128, **layout)
    x, y = WEST, NORTH
    whole = box(x + 200, y - 5300, x + 3100, y - 100)  # several blocks
    turned = rotate(box(x + 3500, y - 900, x + 4000, y - 200), 20)
    areas = boundaries(whole, turned)
    row, column = np.mgrid[:SIDE, :SIDE]
    centres = gpd.GeoSeries.from_xy(
        (x + (column + 0.5) * PIXEL).ravel(), (y - (row + 0.5) * PIXEL).ravel()
    )
    frame = in_pixels([30, 40, 31], [30, 380, 31], ["A0", "A1", "A0"])
    sample = sample_raster(settings(file, sample="areas"), frame, areas=areas)
    assert sample.done.all()
    for at, shape in ((0, whole), (1, turned), (2, whole)):
        inside = centres.within(shape).to_numpy().reshape(SIDE, SIDE)
        np.testing.assert_allclose(sample.values[at], values[:, inside].mean(axis=1), atol=1e-9)


def test_an_area_smaller_than_a_pixel_takes_the_pixels_that_it_touches(tmp_path: Path) -> None:
    values = pixels()
    file = write(tmp_path / "a.tif", values)
    corner = Point(WEST + 50, NORTH - 50).buffer(2)  # where four pixels meet
    sample = sample_raster(
        settings(file, sample="areas"), in_pixels([4], [4], "A0"), areas=boundaries(corner)
    )
    np.testing.assert_allclose(sample.values[0], values[:, 4:6, 4:6].mean(axis=(1, 2)))


def test_areas_without_enough_pixels_are_skipped_with_their_reason(tmp_path: Path) -> None:
    values = pixels("float32")
    values[1, :, :60] = np.nan
    file = write(tmp_path / "a.tif", values)
    x, y = WEST, NORTH
    areas = boundaries(
        box(x + 500, y - 900, x + 1600, y),  # 100 of 110 columns have data
        box(x + 100, y - 900, x + 1100, y),  # 50 of 100
        box(x + 99, y - 900, x + 1089, y),  # 49 of 99
        box(x - 900, y - 900, x - 100, y),
        box(x + 3000, y - 900, x + 8000, y),  # 300 of 500 are in the raster
        box(x + 4000, y - 900, x + 9000, y),  # 200 of 500
    )
    frame = in_pixels(range(7), range(7), [*areas.index, "B"])
    sample = sample_raster(settings(file, sample="areas"), frame, areas=areas)
    few, outside = module.FEW_DATA, module.OUTSIDE_AREA
    assert sample.reasons.tolist() == ["", "", few, outside, "", few, module.NO_AREA]
    np.testing.assert_allclose(sample.values[0], values[:, :90, 60:160].mean((1, 2)), rtol=1e-5)


def test_means_over_areas_need_boundaries(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tif", pixels())
    with pytest.raises(InputError, match="the areas have no boundaries; name a boundary file"):
        sample_raster(
            settings(file, sample="areas"), in_pixels([1], [1]), areas=pd.DataFrame(index=["A"])
        )


def test_a_raster_of_elsewhere_is_refused_with_what_it_covers(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tif", pixels())
    with pytest.raises(AllExcludedError, match="values for no location; it covers 530,000") as no:
        sample_raster(settings(file), in_pixels([-5, -6], [0, 0]))
    assert no.value.skips["reason"].tolist() == [module.OUTSIDE] * 2


def test_a_band_without_any_data_is_named(tmp_path: Path) -> None:
    values = pixels("float64")
    values[1] = np.nan
    file = write(tmp_path / "a.tif", values)
    frame = in_pixels([1, 2], [1, 2], "A0")
    areas = boundaries(box(WEST, NORTH - 100, WEST + 100, NORTH))
    for sample in ("locations", "areas"):
        with pytest.raises(InputError, match=r"band 2 has no data at any location; name the oth"):
            sample_raster(settings(file, sample=sample), frame, areas=areas)
    assert sample_raster(settings(file, bands=(1, 3)), frame).done.all()


def test_a_band_that_is_not_there_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tif", pixels())
    with pytest.raises(InputError, match=r"there is no band 4; it has 3"):
        sample_raster(settings(file, bands=(1, 4)), in_pixels([1], [1]))


def test_numbers_that_no_store_can_hold_are_no_data(tmp_path: Path) -> None:
    values = pixels("float64")
    values[0, 1, 1] = 1e300
    file = write(tmp_path / "a.tif", values)
    sample = sample_raster(settings(file), in_pixels([1, 2], [1, 2]))
    assert sample.reasons.tolist() == [module.NO_DATA, ""]
