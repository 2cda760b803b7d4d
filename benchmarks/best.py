"""How good the best estimate is, next to images alone and to what needs no image, in given studies.

    .venv/bin/python benchmarks/best.py STUDY...

Reads metrics.json of finished studies: the sample city (`streetgauge demo`), examples/newport, or
London with simulated features. For both kinds of folds it prints means over the outcomes of the
mean absolute error in deciles and of Spearman's rho, the share of areas whose interval holds the
actual decile, and the outcomes in which the best estimate is more than .02 below the better of
images alone and the best method without an image in rho. `linear-and-kriging` is what standard
methods make of the same facts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from streetgauge.study import Study

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


def table(metrics: Mapping[str, Any]) -> None:
    """Print the figures of one kind of folds."""
    outcomes = metrics["outcomes"]
    values = {name: figures(each) for name, each in outcomes.items()}
    print(f"{metrics['scheme']['description']}; means over {len(outcomes)} outcomes")
    print(f"  {'':20}{'MAE':>8}{'rho':>8}")
    for method in METHODS:
        mae, rho = np.mean([each[method] for each in values.values()], axis=0)
        print(f"  {method:20}{mae:8.3f}{rho:8.3f}")
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


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("studies", nargs="+", type=Path, metavar="STUDY")
    for path in arguments.parse_args().studies:
        study = Study.open(path)
        metrics = json.loads(study.metrics.read_text(encoding="utf-8"))
        print(
            f"\n{study.settings.name}: {study.settings.train.learner}, seed {study.settings.seed}"
        )
        for each in filter(None, (metrics, metrics.get("other_folds"))):
            table(each)


if __name__ == "__main__":
    main()
