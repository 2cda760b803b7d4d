"""Gaussian processes on areas: an area is a bag of locations, a location a bag of views.

An area is described by functions of its views, averaged over the views of each location, then over
its locations. The mean of the features themselves gives a linear kernel. The mean of random Fourier
features (Rahimi and Recht 2007, *Random features for large-scale kernel machines*; orthogonal ones,
Yu et al. 2016) gives the kernel of a mean embedding (Muandet et al. 2017, *Kernel mean embedding of
distributions*): of location vectors, or of view vectors, which also shows what mix of views an area
has. So do the means of all products of two features, a kernel of second degree: it needs fewer
areas to find an interaction of two features than an RBF kernel does. All are means over locations,
so an area's prediction is the mean of its locations' own. An RBF kernel on mean features, which has
no such property, was no better on real data and was omitted.

Each kernel has a Gaussian process on the deciles at every level of `NOISES`. Predictions are
averaged over kernels and levels, weighted by their marginal likelihood (MacKay 1992, *Bayesian
interpolation*): nothing is chosen on areas that are predicted. Everything is computed in the
primal, with one eigen-decomposition a kernel, so time is linear in the number of areas, and the
fitted state holds no training data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.spatial.distance import pdist
from scipy.special import logsumexp
from sklearn.utils.extmath import randomized_svd

from streetgauge.errors import InputError
from streetgauge.model.reading import Standardisation, refuse_non_finite, subsample
from streetgauge.seeds import derive_seed

__all__ = [
    "KERNELS",
    "RIDGE_KERNELS",
    "Bags",
    "Embedding",
    "KernelModel",
    "KernelPrediction",
    "Regression",
    "bag_locations",
    "fit_kernel",
    "regress",
]

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]

LINEAR = "linear"
WIDTHS = (0.25, 0.5, 1.0)  # of an RBF kernel, as shares of the median distance
_WAVES = tuple(f"{level}-{width:g}" for level in ("location", "view") for width in WIDTHS)
_SQUARES = ("location-square", "view-square")
_NOT_LINEAR = (*_WAVES, *_SQUARES)
# A kernel is the sum of the kernels of these maps.
RIDGE_KERNELS: tuple[tuple[str, ...], ...] = ((LINEAR,),)
KERNELS = (
    *RIDGE_KERNELS,
    *((name,) for name in _NOT_LINEAR),
    *((LINEAR, name) for name in _NOT_LINEAR),
)
NOISES = np.logspace(-2.5, 2.5, 13)  # noise variance over signal variance
FREQUENCIES = 384  # of a map: twice as many features
COMPONENTS = 64  # of views, for the maps that are not linear
SQUARED = 24  # of these, those that are multiplied with each other
LINEAR_COMPONENTS = 512  # of areas' mean features
SAMPLE = 1024  # locations that show components and widths
BLOCK = 64  # locations that are embedded at a time: more do not fit the cache
PREDICTED = 4096  # locations that are predicted at a time
NEGLIGIBLE = 0.01  # weight of a kernel that is dropped for an outcome
RANK = 64  # axes of a kernel along which the explained variance is stored


@dataclass(frozen=True)
class Bags:
    """Locations in areas.

    Parameters
    ----------
    features : array of float16 or float32, shape [R, V, D]
        May be a memory map.
    present : array of bool, shape [R, V]
        Which views are there, at least one of every location. What an absent view holds is ignored.
    rows : array of int64, shape [N]
        Rows of the locations.
    area : array of int64, shape [N]
        Each location's area, 0..A-1; every area has a location.
    weight : array of float64, shape [N], optional
        Weights of the locations within their area, above 0.
    """

    features: NDArray[np.floating]
    present: Flags
    rows: Rows
    area: Rows
    weight: Floats | None = None

    @property
    def count(self) -> int:
        """A, the number of areas."""
        return int(self.area.max(initial=-1)) + 1

    def pool(self, describe: Callable[[Singles, Singles], Sequence[Singles]]) -> list[Singles]:
        """Average what `describe` makes of locations over the locations of each area.

        Parameters
        ----------
        describe : callable
            Maps views [B, V, D], zero where absent, and their shares [B, V] (those of a location
            sum to 1) to arrays [B, W].

        Returns
        -------
        list of array of float32, shape [A, W]
            One for each array.

        Raises
        ------
        InputError
            Naming a row, if a view that is there has a feature that is no finite number.
        """
        weight = np.ones(len(self.rows)) if self.weight is None else self.weight
        share = (weight / np.bincount(self.area, weight)[self.area]).astype(np.float32)
        pooled: list[Singles] = []
        for start in range(0, len(self.rows), BLOCK):
            block = slice(start, start + BLOCK)
            parts = describe(*_read(self.features, self.present, self.rows[block]))
            pooled = pooled or [np.zeros((self.count, p.shape[1]), np.float32) for p in parts]
            order = np.argsort(self.area[block], kind="stable")
            codes = self.area[block][order]
            first = np.flatnonzero(np.diff(codes, prepend=-1))
            for total, part in zip(pooled, parts, strict=True):
                weighted = part[order] * share[block][order, None]
                total[codes[first]] += np.add.reduceat(weighted, first, axis=0)
        return pooled


def _read(features: NDArray[np.floating], present: Flags, rows: Rows) -> tuple[Singles, Singles]:
    """Read views, zero where absent, and each view's share of its location."""
    views, there = np.asarray(features[rows], np.float32), present[rows]
    if not there.all():
        views = np.where(there[..., None], views, np.float32(0))
    if not np.isfinite(views.sum()):
        refuse_non_finite(views, there, rows)
    shares = there / there.sum(axis=1, keepdims=True)
    return views, shares.astype(np.float32)


