"""Simulated images for a real area table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.synthetic import Model, simulate_images
from streetgauge.synthetic.dress import latents_of_deciles
from streetgauge.synthetic.model import LATENTS, OUTCOMES

TINY = {"size": (48, 36), "workers": 1}


def _table() -> tuple[pd.DataFrame, pd.DataFrame]:
    locations = pd.DataFrame(
        {"location_id": [f"BR1{i}" for i in range(6)], "area": ["E1", "E1", "E2", "E2", "E3", "E3"]}
    )
    deciles = pd.DataFrame(
        {"income": [1.0, 1, 10, 10, 5, 5], "noise_complaints": [2.0, 2, np.nan, np.nan, 7, 7]},
        index=pd.Index(locations["location_id"]),
    )
    return locations, deciles


def test_every_location_gets_four_images_and_a_best_score(tmp_path: Path) -> None:
    locations, deciles = _table()
    oracle = simulate_images(locations, tmp_path, deciles, **TINY)
    assert len(list(tmp_path.glob("*.jpg"))) == 24
    assert list(oracle.columns) == ["location_id", "income", "noise_complaints"]
    assert oracle.notna().all(axis=None)


def test_shuffled_locations_have_the_same_images(tmp_path: Path) -> None:
    locations, deciles = _table()
    simulate_images(locations, tmp_path / "a", deciles, **TINY)
    simulate_images(locations.iloc[::-1], tmp_path / "b", deciles.iloc[[3, 1, 2, 0, 5, 4]], **TINY)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_latents_follow_the_deciles() -> None:
    rng = np.random.default_rng(1)
    deciles = pd.DataFrame({"income": rng.integers(1, 11, 3000).astype(float)})
    areas = [f"E{i}" for i in range(3000)]
    latents = latents_of_deciles(deciles, areas, [OUTCOMES.index("income")], Model(), 3)
    affluence = latents[:, LATENTS.index("affluence")]
    assert np.corrcoef(affluence, deciles["income"])[0, 1] > 0.8
    np.testing.assert_allclose(latents.std(axis=0), 1, atol=0.08)
    np.testing.assert_allclose(np.corrcoef(latents.T), Model().correlation, atol=0.08)


def test_unknown_deciles_leave_latents_free() -> None:
    deciles = pd.DataFrame({"income": np.full(2000, np.nan)})
    latents = latents_of_deciles(deciles, [f"E{i}" for i in range(2000)], [0], Model(), 3)
    np.testing.assert_allclose(latents.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(np.cov(latents.T), Model().correlation, atol=0.1)


def test_locations_of_an_area_share_its_latents() -> None:
    deciles = pd.DataFrame({"income": [3.0, 3, 3]})
    latents = latents_of_deciles(deciles, ["E1", "E2", "E1"], [0], Model(), 3)
    np.testing.assert_array_equal(latents[0], latents[2])
    assert not np.allclose(latents[0], latents[1])


def test_what_cannot_be_dressed_is_refused(tmp_path: Path) -> None:
    locations, deciles = _table()
    twice = pd.concat([locations, locations.iloc[[2]]])
    with pytest.raises(InputError, match="'BR12' stands twice"):
        simulate_images(twice, tmp_path, deciles, **TINY)
    with pytest.raises(InputError, match="'BR10' has no row"):
        simulate_images(locations, tmp_path, deciles.iloc[1:], **TINY)
    with pytest.raises(InputError, match="'wealth'"):
        simulate_images(locations, tmp_path, deciles, kinds={"income": "wealth"}, **TINY)
