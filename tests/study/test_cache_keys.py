"""What makes the stages of a whole study out of date, and what does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import streetgauge
from streetgauge.pipeline.run import WORK
from streetgauge.study import Study, stages
from streetgauge.study.stages import STAGES, downstream, stage_named, stages_of, upstream
from streetgauge.study.study import content_of

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]

ALL = ["outcomes", "locations", "features", "train", "areas", "report"]
# Of the grid study, whose features come from a table.
BEHIND = {
    "outcomes": ["outcomes", "train", "areas", "report"],
    "locations": ["locations", "features", "train", "areas", "report"],
    "features": ["features", "train", "areas", "report"],
    "train": ["train", "areas", "report"],
    "areas": ["areas", "report"],
    "report": ["report"],
}


@pytest.fixture
def study(finished_plain: Path) -> Path:
    return finished_plain


def record(study: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((study / "run.json").read_text())
    return content


def bundle_of(study: Path) -> int:
    """Give the time at which a bundle was written."""
    return (study / "model" / "all" / "bundle.json").stat().st_mtime_ns


def done(run: Run, *words: object) -> list[str]:
    """Run a study; name the stages that were done, not skipped."""
    code, out, err = run("run", "--json", *words)
    assert code == 0, err
    lines = [*out.splitlines(), *err.splitlines()]
    events = [json.loads(line) for line in lines if line.startswith("{")]
    return [each["stage"] for each in events if each.get("event") == "stage"]


def raised(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    table = (replace(each, version=each.version + (each.name == name)) for each in STAGES)
    monkeypatch.setattr(stages, "STAGES", tuple(table))


@pytest.mark.slow
def test_two_identical_runs_have_identical_keys_and_outputs(
    finished_once: Path, grid: Path
) -> None:
    command = [sys.executable, "-m", "streetgauge", "run", "-q", str(grid)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    ours, theirs = record(finished_once)["stages"], record(grid)["stages"]
    assert list(ours) == list(theirs) == ALL
    for name in ALL:
        assert ours[name]["cache_key"] == theirs[name]["cache_key"], name
        assert ours[name]["outputs"] == theirs[name]["outputs"], name
    logs = [place / "model" / "logs" for place in (finished_once, grid)]
    names = [sorted(p.name for p in each.rglob("events.out.tfevents.*")) for each in logs]
    assert names[0] != names[1]  # what is not part of any key
    assert content_of(logs[0]) == content_of(logs[1])


def test_a_comment_in_every_module_leaves_a_finished_study_up_to_date(
    study: Path, tmp_path: Path
) -> None:
    package = Path(streetgauge.__file__).parent
    source = tmp_path / "source"
    shutil.copytree(package, source / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    for module in source.rglob("*.py"):
        with module.open("a", encoding="utf-8") as file:
            file.write("\n# A comment.\n")

    def call(*words: object) -> str:
        return subprocess.run(
            [sys.executable, *map(str, words)],
            check=True,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(source)},
        ).stdout

    where = call("-c", "import streetgauge; print(streetgauge.__file__)")
    assert Path(where.strip()).is_relative_to(source)
    facts = json.loads(call("-m", "streetgauge", "info", "--json", study))
    states = {name: facts[f"stage {name}"].partition(" (")[0] for name in ALL}
    assert states == dict.fromkeys(ALL, "up to date")
    before = (study / "run.json").read_bytes()
    call("-m", "streetgauge", "run", study)
    assert (study / "run.json").read_bytes() == before


@pytest.mark.parametrize("name", ALL)
def test_a_raised_version_makes_it_and_what_is_downstream_out_of_date(
    study: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    raised(monkeypatch, name)
    opened = Study.open(study)
    stale = [s.name for s in stages_of(opened) if not opened.is_up_to_date(s, opened.key(s))]
    assert stale == BEHIND[name]
    assert [name, *(s.name for s in downstream(stage_named(name), opened))] == BEHIND[name]


def test_a_raised_version_is_redone_with_what_is_downstream_and_nothing_else(
    study: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    before = record(study)["stages"]
    raised(monkeypatch, "features")
    assert done(run, study) == BEHIND["features"]
    after = record(study)["stages"]
    assert after["features"]["version"] == before["features"]["version"] + 1
    assert after["locations"] == before["locations"]
    assert done(run, study) == []


def test_versions_upstream_are_no_part_of_what_work_is_resumed_by(
    study: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    opened, train = Study.open(study), stage_named("train")
    keys = opened.key(train), opened.key(train, upstream=False)
    written = bundle_of(study)
    raised(monkeypatch, "outcomes")
    assert opened.key(train) != keys[0]
    assert opened.key(train, upstream=False) == keys[1]
    assert done(run, study) == BEHIND["outcomes"]
    # The outcomes came out the same, so that no network was trained again.
    assert bundle_of(study) == written
    raised(monkeypatch, "train")
    assert opened.key(stage_named("train"), upstream=False) != keys[1]
    assert done(run, study) == ["outcomes", *BEHIND["train"]]  # outcomes: back at its version
    assert bundle_of(study) != written


def test_redo_does_a_stage_and_what_is_downstream_from_nothing(study: Path, run: Run) -> None:
    before = record(study)["stages"]
    written = bundle_of(study)
    assert done(run, study, "--redo", "train") == BEHIND["train"]
    assert bundle_of(study) != written
    after = record(study)["stages"]
    assert {name: each["cache_key"] for name, each in after.items()} == {
        name: each["cache_key"] for name, each in before.items()
    }
    assert done(run, study, "--redo", "report") == ["report"]


def test_a_redo_that_is_killed_goes_on_with_all_that_was_asked_for(
    study: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(WORK, "train", killed)
        run("run", study, "--redo", "train")
    assert sorted(record(study)["stages"]) == ["features", "locations", "outcomes"]
    assert done(run, study) == BEHIND["train"]


def test_what_another_run_may_complete_is_done_enough_for_what_needs_it(study: Path) -> None:
    content = record(study)
    content["stages"]["train"]["retryable"] = 3
    (study / "run.json").write_text(json.dumps(content))
    opened, train = Study.open(study), stage_named("train")
    assert not opened.is_up_to_date(train, opened.key(train))
    opened.require_fresh("train")  # not refused


def test_redo_of_a_stage_that_is_not_there_is_one_sentence(study: Path, refuse: Refuse) -> None:
    before = content_of(study)
    assert "stage 'trian': there is no stage of this name; did you mean 'train'?" in refuse(
        "run", study, "--redo", "trian"
    )
    assert "`images` makes nothing in this study" in refuse("run", study, "--redo", "images")
    assert content_of(study) == before


def test_info_shows_what_made_the_results(study: Path, run: Run) -> None:
    facts = json.loads(run("info", "--json", study)[1])
    assert facts["made by"].startswith(f"streetgauge {streetgauge.__version__}, python 3.")
    assert ", torch " in facts["made by"]
    assert not [name for name in facts if name.endswith(" made by")]
    assert "made by" in run("info", study)[1]
    content = record(study)
    content["stages"]["train"]["made_by"]["versions"]["torch"] = "1.0"
    (study / "run.json").write_text(json.dumps(content))
    facts = json.loads(run("info", "--json", study)[1])
    assert "made by" not in facts
    assert ", torch 1.0" in facts["train made by"]
    assert ", torch 1.0" not in facts["areas made by"]


@pytest.mark.parametrize("version", [2, 4])
def test_a_study_of_another_format_is_refused_and_made_anew_by_force(
    study: Path, run: Run, refuse: Refuse, tmp_path: Path, version: int
) -> None:
    content = record(study) | {"format_version": version}
    (study / "run.json").write_text(json.dumps(content))
    (study / "model" / "all" / "bundle.json").write_text("of another format")
    before = content_of(study)
    who = "an unreleased version of" if version == 2 else "a newer"
    sentence = f"run.json: {who} streetgauge made it (format {version}; this one reads 3); "
    step = f"run it again: `streetgauge run {study} --force`" if version == 2 else "upgrade"
    for words in (
        *(["info"], ["check"], ["run"], ["outcomes"], ["train", "--force"], ["report"]),
        *(["run", "--redo", "train"], ["view", "--no-browser"], ["curves"], ["map"]),
        ["export", "--out", tmp_path / "bundle"],
    ):
        assert sentence + step in refuse(words[0], study, *words[1:])
    assert content_of(study) == before
    inputs = {p: p.read_bytes() for p in study.iterdir() if p.suffix in (".csv", ".geojson")}
    assert len(inputs) == 4
    if version == 4:  # what a newer version made is not for this one to remove
        assert sentence + step in refuse("run", study, "--force")
        assert content_of(study) == before
        return
    assert done(run, study, "--force") == ALL
    assert {p: p.read_bytes() for p in inputs} == inputs
    assert record(study)["format_version"] == 3
    assert done(run, study) == []


def test_what_is_upstream_follows_the_files(study: Path) -> None:
    opened = Study.open(study)
    names = {s.name: [each.name for each in upstream(s, opened)] for s in STAGES}
    assert names["outcomes"] == names["locations"] == []
    assert names["train"] == ["outcomes", "locations", "features"]
    assert names["report"] == ["outcomes", "locations", "features", "train", "areas"]
