"""Where to photograph next: what more images are expected to gain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from streetgauge.analysis.sampling import Design, choose_locations, plan_areas
from streetgauge.errors import InputError
from streetgauge.report.text import sample_sentences
from streetgauge.study import Study

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]


def design(n: int = 30, seed: int = 0, own: float = 2.0) -> tuple[Design, np.ndarray]:
    """A smooth surface over a line of areas."""
    from streetgauge.evaluation.kernels import matern_maps

    xy = np.column_stack([np.arange(n, dtype=float), np.zeros(n)])
    areas = pd.Index([f"a{i:02d}" for i in range(n)])
    surface = matern_maps(xy)[seed].astype(float) * 2
    return Design(areas, surface, own, error=1.0, within=3.0), xy


def kriging_errors(of: Design, counts: np.ndarray) -> np.ndarray:
    """Write the same down as a Gaussian process with all of its covariances.

    For every area, the classes of all others with images are observed, and its own images.
    """
    n = len(counts)
    prior = of.surface @ of.surface.T + of.own * np.eye(n)
    found = np.zeros(n)
    for area in range(n):
        others = np.flatnonzero((counts > 0) & (np.arange(n) != area))
        reach = prior[area, others]
        left = prior[area, area] - reach @ np.linalg.solve(prior[np.ix_(others, others)], reach)
        noise = of.error + of.within / counts[area] if counts[area] else np.inf
        found[area] = left if np.isinf(noise) else left * noise / (left + noise)
    return found


def test_expected_errors_are_those_of_kriging_from_other_areas_classes_and_own_images() -> None:
    of, _ = design()
    counts = np.random.default_rng(0).integers(0, 4, 30)
    assert of.errors(counts) == pytest.approx(kriging_errors(of, counts), abs=1e-6)


@pytest.mark.parametrize("most", [1, 3])
def test_the_gain_of_a_location_is_by_how_much_all_errors_fall(most: int) -> None:
    of, _ = design(seed=2)
    counts = np.random.default_rng(1).integers(0, most, 30)
    posterior = of.posterior(counts)
    gains = of.gains(counts, posterior)
    before = of.errors(counts).sum()
    for area in range(30):
        more, rest = counts.copy(), posterior.copy()
        fall = before - of.errors(counts + (np.arange(30) == area)).sum()
        assert of.add(area, more, rest) == pytest.approx(fall, abs=1e-6)
        np.testing.assert_array_equal(more, counts + (np.arange(30) == area))
        np.testing.assert_allclose(rest, of.posterior(more), atol=1e-6)
        exact = counts[area] or most == 1  # no other area's images gain from its class
        assert gains[area] == pytest.approx(fall, abs=1e-6 if exact else 0, rel=0 if exact else 0.1)
        assert gains[area] > fall - 1e-6


def test_a_city_with_one_location_an_area_has_no_variance_within_areas() -> None:
    of, _ = design()
    of = replace(of, within=0.0)
    counts = np.arange(30) % 2
    assert of.errors(counts) == pytest.approx(kriging_errors(of, counts), abs=1e-6)
    assert plan_areas(of, counts, 1 - counts, 9)["area"].is_unique


def test_what_a_neighbour_shows_is_worth_more_than_a_second_location() -> None:
    of, _ = design(own=0.5)
    counts = np.ones(30, int)
    counts[20:] = 0
    plan = plan_areas(of, counts, np.full(30, 9), 10)
    assert (plan["area"] >= 20).all()
    # The first is where most is unknown around, not at the border of what is known.
    assert plan["area"].iloc[0] > 21


def test_a_plan_states_what_it_gains_and_is_better_than_chance() -> None:
    of, _ = design()
    counts, free = np.zeros(30, int), np.full(30, 9)
    counts[:5] = 3
    plan = plan_areas(of, counts, free, 20)
    added = np.bincount(plan["area"], minlength=30)
    assert added.sum() == 20
    assert not added[:5].any()  # these have images
    fall = of.errors(counts).mean() - of.errors(counts + added).mean()
    assert plan["gain"].sum() == pytest.approx(fall, abs=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(50):
        chance = counts + rng.multivariate_hypergeometric(free, 20)
        assert of.errors(counts + added).mean() < of.errors(chance).mean()


def test_the_first_location_of_a_plan_is_the_best_of_all() -> None:
    of, _ = design()
    counts, free = np.zeros(30, int), np.ones(30, int)
    first = plan_areas(of, counts, free, 1)["area"].iloc[0]
    errors = [of.errors(np.eye(30, dtype=int)[area]).sum() for area in range(30)]
    assert errors[first] == pytest.approx(min(errors))


def test_no_more_locations_are_planned_than_an_area_has_and_the_budget_pays() -> None:
    of, xy = design()
    counts, free = np.zeros(30, int), np.ones(30, int)
    assert len(plan_areas(of, counts, free, 30)) == 30
    assert len(plan_areas(of, counts, free, 99)) == 30
    near = plan_areas(of, counts, np.full(30, 5), 20, xy=xy, travel=1.0)
    assert near["cost"].sum() <= 20
    assert near["cost"].iloc[0] == 1
    way = near["area"].to_numpy()
    for k in range(1, len(way)):  # each costs the way from the nearest that is planned
        assert near["cost"].iloc[k] == pytest.approx(1 + np.abs(way[k] - way[:k]).min())
    assert np.ptp(way) < np.ptp(plan_areas(of, counts, np.full(30, 5), 20)["area"])
    many = plan_areas(of, counts, np.full(30, 40), 1e6, xy=xy, travel=1.0)  # several a round
    way = many["area"].to_numpy()
    for k in range(1, 60):
        assert many["cost"].iloc[k] == pytest.approx(1 + np.abs(way[k] - way[:k]).min())


def test_the_locations_of_an_area_are_far_from_each_other_and_from_those_with_images() -> None:
    row = np.column_stack([np.arange(9.0), np.zeros(9)])
    assert choose_locations(row[:1], row[1:], 2) == [7, 3]  # at 8, then at 4
    assert choose_locations(row[:0], row, 1) == [4]
    assert sorted(choose_locations(row[:0], row, 99)) == [*range(9)]
    assert choose_locations(row[:0], row * np.nan, 2) == [0, 1]


def city(share: float, within: float, seed: int = 0) -> tuple[pd.DataFrame, ...]:
    """A city of which images tell this share of the variance, with ten locations an area."""
    rng = np.random.default_rng(seed)
    n = 2000
    truth = rng.normal(0, 2, n)
    area = np.repeat(np.arange(n), 10)
    noise = 4 * (1 - share) / share
    seen = truth + rng.normal(0, np.sqrt(noise), n)
    location = seen[area] + rng.normal(0, np.sqrt(within), len(area))
    scores = pd.DataFrame({"area": area, "outcome": "y", "score": location / 3})
    means = scores.groupby("area")["score"].mean()
    areas = pd.DataFrame({"area": means.index, "outcome": "y", "score": means.to_numpy()})
    xy = pd.DataFrame({"x": rng.uniform(0, 1e4, n), "y": 0.0}, pd.RangeIndex(n))
    return areas.assign(actual_decile=truth), scores, xy


def test_variances_are_learned_from_a_study_whatever_the_scale_of_its_scores() -> None:
    found = Design.fit(*city(share=0.5, within=6.0))
    assert found.error == pytest.approx(4, rel=0.15)
    assert found.within == pytest.approx(6, rel=0.15)
    smooth = np.einsum("ar,ar->a", found.surface, found.surface).mean()
    assert smooth + found.own == pytest.approx(4, rel=0.2)


def test_images_that_tell_nothing_or_ten_areas_too_few_are_refused() -> None:
    areas, scores, xy = city(share=0.5, within=1.0)
    rng = np.random.default_rng(1)
    blind = areas.assign(actual_decile=rng.permutation(areas["actual_decile"]))
    for wrong in (blind, areas.iloc[:9]):
        with pytest.raises(
            InputError, match="images show nothing about any outcome, or fewer than"
        ):
            Design.fit(wrong, scores, xy)


@pytest.fixture
def partly(grid: Path, run: Run) -> Path:
    """A finished study in which a third of the locations have features."""
    table = pd.read_csv(grid / "features.csv")
    table[table["place"].str[1:].astype(int) % 3 == 0].to_csv(grid / "features.csv", index=False)
    file = grid / "study.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("k = 3", "k = 3\nother_folds = false"), encoding="utf-8")
    code, _, err = run("run", grid)
    assert code == 0, err
    return grid


def test_a_plan_names_locations_without_images_and_draws_them(
    partly: Path, run: Run, refuse: Refuse
) -> None:
    code, out, err = run("sample", partly, "--budget", 40)
    assert code == 0, err
    assert "40 locations in" in out
    assert "at random" in out
    study = Study.open(partly)
    plan = pd.read_parquet(study.sample)
    assert plan["rank"].tolist() == [*range(1, 41)]
    assert plan["location_id"].is_unique
    have = set(pd.read_parquet(study.predictions)["location_id"])
    assert not have & set(plan["location_id"])
    area = pd.read_parquet(study.locations).set_index("location_id")["area"]
    assert plan["area"].tolist() == area[plan["location_id"]].tolist()
    layer = gpd.read_file(study.sample_layer).set_index("area")
    assert layer["locations_to_add"].sum() == 40
    assert (layer["error_planned"] <= layer["error_now"] + 1e-9).all()
    with Image.open(study.sample_map) as image:
        assert image.size == (1920, 1080)
    stored = study.sample.read_bytes()
    assert run("sample", partly, "--budget", 40, "-q")[0] == 0
    assert study.sample.read_bytes() == stored
    line = refuse("sample", partly, "--budget", 4000)
    assert "locations without images; choose at most" in line
    line = refuse("sample", partly, "--budget", 4000, "--travel", 500)
    assert "in all; choose no more, or name more in [locations]" in line


def test_a_study_with_images_everywhere_has_nowhere_left_to_look(
    finished: Path, refuse: Refuse
) -> None:
    line = refuse("sample", finished, "--budget", 10)
    assert "every location of the study has images; name more in [locations]" in line


def test_each_sentence_on_a_plan_stands_only_where_it_is_true() -> None:
    plan = {
        "n_locations": 5,
        "n_areas": 1,
        "error": {"now": 2.0, "planned": 1.5, "at_random": 1.8},
        "travel": None,
        "budget": 5,
        "cost": 5.0,
    }
    assert sample_sentences(plan) == [
        "5 locations in 1 area: the expected error falls from 2.00 to 1.50 classes (to 1.80 if "
        "they were chosen at random)."
    ]
    far = sample_sentences(plan | {"travel": 500.0, "error": {**plan["error"], "planned": 1.98}})
    assert "at random" not in far[0]
    assert far[1] == "That is 1% of it: more images hardly help here."
    assert far[2] == "They cost 5.0 of 5, ways of 500 m counted as a location."
