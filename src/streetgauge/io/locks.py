"""One writer at a time: a lock next to a file, which goes with the process that holds it."""

from __future__ import annotations

import errno
import os
import socket
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from streetgauge.errors import InputError

__all__ = ["WriteLock"]

# What file systems answer that know no locks: there is none then.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


class WriteLock:
    """The right to write a file, until `release` or the end of the process, however it ends.

    The lock is the system's, on the file ``.<name>.lock`` next to the file, so it also holds while
    the file itself is replaced. On file systems that know no locks there is none.

    Parameters
    ----------
    path : Path
        What will be written; it need not exist.
    busy : str
        What another process does to it, for the error.

    Attributes
    ----------
    held : bool
        Whether there is a lock: not on a file system that knows none.

    Raises
    ------
    InputError
        If another process holds the lock, naming it.
    """

    def __init__(self, path: Path, busy: str = "is writing to it") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        place = path.with_name(f".{path.name}.lock")
        lock = FileLock(place, timeout=0, fallback_to_soft=False)
        self.held = False
        try:
            lock.acquire()
        except Timeout:
            raise InputError(path, f"{_holder(place)} {busy}", "wait for it to end") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        else:
            self.held = True
            with suppress(OSError):  # on Windows nobody reads or writes what is locked
                place.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        self._release = weakref.finalize(self, _released, lock, place, os.getpid())

    def release(self) -> None:
        """Let others write; nothing happens the second time."""
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _holder(place: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return place.read_text()[:200] or "another process"
    return "another process"


def _released(lock: FileLock, place: Path, owner: int) -> None:
    if os.getpid() == owner and lock.is_locked and os.name != "nt":
        place.unlink(missing_ok=True)  # while it is held: who waits for it finds another file
    lock.release()
