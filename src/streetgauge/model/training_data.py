"""What a study trains on: features joined by key to the deciles of their areas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streetgauge.errors import InputError
from streetgauge.features.joint import JointStore, Part
from streetgauge.io.files import read_metadata, read_table
from streetgauge.io.tables import refuse_repeated
from streetgauge.settings import FoldSettings, StudySettings
from streetgauge.study import Study

if TYPE_CHECKING:
    from streetgauge.features import FeatureStore
    from streetgauge.splits import Split
    from streetgauge.splits.sharing import ViewIdentity


SHARED = "all of its images stand in the test part as well"
UNEVEN = 0.1  # of a class's mean count: ties on a border do less


def study_splits(
    study: Study,
    locations: pd.DataFrame,
    labels: pd.DataFrame,
    folds: FoldSettings | None = None,
) -> list[Split]:
    """Split locations by the study's folds, or by others."""
    from streetgauge.locations import read_areas
    from streetgauge.splits import split_locations

    settings = study.settings

    def areas() -> pd.DataFrame:
        return read_areas(settings.areas, settings.locations)

    own = settings.folds if folds is None else folds
    return split_locations(own, locations, labels, areas, seed=settings.seed)


def location_labels(study: Study, locations: pd.DataFrame) -> pd.DataFrame:
    """Deciles of each location's area: index location_id, a float column for each outcome."""
    return labels_of(study.settings, read_table(study.outcomes), locations)


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
    outcomes, about = read_table(study.outcomes), read_metadata(study.outcomes)
    counts = {}
    for name, each in about.items():
        equal = each["deciles"] == "study" and each["within"] == "study" and not each["weighted"]
        known = outcomes[f"{name}_decile"].dropna().astype("int64")
        count = np.bincount(known, minlength=each["classes"] + 1)[1:]
        if not equal or np.ptp(count) > max(UNEVEN * count.mean(), 2):
            counts[name] = count.tolist()
    return counts


