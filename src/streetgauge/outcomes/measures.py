"""The census shares of the 2019 paper, as data: what is divided by what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["MEASURES", "Measure", "Sum"]


@dataclass(frozen=True)
class Sum:
    """Columns of one census table, added up and taken away.

    Parameters
    ----------
    add, subtract : tuple of str
        Column headers as Nomis writes them; case and blanks do not matter.
    """

    add: tuple[str, ...]
    subtract: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that it needs."""
        return self.add + self.subtract

    def __str__(self) -> str:
        return " - ".join([" + ".join(self.add), *self.subtract])


@dataclass(frozen=True)
class Measure:
    """A share of counts; higher is worse for all of the paper's.

    Parameters
    ----------
    tables : str
        The census tables that have it.
    numerator, denominator : tuple of Sum
        Ways to get the count, the best first; the first that the files allow is used.
    """

    tables: str
    numerator: tuple[Sum, ...]
    denominator: tuple[Sum, ...]


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "bad-health": Measure(
            tables="QS302EW",
            numerator=(Sum(("Bad health", "Very bad health")),),
            denominator=(Sum(("All categories: General health",)),),
        ),
        "overcrowding": Measure(
            tables="KS403EW, and QS406EW for the total if KS403EW comes without one",
            numerator=(
                Sum(("Occupancy rating (rooms) of -1 or less",)),
                Sum(("Occupancy rating (rooms) of -1", "Occupancy rating (rooms) of -2 or less")),
            ),
            denominator=(
                Sum(("All categories: Type of central heating in household",)),
                Sum(("All categories: Occupancy rating (rooms)",)),
                Sum(("All categories: Household size",)),
                Sum(("All households",)),
            ),
        ),
        # Of the economically active aged 16 to 74; the extract of QS601EW that circulates has no
        # total of them, so it is what is left of all residents without the inactive.
        "unemployment": Measure(
            tables="QS601EW or KS601EW",
            numerator=(Sum(("Economically active: Unemployed",)),),
            denominator=(
                Sum(("Economically active: Total",)),
                Sum(("Economically active",)),
                Sum(("All categories: Economic activity",), ("Economically inactive: Total",)),
                Sum(("All usual residents aged 16 to 74",), ("Economically inactive",)),
            ),
        ),
        "low-qualification": Measure(
            tables="KS501EW",
            numerator=(
                Sum(
                    (
                        "No qualifications",
                        "Highest level of qualification: Level 1 qualifications",
                    )
                ),
            ),
            denominator=(Sum(("All categories: Highest level of qualification",)),),
        ),
    }
)
