"""Learning curves: fewer areas, fewer locations, fewer views."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from streetgauge.analysis.curves import Curves, Point, first_of_each
from streetgauge.pipeline.run import run_stage
from streetgauge.progress import silent
from streetgauge.study import Study

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, grid_writer: Callable[..., Path]) -> Path:
    """Give a study with features and without networks."""
    place = grid_writer(tmp_path_factory.mktemp("curves") / "one", per_area=5)
    file = place / "study.toml"
    text = file.read_text("utf-8")
    file.write_text(text.replace("k = 3", "k = 3\nother_folds = false"), "utf-8")
    prepare(place)
    return place


def prepare(place: Path) -> None:
    study = Study.open(place)
    for name in ("outcomes", "locations", "features"):
        run_stage(study, name, silent)


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "study"))


def draw(place: Path, **settings: Any) -> dict[str, Any]:
    return Curves(Study.open(place), **settings).draw()


def test_what_is_taken_is_nested_and_does_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(0)
    ids = np.array([f"L{i:03d}" for i in range(200)], object)
    areas = np.array([f"A{i}" for i in rng.integers(0, 20, 200)], object)
    taken = [first_of_each(ids, areas, most, 7) for most in (1, 2, 4, 100)]
    for less, more in pairwise(taken):
        assert not (less & ~more).any()
    size = pd.Series(areas).value_counts()
    for most, one in zip((1, 2, 4, 100), taken, strict=True):
        count = pd.Series(areas[one]).value_counts().sort_index()
        assert count.tolist() == size.sort_index().clip(upper=most).tolist()
    order = rng.permutation(200)
    again = first_of_each(ids[order], areas[order], 2, 7)
    np.testing.assert_array_equal(again, taken[1][order])
    assert (first_of_each(ids, areas, 2, 8) != taken[1]).any()


def test_points_are_nested_and_test_the_same_areas_in_the_same_folds(study: Path) -> None:
    curves = Curves(Study.open(study))
    assert [point.name for point in curves.points] == [
        *("areas-0.05", "areas-0.1", "areas-0.25", "areas-0.5"),
        *("locations-1", "locations-2", "locations-4", "views-1", "all"),
    ]
    seen: dict[str, set[Any]] = {}
    for point in curves.points:
        training = curves.training(point)
        data, ids = training.data, training.data.location_ids
        there = np.asarray(data.present)[data.location_rows]
        rows = np.column_stack(np.nonzero(there))
        seen[point.name] = {(ids[i], int(v)) for i, v in rows}
        assert there.any(axis=1).all()
        for split, whole in zip(training.splits, curves.splits, strict=True):
            assert set(data.areas[split.test]) == set(curves.data.areas[whole.test])
            rows = np.concatenate([split.training, split.validation])
            parts = np.concatenate([whole.training, whole.validation])
            assert set(ids[rows]) <= set(curves.data.location_ids[parts])
    assert seen["locations-1"] < seen["locations-2"] < seen["locations-4"] < seen["all"]
    assert seen["views-1"] < seen["all"]
    assert len(seen["views-1"]) == len(seen["all"]) / 2
    assert len(seen["locations-1"]) == 49 * 2


def test_the_last_point_is_the_study_itself_and_more_is_better(run: Run, study: Path) -> None:
    words = ("--shares", "0.25", "--locations", "1", "--views", "1")
    code, _, err = run("curves", study, *words)
    assert code == 0, err
    assert "4 points x 3 folds x 2 members" in err
    assert "12 trainings" in err
    found = json.loads((study / "curves.json").read_text("utf-8"))
    points = {(p["by"], p["outcome"]): p for p in found["points"]}
    assert found["skipped"] == []
    own = Study.open(study)
    for name in ("train", "areas"):
        run_stage(own, name, silent)
    metrics = json.loads((study / "metrics.json").read_text("utf-8"))["outcomes"]
    for outcome in ("income", "illness"):
        whole = points["all", outcome]
        assert whole["spearman"]["value"] == pytest.approx(
            metrics[outcome]["metrics"]["spearman"]["value"]
        )
        assert whole["difference_from_all"]["mae"] == {"value": 0, "low": 0, "high": 0}
        assert whole["images"] == 49 * 5 * 2
        few = points["locations", outcome]
        assert few["images"] == 49 * 2
        assert few["n_areas"] == whole["n_areas"] == 49
        assert few["locations_per_area"] == 1
        assert points["views", outcome]["views_per_location"] == 1
        assert points["areas", outcome]["n_training_areas"] == pytest.approx(33 * 0.25, abs=1)
        # The world is made so that a location tells little and five tell much.
        assert few["spearman"]["value"] < whole["spearman"]["value"]
        assert few["difference_from_all"]["spearman"]["value"] < 0
    assert "all of them are there already" in run("curves", study, *words)[2]


def test_another_point_costs_only_itself_and_cheaper_networks_are_others(study: Path) -> None:
    first = draw(study, shares=(), locations=(), views=(), epochs=1)
    more = Curves(Study.open(study), shares=(0.5,), locations=(), views=(), epochs=1)
    assert "of which 1 points are there already: 3 trainings" in more.cost
    found = more.draw()
    assert found["points"][-1] == first["points"][-1]
    fewer = {"locations": (), "views": (), "ensemble_size": 1, "epochs": 1}
    cheap = Curves(Study.open(study), shares=(0.5,), **fewer)
    assert "6 trainings" in cheap.cost
    assert cheap.draw()["settings"]["ensemble_size"] == 1


def test_the_time_of_a_curve_is_that_of_training_by_its_networks_and_epochs(study: Path) -> None:
    file = study / "run.json"
    content = json.loads(file.read_text("utf-8"))
    content["stages"]["train"] = {**content["stages"]["features"], "seconds": 2400.0}
    file.write_text(json.dumps(content), "utf-8")

    def cost(**settings: Any) -> str:
        curves = Curves(Study.open(study), shares=(), locations=(), views=(), **settings)
        return curves.cost.rpartition("about ")[2]

    # Three of the four networks are of folds; two members of five epochs each took 40 minutes.
    assert cost().startswith("30 min ")
    assert cost(ensemble_size=1).startswith("15 min ")
    assert cost(epochs=10).startswith("60 min ")


def test_the_order_of_the_locations_makes_no_difference(study: Path) -> None:
    few = {"shares": (0.5,), "locations": (2,), "views": (1,), "epochs": 2, "ensemble_size": 1}
    found = draw(study, **few)
    places = study / "locations.parquet"
    frame = pd.read_parquet(places)
    shutil.rmtree(study / "curves")
    frame.sample(frac=1, random_state=0).to_parquet(places)
    assert draw(study, **few) == found


def test_too_few_areas_for_the_members_have_fewer_and_no_label_is_excluded(study: Path) -> None:
    found = draw(study, shares=(0.03,), locations=(), views=(), epochs=1)
    point = found["points"][0]
    assert point["by"] == "areas"
    assert point["ensemble_size"] <= 2
    assert point["n_training_areas"] <= 3


@pytest.mark.slow
def test_a_curve_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    run: Run, study: Path, tmp_path: Path
) -> None:
    whole = Path(shutil.copytree(study, tmp_path / "whole"))
    words = ["--shares", "0.5", "--locations", "2", "--views", "0", "--epochs", "5", "-q"]
    command = [sys.executable, "-m", "streetgauge", "curves"]
    process = subprocess.Popen([*command, str(study), *words], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(study.glob("curves/*/fold-1/bundle.json")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (study / "curves.json").exists()
    for place in (study, whole):
        assert run("curves", place, *words)[0] == 0
    files = sorted(p.relative_to(whole) for p in (whole / "curves").rglob("*") if p.is_file())
    assert [file.name for file in files] == [
        "all.parquet", "areas-0.5.parquet", "locations-2.parquet",
    ]  # fmt: skip
    assert sorted(p.relative_to(study) for p in (study / "curves").rglob("*")) == files
    for file in (*files, Path("curves.json")):
        assert (study / file).read_bytes() == (whole / file).read_bytes()


def test_bad_wishes_are_one_sentence(refuse: Refuse, study: Path) -> None:
    assert "1.5 is not a share" in refuse("curves", study, "--shares", "1.5")
    assert "these are not numbers" in refuse("curves", study, "--shares", "a")
    assert "these are not whole numbers" in refuse("curves", study, "--locations", "1.5")
    assert "-1 is too few" in refuse("curves", study, "--locations=-1")
    file = study / "study.toml"
    text = file.read_text("utf-8")
    file.write_text(text.replace("k = 3\nother_folds = false", 'scheme = "train-only"'), "utf-8")
    assert "does not both train and test" in refuse("curves", study)
    file.write_text(text.replace('id = "place"', 'id = "other"'), "utf-8")
    assert refuse("curves", study)


def test_a_point_says_what_it_is() -> None:
    assert str(Point("areas", 0.05)) == "0.05 of the training areas"
    assert str(Point("locations", 1)) == "1 location an area"
    assert str(Point("views", 2)) == "2 views a location"
    assert str(Point("all")) == "all there is"
