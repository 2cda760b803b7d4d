"""Fewer features: the principal components of the training part, and the way back.

A small network on C components is many times as fast to train as one on D features. Its first layer
is put together with the projection afterwards, so that what is stored and used elsewhere is an
ordinary network on all D features.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from torch import Tensor

from streetgauge.errors import InputError
from streetgauge.model.network import Network
from streetgauge.model.reading import Reader, Rows

__all__ = ["composed", "principal_components"]

SAMPLE = 2048  # locations whose views say which directions matter
OVERSAMPLING = 16
POWERS = 3


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
    parts = (
        part.views.flatten(0, 1).clone() if part.present is None else part.views[part.present]
        for part in reader.parts(sample, 256)
    )
    seen = torch.cat(list(parts))  # [views that are there, D]
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(dimension, min(components + OVERSAMPLING, dimension), generator=generator)
    basis = torch.linalg.qr(start).Q.to(seen.device)
    for _ in range(POWERS):  # subspace iteration on the covariance
        turned = seen @ basis.to(seen.dtype)
        if not turned.isfinite().all():  # one feature that is no number spoils all of its row
            reader.refuse_no_numbers(sample)
        basis = torch.linalg.qr((seen.T @ turned).float()).Q
    projected = (seen @ basis.to(seen.dtype)).float()
    values, vectors = torch.linalg.eigh((projected.T @ projected).cpu())
    largest = basis.cpu() @ vectors[:, -components:].flip(1)
    spread = (values[-components:].clamp(min=0).sum() / (len(seen) * components)).sqrt()
    scaled: Tensor = largest / spread.clamp(min=1e-12)
    return scaled


def composed(network: Network, basis: Tensor) -> Network:
    """Put the projection [D, C] into the layers that look at features: the network is on D then."""
    whole = deepcopy(network)
    for name, tensor in whole.state_dict(keep_vars=True).items():
        if name in ("views.0.dense.weight", "direct.weight"):
            tensor.data = basis.to(tensor) @ tensor.data
    return whole
