"""Dealing areas to parts of the data: folds to test on, a part to stop early on, shares.

All of it works on whole areas, gives every part its share of every decile, does not depend on the
order of the rows, and takes time linear in the areas, apart from sorting.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from streetgauge.errors import InputError

__all__ = ["area_folds", "deal_locations", "deal_units", "nested_share", "validation_part"]

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


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
            f"{len(sizes)} area{'s' * (len(sizes) != 1)} cannot be dealt to {k} folds",
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


def deal_units(
    units: ArrayLike, areas: ArrayLike, deciles: ArrayLike, shares: ArrayLike, seed: int
) -> Integers:
    """Deal units of many areas (blocks, districts) to parts of given shares.

    By and large the larger ones first, each goes where it adds least to the unevenness of deciles
    and of locations, but never where it would take a part far over its share; then pairs are
    swapped where that evens out more. Hence, with S the locations of the largest unit:

    - no unit is in two parts;
    - parts of equal shares differ by at most S locations;
    - each of two parts of any shares has its share of the locations give or take S;
    - no part is empty.

    Parameters
    ----------
    units, areas : array, shape [N]
        The unit and the area of every location; an area lies in one unit.
    deciles : array, shape [N, M]
        Classes of the area per outcome, NaN where missing.
    shares : array of float, shape [P]
        Of the locations, for each part; they are scaled to add up to 1.
    seed : int
        Decides in which order; same seed and units, same parts.

    Returns
    -------
    array of int64, shape [N]
        The part of every location, 0..P-1.

    Raises
    ------
    InputError
        If there are fewer units than parts.
    """
    share = np.asarray(shares, np.float64)
    share = share / share.sum()
    _, unit = np.unique(np.asarray(units), return_inverse=True)
    size = np.bincount(unit)
    if len(size) < len(share):
        raise InputError(
            "folds", f"{len(size)} units cannot be dealt to {len(share)} parts", "use smaller ones"
        )
    rng = np.random.default_rng(seed)
    weight = size / size.mean()
    traits = np.column_stack([_mixes(unit, areas, deciles), weight])
    held = np.zeros((len(share), traits.shape[1]))
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
    dealt: Integers = part[unit]
    return dealt


def _swap(
    part: Integers,
    traits: Floats,
    held: Floats,
    share: Floats,
    limit: float,
    rng: np.random.Generator,
) -> None:
    """Swap units between parts where that makes them more alike; changes `part` and `held`.

    Few units are dealt unevenly by going through them once. Many are not, so the number of tries
    is bounded, and with it the time.
    """
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


def deal_locations(location_ids: ArrayLike, areas: ArrayLike, k: int, seed: int) -> Integers:
    """Deal the locations of every area to folds as evenly as can be: areas are split, on purpose.

    Folds differ by at most 1 location, and so does what they have of any one area.

    Parameters
    ----------
    location_ids, areas : array, shape [N]
        Keys of the locations, each there once, and their areas.
    k : int
        Number of folds.
    seed : int
        Same seed and keys, same folds, in whatever order the rows are.

    Returns
    -------
    array of int64, shape [N]
        The fold of every location, 1..k.
    """
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
    """Take a share of areas or locations that is a small picture of all, and lies in larger shares.

    Keys are sorted by their mean decile, equals shuffled, and taken in bit-reversed order of their
    positions (van der Corput 1935). So the first 5 % are among the first 10 %, and any share holds
    as many keys of a decile as it should, give or take log2 of their number at most, mostly 2 or 3.

    Parameters
    ----------
    keys : array, shape [N]
        What there is a share of: the area or the location_id of every location.
    deciles : array, shape [N, M]
        Classes per outcome, NaN where missing.
    share : float
        Of the keys, above 0; at least one is taken.
    seed : int
        Same seed and keys, same share, in whatever order the rows are.

    Returns
    -------
    array of bool, shape [N]
        True for what is taken.
    """
    member, levels, _ = _by_area(keys, deciles)
    rng = np.random.default_rng(seed)
    order = _by_level(levels, rng)
    position = np.arange(len(order))
    bits = max(len(order) - 1, 1).bit_length()
    reverse = np.zeros_like(position)
    for bit in range(bits):
        reverse |= ((position >> bit) & 1) << (bits - 1 - bit)
    # Flipping the same bits of all keeps the evenness and starts elsewhere.
    visited = order[np.argsort(reverse ^ rng.integers(1 << bits))]
    taken = np.zeros(len(order), np.bool_)
    taken[visited[: max(round(share * len(order)), 1)]] = True
    chosen: NDArray[np.bool_] = taken[member]
    return chosen


def _mixes(unit: Integers, areas: ArrayLike, deciles: ArrayLike) -> Floats:
    """Areas of each outcome's each decile in every unit, in mean units, over the outcomes."""
    member, levels, sizes = _by_area(areas, deciles)
    first = np.zeros(len(sizes), np.int64)
    first[member] = unit
    code, n_codes = _decile_codes(levels)
    mix = np.zeros((int(unit.max(initial=0)) + 1, n_codes))
    np.add.at(mix, (first[:, np.newaxis], code), 1)
    scaled: Floats = mix * (len(mix) / len(sizes) / np.sqrt(levels.shape[1]))
    return scaled


def _by_area(areas: ArrayLike, deciles: ArrayLike) -> tuple[Integers, Floats, Integers]:
    """Position of every location's area, and per sorted area its mean deciles and its size."""
    classes = np.asarray(deciles, np.float64)
    classes = classes.reshape(len(classes), -1)
    _, member, sizes = np.unique(np.asarray(areas), return_inverse=True, return_counts=True)
    levels = np.empty((len(sizes), classes.shape[1]))
    for column, level in zip(classes.T, levels.T, strict=True):
        known = ~np.isnan(column)
        # Sums of whole numbers are exact, so the order of the rows plays no part.
        total = np.bincount(member[known], column[known], len(sizes))
        count = np.bincount(member[known], minlength=len(sizes))
        level[:] = np.divide(total, count, out=np.full(len(sizes), np.nan), where=count > 0)
    return member.astype(np.int64), levels, sizes.astype(np.int64)


def _by_level(levels: Floats, rng: np.random.Generator) -> Integers:
    """Areas by their mean decile, equals shuffled; areas without any decile come last."""
    known = ~np.isnan(levels)
    count = known.sum(axis=1)
    mean = np.where(known, levels, 0).sum(axis=1) / np.maximum(count, 1)
    mean[count == 0] = np.inf
    shuffled = rng.permutation(len(levels))
    order: Integers = shuffled[np.argsort(mean[shuffled].round(9), kind="stable")]
    return order


def _decile_codes(levels: Floats) -> tuple[Integers, int]:
    """Columns of a table with one column for each decile of each outcome, and one for missing."""
    rounded = np.nan_to_num(levels, nan=0).round().astype(np.int64)
    rounded -= rounded.min(initial=0)
    width = int(rounded.max(initial=0)) + 1
    return rounded + width * np.arange(levels.shape[1]), width * levels.shape[1]
