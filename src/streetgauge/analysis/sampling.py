"""Where to photograph next: locations by how much they would reduce the error of all areas.

An area's class is a smooth surface over the city, as its neighbours show, and a part of its own.
Images of n of its locations tell it with a variance that falls with n to what images cannot tell;
and where an area has images, its official class is among those that its neighbours are estimated
from. So the expected error of every area follows from how many locations each has, whatever images
will show: the design of experiments for a Gaussian process (Krause, Singh and Guestrin 2008,
*Near-optimal sensor placements in Gaussian processes*, J. Mach. Learn. Res. 9, 235-284). Locations
are added one by one, each where the mean squared error over all areas falls most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streetgauge.errors import InputError
from streetgauge.evaluation.kernels import matern_maps
from streetgauge.model.gaussian_process import NOISES, Spectrum

__all__ = ["Design", "choose_locations", "plan_areas"]

ROUNDS = 400  # in which a budget is spent: with a larger one several areas a round
FEWEST = 10  # areas with images and a label
CLOSE = 1e-9  # of costs that add up to a budget
SHOWN = 0.98  # of the variance that may be left for images to show anything

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Design:
    """What is known of the areas of a city before more images are taken.

    Parameters
    ----------
    areas : Index
        A areas.
    surface : array, shape [A, R]
        Vectors whose products are the covariances of the smooth part, in squared classes.
    own : float
        Variance of each area's own part.
    error : float
        Variance of what images show of an area, however many of its locations have any.
    within : float
        Variance between locations of an area; divided by their number it adds to ``error``.

    Examples
    --------
    >>> design = Design(pd.Index(["a", "b"]), np.zeros((2, 1)), own=2.0, error=1.0, within=4.0)
    >>> design.errors(np.array([4, 0])).tolist()  # with images at four locations, and without any
    [1.0, 2.0]
    """

    areas: pd.Index
    surface: Floats
    own: float
    error: float
    within: float

    @classmethod
    def fit(cls, areas: pd.DataFrame, scores: pd.DataFrame, xy: pd.DataFrame) -> Self:
        """Learn the variances from a study, as means over its outcomes.

        Parameters
        ----------
        areas : DataFrame
            ``area, outcome, score, actual_decile``: predicted by images alone, out of fold.
        scores : DataFrame
            ``area, outcome, score`` of every location.
        xy : DataFrame by area
            ``x``, ``y`` in metres, of all areas of the city. Where it is unknown, an area has no
            neighbours.

        Raises
        ------
        InputError
            If fewer than 10 areas have images and a label, or images show nothing of any outcome.

        Examples
        --------
        >>> rng = np.random.default_rng(0)
        >>> decile = np.arange(40) % 10 + 1.0
        >>> areas = pd.DataFrame({"area": [f"a{i:02d}" for i in range(40)], "outcome": "income"})
        >>> areas["score"] = decile + rng.normal(0, 0.5, 40)
        >>> areas["actual_decile"] = decile
        >>> scores = areas.loc[areas.index.repeat(3), ["area", "outcome", "score"]]
        >>> scores["score"] += rng.normal(0, 0.2, 120)
        >>> xy = pd.DataFrame(rng.uniform(0, 9000, (40, 2)), areas["area"], ["x", "y"])
        >>> len(Design.fit(areas, scores, xy).areas)
        40
        """
        found = [
            variances
            for _, own in areas.groupby("outcome", sort=True)
            if (variances := _variances(own, scores)) is not None
        ]
        if not found:
            raise InputError(
                "the study",
                "its images show nothing about any outcome, or fewer than 10 areas have a label",
                "more images would not help; use other features",
            )
        error, within = np.mean(found, axis=0)
        labels = areas.pivot_table("actual_decile", "area", "outcome", aggfunc="first").dropna()
        surface, own = _surface(labels, xy)
        return cls(xy.index, surface, own, float(error), float(within))

    def errors(self, counts: Counts) -> Floats:
        """Give the expected squared error of every area, with images of so many locations: [A].

        The class of an area with images is known to all others, and not to itself.

        Examples
        --------
        >>> design = Design(pd.Index(["a", "b"]), np.zeros((2, 1)), own=2.0, error=1.0, within=4.0)
        >>> design.errors(np.array([0, 4])).tolist()
        [2.0, 1.0]
        """
        return self._errors(counts, _spread(self.surface, self.posterior(counts)))

    def posterior(self, counts: Counts) -> Floats:
        """Give the covariance of the surface's coefficients: [R, R].

        Examples
        --------
        >>> design = Design(pd.Index(["a", "b"]), np.ones((2, 1)), own=2.0, error=1.0, within=4.0)
        >>> design.posterior(np.array([0, 4])).round(3).tolist()
        [[0.667]]
        """
        information = (self.surface.T * ((counts > 0) / self.own)) @ self.surface
        return np.linalg.inv(information + np.eye(self.surface.shape[1])).astype(np.float64)

    def gains(self, counts: Counts, posterior: Floats) -> Floats:
        """Give by how much the sum of squared errors falls with one more location: [A].

        What areas with images gain from a neighbour's class is taken to first order, which is a
        little too much.

        Examples
        --------
        >>> design = Design(pd.Index(["a", "b"]), np.zeros((2, 1)), own=2.0, error=1.0, within=4.0)
        >>> first, fifth = design.gains(np.array([0, 4]), np.eye(1))
        >>> bool(first > fifth)
        True
        """
        reached = self.surface @ posterior
        spread = np.einsum("ar,ar->a", reached, self.surface)
        errors = self._errors(counts, spread)
        left = self._left(counts, spread)
        alone = 1 / (1 / left + 1 / self._noise(counts + 1))
        share = np.where(counts > 0, (errors / self.own) ** 2, 1.0)
        whole = (self.surface.T * share) @ self.surface
        others = np.einsum("ar,ar->a", reached @ whole, reached) - share * spread**2
        return errors - alone + np.where(counts > 0, 0, others / (self.own + spread))

    def add(self, area: int, counts: Counts, posterior: Floats) -> float:
        """Add a location to an area, in place, and give by how much the sum of errors falls.

        Examples
        --------
        >>> design = Design(pd.Index(["a", "b"]), np.zeros((2, 1)), own=2.0, error=1.0, within=0.0)
        >>> counts = np.array([0, 1])
        >>> round(design.add(0, counts, design.posterior(counts)), 3), counts.tolist()
        (1.333, [1, 1])
        """
        before = _spread(self.surface, posterior)
        errors = self._errors(counts, before)
        along = posterior @ self.surface[area]
        counts[area] += 1
        if counts[area] == 1:
            along /= np.sqrt(self.own + before[area])
            posterior -= np.outer(along, along)
            before = before - (self.surface @ along) ** 2
        return float((errors - self._errors(counts, before)).sum())

    def _errors(self, counts: Counts, spread: Floats) -> Floats:
        return 1 / (1 / self._left(counts, spread) + 1 / self._noise(counts))

    def _left(self, counts: Counts, spread: Floats) -> Floats:
        """Variance of an area's class given the classes of others; its own is in the spread."""
        own = np.where(counts > 0, self.own**2 / (self.own - spread), self.own + spread)
        return np.asarray(own, np.float64)

    def _noise(self, counts: Counts) -> Floats:
        some = self.error + self.within / np.maximum(counts, 1)
        return np.where(counts > 0, some, np.inf)


