"""Areas outside the training distribution: predictions of them are extrapolations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.io.tables import is_among

Floats = npt.NDArray[np.float64]

NEAREST = 5  # areas to which the distance is taken
EXPLAINED = 0.9  # share of the variance that the components explain
MOST = 16  # components
PER_COMPONENT = 10  # areas: with fewer, unseen areas seem far only because they were not fitted
PARTS = 5
ENOUGH = 1000  # areas that show the components
SMALL = 64  # rows or columns, up to which a matrix is decomposed exactly
LEAST = 0.05  # of a standardised feature
LEVEL = 0.05
ARRAYS = ("mean", "sd", "components", "spread", "points", "distances")


@dataclass(frozen=True, eq=False)
class AreaOfApplicability:
    """The areas that a model has been trained on, by their mean features.

    Features are standardised and turned into principal components, as many as explain 90% of the
    variance, at most 16 and one for ten areas, each scaled to a standard deviation of 1. How far
    features are from what the components can express is one coordinate more: what is new may be
    what none of them shows. The distance of an area is the mean of those to its 5 nearest. It is
    far if it is farther than 19 of 20 of the training areas are, each fifth of them by
    components and areas of the other four, so that of areas that are like them one in twenty is at
    most, up to chance.

    Parameters
    ----------
    mean, sd : ndarray of float, shape (D,)
        Of the features; what does not vary has sd 1.
    components : ndarray of float, shape (D, C)
        Orthonormal columns.
    spread : ndarray of float, shape (C + 2,)
        Standard deviation along each component; mean and standard deviation of the remainder.
    points : ndarray of float, shape (n, C + 1)
        The areas.
    distances : ndarray of float, shape (n,)
        Of each training area, as if it had not been one; sorted.
    """

    mean: Floats
    sd: Floats
    components: Floats
    spread: Floats
    points: Floats
    distances: Floats

    @classmethod
    def of(cls, features: npt.ArrayLike) -> AreaOfApplicability:
        """Fit the area of applicability.

        Parameters
        ----------
        features : array_like of float, shape (n, D)
            Mean features of n >= 2 areas, finite, in an order that does not depend on chance.
        """
        x = np.asarray(features, dtype=float)
        if x.ndim != 2 or len(x) < 2:
            raise ValueError("the area of applicability needs two or more areas")
        whole = cls._without_distances(x)
        distances = np.empty(len(x))
        part = np.arange(len(x)) % PARTS
        for each in np.unique(part):
            mine = part == each
            others = cls._without_distances(x[~mine]) if (~mine).any() else whole
            distances[mine] = others.distance(x[mine])
        return replace(whole, distances=np.sort(distances))

    @classmethod
    def _without_distances(cls, x: Floats) -> AreaOfApplicability:
        """Everything but the distances."""
        mean, sd = x.mean(0), x.std(0)
        sd = np.where(sd > 1e-9 * np.maximum(np.abs(mean), 1e-300), sd, 1.0)
        shown = x[np.linspace(0, len(x) - 1, min(len(x), ENOUGH)).astype(np.int64)]
        z = (shown - mean) / sd
        values, turned = _largest(z)
        share = np.cumsum(values**2) / max(float((z**2).sum()), 1e-300)
        count = int(np.searchsorted(share, EXPLAINED)) + 1
        count = max(min(count, MOST, len(x) // PER_COMPONENT, int((values > 1e-9).sum())), 1)
        components = turned[:count].T
        # The sign of a component is arbitrary: fixed, so that files are the same on every machine.
        largest = components[np.abs(components).argmax(0), np.arange(count)]
        components = components * np.where(largest < 0, -1, 1)
        along = np.where(values[:count] > 1e-9, values[:count] / np.sqrt(len(z)), 1.0)
        left = _remainder(z, z @ components)
        # Where nothing is left, what little there is must not count as much as a component.
        spread = np.r_[along, left.mean(), max(float(left.std()), LEAST * np.sqrt(x.shape[1]))]
        made = cls(mean, sd, components, spread, np.empty(0), np.empty(0))
        return replace(made, points=made._project(x))

    def _project(self, x: Floats) -> Floats:
        z = (x - self.mean) / self.sd
        along = z @ self.components
        left = (_remainder(z, along) - self.spread[-2]) / self.spread[-1]
        return np.column_stack([along / self.spread[:-2], left])

    def distance(self, features: npt.ArrayLike) -> Floats:
        """Mean distance to the 5 nearest training areas: [m]."""
        from scipy.spatial import KDTree

        nearest = list(range(1, min(NEAREST, len(self.points)) + 1))
        points = self._project(np.asarray(features, dtype=float))
        return np.asarray(KDTree(self.points).query(points, nearest)[0].mean(1))

    def dissimilarity_index(self, features: npt.ArrayLike) -> Floats:
        """Share of the training areas that are less far than these are: [m].

        0 to 1; 1 - (1 + the number that are as far or farther) / (n + 1), which is 1 - p of a
        conformal test of "it is like the others" (Laxhammar and Falkman 2010).
        """
        found = self.distance(features)
        farther = len(self.distances) - np.searchsorted(self.distances, found - 1e-12, "left")
        return np.asarray(1 - (1 + farther) / (len(self.distances) + 1), dtype=float)

    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """Give what a bundle stores, by name; `from_arrays` reads it."""
        parts = {name: getattr(self, name) for name in ARRAYS}
        return {name: np.ascontiguousarray(part, dtype=np.float32) for name, part in parts.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> AreaOfApplicability:
        """Make one of what `arrays` gave."""
        return cls(*(np.asarray(arrays[name], dtype=float) for name in ARRAYS))


def _largest(z: Floats) -> tuple[Floats, Floats]:
    """Give the largest singular values of centred z, and their directions: as rows."""
    from sklearn.decomposition import PCA

    exact = min(z.shape) <= SMALL
    count = min(z.shape) if exact else MOST
    pca = PCA(count, svd_solver="full" if exact else "randomized", random_state=0)
    with np.errstate(invalid="ignore"):  # shares of the variance, of areas that are all the same
        pca.fit(z)
    return pca.singular_values_, pca.components_


def _remainder(z: Floats, along: Floats) -> Floats:
    """How long is what components do not express."""
    return np.asarray(np.sqrt(np.maximum((z**2).sum(1) - (along**2).sum(1), 0)))


def is_outside_aoa(dissimilarity_index: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether areas are farther than 19 of 20."""
    return np.asarray(dissimilarity_index, dtype=float) >= 1 - LEVEL - 1e-12


