"""Several sources: how much each counts in a network, and what the areas show of each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp

from streetgauge.model.embedding import (
    LINEAR,
    Bags,
    JointEmbedding,
    bag_locations,
    sources_of,
    subsets,
)
from streetgauge.model.gaussian_process import Fitted, fit_each
from streetgauge.model.kernel import KERNELS
from streetgauge.model.reading import located
from streetgauge.model.training_data import TrainingData
from streetgauge.progress import Advance, Progress, silent
from streetgauge.seeds import derive_seed
from streetgauge.splits.folds import Split

FEW_KERNELS = ((LINEAR,), (LINEAR, "view-0.5"))
LEAST = 0.01  # what a source that adds nothing still counts


@dataclass(frozen=True)
class _FittedSources:
    """Kernels of each source alone, of all, and of all but one, on the same areas."""

    embedding: JointEmbedding
    kernels: list[tuple[str, ...]]
    prior: list[float]
    fitted: Fitted

    @classmethod
    def of(
        cls,
        data: TrainingData,
        rows: NDArray[np.int64],
        seed: int,
        kernels: Sequence[tuple[str, ...]],
        advance: Advance = lambda _: None,
    ) -> Self | None:
        """Fit them; None where too few of the areas of these rows have a label."""
        weight = None if data.sample_weight is None else np.asarray(data.sample_weight)[rows]
        if weight is not None and weight.ndim > 1:
            weight = weight.mean(axis=1)
        given = (data.features, data.present, data.deciles[rows], data.areas[rows])
        bags, labels, of_area = bag_locations(*given, rows=rows, weight=weight)
        if (~np.isnan(labels)).sum(axis=0).min() < 2:
            return None
        embedding = JointEmbedding.of(bags, data.parts, seed)
        joint, prior = embedding.kernels(kernels)
        parts = [[embedding.maps.index(name) for name in kernel] for kernel in joint]
        fitted = fit_each(embedding(bags), labels, of_area, parts, advance=advance)
        return cls(embedding, joint, prior, fitted)

    def among(self, sources: Sequence[str]) -> list[int]:
        """Give the positions of the kernels of these sources."""
        return [k for k, each in enumerate(self.kernels) if sources_of(each) <= set(sources)]


def source_weights(data: TrainingData, rows: NDArray[np.int64], seed: int) -> dict[str, float]:
    """Give how likely it is that each source shows something that the others do not.

    By the marginal likelihood of Gaussian processes on each source alone, on all, and on all but
    one. A network has no such measure of its own: its layers learn the noise of a source that shows
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
        At least `LEAST`; 1 for all where too few areas have a label to decide.
    """
    each = _FittedSources.of(data, rows, seed, FEW_KERNELS)
    if each is None:
        return {part.name: 1.0 for part in data.parts}
    likely = logsumexp(each.fitted.evidence, axis=1) + np.array(each.prior)[:, None]
    share = np.exp(likely - logsumexp(likely, axis=0))
    found = {}
    for part in data.parts:
        uses = np.array([part.name in sources_of(kernel) for kernel in each.kernels])
        found[part.name] = max(LEAST, float(share[uses].sum(axis=0).max(initial=0)))
    return found


def predict_by_sources(
    data: TrainingData, splits: Sequence[Split], *, seed: int, progress: Progress = silent
) -> pd.DataFrame:
    """Predict the tested areas from each source alone, from all, and from all but one.

    By Gaussian processes, the same for all, so that what differs is what they see. A location
    without any of the sources counts as the mean of those that have them: so all are compared on
    the same areas.

    Parameters
    ----------
    data : TrainingData
        Of several sources.
    splits : sequence of Split
    seed : int
        Of the study.
    progress : Progress
        Receives kernels.

    Returns
    -------
    DataFrame
        ``sources`` (names, joined by `` + ``), ``outcome``, ``area``, ``fold``, ``score`` (the
        expected decile, mean over the area's tested locations), ``share`` (of these locations, that
        have any of the sources).
    """
    data, tested = data.by_row([each for each in splits if len(each.test)])
    chosen = subsets([part.name for part in data.parts])
    frames = []
    steps = len(chosen) * sum(LINEAR in kernel for kernel in KERNELS)
    with progress("sources", steps * len(tested), "kernels") as advance, located(data.location_ids):
        for split in tested:
            used, own = data.without_shared(split)
            rows = np.concatenate([own.training, own.validation])
            rows = rows[~np.isnan(data.deciles[rows].astype(float)).all(axis=1)]
            own_seed = derive_seed(seed, "sources", split.name)
            each = _FittedSources.of(used, rows, own_seed, KERNELS, advance)
            if each is not None:
                frames += [_predicted(each, data, split, subset) for subset in chosen]
    columns = ["sources", "outcome", "area", "fold", "score", "share"]
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    return frame[columns].sort_values(columns[:3], ignore_index=True)


def _predicted(
    each: _FittedSources, data: TrainingData, split: Split, subset: tuple[str, ...]
) -> pd.DataFrame:
    """Predict the tested areas of a split from some of the sources."""
    names, area = np.unique(data.areas[split.test].astype(str), return_inverse=True)
    among = each.among(subset)
    if among:
        maps = each.embedding(Bags(data.features, data.present, split.test, area))
        score = each.fitted.averaged(each.prior, among).expected(maps)
    else:  # no training area has the source
        score = np.tile(each.fitted.mean, (len(names), 1))
    views = [part.views for part in data.parts if part.name in subset]
    here = np.any([data.present[split.test][:, each].any(axis=1) for each in views], axis=0)
    outcomes = list(data.outcomes)
    return pd.DataFrame(
        {
            "sources": " + ".join(subset),
            "outcome": np.repeat(outcomes, len(names)),
            "area": np.tile(names, len(outcomes)),
            "fold": np.int64(split.fold),
            "score": score.T.ravel(),
            "share": np.tile(np.bincount(area, here) / np.bincount(area), len(outcomes)),
        }
    )
