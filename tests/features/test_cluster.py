"""Features computed by a Ray cluster, as far as no Ray is needed to see it."""

from __future__ import annotations

import pickle
import sys
import time
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from streetgauge.devices import working_threads
from streetgauge.errors import InputError
from streetgauge.features import (
    Extraction,
    FeatureStore,
    extract_features,
    extract_on_cluster,
    get_backbone,
    load_network,
    prepare,
)
from streetgauge.features.chunks import Computed, compute_batch
from streetgauge.features.extract import extract_with
from streetgauge.features.extraction import Positions
from streetgauge.features.preprocess import preprocess_batch
from streetgauge.features.ray import (
    ClusterExtractor,
    InferenceActor,
    Job,
    Machines,
    _failure,
    _from_columns,
    _refuse_machine,
    decode_rows,
)
from streetgauge.imagery import find_views, raw_images, read_image
from streetgauge.progress import Progress, silent
from streetgauge.settings import ClusterSettings, ImagerySettings

VIEWS = ("a", "b")
N = 10
BROKEN = 7
IDS = [f"L{i:04}" for i in range(N)]
SIDE = 48  # of the images: they cost next to nothing to decode


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(5)
    for i, location in enumerate(IDS):
        for view in VIEWS:
            coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            coarse.resize((SIDE, SIDE)).save(folder / f"{location}_{view}.jpg")
        if i == BROKEN:
            (folder / f"{location}_b.jpg").write_bytes(b"not an image")
    return folder


def wanted(folder: Path, path: Path, count: int = N, **options: Any) -> Extraction:
    ids = IDS[:count]
    views, _ = find_views(ImagerySettings(folder=folder, views=VIEWS), ids)
    how = {"view_names": VIEWS, "device": "cpu", "engine": "torch", "cache_key": "s"} | options
    return Extraction(views, ids, path, **how)


def here(folder: Path, path: Path, **options: Any) -> pd.DataFrame:
    return extract_features(wanted(folder, path, **options))


def there(
    folder: Path, path: Path, address: str, progress: Progress, **options: Any
) -> pd.DataFrame:
    settings = ClusterSettings(address=address)
    return extract_on_cluster(wanted(folder, path, **options), settings, progress=progress)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"cluster": "spark"}, "'spark' is not allowed: write cluster = 'ray'"),
        ({"cluster": {"address": "ray://head:10001"}}, "run streetgauge on a machine of the"),
        ({"cluster": {"address": "head"}}, "write host:port, 'auto' or 'local'"),
    ],
)
def test_a_cluster_that_cannot_be_meant_is_refused_with_the_right_key(
    content: dict[str, Any], sentence: str
) -> None:
    from pydantic import ValidationError

    from streetgauge.settings import ImageFeatures

    with pytest.raises(ValidationError, match="value_error") as caught:
        ImageFeatures.model_validate(content)
    assert sentence in str(caught.value)


def test_a_cluster_makes_no_other_features_of_a_study(grid: Path) -> None:
    from streetgauge.study import Study
    from streetgauge.study.stages import stage_named

    file = grid / "study.toml"
    text = file.read_text().partition("[features]")[0]
    (grid / "images").mkdir()
    (grid / "locations.parquet").write_bytes(b"stands for locations")
    ways = {
        "plain": "",
        "cluster": 'cluster = "ray"',
        "section": "[features.cluster]\nactors = 3",
    }
    found = {}
    for name, way in ways.items():
        file.write_text(f'{text}[imagery]\nfolder = "images"\n[features]\n{way}\n')
        study = Study.open(grid)
        features: Any = study.settings.features
        key = study.key(stage_named("features"))
        found[name] = (key, features.model_dump(mode="json"), features.store)
        actors = None if features.cluster is None else features.cluster.actors
        assert (features.engine, features.cluster is None, actors) == (
            *("auto", name == "plain"),
            3 if name == "section" else None,
        )
    assert len({str(each) for each in found.values()}) == 1


def test_ray_is_no_engine() -> None:
    from pydantic import ValidationError

    from streetgauge.settings import ImageFeatures

    with pytest.raises(ValidationError, match="engine"):
        ImageFeatures.model_validate({"engine": "ray"})


def test_cluster_ray_means_the_cluster_that_this_machine_is_in() -> None:
    from streetgauge.settings import ImageFeatures

    settings = ImageFeatures.model_validate({"cluster": "ray"})
    assert settings.cluster == ClusterSettings(address="auto")
    assert ImageFeatures().cluster is None


