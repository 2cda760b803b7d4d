"""Every image through the frozen network, into a store; stopped at any time, and resumed.

Everything goes by view: a view whose features are on the disk is marked by its signature, so a run
that was killed loses the last moment, however far apart the views of a location are read.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.devices import choose_device, working_threads
from streetgauge.errors import InputError
from streetgauge.features.backbones import Backbone
from streetgauge.features.chunks import Computed, computing, in_chunks, preprocessing, signed
from streetgauge.features.extraction import Extraction, Positions, Reasons, WorkList
from streetgauge.features.network import FrozenNetwork, load_network
from streetgauge.features.preprocess import exact_json, transform_json
from streetgauge.features.store import FeatureStore, usable
from streetgauge.features.weights import resolve_checksum
from streetgauge.io.files import WriteLock, atomic_path
from streetgauge.progress import Advance, Progress, silent

# Images, by their positions in the work list, and what was computed of them.
Results = Generator[tuple[Positions, Computed], None, None]

# Seconds of work that a kill may cost: so often are features brought to the disk.
COMMIT_EVERY = 1.0


def extract_features(
    wanted: Extraction, *, batch: int | None = None, progress: Progress = silent
) -> pd.DataFrame:
    """Compute the features of images into a store.

    A store at the same path with the same cache_key and locations is resumed; what is damaged in
    it, by its checksums, is computed again. From one whose
    features were computed in the same way, views whose images have the same content are taken
    over, by location and view; only the others are computed. Any other store is replaced. In all
    cases the result is the same bytes as that of a run that was never stopped and began with
    nothing.

    Parameters
    ----------
    wanted : Extraction
        The images, the network and the store.
    batch : int, optional
        Images at a time; what suits the engine if not given. The features are the same.
    progress : Progress
        Reports every image.

    Returns
    -------
    DataFrame
        ``location_id, view, area, stage, reason``: one row for every image that could not be
        read, or of which the network gave no finite number. The same rows whether or not the run
        was stopped on the way.

    Raises
    ------
    InputError
        If the backbone, the engine or the device is not there, a view has two images, the file
        at the path is something else than a store, its features were computed on a device that
        this machine lacks, or another process is writing to it.
    OSError
        If the disk is full; what was at the path is untouched.
    """
    record = resolve_checksum(wanted.record, progress)
    return extract_with(LocalExtractor(wanted, record, batch), progress)


class Loaded(Protocol):
    """A network, here or on a cluster: what computes it, where, and how near it is to float32."""

    engine: str
    device: str
    cosine: float


class Extractor(ABC):
    """Computes features with one network, on this machine or on a cluster.

    Parameters
    ----------
    wanted : Extraction
        The images, the network and the store.
    backbone : Backbone
        The network's record, with the whole sha256 of its weights.
    """

    def __init__(self, wanted: Extraction, backbone: Backbone) -> None:
        self.wanted, self.backbone = wanted, backbone

    @abstractmethod
    def load(self, store: FeatureStore | None = None) -> Loaded:
        """Load the network when it is first needed: as it is wanted, or to go on with a store."""

    @abstractmethod
    def results(
        self,
        store: FeatureStore,
        work_list: WorkList,
        pending: Positions,
        pool: ThreadPoolExecutor,
    ) -> Results:
        """Compute pending images, some at a time, in any order."""


def extract_with(extractor: Extractor, progress: Progress = silent) -> pd.DataFrame:
    """Compute into a store what it lacks; as `extract_features`."""
    wanted, record = extractor.wanted, extractor.backbone
    work_list = wanted.work_list()
    path = wanted.path
    with WriteLock(path) as lock, working_threads() as pool:
        _clear(path)
        with open_or_create(wanted, record, work_list, extractor.load, lock, pool) as store:
            pending, reasons = pending_images(store, work_list, record, pool)
            if len(pending):
                results = extractor.results(store, work_list, pending, pool)
                steps = progress("features", len(pending), "images")
                with closing(results), steps as advance:
                    reasons |= _write(store, work_list, pending, results, advance)
    return work_list.skips(reasons)


def _clear(path: Path) -> None:
    """Remove the unfinished files of a killed run; nobody else may be writing the store."""
    half = re.compile(rf"\.+{re.escape(path.stem)}(\.\d+\.tmp)+{re.escape(path.suffix)}")
    for leftover in path.parent.iterdir():
        if half.fullmatch(leftover.name):
            leftover.unlink()


class LocalExtractor(Extractor):
    """The network on this machine; ``batch`` images at a time, or what suits the engine."""

    def __init__(self, wanted: Extraction, backbone: Backbone, batch: int | None = None) -> None:
        super().__init__(wanted, backbone)
        self.batch = batch
        self._network: FrozenNetwork | None = None

    def load(self, store: FeatureStore | None = None) -> FrozenNetwork:
        """Load the network as it is wanted, or to go on with a store as it was begun.

        Raises
        ------
        InputError
            If the network cannot be loaded, or this machine lacks the store's device.
        """
        if self._network is None:
            device, engine = self.wanted.device, self.wanted.engine
            if store is not None:
                device = _device_of(store) or device
                engine = store.attributes["engine"] or engine
            self._network = load_network(self.backbone, device, engine, self.wanted.precision)
        return self._network

    def results(
        self,
        store: FeatureStore,
        work_list: WorkList,
        pending: Positions,
        pool: ThreadPoolExecutor,
    ) -> Results:
        """Compute pending images in their order, on all cores or on the GPU."""
        network = self.load(store)
        size = self.batch or network.batch

        def computed() -> Results:
            with computing(pool, network) as job:
                yield from in_chunks(work_list, pending, size, pool, job)

        return computed()


def _device_of(store: FeatureStore) -> str:
    """Where a store's features were computed; "" if that is unknown."""
    device = store.attributes["device"]
    if device:
        try:
            choose_device(device)
        except InputError:
            raise InputError(
                store.path,
                f"its features were computed on {device!r}, which this machine does not have",
                'continue on a machine that has it, or compute them all again with device = "cpu"',
            ) from None
    return device


