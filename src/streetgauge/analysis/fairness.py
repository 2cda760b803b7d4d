"""Who is misjudged: errors of groups of areas against those of all others.

A mean error can hide that a few pay for it. For every group: how often deprived areas are called
well off and the reverse, error, bias, whether intervals hold, and calibration, each against the
areas outside the group. Nothing is equalised: what is found is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.classes import equal_count
from streetgauge.evaluation.concepts import FALSE_DISCOVERY_RATE
from streetgauge.evaluation.effective_size import count_effective, p_values
from streetgauge.evaluation.probabilities import probability_columns

__all__ = ["MEASURES", "audit", "sort_into_groups"]

FEWEST = 10  # areas of a group, and of all others: with fewer there are no rates
LEVELS = 12  # values of a column of numbers, above which it is cut into thirds
BINS = 10  # of probabilities
PERMUTATIONS = 499  # of the calibration error, which is no mean
THIRDS = ("low", "middle", "high")
MEASURES = {
    "deprived_as_well_off": "deprived areas (lowest 30%) that are put into the upper half",
    "well_off_as_deprived": "well-off areas (highest 30%) that are put into the lower half",
    "mae": "mean absolute error",
    "bias": "predicted less actual class",
    "interval_coverage": "areas whose interval holds the actual class",
    "calibration_error": "expected calibration error",
}

COLUMNS = [
    *("outcome", "column", "group", "measure", "n", "n_others", "value", "others"),
    *("difference", "low", "high", "p", "q", "reported"),
]

Floats = npt.NDArray[np.float64]


def sort_into_groups(columns: pd.DataFrame) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Give each area its group in every column, and the groups that are too small to test.

    Parameters
    ----------
    columns : DataFrame by area
        Text or few numbers: groups as they are. A column of more than 12 numbers is cut into
        thirds of equal count. Areas without a value are in no group of that column.

    Returns
    -------
    groups : DataFrame of str by area
        Missing where there is no value.
    small : list of dict
        ``column``, ``group``, ``n`` of groups with fewer than 10 areas.

    Examples
    --------
    >>> density = pd.DataFrame({"density": np.arange(30.0)}, [f"a{i}" for i in range(30)])
    >>> sort_into_groups(density)[0]["density"].value_counts().to_dict()
    {'low': 10, 'middle': 10, 'high': 10}
    """
    groups = pd.DataFrame(index=columns.index)
    for name, column in columns.items():
        known = column.dropna()
        if pd.api.types.is_numeric_dtype(known) and known.nunique() > LEVELS:
            third = equal_count(known.to_numpy(float), len(THIRDS))
            known = pd.Series(np.array(THIRDS)[third - 1], known.index)
        elif pd.api.types.is_float_dtype(known) and (known == known.round()).all():
            known = known.astype("int64")  # as they were before some were missing
        groups[str(name)] = known.astype("str").reindex(columns.index)
    small = [
        {"column": str(name), "group": str(group), "n": int(n)}
        for name in groups
        for group, n in groups[name].value_counts(sort=False).sort_index().items()
        if n < FEWEST
    ]
    return groups, small


