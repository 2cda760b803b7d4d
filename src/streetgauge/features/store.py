"""The file that keeps features: plain HDF5, written so that a kill at any moment loses nothing.

The file's structure is complete from the start: its datasets are allocated when it is made, under a
temporary name. From then on only numbers are written, through memory maps at the datasets'
offsets; HDF5's own records are never touched again. A row's features are on disk before the row is
marked as done.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

import streetgauge
from streetgauge.errors import InputError
from streetgauge.files import atomic_path

__all__ = ["FORMAT", "FORMAT_VERSION", "FeatureStore", "usable"]

FORMAT = "streetgauge-features"
FORMAT_VERSION = 1

# Datasets that are mapped: name, number of the dimensions (N, V, D) that they have, type.
_MAPPED = (
    ("features", 3, np.dtype("<f4")),
    ("present", 2, np.dtype(bool)),
    ("done", 1, np.dtype(bool)),
    ("tried", 1, np.dtype(bool)),
)
_TEXTS = ("backbone", "weights_sha256", "transform", "stamp", "licence")


class FeatureStore:
    """Features of N locations with V views each; make one with `create` or `open`.

    Any HDF5 reader can read the file: datasets ``features`` [N, V, D] float32, contiguous;
    ``location_id`` [N] UTF-8; ``done`` [N], ``tried`` [N] and ``present`` [N, V] boolean.

    Attributes
    ----------
    path : Path
        The file.
    features : memory map of float32, [N, V, D]
        Zeros where a view is not present.
    present : memory map of bool, [N, V]
        Whether the view was there and could be read.
    done : memory map of bool, [N]
        Whether the location's features are complete and may be used.
    tried : memory map of bool, [N]
        Whether the location has been looked at: done, or left out for good.
    location_ids : array of str, [N]
        Sorted.
    views : tuple of str
        Names of the views.
    backbone : str
        What made the features.
    attributes : dict of str
        All attributes of the file, lists and rules as JSON text.
    """

    def __init__(self, path: Path, writable: bool) -> None:
        self.path = path
        with _opened(path) as file:
            self.attributes = _checked_attributes(path, file)
            ids = file["location_id"].asstr()[:]
            self.location_ids: npt.NDArray[np.str_] = np.array(ids, dtype=str)
            self.views: tuple[str, ...] = tuple(json.loads(self.attributes["views"]))
            shape = _shape(path, file, len(self.location_ids), len(self.views))
            maps = {
                name: _mapped(path, file, name, shape[:dimensions], kind, writable)
                for name, dimensions, kind in _MAPPED
            }
        self._index = pd.Index(self.location_ids)
        if not self._index.is_unique:
            raise InputError(path, "a location stands in it twice", _ANEW)
        self.backbone = self.attributes["backbone"]
        self.features: npt.NDArray[np.float32] = maps["features"]
        self.present: npt.NDArray[np.bool_] = maps["present"]
        self.done: npt.NDArray[np.bool_] = maps["done"]
        self.tried: npt.NDArray[np.bool_] = maps["tried"]

    @classmethod
    def create(
        cls,
        path: Path,
        location_ids: Iterable[str],
        views: Sequence[str],
        dimension: int,
        attributes: Mapping[str, str],
    ) -> FeatureStore:
        """Make an empty store in the place of whatever is at ``path``, and open it for writing.

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
            ``backbone``, ``weights_sha256``, ``transform`` (JSON), ``stamp``, ``licence``; those
            not given are empty.

        Raises
        ------
        InputError
            If there is no location, one stands there twice, or an attribute is not known.
        """
        ids = [str(location) for location in location_ids]
        if not ids or not views or dimension < 1:
            raise InputError(path, "there is nothing to keep", "give locations, views, features")
        if not all(ids):
            raise InputError(path, "a location has no id", "give each location one")
        if len(set(ids)) < len(ids):
            raise InputError(path, "a location is given twice", "give each location once")
        if unknown := sorted(set(attributes) - set(_TEXTS)):
            raise InputError(path, f"no store has attribute {unknown[0]!r}")
        shape = (len(ids), len(views), dimension)
        with atomic_path(path) as temporary, _new_file(temporary) as file:
            for name, dimensions, kind in _MAPPED:
                _allocate(file, name, shape[:dimensions], kind)
            encoded = [location.encode() for location in ids]
            text = h5py.string_dtype("utf-8", max(map(len, encoded)))
            file.create_dataset("location_id", data=np.array(encoded, dtype=text))
            file.attrs["format"] = FORMAT
            file.attrs["format_version"] = FORMAT_VERSION
            file.attrs["code_version"] = streetgauge.__version__
            file.attrs["dtype"] = "float32"
            file.attrs["views"] = json.dumps([str(view) for view in views])
            for name in _TEXTS:
                file.attrs[name] = attributes.get(name, "")
        return cls(path, writable=True)

    @classmethod
    def open(cls, path: Path, *, writable: bool = False) -> FeatureStore:
        """Open a store.

        Raises
        ------
        InputError
            If the file is no feature store, of a newer format, or damaged.
        """
        return cls(Path(path), writable)

    def write(
        self,
        slots: npt.ArrayLike,
        features: npt.NDArray[np.float32],
        present: npt.NDArray[np.bool_],
        done: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Write the features of some slots: first these to disk, then that they are done.

        Parameters
        ----------
        slots : array of int, [n]
            Positions of the locations in the store.
        features : array of float32, [n, V, D]
            Anything where a view is not present: zeros are written.
        present : array of bool, [n, V]
            Which views are there.
        done : array of bool, [n], optional
            Which locations may be used; all if not given. The others are only marked as tried.
        """
        slots = np.asarray(slots, dtype=np.intp)
        self.features[slots] = np.where(present[:, :, None], features, np.float32(0))
        self.present[slots] = present
        _flush(self.features, self.present)
        self.done[slots] = True if done is None else done
        _flush(self.done)
        self.tried[slots] = True
        _flush(self.tried)

    def rows(self, location_ids: Iterable[str]) -> npt.NDArray[np.intp]:
        """Positions of locations by their id; -1 where a location is absent or not done.

        Parameters
        ----------
        location_ids : iterable of str, [n]
            In any order, also repeated.

        Returns
        -------
        array of int, [n]
        """
        wanted = pd.Index(np.array(list(location_ids), dtype=str))
        rows = self._index.get_indexer(wanted)
        return np.where((rows >= 0) & self.done[rows], rows, -1)


