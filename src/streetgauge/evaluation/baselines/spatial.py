"""Predict an area from the labels of areas around it: the nearest ones, and kriging."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.evaluation.baselines.folds import Floats, LRUCache

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
PARTS = 5  # of the training areas, held out in turn
HALVINGS = 10  # of a square that holds too many of them


class Nearest:
    """Guess the mean decile of the nearest training areas; a `Method`.

    Parameters
    ----------
    coordinates : DataFrame by area
        ``x`` and ``y`` in metres. An area that is not in it, or without coordinates, is no
        neighbour of any, and nothing is known of it.
    neighbours : int, default 5
        How many; all training areas if there are fewer.
    weighted : bool, default True
        Weights of one over the distance, so that the next counts more than the fifth; areas at the
        very same position count alone.
    """

    def __init__(
        self, coordinates: pd.DataFrame, neighbours: int = 5, weighted: bool = True
    ) -> None:
        self.coordinates, self.neighbours, self.weighted = coordinates, neighbours, weighted
        self._cache: LRUCache[tuple[Mask, Mask, Floats, Rows]] = LRUCache()

    def __call__(self, training: pd.Series, query: pd.Index) -> Floats:
        """Predict: see `Method`."""
        near, here, weight, rows = self._cache.get(
            (training.index, query), partial(self._fold, training.index, query)
        )
        score = np.full(len(query), np.nan)
        if near.any() and here.any():
            score[here] = (weight * training.to_numpy(np.float64)[near][rows]).sum(1)
        return score

    def _fold(self, training: pd.Index, query: pd.Index) -> tuple[Mask, Mask, Floats, Rows]:
        """Find who has a position, and the weights and rows of the nearest."""
        around, near, target, here = _positions(self.coordinates, training, query)
        if not len(around) or not len(target):
            return near, here, np.empty((0, 0)), np.empty((0, 0), np.int64)
        distance, rows = _nearest(around, target, self.neighbours)
        return near, here, _closeness(distance, self.weighted), rows


class Kriging:
    """Predict by ordinary kriging, best linear unbiased from near training areas; a `Method`.

    Matérn covariance of smoothness 3/2 with a nugget (Stein 1999, Interpolation of Spatial Data;
    the neighbourhood moves: Chilès and Delfiner 2012, Geostatistics, 3.6). With all training areas
    as neighbours this is a Gaussian process with an unknown constant mean. Range and nugget are
    those that guess the *training* areas best, by mean squared error, each held out and guessed
    from areas no nearer than the tested areas' own nearest ones: in spatial folds that is far.
    Ours because PyKrige fits a variogram, which is blind to how far away the folds are.

    Parameters
    ----------
    coordinates : DataFrame by area
        As for `Nearest`.
    neighbours : int, default 20
        How many training areas a guess is made of.
    sample : int, default 300
        How many of the training areas at most range and nugget are chosen by.
    """

    RANGES = tuple(2.0**i for i in range(7))  # in median distances of a training area to its next
    NUGGETS = (0.05, 0.2, 0.4, 0.6, 0.8)  # share of the variance

    def __init__(self, coordinates: pd.DataFrame, neighbours: int = 20, sample: int = 300) -> None:
        self.coordinates, self.neighbours, self.sample = coordinates, neighbours, sample
        self._cache: LRUCache[_KrigedFold] = LRUCache()

    def __call__(self, training: pd.Series, query: pd.Index) -> Floats:
        """Predict: see `Method`."""
        fold = self._cache.get((training.index, query), partial(self._fold, training.index, query))
        score = np.full(len(query), np.nan)
        if fold.trial is not None:
            known = training.to_numpy(np.float64)[fold.near]
            score[fold.here] = (fold.weights(fold.trial.best(known)) * known[fold.rows]).sum(1)
        return score

    def _fold(self, training: pd.Index, query: pd.Index) -> _KrigedFold:
        """Find what depends on places alone, and so serves every outcome of these areas."""
        around, near, target, here = _positions(self.coordinates, training, query)
        if not here.any() or len(around) < 3 or not np.ptp(around, axis=0).any():
            return _KrigedFold(near, here, around, target, np.empty((0, 0), np.int64), None)
        rows = _nearest(around, target, self.neighbours)[1]
        return _KrigedFold(near, here, around, target, rows, self._trial(around, target))

    def _trial(self, around: Floats, target: Floats) -> _Trial:
        """Weights for training areas that are held out, for every range and nugget."""
        rng = np.random.default_rng(0)
        n = len(around)
        chosen = np.sort(rng.choice(n, min(n, self.sample), replace=False))
        far = np.sort(_nearest(around, target, 1)[0][:, 0])
        least = rng.permutation(far[np.arange(len(chosen)) * len(far) // len(chosen)])
        distance = np.linalg.norm(around[chosen, None] - around, axis=2)
        distance[np.arange(len(chosen)), chosen] = np.inf
        count = min(self.neighbours, n - 1)
        # Where all lie nearer than asked for, the farthest that there are.
        bound = np.minimum(least, np.sort(distance, 1)[:, n - 1 - count])
        distance[distance < bound[:, None]] = np.inf
        rows = np.argsort(distance, 1, kind="stable")[:, :count]
        step = float(np.median(_nearest(around, around, 2)[0][:, -1])) or 1.0
        grid = [(step * reach, nugget) for reach in self.RANGES for nugget in self.NUGGETS]
        between, to = _apart(around[rows], around[chosen])
        weights = []
        for reach in self.RANGES:
            alike = _matern(between / (step * reach)), _matern(to / (step * reach))
            weights += [_weights(*alike, nugget) for nugget in self.NUGGETS]
        return _Trial(chosen, rows, np.stack(weights).astype(np.float32), grid)


class _Trial:
    """Which training areas were held out, and the weights that would have guessed them."""

    def __init__(
        self,
        chosen: Rows,
        rows: Rows,
        weights: npt.NDArray[np.float32],
        grid: list[tuple[float, float]],
    ) -> None:
        self.chosen, self.rows, self.weights, self.grid = chosen, rows, weights, grid

    def best(self, known: Floats) -> tuple[float, float]:
        guess = np.einsum("gnk,nk->gn", self.weights, known[self.rows])
        return self.grid[int(((guess - known[self.chosen]) ** 2).mean(1).argmin())]


class _KrigedFold:
    """Positions of a fold's areas, who is near whom, and weights for the labels that come."""

    BLOCK = 2000  # systems solved at a time, which bounds the memory
    MOST = 6  # weights of ranges and nuggets that are kept, of 160 bytes an area with 20 neighbours

    def __init__(
        self,
        near: Mask,  # training areas with a position
        here: Mask,  # of those that are asked for
        around: Floats,
        target: Floats,
        rows: Rows,
        trial: _Trial | None,  # none where there are too few positions
    ) -> None:
        self.near, self.here, self.around, self.target = near, here, around, target
        self.rows, self.trial = rows, trial
        self._weights: dict[tuple[float, float], Floats] = {}

    def weights(self, chosen: tuple[float, float]) -> Floats:
        """Weights of the neighbours [n, k] for a range and a nugget."""
        if chosen not in self._weights:
            while len(self._weights) >= self.MOST:
                self._weights.pop(next(iter(self._weights)))
            parts = range(0, len(self.rows), self.BLOCK)
            solved = [self._solved(slice(i, i + self.BLOCK), *chosen) for i in parts]
            self._weights[chosen] = np.concatenate(solved)
        return self._weights[chosen]

    def _solved(self, part: slice, reach: float, nugget: float) -> Floats:
        between, to = _apart(self.around[self.rows[part]], self.target[part])
        return _weights(_matern(between / reach), _matern(to / reach), nugget)


