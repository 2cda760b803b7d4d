"""What has changed between images of two years, area by area, and what is camera or season.

One model scores the images of both years. What all areas have in common (camera, season, light, and
whatever has changed everywhere) is estimated robustly and removed, first from the features, then
from the scores. What is left in an area is compared with its repeat error: the variation between
its locations, and the variation of all areas' differences beyond that. An area is flagged with
control of the false discovery rate (Benjamini and Hochberg 1995, J. R. Stat. Soc. B 57, 289-300).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, t

from streetgauge.errors import InputError
from streetgauge.evaluation.concepts import FALSE_DISCOVERY_RATE

__all__ = ["FeatureShift", "estimate_change"]

FEWEST = 10  # areas with images of both years
ROUNDS = 20
NORMAL = 1.4826  # times the median absolute deviation is the standard deviation of a normal
EFFICIENCY = 0.37  # of the median absolute deviation, next to the standard deviation's
TUKEY = 4.685
SURE = 3.0  # standard errors by which scores rise with the class, where images show an outcome
SAME = 1e-6  # of the spread of scores, which rounding explains
FOUND = 0.8  # of changes of the size that is stated as detectable

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FeatureShift:
    """How features of the second year differ from those of the first in all areas.

    Parameters
    ----------
    middle : array, shape [D]
        Mean features of the second year.
    shift : array, shape [D]
        By how much they lie above those of the first.
    scale : array, shape [D]
        How many times as far they are spread.

    Examples
    --------
    >>> shift = FeatureShift(middle=np.array([2.0]), shift=np.array([1.0]), scale=np.array([1.0]))
    >>> shift.remove(np.array([[2.5]])).tolist()
    [[1.5]]
    """

    middle: Floats
    shift: Floats
    scale: Floats

    @classmethod
    def fit(cls, first: Floats, second: Floats, spread: tuple[Floats, Floats]) -> Self:
        """Estimate the shift of each feature from areas with images of both years.

        It is the median of the areas' differences, and the ratio of the standard deviations over
        all views. Both are shrunk by how sure they are: a feature that does not clearly differ is
        left almost as it is.

        Parameters
        ----------
        first, second : array, shape [A, D]
            Mean features of the same areas.
        spread : two arrays, shape [D]
            Standard deviation of each feature over all views, by year.

        Examples
        --------
        >>> rng = np.random.default_rng(0)
        >>> first = rng.normal(size=(50, 2))
        >>> one = np.ones(2)
        >>> FeatureShift.fit(first, first + [3.0, 0.0], (one, one)).shift.round(2).tolist()
        [3.0, 0.0]
        """
        difference = second - first
        centre = np.median(difference, axis=0)
        spread_apart = NORMAL * np.median(np.abs(difference - centre), axis=0)
        error = spread_apart * np.sqrt(np.pi / 2 / len(first))  # of a median
        before, after = spread
        known = (before > 0) & (after > 0)
        ratio = np.zeros(len(before))
        np.log(after / np.where(known, before, 1), out=ratio, where=known)
        return cls(
            second.mean(axis=0),
            _shrunk(centre, error),
            np.exp(_shrunk(ratio, np.full(len(ratio), len(first) ** -0.5))),
        )

    def remove(self, features: NDArray[Any]) -> NDArray[Any]:
        """Give features of the second year as they would be in the first: [..., D].

        Examples
        --------
        >>> shift = FeatureShift(np.zeros(2), np.array([3.0, 0.0]), np.ones(2))
        >>> shift.remove(np.array([4.0, 1.0])).tolist()
        [1.0, 1.0]
        """
        kind = features.dtype
        left = (self.middle - self.shift - self.middle / self.scale).astype(kind)
        aligned: NDArray[Any] = features * (1 / self.scale).astype(kind) + left
        return aligned

    def part(self, columns: slice) -> FeatureShift:
        """Give the same of some features.

        Examples
        --------
        >>> shift = FeatureShift(np.zeros(2), np.array([3.0, 0.0]), np.ones(2))
        >>> shift.part(slice(0, 1)).shift.tolist()
        [3.0]
        """
        return FeatureShift(self.middle[columns], self.shift[columns], self.scale[columns])


def estimate_change(
    first: pd.DataFrame, second: pd.DataFrame, actual: pd.Series, *, level: float = 0.9
) -> tuple[pd.DataFrame, dict[str, Any]] | None:
    """Estimate one outcome's change in each area, and flag those in which there is one.

    Parameters
    ----------
    first, second : DataFrame
        ``location_id``, ``area`` and ``score`` of every location, by year; of a model that has not
        seen its area. Areas of one year only are excluded.
    actual : Series by area
        Classes of the first year, which show by how much scores rise from one to the next.
    level : float
        Of the intervals.

    Returns
    -------
    DataFrame
        One row an area of both years, sorted: ``area``, ``change`` (in classes), ``low``, ``high``,
        ``standard_error``, ``q``, ``flagged``, ``n_first``, ``n_second`` (locations).
    dict
        ``shift`` (of all areas, which was removed, in classes), ``shift_by_class`` (how it differs
        from one class to the next), ``score_per_class``, ``within``, ``between`` (standard
        deviations of an area's difference in classes: median of what its locations explain, and
        the rest), ``detectable`` (the change that would be noticed in 4 of 5 areas) and
        ``n_flagged``.

        None if scores do not rise with the class: images do not show the outcome.

    Raises
    ------
    InputError
        If both years have the same scores.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> areas = [f"a{i:02d}" for i in range(40)]
    >>> level = np.repeat(np.arange(40) % 10 + 1.0, 4)
    >>> first = pd.DataFrame({"location_id": range(160), "area": np.repeat(areas, 4)})
    >>> second = first.assign(score=level + rng.normal(0, 0.3, 160))
    >>> second.loc[second["area"] == "a00", "score"] += 6.0  # one area has changed
    >>> first["score"] = level + rng.normal(0, 0.3, 160)
    >>> actual = pd.Series(np.arange(40) % 10 + 1, areas)
    >>> table, about = estimate_change(first, second, actual)
    >>> table.loc[table["flagged"], "area"].tolist()
    ['a00']
    """
    areas = _means(first, second)
    per_class, slope_error = _score_per_class(areas["first"], actual)
    if not per_class > SURE * slope_error:
        return None
    difference = areas["second"] - areas["first"]
    if difference.abs().median() <= SAME * areas["first"].std():
        raise InputError(
            "the second study",
            "half of the areas have the same scores in both years",
            "name the study of the other year's images",
        )
    middle = (areas["first"] + areas["second"]) / 2
    trend = _Trend.fit(middle.to_numpy(float), difference.to_numpy(float))
    rest = difference.to_numpy(float) - trend.at(middle.to_numpy(float))
    sampling = _sampling_variances(first, second, areas)
    freedom = EFFICIENCY * (len(areas) - 1)
    flagged = np.zeros(len(areas), bool)
    for _ in range(ROUNDS):  # what is flagged says nothing on the error of the others
        between = _variance_between(rest[~flagged], sampling[~flagged])
        error = np.sqrt((sampling + between) * (1 + np.pi / 2 / len(areas)))
        q = false_discovery_control(2 * t.sf(np.abs(rest) / error, freedom))
        now = q <= FALSE_DISCOVERY_RATE
        if (now == flagged).all():
            break
        flagged = now
    change = rest / per_class
    half = t.ppf((1 + level) / 2, freedom) * np.hypot(error, change * slope_error) / per_class
    table = pd.DataFrame(
        {
            "area": areas.index.astype("str"),
            "change": change,
            "low": change - half,
            "high": change + half,
            "standard_error": error / per_class,
            "q": q,
            "flagged": now,
            "n_first": areas["n_first"].to_numpy(np.int64),
            "n_second": areas["n_second"].to_numpy(np.int64),
        }
    )
    wide = t.ppf(1 - FALSE_DISCOVERY_RATE / 2, freedom) + t.ppf(FOUND, freedom)
    about = {
        "shift": trend.level / per_class,
        "shift_by_class": trend.slope,
        "score_per_class": per_class,
        "within": float(np.sqrt(np.median(sampling))) / per_class,
        "between": float(np.sqrt(between)) / per_class,
        "detectable": float(wide * np.median(error)) / per_class,
        "n_flagged": int(now.sum()),
    }
    return table, about


@dataclass(frozen=True)
class _Trend:
    """A line through the differences of all areas that those with a change do not move."""

    centre: float
    level: float
    slope: float

    @classmethod
    def fit(cls, x: Floats, y: Floats) -> Self:
        """Fit it by Tukey's biweight; a slope that is not sure is shrunk.

        ``x`` is the mean of both years: a line over the first year alone would fall wherever
        scores have an error.
        """
        centre = float(np.median(x))
        design = np.column_stack([np.ones(len(x)), x - centre])
        line, weight, spread = np.array([np.median(y), 0.0]), np.ones(len(x)), 0.0
        for _ in range(ROUNDS):
            rest = y - design @ line
            spread = NORMAL * float(np.median(np.abs(rest)))
            weight = np.clip(1 - (rest / (TUKEY * spread or 1.0)) ** 2, 0, None) ** 2
            if not weight.any() or not np.ptp(x[weight > 0]):
                break
            root = np.sqrt(weight)
            line = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
        precision = float(weight @ (x - centre) ** 2)
        error = spread / np.sqrt(precision) if precision else np.inf
        return cls(centre, float(line[0]), float(_shrunk(line[1:], np.array([error]))[0]))

    def at(self, x: Floats) -> Floats:
        """Give the difference that all areas have in common."""
        return self.level + self.slope * (x - self.centre)


def _means(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Give mean scores and numbers of locations of the areas of both years."""
    years = {
        name: frame.groupby("area", sort=True)["score"].agg(["mean", "size"])
        for name, frame in (("first", first), ("second", second))
    }
    columns = {name: each["mean"] for name, each in years.items()}
    columns |= {f"n_{name}": each["size"] for name, each in years.items()}
    return pd.concat(columns, axis=1, join="inner").sort_index()


