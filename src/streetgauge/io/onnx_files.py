"""Which files belong to an ONNX file."""

from __future__ import annotations

import re
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path

__all__ = ["companions", "external_data"]


def companions(file: Path) -> tuple[Path, ...]:
    """Give the files that belong to an ONNX file, so far as they are there, sorted.

    The TOML file with its record, and files with weights that the network names (what exporters
    make of large ones).
    """
    names = {file.with_suffix(".toml").name, *external_data(file)}
    return tuple(path for name in sorted(names) if (path := file.parent / name).is_file())


def external_data(file: Path) -> list[str]:
    """Name the files that hold a network's weights, of those in its folder.

    In an ONNX file such a tensor has an entry (key, value) = ("location", name), which Protocol
    Buffers write as these very bytes.
    """
    try:
        status = file.stat()
        return _names_in(file, status.st_size, status.st_mtime_ns)
    except OSError:
        return []


@lru_cache(maxsize=16)
def _names_in(file: Path, size: int, modified: int) -> list[str]:
    names: set[str] = set()
    if not size:
        return []
    with file.open("rb") as handle, mmap(handle.fileno(), 0, access=ACCESS_READ) as content:
        for found in re.finditer(rb"\n\x08location\x12(.)", content, re.DOTALL):
            name = content[found.end() : found.end() + found[1][0]].decode(errors="replace")
            if name and Path(name).name == name:
                names.add(name)
    return sorted(names)
