"""How many independent areas a comparison of areas is worth, where neighbours are alike.

Two maps that have nothing to do with each other agree more often than independent numbers would.
The variance of such an agreement is a sum over all pairs of areas (Clifford, Richardson and Hemon
1989, Biometrics 45, 123-134). Pairs are put into classes by distance, in each of which the maps'
covariance is a mean. Up to `EXACT` areas every pair is in the class of its own distance. More are
put into cells of neighbours: only pairs within a cell and its nearest cells are measured, and areas
of cells further apart are in the class of the distance between the cells' centres.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

NEIGHBOURS = 6  # areas in the nearest class of distances; each further class has twice as many
SAMPLED = 500  # areas from which the classes of distances are drawn
EXACT = 2048  # areas, up to which all are one cell
CELL = 16  # areas of a cell, until there are as many cells as there may be
CELLS = 2048  # cells at most
NEAR = 512  # areas in a cell and its nearest ones, from which its own areas are measured


def count_effective(scaled: Floats, contrast: Floats, xy: pd.DataFrame | None) -> Floats:
    """Count how many independent areas each comparison is worth: [K], at most all.

    The variance of a product of two unrelated maps is the sum over classes of distance of the
    products of their covariances there.
    """
    n = len(scaled)
    if xy is None or xy.isna().to_numpy().any():
        return np.full(scaled.shape[1], float(n))
    points = np.ascontiguousarray(xy.to_numpy(np.float64))
    pairs = _pairs_of(points.tobytes())
    covariances = pairs.sums(scaled) / pairs.counts.clip(min=1)[:, None]
    contrasts = pairs.sums(contrast[:, None])[:, 0]
    own_variance = float(contrast @ contrast)  # each concept has variance 1
    variance = own_variance + contrasts @ covariances
    # Independent areas are the best that there can be, and three the least.
    effective = 1 + (n - 1) * own_variance / variance.clip(min=own_variance)
    return np.asarray(effective.clip(3, n))


class _Pairs:
    """Pairs of areas by class of distance: one by one where cells are near, else of whole cells."""

    def __init__(self, points: Floats) -> None:
        from scipy.sparse import csr_array

        n, edges = len(points), _distance_classes(points)
        self.classes = len(edges) + 1
        self.cells = _cells(points)
        self.cell = np.empty(n, np.int64)
        for number, own in enumerate(self.cells):
            self.cell[own] = number
        middles = np.stack([points[own].mean(axis=0) for own in self.cells])
        between = _distances(middles, middles)
        count = min(max(1, NEAR * len(self.cells) // n), len(self.cells))
        closest = np.argpartition(between, count - 1, axis=1)[:, :count]
        near = np.zeros(between.shape, np.bool_)
        np.put_along_axis(near, closest, True, axis=1)
        near |= near.T
        # Pairs of near cells are in a class of their own, which nothing is summed of.
        self.far = np.where(near, self.classes, np.searchsorted(edges, between)).astype(np.int64)
        self.near = []
        found = [
            self._near_pairs(points, own, np.flatnonzero(near[g]), edges)
            for g, own in enumerate(self.cells)
        ]
        first, second, class_ = (np.concatenate(each) for each in zip(*found, strict=True))
        for k in range(self.classes):
            of = class_ == k
            ones = np.ones(int(of.sum()), np.float32)
            self.near.append(csr_array((ones, (first[of], second[of])), shape=(n, n)))
        self.counts = self.sums(np.ones((n, 1)))[:, 0]

    def _near_pairs(
        self, points: Floats, own: Integers, cells: Integers, edges: Floats
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int8]]:
        others = np.concatenate([self.cells[g] for g in cells])
        class_ = np.searchsorted(edges, _distances(points[own], points[others])).astype(np.int8)
        first, second = np.broadcast_arrays(own[:, None], others[None])
        apart = first != second
        return first[apart].astype(np.int32), second[apart].astype(np.int32), class_[apart]

    def sums(self, values: Floats) -> Floats:
        """Sum the products of values over the pairs of each class: [classes, K]."""
        total = np.zeros((self.classes, values.shape[1]))
        for k, pairs in enumerate(self.near):
            total[k] = (values * (pairs @ values)).sum(axis=0)
        for column, own in enumerate(values.T):
            of_cells = np.bincount(self.cell, own, len(self.cells))
            products = np.multiply.outer(of_cells, of_cells).ravel()
            total[:, column] += np.bincount(self.far.ravel(), products, self.classes + 1)[:-1]
        return total


@lru_cache(maxsize=4)  # the areas that the measures of an audit are of
def _pairs_of(points: bytes) -> _Pairs:
    return _Pairs(np.frombuffer(points).reshape(-1, 2))


def _cells(points: Floats) -> list[Integers]:
    """Halve the areas along the wider side, and the halves again, until cells are small."""
    cells = [np.arange(len(points))]
    if len(points) <= EXACT:
        return cells
    while len(cells[0]) > CELL and len(cells) < CELLS:
        halves = []
        for own in cells:
            sides = np.ptp(points[own], axis=0)
            order = np.argsort(points[own, int(sides[1] > sides[0])], kind="stable")
            halves += np.array_split(own[order], 2)
        cells = halves
    return cells


def _distance_classes(points: Floats) -> Floats:
    """Give the upper ends of classes of distance, but of the last, which has no end."""
    n = len(points)
    some = np.random.default_rng(0).permutation(n)[:SAMPLED]
    ordered = np.sort(_distances(points[some], points), axis=1).mean(axis=0)
    ends, many = [], NEIGHBOURS
    while many < n - 1:
        ends.append(ordered[many])
        many = 2 * many + NEIGHBOURS
    return np.array(ends)


def _distances(some: Floats, points: Floats) -> Floats:
    from scipy.spatial.distance import cdist

    distances: Floats = cdist(some, points)
    return distances


def p_values(difference: Floats, contrast: Floats, effective: Floats, n: int) -> Floats:
    """Two-sided p-values of the t-test of a correlation with so many independent areas."""
    from scipy.stats import t

    rho = (difference / np.sqrt(n * (contrast @ contrast))).clip(-1 + 1e-12, 1 - 1e-12)
    freedom = effective - 2
    p: Floats = 2 * t.sf(np.abs(rho) * np.sqrt(freedom / (1 - rho**2)), freedom)
    return p
