"""One writer at a time: a lock beside a file, which goes with the process that holds it."""

from __future__ import annotations

import os
import socket
import weakref
from pathlib import Path
from typing import IO, Any, Self

from streetgauge.errors import InputError

__all__ = ["WriteLock"]

# Windows locks bytes and keeps others from reading them: one far behind what is written.
_BYTE = 2**30


class WriteLock:
    """The right to write a file, until `release` or the end of the process, however it ends.

    The lock is the system's (``flock``, on Windows ``msvcrt.locking``) on the file
    ``.<name>.lock`` beside the file, so it also holds while the file itself is replaced. On file
    systems that know no locks there is none.

    Parameters
    ----------
    path : Path
        What will be written; it need not exist.

    Raises
    ------
    InputError
        If somebody holds the lock, saying who.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        place = path.with_name(f".{path.name}.lock")
        while True:
            handle = place.open("a+b")
            if not _taken(handle):
                handle.seek(0)
                holder = handle.read(200).decode(errors="replace") or "another process"
                handle.close()
                raise InputError(path, f"{holder} is writing to it", "wait for it to end")
            if _is_at(place, handle):
                break
            handle.close()  # its holder has just removed it: it would lock nobody out
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        handle.flush()
        self._release = weakref.finalize(self, _released, handle, place, os.getpid())

    def release(self) -> None:
        """Let others write; nothing happens the second time."""
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _taken(handle: IO[bytes]) -> bool:
    try:
        import fcntl
    except ImportError:
        return _taken_on_windows(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # this file system has no locks
        return True
    return True


def _taken_on_windows(handle: IO[bytes]) -> bool:
    from importlib import import_module

    msvcrt: Any = import_module("msvcrt")
    handle.seek(_BYTE)
    try:
        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def _is_at(place: Path, handle: IO[bytes]) -> bool:
    try:
        return os.path.samestat(place.stat(), os.fstat(handle.fileno()))
    except FileNotFoundError:
        return False


def _released(handle: IO[bytes], place: Path, owner: int) -> None:
    if os.getpid() == owner and os.name != "nt":  # not in a fork, and not where it is open
        place.unlink(missing_ok=True)
    handle.close()
