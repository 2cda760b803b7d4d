"""Pooled cities next to a single one: Spearman's rho of areas, paired over seeds.

    .venv/bin/python benchmarks/pool.py [--seeds 10] [--areas 80] [--unlike 0.3]

Three made-up cities with simulated features, each in a light of its own and with a share of what
it shows in a way of its own. Areas of each are predicted by the other two without its labels, by
its own labels alone, and by both, out of fold, with the labels of 10% and of all of its areas.
Printed are means over cities, outcomes and seeds, and how much more pooled has than the others and
than its own labels, with 90% intervals over the seeds. Below the table: how often 90% intervals
of the best estimate hold the decile of areas that are held out, and how wide they are, in a city
with labels and in the same city without any.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import pandas as pd
from _table import add_short, row
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


def held(pooled: Pool) -> list[list[float]]:
    """Give how many intervals hold and their mean width, with labels and without: [2, 2]."""
    found = []
    for target, own in pooled.cities.items():
        blind = [
            replace(c, deciles=pd.DataFrame()) if c is own else c for c in pooled.cities.values()
        ]
        for outcome in OUTCOMES:
            rows = []
            for each in (pooled, Pool(blind, seed=pooled.seed)):
                classed = each.classed(each.estimates(outcome, target), outcome, target)
                inside = own.deciles[outcome].between(classed["best_low"], classed["best_high"])
                width = (classed["best_high"] - classed["best_low"] + 1).mean()
                rows.append([inside.mean(), width])
            found.append(rows)
    return np.mean(np.array(found, float), axis=0).tolist()


def interval(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Give a 90% interval of a mean over seeds."""
    drawn = rng.choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, [0.05, 0.95])
    return float(low), float(high)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("--seeds", type=int, default=10)
    arguments.add_argument("--areas", type=int, default=80)
    arguments.add_argument("--unlike", type=float, default=0.3)
    add_short(arguments, seeds=2, areas=30)
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
            low, high = interval(more, rng)
            cells.append(f"{more.mean():+.3f} ({low:+.3f} to {high:+.3f})")
        print(f"| {share:.0%} | " + " | ".join(cells) + " |")
        if given.short and share >= 0.25:  # fewer labels of so small a city rank nothing
            others, own, pooled = found.mean(axis=0)
            what = f"Spearman's ρ of pooled cities, {share:.0%} of the labels"
            row(what, f"{pooled / own:.2f}", "the city's own labels", f"{pooled:.3f}")
            row(what, f"{pooled / others:.2f}", "the other cities alone", f"{pooled:.3f}")
    figures = np.array([held(each) for each in pools])
    for k, words in enumerate(("with labels", "without labels")):
        share, width = figures[:, k].T
        low, high = interval(share, rng)
        print(
            f"90% intervals of a city {words}: {share.mean():.1%} hold ({low:.1%} to {high:.1%}), "
            f"mean width {width.mean():.1f} deciles"
        )


if __name__ == "__main__":
    main()
