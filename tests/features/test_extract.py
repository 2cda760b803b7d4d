"""Images through the network into a store, whole, broken, and stopped on the way."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from streetgauge.devices import working_threads
from streetgauge.errors import InputError
from streetgauge.features import (
    Extraction,
    FeatureStore,
    FrozenNetwork,
    extract,
    extract_features,
    get_backbone,
    load_network,
    prepare,
    preprocess,
)
from streetgauge.features.chunks import features_of
from streetgauge.features.store_file import put_text
from streetgauge.imagery import find_views, read_image
from streetgauge.io.files import WriteLock
from streetgauge.progress import Advance, silent
from streetgauge.settings import ImagerySettings

VIEWS = ("a", "b")
LITE0 = get_backbone("efficientnet-lite0")
IDS = [f"L{i:02}" for i in range(12)]


class Tiles:
    """A network whose features are means of tiles: cheap, and other for every image."""

    engine, precision, device, cosine, batch = "torch", "float32", "cpu", 1.0, 4

    def __init__(self) -> None:
        self.backbone, self.passes = LITE0, []

    def features(self, images: np.ndarray) -> np.ndarray:
        assert len(images) % 4 == 0  # every pass is a whole one
        self.passes.append(int(images.any(axis=(1, 2, 3)).sum()))  # whole: threads do it at once
        tiles = images.reshape(len(images), -1)[:, : 1280 * 117].reshape(-1, 1280, 117)
        return tiles.mean(axis=2, dtype=np.float32)

    @property
    def seen(self) -> int:
        return sum(self.passes)


@pytest.fixture(autouse=True)
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Tiles:
    """Stand in for the network, but in tests that ask for the real one."""
    network = Tiles()
    if "real" not in request.fixturenames:
        monkeypatch.setattr(extract, "load_network", lambda *_: network)
    return network


@pytest.fixture
def real() -> None:
    """Ask for the real network."""


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the real network as it was loaded once, where loading it is not the question."""
    monkeypatch.setattr(extract, "load_network", lambda *_, **__: network())


def painted(path: Path, seed: int) -> None:
    """An image unlike any other: coarse coloured noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC).save(path, quality=90)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve locations with two views each, all whole."""
    images = tmp_path_factory.mktemp("images")
    for i in range(12):
        for j, view in enumerate(VIEWS):
            painted(images / f"L{i:02}_{view}.jpg", 10 * i + j)
    return images


