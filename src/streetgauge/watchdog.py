"""Where the program is when nothing moves: the stacks of all threads, in a log.

Whoever follows a run calls `Watchdog.look` every second. It writes the stacks while it holds the
interpreter's lock, so that no thread changes them meanwhile. Where native code holds that lock for
good, no Python runs any more; then a timer of `faulthandler`, which needs no lock, writes them.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

PATIENCE = 60.0  # seconds in which nothing moves
# Seconds that the timer leaves to `look`: stacks are written without the lock in need only, since a
# thread that goes on meanwhile could change them.
GRACE = 5.0
ANSWER = 0.5  # seconds that a worker process has for its stacks

_logs: list[Path] = []  # of watchdogs that watch


class Watchdog:
    """Writes the stacks of all threads to a log when nothing has moved for a while.

    An alarm stops nothing. Where it was false, since one step of the work takes longer, the next
    one waits twice as long as that step took.

    Parameters
    ----------
    log : Path
        Where they are written, behind what is there. A watchdog without an alarm leaves no file.
    patience : float
        Seconds in which nothing moves before it writes them.
    """

    def __init__(self, log: Path, patience: float = PATIENCE) -> None:
        self.log, self.patience = log, patience
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._moved = self._armed = self._deadline = self._used = 0.0
        self._wait, self._is_alarmed = patience, False
        self._stopped: dict[int, float] = {}  # worker processes that are stopped, and since when

    def moved(self) -> None:
        """Take note of a step that was done; any thread may call this, as often as it likes."""
        self._moved = time.monotonic()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch while the block runs; where no log can be written, nothing is watched."""
        with suppress(OSError):
            self._file = self.log.open("ab", buffering=0)
        if self._file is None:
            yield
            return
        self._wait = self.patience
        self.moved()
        self._arm()
        _logs.append(self.log)
        try:
            yield
        finally:
            _logs.remove(self.log)
            with self._lock:
                faulthandler.cancel_dump_traceback_later()
                is_empty = os.fstat(self._file.fileno()).st_size == 0
                self._file.close()
                self._file = None
            if is_empty:
                with suppress(OSError):
                    self.log.unlink()

    def clear(self) -> None:
        """Remove what earlier runs wrote."""
        with suppress(OSError):
            self.log.unlink(missing_ok=True)

    def look(self, work: str) -> str | None:
        """Give a sentence if nothing has moved for too long, once until something moves again.

        Parameters
        ----------
        work : str
            What is worked on, for the sentence.
        """
        with self._lock, suppress(OSError):
            if self._file is None:
                return None
            now = time.monotonic()
            # Nobody looked before the deadline: then the timer has written what was to be seen.
            was_held = not self._is_alarmed and now >= self._deadline
            if self._moved != self._armed and not was_held:
                if self._is_alarmed:
                    self._wait = max(self._wait, 2 * (self._moved - self._armed))
                self._arm()
                return self._look_at_workers(self._file, work, now)
            if self._is_alarmed:
                return None
            if now - self._armed < self._wait:
                return self._look_at_workers(self._file, work, now)
            faulthandler.cancel_dump_traceback_later()
            self._is_alarmed, self._armed = True, self._moved
            used = time.process_time() - self._used
            found = f"{work}: no progress for {now - self._armed:.0f} s"
            self._write(self._file, found, was_held)
            return (
                f"{found} ({used:.0f} s of processor time used); the run continues, and what each "
                f"thread is doing is in {self.log}."
            )
        return None

    def _look_at_workers(self, file: BinaryIO, work: str, now: float) -> str | None:
        """Give a sentence if a worker process has been stopped for too long, whatever others do."""
        workers = [each.pid or 0 for each in multiprocessing.active_children()]
        stopped = [pid for pid in workers if _status(pid).get("State", "")[:1] == "T"]
        self._stopped = {pid: self._stopped.get(pid, now) for pid in stopped}
        for pid, since in self._stopped.items():
            if now - since >= self.patience:
                self._stopped[pid] = float("inf")  # once
                found = f"{work}: worker process {pid} has been stopped for {now - since:.0f} s"
                self._write(file, found, was_held=False)
                return f"{found}; the stacks of all threads are in {self.log}, and the run waits."
        return None

    def _arm(self) -> None:
        """Begin to wait."""
        assert self._file is not None
        self._armed, self._used, self._is_alarmed = self._moved, time.process_time(), False
        self._deadline = self._armed + self._wait + GRACE
        left = max(self._deadline - time.monotonic(), 0.01)
        faulthandler.dump_traceback_later(left, file=self._file)

    def _write(self, file: BinaryIO, found: str, was_held: bool) -> None:
        """Write the stacks of this process and of its workers; or how the timer came to do so."""
        time_now = datetime.now().astimezone().isoformat(timespec="seconds")
        title = f"{time_now}: {found}; process {os.getpid()}"
        if was_held:
            file.write(f"{title}; the stacks above are of then\n\n".encode())
            return
        names = [f"{each.ident or 0:#018x} {each.name}" for each in threading.enumerate()]
        file.write("\n".join([title, *names, "\n"]).encode())
        faulthandler.dump_traceback(file)
        for process in multiprocessing.active_children():
            file.write(f"\nProcess {process.pid}, {process.name}:\n".encode())
            if not _is_answered(process.pid or 0, file):
                file.write(b"it gives no answer\n")
        file.write(b"\n")


def watched_log() -> Path | None:
    """Give the log of whatever is watched now, for worker processes; None if nothing is."""
    return _logs[-1] if _logs else None


def answer_watchdog(log: Path | None) -> None:
    """Let a worker process write its stacks to a log when it is asked; Windows has no such signal.

    Parameters
    ----------
    log : Path or None
        From `watched_log` in the process that is watched.
    """
    if log is not None and sys.platform != "win32":
        with suppress(OSError):
            faulthandler.register(signal.SIGUSR1, file=log.open("ab", buffering=0))


def _is_answered(process: int, file: BinaryIO) -> bool:
    """Ask a worker process for its stacks; whether it has written them."""
    if sys.platform == "win32" or not _listens(process):
        return False
    before = last = os.fstat(file.fileno()).st_size
    os.kill(process, signal.SIGUSR1)
    end = time.monotonic() + ANSWER
    while time.monotonic() < end:
        time.sleep(ANSWER / 10)
        last, size = os.fstat(file.fileno()).st_size, last
        if before < size == last:  # it has begun, and adds no more
            return True
    return False


def _listens(process: int) -> bool:
    """Whether a process handles the signal, which would end it otherwise, and is not stopped."""
    status = _status(process)
    handled = int(status.get("SigCgt", "0"), 16) >> (signal.SIGUSR1 - 1) & 1
    return bool(handled) and status.get("State", "T")[0] not in "TZ"


def _status(process: int) -> dict[str, str]:
    """Give what Linux tells of a process; nothing if it is gone, or elsewhere."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)
