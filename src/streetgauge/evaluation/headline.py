"""The headline: what the images add over the best guess without any, in both kinds of folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from streetgauge.evaluation.aggregate import cut
from streetgauge.evaluation.baselines import CONSTANT
from streetgauge.evaluation.metrics import CORRELATIONS, confusion_matrix, measure, to_json

__all__ = ["headline", "shuffled_account"]

# Scores of a fold come of one fit and err together: rho spreads wider than of independent pairs.
SPREAD = 1.3


def headline(tested: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Put what the images add side by side.

    The baseline is the best one *on the very areas that are measured*, for each metric and each
    kind of folds anew. Choosing it by hindsight favours the baseline: nothing that looks at no
    image was better than what the images are compared with. If every baseline puts areas in the
    wrong order, the order is compared with none at all: the ``constant``, as of rho 0.

    Parameters
    ----------
    tested : mapping of kind of folds to dict
        From `evaluate`: ``random`` and ``spatial``, in the order in which they are shown.

    Returns
    -------
    dict of outcome to dict of kind to dict or None
        JSON-clean. ``scheme`` (how areas were held out, in words), ``n_areas``, ``mae`` and
        ``spearman``, each with ``value``, ``low`` and ``high`` (paired differences, positive =
        images are better), ``over`` (the best baseline), ``images`` and ``baseline`` (their own
        figures). None where there is nothing to compare: an outcome without figures there, or no
        baseline.
    """
    names = sorted({name for metrics in tested.values() for name in metrics["outcomes"]})
    return {
        name: {kind: _cell(metrics, name) for kind, metrics in tested.items()} for name in names
    }


def _cell(metrics: Mapping[str, Any], outcome: str) -> dict[str, Any] | None:
    account = metrics["outcomes"].get(outcome)
    if account is None or not account["gain"]:
        return None
    adds = account["gain"]
    return {
        "scheme": metrics["scheme"]["description"],
        "n_areas": account["n_areas"],
        "mae": _difference(account, adds, "mae", adds["over"]),
        "spearman": _difference(account, adds, "spearman", adds["over_spearman"]),
    }


def _difference(
    account: Mapping[str, Any], adds: Mapping[str, Any], metric: str, over: str | None
) -> dict[str, Any]:
    baseline = None if over is None else account["baselines"][over][metric]
    if over == CONSTANT and metric in CORRELATIONS:
        baseline = 0.0
    return {
        **adds[metric],
        "over": over,
        "images": account["metrics"][metric]["value"],
        "baseline": baseline,
    }


def shuffled_account(
    pairs: Sequence[tuple[pd.Series, pd.Series]], classes: int
) -> dict[str, Any] | None:
    """Say how well labels are told that were shuffled over the areas: as by chance, or some leak.

    Parameters
    ----------
    pairs : sequence of pairs of Series by area
        From `Baselines.shuffled`: shuffled deciles, and scores for them.
    classes : int
        K.

    Returns
    -------
    dict or None
        ``method``, ``times``, and means over the times of ``mae`` and ``spearman`` (of deciles,
        None where not defined), with the ``largest`` absolute rho; ``chance``, what that exceeds in
        at most about 1 of 100 such checks if there is no leak. None without pairs.
    """
    if not pairs:
        return None
    tables = [
        confusion_matrix(known.to_numpy(np.int64), cut(score.to_numpy(), classes), classes)
        for known, score in pairs
    ]
    found = measure(tables)
    rho = found["spearman"][np.isfinite(found["spearman"])]
    n = len(pairs[0][0])
    return {
        "method": "linear",
        "times": len(pairs),
        "mae": to_json(float(np.mean(found["mae"]))),
        "spearman": float(rho.mean()) if rho.size else None,
        "largest": float(np.abs(rho).max()) if rho.size else None,
        "chance": SPREAD * float(ndtri(1 - 0.005 / len(pairs)) / np.sqrt(max(n - 1, 1))),
    }
