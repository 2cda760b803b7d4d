"""Features computed by a Ray cluster of two machines, one of which dies at the end."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import tarfile
import time
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

CHUNK = 30  # images that a worker gets at a time, less than there are
SMALL_CHUNK = 32  # so that there are four chunks to lose
N = 64
BROKEN = range(7, N, 40)


class TwoMachines:
    """A Ray cluster of two machines on loopback addresses of this one."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        # 127.0.0.1 will not do: Ray takes it for "this machine, as others see it".
        of_a_machine = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
        beats = ("initial_delay_ms", "period_ms")  # a dead machine is missed soon
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                **of_a_machine,
                "node_ip_address": "127.0.0.2",
                "include_dashboard": False,
                "include_log_monitor": False,
                "no_monitor": True,
                "_system_config": {f"health_check_{name}": 1000 for name in beats},
            },
        )
        self._second = self._cluster.add_node(
            wait=False, **of_a_machine, node_ip_address="127.0.0.3"
        )
        self._cluster.wait_for_nodes(timeout=180)
        self.address: str = self._cluster.address

    def kill_the_second(self) -> None:
        self._cluster.remove_node(self._second, allow_graceful=False)

    def end(self) -> None:
        """Shut all down, and see that no process of it is left."""
        session = self._cluster.head_node.get_session_dir_path()
        self._cluster.shutdown()
        for _ in range(150):
            if not _names(session):
                return
            time.sleep(0.2)
        pytest.fail(f"left over: {_names(session)}")


def _names(session: str) -> list[str]:
    """Processes that have a file of a session open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = [str(link.readlink()) for link in (process / "fd").iterdir()]
            if process.name != str(os.getpid()) and any(session in link for link in links):
                found.append((process / "comm").read_text())
        except OSError:  # it has just ended, or is another user's
            continue
    return found


@pytest.fixture(scope="module")
def machines() -> Iterator[TwoMachines]:
    """Give a cluster of two machines, which this process is connected to, for all tests."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        machines = TwoMachines()
        try:
            ray.init(address=machines.address, log_to_driver=False, logging_level="ERROR")
            yield machines
        finally:
            ray.shutdown()
            machines.end()


@pytest.fixture
def one(machines: TwoMachines) -> ClusterSettings:
    """Have one worker decode and one compute: which machine has them is not the question."""
    return ClusterSettings(address=machines.address, decoders=1, actors=1)


def painted(seed: int, size: tuple[int, int] = (48, 48)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size)


def on_both(
    one: ClusterSettings, views: pd.DataFrame, ids: list[str], tmp_path: Path, **how: Any
) -> tuple[FeatureStore, pd.DataFrame]:
    """Extract here and on the cluster, and see that both are the same to the last bit."""
    wanted = {name: Extraction(views, ids, tmp_path / name, **how) for name in ("here", "there")}
    expected = extract_features(wanted["here"])
    skips = extract_on_cluster(wanted["there"], one)
    pd.testing.assert_frame_equal(skips, expected)
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()
    return FeatureStore.open(tmp_path / "there"), skips


