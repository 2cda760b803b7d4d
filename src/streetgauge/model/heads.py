"""Heads: the class probabilities that a network's last numbers give, and the loss in training.

The binomial head of the method has one number per outcome. The others are there to be compared
with it: another ordinal likelihood, and two ways of training a softmax so that far misses cost
more.

=========== ======= ==========================================================================
name        numbers what the numbers are
=========== ======= ==========================================================================
binomial    1       the score h of a binomial over the classes (Suel et al. 2019)
clm         1       a score among K - 1 thresholds that are trained too (McCullagh 1980, logit)
emd         K       logits; the loss is the ranked probability score (Hou, Yu and Samaras 2016)
exponential K       logits; labels are spread over all classes, falling by e with every class of
                    distance (Liu et al. 2020)
=========== ======= ==========================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.functional import log_softmax, logsigmoid, one_hot

from streetgauge.errors import InputError, closest
from streetgauge.model import binomial


class Head(nn.Module):
    """What every head can do. Parameters, if there are any, have the outcomes as first axis.

    Parameters
    ----------
    classes : int
        K, at least 2.
    outcomes : int
        M.

    Attributes
    ----------
    name : str
        See `HEADS`.
    classes : int
        K.
    outputs : int
        Numbers per outcome that the network's last layer gives.
    """

    name: str

    def __init__(self, classes: int, outcomes: int) -> None:
        super().__init__()
        self.classes = classes
        self.outputs = classes

    def log_probabilities(self, z: Tensor) -> Tensor:
        """Map the network's numbers [B, M, outputs] to ``log P(k)``: [B, M, K]."""
        return log_softmax(binomial.at_least_float32(z), -1)

    def probabilities(self, z: Tensor) -> Tensor:
        """Map the network's numbers [B, M, outputs] to probabilities of the classes: [B, M, K]."""
        return self.log_probabilities(z).exp()

    def score(self, z: Tensor) -> Tensor:
        """Give one number per location and outcome, higher = better off: [B, M].

        The logit of the expected share of the scale, ``E[k - 1] / (K - 1)``, which for a binomial
        is its own h: so scores of all heads are on one kind of scale.
        """
        log_p = self.log_probabilities(z)
        below = torch.arange(self.classes, device=z.device).to(log_p).log()
        return torch.logsumexp(log_p + below, -1) - torch.logsumexp(log_p + below.flip(0), -1)

    def each(self, z: Tensor, target: Tensor) -> Tensor:
        """Loss of every label by itself: [B, M]; what a missing one gets is finite, not used."""
        chosen = _code(target).unsqueeze(-1)
        return -self.log_probabilities(z).gather(-1, chosen).squeeze(-1)

    def loss(self, z: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Weighted mean loss of each outcome.

        Parameters
        ----------
        z : Tensor, shape [B, M, outputs]
            The network's numbers; half precision is computed with in float32.
        target : Tensor, shape [B, M]
            Classes 1..K as floats; NaN where the label is missing, which then weighs nothing.
        weight : Tensor, shape [B, M], optional
            Weights of the samples, at least 0; 1 if not given.

        Returns
        -------
        Tensor, shape [M]
            0 for an outcome without any weight.
        """
        return binomial.weighted_mean(self.each(z, target), target, weight)


class Binomial(Head):
    """One score; see `streetgauge.model.binomial`."""

    name = "binomial"

    def __init__(self, classes: int, outcomes: int) -> None:
        super().__init__(classes, outcomes)
        self.outputs = 1

    def log_probabilities(self, z: Tensor) -> Tensor:
        """See `Head`."""
        return binomial.log_probabilities(z.squeeze(-1), self.classes)

    def score(self, z: Tensor) -> Tensor:
        """Give h itself: [B, M]."""
        return binomial.at_least_float32(z.squeeze(-1))

    def each(self, z: Tensor, target: Tensor) -> Tensor:
        """See `Head`."""
        return binomial.negative_log_likelihood(z.squeeze(-1), target, self.classes)


class CumulativeLink(Head):
    """One score among thresholds: ``P(class <= k) = sigmoid(threshold_k - h)``."""

    name = "clm"

    def __init__(self, classes: int, outcomes: int) -> None:
        super().__init__(classes, outcomes)
        self.outputs = 1
        # Such that all classes are as probable as each other at h = 0.
        start = torch.logit(torch.arange(1, classes, dtype=torch.float64) / classes)
        # Gaps are stored as logarithms, so that thresholds rise whatever training does.
        self.first = nn.Parameter(start[:1].float().repeat(outcomes, 1))
        self.log_gaps = nn.Parameter(start.diff().log().float().repeat(outcomes, 1))

    def thresholds(self) -> Tensor:
        """Rising thresholds of each outcome: [M, K - 1]."""
        return torch.cat([self.first, self.log_gaps.exp()], 1).cumsum(1)

    def log_probabilities(self, z: Tensor) -> Tensor:
        """See `Head`."""
        thresholds = self.thresholds()
        below = thresholds - binomial.at_least_float32(z)  # [B, M, K - 1]
        # Between two thresholds a < b: sigmoid(b) - sigmoid(a) is the product of sigmoid(b),
        # sigmoid(-a) and 1 - exp(a - b), none of which is a difference of nearly equal numbers.
        between = torch.log(-torch.expm1(-self.log_gaps.exp()))
        at_most, above = logsigmoid(below), logsigmoid(-below)
        inner = at_most[..., 1:] + above[..., :-1] + between
        return torch.cat([at_most[..., :1], inner, above[..., -1:]], -1)

    def score(self, z: Tensor) -> Tensor:
        """Give h, with 0 in the middle of the thresholds: [B, M]."""
        return binomial.at_least_float32(z.squeeze(-1)) - self.thresholds().mean(1)


class EarthMover(Head):
    """Squared differences of the cumulative probabilities: the ranked probability score."""

    name = "emd"

    def each(self, z: Tensor, target: Tensor) -> Tensor:
        """See `Head`."""
        p = self.probabilities(z)
        off = p - one_hot(_code(target), self.classes).to(p)
        return off.cumsum(-1).square().sum(-1)


class Exponential(Head):
    """Cross-entropy with a label of which about half stays, falling by e with every class."""

    name = "exponential"
    spread: Tensor

    def __init__(self, classes: int, outcomes: int) -> None:
        super().__init__(classes, outcomes)
        code = torch.arange(classes, dtype=torch.float64)
        spread = (-(code - code[:, None]).abs()).softmax(1).float()  # [K, K], a row per label
        # Not a part of the trained state: it follows from K.
        self.register_buffer("spread", spread, persistent=False)

    def each(self, z: Tensor, target: Tensor) -> Tensor:
        """See `Head`."""
        log_p = self.log_probabilities(z)
        return -(self.spread[_code(target)].to(log_p) * log_p).sum(-1)


_KINDS: dict[str, Callable[[int, int], Head]] = {
    kind.name: kind for kind in (Binomial, CumulativeLink, EarthMover, Exponential)
}
HEADS = tuple(_KINDS)


def make_head(name: str, classes: int, outcomes: int) -> Head:
    """Make a head by name.

    Parameters
    ----------
    name : str
        One of `HEADS`.
    classes : int
        K, at least 2.
    outcomes : int
        M.

    Returns
    -------
    Head

    Raises
    ------
    InputError
        If the name is not known, or there are too few classes.
    """
    if name not in _KINDS:
        raise InputError(f"head {name!r}", "there is no such head", closest(name, HEADS, limit=99))
    if classes < 2:
        raise InputError(f"head {name!r}", f"it cannot have {classes} classes", "give 2 or more")
    return _KINDS[name](classes, outcomes)


def check_labels(target: ArrayLike, classes: int, outcomes: Sequence[str]) -> None:
    """Refuse labels that are no classes of the scale; no head checks that while it is trained.

    Parameters
    ----------
    target : array, shape [N, M]
        Classes 1..K, NaN where missing.
    classes : int
        K.
    outcomes : sequence of str, length M
        Names for the error.

    Raises
    ------
    InputError
        Naming the first row and outcome whose label is not one of 1..K.
    """
    label = np.asarray(target, np.float64)
    wrong = ~np.isnan(label) & ~((label >= 1) & (label <= classes) & (label == np.floor(label)))
    if wrong.any():
        row, m = (int(i[0]) for i in np.nonzero(wrong))
        raise InputError(
            f"labels, row {row}, outcome '{outcomes[m]}'",
            f"{label[row, m]:g} is none of the classes 1 to {classes}",
            "cut the values into classes first, or set the label to NaN",
        )


def _code(target: Tensor) -> Tensor:
    """Classes as indices 0..K - 1; 0 for a missing label."""
    return torch.where(target.isnan(), 1, target).long() - 1
