"""Postcode directory or coordinates -> locations.parquet."""

from __future__ import annotations

from streetgauge.io.files import write_table
from streetgauge.locations import counted, read_areas, read_locations
from streetgauge.locations.areas import repaired
from streetgauge.progress import Progress
from streetgauge.skips import describe_skips
from streetgauge.study import Done, Study


def make_locations(study: Study, key: str, progress: Progress) -> Done:
    """Postcode directory or coordinates -> locations.parquet."""
    assert study.settings.locations is not None  # else this stage makes nothing, and is not run
    areas = read_areas(study.settings.areas, study.settings.locations)
    frame, skips = read_locations(study.settings.locations, areas)
    write_table(frame, study.locations)
    lines = [f"{len(frame):,} locations in {frame['area'].nunique():,} of {len(areas):,} areas"]
    return Done((*lines, *repaired(areas), *counted(frame), *describe_skips(skips)), skips)
