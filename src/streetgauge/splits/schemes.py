"""Which locations a network learns from, which tell it when to stop, and which test it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from streetgauge.errors import InputError, closest
from streetgauge.seeds import derive_seed
from streetgauge.settings import FoldSettings
from streetgauge.splits.city import City, describe_city, mean_places
from streetgauge.splits.folds import area_folds, deal_locations, deal_units, validation_part
from streetgauge.splits.shares import take_share
from streetgauge.splits.split import Rows, Split

__all__ = ["Split", "make_splits"]

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


def make_splits(
    settings: FoldSettings,
    areas: ArrayLike,
    deciles: ArrayLike,
    *,
    seed: int,
    location_ids: ArrayLike | None = None,
    outcomes: Sequence[str] = (),
    coordinates: ArrayLike | None = None,
    units: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    fold: ArrayLike | None = None,
    validation: bool = True,
) -> list[Split]:
    """Split locations as the settings say; each area is in one part of a split only.

    Nothing depends on the order of the rows: the same keys get the same parts. See the guide's
    page on the method for what each scheme is for and which bounds it keeps.

    Parameters
    ----------
    settings : FoldSettings
        The scheme and its numbers; `file` is not read here, see `fold`.
    areas : array of str, shape [N]
        The area of every location.
    deciles : array, shape [N, M]
        Classes of the area per outcome, NaN where missing.
    seed : int
        Same seed and keys, same splits.
    location_ids : array of str, shape [N], optional
        Keys of the rows; without them, locations that are not kept together by area are told
        apart by their position.
    outcomes : sequence of str, length M, optional
        Names of the columns of `deciles`; ``by-class`` needs them, and with them it is looked at
        whether all have labels to learn from.
    coordinates : array of float, shape [N, 2], optional
        Where the locations are, in metres; NaN takes the mean of the area's others. ``blocks`` and
        `buffer` need them.
    units : array, shape [N], optional
        What is kept whole besides areas, see ``settings.unit``; None where not known.
    groups : array, shape [N], optional
        What ``leave-one-group-out`` tests one after the other; None where not known.
    fold : array of int, shape [N], optional
        Folds that are made already (0: never tested); then the scheme plays no part.
    validation : bool
        Whether to set a validation part apart, in schemes that have one.

    Returns
    -------
    list of Split
        A split for every test part, and the split ``all`` for a network on everything if
        ``settings.final``. ``train-only`` gives ``all`` alone; ``test-only`` gives ``test``, with
        nothing to learn from.

    Raises
    ------
    InputError
        If there are fewer areas, blocks or groups than needed, an area lies in two groups, a
        coordinate or a column that the scheme needs is missing, no area has the classes asked for,
        nothing is left to learn from, or no area of a part has a label of an outcome.
    """
    city = describe_city(
        settings.unit, areas, deciles, location_ids, coordinates, units, groups, outcomes
    )
    if settings.scheme == "blocks" and fold is None:
        city = replace(city, unit=_blocks(settings, city), whole="block")
    if fold is not None:
        tests = _numbered(_whole(np.asarray(fold, np.int64), settings, city))
    else:
        tests = _SCHEMES[settings.scheme](settings, city, seed)
    if settings.final and settings.scheme not in ("train-only", "test-only"):
        tests.append(_nothing(city, "all"))
    validation = validation and settings.scheme not in ("train-test", "test-only")
    keys = city.area if settings.train_size_unit == "areas" else city.location
    splits = [
        take_share(
            _split(test, settings, city, derive_seed(seed, test.name), validation),
            *(keys, city.deciles, settings.train_size, seed),
        )
        for test in tests
    ]
    labelled = ~np.isnan(city.deciles)
    for split in splits if city.outcomes else ():
        _require_labels(split, labelled, city)
    return splits


@dataclass(frozen=True)
class _Test:
    """What one split tests, before it is said what the others are for."""

    name: str
    fold: int
    rows: Flags
    excluded: Mapping[str, Flags] = field(default_factory=dict)
    label: str = ""


def _split(test: _Test, settings: FoldSettings, city: City, seed: int, validation: bool) -> Split:
    """Part what is not tested: left out, validation, training."""
    excluded = dict(test.excluded)
    pool = ~test.rows
    for rows in excluded.values():
        pool = pool & ~rows
    tested = np.zeros(city.n_units, np.bool_)
    tested[city.unit[test.rows]] = True
    torn = pool & tested[city.unit]
    if torn.any():
        excluded[f"its {city.whole} is tested"] = torn
        pool &= ~torn
    if settings.buffer and test.rows.any():
        near = pool.copy()
        near[pool] = _within(settings.buffer, city.places()[pool], city.places()[test.rows])
        excluded[f"within {settings.buffer:,g} m of a tested location"] = near
        pool &= ~near
    stopping = np.zeros(len(pool), np.bool_)
    if validation:
        stopping[pool] = _validation(pool, test, settings, city, derive_seed(seed, "validation"))
    elif settings.scheme != "test-only" and not pool.any():
        raise _too_few(0, test, settings, city)
    return Split(
        name=test.name,
        fold=test.fold,
        training=np.flatnonzero(pool & ~stopping),
        validation=np.flatnonzero(stopping),
        test=np.flatnonzero(test.rows),
        excluded={why: np.flatnonzero(rows) for why, rows in excluded.items() if rows.any()},
        label=test.label,
        whole_areas=settings.unit != "location",
    )


def _validation(rows: Flags, test: _Test, settings: FoldSettings, city: City, seed: int) -> Flags:
    """Which of the rows tell when to stop: whole units, like those that are tested."""
    unit, area, deciles = city.unit[rows], city.area[rows], city.deciles[rows]
    n_units = len(np.unique(unit))
    if n_units < 2:
        raise _too_few(n_units, test, settings, city)
    if n_units < len(np.unique(area)):
        shares = [settings.validation, 1 - settings.validation]
        part: Flags = deal_units(unit, area, deciles, shares, seed) == 0
        return part
    return validation_part(unit, deciles, settings.validation, seed)


def _within(metres: float, places: Floats, of: Floats) -> Flags:
    """Which places have one of the others at most so many metres away."""
    bound = np.nextafter(metres, np.inf)
    distance, _ = KDTree(of).query(places, distance_upper_bound=bound)
    near: Flags = distance <= metres
    return near


# --- schemes --------------------------------------------------------------------------------------


def _k_fold(settings: FoldSettings, city: City, seed: int) -> list[_Test]:
    k = settings.k
    if settings.unit == "location":
        return _numbered(deal_locations(city.location, city.area, k, seed))
    if city.n_units == len(city.area_names):
        return _numbered(area_folds(city.area, city.deciles, k, seed))
    if city.n_units < k:
        size = f"{settings.block:,g} m blocks" if settings.scheme == "blocks" else f"{city.whole}s"
        smaller = "smaller blocks" if settings.scheme == "blocks" else "smaller units"
        raise InputError(
            "folds.k",
            f"the locations lie in {city.n_units} {size}, too few for {k} folds",
            f"use fewer folds or {smaller}",
        )
    part = deal_units(city.unit, city.area, city.deciles, np.ones(k), seed)
    return _numbered(part + 1)


def _leave_one_group_out(settings: FoldSettings, city: City, seed: int) -> list[_Test]:
    what = settings.group or "group"
    if city.groups is None:
        raise InputError("folds.group", f"it is not known which {what} a location lies in")
    known = np.asarray(pd.notna(city.groups), np.bool_)
    code, names = pd.factorize(city.groups[known].astype(str).astype(object), sort=True)
    pairs = np.unique(np.column_stack([city.area[known], code]), axis=0)
    torn = np.flatnonzero(pairs[1:, 0] == pairs[:-1, 0])
    if len(torn):
        area, first = pairs[torn[0]]
        raise InputError(
            f"area '{city.area_names[area]}'",
            f"it lies in {what} '{names[first]}' and in '{names[pairs[torn[0] + 1, 1]]}'",
            "an area is never split: take a column of which each area has one value",
        )
    if len(names) < 2:
        found = f"only one {what} ('{names[0]}')" if len(names) else f"no {what} at all"
        raise InputError("folds.group", f"there is {found}, so none to learn from", "use k-fold")
    group = np.full(len(known), -1)
    group[known] = code
    excluded = {} if known.all() else {f"its {what} is not known": ~known}
    return [
        _Test(f"fold-{i + 1}", i + 1, group == i, excluded, str(name))
        for i, name in enumerate(names)
    ]


def _hold_out(settings: FoldSettings, city: City, seed: int) -> list[_Test]:
    if city.n_units < 2:
        raise InputError("folds.test", f"{city.n_units} {city.whole} cannot be split", "add areas")
    own = derive_seed(seed, "test")
    if settings.unit == "location" or city.n_units == len(city.area_names):
        rows = validation_part(city.unit, city.deciles, settings.test, own)
    else:
        shares = [settings.test, 1 - settings.test]
        rows = deal_units(city.unit, city.area, city.deciles, shares, own) == 0
    return [_Test("train", 1, rows)]


def _by_class(settings: FoldSettings, city: City, seed: int) -> list[_Test]:
    outcome = settings.outcome or ""
    if outcome not in city.outcomes:
        raise InputError(
            "folds.outcome", f"there is no outcome '{outcome}'", closest(outcome, city.outcomes)
        )
    decile = city.deciles[:, list(city.outcomes).index(outcome)]
    absent = sorted(set(settings.classes) - set(decile[~np.isnan(decile)]))
    if absent:
        raise InputError(
            "folds.classes",
            f"no area has class {absent[0]} of '{outcome}'",
            "test on classes that occur",
        )
    rows = np.isin(decile, settings.classes)
    unknown = np.isnan(decile)
    excluded = {f"its area has no decile of '{outcome}'": unknown} if unknown.any() else {}
    return [_Test("train", 1, rows, excluded, f"{outcome} {', '.join(map(str, settings.classes))}")]


def _train_only(settings: FoldSettings, city: City, seed: int) -> list[_Test]:
    return [_nothing(city, "all")]


def _test_only(settings: FoldSettings, city: City, seed: int) -> list[_Test]:
    return [_Test("test", 1, np.ones(len(city.area), np.bool_))]


_SCHEMES: dict[str, Callable[[FoldSettings, City, int], list[_Test]]] = {
    "k-fold": _k_fold,
    "blocks": _k_fold,
    "leave-one-group-out": _leave_one_group_out,
    "train-validation-test": _hold_out,
    "train-test": _hold_out,
    "by-class": _by_class,
    "train-only": _train_only,
    "test-only": _test_only,
}


def _numbered(fold: Rows) -> list[_Test]:
    return [_Test(f"fold-{i}", int(i), fold == i) for i in np.unique(fold[fold > 0])]


def _nothing(city: City, name: str) -> _Test:
    return _Test(name, 0, np.zeros(len(city.area), np.bool_))


def _blocks(settings: FoldSettings, city: City) -> Rows:
    """Give the number of the block in which every unit's mean position lies: [N].

    Blocks start at the origin of the coordinates, so that they are the same whatever locations
    there are.
    """
    cell = np.floor(mean_places(city.places(), city.unit) / (settings.block or np.inf))
    block: Rows = np.unique(cell, axis=0, return_inverse=True)[1].ravel()[city.unit]
    return block


# --- what is refused ------------------------------------------------------------------------------


def _whole(fold: Rows, settings: FoldSettings, city: City) -> Rows:
    """Give folds that were made elsewhere, if they split no area here."""
    first = np.zeros(len(city.area_names), np.int64)
    first[city.area] = fold
    torn = city.area[fold != first[city.area]]
    if len(torn) and settings.unit != "location":
        raise InputError(
            f"area '{city.area_names[torn.min()]}'",
            "the stored folds have it in two folds",
            "they were made for other areas: make new ones",
        )
    if not (fold > 0).any():
        raise InputError("folds.file", "no location of it is in a fold", "make new folds")
    return fold


def _too_few(n_units: int, test: _Test, settings: FoldSettings, city: City) -> InputError:
    what = f"{test.name} ({test.label})" if test.label else test.name
    left = f"{n_units} {city.whole} is" if n_units == 1 else "nothing is"
    around = ""
    if test.rows.any():
        around = f" farther than {settings.buffer:,g} m from" if settings.buffer else " besides"
        around += " what is tested"
    ways = ["a smaller buffer"] if settings.buffer else []
    ways += ["smaller blocks"] if settings.scheme == "blocks" else ["more areas"]
    return InputError(
        what,
        f"{left} left to learn from{around}, and a training and a validation part need 2",
        f"use {' or '.join(ways)}",
    )


def _require_labels(split: Split, labelled: Flags, city: City) -> None:
    for part, rows in {"training": split.training, "validation": split.validation}.items():
        for m in np.flatnonzero(~labelled[rows].any(axis=0) & (len(rows) > 0))[:1]:
            raise InputError(
                f"outcome '{city.outcomes[m]}'",
                f"no area of the {part} part of {split.name} has a label",
                "leave the outcome out, use fewer folds or a larger share",
            )
