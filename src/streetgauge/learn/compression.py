"""Fewer features: the principal components of the training part, and the way back.

A network on C components is several times as fast to train as one on D features. Its first layer
is put together with the projection afterwards, so that what is stored and used elsewhere is an
ordinary network on all D features.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from streetgauge.errors import InputError
from streetgauge.learn.network import Network
from streetgauge.learn.reading import Reader, Rows

__all__ = ["composed", "principal_components"]

SAMPLE = 2048  # locations whose views say which directions matter
OVERSAMPLING = 16


def principal_components(reader: Reader, training: Rows, components: int, seed: int) -> Tensor:
    """Find the directions in which standardised views of the training part vary most.

    Parameters
    ----------
    reader : Reader
        Of all rows.
    training : array of int64
        Only these are looked at, a sample of them if they are many.
    components : int
        C.
    seed : int
        Of the sample, and of the randomised decomposition (Halko, Martinsson and Tropp 2011).

    Returns
    -------
    Tensor of float32, shape [D, C]
        Orthonormal columns times one factor, that gives the projected features a mean square of 1.

    Raises
    ------
    InputError
        If there are no more features than components.
    """
    dimension = reader.features.shape[2]
    if components >= dimension:
        raise InputError(
            "train.components",
            f"{components} components of {dimension} features compress nothing",
            f"take less than {dimension}, or leave the setting out",
        )
    chance = np.random.default_rng(seed)
    sample = np.sort(chance.permutation(training)[:SAMPLE])
    square = torch.zeros(dimension, dimension)
    count = 0
    for part in reader.parts(sample, 256):
        seen = part.views.flatten(0, 1) if part.present is None else part.views[part.present]
        square += (seen.T @ seen).float().cpu()
        count += len(seen)
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(dimension, min(components + OVERSAMPLING, dimension), generator=generator)
    basis = torch.linalg.qr(start).Q
    for _ in range(4):  # subspace iteration on the covariance
        basis = torch.linalg.qr(square @ basis).Q
    values, vectors = torch.linalg.eigh(basis.T @ square @ basis)
    largest = basis @ vectors[:, -components:].flip(1)
    spread = (values[-components:].clamp(min=0).sum() / (count * components)).sqrt()
    scaled: Tensor = largest / spread.clamp(min=1e-12)
    return scaled


def composed(network: Network, basis: Tensor, whole: Network) -> Network:
    """Put the projection [D, C] into the layers that look at features: `whole` is on D again."""
    state = network.state_dict()
    for name in ("views.0.dense.weight", "direct.weight"):
        if name in state:
            state[name] = basis.to(state[name]) @ state[name]
    whole.load_state_dict(state)
    return whole
