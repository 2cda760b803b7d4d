"""What can be said of an area without a picture: the yardsticks on the same folds.

Both know the actual deciles of the *other* folds' areas only, exactly like the networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.areas.aggregate import cut

__all__ = ["constant", "nearest_areas", "nearest_scores"]


def constant(actual: pd.Series, fold: pd.Series) -> pd.Series:
    """Give every area the median decile of the training areas, those of the other folds.

    The lower median where two deciles are in the middle: a decile, and no other has a lower MAE.

    Parameters
    ----------
    actual : Series by area
        Actual deciles, missing where there is none.
    fold : Series by area
        The fold in which each area is held out.

    Returns
    -------
    Series by area, Int64
        Missing for the areas of a fold that leaves no area with an actual decile to train on.
    """
    result = pd.Series(pd.NA, index=actual.index, dtype="Int64")
    for held_out, training in _parts(actual, fold):
        known = np.sort(actual[training].to_numpy(int))
        if known.size:
            result[held_out] = known[(known.size - 1) // 2]
    return result


def nearest_scores(
    actual: pd.Series, fold: pd.Series, coordinates: pd.DataFrame, neighbours: int = 5
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

    Returns
    -------
    Series by area, float
        1 to the number of classes; missing where a fold leaves no area to train on.
    """
    from scipy.spatial import KDTree  # here, so that importing the room stays cheap

    # Sorted by area: of areas equally far away the same ones are taken, whatever the rows' order.
    actual = actual.sort_index()
    fold = fold.loc[actual.index]
    place = coordinates.reindex(actual.index)[["x", "y"]].to_numpy(float)
    placed = pd.Series(np.isfinite(place).all(1), index=actual.index)
    known = actual.to_numpy(float, na_value=np.nan)
    score = np.full(len(actual), np.nan)
    for held_out, training in _parts(actual, fold):
        if not training.any():
            continue
        score[held_out] = known[training].mean()
        near, asking = training & placed.to_numpy(), held_out & placed.to_numpy()
        if near.any() and asking.any():
            count = min(neighbours, int(near.sum()))
            _, index = KDTree(place[near]).query(place[asking], k=[*range(1, count + 1)])
            score[asking] = known[near][index].mean(1)
    return pd.Series(score, index=actual.index)


def nearest_areas(
    actual: pd.Series,
    fold: pd.Series,
    coordinates: pd.DataFrame,
    neighbours: int = 5,
    classes: int = 10,
    counts: Sequence[int] | None = None,
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
    score = nearest_scores(actual, fold, coordinates, neighbours).loc[actual.index]
    if score.isna().any() or score.empty:
        return pd.Series(pd.NA, index=actual.index, dtype="Int64")
    return pd.Series(cut(score.to_numpy(), classes, counts), index=actual.index, dtype="Int64")


def _parts(
    actual: pd.Series, fold: pd.Series
) -> list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
    """For each fold, which areas are held out, and which with an actual decile train."""
    folds = fold.loc[actual.index].to_numpy()
    known = actual.notna().to_numpy()
    return [(folds == part, (folds != part) & known) for part in np.unique(folds)]
