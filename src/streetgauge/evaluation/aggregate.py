"""Predictions of locations become one decile an area."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.classes import equal_count, like_counts
from streetgauge.errors import InputError
from streetgauge.evaluation.probabilities import probability_columns
from streetgauge.io.tables import refuse_repeated
from streetgauge.settings.evaluation import Rule

SLACK = 1e-9  # of sums of weights, which are exact in thought and not in floats
RULES: tuple[str, ...] = get_args(Rule)
OF_DECILES = RULES[2:]  # rules that start from the locations' own deciles
_AGAIN = "make the predictions again: streetgauge train --force"

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def aggregate(
    predictions: pd.DataFrame,
    rule: str = "mean-score",
    classes: int = 10,
    counts: Mapping[str, Sequence[int]] | None = None,
    split_areas: Collection[str] = (),
    weights: pd.Series | None = None,
    further: Sequence[str] = (),
) -> pd.DataFrame:
    """Give every area a decile from the predictions of its locations.

    ============== ======================================================================
    rule           decile of an area
    ============== ======================================================================
    mean-score     the mean score of its locations, cut into ``classes`` parts of equal count over
                   the areas that have a prediction and an actual decile (`cut`)
    mean-decile    the scores of all *locations* are cut into parts of equal count; the mean part of
                   the area's locations, rounded
    mean           the mean of its locations' predicted deciles, rounded
    median         the median of its locations' predicted deciles; between two, rounded
    majority       the most frequent of its locations' predicted deciles; of equally frequent ones
                   the nearest to their mean, of two equally near the lower
    ============== ======================================================================

    What lies half way between two deciles is rounded to the even one, as by `numpy.rint`: up as
    often as down. Actual deciles are of the areas that have a value, so what is cut is cut over
    those; other areas take the part of the one among them that is nearest in score. *mean-score* is
    the rule of the reference's README, *mean-decile* that of its code, which draws areas to the
    middle: means of many locations are seldom extreme. The order of the rows does not matter.

    Parameters
    ----------
    predictions : DataFrame
        One row a location and outcome: ``location_id``, ``area``, ``fold``, ``outcome``, ``score``,
        ``actual_decile`` (missing where the area has none); for the last three rules ``decile``;
        further columns are not used.
    rule : str, default "mean-score"
        One of the above.
    classes : int, default 10
        How many parts; 1 is worst off.
    counts : mapping of outcome to sequence of int, optional
        How many of the study's areas are in each actual class, 1 to ``classes``, where the actual
        classes are not of equal count within the study (they were cut within a nation, say): what
        is cut here is then cut into parts whose sizes are to each other as those
        (`streetgauge.classes.like_counts`).
    split_areas : collection of str, optional
        Areas that were not held out as a whole, in splits that are made to leak: their fold is 0.
    weights : Series by location, optional
        How much each location counts in its area, at least 0: the number of its people, say.
        Locations that are not in it count nothing, but in an area where no location counts all
        count the same. Where parts are cut, areas (and for *mean-decile* locations) count the same.
    further : sequence of str
        Further columns of scores, of which the areas get the mean as of ``score``.

    Returns
    -------
    DataFrame
        One row an area and outcome, sorted by outcome and area: ``area``, ``outcome``, ``fold``
        (the fold that the area was held out in, 0 if it is split), ``n_locations``, ``score``
        (the mean, whatever the rule), ``decile`` (Int64, 1 to ``classes``), ``actual_decile``
        (Int64, missing where the area has none), and those of ``further``.

    Raises
    ------
    InputError
        If the rule is not known, a key, a score or a decile that the rule needs is missing, a
        weight is negative, probabilities do not sum to 1, a location is twice under one outcome, or
        an area has locations in two folds without being split, or with two actual deciles.
    """
    if rule not in RULES:
        raise InputError("evaluation.rule", f"{rule!r} is not known", f"use one of {RULES}")
    _refuse_unusable(predictions, rule, classes)
    rows = _Rows.of(predictions, split_areas, weights)
    score = rows.mean(rows.score)
    sizes = counts or {}

    def parts(values: Floats, outcome: Integers, actual: Floats) -> Integers:
        result = np.zeros(len(values), dtype=np.int64)
        for code, name in enumerate(rows.outcomes):
            own = outcome == code
            known = np.isfinite(actual[own])
            result[own] = cut(values[own], classes, sizes.get(str(name)), known)
        return result

    if rule == "mean-score":
        decile = parts(score, rows.outcome[rows.start], rows.actual[rows.start])
    elif rule == "mean-decile":
        predicted = parts(rows.score, rows.outcome, rows.actual)
        decile = _rounded(rows.mean(predicted.astype(float)))
    else:
        predicted = predictions["decile"].to_numpy(np.int64)[rows.order]
        decile = {"mean": _mean_decile, "median": _median, "majority": _most_common_decile}[rule](
            rows.shares(predicted, classes)
        )
    return pd.DataFrame(
        {
            "area": rows.areas.take(rows.area[rows.start]),
            "outcome": rows.outcomes.take(rows.outcome[rows.start]),
            "fold": rows.fold[rows.start],
            "n_locations": np.diff(rows.start, append=len(rows.score)),
            "score": score,
            "decile": pd.array(decile, dtype="Int64"),
            "actual_decile": pd.array(rows.actual[rows.start], dtype="Float64").astype("Int64"),
            **{n: rows.mean(predictions[n].to_numpy(float)[rows.order]) for n in further},
        }
    )


def cut(
    values: npt.ArrayLike,
    classes: int = 10,
    counts: Sequence[int] | None = None,
    known: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int64]:
    """Cut values into classes of equal count, or of sizes like ``counts`` where they are given.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        Finite.
    classes, counts
        As for `aggregate`.
    known : array of bool, shape (n,), optional
        Which have an actual class. Borders are drawn among them, and what is not known takes the
        class of the known value next to it. Fewer than two a class draw none: all values do then.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    every = np.asarray(values, dtype=float)
    if known is None or known.all() or known.sum() < 2 * classes:
        return equal_count(every, classes) if counts is None else like_counts(every, counts)
    order = np.argsort(every[known], kind="stable")
    ladder, part = every[known][order], cut(every[known], classes, counts)
    above = np.searchsorted(ladder, every).clip(1, len(ladder) - 1)
    nearer = every - ladder[above - 1] <= ladder[above] - every
    result: npt.NDArray[np.int64] = part[order][np.where(nearer, above - 1, above)]
    result[known] = part
    return result


