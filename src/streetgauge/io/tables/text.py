"""Bytes as text, and how cells are set apart in it."""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

DELIMITERS = (",", "\t", ";")
_SAMPLE = 200  # lines that are looked at to see what sets cells apart
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
    """Find what sets cells apart: that which cuts the most lines into equally many cells."""
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
