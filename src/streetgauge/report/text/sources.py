"""Sentences on the official statistics: what a class means, what is missing, what was carried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streetgauge.report.text.numbers import PARTS, listed, number, percent, plural, unit

__all__ = ["carried", "incomplete", "scale"]


def scale(provenance: Mapping[str, Mapping[str, Any]], classes: int) -> str:
    """Say what a class means: among which areas, and cut by what."""
    one, many = unit(classes)
    said = list(provenance.values())
    part = PARTS.get(classes, f"{classes}th part")
    own = [each for each in said if each.get("deciles", "study") == "study"]
    within = own[0].get("within", "study") if own else "study"
    if within == "study":
        who = "the areas of this study"
    elif within == "nation":
        who = "all areas of each statistic’s file"
    else:
        who = f"the areas with codes like {listed([str(each) for each in within])}"
    text = (
        f"A {one} says where an area stands among {who}: 1 is the worst-off {part}, {classes} the "
        "best-off."
    )
    if any(each.get("weighted") for each in own):
        text += f" Each of these {many} holds an equal share of the people, not of the areas."
    published = [str(p.get("label") or n) for n, p in provenance.items() if p not in own]
    if published:
        text += f" The {many} of {listed(published)} are the publisher’s."
    if published or within != "study" or any(each.get("weighted") for each in own):
        text += (
            f" As many areas are predicted in each {one} as are in it, so this study’s own share "
            f"of every {one} is taken as known."
        )
    return text


def incomplete(provenance: Mapping[str, Any], labels: Mapping[str, str], classes: int) -> str:
    """Refuse to call an outcome complete: how much is missing, and is it like the rest; or ""."""
    missing, n = provenance.get("n_missing") or 0, provenance.get("n_areas") or 0
    if not missing:
        return ""
    text = (
        f"This outcome is not complete: {missing:,} of {plural(missing + n, 'area')} of the study "
        f"({percent(missing / (missing + n))}) {'has' if missing == 1 else 'have'} no value, and "
        f"its figures speak for the other {n:,} only."
    )
    whole, part = provenance.get("nation_areas"), provenance.get("file_areas")
    if whole and part and part < whole:
        text += f" Its file holds {part:,} of the {whole:,} areas that the index ranks."
    unlike = provenance.get("missing_bias")
    if unlike:
        by = labels.get(unlike["by"], unlike["by"])
        return (
            f"{text} They are no random sample: by {by} the mean {unit(classes)[0]} of the areas "
            f"without a value is {number(unlike['without'], 1)}, of the others "
            f"{number(unlike['having'], 1)}."
        )
    return f"{text} Whether the others are a fair sample is not known."


def carried(provenance: Mapping[str, Any]) -> str:
    """Say how values of one year's areas came to those of another; "" if they did not have to."""
    lookup = provenance.get("lookup")
    if not lookup:
        return ""
    without = "" if lookup["weights"].startswith("the lookup") else ", without a value"
    kinds = {
        "unchanged": "unchanged",
        "split": "parts of a split area, with the whole’s value",
        "merged": f"merged, with the mean ({lookup['weights']})",
        "irregular": f"redrawn irregularly{without}",
        "absent": "not in the lookup, without a value",
    }
    counts = "; ".join(f"{lookup[kind]:,} {text}" for kind, text in kinds.items() if lookup[kind])
    return (
        f"values of {lookup['from']} areas were carried to {lookup['to']} areas by "
        f"{lookup['file']} (sha256 {lookup['sha256'][:12]}). Of the study’s areas: {counts}."
    )
