"""Learning curves: accuracy of a study with fewer areas, fewer locations, fewer views."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streetgauge.analysis.coverage_weights import training_weights
from streetgauge.errors import InputError
from streetgauge.io.files import digest, read_table, write_json, write_table
from streetgauge.io.formats import ANALYSIS_VERSION
from streetgauge.model.training_data import TrainingData, cached_predictions, count_training_areas
from streetgauge.model.transfer import Start
from streetgauge.progress import Progress, silent
from streetgauge.settings import TrainSettings
from streetgauge.study import Study
from streetgauge.study.stages import stage_named

if TYPE_CHECKING:
    from streetgauge.evaluation import Drawn
    from streetgauge.splits import Split


SHARES = (0.05, 0.10, 0.25, 0.50)
METRICS = ("mae", "spearman", "kappa")
FOLDER = "curves"


@dataclass(frozen=True)
class CurveTraining:
    """What is trained at one point of a learning curve; `of` takes the share of the areas.

    Parameters
    ----------
    name : str
        Of its files.
    data : TrainingData
        Features and labels.
    splits : sequence of Split
        Each trains on the point's areas, and tests the same areas at every point.
    settings : TrainSettings
        How.
    seed : int
        Same inputs and seed, same predictions.
    start : Start, optional
        A trained model from which each training starts.
    """

    name: str
    data: TrainingData
    splits: Sequence[Split]
    settings: TrainSettings
    seed: int
    start: Start | None = None

    @classmethod
    def of(
        cls,
        name: str,
        data: TrainingData,
        splits: Sequence[Split],
        share: float,
        settings: TrainSettings,
        seed: int,
        start: Start | None = None,
    ) -> Self:
        """Take a share of the areas of every split; an ensemble has no more members than areas."""
        from streetgauge.splits import take_share

        taken = [take_share(each, data.areas, data.deciles, share, seed) for each in splits]
        if start is None:  # each member needs an area of its own that stops it
            fewest = max(min(count_training_areas(taken, data.areas)), 1)
            size = min(settings.ensemble_size, fewest)
            settings = settings.model_copy(update={"ensemble_size": size})
        return cls(name, data, taken, settings, seed, start)

    @property
    def n_training_areas(self) -> float:
        """Mean over the splits."""
        return float(np.mean(count_training_areas(self.splits, self.data.areas)))

    def predict(self, directory: Path, cache_key: str, progress: Progress) -> pd.DataFrame:
        """Predict the test parts, unless ``directory`` has the predictions of the same inputs.

        Raises
        ------
        InputError
            If there are so few areas that an outcome has no label among them.
        """
        from streetgauge.model import cross_validate

        file = directory / f"{self.name}.parquet"
        frame = cached_predictions(file, cache_key)
        if frame is None:
            frame = cross_validate(
                self.data,
                self.splits,
                self.settings,
                seed=self.seed,
                directory=file.with_suffix(""),
                cache_key=cache_key,
                start=self.start,
                progress=progress,
            )
            write_table(frame, file, {"cache_key": cache_key})
            shutil.rmtree(file.with_suffix(""), ignore_errors=True)
        return frame


@dataclass(frozen=True)
class Point:
    """One point of the curves.

    Parameters
    ----------
    by : str
        What is less: ``areas``, ``locations``, ``views``; ``all`` where nothing is.
    value : float
        The share of the areas, or how many locations an area, or views a location, at most.
    """

    by: str
    value: float = 1.0

    @property
    def name(self) -> str:
        """Name of its files."""
        return self.by if self.by == "all" else f"{self.by}-{self.value:g}"

    def __str__(self) -> str:
        """Give it in a few words."""
        if self.by == "areas":
            return f"{self.value:.3g} of the training areas"
        if self.by == "all":
            return "all there is"
        unit = self.by.removesuffix("s") if self.value == 1 else self.by
        return f"{self.value:g} {unit} {'a location' if self.by == 'views' else 'an area'}"


class Curves:
    """The learning curves of one study.

    Along the curve of the areas networks are trained on a share of them, and every area is tested.
    Along those of the locations and of the views images are excluded from training *and* from the
    areas that are tested, as if they had never been taken. The areas that are
    tested are the same at every point, in the same folds, and what is taken at one point lies
    within what is taken at the next. Networks start from random weights.

    Parameters
    ----------
    study : Study
        With features.
    shares : sequence of float
        Of the areas, between 0 and 1.
    locations, views : sequence of int, optional
        At most so many locations of an area, and views of a location; 1, 2, 4, ... and 1, 2, ...
        as far as there are more, if not given.
    ensemble_size, epochs : int, optional
        Cheaper networks than the study's.

    Raises
    ------
    InputError
        If a number makes no sense, the study tests nothing, or its inputs cannot be used.
    """

    def __init__(
        self,
        study: Study,
        *,
        shares: Sequence[float] = SHARES,
        locations: Sequence[int] | None = None,
        views: Sequence[int] | None = None,
        ensemble_size: int | None = None,
        epochs: int | None = None,
    ) -> None:
        from streetgauge.features import FeatureStore
        from streetgauge.model.training_data import labelled, load_training_data, study_splits

        self.study = study
        store = FeatureStore.open(study.features)
        store.verify()
        locations_used, labels, _ = labelled(study, store)
        self.data: TrainingData = load_training_data(study, store, locations_used, labels)
        weights = training_weights(study, self.data.areas)
        if weights is not None:
            own = weights.reindex(self.data.areas).to_numpy(np.float64)
            self.data = replace(self.data, sample_weight=own)
        splits = study_splits(study, locations_used, labels)
        self.splits = [each for each in splits if len(each.test)]
        self.settings = _cheaper(study.settings.train, ensemble_size, epochs)
        self.trainings = len(splits)
        if not self.splits or not all(len(each.training) for each in self.splits):
            raise InputError(
                f"{study.file}: folds.scheme",
                f'"{study.settings.folds.scheme}" does not both train and test',
                "a learning curve needs another scheme, such as k-fold",
            )
        self.points = self._points(shares, locations, views)

    @property
    def cost(self) -> str:
        """Give how much work the curves are, and how long by the time that training has taken."""
        missing = [point for point in self.points if not self._is_cached(point)]
        text = (
            f"{len(self.points)} points x {len(self.splits)} folds x {self._size_text} of networks"
        )
        if not missing:
            return f"{text}: all of them are there already"
        if len(missing) < len(self.points):
            text += f", of which {len(self.points) - len(missing)} points are there already"
        text += f": {len(missing) * len(self.splits)} trainings"
        done = self.study.record.get("stages", {}).get("train")
        if done is None:
            return text
        own = self.study.settings.train
        kinds = 1 if self.study.settings.folds.other_kind is None else 2
        work = self.settings.ensemble_size * self.settings.epochs / (own.ensemble_size * own.epochs)
        each = float(done["seconds"]) / (kinds * self.trainings)
        shares = sum(self._size(point) for point in missing)
        seconds = max(each * shares * len(self.splits) * work, 1)
        return f"{text}, about {_time(seconds)} by what `train` took here"

    def draw(self, progress: Progress = silent) -> dict[str, Any]:
        """Train, test and measure every point that is not there yet, and write ``curves.json``.

        A point's predictions stay in ``curves/``: another run with the same inputs and settings
        takes them as they are, and one that was killed goes on where it was.

        Returns
        -------
        dict
            What ``curves.json`` holds: ``settings`` of the networks, ``folds``, ``points`` (each
            ``by``, ``value``, ``outcome``, ``n_areas`` (measured), ``n_training_areas`` (mean over
            the folds), ``locations_per_area``, ``views_per_location`` (means), ``images``,
            ``ensemble_size`` (fewer than set where areas are few), the metrics (``value``,
            ``low``, ``high``) and ``difference_from_all``, how much worse than the last point, on
            the same draws), ``skipped``.
        """
        frames, skipped = {}, []
        directory = self.study.path(FOLDER)
        for point in self.points:
            try:
                training = self.training(point)
                frames[point] = training.predict(directory, self._cache_key(point), progress)
            except InputError as error:  # so few areas that an outcome has no label among them
                if point.by == "all":
                    raise
                skipped.append({"by": point.by, "value": point.value, "reason": str(error)})
        content = {
            "format_version": ANALYSIS_VERSION,
            "classes": self.data.classes,
            "interval_level": self.study.settings.evaluation.interval_level,
            "draws": self.study.settings.evaluation.draws,
            "folds": len(self.splits),
            "scheme": self._scheme["description"],
            "settings": self.settings.model_dump(mode="json"),
            "points": list(self._measurements(frames)),
            "skipped": skipped,
        }
        write_json(content, self.study.curves)
        return content

    # --- what is trained --------------------------------------------------------------------------

    def _points(
        self,
        shares: Sequence[float],
        locations: Sequence[int] | None,
        views: Sequence[int] | None,
    ) -> tuple[Point, ...]:
        largest = int(pd.Series(self.data.areas).value_counts().max())
        most = {"locations": largest, "views": int(self._present.sum(1).max())}
        sizes = {
            "locations": _powers(most["locations"]) if locations is None else locations,
            "views": _below(most["views"]) if views is None else views,
        }
        points = []
        for share in sorted(set(shares)):
            if not 0 < share <= 1:
                raise InputError("--shares", f"{share:g} is not a share", "give numbers of 0 to 1")
            points += [Point("areas", share)] if share < 1 else []
        for by, numbers in sizes.items():
            for number in sorted(set(numbers)):
                if number < 1:
                    raise InputError(f"--{by}", f"{number} is too few", "give 1 or more")
                points += [Point(by, number)] if number < most[by] else []
        return (*points, Point("all"))

    @property
    def _size_text(self) -> str:
        size = self.settings.ensemble_size
        return f"{size} member{'s' if size > 1 else ''}"

    @cached_property
    def _present(self) -> NDArray[np.bool_]:
        """Which views there are of each location [N, V]."""
        return np.asarray(self.data.present)[self.data.location_rows]

    def _size(self, point: Point) -> float:
        """Give the share of all images that are trained on."""
        if point.by == "areas":
            return point.value
        locations, present = self._taken(point)
        return float(present[locations].sum() / self._present.sum())

    def _taken(self, point: Point) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Give which locations [N] and which of their views [N, V] there are at a point."""
        ids, seed = self.data.location_ids, self.study.settings.seed
        locations, present = np.ones(len(ids), np.bool_), self._present
        if point.by == "locations":
            locations = first_of_each(ids, self.data.areas, int(point.value), seed)
        elif point.by == "views":
            present = _first_views(ids, present, int(point.value), seed)
        return locations, present

    @cached_property
    def _inputs(self) -> str:
        return self.study.key(stage_named("train"), upstream=False)

    def _cache_key(self, point: Point) -> str:
        own = self.settings.model_dump(mode="json")
        return digest([self._inputs, point.by, point.value, own])

    def _is_cached(self, point: Point) -> bool:
        file = self.study.path(FOLDER) / f"{point.name}.parquet"
        return cached_predictions(file, self._cache_key(point)) is not None

    def training(self, point: Point) -> CurveTraining:
        """Give what is trained at a point: the city as it would be with fewer images."""
        data, splits = self.data, self.splits
        if point.by in ("locations", "views"):
            locations, present = self._taken(point)
            of_rows = np.array(self.data.present)
            of_rows[self.data.location_rows] = present
            data, splits = replace(data, present=of_rows).take(locations, splits)
        share = point.value if point.by == "areas" else 1.0
        seed = self.study.settings.seed
        return CurveTraining.of(point.name, data, splits, share, self.settings, seed)

    # --- evaluation ------------------------------------------------------------------------------

    @cached_property
    def _split_areas(self) -> set[str]:
        from streetgauge.evaluation import split_areas
        from streetgauge.splits import splits_frame

        return set(split_areas(splits_frame(self.splits, self.data.location_ids, self.data.areas)))

    @cached_property
    def _scheme(self) -> dict[str, Any]:
        from streetgauge.evaluation import describe_scheme

        folds = self.study.settings.folds
        return describe_scheme(folds, len(self.splits), len(self._split_areas))

    def _measurements(self, frames: Mapping[Point, pd.DataFrame]) -> Iterator[dict[str, Any]]:
        from streetgauge.evaluation import aggregate, draw_metrics, positions_of_areas
        from streetgauge.evaluation.area_facts import columns_of_areas, read_weights
        from streetgauge.evaluation.outcome import is_measured
        from streetgauge.evaluation.resample import draw_units
        from streetgauge.locations import read_areas

        study, settings, data = self.study, self.study.settings.evaluation, self.data
        boundaries = read_areas(study.settings.areas, study.settings.locations)
        locations = read_table(study.locations)
        coordinates = positions_of_areas(boundaries, locations)
        weights = read_weights(study, boundaries, locations)
        about = columns_of_areas(study, study.settings.folds, boundaries, locations)
        how = (settings.rule, data.classes, data.class_counts, self._split_areas, weights.locations)
        predicted = {point: aggregate(frame, *how) for point, frame in frames.items()}
        facts = {point: self._facts(point) for point in frames}
        for outcome in data.outcomes:
            rows = _of_outcome(predicted[Point("all")], outcome)
            # The areas that are measured are the same at every point.
            areas = rows.index[is_measured(rows, settings.min_locations)]
            unit, _ = draw_units(areas, settings, self._scheme, coordinates, about)
            drawn = draw_metrics(
                {p.name: _of_outcome(frame, outcome).loc[areas] for p, frame in predicted.items()},
                data.classes,
                settings.draws,
                np.random.default_rng(study.settings.seed),
                unit=unit,
                weight=weights.areas,
                metrics=METRICS,
            )
            for point in frames:
                own = {"by": point.by, "value": point.value, "outcome": outcome}
                own |= {"n_areas": len(areas), **facts[point]}
                yield own | _figures(drawn[point.name], drawn["all"], settings.interval_level)

    def _facts(self, point: Point) -> dict[str, Any]:
        """Give what a point's networks are trained on."""
        training = self.training(point)
        data = training.data
        present = np.asarray(data.present)[data.location_rows]
        return {
            "n_training_areas": training.n_training_areas,
            "ensemble_size": training.settings.ensemble_size,
            "locations_per_area": len(data.location_ids) / len(pd.unique(data.areas)),
            "views_per_location": float(present.sum(1).mean()),
            "images": int(present.sum()),
        }


