"""A trained model: networks, the features' standardisation, and scores on one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from streetgauge.devices import choose_device
from streetgauge.model import binomial
from streetgauge.model.calibration import apply_temperature
from streetgauge.model.network import Network
from streetgauge.model.reading import PREDICTING, Reader, Rows, Standardisation, enough_memory
from streetgauge.settings import Device

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """What a model predicts of N locations and M outcomes on a scale of K classes.

    Parameters
    ----------
    score : array of float64, shape [N, M]
        Calibrated scores: higher is better off, on one scale for all models of an outcome.
    probabilities : array of float64, shape [N, M, K]
        Of the classes 1..K, as flat as what the model did not know has shown them to be.
    likeliest : array of int64, shape [N, M], optional
        The most probable class, 1..K, before probabilities are flattened; that of `probabilities`
        if not given. Where a model knows little, almost flat probabilities are largest at one of
        the ends, which is a poor guess.
    score_sd : array of float64, shape [N, M], optional
        Standard deviation of the members' calibrated scores; NaN of one member.
    parts : mapping of learner to array of float64, shape [N, M]
        Of a stack: the scores that each of its learners has by itself.

    Examples
    --------
    >>> predictions = Predictions(np.array([[0.4]]), np.array([[[0.2, 0.7, 0.1]]]))
    >>> predictions.decile.tolist()
    [[2]]
    """

    score: Floats
    probabilities: Floats
    likeliest: NDArray[np.int64] | None = None
    score_sd: Floats | None = None
    parts: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def decile(self) -> NDArray[np.int64]:
        """The most probable class, 1..K: [N, M].

        Examples
        --------
        >>> Predictions(np.array([[0.4]]), np.array([[[0.2, 0.7, 0.1]]])).decile.tolist()
        [[2]]
        """
        if self.likeliest is not None:
            return self.likeliest
        best: NDArray[np.int64] = self.probabilities.argmax(axis=2) + 1
        return best

    def to_frame(self, location_ids: ArrayLike, outcomes: Sequence[str]) -> pd.DataFrame:
        """Make a long table: for one outcome after the other, a row for every location in order.

        Columns are ``location_id, outcome, score (float64), decile (int64), p1.. (float32)``, and
        ``score_sd`` (float64), the standard deviation of the members' scores, missing of one.
        Scores have the precision of float32; probabilities, whose sum is exactly 1, and standard
        deviations are multiples of 2^-10 (`in_steps`): millions of rows take little space so.

        Examples
        --------
        >>> predictions = Predictions(np.array([[0.4]]), np.array([[[0.2, 0.7, 0.1]]]))
        >>> frame = predictions.to_frame(["SE1"], ["income"])
        >>> frame[["location_id", "outcome", "decile"]].to_dict("records")
        [{'location_id': 'SE1', 'outcome': 'income', 'decile': 2}]
        """
        ids = np.asarray(location_ids, object)
        # Sums are rounded, not shares: these then have a sum of 1, and none is below 0.
        upto = in_steps(np.cumsum(self.probabilities.swapaxes(0, 1), axis=2))
        flat = np.diff(upto, axis=2, prepend=0).reshape(-1, upto.shape[2]).astype(np.float32)
        columns = {
            "location_id": np.tile(ids, len(outcomes)),
            "outcome": np.repeat(np.asarray(outcomes, object), ids.size),
            "score": self.score.T.ravel().astype(np.float32).astype(np.float64),
            "decile": self.decile.T.ravel(),
            **{f"p{k}": column for k, column in enumerate(flat.T, 1)},
            "score_sd": np.nan if self.score_sd is None else in_steps(self.score_sd).T.ravel(),
        }
        return pd.DataFrame(columns).astype({"location_id": "str", "outcome": "str"})


def in_steps(values: Floats) -> Floats:
    """Round to multiples of 2^-10."""
    return np.rint(values * 2.0**10) * 2.0**-10


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
    temperature : array of float64, shape [M, 2], optional
        Per outcome what turns the head's probabilities and the score into probabilities: see
        `fit_temperature`. Without it they are the head's own.
    """

    network: Network
    standardisation: Standardisation
    calibration: Floats
    classes: int = 10
    temperature: Floats | None = None

    @property
    def dimension(self) -> int:
        """D, the features of a view; of several sources, of the one with most."""
        return int(self.standardisation.mean.shape[-1])

    @enough_memory(PREDICTING)
    def predict(
        self,
        features: NDArray[np.float32],
        present: NDArray[np.bool_],
        rows: Rows | None = None,
        device: Device = "auto",
    ) -> Predictions:
        """Predict locations from features [N, V, D] and flags [N, V], or only the given rows."""
        if rows is None:
            rows = np.arange(len(features))
        if not len(rows):
            outcomes = len(self.calibration)
            nothing = np.empty((0, outcomes))
            return Predictions(nothing, np.empty((0, outcomes, self.classes)), score_sd=nothing)
        each = self._outputs(features, present, rows, device)
        outputs = each.mean(1)
        score = self._calibrated(scores_of(self.network, outputs))
        members = self._calibrated(scores_of(self.network, each.flatten(0, 1)))
        members = members.reshape(*each.shape[:2], -1)
        score_sd = members.std(axis=1, ddof=1) if each.shape[1] > 1 else np.full_like(score, np.nan)
        own = head_probabilities(self.network, score, outputs, self.classes)
        flat = own if self.temperature is None else apply_temperature(own, score, self.temperature)
        return Predictions(score, flat, own.argmax(axis=2) + 1, score_sd)

    @enough_memory(PREDICTING)
    def member_scores(
        self,
        features: NDArray[np.float32],
        present: NDArray[np.bool_],
        rows: Sequence[Rows],
        device: Device = "auto",
    ) -> Floats:
        """Give the calibrated scores that every member predicts for its own rows: [n, M]."""
        found = []
        for e, own in enumerate(rows):
            alone = replace(self, network=self.network.member(e))
            outputs = alone._outputs(features, present, own, device)
            found.append(self._calibrated(scores_of(alone.network, outputs[:, 0])))
        return np.concatenate(found)

    def _outputs(
        self, features: NDArray[np.float32], present: NDArray[np.bool_], rows: Rows, device: Device
    ) -> Tensor:
        """Give what the head needs, in float32, of every member: [n, E, M, outputs]."""
        chosen = choose_device(device)
        if self.network.parts:  # layers of a source that no training location had know nothing
            present = present & self.standardisation.seen(self.network.parts)
        reader = Reader(features, present, self.standardisation, chosen)
        return outputs_of(deepcopy(self.network).to(chosen), reader, rows, each=True)

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
        columns = list(outcomes)
        temperature = None if self.temperature is None else self.temperature[columns]
        picked = self.network.cpu().pick(outcomes)
        return replace(
            self, network=picked, calibration=self.calibration[columns], temperature=temperature
        )


