"""The scale of a tuned model's scores, as far as it can be known without labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streetgauge.model.network import Network
from streetgauge.model.reading import Reader, Rows, spread
from streetgauge.model.scoring import outputs_of, scores_of
from streetgauge.splits.schemes import Split

__all__ = ["anchor", "untested"]

Floats = NDArray[np.float64]
ENOUGH = 2048  # locations that tell a mean and a spread
SMALL = 1e-6


def untested(split: Split) -> Rows:
    """Give locations that a split does not test, labelled or not: all, or evenly some of them."""
    rows = np.sort(np.concatenate([split.training, split.validation, *split.excluded.values()]))
    return spread(rows, ENOUGH)


def anchor(
    start: Network, calibration: Floats, tuned: Network, reader: Reader, rows: Rows
) -> Floats:
    """Find a and b > 0 that give tuned scores the mean and the spread of those started from.

    A few labelled areas move a network's scores up or down by chance, in every fold another way,
    before they mend their order. Its scores of the city's other locations show by how much, and
    need no label for it.

    Parameters
    ----------
    start, tuned : Network
        Before and after.
    calibration : array, shape [M, 2]
        Of the scores before.
    reader : Reader
        Of features as both networks know them.
    rows : array of int64
        Locations, none of which is tested.

    Returns
    -------
    array of float64, shape [M, 2]
        The calibrated scores before are on the scale of ``a + b * h``, h the scores after.
    """
    before, after = (
        scores_of(network.to(reader.device), outputs_of(network, reader, rows)).astype(np.float64)
        for network in (start, tuned)
    )
    before = calibration[:, 0] + calibration[:, 1] * before
    wide = np.maximum(after.std(axis=0), SMALL)
    b = np.maximum(before.std(axis=0), SMALL) / wide
    return np.column_stack([before.mean(axis=0) - b * after.mean(axis=0), b])
