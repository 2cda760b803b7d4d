from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.outcomes import build_outcomes, read_outcome
from streetgauge.outcomes.census import read_counts
from streetgauge.settings import CensusOutcome

HEADER = "CDU_ID,GEO_CODE,GEO_LABEL,GEO_TYPE,GEO_TYP2,F1777,F1778,F1782,\n"
DESCRIBED = (
    ",,,,,General health : Very bad health - Unit : Persons,"
    "General health : Total\\ General health - Unit : Persons,"
    "General health : Bad health - Unit : Persons,\n"
)
LSOAS = "Lower Super Output Areas and Data Zones,LSOADZ"
ROWS = (
    f"1,E01000001,Town 001A,{LSOAS},4,100,6,\n"
    f"2,E01000002,Town 001B,{LSOAS},0,200,6,\n"
    "3,E02000001,Town 001,Middle Super Output Areas and Intermediate Zones,MSOAIZ,30,300,60,\n"
    "4,E06000001,Town,Local Authorities,LA,4,300,12,\n"
    "5,E00000001,,Output Areas and Small Areas,OASA,1,10,1,\n"
)


def written(path: Path, text: str) -> Path:
    path.write_text(text, newline="")
    return path


def settings(path: Path, **more: object) -> CensusOutcome:
    return CensusOutcome.model_validate(
        {"source": "census", "files": (path,), "measure": "bad-health", **more}
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "Data_GENHEALTH_UNIT.csv", HEADER + DESCRIBED + ROWS)


def test_rows_of_small_areas_are_read_by_cell_code_and_no_others(path: Path) -> None:
    outcome = read_outcome("h", settings(path))
    assert outcome.values.to_dict() == {"E01000001": 0.1, "E01000002": 0.03}
    assert outcome.direction == "higher-is-worse"
    about = outcome.provenance
    assert about["cells"] == ["F1777", "F1782", "F1778"]
    assert about["vintage"] == "2011"
    assert about["publisher"] == "Office for National Statistics (Census 2011, InFuse)"


@pytest.mark.parametrize(
    ("level", "area", "share"),
    [
        ("oa", "E00000001", 0.2),
        ("lsoa", "E01000002", 0.03),
        ("msoa", "E02000001", 0.3),
        ("district", "E06000001", 16 / 300),
    ],
)
def test_another_level_is_read_if_the_settings_say_so_or_the_study_has_such_areas(
    level: str, area: str, share: float, path: Path
) -> None:
    stated = read_outcome("h", settings(path, level=level))
    inferred = read_outcome("h", settings(path), areas=["X", area])
    assert stated.values[area] == share
    pd.testing.assert_series_equal(stated.values, inferred.values)


def test_headers_that_only_start_with_a_cell_code_are_read(tmp_path: Path) -> None:
    header = "GEO_CODE,GEO_TYP2,F1777-p-generalhealth-verybad,F1778-p-total,F1782-p-bad\n"
    path = written(tmp_path / "labels.csv", header + "E01000001,LSOADZ,4,100,6\n")
    outcome = read_outcome("h", settings(path))
    assert outcome.values.to_dict() == {"E01000001": 0.1}
    assert outcome.provenance["cells"] == ["F1777", "F1782", "F1778"]


def test_a_longer_code_is_another_cell(tmp_path: Path) -> None:
    text = (HEADER + DESCRIBED + ROWS).replace("F1777,", "F17770,")
    with pytest.raises(InputError, match="no column 'F1777'"):
        read_outcome("h", settings(written(tmp_path / "d.csv", text)))


def test_columns_of_ones_own_choice_are_named_by_cell_code(path: Path) -> None:
    own = CensusOutcome(
        source="census",
        files=(path,),
        numerator=("F1782",),
        denominator=("f1778",),
        direction="higher-is-worse",
    )
    assert read_outcome("h", own).values.to_dict() == {"E01000001": 0.06, "E01000002": 0.03}


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("F1777", "F1776", r"no column 'F1777', .*bad-health.*nearest there are F1776, F1778"),
        ("F1778", "F1779", r"no column 'F1778', which the denominator .*F1777, F1779, F1782"),
        ("F1782,\n", "F1777,\n", "two columns have the cell code 'F1777'"),
        (LSOAS, "Local Authorities,LA", r"no row is of the level 'lsoa' .*MSOAIZ \(1 rows\)"),
        ("4,100,6,", "4,9,6,", "area 'E01000001': 10 .F1777 . F1782. of 9 .F1778. is not a share"),
        ("4,100,6,", "4,100,-6,", "row 3, column 'F1782': -6 is a negative count"),
        ("E01000002", "E01000001", "rows 3 and 4: area 'E01000001' appears more than once"),
    ],
)
def test_what_is_wrong_in_a_file_of_infuse_is_named(
    before: str, after: str, reason: str, tmp_path: Path
) -> None:
    text = HEADER + DESCRIBED + ROWS
    assert before in text
    with pytest.raises(InputError, match=reason):
        read_outcome("h", settings(written(tmp_path / "d.csv", text.replace(before, after))))


def test_the_real_sample_has_652_small_areas_with_their_ages(shared_data: Path) -> None:
    file = shared_data / "formats/infuse_sample/Data_AGE_UNIT.csv"
    plain = pd.read_csv(file, skiprows=[1])
    plain = plain[plain["GEO_TYP2"] == "LSOADZ"].set_index("GEO_CODE").sort_index()
    for measure, cell in (("mean-age", "F184"), ("median-age", "F185")):
        chosen = settings(file, measure=measure, direction="higher-is-worse")
        outcome = read_outcome("age", chosen)
        assert len(outcome.values) == 652
        assert (outcome.values == plain[cell]).all()
        assert outcome.provenance["cells"] == [cell]
        frame, about, skips = build_outcomes({"age": chosen}, plain.index)
        expected = pd.qcut(plain[cell], 10, labels=range(10, 0, -1)).astype(int)
        assert frame.set_index("area")["age_decile"].tolist() == expected.tolist()
        assert skips.empty
        assert about["age"]["outside"] == 0


def test_the_real_samples_districts_are_read_where_the_study_has_districts(
    shared_data: Path,
) -> None:
    file = shared_data / "formats/infuse_sample/Data_AGE_UNIT.csv"
    areas = pd.Index(["E06000006", "E06000007", "E06000049", "E06000050"])
    chosen = settings(file, measure="mean-age", direction="higher-is-worse")
    assert read_outcome("age", chosen, areas=areas).values.index.tolist() == areas.tolist()


def test_the_real_sample_without_the_cells_names_what_it_searched_for(shared_data: Path) -> None:
    file = shared_data / "formats/infuse_sample/Data_UNIT_URESPOP.csv"
    with pytest.raises(InputError, match=r"no column 'F2375'.*the nearest there are F2384"):
        read_outcome("o", settings(file, measure="overcrowding"))
    with pytest.raises(InputError, match=r"no row is of the level 'msoa'.*LSOADZ \(652 rows\)"):
        read_counts(file, "msoa")
