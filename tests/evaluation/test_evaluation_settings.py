"""From settings to tables: rules, weights, levels and areas that are not measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from small_worlds import add_columns, leave_out_illness
from streetgauge.evaluation import RULES

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]

SIDE = 6  # areas, squares of 500 m; wards are three rows of two


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, grid_writer: Callable[..., Path]) -> Path:
    """Give a study whose networks are not trained yet; the tests change what comes after."""
    place = grid_writer(tmp_path_factory.mktemp("evaluation") / "world", side=SIDE, per_area=5)
    add_columns(
        place,
        ward=[f"W{i // SIDE // 3}{i % SIDE // 2}" for i in range(SIDE**2)],
        kind=["rural" if i % 3 else "urban" for i in range(SIDE**2)],
        homes=np.arange(SIDE**2) * 10,
    )
    places = pd.read_csv(place / "places.csv")
    # The first area has one location left.
    places = places[~places["place"].isin([f"P{i:05d}" for i in range(1, 5)])]
    places.to_csv(place / "places.csv", index=False)
    places.assign(people=np.arange(len(places)) % 7 + 1)[["place", "people"]].to_csv(
        place / "people.csv", index=False
    )
    leave_out_illness(place)
    file = place / "study.toml"
    text = file.read_text(encoding="utf-8")
    text = text.replace("k = 3\n", "k = 3\nfinal = false\nother_folds = false\n").replace(
        "epochs = 5", "epochs = 2"
    )
    file.write_text(text + "\n[evaluation]\ndraws = 100\n", encoding="utf-8")
    return place


@pytest.fixture
def judge(run: Run, trained: Path) -> Callable[[str], Path]:
    """Give a function that judges the study's predictions by other settings."""
    file = trained / "study.toml"
    before = file.read_text(encoding="utf-8")

    def with_settings(text: str) -> Path:
        plain = before.split("\n[evaluation]\n")[0]
        file.write_text(f"{plain}\n[evaluation]\ndraws = 100\n{text}\n", encoding="utf-8")
        code, _, err = run("run", trained)
        assert code == 0, err
        return trained

    return with_settings


def test_levels_groups_and_people_go_from_settings_to_tables(judge: Callable[[str], Path]) -> None:
    place = judge(
        'levels = ["ward"]\ngroups = ["kind"]\nweight = "population"\nmin_locations = 2\n'
        'bootstrap = "ward"\n[evaluation.population]\nfile = "people.csv"\nlocation = "place"\n'
        'people = "people"'
    )
    metrics = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
    account = metrics["outcomes"]["income"]
    assert (metrics["weight"], metrics["min_locations"]) == ("population", 2)
    assert account["bootstrap"]["unit"] == "ward"
    assert account["bootstrap"]["n"] == 6
    assert (account["n_areas"], account["n_areas_too_few_locations"]) == (35, 1)
    assert {"deprivation", "kind"} <= set(account["groups"])
    assert account["metrics"]["rps"]["value"] > 0
    assert account["metrics"]["r2"]["value"] <= 1
    assert metrics["levels"]["ward"]["outcomes"]["income"]["n_areas"] == 6

    areas = pd.read_parquet(place / "areas.parquet")
    promised = ["area", "outcome", "n_locations", "score", "decile", "low", "high"]
    assert list(areas.columns[:7]) == promised
    assert {"n_views", "share_with_images", "actual_value", "weight", "status"} <= set(
        areas.columns
    )
    first = areas[(areas["area"] == "E00000000") & (areas["outcome"] == "income")].iloc[0]
    assert (first["n_locations"], first["n_views"], first["status"]) == (1, 2, "too few locations")
    assert areas["share_with_images"].eq(1).all()

    people = pd.read_csv(place / "people.csv", dtype={"place": str}).set_index("place")["people"]
    predictions = pd.read_parquet(place / "predictions.parquet")
    rows = predictions[predictions["outcome"] == "income"]
    weight = rows["location_id"].map(people)
    mean = (rows["score"] * weight).groupby(rows["area"]).sum() / weight.groupby(rows["area"]).sum()
    income = areas[areas["outcome"] == "income"].set_index("area")
    np.testing.assert_allclose(income["score"], mean[income.index])
    np.testing.assert_allclose(
        income["weight"], weight.groupby(rows["area"]).sum()[income.index].astype(float)
    )

    wards = pd.read_parquet(place / "areas-ward.parquet")
    assert list(wards.columns[:7]) == promised
    assert wards["n_areas"].eq(6).all()
    value = income["actual_value"] * income["weight"]
    own = gpd.read_file(place / "areas.geojson").set_index("code")["ward"]
    by_ward = value.groupby(own).sum() / income["weight"].groupby(own).sum()
    found = wards[wards["outcome"] == "income"].set_index("area")["actual_value"]
    np.testing.assert_allclose(found, by_ward[found.index])

    skipped = pd.read_parquet(place / "skipped.parquet")
    few = skipped[skipped["stage"] == "areas"]
    assert few["area"].tolist() == ["E00000000"]
    assert few["reason"].str.contains("fewer than 2 locations").all()


def test_every_rule_is_a_setting(judge: Callable[[str], Path]) -> None:
    found = {}
    for rule in RULES:
        level = 'levels = ["ward"]\n' if rule == RULES[0] else ""
        place = judge(f'rule = "{rule}"\n{level}')
        metrics = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
        assert metrics["rule"] == rule
        found[rule] = metrics["outcomes"]["income"]["extremes"]["lowest"]["predicted"]
        # The table of a level that is not asked for any more is gone.
        assert (place / "areas-ward.parquet").exists() == bool(level)
    assert found["mean-score"] > found["mean-decile"]


def test_a_column_of_the_areas_may_weigh_them(judge: Callable[[str], Path]) -> None:
    place = judge('weight = "homes"')
    areas = pd.read_parquet(place / "areas.parquet")
    assert areas.groupby("area")["weight"].first().tolist() == [10.0 * i for i in range(36)]
    skipped = pd.read_parquet(place / "skipped.parquet")
    without = skipped[skipped["reason"].str.contains("no number of people")]
    assert without["area"].tolist() == ["E00000000"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('weight = "population"', "no file gives how many people there are"),
        ('weight = "home"', "no column 'home'"),
        ('levels = ["wards"]', "no column 'wards'"),
        ('groups = ["kinds"]', "no column 'kinds'"),
        ('bootstrap = "wardd"', "no column 'wardd'"),
        ('levels = ["a/b"]', "levels"),
        ('rule = "mode"', "rule"),
    ],
)
def test_settings_that_fit_nothing_are_refused_before_any_long_work(
    refuse: Refuse, trained: Path, settings: str, words: str
) -> None:
    file = trained / "study.toml"
    plain = file.read_text(encoding="utf-8").split("\n[evaluation]\n")[0]
    file.write_text(f"{plain}\n[evaluation]\n{settings}\n", encoding="utf-8")
    assert words in refuse("check", trained)
