"""Assigning areas to parts of the data: folds to test on, a part to stop early on, shares.

All of it works on whole areas, gives every part its share of every decile, does not depend on the
order of the rows, and takes time linear in the areas, apart from sorting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streetgauge.errors import InputError
from streetgauge.seeds import derive_seed

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def area_folds(areas: ArrayLike, deciles: ArrayLike, k: int, seed: int) -> Integers:
    """Assign areas to folds so that every fold has its share of every decile.

    Areas are put in the order of their mean decile over the outcomes, chance deciding among equals,
    and assigned `k` at a time: each fold takes one of them. Which one, is the assignment that best
    evens out the deciles of all outcomes and the numbers of locations. Hence, always:

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
    from scipy.optimize import linear_sum_assignment

    if k < 2:
        raise InputError("folds.k", f"{k} folds cannot be tested on each other", "use 2 or more")
    member, levels, sizes = _by_area(areas, deciles)
    if len(sizes) < k:
        raise InputError(
            "folds.k",
            f"{len(sizes)} area{'s' * (len(sizes) != 1)} cannot be assigned to {k} folds",
            f"set k to {len(sizes)} or less, or add areas" if len(sizes) > 1 else "add areas",
        )
    order = _by_level(levels, np.random.default_rng(seed))
    size = sizes / sizes.mean()
    code, n_codes = _decile_codes(levels)
    held = np.zeros((k, n_codes))  # areas of each outcome's each decile in each fold
    load = np.zeros(k)  # locations in each fold, in mean areas
    fold = np.zeros(len(sizes), np.int64)
    for start in range(0, len(order), k):
        some = order[start : start + k]
        # What adding an area would add to the sums of squares of `held` and of `load`.
        alike = held[:, code[some]].mean(axis=2).T
        cost = alike - alike.min() + np.outer(size[some], load - load.min())
        fold[some] = taken = linear_sum_assignment(cost)[1]
        np.add.at(held, (taken[:, np.newaxis], code[some]), 1)
        load[taken] += size[some]
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


def assign_units(
    units: ArrayLike, areas: ArrayLike, deciles: ArrayLike, shares: ArrayLike, seed: int
) -> Integers:
    """Assign units of many areas to parts 0.. of these shares of the locations: [N]."""
    share = np.asarray(shares, np.float64)
    share = share / share.sum()
    _, unit = np.unique(np.asarray(units), return_inverse=True)
    size = np.bincount(unit)
    if len(size) < len(share):
        raise InputError(
            "folds",
            f"{len(size)} units cannot be assigned to {len(share)} parts",
            "use smaller ones",
        )
    rng = np.random.default_rng(seed)
    weight = size / size.mean()
    # Areas of each outcome's each decile in every unit, in mean units, over the outcomes.
    member, levels, sizes = _by_area(areas, deciles)
    unit_of = np.zeros(len(sizes), np.int64)
    unit_of[member] = unit
    code, n_codes = _decile_codes(levels)
    mix = np.zeros((len(size), n_codes))
    np.add.at(mix, (unit_of[:, np.newaxis], code), 1)
    mix *= len(size) / len(sizes) / np.sqrt(levels.shape[1])
    traits = np.column_stack([mix, weight])
    held = np.zeros((len(share), traits.shape[1]))
    # No part goes over its share by more than the largest unit, and so none stays empty.
    limit = weight.max() * (1 + 1e-9)
    part = np.zeros(len(size), np.int64)
    for one in np.argsort(-size * rng.uniform(0.5, 1, len(size))):
        # What it would add to the sum of squares of what the parts hold, each over its share.
        uneven = ((2 * held + traits[one]) @ traits[one]) / share
        load = held[:, -1]
        room = load + weight[one] <= share * (load / share).min() + limit
        part[one] = np.where(room, uneven, np.inf).argmin()
        held[part[one]] += traits[one]
    _swap(part, traits, held, share, limit, rng)
    return part[unit]


