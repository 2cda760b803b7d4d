"""A share of what a split learns from: stratified, and nested in every larger share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from streetgauge.seeds import derive_seed
from streetgauge.splits.folds import nested_share
from streetgauge.splits.split import Rows, Split

__all__ = ["take_share"]


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

    def taken(rows: Rows, part: str) -> Rows:
        if share == 0 or not len(rows):
            return rows[:0]
        chosen = nested_share(key[rows], target[rows], share, derive_seed(own, "share", part))
        return rows[chosen]

    training, validation = taken(split.training, "training"), taken(split.validation, "validation")
    before = np.concatenate([split.training, split.validation])
    out = np.setdiff1d(before, np.concatenate([training, validation]))
    why = f"it is not in the {share:.3g} that is learned from"
    out = np.union1d(out, split.excluded.get(why, out[:0]))  # a share of a share of the same size
    excluded = {**split.excluded, why: out} if len(out) else split.excluded
    return replace(split, training=training, validation=validation, excluded=excluded)
