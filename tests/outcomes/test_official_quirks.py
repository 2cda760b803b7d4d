"""Quirks of published files: read with the value that the publisher means, and counted."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.outcomes import build_outcomes, read_outcome
from streetgauge.settings import (
    CensusOutcome,
    DecileSettings,
    DeprivationOutcome,
    OutcomeSettings,
    TableOutcome,
)

CASES = Path(__file__).parent / "cases"


def deprivation(file: Path, **settings: str) -> DeprivationOutcome:
    return DeprivationOutcome.model_validate({"source": "deprivation", "file": file, **settings})


def table(file: Path, **settings: object) -> TableOutcome:
    given = {"source": "table", "file": file, "direction": "higher-is-better", **settings}
    return TableOutcome.model_validate(given)


def notes(settings: OutcomeSettings, areas: list[str], classes: int = 2) -> list[str]:
    cuts = DecileSettings(classes=classes)
    _, metadata, _ = build_outcomes({"o": settings}, pd.Index(areas), cuts)
    found: list[str] = metadata["o"].get("notes", [])
    return found


# --- ranks ----------------------------------------------------------------------------------------


def test_scotland_s_twelve_last_income_ranks_are_read_and_counted() -> None:
    settings = deprivation(CASES / "simd2020v2_income_top_tie.csv", domain="income")
    outcome = read_outcome("income", settings)
    assert outcome.values["S01006522"] == 6969
    assert outcome.values["S01008425"] == 6961
    assert (outcome.values == 6969).sum() == 12
    assert outcome.notes == (
        "12 areas have ranks that no rule for ties gives, e.g. 6969 (12 areas)",
    )


def test_ranks_without_an_odd_tie_have_no_note() -> None:
    settings = deprivation(CASES / "simd2020v2_income_top_tie.csv", domain="overall")
    outcome = read_outcome("overall", settings)
    assert outcome.values["S01006522"] == 6769
    assert outcome.notes == ()


def test_a_rank_that_half_the_nation_shares_is_refused_without_advice_on_scores(
    tmp_path: Path,
) -> None:
    codes = [f"S0100{6506 + i}" for i in range(1000)]
    ranks = [1 + i if i < 500 else 3000 for i in range(1000)]
    frame = pd.DataFrame({"Data_Zone": codes, "SIMD2020v2_Income_Domain_Rank": ranks})
    frame.loc[500:, "SIMD2020v2_Income_Domain_Rank"] = 100
    frame.to_csv(tmp_path / "simd.csv", index=False)
    with pytest.raises(InputError, match="rank 100 occurs for 501 areas") as error:
        read_outcome("income", deprivation(tmp_path / "simd.csv", domain="income"))
    assert "score" not in str(error.value)


def test_deciles_instead_of_ranks_are_refused_however_few_they_are(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "Data_Zone": [f"S0100{6506 + i}" for i in range(60)],
            "SIMD2020v2_Income_Domain_Rank": [1 + i // 6 for i in range(60)],
        }
    )
    frame.to_csv(tmp_path / "simd.csv", index=False)
    with pytest.raises(InputError, match="occurs for 6 areas"):
        read_outcome("income", deprivation(tmp_path / "simd.csv", domain="income"))


# --- workbooks ------------------------------------------------------------------------------------


def test_a_stray_cell_right_of_northern_ireland_s_table_is_ignored_and_counted() -> None:
    settings = deprivation(CASES / "ni2017_mdm_stray_cell.xlsx", domain="overall")
    outcome = read_outcome("mdm", settings)
    assert outcome.values.to_dict() == {"95JJ02W1": 213, "95JJ03S1": 31}
    assert notes(settings, ["95JJ02W1", "95JJ03S1"]) == ["1 cell right of the table ignored"]
    income = read_outcome("income", deprivation(settings.file, domain="income"))
    assert income.values.to_dict() == {"95JJ02W1": 124, "95JJ03S1": 6}


def test_a_header_with_a_line_break_is_named_with_a_blank() -> None:
    settings = table(
        CASES / "ni2017_mdm_stray_cell.xlsx",
        area="SOA2001",
        value="Income Domain Rank (where 1 is most deprived)",
    )
    outcome = read_outcome("income", settings)
    assert outcome.values.to_dict() == {"95JJ02W1": 124, "95JJ03S1": 6}
    assert outcome.notes == ("1 cell right of the table ignored",)


def test_a_table_is_found_in_a_later_sheet_and_the_others_are_named_in_errors(
    tmp_path: Path,
) -> None:
    book = tmp_path / "rents.xlsx"
    with pd.ExcelWriter(book) as writer:
        pd.DataFrame({"Contents": ["rents"]}).to_excel(writer, sheet_name="Cover", index=False)
        pd.DataFrame({"code": ["A1", "A2"], "rent": [5, 7]}).to_excel(
            writer, sheet_name="Data", index=False
        )
    outcome = read_outcome("rent", table(book, area="code", value="rent"))
    assert outcome.values.to_dict() == {"A1": 5, "A2": 7}
    with pytest.raises(InputError, match="its other sheets are 'Data'"):
        read_outcome("rent", table(book, area="code", value="wage"))
    with pytest.raises(InputError, match="none of its sheets 'Cover', 'Data' has area codes"):
        read_outcome("rent", deprivation(book))


# --- headers --------------------------------------------------------------------------------------


def test_a_published_header_that_is_cut_off_is_a_decile_all_the_same() -> None:
    path = CASES / "imd2025_file1_truncated_decile_header.csv"
    outcome = read_outcome("imd", deprivation(path, deciles="published"))
    assert outcome.published is not None
    assert outcome.published["E01000001"] == 1
    assert outcome.published["E01000039"] == 10
    assert outcome.values["E01000040"] == 31201


def test_a_column_without_a_name_is_named_by_its_position() -> None:
    path = CASES / "scotland_census_blank_code_header.csv"
    settings = table(path, area="column 1", value=["White", "All people"], combine="share")
    outcome = read_outcome("white", settings)
    assert outcome.values["S01006506"] == pytest.approx(844 / 872)
    assert outcome.values["S92000003"] == pytest.approx(5084407 / 5295403)
    with pytest.raises(InputError, match="there are column 1, All people, White"):
        read_outcome("white", table(path, area="zone", value="White"))


# --- codes ----------------------------------------------------------------------------------------


def test_rows_of_another_geography_are_passed_over_and_counted() -> None:
    settings = table(
        CASES / "acs_s1901_tracts_and_a_place.csv",
        area="GEO_ID",
        area_prefix="1400000US",
        value="S1901_C01_012E",
    )
    outcome = read_outcome("income", settings)
    assert outcome.values["06001400100"] == 234236
    assert len(outcome.values) == 23
    assert not outcome.values.index.str.contains("0656938").any()
    assert notes(settings, list(outcome.values.index)) == [
        "1 row of other geographies passed over, e.g. '1600000US0656938'"
    ]


def test_a_prefix_that_no_code_has_is_refused() -> None:
    settings = table(
        CASES / "acs_s1901_tracts_and_a_place.csv",
        area="GEO_ID",
        area_prefix="1500000US",
        value="S1901_C01_012E",
    )
    with pytest.raises(InputError, match="does not start with '1500000US'"):
        read_outcome("income", settings)


def test_codes_that_were_written_as_decimals_are_codes(tmp_path: Path) -> None:
    path = tmp_path / "tracts.csv"
    path.write_text("GEOID,income\n6001400100.0,5\n6001400200.0,7\n", encoding="utf-8")
    settings = table(path, area="GEOID", area_width=11, value="income")
    assert read_outcome("income", settings).values.to_dict() == {
        "06001400100": 5,
        "06001400200": 7,
    }
    path.write_text("GEOID,income\n1.0,5\n1.5,7\n", encoding="utf-8")
    assert set(read_outcome("i", table(path, area="GEOID", value="income")).values.index) == {
        "1.0",
        "1.5",
    }


# --- long tables ----------------------------------------------------------------------------------


def test_an_ons_custom_dataset_has_the_share_of_bad_health() -> None:
    path = CASES / "ons_custom_dataset_ts037_long.csv"
    settings = CensusOutcome.model_validate(
        {"source": "census", "files": [path], "measure": "bad-health"}
    )
    outcome = read_outcome("health", settings)
    assert outcome.values["E01000001"] == pytest.approx(4 / 94)
    assert outcome.values["E01000002"] == pytest.approx(6 / 98)
    assert outcome.provenance["vintage"] == "2021"
    assert len(outcome.values) == 30


def test_those_that_a_custom_dataset_s_question_does_not_apply_to_are_no_part_of_the_total(
    tmp_path: Path,
) -> None:
    content = (CASES / "ons_custom_dataset_ts037_long.csv").read_text(encoding="utf-8")
    path = tmp_path / "ts037.csv"
    path.write_text(content + "E01000001,X 0,-8,Does not apply,50\n", encoding="utf-8")
    settings = CensusOutcome.model_validate(
        {"source": "census", "files": [path], "measure": "bad-health"}
    )
    assert read_outcome("health", settings).values["E01000001"] == pytest.approx(4 / 94)
    crossed = content.replace("Observation", "Sex (2 categories),Observation").replace(
        " health,", " health,Female,"
    )
    path.write_text(crossed, encoding="utf-8")
    with pytest.raises(InputError, match="the dataset crosses 2 variables: General health"):
        read_outcome("health", settings)


def test_a_long_table_is_read_by_the_names_of_its_measures() -> None:
    settings = table(
        CASES / "ons_custom_dataset_ts037_long.csv",
        area="Lower layer Super Output Areas Code",
        measure="General health (6 categories)",
        number="Observation",
        value=["Bad health", "Very bad health", "*"],
        combine="share",
    )
    outcome = read_outcome("health", settings)
    assert outcome.values["E01000001"] == pytest.approx(4 / 94)
    wrong = settings.model_copy(update={"value": "Poor health", "combine": None})
    with pytest.raises(InputError, match=r"no row measures 'Poor health'; did you mean"):
        read_outcome("health", wrong)


LONG = """FeatureCode,DateCode,Measurement,Units,Value,Indices of Deprivation
E01000001,2019,Rank,Count,29199,a. Index of Multiple Deprivation (IMD)
E01000001,2019,Decile,Count,9,a. Index of Multiple Deprivation (IMD)
E01000001,2019,Rank,Count,32831,b. Income Deprivation Domain
E01000002,2019,Rank,Count,30379,a. Index of Multiple Deprivation (IMD)
E01000002,2019,Decile,Count,10,a. Index of Multiple Deprivation (IMD)
E01000002,2019,Rank,Count,29901,b. Income Deprivation Domain
"""


def test_measures_that_two_columns_name_are_read_with_their_published_deciles(
    tmp_path: Path,
) -> None:
    path = tmp_path / "imd.csv"
    path.write_text(LONG, encoding="utf-8")
    settings = table(
        path,
        area="FeatureCode",
        measure=["Measurement", "Indices of Deprivation"],
        number="Value",
        value="Rank / a. Index of Multiple Deprivation (IMD)",
        decile="Decile / a. Index of Multiple Deprivation (IMD)",
    )
    outcome = read_outcome("imd", settings)
    assert outcome.values.to_dict() == {"E01000001": 29199, "E01000002": 30379}
    assert outcome.published is not None
    assert outcome.published.to_dict() == {"E01000001": 9, "E01000002": 10}
    short = settings.model_copy(update={"measure": "Measurement", "value": "Rank", "decile": None})
    pattern = re.escape("rows 2 and 4: the measure 'E01000001: Rank' appears more than once")
    with pytest.raises(InputError, match=pattern):
        read_outcome("imd", short)


# --- damaged files --------------------------------------------------------------------------------


def test_a_workbook_that_is_cut_off_is_refused_as_cut_off(tmp_path: Path) -> None:
    whole = (CASES / "ni2017_mdm_stray_cell.xlsx").read_bytes()
    (tmp_path / "ni.xlsx").write_bytes(whole[:4000])
    with pytest.raises(InputError, match=r"ni\.xlsx: the file is cut off or damaged: .*fetch it"):
        read_outcome("mdm", deprivation(tmp_path / "ni.xlsx"))
    (tmp_path / "old.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100))
    with pytest.raises(InputError, match=r"old\.xls: the file is cut off, or this is not a workb"):
        read_outcome("mdm", deprivation(tmp_path / "old.xls"))