@pytest.mark.slow
def test_archives_and_panoramas_on_ray_are_those_of_one_machine_to_the_last_bit(
    one: ClusterSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streetgauge.features.ray.CHUNK", CHUNK)
    folder = tmp_path / "images"
    folder.mkdir()
    ids = [f"L{i:02}" for i in range(10)]
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
    assert len(views) == 40 > CHUNK  # two chunks, of which the border cuts a panorama's views
    assert {name.rpartition(".")[2] for name in views["path"]} == {"tgz", "zip", "png"}
    how = {"view_names": imagery.views, "device": "cpu", "engine": "torch", "require": "any"}
    store, skips = on_both(one, views, ids, tmp_path, **how)
    assert store.present.sum() == 36
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
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are found in /proc")
def test_a_worker_that_vanishes_is_replaced_and_changes_no_bit(
    one: ClusterSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    skips = extract_on_cluster(wanted, one, progress=progress)
    assert killed
    assert len(computed) > 1  # it vanished before the end
    assert sum(computed) == len(ids)
    assert skips.empty
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()


@pytest.mark.slow
def test_openvino_on_ray_gives_the_bits_of_one_machine(
    one: ClusterSettings, tmp_path: Path
) -> None:
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
    store, skips = on_both(one, views, ids, tmp_path, **how)
    assert store.attributes["engine"] == "openvino"
    assert store.done.sum() == 19
    assert skips[["location_id", "view"]].values.tolist() == [["L11", "b"]]


@pytest.mark.slow
def test_what_a_worker_on_ray_cannot_do_is_one_sentence_that_names_its_machine(
    one: ClusterSettings, tmp_path: Path
) -> None:
    painted(1).save(tmp_path / "A_a.jpg")
    views, _ = find_views(ImagerySettings(folder=tmp_path, views=("a",)), ["A"])
    gone = views.assign(location_id="B", path=str(tmp_path / "not-shared" / "B_a.jpg"))
    how: dict[str, Any] = {"view_names": ("a",), "device": "cpu", "engine": "torch"}
    wanted = Extraction(pd.concat([views, gone]), ["A", "B"], tmp_path / "a.h5", **how)
    with pytest.raises(InputError) as caught:
        extract_on_cluster(wanted, one)
    assert str(caught.value) == (
        f"machine {platform.node()}: {tmp_path / 'not-shared' / 'B_a.jpg'}: this image cannot be "
        "read there; share its folder at the same path."
    )


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Give a folder with two views of many locations, of which two cannot be read."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(N):
        for j, view in enumerate("ab"):
            painted(2 * i + j).save(folder / f"L{i:02}_{view}.jpg")
        if i in BROKEN:
            (folder / f"L{i:02}_b.jpg").write_bytes(b"not an image")
    return folder


def wanted_of(folder: Path, path: Path) -> Extraction:
    ids = [f"L{i:02}" for i in range(N)]
    views, _ = find_views(ImagerySettings(folder=folder, views=("a", "b")), ids)
    how: dict[str, Any] = {"view_names": ("a", "b"), "device": "cpu", "engine": "torch"}
    return Extraction(views, ids, path, **how, require="any", cache_key="s")


DRIVER = """
import sys
from contextlib import contextmanager
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from streetgauge.features import extract_on_cluster, ray
from streetgauge.settings import ClusterSettings
from test_ray import SMALL_CHUNK, wanted_of

ray.CHUNK = SMALL_CHUNK

@contextmanager
def progress(description, total, unit):
    yield lambda steps: print(description, flush=True)

wanted = wanted_of(Path(sys.argv[2]), Path(sys.argv[3]))
cluster = ClusterSettings(address=sys.argv[4], decoders=1, actors=1)
extract_on_cluster(wanted, cluster, progress=progress)
"""


@pytest.mark.slow
def test_a_killed_driver_and_a_killed_machine_lose_nothing_and_do_nothing_twice(
    many: Path, tmp_path: Path, machines: TwoMachines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test of this file: a machine is gone afterwards."""
    monkeypatch.setattr("streetgauge.features.ray.CHUNK", SMALL_CHUNK)
    path, local = tmp_path / "there.h5", tmp_path / "here.h5"
    expected = extract_features(wanted_of(many, local))

    command = [sys.executable, "-W", "ignore", "-c", DRIVER, str(Path(__file__).parent)]
    command += [str(many), str(path), machines.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "features\n"  # the first results are in the store
        os.kill(driver.pid, signal.SIGKILL)
    held = int(FeatureStore.open(path).held.sum())
    assert 0 < held < 2 * N

    totals, done = [], []

    @contextmanager
    def progress(description: str, total: int, unit: str) -> Iterator[Advance]:
        totals.append((description, total))

        def advance(steps: int) -> None:
            if not done:
                machines.kill_the_second()
            done.append(steps)

        yield advance

    cluster = ClusterSettings(address=machines.address)
    skips = extract_on_cluster(wanted_of(many, path), cluster, progress=progress)
    assert totals == [("features", 2 * N - held)]
    assert sum(done) == 2 * N - held
    assert len(done) > 1  # the machine died before the end
    pd.testing.assert_frame_equal(skips, expected)
    assert skips["location_id"].tolist() == [f"L{i:02}" for i in BROKEN]
    assert path.read_bytes() == local.read_bytes()
