"""Features and deciles -> folds, predictions and bundles."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streetgauge.analysis.coverage_weights import effective_number, training_weights
from streetgauge.errors import InputError
from streetgauge.features.joint import JointStore, area_means, open_features
from streetgauge.features.store import FeatureStore
from streetgauge.io.files import read_metadata, read_table, write_table
from streetgauge.model.training_data import (
    identity_of,
    labelled,
    load_training_data,
    study_splits,
)
from streetgauge.progress import Progress
from streetgauge.settings import FOLD_KINDS, FoldSettings
from streetgauge.skips import AllExcludedError, describe_skips
from streetgauge.splits import (
    Split,
    folds_frame,
    other_folds,
    split_notes,
    splits_frame,
    take_share,
    unassigned,
)
from streetgauge.splits.sharing import ViewIdentity, codes_of, count_shared
from streetgauge.study import Done, Study
from streetgauge.study.paths import OTHER_FOLDS, FoldOutputs, other_outputs, own_outputs
from streetgauge.study.stages import has_curve

if TYPE_CHECKING:
    from streetgauge.model.training_data import TrainingData
    from streetgauge.model.transfer import Start


def train(study: Study, key: str, progress: Progress) -> Done:
    """Features and deciles -> folds.parquet, predictions.parquet and the bundles in model/."""
    from streetgauge.analysis.transfer_curve import TransferCurve, correction_lines, corrections
    from streetgauge.model.transfer import find_start, known_areas

    settings, transfer = study.settings, study.settings.transfer
    store = open_features(study)
    store.verify()
    locations, labels, skips = labelled(study, store)
    if locations.empty:
        raise AllExcludedError(
            study.outcomes,
            "no location that has features lies in an area that has a decile",
            f"see the reasons with `streetgauge info {study.skipped}`",
            skips,
        )
    data = load_training_data(study, store, locations, labels)
    splits = study_splits(study, locations, labels)
    skips = pd.concat([skips, unassigned(splits, data.location_ids, data.areas)], ignore_index=True)
    weights = training_weights(study, data.areas)
    if weights is not None:
        data = replace(data, sample_weight=weights.reindex(data.areas).to_numpy(np.float64))
    source, start = _source(study, store), None
    if transfer is not None:
        assert isinstance(store, FeatureStore)  # the settings see to it
        start = find_start(transfer, settings.train, store, data.outcomes, classes=data.classes)
        source["start"] = start.about
    data = replace(data, source=source)
    shared = _Sharing.of(data, store, locations)
    work = _Work(study, data, start, key, progress, shared)
    remove_folds_of_another_kind(study)
    folds = _cross_validated(work, splits, settings.folds, own_outputs(study))
    weighted = _train_unweighted(work, splits, weights)
    other = _train_other_folds(work, locations, labels)
    present = data.present_in_one_area()
    means, about = area_means(store, read_table(study.locations), present)
    write_table(means, study.area_features, about)
    notes: tuple[str, ...] = ()
    if start is not None:
        tested = folds.loc[folds["fold"] > 0, "area"]
        notes = (*_share_taken(work, splits), *start.notes, *known_areas(start.area_hashes, tested))
        notes += tuple(correction_lines(corrections(read_table(study.predictions))))
    if start is not None and has_curve(study):
        curve = TransferCurve(data, splits, start, settings.train, seed=settings.seed)
        notes += curve.draw(study.model, key, progress)
    else:
        study.transfer_curve.unlink(missing_ok=True)
    return Done(
        (
            f"{len(folds):,} locations in {folds['area'].nunique():,} areas, "
            f"{_tested(folds)} ({settings.folds.scheme})",
            *split_notes(splits, data.areas, data.deciles, data.outcomes),
            *other,
            *weighted,
            *notes,
            *describe_skips(skips),
        ),
        skips,
    )


@dataclass(frozen=True)
class _Work:
    """What the networks of all folds have in common, of either kind."""

    study: Study
    data: TrainingData
    start: Start | None
    key: str
    progress: Progress
    sharing: _Sharing


@dataclass(frozen=True)
class _Sharing:
    """Which views, and which locations' coordinates, are the same."""

    identity: ViewIdentity
    position: NDArray[np.int64]

    @classmethod
    def of(
        cls, data: TrainingData, store: FeatureStore | JointStore, locations: pd.DataFrame
    ) -> Self:
        points = locations[["lat", "lon"]].to_numpy(np.float64)
        position = np.where(np.isnan(points).any(axis=1), -1, codes_of(points))
        return cls(data.identity or identity_of(store), position)

    def count(self, data: TrainingData, splits: list[Split]) -> list[dict[str, int]]:
        """Count what the tested part of each split shares with its training part."""
        rows, present = data.location_rows, data.present
        return [
            count_shared(self.identity, split, rows, present, self.position)
            for split in splits
            if len(split.test)
        ]


