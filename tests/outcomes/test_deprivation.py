"""Every index, domain and statistic by the headers of the publications.

The real files that are at hand are read in test_london_outcomes.py; here files are made with the
public headers of all releases, as programs that read them quote them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.outcomes import build_outcomes, read_outcome
from streetgauge.outcomes.indices import INDICES
from streetgauge.settings import DeprivationOutcome

RANK, DECILE = "(where 1 is most deprived)", "(where 1 is most deprived 10% of LSOAs)"
ENGLAND = {
    "overall": "Index of Multiple Deprivation (IMD)",
    "income": "Income",
    "employment": "Employment",
    "education": "Education, Skills and Training",
    "health": "Health Deprivation and Disability",
    "crime": "Crime",
    "housing": "Barriers to Housing and Services",
    "environment": "Living Environment",
}
# Columns of File 7 that must not be taken for a domain.
OTHERS = [
    "Income Deprivation Affecting Children Index (IDACI) Score (rate)",
    f"Income Deprivation Affecting Children Index (IDACI) Rank {RANK}",
    f"Income Deprivation Affecting Older People (IDAOPI) Rank {RANK}",
    f"Children and Young People Sub-domain Rank {RANK}",
    f"Adult Skills Sub-domain Rank {RANK}",
    "Adult Skills Sub-domain Score",
    f"Geographical Barriers Sub-domain Rank {RANK}",
    f"Indoors Sub-domain Decile {DECILE}",
    f"Wider Barriers Sub-domain Rank {RANK}",
    "Total population: mid 2012 (excluding prisoners)",
]
RELEASES = {
    "English Indices of Deprivation 2015": ("2011", "2013"),
    "English Indices of Deprivation 2019": ("2011", "2019"),
    "English Indices of Deprivation 2025": ("2021", "2024"),
}
WALES = {
    "overall": "WIMD 2019 ",
    "income": "Income",
    "employment": "Employment",
    "health": "Health",
    "education": "Education",
    "access": "Access to Services",
    "housing": "Housing",
    "crime": "Community Safety",
    "environment": "Physical Environment",
}
SCOTLAND = {
    "overall": "SIMD2020v2_Rank",
    "income": "SIMD2020v2_Income_Domain_Rank",
    "employment": "SIMD2020_Employment_Domain_Rank",
    "health": "SIMD2020_Health_Domain_Rank",
    "education": "SIMD2020_Education_Domain_Rank",
    "access": "SIMD2020_Access_Domain_Rank",
    "crime": "SIMD2020_Crime_Domain_Rank",
    "housing": "SIMD2020_Housing_Domain_Rank",
}
NORTHERN_IRELAND = {
    "overall": f"Multiple Deprivation Measure Rank \n{RANK}",
    "income": f"Income Domain Rank \n{RANK}",
    "employment": f"Employment Domain Rank {RANK}",
    "health": f"Health Deprivation and Disability Domain Rank {RANK}",
    "education": f"Education, Skills and Training Domain Rank {RANK}",
    "access": f"Access to Services Domain Rank {RANK}",
    "environment": f"Living Environment Domain Rank {RANK}",
    "crime": f"Crime and Disorder Domain Rank {RANK}",
}


def settings(path: Path, domain: str = "overall", **more: str) -> DeprivationOutcome:
    return DeprivationOutcome.model_validate(
        {"source": "deprivation", "file": path, "domain": domain, **more}
    )


def number(domain: int, area: int) -> int:
    """Give every domain's column numbers that no other has: what is read tells which it is."""
    return 200 * (domain + 1) + area


