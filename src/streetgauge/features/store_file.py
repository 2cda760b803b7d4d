"""How a feature store lies in its HDF5 file: made whole at once, and checked when opened."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt

from streetgauge.errors import InputError
from streetgauge.imagery import QUALITY
from streetgauge.io.formats import STORE_VERSION, require_version
from streetgauge.version import __version__

__all__ = [
    *("ANEW", "FORMAT", "LAYOUT", "SIGNATURE", "TEXTS", "Dtype"),
    *("checked_attributes", "ids_of", "lay_out", "mapped", "opened", "require_room", "reserve"),
    *("sizes_of", "views_of"),
]

FORMAT = "streetgauge-features"
SIGNATURE = 16  # bytes
Dtype = Literal["float32", "float16"]

# Datasets by name: which of (N, V, D, SIGNATURE) are their axes, and their type; None: the store's.
LAYOUT: dict[str, tuple[tuple[int, ...], np.dtype[Any] | None]] = {
    "features": ((0, 1, 2), None),
    "present": ((0, 1), np.dtype(bool)),
    "done": ((0,), np.dtype(bool)),
    "attempted": ((0,), np.dtype(bool)),
    "signature": ((0, 1, 3), np.dtype("u1")),
    "quality": ((0, 1), QUALITY),
}
TEXTS = (
    *("backbone", "weights_sha256", "transform", "cache_key", "licence"),
    *("engine", "device", "precision", "cosine", "exact_layers"),
)

# What to do about a file that cannot be used.
ANEW = "remove it and make the features again"


def lay_out(
    path: Path,
    ids: list[str],
    views: Sequence[str],
    dimension: int,
    attributes: Mapping[str, str],
    dtype: Dtype,
) -> None:
    """Write a file with all of its structure and none of its numbers."""
    sizes = (len(ids), len(views), dimension, SIGNATURE)
    with _new_file(path) as file:
        for name, (axes, kind) in LAYOUT.items():
            shape = tuple(sizes[axis] for axis in axes)
            _allocate(file, name, shape, kind or np.dtype(dtype).newbyteorder("<"))
        encoded = [location.encode() for location in ids]
        text = h5py.string_dtype("utf-8", max(map(len, encoded)))
        file.create_dataset("location_id", data=np.array(encoded, dtype=text))
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = STORE_VERSION
        file.attrs["code_version"] = __version__
        file.attrs["dtype"] = dtype
        file.attrs["views"] = json.dumps([str(view) for view in views])
        for name in TEXTS:
            file.attrs[name] = attributes.get(name, "")


def _new_file(path: Path) -> h5py.File:
    # 64: every dataset starts on a cache line, so that its map is aligned.
    return h5py.File(
        path, "w", libver=("earliest", "v110"), alignment_threshold=1, alignment_interval=64
    )


def _allocate(file: h5py.File, name: str, shape: tuple[int, ...], kind: np.dtype[Any]) -> None:
    """Make a contiguous dataset whose position in the file is fixed now."""
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


def require_room(path: Path, ids: list[str], views: int, dimension: int, dtype: Dtype) -> None:
    """Refuse a store that is larger than what the disk has left.

    Raises
    ------
    OSError
        ENOSPC.
    """
    sizes = (len(ids), views, dimension, SIGNATURE)
    kinds = ((axes, kind or np.dtype(dtype)) for axes, kind in LAYOUT.values())
    size = sum(prod(sizes[axis] for axis in axes) * kind.itemsize for axes, kind in kinds)
    size += len(ids) * max(len(location.encode()) for location in ids)
    if size > shutil.disk_usage(path.parent).free:
        raise _no_room(path, size, errno.ENOSPC)


def reserve(temporary: Path, path: Path) -> None:
    """Take the room that the file will need now: a full disk is reported before hours of work.

    Raises
    ------
    OSError
        ENOSPC, or EDQUOT: the user may not have so much.
    """
    size = temporary.stat().st_size
    with temporary.open("r+b") as handle:
        try:
            os.posix_fallocate(handle.fileno(), 0, size)
        except AttributeError:  # macOS, Windows
            pass
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                return  # this file system takes no reservations
            raise _no_room(path, size, error.errno or errno.ENOSPC) from None


def _no_room(path: Path, size: int, number: int) -> OSError:
    free = 0
    with suppress(OSError):
        free = shutil.disk_usage(path.parent).free
    sizes = f"it takes {size / 1e6:,.1f} MB and {free / 1e6:,.1f} MB are free"
    step = "make room, what was there is untouched"
    return OSError(number, f"{os.strerror(number)}: {sizes}; {step}", str(path))


def opened(path: Path) -> h5py.File:
    if path.exists() and not path.is_file():  # a pipe, of which reading would never end
        raise InputError(path, "this is no feature store", "name a file under features/")
    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise InputError(path, "there is no such file", "make it: `streetgauge features`") from None
    except OSError as error:
        reason = "it is cut off" if "truncated" in str(error) else "this is no feature store"
        raise InputError(path, reason, ANEW) from None


def checked_attributes(path: Path, file: h5py.File) -> dict[str, str]:
    attributes = {name: str(value) for name, value in file.attrs.items()}
    if attributes.get("format") != FORMAT:
        raise InputError(path, "this is no feature store", "name a file under features/")
    version = attributes.get("format_version", "")
    require_version(path, int(version) if version.isdecimal() else version, STORE_VERSION)
    absent = [name for name in ("views", "dtype", *TEXTS) if name not in attributes]
    absent += [name for name in (*sorted(LAYOUT), "location_id") if not _is_own(path, file, name)]
    if absent:
        raise InputError(path, f"it lacks {absent[0]!r}", ANEW)
    if attributes["dtype"] not in ("float32", "float16"):
        raise InputError(path, f"features of type {attributes['dtype']!r} are not known", ANEW)
    return dict(sorted(attributes.items()))


def _is_own(path: Path, file: h5py.File, name: str) -> bool:
    """Whether a name is there; refuse a link, which is not followed: it may lead to a pipe."""
    links = file.id.links
    if not links.exists(name.encode()):
        return False
    if links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise InputError(path, f"{name!r} is not laid out as in a feature store", ANEW)
    return True


def ids_of(path: Path, file: h5py.File) -> npt.NDArray[np.str_]:
    """Read the locations' ids, which must stand in this very file."""
    own = isinstance(file.get("location_id", getlink=True), h5py.HardLink)
    dataset = file["location_id"] if own else None
    if (
        not isinstance(dataset, h5py.Dataset)
        or dataset.ndim != 1
        or dataset.external
        or dataset.is_virtual
        or h5py.check_string_dtype(dataset.dtype) is None
    ):
        raise InputError(path, "'location_id' is not laid out as in a feature store", ANEW)
    try:
        return np.array(dataset.asstr()[:], dtype=str)
    except (OSError, UnicodeDecodeError):
        raise InputError(path, "its locations' ids cannot be read", ANEW) from None


