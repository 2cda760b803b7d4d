"""What each source of features adds: alone, all together, and all but one, paired by area."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from streetgauge.evaluation.aggregate import cut
from streetgauge.evaluation.comparison import draw_metrics
from streetgauge.evaluation.outcome import is_measured
from streetgauge.settings import EvaluationSettings

FIGURES = ("mae", "spearman")
JOINT = " + "  # between the names of sources


def compare_sources(
    predicted: pd.DataFrame,
    frame: pd.DataFrame,
    settings: EvaluationSettings,
    rng: np.random.Generator,
    *,
    classes: int,
    counts: list[int] | None = None,
    unit: pd.Series | None = None,
) -> dict[str, Any] | None:
    """Measure what an outcome's areas are predicted by from each source, and from several.

    Parameters
    ----------
    predicted : DataFrame
        Of one outcome, as `streetgauge.model.sources.predict_by_sources` gives it.
    frame : DataFrame by area
        The study's areas of the outcome: ``actual_decile``, and which of them are measured.
    settings : EvaluationSettings
        Draws, level of the intervals, and what is measured.
    rng : Generator
        Of the draws.
    classes : int
        K.
    counts : list of int, optional
        Areas of each class, where classes are not of equal count.
    unit : Series by area, optional
        Areas that are drawn together.

    Returns
    -------
    dict or None
        ``learner``; ``n_areas``; ``alone``, ``without`` (all but one; of two sources what the other
        has alone) and ``together``: of each ``mae`` and ``spearman`` with ``value``, ``low`` and
        ``high``; by source ``adds``: how much better all are than all but this one, positive =
        better, paired, and ``n_areas``, how many have the source; ``best_alone`` (by rho) and
        ``over_best_alone``, how much better all are than that one. None without areas.
    """
    table = predicted.set_index("area")
    scores = {str(name): rows["score"] for name, rows in table.groupby("sources")}
    rows = frame[is_measured(frame, settings.min_locations) & (frame["fold"] > 0)]
    if not scores or not len(rows := rows[rows.index.isin(table.index)]):
        return None
    own = {
        name: pd.DataFrame(
            {
                "decile": cut(each.reindex(rows.index).to_numpy(float), classes, counts),
                "actual_decile": rows["actual_decile"].astype("int64"),
            },
            rows.index,
        )
        for name, each in scores.items()
    }
    weight = rows.get("weight")
    drawn = draw_metrics(
        own, classes, settings.draws, rng, unit=unit, weight=weight, metrics=FIGURES
    )
    level = settings.interval_level
    names = sorted({source for name in own for source in name.split(JOINT)})
    everything = JOINT.join(names)
    without = {name: JOINT.join(other for other in names if other != name) for name in names}

    def figures(subset: str) -> dict[str, Any]:
        return {metric: drawn[subset].estimate(metric, level) for metric in FIGURES}

    def better(subset: str) -> dict[str, Any]:
        """Give how much better all sources are than some."""
        whole, part = drawn[everything], drawn[subset]
        return {
            "mae": whole.difference(part, "mae", level),
            "spearman": part.difference(whole, "spearman", level),
        }

    def have(source: str) -> int:
        share = table.loc[table["sources"] == source, "share"]
        return int((share.reindex(rows.index) > 0).sum())

    ranked = {name: drawn[name].value["spearman"] for name in names}
    best = max(names, key=lambda name: np.nan_to_num(ranked[name], nan=-2.0))
    return {
        "learner": "kernel",
        "n_areas": len(rows),
        "together": figures(everything),
        "alone": {name: figures(name) for name in names},
        "without": {name: figures(without[name]) for name in names},
        "adds": {name: {**better(without[name]), "n_areas": have(name)} for name in names},
        "best_alone": best,
        "over_best_alone": better(best),
    }