def audit(
    areas: pd.DataFrame,
    groups: pd.DataFrame,
    *,
    classes: int = 10,
    coordinates: pd.DataFrame | None = None,
    interval_level: float = 0.9,
    seed: int = 2019,
) -> pd.DataFrame:
    """Compare every group with the areas outside it, in every measure of every outcome.

    The p-values and intervals of means are those of the modified t-test, which counts only as many
    independent areas as the likeness of neighbours allows (Clifford, Richardson and Hemon 1989,
    Biometrics 45, 123-134); those of the calibration error are from permuted groups. They are
    adjusted over all outcomes, groups and measures at once (Benjamini and Hochberg 1995, J. R.
    Stat. Soc. B 57, 289-300). Rates of false calls are of the areas of one end only, as true and
    false positive rates are (Hardt, Price and Srebro 2016, NeurIPS).

    Parameters
    ----------
    areas : DataFrame
        Measured areas, a row for each area and outcome: ``area``, ``outcome``, ``decile``,
        ``actual_decile`` and, if known, ``low``, ``high`` and ``p1`` to ``pK``.
    groups : DataFrame of str by area
        From `sort_into_groups`.
    classes : int
        K. Class 1 is the most deprived.
    coordinates : DataFrame by area, optional
        ``x``, ``y`` in metres; without them areas count as independent.
    interval_level : float
        0 to 1, of the differences.
    seed : int
        Of the permuted groups.

    Returns
    -------
    DataFrame
        A row for each outcome, group (of two groups the smaller) and measure, the surest first:
        ``outcome``, ``column``, ``group``, ``measure``, ``n``, ``n_others`` (areas that it is
        of), ``value``, ``others``, ``difference`` (group less others) with ``low`` and ``high``,
        ``p``, ``q`` (adjusted), ``reported`` (``q`` at most .05). Where either side has fewer than
        10 areas there is none.

    Examples
    --------
    >>> n = 60
    >>> codes, actual = [f"a{i:02d}" for i in range(n)], np.arange(n) % 10 + 1
    >>> rural = np.arange(n) < 30
    >>> frame = pd.DataFrame({"area": codes, "outcome": "income", "actual_decile": actual})
    >>> frame["decile"] = np.clip(actual + np.where(rural, 2, 0) + np.arange(n) // 10 % 2, 1, 10)
    >>> group = pd.DataFrame({"kind": np.where(rural, "rural", "urban")}, codes)
    >>> found = audit(frame, group)
    >>> found.loc[found["reported"], "measure"].unique().tolist()
    ['bias', 'mae']
    """
    tables = []
    for outcome, frame in areas.groupby("outcome", sort=False):
        rows = frame.set_index("area").sort_index()
        for column in groups:
            of = groups[column].reindex(rows.index).dropna()
            for group in _judged(of):
                inside = of == group
                for measure, values in _values(rows.loc[of.index], classes):
                    own = inside[values.index]
                    if min(int(own.sum()), int((~own).sum())) < FEWEST:
                        continue
                    where = None if coordinates is None else coordinates.reindex(values.index)
                    found = _difference(measure, values, own, where, interval_level, seed)
                    tables.append(
                        {"outcome": str(outcome), "column": str(column), "group": group} | found
                    )
    if not tables:
        return pd.DataFrame(columns=COLUMNS)
    from scipy.stats import false_discovery_control  # here, so that importing it stays cheap

    table = pd.DataFrame(tables)
    table["q"] = false_discovery_control(table["p"].to_numpy())
    table["reported"] = table["q"] <= FALSE_DISCOVERY_RATE
    order = table["outcome"].map({name: i for i, name in enumerate(table["outcome"].unique())})
    table = table.assign(order=order).sort_values(
        ["q", "p", "order", "column", "group", "measure"], ignore_index=True
    )
    return table[COLUMNS]


def _judged(of: pd.Series) -> list[str]:
    """Name the groups to compare with all others: of two only the smaller, as both ask the same."""
    sizes = of.value_counts(sort=False).sort_index()
    return [str(sizes.idxmin())] if len(sizes) == 2 else [str(name) for name in sizes.index]


