"""The sample city: a whole study in official layouts, whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy.special import expit, ndtr, ndtri

from streetgauge.errors import InputError
from streetgauge.io.files import write_table, write_text
from streetgauge.progress import Progress, silent
from streetgauge.synthetic import official
from streetgauge.synthetic.chance import generator
from streetgauge.synthetic.images import VIEWS, Rendering, write_images
from streetgauge.synthetic.model import LATENTS, OUTCOMES, VISIBLE, Array, LatentModel
from streetgauge.synthetic.plan import CRS, draw_plan, first_code, place_locations, smooth_fields

SMOOTH = 0.6
"""Share of the areas' latent variance that neighbours share, the rest is each area's own."""

CHANGED, STEP = 0.2, 0.2  # share of the areas in the second year, and of the ranks

_SMOOTH_NOISE = 0.35  # the same for what no image shows
_TERMINATED, _NULL, _ELSEWHERE = 12, 3, 25  # rows of the directory that a reader skips
_OUTSIDE = 20  # rows of the statistics that are no area of the city


@dataclass(frozen=True)
class SyntheticCity:
    """What `make_city` made, and the truth behind it.

    Attributes
    ----------
    directory : Path
        Where ``study.toml`` and ``data`` are.
    boundaries : GeoDataFrame
        By area: LSOA11NM, LAD11CD, LAD11NM, geometry.
    outcomes : DataFrame
        By area, the true score of each outcome: mean 0, variance 1, higher = better off.
    published : DataFrame
        By area, as the files state it: pounds, shares, ranks.
    locations : DataFrame
        location_id, postcode, lat, lon, oa, lsoa, msoa, area: those that have images (but for
        the faults), sorted by location_id.
    area_latents, latents : DataFrame
        By area, and by location: `LATENTS`.
    shown : DataFrame
        By location, what its views show on average, standard normal: `VISIBLE`.
    oracle : DataFrame
        location_id, then the best attainable score for each outcome; see `LatentModel.oracle`.
    faults : DataFrame
        location_id, view (None: all), fault: images that were spoilt on purpose.

    Examples
    --------
    >>> list(SyntheticCity.__annotations__)[:4]
    ['directory', 'boundaries', 'outcomes', 'published']
    """

    directory: Path
    boundaries: gpd.GeoDataFrame
    outcomes: pd.DataFrame
    published: pd.DataFrame
    locations: pd.DataFrame
    area_latents: pd.DataFrame
    latents: pd.DataFrame
    shown: pd.DataFrame
    oracle: pd.DataFrame
    faults: pd.DataFrame


def make_city(
    directory: Path,
    *,
    seed: int = 2019,
    n_areas: int = 150,
    n_locations: int = 1000,
    size: tuple[int, int] = (256, 192),
    workers: int = 2,
    model: LatentModel | None = None,
    year: int = 1,
    progress: Progress = silent,
) -> SyntheticCity:
    """Make a city and write it as a study: ``study.toml`` and the files that it names.

    Parameters
    ----------
    directory : Path
        Gets ``study.toml`` and ``data/``; files of the same name are written over.
    seed : int
        The same seed and sizes give the same bytes; another seed has other area codes.
    n_areas : int
        Small areas, at least 12.
    n_locations : int
        Postcodes with images, at least four for each area.
    size : (int, int)
        Width and height of an image in pixels.
    workers : int
        Processes that draw; with more than one, a script needs ``if __name__ == "__main__":``.
    model : LatentModel, optional
        How strongly images and outcomes hang together.
    year : int, default 1
        2: the same places later. In a fifth of the areas income is two deciles better or worse
        off, and what goes with it; everywhere camera, season and light are others.
    progress : Progress
        Reports every image.

    Returns
    -------
    SyntheticCity
        The truth: for tests, and for stating a result as a share of what is attainable.

    Raises
    ------
    InputError
        If there are fewer than 12 areas, or fewer than four locations for each.

    Examples
    --------
    >>> city = make_city(Path("town"), n_areas=12, n_locations=48, size=(64, 48), workers=1)
    >>> sorted(path.name for path in city.directory.iterdir())
    ['data', 'study.toml']
    """
    if n_areas < 12 or n_locations < 4 * n_areas:
        raise InputError(
            "sample city",
            f"{n_areas} areas with {n_locations} locations are too few",
            "use at least 12 areas and 4 locations for each",
        )
    model = model or LatentModel()
    directory, data = Path(directory), Path(directory) / "data"
    plan = draw_plan(generator(seed, "plan"), n_areas, first_code(seed))
    areas = _dissolve(plan)
    locations, free = place_locations(
        generator(seed, "locations"), plan, n_locations, _TERMINATED + _NULL + _ELSEWHERE
    )
    area_latents, outcomes = _truth(generator(seed, "truth"), areas, model)
    if year > 1:
        _change(generator(seed, "changed"), area_latents, outcomes, model)
    glimpses = generator(seed, "glimpses", year) if year > 1 else None
    latents, shown = _postcodes(
        generator(seed, "postcodes"), locations, area_latents, model, glimpses
    )
    published = _publish(generator(seed, "publish"), outcomes, areas, data)
    official.write_boundaries(areas.reset_index(names="LSOA11CD"), data / "boundaries.gpkg")
    _write_directory(generator(seed, "directory"), locations, free, areas, data)
    ids = locations["location_id"].tolist()
    views = VIEWS[: model.views]
    rendering = Rendering(seed, size, workers, year)
    write_images(data / "images", ids, shown, rendering, progress=progress)
    faults = _spoil(generator(seed, "faults"), ids, views, data / "images")
    oracle = pd.DataFrame(model.oracle(shown), columns=list(OUTCOMES))
    oracle.insert(0, "location_id", ids)
    write_table(oracle, data / "oracle.parquet")
    text = files("streetgauge.synthetic").joinpath("study.toml").read_text(encoding="utf-8")
    text = text.replace("seed = 2019", f"seed = {seed}")
    if year > 1:
        text = text.replace('name = "Sample city"', f'name = "Sample city, year {year}"')
    write_text(text, directory / "study.toml")
    index = pd.Index(ids, name="location_id")
    return SyntheticCity(
        directory=directory, boundaries=areas, outcomes=outcomes, published=published,
        locations=locations.drop(columns=["east", "north", "district"]),
        area_latents=area_latents,
        latents=pd.DataFrame(latents, index=index, columns=list(LATENTS)),
        shown=pd.DataFrame(shown.mean(axis=1), index=index, columns=list(VISIBLE)),
        oracle=oracle, faults=faults,
    )  # fmt: skip


def _dissolve(plan: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Join output areas to small areas, indexed by code."""
    first = plan.drop(columns=["OA11CD", "geometry"]).groupby("LSOA11CD").first()
    shapes = plan.groupby("LSOA11CD")["geometry"].agg(lambda cells: shapely.union_all(cells.array))
    columns = first[["LSOA11NM", "LAD11CD", "LAD11NM"]]
    areas = gpd.GeoDataFrame(columns, geometry=shapes.reindex(first.index).tolist(), crs=CRS)
    return areas.rename_axis("area")


