"""A baseline method predicts every fold's areas from that fold's training labels alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]


class Method(Protocol):
    """A way of predicting: what it knows besides labels (positions, features) is its own.

    Parameters
    ----------
    training : Series by area, sorted, float
        Deciles of the training areas; never empty.
    query : Index of areas, sorted
        None of them is in ``training``.

    Returns
    -------
    array of float, shape [asked]
        Scores; NaN where the method knows nothing of an area.

    Notes
    -----
    ``from_mean`` is True of a method that adds what it knows of an area to the mean of the training
    areas: see `Folds.predict`.
    """

    def __call__(self, training: pd.Series, query: pd.Index) -> Floats:
        """Predict."""
        ...


class Folds:
    """The query of each fold, and the labels of its training areas.

    Only from here a method gets labels, so none can see those of the areas
    that it must predict.

    Parameters
    ----------
    actual : Series by area
        Actual deciles, missing where there is none.
    fold : Series by area
        The fold in which each area is held out.
    training_areas : DataFrame, optional
        ``fold, area, decile``: the training areas of every fold, which need not be among those that
        are held out in any; the areas of the other folds if not given.
    middle : float
        What methods that start from a mean start from: the middle of the classes.
    """

    def __init__(
        self,
        actual: pd.Series,
        fold: pd.Series,
        training_areas: pd.DataFrame | None = None,
        middle: float = 5.5,
    ) -> None:
        self.areas, self.middle = actual.index, middle
        # In the order of the codes: the same result whatever the rows' order, to the last bit.
        known = actual.sort_index().astype("float64")
        folds = fold.loc[known.index].to_numpy()
        self.parts: list[tuple[pd.Index, pd.Series]] = []
        for part in np.unique(folds):
            query = known.index[folds == part]
            if training_areas is None:
                training = known[folds != part].dropna()
            else:
                rows = training_areas[training_areas["fold"] == part].set_index("area")["decile"]
                training = rows.astype("float64").sort_index()
            self.parts.append((query, training[query.get_indexer(training.index) < 0]))

    def predict(self, method: Method, labels: pd.Series | None = None) -> pd.Series:
        """Give every area the score that a method predicts from its fold's training areas.

        Where the training areas' mean is high, the areas held out are lower than others: scores
        that are hardly more than this mean would put areas the wrong way round, the more so the
        more folds there are. The networks' scores are free of it (they are balanced over the
        classes), so methods that start from the mean start from ``middle`` instead, in every fold.
        What is made of neighbours' labels has no such part; less the mean, it would know of the
        areas held out what nobody can.

        Parameters
        ----------
        method : Method
            Called once for each fold.
        labels : Series by area, optional
            Other labels for the training areas than their own.

        Returns
        -------
        Series by area, float
            In the order of ``actual``. The mean of the training areas, or what it starts from,
            where the method knows nothing; missing where a fold has no training area with a
            decile.
        """
        from_mean = getattr(method, "from_mean", False)
        scores = []
        for query, own in self.parts:
            training = own if labels is None else labels.reindex(own.index)
            score = np.full(len(query), np.nan)
            if len(training):
                score = np.asarray(method(training, query), np.float64)
                score = np.where(np.isfinite(score), score, training.mean())
                score = score - training.mean() + self.middle if from_mean else score
            scores.append(pd.Series(score, query))
        empty = pd.Series(dtype="float64", index=self.areas[:0])
        return pd.concat(scores or [empty]).reindex(self.areas)


def out_of_fold(
    method: Method,
    actual: pd.Series,
    fold: pd.Series,
    training_areas: pd.DataFrame | None = None,
) -> pd.Series:
    """Give every area the score that a method predicts; see `Folds`."""
    return Folds(actual, fold, training_areas).predict(method)


T = TypeVar("T")


class LRUCache(Generic[T]):
    """An LRU cache: results by the areas that they were made of."""

    MOST = 64  # more than folds of both kinds, and than the boroughs of London

    def __init__(self) -> None:
        self._results: list[tuple[tuple[pd.Index, ...], T]] = []  # the last used one at the end

    def get(self, areas: tuple[pd.Index, ...], make: Callable[[], T]) -> T:
        """Give what is cached for these areas, made first where it is not there."""
        # Compared, not hashed: where outcomes share their areas, an index is often the very same.
        for i in range(len(self._results) - 1, -1, -1):
            if all(map(_same, self._results[i][0], areas)):
                self._results.append(self._results.pop(i))
                return self._results[-1][1]
        self._results = [*self._results[-self.MOST + 1 :], (areas, make())]
        return self._results[-1][1]


def _same(one: pd.Index, other: pd.Index) -> bool:
    """Whether two indices have the same areas; the ends of sorted ones mostly show it at once."""
    if len(one) != len(other):
        return False
    return not len(one) or (one[0] == other[0] and one[-1] == other[-1] and one.equals(other))


def middle(training: pd.Series, query: pd.Index) -> Floats:
    """Predict the median decile of the training areas; a `Method`.

    The lower median where two deciles are in the middle: a decile, and no other has a lower MAE.
    """
    known = np.sort(training.to_numpy())
    return np.full(len(query), known[(known.size - 1) // 2])


class Chance:
    """Predict at random, uniformly; a `Method`. The value belongs to the area, not to a row."""

    def __init__(self, seed: int, name: str) -> None:
        self.key = hashlib.sha256(f"{seed} {name}".encode()).hexdigest()[:16]

    def __call__(self, training: pd.Series, query: pd.Index) -> Floats:
        """Predict: see `Method`."""
        words = pd.util.hash_array(query.to_numpy(object), hash_key=self.key, categorize=False)
        return words.astype(np.float64) / 2**64


def constant(
    actual: pd.Series, fold: pd.Series, training_areas: pd.DataFrame | None = None
) -> pd.Series:
    """Give every area the median decile of the training areas.

    Parameters
    ----------
    actual, fold, training_areas
        As for `Folds`.

    Returns
    -------
    Series by area, Int64
        Missing for the areas of a fold that leaves no area with an actual decile to train on.
    """
    return out_of_fold(middle, actual, fold, training_areas).astype("Int64")
