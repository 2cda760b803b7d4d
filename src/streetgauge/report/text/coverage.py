"""Sentences on which areas have images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from streetgauge.report.text.numbers import listed, number, percent, plural, span, unit

if TYPE_CHECKING:
    from streetgauge.report.data import ReportData

__all__ = ["coverage_of", "coverage_sentences"]

WITHIN = {"district": "within districts", "blocks": "within squares of 20 km", "all": "among all"}


def coverage_sentences(about: Mapping[str, Any], strata: str, classes: int) -> list[str]:
    """Put into words how images relate to one outcome.

    Parameters
    ----------
    about : mapping
        From `streetgauge.analysis.coverage.measure_coverage`.
    strata : str
        ``district``, ``blocks`` or ``all``.
    classes : int
        K.

    Returns
    -------
    list of str
    """
    one = unit(classes)[0]
    n, without = about["n_areas"], about["n_without"]
    if not without:
        lines = [f"All {n:,} areas have images." if n > 1 else "The one area has images."]
        return [*lines, *_by_number(about, one)]
    lines = [f"{without:,} of {plural(n, 'area')} ({percent(without / n)}) have no image."]
    shares = [each for each in about["by_decile"] if each["n"]]
    most, least = (pick(shares, key=lambda each: each["share"]) for pick in (max, min))
    if about["p_value"] is None:
        lines.append(
            "Whether that has to do with the outcome cannot be tested: no district or square has "
            "areas with images and areas without, of different " + unit(classes)[1] + "."
        )
    elif about["is_related"]:
        lines.append(
            f"This is not random (p = {number(about['p_value'], 3)}, permuted {WITHIN[strata]}). "
            f"In {one} {most['decile']}, {percent(most['share'])} ({_span(most)}) of the areas "
            f"have none; in {one} {least['decile']}, {percent(least['share'])} ({_span(least)})."
        )
    else:
        lines.append(
            f"No relation with the outcome is found (p = {number(about['p_value'], 2)}, permuted "
            f"{WITHIN[strata]}). With few areas only a strong one would be."
        )
    people = [each for each in shares if each["people"]]
    if people:
        living = sum(each["people_without"] for each in people) / sum(e["people"] for e in people)
        lines.append(f"{percent(living)} of the people live in areas without an image.")
    return [
        *lines,
        *_by_number(about, one),
        *_reweighted(about.get("reweighted"), one),
        *_weighting(about.get("weighting")),
    ]


def coverage_of(data: ReportData, labels: Mapping[str, str]) -> dict[str, Any] | None:
    """Give the page's table of areas without images and its sentences; None if not known."""
    if data.coverage is None:
        return None
    outcomes = data.coverage["outcomes"]
    classes, strata = data.coverage["classes"], data.coverage["strata"]
    found = {n: coverage_sentences(about, strata, classes) for n, about in outcomes.items()}
    counts = {sentences[0] for sentences in found.values()}
    common = counts.pop() if len(counts) == 1 else ""
    sentences = {
        labels.get(name, name): " ".join(each[1:] if common else each)
        for name, each in found.items()
    }
    return {
        "common": common,
        "sentences": {name: text for name, text in sentences.items() if text},
        "rows": {
            labels.get(name, name): [percent(each["share"]) for each in about["by_decile"]]
            for name, about in outcomes.items()
            if about["n_without"]
        },
        "classes": range(1, classes + 1),
    }


def _reweighted(found: Mapping[str, Any] | None, one: str) -> list[str]:
    """State what the error would be of all areas alike, where it is another one."""
    if found is None or found["mae"] is None:
        return []
    if found["missing"]:
        return [f"No measured area stands for {one} {listed(list(map(str, found['missing'])))}."]
    own, weighted = number(found["mae"]), number(found["mae_weighted"])
    if own == weighted:
        return []
    return [
        f"If each {one} counted as it does among all areas, the mean absolute error would be "
        f"{weighted}, not {own}."
    ]


def _weighting(found: Mapping[str, Any] | None) -> list[str]:
    """State what weights in training changed."""
    if found is None:
        return []
    with_, without = found["with"], found["without"]
    if with_["mae"] is None or without["mae"] is None:
        return []
    of_weighted = (number(each["mae_weighted"]) for each in (with_, without))
    measured = (number(each["mae"]) for each in (with_, without))
    return [
        f"Training weighted areas by the inverse of the probability that they have images, "
        f"estimated from {listed(found['columns'])}: the areas it used count as "
        f"{found['effective']:,.0f} of equal weight. Weighted so, the mean absolute error is "
        f"{' and without weights in training '.join(of_weighted)}; of the measured areas alike "
        f"{' and '.join(measured)}."
    ]


def _by_number(about: Mapping[str, Any], one: str) -> list[str]:
    rho = about["spearman"]
    if rho["value"] is None or rho["low"] is None or rho["low"] <= 0 <= rho["high"]:
        return []
    more = "more" if rho["value"] > 0 else "fewer"
    return [
        f"Areas of a higher {one} have {more} images (Spearman’s ρ {number(rho['value'])}, "
        f"{span(rho)})."
    ]


def _span(each: Mapping[str, Any]) -> str:
    return f"{percent(each['low'])} to {percent(each['high'])}"
