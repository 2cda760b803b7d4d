"""The page of several cities that predict each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import shapely

from streetgauge.evaluation import metric_crs
from streetgauge.report.data import PooledCities, ReportData
from streetgauge.report.page import map_context, write_page
from streetgauge.report.text import pooling as words

__all__ = ["render_pooled"]

BOX, GAP = 1000.0, 120.0  # of a city on the map, and between two: the unit is of no account


def render_pooled(pooled: PooledCities) -> str:
    """Write the page: a map of all cities, which predicts which, and what intervals hold.

    Parameters
    ----------
    pooled : PooledCities
        What to show. A city without boundaries is not on the map.

    Returns
    -------
    str
        HTML, as self-contained as a study's report.
    """
    return write_page("pooled.html.jinja", _report_data(pooled), lambda d: _context(pooled, d))


def _report_data(pooled: PooledCities) -> ReportData:
    """Put the cities into the shape that the map takes: one city of all their areas."""
    areas, places = _abreast(pooled.areas)
    columns = {"pooled": "score", "pooled_decile": "decile"}
    columns |= {"pooled_low": "low", "pooled_high": "high", "best": "best_score"}
    table = pooled.table.rename(columns=columns)
    table["area"] = [*map(_code, table["city"], table["area"])]
    result = pooled.result
    return ReportData(
        name=words.pool_name(result),
        areas=areas,
        table=table,
        estimates=table,
        metrics={
            "classes": result["classes"],
            "outcomes": dict.fromkeys(result["outcomes"]),
            "scheme": {"caution": ""},
        },
        provenance={n: {"label": pooled.labels.get(n, n)} for n in result["outcomes"]},
        skips=pd.DataFrame(),
        locations=pd.DataFrame(),
        basemap=places,
    )


def _code(city: str, area: str) -> str:
    """Name an area: cities may have the same codes."""
    return f"{city}: {area}"


def _abreast(cities: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Put the cities next to each other, each in a scale of its own, and name them there."""
    across = int(np.ceil(np.sqrt(len(cities))))
    tables, tops = [], []
    for k, (city, areas) in enumerate(cities.items()):
        index = pd.Index([_code(city, str(area)) for area in areas.index], name="area")
        known = {"name": areas["name"].to_numpy()} if "name" in areas else {}
        table = pd.DataFrame({**known, "geometry": None}, index)
        if "geometry" in areas.columns:
            corner = (k % across) * (BOX + GAP), -(k // across) * (BOX + GAP)
            table["geometry"] = _placed(areas, corner)
            box = shapely.total_bounds(table["geometry"].to_numpy())
            tops.append((city, shapely.Point((box[0] + box[2]) / 2, box[3])))
        tables.append(table)
    frame = pd.concat(tables)
    if not tops:
        return frame.drop(columns="geometry"), {}
    import geopandas as gpd

    names, points = zip(*tops, strict=True)
    places = gpd.GeoDataFrame({"name": names}, geometry=[*points])
    return gpd.GeoDataFrame(frame, geometry="geometry"), {"places": places}


def _placed(areas: Any, corner: tuple[float, float]) -> Any:
    """Move the shapes of a city into its box, whose upper left corner this is."""
    geometry = areas.geometry
    if areas.crs is not None:
        geometry = geometry.to_crs(metric_crs(areas))
    shapes = geometry.to_numpy()
    left, bottom, right, top = shapely.total_bounds(shapes)
    scale = BOX / (max(right - left, top - bottom) or 1.0)
    return shapely.transform(shapes, lambda xy: (xy - (left, top)) * scale + corner)


def _context(pooled: PooledCities, data: ReportData) -> dict[str, Any]:
    shared, result = map_context(data), pooled.result
    mapped = "geometry" in data.areas
    return {
        **shared,
        "about": words.pool_about(result),
        "scale": words.pool_scale(result, mapped=mapped),
        "sentences": words.pool_sentences(result, shared["labels"]),
        "cities": [each["name"] for each in result["cities"]],
        "matrices": {n: words.pool_matrix(result, n) for n in shared["labels"]},
        "coverage": words.pool_coverage(result, shared["labels"]),
        "without_map": shared["without_map"] if mapped else words.NO_BOUNDARIES,
    }
