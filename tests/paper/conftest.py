"""Worlds with a known answer: a city whose features follow its deciles, images of one colour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

from small_worlds import OUTCOMES, SplitRows
from streetgauge.features import Extraction, extract, get_backbone
from streetgauge.imagery import find_views
from streetgauge.settings import ImagerySettings


@dataclass(frozen=True)
class City(SplitRows):
    """Arrays by location; deciles [N, 2] of the location's area, features [N, views, D]."""

    ids: np.ndarray
    areas: np.ndarray
    msoas: np.ndarray
    deciles: np.ndarray
    features: np.ndarray
    present: np.ndarray

    outcomes = OUTCOMES


def build_city(
    n_areas: int = 60,
    per_area: int = 6,
    views: int = 4,
    dimension: int = 12,
    noise: float = 0.7,
    light: float = 0.0,
    unlike: float = 0.0,
    missing: float = 0.0,
    seed: int = 0,
) -> City:
    """Build areas of 1 to about twice `per_area` locations, in any order, three areas an MSOA.

    Every city shows its outcomes in the same way, but for what is `unlike`; `light` moves all its
    features alike.
    """
    rng, same = np.random.default_rng(seed), np.random.default_rng(99)
    latent = rng.normal(size=(n_areas, 2))
    deciles = latent.argsort(axis=0).argsort(axis=0) * 10 // n_areas + 1.0
    deciles[rng.random(deciles.shape) < missing] = np.nan
    sizes = rng.integers(1, 2 * per_area, n_areas)
    area = rng.permutation(np.repeat(np.arange(n_areas), sizes))
    mix, other = same.normal(size=(2, 2, dimension))
    shown = latent @ (mix + unlike * other) + light * same.normal(size=dimension)
    shape = (len(area), views, dimension)
    features = shown[area][:, np.newaxis] + noise * rng.normal(size=shape)
    names = rng.permutation(n_areas)
    return City(
        ids=np.array([f"P{i:05d}" for i in rng.permutation(len(area))], object),
        areas=np.array([f"E{names[i]:04d}" for i in area], object),
        msoas=np.array([f"M{i // 3:04d}" for i in area], object),
        deciles=deciles[area],
        features=(8 * features - 5).astype(np.float32),  # about as fc6 is
        present=np.ones(shape[:2], np.bool_),
    )


@pytest.fixture(scope="session")
def make_city() -> Callable[..., City]:
    """Give the function that builds such a city."""
    return build_city


VIEWS = ("a", "b", "c", "d")


@dataclass
class StandIn:
    """A network that is a function of prepared images, in place of VGG16."""

    function: Callable[[np.ndarray], np.ndarray]
    backbone: Any
    engine, precision, device, cosine, batch = "torch", "float32", "cpu", 1.0, 4

    def features(self, images: np.ndarray) -> np.ndarray:
        return self.function(images)


@pytest.fixture
def extract_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., pd.DataFrame]:
    """Give a function that extracts a folder's images with such a network into features.h5."""

    def call(
        function: Callable[[np.ndarray], np.ndarray],
        folder: Path,
        pattern: str,
        ids: list[str],
        require: Literal["all", "any"] = "all",
    ) -> pd.DataFrame:
        (folder / "weights").write_bytes(b"not looked at")
        backbone = get_backbone("vgg16-caffe-fc6", weights=folder / "weights")
        monkeypatch.setattr(extract, "load_network", lambda *_: StandIn(function, backbone))
        imagery = ImagerySettings(folder=folder, pattern=pattern, views=VIEWS, require=require)
        views, _ = find_views(imagery, ids)
        about = {"view_names": VIEWS, "require": require, "device": "cpu", "engine": "torch"}
        return extract.extract_features(
            Extraction(views, ids, folder / "features.h5", backbone, cache_key="s", **about)
        )

    return call