def blocks_like(coordinates: pd.DataFrame, training: pd.Index, query: pd.Index) -> Rows | None:
    """Deal the training areas to parts of whole squares, as far from the rest as what is asked.

    Half of a square's points lie beyond .146 of its side from the border, which tells how wide
    squares must be.

    Parameters
    ----------
    coordinates : DataFrame by area
        ``x`` and ``y`` in metres; areas without them are parts of their own.
    training, query : Index of areas

    Returns
    -------
    array of int64, shape [training], or None
        The part that each is held out in; None where what is asked lies no farther from the
        training areas than they lie from each other.
    """
    points = coordinates[["x", "y"]]
    around, target = (points.reindex(each).to_numpy(np.float64) for each in (training, query))
    known, here = np.isfinite(around).all(1), np.isfinite(target).all(1)
    if known.sum() < 2 * PARTS or not here.any():
        return None
    near = float(np.median(_nearest(around[known], around[known], 2)[0][:, -1]))
    far = float(np.median(_nearest(around[known], target[here], 1)[0]))
    side = (far - near) / 0.146
    if side <= 2 * near or side <= 0:
        return None
    square = np.full(len(around), -1, np.int64)
    for _ in range(HALVINGS):
        cell = np.floor((around[known] - around[known].min(0)) / side).astype(np.int64)
        square[known] = np.unique(cell, axis=0, return_inverse=True)[1].ravel()
        if square.max() + 1 >= PARTS:
            break
        side /= 2
    alone = np.flatnonzero(~known)
    square[alone] = square.max() + 1 + np.arange(len(alone))
    shuffled = np.random.default_rng(0).permutation(square.max() + 1) % PARTS
    part: Rows = shuffled[square]
    return part if len(np.unique(part)) > 1 else None


