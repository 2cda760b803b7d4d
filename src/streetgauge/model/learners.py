"""What is trained: a network, Gaussian processes, a ridge, or a stack of them.

``[train] learner`` names it. The network alone is a `Model`. Everything else is a `StackModel`:
one learner or several, put on the scale of deciles and weighted by what they predict of areas that
none of them was trained on. The network's members score the areas that stopped them; Gaussian
processes are fitted again without these areas, which takes seconds.

A score is linear in the expected decile d, with the slope that a binomial has in its middle:
4 (d - (K + 1) / 2) / (K - 1). So an area's score is the mean of its locations' scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streetgauge.features.joint import Part
from streetgauge.model import binomial
from streetgauge.model.calibration import apply_temperature, fit_temperature
from streetgauge.model.correction import Correction, fit_correction
from streetgauge.model.embedding import (
    Bags,
    Embedding,
    JointEmbedding,
    bag_locations,
    embedding_of,
)
from streetgauge.model.fitting import (
    CALIBRATION_ROWS,
    calibration_scores,
    ensemble_parts,
    figures,
    fit_model,
    pooled_rows,
)
from streetgauge.model.gaussian_process import Regression
from streetgauge.model.kernel import (
    KERNELS,
    PREDICTED,
    RIDGE_KERNELS,
    KernelModel,
    fit_kernels,
)
from streetgauge.model.model import Floats, Model, Predictions, TrainingRecord
from streetgauge.model.reading import (
    PREDICTING,
    TRAINING,
    Rows,
    enough_memory,
    subsample,
)
from streetgauge.model.stack import Stack, fit_stack
from streetgauge.model.training import Execution, balanced_weights
from streetgauge.model.training_data import TrainingData
from streetgauge.settings import Device, TrainSettings
from streetgauge.splits.folds import Split

INNER_FOLDS = 5  # of a learner without a network
_KERNELS = {"kernel": KERNELS, "ridge": RIDGE_KERNELS}
# First parts of tensors' names.
STACK_TENSORS = ("stack.", "correction.", *(f"{name}." for name in _KERNELS))


@dataclass(frozen=True)
class StackModel:
    """One learner or several, whose predictions are averaged.

    Parameters
    ----------
    network : Model or None
        Calibrated networks.
    kernels : mapping of name to KernelModel
        ``kernel``, ``ridge`` or both.
    stack : Stack
        Of the network, where there is one, and the others in their order.
    classes : int
        K.
    temperature : array of float64, shape [M, 2], optional
        Per outcome what turns scores into probabilities: see `fit_temperature`.
    corrections : tuple of KernelModel
        What labels of another city than the learners' own add to the expected decile, see
        `Correction`; of a model that went from city to city, one for each.
    """

    network: Model | None
    kernels: Mapping[str, KernelModel]
    stack: Stack
    classes: int = 10
    temperature: Floats | None = None
    corrections: tuple[KernelModel, ...] = ()

    @property
    def dimension(self) -> int:
        """D, the features of a view; of several sources, of the one with most."""
        if not self.kernels:
            assert self.network is not None
            return self.network.dimension
        embedding = next(iter(self.kernels.values())).embedding
        if isinstance(embedding, JointEmbedding):
            return max(part.dimension for part in embedding.parts)
        return len(embedding.scale.mean)

    @enough_memory(PREDICTING)
    def predict(
        self,
        features: NDArray[np.float32],
        present: NDArray[np.bool_],
        rows: Rows | None = None,
        device: Device = "auto",
    ) -> Predictions:
        """Predict locations from features [N, V, D] and flags [N, V], or only the given rows.

        The spread of the scores is that of the learners, and missing of one.
        """
        rows = np.arange(len(features)) if rows is None else rows
        outcomes = self.stack.slope.shape[1]
        if not len(rows):
            nothing = np.empty((0, outcomes))
            return Predictions(nothing, np.empty((0, outcomes, self.classes)), score_sd=nothing)
        parts = (
            []
            if self.network is None
            else [self.network.predict(features, present, rows, device).score]
        )
        parts += [each.expected(features, present, rows) for each in self.kernels.values()]
        added = [each.expected(features, present, rows) for each in self.corrections]
        return self.combined(np.stack(parts), sum(added, np.zeros((len(rows), outcomes))))

    def combined(self, parts: Floats, added: Floats | float = 0.0) -> Predictions:
        """Make predictions of what the learners predict, [S, N, M], and corrections add."""
        score = _score(self.stack.combine(parts) + added, self.classes)
        own = binomial.probabilities(score, self.classes)
        flat = own
        if self.temperature is not None:
            flat = apply_temperature(own, score, self.temperature)
        spread, alone = np.full_like(score, np.nan), {}
        if len(parts) > 1:
            on_scale = self.stack.shift[:, None] + self.stack.slope[:, None] * parts
            spread = on_scale.std(axis=0, ddof=1) * 4 / (self.classes - 1)
            alone = {"network": parts[0]} if self.network is not None else {}
            others = zip(self.kernels, parts[len(alone) :], strict=True)
            alone |= {name: _score(part, self.classes) for name, part in others}
            alone = {} if self.corrections else alone  # they are of the other city
        return Predictions(score, flat, own.argmax(axis=2) + 1, spread, alone)

    def pick(self, outcomes: Sequence[int]) -> Self:
        """Give the model of these outcomes only, by position, in this order."""
        chosen = list(outcomes)
        return replace(
            self,
            network=self.network and self.network.pick(outcomes),
            kernels={name: each.pick(chosen) for name, each in self.kernels.items()},
            stack=self.stack.pick(chosen),
            temperature=None if self.temperature is None else self.temperature[chosen],
            corrections=tuple(each.pick(chosen) for each in self.corrections),
        )

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Give all but the network as named arrays, for a safetensors file."""
        state: dict[str, NDArray[Any]] = {
            "stack.weight": self.stack.weight,
            "stack.shift": self.stack.shift,
            "stack.slope": self.stack.slope,
        }
        if self.temperature is not None:
            state["stack.temperature"] = self.temperature
        corrections = {f"correction.{k}": each for k, each in enumerate(self.corrections)}
        for name, each in {**self.kernels, **corrections}.items():
            state |= {f"{name}.{key}": array for key, array in each.tensors().items()}
        return state

    @classmethod
    def from_tensors(
        cls,
        state: Mapping[str, NDArray[Any]],
        network: Model | None,
        classes: int,
        parts: Sequence[Part] = (),
    ) -> Self:
        """Make the model from what `tensors` gives, and its network.

        Raises
        ------
        KeyError
            If a tensor is missing.
        """
        many = {name.split(".")[1] for name in state if name.startswith("correction.")}
        corrections = [f"correction.{k}" for k in range(len(many))]
        kernels = {}
        for name in (*_KERNELS, *corrections):
            first = f"{name}."
            own = {n.removeprefix(first): x for n, x in state.items() if n.startswith(first)}
            if own:
                kernels[name] = KernelModel.from_tensors(own, parts)
        stack = Stack(state["stack.weight"], state["stack.shift"], state["stack.slope"])
        added = tuple(kernels.pop(name) for name in corrections)
        return cls(network, kernels, stack, classes, state.get("stack.temperature"), added)

    @classmethod
    def of_network(cls, network: Model) -> Self:
        """Make the model of a network alone; its probabilities are those of a binomial."""
        outcomes, classes = len(network.calibration), network.classes
        shift, slope = (np.full((1, outcomes), x) for x in ((classes + 1) / 2, (classes - 1) / 4))
        stack = Stack(np.ones(1), shift, slope)
        return cls(network, {}, stack, classes, network.temperature)


