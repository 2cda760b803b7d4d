"""Whether what is alike lies together: spatial autocorrelation, and where errors gather.

Moran's I is near 0 where values lie as if they had been shuffled over the areas, and near 1 where
neighbours are alike (Moran 1950, Biometrika 37, 17-23). Labels whose neighbours are alike make
random folds easy; residuals whose neighbours are alike show that the map is wrong by districts, not
by areas, and that neighbours' errors must not be counted as independent.
"""

from __future__ import annotations

import math
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from streetgauge.errors import InputError
from streetgauge.io.tables import is_among

if TYPE_CHECKING:
    import geopandas as gpd


Floats = npt.NDArray[np.float64]

NEAREST = 6  # neighbours where there are no boundaries: as many as areas of a plane map have
TOUCHING = 1.0  # metres: boundaries that were simplified apart still touch
PERMUTATIONS = 999
# Of local clusters, so that a single area can pass in a small city, and 1% of all in a large one.
LOCAL_PERMUTATIONS = 9999
LOCAL_PERMUTATIONS_OF_MANY = 1999
MANY = 1000
LEVEL = 0.05
NO_TIE = 1e-9  # of two sums
FEWEST = 8  # areas, below which nothing is reported


class Neighbours:
    """Who borders on whom.

    Parameters
    ----------
    areas : Index of str
        Codes, without repetition.
    pairs : array_like of int, shape (m, 2)
        Positions of area and neighbour; an area is none of its own neighbours.
    kind : str
        ``contiguity`` or ``nearest``.
    islands : int
        How many areas bordered on none and were joined to the nearest.
    """

    def __init__(
        self, areas: pd.Index, pairs: npt.ArrayLike, kind: str = "contiguity", islands: int = 0
    ) -> None:
        pair = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
        key = pair[:, 0] * max(len(areas), 1) + pair[:, 1]  # one number sorts faster than two
        key = np.unique(key[pair[:, 0] != pair[:, 1]])
        self.pairs = np.column_stack(np.divmod(key, max(len(areas), 1)))
        self.areas, self.kind, self.islands = areas, kind, islands

    @classmethod
    def of_boundaries(cls, boundaries: gpd.GeoDataFrame) -> Neighbours:
        """Join areas whose boundaries touch, give or take a metre (queen contiguity).

        An island, or an area all of whose neighbours were excluded, is joined to the area whose
        boundary is nearest. Areas without a boundary are excluded.

        Parameters
        ----------
        boundaries : GeoDataFrame by area
            In any coordinate system.
        """
        shapes = _shapes(boundaries).sort_index()
        if len(shapes) < 2:
            return cls(shapes.index, np.empty((0, 2)))
        shapes = shapes.to_crs(metric_crs(shapes))
        geometry, index = shapes.to_numpy(), shapes.sindex
        found = index.query(geometry, predicate="dwithin", distance=TOUCHING).T
        pairs = found[found[:, 0] != found[:, 1]]
        alone = np.setdiff1d(np.arange(len(geometry)), pairs[:, 0])
        if len(alone):
            near = index.nearest(geometry[alone], exclusive=True, return_all=False).T
            own = np.column_stack([alone[near[:, 0]], near[:, 1]])
            pairs = np.concatenate([pairs, own, own[:, ::-1]])
        return cls(shapes.index, pairs, "contiguity", len(alone))

    @classmethod
    def of_points(cls, coordinates: pd.DataFrame, nearest: int = NEAREST) -> Neighbours:
        """Join each area to the ``nearest`` others, by the distance of their points.

        Parameters
        ----------
        coordinates : DataFrame by area
            ``x``, ``y`` in metres; areas without them are excluded.
        nearest : int, default 6
            If there are fewer other areas, all of them.
        """
        from scipy.spatial import KDTree

        # In the order of the codes: areas at one point are then the same neighbours in every order.
        points = coordinates[["x", "y"]].dropna().sort_index()
        count = min(nearest, len(points) - 1)
        if count < 1:
            return cls(points.index, np.empty((0, 2)), "nearest")
        xy = points.to_numpy(float)
        found = KDTree(xy).query(xy, count + 1)[1]
        own = np.arange(len(xy))[:, None]
        # An area is the first that is nearest to itself, but among others at its very point.
        order = np.argsort(found != own, axis=1, kind="stable")
        others = np.take_along_axis(found, order, axis=1)[:, 1:]
        pairs = np.column_stack([np.repeat(own, count), others.ravel()])
        return cls(points.index, pairs, "nearest")

    def of(self, areas: pd.Index) -> Neighbours:
        """Select those of these areas that have a neighbour among them, in the order given."""
        here = is_among(self.areas, areas)
        while True:  # who has none goes; of nearest areas, somebody may lose the last one by that
            pairs = self.pairs[here[self.pairs].all(1)]
            left = np.zeros_like(here)
            left[pairs[:, 0]] = True
            if (left == here).all():
                break
            here = left
        shared = areas[is_among(areas, self.areas[here])]
        position = shared.get_indexer(self.areas)
        return Neighbours(shared, position[pairs], self.kind, self.islands)

    @property
    def weights(self) -> csr_array:
        """Each row shares 1 among the area's neighbours: [n, n]."""
        n = len(self.areas)
        row, column = self.pairs.T
        count = np.bincount(row, minlength=n)
        return csr_array((1 / count[row], (row, column)), shape=(n, n))

    def lag(self, values: pd.Series) -> pd.Series:
        """Mean over each area's neighbours that have a value; missing where none has.

        Parameters
        ----------
        values : Series of float by area
        """
        query = pd.DataFrame(
            {
                "area": self.areas.take(self.pairs[:, 0]),
                "value": values.reindex(self.areas).to_numpy(float)[self.pairs[:, 1]],
            }
        )
        return query.groupby("area")["value"].mean().reindex(values.index)


