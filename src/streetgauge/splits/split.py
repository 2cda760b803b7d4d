"""One split: the rows that a network learns from, that tell it when to stop, that test it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "Split"]

Rows = NDArray[np.int64]


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
