"""Parts of a feature store that many machines write side by side, and the one store they become.

A shard is a feature store of some of the locations, in a folder beside the store. It is there as a
whole or not at all, names the locations that it holds, and says why pictures of theirs could not be
read. A view is held where its signature is not zero. Which pictures share a shard is of no
importance.
"""

from __future__ import annotations

import json
import os
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt

from streetgauge.errors import InputError
from streetgauge.features.store import FeatureStore, usable
from streetgauge.progress import Progress, silent

__all__ = ["ShardHeader", "Shards", "clear_unfinished", "engine_of", "read_skips", "shards_of"]
__all__ += ["write_shard"]

Skip = dict[str, str | None]

# Bytes of features that are in memory at a time while shards are merged.
BLOCK = 64 * 1024 * 1024
# Shards that are open at a time: neighbouring locations are in few of them.
OPEN = 32
# What a store and its shards have to agree on.
_SAME = ("backbone", "weights_sha256", "transform", "engine", "precision", "dtype", "stamp")


@dataclass(frozen=True)
class ShardHeader:
    """What all shards of a store have in common.

    Parameters
    ----------
    views : tuple of str
        In the store's order.
    dimension : int
        Length of a feature vector.
    dtype : {"float32", "float16"}
        How features are kept.
    attributes : mapping of str to str
        As `FeatureStore.create` takes them.
    """

    views: tuple[str, ...]
    dimension: int
    dtype: Literal["float32", "float16"]
    attributes: Mapping[str, str]


def shards_of(store: Path) -> Path:
    """Give the folder of a store's shards: ``features/x.shards`` for ``features/x.h5``."""
    return store.with_suffix(".shards")


def write_shard(
    folder: Path,
    header: ShardHeader,
    location_ids: Sequence[str],
    features: npt.NDArray[Any],
    present: npt.NDArray[np.bool_],
    signatures: npt.NDArray[np.uint8],
    quality: npt.NDArray[np.void],
    skips: Sequence[Mapping[str, str | None]],
) -> Path:
    """Write a shard; it is there when it is whole, and replaces one of the same pictures.

    Parameters
    ----------
    folder : Path
        Where; it must exist.
    header : ShardHeader
        What made the features.
    location_ids : sequence of str, [n]
        The locations, in any order, each once.
    features, present, signatures, quality : arrays, [n, V, ...]
        As `FeatureStore.write` takes them; views that the shard does not hold are zero in all.
    skips : sequence of mappings
        ``location_id``, ``view``, ``reason`` of pictures that could not be read.

    Returns
    -------
    Path
        Its name depends on its pictures alone.
    """
    pictures = "\0".join(location_ids) + "\0" + _held(signatures).tobytes().hex()
    name = uuid.uuid5(uuid.NAMESPACE_OID, pictures).hex[:16]
    path = folder / f"{name}.h5"
    # Machines in containers share process ids: only chance keeps their temporary names apart.
    temporary = folder / f".{name}-{uuid.uuid4().hex}.h5"
    try:
        with FeatureStore.create(
            *(temporary, location_ids, header.views, header.dimension, header.attributes),
            dtype=header.dtype,
        ) as store:
            slots = np.arange(len(location_ids))
            store.write(slots, features, present, signatures=signatures, quality=quality)
        with h5py.File(temporary, "r+") as file:
            file["skips"] = json.dumps([dict(skip) for skip in skips], ensure_ascii=False)
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_skips(shard: Path) -> list[Skip]:
    """Why pictures of a shard's locations could not be read: ``location_id, view, reason``."""
    with h5py.File(shard, "r") as file:
        if "skips" not in file:
            return []
        rows: list[Skip] = json.loads(file["skips"].asstr()[()])
    return rows


