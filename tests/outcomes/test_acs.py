"""Income of American census tracts; files are made with the headers of the Census Bureau's own."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

from streetgauge.errors import InputError
from streetgauge.outcomes import read_outcome
from streetgauge.settings import TableOutcome

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "acs"
SIDE = 6
TRACTS = [f"06001{400100 + 100 * n:06d}" for n in range(SIDE * SIDE)]
INCOME = 40_000 + 3_000 * np.random.default_rng(8).permutation(len(TRACTS))
NO_ESTIMATE = 7  # the tract that has none


def table(path: Path, **more: object) -> TableOutcome:
    return TableOutcome.model_validate(
        {
            "source": "table",
            "file": path,
            "area": "GEO_ID",
            "area_prefix": "1400000US",
            "value": "B19013_001E",
            "direction": "higher-is-better",
            **more,
        }
    )


def cells() -> list[str]:
    return [
        "-666666666" if n == NO_ESTIMATE else str(value) for n, value in enumerate(INCOME.tolist())
    ]


def write_table(path: Path) -> Path:
    """A file of data.census.gov: two headers, quoted, and another county's tracts as well."""
    rows = [
        '"GEO_ID","NAME","B19013_001E","B19013_001M"',
        '"Geography","Geographic Area Name","Estimate!!Median household income in the past 12 '
        'months (in 2022 inflation-adjusted dollars)","Margin of Error!!Median household income in '
        'the past 12 months (in 2022 inflation-adjusted dollars)"',
        *(
            f'"1400000US{code}","Census Tract {int(code[5:]) / 100:g}; Alameda County; California",'
            f'"{income}","12,345"'
            for code, income in zip(TRACTS, cells(), strict=True)
        ),
        '"1400000US06013301000","Census Tract 3010; Contra Costa County; California","250,000+",'
        '"***"',
    ]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8-sig")
    return path


def test_a_file_of_data_census_gov_is_read_as_it_is(tmp_path: Path) -> None:
    outcome = read_outcome("income", table(write_table(tmp_path / "acs.csv")))
    expected = dict(zip(TRACTS, INCOME.astype(float), strict=True)) | {"06013301000": 250_000.0}
    del expected[TRACTS[NO_ESTIMATE]]
    assert outcome.values.dropna().to_dict() == expected
    assert outcome.missing == {TRACTS[NO_ESTIMATE]: "the file has '-666666666'"}


@pytest.mark.parametrize(
    "mark", [*(f"-{d * 9}" for d in "235689"), "-666666666.0", "-", "**", "N", "(X)", "null"]
)
def test_every_annotation_value_of_the_survey_is_missing(mark: str, tmp_path: Path) -> None:
    path = tmp_path / "acs.csv"
    path.write_text(f"GEO_ID,B19013_001E\n1400000US06001400100,{mark}\n")
    assert read_outcome("income", table(path)).values.isna().all()


def test_the_api_s_columns_make_up_the_code_with_its_zeros(tmp_path: Path) -> None:
    path = tmp_path / "acs.csv"
    path.write_text(
        "NAME,B19013_001E,state,county,tract\n"
        '"Census Tract 4001, Alameda County, California",234236,06,001,400100\n'
    )
    whole = table(path, area=["state", "county", "tract"], area_prefix=None)
    assert read_outcome("income", whole).values.to_dict() == {"06001400100": 234236.0}


