"""The networks: the same layers for every view, pooled over a location's views, heads for outcomes.

Every view goes through the same dense blocks, D -> 512 -> 256 -> 128 (the trunk; `view_widths` of
others); the views that are there are pooled; one block of 64 (or as few as it reads) and
a linear layer give what the head needs: for the binomial head one number, the score. All layers
compute in the precision of the features, but the last, which is in float32 without training;
views are summed in float32.

=============  ==========  ==========  =========================================================
variant        trunk       batch norm  what it is
=============  ==========  ==========  =========================================================
paper-2019     one each    yes         the network of Suel et al. (2019)
port-2020      one each    no          its authors' port of 2020
shared         one for all no          one trunk for all outcomes: a city's outcomes hang
                                       together, and twelve cost little more than one; and a
                                       linear path from the mean features to the output next to
                                       it, for what needs no depth
=============  ==========  ==========  =========================================================

A network may have several members, each trained by itself on other areas; their outputs are
averaged.

Parameters have the networks that they belong to as their first axis: ``tensor[m]`` is outcome m's,
``tensor[e]`` of a shared trunk is member e's, and ``tensor[e * M + m]`` is outcome m's in member e.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, pad, relu

from streetgauge.features.joint import Part
from streetgauge.model.heads import make_head
from streetgauge.seeds import derive_seed
from streetgauge.settings import TrainSettings

WIDTH = 512  # of the first view layer
WIDTH_ON_COMPONENTS = 128  # on few principal components
LOCATION_WIDTH = 64
ATTENTION_WIDTH = 32
VECTOR = 16  # numbers that a processor multiplies at once
# Outputs of all networks of a layer that are cheaper as one product with as many zeros: measured
# with twelve networks of 64 inputs, of which a batched product takes five times as long.
FEW_OUTPUTS = 64


def width_of(settings: TrainSettings) -> int:
    """Give the width of the first view layer, which settings need not give."""
    return settings.width or (WIDTH_ON_COMPONENTS if settings.components else WIDTH)


def view_widths(width: int) -> tuple[int, int, int]:
    """Give the widths of the view layers, the second half and the third a quarter of the first.

    None is below 64, or below the first where that is narrower still.
    """
    least = min(width, LOCATION_WIDTH)
    return width, max(width // 2, least), max(width // 4, least)


@dataclass(frozen=True)
class Mixup:
    """How far each location of a batch is moved towards another one.

    A location's pooled views are mixed with a partner's, and the loss counts the labels
    of both by the same shares (Zhang et al. 2018; behind some layers, as here, Verma et al. 2019).
    A network that is held to straight lines between locations does not learn single areas by
    heart, of which a city has but few. Batches are shuffled, so a batch in reverse gives
    every location a partner by chance.

    Parameters
    ----------
    share : Tensor of float32, shape [B]
        Of the location itself, evenly distributed on [0, 1]; the rest is its partner's.
    """

    share: Tensor

    @classmethod
    def draw(cls, size: int, chance: torch.Generator) -> Self:
        """Draw the shares of a batch."""
        return cls(torch.rand(size, generator=chance, device=chance.device))

    def mixed(self, pooled: Tensor) -> Tensor:
        """Mix the pooled values of a batch: [B, ...]."""
        share = self.share.to(pooled).view(-1, *[1] * (pooled.ndim - 1))
        return torch.lerp(pooled.flip(0), pooled, share)

    def labelled(
        self, outputs: Tensor, target: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give a mixed batch the labels of both ends of its lines.

        Parameters
        ----------
        outputs : Tensor, shape [B, M, outputs]
            Of the mixed batch.
        target, weight : Tensor, shape [B, M]
            Of the locations.

        Returns
        -------
        outputs, target, weight : Tensor
            Of 2 B rows: the outputs twice, first with the locations' labels and their shares of the
            weights, then with their partners'.
        """
        share = self.share[:, None]
        return (
            torch.cat([outputs, outputs]),
            torch.cat([target, target.flip(0)]),
            torch.cat([weight * share, weight.flip(0) * (1 - share)]),
        )


