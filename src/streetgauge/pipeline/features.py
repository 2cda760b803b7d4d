"""Images, or a table of features, -> the feature store."""

from __future__ import annotations

import numpy as np
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.features.lookup import backbone_of
from streetgauge.features.store import FeatureStore
from streetgauge.features.store_file import FORMAT, opened, text_attribute
from streetgauge.imagery import find_views
from streetgauge.io.files import read_table
from streetgauge.io.formats import STORE_VERSION, require_version
from streetgauge.locations import read_areas
from streetgauge.model.training_data import location_labels
from streetgauge.pipeline.quality import filter_quality, reset_quality
from streetgauge.progress import Progress
from streetgauge.seeds import derive_seed
from streetgauge.settings import (
    ImageFeatures,
    RasterFeatures,
    SimulatedFeatures,
    TableFeatures,
)
from streetgauge.skips import AllExcludedError, counted, describe_skips
from streetgauge.study import Done, Study
from streetgauge.study.paths import image_files
from streetgauge.study.stages import stage_named


def refuse_newer(study: Study) -> None:
    """Refuse to make features again over a store that a newer version of this package has made.

    Raises
    ------
    InputError
        If its format is newer than what is written here.
    """
    for path in study.stores:
        try:
            with opened(path) as file:
                names = ("format", "format_version")
                form, version = (text_attribute(file, name) for name in names)
        except InputError:  # there is none, or none that anybody could read
            continue
        if form == FORMAT and version.isdecimal() and int(version) > STORE_VERSION:
            require_version(path, int(version), STORE_VERSION)


def make_features(study: Study, key: str, progress: Progress) -> Done:
    """Images, or tables of features, -> a feature store for each source."""
    refuse_newer(study)
    if not study.settings.several:
        return _make_source(study, key, progress)
    lines: list[str] = []
    skips: list[pd.DataFrame] = []
    stage = stage_named("features")
    for name, source in study.sources.items():
        try:  # by its own key: a change of one source does not touch the others
            done = _make_source(source, source.key(stage, upstream=False), progress)
        except AllExcludedError as error:
            skips.append(_of_source(name, error.skips))
            raise AllExcludedError(
                f"{study.file}: [features.{name}]",
                f"{error.subject}: {error.reason}",
                error.next_step,
                pd.concat(skips, ignore_index=True),
            ) from None
        lines += [f"{name}: {line}" for line in done.lines]
        assert done.skips is not None
        skips.append(_of_source(name, done.skips))
    return Done((*lines, _joint_line(study)), pd.concat(skips, ignore_index=True))


def _of_source(name: str, skips: pd.DataFrame) -> pd.DataFrame:
    """Name the source in the reasons for which it lacks something."""
    return skips.assign(reason=f"{name}: " + skips["reason"]) if len(skips) else skips


def _joint_line(study: Study) -> str:
    """Count the locations that have any source, and those that have all."""
    here = [set(s.location_ids[s.done]) for s in map(FeatureStore.open, study.stores)]
    some, whole = len(set.union(*here)), len(set.intersection(*here))
    return f"{counted(some, 'location')} with any source, {whole:,} with all {len(here)}"


def _make_source(study: Study, key: str, progress: Progress) -> Done:
    """Make the feature store of a study's only source."""
    settings = study.settings.features
    locations = read_table(study.locations)
    found: tuple[str, ...] = ()
    if isinstance(settings, ImageFeatures):
        skips = _extract_images(study, settings, locations, key, progress)
        found, poor = filter_quality(study.features, study.quality, image_files(study))
        skips = pd.concat([skips, poor], ignore_index=True)
    elif isinstance(settings, TableFeatures):
        from streetgauge.features import join_table

        skips = join_table(settings, locations, study.features, cache_key=key, progress=progress)
    elif isinstance(settings, RasterFeatures):
        from streetgauge.features import store_raster

        by_area = settings.sample == "areas"
        areas = read_areas(study.settings.areas, study.settings.locations) if by_area else None
        skips = store_raster(
            *(settings, locations, study.features),
            areas=areas,
            cache_key=key,
            progress=progress,
        )
    else:
        skips = _simulate(study, settings, locations, key, progress)
    store = FeatureStore.open(study.features)
    done = int(store.done.sum())
    if not done:
        raise AllExcludedError(
            study.features,
            "no location has features",
            f"see the reasons with `streetgauge info {study.skipped}`",
            skips,
        )
    _, views, dimension = store.features.shape
    line = f"{counted(done, 'location')} with {counted(views, 'view')} of "
    line += f"{counted(dimension, 'feature')} ({_computed(store)})"
    return Done((line, *found, *describe_skips(skips)), skips)


