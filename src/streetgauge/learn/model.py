"""A trained model: networks, the features' standardisation, and scores on one scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from streetgauge.devices import choose_device
from streetgauge.errors import InputError
from streetgauge.learn import binomial
from streetgauge.learn.calibration import Scored, calibrate
from streetgauge.learn.folds import validation_part
from streetgauge.learn.network import Network
from streetgauge.learn.scoring import Standardisation, score_locations
from streetgauge.learn.training import (
    EpochFigures,
    Samples,
    TrainedNetwork,
    balanced_weights,
    train_network,
)
from streetgauge.settings import Device, TrainSettings

__all__ = ["Model", "Predictions", "TrainingRecord", "derive_seed", "fit_model"]

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """What a model says of N locations and M outcomes on a scale of K classes.

    Parameters
    ----------
    score : array of float64, shape [N, M]
        Calibrated scores: higher is better off, on one scale for all models of an outcome.
    probabilities : array of float64, shape [N, M, K]
        Of the classes 1..K.
    """

    score: Floats
    probabilities: Floats

    @property
    def decile(self) -> NDArray[np.int64]:
        """The most probable class, 1..K: [N, M]."""
        best: NDArray[np.int64] = self.probabilities.argmax(axis=2) + 1
        return best

    def to_frame(self, location_ids: ArrayLike, outcomes: Sequence[str]) -> pd.DataFrame:
        """Make a long table: for one outcome after the other, a row for every location in order.

        Columns are ``location_id, outcome, score (float64), decile (int64), p1.. (float32)``.
        """
        ids = np.asarray(location_ids, object)
        flat = (
            self.probabilities.astype(np.float32)
            .swapaxes(0, 1)
            .reshape(ids.size * len(outcomes), -1)
        )
        columns = {
            "location_id": np.tile(ids, len(outcomes)),
            "outcome": np.repeat(np.asarray(outcomes, object), ids.size),
            "score": self.score.T.ravel(),
            "decile": self.decile.T.ravel(),
            **{f"p{k}": column for k, column in enumerate(flat.T, 1)},
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
    """

    network: Network
    standardisation: Standardisation
    calibration: Floats
    classes: int = 10

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
        h = score_locations(
            self.network.to(chosen), self.standardisation, features, present, rows, chosen
        )
        score = self.calibration[:, 0] + self.calibration[:, 1] * h.astype(np.float64)
        return Predictions(score, binomial.probabilities(score, self.classes))


@dataclass(frozen=True)
class TrainingRecord:
    """On what a model was trained; lists have one entry per outcome.

    The validation figures are of the model as calibrated, on the areas that also said when to stop
    and how to calibrate: they flatter, and are no estimate of how good the model is elsewhere.
    """

    training_locations: int
    training_areas: int
    validation_locations: int
    validation_areas: int
    best_epoch: list[int]
    validation_loss: list[float]
    validation_mae: list[float]


def fit_model(
    features: NDArray[np.float32],
    present: NDArray[np.bool_],
    target: ArrayLike,
    areas: NDArray[Any],
    rows: Rows,
    outcomes: Sequence[str],
    settings: TrainSettings,
    *,
    validation: float,
    seed: int,
    classes: int = 10,
    sample_weight: ArrayLike | None = None,
    on_epoch: Callable[[EpochFigures], Any] = lambda figures: None,
) -> tuple[Model, TrainingRecord]:
    """Train on some of the locations: part them by area, balance, train, calibrate.

    Parameters
    ----------
    features : array of float32, shape [N, V, D]
        May be a memory map.
    present : array of bool, shape [N, V]
        Which views are there; at least one of every row that is used.
    target : array, shape [N, M]
        Classes 1..K, NaN where missing.
    areas : array of str, shape [N]
        Areas, never split between training and validation.
    rows : array of int64
        The locations to use, in an order that does not depend on how they are stored.
    outcomes : sequence of str, length M
        Names; each outcome's first weights follow from its name and the seed alone.
    settings : TrainSettings
        How.
    validation : float
        Share of the areas that only early stopping and calibration see.
    seed : int
        Same inputs and seed, same model.
    classes : int
        K.
    sample_weight : array, shape [N], optional
        Weights of the locations.
    on_epoch : callable, optional
        Told the figures of every epoch.

    Returns
    -------
    Model, TrainingRecord

    Raises
    ------
    InputError
        If an outcome has no label in the training or in the validation part.
    """
    target = np.asarray(target, np.float32)
    held = validation_part(areas[rows], target[rows], validation, derive_seed(seed, "validation"))
    training, stopping = rows[~held], rows[held]
    _require_labels(target, training, outcomes, "training")
    _require_labels(target, stopping, outcomes, "validation")
    training = training[~np.isnan(target[training]).all(axis=1)]
    weight = balanced_weights(target, training, sample_weight)
    samples = Samples(features, present, target, weight, classes)
    trained = train_network(
        samples,
        training,
        stopping,
        settings,
        seed=derive_seed(seed, "training"),
        network_seeds=[derive_seed(seed, "network", outcome) for outcome in outcomes],
        on_epoch=on_epoch,
    )
    device = choose_device(settings.device)
    calibration = _calibrated(trained, samples, areas, training, stopping, device)
    model = Model(trained.network, trained.standardisation, calibration, classes)
    h = trained.validation_score.astype(np.float64)
    loss, mae = _figures(calibration[:, 0] + calibration[:, 1] * h, target[stopping], classes)
    record = TrainingRecord(
        training_locations=len(training),
        training_areas=len(np.unique(areas[training])),
        validation_locations=len(stopping),
        validation_areas=len(np.unique(areas[stopping])),
        best_epoch=trained.best_epoch.tolist(),
        validation_loss=loss,
        validation_mae=mae,
    )
    return model, record


def derive_seed(seed: int, *purpose: str) -> int:
    """Make a seed of its own for each purpose from the study's one seed."""
    words = [byte for word in purpose for byte in (*word.encode(), 0)]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0] >> 1)


def _calibrated(
    trained: TrainedNetwork,
    samples: Samples,
    areas: NDArray[Any],
    training: Rows,
    validation: Rows,
    device: torch.device,
) -> Floats:
    network, scale = trained.network.to(device), trained.standardisation
    seen = score_locations(network, scale, samples.features, samples.present, training, device)
    network.cpu()
    found = []
    for m, score in enumerate(trained.validation_score.T):
        target, weight = samples.target[:, m], samples.weight[:, m]
        labelled = validation[~np.isnan(target[validation])]
        found.append(
            calibrate(
                Scored(seen[:, m], target[training], weight[training]),
                Scored(score, target[validation], weight[validation]),
                areas=len(np.unique(areas[labelled])),
                classes=samples.classes,
            )
        )
    return np.array(found, np.float64)


def _figures(
    score: Floats, target: NDArray[np.float32], classes: int
) -> tuple[list[float], list[float]]:
    """Mean negative log-likelihood and mean absolute error of each outcome, not weighted."""
    losses, errors = [], []
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
