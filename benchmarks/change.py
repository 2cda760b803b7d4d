"""How well `streetgauge change` finds changes that are planted, and what it flags without any.

    .venv/bin/python benchmarks/change.py [--seeds 10] [--areas 200] [--signal 0.5]

The areas of the sample city with their five outcomes, and simulated features of two years: ten
locations an area, four views. In the second year camera, season and light are others. Once 20% of
the areas are two deciles better or worse off in each outcome, once none is. Printed are, for each
signal, as means over seeds and outcomes: Spearman's rho of the first year; the AUC of
|change / standard error| for planted change; how many of the changed areas are flagged; the share
of flagged areas that have not changed; how many intervals hold the true change; the change that is
stated as detectable; and without any change how many areas are flagged, with the highest of all.

    .venv/bin/python benchmarks/change.py --images [--seeds 1] [--areas 100]

draws the images of both years of the sample city and runs both studies on them. Income has changed
by two deciles in 20% of the areas, and other outcomes by what goes with it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from _table import add_short, row
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from streetgauge.pipeline.change import study_change
from streetgauge.pipeline.run import run_stage
from streetgauge.progress import silent
from streetgauge.study import Study
from streetgauge.synthetic import OUTCOMES, LatentModel, change_deciles, make_city
from streetgauge.synthetic.chance import generator
from streetgauge.synthetic.city import _dissolve, _truth
from streetgauge.synthetic.plan import draw_plan, place_locations

STUDY = """
name = "year {year}"
seed = {seed}

[areas]
file = "../areas.csv"
code = "area"

{outcomes}
[locations]
source = "table"
file = "../places.csv"
area = "area"

[features]
source = "simulated"
dimension = 128
signal = {signal}
year = {year}
changed = {changed}

[folds]
other_folds = false
final = false

[train]
learner = "{learner}"

[evaluation]
draws = 100
"""
OUTCOME = """
[outcomes.{name}]
source = "table"
file = "../outcomes.csv"
area = "area"
value = "{name}"
direction = "higher-is-better"
"""


def write_city(folder: Path, seed: int, n_areas: int) -> None:
    """Write the areas, outcomes and locations of a sample city."""
    plan = draw_plan(generator(seed, "plan"), n_areas)
    areas = _dissolve(plan)
    places, _ = place_locations(generator(seed, "locations"), plan, 10 * n_areas, 0)
    _, outcomes = _truth(generator(seed, "truth"), areas, LatentModel())
    pd.DataFrame({"area": areas.index}).to_csv(folder / "areas.csv", index=False)
    outcomes.rename_axis("area").to_csv(folder / "outcomes.csv")
    columns = ["location_id", "lat", "lon", "area"]
    places[columns].to_csv(folder / "places.csv", index=False)


def study(folder: Path, until: str, **given: object) -> Study:
    """Write a study and run it up to a stage."""
    folder.mkdir()
    text = "".join(OUTCOME.format(name=name) for name in OUTCOMES)
    (folder / "study.toml").write_text(STUDY.format(outcomes=text, **given))
    return run_until(Study.open(folder), until)


def run_until(made: Study, last: str) -> Study:
    """Run the stages of a study up to this one."""
    for stage in ("outcomes", "locations", "features", "train", "areas"):
        run_stage(made, stage, silent)
        if stage == last:
            break
    return made


def truth(first: Study) -> pd.DataFrame:
    """Give the planted change of every area and outcome."""
    table = pd.read_parquet(first.outcomes).set_index("area")
    deciles = table[[f"{name}_decile" for name in OUTCOMES]].set_axis([*OUTCOMES], axis=1)
    deciles = deciles.astype(float)
    return change_deciles(deciles, deciles.index, share=0.2, seed=first.settings.seed) - deciles


def figures(seed: int, n_areas: int, signal: float, learner: str) -> list[list[float]]:
    """Give the figures of each outcome of one city."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_city(folder, seed, n_areas)
        given = {"seed": seed, "signal": signal, "learner": learner}
        first = study(folder / "first", "areas", year=1, changed=0, **given)
        tables = []
        for changed in (0.2, 0.0):
            second = study(folder / str(changed), "features", year=2, changed=changed, **given)
            result = study_change(first, second)
            tables.append(pd.read_parquet(first.change))
            if changed:
                about = result["outcomes"]
        areas, planted, rows = pd.read_parquet(first.areas), truth(first), []
        for outcome in about if all(about.values()) else ():
            own = areas[areas["outcome"] == outcome]
            found, none = (t[t["outcome"] == outcome] for t in tables)
            true = planted.loc[found["area"], outcome].to_numpy()
            score = (found["change"] / found["standard_error"]).abs()
            flagged = found["flagged"].to_numpy()
            rows.append(
                [
                    spearmanr(own["score"], own["actual_decile"].astype(float))[0],
                    roc_auc_score(true != 0, score),
                    flagged[true != 0].mean(),
                    (flagged & (true == 0)).sum() / max(flagged.sum(), 1),
                    ((found["low"] <= true) & (true <= found["high"])).mean(),
                    about[outcome]["detectable"],
                    none["flagged"].mean(),
                ]
            )
        return rows


