"""What a method works out of a fold's areas alone serves all outcomes with labels there."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import pandas as pd

T = TypeVar("T")


class Kept(Generic[T]):
    """Results by the areas that they were made of; the one not asked for longest goes first."""

    MOST = 64  # more than folds of both kinds, and than the boroughs of London

    def __init__(self) -> None:
        self._results: OrderedDict[str, T] = OrderedDict()

    def get(self, areas: tuple[pd.Index, ...], make: Callable[[], T]) -> T:
        """Give what is cached for these areas, made first where it is not there."""
        key = hashlib.sha256("\n\n".join("\n".join(map(str, a)) for a in areas).encode())
        name = key.hexdigest()
        if name not in self._results:
            self._results[name] = make()
            while len(self._results) > self.MOST:
                self._results.popitem(last=False)
        self._results.move_to_end(name)
        return self._results[name]
