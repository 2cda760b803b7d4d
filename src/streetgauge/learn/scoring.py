"""From stored features to scores: standardised batches, read by row, on the chosen device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streetgauge.errors import InputError
from streetgauge.learn.network import Network

__all__ = ["Standardisation", "score_locations"]

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]

# Locations at a time. Fixed, since how a product is blocked shows in the last bits of a score.
LOCATIONS_AT_A_TIME = 256


@dataclass(frozen=True)
class Standardisation:
    """Mean and standard deviation of every feature over the views of the training part.

    Parameters
    ----------
    mean, sd : array of float32, shape [D]
        A feature that never varies has sd 1.
    """

    mean: Floats
    sd: Floats

    @classmethod
    def of(cls, features: Floats, present: Flags, rows: Rows) -> Self:
        """Measure the views that are there, of the given rows.

        Raises
        ------
        InputError
            If a view that is there has a feature that is no finite number.
        """
        dimension = features.shape[2]
        count, mean, square = 0, np.zeros(dimension), np.zeros(dimension)
        for part in _parts(rows, 1024):
            seen = torch.from_numpy(features[part][present[part]])
            variance, average = (x.double().numpy() for x in torch.var_mean(seen, 0, correction=0))
            if not np.isfinite(variance).all():
                raise InputError(
                    "features",
                    "a feature of a view that is there is no finite number",
                    "extract the features again, or mark the view as absent",
                )
            # Moments of two parts put together (Chan, Golub and LeVeque 1983).
            total = count + len(seen)
            step = average - mean
            mean = mean + step * (len(seen) / total)
            square = square + len(seen) * variance + step**2 * (count * len(seen) / total)
            count = total
        sd = np.sqrt(square / count)
        sd[sd <= 1e-6 * np.abs(mean) + 1e-30] = 1.0  # constant, but for rounding
        return cls(mean.astype(np.float32), sd.astype(np.float32))

    def batch(self, features: Floats, rows: Rows, device: torch.device) -> Tensor:
        """Read rows of the (memory-mapped) features, standardised: float32 [B, V, D]."""
        read = torch.from_numpy(np.asarray(features[rows], np.float32)).to(device)
        mean, sd = (torch.from_numpy(x).to(device) for x in (self.mean, self.sd))
        return (read - mean) / sd


def score_locations(
    network: Network,
    standardisation: Standardisation,
    features: Floats,
    present: Flags,
    rows: Rows,
    device: torch.device,
) -> Floats:
    """Score locations with networks in evaluation mode: no noise, running batch-norm values.

    Returns
    -------
    array of float32, shape [len(rows), M]
    """
    network.eval()
    scores = []
    with torch.inference_mode():
        for part in _parts(rows, LOCATIONS_AT_A_TIME):
            views = standardisation.batch(features, part, device)
            there = torch.from_numpy(present[part]).to(device)
            scores.append(network(views, there).cpu().numpy())
    return np.concatenate(scores)


def _parts(rows: Rows, size: int) -> list[Rows]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
