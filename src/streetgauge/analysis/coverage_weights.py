"""Let the areas that have images stand for those that have none: inverse-probability weights.

The probability that an area has images is estimated from columns of the areas by logistic
regression over all areas that have an outcome, with images or without. No outcome's value is used,
so that nothing is known of the areas that a fold tests. What areas without images have in common
besides these columns is not corrected for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.evaluation.metrics import cells, measure, to_json
from streetgauge.io.files import read_table
from streetgauge.locations import read_areas
from streetgauge.model.training_data import deciles
from streetgauge.study import Study

__all__ = ["effective_number", "inverse_probability"]

TRIMMED = 0.01  # of the areas at either end have the weight of the one next to them
FEWEST = 10  # areas with images, and without, that a probability is estimated from

Floats = npt.NDArray[np.float64]


def training_weights(study: Study, areas: Iterable[str]) -> pd.Series | None:
    """Give the weight of each area that can be trained on, where ``[coverage]`` asks for weights.

    Parameters
    ----------
    study : Study
        With outcomes and locations.
    areas : iterable of str
        The areas that have features and a label; any may come several times.

    Returns
    -------
    Series of float by area, or None
        With a mean of 1.

    Raises
    ------
    InputError
        If there are too few areas with images, or without, to estimate a probability.
    """
    settings = study.settings
    if settings.coverage is None:
        return None
    columns = read_areas(settings.areas, settings.locations)[list(settings.coverage.weights)]
    labelled = deciles(settings, read_table(study.outcomes)).dropna(how="all").index
    known = columns.index[columns.index.isin(labelled)]
    has = pd.Series(known.isin(pd.unique(np.asarray(list(areas), object))), known)
    if 0 < int((~has).sum()) < FEWEST or int(has.sum()) < FEWEST:
        raise InputError(
            f"{study.file}: coverage.weights",
            f"{int(has.sum()):,} areas have images and {int((~has).sum()):,} have none, and each "
            f"must be at least {FEWEST} to estimate who has any",
            "remove [coverage]",
        )
    return inverse_probability(has, pd.DataFrame(columns.loc[known]))


def inverse_probability(has: pd.Series, columns: pd.DataFrame) -> pd.Series:
    """Weigh the areas that have images by the inverse of their probability of having any.

    Weights are stabilised and trimmed at their first and last percentile (Robins, Hernan and
    Brumback 2000, Epidemiology 11, 550-560; Cole and Hernan 2008, American Journal of Epidemiology
    168, 656-664).

    Parameters
    ----------
    has : Series of bool by area
        Whether it has images.
    columns : DataFrame by area
        Numbers, or texts that are groups. A number that is missing counts as the mean, and that it
        is missing as a column of its own; areas without a text are a group.

    Returns
    -------
    Series of float by area
        Of those that have images, with a mean of 1; exactly 1 where the columns do not distinguish
        them, or all have images.

    Examples
    --------
    >>> areas = [f"a{i}" for i in range(400)]
    >>> rural = pd.DataFrame({"kind": ["rural"] * 200 + ["urban"] * 200}, areas)
    >>> has = pd.Series([i % 4 == 0 for i in range(200)] + [True] * 200, areas)
    >>> found = inverse_probability(has, rural)
    >>> float(round(found["a0"] / found["a399"], 1))
    3.9
    """
    covered = has.to_numpy(bool)
    ones = pd.Series(1.0, has.index[covered])
    inputs = _inputs(columns.reindex(has.index))
    if covered.all() or not inputs.shape[1]:
        return ones
    from sklearn.linear_model import LogisticRegression  # here, so that importing it stays cheap

    model = LogisticRegression(max_iter=1000).fit(inputs, covered)
    weight = covered.mean() / model.predict_proba(inputs[covered])[:, 1]
    low, high = np.quantile(weight, [TRIMMED, 1 - TRIMMED], method="nearest")
    weight = weight.clip(low, high)
    return ones if low == high else pd.Series(weight / weight.mean(), ones.index)


def _inputs(columns: pd.DataFrame) -> Floats:
    """Give columns as numbers with a mean of 0 and a variance of 1; what does not vary is left."""
    parts: list[pd.Series] = []
    for _, column in columns.items():
        known = column.dropna()
        numbers = pd.to_numeric(known, errors="coerce")
        if len(known) and numbers.notna().all():
            filled = numbers.astype("float64").reindex(column.index)
            parts += [filled.fillna(filled.mean()), column.isna().astype("float64")]
        else:
            groups = column.astype("object").where(column.notna(), "").astype("str")
            parts += [groups.eq(each).astype("float64") for each in sorted(groups.unique())]
    table = np.stack([each.to_numpy(float) for each in parts], axis=1)
    spread = table.std(axis=0)
    varies = spread > 1e-12
    return np.asarray((table[:, varies] - table[:, varies].mean(axis=0)) / spread[varies])


def effective_number(weights: npt.ArrayLike) -> float:
    """Count how many areas of equal weight are worth as much (Kish 1965, Survey Sampling).

    Examples
    --------
    >>> effective_number([1, 1, 1, 1]), effective_number([3, 1])
    (4.0, 1.6)
    """
    weight = np.asarray(weights, dtype=float)
    return float(weight.sum() ** 2 / (weight @ weight))


def compare_weighting(
    trained: Mapping[str, pd.DataFrame], weights: pd.Series, classes: int
) -> dict[str, Any]:
    """Measure what was trained with weights and without, on areas as they are and as weighted.

    Parameters
    ----------
    trained : mapping
        The measured areas ``with`` weights in training and ``without``: ``area``, ``outcome``,
        ``decile``, ``actual_decile``. Areas that either lacks are not compared.
    weights : Series by area
        From `training_weights`.
    classes : int
        K.

    Returns
    -------
    dict
        By outcome ``n_areas``, then for ``with`` and ``without`` each of ``mae`` and ``spearman``,
        and the same of weighted areas: ``mae_weighted``, ``spearman_weighted``.
    """
    keys = ["outcome", "area"]
    frames = {name: each.set_index(keys).sort_index() for name, each in trained.items()}
    both = frames["with"].index.intersection(frames["without"].index)
    both = both[both.get_level_values(1).isin(weights.index)]
    found: dict[str, Any] = {}
    for outcome in both.get_level_values(0).unique():
        own = both[both.get_level_values(0) == outcome]
        weight = weights.reindex(own.get_level_values(1)).to_numpy(float)
        found[str(outcome)] = {"n_areas": len(own)}
        for name, frame in frames.items():
            rows = frame.loc[own]
            cell = cells(rows["actual_decile"], rows["decile"], classes)
            shape = (classes, classes)
            tables = [np.bincount(cell, each, classes**2) for each in (np.ones(len(own)), weight)]
            metrics = measure(np.stack([t.reshape(shape) for t in tables]), ("mae", "spearman"))
            found[str(outcome)][name] = {
                **{metric: to_json(values[0]) for metric, values in metrics.items()},
                **{f"{metric}_weighted": to_json(values[1]) for metric, values in metrics.items()},
            }
    return found
