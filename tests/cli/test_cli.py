"""The commands that users type: what they print, and how they refuse."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]


# What takes long to import, and what a verb may import of it.
HEAVY = {
    *("numpy", "pandas", "pyarrow", "scipy", "sklearn", "torch", "openvino", "onnxruntime"),
    *("geopandas", "pyogrio", "shapely", "pyproj", "matplotlib", "PIL", "h5py", "jinja2"),
    *("pydantic", "requests", "ray", "networkx"),
}
SETTINGS = {"pydantic"}
TABLES = {*SETTINGS, "numpy", "pandas", "pyarrow"}
STORES = {*TABLES, "h5py", "PIL"}
BOUNDARIES = {*STORES, "geopandas", "pyogrio", "shapely", "pyproj"}
INPUTS = {*BOUNDARIES, "scipy", "sklearn"}  # a table of features is tried for leaks
UNTIL_TRAIN = ("outcomes", "locations", "features", "train")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_one_command_goes_from_files_to_a_report(run: Run, grid: Path) -> None:
    code, out, err = run("run", grid)
    assert code == 0, err
    assert imported("run", str(grid)) <= {"pydantic", "numpy", "pyarrow"}  # all is up to date
    assert "Household income" in out
    assert "Report: " in out
    made = {p.name for p in grid.iterdir()}
    assert made >= {
        *("outcomes.parquet", "locations.parquet", "folds.parquet", "predictions.parquet"),
        *("areas.parquet", "areas.gpkg", "metrics.json", "report.html", "run.json", "model"),
        *("skipped.parquet", "features", "area_features.parquet", "other-folds"),
    }
    metrics = json.loads((grid / "metrics.json").read_text())
    # The images show both outcomes in this world, and the neighbours show neither.
    assert set(metrics["outcomes"]) == {"income", "illness"}
    for about in metrics["outcomes"].values():
        assert about["metrics"]["spearman"]["value"] > 0.7
        assert about["gain"]["mae"]["low"] > 0
    code, out, err = run("run", grid)
    assert code == 0
    assert err.count("up to date") == 6

    areas = pd.read_parquet(grid / "areas.parquet")
    assert list(areas.columns[:3]) == ["area", "outcome", "n_locations"]
    assert {"score", "decile", "low", "high", "actual_decile"} <= set(areas.columns)
    predictions = pd.read_parquet(grid / "predictions.parquet")
    columns = ["location_id", "area", "fold", "outcome", "score", "decile", "actual_decile"]
    assert list(predictions.columns) == [*columns, *(f"p{k}" for k in range(1, 11)), "score_sd"]
    folds = pd.read_parquet(grid / "folds.parquet")
    assert list(folds.columns) == ["location_id", "area", "fold", "n_views"]
    assert not folds.drop_duplicates(["area", "fold"])["area"].duplicated().any()

    code, out, err = run("info", grid)
    assert code == 0
    assert "up to date" in out
    code, out, err = run("export", grid, "--out", grid / "exported")
    assert code == 0
    assert {p.name for p in (grid / "exported").iterdir()} >= {"weights.safetensors", "bundle.json"}
    for file in (grid / "exported", grid / "features" / "shares.h5", grid / "skipped.parquet"):
        assert run("info", file)[0] == 0
    code, out, err = run("info", grid / "features" / "shares.h5", "--json")
    assert json.loads(out)["backbone"] == "table"


def test_figures_of_an_outcome_that_lacks_areas_are_marked(
    run: Run, grid_writer: Callable[..., Path], tmp_path: Path
) -> None:
    place = grid_writer(tmp_path / "grid", side=5, per_area=4)
    edit(place / "study.toml", "k = 3", "k = 3\nother_folds = false")
    frame = pd.read_csv(place / "outcomes.csv")
    frame.loc[3, "income"] = None
    frame.to_csv(place / "outcomes.csv", index=False)
    code, out, err = run("run", place)
    assert code == 0, err
    assert "* Household income: 4% of areas have no value" in out
    assert out.count("% of areas have no value") == 1
    code, out, err = run("run", place, "--json")
    said = [json.loads(line) for line in out.splitlines()]
    assert {"incomplete": "income", "message": "4% of areas have no value"} in said


def test_locations_tells_of_boundaries_that_were_repaired(run: Run, grid: Path) -> None:
    file = grid / "areas.geojson"
    boundaries = json.loads(file.read_text())
    ring = boundaries["features"][0]["geometry"]["coordinates"][0]
    ring.pop()  # it no longer ends where it began
    file.write_text(json.dumps(boundaries))
    for stage in ("outcomes", "locations"):
        code, _, err = run(stage, grid)
        assert code == 0, err
        assert "1 invalid boundaries were repaired" in err


def test_rows_in_another_order_change_nothing(
    run: Run, grid_writer: Callable[..., Path], tmp_path: Path
) -> None:
    tables = []
    for name in ("first", "second"):
        place = grid_writer(tmp_path / name, side=5, per_area=4)
        edit(place / "study.toml", "k = 3", "k = 3\nother_folds = false")
        if name == "second":
            for file in ("outcomes", "places", "features"):
                frame = pd.read_csv(place / f"{file}.csv", dtype=str)
                frame.sample(frac=1, random_state=3).to_csv(place / f"{file}.csv", index=False)
        for stage in UNTIL_TRAIN:
            assert run(stage, place, "-q")[0] == 0
        tables.append(pd.read_parquet(place / "predictions.parquet"))
    pd.testing.assert_frame_equal(*tables)


def test_check_says_what_is_there_and_writes_nothing(run: Run, grid: Path) -> None:
    before = sorted(grid.iterdir())
    code, _, err = run("check", grid)
    assert code == 0
    assert f"{grid / 'study.toml'}: settings can be used" in err
    assert "49 areas with boundaries" in err
    assert "392 locations" in err
    assert sorted(grid.iterdir()) == before


def test_check_says_that_tensorboard_is_not_installed(
    run: Run, grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "TensorBoard" not in run("check", grid)[2]
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    code, _, err = run("check", grid)
    assert code == 0
    assert "TensorBoard logs are not written; pip install 'streetgauge[tensorboard]'" in err


def test_init_writes_a_study_and_does_not_write_over_one(
    run: Run, refuse: Refuse, tmp_path: Path
) -> None:
    assert run("init", tmp_path / "new")[0] == 0
    assert "exists" in refuse("init", tmp_path / "new")
    code, _, err = run("check", tmp_path / "new")
    assert code == 2
    assert "data/boundaries.gpkg" in err


def test_machines_get_one_json_object_a_line(run: Run, plain: Path) -> None:
    code, out, err = run("run", plain, "--json")
    assert code == 0
    events = [json.loads(line) for line in err.splitlines()]
    assert {event["event"] for event in events} >= {"stage", "progress", "detail"}
    assert all("time" in event for event in events)
    assert [json.loads(line) for line in out.splitlines()][-1]["report"].endswith("report.html")


def test_quiet_says_only_the_result(run: Run, grid: Path) -> None:
    code, out, err = run("locations", grid, "-q")
    assert (code, out, err) == (0, "", "")


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        (["--help"], set()),
        (["init", "NEW"], SETTINGS),
        (["run", "--help"], SETTINGS),
        (["outcomes", "list"], TABLES),
        (["outcomes", "STUDY"], BOUNDARIES),
        (["info", "STUDY"], STORES),
        (["check", "STUDY"], INPUTS),
    ],
)
def test_a_verb_imports_nothing_heavy_that_it_does_not_need(
    command: list[str], allowed: set[str], grid: Path
) -> None:
    places = {"STUDY": str(grid), "NEW": str(grid / "new")}
    assert imported(*(places.get(word, word) for word in command)) <= allowed


def imported(*words: str) -> set[str]:
    """Give what a command imports of what takes long, in a process of its own."""
    code = (
        "import sys; from streetgauge.cli import main; sys.argv = ['streetgauge', *sys.argv[1:]]\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        f"print('imported', *({HEAVY} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split()[1:])


# ---- bad input: one sentence, exit code 2 ----


def test_no_study_file(refuse: Refuse, tmp_path: Path) -> None:
    assert "streetgauge init" in refuse("run", tmp_path)


def test_a_misspelt_key(refuse: Refuse, grid: Path) -> None:
    edit(grid / "study.toml", "epochs", "epoch")
    sentence = refuse("run", grid)
    assert re.search(r"train\.epoch: .*did you mean 'epochs'\?", sentence)


def test_a_missing_file(refuse: Refuse, grid: Path) -> None:
    edit(grid / "study.toml", "places.csv", "place.csv")
    assert "did you mean 'places.csv'?" in refuse("run", grid)


def test_a_table_without_the_named_column(refuse: Refuse, grid: Path) -> None:
    edit(grid / "study.toml", 'value = "income"', 'value = "incomes"')
    sentence = refuse("run", grid)
    assert "outcomes.csv" in sentence
    assert "'incomes'" in sentence
    assert "'income'" in sentence


def test_two_rows_with_one_location_id(refuse: Refuse, grid: Path) -> None:
    edit(grid / "places.csv", "P00001", "P00000")
    sentence = refuse("run", grid)
    assert "P00000" in sentence
    assert "places.csv" in sentence


def test_a_constant_outcome(refuse: Refuse, grid: Path) -> None:
    frame = pd.read_csv(grid / "outcomes.csv")
    frame.assign(illness=3).to_csv(grid / "outcomes.csv", index=False)
    assert "illness" in refuse("run", grid)


def test_fewer_areas_than_folds(refuse: Refuse, grid: Path) -> None:
    edit(grid / "study.toml", "k = 3", "k = 50")
    for command in ("check", "run"):
        sentence = refuse(command, grid)
        assert "50" in sentence
        assert "49" in sentence


def test_no_location_with_features(refuse: Refuse, grid: Path) -> None:
    frame = pd.read_csv(grid / "features.csv")
    frame.assign(place="X" + frame["place"]).to_csv(grid / "features.csv", index=False)
    assert "none of its rows belongs to a location" in refuse("run", grid)


def test_an_area_without_locations_is_counted_and_listed(run: Run, plain: Path) -> None:
    frame = pd.read_csv(plain / "outcomes.csv")
    empty = frame["code"].iloc[10]
    places = pd.read_csv(plain / "places.csv")
    places.drop(index=range(80, 88)).to_csv(plain / "places.csv", index=False)
    code, _, err = run("run", plain)
    assert code == 0
    assert "48 of 49 areas" in err
    skipped = pd.read_parquet(plain / "skipped.parquet")
    assert empty in set(skipped.loc[skipped["stage"] == "locations", "area"])


def test_a_location_without_one_of_its_views_is_excluded_and_listed(run: Run, plain: Path) -> None:
    frame = pd.read_csv(plain / "features.csv", dtype=str)
    gone = (frame["place"] == "P00007") & (frame["view"] == "2")
    frame[~gone].to_csv(plain / "features.csv", index=False)
    for stage in UNTIL_TRAIN:
        assert run(stage, plain)[0] == 0
    skipped = pd.read_parquet(plain / "skipped.parquet")
    assert "P00007" in set(skipped["location_id"])
    assert "P00007" not in set(pd.read_parquet(plain / "predictions.parquet")["location_id"])


def test_an_unknown_file_is_refused_by_info(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"no store")
    assert "a.h5" in refuse("info", tmp_path / "a.h5")
    (tmp_path / "a.txt").write_text("text")
    assert "a.txt" in refuse("info", tmp_path / "a.txt")
    assert "no such file" in refuse("info", tmp_path / "nothing")


# ---- what is there already is not trusted blindly, nor thrown away ----


def test_export_writes_over_bundles_only(run: Run, refuse: Refuse, finished: Path) -> None:
    assert "nothing that this command writes" in refuse(
        "export", finished, "--out", finished, "--force"
    )
    assert (finished / "study.toml").exists()
    bundle = finished.with_name("bundle")
    assert run("export", finished, "--out", bundle)[0] == 0
    assert "--force" in refuse("export", finished, "--out", bundle)
    assert run("export", finished, "--out", bundle, "--force")[0] == 0


def test_a_demo_does_not_write_over_a_study_of_one_s_own(refuse: Refuse, grid: Path) -> None:
    before = (grid / "study.toml").read_text()
    assert "study of your own" in refuse("demo", "--out", grid, "--force")
    assert (grid / "study.toml").read_text() == before


def test_a_stage_does_not_go_on_from_what_is_out_of_date(
    run: Run, refuse: Refuse, finished: Path
) -> None:
    edit(finished / "study.toml", "[outcomes.illness]", "[outcomes.ill]")
    for command in ("train", "areas", "report"):
        assert "`outcomes` is not done, or what it depends on" in refuse(command, finished)
    assert "out of date" in run("info", finished)[1]
    assert "has changed" in refuse("export", finished, "--out", finished.with_name("bundle"))


def test_another_label_is_shown_everywhere_and_trains_nothing_again(
    run: Run, finished_plain: Path
) -> None:
    before = (finished_plain / "predictions.parquet").read_bytes()
    edit(finished_plain / "study.toml", 'label = "Household income"', 'label = "Money at home"')
    code, out, err = run("run", finished_plain)
    assert code == 0
    assert "train: up to date" in err
    assert "report: up to date" not in err
    assert (finished_plain / "predictions.parquet").read_bytes() == before
    assert "Money at home" in out
    page = (finished_plain / "report.html").read_text(encoding="utf-8")
    assert "Money at home" in page
    assert "Household income" not in page
    assert run("export", finished_plain, "--out", finished_plain / "bundle")[0] == 0
    card = (finished_plain / "bundle" / "README.md").read_text(encoding="utf-8")
    assert "Money at home" in card
    assert "Household income" not in card


def test_a_damaged_file_of_an_earlier_stage_is_refused_and_made_again(
    run: Run, refuse: Refuse, finished_plain: Path
) -> None:
    whole = pd.read_parquet(finished_plain / "predictions.parquet")
    for name in ("outcomes.parquet", "skipped.parquet", "metrics.json", "features/shares.h5"):
        content = (finished_plain / name).read_bytes()
        (finished_plain / name).write_bytes(content[: len(content) // 2])
    refuse("train", finished_plain)
    assert run("run", finished_plain)[0] == 0
    pd.testing.assert_frame_equal(pd.read_parquet(finished_plain / "predictions.parquet"), whole)
    (finished_plain / "run.json").write_text('{"stages": []}')
    assert run("run", finished_plain)[0] == 0


def test_fewer_folds_leave_no_bundle_of_the_old_ones(run: Run, finished_plain: Path) -> None:
    edit(finished_plain / "study.toml", "k = 3", "k = 2")
    assert run("train", finished_plain)[0] == 0
    made = {p.name for p in (finished_plain / "model").iterdir() if p.is_dir()}
    assert made == {"fold-1", "fold-2", "all", "logs"}


def test_a_deleted_map_is_made_again(run: Run, finished_plain: Path) -> None:
    (finished_plain / "areas.gpkg").unlink()
    assert run("run", finished_plain)[0] == 0
    assert (finished_plain / "areas.gpkg").exists()


def test_locations_of_areas_without_any_label_are_listed(run: Run, plain: Path) -> None:
    frame = pd.read_csv(plain / "outcomes.csv")
    frame.loc[:1, ["income", "illness"]] = None
    frame.to_csv(plain / "outcomes.csv", index=False)
    for stage in UNTIL_TRAIN:
        assert run(stage, plain)[0] == 0
    skipped = pd.read_parquet(plain / "skipped.parquet")
    listed = skipped[skipped["stage"] == "train"]
    assert len(listed) == 16
    assert set(listed["area"]) == set(frame["code"].iloc[:2])


def test_training_that_diverges_says_so(refuse: Refuse, plain: Path) -> None:
    edit(plain / "study.toml", "epochs = 5", "epochs = 3\nlearning_rate = 1e30")
    assert "diverge" in refuse("run", plain)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("Cannot allocate memory (os error 12)"), "(os error 12)"),
        (MemoryError(), ""),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Cannot allocate memory"),
    ],
)
def test_memory_that_ends_anywhere_is_one_sentence_with_what_to_lower(
    refuse: Refuse, plain: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("streetgauge.pipeline.train.write_table", fail)
    edit(plain / "study.toml", "epochs = 5", "epochs = 1")
    sentence = refuse("run", plain)
    assert "memory: it does not suffice" in sentence
    assert said in sentence
    assert "'train.memory'" in sentence


def test_images_behind_a_link_count_and_the_study_s_own_folder_does_not(
    refuse: Refuse, grid: Path, tmp_path: Path
) -> None:
    from streetgauge.study import Study

    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    elsewhere.mkdir()
    folder.mkdir()
    (elsewhere / "a.jpg").write_text("a")
    (folder / "link").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    study = Study.open(grid)
    before = study.fingerprint(folder)
    (elsewhere / "a.jpg").write_text("b")
    assert study.fingerprint(folder) != before
    text = (grid / "study.toml").read_text().split("[features]")[0]
    (grid / "study.toml").write_text(text + '[imagery]\nfolder = "."\n')
    assert "folder of their own" in refuse("check", grid)