def _positions(
    coordinates: pd.DataFrame, training: pd.Index, query: pd.Index
) -> tuple[Floats, Mask, Floats, Mask]:
    """Positions of the training areas that have one, and which do; the same of those to predict."""
    points = coordinates[["x", "y"]]
    around, target = (points.reindex(each).to_numpy(np.float64) for each in (training, query))
    near, here = (np.isfinite(each).all(1) for each in (around, target))
    return around[near], near, target[here], here


def _nearest(around: Floats, target: Floats, count: int) -> tuple[Floats, Rows]:
    """Distances and rows of the nearest ones, the nearest first: [n, at most count]."""
    from scipy.spatial import KDTree  # here, so that importing the package stays cheap

    distance, rows = KDTree(around).query(target, k=[*range(1, min(count, len(around)) + 1)])
    return distance, rows.astype(np.int64)


def nearest_others(points: Floats, count: int) -> tuple[Floats, Rows]:
    """Weights of `Nearest`, and rows, of each point's nearest others: [n, at most count]."""
    distance, rows = _nearest(points, points, count + 1)
    # Not always the first is the point itself: others may lie at its very position.
    order = np.argsort(rows != np.arange(len(points))[:, None], axis=1, kind="stable")[:, 1:]
    weight = _closeness(np.take_along_axis(distance, order, axis=1), True)
    return weight, np.take_along_axis(rows, order, axis=1)


def _apart(around: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Distances between neighbours [n, k, k] of points, and from them to their target [n, k]."""
    x, y = around[..., 0], around[..., 1]
    between = np.hypot(x[:, :, None] - x[:, None], y[:, :, None] - y[:, None])
    to = np.hypot(x - target[:, :1], y - target[:, 1:])
    return between, to


def _weights(between: Floats, to: Floats, nugget: float) -> Floats:
    """Kriging weights of neighbours [n, k], which sum to 1: the mean is not known.

    Given is how alike they are to each other [n, k, k], and to their target [n, k].
    """
    covariance = (1 - nugget) * between + nugget * np.eye(to.shape[1])
    right = np.stack([(1 - nugget) * to, np.ones_like(to)], axis=2)
    simple, ones = np.moveaxis(np.linalg.solve(covariance, right), 2, 0)
    lacking = (1 - simple.sum(1)) / ones.sum(1)
    result: Floats = simple + ones * lacking[:, None]
    return result


def _closeness(distance: Floats, weighted: bool) -> Floats:
    """Weights that sum to 1."""
    same = distance == 0
    inverse = np.divide(1.0, distance, out=np.zeros_like(distance), where=~same)
    weight = np.where(same.any(1, keepdims=True), same, inverse) if weighted else same | True
    result: Floats = weight / weight.sum(1, keepdims=True)
    return result


def _matern(scaled: Floats) -> Floats:
    root = np.sqrt(3.0) * scaled
    result: Floats = (1 + root) * np.exp(-root)
    return result