def _each(rows: Rows) -> Rows:
    """Give every location an area of its own."""
    return np.arange(len(rows))


@dataclass(frozen=True)
class Embedding:
    """What makes vectors of areas, measured on the training areas' features alone.

    Parameters
    ----------
    scale : Standardisation
        Of the features [D].
    components : array of float32, shape [D, C]
        Onto which views are projected for the maps that are not linear.
    linear : array of float32, shape [D, L] or None
        Onto which mean features are projected; None: they are used as they are.
    frequencies : mapping of name to array of float32, shape [C, F]
        Of each map of random features; none if there is the linear map alone.
    """

    scale: Standardisation
    components: Singles
    linear: Singles | None
    frequencies: Mapping[str, Singles]

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the maps, in the order of the vectors."""
        return (LINEAR, *self.frequencies, *(_SQUARES if self.frequencies else ()))

    @classmethod
    def of(cls, bags: Bags, seed: int) -> Self:
        """Measure scale, components and widths."""
        scale = Standardisation.of(bags.features, bags.present, bags.rows)
        order = np.random.default_rng(derive_seed(seed, "sample")).permutation(len(bags.rows))
        sample = bags.rows[np.sort(order[:SAMPLE])]
        views, shares = _read(bags.features, bags.present, sample)
        there = shares > 0
        views = np.where(there[..., None], (views - scale.mean) / scale.sd, np.float32(0))
        components = _components(views[there], COMPONENTS, seed)
        views = views @ components
        distance = {
            "location": _median_distance(np.einsum("bv,bvc->bc", shares, views)),
            "view": _median_distance(views[there]),
        }
        frequencies = {}
        for name in _WAVES:
            level, width = name.split("-")
            drawn = _orthogonal(components.shape[1], derive_seed(seed, name))
            frequencies[name] = drawn / np.float32(float(width) * distance[level])
        linear = None
        if min(bags.count, len(scale.mean)) > LINEAR_COMPONENTS:
            (means,) = cls(scale, components, None, {})(bags)
            linear = _components(means, LINEAR_COMPONENTS, seed)
        return cls(scale, components, linear, frequencies)

    def linear_only(self) -> Self:
        """Give the same embedding with the linear map alone."""
        nothing = np.empty((len(self.scale.mean), 0), np.float32)
        return replace(self, components=nothing, frequencies={})

    def __call__(self, bags: Bags) -> list[Singles]:
        """Embed areas.

        Parameters
        ----------
        bags : Bags

        Returns
        -------
        list of array of float32, shape [A, W]
            The vectors of each map.
        """

        def describe(views: Singles, shares: Singles) -> list[Singles]:
            views = (views - self.scale.mean) / self.scale.sd
            mean = np.einsum("bv,bvd->bd", shares, views)
            if not self.frequencies:
                return [mean]
            both = {"location": mean @ self.components, "view": views @ self.components}
            parts = [_waves(both[name.split("-")[0]] @ w) for name, w in self.frequencies.items()]
            parts += [_squares(both[name.split("-")[0]]) for name in _SQUARES]
            pooled = (p if p.ndim == 2 else np.einsum("bv,bvw->bw", shares, p) for p in parts)
            return [mean, *pooled]

        mean, *waves = bags.pool(describe)
        return [mean if self.linear is None else mean @ self.linear, *waves]


def _waves(phase: Singles) -> Singles:
    """Give cosines and sines, whose products are on average those of an RBF kernel: [..., 2 F]."""
    both = np.concatenate([np.cos(phase), np.sin(phase)], axis=-1)
    both *= np.float32(1 / np.sqrt(phase.shape[-1]))
    return both


def _squares(rows: Singles) -> Singles:
    """Give the products of every two of the first components: [..., W]."""
    first, second = np.triu_indices(min(SQUARED, rows.shape[-1]))
    return rows[..., first] * rows[..., second]


def _orthogonal(dimension: int, seed: int) -> Singles:
    """Draw the frequencies of a width of 1, orthogonal to each other in blocks: [C, F]."""
    rng = np.random.default_rng(seed)
    blocks = []
    for _ in range(-(-FREQUENCIES // dimension)):
        basis, _ = np.linalg.qr(rng.normal(size=(dimension, dimension)))
        blocks.append(basis * np.sqrt(rng.chisquare(dimension, dimension)))
    return np.concatenate(blocks, axis=1)[:, :FREQUENCIES].astype(np.float32)


def _components(rows: Singles, most: int, seed: int) -> Singles:
    """Give at most so many principal components of these rows: [D, C]."""
    dimension = rows.shape[1]
    if dimension <= most:
        return np.eye(dimension, dtype=np.float32)
    state = derive_seed(seed, "components") % 2**32
    centred = rows - rows.mean(axis=0)
    _, _, axes = randomized_svd(centred, min(most, len(rows)), random_state=state)
    return np.ascontiguousarray(axes.T, np.float32)


def _median_distance(rows: Singles) -> float:
    """Give the median distance between at most `SAMPLE` rows; 1 if all are the same."""
    distance = pdist(rows[subsample(np.arange(len(rows)), SAMPLE)].astype(np.float64))
    distance = distance[distance > 0]
    return float(np.median(distance)) if distance.size else 1.0


@dataclass(frozen=True)
class _Kernel:
    """A kernel's Gaussian process, averaged over the levels of noise.

    Parameters
    ----------
    parts, widths : array of int64
        Positions of its maps among those of the embedding, and the lengths of their vectors.
    centre, scale : array, shape [W]
        Of its features: their mean over the training areas, and what gives the vectors of each
        map an equal mean square norm, and those of all together one of 1.
    coefficients : array, shape [W, M]
    offset, weight : array, shape [M]
        What is added to the prediction; the kernel's share of the marginal likelihood.
    likeliest : array of bool, shape [M]
        For which outcomes its share is the largest: their variance is taken from it.
    axes : array, shape [W, Q]
        Along which the training areas explain most.
    explained : array, shape [Q, M]
        Variance along each axis that the training areas explain.
    prior : array, shape [M]
        Variance without them, of an area whose vector has norm 1.
    """

    parts: Rows
    widths: Rows
    centre: Singles
    scale: Singles
    coefficients: Singles
    offset: Floats
    weight: Floats
    likeliest: Flags
    axes: Singles
    explained: Floats
    prior: Floats

    def predict(self, maps: Sequence[Singles]) -> tuple[Floats, Floats]:
        """Predict areas, and give the variance of the prediction: both [A, M]."""
        vectors = (_joined(maps, self.parts) - self.centre) * self.scale
        variance = np.zeros((len(vectors), len(self.weight)))
        if self.likeliest.any():
            norm = np.einsum("aw,aw->a", vectors, vectors)
            along = (vectors @ self.axes) ** 2
            variance = np.maximum(norm[:, None] * self.prior - along @ self.explained, 0)
        return vectors @ self.coefficients + self.offset, variance

    def weighted(self, weight: Floats, likeliest: Flags) -> Self:
        """Give the kernel with its weight, and with axes, which take most space, if needed."""
        rank = self.axes.shape[1] if likeliest.any() else 0
        axes, explained = self.axes[:, :rank], self.explained[:rank]
        return replace(self, weight=weight, likeliest=likeliest, axes=axes, explained=explained)

    def pick(self, outcomes: Sequence[int]) -> Self:
        """Give the kernel of these outcomes only, by position, in this order."""
        each = ("coefficients", "offset", "weight", "likeliest", "explained", "prior")
        return replace(self, **{name: getattr(self, name)[..., outcomes] for name in each})


def _joined(maps: Sequence[Singles], parts: ArrayLike) -> Floats:
    """Put the vectors of these maps next to each other, in float64: [A, W]."""
    chosen = [maps[part] for part in np.asarray(parts).tolist()]
    return np.concatenate(chosen, axis=1, dtype=np.float64)


@dataclass(frozen=True)
class _Spectrum:
    """Eigen-decomposition of a kernel on labelled areas, and the projections of their labels.

    With features X and labels y, less their weighted means, ``values`` [r] and ``axes`` [W, r] are
    those of X'X, and ``pull`` [r, M] is axes' X'y. ``centre`` [W] is the mean of the features,
    ``total`` [M] the sum of squares of y, and ``freedom`` the number of areas less one.
    """

    values: Floats
    axes: Floats
    pull: Floats
    centre: Floats
    total: Floats
    freedom: int

    @classmethod
    def of(cls, vectors: Floats, labels: Floats, weight: Floats) -> Self:
        share = weight / weight.sum()
        centre = share @ vectors
        root = np.sqrt(weight)[:, None]
        x, y = root * (vectors - centre), root * (labels - share @ labels)
        if len(x) < x.shape[1]:  # the smaller of the two products has the same eigenvalues
            values, left = eigh(x @ x.T, check_finite=False)
            positive = values > 1e-10 * values[-1]
            values = values[positive]
            axes = x.T @ (left[:, positive] / np.sqrt(values))
        else:
            values, axes = eigh(x.T @ x, check_finite=False)
        values, axes = np.maximum(values[::-1], 0), axes[:, ::-1]
        return cls(values, axes, axes.T @ (x.T @ y), centre, (y**2).sum(axis=0), len(x) - 1)

    def evidence(self) -> tuple[Floats, Floats]:
        """Give log marginal likelihood and signal variance at each level of noise: [L, M].

        The signal variance is the most likely one, and the mean is integrated over.
        """
        noise = NOISES[:, None]
        pulled = (1 / (self.values + noise)) @ self.pull**2
        rest = np.maximum(self.total - pulled, 1e-12 * np.maximum(self.total, 1e-12))
        variance = rest / noise / self.freedom
        determinant = np.log1p(self.values / noise).sum(axis=1, keepdims=True)
        return -(self.freedom * np.log(variance * noise) + determinant) / 2, variance


@dataclass(frozen=True)
class KernelPrediction:
    """What Gaussian processes predict for A areas and M outcomes.

    Parameters
    ----------
    mean : array of float64, shape [A, M]
        Expected decile; it may lie outside the scale.
    sd : array of float64, shape [A, M]
        Predictive standard deviation of the decile, noise included.
    """

    mean: Floats
    sd: Floats


@dataclass(frozen=True)
class Regression:
    """Gaussian processes on embedded areas; see `regress`.

    Parameters
    ----------
    kernels : tuple
        Those with a weight of at least `NEGLIGIBLE` for some outcome.
    mean, noise : array of float64, shape [M]
        Mean decile of the training areas, and variance of the noise.
    evidence : array of float64, shape [P, L, M]
        Log marginal likelihood of each of P kernels at each of L levels of noise.
    """

    kernels: tuple[_Kernel, ...]
    mean: Floats
    noise: Floats
    evidence: Floats

    def predict(self, maps: Sequence[Singles]) -> KernelPrediction:
        """Predict areas.

        Parameters
        ----------
        maps : sequence of array of float32, shape [A, W]
            Their vectors, as the `Embedding` gives them.

        Returns
        -------
        KernelPrediction
        """
        mean, second, within = np.zeros((3, len(maps[0]), len(self.mean)))
        for kernel in self.kernels:
            each, variance = kernel.predict(maps)
            mean += kernel.weight * each
            second += kernel.weight * each**2
            within += kernel.likeliest * variance
        between = np.maximum(second - mean**2, 0)
        return KernelPrediction(self.mean + mean, np.sqrt(within + between + self.noise))

    def expected(self, maps: Sequence[Singles]) -> Floats:
        """Give the mean of `predict` alone, in a fraction of the time: [A, M]."""
        constant, slopes = self._sum
        total = constant + np.zeros((len(maps[0]), 1))
        for part, slope in slopes.items():
            total += maps[part].astype(np.float64) @ slope
        return total

    @cached_property
    def _sum(self) -> tuple[Floats, dict[int, Floats]]:
        """The weighted sum of all kernels' predictions as a constant [M] and slopes [W, M]."""
        constant = self.mean
        slopes: dict[int, Floats] = {}
        for kernel in self.kernels:
            slope = kernel.weight * kernel.coefficients * kernel.scale[:, None]
            constant = constant + kernel.weight * kernel.offset - kernel.centre @ slope
            first = 0
            for part, width in zip(kernel.parts.tolist(), kernel.widths.tolist(), strict=True):
                own = slope[first : first + width]
                slopes[part] = slopes[part] + own if part in slopes else own
                first += width
        return constant, slopes

    def pick(self, outcomes: Sequence[int]) -> Self:
        """Give the regression of these outcomes only, by position, in this order."""
        chosen = list(outcomes)
        kernels = tuple(kernel.pick(chosen) for kernel in self.kernels)
        return replace(
            self,
            kernels=tuple(kernel for kernel in kernels if kernel.weight.any()),
            mean=self.mean[chosen],
            noise=self.noise[chosen],
            evidence=self.evidence[..., chosen],
        )


