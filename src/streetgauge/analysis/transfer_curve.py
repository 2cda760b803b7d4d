"""What labels of a city are worth, with a model of another city and without one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from streetgauge.analysis.curves import CurveTraining
from streetgauge.errors import InputError
from streetgauge.evaluation import aggregate, confusion_matrix, draw_metrics, measure, split_areas
from streetgauge.io.files import digest, write_json
from streetgauge.io.formats import ANALYSIS_VERSION, read_object
from streetgauge.progress import Progress, silent
from streetgauge.settings import EvaluationSettings, TrainSettings

if TYPE_CHECKING:
    from streetgauge.model.training_data import TrainingData
    from streetgauge.model.transfer import Start
    from streetgauge.splits import Split


SHARES = (0.0, 0.01, 0.02, 0.05, 0.10, 0.25, 1.0)  # of the training areas
METRICS = ("mae", "spearman")
FOLDER, FILE = "curve", "transfer.json"


class TransferCurve:
    """The learning curve of a study that starts from the model of another city.

    For every share, each fold's network is trained on that share of the fold's training areas, once
    from the trained model and once from random weights; every location is predicted by
    the fold that holds its area out. Test areas are the same all along the curve, and each share
    lies within the next. Intervals come from drawing areas one by one, whatever the folds hold out
    together: of blocks or districts they are too narrow.

    Parameters
    ----------
    data : TrainingData
        Features and labels.
    splits : sequence of Split
        With all training areas; those without a test part play no part.
    start : Start
        The model, and how it is tuned.
    settings : TrainSettings
        How the networks that start from random weights are trained.
    seed : int
        Same inputs and seed, same curve.
    evaluation : EvaluationSettings, optional
        Rule, draws and interval level.
    shares : sequence of float
        0 to 1; at 0 there is the model as it is, and no other.
    """

    def __init__(
        self,
        data: TrainingData,
        splits: Sequence[Split],
        start: Start,
        settings: TrainSettings,
        *,
        seed: int,
        evaluation: EvaluationSettings | None = None,
        shares: Sequence[float] = SHARES,
    ) -> None:
        self.data, self.start, self.settings = data, start, settings
        self.splits = [split for split in splits if len(split.test)]
        self.seed, self.shares = seed, shares
        self.evaluation = evaluation or EvaluationSettings()

    def draw(self, directory: Path, cache_key: str, progress: Progress = silent) -> tuple[str, ...]:
        """Train, test and measure every point, and write ``transfer.json``.

        Parameters
        ----------
        directory : Path
            Where ``transfer.json`` goes; and ``curve`` on the way, so that a killed run resumes.
            One of the same inputs is used as it is.
        cache_key : str
            Hash of all inputs.
        progress : Progress
            Receives epochs.

        Returns
        -------
        tuple of str
            What was found, for the screen; ``transfer.json`` has all of it.
        """
        content = _finished(directory / FILE, cache_key)
        if content is None:
            (directory / FILE).unlink(missing_ok=True)
            content = self._measured(directory / FOLDER, cache_key, progress)
            write_json(content, directory / FILE)
        # Not before its figures are written: a run that is killed in between trains nothing again.
        shutil.rmtree(directory / FOLDER, ignore_errors=True)
        skipped = content["skipped"]
        missing = [f"{w['share']:.0%}, {w['start']}: skipped, {w['reason']}" for w in skipped]
        return (*_lines(content["points"]), *missing)

    def _measured(self, directory: Path, cache_key: str, progress: Progress) -> dict[str, Any]:
        """Train, test and measure every point that is not there yet."""
        from streetgauge.splits import splits_frame

        data, evaluation = self.data, self.evaluation
        split = split_areas(splits_frame(self.splits, data.location_ids, data.areas))
        points: list[dict[str, Any]] = []
        skipped = []
        for training, facts in self._trainings():
            own = digest([cache_key, training.name, training.settings.model_dump(mode="json")])
            try:
                frame = training.predict(directory, own, progress)
            except InputError as error:  # so few areas that an outcome has no label there
                skipped.append(facts | {"reason": str(error)})
                continue
            areas = aggregate(frame, evaluation.rule, data.classes, data.class_counts, split)
            added = corrections(frame)
            points += [
                facts | added.get(each["outcome"], {}) | each
                for each in measure_areas(areas, data.classes, evaluation, self.seed)
            ]
        return {
            "format_version": ANALYSIS_VERSION,
            "cache_key": cache_key,
            "from": self.start.about,
            "tune": self.start.settings.tune,
            "folds": len(self.splits),
            "interval_level": evaluation.interval_level,
            "points": points,
            "skipped": skipped,
        }

    def _trainings(self) -> Iterator[tuple[CurveTraining, dict[str, Any]]]:
        """Give what is trained at each point, and the point's columns."""
        for share in self.shares:
            for kind in ("tuned", "scratch") if share > 0 else ("tuned",):
                start = self.start if kind == "tuned" else None
                settings = self.settings if start is None else start.settings
                training = CurveTraining.of(
                    f"{kind}-{share:g}", self.data, self.splits, share, settings, self.seed, start
                )
                facts = {"n_training_areas": training.n_training_areas}
                yield training, facts | {"share": share, "start": kind}


def _finished(file: Path, cache_key: str) -> dict[str, Any] | None:
    """Read a curve of the same inputs; None if there is none."""
    try:
        content = read_object(file, ANALYSIS_VERSION, "run it again")
    except (OSError, InputError):
        return None
    return content if content.get("cache_key") == cache_key else None


def corrections(predictions: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Count the folds in which labels changed the order that a model of another city gives.

    Parameters
    ----------
    predictions : DataFrame
        With ``gain``, where labels may correct such a model: see `Correction`.

    Returns
    -------
    dict of outcome to dict
        ``n_corrected`` of ``n_models``, and ``gain``, the mean over all of them; nothing without
        that column.
    """
    if "gain" not in predictions:
        return {}
    gains = predictions.groupby(["outcome", "fold"])["gain"].first()
    return {
        str(outcome): {
            "n_models": len(own),
            "n_corrected": int((own > 0).sum()),
            "gain": float(own.mean()),
        }
        for outcome, own in gains.groupby("outcome")
    }


def correction_lines(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Put into words what `corrections` gives, an outcome a line."""
    for outcome, each in found.items():
        n, many = each["n_corrected"], each["n_models"]
        if n:
            how = f"labels correct the other city's model in {n} of {many} folds: they lower the"
            yield f"{outcome}: {how} squared error of held-out areas by {each['gain']:.1%}"
        else:
            yield (
                f"{outcome}: the other city's model as it is, since labels do not lower the "
                "error of held-out areas"
            )


def _lines(points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give the rank correlation along the curve, a line for each outcome and start."""
    for outcome in dict.fromkeys(point["outcome"] for point in points):
        for kind, words in (("tuned", "from the other city's model"), ("scratch", "from nothing")):
            along = [p for p in points if p["outcome"] == outcome and p["start"] == kind]
            values = ", ".join(
                f"{p['share']:.0%} ({p['n_training_areas']:.3g}) {p['spearman']['value']:.2f}"
                for p in along
                if p["spearman"]["value"] is not None
            )
            yield f"{outcome}, {words}, Spearman by share of areas (how many): {values}"


def measure_areas(
    areas: pd.DataFrame, classes: int, evaluation: EvaluationSettings, seed: int
) -> Iterator[dict[str, Any]]:
    """Measure one point of the curve by areas, for every outcome."""
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
