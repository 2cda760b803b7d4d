"""The file that keeps features."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from streetgauge.errors import InputError
from streetgauge.features import FeatureStore, get_backbone
from streetgauge.features.preprocess import transform_json
from streetgauge.features.store_file import LAYOUT, put_text
from streetgauge.imagery import QUALITY

IDS = ["BR11AA", "Zürich-1", "x"]
TEXTS = {"backbone": "test", "weights_sha256": "00", "transform": "{}", "cache_key": "s1"}


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
    assert store.attempted.tolist() == [True, True, False]


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
        assert file.attrs["format"] == b"streetgauge-features"
        assert file.attrs["format_version"] == 4
        assert json.loads(file.attrs["views"]) == ["a", "b"]
        named = {"backbone", "weights_sha256", "transform", "dtype", "code_version", "cache_key"}
        assert named | {"licence"} <= set(file.attrs)


def test_maps_are_aligned_for_any_length_of_ids(tmp_path: Path) -> None:
    for n in range(1, 9):
        with FeatureStore.create(tmp_path / "a.h5", ["x" * n, "y"], ["a"], 3, TEXTS) as store:
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
        for name in LAYOUT:
            start = file[name].id.get_offset()
            inside[start : start + file[name].nbytes] = True
    assert len(before) == len(after)
    assert (before == after)[~inside].all()


def test_features_are_on_disk_before_done_is_set(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made(path)
    seen: list[tuple[bool, bool, bool]] = []
    sync = os.fsync

    def watched(file: int) -> None:
        seen.append((bool(store.features[0].any()), bool(store.done[0]), bool(store.attempted[0])))
        sync(file)

    monkeypatch.setattr(os, "fsync", watched)
    store.write([0], some(1), np.ones((1, 2), dtype=bool))
    assert seen == [(True, False, False), (True, True, True)]


def test_a_row_is_marked_as_not_done_before_it_is_written_over(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made(path)
    store.write([0], some(1), np.ones((1, 2), dtype=bool))
    before = store.features[0].copy()
    seen: list[tuple[bool, bool]] = []
    sync = os.fsync

    def watched(file: int) -> None:
        seen.append((bool((store.features[0] == before).all()), bool(store.done[0])))
        sync(file)

    monkeypatch.setattr(os, "fsync", watched)
    store.write([0], some(1, seed=1), np.ones((1, 2), dtype=bool))
    assert seen == [(True, False), (False, False), (False, True)]


def test_views_are_not_read_before_their_row_is_committed(path: Path) -> None:
    store, features = made(path), some(1)
    for column in (1, 0):
        store.write_views(
            np.array([2]), np.array([column]), features[:, column], np.ones(1, dtype=bool)
        )
        assert store.rows(["x"]).tolist() == [-1]
    store.commit(np.array([2]), np.array([True]))
    np.testing.assert_array_equal(FeatureStore.open(path).features[store.rows(["x"])], features)


def test_rows_in_any_order_are_written_where_they_belong(path: Path) -> None:
    with FeatureStore.create(path, [f"L{i}" for i in range(20)], ["a", "b"], 5, TEXTS) as store:
        features = some(20)
        order = np.random.default_rng(1).permutation(20)
        store.write(order, features[order], np.ones((20, 2), dtype=bool))
        np.testing.assert_array_equal(store.features, features)


def test_an_open_store_cannot_be_written_unless_asked(path: Path) -> None:
    made(path)
    with pytest.raises(ValueError, match="read-only"):
        FeatureStore.open(path).write([0], some(1), np.ones((1, 2), dtype=bool))
    FeatureStore.open(path, writable=True).write([0], some(1), np.ones((1, 2), dtype=bool))
    assert FeatureStore.open(path).done.tolist() == [True, False, False]


def altered(path: Path, **attributes: object) -> None:
    with h5py.File(path, "r+") as file:
        for name, value in attributes.items():
            if isinstance(value, str):
                put_text(file, name, value)
            else:
                file.attrs[name] = value


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        (5, r"a newer streetgauge made it \(format 5; this one reads 4\); upgrade streetgauge\.$"),
        (
            3,
            r"an unreleased version of streetgauge made it \(format 3; this one reads 4\); "
            r"run the study again with --force\.$",
        ),
        ("new", "'new' is not a format version; run the study again with --force"),
    ],
)
def test_another_format_version_is_refused_with_one_sentence(
    path: Path, version: object, sentence: str
) -> None:
    made(path)
    altered(path, format_version=version)
    for writable in (False, True):
        with pytest.raises(InputError, match=sentence) as caught:
            FeatureStore.open(path, writable=writable)
        assert str(path) in str(caught.value)


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.h5"
    text.write_text("no store")
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["features"] = np.zeros((2, 2, 2))
    for file_path in (text, other):
        with pytest.raises(InputError, match="this is not a feature store"):
            FeatureStore.open(file_path)
    with pytest.raises(InputError, match="there is no such file"):
        FeatureStore.open(tmp_path / "nowhere.h5")


def test_a_store_that_is_cut_off_is_refused(path: Path) -> None:
    made(path)
    whole = path.read_bytes()
    for length in (len(whole) // 2, len(whole) - 1, 100):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut off|not a feature store"):
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
    with pytest.raises(InputError, match="nothing to store"):
        FeatureStore.create(path, [], ["a"], 3, TEXTS)
    with pytest.raises(InputError, match="appears more than once; give each location once"):
        FeatureStore.create(path, ["x", "x"], ["a"], 3, TEXTS)
    assert not path.exists()


def test_making_a_store_again_replaces_the_old_one_whole(path: Path) -> None:
    made(path).write([0], some(1), np.ones((1, 2), dtype=bool))
    FeatureStore.create(path, ["new"], ["a"], 2, TEXTS)
    store = FeatureStore.open(path)
    assert store.location_ids.tolist() == ["new"]
    assert not store.done.any()


def test_float16_takes_half_the_space_and_keeps_three_digits(path: Path) -> None:
    features = some(3)
    with FeatureStore.create(path, IDS, ["a", "b"], 5, TEXTS, dtype="float16") as store:
        store.write([0, 1, 2], features, np.ones((3, 2), dtype=bool))
    store = FeatureStore.open(path)
    assert store.features.dtype == np.float16
    assert store.attributes["dtype"] == "float16"
    np.testing.assert_array_equal(store.features, features.astype(np.float16))
    np.testing.assert_allclose(store.features, features, rtol=2**-11)
    with h5py.File(path) as file:
        assert file["features"].dtype == np.float16


def test_a_number_too_large_for_float16_is_refused_and_not_stored_as_infinity(path: Path) -> None:
    features = some(3)
    features[1, 1, 3] = -70_000
    with FeatureStore.create(path, IDS, ["a", "b"], 5, TEXTS, dtype="float16") as store:
        with pytest.raises(InputError, match=r"'Zürich-1'.*70000 is too large.*float32"):
            store.write([0, 1, 2], features, np.ones((3, 2), dtype=bool))
        assert not store.done.any()


WRITER = """
import sys
from pathlib import Path
from streetgauge.features import FeatureStore
with FeatureStore.open(Path(sys.argv[1]), writable=True):
    print("open", flush=True)
    sys.stdin.readline()