def _truth(
    rng: np.random.Generator, areas: gpd.GeoDataFrame, model: LatentModel
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Areas' latents and outcomes, whose moments over this city's areas are exactly the model's.

    Exact, so that a small city is as easy or hard as any other and the oracle needs no luck.
    """
    points = np.column_stack([areas.centroid.x, areas.centroid.y])
    reach = 0.28 * np.sqrt(areas.area.sum() / np.pi)
    raw = _field(rng, points, len(LATENTS), SMOOTH, reach)
    # Density is highest in the centre, as people would expect it.
    centre = np.hypot(*(points - points.mean(axis=0)).T)
    raw[:, LATENTS.index("density")] -= 0.9 * (centre - centre.mean()) / centre.std()
    root = np.linalg.cholesky(model.correlation)
    latents = _whitened(raw) @ root.T
    noise = _field(rng, points, len(OUTCOMES), _SMOOTH_NOISE, reach)
    noise -= latents @ np.linalg.lstsq(latents, noise, rcond=None)[0]
    noise = (noise - noise.mean(axis=0)) / noise.std(axis=0)
    scores = latents @ model.effects.T + np.sqrt(1 - model.explained) * noise
    return (
        pd.DataFrame(latents, index=areas.index, columns=list(LATENTS)),
        pd.DataFrame(scores, index=areas.index, columns=list(OUTCOMES)),
    )


def _change(
    rng: np.random.Generator,
    latents: pd.DataFrame,
    outcomes: pd.DataFrame,
    model: LatentModel,
) -> None:
    """Change the income of a fifth of the areas by two deciles, in place, and what goes with it.

    Latents change as little as is likely for such a change of income; the other outcomes follow
    them.
    """
    count = len(outcomes)
    rows = rng.choice(count, round(CHANGED * count), replace=False)
    step = rng.choice((-STEP, STEP), len(rows))
    now = ndtr(outcomes["income"].to_numpy()[rows])
    inside = (now + step > STEP / 4) & (now + step < 1 - STEP / 4)
    rise = ndtri(now + np.where(inside, step, -step)) - ndtri(now)
    effect = model.effects[OUTCOMES.index("income")]
    along = model.correlation @ effect
    moved = np.outer(rise, along / (effect @ along))
    latents.iloc[rows] += moved
    outcomes.iloc[rows] += moved @ model.effects.T


def _field(
    rng: np.random.Generator, points: Array, count: int, smooth: float, reach: float
) -> Array:
    wide = smooth_fields(rng, points, count, reach)
    own = rng.standard_normal((len(points), count))
    both: Array = np.sqrt(smooth) * wide / wide.std(axis=0) + np.sqrt(1 - smooth) * own
    return both


def _whitened(raw: Array) -> Array:
    """Columns of mean 0, variance 1 and no correlation that are as near to the given as can be."""
    centred = raw - raw.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(raw))
    white: Array = centred @ (vectors / np.sqrt(values)) @ vectors.T
    return white


def _postcodes(
    rng: np.random.Generator,
    locations: pd.DataFrame,
    area_latents: pd.DataFrame,
    model: LatentModel,
    glimpses: np.random.Generator | None = None,
) -> tuple[Array, Array]:
    """Latents [N, L] of the locations and what their views show [N, V, K].

    By ``glimpses`` views differ otherwise, while the houses are the same.
    """
    root = np.linalg.cholesky(model.correlation)
    count = len(locations)
    within = rng.standard_normal((count, len(LATENTS))) @ root.T
    latents = area_latents.loc[locations["area"]].to_numpy() + np.sqrt(model.spread) * within
    shared = rng.standard_normal((count, len(VISIBLE)))
    own = (glimpses or rng).standard_normal((count, model.views, len(VISIBLE)))
    return latents, model.show(latents, shared, own)


def _publish(
    rng: np.random.Generator, outcomes: pd.DataFrame, areas: gpd.GeoDataFrame, data: Path
) -> pd.DataFrame:
    """Write the statistics, with some rows of areas that are not in the city."""
    elsewhere = [f"E{1_990_001 + i:08d}" for i in range(_OUTSIDE)]
    beyond = pd.DataFrame(
        rng.standard_normal((_OUTSIDE, len(OUTCOMES))), index=elsewhere, columns=list(OUTCOMES)
    )
    scores = pd.concat([outcomes, beyond])
    about = pd.DataFrame(areas.drop(columns="geometry"))
    about = pd.concat(
        [
            about,
            pd.DataFrame(
                {
                    "LSOA11NM": [
                        f"Farholm {i // 5 + 1:03d}{'ABCDE'[i % 5]}" for i in range(_OUTSIDE)
                    ],
                    "LAD11CD": "E09900099",
                    "LAD11NM": "Farholm",
                },
                index=elsewhere,
            ),
        ]
    ).rename_axis("area")
    people = pd.Series(rng.integers(1150, 2100, len(scores)), index=scores.index)
    adults = (people * rng.uniform(0.74, 0.84, len(scores))).round().astype(int)
    health = official.census_counts(
        people, expit(-2.85 - 0.34 * scores["bad_health"]), "QS302EW", rng
    )
    learning = official.census_counts(
        adults, expit(-0.75 - 0.48 * scores["low_qualification"]), "KS501EW", rng
    )
    official.write_census(
        health, about["LSOA11NM"], "QS302EW - General health", "All usual residents",
        data / "qs302ew.csv",
    )  # fmt: skip
    official.write_census(
        learning, about["LSOA11NM"], "KS501EW - Qualifications and students",
        "All usual residents aged 16 and over", data / "ks501ew.csv",
    )  # fmt: skip
    mean = 41_000 * np.exp(0.27 * scores["income"])
    median = mean * 0.8 * np.exp(rng.normal(0, 0.02, len(scores)))
    official.write_income(
        mean, median, about, data / "modelled-household-income-estimates-lsoa.csv"
    )
    ranks = _ranks(rng, scores)
    official.write_deprivation(ranks, about, data / "indices-of-deprivation-2015.csv")
    published = pd.DataFrame(
        {
            "income": (mean / 10).round() * 10,
            "bad_health": health[["Bad health", "Very bad health"]].sum(axis=1) / people,
            "low_qualification": learning.iloc[:, 1:3].sum(axis=1) / adults,
            "environment": ranks["Living Environment"],
            "crime": ranks["Crime"],
        }
    )
    return published.loc[outcomes.index]


def _ranks(rng: np.random.Generator, scores: pd.DataFrame) -> pd.DataFrame:
    """National ranks of all domains; those that are no outcome here go along with some that are."""

    def like(*names: str) -> Array:
        mixed = scores[list(names)].sum(axis=1).to_numpy() + rng.standard_normal(len(scores))
        alike: Array = mixed / mixed.std()
        return alike

    domains = {
        "Index of Multiple Deprivation (IMD)": like(*OUTCOMES),
        "Income": like("income"),
        "Employment": like("income", "bad_health"),
        "Education, Skills and Training": like("low_qualification"),
        "Health Deprivation and Disability": like("bad_health"),
        "Crime": scores["crime"].to_numpy(),
        "Barriers to Housing and Services": like("income", "environment"),
        "Living Environment": scores["environment"].to_numpy(),
    }
    ranks = {domain: official.deprivation_ranks(score) for domain, score in domains.items()}
    return pd.DataFrame(ranks, index=scores.index)


def _write_directory(
    rng: np.random.Generator, locations: pd.DataFrame, free: list[str],
    areas: gpd.GeoDataFrame, data: Path,
) -> None:  # fmt: skip
    """Write the locations, and among them rows that a reader has to skip."""
    rows = locations.assign(
        introduced=[f"{year}{month:02d}" for year, month in zip(
            rng.integers(1980, 2012, len(locations)), rng.integers(1, 13, len(locations)),
            strict=True)],
        terminated=None, imd=rng.integers(1, 32_845, len(locations)),
    )  # fmt: skip
    gone = rows.iloc[rng.choice(len(rows), _TERMINATED, replace=False)].assign(
        postcode=free[:_TERMINATED], terminated="201006", introduced="198001"
    )
    null = rows.iloc[:_NULL].assign(
        postcode=free[_TERMINATED : _TERMINATED + _NULL], lat=np.nan, lon=np.nan
    )
    west = areas.total_bounds[0]
    away = rows.iloc[rng.choice(len(rows), _ELSEWHERE, replace=False)].assign(
        postcode=[f"QX1 {i % 10}{'ABDEF'[i // 10]}Z" for i in range(_ELSEWHERE)],
        oa="E00990001", lsoa="E01990001", msoa="E02990001", district="E09900099",
        east=west - 5000 - np.arange(_ELSEWHERE) * 40,
    )  # fmt: skip
    points = gpd.GeoSeries.from_xy(away["east"], away["north"], crs=CRS).to_crs("EPSG:4326")
    away = away.assign(lat=points.y.to_numpy(), lon=points.x.to_numpy())
    every = pd.concat([rows, gone, null, away]).sort_values("postcode")
    official.write_directory(every, data / "postcodes.csv")


def _spoil(
    rng: np.random.Generator, ids: list[str], views: tuple[str, ...], folder: Path
) -> pd.DataFrame:
    """Break one image, take away one, and all of two locations, as happens in real archives."""
    chosen = [ids[i] for i in rng.choice(len(ids), 4, replace=False)]
    broken = folder / f"{chosen[0]}_{views[-1]}.jpg"
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) * 2 // 5])
    (folder / f"{chosen[1]}_{views[0]}.jpg").unlink()
    for location_id in chosen[2:]:
        for view in views:
            (folder / f"{location_id}_{view}.jpg").unlink()
    return pd.DataFrame(
        {
            "location_id": chosen,
            "view": [views[-1], views[0], None, None],
            "fault": ["truncated", "missing", "missing", "missing"],
        }
    )
