"""A census table, whoever published it: counts by area, as they stand in the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import pandas as pd

from streetgauge.errors import InputError
from streetgauge.io.tables import zipped_tables

__all__ = ["LEVELS", "CensusTable", "Level", "level_of", "plain", "table_of_level"]


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
        What the ONS's codes of such areas look like, as a regular expression.
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
        The census table's number, e.g. QS302EW, where the file says it.
    vintage : str or None
        The year of the census, where the file says it.
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
    """Tell the kind of areas from their codes; small areas (LSOA) if the codes are others."""
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
