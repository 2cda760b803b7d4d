"""Every area's label equals that of the reference's rules, computed plainly and apart.

The first half of this file is the reference as REFERENCE.md states it (equal-count tenths of the
areas of one city by `pandas.qcut`; of a share the highest tenth is 1; of a rank or an income the
lowest is 1; postcodes joined on their LSOA of 2011). It reads the files with pandas alone and knows
nothing of this package. The second half asks the package for the same and compares area by area.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest

# ---- the reference's rules, written plainly ----------------------------------------------------

DOMAINS = {
    "income": "Income",
    "employment": "Employment",
    "education": "Education, Skills and Training",
    "health": "Health Deprivation and Disability",
    "crime": "Crime",
    "housing": "Barriers to Housing and Services",
    "environment": "Living Environment",
}
# The same in the two files that renamed their columns.
IN_2019 = {
    "income": "Income_rank",
    "employment": "Employment_rank",
    "education": "Education_rank",
    "health": "Health_rank",
    "crime": "Crime_rank",
    "housing": "Housing_and_Access_rank",
    "environment": "Environment_rank",
}
IN_PART = {
    "income": "Income_Rank",
    "employment": "Employment_Rank",
    "education": "Education_Rank",
    "health": "Health_Deprivation_Rank",
    "crime": "Crime_Rank",
    "housing": "Barriers_to_Housing_and_Services_Rank",
    "environment": "Living_Environment_Rank",
}
RANK = "{} Rank (where 1 is most deprived)"


def tenths(values: pd.Series, *, high_is_worst: bool) -> pd.Series:
    """Equal-count tenths of the areas that have a value, 1 = worst off."""
    labels = list(range(10, 0, -1)) if high_is_worst else list(range(1, 11))
    return pd.qcut(values.dropna(), 10, labels=labels).astype(int)


def labels_of_shares(shares: dict[str, pd.Series]) -> dict[str, pd.Series]:
    return {name: tenths(share, high_is_worst=True) for name, share in shares.items()}


def labels_of_numbers(numbers: dict[str, pd.Series]) -> dict[str, pd.Series]:
    return {name: tenths(each, high_is_worst=False) for name, each in numbers.items()}


def infuse_shares(path: Path, city: list[str]) -> dict[str, pd.Series]:
    frame = pd.read_csv(path, index_col=False)
    frame = frame[frame["GEO_TYP2"] == "LSOADZ"].set_index("GEO_CODE").loc[city]
    cell = {c.split("-")[0]: frame[c].astype(float) for c in frame if re.match(r"F\d+", c)}
    return {
        "bad-health": (cell["F1777"] + cell["F1782"]) / cell["F1778"],
        "overcrowding": cell["F2375"] / cell["F2376"],
        "unemployment": cell["F1399"] / cell["F1391"],
        "low-qualification": (cell["F187"] + cell["F188"]) / cell["F186"],
    }


def nomis(path: Path, city: pd.Index) -> pd.DataFrame:
    frame = pd.read_csv(path, skiprows=8, skip_blank_lines=True)
    frame = frame[frame["mnemonic"].str.fullmatch(r"E\d{8}", na=False)].set_index("mnemonic")
    return frame.drop(columns=frame.columns[0]).astype(float).loc[city]


def nomis_shares(london: Path, city: pd.Index) -> dict[str, pd.Series]:
    health = nomis(london / "qs302ew.csv.gz", city)
    work = nomis(london / "qs601ew.csv.gz", city)
    skills = nomis(london / "ks501ew.csv.gz", city)
    homes = nomis(london / "qs406ew.csv.gz", city)
    page = openpyxl.load_workbook(london / "ks403ew_london_nomis.xlsx")["Data"]
    rows = [row[:2] for row in page.iter_rows(min_row=10, values_only=True)]
    crowded = pd.Series({code.split(" : ")[0]: float(n) for code, n in rows if n is not None})
    few = skills["Highest level of qualification: Level 1 qualifications"]
    return {
        "bad-health": (health["Bad health"] + health["Very bad health"])
        / health["All categories: General health"],
        "overcrowding": crowded.loc[city] / homes["All categories: Household size"],
        "unemployment": work["Economically active: Unemployed"]
        / work["All categories: Economic activity"],
        "low-qualification": (skills["No qualifications"] + few)
        / skills["All categories: Highest level of qualification"],
    }


def incomes(path: Path) -> dict[str, pd.Series]:
    frame = pd.read_csv(path, encoding="latin-1").set_index("Code")
    columns = {"mean": "Mean 2012/13", "median": "Median 2012/13"}
    return {
        name: frame[column].map(lambda text: float(re.sub(r"[^\d.]", "", str(text))))
        for name, column in columns.items()
    }


# ---- the package's answers ---------------------------------------------------------------------

from streetgauge.locations import read_locations  # noqa: E402
from streetgauge.outcomes import build_outcomes  # noqa: E402
from streetgauge.settings import (  # noqa: E402
    CensusOutcome,
    DeprivationOutcome,
    DirectoryLocations,
    IncomeOutcome,
)


def census(measure: str, *files: Path) -> CensusOutcome:
    return CensusOutcome.model_validate({"source": "census", "files": files, "measure": measure})


def index(file: Path, domain: str = "overall") -> DeprivationOutcome:
    return DeprivationOutcome.model_validate(
        {"source": "deprivation", "file": file, "domain": domain}
    )


def income(file: Path, statistic: str) -> IncomeOutcome:
    return IncomeOutcome.model_validate({"source": "income", "file": file, "statistic": statistic})


def assert_same_labels(frame: pd.DataFrame, expected: dict[str, pd.Series]) -> None:
    """Each outcome's decile of each area: equal, and missing where the reference has none."""
    deciles = frame.set_index("area")
    for name, labels in expected.items():
        ours = deciles[f"{name}_decile"]
        theirs = labels.reindex(ours.index).astype("Int64")
        differ = ours.index[(ours != theirs).fillna(ours.isna() != theirs.isna())]
        assert not len(differ), (name, len(differ), differ[:3].tolist())
        assert ours.notna().sum() == len(labels)


