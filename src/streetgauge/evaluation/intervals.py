"""The deciles among which an area's actual one lies, as often as promised.

Ours because libraries of conformal prediction (MAPIE) refit an estimator and give sets of classes
with gaps; here the predictions of given folds become intervals of ordered classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.evaluation.probabilities import Distributions, normal_scores, probability_columns

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

PARTS = 5  # areas that are calibrated on are scored by the other four fifths of them
SLACK = 1e-9  # (9 + 1) * 0.9 must be 9, and a mass on the border inside, whatever floats make of it


def intervals(
    areas: pd.DataFrame,
    interval_level: float = 0.9,
    classes: int = 10,
    calibration_set: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Add ``low`` and ``high``, among which the actual decile lies in a given share of the areas.

    First every area gets probabilities of the deciles, ``p1`` to ``pK``: see `Distributions`. The
    interval grows from the predicted decile, at each step to the more probable of the two deciles
    next to it (adaptive prediction sets, Romano, Sesia and Candes 2020, contiguous). How far is
    conformal. For areas whose decile is known it is measured how much probability the interval had
    just before it included the actual one, 0 if that was the predicted. Of n such areas the
    ceil((n + 1) interval_level)-th smallest is the mass up to which intervals grow. Where this is
    more than n (too few areas) the interval is everything, 1 to ``classes``.

    Calibration is cross-conformal (Vovk 2015, Ann. Math. Artif. Intell. 74, 9-28): for an area
    held out in fold f both steps see the *other* folds' areas alone, and each of these is
    scored by probabilities that the other four fifths of them gave. Where there is no other
    fold, ``calibration_set`` is used. If areas of all folds are alike (exchangeable), the
    share that is covered is at least ``interval_level`` up to chance, and exceeds it by 1 / (n + 1)
    only. Nothing is drawn at random, so where many areas have the very same probabilities
    (constant scores) it can exceed it by more. Folds that are districts are not alike, and may
    be covered less.

    Areas that were not held out as a whole (fold 0) show nothing of how large errors are. They lend
    none to others, their own interval is everything, and every decile is as probable as another.

    Parameters
    ----------
    areas : DataFrame
        From `aggregate`: ``outcome, fold, score, decile, actual_decile``.
    interval_level : float, default 0.9
        That share, between 0 and 1.
    classes : int, default 10
        The highest decile.
    calibration_set : DataFrame, optional
        ``outcome, score, actual_decile`` of areas that were neither trained on nor tested.

    Returns
    -------
    DataFrame
        ``areas`` with ``low`` and ``high`` (Int64, 1 to ``classes``, low <= decile <= high) behind
        ``decile``, and ``p1`` .. (float, of sum 1) at the end; rows and their order are as given.
    """
    low = np.ones(len(areas), dtype=np.int64)
    high = np.full(len(areas), classes, dtype=np.int64)
    p = np.full((len(areas), classes), 1 / classes)
    position = pd.Series(np.arange(len(areas)), index=areas.index)
    for outcome, rows in areas.groupby("outcome"):
        calibration = None
        if calibration_set is not None:
            calibration = calibration_set[calibration_set["outcome"] == outcome]
        for held_out, known in _calibrations(rows, calibration):
            here = position[held_out.index].to_numpy()
            p[here], low[here], high[here] = _one(held_out, known, interval_level, classes)
    columns = probability_columns(classes)
    frame = areas.drop(columns=["low", "high", *columns], errors="ignore")
    at = frame.columns.get_loc("decile")
    assert isinstance(at, int)
    frame.insert(at + 1, "low", pd.Series(low, index=frame.index, dtype="Int64"))
    frame.insert(at + 2, "high", pd.Series(high, index=frame.index, dtype="Int64"))
    return frame.join(pd.DataFrame(p, index=frame.index, columns=columns))


