"""Features computed by a Ray cluster of two machines, one of which dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image

from streetgauge.devices import working_threads
from streetgauge.errors import InputError
from streetgauge.features import (
    Extraction,
    FeatureStore,
    _worker,
    extract,
    extract_pictures,
    get_backbone,
    load_network,
    prepare,
)
from streetgauge.features._nodes import Failure, NodeError, _refuse_machine, refusal
from streetgauge.features.cluster import extract_on_cluster
from streetgauge.features.intake import take_in_shards
from streetgauge.features.shards import ShardHeader, Shards, shards_of
from streetgauge.imagery import find_views, read_picture
from streetgauge.progress import Advance, Progress, silent
from streetgauge.settings import ClusterSettings, ImagerySettings

VIEWS = ("a", "b")
N = 240
FEW = 48  # locations where Ray itself has no part
BROKEN = range(7, N, 40)
IDS = [f"L{i:04}" for i in range(N)]
SIDE = 48  # of the pictures: they cost next to nothing to decode


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(5)
    for i, location in enumerate(IDS):
        for view in VIEWS:
            coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            coarse.resize((SIDE, SIDE)).save(folder / f"{location}_{view}.jpg")
        if i in BROKEN:
            (folder / f"{location}_b.jpg").write_bytes(b"not a picture")
    return folder


def wanted(folder: Path, path: Path, count: int = FEW, **options: Any) -> Extraction:
    ids = IDS[:count]
    views, _ = find_views(ImagerySettings(folder=folder, views=VIEWS), ids)
    how = {"view_names": VIEWS, "device": "cpu", "engine": "torch", "stamp": "s"} | options
    return Extraction(views, ids, path, **how)


def here(folder: Path, path: Path, **options: Any) -> pd.DataFrame:
    return extract_pictures(wanted(folder, path, **options))


def there(
    folder: Path, path: Path, address: str, progress: Progress, **options: Any
) -> pd.DataFrame:
    settings = ClusterSettings(address=address, shard=128)
    return extract_on_cluster(wanted(folder, path, **options), settings, progress=progress)


class Machines:
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


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    machines = Machines()
    try:
        yield machines
    finally:
        machines.end()


DRIVER = """
import sys
from contextlib import contextmanager
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_cluster import there

@contextmanager
def progress(description, total, unit):
    yield lambda steps: print(description, flush=True)