def _swap(
    part: Integers,
    traits: Floats,
    held: Floats,
    share: Floats,
    limit: float,
    rng: np.random.Generator,
) -> None:
    """Swap units where that makes parts more alike; changes `part` and `held`."""
    # Many units are assigned evenly already, so the number of tries is bounded.
    n = len(part)
    for one in rng.permutation(4 * n)[:500] % n:
        others = rng.permutation(n)[:100]
        others = others[part[others] != part[one]]
        if not len(others):
            continue
        own, theirs = part[one], part[others]
        change = traits[others] - traits[one]
        square = (change**2).sum(axis=1)
        uneven = (2 * change @ held[own] + square) / share[own]
        uneven += (square - 2 * (change * held[theirs]).sum(axis=1)) / share[theirs]
        loads = np.tile(held[:, -1], (len(others), 1))
        loads[:, own] += change[:, -1]
        loads[np.arange(len(others)), theirs] -= change[:, -1]
        room = (loads <= share * (loads / share).min(axis=1, keepdims=True) + limit).all(axis=1)
        best = int(np.where(room, uneven, np.inf).argmin())
        if room[best] and uneven[best] < -1e-9:
            held[own] += change[best]
            held[theirs[best]] -= change[best]
            part[one], part[others[best]] = theirs[best], own


def assign_locations(location_ids: ArrayLike, areas: ArrayLike, k: int, seed: int) -> Integers:
    """Assign the locations of every area evenly to folds 1..k, which splits areas: [N]."""
    _, area = np.unique(np.asarray(areas), return_inverse=True)
    by_id = np.argsort(np.asarray(location_ids), kind="stable")
    rng = np.random.default_rng(seed)
    n_areas = int(area.max(initial=0)) + 1
    chance = np.empty(len(by_id))
    chance[by_id] = rng.random(len(by_id))
    order = np.lexsort((chance, rng.permutation(n_areas)[area]))
    fold = np.empty(len(order), np.int64)
    fold[order] = np.arange(len(order)) % k + 1
    return fold


def nested_share(keys: ArrayLike, deciles: ArrayLike, share: float, seed: int) -> NDArray[np.bool_]:
    """Which keys are in a share of them, even over the deciles, that lies in larger shares: [N]."""
    member, levels, _ = _by_area(keys, deciles)
    rng = np.random.default_rng(seed)
    order = _by_level(levels, rng)
    # Taken in bit-reversed order of their positions (van der Corput 1935): any share holds as many
    # keys of a decile as it should, give or take log2 of their number at most, mostly 2 or 3.
    position = np.arange(len(order))
    bits = max(len(order) - 1, 1).bit_length()
    reverse = np.zeros_like(position)
    for bit in range(bits):
        reverse |= ((position >> bit) & 1) << (bits - 1 - bit)
    # Flipping the same bits of all keeps the evenness and starts elsewhere.
    visited = order[np.argsort(reverse ^ rng.integers(1 << bits))]
    taken = np.zeros(len(order), np.bool_)
    taken[visited[: max(round(share * len(order)), 1)]] = True
    return taken[member]


def group_means(values: Floats, keys: Integers, n: int) -> Floats:
    """Give every key's mean of each column, NaN where all of its rows are: [n, M]."""
    means = np.full((n, values.shape[1]), np.nan)
    for column, mean in zip(values.T, means.T, strict=True):
        known = ~np.isnan(column)
        total = np.bincount(keys[known], column[known], n)
        count = np.bincount(keys[known], minlength=n)
        np.divide(total, count, out=mean, where=count > 0)
    return means


def _by_area(areas: ArrayLike, deciles: ArrayLike) -> tuple[Integers, Floats, Integers]:
    """Position of every location's area, and per sorted area its mean deciles and its size."""
    classes = np.asarray(deciles, np.float64)
    _, member, sizes = np.unique(np.asarray(areas), return_inverse=True, return_counts=True)
    # Sums of whole numbers are exact, so the order of the rows plays no part.
    return member, group_means(classes.reshape(len(classes), -1), member, len(sizes)), sizes


