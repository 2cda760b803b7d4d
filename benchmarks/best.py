"""How good the best estimate is, next to images alone and to what needs no image, in given studies.

    .venv/bin/python benchmarks/best.py STUDY...

Reads metrics.json of finished studies: the sample city (`streetgauge demo --areas 300 --locations
3000`), examples/newport, or London with simulated features. For both kinds of folds it prints means
over the outcomes of the mean absolute error in deciles and of Spearman's rho, the share of areas
whose interval holds the actual decile, and the outcomes in which the best estimate is more than .02
below the better of images alone and the best method without an image in rho. `linear-and-kriging`
is what standard methods make of the same facts.

Studies of one name that differ in their seed are also put together: means over seeds and outcomes,
and differences with intervals of 90%, paired by area and seed as in benchmarks/learners.py.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _table import add_short, row
from learners import difference
from learners import figures as figures_of

from streetgauge.evaluation.aggregate import cut
from streetgauge.model.training_data import study_class_counts
from streetgauge.study import Study
from streetgauge.study.paths import FoldOutputs, other_outputs, own_outputs

METHODS = ("best", "images", "image-free", "kriging", "linear", "linear-and-kriging")


def figures(evaluation: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Give each method's mean absolute error and rho for an outcome; NaN where it has none."""
    plain = {**evaluation["baselines"], **evaluation["with_images"]}
    found = {name: (each["mae"], each["spearman"]) for name, each in plain.items()}
    for name, each in (("images", evaluation), ("best", evaluation["best"])):
        found[name] = tuple(each["metrics"][m]["value"] for m in ("mae", "spearman"))
    gain = evaluation["gain"]
    over, ranked = gain["over"], gain["over_spearman"]
    rho = 0.0 if ranked == "constant" else plain[ranked]["spearman"]
    found["image-free"] = (plain[over]["mae"], rho)
    return {
        name: tuple(np.nan if value is None else value for value in found.get(name, (None, None)))
        for name in METHODS
    }


def table(metrics: Mapping[str, Any], *, tell: bool = False) -> None:
    """Print the figures of one kind of folds."""
    outcomes = metrics["outcomes"]
    values = {name: figures(each) for name, each in outcomes.items()}
    print(f"{metrics['scheme']['description']}; means over {len(outcomes)} outcomes")
    print(f"  {'':20}{'MAE':>8}{'rho':>8}")
    for method in METHODS:
        mae, rho = np.mean([each[method] for each in values.values()], axis=0)
        print(f"  {method:20}{mae:8.3f}{rho:8.3f}")
    if tell:
        rhos = {m: np.mean([each[m][1] for each in values.values()]) for m in METHODS}
        what = f"Spearman's ρ of the best estimate, {metrics['scheme']['description']}"
        for other in ("images", "image-free", "linear-and-kriging"):
            row(what, f"{rhos['best'] / rhos[other]:.2f}", other, f"{rhos['best']:.3f}")
    for name in ("images", "best"):
        each = [
            e["intervals"] if name == "images" else e["best"]["intervals"]
            for e in outcomes.values()
        ]
        shares, widths = [i["share"] for i in each], [i["mean_width"] for i in each]
        print(
            f"  intervals of {name}: hold {min(shares):.1%} to {max(shares):.1%}, "
            f"{np.mean(widths):.2f} deciles wide"
        )
    for outcome, each in values.items():
        others = max(each["images"][1], each["image-free"][1])
        if each["best"][1] < others - 0.02:
            print(f"  {outcome}: rho {each['best'][1]:.3f}, of another {others:.3f}")


def areas_of(study: Study, files: FoldOutputs) -> dict[str, np.ndarray]:
    """Give scores, deciles and actual deciles by method, of areas with all three: [M, areas, 3]."""
    table = pd.read_parquet(files.areas).dropna(subset=["score", "actual_decile"])
    counts, classes = study_class_counts(study) or {}, study.settings.deciles.classes
    names = {"images": "score", "best": "best_score"}
    names |= {n: f"score_{n}" for n in ("network", "kernel", "ridge") if f"score_{n}" in table}
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for outcome, own in table.groupby("outcome", sort=True):
        rows = own.sort_values("area")
        for name, column in names.items():
            score = rows[column].to_numpy(float)
            decile = cut(score, classes, counts.get(str(outcome)))
            found[name].append(np.stack([score, decile, rows["actual_decile"].astype(float)], 1))
    return {name: np.stack(each) for name, each in found.items()}


def over_seeds(studies: Sequence[Study]) -> None:
    """Print means over seeds, and paired differences, of both kinds of folds."""
    seeds = ", ".join(str(study.settings.seed) for study in studies)
    print(f"\n{studies[0].settings.name}: {studies[0].settings.train.learner}, seeds {seeds}")
    for of in (own_outputs, other_outputs):
        files = [of(study) for study in studies]
        if None in files:
            continue
        each = [areas_of(study, f) for study, f in zip(studies, files, strict=True) if f]
        print(f"  {'own folds' if of is own_outputs else 'other folds':20}{'rho':>16}{'MAE':>16}")
        for name in each[0]:
            values = np.array([figures_of(one[name]) for one in each])
            columns = "".join(f"   {c.mean():.3f} +- {c.std():.3f}" for c in values.T)
            print(f"  {name:20}{columns}")
        pairs = [("images", other) for other in each[0] if other not in ("images", "best")]
        for one, other in [*pairs, ("best", "images")]:
            given = ([a[name] for a in each] for name in (one, other))
            columns = "   ".join(
                f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
                for value, low, high in difference([studies[0]] * len(each), *given).T
            )
            print(f"  {f'{one} - {other}':20}  {columns}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("studies", nargs="+", type=Path, metavar="STUDY")
    add_short(arguments)
    given = arguments.parse_args()
    named: dict[str, list[Study]] = {}
    for path in given.studies:
        study = Study.open(path)
        metrics = json.loads(study.metrics.read_text(encoding="utf-8"))
        print(
            f"\n{study.settings.name}: {study.settings.train.learner}, seed {study.settings.seed}"
        )
        for each in filter(None, (metrics, metrics.get("other_folds"))):
            table(each, tell=given.short)
        named.setdefault(study.settings.name, []).append(study)
    for studies in named.values():
        if len(studies) > 1:
            over_seeds(studies)


if __name__ == "__main__":
    main()
