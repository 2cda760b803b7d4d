"""What a study may be used for and what not, and who could be harmed, from its own numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from streetgauge.report.text.findings import gain_direction
from streetgauge.report.text.numbers import among, listed, number, percent, unit

if TYPE_CHECKING:
    from streetgauge.report.data import ReportData

__all__ = ["responsible_use"]

WIDE = 0.4  # of the classes: an interval of that width says little of a single area


def responsible_use(data: ReportData, labels: Mapping[str, str]) -> list[str]:
    """List what a reader must know before acting; each sentence only where its numbers call for it.

    Parameters
    ----------
    data : ReportData
        All that the page shows.
    labels : mapping
        What outcomes are called.

    Returns
    -------
    list of str
    """
    if data.simulated or not data.metrics["outcomes"]:
        return []
    return [
        *_single_areas(data.metrics, labels),
        *_without_gain(data.metrics["outcomes"], labels),
        *_missing(data.coverage, labels),
        *_misjudged(data.fairness, labels),
        *_images(data),
    ]


def _single_areas(metrics: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[str]:
    classes, wide = int(metrics["classes"]), {}
    for name, each in metrics["outcomes"].items():
        width = (each.get("intervals") or {}).get("mean_width")
        if width is not None and width >= WIDE * classes:
            wide[labels.get(name, name)] = width
    if wide:
        least, most = min(wide.values()), max(wide.values())
        span = (
            number(most, 1) if most - least < 0.05 else f"{number(least, 1)} to {number(most, 1)}"
        )
        yield (
            f"Not for decisions about single areas by images alone. For "
            f"{among(list(wide), len(metrics['outcomes']))} an area’s interval is {span} of "
            f"{classes} {unit(classes)[1]} wide on average. Use it to rank areas, and to "
            "choose which to examine first."
        )


def _without_gain(outcomes: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[str]:
    names = [
        labels.get(n, n)
        for n, each in outcomes.items()
        if gain_direction(each) in ("less", "unclear")
    ]
    if names:
        yield (
            f"Do not cite the images as evidence for {among(names, len(outcomes))}: they are not "
            "clearly better there than what needs no image."
        )


def _missing(coverage: Mapping[str, Any] | None, labels: Mapping[str, str]) -> Iterator[str]:
    if coverage is None:
        return
    related = {
        labels.get(name, name): max(
            (each for each in about["by_decile"] if each["n"]), key=lambda each: each["share"]
        )
        for name, about in coverage["outcomes"].items()
        if about["n_without"] and about["is_related"]
    }
    if related:
        one, many = unit(coverage["classes"])
        each = [
            f"{percent(most['share'])} of those in {one} {most['decile']} of {name}"
            for name, most in related.items()
        ]
        shares = each[0] if len(each) == 1 else f"many areas of some {many}: {listed(each)}"
        yield (
            f"A list of areas from images alone would lack {shares}, and whoever lives there. "
            "Take the best estimate, or name the areas without images."
        )


def _misjudged(fairness: Mapping[str, Any] | None, labels: Mapping[str, str]) -> Iterator[str]:
    if fairness is None:
        return
    found = [each for each in fairness["comparisons"] if each["reported"]]
    for each in filter(_is_harmed, found):
        group, outcome = f"{each['column']} {each['group']}", each["outcome"]
        yield (
            f"Could be harmed: the areas of {group}, by {labels.get(outcome, outcome)}. "
            "If help goes where a low class is predicted, these areas get less than their share."
        )


def _is_harmed(each: Mapping[str, Any]) -> bool:
    """Whether a group is predicted better off than it is, by comparison with the others."""
    return each["measure"] in ("bias", "deprived_as_well_off") and each["difference"] > 0


def _images(data: ReportData) -> Iterator[str]:
    if data.imagery and not data.imagery.get("licence") and not data.credits:
        yield (
            "The images’ licence is not known to the study: do not publish any of them. State it "
            "under [imagery] as licence and attribution."
        )
    if data.gallery is not None or data.images:
        yield (
            "The page shows street images. They may show faces, number plates and homes: check "
            "each of them before you publish the page."
        )
