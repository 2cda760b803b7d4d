from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest
from pydantic import ValidationError

from streetgauge.errors import InputError
from streetgauge.outcomes import read_outcome
from streetgauge.outcomes.census import read_counts
from streetgauge.settings import CensusOutcome

TITLE = """
"QS302EW - General health"
"ONS Crown Copyright Reserved [from Nomis on 11 July 2017]"
"Population :","All usual residents"
"Units      :","Persons"
"Date       :","2011"

"2011 super output area - lower layer","mnemonic","All categories: General health",\
"Very good health","Good health","Fair health","Bad health","Very bad health"

"""
ROWS = """"Town 001A","E01000001",100,50,30,10,6,4
"Town 001B","E01000002",200,100,50,44,6,0
"Town 001C","E01000003",0,0,0,0,0,0
"""
FOOTER = """


"","In order to protect against disclosure of personal information, records"
"","have been swapped between different geographic areas."

"""


def written(path: Path, text: str) -> Path:
    path.write_text(text, newline="")
    return path


def bad_health(*files: Path) -> CensusOutcome:
    return CensusOutcome(source="census", files=files, measure="bad-health")


def test_the_header_is_found_below_titles_and_the_footer_is_no_area(tmp_path: Path) -> None:
    path = written(tmp_path / "qs302ew.csv", TITLE + ROWS + FOOTER)
    outcome = read_outcome("health", bad_health(path))
    assert outcome.values.dropna().to_dict() == {"E01000001": 0.1, "E01000002": 0.03}
    assert outcome.direction == "higher-is-worse"
    assert outcome.missing == {"E01000003": "the total 'All categories: General health' is 0"}
    assert outcome.provenance["columns"]["numerator"] == "Bad health + Very bad health"


def test_other_titles_and_other_orders_of_rows_and_columns_give_the_same(tmp_path: Path) -> None:
    plain = read_outcome("h", bad_health(written(tmp_path / "a.csv", TITLE + ROWS + FOOTER)))
    text = (
        '"Title"\n"Very bad health","mnemonic","area","Bad health",'
        '"All categories: General health"\n'
        "0,E01000003,c,0,0\n0,E01000002,b,6,200\n4,E01000001,a,6,100\n"
    )
    moved = read_outcome("h", bad_health(written(tmp_path / "b.csv", text)))
    assert moved.values.equals(plain.values)


def test_bulk_downloads_with_a_subject_before_every_header_are_read(tmp_path: Path) -> None:
    subject = "General Health: {}; measures: Value"
    names = ["All categories: General health", "Bad health", "Very bad health"]
    header = ",".join(["date,geography,geography code,Rural Urban", *map(subject.format, names)])
    path = written(tmp_path / "bulk.csv", f"{header}\n2011,Town,E01000001,Total,100,6,4\n")
    assert read_outcome("h", bad_health(path)).values.to_dict() == {"E01000001": 0.1}


def test_a_workbook_with_code_and_name_in_one_cell_takes_its_total_from_a_second_file(
    tmp_path: Path,
) -> None:
    book = openpyxl.Workbook()
    page = book.active
    page.title = "Data"
    for row in [
        ["KS403EW - Rooms, bedrooms and central heating"],
        ["ONS Crown Copyright Reserved"],
        [],
        ["population", "All households"],
        ["units", "Households"],
        ["date", 2011],
        ["rural urban", "Total"],
        [],
        ["2011 super output area - lower layer", "Occupancy rating (rooms) of -1 or less"],
        ["E01000002 : Town 001B", 30],
        ["E01000001 : Town 001A", 5],
        [],
        ["In order to protect against disclosure of personal information, records ..."],
    ]:
        page.append(row)
    book.save(tmp_path / "ks403ew.xlsx")
    size = written(
        tmp_path / "qs406ew.csv",
        'a,mnemonic,"All categories: Household size"\nx,E01000001,50\ny,E01000002,60\n'
        "z,E01000003,70\n",
    )
    settings = CensusOutcome(
        source="census", measure="overcrowding", files=(tmp_path / "ks403ew.xlsx", size)
    )
    for files in (settings.files, settings.files[::-1]):
        outcome = read_outcome("o", settings.model_copy(update={"files": files}))
        assert outcome.values.dropna().to_dict() == {"E01000001": 0.1, "E01000002": 0.5}
        assert "ks403ew.xlsx has no row for it" in outcome.missing["E01000003"]


QS601 = "Economically active: Unemployed", "All categories: Economic activity"


@pytest.mark.parametrize(
    ("headers", "counts"),
    [
        # The extract without a total of the active; the full table; the key statistics.
        ([*QS601, "Economically inactive: Total"], [5, 100, 50]),
        ([*QS601, "Economically active: Total"], [5, 100, 50]),
        (
            [
                "All usual residents aged 16 to 74",
                "Economically active",
                "Economically active: Unemployed",
                "Economically inactive",
                "Unemployed: Never worked",
            ],
            [100, 50, 5, 50, 1],
        ),
        (
            [
                "All usual residents aged 16 to 74",
                "Economically active: Unemployed",
                "Economically inactive",
            ],
            [100, 5, 50],
        ),
    ],
)
def test_the_unemployment_rate_is_a_share_of_the_active_in_every_layout(
    headers: list[str], counts: list[int], tmp_path: Path
) -> None:
    quoted = ",".join(f'"{header}"' for header in headers)
    row = ",".join(map(str, counts))
    path = written(tmp_path / "u.csv", f"area,mnemonic,{quoted}\nx,E01000001,{row}\n")
    rate = CensusOutcome(source="census", measure="unemployment-rate", files=(path,))
    assert read_outcome("u", rate).values.to_dict() == {"E01000001": 0.1}
    # The paper's share is of all of working age, not of the active.
    share = CensusOutcome(source="census", measure="unemployment", files=(path,))
    assert read_outcome("u", share).values.to_dict() == {"E01000001": 0.05}


