"""Opening a file of a directory and nothing outside it."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["open_inside"]


def open_inside(directory: Path, name: str) -> BinaryIO | None:
    """Open a regular file below a directory for reading, and follow no symbolic link on the way.

    Parameters
    ----------
    directory : Path
        Where.
    name : str
        Relative, with ``/`` between folders; without ``..``, which the caller sees to.

    Returns
    -------
    file or None
        None if there is none, or it is a link, a folder, a pipe or a device.
    """
    try:
        if os.open in os.supports_dir_fd:
            return _regular(_walk(directory, name))
        steps = [directory / name, *(directory / name).parents]
        if any(step.is_symlink() for step in steps[: name.count("/") + 1]):
            return None
        return _regular(os.open(directory / name, os.O_RDONLY | getattr(os, "O_BINARY", 0)))
    except (OSError, ValueError):  # ValueError: a null character
        return None


def _walk(directory: Path, name: str) -> int:
    """Go folder by folder, each held open: nobody can put a link in the place of one meanwhile."""
    *folders, last = name.split("/")
    at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        # A pipe without a writer would keep us waiting for one.
        return os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    finally:
        os.close(at)


def _regular(descriptor: int) -> BinaryIO | None:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    with suppress(OSError):
        os.close(descriptor)
    return None
