from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.locations import counted, read_locations
from streetgauge.settings import DirectoryLocations

WORLD = pd.DataFrame(
    {
        "pcds": ["AB1 2CD", "AB1 2CE", "B1 1AA", "IM1 1AA", "ZZ9 9ZZ"],
        "doterm": ["", "199912", "", "", ""],
        "lat": ["51.5", "51.6", "99.999999", "99.999999", "53"],
        "long": ["-0.1", "-0.2", "0.000000", "0.000000", "-2"],
        "oa11": ["E00000001", "E00000002", "E99999999", "M99999999", "E00000009"],
        "lsoa11": ["E01000001", "E01000002", "E01000002", "M99999999", "E01000009"],
        "msoa11": ["E02000001", "E02000001", "E02000001", "M99999999", "E02000009"],
    }
)
AREAS = pd.DataFrame(
    {"name": None, "district": None},
    index=pd.Index(["E01000001", "E01000002", "E01000003"], name="area"),
)


def directory(path: Path, **more: object) -> DirectoryLocations:
    return DirectoryLocations.model_validate({"source": "directory", "file": path, **more})


def written(path: Path, frame: pd.DataFrame = WORLD) -> Path:
    frame.to_csv(path, index=False)
    return path


def areas_named(*codes: str) -> pd.DataFrame:
    return pd.DataFrame({"name": None}, index=pd.Index(sorted(codes), name="area"))


def test_postcodes_of_the_study_are_used_and_the_others_counted(tmp_path: Path) -> None:
    frame, skips = read_locations(directory(written(tmp_path / "d.csv")), AREAS)
    assert frame["location_id"].tolist() == ["AB12CD", "AB12CE", "B11AA"]
    assert frame["postcode"].tolist() == ["AB1 2CD", "AB1 2CE", "B1 1AA"]
    assert frame["area"].tolist() == ["E01000001", "E01000002", "E01000002"]
    assert list(frame.columns) == [
        *("location_id", "postcode", "lat", "lon", "oa", "lsoa", "msoa", "area"),
    ]
    assert frame.attrs["outside"] == 2
    assert skips["area"].tolist() == ["E01000003"]
    assert skips["reason"].tolist() == ["no location lies in this area"]
    assert skips["location_id"].tolist() == [None]
    assert skips["stage"].tolist() == ["locations"]


def test_null_coordinates_and_pseudo_codes_are_missing(tmp_path: Path) -> None:
    frame, _ = read_locations(directory(written(tmp_path / "d.csv")), AREAS)
    assert frame["lat"].tolist()[:2] == [51.5, 51.6]
    assert frame["lon"].tolist()[:2] == [-0.1, -0.2]
    assert frame.loc[2, ["lat", "lon", "oa"]].isna().all()
    assert frame.loc[2, "msoa"] == "E02000001"


def test_terminated_postcodes_are_excluded_and_listed_only_if_asked(tmp_path: Path) -> None:
    path = written(tmp_path / "d.csv")
    frame, skips = read_locations(directory(path, live_only=True), AREAS)
    assert frame["location_id"].tolist() == ["AB12CD", "B11AA"]
    assert skips["location_id"].tolist() == ["AB12CE", None]
    assert skips["reason"].tolist()[0] == "postcode terminated December 1999"
    written(path, WORLD.drop(columns="doterm"))
    with pytest.raises(InputError, match="no column holds the date of termination"):
        read_locations(directory(path, live_only=True), AREAS)


