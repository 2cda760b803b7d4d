"""Where areas are, in metres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from streetgauge.errors import InputError

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["area_coordinates", "location_coordinates", "metric_crs", "positions_of_areas"]


def metric_crs(areas: gpd.GeoDataFrame | gpd.GeoSeries) -> Any:
    """Coordinate system in metres: the boundaries' own if it is one, else the UTM zone they lie in.

    Raises
    ------
    InputError
        If the boundaries do not say in which coordinate system they are.
    """
    if areas.crs is None:
        raise InputError(
            "boundaries",
            "they do not say in which coordinate system they are",
            "use a file that does, e.g. a GeoPackage",
        )
    metres = all(axis.unit_conversion_factor == 1 for axis in areas.crs.axis_info[:2])
    if areas.crs.is_projected and metres:
        return areas.crs
    return areas.estimate_utm_crs()


def area_coordinates(areas: gpd.GeoDataFrame) -> pd.DataFrame:
    """Give the centroid of every area.

    Parameters
    ----------
    areas : GeoDataFrame by area
        Boundaries, in any coordinate system.

    Returns
    -------
    DataFrame by area
        ``x``, ``y`` in metres; NaN where the boundary is missing or empty.
    """
    geometry = areas.geometry
    here = ~(geometry.isna() | geometry.is_empty)
    result = pd.DataFrame(np.nan, index=areas.index, columns=["x", "y"])
    if here.any():
        centroid = geometry[here].to_crs(metric_crs(geometry[here])).centroid
        result.loc[here, "x"], result.loc[here, "y"] = centroid.x, centroid.y
    return result


def positions_of_areas(areas: pd.DataFrame, locations: pd.DataFrame) -> pd.DataFrame:
    """Give every area a place: its centroid where there are boundaries, else its locations' mean.

    Parameters
    ----------
    areas : DataFrame by area
        With ``geometry`` or without.
    locations : DataFrame
        As for `location_coordinates`.

    Returns
    -------
    DataFrame by area
        ``x``, ``y`` in metres.
    """
    if "geometry" in areas:
        boundaries: Any = areas
        return area_coordinates(boundaries)
    return location_coordinates(locations)


def location_coordinates(locations: pd.DataFrame) -> pd.DataFrame:
    """Give the mean position of every area's locations: for studies without boundaries.

    Parameters
    ----------
    locations : DataFrame
        ``area``, ``lat``, ``lon`` (degrees, WGS 84); rows without any of them are not used.

    Returns
    -------
    DataFrame by area
        ``x``, ``y`` in metres (UTM zone of the locations), sorted by area; areas without a
        position are not in it.
    """
    import geopandas as gpd

    usable = locations.dropna(subset=["area", "lat", "lon"])
    usable = usable.sort_values(["area", "lat", "lon"])  # float sums depend on the order
    mean = usable.groupby("area", sort=True)[["lat", "lon"]].mean()
    if mean.empty:
        return pd.DataFrame({"x": [], "y": []}, index=mean.index, dtype=float)
    points = gpd.GeoSeries(gpd.points_from_xy(mean["lon"], mean["lat"]), mean.index, "EPSG:4326")
    points = points.to_crs(points.estimate_utm_crs())
    return pd.DataFrame({"x": points.x, "y": points.y})
