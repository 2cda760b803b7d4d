"""One estimate of several learners: a weighted mean with the same weights for all outcomes.

Learners are first put on one scale, outcome by outcome, by the straight line from what they predict
to the labels. Their weights are then those with the least squared error (Breiman 1996, *Stacked
regressions*): at least 0, with a sum of 1, and shrunk to equal ones, for a few dozen areas show
little of which learner is better, and learners that err differently are best together. All of it
comes from areas that the learner was not trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from streetgauge.errors import InputError

Floats = NDArray[np.float64]

EQUAL_AREAS = 3.0  # how many areas equal weights count as
LEAST = 0.05  # correlation with the labels that a learner has at least: else all areas are tied
SUM = 1e4  # weight of the equation that the weights sum to 1


@dataclass(frozen=True)
class Stack:
    """How the predictions of S learners become one.

    Parameters
    ----------
    weight : array of float64, shape [S]
        At least 0, with a sum of 1.
    shift, slope : array of float64, shape [S, M]
        Put each learner's prediction of each outcome on the scale of the labels; slopes are at
        least 0, and above it for a learner that distinguishes areas.
    """

    weight: Floats
    shift: Floats
    slope: Floats

    def combine(self, predictions: ArrayLike) -> Floats:
        """Give the weighted mean.

        Parameters
        ----------
        predictions : array, shape [S, N, M]
            Of the learners, in the order in which they were fitted.

        Returns
        -------
        array of float64, shape [N, M]
            On the scale of the labels.
        """
        given = np.asarray(predictions, np.float64)
        on_scale = self.shift[:, None] + self.slope[:, None] * given
        return np.tensordot(self.weight, on_scale, 1)

    def pick(self, outcomes: Sequence[int]) -> Self:
        """Give the stack of these outcomes only, by position, in this order."""
        chosen = list(outcomes)
        return replace(self, shift=self.shift[:, chosen], slope=self.slope[:, chosen])


def fit_stack(
    predictions: ArrayLike, labels: ArrayLike, *, weight: ArrayLike | None = None
) -> Stack:
    """Find scales and weights of learners from predictions of areas that none was trained on.

    Parameters
    ----------
    predictions : array, shape [S, A, M]
        Of S learners, for A areas and M outcomes; NaN where a learner has none, and the area then
        counts nothing.
    labels : array, shape [A, M]
        Deciles, NaN where missing.
    weight : array, shape [A], optional
        Weights of the areas, at least 0.

    Returns
    -------
    Stack
        With equal weights where nothing can be compared, for no outcome has two different labels;
        an outcome without any label is not put on another scale.

    Raises
    ------
    InputError
        If the shapes do not fit each other, or there is no learner.

    Examples
    --------
    The first learner has the right order on another scale, the second is noise:

    >>> truth = np.arange(1.0, 11).repeat(20)[:, None]
    >>> noise = np.random.default_rng(0).normal(size=truth.shape)
    >>> stack = fit_stack([truth / 10, noise], truth)
    >>> stack.weight.round(2).tolist()
    [0.99, 0.01]
    >>> stack.combine([[[0.1], [1.0]], [[0.0], [0.0]]]).round(1).ravel().tolist()
    [1.1, 9.9]
    """
    given, truth = np.asarray(predictions, np.float64), np.asarray(labels, np.float64)
    if given.ndim != 3 or not len(given) or given.shape[1:] != truth.shape:
        raise InputError(
            "predictions",
            f"their shape is {given.shape}, and that of the labels {truth.shape}",
            "give [learners, areas, outcomes], and labels of the same areas and outcomes",
        )
    learners, outcomes = len(given), truth.shape[1]
    share = np.ones(len(truth)) if weight is None else np.asarray(weight, np.float64)
    shift, slope = np.zeros((learners, outcomes)), np.ones((learners, outcomes))
    left, right = [], []
    for m, known in _known(given, truth, share):
        own, chosen, target = (
            share[known] / share[known].mean(),
            given[:, known, m],
            truth[known, m],
        )
        centre, middle = np.average(chosen, axis=1, weights=own), np.average(target, weights=own)
        away, pull = chosen - centre[:, None], target - middle
        variance = (own * away**2).sum(axis=1)
        least = LEAST * np.sqrt(variance * (own @ pull**2))
        slope[:, m] = np.maximum((own * away) @ pull, least) / np.where(variance > 0, variance, 1)
        shift[:, m] = middle - slope[:, m] * centre
        spread = np.sqrt(np.average(pull**2, weights=own))
        if spread > 0:  # outcomes count alike, whatever their scale
            root = np.sqrt(own) / spread
            left.append((root * slope[:, m, None] * away).T)
            right.append(root * pull)
    equal = np.full(learners, 1 / learners)
    if not left:
        return Stack(equal, shift, slope)
    held, total = np.sqrt(EQUAL_AREAS * len(left)), SUM * np.sqrt(sum(map(len, left)))
    matrix = np.concatenate([*left, held * np.eye(learners), np.full((1, learners), total)])
    found, _ = nnls(matrix, np.concatenate([*right, held * equal, [total]]))
    return Stack(found / found.sum(), shift, slope)


def _known(given: Floats, truth: Floats, share: Floats) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Give each outcome that some area can be compared in, with these areas."""
    known = ~np.isnan(truth) & ~np.isnan(given).any(axis=0) & (share > 0)[:, None]
    return ((m, column) for m, column in enumerate(known.T) if column.any())
