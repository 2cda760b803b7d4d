"""The stages, one for each arrow of the flow: read a study's files, call a room, write its files.

Rooms work on arrays and frames and know no study; this module is the only one that knows both.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from streetgauge.errors import InputError
from streetgauge.files import read_metadata, require_columns, write_json, write_table, write_text
from streetgauge.progress import Progress
from streetgauge.settings import (
    DirectoryLocations,
    PictureFeatures,
    SimulatedFeatures,
    StudySettings,
    TableFeatures,
)
from streetgauge.skips import left_out
from streetgauge.study import Done, Stage, Study

if TYPE_CHECKING:
    from streetgauge.features import FeatureStore
    from streetgauge.learn import Split
    from streetgauge.tuning import City

__all__ = ["STAGES", "check", "require_fresh", "require_upstream", "stage_named"]

AREA_COLUMNS = [
    *("area", "outcome", "n_locations", "score", "decile", "low", "high", "actual_decile", "fold"),
]


def make_outcomes(study: Study, stamp: str, progress: Progress) -> Done:
    """Official files -> outcomes.parquet."""
    from streetgauge.locations import read_areas
    from streetgauge.outcomes import build_outcomes

    areas = read_areas(study.settings.areas, study.settings.locations)
    settings = study.settings
    frame, metadata, skips = build_outcomes(
        settings.outcomes,
        areas.index,
        settings.deciles,
        stated=_column_of_codes(settings),
        lookup=settings.areas.lookup,
    )
    write_table(frame, study.outcomes, metadata)
    lines = [f"{len(frame):,} areas, {len(metadata)} outcomes"]
    lines += _repaired(areas)
    if others := areas.attrs.get("left_out"):
        lines.append(f"{others:,} other areas are none of the study's place")
    for name, about in metadata.items():
        if about["n_missing"]:
            lines.append(f"{name}: {about['n_missing']:,} of {len(frame):,} areas have no value")
    return Done(tuple(lines), skips)


def make_locations(study: Study, stamp: str, progress: Progress) -> Done:
    """Postcode directory or coordinates -> locations.parquet."""
    from streetgauge.locations import counted, read_areas, read_locations

    areas = read_areas(study.settings.areas, study.settings.locations)
    frame, skips = read_locations(study.settings.locations, areas)
    write_table(frame, study.locations)
    lines = [f"{len(frame):,} locations in {frame['area'].nunique():,} of {len(areas):,} areas"]
    return Done((*lines, *_repaired(areas), *counted(frame), *left_out(skips)), skips)


def _repaired(areas: pd.DataFrame) -> tuple[str, ...]:
    """Say how many boundaries were mended, if any."""
    count = areas.attrs.get("repaired")
    return (f"{count:,} invalid boundaries were repaired",) if count else ()


def make_features(study: Study, stamp: str, progress: Progress) -> Done:
    """Pictures, or a table of features, -> the feature store."""
    from streetgauge.features import FeatureStore

    settings = study.settings.features
    locations = pd.read_parquet(study.locations)
    # Pictures take hours: a store is resumed as long as inputs and settings are the same. What the
    # code does to a picture is in the store's transform and weights, which are compared as well.
    stamp = study.stamp(stage_named("features"), code=False)
    if isinstance(settings, PictureFeatures):
        skips = _look_at_pictures(study, settings, locations, stamp, progress)
    elif isinstance(settings, TableFeatures):
        from streetgauge.features import join_table

        skips = join_table(settings, locations, study.features, stamp=stamp, progress=progress)
    else:
        skips = _simulate(study, settings, locations, stamp, progress)
    store = FeatureStore.open(study.features)
    done = int(store.done.sum())
    if not done:
        raise InputError(
            study.features,
            "no location has features",
            f"see the reasons with `streetgauge info {study.skipped}`",
        )
    _, views, dimension = store.features.shape
    line = f"{done:,} locations with {views} views of {dimension:,} features ({store.backbone})"
    return Done((line, *left_out(skips)), skips)


def _look_at_pictures(
    study: Study,
    settings: PictureFeatures,
    locations: pd.DataFrame,
    stamp: str,
    progress: Progress,
) -> pd.DataFrame:
    from streetgauge.features import extract_pictures
    from streetgauge.imagery import find_views

    imagery = study.settings.imagery
    assert imagery is not None  # the settings see to it
    views, missing = find_views(imagery, locations["location_id"].tolist())
    unreadable = extract_pictures(
        views,
        sorted(views["location_id"].unique()),
        study.features,
        settings.backbone,
        view_names=imagery.views,
        require=imagery.require,
        device=settings.device,
        batch=settings.batch,
        stamp=stamp,
        progress=progress,
    )
    return pd.concat([missing, unreadable], ignore_index=True)


def _simulate(
    study: Study,
    settings: SimulatedFeatures,
    locations: pd.DataFrame,
    stamp: str,
    progress: Progress,
) -> pd.DataFrame:
    from streetgauge.features import FeatureStore
    from streetgauge.sample import simulate_features

    deciles, areas = _simulated(study, settings, locations)
    ids = deciles.index.to_numpy(str)
    store = FeatureStore.create(
        study.features,
        ids,
        [str(view + 1) for view in range(settings.views)],
        settings.dimension,
        {"backbone": "simulated", "weights_sha256": "", "transform": "{}", "stamp": stamp},
    )
    block = 2048
    with progress("simulated features", len(ids), "locations") as advance:
        for start in range(0, len(ids), block):
            slots = np.arange(start, min(start + block, len(ids)))
            features = simulate_features(
                deciles.iloc[slots],
                areas.iloc[slots],
                dimension=settings.dimension,
                views=settings.views,
                signal=settings.signal,
                seed=study.settings.seed,
                classes=study.settings.deciles.classes,
            )
            store.write(slots, features, np.ones(features.shape[:2], dtype=bool))
            advance(len(slots))
    return pd.DataFrame()


def _simulated(
    study: Study, settings: SimulatedFeatures, locations: pd.DataFrame
) -> tuple[pd.DataFrame, pd.Series[str]]:
    """Give deciles (by location_id, sorted) and areas of the locations that get features."""
    locations = locations.sort_values("location_id", ignore_index=True)
    if settings.per_area is not None:
        shuffled = locations.sample(frac=1, random_state=study.settings.seed)
        kept = shuffled.groupby("area").head(settings.per_area)
        locations = kept.sort_values("location_id", ignore_index=True)
    return _labels(study, locations), locations["area"]


def train(study: Study, stamp: str, progress: Progress) -> Done:
    """Features and deciles -> folds.parquet, predictions.parquet and the bundles in model/."""
    from streetgauge.features import FeatureStore
    from streetgauge.learn import (
        cross_validate,
        folds_frame,
        never_used,
        split_notes,
        splits_frame,
        take_share,
    )
    from streetgauge.tuning import draw_curve, find_start

    settings, transfer = study.settings, study.settings.transfer
    store = FeatureStore.open(study.features)
    locations, labels, skips = _labelled(study, store)
    city = _city(study, store, locations, labels)
    splits = _split(study, locations, labels)
    skips = pd.concat([skips, never_used(splits, city.ids, city.areas)], ignore_index=True)
    source = _source(study, store)
    start, learned, tuned = None, splits, settings.train
    if transfer is not None:
        start = find_start(transfer, tuned, store, city.outcomes, classes=city.classes)
        source["start"], tuned = start.about, start.settings
        learned = [
            take_share(split, city.areas, city.deciles, transfer.share, settings.seed)
            for split in splits
        ]
    predictions = cross_validate(
        city.features,
        city.present,
        city.deciles,
        city.areas,
        city.ids,
        learned,
        outcomes=city.outcomes,
        settings=tuned,
        classes=city.classes,
        seed=settings.seed,
        directory=study.model,
        stamp=stamp,
        rows=city.rows,
        source=source,
        start=None if start is None else start.model,
        progress=progress,
    )
    folds = folds_frame(splits, city.ids, city.areas)
    write_table(folds, study.folds)
    write_table(splits_frame(learned, city.ids, city.areas), study.splits)
    write_table(predictions, study.predictions)
    notes = () if start is None else start.notes
    _curve(study).unlink(missing_ok=True)
    if start is not None and _has_curve(study):
        notes += draw_curve(
            *(city, splits, start, settings.train, study.model),
            seed=settings.seed,
            stamp=stamp,
            progress=progress,
        )
    return Done(
        (
            f"{len(folds):,} locations in {folds['area'].nunique():,} areas, "
            f"{_tested(folds)} ({settings.folds.scheme})",
            *split_notes(splits, city.areas, city.deciles, city.outcomes),
            *notes,
            *left_out(skips),
        ),
        skips,
    )


def _labelled(study: Study, store: FeatureStore) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Give the locations that have features and a decile, their deciles, and the others."""
    locations = pd.read_parquet(study.locations).sort_values("location_id", ignore_index=True)
    here = store.rows(locations["location_id"].to_numpy(str)) >= 0
    locations = locations[here].reset_index(drop=True)
    labels = _labels(study, locations)
    known = labels.notna().any(axis=1).to_numpy()
    without = locations.loc[~known, ["location_id", "area"]]
    skips = without.assign(reason="its area has no decile of any outcome")
    return locations[known], labels[known], skips


