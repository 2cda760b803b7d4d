"""Who draws: this process, or several at the same time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

__all__ = ["Each", "hands"]

# As `map` is: it goes through tasks and gives what becomes of each, in their order.
Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
SELDOM = 50_000  # new objects; drawing makes many, and few of them are garbage in a ring


@contextmanager
def hands(workers: int) -> Iterator[Each]:
    """Give what goes through the tasks of drawing: here, or in processes of its own.

    All that is given to it before the block ends shares the same processes, so the tasks of one
    kind fill the gaps of another.

    Parameters
    ----------
    workers : int
        Processes that draw at the same time, started afresh ("spawn"): a script that asks for more
        than one needs the usual ``if __name__ == "__main__":``.

    Yields
    ------
    callable
        ``each(function, tasks)``, as `map`: results come in the order of the tasks.
    """
    if workers < 2:
        yield map
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_settle) as pool:
        yield pool.map


def _settle() -> None:
    """Load what draws, and look for garbage among what is drawn only: a tenth of the time."""
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_pdf
    import matplotlib.backends.backend_svg  # noqa: F401

    gc.freeze()
    gc.set_threshold(SELDOM)