def regress(
    maps: Sequence[Singles],
    labels: Floats,
    weight: Floats,
    kernels: Sequence[Sequence[int]],
) -> Regression:
    """Fit a Gaussian process with every kernel, and weigh them by their marginal likelihood.

    Parameters
    ----------
    maps : sequence of array of float32, shape [A, W]
        Vectors of the training areas, as the `Embedding` gives them.
    labels : array of float64, shape [A, M]
        Deciles, NaN where missing.
    weight : array of float64, shape [A]
        Above 0; the noise of an area has a variance of one over its weight.
    kernels : sequence of sequence of int
        Positions of the maps whose kernels each kernel sums.

    Returns
    -------
    Regression

    Raises
    ------
    InputError
        If an outcome has a label in fewer than two areas.
    """
    known = ~np.isnan(labels)
    few = np.flatnonzero(known.sum(axis=0) < 2)
    if len(few):
        raise InputError(
            f"outcome {few[0] + 1}",
            f"{known[:, few[0]].sum()} of the areas to train on have a label",
            "at least two are needed: exclude the outcome, or add areas",
        )
    masks, group = np.unique(known.T, axis=0, return_inverse=True)
    largest_first = np.argsort(-np.bincount(group), kind="stable")
    groups = [(masks[g], np.flatnonzero(group == g)) for g in largest_first]
    fitted = [_fit(maps, parts, labels, weight, groups) for parts in kernels]
    evidence = np.stack([levels for _, levels, _ in fitted])
    log_weight = logsumexp(evidence, axis=1)
    share = np.exp(log_weight - logsumexp(log_weight, axis=0))
    share[share < NEGLIGIBLE] = 0
    share /= share.sum(axis=0)
    used = np.flatnonzero(share.any(axis=1))
    first = share.argmax(axis=0)
    chosen = tuple(fitted[k][0].weighted(share[k], first == k) for k in used)
    filled, counted = np.where(known, labels, 0), known * weight[:, None]
    mean = (filled * counted).sum(axis=0) / counted.sum(axis=0)
    noise = (share * np.stack([level for _, _, level in fitted])).sum(axis=0)
    return Regression(chosen, mean, noise, evidence)


