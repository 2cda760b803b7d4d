"""How fast official files become labels of locations, beside the plain pandas way.

    .venv/bin/python benchmarks/outcomes.py [--part london|directory] [--rows 2600000]

London: 12 outcomes of its 4,835 areas, 331,264 postcodes joined to them, and the same postcodes
placed by their coordinates, from the real files that examples/london names (left out where they are
not there).

Directory: an ONS Postcode Directory of full size is made up in a temporary folder. Its rows of
4,835 areas are filtered, cleaned and joined to 12 deciles: by this package, by pandas reading the
whole file, and by pandas reading only the columns needed. Each way runs in a process of its own and
must give the same table. All figures are of this machine and this run.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
from _table import add_short, row

from streetgauge.locations import read_areas, read_locations
from streetgauge.locations.directory import survey_directory
from streetgauge.locations.layouts import LAYOUTS
from streetgauge.outcomes import build_outcomes
from streetgauge.settings import (
    DirectoryLocations,
    PointLocations,
    input_files,
    read_settings,
)

ROOT = Path(__file__).resolve().parents[1]
AREAS_OF_UK, AREAS_OF_STUDY, OUTCOMES = 42_000, 4_835, 12
KEPT = ["location_id", "postcode", "lat", "lon", "oa", "lsoa", "msoa", "area"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--part", choices=["london", "directory", "both"], default="both")
    arguments.add_argument("--rows", type=int, default=2_600_000)
    arguments.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    add_short(arguments, part="directory", rows=300_000)
    given = arguments.parse_args()
    if given.way:
        print(json.dumps(measured(WAYS[given.way], given.folder)))
        return
    if given.part != "directory":
        report_london()
    if given.part != "london":
        with tempfile.TemporaryDirectory() as folder:
            report_directory(Path(folder), given.rows, tell=given.short)


def measured(way: Callable[[Path], Any], folder: Path) -> dict[str, Any]:
    """Run one way; seconds without imports, and the process's highest memory with them."""
    start = time.perf_counter()
    said = way(folder)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if isinstance(said, pd.DataFrame):
        said.to_parquet(folder / "result.parquet")
        said = {"rows": len(said)}
    return {"seconds": seconds, "peak_mb": peak, **said}


def in_own_process(way: str, folder: Path) -> dict[str, Any]:
    """Measure a way in a new process.

    Linux counts the memory of the process that starts another as the other's own, so this one
    must stay small: the directory is made up in a process of its own as well.
    """
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measures


# --- London ---------------------------------------------------------------------------------------


def report_london() -> None:
    """Print how long the real files of London take."""
    study = read_settings(ROOT / "examples/london/study.toml")
    absent = [path for _, path in input_files(study) if not path.exists()]
    if absent:
        print(f"London: left out, there is no {absent[0]}")
        return
    said = in_own_process("london", ROOT / "examples/london")
    print(f"London: {said['outcomes']} outcomes, {said['postcodes']:,} postcodes")
    print(f"  areas and boundaries           {said['read_areas']:6.2f} s  {said['areas']:,} areas")
    print(f"  outcomes and their deciles     {said['build']:6.2f} s  {said['cells']:,} deciles")
    print(f"  postcodes joined to deciles    {said['join']:6.2f} s  {said['joined']:,} joined")
    print(f"  postcodes placed by boundaries {said['place']:6.2f} s  {said['placed']:,} placed")
    print(f"  all of it                      {said['seconds']:6.2f} s  {said['peak_mb']:,.0f} MB")


def london(folder: Path) -> dict[str, Any]:
    """Read outcomes, areas and postcodes of London; join them, and place the postcodes anew."""
    study = read_settings(folder / "study.toml")
    assert isinstance(study.locations, DirectoryLocations)
    clock = [time.perf_counter()]
    areas = read_areas(study.areas, study.locations)
    clock.append(time.perf_counter())
    outcomes, _, _ = build_outcomes(study.outcomes, areas.index)
    clock.append(time.perf_counter())
    postcodes, _ = read_locations(study.locations, areas)
    joined = postcodes.merge(outcomes, on="area", validate="many_to_one")
    clock.append(time.perf_counter())
    points = PointLocations(source="points", file=study.locations.file, id="pcds", lon="long")
    placed, _ = read_locations(points, areas)
    clock.append(time.perf_counter())
    steps = dict(zip(["read_areas", "build", "join", "place"], np.diff(clock), strict=True))
    deciles = outcomes.filter(like="_decile")
    return {
        **{name: float(seconds) for name, seconds in steps.items()},
        "areas": len(areas),
        "outcomes": len(study.outcomes),
        "cells": int(deciles.notna().to_numpy().sum()),
        "postcodes": len(postcodes),
        "joined": int(joined["area"].notna().sum()),
        "placed": len(placed),
    }


