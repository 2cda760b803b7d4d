"""Indices of deprivation of England, Wales, Scotland and Northern Ireland, as published."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.io.tables import (
    Columns,
    Sheet,
    as_table,
    find_header,
    read_sheets,
    refuse_numbers,
    to_numbers,
)
from streetgauge.outcomes.indices import INDICES, Index
from streetgauge.outcomes.outcome import (
    Outcome,
    empty_cells,
    one_row_an_area,
    plain_header,
    provenance,
    refuse_no_decile,
    stray_cells,
)
from streetgauge.settings import DeprivationOutcome

_ODD = 0.01  # share of ranks, and of the nation's areas, that may break the rule for ties
_FEWEST = 5  # ranks, of which one may break it


@dataclass(frozen=True, eq=False)
class _Found:
    """A statistic of a domain in one sheet of a file."""

    index: Index
    sheet: Sheet
    header: str
    codes: pd.Series
    cells: pd.Series
    notes: tuple[str, ...]


def read_deprivation(name: str, settings: DeprivationOutcome) -> Outcome:
    """Read a domain's rank or score, and its published decile where the file has it.

    Which index it is, is seen from the headers and the codes; `streetgauge.outcomes.indices` has
    the columns of all of them.

    Parameters
    ----------
    name : str
        The outcome's key.
    settings : DeprivationOutcome
        The file (text or workbook, any sheet of it), the domain and the statistic.

    Returns
    -------
    Outcome
        Ranks within the nation, 1 = most deprived (higher is better), or scores (higher is worse).

    Raises
    ------
    InputError
        If no sheet has codes and the statistic of the domain, ranks could not come from one ranking
        of the nation's areas, or published deciles are asked for and absent.
    """
    path, domain, statistic = settings.file, settings.domain, settings.statistic
    sheets = read_sheets(path)
    found = next(_find(sheets, domain, statistic), None)
    if found is None:
        raise _no_statistic(path, sheets, domain, statistic)
    numbers = to_numbers(found.cells, found.sheet.title)
    notes = found.notes
    if statistic == "rank":
        notes += _check_ranking(numbers[found.codes != ""], found)
    else:
        _refuse_ranks(numbers[found.codes != ""], found)
    values = one_row_an_area(found.codes, numbers.to_frame(), found.sheet.title).iloc[:, 0]
    decile, published = _published(sheets, found, domain, values.index)
    if settings.deciles == "published" and published is None:
        raise InputError(
            found.sheet.title,
            f"there is no published decile of the domain {domain!r}",
            'use deciles = "study"',
        )
    return Outcome(
        name=name,
        label=settings.label or name,
        values=values,
        direction="higher-is-better" if statistic == "rank" else "higher-is-worse",
        published=published,
        provenance=provenance(
            "deprivation",
            [path],
            {"area": str(found.codes.name), statistic: found.header, **decile},
            publisher=f"{found.index.publisher} ({found.index.title})",
            licence=found.index.licence,
            rows_without_code=int((found.codes == "").sum()),
            vintage=found.index.year or _year_named(found.sheet),
        )
        | {
            "index": found.index.title,
            "areas": found.index.vintage,
            "nation_areas": found.index.areas,
            "file_areas": int(values.notna().sum()),
        },
        missing=empty_cells(found.codes, found.cells, numbers),
        notes=notes,
    )


def _find(sheets: Sequence[Sheet], domain: str, statistic: str) -> Iterator[_Found]:
    for index in INDICES:
        if domain not in index.domains:
            continue
        for pattern in index.columns.get(statistic, ()):
            header = pattern.format(f"(?:{index.domains[domain]})")
            for sheet in sheets:
                found = _in_sheet(sheet, index, header)
                if found is not None:
                    yield found


def _in_sheet(sheet: Sheet, index: Index, header: str) -> _Found | None:
    hit = find_header([sheet], lambda cells: _index_columns(cells, index, header))
    if hit is None:
        return None
    table = as_table(sheet, hit[1])
    codes = table.iloc[:, hit[2]["area"]]
    fits = codes.str.fullmatch(index.code)
    # Notes may stand under a table, and their cells are no codes; codes of another nation are.
    if not fits.any() or codes[~fits].str.fullmatch(r"\w{6,}").sum() > fits.sum():
        return None
    cells = table.iloc[:, hit[2]["value"]]
    codes = codes.where(fits | (cells != ""), "")
    return _Found(index, sheet, str(cells.name), codes, cells, stray_cells(table))


def _index_columns(cells: tuple[str, ...], index: Index, header: str) -> Columns | None:
    """Where codes and values stand; None if this row is not the header of that index."""
    dated, headers = _plain_headers(cells)
    area = [n for n, each in enumerate(dated) if re.fullmatch(index.area, each)]
    if not area:
        return None
    value = [n for n, each in enumerate(headers) if re.fullmatch(header, each)]
    marked = not index.mark or any(re.fullmatch(index.mark, each) for each in dated)
    return {"area": area[0], "value": value[0]} if value and marked else None


@lru_cache(maxsize=256)  # the same few rows are tried for every index and column
def _plain_headers(cells: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Give plain headers, and these without what stands in brackets."""
    # Published headers may be cut off before a bracket is closed.
    bare = [re.sub(r"\([^()]*(?:\)|$)", " ", cell) for cell in cells]
    return [plain_header(cell) for cell in cells], [plain_header(cell) for cell in bare]


def _year_named(sheet: Sheet) -> str | None:
    """Give the release that file or sheet is named after, e.g. 'File_7_-_All_IoD2019_Scores'.

    England's of 2015 and of 2019 have the same headers and areas: nothing else distinguishes them.
    """
    name = re.split(r"[\\/]", sheet.title)[-1]
    years = re.findall(r"(?i)(?:IMD|IoD|(?<![a-z])ID)[ _-]*(20\d\d)(?!\d)", name)
    return years[0] if len(set(years)) == 1 else None


