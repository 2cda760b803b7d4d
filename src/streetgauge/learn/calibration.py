"""One scale for the scores of all folds' networks.

Networks that were trained on different folds agree on the order of locations before they agree on
the scale: one may score everything higher, or spread scores more widely. Pooled as they are, a
fold's areas would come out better off only because of the network that they met. So each network's
scores are put on the scale of the outcome itself, h' = a + b h, by areas that it has not learnt
from (Platt 1999, with the binomial likelihood).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit

__all__ = ["calibrate"]

# The penalty on a and on log b: near 0 it weighs as RIDGE areas do, beyond SMALL it hardly grows.
# Measured on made-up cities of 90 to 300 areas: the intercept that a dozen validation areas give is
# off by .25 by chance alone, and a plain light ridge let that cost .03 of the areas' rank
# correlation; this one costs nothing, and still mends networks that are truly shifted.
RIDGE = 30.0
SMALL = 0.3
LOG_SLOPES = (-3.0, 3.0)


def calibrate(
    score: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike,
    *,
    areas: int,
    classes: int = 10,
) -> tuple[float, float]:
    """Find a and b > 0 that make ``a + b * score`` most likely, held to 0 and 1.

    Networks of one outcome are nearly on one scale as they are, and validation areas are few: a
    small difference is more likely chance than scale, a large one is not. Hence a penalty with the
    logarithm of a heavy-tailed (Student) density, instead of a square.

    Parameters
    ----------
    score : array, shape [n]
        Scores of one outcome on locations that were not trained on.
    target : array, shape [n]
        Classes 1..K, NaN where missing.
    weight : array, shape [n]
        Weights of the locations.
    areas : int
        In how many areas they lie: locations of one area tell the same story, so that the
        data weigh against the ridge with the number of areas.
    classes : int
        K.

    Returns
    -------
    a, b : float
        0 and 1 if no location has a label.
    """
    h = np.asarray(score, np.float64)
    classes_known = np.asarray(target, np.float64)
    weights = np.where(np.isnan(classes_known), 0, np.asarray(weight, np.float64))
    if weights.sum() <= 0:
        return 0.0, 1.0
    weights = weights / weights.sum()
    successes = np.where(np.isnan(classes_known), 0, classes_known - 1)
    trials = classes - 1
    share = 1 / max(areas, 1)

    def objective(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        a, b = parameters[0], np.exp(parameters[1])
        x = a + b * h
        each = -(successes * log_expit(x) + (trials - successes) * log_expit(-x))
        slope = weights * (trials * expit(x) - successes)
        relative = parameters / SMALL
        penalty = share * RIDGE * SMALL**2 * np.log1p(relative**2).sum()
        pull = share * RIDGE * 2 * parameters / (1 + relative**2)
        gradient = np.array([slope.sum(), slope @ h * b]) + pull
        return float(weights @ each + penalty), gradient

    found = minimize(
        objective, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(None, None), LOG_SLOPES]
    )
    return float(found.x[0]), float(np.exp(found.x[1]))
