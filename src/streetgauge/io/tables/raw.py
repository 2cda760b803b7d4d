"""Files as bytes and as text: what they are, unpacked, decoded, and what separates their cells."""

from __future__ import annotations

import codecs
import csv
import gzip
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from streetgauge.errors import InputError, closest, summary

GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"
ZIP = b"PK\x03\x04"
TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
# What describes a table and is none: InFuse packs Meta_*.csv and a citation with Data_*.csv.
_ABOUT_TABLES = ("meta", "citation", "readme", "licence", "license", "copyright", "__macosx", ".")
UNPACKING = (
    *(OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError),
    ValueError,  # names in a zip that are not text
)
# What a Parquet file with wrong bytes raises besides pyarrow's own errors: names and texts that are
# not UTF-8 and metadata that is not JSON are found by Python.
DAMAGED = (OSError, ValueError, KeyError, TypeError)


def starts(path: Path, magic: bytes) -> bool:
    """Whether a file starts with these bytes."""
    try:
        with path.open("rb") as handle:
            return handle.read(len(magic)) == magic
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(path, "there is no such file", "correct the path") from None
    except IsADirectoryError:
        raise InputError(path, "this is a folder", "name a file in it") from None


def is_workbook(path: Path) -> bool:
    """Whether a file that starts like a zip is a workbook (Excel or OpenDocument) inside."""
    return not {"[Content_Types].xml", "mimetype"}.isdisjoint(names_in_zip(path))


def zipped_tables(path: Path) -> tuple[str, ...] | None:
    """Name the tables of text in a zip, in any folder of it, sorted; None if the file is not a zip.

    What only describes a table (InFuse packs ``Meta_*.csv`` with its data) is not named.

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
    tables = {name: size for name, size in _member_sizes(path).items() if _is_table(name)}
    if not tables:
        raise InputError(path, "there is no CSV file in the zip", "give CSV or Parquet")
    return tables


def _is_table(name: str) -> bool:
    path = PurePosixPath(name)
    about = any(part.lower().startswith(_ABOUT_TABLES) for part in path.parts)
    return path.suffix.lower() in TEXT_SUFFIXES and not about


def names_in_zip(path: Path) -> tuple[str, ...]:
    """Name all files in a zip."""
    return tuple(_member_sizes(path))


def _member_sizes(path: Path) -> dict[str, int]:
    """Sizes of all files in a zip, by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {each.filename: each.file_size for each in archive.infolist()}
    except UNPACKING as error:
        what = "the file is cut off or damaged: " if isinstance(error, zipfile.BadZipFile) else ""
        raise InputError(path, f"{what}it cannot be unpacked ({error})", "fetch it again") from None


def damaged(path: Path, error: Exception) -> InputError:
    """Make one line of what the library reports of a Parquet file that cannot be read."""
    reason = f"this Parquet file is damaged ({summary(error)})"
    return InputError(path, reason, "fetch it again")


DELIMITERS = (",", "\t", ";")
_SAMPLE = 200  # lines that are read to find what separates cells
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def encoding_of(blocks: Iterable[bytes]) -> str:
    """Name the encoding of a file, given block by block: the only accent may stand at its end.

    A byte order mark decides, then UTF-8 if it fits, else Windows' Latin-1, else Latin-1 itself.
    """
    utf8: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()
    windows = True
    first = True
    for block in blocks:
        if first and block.startswith(_UTF16):
            return "utf-16"
        first = False
        pending = utf8 is not None and utf8.getstate()[0]
        if block.isascii() and not pending:
            continue
        if utf8 is not None:
            try:
                utf8.decode(block)
            except UnicodeDecodeError:
                utf8 = None
        windows = windows and _fits(block, "cp1252")
    if utf8 is not None:
        with suppress(UnicodeDecodeError):
            utf8.decode(b"", final=True)
            return "utf-8-sig"
    return "cp1252" if windows else "latin-1"


def decoded(content: bytes) -> str:
    """Text of bytes, in the encoding that they are in."""
    return content.decode(encoding_of([content]), errors="replace")


def delimiter_of(text: str) -> str:
    """Find what separates cells: that which cuts the most lines into equally many cells."""
    lines = [line for line in text.splitlines()[: 4 * _SAMPLE] if line.strip()][:_SAMPLE]

    def regularity(delimiter: str) -> tuple[int, int]:
        try:
            widths = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter))
        except csv.Error:
            return 0, 0
        del widths[1]
        return max(((count, width) for width, count in widths.items()), default=(0, 0))

    return max(DELIMITERS, key=regularity)


def _fits(block: bytes, encoding: str) -> bool:
    try:
        block.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
