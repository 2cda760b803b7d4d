"""Stages are done again when, and only when, something that they depend on has changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import streetgauge
from streetgauge.errors import InputError
from streetgauge.io.files import write_table, write_text
from streetgauge.pipeline.run import WORK, run_stage
from streetgauge.progress import silent
from streetgauge.study import Done, Study, stages
from streetgauge.study.stages import STAGES, Stage, stage_named

STUDY = "seed = 1\n" + (Path(__file__).parents[1] / "minimal.toml").read_text("utf-8")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    place = tmp_path / "study"
    place.mkdir()
    for name in ("areas.geojson", "outcomes.csv", "places.csv", "features.csv"):
        (place / name).write_text("income\n1\n")
    (place / "study.toml").write_text(STUDY)
    return place


@pytest.fixture(autouse=True)
def copying(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the stage of the outcomes copy outcomes.csv; give a function that has it skip rows."""

    def set_up(skips: pd.DataFrame | None = None, version: int = 1) -> None:
        def work(study: Study, key: str, progress: object) -> Done:
            write_text((study.path("outcomes.csv")).read_text(), study.outcomes)
            return Done(("copied",), skips)

        stage = Stage("outcomes", version, ("outcomes",), lambda s: (), lambda s: (s.outcomes,))
        others = tuple(each for each in STAGES if each.name != "outcomes")
        monkeypatch.setattr(stages, "STAGES", (stage, *others))
        monkeypatch.setitem(WORK, "outcomes", work)

    set_up()
    return set_up


def was_done(place: Path | Study, **kwargs: bool) -> bool:
    study = Study.open(place) if isinstance(place, Path) else place
    return run_stage(study, "outcomes", silent, **kwargs) is not None


def test_a_second_run_does_nothing(directory: Path) -> None:
    assert was_done(directory)
    assert not was_done(directory)


def test_force_does_it_again(directory: Path) -> None:
    assert was_done(directory)
    assert was_done(directory, force=True)


def test_a_changed_input_is_noticed_even_at_the_same_size(directory: Path) -> None:
    assert was_done(directory)
    (directory / "outcomes.csv").write_text("income\n2\n")
    assert was_done(directory)
    assert (directory / "outcomes.parquet").read_text() == "income\n2\n"


def test_a_touched_input_with_the_same_content_is_no_change(directory: Path) -> None:
    assert was_done(directory)
    (directory / "outcomes.csv").write_text("income\n1\n")
    assert not was_done(directory)


def test_a_changed_setting_is_noticed(directory: Path) -> None:
    assert was_done(directory)
    (directory / "study.toml").write_text(STUDY.replace("-better", "-worse"))
    assert was_done(directory)


def test_a_setting_of_another_stage_is_no_change(directory: Path) -> None:
    assert was_done(directory)
    (directory / "study.toml").write_text(STUDY + "\n[folds]\nk = 3\n")
    assert not was_done(directory)


def test_a_damaged_or_deleted_output_is_made_again(directory: Path) -> None:
    assert was_done(directory)
    (directory / "outcomes.parquet").write_text("damaged")
    assert was_done(directory)
    (directory / "outcomes.parquet").unlink()
    assert was_done(directory)
    assert (directory / "outcomes.parquet").read_text() == "income\n1\n"


def test_a_moved_study_is_still_up_to_date(directory: Path) -> None:
    assert was_done(directory)
    moved = directory.with_name("moved")
    shutil.move(directory, moved)
    assert not was_done(moved)


def test_a_raised_version_is_noticed(directory: Path, copying: Callable[..., None]) -> None:
    assert was_done(directory)
    copying(version=2)
    assert was_done(directory)
    assert json.loads((directory / "run.json").read_text())["stages"]["outcomes"]["version"] == 2
    assert not was_done(directory)


def test_a_broken_run_json_only_means_doing_it_again(directory: Path) -> None:
    assert was_done(directory)
    (directory / "run.json").write_text('{"stages": ')
    assert was_done(directory)


def test_what_was_excluded_is_found_again_if_its_file_is_lost(
    directory: Path, copying: Callable[..., None]
) -> None:
    skips = pd.DataFrame({"location_id": ["a"], "reason": ["no image"]})
    copying(skips)
    assert was_done(directory)
    assert not was_done(directory)
    Study.open(directory).skipped.unlink()
    assert was_done(directory)
    assert Study.open(directory).skips()["location_id"].tolist() == ["a"]


def test_run_json_says_what_made_it(directory: Path) -> None:
    assert was_done(directory)
    record = json.loads((directory / "run.json").read_text())
    assert record["seed"] == 1
    assert record["versions"]["numpy"]
    made_by = record["stages"]["outcomes"]["made_by"]
    assert made_by.keys() == {"streetgauge", "python", "platform", "versions"}
    assert made_by["streetgauge"] == streetgauge.__version__
    assert made_by["versions"] == record["versions"]
    assert record["stages"]["outcomes"]["messages"] == ["copied"]
    assert record["stages"]["outcomes"]["settings"]["outcomes"]["income"]["value"] == "income"


def test_a_directory_counts_by_the_content_of_its_files(directory: Path) -> None:
    study = Study.open(directory)
    pictures = directory / "pictures"
    (pictures / "deep").mkdir(parents=True)
    (pictures / "deep" / "a.jpg").write_text("a")
    before = study.fingerprint(pictures)
    (pictures / "deep" / "a.jpg").write_text("b")
    changed = study.fingerprint(pictures)
    (pictures / "deep" / "a.jpg").rename(pictures / "a.jpg")
    assert len({before, changed, study.fingerprint(pictures)}) == 3


