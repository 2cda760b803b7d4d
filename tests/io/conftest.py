"""Workbooks in formats that no library here writes, byte by byte."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

Rows = Sequence[Sequence[str | float | None]]


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


def _biff(rows: Rows) -> bytes:
    """Write the stream of an Excel 97 workbook: numbers, labels, and None as a formula's result 7.

    The format is Microsoft's [MS-XLS]: a record is its kind, its length and its content.
    """
    start = struct.pack("<HHHHII", 0x0600, 0x0005, 0, 0, 0, 6)
    name = b"Data"
    sheet = struct.pack("<IBB", 0, 0, 0) + bytes([len(name), 0]) + name
    offset = len(_record(0x0809, start) + _record(0x0085, sheet) + _record(0x000A, b""))
    sheet = struct.pack("<I", offset) + sheet[4:]
    stream = _record(0x0809, start) + _record(0x0085, sheet) + _record(0x000A, b"")
    stream += _record(0x0809, struct.pack("<HHHHII", 0x0600, 0x0010, 0, 0, 0, 6))
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            place = struct.pack("<HHH", r, c, 0)
            if cell is None:
                result = struct.pack("<dHIH", 7.0, 0, 0, 3) + b"\x1e\x07\x00"
                stream += _record(0x0006, place + result)
            elif isinstance(cell, str):
                text = struct.pack("<HB", len(cell), 1) + cell.encode("utf-16-le")
                stream += _record(0x0204, place + text)
            else:
                stream += _record(0x0203, place + struct.pack("<d", cell))
    return stream + _record(0x000A, b"")


def _compound(stream: bytes) -> bytes:
    """Put a stream into an OLE compound file ([MS-CFB]): header, FAT, directory, the stream."""
    stream = stream.ljust(max(4096, -(-len(stream) // 512) * 512), b"\0")
    sectors = len(stream) // 512
    assert sectors < 126
    end, free = 0xFFFFFFFE, 0xFFFFFFFF
    chain = [0xFFFFFFFD, end, *range(3, 2 + sectors), end]
    fat = struct.pack("<128I", *chain, *[free] * (128 - len(chain)))
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    header += struct.pack("<5H6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack("<9I", 0, 1, 1, 0, 4096, end, 0, end, 0)
    header += struct.pack("<109I", 0, *[free] * 108)

    def entry(name: str, kind: int, child: int, first: int, size: int) -> bytes:
        text = name.encode("utf-16-le") + b"\0\0" if name else b""
        fields = struct.pack("<HBB3I", len(text), kind, 1, free, free, child)
        return text.ljust(64, b"\0") + fields + bytes(36) + struct.pack("<IQ", first, size)

    directory = entry("Root Entry", 5, 1, end, 0) + entry("Workbook", 2, free, 2, len(stream))
    return header + fat + directory.ljust(512, b"\0") + stream


@pytest.fixture
def write_xls() -> Callable[[Path, Rows], Path]:
    """Give a function that writes an Excel 97 workbook with one sheet, Data."""

    def write(path: Path, rows: Rows) -> Path:
        path.write_bytes(_compound(_biff(rows)))
        return path

    return write


@pytest.fixture
def write_ods() -> Callable[[Path, Rows], Path]:
    """Give a function that writes an OpenDocument workbook with one sheet, Data."""

    def write(path: Path, rows: Rows) -> Path:
        namespaces = " ".join(
            f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
            for short, name in (("office", "office"), ("table", "table"), ("text", "text"))
        )
        cells = ""
        for row in rows:
            cells += "<table:table-row>"
            for cell in row:
                kind = (
                    'office:value-type="string"'
                    if isinstance(cell, str)
                    else f'office:value-type="float" office:value="{cell}"'
                )
                cells += f"<table:table-cell {kind}><text:p>{cell}</text:p></table:table-cell>"
            cells += "</table:table-row>"
        content = (
            f'<?xml version="1.0"?><office:document-content {namespaces}><office:body>'
            f'<office:spreadsheet><table:table table:name="Data">{cells}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>"
        )
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
            archive.writestr("content.xml", content)
            archive.writestr("META-INF/manifest.xml", "<manifest/>")
        return path

    return write
