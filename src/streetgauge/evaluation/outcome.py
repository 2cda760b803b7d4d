"""The evaluation of one outcome: figures with intervals, next to what needs no image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.classes import equal_count
from streetgauge.errors import InputError, closest
from streetgauge.evaluation.baselines import CHANCE, CONSTANT, BaselinePrediction
from streetgauge.evaluation.intervals import evaluate_intervals
from streetgauge.evaluation.metrics import (
    CORRELATIONS,
    METRICS,
    cells,
    confusion_matrix,
    estimate,
    measure,
    ranked_probability_scores,
    shrinkage,
    to_json,
    why_undefined,
)
from streetgauge.evaluation.probabilities import probability_columns
from streetgauge.evaluation.resample import Sums
from streetgauge.settings import EvaluationSettings

IMAGES = "images"
Floats = npt.NDArray[np.float64]


def is_measured(frame: pd.DataFrame, min_locations: int) -> pd.Series:
    """Report which areas are: they have an actual decile, and locations enough."""
    return frame["actual_decile"].notna() & (frame["n_locations"] >= min_locations)


class OutcomeEvaluation:
    """The evaluation of one outcome, step by step.

    Parameters
    ----------
    frame : DataFrame by area, sorted
        ``fold``, ``n_locations``, ``score``, ``decile``, ``actual_decile``; where known ``low`` and
        ``high``, ``p1`` to ``pK``, ``n_views``, ``actual_value`` and ``weight`` (of the area).
    predicted : mapping of name to BaselinePrediction
        Of the baselines. Images must beat those that use none.
    settings : EvaluationSettings
        ``interval_level``, ``draws``, ``min_locations``, ``groups``.
    classes : int
        K.
    rng : Generator
        Of the draws.
    unit : Series of int64 by area
        From `draw_units`.
    about : DataFrame by area, optional
        Columns that areas may be grouped by.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        predicted: Mapping[str, BaselinePrediction],
        settings: EvaluationSettings,
        classes: int,
        rng: np.random.Generator,
        unit: pd.Series,
        about: pd.DataFrame | None = None,
    ) -> None:
        self.frame, self.settings, self.classes = frame, settings, classes
        self.measured = is_measured(frame, settings.min_locations)
        self.rows = frame[self.measured]
        self.undefined: dict[str, str] = {}
        self.with_images = [name for name, each in predicted.items() if each.uses_images]
        self.actual = self.rows["actual_decile"].to_numpy(np.int64)
        self.weight = self._weight()
        self.methods = {IMAGES: self.rows["decile"].to_numpy(np.int64)} | self._usable(predicted)
        self.tables = {
            name: self._table(deciles, self.weight) for name, deciles in self.methods.items()
        }
        self.values = {name: measure(table) for name, table in self.tables.items()}
        for name in self.methods:
            where = "metrics" if name == IMAGES else f"baselines.{name}"
            where = f"with_images.{name}" if name in self.with_images else where
            for metric, reason in why_undefined(self.tables[name]).items():
                self.undefined[f"{where}.{metric}"] = reason
        if "constant" in self.methods:
            # It ranks nothing; what correlation it has is of the folds' medians.
            for metric in CORRELATIONS:
                self.values["constant"][metric] = np.array(np.nan)
                self.undefined[f"baselines.constant.{metric}"] = "a constant puts nothing in order"
        self.best = {"mae": self._best("mae", min), "spearman": self._best("spearman", max)}
        ranked = self.best["spearman"]
        if CONSTANT in self.methods and (
            ranked is None or self.values[ranked]["spearman"] < 0
        ):  # areas in the wrong order are no yardstick: no order at all, rho 0, is better
            self.best["spearman"] = CONSTANT
        kinds = kinds_of_areas(self.rows, about, settings.groups)
        self.districts = None if about is None else about.get("district")
        self.groups = Groups(kinds, self.actual, self.methods[IMAGES], classes)
        self._draw(unit.loc[self.rows.index].to_numpy(), rng)

    def result(self) -> dict[str, Any]:
        """Give all of it, JSON-clean."""
        values, drawn = self.values[IMAGES], self.drawn[IMAGES]
        interval_level = self.settings.interval_level
        known, enough = self.frame["actual_decile"].notna(), self.measured
        metrics = {m: estimate(float(values[m]), drawn[m], interval_level) for m in METRICS}
        metrics |= {"rps": self._rps(), "r2": self._r2()}
        counts = confusion_matrix(self.actual, self.methods[IMAGES], self.classes)
        return {
            "n_areas": len(self.rows),
            "n_areas_without_actual": int((~known).sum()),
            "n_areas_too_few_locations": int((known & ~enough).sum()),
            "n_locations": int(self.frame["n_locations"].sum()),
            "confusion": counts.tolist(),
            "metrics": metrics,
            "extremes": self._extremes(),
            "groups": self.groups.figures(self.totals, self.draws, self.weight, interval_level),
            "baselines": self._figures([n for n in self.others if n not in self.with_images]),
            "with_images": self._figures([n for n in self.others if n in self.with_images]),
            "gain": self._gain(),
            "spearman_within_folds": self._within_folds(),
            "intervals": self._intervals(),
            "undefined": self.undefined,
        }

    @property
    def others(self) -> list[str]:
        """What the networks are compared with."""
        return [name for name in self.methods if name != IMAGES]

    def _figures(self, names: list[str]) -> dict[str, dict[str, Any]]:
        """Give each method's figures, and the gain over those that use images, too.

        With images there is no best one by hindsight: each is a learner that anyone may take.
        """
        level, figures = self.settings.interval_level, {}
        for name in names:
            value, drawn = self.values[name], self.drawn[name]
            mae = estimate(float(value["mae"]), drawn["mae"], level)
            figures[name] = {m: to_json(float(value[m])) for m in METRICS} | {
                "mae_interval": {end: mae[end] for end in ("low", "high")}
            }
            if name in self.with_images:
                figures[name]["gain"] = {
                    "mae": self._difference("mae", name, sign=-1),
                    "spearman": self._difference("spearman", name, sign=1),
                }
        return figures

    def _weight(self) -> Floats:
        """How much each measured area counts, 1 on average."""
        if "weight" not in self.rows:
            return np.ones(len(self.rows))
        weight = self.rows["weight"].to_numpy(float)
        total = weight.sum()
        return weight * (weight.size / total) if total > 0 else np.ones(weight.size)

    def _usable(
        self, predicted: Mapping[str, BaselinePrediction]
    ) -> dict[str, npt.NDArray[np.int64]]:
        """Give the baselines that have a decile for every measured area."""
        own = {name: each.deciles.reindex(self.rows.index) for name, each in predicted.items()}
        return {
            n: deciles.to_numpy(np.int64) for n, deciles in own.items() if deciles.notna().all()
        }

    def _table(self, deciles: npt.NDArray[np.int64], weight: Floats) -> Floats:
        flat = cells(self.actual, deciles, self.classes)
        counts = np.bincount(flat, weight, self.classes**2).astype(float)
        return counts.reshape(self.classes, self.classes)

    def _draw(self, unit: npt.NDArray[np.int64], rng: np.random.Generator) -> None:
        # Not all units need have a measured area.
        sums = Sums(np.unique(unit, return_inverse=True)[1], self.weight)
        for name, deciles in self.methods.items():
            flat = cells(self.actual, deciles, self.classes)
            sums.add(name, flat, self.classes**2)
        self.groups.add_to(sums)
        self._add_continuous(sums)
        self.totals, self.draws = sums.totals(), sums.drawn(self.settings.draws, rng)
        shape = (self.settings.draws, self.classes, self.classes)
        self.drawn_tables = self.draws[IMAGES].reshape(shape)
        ranked = {*self.with_images, self.best["spearman"]}  # of the others only the MAE is drawn
        self.drawn = {
            name: measure(self.draws[name].reshape(shape), self.best if name in ranked else ["mae"])
            for name in self.others
        } | {IMAGES: measure(self.drawn_tables)}

    def _add_continuous(self, sums: Sums) -> None:
        names = probability_columns(self.classes)
        if set(names) <= set(self.rows.columns):
            probabilities = self.rows[names].to_numpy(float)
            known = np.isfinite(probabilities).all(axis=1)
            scores = np.zeros(len(known))
            scores[known] = ranked_probability_scores(probabilities[known], self.actual[known])
            cell = np.where(known, 0, -1)
            sums.add("rps", cell, 1, scores)
            sums.add("rps weight", cell, 1)
        if "actual_value" in self.rows:
            value = self.rows["actual_value"].to_numpy(float)
            expected = expected_values(self.frame)[self.rows.index].to_numpy(float)
            known = np.isfinite(value) & np.isfinite(expected)
            centred = np.where(known, value - (value[known].mean() if known.any() else 0), 0)
            cell = np.where(known, 0, -1)
            sums.add("value weight", cell, 1)
            sums.add("value", cell, 1, centred)
            sums.add("value squared", cell, 1, centred**2)
            sums.add("value error", cell, 1, np.where(known, value - expected, 0) ** 2)

    def _rps(self) -> dict[str, Any]:
        if "rps" not in self.totals:
            self.undefined["metrics.rps"] = "areas have no probabilities"
            return _undefined()
        with np.errstate(invalid="ignore", divide="ignore"):
            value = self.totals["rps"] / self.totals["rps weight"]
            drawn = self.draws["rps"] / self.draws["rps weight"]
        if not np.isfinite(value[0]):
            self.undefined["metrics.rps"] = "no measured area has probabilities"
        return estimate(float(value[0]), drawn[:, 0], self.settings.interval_level)

    def _r2(self) -> dict[str, Any]:
        if "value" not in self.totals:
            self.undefined["metrics.r2"] = "areas have no actual values"
            return _undefined()

        def r2(sums: Mapping[str, Floats]) -> Floats:
            count = sums["value weight"][..., 0]
            with np.errstate(invalid="ignore", divide="ignore"):
                spread = sums["value squared"][..., 0] - sums["value"][..., 0] ** 2 / count
                defined = (count > 0) & (spread > 1e-12 * sums["value squared"][..., 0])
                return np.where(defined, 1 - sums["value error"][..., 0] / spread, np.nan)

        value = float(r2(self.totals))
        if not np.isfinite(value):
            read = self.totals["value weight"][0] > 0
            self.undefined["metrics.r2"] = (
                "actual values do not vary" if read else "no other fold links scores to values"
            )
        return estimate(value, r2(self.draws), self.settings.interval_level)

    def _extremes(self) -> dict[str, Any]:
        """How far predictions are drawn to the middle, and how many lie at either end."""
        values, drawn = shrinkage(self.tables[IMAGES]), shrinkage(self.drawn_tables)
        actual = shrinkage(self.tables[IMAGES].T)
        slope = estimate(float(values["slope"]), drawn["slope"], self.settings.interval_level)
        if slope["value"] is None:
            self.undefined["extremes.slope"] = "actual classes do not vary"
        return {"slope": slope} | {
            end: {"actual": to_json(float(actual[end])), "predicted": to_json(float(values[end]))}
            for end in ("lowest", "highest")
        }

    def _best(self, metric: str, choose: Callable[..., str]) -> str | None:
        """Which baseline is best at a metric; of equally good ones the first.

        What uses images is none, and chance is never best but by chance.
        """
        values = {
            name: float(value[metric])
            for name, value in self.values.items()
            if name not in (IMAGES, CHANCE, *self.with_images) and np.isfinite(value[metric])
        }
        return choose(values, key=lambda name: values[name]) if values else None

    def _gain(self) -> dict[str, Any] | None:
        over_mae, over_rank = self.best["mae"], self.best["spearman"]
        if over_mae is None:
            return None
        return {
            "over": over_mae,
            "mae": self._difference("mae", over_mae, sign=-1),
            "over_spearman": over_rank,
            "spearman": self._difference("spearman", over_rank, sign=1),
        }

    def _difference(self, metric: str, over: str | None, sign: int) -> dict[str, Any]:
        if over is None:
            return _undefined()
        value, drawn = self.values[IMAGES][metric], self.drawn[IMAGES][metric]
        if not (over == CONSTANT and metric in CORRELATIONS):  # that is 0, in every draw
            value, drawn = value - self.values[over][metric], drawn - self.drawn[over][metric]
        value, drawn = sign * value, sign * drawn
        return estimate(float(value), drawn, self.settings.interval_level)

    def _within_folds(self) -> float | None:
        """Mean of the folds' own rho, by areas: free of how far the networks agree on a scale."""
        fold = self.rows["fold"].to_numpy()
        parts = [fold == part for part in np.unique(fold) if part != 0]
        deciles = self.methods[IMAGES]
        tables = [confusion_matrix(self.actual[p], deciles[p], self.classes) for p in parts]
        if not tables:
            return None
        rho, size = measure(tables)["spearman"], np.array([part.sum() for part in parts])
        here = np.isfinite(rho)
        return float(np.average(rho[here], weights=size[here])) if here.any() else None

    def _intervals(self) -> dict[str, Any] | None:
        if not {"low", "high"} <= set(self.rows.columns):
            return None
        return evaluate_intervals(
            self.rows, self.settings.interval_level, self.classes, self.districts
        )


