"""The schemes: which locations a network is trained on, stopped early on and tested on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from streetgauge.errors import InputError, closest
from streetgauge.io.tables import refuse_repeated
from streetgauge.seeds import derive_seed
from streetgauge.settings import FoldSettings
from streetgauge.splits.folds import (
    Rows,
    Split,
    area_folds,
    assign_locations,
    assign_units,
    group_means,
    take_share,
    validation_part,
)

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LocationColumns:
    """What may be known of N locations besides their area and its deciles.

    Parameters
    ----------
    location_ids : array of str, shape [N], optional
        Keys of the rows; without them, locations that are not held together by area are
        distinguished by their position.
    outcomes : sequence of str, length M, optional
        Names of the columns of deciles; ``by-class`` needs them, and with them an outcome without
        any label in a part is refused.
    coordinates : array of float, shape [N, 2], optional
        Where the locations are, in metres; NaN takes the mean of the area's others. ``blocks`` and
        ``buffer`` need them.
    units : array, shape [N], optional
        What stays whole besides areas, see ``settings.unit``; None where not known.
    groups : array, shape [N], optional
        What ``leave-one-group-out`` tests one after the other; None where not known.
    """

    location_ids: ArrayLike | None = None
    outcomes: Sequence[str] = ()
    coordinates: ArrayLike | None = None
    units: ArrayLike | None = None
    groups: ArrayLike | None = None


def make_splits(
    settings: FoldSettings,
    areas: ArrayLike,
    deciles: ArrayLike,
    *,
    seed: int,
    columns: LocationColumns | None = None,
    fold: ArrayLike | None = None,
    validation: bool = True,
) -> list[Split]:
    """Split locations by the settings; each area is in one part of a split only.

    Nothing depends on the order of the rows: the same keys get the same parts. See the guide's
    page on the method for what each scheme is for and which bounds it respects.

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
    columns : LocationColumns, optional
        What else is known of the locations.
    fold : array of int, shape [N], optional
        Folds that are made already (0: never tested); then the scheme plays no part.
    validation : bool
        Whether to set a validation part apart, in schemes that have one.

    Returns
    -------
    list of Split
        A split for every test part, and the split ``all`` for a network on everything if
        ``settings.final``. ``train-only`` gives ``all`` alone; ``test-only`` gives ``test``, with
        nothing to train on.

    Raises
    ------
    InputError
        If there are fewer areas, blocks or groups than needed, an area lies in two groups, a
        coordinate or a column that the scheme needs is missing, no area has the classes asked for,
        nothing is left to train on, or no area of a part has a label of an outcome.
    """
    columns = columns or LocationColumns()
    outcomes = columns.outcomes
    data = _prepare(settings, areas, deciles, columns)
    if fold is not None:
        tests = _stored(data, np.asarray(fold, np.int64))
    else:
        if settings.scheme == "blocks":
            data = replace(data, unit=_blocks(data), whole="block")
        tests = _SCHEMES[settings.scheme](data, seed)
    if settings.final and settings.scheme not in ("train-only", "test-only"):
        tests += _train_only(data, seed)
    validation = validation and settings.scheme not in ("train-test", "test-only")
    keys = data.area if settings.train_size_unit == "areas" else data.location
    splits = []
    for test in tests:
        split = _complete(test, data, derive_seed(seed, test.name), validation)
        splits.append(take_share(split, keys, data.deciles, settings.train_size, seed))
    for split in splits if outcomes else ():
        _require_labels(split, data)
    return splits


@dataclass(frozen=True)
class _Data:
    """N locations in areas in units; keys are numbers in the order of their names."""

    settings: FoldSettings
    location: Rows
    area: Rows
    area_names: NDArray[Any]
    unit: Rows  # never in two parts of a split; an area lies in one
    whole: str  # what a unit is called
    deciles: Floats  # [N, M], NaN where missing
    outcomes: Sequence[str]
    coordinates: Floats | None  # [N, 2] in metres, NaN where none is known in the area
    groups: NDArray[Any] | None

    @property
    def n_units(self) -> int:
        return int(self.unit.max()) + 1

    def known_coordinates(self) -> Floats:
        """Give the coordinates of all rows; an error if one has none."""
        if self.coordinates is None:
            raise InputError(
                "folds.scheme",
                "blocks and buffers are in metres, and the locations have no coordinates",
                "add columns with latitude and longitude to the locations",
            )
        missing = np.isnan(self.coordinates).any(axis=1)
        if missing.any():
            raise InputError(
                f"area '{self.area_names[self.area[missing].min()]}'",
                "none of its locations has coordinates, which blocks and buffers need",
                "add them, or exclude the area",
            )
        return self.coordinates


def _prepare(
    settings: FoldSettings, areas: ArrayLike, deciles: ArrayLike, columns: LocationColumns
) -> _Data:
    """Give keys numbers, join areas to units, fill in coordinates."""
    area, names = pd.factorize(np.asarray(areas, object), sort=True)
    n = len(area)
    if not n:
        raise InputError("folds", "there are no locations to split", "see what was excluded")
    if (area < 0).any():
        raise InputError(f"row {int((area < 0).argmax())}", "it has no area", "exclude it")
    array: dict[str, NDArray[Any]] = {}
    names_of = ("location_ids", "units", "groups", "coordinates")
    rows = {"deciles": deciles, **{name: getattr(columns, name) for name in names_of}}
    for name, values in rows.items():
        if values is not None:
            numbers = name in ("deciles", "coordinates")
            array[name] = np.asarray(values, np.float64 if numbers else object)
            if len(array[name]) != n:
                reason = f"its length {len(array[name])} does not fit the others: {n}"
                raise InputError(name, reason, "give one for each location")
    location, known = pd.factorize(array.get("location_ids", np.arange(n)), sort=True)
    if len(known) < n:
        refuse_repeated(pd.Index(known[location]), "folds", "location")
    whole, unit = settings.unit, {"location": location, "area": area}.get(settings.unit)
    if unit is None:
        if "units" not in array:
            raise InputError(
                "folds.unit",
                f"it is not known which {whole} a location lies in",
                "name it in areas.columns",
            )
        unit = _joined(area, array["units"])
    xy = array.get("coordinates")
    if xy is not None:
        missing = np.isnan(xy).any(axis=1, keepdims=True)
        xy = np.where(missing, _mean_coordinates(xy, area)[area], xy)
    classes, group = array["deciles"].reshape(n, -1), array.get("groups")
    return _Data(settings, location, area, names, unit, whole, classes, columns.outcomes, xy, group)


def _mean_coordinates(xy: Floats, keys: Rows) -> Floats:
    """Give the mean position of every key's rows, NaN where there is none: [keys, 2]."""
    known = np.flatnonzero(~np.isnan(xy).any(axis=1))
    # Sums of floats depend on the order: put equal rows in one and the same.
    rows = known[np.lexsort((xy[known, 1], xy[known, 0], keys[known]))]
    return group_means(xy[rows], keys[rows], int(keys.max()) + 1)


