"""How well learners that see the same features rank areas, on the same folds of given studies.

    .venv/bin/python benchmarks/learners.py STUDY... [--seeds 5] [--block METRES] [--worlds 10]

Every study must have its outcomes, locations and features: the sample city (`streetgauge demo`),
examples/newport, or London with simulated features. Nothing is written to it.
Out of fold and as means over the outcomes, the table has the Spearman correlation of the areas
with the truth and the mean absolute error in deciles, each with the spread over the seeds, and the
seconds of one seed. Ridge, kernel, network and stack are this package's learners; the others are
scikit-learn's with their usual settings, on the areas' mean features, and an ordinal logit is
written out here. ``--worlds`` also prints the worlds of tests/model/worlds.py.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from streetgauge.evaluation import aggregate
from streetgauge.features import FeatureStore
from streetgauge.model import cross_validate
from streetgauge.model.training_data import TrainingData, labelled, load_training_data
from streetgauge.settings import FoldSettings, TrainSettings
from streetgauge.splits import LocationColumns, Split, make_splits
from streetgauge.splits.blocks import to_metres
from streetgauge.study import Study

LEARNERS = ("ridge", "kernel", "network", "stack")


class OrdinalLogit(RegressorMixin, BaseEstimator):
    """Proportional odds (McCullagh 1980) with an L2 penalty of 1 on standardised features."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> OrdinalLogit:
        """Find thresholds and slopes."""
        classes, code = np.unique(y, return_inverse=True)
        above = code[:, None] > np.arange(len(classes) - 1)  # [n, K - 1]
        start = np.zeros(len(classes) - 1 + x.shape[1])
        share = np.clip(above.mean(axis=0), 0.01, 0.99)
        start[: len(share)] = np.log(share / (1 - share))

        def loss(given: np.ndarray) -> tuple[float, np.ndarray]:
            steps, slope = given[: len(share)], given[len(share) :]
            p = expit(x @ slope[:, None] + steps)
            value = -np.log(np.where(above, p, 1 - p) + 1e-12).sum() + slope @ slope / 2
            away = p - above
            return value, np.concatenate([away.sum(axis=0), x.T @ away.sum(axis=1) + slope])

        self.slope_ = minimize(loss, start, jac=True, method="L-BFGS-B").x[len(share) :]
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Give the score that orders samples."""
        return x @ self.slope_


STANDARD: dict[str, Callable[[], object]] = {
    "ridge, cross-validated": lambda: make_pipeline(
        StandardScaler(), RidgeCV(np.logspace(-1, 6, 15))
    ),
    "random forest": lambda: RandomForestRegressor(300, max_features=1 / 3, random_state=0),
    "histogram boosting": lambda: HistGradientBoostingRegressor(random_state=0),
    "ordinal logit": lambda: make_pipeline(StandardScaler(), OrdinalLogit()),
}


@dataclass
class Case:
    """Data, with the splits of a seed."""

    name: str
    data: TrainingData
    splits: Callable[[int], Sequence[Split]]

    @classmethod
    def of_study(cls, directory: Path, block: float | None) -> Case:
        """Read a study, with its own folds or square blocks."""
        study = Study.open(directory)
        store = FeatureStore.open(study.features)
        places, labels, _ = labelled(study, store)
        data = load_training_data(study, store, places, labels)
        folds = study.settings.folds
        if block is not None:
            folds = FoldSettings(scheme="blocks", block=block)
        columns = LocationColumns(coordinates=to_metres(places["lat"], places["lon"]))

        def splits(seed: int) -> Sequence[Split]:
            made = make_splits(folds, data.areas, data.deciles, seed=seed, columns=columns)
            return [split for split in made if len(split.test)]

        return cls(f"{directory}, {folds.scheme}", data, splits)

    @classmethod
    def of_world(cls, name: str, seed: int) -> Case:
        """Make a world of the tests."""
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "model"))
        from worlds import WORLDS

        world = WORLDS[name](seed)
        areas = np.array([f"E{a:05d}" for a in world.area])
        ids = np.array([f"P{i:06d}" for i in range(len(areas))])
        labels = world.deciles[world.area]
        data = TrainingData(world.features, world.present, labels, areas, ids, ["y"])

        def splits(seed: int) -> Sequence[Split]:
            made = make_splits(FoldSettings(), areas, labels, seed=seed)
            return [split for split in made if len(split.test)]

        return cls(name, data, splits)

    def ours(self, learner: str, seed: int) -> tuple[float, float]:
        """Cross-validate one of this package's learners."""
        with tempfile.TemporaryDirectory() as scratch:
            predictions = cross_validate(
                self.data,
                self.splits(seed),
                TrainSettings(learner=learner),
                seed=seed,
                directory=Path(scratch),
                cache_key="",
            )
        return _agreement(aggregate(predictions, "mean-score"))

    def standard(self, name: str, seed: int) -> tuple[float, float]:
        """Cross-validate a standard learner on the areas' mean features."""
        area, mean, label = self.areas()
        predicted = np.full(label.shape, np.nan)
        for split in self.splits(seed):
            test = np.isin(area, self.data.areas[split.test])
            pool = np.concatenate([split.training, split.validation])
            training = np.isin(area, self.data.areas[pool])
            for m in range(label.shape[1]):
                known = training & ~np.isnan(label[:, m])
                fitted = STANDARD[name]().fit(mean[known], label[known, m])
                predicted[test, m] = fitted.predict(mean[test])
        frames = [
            pd.DataFrame({"area": area, "outcome": m, "score": p, "actual_decile": y})
            for m, (p, y) in enumerate(zip(predicted.T, label.T, strict=True))
        ]
        table = pd.concat(frames, ignore_index=True)
        rank = table.groupby("outcome")["score"].rank(pct=True, method="first")
        return _agreement(table.assign(decile=np.ceil(rank * 10)))

    def areas(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Names [A], mean features [A, D] and deciles [A, M] of the areas."""
        data = self.data
        views = np.asarray(data.features[data.location_rows], np.float32)
        there = data.present[data.location_rows][..., None]
        places = np.where(there, views, 0).sum(axis=1) / there.sum(axis=1)
        area, first, code = np.unique(data.areas, return_index=True, return_inverse=True)
        total = np.zeros((len(area), places.shape[1]))
        np.add.at(total, code, places)
        return area, total / np.bincount(code)[:, None], np.asarray(data.deciles)[first]


def _agreement(areas: pd.DataFrame) -> tuple[float, float]:
    known = areas.dropna(subset=["actual_decile"]).astype({"actual_decile": "float64"})
    each = [
        own["score"].corr(own["actual_decile"], method="spearman")
        for _, own in known.groupby("outcome")
    ]
    return float(np.mean(each)), float((known["decile"] - known["actual_decile"]).abs().mean())


def print_table(cases: Sequence[Case], seeds: Sequence[int], only: Sequence[str]) -> None:
    """Print a row for every learner: means over cases and seeds."""
    print(f"{'':24}  area rho          area MAE         seconds")
    for name in only or (*LEARNERS, *STANDARD):
        start = time.perf_counter()
        found = [
            case.ours(name, seed) if name in LEARNERS else case.standard(name, seed)
            for case, seed in zip(cases, seeds, strict=True)
        ]
        seconds = (time.perf_counter() - start) / len(found)
        columns = "   ".join(
            f"{np.mean(column):.3f} +- {np.std(column):.3f}" for column in zip(*found, strict=True)
        )
        print(f"{name:24}  {columns}   {seconds:6.1f}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("studies", nargs="*", type=Path)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--block", type=float, help="fold by square blocks of so many metres")
    arguments.add_argument("--worlds", type=int, default=0, help="seeds of each world")
    every = [*LEARNERS, *STANDARD]
    arguments.add_argument("--only", nargs="*", default=[], choices=every, metavar="LEARNER")
    given = arguments.parse_args()
    for directory in given.studies:
        case = Case.of_study(directory, given.block)
        print(f"{case.name}: {len(case.data.areas):,} locations", flush=True)
        print_table([case] * given.seeds, range(given.seeds), given.only)
    for name in ("linear", "interaction", "composition") if given.worlds else ():
        print(f"world: {name}", flush=True)
        seeds = range(given.worlds)
        print_table([Case.of_world(name, seed) for seed in seeds], seeds, given.only)


if __name__ == "__main__":
    main()
