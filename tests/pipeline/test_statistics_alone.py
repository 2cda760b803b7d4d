"""A study of official statistics alone is read, checked and mapped; nothing is trained."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest
import shapely

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]
CODES = [f"S0100{6506 + i}" for i in range(30)]


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """A study with [areas] and [outcomes] only."""
    squares = [
        shapely.box(400_000 + i % 6 * 100, 200_000, 400_100 + i % 6 * 100, 200_100 + i // 6 * 100)
        for i in range(30)
    ]
    zones = gpd.GeoDataFrame({"code": CODES}, geometry=squares, crs=27700)
    zones.to_file(tmp_path / "zones.gpkg")
    ranks = [7 * i + 1 for i in range(30)]
    pd.DataFrame({"Data_Zone": CODES, "SIMD2020v2_Income_Domain_Rank": ranks}).to_csv(
        tmp_path / "simd.csv", index=False
    )
    (tmp_path / "study.toml").write_text(
        'name = "Scotland"\n[areas]\nfile = "zones.gpkg"\ncode = "code"\n'
        '[outcomes.income]\nsource = "deprivation"\nfile = "simd.csv"\ndomain = "income"\n',
        encoding="utf-8",
    )
    return tmp_path


def add(study: Path, lines: str) -> None:
    with (study / "study.toml").open("a", encoding="utf-8") as file:
        file.write(lines)


def payload(page: Path) -> dict[str, object]:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert found is not None
    data: dict[str, object] = json.loads(found[1])
    return data


def test_areas_and_outcomes_are_enough_for_deciles(alone: Path, run: Run) -> None:
    code, out, _ = run("outcomes", alone)
    assert code == 0
    assert "Scotland" in out
    frame = pd.read_parquet(alone / "outcomes.parquet").set_index("area")
    assert frame.loc[CODES[0], "income_decile"] == 1
    assert frame.loc[CODES[29], "income_decile"] == 10
    assert (frame["income_decile"].value_counts() == 3).all()


def test_check_says_that_nothing_is_trained_and_run_ends_well(alone: Path, run: Run) -> None:
    code, out, err = run("check", alone)
    assert code == 0
    assert "training: none without [locations]: official statistics alone" in out + err
    code, out, err = run("run", alone)
    assert code == 0
    assert "Official statistics:" in out
    assert not (alone / "metrics.json").exists()


def test_official_deciles_alone_make_a_map(alone: Path, run: Run) -> None:
    assert run("outcomes", alone)[0] == 0
    assert run("map", alone)[0] == 0
    page = alone / "map.html"
    data = payload(page)
    (income,) = data["outcomes"]  # type: ignore[misc]
    assert income["actual"][data["codes"].index(CODES[29])] == 10  # type: ignore[attr-defined]
    assert "decile" not in income
    text = page.read_text(encoding="utf-8")
    assert "Official decile" in text
    assert "Predicted decile" not in text
    assert 'value="swipe"' not in text


def test_a_map_of_outcomes_that_have_changed_is_refused(alone: Path, refuse: Refuse) -> None:
    assert "`outcomes` is not done" in refuse("map", alone)


@pytest.mark.parametrize("command", ["features", "train", "areas", "report"])
def test_what_needs_locations_is_refused_with_what_works_without(
    command: str, alone: Path, refuse: Refuse
) -> None:
    sentence = refuse(command, alone)
    assert f"`{command}` needs [locations], which the study does not have" in sentence
    assert "`streetgauge map` do without" in sentence


def test_locations_without_images_are_read_and_nothing_more(
    alone: Path, run: Run, refuse: Refuse
) -> None:
    (alone / "places.csv").write_text(
        f"location_id,area\np1,{CODES[0]}\np2,{CODES[1]}\n", encoding="utf-8"
    )
    add(alone, '[locations]\nsource = "table"\nfile = "places.csv"\n')
    code, out, err = run("run", alone)
    assert code == 0
    assert "2 locations have an area but no coordinates" in out + err
    assert len(pd.read_parquet(alone / "locations.parquet")) == 2
    assert "needs [imagery], or [features] of another source" in refuse("train", alone)
    assert run("map", alone)[0] == 0


def test_a_study_without_a_file_of_areas_needs_a_directory(alone: Path, refuse: Refuse) -> None:
    toml = (alone / "study.toml").read_text(encoding="utf-8")
    toml = toml.replace('file = "zones.gpkg"\ncode = "code"', 'place = ["London"]')
    (alone / "study.toml").write_text(toml, encoding="utf-8")
    assert "or [locations] with source = 'directory'" in refuse("check", alone)
