"""Shards that hold the same view, from one machine or another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from streetgauge.errors import InputError
from streetgauge.features import FeatureStore
from streetgauge.features.shards import ShardHeader, Shards, read_skips, shards_of, write_shard
from streetgauge.imagery import QUALITY

IDS = ["A", "B", "C"]
VIEWS = ("a", "b")
TEXTS = {"backbone": "made up", "transform": "{}", "engine": "torch", "device": "cpu"}
HEADER = ShardHeader(VIEWS, 4, "float32", TEXTS)
EVERY = np.ones((3, 2), dtype=bool)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore.create(tmp_path / "s.h5", IDS, VIEWS, 4, TEXTS)
    shards_of(store.path).mkdir()
    return store


def shard(
    store: FeatureStore,
    name: str,
    location: str,
    views: str,
    *,
    broken: str = "",
    add: float = 0.0,
    content: int = 1,
    why: str = "the file is empty",
) -> Path:
    """Write a shard of some views of one location, under a name of our own."""
    held = np.array([[view in views for view in VIEWS]])
    whole = np.array([[view in views and view not in broken for view in VIEWS]])
    features = np.random.default_rng(IDS.index(location)).normal(size=(1, 2, 4)) + add
    quality = np.zeros((1, 2), dtype=QUALITY)
    quality["fingerprint"] = whole
    signatures = np.where(held[..., None], np.uint8(content), np.uint8(0)).repeat(16, axis=2)
    arrays: tuple[Any, ...] = (features.astype(np.float32), whole, signatures, quality)
    skips = [{"location_id": location, "view": view, "reason": why} for view in broken]
    path = write_shard(shards_of(store.path), HEADER, [location], *arrays, skips)
    return path.rename(path.with_name(f"{name}.h5"))


@pytest.mark.parametrize("names", [("1", "2"), ("2", "1")])
def test_of_a_whole_and_a_broken_picture_the_whole_one_is_taken_whatever_the_order(
    store: FeatureStore, names: tuple[str, str]
) -> None:
    shard(store, names[0], "A", "ab")
    shard(store, names[1], "A", "ab", broken="b", content=1)
    shards = Shards(shards_of(store.path), store)
    assert shards.reasons == {}
    assert shards.merge(EVERY, EVERY, "all") == {}
    assert store.present[0].tolist() == [True, True]
    assert store.features[0, 1].any()
    assert store.done.tolist() == [True, False, False]


def test_two_whole_ones_that_differ_are_refused_by_name(store: FeatureStore) -> None:
    shard(store, "1", "A", "ab")
    shard(store, "2", "A", "b", add=1.0)
    with pytest.raises(
        InputError,
        match=r"2\.h5: its features of view 'b' of location 'A' are not those in 1\.h5; remove",
    ):
        Shards(shards_of(store.path), store)


def test_two_whole_ones_of_other_pictures_are_refused(store: FeatureStore) -> None:
    shard(store, "1", "B", "ab")
    shard(store, "2", "B", "a", content=2)
    with pytest.raises(InputError, match=r"2\.h5: its features of view 'a' of location 'B'"):
        Shards(shards_of(store.path), store)


def test_of_two_that_differ_in_their_last_bits_the_first_by_name_is_taken(
    store: FeatureStore,
) -> None:
    shard(store, "2", "C", "ab", add=1e-7)
    first = FeatureStore.open(shard(store, "1", "C", "ab")).features[0]
    Shards(shards_of(store.path), store).merge(EVERY, EVERY, "all")
    np.testing.assert_array_equal(store.features[2], first)


def test_of_two_broken_ones_one_reason_is_told(store: FeatureStore) -> None:
    shard(store, "1", "A", "ab", broken="a", why="first")
    shard(store, "2", "A", "ab", broken="a", why="second")
    reasons = Shards(shards_of(store.path), store).merge(EVERY, EVERY, "any")
    assert reasons == {("A", "a"): "first"}
    assert store.done[0]


def test_views_of_one_location_in_several_shards_come_together(store: FeatureStore) -> None:
    shard(store, "1", "A", "a")
    shards = Shards(shards_of(store.path), store)
    shards.merge(EVERY, EVERY, "all")
    assert store.held[0].tolist() == [True, False]
    assert not store.attempted.any()
    shard(store, "2", "A", "b")
    Shards(shards_of(store.path), store).merge(EVERY, EVERY & ~store.held, "all")
    assert store.held[0].all()
    assert store.done.tolist() == [True, False, False]


def test_what_the_store_has_already_is_left_as_it_is(store: FeatureStore) -> None:
    shard(store, "1", "A", "ab")
    Shards(shards_of(store.path), store).merge(EVERY, EVERY, "all")
    before = store.path.read_bytes()
    shard(store, "1", "A", "ab", add=1.0)
    Shards(shards_of(store.path), store).merge(EVERY, EVERY & ~store.held, "all")
    assert store.path.read_bytes() == before


@pytest.mark.parametrize("text", ["{", "[1]", '[{"view": "a"}]', "7", "[" * 5000])
def test_reasons_that_are_damaged_are_one_sentence(store: FeatureStore, text: str) -> None:
    path = shard(store, "1", "A", "ab", broken="b")
    assert [skip["reason"] for skip in read_skips(path)] == ["the file is empty"]
    with h5py.File(path, "r+") as file:
        del file["skips"]
        file["skips"] = text
    with pytest.raises(InputError, match=r"1\.h5: its reasons cannot be read; remove this shard"):
        Shards(shards_of(store.path), store)


def test_a_shard_of_another_device_is_refused_by_name(store: FeatureStore) -> None:
    path = shard(store, "1", "A", "ab")
    with h5py.File(path, "r+") as file:
        file.attrs["device"] = "cuda"
    with pytest.raises(InputError, match=r"1\.h5: its device is 'cuda', the store's is 'cpu'"):
        Shards(shards_of(store.path), store)
