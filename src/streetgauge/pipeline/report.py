"""Everything -> report.html."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from streetgauge.errors import InputError
from streetgauge.evaluation import tested_areas
from streetgauge.features.store import FeatureStore
from streetgauge.io.files import read_metadata, read_table, write_text
from streetgauge.io.formats import ANALYSIS_VERSION, read_object
from streetgauge.locations import read_areas
from streetgauge.pipeline.coverage import has_no_images, study_coverage
from streetgauge.pipeline.findings import read_findings
from streetgauge.pipeline.gallery import concept_examples, make_gallery
from streetgauge.progress import Progress
from streetgauge.report import (
    Figure,
    ReportData,
    draw_figures,
    draw_maps,
    processes,
    read_basemap,
    render,
    render_map,
    save_figures,
)
from streetgauge.settings import ImageFeatures, OpenImagery, SimulatedFeatures
from streetgauge.study import Done, Study
from streetgauge.study.outputs import refuse_overlap

_OURS = b'<meta name="generator" content="streetgauge">'
PROCESSES = 4  # processes that draw; each takes a second to begin


def make_report(study: Study, key: str, progress: Progress) -> Done:
    """Everything -> report.html."""
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
        If the areas have no boundaries, nothing was tested, or ``path`` is no map but some other
        file.
    """
    own = study.path("map.html")
    refuse_overlap((each for each in study.everything() if each[1] != own), (path,))
    refuse_no_map(path)
    alone = study.settings.lacking is not None
    data = _official(study) if alone else _collect(study, progress)[0]
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


def refuse_no_map(path: Path) -> None:
    """Refuse to write a map over what is not a streetgauge page.

    Raises
    ------
    InputError
        If that is a folder, or some other file.
    """
    if path.is_dir():
        raise InputError(path, "this is a folder", "name a file with --out")
    if path.exists():
        with path.open("rb") as page:
            if _OURS not in page.read(4096):
                what = "this exists and is nothing that this command writes"
                raise InputError(path, what, "choose another name with --out")


def _official(study: Study) -> ReportData:
    """Give what a map of official statistics alone shows."""
    frame, about = read_table(study.outcomes), read_metadata(study.outcomes)
    empty = dict.fromkeys(("decile", "low", "high", "n_locations", "score"), pd.NA)
    tables = [
        pd.DataFrame({"area": frame["area"], "outcome": name, **empty}).assign(
            actual_decile=frame[f"{name}_decile"], actual_value=frame[f"{name}_value"]
        )
        for name in about
    ]
    return ReportData(
        name=study.settings.name,
        areas=read_areas(study.settings.areas, study.settings.locations),
        table=pd.concat(tables, ignore_index=True),
        metrics={
            "classes": study.settings.deciles.classes,
            "outcomes": dict.fromkeys(about),
            "scheme": {"caution": ""},
        },
        provenance=about,
        skips=study.skips(),
        locations=pd.DataFrame(),
        basemap=_basemap(study),
    )


def _basemap(study: Study) -> dict[str, Any]:
    wishes = study.settings.report
    files = {"water": wishes.water, "roads": wishes.roads, "places": wishes.places}
    return dict(read_basemap(files))


def _collect(study: Study, progress: Progress) -> tuple[ReportData, tuple[str, ...]]:
    """Gather what the page shows, and what of it is worth a line on the screen."""
    estimates = read_table(study.areas)
    table = tested_areas(estimates)
    gallery, imagery = make_gallery(study, table, progress), image_facts(study)
    concepts = _concepts(study)
    sources = study.settings.sources.values()
    is_simulated = all(isinstance(each, SimulatedFeatures) for each in sources)
    data = ReportData(
        name=study.settings.name,
        note=study.settings.note,
        settings=study.settings.written(),
        areas=read_areas(study.settings.areas, study.settings.locations),
        table=table,
        estimates=estimates,
        metrics=json.loads(study.metrics.read_text(encoding="utf-8")),
        provenance=read_metadata(study.outcomes),
        skips=study.skips(),
        run=_without_times(study.record),
        locations=read_table(study.locations),
        simulated=is_simulated,
        credits=imagery.get("credits", ()),
        gallery=gallery,
        imagery=imagery,
        images={} if gallery is None else gallery.cards(),
        concepts=concepts,
        concept_examples=concept_examples(study, concepts, progress),
        coverage=None if has_no_images(study) else study_coverage(study),
        fairness=read_findings(study, study.fairness),
        age=read_findings(study, study.age),
        change=read_findings(study, study.change_findings),
        sample=read_findings(study, study.sample_findings),
        survey=read_findings(study, study.survey_findings),
        basemap=_basemap(study),
    )
    return data, () if gallery is None else (gallery.summary(),)


