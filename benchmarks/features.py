"""Pictures a second of a backbone: from JPEG files to the store, and what bounds it.

    python benchmarks/features.py [--pictures 400] [--size 640] [--repeats 2]

Three figures, each the best of some repeats, all in one run on one machine:

- bare model: prepared pictures that are in memory already, on all cores; no disk, no decoding;
- store: `extract_pictures`, from JPEG files to a finished feature store, all included;
- plain loop: one picture after the other with Pillow, then batches of 32 through the unchanged
  torch module in float32, as it is usually written; nothing is stored.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from streetgauge.devices import working_threads
from streetgauge.features import extract_pictures, get_backbone, load_network, prepare
from streetgauge.features.backbones import weights_file
from streetgauge.features.efficientnet import EfficientNetLite0
from streetgauge.imagery import read_picture

VIEWS = ("a", "b", "c", "d")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=400, help="rounded down to locations of 4")
    parser.add_argument("--size", type=int, default=640, help="side of the JPEG files in pixels")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        views = paint(Path(folder), max(1, args.pictures // 4), args.size, args.seed)
        jobs: dict[str, Callable[[], None]] = {
            "bare model": bare(views),
            "store": lambda: to_store(views, Path(folder)),
            "plain loop": plain(views),
        }
        rates = {}
        for name, job in jobs.items():
            job()  # warm: files in the page cache, libraries loaded
            rates[name] = len(views) / min(timed(job) for _ in range(args.repeats))
    print(f"{len(views)} JPEG files of {args.size} px, efficientnet-lite0, float32")
    print(f"{os.cpu_count()} cores ({platform.machine()}), torch {torch.__version__}")
    for name, rate in rates.items():
        print(f"{name:12} {rate:8.1f} pictures/s   {rate / rates['plain loop']:5.2f} x plain loop")
    print(f"store / bare model: {rates['store'] / rates['bare model']:.2f}")


def paint(folder: Path, locations: int, size: int, seed: int) -> pd.DataFrame:
    """Make pictures with edges and texture, so that decoding costs what photographs cost."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(locations):
        for view in VIEWS:
            coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
            picture = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)).astype(int)
            grain = rng.normal(0, 8, (size, size, 1))
            path = folder / f"L{i:05}_{view}.jpg"
            pixels = np.clip(picture + grain, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path, quality=85)
            rows.append((f"L{i:05}", view, str(path)))
    return pd.DataFrame(rows, columns=["location_id", "view", "path"])


def to_store(views: pd.DataFrame, folder: Path) -> None:
    store = folder / "features.h5"
    store.unlink(missing_ok=True)
    ids = views["location_id"].unique().tolist()
    extract_pictures(views, ids, store, view_names=VIEWS, device="cpu")


def bare(views: pd.DataFrame) -> Callable[[], None]:
    backbone = get_backbone("efficientnet-lite0")
    network = load_network(backbone, "cpu")
    some = np.stack([prepare(read_picture(path), backbone) for path in views["path"][:64]])
    batches = [some[: min(64, len(views) - i)] for i in range(0, len(views), 64)]

    def job() -> None:
        with working_threads() as pool:
            list(pool.map(network.features, batches))

    return job


def plain(views: pd.DataFrame) -> Callable[[], None]:
    module = EfficientNetLite0().eval()
    weights = torch.load(weights_file(get_backbone("efficientnet-lite0")), weights_only=True)
    module.load_state_dict(weights)

    def job() -> None:
        paths = views["path"].tolist()
        with torch.inference_mode():
            for i in range(0, len(paths), 32):
                module(torch.stack([plainly_read(path) for path in paths[i : i + 32]]))

    return job


def plainly_read(path: str) -> torch.Tensor:
    with Image.open(path) as image:
        small = image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    return (torch.from_numpy(np.array(small)).permute(2, 0, 1).float() - 127) / 128


def timed(job: Callable[[], None]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
