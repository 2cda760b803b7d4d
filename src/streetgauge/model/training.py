"""The training loop: all outcomes in one pass, stopped by the validation part."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau
from torch import Tensor

from streetgauge.devices import choose_device, choose_precision, keep_freed_memory
from streetgauge.errors import InputError
from streetgauge.model.checkpoint import Checkpoint
from streetgauge.model.compression import composed, principal_components
from streetgauge.model.memory import LEARNING, enough_memory
from streetgauge.model.mixup import Mixup
from streetgauge.model.network import Network
from streetgauge.model.optimiser import Adam, groups_of
from streetgauge.model.reading import Batch, Reader, Standardisation, forget_pages, spread
from streetgauge.model.scoring import outputs_of, scores_of
from streetgauge.settings import TrainSettings

__all__ = ["EpochFigures", "Samples", "TrainedNetwork", "balanced_weights", "train_network"]

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

# Locations learnt from between two looks at the validation part. A network learns the areas of a
# large city by heart before its first epoch ends: it must be possible to stop it before that.
LOOK = 16_384
# Locations of the validation part that are looked at, evenly spread over it.
SHOWN = 2_048
FIGURES = ("train_loss", "validation_loss", "validation_mae", "validation_tau")


@dataclass(frozen=True)
class Samples:
    """What can be learnt from.

    Parameters
    ----------
    features : array of float32, shape [N, V, D]
        May be a memory map: only the rows of a batch are read.
    present : array of bool, shape [N, V]
        Which views are there.
    target : array of float32, shape [N, M]
        Classes 1..K per outcome, NaN where missing.
    weight : array of float32, shape [N, M]
        Weights of the samples.
    classes : int
        K.
    """

    features: Floats
    present: NDArray[np.bool_]
    target: Floats
    weight: Floats
    classes: int = 10


@dataclass(frozen=True)
class EpochFigures:
    """An epoch, or the part of a long one between two looks; arrays have one entry per outcome."""

    look: int  # at the validation part: 1..
    epoch: float  # how often the training part has been gone through
    train_loss: Floats
    validation_loss: Floats
    validation_mae: Floats
    validation_tau: Floats  # Kendall's, of scores and classes; NaN where all are equal
    learning: NDArray[np.bool_]  # which outcomes have not stopped


@dataclass(frozen=True)
class TrainedNetwork:
    """The weights of the best epoch.

    ``learnt`` is the network as it was trained, at the precision and on what its reader gives: on
    the components, where there are some. ``network`` says the same of all features.
    """

    network: Network
    standardisation: Standardisation
    best_epoch: NDArray[np.float64]
    learnt: Network
    reader: Reader

    @property
    def precision(self) -> str:
        """Of the products in training."""
        return str(self.reader.dtype).removeprefix("torch.")

    def outputs(self, rows: Rows) -> Tensor:
        """Score rows of the training and validation parts as fast as they were learnt."""
        said = outputs_of(self.learnt.to(self.reader.device), self.reader, rows)
        self.learnt.cpu()
        return said


@enough_memory(LEARNING)
def train_network(
    samples: Samples,
    training: Rows,
    validation: Rows,
    settings: TrainSettings,
    *,
    seed: int,
    network_seeds: Sequence[int],
    scale: Standardisation | None = None,
    start: Network | None = None,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[EpochFigures], Any] = lambda figures: None,
    sharing: int = 1,
) -> TrainedNetwork:
    """Train the networks of all outcomes in one pass over the features.

    Parameters
    ----------
    samples : Samples
        N locations, of which only the named rows are looked at.
    training, validation : array of int64
        Rows to learn from, and rows that only tell when to stop: looked at after every epoch, or
        after every `LOOK` locations of a longer one. Without any of these every epoch counts as
        better than the one before: all are gone through, and the last weights kept.
    settings : TrainSettings
        How.
    seed : int
        Of the order of samples, of noise and dropout.
    network_seeds : sequence of int, length M
        Of each outcome's first weights.
    scale : Standardisation, optional
        Of the features; measured on the training part if not given.
    start : Network, optional
        A trained network to go on from; ``settings.tune`` says which of its layers move. `scale`
        is then the one that it was trained with.
    checkpoint : Checkpoint, optional
        Where the training is kept between looks, and taken up again.
    on_epoch : callable, optional
        Told the figures of every look, also of those before it was taken up again.
    sharing : int
        Trainings that share ``settings.memory``.

    Returns
    -------
    TrainedNetwork
        On the CPU, with the weights of least validation loss at any look: each outcome's own, but
        where one trunk is shared, of the least mean over the outcomes.

    Raises
    ------
    InputError
        If features are no finite numbers, memory does not suffice, or training diverges.
    """
    keep_freed_memory()
    device = choose_device(settings.device)
    dtype = choose_precision(settings.precision, device)
    features, present, classes = samples.features, samples.present, samples.classes
    scale = scale or Standardisation.of(features, present, training)
    reader = Reader(features, present, scale, device, dtype, settings.memory, sharing=sharing)
    if reader.windows(training) > 1:
        forget_pages(features)
    basis = None
    if settings.components is not None and start is None:
        basis = principal_components(reader, training, settings.components, seed)
        reader = reader.projected(np.concatenate([training, validation]), basis)
    alone = settings.model_copy(update={"ensemble_size": 1})
    inputs = features.shape[2] if basis is None else basis.shape[1]
    network = deepcopy(start) if start else Network.of(alone, inputs, network_seeds, classes)
    network.to(device)
    optimiser = Adam(groups_of(network, settings), settings)
    best = Best(network, settings.patience)
    order = np.random.default_rng(seed)
    noise = torch.Generator(device).manual_seed(seed)
    network.dropout.generator = noise
    validation = spread(validation, SHOWN)
    parts = -(-len(training) // LOOK)
    course = Course(reader, training, parts, order)
    state = _State(network, optimiser, best, course, noise, checkpoint or Checkpoint())
    for figures in state.taken_up():
        on_epoch(figures)
    if start is not None and not state.look and len(validation):
        # No tuning may turn out to be the best.
        outputs = outputs_of(network, reader, validation)
        best.update(network.cpu(), 0, _judge(network, outputs, samples, validation)[0])
        network.to(device)
    looks = parts * settings.epochs
    steps = -(-len(training) // (parts * settings.batch))

    for look in range(state.look + 1, looks + 1):
        if not best.learning:
            break
        network.train()
        if settings.tune == "head":
            network.views.eval()  # not even running means move
        batch_losses = []
        for step, batch in enumerate(course.part(look, settings.batch)):
            target, weight = (
                torch.from_numpy(array.take(batch.rows, axis=0)).to(device)
                for array in (samples.target, samples.weight)
            )
            views = batch.views
            if settings.noise:
                views += settings.noise * torch.empty_like(views).normal_(generator=noise)
            mixup = Mixup.draw(len(views), noise) if settings.mixup else None
            outputs = network(views, batch.present, mixup=mixup)
            if mixup is not None:
                outputs, target, weight = mixup.labelled(outputs, target, weight)
            # Outcomes that share no weight are each trained by this sum as if they were alone.
            losses = network.head.loss(outputs, target, weight)
            optimiser.zero_grad()
            losses.sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step((look - 1 + step / steps) / looks, best.drops)
            batch_losses.append(losses.detach())

        train_loss = torch.stack(batch_losses).mean(0).cpu().numpy()
        if not np.isfinite(train_loss).all():
            reader.refuse_no_numbers(training)
        if len(validation):
            outputs = outputs_of(network, reader, validation)
            loss, mae, tau = _judge(network, outputs, samples, validation)
            learning = best.update(network.to(device), look, loss)
        else:
            loss = mae = tau = np.full_like(train_loss, np.nan)
            learning = best.keep_last(network, look, train_loss)
        figures = EpochFigures(look, look / parts, train_loss, loss, mae, tau, learning)
        on_epoch(figures)
        state.keep(figures)

    if not np.isfinite(best.loss).all():
        raise InputError(
            "train.learning_rate",
            f"{settings.learning_rate:g} lets training diverge: the loss is no number",
            "take a lower one",
        )
    network.load_state_dict(best.weights)
    network.cpu().eval()
    network.dropout.generator = None
    whole = network if basis is None else composed(network, basis)
    return TrainedNetwork(whole, scale, best.look / parts, network, reader)


class Course:
    """The order in which the training part is gone through: every row once an epoch.

    Parameters
    ----------
    reader : Reader
        Of the features.
    training : array of int64
        Rows to learn from.
    parts : int
        In how many parts an epoch is gone through, each of which is a sample of the whole.
    order : Generator
        Chance.
    """

    def __init__(self, reader: Reader, training: Rows, parts: int, order: np.random.Generator):
        self.reader, self.training, self.parts, self.order = reader, training, parts, order
        self._dealt: list[Rows] = []
        self._dealt_from: dict[str, Any] = {}

    def part(self, look: int, batch: int) -> Iterator[Batch]:
        """Give the batches before one look; looks are numbered from 1."""
        place = (look - 1) % self.parts
        if place == 0:
            self._deal()
        held = self.reader.windows(self.training) > 1
        return self.reader.epoch(self._dealt[place], batch, self.order, held=held)

    def _deal(self) -> None:
        self._dealt_from = dict(self.order.bit_generator.state)
        self._dealt = self.reader.dealt(self.training, self.parts, self.order)

    def state(self) -> dict[str, Any]:
        """Say where chance stands, and where it stood when the epoch was dealt."""
        return {"order": self.order.bit_generator.state, "dealt_from": self._dealt_from}

    def restore(self, said: dict[str, Any]) -> None:
        """Go back to where `state` was."""
        self.order.bit_generator.state = said["dealt_from"]
        self._deal()
        self.order.bit_generator.state = said["order"]


class Best:
    """The best weights so far: ``tensor[m]`` is outcome m's slice of every tensor.

    Outcomes that share a trunk stop together, by the mean of their losses.
    """

    def __init__(self, network: Network, patience: int) -> None:
        self.weights = {name: x.detach().clone() for name, x in network.state_dict().items()}
        self.patience, self.shared = patience, network.shared
        outcomes = len(network.score.bias) // network.members
        self.loss = np.full(outcomes, np.inf)
        self.look = np.zeros(outcomes, np.int64)
        self.last = 0
        self.drops = 0  # looks at which no outcome had become better

    @property
    def learning(self) -> bool:
        """Whether any outcome may still become better."""
        return bool((self.last - self.look < self.patience).any())

    def update(self, network: Network, look: int, loss: Floats) -> NDArray[np.bool_]:
        """Keep the slices that improved; say which outcomes still learn."""
        if self.shared:
            loss = np.full_like(loss, loss.mean())
        # One that has stopped stays stopped, as it would alone.
        better = (loss < self.loss) & (look - self.look <= self.patience)
        self.loss[better] = loss[better]
        self.look[better] = look
        self.last = look
        self.drops += not better.any()
        slices = torch.from_numpy(np.flatnonzero(better))
        for name, tensor in network.state_dict().items():
            if self.shared and len(slices):
                self.weights[name].copy_(tensor)
            elif len(slices):
                self.weights[name][slices] = tensor[slices]
        return look - self.look < self.patience

    def keep_last(self, network: Network, look: int, loss: Floats) -> NDArray[np.bool_]:
        """Keep the weights as they are now, for want of anything that tells better ones."""
        self.weights = {name: x.detach().clone() for name, x in network.state_dict().items()}
        self.loss, self.last = loss, look
        self.look[:] = look
        return np.ones(len(loss), np.bool_)


@dataclass
class _State:
    """All that changes while training, as it goes into a checkpoint."""

    network: Network
    optimiser: Adam
    best: Best
    course: Course
    noise: torch.Generator
    checkpoint: Checkpoint

    def __post_init__(self) -> None:
        self.look = 0
        self.history: list[EpochFigures] = []

    def keep(self, figures: EpochFigures) -> None:
        """Note a look, and write everything down if it is time."""
        self.look = figures.look
        self.history.append(figures)
        tensors = {
            **{f"network.{name}": x for name, x in self.network.state_dict().items()},
            **{f"best.{name}": x for name, x in self.best.weights.items()},
            **{f"optimiser.{name}": x for name, x in self.optimiser.state().items()},
            "noise": self.noise.get_state(),
        }
        said = {
            "look": self.look,
            **self.course.state(),
            "loss": self.best.loss.tolist(),
            "best_look": self.best.look.tolist(),
            "drops": self.best.drops,
            "history": [_as_lists(figures) for figures in self.history],
        }
        self.checkpoint.save(tensors, said)

    def taken_up(self) -> list[EpochFigures]:
        """Go back to the checkpoint, if there is one; give the looks before it."""
        kept = self.checkpoint.load()
        if kept is None:
            return []
        tensors, said = kept
        self.network.load_state_dict(_under("network.", tensors))
        self.best.weights = _under("best.", tensors)
        self.best.loss = np.array(said["loss"])
        self.best.look = np.array(said["best_look"])
        self.best.last = self.look = said["look"]
        self.best.drops = said["drops"]
        self.optimiser.restore(_under("optimiser.", tensors))
        self.noise.set_state(tensors["noise"])
        self.course.restore(said)
        self.history = [_from_lists(line) for line in said["history"]]
        return self.history


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


def _judge(
    network: Network, outputs: torch.Tensor, samples: Samples, rows: Rows
) -> tuple[Floats, Floats, Floats]:
    """Loss, mean absolute error (in classes) and Kendall's tau of each outcome."""
    target, weight = (torch.from_numpy(x[rows]) for x in (samples.target, samples.weight))
    score = scores_of(network, outputs)
    with torch.inference_mode():
        loss = network.head.loss(outputs, target, weight).numpy()
        likeliest = network.head.probabilities(outputs).argmax(-1) + 1
    mae = (likeliest - target).abs().nanmean(0).numpy()
    tau = [_tau(h, truth) for h, truth in zip(score.T, target.numpy().T, strict=True)]
    return loss, mae, np.array(tau, np.float32)


def _tau(score: Floats, truth: Floats) -> float:
    known = ~np.isnan(truth)
    if not np.isfinite(score[known]).all() or len(np.unique(truth[known])) < 2:
        return math.nan
    return float(kendalltau(score[known], truth[known]).statistic)


def _as_lists(figures: EpochFigures) -> dict[str, Any]:
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(figures).items()}


def _from_lists(line: dict[str, Any]) -> EpochFigures:
    train, validation, mae, tau = (np.array(line[name], np.float32) for name in FIGURES)
    learning = np.array(line["learning"], np.bool_)
    return EpochFigures(line["look"], line["epoch"], train, validation, mae, tau, learning)


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
