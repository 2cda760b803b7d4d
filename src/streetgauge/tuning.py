"""A model of one city tuned to another: where a study starts from, and what labels are worth."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streetgauge.errors import InputError
from streetgauge.evaluation import aggregate, confusion_matrix, draw_metrics, measure, torn_areas
from streetgauge.io.files import digest, read_metadata, write_json, write_table
from streetgauge.progress import Progress, silent
from streetgauge.settings import EvaluationSettings, TrainSettings, TransferSettings
from streetgauge.transfer import compare_with, open_bundle

if TYPE_CHECKING:
    from streetgauge.features import FeatureStore
    from streetgauge.model import Bundle, Model
    from streetgauge.splits import Split

__all__ = [
    "SHARES",
    "City",
    "Start",
    "draw_curve",
    "find_start",
    "kept_predictions",
    "open_start",
    "predict_share",
]

# Of the areas that could be learned from.
SHARES = (0.0, 0.01, 0.02, 0.05, 0.10, 0.25, 1.0)
METRICS = ("mae", "spearman")
_EVALUATION = EvaluationSettings()
# What of the settings belongs to the network that is started from, and cannot be another.
_ARCHITECTURE = ("network", "pooling", "members", "head", "dropout")


@dataclass(frozen=True)
class Start:
    """What a study's networks start from.

    Parameters
    ----------
    model : Model
        Of the study's outcomes, in their order.
    settings : TrainSettings
        The study's, for a network like the model's.
    about : dict
        What is kept of it in the bundles that are made.
    notes : tuple of str
        For the screen.
    learned : frozenset of str, optional
        Marks of the areas that the model learned from, see `Bundle`; None if it does not say.
    """

    model: Model
    settings: TrainSettings
    about: dict[str, Any]
    notes: tuple[str, ...]
    learned: frozenset[str] | None = None


@dataclass(frozen=True)
class City:
    """The target city: features of R rows, and N labelled locations among them."""

    features: NDArray[np.float32]
    present: NDArray[np.bool_]
    deciles: NDArray[np.float64]
    areas: NDArray[Any]
    ids: NDArray[Any]
    rows: NDArray[np.int64]
    outcomes: tuple[str, ...]
    classes: int = 10
    counts: Mapping[str, Sequence[int]] | None = None  # areas of each class, if not equal


def find_start(
    transfer: TransferSettings,
    train: TrainSettings,
    store: FeatureStore,
    outcomes: Sequence[str],
    *,
    classes: int = 10,
) -> Start:
    """Open the bundle that a study starts from, and see that it fits.

    Parameters
    ----------
    transfer, train : settings
        The study's.
    store : FeatureStore
        The study's features.
    outcomes : sequence of str
        The study's, in the order of the labels; the bundle must have each by name.
    classes : int
        K of the study.

    Returns
    -------
    Start

    Raises
    ------
    InputError
        If the bundle cannot be opened, was made with another backbone, or lacks an outcome.
    """
    bundle, notes = open_start(transfer, outcomes, classes=classes)
    notes += compare_with(bundle, store)
    theirs = {key: getattr(bundle.settings, key) for key in _ARCHITECTURE}
    if theirs["network"] != train.network:
        notes.append(f"network {theirs['network']}, as the bundle's")
    # Its layers look at all features now, and are as wide as they were.
    theirs |= {"width": bundle.model.network.width, "components": None}
    settings = train.model_copy(update=theirs | {"tune": transfer.tune})
    about = {
        "study": bundle.source.get("study") or "",
        "bundle": bundle.name,
        "stamp": bundle.stamp,
        "from": str(transfer.bundle) if isinstance(transfer.bundle, str) else transfer.bundle.name,
        "share": transfer.share,
    }
    picked = bundle.pick(outcomes)
    return Start(picked.model, settings, about, tuple(notes), bundle.learned)


def open_start(
    transfer: TransferSettings, outcomes: Sequence[str], *, classes: int = 10
) -> tuple[Bundle, list[str]]:
    """Open the bundle that a study starts from, and see that it fits all but the features.

    Parameters are those of `find_start`.

    Returns
    -------
    Bundle, list of str
        As `open_bundle` gives them.

    Raises
    ------
    InputError
        If it cannot be opened, tells other classes, or lacks an outcome.
    """
    if isinstance(transfer.bundle, Path) and not (transfer.bundle / "bundle.json").is_file():
        raise InputError(
            f"transfer.from = {transfer.bundle}",
            "this is no bundle",
            "name a bundle itself: what `streetgauge export` wrote, or model/all of a study",
        )
    bundle, notes = open_bundle(transfer.bundle)
    subject = f"transfer.from = {transfer.bundle}"
    if bundle.model.classes != classes:
        raise InputError(
            subject,
            f"it tells {bundle.model.classes} classes, and the study has {classes}",
            f"set deciles.classes to {bundle.model.classes}",
        )
    for outcome in outcomes:
        if outcome not in bundle.outcomes:
            raise InputError(
                f"outcome {outcome!r}",
                f"the bundle that the study starts from ({transfer.bundle}) does not have it",
                f"it has {', '.join(bundle.outcomes)}; outcomes are matched by name",
            )
    return bundle, notes


def draw_curve(
    city: City,
    splits: Sequence[Split],
    start: Start,
    scratch: TrainSettings,
    directory: Path,
    *,
    seed: int,
    stamp: str,
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
    stamp : str
        Hash of all inputs.
    evaluation : EvaluationSettings, optional
        Rule, draws and coverage.
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
    left_out = []
    for share in shares:
        shared = [take_share(each, city.areas, city.deciles, share, seed) for each in tested]
        learned: dict[str, Any] = {
            "n_areas_learned": float(np.mean(areas_learned(shared, city.areas)))
        }
        for kind in ("tuned", "scratch") if share > 0 else ("tuned",):
            settings, model = (start.settings, start.model) if kind == "tuned" else (scratch, None)
            own = digest([stamp, kind, share, settings.model_dump(mode="json")])
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
                    left_out.append(learned | said)
                    continue
                write_table(frame, file, {"stamp": own})
                shutil.rmtree(place, ignore_errors=True)
            areas = aggregate(frame, evaluation.rule, city.classes, city.counts, torn)
            about = learned | {"share": share, "start": kind}
            points += [about | p for p in _measured(areas, city.classes, evaluation, seed)]
    shutil.rmtree(directory / "curve", ignore_errors=True)
    content = {
        "format_version": 1,
        "from": start.about,
        "tune": start.settings.tune,
        "folds": len(tested),
        "coverage": evaluation.coverage,
        "points": points,
        "left_out": left_out,
    }
    write_json(content, directory / "transfer.json")
    missing = [f"{w['share']:.0%}, {w['start']}: left out, {w['reason']}" for w in left_out]
    return (*_lines(points), *missing)


def _lines(points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give the rank correlation along the curve, a line for each outcome and start."""
    for outcome in dict.fromkeys(point["outcome"] for point in points):
        for kind, words in (("tuned", "tuned"), ("scratch", "from nothing")):
            along = [p for p in points if p["outcome"] == outcome and p["start"] == kind]
            said = ", ".join(
                f"{p['share']:.0%} ({p['n_areas_learned']:.3g}) {p['spearman']['value']:.2f}"
                for p in along
                if p["spearman"]["value"] is not None
            )
            yield f"{outcome}, {words}, Spearman by share of areas (how many): {said}"


