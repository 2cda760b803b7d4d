"""The training loop: all outcomes in one pass, stopped by the validation part.

Between two evaluation steps all that changes is written to a checkpoint: weights, optimiser, the
best weights so far, both generators and the history. So a training that was killed resumes as if it
had not been, to the bit on the CPU. A file that is not whole, or that another training wrote, is as
good as none.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy.stats import kendalltau
from torch import Tensor

from streetgauge.devices import choose_device, choose_precision, keep_freed_memory
from streetgauge.errors import InputError, summary
from streetgauge.io.files import atomic_path
from streetgauge.model.model import outputs_of, scores_of
from streetgauge.model.network import Mixup, Network
from streetgauge.model.optimiser import Adam, groups_of
from streetgauge.model.reading import (
    TRAINING,
    Batch,
    Reader,
    Standardisation,
    enough_memory,
    forget_pages,
    principal_components,
    subsample,
)
from streetgauge.model.training_data import TrainingData
from streetgauge.settings import TrainSettings

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

# Locations trained on between two evaluations on the validation part. A network overfits the areas
# of a large city before its first epoch ends: it must be possible to stop it before that.
EVAL_EVERY = 16_384
# Locations of the validation part that are evaluated, evenly spread over it.
EVAL_ROWS = 2_048
LAYOUT = 3  # of a checkpoint: one of another layout is as good as none
SECONDS = 20.0  # between two checkpoints: writing one takes about a fifth of a second
FIGURES = ("train_loss", "validation_loss", "validation_mae", "validation_tau")


@dataclass
class Checkpoint:
    """Where, for which training, and how often.

    Parameters
    ----------
    path : Path, optional
        The file; nothing is stored without one.
    cache_key : str
        Hash of all that the training is made from: a checkpoint of another one is not used.
    every : float
        Seconds that pass at least between two checkpoints.
    """

    path: Path | None = None
    cache_key: str = ""
    every: float = SECONDS
    written: float = field(default_factory=time.monotonic)

    def of(self, member: int) -> Checkpoint:
        """Give the checkpoint of one of several trainings that belong together."""
        path = self.path and self.path.with_name(f"{self.path.stem}.{member}{self.path.suffix}")
        return replace(self, path=path, cache_key=f"{self.cache_key}.{member}")

    def save(self, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
        """Write, if it is time; what was there stays until the new file is whole.

        Raises
        ------
        InputError
            If it cannot be written, e.g. because the disk is full.
        """
        if self.path is None or time.monotonic() - self.written < self.every:
            return
        text = json.dumps({"cache_key": self.cache_key, "layout": LAYOUT, **state})
        whole = {name: x.detach().cpu().contiguous().clone() for name, x in tensors.items()}
        try:
            with atomic_path(self.path) as temporary:
                save_file(whole, temporary, metadata={"training": text})
        except (OSError, SafetensorError) as error:
            raise InputError(
                self.path,
                f"the checkpoint cannot be written: {summary(error)}",
                "free some disk space and run again: it goes on from the last checkpoint",
            ) from None
        self.written = time.monotonic()

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Read what was saved of this training; None where there is nothing of it."""
        if self.path is None or not self.path.is_file():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                state = json.loads((file.metadata() or {}).get("training", "{}"))
                if (state.get("cache_key"), state.get("layout")) != (self.cache_key, LAYOUT):
                    return None
                return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118
        except (OSError, SafetensorError, ValueError):
            return None

    def remove(self) -> None:
        """Remove the file: the training has ended."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class EpochFigures:
    """An epoch, or the part of a long one before an evaluation; arrays have an entry an outcome."""

    step: int  # evaluation step: 1..
    epoch: float  # how often the training part has been gone through
    train_loss: Floats
    validation_loss: Floats
    validation_mae: Floats
    validation_tau: Floats  # Kendall's, of scores and classes; NaN where all are equal
    training: NDArray[np.bool_]  # which outcomes have not stopped


@dataclass(frozen=True)
class Execution:
    """How a training is carried out, without a part in its result.

    Parameters
    ----------
    checkpoint : Checkpoint
        Where the training is saved between evaluation steps, and resumed from; nowhere by default.
    on_epoch : callable
        Receives the figures of every evaluation step, also of those before it was resumed.
    sharing : int
        Trainings that run at once and share ``settings.memory``.
    """

    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    on_epoch: Callable[..., Any] = lambda *_: None
    sharing: int = 1

    def of_member(self, member: int) -> Execution:
        """Give one ensemble member a checkpoint of its own, and its number to the callback."""
        on_epoch = partial(self.on_epoch, member)
        return replace(self, checkpoint=self.checkpoint.of(member), on_epoch=on_epoch)


@dataclass(frozen=True)
class TrainedNetwork:
    """The weights of the best epoch.

    ``as_trained`` is the network as it was trained, at the precision and on the inputs of its
    reader: on the components, where there are some. ``network`` gives the same of all features.
    """

    network: Network
    standardisation: Standardisation
    best_epoch: NDArray[np.float64]
    as_trained: Network
    reader: Reader

    @property
    def precision(self) -> str:
        """Of the products in training."""
        return str(self.reader.dtype).removeprefix("torch.")

    def outputs(self, rows: Rows) -> Tensor:
        """Score rows of the training and validation parts as fast as in training."""
        outputs = outputs_of(self.as_trained.to(self.reader.device), self.reader, rows)
        self.as_trained.cpu()
        return outputs


@enough_memory(TRAINING)
def train_network(
    data: TrainingData,
    indices: tuple[Rows, Rows],
    settings: TrainSettings,
    *,
    seed: int,
    network_seeds: Sequence[int],
    scale: Standardisation | None = None,
    start: Network | None = None,
    execution: Execution | None = None,
) -> TrainedNetwork:
    """Train the networks of all outcomes in one pass over the features.

    Parameters
    ----------
    data : TrainingData
        N locations, of which only the named rows are used, with float32 weights [N, M]; none
        weighs more than another if there are none.
    indices : pair of arrays of int64
        Training rows, and validation rows that only decide when to stop: evaluated after every
        epoch, or after every `EVAL_EVERY` locations of a longer one. Without any of these every
        epoch counts as better than the one before: all are gone through, and the last weights used.
    settings : TrainSettings
        How.
    seed : int
        Of the order of samples, of noise and dropout.
    network_seeds : sequence of int, length M
        Of each outcome's first weights.
    scale : Standardisation, optional
        Of the features; measured on the training part if not given.
    start : Network, optional
        A trained network to start from; ``settings.tune`` decides which of its layers move. `scale`
        is then the one that it was trained with.
    execution : Execution, optional
        Checkpoint, callback and sharing of memory.

    Returns
    -------
    TrainedNetwork
        On the CPU, with the weights of least validation loss at any evaluation: each outcome's own,
        but where one trunk is shared, of the least mean over the outcomes.

    Raises
    ------
    InputError
        If features are not finite numbers, memory does not suffice, or training diverges.
    """
    keep_freed_memory()
    training, validation = indices
    execution = execution or Execution()
    device = choose_device(settings.device)
    dtype = choose_precision(settings.precision, device)
    features, present = data.features, data.present
    scale = scale or Standardisation.of_parts(features, present, training, data.parts)
    sharing = execution.sharing
    reader = Reader(features, present, scale, device, dtype, settings.memory, sharing=sharing)
    if reader.windows(training) > 1:
        forget_pages(features)
    basis = None
    if settings.components is not None and start is None:
        basis = principal_components(reader, training, settings.components, seed)
        reader = reader.projected(np.concatenate([training, validation]), basis)
    elif device.type == "cpu":
        reader = reader.held(np.concatenate([training, validation]))
    alone = settings.model_copy(update={"ensemble_size": 1})
    inputs = reader.features.shape[2]
    own = (inputs, network_seeds, alone, data.classes, data.parts)
    network = deepcopy(start) if start else Network(*own)
    loop = _Loop(
        network, reader, data, (training, subsample(validation, EVAL_ROWS)), settings, seed
    )
    loop.run(execution, tuning=start is not None)
    best = loop.stopping
    if not np.isfinite(best.loss).all():
        raise InputError(
            "train.learning_rate",
            f"{settings.learning_rate:g} makes training diverge: the loss is not a number",
            "set a lower one",
        )
    network.load_state_dict(best.weights)
    network.cpu().eval()
    network.dropout.generator = network.source_dropout.generator = None
    whole = network if basis is None else network.fold_projection(basis)
    return TrainedNetwork(whole, scale, best.step / loop.parts, network, reader)


class EpochSampler:
    """The order in which the training part is gone through: every row once an epoch.

    Parameters
    ----------
    reader : Reader
        Of the features.
    training : array of int64
        Rows to train on.
    parts : int
        In how many parts an epoch is gone through, each of which is a sample of the whole.
    order : Generator
        Chance.
    """

    def __init__(self, reader: Reader, training: Rows, parts: int, order: np.random.Generator):
        self.reader, self.training, self.parts, self.order = reader, training, parts, order
        self._shuffled: list[Rows] = []
        self._state_before: dict[str, Any] = {}

    def part(self, step: int, batch: int) -> Iterator[Batch]:
        """Give the batches before one evaluation step; steps are numbered from 1."""
        position = (step - 1) % self.parts
        if position == 0:
            self._shuffle()
        windowed = self.reader.windows(self.training) > 1
        return self.reader.epoch(self._shuffled[position], batch, self.order, windowed=windowed)

    def _shuffle(self) -> None:
        self._state_before = dict(self.order.bit_generator.state)
        self._shuffled = self.reader.shuffled(self.training, self.parts, self.order)

    def state_dict(self) -> dict[str, Any]:
        """Give the generator's state, now and before the epoch was shuffled."""
        return {"order": self.order.bit_generator.state, "before": self._state_before}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Return to a state that `state_dict` gave."""
        self.order.bit_generator.state = state["before"]
        self._shuffle()
        self.order.bit_generator.state = state["order"]


class EarlyStopping:
    """The best weights so far: ``tensor[m]`` is outcome m's slice of every tensor.

    Outcomes that share a trunk stop together, by the mean of their losses.
    """

    def __init__(self, network: Network, patience: int) -> None:
        self.weights = {name: x.detach().clone() for name, x in network.state_dict().items()}
        self.patience, self.shared = patience, network.shared
        outcomes = len(network.score.bias) // network.ensemble_size
        self.loss = np.full(outcomes, np.inf)
        self.step = np.zeros(outcomes, np.int64)
        self.last = 0
        self.drops = 0  # evaluations at which no outcome had become better

    @property
    def active(self) -> bool:
        """Whether any outcome may still become better."""
        return bool((self.last - self.step < self.patience).any())

    def update(self, network: Network, step: int, loss: Floats) -> NDArray[np.bool_]:
        """Store the slices that improved; give which outcomes go on."""
        if self.shared:
            loss = np.full_like(loss, loss.mean())
        # One that has stopped stays stopped, as it would alone.
        better = (loss < self.loss) & (step - self.step <= self.patience)
        self.loss[better] = loss[better]
        self.step[better] = step
        self.last = step
        self.drops += not better.any()
        slices = torch.from_numpy(np.flatnonzero(better))
        for name, tensor in network.state_dict().items():
            if self.shared and len(slices):
                self.weights[name].copy_(tensor)
            elif len(slices):
                self.weights[name][slices] = tensor[slices]
        return step - self.step < self.patience

    def store_last(self, network: Network, step: int, loss: Floats) -> NDArray[np.bool_]:
        """Store the weights as they are now, for want of a validation part."""
        self.weights = {name: x.detach().clone() for name, x in network.state_dict().items()}
        self.loss, self.last = loss, step
        self.step[:] = step
        return np.ones(len(loss), np.bool_)


class _Loop:
    """A network in training, and all that changes with it."""

    def __init__(
        self,
        network: Network,
        reader: Reader,
        data: TrainingData,
        indices: tuple[Rows, Rows],
        settings: TrainSettings,
        seed: int,
    ) -> None:
        self.network, self.reader, self.settings = network.to(reader.device), reader, settings
        self.target, weight = data.deciles, data.sample_weight
        self.weight = np.ones_like(self.target) if weight is None else weight
        self.training, self.validation = indices
        self.optimiser = Adam(groups_of(network, settings), settings)
        self.stopping = EarlyStopping(network, settings.patience)
        self.noise = torch.Generator(reader.device).manual_seed(seed)
        network.dropout.generator = network.source_dropout.generator = self.noise
        self.parts = -(-len(self.training) // EVAL_EVERY)
        order = np.random.default_rng(seed)
        self.sampler = EpochSampler(reader, self.training, self.parts, order)
        self.history: list[EpochFigures] = []

    def run(self, execution: Execution, *, tuning: bool) -> None:
        """Train until no outcome becomes better, or all epochs have passed."""
        self.resume(execution.checkpoint)
        for figures in self.history:
            execution.on_epoch(figures)
        if tuning and not self.history and len(self.validation):
            # No tuning may turn out to be the best.
            loss, _, _ = self.evaluate()
            self.stopping.update(self.network.cpu(), 0, loss)
            self.network.to(self.reader.device)
        for step in range(len(self.history) + 1, self.parts * self.settings.epochs + 1):
            if not self.stopping.active:
                break
            figures = self.step(step)
            self.history.append(figures)
            execution.on_epoch(figures)
            self.save(execution.checkpoint)

    def step(self, step: int) -> EpochFigures:
        """Train up to the next evaluation, and evaluate."""
        train_loss = self._train(step)
        if len(self.validation):
            loss, mae, tau = self.evaluate()
            active = self.stopping.update(self.network.to(self.reader.device), step, loss)
        else:
            loss = mae = tau = np.full_like(train_loss, np.nan)
            active = self.stopping.store_last(self.network, step, train_loss)
        return EpochFigures(step, step / self.parts, train_loss, loss, mae, tau, active)

    def _train(self, step: int) -> Floats:
        """Go through one part of an epoch; give the mean loss of each outcome."""
        network, settings, device = self.network, self.settings, self.reader.device
        steps = self.parts * settings.epochs
        batches = -(-len(self.training) // (self.parts * settings.batch))
        network.train()
        if settings.tune == "head":
            for branch in network.branches():
                branch.views.eval()  # not even running means move
        batch_losses = []
        for i, batch in enumerate(self.sampler.part(step, settings.batch)):
            target, weight = (
                torch.from_numpy(array.take(batch.rows, axis=0)).to(device)
                for array in (self.target, self.weight)
            )
            views = batch.views
            if settings.noise:
                views += settings.noise * torch.empty_like(views).normal_(generator=self.noise)
            mixup = Mixup.draw(len(views), self.noise) if settings.mixup else None
            outputs = network(views, batch.present, mixup=mixup)
            if mixup is not None:
                outputs, target, weight = mixup.labelled(outputs, target, weight)
            # Outcomes that share no weight are each trained by this sum as if they were alone.
            losses = network.head.loss(outputs, target, weight)
            self.optimiser.zero_grad()
            losses.sum().backward()  # type: ignore[no-untyped-call]
            self.optimiser.step((step - 1 + i / batches) / steps, self.stopping.drops)
            batch_losses.append(losses.detach())
        mean: Floats = torch.stack(batch_losses).mean(0).cpu().numpy()
        if not np.isfinite(mean).all():
            self.reader.refuse_non_finite(self.training)
        return mean

    def evaluate(self) -> tuple[Floats, Floats, Floats]:
        """Loss, mean absolute error (in classes) and Kendall's tau of each outcome."""
        network, rows = self.network, self.validation
        outputs = outputs_of(network, self.reader, rows)
        target, weight = (torch.from_numpy(x[rows]) for x in (self.target, self.weight))
        score = scores_of(network, outputs)
        with torch.inference_mode():
            loss = network.head.loss(outputs, target, weight).numpy()
            likeliest = network.head.probabilities(outputs).argmax(-1) + 1
        mae = (likeliest - target).abs().nanmean(0).numpy()
        tau = [_tau(h, truth) for h, truth in zip(score.T, target.numpy().T, strict=True)]
        return loss, mae, np.array(tau, np.float32)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write everything down, if it is time."""
        tensors = {
            **{f"network.{name}": x for name, x in self.network.state_dict().items()},
            **{f"best.{name}": x for name, x in self.stopping.weights.items()},
            **{f"optimiser.{name}": x for name, x in self.optimiser.state_dict().items()},
            "noise": self.noise.get_state(),
        }
        state = {
            **self.sampler.state_dict(),
            "loss": self.stopping.loss.tolist(),
            "best_step": self.stopping.step.tolist(),
            "drops": self.stopping.drops,
            "history": [_as_lists(figures) for figures in self.history],
        }
        checkpoint.save(tensors, state)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Return to the checkpoint, if there is one."""
        saved = checkpoint.load()
        if saved is None:
            return
        tensors, state = saved
        self.network.load_state_dict(_under("network.", tensors))
        self.stopping.weights = _under("best.", tensors)
        self.stopping.loss = np.array(state["loss"])
        self.stopping.step = np.array(state["best_step"])
        self.stopping.drops = state["drops"]
        self.optimiser.load_state_dict(_under("optimiser.", tensors))
        self.noise.set_state(tensors["noise"])
        self.sampler.load_state_dict(state)
        self.history = [_from_lists(line) for line in state["history"]]
        self.stopping.last = len(self.history)