def drawn(seed: int, n_areas: int) -> dict[str, list[float]]:
    """Give the figures of each outcome of one city whose images are drawn."""
    with tempfile.TemporaryDirectory() as name:
        studies, truths = [], []
        for year, last in ((1, "areas"), (2, "features")):
            place = Path(name) / str(year)
            city = make_city(place, seed=seed, n_areas=n_areas, n_locations=8 * n_areas, year=year)
            file = place / "study.toml"
            text = file.read_text().replace("k = 5", "k = 5\nother_folds = false\nfinal = false")
            file.write_text(text + "draws = 100\n\n[train]\nlearner = 'kernel'\n")
            studies.append(run_until(Study.open(place), last))
            truths.append(city.outcomes)
        first = studies[0]
        result = study_change(*studies)
        table, areas = pd.read_parquet(first.change), pd.read_parquet(first.areas)
    changed = (truths[1] != truths[0]).any(axis=1)
    rows = {}
    for outcome, own in areas.groupby("outcome"):
        rho = spearmanr(own["score"], own["actual_decile"].astype(float))[0]
        found = table[table["outcome"] == outcome].set_index("area")
        if found.empty:
            rows[outcome] = [rho, *[np.nan] * 4]
            continue
        real, score = changed[found.index], (found["change"] / found["standard_error"]).abs()
        rows[outcome] = [
            rho,
            roc_auc_score(real, score),
            found["flagged"][real].mean(),
            found["flagged"][~real].mean(),
            result["outcomes"][outcome]["detectable"],
        ]
    return rows


def print_drawn(seeds: int, n_areas: int) -> None:
    """Print the figures of cities whose images are drawn."""
    each = [drawn(seed, n_areas) for seed in range(seeds)]
    head = ("outcome", "rho", "AUC", "changed areas flagged", "others flagged", "detectable")
    print("|", " | ".join(head), "|")
    print("| ---" * len(head), "|")
    for outcome in each[0]:
        rho, auc, found, false, size = np.mean([rows[outcome] for rows in each], axis=0)
        print(f"| {outcome} | {rho:.2f} | {auc:.2f} | {found:.0%} | {false:.2%} | {size:.1f} |")


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("--seeds", type=int, default=10)
    arguments.add_argument("--areas", type=int, default=200)
    arguments.add_argument("--signal", type=float, nargs="+", default=[0.2, 0.35, 0.5, 0.7])
    arguments.add_argument("--learner", default="kernel")
    arguments.add_argument("--images", action="store_true")
    add_short(arguments, seeds=1, areas=60, signal=[0.5])
    given = arguments.parse_args()
    if given.images:
        print_drawn(given.seeds, given.areas)
        return
    head = ("signal", "rho", "AUC (lowest)", "changed areas flagged", "false among flagged")
    head += ("90% intervals hold", "detectable", "flagged without change (highest)")
    print("|", " | ".join(head), "|")
    print("| ---" * len(head), "|")
    for signal in given.signal:
        each = [figures(s, given.areas, signal, given.learner) for s in range(given.seeds)]
        every = np.array([row for rows in each for row in rows])
        rho, auc, found, false, held, size, none = every.mean(axis=0)
        if given.short:
            words = f"AUC {auc:.2f}, {found:.0%} of the changed areas flagged, {none:.1%} without"
            row(f"change of two deciles, signal {signal:g}", "", "", words)
        by_seed = np.array([np.mean(rows, axis=0)[1] for rows in each])
        print(
            f"| {signal:g} | {rho:.2f} | {auc:.2f} ({by_seed.min():.2f}) | {found:.0%} | "
            f"{false:.1%} | {held:.0%} | {size:.1f} | {none:.2%} ({every[:, 6].max():.1%}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
