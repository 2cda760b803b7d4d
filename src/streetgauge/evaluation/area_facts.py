"""What is known of areas besides their predictions: images, values, people, units above."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from streetgauge.errors import InputError, closest
from streetgauge.io.files import read_table
from streetgauge.io.tables import as_table, choose_sheet, read_sheets, require_columns, to_numbers
from streetgauge.settings import FoldSettings, PopulationSettings
from streetgauge.study import Study


@dataclass(frozen=True, eq=False)
class Weights:
    """How much locations count in their area, and areas in the figures; None: all the same."""

    locations: pd.Series | None = None
    areas: pd.Series | None = None

    @property
    def empty_areas(self) -> list[str]:
        """Name the areas that count nothing."""
        if self.areas is None:
            return []
        return sorted(self.areas.index[~(self.areas > 0)])


def read_weights(study: Study, areas: pd.DataFrame, locations: pd.DataFrame) -> Weights:
    """Read the weights that ``[evaluation] weight`` asks for, of the study's areas.

    Raises
    ------
    InputError
        If no file gives how many people there are, or a column is absent or holds no numbers.
    """
    from streetgauge.outcomes.deciles import read_weights as read_people

    settings = study.settings.evaluation
    of_locations = None
    if settings.weight == "location":
        return Weights()
    if settings.weight != "population":
        people = _column(areas, settings.weight)
    elif settings.population is not None and settings.population.location is not None:
        of_locations = location_people(read_population(settings.population), locations)
        people = area_people(of_locations, locations)
    elif settings.population is not None:
        people = read_population(settings.population)
    elif study.settings.deciles.weights is not None:
        people = read_people(study.settings.deciles.weights)
    else:
        raise InputError(
            f"{study.file}: evaluation.weight",
            "no file gives how many people there are",
            "add [evaluation.population] with 'file', 'people' and 'location' or 'area'",
        )
    of_areas = people.reindex(areas.index).astype("float64").fillna(0.0)
    if not (of_areas > 0).any():
        raise InputError(
            f"{study.file}: evaluation.weight",
            "it has people for no area of the study",
            f"its areas read like {people.index[0]!r}" if len(people) else "it is empty",
        )
    return Weights(of_locations, of_areas)


def views_of(folds: Path) -> pd.Series | None:
    """Read how many images each location has; None where the file does not state it."""
    if not folds.is_file() or "n_views" not in pq.read_schema(folds).names:
        return None
    return read_table(folds, columns=["location_id", "n_views"]).set_index("location_id")["n_views"]


def with_facts(
    areas: pd.DataFrame,
    predictions: pd.DataFrame,
    locations: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    views: pd.Series | None = None,
    weights: pd.Series | None = None,
    min_locations: int = 1,
) -> pd.DataFrame:
    """Add ``n_views``, ``share_with_images``, ``actual_value``, ``weight`` and ``status``.

    Parameters
    ----------
    areas : DataFrame
        From `streetgauge.evaluation.aggregate`.
    predictions, locations : DataFrame
        As for `streetgauge.evaluation.add_coverage`.
    outcomes : DataFrame by area
        ``<outcome>_value``.
    views : Series by location, optional
        From `views_of`.
    weights : Series by area, optional
        Without it there is no column ``weight``.
    min_locations : int, default 1
        As for `streetgauge.evaluation.mark`.
    """
    frame = add_coverage(areas, locations, predictions, views)
    values = [
        rows["area"].map(outcomes[f"{name}_value"])
        for name, rows in frame.groupby("outcome", sort=False)
    ]
    frame["actual_value"] = pd.concat(values).astype("float64") if values else float("nan")
    if weights is not None:
        frame["weight"] = frame["area"].map(weights)
    return mark(frame, min_locations)


def columns_of_areas(
    study: Study, folds: FoldSettings, areas: pd.DataFrame, locations: pd.DataFrame
) -> pd.DataFrame:
    """Give the columns that areas may be grouped or drawn by: the file's own, and units above."""
    from streetgauge.evaluation.levels import units_of_areas

    about = pd.DataFrame(areas.drop(columns=["geometry", "name"], errors="ignore"))
    for column in {folds.unit, folds.group, study.settings.evaluation.bootstrap}:
        if column in ("oa", "lsoa", "msoa") and locations[column].notna().any():
            about[column] = units_of_areas(column, areas, locations)
    return about


