from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.locations import read_locations
from streetgauge.locations.layouts import LAYOUTS, closest_layout, recognise
from streetgauge.settings import DirectoryLocations

HERE = Path("d.csv")


def names(text: str) -> list[str]:
    return text.split()


# Two headers that are between or after the layouts known: a download of the Open Geography portal's
# map service, and a lookup with code lists of a year to come.
PORTAL = names("""
    X Y objectid pcd pcd2 pcds dointr doterm usertype oseast1m osnrth1m osgrdind oa11 cty
    laua ward hlthau ctry pcon eer teclec ttwa pct nuts park lsoa11 msoa11 wz11 ccg bua11 buasd11
    ru11ind oac11 lat long lep1 lep2 pfa imd ced nhser rgn calncv stp""")
LATER = names("""
    pcd7 pcd8 pcds dointr doterm usrtypind east1m north1m gridind oa21cd cty26cd ced25cd
    lad26cd wd26cd nhser24cd ctry26cd rgn26cd pcon24cd ttwa15cd itl25cd npark16cd lsoa21cd msoa21cd
    wz11cd sicbl26cd bua24cd ruc21ind oac21ind lat long lep21cd1 lep21cd2 pfa23cd imd25ind
    icb26cd""")


@pytest.mark.parametrize(
    ("file", "layout", "size"),
    [
        ("onspd_may2018.csv", "ONSPD 2017 to 2021", 50),
        ("onspd_aug2024.csv", "ONSPD 2022 to 2025", 52),
        ("onspd_nov2025.csv", "ONSPD from November 2025", 53),
    ],
)
def test_published_headers_are_recognised_by_name(
    file: str, layout: str, size: int, shared_data: Path
) -> None:
    with (shared_data / "formats/postcode_samples" / file).open(encoding="utf-8") as handle:
        header = next(csv.reader(handle))
    assert len(header) == size
    name, common = closest_layout(header)
    assert (name, common > 0.95) == (layout, True)


@pytest.mark.parametrize("layout", LAYOUTS)
@hypothesis_settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_a_layout_is_recognised_in_any_order_and_case(layout: str, data: st.DataObject) -> None:
    header = data.draw(st.permutations([column.upper() for column in LAYOUTS[layout]]))
    assert closest_layout(header) == (layout, 1.0)


@pytest.mark.parametrize(
    ("layout", "area", "lsoa", "district", "ward"),
    [
        ("ONSPD 2011", "lsoa01", "soa1", "oslaua", "osward"),
        ("ONSPD 2012 to 2014", "lsoa11", "lsoa11", "oslaua", "osward"),
        ("ONSPD 2012 to 2014", "lsoa01", "lsoa01", "oslaua", "osward"),
        ("ONSPD 2015 to 2017", "msoa11", "lsoa11", "oslaua", "osward"),
        ("ONSPD 2017 to 2021", "lsoa11", "lsoa11", "oslaua", "osward"),
        ("ONSPD 2022 to 2025", "lsoa21", "lsoa21", "oslaua", "osward"),
        ("ONSPD from November 2025", "lsoa11", "lsoa11cd", "lad25cd", "wd25cd"),
        ("ONSPD from November 2025", "oa21", "lsoa21cd", "lad25cd", "wd25cd"),
        ("NSPL of the Census 2011", "lsoa11", "lsoa11", "laua", "ward"),
        ("NSPL of the Census 2021", "lsoa21", "lsoa21", "laua", "ward"),
        ("NSPL from November 2025", "lsoa21", "lsoa21cd", "lad25cd", "wd25cd"),
    ],
)
def test_every_layout_says_which_column_holds_what(
    layout: str, area: str, lsoa: str, district: str, ward: str, tmp_path: Path
) -> None:
    header = LAYOUTS[layout]
    found = recognise(header, area, HERE, live_only=True)
    assert found.name == layout
    assert found.columns["postcode"] == "pcds"
    assert found.columns["terminated"] == "doterm"
    assert (found.columns["lsoa"], found.columns["district"]) == (lsoa, district)
    assert found.columns["ward"] == ward
    # Each cell says its own column, so that a wrong one would show.
    cells = {column: f"<{column}>" for column in header}
    cells |= {"pcds": "AL1 1AA", "lat": "51.5", "long": "-0.1", "doterm": ""}
    cells |= dict.fromkeys(["oseast1m", "east1m"], "514600")
    cells |= dict.fromkeys(["osnrth1m", "north1m"], "0206900")
    path = tmp_path / "d.csv"
    pd.DataFrame([cells])[list(header)].to_csv(path, index=False)
    settings = DirectoryLocations(source="directory", file=path, area=area, live_only=True)
    column = found.columns[area[:-2]]
    areas = pd.DataFrame({"name": None}, index=pd.Index([f"<{column}>"], name="area"))
    frame, _ = read_locations(settings, areas)
    kinds = ("oa", "lsoa", "msoa")
    expected = [f"<{found.columns[k]}>" if k in found.columns else None for k in kinds]
    assert frame.loc[0, ["postcode", "oa", "lsoa", "msoa", "area"]].tolist() == [
        *("AL1 1AA", *expected, f"<{column}>"),
    ]
    degrees = (51.5, -0.1) if "lat" in header else (51.749, -0.341)
    assert frame.loc[0, ["lat", "lon"]].tolist() == pytest.approx(degrees, abs=1e-3)
    assert frame.attrs["layout"] == layout
    assert list(frame.columns) == [
        *("location_id", "postcode", "lat", "lon", "oa", "lsoa", "msoa", "area"),
    ]


