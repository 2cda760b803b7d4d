"""Files as bytes: what they are, and unpacked."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from streetgauge.errors import InputError, closest

GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"
ZIP = b"PK\x03\x04"
TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
# What describes a table and is none: InFuse packs Meta_*.csv and a citation beside Data_*.csv.
_BESIDE = ("meta", "citation", "readme", "licence", "license", "copyright", "__macosx", ".")
UNPACKING = (
    *(OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError),
    ValueError,  # names in a zip that are no text
)
# What a Parquet file with wrong bytes raises beside pyarrow's own errors: names and texts that are
# no UTF-8 and metadata that is no JSON are found by Python.
DAMAGED = (OSError, ValueError, KeyError, TypeError)


def starts(path: Path, magic: bytes) -> bool:
    """Whether a file starts with these bytes."""
    try:
        with path.open("rb") as handle:
            return handle.read(len(magic)) == magic
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(path, "there is no such file", "mend the path in study.toml") from None
    except IsADirectoryError:
        raise InputError(path, "this is a folder", "name a file in it") from None


def is_workbook(path: Path) -> bool:
    """Whether a file that starts like a zip is a workbook (Excel or OpenDocument) inside."""
    return not {"[Content_Types].xml", "mimetype"}.isdisjoint(_names(path))


def zipped_tables(path: Path) -> tuple[str, ...] | None:
    """Name the tables of text in a zip, in any folder of it, sorted; None if the file is no zip.

    What only describes a table (InFuse packs ``Meta_*.csv`` beside its data) is not named.

    Raises
    ------
    InputError
        If there is no such file, or it is a zip that is damaged or without any table.
    """
    return tuple(sorted(_sizes(path))) if is_zip(path) else None


def is_zip(path: Path) -> bool:
    """Whether a file is a zip, and no workbook, which is a zip too."""
    return starts(path, ZIP) and not is_workbook(path)


def opened(path: Path, member: str | None = None) -> Any:
    """Open a file for reading bytes, unpacked if it is gzipped or zipped, whatever its name.

    Nothing is written to disk. Of a zip it is the table named, or the largest.
    """
    if starts(path, GZIP):
        return gzip.open(path, "rb")
    if not is_zip(path):
        return path.open("rb")
    sizes = _sizes(path)
    if member is not None and member not in sizes:
        raise InputError(path, f"there is no table {member!r} in it", closest(member, sizes))
    # The archive is closed with the last member that is open.
    return zipfile.ZipFile(path).open(member or max(sizes, key=lambda name: (sizes[name], name)))


def _sizes(path: Path) -> dict[str, int]:
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {each.filename: each.file_size for each in archive.infolist()}
    except UNPACKING as error:
        raise _broken(path, error) from None
    tables = {name: size for name, size in sizes.items() if _is_table(name)}
    if not tables:
        raise InputError(path, "there is no CSV file in the zip", "give CSV or Parquet")
    return tables


def _is_table(name: str) -> bool:
    path = PurePosixPath(name)
    beside = any(part.lower().startswith(_BESIDE) for part in path.parts)
    return path.suffix.lower() in TEXT_SUFFIXES and not beside


def _names(path: Path) -> frozenset[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(archive.namelist())
    except UNPACKING as error:
        raise _broken(path, error) from None


def _broken(path: Path, error: Exception) -> InputError:
    return InputError(path, f"it cannot be unpacked ({error})", "fetch it again")


def damaged(path: Path, error: Exception) -> InputError:
    """Say that a Parquet file cannot be read; the library's remarks take several lines."""
    reason = " ".join(str(error).split())[:200]
    return InputError(path, f"this Parquet file is damaged ({reason})", "fetch it again")
