"""Images a second of a backbone: from JPEG files to the store, and what bounds it.

    python benchmarks/features.py [--backbones efficientnet-lite0 vgg16] [--precisions float32 ...]
        [--engines torch openvino] [--images 2000] [--size 640] [--repeats 3] [--parts]

For every engine and precision that is there, in turns and each the best of the repeats, in one run
on one machine:

- bare: prepared images that are in memory already, on all cores; no disk, no decoding;
- store: `extract_features`, from JPEG files to a finished feature store, all included but the
  loading of the network;
- bound: what bare and the parts leave of each other, 1 / (1 / bare + all parts / cores): on a CPU
  the cores that compute are those that decode, so no arrangement of the work is faster;

and once for every backbone:

- plain loop: one image after the other with Pillow, then batches of 32 through the unchanged
  torch module in float32, as it is usually written; nothing is stored.

VGG16 has random weights of the right shape: its speed does not depend on them. ``--parts`` prints
what reading, decoding, resizing and measuring of an image take of one core while all are at it.
Of many images some are the same files: each is read and decoded every time. Leave OMP_NUM_THREADS
unset: it would take cores from the plain loop only.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import save_file

from streetgauge.devices import choose_device, working_threads
from streetgauge.errors import InputError
from streetgauge.features import (
    Backbone,
    Extraction,
    FeatureStore,
    FrozenNetwork,
    extract,
    extract_features,
    get_backbone,
    load_network,
    prepare,
)
from streetgauge.features.architectures import VGG16, EfficientNetLite
from streetgauge.features.chunks import features_of
from streetgauge.features.preprocess import preprocess_batch, signatures_of
from streetgauge.imagery import ImageSource, decode, quality_of, raw_images

VIEWS = ("a", "b", "c", "d")
PAINTED = 100
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=["efficientnet-lite0", "vgg16"])
    parser.add_argument("--engines", nargs="+", default=["torch", "openvino"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16", "int8"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=2000, help="rounded down to locations of 4")
    parser.add_argument("--vgg-images", type=int, default=128, help="the same for VGG16")
    parser.add_argument("--size", type=int, default=640, help="side of the JPEG files in pixels")
    parser.add_argument("--batch", type=int, help="images at a time; else the engine's")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--no-plain", action="store_true")
    args = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"{CORES} cores ({platform.machine()}), torch {torch.__version__}, device {args.device}")
    print(f"plain loop on {threads} threads; load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        views = paint(folder, max(1, args.images // 4), args.size, args.seed)
        for backbone in args.backbones:
            record = vgg(folder) if backbone == "vgg16" else get_backbone(backbone)
            some = views.head(args.vgg_images // 4 * 4) if backbone == "vgg16" else views
            print(f"\n{backbone}, {len(some)} JPEG files of {args.size} px; images a second")
            compare(record, some, folder, args)


def compare(record: Backbone, views: pd.DataFrame, folder: Path, args: argparse.Namespace) -> None:
    """Measure one backbone with all engines; print a line for each."""
    around = parts(views, record, args.repeats, told=args.parts)
    slow = 0.0
    if not args.no_plain:
        few = views.head(min(len(views), 128))
        job = plain(record, few)
        job()
        slow = len(few) / min(timed(job) for _ in range(args.repeats))
        print(f"plain loop {slow:36.1f}")
    print(f"{'':22}     bare    bound    store  store/bare  bound/bare  store/plain   cosine")
    for engine, precision in product(args.engines, args.precisions):
        try:
            network = load_network(record, args.device, engine, precision)
        except InputError as error:
            print(f"{engine:11}{precision:11} - {str(error)[:90]}")
            continue
        jobs = {
            "bare": bare(network, views, args.batch),
            "store": lambda n=network: to_store(n, views, folder / "f.h5", args.batch),
        }
        best = {}
        for job in jobs.values():
            job()  # warm: files in the page cache, libraries loaded
        for _ in range(args.repeats):
            for name, job in jobs.items():
                best[name] = min(best.get(name, np.inf), timed(job))
        fast, store = (len(views) / best[name] for name in ("bare", "store"))
        bound = 1 / (1 / fast + around) if network.device == "cpu" else min(fast, 1 / around)
        ratio = f"{store / slow:12.2f}" if slow else f"{'':12}"
        print(
            f"{engine:11}{precision:11} {fast:8.1f} {bound:8.1f} {store:8.1f} {store / fast:11.2f} "
            f"{bound / fast:11.2f} {ratio}   {network.cosine:.5f}",
            flush=True,
        )


def paint(folder: Path, locations: int, size: int, seed: int) -> pd.DataFrame:
    """Make images with edges and texture, so that decoding costs what photographs cost.

    After `PAINTED` locations the files come again.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(min(locations, PAINTED)):
        for view in VIEWS:
            coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
            image = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)).astype(int)
            grain = rng.normal(0, 4, (size, size, 1))
            path = folder / f"L{i:05}_{view}.jpg"
            pixels = np.clip(image + grain, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path, quality=85)
            rows.append((f"L{i:05}", view, str(path)))
    sizes = [Path(path).stat().st_size for *_, path in rows]
    for i in range(PAINTED, locations):
        again = rows[4 * (i % PAINTED) : 4 * (i % PAINTED) + 4]
        rows += [(f"L{i:05}", view, path) for _, view, path in again]
    print(f"{len(rows)} images of {np.mean(sizes) / 1000:.0f} kB")
    return pd.DataFrame(rows, columns=["location_id", "view", "path"])