def _codes(values: NDArray[Any]) -> tuple[Flags, Rows, NDArray[Any]]:
    """Which values are known, and for these their numbers in the order of the names."""
    known = np.asarray(pd.notna(values), np.bool_)
    return known, *pd.factorize(values[known].astype(str).astype(object), sort=True)


def _joined(area: Rows, units: NDArray[Any]) -> Rows:
    """Give numbers to what hangs together by area or by unit, in the order of the areas: [N].

    An area that lies in two units joins them; an area without any stands for itself.
    """
    known, unit, unit_names = _codes(units)
    n_areas = int(area.max()) + 1
    n = n_areas + len(unit_names)
    links = coo_array((np.ones(len(unit)), (area[known], n_areas + unit)), shape=(n, n))
    _, component = connected_components(links, directed=False)
    return np.unique(component[:n_areas], return_inverse=True)[1][area]


def _complete(test: Split, data: _Data, seed: int, validation: bool) -> Split:
    """Split what is not tested: excluded, validation, training."""
    settings, excluded = data.settings, dict(test.excluded)
    rows = np.setdiff1d(np.arange(len(data.area)), np.concatenate([test.test, *excluded.values()]))
    tested = np.isin(data.unit[rows], data.unit[test.test])
    excluded[f"its {data.whole} is tested"] = rows[tested]
    rows = rows[~tested]
    if settings.buffer and len(test.test):
        xy = data.known_coordinates()
        bound = np.nextafter(settings.buffer, np.inf)
        distance, _ = KDTree(xy[test.test]).query(xy[rows], distance_upper_bound=bound)
        near = distance <= settings.buffer
        excluded[f"within {settings.buffer:,g} m of a tested location"] = rows[near]
        rows = rows[~near]
    stopping = np.zeros(len(rows), np.bool_)
    n_units = len(np.unique(data.unit[rows]))
    if n_units < (2 if validation else 0 if settings.scheme == "test-only" else 1):
        raise _too_few(n_units, test, data)
    if validation:
        stopping = _share(data, rows, settings.validation, derive_seed(seed, "validation"))
    return replace(
        test,
        training=rows[~stopping],
        validation=rows[stopping],
        excluded={why: out for why, out in excluded.items() if len(out)},
        whole_areas=settings.unit != "location",
    )


