"""What labels of a city add to the model of another: the posterior of the first is the prior here.

The Gaussian process of the other city's areas knows how its images show an outcome, up to a
variance. Labels of this city then do what further labels of that one would do: they move the model
where it knows little, and hardly at all where a handful of areas cannot. How far the two cities
differ is a further variance, of which several levels are averaged by their marginal likelihood
(`SPREADS`); the noise of an area is taken from the other city, so that it need not be found in few
labels. Where the model has no Gaussian process, nothing is known of its variance but `SPREADS`.

What is added to the model's predictions is tested on every labelled area by the others (in closed
form: leave-one-out residuals of a Gaussian process, Sundararajan and Keerthi 2001, *Predictive
approaches for choosing hyperparameters in Gaussian processes*). Where it does not lower the error,
nothing is added but a level, and areas stay in the model's own order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from streetgauge.model.embedding import Bags, Embedding, JointEmbedding, bag_locations, embedding_of
from streetgauge.model.fitting import pooled_rows, untested
from streetgauge.model.gaussian_process import Kernel, Regression
from streetgauge.model.kernel import KernelModel
from streetgauge.model.training_data import TrainingData
from streetgauge.splits.folds import Split

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

# Variance by which two cities' coefficients differ, over their prior variance; each is half as
# likely as the one before it, until labels are seen.
SPREADS = (0.0, 0.01, 0.1, 1.0, 10.0)
FREEDOM = 10.0  # how many areas the noise of the other city counts as
# How many areas count as much as no level at all. Of few areas the level is chance, in every fold
# another one, and areas would differ by the fold that they are in.
LEVEL = 400.0


@dataclass(frozen=True)
class Correction:
    """What is added to a model's expected deciles.

    Parameters
    ----------
    model : KernelModel
        Its expected decile is what is added.
    gain : array of float64, shape [M]
        The share by which it lowers the squared error of areas that are held out one by one; 0
        where it does not, and the areas stay in the model's order.
    rows : array of int64, shape [n]
        Locations with a label.
    held_out : array of float64, shape [n, M]
        Expected decile of each, from the model and the labels of all areas but its own.
    """

    model: KernelModel
    gain: Floats
    rows: Rows
    held_out: Floats


def fit_correction(
    source: KernelModel | None,
    expected: Callable[[Rows], Floats],
    data: TrainingData,
    split: Split,
    *,
    seed: int,
) -> Correction:
    """Train what is added to a model of another city, on a split's training and validation parts.

    Parameters
    ----------
    source : KernelModel or None
        Gaussian processes of the other city, where the model has any.
    expected : callable
        Gives the model's expected deciles [n, M] of rows.
    data : TrainingData
        By row.
    split : Split
        Features of all that is not tested show where the city's areas lie; labels of its training
        and validation parts are used.
    seed : int
        Of a new embedding, where ``source`` is None.

    Returns
    -------
    Correction

    Raises
    ------
    InputError
        If no location has a label.
    """
    pool = pooled_rows(data, split)
    weight = None if data.sample_weight is None else np.asarray(data.sample_weight)[pool]
    bags, labels, weight = bag_locations(
        data.features,
        data.present,
        data.deciles[pool],
        data.areas[pool],
        rows=pool,
        weight=weight,
    )
    near = untested(split)
    around = Bags(data.features, data.present, near, np.zeros(len(near), np.int64))
    embedding: Embedding | JointEmbedding
    if source is None:
        one_each = replace(around, area=np.arange(len(near)))
        embedding = embedding_of(one_each, data.parts, seed).linear_only()
        regression = _uninformed(embedding(bags), labels.shape[1], data.classes)
    else:
        embedding, regression = source.embedding, source.regression
    own = expected(bags.rows)
    added = _update(
        regression,
        embedding(bags),
        embedding(around),
        labels - _means(own, bags),
        weight,
        known=source is not None,
    )
    model = KernelModel(embedding, added.regression)
    return Correction(model, added.gain, bags.rows, own + added.held_out[bags.area])


def _means(values: Floats, bags: Bags) -> Floats:
    """Average values of locations [n, M] over each area's, by weight: [A, M]."""
    weight = np.ones(len(values)) if bags.weight is None else bags.weight
    sums = [np.bincount(bags.area, weight * column, bags.count) for column in values.T]
    return np.column_stack(sums) / np.bincount(bags.area, weight, bags.count)[:, None]


def _uninformed(maps: Sequence[NDArray[np.float32]], outcomes: int, classes: int) -> Regression:
    """Give a linear kernel of which nothing is known but the variance of the deciles."""
    width = maps[0].shape[1]
    spread = (classes**2 - 1) / 12
    norm = float(np.einsum("aw,aw->", maps[0], maps[0])) / len(maps[0])
    scale = np.full(width, np.sqrt(1 / norm) if norm > 0 else 1.0, np.float32)
    nothing = np.zeros((width, outcomes), np.float32)
    every, whole = np.full(outcomes, spread), np.ones(outcomes)
    kernel = Kernel(
        parts=np.zeros(1, np.int64),
        widths=np.array([width]),
        centre=np.zeros(width, np.float32),
        scale=scale,
        coefficients=nothing,
        offset=np.zeros(outcomes),
        weight=whole,
        likeliest=whole.astype(np.bool_),
        axes=nothing[:, :0],
        explained=np.empty((0, outcomes)),
        prior=every,
    )
    return Regression((kernel,), np.zeros(outcomes), every, np.zeros((1, 1, outcomes)))


