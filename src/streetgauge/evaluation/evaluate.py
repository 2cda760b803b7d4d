"""The evaluation of the areas' deciles: metrics.json."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from streetgauge.errors import InputError, closest, summary
from streetgauge.evaluation.aggregate import aggregate, cut, refuse_probabilities
from streetgauge.evaluation.baselines import CONSTANT, BaselinePrediction, Baselines
from streetgauge.evaluation.comparison import draw_metrics
from streetgauge.evaluation.levels import Level, predictions_of_units
from streetgauge.evaluation.metrics import CORRELATIONS, METRICS, to_json
from streetgauge.evaluation.outcome import OutcomeEvaluation, is_measured
from streetgauge.evaluation.probabilities import probability_columns
from streetgauge.evaluation.resample import draw_units
from streetgauge.evaluation.scheme import describe_scheme
from streetgauge.io.formats import METRICS_VERSION
from streetgauge.io.tables import refuse_repeated, require_columns
from streetgauge.progress import Advance
from streetgauge.settings import EvaluationSettings, FoldSettings

ALONE = "images-alone"
LEARNER_SCORES = tuple(f"score_{name}" for name in ("network", "kernel", "ridge"))


@dataclass(frozen=True, eq=False)
class EvaluationInputs:
    """What is known of areas besides their predictions; none of it is needed.

    Parameters
    ----------
    coordinates : DataFrame by area, optional
        ``x``, ``y`` in metres; without it there is no ``nearest-areas`` and no block to draw.
    classes : int, default 10
        The highest decile.
    class_counts : mapping of outcome to sequence of int, optional
        As for `aggregate`: the baselines and the oracle are cut as the predictions are.
    predictions : DataFrame, optional
        The locations' predictions that the areas were made from.
    oracle : DataFrame, optional
        ``location_id`` and for outcomes a column with the attainable score of each location. It
        goes through the same aggregation as the predictions; needs ``predictions``.
    location_weights : Series by location, optional
        As for `aggregate`.
    study_areas : collection of str, optional
        All areas of the study, to count those without a prediction.
    training_areas : DataFrame, optional
        From `training_areas`: the training areas of each fold, which are
        then all that the baselines know. Without it, those of the other folds.
    scheme : mapping, optional
        From `describe_scheme`; folds of areas at random if not given.
    columns : DataFrame by area, optional
        Columns that areas are grouped or drawn by, such as ``district``.
    levels : mapping of name to Level
        From `raise_level`: the units above get the same evaluation.
    """

    coordinates: pd.DataFrame | None = None
    classes: int = 10
    class_counts: Mapping[str, Sequence[int]] = field(default_factory=dict)
    predictions: pd.DataFrame | None = None
    oracle: pd.DataFrame | None = None
    location_weights: pd.Series | None = None
    study_areas: Collection[str] | None = None
    training_areas: pd.DataFrame | None = None
    scheme: Mapping[str, Any] | None = None
    columns: pd.DataFrame | None = None
    levels: Mapping[str, Level] = field(default_factory=dict)

    def training_areas_of(self, outcome: str) -> pd.DataFrame | None:
        """Give those of one outcome."""
        known = self.training_areas
        return None if known is None else self._by_outcome.get(outcome, known.iloc[:0])

    @cached_property
    def _by_outcome(self) -> dict[str, pd.DataFrame]:
        known = self.training_areas
        return {} if known is None else {str(name): own for name, own in known.groupby("outcome")}


def evaluate(
    areas: pd.DataFrame,
    settings: EvaluationSettings,
    *,
    seed: int,
    inputs: EvaluationInputs | None = None,
    baselines: Baselines | None = None,
    advance: Advance = lambda steps: None,
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
        ranked probability score), ``actual_value`` (for R2), ``n_views``, ``weight``, how much
        each area counts, and `LEARNER_SCORES`: what other learners of the images predict.
    settings : EvaluationSettings
        The study's.
    seed : int
        Seed of the bootstrap.
    inputs : EvaluationInputs, optional
        What else is known.
    baselines : Baselines, optional
        What the images are compared with; what needs nothing but coordinates if not given.
    advance : callable, optional
        Called after each outcome.

    Returns
    -------
    dict
        JSON-clean: what is not defined is None, and ``undefined`` why. ``scheme`` describes how
        areas were held out, ``areas_tested`` how many. Under ``outcomes``, for each that was
        tested: ``n_areas`` (with a prediction, an actual decile and locations enough: what is
        measured), ``n_areas_without_actual``, ``n_areas_too_few_locations``,
        ``n_areas_without_prediction`` (None if the study's areas are not given), of these
        ``n_areas_training_only`` (trained on and never tested), ``n_locations``,
        ``confusion`` (areas; rows actual, columns predicted), ``metrics`` (each ``value``, ``low``,
        ``high``; `METRICS`, ``rps``, ``r2``), ``extremes``, ``groups``, ``baselines`` (plain
        values, and ``mae_interval``), ``with_images`` (the same of other methods that use images,
        and ``gain``: how much better images alone are, paired, in ``mae`` and ``spearman``),
        ``gain`` (positive = images are better; each metric over the baseline
        that is best at it, and over rho 0 where every baseline's is below),
        ``spearman_within_folds`` (much above ``spearman``: the folds' networks are not on one
        scale), ``intervals``, ``bootstrap`` (what was drawn), ``undefined``
        (path of a figure to the reason why there is none), ``best`` (the best estimate of the same
        areas: ``from``, ``n_areas``, ``metrics``, ``extremes``, ``gain`` over the baselines that
        images are compared with, ``gain_over_images`` and ``intervals``; None where there is no
        such estimate), ``placement`` (in how many folds areas
        were placed at ``centroids`` and at ``locations``), ``oracle``. ``levels`` has the same by
        level, if there are any. Where areas were not held out as a whole there is no baseline.

    Raises
    ------
    InputError
        If an outcome has an area more than once, its probabilities do not sum to 1, the oracle
        lacks ``location_id``, has a location more than once, or knows no outcome, or the areas
        lack what they are to be grouped or drawn by.
    """
    inputs = inputs or EvaluationInputs()
    classes, predictions = inputs.classes, inputs.predictions
    _refuse_unusable(areas, classes)
    if inputs.oracle is not None and len(areas):
        check_oracle(inputs.oracle, predictions, areas)
    tested = areas.loc[areas["fold"] > 0, "fold"] if predictions is None else predictions["fold"]
    folds = int(tested.nunique())
    scheme = dict(inputs.scheme or describe_scheme(FoldSettings(k=max(folds, 2)), folds))
    coordinates = inputs.coordinates
    baselines = baselines or Baselines(coordinates, neighbours=settings.neighbours, seed=seed)
    how = _Evaluation(settings, replace(inputs, scheme=scheme), baselines, seed)
    outcomes: dict[str, Any] = {}
    above: dict[str, dict[str, Any]] = {level: {} for level in inputs.levels}
    for key, rows in areas.groupby("outcome", sort=True):
        name, frame = str(key), rows.set_index("area").sort_index()
        predicted = how.baseline_predictions(name, frame)
        outcomes[name] = how.outcome(name, frame, predicted)
        outcomes[name]["best"] = how.best(name, frame, predicted, outcomes[name]["gain"])
        for level, each in inputs.levels.items():
            above[level][name] = how.units(each, name, frame, predicted)
        advance(1)
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
    if inputs.levels:
        result["levels"] = {level: {"outcomes": each} for level, each in above.items()}
    return result


