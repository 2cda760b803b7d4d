"""Which year's areas codes belong to, and values of one year's areas on those of another.

Statistical areas are drawn anew after a census. In England and Wales an area that was changed gets
a new code and ends the old one, numbered on from the last release, and an area that was not keeps
its code: so an equal code is an equal area, a number beyond the last of a release is of a later
one, and a number below it may be of either. In Scotland all areas are numbered again.

The lookups of the Office for National Statistics (Open Geography portal) pair the areas of two
years, row by row, e.g. LSOA11CD with LSOA21CD: an area that was split has a row for each of its
parts, areas that were merged have a row each with the same new area. An exact-fit lookup marks with
CHGIND = X what was redrawn otherwise, which the ONS excludes from comparison of like with like.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.io.files import sha256_of
from streetgauge.io.tables import as_table, read_sheets, to_numbers
from streetgauge.outcomes.outcome import Outcome, plain_header


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
        """Whether a code is one of a known release."""
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
    """Find the year of areas in a column's name, or in the vintage that a reader gives.

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
    """Find which year's areas codes are, for each sequence of codes.

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
    ordered = sorted(set(codes))
    found = {}
    for start, family in sorted(FAMILIES.items()):
        # Sorted, so that those of a family stand together, and both ends are soon found.
        own = ordered[bisect_left(ordered, start) :]
        own = own[: bisect_left(own, True, key=lambda code: not code.startswith(start))]
        is_known = family.has if family.last else _NORTHERN_IRISH_SOA.fullmatch
        low = next(filter(is_known, own), None)
        high = next(filter(is_known, reversed(own)), None)
        if low is not None and high is not None:
            found[start] = _vintage(family, low, high, year, stated, title)
    return found


def _vintage(
    family: Family, low: str, high: str, year: int | None, stated: str | None, title: object
) -> Vintage:
    oldest, seen = family.year_of(low), family.year_of(high)
    if family.anew:
        if oldest != seen:
            raise InputError(
                title,
                f"the file mixes codes of two vintages: {low!r} is a {family.kind} of {oldest}, "
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
            f"the file mixes codes of two vintages: {stated!r} is of {year}, and {high!r} is "
            f"new among the {family.kind}s of {seen}",
            "give a file of one year's areas, or name its column after that year",
        )
    return Vintage(family.kind, year)


_KINDS = "oa|lsoa|msoa|soa|sa|dz|sdz|iz|data ?zone|int(?:ermediate)? ?zone"
_YEARS = r"(?:20)?(?:01|11|21|22)"
_CODES = re.compile(rf"(?:f )?({_KINDS}) ?{_YEARS} ?(?:cd|code)?|({_KINDS}) code \({_YEARS}\)")
_CHANGE = re.compile(r"chn?gind|change (?:indicator|code)|change")
_PEOPLE = re.compile(r"population|usual residents|residents|people|weight")
_KIND_AND_YEAR = re.compile(
    "(?:" + "|".join(sorted({family.kind for family in FAMILIES.values()})) + r") \d{4}"
)
KINDS = ("unchanged", "split", "merged", "irregular")


@dataclass(frozen=True, eq=False)
class Lookup:
    """Pairs of areas of two or more years.

    Parameters
    ----------
    path : Path
        The file.
    codes : DataFrame of str
        One column for each year, named as in the file; a row for every pair.
    irregular : Series of bool
        Rows that the lookup marks as irregular (X).
    people : Series of float or None
        How many people of the one area live in the other, where the file has it.
    """

    path: Path
    codes: pd.DataFrame
    irregular: pd.Series
    people: pd.Series | None


def read_lookup(path: Path) -> Lookup:
    """Read a lookup between the areas of two years.

    Known layouts: the exact-fit and best-fit lookups of OAs, LSOAs and MSOAs (2001 to 2011, 2011 to
    2021), with columns like ``LSOA11CD``, ``CHGIND`` or ``CHNGIND``, ``LSOA21CD``; the same for
    data zones; any table with columns ``from`` and ``to``. A column ``population`` may give how
    many people of the one area live in the other.

    Raises
    ------
    InputError
        If there are no two columns with codes of one kind of area, or a number of people is
        negative or no number.
    """
    sheet = read_sheets(path)[0]
    table = as_table(sheet)
    plain = {str(header): plain_header(str(header)) for header in table.columns}
    by_kind: dict[str, list[str]] = {}
    for header, words in plain.items():
        if fits := _CODES.fullmatch(words):
            by_kind.setdefault(fits[1] or fits[2], []).append(header)
        elif words in ("from", "to"):
            by_kind.setdefault("from and to", []).append(header)
    columns = next((headers for headers in by_kind.values() if len(headers) > 1), None)
    if columns is None:
        raise InputError(
            sheet.title,
            "this is not a lookup: no two of its columns hold codes of areas of two years, like "
            "LSOA11CD and LSOA21CD",
            f"its columns are {', '.join(map(str, table.columns[:12]))}",
        )
    codes = table[columns]
    change = [header for header, words in plain.items() if _CHANGE.fullmatch(words)]
    marked = table[change[0]].str.upper() if change else pd.Series("", index=table.index)
    people = [header for header, words in plain.items() if _PEOPLE.fullmatch(words)]
    coded = (codes != "").all(axis=1)
    return Lookup(
        path,
        codes[coded],
        (marked == "X")[coded],
        _numbers_of_people(table[people[0]], sheet.title)[coded] if people else None,
    )


def _numbers_of_people(cells: pd.Series, title: str) -> pd.Series:
    numbers = to_numbers(cells, title)
    wrong = ~(numbers >= 0)
    if wrong.any():
        row = numbers.index[int(wrong.to_numpy().argmax())]
        raise InputError(
            f"{title}: row {row}, column {cells.name!r}",
            f"{cells[row]!r} is not a number of people",
            "give every pair a number from 0 on, or remove the column",
        )
    return numbers


def onto_areas(
    outcome: Outcome, codes: pd.Index, stated: str | None = None, lookup: Path | None = None
) -> Outcome:
    """Put an outcome onto the study's areas: as it is, or by a lookup if it is of another year.

    Parameters
    ----------
    outcome : Outcome
        As its file has it.
    codes : Index of str
        The study's areas.
    stated : str, optional
        The name of the column that the study's codes come from, which may hold their year.
    lookup : Path, optional
        A lookup between the two years.

    Returns
    -------
    Outcome
        The same, if its areas are those of the study's year or none of the study's is missing.
        Else with values of the study's year's areas: an area that is a part of a split one has that
        one's value; an area that others were merged into has the mean of theirs, weighted by the
        lookup's people, else by the outcome's own denominators (which gives the share of the added
        counts), else plain; an irregular area has the mean weighted by the lookup's people, and
        without them no value. Published deciles stay where all of an area's sources have the
        same. ``provenance["vintage"]`` is what the file's areas are, ``provenance["lookup"]``
        what was done, counted in areas of the study.

    Raises
    ------
    InputError
        If the years differ and there is no lookup, or codes of two years stand in one file.
    """
    file = outcome.provenance.get("file")
    title = f"outcome {outcome.name!r}: its file {file}"
    theirs = vintages(outcome.values.index.tolist(), _words_on_areas(outcome), title)
    ours = vintages(codes.tolist(), stated, "the study's areas")
    names = " and ".join(sorted({str(each) for each in theirs.values()})) or None
    areas = names or outcome.provenance.get("areas")
    dated = {"areas": areas, "vintage": outcome.provenance.get("vintage") or areas}
    outcome = replace(outcome, provenance={**outcome.provenance, **dated})
    absent = codes[~_among(codes, outcome.values.index)]
    if absent.empty:
        return outcome
    if lookup is not None:
        return _carried(outcome, codes, read_lookup(lookup))
    for start, vintage in ours.items():
        other, lost = theirs.get(start), absent[absent.str.startswith(start)]
        if other is not None and other.year != vintage.year and len(lost):
            raise InputError(
                f"outcome {outcome.name!r}",
                f"its file {file} has the {other.kind}s of {other.year}, the study those of "
                f"{vintage.year}: {len(lost):,} of {len(codes):,} areas, e.g. {lost[0]!r}, are not "
                "in it",
                _next_step(vintage, other),
            )
    return outcome


def _words_on_areas(outcome: Outcome) -> str | None:
    """Give what may hold the year of an outcome's areas: not the year that its figures are of."""
    known = outcome.provenance
    vintage, column = known.get("vintage"), known.get("columns", {}).get("area")
    if vintage and (known.get("source") == "census" or _KIND_AND_YEAR.fullmatch(vintage)):
        return str(vintage)
    return None if column is None else str(column)


