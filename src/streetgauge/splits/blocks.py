"""The folds next to a study's own: of the other kind, so that both can be reported together."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.spatial import KDTree

from streetgauge.errors import InputError
from streetgauge.settings import FoldSettings
from streetgauge.splits.coordinates import to_metres

__all__ = ["block_side", "second_folds"]

MANY = 40  # blocks: enough to assign evenly, few enough that an area is seldom at a border
STEPS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)  # times a power of ten
APART = 2.0  # a block is at least so many distances of an area to its next wide


def second_folds(settings: FoldSettings, locations: pd.DataFrame) -> FoldSettings | None:
    """Give the folds beside a study's own.

    Parameters
    ----------
    settings : FoldSettings
        The study's.
    locations : DataFrame
        ``area``, ``lat``, ``lon`` of the locations that are split.

    Returns
    -------
    FoldSettings or None
        Folds of square blocks beside random ones, random ones beside spatial ones, as many as
        there are of the study's; None if the study wants none, or its scheme has no other.

    Raises
    ------
    InputError
        If blocks are wanted, and the locations have no coordinates or lie too close together.
    """
    if settings.other_kind is None:
        return None
    kept = settings.model_dump(include={"k", "validation", "train_size", "train_size_unit"})
    same = {**kept, "final": False, "other_folds": False}
    if settings.other_kind == "random":
        return FoldSettings(**same)
    side = settings.other_block
    if side is None:
        places = pd.DataFrame(to_metres(locations["lat"], locations["lon"]), columns=["x", "y"])
        means = places.groupby(locations["area"].to_numpy(str)).mean().dropna()
        side = block_side(means.to_numpy(), settings.k)
    return FoldSettings(scheme="blocks", block=side, **same)


def block_side(places: ArrayLike, k: int) -> float:
    """Choose the side of square blocks for a city.

    Such that about 40 blocks have an area in them, but at least twice the median distance of an
    area to its next, so that most blocks hold several areas: else these would be random folds.

    Parameters
    ----------
    places : array of float, shape [A, 2]
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
    place, apart = np.asarray(places, np.float64), np.empty(0)
    if len(place) >= 2:
        apart = KDTree(place).query(place, k=2)[0][:, 1]
    typical = float(np.median(apart[apart > 0])) if (apart > 0).any() else np.inf
    sides = np.outer(10.0 ** np.arange(0, 7), STEPS).ravel()
    # First as wide as asked for; in a small city as wide as can be.
    for least in (APART * typical, typical):
        wide = sides[sides >= least]
        count = np.array([len(np.unique(np.floor(place / side), axis=0)) for side in wide])
        if (count >= k).any():
            gap = np.where(count >= k, np.abs(np.log(np.maximum(count, 1) / MANY)), np.inf)
            return float(wide[gap.argmin()])
    raise InputError(
        "folds.other_folds",
        f"{len(place):,} areas are too few, or too close together, for blocks in {k} folds",
        "set 'other_block' to a side in metres, or other_folds = false",
    )
