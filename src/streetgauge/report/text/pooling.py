"""Sentences on several cities that were pooled."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean
from typing import Any

from streetgauge.report.text.numbers import listed, number

__all__ = ["pool_means", "pool_sentences"]


def pool_means(pool: Mapping[str, Any], city: str, method: str) -> float | None:
    """Give a method's mean rank correlation in a city over the outcomes; None if it has none."""
    found = [
        each["methods"][method]["spearman"]["value"]
        for each in pool["results"]
        if each["city"] == city and method in each["methods"]
    ]
    known = [value for value in found if value is not None]
    return mean(known) if known else None


def pool_sentences(pool: Mapping[str, Any]) -> list[str]:
    """Put into words what other cities and a city's own labels are worth in each.

    Parameters
    ----------
    pool : mapping
        What `streetgauge.pipeline.pooling.pool_studies` gives.

    Returns
    -------
    list of str
    """
    lines = []
    for city in (each["name"] for each in pool["cities"]):
        own = [each for each in pool["results"] if each["city"] == city]
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
            lines.append(f"{city} has too few labels to measure with: the others predict it.")
            continue
        lines.append(f"{city}: Spearman's ρ of areas that were held out is {listed(known)}.")
        if used:
            lines.append(f"{city}: its labels correct the other cities for {listed(used)}.")
        if unused:
            lines.append(
                f"{city}: its labels do not lower the error of areas that were held out for "
                f"{listed(unused)}; the order of its areas is that of the other cities."
            )
    return lines + list(pool["notes"])
