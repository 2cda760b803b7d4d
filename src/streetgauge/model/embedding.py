"""Vectors of areas: an area is a bag of locations, a location a bag of views.

An area is described by functions of its views, averaged over the views of each location, then over
its locations. The mean of the features themselves gives a linear kernel. The mean of random Fourier
features (Rahimi and Recht 2007, *Random features for large-scale kernel machines*; orthogonal ones,
Yu et al. 2016) gives the kernel of a mean embedding (Muandet et al. 2017, *Kernel mean embedding of
distributions*): of location vectors, or of view vectors, which also shows what mix of views an area
has. So do the means of all products of two features, a kernel of second degree: it needs fewer
areas to find an interaction of two features than an RBF kernel does. All are means over locations,
so an area's prediction is the mean of its locations' own. An RBF kernel on mean features, which has
no such property, was no better on real data and was omitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist
from sklearn.utils.extmath import randomized_svd

from streetgauge.errors import InputError
from streetgauge.features.joint import Part
from streetgauge.model.reading import Standardisation, refuse_non_finite, subsample
from streetgauge.seeds import derive_seed

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]

LINEAR = "linear"
WIDTHS = (0.25, 0.5, 1.0)  # of an RBF kernel, as shares of the median distance
RANDOM_FEATURES = tuple(f"{level}-{width:g}" for level in ("location", "view") for width in WIDTHS)
_SQUARES = ("location-square", "view-square")
NOT_LINEAR = (*RANDOM_FEATURES, *_SQUARES)
FREQUENCIES = 384  # of a map: twice as many features
COMPONENTS = 64  # of views, for the maps that are not linear
SQUARED = 24  # of these, those that are multiplied with each other
LINEAR_COMPONENTS = 512  # of areas' mean features
SAMPLE = 1024  # locations that show components and widths
ODDS = 10.0  # by which a further source has to make labels more likely
BLOCK = 64  # locations that are embedded at a time: more do not fit the cache


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

    def of_part(self, part: Part) -> tuple[Bags, Rows, Floats]:
        """Give the bags of one of several sources, without the locations that lack it.

        Returns
        -------
        Bags
            Of the areas that have it, numbered again.
        array of int64, shape [a]
            Which areas these are.
        array of float64, shape [A]
            The share of each area's locations, by weight, that have it.
        """
        present = self.present[:, part.views]
        here = present[self.rows].any(axis=1)
        weight = np.ones(len(self.rows)) if self.weight is None else self.weight
        areas, area = np.unique(self.area[here], return_inverse=True)
        whole = np.bincount(self.area, weight, self.count)
        share = np.bincount(self.area, weight * here, self.count) / whole
        features = self.features[:, part.views, : part.dimension]
        return Bags(features, present, self.rows[here], area, weight[here]), areas, share

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
            Naming a row, if a view that is there has a feature that is not a finite number.
        """
        weight = np.ones(len(self.rows)) if self.weight is None else self.weight
        share = (weight / np.bincount(self.area, weight)[self.area]).astype(np.float32)
        pooled: list[Singles] = []
        for start in range(0, len(self.rows), BLOCK):
            block = slice(start, start + BLOCK)
            parts = describe(*_read_views(self.features, self.present, self.rows[block]))
            pooled = pooled or [np.zeros((self.count, p.shape[1]), np.float32) for p in parts]
            order = np.argsort(self.area[block], kind="stable")
            codes = self.area[block][order]
            first = np.flatnonzero(np.diff(codes, prepend=-1))
            for total, part in zip(pooled, parts, strict=True):
                weighted = part[order] * share[block][order, None]
                total[codes[first]] += np.add.reduceat(weighted, first, axis=0)
        return pooled


def _read_views(
    features: NDArray[np.floating], present: Flags, rows: Rows
) -> tuple[Singles, Singles]:
    """Read views, zero where absent, and each view's share of its location."""
    views, there = np.asarray(features[rows], np.float32), present[rows]
    if not there.all():
        views = np.where(there[..., None], views, np.float32(0))
    if not np.isfinite(views.sum()):
        refuse_non_finite(views, there, rows)
    shares = there / there.sum(axis=1, keepdims=True)
    return views, shares.astype(np.float32)


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
        views, shares = _read_views(bags.features, bags.present, sample)
        there = shares > 0
        views = np.where(there[..., None], (views - scale.mean) / scale.sd, np.float32(0))
        components = _components(views[there], COMPONENTS, seed)
        views = views @ components
        distance = {
            "location": _median_distance(np.einsum("bv,bvc->bc", shares, views)),
            "view": _median_distance(views[there]),
        }
        frequencies = {}
        for name in RANDOM_FEATURES:
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