@dataclass(frozen=True, eq=False)
class _Evaluation:
    """What all outcomes are evaluated with."""

    settings: EvaluationSettings
    inputs: EvaluationInputs
    baselines: Baselines
    seed: int

    def baseline_predictions(
        self, outcome: str, frame: pd.DataFrame
    ) -> dict[str, BaselinePrediction]:
        """Let every baseline predict the areas of an outcome; learners have predicted them."""
        inputs = self.inputs
        counts = inputs.class_counts.get(outcome)
        found = self.baselines.predict(
            outcome,
            frame,
            classes=inputs.classes,
            counts=counts,
            training_areas=inputs.training_areas_of(outcome),
        )
        known = frame["actual_decile"].notna().to_numpy()
        # Nothing is compared where areas were not held out as a whole.
        for column in LEARNER_SCORES if (frame["fold"] > 0).all() else ():
            if column in frame:
                part = cut(frame[column].to_numpy(float), inputs.classes, counts, known)
                deciles = pd.Series(part, frame.index, dtype="Int64")
                name = column.removeprefix("score_")
                found[name] = BaselinePrediction(deciles, frame[column], uses_images=True)
        return found

    def outcome(
        self, outcome: str, frame: pd.DataFrame, predicted: Mapping[str, BaselinePrediction]
    ) -> dict[str, Any]:
        """Evaluate the areas of an outcome."""
        inputs, settings = self.inputs, self.settings
        # One stream of chance per outcome, so that adding an outcome changes no other.
        rng = self._chance(outcome)
        scheme, columns = inputs.scheme or {}, inputs.columns
        unit, drawn = draw_units(frame.index, settings, scheme, inputs.coordinates, columns)
        result = OutcomeEvaluation(
            frame, predicted, settings, inputs.classes, rng, unit, columns
        ).result()
        result["bootstrap"] = drawn
        known = inputs.training_areas_of(outcome)
        result["placement"] = self.baselines.placement(frame, known)
        study = inputs.study_areas
        missing = None if study is None else len(set(study) - set(frame.index))
        result["n_areas_without_prediction"] = missing
        trained = set() if known is None else set(known["area"])
        result["n_areas_training_only"] = len(trained - set(frame.index))
        if inputs.oracle is not None and outcome in inputs.oracle.columns:
            attainable = attainable_deciles(outcome, inputs, settings.rule, frame)
            rows = frame[is_measured(frame, settings.min_locations)]
            constant = result["baselines"].get("constant", {}).get("mae")
            result["oracle"] = share_of_attainable(
                rows, attainable, constant, settings, inputs.classes, rng, unit
            )
            if scheme.get("known_areas"):  # who saw the labels can exceed it
                result["oracle"]["share_of_attainable"] = {}
        return result

    def best(
        self,
        outcome: str,
        frame: pd.DataFrame,
        predicted: Mapping[str, BaselinePrediction],
        gain: Mapping[str, Any] | None,
    ) -> dict[str, Any] | None:
        """Evaluate the best estimate of the same areas, next to images alone and baselines.

        It is drawn with the same units, and compared with the baselines that images were.
        """
        if "best_score" not in frame or frame["best_score"].isna().any():
            return None
        inputs, settings = self.inputs, self.settings.model_copy(update={"groups": ()})
        over = {None if gain is None else gain[key] for key in ("over", "over_spearman")}
        others = {name: each for name, each in predicted.items() if name in over | {CONSTANT}}
        others[ALONE] = BaselinePrediction(frame["decile"], frame["score"], uses_images=True)
        names = ("score", "decile", "low", "high")
        own = frame.drop(columns=probability_columns(inputs.classes), errors="ignore")
        own = own.assign(**{name: frame[f"best_{name}"] for name in names})
        unit, _ = draw_units(
            frame.index, self.settings, inputs.scheme or {}, inputs.coordinates, inputs.columns
        )
        rng = self._chance(outcome)
        result = OutcomeEvaluation(
            own, others, settings, inputs.classes, rng, unit, inputs.columns
        ).result()
        kept = {key: result[key] for key in ("n_areas", "metrics", "extremes", "gain", "intervals")}
        return {
            "from": str(frame["best_from"].mode().iloc[0]),  # a few areas may lack a position
            **kept,
            "gain_over_images": result["with_images"][ALONE]["gain"],
        }

    def units(
        self,
        level: Level,
        outcome: str,
        areas: pd.DataFrame,
        predicted: Mapping[str, BaselinePrediction],
    ) -> dict[str, Any]:
        """Evaluate a level's units, which are drawn one by one, for an outcome of the areas."""
        classes = self.inputs.classes
        units = level.frame[level.frame["outcome"] == outcome].set_index("area").sort_index()
        known = units["actual_decile"].notna()
        above = predictions_of_units(predicted, areas, level.unit, classes, known)
        plain = self.settings.model_copy(update={"bootstrap": "areas", "groups": ()})
        unit, drawn = draw_units(units.index, plain, {})
        rng = self._chance(outcome)
        result = OutcomeEvaluation(units, above, plain, classes, rng, unit).result()
        result["n_areas_below"] = int(units["n_areas"].sum())
        result["bootstrap"] = drawn
        # The areas of a unit lie in several folds.
        result["spearman_within_folds"] = None
        return result

    def _chance(self, outcome: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(outcome.encode())])


