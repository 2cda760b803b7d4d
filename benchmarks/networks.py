"""Which network, and which settings of it, rank areas best: on the same folds of given studies.

    .venv/bin/python benchmarks/networks.py STUDY... [--seeds 3] [--only NAME...] [--block METRES]

Every study must have its outcomes, locations and features (`streetgauge features STUDY`). Nothing
is written to it. Of each variant the table has, out of fold: the Spearman correlation of the areas
with the truth (mean over the outcomes), the mean absolute error in deciles of the areas, the mean
negative log-likelihood of the locations, each with the spread over the seeds, and the seconds of
one seed. A ridge regression on the areas' mean features stands beside them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from _table import add_short, row
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from streetgauge.evaluation import aggregate
from streetgauge.features import FeatureStore
from streetgauge.model import cross_validate
from streetgauge.model.training_data import TrainingData
from streetgauge.settings import FoldSettings, TrainSettings
from streetgauge.splits import LocationColumns, make_splits
from streetgauge.splits.blocks import to_metres
from streetgauge.study import Study

AUTHORS = {
    "ensemble_size": 1,
    "dropout": 0.0,
    "mixup": False,
    "sample_weighting": "locations",
    "noise": 0.05,
}
VARIANTS: dict[str, dict[str, object]] = {
    "default": {},
    "float32": {"precision": "float32"},
    "1 member": {"ensemble_size": 1},
    "10 members": {"ensemble_size": 10},
    "no mixup": {"mixup": False},
    "locations alike": {"sample_weighting": "locations"},
    "neither": {"mixup": False, "sample_weighting": "locations"},
    "width 128": {"width": 128},
    "width 64": {"width": 64},
    "no dropout": {"dropout": 0.0},
    "dropout .2": {"dropout": 0.2},
    "dropout .2, patience 8": {"dropout": 0.2, "patience": 8},
    "noise .05": {"noise": 0.05},
    "attention": {"pooling": "attention"},
    "cosine, 15 epochs": {"schedule": "cosine", "epochs": 15},
    "plateau": {"schedule": "plateau", "patience": 6},
    "rate 3e-4": {"learning_rate": 3e-4},
    "batch 512": {"batch": 512},
    "decay 1e-2": {"weight_decay": 1e-2},
    "64 components": {"components": 64},
    "port-2020": {"network": "port-2020", **AUTHORS},
    "paper-2019": {"network": "paper-2019", **AUTHORS, "learning_rate": 3e-3},
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("studies", nargs="+", type=Path)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--only", nargs="*", default=[], help="variants of these names")
    arguments.add_argument("--block", type=float, help="fold by square blocks of so many metres")
    arguments.add_argument("--each", action="store_true", help="print every outcome's rho")
    add_short(arguments, seeds=1, only=["1 member"])
    given = arguments.parse_args()
    for directory in given.studies:
        data = _Data(directory, given.block, given.each)
        outcomes = data.labels.shape[1]
        print(f"{directory}: {len(data.labels):,} locations, {outcomes} outcomes", flush=True)
        print(f"{'':22}  area rho         area MAE        log-likelihood   seconds")
        rho, mae = zip(*(data.ridge(seed) for seed in range(given.seeds)), strict=True)
        print(f"{'ridge, mean features':22}  {_spread(rho)}    {_spread(mae)}", flush=True)
        for name, changes in VARIANTS.items():
            if given.only and name not in given.only:
                continue
            settings = TrainSettings.model_validate(changes)
            start = time.perf_counter()
            found = [data.judge(settings, seed) for seed in range(given.seeds)]
            seconds = (time.perf_counter() - start) / given.seeds
            columns = "    ".join(_spread(column) for column in zip(*found, strict=True))
            print(f"{name:22}  {columns}    {seconds:6.1f}", flush=True)
            if given.short:
                own, ridge = np.mean([each[0] for each in found]), np.mean(rho)
                ratio = f"{own / ridge:.2f}"
                row(f"Spearman's ρ of areas, a network of {name}", ratio, "ridge", f"{own:.3f}")


class _Data:
    def __init__(self, directory: Path, block: float | None, each: bool) -> None:
        study = Study.open(directory)
        self.each = each
        spatial = None if block is None else FoldSettings(scheme="blocks", block=block)
        self.folds = spatial or study.settings.folds
        self.study = study
        self.store = FeatureStore.open(study.features)
        places = pd.read_parquet(study.locations).sort_values("location_id", ignore_index=True)
        rows = self.store.rows(places["location_id"].to_numpy(str))
        places, rows = places[rows >= 0], rows[rows >= 0]
        table = pd.read_parquet(study.outcomes).set_index("area")
        self.outcomes = list(study.settings.outcomes)
        labels = table[[f"{o}_decile" for o in self.outcomes]].astype("Float64").astype("float64")
        labels = labels.reindex(places["area"])
        known = labels.notna().any(axis=1).to_numpy()
        self.places, self.rows = places[known].reset_index(drop=True), rows[known]
        self.labels = labels[known].to_numpy()
        self.areas = self.places["area"].to_numpy(str)

    def splits(self, seed: int) -> list:
        places = to_metres(self.places["lat"], self.places["lon"])
        splits = make_splits(
            self.folds,
            self.areas,
            self.labels,
            seed=seed,
            columns=LocationColumns(coordinates=places),
        )
        return [split for split in splits if len(split.test)]

    def judge(self, settings: TrainSettings, seed: int) -> tuple[float, float, float]:
        with tempfile.TemporaryDirectory() as scratch:
            predictions = cross_validate(
                TrainingData(
                    self.store.features,
                    self.store.present,
                    self.labels,
                    self.areas,
                    self.places["location_id"].to_numpy(str),
                    self.outcomes,
                    rows=self.rows,
                ),
                self.splits(seed),
                settings,
                seed=seed,
                directory=Path(scratch),
                cache_key="",
            )
        areas = aggregate(predictions, "mean-score")
        known = predictions[predictions["actual_decile"].notna()]
        columns = known[[f"p{k}" for k in range(1, 11)]].to_numpy()
        taken = columns[np.arange(len(known)), known["actual_decile"].to_numpy(int) - 1]
        if self.each:
            print(seed, _rho(areas).round(3).to_dict(), flush=True)
        return (*_agreement(areas), float(-np.log(np.maximum(taken, 1e-30)).mean()))

    def ridge(self, seed: int) -> tuple[float, float]:
        views = np.asarray(self.store.features[self.rows], np.float32)
        there = self.store.present[self.rows][..., np.newaxis]
        means = np.where(there, views, 0).sum(1) / there.sum(1)
        area, member = np.unique(self.areas, return_inverse=True)
        mean = np.stack([np.bincount(member, column) for column in means.T], 1)
        mean /= np.bincount(member)[:, np.newaxis]
        first = pd.DataFrame(self.labels).groupby(self.areas).first().reindex(area).to_numpy()
        said = np.full(first.shape, np.nan)
        for split in self.splits(seed):
            train = np.isin(area, self.areas[np.r_[split.training, split.validation]])
            for m in range(first.shape[1]):
                known = train & ~np.isnan(first[:, m])
                model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 6, 15)))
                model.fit(mean[known], first[known, m])
                said[~train, m] = model.predict(mean[~train])
        frames = [
            pd.DataFrame({"area": area, "outcome": o, "score": s, "actual_decile": a})
            for o, s, a in zip(self.outcomes, said.T, first.T, strict=True)
        ]
        table = pd.concat(frames, ignore_index=True)
        ranks = table.groupby("outcome")["score"].rank(pct=True, method="first")
        table["decile"] = np.ceil(ranks * 10)
        return _agreement(table)


def _agreement(areas: pd.DataFrame) -> tuple[float, float]:
    known = areas.dropna(subset=["actual_decile"]).astype({"actual_decile": "float64"})
    return float(_rho(areas).mean()), float((known["decile"] - known["actual_decile"]).abs().mean())


def _rho(areas: pd.DataFrame) -> pd.Series:
    known = areas.dropna(subset=["actual_decile"]).astype({"actual_decile": "float64"})
    found = {
        name: own["score"].corr(own["actual_decile"], method="spearman")
        for name, own in known.groupby("outcome")
    }
    return pd.Series(found)


def _spread(values: tuple[float, ...]) -> str:
    return f"{np.mean(values):.3f} +- {np.std(values):.3f}"


if __name__ == "__main__":
    main()
