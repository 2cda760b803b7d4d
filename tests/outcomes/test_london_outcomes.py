"""The real files of London, as they are published."""

from __future__ import annotations

import gzip
import io
import re
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from streetgauge.outcomes import build_outcomes
from streetgauge.outcomes.census import read_counts
from streetgauge.settings import (
    DeprivationOutcome,
    IncomeOutcome,
    StudySettings,
    TableOutcome,
    read_settings,
)

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "london" / "study.toml"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(shared_data: Path) -> StudySettings:
    return read_settings(EXAMPLE)


@pytest.fixture(scope="module")
def areas(shared_data: Path) -> pd.Index:
    income = pd.read_csv(
        shared_data / "london/modelled-household-income-estimates-lsoa.csv", encoding="latin-1"
    )
    return pd.Index(income["Code"])


@pytest.fixture(scope="module")
def built(study: StudySettings, areas: pd.Index) -> tuple[pd.DataFrame, dict, pd.DataFrame]:
    return build_outcomes(study.outcomes, areas)


def test_the_example_has_the_twelve_outcomes_of_the_paper_for_4835_of_4835_areas(
    built: tuple[pd.DataFrame, dict, pd.DataFrame],
) -> None:
    frame, metadata, skips = built
    assert len(metadata) == 12
    assert len(frame) == 4835
    assert frame.notna().all().all()
    assert skips.empty
    for name in metadata:
        counts = frame[f"{name}_decile"].value_counts()
        assert len(counts) == 10
        assert counts.between(482, 485).all(), name


def test_the_values_of_the_city_of_london_001a_are_those_of_the_page_of_official_files(
    built: tuple[pd.DataFrame, dict, pd.DataFrame],
) -> None:
    values = built[0].set_index("area").loc["E01000001"]
    known = {
        "health_self": 0.020478,
        "low_qualification": 0.044444,
        "unemployment": 0.027846,
        "overcrowding": 0.259132,
        "income_mean": 105_400,
    }
    page = (EXAMPLE.parents[2] / "docs" / "official-files.md").read_text(encoding="utf-8")
    for name, value in known.items():
        assert values[f"{name}_value"] == pytest.approx(value, abs=1e-6)
        assert f"{value:,}" in page


def plain_nomis(path: Path) -> pd.DataFrame:
    """The table below the ninth line, read plainly."""
    frame = pd.read_csv(path, skiprows=8, skip_blank_lines=True)
    frame = frame[frame["mnemonic"].str.fullmatch(r"E\d{8}", na=False)]
    return frame.set_index("mnemonic").drop(columns=frame.columns[0]).astype(float)


def plain_tenths(values: pd.Series, *, worst_is_high: bool) -> pd.Series:
    tenths = pd.qcut(values, 10, labels=False) + 1
    return 11 - tenths if worst_is_high else tenths


def test_deciles_equal_those_of_a_plain_computation_for_every_area(
    built: tuple[pd.DataFrame, dict, pd.DataFrame], areas: pd.Index, shared_data: Path
) -> None:
    london = shared_data / "london"
    health = plain_nomis(london / "qs302ew.csv.gz").loc[areas]
    skills = plain_nomis(london / "ks501ew.csv.gz").loc[areas]
    work = plain_nomis(london / "qs601ew.csv.gz").loc[areas]
    homes = plain_nomis(london / "qs406ew.csv.gz").loc[areas]
    page = openpyxl.load_workbook(london / "ks403ew_london_nomis.xlsx")["Data"]
    cells = [row[:2] for row in page.iter_rows(min_row=10, values_only=True)]
    crowded = pd.Series({c.split(" : ")[0]: float(n) for c, n in cells if n is not None})
    income = pd.read_csv(
        london / "modelled-household-income-estimates-lsoa.csv", encoding="latin-1"
    ).set_index("Code")["Mean 2012/13"]
    ranks = pd.read_csv(london / "imd2019_england_lsoa11.csv.gz").set_index("lsoa11_code")
    worst_high = {
        "health_self": (health["Bad health"] + health["Very bad health"])
        / health["All categories: General health"],
        "low_qualification": (
            skills["No qualifications"]
            + skills["Highest level of qualification: Level 1 qualifications"]
        )
        / skills["All categories: Highest level of qualification"],
        "unemployment": work["Economically active: Unemployed"]
        / work["All categories: Economic activity"],
        "overcrowding": crowded.loc[areas] / homes["All categories: Household size"],
    }
    worst_low = {
        "income_mean": income.map(lambda text: float(re.sub(r"\D", "", text))).loc[areas],
        "crime": ranks["Crime_rank"].loc[areas],
        "housing": ranks["Housing_and_Access_rank"].loc[areas],
    }
    frame = built[0].set_index("area")
    for worst, outcomes in ((True, worst_high), (False, worst_low)):
        for name, values in outcomes.items():
            pd.testing.assert_series_equal(
                frame[f"{name}_value"].loc[areas], values, check_names=False, check_index_type=False
            )
            expected = plain_tenths(values, worst_is_high=worst)
            assert (frame[f"{name}_decile"].loc[areas] == expected).all(), name


def test_the_parts_add_up_to_the_active_where_the_table_has_no_total(shared_data: Path) -> None:
    work = plain_nomis(shared_data / "london/qs601ew.csv.gz")
    parts = work[[c for c in work if c.startswith("Economically active: ")]].sum(axis=1)
    total = work["All categories: Economic activity"] - work["Economically inactive: Total"]
    assert (parts == total).all()


