"""An honest account of the areas' deciles: metrics.json."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from streetgauge.evaluation.account import Account, is_measured
from streetgauge.evaluation.aggregate import refuse_probabilities
from streetgauge.evaluation.baselines import Baselines, Guess
from streetgauge.evaluation.levels import Level, guesses_of_units
from streetgauge.evaluation.oracle import best_possible, check_oracle, share_of_attainable
from streetgauge.evaluation.resample import draw_units
from streetgauge.evaluation.scheme import describe_scheme
from streetgauge.io.formats import METRICS_VERSION
from streetgauge.io.tables import refuse_repeated
from streetgauge.settings import EvaluationSettings, FoldSettings

__all__ = ["evaluate"]


def evaluate(
    areas: pd.DataFrame,
    coordinates: pd.DataFrame | None,
    settings: EvaluationSettings,
    *,
    seed: int,
    classes: int = 10,
    counts: Mapping[str, Sequence[int]] | None = None,
    oracle: pd.DataFrame | None = None,
    predictions: pd.DataFrame | None = None,
    weights: pd.Series | None = None,
    study_areas: Collection[str] | None = None,
    learned: pd.DataFrame | None = None,
    scheme: Mapping[str, Any] | None = None,
    about: pd.DataFrame | None = None,
    levels: Mapping[str, Level] | None = None,
    baselines: Baselines | None = None,
) -> dict[str, Any]:
    """Compare predicted with actual deciles, and with what needs no image.

    All intervals come from drawing areas, or blocks of them (`draw_units`), again with replacement
    (``settings.draws`` times; percentiles of ``settings.interval_level``). Differences are paired:
    both methods on the same draws. The order of rows does not matter, and an outcome's figures do
    not depend on the others.

    Parameters
    ----------
    areas : DataFrame
        From `aggregate` and `intervals`. Used where they are there: ``p1`` to ``pK`` (for the
        ranked probability score), ``actual_value`` (for R2), ``n_views``, and ``weight``, how much
        each area counts.
    coordinates : DataFrame by area or None
        ``x``, ``y`` in metres; without it there is no ``nearest-areas`` and no block to draw.
    settings : EvaluationSettings
        The study's.
    seed : int
        Seed of the bootstrap.
    classes : int, default 10
        The highest decile.
    counts : mapping of outcome to sequence of int, optional
        As for `aggregate`: the baselines and the oracle are cut as the predictions are.
    oracle : DataFrame, optional
        ``location_id`` and for outcomes a column with the best possible score of each location. It
        goes through the same aggregation as the predictions; needs ``predictions``.
    predictions : DataFrame, optional
        The locations' predictions that ``areas`` were made from.
    weights : Series by location, optional
        As for `aggregate`.
    study_areas : collection of str, optional
        All areas of the study, to count those without a prediction.
    learned : DataFrame, optional
        From `training_areas`: the areas that the network of each fold could learn from, which are
        then all that the baselines know. Without it, those of the other folds.
    scheme : mapping, optional
        From `describe_scheme`; folds of areas at random if not given.
    about : DataFrame by area, optional
        Columns that areas are grouped or drawn by, such as ``district``.
    levels : mapping of name to Level, optional
        From `raise_level`: the same account of the units above.
    baselines : Baselines, optional
        What the images are compared with; what needs nothing but places if not given.

    Returns
    -------
    dict
        JSON-clean: what is not defined is None, and ``undefined`` says why. ``scheme`` says how
        areas were held out, ``areas_tested`` how many. Under ``outcomes``, for each that was
        tested: ``n_areas`` (with a prediction, an actual decile and locations enough: what is
        measured), ``n_areas_without_actual``, ``n_areas_too_few_locations``,
        ``n_areas_without_prediction`` (None if the study's areas are not given), of these
        ``n_areas_training_only`` (learned from and never tested), ``n_locations``,
        ``confusion`` (areas; rows actual, columns predicted), ``metrics`` (each ``value``, ``low``,
        ``high``; `METRICS`, ``rps``, ``r2``), ``extremes``, ``groups``, ``baselines`` (plain
        values), ``with_images`` (the same of what looks at images in a plainer way),
        ``gain`` (positive = images are better; each metric over the baseline
        that is best at it, and over rho 0 where every baseline's is below),
        ``spearman_within_folds`` (much above ``spearman``: the folds' networks are not on one
        scale), ``intervals``, ``bootstrap`` (what was drawn), ``undefined``
        (path of a figure to the reason why there is none), ``oracle``. ``levels`` has the same by
        level, if there are any. Where areas were not held out as a whole there is no baseline.

    Raises
    ------
    InputError
        If an outcome has an area more than once, its probabilities do not sum to 1, the oracle
        lacks ``location_id``, has a location more than once, or knows no outcome, or the areas
        lack what they are to be grouped or drawn by.
    """
    _refuse_unusable(areas, classes)
    if oracle is not None and len(areas):
        check_oracle(oracle, predictions, areas)
    tested = areas.loc[areas["fold"] > 0, "fold"] if predictions is None else predictions["fold"]
    folds = int(tested.nunique())
    scheme = dict(scheme or describe_scheme(FoldSettings(k=max(folds, 2)), folds))
    sizes: Mapping[str, Sequence[int]] = counts or {}

    baselines = baselines or Baselines(coordinates, neighbours=settings.neighbours, seed=seed)
    outcomes: dict[str, Any] = {}
    above: dict[str, dict[str, Any]] = {level: {} for level in levels or {}}
    for key, frame in areas.groupby("outcome", sort=True):
        name = str(key)
        # One stream of chance per outcome, so that adding an outcome changes no other.
        rng = _chance(seed, name)
        frame = frame.set_index("area").sort_index()
        known = None if learned is None else learned[learned["outcome"] == name]
        own = sizes.get(name)
        guesses = baselines.guess(name, frame, classes=classes, counts=own, learned=known)
        unit, drawn = draw_units(frame.index, settings, scheme, coordinates, about)
        account = Account(frame, guesses, settings, classes, rng, unit, about).account()
        account["bootstrap"] = drawn
        missing = None if study_areas is None else set(study_areas) - set(frame.index)
        account["n_areas_without_prediction"] = None if missing is None else len(missing)
        told = set() if known is None else set(known["area"])
        account["n_areas_training_only"] = len(told - set(frame.index))
        if oracle is not None and predictions is not None and name in oracle.columns:
            torn = frame.index[frame["fold"] == 0]
            best = best_possible(
                name, oracle, predictions, settings.rule, classes, own, weights, torn
            )
            rows = frame[is_measured(frame, settings.min_locations)]
            account["oracle"] = share_of_attainable(
                rows, best, account, settings, classes, rng, unit
            )
        outcomes[name] = account
        for level, each in (levels or {}).items():
            above[level][name] = _account_above(each, frame, guesses, settings, classes, seed)
    result = {
        "format_version": METRICS_VERSION,
        "classes": classes,
        "folds": folds,
        "scheme": scheme,
        "areas_tested": int(areas["area"].nunique()),
        "rule": settings.rule,
        "weight": settings.weight,
        "min_locations": settings.min_locations,
        "interval_level": settings.interval_level,
        "draws": settings.draws,
        "neighbours": settings.neighbours,
        "outcomes": outcomes,
    }
    if levels:
        result["levels"] = {level: {"outcomes": accounts} for level, accounts in above.items()}
    return result


def _account_above(
    level: Level,
    areas: pd.DataFrame,
    guesses: Mapping[str, Guess],
    settings: EvaluationSettings,
    classes: int,
    seed: int,
) -> dict[str, Any]:
    """Give the account of a level's units, which are drawn one by one, for the areas' outcome."""
    outcome = str(areas["outcome"].iloc[0])
    units = level.frame[level.frame["outcome"] == outcome].set_index("area").sort_index()
    judged = units["actual_decile"].notna()
    said = guesses_of_units(guesses, areas, level.unit, classes, judged)
    plain = settings.model_copy(update={"bootstrap": "areas", "groups": ()})
    unit, drawn = draw_units(units.index, plain, {})
    account = Account(units, said, plain, classes, _chance(seed, outcome), unit).account()
    account["n_areas_below"] = int(units["n_areas"].sum())
    account["bootstrap"] = drawn
    # The areas of a unit lie in several folds.
    account["spearman_within_folds"] = None
    return account


def _chance(seed: int, outcome: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(outcome.encode())])


def _refuse_unusable(areas: pd.DataFrame, classes: int) -> None:
    for outcome, rows in areas.groupby("outcome"):
        refuse_repeated(pd.Index(rows["area"]), f"areas of {outcome!r}", "area")
    refuse_probabilities(areas, "area", classes)
