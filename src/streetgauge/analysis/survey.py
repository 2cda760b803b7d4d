"""A survey's direct estimates, improved by what images show: the Fay-Herriot model.

An area's direct estimate is its true value and a sampling error of known variance. The true value
is a linear function of the prediction from images, and an area effect (Fay and Herriot 1979,
*Estimates of income for small places*, J. Am. Stat. Assoc. 74, 269-277). The combined estimate is
the empirical best linear unbiased predictor (EBLUP): where the survey is precise it counts, where
it is not the images do. Predictions are out of fold, so no label of the area itself is in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from streetgauge.errors import InputError

__all__ = ["FayHerriot", "combine"]

FEWEST = 10  # areas with a direct estimate and a prediction
TRIED = np.geomspace(1e-8, 1e3, 120)  # variances of area effects, over that of direct estimates

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FayHerriot:
    """A fitted area-level model.

    Parameters
    ----------
    coefficients : array, shape [P]
        Of the constant and the auxiliary variables.
    covariance : array, shape [P, P]
        Of the coefficients.
    area_variance : float
        Variance of the area effects, by restricted maximum likelihood (REML); 0 if the auxiliary
        variables explain all that sampling does not.
    uncertainty : float
        Asymptotic variance of ``area_variance``.

    Examples
    --------
    >>> model = FayHerriot(np.array([3.0, 2.0]), np.eye(2) * 0.01, 0.5, 0.1)
    >>> estimate, mse = model.synthetic(np.array([[1.0]]))
    >>> estimate.tolist()
    [5.0]
    """

    coefficients: Floats
    covariance: Floats
    area_variance: float
    uncertainty: float

    @classmethod
    def fit(cls, direct: Floats, sampling: Floats, auxiliary: Floats) -> Self:
        """Fit the model by restricted maximum likelihood.

        Parameters
        ----------
        direct, sampling : array, shape [A]
            Direct estimates, and their sampling variances, above 0.
        auxiliary : array, shape [A, P - 1]
            Predictions from images.

        Raises
        ------
        InputError
            If there are too few areas, or auxiliary variables are constant or collinear.

        Examples
        --------
        >>> score = np.linspace(-1, 1, 12)[:, None]
        >>> noise = np.tile([0.1, -0.1], 6)
        >>> fit = FayHerriot.fit(3 + 2 * score[:, 0] + noise, np.full(12, 0.01), score)
        >>> fit.coefficients.round(1).tolist()
        [3.0, 2.0]
        """
        design = _design(auxiliary)
        if len(direct) < max(FEWEST, 2 * design.shape[1]):
            raise InputError(
                "the survey",
                f"{len(direct)} of its areas have a prediction",
                f"at least {max(FEWEST, 2 * design.shape[1])} are needed",
            )
        if np.linalg.matrix_rank(design) < design.shape[1]:
            raise InputError(
                "the predictions from images",
                "they are constant or collinear in the areas of the survey",
                "name another outcome, or fewer",
            )
        area_variance = _area_variance(direct, sampling, design)
        total = sampling + area_variance
        covariance = np.linalg.inv((design.T / total) @ design).astype(np.float64)
        coefficients = covariance @ ((design.T / total) @ direct)
        return cls(coefficients, covariance, area_variance, float(2 / (total**-2.0).sum()))

    def synthetic(self, auxiliary: Floats) -> tuple[Floats, Floats]:
        """Estimate areas without a direct estimate, and give the mean squared error: [A] each.

        Examples
        --------
        >>> model = FayHerriot(np.array([3.0, 2.0]), np.eye(2) * 0.01, 0.5, 0.1)
        >>> model.synthetic(np.array([[0.0], [1.0]]))[0].tolist()
        [3.0, 5.0]
        """
        design = _design(auxiliary)
        spread = np.einsum("ap,pq,aq->a", design, self.covariance, design)
        return design @ self.coefficients, self.area_variance + spread

    def eblup(self, direct: Floats, sampling: Floats, auxiliary: Floats) -> tuple[Floats, ...]:
        """Combine direct estimates with the model.

        Returns
        -------
        estimate, mse, weight : array, shape [A]
            The EBLUP; its mean squared error (Prasad and Rao 1990, *The estimation of the mean
            squared error of small-area estimators*, J. Am. Stat. Assoc. 85, 163-171, in the form
            for REML: g1 + g2 + 2 g3); the weight of the images, 0 to 1.

        Examples
        --------
        >>> model = FayHerriot(np.array([3.0, 2.0]), np.eye(2) * 0.01, 0.5, 0.1)
        >>> estimate, _, weight = model.eblup(np.array([6.0]), np.array([0.5]), np.array([[1.0]]))
        >>> estimate.tolist(), weight.tolist()  # halfway between the survey's 6 and the images' 5
        ([5.5], [0.5])
        """
        design = _design(auxiliary)
        total = sampling + self.area_variance
        weight = sampling / total
        estimate = (1 - weight) * direct + weight * (design @ self.coefficients)
        spread = np.einsum("ap,pq,aq->a", design, self.covariance, design)
        of_variance = weight**2 / total * self.uncertainty
        return estimate, (1 - weight) * sampling + weight**2 * spread + 2 * of_variance, weight


def combine(
    survey: pd.DataFrame, predictions: pd.DataFrame, *, level: float = 0.9
) -> tuple[pd.DataFrame, FayHerriot]:
    """Combine a survey's direct estimates with predictions from images.

    Parameters
    ----------
    survey : DataFrame by area
        ``direct`` and ``variance``, above 0.
    predictions : DataFrame by area
        Auxiliary variables, a column each; areas with an empty one have no prediction.
    level : float
        0 to 1, of the intervals, which are normal.

    Returns
    -------
    table : DataFrame
        ``area, direct, variance, estimate, mse, low, high, images_weight, from``, sorted by area.
        ``from`` is "survey and images", "images" for areas outside the survey, and "survey" for
        areas without a prediction, which keep their direct estimate.
    model : FayHerriot

    Raises
    ------
    InputError
        As `FayHerriot.fit`.

    Examples
    --------
    >>> areas = [f"a{i:02d}" for i in range(12)]
    >>> score = pd.DataFrame({"score": np.linspace(-1, 1, 12)}, areas)
    >>> survey = pd.DataFrame({"direct": 2 * score["score"], "variance": 1.0}).iloc[:11]
    >>> combine(survey, score)[0]["from"].value_counts().to_dict()
    {'survey and images': 11, 'images': 1}
    """
    known = predictions.dropna()
    both = survey.index.intersection(known.index).sort_values()
    direct, variance = survey.loc[both, ["direct", "variance"]].to_numpy(float).T
    auxiliary = known.loc[both].to_numpy(float)
    model = FayHerriot.fit(direct, variance, auxiliary)
    estimate, mse, weight = model.eblup(direct, variance, auxiliary)
    parts = [_rows(both, estimate, mse, weight, "survey and images")]
    outside = known.index.difference(survey.index)
    estimate, mse = model.synthetic(known.loc[outside].to_numpy(float))
    parts.append(_rows(outside, estimate, mse, np.ones(len(outside)), "images"))
    alone = survey.index.difference(known.index)
    direct, variance = survey.loc[alone, ["direct", "variance"]].to_numpy(float).T
    parts.append(_rows(alone, direct, variance, np.zeros(len(alone)), "survey"))
    table = pd.concat([part for part in parts if len(part)]).sort_index()
    half = norm.ppf((1 + level) / 2) * np.sqrt(table["mse"])
    table = table.assign(low=table["estimate"] - half, high=table["estimate"] + half)
    order = ["direct", "variance", "estimate", "mse", "low", "high", "images_weight", "from"]
    table = table.join(survey[["direct", "variance"]])[order]
    return table.rename_axis("area").reset_index(), model


def _rows(
    areas: pd.Index, estimate: Floats, mse: Floats, weight: Floats, made_of: str
) -> pd.DataFrame:
    return pd.DataFrame(
        {"estimate": estimate, "mse": mse, "images_weight": weight, "from": made_of}, areas
    )


def _design(auxiliary: Floats) -> Floats:
    return np.column_stack([np.ones(len(auxiliary)), auxiliary])


def _area_variance(direct: Floats, sampling: Floats, design: Floats) -> float:
    """Maximise the restricted likelihood over the variance of area effects."""
    scale = max(float(np.var(direct)), float(sampling.mean()) * 1e-6)

    def slope(variance: float) -> float:
        return _restricted(direct, sampling, design, variance)[1]

    tried = [0.0, *(TRIED * scale)]
    slopes = [slope(each) for each in tried]
    maxima = [0.0] if slopes[0] <= 0 else []
    for (low, up), (high, down) in zip(
        zip(tried, slopes, strict=True), zip(tried[1:], slopes[1:], strict=True), strict=False
    ):
        if up > 0 >= down:
            maxima.append(float(brentq(slope, low, high, xtol=1e-14 * scale, rtol=1e-13)))
    return max(maxima, key=lambda each: _restricted(direct, sampling, design, each)[0])


def _restricted(
    direct: Floats, sampling: Floats, design: Floats, variance: float
) -> tuple[float, float]:
    """Give the restricted log likelihood at a variance, up to a constant, and its slope."""
    total = sampling + variance
    weighted = design.T / total
    information = weighted @ design
    inverse = np.linalg.inv(information)
    rest = direct - design @ (inverse @ (weighted @ direct))
    trace = (1 / total).sum() - np.trace(inverse @ ((weighted / total) @ design))
    value = np.log(total).sum() + np.linalg.slogdet(information)[1] + (rest**2 / total).sum()
    return -value / 2, -(trace - ((rest / total) ** 2).sum()) / 2
