"""Heads: what a network's last numbers say of the classes, and the loss that they are trained by.

The binomial head of the method has one number per outcome. The others are there to be compared
with it: three that are likelihoods of other ordinal models, a nominal control, and two ways of
training a softmax so that far misses cost more.

============== ======= ==========================================================================
name           numbers what the numbers are
============== ======= ==========================================================================
binomial       1       the score h of a binomial over the classes (Suel et al. 2019)
clm            1       a score among K - 1 thresholds that are learnt too (McCullagh 1980, logit)
corn           K - 1   log-odds of getting past each class, once there (Shi, Cao and Raschka 2023)
softmax        K       logits of the classes, order ignored: the control
emd            K       logits; the loss is the ranked probability score (Hou, Yu and Samaras 2016)
triangular     K       logits; labels are spread over the neighbouring classes (Vargas et al. 2023)
beta           K       the same with beta distributions (Vargas et al. 2022), 3 to 14 classes
exponential    K       the same, falling by e with every class (Liu et al. 2020)
============== ======= ==========================================================================

The last four are computed with dlordinal (``pip install streetgauge[ordinal]``). Its CORN and
cumulative-link code cannot weight samples, and takes differences of sigmoids that round to 0; both
are written here in log space, and tests hold them to dlordinal's values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.functional import log_softmax, logsigmoid, one_hot

from streetgauge.errors import InputError, closest
from streetgauge.model import binomial

__all__ = ["HEADS", "Head", "check_labels", "make_head"]


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
    extra = False  # whether dlordinal is needed

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
        # Gaps are kept as logarithms, so that thresholds rise whatever training does.
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


class Corn(Head):
    """Log-odds of getting past each class: ``P(class > k | class >= k) = sigmoid(z_k)``.

    The loss is the mean over locations of ``-log P``. CORN's is the same sum divided by the number
    of the questions (is it past class k?) that its labels answer, so not by the locations.
    """

    name = "corn"

    def __init__(self, classes: int, outcomes: int) -> None:
        super().__init__(classes, outcomes)
        self.outputs = classes - 1

    def log_probabilities(self, z: Tensor) -> Tensor:
        """See `Head`."""
        z = binomial.at_least_float32(z)
        past, stays = logsigmoid(z).cumsum(-1), logsigmoid(-z)
        reached = torch.cat([torch.zeros_like(z[..., :1]), past[..., :-1]], -1)
        return torch.cat([reached + stays, past[..., -1:]], -1)


class Softmax(Head):
    """Cross-entropy of the classes as if they had no order: what an ordinal head must beat."""

    name = "softmax"


class EarthMover(Head):
    """Squared differences of the cumulative probabilities: the ranked probability score."""

    name = "emd"
    extra = True

    def __init__(self, classes: int, outcomes: int) -> None:
        super().__init__(classes, outcomes)
        self._mean: Any = _dlordinal("losses", self.name).EMDLoss(classes)

    def each(self, z: Tensor, target: Tensor) -> Tensor:
        """See `Head`."""
        z = binomial.at_least_float32(z)
        hot = one_hot(_code(target), self.classes).to(z)
        # Theirs is the mean over a batch: so every label is a batch of its own.
        rows = torch.vmap(self._mean)(z.flatten(0, 1).unsqueeze(1), hot.flatten(0, 1).unsqueeze(1))
        each: Tensor = rows.view(target.shape)
        return each


class SoftLabels(Head, ABC):
    """Cross-entropy with a label that is spread over the classes around its own.

    Only spreads whose greatest part stays with the label's own class are offered: those of
    dlordinal's Poisson and binomial soft labels do not.
    """

    spread: Tensor
    extra = True

    def __init__(self, classes: int, outcomes: int) -> None:
        super().__init__(classes, outcomes)
        made = torch.as_tensor(np.asarray(self._spread(classes), np.float64)).clamp(min=0)
        # Not a part of the trained state: it follows from the name and K.
        self.register_buffer("spread", (made / made.sum(1, keepdim=True)).float(), persistent=False)

    @abstractmethod
    def _spread(self, classes: int) -> Any:
        """Give the label of every class [K, K]: how much of it goes to which class."""

    def each(self, z: Tensor, target: Tensor) -> Tensor:
        """See `Head`."""
        log_p = self.log_probabilities(z)
        return -(self.spread[_code(target)].to(log_p) * log_p).sum(-1)


class Triangular(SoftLabels):
    """A twentieth of the label goes to each neighbouring class."""

    name = "triangular"

    def _spread(self, classes: int) -> Any:
        return _labels(self.name).get_triangular_soft_labels(classes, 0.05)


class Beta(SoftLabels):
    """About 15 % of the label goes to each neighbouring class."""

    name = "beta"

    def _spread(self, classes: int) -> Any:
        if not 3 <= classes <= 14:
            raise InputError(
                "head 'beta'",
                f"its soft labels are published for 3 to 14 classes, not for {classes}",
                "take 'triangular' or 'exponential'",
            )
        return _labels(self.name).get_beta_soft_labels(classes)


class Exponential(SoftLabels):
    """About half of the label stays, and falls by e with every class of distance."""

    name = "exponential"

    def _spread(self, classes: int) -> Any:
        return _labels(self.name).get_exponential_soft_labels(classes)


_KINDS: dict[str, Callable[[int, int], Head]] = {
    kind.name: kind
    for kind in (
        Binomial, CumulativeLink, Corn, Softmax, EarthMover, Triangular, Beta, Exponential,
    )
}  # fmt: skip
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
        If the name is not known, there are too few classes (or too many for the head), or the
        head needs dlordinal, which is not installed.
    """
    if name not in _KINDS:
        raise InputError(f"head {name!r}", "there is no such head", closest(name, HEADS, limit=99))
    if classes < 2:
        raise InputError(f"head {name!r}", f"a scale has at least 2 classes, not {classes}")
    return _KINDS[name](classes, outcomes)


def check_labels(target: ArrayLike, classes: int, outcomes: Sequence[str]) -> None:
    """Refuse labels that are no classes of the scale; no head looks at that while it is trained.

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
            "cut the values into classes first, or leave the label out as NaN",
        )


def _code(target: Tensor) -> Tensor:
    """Classes as indices 0..K - 1; 0 in the place of a missing label."""
    return torch.where(target.isnan(), 1, target).long() - 1


def _labels(head: str) -> Any:
    return _dlordinal("soft_labelling", head)


def _dlordinal(module: str, head: str) -> Any:
    try:
        return import_module(f"dlordinal.{module}")
    except ImportError as error:
        raise InputError(
            f"head {head!r}",
            f"it is computed with dlordinal, which cannot be used here ({error})",
            "run `pip install streetgauge[ordinal]`, or take one of 'binomial', 'clm', 'corn' and "
            "'softmax'",
        ) from None
