"""The ordinal head: one score, and the binomial distribution over classes that it stands for.

A network gives one score h per outcome. With p = sigmoid(h), class k of K is as probable as k - 1
successes in K - 1 trials,

    P(k) = C(K - 1, k - 1) p^(k - 1) (1 - p)^(K - k),    k = 1..K,

so that neighbouring classes are alike and the score orders locations (Suel et al. 2019; da Costa,
Alonso and Cardoso 2008, *The unimodal model for the classification of ordinal data*). Everything
is computed from log p and log(1 - p), which stay finite where p itself rounds to 0 or 1.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, log_expit
from torch import Tensor
from torch.nn.functional import logsigmoid


def log_probabilities(h: Tensor, classes: int = 10) -> Tensor:
    """Log-probability of every class.

    Parameters
    ----------
    h : Tensor, shape [...]
        Scores. Half-precision scores are computed with in float32.
    classes : int
        K, at least 2.

    Returns
    -------
    Tensor, shape [..., K]
        ``log P(k)`` for k = 1..K; finite, with finite gradients, for any |h| up to 1e4 and beyond.
        In float32 they are off by less than 1e-6 (K of 10) or 1e-5 (K of 100), as a share of
        those that are larger than 1.
    """
    h = at_least_float32(h)
    successes = torch.arange(classes, dtype=h.dtype, device=h.device)
    return _constants(classes, h.dtype, h.device) + _log_power(h.unsqueeze(-1), successes, classes)


def negative_log_likelihood(h: Tensor, target: Tensor, classes: int = 10) -> Tensor:
    """``-log P(target)``, without computing the other classes; 0 where the target is NaN.

    Parameters
    ----------
    h : Tensor, shape [...]
        Scores.
    target : Tensor, shape of `h`
        Classes 1..K as floats; NaN where the label is missing.
    classes : int
        K, at least 2.

    Returns
    -------
    Tensor, shape of `h`
    """
    h = at_least_float32(h)
    known = ~target.isnan()
    successes = torch.where(known, target - 1, 0).to(h)
    chosen = _constants(classes, h.dtype, h.device)[successes.long()]
    return torch.where(known, -chosen - _log_power(h, successes, classes), 0)


def loss(h: Tensor, target: Tensor, weight: Tensor | None = None, classes: int = 10) -> Tensor:
    """Weighted mean cross-entropy of each outcome.

    Parameters
    ----------
    h : Tensor, shape [N, M]
        Scores of N locations for M outcomes.
    target : Tensor, shape [N, M]
        Classes 1..K; a missing label (NaN) has no weight.
    weight : Tensor, shape [N, M], optional
        Weights of the samples, at least 0; 1 if not given.
    classes : int
        K, at least 2.

    Returns
    -------
    Tensor, shape [M]
        0 for an outcome without any weight.
    """
    return weighted_mean(negative_log_likelihood(h, target, classes), target, weight)


def weighted_mean(each: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Average losses [N, M] over the labels of each outcome, weighted: [M]; 0 without weight."""
    known = ~target.isnan()
    weight = known.to(each) if weight is None else torch.where(known, weight, 0).to(each)
    total = weight.sum(0)
    return (weight * torch.where(known, each, 0)).sum(0) / torch.where(total > 0, total, 1)


def probabilities(h: ArrayLike, classes: int = 10) -> NDArray[np.float64]:
    """Probability of every class, computed by NumPy in float64: the twin for prediction.

    Parameters
    ----------
    h : array, shape [...]
        Scores.
    classes : int
        K, at least 2.

    Returns
    -------
    array of float64, shape [..., K]
        Sums to 1 over the last axis.
    """
    score = np.asarray(h, np.float64)[..., np.newaxis]
    successes = np.arange(classes, dtype=np.float64)
    log_power = successes * log_expit(score) + (classes - 1 - successes) * log_expit(-score)
    result: NDArray[np.float64] = np.exp(_log_binomials(classes) + log_power)
    return result


def _log_power(h: Tensor, successes: Tensor, classes: int) -> Tensor:
    """Log of p^s (1 - p)^(K - 1 - s); both logarithms apart, for each is exact at its own end."""
    return successes * logsigmoid(h) + (classes - 1 - successes) * logsigmoid(-h)


@lru_cache
def _log_binomials(classes: int) -> NDArray[np.float64]:
    """Log of C(K - 1, k - 1) for k = 1..K."""
    if classes < 2:
        raise ValueError(f"a scale has at least 2 classes, not {classes}")
    k = np.arange(1, classes + 1)
    result: NDArray[np.float64] = gammaln(classes) - gammaln(k) - gammaln(classes - k + 1)
    result.setflags(write=False)
    return result


@lru_cache
def _constants(classes: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Put `_log_binomials` where the scores are; once, for it would hold up every step."""
    with torch.inference_mode(False):  # whoever asks first, training can use it
        return torch.tensor(_log_binomials(classes), dtype=dtype, device=device)


def at_least_float32(h: Tensor) -> Tensor:
    """Lift half precision to float32, and leave the rest."""
    return h.float() if h.dtype.itemsize < 4 else h