@dataclass(frozen=True)
class _Added:
    """What labels add, as a regression; its gain [M] and its leave-one-out predictions [A, M]."""

    regression: Regression
    gain: Floats
    held_out: Floats


def _update(
    prior: Regression,
    maps: Sequence[NDArray[np.float32]],
    around: Sequence[NDArray[np.float32]],
    residuals: Floats,
    weight: Floats,
    *,
    known: bool,
) -> _Added:
    """Learn the residuals [A, M] of areas, with each outcome's likeliest kernel."""
    gain, held_out = np.zeros(residuals.shape[1]), np.zeros(residuals.shape)
    kernels = []
    for kernel in prior.kernels:
        outcomes = np.flatnonzero(kernel.likeliest)
        if not len(outcomes):
            continue
        middle = kernel.vectors(around)[0]
        vectors = kernel.vectors(maps) - middle
        slopes, level = np.zeros(kernel.coefficients.shape), np.zeros(residuals.shape[1])
        for m in outcomes:
            own = ~np.isnan(residuals[:, m])
            if not own.any():
                continue
            r, w = residuals[own, m], weight[own]
            level[m] = w @ r / (w.sum() + LEVEL)
            held_out[:, m] = level[m]
            process = _Process.of(
                kernel, int(m), vectors[own], w, float(prior.noise[m]), known=known
            )
            gain[m], slope, alone = process.judged(r)
            if gain[m] > 0:
                slopes[:, m] = slope
                held_out[own, m] += alone
        kernels.append(_linear(kernel, middle, slopes, level))
    nothing = np.zeros(residuals.shape[1])
    regression = Regression(tuple(kernels), nothing, nothing, np.zeros((1, 1, len(nothing))))
    return _Added(regression, gain, held_out)


def _linear(kernel: Kernel, middle: Floats, slopes: Floats, level: Floats) -> Kernel:
    """Give a kernel of a level [M] and slopes [W, M] around a vector, without variance."""
    return replace(
        kernel,
        centre=(kernel.centre + middle / kernel.scale).astype(np.float32),
        coefficients=slopes.astype(np.float32),
        offset=level,
        weight=kernel.likeliest.astype(np.float64),
        likeliest=np.zeros_like(kernel.likeliest),
        axes=kernel.axes[:, :0],
        explained=kernel.explained[:0],
        prior=np.zeros_like(kernel.prior),
    )


@dataclass(frozen=True)
class _Process:
    """One outcome's Gaussian process on labelled areas of the second city.

    ``vectors`` [A, W] have a covariance ``prior`` times their products, less what the first city
    explains: ``explained`` [Q] along ``axes`` [W, Q]; it is 0 where nothing is ``known``. ``noise``
    [A] is the variance of the areas' own.
    """

    vectors: Floats
    axes: Floats
    explained: Floats
    prior: float
    noise: Floats
    known: bool

    @classmethod
    def of(
        cls, kernel: Kernel, m: int, vectors: Floats, weight: Floats, noise: float, *, known: bool
    ) -> _Process:
        """Take what a kernel knows of outcome m."""
        axes = kernel.axes.astype(np.float64)
        explained = kernel.explained[:, m]
        return cls(vectors, axes, explained, float(kernel.prior[m]), noise / weight, known)

    def judged(self, residual: Floats) -> tuple[float, Floats, Floats]:
        """Learn the residuals [A].

        Returns
        -------
        float
            Share by which the squared error of each area falls when the others correct it; 0 if
            it does not.
        array of float64, shape [W]
            Slopes.
        array of float64, shape [A]
            What the others add to each area, around their mean.
        """
        gram = self.vectors @ self.vectors.T
        along = self.vectors @ self.axes
        posterior = self.prior * gram - (along * self.explained) @ along.T if self.known else 0.0
        level = np.diag(self.noise) + self.noise.mean()  # of the city: as unsure as one area's
        share, slopes, alone = [], [], []
        for k, spread in enumerate(SPREADS):
            wide = spread * self.prior
            alpha, held, evidence = _solve(posterior + wide * gram + level, residual)
            own = wide + self.prior * self.known
            explained = self.axes @ (self.explained * (along.T @ alpha)) * self.known
            slopes.append(own * (self.vectors.T @ alpha) - explained)
            alone.append(held)
            share.append(evidence - k * np.log(2))
        weight = np.exp(np.array(share) - max(share))
        weight /= weight.sum()
        _, plain, _ = _solve(level, residual)
        predicted: Any = weight @ np.array(alone)
        precision = 1 / self.noise
        before, after = (precision @ (residual - each) ** 2 for each in (plain, predicted))
        gain = max(1 - after / before, 0.0) if before > 0 else 0.0
        return float(gain), weight @ np.array(slopes), predicted - predicted.mean()


def _solve(covariance: Floats, residual: Floats) -> tuple[Floats, Floats, float]:
    """Give covariance^-1 residual, each residual as the others predict it, and the evidence.

    The scale of the covariance is integrated over: the evidence is that of a Student process.
    """
    factor = cho_factor(covariance, lower=True)
    inverse = cho_solve(factor, np.eye(len(residual)))
    alpha = inverse @ residual
    held = residual - alpha / np.diag(inverse)
    half = float(np.log(np.diag(factor[0])).sum())
    spread = np.log1p(residual @ alpha / FREEDOM)
    return alpha, held, float(-half - (FREEDOM + len(residual)) / 2 * spread)
