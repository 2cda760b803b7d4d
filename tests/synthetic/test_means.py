"""Mean features of simulated areas are the means of simulated features."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from streetgauge.synthetic import simulate_features
from streetgauge.synthetic.means import Noise, noise_of_scores, simulate_area_means

AREAS = [f"A{i:04d}" for i in range(400)]
DECILES = pd.DataFrame(
    {
        "x": np.random.default_rng(0).permutation(np.arange(400) % 10 + 1).astype(float),
        "y": np.random.default_rng(1).permutation(np.arange(400) % 10 + 1).astype(float),
    },
    index=pd.Index(AREAS, name="area"),
)


def means_of_locations(n: int, views: int, signal: float, dimension: int) -> np.ndarray:
    """Give what averaging simulated features of locations gives."""
    ids = [f"{area}-{i}" for area in AREAS for i in range(n)]
    areas = np.repeat(AREAS, n)
    labels = DECILES.loc[areas].set_axis(pd.Index(ids, name="location_id"))
    features = simulate_features(
        labels, areas, dimension=dimension, views=views, signal=signal, seed=5
    )
    return features.mean(axis=1).reshape(len(AREAS), n, dimension).mean(axis=1)


@pytest.mark.parametrize(("n", "views"), [(1, 1), (5, 2)])
def test_area_means_are_distributed_as_means_of_simulated_features(n: int, views: int) -> None:
    plain = means_of_locations(n, views, 0.3, 24)
    quick = simulate_area_means(
        DECILES, pd.Series(n, AREAS), views, {"x": 0.3, "y": 0.3}, dimension=24, seed=5
    ).to_numpy()
    truth = (DECILES.to_numpy() - 5.5) / np.sqrt(99 / 12)

    def told(features: np.ndarray) -> tuple[float, float, float]:
        """Variance that truth explains, of the channels beside it, and of the rest."""
        design = np.column_stack([np.ones(len(truth)), truth])
        fit = design @ np.linalg.lstsq(design, features, rcond=None)[0]
        left = np.linalg.svd(features - fit, compute_uv=False) ** 2 / len(truth)
        return float(((fit - fit.mean(0)) ** 2).sum() / len(truth)), left[:2].sum(), left[2:].sum()

    for one, other in zip(told(plain), told(quick), strict=True):
        assert one == pytest.approx(other, rel=0.12)


def test_area_means_do_not_depend_on_the_order_and_share_draws() -> None:
    size = pd.Series(np.arange(400) % 7 + 1, AREAS)
    signal = {"x": 0.2, "y": 0.6}
    found = simulate_area_means(DECILES, size, 2, signal, dimension=8, seed=(1, 2))
    shuffled = DECILES.sample(frac=1, random_state=0)
    again = simulate_area_means(
        shuffled, size.sample(frac=1, random_state=1), 2, signal, dimension=8, seed=(1, 2)
    )
    pd.testing.assert_frame_equal(found, again)
    assert not found.equals(simulate_area_means(DECILES, size, 2, signal, dimension=8, seed=(1, 3)))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6])
def test_the_areas_share_of_the_noise_is_found_in_scores(share: float) -> None:
    rng = np.random.default_rng(0)
    size = rng.integers(1, 12, len(AREAS))
    area = np.repeat(np.arange(len(AREAS)), size)
    noise = np.sqrt(share) * rng.normal(size=len(AREAS))[area]
    noise += np.sqrt(1 - share) * rng.normal(size=len(area))
    truth = DECILES["x"].to_numpy()[area]
    fold = area % 5 + 1
    frame = pd.DataFrame(
        {
            "location_id": [f"L{i}" for i in range(len(area))],
            "area": np.array(AREAS)[area],
            "fold": fold,
            "actual_decile": pd.array(truth.astype(int), dtype="Int64"),
            "score": 0.4 * truth + 3.0 * fold + noise,  # folds need not be on one scale
        }
    )
    found = noise_of_scores(frame)
    assert found == pytest.approx(share, abs=0.06)
    assert noise_of_scores(frame.sample(frac=1, random_state=0)) == found
    assert noise_of_scores(frame.drop_duplicates("area")) is None


def test_noise_is_split_so_that_the_area_has_its_share() -> None:
    usual = Noise()
    for views in (1, 4):
        whole = float(usual.of_area(1, views))
        again = Noise.split(usual.area / whole, views)
        assert again.area == pytest.approx(usual.area)
        assert again.location == pytest.approx(usual.location)
    assert Noise.split(0.0, 4).area == 0
    assert Noise.split(1.0, 4).area == 1
    assert float(usual.of_area(10**9, 4)) == pytest.approx(usual.area)
