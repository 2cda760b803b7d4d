"""How probable each decile is for an area, estimated from areas with such scores.

The mean of an area's locations' probabilities describes a random location, seen through a network,
not the area; and it is as narrow as the network is sure. The estimate of an area here is instead
the distribution of the *actual* decile among other areas with a like score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.evaluation.metrics import ranked_probability_scores

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Normal scores of up to 30,000 areas lie between -4 and 4; kernels are never narrower than 3 steps.
NODES = np.linspace(-4.0, 4.0, 161)
# So many areas per class weigh as much as the smooth curve that the counts are drawn towards. From
# 2 to 50 areas in all it hardly matters in a city of thousands; of a hundred areas more is better.
PRIOR = 5.0
BANDWIDTH = 0.9  # times n^(-1/5): Silverman (1986), of values with a standard deviation of 1
LARGEST_R = 0.999
TINY = 1e-12


def probability_columns(classes: int) -> list[str]:
    """Name the columns of probabilities: ``p1`` to ``pK``."""
    return [f"p{k}" for k in range(1, classes + 1)]


def normal_scores(values: npt.ArrayLike, among: npt.ArrayLike | None = None) -> Floats:
    """Report where values stand among others, as quantiles of the standard normal distribution.

    Parameters
    ----------
    values : array_like of float, shape (n,)
    among : array_like of float, shape (m,), optional
        The others, at least one; the values themselves if not given.

    Returns
    -------
    ndarray of float, shape (n,)
        Of the middle of the positions that a value takes up among the others; equal values have
        equal ones, and with constant scores all are 0.
    """
    from scipy.special import ndtri  # here, so that importing the package stays cheap
    from scipy.stats import rankdata

    value = np.asarray(values, dtype=float)
    if among is None:
        share = (rankdata(value) - 0.5) / max(value.size, 1)
    else:
        ordered = np.sort(np.asarray(among, dtype=float))
        below = np.searchsorted(ordered, value, "left")
        upto = np.searchsorted(ordered, value, "right")
        least = 0.5 / ordered.size
        share = np.clip((below + upto) / 2 / ordered.size, least, 1 - least)
    return np.asarray(ndtri(share), dtype=float)


@dataclass(frozen=True, eq=False)
class Distributions:
    """The distribution of the actual decile given where an area's score stands.

    Two estimates are put together, at every score by how many areas are near it:

    - a Gaussian copula of score and decile: one number r, by maximum likelihood, gives how closely
      they are related, and the deciles' own shares give the rest (Joe 2014, *Dependence modeling
      with copulas*, chapter 2). It needs few areas, but is one shape for the whole city;
    - the shares of the deciles among the areas near by, weighted with a Gaussian kernel (Nadaraya
      1964, Watson 1964), which in a city of thousands of areas give more.

    The mean, P = (kernel counts + m copula) / (kernel sum + m) with m = 5 K, is that of a Dirichlet
    prior. Lastly P(decile <= k) is made to fall, or stay, as the score rises, for every k: the mean
    of the largest falling curve below it and the smallest above.

    Parameters
    ----------
    table : ndarray of float, shape (161, K)
        Probabilities at normal scores from -4 to 4.
    """

    table: Floats

    @classmethod
    def fit(
        cls, position: npt.ArrayLike, decile: npt.ArrayLike, classes: int = 10
    ) -> Distributions:
        """Learn from areas whose decile is known.

        Parameters
        ----------
        position : array_like of float, shape (n,)
            Normal scores.
        decile : array_like of int, shape (n,)
            1 to ``classes``.
        classes : int, default 10
            K.
        """
        x = np.clip(np.asarray(position, dtype=float), NODES[0], NODES[-1])
        counts = _binned(x, np.asarray(decile, dtype=np.int64), classes)
        smooth = _copula(counts)
        width = BANDWIDTH * max(x.size, 1) ** -0.2
        kernel = np.exp(-0.5 * ((NODES[:, None] - NODES) / width) ** 2)
        near = kernel @ counts
        prior = PRIOR * classes
        table = (near + prior * smooth) / (near.sum(1, keepdims=True) + prior)
        return cls(_ordered(table))

    def at(self, position: npt.ArrayLike) -> Floats:
        """Give probabilities at normal scores: [n, K], each row of sum 1."""
        x = np.clip(np.asarray(position, dtype=float), NODES[0], NODES[-1])
        node = (x - NODES[0]) / (NODES[1] - NODES[0])
        left = np.clip(node.astype(np.int64), 0, NODES.size - 2)
        share = (node - left)[:, None]
        found: Floats = (1 - share) * self.table[left] + share * self.table[left + 1]
        return np.asarray(found / found.sum(1, keepdims=True))


def _binned(x: Floats, decile: Integers, classes: int) -> Floats:
    """Count areas by node and decile; an area between two nodes counts for both, by nearness."""
    node = (x - NODES[0]) / (NODES[1] - NODES[0])
    left = np.clip(node.astype(np.int64), 0, NODES.size - 2)
    share = node - left
    counts = np.zeros((NODES.size, classes))
    np.add.at(counts, (left, decile - 1), 1 - share)
    np.add.at(counts, (left + 1, decile - 1), share)
    return counts


def _copula(counts: Floats) -> Floats:
    """Fit r to the counts, and give the copula's probabilities at every node."""
    from scipy.optimize import minimize_scalar
    from scipy.special import ndtr, ndtri

    classes = counts.shape[1]
    # One area, spread evenly, so that no class is impossible.
    shares = (counts.sum(0) + 1 / classes) / (counts.sum() + 1)
    borders = np.r_[-np.inf, ndtri(np.clip(np.cumsum(shares)[:-1], TINY, 1 - TINY)), np.inf]

    def probabilities(r: float) -> Floats:
        upto = ndtr((borders - r * NODES[:, None]) / np.sqrt(1 - r**2))
        return np.asarray(np.maximum(np.diff(upto, axis=1), TINY))

    def unlikely(r: float) -> float:
        # The second term prevents r = 1 where a handful of areas happen to be in order.
        return float(-(counts * np.log(probabilities(r))).sum() - 2 * np.log(1 - r**2))

    r = minimize_scalar(unlikely, bounds=(-LARGEST_R, LARGEST_R), method="bounded").x
    # Scores that order areas the wrong way round tell nothing of new ones.
    return probabilities(max(float(r), 0.0))


