"""Sentences on groups of areas that are misjudged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streetgauge.report.text.numbers import listed, number, percent, plural, unit

__all__ = ["fairness_sentences"]

MOST = 8  # findings that are put into words
SHARES = ("deprived_as_well_off", "well_off_as_deprived", "interval_coverage")


def fairness_sentences(fairness: Mapping[str, Any], labels: Mapping[str, str] = {}) -> list[str]:
    """Put into words which groups are misjudged, what was too small to test, and what that means.

    Parameters
    ----------
    fairness : mapping
        What `streetgauge.pipeline.fairness.study_fairness` gives.
    labels : mapping
        What outcomes are called, if not by their names.

    Returns
    -------
    list of str
    """
    rows, many = fairness["comparisons"], unit(fairness["classes"])[1]
    found = [each for each in rows if each["reported"]]
    lines = [_difference(each, labels, many) for each in found[:MOST]]
    if len(found) > MOST:
        lines.append(
            f"{plural(len(found) - MOST, 'more difference')} of this kind are in the table."
        )
    if rows and not found:
        lines.append(
            f"No difference between groups is sure in {plural(len(rows), 'comparison')}. That is "
            "not the same as none: intervals state how large it could be."
        )
    if not rows:
        lines.append(f"No two groups have {fairness['fewest']} areas each, so nothing is compared.")
    if fairness["small"]:
        names = [f"{e['column']} {e['group']} ({e['n']})" for e in fairness["small"]]
        lines.append(
            f"Too small for rates, with fewer than {fairness['fewest']} areas: {listed(names)}."
        )
    for column, n in fairness["without"].items():
        if n:
            lines.append(
                f"{plural(n, 'area')} without a value of {column} are in none of its groups."
            )
    return lines


def _difference(each: Mapping[str, Any], labels: Mapping[str, str], many: str) -> str:
    name = labels.get(each["outcome"], each["outcome"])
    head = f"{name}, {each['column']} {each['group']} ({plural(each['n'], 'area')}): "
    own, others = each["value"], each["others"]
    if each["measure"] in SHARES:
        both = f"{percent(own)} against {percent(others)} of the others"
    else:
        both = f"{number(own)} against {number(others)} of the others"
    between = f"{number(each['difference'], sign=True)}, {number(each['low'], sign=True)} to "
    between += number(each["high"], sign=True)
    words = {
        "deprived_as_well_off": f"deprived areas are called well off: {both}",
        "well_off_as_deprived": f"well-off areas are called deprived: {both}",
        "mae": f"predictions are off by {both} ({many}; {between})",
        "bias": f"predictions are too {'high' if own > others else 'low'} by comparison: {both} "
        f"({many}; {between})",
        "interval_coverage": f"intervals hold the actual value in {both}",
        "calibration_error": f"the calibration error is {both}",
    }
    return f"{head}{words[each['measure']]}."
