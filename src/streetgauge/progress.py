"""How long work reports its progress, without knowing who listens.

Functions that take long accept ``progress: Progress = silent`` and use it as
``with progress("features", total, "images") as advance: advance(64)``. The command line passes
one that draws a bar with rate and time left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[int], None]
Progress = Callable[[str, int, str], AbstractContextManager[Advance]]


@contextmanager
def silent(description: str, total: int, unit: str) -> Iterator[Advance]:
    """Listen to nothing: the default of every function that takes a ``progress``."""
    yield lambda steps: None