def english(release: str) -> pd.DataFrame:
    """File 7 of a release: two areas, all ranks, scores and deciles, among much else."""
    areas, districts = RELEASES[release]
    columns: dict[str, list[object]] = {
        f"LSOA code ({areas})": ["E01000002", "E01000001"],
        f"LSOA name ({areas})": ["City of London 001B", "City of London 001A"],
        f"Local Authority District code ({districts})": ["E09000001", "E09000001"],
        f"Local Authority District name ({districts})": ["City of London", "City of London"],
    }
    for other in OTHERS:
        columns[other] = [3, 4]
    for n, title in enumerate(ENGLAND.values()):
        rate = " (rate)" if title in ("Income", "Employment") else ""
        columns[f"{title} Score{rate}"] = [number(n, 2) / 1000, number(n, 1) / 1000]
        columns[f"{title} Rank {RANK}"] = [number(n, 2), number(n, 1)]
        columns[f"{title} Decile {DECILE}"] = [2, 1]
    return pd.DataFrame(columns)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(("n", "domain"), list(enumerate(ENGLAND)))
def test_every_english_domain_is_recognised_among_the_subdomains_in_every_release(
    n: int, domain: str, release: str, tmp_path: Path
) -> None:
    with pd.ExcelWriter(tmp_path / "file7.xlsx") as book:
        pd.DataFrame({"Notes": ["LSOA codes are of the census"]}).to_excel(book, sheet_name="Notes")
        english(release).to_excel(book, sheet_name="IoD Domains", index=False)
    commas = english(release).map(lambda cell: f"{cell:,}" if isinstance(cell, int) else cell)
    commas.to_csv(tmp_path / "file7.csv", index=False, lineterminator="\r")
    for name in ("file7.xlsx", "file7.csv"):
        ranks = read_outcome("o", settings(tmp_path / name, domain))
        assert ranks.values.to_dict() == {"E01000001": number(n, 1), "E01000002": number(n, 2)}
        assert ranks.direction == "higher-is-better"
        assert ranks.published is not None
        assert ranks.published.to_dict() == {"E01000001": 1, "E01000002": 2}
        assert ranks.provenance["index"] == release
        assert ranks.provenance["vintage"] == release[-4:]
        assert ranks.provenance["areas"] == f"LSOA {RELEASES[release][0]}"
        scores = read_outcome("o", settings(tmp_path / name, domain, statistic="score"))
        expected = {f"E0100000{i}": number(n, i) / 1000 for i in (1, 2)}
        assert scores.values.to_dict() == pytest.approx(expected)
        assert scores.direction == "higher-is-worse"


@pytest.mark.parametrize(
    ("name", "year"),
    [
        ("File_1_ID_2015_Index_of_Multiple_Deprivation.csv", "2015"),
        ("File_7_-_All_IoD2019_Scores__Ranks__Deciles.csv", "2019"),
        ("imd2019_england_lsoa11.csv", "2019"),
        ("imd2015_and_imd2019.csv", None),  # which of them is not known
        ("valid2019.csv", None),
    ],
)
def test_a_release_that_headers_cannot_tell_is_that_of_the_file_s_name(
    name: str, year: str | None, tmp_path: Path
) -> None:
    folder = tmp_path / "IMD2010"
    folder.mkdir()
    frame = english("English Indices of Deprivation 2019")
    undated = frame.rename(columns=lambda column: column.replace(" (2019)", ""))
    undated.to_csv(folder / name, index=False)
    assert read_outcome("o", settings(folder / name, "crime")).provenance["vintage"] == year


def test_file_5_has_scores_only_and_says_so_where_ranks_are_wanted(tmp_path: Path) -> None:
    frame = english("English Indices of Deprivation 2019")
    retained = [c for c in frame if "Rank" not in c and "Decile" not in c]
    frame[retained].to_csv(tmp_path / "file5.csv", index=False)
    score = read_outcome("o", settings(tmp_path / "file5.csv", "crime", statistic="score"))
    assert score.provenance["columns"]["score"] == "Crime Score"
    with pytest.raises(InputError, match='it has no ranks; use statistic = "score"'):
        read_outcome("o", settings(tmp_path / "file5.csv", "crime"))


