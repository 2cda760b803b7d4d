"""Ridge regression on what is known of areas: pictures' mean features, density, other columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from streetgauge.areas.baselines._kept import Kept
from streetgauge.areas.baselines.folds import Floats
from streetgauge.areas.baselines.places import Kriging

__all__ = ["Ridge", "RidgeAndPlaces", "smooth_columns"]


class Ridge:
    """Guess by ridge regression on columns of the areas; a `Method`.

    Columns are standardised and turned into at most `COMPONENTS` principal components, over all
    areas: no label is looked at. The penalty is the one of `PENALTIES` with the least squared
    error over the *training* areas, each left out (in closed form: Golub, Heath and Wahba 1979,
    Technometrics 21, 215-223).

    Parameters
    ----------
    table : DataFrame by area
        Numbers; NaN takes its column's median. Of areas that are not in it, or with NaN in all
        columns, nothing is known.
    """

    COMPONENTS = 200
    PENALTIES = tuple(10.0**i for i in np.arange(-4, 4.1, 0.5))  # of the mean square of the inputs

    def __init__(self, table: pd.DataFrame) -> None:
        known = table[table.notna().any(axis=1).to_numpy()].sort_index()
        self.areas = known.index
        self.inputs = _components(known.to_numpy(np.float64), self.COMPONENTS)
        self._kept: Kept[_Fold] = Kept()

    def __call__(self, training: pd.Series, asked: pd.Index) -> Floats:
        """Guess: see `Method`."""
        score = np.full(len(asked), np.nan)
        rows = self.areas.get_indexer(asked)
        labels = training[self.areas.get_indexer(training.index) >= 0]
        if len(labels) < 3 or not self.inputs.shape[1]:
            return score
        fold = self._fold(labels)
        score[rows >= 0] = fold.guess(self.inputs[rows[rows >= 0]], labels.to_numpy())
        return score

    def residuals(self, training: pd.Series) -> pd.Series:
        """Errors at the training areas, each guessed from the others: Series by area."""
        labels = training[self.areas.get_indexer(training.index) >= 0]
        if len(labels) < 3 or not self.inputs.shape[1]:
            return training - training.mean()
        return pd.Series(self._fold(labels).errors(labels.to_numpy()), labels.index)

    def _fold(self, labels: pd.Series) -> _Fold:
        rows = self.areas.get_indexer(labels.index)
        return self._kept.get((labels.index,), partial(_Fold.of, self.inputs[rows]))


@dataclass(frozen=True, eq=False)
class _Fold:
    """The training inputs of a fold on their own axes."""

    mean: Floats  # [C]
    axes: Floats  # [C, C]
    turned: Floats  # [n, C]
    power: Floats  # [C]
    penalties: Floats  # [P]
    leverage: Floats  # [n, P]

    @classmethod
    def of(cls, inputs: Floats) -> _Fold:
        mean = inputs.mean(0)
        centred = inputs - mean
        power, axes = np.linalg.eigh(centred.T @ centred)
        power = power.clip(min=0)
        turned = centred @ axes
        penalties = np.array(Ridge.PENALTIES) * max(float(power.mean()), 1e-12)
        leverage = turned**2 @ (1 / (power[:, None] + penalties)) + 1 / len(inputs)
        return cls(mean, axes, turned, power, penalties, leverage)

    def guess(self, inputs: Floats, labels: Floats) -> Floats:
        along, best, _ = self._chosen(labels)
        weights = self.axes @ (along / (self.power + self.penalties[best]))
        result: Floats = labels.mean() + (inputs - self.mean) @ weights
        return result

    def errors(self, labels: Floats) -> Floats:
        """Give the errors [n] at training areas, each left out."""
        _, best, errors = self._chosen(labels)
        return errors[:, best]

    def _chosen(self, labels: Floats) -> tuple[Floats, int, Floats]:
        centred = labels - labels.mean()
        along = self.turned.T @ centred
        fitted = self.turned @ (along[:, None] / (self.power[:, None] + self.penalties))
        errors = (centred[:, None] - fitted) / (1 - self.leverage).clip(min=1e-3)
        return along, int((errors**2).mean(0).argmin()), errors


class RidgeAndPlaces:
    """Guess by ridge regression, and krige what it leaves; a `Method`.

    Regression kriging (Hengl, Heuvelink and Rossiter 2007, Computers & Geosciences 33, 1301-1315).
    What is kriged are the errors at training areas that were left out: the errors of the fit
    itself would be too small.
    """

    def __init__(self, ridge: Ridge, kriging: Kriging) -> None:
        self.ridge, self.kriging = ridge, kriging

    def __call__(self, training: pd.Series, asked: pd.Index) -> Floats:
        """Guess: see `Method`."""
        left = self.kriging(self.ridge.residuals(training), asked)
        result: Floats = self.ridge(training, asked) + np.nan_to_num(left)
        return result


def smooth_columns(table: pd.DataFrame, knots: int = 5) -> pd.DataFrame:
    """Give the columns' cubic splines over their ranks, so that a line of them can be any curve.

    Parameters
    ----------
    table : DataFrame by area
        Numbers; a column without two different ones is left out, and NaN stays so.
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
    """Standardise columns and keep their principal components [n, at most ``most``]."""
    if not values.size:
        return values.reshape(len(values), 0)
    values = np.where(np.isfinite(values), values, np.nanmedian(values, axis=0))
    spread = values.std(0)
    values = (values - values.mean(0))[:, spread > 0] / spread[spread > 0]
    if min(values.shape) <= most:  # ridge regression does not care along which axes it goes
        return values if values.shape[1] <= most else _turned(values)
    from sklearn.utils.extmath import randomized_svd

    left, size, _ = randomized_svd(values, most, n_iter=4, random_state=0)
    result: Floats = left * size
    return result


def _turned(values: Floats) -> Floats:
    left, size, _ = np.linalg.svd(values, full_matrices=False)
    result: Floats = left * size
    return result