def _computed(store: FeatureStore) -> str:
    """Name what computed a store's features, where if not on the CPU, and how near to float32."""
    names = ("engine", "precision", "device")
    engine, precision, device = (store.attributes.get(name, "") for name in names)
    if not engine:
        return store.backbone
    near = "" if precision == "float32" else f", cosine to float32 {store.attributes['cosine']}"
    where = f" on {device}" if device not in ("", "cpu") else ""
    return f"{store.backbone}, {engine} {precision}{where}{near}"


def _extract_images(
    study: Study,
    settings: ImageFeatures,
    locations: pd.DataFrame,
    key: str,
    progress: Progress,
) -> pd.DataFrame:
    from streetgauge.features import (
        Extraction,
        extract_features,
        extract_on_cluster,
        resolve_checksum,
        take_in_shards,
    )

    imagery = image_files(study)
    views, missing = find_views(imagery, locations)
    reset_quality(study.features, imagery.require)
    missing = _not_reported_before(study, missing)
    backbone = resolve_checksum(backbone_of(settings), progress)
    wanted = Extraction(
        views,
        sorted(views["location_id"].unique()),
        study.features,
        backbone,
        view_names=imagery.views,
        require=imagery.require,
        device=settings.device,
        engine=settings.engine,
        precision=settings.precision,
        dtype=settings.dtype,
        cache_key=key,
    )
    take_in_shards(wanted, progress=progress)
    if settings.cluster is not None:
        unreadable = extract_on_cluster(wanted, settings.cluster, progress=progress)
    else:
        unreadable = extract_features(wanted, batch=settings.batch, progress=progress)
    return pd.concat([missing, unreadable], ignore_index=True)


def _not_reported_before(study: Study, missing: pd.DataFrame) -> pd.DataFrame:
    """Drop what could not be collected: the stage before has reported it, with its reason."""
    reported = study.skips().query("stage == 'images'")
    whole = missing["location_id"].isin(reported["location_id"]) & missing["view"].isna()
    views = pd.MultiIndex.from_frame(missing[["location_id", "view"]]).isin(
        pd.MultiIndex.from_frame(reported[["location_id", "view"]])
    )
    return missing[~(whole | views)]


def _simulate(
    study: Study,
    settings: SimulatedFeatures,
    locations: pd.DataFrame,
    key: str,
    progress: Progress,
) -> pd.DataFrame:
    from streetgauge.synthetic import simulate_features

    deciles, areas = simulated(study, settings, locations)
    ids = deciles.index.to_numpy(str)
    store = FeatureStore.create(
        study.features,
        ids,
        [str(view + 1) for view in range(settings.views)],
        settings.dimension,
        {"backbone": "simulated", "weights_sha256": "", "transform": "{}", "cache_key": key},
        dtype=settings.dtype,
    )
    block = 2048
    with store, progress("simulated features", len(ids), "locations") as advance:
        for start in range(0, len(ids), block):
            slots = np.arange(start, min(start + block, len(ids)))
            features = simulate_features(
                deciles.iloc[slots],
                areas.iloc[slots],
                dimension=settings.dimension,
                views=settings.views,
                signal=settings.signal,
                seed=source_seed(study),
                classes=study.settings.deciles.classes,
                year=settings.year,
            )
            store.write(slots, features, np.ones(features.shape[:2], dtype=bool))
            advance(len(slots))
    return pd.DataFrame()


def source_seed(study: Study) -> int:
    """Give the seed of simulated features: each source of several has noise of its own."""
    seed = study.settings.seed
    return derive_seed(seed, "source", study.source) if study.source else seed


def sampled_locations(
    settings: SimulatedFeatures, locations: pd.DataFrame, seed: int
) -> pd.DataFrame:
    """Give the locations that get simulated features, sorted: at most so many of each area."""
    locations = locations.sort_values("location_id", ignore_index=True)
    if settings.per_area is None:
        return locations
    areas = locations["area"].sample(frac=1, random_state=seed)
    sampled = areas.groupby(areas).head(settings.per_area).index
    return locations.loc[sampled.sort_values()].reset_index(drop=True)


def simulated(
    study: Study, settings: SimulatedFeatures, locations: pd.DataFrame
) -> tuple[pd.DataFrame, pd.Series[str]]:
    """Give deciles (by location_id, sorted) and areas of the locations that get features."""
    from streetgauge.synthetic import change_deciles

    seed, classes = study.settings.seed, study.settings.deciles.classes
    locations = sampled_locations(settings, locations, seed)
    labels, areas = location_labels(study, locations), locations["area"]
    if settings.year > 1:
        share = settings.changed
        labels = change_deciles(labels, areas, share=share, seed=seed, classes=classes)
    return labels, areas
