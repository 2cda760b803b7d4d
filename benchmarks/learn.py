"""How fast the training loop and the folds are, beside the plain way of doing it.

    .venv/bin/python benchmarks/learn.py [--small] [--epochs 2]

The plain way trains one network of torch's own layers after the other, each reading the features
for itself, with the same batches and no validation. All figures are of this machine and this run.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from streetgauge.learn import area_folds, binomial
from streetgauge.learn.training import Samples, balanced_weights, batches, train_network
from streetgauge.settings import TrainSettings

BATCH = 128


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--small", action="store_true", help="1,500 locations of 4 x 1280")
    arguments.add_argument("--epochs", type=int, default=2)
    given = arguments.parse_args()
    n, dimension = (1_500, 1_280) if given.small else (10_000, 4_096)
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n, 4, dimension), dtype=np.float32)
    deciles = rng.integers(1, 11, (n, 12)).astype(np.float32)

    print(f"{n:,} locations x 4 x {dimension:,}, {torch.get_num_threads()} threads, batch {BATCH}")
    together(features[:BATCH], deciles[:BATCH, :1], 1)  # what torch loads when first used
    one_by_one(features[:BATCH], deciles[:BATCH, 0])
    print("outcomes   together, locations/s   one by one, locations/s   ratio")
    for outcomes in (1, 5, 12):
        ours = n * given.epochs / together(features, deciles[:, :outcomes], given.epochs)
        # One network is timed for all: the plain way takes as long for each.
        plain = n / one_by_one(features, deciles[:, 0]) / outcomes
        print(f"{outcomes:8}   {ours:21,.0f}   {plain:23,.0f}   {ours / plain:5.1f}")

    areas = np.concatenate([np.arange(4_835), rng.integers(0, 4_835, 156_581 - 4_835)])
    names = np.array([f"E{i:08d}" for i in range(4_835)])[areas]
    labels = rng.integers(1, 11, (4_835, 12))[areas]
    start = time.perf_counter()
    area_folds(names, labels, 5, 0)
    print(f"5 folds of 156,581 locations in 4,835 areas: {time.perf_counter() - start:.2f} s")


def together(features: np.ndarray, deciles: np.ndarray, epochs: int) -> float:
    """Seconds of this package's loop; one location stands in for the validation part."""
    rows = np.arange(len(features))
    present = np.ones(features.shape[:2], np.bool_)
    samples = Samples(features, present, deciles, balanced_weights(deciles, rows))
    settings = TrainSettings(
        network="paper-2019", epochs=epochs, batch=BATCH, patience=epochs, device="cpu"
    )
    start = time.perf_counter()
    train_network(samples, rows, rows[:1], settings, seed=0, network_seeds=range(deciles.shape[1]))
    return time.perf_counter() - start


def one_by_one(features: np.ndarray, decile: np.ndarray) -> float:
    """Seconds of one epoch of one network, written with torch's own layers."""
    view, location = _blocks(features.shape[2], 512, 256, 128), _blocks(128, 64)
    score = nn.Linear(64, 1)
    network = nn.ModuleList([view, location, score])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4)
    flat = features.reshape(-1, features.shape[2])
    mean, sd = torch.from_numpy(flat[:4096].mean(0)), torch.from_numpy(flat[:4096].std(0))
    start = time.perf_counter()
    for rows in batches(np.arange(len(features)), BATCH, np.random.default_rng(0)):
        x = (torch.from_numpy(features[rows]) - mean) / sd
        x += 0.05 * torch.randn(x.shape)
        h = score(location(view(x.flatten(0, 1)).unflatten(0, x.shape[:2]).mean(1)))
        loss = binomial.loss(h, torch.from_numpy(decile[rows, None]))
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    return time.perf_counter() - start


def _blocks(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


if __name__ == "__main__":
    main()
