"""Files as bytes: what they are, unpacked, and as text."""

from __future__ import annotations

import codecs
import gzip
from contextlib import suppress
from pathlib import Path
from typing import Any

from streetgauge.errors import InputError

GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"


def opened(path: Path) -> Any:
    """Open a file for reading bytes, unpacked if it is gzipped, whatever its name."""
    try:
        return gzip.open(path, "rb") if starts(path, GZIP) else path.open("rb")
    except IsADirectoryError:
        raise InputError(path, "this is a folder", "name a file in it") from None


def starts(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as handle:
            return handle.read(len(magic)) == magic
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(path, "there is no such file", "mend the path in study.toml") from None
    except IsADirectoryError:
        raise InputError(path, "this is a folder", "name a file in it") from None


def decoded(content: bytes) -> str:
    """Text of bytes: a byte order mark decides, then UTF-8 if it fits, else Windows' Latin-1."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    for encoding in ("utf-8-sig", "cp1252"):
        with suppress(UnicodeDecodeError):
            return content.decode(encoding)
    return content.decode("latin-1")