# ---- real files of London ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def london(shared_data: Path) -> Path:
    return shared_data / "london"


@pytest.fixture(scope="module")
def city(london: Path) -> pd.Index:
    return pd.Index(incomes(london / "modelled-household-income-estimates-lsoa.csv")["mean"].index)


@pytest.mark.slow
def test_every_area_of_london_has_the_reference_s_label_for_every_outcome_that_is_there(
    london: Path, city: pd.Index
) -> None:
    paid = london / "modelled-household-income-estimates-lsoa.csv"
    overall = london / "File_1_ID_2015_Index_of_Multiple_Deprivation.xlsx"
    later, partial = (
        london / "imd2019_england_lsoa11.csv.gz",
        london / "imd2015_domain_ranks_PARTIAL_22264.csv.gz",
    )
    expected = labels_of_shares(nomis_shares(london, city)) | labels_of_numbers(incomes(paid))
    ranks = pd.read_excel(overall, sheet_name="IMD 2015", engine="openpyxl").set_index(
        "LSOA code (2011)"
    )
    column = next(c for c in ranks if c.startswith("Index of Multiple Deprivation (IMD) Rank"))
    expected |= labels_of_numbers({"overall-2015": ranks[column].reindex(city)})
    in_2019 = pd.read_csv(later).set_index("lsoa11_code").reindex(city)
    in_2015 = pd.read_csv(partial).set_index("lsoa11cd").reindex(city)
    expected |= labels_of_numbers({f"{d}-2019": in_2019[c] for d, c in IN_2019.items()})
    expected |= labels_of_numbers({f"{d}-2015": in_2015[c] for d, c in IN_PART.items()})
    files = {
        "bad-health": ["qs302ew.csv.gz"],
        "overcrowding": ["ks403ew_london_nomis.xlsx", "qs406ew.csv.gz"],
        "unemployment": ["qs601ew.csv.gz"],
        "low-qualification": ["ks501ew.csv.gz"],
    }
    settings = {m: census(m, *(london / name for name in names)) for m, names in files.items()}
    settings |= {statistic: income(paid, statistic) for statistic in ("mean", "median")}
    settings["overall-2015"] = index(overall)
    settings |= {f"{domain}-2019": index(later, domain) for domain in DOMAINS}
    settings |= {f"{domain}-2015": index(partial, domain) for domain in DOMAINS}
    frame, _, skips = build_outcomes(settings, city)
    assert len(expected) == len(settings) == 4 + 2 + 1 + 7 + 7
    assert_same_labels(frame, expected)
    assert len(skips) == 7 * 1060  # the partial file, each of its domains


