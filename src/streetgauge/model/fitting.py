"""How a model is made: balanced, trained, put on the scale of the outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streetgauge.devices import choose_device
from streetgauge.errors import InputError
from streetgauge.model import binomial
from streetgauge.model.calibration import Scored, calibrate, fit_temperature
from streetgauge.model.heads import check_labels
from streetgauge.model.model import (
    Floats,
    Model,
    TrainingRecord,
    head_probabilities,
    outputs_of,
    scores_of,
)
from streetgauge.model.network import Network
from streetgauge.model.reading import (
    TRAINING,
    Reader,
    Rows,
    Standardisation,
    enough_memory,
    subsample,
)
from streetgauge.model.sources import source_weights
from streetgauge.model.training import (
    Execution,
    TrainedNetwork,
    balanced_weights,
    train_network,
)
from streetgauge.model.training_data import TrainingData
from streetgauge.seeds import derive_seed
from streetgauge.settings import TrainSettings
from streetgauge.splits.folds import Split, area_folds

UNTESTED_ROWS = 2048  # locations that show the mean and sd of scores before and after tuning
SMALL = 1e-6
OFFSET_ROWS = 4096  # locations that show the offset of a network's scores
CALIBRATION_ROWS = 20_480  # of the calibration set


@enough_memory(TRAINING)
def fit_model(
    data: TrainingData,
    split: Split,
    settings: TrainSettings,
    *,
    seed: int,
    start: Model | None = None,
    execution: Execution | None = None,
) -> tuple[Model, TrainingRecord]:
    """Train on the training part of a split: balance, train, calibrate on the validation part.

    Parameters
    ----------
    data : TrainingData
        Features and labels of N locations, by row: ``data.rows`` is None.
    split : Split
        Its training and validation parts are used, in the order of the locations' keys; its test
        part is not. Without a validation part one network is trained for
        exactly ``settings.epochs`` epochs, and its scores are shifted but not stretched; an
        ensemble sets its own parts apart.
    settings : TrainSettings
        How.
    seed : int
        Same inputs and seed, same model.
    start : Model, optional
        A model of the same outcomes to start from: ``settings.tune`` decides what moves. Its
        standardisation stays.
    execution : Execution, optional
        Checkpoint, callback and sharing of memory; its ``on_epoch`` receives the ensemble member
        (1..) and the figures of every evaluation step.

    Returns
    -------
    Model, TrainingRecord

    Raises
    ------
    InputError
        If an outcome has no label in the training part, or in a validation part that is there;
        or features are not finite numbers, or memory does not suffice.
    """
    execution = execution or Execution()
    target = np.asarray(data.deciles, np.float32)
    data = replace(data, deciles=target)
    check_labels(target, data.classes, data.outcomes)
    _require_labels(data, split.training, "training")
    if len(split.validation):
        _require_labels(data, split.validation, "validation")
    start = start and start.absorbed()
    size = 1 if start else settings.ensemble_size
    pool = pooled_rows(data, split)
    parts = ensemble_parts(data, split, pool, size, seed)
    sample_weight = data.sample_weight
    if settings.sample_weighting == "areas":
        sample_weight = _weigh_areas_equally(data.areas, pool, sample_weight)
    training = split.training if size == 1 else pool
    training = training[~np.isnan(target[training]).all(axis=1)]
    scale = None if start is None else start.standardisation
    if scale is None:
        scale = Standardisation.of_parts(data.features, data.present, training, data.parts)
        if data.parts:
            scale = scale.weighted(data.parts, source_weights(data, training, seed))
    trained: list[TrainedNetwork] = []
    for member, (rows, stopping) in enumerate(parts, 1):
        purpose = ("member", str(member)) if size > 1 else ()
        trained.append(
            train_network(
                replace(data, sample_weight=balanced_weights(target, rows, sample_weight)),
                (rows[~np.isnan(target[rows]).all(axis=1)], stopping),
                settings,
                seed=derive_seed(seed, "training", *purpose),
                network_seeds=[derive_seed(seed, "network", o, *purpose) for o in data.outcomes],
                scale=scale,
                start=None if start is None else start.network,
                execution=execution.of_member(member),
            )
        )
    data = replace(data, sample_weight=balanced_weights(target, training, sample_weight))
    first = np.tile([0.0, 1.0], (len(data.outcomes), 1))
    if start is not None:  # what labels show of the scale then refers to this one
        reader = Reader(data.features, data.present, scale, choose_device(settings.device))
        tuned = trained[0].network
        first = match_scores(start.network, start.calibration, tuned, reader, untested(split))
        start.network.cpu()
        tuned.cpu()
    model, loss, mae = _Calibration(trained, data, training, parts, first).model(start)
    stopped = np.concatenate([stopping for _, stopping in parts])
    record = TrainingRecord(
        training_locations=len(training),
        training_areas=len(np.unique(data.areas[training])),
        validation_locations=len(stopped),
        validation_areas=len(np.unique(data.areas[stopped])),
        best_epoch=np.max([one.best_epoch for one in trained], axis=0).tolist(),
        validation_loss=loss,
        validation_mae=mae,
        precision=trained[0].precision,
    )
    return model, record


def calibration_scores(
    model: Model, data: TrainingData, split: Split, settings: TrainSettings, *, seed: int
) -> tuple[Rows, Floats]:
    """Score the calibration set of a model: what its networks were not trained on but for the test.

    One network scores its validation part, which chose when it stopped and its calibration. Of an
    ensemble, each member scores the areas that stopped it; its scores are noisier than those of
    the ensemble.

    Parameters
    ----------
    Those of `fit_model`, of which the model came.

    Returns
    -------
    rows : array of int64, shape [n]
    score : array of float64, shape [n, M]
    """
    parts = ensemble_parts(data, split, pooled_rows(data, split), model.network.ensemble_size, seed)
    stopping = [rows for _, rows in parts]
    score = model.member_scores(data.features, data.present, stopping, settings.device)
    return np.concatenate(stopping), score


def pooled_rows(data: TrainingData, split: Split) -> Rows:
    """Give the rows of the training and validation parts, in the order of their keys."""
    pool = np.concatenate([split.training, split.validation])
    return pool[np.argsort(data.location_ids[pool], kind="stable")]


def ensemble_parts(
    data: TrainingData, split: Split, pool: Rows, size: int, seed: int
) -> list[tuple[Rows, Rows]]:
    """Training and validation rows of every ensemble member.

    One network is trained on the training part and stopped by the validation part. An ensemble is
    trained on all areas between its members: each is stopped by a share of its own, on which the
    others are trained.
    """
    if size == 1:
        return [(split.training, split.validation)]
    count = len(np.unique(data.areas[pool]))
    if count < size:
        raise InputError(
            "train.ensemble_size",
            f"{size} members are each stopped by other areas, and there are only {count}",
            f"use ensemble_size = {max(count, 1)} or less, or add areas",
        )
    folds = derive_seed(seed, "members")
    fold = area_folds(data.areas[pool], data.deciles[pool], size, folds)
    return [(pool[fold != e], pool[fold == e]) for e in range(1, size + 1)]


def _weigh_areas_equally(
    areas: NDArray[Any], pool: Rows, sample_weight: NDArray[Any] | None
) -> NDArray[np.float64]:
    """Weigh locations by one over how many their area has.

    Where areas are ranked each counts once, and a label is the area's: its hundredth location adds
    nothing about the label that the ninety-nine have not shown.
    """
    _, area, count = np.unique(areas[pool], return_inverse=True, return_counts=True)
    weight = np.zeros(len(areas))
    weight[pool] = 1 / count[area]
    return weight if sample_weight is None else weight * np.asarray(sample_weight, np.float64)


class _Calibration:
    """Puts the scores of trained networks on the scale of the outcomes.

    Parameters
    ----------
    trained : sequence of TrainedNetwork
        The ensemble.
    data : TrainingData
        With its weights [N, M].
    training : array of int64
        Rows on which any member was trained.
    parts : sequence of (array of int64, array of int64)
        Training and validation rows of every member.
    first : array, shape [M, 2]
        The a and b that are corrected.
    """

    def __init__(
        self,
        trained: Sequence[TrainedNetwork],
        data: TrainingData,
        training: Rows,
        parts: Sequence[tuple[Rows, Rows]],
        first: Floats,
    ) -> None:
        self.trained, self.data, self.training, self.first = trained, data, training, first
        self.stopping = [subsample(rows, CALIBRATION_ROWS // len(parts)) for _, rows in parts]
        self.rows = np.concatenate(self.stopping)  # the calibration set
        self.target, weight = data.deciles, data.sample_weight
        self.weight = np.ones_like(self.target) if weight is None else weight

    def model(self, start: Model | None) -> tuple[Model, list[float | None], list[float | None]]:
        """Make one calibrated model; give its loss and error on the calibration set."""
        networks = [one.network for one in self.trained]
        network = networks[0] if len(networks) == 1 else Network.joined(networks)
        pairs = zip(self.trained, self.stopping, strict=True)
        outputs = torch.cat([one.outputs(rows) for one, rows in pairs])
        h = scores_of(network, outputs).astype(np.float64)
        calibration = self._lines(h)
        score = calibration[:, 0] + calibration[:, 1] * h
        classes = self.data.classes
        own = head_probabilities(network, score, outputs, classes)
        temperature = self._temperature(own, score, None if start is None else start.temperature)
        scale = self.trained[0].standardisation
        model = Model(network, scale, calibration, classes, temperature)
        return model, *figures(score, self.target[self.rows], classes)

    def _lines(self, h: Floats) -> Floats:
        """Give each outcome's a and b, from scores of the training rows and the set's `h`."""
        training_areas = len(np.unique(self.data.areas[self.training]))
        training = subsample(self.training, OFFSET_ROWS)
        outputs = torch.stack([one.outputs(training) for one in self.trained]).mean(0)
        seen = scores_of(self.trained[0].network, outputs).astype(np.float64)
        found = []
        for m, (a, b) in enumerate(self.first):
            target, weight = self.target[:, m], self.weight[:, m]
            labelled = self.rows[~np.isnan(target[self.rows])]
            shift, slope = calibrate(
                Scored(a + b * seen[:, m], target[training], weight[training]),
                Scored(a + b * h[:, m], target[self.rows], weight[self.rows]),
                areas=len(np.unique(self.data.areas[labelled])),
                training_areas=training_areas,
                classes=self.data.classes,
            )
            found.append((shift + slope * a, slope * b))
        return np.array(found, np.float64)

    def _temperature(self, own: Floats, score: Floats, before: Floats | None) -> Floats | None:
        """Give each outcome's temperature, from probabilities of the calibration set."""
        if not len(self.rows):
            return before
        found = []
        for m in range(score.shape[1]):
            target, weight = self.target[self.rows, m], self.weight[self.rows, m]
            known = ~np.isnan(target)
            found.append(
                fit_temperature(
                    own[known, m],
                    score[known, m],
                    target[known],
                    weight[known],
                    areas=len(np.unique(self.data.areas[self.rows][known])),
                    start=None if before is None else before[m],
                )
            )
        return np.array(found, np.float64)


