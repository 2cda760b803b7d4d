"""What images add to a survey, in simulated surveys: errors, and whether they are stated rightly.

    .venv/bin/python benchmarks/survey.py [--surveys 100] [--areas 200]

The true value of an area is a linear function of the images' score and an area effect; the survey
has a sampling variance that differs by area, with a mean of that of the true values. For each
correlation of score and true value it prints, as means over the surveys: the mean squared error of
the combined estimates and of areas outside the survey as shares of the survey's own, the stated
mean squared error over the true one, and how many 90% intervals hold the true value.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from _table import add_short, row

from streetgauge.analysis.survey import combine

CORRELATIONS = (0.0, 0.3, 0.5, 0.7, 0.9)


def simulated(
    seed: int, n: int, correlation: float
) -> tuple[pd.Series, pd.DataFrame, pd.DataFrame]:
    """Give true values, a survey of four fifths of the areas, and the images' scores."""
    rng = np.random.default_rng(seed)
    codes = pd.Index([f"a{i:05d}" for i in range(n)])
    score = rng.normal(size=n)
    true = correlation * score + np.sqrt(1 - correlation**2) * rng.normal(size=n)
    variance = rng.uniform(0.4, 1.6, n)
    direct = true + rng.normal(0, np.sqrt(variance))
    survey = pd.DataFrame({"direct": direct, "variance": variance}, codes)
    asked = rng.permutation(n) < n * 4 // 5
    return pd.Series(true, codes), survey[asked], pd.DataFrame({"score": score}, codes)


def figures(seed: int, n: int, correlation: float) -> list[float]:
    """Give the figures of one survey."""
    true, survey, score = simulated(seed, n, correlation)
    table = combine(survey, score)[0].set_index("area")
    error = (table["estimate"] - true.reindex(table.index)) ** 2
    both, outside = (table["from"] == name for name in ("survey and images", "images"))
    direct = ((survey["direct"] - true.reindex(survey.index)) ** 2).mean()
    held = (table["low"] <= true) & (true <= table["high"])
    return [
        error[both].mean() / direct,
        error[outside].mean() / direct,
        table["mse"][both].mean() / error[both].mean(),
        held[both].mean(),
        held[outside].mean(),
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("--surveys", type=int, default=100)
    arguments.add_argument("--areas", type=int, default=200)
    add_short(arguments, surveys=10)
    given = arguments.parse_args()
    head = ("correlation", "survey and images", "images alone, outside", "stated / true")
    print("|", " | ".join((*head, "intervals hold")), "|")
    print("| --- | --- | --- | --- | --- |")
    for correlation in CORRELATIONS:
        each = [figures(seed, given.areas, correlation) for seed in range(given.surveys)]
        both, outside, stated, held, held_outside = np.mean(each, axis=0)
        print(
            f"| {correlation:.1f} | {both:.0%} | {outside:.0%} | {stated:.2f} | "
            f"{held:.0%}, outside {held_outside:.0%} |"
        )
        if given.short:
            what = f"squared error of survey and images together, correlation {correlation:.1f}"
            row(what, f"{both:.2f}", "the survey alone", f"90% intervals hold {held:.0%}")


if __name__ == "__main__":
    main()
