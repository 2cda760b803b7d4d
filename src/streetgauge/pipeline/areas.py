"""Predictions of locations -> areas and metrics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from streetgauge.analysis.coverage_weights import compare_weighting
from streetgauge.analysis.transfer_curve import corrections
from streetgauge.errors import InputError, closest
from streetgauge.evaluation import (
    FEW_LOCATIONS,
    AreaLayers,
    EvaluationInputs,
    Level,
    aggregate,
    class_counts,
    describe_scheme,
    evaluate,
    evaluate_shuffled,
    headline,
    intervals,
    location_means,
    mark,
    positions_of_areas,
    raise_level,
    split_areas,
    training_areas,
    units_of_areas,
)
from streetgauge.evaluation.area_facts import (
    MEASURED,
    WITHOUT_IMAGES,
    Weights,
    columns_of_areas,
    read_weights,
    views_of,
    with_facts,
)
from streetgauge.evaluation.best import AreaKnowledge, best_estimates
from streetgauge.evaluation.evaluate import LEARNER_SCORES, read_oracle
from streetgauge.evaluation.leaks import (
    feature_leaks,
    outcome_values,
    shared_images,
)
from streetgauge.evaluation.resample import draw_units
from streetgauge.evaluation.sources import compare_sources
from streetgauge.evaluation.trust import add_trust, calibration_set, trust_lines
from streetgauge.features.area_means import feature_table
from streetgauge.features.store import FeatureStore
from streetgauge.io.files import read_metadata, read_table, write_json, write_table
from streetgauge.io.tables import is_among
from streetgauge.locations import read_areas
from streetgauge.model.training_data import deciles, study_class_counts
from streetgauge.pipeline.features import simulated
from streetgauge.pipeline.train import stored_settings
from streetgauge.progress import Advance, Progress
from streetgauge.report.text import leak_messages, source_sentences
from streetgauge.seeds import derive_seed
from streetgauge.settings import FoldSettings, SimulatedFeatures, TableFeatures
from streetgauge.skips import describe_skips
from streetgauge.study import Done, Study
from streetgauge.study.paths import FoldOutputs, other_outputs, own_outputs
from streetgauge.study.stages import has_curve

if TYPE_CHECKING:
    from streetgauge.evaluation.baselines import Baselines


AREA_COLUMNS = [
    *("area", "outcome", "n_locations", "score", "decile", "low", "high", "actual_decile", "fold"),
]

STEPS = 3  # of an evaluation, before its outcomes: aggregated, trusted, estimated


def make_areas(study: Study, key: str, progress: Progress) -> Done:
    """Predictions of locations -> areas.parquet, areas.gpkg and metrics.json."""
    classes, known = study.settings.deciles.classes, _StudyAreas(study)
    own, other = own_outputs(study), other_outputs(study)
    if other is not None and not other.predictions.is_file():
        other = None
    steps = (1 if other is None else 2) * (STEPS + len(study.settings.outcomes))
    with progress("areas", steps, "steps") as advance:
        frame, estimates, levels, metrics = _evaluate_folds(
            known, own, study.settings.folds, advance
        )
        if other is not None:
            folds = stored_settings(other.splits)
            other_frame, others, _, other_metrics = _evaluate_folds(known, other, folds, advance)
    kinds = {study.settings.folds.kind: metrics}
    if other is not None:
        kinds[folds.kind] = other_metrics
        write_table(_with_untested(other_frame, others, known.outcomes), other.areas)
        metrics = {**metrics, "other_folds": {**kinds[folds.kind], "kind": folds.kind}}
    metrics["feature_leaks"] = _feature_leaks(known)
    metrics = {**metrics, "kind": study.settings.folds.kind}
    metrics["headline"] = headline({kind: kinds[kind] for kind in sorted(kinds)})
    if study.settings.coverage is not None and study.unweighted.exists():
        metrics["coverage_weights"] = _effect_of_weights(known, frame)
    if study.settings.transfer is not None:  # of a nation, the table takes a gigabyte
        added = corrections(read_table(own.predictions))
        metrics |= {"correction": added} if added else {}
    if has_curve(study):
        curve = json.loads(study.transfer_curve.read_text(encoding="utf-8"))
        metrics["transfer"] = {key: value for key, value in curve.items() if key != "cache_key"}
    every = _with_untested(frame, estimates, known.outcomes)
    write_table(every, study.areas)
    _remove_levels(study)
    for level, each in levels.items():
        write_table(each.frame, study.level(level))
    _write_maps(known, every)
    write_json(metrics, study.metrics)
    n_areas = frame["area"].nunique()
    splits = read_table(own.splits)
    training = set(splits.loc[splits["part"].isin(["training", "validation"]), "area"])
    without = set(known.boundaries.index) - set(frame["area"])
    unused = sorted(without - training)
    skips = pd.concat(
        [
            pd.DataFrame({"area": unused, "reason": "no location of this area has a prediction"}),
            _not_measured(known, frame),
        ],
        ignore_index=True,
    )
    lines = [f"{n_areas:,} of {len(known.boundaries):,} areas have a predicted {_unit(classes)}"]
    if untested := every["area"].nunique() - n_areas:
        lines.append(f"{untested:,} areas without images have an estimate from what else is known")
    if without & training:
        lines.append(f"{len(without & training):,} areas are in training and never tested")
    if caution := metrics["scheme"]["caution"]:
        lines.append(caution)
    lines += leak_messages(metrics)
    labels = {name: each.label or name for name, each in study.settings.outcomes.items()}
    lines += source_sentences(metrics, labels).values()
    return Done((*lines, *trust_lines(frame), *describe_skips(skips)), skips)


class _StudyAreas:
    """What is known of the study's areas, whatever the folds."""

    def __init__(self, study: Study) -> None:

        self.study = study
        self.boundaries = read_areas(study.settings.areas, study.settings.locations)
        self.mapped = "geometry" in self.boundaries
        self.locations = read_table(study.locations)
        self.outcomes = read_table(study.outcomes).set_index("area")

    @cached_property
    def coordinates(self) -> pd.DataFrame:

        return positions_of_areas(self.boundaries, self.locations)

    @cached_property
    def location_means(self) -> pd.DataFrame | None:
        """Mean positions of the locations that have features, in every fold the same."""
        splits = read_table(own_outputs(self.study).splits, columns=["location_id"])
        used = is_among(self.locations["location_id"], splits["location_id"])
        return location_means(self.boundaries, self.locations[used])

    @cached_property
    def features(self) -> pd.DataFrame:
        """Mean features of the areas' images: by area, a column for each."""
        return feature_table(read_table(self.study.area_features))

    @cached_property
    def weights(self) -> Weights:
        """How much locations and areas count."""
        return read_weights(self.study, self.boundaries, self.locations)

    @cached_property
    def oracle(self) -> pd.DataFrame | None:
        return _oracle(self.study)

    @cached_property
    def _columns(self) -> pd.DataFrame | None:
        return _numeric_columns(self.boundaries, self.study.settings.evaluation.columns)

    @cached_property
    def _previous(self) -> dict[str, pd.Series]:
        previous = self.study.settings.evaluation.previous
        return {name: self.outcomes[f"{each}_value"] for name, each in previous.items()}

    @cached_property
    def knowledge(self) -> AreaKnowledge:
        """What the best estimate is made of."""
        return AreaKnowledge(
            pd.Index(self.boundaries.index),
            self.features,
            read_metadata(self.study.area_features).get("feature_sd"),
            self.baselines.placements,
            self._columns,
            self._previous,
        )

    @cached_property
    def baselines(self) -> Baselines:
        """What the images are compared with, made once for all outcomes and folds."""
        from streetgauge.evaluation.baselines import Baselines, density

        settings = self.study.settings
        return Baselines(
            self.coordinates,
            location_means=self.location_means,
            neighbours=settings.evaluation.neighbours,
            density=density(self.locations, self.boundaries) if self.mapped else None,
            columns=self._columns,
            previous=self._previous,
            features=self.features,
            seed=settings.seed,
        )


