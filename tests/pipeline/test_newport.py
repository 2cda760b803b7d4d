"""A real case from files to areas: street segments of Newport and the Welsh index."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "newport" / "study.toml"


@pytest.mark.slow
def test_newport_s_images_tell_its_areas_in_order(
    run: Callable[..., tuple[int, str, str]], shared_data: Path, tmp_path: Path
) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert not re.search(r"\[(folds|train|report)\]", text)
    place = tmp_path / "newport"
    place.mkdir()
    # Two narrow networks of three epochs and three folds are enough to see that it learns; the
    # example trains wider ones for longer, in more folds and in spatial ones as well.
    text = text.replace("../../../shared/data", shared_data.as_posix())
    text += "\n[folds]\nk = 3\nfinal = false\nother_folds = false\n"
    text += '[train]\nensemble_size = 2\nepochs = 3\nwidth = 128\n[report]\nfigures = "none"\n'
    (place / "study.toml").write_text(text, encoding="utf-8")
    code, out, err = run("run", place)
    assert code == 0, err
    # The label, which a narrow table breaks over two lines.
    assert re.search(r"WIMD 2019 (housing|[^\n]*\n\s*housing)", out)
    locations = pd.read_parquet(place / "locations.parquet")
    assert len(locations) == 10_570
    predictions = pd.read_parquet(place / "predictions.parquet")
    used = predictions.drop_duplicates("location_id")
    assert (len(used), used["area"].nunique()) == (7_928, 85)
    skipped = pd.read_parquet(place / "skipped.parquet")
    left_out = set(skipped.loc[skipped["stage"] == "features", "location_id"])
    assert left_out == set(locations["location_id"]) - set(used["location_id"])
    about = json.loads((place / "metrics.json").read_text())["outcomes"]
    assert set(about) == {"wimd_overall", "housing", "income", "environment", "townsend"}
    assert about["housing"]["metrics"]["spearman"]["value"] > 0.5
    assert all(a["metrics"]["spearman"]["value"] > 0.25 for a in about.values())
    assert all("nearest-areas" in a["baselines"] for a in about.values())
    areas = pd.read_parquet(place / "areas.parquet")
    without = areas[areas["n_locations"] == 0]
    assert without["area"].nunique() == 10  # of all 95 areas
    assert without["status"].eq("no images").all()
    assert without["best_from"].eq("places").all()
    assert without["decile"].isna().all()
    assert areas["best_decile"].between(1, 10).all()
    best = about["environment"]["best"]
    assert best["metrics"]["spearman"]["value"] > 0.75  # places show it, images hardly
    assert best["gain_over_images"]["mae"]["low"] > 0
    assert run("coverage", place)[0] == 0
    coverage = json.loads((place / "coverage.json").read_text())["outcomes"]
    assert {each["n_without"] for each in coverage.values()} == {10}
    assert [each["n_without"] for each in coverage["housing"]["by_decile"][-2:]] == [2, 4]
    assert coverage["housing"]["is_related"]  # areas of good housing lie outside the streets
    assert not coverage["environment"]["is_related"]
    code, out, err = run("fairness", place)
    assert code == 0, err
    assert "images few" in out or "No difference between groups is sure" in out
    code, _, err = run("age", place)
    assert code == 2
    assert "source = 'table' has no images with dates" in err
    layer = gpd.read_file(place / "areas.gpkg")
    assert len(layer) == 95
    assert layer["environment_best_decile"].notna().all()
