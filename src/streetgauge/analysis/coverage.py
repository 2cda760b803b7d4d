"""Is having images related to the outcome? Areas without images by decile, tested by permutation.

A map made from images is silent where there are none, and where there are none is not random: in
England the most deprived areas have the fewest open street images. Nothing here needs a feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.evaluation.metrics import estimate, measure, to_json
from streetgauge.evaluation.resample import Sums

__all__ = ["Strata", "choose_strata", "measure_coverage", "reweighted", "square_blocks", "wilson"]

BLOCK = 20_000.0  # metres: the side of the blocks within which deciles are permuted
ALARM = 0.05
FEWEST = 10  # areas, below which a rank correlation has no interval
FEWEST_UNITS = 20  # blocks or districts that can stand for others; else areas are drawn

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def square_blocks(coordinates: pd.DataFrame, side: float = BLOCK) -> pd.Series:
    """Give the square that each area lies in.

    Parameters
    ----------
    coordinates : DataFrame by area
        ``x``, ``y`` in metres; areas without any share one block.
    side : float
        Of the squares, in metres.

    Returns
    -------
    Series of str by area

    Examples
    --------
    >>> places = pd.DataFrame({"x": [10.0, 21_000.0], "y": [5.0, 5.0]}, index=["a", "b"])
    >>> square_blocks(places).tolist()
    ['0 0', '1 0']
    """
    squares = np.floor(coordinates[["x", "y"]].to_numpy(float) / side)
    names = ["nowhere" if np.isnan(x + y) else f"{x:.0f} {y:.0f}" for x, y in squares]
    return pd.Series(names, coordinates.index, dtype="str")


@dataclass(frozen=True, eq=False)
class Strata:
    """Within what deciles are permuted.

    Parameters
    ----------
    kind : str
        ``district``, ``blocks`` or ``all``: all areas are one stratum.
    of : Series of str by area, optional
        Each area's; None if all are one.

    Examples
    --------
    >>> strata = choose_strata(None, None)
    >>> strata.kind
    'all'
    """

    kind: str
    of: pd.Series | None = None


def choose_strata(districts: pd.Series | None, coordinates: pd.DataFrame | None) -> Strata:
    """Take districts where areas have at least two, else blocks of 20 km, else all areas.

    Parameters
    ----------
    districts : Series of str by area, optional
        Missing where not known.
    coordinates : DataFrame by area, optional
        ``x``, ``y`` in metres.

    Returns
    -------
    Strata

    Examples
    --------
    >>> choose_strata(pd.Series(["E06", "E07"], ["a", "b"]), None).kind
    'district'
    >>> choose_strata(None, None).kind
    'all'
    """
    if districts is not None and len(districts.dropna().unique()) > 1:
        return Strata("district", districts)
    if coordinates is not None and len(coordinates):
        blocks = square_blocks(coordinates)
        if len(blocks.unique()) > 1:
            return Strata("blocks", blocks)
    return Strata("all")


def measure_coverage(
    images: pd.Series,
    deciles: pd.Series,
    strata: pd.Series | None = None,
    *,
    classes: int = 10,
    people: pd.Series | None = None,
    interval_level: float = 0.9,
    draws: int = 999,
    seed: int = 2019,
) -> dict[str, Any]:
    """Relate how many images areas have to an outcome.

    Two statistics are compared with those of deciles that are permuted among the areas of each
    stratum: the mean decile of the areas that have images (a trend), and the distance of the
    number with images in each decile from what is expected (any difference). They are the
    correlation and general association statistics of Mantel and Haenszel (1959, Journal of the
    National Cancer Institute 22, 719-748; Landis et al. 1978, International Statistical Review 46,
    237-254). ``p_value`` is that of the smaller of the two, itself compared with the smaller one of
    each permutation (Westfall and Young 1993). What strata themselves differ in, a rural district
    without any images say, is not part of it.

    Parameters
    ----------
    images : Series of int by area
        Number of images, 0 or more.
    deciles : Series by area
        1 to ``classes``; areas without one are not counted.
    strata : Series of str by area, optional
        Districts, or `square_blocks`; deciles are permuted within them. All areas are one stratum
        if not given.
    classes : int
        K.
    people : Series of float by area, optional
        Residents, for the share of people in areas without images.
    interval_level : float
        0 to 1. Of the shares (Wilson 1927, Journal of the American Statistical Association 22,
        209-212) and of the rank correlation (a bootstrap of strata, of areas where there are fewer
        than 20).
    draws : int
        Permutations, and bootstrap draws.
    seed : int
        Of both.

    Returns
    -------
    dict
        ``n_areas``, ``n_without`` (areas without images), ``by_decile`` (for each: ``decile``,
        ``n``, ``n_without``, ``share`` with ``low`` and ``high``, ``people`` and
        ``people_without`` or None), ``spearman`` (of number of images and decile: ``value``,
        ``low``, ``high``), ``strata`` (number of those within which there is something to
        permute), ``p_trend``, ``p_any``, ``p_value`` (None where nothing can be tested),
        ``is_related`` (whether it is at most .05).

    Raises
    ------
    InputError
        If a number of images is negative or no whole number, a number of people is negative, a
        decile is none, or no area has one.

    Examples
    --------
    >>> areas = [f"a{i}" for i in range(400)]
    >>> decile = pd.Series(np.arange(400) % 10 + 1, areas)
    >>> found = measure_coverage(pd.Series(np.where(decile > 5, 3, 0), areas), decile)
    >>> found["by_decile"][0]["share"], found["by_decile"][9]["share"], found["is_related"]
    (1.0, 0.0, True)
    """
    _refuse_counts(images)
    known = deciles.dropna()
    known = known.loc[known.index.intersection(images.index)].sort_index()
    if known.empty:
        why = "no area has both a number of images and a decile"
        raise InputError("coverage", why, "compare the codes of the areas")
    counts = np.asarray(images.reindex(known.index), dtype=np.float64)
    decile = np.asarray(known, dtype=np.int64) - 1
    if decile.min() < 0 or decile.max() >= classes or (decile + 1 != known).any():
        why = f"deciles must be whole numbers between 1 and {classes}"
        raise InputError("coverage", why, "set --classes")
    if people is not None and (people < 0).any():
        area, value = next(iter(people[people < 0].items()))
        raise InputError(f"area '{area}'", f"{value!r} is not a number of people", "fix it")
    of = pd.Series("all", known.index) if strata is None else strata.reindex(known.index)
    stratum = pd.factorize(of.fillna("none"), sort=True)[0]
    residents = None if people is None else people.reindex(known.index).fillna(0.0).to_numpy(float)
    rng = np.random.default_rng(seed)
    has = counts > 0
    tested = _permute(has, decile, stratum, classes, draws, rng)
    return {
        "n_areas": len(known),
        "n_without": int((~has).sum()),
        "by_decile": _by_decile(has, decile, classes, residents, interval_level),
        "spearman": _spearman(counts, decile, stratum, interval_level, draws, rng),
        **tested,
        "is_related": tested["p_value"] is not None and tested["p_value"] <= ALARM,
    }


def reweighted(confusion: npt.ArrayLike, coverage: Mapping[str, Any]) -> dict[str, Any] | None:
    """Weigh the areas that were measured so that each decile counts as among all areas.

    The weight of a measured area is the inverse of its probability of being measured, which is
    estimated by the share of measured areas in its decile (Horvitz and Thompson 1952, Journal of
    the American Statistical Association 47, 663-685, with deciles as adjustment cells).

    Parameters
    ----------
    confusion : array_like of int, shape (K, K)
        Measured areas by actual and predicted decile.
    coverage : mapping
        From `measure_coverage`, of all areas.

    Returns
    -------
    dict or None
        ``mae``, ``spearman`` and what they are of all areas alike: ``mae_weighted``,
        ``spearman_weighted``; ``missing``: deciles that no measured area stands for. None if
        nothing was measured.

    Examples
    --------
    >>> decile = pd.Series([1, 1, 2, 2], list("abcd"))
    >>> found = measure_coverage(pd.Series([0, 1, 1, 1], list("abcd")), decile, classes=2)
    >>> reweighted([[0, 1], [0, 2]], found)["mae_weighted"]
    0.5
    """
    table = np.asarray(confusion, dtype=float)
    measured = table.sum(axis=1)
    if not measured.sum():
        return None
    everywhere = np.array([each["n"] for each in coverage["by_decile"]], dtype=float)
    weight = np.divide(everywhere, measured, out=np.zeros_like(measured), where=measured > 0)
    found = measure(np.stack([table, table * weight[:, None]]), ("mae", "spearman"))
    return {
        **{name: to_json(both[0]) for name, both in found.items()},
        **{f"{name}_weighted": to_json(both[1]) for name, both in found.items()},
        "missing": [int(k) + 1 for k in np.flatnonzero((measured == 0) & (everywhere > 0))],
    }


def _refuse_counts(images: pd.Series) -> None:
    numbers = pd.to_numeric(images, errors="coerce").to_numpy(float)
    wrong = ~(np.isfinite(numbers) & (numbers >= 0) & (numbers == np.floor(numbers)))
    if wrong.any():
        area, value = next(iter(images[wrong].items()))
        what = "it has no number" if pd.isna(value) else f"{value!r} is not a number"
        raise InputError(f"area '{area}'", f"{what} of images", "give 0, 1, 2, ... for each area")


def _by_decile(
    has: npt.NDArray[np.bool_],
    decile: Integers,
    classes: int,
    people: Floats | None,
    level: float,
) -> list[dict[str, Any]]:
    n = np.bincount(decile, minlength=classes)
    without = np.bincount(decile[~has], minlength=classes)
    share = np.divide(without, n, out=np.full(classes, np.nan), where=n > 0)
    low, high = wilson(without, n, level)
    table = {"decile": np.arange(classes) + 1, "n": n, "n_without": without}
    found = {"share": share, "low": low, "high": high}
    if people is None:
        nothing = np.full(classes, np.nan)
        found |= {"people": nothing, "people_without": nothing}
    else:
        lacking = np.bincount(decile[~has], people[~has], classes)
        found |= {"people": np.bincount(decile, people, classes), "people_without": lacking}
    return [
        {
            **{name: int(values[k]) for name, values in table.items()},
            **{name: to_json(values[k]) for name, values in found.items()},
        }
        for k in range(classes)
    ]


def wilson(count: npt.ArrayLike, n: npt.ArrayLike, level: float) -> tuple[Floats, Floats]:
    """Give the interval of a share (Wilson 1927), of any number of them at once.

    Parameters
    ----------
    count, n : array_like of int
        How many of how many; NaN comes of 0 of 0.
    level : float
        0 to 1.

    Returns
    -------
    low, high : ndarray of float
        0 to 1. As `scipy.stats.binomtest`'s, which goes through one share in milliseconds.

    Examples
    --------
    >>> low, high = wilson([5, 0], [10, 10], 0.9)
    >>> [f"{a:.3f} to {b:.3f}" for a, b in zip(low, high)]
    ['0.269 to 0.731', '0.000 to 0.213']
    """
    from scipy.special import ndtri

    z, n = ndtri((1 + level) / 2), np.asarray(n, dtype=float)
    n = np.where(n > 0, n, np.nan)
    share = np.asarray(count, dtype=float) / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def _spearman(
    counts: Floats,
    decile: Integers,
    stratum: Integers,
    level: float,
    draws: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Rank correlation of number of images and decile; ranks are those of all areas."""
    from scipy.stats import rankdata

    x, y = (rankdata(each) - (len(each) + 1) / 2 for each in (counts, decile))
    unit = stratum if stratum.max() + 1 >= FEWEST_UNITS else np.arange(len(stratum))
    sums = Sums(unit)
    for name, value in {"n": 1.0, "x": x, "y": y, "xx": x * x, "yy": y * y, "xy": x * y}.items():
        sums.add(name, 0, 1, value)

    def correlation(of: Mapping[str, Floats]) -> Floats:
        n, x, y, xx, yy, xy = (of[name][..., 0] for name in ("n", "x", "y", "xx", "yy", "xy"))
        spread = (xx - x * x / n) * (yy - y * y / n)
        safe = np.where(spread > 0, spread, np.nan)
        return np.asarray((xy - x * y / n) / np.sqrt(safe))

    value = float(correlation(sums.totals()))
    enough = len(counts) >= FEWEST
    return estimate(value, correlation(sums.drawn(draws, rng)) if enough else [], level)


