"""Pooled cities next to a single one: Spearman's rho of areas, paired over seeds.

    .venv/bin/python benchmarks/pool.py [--seeds 10] [--areas 80] [--unlike 0.3]

Three made-up cities with simulated features, each in a light of its own and with a share of what
it shows in a way of its own. Areas of each are predicted by the other two without its labels, by
its own labels alone, and by both, out of fold, with the labels of 10 % and of all of its areas.
Printed are means over cities, outcomes and seeds, and how much more pooled has than the others and
than its own labels, with 90 % intervals over the seeds.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from transfer import OUTCOMES, city

from streetgauge.analysis.pooling import City, Pool

SHARES = (0.05, 0.1, 0.25, 1.0)
COMPARED = ("others", "own", "pooled")


def pool(seed: int, n_areas: int, unlike: float) -> Pool:
    """Make three cities."""
    cities = []
    for name in ("north", "south", "west"):
        data = city(name, n_areas, seed, unlike * (name != "north"))
        means = pd.DataFrame(data.features.mean(axis=1)).groupby(data.areas).mean()
        deciles = pd.DataFrame(data.deciles, columns=OUTCOMES).groupby(data.areas).first()
        cities.append(City(name, means, deciles))
    return Pool(cities, seed=seed)


def rho(pooled: Pool, share: float) -> list[float]:
    """Give the rank correlation by each of `COMPARED`, mean over cities and outcomes."""
    found = []
    for target in pooled.cities:
        for outcome in OUTCOMES:
            frame = pooled.estimates(outcome, target, share)
            table = frame[["actual_decile", *COMPARED]].corr(method="spearman")
            found.append(table.loc["actual_decile", list(COMPARED)])
    return list(np.mean(found, axis=0))


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("--seeds", type=int, default=10)
    arguments.add_argument("--areas", type=int, default=80)
    arguments.add_argument("--unlike", type=float, default=0.3)
    given = arguments.parse_args()
    pools = [pool(seed, given.areas, given.unlike) for seed in range(given.seeds)]
    print("| labels | others | own | pooled | pooled less others | pooled less own |")
    print("| --- | --- | --- | --- | --- | --- |")
    rng = np.random.default_rng(0)
    for share in SHARES:
        found = np.array([rho(each, share) for each in pools])
        cells = [f"{x:.3f}" for x in found.mean(axis=0)]
        for other in (0, 1):
            more = found[:, 2] - found[:, other]
            low, high = np.quantile(rng.choice(more, (2000, len(more))).mean(axis=1), [0.05, 0.95])
            cells.append(f"{more.mean():+.3f} ({low:+.3f} to {high:+.3f})")
        print(f"| {share:.0%} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
