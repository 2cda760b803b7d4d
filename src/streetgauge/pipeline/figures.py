"""Everything -> figures/: for the report, for a paper and for slides."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from streetgauge.io.formats import ANALYSIS_VERSION, read_object
from streetgauge.progress import Progress
from streetgauge.study import Study
from streetgauge.study.stages import history_file

if TYPE_CHECKING:
    from streetgauge.report import Figure, ReportData

__all__ = ["read_curves", "make_figures"]

HANDS = 4  # processes that draw; each takes a second to begin


def make_figures(
    study: Study, data: ReportData, progress: Progress
) -> tuple[Sequence[Figure], tuple[str, ...]]:
    """Draw the figures and the maps, write them into ``figures/``, and say how many there are."""
    from streetgauge.report import draw_figures, draw_maps, hands, save_figures

    wanted = study.settings.report.figures
    if wanted == "none" or not data.metrics["outcomes"]:
        shutil.rmtree(study.figures, ignore_errors=True)
        return (), ()
    labels = {name: str(about.get("label") or name) for name, about in data.provenance.items()}
    maps: dict[str, bytes] = {}
    with hands(_hands()) as each:
        slides: Iterable[tuple[str, bytes]] = ()
        if wanted == "all":  # the longest tasks first
            given = (data.areas, data.table, data.metrics, data.provenance, data.name)
            slides = draw_maps(*given, each=each)
        figures = draw_figures(
            data.metrics,
            data.table,
            labels,
            history=_history(study),
            curves=read_curves(study),
            paper=wanted == "all",
            each=each,
            progress=progress,
        )
        maps |= slides
    save_figures(figures, maps, study.figures)
    forms = "SVG, PDF, PNG, CSV" if wanted == "all" else "SVG, CSV"
    said = f"{study.figures}: {len(figures):,} figures ({forms})"
    return figures, (f"{said}, {len(maps):,} maps for slides" if maps else said,)


def _hands() -> int:
    """Say how many processes may draw: one where another would begin a user's own script anew."""
    program = Path(str(getattr(sys.modules["__main__"], "__file__", None) or ""))
    own = "streetgauge" in (program.name, program.parent.name)
    return min(HANDS, os.cpu_count() or 1) if own else 1


def _history(study: Study) -> pd.DataFrame | None:
    file = history_file(study)
    return pd.read_json(file, lines=True) if file.exists() and file.stat().st_size else None


def read_curves(study: Study) -> dict[str, Any] | None:
    """Read the learning curves, where they have been made.

    Raises
    ------
    InputError
        If they cannot be read, or are of another version.
    """
    if not study.curves.exists():
        return None
    step = f"make it again with `streetgauge curves {study.directory}`, or remove it"
    return read_object(study.curves, ANALYSIS_VERSION, step)
