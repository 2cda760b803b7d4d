"""Images -> concepts of locations and areas, and which of them differ between areas."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.evaluation import (
    Draws,
    associations,
    positions_of_areas,
    readable_model,
    tested_areas,
    training_areas,
)
from streetgauge.evaluation.area_facts import columns_of_areas
from streetgauge.evaluation.concepts import FALSE_DISCOVERY_RATE
from streetgauge.evaluation.metrics import to_json
from streetgauge.evaluation.outcome import is_measured
from streetgauge.evaluation.resample import draw_units
from streetgauge.features.store import FeatureStore
from streetgauge.imagery import find_views
from streetgauge.io.files import read_table, write_json, write_table
from streetgauge.io.formats import ANALYSIS_VERSION
from streetgauge.locations import read_areas
from streetgauge.model.training_data import deciles
from streetgauge.progress import Progress
from streetgauge.settings import ConceptSettings, ImageFeatures
from streetgauge.skips import counted, describe_skips
from streetgauge.study import Done, Study
from streetgauge.study.paths import image_files
from streetgauge.study.stages import stage_named

if TYPE_CHECKING:
    from streetgauge.features import ConceptSource


Floats = npt.NDArray[np.float64]

BLOCK = 4096  # locations that are read at a time
EXAMPLES = 12  # images at either end of a concept: some may not be shown
ALIKE = 0.7  # Spearman's rho of two concepts that cannot be distinguished
STRONGEST = 6  # concepts with example images


def make_concepts(study: Study, key: str, progress: Progress) -> Done:
    """Images -> concepts.parquet, area_concepts.parquet and concepts.json."""
    from streetgauge.features import concept_source

    wanted = study.settings.concepts or ConceptSettings()
    sources = [concept_source(name, wanted) for name in dict.fromkeys(wanted.sources)]
    study.concept_stores.mkdir(exist_ok=True)
    own = study.image_source
    assert own is not None  # else the stage makes nothing
    features, found, skips = FeatureStore.open(own.features), [], []
    for source in sources:
        store, unreadable = _store_of(own, source, features, progress)
        skips.append(unreadable)
        found.append(_of_images(source, store, features))
    names = [name for source in sources for name in (*source.concepts, *source.measured)]
    images = _Images(features, names, np.concatenate(found, axis=2))
    locations = read_table(study.locations)[["location_id", "area"]]
    by_location = images.by_location(locations)
    by_area = _by_area(by_location, names)
    about = {source.name: [*source.concepts, *source.measured] for source in sources}
    write_table(by_location, study.concepts, about)
    write_table(by_area, study.area_concepts, about)
    findings = _findings(study, by_area.set_index("area")[_shown(by_area, sources)])
    findings["sources"] = about
    findings["examples"] = images.examples(_strongest(findings), locations)
    write_json(findings, study.concept_findings)
    reported = sum(
        row["reported"] for each in findings["outcomes"].values() for row in each["rows"]
    )
    lines = (
        f"{counted(len(names), 'concept')} of {counted(len(by_location), 'location')} in "
        f"{counted(len(by_area), 'area')}",
        f"{reported:,} of {findings['tests']:,} differences between the worst and best off are "
        f"reported, at a false-discovery rate of {findings['false_discovery_rate']:.0%}",
    )
    every = pd.concat(skips, ignore_index=True).drop_duplicates(["location_id", "view"])
    return Done((*lines, *describe_skips(every)), every)


def _shown(by_area: pd.DataFrame, sources: Sequence[ConceptSource]) -> list[str]:
    """Name the concepts that some area's images show."""
    return [
        name
        for source in sources
        for name in (*source.concepts, *source.measured)
        if source.least is None or by_area[name].max() >= source.least
    ]


def _store_of(
    study: Study, source: ConceptSource, features: FeatureStore, progress: Progress
) -> tuple[FeatureStore, pd.DataFrame]:
    """Give the store with what a source reads: the study's own, or one that is computed here."""
    from streetgauge.features import Extraction, extract_features, resolve_checksum

    backbone = resolve_checksum(source.backbone, progress)
    own = (features.attributes["backbone"], features.attributes["weights_sha256"])
    if own == (backbone.name, backbone.sha256):
        return features, pd.DataFrame(columns=["location_id", "view"])
    settings, imagery = study.settings.features, image_files(study)
    assert isinstance(settings, ImageFeatures)  # else the stage makes nothing
    views, _ = find_views(imagery, read_table(study.locations))
    path = study.concept_stores / f"{backbone.name.replace(':', '-').replace('/', '-')}.h5"
    # What the images are, and not what was trained on them since.
    images = study.key(stage_named("features"), upstream=False)
    wanted = Extraction(
        views,
        features.location_ids.tolist(),
        path,
        backbone,
        view_names=imagery.views,
        require=imagery.require,
        device=settings.device,
        engine=settings.engine,
        cache_key=f"{stage_named('concepts').version}.{images.replace('.', '-')}",
    )
    unreadable = extract_features(wanted, batch=settings.batch, progress=progress)
    reported = pd.MultiIndex.from_frame(study.skips()[["location_id", "view"]])
    new = ~pd.MultiIndex.from_frame(unreadable[["location_id", "view"]]).isin(reported)
    return FeatureStore.open(path), unreadable[new]