def check_evaluation(study: Study, areas: pd.DataFrame, locations: pd.DataFrame) -> str:
    """Refuse settings of ``[evaluation]`` that areas and locations do not fit; sum them up.

    Raises
    ------
    InputError
        If there is no such column, level or weight.
    """
    from streetgauge.evaluation.levels import units_of_areas
    from streetgauge.evaluation.resample import draw_units

    settings, folds = study.settings.evaluation, study.settings.folds
    weights = read_weights(study, areas, locations)
    about = columns_of_areas(study, folds, areas, locations)
    for column in settings.groups:
        if column not in about.columns:
            raise InputError(
                "evaluation.groups",
                f"the areas have no column {column!r}",
                f"name it in areas.columns, too; {closest(column, list(about.columns))}",
            )
    draw_units(
        areas.index, settings, {"block": folds.block}, pd.DataFrame({"x": [], "y": []}), about
    )
    levels = [
        f"{units_of_areas(name, areas, locations).nunique():,} of {name}"
        for name in settings.levels
    ]
    words = [f"{settings.rule} of locations", *levels]
    if weights.areas is not None:
        words.append(f"{weights.areas.sum():,.0f} people or households")
    return ", ".join(words)


def _column(areas: pd.DataFrame, name: str) -> pd.Series:
    if name not in areas.columns:
        known = ["location", "population", *(c for c in areas.columns if c != "geometry")]
        raise InputError(
            "evaluation.weight",
            f"the areas have no column {name!r}",
            f"name it in areas.columns, too; {closest(name, known)}",
        )
    numbers = pd.to_numeric(areas[name], errors="coerce").astype("float64")
    if numbers.isna().all() or (numbers < 0).any():
        raise InputError(
            "evaluation.weight", f"column {name!r} holds no numbers of people", "choose another"
        )
    return numbers


MEASURED, WITHOUT_ACTUAL, FEW_LOCATIONS = "measured", "no actual decile", "too few locations"
WITHOUT_IMAGES = "no images"  # has but a best estimate