def _refuse_unusable(areas: pd.DataFrame, classes: int) -> None:
    for outcome, rows in areas.groupby("outcome"):
        refuse_repeated(pd.Index(rows["area"]), f"areas of {outcome!r}", "area")
    refuse_probabilities(areas, "area", classes)


def attainable_deciles(
    outcome: str, inputs: EvaluationInputs, rule: str, frame: pd.DataFrame
) -> pd.Series:
    """Give the deciles by area if the attainable scores were predicted, by the same rule.

    Parameters
    ----------
    outcome : str
        Which.
    inputs : EvaluationInputs
        With an oracle and the predictions that the areas were made from.
    rule : str
        As for `aggregate`; a rule of the locations' deciles takes those of the best scores.
    frame : DataFrame by area
        ``fold``, 0 where an area is split.
    """
    if inputs.oracle is None or inputs.predictions is None:
        raise ValueError("an oracle of locations needs their predictions")
    rows = inputs.predictions[inputs.predictions["outcome"] == outcome]
    best = inputs.oracle.set_index("location_id")[outcome]
    rows = rows.assign(score=rows["location_id"].map(best)).dropna(subset="score")
    sizes = inputs.class_counts.get(outcome)
    if rule in ("mean", "median", "majority"):
        rows["decile"] = cut(rows["score"].to_numpy(float), inputs.classes, sizes)
    counts = None if sizes is None else {outcome: sizes}
    split = frame.index[frame["fold"] == 0]
    areas = aggregate(rows, rule, inputs.classes, counts, split, inputs.location_weights)
    return areas.set_index("area")["decile"]


