"""The kernel learner: Gaussian processes on embedded areas, fitted and predicted from features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streetgauge.features.joint import Part
from streetgauge.model.embedding import (
    LINEAR,
    NOT_LINEAR,
    RANDOM_FEATURES,
    Bags,
    Embedding,
    JointEmbedding,
    bag_locations,
)
from streetgauge.model.gaussian_process import Kernel, KernelPrediction, Regression, regress
from streetgauge.model.reading import Standardisation

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]

# A kernel is the sum of the kernels of these maps.
RIDGE_KERNELS: tuple[tuple[str, ...], ...] = ((LINEAR,),)
KERNELS = (
    *RIDGE_KERNELS,
    *((name,) for name in NOT_LINEAR),
    *((LINEAR, name) for name in NOT_LINEAR),
)
PREDICTED = 4096  # locations that are predicted at a time


@dataclass(frozen=True)
class KernelModel:
    """Fitted Gaussian processes, and what makes vectors of areas.

    Parameters
    ----------
    embedding : Embedding or JointEmbedding
        Of one source, or of several.
    regression : Regression
    """

    embedding: Embedding | JointEmbedding
    regression: Regression

    def predict(
        self,
        features: NDArray[np.floating],
        present: ArrayLike,
        *,
        rows: ArrayLike | None = None,
        areas: ArrayLike | None = None,
    ) -> KernelPrediction:
        """Predict areas, or locations.

        The mean of an area is the mean of its locations' means.

        Parameters
        ----------
        features : array of float16 or float32, shape [R, V, D]
            May be a memory map; V is free.
        present : array of bool, shape [R, V]
            Which views are there, at least one of every location.
        rows : array of int64, shape [N], optional
            Only these locations, in this order.
        areas : array, shape [N], optional
            Areas of the locations. Without it every location is predicted as an area of its own.

        Returns
        -------
        KernelPrediction
            For each area in the sorted order of their names, or for each location.

        Raises
        ------
        InputError
            Naming a row, if a view that is there has a feature that is not a finite number.
        """
        there = np.asarray(present, np.bool_)
        picked = np.arange(len(features)) if rows is None else np.asarray(rows, np.int64)
        if areas is not None:
            _, area = np.unique(np.asarray(areas), return_inverse=True)
            return self.regression.predict(self.embedding(Bags(features, there, picked, area)))
        parts = [
            self.regression.predict(
                self.embedding(Bags(features, there, part, np.arange(len(part))))
            )
            for part in np.split(picked, np.arange(PREDICTED, len(picked), PREDICTED))
        ]
        return KernelPrediction(
            np.concatenate([part.mean for part in parts]),
            np.concatenate([part.sd for part in parts]),
        )

    def expected(self, features: NDArray[np.floating], present: Flags, rows: Rows) -> Floats:
        """Give the expected decile of locations, each as an area of its own.

        Parameters
        ----------
        features, present
            As for `predict`.
        rows : array of int64, shape [N]

        Returns
        -------
        array of float64, shape [N, M]
        """
        parts = [
            self.regression.expected(
                self.embedding(Bags(features, present, part, np.arange(len(part))))
            )
            for part in np.split(rows, np.arange(PREDICTED, len(rows), PREDICTED))
        ]
        return np.concatenate(parts)

    def pick(self, outcomes: Sequence[int]) -> Self:
        """Give the model of these outcomes only, by position, in this order."""
        return replace(self, regression=self.regression.pick(outcomes))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Give the fitted state as named arrays, for a safetensors file."""
        regression = self.regression
        state: dict[str, NDArray[Any]] = {
            "regression.mean": regression.mean,
            "regression.noise": regression.noise,
            "regression.evidence": regression.evidence,
        }
        if isinstance(self.embedding, Embedding):
            state |= _embedding_tensors(self.embedding)
        else:
            joint = self.embedding
            each = zip(joint.parts, joint.embeddings, joint.centres, strict=True)
            for part, embedding, centres in each:
                own = _embedding_tensors(embedding)
                own |= {f"centres.{k}": centre for k, centre in enumerate(centres)}
                state |= {f"sources.{part.name}.{name}": array for name, array in own.items()}
        for k, kernel in enumerate(regression.kernels):
            state |= {f"kernels.{k}.{f.name}": getattr(kernel, f.name) for f in fields(kernel)}
        return {name: np.array(array, order="C") for name, array in state.items()}

    @classmethod
    def from_tensors(cls, state: Mapping[str, NDArray[Any]], parts: Sequence[Part] = ()) -> Self:
        """Make the model from what `tensors` gives.

        Parameters
        ----------
        state : mapping of name to array
        parts : sequence of Part
            The sources, where there are several.

        Returns
        -------
        KernelModel

        Raises
        ------
        KeyError
            If a tensor is missing.
        """
        embedding = _joint_embedding(state, parts) if parts else _embedding(state)
        count = len({name.split(".")[1] for name in state if name.startswith("kernels.")})
        kernels = tuple(
            Kernel(**{f.name: state[f"kernels.{k}.{f.name}"] for f in fields(Kernel)})
            for k in range(count)
        )
        of = (state[f"regression.{name}"] for name in ("mean", "noise", "evidence"))
        return cls(embedding, Regression(kernels, *of))


