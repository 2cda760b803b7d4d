"""Mixup: what is learnt from are points on the lines between two locations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

__all__ = ["Mixup"]


@dataclass(frozen=True)
class Mixup:
    """How far each location of a batch is moved towards another one.

    What a location's views say, pooled, is mixed with a partner's, and the loss counts the labels
    of both by the same shares (Zhang et al. 2018; behind some layers, as here, Verma et al. 2019).
    A network that is held to straight lines between locations does not learn single areas by
    heart, of which a city has but few. Batches are dealt by chance, so a batch in reverse gives
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

    def mixed(self, said: Tensor) -> Tensor:
        """Mix what is said of a batch: [B, ...]."""
        share = self.share.to(said).view(-1, *[1] * (said.ndim - 1))
        return torch.lerp(said.flip(0), said, share)

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