def intervals_elsewhere(
    areas: pd.DataFrame,
    held_out: Mapping[str, npt.ArrayLike],
    interval_level: float = 0.9,
    classes: int = 10,
    *,
    own_scale: bool = False,
) -> pd.DataFrame:
    """Add ``low`` and ``high`` to areas of a city without labels, from another city's errors.

    As `intervals`, with the areas that were held out in the other city as those that show how
    large errors are. So the share holds for this city only as far as it resembles that one.

    Parameters
    ----------
    areas : DataFrame
        ``outcome, score, decile`` of the city's areas.
    held_out : mapping of outcome to array_like of float, shape (n, 3)
        Score, predicted and actual decile of the other city's areas.
    interval_level, classes
        As for `intervals`.
    own_scale : bool
        Whether deciles were cut within this city. A score then stands where it stands among this
        city's scores, and otherwise where it would stand among those of the other city.

    Returns
    -------
    DataFrame
        ``areas`` with ``low`` and ``high`` (Int64) behind ``decile``.
    """
    low, high = (pd.Series(0, areas.index, dtype="Int64") for _ in range(2))
    for outcome, rows in areas.groupby("outcome"):
        theirs = np.asarray(held_out[str(outcome)], np.float64)
        known = pd.DataFrame(theirs, columns=["score", "decile", "actual_decile"])
        known = known.assign(x=normal_scores(known["score"])).sort_values(["x", "actual_decile"])
        among = None if own_scale else known["score"]
        tested = rows.assign(x=normal_scores(rows["score"], among=among))
        _, lowest, highest = _one(tested, known, interval_level, classes)
        low[rows.index], high[rows.index] = lowest, highest
    at = areas.columns.get_loc("decile")
    assert isinstance(at, int)
    frame = areas.copy()
    frame.insert(at + 1, "low", low)
    frame.insert(at + 2, "high", high)
    return frame