def _evaluate_folds(
    known: _StudyAreas, files: FoldOutputs, folds: FoldSettings, advance: Advance
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Level], dict[str, Any]]:
    """Give the areas tested in these folds, all estimates, the levels above, and the figures."""
    study = known.study
    settings, classes = study.settings.evaluation, study.settings.deciles.classes
    predictions, splits = read_table(files.predictions), read_table(files.splits)
    by_class = folds.scheme == "by-class"
    counts = class_counts(predictions, classes) if by_class else study_class_counts(study)
    split = split_areas(splits)
    weights = known.weights
    learners = [column for column in LEARNER_SCORES if column in predictions]
    areas = aggregate(
        predictions, settings.rule, classes, counts, split, weights.locations, learners
    )
    areas = with_facts(
        areas,
        predictions,
        known.locations,
        known.outcomes,
        views=views_of(files.folds),
        weights=weights.areas,
        min_locations=settings.min_locations,
    )
    calibration = calibration_set(files)
    frame = _in_order(intervals(areas, settings.interval_level, classes, calibration))
    levels = _levels(known, predictions, frame)
    trained = training_areas(splits, deciles(study.settings, known.outcomes.reset_index()))
    advance(1)
    frame, trust = add_trust(
        frame,
        predictions,
        known.boundaries,
        known.coordinates,
        known.features,
        trained,
        classes=classes,
        seed=study.settings.seed,
    )
    advance(1)
    estimates = best_estimates(
        areas,
        known.knowledge,
        trained,
        classes=classes,
        counts=counts,
        interval_level=settings.interval_level,
        calibration_set=calibration,
        advance=advance,
    )
    advance(1)
    frame = frame.merge(estimates, "left", ["outcome", "area"], validate="one_to_one")
    inputs = EvaluationInputs(
        coordinates=known.coordinates,
        classes=classes,
        class_counts=counts,
        predictions=predictions,
        oracle=known.oracle,
        location_weights=weights.locations,
        study_areas=known.boundaries.index,
        training_areas=trained,
        scheme=describe_scheme(
            folds,
            int(predictions["fold"].nunique()),
            len(split),
            _known_areas(study, files),
            predictions["area"].nunique(),
        ),
        columns=columns_of_areas(study, folds, known.boundaries, known.locations),
        levels=levels,
    )
    metrics = evaluate(
        frame,
        settings,
        seed=study.settings.seed,
        inputs=inputs,
        baselines=known.baselines,
        advance=advance,
    )
    shared = read_metadata(files.splits).get("shared")
    metrics["leaks"] = shared_images(shared, folds.shared_images)
    for name, evaluation in metrics["outcomes"].items():
        evaluation |= trust[name]
        rows = frame[frame["outcome"] == name].set_index("area")
        own = inputs.training_areas_of(name)
        evaluation["shuffled"] = evaluate_shuffled(
            known.baselines.shuffled(name, rows, training_areas=own), classes
        )
        if study.settings.several:
            evaluation["sources"] = _compare_sources(known, files, inputs, name, rows)
    return frame, estimates, levels, metrics