def _write(
    store: FeatureStore,
    work_list: WorkList,
    pending: Positions,
    results: Results,
    advance: Advance,
) -> Reasons:
    """Write results into the store as they come; return why images cannot be used."""
    reasons: Reasons = {}
    left = work_list.counts(pending)
    ready: list[Positions] = []
    last = time.monotonic()
    try:
        for part, found in results:
            slots, columns = work_list.slots[part], work_list.columns[part]
            whole = np.array([reason is None for reason in found.reasons], dtype=bool)
            store.write_views(
                slots, columns, found.features, whole, found.signatures, found.quality
            )
            np.subtract.at(left, slots, 1)
            touched = np.unique(slots)
            ready.append(touched[left[touched] == 0])
            reasons |= work_list.reasons(part, found.reasons)
            if time.monotonic() - last > COMMIT_EVERY:
                _commit(store, ready, work_list.require)
                last = time.monotonic()
            advance(len(part))
    finally:
        _commit(store, ready, work_list.require)
    return reasons


def _commit(store: FeatureStore, ready: list[Positions], require: str) -> None:
    """Commit all views that were written, and the locations that are complete with them."""
    slots = np.concatenate(ready) if ready else np.zeros(0, dtype=np.intp)
    store.commit(slots, usable(store.present[slots], require))
    ready.clear()


# Images that are read, views that are copied at a time.
CHUNK = 256
# Chunks of views that are copied between two commits.
COPIED = 64
# What must be equal for features to be the same numbers.
_SAME = ("backbone", "weights_sha256", "transform", "licence", "precision", "exact_layers")
# How features were computed: a store that is resumed retains it.
_RETAINED = ("engine", "device", "cosine")


