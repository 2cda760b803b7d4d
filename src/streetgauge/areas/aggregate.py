"""Predictions of locations become one decile an area, with an interval."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.classes import equal_count, like_counts
from streetgauge.errors import InputError

__all__ = ["aggregate", "cut", "intervals"]

RULES = ("mean-score",)


def aggregate(
    predictions: pd.DataFrame,
    rule: str = "mean-score",
    classes: int = 10,
    counts: Mapping[str, Sequence[int]] | None = None,
    torn: Collection[str] = (),
) -> pd.DataFrame:
    """Give every area the decile of the mean score of its locations.

    The mean scores of an outcome are cut into ``classes`` parts of equal count over all the areas
    that have a prediction (`streetgauge.classes.equal_count`): the rule "mean score" of the
    reference's README. Where the actual classes are not of equal count within the study (they were
    cut within a nation, say) ``counts`` says so, and the parts' sizes are to each other as the
    actual classes' (`streetgauge.classes.like_counts`). The order of the rows does not matter.

    Parameters
    ----------
    predictions : DataFrame
        One row a location and outcome: ``location_id``, ``area``, ``fold``, ``outcome``, ``score``,
        ``actual_decile`` (missing where the area has none); further columns are not used.
    rule : str, default "mean-score"
        How locations become an area; there is one rule.
    classes : int, default 10
        How many parts; 1 is worst off.
    counts : mapping of outcome to sequence of int, optional
        How many of the study's areas are in each actual class, 1 to ``classes``; outcomes that are
        not in it are cut into equal counts.
    torn : collection of str, optional
        Areas that were not held out as a whole, in splits that are made to leak: their fold is 0.

    Returns
    -------
    DataFrame
        One row an area and outcome, sorted by both: ``area``, ``outcome``, ``fold`` (the fold that
        the area was held out in, 0 if it is torn), ``n_locations``, ``score`` (float), ``decile``
        (Int64, 1 to ``classes``), ``actual_decile`` (Int64, missing where the area has none).

    Raises
    ------
    InputError
        If the rule is not known, a key or a score is missing, a location is twice under one
        outcome, or an area has locations in two folds without being torn, or with two actual
        deciles.
    """
    if rule not in RULES:
        raise InputError("evaluation.rule", f"{rule!r} is not known", f"use one of {RULES}")
    if torn:
        whole = ~predictions["area"].isin(list(torn))
        predictions = predictions.assign(fold=predictions["fold"].where(whole, 0))
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
    sizes = counts or {}
    frame["decile"] = frame.groupby("outcome")["score"].transform(
        lambda score: cut(score.to_numpy(float), classes, sizes.get(str(score.name)))
    )
    integers = ["fold", "n_locations"]
    frame[integers] = frame[integers].astype("int64")
    deciles = ["decile", "actual_decile"]
    frame[deciles] = frame[deciles].astype("Int64")
    columns = ["area", "outcome", "fold", "n_locations", "score", "decile", "actual_decile"]
    return frame[columns]


def cut(
    values: npt.ArrayLike, classes: int = 10, counts: Sequence[int] | None = None
) -> npt.NDArray[np.int64]:
    """Cut values into classes of equal count, or of sizes like ``counts`` where they are given."""
    return equal_count(values, classes) if counts is None else like_counts(values, counts)


def intervals(areas: pd.DataFrame, coverage: float = 0.9, classes: int = 10) -> pd.DataFrame:
    """Add ``low`` and ``high``: between them the actual decile lies in about ``coverage`` of areas.

    Cross-conformal (Vovk 2015, Ann. Math. Artif. Intell. 74, 9-28, with the absolute error in
    deciles as the score): an area held out in fold f takes the error that at most 1 - ``coverage``
    of the *other* folds' areas exceed, so its own fold's errors play no part (its actual
    deciles helped to train the networks behind the others, as always in cross-conformal
    prediction). With n such areas that is the ceil((n + 1) coverage)-th smallest error; where
    this is more than n (too few areas with an actual decile, or one fold only) the interval is
    everything, 1 to ``classes``. Areas that were not held out as a whole (fold 0) say nothing of
    how large errors are: they lend none to others, and their own interval is everything.

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
        for fold, held_out in rows[rows["fold"] != 0].groupby("fold"):
            others = error.loc[rows.index[~rows["fold"].isin([0, fold])]].dropna()
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