@pytest.mark.parametrize(
    ("file", "lsoa", "ids", "outside"),
    [
        ("onspd_may2018.csv", "E01023743", ["AL11AA"], 3),
        ("onspd_aug2024.csv", "E01023743", ["AL11AA"], 3),
        ("onspd_nov2025.csv", "S01006514", ["AB10AA", "AB10AB", "AB10AD"], 1),
    ],
)
def test_the_real_layouts_of_2018_to_2025_are_recognised(
    file: str, lsoa: str, ids: list[str], outside: int, shared_data: Path
) -> None:
    path = shared_data / "formats/postcode_samples" / file
    frame, _ = read_locations(directory(path), areas_named(lsoa))
    assert frame["location_id"].tolist() == ids
    assert frame.attrs["outside"] == outside
    assert frame[["lat", "lon", "oa", "lsoa", "msoa"]].notna().all().all()
    assert (frame["lsoa"] == frame["area"]).all()


def test_areas_of_2021_take_the_columns_of_2021(shared_data: Path) -> None:
    path = shared_data / "formats/postcode_samples/onspd_nov2025.csv"
    frame, _ = read_locations(directory(path, area="lsoa21"), areas_named("S01013490"))
    assert len(frame) == 3
    assert (frame["lsoa"] == "S01013490").all()
    assert frame.loc[0, "oa"] == "S00137176"
    assert frame.loc[0, "msoa"] == "S02002516"
    old = shared_data / "formats/postcode_samples/onspd_may2018.csv"
    with pytest.raises(InputError, match=r"no column holds the areas \(lsoa21\)"):
        read_locations(directory(old, area="lsoa21"), areas_named("S01013490"))


def test_output_areas_can_be_the_studys_areas(tmp_path: Path) -> None:
    path = written(tmp_path / "d.csv")
    frame, _ = read_locations(directory(path, area="oa11"), areas_named("E00000002"))
    assert frame[["location_id", "area", "lsoa"]].values.tolist() == [
        ["AB12CE", "E00000002", "E01000002"]
    ]


def test_an_early_layout_with_grid_references_only_gets_degrees(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            # Greenwich's and Belfast's grid references.
            "pcd": ["SE10", "BT1", "SE109"],
            "oseast1m": ["538890", "333800", ""],
            "osnrth1m": ["177320", "374000", ""],
            "lsoa11": ["E01000001"] * 3,
        }
    )
    frame["pcd"] = ["SE108XJ", "BT1 5GS", "SE1 9AA"]
    areas = areas_named("E01000001")
    found, _ = read_locations(directory(written(tmp_path / "d.csv", frame)), areas)
    found = found.set_index("location_id")
    assert found.loc["SE108XJ", "lat"] == pytest.approx(51.4779, abs=2e-3)
    assert found.loc["SE108XJ", "lon"] == pytest.approx(0.0, abs=2e-3)
    assert found.loc["BT15GS", "lat"] == pytest.approx(54.597, abs=5e-3)
    assert found.loc["BT15GS", "lon"] == pytest.approx(-5.93, abs=5e-3)
    assert found.loc["SE19AA", ["lat", "lon"]].isna().all()


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30
)
@given(
    rows=st.permutations(range(len(WORLD))),
    columns=st.permutations(list(WORLD.columns)),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "latin-1"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    packed=st.booleans(),
)
def test_order_of_rows_and_columns_encoding_and_line_ends_change_nothing(
    rows: list[int], columns: list[str], encoding: str, end: str, packed: bool, tmp_path: Path
) -> None:
    expected, skipped = read_locations(directory(written(tmp_path / "plain.csv")), AREAS)
    shuffled = WORLD.iloc[rows][columns].assign(place="Café")
    content = shuffled.to_csv(index=False, lineterminator=end).encode(encoding)
    path = tmp_path / "moved.csv"
    path.write_bytes(gzip.compress(content) if packed else content)
    frame, skips = read_locations(directory(path), AREAS)
    pd.testing.assert_frame_equal(frame, expected)
    pd.testing.assert_frame_equal(skips, skipped)
    assert frame.attrs == expected.attrs


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"pcds": ["AB1 2CD", "AB1 2CE", "ab12cd", "IM1 1AA", "ZZ9 9ZZ"]},
            "rows 2 and 4: location_id 'AB12CD' appears more than once",
        ),
        (
            {"pcds": ["AB1 2CD", "AB1 2CE", "B1 1AA", "IM1 1AA", "AB12CE"]},
            "rows 3 and 6: location_id 'AB12CE' appears more than once, "
            "in area 'E01000002' and in one that is none of the study's",
        ),
        ({"pcds": ["AB1 2CD", " ", "B1 1AA", "IM1 1AA", "ZZ9 9ZZ"]}, "row 3: there is no postcode"),
        ({"lat": ["51.5", "north", "1", "1", "1"]}, "row 3, column 'lat': 'north' is not a number"),
        ({"long": ["-0.1", "1", "190", "1", "1"], "lat": "51"}, "row 4, column 'long': 190 is bey"),
        (
            {"lsoa11": "W01000001"},
            "none of its areas is one of the study's: column 'lsoa11' has 'W01000001', "
            "the study 'E01000001'; set 'locations.area'",
        ),
    ],
)
def test_what_is_wrong_in_a_directory_is_named(
    change: dict[str, object], reason: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "d.csv", WORLD.assign(**change))
    with pytest.raises(InputError) as error:
        read_locations(directory(path), AREAS)
    assert reason in str(error.value)


