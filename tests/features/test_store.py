"""The file that keeps features."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from streetgauge.errors import InputError
from streetgauge.features import FeatureStore

IDS = ["BR11AA", "Zürich-1", "x"]
TEXTS = {"backbone": "test", "weights_sha256": "00", "transform": "{}", "stamp": "s1"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sub" / "features.h5"


def made(path: Path, n_features: int = 5) -> FeatureStore:
    return FeatureStore.create(path, IDS, ["a", "b"], n_features, TEXTS)


def some(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 2, 5)).astype(np.float32)


def test_a_new_store_is_all_zeros_and_nothing_is_done(path: Path) -> None:
    made(path)
    store = FeatureStore.open(path)
    assert store.location_ids.tolist() == IDS
    assert store.views == ("a", "b")
    assert store.backbone == "test"
    assert not store.features.any()
    assert not store.present.any()
    assert not store.done.any()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_is_written_comes_back_by_key(path: Path) -> None:
    store, features = made(path), some(2)
    store.write([2, 0], features, np.ones((2, 2), dtype=bool))
    again = FeatureStore.open(path)
    rows = again.rows(["BR11AA", "nowhere", "x", "Zürich-1", "x"])
    assert rows.tolist() == [0, -1, 2, -1, 2]
    np.testing.assert_array_equal(again.features[rows[[2, 0]]], features)


def test_a_location_that_is_not_done_has_no_row(path: Path) -> None:
    store = made(path)
    store.write([0, 1], some(2), np.ones((2, 2), dtype=bool), np.array([False, True]))
    assert store.rows(IDS).tolist() == [-1, 1, -1]
    assert store.tried.tolist() == [True, True, False]


def test_absent_views_are_zeros_whatever_was_given(path: Path) -> None:
    store = made(path)
    features = np.full((1, 2, 5), np.nan, dtype=np.float32)
    features[0, 1] = 3
    store.write([1], features, np.array([[False, True]]))
    assert store.features[1].tolist() == [[0] * 5, [3] * 5]
    assert store.present[1].tolist() == [False, True]


def test_h5py_alone_reads_it(path: Path) -> None:
    features = some(3)
    made(path).write([0, 1, 2], features, np.ones((3, 2), dtype=bool))
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["features"][:], features)
        assert file["features"].chunks is None
        assert file["features"].dtype == np.float32
        assert file["location_id"].asstr()[:].tolist() == IDS
        assert file["done"].dtype == bool
        assert file["done"][:].all()
        assert file["present"].shape == (3, 2)
        assert file.attrs["format"] == "streetgauge-features"
        assert file.attrs["format_version"] == 1
        assert json.loads(file.attrs["views"]) == ["a", "b"]
        named = {"backbone", "weights_sha256", "transform", "dtype", "code_version", "stamp"}
        assert named | {"licence"} <= set(file.attrs)


def test_maps_are_aligned_for_any_length_of_ids(tmp_path: Path) -> None:
    for n in range(1, 9):
        store = FeatureStore.create(tmp_path / "a.h5", ["x" * n, "y"], ["a"], 3, TEXTS)
        assert store.features.ctypes.data % 64 == 0


def test_the_same_content_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        made(tmp_path / name).write([1], some(1), np.ones((1, 2), dtype=bool))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_writing_never_touches_hdf5_s_own_records(path: Path) -> None:
    store = made(path)
    before = np.frombuffer(path.read_bytes(), np.uint8)
    store.write([0, 1, 2], some(3), np.ones((3, 2), dtype=bool))
    after = np.frombuffer(path.read_bytes(), np.uint8)
    inside = np.zeros(len(before), dtype=bool)
    with h5py.File(path) as file:
        for name in ("features", "present", "done", "tried"):
            start = file[name].id.get_offset()
            inside[start : start + file[name].nbytes] = True
    assert len(before) == len(after)
    assert (before == after)[~inside].all()


def test_features_are_on_disk_before_done_is_set(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made(path)
    seen: list[tuple[str, bool]] = []
    names = {id(getattr(store, name)): name for name in ("features", "present", "done", "tried")}

    def flush(mapped: np.memmap) -> None:
        seen.append((names[id(mapped)], bool(store.done[0])))

    monkeypatch.setattr(np.memmap, "flush", flush)
    store.write([0], some(1), np.ones((1, 2), dtype=bool))
    assert seen == [("features", False), ("present", False), ("done", True), ("tried", True)]


def test_an_open_store_cannot_be_written_unless_asked(path: Path) -> None:
    made(path)
    with pytest.raises(ValueError, match="read-only"):
        FeatureStore.open(path).write([0], some(1), np.ones((1, 2), dtype=bool))
    FeatureStore.open(path, writable=True).write([0], some(1), np.ones((1, 2), dtype=bool))
    assert FeatureStore.open(path).done.tolist() == [True, False, False]


def altered(path: Path, **attributes: object) -> None:
    with h5py.File(path, "r+") as file:
        for name, value in attributes.items():
            file.attrs[name] = value


def test_a_newer_version_is_refused_with_one_sentence(path: Path) -> None:
    made(path)
    altered(path, format_version=2)
    with pytest.raises(
        InputError, match=r"format version is 2.*reads up to 1.*newer streetgauge\."
    ):
        FeatureStore.open(path)


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.h5"
    text.write_text("no store")
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["features"] = np.zeros((2, 2, 2))
    for file_path in (text, other):
        with pytest.raises(InputError, match="this is no feature store"):
            FeatureStore.open(file_path)
    with pytest.raises(InputError, match="there is no such file"):
        FeatureStore.open(tmp_path / "nowhere.h5")


def test_a_store_that_is_cut_off_is_refused(path: Path) -> None:
    made(path)
    whole = path.read_bytes()
    for length in (len(whole) // 2, len(whole) - 1, 100):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut off|no feature store"):
            FeatureStore.open(path)


@pytest.mark.parametrize("how", ["chunked", "other shape", "other type", "elsewhere", "gone"])
def test_datasets_laid_out_in_another_way_are_refused(path: Path, how: str) -> None:
    made(path)
    with h5py.File(path.with_name("other.h5"), "w") as other:
        other["features"] = np.zeros((3, 2, 5), dtype=np.float32)
    with h5py.File(path, "r+") as file:
        del file["features"]
        if how == "chunked":
            file.create_dataset("features", (3, 2, 5), "f4", chunks=(1, 2, 5))
        elif how == "other shape":
            file["features"] = np.zeros((2, 2, 5), dtype=np.float32)
        elif how == "other type":
            file["features"] = np.zeros((3, 2, 5), dtype=np.float64)
        elif how == "elsewhere":
            file["features"] = h5py.ExternalLink("other.h5", "features")
    with pytest.raises(InputError, match="features"):
        FeatureStore.open(path)


def test_a_store_of_nothing_or_with_a_location_twice_is_refused(path: Path) -> None:
    with pytest.raises(InputError, match="nothing to keep"):
        FeatureStore.create(path, [], ["a"], 3, TEXTS)
    with pytest.raises(InputError, match="a location is given twice"):
        FeatureStore.create(path, ["x", "x"], ["a"], 3, TEXTS)
    assert not path.exists()


def test_making_a_store_again_replaces_the_old_one_whole(path: Path) -> None:
    made(path).write([0], some(1), np.ones((1, 2), dtype=bool))
    FeatureStore.create(path, ["new"], ["a"], 2, TEXTS)
    store = FeatureStore.open(path)
    assert store.location_ids.tolist() == ["new"]
    assert not store.done.any()
