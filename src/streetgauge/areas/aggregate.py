"""Predictions of locations become one decile an area, with an interval."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.errors import InputError

__all__ = ["aggregate", "equal_count", "intervals"]

RULES = ("mean-score",)


def aggregate(
    predictions: pd.DataFrame, rule: str = "mean-score", classes: int = 10
) -> pd.DataFrame:
    """Give every area the decile of the mean score of its locations.

    The mean scores of an outcome are cut into ``classes`` parts of equal count over all the areas
    that have a prediction (`equal_count`): the rule "mean score" of the reference's README. The
    order of the rows does not matter.

    Parameters
    ----------
    predictions : DataFrame
        One row a location and outcome: ``location_id``, ``area``, ``fold``, ``outcome``, ``score``,
        ``actual_decile`` (missing where the area has none); further columns are not used.
    rule : str, default "mean-score"
        How locations become an area; there is one rule.
    classes : int, default 10
        How many parts; 1 is worst off.

    Returns
    -------
    DataFrame
        One row an area and outcome, sorted by both: ``area``, ``outcome``, ``fold`` (the fold that
        the area was held out in), ``n_locations``, ``score`` (float), ``decile`` (Int64, 1 to
        ``classes``), ``actual_decile`` (Int64, missing where the area has none).

    Raises
    ------
    InputError
        If the rule is not known, a key or a score is missing, a location is twice under one
        outcome, or an area has locations in two folds or with two actual deciles.
    """
    if rule not in RULES:
        raise InputError("evaluation.rule", f"{rule!r} is not known", f"use one of {RULES}")
    _refuse_unusable(predictions)
    # A fixed order of summation: float sums depend on it.
    ordered = predictions.sort_values(["outcome", "area", "location_id"], kind="stable")
    grouped = ordered.groupby(["outcome", "area"], sort=True, observed=True)
    frame = grouped.agg(
        fold=("fold", "first"),
        n_locations=("location_id", "size"),
        score=("score", "mean"),
        actual_decile=("actual_decile", "first"),
    ).reset_index()
    frame["decile"] = frame.groupby("outcome")["score"].transform(
        lambda score: equal_count(score.to_numpy(float), classes)
    )
    integers = ["fold", "n_locations"]
    frame[integers] = frame[integers].astype("int64")
    deciles = ["decile", "actual_decile"]
    frame[deciles] = frame[deciles].astype("Int64")
    columns = ["area", "outcome", "fold", "n_locations", "score", "decile", "actual_decile"]
    return frame[columns]


def equal_count(values: npt.ArrayLike, classes: int = 10) -> npt.NDArray[np.int64]:
    """Cut values into ``classes`` parts of equal count, the lowest values in part 1.

    Without ties this is ``pandas.qcut(values, classes)`` in exact integer arithmetic. Equal values
    always share a part: the one at the middle of the positions that they take up, so that ties are
    biased neither up nor down, and values that are all equal land in the middle part.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        Finite values.
    classes : int, default 10
        How many parts.

    Returns
    -------
    ndarray of int64, shape (n,)
        1 to ``classes``.
    """
    values = np.asarray(values, dtype=float)
    if not np.isfinite(values).all():
        raise ValueError("values to cut must be finite")
    ordered, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    twice_position = 2 * first + counts - 1  # twice the mean position, 0 .. 2(n - 1): an integer
    span = 2 * (values.size - 1)
    if span <= 0 or ordered.size == 1:
        return np.full(values.size, math.ceil(classes / 2), dtype=np.int64)
    part = -(-twice_position * classes // span)  # ceil
    return np.asarray(np.maximum(part, 1)[inverse], dtype=np.int64)


def intervals(areas: pd.DataFrame, coverage: float = 0.9, classes: int = 10) -> pd.DataFrame:
    """Add ``low`` and ``high``: between them the actual decile lies in about ``coverage`` of areas.

    Cross-conformal (Vovk 2015, Ann. Math. Artif. Intell. 74, 9-28, with the absolute error in
    deciles as the score): an area held out in fold f takes the error that at most 1 - ``coverage``
    of the *other* folds' areas exceed, so its own fold's errors play no part (its actual
    deciles helped to train the networks behind the others, as always in cross-conformal
    prediction). With n such areas that is the ceil((n + 1) coverage)-th smallest error; where
    this is more than n (too few areas with an actual decile, or one fold only) the interval is
    everything, 1 to ``classes``.

    Parameters
    ----------
    areas : DataFrame
        From `aggregate`.
    coverage : float, default 0.9
        Between 0 and 1.
    classes : int, default 10
        The highest decile.

    Returns
    -------
    DataFrame
        ``areas`` with ``low`` and ``high`` (Int64, 1 to ``classes``, low <= decile <= high) behind
        ``decile``; the rows and their order are as given.
    """
    radius = pd.Series(classes - 1, index=areas.index, dtype="int64")
    error = (areas["decile"] - areas["actual_decile"]).abs()
    for _, rows in areas.groupby("outcome"):
        for fold, held_out in rows.groupby("fold"):
            others = error.loc[rows.index[rows["fold"] != fold]].dropna()
            radius.loc[held_out.index] = _conformal(others.to_numpy(int), coverage, classes)
    low = (areas["decile"] - radius).clip(lower=1).astype("Int64")
    high = (areas["decile"] + radius).clip(upper=classes).astype("Int64")
    frame = areas.drop(columns=["low", "high"], errors="ignore")
    place = frame.columns.get_loc("decile")
    assert isinstance(place, int)
    frame.insert(place + 1, "low", low)
    frame.insert(place + 2, "high", high)
    return frame


def _conformal(errors: npt.NDArray[np.int64], coverage: float, classes: int) -> int:
    # 1e-9: (9 + 1) * 0.9 must be 9, whatever floats make of it.
    needed = max(math.ceil((errors.size + 1) * coverage - 1e-9), 1)
    if needed > errors.size:
        return classes - 1
    return int(np.partition(errors, needed - 1)[needed - 1])


def _refuse_unusable(predictions: pd.DataFrame) -> None:
    needed = ("location_id", "area", "fold", "outcome", "score", "actual_decile")
    for column in needed:
        if column not in predictions.columns:
            raise InputError("predictions", f"there is no column {column!r}")
    for column in needed[:-1]:
        if missing := int(predictions[column].isna().sum()):
            raise InputError("predictions", f"{missing} rows have no {column!r}")
    if not np.isfinite(predictions["score"].to_numpy(float)).all():
        raise InputError("predictions", "a score is infinite")
    twice = predictions.duplicated(["outcome", "location_id"])
    if twice.any():
        row = predictions[twice].iloc[0]
        raise InputError(
            f"predictions of {row['outcome']!r}", f"location {row['location_id']!r} is there twice"
        )
    grouped = predictions.groupby(["outcome", "area"], observed=True)
    for column, what in (("fold", "two folds"), ("actual_decile", "two actual deciles")):
        mixed = grouped[column].nunique(dropna=False).gt(1)
        if mixed.any():
            outcome, area = mixed.index[mixed.to_numpy()][0]
            raise InputError(f"predictions of {outcome!r}", f"area {area!r} has {what}")
