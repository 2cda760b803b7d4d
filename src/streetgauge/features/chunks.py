"""Many images, a chunk at a time on all cores, in order and within a bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from streetgauge.features.backbones import Backbone
from streetgauge.features.extraction import Positions, WorkList
from streetgauge.features.network import FrozenNetwork
from streetgauge.features.preprocess import (
    DecodedBatch,
    Raw,
    preprocess_batch,
    signatures_of,
)
from streetgauge.imagery import QUALITY, ImageSource, raw_images

T = TypeVar("T")
Pixels = npt.NDArray[np.uint8]
Rows = list[ImageSource]
Job = Callable[[Rows, list[Raw] | None], "Future[T]"]

# Chunks that may be under way or waiting to be written, a core: bounds the memory.
AHEAD = 2
# Every engine's pass through the network divides it: a batch is filled up to a multiple of it, so
# that every pass is of the same shape and takes the same way through the same instructions.
PASS = 8
# Why an image is excluded whose features are not numbers to compute with.
NOT_FINITE = "the network gave no finite number"
# Batches that a GPU has in hand: one is copied to it while the other is computed.
ON_GPU = 2


class Computed(NamedTuple):
    """What a chunk of n images has become: see `DecodedBatch`; features [n, D]."""

    reasons: list[str | None]
    signatures: npt.NDArray[np.uint8]
    quality: npt.NDArray[np.void]
    features: npt.NDArray[np.float32]


def in_chunks(
    work_list: WorkList, positions: Positions, size: int, pool: ThreadPoolExecutor, job: Job[T]
) -> Iterator[tuple[Positions, T]]:
    """Do a job on images, so many at a time; give the results in order.

    Plain files are read by whoever does the job. Archives are streams: they are read here, in one
    pass, while earlier chunks are worked on.

    Parameters
    ----------
    work_list : WorkList
        Where images are.
    positions : array of int
        Which of its images.
    size : int
        Images in a chunk.
    pool : ThreadPoolExecutor
        What works on them: how many at once.
    job : callable
        Begins the work on a chunk: where its images are, and their files if they are read here.
    """
    waiting: deque[tuple[Positions, Future[T]]] = deque()
    stream = raw_images(_streamed(work_list, positions, size))
    for part in _parts(positions, size):
        rows = work_list.rows(part)
        raws = list(islice(stream, len(rows))) if work_list.streamed[part].any() else None
        waiting.append((part, job(rows, raws)))
        del raws
        if len(waiting) > AHEAD * pool._max_workers:
            first, future = waiting.popleft()
            yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()


def preprocessing(pool: Executor, backbone: Backbone) -> Job[DecodedBatch]:
    """Give the job of decoding images."""
    return lambda rows, raws: pool.submit(_decode, rows, raws, backbone)


def signed(pool: Executor) -> Job[npt.NDArray[np.uint8]]:
    """Give the job of reading images for their content's fingerprints."""
    return lambda rows, raws: pool.submit(lambda: signatures_of(rows, _files_of(rows, raws)))


@contextmanager
def computing(pool: Executor, network: FrozenNetwork) -> Iterator[Job[Computed]]:
    """Give the job of turning images into features.

    On a CPU each core takes a chunk from the files to the features: none waits for another, and
    decoding and computing share the cores as they need them. Two threads feed a GPU, one
    copying while the other computes; the cores decode for them into pinned memory.
    """
    if network.device == "cpu":
        yield lambda rows, raws: pool.submit(_compute, rows, raws, network)
        return
    buffer = _pinned if network.device == "cuda" else None
    with ThreadPoolExecutor(ON_GPU, thread_name_prefix="streetgauge-gpu") as feeders:

        def job(rows: Rows, raws: list[Raw] | None) -> Future[Computed]:
            decoding = pool.submit(partial(_decode, rows, raws, network.backbone, buffer))
            return feeders.submit(_on_gpu, decoding, network)

        yield job


def _compute(rows: Rows, raws: list[Raw] | None, network: FrozenNetwork) -> Computed:
    return compute_batch(network, _decode(rows, raws, network.backbone))


def _on_gpu(decoding: Future[DecodedBatch], network: FrozenNetwork) -> Computed:
    decoded = decoding.result()
    if network.device != "cuda":
        return compute_batch(network, decoded)
    with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
        return compute_batch(network, decoded)


def compute_batch(network: FrozenNetwork, decoded: DecodedBatch) -> Computed:
    """Turn a batch of decoded images into features."""
    features = np.zeros((len(decoded.pixels), network.backbone.dimension), dtype=np.float32)
    whole = decoded.whole
    if whole.any():
        pixels = decoded.pixels if whole.all() else decoded.pixels[whole]
        features[whole] = features_of(network, pixels)
    decoded, features = finite(decoded, features)
    return Computed(decoded.reasons, decoded.signatures, decoded.quality, features)


def features_of(network: FrozenNetwork, pixels: Pixels) -> npt.NDArray[np.float32]:
    """Features of prepared images: uint8 [n, crop, crop, 3] -> float32 [n, D]."""
    step = PASS if network.device == "cpu" else network.batch
    short = -len(pixels) % step
    if short:
        pixels = np.concatenate([pixels, np.zeros((short, *pixels.shape[1:]), dtype=np.uint8)])
    return network.features(pixels)[: len(pixels) - short]


def finite(
    decoded: DecodedBatch, features: npt.NDArray[np.float32]
) -> tuple[DecodedBatch, npt.NDArray[np.float32]]:
    """Exclude images of which a network gave anything but finite numbers.

    Parameters
    ----------
    decoded : DecodedBatch
        The images, [n].
    features : array of float32, [n, D]
        What the network gave of them; zeros where an image could not be read.

    Returns
    -------
    decoded : DecodedBatch
        With a reason, and without a quality, for those that are excluded.
    features : array of float32, [n, D]
        Zeros for those.
    """
    bad = ~np.logical_and.reduce(np.isfinite(features), axis=1)
    if not bad.any():
        return decoded, features
    pairs = zip(decoded.reasons, bad, strict=True)
    reasons = [NOT_FINITE if is_bad else reason for reason, is_bad in pairs]
    quality = decoded.quality.copy()
    quality[bad] = np.zeros((), dtype=QUALITY)
    features = np.where(bad[:, None], np.float32(0), features)
    return decoded._replace(reasons=reasons, quality=quality), features


def _decode(
    rows: Rows,
    raws: list[Raw] | None,
    backbone: Backbone,
    buffer: Callable[[tuple[int, ...]], npt.NDArray[np.uint8]] | None = None,
) -> DecodedBatch:
    more = {} if buffer is None else {"buffer": buffer}
    return preprocess_batch(rows, _files_of(rows, raws), backbone, **more)


def _files_of(rows: Rows, raws: list[Raw] | None) -> list[Raw]:
    return list(raw_images(rows)) if raws is None else raws


def _pinned(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Zeros that the GPU fetches by itself; torch holds such memory and gives it out again."""
    return torch.zeros(shape, dtype=torch.uint8, pin_memory=True).numpy()


def _parts(positions: Positions, size: int) -> Iterator[Positions]:
    return (positions[start : start + size] for start in range(0, len(positions), size))


def _streamed(work_list: WorkList, positions: Positions, size: int) -> Iterator[ImageSource]:
    for part in _parts(positions, size):
        if work_list.streamed[part].any():
            yield from work_list.rows(part)
