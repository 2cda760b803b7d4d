"""How old images are: by area, against the statistic's year, and whether that goes with errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.evaluation.aggregate import cut
from streetgauge.evaluation.baselines.folds import Folds
from streetgauge.evaluation.baselines.ridge import Ridge
from streetgauge.evaluation.comparison import draw_metrics
from streetgauge.evaluation.concepts import Draws
from streetgauge.evaluation.effective_size import count_effective, p_values
from streetgauge.evaluation.metrics import to_json

__all__ = ["area_years", "error_by_age"]

FEWEST = 10  # areas, below which nothing is measured
PER = 5.0  # years, that errors are stated for
YEAR = 365.2425  # days

Floats = npt.NDArray[np.float64]


def area_years(taken: pd.Series, area: pd.Series) -> pd.DataFrame:
    """Summarise when the images of each area were taken.

    Parameters
    ----------
    taken : Series of datetime64 by location_id and view
        NaT where the day is not known.
    area : Series of str by location_id
        Which area each location is in.

    Returns
    -------
    DataFrame by area
        ``n_images``, ``n_dated``; ``median`` (years, 2019.5 is the middle of 2019) and ``spread``
        (years between the quartiles), NaN without a dated image.

    Examples
    --------
    >>> index = pd.MultiIndex.from_tuples([("a", "1"), ("a", "2"), ("b", "1")])
    >>> days = pd.Series(pd.to_datetime(["2018-01-01", "2020-01-01", None]), index)
    >>> found = area_years(days, pd.Series({"a": "E01", "b": "E02"}))
    >>> found["median"].round(1).tolist(), found["n_dated"].tolist()
    ([2019.0, nan], [2, 0])
    """
    year = taken.dt.year + (taken.dt.day_of_year - 1) / YEAR
    frame = pd.DataFrame({"year": year.to_numpy(float)})
    frame["area"] = area.reindex(taken.index.get_level_values(0)).to_numpy()
    by_area = frame.groupby("area")["year"]
    low, high = (by_area.quantile(share) for share in (0.25, 0.75))
    return pd.DataFrame(
        {
            "n_images": by_area.size(),
            "n_dated": by_area.count(),
            "median": by_area.median(),
            "spread": high - low,
        }
    )


def error_by_age(
    error: pd.Series,
    years: pd.Series,
    vintage: float | None,
    *,
    coordinates: pd.DataFrame | None = None,
    interval_level: float = 0.9,
) -> dict[str, Any]:
    """Relate the absolute error of areas to how far their images are from the statistic's year.

    A straight line; its p-value and interval count only as many independent areas as the likeness
    of neighbours allows (Clifford, Richardson and Hemon 1989, Biometrics 45, 123-134).

    Parameters
    ----------
    error : Series by area
        Predicted less actual class.
    years : Series by area
        ``median`` of `area_years`.
    vintage : float or None
        The statistic's year; None if not known: then it is the images' year that is compared.
    coordinates : DataFrame by area, optional
        ``x``, ``y`` in metres; without them areas count as independent.
    interval_level : float
        0 to 1.

    Returns
    -------
    dict
        ``n_areas``, ``vintage``, ``gap`` (median of image year less vintage, years),
        ``per_5_years`` (classes more error for each five years; ``value``, ``low``, ``high``),
        ``p`` (None where fewer than 10 areas are known, or all images are of one time).

    Examples
    --------
    >>> areas = [f"a{i}" for i in range(40)]
    >>> years = pd.Series(np.linspace(2010, 2020, 40), areas)
    >>> found = error_by_age((years - 2010) / 5, years, 2010.0)
    >>> round(found["per_5_years"]["value"], 3)
    1.0
    """
    known = years.reindex(error.index).notna() & error.notna()
    year, size = years.reindex(error.index)[known], error[known].abs().to_numpy(float)
    age = (year - (vintage or 0.0)).to_numpy(float)
    result: dict[str, Any] = {
        "n_areas": len(year),
        "vintage": vintage,
        "gap": to_json(float(np.median(age))) if vintage and len(age) else None,
        "per_5_years": {"value": None, "low": None, "high": None},
        "p": None,
    }
    distance = (np.abs(age) if vintage else age) / PER
    centred = distance - distance.mean() if len(age) else distance
    if len(age) < FEWEST or centred @ centred < 1e-9 or size.std() < 1e-9:
        return result
    contrast, spread = centred / (centred @ centred), float(size.std())
    scaled = ((size - size.mean()) / spread)[:, None]
    where = None if coordinates is None else coordinates.reindex(year.index)
    effective = count_effective(scaled, contrast, where)
    slope = contrast @ scaled
    half = spread * _half_width(float(slope[0]), contrast, float(effective[0]), interval_level)
    value = spread * float(slope[0])
    return result | {
        "per_5_years": {"value": value, "low": value - half, "high": value + half},
        "p": float(p_values(slope, contrast, effective, len(age))[0]),
    }


def _half_width(slope: float, contrast: Floats, effective: float, level: float) -> float:
    """Half of a slope's interval, of errors with a standard deviation of 1."""
    from scipy.stats import t

    n, squares = len(contrast), float(contrast @ contrast)
    left = max(1 - slope**2 / (n * squares), 0.0)
    freedom = effective - 2
    return float(t.ppf((1 + level) / 2, freedom) * np.sqrt(left * squares * n / freedom))