def _fit(
    maps: Sequence[Singles],
    parts: Sequence[int],
    labels: Floats,
    weight: Floats,
    groups: Sequence[tuple[Flags, Rows]],
) -> tuple[_Kernel, Floats, Floats]:
    """Fit one kernel; also give its evidence at each level of noise [L, M], and its noise [M].

    ``groups`` are areas [A] with the outcomes that have a label in just these, largest first.
    """
    vectors = _joined(maps, parts)
    centre = vectors.mean(axis=0)
    vectors -= centre
    widths = [maps[part].shape[1] for part in parts]
    scale = _scale(vectors, widths)
    vectors *= scale
    width, outcomes = vectors.shape[1], labels.shape[1]
    axes, explained = np.empty((width, 0)), np.empty((0, outcomes))
    coefficients, evidence = np.empty((width, outcomes)), np.empty((len(NOISES), outcomes))
    offset, prior, noise = np.empty((3, outcomes))
    for areas, columns in groups:
        spectrum = _Spectrum.of(vectors[areas], labels[np.ix_(areas, columns)], weight[areas])
        if not axes.shape[1]:
            axes = spectrum.axes[:, :RANK]
            explained = np.empty((axes.shape[1], outcomes))
        evidence[:, columns], variance = spectrum.evidence()
        share = np.exp(evidence[:, columns] - logsumexp(evidence[:, columns], axis=0))
        inverse = 1 / (spectrum.values[:, None] + NOISES)
        coefficients[:, columns] = spectrum.axes @ (spectrum.pull * (inverse @ share))
        offset[columns] = -spectrum.centre @ coefficients[:, columns]
        prior[columns] = (share * variance).sum(axis=0)
        noise[columns] = NOISES @ (share * variance)
        along = spectrum.values[:, None] * (inverse @ (share * variance))
        explained[:, columns] = (axes.T @ spectrum.axes) ** 2 @ along
    kernel = _Kernel(
        np.array(parts, np.int64),
        np.array(widths, np.int64),
        centre.astype(np.float32),
        scale.astype(np.float32),
        coefficients.astype(np.float32),
        offset,
        np.ones(outcomes),
        np.ones(outcomes, np.bool_),
        axes.astype(np.float32),
        explained,
        prior,
    )
    return kernel, evidence, noise