def _compare_sources(
    known: _StudyAreas, files: FoldOutputs, inputs: EvaluationInputs, name: str, rows: pd.DataFrame
) -> dict[str, Any] | None:
    """Compare what each source predicts of an outcome's areas by itself with what all do."""
    settings, scheme = known.study.settings, inputs.scheme or {}
    predicted = read_table(files.sources)
    given = (settings.evaluation, scheme, inputs.coordinates, inputs.columns)
    counts = inputs.class_counts.get(name)
    return compare_sources(
        predicted[predicted["outcome"] == name],
        rows,
        settings.evaluation,
        np.random.default_rng(derive_seed(settings.seed, "sources", name)),
        classes=inputs.classes,
        counts=None if counts is None else list(counts),
        unit=draw_units(rows.index, *given)[0],
    )


def _with_untested(
    frame: pd.DataFrame, estimates: pd.DataFrame, outcomes: pd.DataFrame
) -> pd.DataFrame:
    """Add the areas without images that have an estimate, below those that were tested."""
    pair = ["outcome", "area"]
    tested = pd.MultiIndex.from_frame(frame[pair])
    rows = estimates[~pd.MultiIndex.from_frame(estimates[pair]).isin(tested)]
    rows = rows.assign(n_locations=0, fold=0, status=WITHOUT_IMAGES)
    for name, own in rows.groupby("outcome"):
        actual = outcomes[f"{name}_decile"].reindex(own["area"]).to_numpy()
        rows.loc[own.index, "actual_decile"] = actual
    return pd.concat(
        [frame, rows.reindex(columns=frame.columns).astype(frame.dtypes.to_dict())],
        ignore_index=True,
    )


def _effect_of_weights(known: _StudyAreas, frame: pd.DataFrame) -> dict[str, Any]:
    """Compare the areas that were predicted with weights in training with those without."""
    study, settings = known.study, known.study.settings
    predictions, about = read_table(study.unweighted), read_metadata(study.unweighted)
    classes = settings.deciles.classes
    without = aggregate(
        predictions,
        settings.evaluation.rule,
        classes,
        class_counts(predictions, classes)
        if settings.folds.scheme == "by-class"
        else study_class_counts(study),
        split_areas(read_table(own_outputs(study).splits)),
        known.weights.locations,
    )
    measured = frame[(frame["status"] == MEASURED) & frame["decile"].notna()]
    without = without[without["decile"].notna() & without["actual_decile"].notna()]
    weights = predictions.groupby("area")["weight"].first()
    trained = {"with": measured, "without": without}
    return {**about, "outcomes": compare_weighting(trained, weights, classes)}


def _known_areas(study: Study, files: FoldOutputs) -> int | None:
    """Count the tested areas that the model that was started from knew; None if not recorded."""
    known: int | None = 0
    if study.settings.transfer is not None:
        known = read_metadata(files.splits).get("known_areas")
    return known