def test_event_files_of_tensorboard_are_no_content(directory: Path) -> None:
    logs = directory / "logs" / "fold-1"
    logs.mkdir(parents=True)
    (logs / "history.jsonl").write_text("{}")
    before = Study.open(directory).fingerprint(logs.parent)
    (logs / "events.out.tfevents.1700000000.host.1.0").write_text("a time")
    assert Study.open(directory).fingerprint(logs.parent) == before
    (logs / "other.tfevents").write_text("a time")
    assert Study.open(directory).fingerprint(logs.parent) != before


def test_each_stage_keeps_only_its_latest_skips(
    directory: Path, copying: Callable[..., None]
) -> None:
    study = Study.open(directory)
    first = pd.DataFrame({"location_id": ["b", "a"], "reason": ["no image", "no image"]})
    copying(first)
    was_done(study)
    copying(first.iloc[:1].assign(view="c"))
    was_done(study, force=True)
    kept = study.skips()
    assert list(kept.columns) == ["location_id", "view", "area", "stage", "reason"]
    assert kept.iloc[0].to_dict() | {"area": None} == {
        "location_id": "b",
        "view": "c",
        "area": None,
        "stage": "outcomes",
        "reason": "no image",
    }
    assert len(kept) == 1
    assert kept["area"].isna().all()


def test_a_location_may_be_called_none(directory: Path, copying: Callable[..., None]) -> None:
    study = Study.open(directory)
    skips = pd.DataFrame({"location_id": ["None", None], "area": [None, "nan"], "reason": "gone"})
    copying(skips)
    was_done(study)
    kept = study.skips()
    assert kept["location_id"].dropna().tolist() == ["None"]
    assert kept["area"].dropna().tolist() == ["nan"]
    assert kept["view"].isna().all()


def test_a_missing_file_names_its_setting_and_the_closest_file(directory: Path) -> None:
    (directory / "outcomes.csv").rename(directory / "outcome.csv")
    with pytest.raises(InputError, match=r"outcomes\.income\.file.*did you mean 'outcome\.csv'"):
        Study.open(directory).require_files()


def test_an_input_that_a_run_would_write_over_is_refused_and_left_alone(directory: Path) -> None:
    (directory / "study.toml").write_text(STUDY.replace("outcomes.csv", "predictions.parquet"))
    (directory / "predictions.parquet").write_text("of the user")
    reason = r"outcomes\.income\.file: .*predictions\.parquet is what a run .* copy it"
    with pytest.raises(InputError, match=reason):
        Study.open(directory).require_files()
    with pytest.raises(InputError, match=reason):
        was_done(directory, force=True)
    assert (directory / "predictions.parquet").read_text() == "of the user"


def test_a_stage_without_its_input_says_what_to_run(directory: Path) -> None:
    with pytest.raises(InputError, match="streetgauge run"):
        run_stage(Study.open(directory), "train", silent)


def test_two_runs_of_one_study_at_a_time_are_refused(directory: Path) -> None:
    with (
        Study.open(directory).locked(),
        pytest.raises(InputError, match=r"process \d+ on .* is at work on this study"),
        Study.open(directory).locked(),
    ):
        pass


def test_another_label_is_no_other_number(directory: Path) -> None:
    study = Study.open(directory)
    frame = pd.DataFrame({"area": ["A", "B"], "income_value": [1.0, 2.0], "income_decile": [1, 2]})
    about = {"income": {"label": "Income", "publisher": "GLA", "deciles": "study", "classes": 10}}

    def keys(frame: pd.DataFrame, **other: object) -> tuple[str, str]:
        write_table(frame, study.outcomes, {"income": about["income"] | other})
        reads = (("train",), lambda s: (s.outcomes,), lambda s: (s.model,))
        return tuple(  # type: ignore[return-value]
            study.key(Stage("train", 1, *reads, by_numbers=each)) for each in (True, False)
        )

    numbers, whole = keys(frame)
    assert keys(frame, label="Household income", licence="OGL", publisher="ONS")[0] == numbers
    assert keys(frame, label="Household income")[1] != whole
    assert keys(frame, deciles="nation")[0] != numbers
    assert keys(frame.assign(income_value=[1.0, 3.0]))[0] != numbers
    assert keys(frame.assign(income_decile=[2, 1]))[0] != numbers
    assert keys(frame.rename(columns={"income_value": "other"}))[0] != numbers
    assert keys(frame)[0] == numbers
    study.outcomes.write_text("damaged")
    assert study.numbers() == study.fingerprint(study.outcomes)


def test_what_a_stage_made_under_other_settings_is_removed_with_its_record(directory: Path) -> None:
    study = Study.open(directory)
    old, own = directory / "areas-msoa.parquet", directory / "areas-mine.parquet"
    for file in (old, own, directory / "income.parquet"):
        file.write_text("")
    outputs = {"areas-msoa.parquet": "0" * 64, "../outcomes.csv": "", "income.parquet": ""}
    about = {"cache_key": "1.x", "outputs": outputs, "started": "", "seconds": 0.0, "messages": []}
    study.record["stages"] = {"areas": about}
    study.forget(stage_named("areas"))
    assert not old.exists()
    assert own.exists()
    assert (directory / "outcomes.csv").exists()
    assert (directory / "income.parquet").exists()
