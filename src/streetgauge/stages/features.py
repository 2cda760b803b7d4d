"""Pictures, or a table of features, -> the feature store."""

from __future__ import annotations

import numpy as np
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.progress import Progress
from streetgauge.settings import PictureFeatures, SimulatedFeatures, TableFeatures
from streetgauge.skips import left_out
from streetgauge.stages._common import simulated
from streetgauge.study import Done, Study

__all__ = ["make_features"]


def make_features(study: Study, stamp: str, progress: Progress) -> Done:
    """Pictures, or a table of features, -> the feature store."""
    from streetgauge.features import FeatureStore
    from streetgauge.stages.chain import stage_named  # here: the chain is made of the stages

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

    deciles, areas = simulated(study, settings, locations)
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
