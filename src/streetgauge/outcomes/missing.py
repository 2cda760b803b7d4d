"""Whether the areas without an outcome are like the others, as far as other outcomes can tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["describe_missing"]

FEWEST = 5  # areas on either side, to say anything of them
CLEARLY = 4.0  # standard errors


def describe_missing(frame: pd.DataFrame, outcomes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Compare the areas that lack an outcome with those that have it, by the other outcomes.

    Parameters
    ----------
    frame : DataFrame
        ``area`` and ``<outcome>_decile`` for every outcome.
    outcomes : sequence of str
        Their names.

    Returns
    -------
    dict of outcome to dict
        For outcomes whose missing areas are clearly unlike the others (a difference of 4 standard
        errors, the greatest over all other outcomes): ``by`` (the outcome that shows it),
        ``without`` and ``having`` (mean decile by it of the areas without and with the outcome).
        Where nothing shows a difference there may be one all the same.
    """
    deciles = pd.DataFrame({n: frame[f"{n}_decile"].astype("Float64") for n in outcomes})
    found = {}
    for name in outcomes:
        gone = deciles[name].isna()
        best = CLEARLY
        for other in outcomes:
            without = deciles.loc[gone, other].dropna().to_numpy(float)
            having = deciles.loc[~gone, other].dropna().to_numpy(float)
            if other == name or min(without.size, having.size) < FEWEST:
                continue
            error = np.sqrt(without.var(ddof=1) / without.size + having.var(ddof=1) / having.size)
            apart = abs(without.mean() - having.mean()) / error if error > 0 else 0.0
            if apart > best:
                best = float(apart)
                found[name] = {
                    "by": other,
                    "without": float(without.mean()),
                    "having": float(having.mean()),
                }
    return found
