"""What the census measures, as data: what is divided by what, in which table of which census."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

INFUSE = "InFuse"


@dataclass(frozen=True)
class Sum:
    """Columns of one census table, added up and taken away.

    Parameters
    ----------
    add, subtract : tuple of str
        Column headers as Nomis writes them (case and blanks do not matter), or InFuse's cell codes.
    table : str
        Number of the census table that has them, or "InFuse".
    vintage : str or None
        Year of the census; None for columns of a user's own choice.
    """

    add: tuple[str, ...]
    subtract: tuple[str, ...] = ()
    table: str = ""
    vintage: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that it needs."""
        return self.add + self.subtract

    def __str__(self) -> str:
        return " - ".join([" + ".join(self.add), *self.subtract])


@dataclass(frozen=True)
class Measure:
    """A share of counts, or a number that a table has as it is.

    Parameters
    ----------
    about : str
        What it is, in words.
    numerator, denominator : tuple of Sum
        Ways to get the count, the best first; the first pair of one census that the files allow is
        used. Without a denominator the numerator itself is the measure.
    direction : str or None
        Which end is worst off; None if the user has to choose.
    """

    about: str
    numerator: tuple[Sum, ...]
    denominator: tuple[Sum, ...] = ()
    direction: str | None = "higher-is-worse"

    @property
    def tables(self) -> str:
        """The census tables that have it, for errors."""
        ways = (*self.numerator, *self.denominator)
        return ", ".join(dict.fromkeys(way.table for way in ways if way.table != INFUSE))


def _infuse(*cells: str) -> Sum:
    return Sum(cells, table=INFUSE, vintage="2011")


def _in_2011(table: str, *add: str, subtract: str | None = None) -> Sum:
    return Sum(add, (subtract,) if subtract else (), table, "2011")


def _in_2021(table: str, *add: str) -> Sum:
    return Sum(add, (), table, "2021")


_ROOMS = "Occupancy rating (rooms) of"
_BEDROOMS = "Occupancy rating (bedrooms) of"
_ROOMS_2021 = "Occupancy rating of rooms:"
_BEDROOMS_2021 = "Occupancy rating of bedrooms:"
_ACTIVE = "Economically active (excluding full-time students)"
_STUDENT = "Economically active and a full-time student"
_LEVEL_1 = "Level 1 qualifications"
_HOUSEHOLDS = (
    _in_2011("KS403EW", "All categories: Type of central heating in household"),
    _in_2011("QS408EW", "All categories: Occupancy rating (rooms)"),
    _in_2011("QS408EW", "All categories: Occupancy rating rooms"),
    _in_2011("QS412EW", "All categories: Occupancy rating (bedrooms)"),
    _in_2011("QS412EW", "All categories: Occupancy rating bedrooms"),
    _in_2011("QS406EW", "All categories: Household size"),
    _in_2011("KS105EW", "All households"),
    _in_2021("TS053", "Total: All households"),
    _in_2021("TS053", "Total: All household spaces with at least one usual resident"),
)
_UNEMPLOYED = (
    # Without full-time students who seek work, in both censuses.
    _in_2011("QS601EW or KS601EW", "Economically active: Unemployed"),
    _in_2021("TS066", f"{_ACTIVE}: Unemployed"),
)
_AGED_16 = "Total: All usual residents aged 16 years and over"

MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "bad-health": Measure(
            "residents in bad or very bad health, of all",
            (
                _infuse("F1777", "F1782"),
                _in_2011("QS302EW", "Bad health", "Very bad health"),
                _in_2021("TS037", "Bad health", "Very bad health"),
            ),
            (
                _infuse("F1778"),
                _in_2011("QS302EW", "All categories: General health"),
                _in_2021("TS037", "Total: All usual residents"),
            ),
        ),
        "overcrowding": Measure(
            "households with at least one room too few, of all",
            (
                _infuse("F2375"),
                _in_2011("KS403EW", f"{_ROOMS} -1 or less"),
                _in_2011("QS408EW", f"{_ROOMS} -1", f"{_ROOMS} -2 or less"),
                _in_2021("TS053", f"{_ROOMS_2021} -1", f"{_ROOMS_2021} -2 or less"),
            ),
            # KS403EW may come without a total: then a second table has it.
            (_infuse("F2376"), *_HOUSEHOLDS),
        ),
        "overcrowding-bedrooms": Measure(
            "households with at least one bedroom too few, of all",
            (
                _in_2011("KS403EW", f"{_BEDROOMS} -1 or less"),
                _in_2011("QS412EW", f"{_BEDROOMS} -1", f"{_BEDROOMS} -2 or less"),
                _in_2021("TS052", f"{_BEDROOMS_2021} -1", f"{_BEDROOMS_2021} -2 or less"),
            ),
            _HOUSEHOLDS,
        ),
        # The paper's code divides by F1391, which is the total of the table: also the inactive.
        "unemployment": Measure(
            "unemployed residents, of all of working age (2011: 16 to 74, 2021: 16 and over)",
            (_infuse("F1399"), *_UNEMPLOYED),
            (
                _infuse("F1391"),
                _in_2011("QS601EW", "All categories: Economic activity"),
                _in_2011("KS601EW", "All usual residents aged 16 to 74"),
                _in_2021("TS066", _AGED_16),
            ),
        ),
        # The extract of QS601EW that circulates has no total of the active: it is what is left of
        # all residents without the inactive.
        "unemployment-rate": Measure(
            "unemployed residents, of the economically active",
            _UNEMPLOYED,
            (
                _in_2011("QS601EW", "Economically active: Total"),
                _in_2011("KS601EW", "Economically active"),
                _in_2011(
                    "QS601EW",
                    "All categories: Economic activity",
                    subtract="Economically inactive: Total",
                ),
                _in_2011(
                    "KS601EW",
                    "All usual residents aged 16 to 74",
                    subtract="Economically inactive",
                ),
                _in_2021("TS066", _ACTIVE, _STUDENT),
            ),
        ),
        "low-qualification": Measure(
            "residents aged 16 and over without a qualification or with level 1 only, of all",
            (
                _infuse("F187", "F188"),
                _in_2011(
                    "KS501EW", "No qualifications", f"Highest level of qualification: {_LEVEL_1}"
                ),
                _in_2011("QS501EW", "No qualifications", _LEVEL_1),
                _in_2021("TS067", "No qualifications", "Level 1 and entry level qualifications"),
            ),
            (
                _infuse("F186"),
                _in_2011("KS501EW", "All categories: Highest level of qualification"),
                _in_2021("TS067", _AGED_16),
            ),
        ),
        "mean-age": Measure(
            "mean age of the residents",
            (_infuse("F184"), _in_2011("KS102EW", "Mean Age")),
            direction=None,
        ),
        "median-age": Measure(
            "median age of the residents",
            (_infuse("F185"), _in_2011("KS102EW", "Median Age")),
            direction=None,
        ),
    }
)