there(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], progress, require="any", count=240)
"""


@pytest.mark.slow
def test_a_killed_driver_and_a_killed_machine_lose_nothing_and_do_nothing_twice(
    folder: Path, tmp_path: Path, machines: Machines
) -> None:
    path, local = tmp_path / "there.h5", tmp_path / "here.h5"
    expected = here(folder, local, require="any", count=N)

    command = [sys.executable, "-W", "ignore", "-c", DRIVER, str(Path(__file__).parent)]
    command += [str(folder), str(path), machines.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "features\n"  # the first shard is there
        os.kill(driver.pid, signal.SIGKILL)
    kept = {file: file.read_bytes() for file in shards_of(path).glob("[!.]*.h5")}
    assert kept
    held = sum(int(FeatureStore.open(file).signature.any(axis=2).sum()) for file in kept)
    assert 128 <= held < 2 * N

    totals, done = [], []

    @contextmanager
    def progress(description: str, total: int, unit: str) -> Iterator[Advance]:
        totals.append((description, total))

        def advance(steps: int) -> None:
            if description == "features":
                if not done:
                    machines.kill_the_second()
                done.append(steps)
                assert all(file.read_bytes() == content for file, content in kept.items())

        yield advance

    skips = there(folder, path, machines.address, progress, require="any", count=N)
    assert totals == [("features", 2 * N - held), ("merging shards", N)]
    assert sum(done) == 2 * N - held
    assert len(done) > 1  # the machine died before the end
    pd.testing.assert_frame_equal(skips, expected)
    assert skips["location_id"].tolist() == [IDS[i] for i in BROKEN]
    assert path.read_bytes() == local.read_bytes()
    assert not shards_of(path).exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"cluster": "spark"}, "'spark' is not possible: write cluster = 'ray'"),
        ({"cluster": {"address": "ray://head:10001"}}, "run streetgauge on a machine of the"),
        ({"cluster": {"address": "head"}}, "write host:port, 'auto' or 'local'"),
    ],
)
def test_a_cluster_that_cannot_be_meant_is_refused_with_the_right_key(
    content: dict[str, Any], sentence: str
) -> None:
    from pydantic import ValidationError

    from streetgauge.settings import PictureFeatures

    with pytest.raises(ValidationError, match="value_error") as caught:
        PictureFeatures.model_validate(content)
    assert sentence in str(caught.value)


def test_a_cluster_makes_no_other_features_of_a_study(grid: Path) -> None:
    from streetgauge.study import Study
    from streetgauge.study.stages import stage_named

    file = grid / "study.toml"
    text = file.read_text().partition("[features]")[0]
    (grid / "pictures").mkdir()
    (grid / "locations.parquet").write_bytes(b"stands for locations")
    ways = {
        "plain": "",
        "cluster": 'cluster = "ray"',
        "section": "[features.cluster]\nactors = 3",
    }
    said = {}
    for name, way in ways.items():
        file.write_text(f'{text}[imagery]\nfolder = "pictures"\n[features]\n{way}\n')
        study = Study.open(grid)
        features: Any = study.settings.features
        key = study.key(stage_named("features"))
        said[name] = (key, features.model_dump(mode="json"), features.store)
        actors = None if features.cluster is None else features.cluster.actors
        assert (features.engine, features.cluster is None, actors) == (
            *("auto", name == "plain"),
            3 if name == "section" else None,
        )
    assert len({str(each) for each in said.values()}) == 1


def test_ray_is_no_engine() -> None:
    from pydantic import ValidationError

    from streetgauge.settings import PictureFeatures

    with pytest.raises(ValidationError, match="engine"):
        PictureFeatures.model_validate({"engine": "ray"})


def test_cluster_ray_means_the_cluster_that_this_machine_is_in() -> None:
    from streetgauge.settings import PictureFeatures

    settings = PictureFeatures.model_validate({"cluster": "ray"})
    assert settings.cluster == ClusterSettings(address="auto")
    assert PictureFeatures().cluster is None


def test_an_address_where_nobody_listens_is_said_at_once(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    started = time.monotonic()
    with pytest.raises(
        InputError, match=r"cluster '127.0.0.1:9': it cannot be reached: Connection"
    ):
        there(folder, tmp_path / "a.h5", "127.0.0.1:9", silent)
    assert time.monotonic() - started < 30
    assert not (tmp_path / "a.h5").exists()
    assert not shards_of(tmp_path / "a.h5").exists()


@pytest.mark.parametrize(("address", "step"), [("local", "try again"), ("auto", "ray start")])
def test_a_cluster_that_does_not_come_up_is_one_sentence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, step: str
) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed")

    def too_slow(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nSee the logs.")

    monkeypatch.setattr(ray, "init", too_slow)
    with pytest.raises(InputError, match="The current node timed out during startup;") as caught:
        there(folder, tmp_path / "a.h5", address, silent)
    assert step in str(caught.value)
    assert ("ray start" in str(caught.value)) == (address != "local")


def test_without_ray_one_sentence_says_what_to_install(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"Ray is not installed; pip install 'streetgauge\[ray\]'"):
        there(folder, tmp_path / "a.h5", "auto", silent)


def test_a_finished_store_needs_no_cluster(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    expected = here(folder, path)
    pd.testing.assert_frame_equal(there(folder, path, "127.0.0.1:9", silent), expected)


FIT: dict[str, Any] = {
    "shared": True,
    "writable": True,
    "sees": True,
    "versions": {},
}


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"shared": False}, "machine m: /shared/x.shards: it sees no such folder"),
        ({"writable": False}, "machine m: /shared/x.shards: it cannot write into this folder"),
        ({"sees": False}, "machine m: /pictures/1.jpg: it cannot read this picture"),
        ({"versions": {"streetgauge": "0.0.1"}}, "machine m: streetgauge: its version is 0.0.1"),
        ({"versions": {"torch": None}}, "machine m: torch: its version is missing"),
    ],
)
def test_a_machine_that_lacks_something_is_named_with_what_it_lacks(
    found: dict[str, Any], sentence: str
) -> None:
    _refuse_machine("machine m", FIT, Path("/shared/x.shards"), "/pictures/1.jpg")
    with pytest.raises(InputError, match=sentence):
        _refuse_machine("machine m", FIT | found, Path("/shared/x.shards"), "/pictures/1.jpg")


def test_what_a_worker_says_comes_through_as_one_sentence() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(NodeError.here("/p", "cannot be read", "share it")))
    outer = RuntimeError("as Ray wraps it")
    outer.cause = error  # type: ignore[attr-defined]
    failure = refusal(outer, "features")
    assert failure.is_final
    assert str(failure.error).endswith("/p: cannot be read; share it.")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("OutOfMemoryError", "ran out of memory; use fewer decoders"),
        ("OutOfDiskError", "no room for pictures"),
        ("ActorDiedError", "the cluster failed: ActorDiedError it is gone"),
    ],
)
def test_a_failing_machine_is_no_reason_to_give_up_at_once(name: str, reason: str) -> None:
    failure = refusal(type(name, (Exception,), {})("it is gone\nand more"), "features")
    assert isinstance(failure, Failure)
    assert not failure.is_final
    assert reason in str(failure.error)
    assert "\n" not in str(failure.error)


def test_pictures_that_a_machine_cannot_see_are_not_called_missing() -> None:
    from streetgauge.imagery import PictureAt

    rows = [PictureAt("/not/shared/here/a.jpg")]
    with pytest.raises(NodeError):
        _worker._require_pictures(rows, ["there is no such file"])


def worker(
    folder: Path,
    path: Path,
    chunk: int = 15,
    shard: int = 2,
    network: Any = None,
    **options: Any,
) -> pd.DataFrame:
    """Do what a cluster does, in this process, chunks in another order."""
    expected = here(folder, path, **options)
    store, work_list, shards = (
        FeatureStore.open(path),
        wanted(folder, path, **options).work_list(),
        shards_of(path),
    )
    shards.mkdir()
    (shards / ".t.token").touch()
    lite0 = get_backbone("efficientnet-lite0")
    job = _worker.Job(
        *(str(shards), ".t.token", lite0, "cpu", "torch", "float32"),
        *(ShardHeader.of(store), {}),
    )
    positions = np.arange(len(work_list))
    texts = [
        _worker.packed(work_list, positions[i : i + chunk]) for i in range(0, len(work_list), chunk)
    ]
    look = _worker.Look.__new__(_worker.Look)
    look._side, look._network = lite0.crop, network or load_network(lite0, "cpu", "torch")
    with working_threads(2) as pool:
        look._pool = pool
        found = [next(look(one)) for one in _worker.decode(pa.table({"chunk": texts[::-1]}), job)]
    for i in range(0, len(found), shard):
        _worker.write(pa.concat_tables(found[i : i + shard]), job)
    (shards / ".t.token").unlink()
    store.close()
    return expected


@pytest.mark.parametrize("require", ["all", "any"])
def test_shards_of_another_machine_become_the_store_that_this_one_would_make(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: str
) -> None:
    path = tmp_path / "a.h5"
    expected = worker(folder, path, require=require)
    content = path.read_bytes()
    path.unlink()
    taken = wanted(folder, path, require=require, engine="auto", device="auto")
    with monkeypatch.context() as patch:
        patch.setattr(extract, "load_network", lambda *_: pytest.fail("loaded a network"))
        assert take_in_shards(taken)
    assert path.read_bytes() == content
    pd.testing.assert_frame_equal(here(folder, path, require=require), expected)
    before = path.stat().st_mtime_ns
    assert take_in_shards(taken)
    assert path.read_bytes() == content
    assert path.stat().st_mtime_ns == before  # nothing is written a second time


def test_locations_that_the_shards_lack_are_computed_here(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    expected = worker(folder, path)
    content = path.read_bytes()
    path.unlink()
    sorted(shards_of(path).glob("*.h5"))[0].unlink()
    take_in_shards(wanted(folder, path))
    assert 0 < FeatureStore.open(path).tried.sum() < FEW
    pd.testing.assert_frame_equal(here(folder, path), expected)
    assert path.read_bytes() == content


def test_shards_of_other_settings_are_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    worker(folder, path)
    path.unlink()
    with pytest.raises(InputError, match="made from other pictures or settings; remove the folder"):
        take_in_shards(wanted(folder, path, stamp="another"))
    path.unlink()
    with pytest.raises(InputError, match="their engine is 'torch', and the study asks for 'openv"):
        take_in_shards(wanted(folder, path, engine="openvino"))
    assert not path.exists()


def test_features_of_another_device_are_taken_in_and_not_mixed_with_ours(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    worker(folder, path)
    path.unlink()
    shards = sorted(shards_of(path).glob("*.h5"))
    for shard in shards:
        with h5py.File(shard, "r+") as file:
            file.attrs["device"] = "cuda"
    shards[0].unlink()
    with pytest.raises(InputError, match="their device is 'cuda', and the study asks for 'cpu'"):
        take_in_shards(wanted(folder, path))
    taken = wanted(folder, path, device="auto")
    take_in_shards(taken)
    assert FeatureStore.open(path).attributes["device"] == "cuda"  # the stamp says the truth
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="were computed on 'cuda', which this machine has not"):
            extract_pictures(taken)


def test_a_worker_leaves_out_what_is_not_finite_with_its_reason(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    lite0 = get_backbone("efficientnet-lite0")
    usual = load_network(lite0, "cpu", "torch")
    bad = prepare(read_picture(folder / f"{IDS[2]}_b.jpg"), lite0)

    class Strange:
        device = "cpu"

        def features(self, pictures: np.ndarray) -> np.ndarray:
            features = usual.features(pictures)
            features[[(picture == bad).all() for picture in pictures], 3] = np.nan
            return features

    worker(folder, path, network=Strange(), count=9, require="any")
    path.unlink()
    store_of = wanted(folder, path, count=9, require="any")
    assert take_in_shards(store_of)
    store = FeatureStore.open(path)
    assert np.argwhere(~store.present).tolist() == [[2, 1], [7, 1]]
    assert np.isfinite(store.features).all()
    assert (store.quality["fingerprint"] != 0).sum() == 16
    reasons = Shards(shards_of(path), store).reasons
    assert reasons[IDS[2], "b"] == "the network gave no finite number"
    assert len(reasons) == 2