def _score_per_class(score: pd.Series, actual: pd.Series) -> tuple[float, float]:
    """By how much areas' scores rise with their class, and its standard error."""
    known = pd.DataFrame({"score": score, "actual": actual.reindex(score.index)}).dropna()
    x, y = known["actual"].to_numpy(float), known["score"].to_numpy(float)
    spread = float(((x - x.mean()) ** 2).sum()) if len(x) else 0.0
    if len(x) < FEWEST or not spread:
        return 0.0, np.inf
    slope = float((x - x.mean()) @ (y - y.mean())) / spread
    rest = y - y.mean() - slope * (x - x.mean())
    return slope, float(np.sqrt(rest @ rest / (len(x) - 2) / spread))


def _sampling_variances(first: pd.DataFrame, second: pd.DataFrame, areas: pd.DataFrame) -> Floats:
    """Give the variance of each area's difference by which locations were photographed: [A].

    Variances within areas are pooled. Locations of both years count as pairs: what is theirs in
    both years is in no difference.
    """
    own, rests = np.zeros(len(areas)), []
    for name, frame in (("first", first), ("second", second)):
        frame = frame[frame["area"].isin(areas.index)]
        rest = (frame["score"] - frame.groupby("area")["score"].transform("mean")).to_numpy(float)
        freedom = len(frame) - len(areas)
        own += rest @ rest / max(freedom, 1) / areas[f"n_{name}"].to_numpy(float)
        index = pd.MultiIndex.from_frame(frame[["area", "location_id"]])
        rests.append(pd.Series(rest, index))
    pairs = pd.concat(rests, axis=1, join="inner")
    number = pairs.groupby(level=0).size().reindex(areas.index, fill_value=0).to_numpy(float)
    both = pairs.to_numpy(float)
    shared = both[:, 0] @ both[:, 1] / max((number - 1).clip(min=0).sum(), 1)
    share = number / (areas["n_first"] * areas["n_second"]).to_numpy(float)
    return np.asarray(own - 2 * shared * share, np.float64).clip(min=0)


def _variance_between(rest: Floats, sampling: Floats) -> float:
    """Give the variance of differences beyond sampling, so that their robust spread is 1."""

    def spread(between: float) -> float:
        scale = np.sqrt(np.maximum(sampling + between, np.finfo(float).tiny))
        return NORMAL * float(np.median(np.abs(rest) / scale))

    low, high = 0.0, (NORMAL * float(np.median(np.abs(rest)))) ** 2
    if spread(0.0) <= 1:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if spread(middle) > 1 else (low, middle)
    return high


def _shrunk(value: Floats, error: Floats) -> Floats:
    """Shrink estimates by how sure they are (positive-part James-Stein, each by itself)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        keep = np.where(error > 0, 1 - (error / np.abs(value)) ** 2, 1.0)
    return np.asarray(value * np.clip(np.nan_to_num(keep, neginf=0), 0, 1), np.float64)
