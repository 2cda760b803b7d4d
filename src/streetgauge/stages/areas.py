"""Predictions of locations -> areas and metrics."""

from __future__ import annotations

import json

import pandas as pd

from streetgauge.files import write_json, write_table
from streetgauge.progress import Progress
from streetgauge.settings import SimulatedFeatures
from streetgauge.skips import left_out
from streetgauge.stages._common import (
    curve_file,
    deciles,
    has_curve,
    read_oracle,
    simulated,
    study_class_counts,
)
from streetgauge.study import Done, Study

__all__ = ["AREA_COLUMNS", "make_areas"]

AREA_COLUMNS = [
    *("area", "outcome", "n_locations", "score", "decile", "low", "high", "actual_decile", "fold"),
]


def make_areas(study: Study, stamp: str, progress: Progress) -> Done:
    """Predictions of locations -> areas.parquet, areas.gpkg and metrics.json."""
    from streetgauge.areas import (
        aggregate,
        area_coordinates,
        class_counts,
        describe_scheme,
        evaluate,
        intervals,
        learned_areas,
        location_coordinates,
        torn_areas,
        write_geopackage,
    )
    from streetgauge.locations import read_areas

    settings, classes = study.settings.evaluation, study.settings.deciles.classes
    folds, predictions = study.settings.folds, pd.read_parquet(study.predictions)
    splits = pd.read_parquet(study.splits)
    boundaries = read_areas(study.settings.areas, study.settings.locations)
    locations = pd.read_parquet(study.locations)
    mapped = "geometry" in boundaries
    coordinates = area_coordinates(boundaries) if mapped else location_coordinates(locations)
    by_class = folds.scheme == "by-class"
    counts = class_counts(predictions, classes) if by_class else study_class_counts(study)
    torn = torn_areas(splits)
    areas = aggregate(predictions, settings.rule, classes, counts, torn)
    frame = intervals(areas, settings.coverage, classes)[AREA_COLUMNS]
    metrics = evaluate(
        frame,
        coordinates,
        settings,
        seed=study.settings.seed,
        classes=classes,
        counts=counts,
        oracle=_oracle(study),
        predictions=predictions,
        study_areas=boundaries.index,
        learned=learned_areas(splits, deciles(study.settings, pd.read_parquet(study.outcomes))),
        scheme=describe_scheme(folds, int(predictions["fold"].nunique()), len(torn)),
    )
    if has_curve(study):
        metrics["transfer"] = json.loads(curve_file(study).read_text(encoding="utf-8"))
    write_table(frame, study.areas)
    study.map.unlink(missing_ok=True)
    if mapped and len(frame):
        write_geopackage(frame, boundaries, study.map)
    write_json(metrics, study.metrics)
    n_areas = frame["area"].nunique()
    learned = set(splits.loc[splits["part"].isin(["training", "validation"]), "area"])
    without = set(boundaries.index) - set(frame["area"])
    unused = sorted(without - learned)
    skips = pd.DataFrame({"area": unused, "reason": "no location of this area has a prediction"})
    lines = [f"{n_areas:,} of {len(boundaries):,} areas have a predicted {_unit(classes)}"]
    if without & learned:
        lines.append(f"{len(without & learned):,} areas are learned from and never tested")
    return Done((*lines, *left_out(skips)), skips)


def _unit(classes: int) -> str:
    return "decile" if classes == 10 else f"class of {classes}"


def _oracle(study: Study) -> pd.DataFrame | None:
    """Give the best scores possible, which only a simulation knows: location_id, outcomes."""
    features, path = study.settings.features, study.settings.evaluation.oracle
    if path is not None:
        return read_oracle(path)
    if not isinstance(features, SimulatedFeatures):
        return None
    from streetgauge.sample import simulated_oracle

    deciles, areas = simulated(study, features, pd.read_parquet(study.locations))
    return simulated_oracle(
        deciles,
        areas,
        views=features.views,
        signal=features.signal,
        seed=study.settings.seed,
        classes=study.settings.deciles.classes,
    )
