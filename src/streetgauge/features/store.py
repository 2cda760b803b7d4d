"""The file of features: plain HDF5, written so that a kill at any moment loses nothing.

The file's structure is complete from the start: its datasets are allocated when it is made, under a
temporary name, and so is the space on the disk. From then on only numbers are written, at the
datasets' offsets; HDF5's own records are never touched again. A view's features are on disk before
its signature is, which marks it as held, and before its location is marked as done; the marks are
taken back before what they stand for is written over. Ours because a kill while h5py itself writes
can leave a file that no longer opens.

Every view has a checksum of its numbers, and every location one of its marks: `verify` finds a bit
that has changed since. HDF5 has checksums of its own records.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, Self
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.errors import InputError, closest
from streetgauge.features.backbones import Backbone
from streetgauge.features.preprocess import exact_json, transform_json
from streetgauge.features.store_file import (
    ANEW,
    LAYOUT,
    SIGNATURE,
    TEXTS,
    Dtype,
    checked_attributes,
    ids_of,
    lay_out,
    mapped,
    opened,
    require_room,
    reserve,
    sizes_of,
    views_of,
)
from streetgauge.io.files import WriteLock, atomic_path
from streetgauge.io.tables import refuse_repeated
from streetgauge.markup import facts_html

# Bytes of features that are verified at a time.
VERIFIED = 2**25


class FeatureStore:
    """Features of N locations with V views each; make one with `create` or `open`.

    Any HDF5 reader can read the file: datasets ``features`` [N, V, D] float32 or float16,
    contiguous; ``location_id`` [N] UTF-8; ``done`` [N], ``attempted`` [N] and ``present`` [N, V]
    boolean; ``signature`` [N, V, 16], ``quality`` [N, V], ``checksum`` [N, V] and
    ``mark_checksum`` [N].

    A store that is open for writing excludes other writers until `close`, the end of a ``with``
    block, or the end of the process.

    Attributes
    ----------
    path : Path
        The file.
    features : memory map of float32 or float16, [N, V, D]
        Zeros where a view is not present.
    present : memory map of bool, [N, V]
        Whether the view was there and could be read.
    done : memory map of bool, [N]
        Whether the location's features are complete and may be used.
    attempted : memory map of bool, [N]
        Whether the location has been computed: done, or excluded for good.
    signature : memory map of uint8, [N, V, 16]
        What each image's content was; zeros where there was none, it is not known, or the view is
        not `held`.
    quality : memory map of `streetgauge.imagery.QUALITY`, [N, V]
        What was measured on each image; zeros where it was not.
    checksum : memory map of uint32, [N, V]
        CRC-32 of what was written of each view: see `view_checksums`.
    mark_checksum : memory map of uint32, [N]
        CRC-32 of each location's id, ``present``, ``done`` and ``attempted``; 0 until it has been
        attempted.
    location_ids : array of str, [N]
        Sorted.
    views : tuple of str
        Names of the views.
    backbone : str
        What made the features.
    attributes : dict of str
        All attributes of the file, lists and rules as JSON text.

    Examples
    --------
    >>> store = FeatureStore.open(Path("streetgauge-demo/features/efficientnet-lite0.h5"))
    >>> store.views, store.features.shape[1:]
    (('a', 'b', 'c', 'd'), (4, 1280))
    """

    def __init__(
        self, path: Path, lock: WriteLock | None = None, *, owns_lock: bool = False
    ) -> None:
        self.path = path
        self._lock = lock if owns_lock else None
        with opened(path) as file:
            self.attributes = checked_attributes(path, file)
            self.location_ids: npt.NDArray[np.str_] = ids_of(path, file)
            self.views: tuple[str, ...] = views_of(path, self.attributes)
            sizes = sizes_of(path, file, len(self.location_ids), len(self.views))
            kind = np.dtype(self.attributes["dtype"]).newbyteorder("<")
            maps = {
                name: mapped(path, file, name, tuple(sizes[axis] for axis in axes), type_ or kind)
                for name, (axes, type_) in LAYOUT.items()
            }
        self._index = pd.Index(self.location_ids)
        if not self._index.is_unique:
            refuse_repeated(self._index, path, "location", step=ANEW)
        self.backbone = self.attributes["backbone"]
        self.features: npt.NDArray[Any] = maps["features"]
        self.present: npt.NDArray[np.bool_] = maps["present"]
        self.done: npt.NDArray[np.bool_] = maps["done"]
        self.attempted: npt.NDArray[np.bool_] = maps["attempted"]
        self.signature: npt.NDArray[np.uint8] = maps["signature"]
        self.quality: npt.NDArray[np.void] = maps["quality"]
        self.checksum: npt.NDArray[np.uint32] = maps["checksum"]
        self.mark_checksum: npt.NDArray[np.uint32] = maps["mark_checksum"]
        self._file = path.open("r+b", buffering=0) if lock is not None else None
        # Signatures of what is written and perhaps not on the disk yet, with their rows.
        self._marks: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.uint8]]] = []

    def _repr_html_(self) -> str:
        """Show in a notebook what this is."""
        n, views, dimension = self.features.shape
        facts = {
            "file": self.path,
            "backbone": self.backbone,
            "features": f"{n:,} locations x {views} views x {dimension:,}, {self.features.dtype}",
            "done": f"{int(self.done.sum()):,} locations",
            "images": f"{int(self.present.sum()):,}",
            "views": ", ".join(self.views),
        }
        return facts_html("Feature store", facts)

    @classmethod
    def create(
        cls,
        path: Path,
        location_ids: Iterable[str],
        views: Sequence[str],
        dimension: int,
        attributes: Mapping[str, str],
        *,
        dtype: Dtype = "float32",
        lock: WriteLock | None = None,
    ) -> FeatureStore:
        """Make an empty store instead of whatever is at ``path``, and open it for writing.

        Parameters
        ----------
        path : Path
            Where.
        location_ids : iterable of str
            The slots, in this order.
        views : sequence of str
            Names of the views.
        dimension : int
            Length of a feature vector.
        attributes : mapping of str to str
            ``backbone``, ``weights_sha256``, ``transform`` (JSON), ``cache_key``, ``licence``,
            ``engine``, ``device``, ``precision``, ``cosine``, ``exact_layers`` (JSON: the layers
            that are not rounded); those not given are empty.
        dtype : {"float32", "float16"}
            How features are stored: half the space with 11 bits of each, up to 65,504.
        lock : WriteLock, optional
            If the caller holds it already.

        Raises
        ------
        InputError
            If there is no location, one occurs twice, an attribute is not known, or another
            process is writing to the file.
        OSError
            If the disk has no room for it; what was at ``path`` is untouched.

        Examples
        --------
        >>> file = Path("new.h5")
        >>> store = FeatureStore.create(file, ["SE1", "SE2"], ["a", "b"], 3, {"backbone": "table"})
        >>> store.features.shape
        (2, 2, 3)
        >>> store.close()
        """
        ids = [str(location) for location in location_ids]
        if not ids or not views or dimension < 1:
            raise InputError(path, "there is nothing to store", "give locations, views, features")
        if not all(ids):
            raise InputError(path, "a location has no id", "give each location one")
        refuse_repeated(pd.Index(ids), path, "location", step="give each location once")
        if unknown := sorted(set(attributes) - set(TEXTS)):
            reason = f"a store has no attribute {unknown[0]!r}"
            raise InputError(path, reason, closest(unknown[0], TEXTS, limit=len(TEXTS)))
        with ExitStack() as held:
            own = held.enter_context(WriteLock(path)) if lock is None else None
            with atomic_path(path) as temporary:
                require_room(path, ids, len(views), dimension, dtype)
                lay_out(temporary, ids, views, dimension, attributes, dtype)
                reserve(temporary, path)
            store = cls(path, lock or own, owns_lock=own is not None)
            held.pop_all()  # from here on the store releases it
            return store

    @classmethod
    def open(
        cls, path: Path, *, writable: bool = False, backbone: Backbone | None = None
    ) -> FeatureStore:
        """Open a store.

        Parameters
        ----------
        path : Path
            The file.
        writable : bool
            Also for writing.
        backbone : Backbone, optional
            What must have made its features.

        Raises
        ------
        InputError
            If the file is not a feature store, of another format version, damaged, made by another
            backbone, or being written by another process.

        Examples
        --------
        >>> store = FeatureStore.open("streetgauge-demo/features/efficientnet-lite0.h5")
        >>> store.backbone
        'efficientnet-lite0'
        """
        path = Path(path)
        with ExitStack() as held:
            lock = held.enter_context(WriteLock(path)) if writable and path.exists() else None
            store = cls(path, lock, owns_lock=True)
            if backbone is not None:
                _refuse_other(store, backbone)
            held.pop_all()
            return store

    @property
    def held(self) -> npt.NDArray[np.bool_]:
        """Which views have been computed, each by itself: bool, [N, V].

        Also of locations that are not ``attempted``, because another view of theirs is missing.
        What does not fit together (an image that was measured and is not there) is not held.

        Examples
        --------
        >>> store = FeatureStore.open("streetgauge-demo/features/efficientnet-lite0.h5")
        >>> bool(store.held[store.done].any())
        True
        """
        marked = np.logical_or.reduce(self.signature, axis=2)
        held: npt.NDArray[np.bool_] = marked & (self.present == (self.quality["fingerprint"] != 0))
        return held

    def damaged(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Find what is not as it was written: which views [N, V], and which locations' marks [N].

        All numbers are read. Views that are neither held nor of a location that has been
        attempted may be half written, and are not damaged.

        Examples
        --------
        >>> store = FeatureStore.open("streetgauge-demo/features/efficientnet-lite0.h5")
        >>> views, marks = store.damaged()
        >>> int(views.sum()), int(marks.sum())
        (0, 0)
        """
        slots = np.arange(len(self.done))
        sums = self._mark_checksums(slots)
        marks = sums != self.mark_checksum
        marked = (sums != 0) | (self.mark_checksum != 0)
        whole = marked[:, None] | self.signature.any(axis=2)  # first: another may be writing
        found = np.zeros(self.present.shape, dtype=bool)
        step = max(1, VERIFIED // max(self.features[:1].nbytes, 1))
        for start in range(0, len(found), step):
            part = slice(start, start + step)
            sums = view_checksums(
                *(getattr(self, name)[part] for name in ("features", "quality", "signature"))
            )
            found[part] = whole[part] & (sums != self.checksum[part])
        return found, marks

    def verify(self, *, marks: bool = True) -> None:
        """Read all numbers and compare them with their checksums.

        Parameters
        ----------
        marks : bool
            Also which views are present and which locations are done: a run that was killed may
            have left these half written, and only these.

        Raises
        ------
        InputError
            If some are not as they were written, naming the first location of which that is so.

        Examples
        --------
        >>> FeatureStore.open("streetgauge-demo/features/efficientnet-lite0.h5").verify()
        """
        views, of_locations = self.damaged()
        affected = np.flatnonzero(views.any(axis=1) | (of_locations & marks))
        if not len(affected):
            return
        first = affected[0]
        what = f"the numbers of location {str(self.location_ids[first])!r}"
        if views[first].any():
            what += f", view {self.views[int(np.argmax(views[first]))]!r},"
        if len(affected) > 1:
            what += f" and of {len(affected) - 1:,} more"
        raise InputError(self.path, f"{what} are not those that were written", ANEW)

    def discard_damaged(self) -> None:
        """Take back what is not as it was written, as if it had never been computed.

        Examples
        --------
        >>> with FeatureStore.create(Path("new.h5"), ["SE1"], ["a"], 3, {}) as store:
        ...     store.write([0], np.ones((1, 1, 3)), np.ones((1, 1), bool))
        ...     store.discard_damaged()
        ...     store.rows(["SE1"]).tolist()
        [0]
        """
        views, marks = self.damaged()
        known = np.flatnonzero(views.any(axis=1) | marks)
        if not len(known):
            return
        slots, columns = np.nonzero(views)
        rows = slots * len(self.views) + columns
        self._unmark(known)
        self._write("signature", rows, np.zeros((len(rows), SIGNATURE), dtype=np.uint8))
        self._sync()
        for name in ("features", "present", "quality", "checksum"):
            shape = (len(rows), *getattr(self, name).shape[2:])
            self._write(name, rows, np.zeros(shape, getattr(self, name).dtype))
        self._sync()

    def close(self) -> None:
        """End the writing; what was read from the store stays as it is.

        Examples
        --------
        >>> store = FeatureStore.create(Path("new.h5"), ["SE1"], ["a"], 3, {})
        >>> store.close()
        """
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(
        self,
        slots: npt.ArrayLike,
        features: npt.NDArray[Any],
        present: npt.NDArray[np.bool_],
        done: npt.NDArray[np.bool_] | None = None,
        *,
        signatures: npt.NDArray[np.uint8] | None = None,
        quality: npt.NDArray[np.void] | None = None,
    ) -> None:
        """Write the features of some slots: first these to disk, then that they are done.

        Parameters
        ----------
        slots : array of int, [n]
            Positions of the locations in the store.
        features : array of float, [n, V, D]
            Anything where a view is not present: zeros are written.
        present : array of bool, [n, V]
            Which views are there.
        done : array of bool, [n], optional
            Which locations may be used; all if not given. The others are only marked as attempted.
        signatures : array of uint8, [n, V, 16], optional
            What the images' content was.
        quality : array of QUALITY, [n, V], optional
            What was measured on them.

        Raises
        ------
        InputError
            If a feature is too large for the store's type.

        Examples
        --------
        >>> with FeatureStore.create(Path("new.h5"), ["SE1", "SE2"], ["a"], 3, {}) as store:
        ...     store.write([1], np.full((1, 1, 3), 0.5), np.ones((1, 1), bool))
        ...     store.done.tolist()
        [False, True]
        """
        slots = np.asarray(slots, dtype=np.intp)
        n_views = len(self.views)
        flat = {
            "signatures": None if signatures is None else signatures.reshape(-1, SIGNATURE),
            "quality": None if quality is None else quality.ravel(),
        }
        self.write_views(
            np.repeat(slots, n_views),
            np.tile(np.arange(n_views), len(slots)),
            features.reshape(-1, features.shape[-1]),
            present.ravel(),
            **flat,  # type: ignore[arg-type]
        )
        self.commit(slots, np.ones(len(slots), dtype=bool) if done is None else done)

    def write_views(
        self,
        slots: npt.NDArray[np.intp],
        columns: npt.NDArray[np.intp],
        features: npt.NDArray[Any],
        present: npt.NDArray[np.bool_],
        signatures: npt.NDArray[np.uint8] | None = None,
        quality: npt.NDArray[np.void] | None = None,
    ) -> None:
        """Write single views, [n] of slots and so on; they are not held before `commit`.

        Examples
        --------
        >>> with FeatureStore.create(Path("new.h5"), ["SE1"], ["a", "b"], 3, {}) as store:
        ...     store.write_views(np.array([0]), np.array([1]), np.ones((1, 3)), np.array([True]))
        ...     store.present.tolist()
        [[False, True]]
        """
        self._reopen(slots, columns)
        rounded = self._rounded(np.where(present[:, None], features, features.dtype.type(0)), slots)
        rows = slots * len(self.views) + columns
        self._write("features", rows, rounded)
        self._write("present", rows, present)
        if quality is None:
            quality = self.quality[slots, columns]
        else:
            self._write("quality", rows, quality)
        if signatures is not None:
            self._marks.append((rows, signatures))
        else:
            signatures = np.zeros((len(rows), SIGNATURE), dtype=np.uint8)
        self._write("checksum", rows, view_checksums(rounded, quality, signatures))

    def commit(self, slots: npt.ArrayLike = (), done: npt.ArrayLike = ()) -> None:
        """Bring what was written to the disk, then mark these views and locations as there.

        Parameters
        ----------
        slots : array of int, [n], optional
            Locations of which every view has been written.
        done : array of bool, [n], optional
            Which of them may be used.

        Examples
        --------
        >>> with FeatureStore.create(Path("new.h5"), ["SE1"], ["a"], 3, {}) as store:
        ...     store.write_views(np.array([0]), np.array([0]), np.ones((1, 3)), np.array([True]))
        ...     store.commit([0], [True])
        ...     store.done.tolist()
        [True]
        """
        slots = np.asarray(slots, dtype=np.intp)
        if not len(slots) and not self._marks:
            return
        self._sync()
        for rows, signatures in self._marks:
            self._write("signature", rows, signatures)
        self._marks.clear()
        self._write("done", slots, np.asarray(done, dtype=bool))
        self._write("attempted", slots, np.ones(len(slots), dtype=bool))
        self._write("mark_checksum", slots, self._mark_checksums(slots))
        self._sync()

    def set_mask(self, present: npt.NDArray[np.bool_], done: npt.NDArray[np.bool_]) -> None:
        """Set again what may be used of what is there; features stay as they are.

        Parameters
        ----------
        present : array of bool, [N, V]
            Which views may be.
        done : array of bool, [N]
            Which locations may be.

        Examples
        --------
        >>> with FeatureStore.create(Path("new.h5"), ["SE1"], ["a"], 3, {}) as store:
        ...     store.write([0], np.ones((1, 1, 3)), np.ones((1, 1), bool))
        ...     store.set_mask(np.array([[True]]), done=np.array([False]))
        ...     store.rows(["SE1"]).tolist()
        [-1]
        """
        slots = np.arange(len(done))
        self._write("mark_checksum", slots, np.zeros(len(done), dtype=np.uint32))
        self._write("done", slots, np.zeros(len(done), dtype=bool))
        self._sync()
        self._write("present", np.arange(present.size), present.ravel())
        self._sync()
        self._write("done", slots, done)
        self._write("mark_checksum", slots, self._mark_checksums(slots))
        self._sync()

    def rows(self, location_ids: Iterable[str]) -> npt.NDArray[np.intp]:
        """Positions of locations by their id; -1 where a location is absent or not done.

        Parameters
        ----------
        location_ids : iterable of str, [n]
            In any order, also repeated.

        Returns
        -------
        array of int, [n]

        Examples
        --------
        >>> store = FeatureStore.open("streetgauge-demo/features/efficientnet-lite0.h5")
        >>> store.rows(["ZZ99 9ZZ"]).tolist()
        [-1]
        """
        rows = self.slots(location_ids)
        return np.where((rows >= 0) & self.done[rows], rows, -1)

    def slots(self, location_ids: Iterable[str]) -> npt.NDArray[np.intp]:
        """Positions of locations by their id, done or not; -1 where a location is absent.

        Examples
        --------
        >>> store = FeatureStore.open("streetgauge-demo/features/efficientnet-lite0.h5")
        >>> store.slots(store.location_ids[:2]).tolist()
        [0, 1]
        """
        wanted = pd.Index(np.array(list(location_ids), dtype=str))
        return self._index.get_indexer(wanted)

    def _reopen(self, slots: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> None:
        """Take back the marks of views, and of their locations, before they are written over."""
        known = np.unique(slots)
        known = known[self.done[known] | self.attempted[known]]
        marked = (slots * len(self.views) + columns)[self.signature[slots, columns].any(axis=1)]
        if len(known) or len(marked):
            self._unmark(known)
            self._write("signature", marked, np.zeros((len(marked), SIGNATURE), dtype=np.uint8))
            self._sync()

    def _unmark(self, slots: npt.NDArray[np.intp]) -> None:
        """Take back that locations have been attempted."""
        self._write("mark_checksum", slots, np.zeros(len(slots), dtype=np.uint32))
        for name in ("done", "attempted"):
            self._write(name, slots, np.zeros(len(slots), dtype=bool))

    def _mark_checksums(self, slots: npt.NDArray[np.intp]) -> npt.NDArray[np.uint32]:
        """CRC-32 of what is marked of some locations, [n]; 0 of those that were not attempted."""
        done, attempted, present = (
            getattr(self, name)[slots].view(np.uint8) for name in ("done", "attempted", "present")
        )
        marks = np.column_stack([present, done, attempted])
        ids = self.location_ids[slots].tolist()
        pairs = zip(ids, marks, strict=True)
        sums = [crc32(row.tobytes(), crc32(each.encode())) or 1 for each, row in pairs]
        return np.where(done | attempted, np.array(sums, dtype=np.uint32), np.uint32(0))

    def _rounded(self, features: npt.NDArray[Any], slots: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """Round features to what the store holds; infinity out of a number is refused."""
        with np.errstate(over="ignore"):
            rounded = features.astype(self.features.dtype, copy=False)
        if rounded.dtype.itemsize < features.dtype.itemsize:
            lost = (~np.isfinite(rounded) & np.isfinite(features)).any(axis=1)
            if lost.any():
                location = self.location_ids[slots[np.argmax(lost)]]
                raise InputError(
                    f"{self.path}: location {str(location)!r}",
                    f"a feature of {np.abs(features[np.argmax(lost)]).max():.6g} is too large for "
                    f"{self.features.dtype}",
                    'use dtype = "float32"',
                )
        return rounded

    def _write(self, name: str, rows: npt.NDArray[np.intp], values: npt.NDArray[Any]) -> None:
        """Write rows of a dataset, counted over all its axes but the last one of numbers."""
        if self._file is None:
            raise ValueError(f"{self.path} is open read-only")
        mapped: Any = getattr(self, name)
        values = np.ascontiguousarray(values, dtype=mapped.dtype)
        size = values[:1].nbytes
        for first, last in _runs(rows):
            self._file.seek(mapped.offset + int(rows[first]) * size)
            left = memoryview(values[first:last].view(np.uint8).reshape(-1))  # type: ignore[arg-type]
            while left:
                left = left[self._file.write(left) :]

    def _sync(self) -> None:
        if self._file is None:
            raise ValueError(f"{self.path} is open read-only")
        os.fsync(self._file.fileno())


def view_checksums(
    features: npt.NDArray[Any], quality: npt.NDArray[np.void], signature: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint32]:
    """CRC-32 of the numbers of views, so that views of zeros have 0.

    Parameters
    ----------
    features : array of float, [..., D]
        As the store holds them.
    quality : array of QUALITY, [...]
        What was measured on each image.
    signature : array of uint8, [..., 16]
        What its content was.

    Returns
    -------
    array of uint32, [...]
        CRC-32 of the bytes of quality, signature and features, one after the other, exclusive or
        that of as many zeros.
    """
    count = quality.size
    if not count:
        return np.zeros(quality.shape, dtype=np.uint32)
    numbers, measured, content = (
        np.ascontiguousarray(each).view(np.uint8).reshape(count, -1)
        for each in (features, quality, signature)
    )
    small = np.concatenate([measured, content], axis=1)
    nothing = crc32(bytes(numbers.shape[1]), crc32(bytes(small.shape[1])))
    pairs: Iterable[tuple[Any, Any]] = zip(numbers, small, strict=True)
    sums = [crc32(row, crc32(rest)) for row, rest in pairs]
    return (np.array(sums, dtype=np.uint32) ^ np.uint32(nothing)).reshape(quality.shape)


def usable(present: npt.NDArray[np.bool_], require: str) -> npt.NDArray[np.bool_]:
    """Tell which locations have enough views: [N, V] -> [N]."""
    rule = np.logical_and if require == "all" else np.logical_or
    enough: npt.NDArray[np.bool_] = rule.reduce(present, axis=1)
    return enough


def _runs(rows: npt.NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """Stretches in which each row follows the one before: they are written in one go."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    bounds = [0, *breaks.tolist(), len(rows)]
    return ((a, b) for a, b in pairwise(bounds) if a < b)


def _refuse_other(store: FeatureStore, backbone: Backbone) -> None:
    """Refuse features that this backbone has not made."""
    sha256 = store.attributes["weights_sha256"]
    precision = store.attributes["precision"]
    dimension = store.features.shape[2]
    if store.backbone != backbone.name:
        reason = f"its features are of {store.backbone!r}, not of {backbone.name!r}"
    elif sha256 != backbone.sha256:
        reason = f"it was made with other weights: sha256 {sha256[:12]}, not {backbone.sha256[:12]}"
    elif dimension != backbone.dimension:
        reason = f"it has {dimension:,} features a view, not {backbone.dimension:,}"
    elif store.attributes["transform"] != transform_json(backbone):
        reason = "its images were prepared in another way"
    elif store.attributes["exact_layers"] not in ("", exact_json(backbone, precision)):
        reason = f"its {precision} rounds other layers"
    else:
        return
    raise InputError(store.path, reason, ANEW)
