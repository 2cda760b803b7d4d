"""A nation through every stage: seconds, memory and bytes of each, and how they grow with areas.

    .venv/bin/python benchmarks/nation.py [--areas 33000] [--learner stack] [--keep DIR]

Areas are Voronoi cells in towns of many sizes, with 12 correlated outcomes, 12 locations an area
and simulated features. Every stage is a process of its own, called as a user calls it, so that its
memory is its own. The same is done before with a quarter of the areas: *growth* is the exponent of
the CPU time between the two, 1 where twice the areas take twice as long, 2 where four times. Then
the page is opened in Chromium, where there is one: how long until the map is there, and until it
answers a zoom. All figures are of this machine and this run; where others use it too, CPU seconds
are steadier than wall seconds.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from _process import run_verb

CHROMIUM = Path("/usr/bin/chromium")
STAGES = ("outcomes", "locations", "features", "train", "areas", "report")
OUTCOMES = 12
ZOOMED = """(id) => new Promise((done) => {
  const start = performance.now(), frame = requestAnimationFrame;
  document.getElementById(id).click();
  frame(() => frame(() => done(performance.now() - start)));
})"""
SIDE = 400_000.0  # of the nation, in metres
SETTINGS = """
name = "Nation"
seed = 1

[areas]
file = "data/boundaries.gpkg"
code = "code"
name = "name"
district = "town"

[locations]
source = "points"
file = "data/locations.parquet"
id = "id"
lat = "y"
lon = "x"
crs = "EPSG:27700"

[features]
source = "simulated"
dimension = 64
views = 2
signal = 0.3

