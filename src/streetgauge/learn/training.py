"""The training loop: all outcomes in one pass, each stopped by its own validation loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from streetgauge.devices import choose_device
from streetgauge.errors import InputError
from streetgauge.learn import binomial
from streetgauge.learn.network import Network
from streetgauge.learn.scoring import Standardisation, score_locations
from streetgauge.settings import TrainSettings

__all__ = ["EpochFigures", "Samples", "TrainedNetwork", "balanced_weights", "train_network"]

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


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
    """One epoch; arrays have one entry per outcome."""

    epoch: int
    train_loss: Floats
    validation_loss: Floats
    validation_mae: Floats
    learning: NDArray[np.bool_]  # which outcomes have not stopped


@dataclass(frozen=True)
class TrainedNetwork:
    """The best weights of each outcome, and how they scored the validation part."""

    network: Network
    standardisation: Standardisation
    best_epoch: NDArray[np.int64]
    validation_score: Floats  # [len(validation), M], by the best weights


def train_network(
    samples: Samples,
    training: Rows,
    validation: Rows,
    settings: TrainSettings,
    *,
    seed: int,
    network_seeds: Sequence[int],
    on_epoch: Callable[[EpochFigures], Any] = lambda figures: None,
) -> TrainedNetwork:
    """Train one network per outcome, all in one pass over the features.

    Parameters
    ----------
    samples : Samples
        N locations, of which only the named rows are looked at.
    training, validation : array of int64
        Rows to learn from, and rows that only tell when to stop.
    settings : TrainSettings
        How.
    seed : int
        Of the order of samples and of the noise.
    network_seeds : sequence of int, length M
        Of each outcome's first weights.
    on_epoch : callable, optional
        Told the figures of every epoch.

    Returns
    -------
    TrainedNetwork
        On the CPU, with each outcome's weights of least validation loss.
    """
    device = choose_device(settings.device)
    features, present, classes = samples.features, samples.present, samples.classes
    scale = Standardisation.of(features, present, training)
    network = Network(features.shape[2], network_seeds, settings.network).to(device)
    optimizer = torch.optim.Adam(
        network.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,  # one pass over the weights instead of a dozen
    )
    best = Best(network, settings.patience)
    order = np.random.default_rng(seed)
    noise = torch.Generator(device).manual_seed(seed)

    for epoch in range(1, settings.epochs + 1):
        network.train()
        batch_losses = []
        for rows in batches(training, settings.batch, order):
            views = scale.batch(features, rows, device)
            views += settings.noise * torch.randn(views.shape, generator=noise, device=device)
            there, target, weight = (
                torch.from_numpy(array[rows]).to(device)
                for array in (present, samples.target, samples.weight)
            )
            # The outcomes' networks share no weight, so the sum trains each as if it were alone.
            losses = binomial.loss(network(views, there), target, weight, classes)
            optimizer.zero_grad()
            losses.sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            batch_losses.append(losses.detach())

        score = score_locations(network, scale, features, present, validation, device)
        validation_loss, mae = _judge(score, samples, validation)
        learning = best.update(network, epoch, validation_loss, score)
        train_loss = torch.stack(batch_losses).mean(0).cpu().numpy()
        on_epoch(EpochFigures(epoch, train_loss, validation_loss, mae, learning))
        if not learning.any():
            break

    if not best.epoch.all():
        raise InputError(
            "train.learning_rate",
            f"{settings.learning_rate:g} lets training diverge: no validation loss is a number",
            "take a lower one",
        )
    network.load_state_dict(best.weights)
    return TrainedNetwork(network.cpu().eval(), scale, best.epoch, best.score)


class Best:
    """The best weights so far of each outcome: ``tensor[m]`` is its slice of every tensor."""

    def __init__(self, network: Network, patience: int) -> None:
        self.weights = {name: x.clone() for name, x in network.state_dict().items()}
        self.patience = patience
        outcomes = len(network.score.bias)
        self.loss = np.full(outcomes, np.inf)
        self.epoch = np.zeros(outcomes, np.int64)
        self.score: Floats = np.empty((0, outcomes), np.float32)

    def update(
        self, network: Network, epoch: int, loss: Floats, score: Floats
    ) -> NDArray[np.bool_]:
        """Keep the slices that improved; say which outcomes still learn."""
        # One that has stopped stays stopped, as it would alone.
        better = (loss < self.loss) & (epoch - self.epoch <= self.patience)
        self.loss[better] = loss[better]
        self.epoch[better] = epoch
        self.score = np.where(better, score, self.score) if epoch > 1 else score.copy()
        slices = torch.from_numpy(np.flatnonzero(better))
        for name, tensor in network.state_dict().items():
            self.weights[name][slices] = tensor[slices]
        return epoch - self.epoch < self.patience


def batches(training: Rows, size: int, order: np.random.Generator) -> Iterator[Rows]:
    """Deal the rows, in an order by chance, to batches of nearly equal size, none above `size`."""
    yield from np.array_split(order.permutation(training), -(-len(training) // size))


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


def _judge(score: Floats, samples: Samples, rows: Rows) -> tuple[Floats, Floats]:
    """Loss and mean absolute error (in classes) of each outcome."""
    h, target, weight = (
        torch.from_numpy(x) for x in (score, samples.target[rows], samples.weight[rows])
    )
    loss = binomial.loss(h, target, weight, samples.classes)
    # The most probable class of a binomial, floor(K p) + 1.
    decile = (h.sigmoid() * samples.classes).floor().clamp(max=samples.classes - 1) + 1
    mae = (decile - target).abs().nanmean(0)
    return loss.numpy(), mae.numpy()