def _city(study: Study, store: FeatureStore, locations: pd.DataFrame, labels: pd.DataFrame) -> City:
    from streetgauge.tuning import City

    ids = locations["location_id"].to_numpy(str)
    return City(
        store.features,
        store.present,
        labels.to_numpy(np.float64),
        locations["area"].to_numpy(str),
        ids,
        store.rows(ids),
        tuple(labels.columns),
        study.settings.deciles.classes,
        _class_counts(study),
    )


def _source(study: Study, store: FeatureStore) -> dict[str, Any]:
    """Say where features and labels come from, as bundles keep it."""
    return {
        "study": study.settings.name,
        "backbone": store.backbone,
        "weights_sha256": store.attributes["weights_sha256"],
        "transform": store.attributes["transform"],
        "licence": store.attributes.get("licence", ""),
        "views": list(store.views),
        "outcomes": read_metadata(study.outcomes),
    }


def _tested(folds: pd.DataFrame) -> str:
    """Say how many areas are tested in how many parts."""
    sizes = folds[folds["fold"] > 0].groupby("fold")["area"].nunique()
    if sizes.empty:
        return "nothing to test on"
    if len(sizes) == 1:
        return f"{sizes.max():,} areas to test on"
    return f"{len(sizes)} folds of {sizes.min():,} to {sizes.max():,} areas to test on"


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
    counts = class_counts(predictions, classes) if by_class else _class_counts(study)
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
        learned=learned_areas(splits, _deciles(study.settings, pd.read_parquet(study.outcomes))),
        scheme=describe_scheme(folds, int(predictions["fold"].nunique()), len(torn)),
    )
    if _has_curve(study):
        metrics["transfer"] = json.loads(_curve(study).read_text(encoding="utf-8"))
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


