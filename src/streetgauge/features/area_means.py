"""Features of locations -> their mean over each area."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streetgauge.features.store import FeatureStore


BLOCK = 2**24  # numbers read at a time


def mean_features(
    store: FeatureStore,
    locations: pd.DataFrame,
    present: NDArray[np.bool_] | None = None,
) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Average the features of every area.

    Over the views that are there of each location, then over the area's locations.

    Parameters
    ----------
    store : FeatureStore
        Of the study.
    locations : DataFrame
        ``location_id`` and ``area``.
    present : array of bool, shape [N, V], optional
        Which views of the store are used; all that are there if not given. A location without any
        is not in the mean.

    Returns
    -------
    DataFrame
        ``area`` (sorted), ``n_locations`` (int64, with features) and ``features`` (list of D
        float32), for areas with a location that has features.
    array of float64, shape [D]
        Standard deviation of each feature over all these views.
    """
    ids = locations["location_id"].to_numpy(str)
    rows = store.rows(ids)
    known = rows >= 0
    names, area = np.unique(locations["area"].to_numpy(str)[known], return_inverse=True)
    # In the order of the keys, whatever that of the tables: sums of floats depend on it.
    order = np.lexsort((ids[known], area))
    rows, area = rows[known][order], area[order]
    dimension = store.features.shape[2]
    total, moments = np.zeros((len(names), dimension)), np.zeros((3, dimension))
    used = np.zeros(len(names))
    step = max(BLOCK // max(store.features[0].size, 1), 1) if len(rows) else 1
    present = store.present if present is None else present
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        here, first = np.unique(area[part], return_index=True)
        views, there = _read_views(store, rows[part], present)
        used += np.bincount(area[part], there.any(axis=1), len(names))
        total[here] += np.add.reduceat(_location_means(views, there), first, axis=0)
        moments += _moments(views[there > 0])
    count = np.bincount(area, minlength=len(names))
    mean = (total / used.clip(min=1)[:, None]).astype(np.float32)
    frame = pd.DataFrame(
        {
            "area": pd.Series(names, dtype="str"),
            "n_locations": count.astype(np.int64),
            "features": pd.Series(list(mean), dtype="object"),
        }
    )
    n, first_moment, second = moments / moments[0].clip(min=1)
    return frame, np.sqrt((second - first_moment**2).clip(min=0)) * (n > 0)


def feature_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Give what `mean_features` made as a frame by area with a column for each feature."""
    values = np.stack(list(frame["features"])) if len(frame) else np.empty((0, 0), np.float32)
    return pd.DataFrame(values, index=pd.Index(frame["area"], name="area"))


def _read_views(
    store: FeatureStore, rows: NDArray[np.intp], present: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read views [n, V, D], and which are there [n, V], 1 or 0."""
    there = np.asarray(present[rows], np.float64)
    return np.asarray(store.features[rows], np.float64), there


def _location_means(views: NDArray[np.float64], there: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.einsum("nvd,nv->nd", views, there)
    means: NDArray[np.float64] = total / there.sum(1).clip(min=1)[:, None]
    return means


def _moments(views: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the number, the sum and the sum of squares of features: [3, D]."""
    count = np.full(views.shape[1], float(len(views)))
    return np.stack([count, views.sum(axis=0), np.einsum("nd,nd->d", views, views)])