def vgg(folder: Path) -> Backbone:
    """Give VGG16 with random weights, scaled so that activations neither vanish nor explode."""
    torch.manual_seed(0)
    module = VGG16()
    for parameter in module.parameters():
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)
        else:
            torch.nn.init.zeros_(parameter)
    file = folder / "vgg16.safetensors"
    save_file(module.state_dict(), file)
    record = get_backbone("vgg16-caffe-fc6")
    return replace(record, weights=f"file:{file}", sha256="")


def to_store(network: FrozenNetwork, views: pd.DataFrame, path: Path, batch: int | None) -> None:
    """Extract with a network that is loaded already: loading is no part of a long run's rate."""
    path.unlink(missing_ok=True)
    load, extract.load_network = extract.load_network, lambda *_, **__: network
    resolve, extract.resolve_checksum = extract.resolve_checksum, lambda record, *_: record
    try:
        ids = views["location_id"].unique().tolist()
        wanted = Extraction(
            views,
            ids,
            path,
            network.backbone,
            view_names=VIEWS,
            precision=network.precision,
        )
        skips = extract_features(wanted, batch=batch)
    finally:
        extract.load_network, extract.resolve_checksum = load, resolve
    assert skips.empty
    assert FeatureStore.open(path).done.all()


def bare(network: FrozenNetwork, views: pd.DataFrame, batch: int | None) -> Callable[[], None]:
    size = batch or network.batch
    some = np.stack(
        [prepare(decode(Path(p).read_bytes()), network.backbone) for p in views["path"][:size]]
    )
    batches = [some[: min(size, len(views) - i)] for i in range(0, len(views), size)]

    def job() -> None:
        if network.device != "cpu":
            for pixels in batches:
                features_of(network, pixels)
            return
        with working_threads() as pool:
            list(pool.map(lambda pixels: features_of(network, pixels), batches))

    return job


def plain(record: Backbone, views: pd.DataFrame) -> Callable[[], None]:
    lite = record.architecture.startswith("efficientnet")
    module: Any = EfficientNetLite(int(record.architecture[-1])) if lite else VGG16()
    module.eval()
    place = choose_device("cpu")

    def job() -> None:
        paths = views["path"].tolist()
        with torch.inference_mode():
            for i in range(0, len(paths), 32):
                module(torch.stack([plainly_read(p) for p in paths[i : i + 32]]).to(place))

    return job


def plainly_read(path: str) -> torch.Tensor:
    with Image.open(path) as image:
        small = image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    return (torch.from_numpy(np.array(small)).permute(2, 0, 1).float() - 127) / 128


def parts(views: pd.DataFrame, record: Backbone, repeats: int, *, told: bool) -> float:
    """Seconds an image, all cores together, of all that is around the network."""
    rows = [ImageSource(path) for path in views["path"][:64]]
    raws = [raw for raw in raw_images(rows) if isinstance(raw, bytes)]
    pixels = [decode(raw) for raw in raws]
    inputs = [np.ascontiguousarray(prepare(image, record)) for image in pixels]
    steps: dict[str, Callable[[], object]] = {
        "read": lambda: none(raw_images(rows)),
        "fingerprint": lambda: signatures_of(rows, raws),
        "unpack": lambda: none(unpacked(raw) for raw in raws),
        "decode": lambda: none(decode(raw) for raw in raws),
        "prepare": lambda: none(prepare(image, record) for image in pixels),
        "quality": lambda: none(quality_of(image) for image in inputs),
        "all": lambda: none(
            preprocess_batch([row], list(raw_images([row])), record) for row in rows
        ),
    }
    about = {
        "unpack": " (of decode: Huffman codes, no pixels)",
        "all": f" in one go; without the network {{:.0f}} images a second on {CORES} cores",
    }
    with working_threads() as pool:
        for name, step in steps.items():
            best = np.inf
            for _ in range(repeats + 1):
                start = time.perf_counter()
                none(pool.map(lambda _, step=step: step(), range(CORES)))
                best = min(best, (time.perf_counter() - start) / len(rows))
            if told:
                note = about.get(name, "").format(CORES / best)
                print(f"{name:12} {best * 1000:6.3f} ms of a core{note}")
    return best / CORES


def unpacked(raw: bytes) -> object:
    """Decode brightness alone to an eighth of the size: little else than its Huffman codes."""
    image = Image.open(io.BytesIO(raw))
    image.draft("L", (image.width // 8, image.height // 8))
    return image.load()


def none(many: Iterable[object]) -> None:
    """Let go of each before the next is made, as extraction does."""
    for _ in many:
        pass


def timed(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
