"""How sure is the mean of a district's areas? From the errors of areas in other districts.

Errors of areas of one district resemble each other, so they do not cancel as independent ones
would. The error of an area, actual less estimated, is taken as the sum of a mean, an effect of its
district and a rest. Their variances are estimated by analysis of variance for groups of unequal
size (Searle, Casella and McCulloch 1992, *Variance Components*, section 3.6). The mean of n areas
then errs with the variance of the effect plus that of the rest over n, and with that of the
estimated mean. Each district's interval uses the held-out errors of all other districts and none
of its own, so it is that of a district whose actual values are not known. Mixed-model libraries fit
one model to all groups and give no prediction for a group that was excluded, so it is written here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["district_intervals"]

FEWEST = 4  # other districts, below which their variance says little
DRAWS = 4000

Floats = npt.NDArray[np.float64]


def district_intervals(
    areas: pd.DataFrame, interval_level: float = 0.9, classes: int = 10, seed: int = 0
) -> pd.DataFrame:
    """Give each district's mean estimate with an interval, and its chance of being the worst off.

    Parameters
    ----------
    areas : DataFrame
        ``district``, ``estimate`` and ``actual`` of each area; ``actual`` is missing where it is
        not known or where the area was not held out.
    interval_level : float, default 0.9
        Share of districts whose actual mean lies within, at least. With few districts whose errors
        are independent it is more.
    classes : int, default 10
        K: the interval is within 1 to K.
    seed : int
        Of the draws from which the chance is counted; errors of districts are independent in them.

    Returns
    -------
    DataFrame by district
        ``n``, ``mean``, ``low``, ``high`` and ``worst`` (the chance that no other district has a
        lower actual mean). The last three are missing where fewer than four other districts have
        errors, or none has two areas.

    Examples
    --------
    >>> towns = pd.DataFrame({"district": list("aabbccddee"), "estimate": [2, 3] + [5, 6] * 4})
    >>> found = district_intervals(towns.assign(actual=[3, 3, *[5, 7, 6, 5] * 2]))
    >>> found.loc["a", ["mean", "low", "high"]].round(1).tolist()
    [2.5, 1.0, 4.8]
    """
    from scipy import stats

    rows = areas.dropna(subset=["district", "estimate"])
    estimate = rows["estimate"].astype("float64")
    error = rows["actual"].astype("Float64").astype("float64") - estimate
    by = rows["district"].astype(str)
    result = estimate.groupby(by).agg(n="size", mean="mean")
    errors = error.groupby(by).agg(["count", "sum"]).assign(squares=(error**2).groupby(by).sum())
    known = errors.to_numpy(float)
    centre, scale, freedom = np.full((3, len(result)), np.nan)
    for k, n in enumerate(result["n"]):
        others = np.delete(known, k, axis=0)
        others = others[others[:, 0] > 0]
        if len(others) >= FEWEST and others[:, 0].sum() > len(others):
            bias, of_bias, between, within = _components(*others.T)
            centre[k] = result["mean"].iloc[k] + bias
            scale[k] = np.sqrt(between + within / n + of_bias)
            freedom[k] = len(others) - 1
    half = stats.t.ppf((1 + interval_level) / 2, freedom) * scale
    low, high = np.clip([centre - half, centre + half], 1, classes)
    worst = _worst(centre, scale, freedom, seed)
    return pd.DataFrame(result).assign(low=low, high=high, worst=worst)


def _components(count: Floats, total: Floats, squares: Floats) -> tuple[float, float, float, float]:
    """Estimate the mean error, its variance, and the variances between and within districts."""
    n, k = count.sum(), len(count)
    means = total / count
    within = max(squares.sum() - (count * means**2).sum(), 0.0) / (n - k)
    spread = (count * (means - total.sum() / n) ** 2).sum() / (k - 1)
    size = (n - (count**2).sum() / n) / (k - 1)
    between = max(spread - within, 0.0) / size
    weight = 1 / np.maximum(between + within / count, 1e-12)
    bias = (weight * means).sum() / weight.sum()
    return float(bias), float(1 / weight.sum()), float(between), float(within)


def _worst(centre: Floats, scale: Floats, freedom: Floats, seed: int) -> Floats:
    """Count in how many draws each district has the lowest mean."""
    known = np.flatnonzero(np.isfinite(scale))
    chance = np.full(len(centre), np.nan)
    if len(known) > 1:
        drawn = np.random.default_rng(seed).standard_t(freedom[known], (DRAWS, len(known)))
        lowest = (centre[known] + scale[known] * drawn).argmin(axis=1)
        chance[known] = np.bincount(lowest, minlength=len(known)) / DRAWS
    return chance