def areas_learned(splits: Sequence[Split], areas: NDArray[Any]) -> list[int]:
    """Count the areas that each split learns from, those that say when to stop among them."""
    learned = (areas[np.concatenate([each.training, each.validation])] for each in splits)
    return [len(pd.unique(each)) for each in learned]


def kept_predictions(file: Path, stamp: str) -> pd.DataFrame | None:
    """Read predictions that were made from the same inputs; None if there are none."""
    try:
        if read_metadata(file).get("stamp") == stamp:
            return pd.read_parquet(file)
    except (OSError, ValueError):
        pass
    return None


def predict_share(
    city: City,
    splits: Sequence[Split],
    share: float,
    settings: TrainSettings,
    model: Model | None,
    directory: Path,
    seed: int,
    stamp: str,
    progress: Progress,
) -> pd.DataFrame:
    """Learn from a share of what the splits can learn from, and predict what they test."""
    from streetgauge.model import cross_validate
    from streetgauge.splits import take_share

    shared = [take_share(split, city.areas, city.deciles, share, seed) for split in splits]
    if model is None:  # each member needs an area of its own to be stopped by
        fewest = max(min(areas_learned(shared, city.areas)), 1)
        settings = settings.model_copy(update={"members": min(settings.members, fewest)})
    return cross_validate(
        city.features,
        city.present,
        city.deciles,
        city.areas,
        city.ids,
        shared,
        outcomes=city.outcomes,
        settings=settings,
        seed=seed,
        directory=directory,
        stamp=stamp,
        rows=city.rows,
        start=model,
        progress=progress,
        classes=city.classes,
    )


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
        point: dict[str, Any] = {"outcome": str(outcome), "areas": len(frame)}
        for metric in METRICS:
            folds = [float(part[metric]) for part in each if np.isfinite(part[metric])]
            point[metric] = drawn.estimate(metric, evaluation.coverage) | {
                "folds_mean": float(np.mean(folds)) if folds else None,
                "folds_sd": float(np.std(folds, ddof=1)) if len(folds) > 1 else None,
            }
        yield point
