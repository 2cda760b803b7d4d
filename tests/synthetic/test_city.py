"""The sample city's files: their quirks, their truth, and that a seed gives the same bytes."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from PIL import Image
from scipy.special import ndtr

from streetgauge.errors import InputError
from streetgauge.settings import input_files, read_settings
from streetgauge.synthetic import LATENTS, OUTCOMES, LatentModel, SyntheticCity, make_city
from streetgauge.synthetic.official import NATIONAL_AREAS, deprivation_ranks
from streetgauge.synthetic.plan import _group, _means, draw_plan

SMALL = {"seed": 5, "n_areas": 14, "n_locations": 60, "size": (64, 48), "workers": 1}


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> SyntheticCity:
    return make_city(tmp_path_factory.mktemp("city"), **SMALL)


def _contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes(city: SyntheticCity, tmp_path: Path) -> None:
    again = make_city(tmp_path / "again", **SMALL)
    first, second = _contents(city.directory), _contents(again.directory)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_another_seed_gives_another_city(city: SyntheticCity, tmp_path: Path) -> None:
    other = make_city(tmp_path, **{**SMALL, "seed": 6})
    assert not np.allclose(other.outcomes, city.outcomes)
    assert other.boundaries.geometry.iloc[0] != city.boundaries.geometry.iloc[0]
    for column in ("area", "lsoa", "msoa", "oa"):
        assert not set(other.locations[column]) & set(city.locations[column])
    assert not set(other.boundaries["LAD11CD"]) & set(city.boundaries["LAD11CD"])


def test_the_study_is_valid_and_names_files_that_exist(city: SyntheticCity) -> None:
    settings = read_settings(city.directory / "study.toml")
    assert settings.seed == 5
    assert set(settings.outcomes) == set(OUTCOMES)
    missing = [str(path) for _, path in input_files(settings) if not path.exists()]
    assert missing == []


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("n_areas", [12, 70])
def test_areas_tile_the_city_without_gap_or_overlap(seed: int, n_areas: int) -> None:
    plan = draw_plan(np.random.default_rng(seed), n_areas)
    areas = plan.dissolve("LSOA11CD")
    assert len(areas) == n_areas
    assert areas.is_valid.all()
    assert shapely.coverage_is_valid(areas.geometry.to_numpy())
    whole = shapely.union_all(areas.geometry.to_numpy())
    assert whole.geom_type == "Polygon"
    assert not whole.interiors  # no hole
    assert areas.area.sum() == pytest.approx(whole.area, rel=1e-9)


def test_areas_are_denser_in_the_centre() -> None:
    plan = draw_plan(np.random.default_rng(1), 100)
    centre = plan.union_all().centroid
    far = plan.centroid.distance(centre)
    assert plan.area[far < far.median()].mean() < 0.6 * plan.area[far > far.median()].mean()


def test_boundaries_have_the_census_columns_and_grid(city: SyntheticCity) -> None:
    frame = gpd.read_file(city.directory / "data/boundaries.gpkg")
    assert list(frame.columns) == ["LSOA11CD", "LSOA11NM", "LAD11CD", "LAD11NM", "geometry"]
    assert frame.crs.to_epsg() == 27700
    assert frame["LSOA11CD"].str.fullmatch(r"E012\d{5}").all()
    assert frame["LSOA11NM"].is_unique


def test_no_code_is_that_of_a_real_area(city: SyntheticCity, shared_data: Path) -> None:
    with gzip.open(shared_data / "london/postcodes_london_lsoa11.csv.gz", "rt") as handle:
        real = {row["lsoa11"] for row in csv.DictReader(handle)}
    assert real.isdisjoint(city.boundaries.index)


def test_postcodes_lie_in_the_area_that_the_directory_names(city: SyntheticCity) -> None:
    directory = pd.read_csv(city.directory / "data/postcodes.csv", dtype=str)
    inside = directory[directory["lsoa11"].isin(city.boundaries.index)]
    points = gpd.GeoSeries.from_xy(
        inside["long"].astype(float), inside["lat"].astype(float), crs="EPSG:4326"
    ).to_crs(27700)
    areas = city.boundaries.geometry.loc[inside["lsoa11"]]
    assert [a.covers(p) for a, p in zip(areas, points, strict=True)] == [True] * len(inside)
    grid = inside[["oseast1m", "osnrth1m"]].astype(float).to_numpy()
    assert np.hypot(*(grid - np.column_stack([points.x, points.y])).T).max() < 2


def test_the_directory_has_the_header_and_quotes_of_the_original(
    city: SyntheticCity, shared_data: Path
) -> None:
    real = (shared_data / "formats/postcode_samples/onspd_may2018.csv").read_text().splitlines()
    made = (city.directory / "data/postcodes.csv").read_text().splitlines()
    assert made[0] == real[0].rstrip()
    names = real[0].split(",")
    quoted = [cell.startswith('"') for cell in made[1].split(",")]
    expected = [cell.startswith('"') for cell in real[1].split(",")]
    assert dict(zip(names, quoted, strict=True)) == dict(zip(names, expected, strict=True))


def test_the_directory_has_rows_that_a_reader_must_leave_out(city: SyntheticCity) -> None:
    directory = pd.read_csv(city.directory / "data/postcodes.csv", dtype=str)
    ours = directory["lsoa11"].isin(city.boundaries.index)
    assert directory["pcds"].is_unique
    assert (directory["lat"] == "99.999999").sum() == 3
    assert (directory["lsoa11"] == "M99999999").sum() == 3
    assert directory["doterm"].notna().sum() == 12
    assert (~ours).sum() > 20
    live = directory[ours & directory["doterm"].isna()]
    assert sorted(live["pcds"].str.replace(" ", "")) == city.locations["location_id"].tolist()
    assert set(live["pcd"].str.len()) == {7}
    assert set(live["pcd2"].str.len()) == {8}


@pytest.mark.parametrize("table", ["qs302ew", "ks501ew"])
def test_census_tables_are_laid_out_as_nomis_does(
    city: SyntheticCity, shared_data: Path, table: str
) -> None:
    with gzip.open(shared_data / f"london/{table}.csv.gz", "rt", newline="") as handle:
        real = handle.read().split("\n")
    made = (city.directory / f"data/{table}.csv").read_bytes().decode().split("\n")
    assert [made[i] for i in (0, 1, *range(3, 10))] == [real[i] for i in (0, 1, *range(3, 10))]
    assert "ynthetic" in made[2]
    assert "Crown Copyright Reserved" not in "".join(made)
    assert made[-5].startswith('"",')
    assert real[-5].startswith('"",')


def test_census_counts_add_up_to_their_total(city: SyntheticCity) -> None:
    data = city.directory / "data"
    for table, parts in (("qs302ew", 5), ("ks501ew", 7)):
        lines = (data / f"{table}.csv").read_text().splitlines()[8:-4]
        frame = pd.read_csv(pd.io.common.StringIO("\n".join(lines)), skip_blank_lines=True)
        counts = frame.iloc[:, 2:]
        assert (counts.iloc[:, 1 : 1 + parts].sum(axis=1) == counts.iloc[:, 0]).all()
        assert (counts >= 0).all(axis=None)


def test_income_has_broken_pounds_and_thousands_commas(
    city: SyntheticCity, shared_data: Path
) -> None:
    name = "modelled-household-income-estimates-lsoa.csv"
    made = (city.directory / "data" / name).read_text().splitlines()
    real = (shared_data / "london" / name).read_text(errors="replace").splitlines()
    assert made[0] == real[0].rstrip()
    rows = pd.read_csv(city.directory / "data" / name, dtype=str)
    assert rows["Mean 2012/13"].str.fullmatch(r"\?\d{1,3},\d{3}").all()
    pounds = rows.set_index("Code")["Mean 2012/13"].str.replace(r"\D", "", regex=True).astype(int)
    assert (pounds[city.published.index] == city.published["income"]).all()


def test_deprivation_ranks_follow_the_truth_and_one_is_worst(city: SyntheticCity) -> None:
    file = pd.read_csv(city.directory / "data/indices-of-deprivation-2015.csv")
    file = file.set_index("LSOA code (2011)").loc[city.outcomes.index]
    rank = file["Living Environment Rank (where 1 is most deprived)"]
    assert (rank.rank() == city.outcomes["environment"].rank()).all()
    decile = file["Living Environment Decile (where 1 is most deprived 10% of LSOAs)"]
    assert decile.between(1, 10).all()
    assert (decile.to_numpy() == np.ceil(rank * 10 / NATIONAL_AREAS)).all()


def test_ranks_are_whole_distinct_and_in_range_even_at_the_ends() -> None:
    ranks = deprivation_ranks(np.array([9.0, -9.0, 8.0, -8.0, 0.0, 8.5]))
    assert len(set(ranks)) == 6
    assert ranks.min() >= 1
    assert ranks.max() == NATIONAL_AREAS
    assert list(np.argsort(ranks)) == [1, 3, 4, 2, 5, 0]


def test_published_figures_order_areas_as_the_truth_does(city: SyntheticCity) -> None:
    signs = {"income": 1, "bad_health": -1, "low_qualification": -1, "environment": 1, "crime": 1}
    for outcome, sign in signs.items():
        both = city.published[outcome].corr(city.outcomes[outcome], method="spearman")
        assert sign * both > 0.95, outcome


def test_the_citys_moments_are_the_models(city: SyntheticCity) -> None:
    model = LatentModel()
    areas = city.area_latents.to_numpy()
    np.testing.assert_allclose(areas.T @ areas / len(areas), model.correlation, atol=1e-8)
    np.testing.assert_allclose(city.outcomes.std(ddof=0), 1, atol=1e-8)
    crossed = city.outcomes.to_numpy().T @ areas / len(areas)
    np.testing.assert_allclose(crossed, model.effects @ model.correlation, atol=1e-8)
    assert list(city.area_latents.columns) == list(LATENTS)


def test_the_oracle_file_has_every_location_and_outcome(city: SyntheticCity) -> None:
    oracle = pd.read_parquet(city.directory / "data/oracle.parquet")
    assert list(oracle.columns) == ["location_id", *OUTCOMES]
    assert oracle["location_id"].tolist() == city.locations["location_id"].tolist()
    pd.testing.assert_frame_equal(oracle, city.oracle, check_dtype=False)
    expected = city.shown.loc[oracle["location_id"]].to_numpy() @ LatentModel().gain.T
    np.testing.assert_allclose(oracle[list(OUTCOMES)], expected)


def test_faults_are_the_only_images_missing_or_broken(city: SyntheticCity) -> None:
    folder = city.directory / "data/images"
    missing, broken = set(), set()
    for location_id in city.locations["location_id"]:
        for view in "abcd":
            path = folder / f"{location_id}_{view}.jpg"
            if not path.exists():
                missing.add((location_id, view))
                continue
            try:
                with Image.open(path) as image:
                    image.load()
                    assert image.size == (64, 48)
            except OSError:
                broken.add((location_id, view))
    listed = city.faults.set_index("fault")
    assert broken == {tuple(listed.loc["truncated", ["location_id", "view"]])}
    reported = city.faults[city.faults["fault"] == "missing"]
    expected = {
        (row.location_id, view)
        for row in reported.itertuples()
        for view in ("abcd" if pd.isna(row.view) else row.view)
    }
    assert missing == expected
    assert len(missing) == 9


def test_too_small_a_city_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 12 areas"):
        make_city(tmp_path, n_areas=5, n_locations=100)
    with pytest.raises(InputError, match="4 locations for each"):
        make_city(tmp_path, n_areas=20, n_locations=50)


def test_the_seed_of_a_group_moves_to_the_mean_of_its_points() -> None:
    points = np.array([[0.0, 2], [4, 4], [9, 9]])
    assert _means(points, np.array([1, 1, 0]), 2).tolist() == [[9, 9], [2, 3]]


def test_in_the_second_year_a_fifth_of_the_areas_have_changed_and_every_image(
    city: SyntheticCity, tmp_path: Path
) -> None:
    first, second = city, make_city(tmp_path, year=2, **SMALL)
    pd.testing.assert_frame_equal(first.locations, second.locations)
    assert first.boundaries.geometry.equals(second.boundaries.geometry)
    rank = ndtr(second.outcomes["income"]) - ndtr(first.outcomes["income"])
    changed = rank.abs() > 1e-9
    assert changed.sum() == 3
    assert rank[changed].abs().to_numpy() == pytest.approx(0.2)
    same = first.latents.index[~first.locations["area"].isin(rank.index[changed]).to_numpy()]
    pd.testing.assert_frame_equal(first.latents.loc[same], second.latents.loc[same])
    assert not np.allclose(first.shown.loc[same], second.shown.loc[same])  # views are others
    images = [
        {file.name: file.read_bytes() for file in (each.directory / "data" / "images").iterdir()}
        for each in (first, second)
    ]
    assert images[0].keys() == images[1].keys()
    assert not any(images[0][name] == images[1][name] for name in images[0])
    settings = [(c.directory / "study.toml").read_text(encoding="utf-8") for c in (first, second)]
    assert settings[1].replace("Sample city, year 2", "Sample city") == settings[0]


def test_groups_begin_at_as_many_points_as_there_are_groups() -> None:
    class Drawn:
        def choice(self, n: int, count: int, *, replace: bool) -> np.ndarray:
            assert not replace
            return np.arange(n)[:count]

    points = np.array([[0, 0], [10, 0], [0, 10], [0, 1], [10, 1], [1, 10]], dtype=float)
    assert _group(points, 3, Drawn()).tolist() == [0, 1, 2, 0, 1, 2]  # type: ignore[arg-type]
