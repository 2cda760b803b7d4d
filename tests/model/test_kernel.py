"""Gaussian processes on bags of views: exact where that can be computed, robust elsewhere."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal, spearmanr

sys.path.insert(0, str(Path(__file__).parent))

from worlds import WORLDS, World

from streetgauge.errors import InputError
from streetgauge.model import embedding, gaussian_process, kernel, products
from streetgauge.model.embedding import Bags, Embedding
from streetgauge.model.kernel import KERNELS, RIDGE_KERNELS, KernelModel, fit_kernel


def small(name: str = "linear", seed: int = 0) -> World:
    return WORLDS[name](seed, areas=80, locations=4, views=3)


def fit(world: World, rows: np.ndarray | None = None, **options: object) -> KernelModel:
    rows = np.arange(len(world.area)) if rows is None else rows
    area = world.area[rows]
    deciles = world.deciles[area]
    return fit_kernel(world.features, world.present, deciles, area, rows=rows, **options)


def halves(world: World) -> tuple[np.ndarray, np.ndarray]:
    """Locations of the areas to train on, and of those to predict."""
    first = world.area < len(world.deciles) // 2
    return np.flatnonzero(first), np.flatnonzero(~first)


def rho(world: World, model: KernelModel, rows: np.ndarray) -> float:
    area = world.area[rows]
    said = model.predict(world.features, world.present, rows=rows, areas=area)
    return float(spearmanr(said.mean[:, 0], world.deciles[np.unique(area), 0])[0])


def test_the_linear_kernel_is_the_exact_gaussian_process_on_mean_features(monkeypatch):
    monkeypatch.setattr(gaussian_process, "NOISES", np.array([0.3]))
    world = small()
    train, test = halves(world)
    model = fit(world, train, kernels=RIDGE_KERNELS)
    found = model.predict(world.features, world.present, rows=test, areas=world.area[test])

    scale = model.embedding.scale
    means = (world.means - scale.mean) / scale.sd
    x, new = means[:40], means[40:]
    centre = x.mean(axis=0)
    x, new = x - centre, new - centre
    unit = (x**2).sum() / len(x)
    y = world.deciles[:40, 0]
    gram = x @ x.T / unit + 0.3 * np.eye(40)
    across = new @ x.T / unit
    solved = np.linalg.solve(gram, y - y.mean())
    assert found.mean[:, 0] == pytest.approx(y.mean() + across @ solved, abs=1e-3)
    variance = (y - y.mean()) @ solved / 39
    left = (new**2).sum(axis=1) / unit - (across * np.linalg.solve(gram, across.T).T).sum(axis=1)
    assert found.sd[:, 0] == pytest.approx(np.sqrt(variance * (left + 0.3)), rel=1e-3)


@pytest.mark.parametrize("areas", [30, 12])
def test_the_evidence_is_the_marginal_likelihood_of_the_labels(areas):
    # With more features than areas, and with fewer: the two ways to decompose.
    rng = np.random.default_rng(0)
    x, y, weight = rng.normal(size=(areas, 20)), rng.normal(size=(areas, 1)), np.ones(areas)
    evidence, variance = gaussian_process.Spectrum.of(x, y, weight).evidence()
    # What is left of the labels without their mean, in areas - 1 dimensions.
    contrasts = np.linalg.svd(np.eye(areas) - 1 / areas)[0][:, : areas - 1]
    exact = [
        multivariate_normal.logpdf(
            contrasts.T @ y[:, 0],
            cov=s * contrasts.T @ (x @ x.T + noise * np.eye(areas)) @ contrasts,
        )
        for noise, s in zip(gaussian_process.NOISES, variance[:, 0], strict=True)
    ]
    assert np.diff(evidence[:, 0]) == pytest.approx(np.diff(exact), abs=1e-6)


def test_products_of_random_features_are_the_mean_kernel_between_two_areas_views(monkeypatch):
    monkeypatch.setattr(embedding, "FREQUENCIES", 8192)
    world = small("composition")
    world.present[::3, 0] = False
    bags = Bags(world.features, world.present, np.arange(len(world.area)), world.area)
    embed = Embedding.of(bags, seed=0)
    vectors = dict(zip(embed.maps, embed(bags), strict=True))
    views = (world.features - embed.scale.mean) / embed.scale.sd
    share = world.present / world.present.sum(axis=1, keepdims=True)
    places = (share[..., None] * views).sum(axis=1)
    own = [world.area == a for a in (3, 4)]

    flat = [views[mine].reshape(-1, views.shape[2]) for mine in own]
    weight = [share[mine].ravel() / mine.sum() for mine in own]
    seen = views[world.present]
    length = np.median(cdist(seen, seen)[np.triu_indices(len(seen), 1)])
    near = np.exp(-((cdist(*flat) / (0.5 * length)) ** 2) / 2)
    product = vectors["view-0.5"][3] @ vectors["view-0.5"][4]
    assert product == pytest.approx(weight[0] @ near @ weight[1], rel=0.1, abs=2e-3)

    length = np.median(cdist(places, places)[np.triu_indices(len(places), 1)])
    near = np.exp(-((cdist(places[own[0]], places[own[1]]) / length) ** 2) / 2)
    assert vectors["location-1"][3] @ vectors["location-1"][4] == pytest.approx(
        near.mean(), rel=0.1, abs=2e-3
    )


def test_squares_are_the_mean_products_of_two_features():
    world = small("composition")
    bags = Bags(world.features, world.present, np.arange(len(world.area)), world.area)
    embed = Embedding.of(bags, seed=0)
    vectors = dict(zip(embed.maps, embed(bags), strict=True))
    views = (world.features - embed.scale.mean) / embed.scale.sd
    own = world.area == 5
    for name, rows in (
        ("view-square", views[own].reshape(-1, 8)),
        ("location-square", views[own].mean(axis=1)),
    ):
        products = rows.T @ rows / len(rows)
        assert vectors[name][5] == pytest.approx(products[np.triu_indices(8)], abs=1e-4)


def test_an_area_is_the_mean_of_its_locations():
    world = small("interaction")
    train, test = halves(world)
    model = fit(world, train)
    area = world.area[test]
    of_areas = model.predict(world.features, world.present, rows=test, areas=area).mean[:, 0]
    each = model.predict(world.features, world.present, rows=test).mean[:, 0]
    mean = np.bincount(area - area[0], each) / np.bincount(area - area[0])
    assert of_areas == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("name", WORLDS)
def test_the_predictive_sd_is_that_of_the_errors(name):
    world = WORLDS[name](0)
    train, test = halves(world)
    area = world.area[test]
    said = fit(world, train).predict(world.features, world.present, rows=test, areas=area)
    error = world.deciles[np.unique(area)] - said.mean
    assert 0.85 < (error / said.sd).std() < 1.15
    inside = (np.abs(error) < 1.645 * said.sd).mean()
    assert 0.84 < inside < 0.97


def test_evidence_finds_what_an_outcome_depends_on():
    best = {}
    for name in WORLDS:
        world = WORLDS[name](0)
        weights = {}
        for one in fit(world).regression.kernels:
            weights[tuple(one.parts.tolist())] = float(one.weight[0])
        best[name] = max(weights, key=weights.get)
    maps = ("view-0.25", "view-0.5", "view-1", "view-square")
    views = {KERNELS.index((name,)) for name in maps}
    assert 0 in best["linear"]
    assert 0 not in best["interaction"]
    assert set(best["composition"]) <= views


def test_same_seed_same_model_and_blocks_change_nothing(monkeypatch):
    world = small()
    train, test = halves(world)
    first = fit(world, train, seed=1)
    again, other = fit(world, train, seed=1), fit(world, train, seed=2)
    monkeypatch.setattr(embedding, "BLOCK", 7)
    blocks = fit(world, train, seed=1)
    said = [m.predict(world.features, world.present, rows=test).mean for m in (first, again, other)]
    assert np.array_equal(said[0], said[1])
    assert not np.allclose(said[0], said[2], atol=1e-6)
    monkeypatch.setattr(kernel, "PREDICTED", 50)
    parts = blocks.predict(world.features, world.present, rows=test).mean
    assert parts == pytest.approx(said[0], abs=1e-3)


def test_what_an_absent_view_holds_is_ignored():
    world = small("composition")
    world.present[::2, 1] = False
    zeros, nans = world.features.copy(), world.features.copy()
    zeros[~world.present], nans[~world.present] = 0, np.nan
    train, test = halves(world)
    one, other = (
        fit(replace(world, features=f), train).predict(f, world.present, rows=test).mean
        for f in (zeros, nans)
    )
    assert np.array_equal(one, other)
    assert rho(world, fit(world, train), test) > 0.3


def test_a_label_missing_for_half_of_the_areas_takes_nothing_from_other_outcomes():
    world = WORLDS["linear"](0)
    both = np.repeat(world.deciles, 2, axis=1)
    both[::2, 1] = np.nan
    train, test = halves(world)
    whole = fit(world, train)
    model = fit(replace(world, deciles=both), train)
    area = world.area[test]
    one = whole.predict(world.features, world.present, rows=test, areas=area)
    two = model.predict(world.features, world.present, rows=test, areas=area)
    assert two.mean[:, 0] == pytest.approx(one.mean[:, 0], abs=1e-9)
    truth = world.deciles[150:, 0]
    assert spearmanr(two.mean[:, 1], truth)[0] > 0.8
    assert (two.sd[:, 1] > two.sd[:, 0]).mean() > 0.5


def test_weights_of_areas_are_what_copies_of_them_are():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 5)), rng.normal(size=(20, 1))
    weight = np.r_[np.ones(10), np.full(10, 2)]
    weighted = gaussian_process.Spectrum.of(x, y, weight)
    twice = np.r_[np.arange(20), np.arange(10, 20)]
    copied = gaussian_process.Spectrum.of(x[twice], y[twice], np.ones(30))
    assert weighted.centre == pytest.approx(copied.centre)
    assert weighted.values == pytest.approx(copied.values)
    assert np.abs(weighted.pull) == pytest.approx(np.abs(copied.pull))


@pytest.mark.parametrize("areas", [60, 15], ids=["more areas than features", "fewer"])
def test_sums_of_shared_maps_are_the_kernels_of_their_joined_vectors(
    areas: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "BLOCK", 7)  # areas at a time
    rng = np.random.default_rng(1)
    maps = [rng.normal(3, 1, (areas, width)) for width in (4, 9, 6)]
    y, weight = rng.normal(size=(areas, 2)), rng.uniform(0.5, 2, areas)
    every = products.Selection(np.arange(areas))
    summed = products.Products(maps, y, weight, every)
    for parts, factors in (((0, 1), (0.5, 2.0)), ((2, 1), (1.5, 0.7))):
        found = gaussian_process.Spectrum.of_sum(summed, parts, factors)
        joined = np.hstack([maps[p] * f for p, f in zip(parts, factors, strict=True)])
        share = weight / weight.sum()
        x = np.sqrt(weight)[:, None] * (joined - share @ joined)
        pull = x.T @ (np.sqrt(weight)[:, None] * (y - share @ y))
        assert found.centre == pytest.approx(share @ joined)
        axes = found.along(np.eye(len(found.values)))
        assert (axes * found.values) @ axes.T == pytest.approx(x.T @ x)
        assert axes @ found.pull == pytest.approx(pull)


def test_areas_that_a_training_set_lacks_are_taken_out_of_what_all_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "BLOCK", 7)
    rng = np.random.default_rng(4)
    maps = [rng.normal(3, 1, (50, width)).astype(np.float32) for width in (4, 6)]
    totals, summed = products.Totals(), []
    monkeypatch.setattr(
        products,
        "_cross",
        lambda *given, own=products._cross: summed.append(len(given[2])) or own(*given),
    )
    for rows in (np.arange(40), np.r_[5:20, 22:50], np.arange(20)):
        one, other = maps[0][rows].astype(float), maps[1][rows].astype(float)
        selection = products.Selection(rows, totals)
        assert selection.cross(*maps) == pytest.approx(one.T @ other, rel=1e-12)
    assert summed == [50, 10, 7, 20]  # all once; the third set lacks more than it has


def test_rows_of_a_larger_map_are_fitted_as_the_same_rows_alone():
    rng = np.random.default_rng(5)
    maps = [rng.normal(1, 1, (90, width)).astype(np.float32) for width in (5, 3)]
    rows = np.sort(rng.choice(90, 70, replace=False))
    labels = np.round(maps[0][rows, :2] * 2 + 5).astype(float)
    labels[:5, 1] = np.nan
    given = (labels, np.ones(70), [(0, 1), (1,)])
    alone = gaussian_process.regress([each[rows] for each in maps], *given)
    selected = gaussian_process.regress(
        maps, *given, selection=products.Selection(rows, products.Totals())
    )
    np.testing.assert_allclose(selected.expected(maps), alone.expected(maps), rtol=1e-6)
    np.testing.assert_allclose(selected.evidence, alone.evidence, rtol=1e-9)


@pytest.mark.parametrize("areas", [30, 200])
def test_without_variance_the_expected_deciles_and_the_evidence_are_the_same(areas):
    rng = np.random.default_rng(3)
    maps = [rng.normal(1, 1, (areas, width)).astype(np.float32) for width in (40, 7, 1)]
    labels = np.clip(np.round(maps[0][:, :2] * 2 + rng.normal(5, 1, (areas, 2))), 1, 10)
    labels = labels.astype(np.float64)
    labels[:5, 1] = np.nan
    kernels, shares = [(0, 1), (0,), (1,), (2,)], [(0.3, 0.7), (1.0,), (1.0,), (1.0,)]
    given = (maps, labels, rng.uniform(0.5, 2, areas), kernels, shares)
    regress = gaussian_process.regress
    whole, plain = regress(*given), regress(*given, variance=False)
    assert not any(kernel.axes.shape[1] for kernel in plain.kernels)
    np.testing.assert_allclose(plain.expected(maps), whole.expected(maps), rtol=1e-6)
    np.testing.assert_allclose(plain.evidence, whole.evidence, rtol=1e-9)
    np.testing.assert_allclose(plain.noise, whole.noise, rtol=1e-9)


def test_a_location_without_weight_is_not_used_and_one_of_weight_two_counts_twice():
    world = small()
    weight = np.ones(len(world.area))
    weight[world.area == 3] = 0
    none = fit(world, weight=weight)
    without = fit(world, np.flatnonzero(world.area != 3))
    said = [m.predict(world.features, world.present).mean for m in (none, without)]
    assert said[0] == pytest.approx(said[1], abs=1e-9)
    bags = Bags(
        world.features, world.present, np.arange(4), np.zeros(4, int), np.array([1, 1, 1, 2.0])
    )
    (mean,) = bags.pool(lambda views, shares: [np.einsum("bv,bvd->bd", shares, views)])
    places = world.features[:4].mean(axis=1)
    assert mean[0] == pytest.approx(np.average(places, axis=0, weights=[1, 1, 1, 2]), abs=1e-5)


def test_the_state_is_plain_tensors_that_predict_the_same():
    world = small("composition")
    train, test = halves(world)
    model = fit(world, train)
    state = model.tensors()
    assert max(len(array) for array in state.values() if array.ndim) < 3000
    again = KernelModel.from_tensors(state)
    for rows, areas in ((test, None), (test, world.area[test])):
        one, other = (
            m.predict(world.features, world.present, rows=rows, areas=areas) for m in (model, again)
        )
        assert np.array_equal(one.mean, other.mean)
        assert np.array_equal(one.sd, other.sd)


@pytest.mark.parametrize(
    ("areas", "locations", "views"), [(60, 1, 1), (20, 3, 2), (20, 1, 1)], ids=str
)
def test_few_areas_one_location_or_one_view_are_enough(areas, locations, views):
    world = WORLDS["linear"](0, areas=areas, locations=locations, views=views)
    said = fit(world).predict(world.features, world.present)
    assert np.isfinite(said.mean).all()
    assert (said.sd > 0).all()


def test_many_features_and_few_areas_work():
    world = WORLDS["linear"](0, areas=85, locations=3)
    noise = np.random.default_rng(1).normal(size=(len(world.area), 4, 4088)).astype(np.float32)
    wide = replace(world, features=np.concatenate([9 * world.features, noise / 9], axis=2))
    train, test = halves(wide)
    model = fit(wide, train)
    assert len(model.embedding.scale.mean) == 4096
    assert np.isfinite(rho(wide, model, test))


def test_more_areas_and_features_than_linear_components_are_projected(monkeypatch):
    monkeypatch.setattr(embedding, "LINEAR_COMPONENTS", 6)
    monkeypatch.setattr(embedding, "COMPONENTS", 5)
    world = WORLDS["linear"](0)
    train, test = halves(world)
    model = fit(world, train)
    assert model.embedding.linear.shape == (8, 6)
    assert model.embedding.components.shape == (8, 5)
    assert rho(world, model, test) > 0.5


def test_constant_features_predict_the_mean():
    world = small()
    flat = replace(world, features=np.ones_like(world.features))
    said = fit(flat).predict(flat.features, flat.present)
    assert said.mean == pytest.approx(world.deciles.mean(), abs=1e-6)
    assert said.sd == pytest.approx(world.deciles.std(ddof=1), rel=0.01)


def test_a_label_that_is_everywhere_the_same_is_predicted():
    world = small()
    same = replace(world, deciles=np.full_like(world.deciles, 4))
    assert fit(same).predict(same.features, same.present).mean == pytest.approx(4)


def test_too_few_labels_and_features_that_are_no_numbers_are_refused():
    world = small()
    none = np.full_like(world.deciles, np.nan)
    with pytest.raises(InputError, match="no location to train on has one"):
        fit(replace(world, deciles=none))
    none[3] = 1
    with pytest.raises(InputError, match="outcome 1: 1 of the areas to train on have a label"):
        fit(replace(world, deciles=none))
    model = fit(world)
    world.features[17, 1, 2] = np.inf
    with pytest.raises(
        InputError, match="features, row 17, view 2, feature 3: inf is not a finite"
    ):
        model.predict(world.features, world.present)