def assess_applicability(
    features: pd.DataFrame, tested: pd.DataFrame, training_areas: pd.DataFrame
) -> pd.DataFrame:
    """Measure how far every tested area is from the training areas of its network.

    Parameters
    ----------
    features : DataFrame by area
        Mean features [D columns].
    tested : DataFrame
        ``area, fold``, one row an area; areas of fold 0 were trained on in part and are excluded.
    training_areas : DataFrame
        ``area, fold``: what each fold's network could be trained on.

    Returns
    -------
    DataFrame by area
        ``dissimilarity_index`` (0 to 1, see `AreaOfApplicability`) and ``outside_aoa``
        (bool); areas of which nothing is known are not in it.
    """
    tables = [
        pd.DataFrame({"dissimilarity_index": [], "outside_aoa": []}, pd.Index([], name="area"))
    ]
    values = features.sort_index()
    for fold, rows in tested[tested["fold"] > 0].groupby("fold"):
        known = values.index[
            is_among(values.index, training_areas.loc[training_areas["fold"] == fold, "area"])
        ]
        query = values.index[is_among(values.index, rows["area"])]
        if len(known) < 2 * NEAREST or not len(query):
            continue
        dissimilarity = AreaOfApplicability.of(values.loc[known].to_numpy()).dissimilarity_index(
            values.loc[query].to_numpy()
        )
        tables.append(
            pd.DataFrame(
                {
                    "dissimilarity_index": dissimilarity,
                    "outside_aoa": is_outside_aoa(dissimilarity),
                },
                query,
            )
        )
    found = pd.concat(tables[1:] or tables)
    return found.astype({"dissimilarity_index": "float64", "outside_aoa": "bool"}).sort_index()


def evaluate_applicability(areas: pd.DataFrame) -> dict[str, Any] | None:
    """Count the areas outside, of one outcome, and report whether errors are larger there.

    Parameters
    ----------
    areas : DataFrame
        ``outside_aoa`` (missing where nothing is known), ``decile, actual_decile, low, high``.

    Returns
    -------
    dict or None
        ``n_areas`` (of which it is known), ``n_outside`` (how many are), ``share``, ``expected``
        (the share if all areas were like those trained on); ``mae`` and ``share_within_interval``
        of those with an actual decile, and the same ``inside``; None where nothing is known of
        any area.
    """
    known = areas[areas["outside_aoa"].notna()]
    if known.empty:
        return None
    outside = known["outside_aoa"].astype(bool)
    return {
        "n_areas": len(known),
        "n_outside": int(outside.sum()),
        "share": float(outside.mean()),
        "expected": LEVEL,
        **_errors(known[outside]),
        "inside": _errors(known[~outside]),
    }


def _errors(areas: pd.DataFrame) -> dict[str, float | None]:
    rows = areas[areas["actual_decile"].notna()]
    if rows.empty:
        return {"mae": None, "share_within_interval": None}
    actual = rows["actual_decile"].astype("int64")
    inside = (rows["low"] <= actual) & (actual <= rows["high"])
    return {
        "mae": float((rows["decile"] - actual).abs().astype("float64").mean()),
        "share_within_interval": float(inside.astype("float64").mean()),
    }
