"""The real postcodes and boundaries of London and Newport."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest

from streetgauge.locations import read_areas, read_locations
from streetgauge.settings import (
    AreaSettings,
    DirectoryLocations,
    PointLocations,
    StudySettings,
    read_settings,
)

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def london(shared_data: Path) -> StudySettings:
    return read_settings(EXAMPLES / "london" / "study.toml")


@pytest.fixture(scope="module")
def areas(london: StudySettings) -> pd.DataFrame:
    return read_areas(london.areas)


def test_london_has_4835_areas_with_valid_boundaries_from_a_zip_with_a_folder(
    areas: pd.DataFrame,
) -> None:
    assert isinstance(areas, gpd.GeoDataFrame)
    assert len(areas) == 4835
    assert areas.crs.to_epsg() == 27700
    assert areas.geometry.is_valid.all()
    assert areas.attrs["repaired"] == 8
    assert areas["district"].nunique() == 33
    assert areas.loc["E01000001", "name"] == "City of London 001A"
    # Greater London is 1,572 square kilometres.
    assert areas.geometry.area.sum() / 1e6 == pytest.approx(1572, rel=0.02)


def test_all_331264_postcodes_are_joined_and_the_boundaries_agree_with_the_directory(
    london: StudySettings, areas: pd.DataFrame
) -> None:
    frame, skips = read_locations(london.locations, areas)
    assert len(frame) == 331_264
    assert frame.attrs["outside"] == 0
    assert skips.empty
    assert frame["area"].nunique() == 4835
    assert frame["location_id"].is_unique
    assert frame["location_id"].is_monotonic_increasing
    points = PointLocations(
        source="points", file=london.locations.file, id="pcds", postcode="pcds", lon="long"
    )
    by_place, outside = read_locations(points, areas)
    assert outside.empty
    by_place["location_id"] = by_place["location_id"].str.replace(" ", "")
    both = frame.merge(by_place, on="location_id", validate="one_to_one")
    assert len(both) == 331_264
    assert (both["area_x"] == both["area_y"]).all()


def test_newports_postcodes_lie_where_its_directory_says(shared_data: Path) -> None:
    study = read_settings(EXAMPLES / "newport" / "study.toml")
    areas = read_areas(study.areas)
    assert len(areas) == 95
    frame, skips = read_locations(study.locations, areas)
    listed = pd.read_csv(study.locations.file).set_index("Postcode")["LSOA11CD"]
    assert len(frame) + skips["location_id"].notna().sum() == len(listed) == 10_570
    agree = frame["area"].to_numpy() == listed[frame["location_id"]].to_numpy()
    assert agree.mean() > 0.99
    empty = skips.loc[skips["location_id"].isna(), "area"]
    assert set(empty) == set(areas.index) - set(frame["area"])


def test_newports_file_is_a_directory_too(shared_data: Path) -> None:
    study = read_settings(EXAMPLES / "newport" / "study.toml")
    areas = read_areas(study.areas)
    london = read_settings(EXAMPLES / "london" / "study.toml").locations
    directory = london.model_copy(update={"file": study.locations.file})
    frame, _ = read_locations(directory, areas)
    assert len(frame) == 10_570
    listed = pd.read_csv(study.locations.file)
    listed = listed.set_index(listed["Postcode"].str.replace(" ", ""))["LSOA11CD"].sort_index()
    assert frame["location_id"].tolist() == listed.index.tolist()
    assert frame["area"].tolist() == listed.tolist()


def test_the_papers_places_have_as_many_areas_as_they_should(shared_data: Path) -> None:
    path = shared_data / "london/File_1_ID_2015_Index_of_Multiple_Deprivation.xlsx"
    code, district = "LSOA code (2011)", "Local Authority District code (2013)"
    counts = {}
    for place in ("London", "Greater Manchester", "West Midlands", "West Yorkshire"):
        areas = AreaSettings(file=path, code=code, district=district, place=[place])
        counts[place] = len(read_areas(areas))
    assert counts["London"] == 4835
    assert counts["Greater Manchester"] == 1673
    assert counts == {**counts, "West Midlands": 1680, "West Yorkshire": 1388}


def test_london_is_picked_out_of_boundaries_by_name_and_by_box(
    london: StudySettings, areas: pd.DataFrame
) -> None:
    by_code = london.areas.model_copy(update={"district": "LAD11CD"})
    whole = read_areas(by_code.model_copy(update={"place": ("London",)}))
    assert whole.index.equals(areas.index)
    assert whole.attrs["excluded"] == 0
    two = read_areas(by_code.model_copy(update={"place": ("E09000001", "E09000030")}))
    expected = areas["district"].isin(["City of London", "Tower Hamlets"])
    assert two.index.equals(areas.index[expected])
    box = read_areas(london.areas.model_copy(update={"bbox": (-0.2, 51.45, 0.0, 51.55)}))
    assert 500 < len(box) < 1500
    assert box.attrs["excluded"] == 4835 - len(box)


def test_a_directory_of_london_gives_its_4835_areas_and_their_boroughs(
    london: StudySettings, areas: pd.DataFrame, tmp_path: Path
) -> None:
    """Real postcodes with the borough of their area, and a tenth of them wrongly in another."""
    boroughs = read_areas(london.areas.model_copy(update={"district": "LAD11CD"}))["district"]
    postcodes = pd.read_csv(london.locations.file)
    postcodes["oslaua"] = postcodes["lsoa11"].map(boroughs)
    postcodes.loc[postcodes.groupby("lsoa11").cumcount() % 10 == 9, "oslaua"] = "E07000240"
    postcodes.to_csv(tmp_path / "d.csv", index=False)
    directory = DirectoryLocations(source="directory", file=tmp_path / "d.csv", area="lsoa11")
    found = read_areas(AreaSettings(place=["London"]), directory)
    assert found.index.equals(areas.index)
    assert (found["district"] == boroughs).all()
    frame, skips = read_locations(directory, found)
    assert len(frame) == 331_264
    assert skips.empty
