"""Folds of areas, and shares of a split."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.settings import FoldSettings
from streetgauge.splits import area_folds, make_splits, take_share, validation_part
from streetgauge.splits.folds import _swap, assign_locations, assign_units, nested_share


@st.composite
def cities(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Areas of very different sizes with deciles, some of them missing; rows in any order."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n_areas, outcomes = draw(st.integers(2, 60)), draw(st.integers(1, 4))
    sizes = rng.integers(1, draw(st.sampled_from([2, 10, 100])), n_areas)
    deciles = rng.integers(1, 11, (n_areas, outcomes)).astype(float)
    deciles[rng.random(deciles.shape) < draw(st.sampled_from([0, 0.3]))] = np.nan
    area = rng.permutation(np.repeat(np.arange(n_areas), sizes))
    return np.array([f"E{i:03d}" for i in area]), deciles[area]


@given(cities(), st.integers(2, 8), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_folds_keep_their_promises(city: tuple[np.ndarray, np.ndarray], k: int, seed: int) -> None:
    areas, deciles = city
    names, sizes = np.unique(areas, return_counts=True)
    if len(names) < k:
        with pytest.raises(
            InputError, match=rf"{len(names)} areas? cannot be assigned to {k} folds"
        ):
            area_folds(areas, deciles, k, seed)
        return
    fold = area_folds(areas, deciles, k, seed)
    of_area = {name: set(fold[areas == name]) for name in names}
    assert all(len(folds) == 1 for folds in of_area.values())
    n_areas = np.bincount([folds.pop() for folds in of_area.values()], minlength=k + 1)[1:]
    assert np.ptp(n_areas) <= 1
    assert n_areas.min() >= 1
    assert np.ptp(np.bincount(fold, minlength=k + 1)[1:]) <= 2 * sizes.max()

    order = np.random.default_rng(seed).permutation(len(areas))
    np.testing.assert_array_equal(area_folds(areas[order], deciles[order], k, seed), fold[order])


@given(st.integers(20, 200), st.integers(2, 6), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_the_areas_of_a_decile_differ_by_at_most_2_between_folds(n: int, k: int, seed: int) -> None:
    decile = np.random.default_rng(seed).integers(1, 11, n)
    fold = area_folds(np.arange(n).astype(str), decile[:, None], k, seed)
    table = np.array([np.bincount(fold[decile == d], minlength=k + 1)[1:] for d in range(1, 11)])
    assert np.ptp(table, axis=1).max() <= 2


def test_several_outcomes_are_all_nearly_even() -> None:
    rng = np.random.default_rng(1)
    n, k = 1000, 5
    deciles = np.array([rng.permutation(np.arange(n) % 10 + 1) for _ in range(3)]).T
    fold = area_folds(np.arange(n).astype(str), deciles, k, 0)
    counts = np.array(
        [
            np.bincount(fold[column == d], minlength=k + 1)[1:]
            for column in deciles.T
            for d in range(1, 11)
        ]
    )
    assert np.abs(counts - 20).max() <= 4  # dealt by chance alone it would be about 10


def test_another_seed_gives_other_folds() -> None:
    areas, deciles = np.arange(100).astype(str), np.arange(100)[:, None] % 10 + 1
    assert (area_folds(areas, deciles, 5, 1) != area_folds(areas, deciles, 5, 2)).mean() > 0.5


def test_one_fold_is_refused() -> None:
    with pytest.raises(InputError, match="1 folds"):
        area_folds(["a", "b"], [[1], [2]], 1, 0)


def test_london_is_split_in_seconds() -> None:
    rng = np.random.default_rng(0)
    deciles = rng.integers(1, 11, (4835, 12)).astype(float)
    area = np.concatenate([np.arange(4835), rng.integers(0, 4835, 156_581 - 4835)])
    names = np.array([f"E{i:08d}" for i in range(4835)])
    start = time.process_time()
    fold = area_folds(names[area], deciles[area], 5, 0)
    assert time.process_time() - start < 20  # about 1 second; far from quadratic
    assert np.ptp(np.bincount(fold)[1:]) <= 2 * np.bincount(area).max()


@given(cities(), st.floats(0.05, 0.6), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_the_validation_part_is_a_share_of_whole_areas(
    city: tuple[np.ndarray, np.ndarray], share: float, seed: int
) -> None:
    areas, deciles = city
    held = validation_part(areas, deciles, share, seed)
    n, inside = len(np.unique(areas)), np.unique(areas[held])
    assert not np.isin(areas[~held], inside).any()
    assert len(inside) == min(max(round(share * n), 1), n - 1)
    order = np.random.default_rng(seed).permutation(len(areas))
    np.testing.assert_array_equal(
        validation_part(areas[order], deciles[order], share, seed), held[order]
    )


def test_the_validation_part_holds_every_decile_alike() -> None:
    decile = np.arange(400) % 10 + 1
    for seed in range(5):
        held = validation_part(np.arange(400).astype(str), decile[:, None], 0.15, seed)
        assert set(np.bincount(decile[held])[1:]) <= {5, 6, 7}


def test_a_single_training_area_cannot_be_split() -> None:
    with pytest.raises(InputError, match="1 training area"):
        validation_part(["a", "a"], [[1], [1]], 0.15, 0)


@given(cities(), st.integers(2, 6), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_units_are_assigned_within_the_largest_of_their_share(
    city: tuple[np.ndarray, np.ndarray], k: int, seed: int
) -> None:
    areas, deciles = city
    units = np.array([f"M{int(name[1:]) % 13}" for name in areas])
    sizes = np.unique(units, return_counts=True)[1]
    if len(sizes) < k:
        with pytest.raises(InputError, match=f"{len(sizes)} units cannot be assigned to {k} parts"):
            assign_units(units, areas, deciles, np.ones(k), seed)
        return
    part = assign_units(units, areas, deciles, np.ones(k), seed)
    counts = np.bincount(part, minlength=k)
    assert counts.min() > 0
    assert np.ptp(counts) <= sizes.max()
    assert all(len(set(part[units == unit])) == 1 for unit in set(units))
    order = np.random.default_rng(seed).permutation(len(areas))
    shuffled = assign_units(units[order], areas[order], deciles[order], np.ones(k), seed)
    np.testing.assert_array_equal(shuffled, part[order])


@given(cities(), st.floats(0.05, 0.95), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_two_parts_of_units_have_their_shares_give_or_take_the_largest(
    city: tuple[np.ndarray, np.ndarray], share: float, seed: int
) -> None:
    areas, deciles = city
    sizes = np.unique(areas, return_counts=True)[1]
    counts = np.bincount(assign_units(areas, areas, deciles, [share, 1 - share], seed), minlength=2)
    assert counts.min() > 0
    assert abs(counts[0] - share * len(areas)) <= sizes.max()


@given(cities(), st.integers(2, 6), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_locations_are_assigned_evenly_within_areas(
    city: tuple[np.ndarray, np.ndarray], k: int, seed: int
) -> None:
    areas, _ = city
    ids = np.array([f"P{i}" for i in np.random.default_rng(seed).permutation(len(areas))])
    fold = assign_locations(ids, areas, k, seed)
    for rows in (np.ones(len(areas), bool), *(areas == name for name in set(areas))):
        assert np.ptp(np.bincount(fold[rows], minlength=k + 1)[1:]) <= 1
    order = np.random.default_rng(seed + 1).permutation(len(areas))
    np.testing.assert_array_equal(assign_locations(ids[order], areas[order], k, seed), fold[order])


def test_chance_deals_the_locations_of_an_area() -> None:
    ids, areas = np.array([f"P{i:03d}" for i in range(60)]), np.full(60, "A")
    one, again, other = (assign_locations(ids, areas, 3, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert len({tuple(one[start : start + 3]) for start in range(0, 60, 3)}) > 1  # not by turns


def test_the_seed_decides_which_share_is_taken() -> None:
    keys, deciles = np.arange(200), np.arange(200)[:, None] % 10 + 1.0
    one, again, other = (nested_share(keys, deciles, 0.2, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).sum() > 10


@given(st.integers(2, 500), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_every_nested_share_has_its_share_of_each_decile(n: int, seed: int) -> None:
    decile = np.random.default_rng(seed).integers(1, 11, n)
    keys = np.arange(n)
    before = np.zeros(n, bool)
    for share in np.linspace(0.01, 1, 25):
        taken = nested_share(keys, decile[:, None], share, seed)
        assert taken.sum() == max(round(share * n), 1)
        assert not (before & ~taken).any()
        before = taken
        for one in set(decile):
            expected = taken.sum() / n * (decile == one).sum()
            assert abs(taken[decile == one].sum() - expected) <= np.log2(n) + 1
    order = np.random.default_rng(seed).permutation(n)
    shuffled = nested_share(keys[order], decile[order, None], 0.3, seed)
    np.testing.assert_array_equal(shuffled, nested_share(keys, decile[:, None], 0.3, seed)[order])


def test_swaps_make_parts_more_alike_and_keep_what_they_hold() -> None:
    rng = np.random.default_rng(1)
    traits = np.column_stack([np.repeat([0.0, 1.0], 20), np.ones(40)])
    part = np.repeat([0, 1], 20)  # all of one kind in either part
    held = np.array([traits[part == p].sum(0) for p in (0, 1)])
    _swap(part, traits, held, np.array([0.5, 0.5]), 1.0, rng)
    assert [traits[part == p, 0].sum() for p in (0, 1)] == [10, 10]
    assert np.bincount(part).tolist() == [20, 20]
    np.testing.assert_allclose(held, [traits[part == p].sum(0) for p in (0, 1)])


SHARES = (0.01, 0.02, 0.05, 0.1, 0.25, 0.6, 1.0)


@pytest.fixture(scope="module")
def world(make_world: Any) -> Any:
    return make_world(n_areas=150, per_area=3)


def test_shares_are_nested_and_the_test_part_is_always_the_same(world: Any) -> None:
    for split in make_splits(FoldSettings(), world.areas, world.deciles, seed=1):
        before: dict[str, set[str]] = {"training": set(), "validation": set()}
        for share in SHARES:
            part = take_share(split, world.areas, world.deciles, share, 1)
            np.testing.assert_array_equal(part.test, split.test)
            for name, smaller in before.items():
                whole = np.unique(world.areas[getattr(split, name)])
                areas = set(world.areas[getattr(part, name)])
                assert len(areas) == max(1, round(share * len(whole)))
                assert smaller <= areas
                before[name] = areas
            out = [rows for rows in part.excluded.values() if len(rows)]
            rows = np.concatenate([part.training, part.validation, part.test, *out])
            np.testing.assert_array_equal(np.sort(rows), np.arange(len(world.ids)))


def test_a_share_has_all_deciles(world: Any) -> None:
    split = make_splits(FoldSettings(), world.areas, world.deciles[:, :1], seed=1)[-1]
    part = take_share(split, world.areas, world.deciles[:, :1], 0.1, 1)
    _, first = np.unique(world.areas[part.training], return_index=True)
    deciles = world.deciles[part.training][first, 0]
    assert len(deciles) == 13
    assert len(set(deciles)) >= 8


def test_nothing_is_trained_on_at_share_0(world: Any) -> None:
    split = make_splits(FoldSettings(), world.areas, world.deciles, seed=1)[0]
    part = take_share(split, world.areas, world.deciles, 0, 1)
    assert len(part.training) == len(part.validation) == 0
    assert take_share(split, world.areas, world.deciles, 1, 1) is split


def test_a_share_of_a_share_forgets_nothing_that_was_excluded(world: Any) -> None:
    split = make_splits(FoldSettings(train_size=0.5), world.areas, world.deciles, seed=1)[0]
    part = take_share(split, world.areas, world.deciles, 0.5, 1)
    assert 0 < len(part.training) < len(split.training)
    rows = [part.training, part.validation, part.test, *part.excluded.values()]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(len(world.ids)))


def test_the_seed_decides_which_areas_are_trained_on(world: Any) -> None:
    split = make_splits(FoldSettings(), world.areas, world.deciles, seed=1)[0]
    one, again, other = (
        take_share(split, world.areas, world.deciles, 0.2, seed) for seed in (1, 1, 2)
    )
    for name in ("training", "validation"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
        assert set(getattr(one, name)) != set(getattr(other, name))


def test_the_areas_are_those_of_train_size(world: Any) -> None:
    split = make_splits(FoldSettings(), world.areas, world.deciles, seed=1)[2]
    same = make_splits(FoldSettings(train_size=0.2), world.areas, world.deciles, seed=1)[2]
    part = take_share(split, world.areas, world.deciles, 0.2, 1)
    np.testing.assert_array_equal(part.training, same.training)
    np.testing.assert_array_equal(part.validation, same.validation)
