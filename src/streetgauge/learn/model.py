"""A trained model: networks, the features' standardisation, and scores on one scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from streetgauge.devices import choose_device
from streetgauge.errors import InputError
from streetgauge.learn import binomial
from streetgauge.learn._anchor import anchor, untested
from streetgauge.learn._seeds import derive_seed
from streetgauge.learn.calibration import Scored, calibrate, sharpen, sharpened
from streetgauge.learn.checkpoint import Checkpoint
from streetgauge.learn.folds import area_folds
from streetgauge.learn.heads import check_labels
from streetgauge.learn.network import Network
from streetgauge.learn.reading import Reader, Standardisation, spread
from streetgauge.learn.scoring import outputs_of, scores_of
from streetgauge.learn.splits import Split
from streetgauge.learn.training import (
    EpochFigures,
    Samples,
    balanced_weights,
    train_network,
)
from streetgauge.settings import Device, TrainSettings

__all__ = ["Model", "Predictions", "TrainingRecord", "fit_model", "held_aside"]

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

ENOUGH = 4096  # locations that show the offset of a network's scores
HELD = 20_480  # locations held out from the networks that show the spread of their scores


@dataclass(frozen=True)
class Predictions:
    """What a model says of N locations and M outcomes on a scale of K classes.

    Parameters
    ----------
    score : array of float64, shape [N, M]
        Calibrated scores: higher is better off, on one scale for all models of an outcome.
    probabilities : array of float64, shape [N, M, K]
        Of the classes 1..K, as flat as what the model did not know has shown them to be.
    likeliest : array of int64, shape [N, M], optional
        The most probable class, 1..K, as the networks' head has it; that of `probabilities` if not
        given. Where a model knows little, almost flat probabilities are largest at one of the ends,
        which is a poor guess.
    spread : array of float64, shape [N, M], optional
        Standard deviation of the members' calibrated scores; NaN of one member.
    """

    score: Floats
    probabilities: Floats
    likeliest: NDArray[np.int64] | None = None
    spread: Floats | None = None

    @property
    def decile(self) -> NDArray[np.int64]:
        """The most probable class, 1..K: [N, M]."""
        if self.likeliest is not None:
            return self.likeliest
        best: NDArray[np.int64] = self.probabilities.argmax(axis=2) + 1
        return best

    def to_frame(self, location_ids: ArrayLike, outcomes: Sequence[str]) -> pd.DataFrame:
        """Make a long table: for one outcome after the other, a row for every location in order.

        Columns are ``location_id, outcome, score (float64), decile (int64), p1.. (float32)``, and
        ``score_sd`` (float64), the standard deviation of the members' scores, missing of one.
        """
        ids = np.asarray(location_ids, object)
        flat = (
            self.probabilities.astype(np.float32)
            .swapaxes(0, 1)
            .reshape(ids.size * len(outcomes), self.probabilities.shape[2])
        )
        columns = {
            "location_id": np.tile(ids, len(outcomes)),
            "outcome": np.repeat(np.asarray(outcomes, object), ids.size),
            "score": self.score.T.ravel(),
            "decile": self.decile.T.ravel(),
            **{f"p{k}": column for k, column in enumerate(flat.T, 1)},
            "score_sd": np.nan if self.spread is None else self.spread.T.ravel(),
        }
        return pd.DataFrame(columns).astype({"location_id": "str", "outcome": "str"})


@dataclass(frozen=True)
class Model:
    """Networks that are trained and calibrated, one per outcome.

    Parameters
    ----------
    network : Network
        On the CPU, in evaluation mode.
    standardisation : Standardisation
        Of the training part's features.
    calibration : array of float64, shape [M, 2]
        Per outcome a and b > 0: score = a + b h.
    classes : int
        K.
    sharpness : array of float64, shape [M, 2], optional
        Per outcome what makes probabilities of the head's and of the score: see `sharpen`. Without
        it they are the head's own.
    """

    network: Network
    standardisation: Standardisation
    calibration: Floats
    classes: int = 10
    sharpness: Floats | None = None

    def predict(
        self,
        features: NDArray[np.float32],
        present: NDArray[np.bool_],
        rows: Rows | None = None,
        device: Device = "auto",
    ) -> Predictions:
        """Predict locations from features [N, V, D] and flags [N, V], or only the given rows."""
        chosen = choose_device(device)
        if rows is None:
            rows = np.arange(len(features))
        if not len(rows):
            outcomes = len(self.calibration)
            nothing = np.empty((0, outcomes))
            return Predictions(nothing, np.empty((0, outcomes, self.classes)), spread=nothing)
        reader = Reader(features, present, self.standardisation, chosen)
        each = outputs_of(self.network.to(chosen), reader, rows, each=True)
        outputs = each.mean(1)
        score = self._calibrated(scores_of(self.network, outputs))
        members = self._calibrated(scores_of(self.network, each.flatten(0, 1)))
        members = members.reshape(*each.shape[:2], -1)
        spread = members.std(axis=1, ddof=1) if each.shape[1] > 1 else np.full_like(score, np.nan)
        own = _probabilities(self.network, score, outputs, self.classes)
        flat = own if self.sharpness is None else sharpened(own, score, self.sharpness)
        return Predictions(score, flat, own.argmax(axis=2) + 1, spread)

    def member_scores(
        self,
        features: NDArray[np.float32],
        present: NDArray[np.bool_],
        rows: Rows,
        device: Device = "auto",
    ) -> Floats:
        """Give every member's calibrated scores of the given rows by themselves: [n, E, M]."""
        chosen = choose_device(device)
        reader = Reader(features, present, self.standardisation, chosen)
        each = outputs_of(self.network.to(chosen), reader, rows, each=True)
        said = self._calibrated(scores_of(self.network, each.flatten(0, 1)))
        return said.reshape(*each.shape[:2], -1)

    def _calibrated(self, h: NDArray[np.float32]) -> Floats:
        return self.calibration[:, 0] + self.calibration[:, 1] * h.astype(np.float64)

    def absorbed(self) -> Self:
        """Give the same model with its calibration inside the network, where the head allows it.

        What is tuned from there starts on the scale of the outcome, and stays near it.
        """
        if self.network.head.name != "binomial":
            return self
        a, b = torch.from_numpy(self.calibration.T).float()
        network = self.network.cpu().calibrated(a, b)
        return replace(self, network=network, calibration=np.tile([0.0, 1.0], (len(a), 1)))

    def pick(self, outcomes: Sequence[int]) -> Self:
        """Give the model of these outcomes only, by position, in this order."""
        places = list(outcomes)
        sharpness = None if self.sharpness is None else self.sharpness[places]
        picked = self.network.cpu().pick(outcomes)
        return replace(
            self, network=picked, calibration=self.calibration[places], sharpness=sharpness
        )


