from __future__ import annotations

import csv
import gzip
import io
import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.io.tables import as_table, choose_sheet, read_sheets

CELL = st.text(
    st.characters(codec="cp1252", exclude_categories=("Cc", "Zs", "Zl", "Zp")),
    min_size=1,
    max_size=6,
)
ROWS = st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=6)


def read_rows(path: Path) -> list[list[str]]:
    return [list(row) for row in read_sheets(path)[0].rows]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(
    rows=ROWS,
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16"]),
    packed=st.booleans(),
)
def test_encoding_line_ends_and_gzip_do_not_change_a_cell(
    rows: list[list[str]], end: str, encoding: str, packed: bool, tmp_path: Path
) -> None:
    # One cell that is not a valid UTF-8 when written as cp1252, whatever the others are.
    rows = [["£", "é", "head"], *rows]
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    content = buffer.getvalue().encode(encoding)
    path = tmp_path / "table.csv"
    path.write_bytes(gzip.compress(content) if packed else content)
    # Written within one tick of the clock with one size: the content decides all the same.
    os.utime(path, ns=(1, hash((content, packed)) % 10**15))
    assert read_rows(path) == [[cell.strip() for cell in row] for row in rows]


def test_rows_know_their_line_in_the_file_past_blank_lines_and_quoted_line_ends(
    tmp_path: Path,
) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b'\na,b\n\n"x\ny",1\n,\nz,2\n')
    sheet = read_sheets(path)[0]
    assert sheet.numbers == (2, 4, 7)
    assert sheet.rows[1] == ("x\ny", "1")


def test_the_same_table_is_read_the_same_from_every_format(tmp_path: Path) -> None:
    frame = pd.DataFrame({"code": ["A1", "A2"], "value": [1.5, None], "count": [3, 40000]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "t.csv.gz", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_excel(tmp_path / "t.xlsx", index=False)
    import geopandas as gpd

    points = gpd.GeoSeries.from_xy([0, 1], [0, 1], crs="EPSG:4326")
    gpd.GeoDataFrame(frame, geometry=points).to_file(tmp_path / "t.gpkg", layer="areas")
    expected = [["code", "value", "count"], ["A1", "1.5", "3"], ["A2", "", "40000"]]
    assert read_rows(tmp_path / "t.csv") == expected
    for name in ("t.csv.gz", "t.parquet", "t.xlsx", "t.gpkg"):
        assert read_rows(tmp_path / name) == expected, name


def test_the_content_and_not_the_name_says_the_format(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    pd.DataFrame({"code": ["A1"]}).to_excel(tmp_path / "t.xlsx", index=False)
    path.write_bytes((tmp_path / "t.xlsx").read_bytes())
    assert read_rows(path) == [["code"], ["A1"]]


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a\n1\n")
    assert read_rows(path)[1] == ["1"]
    path.write_text("a\n22\n")
    assert read_rows(path)[1] == ["22"]


def test_a_cut_off_row_is_refused_and_a_note_below_is_retained_if_allowed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b,c\n1,2,3\n4,5\n")
    sheet = read_sheets(path)[0]
    with pytest.raises(InputError, match="row 3: it has 2 cells, the header 3"):
        as_table(sheet)
    assert as_table(sheet, ragged=True).loc[3].tolist() == ["4", "5", ""]


def test_a_row_with_too_many_cells_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n29,199,1\n")
    with pytest.raises(InputError, match="row 3: it has 3 cells, the header 2"):
        as_table(read_sheets(path)[0])


def test_trailing_commas_are_no_cells(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b,,\n1,2,,\n")
    assert list(as_table(read_sheets(path)[0]).columns) == ["a", "b"]


def test_a_sheet_that_is_not_there_is_refused_with_the_closest(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    with pd.ExcelWriter(path) as book:
        pd.DataFrame({"a": [1]}).to_excel(book, sheet_name="Notes", index=False)
        pd.DataFrame({"b": [2]}).to_excel(book, sheet_name="Data", index=False)
    sheets = read_sheets(path)
    assert choose_sheet(sheets, "Data", path, "sheet").rows[1] == ("2",)
    with pytest.raises(InputError, match="there is no sheet 'Dato'; did you mean 'Data'"):
        choose_sheet(sheets, "Dato", path, "sheet")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the table is empty"),
        (b"\n\n,,\n", "the table is empty"),
        (b"\x1f\x8b\x08\x00broken", "it cannot be unpacked"),
        (b"PK\x03\x04broken", "it cannot be unpacked"),
        (b"PAR1broken", "this Parquet file is damaged"),
        (b"SQLite format 3\0broken", "the file cannot be read"),
        (b"\xd0\xcf\x11\xe0old", "this is not a workbook that can be read"),
        (b"\x89PNG\r\n\0\0\0", "this is not a table"),
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "table"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason):
        read_sheets(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_sheets(tmp_path / "none.csv")
    with pytest.raises(InputError, match="this is a folder"):
        read_sheets(tmp_path)
