"""Every image through the frozen network on a Ray cluster, into one store.

Ray Data streams images through two steps. Tasks on any core decode them, and a pool of actors (one
a GPU, or one a machine without GPUs) computes features, which this machine writes into the store as
they arrive. Scheduling, retries, locality and memory are Ray's. The store is the checkpoint, as on
one machine: whatever dies, images that are not held are computed again and nothing else. Features
do not depend on how images are batched, so the store has the bytes that one machine would give.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from streetgauge.devices import working_threads
from streetgauge.errors import InputError, summary
from streetgauge.features.backbones import Backbone
from streetgauge.features.chunks import PASS, Computed, compute_batch
from streetgauge.features.engines import Precision
from streetgauge.features.extract import Extractor, Results, extract_with
from streetgauge.features.extraction import Extraction, Positions, WorkList
from streetgauge.features.network import FrozenNetwork, load_network
from streetgauge.features.network_cache import version_of
from streetgauge.features.preprocess import DecodedBatch, preprocess_batch
from streetgauge.features.store import FeatureStore
from streetgauge.features.weights import identified
from streetgauge.imagery import QUALITY, image_sources, raw_images
from streetgauge.io.addresses import allow_hosts, allowed_hosts
from streetgauge.progress import Progress, silent
from streetgauge.settings import ClusterSettings

log = logging.getLogger(__name__)

Columns = dict[str, npt.NDArray[Any]]
Versions = dict[str, str | None]

# Images that an actor without a GPU gets at a time: 19 MB of pixels, and twice what occupies 8
# cores for a moment.
CHUNK = 128
# Images that one thread of such an actor computes at a time.
STATUS = "inspect the cluster with `ray status`"
PART = 2 * PASS
# Chunks that one task decodes, at most: what is decoded again when a machine dies.
TASK = 8
# Images that Ray is given at a time: what it knows of each takes memory on the driver.
ROUND = 2**24
# Failures in a row, with not one image computed between them, that are one too many.
FRUITLESS = 3
# Seconds in which nothing happens before a round is given up; starting GPU machines takes a while.
STILL = 600
# Seconds that a machine may take to start a first process and answer.
ANSWER = 120
# What must be of one version everywhere: each of them takes part in making features.
_PACKAGES = ("streetgauge", "torch", "numpy", "pillow", "openvino", "nncf")


def extract_on_cluster(
    wanted: Extraction, cluster: ClusterSettings, *, progress: Progress = silent
) -> pd.DataFrame:
    """Compute the features of images into a store, on a Ray cluster.

    As `extract_features`, whose store it resumes and which resumes its store.

    Parameters
    ----------
    wanted : Extraction
        The images, the network and the store; every machine must see the images under the same
        paths.
    cluster : ClusterSettings
        Which cluster, and how it is used.
    progress : Progress
        Reports every batch.

    Returns
    -------
    DataFrame
        ``location_id, view, area, stage, reason``: as `extract_features`.

    Raises
    ------
    InputError
        If Ray is not installed, the cluster cannot be reached, a machine of it lacks the images,
        the weights or this version of the package, is out of memory, or the work fails several
        times with nothing done; and all that `extract_features` raises.
    """
    with ExitStack() as stack:
        return extract_with(ClusterExtractor(wanted, cluster, stack), progress)


class ClusterExtractor(Extractor):
    """The network on the machines of a cluster, connected to when needed until a stack ends."""

    def __init__(self, wanted: Extraction, cluster: ClusterSettings, stack: ExitStack) -> None:
        super().__init__(wanted, identified(wanted.record))
        self._cluster, self._stack = cluster, stack
        self._ray: Any = None
        self._network: SimpleNamespace | None = None

    def load(self, store: FeatureStore | None = None) -> SimpleNamespace:
        """Load the network on one machine, as it is wanted or as a store was begun; describe it."""
        if self._network is None:
            engine, device = self.wanted.engine, self.wanted.device
            if store is not None:
                engine = store.attributes["engine"] or engine
                device = store.attributes["device"] or device
            machines = self._machines(device)
            job = Job(self.backbone, machines.device, engine, self.wanted.precision)
            there = self._ray.remote(num_cpus=0, num_gpus=int(job.device == "cuda"))
            try:
                self._network = self._ray.get(there(_describe).remote(job))
            except self._ray.exceptions.RayError as error:
                raise _failure(error, "the network")[0] from None
        return self._network

    def results(
        self, store: FeatureStore, work_list: WorkList, pending: Positions, pool: ThreadPoolExecutor
    ) -> Results:
        """Compute pending images in any order; what a failed round has not done, the next does."""
        network = self.load(store)
        size = CHUNK if network.device == "cpu" else network.batch
        precision, hosts = self.wanted.precision, allowed_hosts()
        job = Job(self.backbone, network.device, network.engine, precision, size, hosts)
        waiting = np.zeros(len(work_list), dtype=bool)
        waiting[pending] = True
        fruitless = 0
        while left := int(np.count_nonzero(waiting)):
            failure = InputError(store.path, "no machine of the cluster computes anything", STATUS)
            try:
                machines = self._machines(job.device)  # some may have come and gone
                part = np.flatnonzero(waiting)[:ROUND]
                for index, found in self._round(job, machines, work_list, part):
                    waiting[index] = False
                    yield index, found
            except Exception as error:
                failure, is_final = _failure(error, store.path)
                if is_final:
                    raise failure from None
                log.warning("%s Continuing with what is not computed yet.", failure)
            fruitless = fruitless + 1 if np.count_nonzero(waiting) == left else 0
            if fruitless == FRUITLESS:
                raise failure

    def _machines(self, device: str) -> Machines:
        """Count the machines that are there now, and refuse a cluster of which one is unfit."""
        if self._ray is None:
            self._ray = self._stack.enter_context(_connected(self._cluster.address))
        paths = self.wanted.views["path"]
        _refuse_unfit(self._ray, str(paths.iloc[0]) if len(paths) else "")
        return Machines.of(self._ray.nodes(), device)

    def _round(
        self, job: Job, machines: Machines, work_list: WorkList, positions: Positions
    ) -> Iterator[tuple[Positions, Computed]]:
        """Stream images through the cluster."""
        ray = self._ray.data
        decoders = self._cluster.decoders or machines.decoders
        step = job.size * min(TASK, max(1, len(positions) // (job.size * 4 * decoders)))
        parts = [positions[start : start + step] for start in range(0, len(positions), step)]
        # Only decoding holds cores in Ray's books: an actor that waited for a core which decoders
        # hold, while these wait for room that only it can make, would wait for ever.
        data = ray.from_arrow([work_list.table(part) for part in parts]).map_batches(
            decode_rows,
            fn_kwargs={"job": job},
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
            compute=ray.TaskPoolStrategy(size=decoders),
        )
        data = data.map_batches(
            InferenceActor,
            fn_constructor_kwargs={"job": job},
            batch_size=job.size,
            batch_format="numpy",
            num_cpus=0,
            num_gpus=int(job.device == "cuda"),
            compute=ray.ActorPoolStrategy(size=self._cluster.actors or machines.actors),
        )
        context = data.context
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.execution_no_progress_timeout_s = STILL
        # A chunk of pixels travels as soon as it is there.
        context.target_max_block_size = job.size * 3 * job.backbone.crop**2
        for batch in data.iter_batches(batch_size=None, batch_format="numpy"):
            if len(batch):
                yield batch["index"], Computed(*_from_columns(batch), batch["features"])


def _failure(error: BaseException, subject: object) -> tuple[InputError, bool]:
    """Report in one sentence why a cluster failed, and whether it would do so again."""
    causes = _causes(error)
    for cause in causes:
        if isinstance(cause, InputError):  # Ray's copy of it prints as a whole traceback
            return InputError(cause.subject, cause.reason, cause.next_step), True
        if isinstance(cause, (KeyboardInterrupt, SystemExit)):
            raise cause
    names = {type(cause).__name__ for cause in causes}
    lines = str(causes[-1]).strip().splitlines() or [""]
    reason = f"the cluster failed: {type(causes[-1]).__name__} {lines[0]}"
    step = STATUS
    if "OutOfMemoryError" in names:
        reason, step = "a machine of the cluster ran out of memory", "use fewer decoders or actors"
    elif names & {"OutOfDiskError", "ObjectStoreFullError"}:
        reason = "a machine of the cluster has no room for images in its object store or on disk"
        step = "free disk space there, or `ray start` it with a larger --object-store-memory"
    elif "ExecutionTimeoutError" in names:
        reason = "nothing happened for a while"
    elif names & {"RayDataUserCodeException", "UserCodeException"}:
        step = "fix that, and run again: it goes on from what is done"
        return InputError(subject, f"a worker failed: {summary(lines[-1])}", step), True
    return InputError(subject, reason, step), False


def _causes(error: BaseException) -> list[BaseException]:
    """Give an error and all that it came from, as Ray has it."""
    seen: list[BaseException] = []
    queue: list[Any] = [error]
    while queue:
        one = queue.pop()
        if isinstance(one, BaseException) and not any(one is other for other in seen):
            seen.append(one)
            queue += [one.__cause__, getattr(one, "cause", None), one.__context__]
    return seen


class Job(NamedTuple):
    """The network that every worker computes, and how many images at a time."""

    backbone: Backbone
    device: str
    engine: str
    precision: Precision
    size: int = CHUNK
    hosts: tuple[str, ...] = ()  # of this cluster's own network, that images may be fetched from


def decode_rows(table: pa.Table, job: Job) -> Iterator[Columns]:
    """Read images, and prepare them for the network, some at a time."""
    allow_hosts(job.hosts)
    rows, index = image_sources(table.to_pandas()), table["index"].to_numpy()
    raws = raw_images(rows)
    for start in range(0, len(rows), job.size):
        part = rows[start : start + job.size]
        batch = preprocess_batch(part, list(islice(raws, len(part))), job.backbone)
        for row, reason in zip(part, batch.reasons, strict=True):
            # Where not even the folder is seen, no image is called missing.
            if reason and "://" not in row.path and not Path(row.path).parent.is_dir():
                step = "share its folder at the same path"
                raise _here(InputError(row.path, "this image cannot be read there", step))
        some = index[start : start + job.size]
        yield {"index": some, "pixels": batch.pixels, **_as_columns(batch)}


class InferenceActor:
    """The network of a job on a worker, for as long as it lasts."""

    def __init__(self, job: Job) -> None:
        ray: Any = import_module("ray")
        self._network: FrozenNetwork | InputError
        try:
            self._network = _loaded(job)
        except InputError as error:  # an actor that dies while it starts would not report why
            self._network = error
        here = ray.get_runtime_context().get_node_id()
        cores = {node["NodeID"]: node["Resources"].get("CPU") for node in ray.nodes()}
        self._stack = ExitStack()
        self._pool = self._stack.enter_context(working_threads(int(cores.get(here) or 0) or None))

    def __call__(self, batch: Columns) -> Columns:
        """Replace pixels by features."""
        network = self._network
        if isinstance(network, InputError):
            raise network
        size = PART if network.device == "cpu" else len(batch["index"])

        def compute(start: int) -> Columns:
            some = {name: values[start : start + size] for name, values in batch.items()}
            found = compute_batch(network, DecodedBatch(some["pixels"], *_from_columns(some)))
            return {"index": some["index"], "features": found.features, **_as_columns(found)}

        parts = list(self._pool.map(compute, range(0, len(batch["index"]), size)))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _describe(job: Job) -> SimpleNamespace:
    """Load a network on a worker and describe it."""
    network = _loaded(job)
    names = ("engine", "device", "cosine", "batch")
    return SimpleNamespace(**{name: getattr(network, name) for name in names})


def _loaded(job: Job) -> FrozenNetwork:
    try:
        return load_network(job.backbone, job.device, job.engine, job.precision)
    except InputError as error:
        raise _here(error) from None


def _as_columns(batch: DecodedBatch | Computed) -> Columns:
    return {
        "reasons": np.array([reason or "" for reason in batch.reasons], dtype=str),
        "signatures": batch.signatures,
        "quality": batch.quality.view(np.uint8).reshape(len(batch.quality), -1),
    }


def _from_columns(
    batch: Columns,
) -> tuple[list[str | None], npt.NDArray[np.uint8], npt.NDArray[np.void]]:
    quality = np.ascontiguousarray(batch["quality"]).view(QUALITY)[:, 0]
    return [str(reason) or None for reason in batch["reasons"]], batch["signatures"], quality


def _here(error: InputError) -> InputError:
    """Name the machine that this runs on."""
    return InputError(f"machine {platform.node()}: {error.subject}", error.reason, error.next_step)


class Machines(NamedTuple):
    """What networks run on, and how many actors and decoders suit the machines that are there."""

    device: str
    actors: int
    decoders: int

    @classmethod
    def of(cls, nodes: Sequence[dict[str, Any]], device: str) -> Self:
        """Count what Ray lists; ``device`` is a study's."""
        offers = [node["Resources"] for node in nodes if _has_core(node)]
        cores = sum(int(offer["CPU"]) for offer in offers)
        gpus = int(sum(offer.get("GPU", 0) for offer in offers))
        if not offers:
            raise InputError("the cluster", "no machine of it offers a core", "add a machine")
        if device == "mps" or (device == "cuda" and not gpus):
            step = 'add one that has, or compute all features again with device = "cpu"'
            raise InputError(f"device {device!r}", "no machine of the cluster has it", step)
        if device != "cpu" and gpus:
            return cls("cuda", gpus, cores)
        # A network uses all cores of its machine, of which a quarter can feed it.
        return cls("cpu", len(offers), max(len(offers), cores // 4))


def _has_core(node: dict[str, Any]) -> bool:
    return bool(node["Alive"] and node["Resources"].get("CPU", 0) >= 1)


def _refuse_unfit(ray: Any, image: str) -> None:
    """Refuse a cluster of which a machine lacks what it needs, naming the machine."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def inspect(image: str, packages: tuple[str, ...]) -> tuple[bool, dict[str, str | None]]:
        # Sent as it is, so that it also runs where this package is not installed.
        import os
        from contextlib import suppress
        from importlib import metadata

        versions: dict[str, str | None] = dict.fromkeys(packages)
        for package in packages:
            with suppress(metadata.PackageNotFoundError):
                versions[package] = metadata.version(package)
        return "://" in image or os.access(image, os.R_OK), versions

    asked = []
    for node in filter(_has_core, ray.nodes()):
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        remote = ray.remote(num_cpus=0, max_retries=1, scheduling_strategy=there)(inspect)
        name = f"machine {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        asked.append((name, remote.remote(image, _PACKAGES)))
    for name, answer in asked:
        try:
            found = ray.get(answer, timeout=ANSWER)
        except (ray.exceptions.RayError, TimeoutError):
            log.warning("%s does not respond; work continues without it.", name)
        else:
            _refuse_machine(name, image, *found)


def _refuse_machine(name: str, image: str, sees: bool, versions: Versions) -> None:
    for package, version in versions.items():
        ours = version_of(package)
        if version != ours:
            reason = f"its version is {version or 'missing'}, here it is {ours or 'missing'}"
            step = "install the same versions on every machine"
            raise InputError(f"{name}: {package}", reason, step)
    if image and not sees:
        step = "share the images at the same path on every machine"
        raise InputError(f"{name}: {image}", "it cannot read this image", step)


_STEP = "start it with `ray start --head` there, or name its address"


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Connect to a cluster, unless this program is connected already."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray: Any = import_module("ray")
        import_module("ray.data")
    except ImportError:
        step = "pip install 'streetgauge[ray]'"
        raise InputError("[features.cluster]", "Ray is not installed", step) from None
    # Of a healthy run Ray's core reports as an error that its actors are started as Ray Data does.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"ray\.data\.")  # that few images make few tasks
    if ray.is_initialized():
        yield ray
        return
    _refuse_unreachable(address)
    try:
        with _muted():  # Ray's core reports which level it logs from
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False if address == "local" else None,
            )
    except Exception as error:  # of a start that takes too long Ray raises no other
        first = summary(error)
        reason, step = f"it cannot be reached: {first}", _STEP
        if address == "local":
            reason = f"it does not start: {first}"
            step = "try again when less else runs here, or do without [features.cluster]"
        raise InputError(f"cluster {address!r}", reason, step) from None
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _muted() -> Iterator[None]:
    """Drop what this process writes to standard error, whatever library writes it."""
    stderr = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _refuse_unreachable(address: str) -> None:
    """Knock at the door: Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        reason = f"it cannot be reached: {getattr(error, 'strerror', None) or error}"
        raise InputError(f"cluster {address!r}", reason, _STEP) from None
