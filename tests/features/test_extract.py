"""Pictures through the network into a store, whole, broken, and stopped on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from streetgauge.devices import working_threads
from streetgauge.errors import InputError
from streetgauge.features import (
    FeatureStore,
    Network,
    extract,
    extract_pictures,
    get_backbone,
    load_network,
    prepare,
)
from streetgauge.imagery import find_views, read_picture
from streetgauge.progress import Advance
from streetgauge.settings import ImagerySettings

VIEWS = ("a", "b")
LITE0 = get_backbone("efficientnet-lite0")


def painted(path: Path, seed: int) -> None:
    """A picture unlike any other: coarse coloured noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC).save(path, quality=90)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve locations with two views each, all whole."""
    place = tmp_path_factory.mktemp("pictures")
    for i in range(12):
        for j, view in enumerate(VIEWS):
            painted(place / f"L{i:02}_{view}.jpg", 10 * i + j)
    return place


def broken_copy(folder: Path, target: Path) -> Path:
    """The same pictures, of which four cannot be read, each for another reason."""
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    whole = (folder / "L01_b.jpg").read_bytes()
    (target / "L01_b.jpg").write_bytes(whole[: len(whole) // 2])
    (target / "L04_a.jpg").write_bytes(b"")
    (target / "L07_a.jpg").write_text("no picture")
    Image.new("1", (16_000, 16_000)).save(target / "L11_b.jpg", format="PNG")
    return target


def run(folder: Path, path: Path, **options: Any) -> pd.DataFrame:
    ids = [f"L{i:02}" for i in range(12)]
    views, _ = find_views(ImagerySettings(folder=folder, views=VIEWS), ids)
    views, ids = options.pop("views", views), options.pop("locations", ids)
    arguments = {"view_names": VIEWS, "batch": 5, "stamp": "s", "device": "cpu", **options}
    return extract_pictures(views, ids, path, **arguments)


def alone(file: Path) -> np.ndarray:
    """Features of one picture, computed by itself."""
    picture = prepare(read_picture(file), LITE0)
    with working_threads() as pool:
        features: np.ndarray = pool.submit(network().features, picture[None]).result()
    return features[0]


@cache
def network() -> Network:
    return load_network(LITE0, "cpu")


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


def test_every_location_has_its_own_pictures_features(folder: Path, tmp_path: Path) -> None:
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


def test_the_store_says_what_made_it(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "a.h5")
    attributes = FeatureStore.open(tmp_path / "a.h5").attributes
    assert attributes["backbone"] == "efficientnet-lite0"
    assert attributes["weights_sha256"] == LITE0.sha256
    assert attributes["licence"] == "Apache-2.0"
    assert attributes["stamp"] == "s"


def test_shuffled_inputs_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    ids = [f"L{i:02}" for i in range(12)]
    views, _ = find_views(ImagerySettings(folder=folder, views=VIEWS), ids)
    run(folder, tmp_path / "a.h5")
    shuffled = views.sample(frac=1, random_state=3)
    run(folder, tmp_path / "b.h5", views=shuffled, locations=ids[::-1])
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_broken_picture_leaves_its_location_out_and_shifts_no_other(
    folder: Path, tmp_path: Path
) -> None:
    run(folder, tmp_path / "whole.h5")
    skips = run(broken_copy(folder, tmp_path / "broken"), tmp_path / "a.h5")
    whole, store = (FeatureStore.open(tmp_path / name) for name in ("whole.h5", "a.h5"))
    out = ["L01", "L04", "L07", "L11"]
    assert skips["location_id"].tolist() == out
    assert skips["view"].tolist() == ["b", "a", "a", "b"]
    for reason, word in zip(
        skips["reason"], ("truncated", "empty", "not a picture", "more"), strict=True
    ):
        assert word in reason
        assert reason.endswith("all views are needed")
    ids = whole.location_ids
    assert store.location_ids.tolist() == ids.tolist()
    assert ids[~store.done].tolist() == out
    assert (store.rows(out) == -1).all()
    kept = store.rows(ids[store.done])
    np.testing.assert_allclose(store.features[kept], whole.features[kept], rtol=1e-4, atol=1e-5)


def test_no_features_are_saved_under_a_broken_picture_s_name(folder: Path, tmp_path: Path) -> None:
    skips = run(broken_copy(folder, tmp_path / "broken"), tmp_path / "a.h5", require="any")
    store = FeatureStore.open(tmp_path / "a.h5")
    for row in skips.itertuples():
        slot, place = store.rows([row.location_id])[0], VIEWS.index(row.view)
        assert not store.present[slot, place]
        assert not store.features[slot, place].any()
        assert store.present[slot, 1 - place]
        other = alone(folder / f"{row.location_id}_{VIEWS[1 - place]}.jpg")
        np.testing.assert_allclose(store.features[slot, 1 - place], other, rtol=1e-4, atol=1e-5)
    assert store.done.all()
    assert not skips["reason"].str.contains("needed").any()


def test_with_any_a_location_without_one_readable_view_is_left_out(
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


def test_locations_that_lack_a_view_are_not_looked_at_when_all_are_needed(
    folder: Path, tmp_path: Path
) -> None:
    copy = broken_copy(folder, tmp_path / "broken")
    (copy / "L01_a.jpg").unlink()  # its other view is broken: no reason to tell
    skips = run(copy, tmp_path / "a.h5")
    store = FeatureStore.open(tmp_path / "a.h5")
    assert not store.done[1]
    assert "L01" not in skips["location_id"].tolist()


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
        assert 0 < FeatureStore.open(path).tried.sum() < 12
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


def test_a_picture_that_was_mended_is_looked_at_again(folder: Path, tmp_path: Path) -> None:
    copy = broken_copy(folder, tmp_path / "broken")
    run(copy, tmp_path / "a.h5")
    (copy / "L04_a.jpg").write_bytes((folder / "L04_a.jpg").read_bytes())
    skips = run(copy, tmp_path / "a.h5")
    assert "L04" not in skips["location_id"].tolist()
    assert FeatureStore.open(tmp_path / "a.h5").done[4]


@pytest.mark.parametrize("change", [{"stamp": "t"}, {"view_names": ("b", "a")}])
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
    with pytest.raises(InputError, match="this is no feature store"):
        run(folder, path)
    assert path.read_text() == "my notes"


def test_a_view_with_two_pictures_is_refused(folder: Path, tmp_path: Path) -> None:
    ids = [f"L{i:02}" for i in range(12)]
    views, _ = find_views(ImagerySettings(folder=folder, views=VIEWS), ids)
    with pytest.raises(InputError, match="'L00': view 'a' has two pictures"):
        run(folder, tmp_path / "a.h5", views=pd.concat([views, views.head(1)]))


KILLED = """
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from streetgauge.features import extract_pictures
from streetgauge.devices import working_threads
from streetgauge.imagery import find_views
from streetgauge.settings import ImagerySettings

folder, path = Path(sys.argv[1]), Path(sys.argv[2])
ids = [f"L{i:02}" for i in range(12)]
views, _ = find_views(ImagerySettings(folder=folder, views=("a", "b")), ids)

@contextmanager
def progress(description, total, unit):
    yield lambda steps: print("chunk", flush=True)

extract_pictures(views, ids, path, view_names=("a", "b"), batch=5, stamp="s", device="cpu",
                 progress=progress)
"""


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
    tried = int(FeatureStore.open(path).tried.sum())
    assert 4 <= tried < 12
    pd.testing.assert_frame_equal(run(copy, path), expected)
    assert path.read_bytes() == (tmp_path / "a.h5").read_bytes()