def _share(data: _Data, rows: Rows, share: float, seed: int) -> Flags:
    """Which of the rows are in a share of them, of whole units."""
    unit, area, deciles = data.unit[rows], data.area[rows], data.deciles[rows]
    if len(np.unique(unit)) < len(np.unique(area)):
        part: Flags = assign_units(unit, area, deciles, [share, 1 - share], seed) == 0
        return part
    return validation_part(unit, deciles, share, seed)


# --- schemes: what each split tests ---------------------------------------------------------------


def _test(
    name: str, fold: int, rows: Flags, excluded: Mapping[str, Flags] | None = None, label: str = ""
) -> Split:
    none = np.empty(0, np.int64)
    out = {why: np.flatnonzero(flags) for why, flags in (excluded or {}).items()}
    return Split(name, fold, none, none, np.flatnonzero(rows), out, label)


def _numbered(fold: Rows) -> list[Split]:
    return [_test(f"fold-{i}", int(i), fold == i) for i in np.unique(fold[fold > 0])]


def _k_fold(data: _Data, seed: int) -> list[Split]:
    settings, k = data.settings, data.settings.k
    if settings.unit == "location":
        return _numbered(assign_locations(data.location, data.area, k, seed))
    if data.n_units == len(data.area_names):
        return _numbered(area_folds(data.area, data.deciles, k, seed))
    if data.n_units < k:
        blocks = settings.scheme == "blocks"
        size = f"{settings.block:,g} m blocks" if blocks else f"{data.whole}s"
        raise InputError(
            "folds.k",
            f"the locations lie in {data.n_units} {size}, too few for {k} folds",
            f"use fewer folds or smaller {'blocks' if blocks else 'units'}",
        )
    return _numbered(assign_units(data.unit, data.area, data.deciles, np.ones(k), seed) + 1)


def _blocks(data: _Data) -> Rows:
    """Give the number of the square block in which every unit's mean position lies: [N]."""
    # Blocks start at the origin, so that they are the same whatever locations there are.
    cell = np.floor(
        _mean_coordinates(data.known_coordinates(), data.unit) / (data.settings.block or np.inf)
    )
    return np.unique(cell, axis=0, return_inverse=True)[1].ravel()[data.unit]


def _leave_one_group_out(data: _Data, seed: int) -> list[Split]:
    what = data.settings.group or "group"
    if data.groups is None:
        raise InputError(
            "folds.group",
            f"it is not known which {what} a location lies in",
            "name it in areas.columns",
        )
    known, code, names = _codes(data.groups)
    if divided := _in_two(data.area[known], code):
        area, one, other = divided
        raise InputError(
            f"area '{data.area_names[area]}'",
            f"it lies in {what} '{names[one]}' and in '{names[other]}'",
            "an area is never split: use a column with one value for each area",
        )
    if len(names) < 2:
        found = f"only one {what} ('{names[0]}')" if len(names) else f"no {what} at all"
        raise InputError("folds.group", f"there is {found}, so none to train on", "use k-fold")
    group = np.full(len(known), -1)
    group[known] = code
    excluded = {f"its {what} is not known": ~known}
    return [
        _test(f"fold-{i + 1}", i + 1, group == i, excluded, str(name))
        for i, name in enumerate(names)
    ]


