"""How well learners that see the same features rank areas, on the same folds of given studies.

    .venv/bin/python benchmarks/learners.py STUDY... [--seeds 5] [--block METRES] [--worlds 10]

Every study must have its outcomes, locations and features: the sample city (`streetgauge demo
--areas 300 --locations 3000`), examples/newport, or London with simulated features. Nothing is
written to it.
Out of fold and as means over the outcomes, the table has the Spearman correlation of the areas
with the truth and the mean absolute error in deciles, each with the spread over the seeds, and the
seconds of one seed. Stack, ridge, kernel and network are this package's learners, and what the last
three predict is taken from the stack where that is run as well; the others are scikit-learn's with
their usual settings, on the areas' mean features, and an ordinal logit is written out here.
``--worlds`` also prints the worlds of tests/model/worlds.py.

Below the table are differences from the network, paired by area and seed, with intervals of 90%:
areas are drawn with replacement, each with what is predicted of it for all seeds and outcomes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from _table import add_short, row
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata
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

LEARNERS = ("stack", "ridge", "kernel", "network")
DRAWS = 1000


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
    "forest, all features": lambda: RandomForestRegressor(300, random_state=0),
    "histogram boosting": lambda: HistGradientBoostingRegressor(random_state=0),
    "ordinal logit": lambda: make_pipeline(StandardScaler(), OrdinalLogit()),
}


@dataclass
class Case:
    """Data, with the splits of a seed."""

    name: str
    data: TrainingData
    splits: Callable[[int], Sequence[Split]]
    stacks: dict[int, pd.DataFrame] = field(default_factory=dict)  # predictions by seed

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

    def predict(self, learner: str, seed: int) -> np.ndarray:
        """Give scores, deciles and actual deciles out of fold: [outcomes, areas, 3]."""
        table = (self._ours if learner in LEARNERS else self._standard)(learner, seed)
        columns = ["score", "decile", "actual_decile"]
        return np.stack(
            [
                own.set_index("area")[columns].reindex(np.unique(self.data.areas)).astype(float)
                for _, own in table.groupby("outcome", sort=True)
            ]
        )

    def _ours(self, learner: str, seed: int) -> pd.DataFrame:
        """Cross-validate one of this package's learners."""
        if seed in self.stacks:
            stack = self.stacks[seed]
            return aggregate(stack.assign(score=stack[f"score_{learner}"]), "mean-score")
        with tempfile.TemporaryDirectory() as scratch:
            predictions = cross_validate(
                self.data,
                self.splits(seed),
                TrainSettings(learner=learner),
                seed=seed,
                directory=Path(scratch),
                cache_key="",
            )
        if learner == "stack":
            self.stacks[seed] = predictions
        return aggregate(predictions, "mean-score")

    def _standard(self, name: str, seed: int) -> pd.DataFrame:
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
            pd.DataFrame({"area": area, "outcome": outcome, "score": p, "actual_decile": y})
            for outcome, p, y in zip(self.data.outcomes, predicted.T, label.T, strict=True)
        ]
        table = pd.concat(frames, ignore_index=True)
        rank = table.groupby("outcome")["score"].rank(pct=True, method="first")
        return table.assign(decile=np.ceil(rank * 10))

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


def figures(predicted: np.ndarray) -> np.ndarray:
    """Give Spearman's rho and the mean absolute error, as means over the outcomes."""
    found = []
    for own in predicted:
        score, decile, actual = own[~np.isnan(own).any(axis=1)].T
        rho = np.corrcoef(rankdata(score), rankdata(actual))[0, 1]
        found.append((rho, np.abs(decile - actual).mean()))
    return np.mean(found, axis=0)


def difference(
    cases: Sequence[object], one: Sequence[np.ndarray], other: Sequence[np.ndarray]
) -> np.ndarray:
    """Give one learner's figures less another's, and the bounds of their interval: [3, 2].

    Seeds of the same case have the same areas, which are drawn once for all of them.
    """
    rng = np.random.default_rng(0)
    count = {id(case): mine.shape[1] for case, mine in zip(cases, one, strict=True)}

    def mean(rows: dict[int, np.ndarray]) -> np.ndarray:
        each = [
            figures(a[:, rows[id(case)]]) - figures(b[:, rows[id(case)]])
            for case, a, b in zip(cases, one, other, strict=True)
        ]
        return np.mean(each, axis=0)

    value = mean({key: np.arange(n) for key, n in count.items()})
    drawn = [mean({key: rng.integers(n, size=n) for key, n in count.items()}) for _ in range(DRAWS)]
    return np.stack([value, *np.nanquantile(drawn, [0.05, 0.95], axis=0)])


def print_table(
    cases: Sequence[Case], seeds: Sequence[int], only: Sequence[str], *, tell: bool = False
) -> None:
    """Print a row for every learner, means over cases and seeds, and differences."""
    print(f"{'':24}  area rho          area MAE         seconds")
    predicted = {}
    for name in only or (*LEARNERS, *STANDARD):
        start = time.perf_counter()
        pairs = zip(cases, seeds, strict=True)
        predicted[name] = [case.predict(name, seed) for case, seed in pairs]
        seconds = (time.perf_counter() - start) / len(cases)
        found = np.array([figures(each) for each in predicted[name]])
        columns = "   ".join(f"{c.mean():.3f} +- {c.std():.3f}" for c in found.T)
        print(f"{name:24}  {columns}   {seconds:6.1f}", flush=True)
    if tell:
        rho = {n: np.mean([figures(each)[0] for each in own]) for n, own in predicted.items()}
        for name in rho.keys() & {*LEARNERS}:
            what, other = f"Spearman's ρ of areas, learner {name}", "random forest"
            row(what, f"{rho[name] / rho[other]:.2f}", other, f"{rho[name]:.3f}")
    network = predicted.pop("network", None)
    for name, own in predicted.items() if network is not None else ():
        columns = "   ".join(
            f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
            for value, low, high in difference(cases, own, network).T
        )
        print(f"{name + ' - network':24}  {columns}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("studies", nargs="*", type=Path)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--block", type=float, help="fold by square blocks of so many metres")
    arguments.add_argument("--worlds", type=int, default=0, help="seeds of each world")
    every = [*LEARNERS, *STANDARD]
    arguments.add_argument("--only", nargs="*", default=[], choices=every, metavar="LEARNER")
    add_short(arguments, seeds=1, only=["ridge", "kernel", "random forest"])
    given = arguments.parse_args()
    for directory in given.studies:
        case = Case.of_study(directory, given.block)
        print(f"{case.name}: {len(case.data.areas):,} locations", flush=True)
        print_table([case] * given.seeds, range(given.seeds), given.only, tell=given.short)
    for name in ("linear", "interaction", "composition") if given.worlds else ():
        print(f"world: {name}", flush=True)
        seeds = range(given.worlds)
        print_table([Case.of_world(name, seed) for seed in seeds], seeds, given.only)


if __name__ == "__main__":
    main()
