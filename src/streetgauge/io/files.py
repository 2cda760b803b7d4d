"""Files that are never half written, and their fingerprints."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from streetgauge.errors import InputError, closest

__all__ = [
    "atomic_directory",
    "atomic_path",
    "digest",
    "read_metadata",
    "remove_leftovers",
    "require_columns",
    "sha256_of",
    "write_json",
    "write_table",
    "write_text",
]


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it onto ``path`` when the block ends well.

    A reader sees the old file or the new one, never a part: the data is on disk before the rename.
    On an error the temporary file is removed and ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept: some writers choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Give a temporary directory beside ``path``; put it in the place of ``path`` at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(".tmp", f".{path.name}.", path.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        if path.exists():
            old = Path(tempfile.mkdtemp(".tmp", f".{path.name}.old.", path.parent))
            path.replace(old / path.name)
            temporary.replace(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


# What `atomic_path` and `atomic_directory` write before they rename it, with the files that SQLite
# puts next to its own.
_HALF_FILE = r"\.{}\.\d+\.tmp{}(-journal|-wal|-shm)?"
_HALF_DIRECTORY = r"\.{}\.(old\.)?[a-z0-9_]{{8}}\.tmp"


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes left of their attempts to write a file or a directory.

    Only for who holds the lock of what is written: another process may be at work otherwise.
    """
    stem, suffix, name = map(re.escape, (path.stem, path.suffix, path.name))
    _remove(path.parent, _HALF_FILE.format(stem, suffix), _HALF_DIRECTORY.format(name))
    if path.is_dir():
        for folder in (path, *(each for each in path.rglob("*") if each.is_dir())):
            _remove(folder, _HALF_FILE.format(".+", r"(\.\w+)?"), _HALF_DIRECTORY.format(".+"))


def _remove(folder: Path, files: str, directories: str) -> None:
    if not folder.is_dir():  # it lay in one that has just been removed
        return
    for each in folder.glob(".*.tmp*"):
        if each.is_dir() and re.fullmatch(directories, each.name):
            shutil.rmtree(each, ignore_errors=True)
        elif each.is_file() and re.fullmatch(files, each.name):
            each.unlink(missing_ok=True)


def write_text(text: str, path: Path) -> None:
    """Write UTF-8 text atomically, with the line ends as they are in ``text``."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(content: object, path: Path) -> None:
    """Write JSON atomically; NaN is refused, because it is no JSON."""
    write_text(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n", path)


def write_table(
    frame: pd.DataFrame, path: Path, metadata: Mapping[str, object] | None = None
) -> None:
    """Write a frame as Parquet atomically, without its index.

    Parameters
    ----------
    frame : DataFrame
        The table; the index is not kept.
    path : Path
        Where.
    metadata : mapping, optional
        Kept as JSON under the key ``streetgauge`` of the file's schema.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False)
    if metadata is not None:
        own = {b"streetgauge": json.dumps(metadata, sort_keys=True).encode()}
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **own})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def sha256_of(path: Path) -> str:
    """Sha256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest(content: object) -> str:
    """Sha256 of anything that JSON can write, independent of the order of keys."""
    text = json.dumps(content, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def require_columns(frame: pd.DataFrame, columns: Mapping[str, str | None], path: object) -> None:
    """Refuse a table that lacks a column, naming the closest one.

    Parameters
    ----------
    frame : DataFrame
        The table as read.
    columns : mapping of setting to column name
        What is needed, e.g. ``{"value": "Mean 2012/13"}``; None is not needed.
    path : object
        Named in the error.

    Raises
    ------
    InputError
        If a named column is not there.
    """
    for setting, column in columns.items():
        if column is not None and column not in frame.columns:
            raise InputError(
                path,
                f"there is no column {column!r} (setting '{setting}')",
                closest(column, frame.columns),
            )


def read_metadata(path: Path) -> dict[str, Any]:
    """Read back what `write_table` kept as metadata; empty if there is none."""
    import pyarrow.parquet as pq

    kept = (pq.read_schema(path).metadata or {}).get(b"streetgauge")
    return json.loads(kept) if kept else {}
