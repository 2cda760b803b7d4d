"""Kernels as vectors: a kernel's value for two areas is the product of their vectors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

LANDMARKS = 500  # areas that span the kernels of places, which are exact up to so many
SMOOTHNESS = (0.5, 1.5)  # of Matérn kernels
RANGES = 4  # from the median distance to the nearest area to that between any two


def matern_maps(points: Floats) -> list[Singles]:
    """Give vectors of points [A, 2] whose products are Matérn covariances: [A, landmarks] each.

    Of every smoothness and range; zero for points that are not known. With more than `LANDMARKS`
    points the covariances are approximate; none where all points are one.

    Examples
    --------
    >>> line = np.column_stack([np.arange(4.0), np.zeros(4)])
    >>> vectors = matern_maps(line)[0]  # smoothness 1/2, range 1
    >>> round(float(vectors[0] @ vectors[1]), 2)  # exp(-1)
    0.37
    """
    from scipy.spatial.distance import cdist

    here = np.flatnonzero(np.isfinite(points).all(axis=1))
    marks = here[landmarks(len(here), LANDMARKS)]
    if len(marks) < 2 or not np.ptp(points[marks], axis=0).any():
        return []
    between, reaching = cdist(points[marks], points[marks]), cdist(points[marks], points[here])
    apart = np.where(between > 0, between, np.inf).min(axis=0)
    near, far = np.median(apart), np.median(between[np.triu_indices(len(marks), 1)])
    maps = []
    for smoothness in SMOOTHNESS:
        for reach in np.geomspace(near, max(near, far), RANGES):
            inner, cross = (_matern(d / reach, smoothness) for d in (between, reaching))
            found = np.zeros((len(points), len(marks)), np.float32)
            found[here] = spanned(inner, cross)
            maps.append(found)
    return maps


def landmarks(count: int, most: int) -> npt.NDArray[np.int64]:
    """Draw the rows that span a kernel: all, up to so many."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def spanned(inner: Floats, cross: Floats) -> Floats:
    """Give vectors [A, landmarks] whose products are a kernel's values.

    ``inner`` has the values among the landmarks, ``cross`` those of landmarks with all rows.
    Exact where every row is a landmark; else the Nyström approximation (Williams and Seeger 2001,
    *Using the Nyström method to speed up kernel machines*).
    """
    from scipy.linalg import cholesky, solve_triangular

    lower = cholesky(inner + 1e-6 * np.eye(len(inner)), lower=True)
    found: Floats = solve_triangular(lower, cross, lower=True).T
    return found


def _matern(scaled: Floats, smoothness: float) -> Floats:
    if smoothness == 0.5:
        return np.asarray(np.exp(-scaled))
    root = np.sqrt(3) * scaled
    return np.asarray((1 + root) * np.exp(-root))
