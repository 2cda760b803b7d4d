"""Which views are the same, and how many of them stand in training and test."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from streetgauge.errors import InputError
from streetgauge.model.training_data import SHARED, TrainingData
from streetgauge.splits import Split, ViewIdentity, sharing
from streetgauge.splits.sharing import _spread, count_shared


def store(features: np.ndarray, **more: Any) -> SimpleNamespace:
    shape = features.shape[:2]
    given = {"present": np.ones(shape, bool), "done": np.ones(shape[0], bool)}
    given |= {"signature": np.zeros((*shape, 16), np.uint8)} | more
    return SimpleNamespace(features=features.astype(np.float32), **given)


def noise(n: int = 60, dimension: int = 6) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 2, dimension))


def part(*rows: int) -> np.ndarray:
    return np.array(rows, np.int64)


def test_views_are_the_same_if_their_features_are() -> None:
    features = noise()
    features[7, 1] = features[3, 0]
    found = ViewIdentity.of(store(features))
    assert found.vector[7, 1] == found.vector[3, 0]
    assert len(np.unique(found.vector)) == 119
    assert (found.vector >= 0).all()
    assert (found.image < 0).all()


def test_views_are_the_same_if_their_images_content_is() -> None:
    signature = np.zeros((60, 2, 16), np.uint8)
    signature[[2, 5, 9], 0, 3] = 8, 8, 9
    found = ViewIdentity.of(store(noise(), signature=signature))
    assert found.image[2, 0] == found.image[5, 0] >= 0
    assert found.image[9, 0] not in (found.image[2, 0], -1)
    assert (found.image >= 0).sum() == 3


def test_a_view_that_cannot_be_used_is_the_same_as_none() -> None:
    features = noise()
    features[[4, 8, 30]] = features[3]
    present, done = np.ones((60, 2), bool), np.ones(60, bool)
    present[4, 0], done[8] = False, False
    found = ViewIdentity.of(store(features, present=present, done=done))
    assert found.vector[4, 0] == found.vector[8, 0] == -1
    assert found.vector[3, 0] == found.vector[30, 0] >= 0


@pytest.mark.parametrize("coarse", ["constant", "counts", "one column", "zeros"])
def test_features_that_are_equal_by_chance_identify_no_image(coarse: str) -> None:
    features = noise()
    rng = np.random.default_rng(1)
    if coarse == "constant":
        features[:] = 3.0
    elif coarse == "counts":
        features = rng.integers(0, 3, (60, 2, 3))
    elif coarse == "one column":
        features = rng.integers(0, 50, (60, 2, 1))
    else:  # of an image of which nothing is recognised
        features = np.where(rng.random((60, 2, 1)) < 0.3, 0, np.abs(noise()))
    found = ViewIdentity.of(store(features))
    codes, count = np.unique(found.vector[found.vector >= 0], return_counts=True)
    assert len(codes) == 0 or count.max() == 1


def world() -> tuple[TrainingData, Split]:
    """Locations 0..5 are trained on, 6 and 7 stop it, 8..11 are tested; 6 and 7 lie in one area."""
    features = noise(12).astype(np.float32)
    features[0, 0] = features[8, 1]  # one view of two
    features[1] = features[9]  # both views
    features[6, 1] = features[10, 0]
    features[2] = features[3]  # in training only
    identity = ViewIdentity.of(store(features))
    areas = np.array([f"A{i // 2}" for i in range(12)], object)
    ids = np.array([f"L{i:02d}" for i in range(12)], object)
    deciles = np.arange(12)[:, None] // 2 + 1.0
    data = TrainingData(
        features, np.ones((12, 2), bool), deciles, areas, ids, ["y"], identity=identity
    )
    return data, Split("fold-1", 1, np.arange(6), part(6, 7), np.arange(8, 12))


def test_views_of_the_test_part_are_absent_from_training() -> None:
    data, split = world()
    fitted, narrowed = data.without_shared(split)
    assert fitted.present[0].tolist() == [False, True]
    assert fitted.present[6].tolist() == [True, False]
    assert fitted.present.sum() == 22
    assert narrowed.training.tolist() == [0, 2, 3, 4, 5]
    assert narrowed.validation.tolist() == [6, 7]
    assert narrowed.test.tolist() == split.test.tolist()
    assert {why: rows.tolist() for why, rows in narrowed.excluded.items()} == {SHARED: [1]}
    assert data.present.all()


def test_a_split_that_shares_nothing_or_is_made_to_leak_stays_as_it_is() -> None:
    data, split = world()
    apart = Split("fold-2", 2, part(2, 3), part(4), part(5))
    leaky = Split("fold-1", 1, split.training, split.validation, split.test, whole_areas=False)
    for each in (apart, leaky, Split("all", 0, np.arange(12), part(), part())):
        assert data.without_shared(each) == (data, each)
    other = TrainingData(
        data.features, data.present, data.deciles, data.areas, data.location_ids, "y"
    )
    assert other.without_shared(split) == (other, split)


def test_a_training_part_of_nothing_but_tested_images_is_refused() -> None:
    data, split = world()
    with pytest.raises(InputError, match=r'every image .* shared_images = "allow"'):
        data.without_shared(Split("fold-1", 1, part(1), part(), split.test))


def test_shared_images_features_and_coordinates_are_counted_apart() -> None:
    data, split = world()
    assert data.identity is not None
    image = np.full((12, 2), -1)
    image[4, 0] = image[11, 1] = 5
    identity = ViewIdentity(image, data.identity.vector)
    position = np.array([1, 2, 3, 4, 5, 6, 7, -1, 1, 1, -1, 9])
    rows = np.arange(12)
    assert count_shared(identity, split, rows, data.present, position) == {
        "fold": 1,
        "tested": 4,
        "images": 1,
        "vectors": 3,
        "either": 4,
        "coordinates": 2,
        "training_views": 16,
        "training_shared": 5,
    }


def test_an_image_that_stands_in_two_areas_is_in_neithers_mean() -> None:
    features = noise(8)
    features[3, 1] = features[0, 0]  # of another area
    features[1, 0] = features[0, 1]  # of the same area
    areas = np.array(["a", "a", "b", "b", "c", "c", "d", "d"])
    features[6:] = features[4:6]  # c and d are copies
    identity = ViewIdentity.of(store(features))
    data = TrainingData(
        features.astype(np.float32),
        np.ones((8, 2), bool),
        np.ones((8, 1)),
        areas,
        np.array([f"P{i}" for i in range(8)]),
        ["income"],
        identity=identity,
    )
    present = data.present_in_one_area()
    assert np.argwhere(~present).tolist() == [[0, 0], [3, 1]]  # c and d would have none left
    assert replace(data, identity=None).present_in_one_area().all()


def test_a_sample_of_positions_begins_with_the_first_and_ends_with_the_last() -> None:
    assert sharing._spread(9, 3).tolist() == [0, 4, 8]
    assert sharing._spread(2, 5).tolist() == [0, 1]
    assert sharing._spread(1, 5).tolist() == [0]


def test_rows_that_are_compared_are_spread_from_the_first_to_the_last() -> None:
    assert _spread(10, 4).tolist() == [0, 3, 6, 9]
    assert _spread(2, 5).tolist() == [0, 1]
    assert _spread(0, 5).tolist() == []
