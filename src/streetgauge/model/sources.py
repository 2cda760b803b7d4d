"""Several sources: how much each counts in a network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from streetgauge.model.embedding import LINEAR, JointEmbedding, bag_locations
from streetgauge.model.gaussian_process import regress
from streetgauge.model.training_data import TrainingData

__all__ = ["source_weights"]

KERNELS = ((LINEAR,), (LINEAR, "view-0.5"))
LEAST = 0.01  # what a source that tells nothing still counts


def source_weights(data: TrainingData, rows: NDArray[np.int64], seed: int) -> dict[str, float]:
    """Give how likely it is that each source tells something of any outcome beside the others.

    By the marginal likelihood of Gaussian processes on each source alone, on all, and on all but
    one. A network has no such measure of its own: its layers learn the noise of a source that tells
    nothing by heart, which costs more than the source could give.

    Parameters
    ----------
    data : TrainingData
        Of several sources.
    rows : array of int64
        Those to train on.
    seed : int
        Of the embedding.

    Returns
    -------
    dict of str to float
        At least `LEAST`; 1 for all where too few areas have a label to tell.
    """
    weight = None if data.sample_weight is None else np.asarray(data.sample_weight)[rows]
    if weight is not None and weight.ndim > 1:
        weight = weight.mean(axis=1)
    bags, labels, of_area = bag_locations(
        data.features,
        data.present,
        data.deciles[rows],
        data.areas[rows],
        rows=rows,
        weight=weight,
    )
    if (~np.isnan(labels)).sum(axis=0).min() < 2:
        return {part.name: 1.0 for part in data.parts}
    embedding = JointEmbedding.of(bags, data.parts, seed)
    kernels, prior = embedding.kernels(KERNELS)
    parts = [[embedding.maps.index(name) for name in kernel] for kernel in kernels]
    fitted = regress(embedding(bags), labels, of_area, parts)
    likely = logsumexp(fitted.evidence, axis=1) + np.array(prior)[:, None]
    share = np.exp(likely - logsumexp(likely, axis=0))
    found = {part.name: LEAST for part in data.parts}
    for part in embedding.parts:
        uses = [any(name.startswith(f"{part.name}/") for name in kernel) for kernel in kernels]
        found[part.name] = max(LEAST, float(share[uses].sum(axis=0).max()))
    return found
