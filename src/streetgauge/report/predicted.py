"""The pages of a city without labels, which a model of another city predicts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from streetgauge.markup import cut_points_text
from streetgauge.report.data import PredictedCity, ReportData
from streetgauge.report.page import map_context, write_page
from streetgauge.report.text import Verdict, unit
from streetgauge.report.text import predicted as words
from streetgauge.report.text.provenance import reasons

__all__ = ["render_predicted", "render_predicted_map"]

UNMEASURED = Verdict("unmeasured", ("No official statistic of this city was used.",))


def render_predicted(city: PredictedCity) -> str:
    """Write the report of a city without labels.

    Parameters
    ----------
    city : PredictedCity
        What to show. Without geometry the page has no map and a reason, and without areas neither.

    Returns
    -------
    str
        HTML, as self-contained as a study's report.
    """
    return write_page("predicted.html.jinja", _report_data(city), lambda data: _context(city, data))


def render_predicted_map(city: PredictedCity) -> str:
    """Write a page with nothing but the map of a city without labels.

    Parameters
    ----------
    city : PredictedCity
        As for `render_predicted`, with geometry.

    Returns
    -------
    str
        HTML.
    """
    return write_page("map_page.html.jinja", _report_data(city), lambda d: _map_context(city, d))


def _report_data(city: PredictedCity) -> ReportData:
    """Put a predicted city into the shape that the map takes."""
    about = city.bundle["source"].get("outcomes") or {}
    empty = pd.array([pd.NA] * len(city.table), dtype="Int64")
    return ReportData(
        name=city.name,
        areas=city.areas,
        table=pd.DataFrame({"low": empty, "high": empty, **city.table, "actual_decile": empty}),
        metrics={
            "classes": city.bundle["classes"],
            "outcomes": dict.fromkeys(city.bundle["outcomes"]),
            "scheme": {"caution": ""},
        },
        provenance={name: about.get(name, {}) for name in city.bundle["outcomes"]},
        skips=city.skips,
        locations=city.locations,
    )


def _map_context(city: PredictedCity, data: ReportData) -> dict[str, Any]:
    shared = map_context(data)
    without = "geometry" not in city.areas.columns
    measured = "best_decile" in city.table
    return {
        **shared,
        "scale": words.scale(city),
        "unmeasured": words.unmeasured(city),
        "about": words.about(city),
        "verdicts": {} if measured else dict.fromkeys(shared["labels"], UNMEASURED),
        "flag": "Measured in part" if measured else "Not measured",
        "without_map": words.NO_BOUNDARIES if without else shared["without_map"],
    }


def _context(city: PredictedCity, data: ReportData) -> dict[str, Any]:
    classes = int(city.bundle["classes"])
    shared = _map_context(city, data)
    return {
        **shared,
        # Without areas there is nothing for the script to show.
        "evaluations": shared["evaluations"] if len(city.table) else {},
        "city": city,
        "one": unit(classes)[0],
        "counts": words.counts(city),
        "model": words.model(city),
        "held_out": city.held_out,
        "caveats": words.caveats(city),
        "applicability": words.applicability(city),
        "areas_by_class": _areas_by_class(city),
        "cuts": {n: cut_points_text(c) for n, c in (city.cut_points or {}).items()},
        "reasons": reasons(city.skips, city.locations),
    }


def _areas_by_class(city: PredictedCity) -> dict[str, list[int]]:
    """Count the areas of every outcome in every class."""
    counts = city.table.groupby(["outcome", "decile"]).size()
    each_class = range(1, int(city.bundle["classes"]) + 1)
    return {n: [int(counts.get((n, k), 0)) for k in each_class] for n in city.bundle["outcomes"]}
