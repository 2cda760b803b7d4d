"""How much of each area was seen, and which areas are measured."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["FEW_LOCATIONS", "MEASURED", "WITHOUT_ACTUAL", "add_coverage", "mark"]

MEASURED, WITHOUT_ACTUAL, FEW_LOCATIONS = "measured", "no actual decile", "too few locations"


def add_coverage(
    areas: pd.DataFrame,
    locations: pd.DataFrame,
    predictions: pd.DataFrame,
    views: pd.Series | None = None,
) -> pd.DataFrame:
    """Add how many images an area's decile comes from, and what share of it they show.

    Parameters
    ----------
    areas : DataFrame
        ``area``, ``outcome``.
    locations : DataFrame
        All locations of the study: ``location_id``, ``area`` and, where known, ``postcode``.
    predictions : DataFrame
        ``location_id``, ``area``, ``outcome`` of those that were seen.
    views : Series of int by location, optional
        How many images of each location there are.

    Returns
    -------
    DataFrame
        ``areas`` with ``n_views`` (Int64, missing if that is not known) and ``share_with_images``
        (of the area's postcodes, that with a predicted location; of its locations where it has no
        postcodes) at the end.
    """
    location, ids = pd.factorize(predictions["location_id"])
    outcome, outcomes = pd.factorize(predictions["outcome"])
    area, codes = pd.factorize(predictions["area"])
    cell = outcome * len(codes) + area
    size = len(outcomes) * len(codes)
    place, places = pd.factorize(_places(locations).reindex(ids).fillna(pd.Series(ids, ids)))
    pairs = np.unique(cell * len(places) + place[location])
    seen = np.bincount(pairs // max(len(places), 1), minlength=size)
    row = outcomes.get_indexer(pd.Index(areas["outcome"])).astype(np.int64)
    own = row * len(codes) + codes.get_indexer(pd.Index(areas["area"]))
    result = areas.copy()
    result["n_views"] = pd.Series(pd.NA, areas.index, dtype="Int64")
    if views is not None:
        each = views.reindex(ids).astype("float64").to_numpy()[location]
        known = np.bincount(cell, np.isfinite(each), size) > 0
        total = np.where(known, np.bincount(cell, np.nan_to_num(each), size), np.nan)
        result["n_views"] = pd.array(total[own], dtype="Float64").astype("Int64")
    result["share_with_images"] = seen[own] / areas["area"].map(_places_of(locations)).to_numpy(
        float
    )
    return result


def mark(areas: pd.DataFrame, min_locations: int = 1) -> pd.DataFrame:
    """Add ``status``: ``measured``, ``no actual decile`` or ``too few locations``.

    Parameters
    ----------
    areas : DataFrame
        ``n_locations``, ``actual_decile``.
    min_locations : int, default 1
        Areas with fewer are not measured.
    """
    status = pd.Series(MEASURED, areas.index, dtype="str")
    status[areas["n_locations"] < min_locations] = FEW_LOCATIONS
    status[areas["actual_decile"].isna()] = WITHOUT_ACTUAL
    return areas.assign(status=status)


def _places(locations: pd.DataFrame) -> pd.Series:
    """Give the postcode of each location, or where it has none the location itself."""
    own = pd.Series(locations["location_id"].to_numpy(), locations["location_id"])
    if "postcode" not in locations:
        return own
    postcode = pd.Series(locations["postcode"].to_numpy(), own.index)
    return postcode.where(postcode.notna(), own)


def _places_of(locations: pd.DataFrame) -> dict[str, int]:
    """Count the places of every area."""
    places = _places(locations).to_numpy()
    once = pd.DataFrame({"area": locations["area"].to_numpy(), "place": places}).drop_duplicates()
    return {str(area): count for area, count in once["area"].value_counts().items()}
