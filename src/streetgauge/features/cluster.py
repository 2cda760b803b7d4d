"""Every picture through the frozen network on a Ray cluster: shards first, then one store.

Ray Data streams chunks of pictures through three steps. Tasks on any core decode them, a pool of
actors (one a GPU, or one a machine without GPUs) computes features, and tasks write these as shards
into a folder that all machines share. A shard is the checkpoint: whatever dies, a machine or the
program that drives it all, what is in no shard is done again and nothing else. Features do not
depend on how pictures are cut into chunks, so the store has the bytes that one machine would give.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from streetgauge.devices import working_threads
from streetgauge.errors import InputError
from streetgauge.features._connection import lazily
from streetgauge.features._lock import WriteLock
from streetgauge.features._nodes import Failure, Nodes, refusal, run_on
from streetgauge.features._worker import Job, Look, decode, packed, try_network, write
from streetgauge.features.backbones import Backbone
from streetgauge.features.extraction import Extraction
from streetgauge.features.resumption import open_or_create, pending_images
from streetgauge.features.shards import (
    ShardHeader,
    Shards,
    clear_unfinished,
    made_by,
    shards_of,
)
from streetgauge.features.store import FeatureStore
from streetgauge.features.weights import identified
from streetgauge.features.work_list import Positions, WorkList
from streetgauge.progress import Progress, silent

if TYPE_CHECKING:
    from streetgauge.settings import ClusterSettings

__all__ = ["extract_on_cluster"]

log = logging.getLogger(__name__)

# Pictures in a chunk: what an actor gets at a time. Twice what keeps 8 cores at work for a moment;
# 19 MB of pixels.
CHUNK = 128
# Chunks that one task decodes, at most: what is decoded again when a machine dies.
TASK = 8
# Tasks that Ray is told of at a time: what it knows of each takes memory where it is driven from.
ROUND = 16_384
# Failures in a row, with not one shard written between them, that are one too many.
FRUITLESS = 3
# Seconds in which nothing happens before a round is given up; starting GPU machines takes a while.
STILL = 600


def extract_on_cluster(
    wanted: Extraction, cluster: ClusterSettings, *, progress: Progress = silent
) -> pd.DataFrame:
    """Compute the features of pictures into a store, on a Ray cluster.

    As `extract_pictures`, whose store it goes on with and which goes on with its store.

    Parameters
    ----------
    wanted : Extraction
        The pictures, the network and the store; every machine must see pictures and the store's
        folder under the same paths.
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
    record = identified(wanted.record)
    work_list = wanted.work_list()
    folder = shards_of(wanted.path)
    with ExitStack() as stack:
        lock = stack.enter_context(WriteLock(wanted.path))
        pool = stack.enter_context(working_threads())
        clear_unfinished(folder)
        nodes = stack.enter_context(lazily(cluster.address, work_list, folder))
        loader = _OnWorker(wanted, record, nodes)
        store = stack.enter_context(open_or_create(wanted, record, work_list, loader, lock, pool))
        pending, reasons = pending_images(store, work_list, record, pool)
        shards = Shards(folder, store)
        lacking = _lacking(pending, work_list, shards)
        if len(lacking):
            network = loader.load(store)
            job = _job(folder, record, store, network, nodes(network.device))
            with progress("features", len(lacking), "pictures") as advance:
                _compute(job, store, work_list, lacking, cluster, nodes, network.batch, advance)
            shards = Shards(folder, store)
        reasons |= shards.merge(work_list.mask(), work_list.mask(pending), wanted.require, progress)
        if not cluster.keep:
            shards.remove()
    return work_list.skips(reasons)


class _OnWorker:
    """What a machine of the cluster says of the network, asked when it is first needed."""

    def __init__(
        self, wanted: Extraction, backbone: Backbone, nodes: Callable[[str], Nodes]
    ) -> None:
        self.wanted, self.backbone = wanted, backbone
        self._nodes, self._said = nodes, SimpleNamespace()

    def load(self, store: FeatureStore | None = None) -> SimpleNamespace:
        """Load it as it is wanted, or to go on with a store, or with shards, as they were begun."""
        if not vars(self._said):
            path, engine, device = self.wanted.path, self.wanted.engine, self.wanted.device
            if store is None:
                before = made_by(shards_of(path), engine=engine, device=device)
            else:
                before = store.attributes
            engine = before.get("engine") or engine
            device = before.get("device") or device
            try:
                nodes = self._nodes(device)
            except InputError as error:
                if device == self.wanted.device or error.subject != f"device {device!r}":
                    raise
                reason = f"its features were computed on {device!r}, which no machine here has"
                step = 'add a machine, or make all of them anew with device = "cpu"'
                raise InputError(path, reason, step) from None
            kind = (self.backbone, nodes.device, engine, self.wanted.precision)
            self._said = SimpleNamespace(**run_on(nodes, try_network, *kind))
        return self._said


def _job(
    folder: Path, backbone: Backbone, store: FeatureStore, network: SimpleNamespace, nodes: Nodes
) -> Job:
    return Job(
        *(str(folder), nodes.token.name, backbone, nodes.device, network.engine),
        *(store.attributes["precision"], ShardHeader.of(store), nodes.cores),
    )


def _lacking(pending: Positions, work_list: WorkList, shards: Shards) -> Positions:
    """Give those of some pictures that are in no shard."""
    return pending[~shards.held[work_list.slots[pending], work_list.places[pending]]]


def _compute(
    job: Job,
    store: FeatureStore,
    work_list: WorkList,
    pending: Positions,
    cluster: ClusterSettings,
    nodes: Callable[[str], Nodes],
    batch: int,
    advance: Callable[[int], None],
) -> None:
    """Compute pictures into shards, in rounds; what a failed round has not done, the next does."""
    size = CHUNK if job.device == "cpu" else batch
    fruitless = 0
    failure: Failure | None = None
    while len(pending):
        now = nodes(job.device)  # machines may have come and gone
        decoders = cluster.decoders or now.decoders
        task = min(TASK, max(1, len(pending) // (size * 4 * decoders)))
        part = pending[: ROUND * task * size]
        try:
            for pictures in _round(now, job, work_list, part, size, task, cluster):
                advance(pictures)
        except Exception as error:
            failure = refusal(error, job.folder)
            if failure.is_final:
                raise failure.error from None
            log.warning("%s Going on with what is in no shard yet.", failure.error)
        else:
            failure = None
        left = _lacking(pending, work_list, Shards(Path(job.folder), store))
        fruitless = fruitless + 1 if len(left) == len(pending) else 0
        if fruitless == FRUITLESS:
            raise (failure.error if failure else InputError(job.folder, "no shard arrives there"))
        pending = left


def _round(
    nodes: Nodes,
    job: Job,
    work_list: WorkList,
    pending: Positions,
    size: int,
    task: int,
    cluster: ClusterSettings,
) -> Iterator[int]:
    """Stream pictures through the cluster; say of each shard how many it holds."""
    ray: Any = nodes.ray.data
    # Only decoding holds cores in Ray's books: an actor that waited for a core which decoders hold,
    # while these wait for room that only it can make, would wait for ever.
    data = ray.from_arrow(_tables(work_list, pending, size, task)).map_batches(
        decode,
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
        write,
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


def _tables(work_list: WorkList, pending: Positions, size: int, task: int) -> list[pa.Table]:
    """Pack pictures into chunks of a size, so many of them for each task."""
    chunks = (packed(work_list, pending[i : i + size]) for i in range(0, len(pending), size))
    return [pa.table({"chunk": few}) for few in iter(lambda: list(islice(chunks, task)), [])]
