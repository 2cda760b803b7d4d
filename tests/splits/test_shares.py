from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streetgauge.settings import FoldSettings
from streetgauge.splits import make_splits, take_share

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


def test_nothing_is_learned_from_at_share_0(world: Any) -> None:
    split = make_splits(FoldSettings(), world.areas, world.deciles, seed=1)[0]
    part = take_share(split, world.areas, world.deciles, 0, 1)
    assert len(part.training) == len(part.validation) == 0
    assert take_share(split, world.areas, world.deciles, 1, 1) is split


def test_a_share_of_a_share_forgets_nothing_that_was_left_out(world: Any) -> None:
    split = make_splits(FoldSettings(train_size=0.5), world.areas, world.deciles, seed=1)[0]
    part = take_share(split, world.areas, world.deciles, 0.5, 1)
    assert 0 < len(part.training) < len(split.training)
    rows = [part.training, part.validation, part.test, *part.excluded.values()]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(len(world.ids)))


def test_the_seed_decides_which_areas_are_learned_from(world: Any) -> None:
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
