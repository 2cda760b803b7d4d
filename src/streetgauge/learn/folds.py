"""Parts of the data that never share an area: folds to test on, and a part to stop early on."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from streetgauge.errors import InputError

__all__ = ["area_folds", "validation_part"]

Integers = NDArray[np.int64]


def area_folds(areas: ArrayLike, deciles: ArrayLike, k: int, seed: int) -> Integers:
    """Deal areas to folds so that every fold is a small picture of the whole.

    Areas are put in the order of their mean decile over the outcomes, chance deciding among equals,
    and dealt in hands of `k`: each fold takes one area of each hand. Which one, is the assignment
    that best evens out the deciles of all outcomes and the numbers of locations. Hence, always:

    - no area is in two folds;
    - numbers of areas differ by at most 1 between folds;
    - for one outcome, the areas of a decile differ by at most 2 between folds.

    Where several outcomes disagree, the last holds for their mean, and nearly for each. Numbers of
    locations differ by about one large area at most. The result does not depend on the order of
    the rows. Time is linear in the areas, apart from sorting.

    Parameters
    ----------
    areas : array of str, shape [N]
        The area of every location.
    deciles : array, shape [N, M]
        Classes of the area per outcome, NaN where missing.
    k : int
        Number of folds, at least 2.
    seed : int
        Same seed and areas, same folds.

    Returns
    -------
    array of int64, shape [N]
        The fold of every location, 1..k.

    Raises
    ------
    InputError
        If there are fewer areas than folds.
    """
    if k < 2:
        raise InputError("folds.k", f"{k} folds cannot be tested on each other", "use 2 or more")
    member, levels, sizes = _by_area(areas, deciles)
    if len(sizes) < k:
        raise InputError(
            "folds.k",
            f"{len(sizes)} areas cannot be dealt to {k} folds",
            f"set k to {len(sizes)} or less, or add areas" if len(sizes) > 1 else "add areas",
        )
    order = _by_level(levels, np.random.default_rng(seed))
    size = sizes / sizes.mean()
    code, n_codes = _decile_codes(levels)
    held = np.zeros((k, n_codes))  # areas of each outcome's each decile in each fold
    load = np.zeros(k)  # locations in each fold, in mean areas
    fold = np.zeros(len(sizes), np.int64)
    for start in range(0, len(order), k):
        hand = order[start : start + k]
        # What adding an area would add to the sums of squares of `held` and of `load`.
        alike = held[:, code[hand]].mean(axis=2).T
        cost = alike - alike.min() + np.outer(size[hand], load - load.min())
        row, taken = linear_sum_assignment(cost)
        fold[hand[row]] = taken
        np.add.at(held, (taken[:, np.newaxis], code[hand[row]]), 1)
        load[taken] += size[hand[row]]
    return fold[member] + 1


def validation_part(
    areas: ArrayLike, deciles: ArrayLike, share: float, seed: int
) -> NDArray[np.bool_]:
    """Set apart a share of the areas, spread evenly over their mean decile.

    Parameters
    ----------
    areas : array of str, shape [N]
        The area of every location.
    deciles : array, shape [N, M]
        Classes of the area per outcome, NaN where missing.
    share : float
        Share of the *areas*, between 0 and 1; at least one area is on either side.
    seed : int
        Same seed and areas, same part, in whatever order the rows are.

    Returns
    -------
    array of bool, shape [N]
        True for locations of the validation part.

    Raises
    ------
    InputError
        If there are fewer than 2 areas.
    """
    member, levels, sizes = _by_area(areas, deciles)
    n = len(sizes)
    if n < 2:
        raise InputError(
            "folds.validation", f"{n} training area cannot be split", "add areas or use fewer folds"
        )
    rng = np.random.default_rng(seed)
    order = _by_level(levels, rng)
    wanted = min(max(round(share * n), 1), n - 1)
    # Every (n / wanted)-th area, from a start by chance: as many of each level as its share.
    steps = np.floor((np.arange(n + 1) * wanted + rng.integers(n)) / n)
    chosen = np.zeros(n, np.bool_)
    chosen[order] = np.diff(steps) > 0
    return chosen[member]


def _by_area(
    areas: ArrayLike, deciles: ArrayLike
) -> tuple[Integers, NDArray[np.float64], Integers]:
    """Position of every location's area, and per sorted area its mean deciles and its size."""
    classes = np.asarray(deciles, np.float64)
    classes = classes.reshape(len(classes), -1)
    _, member, sizes = np.unique(np.asarray(areas), return_inverse=True, return_counts=True)
    known = ~np.isnan(classes)
    total = np.zeros((len(sizes), classes.shape[1]))
    count = np.zeros_like(total)
    np.add.at(total, member, np.where(known, classes, 0.0))
    np.add.at(count, member, known)
    levels = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return member.astype(np.int64), levels, sizes.astype(np.int64)


def _by_level(levels: NDArray[np.float64], rng: np.random.Generator) -> Integers:
    """Areas by their mean decile, equals shuffled; areas without any decile come last."""
    known = ~np.isnan(levels)
    count = known.sum(axis=1)
    mean = np.where(known, levels, 0).sum(axis=1) / np.maximum(count, 1)
    mean[count == 0] = np.inf
    shuffled = rng.permutation(len(levels))
    order: Integers = shuffled[np.argsort(mean[shuffled].round(9), kind="stable")]
    return order


def _decile_codes(levels: NDArray[np.float64]) -> tuple[Integers, int]:
    """Columns of a table with one column for each decile of each outcome, and one for missing."""
    rounded = np.nan_to_num(levels, nan=0).round().astype(np.int64)
    rounded -= rounded.min(initial=0)
    width = int(rounded.max(initial=0)) + 1
    return rounded + width * np.arange(levels.shape[1]), width * levels.shape[1]
