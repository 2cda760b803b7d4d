"""No input is ever written to, and nothing is removed but what the run record states."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from small_worlds import leave_out_illness
from streetgauge.errors import InputError
from streetgauge.study.outputs import MadeFiles, overlap, real_paths, refuse_others

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name != ".running.json"
    }


@pytest.mark.parametrize(
    ("read", "how"),
    [
        ("out/areas.parquet", "is it"),
        ("out/model/all", "lies in "),
        ("out", "contains "),
        (".", "contains "),
        ("link-to-out/areas.parquet", "is "),
        ("link-to-table", "is "),
        ("hard-link", "is "),
        ("out/other.parquet", None),
        ("out/areas.parquet.csv", None),
        ("out/mode", None),
    ],
)
def test_an_input_is_written_to_if_it_is_or_holds_or_lies_in_an_output(
    tmp_path: Path, read: str, how: str | None
) -> None:
    (tmp_path / "out" / "model").mkdir(parents=True)
    (tmp_path / "out" / "areas.parquet").write_text("a")
    (tmp_path / "link-to-out").symlink_to("out")
    (tmp_path / "link-to-table").symlink_to("out/areas.parquet")
    os.link(tmp_path / "out" / "areas.parquet", tmp_path / "hard-link")
    written = [tmp_path / "out" / "areas.parquet", tmp_path / "out" / "model"]
    found = overlap(tmp_path / read, real_paths(written))
    if how is None:
        assert found is None
    else:
        assert found is not None
        output, reason = found
        assert output in written
        assert reason.startswith(how)


def test_an_output_that_is_a_link_to_an_input_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "official.parquet").write_text("a")
    (tmp_path / "outcomes.parquet").symlink_to("official.parquet")
    for read, output in (("official.parquet", "outcomes.parquet"), (".", "not/there")):
        assert overlap(tmp_path / read, real_paths([tmp_path / output]))


# What a study may name by mistake: its name in study.toml, and where it leads to.
CASES = {
    "by a link": ("mine.csv", "locations.parquet"),
    "run record": ("run.json", None),
    "skips": ("skipped.parquet", None),
    "in figures": ("figures/outcomes.csv", None),
    "map": ("map.html", None),
    "curves": ("curves/x.csv", None),
    "other folds": ("other-folds/x.csv", None),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("command", [["check"], ["run"], ["run", "--force"], ["outcomes"]])
def test_a_study_that_would_write_to_an_input_is_refused_before_anything_is_written(
    grid: Path, run: Run, case: str, command: list[str]
) -> None:
    name, link = CASES[case]
    (grid / name).parent.mkdir(exist_ok=True)
    if link:
        shutil.move(grid / "features.csv", grid / link)
        (grid / name).symlink_to(link)
    else:
        shutil.move(grid / "features.csv", grid / name)
    edit(grid / "study.toml", '"features.csv"', f'"{name}"')
    before = contents(grid)
    code, _, err = run(command[0], grid, *command[1:])
    assert code == 2
    assert "features.file: " in err
    assert "what a run of the study writes itself" in err
    assert contents(grid) == before


def test_an_output_that_leads_to_an_input_by_a_link_is_refused_by_every_stage(
    finished: Path, refuse: Refuse
) -> None:
    (finished / "outcomes.parquet").unlink()
    (finished / "outcomes.parquet").symlink_to("features.csv")
    before = contents(finished)
    for stage in ("outcomes", "locations", "features", "train", "areas", "report"):
        assert "features.file: " in refuse(stage, finished, "--force")
    assert contents(finished) == before


def test_a_file_that_no_run_made_is_neither_written_over_nor_removed(
    grid: Path, run: Run, refuse: Refuse
) -> None:
    (grid / "areas.gpkg").write_text("of the user")
    assert run("outcomes", grid)[0] == 0
    for words in (["run"], ["run", "--force"]):
        sentence = refuse(words[0], grid, *words[1:])
        assert "areas.gpkg: `areas` would overwrite it, and run.json lists no run" in sentence
    assert (grid / "areas.gpkg").read_text() == "of the user"


def test_a_users_file_in_a_folder_that_is_replaced_is_named_and_stays(
    finished_plain: Path, refuse: Refuse, run: Run
) -> None:
    (finished_plain / "model" / "all" / "mine.txt").write_text("of the user")
    before = contents(finished_plain)
    for words in (["train", "--force"], ["run", "--force"], ["run", "--redo", "train"]):
        sentence = refuse(words[0], finished_plain, *words[1:])
        assert "model/all/mine.txt: `train` would overwrite it" in sentence
    assert contents(finished_plain) == before
    (finished_plain / "model" / "all" / "mine.txt").unlink()
    (finished_plain / "model" / ".DS_Store").write_text("")
    assert run("train", finished_plain, "--force")[0] == 0


def test_force_removes_what_a_killed_stage_had_begun(plain: Path, run: Run) -> None:
    assert run("outcomes", plain)[0] == 0
    record = json.loads((plain / "run.json").read_text())
    record["made"] += ["predictions.parquet", "model", "model/"]  # as if `train` had begun
    (plain / "run.json").write_text(json.dumps(record))
    (plain / "model" / "half").mkdir(parents=True)
    (plain / "model" / "half" / "weights").write_text("x")
    (plain / "predictions.parquet").write_text("x")
    assert run("run", plain, "--force")[0] == 0
    assert not (plain / "model" / "half").exists()


def test_a_damaged_record_states_nothing_so_that_force_removes_nothing(
    finished: Path, run: Run, refuse: Refuse
) -> None:
    (finished / "run.json").write_text("{")
    before = contents(finished)
    assert "run.json: it is damaged, and does not state" in refuse("run", finished, "--force")
    assert contents(finished) == before
    assert run("outcomes", finished)[0] == 0
    assert "outcomes.parquet" in json.loads((finished / "run.json").read_text())["made"]


def test_files_of_a_directory_are_stated_one_by_one_once_a_stage_has_ended(tmp_path: Path) -> None:
    made = MadeFiles(tmp_path, ())
    model = tmp_path / "model"
    made.begin([model])
    model.mkdir()
    (model / "a").write_text("")
    assert made.names == ["model", "model/"]
    assert [*made.strangers(model)] == []
    made.settle([model])
    assert made.names == ["model/a"]
    (model / "b").symlink_to(tmp_path)
    assert [*made.strangers(model)] == [model / "b"]
    made.settle([model], whole=[model])
    assert [*made.strangers(model)] == []


def test_a_study_run_whole_and_one_run_stage_by_stage_state_the_same_files(
    finished: Path, grid: Path, run: Run
) -> None:
    for place in (finished, grid):
        leave_out_illness(place)
    assert run("run", finished, "--force")[0] == 0
    for stage in ("outcomes", "locations", "features", "train", "areas", "report"):
        assert run(stage, grid)[0] == 0
    stated = [json.loads((each / "run.json").read_text())["made"] for each in (finished, grid)]
    assert stated[0] == stated[1]
    events = [name for name in stated[0] if "tfevents" in name]
    assert len(events) == len(set(events)) == 7  # three folds, three others, and all areas
    assert all(name.endswith("/events.out.tfevents.*") for name in events)


def test_event_files_are_of_a_run_only_in_folders_where_one_wrote_any(tmp_path: Path) -> None:
    made, model = MadeFiles(tmp_path, ()), tmp_path / "model"
    for name in ("logs", "other"):
        (model / name).mkdir(parents=True)
    (model / "logs" / "events.out.tfevents.1.host.1").write_text("")
    (model / ".DS_Store").write_text("")
    made.settle([model])
    assert made.names == ["model/logs/events.out.tfevents.*"]
    (model / "logs" / "events.out.tfevents.2.host.2").write_text("")  # of a run that was killed
    (model / "other" / "events.out.tfevents.1.host.1").write_text("of the user")
    assert [*made.strangers(model)] == [model / "other" / "events.out.tfevents.1.host.1"]


def test_a_bundle_with_other_files_in_it_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text("{}")
    refuse_others(tmp_path, ["bundle.json"])
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(InputError, match=r"thesis\.doc: this would be removed"):
        refuse_others(tmp_path, ["bundle.json"])


def test_no_command_writes_to_what_it_reads(
    finished: Path, tmp_path: Path, refuse: Refuse, run: Run
) -> None:
    places, store = finished / "places.csv", finished / "features" / "shares.h5"
    table = tmp_path / "areas.parquet"
    shutil.copy(finished / "locations.parquet", table)
    mine = tmp_path / "thesis.html"
    mine.write_text("mine")
    (tmp_path / "link").symlink_to(finished / "areas.parquet")
    before = contents(tmp_path)
    model, given = finished / "model" / "all", ["--features", store, "--locations", table]
    predict: tuple[object, ...] = ("predict", model, *given, "--force", "--out")
    for words in (
        [*predict, tmp_path],
        ["predict", finished, "--force", *given, "--out", model],
        ["export", finished, "--force", "--out", model],
        ["export", finished, "--force", "--out", finished / "model" / "fold-1"],
        ["export", finished, "--force", "--out", finished],
        ["export", finished, "--features", "parquet", "--force", "--out", places],
        ["export", store, "--features", "parquet", "--force", "--out", store],
        ["map", finished, "--out", finished / "areas.parquet"],
        ["map", finished, "--out", tmp_path / "link"],
        ["map", finished, "--out", places],
        ["map", finished, "--out", mine],
        ["compare", finished, finished, "--out", finished / "model"],
        ["import-weights", store, "--force", "--out", store],
    ):
        sentence = refuse(*words)
        assert "would be written" in sentence or "nothing that this command writes" in sentence
    assert contents(tmp_path) == before
    for _ in range(2):
        assert run("map", finished, "--out", tmp_path / "map.html")[0] == 0
