"""A small city with a known answer: features follow the deciles, plus noise and area effects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest


@dataclass(frozen=True)
class World:
    features: np.ndarray
    present: np.ndarray
    deciles: np.ndarray
    areas: np.ndarray
    ids: np.ndarray

    def take(self, rows: np.ndarray) -> World:
        return replace(self, **{name: array[rows] for name, array in vars(self).items()})


def build_world(
    n_areas: int = 40,
    per_area: int = 6,
    views: int = 3,
    dimension: int = 8,
    outcomes: int = 2,
    noise: float = 0.7,
    seed: int = 0,
) -> World:
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n_areas, outcomes))
    ranks = latent.argsort(axis=0).argsort(axis=0)
    deciles = ranks * 10 // n_areas + 1.0
    area = np.repeat(np.arange(n_areas), per_area)
    mix = rng.normal(size=(outcomes, dimension))
    mean = latent @ mix + 0.2 * rng.normal(size=(n_areas, dimension))
    shape = (len(area), views, dimension)
    features = mean[area][:, np.newaxis] + noise * rng.normal(size=shape)
    return World(
        features=(5 + 3 * features).astype(np.float32),  # far from standardised
        present=np.ones(shape[:2], np.bool_),
        deciles=deciles[area],
        areas=np.array([f"A{i:03d}" for i in area]),
        ids=np.array([f"L{i:05d}" for i in range(len(area))]),
    )


@pytest.fixture(scope="session")
def make_world() -> Callable[..., Any]:
    return build_world
