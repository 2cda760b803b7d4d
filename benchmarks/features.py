"""Images a second of a backbone: from JPEG files to the store, what bounds it, and its rivals.

    python benchmarks/features.py [--backbones efficientnet-lite0 vgg16] [--precisions float32 ...]
        [--engines torch openvino] [--images 2000] [--size 640] [--repeats 3] [--parts] [--short]
    python benchmarks/features.py --decoding FOLDER

For every engine and precision that is there, in turns and each the best of the repeats, in one run
on one machine:

- network: prepared images that are in memory already, on all cores; no disk, no decoding;
- store: `extract_features`, from JPEG files to a finished feature store, all included but the
  loading of the network;
- bound: 1 / (1 / network + 1 / decoding), where decoding is reading, decoding and scaling on all
  cores: on a CPU the cores that compute are those that decode, so no arrangement of the work is
  faster. The store's rate has fingerprints, quality and writing in it as well;

and once for every backbone, in float32, features in memory and nothing stored:

- plain loop: one image after the other with Pillow, then batches of 32 through the torch module;
- DataLoader: the same, decoded by two workers of torch's;
- timm: its own module of the same architecture and its transform, behind a DataLoader;
- ONNX Runtime: decoded by a thread a core, with Pillow and with what this package decodes with;
- benchmark_app: OpenVINO's own, random tensors, many requests at a time: the network's limit.

VGG16 has random weights of the right shape: its speed does not depend on them. ``--parts`` prints
what reading, decoding, resizing and measuring of an image take of one core while all are at it.
Of many images some are the same files: each is read and decoded every time. Leave OMP_NUM_THREADS
unset: it would take cores from the torch loops only.

``--decoding`` decodes photographs at half the size, scaled to several sides, wherever the half has
the network's side, and compares the features with those of exact decoding.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from _table import add_short, row
from PIL import Image
from safetensors.torch import save_file

from streetgauge.devices import working_threads
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
from streetgauge.features.engines import _converted, _normalised, import_openvino
from streetgauge.features.network import build_module
from streetgauge.features.preprocess import preprocess_batch, signatures_of
from streetgauge.imagery import ImageSource, decode, quality_of, raw_images

VIEWS = ("a", "b", "c", "d")
PAINTED = 100
FEW = 5  # photographs that are too few to compare
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
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--decoding", type=Path, metavar="FOLDER", help="with photographs")
    add_short(
        parser,
        backbones=["efficientnet-lite0"],
        engines=["openvino"],
        precisions=["float32", "bfloat16"],
        images=400,
        repeats=2,
    )
    args = parser.parse_args()
    if args.decoding:
        decode_at_half(args.decoding, args.backbones[0])
        return
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
    decoding = 1 / parts(views, record, args.repeats, told=args.parts)
    print(f"{'decoding':16} {decoding:8.1f}")
    rates: dict[str, float] = {}
    if not args.no_rivals:
        few = views.head(min(len(views), 128))["path"].tolist()
        for name, rival in rivals(record, folder).items():
            try:
                rival(few[:32])
                seconds = min(timed(partial(rival, few)) for _ in range(args.repeats))
            except Exception as error:  # of any library: what is not here is no rival
                print(f"{name:16}        - {str(error).splitlines()[0][:80]}")
                continue
            rates[name] = len(few) / seconds
            print(f"{name:16} {rates[name]:8.1f}", flush=True)
    limits = {"float32": limit(record, folder, "f32"), "bfloat16": limit(record, folder, "bf16")}
    print(f"{'':20} network    bound    store  store/bound  cosine   store to each of the above")
    for engine, precision in product(args.engines, args.precisions):
        try:
            network = load_network(record, args.device, engine, precision)
        except InputError as error:
            print(f"{engine:11}{precision:9} - {str(error)[:90]}")
            continue
        jobs = {
            "network": bare(network, views, args.batch),
            "store": lambda n=network: to_store(n, views, folder / "f.h5", args.batch),
        }
        best = {}
        for job in jobs.values():
            job()  # warm: files in the page cache, libraries loaded
        for _ in range(args.repeats):
            for name, job in jobs.items():
                best[name] = min(best.get(name, np.inf), timed(job))
        fast, store = (len(views) / best[name] for name in ("network", "store"))
        on_cpu = network.device == "cpu"
        bound = 1 / (1 / fast + 1 / decoding) if on_cpu else min(fast, decoding)
        own = limits.get(precision, 0.0)
        ratios = {name: store / rate for name, rate in rates.items()}
        print(
            f"{engine:11}{precision:9}{fast:8.1f} {bound:8.1f} {store:8.1f} {store / bound:12.2f}"
            f"  {network.cosine:.5f}  {', '.join(f'{n} {r:.2f}' for n, r in ratios.items())}"
            + (f"; network to benchmark_app {fast / own:.2f}" if own else ""),
            flush=True,
        )
        figure = f"{store:.0f} images a second"
        what = f"files to store, {record.name}, {engine} {precision}"
        row(what, f"{store / bound:.2f}", "of network and decoding together", figure)
        for name, ratio in ratios.items():
            row(what, f"{ratio:.1f}", f"{name}, float32", f"{rates[name]:.0f} images a second")
        if own:
            row(f"the network alone, {engine} {precision}", f"{fast / own:.2f}", "benchmark_app",
                f"{fast:.0f} images a second")  # fmt: skip


def rivals(record: Backbone, folder: Path) -> dict[str, Callable[[list[str]], object]]:
    """Give what people would use instead: functions of paths that compute features in float32."""
    lite = record.architecture.startswith("efficientnet")
    module: Any = EfficientNetLite(int(record.architecture[-1])) if lite else VGG16()
    module.eval()
    file = folder / f"{record.name}.onnx"
    ours = partial(read_as_we, record)
    return {
        "plain loop": lambda paths: looped(module, map(plainly_read, paths)),
        "DataLoader": lambda paths: looped(module, loaded(paths, plainly_read), stacked=True),
        "timm": lambda paths: by_timm(paths, record),
        "ONNX Runtime": lambda paths: by_onnx(paths, module, file, plainly_read),
        "ONNX, our decoding": lambda paths: by_onnx(paths, module, file, ours),
    }


def looped(module: Any, images: Iterable[torch.Tensor], *, stacked: bool = False) -> None:
    """Compute features of images, 32 at a time, with torch as it is usually written."""
    with torch.inference_mode():
        for batch in images if stacked else map(torch.stack, batched(images)):
            module(batch)


def batched(images: Iterable[Any]) -> Iterator[list[Any]]:
    """Give 32 at a time."""
    batch = []
    for image in images:
        batch.append(image)
        if len(batch) == 32:
            yield batch
            batch = []
    if batch:
        yield batch


class Files(torch.utils.data.Dataset):
    """Images of paths, for a DataLoader."""

    def __init__(self, paths: list[str], read: Callable[[str], Any]) -> None:
        self.paths, self.read = paths, read

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Any:
        return self.read(self.paths[i])


def loaded(paths: list[str], read: Callable[[str], Any]) -> Iterable[torch.Tensor]:
    """Give batches that two workers have decoded."""
    return torch.utils.data.DataLoader(Files(paths, read), batch_size=32, num_workers=2)


def by_timm(paths: list[str], record: Backbone) -> None:
    """Compute with timm's module and transform."""
    import timm

    lite = f"tf_efficientnet_lite{record.architecture[-1]}"
    name = "vgg16" if record.architecture == "vgg16" else lite
    module = timm.create_model(name, pretrained=False, num_classes=0).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(module))

    def read(path: str) -> torch.Tensor:
        return transform(Image.open(path).convert("RGB"))

    looped(module, loaded(paths, read), stacked=True)


