"""Classes of areas, 1 = worst off: which areas are cut, by what weight, and as published."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
import pandas as pd

from streetgauge.classes import crowded, equal_count
from streetgauge.errors import InputError
from streetgauge.io.tables import as_codes, read_columns, refuse_numbers, to_numbers
from streetgauge.outcomes.outcome import Outcome, one_row_an_area
from streetgauge.settings import DecileSettings, WeightSettings


def deciles(
    values: pd.Series,
    direction: Literal["higher-is-better", "higher-is-worse"],
    classes: int = 10,
    weights: pd.Series | None = None,
) -> pd.Series:
    """Cut values into classes of equal count, 1 = worst off.

    The rule is that of `pandas.qcut` on the values as they are (`streetgauge.classes.equal_count`
    with ties at the lowest position). Class borders are linearly interpolated quantiles, and a
    value on a border belongs to the class below it. Equal values therefore always share a class,
    which makes classes unequal where ties lie on a border. Where higher is worse the classes are
    numbered from the other end, the cut itself stays the same.

    With few areas classes differ by one area: of 95 areas deciles hold 9 or 10. There must be at
    least as many distinct values as classes, and no value may fill more than a class.

    Parameters
    ----------
    values : Series of float
        One value an area, NaN where missing; its name is the outcome's, for errors.
    direction : "higher-is-better" or "higher-is-worse"
        Which end is worst off.
    classes : int
        Number of classes, 10 for deciles.
    weights : Series of float, optional
        People by area, with the index of ``values`` or more: every class then holds an equal share
        of the people, as nearly as whole areas allow. An area without a weight gets no class.

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
    people = None if weights is None else weights.reindex(known.index)
    if people is not None:
        known, people = known[people.notna()], people.dropna()
        if not len(known) or not people.sum() > 0:
            raise InputError(subject, "no area with a value has people", "check deciles.weights")
    _refuse_too_few(known, classes, subject)
    numbers, by = known.to_numpy(), None if people is None else people.to_numpy()
    full = crowded(numbers, classes, weights=by)
    if full is not None:
        value, count = full
        raise InputError(
            subject,
            f"{count:,} of {len(known):,} areas share the value {value:g}, "
            f"more than one of {classes} classes of equal count",
            "remove it from study.toml, or use published deciles",
        )
    cut = equal_count(numbers, classes, ties="lowest", weights=by)
    ranked = cut if direction == "higher-is-better" else classes + 1 - cut
    return pd.Series(ranked, known.index, dtype="Int64", name=values.name).reindex(values.index)


def _refuse_too_few(known: pd.Series, classes: int, subject: str) -> None:
    distinct = known.nunique()
    if known.empty:
        raise InputError(subject, "no area of the study has a value", "check its file and column")
    if distinct == 1:
        raise InputError(
            subject,
            f"it is constant: all {len(known):,} areas have the value {known.iloc[0]:g}"
            if len(known) > 1
            else "only one area has a value, and classes need several",
            "remove it from study.toml",
        )
    if distinct < classes:
        raise InputError(
            subject,
            f"{distinct} distinct values cannot be cut into {classes} classes",
            "remove it from study.toml, or include more areas",
        )


def cut_outcome(
    outcome: Outcome,
    rule: Literal["study", "published"],
    settings: DecileSettings,
    areas: pd.Index,
    weights: pd.Series | None = None,
) -> pd.Series:
    """Give every area of the study its class of an outcome.

    Parameters
    ----------
    outcome : Outcome
        As read: all areas of its file.
    rule : "study" or "published"
        By ``settings``, or as the publisher cut them. Published deciles of an index become
        fewer classes by putting neighbours together (two deciles make a quintile).
    settings : DecileSettings
        Number of classes, and the areas among which they are cut.
    areas : Index of str
        The study's areas.
    weights : Series of float, optional
        People by area, from `read_weights`.

    Returns
    -------
    Series of Int64
        By area of the study, in its order; NA where there is no class.

    Raises
    ------
    InputError
        If the outcome cannot be cut (see `deciles`), no area of the file is in the wider set, or
        all of the study's areas are in one class.
    """
    if rule == "published":
        assert outcome.published is not None  # the readers see to it
        together = 10 // settings.classes if outcome.provenance.get("source") != "table" else 1
        cut = (outcome.published + together - 1) // together
    elif settings.within == "study":
        values = outcome.values.reindex(areas).rename(outcome.name)
        return deciles(values, outcome.direction, settings.classes, weights)
    else:
        cut = deciles(
            _wider(outcome, settings.within), outcome.direction, settings.classes, weights
        )
    cut = cut.reindex(areas).rename(outcome.name)
    if cut.nunique() < 2:
        kind = "published" if rule == "published" else "wider"
        raise InputError(
            f"outcome {outcome.name!r}",
            f"it is constant: all areas of the study have the {kind} decile {cut.max()}",
            'use deciles = "study", or remove it from study.toml'
            if rule == "published"
            else 'use within = "study" under [deciles]',
        )
    return cut


def _wider(outcome: Outcome, within: str | tuple[str, ...]) -> pd.Series:
    """Values of the wider set: the file's areas, or those with codes like the patterns."""
    values = outcome.values.rename(outcome.name)
    if isinstance(within, str):
        return values
    inside = np.array([any(fnmatchcase(code, like) for like in within) for code in values.index])
    if not inside.any():
        raise InputError(
            f"deciles.within for outcome {outcome.name!r}",
            f"no area of its file has a code like {' or '.join(map(repr, within))}",
            f"its codes are like {values.index[0]!r}" if len(values) else "",
        )
    return values[inside]


def read_weights(settings: WeightSettings) -> pd.Series:
    """Read how many people live in each area.

    Returns
    -------
    Series of float
        By area code; NaN where the file has no number.

    Raises
    ------
    InputError
        If a column is absent, a number is negative, or an area is repeated with another number.
    """
    named = {
        "deciles.weights.area": settings.area,
        "deciles.weights.population": settings.population,
    }
    table, title = read_columns(settings.file, named, settings.sheet)
    people = to_numbers(table[settings.population], title)
    refuse_numbers(people < 0, people, title, "a negative number of people", "fix the cell")
    return one_row_an_area(as_codes(table[settings.area]), people.to_frame(), title).iloc[:, 0]
