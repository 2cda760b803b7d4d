"""Gaussian-process regression on vectors of areas, averaged over kernels and levels of noise.

Each kernel has a Gaussian process on the deciles at every level of `NOISES`. Predictions are
averaged over kernels and levels, weighted by their marginal likelihood (MacKay 1992, *Bayesian
interpolation*): nothing is chosen on areas that are predicted. Everything is computed in the
primal, with one eigen-decomposition a kernel, so time is linear in the number of areas, and the
fitted state holds no training data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh, lapack
from scipy.special import logsumexp

from streetgauge.errors import InputError
from streetgauge.model.products import Products, Selection, scale_of

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]

NOISES = np.logspace(-2.5, 2.5, 13)  # noise variance over signal variance
NEGLIGIBLE = 0.01  # weight of a kernel that is dropped for an outcome
RANK = 64  # axes of a kernel along which the explained variance is stored


@dataclass(frozen=True)
class Kernel:
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
        vectors = self.vectors(maps)
        variance = np.zeros((len(vectors), len(self.weight)))
        if self.likeliest.any():
            norm = np.einsum("aw,aw->a", vectors, vectors)
            along = (vectors @ self.axes) ** 2
            variance = np.maximum(norm[:, None] * self.prior - along @ self.explained, 0)
        return vectors @ self.coefficients + self.offset, variance

    def vectors(self, maps: Sequence[Singles]) -> Floats:
        """Give the features of areas, centred and scaled: [A, W]."""
        return (_joined(maps, self.parts) - self.centre) * self.scale

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
class Spectrum:
    """Eigen-decomposition of a kernel on labelled areas, and the projections of their labels.

    With features X and labels y, less their weighted means, ``values`` [r] are the eigenvalues of
    X'X and ``pull`` [r, M] is axes' X'y, with the axes [W, r] as columns. ``vectors`` are the axes
    themselves or, where the areas are fewer than the features, what makes them of ``rows``, the
    features [A, W]: few products need axes of their own. ``centre`` [W] is the mean of the
    features, ``total`` [M] the sum of squares of y, and ``freedom`` the number of areas less one.
    """

    values: Floats
    vectors: Floats
    rows: Floats | None
    pull: Floats
    centre: Floats
    total: Floats
    freedom: int

    @classmethod
    def of(cls, vectors: Floats, labels: Floats, weight: Floats) -> Self:
        """Decompose the kernel of these vectors [A, W], with labels [A, M] and weights [A]."""
        products = Products([vectors], labels, weight, Selection(np.arange(len(vectors))))
        return cls.of_sum(products, [0], [1.0])

    @classmethod
    def of_sum(cls, products: Products, parts: Sequence[int], factors: Sequence[float]) -> Self:
        """Decompose the sum of the kernels of these maps, each map's vectors times its factor."""
        used = [*zip(parts, factors, strict=True)]
        count, y = len(products.root), products.labels
        few = count < sum(products.maps[p].shape[1] for p in parts)
        rows = None
        if few:  # the smaller of the two products has the same eigenvalues
            rows = np.concatenate([products.rows(p) * f for p, f in used], axis=1)
            gram = sum((products.inner(p) * f**2 for p, f in used), np.zeros((count, count)))
        else:
            gram = products.gram(parts, factors)
        # Divide and conquer ("evd") gives all vectors a third faster than the default.
        values, axes = eigh(gram, check_finite=False, driver="evd")
        values, axes = np.maximum(values[::-1], 0), axes[:, ::-1]
        if few:
            positive = values > 1e-10 * values[0]
            values, axes = values[positive], axes[:, positive]
            pull = np.sqrt(values)[:, None] * (axes.T @ y)
            axes = axes / np.sqrt(values)
        else:
            pull = axes.T @ np.concatenate([products.pull(p) * f for p, f in used])
        centre = np.concatenate([products.centre(p) * f for p, f in used])
        return cls(values, axes, rows, pull, centre, (y**2).sum(axis=0), count - 1)

    def along(self, inner: Floats) -> Floats:
        """Give the sums of axes with these factors: [r, C] to [W, C]."""
        found = self.vectors @ inner
        return found if self.rows is None else self.rows.T @ found

    def first_axes(self, count: int) -> Floats:
        """Give at most so many axes, those of the largest eigenvalues: [W, Q]."""
        found = self.vectors[:, :count]
        return found if self.rows is None else self.rows.T @ found

    def overlap(self, axes: Floats) -> Floats:
        """Give the products of other axes [W, Q] with these: [Q, r]."""
        found = axes if self.rows is None else self.rows @ axes
        return found.T @ self.vectors

    def evidence(self) -> tuple[Floats, Floats]:
        """Give log marginal likelihood and signal variance at each level of noise: [L, M].

        The signal variance is the most likely one, and the mean is integrated over.
        """
        noise = NOISES[:, None]
        pulled = (1 / (self.values + noise)) @ self.pull**2
        determinant = np.log1p(self.values / noise).sum(axis=1, keepdims=True)
        return _evidence(pulled, determinant, self.total, self.freedom)

    def weighted(self, share: Floats) -> Floats:
        """Give coefficients averaged over the levels of noise with shares [L, M]: [W, M]."""
        return self.along(self.pull * (1 / (self.values[:, None] + NOISES) @ share))


