"""Learning curves: how good a study would be with fewer areas, fewer locations, fewer views."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streetgauge.errors import InputError
from streetgauge.io.files import digest, write_json, write_table
from streetgauge.io.formats import ANALYSIS_VERSION
from streetgauge.model.training_data import City, areas_learned, kept_predictions, predict_share
from streetgauge.progress import Progress, silent
from streetgauge.settings import TrainSettings
from streetgauge.study import Study
from streetgauge.study.stages import stage_named

if TYPE_CHECKING:
    from streetgauge.evaluation import Drawn
    from streetgauge.splits import Split

__all__ = ["SHARES", "Curves", "Point", "first_of_each"]

SHARES = (0.05, 0.10, 0.25, 0.50)
METRICS = ("mae", "spearman", "kappa")
FOLDER = "curves"


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
        """Say it in a few words."""
        if self.by == "areas":
            return f"{self.value:.3g} of the areas to learn from"
        one = "view a location" if self.by == "views" else "location an area"
        many = "views a location" if self.by == "views" else "locations an area"
        if self.by == "all":
            return "all there is"
        return f"{self.value:g} {one if self.value == 1 else many}"


class Curves:
    """The learning curves of one study.

    Along the curve of the areas networks learn from a share of them, and every area is tested.
    Along those of the locations and of the views images are left out of the areas that are
    learned from *and* of those that are tested, as if they had never been taken. The areas that are
    tested are the same at every point, in the same folds, and what is taken at one point lies
    within what is taken at the next. Networks start from nothing.

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
        from streetgauge.model.training_data import city_of, labelled, split

        self.study = study
        store = FeatureStore.open(study.features)
        self.places, labels, _ = labelled(study, store)
        self.city: City = city_of(study, store, self.places, labels)
        splits = split(study, self.places, labels)
        self.splits = [each for each in splits if len(each.test)]
        self.settings = _cheaper(study.settings.train, ensemble_size, epochs)
        self.trainings = len(splits)
        if not self.splits or not all(len(each.training) for each in self.splits):
            raise InputError(
                f"{study.file}: folds.scheme",
                f'"{study.settings.folds.scheme}" does not both learn and test',
                "a learning curve needs another scheme, such as k-fold",
            )
        self.points = self._points(shares, locations, views)

    @property
    def cost(self) -> str:
        """Say how much work the curves are, and how long by what training the study has taken."""
        left = [point for point in self.points if self._kept(point) is None]
        many = len(left) * len(self.splits)
        text = f"{len(self.points)} points x {len(self.splits)} folds x {self._members} of networks"
        if not left:
            return f"{text}: all of them are there already"
        if len(left) < len(self.points):
            text += f", of which {len(self.points) - len(left)} points are there already"
        text += f": {many} trainings"
        kept = self.study.record.get("stages", {}).get("train")
        if kept is None:
            return text
        own = self.study.settings.train
        kinds = 1 if self.study.settings.folds.other_kind is None else 2
        work = self.settings.ensemble_size * self.settings.epochs / (own.ensemble_size * own.epochs)
        each = float(kept["seconds"]) / (kinds * self.trainings)
        shares = sum(self._size(point) for point in left)
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
            ``ensemble_size`` (fewer than asked for where areas are few), the metrics (``value``,
            ``low``, ``high``) and ``difference_from_all``, how much worse than the last point, on
            the same draws), ``skipped``.
        """
        frames, skipped = {}, []
        for point in self.points:
            try:
                frames[point] = self._predicted(point, progress)
            except InputError as error:  # so few areas that an outcome has no label among them
                if point.by == "all":
                    raise
                skipped.append({"by": point.by, "value": point.value, "reason": str(error)})
        content = {
            "format_version": ANALYSIS_VERSION,
            "classes": self.city.classes,
            "interval_level": self.study.settings.evaluation.interval_level,
            "draws": self.study.settings.evaluation.draws,
            "folds": len(self.splits),
            "scheme": self._scheme["description"],
            "settings": self.settings.model_dump(mode="json"),
            "points": list(self._measured(frames)),
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
        sizes = pd.Series(self.city.areas).value_counts()
        most = {"locations": int(sizes.max()), "views": int(self._there.sum(1).max())}
        asked = {
            "locations": _powers(most["locations"]) if locations is None else locations,
            "views": _below(most["views"]) if views is None else views,
        }
        points = []
        for share in sorted(set(shares)):
            if not 0 < share <= 1:
                raise InputError("--shares", f"{share:g} is no share", "give numbers of 0 to 1")
            points += [Point("areas", share)] if share < 1 else []
        for by, numbers in asked.items():
            for number in sorted(set(numbers)):
                if number < 1:
                    raise InputError(f"--{by}", f"{number} is too few", "give 1 or more")
                points += [Point(by, number)] if number < most[by] else []
        return (*points, Point("all"))

    @property
    def _members(self) -> str:
        size = self.settings.ensemble_size
        return f"{size} member{'s' if size > 1 else ''}"

    @cached_property
    def _there(self) -> NDArray[np.bool_]:
        """Which views there are of each location [N, V]."""
        there: NDArray[np.bool_] = np.asarray(self.city.present)[self.city.rows]
        return there

    def _size(self, point: Point) -> float:
        """Give the share of all images that are learned from."""
        if point.by == "areas":
            return point.value
        keep, there = self._taken(point)
        return float(there[keep].sum() / self._there.sum())

    def _taken(self, point: Point) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Say which locations [N] and which of their views [N, V] there are at a point."""
        keep, there = np.ones(len(self.city.ids), np.bool_), self._there
        seed = self.study.settings.seed
        if point.by == "locations":
            keep = first_of_each(self.city.ids, self.city.areas, int(point.value), seed)
        elif point.by == "views":
            there = _first_views(self.city.ids, there, int(point.value), seed)
        return keep, there

    @cached_property
    def _inputs(self) -> str:
        return self.study.key(stage_named("train"), upstream=False)

    def _cache_key(self, point: Point) -> str:
        own = self.settings.model_dump(mode="json")
        return digest([self._inputs, point.by, point.value, own])

    def _file(self, point: Point) -> Path:
        return self.study.path(FOLDER) / f"{point.name}.parquet"

    def _kept(self, point: Point) -> pd.DataFrame | None:
        return kept_predictions(self._file(point), self._cache_key(point))

    def _predicted(self, point: Point, progress: Progress) -> pd.DataFrame:
        frame = self._kept(point)
        if frame is not None:
            return frame
        file, cache_key = self._file(point), self._cache_key(point)
        city, splits = self._restricted(point)
        share = point.value if point.by == "areas" else 1.0
        directory = file.with_suffix("")
        seed = self.study.settings.seed
        frame = predict_share(
            city, splits, share, self.settings, None, directory, seed, cache_key, progress
        )
        write_table(frame, file, {"cache_key": cache_key})
        shutil.rmtree(directory, ignore_errors=True)
        return frame

    def _restricted(self, point: Point) -> tuple[City, list[Split]]:
        """Give the city as it would be with fewer images, and the same splits of it."""
        if point.by in ("areas", "all"):
            return self.city, self.splits
        keep, there = self._taken(point)
        present = np.array(self.city.present)
        present[self.city.rows] = there
        city = replace(
            self.city,
            present=present,
            deciles=self.city.deciles[keep],
            areas=self.city.areas[keep],
            ids=self.city.ids[keep],
            rows=self.city.rows[keep],
        )
        place = np.cumsum(keep) - 1

        def kept(rows: NDArray[np.int64]) -> NDArray[np.int64]:
            left: NDArray[np.int64] = place[rows[keep[rows]]]
            return left

        splits = [
            replace(
                each,
                training=kept(each.training),
                validation=kept(each.validation),
                test=kept(each.test),
                excluded={why: kept(rows) for why, rows in each.excluded.items()},
            )
            for each in self.splits
        ]
        return city, splits

    # --- how good it is ---------------------------------------------------------------------------

    @cached_property
    def _torn(self) -> set[str]:
        from streetgauge.evaluation import torn_areas
        from streetgauge.splits import splits_frame

        return set(torn_areas(splits_frame(self.splits, self.city.ids, self.city.areas)))

    @cached_property
    def _scheme(self) -> dict[str, Any]:
        from streetgauge.evaluation import describe_scheme

        return describe_scheme(self.study.settings.folds, len(self.splits), len(self._torn))

    def _measured(self, frames: Mapping[Point, pd.DataFrame]) -> Iterator[dict[str, Any]]:
        from streetgauge.evaluation import aggregate, draw_metrics, places_of_areas
        from streetgauge.evaluation.account import is_measured
        from streetgauge.evaluation.area_facts import columns_of_areas, read_weights
        from streetgauge.evaluation.resample import draw_units
        from streetgauge.locations import read_areas

        study, settings = self.study, self.study.settings.evaluation
        boundaries = read_areas(study.settings.areas, study.settings.locations)
        locations = pd.read_parquet(study.locations)
        where = places_of_areas(boundaries, locations)
        weights = read_weights(study, boundaries, locations)
        about = columns_of_areas(study, study.settings.folds, boundaries, locations)
        told = {
            point: aggregate(
                frame,
                settings.rule,
                self.city.classes,
                self.city.counts,
                self._torn,
                weights.locations,
            )
            for point, frame in frames.items()
        }
        whole = told[Point("all")]
        learned = {point: self._learned(point) for point in frames}
        for outcome in self.city.outcomes:
            rows = _of(whole, outcome)
            # The areas that are measured are the same at every point.
            areas = rows.index[is_measured(rows, settings.min_locations)]
            here = {point: _of(frame, outcome).loc[areas] for point, frame in told.items()}
            unit, _ = draw_units(areas, settings, self._scheme, where, about)
            drawn = draw_metrics(
                {point.name: frame for point, frame in here.items()},
                self.city.classes,
                settings.draws,
                np.random.default_rng(study.settings.seed),
                unit=unit,
                weight=weights.areas,
                metrics=METRICS,
            )
            for point in frames:
                facts = {"by": point.by, "value": point.value, "outcome": outcome}
                facts |= {"n_areas": len(areas), **learned[point]}
                yield facts | _figures(drawn[point.name], drawn["all"], settings.interval_level)

    def _learned(self, point: Point) -> dict[str, Any]:
        """Say what a point's networks saw."""
        from streetgauge.splits import take_share

        city, splits = self._restricted(point)
        share = point.value if point.by == "areas" else 1.0
        seed = self.study.settings.seed
        shared = [take_share(each, city.areas, city.deciles, share, seed) for each in splits]
        known = areas_learned(shared, city.areas)
        there = np.asarray(city.present)[city.rows]
        return {
            "n_training_areas": float(np.mean(known)),
            "ensemble_size": min(self.settings.ensemble_size, max(min(known), 1)),
            "locations_per_area": len(city.ids) / len(pd.unique(city.areas)),
            "views_per_location": float(there.sum(1).mean()),
            "images": int(there.sum()),
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
    taken: NDArray[np.bool_] = rank.to_numpy() <= most
    return taken


def _first_views(
    ids: NDArray[Any], there: NDArray[np.bool_], most: int, seed: int
) -> NDArray[np.bool_]:
    """Take at most so many of the views that there are of each location, by chance: [N, V]."""
    order = np.argsort(np.asarray(ids, str), kind="stable")
    chance = np.empty(there.shape)
    chance[order] = np.random.default_rng([seed, 2]).random(there.shape)
    chance[~there] = np.inf
    rank = chance.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    taken: NDArray[np.bool_] = there & (rank < most)
    return taken


def _of(areas: pd.DataFrame, outcome: str) -> pd.DataFrame:
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
