"""Simulated features of known strength for a real area table, and their means over areas.

How a view's feature vector is made, so that a result on it can be read:

1. Each outcome ``o`` has a channel. Its signal is the location's class on a scale of mean 0 and
   variance 1: ``z = (decile - 5.5) / 2.87`` for ten; a missing class gives ``z = 0``.
2. Channel of a view: ``c = sqrt(signal) z + sqrt(1 - signal) n``. So ``signal`` is the share of a
   view's outcome-related variance that is signal. The noise ``n`` has variance 1 and three parts:
   the area's (`AREA_NOISE`: no number of images in the area averages it away), the location's
   (`LOCATION_NOISE`: its views do not) and the view's own. With more locations an area's mean
   channel tends to a correlation of ``sqrt(s / (s + (1 - s) AREA_NOISE))`` with the truth.
   In a second year the views' noise is new; most of the others' lasts (`PERSISTENCE`).
3. The M channels are turned into M directions of the D-dimensional space (orthonormal, the same
   for every location, from the seed), `STRENGTH` times as strong as what fills the rest of the
   space: standard normal noise without any relation to outcomes. With D <= M there is no rest,
   and channels mix.
4. A second year has another camera (each feature's offset and gain), another season by location and
   another light by area, each along a direction of its own; `change_deciles` changes some areas.

Every draw belongs to (seed, location_id) or (seed, area), not to a row: a shuffled or a smaller
table gives the same rows again (but for the last bit of rounding), so a large table is made block
by block.

The mean over an area's ``n`` locations with ``v`` views each has a channel of
``sqrt(s) z + sqrt(1 - s) e`` for each outcome, where ``e`` is normal with the variance of
`Noise.of_area`; what fills the rest of the space has variance ``1 / (n v)``. Both are exactly what
averaging `simulate_features` gives, so that studies of any size can be tried in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from streetgauge.synthetic.chance import generator, normals, words_of
from streetgauge.synthetic.model import Array

AREA_NOISE = 0.15
LOCATION_NOISE = 0.35
STRENGTH = 3.0
PERSISTENCE = 0.8
CHANGED = 2  # classes
# Of the second year's nuisance, in standard deviations of a feature.
_OFFSET, _GAIN, _SEASON, _LIGHT = 1.0, 0.15, 0.5, 0.25
_BLOCK = 512
_VIEW_NOISE = 1 - AREA_NOISE - LOCATION_NOISE


def simulate_features(
    deciles: pd.DataFrame,
    areas: Sequence[str] | NDArray[np.str_] | pd.Series | None = None,
    *,
    dimension: int,
    views: int,
    signal: float,
    seed: int,
    classes: int = 10,
    year: int = 1,
) -> NDArray[np.float32]:
    """Make features of given strength for locations whose deciles are known.

    Parameters
    ----------
    deciles : DataFrame [N, M]
        Indexed by location_id; a column of deciles (NaN = missing) for each outcome.
    areas : sequence of N str, optional
        Each location's area, in the order of ``deciles``. Without it, noise that the locations of
        an area would share is each location's own, and averages away.
    dimension : int
        D, length of a feature vector.
    views : int
        V, views of a location.
    signal : float
        0 (nothing to train on) to 1 (the outcome itself).
    seed : int
        Another seed, other features.
    classes : int, default 10
        The highest decile.
    year : int, default 1
        2: the same locations photographed again, with another camera and in another season.

    Returns
    -------
    array [N, V, D] float32
        Takes 4 N V D bytes: for a large table call it with blocks of rows.

    Raises
    ------
    ValueError
        If ``signal`` is outside 0 to 1, or ``areas`` has another length than ``deciles``.
    """
    count = deciles.shape[1]
    channels = _channels(
        deciles, areas, views=views, signal=signal, seed=seed, classes=classes, year=year
    )
    basis = _directions(list(deciles.columns), dimension, seed)
    strong = (STRENGTH * channels).astype(np.float32)
    features = np.zeros((len(deciles), views, dimension), np.float32)
    rest = "rest" if year == 1 else f"rest {year}"
    for row, location_id in enumerate(deciles.index if dimension > count else ()):
        generator(seed, location_id, rest).standard_normal(dtype=np.float32, out=features[row])
    for start in range(0, len(features), _BLOCK):  # bounds the memory next to the result
        part = features[start : start + _BLOCK]
        part += (strong[start : start + _BLOCK] - part @ basis.T) @ basis
    if year > 1:
        owner = deciles.index if areas is None else areas
        _photograph_again(features, deciles.index, owner, seed=seed, year=year)
    return features


def change_deciles(
    deciles: pd.DataFrame,
    areas: Sequence[str] | NDArray[np.str_] | pd.Series,
    *,
    share: float,
    seed: int,
    classes: int = 10,
) -> pd.DataFrame:
    """Change the deciles of some areas by two, up or down: what a second year shows.

    Parameters
    ----------
    deciles : DataFrame [N, M]
        Of locations or areas; NaN = missing.
    areas : sequence of N str
        The area of each row. Which areas change depends on the seed and their codes alone.
    share : float
        Of the areas, on average.
    seed : int
        As for `simulate_features`.
    classes : int, default 10
        The highest decile: who would rise above it falls, and the reverse.

    Returns
    -------
    DataFrame
        As ``deciles``.
    """
    words = words_of(seed, map(str, areas))
    drawn = normals(words, "changed", 1)
    changed = deciles.copy()
    for name in map(str, deciles.columns):
        old = deciles[name].to_numpy(float)
        step = np.where(normals(words, f"changed {name}", 1)[:, 0] > 0, CHANGED, -CHANGED)
        step = np.where((old + step < 1) | (old + step > classes), -step, step)
        changed[name] = np.where(ndtr(drawn[:, 0]) < share, old + step, old).clip(1, classes)
    return changed


def simulated_oracle(
    deciles: pd.DataFrame,
    areas: Sequence[str] | NDArray[np.str_] | pd.Series | None = None,
    *,
    views: int,
    signal: float,
    seed: int,
    classes: int = 10,
) -> pd.DataFrame:
    """Give the best linear scores that the features of `simulate_features` allow.

    A location's channels, averaged over its views, are all that its features contain; the score is
    the linear prediction of the deciles from them with the least squared error, given how the
    outcomes hang together in this table (complete rows only).

    Parameters
    ----------
    deciles, areas, views, signal, seed, classes
        As for `simulate_features`, all rows at once.

    Returns
    -------
    DataFrame
        location_id, then a score for each outcome, higher = better off.
    """
    channels = _channels(
        deciles, areas, views=views, signal=signal, seed=seed, classes=classes
    ).mean(axis=1)
    truth = _standard(deciles, classes)
    whole = truth[~np.isnan(truth).any(axis=1)]
    related = whole.T @ whole / max(1, len(whole))
    noise = AREA_NOISE + LOCATION_NOISE + _VIEW_NOISE / views
    covariance = signal * related + (1 - signal) * noise * np.eye(truth.shape[1])
    # pinv: with signal 1 and outcomes that repeat each other the covariance is singular.
    scores = channels @ np.linalg.pinv(covariance) @ (np.sqrt(signal) * related)
    frame = pd.DataFrame(scores, columns=deciles.columns)
    frame.insert(0, "location_id", deciles.index.astype(str))
    return frame


@dataclass(frozen=True)
class Noise:
    """Which parts of a view's noise its area, its location and the view itself have.

    Parameters
    ----------
    area, location : float
        Shares, which together are at most 1; the rest is the view's own.
    """

    area: float = AREA_NOISE
    location: float = LOCATION_NOISE

    @property
    def view(self) -> float:
        """What more views of a location average away."""
        return 1 - self.area - self.location

    def of_area(self, locations: ArrayLike, views: float) -> Array:
        """Give the variance of the mean over so many locations of an area with so many views."""
        count = np.asarray(locations, float)
        return self.area + (self.location + self.view / views) / count

    @classmethod
    def split(cls, share: float, views: float) -> Noise:
        """Divide noise of which the area has a share in the mean over a location's views.

        What is not the area's is divided between location and view as it is by default: nothing in
        scores of whole locations distinguishes these.

        Parameters
        ----------
        share : float
            0 to 1, as `noise_of_scores` gives it.
        views : float
            Views of a location, over which the scores are.
        """
        location = LOCATION_NOISE / (1 - AREA_NOISE)
        rest = location + (1 - location) / views  # of what is not the area's, what averaging leaves
        area = share * rest / (1 - share + share * rest)
        return cls(area, (1 - area) * location)


def simulate_area_means(
    deciles: pd.DataFrame,
    locations: pd.Series,
    views: float,
    signal: Mapping[str, float],
    *,
    dimension: int,
    seed: int | tuple[int, ...],
    noise: Noise | None = None,
    classes: int = 10,
) -> pd.DataFrame:
    """Make the mean features of areas whose deciles are known.

    Parameters
    ----------
    deciles : DataFrame [A, M] by area
        A column for each outcome; NaN = missing.
    locations : Series of int by area
        How many locations each area has, at least 1.
    views : float
        Views of each location.
    signal : mapping of outcome to float
        0 to 1: see `simulate_features`.
    dimension : int
        D, at least M.
    seed : int or tuple of int
        Same seed and areas, same draws, in whatever order the rows are; the draws behind the
        channels do not depend on signal, locations and views, so that these can be compared.
    noise : Noise, optional
        As in `simulate_features`, if not given.
    classes : int, default 10
        The highest decile.

    Returns
    -------
    DataFrame [A, D] by area, sorted
    """
    table = deciles.sort_index()
    count = locations.reindex(table.index).to_numpy(float)
    variance = (noise or Noise()).of_area(count, views)
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal((len(table), table.shape[1]))
    rest = rng.standard_normal((len(table), dimension))
    truth = np.nan_to_num(_standard(table, classes))
    share = np.array([signal[str(name)] for name in table.columns])
    channels = np.sqrt(share) * truth + np.sqrt((1 - share) * variance[:, None]) * drawn
    rest /= np.sqrt(count * views)[:, None]
    first = seed if isinstance(seed, int) else seed[0]
    basis = _directions([str(name) for name in table.columns], dimension, first).astype(float)
    return pd.DataFrame(rest + (STRENGTH * channels - rest @ basis.T) @ basis, index=table.index)


def noise_of_scores(predictions: pd.DataFrame) -> float | None:
    """Estimate which share of the noise in locations' scores their areas have.

    What a score differs by from the mean of its fold and actual decile is its noise. One-way
    analysis of variance over the areas (Searle, Casella and McCulloch 1992, Variance Components,
    chapter 3) divides it into the area's and the location's.

    Parameters
    ----------
    predictions : DataFrame
        Of one outcome: ``location_id``, ``area``, ``fold``, ``score``, ``actual_decile``.

    Returns
    -------
    float or None
        0 to 1; None where no area has two locations.
    """
    rows = predictions[predictions["actual_decile"].notna()].sort_values(["area", "location_id"])
    noise = rows["score"] - rows.groupby(["fold", "actual_decile"])["score"].transform("mean")
    by_area = noise.groupby(rows["area"])
    size, mean = by_area.size(), by_area.mean()
    groups = rows.groupby(["fold", "actual_decile"]).ngroups
    free = (len(rows) - len(size), len(size) - groups)
    if free[0] < 1 or free[1] < 1:
        return None
    within = float(((noise - noise.groupby(rows["area"]).transform("mean")) ** 2).sum() / free[0])
    between = float((size * mean**2).sum() / free[1])
    each = (len(rows) - float((size**2).sum()) / len(rows)) / max(len(size) - 1, 1)
    area = max((between - within) / each, 0.0)
    return area / (area + within) if area + within > 0 else None


def _standard(deciles: pd.DataFrame, classes: int) -> Array:
    """Classes less the mean of 1..K, over their standard deviation."""
    spread = np.sqrt((classes**2 - 1) / 12)
    scaled: Array = (deciles.to_numpy(np.float64) - (classes + 1) / 2) / spread
    return scaled


def _channels(
    deciles: pd.DataFrame,
    areas: Sequence[str] | NDArray[np.str_] | pd.Series | None,
    *,
    views: int,
    signal: float,
    seed: int,
    classes: int = 10,
    year: int = 1,
) -> Array:
    """Channels [N, V, M]; see the module's text."""
    if not 0 <= signal <= 1:
        raise ValueError(f"signal is a share, 0 to 1, not {signal}")
    if areas is not None and len(areas) != len(deciles):
        raise ValueError(f"{len(areas)} areas for {len(deciles)} locations")
    outcomes = [str(name) for name in deciles.columns]
    words = words_of(seed, (str(location_id) for location_id in deciles.index))
    # Drawn outcome by outcome, so that another outcome more changes none of the others.
    drawn = _drawn(words, [f"channel {o}" for o in outcomes], 1 + views, year)
    if areas is None:
        owner = np.arange(len(words))
    else:
        names, owner = np.unique(np.asarray(areas, dtype=str), return_inverse=True)
        words = words_of(seed, names.tolist())
    shared = _drawn(words, [f"area {o}" for o in outcomes], 1, year)[owner]
    noise = (
        np.sqrt(AREA_NOISE) * shared
        + np.sqrt(LOCATION_NOISE) * drawn[:, :1]
        + np.sqrt(_VIEW_NOISE) * drawn[:, 1:]
    )
    truth = np.nan_to_num(_standard(deciles, classes))
    channels: Array = np.sqrt(signal) * truth[:, None, :] + np.sqrt(1 - signal) * noise
    return channels


