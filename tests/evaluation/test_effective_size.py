"""As many independent areas as the likeness of neighbours allows, also of very many areas."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from streetgauge.evaluation import effective_size
from streetgauge.evaluation.effective_size import count_effective

Floats = npt.NDArray[np.float64]


def smooth(points: Floats, reach: float, rng: np.random.Generator) -> Floats:
    """Make a map in which areas that are nearer than ``reach`` are alike."""
    waves, phases = rng.normal(size=(200, 2)) / reach, rng.uniform(0, 2 * np.pi, 200)
    return np.asarray(np.cos(points @ waves.T + phases).sum(axis=1) / 10)


def world(n: int, seed: int) -> tuple[Floats, Floats, dict[str, Floats]]:
    """Make areas, half of them in towns, three maps, and two contrasts: smooth, and one district.

    Returns
    -------
    points, scaled, contrasts
    """
    rng = np.random.default_rng(seed)
    towns = rng.uniform(0, 500_000, (60, 2))[rng.integers(0, 60, n // 2)]
    points = np.concatenate(
        [towns + rng.normal(0, 5000, towns.shape), rng.uniform(0, 500_000, (n - n // 2, 2))]
    )
    reaches = (3_000, 20_000, 100_000)
    maps = [smooth(points, reach, rng) + 0.7 * rng.normal(size=n) for reach in reaches]
    scaled = np.stack([(each - each.mean()) / each.std() for each in maps], axis=1)
    far = np.hypot(*(points - points[n // 2 - 5]).T)
    groups = {"smooth": smooth(points, 20_000, rng) > 0.8, "district": far < np.sort(far)[n // 10]}
    contrasts = {name: own / own.sum() - ~own / (~own).sum() for name, own in groups.items()}
    return points, scaled, contrasts


def by_hand(points: Floats, scaled: Floats, contrast: Floats) -> Floats:
    """Sum over all pairs, one class of distance after the other."""
    n = len(points)
    distances = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    ordered = np.sort(distances, axis=1).mean(axis=0)
    ends, many = [], 6
    while many < n - 1:
        ends.append(ordered[many])
        many = 2 * many + 6
    variance = np.full(scaled.shape[1], float(contrast @ contrast))
    for low, high in zip([-1.0, *ends], [*ends, np.inf], strict=True):
        pairs = (distances > low) & (distances <= high)
        np.fill_diagonal(pairs, False)
        if pairs.any():
            covariance = np.einsum("ik,ij,jk->k", scaled, pairs, scaled) / pairs.sum()
            variance += (contrast @ pairs @ contrast) * covariance
    effective = 1 + (n - 1) * (contrast @ contrast) / variance.clip(contrast @ contrast)
    return np.asarray(effective.clip(3, n))


@pytest.mark.parametrize("group", ["smooth", "district"])
def test_few_areas_are_counted_by_the_distance_of_each_pair(group: str) -> None:
    points, scaled, contrasts = world(400, seed=1)
    found = count_effective(scaled, contrasts[group], pd.DataFrame(points, columns=["x", "y"]))
    np.testing.assert_allclose(found, by_hand(points, scaled, contrasts[group]), rtol=1e-9)
    assert (found < 390).all()


@pytest.mark.parametrize("group", ["smooth", "district"])
@pytest.mark.parametrize("n", [2_100, 4_000])
def test_of_many_areas_the_count_is_within_five_per_cent_of_that_of_each_pair(
    group: str, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    points, scaled, contrasts = world(n, seed=n)
    xy = pd.DataFrame(points, columns=["x", "y"])
    assert n > effective_size.EXACT
    quick = count_effective(scaled, contrasts[group], xy)
    monkeypatch.setattr(effective_size, "EXACT", n)
    effective_size._pairs_of.cache_clear()
    exact = count_effective(scaled, contrasts[group], xy)
    np.testing.assert_allclose(quick, exact, rtol=0.05)
    assert (quick != exact).any()
    effective_size._pairs_of.cache_clear()


def test_every_pair_of_many_areas_is_counted_once_also_of_areas_at_one_point() -> None:
    points, _, _ = world(9_000, seed=3)
    points[100:300] = points[100]
    pairs = effective_size._Pairs(points)
    assert pairs.counts.sum() == 9_000 * 8_999
    # What is not near is less than all: else nothing would be saved.
    assert sum(each.nnz for each in pairs.near) < 9_000 * 1_500


def test_the_order_of_many_areas_changes_nothing() -> None:
    points, scaled, contrasts = world(2_500, seed=4)
    order = np.random.default_rng(0).permutation(2_500)
    xy = pd.DataFrame(points, columns=["x", "y"])
    found = count_effective(scaled, contrasts["smooth"], xy)
    mixed = count_effective(scaled[order], contrasts["smooth"][order], xy.iloc[order])
    np.testing.assert_allclose(mixed, found, rtol=0.02)  # the classes are drawn from some areas
