"""Every image through the frozen network, into a store; stopped at any time, and resumed."""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from streetgauge.devices import choose_device, working_threads
from streetgauge.errors import InputError
from streetgauge.features.backbones import Backbone
from streetgauge.features.chunks import Computed, computing, in_chunks
from streetgauge.features.extraction import Extraction
from streetgauge.features.network import Network, load_network
from streetgauge.features.resumption import Loading, cores_of, open_or_create, pending_images
from streetgauge.features.store import FeatureStore, usable
from streetgauge.features.weights import resolve_checksum
from streetgauge.features.work_list import Positions, Reasons, WorkList
from streetgauge.io.files import WriteLock
from streetgauge.progress import Advance, Progress, silent

__all__ = ["Extractor", "LocalExtractor", "Results", "extract_features", "extract_with"]

# Images, by their positions in the work list, and what was computed of them.
Results = Generator[tuple[Positions, Computed], None, None]

# Seconds of work that a kill may cost: so often are features brought to the disk.
COMMIT_EVERY = 1.0


def extract_features(
    wanted: Extraction, *, batch: int | None = None, progress: Progress = silent
) -> pd.DataFrame:
    """Compute the features of images into a store.

    A store at the same path with the same cache_key and locations is resumed. From one whose
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
        Told of every image.

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


class Extractor(Loading, Protocol):
    """Computes features with one network, on this machine or on a cluster."""

    wanted: Extraction
    backbone: Backbone

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
        with open_or_create(wanted, record, work_list, extractor, lock, pool) as store:
            pending, reasons = pending_images(store, work_list, record, pool)
            if len(pending):
                results = extractor.results(store, work_list, pending, pool)
                steps = progress("features", len(pending), "images")
                with closing(results), steps as advance:
                    reasons |= _write(store, work_list, pending, results, advance)
    return work_list.skips(reasons)


def _clear(path: Path) -> None:
    """Remove what a killed run left half made of a store; nobody else may be writing it."""
    half = re.compile(rf"\.+{re.escape(path.stem)}(\.\d+\.tmp)+{re.escape(path.suffix)}")
    for leftover in path.parent.iterdir():
        if half.fullmatch(leftover.name):
            leftover.unlink()


class LocalExtractor:
    """The network on this machine, loaded when it is first needed.

    Parameters
    ----------
    wanted : Extraction
        Says what computes it, where, and in what.
    backbone : Backbone
        The network's record, with the whole sha256 of its weights.
    batch : int, optional
        Images at a time; what suits the engine if not given.
    """

    def __init__(self, wanted: Extraction, backbone: Backbone, batch: int | None = None) -> None:
        self.wanted, self.backbone, self.batch = wanted, backbone, batch
        self._network: Network | None = None

    def load(self, store: FeatureStore | None = None) -> Network:
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
                yield from in_chunks(work_list, pending, size, cores_of(pool), job)

        return computed()


def _device_of(store: FeatureStore) -> str:
    """Where a store's features were computed; "" if it does not say so."""
    device = store.attributes["device"]
    if device:
        try:
            choose_device(device)
        except InputError:
            raise InputError(
                store.path,
                f"its features were computed on {device!r}, which this machine has not",
                'go on where it is, or make all of them anew with device = "cpu"',
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
            slots, places = work_list.slots[part], work_list.places[part]
            whole = np.array([reason is None for reason in found.reasons], dtype=bool)
            store.write_views(slots, places, found.features, whole, found.signatures, found.quality)
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
