"""A seed of its own for every purpose, from the study's one seed."""

from __future__ import annotations

from typing import Any

import numpy as np


def derive_seed(seed: int, *purpose: str) -> int:
    """Make a seed of its own for each purpose from the study's one seed."""
    words = [byte for word in purpose for byte in (*word.encode(), 0)]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0] >> 1)


def seed_of(random_state: Any) -> int:
    """Give the seed that a scikit-learn estimator's ``random_state`` stands for."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    from sklearn.utils import check_random_state  # it takes a second to load

    return int(check_random_state(random_state).randint(2**31 - 1))
