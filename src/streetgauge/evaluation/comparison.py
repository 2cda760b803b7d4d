"""How two sets of predicted areas differ: paired by area where they share areas."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.evaluation.aggregate import cut
from streetgauge.evaluation.baselines import CONSTANT
from streetgauge.evaluation.metrics import (
    CORRELATIONS,
    METRICS,
    cells,
    confusion_matrix,
    estimate,
    measure,
    ranked_probability_scores,
    to_json,
    why_undefined,
)
from streetgauge.evaluation.outcome import is_measured
from streetgauge.evaluation.probabilities import probability_columns
from streetgauge.evaluation.resample import Sums
from streetgauge.io.tables import refuse_repeated

Floats = npt.NDArray[np.float64]

LOWER_IS_BETTER = ("mae", "rps")
FEWEST = 10  # shared areas, to be paired by
SHARE = 0.1  # of the smaller side's areas that must be shared
ALIKE = 0.01  # relative difference of weights that are the same population, counted twice


@dataclass(frozen=True, eq=False)
class Drawn:
    """Metrics of one set of predictions: as they are, and in every draw of the areas."""

    value: dict[str, float]
    drawn: dict[str, Floats]  # [draws]

    def estimate(self, metric: str, interval_level: float) -> dict[str, Any]:
        """Give ``value``, ``low`` and ``high``."""
        return estimate(self.value[metric], self.drawn[metric], interval_level)

    def difference(self, other: Drawn, metric: str, interval_level: float) -> dict[str, Any]:
        """Give how much more the other has, draw by draw: ``value``, ``low``, ``high``."""
        value = other.value[metric] - self.value[metric]
        return estimate(value, other.drawn[metric] - self.drawn[metric], interval_level)


def draw_metrics(
    predicted: Mapping[str, pd.DataFrame],
    classes: int,
    draws: int,
    rng: np.random.Generator,
    *,
    unit: pd.Series | None = None,
    weight: pd.Series | None = None,
    metrics: Collection[str] = METRICS,
) -> dict[str, Drawn]:
    """Measure several predictions of the same areas on the same draws.

    Parameters
    ----------
    predicted : mapping of name to DataFrame by area
        ``decile`` and ``actual_decile``, and for the ranked probability score ``p1`` to ``pK``; all
        of the same areas, in any order.
    classes, draws : int
        K, and how many draws.
    rng : Generator
        Where chance comes from.
    unit : Series by area, optional
        Areas of one unit are drawn together (`draw_units`); each alone if not given.
    weight : Series by area, optional
        How much each counts.
    metrics : collection of str, optional
        Which of `METRICS`.

    Returns
    -------
    dict of name to `Drawn`
        With ``rps`` next to the metrics if every prediction has probabilities of every area.
    """
    index = next(iter(predicted.values())).index.sort_values()
    own = pd.Series(index, index=index) if unit is None else unit.reindex(index)
    counted = None if weight is None else weight.reindex(index).fillna(0).to_numpy(float)
    sums = Sums(pd.factorize(own, sort=True)[0], counted)
    sums.add("weight", 0, 1)
    names = probability_columns(classes)
    has_probabilities = all(_has_probabilities(frame, names) for frame in predicted.values())
    for name, frame in predicted.items():
        rows = frame.loc[index]
        actual = rows["actual_decile"].to_numpy(np.int64)
        sums.add(name, cells(actual, rows["decile"].to_numpy(np.int64), classes), classes**2)
        if has_probabilities:
            scores = ranked_probability_scores(rows[names].to_numpy(float), actual)
            sums.add(f"rps of {name}", 0, 1, scores)
    totals, drawn = sums.totals(), sums.drawn(draws, rng)

    def measured(parts: Mapping[str, Floats], name: str) -> dict[str, Floats]:
        tables = parts[name].reshape(*parts[name].shape[:-1], classes, classes)
        values = measure(tables, metrics)
        if has_probabilities:
            with np.errstate(invalid="ignore", divide="ignore"):
                values["rps"] = (parts[f"rps of {name}"] / parts["weight"])[..., 0]
        return values

    return {
        name: Drawn(
            {metric: float(value) for metric, value in measured(totals, name).items()},
            measured(drawn, name),
        )
        for name in predicted
    }


@dataclass(frozen=True, eq=False)
class Operand:
    """One side of a comparison.

    Parameters
    ----------
    areas : DataFrame
        Rows of one outcome of ``areas.parquet``: ``area``, ``decile``, ``actual_decile``,
        ``n_locations`` and, where known, ``p1`` to ``pK``.
    min_locations : int
        Fewest locations of an area that is measured.
    unit : Series by area, optional
        What is drawn together. Paired, it is the coarser of the two sides'.
    weight : Series by area, optional
        How much each area counts. Paired, areas count by these if both sides'
        weights are the same, give or take `ALIKE` and but for a factor, and all count the same if
        they are not: neither population is that of both. Not paired, each side has its own, if both
        have any.
    """

    areas: pd.DataFrame
    min_locations: int = 1
    unit: pd.Series | None = None
    weight: pd.Series | None = None


def compare_areas(
    a: Operand,
    b: Operand,
    *,
    classes: int = 10,
    interval_level: float = 0.9,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure how much better one set of predicted areas is than another, of one outcome.

    Where both have at least `FEWEST` measured areas in common, and a tenth of the smaller side's,
    only those are compared, and both sides are measured on the same draws of them. Otherwise each
    side has all its areas and draws of its own. Exchanging a and b turns the signs and nothing
    else; the order of the rows does not matter.

    Parameters
    ----------
    a, b : Operand
        The two sides.
    classes : int
        K.
    interval_level : float
        Of the intervals.
    draws, seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        JSON-clean: ``paired``; ``n_areas`` (``a``, ``b``, ``shared``: measured ones);
        ``different_actual`` (shared areas whose actual class is not the same on both sides; None if
        not paired); ``weighted`` (whether areas count by weights; None if there are none at all);
        ``units`` (how many were drawn: ``a``, ``b``); ``metrics``: for each ``a``,
        ``b`` (``value``, ``low``, ``high``), ``difference`` (b less a) and ``b_better``, the share
        of the draws in which b is better, draws without a difference counting half (None if there
        is no draw in which both are defined); ``agreement`` of the two sides' predictions, if
        paired (``exact``, ``mae``, ``spearman``); ``undefined``.

    Raises
    ------
    InputError
        If an area appears more than once on one side, or one has no area that is measured.
    """
    sides = [
        _measured_areas(each.areas, each.min_locations, name) for each, name in ((a, "a"), (b, "b"))
    ]
    units, weights = (a.unit, b.unit), (a.weight, b.weight)
    shared = sides[0].index.intersection(sides[1].index)
    counts = {"a": len(sides[0]), "b": len(sides[1]), "shared": len(shared)}
    paired = len(shared) >= max(FEWEST, SHARE * min(counts["a"], counts["b"]))
    # Small cities that are compared with themselves are paired, too.
    paired = paired or (len(shared) == counts["a"] == counts["b"])
    result: dict[str, Any] = {"paired": paired, "n_areas": counts, "different_actual": None}
    choose = partial(_common_weights, areas=shared) if paired else _own_weights
    weights, result["weighted"] = choose(weights)
    if paired:
        sides = [side.loc[shared] for side in sides]
        one, other = (side["actual_decile"].to_numpy(np.int64) for side in sides)
        result["different_actual"] = int((one != other).sum())
        unit = _coarser(units, shared)
        both = dict(zip("ab", sides, strict=True))
        rng = np.random.default_rng(seed)
        drawn = draw_metrics(both, classes, draws, rng, unit=unit, weight=weights[0])
        many = len(shared) if unit is None else unit.nunique()
        result["units"] = {"a": many, "b": many}
    else:
        drawn, result["units"] = {}, {}
        for name, side, unit, weight in zip("ab", sides, units, weights, strict=True):
            own = None if unit is None else _filled(unit, side.index)
            # Of the areas and not of the side, so that a and b can be exchanged.
            rng = np.random.default_rng([seed, zlib.crc32("\n".join(side.index).encode())])
            drawn |= draw_metrics({name: side}, classes, draws, rng, unit=own, weight=weight)
            result["units"][name] = len(side) if own is None else own.nunique()
    result["metrics"] = _metrics(drawn["a"], drawn["b"], interval_level)
    result["agreement"] = _agreement(sides[0], sides[1], classes) if paired else None
    result["undefined"] = {
        f"{name}.{metric}": reason
        for name, side in zip("ab", sides, strict=True)
        for metric, reason in why_undefined(_table(side, classes)).items()
    }
    return result