def check(study: Study) -> dict[str, Callable[[], str]]:
    """Name what can be checked before any long work; each entry reads one input and sums it up.

    Parameters
    ----------
    study : Study
        Nothing is written to it.

    Returns
    -------
    dict of str to callable
        By what is checked; each raises `InputError` if that input cannot be used.
    """
    from streetgauge.features import read_columns
    from streetgauge.locations import read_areas, read_locations
    from streetgauge.outcomes import build_outcomes

    settings = study.settings
    seen: dict[str, Any] = {}

    def files() -> str:
        study.require_files()
        return "all there"

    def areas() -> str:
        seen["areas"] = read_areas(settings.areas, settings.locations)
        folds = settings.folds
        by_number = folds.scheme == "k-fold" and folds.file is None
        if by_number and len(seen["areas"]) < folds.k:
            raise InputError(
                f"{study.file}: folds.k",
                f"{settings.folds.k} folds of only {len(seen['areas'])} areas",
                "an area is never split over folds: take fewer folds",
            )
        kind = "with" if "geometry" in seen["areas"] else "without"
        return f"{len(seen['areas']):,} areas {kind} boundaries"

    def outcomes() -> str:
        seen["outcomes"], about, _ = build_outcomes(
            settings.outcomes,
            seen["areas"].index,
            settings.deciles,
            stated=_column_of_codes(settings),
            lookup=settings.areas.lookup,
        )
        return ", ".join(f"{name} {a['n_areas']:,} areas" for name, a in about.items())

    def locations() -> str:
        seen["locations"], skips = read_locations(settings.locations, seen["areas"])
        return f"{len(seen['locations']):,} locations, {len(skips):,} left out"

    def folds() -> str:
        labels = _labels_of(settings, seen["outcomes"], seen["locations"])
        labelled = labels.notna().any(axis=1).to_numpy()
        splits = _split(study, seen["locations"][labelled], labels[labelled])
        largest = max(splits, key=lambda split: len(split.test))
        tests = sum(1 for split in splits if len(split.test))
        return f"{tests} parts to test on, of at most {len(largest.test):,} locations"

    def features() -> str:
        if settings.evaluation.oracle is not None:
            _read_oracle(settings.evaluation.oracle)
        if isinstance(settings.features, TableFeatures):
            table = read_columns(settings.features)
            return f"{len(table.features):,} rows of {len(settings.features.columns):,} features"
        if isinstance(settings.features, PictureFeatures) and settings.imagery is not None:
            from streetgauge.features import get_backbone
            from streetgauge.imagery import find_views

            backbone = get_backbone(settings.features.backbone)
            views, missing = find_views(settings.imagery, seen["locations"]["location_id"].tolist())
            return f"{len(views):,} pictures for {backbone.name}, {len(missing):,} left out"
        return f"{settings.features.source} features"

    return {
        "files": files,
        "areas": areas,
        "outcomes": outcomes,
        "locations": locations,
        "folds": folds,
        "features": features,
    }


