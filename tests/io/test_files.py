"""Files are whole or not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.io.files import (
    atomic_directory,
    atomic_path,
    digest,
    read_metadata,
    read_table,
    remove_leftovers,
    write_json,
    write_table,
)
from streetgauge.io.tables import require_columns


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")

    def fail() -> None:
        with atomic_path(file) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_while_filling_leaves_the_old_directory(tmp_path: Path) -> None:
    directory = tmp_path / "bundle"
    directory.mkdir()
    (directory / "a").write_text("old")

    def fail() -> None:
        with atomic_directory(directory) as temporary:
            (temporary / "a").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (directory / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [directory]


def test_a_directory_is_replaced_as_a_whole(tmp_path: Path) -> None:
    directory = tmp_path / "bundle"
    directory.mkdir()
    (directory / "old").write_text("old")
    with atomic_directory(directory) as temporary:
        (temporary / "new").write_text("new")
    assert [p.name for p in directory.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [directory]


def test_nan_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json({"r": float("nan")}, tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


def test_metadata_comes_back(tmp_path: Path) -> None:
    frame = pd.DataFrame({"area": ["E1"]})
    write_table(frame, tmp_path / "a.parquet", {"income": {"direction": "higher-is-better"}})
    assert read_metadata(tmp_path / "a.parquet") == {"income": {"direction": "higher-is-better"}}
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), frame)


def test_the_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_a_missing_column_names_the_closest() -> None:
    frame = pd.DataFrame({"Mean 2012/13": [1], "Code": ["E1"]})
    with pytest.raises(InputError, match=r"'Mean 2012/13'\?"):
        require_columns(frame, {"value": "Mean 2012/2013"}, "income.csv")


def test_a_name_that_is_no_unicode_has_a_digest() -> None:
    assert digest({"name": "caf\udce9"}) != digest({"name": "caf"})


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    mine = ["areas.gpkg", ".areas.txt", ".areas.edited.tmp.gpkg", ".other.7.tmp.gpkg", ".tmp"]
    mine += [".areas.my-draft.tmp", ".areas.7.tmp.parquet"]
    left = [".areas.7.tmp.gpkg", ".areas.7.tmp.gpkg-journal"]
    for name in mine + left:
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path / "areas.gpkg")
    assert {path.name for path in tmp_path.iterdir()} == set(mine)

    model = tmp_path / "model"
    for name in ("fold-1", ".fold-1.abcd1234.tmp", ".fold-1.old.abcd1234.tmp", ".work.tmp"):
        (model / name).mkdir(parents=True)
        (model / name / "bundle.json").write_text("{}")
    (model / "fold-1" / ".bundle.7.tmp.json").write_text("")
    (model / ".syncthing.map.png.tmp").write_text("")
    (tmp_path / ".model.old.abcd1234.tmp").mkdir()
    remove_leftovers(model)
    remaining = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert remaining == {"fold-1/bundle.json", ".work.tmp/bundle.json", ".syncthing.map.png.tmp"}
    assert not (tmp_path / ".model.old.abcd1234.tmp").exists()


def test_names_of_what_is_being_written_are_those_that_are_removed(tmp_path: Path) -> None:
    with (
        atomic_path(tmp_path / "a[1].gpkg") as half,
        atomic_directory(tmp_path / "model") as folder,
    ):
        half.write_text("whole")
        names = [half.name, f"{half.name}-journal"]
    for name in names:
        (tmp_path / name).write_text("left")
    (tmp_path / folder.name).mkdir()
    remove_leftovers(tmp_path / "a[1].gpkg")
    remove_leftovers(tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a[1].gpkg", "model"]


def test_a_compact_table_has_the_same_numbers_in_less_space(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(5, 2, 20_000)
    steps = np.rint(rng.random(20_000) * 1024) / 1024
    frame = pd.DataFrame(
        {
            "location_id": [f"L{i * 7:07d}" for i in range(len(score))],
            "area": [f"A{i // 12:05d}" for i in range(len(score))],
            "score": np.where(score > 9, np.nan, score),
            **{f"p{k}": np.roll(steps, k).astype(np.float32) for k in range(1, 11)},
            "decile": pd.array(np.clip(score, 1, 10).round(), dtype="Int64"),
        }
    )
    write_table(frame, tmp_path / "plain.parquet", {"a": 1})
    write_table(frame, tmp_path / "compact.parquet", {"a": 1}, compact=True)
    pd.testing.assert_frame_equal(read_table(tmp_path / "compact.parquet"), frame)
    assert read_metadata(tmp_path / "compact.parquet") == {"a": 1}
    plain, compact = (tmp_path / f"{name}.parquet" for name in ("plain", "compact"))
    assert compact.stat().st_size < 0.7 * plain.stat().st_size
