"""Sentences on when images were taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streetgauge.report.text.numbers import among, number, percent, plural, span

__all__ = ["age_sentences"]


def age_sentences(age: Mapping[str, Any], labels: Mapping[str, str] = {}) -> list[str]:
    """Put into words how old images are, and what that does, as far as the numbers call for it.

    Parameters
    ----------
    age : mapping
        What `streetgauge.pipeline.age.study_age` gives.
    labels : mapping
        What outcomes are called, if not by their names.

    Returns
    -------
    list of str
    """
    lines = [
        f"{percent(age['n_dated'] / age['n_images'])} of {plural(age['n_images'], 'image')} state "
        f"when they were taken: from {age['first']} to {age['last']}, half of them before "
        f"{age['median'] + 1}."
    ]
    lines += _gaps(age["outcomes"], labels)
    for name, each in age["outcomes"].items():
        called, slope = labels.get(name, name), each["per_5_years"]
        if each["is_related"]:
            more = "larger" if slope["value"] > 0 else "smaller"
            since = "between images and statistic" if each["vintage"] else "later images are"
            lines.append(
                f"{called}: errors are {more} by {number(abs(slope['value']))} classes for each "
                f"five years {since} ({span(slope)})."
            )
        if (tested := each["over_time"]) is not None:
            lines += _over_time(called, tested, age["year"])
    if not any(each["is_related"] for each in age["outcomes"].values()):
        lines.append("Errors are not found to go with the age of the images.")
    return lines


def _gaps(outcomes: Mapping[str, Any], labels: Mapping[str, str]) -> list[str]:
    """State how far images are from the year of each statistic, where that is a year or more."""
    lines = []
    for when, sign in (("later", 1), ("earlier", -1)):
        years = {
            labels.get(name, name): number(abs(each["gap"]), 1)
            for name, each in outcomes.items()
            if each["gap"] is not None and sign * each["gap"] >= 1
        }
        if years:
            gaps = sorted(set(years.values()), key=float)
            span = gaps[0] if len(gaps) == 1 else f"{gaps[0]} to {gaps[-1]}"
            whom = among([*years], len(outcomes))
            lines.append(
                f"In the median area images are {span} years {when} than the statistic, for {whom}."
            )
    return lines


def _over_time(called: str, tested: Mapping[str, Any], year: int) -> list[str]:
    """State a loss from training on earlier images, if there clearly is one."""
    loss = tested["mae"]["difference"]
    if loss["low"] is None or loss["low"] <= 0:
        return []
    return [
        f"{called}: a model of images from before {year} is {number(loss['value'])} classes "
        f"further off on images since then than one of images since then ({span(loss)}; "
        f"{plural(tested['n_areas'], 'area')} with both, none of them trained on)."
    ]
