"""Batches of standardised features, from a memory-mapped store to where the network is.

Rows are picked by torch straight from the map into a buffer that fits the cache, standardised
there and rounded into one that every batch uses again: a batch costs a tenth of what the network
makes of it. What does not fit the memory budget is read window by window, each a handful of large
sequential blocks that are shuffled together in memory.
"""

from __future__ import annotations

import errno
import mmap
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streetgauge.errors import InputError, summary
from streetgauge.features.joint import Part

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]

TRAINING = "lower 'train.batch', 'train.memory' or 'train.ensemble_size'"
PREDICTING = "free some of it, or predict fewer locations at a time"
BLOCKS = 8  # sequential blocks in a window: more shuffle better, fewer read faster
GIB = 2**30
SAMPLE = 2048  # locations whose views determine the principal components
OVERSAMPLING = 16
POWERS = 3
# Locations that are scored at a time. Fixed, for how a product is blocked shows in its last bits.
BLOCK = 256
BLOCK_ON_COMPONENTS = 2048
CACHED = 2**20  # bytes of features that are worked on at a time: what a core's cache holds
HELD = 2**26  # bytes that small cities take, standardised once for all epochs
ENOUGH = 4_096  # locations that give mean and sd: four views of each, to a percent of an sd


# The messages of libraries that raise a RuntimeError: torch on CPU and MPS, cuBLAS, cuDNN; and
# oneDNN, which gives no reason. It has found before that it knows how ("a primitive descriptor").
_OUT_OF_MEMORY = re.compile(
    "can't allocate memory|cannot allocate memory|out of memory|alloc_failed"
    "|could not create a primitive(?! descriptor)",
    re.IGNORECASE,
)


class NonFiniteError(InputError):
    """A view that is there has a feature that is not a finite number.

    Parameters
    ----------
    row : int
        Of the features.
    where : str
        View and feature, counted from 1.
    value : float
        What is there.
    location : object, optional
        Key of the row.
    """

    def __init__(self, row: int, where: str, value: float, location: object = None) -> None:
        self.row, self.where, self.value = row, where, value
        of = "" if location is None else f" (location {str(location)!r})"
        super().__init__(
            f"features, row {row}{of}, {where}",
            f"{value} is not a finite number",
            "extract the features again, or mark the view as absent",
        )


@contextmanager
def located(location_ids: NDArray[Any]) -> Iterator[None]:
    """Name the location too, where a row is refused; ``location_ids`` are by row of the features.

    Raises
    ------
    NonFiniteError
    """
    try:
        yield
    except NonFiniteError as error:
        location = location_ids[error.row]
        raise NonFiniteError(error.row, error.where, error.value, location) from None