def test_a_header_that_is_none_of_the_layouts_is_refused_with_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("zip,tract\n1,2\n")
    with pytest.raises(InputError, match=r"no column holds postcodes: .* are zip, tract"):
        read_locations(directory(path), AREAS)


def test_a_directory_without_coordinates_has_missing_ones(tmp_path: Path) -> None:
    path = written(tmp_path / "d.csv", WORLD[["pcds", "lsoa11"]])
    frame, _ = read_locations(directory(path), AREAS)
    assert len(frame) == 3
    assert frame[["lat", "lon", "oa", "msoa"]].isna().all().all()


def test_null_coordinates_of_every_kind_are_missing_and_counted(tmp_path: Path) -> None:
    nulls = WORLD.iloc[[0] * 5].assign(
        pcds=["A1 1AA", "A1 1AB", "A1 1AC", "A1 1AD", "A1 1AE"],
        lat=["51.5", "99.999999", "0", "", "0.000000"],
        long=["-0.1", "0", "0.000000", "", "-0.1"],
    )
    frame, _ = read_locations(directory(written(tmp_path / "d.csv", nulls)), AREAS)
    assert frame["lat"].isna().tolist() == [False, True, True, True, False]
    assert frame["lon"].isna().tolist() == [False, True, True, True, False]
    assert frame.attrs["no_coordinates"] == 3
    assert "3 locations have an area but no coordinates" in counted(frame)


def test_rows_without_an_area_are_counted_by_what_stands_there(tmp_path: Path) -> None:
    codes = ["E01000001", "M99999999", "L99999999", "", " ", "W99999999", "N99999999", "M83000003"]
    codes += ["E99999999", "L93000001", "S99999999", "M99999999", "E01099999"]
    world = WORLD.iloc[[0] * len(codes)].assign(
        pcds=[f"A{i} 1AA" for i in range(len(codes))], lsoa11=codes
    )
    frame, _ = read_locations(directory(written(tmp_path / "d.csv", world)), AREAS)
    assert frame["location_id"].tolist() == ["A01AA"]
    assert frame.attrs["rows"] == 13
    assert frame.attrs["outside"] == 12
    assert frame.attrs["no_area"] == 2
    assert frame.attrs["pseudo_codes"] == {
        **dict.fromkeys(["E99999999", "L93000001", "L99999999", "M83000003"], 1),
        "M99999999": 2,
        **dict.fromkeys(["N99999999", "S99999999", "W99999999"], 1),
    }
    lines = counted(frame)
    assert lines[0] == "12 rows of the directory lie outside the study's areas"
    assert "2 of them have the pseudo code M99999999 (the Isle of Man)" in lines
    assert "1 of them have the pseudo code L93000001 (the Channel Islands)" in lines
    assert "1 of them have the pseudo code W99999999 (Wales)" in lines
    assert lines[-1] == "2 of them have no area"


