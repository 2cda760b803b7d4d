"""Features of locations -> their mean over each area."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streetgauge.features.store import FeatureStore

__all__ = ["feature_table", "mean_features"]

BLOCK = 2**24  # numbers read at a time


def mean_features(store: FeatureStore, locations: pd.DataFrame) -> pd.DataFrame:
    """Average the features of every area.

    Over the views that are there of each location, then over the area's locations.

    Parameters
    ----------
    store : FeatureStore
        Of the study.
    locations : DataFrame
        ``location_id`` and ``area``.

    Returns
    -------
    DataFrame
        ``area`` (sorted), ``n_locations`` (int64, with features) and ``features`` (list of D
        float32), for areas with a location that has features.
    """
    ids = locations["location_id"].to_numpy(str)
    rows = store.rows(ids)
    known = rows >= 0
    names, area = np.unique(locations["area"].to_numpy(str)[known], return_inverse=True)
    # In the order of the keys, whatever that of the tables: sums of floats depend on it.
    order = np.lexsort((ids[known], area))
    rows, area = rows[known][order], area[order]
    dimension = store.features.shape[2]
    total = np.zeros((len(names), dimension))
    step = max(BLOCK // max(store.features[0].size, 1), 1) if len(rows) else 1
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        here, first = np.unique(area[part], return_index=True)
        total[here] += np.add.reduceat(_location_means(store, rows[part]), first, axis=0)
    count = np.bincount(area, minlength=len(names))
    mean = (total / count.clip(min=1)[:, None]).astype(np.float32)
    return pd.DataFrame(
        {
            "area": pd.Series(names, dtype="str"),
            "n_locations": count.astype(np.int64),
            "features": pd.Series(list(mean), dtype="object"),
        }
    )


def feature_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Give what `mean_features` made as a frame by area with a column for each feature."""
    values = np.stack(list(frame["features"])) if len(frame) else np.empty((0, 0), np.float32)
    return pd.DataFrame(values, index=pd.Index(frame["area"], name="area"))


def _location_means(store: FeatureStore, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    there = np.asarray(store.present[rows], np.float64)
    features = np.asarray(store.features[rows], np.float64)
    total = np.einsum("nvd,nv->nd", features, there)
    means: NDArray[np.float64] = total / there.sum(1).clip(min=1)[:, None]
    return means