# --- a full directory -----------------------------------------------------------------------------


def report_directory(folder: Path, rows: int, *, tell: bool = False) -> None:
    """Print how long a full directory takes in each way, and whether they agree."""
    (folder / "rows").write_text(str(rows))
    made = in_own_process("make", folder)["seconds"]
    size = (folder / "directory.csv").stat().st_size / 1e9
    print(f"Directory: {rows:,} rows x 53 columns, {size:.2f} GB, made up in {made:.0f} s")
    print("  way                            seconds   peak MB   rows kept   times slower")
    results, first = {}, None
    for way, title in {
        "streetgauge": "streetgauge",
        "pandas": "pandas, whole file",
        "pandas-columns": "pandas, columns needed",
    }.items():
        results[way] = said = in_own_process(way, folder)
        frame = pd.read_parquet(folder / "result.parquet")
        first = frame if first is None else first
        pd.testing.assert_frame_equal(frame, first)
        ratio = said["seconds"] / results["streetgauge"]["seconds"]
        print(
            f"  {title:29} {said['seconds']:8.2f}  {said['peak_mb']:8,.0f}   {said['rows']:9,}   "
            f"{ratio:12.1f}"
        )
        if tell and way != "streetgauge":
            figure = f"{results['streetgauge']['seconds']:.2f} s"
            row(f"a postcode directory of {rows:,} rows", f"{ratio:.1f}", title, figure)
    said = in_own_process("survey", folder)
    print(
        f"  districts of {said['areas']:,} areas {said['seconds']:15.2f}  {said['peak_mb']:8,.0f}"
    )


