"""Census tables as InFuse and Nomis publish them: counts by area, as they stand in the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import pandas as pd

from streetgauge.errors import InputError
from streetgauge.io.tables import Columns, Sheet, as_table, find_header, zipped_tables
from streetgauge.outcomes.outcome import ALL, wide_table


@dataclass(frozen=True)
class Level:
    """A kind of area that census tables are published for.

    Parameters
    ----------
    infuse : str
        How InFuse's column GEO_TYP2 starts.
    nomis : str
        How the file is called, at its end, in a zip with a table for every kind.
    codes : str
        Form of the ONS's codes of such areas, as a regular expression.
    """

    infuse: str
    nomis: str
    codes: str


LEVELS: Mapping[str, Level] = MappingProxyType(
    {
        "oa": Level("OA", "oa", r"[EWSKN]00\d{6}"),
        "lsoa": Level("LSOADZ", "lsoa", r"[EWS]01\d{6}|95[A-Z]{2}\d\d[SW]\d"),
        "msoa": Level("MSOAIZ", "msoa", r"[EWS]02\d{6}"),
        "district": Level("LA", "ltla", r"E0[6-9]\d{6}|W06\d{6}|S12\d{6}|N09\d{6}"),
    }
)
# Other kinds that such a zip has tables for.
_KINDS = frozenset([*(level.nomis for level in LEVELS.values()), "ctry", "rgn", "utla"])


@dataclass(frozen=True, eq=False)
class CensusTable:
    """One census table: counts as text, by row number.

    Parameters
    ----------
    path : Path
        The file.
    codes : Series of str
        Area codes by row number; "" for notes below the table.
    counts : DataFrame of str
        The cells, columns named as in the file.
    headers : mapping of str to str
        Header in plain writing, or InFuse's cell code -> header as in the file.
    infuse : bool
        Whether it is a file of InFuse; else of Nomis.
    name : str or None
        The census table's number, e.g. QS302EW, where the file has it.
    vintage : str or None
        The year of the census, where the file has it.
    """

    path: Path
    codes: pd.Series
    counts: pd.DataFrame
    headers: Mapping[str, str]
    infuse: bool = False
    name: str | None = None
    vintage: str | None = None


def plain(header: str) -> str:
    """Write a header without what differs between releases: case, blanks, the kind of measure."""
    spaced = re.sub(r"\s*:\s*", ": ", header.lower())
    return re.sub(r"\s*; measures: value$", "", " ".join(spaced.split()))


def level_of(areas: Iterable[str]) -> str:
    """Find the kind of areas from their codes; small areas (LSOA) if the codes are others."""
    for area in areas:
        for name, level in LEVELS.items():
            if re.fullmatch(level.codes, area):
                return name
    return "lsoa"


def table_of_level(path: Path, level: str) -> str | None:
    """Name the table for a kind of area in a zip that has one for each; None if it has not.

    Raises
    ------
    InputError
        If the zip has tables for other kinds only.
    """
    names = zipped_tables(path) or ()
    kinds = {re.split(r"[-_]", PurePosixPath(name).stem.lower())[-1]: name for name in names}
    if len(names) < 2 or kinds.keys().isdisjoint(_KINDS):
        return None
    ending = LEVELS[level].nomis
    if ending not in kinds:
        raise InputError(
            path,
            f"the zip has no table for areas of the level {level!r} (...-{ending}.csv)",
            f"it has {', '.join(sorted(kinds))}; set 'level' if the study's areas are of another",
        )
    return kinds[ending]


_CELL = re.compile(r"f\d+(?![0-9a-z])")


def read_infuse(sheets: Sequence[Sheet], path: Path, level: str) -> CensusTable | None:
    """Read a table of InFuse: rows of one kind of area, columns by their cell codes.

    Below the header stands a row that describes the columns, without an area; rows end in a comma.
    A header is a cell code (``F1777``) or starts with one (``F1777-p-generalhealth-verybad``).

    Returns
    -------
    CensusTable or None
        None if no sheet has a header with GEO_CODE.

    Raises
    ------
    InputError
        If no row is of that kind of area, or two columns have one cell code.
    """
    found = find_header(sheets, _infuse_columns)
    if found is None:
        return None
    sheet, position, columns = found
    table = as_table(sheet, position, ragged=True)
    codes = table.iloc[:, columns["area"]]
    described = codes != ""
    if "level" in columns:
        kinds = table.iloc[:, columns["level"]].str.upper()
        wanted = LEVELS[level].infuse
        rows = described & kinds.str.startswith(wanted)
        if not rows.any():
            there = kinds[described & (kinds != "")].value_counts()
            known = ", ".join(f"{kind} ({count:,} rows)" for kind, count in there.items())
            raise InputError(
                path,
                f"no row is of the level {level!r} (GEO_TYP2 = {wanted!r})",
                f"it has {known or 'no areas'}; tick that level in InFuse, or set 'level'",
            )
        described = rows
    headers = {plain(str(header)): str(header) for header in table.columns}
    for header in map(str, table.columns):
        cell = _CELL.match(header.strip().lower())
        if cell is None:
            continue
        if headers.setdefault(cell[0], header) != header:
            raise InputError(
                path,
                f"two columns have the cell code {cell[0].upper()!r}: {headers[cell[0]]!r} and "
                f"{header!r}",
                "remove one of them",
            )
    return CensusTable(
        path, codes[described], table[described], headers, infuse=True, vintage="2011"
    )


# ONS custom datasets have no total: what all categories of a variable add up to.
_TOTALS = {
    "general health": "Total: All usual residents",
    "occupancy rating": "Total: All households",
    "economic activity": "Total: All usual residents aged 16 years and over",
    "highest level of qualification": "Total: All usual residents aged 16 years and over",
}
_CATEGORIES = re.compile(r"(.+?) \(\d+ categor(?:y|ies)\)")


def read_custom_dataset(sheets: Sequence[Sheet], path: Path) -> CensusTable | None:
    """Read a custom dataset of the ONS (Census 2021): a row for each area and category.

    The header is ``<kind of area> Code``, ``<kind of area>``, ``<variable> (n categories) Code``,
    ``<variable> (n categories)``, ``Observation``. "Does not apply" is not part of the total.

    Returns
    -------
    CensusTable or None
        None if no sheet has such a header.

    Raises
    ------
    InputError
        If the dataset crosses several variables.
    """
    found = find_header(sheets, _custom_columns)
    if found is None:
        return None
    sheet, position, columns = found
    table = as_table(sheet, position)
    variables = [name for name in table.columns if _CATEGORIES.fullmatch(name)]
    if len(variables) != 1:
        raise InputError(
            path,
            f"the dataset crosses {len(variables)} variables: {', '.join(variables)}",
            "make one with a single variable, or read it with source = \"table\" and 'measure'",
        )
    table = table[table[variables[0]] != "Does not apply"]
    codes = table.iloc[:, columns["area"]]
    counts = wide_table(codes, table[variables[0]], table.iloc[:, columns["number"]], sheet.title)
    variable = variables[0].lower()
    total = next((name for start, name in _TOTALS.items() if variable.startswith(start)), "Total")
    counts = counts.rename(columns={ALL: total})
    headers = {plain(name): name for name in counts.columns}
    return CensusTable(path, codes[counts.index], counts, headers, vintage="2021")


def _custom_columns(cells: tuple[str, ...]) -> Columns | None:
    if "Observation" not in cells or not cells[0].endswith(" Code"):
        return None
    return {"area": 0, "number": cells.index("Observation")}


def nearest_cells(code: str, table: CensusTable, count: int = 3) -> str:
    """Name the cells of the file with the numbers nearest to one that is not there."""
    wanted = int(code[1:])
    there = [cell.upper() for cell in table.headers if _CELL.fullmatch(cell)]
    nearest = sorted(there, key=lambda cell: (abs(int(cell[1:]) - wanted), cell))[:count]
    return f"the nearest there are {', '.join(nearest)}" if nearest else "it has no cells at all"


def _infuse_columns(cells: tuple[str, ...]) -> Columns | None:
    names = [cell.upper() for cell in cells]
    if "GEO_CODE" not in names:
        return None
    found = {"area": names.index("GEO_CODE")}
    if "GEO_TYP2" in names:
        found["level"] = names.index("GEO_TYP2")
    return found


_BULK_HEADERS = ("geography code", "geographycode")
_CODE = re.compile(r"[A-Z]\d{8}")  # the ONS's nine-character codes
_CODE_AND_NAME = re.compile(r"(\S+) : .*")
_WORD = re.compile(r"\S+")
_TABLE = re.compile(r"\b((?:KS|QS|LC|DC)\d{3,4}(?:EW|UK)?|TS\d{3}[A-Z]?)\b")
_YEAR = re.compile(r"\b(?:19|20)\d1\b")  # years of a census


def read_nomis(sheets: Sequence[Sheet], path: Path) -> CensusTable:
    """Read a table of Nomis: its header is found, whatever stands above it and below.

    Layouts: a query, text or workbook, with title and metadata above the header and a note on
    disclosure below, area codes in a column ``mnemonic`` or in the first one as
    ``E01000907 : Camden 001A``; a bulk download, with codes in a column ``geography code`` and the
    table's subject before every header. Of a bulk download with separate rows for town and country
    (``Rural Urban``), those for both together are taken.

    Raises
    ------
    InputError
        If there is no table with area codes, or a row with counts has no area code.
    """
    by_header = find_header(sheets, _code_column)
    by_content = None if by_header else find_header(sheets, _coded_cell)
    if by_header:
        sheet, position, column = by_header[0], by_header[1], by_header[2]["area"]
    elif by_content and by_content[1] > 0:
        # The header is the row above the first row of data.
        sheet, position, column = by_content[0], by_content[1] - 1, by_content[2]["area"]
    else:
        raise InputError(
            path,
            "there is no column with area codes ('mnemonic', 'geography code', 'GEO_CODE', or "
            "codes like 'E01000907 : Camden')",
            "download the table from Nomis with area codes",
        )
    counts = _both_together(as_table(sheet, position, ragged=True))
    codes = counts.iloc[:, column]
    named = codes.str.contains(" : ", regex=False)  # in bulk downloads no code is
    codes = codes.mask(named, codes[named].str.replace(_CODE_AND_NAME, r"\1", regex=True))
    codes = codes.where(codes.str.fullmatch(_WORD), "")
    bulk = plain(sheet.rows[position][column]) in _BULK_HEADERS
    name, vintage = _described(sheet, position)
    if bulk:
        vintage = _date(counts) or vintage
    return CensusTable(
        path,
        codes,
        counts,
        _headers(list(counts.columns), bulk=bulk),
        name=name,
        vintage=vintage,
    )


def _code_column(cells: tuple[str, ...]) -> Columns | None:
    written = [plain(cell) for cell in cells]
    for header in ("mnemonic", *_BULK_HEADERS):
        if header in written:
            return {"area": written.index(header)}
    return None


def _coded_cell(cells: tuple[str, ...]) -> Columns | None:
    """Find the code in a row of data; without a known header the table's content must do."""
    for column, cell in enumerate(cells[:3]):
        code = _CODE_AND_NAME.sub(r"\1", cell)
        counts = any(other.replace(",", "").isdigit() for other in cells[column + 1 :])
        if counts and (_CODE.fullmatch(code) or (code != cell and code.isalnum())):
            return {"area": column}
    return None


