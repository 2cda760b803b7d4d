"""Many pictures, a chunk at a time on all cores, in order and within a bounded memory."""

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

from streetgauge.features._plan import Plan, Positions
from streetgauge.features.backbones import Backbone
from streetgauge.features.look import Looked, Raw, features_of, finite, look_at, signatures_of
from streetgauge.features.network import Network
from streetgauge.imagery import PictureAt, raw_pictures

__all__ = ["Computed", "computing", "in_chunks", "looked_at", "signed"]

T = TypeVar("T")
Rows = list[PictureAt]
Job = Callable[[Rows, list[Raw] | None], "Future[T]"]

# Chunks that may be under way or waiting to be written, a core: bounds the memory.
AHEAD = 2
# Batches that a GPU has in hand: one is copied to it while the other is computed.
ON_GPU = 2


class Computed(NamedTuple):
    """What a chunk of n pictures has become: see `Looked`; features [n, D]."""

    reasons: list[str | None]
    signatures: npt.NDArray[np.uint8]
    quality: npt.NDArray[np.void]
    features: npt.NDArray[np.float32]


def in_chunks(
    plan: Plan, positions: Positions, size: int, cores: int, job: Job[T]
) -> Iterator[tuple[Positions, T]]:
    """Do a job on pictures, so many at a time; give the results in order.

    Plain files are read by whoever does the job. Archives are streams: they are read here, in one
    pass, while earlier chunks are worked on.

    Parameters
    ----------
    plan : Plan
        Says where pictures are.
    positions : array of int
        Which of its pictures.
    size : int
        Pictures in a chunk.
    cores : int
        How many chunks are worked on at once.
    job : callable
        Begins the work on a chunk: where its pictures are, and their files if they are read here.
    """
    waiting: deque[tuple[Positions, Future[T]]] = deque()
    stream = raw_pictures(_streamed(plan, positions, size))
    for part in _parts(positions, size):
        rows = plan.rows(part)
        raws = list(islice(stream, len(rows))) if plan.streamed[part].any() else None
        waiting.append((part, job(rows, raws)))
        del raws
        if len(waiting) > AHEAD * cores:
            first, future = waiting.popleft()
            yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()


def looked_at(pool: Executor, backbone: Backbone) -> Job[Looked]:
    """Give the job of decoding pictures."""
    return lambda rows, raws: pool.submit(_look, rows, raws, backbone)


def signed(pool: Executor) -> Job[npt.NDArray[np.uint8]]:
    """Give the job of reading pictures for their content's fingerprints."""
    return lambda rows, raws: pool.submit(lambda: signatures_of(rows, _read(rows, raws)))


@contextmanager
def computing(pool: Executor, network: Network) -> Iterator[Job[Computed]]:
    """Give the job of turning pictures into features.

    On a CPU each core takes a chunk from the files to the features: none waits for another, and
    decoding and computing share the cores as they need them. A GPU is kept busy by two threads, one
    copying while the other computes; the cores decode for them into pinned memory.
    """
    if network.device == "cpu":
        yield lambda rows, raws: pool.submit(_compute, rows, raws, network)
        return
    buffer = _pinned if network.device == "cuda" else None
    with ThreadPoolExecutor(ON_GPU, thread_name_prefix="streetgauge-gpu") as feeders:

        def job(rows: Rows, raws: list[Raw] | None) -> Future[Computed]:
            looking = pool.submit(partial(_look, rows, raws, network.backbone, buffer))
            return feeders.submit(_on_gpu, looking, network)

        yield job


def _compute(rows: Rows, raws: list[Raw] | None, network: Network) -> Computed:
    return _through(network, _look(rows, raws, network.backbone))


def _on_gpu(looking: Future[Looked], network: Network) -> Computed:
    looked = looking.result()
    if network.device != "cuda":
        return _through(network, looked)
    with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
        return _through(network, looked)


def _through(network: Network, looked: Looked) -> Computed:
    features = np.zeros((len(looked.pixels), network.backbone.dimension), dtype=np.float32)
    whole = looked.whole
    if whole.any():
        pixels = looked.pixels if whole.all() else looked.pixels[whole]
        features[whole] = features_of(network, pixels)
    looked, features = finite(looked, features)
    return Computed(looked.reasons, looked.signatures, looked.quality, features)


def _look(
    rows: Rows,
    raws: list[Raw] | None,
    backbone: Backbone,
    buffer: Callable[[tuple[int, ...]], npt.NDArray[np.uint8]] | None = None,
) -> Looked:
    more = {} if buffer is None else {"buffer": buffer}
    return look_at(rows, _read(rows, raws), backbone, **more)


def _read(rows: Rows, raws: list[Raw] | None) -> list[Raw]:
    return list(raw_pictures(rows)) if raws is None else raws


def _pinned(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Zeros that the GPU fetches by itself; torch keeps such memory and gives it out again."""
    zeros: npt.NDArray[np.uint8] = torch.zeros(shape, dtype=torch.uint8, pin_memory=True).numpy()
    return zeros


def _parts(positions: Positions, size: int) -> Iterator[Positions]:
    return (positions[start : start + size] for start in range(0, len(positions), size))


def _streamed(plan: Plan, positions: Positions, size: int) -> Iterator[PictureAt]:
    for part in _parts(positions, size):
        if plan.streamed[part].any():
            yield from plan.rows(part)
