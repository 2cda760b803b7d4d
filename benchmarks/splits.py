"""How long it takes to split a city of London's size, beside two other ways of doing it.

    .venv/bin/python benchmarks/splits.py [--small]

The city has 156,581 locations in 4,835 areas on a grid of 600 m, and 12 outcomes whose deciles
neighbours share. The plain way takes area by area and puts each into the part that most raises the
evenness of labels and of sizes, counted anew each time: its time grows with the square of the
areas. scikit-learn's StratifiedGroupKFold knows one outcome and no places. How uneven the folds'
deciles are is the standard deviation of a decile's locations over the folds, as a share of their
mean, averaged over deciles and outcomes. All figures are of this machine and this run.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from _table import add_short, row
from scipy.ndimage import gaussian_filter
from sklearn.model_selection import StratifiedGroupKFold

from streetgauge.settings import FoldSettings
from streetgauge.splits import LocationColumns, make_splits

SCHEMES: dict[str, dict[str, Any]] = {
    "k-fold": {},
    "k-fold of whole MSOAs": {"unit": "msoa"},
    "k-fold of locations (leaks)": {"unit": "location"},
    "k-fold, 10% of the areas": {"train_size": 0.1},
    "k-fold, buffer 500 m": {"buffer": 500.0},
    "blocks of 2 km": {"scheme": "blocks", "block": 2000.0},
    "blocks of 3 km, buffer 1 km": {"scheme": "blocks", "block": 3000.0, "buffer": 1000.0},
    "leave one district out": {"scheme": "leave-one-group-out", "group": "district"},
    "train/validation/test": {"scheme": "train-validation-test"},
    "train/test": {"scheme": "train-test"},
    "by class": {"scheme": "by-class", "outcome": "o0", "classes": (1, 10)},
    "train only": {"scheme": "train-only"},
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--small", action="store_true", help="a twentieth of London")
    add_short(arguments)
    given = arguments.parse_args()
    small = given.small
    n_areas, n = (242, 7_800) if small else (4_835, 156_581)
    city = City(n_areas, n, np.random.default_rng(0))
    print(
        f"{n:,} locations in {n_areas:,} areas, 12 outcomes, {len(set(city.districts))} districts"
    )
    print("scheme                          splits   seconds   uneven deciles   uneven sizes")
    for name, settings in SCHEMES.items():
        start = time.perf_counter()
        splits = make_splits(
            FoldSettings(**settings),
            city.areas,
            city.deciles,
            seed=0,
            columns=LocationColumns(
                location_ids=city.ids,
                outcomes=[f"o{m}" for m in range(12)],
                coordinates=city.places,
                units=city.msoas,
                groups=city.districts,
            ),
        )
        seconds = time.perf_counter() - start
        fold = np.zeros(n, int)
        for split in splits:
            fold[split.test] = split.fold
        folds = len(set(fold[fold > 0]))
        even = f"{uneven(fold, city.deciles):14.1%}   {sizes(fold):12.1%}" if folds == 5 else ""
        print(f"{name:30}   {len(splits):6}   {seconds:7.2f}   {even}")

    start = time.perf_counter()
    fold = np.zeros(n, int)
    # Before scikit-learn 1.8 a shuffled one did not stratify.
    parts = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    for i, (_, test) in enumerate(parts.split(city.ids, city.deciles[:, 0], city.areas)):
        fold[test] = i + 1
    theirs = time.perf_counter() - start
    start = time.perf_counter()
    settings = FoldSettings(final=False)
    ours = make_splits(settings, city.areas, city.deciles[:, :1], seed=0)
    seconds = time.perf_counter() - start
    own = np.zeros(n, int)
    for split in ours:
        own[split.test] = split.fold
    print("\none outcome, 5 folds                    seconds   uneven deciles   uneven sizes")
    for name, took, dealt in (("StratifiedGroupKFold", theirs, fold), ("k-fold", seconds, own)):
        even = f"{uneven(dealt, city.deciles[:, :1]):14.1%}   {sizes(dealt):12.1%}"
        print(f"{name:36}   {took:8.2f}   {even}")
    print(f"ratio                                  {theirs / seconds:8.1f}")
    if given.short:
        ratio, least = theirs / seconds, uneven(own, city.deciles[:, :1])
        what = f"five folds of {n:,} locations"
        row(what, f"{ratio:.1f}", "StratifiedGroupKFold", f"{seconds:.2f} s")
        row("uneven deciles of these", f"{least / uneven(fold, city.deciles[:, :1]):.2f}",
            "StratifiedGroupKFold", f"{least:.1%}")  # fmt: skip
        return

    print("\nareas (one outcome)   plain, s   k-fold, s   ratio")
    for count in (30, 60) if small else (300, 600, 1_200):
        inside = city.number < count
        areas, deciles = city.areas[inside], city.deciles[inside, :1]
        start = time.perf_counter()
        plain(city.number[inside], deciles[:, 0].astype(int), 5)
        slow = time.perf_counter() - start
        start = time.perf_counter()
        make_splits(settings, areas, deciles, seed=0)
        fast = time.perf_counter() - start
        print(f"{count:19,}   {slow:8.2f}   {fast:9.3f}   {slow / fast:5.0f}")


class City:
    """Areas on a grid, with MSOAs of about 5 and districts of about 150 of them."""

    def __init__(self, n_areas: int, n: int, rng: np.random.Generator) -> None:
        side = int(np.ceil(np.sqrt(n_areas)))
        noise = rng.normal(size=(side, side, 12))
        smooth = gaussian_filter(noise, (2, 2, 0)).reshape(-1, 12)[:n_areas]
        deciles = smooth.argsort(axis=0).argsort(axis=0) * 10 // n_areas + 1.0
        x, y = np.arange(n_areas) % side, np.arange(n_areas) // side
        self.number = np.concatenate([np.arange(n_areas), rng.integers(0, n_areas, n - n_areas)])
        rng.shuffle(self.number)
        corner = np.column_stack([x, y])[self.number] * 600.0
        self.ids = np.array([f"P{i:07d}" for i in rng.permutation(n)])
        self.areas = np.array([f"E{i:08d}" for i in range(n_areas)])[self.number]
        self.deciles = deciles[self.number]
        self.places = corner + rng.uniform(0, 600, corner.shape)
        self.msoas = np.array([f"M{a // 2}-{b // 2}" for a, b in zip(x, y, strict=True)])[
            self.number
        ]
        self.districts = np.array([f"D{a // 12}-{b // 12}" for a, b in zip(x, y, strict=True)])[
            self.number
        ]


def plain(areas: np.ndarray, decile: np.ndarray, k: int) -> np.ndarray:
    """Put each area where labels and sizes become most even, counting all anew for each try."""
    part = np.full(len(areas), -1)
    for area in np.unique(areas):
        rows = areas == area
        gains = []
        for candidate in range(k):
            tried = part.copy()
            tried[rows] = candidate
            labels = sum(entropy(np.bincount(decile[tried == one])) for one in range(k))
            gains.append(labels + k * entropy(np.bincount(tried[tried >= 0], minlength=k)))
        part[rows] = int(np.argmax(gains))
    return part


def entropy(counts: np.ndarray) -> float:
    share = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(share * np.log(share)).sum())


def uneven(fold: np.ndarray, deciles: np.ndarray) -> float:
    """Give the spread of a decile's locations over the folds, as a share of their mean."""
    found = []
    for column in deciles.T:
        for decile in range(1, 11):
            counts = np.bincount(fold[column == decile], minlength=6)[1:]
            found.append(counts.std() / counts.mean())
    return float(np.mean(found))


def sizes(fold: np.ndarray) -> float:
    """Give the spread of the folds' sizes, as a share of their mean."""
    counts = np.bincount(fold[fold > 0])[1:]
    return float(counts.std() / counts.mean())


if __name__ == "__main__":
    main()
