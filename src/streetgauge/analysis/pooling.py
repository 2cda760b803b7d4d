"""Several cities together: which predicts which, and what all of them say of each.

A city is its areas: their mean features, standardised within the city so that its camera, light and
season do not count, and their deciles, which are the city's own. A Bayesian ridge of some cities
predicts another without any label of it. Labels of that city then correct it: what the others leave
open is their prior (`streetgauge.model.correction`), as where a study starts from another's bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streetgauge.evaluation import draw_metrics
from streetgauge.evaluation.aggregate import cut
from streetgauge.evaluation.intervals import evaluate_intervals, intervals, intervals_elsewhere
from streetgauge.model.correction import fit_correction
from streetgauge.model.kernel import RIDGE_KERNELS, KernelModel, fit_kernel
from streetgauge.model.stack import fit_stack
from streetgauge.model.training_data import TrainingData
from streetgauge.seeds import derive_seed
from streetgauge.settings import EvaluationSettings
from streetgauge.splits.folds import Split, area_folds, take_share

__all__ = ["METHODS", "City", "Pool"]

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

FEWEST = 10  # labelled areas of a city that trains others, corrects them and is measured
FOLDS = 5
METRICS = ("spearman", "mae")
COVERAGE = ("level", "share", "low", "high", "n_areas", "mean_width")
# What a city's areas are predicted by: all other cities; its own labels; both; and, with what the
# study itself estimates, the best estimate.
METHODS = ("others", "own", "pooled", "best")
CLASSED = ("pooled", "best")  # those that are cut into classes and get intervals


@dataclass(frozen=True)
class City:
    """A city's areas.

    Parameters
    ----------
    name : str
    features : DataFrame [A, D] by area
        Mean features.
    deciles : DataFrame [A, M] by area
        A column for each outcome, NaN where missing.
    best : DataFrame by area, optional
        A column for each outcome: what the city's study estimates of areas that were held out.

    Examples
    --------
    >>> city = City("Leeds", pd.DataFrame({"f0": [1.0, 2.0]}), pd.DataFrame({"income": [3, 8]}))
    >>> city.name
    'Leeds'
    """

    name: str
    features: pd.DataFrame
    deciles: pd.DataFrame
    best: pd.DataFrame | None = None

    def labels(self, outcome: str) -> Floats:
        """Give an outcome's deciles in the order of the features, NaN where missing.

        Examples
        --------
        >>> city = City("Leeds", pd.DataFrame({"f0": [1.0, 2.0]}), pd.DataFrame({"income": [3, 8]}))
        >>> city.labels("income").tolist()
        [3.0, 8.0]
        """
        if outcome not in self.deciles:
            return np.full(len(self.features), np.nan)
        return self.deciles[outcome].reindex(self.features.index).to_numpy(np.float64)

    def standardised(self) -> NDArray[np.float32]:
        """Give the features with a mean of 0 and a standard deviation of 1: [A, 1, D].

        Examples
        --------
        >>> city = City("Leeds", pd.DataFrame({"f0": [1.0, 2.0]}), pd.DataFrame({"income": [3, 8]}))
        >>> city.standardised()[:, 0, 0].tolist()
        [-1.0, 1.0]
        """
        values = self.features.to_numpy(np.float64)
        sd = values.std(axis=0)
        scaled = (values - values.mean(axis=0)) / np.where(sd > 0, sd, 1)
        singles: NDArray[np.float32] = scaled.astype(np.float32)[:, None]
        return singles


class Pool:
    """Several cities, and what they predict of each other.

    Parameters
    ----------
    cities : sequence of City
        Of the same features; their areas may have the same codes.
    classes : int
        K of the deciles.
    seed : int
        Of folds and intervals.
    evaluation : EvaluationSettings, optional
        Draws and interval level.

    Examples
    --------
    >>> decile = np.repeat(np.arange(1.0, 11), 3)
    >>> frames = pd.DataFrame({"f0": decile}), pd.DataFrame({"income": decile})
    >>> pool = Pool([City("Leeds", *frames), City("York", *frames)])
    >>> list(pool.cities)
    ['Leeds', 'York']
    """

    def __init__(
        self,
        cities: Sequence[City],
        *,
        classes: int = 10,
        seed: int = 0,
        evaluation: EvaluationSettings | None = None,
    ) -> None:
        self.cities = {city.name: city for city in cities}
        self.classes, self.seed = classes, seed
        self.evaluation = evaluation or EvaluationSettings()
        self.features = {name: city.standardised() for name, city in self.cities.items()}

    def labelled(self, outcome: str) -> list[str]:
        """Name the cities with labels enough to train others.

        Examples
        --------
        >>> decile = np.repeat(np.arange(1.0, 11), 3)
        >>> frames = pd.DataFrame({"f0": decile}), pd.DataFrame({"income": decile})
        >>> pool = Pool([City("Leeds", *frames), City("York", *frames)])
        >>> pool.labelled("income")
        ['Leeds', 'York']
        """
        return [
            name
            for name, city in self.cities.items()
            if np.isfinite(city.labels(outcome)).sum() >= FEWEST
        ]

    def _ridge(self, names: Sequence[str], outcome: str) -> KernelModel:
        """Train a Bayesian ridge on all labelled areas of some cities."""
        features = np.concatenate([self.features[name] for name in names])
        labels = np.concatenate([self.cities[name].labels(outcome) for name in names])
        return _ridge(features, labels, np.arange(len(labels)))

    def matrix(self, outcome: str) -> Iterator[dict[str, Any]]:
        """Measure how well each city predicts each other one, none of whose labels is used.

        Yields
        ------
        dict
            ``outcome``, ``from``, ``to``, ``n_areas``, ``spearman`` and ``mae`` (each ``value``,
            ``low``, ``high``).

        Examples
        --------
        >>> decile = np.repeat(np.arange(1.0, 11), 3)
        >>> frames = pd.DataFrame({"f0": decile}), pd.DataFrame({"income": decile})
        >>> pool = Pool([City("Leeds", *frames), City("York", *frames)])
        >>> [(each["from"], each["to"]) for each in pool.matrix("income")]
        [('Leeds', 'York'), ('York', 'Leeds')]
        """
        labelled = self.labelled(outcome)
        for source in labelled:
            model = self._ridge([source], outcome)
            for target in labelled:
                if target != source:
                    labels = self.cities[target].labels(outcome)
                    scores = {"actual_decile": labels, "score": self._all(model, target)}
                    frame = pd.DataFrame(scores, self.cities[target].features.index)
                    measured = self._measured(frame, ("score",))["score"]
                    yield {"outcome": outcome, "from": source, "to": target} | measured

    def estimates(self, outcome: str, target: str, share: float = 1.0) -> pd.DataFrame:
        """Predict the areas of a city by the others, by its own labels, and by both.

        Every labelled area is predicted by labels of the four fifths in which it is not.

        Parameters
        ----------
        outcome, target : str
        share : float
            Of the training areas of each fold whose labels are used.

        Returns
        -------
        DataFrame by area
            ``actual_decile``, ``fold`` (0 where there is no label), and the expected decile of each
            of `METHODS`, NaN where that cannot be; ``gain`` is what labels of the fold's training
            areas add to the other cities, see `Correction`.

        Examples
        --------
        >>> decile = np.repeat(np.arange(1.0, 11), 3)
        >>> frames = pd.DataFrame({"f0": decile}), pd.DataFrame({"income": decile})
        >>> pool = Pool([City("Leeds", *frames), City("York", *frames)])
        >>> bool(pool.estimates("income", "York")["pooled"].corr(frames[1]["income"]) > 0.9)
        True
        """
        labels, index = self.cities[target].labels(outcome), self.cities[target].features.index
        columns = {name: np.full(len(labels), np.nan) for name in (*METHODS, "gain")}
        fold = np.zeros(len(labels), np.int64)
        others = [name for name in self.labelled(outcome) if name != target]
        model = self._ridge(others, outcome) if others else None
        if model is not None:
            columns["others"] = self._all(model, target)
            columns["pooled"] = columns["others"].copy()
        splits = self._splits(target, labels, share) if target in self.labelled(outcome) else ()
        for split in splits:
            rows = split.test
            fold[rows] = split.fold
            if len(split.training) > 1 and len(rows):
                own = _ridge(self.features[target], labels, split.training)
                columns["own"][rows] = self._rows(own, target, rows)
            if model is not None and len(rows):
                columns["pooled"][rows], columns["gain"][rows] = self._corrected(
                    model, target, labels, split
                )
        pooled = np.where(np.isnan(columns["pooled"]), columns["own"], columns["pooled"])
        study = self.cities[target].best
        if study is not None and outcome in study:
            columns["best"] = study[outcome].reindex(index).to_numpy(np.float64)
        columns |= {"pooled": pooled, "best": _combined(pooled, columns["best"], labels, fold)}
        return pd.DataFrame({"actual_decile": labels, "fold": fold, **columns}, index)

    def classed(self, frame: pd.DataFrame, outcome: str, target: str) -> pd.DataFrame:
        """Cut what `estimates` gives into classes of the city, with intervals.

        The intervals are conformal (`streetgauge.evaluation.intervals`): an area's comes from the
        errors in other folds. A city with too few labels has none; its areas get the intervals of
        other cities that are predicted in the same way, without any label of their own.

        Returns
        -------
        DataFrame by area
            ``pooled_decile``, ``pooled_low``, ``pooled_high`` and the same of ``best`` (Int64).

        Examples
        --------
        >>> decile = np.repeat(np.arange(1.0, 11), 3)
        >>> frames = pd.DataFrame({"f0": decile}), pd.DataFrame({"income": decile})
        >>> pool = Pool([City("Leeds", *frames), City("York", *frames)])
        >>> classed = pool.classed(pool.estimates("income", "York"), "income", "York")
        >>> int(classed["best_low"].min()), int(classed["best_high"].max())
        (1, 10)
        """
        known, fold = frame["actual_decile"].notna(), frame["fold"].to_numpy(np.int64)
        last = fold.max() + 1  # areas without a label, to which all folds lend their errors
        columns: dict[str, pd.Series] = {}
        for method in CLASSED:
            rows = frame[frame[method].notna()]
            score = rows[method].to_numpy(float)
            table = rows[[]].assign(
                outcome=outcome,
                fold=np.where(fold > 0, fold, last)[frame[method].notna()],
                score=score,
                decile=cut(score, self.classes, None, known[rows.index].to_numpy()),
                actual_decile=rows["actual_decile"].round().astype("Int64"),
            )
            level = self.evaluation.interval_level
            if (fold > 0).any():
                found = intervals(table, level, self.classes)
            else:
                theirs = {outcome: self._errors_elsewhere(outcome, target)}
                found = intervals_elsewhere(table, theirs, level, self.classes, own_scale=True)
            for name in ("decile", "low", "high"):
                columns[f"{method}_{name}"] = found[name].astype("Int64").reindex(frame.index)
        return pd.DataFrame(columns, frame.index)

    def coverage(self, frame: pd.DataFrame, classed: pd.DataFrame) -> dict[str, Any] | None:
        """Measure how often intervals of the best estimate hold the class of held-out areas.

        Returns
        -------
        dict or None
            ``level``, ``share`` with ``low`` and ``high``, ``n_areas`` and ``mean_width``, see
            `evaluate_intervals`; None where no area was held out.

        Examples
        --------
        >>> decile = np.repeat(np.arange(1.0, 11), 3)
        >>> frames = pd.DataFrame({"f0": decile}), pd.DataFrame({"income": decile})
        >>> pool = Pool([City("Leeds", *frames), City("York", *frames)])
        >>> frame = pool.estimates("income", "York")
        >>> pool.coverage(frame, pool.classed(frame, "income", "York"))["n_areas"]
        30
        """
        held = (frame["fold"] > 0) & frame["actual_decile"].notna() & classed["best_low"].notna()
        if not held.any():
            return None
        rows = classed.loc[held, ["best_low", "best_high"]].set_axis(["low", "high"], axis=1)
        rows["actual_decile"] = frame.loc[held, "actual_decile"].round().astype("Int64")
        found = evaluate_intervals(rows, self.evaluation.interval_level, self.classes)
        return {name: found[name] for name in COVERAGE}

    def measured(self, frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
        """Measure what `estimates` gives, on the areas that are labelled and held out.

        Returns
        -------
        dict of method to dict
            ``n_areas``, ``spearman`` and ``mae``; only methods that predict all of them.

        Examples
        --------
        >>> decile = np.repeat(np.arange(1.0, 11), 3)
        >>> frames = pd.DataFrame({"f0": decile}), pd.DataFrame({"income": decile})
        >>> pool = Pool([City("Leeds", *frames), City("York", *frames)])
        >>> found = pool.measured(pool.estimates("income", "York"))
        >>> found["pooled"]["n_areas"]
        30
        """
        return self._measured(frame[frame["fold"] > 0], METHODS)

    def _errors_elsewhere(self, outcome: str, target: str) -> Floats:
        """Give score, class and actual class of other cities' areas, each city by all others."""
        labelled = [name for name in self.labelled(outcome) if name != target]
        tables = [np.empty((0, 3))]
        for name in labelled if len(labelled) > 1 else ():
            rest = [other for other in labelled if other != name]
            score = self._all(self._ridge(rest, outcome), name)
            actual = self.cities[name].labels(outcome)
            known = np.isfinite(actual)
            decile = cut(score, self.classes, None, known)
            tables.append(np.column_stack([score, decile, actual])[known])
        return np.concatenate(tables)

    def _splits(self, target: str, labels: Floats, share: float) -> Iterator[Split]:
        """Give the folds of a city's labelled areas, and one that tests those without a label."""
        known, areas = np.flatnonzero(np.isfinite(labels)), np.arange(len(labels))
        seed = derive_seed(self.seed, target)
        fold = area_folds(known, labels[known, None], FOLDS, seed)
        without = {"it has no label": np.setdiff1d(areas, known)}
        nothing = np.empty(0, np.int64)
        for e in range(FOLDS + 1):
            held = known[fold == e] if e else without["it has no label"]
            excluded = without if e else {}
            training = np.setdiff1d(known, held)
            split = Split(f"fold-{e}", e, training, nothing, held, excluded)
            yield take_share(split, areas, labels[:, None], share, seed)

    def _corrected(
        self, model: KernelModel, target: str, labels: Floats, split: Split
    ) -> tuple[Floats, float]:
        """Predict the tested areas by the others as labels correct them, and give the gain."""
        features = self.features[target]
        present, areas = np.ones((len(labels), 1), np.bool_), np.arange(len(labels))
        data = TrainingData(
            features,
            present,
            labels[:, None],
            areas,
            location_ids=areas,
            outcomes=("",),
            classes=self.classes,
        )
        added = fit_correction(
            model, lambda rows: self._rows(model, target, rows)[:, None], data, split, seed=0
        )
        more = added.model.expected(features, present, split.test)[:, 0]
        return self._rows(model, target, split.test) + more, float(added.gain[0])

    def _all(self, model: KernelModel, target: str) -> Floats:
        return self._rows(model, target, np.arange(len(self.features[target])))

    def _rows(self, model: KernelModel, target: str, rows: Rows) -> Floats:
        features = self.features[target]
        return model.expected(features, np.ones((len(features), 1), np.bool_), rows)[:, 0]

    def _measured(self, frame: pd.DataFrame, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        known = frame[frame["actual_decile"].notna()]
        predicted = {
            column: known.assign(decile=cut(known[column].to_numpy(float), self.classes))
            for column in columns
            if len(known) and known[column].notna().all()
        }
        if not predicted:
            return {}
        rng = np.random.default_rng(self.seed)
        draws, level = self.evaluation.draws, self.evaluation.interval_level
        drawn = draw_metrics(predicted, self.classes, draws, rng, metrics=METRICS)
        return {
            name: {
                "n_areas": len(known),
                **{metric: each.estimate(metric, level) for metric in METRICS},
            }
            for name, each in drawn.items()
        }


def _ridge(features: NDArray[np.float32], labels: Floats, rows: Rows) -> KernelModel:
    return fit_kernel(
        features,
        np.ones(features.shape[:2], np.bool_),
        labels[rows, None],
        rows,
        rows=rows,
        kernels=RIDGE_KERNELS,
    )


def _combined(pooled: Floats, study: Floats, labels: Floats, fold: Rows) -> Floats:
    """Weigh the pooled and the study's own estimate; an area's weights come from other folds."""
    both = np.stack([pooled, study])
    found: Floats = np.where(np.isnan(pooled), study, pooled)
    known = np.isfinite(both).all(axis=0)
    for e in np.unique(fold):
        here, others = known & (fold == e), known & (fold > 0) & (fold != e)
        if here.any() and others.sum() >= FEWEST:
            stack = fit_stack(both[:, others, None], labels[others, None])
            found[here] = stack.combine(both[:, here, None])[:, 0]
    return found
