"""How close predicted deciles are to the actual ones, all from the confusion matrix.

Every metric here is a function of the table of counts (actual decile x predicted decile). Drawing
areas again with replacement is drawing that table from a multinomial, so that a bootstrap of
thousands of draws needs no loop: all functions take tables of shape [..., K, K].
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

__all__ = ["METRICS", "confusion_matrix", "estimate", "measure", "redraw", "to_json"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

METRICS = ("mae", "exact", "within_1", "within_2", "pearson", "spearman", "kendall", "kappa")


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
    """
    cells = _cells(actual, predicted, classes)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def measure(tables: npt.ArrayLike) -> dict[str, Floats]:
    """Compute every metric of every table.

    Parameters
    ----------
    tables : array_like, shape (..., K, K)
        Counts by actual (row) and predicted decile (column).

    Returns
    -------
    dict of ndarray, each of shape (...)
        ``mae`` (deciles, 0 to K - 1); ``exact``, ``within_1``, ``within_2`` (shares, 0 to 1);
        ``pearson``, ``spearman`` (of mid-ranks), ``kendall`` (tau-b), ``kappa`` (Cohen's, quadratic
        weights), each -1 to 1. NaN where a metric is not defined: no area, or for the last four
        deciles that do not vary.
    """
    table = np.asarray(tables, dtype=float)
    step = np.arange(table.shape[-1], dtype=float)
    distance = np.abs(step[:, None] - step)
    total = table.sum((-2, -1))
    actual, predicted = table.sum(-1), table.sum(-2)

    def share(largest: int) -> Floats:
        return _ratio((table * (distance <= largest)).sum((-2, -1)), total)

    squared = distance**2
    expected = np.einsum("...i,ij,...j->...", actual, squared, predicted)
    observed = (table * squared).sum((-2, -1)) * total
    return {
        "mae": _ratio((table * distance).sum((-2, -1)), total),
        "exact": share(0),
        "within_1": share(1),
        "within_2": share(2),
        "pearson": _correlation(table, _centred(step, actual), _centred(step, predicted)),
        "spearman": _correlation(table, _midranks(actual), _midranks(predicted)),
        "kendall": _kendall(table, actual, predicted),
        "kappa": 1 - _ratio(observed, expected),
    }


def redraw(
    actual: npt.ArrayLike,
    predicted: Mapping[str, npt.ArrayLike],
    classes: int,
    draws: int,
    rng: np.random.Generator,
) -> dict[str, Integers]:
    """Draw the areas again with replacement, and tabulate several predictions of the same draws.

    The draws are paired: table ``d`` of every prediction is of the same areas. The order of the
    areas does not matter.

    Parameters
    ----------
    actual : array_like of int, shape (n,)
        Actual deciles, 1 to ``classes``.
    predicted : mapping of name to array_like of int, shape (n,)
        Predicted deciles, 1 to ``classes``.
    classes, draws : int
        K, and how many draws.
    rng : Generator
        Where chance comes from.

    Returns
    -------
    dict of ndarray of int64, each of shape (draws, K, K)
    """
    cells = np.stack([_cells(actual, values, classes) for values in predicted.values()], axis=1)
    # Areas with the same deciles throughout are one kind; sorted, so that rows may be in any order.
    kinds, counts = np.unique(cells, axis=0, return_counts=True)
    if not counts.size:
        return {name: np.zeros((draws, classes, classes), np.int64) for name in predicted}
    drawn = rng.multinomial(counts.sum(), counts / counts.sum(), size=draws)
    tables = {}
    for column, name in enumerate(predicted):
        member = np.zeros((len(kinds), classes**2))
        member[np.arange(len(kinds)), kinds[:, column]] = 1
        tables[name] = (drawn @ member).astype(np.int64).reshape(draws, classes, classes)
    return tables


def estimate(value: float, drawn: npt.ArrayLike, coverage: float) -> dict[str, float | None]:
    """Put a value and the percentile interval of its draws into JSON's terms.

    Parameters
    ----------
    value : float
        NaN if undefined.
    drawn : array_like of float, shape (draws,)
        The same of every draw; undefined ones (NaN) are left aside.
    coverage : float
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
    low, high = np.quantile(values, [(1 - coverage) / 2, (1 + coverage) / 2])
    return {"value": float(value), "low": float(low), "high": float(high)}


def to_json(value: float) -> float | None:
    """NaN has no form in JSON: None stands for what is not defined."""
    return float(value) if np.isfinite(value) else None


def _cells(actual: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> Integers:
    row, column = np.asarray(actual, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    for deciles in (row, column):
        if deciles.size and not (deciles.min() >= 1 and deciles.max() <= classes):
            raise ValueError(f"deciles must lie between 1 and {classes}")
    return (row - 1) * classes + (column - 1)


def _ratio(above: Floats, below: Floats) -> Floats:
    """Divide; NaN, without a warning, where there is nothing to divide by."""
    result = np.full(np.shape(below), np.nan)
    np.divide(above, below, out=result, where=below > 0)
    return result


def _centred(step: Floats, margin: Floats) -> Floats:
    """Deciles less their mean, by class [..., K]: exactly 0 if only one class is there."""
    mean = _ratio((margin * step).sum(-1), margin.sum(-1))
    return step - mean[..., None]


def _midranks(margin: Floats) -> Floats:
    """Ranks less their mean, by class [..., K], ties sharing the mean of theirs."""
    total = margin.sum(-1, keepdims=True)
    rank: Floats = np.cumsum(margin, -1) - margin + (margin + 1) / 2 - (total + 1) / 2
    return rank


def _correlation(table: Floats, row: Floats, column: Floats) -> Floats:
    """Pearson's r of values that are given by class [..., K] and centred."""
    together = np.einsum("...ij,...i,...j->...", table, row, column)
    spread = (table.sum(-1) * row**2).sum(-1) * (table.sum(-2) * column**2).sum(-1)
    return np.clip(_ratio(together, np.sqrt(spread)), -1, 1)


def _kendall(table: Floats, actual: Floats, predicted: Floats) -> Floats:
    """Tau-b: pairs in the same order less pairs in opposite order, corrected for ties."""

    def pairs(counts: Floats) -> Floats:
        result: Floats = (counts * (counts - 1) / 2).sum(-1)
        return result

    def ordered_pairs(counts: Floats) -> Floats:
        beyond = np.flip(np.cumsum(np.cumsum(np.flip(counts, (-2, -1)), -2), -1), (-2, -1))
        result: Floats = (counts[..., :-1, :-1] * beyond[..., 1:, 1:]).sum((-2, -1))
        return result

    same, opposite = ordered_pairs(table), ordered_pairs(np.flip(table, -1))
    everything = pairs(table.sum((-2, -1))[..., None])
    spread = (everything - pairs(actual)) * (everything - pairs(predicted))
    return np.clip(_ratio(same - opposite, np.sqrt(spread)), -1, 1)