def usable(present: npt.NDArray[np.bool_], require: str) -> npt.NDArray[np.bool_]:
    """Tell which locations have enough views: [N, V] -> [N]."""
    rule = np.logical_and if require == "all" else np.logical_or
    enough: npt.NDArray[np.bool_] = rule.reduce(present, axis=1)
    return enough


_ANEW = "remove it and make the features again"


def _new_file(path: Path) -> h5py.File:
    # 64: every dataset starts on a cache line, so that its map is aligned.
    return h5py.File(
        path, "w", libver=("earliest", "v110"), alignment_threshold=1, alignment_interval=64
    )


def _allocate(file: h5py.File, name: str, shape: tuple[int, ...], kind: np.dtype[Any]) -> None:
    """Make a contiguous dataset whose place in the file is fixed now."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    # A new file's unwritten bytes are zeros: gigabytes need not be written twice.
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)  # the same features, the same bytes
    h5py.h5d.create(
        file.id,
        name.encode(),
        h5py.h5t.py_create(kind, logical=True),
        h5py.h5s.create_simple(shape),
        properties,
    )


def _opened(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise InputError(path, "there is no such file", "make it: `streetgauge features`") from None
    except OSError as error:
        reason = "it is cut off" if "truncated" in str(error) else "this is no feature store"
        raise InputError(path, reason, _ANEW) from None


def _checked_attributes(path: Path, file: h5py.File) -> dict[str, str]:
    attributes = {name: str(value) for name, value in file.attrs.items()}
    if attributes.get("format") != FORMAT:
        raise InputError(path, "this is no feature store", "name a file under features/")
    version = attributes.get("format_version", "")
    if not version.isdecimal() or int(version) > FORMAT_VERSION:
        raise InputError(
            path,
            f"its format version is {version or 'missing'}, and streetgauge "
            f"{streetgauge.__version__} reads up to {FORMAT_VERSION}",
            "use a newer streetgauge",
        )
    absent = [name for name in ("views", *_TEXTS) if name not in attributes]
    absent += [name for name, *_ in (*_MAPPED, ("location_id",)) if name not in file]
    if absent:
        raise InputError(path, f"it lacks {absent[0]!r}", _ANEW)
    return attributes


def _shape(path: Path, file: h5py.File, n: int, views: int) -> tuple[int, ...]:
    shape: tuple[int, ...] = file["features"].shape
    if len(shape) != 3 or shape[:2] != (n, views):
        raise InputError(path, f"features {list(shape)} of {n} locations, {views} views", _ANEW)
    return shape


def _mapped(
    path: Path, file: h5py.File, name: str, shape: tuple[int, ...], kind: np.dtype[Any],
    writable: bool,
) -> Any:  # fmt: skip
    """Map a dataset's numbers, after a look that they are all in this very file."""
    own = isinstance(file.get(name, getlink=True), h5py.HardLink)
    dataset = file[name]
    offset = dataset.id.get_offset() if own and isinstance(dataset, h5py.Dataset) else None
    if offset is None or dataset.shape != shape or dataset.dtype != kind:
        raise InputError(path, f"{name!r} is not laid out as in a feature store", _ANEW)
    if offset + dataset.nbytes > path.stat().st_size:
        raise InputError(path, "it is cut off", _ANEW)
    return np.memmap(path, dtype=kind, mode="r+" if writable else "r", offset=offset, shape=shape)


def _flush(*maps: Any) -> None:
    for mapped in maps:
        mapped.flush()