def _by_level(levels: Floats, rng: np.random.Generator) -> Integers:
    """Areas by their mean decile, equals shuffled; areas without any decile come last."""
    known = ~np.isnan(levels)
    count = known.sum(axis=1)
    mean = np.where(known, levels, 0).sum(axis=1) / np.maximum(count, 1)
    mean[count == 0] = np.inf
    shuffled = rng.permutation(len(levels))
    return shuffled[np.argsort(mean[shuffled].round(9), kind="stable")]


def _decile_codes(levels: Floats) -> tuple[Integers, int]:
    """Columns of a table with one column for each decile of each outcome, and one for missing."""
    rounded = np.nan_to_num(levels, nan=0).round().astype(np.int64)
    rounded -= rounded.min(initial=0)
    width = int(rounded.max(initial=0)) + 1
    return rounded + width * np.arange(levels.shape[1]), width * levels.shape[1]


Rows = NDArray[np.int64]
PARTS = ("training", "validation", "test")


@dataclass(frozen=True)
class Split:
    """One training: rows of three parts that share no area, unless it says so.

    Parameters
    ----------
    name : str
        A plain name, for it becomes a directory: ``fold-1``.., ``all``, ``train``, ``test``.
    fold : int
        Number that predictions of `test` carry, 1..; 0 where there is no test part.
    training, validation, test : array of int64
        Positions in the arrays that the split was made from, sorted. Each may be empty.
    excluded : mapping of str to array of int64
        Rows in none of the three parts, by the reason for it.
    label : str
        What is tested, where it has a name: a district, say.
    whole_areas : bool
        Whether no area may be in two parts. A split of single locations is made to leak, on
        purpose, and says so here.
    """

    name: str
    fold: int
    training: Rows
    validation: Rows
    test: Rows
    excluded: Mapping[str, Rows] = field(default_factory=dict)
    label: str = ""
    whole_areas: bool = True

    def map(self, change: Callable[[Rows], Rows]) -> Split:
        """Give the same split with the rows of every part changed."""
        excluded = {reason: change(rows) for reason, rows in self.excluded.items()}
        training, validation, test = (change(getattr(self, part)) for part in PARTS)
        return replace(self, training=training, validation=validation, test=test, excluded=excluded)


def take_share(split: Split, keys: ArrayLike, deciles: ArrayLike, share: float, seed: int) -> Split:
    """Let a split train on a share of its areas only; what it tests stays as it is.

    Parameters
    ----------
    split : Split
        As `make_splits` gives it.
    keys : array, shape [N]
        What there is a share of: the area of every location, or its own key.
    deciles : array, shape [N, M]
        Classes of the area per outcome, NaN where missing.
    share : float
        Of the training areas and of the validation areas, 0 to 1: every label that is used
        counts. At least one area of each; none of either for 0.
    seed : int
        That of `make_splits`, which does no other for ``train_size``: the areas are then the same.

    Returns
    -------
    Split
        Locations of the other areas are in ``excluded``.
    """
    if share >= 1:
        return split
    key, target = np.asarray(keys), np.asarray(deciles, np.float64)
    own = derive_seed(seed, split.name)
    taken = {}
    for part in ("training", "validation"):
        rows = taken[part] = getattr(split, part)
        if len(rows) and share > 0:
            seed_here = derive_seed(own, "share", part)
            taken[part] = rows[nested_share(key[rows], target[rows], share, seed_here)]
        else:
            taken[part] = rows[:0]
    before = np.concatenate([split.training, split.validation])
    out = np.setdiff1d(before, np.concatenate(list(taken.values())))
    why = f"it is not in the {share:.3g} that is used for training"
    out = np.union1d(out, split.excluded.get(why, out[:0]))  # a share of a share of the same size
    excluded = {**split.excluded, why: out} if len(out) else split.excluded
    return replace(split, **taken, excluded=excluded)
