"""Sentences on how areas were held out, from what `streetgauge.evaluation.describe_scheme` says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["held_out", "no_intervals", "tested"]


def tested(scheme: Mapping[str, Any]) -> str:
    """Say in a clause who predicted an area, for the captions of figures."""
    if scheme["caution"]:
        return "by networks that had learned from other locations of these areas"
    return "each area predicted by a network that never saw it"


def held_out(scheme: Mapping[str, Any]) -> Iterable[str]:
    """Say how areas were held out, and whom that flatters."""
    name, words = scheme["name"], str(scheme["description"])
    if scheme["caution"]:
        yield f"{_capital(words)}: these figures leak, as is said at the top."
        return
    if name == "test-only":
        yield f"{_capital(words)}: nothing of this study taught it anything."
        return
    if name == "by-class":
        yield (
            f"{_capital(words)}: no network knew an area like these. As many are predicted in each "
            "class as are in it among them, so which classes were tested is taken as known, and "
            "the figures say only how well these are told apart."
        )
        return
    if scheme["buffer"]:
        yield (
            f"{_capital(words)}. So the figures say how good the networks are at that distance "
            "from anything that they know; in another city expect less still."
        )
        return
    neighbours = "most of an area’s neighbours were learned from"
    if name == "blocks" or name == "leave-one-group-out" or scheme["unit"] != "area":
        neighbours = "areas at a border have neighbours that were learned from"
    if name == "stored":
        neighbours = "what was learned from may lie next door"
    yield (
        f"{_capital(words)}, so {neighbours}. Places near each other resemble each other: this "
        "flatters every method, the nearest-areas baseline too. Expect less in a city that the "
        "networks have not seen."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def no_intervals(accounts: Mapping[str, Any], scheme: Mapping[str, Any]) -> Iterable[str]:
    """Say why the intervals of areas are as wide as the scale, where they are."""
    held = [(each.get("intervals") or {}, each) for each in accounts.values()]
    classes = max((len(about.get("confusion", ())) for _, about in held), default=0) or 10
    if any((each.get("mean_width") or classes) < classes for each, _ in held):
        return
    if accounts and (scheme["parts"] < 2 or scheme["caution"]):
        why = "one part only was tested" if scheme["parts"] < 2 else "the figures leak"
        yield (
            "The areas’ intervals take the errors of areas in other folds. There are none to take, "
            f"since {why}, so the intervals are as wide as the scale."
        )
