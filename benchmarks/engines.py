"""By how many deciles areas move where a study is computed in another way.

    python benchmarks/engines.py [--areas 100] [--locations 400] [--views 2] [--seed 2019]

The sample city's images go through PyTorch in float32, which is compared with the same once more,
with OpenVINO in float32, bfloat16 and int8, with another number of threads, and with another seed
of folds and training. All else is today's default: the backbone, the learner, the folds. For each
way a line has how many areas (of all outcomes) have another decile out of fold, by how many deciles
at most, the Spearman correlation of the scores with those of the first way, and the least cosine
of the features. The study is made in a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _table import add_short, row

from streetgauge.evaluation import aggregate
from streetgauge.features import FeatureStore
from streetgauge.model import cross_validate
from streetgauge.model.training_data import labelled, load_training_data
from streetgauge.pipeline.run import run_stage
from streetgauge.progress import silent
from streetgauge.settings import TrainSettings
from streetgauge.splits import make_splits
from streetgauge.study import Study
from streetgauge.synthetic import make_city

FIRST = ("torch", "float32")
WAYS = [FIRST, ("openvino", "float32"), ("openvino", "bfloat16"), ("openvino", "int8")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--areas", type=int, default=100)
    parser.add_argument("--locations", type=int, default=400)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--seed", type=int, default=2019)
    parser.add_argument("--ways", type=int, default=len(WAYS), help="so many of the engines")
    add_short(parser, areas=30, locations=60, views=1, ways=2)
    args = parser.parse_args()
    first_ways = WAYS[: args.ways]
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_city(folder, n_areas=args.areas, n_locations=args.locations, workers=1)
        features = {way: extracted(folder, *way, args.views) for way in first_ways}
        ways = [(*way, 1, args.seed) for way in first_ways]
        others = [(*FIRST, 1, args.seed), (*FIRST, len(cores), args.seed)]
        others += [(*FIRST, 1, args.seed + 1)]
        first = None
        print(f"{'features and training':44}  other decile  most  rho of scores  cosine")
        for engine, precision, threads, seed in [*ways, *others * (not args.short)]:
            os.sched_setaffinity(0, cores[:threads])
            torch.set_num_threads(threads)
            found = trained(features[engine, precision], seed)
            first = found if first is None else first
            cosine = least_cosine(features[FIRST], features[engine, precision])
            words = f"{engine} {precision}, {threads} threads, seed {seed}"
            print(f"{words:44}  {compared(first, found)}  {cosine:.5f}", flush=True)
            if args.short and first is not found:
                _, rho = moved_and_rho(first, found)
                row(f"Spearman's ρ with scores of torch float32, {engine} {precision}", "", "",
                    f"{rho:.4f}, least cosine of features {cosine:.5f}")  # fmt: skip


def extracted(folder: Path, engine: str, precision: str, views: int) -> Study:
    """Give the city with features of one engine, as a study of its own; all else is shared."""
    name = folder / f"{engine}-{precision}"
    name.mkdir()
    (name / "data").symlink_to(folder / "data")
    text = (folder / "study.toml").read_text(encoding="utf-8")
    every = 'views = ["a", "b", "c", "d"]'
    if every not in text:
        raise SystemExit(f"the city's settings have no {every}")
    text = text.replace(every, f"views = {list('abcd'[:views])}")
    text = text.replace("[features]\n", f'[features]\nengine = "{engine}"\n')
    text = text.replace("[features]\n", f'[features]\nprecision = "{precision}"\n')
    (name / "study.toml").write_text(text, encoding="utf-8")
    study = Study.open(name)
    for stage in ("outcomes", "locations", "features"):
        run_stage(study, stage, silent)
    return study


def trained(study: Study, seed: int) -> pd.DataFrame:
    """Give areas out of fold, by outcome and area."""
    store = FeatureStore.open(study.features)
    places, labels, _ = labelled(study, store)
    data = load_training_data(study, store, places, labels)
    made = make_splits(study.settings.folds, data.areas, data.deciles, seed=seed)
    with tempfile.TemporaryDirectory() as scratch:
        predictions = cross_validate(
            data,
            [split for split in made if len(split.test)],
            TrainSettings(),
            seed=seed,
            directory=Path(scratch),
            cache_key="",
        )
    return aggregate(predictions, "mean-score").set_index(["outcome", "area"]).sort_index()


def compared(one: pd.DataFrame, other: pd.DataFrame) -> str:
    """Put into words how far deciles and scores of the same areas are apart."""
    moved, rho = moved_and_rho(one, other)
    return f"{int((moved > 0).sum()):5} of {len(moved):4}  {int(moved.max()):4}  {rho:13.4f}"


def moved_and_rho(one: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.Series, float]:
    """Give by how many deciles the same areas differ, and the correlation of their scores."""
    one, other = one.align(other, join="inner", axis=0)
    rho = one["score"].corr(other["score"], method="spearman")
    return (one["decile"] - other["decile"]).abs(), float(rho)


def least_cosine(one: Study, other: Study) -> float:
    """Give the least cosine between the features that two studies have of an image."""
    a, b = (
        np.asarray(FeatureStore.open(study.features).features[:], np.float64).reshape(-1, 1280)
        for study in (one, other)
    )
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


if __name__ == "__main__":
    main()
