"""What can be said of an area without a picture: the yardsticks on the same parts.

Both know the actual deciles of the very areas that the network of an area's fold could learn from,
no more and no fewer: those of the other folds, unless it is said which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.areas.aggregate import cut

__all__ = ["constant", "nearest_areas", "nearest_scores"]


def constant(actual: pd.Series, fold: pd.Series, learned: pd.DataFrame | None = None) -> pd.Series:
    """Give every area the median decile of the training areas.

    The lower median where two deciles are in the middle: a decile, and no other has a lower MAE.

    Parameters
    ----------
    actual : Series by area
        Actual deciles, missing where there is none.
    fold : Series by area
        The fold in which each area is held out.
    learned : DataFrame, optional
        ``fold, area, decile``: the training areas of every fold, which need not be among those that
        are held out in any; the areas of the other folds if not given.

    Returns
    -------
    Series by area, Int64
        Missing for the areas of a fold that leaves no area with an actual decile to train on.
    """
    result = pd.Series(pd.NA, index=actual.index, dtype="Int64")
    for held_out, training in _parts(actual, fold, learned):
        known = np.sort(training.to_numpy(int))
        if known.size:
            result[held_out] = known[(known.size - 1) // 2]
    return result


def nearest_scores(
    actual: pd.Series,
    fold: pd.Series,
    coordinates: pd.DataFrame,
    neighbours: int = 5,
    learned: pd.DataFrame | None = None,
) -> pd.Series:
    """Give every area the mean decile of the nearest training areas with an actual decile.

    Parameters
    ----------
    actual, fold : Series by area
        Actual deciles (may be missing), and the fold in which each area is held out.
    coordinates : DataFrame by area
        ``x`` and ``y`` in metres. An area that is not in it, or without coordinates, is no
        neighbour of any, and gets the mean of all training areas.
    neighbours : int, default 5
        How many; all training areas if there are fewer.
    learned : DataFrame, optional
        As for `constant`.

    Returns
    -------
    Series by area, float
        1 to the number of classes; missing where a fold leaves no area to train on.
    """
    from scipy.spatial import KDTree  # here, so that importing the room stays cheap

    # Sorted by area: of areas equally far away the same ones are taken, whatever the rows' order.
    actual = actual.sort_index()
    fold = fold.loc[actual.index]
    place = coordinates[["x", "y"]].reindex(actual.index).to_numpy(float)
    placed = np.isfinite(place).all(1)
    score = np.full(len(actual), np.nan)
    for held_out, training in _parts(actual, fold, learned):
        if training.empty:
            continue
        known = training.to_numpy(float)
        score[held_out] = known.mean()
        around = coordinates[["x", "y"]].reindex(training.index).to_numpy(float)
        near, asking = np.isfinite(around).all(1), held_out & placed
        if near.any() and asking.any():
            count = min(neighbours, int(near.sum()))
            _, index = KDTree(around[near]).query(place[asking], k=[*range(1, count + 1)])
            score[asking] = known[near][index].mean(1)
    return pd.Series(score, index=actual.index)


def nearest_areas(
    actual: pd.Series,
    fold: pd.Series,
    coordinates: pd.DataFrame,
    neighbours: int = 5,
    classes: int = 10,
    counts: Sequence[int] | None = None,
    learned: pd.DataFrame | None = None,
) -> pd.Series:
    """Give deciles to `nearest_scores` as the predictions get theirs, cut over all areas.

    Rounding the mean instead would lower the MAE of *any* method by crowding its guesses into the
    middle deciles, where no tenth of the areas is at either end any more; predictions are not
    rounded, so the yardstick is not either, and both are compared at the same task.

    Returns
    -------
    Series by area, Int64
        In the order of ``actual``; all missing if a fold leaves no area to train on.
    """
    score = nearest_scores(actual, fold, coordinates, neighbours, learned).loc[actual.index]
    if score.isna().any() or score.empty:
        return pd.Series(pd.NA, index=actual.index, dtype="Int64")
    return pd.Series(cut(score.to_numpy(), classes, counts), index=actual.index, dtype="Int64")


def _parts(
    actual: pd.Series, fold: pd.Series, learned: pd.DataFrame | None
) -> Iterator[tuple[npt.NDArray[np.bool_], pd.Series]]:
    """For each fold, which areas are held out, and the deciles of those that train, by area."""
    folds = fold.loc[actual.index].to_numpy()
    for part in np.unique(folds):
        if learned is None:
            training = actual[(folds != part) & actual.notna().to_numpy()]
        else:
            training = learned[learned["fold"] == part].set_index("area")["decile"]
        yield folds == part, training.sort_index()