def _calibrations(
    rows: pd.DataFrame, calibration: pd.DataFrame | None
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Pair the areas of each fold with those that show how large errors are, in a fixed order.

    Both get a column ``x``, the normal score of ``score`` among all the areas tested.
    """
    tested = rows.assign(x=normal_scores(rows["score"]))
    known = tested[(tested["fold"] != 0) & tested["actual_decile"].notna()]
    if calibration is not None:
        calibration = calibration[calibration["actual_decile"].notna()]
        calibration = calibration.assign(x=normal_scores(calibration["score"], among=rows["score"]))
    pairs = []
    for fold, held_out in tested[tested["fold"] != 0].groupby("fold"):
        others = known[known["fold"] != fold]
        if others.empty and calibration is not None:
            others = calibration
        if len(others):
            pairs.append((held_out, others.sort_values(["x", "actual_decile"], kind="stable")))
    return pairs


def _one(
    held_out: pd.DataFrame, known: pd.DataFrame, interval_level: float, classes: int
) -> tuple[Floats, Integers, Integers]:
    """Give probabilities, low and high of a fold's areas."""
    x, actual = known["x"].to_numpy(float), known["actual_decile"].to_numpy(np.int64)
    p = Distributions.fit(x, actual, classes).at(held_out["x"])
    decile = held_out["decile"].to_numpy(np.int64)
    limit = _limit(x, actual, _deciles(known, held_out), interval_level, classes)
    inside = _mass_before(p, decile) <= limit + SLACK
    low = inside.argmax(1) + 1
    high = classes - inside[:, ::-1].argmax(1)
    return p, low, high


def _deciles(known: pd.DataFrame, held_out: pd.DataFrame) -> Integers:
    """Give predicted deciles; areas of the calibration set take that of the nearest tested one."""
    if "decile" in known and known["decile"].notna().all():
        return known["decile"].to_numpy(np.int64)
    tested = held_out.sort_values(["x", "decile"], kind="stable")
    at = np.searchsorted(tested["x"].to_numpy(float), known["x"].to_numpy(float))
    return tested["decile"].to_numpy(np.int64)[np.minimum(at, len(tested) - 1)]


def _limit(
    x: Floats, actual: Integers, decile: Integers, interval_level: float, classes: int
) -> float:
    """How much probability an interval may have before its last decile is taken in."""
    needed = max(math.ceil((actual.size + 1) * interval_level - SLACK), 1)
    if needed > actual.size:
        return math.inf
    before = np.empty(actual.size)
    # Rows are in the order of x: each part is spread over all scores.
    part = np.arange(actual.size) % PARTS
    for each in np.unique(part):
        mine = part == each
        others = ~mine if (~mine).any() else mine
        p = Distributions.fit(x[others], actual[others], classes).at(x[mine])
        mass = _mass_before(p, decile[mine])
        before[mine] = mass[np.arange(mine.sum()), actual[mine] - 1]
    return float(np.partition(before, needed - 1)[needed - 1])


def _mass_before(p: Floats, start: Integers) -> Floats:
    """Probability in the interval when it is about to take in each decile: [n, K].

    It grows from ``start`` (1..K), which has 0, to the more probable neighbour, of equal ones to
    the side where it is shorter, and then upwards.
    """
    n, classes = p.shape
    row = np.arange(n)
    padded = np.pad(p, ((0, 0), (1, 1)), constant_values=-1.0)  # column k is decile k
    low, high = start.copy(), start.copy()
    mass = padded[row, start]
    before = np.zeros((n, classes))
    for _ in range(classes - 1):
        down, up = padded[row, low - 1], padded[row, high + 1]
        upwards = (up > down) | ((up == down) & (high - start <= start - low))
        taken = np.where(upwards, high + 1, low - 1)
        before[row, taken - 1] = mass
        mass = mass + padded[row, taken]
        high = np.where(upwards, taken, high)
        low = np.where(upwards, low, taken)
    return before


def evaluate_intervals(
    areas: pd.DataFrame, level: float, classes: int = 10, districts: pd.Series | None = None
) -> dict[str, Any]:
    """Report how often intervals hold the actual decile, of one outcome's areas.

    Parameters
    ----------
    areas : DataFrame by area
        ``low, high, actual_decile``; areas without an actual decile are skipped.
    level : float
        The share that was asked for.
    classes : int, default 10
        The highest decile.
    districts : Series by area, optional
        District of each area, missing where it has none.

    Returns
    -------
    dict
        ``level``; ``share`` that is covered, ``n_areas``, ``low`` and ``high``, between which that
        share would lie in 95% of samples (Clopper and Pearson 1934; it takes areas as independent,
        which neighbours are not), ``below_level`` (whether ``high`` is), ``mean_width`` in deciles;
        ``by_decile`` (a list: of the areas whose actual decile is 1, 2, ...) and ``by_district``
        (by name; None without any), each with ``n_areas``, ``share``, ``mean_width``. What is not
        defined is None.
    """
    from scipy.stats import binomtest

    rows = areas[areas["actual_decile"].notna()]
    actual = rows["actual_decile"].astype("int64")
    held = pd.DataFrame(
        {
            "inside": ((rows["low"] <= actual) & (actual <= rows["high"])).astype(bool),
            "width": (rows["high"] - rows["low"] + 1).astype("int64"),
        },
        index=rows.index,
    )
    by_decile = [{"decile": k, **_share_within(held[actual == k])} for k in range(1, classes + 1)]
    by_district = None
    if districts is not None:
        named = districts.reindex(held.index).dropna().astype(str)
        groups = held.loc[named.index].groupby(named.to_numpy(), sort=True)
        by_district = {str(name): _share_within(group) for name, group in groups} or None
    likely: Mapping[str, Any] = {"low": None, "high": None, "below_level": None}
    if len(held):
        chance = binomtest(int(held["inside"].sum()), len(held)).proportion_ci(0.95)
        likely = {
            "low": float(chance.low),
            "high": float(chance.high),
            "below_level": bool(chance.high < level),
        }
    whole = _share_within(held)
    return {
        "level": level,
        "share": whole["share"],
        "mean_width": whole["mean_width"],
        "n_areas": whole["n_areas"],
        **likely,
        "by_decile": by_decile,
        "by_district": by_district,
    }


def _share_within(held: pd.DataFrame) -> dict[str, Any]:
    return {
        "n_areas": len(held),
        "share": float(held["inside"].mean()) if len(held) else None,
        "mean_width": float(held["width"].mean()) if len(held) else None,
    }