def views_of(path: Path, attributes: Mapping[str, str]) -> tuple[str, ...]:
    """Read the names of the views."""
    try:
        views = json.loads(attributes["views"])
    except (ValueError, RecursionError):
        views = None
    named = isinstance(views, list) and all(isinstance(view, str) for view in views)
    if not named or len(set(views)) < len(views):
        raise InputError(path, "its attribute 'views' is no list of names", ANEW)
    return tuple(views)


def sizes_of(path: Path, file: h5py.File, n: int, views: int) -> tuple[int, ...]:
    features = file["features"]
    shape: tuple[int, ...] = features.shape if isinstance(features, h5py.Dataset) else ()
    if len(shape) != 3 or shape[:2] != (n, views):
        raise InputError(path, f"features {list(shape)} of {n} locations, {views} views", ANEW)
    return (*shape, SIGNATURE)


def mapped(
    path: Path, file: h5py.File, name: str, shape: tuple[int, ...], kind: np.dtype[Any]
) -> Any:
    """Map a dataset's numbers, once it is clear that all are in this very file."""
    own = isinstance(file.get(name, getlink=True), h5py.HardLink)
    dataset = file[name]
    offset = dataset.id.get_offset() if own and isinstance(dataset, h5py.Dataset) else None
    if offset is None or dataset.shape != shape or dataset.dtype != kind:
        raise InputError(path, f"{name!r} is not laid out as in a feature store", ANEW)
    if offset + dataset.nbytes > path.stat().st_size:
        raise InputError(path, "it is cut off", ANEW)
    return np.memmap(path, dtype=kind, mode="r", offset=offset, shape=shape)