def by_onnx(paths: list[str], module: Any, file: Path, read: Callable[[str], Any]) -> None:
    """Compute with ONNX Runtime; threads decode the next images meanwhile."""
    import onnxruntime

    if not file.exists():
        example, axes = torch.zeros(1, 3, 224, 224), {"x": {0: "n"}, "y": {0: "n"}}
        names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": axes}
        torch.onnx.export(module, (example,), file, dynamo=False, **names)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    with ThreadPoolExecutor(CORES) as pool:
        for batch in batched(pool.map(read, paths)):
            session.run(None, {"x": np.stack([np.asarray(image) for image in batch])})


def read_as_we(record: Backbone, path: str) -> np.ndarray:
    """Read an image with the package's decoder and resampler."""
    pixels = prepare(decode(Path(path).read_bytes()), record)
    return ((pixels.astype(np.float32) - 127) / 128).transpose(2, 0, 1)


def limit(record: Backbone, folder: Path, precision: str) -> float:
    """Images a second of OpenVINO's own benchmark; 0 where it is not installed."""
    try:
        openvino = import_openvino()
    except InputError:
        return 0.0
    file = folder / f"{record.name}.xml"
    if not file.exists():
        model = _normalised(
            openvino, record, _converted(openvino, record, build_module(record), None)
        )
        openvino.save_model(model, file, compress_to_fp16=False)
    # Without its telemetry, as the package imports it.
    code = "import sys; sys.modules['openvino_telemetry'] = None; sys.argv[0] = 'benchmark_app'; "
    code += "from openvino.tools.benchmark.main import main; main()"
    wanted = ["-m", str(file), "-d", "CPU", "-hint", "throughput", "-t", "4"]
    command = [sys.executable, "-c", code, *wanted, "-infer_precision", precision]
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"Throughput:\s+([\d.]+)", done.stdout)
    rate = float(found[1]) if found else 0.0
    print(
        f"benchmark_app {precision:4}{rate:7.1f}"
        if found
        else f"benchmark_app: {done.stderr[-80:]}"
    )
    return rate


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