@dataclass(frozen=True)
class TrainingRecord:
    """On what a model was trained; lists have one entry per outcome.

    The validation figures are of the model as calibrated, on the areas that also said when to stop
    and how to calibrate: they flatter, and are no estimate of how good the model is elsewhere. They
    are None where there was no validation part.
    """

    training_locations: int
    training_areas: int
    validation_locations: int
    validation_areas: int
    best_epoch: list[float]
    validation_loss: list[float | None]
    validation_mae: list[float | None]
    precision: str = "float32"

    def pick(self, outcomes: Sequence[int]) -> Self:
        """Give the record of these outcomes only, by position, in this order."""
        return replace(
            self,
            best_epoch=[self.best_epoch[i] for i in outcomes],
            validation_loss=[self.validation_loss[i] for i in outcomes],
            validation_mae=[self.validation_mae[i] for i in outcomes],
        )


def fit_model(
    features: NDArray[np.float32],
    present: NDArray[np.bool_],
    target: ArrayLike,
    areas: NDArray[Any],
    split: Split,
    outcomes: Sequence[str],
    settings: TrainSettings,
    *,
    seed: int,
    location_ids: NDArray[Any] | None = None,
    classes: int = 10,
    sample_weight: ArrayLike | None = None,
    start: Model | None = None,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[int, EpochFigures], Any] = lambda member, figures: None,
) -> tuple[Model, TrainingRecord]:
    """Train on the training part of a split: balance, train, calibrate on the validation part.

    Parameters
    ----------
    features : array of float32, shape [N, V, D]
        May be a memory map.
    present : array of bool, shape [N, V]
        Which views are there; at least one of every row that is used.
    target : array, shape [N, M]
        Classes 1..K, NaN where missing.
    areas : array of str, shape [N]
        Areas, which the split keeps whole.
    split : Split
        Its training and validation parts are looked at, in an order that does not depend on how
        they are stored; its test part is not. Without a validation part one network is trained for
        exactly ``settings.epochs`` epochs, and its scores are shifted but not stretched; several
        set their own parts apart.
    outcomes : sequence of str, length M
        Names; each outcome's first weights follow from its name and the seed alone.
    settings : TrainSettings
        How.
    seed : int
        Same inputs and seed, same model.
    location_ids : array of str, shape [N], optional
        Keys of the rows, whose order counts then, not that of the rows.
    classes : int
        K.
    sample_weight : array, shape [N], optional
        Weights of the locations.
    start : Model, optional
        A model of the same outcomes to go on from: ``settings.tune`` says what moves. Its
        standardisation is kept.
    checkpoint : Checkpoint, optional
        Where the training is kept between epochs.
    on_epoch : callable, optional
        Told the member (1..) and the figures of every epoch.

    Returns
    -------
    Model, TrainingRecord

    Raises
    ------
    InputError
        If an outcome has no label in the training part, or in a validation part that is there.
    """
    target = np.asarray(target, np.float32)
    check_labels(target, classes, outcomes)
    _require_labels(target, split.training, outcomes, "training")
    if len(split.validation):
        _require_labels(target, split.validation, outcomes, "validation")
    start = start and start.absorbed()
    members = 1 if start else settings.members
    pool = np.concatenate([split.training, split.validation])
    pool = pool[np.argsort(pool if location_ids is None else location_ids[pool], kind="stable")]
    parts = _parts(split, pool, areas, target, members, seed)
    learnt = split.training if members == 1 else pool
    learnt = learnt[~np.isnan(target[learnt]).all(axis=1)]
    scale = start.standardisation if start else Standardisation.of(features, present, learnt)
    trained = []
    for member, (training, stopping) in enumerate(parts, 1):
        purpose = ("member", str(member)) if members > 1 else ()
        trained.append(
            train_network(
                Samples(
                    features,
                    present,
                    target,
                    balanced_weights(target, training, sample_weight),
                    classes,
                ),
                training[~np.isnan(target[training]).all(axis=1)],
                stopping,
                settings,
                seed=derive_seed(seed, "training", *purpose),
                network_seeds=[derive_seed(seed, "network", o, *purpose) for o in outcomes],
                scale=scale,
                start=start.network if start else None,
                checkpoint=checkpoint and checkpoint.of(member),
                on_epoch=partial(on_epoch, member),
            )
        )
    weight = balanced_weights(target, learnt, sample_weight)
    samples = Samples(features, present, target, weight, classes)
    stopped = np.concatenate([stopping for _, stopping in parts])
    parts = [(training, spread(stopping, HELD // len(parts))) for training, stopping in parts]
    held = np.concatenate([stopping for _, stopping in parts])
    network = trained[0].network if members == 1 else Network.joined([t.network for t in trained])
    reader = Reader(features, present, scale, choose_device(settings.device))
    outputs = [
        _outputs(one.network, reader, stopping)
        for one, (_, stopping) in zip(trained, parts, strict=True)
    ]
    said = torch.cat(outputs)
    h = scores_of(network, said).astype(np.float64)
    calibration = _calibrated(network, reader, samples, areas, learnt, held, h, start, split)
    score = calibration[:, 0] + calibration[:, 1] * h
    own = _probabilities(network, score, said, classes)
    sharpness = _sharpness(own, score, samples, areas, held, start)
    model = Model(network, scale, calibration, classes, sharpness)
    loss, mae = _figures(score, target[held], classes)
    record = TrainingRecord(
        training_locations=len(learnt),
        training_areas=len(np.unique(areas[learnt])),
        validation_locations=len(stopped),
        validation_areas=len(np.unique(areas[stopped])),
        best_epoch=np.max([one.best_epoch for one in trained], axis=0).tolist(),
        validation_loss=loss,
        validation_mae=mae,
        precision=trained[0].precision,
    )
    return model, record


def held_aside(
    model: Model,
    features: NDArray[np.float32],
    present: NDArray[np.bool_],
    target: NDArray[np.float32],
    areas: NDArray[Any],
    split: Split,
    settings: TrainSettings,
    *,
    seed: int,
    location_ids: NDArray[Any],
) -> tuple[Rows, Floats]:
    """Score what a model of `fit_model` was not told to learn, besides its test part.

    One member scores its validation part, which chose when it stopped and its calibration. Of
    several, each scores the areas that stopped it; its scores are noisier than those of all members
    together.

    Parameters
    ----------
    Those of `fit_model`, of which the model came.

    Returns
    -------
    rows : array of int64, shape [n]
    score : array of float64, shape [n, M]
    """
    pool = np.concatenate([split.training, split.validation])
    pool = pool[np.argsort(location_ids[pool], kind="stable")]
    parts = _parts(split, pool, areas, target, model.network.members, seed)
    rows = np.concatenate([stopping for _, stopping in parts])
    if not len(rows):
        return rows, np.empty((0, len(model.calibration)))
    member = np.repeat(np.arange(len(parts)), [len(stopping) for _, stopping in parts])
    each = model.member_scores(features, present, rows, settings.device)
    return rows, each[np.arange(len(rows)), member]


def _parts(
    split: Split,
    pool: Rows,
    areas: NDArray[Any],
    target: NDArray[np.float32],
    members: int,
    seed: int,
) -> list[tuple[Rows, Rows]]:
    """Training and validation rows of every member.

    One member learns from the training part and is stopped by the validation part. Several learn
    from all areas between them: each is stopped by a share of its own, which the others learn from.
    """
    if members == 1:
        return [(split.training, split.validation)]
    count = len(np.unique(areas[pool]))
    if count < members:
        raise InputError(
            "train.members",
            f"{members} members are each stopped by other areas, and there are but {count}",
            f"take members = {max(count, 1)} or less, or add areas",
        )
    fold = area_folds(areas[pool], target[pool], members, derive_seed(seed, "members"))
    return [(pool[fold != e], pool[fold == e]) for e in range(1, members + 1)]


def _outputs(network: Network, reader: Reader, rows: Rows) -> torch.Tensor:
    """Give what the head needs of rows, which may be none: [len(rows), M, outputs]."""
    if not len(rows):
        outcomes = len(network.score.bias) // network.members
        return torch.empty(0, outcomes, network.head.outputs)
    said = outputs_of(network.to(reader.device), reader, rows)
    network.cpu()
    return said


def _probabilities(network: Network, score: Floats, outputs: torch.Tensor, classes: int) -> Floats:
    """Give the head's probabilities of the classes [N, M, K], of calibrated scores [N, M]."""
    if network.head.name == "binomial":  # its probabilities follow from the calibrated score
        return binomial.probabilities(score, classes)
    with torch.inference_mode():
        own: Floats = network.head.to("cpu").probabilities(outputs.double()).numpy()
    return own


def _sharpness(
    own: Floats,
    score: Floats,
    samples: Samples,
    areas: NDArray[Any],
    held: Rows,
    start: Model | None,
) -> Floats | None:
    """Give each outcome's sharpness, from what was said of the rows held out."""
    before = None if start is None else start.sharpness
    if not len(held):
        return before
    found = []
    for m in range(score.shape[1]):
        target, weight = samples.target[held, m], samples.weight[held, m]
        known = ~np.isnan(target)
        found.append(
            sharpen(
                own[known, m],
                score[known, m],
                target[known],
                weight[known],
                areas=len(np.unique(areas[held][known])),
                start=None if before is None else before[m],
            )
        )
    return np.array(found, np.float64)


def _calibrated(
    network: Network,
    reader: Reader,
    samples: Samples,
    areas: NDArray[Any],
    training: Rows,
    validation: Rows,
    held: Floats,
    start: Model | None,
    split: Split,
) -> Floats:
    """Give each outcome's a and b, from scores of `training`, and from `held` of `validation`."""
    learnt_areas = len(np.unique(areas[training]))
    training = spread(training, ENOUGH)
    seen = scores_of(network, _outputs(network, reader, training)).astype(np.float64)
    first = np.tile([0.0, 1.0], (held.shape[1], 1))
    if start is not None:  # what labels say of the scale is then said of this one
        network.to(reader.device)
        first = anchor(start.network, start.calibration, network, reader, untested(split))
        start.network.cpu()
        network.cpu()
    found = []
    for m, (a, b) in enumerate(first):
        target, weight = samples.target[:, m], samples.weight[:, m]
        labelled = validation[~np.isnan(target[validation])]
        shift, slope = calibrate(
            Scored(a + b * seen[:, m], target[training], weight[training]),
            Scored(a + b * held[:, m], target[validation], weight[validation]),
            areas=len(np.unique(areas[labelled])),
            training_areas=learnt_areas,
            classes=samples.classes,
        )
        found.append((shift + slope * a, slope * b))
    return np.array(found, np.float64)


def _figures(
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


def _require_labels(
    target: NDArray[np.float32], rows: Rows, outcomes: Sequence[str], part: str
) -> None:
    for m, outcome in enumerate(outcomes):
        if np.isnan(target[rows, m]).all():
            raise InputError(
                f"outcome '{outcome}'",
                f"no area of the {part} part has a label",
                "leave the outcome out, use fewer folds or a larger validation share",
            )
