"""An honest account of the areas' deciles: metrics.json."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.areas import baselines
from streetgauge.areas.aggregate import aggregate
from streetgauge.areas.metrics import (
    METRICS,
    confusion_matrix,
    estimate,
    measure,
    redraw,
    to_json,
)
from streetgauge.areas.scheme import describe_scheme
from streetgauge.errors import InputError, closest
from streetgauge.settings import EvaluationSettings, FoldSettings

__all__ = ["evaluate"]

FORMAT_VERSION = 1
CORRELATIONS = ("pearson", "spearman", "kendall")
PICTURES = "pictures"


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
    study_areas: Collection[str] | None = None,
    learned: pd.DataFrame | None = None,
    scheme: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Compare predicted with actual deciles, and with what needs no picture.

    All intervals come from drawing areas again with replacement (``settings.draws`` times;
    percentiles of ``settings.coverage``). Differences are paired: both methods on the same draws.
    The order of rows does not matter, and an outcome's figures do not depend on the others.

    Parameters
    ----------
    areas : DataFrame
        From `aggregate` and `intervals`.
    coordinates : DataFrame by area or None
        ``x``, ``y`` in metres; without it there is no ``nearest-areas``.
    settings : EvaluationSettings
        ``rule``, ``coverage``, ``draws``, ``neighbours``.
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
    study_areas : collection of str, optional
        All areas of the study, to count those without a prediction.
    learned : DataFrame, optional
        From `learned_areas`: the areas that the network of each fold could learn from, which are
        then all that the baselines know. Without it, those of the other folds.
    scheme : mapping, optional
        From `describe_scheme`; folds of areas at random if not given.

    Returns
    -------
    dict
        JSON-clean: what is not defined is None. ``scheme`` says how areas were held out,
        ``areas_tested`` how many. Under ``outcomes``, for each that was tested: ``n_areas``
        (with a prediction and an actual decile: what is measured), ``n_areas_without_actual``,
        ``n_areas_without_prediction`` (None if the study's areas are not given), of these
        ``n_areas_learned_only`` (learned from and never tested), ``n_locations``,
        ``confusion`` (rows actual, columns predicted), ``metrics`` (each ``value``, ``low``,
        ``high``), ``baselines`` (plain values), ``pictures_add`` (positive = pictures are better;
        each metric over the baseline that is best at it), ``spearman_within_folds`` (much above
        ``spearman``: the folds' networks are not on one scale), ``interval_coverage``, ``oracle``.
        Where areas were not held out as a whole there is no baseline: one that knew what the
        networks knew would know the area's own decile.

    Raises
    ------
    InputError
        If the oracle lacks ``location_id``, has a location twice, or knows no outcome.
    """
    if oracle is not None and len(areas):
        _refuse_unusable(oracle, predictions, areas)
    outcomes = {}
    for name, frame in areas.groupby("outcome", sort=True):
        # One stream of chance per outcome, so that adding an outcome changes no other.
        rng = np.random.default_rng([seed, zlib.crc32(str(name).encode())])
        frame = frame.set_index("area").sort_index()
        sizes = None if counts is None else counts.get(str(name))
        known = None if learned is None else learned[learned["outcome"] == name]
        account = _Account(frame, coordinates, settings, classes, sizes, rng, known).account()
        missing = None if study_areas is None else set(study_areas) - set(frame.index)
        account["n_areas_without_prediction"] = None if missing is None else len(missing)
        told = set() if learned is None else set(learned["area"])
        account["n_areas_learned_only"] = len(told - set(frame.index))
        if oracle is not None and predictions is not None and name in oracle.columns:
            best = _oracle_areas(str(name), oracle, predictions, settings.rule, classes, sizes)
            account["oracle"] = _oracle_account(frame, best, account, settings, classes, rng)
        outcomes[str(name)] = account
    tested = areas.loc[areas["fold"] > 0, "fold"] if predictions is None else predictions["fold"]
    folds = int(tested.nunique())
    return {
        "format_version": FORMAT_VERSION,
        "classes": classes,
        "folds": folds,
        "scheme": dict(scheme or describe_scheme(FoldSettings(k=max(folds, 2)), folds)),
        "areas_tested": int(areas["area"].nunique()),
        "rule": settings.rule,
        "coverage": settings.coverage,
        "draws": settings.draws,
        "neighbours": settings.neighbours,
        "outcomes": outcomes,
    }


