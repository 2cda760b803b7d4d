"""English Indices of Deprivation: ranks of LSOAs, 1 = most deprived."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import pandas as pd

from streetgauge.errors import InputError
from streetgauge.outcomes.outcome import (
    Columns,
    Outcome,
    empty_cells,
    find_header,
    one_row_an_area,
    provenance,
    refuse,
    refuse_no_decile,
)
from streetgauge.settings import DeprivationOutcome
from streetgauge.tables import as_table, read_sheets, to_numbers

__all__ = ["DOMAIN_HEADERS", "read_deprivation"]

# How headers name an area's code and a domain, in plain writing (lower case, blanks for
# underscores, without remarks in parentheses): the releases of 2015 and 2019, and common renamings.
AREA_HEADER = r"lsoa code|lsoa(?:20)?\d\d(?: ?(?:cd|code))?|(?:area|geography|feature) ?code"
DOMAIN_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "overall": r"(?:index of )?multiple deprivation|imd",
        "income": r"income(?: deprivation)?(?: domain)?",
        "employment": r"employment(?: deprivation)?(?: domain)?",
        "education": r"education(?:,? skills(?:,? and|,) training)?(?: domain)?",
        "health": r"health(?: deprivation)?(?: and disability)?(?: domain)?",
        "crime": r"crime(?: domain)?",
        "housing": r"barriers to housing and services|housing(?: and (?:access|services))?",
        "environment": r"(?:living )?environment(?: domain)?",
    }
)


def read_deprivation(name: str, settings: DeprivationOutcome) -> Outcome:
    """Read a domain's rank, and its published decile where the file has it.

    Parameters
    ----------
    name : str
        The outcome's key.
    settings : DeprivationOutcome
        The file (text or workbook, any sheet of it) and the domain.

    Returns
    -------
    Outcome
        Ranks within England, higher is better.

    Raises
    ------
    InputError
        If no sheet has LSOA codes and the domain's rank, a rank is below 1, or published deciles
        are asked for and absent.
    """
    path, domain = settings.file, settings.domain
    sheets = read_sheets(path)
    found = find_header(sheets, _recognise(domain))
    if found is None:
        known = [each for each in DOMAIN_HEADERS if find_header(sheets, _recognise(each))]
        raise InputError(
            path,
            f"no sheet has LSOA codes and a rank of the domain {domain!r}",
            f"it has {', '.join(known)}" if known else "give a file of the indices with ranks",
        )
    sheet, position, columns = found
    if settings.deciles == "published" and "decile" not in columns:
        raise InputError(
            sheet.title,
            f"there is no published decile of the domain {domain!r}",
            'use deciles = "study"',
        )
    table = as_table(sheet, position)
    headers = {role: str(table.columns[column]) for role, column in columns.items()}
    codes = table[headers["area"]]
    numbers = pd.DataFrame(
        {header: to_numbers(table[header], path) for r, header in headers.items() if r != "area"}
    )
    ranks = numbers[headers["rank"]]
    refuse(ranks < 1, ranks, path, "no rank", "ranks start at 1, the most deprived")
    if "decile" in headers:
        refuse_no_decile(numbers[headers["decile"]], path)
    by_area = one_row_an_area(codes, numbers, path)
    cells = table[headers["rank"]]
    return Outcome(
        name=name,
        label=settings.label or name,
        values=by_area[headers["rank"]],
        direction="higher-is-better",
        published=by_area[headers["decile"]].astype("Int64") if "decile" in headers else None,
        provenance=provenance(
            "deprivation",
            [path],
            headers,
            publisher="Ministry of Housing, Communities and Local Government "
            "(English Indices of Deprivation)",
            licence="Open Government Licence v3.0",
            rows_without_code=int((codes == "").sum()),
        ),
        missing=empty_cells(codes, cells, numbers[headers["rank"]]),
    )


def _recognise(domain: str) -> Callable[[tuple[str, ...]], Columns | None]:
    return lambda cells: _columns(cells, domain)


def _columns(cells: tuple[str, ...], domain: str) -> Columns | None:
    """Where area, rank and (if there) decile stand; None if this row is not the header."""
    patterns = {
        "area": AREA_HEADER,
        "rank": f"(?:{DOMAIN_HEADERS[domain]}) rank",
        "decile": f"(?:{DOMAIN_HEADERS[domain]}) decile",
    }
    headers = [_plain(cell) for cell in cells]
    found = {}
    for role, pattern in patterns.items():
        fits = [n for n, header in enumerate(headers) if re.fullmatch(pattern, header)]
        if fits:
            found[role] = fits[0]
    return found if {"area", "rank"} <= found.keys() else None


def _plain(header: str) -> str:
    without_remarks = re.sub(r"\([^()]*\)", " ", header.lower().replace("_", " "))
    return " ".join(without_remarks.split())
