"""What labels of a city are worth, with a model of another city and without one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.evaluation import aggregate, confusion_matrix, draw_metrics, measure, torn_areas
from streetgauge.io.files import digest, write_json, write_table
from streetgauge.io.formats import ANALYSIS_VERSION
from streetgauge.model.training_data import (
    City,
    areas_learned,
    kept_predictions,
    predict_share,
)
from streetgauge.model.transfer import Start
from streetgauge.progress import Progress, silent
from streetgauge.settings import EvaluationSettings, TrainSettings

if TYPE_CHECKING:
    from streetgauge.splits import Split

__all__ = ["SHARES", "draw_curve"]

# Of the areas that could be learned from.
SHARES = (0.0, 0.01, 0.02, 0.05, 0.10, 0.25, 1.0)


METRICS = ("mae", "spearman")


_EVALUATION = EvaluationSettings()


def draw_curve(
    city: City,
    splits: Sequence[Split],
    start: Start,
    scratch: TrainSettings,
    directory: Path,
    *,
    seed: int,
    cache_key: str,
    evaluation: EvaluationSettings = _EVALUATION,
    shares: Sequence[float] = SHARES,
    progress: Progress = silent,
) -> tuple[str, ...]:
    """Measure what labels of the target city are worth, with a trained model and without one.

    For every share, each fold's network learns from that share of the areas that the fold can
    learn from, once going on from the model and once from nothing; every location is predicted by
    the fold that holds its area out. Test areas are the same all along the curve, and each share
    lies within the next. Intervals come from drawing areas one by one, whatever the folds hold out
    together: of blocks or districts they are too narrow.

    Parameters
    ----------
    city : City
        Features and labels.
    splits : sequence of Split
        With all that can be learned from; those without a test part are not looked at.
    start : Start
        The model, and how it is tuned.
    scratch : TrainSettings
        How the networks that start from nothing are trained.
    directory : Path
        Where ``transfer.json`` goes; and ``curve`` on the way, so that a killed run goes on.
    seed : int
        Same inputs and seed, same curve.
    cache_key : str
        Hash of all inputs.
    evaluation : EvaluationSettings, optional
        Rule, draws and interval level.
    shares : sequence of float
        0 to 1; at 0 there is the model as it is, and no other.
    progress : Progress
        Told epochs.

    Returns
    -------
    tuple of str
        What was found, for the screen; ``transfer.json`` has all of it.
    """
    from streetgauge.splits import splits_frame, take_share

    tested = [split for split in splits if len(split.test)]
    torn = torn_areas(splits_frame(tested, city.ids, city.areas))
    points: list[dict[str, Any]] = []
    skipped = []
    for share in shares:
        shared = [take_share(each, city.areas, city.deciles, share, seed) for each in tested]
        learned: dict[str, Any] = {
            "n_training_areas": float(np.mean(areas_learned(shared, city.areas)))
        }
        for kind in ("tuned", "scratch") if share > 0 else ("tuned",):
            settings, model = (start.settings, start.model) if kind == "tuned" else (scratch, None)
            own = digest([cache_key, kind, share, settings.model_dump(mode="json")])
            file = directory / "curve" / f"{kind}-{share:g}.parquet"
            frame = kept_predictions(file, own)
            if frame is None:
                place = file.with_suffix("")
                try:
                    frame = predict_share(
                        city, tested, share, settings, model, place, seed, own, progress
                    )
                except InputError as error:  # so few areas that an outcome has no label there
                    said = {"share": share, "start": kind, "reason": str(error)}
                    skipped.append(learned | said)
                    continue
                write_table(frame, file, {"cache_key": own})
                shutil.rmtree(place, ignore_errors=True)
            areas = aggregate(frame, evaluation.rule, city.classes, city.counts, torn)
            about = learned | {"share": share, "start": kind}
            points += [about | p for p in _measured(areas, city.classes, evaluation, seed)]
    shutil.rmtree(directory / "curve", ignore_errors=True)
    content = {
        "format_version": ANALYSIS_VERSION,
        "from": start.about,
        "tune": start.settings.tune,
        "folds": len(tested),
        "interval_level": evaluation.interval_level,
        "points": points,
        "skipped": skipped,
    }
    write_json(content, directory / "transfer.json")
    missing = [f"{w['share']:.0%}, {w['start']}: left out, {w['reason']}" for w in skipped]
    return (*_lines(points), *missing)


def _lines(points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give the rank correlation along the curve, a line for each outcome and start."""
    for outcome in dict.fromkeys(point["outcome"] for point in points):
        for kind, words in (("tuned", "tuned"), ("scratch", "from nothing")):
            along = [p for p in points if p["outcome"] == outcome and p["start"] == kind]
            said = ", ".join(
                f"{p['share']:.0%} ({p['n_training_areas']:.3g}) {p['spearman']['value']:.2f}"
                for p in along
                if p["spearman"]["value"] is not None
            )
            yield f"{outcome}, {words}, Spearman by share of areas (how many): {said}"


def _measured(
    areas: pd.DataFrame, classes: int, evaluation: EvaluationSettings, seed: int
) -> Iterator[dict[str, Any]]:
    """Put one point of the curve into figures of areas, for every outcome."""
    for outcome, rows in areas[areas["actual_decile"].notna()].groupby("outcome", sort=True):
        frame = rows.set_index("area")
        # The same draws all along the curve.
        rng = np.random.default_rng(seed)
        drawn = draw_metrics({"": frame}, classes, evaluation.draws, rng, metrics=METRICS)[""]
        each = [
            measure(confusion_matrix(part["actual_decile"], part["decile"], classes))
            for _, part in frame.groupby("fold")
        ]
        point: dict[str, Any] = {"outcome": str(outcome), "n_areas": len(frame)}
        for metric in METRICS:
            folds = [float(part[metric]) for part in each if np.isfinite(part[metric])]
            point[metric] = drawn.estimate(metric, evaluation.interval_level) | {
                "folds_mean": float(np.mean(folds)) if folds else None,
                "folds_sd": float(np.std(folds, ddof=1)) if len(folds) > 1 else None,
            }
        yield point