def test_rows_for_town_and_country_apart_are_not_read_next_to_the_total(tmp_path: Path) -> None:
    path = written(
        tmp_path / "bulk.csv",
        "date,geography,geography code,Rural Urban,General Health: All categories: General health;"
        " measures: Value,General Health: Bad health; measures: Value,General Health: Very bad"
        " health; measures: Value,General Health: Bad health; measures: Percent\n"
        "2011,Town,E01000001,Urban (total),90,5,4,6\n2011,Town,E01000001,Total,100,6,4,6\n"
        "2011,Town,E01000001,Rural (total),10,1,0,6\n",
    )
    outcome = read_outcome("h", bad_health(path))
    assert outcome.values.to_dict() == {"E01000001": 0.1}
    assert outcome.provenance["vintage"] == "2011"


def test_where_it_comes_from_is_reported_to_the_column(tmp_path: Path) -> None:
    about = read_outcome("h", bad_health(written(tmp_path / "q.csv", TITLE + ROWS))).provenance
    assert about["vintage"] == "2011"
    assert about["cells"] == [
        "QS302EW: Bad health",
        "QS302EW: Very bad health",
        "QS302EW: All categories: General health",
    ]
    assert about["publisher"] == "Office for National Statistics (Census 2011, Nomis)"
    assert about["licence"] == "Open Government Licence v3.0"
    assert len(about["sha256"]) == 64


def test_an_age_is_read_as_it_is_and_has_no_direction_of_its_own(tmp_path: Path) -> None:
    path = written(
        tmp_path / "ks102ew.csv",
        "date,geography,geography code,Rural Urban,Age: All usual residents; measures: Value,"
        "Age: Mean Age; measures: Value,Age: Median Age; measures: Value\n"
        "2011,Town,E01000001,Total,100,39.5,38\n2011,Town,E01000002,Total,100,..,41\n",
    )
    with pytest.raises(ValidationError, match="goes with 'direction'"):
        CensusOutcome(source="census", measure="mean-age", files=(path,))
    settings = CensusOutcome(
        source="census", measure="mean-age", files=(path,), direction="higher-is-better"
    )
    outcome = read_outcome("age", settings)
    assert outcome.values.dropna().to_dict() == {"E01000001": 39.5}
    assert outcome.direction == "higher-is-better"
    assert outcome.missing == {"E01000002": "ks102ew.csv has no 'Mean Age' for it"}
    assert outcome.provenance["cells"] == ["KS102EW: Mean Age"]


def test_columns_of_ones_own_choice_are_added_up_with_ones_own_direction(tmp_path: Path) -> None:
    path = written(tmp_path / "h.csv", TITLE + ROWS + FOOTER)
    settings = CensusOutcome(
        source="census",
        files=(path,),
        numerator=("very good health", "Good  Health"),
        denominator=("All categories: General health",),
        direction="higher-is-better",
    )
    outcome = read_outcome("good", settings)
    assert outcome.values.dropna().to_dict() == {"E01000001": 0.8, "E01000002": 0.75}
    assert outcome.direction == "higher-is-better"


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("10,6,4", "10,-6,4", "row 10, column 'Bad health': -6 is a negative count"),
        ("100,50,30,10,6,4", "9,50,30,10,6,4", "area 'E01000001': 10 .* of 9 .* is not a share"),
        ("10,6,4", "10,six,4", "row 10, column 'Bad health': 'six' is not a number"),
        (
            '"E01000002",200',
            '"E01000001",200',
            "rows 10 and 11: area 'E01000001' appears more than once, with 4 "
            "and 0 in column 'Very bad health'",
        ),
        ('"E01000002",200', '"",200', "row 11: there are counts but no area code"),
        ("Very bad health", "Very poor health", "no column 'Very bad health'"),
        ("mnemonic", "code", None),
    ],
)
def test_what_is_wrong_in_a_census_table_is_named(
    before: str, after: str, reason: str | None, tmp_path: Path
) -> None:
    text = TITLE + ROWS + FOOTER
    assert before in text
    path = written(tmp_path / "qs302ew.csv", text.replace(before, after))
    if reason is None:  # codes are seen in the rows where no header says so
        assert len(read_outcome("h", bad_health(path)).values) == 3
        return
    with pytest.raises(InputError, match=reason):
        read_outcome("h", bad_health(path))


def test_a_suppressed_count_is_missing_and_reported_so(tmp_path: Path) -> None:
    path = written(tmp_path / "q.csv", (TITLE + ROWS).replace("10,6,4", "10,[c],4"))
    outcome = read_outcome("h", bad_health(path))
    assert outcome.missing["E01000001"] == "q.csv has no 'Bad health + Very bad health' for it"


def test_an_area_that_says_the_same_twice_is_one_area(tmp_path: Path) -> None:
    path = written(tmp_path / "q.csv", TITLE + ROWS + ROWS)
    assert len(read_outcome("h", bad_health(path)).values) == 3


def test_a_file_without_area_codes_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "q.csv", "area,Bad health\nTown,3\n")
    with pytest.raises(InputError, match="no column with area codes"):
        read_counts(path)
