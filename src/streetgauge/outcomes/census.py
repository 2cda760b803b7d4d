"""Shares of counts from census tables, whoever published them and in whatever layout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from streetgauge.errors import InputError, closest
from streetgauge.io.tables import read_sheets, refuse_numbers, to_numbers
from streetgauge.outcomes.census_tables import (
    CensusTable,
    level_of,
    nearest_cells,
    plain,
    read_custom_dataset,
    read_infuse,
    read_nomis,
    table_of_level,
)
from streetgauge.outcomes.measures import INFUSE, MEASURES, Measure, Sum
from streetgauge.outcomes.outcome import Outcome, one_row_an_area, provenance, stray_cells
from streetgauge.settings import CensusOutcome


def read_census(
    name: str, settings: CensusOutcome, areas: Sequence[str] | pd.Index = ()
) -> Outcome:
    """Read a measure of the census, or a share of columns that the settings name.

    Parameters
    ----------
    name : str
        The outcome's key.
    settings : CensusOutcome
        Files and measure, or files and columns.
    areas : sequence of str
        Codes of the study's areas: which kind of areas is read from files with several.

    Returns
    -------
    Outcome
        Shares from 0 to 1 (or years of age). Missing, with the reason, where a count is missing or
        the total is 0.

    Raises
    ------
    InputError
        If no file has the columns, the files are of two censuses, a count is negative or no
        number, an area is repeated with different counts, or a share is greater than 1.
    """
    level = settings.level or level_of(areas)
    tables = [read_counts(path, level) for path in settings.files]
    vintages = sorted({table.vintage for table in tables if table.vintage})
    if len(vintages) > 1:
        raise InputError(
            _paths_of(tables),
            f"the files are of the censuses of {' and '.join(vintages)}",
            "give files of one census",
        )
    measure, what = _measure(name, settings)
    top_way, bottom_way = _choose(tables, measure, what)
    top = _count(*top_way)
    bottom = None if bottom_way is None else _count(*bottom_way)
    values, missing = _as_it_is(top) if bottom is None else _divide(top, bottom)
    counts = [top] if bottom is None else [top, bottom]
    roles = ("value",) if bottom is None else ("numerator", "denominator")
    vintage = next((each for count in counts if (each := count.vintage)), None)
    year = f"Census {vintage}" if vintage else "Census"
    by_infuse = any(table.infuse for table in tables)
    return Outcome(
        name=name,
        label=settings.label or name,
        values=values,
        direction=_direction(settings.direction or measure.direction),
        provenance=provenance(
            "census",
            settings.files,
            {role: str(count.way) for role, count in zip(roles, counts, strict=True)},
            publisher=f"Office for National Statistics ({year}, {INFUSE})"
            if by_infuse
            else f"Office for National Statistics ({year}, Nomis)",
            licence="Open Government Licence v3.0",
            vintage=vintage,
            cells=list(dict.fromkeys(cell for count in counts for cell in count.cells)),
        ),
        missing=missing,
        notes=tuple(note for table in tables for note in stray_cells(table.counts)),
        weights=None if bottom is None else bottom.by_area,
    )


def read_counts(path: Path, level: str = "lsoa") -> CensusTable:
    """Read a census table of InFuse, Nomis or a custom dataset, recognised by its header.

    Parameters
    ----------
    path : Path
        Text, workbook, or a zip as published (with a table for every kind of area).
    level : {"oa", "lsoa", "msoa", "district"}
        Which kind of areas is read from files that have several.

    Raises
    ------
    InputError
        If there is no table with area codes, or it has none of that kind.
    """
    sheets = read_sheets(path, table_of_level(path, level))
    return (
        read_infuse(sheets, path, level)
        or read_custom_dataset(sheets, path)
        or read_nomis(sheets, path)
    )


def _measure(name: str, settings: CensusOutcome) -> tuple[Measure, str]:
    if settings.measure is None:
        own = Measure("", (Sum(settings.numerator),), (Sum(settings.denominator),))
        return own, f"outcome {name!r}"
    measure = MEASURES[settings.measure]
    return measure, f"measure {settings.measure!r} (census table {measure.tables})"


def _direction(stated: str | None) -> Literal["higher-is-better", "higher-is-worse"]:
    return "higher-is-better" if stated == "higher-is-better" else "higher-is-worse"


_Way = tuple[Sum, CensusTable]


def _choose(tables: Sequence[CensusTable], measure: Measure, what: str) -> tuple[_Way, _Way | None]:
    """Take the first way to the numerator and the first to the denominator of the same census."""
    tops = _ways(tables, measure.numerator)
    if not tops:
        raise _no_column(tables, measure.numerator, "numerator", what)
    if not measure.denominator:
        return tops[0], None
    bottoms = _ways(tables, measure.denominator)
    for top in tops:
        for bottom in bottoms:
            if top[0].vintage == bottom[0].vintage:
                return top, bottom
    # Of the census that the numerator is of, if the file names it.
    years = {way.vintage for way, _ in tops}
    left = [way for way in measure.denominator if way.vintage in years]
    raise _no_column(tables, left or measure.denominator, "denominator", what)


def _ways(tables: Sequence[CensusTable], ways: Sequence[Sum]) -> list[_Way]:
    return [
        (way, table)
        for way in ways
        for table in tables
        if _of_its_census(way, table)
        and all(plain(column) in table.headers for column in way.columns)
    ]


def _of_its_census(way: Sum, table: CensusTable) -> bool:
    return way.vintage is None or table.vintage in (None, way.vintage)


def _no_column(
    tables: Sequence[CensusTable], ways: Sequence[Sum], role: str, what: str
) -> InputError:
    """Name the columns that files of this kind have, and the closest there."""
    infuse = next((table for table in tables if table.infuse), None)
    fitting = [
        way
        for way in ways
        if way.vintage is None
        or (
            (way.table == INFUSE) == (infuse is not None)
            and any(_of_its_census(way, table) for table in tables)
        )
    ]
    if not fitting:
        return InputError(
            _paths_of(tables),
            f"no file of this kind has the {role} of {what}",
            "give a table of Nomis that has it",
        )
    known = {written: header for table in tables for written, header in table.headers.items()}
    absent = [column for column in fitting[0].columns if plain(column) not in known]
    if not absent:
        return InputError(
            _paths_of(tables),
            f"the columns {str(fitting[0])!r}, which the {role} of {what} needs, are in no one "
            "file",
            "give the table that has them all",
        )
    others = [str(way) for way in fitting[1:]]
    instead = f" (or else {', or '.join(map(repr, others))})" if others else ""
    cell = infuse is not None and re.fullmatch(r"F\d+", absent[0])
    return InputError(
        _paths_of(tables),
        f"there is no column {absent[0]!r}{instead}, which the {role} of {what} needs",
        nearest_cells(absent[0], infuse) if cell and infuse else closest(absent[0], known.values()),
    )


def _paths_of(tables: Sequence[CensusTable]) -> str:
    return " and ".join(str(table.path) for table in tables)


@dataclass(frozen=True, eq=False)
class _Count:
    """A count by area, and where it was found."""

    path: Path
    way: Sum
    by_area: pd.Series
    vintage: str | None
    cells: tuple[str, ...]


def _count(way: Sum, table: CensusTable) -> _Count:
    headers = [table.headers[plain(column)] for column in way.columns]
    noted = table.codes == ""
    _refuse_counts_without_code(table.counts.loc[noted, headers], table.path)
    cells = table.counts.loc[~noted, headers]
    numbers = pd.DataFrame({h: to_numbers(cells[h], table.path) for h in headers})
    for header in headers:
        column = numbers[header]
        refuse_numbers(column < 0, column, table.path, "a negative count", "fetch the table again")
    by_area = one_row_an_area(table.codes[~noted], numbers, table.path)
    added = by_area[headers[: len(way.add)]].sum(axis=1, skipna=False)
    taken = by_area[headers[len(way.add) :]].sum(axis=1, skipna=False)
    number = table.name or way.table
    prefix = "" if table.infuse or not number else f"{number}: "
    return _Count(
        path=table.path,
        way=way,
        by_area=added - taken,
        vintage=table.vintage or way.vintage,
        cells=tuple(f"{prefix}{column}" for column in way.columns),
    )


def _refuse_counts_without_code(notes: pd.DataFrame, path: Path) -> None:
    """Refuse counts in rows that should be notes: they belong to an area whose code is lost."""
    counts = notes.apply(lambda cells: cells.str.fullmatch(r"\d[\d,.]*")).any(axis=1)
    if counts.any():
        raise InputError(
            f"{path}: row {notes.index[int(counts.to_numpy().argmax())]}",
            "there are counts but no area code",
            "download the table from Nomis with area codes",
        )


def _as_it_is(count: _Count) -> tuple[pd.Series, dict[str, str]]:
    gaps = count.by_area.index[count.by_area.isna()]
    return count.by_area.rename("value"), {area: _gap(count, area) for area in gaps}


def _divide(top: _Count, bottom: _Count) -> tuple[pd.Series, dict[str, str]]:
    areas = top.by_area.index.union(bottom.by_area.index).sort_values()
    upper, lower = top.by_area.reindex(areas), bottom.by_area.reindex(areas)
    missing: dict[str, str] = {}
    for count, numbers in ((bottom, lower), (top, upper)):
        missing |= {area: _gap(count, area) for area in areas[numbers.isna()]}
    for area in areas[lower == 0]:
        missing[area] = f"the total {str(bottom.way)!r} is 0"
    values = (upper / lower.where(lower != 0)).rename("share")
    wrong = areas[(values > 1) | (lower < 0)]
    if len(wrong):
        area = wrong[0]
        raise InputError(
            f"{top.path}: area {area!r}",
            f"{upper[area]:g} ({top.way}) of {lower[area]:g} ({bottom.way}) is not a share from 0 "
            "to 1",
            "the tables do not belong together, or a column is not a count",
        )
    return values, missing


def _gap(count: _Count, area: str) -> str:
    absent = "no row" if area not in count.by_area.index else f"no {str(count.way)!r}"
    return f"{count.path.name} has {absent} for it"