def _values(rows: pd.DataFrame, classes: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give what each measure is a mean of, by area; of the calibration error all it needs."""
    actual, predicted = (rows[name].astype("int64") for name in ("actual_decile", "decile"))
    end = max(1, round(0.3 * classes))
    is_upper = predicted > classes / 2
    deprived, well_off = actual <= end, actual > classes - end
    yield "deprived_as_well_off", is_upper[deprived].astype("float64").to_frame()
    yield "well_off_as_deprived", (~is_upper[well_off]).astype("float64").to_frame()
    error = (predicted - actual).astype("float64")
    yield "mae", error.abs().to_frame()
    yield "bias", error.to_frame()
    if {"low", "high"} <= set(rows.columns):
        held = rows[rows["low"].notna()]
        inside = (held["low"] <= held["actual_decile"]) & (held["actual_decile"] <= held["high"])
        yield "interval_coverage", inside.astype("float64").to_frame()
    names = probability_columns(classes)
    if set(names) <= set(rows.columns):
        known = rows[names].notna().all(axis=1)
        yield "calibration_error", rows.loc[known, [*names, "actual_decile"]]


def _difference(
    measure: str,
    values: pd.DataFrame,
    inside: pd.Series,
    xy: pd.DataFrame | None,
    level: float,
    seed: int,
) -> dict[str, Any]:
    n, n_others = int(inside.sum()), int((~inside).sum())
    counts = {"measure": measure, "n": n, "n_others": n_others}
    if measure == "calibration_error":
        return counts | _calibration(values, inside.to_numpy(), level, seed)
    numbers = values.iloc[:, 0]
    own, others = float(numbers[inside].mean()), float(numbers[~inside].mean())
    both = {"value": own, "others": others, "difference": own - others}
    spread = float(numbers.std(ddof=0))
    if spread < 1e-12:  # they are all the same
        return counts | both | {"low": 0.0, "high": 0.0, "p": 1.0}
    contrast = np.where(inside, 1 / n, -1 / n_others)
    scaled = ((numbers - numbers.mean()) / spread).to_numpy()[:, None]
    effective = count_effective(scaled, contrast, xy)
    p = p_values(contrast @ scaled, contrast, effective, len(scaled))
    half = _half_width(spread, contrast, float(effective[0]), level)
    return (
        counts
        | both
        | {
            "low": own - others - half,
            "high": own - others + half,
            "p": float(p[0]),
        }
    )


def _half_width(spread: float, contrast: Floats, effective: float, level: float) -> float:
    """Half of the interval of a difference of means of so many independent areas."""
    from scipy.stats import t

    widened = (len(contrast) - 1) / (effective - 1)
    error = spread * np.sqrt(contrast @ contrast * widened)
    return float(t.ppf((1 + level) / 2, effective - 2) * error)


def _calibration(
    values: pd.DataFrame, inside: npt.NDArray[np.bool_], level: float, seed: int
) -> dict[str, Any]:
    """Compare calibration errors; the smaller a set, the larger is its error by chance alone.

    So p and the interval come from permuted groups of the same sizes, not from a comparison with 0.
    """
    gaps = _gaps(values)
    rng = np.random.default_rng(seed)
    permuted = np.array([inside, *(rng.permutation(inside) for _ in range(PERMUTATIONS))])
    own, others = (np.abs(of @ gaps).sum(axis=1) / of.sum(axis=1) for of in (permuted, ~permuted))
    difference = own - others
    expected = difference[1:].mean()
    away = difference - expected
    tail = (1 - level) / 2
    low, high = away[0] - np.quantile(away[1:], [1 - tail, tail])
    return {
        **{"value": float(own[0]), "others": float(others[0]), "difference": float(away[0])},
        **{"low": float(low), "high": float(high)},
        "p": float((np.abs(away) >= np.abs(away[0]) - 1e-12).mean()),
    }


def _gaps(values: pd.DataFrame) -> Floats:
    """Give what each area adds to the calibration error's gaps: [n, (K - 1) * BINS].

    Of "the class is k or less", for each k: its probability less whether it is so, in the column of
    the bin that the probability lies in; bins are tenths of all areas, so that those of a group and
    of all others are the same (Naeini, Cooper and Hauskrecht 2015).
    """
    probability = values.iloc[:, :-1].to_numpy(float)
    actual = values.iloc[:, -1].to_numpy(np.int64)
    upto = np.cumsum(probability, axis=1)[:, :-1].round(12)
    n, borders = upto.shape
    gaps = np.zeros((n, borders * BINS))
    for k in range(borders):
        bin_ = equal_count(upto[:, k], BINS) - 1
        gaps[np.arange(n), k * BINS + bin_] = upto[:, k] - (actual <= k + 1)
    mean: Floats = gaps / borders
    return mean
