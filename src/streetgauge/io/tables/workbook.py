"""Workbooks (.xlsx, .xlsm, .xls, .ods): stored values only; no formula or macro is ever run."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from streetgauge.errors import InputError, summary
from streetgauge.io.tables.raw import UNPACKING, ZIP, starts

# What stands in a cell whose formula was never worked out, as programs write that only compute.
UNKNOWN_FORMULA = "(formula without a stored value)"
_CELLS = 50_000_000  # more than any table of areas has; a stray cell far out reaches that
_XML = 1 << 30  # bytes of one sheet
_CELL = re.compile(rb"<(?:\w+:)?c\b([^>]*[^/>])>(.*?)</(?:\w+:)?c>", re.DOTALL)
_FORMULA = re.compile(rb"<(?:\w+:)?f[\s/>]")
_VALUE = re.compile(rb"<(?:\w+:)?v>[^<]|<(?:\w+:)?is[\s>]")
_POSITION = re.compile(rb'\br="([A-Z]{1,3})(\d+)"')
_WIDE = re.compile(rb'<(?:\w+:)?c\b[^>]*?\br="([A-Z]{2,3})\d+"')
_ROW = re.compile(rb'<(?:\w+:)?row\b[^>]*?\br="(\d+)"')
Page = tuple[str, list[list[Any]]]


def read_pages(path: Path) -> list[Page]:
    """Read every sheet of a workbook: its name and its rows from the first one on.

    Raises
    ------
    InputError
        If it is not a workbook, is locked with a password, or a sheet has a stray cell so far out
        that the table in between would not fit into memory.
    """
    import python_calamine as calamine

    formulas = _formulas_without_value(path) if starts(path, ZIP) else {}
    try:
        # As bytes: the suffix of a file may be of another format than its content.
        with path.open("rb") as handle, calamine.load_workbook(handle) as book:
            pages = [
                (sheet.name, book.get_sheet_by_name(sheet.name).to_python(skip_empty_area=False))
                for sheet in book.sheets_metadata
                if sheet.typ == calamine.SheetTypeEnum.WorkSheet
            ]
    except calamine.PasswordError:
        raise InputError(path, "it is locked with a password", "save it without one") from None
    except (calamine.CalamineError, OSError) as error:
        raise _unreadable(path, error) from None
    return [(name, _marked(rows, formulas.get(name, ()))) for name, rows in pages]


def _formulas_without_value(path: Path) -> dict[str, list[tuple[int, int]]]:
    """Find formulas without a stored value in .xlsx, by sheet: rows and columns from 0."""
    found = {}
    try:
        with zipfile.ZipFile(path) as book:
            names = set(book.namelist())
            if "xl/workbook.bin" in names:
                raise InputError(path, "this is a binary workbook (.xlsb)", "save it as .xlsx")
            for name, part in _parts(book, names):
                if book.getinfo(part).file_size > _XML:
                    raise InputError(
                        path, f"sheet {name!r} is larger than 1 GiB", "save it as .csv"
                    )
                xml = book.read(part)
                _refuse_far_cells(xml, f"{path}, sheet {name!r}")
                found[name] = list(_without_value(xml))
    except (*UNPACKING, ElementTree.ParseError, KeyError) as error:
        raise _unreadable(path, error) from None
    return found


def _parts(book: zipfile.ZipFile, names: set[str]) -> Iterator[tuple[str, str]]:
    """Sheets of .xlsx, each with the file inside that has its cells."""
    listing, links = "xl/workbook.xml", "xl/_rels/workbook.xml.rels"
    if not {listing, links} <= names:
        return
    targets = {
        link.get("Id"): link.get("Target", "") for link in ElementTree.fromstring(book.read(links))
    }
    for sheet in ElementTree.fromstring(book.read(listing)).iter():
        if sheet.tag.rpartition("}")[2] != "sheet":
            continue
        id_ = next((v for k, v in sheet.attrib.items() if k.rpartition("}")[2] == "id"), None)
        target = targets.get(id_, "")
        part = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
        if part in names:
            yield sheet.get("name", ""), part


def _without_value(xml: bytes) -> Iterator[tuple[int, int]]:
    if not _FORMULA.search(xml):
        return
    for cell in _CELL.finditer(xml):
        position = _POSITION.search(cell[1])
        if position and _FORMULA.search(cell[2]) and not _VALUE.search(cell[2]):
            yield int(position[2]) - 1, _column(position[1]) - 1


def _refuse_far_cells(xml: bytes, title: str) -> None:
    rows = max((int(row[1]) for row in _ROW.finditer(xml)), default=1)
    columns = max((_column(cell[1]) for cell in _WIDE.finditer(xml)), default=26)
    if rows * columns > _CELLS:
        raise InputError(
            title,
            f"its cells reach to row {rows:,} and column {columns:,}, too far for a table of areas",
            "delete the stray cells, or save it as .csv",
        )


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number


def _marked(rows: list[list[Any]], formulas: Sequence[tuple[int, int]]) -> list[list[Any]]:
    for row, column in formulas:
        rows.extend([] for _ in range(row + 1 - len(rows)))
        rows[row].extend([""] * (column + 1 - len(rows[row])))
        rows[row][column] = UNKNOWN_FORMULA
    return rows


def _unreadable(path: Path, error: Exception) -> InputError:
    if "detect file format" in str(error):
        reason = "the file is cut off, or this is not a workbook that can be read"
        return InputError(path, reason, "fetch it again, or save it as .xlsx or .csv")
    return InputError(
        path,
        f"this is not a workbook that can be read ({summary(error)})",
        "save it as .xlsx or .csv",
    )