class _Account:
    """The account of one outcome, step by step."""

    def __init__(
        self,
        frame: pd.DataFrame,
        coordinates: pd.DataFrame | None,
        settings: EvaluationSettings,
        classes: int,
        sizes: Sequence[int] | None,
        rng: np.random.Generator,
        learned: pd.DataFrame | None,
    ) -> None:
        self.learned = learned
        self.settings, self.classes, self.sizes = settings, classes, sizes
        self.frame = frame
        self.known = frame["actual_decile"].notna()
        self.actual = frame.loc[self.known, "actual_decile"].to_numpy(int)
        self.methods = {PICTURES: self._known(frame["decile"])}
        self.methods |= self._baselines(coordinates)
        self.tables = {
            m: confusion_matrix(self.actual, d, classes) for m, d in self.methods.items()
        }
        drawn = redraw(self.actual, self.methods, classes, settings.draws, rng)
        self.values = {m: measure(table) for m, table in self.tables.items()}
        self.drawn = {m: measure(tables) for m, tables in drawn.items()}
        if "constant" in self.methods:
            # It ranks nothing; what correlation it has is of the folds' medians.
            for metric in CORRELATIONS:
                self.values["constant"][metric] = np.array(np.nan)

    def account(self) -> dict[str, Any]:
        pictures, drawn = self.values[PICTURES], self.drawn[PICTURES]
        coverage = self.settings.coverage
        return {
            "n_areas": int(self.known.sum()),
            "n_areas_without_actual": int((~self.known).sum()),
            "n_locations": int(self.frame["n_locations"].sum()),
            "confusion": self.tables[PICTURES].tolist(),
            "metrics": {m: estimate(float(pictures[m]), drawn[m], coverage) for m in METRICS},
            "baselines": {
                name: {m: to_json(float(self.values[name][m])) for m in METRICS}
                for name in self.methods
                if name != PICTURES
            },
            "pictures_add": self._pictures_add(),
            "spearman_within_folds": self._within_folds(),
            "interval_coverage": self._interval_coverage(),
        }

    def _known(self, deciles: pd.Series) -> npt.NDArray[np.int64]:
        return deciles[self.known].to_numpy(np.int64)

    def _baselines(self, coordinates: pd.DataFrame | None) -> dict[str, npt.NDArray[np.int64]]:
        actual, fold, learned = self.frame["actual_decile"], self.frame["fold"], self.learned
        if (fold == 0).any():  # the networks knew areas that they were tested on
            return {}
        guesses = {"constant": baselines.constant(actual, fold, learned)}
        if coordinates is not None:
            own = (self.settings.neighbours, self.classes, self.sizes, learned)
            guesses["nearest-areas"] = baselines.nearest_areas(actual, fold, coordinates, *own)
        # With a fold that leaves nothing to train on, a baseline has no say on the same areas.
        return {
            name: self._known(guess)
            for name, guess in guesses.items()
            if not guess[self.known].isna().any()
        }

    def _pictures_add(self) -> dict[str, Any] | None:
        over_mae = self._best("mae", lowest=True)
        if over_mae is None:
            return None
        over_rank = self._best("spearman", lowest=False)
        return {
            "over": over_mae,
            "mae": self._difference("mae", over_mae, sign=-1),
            "over_spearman": over_rank,
            "spearman": self._difference("spearman", over_rank, sign=1),
        }

    def _best(self, metric: str, *, lowest: bool) -> str | None:
        values = {
            name: float(value[metric])
            for name, value in self.values.items()
            if name != PICTURES and np.isfinite(value[metric])
        }
        if not values:
            return None
        return (min if lowest else max)(values, key=lambda name: values[name])

    def _difference(self, metric: str, over: str | None, sign: int) -> dict[str, float | None]:
        if over is None:
            return {"value": None, "low": None, "high": None}
        value = sign * (self.values[PICTURES][metric] - self.values[over][metric])
        drawn = sign * (self.drawn[PICTURES][metric] - self.drawn[over][metric])
        return estimate(float(value), drawn, self.settings.coverage)

    def _within_folds(self) -> float | None:
        """Mean of the folds' own rho, by areas: free of how far the networks agree on a scale."""
        fold = self.frame.loc[self.known, "fold"].to_numpy()
        parts = [fold == part for part in np.unique(fold) if part != 0]
        deciles = self.methods[PICTURES]
        tables = [confusion_matrix(self.actual[p], deciles[p], self.classes) for p in parts]
        if not tables:
            return None
        rho, size = measure(tables)["spearman"], np.array([part.sum() for part in parts])
        here = np.isfinite(rho)
        return float(np.average(rho[here], weights=size[here])) if here.any() else None

    def _interval_coverage(self) -> dict[str, Any] | None:
        if not {"low", "high"} <= set(self.frame.columns):
            return None
        rows = self.frame[self.known]
        inside = (rows["low"] <= rows["actual_decile"]) & (rows["actual_decile"] <= rows["high"])
        width = rows["high"] - rows["low"] + 1
        return {
            "aim": self.settings.coverage,
            "share": float(inside.mean()) if len(rows) else None,
            "mean_width": float(width.mean()) if len(rows) else None,
        }


