"""How a run begins: with the store that is there or with a new one, and with what is left to do.

Everything goes by view: a view whose features are on the disk is marked by its signature, so a run
that was killed loses the last moment, however far apart the views of a location are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from streetgauge.features.backbones import Backbone
from streetgauge.features.chunks import in_chunks, preprocessing, signed
from streetgauge.features.extraction import Extraction
from streetgauge.features.store import FeatureStore, usable
from streetgauge.features.transform import exact_json, transform_json
from streetgauge.features.work_list import Positions, Reasons, WorkList
from streetgauge.io.files import WriteLock, atomic_path

__all__ = ["Loaded", "Loading", "open_or_create", "cores_of", "pending_images", "commit_complete"]

# Images that are read, views that are copied at a time.
CHUNK = 256
# Chunks of views that are copied between two looks that they are on the disk.
COPIED = 64
# What must be equal for features to be the same numbers.
_SAME = ("backbone", "weights_sha256", "transform", "licence", "precision", "exact_layers")
# How features were computed: a store that is gone on with keeps it.
_KEPT = ("engine", "device", "cosine")


class Loaded(Protocol):
    """A network, here or on a cluster."""

    @property
    def engine(self) -> str:
        """What computes it."""

    @property
    def device(self) -> str:
        """Where it runs."""

    @property
    def cosine(self) -> float:
        """How near it is to float32."""


class Loading(Protocol):
    """What loads the network when it is first needed."""

    def load(self, store: FeatureStore | None = None) -> Loaded:
        """Load it as the extraction says, or to go on with a store."""


def open_or_create(
    wanted: Extraction,
    record: Backbone,
    work_list: WorkList,
    loading: Loading,
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
        network = loading.load()
        attributes |= {"engine": network.engine, "device": network.device}
        attributes["cosine"] = f"{network.cosine:.6f}"
    else:
        attributes |= {name: old.attributes[name] for name in _KEPT}
        if (
            old.attributes["cache_key"] == wanted.cache_key
            and old.location_ids.tolist() == work_list.ids
        ):
            return FeatureStore(path, lock)
    what = (work_list.ids, work_list.view_names, record.dimension, attributes)
    with (
        _named(path),
        atomic_path(path) as temporary,
        FeatureStore.create(temporary, *what, dtype=wanted.dtype, lock=lock) as new,
    ):
        if old is not None:
            _take_over(old, new, work_list, pool)
    return FeatureStore(path, lock)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Tell of a full disk with the name of the file that people know."""
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
    known = (source >= 0)[:, None] & old.held[source]
    positions = np.flatnonzero(known[work_list.slots, work_list.places])
    nothing = np.zeros(0, dtype=np.intp)
    chunks = in_chunks(work_list, positions, CHUNK, cores_of(pool), signed(pool))
    for number, (part, signatures) in enumerate(chunks):
        slots, places = work_list.slots[part], work_list.places[part]
        same = (old.signature[source[slots], places] == signatures).all(axis=1)
        slots, places, signatures = slots[same], places[same], signatures[same]
        at = (source[slots], places)
        new.write_views(
            slots, places, old.features[at], old.present[at], signatures, old.quality[at]
        )
        if number % COPIED == COPIED - 1:
            new.commit(nothing, nothing.astype(bool))
    new.commit(nothing, nothing.astype(bool))


def pending_images(
    store: FeatureStore, work_list: WorkList, record: Backbone, pool: ThreadPoolExecutor
) -> tuple[Positions, Reasons]:
    """Images that are still to be computed, and what could not be read of the others.

    Why an image was broken is found by reading it again. If it is whole now, it is computed.
    Locations of which nothing is left to do are resolve_checksum.
    """
    at = (work_list.slots, work_list.places)
    held = store.held[at]
    broken = np.flatnonzero(held & ~store.present[at])
    reasons: Reasons = {}
    decoding = preprocessing(pool, record)
    for part, decoded in in_chunks(work_list, broken, CHUNK, cores_of(pool), decoding):
        held[part[decoded.whole]] = False
        reasons |= work_list.reasons(part, decoded.reasons)
    return commit_complete(store, work_list, held), reasons


def commit_complete(
    store: FeatureStore, work_list: WorkList, held: npt.NDArray[np.bool_]
) -> Positions:
    """Settle the locations of which all images are held, [P]; return the images that are not."""
    pending = np.flatnonzero(~held)
    complete = (work_list.counts() > 0) & (work_list.counts(pending) == 0)
    done = usable(store.present, work_list.require)
    slots = np.flatnonzero(complete & ~(store.attempted & (store.done == done)))
    if len(slots):
        store.commit(slots, done[slots])
    return pending


def cores_of(pool: ThreadPoolExecutor) -> int:
    """Say how many threads a pool has."""
    return pool._max_workers
