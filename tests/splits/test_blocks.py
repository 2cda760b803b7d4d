"""The folds beside a study's own are of the other kind, of blocks that suit the city."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.settings import FoldSettings
from streetgauge.splits import block_side, other_folds


def grid(side, step):
    x = np.arange(side) * step + step / 2
    return np.stack(np.meshgrid(x, x), -1).reshape(-1, 2)


def occupied(places, side):
    return len(np.unique(np.floor(places / side), axis=0))


@pytest.mark.parametrize("step", [80.0, 500.0, 3000.0])
@pytest.mark.parametrize("side", [12, 30, 70])
def test_about_forty_blocks_wherever_there_are_areas_enough(side, step):
    places = grid(side, step)
    found = block_side(places, 5)
    assert 25 <= occupied(places, found) <= 60
    assert found >= 2 * step


@pytest.mark.parametrize(("side", "k"), [(5, 3), (5, 5), (6, 5), (7, 5), (8, 5)])
def test_in_a_small_city_blocks_still_hold_several_areas(side, k):
    places = grid(side, 500.0)
    found = block_side(places, k)
    assert found >= 1000
    assert k <= occupied(places, found) <= len(places) / 2


def test_sides_are_round_numbers():
    rng = np.random.default_rng(0)
    for scale in (10, 3e3, 2e5):
        found = block_side(rng.uniform(0, scale, (400, 2)), 5)
        leading = found / 10 ** np.floor(np.log10(found))
        assert round(leading, 6) in (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8)


def test_the_side_is_never_under_the_distance_of_neighbouring_areas():
    places = grid(3, 700.0)
    assert block_side(places, 8) >= 700


@pytest.mark.parametrize("places", [np.empty((0, 2)), np.ones((1, 2)), np.ones((9, 2)), grid(2, 9)])
def test_areas_that_fill_too_few_blocks_are_refused(places):
    with pytest.raises(InputError, match="other_folds = false"):
        block_side(places, 5)


def spread(n=100):
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "area": [f"A{i:03d}" for i in range(n)],
            "lat": rng.uniform(51.4, 51.6, n),
            "lon": rng.uniform(-0.2, 0.2, n),
        }
    )


@pytest.mark.parametrize(
    ("settings", "kind", "second"),
    [
        ({}, "random", "blocks"),
        ({"unit": "location"}, "random", "blocks"),
        ({"scheme": "train-validation-test"}, "random", "blocks"),
        ({"scheme": "blocks", "block": 900.0}, "spatial", "k-fold"),
        ({"scheme": "leave-one-group-out", "group": "district"}, "spatial", "k-fold"),
        ({"unit": "msoa"}, "spatial", "k-fold"),
        ({"buffer": 300.0}, "spatial", "k-fold"),
        ({"scheme": "by-class", "outcome": "x", "classes": (1,)}, "class", None),
        ({"scheme": "train-only"}, "none", None),
        ({"scheme": "test-only"}, "none", None),
        ({"other_folds": False}, "random", None),
    ],
)
def test_next_to_random_folds_are_blocks_and_next_to_spatial_ones_random(settings, kind, second):
    folds = FoldSettings(**settings)
    assert folds.kind == kind
    found = other_folds(folds, spread())
    assert (None if found is None else found.scheme) == second
    if found is not None:
        assert found.kind != kind
        assert (found.final, found.other_folds) == (False, False)
        assert (found.unit, found.buffer) == ("area", 0)


def test_the_second_folds_are_as_many_and_learn_from_as_much():
    found = other_folds(FoldSettings(k=3, train_size=0.5, validation=0.3), spread())
    assert found is not None
    assert (found.k, found.train_size, found.validation) == (3, 0.5, 0.3)


def test_a_side_that_is_given_is_taken():
    found = other_folds(FoldSettings(other_block=777.0), spread())
    assert found is not None
    assert found.block == 777
    blocks = {"scheme": "blocks", "block": 9.0}
    for other in ({"other_folds": False}, blocks, {"scheme": "train-only"}):
        with pytest.raises(ValueError, match="other_block"):
            FoldSettings(other_block=777.0, **other)
