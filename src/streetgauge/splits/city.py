"""What is known of the locations that are to be split, with keys as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from streetgauge.errors import InputError

__all__ = ["City", "describe_city", "mean_places"]

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class City:
    """N locations in areas in units; numbers are in the order of the names, whatever the rows'.

    Parameters
    ----------
    location, area, unit : array of int64, shape [N]
        Numbers of the keys, from 0. A unit is what is never in two parts; an area lies in one.
    area_names : array
        By the number of the area.
    whole : str
        What a unit is called.
    deciles : array of float64, shape [N, M]
        NaN where missing.
    outcomes : sequence of str
        Their names; none if not known.
    place : array of float64, shape [N, 2], optional
        In metres, NaN for locations of areas of which nothing is known.
    groups : array, shape [N], optional
        None where not known.
    """

    location: Numbers
    area: Numbers
    unit: Numbers
    area_names: NDArray[Any]
    whole: str
    deciles: Floats
    outcomes: Sequence[str]
    place: Floats | None
    groups: NDArray[Any] | None

    @property
    def n_units(self) -> int:
        """How many units there are."""
        return int(self.unit.max(initial=-1)) + 1

    def places(self) -> Floats:
        """Give the places of all rows; an error if one has none."""
        if self.place is None:
            raise InputError(
                "folds.scheme",
                "blocks and buffers are in metres, and the locations have no coordinates",
                "add columns with latitude and longitude to the locations",
            )
        missing = np.isnan(self.place).any(axis=1)
        if missing.any():
            raise InputError(
                f"area '{self.area_names[self.area[missing].min()]}'",
                "none of its locations has coordinates, which blocks and buffers need",
                "add them or leave the area out",
            )
        return self.place


def describe_city(
    whole: str,
    areas: ArrayLike,
    deciles: ArrayLike,
    location_ids: ArrayLike | None = None,
    coordinates: ArrayLike | None = None,
    units: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    outcomes: Sequence[str] = (),
) -> City:
    """Give keys numbers, join areas to units, fill in coordinates; see `make_splits`."""
    area, names = pd.factorize(np.asarray(areas, object), sort=True)
    n = len(area)
    if not n:
        raise InputError("folds", "there are no locations to split", "see what was left out")
    if (area < 0).any():
        raise InputError(f"row {int((area < 0).argmax())}", "it has no area", "leave it out")
    classes = np.asarray(deciles, np.float64)
    classes = classes.reshape(n, -1) if classes.ndim < 2 else classes
    place = None if coordinates is None else np.asarray(coordinates, np.float64)
    ids = np.arange(n) if location_ids is None else np.asarray(location_ids)
    unit = None if units is None else np.asarray(units, object)
    group = None if groups is None else np.asarray(groups, object)
    rows = {"deciles": classes, "location_ids": ids, "units": unit, "groups": group}
    for name, array in {**rows, "coordinates": place}.items():
        if array is not None and len(array) != n:
            raise InputError(name, f"its length {len(array)} does not fit the others: {n}")
    location, known = pd.factorize(ids.astype(object), sort=True)
    if len(known) < n:
        twice = known[np.bincount(location).argmax()]
        raise InputError(f"location '{twice}'", "it is there twice", "keep one row of it")
    if whole == "location":
        number = location
    elif whole == "area":
        number = area
    elif unit is None:
        raise InputError("folds.unit", f"it is not known which {whole} a location lies in")
    else:
        number = _joined(area, unit)
    place = None if place is None else _filled(place, area)
    return City(location, area, number, names, whole, classes, outcomes, place, group)


def mean_places(places: Floats, keys: Numbers) -> Floats:
    """Give the mean place of every key's rows, NaN where there is none: [keys, 2]."""
    known = np.flatnonzero(~np.isnan(places).any(axis=1))
    # Sums of floats depend on the order: put equal rows in one and the same.
    rows = known[np.lexsort((places[known, 1], places[known, 0], keys[known]))]
    n = int(keys.max(initial=-1)) + 1
    count = np.bincount(keys[rows], minlength=n)
    mean = np.full((n, 2), np.nan)
    for column, axis in zip(mean.T, places.T, strict=True):
        total = np.bincount(keys[rows], axis[rows], n)
        column[:] = np.divide(total, count, out=np.full(n, np.nan), where=count > 0)
    return mean


def _filled(places: Floats, area: Numbers) -> Floats:
    """Put locations without coordinates where the mean of their area's others is."""
    missing = np.isnan(places).any(axis=1, keepdims=True)
    return np.where(missing, mean_places(places, area)[area], places)


def _joined(area: Numbers, units: NDArray[Any]) -> Numbers:
    """Give numbers to what hangs together by area or by unit, in the order of the areas: [N].

    An area that lies in two units joins them; an area without any stands for itself.
    """
    known = np.asarray(pd.notna(units), np.bool_)
    unit, _ = pd.factorize(units[known].astype(str).astype(object), sort=True)
    n_areas = int(area.max()) + 1
    n = n_areas + int(unit.max(initial=-1)) + 1
    ends = (area[known], n_areas + unit)
    links = coo_array((np.ones(len(unit), np.int32), ends), shape=(n, n))
    _, component = connected_components(links, directed=False)
    joined: Numbers = np.unique(component[:n_areas], return_inverse=True)[1][area]
    return joined