def test_the_census_population_of_london_is_8173941(shared_data: Path, areas: pd.Index) -> None:
    table = read_counts(shared_data / "london/ks102ew.csv.gz")
    people = table.counts["All usual residents"].set_axis(table.codes)
    assert people[areas].astype(int).sum() == 8_173_941
    assert (table.codes != "").sum() == 13_831


def test_the_2015_workbook_gives_the_overall_rank_and_englands_own_deciles(
    shared_data: Path, areas: pd.Index
) -> None:
    path = shared_data / "london/File_1_ID_2015_Index_of_Multiple_Deprivation.xlsx"
    study = DeprivationOutcome(source="deprivation", file=path)
    england = study.model_copy(update={"deciles": "published"})
    frame, metadata, skips = build_outcomes({"study": study, "england": england}, areas)
    assert skips.empty
    assert frame.set_index("area").loc["E01000001", "study_value"] == 29_111
    assert frame["study_decile"].value_counts().between(482, 485).all()
    assert metadata["study"]["outside"] == 32_844 - 4835
    page = pd.read_excel(path, index_col=0, engine="openpyxl").loc[frame["area"]]
    assert (page.iloc[:, 3].to_numpy() == frame["study_value"]).all()
    assert (page.iloc[:, 4].to_numpy() == frame["england_decile"]).all()


def test_the_partial_2015_domains_list_the_1060_areas_that_they_lack(
    shared_data: Path, areas: pd.Index
) -> None:
    path = shared_data / "london/imd2015_domain_ranks_PARTIAL_22264.csv.gz"
    settings = {"health": DeprivationOutcome(source="deprivation", file=path, domain="health")}
    frame, metadata, skips = build_outcomes(settings, areas)
    assert metadata["health"]["n_missing"] == len(skips) == 1060
    assert skips["reason"].str.endswith("has no row for it").all()
    missing = frame.loc[frame["health_decile"].isna(), "area"]
    assert skips["area"].tolist() == missing.tolist()
    assert frame["health_decile"].value_counts().between(377, 378).all()


def test_the_2019_file_with_bare_cr_line_ends_agrees_with_the_other_one(
    shared_data: Path, areas: pd.Index
) -> None:
    settings = {
        "cr": DeprivationOutcome(
            source="deprivation",
            file=shared_data / "formats/imd2019_rank_decile_CR_line_endings.csv",
        ),
        "lf": DeprivationOutcome(
            source="deprivation", file=shared_data / "london/imd2019_england_lsoa11.csv.gz"
        ),
    }
    frame, _, skips = build_outcomes(settings, areas)
    assert skips.empty
    assert (frame["cr_value"] == frame["lf_value"]).all()
    assert (frame["cr_decile"] == frame["lf_decile"]).all()
    assert frame.set_index("area").loc["E01000001", "cr_value"] == 29_199


def test_median_income_is_complete_and_below_the_mean(shared_data: Path, areas: pd.Index) -> None:
    path = shared_data / "london/modelled-household-income-estimates-lsoa.csv"
    settings = {
        each: IncomeOutcome.model_validate({"source": "income", "file": path, "statistic": each})
        for each in ("mean", "median")
    }
    frame, _, skips = build_outcomes(settings, areas)
    assert skips.empty
    assert (frame["median_value"] < frame["mean_value"]).all()
    # Rounded to tens, so several areas share a border's value and its decile.
    assert frame["median_decile"].value_counts().between(480, 487).all()


def test_a_real_census_table_says_the_same_in_any_order_encoding_and_line_end(
    built: tuple[pd.DataFrame, dict, pd.DataFrame],
    study: StudySettings,
    areas: pd.Index,
    tmp_path: Path,
) -> None:
    settings = study.outcomes["health_self"]
    original = gzip.decompress(settings.files[0].read_bytes()).decode()
    lines = original.splitlines()
    rows = [n for n, line in enumerate(lines) if re.search(r'"E\d{8}"', line)]
    body = pd.read_csv(io.StringIO("\n".join([lines[8], *(lines[n] for n in rows)])))
    body = body.sample(frac=1, random_state=5)[body.columns[::-1]]
    text = "\r".join([*lines[:8], *body.to_csv(index=False).splitlines(), *lines[rows[-1] + 1 :]])
    path = tmp_path / "shuffled.csv"
    path.write_bytes(text.replace("ONS Crown", "© ONS Crown").encode("latin-1"))
    again = {"health_self": settings.model_copy(update={"files": (path,)})}
    frame, _, _ = build_outcomes(again, areas)
    pd.testing.assert_frame_equal(frame, built[0][frame.columns])


def test_newport_has_its_five_outcomes_for_95_of_95_areas(shared_data: Path) -> None:
    study = read_settings(EXAMPLE.parents[1] / "newport" / "study.toml")
    table = study.outcomes["townsend"]
    assert isinstance(table, TableOutcome)
    codes = pd.read_csv(table.file)["LSOA11CD"]
    frame, metadata, skips = build_outcomes(study.outcomes, pd.Index(codes))
    assert len(frame) == 95
    assert len(metadata) == 5
    assert skips.empty
    for name in metadata:
        assert frame[f"{name}_decile"].value_counts().between(9, 10).all()
    by_area = frame.set_index("area")
    assert by_area["townsend_value"].idxmax() in by_area.index[by_area["townsend_decile"] == 1]
