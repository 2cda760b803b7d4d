"""Labels equal those of the reference's rules, computed plainly, to the last area."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest

from streetgauge.outcomes import build_outcomes
from streetgauge.settings import CensusOutcome

DESCRIPTIONS = {
    "F184": "Age : Mean age",
    "F185": "Age : Median age",
    "F186": "Highest qualification : Total\\ Highest qualification",
    "F187": "Highest qualification : No qualifications",
    "F188": "Highest qualification : Level 1 qualifications",
    "F1391": "Economic activity : Total\\ Economic activity",
    "F1399": "Economic activity : Unemployed",
    "F1777": "General health : Very bad health",
    "F1778": "General health : Total\\ General health",
    "F1782": "General health : Bad health",
    "F2375": "Occupancy rating (rooms) : -1 or less",
    "F2376": "Occupancy rating (rooms) : Total\\ Occupancy rating (rooms)",
}
MEASURES = ("bad-health", "overcrowding", "unemployment", "low-qualification")


def write_infuse(path: Path, cells: Mapping[str, pd.Series], *, prefixed: bool = False) -> None:
    """Write a file of InFuse: small areas among areas of other kinds, as it gives them."""
    frame = pd.DataFrame(cells)
    other = frame.iloc[:3].set_axis(["E02000001", "E06000001", "E09000001"])
    table = pd.concat([other, frame])
    kinds = ["MSOAIZ", "LA", "LA"] + ["LSOADZ"] * len(frame)
    names = [f"{cell}-p-{n}" if prefixed else cell for n, cell in enumerate(table)]
    lines = [",".join(["CDU_ID", "GEO_CODE", "GEO_LABEL", "GEO_TYPE", "GEO_TYP2", *names, ""])]
    if not prefixed:
        lines.append(",".join([*[""] * 5, *(f"{DESCRIPTIONS[c]} - Unit" for c in table), ""]))
    for n, (code, kind) in enumerate(zip(table.index, kinds, strict=True)):
        lines.append(",".join([str(n), code, f"Town {n}", "Areas", kind, *map(str, table.iloc[n])]))
        lines[-1] += ","
    path.write_text("\n".join(lines) + "\n")


def plain_labels(path: Path) -> pd.DataFrame:
    """Compute the reference's census labels as its README and code describe them."""
    table = pd.read_csv(path, dtype=str, index_col=False)
    table.columns = [str(column).split("-")[0] for column in table.columns]
    table = table[table["GEO_TYP2"] == "LSOADZ"].set_index("GEO_CODE")
    cell = {name: table[name].astype(float) for name in table.columns if re.match(r"F\d", name)}
    shares = pd.DataFrame(
        {
            "bad-health": (cell["F1777"] + cell["F1782"]) / cell["F1778"],
            "overcrowding": cell["F2375"] / cell["F2376"],
            "unemployment": cell["F1399"] / cell["F1391"],
            "low-qualification": (cell["F187"] + cell["F188"]) / cell["F186"],
        }
    )
    tenths = {m: pd.qcut(shares[m], 10, labels=range(10, 0, -1)).astype(int) for m in MEASURES}
    return shares.join(pd.DataFrame(tenths).add_suffix("_decile"))


def labels(files: Mapping[str, tuple[Path, ...]], areas: pd.Index) -> pd.DataFrame:
    settings = {
        measure.replace("-", "_"): CensusOutcome(
            source="census", files=files[measure], measure=measure
        )
        for measure in MEASURES
    }
    frame, _, skips = build_outcomes(settings, areas)
    assert skips.empty
    return frame.set_index("area")