def _of_images(source: ConceptSource, store: FeatureStore, features: FeatureStore) -> Floats:
    """Concepts of every image that the study uses: [N, V, K], NaN of the others."""
    rows, (n, views) = store.rows(features.location_ids), features.present.shape
    width = len(source.concepts) + len(source.measured)
    result = np.full((n, views, width), np.nan)
    for start in range(0, n, BLOCK):
        at = rows[start : start + BLOCK]
        used = features.present[start : start + BLOCK] & features.done[start : start + BLOCK, None]
        used = used & store.present[at] & (at >= 0)[:, None]
        read = source.read(np.asarray(store.features[at][used], np.float64))
        quality = store.quality[at][used]
        measured = [np.asarray(quality[name], np.float64) for name in source.measured]
        result[start : start + BLOCK][used] = np.column_stack([read, *measured])
    return result


class _Images:
    """Concepts of the images of N locations with V views each."""

    def __init__(self, store: FeatureStore, names: Sequence[str], values: Floats) -> None:
        self.ids, self.views, self.names, self.values = (
            store.location_ids,
            store.views,
            names,
            values,
        )

    def by_location(self, locations: pd.DataFrame) -> pd.DataFrame:
        """Average over the images of each location that has any."""
        there = np.isfinite(self.values).all(axis=2).sum(axis=1)
        known = there > 0
        means = np.nanmean(self.values[known], axis=1)
        frame = pd.DataFrame(means.astype(np.float32), columns=list(self.names))
        frame.insert(0, "n_images", there[known].astype(np.int64))
        frame.insert(0, "location_id", self.ids[known])
        return locations.merge(frame, on="location_id").sort_values(
            "location_id", ignore_index=True
        )

    def examples(
        self, concepts: Sequence[str], locations: pd.DataFrame
    ) -> dict[str, dict[str, list[tuple[str, str]]]]:
        """Choose the images with most and least of each concept, at most one of an area."""
        area = locations.set_index("location_id")["area"].reindex(self.ids).to_numpy(str)
        chosen = {}
        for concept in concepts:
            values = self.values[:, :, self.names.index(concept)]
            slot, view = np.nonzero(np.isfinite(values))
            order = np.argsort(values[slot, view], kind="stable")
            ends = {"most": order[::-1], "least": order}
            chosen[concept] = {
                end: [
                    (str(self.ids[slot[at]]), self.views[view[at]])
                    for at in _first_of_each(area[slot], which)
                ]
                for end, which in ends.items()
            }
        return chosen


def _first_of_each(area: npt.NDArray[np.str_], order: npt.NDArray[np.intp]) -> list[int]:
    _, first = np.unique(area[order], return_index=True)
    return [int(at) for at in order[np.sort(first)[:EXAMPLES]]]


def _by_area(by_location: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Average over the locations of each area."""
    groups = by_location.sort_values("location_id").groupby("area", sort=True)
    frame = groups[list(names)].mean().reset_index()
    frame.insert(1, "n_locations", groups.size().to_numpy(np.int64))
    return frame


def _findings(study: Study, concepts: pd.DataFrame) -> dict[str, Any]:
    """Compare the concepts between areas, and predict every outcome from them alone."""
    settings, classes = study.settings, study.settings.deciles.classes
    metrics = json.loads(study.metrics.read_text(encoding="utf-8"))
    boundaries = read_areas(settings.areas, settings.locations)
    locations = read_table(study.locations)
    xy = positions_of_areas(boundaries, locations)
    about = columns_of_areas(study, settings.folds, boundaries, locations)
    unit, _ = draw_units(concepts.index, settings.evaluation, metrics["scheme"], xy, about)
    draws = Draws(settings.evaluation.draws, settings.seed, settings.evaluation.interval_level)
    actual = deciles(settings, read_table(study.outcomes))
    table = associations(concepts, actual, classes=classes, coordinates=xy, unit=unit, draws=draws)
    tested = tested_areas(read_table(study.areas))
    tested = tested[is_measured(tested, settings.evaluation.min_locations)]
    trained = training_areas(read_table(study.splits), actual)
    outcomes = {}
    for outcome in actual:
        rows = table[table["outcome"] == outcome].drop(columns="outcome")
        known = int(actual[outcome].notna().sum())
        readable = readable_model(
            concepts,
            tested[tested["outcome"] == outcome].set_index("area"),
            trained[trained["outcome"] == outcome],
            classes=classes,
            coordinates=xy,
            unit=unit,
            draws=draws,
        )
        outcomes[str(outcome)] = {"rows": _records(rows), "readable": readable, "n_areas": known}
    return {
        "format_version": ANALYSIS_VERSION,
        "false_discovery_rate": FALSE_DISCOVERY_RATE,
        "interval_level": settings.evaluation.interval_level,
        "tests": len(table),
        "outcomes": outcomes,
        "alike": _alike(concepts, table),
    }


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON; NaN becomes null."""
    return [
        {str(key): to_json(each) if isinstance(each, float) else each for key, each in row.items()}
        for row in rows.to_dict("records")
    ]


def _alike(concepts: pd.DataFrame, table: pd.DataFrame) -> list[dict[str, Any]]:
    """List the pairs of reported concepts that go together over the areas."""
    names = table.loc[table["reported"], "concept"].drop_duplicates()
    rho = concepts[list(names)].corr("spearman")
    pairs = [(a, b, float(rho.loc[a, b])) for i, a in enumerate(names) for b in names[i + 1 :]]
    close = sorted((pair for pair in pairs if abs(pair[2]) >= ALIKE), key=lambda p: -abs(p[2]))
    return [{"concepts": [a, b], "spearman": value} for a, b, value in close]


def _strongest(findings: Mapping[str, Any]) -> list[str]:
    """Name the reported concepts, those that differ most first, and no more than are shown."""
    rows = [row for each in findings["outcomes"].values() for row in each["rows"]]
    rows = sorted((row for row in rows if row["reported"]), key=lambda row: -abs(row["difference"]))
    return list(dict.fromkeys(row["concept"] for row in rows))[:STRONGEST]