def _cross_validated(
    work: _Work, splits: list[Split], folds: FoldSettings, files: FoldOutputs
) -> pd.DataFrame:
    """Train and test in these splits, and write all that comes of it; give the table of folds."""
    from streetgauge.model import cross_validate
    from streetgauge.model.transfer import count_known_areas

    data, settings, start = work.data, work.study.settings, work.start
    training = _training_splits(work, splits)
    predictions = cross_validate(
        data,
        training,
        settings.train if start is None else start.settings,
        seed=settings.seed,
        directory=files.model,
        cache_key=work.key,
        start=start,
        progress=work.progress,
    )
    _predict_by_sources(work, training, files)
    frame = folds_frame(splits, data.location_ids, data.areas)
    views = pd.Series(
        data.present[data.location_rows].sum(axis=1, dtype="int64"), data.location_ids
    )
    frame["n_views"] = frame["location_id"].map(views)
    about: dict[str, Any] = {"folds": folds.model_dump(mode="json", exclude={"file"})}
    if start is not None:
        tested = frame.loc[frame["fold"] > 0, "area"]
        about["known_areas"] = count_known_areas(start.area_hashes, tested)
    about["shared"] = work.sharing.count(data, training)
    used = [data.without_shared(each)[1] for each in training]
    write_table(frame, files.folds)
    write_table(splits_frame(used, data.location_ids, data.areas), files.splits, about)
    write_table(predictions, files.predictions, compact=True)
    return frame


def _train_unweighted(
    work: _Work, splits: list[Split], weights: pd.Series | None
) -> tuple[str, ...]:
    """Train without weights as well, to show what they change; report what they are worth."""
    from streetgauge.model import cross_validate

    study, start = work.study, work.start
    file, tested = study.unweighted, [each for each in splits if len(each.test)]
    if weights is None or not tested:
        if file.is_file():
            shutil.rmtree(file.parent)
        return ()
    assert study.settings.coverage is not None
    predictions = cross_validate(
        replace(work.data, sample_weight=None),
        _training_splits(work, tested),
        study.settings.train if start is None else start.settings,
        seed=study.settings.seed,
        directory=file.parent,
        cache_key=work.key,
        start=start,
        progress=work.progress,
    )
    about: dict[str, Any] = {
        "columns": list(study.settings.coverage.weights),
        "n_areas": len(weights),
        "effective": effective_number(weights),
        "largest": float(weights.max()),
    }
    predictions["weight"] = predictions["area"].map(weights)
    write_table(predictions, file, about, compact=True)
    columns = ", ".join(study.settings.coverage.weights)
    return (
        f"areas weighted by how likely they have images, from {columns}: "
        f"{len(weights):,} count as {about['effective']:,.0f}",
    )


def _predict_by_sources(work: _Work, splits: list[Split], files: FoldOutputs) -> None:
    """Write what each of several sources predicts by itself; no such file stays of one source."""
    from streetgauge.model.sources import predict_by_sources
    from streetgauge.model.training_data import cached_predictions

    if not work.data.parts:
        files.sources.unlink(missing_ok=True)
    elif cached_predictions(files.sources, work.key) is None:
        seed = work.study.settings.seed
        found = predict_by_sources(work.data, splits, seed=seed, progress=work.progress)
        write_table(found, files.sources, {"cache_key": work.key})


def _training_splits(work: _Work, splits: list[Split]) -> list[Split]:
    """Give the splits with the share of the areas that is trained on."""
    data, settings = work.data, work.study.settings
    share = 1.0 if settings.transfer is None else settings.transfer.share
    return [take_share(each, data.areas, data.deciles, share, settings.seed) for each in splits]


