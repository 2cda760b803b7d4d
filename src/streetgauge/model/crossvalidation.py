"""Predictions of every split's test part, and a bundle of each."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from streetgauge.devices import abreast, choose_device, working_threads
from streetgauge.errors import InputError
from streetgauge.io.files import digest, write_table, write_text
from streetgauge.model.bundle import DESCRIPTION, Bundle, marks_of
from streetgauge.model.checkpoint import Checkpoint
from streetgauge.model.event_log import NO_TENSORBOARD, EventLog, has_tensorboard
from streetgauge.model.fitting import fit_model, held_aside
from streetgauge.model.heads import check_labels
from streetgauge.model.model import Model
from streetgauge.model.reading import located
from streetgauge.model.training import EpochFigures
from streetgauge.progress import Advance, Progress, silent
from streetgauge.seeds import derive_seed
from streetgauge.settings import TrainSettings
from streetgauge.splits.schemes import Split

__all__ = ["ASIDE", "cross_validate"]

log = logging.getLogger(__name__)
Rows = NDArray[np.int64]

CHECKPOINTS = "checkpoints"
ASIDE = "calibration.parquet"


@dataclass(frozen=True)
class _Locations:
    """All arrays by row of the feature store; rows that are no location of the study are empty."""

    features: NDArray[np.float32]
    present: NDArray[np.bool_]
    deciles: NDArray[np.float32]
    areas: NDArray[Any]
    ids: NDArray[Any]


@dataclass(frozen=True)
class _Run:
    """What all parts of one cross-validation share."""

    outcomes: tuple[str, ...]
    settings: TrainSettings
    seed: int
    directory: Path
    cache_key: str
    source: dict[str, Any]
    classes: int
    start: Model | None
    learned: frozenset[str] | None
    at_once: int

    @property
    def epochs(self) -> int:
        """How many a part has at most."""
        return self.settings.epochs * (1 if self.start else self.settings.ensemble_size)


def cross_validate(
    features: NDArray[np.float32],
    present: ArrayLike,
    deciles: ArrayLike,
    areas: ArrayLike,
    location_ids: ArrayLike,
    splits: Sequence[Split],
    *,
    outcomes: Sequence[str],
    settings: TrainSettings,
    seed: int,
    directory: Path,
    cache_key: str,
    rows: ArrayLike | None = None,
    source: dict[str, Any] | None = None,
    start: Model | None = None,
    start_learned: frozenset[str] | None = None,
    progress: Progress = silent,
    classes: int = 10,
) -> pd.DataFrame:
    """Train on the training part of every split, and predict its test part.

    Each split has its own seed and its own bundle, written at once when it is trained. A split
    whose bundle is there with the same cache key is not trained again, one that was interrupted
    goes on from its checkpoint, and predictions always come from the bundle: a run that was killed
    and goes on gives the same bytes as one that was not.

    Parameters
    ----------
    features : array of float32, shape [R, V, D]
        May be a memory map.
    present : array of bool, shape [R, V]
        Which views are there, at least one of every location.
    deciles : array, shape [N, M]
        Classes 1..K of the location's area, NaN where missing.
    areas, location_ids : array of str, shape [N]
        Keys of the locations.
    splits : sequence of Split
        Positions among the N locations; see `make_splits`.
    outcomes : sequence of str, length M
        Names of the columns of `deciles`.
    settings : TrainSettings
        How to train. The parts share its ``memory``, each the same whatever the number of cores:
        what comes out does not depend on it.
    seed : int
        Same inputs and seed, same predictions, whatever the order of the rows.
    directory : Path
        Where the bundles, ``history.jsonl`` and ``logs`` go.
    cache_key : str
        Hash of all inputs, as the caller knows them.
    rows : array of int, shape [N], optional
        Each location's row in `features`; the same position if not given.
    source : dict, optional
        Where features and labels come from: see `Bundle`.
    start : Model, optional
        A trained model that every training goes on from.
    start_learned : frozenset of str, optional
        Marks of the areas that it learned from: see `marks_of`.
    progress : Progress
        Told epochs.
    classes : int
        K.

    Returns
    -------
    DataFrame
        One row per outcome and tested location, sorted by them: ``location_id, area,
        fold (int64), outcome, score (float64), decile (int64), actual_decile (Int64),
        p1.. (float32), score_sd (float64)``. Every row is predicted by the model that has not seen
        its area (nor its
        location, if the split does not keep areas whole). No row if nothing is tested.

    Raises
    ------
    InputError
        If rows do not fit each other, a location is there twice or without a view, a split has an
        area in two parts though it keeps them whole, an outcome lacks labels, features are no
        finite numbers (named by location), or memory does not suffice.
    """
    on_cpu = choose_device(settings.device).type == "cpu"
    at_once = max(len(splits), 1) if on_cpu else 1
    about = (source or {}, classes, start, start_learned, at_once)
    run = _Run(tuple(outcomes), settings, seed, directory, cache_key, *about)
    data, parts = _checked(features, present, deciles, areas, location_ids, rows, splits, run)
    _remove_leavings(directory, [split.name for split in parts])
    if not has_tensorboard():
        log.info(NO_TENSORBOARD)
    # Parts side by side, a thread each: they need not wait for each other as the shares of one
    # product must, and what comes out does not depend on the number of cores. A GPU takes turns.
    with (
        progress("train", run.epochs * len(parts), "epochs") as advance,
        working_threads(abreast(len(parts)) if on_cpu else 1) as pool,
    ):
        trainings = [pool.submit(_trained, split, data, run, advance) for split in parts]
        bundles = []
        # By the same threads: one without a training left need not idle until the last is done.
        predicting = []
        for split, training in zip(parts, trainings, strict=True):
            bundles.append(training.result())
            predicting.append(pool.submit(_held_out, bundles[-1], split, data, run))
        tables = [one.result() for one in predicting]
        pool.submit(_write_aside, bundles, parts, data, run).result()
    # Of no row, too: a table without any still has its columns.
    predictions: pd.DataFrame = pd.concat([t for t in tables if len(t)] or [tables[0]])
    _gather_history(directory, [split.name for split in parts])
    shutil.rmtree(directory / CHECKPOINTS, ignore_errors=True)
    return predictions.sort_values(["outcome", "location_id"], ignore_index=True)


def _trained(split: Split, data: _Locations, run: _Run, advance: Advance) -> Bundle:
    """Give the bundle of a split, trained now unless it is there; always as read from disk."""
    target = run.directory / split.name
    seed = derive_seed(run.seed, split.name)
    settings = run.settings.model_dump(mode="json")
    parts = [digest(data.ids[part].tolist()) for part in (split.training, split.validation)]
    cache_key = digest(
        [run.cache_key, split.name, seed, settings, parts, run.outcomes, run.classes]
    )
    kept = _kept(target, cache_key)
    if kept is not None:
        log.info("%s is trained already", split.name)
        advance(run.epochs)
        return kept
    if not len(split.training) and run.start is not None:  # the model as it is
        advance(run.settings.epochs)
        untrained = (split.name, run.settings, seed, cache_key, None, run.source)
        Bundle(run.start, run.outcomes, *untrained, area_hashes=run.learned).save(target)
        return Bundle.load(target)
    checkpoint = Checkpoint(run.directory / CHECKPOINTS / f"{split.name}.safetensors", cache_key)
    logs = run.directory / "logs" / split.name
    with _Diary(logs, split.name, run.outcomes, advance) as diary, located(data.ids):
        model, record = fit_model(
            data.features,
            data.present,
            data.deciles,
            data.areas,
            split,
            run.outcomes,
            run.settings,
            seed=seed,
            location_ids=data.ids,
            classes=run.classes,
            start=run.start,
            checkpoint=checkpoint,
            on_epoch=diary.note,
            sharing=run.at_once,
        )
    advance(run.epochs - diary.epochs)
    learned = marks_of(data.areas[np.concatenate([split.training, split.validation])])
    own = (split.name, run.settings, seed, cache_key, record, run.source)
    bundle = Bundle(model, run.outcomes, *own, area_hashes=learned | (run.learned or frozenset()))
    bundle.save(target)
    log.info("%s is trained on %d areas", split.name, record.training_areas)
    return Bundle.load(target)


def _kept(directory: Path, cache_key: str) -> Bundle | None:
    """Load a bundle that is whole and made from the same inputs; None if it must be made anew."""
    try:
        bundle = Bundle.load(directory)
    except InputError:
        return None
    return bundle if bundle.cache_key == cache_key else None


def _held_out(bundle: Bundle, split: Split, data: _Locations, run: _Run) -> pd.DataFrame:
    """Predict the rows that were held out, beside what is known of them."""
    rows = split.test
    with located(data.ids):
        said = bundle.predict(data.features, data.present, rows=rows, device=run.settings.device)
    frame = said.to_frame(data.ids[rows], run.outcomes)
    actual = pd.Series(data.deciles[rows].T.ravel()).astype("Int64")
    frame.insert(1, "area", np.tile(data.areas[rows], len(run.outcomes)))
    frame.insert(2, "fold", np.int64(split.fold))
    frame.insert(6, "actual_decile", actual)
    return frame.astype({"area": "str"})


def _write_aside(
    bundles: Sequence[Bundle], splits: Sequence[Split], data: _Locations, run: _Run
) -> None:
    """Keep the scores of what was not learned from, where one part only is tested.

    Of several parts each shows how far the others' areas may be wrong. One has only what it held
    aside: ``location_id, area, outcome, score, actual_decile``, of locations with a label.
    """
    path = run.directory / ASIDE
    path.unlink(missing_ok=True)
    tested = [(b, s) for b, s in zip(bundles, splits, strict=True) if len(s.test)]
    if len(tested) != 1 or tested[0][0].training is None:
        return
    bundle, split = tested[0]
    if run.start is not None and not len(split.validation):
        return
    with located(data.ids):
        rows, score = held_aside(
            bundle.model,
            data.features,
            data.present,
            data.deciles,
            data.areas,
            split,
            run.settings,
            seed=derive_seed(run.seed, split.name),
            location_ids=data.ids,
        )
    frame = pd.DataFrame(
        {
            "location_id": np.tile(data.ids[rows], len(run.outcomes)),
            "area": np.tile(data.areas[rows], len(run.outcomes)),
            "outcome": np.repeat(np.asarray(run.outcomes, object), len(rows)),
            "score": score.T.ravel(),
            "actual_decile": pd.Series(data.deciles[rows].T.ravel()).astype("Int64"),
        }
    )
    frame = frame[frame["actual_decile"].notna()]
    if len(frame):
        texts = dict.fromkeys(("location_id", "area", "outcome"), "str")
        frame = frame.astype(texts).sort_values(["outcome", "location_id"], ignore_index=True)
        write_table(frame, path)


class _Diary:
    """Writes every look at the validation part to TensorBoard and to a file, afresh each time."""

    def __init__(
        self, directory: Path, part: str, outcomes: Sequence[str], advance: Advance
    ) -> None:
        self.directory, self.part, self.outcomes = directory, part, outcomes
        self.advance = advance
        self.epochs = 0

    def __enter__(self) -> Self:
        # Half a diary of a run that was killed would be mixed with this one.
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.events = EventLog(self.directory)
        self.file = (self.directory / "history.jsonl").open("w", encoding="utf-8")
        return self

    def __exit__(self, *exception: object) -> None:
        self.events.close()
        self.file.close()

    def note(self, member: int, figures: EpochFigures) -> None:
        """Write down one look of one member."""
        whole = int(figures.epoch == int(figures.epoch))
        self.epochs += whole
        of = f"/member-{member}" if member > 1 else ""
        columns = {
            "train_loss": figures.train_loss,
            "validation_loss": figures.validation_loss,
            "validation_mae": figures.validation_mae,
            "validation_tau": figures.validation_tau,
        }
        scalars: dict[str, float] = {}
        for m, outcome in enumerate(self.outcomes):
            values = {name: float(column[m]) for name, column in columns.items()}
            scalars |= {f"{outcome}/{name}{of}": value for name, value in values.items()}
            known = {n: value if math.isfinite(value) else None for n, value in values.items()}
            line = {
                "split": self.part,
                "member": member,
                "step": figures.look,
                "epoch": figures.epoch,
                "outcome": outcome,
                **known,
                "training": bool(figures.learning[m]),
            }
            self.file.write(json.dumps(line, allow_nan=False) + "\n")
        self.events.add(figures.look, scalars)
        self.file.flush()
        self.advance(whole)


def _gather_history(directory: Path, parts: Sequence[str]) -> None:
    files = [directory / "logs" / part / "history.jsonl" for part in parts]
    texts = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    write_text("".join(texts), directory / "history.jsonl")


def _remove_leavings(directory: Path, parts: Sequence[str]) -> None:
    """Remove what a run that was killed, or one of other splits, has left behind."""
    half_made = [path for path in directory.glob(".*") if path.is_dir()]
    bundles = [path.parent for path in directory.glob(f"*/{DESCRIPTION}")]
    made = [path for path in [*bundles, *directory.glob("logs/*")] if path.name not in parts]
    for leaving in half_made + made:
        shutil.rmtree(leaving, ignore_errors=True)


def _checked(
    features: NDArray[np.float32],
    present: ArrayLike,
    deciles: ArrayLike,
    areas: ArrayLike,
    location_ids: ArrayLike,
    rows: ArrayLike | None,
    splits: Sequence[Split],
    run: _Run,
) -> tuple[_Locations, list[Split]]:
    """Put what is known of locations beside their features, and splits in the order of the ids."""
    ids, area = np.asarray(location_ids, object), np.asarray(areas, object)
    there, target = np.asarray(present, np.bool_), np.asarray(deciles, np.float32)
    n = len(ids)
    place = np.arange(n) if rows is None else np.asarray(rows, np.int64)
    shapes = {
        "present": (there.shape, features.shape[:2]),
        "deciles": (target.shape, (n, len(run.outcomes))),
        "areas": (area.shape, (n,)),
        "rows": (place.shape, (n,)),
    }
    for name, (found, expected) in shapes.items():
        if found != expected:
            raise InputError(name, f"shape {found} does not fit the others: {expected}")
    if n and (place.min() < 0 or place.max() >= len(features)):
        raise InputError("rows", f"a row is not one of the {len(features):,} of the features")
    order = np.argsort(ids, kind="stable")
    twice = ids[order][1:][ids[order][1:] == ids[order][:-1]]
    if len(twice):
        raise InputError(f"location '{twice[0]}'", "it is there twice", "keep one row of it")
    blind = np.flatnonzero(~there[place].any(axis=1))
    if len(blind):
        raise InputError(f"location '{ids[blind[0]]}'", "it has no view at all", "leave it out")
    check_labels(target, run.classes, run.outcomes)
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)

    def by_id(part: Rows) -> Rows:
        sorted_part: Rows = place[part[np.argsort(rank[part])]]
        return sorted_part

    for split in splits:
        _require_whole_areas(split, area)
    parts = [
        replace(
            split,
            training=by_id(split.training),
            validation=by_id(split.validation),
            test=by_id(split.test),
            excluded={reason: by_id(part) for reason, part in split.excluded.items()},
        )
        for split in splits
    ]
    beside = _Locations(
        features,
        there,
        _scattered(target, place, len(features), np.nan),
        _scattered(area, place, len(features), None),
        _scattered(ids, place, len(features), None),
    )
    return beside, parts


def _require_whole_areas(split: Split, areas: NDArray[Any]) -> None:
    """Refuse a split that has an area in two of its parts, unless it is meant to."""
    if not split.whole_areas:
        return
    parts = [split.training, split.validation, split.test]
    held = [pd.unique(areas[part]) for part in parts]
    count = pd.Series(np.concatenate(held)).value_counts()
    if len(count) and count.iloc[0] > 1:
        raise InputError(
            f"area '{count.index[0]}'", f"it is in two parts of {split.name}", "split by area"
        )


def _scattered(values: NDArray[Any], rows: Rows, length: int, empty: Any) -> NDArray[Any]:
    """Put values to their rows of a longer array; the array itself where they fill it in order."""
    if len(values) == length and np.array_equal(rows, np.arange(length)):
        return values
    whole = np.full((length, *values.shape[1:]), empty, values.dtype)
    whole[rows] = values
    return whole