def broken_copy(folder: Path, target: Path) -> Path:
    """The same images, of which four cannot be read, each for another reason."""
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    whole = (folder / "L01_b.jpg").read_bytes()
    (target / "L01_b.jpg").write_bytes(whole[: len(whole) // 2])
    (target / "L04_a.jpg").write_bytes(b"")
    (target / "L07_a.jpg").write_text("no image")
    (target / "L11_b.jpg").write_bytes(too_large())
    return target


@cache
def too_large() -> bytes:
    """An image of 256 megapixels in a few kilobytes, which take half a second to pack."""
    file = io.BytesIO()
    Image.new("1", (16_000, 16_000)).save(file, format="PNG")
    return file.getvalue()


def images_of(
    folder: Path, ids: list[str] = IDS, pattern: str = "{location_id}_{view}.jpg"
) -> pd.DataFrame:
    return find_views(ImagerySettings(folder=folder, views=VIEWS, pattern=pattern), ids)[0]


def run(folder: Path, path: Path, **options: Any) -> pd.DataFrame:
    ids = options.pop("locations", IDS)
    views = options.pop("views") if "views" in options else images_of(folder, ids)
    batch, progress = options.pop("batch", 5), options.pop("progress", silent)
    given = {"view_names": VIEWS, "cache_key": "s", "device": "cpu", "engine": "torch", **options}
    wanted = Extraction(views, ids, path, **given)
    skips = extract_features(wanted, batch=batch, progress=progress)
    assert not skips.duplicated(["location_id", "view"]).any()  # an image has one reason
    return skips


def alone(file: Path) -> np.ndarray:
    """Features of one image, computed by itself."""
    image = prepare(read_image(file), LITE0)
    with working_threads() as pool:
        features: np.ndarray = pool.submit(network().features, image[None]).result()
    return features[0]


@cache
def network() -> FrozenNetwork:
    return load_network(LITE0, "cpu", "torch")


class StopError(Exception):
    """A run that ends in the middle."""


def stopping_after(chunks: int) -> Any:
    @contextmanager
    def progress(description: str, total: int, unit: str) -> Iterator[Advance]:
        seen = 0

        def advance(steps: int) -> None:
            nonlocal seen
            seen += 1
            if seen == chunks:
                raise StopError

        yield advance

    return progress


@pytest.mark.usefixtures("real")
def test_every_location_has_its_own_images_features(folder: Path, tmp_path: Path) -> None:
    skips = run(folder, tmp_path / "a.h5")
    store = FeatureStore.open(tmp_path / "a.h5")
    assert skips.empty
    assert list(skips.columns) == ["location_id", "view", "area", "stage", "reason"]
    assert store.done.all()
    assert store.present.all()
    assert store.features.shape == (12, 2, 1280)
    for location, view in (("L00", "a"), ("L05", "b"), ("L11", "a")):
        found = store.features[store.rows([location])[0], VIEWS.index(view)]
        expected = alone(folder / f"{location}_{view}.jpg")
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_store_names_what_made_it(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "a.h5")
    attributes = FeatureStore.open(tmp_path / "a.h5").attributes
    assert attributes["backbone"] == "efficientnet-lite0"
    assert attributes["weights_sha256"] == LITE0.sha256
    assert attributes["licence"] == "Apache-2.0"
    assert attributes["cache_key"] == "s"
    assert attributes["engine"] == "torch"
    assert attributes["device"] == "cpu"
    assert attributes["precision"] == "float32"
    assert attributes["cosine"] == "1.000000"


def test_shuffled_inputs_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    ids = [f"L{i:02}" for i in range(12)]
    views, _ = find_views(ImagerySettings(folder=folder, views=VIEWS), ids)
    run(folder, tmp_path / "a.h5")
    shuffled = views.sample(frac=1, random_state=3)
    run(folder, tmp_path / "b.h5", views=shuffled, locations=ids[::-1])
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_broken_image_leaves_its_location_out_and_shifts_no_other(
    folder: Path, tmp_path: Path
) -> None:
    run(folder, tmp_path / "whole.h5")
    skips = run(broken_copy(folder, tmp_path / "broken"), tmp_path / "a.h5")
    whole, store = (FeatureStore.open(tmp_path / name) for name in ("whole.h5", "a.h5"))
    out = ["L01", "L04", "L07", "L11"]
    assert skips["location_id"].tolist() == out
    assert skips["view"].tolist() == ["b", "a", "a", "b"]
    for reason, word in zip(
        skips["reason"], ("damaged", "empty", "not an image", "more"), strict=True
    ):
        assert word in reason
        assert reason.endswith("all views are needed")
    ids = whole.location_ids
    assert store.location_ids.tolist() == ids.tolist()
    assert ids[~store.done].tolist() == out
    assert (store.rows(out) == -1).all()
    done = store.rows(ids[store.done])
    np.testing.assert_allclose(store.features[done], whole.features[done], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("real", "loaded")
def test_no_features_are_saved_under_a_broken_image_s_name(folder: Path, tmp_path: Path) -> None:
    skips = run(broken_copy(folder, tmp_path / "broken"), tmp_path / "a.h5", require="any")
    store = FeatureStore.open(tmp_path / "a.h5")
    for row in skips.itertuples():
        slot, column = store.rows([row.location_id])[0], VIEWS.index(row.view)
        assert not store.present[slot, column]
        assert not store.features[slot, column].any()
        assert store.present[slot, 1 - column]
        other = alone(folder / f"{row.location_id}_{VIEWS[1 - column]}.jpg")
        np.testing.assert_allclose(store.features[slot, 1 - column], other, rtol=1e-4, atol=1e-5)
    assert store.done.all()
    assert not skips["reason"].str.contains("needed").any()


def test_with_any_a_location_without_one_readable_view_is_excluded(
    folder: Path, tmp_path: Path
) -> None:
    copy = broken_copy(folder, tmp_path / "broken")
    (copy / "L04_b.jpg").write_bytes(b"")
    (copy / "L05_b.jpg").unlink()
    skips = run(copy, tmp_path / "a.h5", require="any")
    store = FeatureStore.open(tmp_path / "a.h5")
    assert store.location_ids[~store.done].tolist() == ["L04"]
    assert store.present[5].tolist() == [True, False]
    assert skips[skips["location_id"] == "L04"]["view"].tolist() == ["a", "b"]


def test_locations_that_lack_a_view_are_not_read_when_all_are_needed(
    folder: Path, tmp_path: Path
) -> None:
    copy = broken_copy(folder, tmp_path / "broken")
    (copy / "L01_a.jpg").unlink()  # its other view is broken: no reason to tell
    skips = run(copy, tmp_path / "a.h5")
    store = FeatureStore.open(tmp_path / "a.h5")
    assert not store.done[1]
    assert "L01" not in skips["location_id"].tolist()


@pytest.mark.usefixtures("real", "loaded")
@pytest.mark.parametrize("require", ["all", "any"])
def test_a_run_that_was_stopped_and_resumed_is_the_run_that_was_not(
    folder: Path, tmp_path: Path, require: str
) -> None:
    copy = broken_copy(folder, tmp_path / "broken")
    expected = run(copy, tmp_path / "a.h5", require=require)
    for chunks in (1, 4):
        path = tmp_path / f"{chunks}.h5"
        with pytest.raises(StopError):
            run(copy, path, require=require, progress=stopping_after(chunks))
        assert 0 < FeatureStore.open(path).attempted.sum() < 12
        resumed = run(copy, path, require=require)
        pd.testing.assert_frame_equal(resumed, expected)
        assert path.read_bytes() == (tmp_path / "a.h5").read_bytes()


def test_a_finished_store_is_not_computed_again_and_tells_the_same_skips(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = broken_copy(folder, tmp_path / "broken")
    expected = run(copy, tmp_path / "a.h5")
    monkeypatch.setattr(extract, "load_network", lambda *_: pytest.fail("loaded the network"))
    pd.testing.assert_frame_equal(run(copy, tmp_path / "a.h5"), expected)


def test_an_image_that_was_repaired_is_computed_again(folder: Path, tmp_path: Path) -> None:
    copy = broken_copy(folder, tmp_path / "broken")
    run(copy, tmp_path / "a.h5")
    (copy / "L04_a.jpg").write_bytes((folder / "L04_a.jpg").read_bytes())
    skips = run(copy, tmp_path / "a.h5")
    assert "L04" not in skips["location_id"].tolist()
    assert FeatureStore.open(tmp_path / "a.h5").done[4]


@pytest.mark.parametrize("change", [{"cache_key": "t"}, {"view_names": ("b", "a")}])
def test_a_store_of_other_inputs_is_made_anew(
    folder: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    run(folder, tmp_path / "a.h5")
    run(folder, tmp_path / "a.h5", **change)
    run(folder, tmp_path / "b.h5", **change)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_file_that_is_no_store_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_text("my notes")
    with pytest.raises(InputError, match="this is not a feature store"):
        run(folder, path)
    assert path.read_text() == "my notes"


def test_a_view_with_two_images_is_refused(folder: Path, tmp_path: Path) -> None:
    ids = [f"L{i:02}" for i in range(12)]
    views, _ = find_views(ImagerySettings(folder=folder, views=VIEWS), ids)
    with pytest.raises(InputError, match="'L00': view 'a' has two images"):
        run(folder, tmp_path / "a.h5", views=pd.concat([views, views.head(1)]))


KILLED = """
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from streetgauge.features import Extraction, extract, extract_features
from streetgauge.imagery import find_views
from streetgauge.settings import ImagerySettings

extract.COMMIT_EVERY = 0
folder, path = Path(sys.argv[1]), Path(sys.argv[2])
ids = [f"L{i:02}" for i in range(12)]
views, _ = find_views(ImagerySettings(folder=folder, views=("a", "b")), ids)

@contextmanager
def progress(description, total, unit):
    yield lambda steps: print("chunk", flush=True)

wanted = Extraction(views, ids, path, view_names=("a", "b"), cache_key="s", device="cpu",
                    engine="torch")
extract_features(wanted, batch=5, progress=progress)
"""


@pytest.mark.usefixtures("real", "loaded")
def test_kill_9_in_the_middle_loses_nothing(folder: Path, tmp_path: Path) -> None:
    copy, path = broken_copy(folder, tmp_path / "broken"), tmp_path / "killed.h5"
    expected = run(copy, tmp_path / "a.h5")
    command = [sys.executable, "-c", KILLED, str(copy), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline() == "chunk\n"
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    tried = int(FeatureStore.open(path).attempted.sum())
    assert 4 <= tried < 12
    pd.testing.assert_frame_equal(run(copy, path), expected)
    assert path.read_bytes() == (tmp_path / "a.h5").read_bytes()


def test_only_the_image_that_changed_is_computed_again(
    folder: Path, tmp_path: Path, tiles: Tiles
) -> None:
    copy = broken_copy(folder, tmp_path / "copy")
    run(copy, tmp_path / "a.h5")
    painted(copy / "L06_b.jpg", 999)
    seen = tiles.seen
    skips = run(copy, tmp_path / "a.h5", cache_key="other")
    assert tiles.seen - seen == 1
    fresh = run(copy, tmp_path / "b.h5", cache_key="other")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    pd.testing.assert_frame_equal(skips, fresh)


def test_features_of_another_version_of_the_stage_are_computed_again(
    folder: Path, tmp_path: Path, tiles: Tiles
) -> None:
    run(folder, tmp_path / "a.h5", cache_key="1.s")
    seen = tiles.seen
    run(folder, tmp_path / "a.h5", cache_key="1.other")
    assert tiles.seen == seen
    run(folder, tmp_path / "a.h5", cache_key="2.other")
    assert tiles.seen - seen == 2 * len(IDS)


def test_locations_that_come_and_go_leave_the_others_as_they_are(
    folder: Path, tmp_path: Path, tiles: Tiles
) -> None:
    some = ["L02", "L03", "L05", "L08", "L09", "L10", "L11"]
    run(folder, tmp_path / "a.h5", locations=some)
    seen = tiles.seen
    others = [location for location in IDS if location != "L05"]
    run(folder, tmp_path / "a.h5", locations=others, cache_key="other")
    assert tiles.seen - seen == 2 * 5
    run(folder, tmp_path / "b.h5", locations=others, cache_key="other")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_images_that_are_only_moved_or_touched_are_not_computed_again(
    folder: Path, tmp_path: Path, tiles: Tiles
) -> None:
    run(folder, tmp_path / "a.h5")
    seen = tiles.seen
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in folder.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    run(moved, tmp_path / "a.h5", cache_key="other")
    assert tiles.seen == seen
    assert FeatureStore.open(tmp_path / "a.h5").attributes["cache_key"] == "other"


def test_images_that_were_swapped_are_computed_again(
    folder: Path, tmp_path: Path, tiles: Tiles
) -> None:
    copy = broken_copy(folder, tmp_path / "copy")
    run(copy, tmp_path / "a.h5")
    one, other = copy / "L00_a.jpg", copy / "L05_b.jpg"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    seen = tiles.seen
    run(copy, tmp_path / "a.h5", cache_key="other")
    assert tiles.seen - seen == 2
    run(copy, tmp_path / "b.h5", cache_key="other")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_when_a_view_goes_missing_the_others_of_its_location_are_not_computed_again(
    folder: Path, tmp_path: Path, tiles: Tiles
) -> None:
    copy = broken_copy(folder, tmp_path / "copy")
    run(copy, tmp_path / "a.h5", require="any")
    (copy / "L09_a.jpg").unlink()
    seen = tiles.seen
    run(copy, tmp_path / "a.h5", require="any", cache_key="other")
    assert tiles.seen == seen
    assert FeatureStore.open(tmp_path / "a.h5").present[9].tolist() == [False, True]
    run(copy, tmp_path / "b.h5", require="any", cache_key="other")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_what_is_excluded_follows_the_policy_without_computing_again(
    folder: Path, tmp_path: Path, tiles: Tiles
) -> None:
    copy = broken_copy(folder, tmp_path / "copy")
    run(copy, tmp_path / "a.h5")
    seen = tiles.seen
    skips = run(copy, tmp_path / "a.h5", require="any", cache_key="other")
    assert tiles.seen == seen
    assert not skips["reason"].str.contains("needed").any()
    run(copy, tmp_path / "b.h5", require="any", cache_key="other")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_other_numbers_are_not_mixed_with_those_that_are_there(
    folder: Path, tmp_path: Path, tiles: Tiles
) -> None:
    run(folder, tmp_path / "a.h5")
    for change in ({"precision": "bfloat16"}, {"dtype": "float16"}, {"engine": "openvino"}):
        seen = tiles.seen
        tiles.engine, tiles.precision = "torch", "float32"
        vars(tiles).update({k: v for k, v in change.items() if k != "dtype"})
        run(folder, tmp_path / "a.h5", **change)
        assert tiles.seen - seen == 24, change


def test_bfloat16_that_rounds_other_layers_is_other_numbers(
    folder: Path, tmp_path: Path, tiles: Tiles
) -> None:
    path, other = tmp_path / "a.h5", replace(LITE0, exact=("_conv_stem",))
    run(folder, path, precision="bfloat16")
    assert json.loads(FeatureStore.open(path, backbone=LITE0).attributes["exact_layers"]) == [
        *LITE0.exact
    ]
    run(folder, path, precision="bfloat16")
    assert tiles.seen == 24
    with pytest.raises(InputError, match="its bfloat16 rounds other layers"):
        FeatureStore.open(path, backbone=other)
    run(folder, path, precision="bfloat16", backbone=other)
    assert tiles.seen == 48
    with pytest.raises(InputError, match="its bfloat16 rounds other layers"):
        FeatureStore.open(path, backbone=LITE0)
    run(folder, path)
    assert FeatureStore.open(path).attributes["exact_layers"] == ""  # of float32 nothing is rounded
    run(folder, path, backbone=other)
    assert tiles.seen == 72


def test_a_store_that_is_resumed_retains_its_engine(
    folder: Path, tmp_path: Path, tiles: Tiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(extract, "load_network", lambda *a: asked.append(a[2]) or tiles)
    tiles.engine = "openvino"
    with pytest.raises(StopError):
        run(folder, tmp_path / "a.h5", engine="auto", progress=stopping_after(1))
    tiles.engine = "torch"  # what "auto" would take today
    run(folder, tmp_path / "a.h5", engine="auto")
    run(folder, tmp_path / "a.h5", engine="auto", locations=IDS[:5], cache_key="other")
    assert asked == ["auto", "openvino"]
    assert FeatureStore.open(tmp_path / "a.h5").attributes["engine"] == "openvino"


def test_float16_keeps_the_same_features_rounded(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "a.h5")
    run(folder, tmp_path / "b.h5", dtype="float16")
    full, half = (FeatureStore.open(tmp_path / name).features for name in ("a.h5", "b.h5"))
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, full.astype(np.float16))


def test_a_partly_written_row_is_never_read_and_is_done_again(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    run(folder, path)
    whole = path.read_bytes()
    with FeatureStore.open(path, writable=True) as store:
        nothing = np.full((1, 1280), 7, dtype=np.float32)
        store.write_views(np.array([3]), np.array([1]), nothing, np.ones(1, dtype=bool))
        assert store.rows(["L03"]).tolist() == [-1]
    run(folder, path)
    assert path.read_bytes() == whole


def test_a_power_cut_between_two_marks_loses_no_location(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    run(folder, path)
    whole = path.read_bytes()
    with FeatureStore.open(path, writable=True) as store:
        store._write("done", np.array([3, 4]), np.zeros(2, dtype=bool))  # tried came through
    run(folder, path)
    assert path.read_bytes() == whole


def test_a_second_run_on_the_same_store_is_refused(folder: Path, tmp_path: Path) -> None:
    with (
        WriteLock(tmp_path / "a.h5"),
        pytest.raises(InputError, match=r"a\.h5: process \d+ on .* is writing to it; wait"),
    ):
        run(folder, tmp_path / "a.h5")
    run(folder, tmp_path / "a.h5")


def test_what_a_killed_run_left_half_made_is_removed(folder: Path, tmp_path: Path) -> None:
    for name in (".a[1].4711.tmp.h5", "..a[1].4711.tmp.4711.tmp.h5"):
        (tmp_path / name).write_bytes(b"half")
    others = {".a[1].b.4711.tmp.h5", ".a.4711.tmp.h5", ".a[1].notes.tmp.h5"}
    for name in others:
        (tmp_path / name).write_bytes(b"of another store")
    run(folder, tmp_path / "a[1].h5")
    assert {file.name for file in tmp_path.iterdir()} == {"a[1].h5", *others}


def test_archives_give_the_same_features_as_folders_however_they_are_packed(
    folder: Path, tmp_path: Path
) -> None:
    copy = broken_copy(folder, tmp_path / "copy")
    expected = run(copy, tmp_path / "a.h5", require="any")
    packed = tmp_path / "packed"
    packed.mkdir()
    for view in VIEWS:  # so that the views of one location lie far apart
        with tarfile.open(packed / f"{view}.tgz", "w:gz") as archive:
            for file in sorted(copy.glob(f"*_{view}.jpg"), reverse=True):
                archive.add(file, file.name)
    views = images_of(packed, pattern="**/{location_id}_{view}.jpg")
    assert (views["member"] != "").all()
    skips = run(packed, tmp_path / "b.h5", views=views, require="any")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    pd.testing.assert_frame_equal(skips, expected)
    with pytest.raises(StopError):
        run(packed, tmp_path / "c.h5", views=views, require="any", progress=stopping_after(3))
    run(packed, tmp_path / "c.h5", views=views, require="any")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "c.h5").read_bytes()


def test_a_panorama_is_decoded_once_for_all_of_its_views(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "pano.png")
    views = pd.DataFrame(
        {
            "location_id": "L00",
            "view": list("abcd"),
            "path": str(tmp_path / "pano.png"),
            "member": "",
            "heading": [0.0, 90.0, 180.0, 270.0],
            "panorama_heading": 0.0,
            "pitch": 0.0,
            "fov": 90.0,
            "size": 64.0,
        }
    )
    cut = []
    several = preprocess.decode_cuts
    monkeypatch.setattr(preprocess, "decode_cuts", lambda r, c: cut.append(len(c)) or several(r, c))
    monkeypatch.setattr(preprocess, "decode", lambda *_: pytest.fail("decoded a single view"))
    run(tmp_path, tmp_path / "a.h5", views=views, view_names="abcd", locations=["L00"], batch=8)
    store = FeatureStore.open(tmp_path / "a.h5")
    assert cut == [4]
    assert store.done.all()
    assert len(np.unique(store.features[0], axis=0)) == 4
    assert len(np.unique(store.signature[0], axis=0)) == 4


def test_the_quality_of_every_image_that_could_be_read_is_stored(
    folder: Path, tmp_path: Path
) -> None:
    copy = broken_copy(folder, tmp_path / "copy")
    run(copy, tmp_path / "a.h5", require="any")
    store = FeatureStore.open(tmp_path / "a.h5")
    np.testing.assert_array_equal(store.quality["fingerprint"] != 0, store.present)
    assert (store.quality["contrast"][store.present] > 0).all()


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_an_image_s_features_depend_neither_on_its_company_nor_on_its_position(engine: str) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    network = load_network(LITE0, "cpu", engine)
    pixels = np.random.default_rng(0).integers(0, 256, (19, 224, 224, 3), dtype=np.uint8)
    with working_threads() as pool:

        def features_here(some: np.ndarray) -> np.ndarray:
            return pool.submit(features_of, network, some).result()

        together = features_here(pixels)
        order = np.random.default_rng(1).permutation(19)
        np.testing.assert_array_equal(features_here(pixels[order]), together[order])
        np.testing.assert_array_equal(features_here(pixels[4:9]), together[4:9])
        np.testing.assert_array_equal(features_here(pixels[18:]), together[18:])


def one_view_each(folder: Path, packed: Path) -> pd.DataFrame:
    """Archives that hold one view of every location each."""
    packed.mkdir()
    for view in VIEWS:
        with tarfile.open(packed / f"{view}.tar", "w") as archive:
            for file in sorted(folder.glob(f"*_{view}.jpg")):
                archive.add(file, file.name)
    return images_of(packed, pattern="**/{location_id}_{view}.jpg")


@pytest.mark.parametrize("chunks", [1, 2, 4])
def test_archives_of_one_view_each_lose_nothing_that_was_computed(
    folder: Path, tmp_path: Path, tiles: Tiles, chunks: int
) -> None:
    views = one_view_each(broken_copy(folder, tmp_path / "copy"), tmp_path / "packed")
    options: dict[str, Any] = {"views": views, "require": "any"}
    expected = run(tmp_path, tmp_path / "whole.h5", **options)
    with pytest.raises(StopError):
        run(tmp_path, tmp_path / "a.h5", **options, progress=stopping_after(chunks))
    stopped = FeatureStore.open(tmp_path / "a.h5")
    held, whole = stopped.held.sum(), (stopped.held & stopped.present).sum()
    assert held == 5 * chunks
    assert stopped.attempted.sum() == max(
        0, 5 * chunks - 12
    )  # the first archive has no location whole
    tiles.passes.clear()
    pd.testing.assert_frame_equal(run(tmp_path, tmp_path / "a.h5", **options), expected)
    assert tiles.seen == 20 - whole
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_a_store_begun_on_another_device_is_not_gone_on_with_here(
    folder: Path, tmp_path: Path, tiles: Tiles
) -> None:

    path = tmp_path / "a.h5"
    with pytest.raises(StopError):
        run(folder, path, device="auto", progress=stopping_after(2))
    with h5py.File(path, "r+") as file:
        put_text(file, "device", "mps")  # which no machine has that runs this on Linux
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"a\.h5: its features were computed on 'mps', which this"):
        run(folder, path, device="auto")
    assert path.read_bytes() == before
    tiles.passes.clear()
    run(folder, path, device="cpu")
    assert tiles.seen == 24  # all anew: none of the others is mixed in
    assert FeatureStore.open(path).attributes["device"] == "cpu"


def test_a_finished_store_of_another_device_is_used_as_it_is(folder: Path, tmp_path: Path) -> None:

    path = tmp_path / "a.h5"
    run(folder, path)
    with h5py.File(path, "r+") as file:
        put_text(file, "device", "cuda")
    before = path.read_bytes()
    assert run(folder, path, device="auto").empty
    assert path.read_bytes() == before


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("require", ["all", "any"])
def test_numbers_that_are_not_finite_are_no_features(
    folder: Path, tmp_path: Path, tiles: Tiles, number: float, require: str
) -> None:
    usual = tiles.features
    bad = prepare(read_image(folder / "L03_b.jpg"), LITE0)

    def broken(images: np.ndarray) -> np.ndarray:
        features = usual(images)
        features[[(image == bad).all() for image in images], 17] = number
        return features

    tiles.features = broken  # type: ignore[method-assign]
    path = tmp_path / "a.h5"
    skips = run(folder, path, require=require)
    suffix = ", and all views are needed" if require == "all" else ""
    reported = skips[["location_id", "view", "reason"]].values.tolist()
    assert reported == [["L03", "b", f"the network gave no finite number{suffix}"]]
    store = FeatureStore.open(path)
    assert np.isfinite(store.features).all()
    assert not store.present[3, 1]
    assert store.quality["fingerprint"][3, 1] == 0
    assert store.done[3] == (require == "any")
    assert store.done.sum() == 11 + (require == "any")
    before = path.read_bytes()
    pd.testing.assert_frame_equal(run(folder, path, require=require), skips)
    assert path.read_bytes() == before


class PowerCut:
    """A disk that loses power: of what was not brought to it any sectors are old, any new."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path, after: int) -> None:
        self.path, self.left, self.safe = path, after, b""
        write, sync = FeatureStore._write, FeatureStore._sync

        def writing(store: FeatureStore, *what: Any) -> None:
            self.safe = self.safe or path.read_bytes()
            self.left -= 1
            if self.left < 0:
                raise StopError
            write(store, *what)

        def syncing(store: FeatureStore) -> None:
            self.left -= 1
            if self.left < 0:
                raise StopError
            sync(store)
            self.safe = path.read_bytes()

        monkeypatch.setattr(FeatureStore, "_write", writing)
        monkeypatch.setattr(FeatureStore, "_sync", syncing)

    def happen(self, rng: np.random.Generator) -> None:
        """Leave what such a disk would hold, in sectors of 64 bytes."""
        old, new = (np.frombuffer(b, np.uint8).copy() for b in (self.safe, self.path.read_bytes()))
        sector = rng.random(len(old) // 64 + 1) < rng.random()
        new_sectors = np.repeat(sector, 64)[: len(old)]
        self.path.write_bytes(np.where(new_sectors, new, old).astype(np.uint8).tobytes())


@pytest.mark.parametrize("packed", [False, True])
def test_a_power_cut_at_any_moment_leaves_no_partly_written_row_and_the_end_is_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    copy = broken_copy(folder, tmp_path / "copy")
    views = one_view_each(copy, tmp_path / "packed") if packed else images_of(copy)
    options: dict[str, Any] = {"views": views, "require": "any"}
    monkeypatch.setattr(extract, "COMMIT_EVERY", 0)
    expected = run(copy, tmp_path / "whole.h5", **options)
    whole, path = FeatureStore.open(tmp_path / "whole.h5"), tmp_path / "a.h5"
    rng = np.random.default_rng(packed)
    for after in rng.permutation(40)[:16].tolist():
        path.unlink(missing_ok=True)
        with monkeypatch.context() as patch:
            cut = PowerCut(patch, path, after)
            try:
                run(copy, path, **options)
            except StopError:
                cut.happen(rng)
        store = FeatureStore.open(path)
        assert (store.features[store.held] == whole.features[store.held]).all()
        assert (store.features[store.done] == whole.features[store.done]).all()
        assert (store.present[store.done] == whole.present[store.done]).all()
        pd.testing.assert_frame_equal(run(copy, path, **options), expected)
        assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes(), after


FORKS = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
import test_extract as t
from streetgauge.features import FeatureStore, extract

extract.COMMIT_EVERY = 0
tiles = t.Tiles()
slowly = tiles.features
tiles.features = lambda images: time.sleep(0.004) or slowly(images)
extract.load_network = lambda *_: tiles
folder, path = Path(sys.argv[2]), Path(sys.argv[3])
rng = np.random.default_rng(int(sys.argv[4]))
killed = held = tries = 0
while True:
    child = os.fork()
    if not child:
        t.run(folder, path, batch=2, require="any")
        os._exit(0)
    # The first is killed long before it can end, each later one has a little more time.
    time.sleep(rng.uniform(0, 0.02) * (1 + tries))
    tries += 1
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    now = int(FeatureStore.open(path).held.sum()) if path.exists() else 0
    assert now >= held, (now, held)  # nothing that was stored is lost
    held = now
    killed += os.WIFSIGNALED(status)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        break
    if killed > 60:
        t.run(folder, path, batch=2, require="any")
        break
print(killed)
"""


@pytest.mark.slow
def test_killed_at_random_moments_again_and_again_the_end_is_the_same(
    folder: Path, tmp_path: Path
) -> None:
    copy = broken_copy(folder, tmp_path / "broken")
    expected = run(copy, tmp_path / "a.h5", require="any")
    path = tmp_path / "killed" / "k.h5"
    command = [sys.executable, "-W", "ignore", "-c", FORKS, str(Path(__file__).parent)]
    done = subprocess.run(
        [*command, str(copy), str(path), "5"], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1
    pd.testing.assert_frame_equal(run(copy, path, require="any"), expected)
    assert path.read_bytes() == (tmp_path / "a.h5").read_bytes()
    assert [file.name for file in path.parent.iterdir()] == ["k.h5"]


@pytest.mark.parametrize("writes", [0, 3, 9])
def test_a_disk_that_fills_up_on_the_way_is_reported_and_loses_nothing_that_was_stored(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    path = tmp_path / "a.h5"
    expected = run(folder, tmp_path / "whole.h5")
    write, left = FeatureStore._write, writes

    def until_full(store: FeatureStore, name: str, *what: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0 and name == "features":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(store, name, *what)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureStore, "_write", until_full)
        with pytest.raises(OSError, match="No space left"):
            run(folder, path)
    stopped, whole = FeatureStore.open(path), FeatureStore.open(tmp_path / "whole.h5")
    assert (stopped.features[stopped.held] == whole.features[stopped.held]).all()
    assert stopped.held.any() == (writes > 0)
    pd.testing.assert_frame_equal(run(folder, path), expected)
    assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes()
