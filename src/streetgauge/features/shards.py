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
from streetgauge.features.work_list import Reasons
from streetgauge.progress import Progress, silent

__all__ = ["ShardHeader", "Shards", "Skip", "clear_unfinished", "made_by", "read_skips"]
__all__ += ["shards_of", "write_shard"]

Skip = dict[str, str | None]

# Bytes of features that are in memory at a time while shards are merged.
BLOCK = 64 * 1024 * 1024
# Shards that are open at a time: neighbouring locations are in few of them.
OPEN = 32
# What a store and its shards have to agree on.
_SAME = (
    *("backbone", "weights_sha256", "transform", "stamp"),
    *("engine", "device", "precision", "exact", "dtype"),
)
# Least cosine of two shards' features of one view: processors differ in the last bits, as do their
# instructions for fewer bits; less is another picture or another network.
_ALIKE = 0.9995
# What a store says of itself alone.
_OWN = ("format", "format_version", "code_version", "dtype", "views")


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

    @classmethod
    def of(cls, store: FeatureStore) -> ShardHeader:
        """Give that of a store's shards."""
        attributes = {name: text for name, text in store.attributes.items() if name not in _OWN}
        dtype: Any = store.attributes["dtype"]
        return cls(store.views, store.features.shape[2], dtype, attributes)


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
    """Why pictures of a shard's locations could not be read: ``location_id, view, reason``.

    Raises
    ------
    InputError
        If that is damaged.
    """
    try:
        with h5py.File(shard, "r") as file:
            text = file["skips"].asstr()[()] if "skips" in file else "[]"
        rows = json.loads(text)
        return [
            {name: str(row[name]) for name in ("location_id", "view", "reason")} for row in rows
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError(shard, "its reasons cannot be read", "remove this shard") from None


class Shards:
    """The shards of a store, as they are now.

    Of a view that several of them hold, one in which it is whole is taken, of such the first by
    name.

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
    reasons : dict of (location, view) to reason
        The pictures among them that no shard has whole.

    Raises
    ------
    InputError
        If a shard is damaged, is of a location that the store has not, or was made from other
        pictures, settings or weights; or if two shards have different features of a view.
    """

    def __init__(self, folder: Path, store: FeatureStore) -> None:
        self.folder, self.store = folder, store
        self.paths = _paths(folder)
        shape = (len(store.location_ids), len(store.views))
        self._shard = np.full(shape, -1, dtype=np.int32)
        self._row = np.zeros(shape, dtype=np.int32)
        self._opened: OrderedDict[int, FeatureStore] = OrderedDict()
        self.reasons: Reasons = {}
        for number in range(len(self.paths)):
            self._add(number)
        self.held = self._shard >= 0

    def _add(self, number: int) -> None:
        """Take note of what a shard holds, and of what is better in it than in those before."""
        path = self.paths[number]
        shard = _of_store(path, self.store)
        slots = self.store.slots(shard.location_ids)
        if (slots < 0).any():
            stranger = shard.location_ids[np.argmin(slots)]
            raise InputError(
                *(path, f"the study has no pictures of its location {str(stranger)!r}"),
                "remove this shard",
            )
        rows, places = np.nonzero(_held(shard.signature))
        better = self._shard[slots[rows], places] < 0
        for i in np.flatnonzero(~better):
            better[i] = self._is_better(shard, rows[i], slots[rows[i]], places[i])
        rows, places = rows[better], places[better]
        self._shard[slots[rows], places], self._row[slots[rows], places] = number, rows
        names = zip(shard.location_ids[rows], places, strict=True)
        taken = {(str(location), self.store.views[place]) for location, place in names}
        for name in taken & self.reasons.keys():
            del self.reasons[name]
        for skip in read_skips(path):
            name = (str(skip["location_id"]), str(skip["view"]))
            if name in taken:
                self.reasons[name] = str(skip["reason"])

    def _is_better(self, shard: FeatureStore, row: int, slot: int, place: int) -> bool:
        """Whether a view is whole in this shard, and was not in the one before."""
        other = self._open(int(self._shard[slot, place]))
        before = self._row[slot, place]
        if not (shard.present[row, place] and other.present[before, place]):
            return bool(shard.present[row, place])
        same = np.array_equal(shard.signature[row, place], other.signature[before, place])
        if not same or not _alike(shard.features[row, place], other.features[before, place]):
            location, view = str(self.store.location_ids[slot]), self.store.views[place]
            raise InputError(
                shard.path,
                f"its features of view {view!r} of location {location!r} are not those in "
                f"{other.path.name}",
                "remove the shard that is wrong",
            )
        return False

    def merge(
        self,
        planned: npt.NDArray[np.bool_],
        wanted: npt.NDArray[np.bool_],
        require: Literal["all", "any"],
        progress: Progress = silent,
    ) -> Reasons:
        """Write what the shards hold into their store, from its beginning to its end.

        Memory for features does not grow with the shards. A merge that was stopped goes on where it
        was.

        Parameters
        ----------
        planned : array of bool, [N, V]
            Of which views there are pictures: a location is done when they are all there.
        wanted : array of bool, [N, V]
            Which of them the store lacks; the others are left as they are.
        require : {"all", "any"}
            Whether a location with a broken picture is left out, or kept without that view.
        progress : Progress
            Told of every location.

        Returns
        -------
        dict of (location, view) to reason
            The merged pictures that could not be read.
        """
        store = self.store
        kept = store.held & ~wanted
        wanted = wanted & planned & self.held
        whole = np.logical_and.reduce(kept | wanted | ~planned, axis=1)
        touched = np.flatnonzero(wanted.any(axis=1))
        _, views, dimension = store.features.shape
        size = max(1, BLOCK // (views * dimension * store.features.dtype.itemsize))
        with progress("merging shards", len(touched), "locations") as advance:
            for start in range(0, len(touched), size):
                block = touched[start : start + size]
                i, places = np.nonzero(wanted[block])
                there = self._gathered("present", block[i], places)
                store.put(
                    *(block[i], places, self._gathered("features", block[i], places), there),
                    signatures=self._gathered("signature", block[i], places),
                    quality=self._gathered("quality", block[i], places),
                )
                slots = block[whole[block]]
                store.settle(slots, usable(store.present[slots], require))
                advance(len(block))
        names = sorted(self.reasons)
        slots = store.slots(location for location, _ in names)
        return {
            (location, view): self.reasons[location, view]
            for slot, (location, view) in zip(slots, names, strict=True)
            if wanted[slot, store.views.index(view)]
        }

    def remove(self) -> None:
        """Delete them, and their folder if nothing else lies in it."""
        self._opened.clear()
        for path in self.paths:
            path.unlink()
        with suppress(OSError):
            self.folder.rmdir()

    def _gathered(
        self, name: str, slots: npt.NDArray[np.intp], places: npt.NDArray[np.intp]
    ) -> npt.NDArray[Any]:
        """Bring one array of some views together from the shards that hold them."""
        like = getattr(self.store, name)
        out = np.zeros((len(slots), *like.shape[2:]), dtype=like.dtype)
        numbers, rows = self._shard[slots, places], self._row[slots, places]
        for number in np.unique(numbers):
            these = numbers == number
            out[these] = getattr(self._open(int(number)), name)[rows[these], places[these]]
        return out

    def _open(self, number: int) -> FeatureStore:
        if number not in self._opened:
            self._opened[number] = FeatureStore.open(self.paths[number])
            if len(self._opened) > OPEN:
                self._opened.popitem(last=False)
        self._opened.move_to_end(number)
        return self._opened[number]


def made_by(folder: Path, *, engine: str = "auto", device: str = "auto") -> dict[str, str]:
    """Say what computed the shards in a folder: a store's attributes; empty if there are none.

    Raises
    ------
    InputError
        If that is not the engine and the device that are asked for.
    """
    paths = _paths(folder)
    theirs = FeatureStore.open(paths[0]).attributes if paths else {}
    for name, asked in (("engine", engine), ("device", device)):
        if theirs and asked not in ("auto", theirs[name]):
            reason = f"their {name} is {theirs[name]!r}, and the study asks for {asked!r}"
            raise InputError(folder, reason, "remove the folder")
    return theirs


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


def _alike(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    """Whether two feature vectors, [D] each, are the same but for how they were rounded."""
    if np.array_equal(one, other):
        return True
    a, b = one.astype(np.float64), other.astype(np.float64)
    return bool(a @ b >= _ALIKE * np.linalg.norm(a) * np.linalg.norm(b) > 0)


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