PARTS = {"AB": WORLD.iloc[:2], "B": WORLD.iloc[2:3], "IM": WORLD.iloc[3:]}
LOOKUP = "LSOA11CD,LSOA11NM\nE01000001,City 1\n"


def zipped(path: Path, tables: dict[str, str], *, how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in tables.items():
            archive.writestr(name, content)
    return path


def csv_of(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False)


PUBLISHED = {
    "Documents/LSOA (2011) names and codes UK as at 12_12.csv": LOOKUP,
    "User Guide/ONSPD User Guide.pdf": "%PDF",
    **{f"Data/multi_csv/ONSPD_AUG_2024_UK_{k}.csv": csv_of(v) for k, v in PARTS.items()},
}


def test_a_published_zip_is_read_in_place_whole_or_in_parts(tmp_path: Path) -> None:
    expected, skipped = read_locations(directory(written(tmp_path / "d.csv")), AREAS)
    whole = {**PUBLISHED, "Data/ONSPD_AUG_2024_UK.csv": csv_of(WORLD)}
    for name, tables in {"parts.zip": PUBLISHED, "whole.zip": whole}.items():
        before = sorted(tmp_path.iterdir())
        path = zipped(tmp_path / name, tables)
        frame, skips = read_locations(directory(path), AREAS)
        pd.testing.assert_frame_equal(frame, expected)
        pd.testing.assert_frame_equal(skips, skipped)
        assert frame.attrs == expected.attrs
        assert sorted(tmp_path.iterdir()) == sorted([*before, path])


def test_what_is_wrong_in_a_zip_is_named_with_its_file_and_row(tmp_path: Path) -> None:
    other = csv_of(WORLD.iloc[1:2].assign(lsoa11="E01000001"))
    parts = {**PUBLISHED, "Data/multi_csv/ONSPD_AUG_2024_UK_ZZ.csv": other}
    with pytest.raises(InputError) as error:
        read_locations(directory(zipped(tmp_path / "d.zip", parts)), AREAS)
    assert (
        "Data/multi_csv/ONSPD_AUG_2024_UK_AB.csv, row 3 and "
        "Data/multi_csv/ONSPD_AUG_2024_UK_ZZ.csv, row 2: location_id 'AB12CE' appears "
        "more than once, with 'E01000002' and 'E01000001' in column 'lsoa11'"
    ) in str(error.value)
    two = {"a.csv": csv_of(WORLD), "b.csv": csv_of(WORLD)}
    with pytest.raises(InputError, match=r"2 of its CSV files have postcodes: a\.csv, b\.csv"):
        read_locations(directory(zipped(tmp_path / "two.zip", two)), AREAS)
    with pytest.raises(InputError, match="none of its 1 CSV files has postcodes"):
        read_locations(directory(zipped(tmp_path / "no.zip", {"l.csv": LOOKUP})), AREAS)
    with pytest.raises(InputError, match="no CSV file in the zip"):
        read_locations(directory(zipped(tmp_path / "pdf.zip", {"a.pdf": "%PDF"})), AREAS)
    mixed = {**PUBLISHED, "Data/multi_csv/X.csv": csv_of(WORLD.rename(columns={"lat": "latitude"}))}
    with pytest.raises(InputError, match="its CSV files have different columns"):
        read_locations(directory(zipped(tmp_path / "mixed.zip", mixed)), AREAS)


def test_a_damaged_zip_is_one_sentence(tmp_path: Path) -> None:
    path = zipped(tmp_path / "d.zip", {"d.csv": csv_of(WORLD)}, how=zipfile.ZIP_STORED)
    content = path.read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[:200])
    with pytest.raises(InputError, match=r"cut\.zip: the file is cut off or damaged: it cannot"):
        read_locations(directory(tmp_path / "cut.zip"), AREAS)
    (tmp_path / "bad.zip").write_bytes(content.replace(b"E01000002", b"E01000003"))
    with pytest.raises(InputError, match=r"it cannot be unpacked \(Bad CRC"):
        read_locations(directory(tmp_path / "bad.zip"), AREAS)


