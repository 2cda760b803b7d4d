"""Differences between groups of areas by generalised least squares.

Where neighbouring areas are similar, a plain difference of means wastes most of what they show:
two areas side by side show nearly the same. Generalised least squares compares each area with what
its neighbours predict. The covariance is estimated for each concept, by restricted maximum
likelihood over a grid of Matern covariances with a nugget; the likelihood is that of Vecchia
(1988, J. R. Stat. Soc. B 50, 297-312), in which an area depends on the nearest of those before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

NEIGHBOURS = 15  # nearest areas before each that it depends on
SEARCHED = 60  # nearest areas among which those are found
SMOOTHNESS = (0.5, 1.5, 2.5)
RANGES = 7  # from the distance of neighbours to twice the extent
NUGGETS = (0.005, 0.03, 0.1, 0.25, 0.5, 0.75)  # shares of the variance that no neighbour shares


def weighted_p_values(values: Floats, worst: Floats, best: Floats, points: Floats) -> Floats:
    """Test whether two groups of areas differ, with the covariance of all areas estimated.

    Parameters
    ----------
    values : array, [n, K]
        Concepts of areas.
    worst, best : arrays, [n]
        1 for the areas of a group, else 0.
    points : array, [n, 2]
        Where the areas are.

    Returns
    -------
    array, [K]
        Two-sided p-values; 1 where the weighted difference has the opposite sign of the plain one.
    """
    from scipy.stats import t

    order = np.argsort(points.sum(axis=1), kind="stable")
    groups = np.column_stack([worst, best, 1 - worst - best])[order]
    model = groups[:, groups.any(axis=0)]
    contrast = np.array([-1.0, 1.0, 0.0])[: model.shape[1]]
    given = values[order]
    n, count = model.shape
    least = np.full(values.shape[1], np.inf)
    statistic = np.zeros(values.shape[1])
    for whiten in _filters(points[order]):
        x, y = whiten(model), whiten(given)
        inverse = np.linalg.inv(x.T @ x)
        coefficients = inverse @ (x.T @ y)
        squares = ((y - x @ coefficients) ** 2).sum(axis=0).clip(min=1e-300)
        # Twice the negative restricted log-likelihood, but for constants.
        misfit = (n - count) * np.log(squares) + whiten.log_variance - _log_det(inverse)
        error = np.sqrt(squares / (n - count) * (contrast @ inverse @ contrast))
        better = misfit < least
        least = np.where(better, misfit, least)
        statistic = np.where(better, contrast @ coefficients / error, statistic)
    plain = best @ values / best.sum() - worst @ values / worst.sum()
    p = 2 * t.sf(np.abs(statistic), n - count)
    return np.where(plain * statistic > 0, p, 1.0)


def _log_det(matrix: npt.NDArray[Any]) -> float:
    return float(np.linalg.slogdet(matrix)[1])


@dataclass(frozen=True, eq=False)
class _Filter:
    """Subtracts what neighbours predict from each area, and divides by the standard deviation."""

    weights: csr_array
    log_variance: float

    def __call__(self, values: Floats) -> Floats:
        whitened: Floats = self.weights @ values
        return whitened


def _filters(points: Floats) -> Iterator[_Filter]:
    """Give a filter for each covariance of the grid."""
    before, distances = _neighbours(points)
    between = np.linalg.norm(points[before][:, :, None] - points[before][:, None], axis=3)
    there = np.isfinite(distances)
    near = np.median(distances[:, 0][there[:, 0]])
    far = float(np.linalg.norm(np.ptp(points, axis=0)))
    ranges = np.geomspace(max(near, far / 1000), 2 * far, RANGES)
    distances = np.where(there, distances, 0.0)
    pairs = there[:, :, None] & there[:, None]
    # The same places in the matrix for all: only what stands there differs.
    columns = np.column_stack([before, np.arange(len(points))])
    order = np.argsort(columns, axis=1, kind="stable")
    columns = np.take_along_axis(columns, order, axis=1)

    def correlations(smoothness: float, reach: float) -> tuple[Floats, Floats]:
        return (
            there * _matern(distances, smoothness, reach),
            pairs * _matern(between, smoothness, reach),
        )

    for covariance in product(SMOOTHNESS, ranges):
        to_own, among = correlations(*covariance)
        for nugget in NUGGETS:
            yield _filter(columns, order, (1 - nugget) * to_own, (1 - nugget) * among)
    to_own, among = correlations(0.5, near)
    yield _filter(columns, order, 0.0 * to_own, 0.0 * among)


def _neighbours(points: Floats) -> tuple[Integers, Floats]:
    """Find the nearest areas before each: their positions, and distances; infinite if none."""
    from scipy.spatial import cKDTree

    n = len(points)
    many = min(SEARCHED, n)
    distances, positions = cKDTree(points).query(points, k=many)
    own = np.arange(n)[:, None]
    distances = np.where(positions < own, distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :NEIGHBOURS]
    distances = np.take_along_axis(distances, order, axis=1)
    positions = np.take_along_axis(positions, order, axis=1)
    return np.where(np.isfinite(distances), positions, 0), distances


def _filter(columns: Integers, order: Integers, to_own: Floats, among: Floats) -> _Filter:
    """Make a filter from the covariances of areas with their neighbours, and of these."""
    n, m = to_own.shape
    among[:, np.arange(m), np.arange(m)] = 1.0
    weights = np.linalg.solve(among, to_own[..., None])[..., 0]
    deviation = np.sqrt((1 - (weights * to_own).sum(axis=1)).clip(1e-9))
    entries = np.column_stack([-weights, np.ones(n)]) / deviation[:, None]
    entries = np.take_along_axis(entries, order, axis=1)
    rows = np.arange(n + 1) * (m + 1)
    matrix = csr_array((entries.ravel(), columns.ravel(), rows), shape=(n, n))
    return _Filter(matrix, float(2 * np.log(deviation).sum()))


def _matern(distances: Floats, smoothness: float, reach: float) -> Floats:
    """Matern correlations of smoothness 1/2, 3/2 or 5/2."""
    scaled = np.sqrt(2 * smoothness) * distances / reach
    rise = {0.5: 0.0, 1.5: scaled, 2.5: scaled + scaled**2 / 3}[smoothness]
    found: Floats = (1 + rise) * np.exp(-scaled)
    return found