def balanced_weights(target: Floats, rows: Rows, sample_weight: ArrayLike | None = None) -> Floats:
    """Weights that let every class of an outcome count the same, whatever its frequency.

    Parameters
    ----------
    target : array, shape [N, M]
        Classes, NaN where missing.
    rows : array of int64
        The training part, in which classes are counted.
    sample_weight : array, shape [N], optional
        Weights of the samples, which also count in the frequencies.

    Returns
    -------
    array of float32, shape [N, M]
        Weight 1 on average over the labelled rows of the training part; 0 for missing labels and
        for classes that the training part lacks.
    """
    own = np.ones(len(target)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    weight = np.zeros(target.shape, np.float32)
    for m, column in enumerate(target.T):
        known = ~np.isnan(column)
        code = np.where(known, column, 0).astype(np.int64)
        frequency = np.bincount(code[rows], own[rows] * known[rows], minlength=code.max() + 1)
        share = np.divide(1, frequency, out=np.zeros_like(frequency), where=frequency > 0)
        each = own * known * share[code]
        total = each[rows].sum()
        if total > 0:
            weight[:, m] = each * (known[rows].sum() / total)
    return weight


def _tau(score: Floats, truth: Floats) -> float:
    known = ~np.isnan(truth)
    if not np.isfinite(score[known]).all() or len(np.unique(truth[known])) < 2:
        return math.nan
    return float(kendalltau(score[known], truth[known]).statistic)


def _as_lists(figures: EpochFigures) -> dict[str, Any]:
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(figures).items()}


def _from_lists(line: dict[str, Any]) -> EpochFigures:
    train, validation, mae, tau = (np.array(line[name], np.float32) for name in FIGURES)
    active = np.array(line["training"], np.bool_)
    return EpochFigures(line["step"], line["epoch"], train, validation, mae, tau, active)


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
