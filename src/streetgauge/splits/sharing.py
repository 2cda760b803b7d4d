"""What test and training parts share: the same image, the same feature vector, the same position.

Images are the same if their content is. Features that are the same show that images are, where no
content is known: in a table of features, or an image that was saved again. Coarse features, such as
a few counts, are also equal by chance. So a vector counts as recognised only if hardly any other
view would have it were its columns independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streetgauge.splits.folds import Rows, Split

if TYPE_CHECKING:
    from streetgauge.features.store import FeatureStore


Codes = NDArray[np.int64]
Flags = NDArray[np.bool_]

UNKNOWN = -1
BLOCK = 2**24  # numbers read at a time
SAMPLE = 2048  # vectors that show how common a value is
COLUMNS = 64  # of a vector, that are compared
CHANCE = 0.1  # views that may be expected to equal a vector by chance


@dataclass(frozen=True)
class ViewIdentity:
    """Which of R x V views are the same.

    Parameters
    ----------
    image : array of int64, shape [R, V]
        Equal where the images' content is; below 0 where it is not known, or there is no view.
    vector : array of int64, shape [R, V]
        Equal where the features are; below 0 where others may equal them by chance, or there is no
        view.
    """

    image: Codes
    vector: Codes

    @classmethod
    def of(cls, store: FeatureStore) -> Self:
        """Compare the views of a feature store that may be used."""
        there = np.asarray(store.present) & np.asarray(store.done)[:, None]
        row, view = np.nonzero(there)
        image, vector = np.full((2, *there.shape), UNKNOWN, np.int64)
        signatures = np.ascontiguousarray(store.signature[row, view])
        code = codes_of(signatures)
        code[~signatures.any(axis=1)] = UNKNOWN
        image[there] = code
        code = _numbered(np.concatenate([_hashes(each) for each in _blocks(store, there)]))
        again = np.flatnonzero(np.bincount(code, minlength=1)[code] > 1)
        _, first = np.unique(code[again], return_index=True)
        shown = again[first]
        spread = _spread(len(row), SAMPLE)
        columns = _spread(store.features.shape[2], COLUMNS)
        some, sample = (
            store.features[row[at, None], view[at, None], columns] for at in (shown, spread)
        )
        known = recognised(some, sample, len(row))
        code[np.isin(code, code[shown[~known]])] = UNKNOWN
        vector[there] = code
        return cls(image, vector)

    @classmethod
    def side_by_side(cls, sources: Sequence[tuple[ViewIdentity, Rows]]) -> Self:
        """Put the views of several sources side by side; those of two sources are never the same.

        Parameters
        ----------
        sources : sequence of (ViewIdentity, array of int64, shape [R])
            Each source's, and where it has each of the R rows, below 0 where it has not.
        """

        def joined(name: str) -> Codes:
            first, columns = 0, []
            for identity, rows in sources:
                codes = getattr(identity, name)
                known = (rows >= 0)[:, None] & (codes[rows] >= 0)
                columns.append(np.where(known, codes[rows] + first, UNKNOWN))
                first += int(codes.max(initial=UNKNOWN)) + 1
            return np.concatenate(columns, axis=1)

        return cls(joined("image"), joined("vector"))

    def shared(self, rows: Rows, others: Rows, present: Flags) -> Flags:
        """Flag the views of some rows that also stand in other rows: [n, V].

        Parameters
        ----------
        rows, others : array of int64, shape [n], [m]
        present : array of bool, shape [R, V]
            Which views are used.
        """
        found = np.zeros((len(rows), present.shape[1]), np.bool_)
        for codes in (self.image, self.vector):
            found |= _stands_in(codes, rows, others, present)
        return found

    def in_several(self, rows: Rows, areas: NDArray[Any], present: Flags) -> Flags:
        """Flag the views of some rows that also stand in a row of another area: [n, V].

        Parameters
        ----------
        rows : array of int64, shape [n]
        areas : array of str, shape [n]
            Of each row.
        present : array of bool, shape [R, V]
            Which views are used.
        """
        used = present[rows]
        found = np.zeros_like(used)
        area = np.broadcast_to(pd.factorize(areas)[0][:, None], used.shape)
        for codes in (self.image, self.vector):
            known = used & (codes[rows] >= 0)
            own = pd.Series(area[known]).groupby(codes[rows][known])
            found[known] |= own.transform("nunique").to_numpy() > 1
        return found


def codes_of(vectors: NDArray[Any]) -> Codes:
    """Give each of the vectors [n, D] a number: the same where their bytes are."""
    return _numbered(_hashes(vectors))


def recognised_codes(vectors: NDArray[Any]) -> Codes:
    """Give vectors [n, D] numbers as `codes_of`, below 0 where others may equal them by chance."""
    return np.where(
        recognised(vectors, vectors[_spread(len(vectors), SAMPLE)], len(vectors)),
        codes_of(vectors),
        UNKNOWN,
    )


def recognised(vectors: NDArray[Any], sample: NDArray[Any], n: int) -> Flags:
    """Tell which vectors are no coincidence where they stand twice: [K].

    None whose numbers are all the same is.

    Parameters
    ----------
    vectors : array, shape [K, D]
    sample : array, shape [S, D]
        Of all vectors.
    n : int
        How many there are.
    """
    columns = _spread(sample.shape[1], COLUMNS)
    expected = np.full(len(vectors), np.log(max(n, 1)))
    for column in columns if len(vectors) else ():
        values = np.sort(sample[:, column])
        ends = [np.searchsorted(values, vectors[:, column], side) for side in ("left", "right")]
        expected += np.log((ends[1] - ends[0] + 1) / (len(sample) + 1))
    varied: Flags = (vectors != vectors[:, :1]).any(axis=1)  # all zeros: nothing was seen
    varied &= expected < np.log(CHANCE)
    return varied


def count_shared(
    identity: ViewIdentity, split: Split, rows: Rows, present: Flags, position: Codes
) -> dict[str, int]:
    """Count what a split's test part shares with what its network is trained on.

    Parameters
    ----------
    identity : ViewIdentity
        By row of the features.
    split : Split
        Of N locations.
    rows : array of int64, shape [N]
        Each location's row of the features.
    present : array of bool, shape [R, V]
        Which views are used.
    position : array of int64, shape [N]
        Equal where coordinates are; below 0 where they are not known.

    Returns
    -------
    dict
        ``fold``; ``tested`` locations and how many of them share any of their ``images``,
        ``vectors``, ``either``, or their ``coordinates``, with a location of the training or
        validation part; ``training_views`` of these, and ``training_shared``, those that stand in
        the test part.
    """
    known = np.concatenate([split.training, split.validation])
    tested, trained = rows[split.test], rows[known]
    codes = (identity.image, identity.vector)
    images, vectors = (_stands_in(each, tested, trained, present).any(axis=1) for each in codes)
    own = position[split.test]
    placed = (own >= 0) & np.isin(own, position[known])
    return {
        "fold": split.fold,
        "tested": len(tested),
        "images": int(images.sum()),
        "vectors": int(vectors.sum()),
        "either": int((images | vectors).sum()),
        "coordinates": int(placed.sum()),
        "training_views": int(present[trained].sum()),
        "training_shared": int(identity.shared(trained, tested, present).sum()),
    }


def _stands_in(codes: Codes, rows: Rows, others: Rows, present: Flags) -> Flags:
    """Flag the known codes of some rows that other rows have as well."""
    found = np.isin(codes[rows], codes[others][present[others]])
    found &= present[rows] & (codes[rows] >= 0)
    return found


def _spread(n: int, most: int) -> Rows:
    """Give at most so many of n positions, evenly spread over them."""
    return np.linspace(0, max(n - 1, 0), min(n, most)).astype(np.int64)


def _numbered(hashes: NDArray[np.uint64]) -> Codes:
    return pd.factorize(hashes)[0].astype(np.int64)


def _hashes(vectors: NDArray[Any]) -> NDArray[np.uint64]:
    hashes = [blake2b(each.tobytes(), digest_size=8).digest() for each in vectors]
    return np.frombuffer(b"".join(hashes), np.uint64)


def _blocks(store: FeatureStore, there: Flags) -> Iterator[NDArray[Any]]:
    """Read the features of the views that are there, a block of locations at a time."""
    step = max(BLOCK // store.features[0].size, 1)
    for start in range(0, len(there), step):
        part = slice(start, start + step)
        yield np.asarray(store.features[part])[there[part]]
