"""The connection to a Ray cluster: made when it is first needed, and ended with the run."""

from __future__ import annotations

import logging
import os
import socket
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from streetgauge.errors import InputError
from streetgauge.features._nodes import Nodes, refuse_unfit
from streetgauge.features.work_list import WorkList

__all__ = ["lazily"]

_STEP = "start it with `ray start --head` there, or name its address"
_STEP_HERE = "try again when less else runs here, or do without [features.cluster]"


@contextmanager
def lazily(address: str, work_list: WorkList, folder: Path) -> Iterator[Callable[[str], Nodes]]:
    """Give a function that looks at a cluster's machines for a device.

    It connects to the cluster when it is first called, and refuses one of which a machine lacks
    what it needs.

    Parameters
    ----------
    address : str
        As in ``[features.cluster]``.
    work_list : WorkList
        One of its pictures is looked for on every machine.
    folder : Path
        Of the shards; it is made.
    """
    with ExitStack() as stack:
        token = folder / f".{uuid.uuid4().hex}.token"
        connected: list[Any] = []

        def nodes(device: str) -> Nodes:
            if not connected:
                connected.append(stack.enter_context(_connected(address)))
                folder.mkdir(parents=True, exist_ok=True)
                token.write_text("machines of a cluster look for this file\n", encoding="utf-8")
                first = work_list.rows(np.arange(min(1, len(work_list))))
                refuse_unfit(connected[0], token, first[0].path if first else str(token))
            return Nodes.of(connected[0], device, token)

        try:
            yield nodes
        finally:
            token.unlink(missing_ok=True)
            with suppress(OSError):  # it is not empty, or was never made
                folder.rmdir()


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Connect to a cluster, unless this program is connected already."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray: Any = import_module("ray")
        import_module("ray.data")
    except ImportError:
        raise InputError(
            "[features.cluster]", "Ray is not installed", "pip install 'streetgauge[ray]'"
        ) from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"ray\.data\.")  # that few pictures make few tasks
    if ray.is_initialized():
        yield ray
        return
    _refuse_unreachable(address)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False if address == "local" else None,
        )
    except Exception as error:  # of a start that takes too long Ray raises no other
        first = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        what, step = "cannot be reached", _STEP
        if address == "local":
            what, step = "does not start", _STEP_HERE
        raise InputError(f"cluster {address!r}", f"it {what}: {first}", step) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _refuse_unreachable(address: str) -> None:
    """Knock at the door: Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        reason = f"it cannot be reached: {getattr(error, 'strerror', None) or error}"
        raise InputError(f"cluster {address!r}", reason, _STEP) from None
