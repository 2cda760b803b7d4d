"""How often concepts are reported that are associated with an outcome, and that are not.

    python benchmarks/concepts.py [--seeds 100] [--areas 150] [--concepts 8]

In each simulated city one concept has a correlation of .5 with the outcome and the others are
independent of it. All maps of a city are of one kind: without structure, smooth (exponential
covariance with ranges of 1.5 and 3 km, in a city of 10 km), very smooth (Gaussian covariance), a
gradient over the city with noise, or constant within 16 square districts, with noise. Printed are
the cities in which the associated concept is reported, and those in which any other is: by a t-test
that ignores distances, by the modified t-test alone, by what the package does, and by generalised
least squares that know the true covariance, where there is one: the bound of what can be found.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from _table import add_short, row
from scipy.stats import false_discovery_control, t

from streetgauge.evaluation import Draws, associations, worst_and_best
from streetgauge.evaluation.concepts import FALSE_DISCOVERY_RATE
from streetgauge.evaluation.effective_size import count_effective, p_values

KINDS = ("independent", "smooth, 1.5 km", "smooth, 3 km", "very smooth", "gradient", "districts")
FEW = Draws(draws=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--areas", type=int, default=150)
    parser.add_argument("--concepts", type=int, default=8)
    add_short(parser, seeds=5, areas=80)
    args = parser.parse_args()
    for kind in KINDS:
        counts: dict[str, list[int]] = {}
        for seed in range(args.seeds):
            rng = np.random.default_rng(seed)
            xy = rng.uniform(0, 10_000, (args.areas, 2))
            maps, covariance = make_maps(rng, xy, kind, args.concepts + 1)
            outcome, concepts = maps[:, 0], maps[:, 1:]
            concepts[:, 0] = 0.5 * outcome + np.sqrt(0.75) * concepts[:, 0]
            decile = outcome.argsort().argsort() * 10 // args.areas + 1
            for method, found in reported(xy, concepts, decile, covariance).items():
                both = counts.setdefault(method, [0, 0])
                both[0] += bool(found[0])
                both[1] += bool(found[1:].any())
        line = "; ".join(f"{name} {hits} and {false}" for name, (hits, false) in counts.items())
        print(f"{kind}: {line}", flush=True)
        if args.short:
            about = f"cities of {args.seeds} with the associated concept, with any other: {kind}"
            row(about, "", "", line)


def make_maps(
    rng: np.random.Generator, xy: np.ndarray, kind: str, count: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Draw maps of a kind, and give their covariance where they have one."""
    noise = rng.standard_normal((len(xy), count))
    if kind == "gradient":
        towards = rng.uniform(0, 2 * np.pi, count)
        across = (xy - 5_000) / 2_900
        slope = across[:, :1] * np.cos(towards) + across[:, 1:] * np.sin(towards)
        return slope + 0.5 * noise, None
    if kind == "districts":
        cell = (xy // 2_500).astype(int) @ [4, 1]
        return rng.standard_normal((16, count))[cell] + 0.6 * noise, None
    distance = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1))
    covariance = {
        "independent": np.eye(len(xy)),
        "smooth, 1.5 km": np.exp(-distance / 1_500),
        "smooth, 3 km": np.exp(-distance / 3_000),
        "very smooth": np.exp(-((distance / 1_500) ** 2)),
    }[kind] + 1e-6 * np.eye(len(xy))
    return np.linalg.cholesky(covariance) @ noise, covariance


def reported(
    xy: np.ndarray, concepts: np.ndarray, decile: np.ndarray, covariance: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Find which concepts each method reports."""
    index = pd.Index([f"A{i:04d}" for i in range(len(xy))], name="area")
    where = pd.DataFrame(xy, index, ["x", "y"])
    frame = pd.DataFrame(concepts, index).add_prefix("c")
    table = associations(frame, pd.DataFrame({"o": decile}, index), coordinates=where, draws=FEW)
    own = table.set_index("concept")["reported"].reindex(frame.columns).to_numpy(bool)
    worst, best = (end.to_numpy() for end in worst_and_best(pd.Series(decile)))
    contrast = best / best.sum() - worst / worst.sum()
    scaled = (concepts - concepts.mean(axis=0)) / concepts.std(axis=0)
    plain, n = contrast @ scaled, len(xy)
    ignoring = p_values(plain, contrast, count_effective(scaled, contrast, None), n)
    modified = p_values(plain, contrast, count_effective(scaled, contrast, where), n)
    found = {
        "distances ignored": false_discovery_control(ignoring) <= FALSE_DISCOVERY_RATE,
        "modified t-test": false_discovery_control(modified) <= FALSE_DISCOVERY_RATE,
        "streetgauge": own,
    }
    if covariance is not None:
        known = with_covariance(concepts, worst, best, covariance)
        found["true covariance"] = false_discovery_control(known) <= FALSE_DISCOVERY_RATE
    return found


def with_covariance(
    concepts: np.ndarray, worst: np.ndarray, best: np.ndarray, covariance: np.ndarray
) -> np.ndarray:
    """Test by generalised least squares with the true covariance."""
    factor = np.linalg.cholesky(covariance)
    model = np.column_stack([np.ones(len(worst)), worst, best]).astype(float)
    x, y = np.linalg.solve(factor, model), np.linalg.solve(factor, concepts)
    inverse, contrast = np.linalg.inv(x.T @ x), np.array([0, -1, 1])
    coefficients = inverse @ x.T @ y
    freedom = len(worst) - 3
    variance = ((y - x @ coefficients) ** 2).sum(axis=0) / freedom
    error = np.sqrt(variance * (contrast @ inverse @ contrast))
    return 2 * t.sf(np.abs(contrast @ coefficients / error), freedom)


if __name__ == "__main__":
    main()
