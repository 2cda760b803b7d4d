"""Levels above the areas: what holds for neighbourhoods, wards or districts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from streetgauge.classes import equal_count
from streetgauge.errors import InputError, closest
from streetgauge.evaluation.aggregate import aggregate, cut
from streetgauge.evaluation.baselines import CONSTANT, BaselinePrediction


@dataclass(frozen=True, eq=False)
class Level:
    """A level above the areas.

    Parameters
    ----------
    frame : DataFrame
        Like the areas', but one row a unit and outcome, with ``n_areas``.
    unit : Series of str by area
        The unit that each area lies in; missing if in none.
    """

    frame: pd.DataFrame
    unit: pd.Series


def units_of_areas(level: str, areas: pd.DataFrame, locations: pd.DataFrame) -> pd.Series:
    """Report which unit of a level each area lies in.

    Parameters
    ----------
    level : str
        A column of the areas, or of the locations (``msoa``).
    areas : DataFrame by area
        The study's.
    locations : DataFrame
        ``area`` and further columns.

    Returns
    -------
    Series of str by area
        By the areas' own column; else the unit in which most of the area's locations lie, of
        equals the first by code. Missing where neither has it.

    Raises
    ------
    InputError
        If there is no such column, or it is empty.
    """
    if level in areas.columns and level != "geometry":
        unit = areas[level]
    elif level in locations.columns and level not in ("location_id", "area", "lat", "lon"):
        pairs = locations.dropna(subset=["area", level])
        counts = pairs.groupby(["area", level], observed=True).size().rename("n").reset_index()
        counts = counts.sort_values(["area", "n", level], ascending=[True, False, True])
        unit = counts.drop_duplicates("area").set_index("area")[level].reindex(areas.index)
    else:
        known = [name for name in areas.columns if name != "geometry"] + ["msoa"]
        raise InputError(
            "evaluation.levels", f"the areas have no column {level!r}", closest(level, known)
        )
    if unit.isna().all():
        raise InputError(
            "evaluation.levels",
            f"{level!r} is empty for every area",
            "name the column in 'areas.columns', or choose another level",
        )
    return unit.where(unit.isna(), unit.astype(str)).rename(level)


def raise_level(
    predictions: pd.DataFrame,
    areas: pd.DataFrame,
    unit: pd.Series,
    rule: str = "mean-score",
    classes: int = 10,
    weights: pd.Series | None = None,
) -> Level:
    """Put areas together to the units of a level above.

    The predicted decile of a unit comes from the locations of all its areas by the same rule. Every
    area counts by its ``weight`` (the same if there is none), however many locations it has. The
    actual value of a unit is the mean of its areas' actual values with the same weights (of their
    deciles, if there are no values). It is over the areas that have a prediction, so that both are
    of the same positions. A unit has no value if less than half of it, by weight, has one. Actual
    deciles are those values' parts of equal count over the units.

    Parameters
    ----------
    predictions : DataFrame
        As for `aggregate`, of whole areas.
    areas : DataFrame
        From `aggregate`: ``area``, ``outcome``, ``fold``, ``actual_decile`` and, where known,
        ``actual_value``, ``weight``, ``n_views``.
    unit : Series by area
        From `units_of_areas`.
    rule, classes, weights
        As for `aggregate`.

    Returns
    -------
    Level
        Its frame has a row for every unit with a prediction: ``area`` (the unit's code),
        ``outcome``, ``fold`` (in which most of its areas were held out, of equals the first; all
        its predictions come from networks that did not know the area that they are for),
        ``n_locations``, ``score``, ``decile``, ``actual_decile``, ``n_areas`` and, as far as the
        areas have them, ``n_views``, ``actual_value``, ``weight``.
    """
    used = ["location_id", "area", "outcome", "score", "decile"]
    rows = predictions[[column for column in used if column in predictions.columns]]
    rows = rows.assign(unit=_map_once(rows["area"], unit)).dropna(subset="unit")
    below = areas.assign(unit=areas["area"].map(unit)).dropna(subset="unit")
    importance = _importance(rows, below, weights)
    totals = _totals(below, classes)
    keys = ["outcome", "unit"]
    rows = rows.merge(totals["actual_decile"], how="left", left_on=keys, right_index=True)
    rows = rows.assign(area=rows["unit"], fold=1)
    frame = aggregate(rows, rule, classes, weights=importance)
    frame = frame.drop(columns=["fold", "actual_decile"]).merge(
        totals, left_on=["outcome", "area"], right_index=True, validate="1:1"
    )
    first = ["area", "outcome", "fold", "n_locations", "score", "decile", "actual_decile"]
    rest = [column for column in frame.columns if column not in first]
    return Level(frame[[*first, *rest]].reset_index(drop=True), unit)


def predictions_of_units(
    baselines: Mapping[str, BaselinePrediction],
    frame: pd.DataFrame,
    unit: pd.Series,
    classes: int,
    known: pd.Series | None = None,
) -> dict[str, BaselinePrediction]:
    """Aggregate baseline predictions to units: the mean score of a unit's areas, cut again.

    The constant's is rounded and not cut: it differs between units by the folds' medians alone.

    Parameters
    ----------
    baselines : mapping of name to BaselinePrediction
        Of areas; one that lacks some area has none for units.
    frame : DataFrame by area
        Of one outcome, perhaps with ``weight``.
    unit : Series by area
        The unit of each.
    classes : int
        K.
    known : Series of bool by unit, optional
        Which units have an actual decile: see `streetgauge.evaluation.aggregate.cut`.

    Returns
    -------
    dict of name to BaselinePrediction
        By unit.
    """
    own = unit.reindex(frame.index).dropna()
    result = {}
    for name, each in baselines.items():
        scores = each.scores.reindex(own.index).astype("float64")
        if scores.isna().any() or scores.empty:
            continue
        mean = _weighted_means(scores, _weight(frame).loc[own.index], [own.to_numpy()])
        if name == CONSTANT:
            part = np.rint(mean.to_numpy()).astype(np.int64)
        else:
            here = None if known is None else known.reindex(mean.index, fill_value=False)
            part = cut(mean.to_numpy(), classes, None, None if here is None else here.to_numpy())
        deciles = pd.Series(part, index=mean.index, dtype="Int64")
        result[name] = BaselinePrediction(deciles, mean, each.uses_images)
    return result


def _importance(rows: pd.DataFrame, below: pd.DataFrame, weights: pd.Series | None) -> pd.Series:
    """How much each location counts in its unit: its share of its area, times the area's weight."""
    code, _ = pd.factorize(rows["location_id"])
    first = ~pd.Series(code).duplicated().to_numpy()
    once = rows[first].set_index("location_id")["area"].sort_index()
    each = pd.Series(1.0, once.index)
    if weights is not None:
        each = weights.reindex(once.index).fillna(0.0)
        empty = each.groupby(once).transform("sum") <= 0
        each = each.where(~empty, 1.0)
    share = each / each.groupby(once).transform("sum")
    return share * once.map(_weight(below.drop_duplicates("area").set_index("area")))


def _map_once(keys: pd.Series, values: pd.Series) -> pd.Series:
    """Do as ``map``, looking each distinct key up once."""
    code, distinct = pd.factorize(keys)
    return pd.Series(values.reindex(distinct).to_numpy()[code], keys.index)


def _weight(frame: pd.DataFrame) -> pd.Series:
    return frame["weight"] if "weight" in frame else pd.Series(1.0, frame.index)


def _totals(below: pd.DataFrame, classes: int) -> pd.DataFrame:
    """Sum up what is known of each unit, from its areas: index outcome, unit."""
    below = below.sort_values(["outcome", "area"])
    keys = ["outcome", "unit"]
    groups = below.groupby(keys, sort=True)
    totals = pd.DataFrame({"fold": groups["fold"].agg(_most_common), "n_areas": groups.size()})
    for column in ("n_views", "weight"):
        if column in below:
            totals[column] = groups[column].sum(min_count=1)  # none is known: none, and not 0
    column = "actual_value" if "actual_value" in below else "actual_decile"
    known = below.dropna(subset=[column, "actual_decile"])
    means = _weighted_means(known[column], _weight(known), [known[key].to_numpy() for key in keys])
    value = means.rename_axis(keys).reindex(totals.index)
    weight_known = _weight(known).groupby([known[key] for key in keys]).sum().reindex(totals.index)
    whole = _weight(below).groupby([below[key] for key in keys]).sum()
    value = value.where(~(weight_known.fillna(0.0) < 0.5 * whole))
    if column == "actual_value":
        totals["actual_value"] = value
    totals["actual_decile"] = pd.Series(pd.NA, totals.index, dtype="Int64")
    for outcome, areas in known.groupby("outcome"):
        numbers = areas[[column, "actual_decile"]].to_numpy(float)
        rises = len(numbers) < 2 or np.cov(numbers.T)[0, 1] >= 0
        here = value[value.index.get_level_values("outcome") == outcome].dropna()
        part = equal_count(here.to_numpy(), classes, ties="lowest")
        part = part if rises else classes + 1 - part
        totals["actual_decile"] = totals["actual_decile"].fillna(
            pd.Series(part, here.index, dtype="Int64")
        )
    return totals


def _weighted_means(values: pd.Series, weights: pd.Series, by: list[Any]) -> pd.Series:
    """Weighted mean of each group; plain where a group has no weight. All in the same order."""
    frame = pd.DataFrame({"x": values.to_numpy(float), "w": weights.to_numpy(float)})
    groups = frame.assign(xw=frame["x"] * frame["w"]).groupby(by, sort=True)
    sums, plain = groups[["w", "xw"]].sum(), groups["x"].mean()
    return (sums["xw"] / sums["w"].where(sums["w"] > 0)).fillna(plain)


def _most_common(folds: pd.Series) -> int:
    values, counts = np.unique(folds.to_numpy(), return_counts=True)
    return int(values[np.argmax(counts)])
