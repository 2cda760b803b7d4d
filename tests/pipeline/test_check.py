"""`check` reports all that is wrong, counts what can be used, and its status says if a run can."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

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