def _next_step(ours: Vintage, theirs: Vintage) -> str:
    first, last = sorted((ours.year, theirs.year))
    kind = ours.kind
    if (first, last) == (2011, 2021) and kind in ("OA", "LSOA", "MSOA"):
        title = (
            f"{kind} ({first}) to {kind} ({last}) to Local Authority District (2022) Exact Fit "
            "Lookup for EW"
        )
        source = f"the lookup '{title}' from geoportal.statistics.gov.uk"
    else:
        source = f"the official lookup of the {kind}s of {first} and {last}"
    return f'download {source} and name it under [areas] in study.toml: lookup = "that file.csv"'


# --- by the lookup ------------------------------------------------------------------------------


def _carried(outcome: Outcome, codes: pd.Index, lookup: Lookup) -> Outcome:
    title = f"outcome {outcome.name!r}: its file {outcome.provenance.get('file')}"
    known = outcome.values.index
    to = _best_column(lookup, codes, None)
    if to is None:
        column = lookup.codes.columns[0]
        raise InputError(
            lookup.path,
            f"it has none of the study's areas: column {column!r} has "
            f"{lookup.codes[column].iloc[0] if len(lookup.codes) else 'nothing'!r}, the study "
            f"{codes[0]!r}",
            "give the lookup of the study's kind of areas",
        )
    for column in lookup.codes.columns.drop(to):
        _refuse_both(known, lookup, column, to, title)
    source = _best_column(lookup, known, to)
    if source is None or source == to:
        return outcome  # of the study's own year, or of other areas altogether
    pairs = _pairs(lookup, source, to)
    relation = _relation(pairs)
    values, missing = _means(outcome, pairs, relation, lookup)
    # What the lookup does not know keeps its code: areas of another nation in the same file.
    rest = outcome.values[~_among(known, pairs["source"]) & ~_among(known, values.index)]
    absent = codes[~_among(codes, values.index) & ~_among(codes, rest.index)]
    values = pd.concat([values, rest]).sort_index().rename(outcome.values.name)
    values.index = values.index.astype("str").rename("area")
    own = {code: why for code, why in outcome.missing.items() if code in rest.index}
    no_row = f"the lookup {lookup.path.name} has no row for it"
    missing |= own | dict.fromkeys(absent, no_row)
    # An area that the lookup lacks is one of the study without a value, and has the reason.
    values = pd.concat([values, pd.Series(np.nan, index=absent)]).sort_index()
    return replace(
        outcome,
        values=values,
        published=_same_decile(outcome.published, pairs, rest.index, values.index),
        missing=missing,
        weights=None,
        provenance={
            **outcome.provenance,
            "lookup": _lookup_counts(
                outcome, lookup, source, to, relation.reindex(codes), len(absent)
            ),
        },
    )


