"""Every picture through the frozen network, into a store; stopped at any time, and resumed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from streetgauge.devices import working_threads
from streetgauge.features._lock import WriteLock
from streetgauge.features._plan import Plan, Positions
from streetgauge.features._work import computing, in_chunks, looked_at, signed
from streetgauge.features.backbones import Backbone, get_backbone
from streetgauge.features.network import Network, load_network
from streetgauge.features.store import SIGNATURE, FeatureStore, usable
from streetgauge.features.transform import transform_json
from streetgauge.features.weights import settled
from streetgauge.files import atomic_path
from streetgauge.progress import Progress, silent
from streetgauge.skips import skips_frame

__all__ = ["extract_pictures"]

Skip = dict[str, str | None]

# Seconds of work that a kill may cost: so often are features brought to the disk.
SETTLE = 1.0
# Pictures that are read, locations that are copied at a time.
CHUNK = 256
# What must be equal for features to be the same numbers.
_SAME = ("backbone", "weights_sha256", "transform", "licence", "precision")
# How features were computed: a store that is gone on with keeps it.
_KEPT = ("engine", "device", "cosine")


def extract_pictures(
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
    batch: int | None = None,
    stamp: str = "",
    progress: Progress = silent,
) -> pd.DataFrame:
    """Compute the features of pictures into a store.

    A store at ``path`` with the same stamp and locations is resumed. From one whose features were
    computed in the same way, locations whose pictures have the same content are taken over, by
    their id; only the others are computed. Any other store is replaced. In all cases the result is
    the same bytes as that of a run that was never stopped and began with nothing.

    Parameters
    ----------
    views : DataFrame
        ``location_id``, ``view``, ``path`` and so on, as `streetgauge.imagery.find_views` gives
        them.
    locations : sequence of str
        The locations that the store has a slot for. With ``require="all"`` those of them that
        lack a view in ``views`` are not looked at.
    path : Path
        The store.
    backbone : str or Backbone
        The network.
    view_names : sequence of str
        The views, in the store's order.
    require : {"all", "any"}
        Whether a location with a broken picture is left out, or kept without that view.
    device : {"auto", "cpu", "cuda", "mps"}
        Where the network runs.
    engine : {"auto", "torch", "openvino", "onnxruntime"}
        What computes it; with "auto" a store that is gone on with keeps its own.
    precision : {"float32", "bfloat16", "int8"}
        What it is computed in.
    dtype : {"float32", "float16"}
        How features are kept.
    batch : int, optional
        Pictures at a time; what suits the engine if not given. The features are the same.
    stamp : str
        Hash of all inputs and settings: what must be equal to resume without a look at the
        pictures.
    progress : Progress
        Told of every picture.

    Returns
    -------
    DataFrame
        ``location_id, view, area, stage, reason``: one row for every picture that could not be
        read. The same rows whether or not the run was stopped on the way.

    Raises
    ------
    InputError
        If the backbone, the engine or the device is not there, ``views`` has a picture twice, the
        file at ``path`` is something else than a store, or another process is writing to it.
    OSError
        If the disk is full; what was at ``path`` is untouched.
    """
    record = settled(get_backbone(backbone) if isinstance(backbone, str) else backbone, progress)
    plan = Plan(views, locations, view_names, require)
    loader = _Loader(record, device, engine, precision)
    with WriteLock(path) as lock, working_threads() as pool:
        for leftover in path.parent.glob(f".{path.stem}.*.tmp{path.suffix}"):
            leftover.unlink()  # of a run that was killed: nobody else may write it
        with _store(path, plan, loader, dtype, stamp, lock, pool) as store:
            pending, skips = _pending(store, plan, record, pool)
            if len(pending):
                network = loader.load(store.attributes["engine"])
                size = batch or network.batch
                skips += _compute(store, plan, pending, network, size, pool, progress)
    suffix = ", and all views are needed" if require == "all" else ""
    for skip in skips:
        skip["reason"] = f"{skip['reason']}{suffix}"
    return skips_frame(skips)


class _Loader:
    """The network, loaded when it is first needed."""

    def __init__(self, backbone: Backbone, device: str, engine: str, precision: str) -> None:
        self.backbone, self.device = backbone, device
        self.engine, self.precision = engine, precision
        self._network: Network | None = None

    def load(self, engine: str) -> Network:
        if self._network is None:
            self._network = load_network(
                *(self.backbone, self.device, engine, self.precision)  # type: ignore[arg-type]
            )
        return self._network


def _store(
    path: Path,
    plan: Plan,
    loader: _Loader,
    dtype: str,
    stamp: str,
    lock: WriteLock,
    pool: ThreadPoolExecutor,
) -> FeatureStore:
    """Open the store to go on with, or make a new one with what can be taken over."""
    backbone = loader.backbone
    attributes = {
        "backbone": backbone.name,
        "weights_sha256": backbone.sha256,
        "transform": transform_json(backbone),
        "licence": backbone.licence,
        "precision": loader.precision,
        "stamp": stamp,
    }
    old = FeatureStore.open(path) if path.exists() else None
    if old is not None and not _is_alike(old, attributes, plan, loader.engine, dtype):
        old = None
    if old is None:
        network = loader.load(loader.engine)
        attributes |= {"engine": network.engine, "device": network.device}
        attributes["cosine"] = f"{network.cosine:.6f}"
    else:
        attributes |= {name: old.attributes[name] for name in _KEPT}
        if old.attributes["stamp"] == stamp and old.location_ids.tolist() == plan.ids:
            return FeatureStore(path, lock)
    what = (plan.ids, plan.view_names, backbone.dimension, attributes)
    with (
        atomic_path(path) as temporary,
        FeatureStore.create(temporary, *what, dtype=dtype, lock=lock) as new,  # type: ignore[arg-type]
    ):
        if old is not None:
            _take_over(old, new, plan, pool)
    return FeatureStore(path, lock)


def _is_alike(
    old: FeatureStore, wanted: dict[str, str], plan: Plan, engine: str, dtype: str
) -> bool:
    """Whether a store's features are what this run would compute of the same pictures."""
    return (
        old.version > 1
        and all(old.attributes[name] == wanted[name] for name in _SAME)
        and old.attributes["dtype"] == dtype
        and list(old.views) == plan.view_names
        and engine in ("auto", old.attributes["engine"])
    )


