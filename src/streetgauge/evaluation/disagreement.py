"""A second opinion: how far a network's members are from each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from streetgauge.classes import equal_count

__all__ = ["add_disagreement", "disagreement_account"]


def add_disagreement(
    areas: pd.DataFrame, predictions: pd.DataFrame, classes: int = 10
) -> pd.DataFrame:
    """Add ``disagreement``: how many deciles an area could move if one member were asked, not all.

    The members' standard deviation ``score_sd``, averaged over the area's locations, becomes
    deciles by where the scores of the other areas are: half the share of areas whose score is
    between ``score`` - sd and ``score`` + sd, times the number of classes.

    Parameters
    ----------
    areas : DataFrame
        ``area, outcome, score``.
    predictions : DataFrame
        Of the locations: ``area, outcome`` and, if the networks have several members, ``score_sd``.
    classes : int, default 10
        K.

    Returns
    -------
    DataFrame
        ``areas`` with the column at the end (float, 0 to K / 2), missing where no location has a
        standard deviation.
    """
    found = pd.Series(np.nan, index=areas.index)
    if "score_sd" in predictions.columns and len(areas):
        grouped = predictions.groupby(["outcome", "area"], observed=True)["score_sd"].mean()
        keys = pd.MultiIndex.from_frame(areas[["outcome", "area"]])
        sd = pd.Series(grouped.reindex(keys).to_numpy(float), index=areas.index)
        for _, rows in areas.groupby("outcome"):
            score, own = rows["score"].to_numpy(float), sd[rows.index].to_numpy(float)
            ordered = np.sort(score)
            above = np.interp(score + own, ordered, np.linspace(0, 1, len(ordered)))
            below = np.interp(score - own, ordered, np.linspace(0, 1, len(ordered)))
            found[rows.index] = classes * (above - below) / 2
    return areas.assign(disagreement=found)


def disagreement_account(areas: pd.DataFrame) -> dict[str, Any] | None:
    """Say whether areas on which members disagree are more often wrong, for one outcome.

    Parameters
    ----------
    areas : DataFrame
        ``disagreement, decile, actual_decile``.

    Returns
    -------
    dict or None
        ``mean`` in deciles; ``error_spearman``, rank correlation with the absolute error, and its
        ``p`` (two-sided; None where it is not defined); ``mae_by_third``, the mean absolute error
        where members agree most, in between, and least. None where no area has a disagreement.
    """
    told = areas[areas["disagreement"].notna() & areas["actual_decile"].notna()]
    if told.empty:
        return None
    value = told["disagreement"].to_numpy(float)
    error = (told["decile"] - told["actual_decile"]).abs().to_numpy(float)
    rho = p = None
    if len(told) > 2 and np.ptp(value) > 0 and np.ptp(error) > 0:
        rho, p = (float(x) for x in spearmanr(value, error))
    third = equal_count(value, 3)
    means = [float(error[third == k].mean()) if (third == k).any() else None for k in (1, 2, 3)]
    return {"mean": float(value.mean()), "error_spearman": rho, "p": p, "mae_by_third": means}