def labelled(
    study: Study, store: FeatureStore | JointStore
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Give the locations that have features and a decile, their deciles, and the others."""
    locations = read_table(study.locations).sort_values("location_id", ignore_index=True)
    here = store.rows(locations["location_id"].to_numpy(str)) >= 0
    locations = locations[here].reset_index(drop=True)
    labels = location_labels(study, locations)
    known = labels.notna().any(axis=1).to_numpy()
    without = locations.loc[~known, ["location_id", "area"]]
    skips = without.assign(reason="its area has no decile of any outcome")
    return locations[known], labels[known], skips


def load_training_data(
    study: Study, store: FeatureStore | JointStore, locations: pd.DataFrame, labels: pd.DataFrame
) -> TrainingData:
    """Join the features of these locations to their labels."""
    exclude = study.settings.folds.shared_images == "exclude"
    ids = locations["location_id"].to_numpy(str)
    return TrainingData(
        store.features,
        store.present,
        labels.to_numpy(np.float64),
        locations["area"].to_numpy(str),
        ids,
        tuple(labels.columns),
        rows=store.rows(ids),
        classes=study.settings.deciles.classes,
        class_counts=study_class_counts(study),
        identity=identity_of(store) if exclude else None,
        parts=store.parts if isinstance(store, JointStore) else (),
    )


def identity_of(store: FeatureStore | JointStore) -> ViewIdentity:
    """Tell which views are the same; of several sources, each among its own."""
    from streetgauge.splits.sharing import ViewIdentity

    if not isinstance(store, JointStore):
        return ViewIdentity.of(store)
    each = [(ViewIdentity.of(own), own.rows(store.location_ids)) for own in store.stores.values()]
    return ViewIdentity.side_by_side(each)


@dataclass(frozen=True)
class TrainingData:
    """Features of R rows, and N labelled locations among them.

    Parameters
    ----------
    features : array of float32, shape [R, V, D]
        May be a memory map.
    present : array of bool, shape [R, V]
        Which views there are, at least one of every location.
    deciles : array, shape [N, M]
        Classes 1..K of the location's area, NaN where missing.
    areas, location_ids : array of str, shape [N]
        Keys of the locations.
    outcomes : sequence of str, length M
        Names of the columns of `deciles`; an outcome's first weights follow from its name.
    rows : array of int, shape [N], optional
        Each location's row in `features`; the same position if not given.
    classes : int
        K.
    class_counts : mapping, optional
        Areas of each class, of outcomes whose classes are not of equal count.
    sample_weight : array, shape [N] or [N, M], optional
        Weights of the locations.
    source : mapping
        Where features and labels come from, as bundles store it: see `Bundle`.
    identity : ViewIdentity, optional
        Which views are the same, of all rows: those of the test part are then not trained on.
    parts : tuple of Part
        Where the views of each source stand, of several sources: see `JointStore`.
    """

    features: NDArray[np.float32]
    present: NDArray[np.bool_]
    deciles: NDArray[Any]
    areas: NDArray[Any]
    location_ids: NDArray[Any]
    outcomes: Sequence[str]
    rows: NDArray[np.int64] | None = None
    classes: int = 10
    class_counts: Mapping[str, Sequence[int]] | None = None
    sample_weight: NDArray[Any] | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    identity: ViewIdentity | None = None
    parts: tuple[Part, ...] = ()

    @property
    def location_rows(self) -> NDArray[np.int64]:
        """Each location's row in `features`: [N]."""
        return np.arange(len(self.location_ids)) if self.rows is None else np.asarray(self.rows)

    def take(
        self, keep: NDArray[np.bool_], splits: Sequence[Split]
    ) -> tuple[TrainingData, list[Split]]:
        """Give the locations where `keep` [N] is true, and the same splits of them."""
        position = np.cumsum(keep) - 1
        data = replace(
            self,
            deciles=self.deciles[keep],
            areas=self.areas[keep],
            location_ids=self.location_ids[keep],
            rows=self.location_rows[keep],
            sample_weight=None if self.sample_weight is None else self.sample_weight[keep],
        )
        return data, [split.map(lambda rows: position[rows[keep[rows]]]) for split in splits]

    def present_in_one_area(self) -> NDArray[np.bool_]:
        """Give which views an area's mean is of: [R, V].

        Those that stand in another area too are in none's, unless an area would be left without
        any, or views that are shared may be trained on.
        """
        present = np.array(self.present)
        if self.identity is None:
            return present
        rows = self.location_rows
        left = present[rows] & ~self.identity.in_several(rows, self.areas, present)
        # Of texts, NumPy would compare each with each.
        own = pd.Index(self.areas).isin(self.areas[left.any(axis=1)])
        present[rows[own]] = left[own]
        return present

    def without_shared(self, split: Split) -> tuple[TrainingData, Split]:
        """Exclude from training and validation the views that also stand in the test part.

        A split that is made to leak, and so does not keep areas whole, stays as it is.

        Returns
        -------
        TrainingData, Split
            Such views are absent, and locations without any other are excluded.

        Raises
        ------
        InputError
            If nothing is left to train on.
        """
        known = np.concatenate([split.training, split.validation])
        if self.identity is None or not split.whole_areas or not len(known):
            return self, split
        rows, tested = self.location_rows[known], self.location_rows[split.test]
        there = self.present[rows]
        left = there & ~self.identity.shared(rows, tested, self.present)
        if np.array_equal(left, there):
            return self, split
        used = left.any(axis=1)
        if not used.any():
            raise InputError(
                split.name,
                "every image of its training part is also in its test part",
                'remove the copies, or set shared_images = "allow" under [folds]',
            )
        present = np.array(self.present)
        present[rows[used]] = left[used]
        excluded = dict(split.excluded)
        if not used.all():
            excluded[SHARED] = np.sort(known[~used])
        training, validation = (
            part[np.isin(part, known[used])] for part in (split.training, split.validation)
        )
        split = replace(split, training=training, validation=validation, excluded=excluded)
        return replace(self, present=present), split

    def by_row(self, splits: Sequence[Split]) -> tuple[TrainingData, list[Split]]:
        """Scatter the locations to the rows of the features, and sort splits by location id.

        Rows that are no location have no area, no id and no label.

        Raises
        ------
        InputError
            If shapes do not fit each other, a location is repeated or without a view, or a
            split has an area in two parts though it keeps them whole.
        """
        ids, area = np.asarray(self.location_ids, object), np.asarray(self.areas, object)
        present = np.asarray(self.present, np.bool_)
        target = np.asarray(self.deciles, np.float32)
        n, row = len(ids), self.location_rows
        shapes = {
            "present": (present.shape, self.features.shape[:2]),
            "deciles": (target.shape, (n, len(self.outcomes))),
            "areas": (area.shape, (n,)),
            "rows": (row.shape, (n,)),
        }
        weight = None if self.sample_weight is None else np.asarray(self.sample_weight, np.float64)
        if weight is not None:
            shapes["sample_weight"] = (weight.shape[:1], (n,))
        for name, (found, expected) in shapes.items():
            if found != expected:
                raise InputError(name, f"shape {found} does not fit the others", f"give {expected}")
        length = len(self.features)
        if n and (row.min() < 0 or row.max() >= length):
            reason = f"a row is not one of the {length:,} of the features"
            raise InputError("rows", reason, f"give 0 to {length - 1:,}")
        order = np.argsort(ids, kind="stable")
        refuse_repeated(pd.Index(ids), "locations", "location")
        blind = np.flatnonzero(~present[row].any(axis=1))
        if len(blind):
            raise InputError(f"location '{ids[blind[0]]}'", "it has no view at all", "exclude it")
        for split in splits:
            _require_whole_areas(split, area)
        rank = np.empty(n, np.int64)
        rank[order] = np.arange(n)
        data = replace(
            self,
            present=present,
            deciles=_scattered(target, row, length, np.nan),
            areas=_scattered(area, row, length, None),
            location_ids=_scattered(ids, row, length, None),
            rows=None,
            sample_weight=None if weight is None else _scattered(weight, row, length, 0.0),
        )
        return data, [split.map(lambda part: row[part[np.argsort(rank[part])]]) for split in splits]


def _require_whole_areas(split: Split, areas: NDArray[Any]) -> None:
    """Refuse a split that has an area in two of its parts, unless it is meant to."""
    if not split.whole_areas:
        return
    parts = [split.training, split.validation, split.test]
    count = pd.Series(np.concatenate([pd.unique(areas[part]) for part in parts])).value_counts()
    if len(count) and count.iloc[0] > 1:
        raise InputError(
            f"area '{count.index[0]}'", f"it is in two parts of {split.name}", "split by area"
        )


def _scattered(
    values: NDArray[Any], rows: NDArray[np.int64], length: int, empty: Any
) -> NDArray[Any]:
    """Put values to their rows of a longer array; the array itself where they fill it in order."""
    if len(values) == length and np.array_equal(rows, np.arange(length)):
        return values
    whole = np.full((length, *values.shape[1:]), empty, values.dtype)
    whole[rows] = values
    return whole


def count_training_areas(splits: Sequence[Split], areas: NDArray[Any]) -> list[int]:
    """Count the areas of each split's training and validation parts."""
    return [len(pd.unique(areas[np.concatenate([s.training, s.validation])])) for s in splits]


def cached_predictions(file: Path, cache_key: str) -> pd.DataFrame | None:
    """Read predictions that were made from the same inputs; None if there are none."""
    try:
        if read_metadata(file).get("cache_key") == cache_key:
            return read_table(file)
    except (OSError, InputError):
        pass
    return None