def over_time(
    early: pd.DataFrame,
    late: pd.DataFrame,
    frame: pd.DataFrame,
    training_areas: pd.DataFrame,
    *,
    classes: int = 10,
    draws: Draws | None = None,
) -> dict[str, Any] | None:
    """Train on other areas' early images, and test on the late images of areas held out whole.

    Ridge regression on mean features; the same areas' late images, predicted from other areas' late
    images, are what it is compared with.

    Parameters
    ----------
    early, late : DataFrame by area
        Mean features of the images before and after a day.
    frame : DataFrame by area
        The measured areas of one outcome: ``fold``, ``actual_decile``.
    training_areas : DataFrame
        ``fold, area, decile`` of the outcome.
    classes : int
        K.
    draws : Draws, optional
        Of the intervals.

    Returns
    -------
    dict or None
        ``n_areas`` (with images of both times), and for ``mae`` and ``spearman`` the ``value``,
        ``low``, ``high`` of ``early`` (trained on early images), ``late`` and the paired
        ``difference`` (early less late). None with fewer than 10 such areas, or where nothing
        could be learned.
    """
    draws = draws or Draws()
    both = early.index.intersection(late.index).sort_values()
    rows = frame[frame.index.isin(both)].sort_index()
    own = training_areas[training_areas["area"].isin(both)]
    if len(rows) < FEWEST:
        return None
    table = pd.concat(
        [early.loc[both].rename("early {}".format), late.loc[both].rename("late {}".format)]
    )
    ridge, middle = Ridge(table), (1 + classes) / 2
    asked = rows.rename("late {}".format)
    scores = {
        time: Folds(
            asked["actual_decile"], asked["fold"], own.assign(area=f"{time} " + own["area"]), middle
        ).predict(ridge)
        for time in ("early", "late")
    }
    if any(score.isna().any() for score in scores.values()):
        return None
    predicted = {
        time: rows.assign(decile=cut(score.loc[asked.index].to_numpy(), classes))[
            ["decile", "actual_decile"]
        ]
        for time, score in scores.items()
    }
    metrics = ("mae", "spearman")
    rng = np.random.default_rng(draws.seed)
    drawn = draw_metrics(predicted, classes, draws.draws, rng, metrics=metrics)
    level = draws.interval_level
    return {
        "n_areas": len(rows),
        **{
            metric: {
                "early": drawn["early"].estimate(metric, level),
                "late": drawn["late"].estimate(metric, level),
                "difference": drawn["late"].difference(drawn["early"], metric, level),
            }
            for metric in metrics
        },
    }
