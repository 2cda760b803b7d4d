"""A study is trained and tested in two kinds of folds, and tells both side by side."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from small_worlds import add_columns, change, leave_out_illness
from streetgauge.features import FeatureStore
from streetgauge.features.area_means import feature_table, mean_features
from streetgauge.model import Bundle

Run = Callable[..., tuple[int, str, str]]


def figures(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def short(grid: Path) -> Path:
    """Give a small study that is trained for two epochs."""
    change(grid, "epochs = 5", "epochs = 2")
    return grid


def test_both_kinds_of_folds_are_trained_tested_stored_and_reported(run: Run, short: Path) -> None:
    code, out, err = run("run", short)
    assert code == 0, err
    other = short / "other-folds"
    made = {p.name for p in other.iterdir()}
    files = ("folds", "splits", "predictions", "areas")
    assert made == {*(f"{name}.parquet" for name in files), "model"}
    for name in files:
        ours, beside = (pd.read_parquet(p / f"{name}.parquet") for p in (short, other))
        assert list(ours.columns) == list(beside.columns)
    # No network on all areas, and none that knew an area that it is tested on.
    assert {p.name for p in (other / "model").glob("fold-*")} == {"fold-1", "fold-2", "fold-3"}
    assert not (other / "model" / "all").exists()
    splits = pd.read_parquet(other / "splits.parquet")
    assert splits.groupby(["split", "area"])["part"].nunique().eq(1).all()
    # Blocks of 1 km hold 4 of the areas of 500 m: neighbours are held out together.
    fold = pd.read_parquet(other / "areas.parquet").drop_duplicates("area").set_index("area")
    code_of = pd.Series(np.arange(49), sorted(fold.index))
    block = (code_of % 7 + 1060) // 2 * 1000 + (code_of // 7 + 360) // 2
    together = fold["fold"].groupby(block.to_numpy()).nunique()
    assert (together == 1).mean() > 0.5

    metrics = figures(short)
    assert metrics["kind"] == "random"
    assert "spatial block cross-validation" in metrics["other_folds"]["scheme"]["description"]
    assert "headline" not in metrics["other_folds"]
    for name, cells in metrics["headline"].items():
        assert list(cells) == ["random", "spatial"]
        for kind, metric in (("random", metrics), ("spatial", metrics["other_folds"])):
            account = metric["outcomes"][name]
            for key in ("mae", "spearman"):
                told = {k: cells[kind][key][k] for k in ("value", "low", "high")}
                assert told == {k: account["gain"][key][k] for k in told}
            assert set(account["with_images"]) == {"linear", "linear-and-kriging"}
            assert abs(account["shuffled"]["spearman"]) < 2 * account["shuffled"]["chance"]
    assert "random folds" in out
    assert "spatial folds" in out
    assert "also spatial folds (blocks of " in err
    report = (short / "report.html").read_text(encoding="utf-8")
    assert "spatial block cross-validation (" in report
    assert run("run", short)[2].count("up to date") >= 6


def test_a_missing_file_of_the_other_folds_is_made_again(run: Run, finished: Path) -> None:
    before = (finished / "other-folds" / "predictions.parquet").read_bytes()
    (finished / "other-folds" / "predictions.parquet").unlink()
    code, _, err = run("run", finished)
    assert code == 0, err
    assert "train: up to date" not in err
    assert (finished / "other-folds" / "predictions.parquet").read_bytes() == before


def test_without_other_folds_nothing_of_them_is_left(run: Run, finished: Path) -> None:
    (finished / "other-folds" / "notes.txt").write_text("mine")
    whole = figures(finished)
    change(finished, "[folds]\n", "[folds]\nother_folds = false\n")
    code, out, err = run("run", finished)
    assert code == 0, err
    assert [p.name for p in (finished / "other-folds").iterdir()] == ["notes.txt"]
    metrics = figures(finished)
    assert "other_folds" not in metrics
    assert list(metrics["headline"]["income"]) == ["random"]
    assert metrics["headline"]["income"]["random"] == whole["headline"]["income"]["random"]
    assert "spatial folds" not in out


def test_next_to_blocks_stand_random_folds(run: Run, short: Path) -> None:
    leave_out_illness(short)
    change(short, "[folds]\n", '[folds]\nscheme = "blocks"\nblock = 1000.0\n')
    assert run("run", short)[0] == 0
    metrics = figures(short)
    assert metrics["kind"] == "spatial"
    assert metrics["other_folds"]["scheme"]["name"] == "k-fold"
    assert list(metrics["headline"]["income"]) == ["random", "spatial"]
    assert (short / "other-folds" / "predictions.parquet").is_file()


@pytest.mark.slow
def test_nothing_of_the_other_folds_survives_when_the_study_s_own_become_spatial(
    run: Run, short: Path, tmp_path: Path
) -> None:
    leave_out_illness(short)
    fresh = tmp_path / "fresh"
    shutil.copytree(short, fresh)
    change(short, "k = 3", "k = 4")
    assert run("run", short)[0] == 0
    blocks = {p: p.read_bytes() for p in (short / "other-folds").rglob("*.parquet")}
    assert figures(short)["other_folds"]["kind"] == "spatial"
    for place, k in ((short, 4), (fresh, 3)):
        change(place, f"k = {k}", 'k = 3\nscheme = "blocks"\nblock = 1000.0')
    # Between the two stages nothing is told of folds that are not there any more.
    assert run("train", short)[0] == 0
    assert not (short / "other-folds" / "areas.parquet").exists()
    for place in (short, fresh):
        assert run("run", place)[0] == 0
    names = [{p.relative_to(s) for p in (s / "other-folds").rglob("*")} for s in (short, fresh)]
    events = {name for each in names for name in each if "tfevents" in name.name}
    assert names[0] - events == names[1] - events
    assert not any(path.read_bytes() == before for path, before in blocks.items())
    assert figures(short)["other_folds"] == figures(fresh)["other_folds"]
    assert figures(short)["other_folds"]["kind"] == "random"


def test_where_areas_lie_too_close_for_blocks_the_study_says_so_and_goes_on(
    run: Run, short: Path
) -> None:
    leave_out_illness(short)
    change(short, "[folds]\n", "[folds]\nother_block = 100000.0\n")
    code, _, err = run("run", short)
    assert code == 0, err
    assert "no spatial folds as well" in err
    assert not (short / "other-folds").exists()
    assert list(figures(short)["headline"]["income"]) == ["random"]
    assert "train: up to date" in run("run", short)[2]


def test_columns_and_an_earlier_release_are_baselines(
    run: Run, refuse: Callable[..., str], short: Path
) -> None:
    change(short, "[folds]\n", "[folds]\nother_folds = false\n")
    add_columns(short, size=np.arange(49) ** 0.5)
    more = '\n[evaluation]\ncolumns = ["size"]\nprevious = { income = "illness" }\n'
    file = short / "study.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text + more, encoding="utf-8")
    assert run("run", short)[0] == 0
    told = {name: set(a["baselines"]) for name, a in figures(short)["outcomes"].items()}
    assert "previous" in told["income"]
    assert "previous" not in told["illness"]
    assert "columns" in told["income"]
    file.write_text(text + more.replace('"illness"', '"ill"'), encoding="utf-8")
    assert "'ill'" in refuse("check", short)
    file.write_text(text + more.replace('["size"]', '["siz"]'), encoding="utf-8")
    assert "'siz'" in refuse("run", short)


def test_the_bundle_is_that_of_the_study_s_own_folds(
    run: Run, finished: Path, tmp_path: Path
) -> None:
    own, other = (Bundle.load(p / "model" / "fold-1") for p in (finished, finished / "other-folds"))
    assert own.outcomes == other.outcomes
    assert own.cache_key != other.cache_key
    copy = tmp_path / "moved"
    shutil.copytree(finished, copy)
    assert "train: up to date" in run("run", copy)[2]


def test_mean_features_are_over_views_that_are_there_and_then_over_locations(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    ids = [f"L{i}" for i in range(7)]
    features = rng.normal(size=(7, 3, 5)).astype(np.float32)
    there = rng.random((7, 3)) < 0.6
    there[:, 0] = True
    with FeatureStore.create(tmp_path / "f.h5", ids, ["a", "b", "c"], 5, {}) as store:
        done = np.array([True] * 6 + [False])
        store.write(np.arange(7), features, there, done)
    places = pd.DataFrame({"location_id": ids, "area": list("BABACBC")})
    shuffled = places.sample(frac=1, random_state=1)
    found, scale = mean_features(FeatureStore.open(tmp_path / "f.h5"), shuffled)
    assert found["area"].tolist() == ["A", "B", "C"]
    fewer = there & (np.arange(7) != 1)[:, None]  # of location 1 no view is used
    without, _ = mean_features(FeatureStore.open(tmp_path / "f.h5"), shuffled, fewer)
    others, _ = mean_features(FeatureStore.open(tmp_path / "f.h5"), shuffled.drop(index=1))
    assert np.array_equal(feature_table(without), feature_table(others))
    assert found["n_locations"].tolist() == [2, 3, 1]  # the last location is not done
    mean = np.stack([features[i][there[i]].mean(0) for i in range(7)])
    table = feature_table(found)
    np.testing.assert_allclose(table.loc["A"], mean[[1, 3]].mean(0), rtol=1e-5)
    np.testing.assert_allclose(table.loc["B"], mean[[0, 2, 5]].mean(0), rtol=1e-5)
    np.testing.assert_allclose(table.loc["C"], mean[4], rtol=1e-5)
    assert found["features"].iloc[0].dtype == np.float32
    seen = features[:6][there[:6]]
    np.testing.assert_allclose(scale, seen.std(axis=0), rtol=1e-6)
