"""The paper's network, many at once: one independent network per outcome, reading features once.

Every view goes through the same dense blocks, D -> 512 -> 256 -> 128; the mean over the views that
are there goes through one more block of 64 to a single linear output, the score. ``paper-2019`` has
batch norm in its blocks, ``port-2020`` has none. Every parameter and buffer has the outcomes as its
first axis, so ``tensor[m]`` of each is the whole network of outcome m.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, relu

__all__ = ["Network", "StackedBatchNorm", "StackedLinear"]

VIEW_WIDTHS = (512, 256, 128)
LOCATION_WIDTH = 64
Variant = Literal["paper-2019", "port-2020"]


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
        """Map [R, M, inputs], or [R, inputs] that all networks share, to [R, M, outputs]."""
        if x.ndim == 2:  # one product for all networks: twice as fast as one for each
            together = self.weight.transpose(0, 1).flatten(1)
            return (x @ together).view(len(x), *self.bias.shape) + self.bias
        return torch.bmm(x.transpose(0, 1), self.weight).transpose(0, 1) + self.bias


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


class Network(nn.Module):
    """M independent networks, one per outcome.

    Parameters
    ----------
    dimension : int
        D, features of a view.
    seeds : sequence of int
        One per network; the network of a seed is the same whatever its neighbours.
    variant : {"paper-2019", "port-2020"}
        With or without batch norm.
    """

    def __init__(
        self, dimension: int, seeds: Sequence[int], variant: Variant = "paper-2019"
    ) -> None:
        super().__init__()
        own = [torch.Generator().manual_seed(seed) for seed in seeds]
        norm = variant == "paper-2019"
        widths = (dimension, *VIEW_WIDTHS)
        self.views = nn.Sequential(*(Block(own, *pair, norm) for pair in pairwise(widths)))
        self.location = Block(own, VIEW_WIDTHS[-1], LOCATION_WIDTH, norm)
        self.score = StackedLinear(own, LOCATION_WIDTH, 1)

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """Score locations.

        Parameters
        ----------
        features : Tensor, shape [B, V, D]
            Standardised features; what stands in the place of an absent view is not looked at.
        present : Tensor of bool, shape [B, V]
            Which views are there, at least one of each location.

        Returns
        -------
        Tensor, shape [B, M]
        """
        seen = self.views(features[present])  # [R, M, 128], R views that are there
        # The mean over a location's views as a product: exact for any number of views, and
        # summed in the same order on every device.
        rows = torch.arange(len(present), device=present.device)
        owner = rows.repeat_interleave(present.sum(1))
        share = (owner == rows[:, None]).to(seen) / present.sum(1, keepdim=True)
        pooled = (share @ seen.flatten(1)).view(len(present), *seen.shape[1:])
        scores: Tensor = self.score(self.location(pooled)).squeeze(-1)
        return scores
