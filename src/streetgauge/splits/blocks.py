"""Positions of locations in metres, and the folds next to a study's own, of the other kind."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from streetgauge.errors import InputError, closest
from streetgauge.settings import FoldSettings

MANY = 40  # blocks: enough to assign evenly, few enough that an area is seldom at a border
STEPS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)  # times a power of ten
APART = 2.0  # a block is at least so many distances of an area to its next wide


def other_folds(settings: FoldSettings, locations: pd.DataFrame) -> FoldSettings | None:
    """Give the folds next to a study's own.

    Parameters
    ----------
    settings : FoldSettings
        The study's.
    locations : DataFrame
        ``area``, ``lat``, ``lon`` of the locations that are split.

    Returns
    -------
    FoldSettings or None
        Folds of square blocks next to random ones, random ones next to spatial ones, as many as
        there are of the study's; None if the study wants none, or its scheme has no other.

    Raises
    ------
    InputError
        If blocks are wanted, and the locations have no coordinates or lie too close together.
    """
    if settings.other_kind is None:
        return None
    shared = {"k", "validation", "train_size", "train_size_unit", "shared_images"}
    own = settings.model_dump(include=shared)
    same = {**own, "final": False, "other_folds": False}
    if settings.other_kind == "random":
        return FoldSettings(**same)
    side = settings.other_block
    if side is None:
        points = pd.DataFrame(to_metres(locations["lat"], locations["lon"]), columns=["x", "y"])
        means = points.groupby(locations["area"].to_numpy(str)).mean().dropna()
        side = block_side(means.to_numpy(), settings.k)
    return FoldSettings(scheme="blocks", block=side, **same)


def block_side(points: ArrayLike, k: int) -> float:
    """Choose the side of square blocks for a city.

    Such that about 40 blocks have an area in them, but at least twice the median distance of an
    area to its next, so that most blocks hold several areas: else these would be random folds.

    Parameters
    ----------
    points : array of float, shape [A, 2]
        Where the areas are, in metres.
    k : int
        How many folds are made of the blocks.

    Returns
    -------
    float
        A round number of metres: 100, 125, 150, 200, 250, 300, 400, 500, 600, 800, 1,000 ...

    Raises
    ------
    InputError
        If areas lie in fewer blocks than ``k`` however small these are.
    """
    xy, apart = np.asarray(points, np.float64), np.empty(0)
    if len(xy) >= 2:
        apart = KDTree(xy).query(xy, k=2)[0][:, 1]
    typical = float(np.median(apart[apart > 0])) if (apart > 0).any() else np.inf
    sides = np.outer(10.0 ** np.arange(0, 7), STEPS).ravel()
    # First as wide as asked for; in a small city as wide as can be.
    for least in (APART * typical, typical):
        wide = sides[sides >= least]
        count = np.array([len(np.unique(np.floor(xy / side), axis=0)) for side in wide])
        if (count >= k).any():
            gap = np.where(count >= k, np.abs(np.log(np.maximum(count, 1) / MANY)), np.inf)
            return float(wide[gap.argmin()])
    raise InputError(
        "folds.other_folds",
        f"{len(xy):,} areas are too few, or too close together, for blocks in {k} folds",
        "set 'other_block' to a side in metres, or other_folds = false",
    )


def to_metres(lat: ArrayLike, lon: ArrayLike) -> NDArray[np.float64]:
    """Project to metres on the grid of the UTM zone of their median, NaN if not known: [N, 2].

    Within a city a metre of the grid is a metre on the ground give or take 0.1%.
    """
    from pyproj import Transformer

    north, east = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
    points = np.full((len(north), 2), np.nan)
    known = ~(np.isnan(north) | np.isnan(east))
    if known.any():
        zone = int((np.median(east[known]) + 180) // 6) % 60 + 1
        code = (32600 if np.median(north[known]) >= 0 else 32700) + zone
        to_grid = Transformer.from_crs("EPSG:4326", f"EPSG:{code}", always_xy=True)
        points[known] = np.column_stack(to_grid.transform(east[known], north[known]))
    return points


def column_by_location(
    name: str, locations: pd.DataFrame, areas: pd.DataFrame | None
) -> NDArray[np.object_]:
    """Look a column up for every location, its own or its area's; None where not known: [N]."""
    columns = {key: locations[key] for key in ("oa", "lsoa", "msoa") if key in locations}
    for key, values in () if areas is None else areas.items():
        if key not in ("name", "geometry"):
            columns.setdefault(str(key), values.reindex(locations["area"]))
    filled = [key for key, values in columns.items() if values.notna().any()]
    if name not in columns:
        raise InputError(
            "folds", f"neither locations nor areas have '{name}'", closest(name, filled)
        )
    if name not in filled:
        step = f"name a column of theirs in 'areas.columns'; {closest(name, filled)}"
        if name == "district":
            step = "set 'areas.district' to the column that has them"
        raise InputError("folds", f"no location's {name} is known", step)
    column = columns[name].astype(object)
    return column.where(column.notna(), None).to_numpy(object)
