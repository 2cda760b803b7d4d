"""Files in the layouts in which public bodies publish: quirks of the originals included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streetgauge.io.files import atomic_path, write_text

NATIONAL_AREAS = 32_844  # LSOAs of England: ranks run from 1 to this
_NOTICE = "Synthetic data of the streetgauge sample city: no real place, no Crown copyright"
_FOOTER = (
    "Every figure in this table is made up. As in the original tables,",
    "the rows end with a remark on how small counts were protected:",
    "here nothing needed to be, and nothing was.",
)

_HEALTH = (
    "All categories: General health", "Very good health", "Good health", "Fair health",
    "Bad health", "Very bad health",
)  # fmt: skip
_LEVEL = "Highest level of qualification: "
_QUALIFICATIONS = (
    "All categories: Highest level of qualification", "No qualifications",
    f"{_LEVEL}Level 1 qualifications", f"{_LEVEL}Level 2 qualifications",
    f"{_LEVEL}Apprenticeship", f"{_LEVEL}Level 3 qualifications",
    f"{_LEVEL}Level 4 qualifications and above", f"{_LEVEL}Other qualifications",
    "Full-time students: Age 18 to 74: Economically active: In employment",
    "Full-time students: Age 18 to 74: Economically active: Unemployed",
    "Full-time students: Age 18 to 74: Economically inactive",
)  # fmt: skip

_RANK = "Rank (where 1 is most deprived)"
_DECILE = "Decile (where 1 is most deprived 10% of LSOAs)"
_DOMAINS = (
    "Index of Multiple Deprivation (IMD)", "Income", "Employment",
    "Education, Skills and Training", "Health Deprivation and Disability", "Crime",
    "Barriers to Housing and Services", "Living Environment",
)  # fmt: skip
DEPRIVATION_HEADER = (
    "LSOA code (2011)", "LSOA name (2011)", "Local Authority District code (2013)",
    "Local Authority District name (2013)",
    *(f"{domain} {kind}" for domain in _DOMAINS for kind in (_RANK, _DECILE)),
)  # fmt: skip

_YEARS = tuple(f"{2001 + i}/{(2 + i) % 100:02d}" for i in range(12))

# ONS Postcode Directory, August 2017 to May 2018.
_DIRECTORY = (
    "pcd", "pcd2", "pcds", "dointr", "doterm", "oscty", "ced", "oslaua", "osward", "parish",
    "usertype", "oseast1m", "osnrth1m", "osgrdind", "oshlthau", "nhser", "ctry", "rgn", "streg",
    "pcon", "eer", "teclec", "ttwa", "pct", "nuts", "statsward", "oa01", "casward", "park",
    "lsoa01", "msoa01", "ur01ind", "oac01", "oa11", "lsoa11", "msoa11", "wz11", "ccg", "bua11",
    "buasd11", "ru11ind", "oac11", "lat", "long", "lep1", "lep2", "pfa", "imd", "calncv", "stp",
)  # fmt: skip
_BARE = frozenset({"lat", "long", "imd"})  # the directory quotes all but these


def write_boundaries(areas: gpd.GeoDataFrame, path: Path) -> None:
    """Write boundaries as GeoPackage; the same bytes for the same areas."""
    import pyogrio

    with atomic_path(path) as temporary:
        # GDAL notes when a layer was changed: give it a fixed time.
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2019-01-01T00:00:00.000Z"})
        try:
            areas.to_file(temporary, layer="lsoa11", driver="GPKG", engine="pyogrio")
        finally:
            pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def census_counts(
    people: pd.Series, share: pd.Series, table: str, rng: np.random.Generator
) -> pd.DataFrame:
    """Split people into a census table's categories, so that one share of them is as given.

    Parameters
    ----------
    people : Series
        Persons by area.
    share : Series
        Of them, in bad or very bad health, or with a qualification below level 2.
    table : {"QS302EW", "KS501EW"}
        General health, or qualifications.
    rng : Generator
        Chance, for how the rest is split.

    Returns
    -------
    DataFrame
        Whole numbers; columns as in the original table, the total first.
    """
    total = people.to_numpy(np.int64)
    low = np.rint(total * share.to_numpy()).astype(np.int64)
    rest = total - low
    if table == "QS302EW":
        worst = rng.binomial(low, 0.22)
        very_good, good, fair = _split(rest, (0.5, 0.36, 0.14), rng)
        columns = [total, very_good, good, fair, low - worst, worst]
        names: Sequence[str] = _HEALTH
    else:
        none = rng.binomial(low, 0.58)
        level2, apprentice, level3, level4, other = _split(rest, (0.2, 0.04, 0.17, 0.48, 0.11), rng)
        students = [rng.binomial(total, p) for p in (0.02, 0.004, 0.03)]
        columns = [total, none, low - none, level2, apprentice, level3, level4, other, *students]
        names = _QUALIFICATIONS
    return pd.DataFrame(dict(zip(names, columns, strict=True)), index=people.index)


def _split(
    total: np.ndarray, shares: Sequence[float], rng: np.random.Generator
) -> list[np.ndarray]:
    counts = np.array([rng.multinomial(n, np.array(shares) / sum(shares)) for n in total])
    return list(counts.T)


def write_census(
    counts: pd.DataFrame, names: pd.Series, title: str, population: str, path: Path
) -> None:
    """Write a table as Nomis gives it: title and metadata first, a footer last, blank lines."""
    quoted = [f'"{name}"' for name in ("2011 super output area - lower layer", "mnemonic")]
    lines = [
        "", f'"{title}"', f'"{_NOTICE}"', f'"Population :","{population}"',
        '"Units      :","Persons"', '"Date       :","2011"', '"Rural Urban:","Total"', "",
        ",".join(quoted + [f'"{name}"' for name in counts.columns]), "",
    ]  # fmt: skip
    for code, row in zip(counts.index, counts.to_numpy(), strict=True):
        lines.append(f'"{names[code]}","{code}",' + ",".join(str(n) for n in row))
    lines += ["", *(f'"","{text}"' for text in _FOOTER), ""]
    write_text("\n".join(lines) + "\n", path)


def deprivation_ranks(score: NDArray[np.float64]) -> NDArray[np.int64]:
    """National ranks, 1 = most deprived, for scores of mean 0 and variance 1; no rank twice."""
    share = np.array([0.5 * math.erfc(-(0.9 * s - 0.25) / math.sqrt(2)) for s in score])
    rank: NDArray[np.int64] = np.clip(np.rint(share * NATIONAL_AREAS), 1, NATIONAL_AREAS).astype(
        np.int64
    )
    order = np.argsort(score, kind="stable")
    # Ties move up, and from the top down again: strictly rising, and still within the nation.
    rising = np.maximum.accumulate(rank[order] - np.arange(len(rank))) + np.arange(len(rank))
    rank[order] = np.minimum(rising, NATIONAL_AREAS - np.arange(len(rank))[::-1])
    return rank


def write_deprivation(ranks: pd.DataFrame, areas: pd.DataFrame, path: Path) -> None:
    """Write ranks and deciles under the headers of the Indices of Deprivation 2015.

    Parameters
    ----------
    ranks : DataFrame
        By area, a column for each domain as the original header calls it.
    areas : DataFrame
        By area: name, district code, district name.
    path : Path
        CSV, one row an area.
    """
    frame = pd.DataFrame(index=ranks.index)
    frame["LSOA code (2011)"] = ranks.index
    for header, column in zip(DEPRIVATION_HEADER[1:4], areas.columns, strict=True):
        frame[header] = areas[column].reindex(ranks.index)
    for domain in _DOMAINS:
        frame[f"{domain} {_RANK}"] = ranks[domain]
        frame[f"{domain} {_DECILE}"] = (ranks[domain] - 1) * 10 // NATIONAL_AREAS + 1
    write_text(frame.to_csv(index=False, lineterminator="\n"), path)


def write_income(mean: pd.Series, median: pd.Series, areas: pd.DataFrame, path: Path) -> None:
    """Write incomes of 2012/13 as the GLA does, the pound sign broken and thousands with commas.

    Parameters
    ----------
    mean, median : Series
        Pounds a year, by area; earlier years are lower by two and a half per cent each.
    areas : DataFrame
        By area: name, district code, district name.
    path : Path
        CSV, one row an area.
    """
    frame = areas.reindex(mean.index).reset_index()
    frame.columns = pd.Index(["Code", "Name", "LAD code", "Borough"])
    for statistic, values in (("Mean", mean), ("Median", median)):
        for back, year in zip(reversed(range(12)), _YEARS, strict=True):
            pounds = (values.to_numpy() / 1.025**back / 10).round() * 10
            frame[f"{statistic} {year}"] = [f"?{int(p):,}" for p in pounds]
    write_text(frame.to_csv(index=False, lineterminator="\n"), path)


def write_directory(postcodes: pd.DataFrame, path: Path) -> None:
    """Write postcodes in the layout of the ONS Postcode Directory of 2017 and 2018.

    Parameters
    ----------
    postcodes : DataFrame
        postcode, lat, lon, east, north, oa, lsoa, msoa, district, introduced, terminated (months
        "200401", or None), imd; without coordinates (NaN) a row gets the directory's null mark
        99.999999 and pseudo codes.
    path : Path
        CSV.
    """
    lines = [",".join(_DIRECTORY)]
    for row in postcodes.to_dict("records"):
        cells = _directory_row({str(key): value for key, value in row.items()})
        lines.append(",".join(cells[c] if c in _BARE else f'"{cells[c]}"' for c in _DIRECTORY))
    write_text("\n".join(lines) + "\n", path)


def _directory_row(row: dict[str, object]) -> dict[str, str]:
    outward, inward = str(row["postcode"]).split()
    known = row["lat"] == row["lat"]  # NaN is not
    cells = dict.fromkeys(_DIRECTORY, "E99999999" if known else "M99999999")
    cells |= {
        "pcd": f"{outward:<4}{inward}", "pcd2": f"{outward:<4} {inward}",
        "pcds": f"{outward} {inward}", "dointr": str(row["introduced"]),
        "doterm": str(row["terminated"] or ""), "usertype": "0", "streg": "0", "ur01ind": "5",
        "oac01": "9Z9", "ru11ind": "A1", "oac11": "9Z9", "lep2": "", "osgrdind": "1",
        "oa01": "99ZZ99", "casward": "99ZZ99", "calncv": "S99999999", "stp": "S99999999",
        "ctry": "E92000001" if known else "M99999999",
    }  # fmt: skip
    if not known:
        null = {"oseast1m": "", "osnrth1m": "", "osgrdind": "9", "lat": "99.999999",
                "long": "0.000000", "imd": "0"}  # fmt: skip
        return cells | null
    return cells | {
        "oseast1m": f"{row['east']:.0f}", "osnrth1m": f"{row['north']:07.0f}",
        "oslaua": str(row["district"]), "oa11": str(row["oa"]), "lsoa11": str(row["lsoa"]),
        "msoa11": str(row["msoa"]), "lsoa01": str(row["lsoa"]), "msoa01": str(row["msoa"]),
        "lat": f"{row['lat']:.6f}", "long": f"{row['lon']:.6f}", "imd": str(row["imd"]),
    }  # fmt: skip
