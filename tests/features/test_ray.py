"""What a cluster has to do besides plain files and PyTorch, on a Ray of one machine."""

from __future__ import annotations

import os
import platform
import signal
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from streetgauge.errors import InputError
from streetgauge.features import Extraction, FeatureStore, extract_features, extract_on_cluster
from streetgauge.imagery import find_views
from streetgauge.progress import Advance
from streetgauge.settings import ClusterSettings, ImagerySettings

CHUNK = 128  # images that a worker gets at a time


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Give a cluster of this machine alone, for all tests of this file."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=100 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
        try:
            yield ray
        finally:
            ray.shutdown()


def painted(seed: int, size: tuple[int, int] = (48, 48)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size)


def on_both(
    views: pd.DataFrame, ids: list[str], tmp_path: Path, **how: Any
) -> tuple[FeatureStore, pd.DataFrame]:
    """Extract here and on the cluster, and see that both are the same to the last bit."""
    wanted = {name: Extraction(views, ids, tmp_path / name, **how) for name in ("here", "there")}
    expected = extract_features(wanted["here"])
    skips = extract_on_cluster(wanted["there"], ClusterSettings(address="local"))
    pd.testing.assert_frame_equal(skips, expected)
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()
    return FeatureStore.open(tmp_path / "there"), skips


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_archives_and_panoramas_on_ray_are_those_of_one_machine_to_the_last_bit(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    ids = [f"L{i:02}" for i in range(40)]
    for i, location in enumerate(ids):  # panoramas, of which the workers cut four views each
        painted(i, (96, 48)).save(folder / f"{location}.png")
    (folder / "L07.png").write_bytes(b"no image")
    with tarfile.open(tmp_path / "some.tgz", "w:gz") as archive:
        for location in ids[::3]:
            archive.add(folder / f"{location}.png", f"{location}.png")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as packed:
        for location in ids[1::3]:
            packed.write(folder / f"{location}.png", f"{location}.png")
    for location in (*ids[::3], *ids[1::3]):
        (folder / f"{location}.png").unlink()
    for name in ("some.tgz", "more.zip"):
        (tmp_path / name).rename(folder / name)
    imagery = ImagerySettings(
        folder=folder, pattern="**/{location_id}.png", panoramas=True, size=40, pitch=5, fov=80
    )
    views, _ = find_views(imagery, ids)
    assert len(views) == 160 > CHUNK  # two chunks, of which the border cuts a panorama's views
    assert {name.rpartition(".")[2] for name in views["path"]} == {"tgz", "zip", "png"}
    how = {"view_names": imagery.views, "device": "cpu", "engine": "torch", "require": "any"}
    store, skips = on_both(views, ids, tmp_path, **how)
    assert store.present.sum() == 156
    assert set(skips["location_id"]) == {"L07"}
    assert len(np.unique(store.features[0], axis=0)) == 4


def workers(name: str) -> list[int]:
    """Processes of Ray that compute something of this name, as they call themselves."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            title = (process / "cmdline").read_text(errors="replace")
            if title.startswith("ray::") and name in title:
                found.append(int(process.name))
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are found in /proc")
def test_a_worker_that_vanishes_is_replaced_and_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had computed and not handed over is computed again, by the worker that follows it."""
    monkeypatch.setattr("streetgauge.features.ray.CHUNK", 8)
    folder = tmp_path / "images"
    folder.mkdir()
    ids = [f"L{i:02}" for i in range(64)]
    for i, location in enumerate(ids):
        painted(300 + i).save(folder / f"{location}_a.jpg")
    views, _ = find_views(ImagerySettings(folder=folder, views=("a",)), ids)
    how: dict[str, Any] = {"view_names": ("a",), "device": "cpu", "engine": "torch"}
    extract_features(Extraction(views, ids, tmp_path / "here", **how))
    killed: list[int] = []
    computed: list[int] = []

    @contextmanager
    def progress(description: str, total: int, unit: str) -> Iterator[Advance]:
        def advance(steps: int) -> None:
            if not killed:
                for process in workers("InferenceActor"):
                    os.kill(process, signal.SIGKILL)
                    killed.append(process)
            computed.append(steps)

        yield advance

    wanted = Extraction(views, ids, tmp_path / "there", **how)
    skips = extract_on_cluster(wanted, ClusterSettings(address="local"), progress=progress)
    assert killed
    assert len(computed) > 1  # it vanished before the end
    assert sum(computed) == len(ids)
    assert skips.empty
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_openvino_on_ray_gives_the_bits_of_one_machine(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    folder = tmp_path / "images"
    folder.mkdir()
    ids = [f"L{i:02}" for i in range(20)]
    for i, location in enumerate(ids):
        for j, view in enumerate("ab"):
            painted(100 + 2 * i + j).save(folder / f"{location}_{view}.jpg")
    (folder / "L11_b.jpg").write_bytes(b"")
    views, _ = find_views(ImagerySettings(folder=folder, views=("a", "b")), ids)
    how = {"view_names": ("a", "b"), "device": "cpu", "engine": "openvino"}
    store, skips = on_both(views, ids, tmp_path, **how)
    assert store.attributes["engine"] == "openvino"
    assert store.done.sum() == 19
    assert skips[["location_id", "view"]].values.tolist() == [["L11", "b"]]


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_what_a_worker_on_ray_cannot_do_is_one_sentence_that_names_its_machine(
    tmp_path: Path,
) -> None:
    painted(1).save(tmp_path / "A_a.jpg")
    views, _ = find_views(ImagerySettings(folder=tmp_path, views=("a",)), ["A"])
    gone = views.assign(location_id="B", path=str(tmp_path / "not-shared" / "B_a.jpg"))
    how: dict[str, Any] = {"view_names": ("a",), "device": "cpu", "engine": "torch"}
    wanted = Extraction(pd.concat([views, gone]), ["A", "B"], tmp_path / "a.h5", **how)
    with pytest.raises(InputError) as caught:
        extract_on_cluster(wanted, ClusterSettings(address="local"))
    assert str(caught.value) == (
        f"machine {platform.node()}: {tmp_path / 'not-shared' / 'B_a.jpg'}: this image cannot be "
        "read there; share its folder at the same path."
    )
