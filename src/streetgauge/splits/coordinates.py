"""Where locations are in metres, and in which district or city."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from streetgauge.errors import InputError, closest

__all__ = ["column_by_location", "to_metres"]


def to_metres(lat: ArrayLike, lon: ArrayLike) -> NDArray[np.float64]:
    """Give places in metres on the grid of the UTM zone of their median, NaN if not known: [N, 2].

    Within a city a metre of the grid is a metre on the ground give or take 0.1 %.
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
    """Look a column up for every location, its own or its area's; None where not known: [N]."""
    columns = {key: locations[key] for key in ("oa", "lsoa", "msoa") if key in locations}
    for key, values in () if areas is None else areas.items():
        if key not in ("name", "geometry"):
            columns.setdefault(str(key), values.reindex(locations["area"]))
    filled = [key for key, values in columns.items() if values.notna().any()]
    if name not in columns:
        raise InputError(
            "folds", f"neither locations nor areas have '{name}'", closest(name, filled)
        )
    if name not in filled:
        step = f"name a column of theirs in 'areas.columns'; {closest(name, filled)}"
        if name == "district":
            step = "set 'areas.district' to the column that has them"
        raise InputError("folds", f"no location's {name} is known", step)
    column = columns[name].astype(object)
    found: NDArray[Any] = column.where(column.notna(), None).to_numpy(object)
    return found
