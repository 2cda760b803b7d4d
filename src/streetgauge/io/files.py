"""Files that are never half written, their locks and their fingerprints."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock, Timeout

from streetgauge.errors import InputError, StreetgaugeError, summary

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path next to ``path``; rename it onto ``path`` when the block ends well.

    A reader sees the old file or the new one, never a part: the data is on disk before the rename.
    On an error the temporary file is removed and ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays: some writers choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        with naming_full_disk(path):
            yield temporary
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Give a temporary directory next to ``path``; it replaces ``path`` at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(".tmp", f".{path.name}.", path.parent))
    temporary.chmod(0o755)
    try:
        with naming_full_disk(path):
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


_FULL = re.compile(r"no space left|disk is full|quota exceeded|os error (28|122)\b", re.IGNORECASE)
_NO_ROOM = 64 << 10  # bytes: with less, whatever a library reports, it could not write
_WHAT_TO_DO = "free some, and run the same command again: it goes on from what is done"


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Let an error of a full disk name what was written, whichever library met it."""
    try:
        yield
    except Exception as error:
        full = full_disk(error, path)
        if full is None:
            raise
        raise full from None


def full_disk(error: Exception, path: Path) -> OSError | None:
    """Give the error of a full disk that names the file, whichever library met it.

    Parameters
    ----------
    error : Exception
        What a library raised while it wrote: OSError, often without a name, or one of its own.
    path : Path
        What was written.

    Returns
    -------
    OSError or None
        ENOSPC or EDQUOT with a name; None if the disk is not full.
    """
    number = error.errno if isinstance(error, OSError) else None
    is_named = isinstance(error, OSError) and bool(error.filename)
    if isinstance(error, StreetgaugeError) or (is_named and "; " in str(error)):
        return None  # what raised it has a sentence of its own
    if number not in (errno.ENOSPC, errno.EDQUOT):
        if not _FULL.search(str(error)) and not _has_no_room(path):
            return None
        number = errno.ENOSPC
    name = getattr(error, "filename", None) or path
    return OSError(number, f"{os.strerror(number)}; {_WHAT_TO_DO}", str(name))


def _has_no_room(path: Path) -> bool:
    folder = next((each for each in (path.parent, *path.parents) if each.is_dir()), None)
    return folder is not None and shutil.disk_usage(folder).free < _NO_ROOM


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
    """Write JSON atomically; NaN is refused, because it is not JSON."""
    write_text(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n", path)


def write_table(
    frame: pd.DataFrame,
    path: Path,
    metadata: Mapping[str, object] | None = None,
    *,
    compact: bool = False,
) -> None:
    """Write a frame as Parquet atomically, without its index.

    Parameters
    ----------
    frame : DataFrame
        The table; the index is not stored.
    path : Path
        Where.
    metadata : mapping, optional
        Stored as JSON under the key ``streetgauge`` of the file's schema.
    compact : bool
        Compress by zstd, with what suits tables of millions of sorted rows: ``location_id`` as
        differences, float64 with its bytes by significance, all else, float32 of few values
        too, by dictionary. The numbers stay the same.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False)
    if metadata is not None:
        own = {b"streetgauge": json.dumps(metadata, sort_keys=True).encode()}
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **own})
    options: dict[str, Any] = {}
    if compact:
        of_type = {each.name: each.type for each in table.schema}
        coded = {n: "BYTE_STREAM_SPLIT" for n, kind in of_type.items() if kind == pa.float64()}
        coded |= {n: "DELTA_BYTE_ARRAY" for n in of_type if n == "location_id"}
        rest = [name for name in of_type if name not in coded]
        options = {"column_encoding": coded, "use_dictionary": rest}
        options |= {"compression": "zstd", "compression_level": 3}
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True, **options)


# What a Parquet file with wrong bytes raises besides pyarrow's own errors: Python decodes names,
# texts and metadata.
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


def read_table(path: Path, **options: Any) -> pd.DataFrame:
    """Read a table that `write_table` wrote.

    Parameters
    ----------
    path : Path
        Where.
    **options
        Of `pandas.read_parquet`: ``columns``, ``filters``.

    Raises
    ------
    InputError
        If it is damaged.
    FileNotFoundError
        If it is not there.
    """
    import pandas as pd
    import pyarrow as pa

    try:
        return pd.read_parquet(path, page_checksum_verification=True, **options)
    except (FileNotFoundError, PermissionError):
        raise
    except (pa.ArrowException, *_DAMAGED) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> InputError:
    step = "remove the file and run the study again, which makes it again"
    return InputError(path, f"this table is damaged ({summary(error)})", step)


def sha256_of(path: Path) -> str:
    """Sha256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest(content: object) -> str:
    """Sha256 of anything that JSON can write, independent of the order of keys."""
    text = json.dumps(content, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def read_metadata(path: Path) -> dict[str, Any]:
    """Read back what `write_table` stored as metadata; empty if there is none.

    Raises
    ------
    InputError
        If the table is damaged.
    FileNotFoundError
        If it is not there.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        stored = (pq.read_schema(path).metadata or {}).get(b"streetgauge")
        content = json.loads(stored) if stored else {}
    except (FileNotFoundError, PermissionError):
        raise
    except (pa.ArrowException, *_DAMAGED) as error:
        raise _damaged(path, error) from None
    if not isinstance(content, dict):
        raise _damaged(path, ValueError("its metadata is not an object"))
    return content


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
        file = path.with_name(f".{path.name}.lock")
        # Whoever may write into the directory may also take over the lock of a process that was
        # killed, as they may replace every other file: its mode follows the directory's.
        mode = 0o600 | stat.S_IMODE(path.parent.stat().st_mode) & 0o066
        lock = FileLock(file, timeout=0, mode=mode, fallback_to_soft=False)
        self.held = False
        try:
            lock.acquire()
        except Timeout:
            raise InputError(path, f"{_holder(file)} {busy}", "wait for it to end") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        else:
            self.held = True
            with suppress(OSError):  # on Windows nobody reads or writes what is locked
                file.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        self._release = weakref.finalize(self, _released, lock, file, os.getpid())

    def release(self) -> None:
        """Let others write; nothing happens the second time."""
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _holder(file: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return file.read_text()[:200] or "another process"
    return "another process"


def _released(lock: FileLock, file: Path, owner: int) -> None:
    if os.getpid() == owner and lock.is_locked and os.name != "nt":
        file.unlink(missing_ok=True)  # while it is held: who waits for it finds another file
    lock.release()


def companions(file: Path) -> tuple[Path, ...]:
    """Give the files that belong to an ONNX file, so far as they are there, sorted.

    The TOML file with its record, and files with weights that the network names (what exporters
    make of large ones).
    """
    near = (name for name in external_data(file) if Path(name).name == name)
    names = {file.with_suffix(".toml").name, *near}
    return tuple(path for name in sorted(names) if (path := file.parent / name).is_file())


def external_data(file: Path) -> list[str]:
    """Name the files that hold a network's weights, as the network names them.

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
            names.add(name)
    return sorted(names - {""})