def test_headers_between_two_layouts_are_recognised_by_the_closest() -> None:
    found = recognise(PORTAL, "lsoa11", HERE)
    assert found.name == "NSPL of the Census 2011"
    assert found.columns["district"] == "laua"
    assert found.columns["lon"] == "long"
    found = recognise(LATER, "oa21", HERE)
    assert found.name == "NSPL from November 2025"
    assert (found.columns["district"], found.columns["ward"]) == ("lad26cd", "wd26cd")
    assert found.columns["region"] == "rgn26cd"


def test_of_two_releases_of_a_code_list_the_later_counts() -> None:
    header = ["pcds", "lad25cd", "lad23cd", "wd22cd", "wd24cd", "lsoa21cd"]
    found = recognise(header, "lsoa21", HERE).columns
    assert (found["district"], found["ward"]) == ("lad25cd", "wd24cd")


def test_a_table_with_some_of_the_columns_has_no_layout() -> None:
    found = recognise(["pcds", "lat", "long", "lsoa11", "msoa11"], "lsoa11", HERE)
    assert found.name is None
    assert set(found.columns) == {"postcode", "lat", "lon", "lsoa", "msoa"}


def test_areas_that_a_layout_does_not_have_are_named_with_those_it_has() -> None:
    with pytest.raises(InputError) as error:
        recognise(LAYOUTS["ONSPD 2011"], "lsoa11", HERE)
    assert str(error.value) == (
        "d.csv: no column holds the areas (lsoa11): none is called lsoa11, lsoa11cd; "
        "this is ONSPD 2011: set 'locations.area' to one of oa01, lsoa01, msoa01."
    )
    with pytest.raises(InputError) as error:
        recognise(LAYOUTS["NSPL of the Census 2021"], "lsoa11", HERE)
    assert "this is NSPL of the Census 2021: set 'locations.area' to one of oa21, lsoa21" in str(
        error.value
    )


def test_an_unknown_header_is_refused_with_its_closest_columns_and_layout_only() -> None:
    header = ["pcdss" if c == "pcds" else c.replace("pcd", "x") for c in LAYOUTS["ONSPD 2011"]]
    with pytest.raises(InputError) as error:
        recognise(header, "lsoa01", HERE)
    assert str(error.value) == (
        "d.csv: no column holds postcodes: none is called pcds, pcd7, pcd, pcd8, pcd2, postcode; "
        "its closest columns are pcdss, its closest layout is ONSPD 2011."
    )


def test_a_table_of_other_areas_is_answered_with_which_it_has() -> None:
    with pytest.raises(InputError) as error:
        recognise(["pcds", "lat", "long", "lsoa21"], "lsoa11", HERE)
    assert str(error.value) == (
        "d.csv: no column holds the areas (lsoa11): none is called lsoa11, lsoa11cd; "
        "set 'locations.area' to one of lsoa21."
    )


def test_a_missing_area_column_names_few_of_many_columns() -> None:
    header = ["Postcode", "LSOA 11 Code", *(f"column {number}" for number in range(60))]
    with pytest.raises(InputError) as error:
        recognise(header, "lsoa11", HERE)
    assert "its closest columns are LSOA 11 Code" in str(error.value)
    assert "column 5" not in str(error.value)
    assert len(str(error.value)) < 250
