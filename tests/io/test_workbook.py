from __future__ import annotations

import datetime
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.io.tables import as_table, read_sheets, to_numbers
from streetgauge.outcomes import read_outcome
from streetgauge.settings import IncomeOutcome

ROWS = [
    ["Estimates of income", "", ""],
    ["", "", ""],
    ["Code", "Name", "Mean 2012/13"],
    ["E01000001", "Café 1", 70480.0],
    ["E01000002", "Café 2", 39000.5],
]


def cells_of(path: Path) -> list[tuple[str, ...]]:
    return list(read_sheets(path)[0].rows)


EXPECTED = [
    ("Estimates of income", "", ""),
    ("Code", "Name", "Mean 2012/13"),
    ("E01000001", "Café 1", "70480"),
    ("E01000002", "Café 2", "39000.5"),
]


def test_a_table_is_the_same_in_every_kind_of_workbook(
    write_xls: Callable[..., Path], write_ods: Callable[..., Path], tmp_path: Path
) -> None:
    pd.DataFrame(ROWS).to_excel(tmp_path / "t.xlsx", sheet_name="Data", header=False, index=False)
    for path in (
        write_xls(tmp_path / "t.xls", ROWS),
        write_ods(tmp_path / "t.ods", ROWS),
        tmp_path / "t.xlsx",
    ):
        sheet = read_sheets(path)[0]
        assert list(sheet.rows) == EXPECTED, path
        assert (sheet.name, sheet.numbers) == ("Data", (1, 3, 4, 5))


def test_income_estimates_are_read_from_every_kind_of_workbook(
    write_xls: Callable[..., Path], write_ods: Callable[..., Path], tmp_path: Path
) -> None:
    for path in (write_xls(tmp_path / "i.xls", ROWS), write_ods(tmp_path / "i.ods", ROWS)):
        outcome = read_outcome("i", IncomeOutcome(source="income", file=path))
        assert outcome.values.to_dict() == {"E01000001": 70480.0, "E01000002": 39000.5}


def test_a_formula_of_an_old_workbook_is_its_stored_result(
    write_xls: Callable[..., Path], tmp_path: Path
) -> None:
    assert cells_of(write_xls(tmp_path / "t.xls", [["a"], [None]])) == [("a",), ("7",)]


def stored(path: Path, values: dict[str, str]) -> None:
    """Give formulas in a workbook of openpyxl the results that Excel would have stored."""
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    page = "xl/worksheets/sheet1.xml"
    for formula, value in values.items():
        old = f"<f>{formula}</f><v />".encode()
        assert old in parts[page]
        parts[page] = parts[page].replace(old, f"<f>{formula}</f><v>{value}</v>".encode())
    with zipfile.ZipFile(path, "w") as book:
        for name, content in parts.items():
            book.writestr(name, content)


def formulas(path: Path) -> Path:
    book = openpyxl.Workbook()
    page = book.active
    page.append(["Code", "Mean 2012/13"])
    page.append(["E01000001", "=1+2"])
    page.append(["E01000002", '=WEBSERVICE("http://localhost:9/")'])
    page.append(["E01000003", 3])
    page.append(["E01000004", "=B2*2"])
    book.save(path)
    stored(path, {"1+2": "41000"})
    return path


def test_a_formula_is_never_run_and_without_a_stored_value_it_is_missing_and_reported_so(
    tmp_path: Path,
) -> None:
    path = formulas(tmp_path / "i.xlsx")
    table = as_table(read_sheets(path)[0])
    unknown = "(formula without a stored value)"
    assert table["Mean 2012/13"].tolist() == ["41000", unknown, "3", unknown]
    assert to_numbers(table["Mean 2012/13"], path).notna().tolist() == [True, False, True, False]
    outcome = read_outcome("i", IncomeOutcome(source="income", file=path))
    assert outcome.values.dropna().to_dict() == {"E01000001": 41000.0, "E01000003": 3.0}
    assert outcome.missing == {
        "E01000002": f"the file has {unknown!r}",
        "E01000004": f"the file has {unknown!r}",
    }


def test_a_workbook_with_macros_is_read_and_they_are_not_run(tmp_path: Path) -> None:
    path = formulas(tmp_path / "i.xlsm")
    plain = cells_of(path)
    with zipfile.ZipFile(path, "a") as book:
        book.writestr("xl/vbaProject.bin", b"\xd0\xcf\x11\xe0" + b"Auto_Open Shell rm" * 40)
    assert cells_of(path) == plain


def test_formulas_are_found_on_the_sheet_that_has_them(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Notes & more"
    book.active.append(["a", 1])
    page = book.create_sheet("Data")
    page["C4"] = "=A1"
    book.save(tmp_path / "t.xlsx")
    notes, data = read_sheets(tmp_path / "t.xlsx")
    assert notes.rows == (("a", "1"),)
    assert data.rows == (("", "", "(formula without a stored value)"),)
    assert data.numbers == (4,)


def test_truth_dates_and_whole_numbers_are_written_as_people_read_them(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append([True, datetime.date(2021, 3, 21), 32844, 0.1, "0101", " x "])
    book.save(tmp_path / "t.xlsx")
    assert cells_of(tmp_path / "t.xlsx") == [("TRUE", "2021-03-21", "32844", "0.1", "0101", "x")]


def test_a_stray_cell_far_out_is_refused_before_memory_runs_out(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active["A1"] = "code"
    book.active["XFD1048576"] = 1
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(InputError, match="reach to row 1,048,576 and column 16,384"):
        read_sheets(tmp_path / "t.xlsx")


def test_a_long_narrow_sheet_is_no_stray_cell(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active["A1"] = "code"
    book.active["B1048576"] = 1
    book.save(tmp_path / "t.xlsx")
    assert read_sheets(tmp_path / "t.xlsx")[0].numbers == (1, 1_048_576)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["[Content_Types].xml"], "not a workbook that can be read"),
        (["[Content_Types].xml", "xl/workbook.bin"], r"binary workbook \(.xlsb\)"),
        (["[Content_Types].xml", "word/document.xml"], "not a workbook that can be read"),
        (["mimetype"], "not a workbook that can be read"),
    ],
)
def test_what_resembles_a_workbook_and_is_none_is_one_sentence(
    names: list[str], reason: str, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w") as archive:
        for name in names:
            archive.writestr(name, "text")
    with pytest.raises(InputError, match=reason):
        read_sheets(tmp_path / "t.xlsx")


def test_a_cut_off_workbook_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    pd.DataFrame(ROWS).to_excel(path)
    whole = path.read_bytes()
    for end in range(200, len(whole), 400):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError):
            read_sheets(path)