class Shards:
    """The shards of a store, as they are now.

    Parameters
    ----------
    folder : Path
        Where they are; it need not exist.
    store : FeatureStore
        What they will become.

    Attributes
    ----------
    paths : list of Path
        The shards, sorted.
    held : array of bool, [N, V]
        Which of the store's views are in a shard.
    skips : dict of (location, view) to reason
        The pictures among them that could not be read.

    Raises
    ------
    InputError
        If a shard is damaged, is of a location that the store has not, or was made from other
        pictures, settings or weights.
    """

    def __init__(self, folder: Path, store: FeatureStore) -> None:
        self.folder, self.store = folder, store
        self.paths = _paths(folder)
        shape = (len(store.location_ids), len(store.views))
        self._shard = np.full(shape, -1, dtype=np.int32)
        self._row = np.zeros(shape, dtype=np.int32)
        self._opened: OrderedDict[int, FeatureStore] = OrderedDict()
        self.skips: dict[tuple[str, str], str] = {}
        for number, path in enumerate(self.paths):
            shard = _of_store(path, store)
            slots = store.slots(shard.location_ids)
            if (slots < 0).any():
                stranger = shard.location_ids[np.argmin(slots)]
                raise InputError(
                    *(path, f"the study has no pictures of its location {str(stranger)!r}"),
                    "remove this shard",
                )
            rows, places = np.nonzero(_held(shard.signature))
            # Of a view that two shards hold either will do: the same network gave both.
            self._shard[slots[rows], places], self._row[slots[rows], places] = number, rows
            for skip in read_skips(path):
                self.skips[str(skip["location_id"]), str(skip["view"])] = str(skip["reason"])
        self.held = self._shard >= 0

    def merge(
        self,
        planned: npt.NDArray[np.bool_],
        require: Literal["all", "any"],
        progress: Progress = silent,
    ) -> list[Skip]:
        """Write what the shards hold into their store, from its beginning to its end.

        Memory for features does not grow with the shards. A merge that was stopped is done again.

        Parameters
        ----------
        planned : array of bool, [N, V]
            Of which views there are pictures. Locations of which the shards lack one of them are
            left as they are.
        require : {"all", "any"}
            Whether a location with a broken picture is left out, or kept without that view.
        progress : Progress
            Told of every location.

        Returns
        -------
        list of dict
            ``location_id``, ``view``, ``reason`` of the merged locations' pictures that could not
            be read.
        """
        slots = np.flatnonzero(planned.any(axis=1) & (self.held | ~planned).all(axis=1))
        _, views, dimension = self.store.features.shape
        size = max(1, BLOCK // (views * dimension * self.store.features.dtype.itemsize))
        with progress("merging shards", len(slots), "locations") as advance:
            for start in range(0, len(slots), size):
                block = slots[start : start + size]
                present = self._gathered("present", block, planned)
                self.store.write(
                    *(block, self._gathered("features", block, planned), present),
                    usable(present, require),
                    signatures=self._gathered("signature", block, planned),
                    quality=self._gathered("quality", block, planned),
                )
                advance(len(block))
        merged = set(self.store.location_ids[slots].tolist())
        return [
            {"location_id": location, "view": view, "reason": reason}
            for (location, view), reason in sorted(self.skips.items())
            if location in merged
        ]

    def remove(self) -> None:
        """Delete them, and their folder if nothing else lies in it."""
        self._opened.clear()
        for path in self.paths:
            path.unlink()
        with suppress(OSError):
            self.folder.rmdir()

    def _gathered(
        self, name: str, slots: npt.NDArray[np.intp], planned: npt.NDArray[np.bool_]
    ) -> npt.NDArray[Any]:
        """Bring one array of some locations together from the shards that hold them."""
        like = getattr(self.store, name)
        out = np.zeros((len(slots), *like.shape[1:]), dtype=like.dtype)
        numbers = np.where(planned[slots], self._shard[slots], -1)
        for number in np.unique(numbers[numbers >= 0]):
            i, place = np.nonzero(numbers == number)
            out[i, place] = getattr(self._open(int(number)), name)[
                self._row[slots[i], place], place
            ]
        return out

    def _open(self, number: int) -> FeatureStore:
        if number not in self._opened:
            self._opened[number] = FeatureStore.open(self.paths[number])
            if len(self._opened) > OPEN:
                self._opened.popitem(last=False)
        self._opened.move_to_end(number)
        return self._opened[number]


def engine_of(folder: Path) -> str | None:
    """Say which engine computed the shards in a folder; None if there are none."""
    paths = _paths(folder)
    return FeatureStore.open(paths[0]).attributes["engine"] or None if paths else None


def clear_unfinished(folder: Path) -> None:
    """Remove what killed writers left half done; nobody may be writing."""
    for pattern in (".*.h5*", ".*.token"):
        for left in folder.glob(pattern):
            left.unlink(missing_ok=True)


def _paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.h5") if not path.name.startswith("."))


def _held(signatures: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    held: npt.NDArray[np.bool_] = np.logical_or.reduce(signatures, axis=2)
    return held


def _of_store(path: Path, store: FeatureStore) -> FeatureStore:
    """Open a shard, after a look that it is one of this store."""
    shard = FeatureStore.open(path)
    step = f"remove the folder {path.parent}"
    for name in _SAME:
        ours, theirs = store.attributes[name], shard.attributes[name]
        if ours != theirs and name in ("stamp", "transform"):
            what = "from other pictures or settings" if name == "stamp" else "in another way"
            raise InputError(path, f"this shard was made {what}", step)
        if ours != theirs:
            what = f"its {name} is {theirs[:24]!r}, the store's is {ours[:24]!r}"
            raise InputError(path, what, step)
    if shard.views != store.views or shard.features.shape[2] != store.features.shape[2]:
        raise InputError(path, "it has other views or features than the store", step)
    return shard
