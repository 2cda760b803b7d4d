"""How close predicted deciles are to the actual ones.

All metrics of deciles are functions of the table of counts (actual decile x predicted decile), and
take tables of shape [..., K, K]: those of a thousand bootstrap draws are measured at once. Tables
may be weighted, so counts need not be whole.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

CORRELATIONS = ("pearson", "spearman", "kendall")
METRICS = ("mae", "exact", "within_1", "within_2", *CORRELATIONS, "kappa")


def confusion_matrix(actual: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> Integers:
    """Count areas by actual decile (row) and predicted decile (column).

    Parameters
    ----------
    actual, predicted : array_like of int, shape (n,)
        1 to ``classes``.
    classes : int
        K.

    Returns
    -------
    ndarray of int64, shape (K, K)
        Row and column 0 are decile 1.

    Examples
    --------
    >>> confusion_matrix([1, 2, 2], [1, 2, 1], classes=2).tolist()
    [[1, 0], [1, 1]]
    """
    flat = cells(actual, predicted, classes)
    return np.bincount(flat, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def cells(actual: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> Integers:
    """Give the index of each area in the flattened confusion matrix, 0 to K * K - 1.

    Raises
    ------
    ValueError
        If a decile is not 1 to ``classes``.
    """
    row, column = np.asarray(actual, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    for deciles in (row, column):
        if deciles.size and not (deciles.min() >= 1 and deciles.max() <= classes):
            raise ValueError(f"deciles must lie between 1 and {classes}")
    return (row - 1) * classes + (column - 1)


def measure(tables: npt.ArrayLike, metrics: Collection[str] = METRICS) -> dict[str, Floats]:
    """Compute metrics of every table.

    Parameters
    ----------
    tables : array_like, shape (..., K, K)
        Counts by actual (row) and predicted decile (column), or sums of weights.
    metrics : collection of str, optional
        Which; all if not given.

    Returns
    -------
    dict of ndarray, each of shape (...)
        ``mae`` (deciles, 0 to K - 1); ``exact``, ``within_1``, ``within_2`` (shares, 0 to 1);
        ``pearson``, ``spearman`` (of mid-ranks), ``kendall`` (tau-b), ``kappa`` (Cohen's, quadratic
        weights), each -1 to 1. NaN where a metric is not defined: no area, or for the last four
        deciles that do not vary.

    Examples
    --------
    >>> table = confusion_matrix([1, 2, 3, 3], [1, 2, 3, 2], classes=3)
    >>> float(measure(table, ["mae"])["mae"])
    0.25
    """
    table = np.asarray(tables, dtype=float)
    step = np.arange(table.shape[-1], dtype=float)
    distance = np.abs(step[:, None] - step)
    total = table.sum((-2, -1))
    actual, predicted = table.sum(-1), table.sum(-2)

    def share(largest: int) -> Floats:
        return _ratio(_total(table, (distance <= largest).astype(float)), total)

    def kappa() -> Floats:
        squared = distance**2
        expected = ((actual @ squared) * predicted).sum(-1)
        return 1 - _ratio(_total(table, squared) * total, expected)

    ways = {
        "mae": lambda: _ratio(_total(table, distance), total),
        "exact": lambda: share(0),
        "within_1": lambda: share(1),
        "within_2": lambda: share(2),
        "pearson": lambda: _correlation(table, _centred(step, actual), _centred(step, predicted)),
        "spearman": lambda: _correlation(table, _midranks(actual), _midranks(predicted)),
        "kendall": lambda: _kendall(table, actual, predicted),
        "kappa": kappa,
    }
    return {name: np.asarray(ways[name]()) for name in METRICS if name in metrics}


def why_undefined(table: npt.ArrayLike) -> dict[str, str]:
    """Find which metrics of one table are not defined, and why.

    Parameters
    ----------
    table : array_like, shape (K, K)
        Counts, or sums of weights.

    Returns
    -------
    dict of metric to reason
        Empty where all are defined.
    """
    counts = np.asarray(table, dtype=float)
    undefined = [name for name, value in measure(counts).items() if not np.isfinite(value)]
    actual, predicted = np.count_nonzero(counts.sum(1)), np.count_nonzero(counts.sum(0))
    if not counts.any():
        reason = "no area is measured"
    elif actual == 1 and predicted == 1:
        reason = "neither actual nor predicted classes vary"
    elif actual == 1:
        reason = "all areas have the same actual class"
    else:
        reason = "all areas have the same predicted class"
    return dict.fromkeys(undefined, reason)


def shrinkage(tables: npt.ArrayLike) -> dict[str, Floats]:
    """Compute how far predictions are drawn to the middle.

    Parameters
    ----------
    tables : array_like, shape (..., K, K)
        As for `measure`.

    Returns
    -------
    dict of ndarray, each of shape (...)
        ``slope`` of predicted on actual decile (least squares: 1 if extremes are as far out as they
        are; NaN if actual deciles do not vary), and the shares of the areas that are predicted in
        the ``lowest`` and the ``highest`` class.
    """
    table = np.asarray(tables, dtype=float)
    step = np.arange(table.shape[-1], dtype=float)
    total, actual, predicted = table.sum((-2, -1)), table.sum(-1), table.sum(-2)
    row = _centred(step, actual)
    together = ((table @ step) * row).sum(-1)
    return {
        "slope": _ratio(together, (actual * row**2).sum(-1)),
        "lowest": _ratio(predicted[..., 0], total),
        "highest": _ratio(predicted[..., -1], total),
    }


def ranked_probability_scores(probabilities: npt.ArrayLike, actual: npt.ArrayLike) -> Floats:
    """Compute the ranked probability score of every area (Epstein 1969, J. Appl. Meteor. 8, 985).

    Parameters
    ----------
    probabilities : array_like of float, shape (n, K)
        Of class 1 to K; each row sums to 1.
    actual : array_like of int, shape (n,)
        1 to K.

    Returns
    -------
    ndarray of float, shape (n,)
        For each of the K - 1 borders between classes, the predicted probability of lying below it
        less whether the area does, squared; the sum of these. From 0 (sure and right) to K - 1
        (sure and at the wrong end). With all probability on one class it is the absolute error in
        classes, so it is on the scale of the MAE. 0 is best.
    """
    below = np.cumsum(np.asarray(probabilities, dtype=float), axis=1)[:, :-1]
    border = np.arange(1, below.shape[1] + 1)
    truth = np.asarray(actual)[:, None] <= border
    return np.asarray(((below - truth) ** 2).sum(1))


def estimate(value: float, drawn: npt.ArrayLike, interval_level: float) -> dict[str, Any]:
    """Put a value and the percentile interval of its draws into JSON's terms.

    Parameters
    ----------
    value : float
        NaN if undefined.
    drawn : array_like of float, shape (draws,)
        The same of every draw; undefined ones (NaN) are skipped.
    interval_level : float
        Share of the draws between ``low`` and ``high``.

    Returns
    -------
    dict
        ``value``, ``low``, ``high``; all None where the value is undefined.
    """
    values = np.asarray(drawn, dtype=float)
    values = values[np.isfinite(values)]
    if not np.isfinite(value) or not values.size:
        return {"value": to_json(value), "low": None, "high": None}
    low, high = np.quantile(values, [(1 - interval_level) / 2, (1 + interval_level) / 2])
    return {"value": float(value), "low": float(low), "high": float(high)}


def to_json(value: float) -> float | None:
    """NaN has no form in JSON: None stands for what is not defined."""
    return float(value) if np.isfinite(value) else None


def _total(tables: Floats, each: Floats) -> Floats:
    """Sum over the table of counts times ``each`` [K, K]."""
    size = each.size
    return np.asarray(tables.reshape(*tables.shape[:-2], size) @ each.ravel())


def _ratio(above: Floats, below: Floats) -> Floats:
    """Divide; NaN, without a warning, where there is nothing to divide by."""
    result = np.full(np.shape(below), np.nan)
    np.divide(above, below, out=result, where=below > 0)
    return result


def _centred(step: Floats, margin: Floats) -> Floats:
    """Deciles less their mean, by class [..., K]: exactly 0 if only one class is there."""
    mean = _ratio((margin * step).sum(-1), margin.sum(-1))
    # Of weights, w k / w is not k to the last bit: what is left of it would pass for a spread.
    varies = np.count_nonzero(margin, axis=-1) > 1
    return np.where(varies[..., None], step - mean[..., None], 0.0)


def _midranks(margin: Floats) -> Floats:
    """Ranks less their mean, by class [..., K], ties sharing the mean of theirs."""
    total = margin.sum(-1, keepdims=True)
    rank: Floats = np.cumsum(margin, -1) - margin / 2 - total / 2
    return rank


def _correlation(table: Floats, row: Floats, column: Floats) -> Floats:
    """Pearson's r of values that are given by class [..., K] and centred."""
    together = ((table @ column[..., None])[..., 0] * row).sum(-1)
    spread = (table.sum(-1) * row**2).sum(-1) * (table.sum(-2) * column**2).sum(-1)
    return np.clip(_ratio(together, np.sqrt(spread)), -1, 1)


def _kendall(table: Floats, actual: Floats, predicted: Floats) -> Floats:
    """Tau-b: pairs in the same order less pairs in opposite order, corrected for ties."""

    def told_apart(margin: Floats) -> Floats:
        """Pairs of other classes: exactly 0 if only one is there."""
        # Of an area with itself as well: those cancel.
        result: Floats = (margin.sum(-1) ** 2 - (margin**2).sum(-1)) / 2
        return result

    def ordered_pairs(counts: Floats) -> Floats:
        beyond = np.flip(np.cumsum(np.cumsum(np.flip(counts, (-2, -1)), -2), -1), (-2, -1))
        result: Floats = (counts[..., :-1, :-1] * beyond[..., 1:, 1:]).sum((-2, -1))
        return result

    same, opposite = ordered_pairs(table), ordered_pairs(np.flip(table, -1))
    spread = told_apart(actual) * told_apart(predicted)
    return np.clip(_ratio(same - opposite, np.sqrt(spread)), -1, 1)