def _best_column(lookup: Lookup, codes: pd.Index, first: str | None) -> str | None:
    """Give the column that has most of the codes: ``first`` if no other has more."""
    counts = {
        str(column): int(_among(codes, lookup.codes[column]).sum())
        for column in lookup.codes.columns
    }
    best = max(counts, key=lambda column: (counts[column], column == first))
    return best if counts[best] else None


def _among(codes: pd.Index | pd.Series, others: pd.Index | pd.Series) -> npt.NDArray[np.bool_]:
    """Which codes are among others: `isin`, which is ten times slower on texts."""
    found: npt.NDArray[np.bool_] = pd.Index(others.unique()).get_indexer(pd.Index(codes)) >= 0
    return found


def _refuse_both(known: pd.Index, lookup: Lookup, source: str, to: str, title: str) -> None:
    old, new = (pd.Index(lookup.codes[column].unique()) for column in (source, to))
    ended, begun = known.intersection(old.difference(new)), known.intersection(new.difference(old))
    if len(ended) and len(begun):
        raise InputError(
            title,
            f"the file mixes codes of two vintages: by the lookup {lookup.path.name}, "
            f"{ended[0]!r} is only in {source}, {begun[0]!r} only in {to}",
            "give a file of one year's areas",
        )


def _pairs(lookup: Lookup, source: str, to: str) -> pd.DataFrame:
    pairs = pd.DataFrame(
        {
            "source": lookup.codes[source],
            "to": lookup.codes[to],
            "irregular": lookup.irregular,
            "people": np.nan if lookup.people is None else lookup.people,
        }
    )
    # A lookup with a third kind of area (wards, districts) has a pair more than once.
    grouped = pairs.groupby(["source", "to"], sort=True)
    people = grouped["people"].sum(min_count=1)
    return pd.DataFrame({"irregular": grouped["irregular"].any(), "people": people}).reset_index()