def _drawn(words: NDArray[np.uint64], purposes: list[str], count: int, year: int) -> Array:
    """Draw noise [N, count, purposes]: the first of each count lasts, in part, to another year."""
    drawn = np.stack([normals(words, each, count) for each in purposes], axis=-1)
    if year == 1:
        return drawn
    new = np.stack([normals(words, f"{each} {year}", count) for each in purposes], axis=-1)
    new[:, 0] = np.sqrt(PERSISTENCE) * drawn[:, 0] + np.sqrt(1 - PERSISTENCE) * new[:, 0]
    return new


def _photograph_again(
    features: NDArray[np.float32],
    locations: Sequence[str] | pd.Index,
    areas: Sequence[str] | NDArray[np.str_] | pd.Series | pd.Index,
    *,
    seed: int,
    year: int,
) -> None:
    """Give features the camera, season and light of another year, in place."""
    camera = generator(seed, "camera", year).standard_normal((4, features.shape[2]))
    offset, gain, season, light = camera.astype(np.float32)
    by_location = normals(words_of(seed, map(str, locations)), f"season {year}", 1) > 0
    by_area = normals(words_of(seed, map(str, areas)), f"light {year}", 1)
    features *= np.exp(_GAIN * gain)
    features += _OFFSET * offset
    for amount, along in ((_SEASON * by_location, season), (_LIGHT * by_area, light)):
        features += (amount.astype(np.float32) * along)[:, None]


def _directions(outcomes: list[str], dimension: int, seed: int) -> NDArray[np.float32]:
    """Directions [M, D] of the channels: orthonormal rows as far as the dimension allows."""
    rows = np.stack([generator(seed, "direction", o).standard_normal(dimension) for o in outcomes])
    if dimension >= len(outcomes):
        basis, triangle = np.linalg.qr(rows.T)
        rows = (basis * np.sign(np.diag(triangle))).T
    else:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)
