"""Everything -> report.html."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from streetgauge.files import read_metadata, write_text
from streetgauge.progress import Progress
from streetgauge.settings import SimulatedFeatures
from streetgauge.study import Done, Study

__all__ = ["make_report"]


def make_report(study: Study, stamp: str, progress: Progress) -> Done:
    """Everything -> report.html."""
    from streetgauge.locations import read_areas
    from streetgauge.report import ReportData, render

    data = ReportData(
        name=study.settings.name,
        note=study.settings.note,
        settings=study.settings.model_dump(mode="json", exclude_none=True),
        areas=read_areas(study.settings.areas, study.settings.locations),
        table=pd.read_parquet(study.areas),
        metrics=json.loads(study.metrics.read_text(encoding="utf-8")),
        provenance=read_metadata(study.outcomes),
        skips=study.skips(),
        run=_without_times(study.record),
        locations=pd.read_parquet(study.locations),
        simulated=isinstance(study.settings.features, SimulatedFeatures),
    )
    write_text(render(data), study.report)
    return Done((f"{study.report} ({study.report.stat().st_size / 1e6:.1f} MB)",))


def _without_times(record: dict[str, Any]) -> dict[str, Any]:
    """Keep what made the results, without when and how fast: the same run gives the same page."""
    stages = {
        name: {key: value for key, value in kept.items() if key not in ("started", "seconds")}
        for name, kept in record.get("stages", {}).items()
        if name != "report"
    }
    return {key: value for key, value in record.items() if key != "files"} | {"stages": stages}