def plainly_read(path: str) -> torch.Tensor:
    with Image.open(path) as image:
        small = image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    return (torch.from_numpy(np.array(small)).permute(2, 0, 1).float() - 127) / 128


def parts(views: pd.DataFrame, record: Backbone, repeats: int, *, told: bool) -> float:
    """Seconds an image, all cores together, of reading, decoding and scaling."""
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
        "decoding": lambda: none(prepare(decode(raw), record) for raw in raw_images(rows)),
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


def decode_at_half(folder: Path, name: str) -> None:
    """Compare features of images that were decoded at half the size with those of exact ones."""
    record = get_backbone(name)
    network = load_network(record, "cpu")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg"))
    print(f"{name}, {len(files)} photographs; cosine of features to exact decoding")
    print("shorter side   half of it     least   first tenth   median   time of decoding, scaling")
    for side in (448, 480, 512, 640, 768, 896, 1024, 1344):
        raws = [raw for raw in (scaled_file(file, side) for file in files) if raw]
        if len(raws) < FEW:
            continue
        ways = [partial(prepared, raws, record, least) for least in (None, side // 2)]
        exact, half = (features_of(network, np.stack(way())).astype(float) for way in ways)
        seconds = [min(timed(way) for _ in range(3)) for way in ways]
        sizes = np.linalg.norm(exact, axis=1) * np.linalg.norm(half, axis=1)
        cosines = (exact * half).sum(axis=1) / sizes
        tenth, median = np.quantile(cosines, [0.1, 0.5])
        print(
            f"{side:12} {side // 2 / record.crop:8.2f} sides  {cosines.min():.5f} {tenth:11.5f}  "
            f"{median:9.5f}   {seconds[1] / seconds[0]:.2f}   n = {len(raws)}"
        )


def prepared(raws: list[bytes], record: Backbone, at_least: int | None) -> list[np.ndarray]:
    """Decode images and scale them to the network's input."""
    return [prepare(decode(raw, at_least=at_least), record) for raw in raws]


def scaled_file(file: Path, side: int) -> bytes | None:
    """Give a photograph as a JPEG whose shorter side has so many pixels; None of smaller ones."""
    with Image.open(file) as image:
        ratio = side / min(image.size)
        if ratio > 1:
            return None
        shape = (round(image.width * ratio), round(image.height * ratio))
        small = image.convert("RGB").resize(shape, Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, "JPEG", quality=90)
    return content.getvalue()


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