def _permute(
    has: npt.NDArray[np.bool_],
    decile: Integers,
    stratum: Integers,
    classes: int,
    draws: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Compare areas with images by decile with those of deciles permuted within strata.

    How many areas of each decile get the images of a stratum is hypergeometric, so that it is drawn
    without permuting anything.
    """
    observed, expected, variance = (np.zeros(classes) for _ in range(3))
    drawn = np.zeros((draws, classes))
    used = 0
    for s in range(int(stratum.max()) + 1):
        of = stratum == s
        size, covered = int(of.sum()), int((of & has).sum())
        cells = np.bincount(decile[of], minlength=classes)
        if covered in (0, size) or cells.max() == size:
            continue
        used += 1
        share = covered / size
        observed += np.bincount(decile[of & has], minlength=classes)
        expected += cells * share
        variance += cells * (size - cells) * share * (1 - share) / (size - 1)
        drawn += rng.multivariate_hypergeometric(cells, covered, size=draws, method="count")
    if not used:
        return {"strata": 0, "p_trend": None, "p_any": None, "p_value": None}
    scale = np.where(variance > 0, variance, np.inf)
    steps = np.arange(classes)

    def statistics(table: Floats) -> tuple[Floats, Floats]:
        away = table - expected
        return np.abs(away @ steps), (away**2 / scale).sum(axis=-1)

    both = statistics(np.concatenate([observed[None], drawn]))
    # The observed table is one of the permutations; 1e-9: sums of the same table may differ so.
    p = np.stack([_p_values(np.round(each, 9)) for each in both])
    p_trend, p_any = p[:, 0]
    smaller = p.min(axis=0)
    return {
        **{"strata": used, "p_trend": float(p_trend), "p_any": float(p_any)},
        "p_value": float((smaller <= smaller[0]).mean()),
    }


def _p_values(statistic: Floats) -> Floats:
    """Give the share of permutations whose statistic is at least that of each."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-statistic, method="max") / len(statistic))