def moran(
    values: npt.ArrayLike,
    weights: csr_array,
    rng: np.random.Generator,
    permutations: int = PERMUTATIONS,
) -> dict[str, float | None]:
    """Compute Moran's I, and how often shuffled values are as far from what shuffling gives.

    Parameters
    ----------
    values : array_like of float, shape (n,)
    weights : sparse array, shape (n, n)
        From `Neighbours`.
    rng : Generator
        Of the permutations.
    permutations : int, default 999
        How many.

    Returns
    -------
    dict
        ``value`` (I); ``expected``, -1 / (n - 1); ``p``, two-sided, (1 + the number of permutations
        whose I is as far from the mean of them all) / (1 + permutations), or of more than 1,000
        areas what the normal distribution gives that it then follows. All None with fewer than 8
        areas or values that do not vary.
    """
    value = np.asarray(values, dtype=float)
    n = value.size
    z = value - value.mean() if n else value
    squares = float(z @ z)
    if n < FEWEST or squares <= 1e-12 * max(float(value @ value), 1e-300):
        return {"value": None, "expected": None, "p": None}
    scale = n / weights.sum() / squares
    found = float(z @ (weights @ z) * scale)
    expected = -1 / (n - 1)
    if n > MANY:
        p = math.erfc(abs(found - expected) / _moran_sd(z, weights) / math.sqrt(2))
        return {"value": found, "expected": expected, "p": p}
    shuffled = rng.permuted(np.tile(z, (permutations, 1)), axis=1).T
    sample = (shuffled * (weights @ shuffled)).sum(0) * scale
    middle = sample.mean()
    # Permutations that are the same map again must count, whatever the last bits of a sum.
    far = np.abs(sample - middle) >= abs(found - middle) - 1e-12
    p = float((1 + far.sum()) / (1 + permutations))
    return {"value": found, "expected": expected, "p": p}


