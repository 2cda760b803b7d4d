"""Feature stores that other machines made of the same study, taken into the store of this one.

A shard is a feature store as any machine wrote it, finished or not, in the folder
``features/x.shards`` of the store ``features/x.h5``. It may lack locations of the study.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt

from streetgauge.devices import working_threads
from streetgauge.errors import InputError
from streetgauge.features.extract import commit_complete, open_or_create
from streetgauge.features.extraction import Extraction
from streetgauge.features.store import FeatureStore
from streetgauge.features.weights import identified
from streetgauge.io.files import WriteLock
from streetgauge.progress import Progress, silent

Mask = npt.NDArray[np.bool_]

# Views that are copied at a time.
BLOCK = 4096
# What a store and its shards have to agree on.
_SAME = (
    *("backbone", "weights_sha256", "transform", "cache_key"),
    *("engine", "device", "precision", "exact_layers", "dtype"),
)
# Least cosine of two shards' features of one view: processors differ in the last bits, as do their
# instructions for fewer bits; less is another image or another network.
_ALIKE = 0.9995


def shards_of(store: Path) -> Path:
    """Give the folder of a store's shards: ``features/x.shards`` for ``features/x.h5``."""
    return store.with_suffix(".shards")


def take_in_shards(wanted: Extraction, *, progress: Progress = silent) -> bool:
    """Merge the shards of a store into it, wherever they come from; they stay where they are.

    No network is loaded: what computed the shards need not be on this machine.

    Parameters
    ----------
    wanted : Extraction
        As for `extract_features`, which goes on with the store.
    progress : Progress
        Reports every view that is copied.

    Returns
    -------
    bool
        Whether there were any.

    Raises
    ------
    InputError
        If a shard does not belong to the study, or the file at its path is something else than a
        store.
    """
    shards = _opened(shards_of(wanted.path))
    if not shards:
        return False
    for shard in shards:
        _refuse_other_inputs(shard, wanted.cache_key)
    made = shards[0].attributes
    for name, asked in (("engine", wanted.engine), ("device", wanted.device)):
        if asked not in ("auto", made[name]):
            reason = f"their {name} is {made[name]!r}, and the study asks for {asked!r}"
            raise InputError(shards_of(wanted.path), reason, "remove the folder")
    network = SimpleNamespace(**made | {"cosine": float(made["cosine"] or "nan")})
    record = identified(wanted.record)
    work_list = wanted.work_list()
    with (
        WriteLock(wanted.path) as lock,
        working_threads() as pool,
        open_or_create(wanted, record, work_list, lambda: network, lock, pool) as store,
    ):
        merge_shards(store, shards, work_list.mask(), progress)
        commit_complete(store, work_list, store.held[work_list.slots, work_list.columns])
    return True


def _opened(folder: Path) -> list[FeatureStore]:
    try:
        shards = [FeatureStore.open(path) for path in sorted(folder.glob("[!.]*.h5"))]
        for shard in shards:
            shard.verify(marks=False)
    except InputError as error:
        reason = f"a shard in it cannot be used: {str(error).rstrip('.')}"
        raise InputError(folder, reason, "remove the shard, or the folder") from None
    return shards


def _refuse_other_inputs(shard: FeatureStore, cache_key: str) -> None:
    """Refuse a shard of other images or settings, before any store is made for it."""
    if shard.attributes["cache_key"] != cache_key:
        step = f"remove the folder {shard.path.parent}"
        raise InputError(shard.path, "this shard was made from other images or settings", step)


def merge_shards(
    store: FeatureStore, shards: Sequence[FeatureStore], planned: Mask, progress: Progress = silent
) -> None:
    """Copy what a store lacks from the shards that hold it; nothing if one of them is refused.

    Of a view that several of them hold, one in which it is whole is taken, of such the first.

    Parameters
    ----------
    store : FeatureStore
        Open for writing; what it holds stays as it is.
    shards : sequence of FeatureStore
        The shards.
    planned : array of bool, [N, V]
        Of which of its views there are images.
    progress : Progress
        Reports every view that is copied.

    Raises
    ------
    InputError
        If a shard is of a location that the store lacks, or was made from other images, settings
        or weights; or if two shards have different features of a view.
    """
    for number, shard in enumerate(shards):
        _refuse_foreign(shard, store)
        for other in shards[:number]:
            _refuse_different(shard, other)
    lacking = np.zeros_like(planned)
    for shard in shards:
        lacking[store.slots(shard.location_ids)] |= shard.held
    lacking &= planned & ~store.held
    with progress("merging shards", int(lacking.sum()), "views") as advance:
        for shard, whole in [(shard, whole) for whole in (True, False) for shard in shards]:
            slots = store.slots(shard.location_ids)
            taken = shard.held & (shard.present | (not whole)) & lacking[slots]
            rows, columns = np.nonzero(taken)
            for start in range(0, len(rows), BLOCK):
                at = rows[start : start + BLOCK], columns[start : start + BLOCK]
                values = (shard.features[at], shard.present[at], shard.signature[at])
                store.write_views(slots[at[0]], at[1], *values, shard.quality[at])
                store.commit()
                advance(len(at[0]))
            lacking[slots[rows], columns] = False


def _refuse_foreign(shard: FeatureStore, store: FeatureStore) -> None:
    """Refuse a shard that is not part of a store."""
    step = f"remove the folder {shard.path.parent}"
    _refuse_other_inputs(shard, store.attributes["cache_key"])
    for name in _SAME:
        ours, theirs = store.attributes[name], shard.attributes[name]
        if ours != theirs and name == "transform":
            raise InputError(shard.path, "this shard was made in another way", step)
        if ours != theirs:
            what = f"its {name} is {theirs[:24]!r}, the store's is {ours[:24]!r}"
            raise InputError(shard.path, what, step)
    if shard.views != store.views or shard.features.shape[2] != store.features.shape[2]:
        raise InputError(shard.path, "it has other views or features than the store", step)
    slots = store.slots(shard.location_ids)
    if (slots < 0).any():
        unknown = str(shard.location_ids[np.argmin(slots)])
        reason = f"the study has no images of its location {unknown!r}"
        raise InputError(shard.path, reason, "remove this shard")


def _refuse_different(shard: FeatureStore, other: FeatureStore) -> None:
    """Refuse two shards whose features of a view differ by more than rounding."""
    slots = other.slots(shard.location_ids)
    both = shard.held & shard.present & (slots >= 0)[:, None] & (other.held & other.present)[slots]
    rows, columns = np.nonzero(both)
    for start in range(0, len(rows), BLOCK):
        at = rows[start : start + BLOCK], columns[start : start + BLOCK]
        there = slots[at[0]], at[1]
        a, b = (x.astype(np.float64) for x in (shard.features[at], other.features[there]))
        sizes = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        alike = (sizes > 0) & ((a * b).sum(axis=1) >= _ALIKE * sizes) | (a == b).all(axis=1)
        alike &= (shard.signature[at] == other.signature[there]).all(axis=1)
        if not alike.all():
            first = int(np.argmin(alike))
            location, view = str(shard.location_ids[at[0][first]]), shard.views[at[1][first]]
            raise InputError(
                shard.path,
                f"its features of view {view!r} of location {location!r} are not those in "
                f"{other.path.name}",
                "remove the shard that is wrong",
            )
