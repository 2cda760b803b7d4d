"""How fast a large raster is sampled, and in how much memory.

    python benchmarks/raster.py [--bands 64] [--side 6000] [--interleave pixel]

A GeoTIFF of random int8 pixels of 10 m, deflated in tiles of 512, is made in a temporary folder
and removed at the end: 2.3 GB at the defaults. Another process then samples 100,000 points in 30
towns, and averages over their 30 x 100 areas; its time and its peak memory are printed.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
from _table import add_short, row
from rasterio.transform import from_origin
from rasterio.windows import Window
from shapely.geometry import box

from streetgauge.features import sample_raster
from streetgauge.settings import RasterFeatures

WEST, NORTH, PIXEL, TILE = 400_000.0, 400_000.0, 10.0, 512
SYSTEM = "EPSG:27700"
TOWNS, POINTS, ACROSS = 30, 100_000, 10  # 10 x 10 areas a town, of 300 m


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bands", type=int, default=64)
    parser.add_argument("--side", type=int, default=6000, help="pixels")
    parser.add_argument("--interleave", choices=["pixel", "band"], default="pixel")
    parser.add_argument("--sample", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--by", help=argparse.SUPPRESS)
    add_short(parser, bands=8, side=1500)
    args = parser.parse_args()
    if args.sample:
        sample(args.sample, args.side, args.by, tell=args.short)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "region.tif"
        start = time.perf_counter()
        write(file, args.bands, args.side, args.interleave)
        size = file.stat().st_size / 1e9
        print(f"{args.bands} bands, {args.side:,} x {args.side:,} pixels, {size:.2f} GB,", end=" ")
        print(f"written in {time.perf_counter() - start:.0f} s")
        for by in ("locations", "areas"):
            command = [sys.executable, __file__, *["--short"] * args.short]
            command += ["--side", str(args.side), "--by", by, "--sample", str(file)]
            subprocess.run(command, check=True)


def write(file: Path, bands: int, side: int, interleave: str) -> None:
    """Write random pixels, a tile at a time."""
    rng = np.random.default_rng(0)
    with rasterio.open(
        *(file, "w"),
        driver="GTiff",
        count=bands,
        height=side,
        width=side,
        dtype="int8",
        crs=SYSTEM,
        transform=from_origin(WEST, NORTH, PIXEL, PIXEL),
        tiled=True,
        blockxsize=TILE,
        blockysize=TILE,
        interleave=interleave,
        compress="deflate",
        zlevel=1,
        nodata=-128,
        bigtiff="yes",
    ) as raster:
        for top in range(0, side, TILE):
            for left in range(0, side, TILE):
                shape = (min(TILE, side - top), min(TILE, side - left))
                pixels = rng.integers(-127, 128, (bands, *shape), dtype=np.int8)
                raster.write(pixels, window=Window(left, top, shape[1], shape[0]))


def sample(file: Path, side: int, by: str, *, tell: bool) -> None:
    """Sample the raster, and print how long that took and how much memory it needed."""
    rng = np.random.default_rng(1)
    centres = rng.uniform(2000, side * PIXEL - 2000, (TOWNS, 2))
    town = rng.integers(0, TOWNS, POINTS)
    offsets = rng.uniform(-1500, 1500, (POINTS, 2))
    points = centres[town] + offsets
    position = (np.floor((offsets + 1500) / 300)).clip(0, ACROSS - 1).astype(int)
    codes = [f"{t:02}-{i}-{j}" for t, (i, j) in zip(town, position, strict=True)]
    places = gpd.GeoSeries.from_xy(WEST + points[:, 0], NORTH - points[:, 1], crs=SYSTEM)
    degrees = places.to_crs("EPSG:4326")
    frame = pd.DataFrame({"location_id": np.arange(POINTS).astype(str), "area": codes})
    locations = frame.assign(lat=degrees.y.to_numpy(), lon=degrees.x.to_numpy())
    boxes = {
        f"{t:02}-{i}-{j}": box(x, y - 300, x + 300, y)
        for t, centre in enumerate(centres)
        for i in range(ACROSS)
        for j in range(ACROSS)
        for x in [WEST + centre[0] - 1500 + 300 * i]
        for y in [NORTH - centre[1] + 1500 - 300 * j]
    }
    areas = gpd.GeoDataFrame(geometry=list(boxes.values()), index=list(boxes), crs=SYSTEM)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.perf_counter()
    settings = RasterFeatures(source="raster", file=file, sample=by)
    found = sample_raster(settings, locations, areas=areas)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{POINTS:,} {by if by == 'locations' else 'locations by 3,000 areas'}:", end=" ")
    print(f"{seconds:.1f} s, {peak:.2f} GiB at most ({before:.2f} before);", end=" ")
    print(f"{int(found.done.sum()):,} have values, mean {found.values[found.done].mean():+.4f}")
    if tell:
        row(
            f"a raster of {found.values.shape[1]} bands at {POINTS:,} points, by {by}",
            "",
            "",
            f"{seconds:.1f} s, {peak:.2f} GiB",
        )


if __name__ == "__main__":
    main()