def _hold_out(data: _Data, seed: int) -> list[Split]:
    if data.n_units < 2:
        raise InputError("folds.test", f"{data.n_units} {data.whole} cannot be split", "add areas")
    rows = np.arange(len(data.area))
    return [_test("train", 1, _share(data, rows, data.settings.test, derive_seed(seed, "test")))]


def _by_class(data: _Data, seed: int) -> list[Split]:
    outcome, classes = data.settings.outcome or "", data.settings.classes
    if outcome not in data.outcomes:
        raise InputError(
            "folds.outcome", f"there is no outcome '{outcome}'", closest(outcome, data.outcomes)
        )
    decile = data.deciles[:, list(data.outcomes).index(outcome)]
    if absent := sorted(set(classes) - set(np.unique(decile))):
        raise InputError(
            "folds.classes",
            f"no area has class {absent[0]} of '{outcome}'",
            "test on classes that occur",
        )
    excluded = {f"its area has no decile of '{outcome}'": np.isnan(decile)}
    label = f"{outcome} {', '.join(map(str, classes))}"
    return [_test("train", 1, np.isin(decile, classes), excluded, label)]


def _train_only(data: _Data, seed: int) -> list[Split]:
    return [_test("all", 0, np.zeros(len(data.area), np.bool_))]


def _test_only(data: _Data, seed: int) -> list[Split]:
    return [_test("test", 1, np.ones(len(data.area), np.bool_))]


def _stored(data: _Data, fold: Rows) -> list[Split]:
    """Use folds that were made elsewhere, if they split no area here."""
    divided = _in_two(data.area, fold)
    if divided and data.settings.unit != "location":
        raise InputError(
            f"area '{data.area_names[divided[0]]}'",
            "the stored folds have it in two folds",
            "they were made for other areas: make new ones",
        )
    if not (fold > 0).any():
        raise InputError("folds.file", "no location of it is in a fold", "make new folds")
    return _numbered(fold)


_SCHEMES: dict[str, Callable[[_Data, int], list[Split]]] = {
    "k-fold": _k_fold,
    "blocks": _k_fold,
    "leave-one-group-out": _leave_one_group_out,
    "train-validation-test": _hold_out,
    "train-test": _hold_out,
    "by-class": _by_class,
    "train-only": _train_only,
    "test-only": _test_only,
}


# --- what is refused ------------------------------------------------------------------------------


def _in_two(keys: Rows, values: Rows) -> tuple[int, int, int] | None:
    """Find the first key with two values, and these."""
    pairs = np.unique(np.column_stack([keys, values]), axis=0)
    again = np.flatnonzero(pairs[1:, 0] == pairs[:-1, 0])
    return (*pairs[again[0]], pairs[again[0] + 1, 1]) if len(again) else None


def _too_few(n_units: int, test: Split, data: _Data) -> InputError:
    settings, around = data.settings, ""
    if len(test.test):
        around = f" farther than {settings.buffer:,g} m from" if settings.buffer else " besides"
        around += " what is tested"
    left = f"{n_units} {data.whole} is" if n_units == 1 else "nothing is"
    ways = ["a smaller buffer"] if settings.buffer else []
    ways += ["smaller blocks"] if settings.scheme == "blocks" else ["more areas"]
    return InputError(
        f"{test.name} ({test.label})" if test.label else test.name,
        f"{left} left to train on{around}, and a training and a validation part need 2",
        f"use {' or '.join(ways)}",
    )


def _require_labels(split: Split, data: _Data) -> None:
    for part in ("training", "validation"):
        deciles = data.deciles[getattr(split, part)]
        absent = np.flatnonzero(np.isnan(deciles).all(axis=0))
        if len(deciles) and len(absent):
            raise InputError(
                f"outcome '{data.outcomes[absent[0]]}'",
                f"no area of the {part} part of {split.name} has a label",
                "exclude the outcome, use fewer folds or a larger share",
            )
