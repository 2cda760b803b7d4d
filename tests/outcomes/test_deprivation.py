from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.outcomes import read_outcome
from streetgauge.outcomes.deprivation import DOMAIN_HEADERS
from streetgauge.settings import DeprivationOutcome

TITLES = {
    "overall": "Index of Multiple Deprivation (IMD)",
    "income": "Income",
    "employment": "Employment",
    "education": "Education, Skills and Training",
    "health": "Health Deprivation and Disability",
    "crime": "Crime",
    "housing": "Barriers to Housing and Services",
    "environment": "Living Environment",
}
# Columns of the complete file that must not be taken for a domain.
OTHERS = [
    "Income Score (rate)",
    "Income Deprivation Affecting Children Index (IDACI) Rank (where 1 is most deprived)",
    "Income Deprivation Affecting Older People (IDAOPI) Rank (where 1 is most deprived)",
    "Adult Skills Sub-domain Rank (where 1 is most deprived)",
    "Indoors Sub-domain Rank (where 1 is most deprived)",
    "Wider Barriers Sub-domain Rank (where 1 is most deprived)",
    "Total population: mid 2012 (excluding prisoners)",
]


def original(release: str) -> pd.DataFrame:
    """Two areas; the rank of the n-th domain is 1000 n + 1 and 1000 n + 2."""
    rank = "{} Rank (where 1 is most deprived)"
    decile = "{} Decile (where 1 is most deprived 10% of LSOAs)"
    columns: dict[str, list[object]] = {
        "LSOA code (2011)": ["E01000002", "E01000001"],
        "LSOA name (2011)": ["B", "A"],
        f"Local Authority District code ({release})": ["E09000001", "E09000001"],
    }
    for other in OTHERS:
        columns[other] = [-1, -1]
    for n, title in enumerate(TITLES.values(), start=1):
        columns[rank.format(title)] = [1000 * n + 2, 1000 * n + 1]
        columns[decile.format(title)] = [2, 1]
    return pd.DataFrame(columns)


def settings(path: Path, domain: str, **more: str) -> DeprivationOutcome:
    return DeprivationOutcome.model_validate(
        {"source": "deprivation", "file": path, "domain": domain, **more}
    )


@pytest.mark.parametrize(("n", "domain"), list(enumerate(TITLES, start=1)))
def test_every_domain_is_recognised_by_its_original_headers_among_the_subdomains(
    n: int, domain: str, tmp_path: Path
) -> None:
    with pd.ExcelWriter(tmp_path / "id2015.xlsx") as book:
        pd.DataFrame({"Notes": ["LSOA codes are of 2011"]}).to_excel(book, sheet_name="Notes")
        original("2013").to_excel(book, sheet_name="ID2015 Domains", index=False)
    frame = original("2019")
    frame.columns = frame.columns.str.replace(r" \(where.*", "", regex=True)
    frame = frame.map(lambda cell: f"{cell:,}" if isinstance(cell, int) else cell)
    frame.to_csv(tmp_path / "id2019.csv", index=False, lineterminator="\r")
    for name in ("id2015.xlsx", "id2019.csv"):
        outcome = read_outcome("o", settings(tmp_path / name, domain))
        assert outcome.values.to_dict() == {"E01000001": 1000 * n + 1, "E01000002": 1000 * n + 2}
        assert outcome.published is not None
        assert outcome.published.to_dict() == {"E01000001": 1, "E01000002": 2}
        assert outcome.direction == "higher-is-better"


def test_all_domains_of_the_settings_have_header_patterns() -> None:
    assert list(DOMAIN_HEADERS) == list(TITLES)


def test_a_domain_that_the_file_lacks_is_refused_naming_those_it_has(tmp_path: Path) -> None:
    path = tmp_path / "imd.csv"
    path.write_text("lsoa11cd,IMD_rank,Crime_rank\nE01000001,1,2\n")
    with pytest.raises(InputError, match=r"rank of the domain 'health'; it has overall, crime\."):
        read_outcome("o", settings(path, "health"))


def test_published_deciles_that_are_not_there_or_no_deciles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "imd.csv"
    path.write_text("lsoa11cd,IMD_rank,Crime_rank,Crime_decile\nE01000001,1,2,11\n")
    with pytest.raises(InputError, match="no published decile of the domain 'overall'"):
        read_outcome("o", settings(path, "overall", deciles="published"))
    with pytest.raises(InputError, match="row 2, column 'Crime_decile': 11 is no decile"):
        read_outcome("o", settings(path, "crime"))


def test_a_rank_below_1_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "imd.csv"
    path.write_text("lsoa11cd,IMD_rank\nE01000001,1\nE01000002,0\n")
    with pytest.raises(InputError, match="row 3, column 'IMD_rank': 0 is no rank"):
        read_outcome("o", settings(path, "overall"))
