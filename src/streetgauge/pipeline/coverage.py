"""Which areas have images: of a study, before or after its features, or of any table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from streetgauge.analysis.coverage import (
    Strata,
    choose_strata,
    measure_coverage,
    reweighted,
)
from streetgauge.errors import InputError
from streetgauge.evaluation import positions_of_areas
from streetgauge.evaluation.area_facts import area_people, location_people, read_population
from streetgauge.features.store import FeatureStore
from streetgauge.features.table import match_rows
from streetgauge.imagery import find_views
from streetgauge.io.files import read_table
from streetgauge.io.formats import ANALYSIS_VERSION, METRICS_VERSION, read_object
from streetgauge.io.tables import read_columns, refuse_repeated, to_numbers
from streetgauge.locations import read_areas
from streetgauge.model.training_data import deciles
from streetgauge.processes import undivided_products
from streetgauge.settings import (
    ImageFeatures,
    OpenImagery,
    RasterFeatures,
    SimulatedFeatures,
    TableFeatures,
)
from streetgauge.study import Study
from streetgauge.study.stages import stage_named


@dataclass(frozen=True)
class TableColumns:
    """Names of the columns of a table of areas.

    Parameters
    ----------
    area, images, decile : str
        The area's code, its number of images, its class.
    x, y : str, optional
        Its position in metres.
    district, people : str, optional
        The district that it lies in, its number of residents.
    """

    area: str
    images: str
    decile: str
    x: str | None = None
    y: str | None = None
    district: str | None = None
    people: str | None = None


@undivided_products()
def study_coverage(study: Study, *, draws: int = 999) -> dict[str, Any]:
    """Relate the images of a study's areas to its outcomes.

    Parameters
    ----------
    study : Study
        With outcomes and locations; images are counted in the feature store if there is one, else
        where they are found.
    draws : int
        As for `streetgauge.analysis.coverage.measure_coverage`.

    Returns
    -------
    dict
        ``name``, ``classes``, ``strata`` (``district``, ``blocks`` or ``all``), ``outcomes``: by
        name, what `measure_coverage` gives and, of a study that is evaluated, ``reweighted``: what
        `streetgauge.analysis.coverage.reweighted` gives; with weights in training ``weighting``:
        ``columns``, ``effective`` and ``largest`` weight, and what
        `streetgauge.analysis.coverage_weights.compare_weighting` gives.

    Raises
    ------
    InputError
        If features are simulated, since these have no images.
    """
    settings = study.settings
    areas = read_areas(settings.areas, settings.locations)
    locations = read_table(study.locations)
    views = _count_views(study, locations)
    images = views.groupby(locations["area"].to_numpy()).sum().reindex(areas.index, fill_value=0)
    strata = choose_strata(areas["district"], positions_of_areas(areas, locations))
    table = deciles(settings, read_table(study.outcomes))
    result = _measured(
        {str(name): table[name] for name in table.columns},
        images,
        strata,
        classes=settings.deciles.classes,
        people=_people(study, locations),
        draws=draws,
        seed=settings.seed,
    )
    stage = stage_named("areas")
    if study.metrics.is_file() and study.is_up_to_date(stage, study.key(stage), as_it_is=True):
        step = f"make it again with `streetgauge areas {study.directory} --force`"
        metrics = read_object(study.metrics, METRICS_VERSION, step)
        evaluations, weights = metrics["outcomes"], metrics.get("coverage_weights")
        for name, about in result["outcomes"].items():
            if name in evaluations:
                about["reweighted"] = reweighted(evaluations[name]["confusion"], about)
            if weights is not None and name in weights["outcomes"]:
                about["weighting"] = {**weights, **weights["outcomes"][name]}
                del about["weighting"]["outcomes"]
    return {**result, "name": settings.name}


@undivided_products()
def table_coverage(
    file: Path, columns: TableColumns, *, classes: int = 10, draws: int = 999, seed: int = 2019
) -> dict[str, Any]:
    """Relate numbers of images in a table of areas to a column of classes.

    Parameters
    ----------
    file : Path
        CSV, Parquet, Excel or GeoPackage; a row an area.
    columns : TableColumns
        What its columns are called.
    classes, draws, seed
        As for `streetgauge.analysis.coverage.measure_coverage`.

    Returns
    -------
    dict
        As `study_coverage` gives it, of one outcome with the name of its column.

    Raises
    ------
    InputError
        If a column is absent, an area is repeated, or a cell holds no number.
    """
    named = {f"--{name}": column for name, column in vars(columns).items()}
    table, title = read_columns(file, named)
    codes = pd.Index(table[columns.area])
    refuse_repeated(codes, title, "area")

    def numbers(column: str) -> pd.Series:
        return pd.Series(to_numbers(table[column], title).to_numpy(float), codes)

    coordinates = None
    if columns.x is not None and columns.y is not None:
        coordinates = pd.DataFrame({"x": numbers(columns.x), "y": numbers(columns.y)})
    districts = None
    if columns.district is not None:
        districts = pd.Series(table[columns.district].to_numpy(), codes).replace("", pd.NA)
    result = _measured(
        {columns.decile: numbers(columns.decile)},
        numbers(columns.images),
        choose_strata(districts, coordinates),
        classes=classes,
        people=None if columns.people is None else numbers(columns.people),
        draws=draws,
        seed=seed,
    )
    return {**result, "name": file.name}


def _measured(
    outcomes: Mapping[str, pd.Series],
    images: pd.Series,
    strata: Strata,
    *,
    classes: int,
    people: pd.Series | None,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    return {
        "format_version": ANALYSIS_VERSION,
        "classes": classes,
        "strata": strata.kind,
        "outcomes": {
            name: measure_coverage(
                images, each, strata.of, classes=classes, people=people, draws=draws, seed=seed
            )
            for name, each in outcomes.items()
        },
    }


def has_no_images(study: Study) -> bool:
    """Whether the features of a study come from no images, so that no area can lack them."""
    none = SimulatedFeatures | RasterFeatures
    return all(isinstance(each, none) for each in study.settings.sources.values())


def _with_images(study: Study) -> list[Study]:
    """Give the sources of images, or, of a study without any, the tables."""
    real = [each for each in study.sources.values() if not has_no_images(each)]
    images = [each for each in real if isinstance(each.settings.features, ImageFeatures)]
    return images or real


def _count_views(study: Study, locations: pd.DataFrame) -> pd.Series:
    """Count the images of each location, in the order of the locations."""
    settings = study.settings
    ids = locations["location_id"].astype("str")
    if has_no_images(study):
        kinds = {each.source for each in settings.sources.values()}
        raise InputError(
            f"{study.file}: [features]",
            "a raster has no images" if "raster" in kinds else "simulated features have no images",
            "name a table of areas instead of the study",
        )
    if settings.several:
        counts = [_count_views(each, locations) for each in _with_images(study)]
        return pd.concat(counts, axis=1).sum(axis=1)
    stage = stage_named("features")
    if study.is_up_to_date(stage, study.key(stage), as_it_is=True):
        store = FeatureStore.open(study.features)
        views = pd.Series(store.present.sum(axis=1), store.location_ids)
    elif isinstance(settings.features, TableFeatures):
        matched = match_rows(settings.features, locations)
        views = pd.Series(matched.present.sum(axis=1), matched.ids)
    elif isinstance(settings.imagery, OpenImagery):
        views = read_table(study.images, columns=["location_id"])["location_id"].value_counts()
    else:
        assert isinstance(settings.features, ImageFeatures)
        assert settings.imagery is not None
        views = find_views(settings.imagery, locations)[0]["location_id"].value_counts()
    return views.reindex(ids, fill_value=0)


def _people(study: Study, locations: pd.DataFrame) -> pd.Series | None:
    """Give the residents of each area, if the study knows them."""
    population = study.settings.evaluation.population
    if population is None:
        return None
    people = read_population(population)
    if population.location is None:
        return people
    return area_people(location_people(people, locations), locations)
