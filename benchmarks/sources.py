"""What a second source of features adds to a first, on real areas.

    .venv/bin/python benchmarks/sources.py newport [--information .6] [--seeds 3]
    .venv/bin/python benchmarks/sources.py london [--outcomes income,overcrowding] [--folds 3]

Newport: segmentation shares of street images, and a made-up table by area whose information on WIMD
is known: ``information`` is its correlation with the normal scores of the areas' ranks, so that the
table alone should reach about that ρ. With 0 it is noise, which should add nothing.

London: simulated street features, and the population density that stands in the boundary file, a
real table that knows more of some outcomes than of others.

Both print what `metrics.json` has under ``outcomes.<name>.sources``, of several seeds the means.
All is made in a folder that is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from _table import add_short, row
from scipy.stats import norm, rankdata

from streetgauge.pipeline.run import run_stage
from streetgauge.progress import silent
from streetgauge.study import Study
from streetgauge.study.stages import stages_of

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
REST = """
[train]
learner = "ridge"

[folds]
k = {folds}
final = false
other_folds = false

[report]
figures = "none"
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("city", nargs="?", choices=("newport", "london"), default="newport")
    arguments.add_argument("--data", type=Path, default=DATA, help="folder of the real files")
    arguments.add_argument("--information", type=float, default=0.6)
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument("--outcomes", default="income,overcrowding")
    arguments.add_argument("--folds", type=int, default=5)
    add_short(arguments, folds=2)
    chosen = arguments.parse_args()
    if not chosen.data.is_dir():
        arguments.error(f"there is no folder {chosen.data}: name that of the real files by --data")
    make = newport if chosen.city == "newport" else london
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in range(chosen.seeds):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "study"
            place.mkdir()
            (place / "study.toml").write_text(make(place, chosen, seed), encoding="utf-8")
            for name, evaluation in run(place)["outcomes"].items():
                found.setdefault(name, []).append(evaluation["sources"])
    for name, each in found.items():
        print(line(name, each))
        if chosen.short:
            row(f"sources of {chosen.city}, Spearman's ρ", "", "", line(name, each))


def newport(place: Path, chosen: argparse.Namespace, seed: int) -> str:
    """Give the settings of Newport with a second table, and write the table."""
    labels = pd.read_csv(chosen.data / "newport" / "newport_lsoa11_labels.csv")
    score = norm.ppf(rankdata(labels["IMD_rank"]) / (len(labels) + 1))
    noise = np.random.default_rng(seed).normal(size=len(labels))
    share = chosen.information
    known = share * score / score.std() + np.sqrt(1 - share**2) * noise
    table = pd.DataFrame({"code": labels["LSOA11CD"], "known": known})
    table.to_csv(place / "table.csv", index=False)
    return settings("newport", chosen, seed).replace("[features]", "[features.segments]") + (
        '\n[features.table]\nsource = "table"\nfile = "table.csv"\narea = "code"\n'
        'columns = ["known"]\n'
    )


def london(place: Path, chosen: argparse.Namespace, seed: int) -> str:
    """Give the settings of London with a table of population density, and write the table."""
    file = chosen.data / "london" / "LSOA_2011_London_gen_MHW.zip"
    with zipfile.ZipFile(file) as archive:
        (shape,) = (name for name in archive.namelist() if name.endswith(".shp"))
    boundaries = gpd.read_file(f"zip://{file}!{shape}")
    table = pd.DataFrame(boundaries[["LSOA11CD", "POPDEN"]])
    table.to_csv(place / "density.csv", index=False)
    text = settings("london", chosen, seed)
    start = text.index("\n[features]") + 1
    end = text.find("\n[", start + 1)
    street = '[features.street]\nsource = "simulated"\nper_area = 4\nviews = 2\ndimension = 64\n'
    street += "signal = 0.1\n"
    density = '\n[features.density]\nsource = "table"\nfile = "density.csv"\narea = "LSOA11CD"\n'
    density += 'columns = ["POPDEN"]\n'
    return text[:start] + street + density + ("" if end < 0 else text[end:])


def settings(city: str, chosen: argparse.Namespace, seed: int) -> str:
    """Give an example's settings with a cheap learner, and for London some of its outcomes."""
    text = (ROOT / "examples" / city / "study.toml").read_text(encoding="utf-8")
    text = text.replace("../../../shared/data", chosen.data.as_posix())
    sections = ["", *text.replace("\n[", "\0[").split("\0")]
    wanted = chosen.outcomes.split(",") if city == "london" else None
    left = [
        each
        for each in sections
        if not each.startswith(("[train]", "[folds]", "[report]", "[evaluation"))
        and (wanted is None or not each.startswith("[outcomes.") or _outcome(each) in wanted)
    ]
    text = "\n".join(left).replace("seed = 2019", f"seed = {2019 + seed}")
    return text + REST.format(folds=chosen.folds)


def _outcome(section: str) -> str:
    return section.partition("]")[0].removeprefix("[outcomes.")


def run(place: Path) -> dict[str, Any]:
    """Do all stages but the report, and give the metrics."""
    study = Study.open(place)
    with study.locked():
        for stage in stages_of(study):
            if stage.name != "report":
                run_stage(study, stage.name, silent)
    metrics: dict[str, Any] = json.loads(study.metrics.read_text(encoding="utf-8"))
    return metrics


def line(name: str, found: list[dict[str, Any]]) -> str:
    """Put an outcome's Spearman's rho and its intervals into a line: means over the seeds."""

    def rho(*keys: str, end: str = "value") -> float:
        values: list[Any] = found
        for key in (*keys, "spearman", end):
            values = [each[key] for each in values]
        return float(np.mean(values))

    parts = [f"{each} {rho('alone', each):.2f}" for each in found[0]["alone"]]
    parts.append(f"together {rho('together'):.2f}")
    for source in found[0]["adds"]:
        text = f"{source} adds {rho('adds', source):+.2f}"
        low, high = (rho("adds", source, end=end) for end in ("low", "high"))
        parts.append(f"{text} ({low:+.2f}, {high:+.2f})")
    return f"{name} ({found[0]['n_areas']:,} areas): " + ", ".join(parts)


if __name__ == "__main__":
    main()
