"""What the images show, in sentences: which concepts differ, what that does not mean, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from streetgauge.report.text.numbers import listed, number, percent, plural, span

__all__ = ["concept_caveats", "concepts_of"]

MOST = 8  # concepts of an outcome that the page shows
FEW_AREAS = 30  # at an end
SMOOTH = 0.5  # of the areas: with fewer independent ones a concept is one of districts
# What season, weather and camera change as much as the street does.
LIGHT = ("greenery", "sky", "brightness", "colourfulness")


def concepts_of(findings: Mapping[str, Any], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Describe each outcome of ``concepts.json``.

    Parameters
    ----------
    findings : mapping
        The content of ``concepts.json``.
    labels : mapping of outcome to str
        What each is called; outcomes that are not in it are not shown.

    Returns
    -------
    list of dict
        ``label``; ``sentence``; ``rows``, each with ``name``, ``worst``, ``best``, ``difference``,
        ``span``, ``q``; ``readable``, a sentence, or "" where nothing was tested.
    """
    return [
        {
            "label": labels[name],
            "sentence": _sentence(each["rows"]),
            "rows": [_row(row) for row in _reported(each["rows"])[:MOST]],
            "readable": _readable(each["readable"]),
        }
        for name, each in findings["outcomes"].items()
        if name in labels
    ]


def concept_caveats(findings: Mapping[str, Any], labels: Mapping[str, str]) -> list[str]:
    """List what such differences do not mean, as far as the study's numbers call for it.

    Parameters
    ----------
    findings, labels
        As for `concepts_of`.
    """
    outcomes = {name: e for name, e in findings["outcomes"].items() if name in labels}
    rows = [row for each in outcomes.values() for row in each["rows"]]
    reported = _reported(rows)
    return [
        *_not_causes(reported),
        *_alike(findings["alike"]),
        *_of_networks(reported, findings["sources"]),
        *_of_districts(reported),
        *_of_light(reported),
        *_few_areas(rows),
        *_without_images(outcomes, labels),
    ]


def _reported(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Select what is reported, the largest differences first."""
    return sorted((r for r in rows if r["reported"]), key=lambda r: -abs(r["difference"]))


def _sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "There are too few areas at either end to compare."
    reported = _reported(rows)
    if not reported:
        return "No concept differs clearly between the worst and the best off areas."
    more, less = (
        [str(r["concept"]) for r in reported if (r["difference"] > 0) == above]
        for above in (True, False)
    )
    parts = [f"{word} {listed(names)}" for word, names in (("more", more), ("less", less)) if names]
    return f"Images of the best off areas show {' and '.join(parts)} than those of the worst off."


def _row(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": str(row["concept"]),
        "worst": f"{row['worst']:.3g}".replace("-", "−"),
        "best": f"{row['best']:.3g}".replace("-", "−"),
        "difference": number(row["difference"], sign=True),
        "span": span(row),
        "q": "< 0.001" if row["q"] < 0.001 else number(row["q"], 3),
    }


def _readable(readable: Mapping[str, Any] | None) -> str:
    if readable is None or readable["concepts"]["value"] is None:
        return ""
    own, full, more = (readable[name] for name in ("concepts", "images", "difference"))
    text = (
        f"Readable model: a ridge regression on the concepts alone reaches ρ {_figure(own)} in the "
        f"same folds, the full model {_figure(full)}"
    )
    if more["low"] is None:
        return f"{text}."
    span_of = f"full less readable {span(more)}"
    if more["low"] <= 0 <= more["high"]:
        return f"{text}; they are not clearly different ({span_of})."
    better = "the full model explains more" if more["low"] > 0 else "the concepts explain more"
    return f"{text}; {better} ({span_of})."


def _figure(estimate: Mapping[str, Any]) -> str:
    interval = span(estimate)
    return f"{number(estimate['value'])}{f' ({interval})' if interval else ''}"


def _not_causes(reported: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if reported:
        yield (
            "A difference is not a cause: nobody becomes better off because of what an image "
            "shows, and changing it would not change the statistic."
        )


def _alike(pairs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if pairs:
        named = [f"{' and '.join(p['concepts'])} (ρ {number(p['spearman'])})" for p in pairs]
        yield (
            f"These concepts go together over the areas: {listed(named)}. Which of them matters "
            "cannot be seen from this study."
        )


def _of_networks(
    reported: Sequence[Mapping[str, Any]], sources: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    measured = set(sources.get("appearance", ()))
    names = [str(r["concept"]) for r in reported if r["concept"] not in measured]
    if names:
        yield (
            f"Names such as {names[0]} are those that a network was trained on: it knows no "
            "others, and gives the closest to whatever an image shows. The images show what it "
            "means here."
        )


def _of_districts(reported: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    smooth = [r for r in reported if r["effective"] < SMOOTH * r["n_areas"]]
    if smooth:
        names = list(dict.fromkeys(str(r["concept"]) for r in smooth))
        least = min(smooth, key=lambda r: r["effective"])
        yield (
            f"Neighbours are alike in {listed(names)}: the comparison is worth as few as "
            f"{least['effective']:.0f} independent areas of {least['n_areas']:,}, and may be one "
            "between parts of the city that differ in much else."
        )


def _of_light(reported: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = list(dict.fromkeys(str(r["concept"]) for r in reported if r["concept"] in LIGHT))
    if names:
        yield (
            f"Season, weather and camera change {listed(names)} as well: images of both ends "
            "should have been taken in the same months and in the same way."
        )


def _few_areas(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    fewest = min((min(r["n_worst"], r["n_best"]) for r in rows), default=FEW_AREAS)
    if fewest < FEW_AREAS:
        yield (
            f"There are as few as {plural(fewest, 'area')} at an end: only large differences can "
            "be detected, and those are overestimated."
        )


def _without_images(outcomes: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[str]:
    lacking = {
        labels[name]: each["n_areas"] - max(row["n_areas"] for row in each["rows"])
        for name, each in outcomes.items()
        if each["rows"] and each["n_areas"] > max(row["n_areas"] for row in each["rows"])
    }
    if lacking:
        name, most = max(lacking.items(), key=lambda item: item[1])
        total = next(each["n_areas"] for n, each in outcomes.items() if labels[n] == name)
        yield (
            f"Areas without images are not compared: {most:,} of {total:,} "
            f"({percent(most / total)}) for {name}."
        )