def network_of(model: Model | StackModel) -> Model | None:
    """Give the network of a model; None if it has none."""
    return model if isinstance(model, Model) else model.network


def _score(decile: Floats, classes: int) -> Floats:
    return (decile - (classes + 1) / 2) * (4 / (classes - 1))


def fit_learner(
    data: TrainingData,
    split: Split,
    settings: TrainSettings,
    *,
    seed: int,
    start: Model | StackModel | None = None,
    execution: Execution | None = None,
) -> tuple[Model | StackModel, TrainingRecord]:
    """Train what ``settings.learner`` names on the training and validation parts of a split.

    Parameters
    ----------
    Those of `fit_model`. Of a ``start`` the network is trained further, whatever the learner, or
    nothing is, and labels add a correction to it: ``settings.tune``.

    Returns
    -------
    Model or StackModel, TrainingRecord
        The record's validation figures are those of the whole, where no part of it was trained.

    Raises
    ------
    InputError
        As `fit_model`; or an outcome has a label in fewer than two areas.
    """
    data = replace(data, areas=_in_order(data.areas))
    if start is not None and settings.tune == "correction":
        with enough_memory(TRAINING):
            return _corrected(start, data, split, settings, seed)
    if settings.learner == "network" or start is not None:
        network = None if start is None else network_of(start)
        return fit_model(data, split, settings, seed=seed, start=network, execution=execution)
    data = replace(data, deciles=np.asarray(data.deciles, np.float32))
    network, record = None, None
    if settings.learner == "stack":
        network, record = fit_model(data, split, settings, seed=seed, execution=execution)
    with enough_memory(TRAINING):
        return _Fit(data, split, settings, seed, network).fit(record)


