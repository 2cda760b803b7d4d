"""What the live page shows is what the files of a run say."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streetgauge.pipeline.run import WORK, run_stage
from streetgauge.progress import silent
from streetgauge.study import Study
from streetgauge.view.state import pulse_of, state_of, training_curves

Run = Callable[..., tuple[int, str, str]]


def states(study: Study) -> dict[str, str]:
    return {each["name"]: each["state"] for each in state_of(study)["stages"]}


def look(epoch: float, mae: float | None, *, outcome: str = "income", **more) -> str:
    said = {"split": "fold-1", "epoch": epoch, "outcome": outcome, "validation_mae": mae, **more}
    return json.dumps(said) + "\n"


def diary(study: Study, part: str, text: str, model: str = "model") -> None:
    file = study.directory / model / "logs" / part / "history.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(text)


def test_before_anything_is_done_nothing_is(grid: Path) -> None:
    study = Study.open(grid)
    assert set(states(study).values()) == {"not done"}
    assert list(states(study)) == ["outcomes", "locations", "features", "train", "areas", "report"]
    said = state_of(study)
    assert (said["report"], said["running"], said["stopped"], said["curves"]) == (None,) * 3 + ([],)
    assert json.loads(json.dumps(said, allow_nan=False)) == said


def test_stages_are_reported_as_they_are_done_and_run(
    grid: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("outcomes", grid)[0] == 0
    study = Study.open(grid)
    assert states(study)["outcomes"] == "done"
    assert states(study)["locations"] == "not done"
    working = Study.open(grid)
    seen = []

    def work(study_: Study, key: str, progress) -> None:
        with progress("postcodes", 4, "postcodes") as advance:
            advance(1)
            working.running._write()
            seen.append(state_of(study))
            seen.append(pulse_of(study))
        raise KeyboardInterrupt

    monkeypatch.setitem(WORK, "locations", work)
    with pytest.raises(KeyboardInterrupt), working.locked():
        run_stage(working, "locations", silent, force=True)
    during, pulse = seen
    kept = {each["name"]: each for each in during["stages"]}
    assert kept["outcomes"]["state"] == "done"
    assert kept["locations"]["state"] == "running"
    bar = kept["locations"]["bars"][0]
    assert (bar["task"], bar["done"], bar["total"]) == ("postcodes", 1, 4)
    assert bar["left"] > 0
    assert pulse == {"report": None, "running": "locations: 25%"}
    after = state_of(study)
    assert after["running"] is None
    assert after["stopped"] == "locations: It was stopped by hand."


def test_what_comes_behind_the_stage_that_runs_is_from_an_earlier_run(grid: Path, run: Run) -> None:
    for stage in ("outcomes", "locations"):
        assert run(stage, grid)[0] == 0
    study = Study.open(grid)
    assert states(study)["locations"] == "done"
    said = {
        "since": time.time(),
        "heartbeat": time.time(),
        "stage_since": time.time(),
        "stopped": None,
    }
    study.running.file.write_text(json.dumps({**said, "stage": "outcomes", "bars": []}))
    assert states(study)["outcomes"] == "running"
    assert states(study)["locations"] == "cached"
    study.running.file.write_text(
        json.dumps({**said, "heartbeat": 0, "stage": "outcomes", "bars": []})
    )
    assert "no more sign of life during outcomes" in state_of(study)["stopped"]


def test_curves_are_the_diaries_of_every_part(grid: Path) -> None:
    study = Study.open(grid)
    members = look(1, 3.0, member=1) + look(1, 2.0, member=2) + look(0.5, 4.0)
    unknown = look(2, math.nan) + look(1, 1.0, outcome="no such outcome")
    unknown += look(3, None)  # as it is written where there is no validation part
    diary(study, "fold-1", members + unknown + "[1, 2]\n" + '{"epoch": 3, "outc')
    diary(study, "fold-10", look(1, 1.0))
    diary(study, "fold-2", look(1, 1.5, outcome="illness"))
    diary(study, "fold-1", look(1, 2.5), model="other-folds/model")
    own, spatial = state_of(study)["curves"]
    income, illness = own["outcomes"]
    assert income["label"] == "Household income"
    assert income["splits"] == [
        {"split": "fold-1", "points": [[0.5, 4.0], [1.0, 2.5]]},
        {"split": "fold-10", "points": [[1.0, 1.0]]},
    ]
    assert illness == {"label": "illness", "splits": [{"split": "fold-2", "points": [[1.0, 1.5]]}]}
    assert spatial["outcomes"][0]["splits"][0]["points"] == [[1.0, 2.5]]
    frame = training_curves(study)
    assert list(frame["split"].unique()) == ["fold-1", "fold-2", "fold-10"]
    assert frame.groupby("folds").size().to_dict() == {"random": 8, "spatial": 1}
    assert frame["validation_mae"].isna().sum() == 2
    assert frame.loc[frame["member"] == 2, "validation_mae"].tolist() == [2.0]


def test_a_diary_that_grows_is_read_again(grid: Path) -> None:
    study = Study.open(grid)
    diary(study, "fold-1", look(1, 3.0))
    assert len(training_curves(study)) == 1
    file = study.model / "logs" / "fold-1" / "history.jsonl"
    with file.open("a") as handle:
        handle.write(look(2, 2.0))
    assert len(training_curves(study)) == 2