"""


def test_a_second_writer_is_refused_until_the_first_has_ended_or_is_killed(path: Path) -> None:
    made(path).close()
    for way in ("ends", "killed"):
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == "open\n"
            for attempt in (
                lambda: FeatureStore.open(path, writable=True),
                lambda: made(path),
            ):
                with pytest.raises(InputError, match=rf"process {process.pid} on .* is writing"):
                    attempt()
            assert FeatureStore.open(path).location_ids.tolist() == IDS  # readers are let in
            if way == "killed":
                os.kill(process.pid, signal.SIGKILL)
            else:
                process.stdin.write("\n")
                process.stdin.flush()
            process.wait()
        FeatureStore.open(path, writable=True).close()
        assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_second_writer_in_the_same_process_is_refused(path: Path) -> None:
    store = made(path)
    with pytest.raises(InputError, match="is writing to it"):
        FeatureStore.open(path, writable=True)
    store.close()
    FeatureStore.open(path, writable=True).close()


def test_a_full_disk_is_reported_before_any_work_and_leaves_the_old_store_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(path).write([0], some(1), np.ones((1, 2), dtype=bool))
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match=r"No space left.*MB are free; make room") as caught:
        FeatureStore.create(path, ["new"], ["a"], 2, TEXTS)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    FeatureStore.open(path, writable=True).close()


def test_a_store_larger_than_the_disk_is_refused_before_a_byte_is_written(path: Path) -> None:
    made(path).close()
    with pytest.raises(OSError, match=r"No space left on device: it takes 80,000,000"):
        FeatureStore.create(path, ["a", "b"], ["a"], 10**13, TEXTS)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system reserves no space")
def test_the_space_of_a_store_is_taken_when_it_is_made(tmp_path: Path) -> None:
    ids = [str(i) for i in range(2000)]
    with FeatureStore.create(tmp_path / "a.h5", ids, ["a"], 512, TEXTS) as store:
        status = store.path.stat()
        assert status.st_blocks * 512 >= 0.99 * status.st_size


LITE0 = get_backbone("efficientnet-lite0")


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"name": "vgg"}, "features are of 'efficientnet-lite0', not of 'vgg'"),
        ({"sha256": "ab" * 32}, "made with other weights: sha256 579344248a93, not abababababab"),
        ({"dimension": 4096}, "has 1,280 features a view, not 4,096"),
        ({"crop": 200}, "images were prepared in another way"),
    ],
)
def test_a_store_of_another_backbone_is_refused(
    path: Path, other: dict[str, Any], reason: str
) -> None:
    texts = {
        "backbone": LITE0.name,
        "weights_sha256": LITE0.sha256,
        "transform": transform_json(LITE0),
    }
    FeatureStore.create(path, IDS, ["a", "b"], 1280, texts).close()
    assert FeatureStore.open(path, backbone=LITE0).backbone == LITE0.name
    with pytest.raises(InputError, match=reason):
        FeatureStore.open(path, backbone=replace(LITE0, **other))


@pytest.mark.parametrize("views", ["x", "5", "null", '["a", "a"]', '[["a"], "b"]', '{"a": 1}'])
def test_names_of_views_that_are_none_are_refused(tmp_path: Path, views: str) -> None:
    path = tmp_path / "s.h5"
    about = {"backbone": "b", "weights_sha256": "", "transform": "{}", "cache_key": ""}
    FeatureStore.create(path, ["X", "Y"], ["a", "b"], 3, about).close()
    with h5py.File(path, "r+") as file:
        put_text(file, "views", views)
    with pytest.raises(InputError, match="views"):
        FeatureStore.open(path)


@pytest.mark.parametrize("kind", ["numbers", "table", "group", "other file", "not UTF-8"])
def test_ids_that_are_no_text_of_this_file_are_refused(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "s.h5", tmp_path / "other.h5"
    about = {"backbone": "b", "weights_sha256": "", "transform": "{}", "cache_key": ""}
    for each in (path, other):
        FeatureStore.create(each, ["X", "Y"], ["a", "b"], 3, about).close()
    with h5py.File(path, "r+") as file:
        del file["location_id"]
        if kind == "group":
            file.create_group("location_id")
        else:
            file["location_id"] = {
                "numbers": np.arange(2),
                "table": np.array([[b"X"], [b"Y"]]),
                "other file": h5py.ExternalLink(other, "location_id"),
                "not UTF-8": np.array([b"\xff", b"Y"]),
            }[kind]
    with pytest.raises(InputError):
        FeatureStore.open(path)


def whole(path: Path, features: np.ndarray) -> FeatureStore:
    """A store of which every dataset has numbers, closed."""
    signatures = np.arange(1, 97, dtype=np.uint8).reshape(3, 2, 16)
    quality = np.zeros((3, 2), QUALITY)
    quality["fingerprint"] = np.arange(1, 7).reshape(3, 2)
    present = np.ones((3, 2), dtype=bool)
    quality["fingerprint"][1, 1], present[1, 1] = 0, False
    with made(path) as store:
        store.write(
            [0, 1, 2],
            features,
            present,
            present.all(axis=1),
            signatures=signatures,
            quality=quality,
        )
    return FeatureStore.open(path)


def content_of(path: Path) -> list[Any]:
    store = FeatureStore.open(path)
    store.verify()
    arrays = [np.asarray(getattr(store, name)).tobytes() for name in (*LAYOUT, "location_ids")]
    return [*arrays, store.attributes, store.views]


def test_a_flipped_bit_is_refused_wherever_it_lies_or_changes_nothing_that_is_read(
    path: Path,
) -> None:
    store = whole(path, some(3))
    expected, before = content_of(path), path.read_bytes()
    with h5py.File(path) as file:
        numbers = [
            file[name].id.get_offset() + at
            for name in (*LAYOUT, "location_id")
            for at in range(file[name].nbytes)
        ]
    del store
    rng = np.random.default_rng(1)
    tried = [*rng.choice(numbers, 150), *rng.choice(len(before), 100)]
    for position in tried:
        damaged = bytearray(before)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        if position in numbers:
            with pytest.raises(InputError, match=f"^{re.escape(str(path))}: "):
                content_of(path)
            continue
        with suppress(InputError):
            assert content_of(path) == expected


def test_verify_names_the_first_damaged_location_and_its_view(path: Path) -> None:
    offset = whole(path, some(3)).features.offset
    FeatureStore.open(path).verify()
    damaged = bytearray(path.read_bytes())
    for slot, view in ((1, 0), (2, 1)):
        damaged[offset + (slot * 2 + view) * 5 * 4] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(InputError) as caught:
        FeatureStore.open(path).verify()
    assert str(caught.value) == (
        f"{path}: the numbers of location 'Zürich-1', view 'a', and of 1 more are not those that "
        "were written; make it again with `streetgauge features STUDY --force`."
    )


def test_swapped_views_and_a_page_of_zeros_are_found_as_well(path: Path) -> None:
    store = whole(path, some(3))
    before, size = path.read_bytes(), 2 * 5 * 4
    for name in ("features", "checksum", "mark_checksum", "done", "present"):
        damaged = bytearray(before)
        start = getattr(store, name).offset
        damaged[start : start + getattr(store, name).nbytes] = bytes(getattr(store, name).nbytes)
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="are not those that were written"):
            FeatureStore.open(path).verify()
    start = store.features.offset
    damaged = bytearray(before)
    damaged[start : start + size] = before[start + size : start + 2 * size]
    damaged[start + size : start + 2 * size] = before[start : start + size]
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="are not those that were written"):
        FeatureStore.open(path).verify()


def test_what_is_discarded_as_damaged_is_as_if_it_had_never_been_computed(path: Path) -> None:
    store = whole(path, some(3))
    damaged = bytearray(path.read_bytes())
    damaged[store.features.offset + 40] ^= 8  # of location 1, view "a"
    path.write_bytes(damaged)
    with FeatureStore.open(path, writable=True) as store:
        store.discard_damaged()
    store = FeatureStore.open(path)
    store.verify()
    assert store.attempted.tolist() == [True, False, True]
    assert store.held.tolist() == [[True, True], [False, True], [True, True]]
    assert not store.features[1].any()


def test_a_mask_that_is_set_anew_has_its_checksums(path: Path) -> None:
    whole(path, some(3))
    with FeatureStore.open(path, writable=True) as store:
        store.set_mask(np.array([[1, 0], [0, 1], [1, 1]], bool), np.array([0, 0, 1], bool))
    store = FeatureStore.open(path)
    store.verify()
    assert store.done.tolist() == [False, False, True]


@pytest.mark.parametrize("name", ["features", "location_id", "done"])
def test_a_dataset_that_claims_terabytes_is_refused_before_any_is_allocated(
    path: Path, name: str
) -> None:
    made(path).close()
    with h5py.File(path, "r+") as file:
        kind = file[name].dtype
        del file[name]
        shape = (2**30, 2, 2**10) if name == "features" else (2**40,)
        file.create_dataset(name, shape, kind, **({"chunks": (1, 2, 8)} if len(shape) > 1 else {}))
    with pytest.raises(
        InputError, match=f"'{name}' is not laid out as in a feature store|features"
    ):
        FeatureStore.open(path)


def test_attributes_of_odd_types_or_great_size_are_not_read(path: Path) -> None:
    made(path).close()
    with h5py.File(path, "r+") as file:
        file.attrs["backbone"] = np.zeros(1000, np.uint64)
        file.attrs["strange"] = np.zeros(3, np.dtype([("a", "i4"), ("b", "f8")]))
    store = FeatureStore.open(path)
    assert (store.backbone, store.attributes["strange"]) == ("", "")