def welsh(whole: bool) -> pd.DataFrame:
    columns: dict[str, list[object]] = {
        "LSOA code": ["W01000001", "W01000002"],
        "LSOA name (Eng)": ["Aberffraw & Rhosneigr 1", "Aberffraw & Rhosneigr 2"],
        "Local Authority name (Eng)": ["Isle of Anglesey", "Isle of Anglesey"],
    }
    for n, header in enumerate(WALES.values()):
        ranks = [number(n, 1) % 1900, number(n, 2) % 1900]
        columns[header] = ranks if whole else [10 + n + 0.1, 10 + n + 0.2]
    return pd.DataFrame(columns)


def write_welsh(path: Path, *, whole: bool) -> Path:
    """The ranks' workbook with its sheet of deciles, or the scores': a title above the header."""
    with pd.ExcelWriter(path) as book:
        name, what = ("WIMD_2019_ranks", "ranks") if whole else ("Data", "scores")
        frame = welsh(whole)
        frame.to_excel(book, sheet_name=name, index=False, startrow=2)
        book.sheets[name]["A1"] = f"WIMD 2019: LSOA index and domain {what}"
        if whole:
            deciles = frame.iloc[:, :3].assign(
                **{"WIMD 2019 overall rank": [200, 201], "WIMD 2019 overall decile": [5, 7]}
            )
            deciles["WIMD 2019 overall rank"] = frame["WIMD 2019 "]
            deciles.to_excel(book, sheet_name="Deciles_quintiles_quartiles", index=False)
    return path


@pytest.mark.parametrize(("n", "domain"), list(enumerate(WALES)))
def test_welsh_ranks_and_scores_are_distinguished_under_the_same_headers(
    n: int, domain: str, tmp_path: Path
) -> None:
    ranks = write_welsh(tmp_path / "ranks.xlsx", whole=True)
    scores = write_welsh(tmp_path / "scores.xlsx", whole=False)
    rank = read_outcome("o", settings(ranks, domain))
    expected = {f"W0100000{i}": number(n, i) % 1900 for i in (1, 2)}
    assert rank.values.to_dict() == expected
    assert rank.provenance["index"] == "Welsh Index of Multiple Deprivation 2019"
    score = read_outcome("o", settings(scores, domain, statistic="score"))
    assert score.values["W01000002"] == pytest.approx(10 + n + 0.2)
    assert score.direction == "higher-is-worse"
    with pytest.raises(InputError, match="is no rank: ranks are whole"):
        read_outcome("o", settings(scores, domain))
    if domain != "overall":  # elsewhere the deciles' sheet says "rank" and is taken for one
        with pytest.raises(InputError, match="these are ranks and no scores"):
            read_outcome("o", settings(ranks, domain, statistic="score"))


def test_welsh_deciles_come_from_their_own_sheet_of_the_workbook(tmp_path: Path) -> None:
    path = write_welsh(tmp_path / "ranks.xlsx", whole=True)
    outcome = read_outcome("o", settings(path, deciles="published"))
    assert outcome.published is not None
    assert outcome.published.to_dict() == {"W01000001": 5, "W01000002": 7}
    with pytest.raises(InputError, match="no published decile of the domain 'housing'"):
        read_outcome("o", settings(path, "housing", deciles="published"))


@pytest.mark.parametrize("code", ["Data_Zone", "DZ", "DataZone"])
@pytest.mark.parametrize(("n", "domain"), list(enumerate(SCOTLAND)))
def test_every_scottish_domain_is_recognised_in_ranks_and_the_lookup(
    n: int, domain: str, code: str, tmp_path: Path
) -> None:
    frame = pd.DataFrame({code: ["S01006506", "S01006507"], "Total_population": [900, 800]})
    for m, header in enumerate(SCOTLAND.values()):
        frame[header] = [number(m, 1), number(m, 2)]
    frame["SIMD2020v2_Decile"] = [7, 8]
    frame["SIMD2020v2_Quintile"] = [4, 4]
    frame.to_excel(tmp_path / "simd.xlsx", sheet_name="SIMD 2020v2 ranks", index=False)
    outcome = read_outcome("o", settings(tmp_path / "simd.xlsx", domain))
    assert outcome.values.to_dict() == {"S01006506": number(n, 1), "S01006507": number(n, 2)}
    assert (outcome.published is not None) == (domain == "overall")
    with pytest.raises(InputError, match='has no scores; use statistic = "rank"'):
        read_outcome("o", settings(tmp_path / "simd.xlsx", domain, statistic="score"))


