"""skipped.parquet cannot lie: lost, damaged or shortened, it is made again as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.io.files import read_metadata, read_table, write_table

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def with_skips(grid: Path, run: Run) -> Path:
    """Give a study of which the stages up to `features` are done; two have excluded something."""
    places, features = (pd.read_csv(grid / f"{name}.csv") for name in ("places", "features"))
    places.loc[0, "lat"] = 89.0
    places.to_csv(grid / "places.csv", index=False)
    first = sorted(features["place"].unique())[-1]
    features[features["place"] != first].to_csv(grid / "features.csv", index=False)
    for stage in ("outcomes", "locations", "features"):
        assert run(stage, grid)[0] == 0
    assert set(pd.read_parquet(grid / "skipped.parquet")["stage"]) == {"locations", "features"}
    return grid


def damage_page(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4:40] = bytes(36)
    file.write_bytes(content)


@pytest.mark.parametrize("how", ["lost", "page", "cut", "a row", "another table"])
def test_a_table_of_skips_that_is_not_what_the_stages_wrote_is_remade(
    with_skips: Path, run: Run, how: str
) -> None:
    file = with_skips / "skipped.parquet"
    before = file.read_bytes()
    if how == "lost":
        file.unlink()
    elif how == "page":
        damage_page(file)
    elif how == "cut":
        file.write_bytes(before[: len(before) // 2])
    elif how == "a row":
        frame = pd.read_parquet(file)
        write_table(frame[frame["stage"] != "locations"], file)
    else:
        write_table(pd.DataFrame({"a": [1]}), file)
    done = []
    for stage in ("outcomes", "locations", "features"):
        code, _, err = run(stage, with_skips)
        assert code == 0, err
        done.append(f"{stage}: up to date" not in err)
    assert done[:2] == [False, True]  # only who had rows there
    assert done[2] == (how != "a row")
    assert file.read_bytes() == before


def test_without_any_skips_a_lost_table_is_written_again(finished: Path, run: Run) -> None:
    file = finished / "skipped.parquet"
    frame = pd.read_parquet(file)
    file.unlink()
    assert run("run", finished)[0] == 0
    pd.testing.assert_frame_equal(pd.read_parquet(file), frame)


def test_the_damaged_table_of_the_case_is_one_sentence_with_its_name(
    shared_cases: Path, tmp_path: Path, refuse: Callable[..., str]
) -> None:
    file = Path(shutil.copy(shared_cases / "hostile" / "skipped_damaged_page.parquet", tmp_path))
    assert str(file) in refuse("info", file)
    with pytest.raises(InputError, match=r"skipped_damaged_page\.parquet: this table is damaged"):
        read_table(file)


@pytest.mark.parametrize("name", ["locations", "outcomes", "folds", "predictions"])
def test_a_damaged_table_of_a_study_is_named_with_what_remakes_it(
    finished: Path, name: str
) -> None:
    file = finished / f"{name}.parquet"
    damage_page(file)
    with pytest.raises(InputError, match=rf"{name}\.parquet: this table is damaged .* remove the"):
        read_table(file)
    file.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="this table is damaged"):
        read_metadata(file)
    with pytest.raises(FileNotFoundError):
        read_table(finished / "none.parquet")


def test_metadata_that_is_no_object_is_damage(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for text in ("[1]", "{", "[" * 100_000):
        table = pa.table({"a": [1]}).replace_schema_metadata({b"streetgauge": text.encode()})
        pq.write_table(table, tmp_path / "t.parquet")
        with pytest.raises(InputError, match="this table is damaged"):
            read_metadata(tmp_path / "t.parquet")


@pytest.mark.parametrize("number", [1, 2])
def test_outcomes_whose_metadata_is_damaged_are_one_sentence(
    shared_cases: Path, refuse: Callable[..., str], number: int
) -> None:
    file = shared_cases / "hostile" / f"outcomes_bad_metadata_{number}.parquet"
    assert f"{file.name}: this table is damaged" in refuse("info", file)