def open_or_create(
    wanted: Extraction,
    record: Backbone,
    work_list: WorkList,
    load: Callable[[], Loaded],
    lock: WriteLock,
    pool: ThreadPoolExecutor,
) -> FeatureStore:
    """Open the store to go on with, or make a new one with what can be taken over."""
    attributes = {
        "backbone": record.name,
        "weights_sha256": record.sha256,
        "transform": transform_json(record),
        "licence": record.licence,
        "precision": wanted.precision,
        "exact_layers": exact_json(record, wanted.precision),
        "cache_key": wanted.cache_key,
    }
    path = wanted.path
    old = FeatureStore.open(path) if path.exists() else None
    if old is not None and not _is_alike(old, attributes, work_list, wanted):
        old = None
    if old is None:
        network = load()
        attributes |= {"engine": network.engine, "device": network.device}
        attributes["cosine"] = f"{network.cosine:.6f}"
    else:
        attributes |= {name: old.attributes[name] for name in _RETAINED}
        if (
            old.attributes["cache_key"] == wanted.cache_key
            and old.location_ids.tolist() == work_list.ids
        ):
            store = FeatureStore(path, lock)
            store.discard_damaged()
            return store
    what = (work_list.ids, work_list.view_names, record.dimension, attributes)
    with (
        _disk_errors_of(path),
        atomic_path(path) as temporary,
        FeatureStore.create(temporary, *what, dtype=wanted.dtype, lock=lock) as new,
    ):
        if old is not None:
            _take_over(old, new, work_list, pool)
    return FeatureStore(path, lock)


@contextmanager
def _disk_errors_of(path: Path) -> Iterator[None]:
    """Give an error of the disk the name of the file that people know."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def _is_alike(
    old: FeatureStore, attributes: Mapping[str, str], work_list: WorkList, wanted: Extraction
) -> bool:
    """Whether a store's features are what this run would compute of the same images."""
    return (
        all(old.attributes[name] == attributes[name] for name in _SAME)
        and _stage_version(old.attributes["cache_key"]) == _stage_version(wanted.cache_key)
        and old.attributes["dtype"] == wanted.dtype
        and list(old.views) == work_list.view_names
        and wanted.engine in ("auto", old.attributes["engine"])
        and wanted.device in ("auto", old.attributes["device"])
    )


def _stage_version(cache_key: str) -> str:
    """Version of the stage, which stands before the hash where a study's stage makes the store."""
    return cache_key.rpartition(".")[0]


def _take_over(
    old: FeatureStore, new: FeatureStore, work_list: WorkList, pool: ThreadPoolExecutor
) -> None:
    """Copy the views whose images have the same content, by location and view."""
    source = old.slots(work_list.ids)
    whole = old.held & ~old.damaged()[0]
    known = (source >= 0)[:, None] & whole[source]
    positions = np.flatnonzero(known[work_list.slots, work_list.columns])
    chunks = in_chunks(work_list, positions, CHUNK, pool, signed(pool))
    for number, (part, signatures) in enumerate(chunks):
        slots, columns = work_list.slots[part], work_list.columns[part]
        same = (old.signature[source[slots], columns] == signatures).all(axis=1)
        slots, columns, signatures = slots[same], columns[same], signatures[same]
        at = (source[slots], columns)
        new.write_views(
            slots, columns, old.features[at], old.present[at], signatures, old.quality[at]
        )
        if number % COPIED == COPIED - 1:
            new.commit()
    new.commit()


def pending_images(
    store: FeatureStore, work_list: WorkList, record: Backbone, pool: ThreadPoolExecutor
) -> tuple[Positions, Reasons]:
    """Images that are still to be computed, and what could not be read of the others.

    Why an image was broken is found by reading it again. If it is whole now, it is computed.
    Locations of which all is held are committed.
    """
    at = (work_list.slots, work_list.columns)
    held = store.held[at]
    broken = np.flatnonzero(held & ~store.present[at])
    reasons: Reasons = {}
    decoding = preprocessing(pool, record)
    for part, decoded in in_chunks(work_list, broken, CHUNK, pool, decoding):
        held[part[decoded.whole]] = False
        reasons |= work_list.reasons(part, decoded.reasons)
    return commit_complete(store, work_list, held), reasons


def commit_complete(
    store: FeatureStore, work_list: WorkList, held: npt.NDArray[np.bool_]
) -> Positions:
    """Commit the locations of which all images are held, [P]; return the images that are not."""
    pending = np.flatnonzero(~held)
    complete = (work_list.counts() > 0) & (work_list.counts(pending) == 0)
    done = usable(store.present, work_list.require)
    slots = np.flatnonzero(complete & ~(store.attempted & (store.done == done)))
    if len(slots):
        store.commit(slots, done[slots])
    return pending
