"""What can be read, for people: `streetgauge outcomes list`."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from streetgauge.outcomes.indices import INDICES
from streetgauge.outcomes.measures import MEASURES


@dataclass(frozen=True)
class Source:
    """One way to get outcomes.

    Parameters
    ----------
    name : str
        The value of ``source`` in study.toml.
    layouts : tuple of str
        What is recognised, by its header.
    measures : tuple of str
        What can be asked for.
    publisher, licence : str
        Who makes it and what allows its use, as in its outcomes.
    lines : str
        An entry of study.toml.

    Examples
    --------
    >>> income = next(source for source in sources() if source.name == "income")
    >>> income.publisher
    'Greater London Authority'
    """

    name: str
    layouts: tuple[str, ...]
    measures: tuple[str, ...]
    publisher: str
    licence: str
    lines: str

    def as_json(self) -> dict[str, Any]:
        """Give the same as plain data.

        Examples
        --------
        >>> sources()[0].as_json()["name"]
        'census'
        """
        return asdict(self)


def sources() -> tuple[Source, ...]:
    """List all sources, each with an entry for study.toml.

    Examples
    --------
    >>> [source.name for source in sources()]
    ['census', 'deprivation', 'income', 'table']
    """
    return (_census(), _deprivation(), _income(), _table_source())


def _census() -> Source:
    tables = sorted(
        {
            (way.vintage, each.strip())
            for measure in MEASURES.values()
            for way in (*measure.numerator, *measure.denominator)
            for each in way.table.split(" or ")
            if way.vintage
        }
    )
    of = {year: [t for y, t in tables if y == year] for year in dict(tables)}
    return Source(
        name="census",
        layouts=(
            "Nomis queries (CSV, Excel) and bulk downloads (CSV, zip)",
            "InFuse with cell codes (F1777, ...)",
            *(f"Census {year}: {', '.join(names)}" for year, names in of.items()),
        ),
        measures=(
            *(f"{name}: {measure.about}" for name, measure in MEASURES.items()),
            "or numerator, denominator and direction of your own",
        ),
        publisher="Office for National Statistics",
        licence="Open Government Licence v3.0",
        lines='[outcomes.health]\nsource = "census"\nfiles = ["qs302ew.csv"]\n'
        'measure = "bad-health"',
    )


def _deprivation() -> Source:
    domains = dict.fromkeys(domain for index in INDICES for domain in index.domains)
    # Without those that stand for files whose header does not name the release.
    named = {each.title: each for each in INDICES if re.search(r"^(?!.* or ).*\d$", each.title)}
    return Source(
        name="deprivation",
        layouts=tuple(
            f"{title}: {index.areas:,} areas; {', '.join(index.columns)}"
            for title, index in named.items()
        ),
        measures=(f"domains: {', '.join(domains)}", "statistic: rank (default), score"),
        publisher="; ".join(dict.fromkeys(index.publisher for index in INDICES)),
        licence="; ".join(dict.fromkeys(index.licence for index in INDICES)),
        lines='[outcomes.crime]\nsource = "deprivation"\nfile = "File_2_ID_2015.xlsx"\n'
        'domain = "crime"',
    )


def _income() -> Source:
    return Source(
        name="income",
        layouts=("GLA household income estimates, CSV or Excel, any year: 'Mean 2012/13', ...",),
        measures=("statistic: mean (default), median",),
        publisher="Greater London Authority",
        licence="Open Government Licence v2.0",
        lines='[outcomes.income]\nsource = "income"\nfile = "household-income.csv"\n'
        'statistic = "mean"\nyear = "2012/13"',
    )


def _table_source() -> Source:
    return Source(
        name="table",
        layouts=(
            "any table with a row an area: CSV, Excel, Parquet, GeoPackage",
            "tables of the American Community Survey (B19013_001E, ...)",
        ),
        measures=("a column, or several as sum, mean or share",),
        publisher="as stated with 'publisher'",
        licence="as stated with 'licence'",
        lines='[outcomes.rent]\nsource = "table"\nfile = "rents.csv"\narea = "code"\n'
        'value = "rent"\ndirection = "higher-is-better"',
    )