def _share_taken(work: _Work, splits: list[Split]) -> tuple[str, ...]:
    """Report how many areas a share of them is, if not all are trained on."""
    from streetgauge.model.training_data import count_training_areas

    transfer = work.study.settings.transfer
    if transfer is None or transfer.share >= 1:
        return ()
    taken = count_training_areas(_training_splits(work, splits), work.data.areas)
    there = count_training_areas(splits, work.data.areas)
    return (
        f"trained on {_range_text(taken)} of {_range_text(there)} areas (share {transfer.share:g})",
    )


def _range_text(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _train_other_folds(
    work: _Work, locations: pd.DataFrame, labels: pd.DataFrame
) -> tuple[str, ...]:
    """Train and test in the other folds, where that can be; report what was done."""
    study, files = work.study, other_outputs(work.study)
    if files is None:
        remove_other_folds(study)
        return ()
    try:
        folds = other_folds(study.settings.folds, locations)
        splits = [] if folds is None else study_splits(study, locations, labels, folds)
    except InputError as error:  # the study's own folds are all the same what they are
        remove_other_folds(study)
        kind = study.settings.folds.other_kind
        return (f"no {kind} folds as well: {error}",)
    if folds is None:
        return ()
    files.areas.unlink(missing_ok=True)  # of these folds or, where they changed, of others
    frame = _cross_validated(work, splits, folds, files)
    blocks = "" if folds.block is None else f" (blocks of {folds.block:,g} m)"
    return (f"also {FOLD_KINDS[folds.kind]}{blocks}: {_tested(frame)}",)


def _source(study: Study, store: FeatureStore | JointStore) -> dict[str, Any]:
    """Describe where features and labels come from, for bundles."""
    if isinstance(store, FeatureStore):
        features = _features_source(store)
    else:
        features = {
            "parts": [part.as_json() for part in store.parts],
            "sources": {name: _features_source(each) for name, each in store.stores.items()},
        }
    return {
        "study": study.settings.name,
        **features,
        "outcomes": read_metadata(study.outcomes),
    }


def _features_source(store: FeatureStore) -> dict[str, Any]:
    """Describe where the features of one source come from."""
    return {
        "backbone": store.backbone,
        "weights_sha256": store.attributes["weights_sha256"],
        "transform": store.attributes["transform"],
        "licence": store.attributes.get("licence", ""),
        "engine": store.attributes.get("engine", ""),
        "precision": store.attributes.get("precision", ""),
        "cosine": store.attributes.get("cosine", ""),
        "views": list(store.views),
    }


def _tested(folds: pd.DataFrame) -> str:
    """Report how many areas are tested in how many parts."""
    sizes = folds[folds["fold"] > 0].groupby("fold")["area"].nunique()
    if sizes.empty:
        return "nothing to test on"
    if len(sizes) == 1:
        return f"{sizes.max():,} areas to test on"
    least, most = f"{sizes.min():,}", f"{sizes.max():,}"
    size = least if least == most else f"{least} to {most}"
    return f"{len(sizes)} folds of {size} areas to test on"


def stored_settings(splits: Path) -> FoldSettings:
    """Read which folds a table of splits was made by."""
    return FoldSettings.model_validate(read_metadata(splits)["folds"])


def remove_folds_of_another_kind(study: Study) -> None:
    """Remove what was trained in other folds that are of another kind than those to come."""
    splits = FoldOutputs(study.directory / OTHER_FOLDS).splits
    if splits.is_file() and stored_settings(splits).kind != study.settings.folds.other_kind:
        remove_other_folds(study)


def remove_other_folds(study: Study) -> None:
    """Remove what was trained in folds that the study no longer has next to its own.

    Only streetgauge's own files: nobody else's that lie in a directory of that name.
    """
    old = FoldOutputs(study.directory / OTHER_FOLDS)
    if not old.splits.is_file() and not (old.model / "logs").is_dir():
        return
    for file in (old.folds, old.splits, old.predictions, old.areas):
        file.unlink(missing_ok=True)
    shutil.rmtree(old.model, ignore_errors=True)
    if not any(old.directory.iterdir()):
        old.directory.rmdir()
