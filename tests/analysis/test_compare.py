"""Two studies side by side, from the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from small_worlds import change
from streetgauge.analysis.compare import compare, different_settings
from streetgauge.study import Study

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]


@pytest.fixture
def pair(finished_once: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Give two copies of a study with figures."""
    return tuple(Path(shutil.copytree(finished_once, tmp_path / name)) for name in ("a", "b"))  # type: ignore[return-value]


def perfect(place: Path) -> None:
    """Make a study's predictions of income equal the truth."""
    for file in (place / "areas.parquet", place / "other-folds" / "areas.parquet"):
        frame = pd.read_parquet(file)
        mine = frame["outcome"] == "income"
        frame.loc[mine, "decile"] = frame.loc[mine, "actual_decile"]
        frame.sample(frac=1, random_state=0).to_parquet(file)


def test_a_study_and_its_copy_do_not_differ(run: Run, pair: tuple[Path, Path]) -> None:
    a, b = pair
    code, out, err = run("compare", a, b, "--out", a.parent / "out")
    assert code == 0, err
    assert "CAUTION" not in out
    assert "Settings that differ" not in out
    assert "; b: " not in out  # both are tested in the same folds, which are named once
    found = json.loads((a.parent / "out" / "comparison.json").read_text("utf-8"))
    assert list(found["kinds"]) == ["random", "spatial"]
    assert found["settings"] == found["cautions"] == []
    for kind in found["kinds"].values():
        for each in kind["outcomes"].values():
            assert each["paired"]
            assert each["n_areas"]["shared"] == 49
            for metric in each["metrics"].values():
                assert metric["difference"] == {"value": 0, "low": 0, "high": 0}
    # What is drawn is what the study's own figures draw.
    assert found["kinds"]["spatial"]["outcomes"]["income"]["units"]["a"] < 49


def test_a_better_study_is_better_and_rows_may_be_in_any_order(
    run: Run, pair: tuple[Path, Path]
) -> None:
    a, b = pair
    perfect(b)
    code, out, err = run("compare", a, b, "--json")
    assert code == 0, err
    found = json.loads(out)
    income = found["kinds"]["random"]["outcomes"]["income"]["metrics"]["mae"]
    assert income["b"]["value"] == 0
    assert income["b_better"] == 1
    figures = json.loads((a / "metrics.json").read_text("utf-8"))["outcomes"]["income"]
    assert income["a"]["value"] == pytest.approx(figures["metrics"]["mae"]["value"])
    illness = found["kinds"]["random"]["outcomes"]["illness"]["metrics"]["mae"]
    assert illness["difference"]["value"] == 0
    assert any("b (" in caution for caution in found["cautions"])  # its areas were changed


def test_settings_that_differ_are_listed_and_files_count_by_content(
    pair: tuple[Path, Path],
) -> None:
    a, b = pair
    change(b, "k = 3", "k = 4")
    change(b, 'name = "Grid"', 'name = "Another"')
    change(b, 'file = "places.csv"', 'file = "places2.csv"')
    shutil.copy(b / "places.csv", b / "places2.csv")
    found = different_settings(Study.open(a), Study.open(b))
    assert {each["key"]: (each["a"], each["b"]) for each in found} == {
        "folds.k": ("3", "4"),
        "locations.file": ("places.csv", "places2.csv"),
    }


def test_where_its_content_is_recorded_on_both_sides_a_file_counts_by_that(
    pair: tuple[Path, Path],
) -> None:
    a, b = pair
    change(b, 'file = "places.csv"', 'file = "places2.csv"')
    studies = Study.open(a), Study.open(b)

    def differences(**contents: tuple[str, str]) -> dict[str, tuple[str, str]]:
        for study, side in zip(studies, (0, 1), strict=True):
            study.record["files"] = {
                str(study.path(f"{name}{'2' if side and name == 'places' else ''}.csv")): {
                    "sha256": content[side]
                }
                for name, content in contents.items()
            }
        found = different_settings(*studies)
        return {each["key"]: (each["a"], each["b"]) for each in found}

    assert differences(places=("x", "x"), features=("y", "y")) == {}
    assert differences(places=("x", "z"), features=("y", "z")) == {
        "features.file": ("features.csv", "features.csv (other content)"),
        "locations.file": ("places.csv", "places2.csv"),
    }


def test_cities_without_shared_areas_are_not_paired(pair: tuple[Path, Path]) -> None:
    a, b = pair
    for file in (b / "areas.parquet", b / "other-folds" / "areas.parquet"):
        frame = pd.read_parquet(file)
        frame.assign(area="W" + frame["area"]).to_parquet(file)
    places = pd.read_parquet(b / "locations.parquet")
    places.assign(area="W" + places["area"]).to_parquet(b / "locations.parquet")
    areas = gpd.read_file(b / "areas.geojson")
    areas.assign(code="W" + areas["code"]).to_file(b / "areas.geojson", driver="GeoJSON")
    found = compare(a, b)
    each = found["kinds"]["spatial"]["outcomes"]["income"]
    assert not each["paired"]
    assert each["n_areas"] == {"a": 49, "b": 49, "shared": 0}
    assert each["units"]["a"] == each["units"]["b"] < 49
    assert each["metrics"]["mae"]["difference"]["value"] == 0
    assert each["metrics"]["mae"]["difference"]["low"] < 0


