"""Stores of other machines become one, whichever of them holds a view."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from streetgauge.errors import InputError
from streetgauge.features import (
    Extraction,
    FeatureStore,
    extract,
    extract_features,
    take_in_shards,
)
from streetgauge.features.shards import _opened, merge_shards, shards_of
from streetgauge.features.store_file import put_text
from streetgauge.imagery import QUALITY, find_views
from streetgauge.settings import ImagerySettings

IDS = ["A", "B", "C"]
VIEWS = ("a", "b")
TEXTS = {"backbone": "made up", "transform": "{}", "engine": "torch", "device": "cpu"}
EVERY = np.ones((3, 2), dtype=bool)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    with FeatureStore.create(tmp_path / "s.h5", IDS, VIEWS, 4, TEXTS) as store:
        shards_of(store.path).mkdir()
        yield store


def shard(
    store: FeatureStore,
    name: str,
    location: str,
    views: str,
    *,
    broken: str = "",
    add: float = 0.0,
    content: int = 1,
) -> Path:
    """Make a shard of some views of one location."""
    held = np.array([[view in views for view in VIEWS]])
    whole = np.array([[view in views and view not in broken for view in VIEWS]])
    features = np.random.default_rng(ord(location)).normal(size=(1, 2, 4)) + add
    quality = np.zeros((1, 2), dtype=QUALITY)
    quality["fingerprint"] = whole
    signatures = np.where(held[..., None], np.uint8(content), np.uint8(0)).repeat(16, axis=2)
    path = shards_of(store.path) / f"{name}.h5"
    with FeatureStore.create(path, [location], VIEWS, 4, TEXTS) as made:
        made.write(np.arange(1), features, whole, signatures=signatures, quality=quality)
    return path


def merge(store: FeatureStore, planned: np.ndarray = EVERY) -> None:
    merge_shards(store, _opened(shards_of(store.path)), planned)


@pytest.mark.parametrize("names", [("1", "2"), ("2", "1")])
def test_of_a_whole_and_a_broken_image_the_whole_one_is_taken_whatever_the_order(
    store: FeatureStore, names: tuple[str, str]
) -> None:
    whole = FeatureStore.open(shard(store, names[0], "A", "ab")).features[0]
    shard(store, names[1], "A", "ab", broken="b")
    merge(store)
    assert store.present[0].tolist() == [True, True]
    np.testing.assert_array_equal(store.features[0], whole)
    assert store.held.sum() == 2


def test_two_whole_ones_that_differ_are_refused_by_name_before_any_is_taken(
    store: FeatureStore,
) -> None:
    shard(store, "1", "A", "ab")
    shard(store, "2", "A", "b", add=1.0)
    with pytest.raises(
        InputError,
        match=r"2\.h5: its features of view 'b' of location 'A' are not those in 1\.h5; remove",
    ):
        merge(store)
    assert not store.held.any()


def test_two_whole_ones_of_other_images_are_refused(store: FeatureStore) -> None:
    shard(store, "1", "B", "ab")
    shard(store, "2", "B", "a", content=2)
    with pytest.raises(InputError, match=r"2\.h5: its features of view 'a' of location 'B'"):
        merge(store)


def test_of_two_that_differ_in_their_last_bits_the_first_by_name_is_taken(
    store: FeatureStore,
) -> None:
    shard(store, "2", "C", "ab", add=1e-7)
    first = FeatureStore.open(shard(store, "1", "C", "ab")).features[0]
    merge(store)
    np.testing.assert_array_equal(store.features[2], first)


def test_of_two_broken_ones_the_view_is_held_as_broken(store: FeatureStore) -> None:
    shard(store, "1", "A", "ab", broken="a")
    shard(store, "2", "A", "a", broken="a", content=2)
    shard(store, "3", "A", "b", add=1e-7)
    merge(store)
    assert store.held[0].all()
    assert store.present[0].tolist() == [False, True]
    assert not store.features[0, 0].any()
    assert (store.signature[0] == 1).all()


def test_views_of_one_location_in_several_shards_come_together(store: FeatureStore) -> None:
    shard(store, "1", "A", "a")
    merge(store)
    assert store.held[0].tolist() == [True, False]
    shard(store, "2", "A", "b")
    merge(store)
    assert store.held.tolist() == [[True, True], [False, False], [False, False]]


def test_views_of_which_the_study_has_no_image_are_left(store: FeatureStore) -> None:
    shard(store, "1", "A", "ab")
    merge(store, np.array([[True, False], [True, True], [True, True]]))
    assert store.held[0].tolist() == [True, False]


def test_what_the_store_has_already_is_left_as_it_is(store: FeatureStore) -> None:
    shard(store, "1", "A", "ab")
    merge(store)
    before = store.path.read_bytes()
    shard(store, "1", "A", "ab", add=1.0)
    merge(store)
    assert store.path.read_bytes() == before


def test_a_shard_of_a_location_that_the_study_lacks_is_refused(store: FeatureStore) -> None:
    shard(store, "1", "A", "ab")
    shard(store, "2", "Z", "ab")
    with pytest.raises(InputError, match=r"2\.h5: the study has no images of its location 'Z'"):
        merge(store)
    assert not store.held.any()


def test_a_shard_of_another_device_is_refused_by_name(store: FeatureStore) -> None:
    path = shard(store, "1", "A", "ab")
    with h5py.File(path, "r+") as file:
        put_text(file, "device", "cuda")
    with pytest.raises(InputError, match=r"1\.h5: its device is 'cuda', the store's is 'cpu'"):
        merge(store)


N = 12
LOCATIONS = [f"L{i:02}" for i in range(N)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(5)
    for location in LOCATIONS:
        for view in VIEWS:
            coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            coarse.resize((48, 48)).save(folder / f"{location}_{view}.jpg")
    (folder / "L07_b.jpg").write_bytes(b"not an image")
    return folder


def wanted(
    folder: Path, path: Path, locations: list[str] = LOCATIONS, **options: Any
) -> Extraction:
    views, _ = find_views(ImagerySettings(folder=folder, views=VIEWS), locations)
    how = {"view_names": VIEWS, "device": "cpu", "engine": "torch", "cache_key": "s"} | options
    return Extraction(views, locations, path, **how)


def elsewhere(folder: Path, path: Path, **options: Any) -> list[Path]:
    """Make two shards of a store that share locations, one of which is broken."""
    shards = [shards_of(path) / f"{name}.h5" for name in "12"]
    for shard, locations in zip(shards, (LOCATIONS[:8], LOCATIONS[5:]), strict=True):
        extract_features(wanted(folder, shard, locations, **options))
    return shards


@pytest.mark.parametrize("require", ["all", "any"])
def test_shards_of_other_machines_become_the_store_that_this_one_would_make(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: str
) -> None:
    path, local = tmp_path / "a.h5", tmp_path / "local.h5"
    expected = extract_features(wanted(folder, local, require=require))
    elsewhere(folder, path, require=require)
    taken = wanted(folder, path, require=require, engine="auto", device="auto")
    with monkeypatch.context() as patch:
        patch.setattr(extract, "load_network", lambda *_: pytest.fail("loaded a network"))
        assert take_in_shards(taken)
        assert path.read_bytes() == local.read_bytes()
        assert extract_features(taken).equals(expected)
    before = path.stat().st_mtime_ns
    assert take_in_shards(taken)
    assert path.read_bytes() == local.read_bytes()
    assert path.stat().st_mtime_ns == before  # nothing is written a second time


def test_without_shards_nothing_is_made(folder: Path, tmp_path: Path) -> None:
    assert not take_in_shards(wanted(folder, tmp_path / "a.h5"))
    assert not (tmp_path / "a.h5").exists()


def test_locations_that_the_shards_lack_are_computed_here(folder: Path, tmp_path: Path) -> None:
    path, local = tmp_path / "a.h5", tmp_path / "local.h5"
    expected = extract_features(wanted(folder, local))
    elsewhere(folder, path)[0].unlink()
    take_in_shards(wanted(folder, path))
    assert FeatureStore.open(path).attempted.tolist() == [False] * 5 + [True] * 7
    assert extract_features(wanted(folder, path)).equals(expected)
    assert path.read_bytes() == local.read_bytes()


def test_shards_of_other_settings_are_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    elsewhere(folder, path)
    with pytest.raises(InputError, match="their engine is 'torch', and the study asks for 'openv"):
        take_in_shards(wanted(folder, path, engine="openvino"))
    assert not path.exists()
    with pytest.raises(InputError, match="made from other images or settings; remove the folder"):
        take_in_shards(wanted(folder, path, cache_key="another"))


def test_features_of_another_device_are_taken_in_and_not_mixed_with_ours(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    shards = elsewhere(folder, path)
    for shard in shards:
        with h5py.File(shard, "r+") as file:
            put_text(file, "device", "cuda")
    shards[0].unlink()
    with pytest.raises(InputError, match="their device is 'cuda', and the study asks for 'cpu'"):
        take_in_shards(wanted(folder, path))
    taken = wanted(folder, path, device="auto")
    take_in_shards(taken)
    assert FeatureStore.open(path).attributes["device"] == "cuda"  # the cache_key says the truth
    if not torch.cuda.is_available():
        with pytest.raises(
            InputError, match="were computed on 'cuda', which this machine does not have"
        ):
            extract_features(taken)
