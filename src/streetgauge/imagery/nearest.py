"""Images with coordinates, and the location that each is nearest to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["LocationIndex"]

RADIUS = 6_371_008.8  # metres: the Earth's mean radius (IUGG)
Floats = npt.NDArray[np.floating[Any]]


class LocationIndex:
    """Where locations are, to find the nearest.

    Parameters
    ----------
    locations : DataFrame
        ``location_id``, ``lat``, ``lon`` in degrees; those without coordinates are never nearest.
        Of several at the very same point the first by id stands for all.
    """

    def __init__(self, locations: pd.DataFrame) -> None:
        from scipy.spatial import cKDTree

        known = locations[["location_id", "lat", "lon"]].dropna().sort_values("location_id")
        known = known.drop_duplicates(["lat", "lon"])
        self._ids = known["location_id"].to_numpy(str)
        self._tree = cKDTree(_on_sphere(known["lat"].to_numpy(float), known["lon"].to_numpy(float)))

    def nearest(self, lat: Floats, lon: Floats) -> tuple[npt.NDArray[np.str_], Floats]:
        """Find the location nearest to each point, and its distance in metres, on a sphere.

        Without coordinates, of the point or of all locations, the distance is infinite.
        """
        ids = np.full(len(lat), "", dtype=self._ids.dtype if len(self._ids) else "U1")
        distance = np.full(len(lat), np.inf)
        known = ~(np.isnan(lat) | np.isnan(lon))
        if len(self._ids) and known.any():
            chord, at = self._tree.query(_on_sphere(lat[known], lon[known]))
            ids[known] = self._ids[at]
            distance[known] = 2 * RADIUS * np.arcsin(np.minimum(chord / 2, 1))
        return ids, distance


def _on_sphere(lat: Floats, lon: Floats) -> Floats:
    """Points [n, 3] on the unit sphere: there is no seam at 180 degrees and none at the poles."""
    lat, lon = np.radians(lat), np.radians(lon)
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