def compare_figures(
    a: Mapping[str, Mapping[str, float | None]], b: Mapping[str, Mapping[str, float | None]]
) -> dict[str, Any]:
    """Compare metrics of which only figures and intervals are known, as of different areas.

    The interval of the difference is put together from those of the two sides, which are taken as
    independent (the method of variance estimates recovery: Zou and Donner 2008, Statistics in
    Medicine 27, 1693-1702).

    Parameters
    ----------
    a, b : mapping of metric to mapping
        ``value``, ``low``, ``high``, of the same level; None where unknown.

    Returns
    -------
    dict
        As ``metrics`` of `compare_areas`; there are no draws, so ``b_better`` is None.
    """
    result = {}
    for metric in a:
        if metric not in b or a[metric].get("value") is None or b[metric].get("value") is None:
            continue
        one, other = ({k: side[metric].get(k) for k in ("value", "low", "high")} for side in (a, b))
        result[metric] = {
            "a": one,
            "b": other,
            "difference": _recovered(one, other),
            "b_better": None,
        }
    return result


def _recovered(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    value = b["value"] - a["value"]
    if None in (a["low"], a["high"], b["low"], b["high"]):
        return {"value": value, "low": None, "high": None}
    below = np.hypot(b["value"] - b["low"], a["high"] - a["value"])
    above = np.hypot(b["high"] - b["value"], a["value"] - a["low"])
    return {"value": value, "low": float(value - below), "high": float(value + above)}


def _has_probabilities(frame: pd.DataFrame, names: list[str]) -> bool:
    return set(names) <= set(frame.columns) and bool(frame[names].notna().to_numpy().all())


def _measured_areas(frame: pd.DataFrame, min_locations: int, name: str) -> pd.DataFrame:
    refuse_repeated(pd.Index(frame["area"]), f"areas of {name}", "area")
    rows = frame[is_measured(frame, min_locations) & frame["decile"].notna()]
    if rows.empty:
        raise InputError(
            f"areas of {name}",
            "none is measured, so nothing can be compared",
            "lower 'min_locations'",
        )
    return rows.set_index("area").sort_index()


def _coarser(units: tuple[pd.Series | None, pd.Series | None], areas: pd.Index) -> pd.Series | None:
    known = [_filled(unit, areas) for unit in units if unit is not None]
    return min(known, key=lambda unit: unit.nunique()) if known else None


def _own_weights(
    weights: tuple[pd.Series | None, pd.Series | None],
) -> tuple[tuple[pd.Series | None, pd.Series | None], bool | None]:
    """Give each side's weights, and whether there are any on both; None: on neither."""
    given = [weight is not None for weight in weights]
    if not any(given):
        return weights, None
    return (weights, True) if all(given) else ((None, None), False)


def _common_weights(
    weights: tuple[pd.Series | None, pd.Series | None], areas: pd.Index
) -> tuple[tuple[pd.Series | None, pd.Series | None], bool | None]:
    """Give both sides the weights that they agree on, if they do."""
    weights, used = _own_weights(weights)
    a, b = weights
    if a is None or b is None:
        return weights, used
    one, other = (each.reindex(areas).astype("float64").fillna(0.0) for each in (a, b))
    if not (one.sum() > 0 and other.sum() > 0):
        return (None, None), False
    one, other = one / one.sum(), other / other.sum()
    if not np.allclose(one, other, rtol=ALIKE, atol=0):
        return (None, None), False
    return ((one + other) / 2,) * 2, True


def _filled(unit: pd.Series, areas: pd.Index) -> pd.Series:
    """Give the areas' units; an area without one is a unit of its own."""
    own = unit.reindex(areas).astype("object")
    return own.where(own.notna(), [f"area {area}" for area in areas]).astype(str)


def _metrics(a: Drawn, b: Drawn, interval_level: float) -> dict[str, Any]:
    result = {}
    for metric in (name for name in a.value if name in b.value):
        better = b.drawn[metric] - a.drawn[metric]
        better = (-better if metric in LOWER_IS_BETTER else better)[np.isfinite(better)]
        share = float(((better > 0) + 0.5 * (better == 0)).mean()) if better.size else None
        result[metric] = {
            "a": a.estimate(metric, interval_level),
            "b": b.estimate(metric, interval_level),
            "difference": a.difference(b, metric, interval_level),
            "b_better": share,
        }
    return result


def _agreement(a: pd.DataFrame, b: pd.DataFrame, classes: int) -> dict[str, float | None]:
    one, other = (side["decile"].to_numpy(np.int64) for side in (a, b))
    values = measure(confusion_matrix(one, other, classes), ("exact", "mae", "spearman"))
    return {metric: to_json(float(value)) for metric, value in values.items()}


def _table(rows: pd.DataFrame, classes: int) -> npt.NDArray[np.int64]:
    actual, predicted = (rows[c].to_numpy(np.int64) for c in ("actual_decile", "decile"))
    return confusion_matrix(actual, predicted, classes)


# Scores of a fold come of one fit and err together: rho spreads wider than of independent pairs.
SPREAD = 1.3


def headline(tested: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Put what the images add side by side.

    The baseline is the best one *on the very areas that are measured*, for each metric and each
    kind of folds again. Choosing it by hindsight favours the baseline: nothing that sees no
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
    evaluation = metrics["outcomes"].get(outcome)
    if evaluation is None or not evaluation["gain"]:
        return None
    adds = evaluation["gain"]
    return {
        "scheme": metrics["scheme"]["description"],
        "n_areas": evaluation["n_areas"],
        "mae": _gain_over(evaluation, adds, "mae", adds["over"]),
        "spearman": _gain_over(evaluation, adds, "spearman", adds["over_spearman"]),
    }


def _gain_over(
    evaluation: Mapping[str, Any], adds: Mapping[str, Any], metric: str, over: str | None
) -> dict[str, Any]:
    baseline = None if over is None else evaluation["baselines"][over][metric]
    if over == CONSTANT and metric in CORRELATIONS:
        baseline = 0.0
    return {
        **adds[metric],
        "over": over,
        "images": evaluation["metrics"][metric]["value"],
        "baseline": baseline,
    }


def evaluate_shuffled(
    pairs: Sequence[tuple[pd.Series, pd.Series]], classes: int
) -> dict[str, Any] | None:
    """Report how well labels shuffled over the areas are predicted: as by chance, or by a leak.

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
    from scipy.special import ndtri  # here, so that importing the package stays cheap

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
