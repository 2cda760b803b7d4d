"""Predictions of every split's test part, and a bundle of each."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from streetgauge.devices import abreast, choose_device, working_threads
from streetgauge.errors import InputError
from streetgauge.io.files import digest, naming_full_disk, write_table, write_text
from streetgauge.model.bundle import DESCRIPTION, Bundle, area_hashes
from streetgauge.model.event_log import NO_TENSORBOARD, EventLog, has_tensorboard
from streetgauge.model.heads import check_labels
from streetgauge.model.learners import (
    StackModel,
    fit_learner,
    learner_calibration_scores,
)
from streetgauge.model.model import Model, in_steps
from streetgauge.model.reading import located
from streetgauge.model.training import Checkpoint, EpochFigures, Execution
from streetgauge.model.training_data import TrainingData
from streetgauge.model.transfer import Start
from streetgauge.progress import Advance, Progress, silent
from streetgauge.seeds import derive_seed
from streetgauge.settings import TrainSettings
from streetgauge.splits.folds import Split

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
CALIBRATION_SCORES = "calibration.parquet"


@dataclass(frozen=True)
class _Run:
    """What all parts of one cross-validation share; the data are by row of the features."""

    data: TrainingData
    settings: TrainSettings
    seed: int
    directory: Path
    cache_key: str
    start: Start | None
    sharing: int

    @property
    def epochs(self) -> int:
        """How many a part has at most."""
        return self.settings.epochs * (1 if self.start else self.settings.ensemble_size)


def cross_validate(
    data: TrainingData,
    splits: Sequence[Split],
    settings: TrainSettings,
    *,
    seed: int,
    directory: Path,
    cache_key: str,
    start: Start | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Train on the training part of every split, and predict its test part.

    Each split has its own seed and its own bundle, written at once when it is trained. A split
    whose bundle is there with the same cache key is not trained again. One that was interrupted
    resumes from its checkpoint. Predictions always come from the bundle, so a run that was killed
    and resumed gives the same bytes as one that was not.

    Parameters
    ----------
    data : TrainingData
        Features and labels.
    splits : sequence of Split
        Positions among the N locations; see `make_splits`.
    settings : TrainSettings
        How to train. The parts share its ``memory``, each the same whatever the number of cores:
        the result does not depend on it.
    seed : int
        Same inputs and seed, same predictions, whatever the order of the rows.
    directory : Path
        Where the bundles, ``history.jsonl`` and ``logs`` go.
    cache_key : str
        Hash of all inputs, as the caller knows them.
    start : Start, optional
        A trained model from which every training starts.
    progress : Progress
        Receives epochs.

    Returns
    -------
    DataFrame
        One row per outcome and tested location, sorted by them: ``location_id, area,
        fold (int64), outcome, score (float64), decile (int64), actual_decile (Int64),
        p1.. (float32), score_sd (float64)``; of a stack then ``score_network, score_kernel,
        score_ridge (float32)``: the scores of each of its learners, as if it had been trained
        alone, in multiples of 2^-10; of a model of another city that labels correct ``gain``, see
        `Correction`. Every row is predicted by the model that has not seen its area (nor its
        location, if the split does not keep areas whole). No row if nothing is tested.

    Raises
    ------
    InputError
        If rows do not fit each other, a location is repeated or without a view, a split has an
        area in two parts though it keeps them whole, an outcome lacks labels, features are no
        finite numbers (named by location), or memory does not suffice.
    """
    on_cpu = choose_device(settings.device).type == "cpu"
    sharing = max(len(splits), 1) if on_cpu else 1
    data, parts = data.by_row(splits)
    check_labels(data.deciles, data.classes, data.outcomes)
    run = _Run(data, settings, seed, directory, cache_key, start, sharing)
    _remove_leftovers(directory, [split.name for split in parts])
    if not has_tensorboard():
        log.info(NO_TENSORBOARD)
    # Parts side by side, a thread each: they need not wait for each other as the shares of one
    # product must, and what comes out does not depend on the number of cores. A GPU takes turns.
    with (
        progress("train", run.epochs * len(parts), "epochs") as advance,
        working_threads(abreast(len(parts)) if on_cpu else 1) as pool,
    ):
        trainings = [pool.submit(_trained, split, run, advance) for split in parts]
        bundles = []
        # By the same threads: one without a training left need not idle until the last is done.
        predicting = []
        for split, training in zip(parts, trainings, strict=True):
            bundles.append(training.result())
            predicting.append(pool.submit(_predicted, bundles[-1], split, run))
        tables = [one.result() for one in predicting]
        pool.submit(_write_calibration_scores, bundles, parts, run).result()
    # Of no row, too: a table without any still has its columns.
    predictions: pd.DataFrame = pd.concat([t for t in tables if len(t)] or [tables[0]])
    _gather_history(directory, [split.name for split in parts])
    shutil.rmtree(directory / CHECKPOINTS, ignore_errors=True)
    return predictions.sort_values(["outcome", "location_id"], ignore_index=True)