def _moran_sd(z: Floats, weights: csr_array) -> float:
    """Compute the standard deviation of I over all permutations: Cliff and Ord (1981), 2.28."""
    n, total = float(len(z)), float(weights.sum())
    both = weights + weights.T
    pairs = float((both * both).sum()) / 2
    sums = float(((weights.sum(0) + weights.sum(1)) ** 2).sum())
    kurtosis = n * float((z**4).sum()) / float(z @ z) ** 2
    wide = n * ((n**2 - 3 * n + 3) * pairs - n * sums + 3 * total**2)
    peaked = kurtosis * ((n**2 - n) * pairs - 2 * n * sums + 6 * total**2)
    squared = (wide - peaked) / ((n - 1) * (n - 2) * (n - 3) * total**2)
    return math.sqrt(squared - 1 / (n - 1) ** 2)


def error_clusters(error: pd.Series, neighbours: Neighbours, seed: int) -> pd.Series:
    """Find where large errors gather, and where small ones do.

    Local Moran's I (Anselin 1995, Geographical Analysis 27, 93-115) against conditional
    permutations. An area is in a cluster if it and its neighbours on average err more than the
    city's mean, or both less, and I is larger than by chance, with the false discovery rate held at
    5% (Caldas de Castro and Singer 2006).

    Parameters
    ----------
    error : Series of float by area
        Absolute errors; missing where they are not known.
    neighbours : Neighbours
    seed : int

    Returns
    -------
    Series of str by area
        ``high``, ``low``; missing outside of clusters, or where nothing is known.
    """
    cluster = pd.Series(None, index=error.index, dtype="str")
    joined = neighbours.of(error.index[error.notna()].sort_values())
    value = error[joined.areas].to_numpy(float)
    if len(value) < FEWEST or np.ptp(value) == 0:
        return cluster
    z = (value - value.mean()) / value.std()
    weights = joined.weights
    lag = weights @ z
    few = len(value) <= MANY
    permutations = LOCAL_PERMUTATIONS if few else LOCAL_PERMUTATIONS_OF_MANY
    observed = (len(z) - 1) * z * lag / (z * z).sum()
    alike = _local_p(z, weights, observed, permutations, seed)
    found = alike <= _threshold(alike)
    for name, where in (("high", (z > 0) & (lag > 0)), ("low", (z <= 0) & (lag <= 0))):
        cluster[joined.areas[found & where]] = name
    return cluster


def _local_p(
    z: Floats, weights: csr_array, observed: Floats, permutations: int, seed: int
) -> npt.NDArray[np.float32]:
    """Compute for every area how often I is as large when others' values are permuted.

    1 where an area is unlike its neighbours, or that is often so. The same numbers as esda's, ties
    included, in a fraction of the time: from an area to the next only those sums of draws change
    that have either of the two, and only ties are computed as esda does it, to the last bit.
    """
    n, counts = len(z), np.diff(weights.indptr)
    drawn = _drawn(n - 1, int(counts.max()), permutations, seed)
    sums = z[drawn + 1].cumsum(axis=0)  # of an area's first draws, [most, permutations]
    order = np.argsort(drawn, axis=None, kind="stable")
    ends = np.searchsorted(drawn.ravel()[order], np.arange(n)).tolist()
    row, column = (each.tolist() for each in np.unravel_index(order, drawn.shape))
    scale, lag = (n - 1) / (z * z).sum(), weights @ z
    p = np.ones(n, np.float32)
    for i, count in enumerate(counts.tolist()):
        # Of all others: draw d is the d-th area before this one, the one after d from it on.
        for each in range(ends[i - 1], ends[i]) if i else ():
            sums[row[each] :, column[each]] += z[i - 1] - z[i]
        if observed[i] <= 0:
            continue
        as_here = counts[i] * lag[i]
        slack = NO_TIE * max(abs(as_here), 1)
        tails = [np.count_nonzero(sums[count - 1] < as_here - slack)]
        tails += [np.count_nonzero(sums[count - 1] > as_here + slack)]
        if min(tails) > LEVEL * permutations:  # whatever the ties
            continue
        ties = np.flatnonzero(np.abs(sums[count - 1] - as_here) <= slack)
        other = drawn[:count, ties].T
        own = weights.data[weights.indptr[i] : weights.indptr[i + 1]]
        others = z[other + (other >= i)]
        tied = int((z[i] * (others @ own) * scale >= observed[i]).sum())
        larger = tails[int(z[i] > 0)] + tied
        p[i] = (min(larger, permutations - larger) + 1) / (permutations + 1)
    return p