def test_parquet_and_odd_blanks_give_the_same_postcodes(tmp_path: Path) -> None:
    expected, _ = read_locations(directory(written(tmp_path / "d.csv")), AREAS)
    typed = WORLD.assign(lat=WORLD["lat"].astype(float), long=WORLD["long"].astype(float))
    typed.to_parquet(tmp_path / "d.parquet")
    pd.testing.assert_frame_equal(
        read_locations(directory(tmp_path / "d.parquet"), AREAS)[0], expected
    )
    odd = WORLD.assign(pcds=["ab1 2cd", "AB1\t2CE", "B1\u00a01AA", "IM1  1AA", " ZZ9 9ZZ "])
    odd["lsoa11"] = [" E01000001", "E01000002 ", *WORLD["lsoa11"][2:]]
    frame, _ = read_locations(directory(written(tmp_path / "odd.csv", odd)), AREAS)
    pd.testing.assert_frame_equal(
        frame[["location_id", "postcode", "area"]], expected[["location_id", "postcode", "area"]]
    )
    assert frame["oa"].equals(expected["oa"])


def test_a_postcode_in_two_areas_of_the_study_is_refused_with_both(tmp_path: Path) -> None:
    twice = WORLD.assign(pcds=["AB1 2CD", "AB12CD", "B1 1AA", "IM1 1AA", "ZZ9 9ZZ"])
    with pytest.raises(InputError) as error:
        read_locations(directory(written(tmp_path / "d.csv", twice)), AREAS)
    assert (
        "rows 2 and 3: location_id 'AB12CD' appears more than once, with 'E01000001' and "
        "'E01000002' in column 'lsoa11'; keep one of the rows"
    ) in str(error.value)


def test_a_row_far_down_is_named_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streetgauge.locations.directory._AT_ONCE", 1)
    world = pd.concat([WORLD.iloc[[0]]] * 60_000).assign(
        pcds=[f"A{i:05d} 1AA" for i in range(60_000)]
    )
    world.iloc[55_554, world.columns.get_loc("lat")] = "north"
    path = written(tmp_path / "d.csv", world)
    assert path.stat().st_size > 2 << 20  # several blocks
    with pytest.raises(InputError, match="row 55556, column 'lat': 'north' is not a number"):
        read_locations(directory(path), AREAS)


def test_a_row_that_repeats_another_counts_once_and_is_counted(tmp_path: Path) -> None:
    expected, skipped = read_locations(directory(written(tmp_path / "d.csv")), AREAS)
    again = WORLD.iloc[[0]].assign(pcds="ab12cd", lsoa11=" E01000001")
    for number, rows in enumerate(([again, WORLD], [WORLD, again, WORLD.iloc[[1, 4]]])):
        path = written(tmp_path / f"{number}.csv", pd.concat(rows))
        frame, skips = read_locations(directory(path), AREAS)
        pd.testing.assert_frame_equal(frame, expected)
        pd.testing.assert_frame_equal(skips, skipped)
        assert frame.attrs["repeated"] == number + 1
        assert f"{number + 1} rows of the directory repeat another one and count once" in counted(
            frame
        )
    assert expected.attrs["repeated"] == 0


def test_a_repeated_postcode_with_another_position_is_refused(tmp_path: Path) -> None:
    moved = pd.concat([WORLD, WORLD.iloc[[0]].assign(lat="51.7")])
    with pytest.raises(InputError) as error:
        read_locations(directory(written(tmp_path / "d.csv", moved)), AREAS)
    assert (
        "rows 2 and 7: location_id 'AB12CD' appears more than once, "
        "with '51.5' and '51.7' in column 'lat'; keep one of the rows"
    ) in str(error.value)
