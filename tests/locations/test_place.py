"""The study's place: which areas, and with them which locations."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.locations import read_areas, read_locations
from streetgauge.locations.study_area import PLACES, fits
from streetgauge.settings import AreaSettings, DirectoryLocations, read_settings

# Four areas; A1 and A2 lie in boroughs of London by most of their postcodes, A3 in Leeds, and A4
# has as many postcodes in Leeds as in Bradford, whose code comes first.
POSTCODES = pd.DataFrame(
    [
        ("A1 1AA", "A0000001", "E09000001", "E05000001", "E12000007", "51.50", "-0.10"),
        ("A1 1AB", "A0000001", "E09000001", "E05000001", "E12000007", "51.52", "-0.12"),
        ("A1 1AC", "A0000001", "E09000033", "E05000002", "E12000007", "99.999999", "0.000000"),
        ("A2 1AA", "A0000002", "E09000033", "E05000002", "E12000007", "51.60", "-0.20"),
        ("A3 1AA", "A0000003", "E08000035", "E05000003", "E12000003", "53.80", "-1.50"),
        ("A4 1AA", "A0000004", "E08000035", "E05000003", "E12000003", "53.80", "-1.60"),
        ("A4 1AB", "A0000004", "E08000032", "E05000004", "E12000003", "53.80", "-1.70"),
        ("A4 1AC", "A0000004", "E99999999", "", "E12000003", "53.80", "-1.80"),
        ("M1 1AA", "M99999999", "M99999999", "M99999999", "M99999999", "99.999999", "0.000000"),
        ("X1 1AA", "", "E09000001", "E05000001", "E12000007", "51.50", "-0.10"),
    ],
    columns=["pcds", "lsoa11", "oslaua", "osward", "rgn", "lat", "long"],
)
ALL = ["A0000001", "A0000002", "A0000003", "A0000004"]


@pytest.fixture
def directory(tmp_path: Path) -> DirectoryLocations:
    POSTCODES.to_csv(tmp_path / "directory.csv", index=False)
    return DirectoryLocations(source="directory", file=tmp_path / "directory.csv", area="lsoa11")


def areas_of(**settings: object) -> AreaSettings:
    return AreaSettings.model_validate(settings)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (["London"], ALL[:2]),
        (["london "], ALL[:2]),
        (["West Yorkshire"], ALL[2:]),
        (["E09*"], ALL[:2]),
        (["E09000001"], ALL[:1]),
        (["E09000001", "E08000035"], [ALL[0], ALL[2]]),
        (["E08000032"], ALL[3:]),  # of equals the first code
        (["E05000003"], ALL[2:]),  # a ward; blanks do not count
        (["E12000007"], ALL[:2]),  # a region
        (["London", "West Yorkshire"], ALL),
    ],
)
def test_a_directory_alone_gives_the_areas_of_a_place(
    place: list[str], expected: list[str], directory: DirectoryLocations
) -> None:
    areas = read_areas(areas_of(place=place), directory)
    assert areas.index.tolist() == expected
    assert list(areas.columns) == ["name", "district"]
    assert areas["name"].isna().all()
    assert areas.attrs == {"repaired": 0, "excluded": 4 - len(expected)}


def test_the_place_picks_the_locations_too(directory: DirectoryLocations) -> None:
    areas = read_areas(areas_of(place=["London"]), directory)
    assert areas["district"].tolist() == ["E09000001", "E09000033"]
    frame, skips = read_locations(directory, areas)
    assert frame["location_id"].tolist() == ["A11AA", "A11AB", "A11AC", "A21AA"]
    assert skips.empty
    assert frame.attrs["outside"] == 6
    assert frame.attrs["pseudo_codes"] == {"M99999999": 1}
    assert frame.attrs["no_area"] == 1
    assert frame.attrs["no_coordinates"] == 1


def test_a_list_of_codes_is_a_file_with_or_without_a_header(
    tmp_path: Path, directory: DirectoryLocations
) -> None:
    for name, content in {
        "plain.txt": "A0000003\nA0000001\n\nA0000002",
        "header.csv": "LSOA11CD\r\nA0000003\r\nA0000001\r\nA0000002\r\n",
        "quoted.csv": '"area"\n"A0000003"\n"A0000001"\n"A0000002"\n',
    }.items():
        (tmp_path / name).write_text(content)
        areas = read_areas(areas_of(file=tmp_path / name))
        assert areas.index.tolist() == ALL[:3], name
        chosen = read_areas(areas_of(file=tmp_path / name, place=["London"]), directory)
        assert chosen.index.tolist() == ALL[:2], name
    (tmp_path / "one.txt").write_text("A0000001")
    assert read_areas(areas_of(file=tmp_path / "one.txt")).index.tolist() == ALL[:1]
    (tmp_path / "wide.csv").write_text("code,name\nA1,x\n")
    with pytest.raises(
        InputError, match=r"several columns.*set 'areas.code' to one of .*code, nam"
    ):
        read_areas(areas_of(file=tmp_path / "wide.csv"))


def boundaries(path: Path) -> Path:
    """Four squares of 10 km in a row from west to east in the British grid, with districts."""
    gpd.GeoDataFrame(
        {
            "code": ALL,
            "lad": ["E09000001", "E09000033", "E08000035", "E08000032"],
            "town": ["City", "Westminster", "Leeds", "Bradford"],
        },
        geometry=[
            shapely.box(x, 170_000, x + 10_000, 180_000) for x in range(5_10_000, 550_000, 10_000)
        ],
        crs="EPSG:27700",
    ).to_file(path)
    return path


def test_the_files_own_districts_answer_first(
    tmp_path: Path, directory: DirectoryLocations
) -> None:
    path = boundaries(tmp_path / "b.gpkg")
    by_code = areas_of(file=path, code="code", district="lad", place=["West Yorkshire"])
    assert read_areas(by_code).index.tolist() == ALL[2:]
    by_name = areas_of(file=path, code="code", district="town", place=["City", "Le*"])
    assert read_areas(by_name).index.tolist() == [ALL[0], ALL[2]]
    # Names do not know London, but the directory does.
    london = areas_of(file=path, code="code", district="town", place=["London"])
    assert read_areas(london, directory).index.tolist() == ALL[:2]


def test_a_box_takes_areas_whose_middle_lies_in_it(tmp_path: Path) -> None:
    path = boundaries(tmp_path / "b.gpkg")
    middle = gpd.GeoSeries([shapely.Point(525_000, 175_000)], crs=27700).to_crs(4326)[0]
    box = [middle.x - 0.01, middle.y - 0.01, middle.x + 0.01, middle.y + 0.01]
    areas = read_areas(areas_of(file=path, code="code", bbox=box))
    assert areas.index.tolist() == [ALL[1]]
    assert areas.attrs["excluded"] == 3
    with pytest.raises(
        InputError, match=r"no area's middle lies in it; the areas of .* lie within"
    ):
        read_areas(areas_of(file=path, code="code", bbox=[10, 50, 11, 51]))


@pytest.mark.parametrize(
    ("name", "crs"),
    [("p.geojson", 4326), ("p.gpkg", 4326), ("p.parquet", 4326), ("p.gpkg", 27700)],
)
def test_a_polygon_file_takes_areas_whose_middle_lies_in_it(
    name: str, crs: int, tmp_path: Path
) -> None:
    path = boundaries(tmp_path / "b.gpkg")
    wanted = gpd.GeoDataFrame(
        geometry=[
            shapely.box(509_000, 170_000, 516_000, 176_000),
            shapely.Point(535_000, 175_000).buffer(900),
        ],
        crs="EPSG:27700",
    ).to_crs(crs)
    polygon = tmp_path / name
    (wanted.to_parquet if name.endswith("parquet") else wanted.to_file)(polygon)
    areas = read_areas(areas_of(file=path, code="code", polygon=polygon))
    assert areas.index.tolist() == [ALL[0], ALL[2]]
    west = [-0.6, 51.3, -0.1, 51.6]  # has the middles of A1 and A2, the polygon those of A1 and A3
    both = areas_of(file=path, code="code", polygon=polygon, bbox=west)
    assert read_areas(both).index.tolist() == ALL[:1]
    far = wanted.to_crs(4326).translate(20)
    far.to_file(tmp_path / "far.geojson")
    with pytest.raises(InputError, match="no area's middle lies in its polygons"):
        read_areas(areas_of(file=path, code="code", polygon=tmp_path / "far.geojson"))


def test_without_boundaries_the_middle_is_that_of_the_postcodes(
    directory: DirectoryLocations, tmp_path: Path
) -> None:
    # A1's postcodes with coordinates lie at 51.50 and 51.52: their mean is 51.51, -0.11.
    box = [-0.111, 51.509, -0.109, 51.511]
    assert read_areas(areas_of(bbox=box), directory).index.tolist() == ALL[:1]
    (tmp_path / "list.txt").write_text("\n".join(ALL))
    listed = areas_of(file=tmp_path / "list.txt", bbox=box)
    assert read_areas(listed, directory).index.tolist() == ALL[:1]
    with pytest.raises(InputError, match="no boundaries, so their position is unknown"):
        read_areas(listed)


@pytest.mark.parametrize(
    ("district", "place", "reason"),
    [
        ("town", "Leedss", "no area lies in 'Leedss'; did you mean 'Leeds'?"),
        ("lad", "Londn", "no area lies in 'Londn'; did you mean 'London'?"),
        ("lad", "Greater Manchester", "no area lies in 'Greater Manchester' (E08000001 to E080000"),
        ("lad", "A0000*", "codes are like that: use areas.include = ['A0000*']"),
        ("lad", "Z*", "no area lies in 'Z*'; its areas lie in E08000032, E08000035, E09000001"),
        (
            "town",
            "London",
            "no area lies in 'London' (E09000001 to E09000033); its areas lie in Bradford, City, "
            "Leeds, Westminster; set 'areas.district' to a column with district codes",
        ),
        (None, "London", "the districts of the areas are unknown"),
    ],
)
def test_an_area_that_matches_nothing_is_refused_with_what_is_close(
    district: str | None, place: str, reason: str, tmp_path: Path
) -> None:
    path = boundaries(tmp_path / "b.gpkg")
    with pytest.raises(InputError) as error:
        read_areas(areas_of(file=path, code="code", district=district, place=[place]))
    assert reason in str(error.value)


def test_an_area_that_a_directory_does_not_know_is_refused_with_what_is_close(
    directory: DirectoryLocations,
) -> None:
    with pytest.raises(InputError, match="no area lies in 'E0800003'; did you mean 'E08000035'"):
        read_areas(areas_of(place=["E0800003"]), directory)


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ("", "areas: give 'file', or 'place' with a postcode directory"),
        ('place = ["London"]\ncode = "x"', "areas: 'code' goes with 'file', and there is none"),
        ('file = "a.gpkg"\nname = "x"', "areas: 'name' needs 'code'"),
        ('file = "a.gpkg"\ncode = "c"\nbbox = [1, 50, 0, 51]', "is not a box: give west, south"),
        ('place = ["London"]', "[areas] names no file, which only a postcode directory can stand"),
    ],
)
def test_settings_that_cannot_go_together_are_refused(
    section: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "study.toml").write_text(
        f'name = "x"\n[areas]\n{section}\n[outcomes.a]\nsource = "table"\nfile = "o.csv"\n'
        'area = "a"\nvalue = "v"\ndirection = "higher-is-worse"\n'
        '[locations]\nsource = "points"\nfile = "p.csv"\nid = "id"\n'
        '[features]\nsource = "simulated"\n'
    )
    with pytest.raises(InputError) as error:
        read_settings(tmp_path / "study.toml")
    assert reason in str(error.value)


@hypothesis_settings(deadline=None)
@given(
    values=st.lists(st.sampled_from(["E09000001", "E09000002", "E08000035", "a[b]", None])),
    patterns=st.lists(st.sampled_from(["E09*", "E0900000?", "E08000035", "E0[89]*", "a[b]", "x"])),
)
def test_patterns_fit_as_one_by_one(values: list[str | None], patterns: list[str]) -> None:
    series = pd.Series(values, dtype="object")
    expected = [v is not None and any(fnmatchcase(v, p) for p in patterns) for v in values]
    assert fits(series, patterns).tolist() == expected


def test_the_papers_places_are_whole() -> None:
    assert {name: len(codes) for name, codes in PLACES.items()} == {
        "London": 33,
        "Greater Manchester": 10,
        "West Midlands": 7,
        "West Yorkshire": 5,
    }
    codes = [code for place in PLACES.values() for code in place]
    assert len(set(codes)) == len(codes) == 55
    assert all(len(code) == 9 for code in codes)
