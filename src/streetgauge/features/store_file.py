"""How a feature store lies in its HDF5 file: made whole at once, and checked when opened."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
    "checksum": ((0, 1), np.dtype("<u4")),
    "mark_checksum": ((0,), np.dtype("<u4")),
}
TEXTS = (
    *("backbone", "weights_sha256", "transform", "cache_key", "licence"),
    *("engine", "device", "precision", "cosine", "exact_layers"),
)

# What to do about a file that cannot be used.
ANEW = "make it again with `streetgauge features STUDY --force`"

_MAGIC = b"\x89HDF\r\n\x1a\n"  # the byte after it is the version of the file's structure
_LONGEST = 2**24  # bytes of an attribute

# What h5py raises of a file whose records are damaged, whichever of them.
_DAMAGED = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, MemoryError)


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
        file.attrs["format_version"] = STORE_VERSION
        about = {name: attributes.get(name, "") for name in TEXTS}
        about |= {"format": FORMAT, "code_version": __version__, "dtype": dtype}
        about["views"] = json.dumps([str(view) for view in views])
        for name, value in about.items():
            put_text(file, name, value)


def put_text(file: h5py.File, name: str, value: str) -> None:
    """Write an attribute as a text of fixed length.

    Texts of any length lie in a heap that has no checksum, and in which HDF5 can search for ever.
    """
    encoded = value.encode()
    kind = h5py.string_dtype("utf-8", max(len(encoded), 1))
    file.attrs.create(name, np.array(encoded, kind), dtype=kind)


def _new_file(path: Path) -> h5py.File:
    # v108: from this version on HDF5 has checksums of its own records and refuses damaged ones.
    # 64: every dataset starts on a cache line, so that its map is aligned.
    return h5py.File(
        path, "w", libver=("v108", "v110"), alignment_threshold=1, alignment_interval=64
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


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading; whatever of its records cannot be read is one sentence.

    Raises
    ------
    InputError
    """
    if path.exists() and not path.is_file():  # a pipe, of which reading would never end
        raise InputError(path, "this is not a feature store", "name a file under features/")
    try:
        with path.open("rb") as start:
            begins = start.read(9)
        if begins[:8] == _MAGIC and begins[8:] < b"\x02":  # without checksums of its own records
            raise InputError(path, "this is not a feature store of this version", ANEW)
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise InputError(path, "there is no such file", "make it: `streetgauge features`") from None
    except _DAMAGED as error:
        reason = "it is cut off" if "truncated" in str(error) else "this is not a feature store"
        raise InputError(path, reason, ANEW) from None
    try:
        with file:
            yield file
    except _DAMAGED:
        raise InputError(path, "its HDF5 records are damaged", ANEW) from None


def checked_attributes(path: Path, file: h5py.File) -> dict[str, str]:
    """Read a store's attributes, once it is clear that they are those of a store."""
    attributes = {name: text_attribute(file, name) for name in sorted(file.attrs)}
    if attributes.get("format") != FORMAT:
        raise InputError(path, "this is not a feature store", "name a file under features/")
    version = attributes.get("format_version", "")
    require_version(path, int(version) if version.isdecimal() else version, STORE_VERSION)
    absent = [name for name in ("views", "dtype", *TEXTS) if name not in attributes]
    absent += [name for name in (*sorted(LAYOUT), "location_id") if not _is_own(path, file, name)]
    if absent:
        raise InputError(path, f"it lacks {absent[0]!r}", ANEW)
    if attributes["dtype"] not in ("float32", "float16"):
        raise InputError(path, f"features of type {attributes['dtype']!r} are not known", ANEW)
    return attributes


def text_attribute(file: h5py.File, name: str) -> str:
    """Read an attribute that is one text of fixed length, or one number; "" of any other."""
    if name not in file.attrs:
        return ""
    about = file.attrs.get_id(name)
    if about.shape != () or about.dtype.kind not in "Siuf" or about.dtype.itemsize > _LONGEST:
        return ""
    value = file.attrs[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def _is_own(path: Path, file: h5py.File, name: str) -> bool:
    """Whether a name is there; refuse a link, which is not followed: it may lead to a pipe."""
    links = file.id.links
    if not links.exists(name.encode()):
        return False
    if links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise _laid_out_otherwise(path, name)
    return True


def _laid_out_otherwise(path: Path, name: str) -> InputError:
    return InputError(path, f"{name!r} is not laid out as in a feature store", ANEW)


def ids_of(path: Path, file: h5py.File) -> npt.NDArray[np.str_]:
    """Read the locations' ids, which must stand in this very file."""
    dataset, _ = _whole(path, file, "location_id")
    text = h5py.check_string_dtype(dataset.dtype)
    if dataset.ndim != 1 or text is None or text.length is None:
        raise _laid_out_otherwise(path, "location_id")
    try:
        return np.array(dataset.asstr()[:], dtype=str)
    except (OSError, UnicodeDecodeError):
        raise InputError(path, "its locations' ids cannot be read", ANEW) from None


def _whole(path: Path, file: h5py.File, name: str) -> tuple[h5py.Dataset, int]:
    """Give a dataset whose bytes are all in one piece of this very file, and where they begin."""
    dataset = file[name] if _is_own(path, file, name) else None
    offset = dataset.id.get_offset() if isinstance(dataset, h5py.Dataset) else None
    if dataset is None or offset is None or dataset.dtype.itemsize == 0:
        raise _laid_out_otherwise(path, name)
    if offset + prod(dataset.shape) * dataset.dtype.itemsize > path.stat().st_size:
        raise InputError(path, "it is cut off", ANEW)
    return dataset, offset


def views_of(path: Path, attributes: Mapping[str, str]) -> tuple[str, ...]:
    """Read the names of the views."""
    try:
        views = json.loads(attributes["views"])
    except (ValueError, RecursionError):
        views = None
    named = isinstance(views, list) and all(isinstance(view, str) for view in views)
    if not named or len(set(views)) < len(views):
        raise InputError(path, "its attribute 'views' is not a list of names", ANEW)
    return tuple(views)


def sizes_of(path: Path, file: h5py.File, n: int, views: int) -> tuple[int, ...]:
    """Give the lengths of the axes of `LAYOUT`, after a check against locations and views."""
    features = file["features"]
    shape: tuple[int, ...] = features.shape if isinstance(features, h5py.Dataset) else ()
    if len(shape) != 3 or shape[:2] != (n, views):
        raise InputError(path, f"features {list(shape)} of {n} locations, {views} views", ANEW)
    return (*shape, SIGNATURE)


def mapped(
    path: Path, file: h5py.File, name: str, shape: tuple[int, ...], kind: np.dtype[Any]
) -> Any:
    """Map a dataset's numbers, once it is clear that all are in this very file."""
    dataset, offset = _whole(path, file, name)
    if dataset.shape != shape or dataset.dtype != kind:
        raise _laid_out_otherwise(path, name)
    try:
        return np.memmap(path, dtype=kind, mode="r", offset=offset, shape=shape)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        size = prod(shape) * kind.itemsize / 2**30
        found = f"this process may not address its {size:,.1f} GiB of {name}"
        step = "raise the limit (`ulimit -v`): memory need not hold them, they are read in parts"
        raise InputError(path, found, step) from None
