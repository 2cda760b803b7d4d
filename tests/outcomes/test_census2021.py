from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from streetgauge.errors import InputError
from streetgauge.outcomes import read_outcome
from streetgauge.settings import CensusOutcome

ACTIVE = "Economically active (excluding full-time students)"
STUDENT = "Economically active and a full-time student"
# Subject, columns, counts of one area, and the share that is right.
TABLES = {
    "ts037": (
        "General health",
        {
            "Total: All usual residents": 100,
            "Very good health": 50,
            "Good health": 30,
            "Fair health": 10,
            "Bad health": 6,
            "Very bad health": 4,
        },
    ),
    "ts052": (
        "Occupancy rating for bedrooms",
        {
            "Total: All households": 50,
            "Occupancy rating of bedrooms: +2 or more": 20,
            "Occupancy rating of bedrooms: +1": 10,
            "Occupancy rating of bedrooms: 0": 16,
            "Occupancy rating of bedrooms: -1": 3,
            "Occupancy rating of bedrooms: -2 or less": 1,
        },
    ),
    "ts053": (
        "Occupancy rating for rooms",
        {
            "Total: All households": 50,
            "Occupancy rating of rooms: +2 or more": 15,
            "Occupancy rating of rooms: +1": 10,
            "Occupancy rating of rooms: 0": 10,
            "Occupancy rating of rooms: -1": 10,
            "Occupancy rating of rooms: -2 or less": 5,
        },
    ),
    "ts066": (
        "Economic activity status",
        {
            "Total: All usual residents aged 16 years and over": 100,
            ACTIVE: 50,
            f"{ACTIVE}:In employment": 45,
            f"{ACTIVE}: Unemployed": 5,
            STUDENT: 10,
            f"{STUDENT}:In employment": 7,
            f"{STUDENT}: Unemployed": 3,
            "Economically inactive": 40,
            "Economically inactive: Retired": 25,
        },
    ),
    "ts067": (
        "Highest level of qualification",
        {
            "Total: All usual residents aged 16 years and over": 100,
            "No qualifications": 18,
            "Level 1 and entry level qualifications": 9,
            "Level 2 qualifications": 13,
            "Apprenticeship": 5,
            "Level 3 qualifications": 17,
            "Level 4 qualifications and above": 35,
            "Other qualifications": 3,
        },
    ),
}
SHARES = {
    "bad-health": ("ts037", 0.1),
    "overcrowding": ("ts053", 0.3),
    "overcrowding-bedrooms": ("ts052", 0.08),
    "unemployment": ("ts066", 0.05),
    "unemployment-rate": ("ts066", 5 / 60),
    "low-qualification": ("ts067", 0.27),
}


def bulk(table: str, *areas: str) -> str:
    subject, counts = TABLES[table]
    header = ["date", "geography", "geography code", *(f"{subject}: {each}" for each in counts)]
    rows = [["2021", f"Town {area}", area, *map(str, counts.values())] for area in areas]
    return "\n".join(",".join(row) for row in [header, *rows]) + "\n"


def query(table: str, *areas: str) -> str:
    subject, counts = TABLES[table]
    lines = [
        f'"{table.upper()} - {subject}"',
        '"ONS Crown Copyright Reserved [from Nomis on 3 March 2023]"',
        "",
        '"date","2021"',
        '"measures","value"',
        "",
        ",".join(['"2021 super output area - lower layer"', *(f'"{each}","%"' for each in counts)]),
        *(
            ",".join(
                [f'"{area} : Town"', *(f"{count},{count / 7:.1f}" for count in counts.values())]
            )
            for area in areas
        ),
        "",
        "In order to protect against disclosure of personal information, records have been swapped",
    ]
    return "\n".join(lines) + "\n"


def packed(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def settings(measure: str, *files: Path, **more: object) -> CensusOutcome:
    return CensusOutcome.model_validate(
        {"source": "census", "files": files, "measure": measure, **more}
    )


@pytest.mark.parametrize("measure", SHARES)
@pytest.mark.parametrize("layout", ["bulk", "query", "zip"])
def test_every_measure_is_read_from_every_layout(layout: str, measure: str, tmp_path: Path) -> None:
    table, share = SHARES[measure]
    if layout == "zip":
        every = {
            f"census2021-{table}-{kind}.csv": bulk(table, *areas)
            for kind, areas in (
                ("ctry", ["E92000001"]),
                ("lsoa", ["E01000001", "E01035624"]),
                ("ltla", ["E06000001"]),
                ("msoa", ["E02000001"]),
                ("oa", [f"E00{n:06d}" for n in range(100)]),
            )
        }
        path = packed(
            tmp_path / f"census2021-{table}.zip", {**every, f"metadata/{table}.txt": "About it\n"}
        )
    else:
        text = {"bulk": bulk, "query": query}[layout](table, "E01000001", "E01035624")
        path = tmp_path / f"{table}.csv"
        path.write_text(text)
    outcome = read_outcome("o", settings(measure, path))
    assert outcome.values.to_dict() == {"E01000001": share, "E01035624": share}
    assert outcome.direction == "higher-is-worse"
    assert outcome.provenance["vintage"] == "2021"
    assert outcome.provenance["cells"][0].startswith(f"{table.upper()}: ")
    assert outcome.provenance["publisher"] == "Office for National Statistics (Census 2021, Nomis)"


def test_of_a_zip_with_all_kinds_of_areas_the_study_s_kind_is_read(tmp_path: Path) -> None:
    every = {"census2021-ts037-lsoa.csv": bulk("ts037", "E01000001")}
    every["census2021-ts037-msoa.csv"] = bulk("ts037", "E02000001")
    path = packed(tmp_path / "census2021-ts037.zip", every)
    by_study = read_outcome("o", settings("bad-health", path), areas=["E02000002"])
    by_setting = read_outcome("o", settings("bad-health", path, level="msoa"))
    assert by_study.values.index.tolist() == by_setting.values.index.tolist() == ["E02000001"]
    with pytest.raises(InputError, match=r"no table for areas of the level 'oa'.*lsoa, msoa"):
        read_outcome("o", settings("bad-health", path, level="oa"))


def test_files_of_two_censuses_do_not_go_together(tmp_path: Path) -> None:
    new = tmp_path / "ts037.csv"
    new.write_text(bulk("ts037", "E01000001"))
    old = tmp_path / "qs302ew.csv"
    old.write_text(
        '"QS302EW - General health"\n"Date       :","2011"\n"area","mnemonic","All categories: '
        'General health","Bad health","Very bad health"\n"x","E01000001",100,6,4\n'
    )
    with pytest.raises(InputError, match="of the censuses of 2011 and 2021; give files of one"):
        read_outcome("o", settings("bad-health", old, new))


def test_the_total_of_another_census_is_not_taken(tmp_path: Path) -> None:
    # A file that does not say its year: numerators of the two censuses are called the same.
    path = tmp_path / "h.csv"
    path.write_text("area,mnemonic,Bad health,Very bad health,Total: All usual residents\n")
    with path.open("a") as handle:
        handle.write("x,E01000001,6,4,100\n")
    assert read_outcome("o", settings("bad-health", path)).provenance["vintage"] == "2021"
    path.write_text(path.read_text().replace("Total: All usual residents", "Total"))
    with pytest.raises(
        InputError, match=r"no column 'All categories: General health' .or else 'Tot"
    ):
        read_outcome("o", settings("bad-health", path))