def _relation(pairs: pd.DataFrame) -> pd.Series:
    """Relation of each new area to the old ones: one of `KINDS`, by its code."""
    parts = pairs.groupby("source")["to"].transform("size")
    by_area = (
        pairs.assign(parts=parts)
        .groupby("to")
        .agg(sources=("source", "size"), parts=("parts", "max"), irregular=("irregular", "any"))
    )
    kind = pd.Series("unchanged", index=by_area.index)
    kind[by_area["parts"] > 1] = "split"
    kind[by_area["sources"] > 1] = "merged"
    kind[by_area["irregular"] | ((by_area["sources"] > 1) & (by_area["parts"] > 1))] = "irregular"
    return kind


def _means(
    outcome: Outcome, pairs: pd.DataFrame, relation: pd.Series, lookup: Lookup
) -> tuple[pd.Series, dict[str, str]]:
    """Values of the new areas that have a source in the file, and why some have none."""
    known = outcome.values.index
    here = _among(pairs["to"], pairs.loc[_among(pairs["source"], known), "to"])
    rows = pairs[here].assign(value=lambda each: each["source"].map(outcome.values))
    if lookup.people is not None:
        weight = rows["people"]
    elif outcome.weights is not None:
        weight = rows["source"].map(outcome.weights)
    else:
        weight = pd.Series(1.0, index=rows.index)
    # A single source has its value whatever its weight, without a division's rounding.
    single = rows.groupby("to")["source"].transform("size") == 1
    weight = weight.where(~single, 1.0)
    total = weight.groupby(rows["to"]).sum()
    # An area without people adds nothing to the one that it was merged into, value or not.
    rows["value"] = rows["value"].mask((weight == 0) & ~single, 0.0)
    value = (rows["value"] * weight).groupby(rows["to"]).sum() / total.where(total > 0)
    missing = {}
    kind = relation[value.index]
    if lookup.people is None:
        for area in kind.index[kind == "irregular"]:
            value[area] = np.nan
            missing[area] = f"it was redrawn irregularly, by the lookup {lookup.path.name}"
    lost = rows[rows["value"].isna()].groupby("to")["source"].first()
    value[lost.index] = np.nan
    for area, source in lost.items():
        why = outcome.missing.get(source, "the file has no value for it")
        missing.setdefault(str(area), f"{source}, of which it is made, has no value: {why}")
    for area in value.index[value.isna()]:
        missing.setdefault(area, "the areas of which it is made count no people")
    return value, missing


def _same_decile(
    published: pd.Series | None, pairs: pd.DataFrame, rest: pd.Index, areas: pd.Index
) -> pd.Series | None:
    """Give the new areas the published decile that all their sources have."""
    if published is None:
        return None
    decile = pairs["source"].map(published).astype("Int64").groupby(pairs["to"])
    agreed = decile.first().where(
        (decile.min() == decile.max()) & (decile.count() == decile.size())
    )
    stays: pd.Series = pd.concat([agreed, published[_among(published.index, rest)]]).reindex(areas)
    return stays


def _lookup_counts(
    outcome: Outcome, lookup: Lookup, source: str, to: str, relation: pd.Series, absent: int
) -> dict[str, Any]:
    """Count for the provenance how many of the study's areas are of which kind."""
    if lookup.people is not None:
        weights = "the lookup's numbers of people"
    elif outcome.weights is not None:
        weights = "the outcome's own denominators"
    else:
        weights = "equal weights"
    counts = relation.value_counts()
    return {
        "file": lookup.path.name,
        "sha256": sha256_of(lookup.path),
        "from": _areas_of_column(source, lookup.codes[source]),
        "to": _areas_of_column(to, lookup.codes[to]),
        **{kind: int(counts.get(kind, 0)) for kind in KINDS},
        "absent": absent,
        "weights": weights,
    }


def _areas_of_column(column: str, codes: pd.Series) -> str:
    """Name the areas that a column of a lookup has: "LSOA 2011"."""
    kinds: Mapping[str, str] = {start: family.kind for start, family in FAMILIES.items()}
    kind = next((kinds[code[:3]] for code in codes.head(50) if code[:3] in kinds), None)
    year = year_in(column)
    return f"{kind} {year}" if kind and year else column
