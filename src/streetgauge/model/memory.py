"""Memory that does not suffice, said in one sentence with what to lower."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from streetgauge.errors import InputError

__all__ = ["LEARNING", "PREDICTING", "enough_memory"]

LEARNING = "lower 'train.batch', 'train.memory' or 'train.ensemble_size'"
PREDICTING = "free some of it, or predict fewer locations at a time"
# What libraries say where they raise a plain RuntimeError: torch on CPU and MPS, cuBLAS, cuDNN; and
# oneDNN, which gives no reason. It has found before that it knows how ("a primitive descriptor").
_SAID = re.compile(
    "can't allocate memory|cannot allocate memory|out of memory|alloc_failed"
    "|could not create a primitive(?! descriptor)",
    re.IGNORECASE,
)


@contextmanager
def enough_memory(step: str) -> Iterator[None]:
    """Say that memory does not suffice, whoever noticed it; also a decorator.

    Parameters
    ----------
    step : str
        What to do about it: `LEARNING` or `PREDICTING`.

    Raises
    ------
    InputError
        In the place of a MemoryError, of torch's own and of the system's.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not _is_of_memory(error):
            raise
        said = " ".join(str(error).partition("\n")[0].split())[:200]
        found = f"it does not suffice ({said})" if said else "it does not suffice"
        raise InputError("memory", found, step) from None


def _is_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch.OutOfMemoryError is a RuntimeError that says so.
    return _SAID.search(str(error)) is not None
