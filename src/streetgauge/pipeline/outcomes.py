"""Official files -> outcomes.parquet."""

from __future__ import annotations

from typing import Any

import pandas as pd

from streetgauge.io.files import write_table
from streetgauge.locations import read_areas
from streetgauge.locations.areas import repaired
from streetgauge.outcomes import build_outcomes
from streetgauge.progress import Progress
from streetgauge.settings import DirectoryLocations
from streetgauge.study import Done, Study


def make_outcomes(study: Study, key: str, progress: Progress) -> Done:
    """Official files -> outcomes.parquet."""
    areas = read_areas(study.settings.areas, study.settings.locations)
    frame, metadata, skips = read_outcomes(study, areas)
    write_table(frame, study.outcomes, metadata)
    lines = [f"{len(frame):,} areas, {len(metadata)} outcomes", *repaired(areas)]
    if others := areas.attrs.get("excluded"):
        lines.append(f"{others:,} other areas are none of the study's")
    lines += [
        f"{name}: {about['n_missing']:,} of {len(frame):,} areas have no value"
        for name, about in metadata.items()
        if about["n_missing"]
    ]
    lines += [
        f"{name}: {note}" for name, about in metadata.items() for note in about.get("notes", ())
    ]
    return Done(tuple(lines), skips)


def read_outcomes(
    study: Study, areas: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, dict[str, Any]], pd.DataFrame]:
    """Read the outcomes of a study's areas: see `streetgauge.outcomes.build_outcomes`."""
    settings, locations = study.settings, study.settings.locations
    codes = settings.areas.code
    if settings.areas.file is None and isinstance(locations, DirectoryLocations):
        codes = locations.area
    return build_outcomes(
        settings.outcomes,
        areas.index,
        settings.deciles,
        stated=codes,  # the column of the areas' codes may show of which year they are
        lookup=settings.areas.lookup,
    )