def _take_over(old: FeatureStore, new: FeatureStore, plan: Plan, pool: ThreadPoolExecutor) -> None:
    """Copy the rows of locations whose pictures have the same content."""
    source = old.slots(plan.ids)
    known = (source >= 0) & old.tried[source] & (plan.counts() > 0)
    wanted = np.zeros((len(plan.ids), len(plan.view_names), SIGNATURE), dtype=np.uint8)
    positions = np.flatnonzero(known[plan.slots])
    for part, found in in_chunks(plan, positions, CHUNK, _cores(pool), signed(pool)):
        wanted[plan.slots[part], plan.places[part]] = found
    candidates = np.flatnonzero(known)
    for start in range(0, len(candidates), CHUNK):
        slots = candidates[start : start + CHUNK]
        same = (old.signature[source[slots]] == wanted[slots]).all(axis=(1, 2))
        slots, rows = slots[same], source[slots[same]]
        if len(slots):
            present = old.present[rows]
            new.write(
                *(slots, old.features[rows], present, usable(present, plan.require)),
                signatures=wanted[slots],
                quality=old.quality[rows],
            )


def _pending(
    store: FeatureStore, plan: Plan, backbone: Backbone, pool: ThreadPoolExecutor
) -> tuple[Positions, list[Skip]]:
    """Pictures that are still to be computed, and what could not be read of the others.

    Why a picture was broken is found by reading it again. If it is whole now, its location is
    looked at again.
    """
    settled = store.tried & (store.done == usable(store.present, plan.require))
    there = store.present[plan.slots, plan.places]
    broken = np.flatnonzero(settled[plan.slots] & ~there)
    skips: list[Skip] = []
    for part, looked in in_chunks(plan, broken, CHUNK, _cores(pool), looked_at(pool, backbone)):
        settled[plan.slots[part[looked.whole]]] = False
        skips += _skips(plan, part, looked.reasons)
    mended = {plan.ids[slot] for slot in np.unique(plan.slots[broken]) if not settled[slot]}
    skips = [skip for skip in skips if skip["location_id"] not in mended]
    return np.flatnonzero(~settled[plan.slots]), skips


def _compute(
    store: FeatureStore,
    plan: Plan,
    pending: Positions,
    network: Network,
    size: int,
    pool: ThreadPoolExecutor,
    progress: Progress,
) -> list[Skip]:
    """Compute features into the store; say which pictures were broken."""
    skips: list[Skip] = []
    left = plan.counts(pending)
    ready: list[Positions] = []
    last = time.monotonic()
    with computing(pool, network) as job, progress("features", len(pending), "pictures") as advance:
        try:
            for part, found in in_chunks(plan, pending, size, _cores(pool), job):
                slots, places = plan.slots[part], plan.places[part]
                whole = np.array([reason is None for reason in found.reasons], dtype=bool)
                store.put(slots, places, found.features, whole, found.signatures, found.quality)
                np.subtract.at(left, slots, 1)
                touched = np.unique(slots)
                ready.append(touched[left[touched] == 0])
                skips += _skips(plan, part, found.reasons)
                if time.monotonic() - last > SETTLE:
                    _settle(store, ready, plan.require)
                    last = time.monotonic()
                advance(len(part))
        finally:
            _settle(store, ready, plan.require)
    return skips


def _settle(store: FeatureStore, ready: list[Positions], require: str) -> None:
    slots = np.concatenate(ready) if ready else np.zeros(0, dtype=np.intp)
    if len(slots):
        store.settle(slots, usable(store.present[slots], require))
    ready.clear()


def _skips(plan: Plan, part: Positions, reasons: list[str | None]) -> list[Skip]:
    names = plan.names(part)
    return [
        {"location_id": location, "view": view, "reason": reason}
        for (location, view), reason in zip(names, reasons, strict=True)
        if reason is not None
    ]


def _cores(pool: ThreadPoolExecutor) -> int:
    cores: int = pool._max_workers
    return cores
