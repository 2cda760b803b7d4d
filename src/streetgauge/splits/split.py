"""One split: the rows to train on, to stop early on and to test on; and a share of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streetgauge.seeds import derive_seed
from streetgauge.splits.folds import nested_share

__all__ = ["PARTS", "Rows", "Split", "take_share"]

Rows = NDArray[np.int64]
PARTS = ("training", "validation", "test")


@dataclass(frozen=True)
class Split:
    """One training: rows of three parts that share no area, unless it says so.

    Parameters
    ----------
    name : str
        A plain name, for it becomes a directory: ``fold-1``.., ``all``, ``train``, ``test``.
    fold : int
        Number that predictions of `test` carry, 1..; 0 where there is no test part.
    training, validation, test : array of int64
        Positions in the arrays that the split was made from, sorted. Each may be empty.
    excluded : mapping of str to array of int64
        Rows in none of the three parts, by the reason for it.
    label : str
        What is tested, where it has a name: a district, say.
    whole_areas : bool
        Whether no area may be in two parts. A split of single locations is made to leak, on
        purpose, and says so here.
    """

    name: str
    fold: int
    training: Rows
    validation: Rows
    test: Rows
    excluded: Mapping[str, Rows] = field(default_factory=dict)
    label: str = ""
    whole_areas: bool = True

    def map(self, change: Callable[[Rows], Rows]) -> Split:
        """Give the same split with the rows of every part changed."""
        excluded = {reason: change(rows) for reason, rows in self.excluded.items()}
        training, validation, test = (change(getattr(self, part)) for part in PARTS)
        return replace(self, training=training, validation=validation, test=test, excluded=excluded)


def take_share(split: Split, keys: ArrayLike, deciles: ArrayLike, share: float, seed: int) -> Split:
    """Let a split learn from a share of its areas only; what it tests stays as it is.

    Parameters
    ----------
    split : Split
        As `make_splits` gives it.
    keys : array, shape [N]
        What there is a share of: the area of every location, or its own key.
    deciles : array, shape [N, M]
        Classes of the area per outcome, NaN where missing.
    share : float
        Of the training areas and of the validation areas, 0 to 1: every label that is looked at
        counts. At least one area of each; none of either for 0.
    seed : int
        That of `make_splits`, which does no other for ``train_size``: the areas are then the same.

    Returns
    -------
    Split
        Locations of the other areas are in ``excluded``.
    """
    if share >= 1:
        return split
    key, target = np.asarray(keys), np.asarray(deciles, np.float64)
    own = derive_seed(seed, split.name)
    taken = {}
    for part in ("training", "validation"):
        rows = taken[part] = getattr(split, part)
        if len(rows) and share > 0:
            seed_here = derive_seed(own, "share", part)
            taken[part] = rows[nested_share(key[rows], target[rows], share, seed_here)]
        else:
            taken[part] = rows[:0]
    before = np.concatenate([split.training, split.validation])
    out = np.setdiff1d(before, np.concatenate(list(taken.values())))
    why = f"it is not in the {share:.3g} that is learned from"
    out = np.union1d(out, split.excluded.get(why, out[:0]))  # a share of a share of the same size
    excluded = {**split.excluded, why: out} if len(out) else split.excluded
    return replace(split, **taken, excluded=excluded)
