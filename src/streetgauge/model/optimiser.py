"""Adam, and how far a step moves which of a network's weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adam import adam

from streetgauge.model.network import Network
from streetgauge.settings import TrainSettings

USUAL_WIDTH = 1024.0
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Group:
    """Parameters whose steps are ``factor`` times as long as the learning rate."""

    parameters: list[Tensor]
    factor: float


class Adam:
    """Adam (Kingma and Ba 2015) with L2 decay, in one pass over the weights.

    The arithmetic is torch's. Ours because the first `torch.optim.Adam` of a process imports the
    compiler of torch: 3 s with torch 2.13, where its function takes 10 ms.

    Parameters
    ----------
    groups : list of Group
        What moves.
    settings : TrainSettings
        Its learning rate, schedule and weight decay.
    """

    def __init__(self, groups: list[Group], settings: TrainSettings) -> None:
        self.groups, self.settings = groups, settings
        self.moments = [
            {
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
                "step": torch.zeros((), device=parameter.device),
            }
            for group in groups
            for parameter in group.parameters
        ]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self.groups:
            for parameter in group.parameters:
                parameter.grad = None

    def step(self, passed: float, drops: int) -> None:
        """Move the weights by their gradients.

        Parameters
        ----------
        passed : float
            Share of the longest training that is over, 0 to 1.
        drops : int
            How often the validation part has not become better.
        """
        rate, start = self.rate(passed, drops), 0
        for group in self.groups:
            own = self.moments[start : start + len(group.parameters)]
            start += len(group.parameters)
            moved = [
                (parameter, parameter.grad, *(moments[name] for name in MOMENTS))
                for parameter, moments in zip(group.parameters, own, strict=True)
                if parameter.grad is not None
            ]
            if not moved:
                continue
            weights, gradients, means, squares, steps = (list(x) for x in zip(*moved, strict=True))
            with torch.no_grad():
                adam(
                    weights,
                    gradients,
                    means,
                    squares,
                    [],
                    steps,
                    fused=True,
                    amsgrad=False,
                    beta1=0.9,
                    beta2=0.999,
                    lr=rate * group.factor,
                    weight_decay=self.settings.weight_decay,
                    eps=1e-8,
                    maximize=False,
                )

    def rate(self, passed: float, drops: int) -> float:
        """Give the learning rate; parameters are those of `step`."""
        rate = self.settings.learning_rate
        if self.settings.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * passed))
        elif self.settings.schedule == "plateau":
            rate *= 0.3**drops
        return rate

    def state_dict(self) -> dict[str, Tensor]:
        """Give all that changes, by name."""
        return {
            f"{i}.{name}": moment
            for i, moments in enumerate(self.moments)
            for name, moment in moments.items()
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Return to a state that `state_dict` gave."""
        for name, moment in self.state_dict().items():
            moment.copy_(state[name])


def groups_of(network: Network, settings: TrainSettings) -> list[Group]:
    """Group what moves by how far; what does not move gets no gradients.

    Layers that read features take steps of 1 / inputs beyond `USUAL_WIDTH` (the rule of maximal
    update parametrisation, Yang et al. 2021): one learning rate then does for 20 and for 4,096.
    """
    trunk = set(network.trunk())
    looking: set[Tensor] = set()
    for branch in network.branches():
        looking.add(next(branch.views.parameters()))
        looking |= set() if branch.direct is None else {branch.direct.weight}
    by_factor: dict[float, list[Tensor]] = {}
    for parameter in network.parameters():
        if settings.tune == "head" and parameter in trunk:
            parameter.requires_grad_(False)
            continue
        factor = 0.1 if settings.tune == "scaled" and parameter in trunk else 1.0
        if parameter in looking:
            factor *= min(1.0, USUAL_WIDTH / parameter.shape[1])
        by_factor.setdefault(factor, []).append(parameter)
    return [Group(parameters, factor) for factor, parameters in by_factor.items()]
