"""A seed of its own for every purpose, from the study's one seed."""

from __future__ import annotations

import numpy as np


def derive_seed(seed: int, *purpose: str) -> int:
    """Make a seed of its own for each purpose from the study's one seed."""
    words = [byte for word in purpose for byte in (*word.encode(), 0)]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0] >> 1)