def _scale(vectors: Floats, widths: Sequence[int]) -> Floats:
    """Give each map's vectors an equal mean square norm, and all together 1: factors [W]."""
    factors = []
    for part in np.split(vectors, np.cumsum(widths)[:-1], axis=1):
        norm = np.einsum("aw,aw->", part, part) / len(part) * len(widths)
        factors.append(np.full(part.shape[1], 1 / np.sqrt(norm) if norm > 0 else 1.0))
    return np.concatenate(factors)


@dataclass(frozen=True)
class KernelModel:
    """Fitted Gaussian processes, and what makes vectors of areas.

    Parameters
    ----------
    embedding : Embedding
    regression : Regression
    """

    embedding: Embedding
    regression: Regression

    def predict(
        self,
        features: NDArray[np.floating],
        present: ArrayLike,
        *,
        rows: ArrayLike | None = None,
        areas: ArrayLike | None = None,
    ) -> KernelPrediction:
        """Predict areas, or locations.

        The mean of an area is the mean of its locations' means.

        Parameters
        ----------
        features : array of float16 or float32, shape [R, V, D]
            May be a memory map; V is free.
        present : array of bool, shape [R, V]
            Which views are there, at least one of every location.
        rows : array of int64, shape [N], optional
            Only these locations, in this order.
        areas : array, shape [N], optional
            Areas of the locations. Without it every location is predicted as an area of its own.

        Returns
        -------
        KernelPrediction
            For each area in the sorted order of their names, or for each location.

        Raises
        ------
        InputError
            Naming a row, if a view that is there has a feature that is no finite number.
        """
        there = np.asarray(present, np.bool_)
        picked = np.arange(len(features)) if rows is None else np.asarray(rows, np.int64)
        if areas is not None:
            _, area = np.unique(np.asarray(areas), return_inverse=True)
            return self.regression.predict(self.embedding(Bags(features, there, picked, area)))
        parts = [
            self.regression.predict(
                self.embedding(Bags(features, there, part, np.arange(len(part))))
            )
            for part in np.split(picked, np.arange(PREDICTED, len(picked), PREDICTED))
        ]
        return KernelPrediction(
            np.concatenate([part.mean for part in parts]),
            np.concatenate([part.sd for part in parts]),
        )

    def expected(self, features: NDArray[np.floating], present: Flags, rows: Rows) -> Floats:
        """Give the expected decile of locations, each as an area of its own.

        Parameters
        ----------
        features, present
            As for `predict`.
        rows : array of int64, shape [N]

        Returns
        -------
        array of float64, shape [N, M]
        """
        parts = [
            self.regression.expected(self.embedding(Bags(features, present, part, _each(part))))
            for part in np.split(rows, np.arange(PREDICTED, len(rows), PREDICTED))
        ]
        return np.concatenate(parts)

    def pick(self, outcomes: Sequence[int]) -> Self:
        """Give the model of these outcomes only, by position, in this order."""
        return replace(self, regression=self.regression.pick(outcomes))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Give the fitted state as named arrays, for a safetensors file."""
        embedding, regression = self.embedding, self.regression
        state: dict[str, NDArray[Any]] = {
            "mean": embedding.scale.mean,
            "sd": embedding.scale.sd,
            "components": embedding.components,
            **{f"frequencies.{name}": each for name, each in embedding.frequencies.items()},
            "regression.mean": regression.mean,
            "regression.noise": regression.noise,
            "regression.evidence": regression.evidence,
        }
        if embedding.linear is not None:
            state["linear"] = embedding.linear
        for k, kernel in enumerate(regression.kernels):
            state |= {f"kernels.{k}.{f.name}": getattr(kernel, f.name) for f in fields(kernel)}
        return {name: np.array(array, order="C") for name, array in state.items()}

    @classmethod
    def from_tensors(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """Make the model from what `tensors` gives.

        Parameters
        ----------
        state : mapping of name to array

        Returns
        -------
        KernelModel

        Raises
        ------
        KeyError
            If a tensor is missing.
        """
        names = [name for name in _WAVES if f"frequencies.{name}" in state]
        embedding = Embedding(
            Standardisation(state["mean"], state["sd"]),
            state["components"],
            state.get("linear"),
            {name: state[f"frequencies.{name}"] for name in names},
        )
        count = len({name.split(".")[1] for name in state if name.startswith("kernels.")})
        kernels = tuple(
            _Kernel(**{f.name: state[f"kernels.{k}.{f.name}"] for f in fields(_Kernel)})
            for k in range(count)
        )
        of = (state[f"regression.{name}"] for name in ("mean", "noise", "evidence"))
        return cls(embedding, Regression(kernels, *of))


def bag_locations(
    features: NDArray[np.floating],
    present: ArrayLike,
    deciles: ArrayLike,
    areas: ArrayLike,
    *,
    rows: ArrayLike | None = None,
    weight: ArrayLike | None = None,
) -> tuple[Bags, Floats, Floats]:
    """Put locations into areas, with their labels and weights.

    Parameters
    ----------
    Those of `fit_kernel`.

    Returns
    -------
    bags : Bags
        Of the locations with a label and a weight; areas in the sorted order of their names.
    labels : array of float64, shape [A, M]
        Mean decile of each area's locations, NaN where none has a label.
    area_weight : array of float64, shape [A]
        Mean weight of its locations, with a mean of 1.

    Raises
    ------
    InputError
        If no location has a label and a weight.
    """
    target, name = np.asarray(deciles, np.float64), np.asarray(areas)
    picked = np.arange(len(target)) if rows is None else np.asarray(rows, np.int64)
    each = np.ones(len(target)) if weight is None else np.asarray(weight, np.float64)
    used = ~np.isnan(target).all(axis=1) & (each > 0)
    if not used.any():
        raise InputError("labels", "no location to train on has one", "add areas with a label")
    target, each = target[used], each[used]
    _, area, count = np.unique(name[used], return_inverse=True, return_counts=True)
    known = ~np.isnan(target)
    total, labelled = np.zeros((2, len(count), target.shape[1]))
    np.add.at(total, area, np.where(known, target, 0))
    np.add.at(labelled, area, known)
    labels = np.where(labelled > 0, total / np.maximum(labelled, 1), np.nan)
    area_weight = np.bincount(area, each) / count
    bags = Bags(features, np.asarray(present, np.bool_), picked[used], area, each)
    return bags, labels, area_weight / area_weight.mean()


def fit_kernel(
    features: NDArray[np.floating],
    present: ArrayLike,
    deciles: ArrayLike,
    areas: ArrayLike,
    *,
    rows: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    kernels: Sequence[tuple[str, ...]] = KERNELS,
    seed: int = 0,
) -> KernelModel:
    """Fit Gaussian processes to the deciles of areas.

    Parameters
    ----------
    features : array of float16 or float32, shape [R, V, D]
        May be a memory map; it is read in blocks.
    present : array of bool, shape [R, V]
        Which views are there, at least one of every location.
    deciles : array, shape [N, M]
        Of each location's area, NaN where missing; any numbers that are better averaged than not.
    areas : array, shape [N]
        Area of each location.
    rows : array of int64, shape [N], optional
        Row of each location; the same position if not given.
    weight : array, shape [N], optional
        Weights of the locations, at least 0: within their area, and their mean as that of the
        area. Locations without any are not used.
    kernels : sequence of tuple of str
        Maps whose kernels each kernel sums: `KERNELS`, or `RIDGE_KERNELS` for a Bayesian ridge.
    seed : int
        Of random features and of the sample that shows components and widths. Same inputs in the
        same order and same seed, same model.

    Returns
    -------
    KernelModel

    Raises
    ------
    InputError
        If an outcome has a label in fewer than two areas, or a view that is there has a feature
        that is no finite number.

    Examples
    --------
    Forty areas of five locations with two views; their decile follows from the first feature:

    >>> rng = np.random.default_rng(0)
    >>> truth = rng.permutation(np.arange(40)) // 4 + 1
    >>> area = np.repeat(np.arange(40), 5)
    >>> views = rng.normal(size=(200, 2, 3)).astype(np.float32)
    >>> views[..., 0] += truth[area, None]
    >>> present = np.ones((200, 2), bool)
    >>> train = np.flatnonzero(area < 30)
    >>> model = fit_kernel(views, present, truth[area[train], None], area[train], rows=train)
    >>> test = np.flatnonzero(area >= 30)
    >>> predicted = model.predict(views, present, rows=test, areas=area[test])
    >>> bool(np.corrcoef(predicted.mean[:, 0], truth[30:])[0, 1] > 0.95)
    True
    """
    bags, labels, area_weight = bag_locations(
        features, present, deciles, areas, rows=rows, weight=weight
    )
    embedding = Embedding.of(bags, seed)
    if tuple(kernels) == RIDGE_KERNELS:
        embedding = embedding.linear_only()
    parts = [[embedding.maps.index(name) for name in kernel] for kernel in kernels]
    return KernelModel(embedding, regress(embedding(bags), labels, area_weight, parts))
