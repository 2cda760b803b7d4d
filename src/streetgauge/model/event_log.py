"""Event files for TensorBoard. All that imports it stands here: it is an extra that may be absent.

`history.jsonl` has the same figures and is written in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

__all__ = ["NO_TENSORBOARD", "EventLog", "has_tensorboard"]

NO_TENSORBOARD = "TensorBoard logs are not written; pip install 'streetgauge[tensorboard]'"


def has_tensorboard() -> bool:
    """Whether TensorBoard is installed."""
    return find_spec("tensorboard") is not None


class EventLog:
    """An event file of a training; nothing is written where TensorBoard is not installed."""

    def __init__(self, directory: Path) -> None:
        self._writer = None
        if has_tensorboard():
            from torch.utils.tensorboard import FileWriter

            self._writer = FileWriter(str(directory))

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write the scalars of one step as one event: an event for each takes far longer."""
        if self._writer is None:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._writer.add_summary(Summary(value=values), step)

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