@lru_cache(maxsize=4)
def _drawn(others: int, most: int, permutations: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw so many of an area's others for every permutation: [most, permutations]."""
    rng = np.random.RandomState(seed)
    return np.array([rng.permutation(others)[:most] for _ in range(permutations)]).T.copy()


def _threshold(p: npt.NDArray[np.float32]) -> float:
    """Find the largest p that the false discovery rate allows; with none, Bonferroni's."""
    allowed = np.arange(1, len(p) + 1) * LEVEL / len(p)
    below = np.flatnonzero(np.sort(p) < allowed)
    return allowed[below[-1]] if len(below) else LEVEL / len(p)


def structure(
    areas: pd.DataFrame, neighbours: Neighbours, seed: int
) -> tuple[dict[str, dict[str, Any]], pd.DataFrame]:
    """Report for every outcome how labels, predictions and residuals lie, and where errors gather.

    Parameters
    ----------
    areas : DataFrame
        ``area, outcome, decile, actual_decile``.
    neighbours : Neighbours
        Of these areas, or of more.
    seed : int
        Each outcome has a stream of chance of its own.

    Returns
    -------
    evaluations : dict
        By outcome: ``n_areas`` (tested, with an actual decile and a neighbour that has one),
        ``neighbours`` (``contiguity`` or ``nearest``), ``mean_neighbours``, ``islands``;
        ``labels``, ``predictions`` and ``residuals`` (predicted less actual), each as
        `moran` has it; ``clusters``, the number of areas in ``high`` and ``low`` ones.
    columns : DataFrame
        In the rows of ``areas``: ``residual_nearby``, the mean residual of an area's neighbours,
        for the Moran scatter plot; and ``error_cluster``.
    """
    columns = pd.DataFrame(
        {
            "residual_nearby": np.full(len(areas), np.nan),
            "error_cluster": pd.Series(None, index=areas.index, dtype="str"),
        },
        index=areas.index,
    )
    evaluations = {}
    for outcome, rows in areas.groupby("outcome", sort=True):
        frame = rows.set_index("area").sort_index()
        residual = (frame["decile"] - frame["actual_decile"]).astype("Float64").astype("float64")
        joined = neighbours.of(residual.index[residual.notna()])
        own = zlib.crc32(str(outcome).encode())
        rng = np.random.default_rng([seed, own])
        known = frame.loc[joined.areas]
        weights = joined.weights
        labels, predictions = (known[c].astype("float64") for c in ("actual_decile", "decile"))
        # Of many areas all outcomes have the same draws, which take longer than what follows.
        chance = seed if len(joined.areas) > MANY else (seed + own) % 2**32
        cluster = error_clusters(residual.abs(), joined, chance)
        evaluations[str(outcome)] = {
            "n_areas": len(known),
            "neighbours": joined.kind,
            "mean_neighbours": len(joined.pairs) / len(known) if len(known) else None,
            "islands": joined.islands,
            "labels": moran(labels, weights, rng),
            "predictions": moran(predictions, weights, rng),
            "residuals": moran(residual[joined.areas], weights, rng),
            "clusters": {name: int((cluster == name).sum()) for name in ("high", "low")},
        }
        area = rows["area"].to_numpy(str)
        nearby = joined.lag(residual.reindex(joined.areas))
        columns.loc[rows.index, "residual_nearby"] = nearby.reindex(area).to_numpy(float)
        columns.loc[rows.index, "error_cluster"] = cluster.reindex(area).to_numpy(object)
    return evaluations, columns


def metric_crs(areas: gpd.GeoDataFrame | gpd.GeoSeries) -> Any:
    """Coordinate system in metres: the boundaries' own if it is one, else the UTM zone they lie in.

    Raises
    ------
    InputError
        If the boundaries do not state in which coordinate system they are.
    """
    if areas.crs is None:
        raise InputError(
            "boundaries",
            "they do not state in which coordinate system they are",
            "use a file that does, e.g. a GeoPackage",
        )
    metres = all(axis.unit_conversion_factor == 1 for axis in areas.crs.axis_info[:2])
    if areas.crs.is_projected and metres:
        return areas.crs
    return areas.estimate_utm_crs()


def area_coordinates(areas: gpd.GeoDataFrame) -> pd.DataFrame:
    """Give the centroid of every area.

    Parameters
    ----------
    areas : GeoDataFrame by area
        Boundaries, in any coordinate system.

    Returns
    -------
    DataFrame by area
        ``x``, ``y`` in metres; NaN where the boundary is missing or empty.
    """
    shapes = _shapes(areas)
    result = pd.DataFrame(np.nan, index=areas.index, columns=["x", "y"])
    if len(shapes):
        centroid = shapes.to_crs(metric_crs(shapes)).centroid
        result.loc[shapes.index, "x"], result.loc[shapes.index, "y"] = centroid.x, centroid.y
    return result


def _shapes(areas: gpd.GeoDataFrame) -> gpd.GeoSeries:
    """Boundaries that are there."""
    return areas.geometry[~(areas.geometry.isna() | areas.geometry.is_empty)]


def positions_of_areas(areas: pd.DataFrame, locations: pd.DataFrame) -> pd.DataFrame:
    """Locate every area: at its centroid where there are boundaries, else its locations' mean.

    Parameters
    ----------
    areas : DataFrame by area
        With ``geometry`` or without.
    locations : DataFrame
        As for `location_coordinates`.

    Returns
    -------
    DataFrame by area
        ``x``, ``y`` in metres.
    """
    if "geometry" in areas:
        boundaries: Any = areas
        return area_coordinates(boundaries)
    return location_coordinates(locations)


def location_means(areas: pd.DataFrame, locations: pd.DataFrame) -> pd.DataFrame | None:
    """Locate areas that have boundaries at their locations' mean: a second placement.

    An area's people may live far from its centroid, and a study has locations where they live.

    Parameters
    ----------
    areas : DataFrame by area
        With ``geometry`` or without.
    locations : DataFrame
        As for `location_coordinates`.

    Returns
    -------
    DataFrame by area, or None
        ``x``, ``y`` in the metres of `area_coordinates`; None without boundaries, where
        `positions_of_areas` gives these means.
    """
    if "geometry" not in areas:
        return None
    boundaries: Any = areas
    shapes = _shapes(boundaries)
    return location_coordinates(locations, metric_crs(shapes)) if len(shapes) else None


def location_coordinates(locations: pd.DataFrame, crs: Any = None) -> pd.DataFrame:
    """Give the mean position of every area's locations.

    Parameters
    ----------
    locations : DataFrame
        ``area``, ``lat``, ``lon`` (degrees, WGS 84); rows without any of them are not used.
    crs : optional
        Coordinate system in metres; the UTM zone of the locations if not given.

    Returns
    -------
    DataFrame by area
        ``x``, ``y`` in metres, sorted by area; areas without a position are not in it.

    Examples
    --------
    >>> places = pd.DataFrame({"area": ["a", "a"], "lat": [51.5, 51.5], "lon": [-0.1, -0.1]})
    >>> location_coordinates(places).round(-3).astype(int).to_dict("index")
    {'a': {'x': 701000, 'y': 5709000}}
    """
    import geopandas as gpd

    usable = locations.dropna(subset=["area", "lat", "lon"])
    usable = usable.sort_values(["area", "lat", "lon"])  # float sums depend on the order
    mean = usable.groupby("area", sort=True)[["lat", "lon"]].mean()
    if mean.empty:
        return pd.DataFrame({"x": [], "y": []}, index=mean.index, dtype=float)
    points = gpd.GeoSeries(gpd.points_from_xy(mean["lon"], mean["lat"]), mean.index, "EPSG:4326")
    points = points.to_crs(crs or points.estimate_utm_crs())
    return pd.DataFrame({"x": points.x, "y": points.y})
