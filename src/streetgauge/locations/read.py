"""Locations, whatever they come from."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from streetgauge.locations.directory import read_directory
from streetgauge.locations.frames import concat_skips, skip_frame
from streetgauge.locations.layouts import meaning
from streetgauge.locations.points import read_points, read_table_locations
from streetgauge.settings import DirectoryLocations, LocationSettings, PointLocations

_COUNTS = ("rows", "outside", "no_area", "repeated", "terminated", "no_coordinates")


def read_locations(
    settings: LocationSettings, areas: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the locations that lie in the study's areas.

    Parameters
    ----------
    settings : LocationSettings
        A postcode directory, points, or a table with their areas.
    areas : DataFrame
        As `read_areas` gives them; points need their boundaries.

    Returns
    -------
    frame : DataFrame
        location_id, postcode, lat, lon (degrees, WGS 84), oa, lsoa, msoa, area; missing texts are
        missing values, missing coordinates NaN; sorted by location_id, which is unique.
        ``attrs`` count what was met: ``rows`` of a directory, ``outside`` (rows of areas that are
        none of the study's), of these ``no_area`` and ``pseudo_codes`` (code -> rows),
        ``repeated`` (rows equal to another), ``terminated`` (excluded),
        ``no_coordinates`` (locations without), ``overlaps`` (two areas -> locations inside of
        both); ``layout`` is the directory's, or None. See `counted`.
    skips : DataFrame
        location_id, view, area, stage ("locations"), reason: locations excluded, and areas in
        which no location lies.

    Raises
    ------
    InputError
        If the file cannot be used as it is, two rows have one location_id, or no location lies in
        the study's areas.
    """
    if isinstance(settings, DirectoryLocations):
        frame, skips = read_directory(settings, areas)
    elif isinstance(settings, PointLocations):
        frame, skips = read_points(settings, areas)
    else:
        frame, skips = read_table_locations(settings, areas)
    empty = areas.index[~areas.index.isin(frame["area"].unique())]
    none = skip_frame("no location lies in this area", area=list(empty))
    counts: dict[Hashable, Any] = {
        **dict.fromkeys(_COUNTS, 0),
        "pseudo_codes": {},
        "overlaps": {},
        "layout": None,
        **frame.attrs,
    }
    frame.attrs = counts
    return frame, concat_skips([skips, none])


def counted(frame: pd.DataFrame) -> tuple[str, ...]:
    """Give in lines what `read_locations` counted, without what it did not find.

    Parameters
    ----------
    frame : DataFrame
        As `read_locations` gives it, with its ``attrs``.
    """
    counts = frame.attrs
    lines = []
    if counts["layout"]:
        lines.append(f"the directory has the columns of {counts['layout']}")
    if counts["outside"]:
        lines.append(f"{counts['outside']:,} rows of the directory lie outside the study's areas")
    for code, rows in counts["pseudo_codes"].items():
        lines.append(f"{rows:,} of them have the pseudo code {code} ({meaning(code)})")
    if counts["no_area"]:
        lines.append(f"{counts['no_area']:,} of them have no area")
    if counts["repeated"]:
        lines.append(
            f"{counts['repeated']:,} rows of the directory repeat another one and count once"
        )
    if counts["no_coordinates"]:
        lines.append(f"{counts['no_coordinates']:,} locations have an area but no coordinates")
        if counts["no_coordinates"] == len(frame):
            lines.append(
                "without coordinates there are no spatial folds or buffers, no images by position "
                "and no baselines of nearby locations"
            )
    if counts["overlaps"]:
        total, pair = sum(counts["overlaps"].values()), next(iter(counts["overlaps"]))
        lines.append(
            f"{total:,} locations lie in two areas that overlap ({pair}); each was given to the "
            "one whose code sorts first"
        )
    return tuple(lines)
