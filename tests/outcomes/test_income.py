from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.outcomes import read_outcome
from streetgauge.settings import IncomeOutcome

HEADER = "Code,Name,Mean 2011/12,Mean 2012/13,Median 2012/13\n"
ROWS = 'E02,Acton B,"£9","£70,480","£40,100"\nE01,Acton A,"£9","£105,400",n/a\n'


def income(path: Path, statistic: str = "mean", year: str = "2012/13") -> IncomeOutcome:
    return IncomeOutcome.model_validate(
        {"source": "income", "file": path, "statistic": statistic, "year": year}
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"])
def test_the_pound_sign_is_read_in_every_encoding(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "income.csv"
    path.write_bytes((HEADER + ROWS).encode(encoding))
    assert read_outcome("i", income(path)).values.to_dict() == {"E01": 105400.0, "E02": 70480.0}


@pytest.mark.parametrize("sign", ["", "?", "\ufffd", "ï¿½", "Â£", "\u0153", "£ "])
def test_a_pound_sign_that_is_broken_or_absent_is_no_part_of_the_number(
    sign: str, tmp_path: Path
) -> None:
    path = tmp_path / "income.csv"
    path.write_text((HEADER + ROWS).replace("£", sign), encoding="utf-8")
    assert read_outcome("i", income(path)).values.to_dict() == {"E01": 105400.0, "E02": 70480.0}


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_numbers_without_a_sign_are_read_from_text_and_workbook(
    suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"income{suffix}"
    frame = pd.DataFrame({"Code": ["E01", "E02"], "Mean 2012/13": [105400, 70480.5]})
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        with pd.ExcelWriter(path) as book:
            pd.DataFrame({"About": ["Estimates"]}).to_excel(book, sheet_name="Notes")
            frame.to_excel(book, sheet_name="LSOA", index=False, startrow=2)
    outcome = read_outcome("i", income(path))
    assert outcome.values.to_dict() == {"E01": 105400.0, "E02": 70480.5}


@pytest.mark.parametrize(
    "header", ["Mean 2012_13", "Mean 2012-13", "mean  2012/2013", "Mean_2012/13"]
)
@pytest.mark.parametrize("year", ["2012/13", "2012-13"])
def test_a_year_is_the_same_however_it_is_written(header: str, year: str, tmp_path: Path) -> None:
    path = tmp_path / "income.csv"
    path.write_text((HEADER + ROWS).replace("Mean 2012/13", header))
    outcome = read_outcome("i", income(path, year=year))
    assert outcome.values.to_dict() == {"E01": 105400.0, "E02": 70480.0}
    assert outcome.provenance["vintage"] == year
    assert outcome.provenance["cells"] == [header]


def test_an_area_twice_with_one_income_is_used_once_and_with_two_refused(tmp_path: Path) -> None:
    path = tmp_path / "income.csv"
    path.write_text(HEADER + ROWS + ROWS)
    assert len(read_outcome("i", income(path)).values) == 2
    path.write_text(HEADER + ROWS + ROWS.replace("70,480", "70,490"))
    with pytest.raises(InputError, match=r"rows 2 and 4: area 'E02' .* 70480 and 70490"):
        read_outcome("i", income(path))


def test_a_pound_sign_lost_to_a_question_mark_is_no_part_of_the_number(tmp_path: Path) -> None:
    path = tmp_path / "income.csv"
    path.write_text((HEADER + ROWS).replace("£", "?"))
    assert read_outcome("i", income(path)).values.to_dict() == {"E01": 105400.0, "E02": 70480.0}


def test_the_median_is_another_column_and_its_gaps_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "income.csv"
    path.write_text(HEADER + ROWS)
    outcome = read_outcome("i", income(path, "median"))
    assert outcome.values.dropna().to_dict() == {"E02": 40100.0}
    assert outcome.missing == {"E01": "the file has 'n/a'"}


def test_a_year_or_a_code_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "income.csv"
    path.write_text(HEADER + ROWS)
    with pytest.raises(InputError, match="no column 'Mean 2013/14'; did you mean 'Mean 2012/13'"):
        read_outcome("i", income(path, year="2013/14"))
    path.write_text((HEADER + ROWS).replace("Code", "Area"))
    with pytest.raises(InputError, match=r"no column .Code."):
        read_outcome("i", income(path))


def test_a_negative_income_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "income.csv"
    path.write_text(HEADER + "E01,A,1,-5,3\n")
    with pytest.raises(InputError, match="row 2, column 'Mean 2012/13': -5 is no income"):
        read_outcome("i", income(path))


@pytest.mark.parametrize("sheets", [["Ward", "LSOA"], ["LSOA", "Ward"]])
def test_of_a_workbook_with_a_sheet_for_every_kind_of_area_the_study_s_is_read(
    sheets: list[str], tmp_path: Path
) -> None:
    codes = {"Ward": ["E05000001", "E05000002"], "LSOA": ["E01000001", "E01000002"]}
    path = tmp_path / "income.xlsx"
    with pd.ExcelWriter(path) as book:
        for sheet in sheets:
            frame = pd.DataFrame({"Code": codes[sheet], "Mean 2012/13": [1, 2]})
            frame.to_excel(book, sheet_name=sheet, index=False)
    for kind in sheets:
        outcome = read_outcome("i", income(path), areas=codes[kind])
        assert outcome.values.to_dict() == dict(zip(codes[kind], [1.0, 2.0], strict=True))