def _ordered(table: Floats) -> Floats:
    """Make P(decile <= k) fall with the score for every k."""
    upto = np.cumsum(table, axis=1)
    below = np.minimum.accumulate(upto, axis=0)
    above = np.maximum.accumulate(upto[::-1], axis=0)[::-1]
    falling = (below + above) / 2
    falling[:, -1] = 1.0
    return np.diff(falling, axis=1, prepend=0.0)


def calibration_error(
    probabilities: npt.ArrayLike, actual: npt.ArrayLike, groups: int = 10
) -> float:
    """How far stated probabilities are from shares: of "the decile is k or less", mean over k.

    For each k below K the rows are put in order of P(decile <= k) and cut into ``groups`` of equal
    count; the mean over rows of |mean probability - share| of their group (the expected calibration
    error of Naeini, Cooper and Hauskrecht 2015, for ordered classes). Chance alone makes it about
    0.4 / sqrt(rows of a group), so it is 0 for nobody. Rows with the very same P share what
    happened to them, wherever a group ends. NaN without any row.
    """
    p, y = np.asarray(probabilities, dtype=float), np.asarray(actual, dtype=np.int64)
    if not y.size:
        return float("nan")
    classes = p.shape[1]
    upto = np.cumsum(p, axis=1)[:, :-1]
    happened = (y[:, None] <= np.arange(1, classes)).astype(float)
    group = np.arange(y.size) * min(groups, y.size) // y.size
    size = np.bincount(group)
    found = []
    for k in range(classes - 1):
        # Rounded, so that what sums up to the same in thought does so in floats.
        stated, tie, many = np.unique(upto[:, k].round(12), return_inverse=True, return_counts=True)
        share = np.bincount(tie, happened[:, k]) / many
        gap = np.bincount(group, np.repeat(stated - share, many))
        found.append(np.abs(gap).sum() / size.sum())
    return float(np.mean(found))


def evaluate_probabilities(
    areas: pd.DataFrame, predictions: pd.DataFrame | None, classes: int = 10
) -> dict[str, dict[str, float | None]]:
    """Report how well stated probabilities describe what is, for one outcome.

    Parameters
    ----------
    areas : DataFrame
        ``area, actual_decile, p1..`` of the areas.
    predictions : DataFrame, optional
        ``area, actual_decile, p1..`` of their locations.
    classes : int, default 10
        K.

    Returns
    -------
    dict
        ``areas``, ``locations`` and ``mean_of_locations`` (the mean of an area's locations'
        probabilities, taken as the area's): each ``rps`` and ``calibration_error``. For locations
        the rows are locations, and the truth is their area's decile. What is not there is excluded.
    """
    columns = probability_columns(classes)
    tables: dict[str, pd.DataFrame] = {}
    if set(columns) <= set(areas.columns):
        tables["areas"] = areas
    if predictions is not None and set(columns) <= set(predictions.columns):
        tables["locations"] = predictions
        grouped = predictions.groupby("area", sort=True, observed=True)
        mean = grouped[columns].mean()
        tables["mean_of_locations"] = mean.assign(actual_decile=grouped["actual_decile"].first())
    return {name: _scored(table, columns) for name, table in tables.items()}


def _scored(table: pd.DataFrame, columns: Sequence[str]) -> dict[str, float | None]:
    known = table[table["actual_decile"].notna()]
    if known.empty:
        return {"rps": None, "calibration_error": None}
    p, actual = known[list(columns)].to_numpy(float), known["actual_decile"].to_numpy(np.int64)
    return {
        "rps": float(ranked_probability_scores(p, actual).mean()),
        "calibration_error": calibration_error(p, actual),
    }
