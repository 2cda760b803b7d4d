"""How many images a given precision needs: simulated studies of the user's own areas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from streetgauge.errors import InputError
from streetgauge.evaluation import draw_metrics
from streetgauge.evaluation.aggregate import cut
from streetgauge.evaluation.baselines.ridge import Ridge
from streetgauge.io.files import read_table, write_json
from streetgauge.io.formats import ANALYSIS_VERSION, METRICS_VERSION, require_version
from streetgauge.progress import Progress, silent
from streetgauge.settings import SimulatedFeatures
from streetgauge.study import Study
from streetgauge.synthetic.simulate import Noise, noise_of_scores, simulate_area_means

FILE = "power.json"
DRAWS = 200  # of the intervals' widths, which are means over the repetitions
REPEATS = 5
# Signals at which a study like the user's is simulated, to see which gives its result.
LEVELS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
METRICS = ("mae", "spearman")
FIGURES = tuple(f"{metric}{what}" for metric in METRICS for what in ("", "_width"))


@dataclass(frozen=True)
class Target:
    """What is to be reached.

    Parameters
    ----------
    metric : str
        ``mae`` (at most), ``spearman`` (at least), ``mae-width`` or ``spearman-width`` (of the
        interval, at most).
    value : float
        How much.
    """

    metric: str
    value: float

    @classmethod
    def read(cls, text: str) -> Target:
        """Read ``mae=1.5``.

        Raises
        ------
        InputError
            If it is none of the targets, or no number.
        """
        metric, _, value = text.partition("=")
        known = ("mae", "spearman", "mae-width", "spearman-width")
        if metric not in known:
            raise InputError(
                f"--target {text}", f"{metric!r} is not a target", f"use one of {', '.join(known)}"
            )
        try:
            return cls(metric, float(value))
        except ValueError:
            raise InputError(
                f"--target {text}", f"{value!r} is not a number", f"write it as {metric}=0.5"
            ) from None

    def reached(self, figures: Mapping[str, float | None]) -> bool:
        """Whether figures are good enough."""
        value = figures[self.metric.replace("-", "_")]
        if value is None:
            return False
        return value >= self.value if self.metric == "spearman" else value <= self.value

    def __str__(self) -> str:
        """Report it in words."""
        words = {"mae": "MAE", "spearman": "Spearman's ρ"}[self.metric.partition("-")[0]]
        wide = " with an interval no wider than" if self.metric.endswith("width") else ""
        more = " of at least" if self.metric == "spearman" else " of at most"
        return f"{words}{wide or more} {self.value:g}"


class Power:
    """Simulated studies of one study's areas, with other numbers of areas and images.

    Areas, their official statistics and the number of their locations are the user's own; the
    images' mean features are made up (`simulate_area_means`). Folds are those of k-fold at
    random, and the learner is ridge regression on the areas' mean features, instead of the
    networks.

    Parameters
    ----------
    study : Study
        With outcomes and locations; where it has a result, this gives how strong the signal is.
    signals : sequence of float, optional
        How strong the signal is of all outcomes, instead.
    areas : sequence of int, optional
        Numbers of areas; all of the study's if not given.
    locations, views : sequence of int
        Locations of an area, at most, and views of each.
    repeats : int
        Simulations of each cell.
    dimension : int, optional
        Features of a view.

    Raises
    ------
    InputError
        If a number makes no sense, or neither a result nor a signal is there.
    """

    def __init__(
        self,
        study: Study,
        *,
        signals: Sequence[float] = (),
        areas: Sequence[int] = (),
        locations: Sequence[int] = (1, 2, 4, 8, 16),
        views: Sequence[int] = (1, 2, 4),
        repeats: int = REPEATS,
        dimension: int | None = None,
    ) -> None:
        from streetgauge.model.training_data import deciles

        self.study = study
        self.classes = study.settings.deciles.classes
        frame = read_table(study.locations)
        table = deciles(study.settings, read_table(study.outcomes))
        self.sizes = frame["area"].value_counts().sort_index()
        table = table[table.notna().any(axis=1).to_numpy()]
        self.deciles = table[table.index.isin(self.sizes.index)].sort_index()
        self.sizes = self.sizes.reindex(self.deciles.index).astype("int64")
        self.outcomes = [str(name) for name in self.deciles.columns]
        features = study.settings.features
        own = features.dimension if isinstance(features, SimulatedFeatures) else 512
        self.dimension = max(dimension or own, self.deciles.shape[1] + 1)
        self.k = study.settings.folds.k
        self.repeats = repeats
        self._refuse_numbers(areas, locations, views, signals)
        self.signals = tuple(signals)
        every = {len(self.deciles)}
        self.design = (sorted(set(areas) or every), sorted(set(locations)), sorted(set(views)))
        if not self.signals and not self._result:
            raise InputError(
                study.directory,
                "it has no result that shows how much its images show",
                "run it first, or give it: --signal 0.1 --signal 0.3",
            )

    def _refuse_numbers(
        self,
        areas: Sequence[int],
        locations: Sequence[int],
        views: Sequence[int],
        signals: Sequence[float],
    ) -> None:
        for name, numbers in (("locations", locations), ("views", views), ("areas", areas)):
            if any(number < 1 for number in numbers):
                raise InputError(f"--{name}", f"{min(numbers)} is too few", "give 1 or more")
        most, fewest = len(self.deciles), 2 * max(self.k, self.classes)
        for number in areas:
            if not fewest <= number <= most:
                raise InputError(
                    f"--areas {number}",
                    f"the study has {most:,} areas, and fewer than {fewest} are too few",
                    "give numbers between these",
                )
        if most < fewest:
            raise InputError(
                self.study.outcomes,
                f"{most} areas are too few for {self.k} folds of {self.classes} classes",
                f"a power table needs {fewest} or more",
            )
        for value in signals:
            if not 0 <= value <= 1:
                raise InputError(f"--signal {value:g}", "it is a share", "give numbers of 0 to 1")

    @property
    def cost(self) -> str:
        """Report how much work it is."""
        cells = int(np.prod([len(each) for each in self.design])) * max(len(self.signals), 1)
        levels = 0 if self.signals else len(LEVELS)
        text = f"{cells * self.repeats} simulated studies of {len(self.deciles):,} areas"
        return text + (f", and {levels * self.repeats} to find the signal" if levels else "")

    def measure(
        self, targets: Sequence[Target] = (), progress: Progress = silent
    ) -> dict[str, Any]:
        """Simulate every cell, and write ``power.json``.

        Parameters
        ----------
        targets : sequence of Target
            For each and every outcome it is reported which cell reaches it with the fewest images.
        progress : Progress
            Simulated studies so far.

        Returns
        -------
        dict
            What ``power.json`` holds: ``assumptions`` (``noise`` by its parts, ``dimension``,
            ``folds``, ``learner``), ``signal`` (by outcome: ``value``, ``low``, ``high`` as
            estimated, the ``spearman`` and the ``design`` that this is from; None if it was given),
            ``cells`` (each ``signal``, ``areas``, ``locations``, ``views``, ``images``, and
            ``outcomes`` by name with ``mae``, ``mae_width``, ``spearman``, ``spearman_width``,
            means over the repetitions, and the ``_sd`` of the first of either), ``targets``.
        """
        sets: list[float | None] = [*self.signals] or [None]
        studies = int(np.prod([len(sets), *map(len, self.design)]))
        levels = 0 if self.signals else len(LEVELS)
        with progress("simulate", (studies + levels) * self.repeats, "studies") as advance:
            signal = None if self.signals else self._estimated(advance)
            cells = []
            for one in sets:
                of = {o: one if one is not None else self._value(signal, o) for o in self.outcomes}
                for m, n, v in product(*self.design):
                    figures, images = self._figures(of, m, self.sizes.clip(upper=n), v, advance)
                    cells.append(
                        {"signal": one, "areas": m, "locations": n, "views": v}
                        | {"images": images, "outcomes": figures}
                    )
        content = {
            "format_version": ANALYSIS_VERSION,
            "classes": self.classes,
            "interval_level": self._interval_level,
            "repeats": self.repeats,
            "assumptions": {
                "noise": {
                    "area": self.noise.area,
                    "location": self.noise.location,
                    "view": self.noise.view,
                    "from": "the study's own scores" if self._measured_noise else "assumed",
                },
                "dimension": self.dimension,
                "folds": self.k,
                "learner": "ridge regression on areas' mean features",
            },
            "signal": signal,
            "cells": cells,
            "targets": [self._cheapest(target, cells) for target in targets],
        }
        write_json(content, self.study.path(FILE))
        return content

    # --- the study's own signal ---------------------------------------------------------------

    @property
    def _interval_level(self) -> float:
        return self.study.settings.evaluation.interval_level

    @cached_property
    def _result(self) -> dict[str, Any]:
        """Give the evaluations of the study's outcomes, as far as there are any."""
        if not self.study.folds.is_file():
            return {}
        try:
            metrics = json.loads(self.study.metrics.read_text(encoding="utf-8"))
            step = f"run it again: `streetgauge run {self.study.directory} --force`"
            require_version(self.study.metrics, metrics["format_version"], METRICS_VERSION, step)
            evaluations = metrics["outcomes"]
            return {
                name: evaluations[name]["metrics"]["spearman"]
                for name in self.outcomes
                if evaluations[name]["metrics"]["spearman"]["value"] is not None
            }
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return {}

    @cached_property
    def _measured_noise(self) -> dict[str, float]:
        """Give the areas' share of the noise in locations' scores, by outcome."""
        if not self._result:
            return {}
        try:
            predictions = read_table(self.study.predictions)
        except (OSError, InputError):
            return {}
        found = {str(o): noise_of_scores(rows) for o, rows in predictions.groupby("outcome")}
        return {o: share for o, share in found.items() if share is not None}

    @cached_property
    def noise(self) -> Noise:
        """Report how a view's noise is divided; by the median outcome of the study's own scores."""
        if not self._measured_noise:
            return Noise()
        share = float(np.median(list(self._measured_noise.values())))
        return Noise.split(share, self._own_design[1])

    @cached_property
    def _own_design(self) -> tuple[pd.Series, float]:
        """Give the study's own number of locations by area, and of views by location."""
        folds = read_table(self.study.folds)
        count = folds[folds["fold"] > 0]["area"].value_counts()
        if "n_views" in folds:
            return count, float(folds["n_views"].mean())
        from streetgauge.features import FeatureStore

        return count, float(len(FeatureStore.open(self.study.features).views))

    def _estimated(self, advance: Any) -> dict[str, Any]:
        """Find the signal that gives a simulated study like this one its Spearman's ρ."""
        count, views = self._own_design
        count = count[count.index.isin(self.deciles.index)]
        found: dict[str, list[float]] = {name: [] for name in self._result}
        for level in LEVELS:
            same = dict.fromkeys(self.outcomes, level)
            figures, _ = self._figures(same, len(count), count, views, advance)
            for name, values in found.items():
                values.append(figures[name]["spearman"] or 0.0)
        predicted = {}
        for name, spearman in self._result.items():
            # A simulation may step back by chance where the next level is hardly stronger.
            along = np.maximum.accumulate(found[name])
            low, value, high = (
                None if spearman[k] is None else float(np.interp(spearman[k], along, LEVELS))
                for k in ("low", "value", "high")
            )
            predicted[name] = {
                "value": value,
                "low": low,
                "high": high,
                "spearman": spearman["value"],
                "area_noise": self._measured_noise.get(name),
                "design": {
                    "areas": len(count),
                    "locations": float(count.mean()),
                    "views": views,
                },
            }
        return predicted

    @staticmethod
    def _value(signal: Mapping[str, Any] | None, outcome: str) -> float:
        if signal is None or outcome not in signal:
            return 0.0
        return float(signal[outcome]["value"])

    # --- a simulated study ------------------------------------------------------------------------

    def _figures(
        self,
        signal: Mapping[str, float],
        areas: int,
        locations: pd.Series,
        views: float,
        advance: Any,
    ) -> tuple[dict[str, dict[str, float | None]], int]:
        """Give the mean figures of repeated studies of so many areas, and their images."""
        runs, images = [], []
        for repeat in range(self.repeats):
            seed = (self.study.settings.seed, repeat)
            chosen = self._chosen(locations.index, areas, seed)
            runs.append(self._run(signal, chosen, locations, views, seed))
            images.append(float(locations.reindex(chosen).sum() * views))
            advance(1)
        return {o: _mean_of_runs([run[o] for run in runs]) for o in runs[0]}, round(np.mean(images))

    def _chosen(self, known: pd.Index, areas: int, seed: tuple[int, int]) -> pd.Index:
        """Take so many areas that are a small image of all; fewer lie within more."""
        from streetgauge.splits.folds import nested_share

        table = self.deciles[self.deciles.index.isin(known)]
        if areas >= len(table):
            return table.index
        share = areas / len(table)
        return table.index[nested_share(table.index.to_numpy(), table.to_numpy(), share, sum(seed))]

    def _run(
        self,
        signal: Mapping[str, float],
        areas: pd.Index,
        locations: pd.Series,
        views: float,
        seed: tuple[int, int],
    ) -> dict[str, dict[str, float]]:
        from streetgauge.splits import area_folds

        deciles = self.deciles.loc[areas]
        features = simulate_area_means(
            deciles,
            locations,
            views,
            signal,
            dimension=self.dimension,
            seed=seed,
            noise=self.noise,
            classes=self.classes,
        )
        fold = area_folds(areas.to_numpy(), deciles.to_numpy(), self.k, sum(seed))
        ridge = Ridge(features)
        figures = {}
        for outcome in self.outcomes:
            labels = deciles[outcome]
            known = labels.notna().to_numpy()
            score = np.full(len(areas), np.nan)
            for part in range(1, self.k + 1):
                asked = fold == part
                score[asked] = ridge(labels[~asked & known], areas[asked])
            if not known.any() or not np.isfinite(score[known]).all():
                # So few of these areas have a value that a fold leaves nothing to train on.
                figures[outcome] = dict.fromkeys(FIGURES, np.nan)
                continue
            predicted = pd.DataFrame(
                {"decile": cut(score[known], self.classes), "actual_decile": labels[known]},
                index=areas[known],
            )
            rng = np.random.default_rng(seed)
            drawn = draw_metrics({"": predicted}, self.classes, DRAWS, rng, metrics=METRICS)[""]
            figures[outcome] = dict(self._widths(drawn.value, drawn.drawn))
        return figures

    def _widths(
        self, value: Mapping[str, float], drawn: Mapping[str, Any]
    ) -> Iterator[tuple[str, float]]:
        ends = [(1 - self._interval_level) / 2, (1 + self._interval_level) / 2]
        for metric in METRICS:
            low, high = np.nanquantile(drawn[metric], ends)
            yield metric, value[metric]
            yield f"{metric}_width", float(high - low)

    def _cheapest(self, target: Target, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Name for every signal and outcome the cell that reaches a target with fewest images."""
        found = []
        for signal in dict.fromkeys(cell["signal"] for cell in cells):
            own = [cell for cell in cells if cell["signal"] == signal]
            for outcome in own[0]["outcomes"]:
                good = [cell for cell in own if target.reached(cell["outcomes"][outcome])]
                best = min(good, key=lambda c: (c["images"], c["locations"]), default=None)
                keys = ("areas", "locations", "views", "images")
                cell = None if best is None else {key: best[key] for key in keys}
                found.append({"signal": signal, "outcome": outcome, "cell": cell})
        return {"target": str(target), "metric": target.metric, "value": target.value, "by": found}


def _mean_of_runs(runs: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Average figures over repeated studies; None where one is not defined."""
    result: dict[str, float | None] = {}
    for key in runs[0]:
        values = np.array([run[key] for run in runs])
        whole = bool(np.isfinite(values).all())
        result[key] = float(values.mean()) if whole else None
        if not key.endswith("width"):
            result[f"{key}_sd"] = float(values.std(ddof=1)) if whole and len(values) > 1 else None
    return result
