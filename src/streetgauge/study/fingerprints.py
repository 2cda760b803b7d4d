"""What the content of a file or a folder is known by, to see whether it has changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from streetgauge.io.files import digest, sha256_of

__all__ = ["content_of", "signature_of"]

# TensorBoard's event files hold times, and process ids in their names: no two runs write the same.
_EVENTS = "events.out.tfevents."


def content_of(path: Path) -> str:
    """Sha256 of a file, or of all files of a directory with their relative paths."""
    if path.is_dir():
        return digest([(p.relative_to(path).as_posix(), sha256_of(p)) for p in _files(path)])
    return sha256_of(path)


def signature_of(path: Path) -> str:
    """Cheap sign of a change: name, size and modification time of every file."""
    files = _files(path) if path.is_dir() else [path]
    parts = hashlib.sha256()
    for file in files:
        stat = file.stat()
        line = f"{file.relative_to(path)}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
        parts.update(line.encode(errors="surrogateescape"))  # a name need not be UTF-8
    return parts.hexdigest()


def _files(directory: Path) -> list[Path]:
    """Every file below a directory, also behind symbolic links, sorted; no event files."""
    found, seen = [], set()
    for place, folders, names in os.walk(directory, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        found += [Path(place, name) for name in names if not name.startswith(_EVENTS)]
    return sorted(path for path in found if path.is_file())