def test_an_address_where_nobody_listens_is_reported_at_once(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    started = time.monotonic()
    with pytest.raises(
        InputError, match=r"cluster '127.0.0.1:9': it cannot be reached: Connection"
    ):
        there(folder, tmp_path / "a.h5", "127.0.0.1:9", silent)
    assert time.monotonic() - started < 30
    assert not (tmp_path / "a.h5").exists()


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


def test_without_ray_one_sentence_names_what_to_install(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"Ray is not installed; pip install 'streetgauge\[ray\]'"):
        there(folder, tmp_path / "a.h5", "auto", silent)


def test_a_finished_store_needs_no_cluster(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    expected = here(folder, path)
    pd.testing.assert_frame_equal(there(folder, path, "127.0.0.1:9", silent), expected)


@pytest.mark.parametrize(
    ("sees", "versions", "sentence"),
    [
        (False, {}, "machine m: /images/1.jpg: it cannot read this image; share the images"),
        (True, {"streetgauge": "0.0.1"}, "machine m: streetgauge: its version is 0.0.1, here"),
        (True, {"torch": None}, "machine m: torch: its version is missing, here it is"),
        (True, {"not-a-package": "1"}, "not-a-package: its version is 1, here it is missing"),
    ],
)
def test_a_machine_that_lacks_something_is_named_with_what_it_lacks(
    sees: bool, versions: dict[str, str | None], sentence: str
) -> None:
    ours = {"torch": metadata.version("torch"), "not-a-package": None}
    _refuse_machine("machine m", "/images/1.jpg", True, ours)
    with pytest.raises(InputError, match=sentence):
        _refuse_machine("machine m", "/images/1.jpg", sees, versions)


def node(alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"Alive": alive, "Resources": resources}


def test_a_gpu_has_one_network_fed_by_all_cores_and_else_a_machine_has_one() -> None:
    nodes = [node(CPU=16), node(CPU=8, GPU=2), node(alive=False, CPU=64, GPU=8), node(memory=1e9)]
    assert Machines.of(nodes, "auto") == ("cuda", 2, 24)
    assert Machines.of(nodes, "cpu") == ("cpu", 2, 6)
    assert Machines.of(nodes[:1], "auto") == ("cpu", 1, 4)
    assert Machines.of([node(CPU=1)] * 3, "auto") == ("cpu", 3, 3)
    for few, device, sentence in (
        (nodes[:1], "cuda", "device 'cuda': no machine of the cluster has it"),
        (nodes, "mps", "device 'mps': no machine of the cluster has it"),
        (nodes[2:], "auto", "no machine of it offers a core"),
    ):
        with pytest.raises(InputError, match=sentence):
            Machines.of(few, device)


def test_what_a_worker_reports_comes_through_as_one_sentence() -> None:
    error = pickle.loads(pickle.dumps(InputError("machine m: /p", "cannot be read", "share it")))
    outer = RuntimeError("as Ray wraps it")
    outer.cause = error  # type: ignore[attr-defined]
    error.__context__ = outer  # in a circle
    failure, is_final = _failure(outer, "features")
    assert is_final
    assert str(failure) == "machine m: /p: cannot be read; share it."


@pytest.mark.parametrize(
    ("name", "reason", "is_final"),
    [
        ("OutOfMemoryError", "ran out of memory; use fewer decoders", False),
        ("OutOfDiskError", "no room for images", False),
        ("ExecutionTimeoutError", "nothing happened for a while", False),
        ("ActorDiedError", "the cluster failed: ActorDiedError it is gone", False),
        ("UserCodeException", "a worker failed: and more", True),
    ],
)
def test_a_failing_machine_is_no_reason_to_give_up_at_once_and_a_failing_function_is(
    name: str, reason: str, is_final: bool
) -> None:
    failure, final = _failure(type(name, (Exception,), {})("it is gone\nand more"), "features")
    assert final == is_final
    assert reason in str(failure)
    assert "\n" not in str(failure)


class Scripted(ClusterExtractor):
    """A cluster of which each round ends as a script says: after some images, with an error."""

    def __init__(self, wanted: Extraction, script: list[tuple[int, Exception | None]]) -> None:
        super().__init__(wanted, ClusterSettings(), ExitStack())
        self.script, self.asked = script, []  # type: ignore[var-annotated]
        self.network = load_network(self.backbone, "cpu", "torch")

    def load(self, store: Any = None) -> Any:
        return self.network

    def _machines(self, device: str) -> Machines:
        return Machines("cpu", 1, 1)

    def _round(self, job: Job, machines: Any, work_list: Any, positions: Positions) -> Any:
        count, error = self.script.pop(0)
        self.asked.append(positions.tolist())
        for at in positions[::-1][:count]:
            rows = work_list.rows([at])
            batch = preprocess_batch(rows, list(raw_images(rows)), job.backbone)
            yield np.array([at]), compute_batch(self.network, batch)
        if error is not None:
            raise error


DIED = RuntimeError("a machine died")


def test_after_a_failure_only_what_was_not_computed_is_asked_for_again(
    folder: Path, tmp_path: Path
) -> None:
    expected = here(folder, tmp_path / "here.h5")
    script = [(7, DIED), (0, DIED), (0, DIED), (6, None), (7, None)]
    cluster = Scripted(wanted(folder, tmp_path / "there.h5"), script)
    pd.testing.assert_frame_equal(extract_with(cluster), expected)
    assert [len(asked) for asked in cluster.asked] == [20, 13, 13, 13, 7]
    assert cluster.asked[1] == list(range(13))
    assert (tmp_path / "there.h5").read_bytes() == (tmp_path / "here.h5").read_bytes()


@pytest.mark.parametrize(
    ("script", "reason", "held"),
    [
        ([(3, DIED), (2, DIED), *[(0, DIED)] * 3], "RuntimeError a machine died", 5),
        ([(3, None), *[(0, None)] * 3], "no machine of the cluster computes anything", 3),
        ([(3, DIED), (1, InputError("machine m: /p", "not there"))], "machine m: /p: not there", 4),
    ],
)
def test_three_failures_in_a_row_or_one_that_stays_end_the_run_and_what_was_computed_is_held(
    folder: Path, tmp_path: Path, script: list[Any], reason: str, held: int
) -> None:
    cluster = Scripted(wanted(folder, tmp_path / "a.h5"), script)
    with pytest.raises(InputError, match=reason):
        extract_with(cluster)
    assert not cluster.script
    assert FeatureStore.open(tmp_path / "a.h5").held.sum() == held


def test_images_that_a_machine_cannot_see_are_not_called_missing(
    folder: Path, tmp_path: Path
) -> None:
    given = wanted(folder, tmp_path / "a.h5", count=1)
    job = Job(given.record, "cpu", "torch", "float32")
    for path, sees in ((folder / "no.jpg", True), (tmp_path / "not-shared" / "a.jpg", False)):
        given.views["path"] = str(path)
        table = given.work_list().table(np.arange(2))
        if sees:
            assert "there is no such file" in next(decode_rows(table, job))["reasons"][0]
            continue
        with pytest.raises(InputError, match=r"machine .*: this image cannot be read there"):
            next(decode_rows(table, job))


def test_a_worker_s_results_are_those_of_this_machine_with_their_reasons(
    folder: Path, tmp_path: Path
) -> None:
    lite0 = get_backbone("efficientnet-lite0")
    usual = load_network(lite0, "cpu", "torch")
    bad = prepare(read_image(folder / f"{IDS[2]}_b.jpg"), lite0)

    class Strange:
        device, backbone = "cpu", lite0

        def features(self, images: np.ndarray) -> np.ndarray:
            features = usual.features(images)
            features[[(image == bad).all() for image in images], 3] = np.nan
            return features

    work_list = wanted(folder, tmp_path / "a.h5", count=9).work_list()
    table = work_list.table(np.arange(18)[::-1])
    actor = InferenceActor.__new__(InferenceActor)
    actor._network = Strange()  # type: ignore[assignment]
    with working_threads(2) as pool:
        actor._pool = pool
        decoded = list(decode_rows(table, Job(lite0, "cpu", "torch", "float32", size=12)))
        found = [actor(batch) for batch in decoded]
    assert [len(batch["index"]) for batch in found] == [12, 6]
    assert np.concatenate([batch["index"] for batch in found]).tolist() == list(range(18))[::-1]
    results = [Computed(*_from_columns(batch), batch["features"]) for batch in found]
    rows = work_list.rows(np.arange(18)[::-1])
    whole = preprocess_batch(rows, list(raw_images(rows)), lite0)
    ours = compute_batch(Strange(), whole)  # type: ignore[arg-type]
    for name in ("signatures", "quality", "features"):
        theirs = np.concatenate([getattr(result, name) for result in results])
        np.testing.assert_array_equal(theirs, getattr(ours, name))
    reasons = [reason for result in results for reason in result.reasons]
    assert reasons == ours.reasons
    assert {17 - i: r for i, r in enumerate(reasons) if r} == {
        5: "the network gave no finite number",
        15: whole.reasons[2],
    }
