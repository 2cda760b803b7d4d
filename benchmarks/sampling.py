"""How many locations `streetgauge sample` saves, next to choosing them at random.

    .venv/bin/python benchmarks/sampling.py [--seeds 10] [--areas 300]

The sample city, without drawing its images: a location's features are what its images would show,
and noise. 60 locations at random have images at first. From there on locations are added by plan or
at random, and all areas are estimated as the best estimate does: out of fold, from images and
places where an area has images, from places elsewhere. A third column has a plan that knows the
city's variances and surface, from images of all locations and all labels. Printed are Spearman's
rho, mean over the outcomes and seeds, in how many areas the locations lie, and how many locations
the plans need for the rho that chance reaches with as many as stated, with 90% intervals over the
seeds. The last line of each is the bound by numbers alone: how many locations a plan needs to have
images in as many areas.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from _table import add_short, row
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict

from streetgauge.analysis.sampling import Design, choose_locations, plan_areas
from streetgauge.evaluation.baselines import Placements
from streetgauge.evaluation.best import AreaKnowledge, _predict
from streetgauge.synthetic.chance import generator
from streetgauge.synthetic.city import _dissolve, _postcodes, _truth
from streetgauge.synthetic.model import OUTCOMES, LatentModel
from streetgauge.synthetic.plan import draw_plan, place_locations

FIRST = 60
SIZES = (60, 100, 140, 180, 220, 260, 300, 400, 500, 600)
TARGETS = (200, 300, 400, 600)
NOISE, FURTHER = 0.5, 20  # of each feature; columns that show nothing


class City:
    """Areas with deciles, and locations with features."""

    def __init__(self, seed: int, n_areas: int) -> None:
        model = LatentModel()
        plan = draw_plan(generator(seed, "plan"), n_areas)
        areas = _dissolve(plan)
        places, _ = place_locations(generator(seed, "locations"), plan, 10 * n_areas, 0)
        latents, outcomes = _truth(generator(seed, "truth"), areas, model)
        _, shown = _postcodes(generator(seed, "postcodes"), places, latents, model)
        rng = generator(seed, "noise")
        means = shown.mean(axis=1)
        means = means + NOISE * rng.standard_normal(means.shape)
        rest = rng.standard_normal((len(means), FURTHER))
        self.features = pd.DataFrame(np.column_stack([means, rest]))
        self.area = areas.index.get_indexer(pd.Index(places["area"]))
        self.at = places[["east", "north"]].to_numpy(float)
        self.areas = pd.Index(areas.index)
        rank = outcomes[list(OUTCOMES)].rank(method="first")
        self.deciles = np.ceil(rank * 10 / len(rank))
        self.xy = pd.DataFrame({"x": areas.centroid.x, "y": areas.centroid.y}, areas.index)
        self.rng = generator(seed, "choice")

    def means(self, chosen: np.ndarray) -> pd.DataFrame:
        """Mean features of the areas that these locations lie in."""
        found = self.features.iloc[chosen].groupby(self.areas[self.area[chosen]]).mean()
        return found.rename_axis("area")

    def rho(self, chosen: np.ndarray) -> float:
        """Estimate all areas out of fold from these locations."""
        features = self.means(chosen)
        known = AreaKnowledge(self.areas, features, None, Placements({"centroid": self.xy}))
        found = pd.DataFrame(np.nan, self.areas, self.deciles.columns)
        for training, test in KFold(5, shuffle=True, random_state=0).split(self.areas):
            labels = self.deciles.loc[features.index.intersection(self.areas[training])]
            query = self.areas[test]
            for images in (True, False):
                own = query[query.isin(features.index) == images]
                if len(own):
                    found.loc[own] = _predict(known, labels, own, images=images).to_numpy()
        return float(np.mean([spearmanr(found[c], self.deciles[c])[0] for c in found]))

    def design(self, chosen: np.ndarray) -> Design:
        """Learn what is known before more images are taken, from these locations."""
        features = self.means(chosen)
        every = self.features.iloc[chosen]
        areas, locations = [], []
        for outcome in self.deciles:
            actual = self.deciles.loc[features.index, outcome]
            model = RidgeCV(np.logspace(-1, 4, 11))
            score = cross_val_predict(model, features, actual, cv=5)
            columns = {"area": features.index, "outcome": outcome, "score": score}
            areas.append(pd.DataFrame({**columns, "actual_decile": actual.to_numpy()}))
            score = model.fit(features, actual).predict(every)
            columns = {"area": self.areas[self.area[chosen]], "outcome": outcome, "score": score}
            locations.append(pd.DataFrame(columns))
        return Design.fit(pd.concat(areas), pd.concat(locations), self.xy)

    def planned(self, first: np.ndarray, budget: int, design: Design) -> np.ndarray:
        """Add locations by plan."""
        counts = np.bincount(self.area[first], minlength=len(self.areas))
        free = np.bincount(self.area, minlength=len(self.areas)) - counts
        plan = plan_areas(design, counts, free, budget)
        added = []
        for area, number in plan["area"].value_counts().items():
            mine = np.flatnonzero(self.area == area)
            taken, rest = mine[np.isin(mine, first)], mine[~np.isin(mine, first)]
            rows = choose_locations(self.at[taken], self.at[rest], number)
            added.append(rest[rows])
        return np.concatenate([first, *added])


def curves(seed: int, n_areas: int) -> tuple[np.ndarray, np.ndarray]:
    """Give rho and the number of areas by size: by plan, by one that knows more, at random."""
    city = City(seed, n_areas)
    order = city.rng.permutation(len(city.area))
    first = order[:FIRST]
    designs = [city.design(each) for each in (first, order)]
    chosen = [
        [city.planned(first, size - FIRST, each) if size > FIRST else first for size in SIZES]
        for each in designs
    ]
    chosen.append([order[:size] for size in SIZES])
    rho = [[city.rho(each) for each in some] for some in chosen]
    areas = [[len(np.unique(city.area[each])) for each in some] for some in chosen]
    return np.array(rho), np.array(areas)


def needed(by_plan: np.ndarray, rho: float) -> float:
    """Interpolate how many planned locations reach a rho."""
    rising = np.maximum.accumulate(by_plan)
    return float(np.interp(rho, rising, SIZES))


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("--seeds", type=int, default=10)
    arguments.add_argument("--areas", type=int, default=300)
    add_short(arguments, seeds=1)
    given = arguments.parse_args()
    each = [curves(seed, given.areas) for seed in range(given.seeds)]
    found, areas = (np.array(part) for part in zip(*each, strict=True))
    print("| locations | by plan | variances known | at random | areas by plan | areas at random |")
    print("| --- | --- | --- | --- | --- | --- |")
    for k, size in enumerate(SIZES):
        cells = [f"{x:.3f}" for x in found[:, :, k].mean(axis=0)]
        cells += [f"{areas[:, i, k].mean():.0f}" for i in (0, 2)]
        print(f"| {size} | " + " | ".join(cells) + " |")
    rng = np.random.default_rng(0)
    for target in TARGETS:
        print(f"as good as {target} at random:")
        for i, plan in enumerate(("by plan", "variances known")):
            fewer = [target - needed(x[i], level(x[2], target)) for x in found]
            share, chosen = np.array(fewer) / target, np.array(fewer) / (target - FIRST)
            if given.short and plan == "by plan":
                what = f"locations by plan for the rho of {target} at random"
                row(what, f"{1 - share.mean():.2f}", "at random", f"{target - np.mean(fewer):.0f}")
            print(f"  {plan}: {stated(share, rng)} fewer, {stated(chosen, rng)} of those to choose")
        same = [target - needed(x[0], level(x[2], target)) for x in areas]
        print(f"  as many areas: {stated(np.array(same) / target, rng)} fewer")


def level(curve: np.ndarray, size: int) -> float:
    """Interpolate a curve."""
    return float(np.interp(size, SIZES, curve))


def stated(shares: np.ndarray, rng: np.random.Generator) -> str:
    """Write a mean over seeds with its 90% interval."""
    drawn = rng.choice(shares, (2000, len(shares))).mean(axis=1)
    low, high = np.quantile(drawn, [0.05, 0.95])
    return f"{shares.mean():.0%} ({low:.0%} to {high:.0%})"


if __name__ == "__main__":
    main()
