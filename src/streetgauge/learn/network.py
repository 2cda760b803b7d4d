"""The networks: the same layers for every view, pooled over a location's views, heads for outcomes.

Every view goes through dense blocks, D -> 512 -> 256 -> 128 (the trunk); what the views that are
there say is pooled; one block of 64 and a linear layer give what the head needs: for the binomial
head one number, the score.

=============  ==========  ==========  =========================================================
variant        trunk       batch norm  what it is
=============  ==========  ==========  =========================================================
paper-2019     one each    yes         the network of Suel et al. (2019)
port-2020      one each    no          its authors' port of 2020
shared         one for all no          one trunk for all outcomes: a city's outcomes hang
                                       together, and twelve cost little more than one; and a
                                       linear path from the mean features to the output beside
                                       it, for what needs no depth
=============  ==========  ==========  =========================================================

A network may have several members, each trained by itself on other areas; what they say is
averaged.

Parameters have the networks that they belong to as their first axis: ``tensor[m]`` is outcome m's,
``tensor[e]`` of a shared trunk is member e's, and ``tensor[e * M + m]`` is outcome m's in member e.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, pad, relu

from streetgauge.learn.heads import make_head
from streetgauge.learn.mixup import Mixup
from streetgauge.settings import TrainSettings

__all__ = ["Network", "StackedBatchNorm", "StackedLinear"]

VIEW_WIDTHS = (512, 256, 128)
LEAN_WIDTHS = (128, 64, 64)  # of a network on few principal components
LOCATION_WIDTH = 64
ATTENTION_WIDTH = 32
VECTOR = 16  # numbers that a processor multiplies at once
Variant = Literal["paper-2019", "port-2020", "shared"]
Pooling = Literal["mean", "attention"]


class StackedLinear(nn.Module):
    """M dense layers side by side: ``y[:, m] = x[:, m] @ weight[m] + bias[m]``.

    Parameters
    ----------
    generators : sequence of torch.Generator
        One per network: each draws its own weights (Xavier normal), whatever its neighbours.
    inputs, outputs : int
        Widths.
    """

    def __init__(self, generators: Sequence[torch.Generator], inputs: int, outputs: int) -> None:
        super().__init__()
        spread = (2 / (inputs + outputs)) ** 0.5
        weights = [torch.randn(inputs, outputs, generator=own) * spread for own in generators]
        self.weight = nn.Parameter(torch.stack(weights))
        self.bias = nn.Parameter(torch.zeros(len(weights), outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map [R, M, inputs], or [R, 1, inputs] that all networks share, to [R, M, outputs]."""
        if x.shape[1] == 1:  # one product for all networks: twice as fast as one for each
            together, bias = self.weight.transpose(0, 1).flatten(1), self.bias.flatten()
            # With a whole number of vectors, a row comes out the same wherever in x it lies.
            more = -len(bias) % VECTOR
            if more:
                together, bias = pad(together, (0, more)), pad(bias, (0, more))
            product = torch.addmm(bias, x[:, 0], together)[:, : self.bias.numel()]
            return product.view(-1, *self.bias.shape)
        each = torch.baddbmm(self.bias.unsqueeze(1), x.transpose(0, 1), self.weight)
        return each.transpose(0, 1)


class StackedBatchNorm(nn.Module):
    """M batch norms side by side, over the rows of [R, M, width].

    The running mean and variance are plain averages at first and move by a tenth a batch later:
    small cities have but ten batches an epoch, and would else be judged with the initial values.
    """

    running_mean: Tensor
    running_variance: Tensor
    batches: Tensor

    def __init__(self, networks: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(networks, width))
        self.bias = nn.Parameter(torch.zeros(networks, width))
        self.register_buffer("running_mean", torch.zeros(networks, width))
        self.register_buffer("running_variance", torch.ones(networks, width))
        self.register_buffer("batches", torch.zeros(networks))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [R, M, width] by the batch in training, else by the running values."""
        momentum = 0.1
        if self.training:
            self.batches += 1
            momentum = max(momentum, 1 / float(self.batches[0]))
        # As R rows of M * width channels it is one ordinary batch norm.
        flat = batch_norm(
            x.flatten(1),
            self.running_mean.view(-1),
            self.running_variance.view(-1),
            self.weight.view(-1),
            self.bias.view(-1),
            training=self.training,
            momentum=momentum,
        )
        return flat.view_as(x)


class Block(nn.Module):
    """Dense, batch norm (or none), ReLU."""

    def __init__(
        self, generators: Sequence[torch.Generator], inputs: int, outputs: int, norm: bool
    ) -> None:
        super().__init__()
        self.dense = StackedLinear(generators, inputs, outputs)
        self.norm = StackedBatchNorm(len(generators), outputs) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        """Map [R, M, inputs] to [R, M, outputs]."""
        x = self.dense(x)
        return relu(x if self.norm is None else self.norm(x))


class Attention(nn.Module):
    """How much each view counts, by what it says and not by its place among the views.

    The gate-free attention of Ilse, Tomczak and Welling (2018, equation 8): the softmax over a
    location's views of ``w . tanh(V x)``. It starts as the plain mean.
    """

    def __init__(self, generators: Sequence[torch.Generator], width: int) -> None:
        super().__init__()
        self.inner = StackedLinear(generators, width, ATTENTION_WIDTH)
        self.outer = StackedLinear(generators, ATTENTION_WIDTH, 1)
        nn.init.zeros_(self.outer.weight)

    def forward(self, views: Tensor) -> Tensor:
        """Map [R, M, width] to [R, M, 1], before the softmax."""
        weights: Tensor = self.outer(torch.tanh(self.inner(views)))
        return weights


class Dropout(nn.Module):
    """Dropout with a generator of its own: trainings that run side by side do not mix."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.generator: torch.Generator | None = None  # given by the training loop

    def forward(self, x: Tensor) -> Tensor:
        """Set a share of x to 0 in training, and scale the rest up."""
        if not self.training or not self.share:
            return x
        kept = torch.empty_like(x).uniform_(generator=self.generator) >= self.share
        return x * kept * (1 / (1 - self.share))