def _without_times(record: dict[str, Any]) -> dict[str, Any]:
    """Select what made the results, without when and how fast: the same run gives the same page."""
    stages = {
        name: {key: value for key, value in entry.items() if key not in ("started", "seconds")}
        for name, entry in record.get("stages", {}).items()
        if name != "report"
    }
    return {key: value for key, value in record.items() if key not in ("files", "made")} | {
        "stages": stages
    }


def make_figures(
    study: Study, data: ReportData, progress: Progress
) -> tuple[Sequence[Figure], tuple[str, ...]]:
    """Draw the figures and the maps, write them into ``figures/``, and count them."""
    wanted = study.settings.report.figures
    if wanted == "none" or not data.metrics["outcomes"]:
        shutil.rmtree(study.figures, ignore_errors=True)
        return (), ()
    labels = {name: str(about.get("label") or name) for name, about in data.provenance.items()}
    maps: dict[str, bytes] = {}
    with processes(_process_count()) as each:
        slides: Iterable[tuple[str, bytes]] = ()
        if wanted == "all":  # the longest tasks first
            seen = data.table if data.estimates is None else data.estimates
            given = (data.areas, seen, data.metrics, data.provenance, data.name)
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
    line = f"{study.figures}: {len(figures):,} figures ({forms})"
    return figures, (f"{line}, {len(maps):,} maps for slides" if maps else line,)


def _process_count() -> int:
    """Choose how many processes draw: one where another would begin a user's own script anew."""
    program = Path(str(getattr(sys.modules["__main__"], "__file__", None) or ""))
    own = "streetgauge" in (program.name, program.parent.name)
    return min(PROCESSES, os.cpu_count() or 1) if own else 1


def _history(study: Study) -> pd.DataFrame | None:
    file = study.history
    return pd.read_json(file, lines=True) if file.exists() and file.stat().st_size else None


def _concepts(study: Study) -> dict[str, Any]:
    """Read what was found about concepts, where it was asked for."""
    if not study.concept_findings.exists():
        return {}
    step = f"make it again with `streetgauge concepts {study.directory}`, or remove it"
    return read_object(study.concept_findings, ANALYSIS_VERSION, step)


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


def image_facts(study: Study) -> dict[str, Any]:
    """Gather the facts of the images.

    Returns
    -------
    dict
        Empty if the study has none. Else ``views`` (how many a location has at most),
        ``licence`` and ``attribution`` (None if not known), ``credits`` (of open imagery:
        ``line``, ``licence``, ``licence_url`` of each source), ``captured`` (first and last year,
        or None), ``n`` (images that were inspected), ``found`` (how many have which fault) and
        ``exclude`` (the faults with which none was used), and ``weights`` (``backbone``,
        ``licence`` and ``sha256`` of the backbone).
    """
    if study.settings.several:
        of_images = [s for s in study.sources.values() if s.settings.imagery is not None]
        return image_facts(of_images[0]) if len(of_images) == 1 else {}
    settings, imagery = study.settings, study.settings.imagery
    if not isinstance(settings.features, ImageFeatures) or imagery is None:
        return {}
    store = FeatureStore.open(study.features).attributes
    facts: dict[str, Any] = {
        "weights": {
            "backbone": store["backbone"],
            "licence": store.get("licence", ""),
            "sha256": store.get("weights_sha256", ""),
        },
        "views": len(imagery.views),
        **settings.image_rights,
        "credits": [],
        "captured": None,
        "n": 0,
        "found": {},
        "exclude": list(imagery.exclude),
    }
    if isinstance(imagery, OpenImagery) and study.images.exists():
        facts["credits"] = read_metadata(study.images).get("credits", [])
        taken = pd.to_datetime(read_table(study.images)["captured_at"], utc=True).dropna()
        if len(taken):
            facts["captured"] = (int(taken.min().year), int(taken.max().year))
    try:
        found = read_table(study.quality, columns=["finding"])["finding"]
    except (OSError, InputError):  # of a study that knew no such list
        return facts
    counts = found[found != ""].value_counts()
    return facts | {"n": len(found), "found": {str(k): int(n) for k, n in counts.items()}}
