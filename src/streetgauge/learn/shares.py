"""A share of the areas that a split learns from: stratified, and nested in every larger share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streetgauge.learn._seeds import derive_seed
from streetgauge.learn.folds import nested_share
from streetgauge.learn.splits import Split

__all__ = ["take_share"]

Rows = NDArray[np.int64]


def take_share(
    split: Split, areas: ArrayLike, deciles: ArrayLike, share: float, seed: int
) -> Split:
    """Let a split learn from a share of its areas only; what it tests stays as it is.

    Parameters
    ----------
    split : Split
        As `make_splits` gives it.
    areas : array of str, shape [N]
        The area of every location.
    deciles : array, shape [N, M]
        Classes of the area per outcome, NaN where missing.
    share : float
        Of the training areas and of the validation areas, 0 to 1: every label that is looked at
        counts. At least one area of each; none of either for 0.
    seed : int
        That of `make_splits`: the areas are then those of its ``train_size``.

    Returns
    -------
    Split
        Locations of the other areas are in ``left_out``.
    """
    if share >= 1:
        return split
    area, target = np.asarray(areas), np.asarray(deciles, np.float64)
    own = derive_seed(seed, split.name)

    def taken(rows: Rows, part: str) -> Rows:
        if share == 0 or not len(rows):
            return rows[:0]
        chosen = nested_share(area[rows], target[rows], share, derive_seed(own, "share", part))
        return rows[chosen]

    training, validation = taken(split.training, "training"), taken(split.validation, "validation")
    before = np.concatenate([split.training, split.validation])
    out = np.setdiff1d(before, np.concatenate([training, validation]))
    left_out = {**split.left_out, f"it is not in the {share:.3g} that is learned from": out}
    return replace(split, training=training, validation=validation, left_out=left_out)