def _trained(split: Split, run: _Run, advance: Advance) -> Bundle:
    """Give the bundle of a split, trained now unless it is there; always as read from disk."""
    data, split = run.data.without_shared(split)
    start, target = run.start, run.directory / split.name
    seed = derive_seed(run.seed, split.name)
    settings = run.settings.model_dump(mode="json")
    parts = [digest(data.location_ids[p].tolist()) for p in (split.training, split.validation)]
    outcomes = tuple(data.outcomes)
    cache_key = digest([run.cache_key, split.name, seed, settings, parts, outcomes, data.classes])
    cached = _cached(target, cache_key)
    if cached is not None:
        log.info("%s is trained already", split.name)
        advance(run.epochs)
        return cached
    hashes = None if start is None else start.area_hashes
    model: Model | StackModel
    record = None
    if not len(split.training) and start is not None:
        model = start.model
        advance(run.settings.epochs)
    else:
        checkpoint = run.directory / CHECKPOINTS / f"{split.name}.safetensors"
        logs = run.directory / "logs" / split.name
        with (
            naming_full_disk(logs),
            HistoryLog(logs, split.name, outcomes, advance) as history,
            located(data.location_ids),
        ):
            model, record = fit_learner(
                data,
                split,
                run.settings,
                seed=seed,
                start=None if start is None else start.model,
                execution=Execution(Checkpoint(checkpoint, cache_key), history.note, run.sharing),
            )
        advance(run.epochs - history.epochs)
        trained = area_hashes(data.areas[np.concatenate([split.training, split.validation])])
        hashes = trained | (hashes or frozenset())
        log.info("%s is trained on %d areas", split.name, record.training_areas)
    about = (split.name, run.settings, seed, cache_key, record, dict(data.source))
    Bundle(model, outcomes, *about, area_hashes=hashes).save(target)
    return Bundle.load(target)


def _cached(directory: Path, cache_key: str) -> Bundle | None:
    """Load a bundle that is whole and made from the same inputs; None if it must be made again."""
    try:
        bundle = Bundle.load(directory)
    except InputError:
        return None
    return bundle if bundle.cache_key == cache_key else None


def _predicted(bundle: Bundle, split: Split, run: _Run) -> pd.DataFrame:
    """Predict the test part, and join its labels."""
    data, rows = run.data, split.test
    with located(data.location_ids):
        predictions = bundle.predict(
            data.features, data.present, rows=rows, device=run.settings.device
        )
    frame = predictions.to_frame(data.location_ids[rows], data.outcomes)
    actual = pd.Series(data.deciles[rows].T.ravel()).astype("Int64")
    frame.insert(1, "area", np.tile(data.areas[rows], len(data.outcomes)))
    frame.insert(2, "fold", np.int64(split.fold))
    frame.insert(6, "actual_decile", actual)
    for name, score in predictions.parts.items():
        frame[f"score_{name}"] = in_steps(score).T.ravel().astype(np.float32)
    if bundle.training is not None and bundle.training.gain is not None:
        frame["gain"] = np.repeat(bundle.training.gain, len(rows))
    return frame.astype({"area": "str"})