def assert_equal(frame: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert set(frame.index) == set(expected.index)
    for measure in MEASURES:
        name = measure.replace("-", "_")
        ours = frame.loc[expected.index]
        assert np.array_equal(ours[f"{name}_value"], expected[measure]), measure
        assert (ours[f"{name}_decile"] == expected[f"{measure}_decile"]).all(), measure


def random_cells(seed: int, n: int = 700) -> dict[str, pd.Series]:
    rng = np.random.default_rng(seed)
    areas = pd.Index([f"E01{k:06d}" for k in 1 + rng.choice(33_000, n, replace=False)])
    total = {cell: rng.integers(900, 2400, n) for cell in ("F1778", "F1391", "F186", "F2376")}
    parts = {
        "F1777": ("F1778", 0.02),
        "F1782": ("F1778", 0.06),
        "F1399": ("F1391", 0.05),
        "F187": ("F186", 0.2),
        "F188": ("F186", 0.12),
        "F2375": ("F2376", 0.1),
    }
    spread = {cell: mean * rng.lognormal(0, 0.3, n) for cell, (_, mean) in parts.items()}
    counts = {c: rng.binomial(total[t], spread[c].clip(0, 0.4)) for c, (t, _) in parts.items()}
    ages = {"F184": rng.normal(38, 4, n).round(5), "F185": rng.integers(25, 55, n)}
    return {cell: pd.Series(v, index=areas) for cell, v in {**total, **counts, **ages}.items()}


@pytest.mark.parametrize("prefixed", [False, True])
def test_all_four_shares_of_generated_infuse_files_have_the_references_deciles(
    prefixed: bool, tmp_path: Path
) -> None:
    cells = random_cells(seed=11)
    path = tmp_path / "labels.csv"
    write_infuse(path, cells, prefixed=prefixed)
    areas = pd.Index(cells["F186"].index).sort_values()
    frame = labels(dict.fromkeys(MEASURES, (path,)), areas)
    assert_equal(frame, plain_labels(path))


def test_order_of_rows_and_columns_and_cells_in_several_files_change_nothing(
    tmp_path: Path,
) -> None:
    cells = random_cells(seed=5, n=120)
    write_infuse(tmp_path / "all.csv", cells)
    rng = np.random.default_rng(2)
    order = rng.permutation(120)
    groups = (("F1782", "F1778", "F1777"), ("F2376",), ("F2375",), ("F1391", "F1399"))
    files = []
    for k, group in enumerate((*groups, ("F188", "F186", "F187"))):
        files.append(tmp_path / f"part{k}.csv")
        write_infuse(files[-1], {cell: cells[cell].iloc[order] for cell in group})
    areas = pd.Index(rng.permutation(cells["F186"].index.to_numpy()))
    assert_equal(
        labels(dict.fromkeys(MEASURES, tuple(files)), areas), plain_labels(tmp_path / "all.csv")
    )


def nomis(path: Path) -> pd.DataFrame:
    frame = pd.read_csv(path, skiprows=8, skip_blank_lines=True)
    frame = frame[frame["mnemonic"].str.fullmatch(r"E\d{8}", na=False)]
    return frame.set_index("mnemonic").drop(columns=frame.columns[0]).astype(int)


@pytest.mark.slow
def test_londons_4835_areas_have_the_same_labels_from_nomis_and_from_infuse(
    shared_data: Path, tmp_path: Path
) -> None:
    london = shared_data / "london"
    page = openpyxl.load_workbook(london / "ks403ew_london_nomis.xlsx")["Data"]
    rows = [row[:2] for row in page.iter_rows(min_row=10, values_only=True)]
    crowded = pd.Series({cell.split(" : ")[0]: int(n) for cell, n in rows if n is not None})
    areas = crowded.index
    health, skills = nomis(london / "qs302ew.csv.gz"), nomis(london / "ks501ew.csv.gz")
    work, homes = nomis(london / "qs601ew.csv.gz"), nomis(london / "qs406ew.csv.gz")
    cells = {
        "F1777": health["Very bad health"],
        "F1778": health["All categories: General health"],
        "F1782": health["Bad health"],
        "F2375": crowded,
        "F2376": homes["All categories: Household size"],
        "F1399": work["Economically active: Unemployed"],
        "F1391": work["All categories: Economic activity"],
        "F186": skills["All categories: Highest level of qualification"],
        "F187": skills["No qualifications"],
        "F188": skills["Highest level of qualification: Level 1 qualifications"],
    }
    path = tmp_path / "Data_LONDON.csv"
    write_infuse(path, {cell: counts.loc[areas] for cell, counts in cells.items()})
    expected = plain_labels(path)
    assert len(expected) == 4835
    assert_equal(labels(dict.fromkeys(MEASURES, (path,)), areas), expected)
    from_nomis = {
        "bad-health": (london / "qs302ew.csv.gz",),
        "overcrowding": (london / "ks403ew_london_nomis.xlsx", london / "qs406ew.csv.gz"),
        "unemployment": (london / "qs601ew.csv.gz",),
        "low-qualification": (london / "ks501ew.csv.gz",),
    }
    assert_equal(labels(from_nomis, areas), expected)
