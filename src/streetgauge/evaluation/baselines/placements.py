"""Where areas lie, if more than one point may stand for each: the placement is chosen by labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

import numpy as np
import pandas as pd

from streetgauge.evaluation.baselines.folds import Floats, LRUCache, Method
from streetgauge.evaluation.baselines.spatial import Mask, Rows, nearest_others
from streetgauge.io.tables import is_among

CLOSE = 1e-9  # deciles: a difference that only the order of a sum makes is none

M = TypeVar("M", bound=Method)
_Neighbours = tuple[Mask, list[tuple[Floats, Rows]]]  # weights and rows of each placement


class Placements:
    """Ways of locating the same areas, one of which is chosen by the labels of training areas.

    Parameters
    ----------
    coordinates : mapping of name to DataFrame by area
        ``x`` and ``y`` in metres, all in one coordinate system. An area that a placement lacks is
        where the first of the others has it, so that all know the same areas.
    neighbours : int, default 5
        From how many others a training area is predicted.
    """

    def __init__(self, coordinates: Mapping[str, pd.DataFrame], neighbours: int = 5) -> None:
        points = {name: each[["x", "y"]] for name, each in coordinates.items()}
        self.coordinates = {name: _filled(name, points) for name in points}
        self.neighbours = neighbours
        self._cache: LRUCache[_Neighbours] = LRUCache()

    def best(self, training: pd.Series) -> str:
        """Name the placement whose nearest neighbours predict the training areas best.

        Each training area is predicted from the others, as `Nearest` does it, and the mean absolute
        error decides; the earlier placement where there is no difference. Nothing but the labels
        of these areas counts.

        Parameters
        ----------
        training : Series by area, sorted, float
            As for `Method`.
        """
        names = list(self.coordinates)
        if len(names) == 1:
            return names[0]
        # All placements know the same areas.
        known, of_each = self._cache.get((training.index,), lambda: self._weights(training.index))
        if not of_each:
            return names[0]
        label = training.to_numpy(np.float64)[known]
        guesses = [(weight * label[rows]).sum(1) for weight, rows in of_each]
        errors = np.array([np.abs(guess - label).mean() for guess in guesses])
        return names[int(np.flatnonzero(errors <= errors.min() + CLOSE)[0])]

    def _weights(self, areas: pd.Index) -> _Neighbours:
        """Which areas have a position, and of each placement their nearest others."""
        known = is_among(areas, next(iter(self.coordinates.values())).dropna().index)
        if known.sum() < 2:
            return known, []
        return known, [
            nearest_others(each.loc[areas[known]].to_numpy(np.float64), self.neighbours)
            for each in self.coordinates.values()
        ]


class BetterPlaced(Generic[M]):
    """Predict by the better placement for these training areas; a `Method`.

    Parameters
    ----------
    placements : Placements
    methods : mapping of name to Method
        The same method with the coordinates of each placement.
    """

    def __init__(self, placements: Placements, methods: Mapping[str, M]) -> None:
        self.placements, self.methods = placements, methods
        self.from_mean = any(getattr(each, "from_mean", False) for each in methods.values())

    def __call__(self, training: pd.Series, query: pd.Index) -> Floats:
        """Predict: see `Method`."""
        return self.methods[self.placements.best(training)](training, query)


def _filled(name: str, points: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Coordinates of a placement, and of areas that it lacks those of the others."""
    result = points[name]
    for each in points.values():
        result = result.combine_first(each)
    return result
