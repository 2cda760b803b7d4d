"""Studies of two years -> change.parquet, change.json, change.gpkg and change.png."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from streetgauge.analysis.change import FEWEST, FeatureShift, estimate_change
from streetgauge.errors import InputError
from streetgauge.evaluation.concepts import FALSE_DISCOVERY_RATE
from streetgauge.features.area_means import feature_table
from streetgauge.features.joint import JointStore, area_means
from streetgauge.features.store import FeatureStore
from streetgauge.io.files import read_metadata, read_table, write_json, write_table
from streetgauge.io.formats import ANALYSIS_VERSION
from streetgauge.locations import read_areas
from streetgauge.model.transfer import compare_with, join_city
from streetgauge.pipeline.area_maps import write_area_maps
from streetgauge.pipeline.pooling import refuse_other_sources
from streetgauge.progress import Progress, silent
from streetgauge.report.text import change_sentences
from streetgauge.study import Study
from streetgauge.study.paths import own_outputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streetgauge.model import Bundle


BLOCK = 2**24  # numbers of features that are aligned at a time


def study_change(study: Study, other: Study, progress: Progress = silent) -> dict[str, Any]:
    """Find which areas have changed between the images of two studies.

    Parameters
    ----------
    study : Study
        Of the first year; evaluated. Its models are used: for every area the one of the fold in
        which the area was held out.
    other : Study
        Of the second year; its features are made. Its outcomes are not read.
    progress : Progress

    Returns
    -------
    dict
        ``name`` and ``other`` (names of the studies), ``areas_sha256``, ``interval_level``,
        ``false_discovery_rate``, ``n_areas``, ``only`` (areas of the ``first`` and of the
        ``second`` year alone), ``seen`` (areas that were not held out), ``notes`` (what is
        different of the features and can be used), ``outcomes``: by name what
        `streetgauge.analysis.change.estimate_change` gives, None where images do not show it. Also
        written to change.json; the areas to change.parquet and, where they have boundaries,
        change.gpkg and change.png.

    Raises
    ------
    InputError
        If both are the same study, their sources of features differ, too few areas have images of
        both years, or images show no outcome.
    """
    _refuse_unlike(study, other)
    held_out, seen = _held_out(study)
    places = read_table(other.locations)
    areas = read_areas(study.settings.areas, study.settings.locations)
    first = read_table(own_outputs(study).predictions)
    first = first[first["area"].isin(held_out.index)]
    store, notes = _open_second(other, next(iter(_bundles(study, held_out)))[0], study)
    places = places[store.rows(places["location_id"].to_numpy(str)) >= 0]
    both = np.intersect1d(first["area"].to_numpy(str), places["area"].dropna().to_numpy(str))
    only = {
        name: sorted({*frame["area"].dropna()} - {*both, *seen})
        for name, frame in (("first", first), ("second", places))
    }
    if len(both) < FEWEST:
        raise InputError(
            other.directory,
            f"it shares {len(both):,} areas with images with {study.directory}; at least {FEWEST} "
            "are needed",
            "give both studies the same areas",
        )
    shift = _feature_shift(study, store, places[places["area"].isin(both)])
    second = _second_scores(study, store, places, held_out[both], shift, progress)
    tables, found = _estimated(study, first[first["area"].isin(both)], second)
    result = {
        "format_version": ANALYSIS_VERSION,
        "name": study.settings.name,
        "areas_sha256": study.fingerprint(study.areas),
        "other": other.settings.name,
        "interval_level": study.settings.evaluation.interval_level,
        "false_discovery_rate": FALSE_DISCOVERY_RATE,
        "classes": study.settings.deciles.classes,
        "n_areas": len(both),
        "only": only,
        "seen": seen,
        "notes": notes,
        "outcomes": found,
    }
    table = pd.concat(tables, ignore_index=True)
    write_table(table, study.change)
    write_json(result, study.change_findings)
    _write_maps(study, areas, table, result)
    return result


def _refuse_unlike(study: Study, other: Study) -> None:
    if study.directory.resolve() == other.directory.resolve():
        reason = "both are the same study"
        raise InputError(other.directory, reason, "name the study of the other year's images")
    refuse_other_sources(study, other)


def _held_out(study: Study) -> tuple[pd.Series, list[str]]:
    """Give the split that each area was held out in, and the areas that were in none."""
    splits = read_table(own_outputs(study).splits)
    tested = splits[(splits["part"] == "test") & (splits["fold"] > 0)]
    split = tested.groupby("area")["split"].first()
    trained = splits[splits["part"].isin(["training", "validation"])]
    known = pd.MultiIndex.from_frame(trained[["area", "split"]])
    leaks = pd.MultiIndex.from_arrays([split.index, split]).isin(known)
    if not len(split) or leaks.all():
        raise InputError(
            f"{study.file}: [folds]",
            "no area was held out as a whole, so that a model has not seen it",
            "use a scheme that holds out areas, then run it again",
        )
    return split[~leaks], sorted(set(splits["area"]) - set(split.index[~leaks]))


def _bundles(study: Study, held_out: pd.Series) -> Iterator[tuple[Bundle, pd.Index]]:
    """Give the model of each fold, and the areas that were held out of it."""
    from streetgauge.model.bundle import Bundle

    for split, own in held_out.groupby(held_out, sort=True):
        yield Bundle.load(own_outputs(study).model / str(split)), own.index


def _open_second(
    other: Study, bundle: Bundle, study: Study
) -> tuple[FeatureStore | JointStore, list[str]]:
    """Open the features of the second year, as the first year's models know them."""
    if bundle.parts:
        files: Mapping[str, Path] = {name: each.features for name, each in other.sources.items()}
        return join_city(study.directory, bundle, files, other.directory / "features")
    store = FeatureStore.open(other.features)
    notes = compare_with(bundle, store)
    store.verify()
    return store, notes