def _write_calibration_scores(
    bundles: Sequence[Bundle], splits: Sequence[Split], run: _Run
) -> None:
    """Write the scores of the calibration set, where one part only is tested.

    Of several parts each shows how far the others' areas may be wrong. One has only its calibration
    set: ``location_id, area, outcome, score, actual_decile``, of locations with a label.
    """
    path = run.directory / CALIBRATION_SCORES
    path.unlink(missing_ok=True)
    tested = [(b, s) for b, s in zip(bundles, splits, strict=True) if len(s.test)]
    if len(tested) != 1 or tested[0][0].training is None:
        return
    bundle, split = tested[0]
    if run.start is not None and not len(split.validation):
        return
    data, split = run.data.without_shared(split)
    with located(data.location_ids):
        rows, score = learner_calibration_scores(
            bundle.model, data, split, run.settings, seed=derive_seed(run.seed, split.name)
        )
    frame = pd.DataFrame(
        {
            "location_id": np.tile(data.location_ids[rows], len(data.outcomes)),
            "area": np.tile(data.areas[rows], len(data.outcomes)),
            "outcome": np.repeat(np.asarray(data.outcomes, object), len(rows)),
            "score": score.T.ravel(),
            "actual_decile": pd.Series(data.deciles[rows].T.ravel()).astype("Int64"),
        }
    )
    frame = frame[frame["actual_decile"].notna()]
    if len(frame):
        texts = dict.fromkeys(("location_id", "area", "outcome"), "str")
        frame = frame.astype(texts).sort_values(["outcome", "location_id"], ignore_index=True)
        write_table(frame, path)


class HistoryLog:
    """Writes every evaluation step to TensorBoard and to a file, afresh each time."""

    def __init__(
        self, directory: Path, part: str, outcomes: Sequence[str], advance: Advance
    ) -> None:
        self.directory, self.part, self.outcomes = directory, part, outcomes
        self.advance = advance
        self.epochs = 0

    def __enter__(self) -> Self:
        # Half a history of a run that was killed would be mixed with this one.
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.events = EventLog(self.directory)
        self.file = (self.directory / "history.jsonl").open("w", encoding="utf-8")
        return self

    def __exit__(self, *exception: object) -> None:
        self.events.close()
        self.file.close()

    def note(self, member: int, figures: EpochFigures) -> None:
        """Write one evaluation step of one ensemble member."""
        whole = int(figures.epoch == int(figures.epoch))
        self.epochs += whole
        suffix = f"/member-{member}" if member > 1 else ""
        columns = {
            "train_loss": figures.train_loss,
            "validation_loss": figures.validation_loss,
            "validation_mae": figures.validation_mae,
            "validation_tau": figures.validation_tau,
        }
        scalars: dict[str, float] = {}
        for m, outcome in enumerate(self.outcomes):
            values = {name: float(column[m]) for name, column in columns.items()}
            scalars |= {f"{outcome}/{name}{suffix}": value for name, value in values.items()}
            finite = {n: value if math.isfinite(value) else None for n, value in values.items()}
            line = {
                "split": self.part,
                "member": member,
                "step": figures.step,
                "epoch": figures.epoch,
                "outcome": outcome,
                **finite,
                "training": bool(figures.training[m]),
            }
            self.file.write(json.dumps(line, allow_nan=False) + "\n")
        self.events.add(figures.step, scalars)
        self.file.flush()
        self.advance(whole)


def _gather_history(directory: Path, parts: Sequence[str]) -> None:
    files = [directory / "logs" / part / "history.jsonl" for part in parts]
    texts = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    write_text("".join(texts), directory / "history.jsonl")


def _remove_leftovers(directory: Path, parts: Sequence[str]) -> None:
    """Remove what a run that was killed, or one of other splits, has left behind."""
    half_made = [path for path in directory.glob(".*") if path.is_dir()]
    bundles = [path.parent for path in directory.glob(f"*/{DESCRIPTION}")]
    made = [path for path in [*bundles, *directory.glob("logs/*")] if path.name not in parts]
    for leftover in half_made + made:
        shutil.rmtree(leftover, ignore_errors=True)
