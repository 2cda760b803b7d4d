"""Event files for TensorBoard. All that imports it stands here: it is an extra that may be absent.

`history.jsonl` has the same figures and is written in any case.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NO_TENSORBOARD = "TensorBoard logs are not written; pip install 'streetgauge[tensorboard]'"
_number = itertools.count()


def has_tensorboard() -> bool:
    """Whether TensorBoard is installed."""
    return find_spec("tensorboard") is not None


class EventLog:
    """An event file of a training; nothing is written where TensorBoard is not installed.

    TensorBoard's own writer has a thread for each file, whose errors nobody can catch.
    """

    def __init__(self, directory: Path) -> None:
        self._records: Any = None
        if has_tensorboard():
            from tensorboard.summary.writer.record_writer import RecordWriter

            number = f"{os.getpid()}.{next(_number)}"
            name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{number}"
            self._records = RecordWriter((directory / name).open("wb"))
            self._write(file_version="brain.Event:2")

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write the scalars of one step as one event: an event for each takes far longer."""
        if self._records is None:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._write(step=step, summary=Summary(value=values))

    def _write(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), **content)
        self._records.write(event.SerializeToString())
        self._records.flush()

    def close(self) -> None:
        """Close the file."""
        if self._records is not None:
            self._records.close()
