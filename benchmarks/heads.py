"""Which head is best: the same folds, the same features, one head after the other.

    .venv/bin/python benchmarks/heads.py [--small] [--only newport] [--heads binomial clm]

Whole areas are held out, and every figure is over the held-out areas: the mean absolute error of
their deciles, Spearman's rho, the ranked probability score of the locations' mean probabilities,
and the quadratic kappa. Figures are means over outcomes; spread is the standard deviation over
seeds, each with folds and first weights of its own. ``binomial, again`` has the same folds as
``binomial`` and other first weights: differences not larger than theirs are chance. ``better``
counts in how many outcomes and seeds rho is above that of the binomial head.

Newport is read from ``examples/newport`` (run ``streetgauge run examples/newport`` first). The
simulated city's best possible scores are known: ``oracle``.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # trainings run side by side, one core each

import numpy as np
import pandas as pd
from _table import add_short, row
from scipy.stats import rankdata, spearmanr

from streetgauge.evaluation.aggregate import cut
from streetgauge.evaluation.metrics import confusion_matrix, measure
from streetgauge.features import FeatureStore
from streetgauge.model.fitting import fit_model
from streetgauge.model.heads import HEADS
from streetgauge.model.training_data import TrainingData
from streetgauge.settings import FoldSettings, TrainSettings
from streetgauge.splits.schemes import make_splits
from streetgauge.synthetic.simulate import simulate_features, simulated_oracle

NEWPORT = Path(__file__).resolve().parents[1] / "examples" / "newport"
CLASSES = 10
METRICS = ("MAE", "rho", "RPS", "kappa")


@dataclass(frozen=True)
class City:
    """Locations in the order of their ids, and what is known of them."""

    name: str
    features: np.ndarray  # [N, V, D]
    present: np.ndarray  # [N, V]
    deciles: np.ndarray  # [N, M]
    areas: np.ndarray  # [N]
    outcomes: list[str]
    oracle: np.ndarray | None = None  # [N, M]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--small", action="store_true", help="100 areas, one seed, --every 8")
    arguments.add_argument("--every", type=int, default=1, help="take each n-th Newport location")
    arguments.add_argument("--only", choices=["simulated", "newport"])
    arguments.add_argument("--heads", nargs="+", default=list(HEADS), choices=HEADS)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--network", default=TrainSettings().network)
    arguments.add_argument("--members", type=int, default=TrainSettings().ensemble_size)
    add_short(arguments, small=True, only="simulated", heads=["binomial", "clm"], members=1)
    given = arguments.parse_args()
    seeds = range(1 if given.small else given.seeds)
    every = 8 if given.small else given.every
    runs = [(head, head, 0) for head in given.heads]
    if "binomial" in given.heads:
        runs.append(("binomial, again", "binomial", 1))
    for name in ["simulated", "newport"] if given.only is None else [given.only]:
        start = time.perf_counter()
        jobs = [
            (name, given.small, every, given.network, given.members, row, head, seed, other)
            for seed in seeds
            for row, head, other in runs
        ]
        with ProcessPoolExecutor() as pool:
            found = pd.concat(pool.map(held_out, *zip(*jobs, strict=True)))
        city = the_city(name, given.small, every)
        if city.oracle is not None:
            found = pd.concat([found, possible(city)])
        print(f"\n{name}: {len(np.unique(city.areas))} areas, {len(city.areas):,} locations, "
              f"{len(city.outcomes)} outcomes, {len(seeds)} seeds, {given.network}, "
              f"{given.members} members, "
              f"{time.perf_counter() - start:.0f} s\n")  # fmt: skip
        print(as_table(found))
        if given.short:
            rho = found.groupby("head")["rho"].mean()
            for head in rho.index.drop("oracle"):
                what, ratio = f"Spearman's ρ of areas, head {head}", rho[head] / rho["oracle"]
                row(what, f"{ratio:.2f}", "the attainable", f"{rho[head]:.3f}")


def simulated(small: bool) -> City:
    """300 areas of 4 to 20 locations whose features tell some of their outcomes."""
    rng = np.random.default_rng(2019)
    n_areas = 100 if small else 300
    shared = rng.normal(size=(n_areas, 1))
    latent = 0.7 * shared + 0.7 * rng.normal(size=(n_areas, 3))
    rank = rankdata(latent, axis=0, method="ordinal") - 1
    area = np.repeat(np.arange(n_areas), rng.integers(4, 21, n_areas))
    names = np.array([f"A{i:03d}" for i in range(n_areas)])[area]
    deciles = pd.DataFrame(
        rank[area] * CLASSES // n_areas + 1.0,
        index=[f"L{i:05d}" for i in range(len(area))],
        columns=["one", "two", "three"],
    )
    how = {"views": 4, "signal": 0.15, "seed": 7}
    return City(
        "simulated",
        simulate_features(deciles, names, dimension=64, **how),
        np.ones((len(area), 4), np.bool_),
        deciles.to_numpy(np.float32),
        names,
        list(deciles),
        simulated_oracle(deciles, names, **how)[list(deciles)].to_numpy(),
    )


def newport(every: int) -> City:
    """Read the study's files: 5 outcomes of 85 areas, 7,928 postcodes of 4 images."""
    placed = pd.read_parquet(NEWPORT / "folds.parquet").sort_values("location_id")[::every]
    store = FeatureStore.open(NEWPORT / "features" / "segments.h5")
    row = pd.Series(range(len(store.location_ids)), index=store.location_ids)
    rows = row[placed["location_id"]].to_numpy()
    table = pd.read_parquet(NEWPORT / "outcomes.parquet").set_index("area").filter(like="_decile")
    return City(
        "newport",
        np.asarray(store.features[rows], np.float32),
        np.asarray(store.present[rows]),
        table.loc[placed["area"]].to_numpy(np.float32, na_value=np.nan),
        placed["area"].to_numpy(str),
        [name.removesuffix("_decile") for name in table],
    )


