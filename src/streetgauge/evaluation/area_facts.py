"""What is known of areas beside their predictions: images, values, people, units above."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from streetgauge.errors import InputError, closest
from streetgauge.settings import FoldSettings
from streetgauge.study import Study

__all__ = [
    "Weights",
    "check_evaluation",
    "columns_of_areas",
    "read_weights",
    "views_of",
    "with_facts",
]


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
        If nothing says how many people there are, or a column is absent or holds no numbers.
    """
    from streetgauge.evaluation.population import area_people, location_people, read_population
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
            "nothing says how many people there are",
            "add [evaluation.population] with 'file', 'people' and 'location' or 'area'",
        )
    of_areas = people.reindex(areas.index).astype("float64").fillna(0.0)
    if not (of_areas > 0).any():
        raise InputError(
            f"{study.file}: evaluation.weight",
            "it has people for no area of the study",
            f"its areas look like {people.index[0]!r}" if len(people) else "it is empty",
        )
    return Weights(of_locations, of_areas)


def views_of(folds: Path) -> pd.Series | None:
    """Read how many images each location has; None where the file does not say."""
    if not folds.is_file() or "n_views" not in pq.read_schema(folds).names:
        return None
    return pd.read_parquet(folds, columns=["location_id", "n_views"]).set_index("location_id")[
        "n_views"
    ]


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
    from streetgauge.evaluation.coverage import add_coverage, mark

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
            "evaluation.weight", f"column {name!r} holds no numbers of people", "take another"
        )
    return numbers
