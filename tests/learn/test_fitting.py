from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streetgauge.learn import fit_model, make_splits
from streetgauge.learn.fitting import _areas_alike
from streetgauge.settings import FoldSettings, TrainSettings


def test_areas_weigh_the_same_however_many_locations_they_have() -> None:
    areas = np.array(["a", "b", "b", "c", "c", "c", "x"], object)
    pool = np.array([5, 0, 1, 2, 3, 4])  # x is tested
    weight = _areas_alike(areas, pool, None)
    np.testing.assert_allclose(weight, [1, 1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3, 0])
    own = _areas_alike(areas, pool, [1, 2, 2, 0, 3, 3, 1])
    np.testing.assert_allclose(own, [1, 1, 1, 0, 1, 1, 0])


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize(("equal", "sign"), [("areas", 1), ("locations", -1)])
def test_many_small_areas_or_few_large_ones_say_which_way_the_score_goes(
    members: int, equal: Any, sign: int
) -> None:
    """Sixty small areas are better off with the feature, eight large ones worse."""
    rng = np.random.default_rng(0)
    sizes = np.r_[np.full(60, 2), np.full(8, 80)]
    way = np.repeat(np.r_[np.ones(60), -np.ones(8)], sizes)
    decile = np.repeat(np.r_[np.arange(60) % 10 + 1, [1, 2, 3, 4, 7, 8, 9, 10]], sizes)
    x = way * (decile - 5.5) + rng.normal(size=len(way))
    features = np.repeat(x[:, None, None], 2, 1).astype(np.float32)
    areas = np.repeat([f"A{i:02d}" for i in range(68)], sizes)
    deciles = decile[:, None].astype(float)
    folds = FoldSettings(scheme="train-only", validation=0.3)
    (split,) = make_splits(folds, areas, deciles, seed=1)
    settings = TrainSettings(equal=equal, members=members, epochs=12, batch=32, device="cpu")
    present = np.ones(features.shape[:2], np.bool_)
    model, _ = fit_model(features, present, deciles, areas, split, ["y"], settings, seed=1)
    probe = np.linspace(-4, 4, 9, dtype=np.float32)[:, None, None].repeat(2, 1)
    said = model.predict(probe, np.ones(probe.shape[:2], np.bool_)).score[:, 0]
    assert np.sign(said[-1] - said[0]) == sign
