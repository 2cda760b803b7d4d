"""Which concepts differ between the worst and the best off areas, and what they predict alone.

Areas are the units, never images. An area resembles its neighbours, so that two maps that have
nothing to do with each other agree more often than independent numbers would: the test counts only
as many areas as the distances between them, and how alike neighbours are, allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.evaluation.aggregate import cut
from streetgauge.evaluation.baselines.folds import Folds
from streetgauge.evaluation.baselines.ridge import Ridge
from streetgauge.evaluation.comparison import draw_metrics
from streetgauge.evaluation.effective_size import count_effective, p_values
from streetgauge.evaluation.resample import Sums
from streetgauge.evaluation.weighted_test import weighted_p_values

Floats = npt.NDArray[np.float64]

FALSE_DISCOVERY_RATE = 0.05
END = 0.2  # of the classes, at either end
TRUST = 4  # how many times smaller the weighted test may make a p-value
FEWEST = 5  # areas at an end, below which nothing is compared

COLUMNS = [
    *("outcome", "concept", "n_areas", "n_worst", "n_best", "worst", "best", "difference"),
    *("low", "high", "effective", "p", "q", "reported"),
]


@dataclass(frozen=True)
class Draws:
    """How intervals are drawn: how often, from which seed, and to hold which share of them."""

    draws: int = 1000
    seed: int = 0
    interval_level: float = 0.9


def worst_and_best(decile: pd.Series, classes: int = 10) -> tuple[pd.Series, pd.Series]:
    """Mark the areas of the lowest and of the highest fifth of the classes: two masks by area.

    Parameters
    ----------
    decile : Series by area
        Actual classes, 1 = worst off; missing where there is none.
    classes : int, default 10
        The highest.
    """
    many = max(1, round(END * classes))
    known = decile.astype("float64")
    return known <= many, known > classes - many


def associations(
    concepts: pd.DataFrame,
    deciles: pd.DataFrame,
    *,
    classes: int = 10,
    coordinates: pd.DataFrame | None = None,
    unit: pd.Series | None = None,
    draws: Draws | None = None,
) -> pd.DataFrame:
    """Compare every concept between the worst and the best off areas of every outcome.

    Parameters
    ----------
    concepts : DataFrame by area
        A column for each concept; missing where nothing is known of an area.
    deciles : DataFrame by area
        Actual classes, a column for each outcome.
    classes : int, default 10
        The highest class.
    coordinates : DataFrame by area, optional
        ``x`` and ``y`` in metres; without them areas count as independent.
    unit : Series by area, optional
        What is drawn together for the intervals (`draw_units`); each area alone if not given.
    draws : Draws, optional
        Of the intervals.

    Returns
    -------
    DataFrame
        A row for each outcome and concept, the surest first within an outcome. ``worst`` and
        ``best`` are means of the two ends, each the areas of a fifth of the classes;
        ``difference`` is best less worst in standard deviations over all areas, with ``low`` and
        ``high`` from drawing areas again; ``effective`` is how many independent areas the
        comparison is worth, ``p`` the two-sided p-value of the modified t-test for that
        (Clifford, Richardson and Hemon 1989, Biometrics 45, 123-134) combined with that of
        generalised least squares (`weighted_p_values`), ``q`` the p-value adjusted
        over all outcomes and concepts (Benjamini and Hochberg 1995, J. R. Stat. Soc. B 57,
        289-300) and ``reported`` whether ``q`` is at most `FALSE_DISCOVERY_RATE`. A concept that
        does not vary, or an outcome with fewer than `FEWEST` areas at an end, has no row.
    """
    draws, rows = draws or Draws(), []
    for outcome in deciles:
        actual = deciles[outcome].dropna()
        for names, areas in _alike(concepts, pd.Index(actual.index)):
            ends = worst_and_best(actual[areas], classes)
            if min(int(end.sum()) for end in ends) < FEWEST:
                continue
            values = concepts.loc[areas, names]
            values = values.loc[:, values.std(ddof=0) > 1e-12]
            if not values.shape[1]:
                continue
            xy = None if coordinates is None else coordinates[["x", "y"]].reindex(areas)
            own = None if unit is None else unit.reindex(areas)
            found = _compared(values, ends, xy, own, draws)
            rows.append(found.assign(outcome=str(outcome), n_areas=len(areas)))
    if not rows:
        return pd.DataFrame(columns=COLUMNS)
    from scipy.stats import false_discovery_control  # here, so that importing it stays cheap

    table = pd.concat(rows, ignore_index=True)
    table["q"] = false_discovery_control(table["p"].to_numpy())
    table["reported"] = table["q"] <= FALSE_DISCOVERY_RATE
    order = {outcome: i for i, outcome in enumerate(deciles)}
    table = table.assign(order=table["outcome"].map(order), size=-table["difference"].abs())
    table = table.sort_values(["order", "p", "size", "concept"], ignore_index=True)
    return table[COLUMNS]


def _alike(concepts: pd.DataFrame, areas: pd.Index) -> list[tuple[list[str], pd.Index]]:
    """Put together the concepts that are known of the same areas, which are sorted."""
    known = concepts.reindex(areas.sort_values()).notna()
    groups: dict[bytes, list[str]] = {}
    for name in known:
        groups.setdefault(known[name].to_numpy().tobytes(), []).append(str(name))
    return [(names, known.index[known[names[0]]]) for names in groups.values()]


def _compared(
    values: pd.DataFrame,
    ends: tuple[pd.Series, pd.Series],
    xy: pd.DataFrame | None,
    unit: pd.Series | None,
    draws: Draws,
) -> pd.DataFrame:
    worst, best = (end.to_numpy() for end in ends)
    numbers = values.to_numpy(np.float64)
    scaled = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    contrast = best / best.sum() - worst / worst.sum()
    difference = contrast @ scaled
    low, high = _intervals(scaled, worst, best, unit, draws)
    effective = count_effective(scaled, contrast, xy)
    return pd.DataFrame(
        {
            "concept": values.columns,
            "n_worst": int(worst.sum()),
            "n_best": int(best.sum()),
            "worst": numbers[worst].mean(axis=0),
            "best": numbers[best].mean(axis=0),
            "difference": difference,
            "low": low,
            "high": high,
            "effective": effective,
            "p": _p_values(scaled, (worst, best), contrast, effective, xy),
        }
    )


def _p_values(
    scaled: Floats,
    ends: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    contrast: Floats,
    effective: Floats,
    xy: pd.DataFrame | None,
) -> Floats:
    """Combine the modified t-test with that of generalised least squares, where areas have places.

    The second finds more, and depends on a covariance that may be of another kind: so it makes a
    p-value at most `TRUST` times smaller. Twice the smaller of the two, since there are two.
    """
    plain = p_values(contrast @ scaled, contrast, effective, len(scaled))
    if xy is None or xy.isna().to_numpy().any() or np.ptp(xy.to_numpy(), axis=0).max() == 0:
        return plain
    worst, best = (end.astype(np.float64) for end in ends)
    weighted = weighted_p_values(scaled, worst, best, xy.to_numpy(np.float64))
    both = 2 * np.minimum(plain, weighted)
    combined: Floats = np.maximum(both, plain / TRUST).clip(max=1)
    return combined


def _intervals(
    scaled: Floats,
    worst: npt.NDArray[np.bool_],
    best: npt.NDArray[np.bool_],
    unit: pd.Series | None,
    draws: Draws,
) -> tuple[Floats, Floats]:
    """Draw areas, or what is drawn together, again: percentiles of the differences."""
    own = np.arange(len(scaled)) if unit is None else pd.factorize(unit, sort=True)[0]
    sums = Sums(own)
    cell = np.where(best, 1, np.where(worst, 0, -1))
    sums.add("n", cell, 2)
    for column in range(scaled.shape[1]):
        sums.add(str(column), cell, 2, scaled[:, column])
    drawn = sums.drawn(draws.draws, np.random.default_rng(draws.seed))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [drawn[str(column)] / drawn["n"] for column in range(scaled.shape[1])]
    differences = np.stack([mean[:, 1] - mean[:, 0] for mean in means], axis=1)
    tail = (1 - draws.interval_level) / 2
    low, high = np.nanquantile(differences, [tail, 1 - tail], axis=0)
    return np.asarray(low), np.asarray(high)


def readable_model(
    concepts: pd.DataFrame,
    frame: pd.DataFrame,
    training_areas: pd.DataFrame,
    *,
    classes: int = 10,
    coordinates: pd.DataFrame | None = None,
    unit: pd.Series | None = None,
    draws: Draws | None = None,
) -> dict[str, Any] | None:
    """Measure how well a ridge on concepts alone predicts one outcome in the folds of the images.

    Parameters
    ----------
    concepts : DataFrame by area
        As for `associations`.
    frame : DataFrame by area
        The measured areas of the outcome: ``fold``, ``decile``, ``actual_decile``.
    training_areas : DataFrame
        ``fold, area, decile`` of the outcome, from `streetgauge.evaluation.training_areas`.
    classes, coordinates, unit, draws
        As for `associations`.

    Returns
    -------
    dict or None
        ``n_areas``, and Spearman's rho of the classes with ``value``, ``low``, ``high``: of the
        ``concepts``, of the ``images``, and the paired ``difference`` (images less concepts). None
        where the concepts of fewer than three training areas of a fold are known.
    """
    draws = draws or Draws()
    known = concepts.dropna(how="all")
    rows = frame[frame.index.isin(known.index) & frame["decile"].notna()].sort_index()
    if rows.empty:
        return None
    ridge = Ridge(known, coordinates)
    own = training_areas[training_areas["area"].isin(known.index)]
    middle = (1 + classes) / 2
    score = Folds(rows["actual_decile"], rows["fold"], own, middle).predict(ridge)
    if score.isna().any():
        return None
    both: Mapping[str, pd.DataFrame] = {
        "concepts": rows.assign(decile=cut(score.to_numpy(), classes))[["decile", "actual_decile"]],
        "images": rows[["decile", "actual_decile"]],
    }
    rng = np.random.default_rng(draws.seed)
    drawn = draw_metrics(both, classes, draws.draws, rng, unit=unit, metrics=("spearman",))
    a, b = drawn["concepts"], drawn["images"]
    level = draws.interval_level
    return {
        "n_areas": len(rows),
        "concepts": a.estimate("spearman", level),
        "images": b.estimate("spearman", level),
        "difference": a.difference(b, "spearman", level),
    }
