"""What labels of a city are worth next to a model of another city.

    .venv/bin/python benchmarks/transfer.py [--pairs 5] [--areas 80] [--unlike 0] [--learner stack]

Pairs of made-up cities with simulated features, whose light differs. Each city's model is used in
the other one: as it is, and with the labels of a share of its areas, which correct it (`--tune
correction`) or move its network (`--tune scaled`). Every area is predicted by the fold that holds
it out. With `--unlike 0.5` half of what images show of an outcome is shown in another way there.
Printed is Spearman's rho of areas, mean over the outcomes: of every direction, and the mean over
the pairs; with the correction also in how many folds the labels changed the order of the areas.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from _table import add_short, row
from scipy.stats import spearmanr

from streetgauge.analysis.curves import CurveTraining
from streetgauge.analysis.transfer_curve import SHARES
from streetgauge.model import fit_learner
from streetgauge.model.learners import network_of
from streetgauge.model.training_data import TrainingData
from streetgauge.model.transfer import Start
from streetgauge.progress import silent
from streetgauge.settings import FoldSettings, TrainSettings
from streetgauge.splits import make_splits
from streetgauge.synthetic import simulate_features

OUTCOMES = ("income", "health")
LOCATIONS, VIEWS, DIMENSION, SIGNAL = 6, 4, 48, 0.08


def city(name: str, n_areas: int, seed: int, unlike: float = 0.0) -> TrainingData:
    """Make a city of its own light; `unlike` is the share of what it shows in another way."""
    rng = np.random.default_rng([seed, *name.encode()])
    latent = 0.7 * rng.normal(size=(n_areas, 1)) + 0.7 * rng.normal(size=(n_areas, len(OUTCOMES)))
    deciles = latent.argsort(0).argsort(0) * 10 // n_areas + 1.0
    area = np.repeat(np.arange(n_areas), LOCATIONS)
    codes = np.array([f"{name}{seed}-{a:04d}" for a in area])
    ids = np.array([f"{code}-{i:05d}" for i, code in enumerate(codes)])
    labels = pd.DataFrame(deciles[area], pd.Index(ids, name="location_id"), OUTCOMES)
    shown = {"dimension": DIMENSION, "views": VIEWS, "signal": SIGNAL}
    features = simulate_features(labels, codes, **shown, seed=1)
    if unlike:
        other = simulate_features(labels, codes, **shown, seed=2)
        features = (1 - unlike) * features + unlike * other
    features += rng.normal(size=DIMENSION).astype(np.float32)
    present = np.ones(features.shape[:2], np.bool_)
    return TrainingData(features, present, deciles[area], codes, ids, OUTCOMES)


def rho(frame: pd.DataFrame) -> float:
    """Rank correlation of areas, mean over the outcomes."""
    frame = frame.astype({"actual_decile": float})
    areas = frame.groupby(["outcome", "area"])[["score", "actual_decile"]].mean()
    return float(np.mean([spearmanr(own).statistic for _, own in areas.groupby("outcome")]))


def direction(
    there: TrainingData, here: TrainingData, settings: TrainSettings, seed: int
) -> tuple[list[float], list[float]]:
    """Give rho along the shares, and the share of folds and outcomes that labels changed."""
    (whole,) = make_splits(FoldSettings(scheme="train-only"), there.areas, there.deciles, seed=seed)
    own = settings.model_copy(update={"tune": "all"})
    model, _ = fit_learner(there, whole, own, seed=seed)
    start = Start(model, settings)
    if settings.tune != "correction":
        start = Start(network_of(model), settings.model_copy(update={"learner": "network"}))
    splits = make_splits(FoldSettings(final=False), here.areas, here.deciles, seed=seed)
    found, changed = [], []
    for share in SHARES:
        training = CurveTraining.of("tuned", here, splits, share, start.settings, seed, start)
        with tempfile.TemporaryDirectory() as folder:
            frame = training.predict(Path(folder), "", silent)
        found.append(rho(frame))
        gains = frame.groupby(["outcome", "fold"])["gain"].first() if "gain" in frame else []
        changed.append(float(np.mean(np.asarray(gains) > 0)) if len(gains) else 0.0)
    return found, changed


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("--pairs", type=int, default=5)
    arguments.add_argument("--areas", type=int, default=80)
    arguments.add_argument("--unlike", type=float, default=0.0)
    arguments.add_argument("--learner", default="stack")
    arguments.add_argument("--tune", default="correction")
    add_short(arguments, pairs=1, areas=30, learner="kernel")
    given = arguments.parse_args()
    settings = TrainSettings(learner=given.learner, tune=given.tune, device="cpu", epochs=12)
    print("| pair | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |")
    print("| --- |" + " --- |" * len(SHARES))
    every, changes = [], []
    for seed in range(given.pairs):
        first = city("north", given.areas, seed)
        second = city("south", given.areas, seed, given.unlike)
        for name, there, here in (("to south", first, second), ("to north", second, first)):
            found, changed = direction(there, here, settings, seed)
            every.append(found)
            changes.append(changed)
            print(f"| {seed + 1} {name} | " + " | ".join(f"{x:.3f}" for x in found) + " |")
    print("| mean | " + " | ".join(f"{x:.3f}" for x in np.mean(every, axis=0)) + " |")
    if given.short:
        none, *rest = np.mean(every, axis=0)
        for share, rho in list(zip(SHARES[1:], rest, strict=True))[-2:]:
            what = f"Spearman's ρ of another city's model, corrected by {share:.0%} of the labels"
            row(what, f"{rho / none:.2f}", "without labels", f"{rho:.3f}")
    less = np.min(np.array(every) - np.array(every)[:, :1], axis=0)
    print("| least less none | " + " | ".join(f"{x:+.3f}" for x in less) + " |")
    print("| changed | " + " | ".join(f"{x:.0%}" for x in np.mean(changes, axis=0)) + " |")


if __name__ == "__main__":
    main()