@dataclass(frozen=True)
class TrainingRecord:
    """On what a model was trained; lists have one entry per outcome.

    The validation figures are of the model as calibrated, on the areas that also decided when to
    stop and how to calibrate: they flatter, and are no estimate of how good the model is elsewhere.
    They are None where there was no validation part. ``gain`` is what labels add to a model of
    another city, see `Correction`; None of any other model.
    """

    training_locations: int
    training_areas: int
    validation_locations: int
    validation_areas: int
    best_epoch: list[float]
    validation_loss: list[float | None]
    validation_mae: list[float | None]
    precision: str = "float32"
    gain: list[float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Give the record as a bundle stores it: ``gain`` only where there is one."""
        return {name: x for name, x in asdict(self).items() if name != "gain" or x is not None}

    def pick(self, outcomes: Sequence[int]) -> Self:
        """Give the record of these outcomes only, by position, in this order."""
        return replace(
            self,
            best_epoch=[self.best_epoch[i] for i in outcomes],
            validation_loss=[self.validation_loss[i] for i in outcomes],
            validation_mae=[self.validation_mae[i] for i in outcomes],
            gain=self.gain and [self.gain[i] for i in outcomes],
        )


def head_probabilities(network: Network, score: Floats, outputs: Tensor, classes: int) -> Floats:
    """Give the head's probabilities of the classes [N, M, K], of calibrated scores [N, M]."""
    if network.head.name == "binomial":  # its probabilities follow from the calibrated score
        return binomial.probabilities(score, classes)
    with torch.inference_mode():
        own: Floats = network.head.to("cpu").probabilities(outputs.double()).numpy()
    return own


def outputs_of(network: Network, reader: Reader, rows: Rows, *, each: bool = False) -> Tensor:
    """Compute a network's outputs: no noise, no dropout, running batch-norm values.

    Returns
    -------
    Tensor of float32, shape [len(rows), M, outputs], on the CPU
        What the network's head turns into scores and probabilities; with ``each`` those of
        every member by itself, [len(rows), E, M, outputs].

    Raises
    ------
    InputError
        If they are not finite because a feature is not: names its row.
    """
    network.eval()
    if not len(rows):
        outcomes = len(network.score.bias) // network.ensemble_size
        shape = (network.ensemble_size, outcomes) if each else (outcomes,)
        return torch.empty(0, *shape, network.head.outputs)
    with torch.inference_mode():
        parts = [
            network(batch.views, batch.present, each=each).cpu()
            for batch in reader.parts(rows, reader.block)
        ]
    outputs = torch.cat(parts)
    if not outputs.isfinite().all():
        reader.refuse_non_finite(rows)
    return outputs


def scores_of(network: Network, outputs: Tensor) -> NDArray[np.float32]:
    """Give one number per location and outcome, higher for better off: [n, M]."""
    with torch.inference_mode():
        score: NDArray[np.float32] = network.head.to("cpu").score(outputs).float().numpy()
    return score