[train]
learner = "{learner}"
"""


@dataclass(frozen=True)
class Cost:
    """What a stage took."""

    wall: float
    cpu: float
    mebibytes: float
    written: int


def main() -> None:
    """Measure a quarter and the whole, and open the page."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--areas", type=int, default=33_000)
    arguments.add_argument("--per-area", type=int, default=12)
    arguments.add_argument("--learner", default="ridge", help="as in [train]")
    arguments.add_argument("--keep", type=Path, help="a folder for the studies, kept")
    arguments.add_argument("--no-quarter", action="store_true")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = chosen.keep or Path(folder)
        quarter = {}
        if not chosen.no_quarter:
            quarter = measure(place / "quarter", max(chosen.areas // 4, 50), chosen, {})
        measure(place / "whole", chosen.areas, chosen, quarter)
        opened(place / "whole" / "report.html")


def measure(
    study: Path, areas: int, chosen: argparse.Namespace, quarter: dict[str, Cost]
) -> dict[str, Cost]:
    """Make a nation and do every stage; print the costs next to those of a quarter of it."""
    start = time.perf_counter()
    make(study, areas, chosen.per_area, chosen.learner)
    print(
        f"\n{areas:,} areas, {areas * chosen.per_area:,} locations, {OUTCOMES} outcomes "
        f"(made in {time.perf_counter() - start:.0f} s)\n\n"
        "| stage | wall s | CPU s | peak MiB | MB written | growth |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    costs = {}
    for stage in STAGES:
        cost = costs[stage] = done(stage, study)
        growth = ""
        if stage in quarter:
            growth = f"{math.log(cost.cpu / quarter[stage].cpu) / math.log(4):.2f}"
        print(
            f"| {stage} | {cost.wall:.1f} | {cost.cpu:.1f} | {cost.mebibytes:,.0f} "
            f"| {cost.written / 1e6:,.1f} | {growth} |",
            flush=True,
        )
    print()
    for name in ("predictions.parquet", "areas.parquet", "report.html"):
        print(f"{name}: {(study / name).stat().st_size / 1e6:.1f} MB")
    return costs


def done(stage: str, study: Path) -> Cost:
    """Do a stage in a process of its own."""
    before, start = size(study), time.perf_counter()
    used = run_verb(stage, study)
    return Cost(time.perf_counter() - start, *used, size(study) - before)


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def make(study: Path, areas: int, per_area: int, learner: str, seed: int = 1) -> None:
    """Write boundaries, outcomes, locations and the settings of a nation."""
    rng = np.random.default_rng(seed)
    data = study / "data"
    data.mkdir(parents=True, exist_ok=True)
    point, town = towns(areas, rng)
    cells = voronoi(point)
    codes = np.array([f"N{i:08d}" for i in range(areas)])
    names = np.array([f"Town {t:03d} {i:05d}" for i, t in enumerate(town)])
    frame = {"code": codes, "name": names, "town": [f"Town {t:03d}" for t in town]}
    boundaries = gpd.GeoDataFrame(frame, geometry=cells, crs="EPSG:27700")
    boundaries.to_file(data / "boundaries.gpkg", driver="GPKG")
    values = correlated(point, town, rng)
    table = pd.DataFrame(values, columns=[f"o{m:02d}" for m in range(OUTCOMES)])
    table.insert(0, "area", codes)
    table.to_csv(data / "outcomes.csv", index=False)
    inside(cells, codes, per_area, rng).to_parquet(data / "locations.parquet")
    text = SETTINGS.format(learner=learner)
    for name in table.columns[1:]:
        text += f'\n[outcomes.{name}]\nsource = "table"\nfile = "data/outcomes.csv"\n'
        text += 'area = "area"\n'
        text += f'value = "{name}"\ndirection = "higher-is-better"\n'
    (study / "study.toml").write_text(text, encoding="utf-8")


def towns(areas: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Give the areas' middles [areas, 2] and towns, the largest town some hundred times a small."""
    count = max(areas // 150, 3)
    share = 1 / np.arange(1, count + 1)
    town = np.sort(rng.choice(count, areas, p=share / share.sum()))
    middle = rng.uniform(0.1 * SIDE, 0.9 * SIDE, (count, 2))
    radius = 150 * np.sqrt(np.bincount(town, minlength=count))
    return middle[town] + radius[town, None] * rng.normal(size=(areas, 2)), town


def voronoi(point: np.ndarray) -> np.ndarray:
    """Give the cell of each point, no larger than a circle around it of 3 km."""
    points = shapely.points(point)
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(points)))
    cell, owner = shapely.STRtree(points).query(cells, predicate="contains")
    ordered = np.empty(len(point), object)
    ordered[owner] = cells[cell]
    return shapely.intersection(ordered, shapely.buffer(points, 3_000, quad_segs=4))


def correlated(point: np.ndarray, town: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give outcomes [areas, OUTCOMES] of three factors: of the town, of the surroundings, own."""
    wave = rng.normal(size=(2, 30)) / 4_000
    around = np.sqrt(2 / 30) * np.cos(point @ wave + rng.uniform(0, 6.28, 30))
    of_town = rng.normal(size=town.max() + 1)[town]
    factors = np.stack([of_town, *(around @ rng.normal(size=(30, 2))).T])
    own = rng.normal(size=(len(point), OUTCOMES))
    return factors.T @ rng.normal(size=(3, OUTCOMES)) + own


def inside(
    cells: np.ndarray, codes: np.ndarray, per_area: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Give locations in every cell: points between its middle and points of its border."""
    border = shapely.boundary(cells)
    along = shapely.line_interpolate_point(
        np.repeat(border, per_area), rng.random(len(cells) * per_area), normalized=True
    )
    middle = shapely.get_coordinates(shapely.centroid(cells)).repeat(per_area, axis=0)
    part = 0.95 * np.sqrt(rng.random((len(middle), 1)))
    spot = middle + part * (shapely.get_coordinates(along) - middle)
    ids = [f"L{i:07d}" for i in range(len(spot))]
    return pd.DataFrame({"id": ids, "x": spot[:, 0], "y": spot[:, 1]})


def opened(page: Path) -> None:
    """Open the page without a network; print when its map is there."""
    if not CHROMIUM.exists():
        print(f"not opened: there is no browser at {CHROMIUM}")
        return
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        print("not opened: playwright is not installed")
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True).new_page()
        tab.goto(page.as_uri())
        tab.wait_for_selector("#maps[data-drawn]", state="attached", timeout=60_000)
        drawn = tab.evaluate("performance.getEntriesByName('map-drawn')[0].startTime")
        print(f"map shown after {drawn:,.0f} ms")
        times = [tab.evaluate(ZOOMED, button) for button in ("closer", "closer", "farther")]
        print(f"zoomed within {', '.join(f'{each:,.0f}' for each in times)} ms")
        browser.close()


if __name__ == "__main__":
    main()