def _evidence(
    pulled: Floats, determinant: Floats, total: Floats, freedom: int
) -> tuple[Floats, Floats]:
    """Give log marginal likelihood and signal variance, of explained squares and determinants."""
    noise = NOISES[:, None]
    rest = np.maximum(total - pulled, 1e-12 * np.maximum(total, 1e-12))
    variance = rest / noise / freedom
    return -(freedom * np.log(variance * noise) + determinant) / 2, variance


@dataclass(frozen=True)
class Tridiagonal:
    """What `Spectrum` gives, but for axes, in a third of the time.

    Householder reflections make X'X tridiagonal, and tridiagonal equations are solved at once for
    each level of noise (Golub and Van Loan 2013, *Matrix Computations*, 8.3).

    Parameters
    ----------
    reflectors, factors : array of float64, shape [W - 1, W - 1] and [W - 1]
        As LAPACK stores reflections.
    solved : array of float64, shape [L, W, M]
        Coefficients at each level of noise, reflected.
    determinant, pulled : array of float64, shape [L, 1] and [L, M]
        Log determinants, and squares explained.
    centre, total, freedom
        As for `Spectrum`.
    """

    reflectors: Floats
    factors: Floats
    solved: Floats
    determinant: Floats
    pulled: Floats
    centre: Floats
    total: Floats
    freedom: int

    @classmethod
    def of_sum(cls, products: Products, parts: Sequence[int], factors: Sequence[float]) -> Self:
        """Reduce the sum of the kernels of these maps; see `Spectrum.of_sum`."""
        used = [*zip(parts, factors, strict=True)]
        gram = products.gram(parts, factors)
        lwork = int(lapack.dsytrd_lwork(len(gram), lower=1)[0])
        turned, diagonal, off_diagonal, tau, _ = lapack.dsytrd(
            gram.T, lower=1, lwork=lwork, overwrite_a=1
        )
        reflectors = np.asfortranarray(turned[1:, :-1])
        pull = np.concatenate([products.pull(p) * f for p, f in used])
        pull[1:] = _reflected(reflectors, tau, pull[1:], "T")
        each = [lapack.dptsv(diagonal + noise, off_diagonal, pull) for noise in NOISES]
        solved = np.stack([one[2] for one in each])
        return cls(
            reflectors,
            tau,
            solved,
            np.array(
                [[np.log(one[0] / noise).sum()] for one, noise in zip(each, NOISES, strict=True)]
            ),
            np.einsum("wm,lwm->lm", pull, solved),
            np.concatenate([products.centre(p) * f for p, f in used]),
            (products.labels**2).sum(axis=0),
            len(products.root) - 1,
        )

    def evidence(self) -> tuple[Floats, Floats]:
        """Give what `Spectrum.evidence` gives."""
        return _evidence(self.pulled, self.determinant, self.total, self.freedom)

    def weighted(self, share: Floats) -> Floats:
        """Give coefficients averaged over the levels of noise with shares [L, M]: [W, M]."""
        found: Floats = np.einsum("lwm,lm->wm", self.solved, share)
        found[1:] = _reflected(self.reflectors, self.factors, found[1:], "N")
        return found


