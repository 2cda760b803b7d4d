"""One scale for the scores of all folds' networks.

Networks that were trained on different folds agree on the order of locations before they agree on
the scale: where early stopping happened to find it, one scores everything a little higher, or
spreads scores more widely. Pooled as they are, a fold's areas would come out better off only
because of the network that they met. So each network's scores are put on the scale of the outcome
itself, h' = a + b h, in two steps:

1. the scores of the *training* part are shifted until they are most likely. The training part is
   balanced over the classes, so a network's offset is seen there without chance differences between
   areas, which on a dozen validation areas are larger than the offset;
2. the scores of the *validation* part are stretched until they are most likely, for a network is
   always too sure of its training part (Platt 1999, with the binomial likelihood). A slope
   near 1 is more likely chance than scale, a far one is not: hence a penalty with the logarithm of
   a heavy-tailed (Student) density.

Where areas are few, an offset seen in them is chance as well: it has a penalty that weighs as
`RIDGE` areas do. A network that was tuned from a trained one is first put on that one's scale, by
mean and sd of both on locations that need no label (`fitting.match_scores`); the two steps then
correct it.

How sure to be is another matter than the scale. A binomial of K - 1 trials has a standard
deviation of 1.5 deciles in the middle, whatever the network knows; where images show little the
actual decile lies anywhere. So probabilities are flattened, or made sharper, until the labels of
the calibration set are most likely (`fit_temperature`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logsumexp

Floats = NDArray[np.float64]

# The penalty on log b: near 0 it weighs as RIDGE areas do, beyond SMALL it hardly grows. Measured
# on four made-up cities of 85 to 300 areas, as rank correlation of the areas over all folds:
# uncalibrated .704; both steps on the validation part .689; as here .710. With networks shifted and
# stretched on purpose: uncalibrated .421, as here .703.
RIDGE = 10.0
SMALL = 0.3
LOG_SLOPES = (-3.0, 3.0)
# u and v of `fit_temperature` where nothing is known, and how many areas that weighs as.
PRIOR_TEMPERATURE = (0.5, 0.5)
FEW = 1.0


@dataclass(frozen=True)
class Scored:
    """Locations with one outcome's score, its class 1..K (NaN: missing) and their weights."""

    score: NDArray[np.floating]
    target: NDArray[np.floating]
    weight: NDArray[np.floating]


def calibrate(
    training: Scored,
    validation: Scored,
    *,
    areas: int,
    training_areas: int | None = None,
    classes: int = 10,
) -> tuple[float, float]:
    """Find a and b > 0 that put ``a + b * score`` on the scale of the outcome.

    Parameters
    ----------
    training, validation : Scored
        The locations that the network was trained on, and those that it was not.
    areas : int
        In how many areas the validation locations lie. Locations of one area show the same
        story, so the data weigh against the penalty with the number of areas.
    training_areas : int, optional
        In how many areas the training locations lie: few show little of the offset, too. Without
        it the offset has no penalty.
    classes : int
        K.

    Returns
    -------
    a, b : float
        0 and 1 where there are no labels.
    """
    seen = _Likelihood(training, classes)
    held = 0.0 if training_areas is None else RIDGE / max(training_areas, 1)

    def of_shift(shift: Floats) -> tuple[float, Floats]:
        value, gradient = seen.of_shift(shift)
        return value + held * float(shift @ shift), gradient + 2 * held * shift

    shift = _most_likely(of_shift)
    likelihood = _Likelihood(validation, classes)
    share = RIDGE / max(areas, 1)

    def of_slope(log_slope: Floats) -> tuple[float, Floats]:
        value, gradient = likelihood.of_slope(log_slope, shift)
        relative = log_slope / SMALL
        penalty = share * SMALL**2 * float(np.log1p(relative**2).sum())
        return value + penalty, gradient + share * 2 * log_slope / (1 + relative**2)

    slope = float(np.exp(_most_likely(of_slope, LOG_SLOPES)))
    return slope * shift, slope


