"""A study's results are at hand in a notebook, as what they are in the files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import matplotlib
import numpy as np
import pandas as pd
import pytest

import streetgauge
from streetgauge.errors import InputError
from streetgauge.notebook import Metrics

matplotlib.use("Agg")
GUIDE = Path(__file__).parents[1] / "docs"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def city(demo_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a small sample city with results, under the name that the guide gives it."""
    place = tmp_path_factory.mktemp("notebook") / "streetgauge-demo"
    return Path(shutil.copytree(demo_once, place))


@pytest.fixture
def study(city: Path) -> streetgauge.Results:
    return streetgauge.Results(city)


@pytest.fixture
def copy(city: Path, tmp_path: Path) -> Path:
    """Give a copy of the small files, to change."""
    left = shutil.ignore_patterns("images", "features", "model")
    return shutil.copytree(city, tmp_path / "copy", ignore=left)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, streetgauge; "
        "heavy = {'torch', 'geopandas', 'pandas', 'numpy', 'pydantic'} & set(sys.modules); "
        "assert not heavy, heavy; streetgauge.Results; "
        "heavy = {'torch', 'geopandas', 'sklearn', 'matplotlib'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'Result'"):
        _ = streetgauge.Result


def test_every_example_of_the_page_runs(city: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(city.parent)
    names: dict[str, object] = {}
    page = (GUIDE / "notebook.md").read_text("utf-8")
    blocks = re.findall(r"^```py\n(.*?)^```", page, re.M | re.S)
    assert len(blocks) >= 8
    for block in blocks:
        exec(compile(block, "notebook.md", "exec"), names)
    assert names["nearest"].shape == (10, 1280)
    assert set(names["training"]["split"]) == {*(f"fold-{k}" for k in range(1, 4)), "all"}
    assert names["bundle"].name == "all"


def test_the_map_of_an_outcome_is_its_rows_of_the_table(study: streetgauge.Results) -> None:
    areas = study.areas("crime")
    assert isinstance(areas, gpd.GeoDataFrame)
    assert areas.crs == "EPSG:4326"
    table = pd.read_parquet(study.files.areas)
    rows = table[table["outcome"] == "crime"].sample(frac=1, random_state=1).set_index("area")
    assert set(areas.index) == set(rows.index)
    for column in rows:
        pd.testing.assert_series_equal(areas[column], rows[column].reindex(areas.index))
    assert areas["difference"].equals(areas["decile"] - areas["actual_decile"])
    # The boundaries, names and districts of the very areas that the inputs say.
    given = gpd.read_file(study.files.directory / "data" / "boundaries.gpkg")
    given = given.set_index("LSOA11CD").to_crs(4326).reindex(areas.index)
    assert (areas["name"] == given["LSOA11NM"]).all()
    assert (areas["district"] == given["LAD11NM"]).all()
    assert areas.geometry.geom_equals_exact(given.geometry, 1e-6).all()


def test_all_outcomes_stand_side_by_side_as_in_the_map_file(study: streetgauge.Results) -> None:
    wide = study.areas()
    layer = gpd.read_file(study.files.map, layer="areas").set_index("area").reindex(wide.index)
    columns = [
        column for column in wide.columns if column.endswith(("_decile", "_actual", "_n_locations"))
    ]
    assert len(columns) == 3 * 3
    for column in columns:
        assert wide[column].astype(float).equals(layer[column].astype(float)), column
    assert next(c for c in wide if c.endswith("_decile")) == "income_decile"  # as in study.toml


def test_a_map_can_be_moved_and_clicked_on(study: streetgauge.Results) -> None:
    pytest.importorskip("folium", reason="folium is not installed")
    pytest.importorskip("mapclassify", reason="mapclassify is not installed")
    areas = study.areas("income")
    areas.loc[areas.index[0], "decile"] = pd.NA
    assert "leaflet" in areas.explore("decile").get_root().render()


def test_without_a_map_there_are_names_and_without_any_file_codes(copy: Path) -> None:
    (copy / "areas.gpkg").unlink()
    from_inputs = streetgauge.Results(copy).areas("income")
    assert from_inputs.crs == "EPSG:4326"
    shutil.rmtree(copy / "data")
    (copy / "data").mkdir()
    plain = streetgauge.Results(copy).areas("income")
    assert type(plain) is pd.DataFrame
    assert "geometry" not in plain
    assert plain["decile"].equals(from_inputs["decile"])
    assert type(streetgauge.Results(copy).areas()) is pd.DataFrame


def test_an_area_without_an_outcome_keeps_its_position_and_whole_numbers(copy: Path) -> None:
    table = pd.read_parquet(copy / "areas.parquet")
    gone = table.loc[table["outcome"] == "income", "area"].iloc[0]
    table = table[(table["area"] != gone) | (table["outcome"] != "income")]
    table.sample(frac=1, random_state=3).to_parquet(copy / "areas.parquet")
    wide = streetgauge.Results(copy).areas()
    assert pd.isna(wide.loc[gone, "income_decile"])
    assert pd.notna(wide.loc[gone, "crime_decile"])
    assert wide["income_n_locations"].dtype == "Int64"
    assert wide.loc[gone, "geometry"] is not None
    assert gone not in streetgauge.Results(copy).areas("income").index


def test_predictions_and_skips_are_the_files(study: streetgauge.Results) -> None:
    whole = pd.read_parquet(study.files.predictions)
    assert study.predictions().equals(whole)
    part = study.predictions("income")
    assert part.equals(whole[whole["outcome"] == "income"].reset_index(drop=True))
    assert study.skipped().equals(pd.read_parquet(study.files.skipped))


def test_locations_are_points_where_they_lie(study: streetgauge.Results) -> None:
    places = study.locations()
    assert places.crs == "EPSG:4326"
    assert np.array_equal(places.geometry.x, places["lon"])
    assert np.array_equal(places.geometry.y, places["lat"])


def test_metrics_are_the_file_and_their_table_says_the_same(study: streetgauge.Results) -> None:
    metrics = study.metrics()
    said = json.loads(study.files.metrics.read_text())
    assert metrics == said
    table = metrics.table()
    assert list(table.index) == list(study.labels)
    for name, about in said["outcomes"].items():
        assert table.loc[name, "mae"] == about["metrics"]["mae"]["value"]
        assert table.loc[name, "spearman_low"] == about["metrics"]["spearman"]["low"]
        added = said["headline"][name]["random"]["mae"]
        assert table.loc[name, "gain_random"] == added["value"]
        assert table.loc[name, "gain_random_over"] == added["over"]


def test_summaries_show_text_as_text(copy: Path, study: streetgauge.Results) -> None:
    file = copy / "study.toml"
    text = file.read_text(encoding="utf-8").replace("Mean household income", HOSTILE)
    file.write_text(text.replace('name = "Sample city"', f'name = "{HOSTILE}"'), encoding="utf-8")
    hostile = streetgauge.Results(copy)
    for html in (hostile._repr_html_(), hostile.metrics()._repr_html_()):
        assert "<script" not in html
        assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 2
    shown = study._repr_html_()
    mae = study.metrics()["outcomes"]["crime"]["metrics"]["mae"]
    assert f"{mae['value']:.2f} ({mae['low']:.2f} to {mae['high']:.2f})" in shown
    bundle = study.bundle("fold-1")
    object.__setattr__(bundle, "source", {"study": HOSTILE, "backbone": "b", "views": ["a"]})
    assert "<script" not in bundle._repr_html_()
    assert "Bundle fold-1" in bundle._repr_html_()
    assert "1,280" in study.features()._repr_html_()


def test_figures_that_are_not_defined_are_a_dash() -> None:
    none = {"value": None, "low": None, "high": None}
    metrics = {"mae": {"value": 1.5, "low": None, "high": None}, "spearman": none}
    account = {"n_areas": 12, "metrics": {**metrics, "within_1": none}}
    said = Metrics({"outcomes": {"a": account}, "headline": {"a": {"random": None}}})
    html = said._repr_html_()
    assert html.count(">-</td>") == 3
    assert ">1.50</td>" in html
    assert "Nothing was tested" in Metrics({"outcomes": {}})._repr_html_()


def test_the_classifier_shows_itself() -> None:
    from streetgauge.model import BinomialOrdinalClassifier

    assert "BinomialOrdinalClassifier" in BinomialOrdinalClassifier(epochs=3)._repr_html_()


def test_what_is_not_there_is_reported_in_a_sentence(
    grid: Path, study: streetgauge.Results, tmp_path: Path
) -> None:
    fresh = streetgauge.Results(str(grid))
    assert "none yet" in fresh._repr_html_()
    assert repr(str(grid)) in repr(fresh)
    asks: list[Callable[[], object]] = [fresh.areas, fresh.metrics, fresh.predictions]
    for ask in [*asks, fresh.features, fresh.bundle, fresh.outcomes, fresh.locations]:
        with pytest.raises(InputError, match="streetgauge"):
            ask()
    assert fresh.skipped().empty
    assert fresh.history().empty
    assert (fresh.stages()["state"] == "not done").all()
    for ask in (study.areas, study.predictions):
        with pytest.raises(InputError, match="did you mean 'income'"):
            ask("incme")
    with pytest.raises(InputError, match="did you mean 'fold-1'"):
        study.bundle("fold1")
    with pytest.raises(InputError):
        streetgauge.Results(tmp_path)


def test_reading_results_writes_nothing_and_leaves_them_up_to_date(
    city: Path, study: streetgauge.Results
) -> None:
    before = {p: p.stat().st_mtime_ns for p in city.rglob("*")}
    study.areas(), study.metrics(), study.history(), study.skipped(), study._repr_html_()
    states = study.stages()["state"]
    assert {p: p.stat().st_mtime_ns for p in city.rglob("*")} == before
    assert set(states) == {"up to date"}


def test_what_has_changed_is_out_of_date(copy: Path) -> None:
    assert streetgauge.Results(copy).stages().loc["outcomes", "state"] == "up to date"
    file = copy / "study.toml"
    file.write_text(file.read_text().replace('statistic = "mean"', 'statistic = "median"'))
    assert streetgauge.Results(copy).stages().loc["outcomes", "state"] == "out of date"


def test_a_bundle_without_torch_is_refused_in_one_sentence(
    demo_once: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streetgauge.errors.find_spec", lambda name: None)
    with pytest.raises(InputError, match="PyTorch: it is not installed"):
        streetgauge.Results(demo_once).bundle()