def _reflected(reflectors: Floats, factors: Floats, values: Floats, transposed: str) -> Floats:
    """Reflect the columns of values [W - 1, M], forwards ("N") or back ("T")."""
    columns = np.asfortranarray(values)
    lwork = 64 * max(columns.shape[1], 1)
    found: Floats = lapack.dormqr("L", transposed, reflectors, factors, columns, lwork)[0]
    return found


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

    kernels: tuple[Kernel, ...]
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


@dataclass(frozen=True)
class Fitted:
    """Gaussian processes with several kernels on the same areas, before they are averaged.

    Parameters
    ----------
    kernels : tuple of Kernel
    evidence : array of float64, shape [P, L, M]
        Log marginal likelihood at each level of noise.
    noises : array of float64, shape [P, M]
        Variance of each one's noise.
    mean : array of float64, shape [M]
        Mean decile of the areas.
    """

    kernels: tuple[Kernel, ...]
    evidence: Floats
    noises: Floats
    mean: Floats

    def averaged(
        self, prior: Sequence[float] | None = None, among: Sequence[int] | None = None
    ) -> Regression:
        """Average the kernels, or some of them, by how likely the labels are with each.

        Parameters
        ----------
        prior : sequence of float, optional
            Logarithm of how likely each kernel is before any label is seen, up to a constant; all
            alike if not given.
        among : sequence of int, optional
            Positions of the kernels that are averaged; all if not given.
        """
        chosen = range(len(self.kernels)) if among is None else among
        rows = np.fromiter(chosen, np.int64)
        log_weight = logsumexp(self.evidence[rows], axis=1)
        if prior is not None:
            log_weight += np.asarray(prior, np.float64)[rows, None]
        share = np.exp(log_weight - logsumexp(log_weight, axis=0))
        share[share < NEGLIGIBLE] = 0
        share /= share.sum(axis=0)
        used = np.flatnonzero(share.any(axis=1))
        first = share.argmax(axis=0)
        weighted = tuple(self.kernels[rows[k]].weighted(share[k], first == k) for k in used)
        noise = (share * self.noises[rows]).sum(axis=0)
        return Regression(weighted, self.mean, noise, self.evidence[rows])


def regress(
    maps: Sequence[Singles],
    labels: Floats,
    weight: Floats,
    kernels: Sequence[Sequence[int]],
    shares: Sequence[Sequence[float]] | None = None,
    prior: Sequence[float] | None = None,
    *,
    variance: bool = True,
    selection: Selection | None = None,
) -> Regression:
    """Fit a Gaussian process with every kernel, and weigh them by their marginal likelihood.

    Parameters
    ----------
    maps, labels, weight, kernels, shares, variance, selection
        As for `fit_each`.
    prior : sequence of float, optional
        As for `Fitted.averaged`.

    Returns
    -------
    Regression

    Raises
    ------
    InputError
        If an outcome has a label in fewer than two areas.
    """
    fitted = fit_each(maps, labels, weight, kernels, shares, variance=variance, selection=selection)
    return fitted.averaged(prior)