class StackedLinear(nn.Module):
    """M dense layers side by side: ``y[:, m] = x[:, m] @ weight[m] + bias[m]``.

    Parameters
    ----------
    generators : sequence of torch.Generator
        One per network: each draws its own weights (Xavier normal), whatever its neighbours.
    inputs, outputs : int
        Widths.
    one_product : bool
        Let networks of few outputs be one product, with zeros off the diagonal. A value that
        is not a number in one network then spoils all: only for those that fail together.
    """

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        inputs: int,
        outputs: int,
        *,
        one_product: bool = False,
    ) -> None:
        super().__init__()
        self.one_product = one_product
        spread = (2 / (inputs + outputs)) ** 0.5
        weights = [torch.randn(inputs, outputs, generator=own) * spread for own in generators]
        self.weight = nn.Parameter(torch.stack(weights))
        self.bias = nn.Parameter(torch.zeros(len(weights), outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map [R, M, inputs], or [R, 1, inputs] that all networks share, to [R, M, outputs]."""
        if x.shape[1] == 1:  # one product for all networks: twice as fast as one for each
            weight = self.weight.to(x.dtype).transpose(0, 1).flatten(1)
            return _product(x[:, 0], weight, self.bias.flatten()).view(-1, *self.bias.shape)
        networks, inputs, outputs = self.weight.shape  # networks may have been joined, or picked
        if self.one_product and networks * outputs <= FEW_OUTPUTS:
            own = torch.eye(networks, dtype=x.dtype, device=x.device)[:, None, :, None]
            block = (self.weight.to(x.dtype).unsqueeze(2) * own).view(networks * inputs, -1)
            return _product(x.flatten(1), block, self.bias.flatten()).view(-1, *self.bias.shape)
        weight, bias = (parameter.to(x.dtype) for parameter in (self.weight, self.bias))
        each = torch.baddbmm(bias.unsqueeze(1), x.transpose(0, 1), weight)
        return each.transpose(0, 1)


def _product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Give ``x @ weight + bias``, of rows that come out the same wherever in x they lie.

    They do with a whole number of vectors.
    """
    columns = len(bias)
    more = -columns % VECTOR
    if more:
        weight, bias = pad(weight, (0, more)), pad(bias, (0, more))
    product = torch.addmm(bias.to(x.dtype), x, weight)
    return product[:, :columns] if more else product


class StackedBatchNorm(nn.Module):
    """M batch norms side by side, over the rows of [R, M, width].

    The running mean and variance are plain averages at first and move by a tenth a batch later:
    small cities have but ten batches an epoch, and would else be validated with the initial values.
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
    """How much each view counts, by its content and not by its position among the views.

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
        mask = torch.empty_like(x).uniform_(generator=self.generator) >= self.share
        return x * mask * (1 / (1 - self.share))


class SourceDropout(Dropout):
    """Leave sources out of a location in training, so that a network can do without one."""

    def forward(self, there: Tensor) -> Tensor:
        """Take a share of the sources away that a location has [B, S], but never all of them."""
        if not self.training or not self.share:
            return there
        chance = torch.empty(there.shape, device=there.device).uniform_(generator=self.generator)
        left = there & (chance >= self.share)
        return torch.where(left.any(1, keepdim=True), left, there)


class Branch(nn.Module):
    """Layers that read the views of one source, and the linear path from their mean."""

    def __init__(
        self,
        dimension: int,
        trunk: Sequence[torch.Generator],
        own: Sequence[torch.Generator],
        settings: TrainSettings,
        outputs: int,
    ) -> None:
        super().__init__()
        self._make_views(dimension, trunk, settings)
        self._make_paths(dimension, trunk, own, settings, outputs)

    def _make_views(
        self, dimension: int, trunk: Sequence[torch.Generator], settings: TrainSettings
    ) -> None:
        pairs = pairwise((dimension, *view_widths(width_of(settings))))
        norm = settings.network == "paper-2019"
        self.views = nn.Sequential(*(Block(trunk, *pair, norm) for pair in pairs))

    def _make_paths(
        self,
        dimension: int,
        trunk: Sequence[torch.Generator],
        own: Sequence[torch.Generator],
        settings: TrainSettings,
        outputs: int,
    ) -> None:
        last = view_widths(width_of(settings))[-1]
        self.attention = Attention(trunk, last) if settings.pooling == "attention" else None
        shared = settings.network == "shared"
        self.direct = StackedLinear(own, dimension, outputs) if shared else None
        if self.direct is not None:
            nn.init.zeros_(self.direct.weight)

    def read_views(self, features: Tensor, present: Tensor | None) -> list[Tensor]:
        """Read views [B, V, D] and pool them: [B, T, W], and the linear path's [B, M, outputs]."""
        there = features.flatten(0, 1) if present is None else features[present]
        shape, seen = features.shape[:2], there.unsqueeze(1)
        for block in self.views:
            seen = block(seen)
        pooled = [self._pooled(seen, shape, present)]
        if self.direct is not None:  # linear: of the mean of the views it takes a product less
            pooled.append(self.direct(_mean_of_views(there.unsqueeze(1), shape, present)))
        return pooled

    def _pooled(self, seen: Tensor, shape: torch.Size, present: Tensor | None) -> Tensor:
        """Pool [R, T, W] over each location's views: [B, T, W], in float32."""
        if self.attention is None:
            return _mean_of_views(seen, shape, present)
        weight = self.attention(seen).float()
        if present is None:
            views, logits = (x.view(*shape, *x.shape[1:]) for x in (seen, weight))
        else:  # absent views weigh nothing
            views = _in_place(seen, shape, present)
            logits = weight.new_full((*shape, *weight.shape[1:]), -torch.inf)
            logits[present] = weight
        return torch.sum(views * logits.softmax(1), 1)


class Network(Branch):
    """M outcomes' networks, with a trunk each or one trunk for all.

    Of several sources it has view layers for each, those of the first, by name, being its own; what
    they pool is averaged over the sources that a location has.

    Parameters
    ----------
    dimension : int
        D, features of a view.
    seeds : sequence of int
        One per outcome. What belongs to an outcome's seed is the same whatever its neighbours;
        a shared trunk follows the first.
    settings : TrainSettings
        Its architecture: network (the variant, see the module), pooling, width (see `view_widths`),
        dropout, head and ensemble_size, E.
    classes : int
        K.
    parts : sequence of Part
        The sources, where there are several; `dimension` is then of no use.
    """

    def __init__(
        self,
        dimension: int,
        seeds: Sequence[int],
        settings: TrainSettings,
        classes: int = 10,
        parts: Sequence[Part] = (),
    ) -> None:
        nn.Module.__init__(self)
        self.parts = tuple(parts)
        self.shared = settings.network == "shared"
        self.ensemble_size: int = settings.ensemble_size
        own = [_generator(seed, e) for e in range(self.ensemble_size) for seed in seeds]

        def of_source(name: str) -> list[torch.Generator]:
            first = seeds[0] ^ 1
            given = [first] if self.shared else seeds
            sown = [derive_seed(seed, "source", name) for seed in given] if name else given
            return [_generator(seed, e) for e in range(self.ensemble_size) for seed in sown]

        name, dimension = (parts[0].name, parts[0].dimension) if parts else ("", dimension)
        trunk = of_source(name) if self.shared or name else own
        self.head = make_head(settings.head, classes, len(seeds))
        self._make_views(dimension, trunk, settings)
        widths = view_widths(width_of(settings))
        last = min(widths[-1], LOCATION_WIDTH)
        self.location = Block(own, widths[-1], last, settings.network == "paper-2019")
        self.score = StackedLinear(own, last, self.head.outputs, one_product=self.shared)
        # Made last, so that the other first weights do not depend on them.
        outputs = self.head.outputs
        self._make_paths(dimension, trunk, own, settings, outputs)
        self.others = nn.ModuleList(
            Branch(part.dimension, of_source(part.name), own, settings, outputs)
            for part in parts[1:]
        )
        self.source_dropout = SourceDropout(settings.source_dropout)
        self.dropout = Dropout(settings.dropout)

    @classmethod
    def joined(cls, networks: Sequence[Self]) -> Self:
        """Make one network of several: they become its members."""
        whole = deepcopy(networks[0])
        whole.ensemble_size = sum(network.ensemble_size for network in networks)
        states = [network.state_dict() for network in networks]
        for name, tensor in whole.state_dict(keep_vars=True).items():
            same = [state[name] for state in states]
            # Heads with parameters, such as thresholds, have one set for all members: their mean.
            tensor.data = torch.stack(same).mean(0) if name.startswith("head.") else torch.cat(same)
        return whole

    def member(self, number: int) -> Self:
        """Give one member of the ensemble, counted from 0, as a network of its own."""
        one = deepcopy(self)
        one.ensemble_size = 1
        for name, tensor in one.state_dict(keep_vars=True).items():
            if not name.startswith("head."):
                tensor.data = tensor.data.chunk(self.ensemble_size)[number]
        return one

    @property
    def width(self) -> int:
        """Of the first layer that reads views."""
        return next(self.views.parameters()).shape[2]

    def pick(self, outcomes: Sequence[int]) -> Self:
        """Give the network of these outcomes only, by position, in this order."""
        picked = deepcopy(self)
        count = len(self.score.bias) // self.ensemble_size
        rows = torch.tensor([e * count + m for e in range(self.ensemble_size) for m in outcomes])
        trunk: set[Tensor] = set(picked.trunk())
        trunk |= {x for branch in picked.branches() for x in branch.views.buffers()}
        for tensor in picked.state_dict(keep_vars=True).values():
            if not self.shared or tensor not in trunk:
                own = rows if len(tensor) == len(self.score.bias) else torch.tensor(outcomes)
                tensor.data = tensor.data[own]
        return picked

    def calibrated(self, a: Tensor, b: Tensor) -> Self:
        """Give the network whose outputs are ``a + b * outputs``, per outcome."""
        moved = deepcopy(self)
        a, b = a.repeat(self.ensemble_size), b.repeat(self.ensemble_size)
        with torch.no_grad():
            moved.score.weight.mul_(b[:, None, None])
            moved.score.bias.mul_(b[:, None]).add_(a[:, None])
            for branch in moved.branches():
                if branch.direct is not None:
                    branch.direct.weight.mul_(b[:, None, None])
                    branch.direct.bias.mul_(b[:, None])
        return moved

    def fold_projection(self, basis: Tensor) -> Self:
        """Give the network on D features: a projection [D, C] goes into its first layers."""
        whole = deepcopy(self)
        for name, tensor in whole.state_dict(keep_vars=True).items():
            if name in ("views.0.dense.weight", "direct.weight"):
                tensor.data = basis.to(tensor) @ tensor.data
        return whole

    def trunk(self) -> Iterator[nn.Parameter]:
        """Give the parameters that read views; the others read whole locations."""
        for branch in self.branches():
            yield from branch.views.parameters()
            if branch.attention is not None:
                yield from branch.attention.parameters()

    def branches(self) -> list[Branch]:
        """Give the layers that read each source's views."""
        return [self, *(each for each in self.others if isinstance(each, Branch))]

    def forward(
        self,
        features: Tensor,
        present: Tensor | None = None,
        *,
        each: bool = False,
        mixup: Mixup | None = None,
    ) -> Tensor:
        """Compute the outputs of locations.

        Parameters
        ----------
        features : Tensor, shape [B, V, D]
            Standardised features; what stands for an absent view is not used.
        present : Tensor of bool, shape [B, V], optional
            Which views are there, at least one of each location; all if not given.
        each : bool
            Give the output of every member by itself.
        mixup : Mixup, optional
            Mix locations behind the pooling, and the output of the linear path.

        Returns
        -------
        Tensor of float32, shape [B, M, outputs]; of each member [B, E, M, outputs]
            What the head needs, averaged over the members.
        """
        if self.parts:
            pooled, *direct = self._over_sources(features, present)
        else:
            pooled, *direct = self.read_views(features, present)
        if mixup is not None:
            pooled, *direct = (mixup.mixed(one) for one in [pooled, *direct])
        pooled = self.dropout(pooled).to(features.dtype)
        # Each member's outcomes read its own trunk, where they share one.
        if pooled.shape[1] > 1:
            pooled = pooled.repeat_interleave(len(self.score.bias) // pooled.shape[1], 1)
        location = self.location(pooled)
        outputs: Tensor = self.score(location if self.training else location.float()).float()
        for one in direct:
            outputs = outputs + one
        scores = outputs.view(len(features), self.ensemble_size, -1, self.head.outputs)
        return scores if each else scores.mean(1)

    def _over_sources(self, features: Tensor, present: Tensor | None) -> list[Tensor]:
        """Average what the layers of each source give over the sources of each location."""
        if present is None:
            present = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        there = torch.stack([present[:, part.views].any(1) for part in self.parts], 1)
        there = self.source_dropout(there)
        total: list[Tensor] = []
        for branch, part, here in zip(self.branches(), self.parts, there.T, strict=True):
            views = features[here][:, part.views, : part.dimension]
            found = branch.read_views(views, present[here][:, part.views])
            whole = [one.new_zeros(len(there), *one.shape[1:]) for one in found]
            for one, own in zip(whole, found, strict=True):
                one[here] = own
            total = [a + b for a, b in zip(total, whole, strict=True)] if total else whole
        count = there.sum(1).clamp(min=1)[:, None, None]
        return [one / count for one in total]


def _mean_of_views(seen: Tensor, shape: torch.Size, present: Tensor | None) -> Tensor:
    """Average [R, T, W] over each location's views that are there: [B, T, W], in float32."""
    if present is None:
        views = seen.view(*shape, *seen.shape[1:])
        return views.sum(1, dtype=torch.float32) / shape[1]
    views = _in_place(seen, shape, present)
    return views.sum(1, dtype=torch.float32) / present.sum(1)[:, None, None]


def _in_place(seen: Tensor, shape: torch.Size, present: Tensor) -> Tensor:
    """Put [R, T, W] to its locations and views: [B, V, T, W].

    Absent views are zeros: sums are exact for any number of views, and in one order.
    """
    padded = seen.new_zeros(*shape, *seen.shape[1:])
    padded[present] = seen
    return padded


def _generator(seed: int, member: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed + member * 0x9E3779B97F4A7C15) % 2**63)