def test_the_scottish_open_data_csv_is_read_with_its_country_deciles(tmp_path: Path) -> None:
    path = tmp_path / "simd2020v2.csv"
    path.write_text(
        "DataZone,IntZone,HB,SIMD2020V2Rank,SIMD2020V2CountryDecile,SIMD2020V2CountryQuintile\n"
        "S01006506,S02001236,S08000020,4691,7,4\nS01006507,S02001236,S08000020,4862,7,4\n"
    )
    outcome = read_outcome("o", settings(path, deciles="published"))
    assert outcome.values.to_dict() == {"S01006506": 4691, "S01006507": 4862}
    assert outcome.published is not None
    assert outcome.published.tolist() == [7, 7]


@pytest.mark.parametrize(("n", "domain"), list(enumerate(NORTHERN_IRELAND)))
def test_every_domain_of_northern_ireland_is_recognised_past_its_line_breaks(
    n: int, domain: str, tmp_path: Path
) -> None:
    frame = pd.DataFrame({"LGD2014NAME": ["Antrim", "Antrim"], "SOA2001": ["95AA01S1", "95AA01S2"]})
    frame["SOA2001_name"] = ["Aldergrove_1", "Aldergrove_2"]
    for m, header in enumerate(NORTHERN_IRELAND.values()):
        frame[header] = [100 * m + 1, 100 * m + 2]
    frame.to_excel(tmp_path / "nimdm.xlsx", sheet_name="MDM", index=False)
    outcome = read_outcome("o", settings(tmp_path / "nimdm.xlsx", domain))
    assert outcome.values.to_dict() == {"95AA01S1": 100 * n + 1, "95AA01S2": 100 * n + 2}
    assert outcome.published is None
    assert outcome.provenance["vintage"] == "2017"
    assert outcome.provenance["areas"] == "SOA 2001"


def test_the_same_short_headers_are_welsh_over_welsh_codes(tmp_path: Path) -> None:
    for code in ("E01000001", "W01000001"):
        (tmp_path / f"{code}.csv").write_text(f"LSOA11CD,IMD_rank,IMD_score\n{code},1,80.5\n")
    for code, index in (("E01000001", "English"), ("W01000001", "Welsh")):
        outcome = read_outcome("o", settings(tmp_path / f"{code}.csv"))
        assert outcome.provenance["index"].startswith(index)