def _feature_leaks(known: _StudyAreas) -> list[dict[str, Any]]:
    """Find features that know an outcome, unless they are made up from the outcomes."""
    settings = known.study.settings
    values = outcome_values(settings, known.outcomes)
    widths = read_metadata(known.study.area_features).get("sources", {})
    found, first = [], 0
    for name, features in settings.sources.items():
        width = widths.get(name, known.features.shape[1])
        own = known.features.iloc[:, first : first + width]
        first += width
        if settings.several:  # others have a mean in place of what they lack
            own = own[own.index.isin(_areas_of_source(known, name))]
        if isinstance(features, TableFeatures):
            found += feature_leaks(own, values, features.file.name, features.columns)
        elif not isinstance(features, SimulatedFeatures):
            found += feature_leaks(own, values, name or features.store)
    return found


def _areas_of_source(known: _StudyAreas, name: str) -> pd.Series:
    """Give the areas in which some location has features of a source."""
    store = FeatureStore.open(known.study.sources[name].features)
    there = known.locations["location_id"].isin(store.location_ids[store.done])
    return known.locations.loc[there, "area"]


def _in_order(areas: pd.DataFrame) -> pd.DataFrame:
    """Put the columns that are promised first."""
    return areas[[*AREA_COLUMNS, *(c for c in areas.columns if c not in AREA_COLUMNS)]]


def _levels(known: _StudyAreas, predictions: pd.DataFrame, areas: pd.DataFrame) -> dict[str, Level]:
    """Evaluate the units of every level above the areas that the settings name."""
    settings, classes = known.study.settings.evaluation, known.study.settings.deciles.classes
    levels = {}
    for name in settings.levels:
        unit = units_of_areas(name, known.boundaries, known.locations)
        level = raise_level(
            predictions, areas, unit, settings.rule, classes, known.weights.locations
        )
        frame = mark(
            intervals(level.frame, settings.interval_level, classes), settings.min_locations
        )
        levels[name] = replace(level, frame=_in_order(frame))
    return levels


def _write_maps(known: _StudyAreas, frame: pd.DataFrame) -> None:
    """Write the areas for a GIS; no file of a run before stays where there is no map."""
    study = known.study
    for path in (study.map, study.geoparquet, study.map_style):
        path.unlink(missing_ok=True)
    if not known.mapped or frame.empty:
        return
    labels = {name: each.label or name for name, each in study.settings.outcomes.items()}
    classes = study.settings.deciles.classes
    layers = AreaLayers(frame, known.boundaries, labels=labels, classes=classes)
    layers.write_geopackage(study.map)
    layers.write_geoparquet(study.geoparquet)


def _remove_levels(study: Study) -> None:
    """Remove the tables of levels that were evaluated before, and nobody else's."""
    before = study.record.get("stages", {}).get("areas", {}).get("outputs", {})
    for name in before:
        if name.startswith("areas-") and name.endswith(".parquet"):
            study.path(name).unlink(missing_ok=True)


def _not_measured(known: _StudyAreas, areas: pd.DataFrame) -> pd.DataFrame:
    """List the areas that have a prediction and are not measured, or count nothing."""
    least = known.study.settings.evaluation.min_locations
    few = areas.loc[areas["status"] == FEW_LOCATIONS, "area"].drop_duplicates()
    reasons = dict.fromkeys(sorted(few), f"fewer than {least} locations: not measured")
    tested = set(areas["area"])
    for area in known.weights.empty_areas:
        if area in tested:
            reasons.setdefault(area, "no number of people: it counts nothing in the figures")
    return pd.DataFrame({"area": list(reasons), "reason": list(reasons.values())}, dtype="str")


def _numeric_columns(areas: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame | None:
    """Columns of the areas as numbers."""
    if not columns:
        return None
    table = pd.DataFrame(index=areas.index)
    for name in columns:
        if name not in areas:
            raise InputError(
                "evaluation.columns",
                f"the areas have no column {name!r}",
                f"name it in areas.columns, too; {closest(name, list(areas.columns))}",
            )
        table[name] = pd.to_numeric(areas[name], errors="coerce").astype("float64")
        if table[name].isna().all():
            raise InputError(
                "evaluation.columns", f"column {name!r} holds no numbers", "choose another"
            )
    return table


def _unit(classes: int) -> str:
    return "decile" if classes == 10 else f"class of {classes}"


def _oracle(study: Study) -> pd.DataFrame | None:
    """Give the attainable scores, which only a simulation knows: location_id, outcomes."""
    features, path = study.settings.features, study.settings.evaluation.oracle
    if path is not None:
        return read_oracle(path)
    if study.settings.several or not isinstance(features, SimulatedFeatures):
        return None
    from streetgauge.synthetic import simulated_oracle

    deciles, areas = simulated(study, features, read_table(study.locations))
    return simulated_oracle(
        deciles,
        areas,
        views=features.views,
        signal=features.signal,
        seed=study.settings.seed,
        classes=study.settings.deciles.classes,
    )
