"""What several stages read of a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from streetgauge.errors import InputError
from streetgauge.io.files import read_metadata, require_columns
from streetgauge.settings import (
    DirectoryLocations,
    FoldSettings,
    ImagerySettings,
    OpenImagery,
    PictureFeatures,
    SimulatedFeatures,
    StudySettings,
)
from streetgauge.study import Study

if TYPE_CHECKING:
    from streetgauge.features import Backbone
    from streetgauge.splits import Split

__all__ = [
    "backbone_of",
    "study_class_counts",
    "column_of_codes",
    "deciles",
    "location_labels",
    "labels_of",
    "picture_files",
    "read_oracle",
    "repaired",
    "simulated",
    "split",
]


UNEVEN = 0.1  # of a class's mean count: ties on a border do less


def repaired(areas: pd.DataFrame) -> tuple[str, ...]:
    """Say how many boundaries were mended, if any."""
    count = areas.attrs.get("repaired")
    return (f"{count:,} invalid boundaries were repaired",) if count else ()


def simulated(
    study: Study, settings: SimulatedFeatures, locations: pd.DataFrame
) -> tuple[pd.DataFrame, pd.Series[str]]:
    """Give deciles (by location_id, sorted) and areas of the locations that get features."""
    locations = locations.sort_values("location_id", ignore_index=True)
    if settings.per_area is not None:
        shuffled = locations.sample(frac=1, random_state=study.settings.seed)
        kept = shuffled.groupby("area").head(settings.per_area)
        locations = kept.sort_values("location_id", ignore_index=True)
    return location_labels(study, locations), locations["area"]


def column_of_codes(settings: StudySettings) -> str | None:
    """Name the column that the areas' codes come from; it may say of which year they are."""
    locations = settings.locations
    if settings.areas.file is None and isinstance(locations, DirectoryLocations):
        return locations.area
    return settings.areas.code


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


def picture_files(study: Study) -> ImagerySettings:
    """Say where the study's pictures are, be they its own or collected ones."""
    imagery = study.settings.imagery
    assert imagery is not None  # the settings see to it
    if isinstance(imagery, OpenImagery):
        return imagery.as_files(study.picture_folder, study.pictures)
    return imagery


def backbone_of(looks: PictureFeatures) -> Backbone:
    """Look up the network that looks at pictures, as the settings have it."""
    from streetgauge.features import get_backbone

    return get_backbone(looks.backbone, weights=looks.weights, relu=looks.relu)


def _read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV whose ids are text as they are: "007" and "NA", too."""
    header = pd.read_csv(path, nrows=0).columns
    gaps = {name: ["", "NA", "NaN", "nan"] for name in header if name != "location_id"}
    return pd.read_csv(path, dtype={"location_id": "str"}, keep_default_na=False, na_values=gaps)


def read_oracle(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except (pa.ArrowException, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(path, f"this is no table: {reason}", "give Parquet or CSV") from None
    require_columns(frame, {"location_id": "location_id"}, path)
    return frame.astype({"location_id": "str"})
