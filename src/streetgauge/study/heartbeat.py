"""Which stage of a study runs and how far it is: a small file, for those who follow it.

A run writes the file every second while it works, and removes it when it ends well. A reader tells
a run that goes on from one that was killed by the age of its last sign, which needs no right to the
process, works over a shared disk, and never gets in the way of the lock of the run itself.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streetgauge.errors import Stopped, StreetgaugeError, summary
from streetgauge.progress import Advance, Progress
from streetgauge.watchdog import PATIENCE, Watchdog

log = logging.getLogger(__name__)

BEAT = 1.0  # seconds between signs
SILENT = 30.0  # seconds without a sign after which nobody is at work any more


@dataclass
class _Bar:
    """Long work that reports how far it is."""

    task: str
    total: int
    unit: str
    since: float = field(default_factory=time.time)
    done: int = 0


class Running:
    """Reports what runs.

    Parameters
    ----------
    file : Path
        Where it is reported.
    patience : float
        Seconds in which nothing moves before the stacks of all threads are written to
        ``stalled.log`` next to it. A step of reported work moves something; a sign does not.
    """

    def __init__(self, file: Path, patience: float = PATIENCE) -> None:
        self.file = file
        self.watchdog = Watchdog(file.with_name("stalled.log"), patience)
        self._stage: str | None = None
        self._stage_since = self._since = 0.0
        self._bars: list[_Bar] = []
        self._lock = threading.Lock()

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Report it while the block runs; and why, if the block does not end well."""
        self._since = time.time()
        ended = threading.Event()
        beating = threading.Thread(target=self._beat, args=(ended,), daemon=True)
        self._write()
        beating.start()
        stopped: str | None = None
        try:
            yield
        except BaseException as error:
            stopped = _why(error)
            raise
        finally:
            ended.set()
            beating.join()
            if stopped is None:
                with suppress(OSError):
                    self.file.unlink(missing_ok=True)
            else:
                self._write(stopped)
            self._stage = None

    @contextmanager
    def stage(self, name: str, progress: Progress) -> Iterator[Progress]:
        """Report that a stage runs; give a progress that is reported here, too."""
        self._stage, self._stage_since = name, time.time()

        @contextmanager
        def both(description: str, total: int, unit: str) -> Iterator[Advance]:
            bar = _Bar(description, total, unit)
            self.watchdog.moved()

            def advance(steps: int) -> None:
                self.watchdog.moved()
                with self._lock:  # threads work at the same time
                    bar.done += steps
                advance_shown(steps)

            with progress(description, total, unit) as advance_shown:
                self._bars.append(bar)
                try:
                    yield advance
                finally:
                    self._bars.remove(bar)
                    self.watchdog.moved()

        with self.watchdog.watching():
            yield both
        self._stage = None

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(BEAT):
            self._write()
            alarm = self.watchdog.look(self._stage or "")
            if alarm is not None:
                log.warning("%s", alarm)

    def _write(self, stopped: str | None = None) -> None:
        content = {
            "format_version": 2,
            "process": os.getpid(),
            "since": self._since,
            "heartbeat": time.time(),
            "stage": self._stage,
            "stage_since": self._stage_since,
            "bars": [vars(bar) for bar in tuple(self._bars)],
            "stopped": stopped,
        }
        temporary = self.file.with_name(f"{self.file.name}.tmp")
        # Whoever follows it is not worth a run; no fsync either: a sign that is lost is followed by
        # another.
        with suppress(OSError):
            temporary.write_text(json.dumps(content), encoding="utf-8")
            temporary.replace(self.file)


def read_running(file: Path) -> dict[str, Any] | None:
    """Read what runs.

    Returns
    -------
    dict or None
        ``since``, ``heartbeat``, ``stage_since`` (seconds since 1970), ``stage`` (name or None),
        ``bars`` (each ``task``, ``total``, ``unit``, ``since``, ``done``), ``stopped`` (a sentence
        if the run did not end well, else None) and ``alive``: whether somebody is at work. None if
        nothing runs, or the file is not what `Running` writes.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        bars: list[dict[str, Any]] = [
            {
                **{key: str(bar[key]) for key in ("task", "unit")},
                **{key: int(bar[key]) for key in ("total", "done")},
                "since": float(bar["since"]),
            }
            for bar in content["bars"]
        ]
        stage, stopped = content["stage"], content["stopped"]
        times = {key: float(content[key]) for key in ("since", "heartbeat", "stage_since")}
        if not all(math.isfinite(t) for t in (*times.values(), *(bar["since"] for bar in bars))):
            return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return {
        **times,
        "stage": None if stage is None else str(stage),
        "bars": bars,
        "stopped": None if stopped is None else str(stopped),
        "alive": stopped is None and _is_recent(file, times["heartbeat"]),
    }


def _is_recent(file: Path, beat: float) -> bool:
    """Whether a sign is recent; one from the future, since a clock was set back, is waited for."""
    age = time.time() - beat
    if age > -SILENT:
        return age < SILENT
    before = file.stat().st_mtime_ns
    time.sleep(2 * BEAT)
    with suppress(OSError):  # it has ended meanwhile
        return file.stat().st_mtime_ns != before
    return False


def _why(error: BaseException) -> str:
    if isinstance(error, StreetgaugeError):
        return str(error)
    if isinstance(error, Stopped):
        return error.sentence
    if isinstance(error, KeyboardInterrupt):
        return "It was stopped by hand."
    return f"{type(error).__name__}: {summary(error)}"