def _oracle_areas(
    outcome: str,
    oracle: pd.DataFrame,
    predictions: pd.DataFrame,
    rule: str,
    classes: int,
    sizes: Sequence[int] | None,
) -> pd.Series:
    """Deciles by area if the best possible scores were predicted, from the same locations."""
    rows = predictions[predictions["outcome"] == outcome]
    best = oracle.set_index("location_id")[outcome]
    rows = rows.assign(score=rows["location_id"].map(best)).dropna(subset="score")
    counts = None if sizes is None else {outcome: sizes}
    return aggregate(rows, rule, classes, counts).set_index("area")["decile"]


def _oracle_account(
    frame: pd.DataFrame,
    best: pd.Series,
    account: Mapping[str, Any],
    settings: EvaluationSettings,
    classes: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    rows = frame.assign(best=best.reindex(frame.index))
    rows = rows.dropna(subset=["best", "actual_decile"])
    actual, deciles = rows["actual_decile"].to_numpy(int), rows["best"].to_numpy(int)
    values = measure(confusion_matrix(actual, deciles, classes))
    drawn = measure(redraw(actual, {"oracle": deciles}, classes, settings.draws, rng)["oracle"])
    result: dict[str, Any] = {
        m: estimate(float(values[m]), drawn[m], settings.coverage) for m in METRICS
    }
    pictures = measure(confusion_matrix(actual, rows["decile"].to_numpy(int), classes))
    shares = {m: _share(pictures[m], values[m]) for m in (*CORRELATIONS, "kappa")}
    plain = account["baselines"].get("constant", {}).get("mae")
    if plain is not None:
        shares["mae"] = _share(plain - pictures["mae"], plain - values["mae"])
    return {"n_areas": len(rows), **result, "share_of_possible": shares}


def _share(reached: npt.ArrayLike, possible: npt.ArrayLike) -> float | None:
    above, below = float(np.asarray(reached)), float(np.asarray(possible))
    return to_json(above / below) if below > 0 else None


def _refuse_unusable(
    oracle: pd.DataFrame, predictions: pd.DataFrame | None, areas: pd.DataFrame
) -> None:
    if predictions is None:
        raise ValueError("an oracle of locations needs their predictions")
    if "location_id" not in oracle.columns:
        raise InputError(
            "evaluation.oracle",
            "there is no column 'location_id'",
            closest("location_id", oracle.columns),
        )
    twice = oracle["location_id"].duplicated()
    if twice.any():
        location = oracle.loc[twice, "location_id"].iloc[0]
        raise InputError("evaluation.oracle", f"location {location!r} is there twice")
    names = sorted(set(areas["outcome"]))
    if not set(names) & set(oracle.columns):
        raise InputError(
            "evaluation.oracle",
            "it has a column for no outcome of the study",
            f"name columns like outcomes: {', '.join(names)}",
        )
