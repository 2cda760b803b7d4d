"""The six ways to split, constrained by area, a share of the training part, and stored splits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from streetgauge.splits import Split, read_splits, splits_frame

SIX: dict[str, dict[str, Any]] = {
    "k-fold": {"k": 5},
    "train/validation/test": {"scheme": "train-validation-test", "test": 0.3},
    "train/test": {"scheme": "train-test", "test": 0.3},
    "by class": {"scheme": "by-class", "outcome": "income", "classes": (1, 10)},
    "train only": {"scheme": "train-only"},
    "test only": {"scheme": "test-only"},
}


@pytest.fixture(scope="module")
def city(make_city: Callable[..., Any]) -> Any:
    return make_city()


def parts(split: Split) -> list[np.ndarray]:
    return [split.training, split.validation, split.test]


@pytest.mark.parametrize("way", SIX)
@pytest.mark.parametrize("constraint", ["area", "msoa"])
def test_no_member_of_the_constraint_is_in_two_parts_and_each_location_is_in_one(
    city: Any, way: str, constraint: str
) -> None:
    keys = {"area": city.areas, "msoa": city.msoas}[constraint]
    for seed in range(5):
        for split in city.split(seed, **SIX[way], unit=constraint):
            members = [set(keys[rows]) for rows in parts(split)]
            assert sum(map(len, members)) == len(set.union(*members))
            every = np.concatenate([*parts(split), *split.excluded.values()])
            assert sorted(every) == list(range(len(city.ids)))


@pytest.mark.parametrize("unit", ["area", "msoa", "location"])
def test_in_k_folds_each_location_is_tested_once_and_each_fold_validates_on_what_it_trains_on(
    city: Any, unit: str
) -> None:
    splits = city.split(3, k=5, unit=unit, final=False)
    assert len(splits) == 5
    assert sorted(np.concatenate([split.test for split in splits])) == list(range(len(city.ids)))
    for split in splits:
        assert not set(split.test) & (set(split.training) | set(split.validation))
        others = len(split.training) + len(split.validation)
        assert others == len(city.ids) - len(split.test)
        assert 0 < len(split.validation) < 0.3 * others


def test_folds_have_the_same_number_of_areas_and_each_decile_is_even_over_them(city: Any) -> None:
    uneven = []
    for seed in range(5):
        splits = city.split(seed, k=5, final=False)
        assert [len(set(city.areas[split.test])) for split in splits] == [12] * 5
        for column in city.deciles.T:  # six areas of each decile
            for decile in range(1, 11):
                held = [set(city.areas[s.test][column[s.test] == decile]) for s in splits]
                counts = [len(areas) for areas in held]
                uneven.append(max(counts) - min(counts))
    assert max(uneven) <= 3
    assert np.mean(uneven) < 1.5  # assigned by chance alone it would be 2.4


def test_validation_and_test_parts_have_the_shares_of_the_areas_that_are_asked_for(
    city: Any,
) -> None:
    (split,) = city.split(scheme="train-validation-test", test=0.3, validation=0.25, final=False)
    assert [len(set(city.areas[rows])) for rows in parts(split)] == [32, 10, 18]
    (split,) = city.split(scheme="train-test", test=0.3, final=False)
    assert [len(set(city.areas[rows])) for rows in parts(split)] == [42, 0, 18]


def test_train_test_has_no_validation_part_and_train_only_no_test_part(city: Any) -> None:
    both = city.split(scheme="train-test", final=False)
    assert [(split.name, len(split.validation)) for split in both] == [("train", 0)]
    (only,) = city.split(scheme="train-only")
    assert (only.name, only.fold, len(only.test)) == ("all", 0, 0)
    assert len(only.training) + len(only.validation) == len(city.ids)
    (test,) = city.split(scheme="test-only")
    assert (test.name, len(test.training), len(test.validation)) == ("test", 0, 0)
    assert len(test.test) == len(city.ids)


def test_by_class_tests_on_the_areas_of_these_classes_and_learns_from_no_other(
    make_city: Callable[..., Any],
) -> None:
    city = make_city(missing=0.2)
    split = city.split(**SIX["by class"])[0]
    income = city.deciles[:, 0]
    assert set(split.test) == set(np.flatnonzero(np.isin(income, [1, 10])))
    assert set(income[split.training]) | set(income[split.validation]) == set(range(2, 10))
    (unlabelled,) = split.excluded.values()
    assert set(unlabelled) == set(np.flatnonzero(np.isnan(income)))


def test_a_decile_has_its_share_of_the_test_part_give_or_take_one_area(
    make_city: Callable[..., Any],
) -> None:
    city = make_city(n_areas=400, per_area=2)
    city.deciles[:, 1] = city.deciles[:, 0]
    for seed in range(5):
        (split,) = city.split(seed, scheme="train-validation-test", test=0.3, final=False)
        for decile in range(1, 11):
            areas = set(city.areas[city.deciles[:, 0] == decile])
            inside = areas & set(city.areas[split.test])
            assert abs(len(inside) - 0.3 * len(areas)) < 1


@pytest.mark.parametrize("way", ["k-fold", "train/validation/test", "train only"])
def test_a_share_is_of_the_areas_of_the_training_part_even_over_deciles_and_tests_on_the_same(
    make_city: Callable[..., Any], way: str
) -> None:
    city = make_city(n_areas=200, per_area=2)
    city.deciles[:, 1] = city.deciles[:, 0]
    whole, part = (city.split(1, **SIX[way], train_size=share) for share in (1.0, 0.4))
    for before, after in zip(whole, part, strict=True):
        np.testing.assert_array_equal(before.test, after.test)
        assert set(after.training) < set(before.training)
        every, taken = (set(city.areas[split.training]) for split in (before, after))
        assert len(taken) == round(0.4 * len(every))
        for decile in range(1, 11):
            of_it = set(city.areas[city.deciles[:, 0] == decile])
            assert abs(len(taken & of_it) - 0.4 * len(every & of_it)) <= 2


@pytest.mark.parametrize("way", SIX)
def test_stored_splits_are_used_again_whatever_the_order_of_the_locations(
    city: Any, way: str, tmp_path: Path
) -> None:
    splits = city.split(2, **SIX[way])
    splits_frame(splits, city.ids, city.areas).to_parquet(tmp_path / "splits.parquet")
    other = city.take(np.random.default_rng(1).permutation(len(city.ids)))
    stored = pd.read_parquet(tmp_path / "splits.parquet").sample(frac=1, random_state=0)
    again = {split.name: split for split in read_splits(stored, other.ids, other.areas)}
    assert set(again) == {split.name for split in splits}
    for split in splits:
        for one, two in zip(parts(split), parts(again[split.name]), strict=True):
            assert set(city.ids[one]) == set(other.ids[two])
