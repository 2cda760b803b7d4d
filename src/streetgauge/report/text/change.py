"""Sentences on what has changed between the images of two years."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streetgauge.report.text.numbers import listed, number, percent, plural, unit

__all__ = ["change_sentences"]


def change_sentences(change: Mapping[str, Any], labels: Mapping[str, str] = {}) -> list[str]:
    """Put into words where areas have changed, and how large a change would be noticed.

    Parameters
    ----------
    change : mapping
        What `streetgauge.pipeline.change.study_change` gives.
    labels : mapping
        What outcomes are called, if not by their names.

    Returns
    -------
    list of str
    """
    many = unit(change["classes"])[1]
    shown = {labels.get(name, name): each for name, each in change["outcomes"].items() if each}
    areas = plural(change["n_areas"], "area")
    found = [f"{each['n_flagged']:,} ({name})" for name, each in shown.items()]
    lines = [
        f"Change is detected in {listed(found)} of {areas}; at most "
        f"{percent(change['false_discovery_rate'])} of these are expected to be false."
        if any(each["n_flagged"] for each in shown.values())
        else f"No change is detected in any of {areas}."
    ]
    sizes = [f"{number(each['detectable'], 1)} ({name})" for name, each in shown.items()]
    lines.append(
        "No detectable change is not the same as none: a change would be noticed in four of five "
        f"areas if it were of at least {listed(sizes)} {many}."
    )
    shifts = [f"{number(each['shift'], 1, sign=True)} ({name})" for name, each in shown.items()]
    lines.append(
        f"Removed from all areas, besides a shift of the features: {listed(shifts)} {many}. A "
        "change that all areas share cannot be distinguished from another camera or season."
    )
    lacking = [labels.get(name, name) for name, each in change["outcomes"].items() if not each]
    if lacking:
        lines.append(f"Images do not show {listed(lacking)}, so no change of it is estimated.")
    for year, areas in change["only"].items():
        if areas:
            lines.append(
                f"Excluded: {plural(len(areas), 'area')} with images of the {year} year only "
                f"({listed(areas, 3)})."
            )
    if seen := change["seen"]:
        lines.append(
            f"Excluded: {plural(len(seen), 'area')} that were not held out ({listed(seen, 3)})."
        )
    return lines + [f"{note[0].upper()}{note[1:]}." for note in change["notes"]]
