"""Where locations are in metres, and in which district or city."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from streetgauge.errors import InputError, closest

__all__ = ["column_by_location", "to_metres"]


def to_metres(lat: ArrayLike, lon: ArrayLike) -> NDArray[np.float64]:
    """Give places on a grid in metres, that of the UTM zone in which their median lies.

    Within a city a metre of the grid is a metre on the ground give or take 0.1 %.

    Parameters
    ----------
    lat, lon : array of float, shape [N]
        Degrees (WGS 84), NaN where not known.

    Returns
    -------
    array of float64, shape [N, 2]
        East and north in metres, NaN where not known.
    """
    from pyproj import Transformer

    north, east = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
    places = np.full((len(north), 2), np.nan)
    known = ~(np.isnan(north) | np.isnan(east))
    if known.any():
        zone = int((np.median(east[known]) + 180) // 6) % 60 + 1
        code = (32600 if np.median(north[known]) >= 0 else 32700) + zone
        to_grid = Transformer.from_crs("EPSG:4326", f"EPSG:{code}", always_xy=True)
        places[known] = np.column_stack(to_grid.transform(east[known], north[known]))
    return places


def column_by_location(
    name: str, locations: pd.DataFrame, areas: pd.DataFrame | None
) -> NDArray[np.object_]:
    """Look a column up for every location: among the locations' own, or by their area.

    Parameters
    ----------
    name : str
        ``oa``, ``lsoa``, ``msoa``, ``district`` or another column of the areas.
    locations : DataFrame
        With ``area``.
    areas : DataFrame by area, optional
        As `streetgauge.locations.read_areas` gives them; not needed for the locations' own.

    Returns
    -------
    array of object, shape [N]
        None where not known.

    Raises
    ------
    InputError
        If there is no such column, or nothing is in it.
    """
    own = [column for column in ("oa", "lsoa", "msoa") if column in locations]
    known = [] if areas is None else [str(column) for column in areas.columns]
    of_areas = [column for column in known if column not in ("name", "geometry")]
    filled = [column for column in own if locations[column].notna().any()]
    if areas is not None:
        filled += [column for column in of_areas if areas[column].notna().any()]
    if name in own:
        values = locations[name]
    elif areas is not None and name in of_areas:
        values = areas[name].reindex(locations["area"])
    else:
        raise InputError(
            "folds", f"neither locations nor areas have '{name}'", closest(name, filled)
        )
    if values.isna().all():
        step = (
            "set 'areas.district' to the column that has them"
            if name == "district"
            else f"name a column of theirs in 'areas.columns'; {closest(name, filled)}"
        )
        raise InputError("folds", f"no location's {name} is known", step)
    found: NDArray[Any] = values.astype(object).where(values.notna(), None).to_numpy(object)
    return found