def fit_temperature(
    probabilities: Floats,
    score: Floats,
    target: NDArray[np.floating],
    weight: NDArray[np.floating],
    *,
    areas: int,
    start: Floats | None = None,
) -> tuple[float, float]:
    """Find how sharp probabilities may be, and how strongly the score tilts them.

    The output p(k) of the network's head becomes

        log P(k) = u log p(k) + (v - u) (k - (K + 1) / 2) score + constant,

    which for a binomial is u log C(K - 1, k - 1) + v k h: u = v = 1 is the head itself, u = v a
    temperature (Guo et al. 2017, *On calibration of modern neural networks*), and u < v a wider
    distribution that still follows the score. The likelihood is convex in both.

    Parameters
    ----------
    probabilities : array, shape [N, K]
        The head's, of locations that were held out and have a label.
    score : array, shape [N]
        Calibrated.
    target, weight : array, shape [N]
        Classes 1..K, and weights.
    areas : int
        In how many areas the locations lie: where they are few, u and v stay near `start`.
    start : array, shape [2], optional
        Those of the model that this one starts from.

    Returns
    -------
    u, v : float
        0 to 2, and 0 to 3; those of `start`, or 1 and 1, without any location.
    """
    prior = np.array(PRIOR_TEMPERATURE if start is None else start, np.float64)
    if not len(target) or not weight.sum():
        return (1.0, 1.0) if start is None else (float(prior[0]), float(prior[1]))
    share = weight.astype(np.float64) / weight.sum()
    bases = _bases(probabilities, score)
    chosen = bases[:, np.arange(len(target)), target.astype(np.int64) - 1]
    held = FEW / max(areas, 1)

    def objective(uv: Floats) -> tuple[float, Floats]:
        z = uv[0] * bases[0] + uv[1] * bases[1]
        top = z.max(axis=1, keepdims=True)  # by hand in half the time of logsumexp and softmax
        p = np.exp(z - top)
        total = p.sum(axis=1, keepdims=True)
        p /= total
        value = share @ ((top + np.log(total))[:, 0] - uv @ chosen)
        gradient = (np.einsum("nk,unk->un", p, bases) - chosen) @ share
        return float(value + held * ((uv - prior) ** 2).sum()), gradient + 2 * held * (uv - prior)

    found = minimize(objective, prior, jac=True, method="L-BFGS-B", bounds=[(0, 2), (0, 3)])
    return float(found.x[0]), float(found.x[1])


def apply_temperature(probabilities: Floats, score: Floats, temperature: Floats) -> Floats:
    """Give the probabilities that `fit_temperature` has found, of M outcomes.

    Parameters
    ----------
    probabilities : array, shape [N, M, K]
        The head's.
    score : array, shape [N, M]
        Calibrated.
    temperature : array, shape [M, 2]
        u and v of each outcome.

    Returns
    -------
    array of float64, shape [N, M, K]
    """
    tempered, tilted = _bases(probabilities, score)
    u, v = temperature[:, :1], temperature[:, 1:]
    z = u * tempered + v * tilted
    result: Floats = np.exp(z - logsumexp(z, axis=-1, keepdims=True))
    return result


def _bases(probabilities: Floats, score: Floats) -> Floats:
    """Give what u and v are multiplied with: [2, ..., K]."""
    classes = probabilities.shape[-1]
    tilt = (np.arange(1, classes + 1) - (classes + 1) / 2) * score[..., None]
    log_p = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return np.stack([log_p - tilt, tilt])


class _Likelihood:
    """Mean negative log-likelihood of labelled locations, but for a constant."""

    def __init__(self, scored: Scored, classes: int) -> None:
        known = ~np.isnan(scored.target)
        self.score = scored.score[known].astype(np.float64)
        self.successes = scored.target[known].astype(np.float64) - 1
        weight = scored.weight[known].astype(np.float64)
        self.weight = weight / (weight.sum() or 1.0)
        self.trials = classes - 1

    def of_shift(self, shift: Floats) -> tuple[float, Floats]:
        value, pull = self._loss_and_gradient(self.score + shift)
        return value, np.array([pull.sum()])

    def of_slope(self, log_slope: Floats, shift: float) -> tuple[float, Floats]:
        x = np.exp(log_slope) * (self.score + shift)
        value, pull = self._loss_and_gradient(x)
        return value, np.array([pull @ x])

    def _loss_and_gradient(self, x: Floats) -> tuple[float, Floats]:
        each = self.successes * log_expit(x) + (self.trials - self.successes) * log_expit(-x)
        return float(-self.weight @ each), self.weight * (self.trials * expit(x) - self.successes)


def _most_likely(
    objective: Callable[[Floats], tuple[float, Floats]],
    bounds: tuple[float | None, float | None] = (None, None),
) -> float:
    found = minimize(objective, np.zeros(1), jac=True, method="L-BFGS-B", bounds=[bounds])
    return float(found.x[0])