@pytest.mark.parametrize(
    ("header", "code", "domain", "reason"),
    [
        ("lsoa11cd,IMD_rank", "E01000001", "access", "Deprivation 2015 or 2019 has no domain 'acc"),
        (
            "DZ,SIMD2020v2_Rank",
            "S01006506",
            "environment",
            "has no domain 'environment'; it has ov",
        ),
        ("lsoa11cd,IMD_rank,Crime_rank", "E01000001", "health", "'health'; it has overall, crime"),
        ("ward,IMD_rank", "E05000001", "overall", "of an index of deprivation that is known"),
    ],
)
def test_a_domain_that_is_not_there_is_refused_naming_those_that_are(
    header: str, code: str, domain: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "imd.csv"
    path.write_text(f"{header}\n{','.join([code, *'12'][: len(header.split(','))])}\n")
    with pytest.raises(InputError, match=reason):
        read_outcome("o", settings(path, domain))


def ranked(path: Path, ranks: object, header: str = "lsoa11cd,IMD_rank") -> Path:
    rows = [f"E01{n:06d},{rank:g}" for n, rank in enumerate(ranks, start=1)]
    path.write_text("\n".join([header, *rows, ""]))
    return path


@pytest.mark.parametrize(
    ("ranks", "reason"),
    [
        ([1, 0], "row 3, column 'IMD_rank': 0 is no rank: ranks start at 1"),
        ([1, 32845], "row 3, column 'IMD_rank': 32845 is no rank: the English .* has 32,844 areas"),
        ([1, 2.7], "row 3, column 'IMD_rank': 2.7 is no rank: ranks are whole numbers"),
        ([n // 10 + 1 for n in range(100)], "column 'IMD_rank': rank 1 occurs for 10 areas"),
        ([4, 5, 5, 5, 6], "rank 5 occurs for 3 areas"),
        ([32844, 32844, 32844, 32843], "rank 32844 occurs for 3 areas"),
    ],
)
def test_numbers_that_are_no_ranking_of_the_nation_are_refused(
    ranks: list[float], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=reason):
        read_outcome("o", settings(ranked(tmp_path / "imd.csv", ranks)))


def test_ranks_of_2025_beyond_the_areas_of_2011_are_in_order(tmp_path: Path) -> None:
    path = ranked(tmp_path / "imd.csv", [33_755, 1], "lsoa21cd,IMD_rank")
    assert read_outcome("o", settings(path)).values.max() == 33_755


@given(
    scores=st.lists(st.integers(0, 40), min_size=2, max_size=60),
    method=st.sampled_from(["min", "average", "max"]),
    keep=st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_any_part_of_any_ranking_with_ties_is_accepted(
    scores: list[int], method: str, keep: list[bool], tmp_path_factory: pytest.TempPathFactory
) -> None:
    ranks = pd.Series(scores).rank(method=method)
    retained = ranks[keep[: len(ranks)]]
    if retained.empty:
        return
    path = tmp_path_factory.mktemp("ranks") / "imd.csv"
    values = read_outcome("o", settings(ranked(path, retained))).values
    assert values.tolist() == retained.tolist()


def test_published_deciles_that_are_not_there_or_no_deciles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "imd.csv"
    path.write_text("lsoa11cd,IMD_rank,Crime_rank,Crime_decile\nE01000001,1,2,11\n")
    with pytest.raises(InputError, match="no published decile of the domain 'overall'"):
        read_outcome("o", settings(path, deciles="published"))
    with pytest.raises(InputError, match="row 2, column 'Crime_decile': 11 is no decile"):
        read_outcome("o", settings(path, "crime"))


def test_scores_and_ranks_of_one_file_give_the_same_deciles(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    codes = [f"E01{n:06d}" for n in range(1, 401)]
    score = rng.permutation(400) / 7
    frame = pd.DataFrame({"lsoa21cd": codes, "IMD_score": score})
    frame["IMD_rank"] = frame["IMD_score"].rank(ascending=False).astype(int)
    frame.to_csv(tmp_path / "imd.csv", index=False)
    both = {kind: settings(tmp_path / "imd.csv", statistic=kind) for kind in ("rank", "score")}
    built, about, _ = build_outcomes(both, pd.Index(codes))
    assert (built["rank_decile"] == built["score_decile"]).all()
    assert about["score"]["direction"] == "higher-is-worse"


def test_every_index_says_who_made_it_and_has_an_overall_domain() -> None:
    for index in INDICES:
        assert index.publisher
        assert index.licence
        assert "overall" in index.domains
        assert "rank" in index.columns


def test_newport_s_real_ranks_scores_and_deciles_are_recognised_as_welsh(shared_data: Path) -> None:
    path = shared_data / "newport/newport_lsoa11_labels.csv"
    page = pd.read_csv(path, index_col="LSOA11CD").sort_index()
    for domain in WALES:
        column = "IMD" if domain == "overall" else domain.title()
        rank = read_outcome("o", settings(path, domain, deciles="published"))
        assert rank.values.tolist() == page[f"{column}_rank"].tolist()
        assert rank.published is not None
        assert rank.published.tolist() == page[f"{column}_decile"].tolist()
        score = read_outcome("o", settings(path, domain, statistic="score"))
        assert score.values.tolist() == page[f"{column}_score"].tolist()
        assert score.provenance["nation_areas"] == 1909