def _undefined() -> dict[str, Any]:
    return {"value": None, "low": None, "high": None}


THIRDS = ("deprived", "middle", "affluent")


def kinds_of_areas(
    frame: pd.DataFrame, about: pd.DataFrame | None = None, columns: Sequence[str] = ()
) -> dict[str, pd.Series]:
    """Sort the areas that are measured into kinds, in several ways.

    Parameters
    ----------
    frame : DataFrame by area
        Of one outcome: ``actual_decile``, ``n_locations`` and, if known, ``n_views``.
    about : DataFrame by area, optional
        Further columns; ``district`` is always used.
    columns : sequence of str
        Which others are.

    Returns
    -------
    dict of name to Series of str by area
        ``deprivation``: thirds by the actual decile (of ten: 1 to 3 ``deprived``, 8 to 10
        ``affluent``). ``images``: ``few`` and ``many``, the two halves by the number of images,
        or of locations where that is not known. ``district``, and ``columns``. Missing where an
        area has no such; ways in which all are alike are excluded.

    Raises
    ------
    InputError
        If the areas have no such column.
    """
    if frame.empty:
        return {}
    thirds = equal_count(frame["actual_decile"].to_numpy(float), 3)
    kinds = {"deprivation": pd.Series(np.array(THIRDS)[thirds - 1], index=frame.index)}
    counted = "n_locations"
    if "n_views" in frame and frame["n_views"].notna().all():
        counted = "n_views"
    halves = equal_count(frame[counted].to_numpy(float), 2)
    kinds["images"] = pd.Series(np.array(["few", "many"])[halves - 1], index=frame.index)
    known = [] if about is None else list(about.columns)
    for column in columns:
        if column not in known:
            raise InputError(
                "evaluation.groups", f"the areas have no column {column!r}", closest(column, known)
            )
    if about is not None:
        named = ["district"] if "district" in known else []
        for column in dict.fromkeys([*named, *columns]):
            kinds[column] = about[column].reindex(frame.index)
    return {name: kind for name, kind in kinds.items() if len(kind.dropna().unique()) > 1}