def test_a_bundle_s_figures_are_compared_with_a_study(run: Run, pair: tuple[Path, Path]) -> None:
    a, _ = pair
    bundle = a.parent / "bundle"
    assert run("export", a, "--out", bundle)[0] == 0
    code, out, err = run("compare", a, bundle, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["b"]["type"] == "bundle"
    assert list(found["kinds"]) == ["random"]
    mae = found["kinds"]["random"]["outcomes"]["income"]["metrics"]["mae"]
    assert mae["difference"]["value"] == 0
    half = mae["a"]["high"] - mae["a"]["value"], mae["a"]["value"] - mae["a"]["low"]
    assert mae["difference"]["high"] == pytest.approx(np.hypot(*half))
    assert run("compare", bundle, a)[0] == 0


def test_what_cannot_be_compared_is_one_sentence(
    refuse: Refuse, run: Run, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    a, b = pair
    assert "there is no such study" in refuse("compare", a, tmp_path / "nowhere")
    metrics = json.loads((b / "metrics.json").read_text("utf-8"))

    def say(**changes: object) -> None:
        (b / "metrics.json").write_text(json.dumps(metrics | changes), "utf-8")

    say(classes=5)
    assert "one has 10 classes and the other 5" in refuse("compare", a, b)
    say(outcomes={"crime": metrics["outcomes"]["income"]})
    assert "they share no outcome" in refuse("compare", a, b)
    say(outcomes={})
    assert "none of its areas was tested" in refuse("compare", a, b)
    say(format_version=1)
    assert "an unreleased version of streetgauge made it (format 1" in refuse("compare", a, b)
    (b / "metrics.json").write_text("[1]", "utf-8")
    assert "this is not a JSON object; make it again with `streetgauge areas" in refuse(
        "compare", a, b
    )
    (b / "metrics.json").unlink()
    assert "it has no figures yet" in refuse("compare", a, b)
    say()
    (b / "areas.parquet").write_bytes(b"none")
    assert "it cannot be read" in refuse("compare", a, b)
    (b / "areas.parquet").unlink()
    assert "it is not there" in refuse("compare", a, b)
    (tmp_path / "comparison.json").write_text("{}")
    assert "this is not a streetgauge comparison" in refuse("compare", a, a, "--out", tmp_path)
    assert (tmp_path / "comparison.json").read_text() == "{}"
    assert "this is a file" in refuse("compare", a, a, "--out", tmp_path / "comparison.json")


def test_folds_of_different_kinds_are_compared_with_a_caution(pair: tuple[Path, Path]) -> None:
    a, b = pair
    for place, keep, kind in ((a, "random", "random"), (b, "spatial", "spatial")):
        metrics = json.loads((place / "metrics.json").read_text("utf-8"))
        own = metrics if keep == "random" else {**metrics["other_folds"], "kind": kind}
        own.pop("other_folds", None)
        (place / "metrics.json").write_text(json.dumps(own), "utf-8")
    found = compare(a, b)
    assert list(found["kinds"]) == ["random and spatial"]
    assert any("part of the difference is that" in caution for caution in found["cautions"])


def test_other_weights_on_either_side_are_reported(pair: tuple[Path, Path]) -> None:
    a, b = pair
    for place, factor in ((a, 1.0), (b, -1.0)):
        for file in (place / "areas.parquet", place / "other-folds" / "areas.parquet"):
            frame = pd.read_parquet(file)
            rank = (factor * frame["area"].str[1:].astype(float)).rank()
            frame.assign(weight=rank).to_parquet(file)
    found = compare(a, b, draws=100)
    assert any("weight areas by different numbers" in each for each in found["cautions"])
    outcome = found["kinds"]["random"]["outcomes"]["income"]
    assert outcome["weighted"] is False
    metrics = json.loads((a / "metrics.json").read_text(encoding="utf-8"))
    mae = metrics["outcomes"]["income"]["metrics"]["mae"]["value"]
    assert outcome["metrics"]["mae"]["a"]["value"] == pytest.approx(mae)


def test_an_outcome_that_the_settings_have_lost_since_is_compared_by_its_name(
    pair: tuple[Path, Path],
) -> None:
    a, b = pair
    change(a, "[outcomes.illness]", "[outcomes.sickness]")
    found = compare(a, b, draws=100)
    outcomes = found["kinds"]["random"]["outcomes"]
    assert {name: each["label"] for name, each in outcomes.items()} == {
        "income": "Household income",
        "illness": "illness",
    }
    assert any("have changed since" in caution for caution in found["cautions"])


def test_what_is_drawn_together_is_what_the_study_drew_together(pair: tuple[Path, Path]) -> None:
    """By the middles of its boundaries, wherever in its areas the images were taken."""
    a, _ = pair
    places = pd.read_parquet(a / "locations.parquet")
    places.assign(lat=51.0, lon=0.0).to_parquet(a / "locations.parquet")
    metrics = json.loads((a / "metrics.json").read_text("utf-8"))
    drawn = metrics["other_folds"]["outcomes"]["income"]["bootstrap"]
    assert drawn["unit"] == "blocks"
    units = compare(a, a, draws=100)["kinds"]["spatial"]["outcomes"]["income"]["units"]
    assert units["a"] == drawn["n"]
