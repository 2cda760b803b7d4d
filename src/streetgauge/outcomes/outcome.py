"""One official statistic, and how rows of a file become one value an area."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from streetgauge.io.files import sha256_of
from streetgauge.io.tables import refuse_numbers, refuse_repeated, to_numbers

ALL = "*"  # all measures of an area in a long table, added up


@dataclass(frozen=True, eq=False)
class Outcome:
    """One official statistic of small areas, as its file has it.

    Parameters
    ----------
    name : str
        Its key in the study.
    label : str
        How reports call it.
    values : Series of float
        By area code (sorted, unique): all areas of the file; NaN where the file has no number.
    direction : "higher-is-better" or "higher-is-worse"
        Which end of the values is worst off.
    published : Series of Int64, optional
        Deciles as published, 1 = worst off, by area code.
    provenance : dict
        source, file, sha256 (texts), files (list of both), publisher, licence, columns (role ->
        header), rows_without_code, vintage (the year it is of), cells (the publisher's tables and
        columns, as texts); and what else its reader knows (an index of deprivation: index,
        areas, nation_areas, file_areas).
    missing : mapping of area code to str
        Why an area that is in the file has no value.
    weights : Series of float, optional
        By area code, what each value is a share or a mean of, e.g. the total of a census table:
        the mean of two areas' shares with these weights is the share of their added counts.
    notes : tuple of str
        What a user should know of the file: what was passed over in it, and what is odd.
    """

    name: str
    label: str
    values: pd.Series
    direction: Literal["higher-is-better", "higher-is-worse"]
    published: pd.Series | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    weights: pd.Series | None = None
    notes: tuple[str, ...] = ()


def provenance(
    source: str,
    files: Sequence[Path],
    columns: Mapping[str, str],
    *,
    publisher: str | None = None,
    licence: str | None = None,
    rows_without_code: int = 0,
    vintage: str | None = None,
    cells: Sequence[str] = (),
) -> dict[str, Any]:
    """Give where an outcome comes from, in what JSON can hold; files by name and content."""
    hashes = [{"file": path.name, "sha256": sha256_of(path)} for path in files]
    return {
        "source": source,
        "file": " + ".join(each["file"] for each in hashes),
        "sha256": " + ".join(each["sha256"] for each in hashes),
        "files": hashes,
        "publisher": publisher,
        "licence": licence,
        "columns": dict(columns),
        "rows_without_code": rows_without_code,
        "vintage": vintage,
        "cells": list(cells),
    }


def one_row_an_area(codes: pd.Series, numbers: pd.DataFrame, title: object) -> pd.DataFrame:
    """Key numbers by area code; an area with several rows must have the same numbers in all.

    Parameters
    ----------
    codes : Series of str
        Area codes; the index holds row numbers. Rows with an empty code are excluded.
    numbers : DataFrame of float
        The same rows; columns named as in the file.
    title : object
        The file, for errors.

    Returns
    -------
    DataFrame
        ``numbers`` by area code, sorted and unique.

    Raises
    ------
    InputError
        If an area has two rows with different numbers.
    """
    coded = codes != ""
    codes, numbers = codes[coded], numbers[coded]
    refuse_repeated(codes, title, "area", values=numbers, unless_equal=True)
    by_area = numbers.set_axis(pd.Index(codes, dtype="str", name="area"))
    return by_area[~by_area.index.duplicated()].sort_index()


def empty_cells(codes: pd.Series, cells: pd.Series, numbers: pd.Series) -> dict[str, str]:
    """Give for every area without a number what its cell holds instead."""
    lost = numbers.isna() & (codes != "")
    return {
        code: f"column {cells.name!r} is empty" if cell == "" else f"the file has {cell!r}"
        for code, cell in zip(codes[lost], cells[lost], strict=True)
    }


def refuse_no_decile(numbers: pd.Series, title: object, classes: int = 10) -> None:
    """Refuse published deciles (or classes) that are not whole numbers from 1 to ``classes``."""
    word = "decile" if classes == 10 else "class"
    wrong = numbers.notna() & ~numbers.isin(range(1, classes + 1))
    step = f"name the column with the {'deciles' if classes == 10 else 'classes'}"
    refuse_numbers(wrong, numbers, title, f"no {word} from 1 to {classes}", step)


@lru_cache(maxsize=1 << 14)  # every row of a file may be its header, of each kind of index
def plain_header(header: str) -> str:
    """Write a header in lower case, without underscores and line breaks, one blank at a time."""
    return " ".join(header.lower().replace("_", " ").split())


def stray_cells(table: pd.DataFrame) -> tuple[str, ...]:
    """Count, in a note, the cells next to a table of a workbook."""
    count = table.attrs.get("stray_cells", 0)
    if not count:
        return ()
    return (f"{count:,} {'cell' if count == 1 else 'cells'} right of the table ignored",)


def wide_table(
    areas: pd.Series, measures: pd.Series, numbers: pd.Series, title: object
) -> pd.DataFrame:
    """Lay the rows of a long table out with a row an area and a column a measure.

    Parameters
    ----------
    areas, measures, numbers : Series of str
        What each row is of, what it measures, and the number; the index holds rows' numbers.
    title : object
        The file, for errors.

    Returns
    -------
    DataFrame of str
        Indexed by the number of each area's first row; "" where an area lacks a measure. The column
        `ALL` is all of them added up.

    Raises
    ------
    InputError
        If an area has a measure in two rows, or a cell is not a number.
    """
    step = "name all the columns that measures differ in"
    refuse_repeated(areas + ": " + measures, title, "the measure", step=step)
    rows = pd.DataFrame({"area": areas, "measure": measures, "number": numbers})
    wide: pd.DataFrame = rows.pivot_table("number", "area", "measure", aggfunc="first", sort=False)
    total = to_numbers(numbers, title).groupby(areas, sort=False).agg(lambda x: x.sum(skipna=False))
    wide[ALL] = total.map(lambda x: "" if pd.isna(x) else f"{x:.15g}")
    return wide.fillna("").set_axis(areas.index[~areas.duplicated()])