def add_coverage(
    areas: pd.DataFrame,
    locations: pd.DataFrame,
    predictions: pd.DataFrame,
    views: pd.Series | None = None,
) -> pd.DataFrame:
    """Add how many images an area's decile comes from, and what share of it they show.

    Parameters
    ----------
    areas : DataFrame
        ``area``, ``outcome``.
    locations : DataFrame
        All locations of the study: ``location_id``, ``area`` and, where known, ``postcode``.
    predictions : DataFrame
        ``location_id``, ``area``, ``outcome`` of those that were seen.
    views : Series of int by location, optional
        How many images of each location there are.

    Returns
    -------
    DataFrame
        ``areas`` with ``n_views`` (Int64, missing if that is not known) and ``share_with_images``
        (of the area's postcodes, that with a predicted location; of its locations where it has no
        postcodes) at the end.
    """
    location, ids = pd.factorize(predictions["location_id"])
    outcome, outcomes = pd.factorize(predictions["outcome"])
    area, codes = pd.factorize(predictions["area"])
    cell = outcome * len(codes) + area
    size = len(outcomes) * len(codes)
    postcode, postcodes = pd.factorize(
        _postcodes(locations).reindex(ids).fillna(pd.Series(ids, ids))
    )
    pairs = np.unique(cell * len(postcodes) + postcode[location])
    seen = np.bincount(pairs // max(len(postcodes), 1), minlength=size)
    row = outcomes.get_indexer(pd.Index(areas["outcome"])).astype(np.int64)
    own = row * len(codes) + codes.get_indexer(pd.Index(areas["area"]))
    result = areas.copy()
    result["n_views"] = pd.Series(pd.NA, areas.index, dtype="Int64")
    if views is not None:
        each = views.reindex(ids).astype("float64").to_numpy()[location]
        known = np.bincount(cell, np.isfinite(each), size) > 0
        total = np.where(known, np.bincount(cell, np.nan_to_num(each), size), np.nan)
        result["n_views"] = pd.array(total[own], dtype="Float64").astype("Int64")
    result["share_with_images"] = seen[own] / areas["area"].map(_n_postcodes(locations)).to_numpy(
        float
    )
    return result


def tested_areas(areas: pd.DataFrame) -> pd.DataFrame:
    """Give the rows of areas.parquet that images were seen of: all but those of no images.

    Examples
    --------
    >>> areas = pd.DataFrame({"area": ["a", "b"], "n_locations": [3, 0]})
    >>> tested_areas(areas)["area"].tolist()
    ['a']
    """
    return areas[areas["n_locations"] > 0].reset_index(drop=True)


def mark(areas: pd.DataFrame, min_locations: int = 1) -> pd.DataFrame:
    """Add ``status``: ``measured``, ``no actual decile`` or ``too few locations``.

    Parameters
    ----------
    areas : DataFrame
        ``n_locations``, ``actual_decile``.
    min_locations : int, default 1
        Areas with fewer are not measured.
    """
    status = pd.Series(MEASURED, areas.index, dtype="str")
    status[areas["n_locations"] < min_locations] = FEW_LOCATIONS
    status[areas["actual_decile"].isna()] = WITHOUT_ACTUAL
    return areas.assign(status=status)


def _postcodes(locations: pd.DataFrame) -> pd.Series:
    """Give the postcode of each location, or where it has none the location itself."""
    own = pd.Series(locations["location_id"].to_numpy(), locations["location_id"])
    if "postcode" not in locations:
        return own
    postcode = pd.Series(locations["postcode"].to_numpy(), own.index)
    return postcode.where(postcode.notna(), own)


def _n_postcodes(locations: pd.DataFrame) -> dict[str, int]:
    """Count the postcodes of every area."""
    postcodes = _postcodes(locations).to_numpy()
    once = pd.DataFrame(
        {"area": locations["area"].to_numpy(), "postcode": postcodes}
    ).drop_duplicates()
    return {str(area): count for area, count in once["area"].value_counts().items()}


def read_population(settings: PopulationSettings) -> pd.Series:
    """Read numbers of people by postcode, location or area.

    Returns
    -------
    Series of float by key (str)
        Rows without a number are excluded. Several rows of one key are added up: numbers by sex or
        age, say.

    Raises
    ------
    InputError
        If a column is absent, a cell is not a number, or a number is negative.
    """
    sheet = choose_sheet(read_sheets(settings.file), settings.sheet, settings.file, "sheet")
    table = as_table(sheet)
    column = settings.location or settings.area
    kind = "location" if settings.location is not None else "area"
    named = {
        f"evaluation.population.{kind}": column,
        "evaluation.population.people": settings.people,
    }
    require_columns(table, named, sheet.title)
    people = to_numbers(table[settings.people], sheet.title)
    if (people < 0).any():
        row = people.index[people < 0][0]
        raise InputError(
            f"{sheet.title}, row {row}", "a negative number of people", "correct the cell"
        )
    keyed = pd.Series(people.to_numpy(), table[column].astype("str")).dropna()
    return keyed.groupby(level=0).sum()


def location_people(people: pd.Series, locations: pd.DataFrame) -> pd.Series:
    """Give the people of each location by its id, or by its postcode whatever the spaces in it.

    Of a postcode with several locations each has an equal part.

    Parameters
    ----------
    people : Series by location or postcode
        From `read_population`.
    locations : DataFrame
        ``location_id`` and ``postcode``.

    Returns
    -------
    Series of float by location
        Of the locations that it has a number for.

    Raises
    ------
    InputError
        If it has one for none.
    """
    ids = pd.Index(locations["location_id"])
    if ids.isin(people.index).any():
        return people.reindex(ids).dropna()
    key = locations["postcode"].str.replace(" ", "").str.upper().to_numpy()
    by_postcode = people.groupby(people.index.str.replace(" ", "").str.upper()).sum()
    found = by_postcode.reindex(key)
    several = pd.Series(key).map(pd.Series(key).value_counts()).to_numpy()
    result = pd.Series(found.to_numpy() / several, ids).dropna()
    if result.empty:
        raise InputError(
            "evaluation.population",
            "it has a number for no location or postcode of the study",
            f"its keys read like {people.index[0]!r}" if len(people) else "it is empty",
        )
    return result


def area_people(people: pd.Series, locations: pd.DataFrame) -> pd.Series:
    """Add the people of locations up: Series of float by area."""
    area = pd.Series(locations["area"].to_numpy(), locations["location_id"])
    return people.groupby(area.reindex(people.index)).sum()