def _feature_shift(
    study: Study, store: FeatureStore | JointStore, places: pd.DataFrame
) -> FeatureShift:
    """Compare the mean features of the areas in both years."""
    after, about = area_means(store, places)
    second = feature_table(after)
    first = feature_table(read_table(study.area_features)).reindex(second.index)
    before = read_metadata(study.area_features)
    spread = (np.asarray(each["feature_sd"], np.float64) for each in (before, about))
    return FeatureShift.fit(
        first.to_numpy(np.float64), second.to_numpy(np.float64), (next(spread), next(spread))
    )


def _second_scores(
    study: Study,
    store: FeatureStore | JointStore,
    places: pd.DataFrame,
    held_out: pd.Series,
    shift: FeatureShift,
    progress: Progress,
) -> pd.DataFrame:
    """Score the second year's locations by the model that has not seen their area."""
    tables = []
    chosen = places[places["area"].isin(held_out.index)]
    step = max(BLOCK // max(store.features[0].size, 1), 1)
    with progress("second year", len(chosen), "locations") as advance:
        for bundle, areas in _bundles(study, held_out):
            own = chosen[chosen["area"].isin(areas)]
            for start in range(0, len(own), step):
                some = own.iloc[start : start + step]
                ids = some["location_id"].to_numpy(str)
                rows = store.rows(ids)
                views = _aligned(store, rows, shift)
                device = study.settings.train.device
                tables.append(bundle.predict_frame(views, store.present[rows], ids, device=device))
                advance(len(some))
    scores = pd.concat(tables, ignore_index=True)[["location_id", "outcome", "score"]]
    return scores.merge(places[["location_id", "area"]], on="location_id")


def _aligned(
    store: FeatureStore | JointStore, rows: NDArray[np.intp], shift: FeatureShift
) -> NDArray[np.float32]:
    """Read features of the second year, less what all areas have in common."""
    views = np.array(store.features[rows], np.float32)
    if isinstance(store, FeatureStore):
        views[:] = shift.remove(views)
        return views
    first = 0
    for part in store.parts:
        own = shift.part(slice(first, first + part.dimension))
        views[:, part.views, : part.dimension] = own.remove(views[:, part.views, : part.dimension])
        first += part.dimension
    return views


def _estimated(
    study: Study, first: pd.DataFrame, second: pd.DataFrame
) -> tuple[list[pd.DataFrame], dict[str, Any]]:
    """Estimate the change of each outcome."""
    level = study.settings.evaluation.interval_level
    tables, found = [], {}
    for name in study.settings.outcomes:
        before, after = (each[each["outcome"] == name] for each in (first, second))
        actual = before.groupby("area")["actual_decile"].first()
        estimated = estimate_change(before, after, actual, level=level)
        found[name] = None if estimated is None else estimated[1]
        if estimated is not None:
            tables.append(estimated[0].assign(outcome=name))
    if not tables:
        raise InputError(
            study.directory,
            "its images show none of its outcomes, and so no change of them",
            "use other features, or more images",
        )
    return [table[["area", "outcome", *table.columns[1:-1]]] for table in tables], found


def _write_maps(
    study: Study, areas: pd.DataFrame, table: pd.DataFrame, result: Mapping[str, Any]
) -> None:
    """Write all outcomes for a GIS, and the one with most areas that have changed on a slide."""
    columns = ["change", "low", "high", "flagged"]
    rows = table.astype({"flagged": "boolean"}).set_index("area")[["outcome", *columns]]
    parts = [own[columns].add_prefix(f"{name}_") for name, own in rows.groupby("outcome")]
    wide = pd.concat(parts, axis=1)
    wide = wide.reindex(areas.index[areas.index.isin(wide.index)])
    shown = {name: each for name, each in result["outcomes"].items() if each is not None}
    most = max(shown, key=lambda name: shown[name]["n_flagged"])
    sure = wide[f"{most}_change"].where(wide[f"{most}_flagged"].fillna(False))
    write_area_maps(
        areas,
        wide.assign(**{f"{most}_detected": sure}),
        study.change_layer,
        study.change_map,
        titles={
            f"{most}_change": "Estimated change",
            f"{most}_detected": "Detected (grey: no detectable change)",
        },
        label=f"{result['name']} to {result['other']}: {most}",
        summary=change_sentences(result)[0],
    )