class Groups:
    """The figures of every kind of areas, from the same draws as all others.

    Parameters
    ----------
    kinds : dict of name to Series by area
        From `kinds_of_areas`.
    actual, predicted : ndarray of int64, shape (n,)
        Deciles of the areas.
    classes : int
        K.
    """

    def __init__(
        self,
        kinds: dict[str, pd.Series],
        actual: npt.NDArray[np.int64],
        predicted: npt.NDArray[np.int64],
        classes: int,
    ) -> None:
        self.actual, self.predicted, self.classes = actual, predicted, classes
        self.labels: dict[str, list[str]] = {}
        self.codes: dict[str, npt.NDArray[np.int64]] = {}
        for name, kind in kinds.items():
            code, labels = pd.factorize(kind.astype(object), sort=True)
            self.codes[name], self.labels[name] = code.astype(np.int64), [str(x) for x in labels]

    def add_to(self, sums: Sums) -> None:
        """Add the sums that the figures need."""
        error = self.predicted - self.actual
        for name, code in self.codes.items():
            size = len(self.labels[name])
            sums.add(f"{name} weight", code, size)
            sums.add(f"{name} mae", code, size, np.abs(error))
            sums.add(f"{name} bias", code, size, error)

    def figures(
        self,
        totals: dict[str, npt.NDArray[np.float64]],
        drawn: dict[str, npt.NDArray[np.float64]],
        weight: npt.NDArray[np.float64],
        interval_level: float,
    ) -> dict[str, Any]:
        """Give the figures by kind: ``n_areas``, ``mae``, ``bias``, ``within_1``, ``spearman``."""
        result: dict[str, Any] = {}
        for name, labels in self.labels.items():
            tables = self._tables(self.codes[name], len(labels), weight)
            values = measure(tables, ("within_1", "spearman"))
            below, drawn_below = totals[f"{name} weight"], drawn[f"{name} weight"]
            # A draw without any such area tells nothing of them.
            drawn_below = np.where(drawn_below > 0, drawn_below, np.nan)
            result[name] = {}
            for i, label in enumerate(labels):
                about: dict[str, Any] = {"n_areas": int((self.codes[name] == i).sum())}
                for metric in ("mae", "bias"):
                    key = f"{name} {metric}"
                    value = totals[key][i] / below[i] if below[i] > 0 else np.nan
                    spread = drawn[key][:, i] / drawn_below[:, i]
                    about[metric] = estimate(float(value), spread, interval_level)
                about |= {metric: to_json(float(each[i])) for metric, each in values.items()}
                result[name][label] = about
        return result

    def _tables(
        self, code: npt.NDArray[np.int64], size: int, weight: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        cell = (code * self.classes + self.actual - 1) * self.classes + self.predicted - 1
        used = code >= 0
        flat = np.bincount(cell[used], weight[used], size * self.classes**2).astype(float)
        return flat.reshape(size, self.classes, self.classes)


def expected_values(frame: pd.DataFrame) -> pd.Series:
    """Give every area the value that goes with its score in the areas of the other folds.

    The rising (or, where higher is worse, falling) step function of the score with the least
    squared error, straight between its steps: isotonic regression (Barlow, Bartholomew, Bremner and
    Brunk 1972, Statistical Inference under Order Restrictions). No fold's own values play a part.

    Parameters
    ----------
    frame : DataFrame by area
        Of one outcome: ``fold``, ``score``, ``actual_decile``, ``actual_value``; the last two may
        be missing.

    Returns
    -------
    Series of float by area
        In the unit of the values; missing for areas that were not held out as a whole (fold 0), and
        where the other folds have fewer than two areas with a value.
    """
    frame = frame.sort_index()
    score, fold = frame["score"].to_numpy(float), frame["fold"].to_numpy()
    value = frame["actual_value"].to_numpy(float)
    decile = frame["actual_decile"].astype("float64").to_numpy()
    known = np.isfinite(value) & np.isfinite(decile) & (fold != 0)
    result = np.full(len(frame), np.nan)
    for part in np.unique(fold[fold != 0]):
        others = known & (fold != part)
        if others.sum() < 2:
            continue
        rises = np.cov(decile[others], value[others])[0, 1] >= 0
        x, y = _monotone(score[others], value[others], rises=bool(rises))
        result[fold == part] = np.interp(score[fold == part], x, y)
    return pd.Series(result, index=frame.index)


def _monotone(x: Floats, y: Floats, *, rises: bool) -> tuple[Floats, Floats]:
    """Fit a monotone function: distinct x in order, and its values there."""
    from scipy.optimize import isotonic_regression  # here: importing the package stays cheap

    distinct, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, y) / counts
    fit = isotonic_regression(means, weights=counts.astype(float), increasing=rises)
    return distinct, np.asarray(fit.x)
