"""Cutting values into ordered classes: the one rule that official deciles and predictions share.

Values are laid out in order and the row of them is cut into parts of equal count. Equal values stay
together: all of them go where one position of theirs falls, the ``lowest`` or the ``middle`` of
those that they take up. The lowest is the rule of `pandas.qcut`, by which official statistics are
cut in Suel et al. (2019); the middle favours neither side, which is right for predictions, where a
tie shows nothing about which of the classes it touches is meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
SLACK = 1e-9  # a position on a border is below it, whatever floats make of it


def equal_count(
    values: npt.ArrayLike,
    classes: int = 10,
    *,
    ties: Literal["lowest", "middle"] = "middle",
    weights: npt.ArrayLike | None = None,
) -> Integers:
    """Cut values into ``classes`` parts of equal count, the lowest values in part 1.

    With n values in order, the one at position i of 0 to n - 1 is in part ceil(K i / (n - 1)), and
    the first in part 1. With weights, counts of values become sums of weights: K times the weight
    of all lower values, divided by the weight of all but an average one. A value on a border
    belongs to the part below it. Parts differ by at most one value (with weights: by one value's
    weight) unless ties lie on a border; values that are all equal land in the middle part.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        Finite values.
    classes : int, default 10
        How many parts.
    ties : "lowest" or "middle"
        Which of the positions that equal values take up decides where they go; "lowest" without
        weights is ``pandas.qcut(values, classes)``, whose borders rounding can move a little where
        they should be exactly on a value (never for 2, 4, 5 or 10 parts).
    weights : array_like of float, shape (n,), optional
        At least 0, and more than 0 in all; without it every value counts 1.

    Returns
    -------
    ndarray of int64, shape (n,)
        1 to ``classes``.
    """
    row = _Row.of(values, weights)
    if row.span <= 0 or row.values.size < 2:
        return np.full(row.inverse.size, -(-classes // 2), dtype=np.int64)
    position = row.first if ties == "lowest" else (row.first + row.last) / 2
    part = np.ceil(classes * position / row.span - SLACK).astype(np.int64)
    return np.asarray(np.clip(part, 1, classes)[row.inverse], dtype=np.int64)


def crowded(
    values: npt.ArrayLike, classes: int = 10, *, weights: npt.ArrayLike | None = None
) -> tuple[float, int] | None:
    """Find a value that fills more than a class: two borders of `equal_count` fall on it.

    Returns
    -------
    tuple of float and int, or None
        The most frequent such value and how many there are of it; a single value is never one.
    """
    row = _Row.of(values, weights)
    if row.span <= 0:
        return None
    borders = row.span * np.arange(classes + 1) / classes
    below = np.searchsorted(borders, row.first - SLACK * row.span, side="left")
    upto = np.searchsorted(borders, row.last + SLACK * row.span, side="right")
    full = (upto - below > 1) & (row.counts > 1)
    if not full.any():
        return None
    most = int(np.argmax(np.where(full, row.counts, 0)))
    return float(row.values[most]), int(row.counts[most])


def like_counts(values: npt.ArrayLike, counts: npt.ArrayLike) -> Integers:
    """Cut values into parts whose sizes are to each other as ``counts``, the lowest in part 1.

    Where the actual classes of a city are not of equal count (a nation's deciles within one city),
    neither are those predicted for it: the same number of areas lands in each. Equal values share
    the part of the middle position that they take up.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        Finite values.
    counts : array_like of int, shape (K,)
        How many are in each class, at least one in all; a class without any gets none.

    Returns
    -------
    ndarray of int64, shape (n,)
        1 to K.
    """
    row = _Row.of(values, None)
    border = np.cumsum(np.asarray(counts, dtype=float))
    if not border.size or border[-1] <= 0:
        raise ValueError("no class has a count to follow")
    position = (row.first + row.last + 1) / 2 / max(row.inverse.size, 1)
    part = 1 + np.searchsorted(border[:-1] / border[-1], position - SLACK, side="left")
    return np.asarray(part[row.inverse], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class _Row:
    """Distinct values in order, and the first and last position that each takes up, from 0."""

    values: Floats
    inverse: Integers
    counts: Integers
    first: Floats
    last: Floats
    span: float  # the last position of all

    @classmethod
    def of(cls, values: npt.ArrayLike, weights: npt.ArrayLike | None) -> _Row:
        numbers = np.asarray(values, dtype=float)
        if not np.isfinite(numbers).all():
            raise ValueError("values to cut must be finite")
        ordered, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True)
        if weights is None:
            weight = counts.astype(float)
        else:
            each = np.asarray(weights, dtype=float)
            if not (np.isfinite(each).all() and (each >= 0).all() and each.sum() > 0):
                raise ValueError("weights must be finite, at least 0, and more than 0 in all")
            weight = np.bincount(inverse, weights=each, minlength=ordered.size)
        total, n = float(weight.sum()), max(numbers.size, 1)
        first = np.cumsum(weight) - weight
        return cls(
            ordered, inverse, counts, first, first + weight - weight / counts, total - total / n
        )
