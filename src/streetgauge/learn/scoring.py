"""What a network says of locations: in evaluation mode, in float32, in fixed blocks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streetgauge.learn.network import Network
from streetgauge.learn.reading import Reader, Rows

__all__ = ["outputs_of"]

# Locations at a time. Fixed, since how a product is blocked shows in the last bits of a score.
LOCATIONS_AT_A_TIME = 256


def outputs_of(network: Network, reader: Reader, rows: Rows, *, each: bool = False) -> Tensor:
    """Ask a network about locations: no noise, no dropout, running batch-norm values.

    Returns
    -------
    Tensor of float32, shape [len(rows), M, outputs], on the CPU
        What the network's head turns into scores and probabilities; with ``each`` what every
        member says by itself, [len(rows), E, M, outputs].

    Raises
    ------
    InputError
        If they are no numbers because a feature is none: names its row.
    """
    network.eval()
    if not len(rows):
        outcomes = len(network.score.bias) // network.members
        shape = (network.members, outcomes) if each else (outcomes,)
        return torch.empty(0, *shape, network.head.outputs)
    mixed = reader.dtype != torch.float32
    with torch.inference_mode(), torch.autocast(reader.device.type, reader.dtype, enabled=mixed):
        said = [
            network(batch.views, batch.present, each=each).cpu()
            for batch in reader.parts(rows, LOCATIONS_AT_A_TIME)
        ]
    outputs = torch.cat(said)
    if not outputs.isfinite().all():
        reader.refuse_no_numbers(rows)
    return outputs


def scores_of(network: Network, outputs: Tensor) -> NDArray[np.float32]:
    """Give one number per location and outcome, higher for better off: [n, M]."""
    with torch.inference_mode():
        score: NDArray[np.float32] = network.head.to("cpu").score(outputs).float().numpy()
    return score
