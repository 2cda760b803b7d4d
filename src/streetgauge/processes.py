"""How the cores are used: products of matrices by one each, and processes side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from threadpoolctl import threadpool_limits


@contextmanager
def undivided_products() -> Iterator[None]:
    """Let one thread compute each product of matrices, for the whole process.

    NumPy and SciPy would share even small products among the cores. The threads then wait for each
    other: on a busy machine that takes many times as long. And sums would depend on the number of
    cores. May be used as a decorator.
    """
    import scipy.linalg  # noqa: F401  it loads a library of its own, which is to be limited as well

    with threadpool_limits(1, user_api="blas"):
        yield


@contextmanager
def process_pool(
    workers: int, prepare: Callable[..., None] | None = None, given: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor | None]:
    """Start processes afresh ("spawn"), and end them with the block.

    Parameters
    ----------
    workers : int
        How many.
    prepare : callable, optional
        What each does first, with what is ``given``.
    given : tuple
        Its arguments.

    Yields
    ------
    ProcessPoolExecutor or None
        None if one process is enough, or there can be no other: a container may have no
        /dev/shm, where Linux has the locks that processes share.
    """
    spawn = get_context("spawn")
    if workers > 1:
        try:
            spawn.Lock()
        except (ImportError, OSError):
            workers = 1
    if workers < 2:
        yield None
        return
    with ProcessPoolExecutor(workers, spawn, prepare, given) as pool:
        yield pool