def plan_areas(
    design: Design,
    counts: Counts,
    free: Counts,
    budget: float,
    *,
    xy: Floats | None = None,
    travel: float | None = None,
) -> pd.DataFrame:
    """Choose in which areas locations are photographed, one after the other.

    Parameters
    ----------
    design : Design
    counts, free : array of int64, shape [A]
        Locations of each area with images, and those that could get some.
    budget : float
        Locations, or what they cost.
    xy : array, shape [A, 2], optional
        Positions in metres; needed with ``travel``.
    travel : float, optional
        Metres of way that cost as much as a location: one costs 1, and the way from the nearest
        area that is already in the plan.

    Returns
    -------
    DataFrame
        ``area`` (position), ``gain`` (by how much the mean squared error over all areas falls) and
        ``cost``, in the order of the choice.

    Examples
    --------
    >>> design = Design(pd.Index(["a", "b"]), np.zeros((2, 1)), own=2.0, error=1.0, within=4.0)
    >>> plan_areas(design, np.array([0, 4]), free=np.array([5, 5]), budget=1)["area"].tolist()
    [0]
    """
    counts, free = counts.copy(), free.copy()
    posterior = design.posterior(counts)
    at_once = max(1, int(np.ceil(min(budget, free.sum()) / ROUNDS)))
    way = np.zeros(len(counts))
    rows: list[tuple[int, float, float]] = []
    spent = 0.0
    while True:
        cost = 1 + way
        possible = (free > 0) & (spent + cost <= budget + CLOSE)
        gain = np.where(possible, design.gains(counts, posterior), 0)
        order = np.argsort(-gain / cost, kind="stable")[:at_once]
        order = order[gain[order] > 0]
        if not len(order):
            break
        for area in order.tolist():
            price = 1 + way[area]  # others of this round may lie near by
            if spent + price > budget + CLOSE:
                continue
            fall = design.add(area, counts, posterior)
            rows.append((area, fall / len(counts), price))
            spent += price
            free[area] -= 1
            if travel is not None and xy is not None:
                apart = np.hypot(*(xy - xy[area]).T) / travel
                way = apart if len(rows) == 1 else np.minimum(way, apart)
    return pd.DataFrame(rows, columns=["area", "gain", "cost"])