def share_of_attainable(
    frame: pd.DataFrame,
    best: pd.Series,
    constant_mae: float | None,
    settings: EvaluationSettings,
    classes: int,
    rng: np.random.Generator,
    unit: pd.Series,
) -> dict[str, Any]:
    """Measure the attainable deciles, and the predictions as a share of them.

    Parameters
    ----------
    frame : DataFrame by area
        The areas that are measured.
    best : Series by area
        From `attainable_deciles`.
    constant_mae : float, optional
        Mean absolute error of the constant baseline.
    settings, classes, rng, unit
        As for `OutcomeEvaluation`.

    Returns
    -------
    dict
        ``n_areas``, every metric with its interval, and ``share_of_attainable``.
    """
    rows = frame.assign(best=best.reindex(frame.index)).dropna(subset="best")
    columns = rows[["actual_decile", "decile"]]
    pair = {"best": columns.assign(decile=rows["best"]), "images": columns}
    weight = rows.get("weight")
    drawn = draw_metrics(pair, classes, settings.draws, rng, unit=unit, weight=weight)
    attainable, images = drawn["best"].value, drawn["images"].value
    result = {m: drawn["best"].estimate(m, settings.interval_level) for m in METRICS}
    shares = {m: _share(images[m], attainable[m]) for m in (*CORRELATIONS, "kappa")}
    if constant_mae is not None:
        shares["mae"] = _share(constant_mae - images["mae"], constant_mae - attainable["mae"])
    return {"n_areas": len(rows), **result, "share_of_attainable": shares}


def _share(reached: float, attainable: float) -> float | None:
    """Divide; None where less than nothing was reached, of which there is no share."""
    return to_json(reached / attainable) if attainable > 0 and reached >= 0 else None


def check_oracle(
    oracle: pd.DataFrame, predictions: pd.DataFrame | None, areas: pd.DataFrame
) -> None:
    """Refuse an oracle that lacks ``location_id``, has one more than once, or knows no outcome.

    Raises
    ------
    InputError
        Naming what is wrong.
    """
    if predictions is None:
        raise ValueError("an oracle of locations needs their predictions")
    if "location_id" not in oracle.columns:
        raise InputError(
            "evaluation.oracle",
            "there is no column 'location_id'",
            closest("location_id", oracle.columns),
        )
    refuse_repeated(pd.Index(oracle["location_id"]), "evaluation.oracle", "location")
    names = sorted(set(areas["outcome"]))
    if not set(names) & set(oracle.columns):
        raise InputError(
            "evaluation.oracle",
            "it has a column for no outcome of the study",
            f"name columns like outcomes: {', '.join(names)}",
        )


def _read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV whose ids are text as they are: "007" and "NA", too."""
    header = pd.read_csv(path, nrows=0).columns
    gaps = {name: ["", "NA", "NaN", "nan"] for name in header if name != "location_id"}
    return pd.read_csv(path, dtype={"location_id": "str"}, keep_default_na=False, na_values=gaps)


def read_oracle(path: Path) -> pd.DataFrame:
    """Read the best attainable scores from Parquet or CSV: location_id and the outcomes."""
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except (pa.ArrowException, ValueError) as error:
        reason = summary(error)
        raise InputError(path, f"this is not a table: {reason}", "give Parquet or CSV") from None
    require_columns(frame, {"location_id": "location_id"}, path)
    return frame.astype({"location_id": "str"})