def untested(split: Split) -> Rows:
    """Give locations that a split does not test, labelled or not: all, or evenly some of them."""
    rows = np.sort(np.concatenate([split.training, split.validation, *split.excluded.values()]))
    return subsample(rows, UNTESTED_ROWS)


def match_scores(
    start: Network, calibration: Floats, tuned: Network, reader: Reader, rows: Rows
) -> Floats:
    """Find a and b > 0 that give tuned scores the mean and the spread of those started from.

    A few labelled areas move a network's scores up or down by chance, in every fold another way,
    before they improve their order. Its scores of the city's other locations show by how much, and
    need no label for it.

    Parameters
    ----------
    start, tuned : Network
        Before and after.
    calibration : array, shape [M, 2]
        Of the scores before.
    reader : Reader
        Of features as both networks know them.
    rows : array of int64
        Locations, none of which is tested.

    Returns
    -------
    array of float64, shape [M, 2]
        The calibrated scores before are on the scale of ``a + b * h``, h the scores after.
    """
    before, after = (
        scores_of(network.to(reader.device), outputs_of(network, reader, rows)).astype(np.float64)
        for network in (start, tuned)
    )
    before = calibration[:, 0] + calibration[:, 1] * before
    wide = np.maximum(after.std(axis=0), SMALL)
    b = np.maximum(before.std(axis=0), SMALL) / wide
    return np.column_stack([before.mean(axis=0) - b * after.mean(axis=0), b])


def figures(
    score: Floats, target: NDArray[np.float32], classes: int
) -> tuple[list[float | None], list[float | None]]:
    """Mean negative log-likelihood and mean absolute error of each outcome, not weighted."""
    if not len(target):
        nothing: list[float | None] = [None] * target.shape[1]
        return nothing, nothing
    losses: list[float | None] = []
    errors: list[float | None] = []
    for h, truth in zip(score.T, target.T, strict=True):
        known = ~np.isnan(truth)
        probability = binomial.probabilities(h[known], classes)
        truth = truth[known].astype(np.int64)
        taken = probability[np.arange(len(truth)), truth - 1]
        losses.append(float(-np.log(np.maximum(taken, np.finfo(np.float64).tiny)).mean()))
        errors.append(float(np.abs(probability.argmax(axis=1) + 1 - truth).mean()))
    return losses, errors


def _require_labels(data: TrainingData, rows: Rows, part: str) -> None:
    for m, outcome in enumerate(data.outcomes):
        if np.isnan(data.deciles[rows, m]).all():
            raise InputError(
                f"outcome '{outcome}'",
                f"no area of the {part} part has a label",
                "exclude the outcome, use fewer folds or a larger validation share",
            )