@pytest.mark.slow
def test_every_postcode_of_london_has_the_label_that_a_plain_join_on_lsoa11_gives_it(
    london: Path, city: pd.Index
) -> None:
    directory = london / "postcodes_london_lsoa11.csv.gz"
    paid = london / "modelled-household-income-estimates-lsoa.csv"
    plain = pd.read_csv(directory, usecols=["pcds", "lsoa11"], dtype=str)
    plain = plain[plain["lsoa11"].isin(city)]
    label = tenths(incomes(paid)["mean"], high_is_worst=False).rename("label")
    plain = plain.join(label, on="lsoa11")
    expected = plain.set_index(plain["pcds"].str.replace(" ", ""))["label"].sort_index()
    frame, _, _ = build_outcomes({"mean": income(paid, "mean")}, city)
    settings = DirectoryLocations(source="directory", file=directory)
    locations, _ = read_locations(settings, pd.DataFrame(index=city.sort_values()))
    ours = locations.set_index("location_id")["area"].map(frame.set_index("area")["mean_decile"])
    assert len(ours) == 331_264
    assert ours.index.tolist() == expected.index.tolist()
    assert (ours.to_numpy(int) == expected.to_numpy(int)).all()


# ---- a generated city with the paper's exact cell codes and headers ----------------------------


def write_city(folder: Path, seed: int, *, prefixed: bool) -> list[str]:
    """InFuse, indices, income of a city of 210 areas among 60 of elsewhere; ties on purpose."""
    rng = np.random.default_rng(seed)
    codes = [f"E0100{n:04d}" for n in rng.permutation(9000)[:270]]
    people, homes = rng.integers(1000, 3000, 270), rng.integers(400, 900, 270)

    def part(of: np.ndarray, most: float) -> np.ndarray:
        return (of * rng.uniform(0, most, len(of))).astype(int)

    cells = {
        "F1777": part(people, 0.04),
        "F1778": people,
        "F1782": part(people, 0.1),
        "F2375": part(homes, 0.5),
        "F2376": homes,
        "F1399": part(people, 0.12),
        "F1391": people,
        "F184": rng.integers(280, 480, 270) / 10,
        "F185": rng.integers(25, 50, 270),
        "F187": part(people, 0.3),
        "F188": part(people, 0.2),
        "F186": people,
    }
    names = {cell: f"{cell}-p-{n}" if prefixed else cell for n, cell in enumerate(cells)}
    frame = pd.DataFrame(cells).rename(columns=names)
    frame.insert(0, "GEO_TYP2", "LSOADZ")
    frame.insert(0, "GEO_TYPE", "Lower Super Output Areas and Data Zones")
    frame.insert(0, "GEO_LABEL", [f"Town {n}" for n in range(270)])
    frame.insert(0, "GEO_CODE", codes)
    frame.insert(0, "CDU_ID", range(270))
    others = frame.iloc[:4].assign(GEO_CODE=[f"E0600000{n}" for n in range(4)], GEO_TYP2="LA")
    described = ",".join([*[""] * 5, *(f"about {cell}" for cell in cells), ""])
    text = pd.concat([others, frame]).to_csv(index=False).splitlines()
    lines = [text[0] + ",", *([] if prefixed else [described]), *(row + "," for row in text[1:])]
    (folder / "infuse.csv").write_text("\n".join(lines) + "\n")
    ranks = {RANK.format(title): rng.permutation(32_844)[:270] + 1 for title in DOMAINS.values()}
    indices = pd.DataFrame({"LSOA code (2011)": codes, "LSOA name (2011)": "Town", **ranks})
    indices.insert(2, "Local Authority District code (2013)", "E06000001")
    indices.sample(frac=1, random_state=seed).to_csv(folder / "File_2_ID_2015.csv", index=False)
    # Rounded, so that areas share values; the file has the city's areas only.
    mean = rng.integers(300, 900, 210) * 100
    paid = {"Code": codes[:210], "Mean 2012/13": mean, "Median 2012/13": mean - 5000}
    pounds = pd.DataFrame(paid)
    for column in pounds.columns[1:]:
        pounds[column] = [f"£{value:,}" for value in pounds[column]]
    pounds.to_csv(folder / "income.csv", index=False, encoding="latin-1")
    return codes[:210]


