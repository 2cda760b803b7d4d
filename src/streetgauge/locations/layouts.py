"""The ONS's postcode products: columns, recognised by their header, and pseudo codes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from streetgauge.errors import InputError

_EARLY = "pcd pcd2 pcds dointr doterm oscty oslaua osward usertype oseast1m osnrth1m osgrdind"
_1991 = "psed cened edind oshaprev lea oldha wardc91 wardo91 ward98 statsward"
_2011 = "oa11 lsoa11 msoa11"

# Headers as published (names in lower case, as they are compared): the ONS Postcode Directory
# (ONSPD) and the National Statistics Postcode Lookup (NSPL). Between two of them columns came and
# went one at a time, so a header is recognised by the one that it has most in common with.
LAYOUTS: dict[str, tuple[str, ...]] = {
    name: tuple(" ".join(parts).split())
    for name, parts in {
        "ONSPD 2011": (
            _EARLY,
            "oshlthau hro ctry pafind gor streg pcon eer teclec ttwa pct nuts",
            _1991,
            "oacode oaind casward park soa1 dzone1 soa2 urindew urindsc urindni dzone2 soa1ni",
            "oac oldpct",
        ),
        "ONSPD 2012 to 2014": (
            _EARLY,
            "oshlthau hro ctry gor streg pcon eer teclec ttwa pct nuts",
            _1991,
            "oa01 casward park lsoa01 msoa01 ur01ind oac01 oldpct",
            _2011,
            "parish wz11 ccg bua11 buasd11 ru11ind oac11",
        ),
        "ONSPD 2015 to 2017": (
            _EARLY,
            "oshlthau hro ctry gor streg pcon eer teclec ttwa pct nuts",
            _1991,
            "oa01 casward park lsoa01 msoa01 ur01ind oac01 oldpct",
            _2011,
            "parish wz11 ccg bua11 buasd11 ru11ind oac11 lat long lep1 lep2 pfa imd",
        ),
        "ONSPD 2017 to 2021": (
            "pcd pcd2 pcds dointr doterm oscty ced oslaua osward parish usertype oseast1m osnrth1m",
            "osgrdind oshlthau nhser ctry rgn streg pcon eer teclec ttwa pct nuts statsward oa01",
            "casward park lsoa01 msoa01 ur01ind oac01",
            _2011,
            "wz11 ccg bua11 buasd11 ru11ind oac11 lat long lep1 lep2 pfa imd calncv stp",
        ),
        "ONSPD 2022 to 2025": (
            "pcd pcd2 pcds dointr doterm oscty ced oslaua osward parish usertype oseast1m osnrth1m",
            "osgrdind oshlthau nhser ctry rgn streg pcon eer teclec ttwa pct itl statsward oa01",
            "casward npark lsoa01 msoa01 ur01ind oac01",
            _2011,
            "wz11 sicbl bua24 ru11ind oac11 lat long lep1 lep2 pfa imd calncv icb",
            "oa21 lsoa21 msoa21",
        ),
        "ONSPD from November 2025": (
            "pcd7 pcd8 pcds dointr doterm cty25cd ced25cd lad25cd wd25cd parncp25cd usrtypind",
            "east1m north1m gridind hlth19cd nhser24cd ctry25cd rgn25cd ssr95cd pcon24cd eer20cd",
            "educ23cd ttwa15cd pco19cd itl25cd wdstl05cd oa01cd wdcas03cd npark16cd lsoa01cd",
            "msoa01cd ruc01ind oac01ind oa11cd lsoa11cd msoa11cd wz11cd sicbl24cd bua24cd ruc11ind",
            "oac11ind lat long lep21cd1 lep21cd2 pfa23cd imd20ind cal24cd icb23cd oa21cd lsoa21cd",
            "msoa21cd ruc21ind",
        ),
        "NSPL of the Census 2011": (
            "pcd pcd2 pcds dointr doterm usertype oseast1m osnrth1m osgrdind oa11 cty ced laua",
            "ward hlthau nhser ctry rgn pcon eer teclec ttwa pct nuts park lsoa11 msoa11 wz11 ccg",
            "bua11 buasd11 ru11ind oac11 lat long lep1 lep2 pfa imd calncv stp",
        ),
        "NSPL of the Census 2021": (
            "pcd pcd2 pcds dointr doterm usertype oseast1m osnrth1m osgrdind oa21 cty ced laua",
            "ward nhser ctry rgn pcon ttwa itl npark lsoa21 msoa21 wz11 sicbl bua22 ru11ind oac11",
            "lat long lep1 lep2 pfa imd icb",
        ),
        "NSPL from November 2025": (
            "pcd7 pcd8 pcds dointr doterm usrtypind east1m north1m gridind oa21cd cty25cd ced25cd",
            "lad25cd wd25cd nhser24cd ctry25cd rgn25cd pcon24cd ttwa15cd itl25cd npark16cd",
            "lsoa21cd msoa21cd wz11cd sicbl24cd bua24cd ruc21ind oac11ind lat long lep21cd1",
            "lep21cd2 pfa23cd imd20ind icb23cd",
        ),
    }.items()
}

# What a column holds -> its names over the years, the best first. {} stands for the year of the
# census ("11"), # for a digit of the year in which a code list came out (lad25cd).
ROLES: dict[str, tuple[str, ...]] = {
    "postcode": ("pcds", "pcd7", "pcd", "pcd8", "pcd2", "postcode"),
    "terminated": ("doterm",),
    "lat": ("lat", "latitude"),
    "lon": ("long", "lon", "longitude"),
    "east": ("oseast1m", "east1m"),
    "north": ("osnrth1m", "north1m"),
    "oa": ("oa{}", "oa{}cd"),
    "lsoa": ("lsoa{}", "lsoa{}cd"),
    "msoa": ("msoa{}", "msoa{}cd"),
    "district": ("oslaua", "laua", "lad##cd", "lad"),
    "ward": ("osward", "ward", "wd##cd"),
    "county": ("oscty", "cty", "cty##cd"),
    "region": ("rgn", "gor", "rgn##cd"),
    "country": ("ctry", "ctry##cd"),
}
# Until 2012 the areas of 2001 had names without a year; soa1 and soa2 are England's and Wales's.
_WITHOUT_YEAR = {"oa": "oacode", "lsoa": "soa1", "msoa": "soa2"}
_LIKE = 0.5  # a header that shares less with every layout is a table of the user's own


@dataclass(frozen=True)
class Layout:
    """What the columns of one directory hold.

    Parameters
    ----------
    name : str or None
        The published layout; None for a table that only has some of its columns.
    columns : dict of str to str
        Role (a key of `ROLES`) -> the column's name in the file.
    """

    name: str | None
    columns: dict[str, str]


def recognise(header: Sequence[str], area: str, path: Path, *, live_only: bool = False) -> Layout:
    """Find which column holds what.

    Parameters
    ----------
    header : sequence of str
        As it stands in the file, in any order and case.
    area : str
        The kind and census of the study's areas, e.g. ``"lsoa11"``.
    path : Path
        Named in errors.
    live_only : bool
        The date of termination is needed.

    Raises
    ------
    InputError
        If no column holds postcodes, the areas, or the dates that are needed.
    """
    kind, year = area[:-2], area[-2:]
    found = {}
    for role in ROLES:
        column = _column(header, role, year)
        if column is not None:
            found[role] = column
    name, common = closest_layout(header)
    needed = {"postcode": "postcodes", kind: f"the areas ({area})"}
    if live_only:
        needed["terminated"] = "the date of termination"
    for role, what in needed.items():
        if role not in found:
            raise _unknown(header, role, what, year, path)
    return Layout(name if common >= _LIKE else None, found)


def _column(header: Sequence[str], role: str, year: str) -> str | None:
    """Find the column of a role: of several names the best, of several releases the latest."""
    plain = {name.strip().lower(): name for name in reversed(header)}
    earlier = (_WITHOUT_YEAR[role],) if year == "01" and role in _WITHOUT_YEAR else ()
    for name in (*ROLES[role], *earlier):
        pattern = re.compile(name.format(year).replace("#", r"\d"))
        fitting = [known for known in plain if pattern.fullmatch(known)]
        if fitting:
            return plain[max(fitting)]
    return None


def closest_layout(header: Sequence[str]) -> tuple[str, float]:
    """Name the layout that a header has most in common with, and the share of columns in common."""
    own = {_without_release(name) for name in header}
    shares = {
        name: len(own & {_without_release(c) for c in columns})
        / len(own | {_without_release(c) for c in columns})
        for name, columns in LAYOUTS.items()
    }
    best = max(shares, key=lambda name: shares[name])
    return best, shares[best]


def _without_release(name: str) -> str:
    """Take the year out of a code list's name, lad26cd as lad25cd, but not out of a census's."""
    plain = name.strip().lower()
    if re.fullmatch(r"(oa|lsoa|msoa)\d\d(cd)?", plain):
        return plain
    return re.sub(r"\d\d(?=(cd\d?|ind)$)", "##", plain)


def _unknown(header: Sequence[str], role: str, what: str, year: str, path: Path) -> InputError:
    known = ", ".join(name.format(year).replace("##", "25") for name in ROLES[role])
    layout, common = closest_layout(header)
    kinds = [
        f"{kind}{census}"
        for census in ("01", "11", "21")
        for kind in ("oa", "lsoa", "msoa")
        if _column(header, kind, census)
    ]
    reason = f"no column holds {what}: none is called {known}"
    if role in ("oa", "lsoa", "msoa") and kinds:
        step = f"set 'locations.area' to one of {', '.join(kinds)}"
        return InputError(path, reason, f"this is {layout}: {step}" if common >= _LIKE else step)
    step = _closest_columns(header, [name.format(year) for name in ROLES[role]])
    return InputError(path, reason, step + (f", its closest layout is {layout}" if common else ""))


def _closest_columns(header: Sequence[str], names: Sequence[str]) -> str:
    """Name the few columns that are most like one of the names, or else the first few."""
    plain = {name.strip().lower(): name.strip() for name in reversed(header)}
    like = [c for name in names for c in difflib.get_close_matches(name, plain, n=1, cutoff=0.75)]
    if like:
        return f"its closest columns are {', '.join(plain[c] for c in dict.fromkeys(like[:4]))}"
    more = " ..." if len(header) > 4 else ""
    return f"its columns are {', '.join(name.strip() for name in header[:4])}{more}"


# By the first letter, as the ONS's nine-character codes have it. E99999999 and the like stand
# where England has no area of that kind, or a postcode is so coarse that it is put into none.
_COUNTRIES = {
    "E": "England",
    "W": "Wales",
    "S": "Scotland",
    "N": "Northern Ireland",
    "L": "the Channel Islands",
    "M": "the Isle of Man",
}
_NINES = "99999999"
_OTHERS = ("L93000001", "M83000003")  # the Channel Islands and the Isle of Man as countries


def is_pseudo(codes: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Which codes are pseudo codes."""
    others = pa.array(_OTHERS, pa.string())
    return pc.or_(pc.ends_with(codes, _NINES), pc.is_in(codes, value_set=others))


def any_pseudo(codes: pa.Array | pa.ChunkedArray) -> bool:
    """Whether there is a pseudo code among them."""
    return bool(pc.any(is_pseudo(codes)).as_py())


def without_pseudo(codes: pa.ChunkedArray) -> pa.ChunkedArray:
    """Codes without blanks at their ends; null where there is none, or a pseudo code."""
    plain = pc.utf8_trim_whitespace(codes)
    none = pc.or_(is_pseudo(plain), pc.equal(plain, ""))
    return pc.if_else(none, pa.scalar(None, pa.string()), plain)


def meaning(code: str) -> str:
    """Name what a pseudo code stands for.

    Examples
    --------
    >>> meaning("M99999999")
    'the Isle of Man'
    """
    return _COUNTRIES.get(code[:1], "nowhere")
