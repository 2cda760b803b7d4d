"""How long it takes from predictions of a city of London's size to areas and their figures.

    .venv/bin/python benchmarks/areas.py [--small] [--rule mean-score] [--blocks]

156,581 locations in 4,835 areas and 33 districts, 12 outcomes. Timed are: locations to areas by a
rule, intervals, and the account of every outcome with 1,000 bootstrap draws: all metrics, ranked
probability score and R2, by district, deprivation and number of images, and MSOAs as a level
above. Baselines have a benchmark of their own; here only the constant and chance are measured.
All figures are of this machine and this run; peak memory is that of the whole process.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from _table import add_short, row

from streetgauge.evaluation import (
    RULES,
    EvaluationInputs,
    add_coverage,
    aggregate,
    equal_count,
    evaluate,
    intervals,
    raise_level,
)
from streetgauge.evaluation.baselines import Baselines
from streetgauge.settings import EvaluationSettings

OUTCOMES = 12


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--small", action="store_true", help="a twentieth of London")
    arguments.add_argument("--rule", choices=RULES, default="mean-score")
    arguments.add_argument("--blocks", action="store_true", help="draw blocks of 2 km, not areas")
    add_short(arguments)
    chosen = arguments.parse_args()
    areas, n = (242, 7_800) if chosen.small else (4_835, 156_581)
    predictions, about, place = city(areas, n, np.random.default_rng(0))
    blocks = {"bootstrap": "blocks", "block": 2_000.0} if chosen.blocks else {}
    settings = EvaluationSettings(rule=chosen.rule, **blocks)
    print(f"{n:,} locations in {areas:,} areas, {OUTCOMES} outcomes, {settings.draws:,} draws")
    print(f"memory before: {memory():.2f} GiB")
    start = time.perf_counter()
    frame = timed("locations to areas", lambda: aggregate(predictions, chosen.rule))
    frame = timed("images and postcodes", lambda: covered(frame, predictions))
    frame = timed("intervals", lambda: intervals(frame))
    level = timed("level above", lambda: raised(predictions, frame, about["msoa"], chosen.rule))
    found = timed(
        "metrics with intervals",
        lambda: evaluate(
            frame,
            settings,
            seed=0,
            baselines=Baselines(),
            inputs=EvaluationInputs(place, columns=about, levels={"msoa": level}),
        ),
    )
    seconds = time.perf_counter() - start
    print(f"{'in all':<26}{seconds:>7.2f} s   peak {memory():.2f} GiB")
    if chosen.short:
        what = f"evaluation of {areas:,} areas, {OUTCOMES} outcomes"
        row(what, "", "", f"{seconds:.1f} s, {memory():.1f} GiB")
    account = found["outcomes"]["o00"]
    print({name: round(each["value"], 3) for name, each in account["metrics"].items()})


def timed(name: str, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = work()
    print(f"{name:<26}{time.perf_counter() - start:>7.2f} s   peak {memory():.2f} GiB")
    return result


def memory() -> float:
    """Peak memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def covered(frame: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    own = predictions[predictions["outcome"] == "o00"][["location_id", "area"]]
    views = pd.Series(4, own["location_id"])
    frame = add_coverage(frame, own, predictions, views)
    return frame.assign(actual_value=frame["actual_decile"].astype(float) ** 1.5)


def raised(predictions: pd.DataFrame, frame: pd.DataFrame, unit: pd.Series, rule: str) -> Any:
    level = raise_level(predictions, frame, unit, rule)
    return replace(level, frame=intervals(level.frame))


def city(
    areas: int, n: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Make predictions, and the areas' districts, MSOAs and places."""
    codes = np.array([f"E01{i:06d}" for i in range(areas)])
    side = int(np.ceil(np.sqrt(areas)))
    index = pd.Index(codes, name="area")
    spot = np.arange(areas)
    place = pd.DataFrame({"x": spot % side * 600.0, "y": spot // side * 600.0}, index)
    about = pd.DataFrame(
        {
            "district": [f"Borough {i * 33 // areas:02d}" for i in range(areas)],
            "msoa": [f"E02{i // 5:06d}" for i in range(areas)],
        },
        index,
    )
    row = np.sort(rng.integers(0, areas, n))
    ids = np.array([f"L{i:06d}" for i in range(n)])
    fold = rng.integers(1, 6, areas)
    parts = []
    for m in range(OUTCOMES):
        latent = rng.normal(size=areas)
        score = latent[row] + rng.normal(0, 2, n)
        parts.append(
            pd.DataFrame(
                {
                    "location_id": ids,
                    "area": codes[row],
                    "fold": fold[row],
                    "outcome": f"o{m:02d}",
                    "score": score,
                    "decile": equal_count(score),
                    "actual_decile": pd.array(equal_count(latent)[row], dtype="Int64"),
                    **{f"p{k}": 0.1 for k in range(1, 11)},
                }
            )
        )
    return pd.concat(parts, ignore_index=True), about, place


if __name__ == "__main__":
    main()