def _both_together(table: pd.DataFrame) -> pd.DataFrame:
    for header in table.columns:
        if plain(str(header)) == "rural urban" and len(table[header].unique()) > 1:
            return table[table[header].str.lower() == "total"]
    return table


def _headers(headers: Sequence[str], *, bulk: bool) -> dict[str, str]:
    """Headers in plain writing; those of bulk downloads also without the table's subject."""
    found: dict[str, str] = {}
    for header in headers:
        written = plain(header)
        found.setdefault(written, header)
        percent = "; measures:" in written  # what is left of another measure than the value
        if bulk and ": " in written and not percent:
            found.setdefault(written.split(": ", 1)[1], header)
    return found


def _described(sheet: Sheet, position: int) -> tuple[str | None, str | None]:
    """Find the table's number and the year of the census in the rows above the header."""
    name = vintage = None
    for cells in sheet.rows[:position]:
        label, rest = plain(cells[0]).removesuffix(":").strip(), " ".join(cells[1:])
        if label == "date" and (year := _YEAR.search(rest)):
            vintage = year[0]
        elif name is None and (table := _TABLE.search(cells[0].upper())):
            name = table[1]
    if vintage is None and (year := _YEAR.search(sheet.rows[position][0])):
        vintage = year[0]  # '2011 super output area - lower layer'
    return name, vintage


def _date(counts: pd.DataFrame) -> str | None:
    for header in counts.columns:
        if plain(str(header)) == "date":
            years = counts[header].str.extract(f"({_YEAR.pattern})", expand=False).dropna()
            return str(years.iloc[0]) if len(years.unique()) == 1 else None
    return None
