"""Locations, whatever they come from."""

from __future__ import annotations

import pandas as pd

from streetgauge.locations._frame import concat_skips, skip_frame
from streetgauge.locations.directory import read_directory
from streetgauge.locations.points import read_points
from streetgauge.settings import DirectoryLocations, LocationSettings

__all__ = ["read_locations"]


def read_locations(
    settings: LocationSettings, areas: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the locations that lie in the study's areas.

    Parameters
    ----------
    settings : LocationSettings
        A postcode directory, or points.
    areas : DataFrame
        As `read_areas` gives them; points need their boundaries.

    Returns
    -------
    frame : DataFrame
        location_id, postcode, lat, lon (degrees, WGS 84), oa, lsoa, msoa, area; missing texts are
        missing values, missing coordinates NaN; sorted by location_id, which is unique.
        ``attrs["outside"]`` counts rows of a directory that lie outside the study's areas.
    skips : DataFrame
        location_id, view, area, stage ("locations"), reason: locations left out, and areas in
        which no location lies.

    Raises
    ------
    InputError
        If the file cannot be used as it is, two rows have one location_id, or no location lies in
        the study's areas.
    """
    if isinstance(settings, DirectoryLocations):
        frame, skips = read_directory(settings, areas)
    else:
        frame, skips = read_points(settings, areas)
    outside = frame.attrs.get("outside", 0)
    empty = areas.index[~areas.index.isin(frame["area"].unique())]
    none = skip_frame("no location lies in this area", area=list(empty))
    frame.attrs = {"outside": outside}
    return frame, concat_skips([skips, none])