def learner_calibration_scores(
    model: Model | StackModel,
    data: TrainingData,
    split: Split,
    settings: TrainSettings,
    *,
    seed: int,
) -> tuple[Rows, Floats]:
    """Score the calibration set of a model: see `calibration_scores`.

    Parameters
    ----------
    Those of `fit_learner`, of which the model came.

    Returns
    -------
    rows : array of int64, shape [n]
    score : array of float64, shape [n, M]
    """
    data = replace(data, areas=_in_order(data.areas))
    if isinstance(model, StackModel) and model.corrections:
        source = replace(model, corrections=model.corrections[:-1])
        found = _correct(source, data, split, settings, seed)
        return found.rows, _score(found.held_out, model.classes)
    if isinstance(model, Model):
        return calibration_scores(model, data, split, settings, seed=seed)
    fit = _Fit(data, split, settings, seed, model.network)
    rows = fit.inner_rows(len(fit.pool))
    return rows, model.combined(fit.inner_locations(rows)).score


def _in_order(areas: NDArray[Any]) -> Rows:
    """Give areas numbers in the order of their names, slow to compare themselves; -1 for none.

    What is trained does not depend on the names themselves.
    """
    return pd.factorize(areas, sort=True)[0].astype(np.int64)


def _correct(
    source: StackModel, data: TrainingData, split: Split, settings: TrainSettings, seed: int
) -> Correction:
    """Train what labels add to a model of another city."""

    def expected(rows: Rows) -> Floats:
        score = source.predict(data.features, data.present, rows, settings.device).score
        return (source.classes + 1) / 2 + (source.classes - 1) / 4 * score

    kernel = source.kernels.get("ridge") or source.kernels.get("kernel")
    return fit_correction(kernel, expected, data, split, seed=seed)


def _corrected(
    start: Model | StackModel,
    data: TrainingData,
    split: Split,
    settings: TrainSettings,
    seed: int,
) -> tuple[StackModel, TrainingRecord]:
    """Let labels correct a model of another city, of which no layer moves."""
    source = StackModel.of_network(start) if isinstance(start, Model) else start
    found = _correct(source, data, split, settings, seed)
    score, rows = _score(found.held_out, data.classes), found.rows
    temperature = _temperature(data, rows, score, source.temperature)
    corrections = (*source.corrections, found.model)
    model = replace(source, temperature=temperature, corrections=corrections)
    areas = len(np.unique(data.areas[rows]))
    loss, mae = figures(score, data.deciles[rows], data.classes)
    record = TrainingRecord(
        training_locations=len(rows),
        training_areas=areas,
        validation_locations=0,
        validation_areas=0,
        best_epoch=[0.0 for _ in data.outcomes],
        validation_loss=loss,
        validation_mae=mae,
        gain=found.gain.tolist(),
    )
    return model, record


