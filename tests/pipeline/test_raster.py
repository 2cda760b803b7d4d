"""A study whose features are bands of a raster, from settings to the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from small_worlds import change
from streetgauge.features import FeatureStore
from streetgauge.study import Study
from streetgauge.study.stages import stage_named

rasterio = pytest.importorskip("rasterio", reason="the extra 'raster' is not installed")

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]


@pytest.fixture
def study(grid: Path) -> Path:
    """Give a study whose raster shows income in band 1; it ends before the easternmost areas."""
    areas = gpd.read_file(grid / "areas.geojson")
    income = pd.read_csv(grid / "outcomes.csv").set_index("code")["income"]
    west, _, _, north = areas.total_bounds
    values = np.random.default_rng(0).normal(size=(2, 70, 60)).astype(np.float32)
    for area in areas.itertuples():
        x, y = (area.geometry.bounds[0] - west) / 50, (north - area.geometry.bounds[3]) / 50
        values[0, round(y) : round(y) + 10, round(x) : round(x) + 10] += income[area.code]
    place = rasterio.transform.from_origin(west, north, 50, 50)
    about = {"crs": "EPSG:27700", "transform": place, "dtype": "float32", "count": 2}
    with rasterio.open(grid / "a.tif", "w", driver="GTiff", height=70, width=60, **about) as raster:
        raster.write(values)
    file = grid / "study.toml"
    text = file.read_text(encoding="utf-8")
    start, end = text.index("[features]"), text.index("[folds]")
    own = '[features]\nsource = "raster"\nfile = "a.tif"\nsample = "areas"\n\n'
    file.write_text(text[:start] + own + text[end:], encoding="utf-8")
    change(grid, "k = 3", "k = 3\nother_folds = false")
    return grid


def test_a_study_runs_on_means_of_bands_over_areas(study: Path, run: Run) -> None:
    code, out, err = run("check", study)
    assert code == 0, err
    assert "2 bands, read by areas" in out + err
    assert "336 of 392 locations have features, in 42 of 49 areas" in out + err
    code, _, err = run("run", study)
    assert code == 0, err
    assert "336 locations with 1 view of 2 features (raster)" in err
    assert "56 locations excluded: the raster does not cover the location's area" in err
    skipped = pd.read_parquet(study / "skipped.parquet").query("stage == 'features'")
    assert len(skipped) == 56
    store = FeatureStore.open(study / "features" / "raster.h5")
    areas = pd.read_parquet(study / "locations.parquet").set_index("location_id")["area"]
    income = pd.read_csv(study / "outcomes.csv").set_index("code")["income"]
    of = areas.reindex(store.location_ids)[store.done]
    shown = store.features[store.done, 0, 0]
    np.testing.assert_allclose(shown, income.reindex(of), atol=0.5)
    assert pd.Series(shown).groupby(of.to_numpy()).nunique().eq(1).all()
    assert (study / "report.html").exists()
    assert "out of date" not in "".join(run("info", study)[1:])


def test_means_are_out_of_date_when_boundaries_change_and_pixels_are_not(study: Path) -> None:
    def key() -> str:
        return Study.open(study).key(stage_named("features"), upstream=False)

    (study / "locations.parquet").write_bytes(b"stands for locations")
    by_area = key()
    change(study, 'name = "name"\n\n', 'name = "name"\ndistrict = "name"\n\n')
    assert key() != by_area
    change(study, 'sample = "areas"\n', "")
    by_location = key()
    change(study, 'district = "name"\n', "")
    assert key() == by_location


def test_a_raster_that_cannot_be_used_is_one_sentence(
    study: Path, run: Run, refuse: Refuse
) -> None:
    for stage in ("outcomes", "locations"):
        assert run(stage, study)[0] == 0
    raster = study / "a.tif"
    about = {"height": 8, "width": 8, "count": 1, "dtype": "uint8"}
    with rasterio.open(raster, "w", driver="GTiff", **about) as file:
        file.write(np.zeros((1, 8, 8), np.uint8))
    assert "it has no coordinate system" in refuse("features", study)
    raster.write_text('<VRTDataset rasterXSize="1" rasterYSize="1"/>')
    assert "this is not a GeoTIFF" in refuse("features", study)
    change(study, 'file = "a.tif"', 'file = "a.tif"\nbands = [2, 2]')
    assert "a band is named more than once" in refuse("features", study)


def test_a_raster_has_no_images_that_could_cover_an_area(
    study: Path, refuse: Refuse, run: Run
) -> None:
    for stage in ("outcomes", "locations"):
        assert run(stage, study)[0] == 0
    assert "a raster has no images" in refuse("coverage", study)


def test_a_raster_is_a_source_next_to_others_and_its_absence_is_no_copy(
    study: Path, run: Run
) -> None:
    rng = np.random.default_rng(0)
    places = pd.read_csv(study / "places.csv")["place"]
    noise = pd.DataFrame(rng.normal(size=(len(places), 3)), columns=["a", "b", "c"])
    noise.assign(place=places).to_csv(study / "noise.csv", index=False)
    change(study, "[features]\n", "[features.sky]\n")
    own = 'source = "table"\nfile = "noise.csv"\ncolumns = ["a", "b", "c"]\n'
    change(study, "[folds]\n", f'[features.street]\n{own}location_id = "place"\n\n[folds]\n')
    code, _, err = run("run", study)
    assert code == 0, err
    assert "sky: 56 locations excluded: the raster does not cover the location's area" in err
    assert "392 locations with any source, 336 with all 2" in err
    assert "of sky puts areas in the order of Household income" in err
    assert "exactly the features of another area" not in err
