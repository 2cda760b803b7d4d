"""Out-of-fold predictions for every location, a bundle per fold, and one on everything."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from torch.utils.tensorboard import SummaryWriter

from streetgauge.devices import choose_device, working_threads
from streetgauge.errors import InputError
from streetgauge.files import digest, write_text
from streetgauge.learn.bundle import Bundle
from streetgauge.learn.model import derive_seed, fit_model
from streetgauge.learn.training import EpochFigures
from streetgauge.progress import Advance, Progress, silent
from streetgauge.settings import TrainSettings

__all__ = ["cross_validate"]

log = logging.getLogger(__name__)
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class _Locations:
    """All arrays by location, in the order given; `order` is that of the sorted location_ids."""

    features: NDArray[np.float32]
    present: NDArray[np.bool_]
    deciles: NDArray[np.float32]
    areas: NDArray[Any]
    ids: NDArray[Any]
    fold: Rows
    order: Rows


@dataclass(frozen=True)
class _Run:
    """What all parts of one cross-validation share."""

    outcomes: tuple[str, ...]
    settings: TrainSettings
    validation: float
    seed: int
    directory: Path
    stamp: str
    source: dict[str, Any]
    classes: int


def cross_validate(
    features: NDArray[np.float32],
    present: ArrayLike,
    deciles: ArrayLike,
    areas: ArrayLike,
    location_ids: ArrayLike,
    fold: ArrayLike,
    *,
    outcomes: Sequence[str],
    settings: TrainSettings,
    validation: float,
    seed: int,
    directory: Path,
    stamp: str,
    source: dict[str, Any] | None = None,
    progress: Progress = silent,
    classes: int = 10,
) -> pd.DataFrame:
    """Train on all folds but one, predict that one, for each fold; then train on everything.

    Each part has its own seed and its own bundle, written at once when it is trained. A part whose
    bundle is there with the same stamp is not trained again; predictions always come from the
    bundle, so that a run that was killed and goes on gives the same bytes as one that was not.

    Parameters
    ----------
    features : array of float32, shape [N, V, D]
        May be a memory map; rows in any order.
    present : array of bool, shape [N, V]
        Which views are there, at least one of every location.
    deciles : array, shape [N, M]
        Classes 1..K of the location's area, NaN where missing.
    areas, location_ids : array of str, shape [N]
        Keys of the rows.
    fold : array of int, shape [N]
        Folds 1..k, see `area_folds`.
    outcomes : sequence of str, length M
        Names of the columns of `deciles`.
    settings : TrainSettings
        How to train.
    validation : float
        Share of the training areas that only early stopping and calibration see.
    seed : int
        Same inputs and seed, same predictions, whatever the order of the rows.
    directory : Path
        Where ``fold-1``.., ``all``, ``history.jsonl`` and ``logs`` go.
    stamp : str
        Hash of all inputs, as the caller knows them.
    source : dict, optional
        Where features and labels come from: see `Bundle`.
    progress : Progress
        Told epochs.
    classes : int
        K.

    Returns
    -------
    DataFrame
        One row per outcome and location, sorted by them: ``location_id, area, fold (int64),
        outcome, score (float64), decile (int64), actual_decile (Int64), p1.. (float32)``.
        Every row is predicted by the model that has not seen its fold.

    Raises
    ------
    InputError
        If rows do not fit each other, a location is there twice or without a view, an area is in
        two folds, there is but one fold, or an outcome lacks labels.
    """
    run = _Run(tuple(outcomes), settings, validation, seed, directory, stamp, source or {}, classes)
    data = _checked(features, present, deciles, areas, location_ids, fold, run)
    folds = [int(i) for i in np.unique(data.fold)]
    fold_in_order = data.fold[data.order]
    training = {f"fold-{i}": data.order[fold_in_order != i] for i in folds} | {"all": data.order}
    _remove_leavings(directory, list(training))
    on_cpu = choose_device(settings.device).type == "cpu"
    total = settings.epochs * len(training)
    # Parts side by side, one core each: they need not wait for each other as the shares of one
    # product must, and what comes out does not depend on the number of cores. A GPU takes turns.
    with (
        progress("train", total, "epochs") as advance,
        working_threads(None if on_cpu else 1) as pool,
    ):
        bundles = {
            part: pool.submit(_trained, part, rows, data, run, advance)
            for part, rows in training.items()
        }
        tables = [
            _held_out(bundles[f"fold-{i}"].result(), data.order[fold_in_order == i], data, run)
            for i in folds
        ]
        bundles["all"].result()
        predictions = pd.concat(tables)
    _gather_history(directory, list(training))
    return predictions.sort_values(["outcome", "location_id"], ignore_index=True)


def _trained(part: str, rows: Rows, data: _Locations, run: _Run, advance: Advance) -> Bundle:
    """Give the bundle of a part, trained now unless it is there; always as read from disk."""
    target = run.directory / part
    seed = derive_seed(run.seed, part)
    settings = run.settings.model_dump(mode="json")
    stamp = digest([run.stamp, part, seed, settings, run.validation, run.outcomes, run.classes])
    kept = _kept(target, stamp)
    if kept is not None:
        log.info("%s is trained already", part)
        advance(run.settings.epochs)
        return kept
    with _Diary(run.directory / "logs" / part, part, run.outcomes, advance) as diary:
        model, record = fit_model(
            data.features,
            data.present,
            data.deciles,
            data.areas,
            rows,
            run.outcomes,
            run.settings,
            validation=run.validation,
            seed=seed,
            classes=run.classes,
            on_epoch=diary.note,
        )
    advance(run.settings.epochs - diary.epochs)
    bundle = Bundle(model, run.outcomes, part, run.settings, seed, stamp, record, run.source)
    bundle.save(target)
    log.info("%s is trained on %d areas", part, record.training_areas)
    return Bundle.load(target)


def _kept(directory: Path, stamp: str) -> Bundle | None:
    """Load a bundle that is whole and made from the same inputs; None if it must be made anew."""
    try:
        bundle = Bundle.load(directory)
    except InputError:
        return None
    return bundle if bundle.stamp == stamp else None


def _held_out(bundle: Bundle, rows: Rows, data: _Locations, run: _Run) -> pd.DataFrame:
    """Predict the rows that were held out, beside what is known of them."""
    said = bundle.predict(data.features, data.present, rows=rows, device=run.settings.device)
    frame = said.to_frame(data.ids[rows], run.outcomes)
    outcomes = len(run.outcomes)
    actual = pd.Series(data.deciles[rows].T.ravel()).astype("Int64")
    frame.insert(1, "area", np.tile(data.areas[rows], outcomes))
    frame.insert(2, "fold", np.tile(data.fold[rows], outcomes))
    frame.insert(6, "actual_decile", actual)
    return frame.astype({"area": "str"})


class _Diary:
    """Writes every epoch to TensorBoard and to a file, afresh for each training."""

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
        self.writer = SummaryWriter(str(self.directory))
        self.file = (self.directory / "history.jsonl").open("w", encoding="utf-8")
        return self

    def __exit__(self, *exception: object) -> None:
        self.writer.close()
        self.file.close()

    def note(self, figures: EpochFigures) -> None:
        """Write down one epoch."""
        self.epochs = figures.epoch
        columns = {
            "train_loss": figures.train_loss,
            "validation_loss": figures.validation_loss,
            "validation_mae": figures.validation_mae,
        }
        for m, outcome in enumerate(self.outcomes):
            values = {name: float(column[m]) for name, column in columns.items()}
            for name, value in values.items():
                self.writer.add_scalar(f"{outcome}/{name}", value, figures.epoch)
            line = {"part": self.part, "epoch": figures.epoch, "outcome": outcome, **values}
            self.file.write(json.dumps(line | {"learning": bool(figures.learning[m])}) + "\n")
        self.file.flush()
        self.advance(1)


def _gather_history(directory: Path, parts: Sequence[str]) -> None:
    files = [directory / "logs" / part / "history.jsonl" for part in parts]
    texts = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    write_text("".join(texts), directory / "history.jsonl")


def _remove_leavings(directory: Path, parts: Sequence[str]) -> None:
    """Remove what a run that was killed, or one with more folds, has left behind."""
    made = [*directory.glob("fold-*"), *directory.glob("logs/fold-*")]
    half_made = [*directory.glob(".fold-*"), *directory.glob(".all.*")]
    for leaving in [path for path in made if path.name not in parts] + half_made:
        shutil.rmtree(leaving, ignore_errors=True)


def _checked(
    features: NDArray[np.float32],
    present: ArrayLike,
    deciles: ArrayLike,
    areas: ArrayLike,
    location_ids: ArrayLike,
    fold: ArrayLike,
    run: _Run,
) -> _Locations:
    n = len(features)
    ids, area = np.asarray(location_ids, object), np.asarray(areas, object)
    there, folds = np.asarray(present, np.bool_), np.asarray(fold, np.int64)
    target = np.asarray(deciles, np.float32)
    shapes = {
        "present": (there.shape, features.shape[:2]),
        "deciles": (target.shape, (n, len(run.outcomes))),
        "areas": (area.shape, (n,)),
        "location_ids": (ids.shape, (n,)),
        "fold": (folds.shape, (n,)),
    }
    for name, (found, expected) in shapes.items():
        if found != expected:
            raise InputError(name, f"shape {found} does not fit the features: {expected}")
    order = np.argsort(ids, kind="stable")
    twice = ids[order][1:][ids[order][1:] == ids[order][:-1]]
    if len(twice):
        raise InputError(f"location '{twice[0]}'", "it is there twice", "keep one row of it")
    blind = np.flatnonzero(~there.any(axis=1))
    if len(blind):
        raise InputError(f"location '{ids[blind[0]]}'", "it has no view at all", "leave it out")
    known = target[~np.isnan(target)]
    if ((known < 1) | (known > run.classes) | (known % 1 != 0)).any():
        raise InputError("deciles", f"a class is not one of 1 to {run.classes}")
    pairs = pd.DataFrame({"area": area, "fold": folds}).drop_duplicates()
    split = pairs[pairs.duplicated("area")]
    if len(split):
        raise InputError(
            f"area '{split['area'].iloc[0]}'", "it is in two folds", "make the folds by area"
        )
    if pairs["fold"].nunique() < 2:
        raise InputError("folds", "there is but one", "use 2 or more")
    return _Locations(features, there, target, area, ids, folds, order)
