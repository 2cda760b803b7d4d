"""Products of areas' vectors with each other and with labels, summed over training areas.

Training sets of folds have most areas in common. What is summed over all areas is computed once for
them; a training set then needs the sum over the few areas that it lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Vectors = NDArray[Any]  # of any float type; products are in float64
Rows = NDArray[np.int64]

BLOCK = 4096  # areas whose vectors are in float64 at a time


class Totals:
    """Products of two maps, summed over all areas, each computed once."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], tuple[Floats, Vectors, Vectors]] = {}

    def cross(self, one: Vectors, other: Vectors) -> Floats:
        """Give the sum over all areas: [W, W']."""
        key = (id(one), id(other))  # the maps are kept, so that no other gets their identity
        if key not in self._found:
            self._found[key] = (_cross(one, other, np.arange(len(one))), one, other)
        return self._found[key][0]


@dataclass(frozen=True)
class Selection:
    """The training areas among those that maps have.

    Parameters
    ----------
    rows : array of int64
        Their rows in the maps.
    totals : Totals, optional
        Shared by all selections from the same maps.
    """

    rows: Rows
    totals: Totals | None = None

    def among(self, wanted: NDArray[np.bool_]) -> Selection:
        """Give some of these areas."""
        return Selection(self.rows[wanted], self.totals)

    def cross(self, one: Vectors, other: Vectors) -> Floats:
        """Give the products of two maps, summed over these areas: [W, W']."""
        if self.totals is None or 2 * len(self.rows) <= len(one):
            return _cross(one, other, self.rows)
        lacking = np.delete(np.arange(len(one)), self.rows)
        return self.totals.cross(one, other) - _cross(one, other, lacking)


def _cross(one: Vectors, other: Vectors, rows: Rows, root: Floats | None = None) -> Floats:
    """Sum products over rows, each times a root of its weight if given."""
    found = np.zeros((one.shape[1], other.shape[1]))
    for first in range(0, len(rows), BLOCK):
        block = slice(first, first + BLOCK)
        left = _block(one, rows, root, block)
        found += left.T @ (left if other is one else _block(other, rows, root, block))
    return found


def _block(vectors: Vectors, rows: Rows, root: Floats | None, block: slice) -> Floats:
    """Give a block of rows in float64; the mean is taken out of sums, where it costs less."""
    found: Floats = vectors[rows[block]].astype(np.float64)
    return found if root is None else root[block] * found


@dataclass(eq=False)
class Products:
    """Products of the maps of training areas with each other and with labels, each computed once.

    The kernels of a regression are sums of the same few maps, each with a factor of its own, and so
    are their products. Maps and labels are less their weighted means, and times the root of the
    weight; a block of areas at a time is in float64.

    Parameters
    ----------
    maps : sequence of array of float32, shape [A, W]
        Of all areas.
    labels : array of float64, shape [T, M]
        Of the training areas.
    weight : array of float64, shape [T]
    selection : Selection
        The rows of the training areas.
    """

    maps: Sequence[Vectors]
    labels: Floats
    weight: Floats
    selection: Selection
    _found: dict[tuple[str, int, int], Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = np.sqrt(self.weight)[:, None]
        self.even = bool((self.weight == 1).all())
        self.share = self.weight / self.weight.sum()
        self.labels = self.root * (self.labels - self.share @ self.labels)

    def _once(self, name: str, one: int, other: int, compute: Callable[[], Floats]) -> Floats:
        key = (name, one, other)
        if key not in self._found:
            self._found[key] = compute()
        return self._found[key]

    def _blocks(self) -> Iterator[slice]:
        return (slice(a, a + BLOCK) for a in range(0, len(self.root), BLOCK))

    def centre(self, part: int) -> Floats:
        """Give the weighted mean of a map's vectors: [W]."""

        def compute() -> Floats:
            map_, rows = self.maps[part], self.selection.rows
            each = (self.share[block] @ map_[rows[block]] for block in self._blocks())
            return sum(each, np.zeros(map_.shape[1]))

        return self._once("centre", part, part, compute)

    def rows(self, part: int) -> Floats:
        """Give a map's vectors themselves: [T, W]."""
        return self._once(
            "rows",
            part,
            part,
            lambda: self.root * (self.maps[part][self.selection.rows] - self.centre(part)),
        )

    def inner(self, part: int) -> Floats:
        """Give the products of areas: [T, T]."""
        return self._once("inner", part, part, lambda: self.rows(part) @ self.rows(part).T)

    def gram(self, parts: Sequence[int], factors: Sequence[float]) -> Floats:
        """Give the products of the features of these maps, each times its factor: [W, W]."""
        used = [*zip(parts, factors, strict=True)]
        return np.block([[self.cross(p, q) * (f * g) for q, g in used] for p, f in used])

    def cross(self, one: int, other: int) -> Floats:
        """Give the products of two maps, summed over areas: [W, W']."""
        if other < one:
            return self.cross(other, one).T

        def compute() -> Floats:
            means = np.outer(self.centre(one), self.centre(other))
            return (
                self._summed(self.maps[one], self.maps[other]) - float((self.root**2).sum()) * means
            )

        return self._once("cross", one, other, compute)

    def _summed(self, one: Vectors, other: Vectors) -> Floats:
        if self.even:
            return self.selection.cross(one, other)
        return _cross(one, other, self.selection.rows, self.root)

    def pull(self, part: int) -> Floats:
        """Give the products of a map and the labels, summed over areas: [W, M]."""

        def compute() -> Floats:
            map_, rows = self.maps[part], self.selection.rows
            root = None if self.even else self.root
            each = (_block(map_, rows, root, b).T @ self.labels[b] for b in self._blocks())
            return sum(each, np.zeros((map_.shape[1], self.labels.shape[1])))

        return self._once("pull", part, part, compute)


def scale_of(vectors: Vectors, selection: Selection) -> tuple[Floats, float]:
    """Give the mean of the selected areas' vectors [W], and their mean square norm about it."""
    own = vectors[selection.rows]
    mean = own.mean(axis=0, dtype=np.float64)
    blocks = (own[first : first + BLOCK] - mean for first in range(0, len(own), BLOCK))
    return mean, sum(float(np.einsum("aw,aw->", each, each)) for each in blocks) / len(own)
