from __future__ import annotations

import gzip
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.outcomes import read_outcome
from streetgauge.settings import TableOutcome

WORLD = pd.DataFrame(
    {
        "code": [f"A{n:02d}" for n in range(30)],
        "name": [f"Café {n}" for n in range(30)],
        "score": np.arange(30) / 7,
        "tenth": 10 - np.arange(30) // 3,
    }
)


def table(path: Path, **more: object) -> TableOutcome:
    return TableOutcome.model_validate(
        {
            "source": "table",
            "file": path,
            "area": "code",
            "value": "score",
            "direction": "higher-is-worse",
            "decile": "tenth",
            **more,
        }
    )


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".xlsx":
        frame.to_excel(path, index=False)
    elif path.suffix == ".gpkg":
        points = gpd.GeoSeries.from_xy(np.zeros(len(frame)), np.zeros(len(frame)), crs=27700)
        gpd.GeoDataFrame(frame, geometry=points).to_file(path)
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".xlsx", ".gpkg"])
def test_a_table_is_the_same_in_every_format(suffix: str, tmp_path: Path) -> None:
    outcome = read_outcome("o", table(write(WORLD, tmp_path / f"t{suffix}")))
    # Excel's writer keeps 16 digits.
    expected = WORLD.set_index("code")["score"]
    pd.testing.assert_series_equal(outcome.values, expected, check_names=False, rtol=1e-14)
    assert outcome.published is not None
    assert outcome.published.tolist() == WORLD["tenth"].tolist()
    assert outcome.direction == "higher-is-worse"


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30
)
@given(
    seed=st.integers(0, 2**16),
    columns=st.permutations(list(WORLD.columns)),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "latin-1"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    packed=st.booleans(),
)
def test_order_of_rows_and_columns_encoding_and_line_ends_change_nothing(
    seed: int, columns: list[str], encoding: str, end: str, packed: bool, tmp_path: Path
) -> None:
    shuffled = WORLD.sample(frac=1, random_state=seed)[columns]
    content = shuffled.to_csv(index=False, lineterminator=end).encode(encoding)
    path = tmp_path / f"{seed}-{encoding}-{len(end)}-{ord(end[0])}-{packed}-{columns[0]}.csv"
    path.write_bytes(gzip.compress(content) if packed else content)
    outcome = read_outcome("o", table(path))
    assert outcome.values.equals(WORLD.set_index("code")["score"])
    assert outcome.published is not None
    assert outcome.published.tolist() == WORLD["tenth"].tolist()


def test_titles_above_the_header_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("A table of scores\n\ncode,score\nA01,1\nA02,2\n")
    outcome = read_outcome("o", table(path, decile=None))
    assert outcome.values.to_dict() == {"A01": 1.0, "A02": 2.0}


def test_a_named_sheet_is_read_and_not_the_first(tmp_path: Path) -> None:
    with pd.ExcelWriter(tmp_path / "t.xlsx") as book:
        pd.DataFrame({"code": ["A01"], "score": [9]}).to_excel(book, sheet_name="Old", index=False)
        WORLD.to_excel(book, sheet_name="New", index=False)
    outcome = read_outcome("o", table(tmp_path / "t.xlsx", sheet="New"))
    assert len(outcome.values) == 30


def test_a_missing_mark_is_missing_and_listed_and_a_number_code_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("code,score\n0101,..\n0102,\n0103,3\n")
    outcome = read_outcome("o", table(path, decile=None))
    assert outcome.values.dropna().to_dict() == {"0103": 3.0}
    assert outcome.missing == {"0101": "the file has '..'", "0102": "column 'score' is empty"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("code,scores\nA01,1\n", r"no column 'score' \(setting 'value'\); did you mean 'scores'"),
        ("area,score\nA01,1\n", r"no column 'code' \(setting 'area'\)"),
        ("code,score\nA01,high\n", "row 2, column 'score': 'high' is not a number"),
        ("code,score\nA01,1\nA02,1\nA01,2\n", "rows 2 and 4: area 'A01' appears more than once"),
        ("code,score,score\nA01,1,2\n", "two columns 'score'"),
        ("code,score\nA01,1,2\n", "row 2: it has 3 cells, the header 2"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=reason):
        read_outcome("o", table(path, decile=None))


@pytest.mark.parametrize("wrong", ["0", "11", "2.5"])
def test_a_published_decile_that_is_none_is_refused(wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"code,score,tenth\nA01,1,{wrong}\n")
    with pytest.raises(InputError, match=f"row 2, column 'tenth': {wrong} is no decile"):
        read_outcome("o", table(path))


@pytest.mark.parametrize("value", ["score", "tenth"])
def test_published_deciles_that_run_against_the_direction_are_refused(
    value: str, tmp_path: Path
) -> None:
    path = write(WORLD.assign(tenth=np.arange(30) // 3 + 1), tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"column 'tenth': decile 1 goes with the lowest valu"):
        read_outcome("o", table(path, value=value))
    assert read_outcome("o", table(path, direction="higher-is-better")).published is not None
    with pytest.raises(InputError, match="decile 1 goes with the highest values of 'score'"):
        read_outcome("o", table(write(WORLD, path), direction="higher-is-better"))
