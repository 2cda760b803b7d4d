"""Pseudo codes: what the ONS writes where there is no area of that kind."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["any_pseudo", "is_pseudo", "meaning", "without_pseudo"]

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
    """Tell which codes are pseudo codes."""
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
    """Say what a pseudo code stands for.

    Examples
    --------
    >>> meaning("M99999999")
    'the Isle of Man'
    """
    return _COUNTRIES.get(code[:1], "nowhere")
