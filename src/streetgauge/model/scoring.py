"""What a network says of locations: in evaluation mode, in fixed blocks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streetgauge.model.network import Network
from streetgauge.model.reading import Reader, Rows

__all__ = ["outputs_of"]


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
    with torch.inference_mode():
        said = [
            network(batch.views, batch.present, each=each).cpu()
            for batch in reader.parts(rows, reader.block)
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