def _column_of_codes(settings: StudySettings) -> str | None:
    """Name the column that the areas' codes come from; it may say of which year they are."""
    locations = settings.locations
    if settings.areas.file is None and isinstance(locations, DirectoryLocations):
        return locations.area
    return settings.areas.code


def _split(study: Study, locations: pd.DataFrame, labels: pd.DataFrame) -> list[Split]:
    from streetgauge.learn import split_locations
    from streetgauge.locations import read_areas

    settings = study.settings

    def areas() -> pd.DataFrame:
        return read_areas(settings.areas, settings.locations)

    return split_locations(settings.folds, locations, labels, areas, seed=settings.seed)


def _labels(study: Study, locations: pd.DataFrame) -> pd.DataFrame:
    """Deciles of each location's area: index location_id, a float column for each outcome."""
    return _labels_of(study.settings, pd.read_parquet(study.outcomes), locations)


def _labels_of(
    settings: StudySettings, outcomes: pd.DataFrame, locations: pd.DataFrame
) -> pd.DataFrame:
    labels = _deciles(settings, outcomes).reindex(locations["area"])
    return labels.set_axis(pd.Index(locations["location_id"], name="location_id"))


def _deciles(settings: StudySettings, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Deciles by area: a float column for each outcome."""
    columns = {f"{name}_decile": name for name in settings.outcomes}
    deciles = outcomes.set_index("area")[list(columns)].rename(columns=columns)
    return deciles.astype("Float64").astype("float64")


def _unit(classes: int) -> str:
    return "decile" if classes == 10 else f"class of {classes}"


def _class_counts(study: Study) -> dict[str, list[int]]:
    """Count the study's areas in each actual class, where classes were not cut to be equal."""
    outcomes, about = pd.read_parquet(study.outcomes), read_metadata(study.outcomes)
    counts = {}
    for name, each in about.items():
        equal = each["deciles"] == "study" and each["within"] == "study" and not each["weighted"]
        if not equal:
            known = outcomes[f"{name}_decile"].dropna().astype("int64")
            counts[name] = np.bincount(known, minlength=each["classes"] + 1)[1:].tolist()
    return counts


def _curve(study: Study) -> Path:
    return study.model / "transfer.json"


def _has_curve(study: Study) -> bool:
    """Whether `train` also measures what labels are worth with a model of another city."""
    return study.settings.transfer is not None and study.settings.transfer.curve


def _oracle(study: Study) -> pd.DataFrame | None:
    """Give the best scores possible, which only a simulation knows: location_id, outcomes."""
    features, path = study.settings.features, study.settings.evaluation.oracle
    if path is not None:
        return _read_oracle(path)
    if not isinstance(features, SimulatedFeatures):
        return None
    from streetgauge.sample import simulated_oracle

    deciles, areas = _simulated(study, features, pd.read_parquet(study.locations))
    return simulated_oracle(
        deciles,
        areas,
        views=features.views,
        signal=features.signal,
        seed=study.settings.seed,
        classes=study.settings.deciles.classes,
    )


def _read_oracle(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (pa.ArrowException, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(path, f"this is no table: {reason}", "give Parquet or CSV") from None
    require_columns(frame, {"location_id": "location_id"}, path)
    return frame.astype({"location_id": "str"})


def _without_times(record: dict[str, Any]) -> dict[str, Any]:
    """Keep what made the results, without when and how fast: the same run gives the same page."""
    stages = {
        name: {key: value for key, value in kept.items() if key not in ("started", "seconds")}
        for name, kept in record.get("stages", {}).items()
        if name != "report"
    }
    return {key: value for key, value in record.items() if key != "files"} | {"stages": stages}


STAGES = (
    Stage(
        "outcomes",
        ("areas", "locations", "outcomes", "deciles"),
        lambda s: (),
        lambda s: (s.outcomes,),
        ("outcomes", "locations"),
        make_outcomes,
    ),
    Stage(
        "locations",
        ("areas", "locations"),
        lambda s: (),
        lambda s: (s.locations,),
        ("locations",),
        make_locations,
    ),
    Stage(
        "features",
        ("imagery", "features", "seed"),
        lambda s: (
            (s.locations, s.outcomes)
            if isinstance(s.settings.features, SimulatedFeatures)
            else (s.locations,)
        ),
        lambda s: (s.features,),
        ("imagery", "features", "sample"),
        make_features,
    ),
    Stage(
        "train",
        ("areas", "locations", "folds", "train", "deciles", "transfer", "seed"),
        lambda s: (s.outcomes, s.locations, s.features),
        lambda s: (s.folds, s.splits, s.predictions, s.model),
        ("learn", "features", "locations"),
        train,
    ),
    Stage(
        "areas",
        ("areas", "locations", "evaluation", "deciles", "seed"),
        lambda s: (
            *(s.predictions, s.splits, s.locations, s.outcomes),
            *((_curve(s),) if _has_curve(s) else ()),
        ),
        lambda s: (s.areas, s.map, s.metrics),
        ("areas", "locations", "sample"),
        make_areas,
    ),
    Stage(
        "report",
        ("name", "note", "areas", "locations"),
        lambda s: (s.areas, s.metrics, s.outcomes, s.locations, s.skipped),
        lambda s: (s.report,),
        ("report", "areas", "locations"),
        make_report,
    ),
)


def require_upstream(study: Study, name: str) -> None:
    """Refuse to go on from files that are older than what they are made from.

    Raises
    ------
    InputError
        Naming the first stage before ``name`` that is not done or out of date.
    """
    reads = set(stage_named(name).reads(study))
    for stage in STAGES:
        if reads & set(stage.writes(study)):
            require_fresh(study, stage.name)


def require_fresh(study: Study, name: str) -> None:
    """Refuse if a stage, or one before it, is not up to date.

    Raises
    ------
    InputError
        Naming the first stage that must be done.
    """
    require_upstream(study, name)
    stage = stage_named(name)
    study.require_inputs(stage)
    if not study.is_up_to_date(stage, study.stamp(stage)):
        raise InputError(
            study.directory,
            f"`{name}` is not done, or what it depends on has changed",
            f"run `streetgauge run {study.directory}`",
        )


def stage_named(name: str) -> Stage:
    """Give the stage with this name."""
    return next(stage for stage in STAGES if stage.name == name)
