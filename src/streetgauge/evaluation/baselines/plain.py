"""Guesses that know nothing of an area: the middle, and chance."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from streetgauge.evaluation.baselines.folds import Floats, out_of_fold

__all__ = ["Chance", "constant", "middle"]


def middle(training: pd.Series, asked: pd.Index) -> Floats:
    """Guess the median decile of the training areas; a `Method`.

    The lower median where two deciles are in the middle: a decile, and no other has a lower MAE.
    """
    known = np.sort(training.to_numpy())
    return np.full(len(asked), known[(known.size - 1) // 2])


class Chance:
    """Guess at random, uniformly; a `Method`. What is guessed belongs to the area, not to a row."""

    def __init__(self, seed: int, name: str) -> None:
        self.key = hashlib.sha256(f"{seed} {name}".encode()).hexdigest()[:16]

    def __call__(self, training: pd.Series, asked: pd.Index) -> Floats:
        """Guess: see `Method`."""
        words = pd.util.hash_array(asked.to_numpy(object), hash_key=self.key, categorize=False)
        return words.astype(np.float64) / 2**64


def constant(actual: pd.Series, fold: pd.Series, learned: pd.DataFrame | None = None) -> pd.Series:
    """Give every area the median decile of the training areas.

    Parameters
    ----------
    actual, fold, learned
        As for `Folds`.

    Returns
    -------
    Series by area, Int64
        Missing for the areas of a fold that leaves no area with an actual decile to train on.
    """
    return out_of_fold(middle, actual, fold, learned).astype("Int64")