def _temperature(data: TrainingData, rows: Rows, score: Floats, start: Floats | None) -> Floats:
    """Fit each outcome's temperature to locations [n] and scores that were held out [n, M]."""
    found = []
    weights = balanced_weights(data.deciles, rows, data.sample_weight)
    for m, own in enumerate(score.T):
        target, weight = data.deciles[rows, m], weights[rows, m]
        known = ~np.isnan(target)
        probabilities = binomial.probabilities(own[known], data.classes)
        areas = len(np.unique(data.areas[rows][known]))
        before = None if start is None else start[m]
        found.append(
            fit_temperature(
                probabilities,
                own[known],
                target[known],
                weight[known],
                areas=areas,
                start=before,
            )
        )
    return np.array(found)


class _Fit:
    """Gaussian processes and a stack of them and a network, on the parts that stop its members."""

    def __init__(
        self,
        data: TrainingData,
        split: Split,
        settings: TrainSettings,
        seed: int,
        network: Model | None,
    ) -> None:
        self.data, self.split, self.settings, self.seed = data, split, settings, seed
        self.network = network
        self.names = ["kernel", "ridge"] if settings.learner == "stack" else [settings.learner]
        self.pool = pooled_rows(data, split)
        self.pool = self.pool[~np.isnan(data.deciles[self.pool]).all(axis=1)]
        areas = data.areas[self.pool]
        weight = None if data.sample_weight is None else data.sample_weight[self.pool]
        self.bags, self.labels, self.weight = bag_locations(
            data.features,
            data.present,
            data.deciles[self.pool],
            areas,
            rows=self.pool,
            weight=weight,
        )
        self.codes = np.unique(data.areas[self.bags.rows])
        if network is None:
            size = min(INNER_FOLDS, len(self.codes))
        else:
            size = network.network.ensemble_size
        self.inner_parts = ensemble_parts(data, split, pooled_rows(data, split), size, seed)
        self.embedding = embedding_of(self.bags, data.parts, seed)
        if "kernel" not in self.names:
            self.embedding = self.embedding.linear_only()
        self.maps = self.embedding(self.bags)

    def fit(self, record: TrainingRecord | None) -> tuple[StackModel, TrainingRecord]:
        """Fit all but the network, and their stack."""
        data = self.data
        everywhere = np.ones(len(self.codes), np.bool_)
        kernels = {name: self._model(name, self._regress(name, everywhere)) for name in self.names}
        model = StackModel(self.network, kernels, self._stack(), data.classes)
        rows = self.inner_rows(CALIBRATION_ROWS)
        score = model.combined(self.inner_locations(rows)).score if len(rows) else None
        if score is not None:
            model = replace(model, temperature=_temperature(data, rows, score, None))
        outcomes = range(len(data.outcomes))
        if record is None:
            held = np.unique(data.areas[rows])
            count = (len(self.bags.rows), len(self.codes), len(self.inner_rows(len(self.pool))))
            nothing: list[float | None] = [None for _ in outcomes]
            record = TrainingRecord(*count, len(held), [0.0 for _ in outcomes], nothing, nothing)
        if score is not None:
            loss, mae = figures(score, data.deciles[rows], data.classes)
            record = replace(record, validation_loss=loss, validation_mae=mae)
        return model, record

    def inner_rows(self, most: int) -> Rows:
        """Give locations, at most so many, that a part of the learners was not trained on."""
        nothing = np.empty(0, np.int64)
        return subsample(np.concatenate([nothing, *(rows for rows, _ in self._inner)]), most)

    def inner_locations(self, rows: Rows) -> Floats:
        """Predict these locations by learners that were not trained on them: [S, n, M]."""
        found = np.empty((self._count, len(rows), len(self.data.outcomes)))
        if self.network is not None:
            own, score = self._network_scores
            position = np.full(len(self.data.areas), -1)
            position[own] = np.arange(len(own))
            found[0] = score[position[rows]]
        for held, regressions in self._inner:
            mine = np.flatnonzero(np.isin(rows, held))
            for start in range(0, len(mine), PREDICTED):
                part = mine[start : start + PREDICTED]
                each = np.arange(len(part))
                maps = self.embedding(Bags(self.data.features, self.data.present, rows[part], each))
                for s, (name, one) in enumerate(regressions.items(), self._count - len(self.names)):
                    found[s, part] = one.expected(self._maps_of(name, maps))
        return found

    @property
    def _count(self) -> int:
        """S, the number of learners."""
        return len(self.names) + (self.network is not None)

    @cached_property
    def _inner(self) -> list[tuple[Rows, dict[str, Regression]]]:
        """Held-out rows of every inner part, and regressions on the others' areas.

        A part where that cannot be is missing: nothing is held out, or an outcome has no two
        labels among the others.
        """
        found = []
        for training, held in self.inner_parts:
            held = held[np.isin(held, self.bags.rows)]
            others = np.isin(self.codes, self.data.areas[training])
            others &= ~np.isin(self.codes, self.data.areas[held])
            enough = (~np.isnan(self.labels[others])).sum(axis=0).min(initial=len(others)) >= 2
            if len(held) and enough:
                regressions = {n: self._regress(n, others, variance=False) for n in self.names}
                found.append((held, regressions))
        return found

    @cached_property
    def _network_scores(self) -> tuple[Rows, Floats]:
        """What the network's members predict for the rows that stopped them."""
        assert self.network is not None
        return calibration_scores(
            self.network, self.data, self.split, self.settings, seed=self.seed
        )

    def _stack(self) -> Stack:
        """Weigh the learners by the areas that were held out from them."""
        shape = (self._count, *self.labels.shape)
        predicted = np.full(shape, np.nan)
        for held, regressions in self._inner:
            areas = np.searchsorted(self.codes, np.unique(self.data.areas[held]))
            maps = [each[areas] for each in self.maps]
            for s, (name, regression) in enumerate(regressions.items(), shape[0] - len(self.names)):
                predicted[s, areas] = regression.expected(self._maps_of(name, maps))
        if self.network is not None:
            rows, score = self._network_scores
            known = np.isin(rows, self.bags.rows)
            area = np.searchsorted(self.codes, self.data.areas[rows[known]])
            total = np.zeros(shape[1:])
            np.add.at(total, area, score[known])
            count = np.bincount(area, minlength=shape[1])[:, None]
            predicted[0] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        if shape[0] == 1:  # a Gaussian process is on the scale of its labels already
            return Stack(np.ones(1), np.zeros((1, shape[2])), np.ones((1, shape[2])))
        stack = fit_stack(predicted, self.labels, weight=self.weight)
        if (
            self.network is not None and np.isnan(predicted).all()
        ):  # on no area can they be compared
            first = np.arange(self._count)[:, None] == 0
            shift = np.where(first, (self.data.classes + 1) / 2, stack.shift)
            slope = np.where(first, (self.data.classes - 1) / 4, stack.slope)
            stack = replace(stack, shift=shift, slope=slope)
        return stack

    def _regress(self, name: str, areas: NDArray[np.bool_], *, variance: bool = True) -> Regression:
        """Fit Gaussian processes to some of the areas."""
        maps = [each[areas] for each in self._maps_of(name, self.maps)]
        given = (self.labels[areas], self.weight[areas], _KERNELS[name])
        return fit_kernels(self._embedding_of(name), maps, *given, variance=variance)

    def _maps_of(
        self, name: str, maps: Sequence[NDArray[np.float32]]
    ) -> Sequence[NDArray[np.float32]]:
        """Give the maps that a learner uses: the ridge has but the linear ones."""
        used = self._embedding_of(name).maps
        return [each for each, own in zip(maps, self.embedding.maps, strict=True) if own in used]

    def _embedding_of(self, name: str) -> Embedding | JointEmbedding:
        return self.embedding.linear_only() if name == "ridge" else self.embedding

    def _model(self, name: str, regression: Regression) -> KernelModel:
        return KernelModel(self._embedding_of(name), regression)