class Network(nn.Module):
    """M outcomes' networks, with a trunk each or one trunk for all.

    Parameters
    ----------
    dimension : int
        D, features of a view.
    seeds : sequence of int
        One per outcome. What belongs to an outcome's seed is the same whatever its neighbours;
        a shared trunk follows the first.
    variant : {"paper-2019", "port-2020", "shared"}
        See the module.
    pooling : {"mean", "attention"}
        Over the views of a location.
    dropout : float
        Share of the pooled values left out in training.
    head : str
        See `heads`.
    classes : int
        K.
    members : int
        E.
    widths : sequence of int, length 3
        Of the view layers.
    """

    def __init__(
        self,
        dimension: int,
        seeds: Sequence[int],
        variant: Variant = "paper-2019",
        *,
        pooling: Pooling = "mean",
        dropout: float = 0.0,
        head: str = "binomial",
        classes: int = 10,
        members: int = 1,
        widths: Sequence[int] = VIEW_WIDTHS,
    ) -> None:
        super().__init__()
        self.shared = variant == "shared"
        self.members = members
        own = [_generator(seed, e) for e in range(self.members) for seed in seeds]
        trunk = [_generator(seeds[0] ^ 1, e) for e in range(self.members)] if self.shared else own
        norm = variant == "paper-2019"
        self.head = make_head(head, classes, len(seeds))
        pairs = pairwise((dimension, *widths))
        self.views = nn.Sequential(*(Block(trunk, *pair, norm) for pair in pairs))
        self.location = Block(own, widths[-1], LOCATION_WIDTH, norm)
        self.score = StackedLinear(own, LOCATION_WIDTH, self.head.outputs)
        # Made last, so that the other first weights do not depend on them.
        self.attention = Attention(trunk, widths[-1]) if pooling == "attention" else None
        self.direct = StackedLinear(own, dimension, self.head.outputs) if self.shared else None
        if self.direct is not None:
            nn.init.zeros_(self.direct.weight)
        self.dropout = Dropout(dropout)

    @classmethod
    def of(
        cls,
        settings: TrainSettings,
        dimension: int,
        seeds: Sequence[int],
        classes: int = 10,
        widths: Sequence[int] = VIEW_WIDTHS,
    ) -> Self:
        """Make the network that settings describe."""
        return cls(
            dimension,
            seeds,
            settings.network,
            pooling=settings.pooling,
            dropout=settings.dropout,
            head=settings.head,
            classes=classes,
            members=settings.members,
            widths=widths,
        )

    @classmethod
    def joined(cls, networks: Sequence[Self]) -> Self:
        """Make one network of several: they become its members."""
        whole = deepcopy(networks[0])
        whole.members = sum(network.members for network in networks)
        states = [network.state_dict() for network in networks]
        for name, tensor in whole.state_dict(keep_vars=True).items():
            same = [state[name] for state in states]
            # Heads with parameters, such as thresholds, have one set for all members: their mean.
            tensor.data = torch.stack(same).mean(0) if name.startswith("head.") else torch.cat(same)
        return whole

    def pick(self, outcomes: Sequence[int]) -> Self:
        """Give the network of these outcomes only, by position, in this order."""
        picked = deepcopy(self)
        count = len(self.score.bias) // self.members
        rows = torch.tensor([e * count + m for e in range(self.members) for m in outcomes])
        trunk = set(picked.trunk()) | set(picked.views.buffers())
        for tensor in picked.state_dict(keep_vars=True).values():
            if not self.shared or tensor not in trunk:
                own = rows if len(tensor) == len(self.score.bias) else torch.tensor(outcomes)
                tensor.data = tensor.data[own]
        return picked

    def calibrated(self, a: Tensor, b: Tensor) -> Self:
        """Give the network whose outputs are ``a + b * outputs``, per outcome."""
        moved = deepcopy(self)
        a, b = a.repeat(self.members), b.repeat(self.members)
        with torch.no_grad():
            moved.score.weight.mul_(b[:, None, None])
            moved.score.bias.mul_(b[:, None]).add_(a[:, None])
            if moved.direct is not None:
                moved.direct.weight.mul_(b[:, None, None])
                moved.direct.bias.mul_(b[:, None])
        return moved

    def lean(self) -> Self:
        """Give the same network without the units of view layers that are 0 whatever they see."""
        lean = deepcopy(self)
        for block, after in pairwise([*lean.views, lean.location]):
            dense, norm = block.dense, block.norm
            moved = [dense.bias] if norm is None else [dense.bias, norm.bias, norm.running_mean]
            alive = torch.stack([dense.weight.any(1), *(x.bool() for x in moved)]).any(0).any(0)
            for tensor in block.state_dict(keep_vars=True).values():
                if tensor.ndim > 1:
                    tensor.data = tensor.data[..., alive]
            onward = [after.dense]
            if after is lean.location and lean.attention is not None:
                onward.append(lean.attention.inner)
            for layer in onward:
                layer.weight.data = layer.weight.data[:, alive]
        return lean

    def trunk(self) -> Iterator[nn.Parameter]:
        """Give the parameters that look at views; the others look at whole locations."""
        yield from self.views.parameters()
        if self.attention is not None:
            yield from self.attention.parameters()

    def forward(
        self,
        features: Tensor,
        present: Tensor | None = None,
        *,
        each: bool = False,
        mixup: Mixup | None = None,
    ) -> Tensor:
        """Look at locations.

        Parameters
        ----------
        features : Tensor, shape [B, V, D]
            Standardised features; what stands in the place of an absent view is not looked at.
        present : Tensor of bool, shape [B, V], optional
            Which views are there, at least one of each location; all if not given.
        each : bool
            Give what every member says by itself.
        mixup : Mixup, optional
            Mix locations behind the pooling, and what the linear path says of them.

        Returns
        -------
        Tensor of float32, shape [B, M, outputs]; of each member [B, E, M, outputs]
            What the head needs, averaged over the members.
        """
        there = features.flatten(0, 1) if present is None else features[present]
        seen = self.views(there.unsqueeze(1))  # [R, T, 128], R views that are there, T trunks
        pooled = self._pooled(seen, features.shape[:2], present)
        direct = None
        if self.direct is not None:
            direct = self.direct(_mean(features, present).unsqueeze(1))
        # From here on it is little work, and worth full precision.
        with torch.autocast(features.device.type, enabled=False):
            if mixup is not None:
                pooled = mixup.mixed(pooled.float())
                direct = None if direct is None else mixup.mixed(direct.float())
            pooled = self.dropout(pooled.float())
            # Each member's outcomes look at its own trunk, where they share one.
            if pooled.shape[1] > 1:
                pooled = pooled.repeat_interleave(len(self.score.bias) // pooled.shape[1], 1)
            outputs: Tensor = self.score(self.location(pooled))
            if direct is not None:
                outputs = outputs + direct.float()
        said = outputs.view(len(features), self.members, -1, self.head.outputs)
        return said if each else said.mean(1)

    def _pooled(self, seen: Tensor, shape: torch.Size, present: Tensor | None) -> Tensor:
        """Pool [R, T, W] over each location's views: [B, T, W]."""
        weight = None if self.attention is None else self.attention(seen).float()
        if present is None:
            seen = seen.view(*shape, *seen.shape[1:])
            if weight is None:
                return seen.mean(1)
            share = weight.view(*shape, *weight.shape[1:]).softmax(1)
            return torch.sum(seen * share, 1)
        # Absent views count as zeros: exact for any number of views, and summed in one order.
        padded = seen.new_zeros(*shape, *seen.shape[1:])
        padded[present] = seen
        if weight is None:
            return padded.sum(1) / present.sum(1)[:, None, None]
        logits = weight.new_full((*shape, *weight.shape[1:]), -torch.inf)
        logits[present] = weight
        return torch.sum(padded * logits.softmax(1), 1)


def _mean(features: Tensor, present: Tensor | None) -> Tensor:
    """Mean features of the views that are there: [B, D]."""
    if present is None:
        # View by view, which is three times as fast as at once.
        first, *others = features.unbind(1)
        total = first.clone()
        for view in others:
            total += view
        return total.div_(features.shape[1])
    there = features.float().where(present.unsqueeze(-1), 0)
    return there.sum(1) / present.sum(1, keepdim=True)


def _generator(seed: int, member: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed + member * 0x9E3779B97F4A7C15) % 2**63)