def make_directory(folder: Path) -> dict[str, Any]:
    """Write a directory in the layout of November 2025, and deciles of some of its areas."""
    rows = int((folder / "rows").read_text())
    header = LAYOUTS["ONSPD from November 2025"]
    assert len(header) == 53
    rng = np.random.default_rng(0)
    with (folder / "directory.csv").open("wb") as file:
        for start in range(0, rows, 200_000):
            columns = _block(np.arange(start, min(start + 200_000, rows)), rows, header, rng)
            options = pacsv.WriteOptions(include_header=start == 0)
            pacsv.write_csv(pa.table(columns), file, options)
    areas = _codes("E01", np.arange(AREAS_OF_UK))[:: AREAS_OF_UK // AREAS_OF_STUDY]
    deciles = {f"outcome{n}_decile": rng.integers(1, 11, len(areas)) for n in range(OUTCOMES)}
    pd.DataFrame({"area": areas, **deciles}).to_parquet(folder / "outcomes.parquet")
    return {"rows": rows}


def _block(
    number: np.ndarray[Any, Any], rows: int, header: tuple[str, ...], rng: np.random.Generator
) -> dict[str, np.ndarray[Any, Any]]:
    letters = np.array(list("ABDEFGHJLNPQRSTUWXYZ"))
    town, rest = number // 396_000, number % 396_000
    outward = np.char.add(letters[town % 20], letters[town * 7 % 20])
    outward = np.char.add(outward, (rest // 4_000 + 1).astype("U2"))
    inward = np.char.add((rest // 400 % 10).astype("U1"), letters[rest // 20 % 20])
    inward = np.char.add(inward, letters[rest % 20])
    area = number * AREAS_OF_UK // rows
    island = rng.random(len(number)) < 0.005  # no area and no coordinates
    nowhere = island | (rng.random(len(number)) < 0.01)
    known = {
        "pcd7": np.char.add(np.char.ljust(outward, 4), inward),
        "pcd8": np.char.add(np.char.ljust(outward, 5), inward),
        "pcds": np.char.add(np.char.add(outward, " "), inward),
        "dointr": np.full(len(number), "198001"),
        "doterm": np.where(rng.random(len(number)) < 1 / 3, "200606", ""),
        "lat": np.where(nowhere, 99.999999, np.round(50 + 8 * rng.random(len(number)), 6)),
        "long": np.where(nowhere, 0.0, np.round(-5 + 6 * rng.random(len(number)), 6)),
        "imd20ind": rng.integers(1, 32_845, len(number)),
        "east1m": rng.integers(100_000, 600_000, len(number)).astype("U6"),
        "north1m": np.char.zfill(rng.integers(10_000, 900_000, len(number)).astype("U6"), 7),
        "lad25cd": _codes("E07", area // 130, island),
    }
    coarse = _codes("E10", number // 5_000, island)
    sizes = {"oa": ("E00", number // 12), "lsoa": ("E01", area), "msoa": ("E02", area // 5)}
    for kind, (prefix, numbers) in sizes.items():
        known |= {f"{kind}{year}cd": _codes(prefix, numbers, island) for year in ("01", "11", "21")}
    digits = {name: np.full(len(number), "1") for name in header if name.endswith("ind")}
    return {name: known.get(name, digits.get(name, coarse)) for name in header}


def _codes(
    prefix: str, number: np.ndarray[Any, Any], island: np.ndarray[Any, Any] | None = None
) -> np.ndarray[Any, Any]:
    codes = np.char.add(prefix, np.char.zfill(number.astype("U6"), 6))
    return codes if island is None else np.where(island, "M99999999", codes)


def by_streetgauge(folder: Path) -> pd.DataFrame:
    """Filter and join with this package."""
    outcomes = pd.read_parquet(folder / "outcomes.parquet")
    settings = DirectoryLocations(
        source="directory", file=folder / "directory.csv", area="lsoa11", live_only=True
    )
    areas = outcomes[["area"]].set_index("area").sort_index()
    locations, _ = read_locations(settings, areas)
    return _joined(locations, outcomes)


def by_pandas(folder: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Filter and join as one would with pandas alone."""
    outcomes = pd.read_parquet(folder / "outcomes.parquet")
    frame = pd.read_csv(
        folder / "directory.csv", usecols=columns, dtype={"doterm": "str"}, low_memory=False
    )
    frame["location_id"] = frame["pcds"].str.replace(" ", "").str.upper()
    frame = frame[frame["lsoa11cd"].isin(outcomes["area"])]
    assert not frame["location_id"].duplicated().any()
    frame = frame[frame["doterm"].isna()]
    none = frame["lat"].isna() | (frame["lat"] > 99) | ((frame["lat"] == 0) & (frame["long"] == 0))
    frame.loc[none, ["lat", "long"]] = np.nan
    names = {"lat": "lat", "long": "lon", "oa11cd": "oa", "lsoa11cd": "lsoa", "msoa11cd": "msoa"}
    frame = frame.rename(columns=names)
    for kind in ("oa", "lsoa", "msoa"):
        frame[kind] = frame[kind].mask(frame[kind].str.endswith("99999999"))
    frame["area"] = frame["lsoa"]
    frame["postcode"] = frame["location_id"].str[:-3] + " " + frame["location_id"].str[-3:]
    frame = frame.sort_values("location_id", ignore_index=True)
    return _joined(frame[KEPT], outcomes)


def by_pandas_columns(folder: Path) -> pd.DataFrame:
    """Do the same with a fraction of the columns."""
    return by_pandas(folder, ["pcds", "doterm", "lat", "long", "oa11cd", "lsoa11cd", "msoa11cd"])


def _joined(locations: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    joined = locations.merge(outcomes, on="area", validate="many_to_one")
    joined.attrs = {}
    return joined


def survey(folder: Path) -> dict[str, Any]:
    """Ask which district each area lies in, as a study's place does."""
    settings = DirectoryLocations(source="directory", file=folder / "directory.csv", area="lsoa11")
    return {"areas": len(survey_directory(settings))}


WAYS: dict[str, Callable[[Path], Any]] = {
    "streetgauge": by_streetgauge,
    "pandas": by_pandas,
    "pandas-columns": by_pandas_columns,
    "make": make_directory,
    "survey": survey,
    "london": london,
}

if __name__ == "__main__":
    main()