def the_city(name: str, small: bool, every: int) -> City:
    return simulated(small) if name == "simulated" else newport(every)


def held_out(
    name: str, small: bool, every: int, network: str, members: int,
    row: str, head: str, seed: int, other: int,
) -> pd.DataFrame:  # fmt: skip
    """Train on all folds but one, predict that one, for each fold; then judge the areas."""
    city = the_city(name, small, every)
    settings = TrainSettings(
        head=head, network=network, ensemble_size=members, device="cpu", precision="float32"
    )
    score = np.full(city.deciles.shape, np.nan)
    probability = np.full((*score.shape, CLASSES), np.nan)
    for split in make_splits(FoldSettings(), city.areas, city.deciles, seed=seed):
        if not len(split.test):
            continue
        model, _ = fit_model(
            TrainingData(
                city.features, city.present, city.deciles, city.areas, np.arange(len(city.areas)),
                city.outcomes, classes=CLASSES,
            ),
            split, settings, seed=1000 * other + 10 * seed + split.fold,
        )  # fmt: skip
        said = model.predict(city.features, city.present, split.test, "cpu")
        score[split.test], probability[split.test] = said.score, said.probabilities
    figures = pd.DataFrame(judged(city, score, probability))
    return figures.assign(head=row, seed=seed)


def judged(
    city: City, score: np.ndarray, probability: np.ndarray | None
) -> Iterator[dict[str, object]]:
    """Figures of each outcome over its areas."""
    for m, outcome in enumerate(city.outcomes):
        known = ~np.isnan(city.deciles[:, m])
        table = pd.DataFrame({"score": score[known, m], "actual": city.deciles[known, m]})
        if probability is not None:
            table = table.join(pd.DataFrame(probability[known, m]))
        area = table.groupby(city.areas[known]).mean()
        actual = area["actual"].to_numpy().astype(np.int64)
        decile = np.asarray(cut(area["score"], CLASSES))
        figures = {
            "MAE": np.abs(decile - actual).mean(),
            "rho": spearmanr(area["score"], actual).statistic,
            "kappa": float(measure(confusion_matrix(actual, decile, CLASSES))["kappa"]),
        }
        if probability is not None:
            below = area[list(range(CLASSES))].to_numpy().cumsum(axis=1)
            truly = np.arange(1, CLASSES + 1) >= actual[:, np.newaxis]
            figures["RPS"] = ((below - truly) ** 2).sum(axis=1).mean()
        yield {"outcome": outcome, **figures}


def possible(city: City) -> pd.DataFrame:
    assert city.oracle is not None
    return pd.DataFrame(judged(city, city.oracle, None)).assign(head="oracle", seed=0)


def as_table(found: pd.DataFrame) -> str:
    """Write a Markdown table, a row a head."""
    of_seed = found.groupby(["head", "seed"], sort=False)[list(METRICS)].mean()
    mean = of_seed.groupby("head", sort=False).mean()
    spread = of_seed.groupby("head", sort=False).std()
    rho = found.pivot_table(index=["outcome", "seed"], columns="head", values="rho")
    lines = ["| head | " + " | ".join(METRICS) + " | better |", "| --- |" + " --- |" * 5]
    for head in mean.index:
        cells = [
            "" if np.isnan(mean.loc[head, metric])
            else f"{mean.loc[head, metric]:.3f}"
            + ("" if np.isnan(spread.loc[head, metric]) else f" ± {spread.loc[head, metric]:.3f}")
            for metric in METRICS
        ]  # fmt: skip
        better = ""
        if "binomial" in rho and head not in ("binomial", "oracle"):
            better = f"{int((rho[head] > rho['binomial']).sum())} of {len(rho)}"
        lines.append(f"| {head} | " + " | ".join([*cells, better]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
