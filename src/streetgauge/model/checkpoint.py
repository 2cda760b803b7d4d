"""Everything that a training is, between two epochs: written to a file, and read back.

Weights, optimiser, the best weights so far, both generators, the epoch and the history are in it,
so that a training that was killed goes on as if it had not been, to the bit on the CPU. A file that
is not whole, or that another training wrote, is as good as none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from streetgauge.errors import InputError
from streetgauge.io.files import atomic_path

__all__ = ["Checkpoint"]

LAYOUT = 2  # of what is in the file: one of another layout is as good as none
SECONDS = 20.0  # between two checkpoints: writing one takes about a fifth of a second


@dataclass
class Checkpoint:
    """Where, for which training, and how often.

    Parameters
    ----------
    path : Path, optional
        The file; nothing is kept without one.
    cache_key : str
        Hash of all that the training is made from: a checkpoint of another one is not used.
    every : float
        Seconds that pass at least between two checkpoints.
    """

    path: Path | None = None
    cache_key: str = ""
    every: float = SECONDS
    written: float = field(default_factory=time.monotonic)

    def of(self, member: int) -> Checkpoint:
        """Give the checkpoint of one of several trainings that belong together."""
        path = self.path and self.path.with_name(f"{self.path.stem}.{member}{self.path.suffix}")
        return replace(self, path=path, cache_key=f"{self.cache_key}.{member}")

    def save(self, tensors: Mapping[str, torch.Tensor], said: Mapping[str, Any]) -> None:
        """Write, if it is time; what was there stays until the new file is whole.

        Raises
        ------
        InputError
            If it cannot be written, e.g. because the disk is full.
        """
        if self.path is None or time.monotonic() - self.written < self.every:
            return
        text = json.dumps({"cache_key": self.cache_key, "layout": LAYOUT, **said})
        whole = {name: x.detach().cpu().contiguous().clone() for name, x in tensors.items()}
        try:
            with atomic_path(self.path) as temporary:
                save_file(whole, temporary, metadata={"training": text})
        except (OSError, SafetensorError) as error:
            raise InputError(
                self.path,
                f"the checkpoint cannot be written: {error}",
                "free some disk space and run again: it goes on from the last checkpoint",
            ) from None
        self.written = time.monotonic()

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Read what was kept of this training; None where there is nothing of it."""
        if self.path is None or not self.path.is_file():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                said = json.loads((file.metadata() or {}).get("training", "{}"))
                if (said.get("cache_key"), said.get("layout")) != (self.cache_key, LAYOUT):
                    return None
                return {name: file.get_tensor(name) for name in file.keys()}, said  # noqa: SIM118
        except (OSError, SafetensorError, ValueError):
            return None

    def remove(self) -> None:
        """Remove the file: the training has ended."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
