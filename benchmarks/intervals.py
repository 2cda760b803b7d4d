"""Whether intervals hold what they promise, and how wide they are.

    .venv/bin/python benchmarks/intervals.py examples/newport streetgauge-demo examples/london

Reads the tables of studies that have been run, in both kinds of folds where there are two. For
each: the share of areas whose interval holds the actual decile, mean over the outcomes, with the
smallest and the largest; in how many outcomes it is short of the aim (the binomial 95% interval
of the share lies below it); the mean width in deciles, and that of intervals of one radius for
each fold and outcome, from the same errors; and of areas and locations the ranked probability
score and the calibration error of their probabilities. ``mean`` is the plain mean of an area's
locations'.
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from _table import add_short, row

from streetgauge.evaluation import (
    aggregate,
    evaluate_intervals,
    evaluate_probabilities,
    intervals,
    tested_areas,
)

HEADER = (
    "| study | folds | areas | outcomes | covered | least | most | short | width | one radius "
    "| RPS areas | RPS mean | error areas | error locations |"
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("studies", nargs="+", type=Path)
    arguments.add_argument("--level", type=float, default=0.9)
    arguments.add_argument("--classes", type=int, default=10)
    add_short(arguments)
    asked = arguments.parse_args()
    print(HEADER)
    print("| --- | --- |" + " ---: |" * 12)
    for study in asked.studies:
        for directory in (study, study / "other-folds"):
            if (directory / "predictions.parquet").is_file():
                own = "own" if directory == study else directory.name
                cells = figures_of(directory, asked.level, asked.classes)
                print(f"| {' | '.join([study.name, own, *cells])} |")
                if asked.short:
                    what = f"width of {asked.level:.0%} intervals, {own} folds"
                    ratio = f"{float(cells[6]) / float(cells[7]):.2f}"
                    row(what, ratio, "of one radius", f"{cells[6]} deciles, {cells[2]} hold")


def figures_of(directory: Path, aim: float, classes: int) -> list[str]:
    """Give the cells of a line of the table."""
    predictions = pd.read_parquet(directory / "predictions.parquet")
    made = directory / "areas.parquet"
    # Areas of a study that was run may have other rules and weights: their deciles are kept.
    areas = pd.read_parquet(made) if made.is_file() else aggregate(predictions, classes=classes)
    areas = intervals(tested_areas(areas), aim, classes)
    held, stated, plain = [], [], []
    for outcome, rows in areas.groupby("outcome"):
        frame = rows.set_index("area")
        held.append(evaluate_intervals(frame, aim, classes))
        own = predictions[predictions["outcome"] == outcome]
        stated.append(evaluate_probabilities(rows, own, classes))
        plain.append(one_radius(frame, aim, classes))
    share = [each["share"] for each in held]
    figures = [
        *(f"{x:.3f}" for x in (np.mean(share), min(share), max(share))),
        f"{sum(each['below_level'] for each in held)} of {len(held)}",
        f"{np.mean([each['mean_width'] for each in held]):.2f}",
        f"{np.mean(plain):.2f}",
        f"{mean(stated, 'areas', 'rps'):.3f}",
        f"{mean(stated, 'mean_of_locations', 'rps'):.3f}",
        f"{mean(stated, 'areas', 'calibration_error'):.3f}",
        f"{mean(stated, 'locations', 'calibration_error'):.3f}",
    ]
    return [f"{areas['area'].nunique():,}", str(len(held)), *figures]


def mean(accounts: list[dict], of: str, what: str) -> float:
    return float(np.mean([account[of][what] for account in accounts]))


def one_radius(frame: pd.DataFrame, aim: float, classes: int) -> float:
    """Mean width if all areas of a fold had the same radius: the errors' conformal quantile."""
    known = frame[frame["actual_decile"].notna() & (frame["fold"] > 0)]
    error = (known["decile"] - known["actual_decile"]).abs().to_numpy(int)
    widths = []
    for fold in known["fold"].unique():
        mine = (known["fold"] == fold).to_numpy()
        others = np.sort(error[~mine])
        needed = math.ceil((others.size + 1) * aim - 1e-9)
        radius = classes - 1 if needed > others.size else int(others[needed - 1])
        decile = known.loc[mine, "decile"].to_numpy(int)
        widths.extend(np.minimum(decile + radius, classes) - np.maximum(decile - radius, 1) + 1)
    return float(np.mean(widths))


if __name__ == "__main__":
    main()
