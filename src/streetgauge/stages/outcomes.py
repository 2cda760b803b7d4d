"""Official files -> outcomes.parquet."""

from __future__ import annotations

from streetgauge.io.files import write_table
from streetgauge.progress import Progress
from streetgauge.stages._common import column_of_codes, repaired
from streetgauge.study import Done, Study

__all__ = ["make_outcomes"]


def make_outcomes(study: Study, key: str, progress: Progress) -> Done:
    """Official files -> outcomes.parquet."""
    from streetgauge.locations import read_areas
    from streetgauge.outcomes import build_outcomes

    areas = read_areas(study.settings.areas, study.settings.locations)
    settings = study.settings
    frame, metadata, skips = build_outcomes(
        settings.outcomes,
        areas.index,
        settings.deciles,
        stated=column_of_codes(settings),
        lookup=settings.areas.lookup,
    )
    write_table(frame, study.outcomes, metadata)
    lines = [f"{len(frame):,} areas, {len(metadata)} outcomes"]
    lines += repaired(areas)
    if others := areas.attrs.get("left_out"):
        lines.append(f"{others:,} other areas are none of the study's place")
    for name, about in metadata.items():
        if about["n_missing"]:
            lines.append(f"{name}: {about['n_missing']:,} of {len(frame):,} areas have no value")
    return Done(tuple(lines), skips)
