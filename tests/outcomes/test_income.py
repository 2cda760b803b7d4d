from __future__ import annotations

from pathlib import Path

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


def test_a_pound_sign_lost_to_a_question_mark_is_no_part_of_the_number(tmp_path: Path) -> None:
    path = tmp_path / "income.csv"
    path.write_text((HEADER + ROWS).replace("£", "?"))
    assert read_outcome("i", income(path)).values.to_dict() == {"E01": 105400.0, "E02": 70480.0}


def test_the_median_is_another_column_and_its_gaps_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "income.csv"
    path.write_text(HEADER + ROWS)
    outcome = read_outcome("i", income(path, "median"))
    assert outcome.values.dropna().to_dict() == {"E02": 40100.0}
    assert outcome.missing == {"E01": "the file says 'n/a'"}


def test_a_year_or_a_code_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "income.csv"
    path.write_text(HEADER + ROWS)
    with pytest.raises(InputError, match="no column 'Mean 2013/14'; did you mean 'Mean 2012/13'"):
        read_outcome("i", income(path, year="2013/14"))
    path.write_text((HEADER + ROWS).replace("Code", "Area"))
    with pytest.raises(InputError, match="no column 'Code'"):
        read_outcome("i", income(path))


def test_a_negative_income_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "income.csv"
    path.write_text(HEADER + "E01,A,1,-5,3\n")
    with pytest.raises(InputError, match="row 2, column 'Mean 2012/13': -5 is no income"):
        read_outcome("i", income(path))