def _embedding_tensors(embedding: Embedding) -> dict[str, NDArray[Any]]:
    """Give what describes an embedding as named arrays."""
    linear = {} if embedding.linear is None else {"linear": embedding.linear}
    return {
        "mean": embedding.scale.mean,
        "sd": embedding.scale.sd,
        "components": embedding.components,
        **{f"frequencies.{name}": each for name, each in embedding.frequencies.items()},
        **linear,
    }


def _embedding(state: Mapping[str, NDArray[Any]]) -> Embedding:
    """Make an embedding of what `_embedding_tensors` gives."""
    names = [name for name in RANDOM_FEATURES if f"frequencies.{name}" in state]
    return Embedding(
        Standardisation(state["mean"], state["sd"]),
        state["components"],
        state.get("linear"),
        {name: state[f"frequencies.{name}"] for name in names},
    )


def _joint_embedding(state: Mapping[str, NDArray[Any]], parts: Sequence[Part]) -> JointEmbedding:
    """Make the embedding of several sources of named arrays."""
    found = []
    for part in parts:
        first = f"sources.{part.name}."
        own = {n.removeprefix(first): x for n, x in state.items() if n.startswith(first)}
        if own:  # no training area of a fold may have had the source
            count = sum(name.startswith("centres.") for name in own)
            centres = tuple(own[f"centres.{k}"] for k in range(count))
            found.append((part, _embedding(own), centres))
    known, embeddings, means = zip(*found, strict=True) if found else ((), (), ())
    return JointEmbedding(known, embeddings, means)


def fit_kernel(
    features: NDArray[np.floating],
    present: ArrayLike,
    deciles: ArrayLike,
    areas: ArrayLike,
    *,
    rows: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    kernels: Sequence[tuple[str, ...]] = KERNELS,
    seed: int = 0,
) -> KernelModel:
    """Fit Gaussian processes to the deciles of areas.

    Parameters
    ----------
    features : array of float16 or float32, shape [R, V, D]
        May be a memory map; it is read in blocks.
    present : array of bool, shape [R, V]
        Which views are there, at least one of every location.
    deciles : array, shape [N, M]
        Of each location's area, NaN where missing; any numbers that are better averaged than not.
    areas : array, shape [N]
        Area of each location.
    rows : array of int64, shape [N], optional
        Row of each location; the same position if not given.
    weight : array, shape [N], optional
        Weights of the locations, at least 0: within their area, and their mean as that of the
        area. Locations without any are not used.
    kernels : sequence of tuple of str
        Maps whose kernels each kernel sums: `KERNELS`, or `RIDGE_KERNELS` for a Bayesian ridge.
    seed : int
        Of random features and of the sample that shows components and widths. Same inputs in the
        same order and same seed, same model.

    Returns
    -------
    KernelModel

    Raises
    ------
    InputError
        If an outcome has a label in fewer than two areas, or a view that is there has a feature
        that is not a finite number.

    Examples
    --------
    Forty areas of five locations with two views; their decile follows from the first feature:

    >>> rng = np.random.default_rng(0)
    >>> truth = rng.permutation(np.arange(40)) // 4 + 1
    >>> area = np.repeat(np.arange(40), 5)
    >>> views = rng.normal(size=(200, 2, 3)).astype(np.float32)
    >>> views[..., 0] += truth[area, None]
    >>> present = np.ones((200, 2), bool)
    >>> train = np.flatnonzero(area < 30)
    >>> model = fit_kernel(views, present, truth[area[train], None], area[train], rows=train)
    >>> test = np.flatnonzero(area >= 30)
    >>> predicted = model.predict(views, present, rows=test, areas=area[test])
    >>> bool(np.corrcoef(predicted.mean[:, 0], truth[30:])[0, 1] > 0.95)
    True
    """
    bags, labels, area_weight = bag_locations(
        features, present, deciles, areas, rows=rows, weight=weight
    )
    embedding = Embedding.of(bags, seed)
    if tuple(kernels) == RIDGE_KERNELS:
        embedding = embedding.linear_only()
    regression = fit_kernels(embedding, embedding(bags), labels, area_weight, kernels)
    return KernelModel(embedding, regression)


def fit_kernels(
    embedding: Embedding | JointEmbedding,
    maps: Sequence[NDArray[np.float32]],
    labels: Floats,
    weight: Floats,
    kernels: Sequence[tuple[str, ...]],
    *,
    variance: bool = True,
) -> Regression:
    """Fit Gaussian processes to embedded areas, with kernels given by the names of their maps.

    Parameters
    ----------
    embedding : Embedding or JointEmbedding
        What embedded them.
    maps, labels, weight, variance
        As for `regress`.
    kernels : sequence of tuple of str
        Of one source; of several they are made of these.

    Returns
    -------
    Regression
    """
    prior = None
    if isinstance(embedding, JointEmbedding):
        kernels, prior = embedding.kernels(kernels)
    names = embedding.maps
    parts = [[names.index(name) for name in kernel] for kernel in kernels]
    return regress(maps, labels, weight, parts, prior=prior, variance=variance)
