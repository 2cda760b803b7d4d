"""What a study trains on: features joined by key to the deciles of their areas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streetgauge.io.files import read_metadata
from streetgauge.progress import Progress
from streetgauge.settings import (
    FoldSettings,
    StudySettings,
    TrainSettings,
)
from streetgauge.study import Study

if TYPE_CHECKING:
    from streetgauge.features import FeatureStore
    from streetgauge.model.model import Model
    from streetgauge.splits import Split

__all__ = [
    "City",
    "areas_learned",
    "city_of",
    "deciles",
    "kept_predictions",
    "labelled",
    "labels_of",
    "location_labels",
    "predict_share",
    "split",
    "study_class_counts",
]

UNEVEN = 0.1  # of a class's mean count: ties on a border do less


def split(
    study: Study,
    locations: pd.DataFrame,
    labels: pd.DataFrame,
    folds: FoldSettings | None = None,
) -> list[Split]:
    """Split locations as the study's folds say, or as others do."""
    from streetgauge.locations import read_areas
    from streetgauge.splits import split_locations

    settings = study.settings

    def areas() -> pd.DataFrame:
        return read_areas(settings.areas, settings.locations)

    own = settings.folds if folds is None else folds
    return split_locations(own, locations, labels, areas, seed=settings.seed)


def location_labels(study: Study, locations: pd.DataFrame) -> pd.DataFrame:
    """Deciles of each location's area: index location_id, a float column for each outcome."""
    return labels_of(study.settings, pd.read_parquet(study.outcomes), locations)


def labels_of(
    settings: StudySettings, outcomes: pd.DataFrame, locations: pd.DataFrame
) -> pd.DataFrame:
    """Join deciles of areas to locations: index location_id, a float column for each outcome."""
    labels = deciles(settings, outcomes).reindex(locations["area"])
    return labels.set_axis(pd.Index(locations["location_id"], name="location_id"))


def deciles(settings: StudySettings, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Deciles by area: a float column for each outcome."""
    columns = {f"{name}_decile": name for name in settings.outcomes}
    deciles = outcomes.set_index("area")[list(columns)].rename(columns=columns)
    return deciles.astype("Float64").astype("float64")


def study_class_counts(study: Study) -> dict[str, list[int]]:
    """Count the study's areas in each actual class, where classes are not of equal count.

    They were cut within a wider set, or by people, or a value that many areas share fills several.
    """
    outcomes, about = pd.read_parquet(study.outcomes), read_metadata(study.outcomes)
    counts = {}
    for name, each in about.items():
        equal = each["deciles"] == "study" and each["within"] == "study" and not each["weighted"]
        known = outcomes[f"{name}_decile"].dropna().astype("int64")
        count = np.bincount(known, minlength=each["classes"] + 1)[1:]
        if not equal or np.ptp(count) > max(UNEVEN * count.mean(), 2):
            counts[name] = count.tolist()
    return counts


def labelled(study: Study, store: FeatureStore) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Give the locations that have features and a decile, their deciles, and the others."""
    locations = pd.read_parquet(study.locations).sort_values("location_id", ignore_index=True)
    here = store.rows(locations["location_id"].to_numpy(str)) >= 0
    locations = locations[here].reset_index(drop=True)
    labels = location_labels(study, locations)
    known = labels.notna().any(axis=1).to_numpy()
    without = locations.loc[~known, ["location_id", "area"]]
    skips = without.assign(reason="its area has no decile of any outcome")
    return locations[known], labels[known], skips


def city_of(
    study: Study, store: FeatureStore, locations: pd.DataFrame, labels: pd.DataFrame
) -> City:
    """Put features and labels of these locations together."""
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


@dataclass(frozen=True)
class City:
    """The target city: features of R rows, and N labelled locations among them."""

    features: NDArray[np.float32]
    present: NDArray[np.bool_]
    deciles: NDArray[np.float64]
    areas: NDArray[Any]
    ids: NDArray[Any]
    rows: NDArray[np.int64]
    outcomes: tuple[str, ...]
    classes: int = 10
    counts: Mapping[str, Sequence[int]] | None = None  # areas of each class, if not equal


def areas_learned(splits: Sequence[Split], areas: NDArray[Any]) -> list[int]:
    """Count the areas that each split learns from, those that say when to stop among them."""
    learned = (areas[np.concatenate([each.training, each.validation])] for each in splits)
    return [len(pd.unique(each)) for each in learned]


def kept_predictions(file: Path, cache_key: str) -> pd.DataFrame | None:
    """Read predictions that were made from the same inputs; None if there are none."""
    try:
        if read_metadata(file).get("cache_key") == cache_key:
            return pd.read_parquet(file)
    except (OSError, ValueError):
        pass
    return None


def predict_share(
    city: City,
    splits: Sequence[Split],
    share: float,
    settings: TrainSettings,
    model: Model | None,
    directory: Path,
    seed: int,
    cache_key: str,
    progress: Progress,
) -> pd.DataFrame:
    """Learn from a share of what the splits can learn from, and predict what they test."""
    from streetgauge.model.crossvalidation import cross_validate
    from streetgauge.splits import take_share

    shared = [take_share(split, city.areas, city.deciles, share, seed) for split in splits]
    if model is None:  # each member needs an area of its own to be stopped by
        fewest = max(min(areas_learned(shared, city.areas)), 1)
        settings = settings.model_copy(
            update={"ensemble_size": min(settings.ensemble_size, fewest)}
        )
    return cross_validate(
        city.features,
        city.present,
        city.deciles,
        city.areas,
        city.ids,
        shared,
        outcomes=city.outcomes,
        settings=settings,
        seed=seed,
        directory=directory,
        cache_key=cache_key,
        rows=city.rows,
        start=model,
        progress=progress,
        classes=city.classes,
    )
