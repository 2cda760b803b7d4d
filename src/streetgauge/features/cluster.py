"""Every picture through the frozen network on a Ray cluster: shards first, then one store.

Ray Data streams chunks of pictures through three steps. Tasks on any core decode them, a pool of
actors (one a GPU, or one a machine without GPUs) computes features, and tasks write these as shards
into a folder that all machines share. A shard is the checkpoint: whatever dies, a machine or the
program that drives it all, what is in no shard is done again and nothing else. Features do not
depend on how pictures are cut into chunks, so the store has the bytes that one machine would give.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from streetgauge.devices import working_threads
from streetgauge.errors import InputError
from streetgauge.features._lock import WriteLock
from streetgauge.features._nodes import Failure, NodeError, Nodes, refusal, refuse_unfit, run_on
from streetgauge.features._plan import Plan
from streetgauge.features.backbones import Backbone, get_backbone
from streetgauge.features.extract import _pending, _store
from streetgauge.features.look import PASS, features_of, look_at
from streetgauge.features.network import Network, load_network
from streetgauge.features.shards import (
    ShardHeader,
    Shards,
    clear_unfinished,
    engine_of,
    shards_of,
    write_shard,
)
from streetgauge.features.store import FeatureStore
from streetgauge.imagery import QUALITY, PictureAt, raw_pictures
from streetgauge.imagery.panoramas import Cut
from streetgauge.progress import Progress, silent
from streetgauge.skips import skips_frame

if TYPE_CHECKING:
    from streetgauge.settings import ClusterSettings

__all__ = ["extract_on_cluster", "take_in_shards"]

log = logging.getLogger(__name__)

Skip = dict[str, str | None]
Positions = npt.NDArray[np.intp]

# Pictures in a chunk: what an actor gets at a time. Twice what keeps 8 cores at work for a moment;
# 19 MB of pixels.
CHUNK = 128
# Chunks that one task decodes, at most: what is decoded again when a machine dies.
TASK = 8
# Tasks that Ray is told of at a time: what it knows of each takes memory where it is driven from.
ROUND = 16_384
# Pictures that one thread of an actor computes at a time.
PART = 2 * PASS
# Failures in a row, with not one shard written between them, that are one too many.
FRUITLESS = 3
# Seconds in which nothing happens before a round is given up; starting GPU machines takes a while.
STILL = 600
_OWN = {"format", "format_version", "code_version", "dtype", "views"}


@dataclass(frozen=True)
class Job:
    """What every worker is told.

    Parameters
    ----------
    folder : str
        Of the shards, the same path on every machine.
    token : str
        Name of a file in it, by which a machine sees that the folder is shared.
    backbone : Backbone
        The network.
    device, engine, precision : str
        Where and how it is computed.
    header : ShardHeader
        Of the shards.
    cores : dict of str to int
        Of each machine, by Ray's id of it.
    """

    folder: str
    token: str
    backbone: Backbone
    device: str
    engine: str
    precision: str
    header: ShardHeader
    cores: dict[str, int]


def extract_on_cluster(
    views: pd.DataFrame,
    locations: Sequence[str],
    path: Path,
    backbone: str | Backbone = "efficientnet-lite0",
    *,
    view_names: Sequence[str],
    cluster: ClusterSettings,
    require: Literal["all", "any"] = "all",
    device: str = "auto",
    engine: str = "auto",
    precision: Literal["float32", "bfloat16", "int8"] = "float32",
    dtype: Literal["float32", "float16"] = "float32",
    stamp: str = "",
    progress: Progress = silent,
) -> pd.DataFrame:
    """Compute the features of pictures into a store, on a Ray cluster.

    As `extract_pictures`, whose store it goes on with and which goes on with its store.

    Parameters
    ----------
    views, locations, path, backbone, view_names, require, device, engine, precision, dtype, stamp
        As for `extract_pictures`; every machine must see pictures and the store's folder under the
        same paths.
    cluster : ClusterSettings
        Which cluster, and how it is used.
    progress : Progress
        Told of every shard.

    Returns
    -------
    DataFrame
        ``location_id, view, area, stage, reason``: as `extract_pictures`.

    Raises
    ------
    InputError
        If Ray is not installed, the cluster cannot be reached, a machine of it lacks the pictures,
        the folder, the weights or this version of the package, is out of memory, or the work fails
        several times with nothing done; and all that `extract_pictures` raises.
    """
    record = get_backbone(backbone) if isinstance(backbone, str) else backbone
    plan = Plan(views, locations, view_names, require)
    folder = shards_of(path)
    found: dict[tuple[str | None, str | None], Skip] = {}
    with ExitStack() as stack:
        lock = stack.enter_context(WriteLock(path))
        pool = stack.enter_context(working_threads())
        clear_unfinished(folder)
        nodes = stack.enter_context(_lazily(cluster, device, plan, folder))
        loader = _OnWorker(record, nodes, engine_of(folder) or engine, precision)
        store = stack.enter_context(_store(path, plan, loader, dtype, stamp, lock, pool))  # type: ignore[arg-type]
        pending, skips = _pending(store, plan, record, pool)
        shards = Shards(folder, store)
        pending = _lacking(pending, plan, shards)
        if len(pending):
            network = loader.load(store.attributes["engine"])
            job = _job(folder, record, store, network, nodes())
            with progress("features", len(pending), "pictures") as advance:
                _compute(job, store, plan, pending, cluster, nodes, network.batch, advance)
            shards = Shards(folder, store)
        skips += shards.merge(_planned(plan), require, progress)
        if not cluster.keep:
            shards.remove()
        found = {(skip["location_id"], skip["view"]): skip for skip in skips}
    suffix = ", and all views are needed" if require == "all" else ""
    return skips_frame({**skip, "reason": f"{skip['reason']}{suffix}"} for skip in found.values())


def take_in_shards(
    views: pd.DataFrame,
    locations: Sequence[str],
    path: Path,
    backbone: str | Backbone = "efficientnet-lite0",
    *,
    view_names: Sequence[str],
    require: Literal["all", "any"] = "all",
    device: str = "auto",
    engine: str = "auto",
    precision: Literal["float32", "bfloat16", "int8"] = "float32",
    dtype: Literal["float32", "float16"] = "float32",
    stamp: str = "",
    progress: Progress = silent,
) -> bool:
    """Merge shards that lie beside a store, from wherever they come; they stay where they are.

    Parameters
    ----------
    views, locations, path, backbone, view_names, require, device, engine, precision, dtype, stamp
        As for `extract_pictures`, which goes on with the store.
    progress : Progress
        Told of every location.

    Returns
    -------
    bool
        Whether there were any.

    Raises
    ------
    InputError
        If a shard does not belong to the study, or the file at ``path`` is something else than a
        store.
    """
    from streetgauge.features.extract import _Loader

    folder = shards_of(path)
    theirs = engine_of(folder)
    if theirs is None:
        return False
    record = get_backbone(backbone) if isinstance(backbone, str) else backbone
    plan = Plan(views, locations, view_names, require)
    loader = _Loader(record, device, theirs if engine == "auto" else engine, precision)
    with (
        WriteLock(path) as lock,
        working_threads() as pool,
        _store(path, plan, loader, dtype, stamp, lock, pool) as store,
    ):
        Shards(folder, store).merge(_planned(plan), require, progress)
    return True


class _OnWorker:
    """What a machine of the cluster says of the network, asked when it is first needed."""

    def __init__(
        self, backbone: Backbone, nodes: Callable[[], Nodes], engine: str, precision: str
    ) -> None:
        self.backbone, self.engine, self.precision = backbone, engine, precision
        self._nodes, self._said = nodes, SimpleNamespace()

    def load(self, engine: str) -> SimpleNamespace:
        if not vars(self._said):
            nodes = self._nodes()
            kind = (self.backbone, nodes.device, engine, self.precision)
            self._said = SimpleNamespace(**run_on(nodes, _try_network, *kind))
        return self._said


def _try_network(backbone: Backbone, device: str, engine: str, precision: str) -> dict[str, Any]:
    """Load a network on a worker and say what it is."""
    network = _loaded(backbone, device, engine, precision)
    names = ("engine", "device", "cosine", "batch")
    return {name: getattr(network, name) for name in names}


def _loaded(backbone: Backbone, device: str, engine: str, precision: str) -> Network:
    try:
        return load_network(backbone, device, engine, precision)  # type: ignore[arg-type]
    except InputError as error:
        raise NodeError.here(error.subject, error.reason, error.next_step) from None


@contextmanager
def _lazily(
    cluster: ClusterSettings, device: str, plan: Plan, folder: Path
) -> Iterator[Callable[[], Nodes]]:
    """Give a function that connects to the cluster when it is first called, and looks at it."""
    with ExitStack() as stack:
        token = folder / f".{uuid.uuid4().hex}.token"
        connected: list[Any] = []

        def nodes() -> Nodes:
            if not connected:
                connected.append(stack.enter_context(_connected(cluster.address)))
                folder.mkdir(parents=True, exist_ok=True)
                token.write_text("machines of a cluster look for this file\n", encoding="utf-8")
                picture = plan.rows(np.array([0]))[0].path
                refuse_unfit(connected[0], token, picture)
            return Nodes.of(connected[0], device, token)

        try:
            yield nodes
        finally:
            token.unlink(missing_ok=True)
            with suppress(OSError):  # it is not empty, or was never made
                folder.rmdir()


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Connect to a cluster, unless this program is connected already."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray: Any = import_module("ray")
        import_module("ray.data")
    except ImportError:
        raise InputError(
            "[features.cluster]", "Ray is not installed", "pip install 'streetgauge[ray]'"
        ) from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if ray.is_initialized():
        yield ray
        return
    _refuse_unreachable(address)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False if address == "local" else None,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"cluster {address!r}",
            f"it cannot be reached: {str(error).strip().splitlines()[0]}",
            "start it with `ray start --head` there, or name its address",
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _refuse_unreachable(address: str) -> None:
    """Knock at the door: Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"cluster {address!r}",
            f"it cannot be reached: {getattr(error, 'strerror', None) or error}",
            "start it with `ray start --head` there, or name its address",
        ) from None