@dataclass(frozen=True)
class JointEmbedding:
    """The embeddings of several sources side by side.

    A location that lacks a source has zeros there, which is the mean of those that have it, and
    another number in the last column of that source's linear map, which marks it as absent. So
    an area's vector is still the mean of its locations' own.

    Parameters
    ----------
    parts : tuple of Part
        The sources that the training areas have, sorted by name.
    embeddings : tuple of Embedding
        Of each.
    centres : tuple of tuple of array of float32, shape [W]
        Means of each one's vectors over the training areas that have it.
    """

    parts: tuple[Part, ...]
    embeddings: tuple[Embedding, ...]
    centres: tuple[tuple[Singles, ...], ...]

    @classmethod
    def of(cls, bags: Bags, parts: Sequence[Part], seed: int) -> Self:
        """Measure the embedding of each source on the areas that have it."""
        known, embeddings, centres = [], [], []
        for part in parts:
            own, _, _ = bags.of_part(part)
            if not len(own.rows):
                continue
            embedding = Embedding.of(own, derive_seed(seed, "source", part.name))
            known.append(part)
            embeddings.append(embedding)
            centres.append(tuple(each.mean(axis=0) for each in embedding(own)))
        return cls(tuple(known), tuple(embeddings), tuple(centres))

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the maps, those of a source behind its own and a slash."""
        pairs = zip(self.parts, self.embeddings, strict=True)
        return tuple(f"{part.name}/{name}" for part, each in pairs for name in each.maps)

    def linear_only(self) -> Self:
        """Give the same embedding with the linear maps alone."""
        embeddings = tuple(each.linear_only() for each in self.embeddings)
        return replace(self, embeddings=embeddings, centres=tuple(c[:1] for c in self.centres))

    def kernels(
        self, kernels: Sequence[tuple[str, ...]]
    ) -> tuple[list[tuple[str, ...]], list[float]]:
        """Give the kernels of one source for several: of each alone, of all, of all but one.

        A kernel of several sources is the sum of theirs. What the areas show of each kernel weighs
        them (`regress`), so that a source that shows nothing does not harm the others;
        each further source has to make the labels `ODDS` times as likely. Of one source's kernels
        those with a linear part are used: several sources have many.

        Parameters
        ----------
        kernels : sequence of tuple of str
            Of one source.

        Returns
        -------
        list of tuple of str, list of float
            The maps of each kernel, and its prior for `regress`.
        """
        found, prior = [], []
        for chosen in subsets([part.name for part in self.parts]):
            for kernel in (each for each in kernels if LINEAR in each):
                found.append(tuple(f"{name}/{each}" for name in chosen for each in kernel))
                prior.append(-len(chosen) * float(np.log(ODDS)))
        return found, prior

    def __call__(self, bags: Bags) -> list[Singles]:
        """Embed areas; as `Embedding` does, for all maps of all sources."""
        found: list[Singles] = []
        for part, embedding, centres in zip(self.parts, self.embeddings, self.centres, strict=True):
            own, areas, share = bags.of_part(part)
            there = share.astype(np.float32)[:, None]
            vectors = embedding(own) if len(own.rows) else []
            for k, centre in enumerate(centres):
                whole = np.zeros((bags.count, len(centre)), np.float32)
                if vectors:
                    whole[areas] = (vectors[k] - centre) * there[areas]
                found.append(whole if k else np.concatenate([whole, there], axis=1))
        return found


def sources_of(kernel: Sequence[str]) -> frozenset[str]:
    """Give the sources whose maps a kernel of several sources sums."""
    return frozenset(name.partition("/")[0] for name in kernel)


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Give each name alone, all together, and all but one, each once."""
    whole = tuple(names)
    without = [tuple(other for other in names if other != name) for name in names]
    chosen = [*((name,) for name in names), whole, *without]
    return [each for each in dict.fromkeys(chosen) if each]


def embedding_of(bags: Bags, parts: Sequence[Part], seed: int) -> Embedding | JointEmbedding:
    """Measure the embedding of one source, or of several."""
    return JointEmbedding.of(bags, parts, seed) if parts else Embedding.of(bags, seed)


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