def cut_points(areas: pd.DataFrame, classes: int = 10) -> dict[str, list[float]]:
    """Give the scores that lie between the classes of areas that were held out.

    Parameters
    ----------
    areas : DataFrame
        From `aggregate` by the rule *mean-score*. Areas without an actual decile and areas that
        were not held out as a whole (fold 0) are not used.
    classes : int, default 10
        K.

    Returns
    -------
    dict of outcome to list of float, length K - 1
        Half way between the highest score of the classes below and the lowest of those above.
        Next to a class that no area is in, the end of the range of floats: none gets it elsewhere
        either.
    """
    used = areas[areas["actual_decile"].notna() & (areas["fold"] > 0)]
    result = {}
    for outcome, rows in used.groupby("outcome", sort=True):
        score, decile = rows["score"].to_numpy(float), rows["decile"].to_numpy(np.int64)
        result[str(outcome)] = [_border(score, decile <= each) for each in range(1, classes)]
    return result


def _border(score: Floats, below: npt.NDArray[np.bool_]) -> float:
    if not below.any() or below.all():
        limits = np.finfo(float)
        return float(limits.max if below.all() else limits.min)
    return float((score[below].max() + score[~below].min()) / 2)


def classes_between(scores: npt.ArrayLike, borders: Sequence[float]) -> Integers:
    """Give the classes of scores by the borders between them; on one, the class below it.

    Examples
    --------
    >>> classes_between([0.1, 0.5, 0.9], [0.5, 0.7]).tolist()
    [1, 1, 3]
    """
    found = np.searchsorted(np.asarray(borders, float), np.asarray(scores, float), "left")
    return np.asarray(1 + found, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Predictions in a fixed order (float sums depend on it): by outcome, area and location."""

    outcomes: pd.Index
    areas: pd.Index
    order: Integers
    outcome: Integers
    area: Integers
    fold: Integers
    score: Floats
    actual: Floats  # NaN: none
    weight: Floats
    start: Integers  # of each area of an outcome, the first row

    @classmethod
    def of(
        cls, predictions: pd.DataFrame, split_areas: Collection[str], weights: pd.Series | None
    ) -> _Rows:
        outcome, outcomes = pd.factorize(predictions["outcome"], sort=True)
        area, areas = pd.factorize(predictions["area"], sort=True)
        location, locations = pd.factorize(predictions["location_id"], sort=True)
        key = outcome.astype(np.int64) * len(areas) + area
        order = np.lexsort((location, key))
        twice = pd.Series(outcome.astype(np.int64) * len(locations) + location).duplicated()
        if twice.any():  # only then the keys are made: strings of millions of rows take seconds
            keys = (
                predictions["outcome"].astype(str) + ", " + predictions["location_id"].astype(str)
            )
            refuse_repeated(pd.Index(keys), "predictions", "location of an outcome")
        key, location = key[order], location[order]
        new = np.ones(len(key), dtype=bool)
        new[1:] = key[1:] != key[:-1]
        fold = predictions["fold"].to_numpy(np.int64)[order]
        fold[areas.isin(list(split_areas))[area[order]]] = 0
        rows = cls(
            outcomes,
            areas,
            order,
            outcome[order].astype(np.int64),
            area[order].astype(np.int64),
            fold,
            predictions["score"].to_numpy(float)[order],
            predictions["actual_decile"].to_numpy(float, na_value=np.nan)[order].astype(float),
            _weights(weights, locations)[location],
            np.flatnonzero(new),
        )
        rows._refuse_mixed()
        return rows

    @property
    def group(self) -> Integers:
        """Of each row, which area of which outcome it belongs to: 0, 1, ..."""
        sizes = np.diff(self.start, append=len(self.score))
        return np.repeat(np.arange(len(self.start)), sizes)

    def total(self, values: Floats) -> Floats:
        return np.add.reduceat(values, self.start) if len(values) else values

    def used(self) -> Floats:
        """Give the weights, 1 throughout an area in which all are 0."""
        nothing = self.total(self.weight) <= 0
        return np.where(nothing[self.group], 1.0, self.weight) if nothing.any() else self.weight

    def mean(self, values: Floats) -> Floats:
        """Weighted means of the areas."""
        weight = self.used()
        return np.asarray(self.total(weight * values) / self.total(weight))

    def shares(self, deciles: Integers, classes: int) -> Floats:
        """Weights by area and decile, [areas, K]."""
        cell = self.group * classes + deciles - 1
        sums = np.bincount(cell, self.used(), len(self.start) * classes).astype(float)
        return sums.reshape(-1, classes)

    def _refuse_mixed(self) -> None:
        if not len(self.score):
            return
        actual = np.nan_to_num(self.actual, nan=-1.0)
        for values, what in ((self.fold, "two folds"), (actual, "two actual deciles")):
            least = np.minimum.reduceat(values, self.start)
            mixed = least != np.maximum.reduceat(values, self.start)
            if mixed.any():
                row = self.start[np.flatnonzero(mixed)[0]]
                raise InputError(
                    f"predictions of {self.outcomes[self.outcome[row]]!r}",
                    f"area {self.areas[self.area[row]]!r} has {what}",
                    _AGAIN,
                )


def _weights(weights: pd.Series | None, locations: pd.Index) -> Floats:
    if weights is None:
        return np.ones(len(locations))
    known = weights.reindex(locations).fillna(0.0).to_numpy(float)
    if not (np.isfinite(known).all() and (known >= 0).all()):
        bad = locations[~(np.isfinite(known) & (known >= 0))][0]
        raise InputError(
            f"the weight of location {bad!r}", "it is negative or infinite", "give 0 or more"
        )
    return known


def _rounded(values: Floats) -> Integers:
    """Round to whole numbers, halves to the even one."""
    return np.rint(values).astype(np.int64)


def _mean_of(shares: Floats) -> Floats:
    return np.asarray(shares @ np.arange(1.0, shares.shape[1] + 1) / shares.sum(1))


def _mean_decile(shares: Floats) -> Integers:
    return _rounded(_mean_of(shares))


def _median(shares: Floats) -> Integers:
    """Where half of the weight is reached; where a border is hit, half way to the next decile."""
    below = np.cumsum(shares, axis=1) / shares.sum(1, keepdims=True)
    lower = (below < 0.5 - SLACK).sum(1)
    upper = (below <= 0.5 + SLACK).sum(1)
    return _rounded(1 + (lower + upper) / 2)


def _most_common_decile(shares: Floats) -> Integers:
    distance = np.abs(np.arange(1.0, shares.shape[1] + 1) - _mean_of(shares)[:, None])
    most = shares >= shares.max(1, keepdims=True) * (1 - SLACK)
    # Rounded, so that two deciles equally far from the mean are so in floats.
    return np.asarray(1 + np.argmin(np.where(most, distance.round(9), np.inf), axis=1))


def refuse_probabilities(frame: pd.DataFrame, key: str, classes: int) -> None:
    """Refuse probabilities p1 to pK that are negative or do not sum to 1.

    Parameters
    ----------
    frame : DataFrame
        ``outcome``, the column ``key``, and perhaps ``p1`` to ``pK``; rows without any of them are
        not used.
    key : str
        ``area`` or ``location_id``.
    classes : int
        K.

    Raises
    ------
    InputError
        Naming the first such row.
    """
    names = probability_columns(classes)
    if not set(names) <= set(frame.columns):
        return
    total = np.zeros(len(frame))
    negative, none = np.zeros(len(frame), bool), np.ones(len(frame), bool)
    for name in names:  # one at a time: of a nation's locations, all would take much memory
        given = frame[name].to_numpy(float, na_value=np.nan)
        total += given
        negative |= given < -1e-9
        none &= np.isnan(given)
    wrong = (np.abs(total - 1) > 1e-3) | negative | (np.isnan(total) & ~none)
    if wrong.any():
        row, found = frame[wrong].iloc[0], total[wrong][0]
        raise InputError(
            f"probabilities of {key.split('_')[0]} {row[key]!r} for {row['outcome']!r}",
            f"p1 to p{classes} sum to {found:.4g}, not 1"
            if np.isfinite(found) and abs(found - 1) > 1e-3
            else "one is missing or negative",
            "make the predictions again: streetgauge train --force",
        )


def _refuse_unusable(predictions: pd.DataFrame, rule: str, classes: int) -> None:
    needed = ["location_id", "area", "fold", "outcome", "score"]
    needed += ["decile"] if rule in OF_DECILES else []
    for column in (*needed, "actual_decile"):
        if column not in predictions.columns:
            raise InputError("predictions", f"there is no column {column!r}", _AGAIN)
    for column in needed:
        if missing := int(predictions[column].isna().sum()):
            raise InputError("predictions", f"{missing} rows have no {column!r}", _AGAIN)
    if not np.isfinite(predictions["score"].to_numpy(float)).all():
        raise InputError("predictions", "a score is infinite", _AGAIN)
    for column in ("decile", "actual_decile") if rule in OF_DECILES else ("actual_decile",):
        known = predictions[column].dropna()
        if len(known) and not known.between(1, classes).all():
            raise InputError("predictions", f"a {column!r} is not 1 to {classes}", _AGAIN)
    refuse_probabilities(predictions, "location_id", classes)