def test_zeros_that_a_spreadsheet_has_eaten_are_put_back(tmp_path: Path) -> None:
    frame = pd.DataFrame({"GEOID": [6001400100, 36061000100], "B19013_001E": [1, 2]})
    frame.to_excel(tmp_path / "acs.xlsx", index=False)
    chosen = table(tmp_path / "acs.xlsx", area="GEOID", area_prefix=None, area_width=11)
    assert read_outcome("income", chosen).values.index.tolist() == ["06001400100", "36061000100"]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"area_prefix": "1500000US"}, "row 2: area '1400000US06001400100' does not start with"),
        ({"area_width": 10}, "row 2: area '06001400100' has more than 10 characters"),
    ],
)
def test_codes_that_do_not_fit_are_refused(more: dict, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "acs.csv"
    path.write_text("GEO_ID,B19013_001E\n1400000US06001400100,1\n")
    with pytest.raises(InputError, match=reason):
        read_outcome("income", table(path, **more))


@pytest.mark.parametrize(
    ("combine", "expected"), [("sum", [13.0, 26.0]), ("mean", [13 / 3, 26 / 3])]
)
def test_several_columns_are_added_up_or_averaged(
    combine: str, expected: list[float], tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("code,a,b,c\nA1,1,2,10\nA2,2,4,20\nA3,1,,10\n")
    chosen = table(path, area="code", area_prefix=None, value=["a", "b", "c"], combine=combine)
    outcome = read_outcome("o", chosen)
    assert outcome.values.tolist()[:2] == pytest.approx(expected)
    assert outcome.missing == {"A3": "column 'b' is empty"}


def test_a_share_is_all_but_the_last_over_the_last(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("code,a,b,all\nA1,1,2,10\nA2,2,4,8\nA3,0,0,0\n")
    chosen = table(path, area="code", area_prefix=None, value=["a", "b", "all"], combine="share")
    outcome = read_outcome("o", chosen)
    assert outcome.values.tolist()[:2] == pytest.approx([0.3, 0.75])
    assert outcome.missing == {"A3": "column 'all' is 0"}
    assert outcome.provenance["columns"]["value"] == "(a + b) / all"
    path.write_text("code,a,b,all\nA1,9,2,10\n")
    with pytest.raises(InputError, match=r"row 2, column '\(a \+ b\) / all': 1.1 is not a share"):
        read_outcome("o", chosen)
    path.write_text("code,a,b,all\nA1,-9,2,10\n")
    with pytest.raises(InputError, match="row 2, column 'a': -9 is a negative count"):
        read_outcome("o", chosen)


def test_a_mark_that_the_settings_name_is_missing_and_no_number(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("code,rate\nA1,-9\nA2,9\nA3,-99\n")
    chosen = table(path, area="code", area_prefix=None, value="rate", missing=["-9", "-99"])
    outcome = read_outcome("o", chosen)
    assert outcome.values.dropna().to_dict() == {"A2": 9.0}
    assert outcome.missing["A3"] == "the file has '-99'"


def test_a_direction_that_is_not_stated_and_columns_that_are_not_combined_are_refused(
    grid: Path, refuse: Callable[..., str]
) -> None:
    text = (grid / "study.toml").read_text()
    (grid / "study.toml").write_text(text.replace('direction = "higher-is-worse"\n', ""))
    assert "outcomes.illness.direction: this key is missing" in refuse("check", grid)
    (grid / "study.toml").write_text(
        text.replace('value = "illness"', 'value = ["illness", "income"]')
    )
    assert "'combine' goes with several columns" in refuse("check", grid)


def write_county(study: Path) -> Path:
    """All the files that the example names, in the layouts of their publishers."""
    (study / "data").mkdir(parents=True)
    shutil.copy(EXAMPLE / "study.toml", study)
    write_table(study / "data" / "acs_b19013.csv")
    x, y = np.arange(len(TRACTS)) % SIDE, np.arange(len(TRACTS)) // SIDE
    west, south = -122.3 + 0.01 * x, 37.7 + 0.01 * y
    frame = {
        "STATEFP": [code[:2] for code in TRACTS],
        "COUNTYFP": [code[2:5] for code in TRACTS],
        "TRACTCE": [code[5:] for code in TRACTS],
        "GEOIDFQ": [f"1400000US{code}" for code in TRACTS],
        "GEOID": TRACTS,
        "NAME": [f"{int(code[5:]) / 100:g}" for code in TRACTS],
        "NAMELSAD": [f"Census Tract {int(code[5:]) / 100:g}" for code in TRACTS],
        "ALAND": 1_000_000,
        "geometry": [box(a, b, a + 0.01, b + 0.01) for a, b in zip(west, south, strict=True)],
    }
    folder = study / "shape"
    folder.mkdir()
    name = "cb_2022_06_tract_500k"
    gpd.GeoDataFrame(frame, crs="EPSG:4269").to_file(folder / f"{name}.shp", engine="pyogrio")
    with zipfile.ZipFile(study / "data" / f"{name}.zip", "w") as archive:
        for part in sorted(folder.iterdir()):
            archive.write(part, part.name)
    of = np.repeat(np.arange(len(TRACTS)), 6)
    spot = np.random.default_rng(1).uniform(0.001, 0.009, (len(of), 2))
    places = {"place": [f"P{n}" for n in range(len(of))]}
    places |= {"lat": south[of] + spot[:, 1], "lon": west[of] + spot[:, 0]}
    pd.DataFrame(places).to_csv(study / "data" / "places.csv", index=False)
    return study


def test_the_example_runs_from_tract_to_report(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    study = write_county(tmp_path / "acs")
    with (study / "study.toml").open("a", encoding="utf-8") as file:
        file.write(
            "\n[train]\nensemble_size = 2\nepochs = 3\nwidth = 128\n"
        )  # the example's is longer
    for stage in ("check", "run"):
        code, _, err = run(stage, study)
        assert code == 0, err
    outcomes = pd.read_parquet(study / "outcomes.parquet").set_index("area")
    assert outcomes.index.tolist() == TRACTS
    worst = outcomes["income_value"].idxmin()
    assert worst == TRACTS[int(np.argmin(INCOME))]
    assert outcomes.loc[worst, "income_decile"] == 1
    assert outcomes["income_decile"].isna().sum() == 1
    skips = pd.read_parquet(study / "skipped.parquet")
    assert "income: the file has '-666666666'" in set(skips["reason"])
    assert "This outcome is not complete: 1 of 36 areas" in (study / "report.html").read_text()
