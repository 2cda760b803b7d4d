"""What places alone say of real London: every baseline without an image, three ways of testing.

    .venv/bin/python benchmarks/baselines.py [--data FOLDER] [--outcomes NAME...] [--seed N]

Labels are those of the official files, cut into deciles within London; places are the boundaries'
centroids. Areas (4,835 LSOAs of 2011) are held out at random in 5 folds, in 5 folds of 5 km blocks,
and a borough at a time, by the same code as in any study. Of every method the table has the mean
absolute error in deciles and Pearson's r: of deciles cut into tenths, as everywhere in this
package, and in brackets of the plain scores, rounded for the error. Nothing is written.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from _table import add_short, row

from streetgauge.evaluation import area_coordinates
from streetgauge.evaluation.aggregate import cut
from streetgauge.evaluation.baselines import Baselines, Nearest, density, out_of_fold
from streetgauge.evaluation.metrics import confusion_matrix, measure
from streetgauge.locations import read_areas, read_locations
from streetgauge.outcomes import build_outcomes
from streetgauge.settings import FoldSettings, read_settings
from streetgauge.splits import LocationColumns, make_splits

STUDY = """
name = "London"
[areas]
file = "{data}/LSOA_2011_London_gen_MHW.zip"
code = "LSOA11CD"
name = "LSOA11NM"
district = "LAD11NM"
columns = ["AVHHOLDSZ", "POPDEN"]
[outcomes.income]
source = "income"
file = "{data}/modelled-household-income-estimates-lsoa.csv"
[outcomes.imd_2015]
source = "deprivation"
domain = "overall"
file = "{data}/File_1_ID_2015_Index_of_Multiple_Deprivation.xlsx"
[outcomes.crime]
source = "deprivation"
domain = "crime"
file = "{data}/imd2019_england_lsoa11.csv.gz"
[outcomes.environment]
source = "deprivation"
domain = "environment"
file = "{data}/imd2019_england_lsoa11.csv.gz"
[locations]
source = "directory"
file = "{data}/postcodes_london_lsoa11.csv.gz"
area = "lsoa11"
[features]
source = "simulated"
"""
SCHEMES = {
    "random areas": FoldSettings(final=False),
    "5 km blocks": FoldSettings(scheme="blocks", block=5000.0, final=False),
    "boroughs": FoldSettings(scheme="leave-one-group-out", group="district", final=False),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, default=Path("../shared/data/london"))
    arguments.add_argument("--outcomes", nargs="*", default=[], help="only these")
    arguments.add_argument("--seed", type=int, default=2019, help="of the folds")
    add_short(arguments, outcomes=["income"])
    given = arguments.parse_args()
    if not given.data.is_dir():
        arguments.error(f"there is no folder {given.data}: name that of the real files by --data")
    areas, locations, labels = read(given.data.resolve())
    places = area_coordinates(areas)
    columns = areas[["AVHHOLDSZ", "POPDEN"]].apply(pd.to_numeric)
    methods = Baselines(places, density=density(locations, areas), columns=columns)
    folds = {
        name: fold_of(areas, places, labels, each, given.seed) for name, each in SCHEMES.items()
    }
    for outcome in given.outcomes or labels.columns:
        print(f"\n{outcome}\n{'MAE / r of deciles':26}" + "".join(f"{n:>26}" for n in SCHEMES))
        rows: dict[str, list[str]] = {}
        actual = labels[outcome].astype("Int64")
        for fold in folds.values():
            frame = pd.DataFrame({"actual_decile": actual, "fold": fold})
            started = time.perf_counter()
            guesses = methods.predict(outcome, frame)
            seconds = time.perf_counter() - started
            for name, guess in guesses.items():
                rows.setdefault(name, []).append(figures(actual, guess.deciles, guess.scores))
            plain = out_of_fold(Nearest(places, weighted=False), actual, fold)
            equal = pd.Series(cut(plain.to_numpy()), actual.index)
            rows.setdefault("nearest-areas, unweighted", []).append(figures(actual, equal, plain))
            rows.setdefault("seconds of all", []).append(f"{seconds:.1f}")
        for name, cells in rows.items():
            print(f"{name:26}" + "".join(f"{cell:>26}" for cell in cells))
        if given.short:
            seconds = f"{float(rows['seconds of all'][0]):.1f} s"
            row(f"{len(rows) - 2} baselines of {len(areas):,} areas, {outcome}", "", "", seconds)


def read(data: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read areas, postcodes and deciles as any study does."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "study.toml"
        file.write_text(STUDY.format(data=data), encoding="utf-8")
        settings = read_settings(file)
    areas = read_areas(settings.areas, settings.locations)
    locations, _ = read_locations(settings.locations, areas)
    table, _, _ = build_outcomes(settings.outcomes, areas.index, settings.deciles)
    table = table.set_index("area")
    labels = pd.DataFrame({n: table[f"{n}_decile"] for n in settings.outcomes})
    return areas, locations, labels.reindex(areas.index)


def fold_of(
    areas: pd.DataFrame,
    places: pd.DataFrame,
    labels: pd.DataFrame,
    settings: FoldSettings,
    seed: int,
) -> pd.Series:
    """Give the fold in which each area is held out: every area is its own location here."""
    splits = make_splits(
        settings,
        areas.index,
        labels.astype("float64"),
        seed=seed,
        columns=LocationColumns(coordinates=places[["x", "y"]], groups=areas["district"]),
    )
    fold = pd.Series(0, areas.index)
    for split in splits:
        fold.iloc[split.test] = split.fold
    return fold


def figures(actual: pd.Series, deciles: pd.Series, scores: pd.Series) -> str:
    """Write MAE / r of the deciles, and of the scores behind them where they are on that scale."""
    found = measure(confusion_matrix(actual, deciles, 10))
    text = f"{found['mae']:.2f} / {found['pearson']:.2f}"
    if scores.max() <= 1:  # chance
        return text
    rounded = scores.clip(1, 10).round()
    plain = float((rounded - actual.astype(float)).abs().mean())
    r = np.corrcoef(scores, actual.astype(float))[0, 1] if scores.max() > scores.min() else np.nan
    return f"{text} ({plain:.2f} / {r:.2f})"


if __name__ == "__main__":
    main()