def fit_each(
    maps: Sequence[Singles],
    labels: Floats,
    weight: Floats,
    kernels: Sequence[Sequence[int]],
    shares: Sequence[Sequence[float]] | None = None,
    advance: Callable[[int], object] = lambda _: None,
    *,
    variance: bool = True,
    selection: Selection | None = None,
) -> Fitted:
    """Fit a Gaussian process with every kernel.

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
    shares : sequence of sequence of float, optional
        Of each kernel the shares that its maps have of the prior variance, of sum 1; equal ones if
        not given.
    advance : callable
        Receives 1 after every kernel.
    variance : bool
        Without it `Regression.expected` is all that may be asked for; decompositions take a third
        of the time.
    selection : Selection, optional
        Which rows of the maps the training areas are, where the maps have others as well.

    Returns
    -------
    Fitted

    Raises
    ------
    InputError
        If an outcome has a label in fewer than two areas.
    """
    chosen = selection or Selection(np.arange(len(labels)))
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
    groups = []
    for g in largest_first:
        areas, columns = masks[g], np.flatnonzero(group == g)
        own = labels[np.ix_(areas, columns)]
        groups.append((Products(maps, own, weight[areas], chosen.among(areas)), columns))
    scales = [scale_of(each, chosen) for each in maps]
    if shares is None:
        shares = [[1 / len(parts)] * len(parts) for parts in kernels]
    fitted = []
    for parts, share in zip(kernels, shares, strict=True):
        fitted.append(_fit(parts, share, scales, groups, labels.shape[1], RANK if variance else 0))
        advance(1)
    filled, counted = np.where(known, labels, 0), known * weight[:, None]
    mean = (filled * counted).sum(axis=0) / counted.sum(axis=0)
    each, evidence, noises = zip(*fitted, strict=True)
    return Fitted(each, np.stack(evidence), np.stack(noises), mean)


def _fit(
    parts: Sequence[int],
    shares: Sequence[float],
    scales: Sequence[tuple[Floats, float]],
    groups: Sequence[tuple[Products, Rows]],
    outcomes: int,
    rank: int,
) -> tuple[Kernel, Floats, Floats]:
    """Fit one kernel; also give its evidence at each level of noise [L, M], and its noise [M].

    ``scales`` are each map's mean and mean square norm, ``groups`` the areas and the outcomes that
    have a label in just these, largest first; along ``rank`` axes the variance is described.
    """
    means = [scales[part][0] for part in parts]
    norms = [scales[part][1] for part in parts]
    # Each map gets its share of a mean square norm of 1.
    factors = [
        math.sqrt(share / norm) if norm > 0 else 1.0
        for share, norm in zip(shares, norms, strict=True)
    ]
    widths = [len(mean) for mean in means]
    centre, scale, width = np.concatenate(means), np.repeat(factors, widths), sum(widths)
    axes, explained = np.empty((width, 0)), np.empty((0, outcomes))
    coefficients, evidence = np.empty((width, outcomes)), np.empty((len(NOISES), outcomes))
    offset, prior, noise = np.empty((3, outcomes))
    for products, columns in groups:
        plain = not rank and 2 < width <= len(products.root)
        reduce = Tridiagonal.of_sum if plain else Spectrum.of_sum
        spectrum: Tridiagonal | Spectrum = reduce(products, parts, factors)
        evidence[:, columns], variance = spectrum.evidence()
        share = np.exp(evidence[:, columns] - logsumexp(evidence[:, columns], axis=0))
        coefficients[:, columns] = spectrum.weighted(share)
        offset[columns] = (centre * scale - spectrum.centre) @ coefficients[:, columns]
        prior[columns] = (share * variance).sum(axis=0)
        noise[columns] = NOISES @ (share * variance)
        if not rank or isinstance(spectrum, Tridiagonal):
            continue
        if not axes.shape[1]:
            axes = spectrum.first_axes(rank)
            explained = np.empty((axes.shape[1], outcomes))
        inverse = 1 / (spectrum.values[:, None] + NOISES)
        along = spectrum.values[:, None] * (inverse @ (share * variance))
        explained[:, columns] = spectrum.overlap(axes) ** 2 @ along
    kernel = Kernel(
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
