"""Results of stages are those that are stored, or the stage's version was raised."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import golden
from streetgauge.io.files import read_metadata, write_table
from streetgauge.progress import Progress
from streetgauge.study import Done, Study

CASES = [pytest.param(*case, id=f"{case[0]}-{case[1].name}") for case in golden.cases()]
STAGE = {stage.name: stage for stage in golden.CHAIN}


@pytest.mark.parametrize(("configuration", "stage"), CASES)
def test_the_results_of_a_stage_are_those_stored_for_its_version(
    configuration: str, stage: golden.Runnable
) -> None:
    not_compared = golden.check(configuration, stage)
    if not_compared:
        pytest.skip(not_compared)


def test_stored_results_and_their_inputs_are_all_used_and_take_less_than_a_megabyte() -> None:
    assert golden.unused() == []
    here = golden.files(golden.HERE)
    size = {name: file.stat().st_size for name, file in here.items() if "__pycache__" not in name}
    assert sum(size.values()) < 1e6


def altered(
    name: str, path: Callable[[Study], Path], column: str, by: float, version: int = 1
) -> golden.Runnable:
    """Give a stage that makes one value of a table another one."""
    stage = STAGE[name]

    def work(study: Study, cache_key: str, progress: Progress) -> Done:
        done = stage.work(study, cache_key, progress)
        frame, about = pd.read_parquet(path(study)), read_metadata(path(study))
        frame.loc[3, column] += by
        write_table(frame, path(study), about or None)
        return done

    return replace(stage, work=work, version=stage.version + version - 1)


def test_one_changed_value_asks_for_a_new_version_and_says_where_it_is() -> None:
    stage = altered("locations", lambda study: study.locations, "lat", 1e-4)
    with pytest.raises(golden.ChangedError) as caught:
        golden.check("images", stage)
    message = str(caught.value)
    assert "the results of `locations` changed in 'images': raise its version" in message
    assert "write.py --configuration images --stage locations" in message
    assert "locations.parquet, column lat, row 3: 53." in message
    # Rounding is no change.
    golden.check("images", altered("locations", lambda study: study.locations, "lat", 1e-9))


def test_a_raised_version_asks_for_new_results_to_be_stored() -> None:
    stage = altered("locations", lambda study: study.locations, "lat", 1e-4, version=2)
    with pytest.raises(golden.ChangedError, match=r"no golden results of version 2 of `locations`"):
        golden.check("images", stage)


def test_stored_results_are_never_written_over() -> None:
    before = golden.golden("images", "locations", 1).read_bytes()
    with pytest.raises(FileExistsError, match=r"locations-v1.zip is there: .* raise its version"):
        golden.write("images", STAGE["locations"])
    assert golden.golden("images", "locations", 1).read_bytes() == before


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give a copy of all that is stored, to be changed."""
    for name, file in golden.files(golden.HERE).items():
        target = tmp_path / "golden" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    monkeypatch.setattr(golden, "HERE", tmp_path / "golden")
    return tmp_path / "golden"


def test_new_results_of_a_stage_leave_those_of_later_stages_as_they_are(
    monkeypatch: pytest.MonkeyPatch, copied: Path
) -> None:
    newer = altered("locations", lambda study: study.locations, "lat", 1e-4, version=2)
    chain = tuple(newer if stage.name == "locations" else stage for stage in golden.CHAIN)
    monkeypatch.setattr(golden, "CHAIN", chain)
    for configuration in ("default", "second", "images"):
        golden.write(configuration, newer)
        golden.check(configuration, newer)
    stored = golden.golden("second", "features", STAGE["features"].version)
    inputs = json.loads(stored.with_suffix(".json").read_text())["inputs"]
    assert inputs == {"locations": 1}
    golden.check("second", STAGE["features"])
    # Later stages still run on the old ones, as they have recorded.
    assert golden.unused() == []
    golden.renew_inputs("second", STAGE["features"])
    assert json.loads(stored.with_suffix(".json").read_text())["inputs"] == {"locations": 2}
    golden.check("second", STAGE["features"])


def test_on_another_platform_folds_are_compared_and_what_a_network_computes_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = altered("train", lambda study: study.predictions, "score", 0.01)
    folds = altered("train", lambda study: study.folds, "fold", 1)
    about = golden.golden("paper", "train", STAGE["train"].version, ".json")
    recorded = json.loads(about.read_text(encoding="utf-8"))["platform"]
    monkeypatch.setattr(golden, "here", lambda: recorded)
    with pytest.raises(golden.ChangedError, match=r"predictions.parquet, column score, row 3"):
        golden.check("paper", scores)
    monkeypatch.setattr(golden, "here", lambda: {**recorded, "machine": "another"})
    assert "'another'" in golden.check("paper", scores)
    with pytest.raises(golden.ChangedError, match=r"folds.parquet, column fold, row 3: "):
        golden.check("paper", folds)
