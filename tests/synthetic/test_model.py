"""The linear Gaussian model behind the city, and its oracle."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from streetgauge.synthetic import LATENTS, OUTCOMES, VISIBLE, LatentModel
from streetgauge.synthetic.model import _SHOWS


def _world(model: LatentModel, areas: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the locations' areas [N, M] and what the views show [N, V, K]."""
    rng = np.random.default_rng(3)
    root = np.linalg.cholesky(model.correlation)
    latents = rng.standard_normal((areas, len(LATENTS))) @ root.T
    noise = rng.standard_normal((areas, len(OUTCOMES))) * np.sqrt(1 - model.explained)
    scores = latents @ model.effects.T + noise
    owner = np.repeat(np.arange(areas), each)
    within = rng.standard_normal((len(owner), len(LATENTS))) @ root.T
    shown = model.show(
        latents[owner] + np.sqrt(model.spread) * within,
        rng.standard_normal((len(owner), len(VISIBLE))),
        rng.standard_normal((len(owner), model.views, len(VISIBLE))),
    )
    return scores[owner], shown


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray]:
    return _world(LatentModel(), 6000, 3)


def test_scores_and_what_is_shown_have_variance_one(
    world: tuple[np.ndarray, np.ndarray],
) -> None:
    scores, shown = world
    np.testing.assert_allclose(scores.var(axis=0), 1, atol=0.06)
    np.testing.assert_allclose(shown.reshape(-1, len(VISIBLE)).var(axis=0), 1, atol=0.03)


def test_the_oracle_is_the_conditional_mean(world: tuple[np.ndarray, np.ndarray]) -> None:
    # What is left over has nothing to do with what any view shows, and scores are not shrunken.
    scores, shown = world
    best = LatentModel().oracle(shown)
    left = scores - best
    every_view = shown.reshape(len(shown), -1)
    related = (left.T @ every_view) / len(left)
    assert np.abs(related).max() < 0.04
    slopes = (best * scores).sum(axis=0) / (best**2).sum(axis=0)
    np.testing.assert_allclose(slopes, 1, atol=0.12)


def test_the_oracle_is_as_good_as_a_regression_on_the_truth(
    world: tuple[np.ndarray, np.ndarray],
) -> None:
    scores, shown = world
    mean = shown.mean(axis=1)
    fitted = mean @ np.linalg.lstsq(mean, scores, rcond=None)[0]
    error = ((scores - LatentModel().oracle(shown)) ** 2).mean(axis=0)
    np.testing.assert_allclose(error, ((scores - fitted) ** 2).mean(axis=0), rtol=0.01)


def test_the_oracle_beats_every_single_visible_parameter(
    world: tuple[np.ndarray, np.ndarray],
) -> None:
    scores, shown = world
    best, mean = LatentModel().oracle(shown), shown.mean(axis=1)
    for outcome in range(len(OUTCOMES)):
        reached = spearmanr(best[:, outcome], scores[:, outcome])[0]
        single = [abs(spearmanr(mean[:, k], scores[:, outcome])[0]) for k in range(len(VISIBLE))]
        assert reached > max(single) + 0.005, OUTCOMES[outcome]


def test_income_shows_well_and_crime_hardly(world: tuple[np.ndarray, np.ndarray]) -> None:
    scores, shown = world
    reached = [
        spearmanr(best, score)[0]
        for best, score in zip(LatentModel().oracle(shown).T, scores.T, strict=True)
    ]
    by_name = dict(zip(OUTCOMES, reached, strict=True))
    assert by_name["income"] > 0.55
    assert by_name["crime"] < 0.3


def test_more_misleading_streets_make_the_best_worse() -> None:
    reached = []
    for misleading in (0.0, 0.35, 3.0):
        model = LatentModel(misleading=misleading)
        scores, shown = _world(model, 2000, 2)
        reached.append(np.corrcoef(model.oracle(shown)[:, 0], scores[:, 0])[0, 1])
    assert reached[0] > reached[1] + 0.02 > reached[2] + 0.12


def test_some_smart_streets_lie_in_poor_areas(world: tuple[np.ndarray, np.ndarray]) -> None:
    scores, shown = world
    poor = scores[:, 0] < np.quantile(scores[:, 0], 0.2)
    looks = LatentModel().oracle(shown)[:, 0]
    misled = (looks[poor] > np.median(looks)).mean()
    assert 0.05 < misled < 0.3


def test_what_images_show_is_a_mixture_of_these_latents_and_no_other() -> None:
    assert {
        name: {LATENTS[k] for k in np.flatnonzero(row)}
        for name, row in zip(VISIBLE, _SHOWS, strict=True)
    } == {
        "size": {"affluence", "density"},
        "height": {"density"},
        "trees": {"affluence", "greenery"},
        "hedges": {"affluence", "density", "greenery"},
        "facade": {"affluence", "upkeep"},
        "litter": {"affluence", "density", "upkeep"},
        "cars": {"affluence"},
        "age": {"age"},
        "paving": {"affluence", "upkeep"},
        "doors": {"affluence", "upkeep", "age"},
    }
