"""Everything -> report.html."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from streetgauge.errors import InputError
from streetgauge.io.files import read_metadata, write_text
from streetgauge.progress import Progress
from streetgauge.settings import SimulatedFeatures
from streetgauge.stages.figures import make_figures
from streetgauge.stages.gallery import make_gallery
from streetgauge.stages.picture_facts import picture_facts
from streetgauge.study import Done, Study

if TYPE_CHECKING:
    from streetgauge.report import ReportData

__all__ = ["make_map", "make_report"]


def make_report(study: Study, key: str, progress: Progress) -> Done:
    """Everything -> report.html."""
    from streetgauge.report import render

    data, shown = _collect(study, progress)
    figures, drawn = make_figures(study, data, progress)
    write_text(render(replace(data, figures=figures)), study.report)
    size = f"{study.report.stat().st_size / 1e6:.1f} MB"
    return Done((f"{study.report} ({size})", *drawn, *shown))


def make_map(study: Study, path: Path, progress: Progress) -> None:
    """Write the interactive map as a page of its own, from what there is.

    Raises
    ------
    InputError
        If the areas have no boundaries, or nothing was tested.
    """
    from streetgauge.report import render_map

    data, _ = _collect(study, progress)
    if "geometry" not in data.areas.columns:
        raise InputError(
            f"{study.file}: areas.file",
            "the areas have no boundaries, so there is no map",
            "give a boundary file",
        )
    if data.table.empty:
        raise InputError(
            study.directory,
            "no area was tested, so there is no map",
            "choose another scheme under [folds]",
        )
    write_text(render_map(data), path)


def _collect(study: Study, progress: Progress) -> tuple[ReportData, tuple[str, ...]]:
    """Gather what the page shows, and say what of it is worth a line on the screen."""
    from streetgauge.locations import read_areas
    from streetgauge.report import ReportData

    table = pd.read_parquet(study.areas)
    gallery, imagery = make_gallery(study, table, progress), picture_facts(study)
    data = ReportData(
        name=study.settings.name,
        note=study.settings.note,
        settings=study.settings.model_dump(mode="json", exclude_none=True),
        areas=read_areas(study.settings.areas, study.settings.locations),
        table=table,
        metrics=json.loads(study.metrics.read_text(encoding="utf-8")),
        provenance=read_metadata(study.outcomes),
        skips=study.skips(),
        run=_without_times(study.record),
        locations=pd.read_parquet(study.locations),
        simulated=isinstance(study.settings.features, SimulatedFeatures),
        credits=imagery.get("credits", ()),
        gallery=gallery,
        imagery=imagery,
        pictures={} if gallery is None else gallery.cards(),
    )
    return data, () if gallery is None else (gallery.in_words(),)


def _without_times(record: dict[str, Any]) -> dict[str, Any]:
    """Keep what made the results, without when and how fast: the same run gives the same page."""
    stages = {
        name: {key: value for key, value in kept.items() if key not in ("started", "seconds")}
        for name, kept in record.get("stages", {}).items()
        if name != "report"
    }
    return {key: value for key, value in record.items() if key != "files"} | {"stages": stages}
