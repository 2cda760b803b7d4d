"""Processes side by side, where the system has what they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

__all__ = ["process_pool"]


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
