"""Equal-count classes of areas, 1 = worst off."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from streetgauge.errors import InputError

__all__ = ["deciles"]


def deciles(
    values: pd.Series,
    direction: Literal["higher-is-better", "higher-is-worse"],
    classes: int = 10,
) -> pd.Series:
    """Cut values into classes of equal count, 1 = worst off.

    The rule is that of `pandas.qcut` on the values as they are: class borders are linearly
    interpolated quantiles, and a value on a border belongs to the class below it. Equal values
    therefore always share a class, which makes classes unequal where ties lie on a border. Where
    higher is worse the classes are numbered from the other end, the cut itself stays the same.

    Parameters
    ----------
    values : Series of float
        One value an area, NaN where missing; its name is the outcome's, for errors.
    direction : "higher-is-better" or "higher-is-worse"
        Which end is worst off.
    classes : int
        Number of classes, 10 for deciles.

    Returns
    -------
    Series of Int64
        1 (worst off) to ``classes``, with the index of ``values``; NA where the value is missing.

    Raises
    ------
    InputError
        If all values are equal, there are fewer distinct values than classes, or so many areas
        share one value that it fills more than a class.

    Notes
    -----
    Suel et al. (2019), Sci. Rep. 9, 6229: deciles of the areas within one city.

    Examples
    --------
    >>> deciles(pd.Series([10.0, 20.0, 30.0, 40.0]), "higher-is-worse", classes=2).tolist()
    [2, 2, 1, 1]
    """
    subject = f"outcome {values.name!r}" if values.name is not None else "the outcome"
    known = values.dropna()
    distinct = known.nunique()
    if known.empty:
        raise InputError(subject, "no area of the study has a value", "look at its file and column")
    if distinct == 1:
        raise InputError(
            subject,
            f"it is constant: all {len(known):,} areas have the value {known.iloc[0]:g}",
            "leave it out of study.toml",
        )
    if distinct < classes:
        raise InputError(
            subject,
            f"{distinct} distinct values cannot be cut into {classes} classes",
            "leave it out of study.toml, or take in more areas",
        )
    try:
        cut = pd.qcut(known, classes, labels=False)
    except ValueError:  # two borders fall on one value
        counts = known.value_counts()
        raise InputError(
            subject,
            f"{counts.iloc[0]:,} of {len(known):,} areas share the value {counts.index[0]:g}, "
            f"more than one of {classes} classes of equal count",
            "leave it out of study.toml, or use published deciles",
        ) from None
    ranked = cut + 1 if direction == "higher-is-better" else classes - cut
    return ranked.astype("Int64").reindex(values.index)
