"""Sentences on several cities that were pooled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from streetgauge.report.text.numbers import listed, number, percent, plural, unit

__all__ = [
    "NO_BOUNDARIES",
    "POOL_METHODS",
    "pool_about",
    "pool_coverage",
    "pool_matrix",
    "pool_means",
    "pool_name",
    "pool_scale",
    "pool_sentences",
]

NO_BOUNDARIES = (
    "There is no map: the studies’ areas come from tables without boundaries. With a boundary file "
    "under [areas] of a study this page draws its city."
)
POOL_METHODS = {"others": "all others", "own": "its own labels"}
POOL_METHODS |= {"pooled": "both", "best": "best estimate"}


def pool_name(pool: Mapping[str, Any]) -> str:
    """Name the cities together."""
    return listed([each["name"] for each in pool["cities"]])


def pool_about(pool: Mapping[str, Any]) -> str:
    """Sum up in a line what was estimated, and where."""
    areas = plural(sum(each["n_areas"] for each in pool["cities"]), "area")
    cities = plural(len(pool["cities"]), "city", "cities")
    what = plural(len(pool["outcomes"]), "outcome")
    return f"{what} of {areas} in {cities}, each predicted by the others and by its own labels."


def pool_scale(pool: Mapping[str, Any], *, mapped: bool) -> str:
    """Explain what a class means, and how the map is drawn."""
    one, many = unit(pool["classes"])
    drawn = " On the map cities stand next to each other, each in a scale of its own."
    return (
        f"A {one} is where an area stands within its own city: 1 is worst off, {pool['classes']} "
        f"best off. {many.capitalize()} of different cities cannot be compared. “Images alone” are "
        f"what images show with the labels of all cities.{drawn if mapped else ''}"
    )


def pool_matrix(
    pool: Mapping[str, Any], outcome: str
) -> list[tuple[str, list[Mapping[str, Any] | None]]]:
    """Give the rank correlations of an outcome by what predicts, a cell for each city."""
    cities = [each["name"] for each in pool["cities"]]
    pairs = {
        (each["from"], each["to"]): each["spearman"]
        for each in pool["matrix"]
        if each["outcome"] == outcome
    }
    rows: list[tuple[str, list[Mapping[str, Any] | None]]] = [
        (source, [pairs.get((source, target)) for target in cities]) for source in cities
    ]
    found = {
        each["city"]: each["methods"] for each in pool["results"] if each["outcome"] == outcome
    }
    for method, title in POOL_METHODS.items():
        of_city = [found[city].get(method) for city in cities]
        rows.append((title, [each and each["spearman"] for each in of_city]))
    return rows


def pool_coverage(
    pool: Mapping[str, Any], labels: Mapping[str, str] = {}
) -> list[Mapping[str, Any]]:
    """Give how often intervals of the best estimate hold, a row for each city and outcome."""
    return [
        {**each["intervals"], "city": each["city"], "outcome": labels.get(name, name)}
        for each in pool["results"]
        if each["intervals"] and (name := each["outcome"])
    ]


def pool_means(pool: Mapping[str, Any], city: str, method: str) -> float | None:
    """Give a method's mean rank correlation in a city over the outcomes; None if it has none."""
    found = [
        each["methods"][method]["spearman"]["value"]
        for each in pool["results"]
        if each["city"] == city and method in each["methods"]
    ]
    known = [value for value in found if value is not None]
    return mean(known) if known else None


def pool_sentences(pool: Mapping[str, Any], labels: Mapping[str, str] = {}) -> list[str]:
    """Put into words what other cities and a city's own labels are worth in each.

    Parameters
    ----------
    pool : mapping
        What `streetgauge.pipeline.pooling.pool_studies` gives.
    labels : mapping
        What outcomes are called, if not by their names.

    Returns
    -------
    list of str
    """
    lines = []
    for city in (each["name"] for each in pool["cities"]):
        own = [
            {**each, "outcome": labels.get(each["outcome"], each["outcome"])}
            for each in pool["results"]
            if each["city"] == city
        ]
        used = [each["outcome"] for each in own if each["n_corrected"]]
        unused = [each["outcome"] for each in own if each["n_models"] and not each["n_corrected"]]
        values = {
            "the other cities alone": pool_means(pool, city, "others"),
            "its own labels alone": pool_means(pool, city, "own"),
            "both": pool_means(pool, city, "pooled"),
            "the best estimate": pool_means(pool, city, "best"),
        }
        known = [f"{number(v, 2)} by {name}" for name, v in values.items() if v is not None]
        if not known:
            lines.append(
                f"{city} has too few labels to measure with: the others predict it, and its "
                "intervals are as wide as the others’ errors among themselves."
            )
            continue
        lines.append(f"{city}: Spearman's ρ of areas that were held out is {listed(known)}.")
        if used:
            lines.append(f"{city}: its labels correct the other cities for {listed(used)}.")
        if unused:
            lines.append(
                f"{city}: its labels do not lower the error of areas that were held out for "
                f"{listed(unused)}; the order of its areas is that of the other cities."
            )
        lines += _held(city, [each["intervals"] for each in own if each["intervals"]], pool)
    return lines + list(pool["notes"])


def _held(
    city: str, each_outcome: Sequence[Mapping[str, Any]], pool: Mapping[str, Any]
) -> list[str]:
    """Report how often intervals of a city hold, over all outcomes."""
    total = sum(each["n_areas"] for each in each_outcome)
    if not total:
        return []
    share, width = (
        sum(each[key] * each["n_areas"] for each in each_outcome) / total
        for key in ("share", "mean_width")
    )
    many = unit(pool["classes"])[1]
    return [
        f"{city}: {percent(pool['interval_level'])} intervals of the best estimate hold the actual "
        f"class in {percent(share)} of {plural(total, 'held-out area')}, outcomes counted one by "
        f"one; they are {number(width, 1)} {many} wide on average."
    ]
