"""The indices of deprivation of the four nations, as data: columns, directions, areas.

Headers are compared in plain writing: lower case, blanks for underscores and line breaks, one
blank at a time, without remarks in parentheses (but in the column of codes, where it is the year).

What is known of the headers, and how:

- England 2015 and 2019, File 1: the files themselves. Files 2, 5 and 7 of both: as quoted by
  programs that read them (like File 1's: '<Domain> Rank (where 1 is most deprived)', '<Domain>
  Score', 'Income Score (rate)'). 2025, Files 2, 5 and 7: as quoted by programs that read them;
  what is new is 'LSOA code (2021)' and 33,755 areas.
- Wales 2019: 'LSOA code', 'WIMD 2019 ', 'Income', ... under a title, the same over ranks and over
  scores; 'WIMD 2019 overall decile' on a sheet of its own: as quoted by programs that read them.
- Scotland 2020: 'Data_Zone' (ranks), 'DZ' (lookup), 'SIMD2020v2_Rank',
  'SIMD2020_Access_Domain_Rank', 'SIMD2020v2_Decile': as quoted. There are no scores.
- Northern Ireland 2017: 'SOA2001', 'Multiple Deprivation Measure Rank (where 1 is most deprived)'
  with a line break in it: as quoted. There are no scores and no deciles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Index:
    """One release of one nation's index; patterns are regular expressions on plain headers.

    Parameters
    ----------
    title : str
        What it is called.
    publisher, licence : str
        Who made it, and what allows its use.
    areas : int
        How many areas it ranks: ranks run from 1, the most deprived, to this.
    year : str or None
        Of the release; None where headers do not have it.
    vintage : str or None
        What the areas are, e.g. "LSOA 2011"; None where headers do not have it.
    code : str
        Pattern of the areas' codes.
    area : str
        Header of the column with codes, with its remark in parentheses.
    domains : mapping of str to str
        Domain -> how headers call it.
    columns : mapping of str to tuple of str
        Statistic ("rank", "score", "decile") -> headers, the best first, ``{}`` standing for the
        domain. A statistic that is not there is not published. Scores are higher where deprivation
        is worse, ranks and deciles lower, in all four nations.
    mark : str
        What the header of one column must be for the release to be this one; "" if none need be.
    """

    title: str
    publisher: str
    licence: str
    areas: int
    year: str | None
    vintage: str | None
    code: str
    area: str
    domains: Mapping[str, str]
    columns: Mapping[str, tuple[str, ...]]
    mark: str = ""


_OGL = "Open Government Licence v3.0"

# The short forms are those of common renamings, e.g. 'lsoa11cd,IMD_rank,Environment_decile'.
_ENGLAND = Index(
    title="English Indices of Deprivation 2015 or 2019",
    publisher="Ministry of Housing, Communities and Local Government",
    licence=_OGL,
    areas=32_844,
    year=None,
    vintage="LSOA 2011",
    code=r"E01\d{6}",
    area=r"lsoa code \(2011\)|lsoa(?:20)?11(?: ?(?:cd|code))?",
    domains={
        "overall": r"(?:index of )?multiple deprivation|imd",
        "income": r"income(?: deprivation)?(?: domain)?",
        "employment": r"employment(?: deprivation)?(?: domain)?",
        "education": r"education(?:,? skills(?:,? and|,) training)?(?: domain)?",
        "health": r"health(?: deprivation)?(?: and disability)?(?: domain)?",
        "crime": r"crime(?: domain)?",
        "housing": r"barriers to housing and services|housing(?: and (?:access|services))?",
        "environment": r"(?:living )?environment(?: domain)?",
    },
    columns={"rank": ("{} ?rank",), "score": ("{} ?score",), "decile": ("{} ?decile",)},
)
_WALES = Index(
    title="Welsh Index of Multiple Deprivation 2019",
    publisher="Welsh Government",
    licence=_OGL,
    areas=1_909,
    year="2019",
    vintage="LSOA 2011",
    code=r"W01\d{6}",
    area=r"lsoa code(?: \(2011\))?|lsoa(?:20)?11(?: ?(?:cd|code))?",
    domains={
        "overall": r"wimd ?2019(?: overall)?|wimd|imd",
        "income": r"income",
        "employment": r"employment",
        "health": r"health",
        "education": r"education",
        "access": r"access(?: to services)?",
        "housing": r"housing",
        "crime": r"community safety|crime",
        "environment": r"(?:physical )?environment",
    },
    # A header without a word for the statistic stands over ranks in one file, scores in another.
    columns={"rank": ("{} ?rank", "{}"), "score": ("{} ?score", "{}"), "decile": ("{} ?decile",)},
)
_SCOTLAND = Index(
    title="Scottish Index of Multiple Deprivation 2020",
    publisher="Scottish Government",
    licence=_OGL,
    areas=6_976,
    year="2020",
    vintage="data zone 2011",
    code=r"S01\d{6}",
    area=r"data ?zone(?: ?2011)?(?: ?(?:cd|code))?|dz(?: ?11)?(?: ?(?:cd|code))?",
    domains={
        "overall": r"simd ?2020 ?(?:v2)?|imd",
        "income": r"(?:simd ?2020 ?(?:v2)? )?income(?: domain)?",
        "employment": r"(?:simd ?2020 ?(?:v2)? )?employment(?: domain)?",
        "health": r"(?:simd ?2020 ?(?:v2)? )?health(?: domain)?",
        "education": r"(?:simd ?2020 ?(?:v2)? )?education(?: domain)?",
        "access": r"(?:simd ?2020 ?(?:v2)? )?access(?: domain)?",
        "crime": r"(?:simd ?2020 ?(?:v2)? )?crime(?: domain)?",
        "housing": r"(?:simd ?2020 ?(?:v2)? )?housing(?: domain)?",
    },
    # 'SIMD2020V2CountryDecile' is the open data portal's.
    columns={"rank": ("{} ?rank",), "decile": ("{} ?decile", "{} ?country ?decile")},
)
_NORTHERN_IRELAND = Index(
    title="Northern Ireland Multiple Deprivation Measure 2017",
    publisher="Northern Ireland Statistics and Research Agency",
    licence=_OGL,
    areas=890,
    year="2017",
    vintage="SOA 2001",
    code=r"95[A-Z]{2}\d{2}[A-Z]\d",
    area=r"soa(?:2001|2011)?(?: ?(?:cd|code))?",
    domains={
        "overall": r"multiple deprivation measure|mdm|imd",
        "income": r"income(?: domain)?",
        "employment": r"employment(?: domain)?",
        "health": r"health(?: deprivation)?(?: and disability)?(?: domain)?",
        "education": r"education(?:, skills and training)?(?: domain)?",
        "access": r"access(?: to services)?(?: domain)?",
        "environment": r"(?:living )?environment(?: domain)?",
        "crime": r"crime(?: and disorder)?(?: domain)?",
    },
    columns={"rank": ("{} ?rank",)},
)

_DISTRICT = r"local authority district (?:code|name) \({}\)"

#: All that can be read, the more particular first: the first that fits a file's header and codes.
INDICES: tuple[Index, ...] = (
    replace(
        _ENGLAND,
        title="English Indices of Deprivation 2015",
        publisher="Department for Communities and Local Government",
        year="2015",
        mark=_DISTRICT.format(2013),
    ),
    replace(
        _ENGLAND,
        title="English Indices of Deprivation 2019",
        year="2019",
        mark=_DISTRICT.format(2019),
    ),
    replace(
        _ENGLAND,
        title="English Indices of Deprivation 2025",
        areas=33_755,
        year="2025",
        vintage="LSOA 2021",
        area=r"lsoa code \(2021\)|lsoa(?:20)?21(?: ?(?:cd|code))?",
    ),
    _ENGLAND,
    replace(
        _ENGLAND,
        title="English Indices of Deprivation",
        areas=33_755,
        vintage=None,
        area=r"lsoa ?code|lsoa|(?:area|geography|feature) ?code",
    ),
    _WALES,
    _SCOTLAND,
    _NORTHERN_IRELAND,
)
