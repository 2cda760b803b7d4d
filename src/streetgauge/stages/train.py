"""Features and deciles -> folds, predictions and bundles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from streetgauge.files import read_metadata, write_table
from streetgauge.progress import Progress
from streetgauge.skips import left_out
from streetgauge.stages._common import (
    curve_file,
    has_curve,
    location_labels,
    split,
    study_class_counts,
)
from streetgauge.study import Done, Study

if TYPE_CHECKING:
    from streetgauge.features import FeatureStore
    from streetgauge.tuning import City

__all__ = ["train"]


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
    splits = split(study, locations, labels)
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
    curve_file(study).unlink(missing_ok=True)
    if start is not None and has_curve(study):
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
    labels = location_labels(study, locations)
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
        study_class_counts(study),
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