@dataclass(frozen=True)
class Standardisation:
    """Mean and standard deviation of every feature over the views of the training part.

    Parameters
    ----------
    mean, sd : array of float32, shape [D]
        A feature that never varies has sd 1. Of several sources they are [V, D]: each view's are
        those of its source.
    """

    mean: Floats
    sd: Floats

    @classmethod
    def of(cls, features: Floats, present: Flags, rows: Rows) -> Self:
        """Measure the views that are there, of the given rows, in the order given.

        Of more than `ENOUGH` rows as many, evenly spread, are used.

        Raises
        ------
        InputError
            Naming a row, if a view that is there has a feature that is not a finite number.
        """
        rows = subsample(rows, ENOUGH)
        dimension = features.shape[2]
        count, total, square = 0, np.zeros(dimension), np.zeros(dimension)
        near = torch.zeros(dimension)
        step = max(1, CACHED // features[0].nbytes)
        for part in (rows[start : start + step] for start in range(0, len(rows), step)):
            read, there = np.asarray(features[part], np.float32), present[part]
            seen = torch.from_numpy(read.reshape(-1, dimension) if there.all() else read[there])
            # Sums of deviations from the first block's mean are exact enough in float32.
            near = near if count else seen.mean(0)
            away = seen - near
            total += away.sum(0).double().numpy()
            square += (away * away).sum(0).double().numpy()
            if not np.isfinite(square).all():
                refuse_non_finite(read, there, part)
            count += len(seen)
        mean = total / count
        square = np.maximum(square - count * mean**2, 0)
        mean += near.double().numpy()
        sd = np.sqrt(square / count)
        sd[sd <= 1e-6 * np.abs(mean) + 1e-30] = 1.0  # constant, but for rounding
        return cls(mean.astype(np.float32), sd.astype(np.float32))

    @classmethod
    def of_parts(
        cls, features: Floats, present: Flags, rows: Rows, parts: Sequence[Part] = ()
    ) -> Self:
        """Measure each of several sources by itself; without any, as `of` does."""
        if not parts:
            return cls.of(features, present, rows)
        mean = np.zeros(features.shape[1:], np.float32)
        sd = np.ones_like(mean)
        for part in parts:
            there = present[:, part.views]
            here = rows[there[rows].any(axis=1)]
            if len(here):
                own = cls.of(features[:, part.views, : part.dimension], there, here)
                mean[part.views, : part.dimension] = own.mean
                sd[part.views, : part.dimension] = own.sd
        return cls(mean, sd)

    def seen(self, parts: Sequence[Part]) -> NDArray[np.bool_]:
        """Tell which views are of a source that any location had when it was measured: [V]."""
        found = np.ones(len(self.mean), np.bool_)
        for part in parts:
            found[part.views] = self.mean[part.views].any()
        return found

    def weighted(self, parts: Sequence[Part], weights: Mapping[str, float]) -> Self:
        """Give each of several sources a standard deviation of its weight, not of 1."""
        sd = self.sd.copy()
        for part in parts:
            sd[part.views] /= weights[part.name]
        return replace(self, sd=sd)


@dataclass(frozen=True)
class Batch:
    """Locations of one step: ``views`` [B, V, D], and which are ``present`` [B, V] (None: all)."""

    rows: Rows
    views: Tensor
    present: Tensor | None


class Reader:
    """Standardised features of the rows of a store.

    Parameters
    ----------
    features : array of float16 or float32, shape [N, V, D]
        May be a memory map.
    present : array of bool, shape [N, V]
        Which views are there.
    scale : Standardisation, optional
        What the network expects; None if the features are standardised already.
    device : torch.device
        Where batches go.
    dtype : torch.dtype
        What batches are rounded to.
    memory : float
        GiB that features may take: more are read window by window.
    sharing : int
        Readers that share the memory: what is mapped is there once for all of them, but each has
        windows of its own.
    keys : array of int64, optional
        Sorted rows that `features` holds, if it does not hold all.
    """

    def __init__(
        self,
        features: NDArray[Any] | Tensor,
        present: Flags,
        scale: Standardisation | None,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        memory: float = np.inf,
        keys: Rows | None = None,
        sharing: int = 1,
    ) -> None:
        self.source, self.present = features, present
        # Where a row is held, by the row: -1, which is not a position, of those that are not.
        self.positions: NDArray[np.int32] | None = None
        if keys is not None:
            self.positions = np.full(keys[-1] + 1 if len(keys) else 0, -1, np.int32)
            self.positions[keys] = np.arange(len(keys), dtype=np.int32)
        # Of the features themselves. Not itself: a window in a cycle would outlive its turn.
        self.origin: Reader | None = None
        self.scale, self.device, self.dtype = scale, device, dtype
        self.memory, self.sharing = memory, sharing
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a map for reading: it is never written
            self.features = torch.as_tensor(features)
        if scale is not None:
            inverse = 1 / torch.from_numpy(scale.sd)
            self.shift = (-torch.from_numpy(scale.mean) * inverse).to(device)
            self.inverse = inverse.to(device)
        self.block = BLOCK
        self._buffers: dict[str, Tensor] = {}

    def batch(self, rows: Rows) -> Batch:
        """Give these rows, in this order; the tensors are valid until the next batch."""
        positions = torch.from_numpy(rows if self.positions is None else self.positions[rows])
        views = self._buffer("views", (len(rows), *self.features.shape[1:]), self.dtype)
        each = self.features[0].numel() * self.features.element_size()
        step = len(rows) if self.device.type != "cpu" else max(1, CACHED // each)
        for start in range(0, len(rows), step):
            self._standardise(positions[start : start + step], views[start : start + step])
        there = self.present.take(rows, axis=0)
        return Batch(rows, views, None if there.all() else torch.from_numpy(there).to(self.device))

    def epoch(
        self, rows: Rows, size: int, order: np.random.Generator, *, windowed: bool = False
    ) -> Iterator[Batch]:
        """Give every row once, in an order by chance, in batches of nearly equal size.

        ``windowed``: the rows are part of what does not fit the memory, and leave no pages behind.
        """
        windows = self.windows(rows)
        if windows == 1 and not windowed:
            for part in batches(rows, size, order):
                yield self.batch(part)
            return
        blocks = np.array_split(np.sort(rows), BLOCKS * windows)
        shuffled = order.permutation(len(blocks))
        for first in range(0, len(blocks), BLOCKS):
            picked = [blocks[i] for i in np.sort(shuffled[first : first + BLOCKS])]
            window = self._window(np.concatenate(picked))
            for part in batches(np.concatenate(picked), size, order):
                yield window.batch(part)
            del window  # before the next is read

    def shuffled(self, rows: Rows, parts: int, order: np.random.Generator) -> list[Rows]:
        """Deal the rows by chance to so many parts: one by one, or in blocks if read in windows."""
        windows = self.windows(rows)
        if parts == 1:
            return [rows]
        if windows == 1:
            return np.array_split(order.permutation(rows), parts)
        blocks = np.array_split(np.sort(rows), BLOCKS * max(windows, parts))
        shuffled = np.array_split(order.permutation(len(blocks)), parts)
        return [np.concatenate([blocks[i] for i in np.sort(part)]) for part in shuffled]

    def parts(self, rows: Rows, size: int) -> Iterator[Batch]:
        """Give the rows in their order, so many at a time."""
        for start in range(0, len(rows), size):
            yield self.batch(rows[start : start + size])
        if self.windows(rows) > 1:
            forget_pages(self.source)

    def projected(self, rows: Rows, basis: Tensor) -> Reader:
        """Hold these rows in memory, projected on a basis [D, C]; see `compression`."""
        rows = np.sort(rows)
        basis = basis.to(self.device, self.dtype)
        held = torch.empty(len(rows), self.features.shape[1], basis.shape[1], dtype=self.dtype)
        blocks = iter(torch.split(held, BLOCK))
        with torch.inference_mode():
            for part in self.parts(rows, BLOCK):
                next(blocks).copy_(part.views @ basis)
        reader = Reader(held, self.present, None, self.device, self.dtype, keys=rows)
        reader.origin, reader.block = self, BLOCK_ON_COMPONENTS
        return reader

    def held(self, rows: Rows) -> Reader:
        """Hold these rows in memory, standardised, where they are few; itself of many."""
        size = len(rows) * self.features[0].numel() * self.dtype.itemsize
        if size > HELD or self.windows(rows) > 1:
            return self
        rows = np.sort(rows)
        views = torch.cat([part.views.clone() for part in self.parts(rows, BLOCK)])
        reader = Reader(views, self.present, None, self.device, self.dtype, keys=rows)
        reader.origin = self
        return reader

    def windows(self, rows: Rows) -> int:
        """In how many windows these rows fit the memory, though no fewer than a row a block."""
        each = self.features[0].numel() * self.features.element_size()
        needed = len(rows) * each / (self.memory * GIB)
        if needed <= 1:
            return 1
        return max(1, min(int(np.ceil(needed * self.sharing)), len(rows) // BLOCKS))

    def _window(self, rows: Rows) -> Reader:
        """Read sorted rows at once, in the order of the file, and let go of the file's pages."""
        read = np.asarray(self.source[rows])
        forget_pages(self.source)
        return Reader(read, self.present, self.scale, self.device, self.dtype, keys=rows)

    def _standardise(self, positions: Tensor, views: Tensor) -> None:
        """Standardise these rows of the features into `views`."""
        if self.scale is None and (self.features.dtype, self.features.device) == (
            views.dtype,
            views.device,
        ):
            torch.index_select(self.features, 0, positions, out=views)
            return
        shape = (len(positions), *self.features.shape[1:])
        read = self._buffer("read", shape, self.features.dtype, torch.device("cpu"))
        torch.index_select(self.features, 0, positions, out=read)
        moved = read.to(self.device, non_blocking=True).float()
        if self.scale is not None:
            torch.addcmul(self.shift, moved, self.inverse, out=moved)
        views.copy_(moved)

    def refuse_non_finite(self, rows: Rows) -> None:
        """Find what makes a network's numbers none.

        Raises
        ------
        InputError
            Naming the first row with a feature that is not a finite number, if there is one.
        """
        own = self.origin or self
        for start in range(0, len(rows), 256):
            part = rows[start : start + 256]
            positions = part if own.positions is None else own.positions[part]
            refuse_non_finite(np.asarray(own.source[positions]), own.present[part], part)

    def _buffer(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device | None = None,
    ) -> Tensor:
        device = device or self.device
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < shape[0]:
            pinned = device.type == "cpu" and self.device.type == "cuda"
            with torch.inference_mode(False):  # it is used for training as well
                buffer = torch.empty(shape, dtype=dtype, device=device, pin_memory=pinned)
            self._buffers[name] = buffer
        return buffer[: shape[0]]


def principal_components(reader: Reader, training: Rows, components: int, seed: int) -> Tensor:
    """Find the directions in which standardised views of the training part vary most.

    Parameters
    ----------
    reader : Reader
        Of all rows.
    training : array of int64
        Only these are used, a sample of them if they are many.
    components : int
        C.
    seed : int
        Of the sample, and of the randomised decomposition (Halko, Martinsson and Tropp 2011).

    Returns
    -------
    Tensor of float32, shape [D, C]
        Orthonormal columns times one factor, that gives the projected features a mean square of 1.

    Raises
    ------
    InputError
        If there are no more features than components.
    """
    dimension = reader.features.shape[2]
    if components >= dimension:
        raise InputError(
            "train.components",
            f"{components} components of {dimension} features compress nothing",
            f"use fewer than {dimension}, or remove the setting",
        )
    chance = np.random.default_rng(seed)
    sample = np.sort(chance.permutation(training)[:SAMPLE])
    parts = (
        part.views.flatten(0, 1).clone() if part.present is None else part.views[part.present]
        for part in reader.parts(sample, 256)
    )
    seen = torch.cat(list(parts))  # [views that are there, D]
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(dimension, min(components + OVERSAMPLING, dimension), generator=generator)
    basis = torch.linalg.qr(start).Q.to(seen.device)
    for _ in range(POWERS):  # subspace iteration on the covariance
        turned = seen @ basis.to(seen.dtype)
        if not turned.isfinite().all():  # one feature that is not a number spoils all of its row
            reader.refuse_non_finite(sample)
        basis = torch.linalg.qr((seen.T @ turned).float()).Q
    projected = (seen @ basis.to(seen.dtype)).float()
    values, vectors = torch.linalg.eigh((projected.T @ projected).cpu())
    largest = basis.cpu() @ vectors[:, -components:].flip(1)
    spread = (values[-components:].clamp(min=0).sum() / (len(seen) * components)).sqrt()
    scaled: Tensor = largest / spread.clamp(min=1e-12)
    return scaled


def subsample(rows: Rows, most: int) -> Rows:
    """Give at most so many of the rows, evenly spread over them."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def batches(rows: Rows, size: int, order: np.random.Generator) -> Iterator[Rows]:
    """Deal the rows, in an order by chance, to batches of nearly equal size, none above `size`."""
    yield from np.array_split(order.permutation(rows), -(-len(rows) // size))


def forget_pages(array: NDArray[Any] | Tensor) -> None:
    """Tell the system that the pages of a memory map that were read need not stay in memory."""
    owner: Any = array
    while owner is not None:
        mapped = getattr(owner, "_mmap", None)
        if mapped is not None:
            # What a copy-on-write map was changed to is in its pages alone.
            if getattr(owner, "mode", "c") == "r" and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)
            return
        owner = getattr(owner, "base", None)


def refuse_non_finite(read: Floats, there: Flags, rows: Rows) -> None:
    """Refuse features [B, V, D] of rows [B] if a view that is there has one that is not finite.

    Raises
    ------
    NonFiniteError
        Naming the first of them.
    """
    wrong = ~np.isfinite(read) & there[:, :, np.newaxis]
    if not wrong.any():
        return
    at, view, feature = (int(i[0]) for i in np.nonzero(wrong))
    where = f"view {view + 1}, feature {feature + 1}"
    raise NonFiniteError(int(rows[at]), where, float(read[at, view, feature]))


@contextmanager
def enough_memory(step: str) -> Iterator[None]:
    """Report that memory does not suffice, whoever noticed it; also a decorator.

    Parameters
    ----------
    step : str
        What to do about it: `LEARNING` or `PREDICTING`.

    Raises
    ------
    InputError
        Instead of a MemoryError, of torch's own and of the system's.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not _is_of_memory(error):
            raise
        found = f"it does not suffice ({summary(error)})" if str(error) else "it does not suffice"
        raise InputError("memory", found, step) from None


def _is_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch.OutOfMemoryError is a RuntimeError with this message.
    return _OUT_OF_MEMORY.search(str(error)) is not None
