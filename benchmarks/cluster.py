"""What a Ray cluster costs and gives: images a second, merging, and what the driver holds.

    python benchmarks/cluster.py [--images 4000] [--size 640] [--nodes 2] [--cores 1] [--kill]

All on one machine, so that the nodes share its cores: the ratio to the local engine on the same
cores is what Ray costs, not what more machines give. With --kill one node dies in the middle.

- local: `extract_features` on all cores;
- cluster: `extract_on_cluster` on as many cores;

of both the whole time, loading and beginning included, and the steady rate: the slope of images
over time once results arrive, which is what a long run has.

- merge: shards of made-up features into one store, and the peak of memory;
- driver: bytes that the list of images takes for each of them.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from _table import add_short, row

from features import VIEWS, paint
from streetgauge.features import Extraction, FeatureStore, extract_features, extract_on_cluster
from streetgauge.features.extraction import WorkList
from streetgauge.features.shards import merge_shards
from streetgauge.imagery import QUALITY
from streetgauge.progress import Advance
from streetgauge.settings import ClusterSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--size", type=int, default=640, help="side of the JPEG files in pixels")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cores", type=int, default=1, help="of each node")
    parser.add_argument("--engine", default="torch")
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--kill", action="store_true", help="kill a node in the middle")
    parser.add_argument("--nice", type=int, default=0, help="priority, on a busy machine")
    parser.add_argument("--shards", type=int, default=20, help="of the merge")
    add_short(parser, images=400, size=320, shards=4)
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores ({platform.machine()}), load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        if args.images:
            extraction(Path(folder), args)
        merging(Path(folder), args.shards)
    driver()


def extraction(folder: Path, args: argparse.Namespace) -> None:
    images = folder / "images"
    images.mkdir()
    views = paint(images, args.images // 4, args.size, 0)
    os.nice(args.nice)  # painting is not measured
    ids = views["location_id"].unique().tolist()
    how = {"view_names": VIEWS, "device": "cpu", "engine": args.engine}

    def wanted(name: str) -> Extraction:
        return Extraction(views, ids, folder / name, args.backbone, **how)

    local = Marks()
    extract_features(wanted("local.h5"), progress=local.progress)
    alone = local.describe("local", len(views))
    killed: list[int] = []
    with nodes(args.nodes, args.cores) as (address, kill):

        def after(arrived: int) -> None:
            if args.kill and marks.arrived >= len(views) // 3 and not killed:
                killed.append(arrived)
                kill()
                print(f"killed a node after {arrived} images")

        marks = Marks(after)
        cluster = ClusterSettings(address=address)
        extract_on_cluster(wanted("cluster.h5"), cluster, progress=marks.progress)
        together = marks.describe("cluster", len(views))
    same = (folder / "local.h5").read_bytes() == (folder / "cluster.h5").read_bytes()
    if alone and together and not args.kill:
        print(f"         {together / alone:8.2f} of the local rate, both steady")
        if args.short:
            what = "images a second on a cluster of the same cores, torch float32"
            row(what, f"{together / alone:.2f}", "the local engine", f"{together:.0f}")
    print(f"         the same bytes: {same}")


class Marks:
    """When images arrived."""

    def __init__(self, after: Callable[[int], None] = lambda arrived: None) -> None:
        self.marks: list[tuple[float, int]] = []
        self.arrived, self._after, self._began = 0, after, time.perf_counter()

    @contextmanager
    def progress(self, description: str, total: int, unit: str) -> Iterator[Advance]:
        """Stand in for the screen's."""

        def advance(steps: int) -> None:
            if description == "features":
                self.arrived += steps
                self.marks.append((time.perf_counter() - self._began, self.arrived))
                self._after(self.arrived)

        yield advance

    def describe(self, name: str, count: int) -> float | None:
        """Print rates; give the steady one."""
        whole = time.perf_counter() - self._began
        first = self.marks[0][0]
        print(f"{name:8} {count / whole:8.1f} images/s ({count} in {whole:.0f} s, all included)")
        if len(self.marks) < 8:
            print("         too few results for a steady rate")
            return None
        seconds, arrived = np.array(self.marks).T
        steady = float(np.polyfit(seconds, arrived, 1)[0])
        print(f"         {steady:8.1f} images/s steady; the first arrived after {first:.0f} s")
        return steady


@contextmanager
def nodes(count: int, cores: int) -> Iterator[tuple[str, Callable[[], None]]]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    kind = {"num_cpus": cores, "object_store_memory": 400 * 2**20}
    head = {**kind, "node_ip_address": "127.0.0.2", "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    more = [cluster.add_node(**kind, node_ip_address=f"127.0.0.{i + 2}") for i in range(1, count)]
    try:
        yield cluster.address, lambda: cluster.remove_node(more[-1], allow_graceful=False)
    finally:
        cluster.shutdown()


def merging(folder: Path, count: int, locations: int = 2560, dimension: int = 1280) -> None:
    """Shards that hold every so-manieth location: the worst case for the order of writing."""
    ids = [f"L{i:07}" for i in range(count * locations)]
    path = folder / "merged.h5"
    attributes = {"backbone": "made up", "transform": "{}"}
    shape = (locations, len(VIEWS))
    features = np.random.default_rng(0).normal(size=(*shape, dimension)).astype(np.float32)
    present = np.ones(shape, dtype=bool)
    signatures = np.ones((*shape, 16), dtype=np.uint8)
    quality = np.zeros(shape, dtype=QUALITY)
    quality["fingerprint"] = 1
    shards = []
    for i in range(count):
        file = folder / f"shard-{i}.h5"
        with FeatureStore.create(file, ids[i::count], VIEWS, dimension, attributes) as shard:
            slots = np.arange(locations)
            shard.write(slots, features, present, signatures=signatures, quality=quality)
        shards.append(FeatureStore.open(file))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with FeatureStore.create(path, ids, VIEWS, dimension, attributes) as store:
        started = time.perf_counter()
        merge_shards(store, shards, np.ones((len(ids), len(VIEWS)), dtype=bool))
        seconds = time.perf_counter() - started
        assert store.held.all()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = features.nbytes * count / 1e6
    print(
        f"merge    {size / seconds:8.0f} MB/s ({count} shards, {size:,.0f} MB in {seconds:.1f} s; "
        f"peak memory {after / 1000:.0f} MB, {(after - before) / 1000:.0f} more than before)"
    )


def driver(count: int = 400_000) -> None:
    """Nothing is read: only the list of images is made, and packed for the workers."""
    n = count // 4
    ids = np.repeat([f"L{i:08}" for i in range(n)], 4)
    names = np.tile(VIEWS, n)
    frame = pd.DataFrame({"location_id": ids, "view": names})
    frame["path"] = "/shared/images/" + frame["location_id"] + "_" + frame["view"] + ".jpg"
    frame["member"] = ""
    for name in ("heading", "panorama_heading", "pitch", "fov", "size"):
        frame[name] = np.nan
    work_list = WorkList(frame, frame["location_id"].unique(), VIEWS, "all")
    listed = frame.memory_usage(deep=True).sum() / count
    started = time.perf_counter()
    parts = [np.arange(i, i + 1024) for i in range(0, 64 * 1024, 1024)]
    size = sum(work_list.table(part).nbytes for part in parts) / (64 * 1024)
    seconds = (time.perf_counter() - started) / (64 * 1024)
    print(
        f"driver   {listed:8.0f} bytes an image listed, {size:.0f} more while it is under way; "
        f"{1 / seconds:,.0f} images/s handed out"
    )


if __name__ == "__main__":
    main()
