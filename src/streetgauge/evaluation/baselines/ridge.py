"""Ridge regression on what is known of areas: images' mean features, density, other columns."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.evaluation.baselines.folds import Floats, LRUCache
from streetgauge.evaluation.baselines.spatial import Kriging, blocks_like


class Ridge:
    """Predict by ridge regression on columns of the areas; a `Method`.

    Columns are standardised and turned into at most `COMPONENTS` principal components, over all
    areas: no label is used. The penalty is the one of `PENALTIES` with the least squared
    error over the *training* areas, each held out (in closed form: Golub, Heath and Wahba 1979,
    Technometrics 21, 215-223). Where what is asked for lies farther from them than they lie from
    each other, they are held out by blocks as wide as that (`blocks_like`): an area that is
    held out alone is predicted by its neighbours, and the penalty would be too small where there
    are none
    (Roberts et al. 2017, Ecography 40, 913-929).

    Parameters
    ----------
    table : DataFrame by area
        Numbers; NaN takes its column's median. Of areas that are not in it, or with NaN in all
        columns, nothing is known.
    coordinates : DataFrame by area, optional
        ``x`` and ``y`` in metres; without them areas are held out one by one.
    """

    COMPONENTS = 200
    PENALTIES = tuple(10.0**i for i in np.arange(-4, 4.1, 0.5))  # of the mean square of the inputs

    from_mean = True

    def __init__(self, table: pd.DataFrame, coordinates: pd.DataFrame | None = None) -> None:
        known = table[table.notna().any(axis=1).to_numpy()].sort_index()
        self.areas = known.index
        self.inputs = _components(known.to_numpy(np.float64), self.COMPONENTS)
        self.coordinates = coordinates
        self._cache: LRUCache[_Fold] = LRUCache()
        self._known: LRUCache[npt.NDArray[np.bool_]] = LRUCache()

    def __call__(self, training: pd.Series, query: pd.Index) -> Floats:
        """Predict: see `Method`."""
        score = np.full(len(query), np.nan)
        labels = self._labels(training)
        if labels is not None:
            fold = self._fold(labels, query)
            here = fold.query >= 0
            score[here] = fold.predict(self.inputs[fold.query[here]], labels.to_numpy())
        return score

    def residuals(self, training: pd.Series, query: pd.Index) -> pd.Series:
        """Errors at the training areas, each guessed from the others: Series by area."""
        labels = self._labels(training)
        if labels is None:
            return training - training.mean()
        return pd.Series(self._fold(labels, query).errors(labels.to_numpy()), labels.index)

    def _labels(self, training: pd.Series) -> pd.Series | None:
        """Give those of areas with inputs, if there are enough."""
        known = self._known.get(
            (training.index,), lambda: self.areas.get_indexer(training.index) >= 0
        )
        labels = training if known.all() else training[known]
        return labels if len(labels) >= 3 and self.inputs.shape[1] else None

    def _fold(self, labels: pd.Series, query: pd.Index) -> _Fold:
        def make() -> _Fold:
            own = self.inputs[self.areas.get_indexer(labels.index)]
            rows = self.areas.get_indexer(query)
            if self.coordinates is None:
                return _Fold.of(own, rows)
            return _Fold.of(own, rows, blocks_like(self.coordinates, labels.index, query))

        return self._cache.get((labels.index, query), make)


@dataclass(frozen=True, eq=False)
class _Axes:
    """Inputs on their own axes."""

    mean: Floats  # [C]
    axes: Floats  # [C, C]
    power: Floats  # [C]

    @classmethod
    def of(cls, inputs: Floats) -> _Axes:
        mean = inputs.mean(0)
        power, axes = np.linalg.eigh((inputs - mean).T @ (inputs - mean))
        return cls(mean, axes, power.clip(min=0))

    def weights(self, inputs: Floats, labels: Floats, penalties: Floats) -> Floats:
        """Give what inputs less their mean are to be multiplied with, [C, penalties]."""
        along = self.axes.T @ ((inputs - self.mean).T @ (labels - labels.mean()))
        result: Floats = self.axes @ (along[:, None] / (self.power[:, None] + penalties))
        return result


@dataclass(frozen=True, eq=False)
class _Fold:
    """What serves all outcomes of the training areas of a fold."""

    inputs: Floats  # [n, C]
    query: npt.NDArray[np.intp]  # rows of what is asked for among all inputs; -1: none
    whole: _Axes
    penalties: Floats  # [P]
    free: Floats  # [n, P]: 1 less the leverage
    blocks: list[tuple[npt.NDArray[np.bool_], _Axes]]  # what is held out, and the axes of the rest
    last: list[Floats] = field(default_factory=list)  # labels, and their weights and errors

    @classmethod
    def of(
        cls,
        inputs: Floats,
        query: npt.NDArray[np.intp],
        part: npt.NDArray[np.int64] | None = None,
    ) -> _Fold:
        whole = _Axes.of(inputs)
        penalties = np.array(Ridge.PENALTIES) * max(float(whole.power.mean()), 1e-12)
        turned = (inputs - whole.mean) @ whole.axes
        leverage = turned**2 @ (1 / (whole.power[:, None] + penalties)) + 1 / len(inputs)
        out = [] if part is None else [part == each for each in np.unique(part)]
        blocks = [(left, _Axes.of(inputs[~left])) for left in out]
        return cls(inputs, query, whole, penalties, (1 - leverage).clip(min=1e-3), blocks)

    def predict(self, inputs: Floats, labels: Floats) -> Floats:
        weights, _ = self._fitted(labels)
        result: Floats = labels.mean() + (inputs - self.whole.mean) @ weights
        return result

    def errors(self, labels: Floats) -> Floats:
        """Give the errors [n] at training areas, each held out."""
        return self._fitted(labels)[1]

    def _fitted(self, labels: Floats) -> tuple[Floats, Floats]:
        """Weights [C] and errors [n] by the best penalty; the last ones are kept.

        A regression, and kriging of what it leaves, ask for the same labels one after another.
        """
        last = list(self.last)
        if not last or not np.array_equal(last[0], labels):
            weights, best, errors = self._chosen(labels)
            last = [labels.copy(), weights[:, best].copy(), errors[:, best].copy()]
            self.last[:] = last
        return last[1], last[2]

    def _chosen(self, labels: Floats) -> tuple[Floats, int, Floats]:
        """Weights [C, P], the best penalty, and errors of areas that are held out alone [n, P]."""
        weights = self.whole.weights(self.inputs, labels, self.penalties)
        fitted = (self.inputs - self.whole.mean) @ weights
        errors = (labels[:, None] - labels.mean() - fitted) / self.free
        squared = errors**2
        for left, axes in self.blocks:
            rest = labels[~left]
            weights_of_rest = axes.weights(self.inputs[~left], rest, self.penalties)
            guess = rest.mean() + (self.inputs[left] - axes.mean) @ weights_of_rest
            squared[left] = (labels[left][:, None] - guess) ** 2
        return weights, int(squared.mean(0).argmin()), errors


class RidgeAndKriging:
    """Predict by ridge regression, and krige what it leaves; a `Method`.

    Regression kriging (Hengl, Heuvelink and Rossiter 2007, Computers & Geosciences 33, 1301-1315).
    What is kriged are the errors at training areas that were held out: the errors of the fit
    itself would be too small.
    """

    from_mean = True

    def __init__(self, ridge: Ridge, kriging: Kriging) -> None:
        self.ridge, self.kriging = ridge, kriging

    def __call__(self, training: pd.Series, query: pd.Index) -> Floats:
        """Predict: see `Method`."""
        left = self.kriging(self.ridge.residuals(training, query), query)
        return self.ridge(training, query) + np.nan_to_num(left)


def smooth_columns(table: pd.DataFrame, knots: int = 5) -> pd.DataFrame:
    """Give the columns' cubic splines over their ranks, so that a line of them can be any curve.

    Parameters
    ----------
    table : DataFrame by area
        Numbers; a column without two different ones is excluded, and NaN stays so.
    knots : int, default 5
        Of each column, at its quantiles.

    Returns
    -------
    DataFrame by area
        ``knots + 2`` columns for each.
    """
    from sklearn.preprocessing import SplineTransformer

    parts = []
    for name in table.columns:
        rank = table[name].rank(pct=True)
        known = rank.notna().to_numpy()
        if rank.nunique() < 2:
            continue
        splines = SplineTransformer(n_knots=knots, degree=3)
        part = np.full((len(table), knots + 2), np.nan)
        part[known] = splines.fit_transform(rank[known].to_numpy()[:, None])
        parts.append(pd.DataFrame(part, table.index).add_prefix(f"{name} "))
    return pd.concat(parts, axis=1) if parts else pd.DataFrame(index=table.index)


def _components(values: Floats, most: int) -> Floats:
    """Standardise columns and take their principal components [n, at most ``most``]."""
    if not values.size:
        return values.reshape(len(values), 0)
    values = np.where(np.isfinite(values), values, np.nanmedian(values, axis=0))
    spread = values.std(0)
    values = (values - values.mean(0))[:, spread > 0] / spread[spread > 0]
    if values.shape[1] <= most:  # ridge regression does not depend on the axes
        return values
    from sklearn.decomposition import PCA

    solver = "full" if len(values) <= most else "randomized"
    pca = PCA(min(most, len(values)), svd_solver=solver, iterated_power=4, random_state=0)
    result: Floats = pca.fit_transform(values)
    return result