@pytest.mark.parametrize(("seed", "prefixed"), [(1, False), (2, True), (3, False), (4, True)])
def test_all_twelve_outcomes_have_the_reference_s_labels_from_the_paper_s_own_layouts(
    seed: int, prefixed: bool, tmp_path: Path
) -> None:
    city = write_city(tmp_path, seed, prefixed=prefixed)
    infuse, indices = tmp_path / "infuse.csv", tmp_path / "File_2_ID_2015.csv"
    expected = labels_of_shares(infuse_shares(infuse, city))
    by_area = pd.read_csv(indices).set_index("LSOA code (2011)").loc[city]
    expected |= labels_of_numbers({d: by_area[RANK.format(t)] for d, t in DOMAINS.items()})
    paid = incomes(tmp_path / "income.csv")
    expected["mean"] = tenths(paid["mean"], high_is_worst=False)
    assert len(expected) == 12
    expected["median"] = tenths(paid["median"], high_is_worst=False)
    shares = ("bad-health", "overcrowding", "unemployment", "low-qualification")
    settings = {measure: census(measure, infuse) for measure in shares}
    settings |= {domain: index(indices, domain) for domain in DOMAINS}
    settings |= {each: income(tmp_path / "income.csv", each) for each in ("mean", "median")}
    frame, metadata, skips = build_outcomes(settings, pd.Index(city[::-1]))
    assert skips.empty
    assert_same_labels(frame, expected)
    assert metadata["bad-health"]["cells"] == ["F1777", "F1782", "F1778"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_areas_with_equal_values_share_the_tenth_that_qcut_gives_them(
    seed: int, tmp_path: Path
) -> None:
    city = write_city(tmp_path, seed, prefixed=True)
    infuse, pounds, rng = (
        tmp_path / "infuse.csv",
        tmp_path / "income.csv",
        np.random.default_rng(seed),
    )
    counts = pd.read_csv(infuse, index_col=False)
    active, unemployed = (next(c for c in counts if c.startswith(f)) for f in ("F1391", "F1399"))
    counts[active], counts[unemployed] = 100, rng.integers(0, 60, len(counts))
    counts.to_csv(infuse, index=False)
    paid = pd.read_csv(pounds, encoding="latin-1")
    paid["Mean 2012/13"] = rng.integers(20, 80, len(paid)) * 1000
    paid.to_csv(pounds, index=False)
    share = infuse_shares(infuse, city)["unemployment"]
    expected = {
        "unemployment": tenths(share, high_is_worst=True),
        "mean": tenths(incomes(pounds)["mean"], high_is_worst=False),
    }
    settings = {"unemployment": census("unemployment", infuse), "mean": income(pounds, "mean")}
    frame, _, _ = build_outcomes(settings, pd.Index(city))
    assert_same_labels(frame, expected)


def test_ages_are_the_cells_f184_and_f185_as_they_are(tmp_path: Path) -> None:
    city = write_city(tmp_path, 5, prefixed=False)
    infuse = tmp_path / "infuse.csv"
    table = pd.read_csv(infuse, index_col=False)
    table = table[table["GEO_TYP2"] == "LSOADZ"].set_index("GEO_CODE")
    settings = {
        measure: CensusOutcome.model_validate(
            {
                "source": "census",
                "files": [infuse],
                "measure": measure,
                "direction": "higher-is-worse",
            }
        )
        for measure in ("mean-age", "median-age")
    }
    frame, _, _ = build_outcomes(settings, pd.Index(city))
    frame = frame.set_index("area")
    assert (frame["mean-age_value"] == table["F184"].astype(float).loc[frame.index]).all()
    assert (frame["median-age_value"] == table["F185"].astype(float).loc[frame.index]).all()
