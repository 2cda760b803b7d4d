"""Which year's areas codes belong to, seen from the codes and the column that they stand in.

Statistical areas are drawn anew after a census. In England and Wales an area that was changed gets
a new code and ends the old one, numbered on from the last release, and an area that was not keeps
its code: so an equal code is an equal area, a number beyond the last of a release is of a later
one, and a number below it may be of either. In Scotland all areas are numbered anew.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from streetgauge.errors import InputError

__all__ = ["FAMILIES", "Family", "Vintage", "vintages", "year_in"]


@dataclass(frozen=True)
class Family:
    """Codes that are numbered in one sequence.

    Parameters
    ----------
    kind : str
        What the areas are called: OA, LSOA, MSOA, data zone, ...
    years : tuple of int
        The releases.
    last : tuple of int
        The highest number of each release; higher ones are of no area that is known here. Empty if
        areas are not numbered.
    anew : bool
        Whether each release numbers all its areas anew, so that no code is in two of them.
    """

    kind: str
    years: tuple[int, ...]
    last: tuple[int, ...] = ()
    anew: bool = False

    def has(self, code: str) -> bool:
        """Tell whether a code is one of a known release."""
        digits = code[3:]
        return len(digits) == 6 and digits.isdecimal() and 0 < int(digits) <= self.last[-1]

    def year_of(self, code: str) -> int:
        """Give the first release that has this code."""
        return self.years[bisect_left(self.last, int(code[3:]))] if self.last else self.years[0]


# By the first three characters of a code. England and Wales: the first and last codes of the ONS's
# lookups 'LSOA (2001) to LSOA (2011)', 'LSOA (2011) to LSOA (2021)' and 'MSOA (2011) to MSOA (2021)
# to Local Authority District (2022)' (Open Geography portal); of 2001, and of output areas, the
# numbers of areas in the census. Scotland: the Scottish Government's descriptions of data zones
# ("The Data Zone 2011 codes range from S01006506 to S01013481") and the postcode directory's user
# guide; of 2022, the numbers of areas in the census. Northern Ireland: NISRA's lookups. The last
# numbers of output areas of 2021 are rounded up.
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "E00": Family("OA", (2001, 2011, 2021), (165_665, 176_774, 200_000)),
        "W00": Family("OA", (2001, 2011, 2021), (9_769, 10_265, 12_000)),
        "E01": Family("LSOA", (2001, 2011, 2021), (32_482, 33_768, 35_762)),
        "W01": Family("LSOA", (2001, 2011, 2021), (1_896, 1_958, 2_040)),
        "E02": Family("MSOA", (2001, 2011, 2021), (6_781, 6_934, 7_116)),
        "W02": Family("MSOA", (2001, 2011, 2021), (413, 423, 428)),
        "S00": Family("OA", (2001, 2011, 2022), (88_955, 135_306, 181_669), anew=True),
        "S01": Family("data zone", (2001, 2011, 2022), (6_505, 13_481, 20_873), anew=True),
        "S02": Family("intermediate zone", (2001, 2011, 2022), (1_235, 2_514, 3_848), anew=True),
        "N00": Family("small area", (2011,), (4_537,)),
        "N20": Family("data zone", (2021,), (3_780,)),
        "N21": Family("super data zone", (2021,), (850,)),
        "95": Family("SOA", (2001,)),
    }
)
_NORTHERN_IRISH_SOA = re.compile(r"95[A-Z]{2}\d\d[SW]\d")
_YEAR = re.compile(r"(?<!\d)(?:20)?(01|11|21|22)(?!\d)")
# Numbers of 2001 that were not changed since are in every later release: without a word on the
# year they count as 2011, the release that the published statistics of England and Wales have.
_LEAST = 2011


@dataclass(frozen=True)
class Vintage:
    """Of which kind and year areas are.

    Parameters
    ----------
    kind : str
        As `Family` calls them.
    year : int
        Of the release.
    """

    kind: str
    year: int

    def __str__(self) -> str:
        return f"{self.kind} {self.year}"


def year_in(words: str | None) -> int | None:
    """Find the year of areas in a column's name, or in what a reader says.

    Examples
    --------
    >>> [year_in(words) for words in ("LSOA11CD", "LSOA code (2021)", "lsoa_2011", "Code", None)]
    [2011, 2021, 2011, None, None]
    """
    years = set(_YEAR.findall(words or ""))
    return 2000 + int(years.pop()) if len(years) == 1 else None


def vintages(
    codes: Iterable[str], stated: str | None = None, title: object = ""
) -> dict[str, Vintage]:
    """Tell which year's areas codes are, for each sequence of codes.

    Parameters
    ----------
    codes : iterable of str
        Area codes in any order; those that are no known areas of the UK are passed over.
    stated : str, optional
        The name of their column, or other words that may hold the year.
    title : object
        The file, for errors.

    Returns
    -------
    dict of str to Vintage
        By the first characters of the codes, as in `FAMILIES`; empty if no code is known.

    Raises
    ------
    InputError
        If codes of two releases stand together, which no one release has.
    """
    year = year_in(stated)
    ends: dict[str, tuple[str, str]] = {}  # the lowest and the highest code of each sequence
    for code in codes:
        start = code[:3]
        if _NORTHERN_IRISH_SOA.fullmatch(code):
            start = code[:2]
        elif start not in FAMILIES or not FAMILIES[start].has(code):
            continue
        low, high = ends.get(start, (code, code))
        ends[start] = min(low, code), max(high, code)
    return {
        start: _vintage(FAMILIES[start], low, high, year, stated, title)
        for start, (low, high) in sorted(ends.items())
    }


def _vintage(
    family: Family, low: str, high: str, year: int | None, stated: str | None, title: object
) -> Vintage:
    oldest, seen = family.year_of(low), family.year_of(high)
    if family.anew:
        if oldest != seen:
            raise InputError(
                title,
                f"codes of two vintages stand in one file: {low!r} is a {family.kind} of {oldest}, "
                f"{high!r} of {seen}",
                "give a file of one year's areas",
            )
        return Vintage(family.kind, seen)
    if year not in family.years:
        least = _LEAST if _LEAST in family.years else family.years[0]
        return Vintage(family.kind, max(seen, least))
    if seen > year:
        raise InputError(
            title,
            f"codes of two vintages stand in one file: {stated!r} says {year}, and {high!r} is "
            f"new among the {family.kind}s of {seen}",
            "give a file of one year's areas, or name its column after that year",
        )
    return Vintage(family.kind, year)
