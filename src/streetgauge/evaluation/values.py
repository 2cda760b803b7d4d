"""What an outcome's own values would be, read off the scores of areas."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["expected_values"]

Floats = npt.NDArray[np.float64]


def expected_values(frame: pd.DataFrame) -> pd.Series:
    """Give every area the value that goes with its score in the areas of the other folds.

    The rising (or, where higher is worse, falling) step function of the score with the least
    squared error, straight between its steps: isotonic regression (Barlow, Bartholomew, Bremner and
    Brunk 1972, Statistical Inference under Order Restrictions). No fold's own values play a part.

    Parameters
    ----------
    frame : DataFrame by area
        Of one outcome: ``fold``, ``score``, ``actual_decile``, ``actual_value``; the last two may
        be missing.

    Returns
    -------
    Series of float by area
        In the unit of the values; missing for areas that were not held out as a whole (fold 0), and
        where the other folds have fewer than two areas with a value.
    """
    frame = frame.sort_index()
    score, fold = frame["score"].to_numpy(float), frame["fold"].to_numpy()
    value = frame["actual_value"].to_numpy(float)
    decile = frame["actual_decile"].astype("float64").to_numpy()
    known = np.isfinite(value) & np.isfinite(decile) & (fold != 0)
    result = np.full(len(frame), np.nan)
    for part in np.unique(fold[fold != 0]):
        others = known & (fold != part)
        if others.sum() < 2:
            continue
        rises = np.cov(decile[others], value[others])[0, 1] >= 0
        x, y = _monotone(score[others], value[others], rises=bool(rises))
        result[fold == part] = np.interp(score[fold == part], x, y)
    return pd.Series(result, index=frame.index)


def _monotone(x: Floats, y: Floats, *, rises: bool) -> tuple[Floats, Floats]:
    """Fit a monotone function: distinct x in order, and its values there."""
    from scipy.optimize import isotonic_regression  # here: importing the package stays cheap

    distinct, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, y) / counts
    fit = isotonic_regression(means, weights=counts.astype(float), increasing=rises)
    return distinct, np.asarray(fit.x)