def _published(
    sheets: Sequence[Sheet], found: _Found, domain: str, areas: pd.Index
) -> tuple[dict[str, str], pd.Series | None]:
    """Deciles of the same areas, from the same sheet or another of the same file."""
    for decile in _find([found.sheet, *sheets], domain, "decile"):
        numbers = to_numbers(decile.cells, decile.sheet.title)
        refuse_no_decile(numbers, decile.sheet.title)
        by_area = one_row_an_area(decile.codes, numbers.to_frame(), decile.sheet.title)
        return {"decile": decile.header}, by_area.iloc[:, 0].reindex(areas).astype("Int64")
    return {}, None


def _check_ranking(ranks: pd.Series, found: _Found) -> tuple[str, ...]:
    """Refuse numbers that no ranking of the nation's areas can have; note the few that are odd.

    Areas that tie share the lowest of the ranks that they take up (so do England's), the middle
    (Scotland's: 4563.5) or the highest; whichever it is, it must hold for nearly all of them.
    Scotland's income ranks of 2020 end in twelve areas that share 6969, which none of these gives.
    Where areas are absent from a file the ranks of the others stay, so that a part of a ranking is
    one too.
    """
    title, index = found.sheet.title, found.index
    step = "name a file with ranks"
    if "score" in index.columns:
        step += ', or use statistic = "score" for scores'
    refuse_numbers(ranks < 1, ranks, title, "no rank: ranks start at 1, the most deprived", step)
    refuse_numbers(ranks % 0.5 != 0, ranks, title, "no rank: ranks are whole numbers", step)
    beyond = f"no rank: the {index.title} has {index.areas:,} areas"
    refuse_numbers(ranks > index.areas, ranks, title, beyond, "give the file of one nation")
    # An area with two rows is refused later, and is no tie.
    by_area = ranks.groupby(found.codes[ranks.index]).first().dropna()
    rank, count = np.unique(by_area.to_numpy(), return_counts=True)
    ways = [(rank, rank + count - 1), (rank - count + 1, rank)]
    ways.append((rank - (count - 1) / 2, rank + (count - 1) / 2))
    odd = min((_odd_ties(*way, count, index.areas) for way in ways), key=lambda o: count[o].sum())
    areas = int(count[odd].sum())
    if not areas:
        return ()
    worst = int(np.argmax(np.where(odd, count, 0)))
    few = max(len(rank) >= _FEWEST, _ODD * len(rank))
    if odd.sum() <= few and areas <= _ODD * index.areas:
        return (
            f"{areas:,} areas have ranks that no rule for ties gives, e.g. {rank[worst]:g} "
            f"({count[worst]:,} areas)",
        )
    raise InputError(
        f"{title}, column {found.header!r}",
        f"rank {rank[worst]:g} occurs for {count[worst]:,} areas, and ranks that they would "
        "share as ties are taken by others",
        step,
    )


def _odd_ties(
    first: npt.NDArray[Any], last: npt.NDArray[Any], count: npt.NDArray[Any], most: int
) -> npt.NDArray[np.bool_]:
    """Which ties take up ranks, from the first to the last, that others take up or nobody has."""
    overlap = (first < np.append(1, last[:-1] + 1)) | (last > np.append(first[1:] - 1, most))
    return overlap & (count > 1)


def _no_sheet(sheets: Sequence[Sheet]) -> str:
    names = [repr(sheet.name) for sheet in sheets if sheet.name]
    return f"none of its sheets {', '.join(names)}" if len(names) > 1 else "no sheet"


def _refuse_ranks(scores: pd.Series, found: _Found) -> None:
    """Refuse ranks where scores are asked for: in Wales both stand under the same header."""
    known = scores.dropna()
    named = "score" in plain_header(found.header)
    if not named and len(known) and (known % 1 == 0).all() and known.min() >= 1:
        raise InputError(
            f"{found.sheet.title}, column {found.header!r}",
            "all numbers are whole, so these are ranks and no scores",
            'give the file with scores, or use statistic = "rank"',
        )


def _no_statistic(path: Path, sheets: Sequence[Sheet], domain: str, statistic: str) -> InputError:
    """Name what of the wanted is there: the index without the domain, or the domain's others."""
    there = {
        (found.index.title, each, kind): None
        for kind in ("rank", "score")
        for each in dict.fromkeys(d for index in INDICES for d in index.domains)
        for found in _find(sheets, each, kind)
    }
    if not there:
        return InputError(
            path,
            f"{_no_sheet(sheets)} has area codes and a {statistic} of the domain {domain!r} of an "
            "index of deprivation that is known",
            'give a file of the indices as published, or read it with source = "table"',
        )
    title = next(iter(there))[0]
    domains = list(dict.fromkeys(each for _, each, kind in there if kind == statistic))
    others = list(dict.fromkeys(kind for _, each, kind in there if each == domain))
    index = next(each for each in INDICES if each.title == title)
    if domain not in index.domains:
        reason = f"the {title} has no domain {domain!r}"
        return InputError(path, reason, f"it has {', '.join(index.domains)}")
    if statistic not in index.columns:
        return InputError(path, f"the {title} has no scores", 'use statistic = "rank"')
    if others and not domains:
        return InputError(path, f"it has no {statistic}s", f'use statistic = "{others[0]}"')
    return InputError(
        path,
        f"{_no_sheet(sheets)} has area codes and a {statistic} of the domain {domain!r}",
        f"it has {', '.join(domains)}",
    )
