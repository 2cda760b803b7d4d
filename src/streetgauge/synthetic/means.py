"""Simulated mean features of areas: those of `simulate_features`, without its locations.

The mean over an area's ``n`` locations with ``v`` views each has a channel of
``sqrt(s) z + sqrt(1 - s) e`` for each outcome, where ``e`` is normal with the variance of
`Noise.of_area`; what fills the rest of the space has variance ``1 / (n v)``. Both are exactly what
averaging `simulate_features` gives, so that studies of any size can be tried in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.synthetic.model import Array
from streetgauge.synthetic.simulate import (
    AREA_NOISE,
    LOCATION_NOISE,
    STRENGTH,
    _directions,
    _standard,
)

__all__ = ["Noise", "noise_of_scores", "simulate_area_means"]


@dataclass(frozen=True)
class Noise:
    """Which parts of a view's noise its area, its location and the view itself have.

    Parameters
    ----------
    area, location : float
        Shares, which together are at most 1; the rest is the view's own.
    """

    area: float = AREA_NOISE
    location: float = LOCATION_NOISE

    @property
    def view(self) -> float:
        """What more views of a location average away."""
        return 1 - self.area - self.location

    def of_area(self, locations: npt.ArrayLike, views: float) -> Array:
        """Give the variance of the mean over so many locations of an area with so many views."""
        count = np.asarray(locations, float)
        result: Array = self.area + (self.location + self.view / views) / count
        return result

    @classmethod
    def split(cls, share: float, views: float) -> Noise:
        """Divide noise of which the area has a share in the mean over a location's views.

        What is not the area's is divided between location and view as it is by default: nothing in
        scores of whole locations tells these apart.

        Parameters
        ----------
        share : float
            0 to 1, as `noise_of_scores` gives it.
        views : float
            Views of a location, over which the scores are.
        """
        rest = 1 - AREA_NOISE
        location = LOCATION_NOISE / rest
        kept = location + (1 - location) / views  # of what is not the area's
        area = share * kept / (1 - share + share * kept)
        return cls(area, (1 - area) * location)


def simulate_area_means(
    deciles: pd.DataFrame,
    locations: pd.Series,
    views: float,
    signal: Mapping[str, float],
    *,
    dimension: int,
    seed: int | tuple[int, ...],
    noise: Noise | None = None,
    classes: int = 10,
) -> pd.DataFrame:
    """Make the mean features of areas whose deciles are known.

    Parameters
    ----------
    deciles : DataFrame [A, M] by area
        A column for each outcome; NaN = missing.
    locations : Series of int by area
        How many locations each area has, at least 1.
    views : float
        Views of each location.
    signal : mapping of outcome to float
        0 to 1: see `simulate_features`.
    dimension : int
        D, at least M.
    seed : int or tuple of int
        Same seed and areas, same draws, in whatever order the rows are; the draws behind the
        channels do not depend on signal, locations and views, so that these can be compared.
    noise : Noise, optional
        As in `simulate_features`, if not given.
    classes : int, default 10
        The highest decile.

    Returns
    -------
    DataFrame [A, D] by area, sorted
    """
    table = deciles.sort_index()
    count = locations.reindex(table.index).to_numpy(float)
    variance = (noise or Noise()).of_area(count, views)
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal((len(table), table.shape[1]))
    rest = rng.standard_normal((len(table), dimension))
    truth = np.nan_to_num(_standard(table, classes))
    share = np.array([signal[str(name)] for name in table.columns])
    channels = np.sqrt(share) * truth + np.sqrt((1 - share) * variance[:, None]) * drawn
    rest /= np.sqrt(count * views)[:, None]
    first = seed if isinstance(seed, int) else seed[0]
    basis = _directions([str(name) for name in table.columns], dimension, first).astype(float)
    return pd.DataFrame(rest + (STRENGTH * channels - rest @ basis.T) @ basis, index=table.index)


def noise_of_scores(predictions: pd.DataFrame) -> float | None:
    """Estimate which share of the noise in locations' scores their areas have.

    What a score differs by from the mean of its fold and actual decile is its noise. One-way
    analysis of variance over the areas (Searle, Casella and McCulloch 1992, Variance Components,
    chapter 3) divides it into the area's and the location's.

    Parameters
    ----------
    predictions : DataFrame
        Of one outcome: ``location_id``, ``area``, ``fold``, ``score``, ``actual_decile``.

    Returns
    -------
    float or None
        0 to 1; None where no area has two locations.
    """
    rows = predictions[predictions["actual_decile"].notna()].sort_values(["area", "location_id"])
    noise = rows["score"] - rows.groupby(["fold", "actual_decile"])["score"].transform("mean")
    by_area = noise.groupby(rows["area"])
    size, mean = by_area.size(), by_area.mean()
    groups = rows.groupby(["fold", "actual_decile"]).ngroups
    free = (len(rows) - len(size), len(size) - groups)
    if free[0] < 1 or free[1] < 1:
        return None
    within = float(((noise - noise.groupby(rows["area"]).transform("mean")) ** 2).sum() / free[0])
    between = float((size * mean**2).sum() / free[1])
    each = (len(rows) - float((size**2).sum()) / len(rows)) / max(len(size) - 1, 1)
    area = max((between - within) / each, 0.0)
    return area / (area + within) if area + within > 0 else None