def first_of_each(
    ids: NDArray[Any], areas: NDArray[Any], most: int, seed: int
) -> NDArray[np.bool_]:
    """Take at most so many locations of each area by chance; fewer lie within more.

    Parameters
    ----------
    ids, areas : array of str, shape [N]
        Keys of the locations, each once, and their areas.
    most : int
        Locations of an area.
    seed : int
        Same seed and keys, same locations, in whatever order.

    Returns
    -------
    array of bool, shape [N]
    """
    order = np.argsort(np.asarray(ids, str), kind="stable")
    chance = np.empty(len(order))
    chance[order] = np.random.default_rng([seed, 1]).random(len(order))
    rank = pd.Series(chance).groupby(pd.Series(areas)).rank(method="first")
    return rank.to_numpy() <= most


def _first_views(
    ids: NDArray[Any], present: NDArray[np.bool_], most: int, seed: int
) -> NDArray[np.bool_]:
    """Take at most so many of the views that there are of each location, by chance: [N, V]."""
    order = np.argsort(np.asarray(ids, str), kind="stable")
    chance = np.empty(present.shape)
    chance[order] = np.random.default_rng([seed, 2]).random(present.shape)
    chance[~present] = np.inf
    rank = chance.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return present & (rank < most)


def _of_outcome(areas: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Give the areas of one outcome, by area."""
    return areas[areas["outcome"] == outcome].set_index("area")


def _figures(own: Drawn, whole: Drawn, interval_level: float) -> dict[str, Any]:
    return {
        **{metric: own.estimate(metric, interval_level) for metric in METRICS},
        "difference_from_all": {m: whole.difference(own, m, interval_level) for m in METRICS},
    }


def _cheaper(settings: TrainSettings, size: int | None, epochs: int | None) -> TrainSettings:
    given = {"ensemble_size": size, "epochs": epochs}
    for name, value in given.items():
        if value is not None and value < 1:
            raise InputError(f"--{name}", f"{value} is too few", "give 1 or more")
    return settings.model_copy(update={k: v for k, v in given.items() if v is not None})


def _powers(most: int) -> list[int]:
    return [2**i for i in range(most.bit_length()) if 2**i < most]


def _below(most: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, ...: every number at first, then two to each doubling."""
    numbers = {1, 2, 3} | {n << i for i in range(1, most.bit_length()) for n in (2, 3)}
    return sorted(n for n in numbers if n < most)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