def choose_locations(taken: Floats, free: Floats, count: int) -> list[int]:
    """Choose locations of an area, each as far as can be from those that have images.

    Parameters
    ----------
    taken, free : array, shape [n, 2]
        Positions in metres of locations with images, and of those to choose from.
    count : int
        How many, at most as many as there are.

    Returns
    -------
    list of int
        Rows of ``free``. The first of an area without images is the one nearest to the middle.

    Examples
    --------
    >>> row = np.column_stack([np.arange(5.0), np.zeros(5)])
    >>> choose_locations(row[:0], row, 3)
    [2, 0, 4]
    """
    middle = np.nanmean(free, axis=0) if np.isfinite(free).any() else np.zeros(2)
    free = np.where(np.isfinite(free), free, middle)
    if len(taken):
        apart = np.hypot(*(free[:, None] - taken).transpose(2, 0, 1))
        apart = np.nan_to_num(apart, nan=0.0).min(axis=1)
    else:
        apart = -np.hypot(*(free - middle).T)
    chosen: list[int] = []
    for _ in range(min(count, len(free))):
        row = int(np.argmax(apart))
        away = np.hypot(*(free - free[row]).T)
        apart = np.minimum(apart, away) if len(chosen) or len(taken) else away
        apart[[*chosen, row]] = -np.inf
        chosen.append(row)
    return chosen


def _variances(areas: pd.DataFrame, scores: pd.DataFrame) -> tuple[float, float] | None:
    """Give what images show of an outcome: the two variances of `Design`; None if nothing."""
    known = areas.dropna(subset=["score", "actual_decile"])
    actual, score = (known[name].to_numpy(float) for name in ("actual_decile", "score"))
    if len(known) < FEWEST or not np.ptp(score) or not np.ptp(actual):
        return None
    slope = np.cov(actual, score)[0, 1] / score.var(ddof=1)
    variance = actual.var(ddof=1)
    left = (actual - actual.mean() - slope * (score - score.mean())).var(ddof=2)
    if slope <= 0 or left >= SHOWN * variance:
        return None
    own = scores[scores["outcome"] == known["outcome"].iloc[0]]
    of_area = own.groupby("area")["score"]
    number = of_area.size().reindex(known["area"]).to_numpy(float)
    freedom = float((of_area.size() - 1).sum())
    between = float((own["score"] - of_area.transform("mean")).pow(2).sum() / max(freedom, 1))
    # As an observation of the class itself, not as its best prediction.
    reliability = 1 - left / variance
    noise = variance * left / (variance - left)
    within = slope**2 * between / reliability**2
    return max(noise - within * float(np.nanmean(1 / number)), 0.05 * noise), within


def _surface(labels: pd.DataFrame, xy: pd.DataFrame) -> tuple[Floats, float]:
    """Choose the likeliest smooth surface of all outcomes: vectors [A, R], and the own variance."""
    values = labels.to_numpy(float)
    variance = float(values.var(axis=0, ddof=1).mean())
    best = -np.inf
    found: tuple[Floats, float] = (np.zeros((len(xy), 1)), variance)
    rows = xy.index.get_indexer(labels.index)
    for vectors in matern_maps(xy[["x", "y"]].to_numpy(float)):
        wide = vectors.astype(np.float64)
        wide /= np.sqrt(np.einsum("ar,ar->", wide, wide) / len(wide))
        spectrum = Spectrum.of(wide[rows], values, np.ones(len(rows)))
        evidence, signal = spectrum.evidence()
        level = int(evidence.sum(axis=1).argmax())
        if evidence[level].sum() > best:
            best = float(evidence[level].sum())
            strength = float(signal[level].mean())
            found = (wide * np.sqrt(strength), strength * float(NOISES[level]))
    return found


def _spread(surface: Floats, posterior: Floats) -> Floats:
    found: Floats = np.einsum("ar,rs,as->a", surface, posterior, surface, optimize=True)
    return found
