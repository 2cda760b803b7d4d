"""Very many small images, some of them broken in every way: nothing is lost, memory stays flat.

    python benchmarks/many.py [--images 100000] [--broken 0.01] [--nodes 2 --kill]

Images of 32 pixels go from files to a store. The backbone ``tiles`` is no network, only means of
pixels, so that what is around the network is measured; any other is the real one. With --nodes a
Ray cluster of so many nodes on this machine computes, of which with --kill one dies in the middle.
Memory is that of the driver. A folder in memory (``TMPDIR=/dev/shm``) spares the disk. The script
ends with an error unless every location is either done or in the table of skips with the reason
that is expected, and unless the sum is exact.
"""

from __future__ import annotations

import argparse
import io
import struct
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from _table import add_short, row
from onnx import TensorProto, helper
from PIL import Image

from streetgauge.features import (
    Extraction,
    FeatureStore,
    extract_features,
    extract_on_cluster,
    get_backbone,
)
from streetgauge.imagery import find_views
from streetgauge.settings import ClusterSettings, ImagerySettings

VIEWS = ("a", "b", "c", "d")
SIDE = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--broken", type=float, default=0.01)
    parser.add_argument("--backbone", default="tiles")
    parser.add_argument("--nodes", type=int, default=0, help="of a Ray cluster; 0: without Ray")
    parser.add_argument("--kill", action="store_true", help="kill a node in the middle")
    parser.add_argument("--seed", type=int, default=0)
    add_short(parser, images=2000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        wrong = make(Path(name) / "images", args.images // 4, args.broken, args.seed)
        print(f"made {args.images:,} images in {time.perf_counter() - start:.0f} s:")
        for way, count in Counter(wrong.values()).most_common():
            print(f"  {count:6,} {way}")
        with Memory() as memory:
            start = time.perf_counter()
            skips, store = take_in(Path(name), args)
            seconds = time.perf_counter() - start
        print(f"{args.images / seconds:,.0f} images a second, finding them included")
        if args.short:
            rate = f"{args.images / seconds:,.0f} images a second"
            row("images of 32 pixels without a network, 1% broken", "", "", rate)
        print(memory.summary())
        done = check(wrong, skips, store)
        print(f"{done:,} done + {len(store.done) - done:,} left out = {len(store.done):,}: exact")


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    handle = io.BytesIO()
    image.save(handle, form, **options)
    return handle.getvalue()


def _bomb(width: int, height: int) -> bytes:
    """Make a PNG that claims very many pixels and holds few."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


# What makes a broken image of a whole one (None: no file), and a word of the reason.
BROKEN: dict[str, tuple[Callable[[bytes], bytes] | None, str]] = {
    "no file": (None, "no image of this view"),
    "empty": (lambda raw: b"", "empty"),
    "cut off in the middle": (lambda raw: raw[: len(raw) // 2], "damaged"),
    "cut off in the middle, and ended": (lambda raw: raw[: len(raw) // 2] + b"\xff\xd9", "damaged"),
    "cut off in the header": (lambda raw: raw[:20], "damaged"),
    "text": (lambda raw: b"no image here\n", "not an image"),
    "zeros": (lambda raw: bytes(len(raw)), "not an image"),
    "a page of HTML": (lambda raw: b"<html><body>404</body></html>", "not an image"),
    "an archive": (lambda raw: b"PK\x03\x04" + raw, "not an image"),
    "a bomb of 100,000 x 100,000": (lambda raw: _bomb(100_000, 100_000), "pixels"),
    "20,000 x 20,000": (lambda raw: _bomb(20_000, 20_000), "pixels"),
    "a PNG without its end": (lambda raw: _bomb(32, 3200)[:200], "damaged"),
}


def _deep(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


# What is unusual, but an image.
ODD: dict[str, Callable[[Image.Image], bytes]] = {
    "PNG": lambda image: encoded(image, "PNG"),
    "WebP": lambda image: encoded(image, "WEBP"),
    "grey": lambda image: encoded(image.convert("L"), "JPEG"),
    "CMYK": lambda image: encoded(image.convert("CMYK"), "JPEG"),
    "progressive": lambda image: encoded(image, "JPEG", progressive=True),
    "16 bits": lambda image: encoded(_deep(image), "PNG"),
    "transparent": lambda image: encoded(image.convert("RGBA"), "PNG"),
    "palette": lambda image: encoded(image.quantize(16), "PNG"),
}


def make(folder: Path, locations: int, broken: float, seed: int) -> dict[tuple[str, str], str]:
    """Write images, no two alike, all called .jpg; give which are broken, and how."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    some = rng.integers(0, 256, (64, SIDE, SIDE, 3), dtype=np.uint8)
    images = [Image.fromarray(pixels) for pixels in some]
    plain = [encoded(image, "JPEG", quality=80) for image in images]
    odd = [[encode(image) for encode in ODD.values()] for image in images[:8]]
    wrong = {}
    ways = list(BROKEN)
    for i in range(locations):
        for j, view in enumerate(VIEWS):
            number = 4 * i + j
            # A JPEG's comment makes each file's content its own.
            raw = plain[number % 64]
            note = b"\xff\xfe" + struct.pack(">HI", 6, number)
            raw = raw[:2] + note + raw[2:]
            chance = rng.random()
            if chance < broken:
                way = ways[len(wrong) % len(ways)]
                wrong[f"L{i:06}", view] = way
                spoil = BROKEN[way][0]
                if spoil is None:
                    continue
                raw = spoil(raw)
            elif chance < 3 * broken:
                raw = odd[number % 8][int(rng.integers(len(ODD)))]
            (folder / f"L{i:06}_{view}.jpg").write_bytes(raw)
    return wrong


def tiles(folder: Path) -> str:
    """Write the network that stands in for one: the mean of each of 64 tiles."""
    side = SIDE // 8
    pool = helper.make_node(
        "AveragePool", ["x"], ["tiles"], kernel_shape=[side] * 2, strides=[side] * 2
    )
    flat = helper.make_node("Flatten", ["tiles"], ["y"])
    ends = (("x", ["n", 3, SIDE, SIDE]), ("y", ["n", 3 * 64]))
    given, found = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in ends)
    graph = helper.make_graph([pool, flat], "tiles", [given], [found])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file = folder / "tiles.onnx"
    onnx.save(model, file)
    file.with_suffix(".toml").write_text("mean = [-1, -1, -1]\nstd = [1, 1, 1]\nscale = 255\n")
    return f"onnx:{file}"


def take_in(folder: Path, args: argparse.Namespace) -> tuple[pd.DataFrame, FeatureStore]:
    """Find the images, make the store; give all skips."""
    settings = ImagerySettings(folder=folder / "images", views=VIEWS)
    ids = [f"L{i:06}" for i in range(args.images // 4)]
    views, missing = find_views(settings, ids)
    name = tiles(folder) if args.backbone == "tiles" else args.backbone
    engine = "onnxruntime" if args.backbone == "tiles" else "auto"
    record = get_backbone(name)
    wanted = Extraction(views, ids, folder / "f.h5", record, view_names=VIEWS, engine=engine)
    extract = partial(on_cluster, args=args) if args.nodes else extract_features
    skips = pd.concat([missing, extract(wanted)], ignore_index=True)
    return skips, FeatureStore.open(folder / "f.h5")


def on_cluster(wanted: Extraction, args: argparse.Namespace) -> pd.DataFrame:
    """Make the store on nodes of this machine, one of which dies in the middle if so wanted."""
    from cluster import Marks, nodes  # next to this file; a local run needs neither it nor Ray

    killed: list[int] = []
    with nodes(args.nodes, cores=1) as (address, kill):

        def after(arrived: int) -> None:
            if args.kill and arrived >= args.images // 2 and not killed:
                killed.append(arrived)
                kill()
                print(f"killed a node after {arrived:,} images")

        marks = Marks(after)
        cluster = ClusterSettings(address=address)
        skips = extract_on_cluster(wanted, cluster, progress=marks.progress)
    assert bool(killed) == args.kill
    return skips


def check(wrong: dict[tuple[str, str], str], skips: pd.DataFrame, store: FeatureStore) -> int:
    """Compare with what is known; give how many locations are done."""
    out = {location for location, _ in wrong}
    done = set(store.location_ids[store.done].tolist())
    assert done.isdisjoint(out)
    assert done | out == set(store.location_ids.tolist())
    assert set(skips["location_id"]) == out
    rows = list(zip(skips["location_id"], skips["view"], strict=True))
    twice = skips[skips.duplicated(["location_id", "view"], keep=False)]
    assert twice.empty, f"an image has two reasons: {twice.head().to_dict()}"
    for (location, view), reason in zip(rows, skips["reason"], strict=True):
        expected = BROKEN[wrong[location, view]][1]
        assert expected in reason, (location, view, wrong[location, view], reason)
    # Of a location that lacks a view the others are not looked at.
    unseen = {location for (location, _), way in wrong.items() if way == "no file"}
    told = set(rows)
    silent = [key for key in wrong if key not in told and key[0] not in unseen]
    assert not silent, silent[:3]
    slots = np.flatnonzero(store.done)
    assert store.present[slots].all()
    assert (store.features[slots].any(axis=2)).all()
    assert not store.features[~store.present].any()
    return len(done)


class Memory:
    """Own memory of this process (not the pages of files), looked at while something runs."""

    def __enter__(self) -> Memory:
        self.seen: list[float] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.1):
            try:
                status = Path("/proc/self/status").read_text()
            except OSError:
                return
            self.seen.append(int(status.split("RssAnon:")[1].split()[0]) / 1024)

    def summary(self) -> str:
        """Say how much it was."""
        if len(self.seen) < 10:
            return "memory: not known here"
        tenths = [max(part) for part in np.array_split(self.seen, 10)]
        most = ", ".join(f"{m:.0f}" for m in tenths)
        return f"memory in MiB, most in each tenth of the time: {most}"


if __name__ == "__main__":
    main()
