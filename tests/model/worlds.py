"""Three worlds of areas, locations and views whose outcomes are known functions of the features.

They are made before any learner is: each shows one thing that a learner must find.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DIMENSION = 8


@dataclass(frozen=True)
class World:
    """Features [N, V, D] of locations, each location's area 0..A-1, and deciles [A, 1]."""

    features: NDArray[np.float32]
    present: NDArray[np.bool_]
    area: NDArray[np.int64]
    deciles: NDArray[np.float64]

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean features of the areas [A, D]."""
        views = np.where(self.present[..., None], self.features, 0).sum(1, dtype=np.float64)
        views /= self.present.sum(1)[:, None]
        total = np.zeros((len(self.deciles), views.shape[1]))
        np.add.at(total, self.area, views)
        return total / np.bincount(self.area)[:, None]


def linear(seed: int, **size: int) -> World:
    """The outcome is a weighted sum of the area's mean features."""
    rng = np.random.default_rng([seed, 0])
    hidden, features, area = _hierarchy(rng, **size)
    return _world(rng, features, area, hidden @ rng.normal(size=DIMENSION))


def interaction(seed: int, **size: int) -> World:
    """The outcome is the product of two of the area's mean features; each alone says nothing."""
    rng = np.random.default_rng([seed, 1])
    hidden, features, area = _hierarchy(rng, **size)
    return _world(rng, features, area, hidden[:, 0] * hidden[:, 1])


def composition(seed: int, **size: int) -> World:
    """Views are of two kinds with equal means; the outcome is the share of one of them."""
    rng = np.random.default_rng([seed, 2])
    hidden, features, area = _hierarchy(rng, spread=0.0, **size)
    share = rng.uniform(0.1, 0.9, len(hidden))
    kind = rng.random(features.shape[:2]) < share[area][:, None]
    side = rng.choice([-1.5, 1.5], features.shape[:2])
    features[..., 0] += side
    features[..., 1] += np.where(kind, side, -side)
    return _world(rng, features, area, share)


WORLDS: dict[str, Callable[..., World]] = {
    "linear": linear,
    "interaction": interaction,
    "composition": composition,
}


def _hierarchy(
    rng: np.random.Generator,
    areas: int = 300,
    locations: int = 12,
    views: int = 4,
    spread: float = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Give each area's hidden features, and views that vary around them."""
    hidden = rng.normal(size=(areas, DIMENSION))
    area = np.repeat(np.arange(areas), locations)
    own = rng.normal(0, 0.7, (len(area), 1, DIMENSION))
    noise = rng.normal(0, 0.7, (len(area), views, DIMENSION))
    return hidden, spread * hidden[area][:, None] + own + noise, area


def _world(
    rng: np.random.Generator,
    features: NDArray[np.float64],
    area: NDArray[np.int64],
    value: NDArray[np.float64],
) -> World:
    value = value + rng.normal(0, 0.3 * value.std(), len(value))
    deciles = np.floor(value.argsort().argsort() / len(value) * 10)[:, None] + 1
    present = np.ones(features.shape[:2], np.bool_)
    return World(features.astype(np.float32), present, area, deciles)
