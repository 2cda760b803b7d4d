"""What a file, a folder or the program's own code is told by, to see whether it has changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from streetgauge.io.files import digest, sha256_of

__all__ = ["code_digest", "content_of", "signature_of"]

# Modules that every stage depends on.
_LOW = (
    *("classes", "devices", "errors", "fingerprints", "skips"),
    *("study", "study_files", "transfer", "tuning"),
)


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


def code_digest(rooms: tuple[str, ...]) -> str:
    """Hash of the source code that a stage's result depends on."""
    package = Path(__file__).parent
    sources = [package / f"{name}.py" for name in _LOW]
    for room in ("settings", "stages", "io", *rooms):
        sources += [p for p in _files(package / room) if "__pycache__" not in p.parts]
    return digest([(p.relative_to(package).as_posix(), sha256_of(p)) for p in sources])


def _files(directory: Path) -> list[Path]:
    """Every file below a directory, also behind symbolic links, sorted."""
    found, seen = [], set()
    for place, folders, names in os.walk(directory, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        found += [Path(place, name) for name in names]
    return sorted(path for path in found if path.is_file())
