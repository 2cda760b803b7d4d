"""Locations whose areas somebody has found already."""

from __future__ import annotations

import numpy as np
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.locations.coordinate_tables import read_located
from streetgauge.locations.frames import concat_skips, location_frame, skip_frame
from streetgauge.settings import TableLocations

__all__ = ["read_table_locations"]


def read_table_locations(
    settings: TableLocations, areas: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read locations with the area that the table says each lies in.

    Parameters
    ----------
    settings : TableLocations
        The table (CSV, also gzipped or alone in a zip, or Parquet), its columns, and the
        coordinates' system.
    areas : DataFrame
        Indexed by area code; boundaries are not looked at.

    Returns
    -------
    frame : DataFrame
        As `read_locations` describes it; oa, lsoa and msoa are missing.
        ``attrs["no_coordinates"]`` counts locations without.
    skips : DataFrame
        Locations without an area, and those whose area is none of the study's.

    Raises
    ------
    InputError
        If a column is absent, an id is empty or stands twice, a coordinate is no number or
        impossible, or no area is one of the study's.
    """
    rows = read_located(settings)
    inside = pd.Index(rows.areas).isin(areas.index)
    if not inside.any():
        study = repr(areas.index[0]) if len(areas) else "none"
        raise InputError(
            settings.file,
            f"none of its areas is one of the study's: column {settings.area!r} has "
            f"{rows.areas[0]!r}, the study {study}",
            "set 'locations.area' to the column with the codes of the study's areas",
        )
    frame = location_frame(
        {
            "location_id": rows.ids[inside],
            "postcode": [postcode or None for postcode in rows.postcodes[inside]],
            "lat": rows.lat[inside],
            "lon": rows.lon[inside],
            "area": rows.areas[inside],
        }
    )
    frame.attrs = {"no_coordinates": int(frame["lat"].isna().sum())}
    blank = rows.areas == ""
    others = np.flatnonzero(~inside & ~blank)
    others = others[np.argsort(rows.ids[others])]
    skips = [
        skip_frame("it has no area", location_id=sorted(rows.ids[blank])),
        skip_frame(
            "its area is none of the study's",
            location_id=list(rows.ids[others]),
            area=list(rows.areas[others]),
        ),
    ]
    return frame, concat_skips(skips)