def _job(
    folder: Path, backbone: Backbone, store: FeatureStore, network: SimpleNamespace, nodes: Nodes
) -> Job:
    attributes = {name: text for name, text in store.attributes.items() if name not in _OWN}
    dtype: Any = store.attributes["dtype"]
    header = ShardHeader(store.views, store.features.shape[2], dtype, attributes)
    return Job(
        *(str(folder), nodes.token.name, backbone, nodes.device),
        *(network.engine, store.attributes["precision"], header, nodes.cores),
    )


def _planned(plan: Plan) -> npt.NDArray[np.bool_]:
    planned = np.zeros((len(plan.ids), len(plan.view_names)), dtype=bool)
    planned[plan.slots, plan.places] = True
    return planned


def _lacking(pending: Positions, plan: Plan, shards: Shards) -> Positions:
    """Give those of some pictures that are in no shard."""
    return pending[~shards.held[plan.slots[pending], plan.places[pending]]]


def _compute(
    job: Job,
    store: FeatureStore,
    plan: Plan,
    pending: Positions,
    cluster: ClusterSettings,
    nodes: Callable[[], Nodes],
    batch: int,
    advance: Callable[[int], None],
) -> None:
    """Compute pictures into shards, in rounds; what a failed round has not done, the next does."""
    size = CHUNK if job.device == "cpu" else batch
    fruitless = 0
    failure: Failure | None = None
    while len(pending):
        now = nodes()  # machines may have come and gone
        decoders = cluster.decoders or now.decoders
        task = min(TASK, max(1, len(pending) // (size * 4 * decoders)))
        part = pending[: ROUND * task * size]
        try:
            for pictures in _round(now, job, plan, part, size, task, cluster):
                advance(pictures)
        except Exception as error:
            failure = refusal(error, job.folder)
            if failure.is_final:
                raise failure.error from None
            log.warning("%s Going on with what is in no shard yet.", failure.error)
        else:
            failure = None
        left = _lacking(pending, plan, Shards(Path(job.folder), store))
        fruitless = fruitless + 1 if len(left) == len(pending) else 0
        if fruitless == FRUITLESS:
            raise (failure.error if failure else InputError(job.folder, "no shard arrives there"))
        pending = left


def _round(
    nodes: Nodes,
    job: Job,
    plan: Plan,
    pending: Positions,
    size: int,
    task: int,
    cluster: ClusterSettings,
) -> Iterator[int]:
    """Stream pictures through the cluster; say of each shard how many it holds."""
    ray = nodes.ray.data
    chunks = (_packed(plan, pending[i : i + size]) for i in range(0, len(pending), size))
    tables = []
    while few := list(islice(chunks, task)):
        tables.append(pa.table({"chunk": few}))
    # Only decoding holds cores in Ray's books: an actor that waited for a core which decoders hold,
    # while these wait for room that only it can make, would wait for ever.
    data = ray.from_arrow(tables).map_batches(
        _decode,
        fn_kwargs={"job": job},
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=1,
        compute=ray.TaskPoolStrategy(size=cluster.decoders or nodes.decoders),
    )
    data = data.map_batches(
        Look,
        fn_constructor_kwargs={"job": job},
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=0,
        num_gpus=0 if job.device == "cpu" else 1,
        compute=ray.ActorPoolStrategy(size=cluster.actors or nodes.actors),
    )
    data = data.map_batches(
        _write,
        fn_kwargs={"job": job},
        batch_size=max(1, cluster.shard // size),
        batch_format="pyarrow",
        num_cpus=0,
        compute=ray.TaskPoolStrategy(size=max(2, len(nodes.cores))),
    )
    context = data.context
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = 1  # each chunk travels alone, as soon as it is there
    context.execution_no_progress_timeout_s = STILL
    for block in data.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield sum(block["pictures"].to_pylist())


def _packed(plan: Plan, positions: Positions) -> str:
    """One chunk as text: what a worker must know of its pictures."""
    return json.dumps(
        {
            "names": plan.names(positions),
            "places": plan.places[positions].tolist(),
            "rows": plan.rows(positions),
        },
        ensure_ascii=False,
    )


def _rows(chunk: dict[str, Any]) -> list[PictureAt]:
    return [
        PictureAt(path, member, None if cut is None else Cut(*cut))
        for path, member, cut in chunk["rows"]
    ]


def _decode(table: pa.Table, job: Job) -> Iterator[pa.Table]:
    """On a worker: read the pictures of some chunks and prepare them for the network."""
    _require_shared(job)
    texts = table["chunk"].to_pylist()
    chunks = [_rows(json.loads(text)) for text in texts]
    raws = raw_pictures(row for rows in chunks for row in rows)
    for text, rows in zip(texts, chunks, strict=True):
        looked = look_at(rows, list(islice(raws, len(rows))), job.backbone)
        _require_pictures(rows, looked.reasons)
        yield _table(
            chunk=text,
            reasons=json.dumps(looked.reasons, ensure_ascii=False),
            signatures=looked.signatures,
            quality=looked.quality,
            data=looked.pixels[looked.whole],
        )


class Look:
    """On a worker, for as long as it lasts: the network, and pixels turned into features by it.

    Parameters
    ----------
    job : Job
        Which network.
    """

    def __init__(self, job: Job) -> None:
        ray: Any = import_module("ray")
        self._side = job.backbone.crop
        self._network: Network | NodeError
        try:
            self._network = _loaded(job.backbone, job.device, job.engine, job.precision)
        except NodeError as error:  # an actor that dies while it starts would not say why
            self._network = error
        node = ray.get_runtime_context().get_node_id()
        self._stack = ExitStack()
        self._pool = self._stack.enter_context(working_threads(job.cores.get(node)))

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Replace the pixels of chunks by features."""
        for row in range(table.num_rows):
            pixels = _array(table, "data", row, np.uint8).reshape(-1, self._side, self._side, 3)
            kept = {name: table[name][row].as_py() for name in table.column_names if name != "data"}
            yield _table(**kept, data=self._features(pixels))

    def _features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        network = self._network
        if isinstance(network, NodeError):
            raise network
        if network.device != "cpu" or not len(pixels):
            features: npt.NDArray[np.float32] = self._pool.submit(
                features_of, network, pixels
            ).result()
            return features
        parts = [pixels[start : start + PART] for start in range(0, len(pixels), PART)]
        return np.concatenate(list(self._pool.map(lambda part: features_of(network, part), parts)))


def _write(table: pa.Table, job: Job) -> pa.Table:
    """On a worker: write the features of some chunks as one shard."""
    _require_shared(job)
    chunks = [json.loads(text) for text in table["chunk"].to_pylist()]
    ids = sorted({location for chunk in chunks for location, _ in chunk["names"]})
    row_of = {location: row for row, location in enumerate(ids)}
    shape = (len(ids), len(job.header.views))
    features = np.zeros((*shape, job.header.dimension), dtype=np.float32)
    present = np.zeros(shape, dtype=bool)
    signatures = np.zeros((*shape, 16), dtype=np.uint8)
    quality = np.zeros(shape, dtype=QUALITY)
    skips: list[Skip] = []
    for number, chunk in enumerate(chunks):
        rows = np.array([row_of[location] for location, _ in chunk["names"]])
        places = np.array(chunk["places"])
        reasons = json.loads(table["reasons"][number].as_py())
        whole = np.array([reason is None for reason in reasons])
        data = _array(table, "data", number, np.float32).reshape(-1, job.header.dimension)
        features[rows[whole], places[whole]] = data
        present[rows, places] = whole
        signatures[rows, places] = _array(table, "signatures", number, np.uint8).reshape(-1, 16)
        quality[rows, places] = _array(table, "quality", number, QUALITY)
        skips += [
            {"location_id": location, "view": view, "reason": reason}
            for (location, view), reason in zip(chunk["names"], reasons, strict=True)
            if reason is not None
        ]
    arrays = (features, present, signatures, quality)
    try:
        write_shard(Path(job.folder), job.header, ids, *arrays, skips)
    except OSError as error:
        raise NodeError.here(job.folder, f"a shard cannot be written: {error.strerror}") from None
    except InputError as error:
        raise NodeError.here(error.subject, error.reason, error.next_step) from None
    return pa.table({"pictures": [sum(len(chunk["names"]) for chunk in chunks)]})


def _table(**columns: Any) -> pa.Table:
    """One row; arrays become bytes."""
    return pa.table(
        {
            name: pa.array([value.tobytes()], pa.large_binary())
            if isinstance(value, np.ndarray)
            else pa.array([value], pa.large_binary() if isinstance(value, bytes) else pa.string())
            for name, value in columns.items()
        }
    )


def _array(table: pa.Table, name: str, row: int, dtype: Any) -> npt.NDArray[Any]:
    """Look at a row's bytes where they lie."""
    buffer = table[name][row].as_buffer()
    return np.frombuffer(buffer, dtype=dtype) if len(buffer) else np.zeros(0, dtype=dtype)


def _require_shared(job: Job) -> None:
    """Refuse to work on a machine, perhaps come later, that does not see the shards' folder."""
    if not (Path(job.folder) / job.token).exists():
        raise NodeError.here(
            job.folder, "this folder is not there", "share it at the same path on every machine"
        )


def _require_pictures(rows: Sequence[PictureAt], reasons: Sequence[str | None]) -> None:
    """Refuse to call pictures missing on a machine that does not see their folder at all."""
    for row, reason in zip(rows, reasons, strict=True):
        if reason is not None and "://" not in row.path and not Path(row.path).parent.is_dir():
            raise NodeError.here(
                row.path, "this picture cannot be read there", "share its folder at the same path"
            )
