"""What a GPU computes, how fast, and whether it is the same: one table, for whoever has one.

    python benchmarks/gpu.py [--parts equal speed memory resume kernel training] [--small]
                             [--folder DIR]

Each part runs in a process of its own and has its own time limit (`LIMITS`, 8 minutes together);
what it had measured by then is kept. All data and weights are made up here, so nothing is fetched.
It needs torch, numpy, h5py and what `streetgauge.features`, `streetgauge.model` and
`streetgauge.settings` import; no boundaries are read.

equal     features on the device against those on the CPU, in float32: the least cosine
speed     images a second of VGG16, EfficientNet-Lite0 and a ViT-B/16: prepared images in memory
          ("network"), and from JPEG files of 640 pixels to a feature store ("store")
memory    training that the device's memory does not hold: one sentence
resume    training that is killed and goes on: the same bytes
kernel    the kernel learner on 4,835 areas and 12 outcomes (NumPy, on the CPU)
training  156,581 locations x 4 views x 4,096 features, 12 outcomes x 5 folds, 50 epochs; and the
          share of the device's peak, measured right before

Without a GPU, or with ``--small``, the same is done in small on the CPU, so that it does not rot:
its figures then say nothing about a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from features import bare, paint, timed, to_store
from streetgauge.devices import choose_device, choose_precision
from streetgauge.errors import InputError
from streetgauge.features import Backbone, FrozenNetwork, get_backbone, prepare
from streetgauge.features.architectures import VGG16, EfficientNetLite
from streetgauge.features.engines import TorchEngine
from streetgauge.imagery import decode
from streetgauge.model import cross_validate
from streetgauge.model.kernel import fit_kernel
from streetgauge.model.network import view_widths, width_of
from streetgauge.model.training_data import TrainingData
from streetgauge.settings import FoldSettings, TrainSettings
from streetgauge.splits import make_splits

LIMITS = {"equal": 25, "speed": 75, "memory": 20, "resume": 45, "kernel": 25, "training": 290}
SEED = 2019
OUTCOMES, FOLDS, VIEWS = 12, 5, 4
AREAS, LOCATIONS, DIMENSION, EPOCHS = 4835, 156_581, 4096, 50
SMALL = {"areas": 60, "locations": 300, "dimension": 64, "epochs": 2, "images": 8}
LARGE = {
    "areas": AREAS,
    "locations": LOCATIONS,
    "dimension": DIMENSION,
    "epochs": EPOCHS,
    "images": 2048,
}
Row = tuple[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=[*LIMITS], default=[*LIMITS])
    parser.add_argument("--small", action="store_true", help="as without a GPU")
    parser.add_argument("--folder", type=Path, help="where data are written, not kept otherwise")
    parser.add_argument("--part", choices=[*PARTS], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if choose_device("auto").type == "cpu":
        given.small = True
    if given.part:
        for row in PARTS[given.part](given.folder, SMALL if given.small else LARGE):
            print(json.dumps(row), flush=True)
        return
    with tempfile.TemporaryDirectory() as scratch:
        given.folder = given.folder or Path(scratch)
        print(f"{_machine()}{', in small' if given.small else ''}\n")
        print("| what | figure |\n| --- | --- |")
        for part in given.parts:
            for what, figure in _run(part, given):
                print(f"| {what} | {figure} |", flush=True)


def _run(part: str, given: argparse.Namespace) -> Iterator[Row]:
    """Run a part in a process of its own; give what it measured until its time was up."""
    limit = LIMITS[part] * (10 if given.small else 1)  # a laptop may be busy, and none is waiting
    folder = given.folder / part
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "rows").open("w+") as rows:
        try:
            done = subprocess.run(
                _command(part, folder, small=given.small),
                stdout=rows,
                stderr=subprocess.PIPE,
                text=True,
                timeout=limit,
                check=False,
            )
            last = done.stderr.strip().splitlines()[-1:]
            failure = f"failed: {last[0] if last else done.returncode}" if done.returncode else ""
        except subprocess.TimeoutExpired:
            failure = f"stopped after {limit} s"
        rows.seek(0)
        for line in rows:
            if line.startswith("[") and line.endswith("\n"):  # `paint` prints as well
                what, figure = json.loads(line)
                yield what, figure
    if failure:
        yield part, failure


def _command(part: str, folder: Path, *, small: bool) -> list[str]:
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder)]
    return [*command, "--small"] if small else command


def _machine() -> str:
    device = choose_device("auto")
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}; {cores} cores ({platform.machine()}), torch {torch.__version__}"


class ViT(nn.Module):
    """ViT-B/16 (Dosovitskiy et al. 2021, ICLR), its class token as features."""

    def __init__(self, width: int = 768, depth: int = 12, heads: int = 12) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 197, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, 3, 224, 224] -> [n, width]."""
        patches = self.patches(x).flatten(2).transpose(1, 2)
        token = self.token.expand(len(x), -1, -1)
        return self.layers(torch.cat([token, patches], 1) + self.position)[:, 0]


def _networks(small: dict[str, int] | None) -> Iterator[tuple[str, Backbone, nn.Module]]:
    """Give backbones with random weights, on which speed does not depend."""
    lite, vgg = get_backbone("efficientnet-lite0"), get_backbone("vgg16-caffe-fc6")
    vit = Backbone("vit", 768, "class token", "", "", "", 256, 224, *_HALF, 1 / 255)
    torch.manual_seed(SEED)
    yield "EfficientNet-Lite0", lite, _scaled(EfficientNetLite(0))
    if small is None:
        yield "VGG16", vgg, _scaled(VGG16())
        yield "ViT-B/16", vit, ViT()
    else:
        yield "ViT, 1 layer", vit, ViT(depth=1)


_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def _scaled(module: nn.Module) -> nn.Module:
    """Scale weights so that activations neither vanish nor explode."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.kaiming_normal_(parameter)
    return module


def equal(folder: Path, size: dict[str, int]) -> Iterator[Row]:
    """Compare features of noise on the device with those on the CPU."""
    small = None if size is LARGE else size
    pixels = np.random.default_rng(SEED).integers(0, 256, (8, 224, 224, 3), dtype=np.uint8)
    for name, record, module in _networks(small):
        there = TorchEngine(record, module, choose_device("auto"))(pixels)
        here = TorchEngine(record, module.cpu(), "cpu")(pixels)
        product = (there * here).sum(1)
        norm = np.linalg.norm(there, axis=1) * np.linalg.norm(here, axis=1)
        cosine = float((product / norm).min())
        verdict = "" if cosine >= 0.9999 else " (below .9999)"
        yield f"{name}: least cosine to the CPU's features, float32", f"{cosine:.7f}{verdict}"


def speed(folder: Path, size: dict[str, int]) -> Iterator[Row]:
    """Measure images a second of the network, and from files to the store."""
    views = paint(folder, size["images"] // VIEWS, 640 if size is LARGE else 256, SEED)
    small = None if size is LARGE else size
    for name, record, module in _networks(small):
        for precision in ("float32", "bfloat16"):
            engine = TorchEngine(record, module, choose_device("auto"), precision)
            network = FrozenNetwork(record, engine)
            some = np.stack(
                [prepare(decode(Path(path).read_bytes()), record) for path in views["path"][:8]]
            )
            network.features(some)
            fastest = {}
            jobs: dict[str, Callable[[], None]] = {
                "network": bare(network, views, None),
                "store": lambda n=network: to_store(n, views, folder / "f.h5", None),
            }
            for what, job in jobs.items():
                job()
                fastest[what] = len(views) / min(timed(job) for _ in range(2))
            yield (
                f"{name}, {precision}: images a second, network / JPEG to store",
                f"{fastest['network']:,.0f} / {fastest['store']:,.0f} "
                f"({fastest['store'] / fastest['network']:.0%})",
            )


def memory(folder: Path, size: dict[str, int]) -> Iterator[Row]:
    """Train with less memory than a step needs."""
    data = _data(60, 600, 2048)  # a step of 512 locations needs 16 MiB for the views alone
    if choose_device("auto").type == "cuda":
        torch.cuda.set_per_process_memory_fraction(1e-4)
    else:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, -1))
    try:
        _train(data, folder, epochs=1, batch=512)
    except InputError as error:
        yield "training without enough memory", str(error)
    else:
        raise SystemExit("training without enough memory went through")


def resume(folder: Path, size: dict[str, int]) -> Iterator[Row]:
    """Kill a training twice, let it go on, and compare its bundles with those of one that was not.

    Killed each time that one more fold is stored, in the midst of the others.
    """
    command = _command("folds", folder, small=size is SMALL)
    subprocess.run(command, check=True, capture_output=True)
    whole = _contents(folder / "model")
    (folder / "model").rename(folder / "whole")
    kills = 0
    for stored in range(2):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as training:
            while training.poll() is None:
                if len([*(folder / "model").glob("fold-*/bundle.json")]) > stored:
                    training.kill()
                    kills += 1
                    break
                time.sleep(0.002)
    subprocess.run(command, check=True, capture_output=True)
    same = _contents(folder / "model") == whole
    yield f"training that was killed {kills} times", "the same bytes" if same else "OTHER BYTES"


def folds(folder: Path, size: dict[str, int]) -> Iterator[Row]:
    """Train what `resume` kills."""
    data = _data(200, 2000, 256) if size is LARGE else _data(40, 200, 64)
    _train(data, folder / "model", epochs=8)
    yield "trained", ""


def _contents(directory: Path) -> dict[str, bytes]:
    """Give the bundles' files; the logs of TensorBoard have times in them."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.glob("fold-*/*"))
    }


def kernel(folder: Path, size: dict[str, int]) -> Iterator[Row]:
    """Fit the kernel learner."""
    locations = min(size["locations"], 12 * size["areas"])
    data = _data(size["areas"], locations, min(size["dimension"], 1280))
    start = time.perf_counter()
    fit_kernel(data.features, data.present, data.deciles, data.areas, seed=SEED)
    yield f"kernel learner, {size['areas']:,} areas", f"{time.perf_counter() - start:.1f} s"


def training(folder: Path, size: dict[str, int]) -> Iterator[Row]:
    """Train all outcomes of all folds, and give the share of the device's peak."""
    device = choose_device("auto")
    dtype = choose_precision("auto", device)
    peak = _peak(device, dtype, 8192 if size is LARGE else 512)
    name = str(dtype).removeprefix("torch.")
    yield f"products of matrices, {name}", f"{peak / 1e12:,.1f} TFLOP/s"
    data = _data(size["areas"], size["locations"], size["dimension"])
    start = time.perf_counter()
    settings = _train(data, folder / "model", epochs=size["epochs"], batch=1024)
    seconds = time.perf_counter() - start
    seen = len(data.areas) * (FOLDS - 1) * size["epochs"]
    widths = [size["dimension"], *view_widths(width_of(settings))]
    work = 6 * VIEWS * sum(a * b for a, b in pairwise(widths))
    what = f"training, {len(data.areas):,} locations x {OUTCOMES} outcomes x {FOLDS} folds"
    yield f"{what}, {size['epochs']} epochs", f"{seconds:.0f} s"
    yield "share of the peak, products of the view layers", f"{seen * work / seconds / peak:.1%}"


def _peak(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Give operations a second of large products."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))

    def product() -> None:
        for _ in range(5):
            a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()

    product()
    return 5 * 2 * side**3 / min(timed(product) for _ in range(3))


def _data(areas: int, locations: int, dimension: int) -> TrainingData:
    """Make areas with deciles, and features in which each outcome has a direction of its own."""
    rng = np.random.default_rng(SEED)
    area = np.arange(locations) % areas
    deciles = np.stack([rng.permutation(areas) * 10 // areas + 1 for _ in range(OUTCOMES)], 1)
    direction = torch.from_numpy(rng.normal(size=(OUTCOMES, dimension)).astype(np.float32))
    device = choose_device("auto")
    noise = torch.Generator(device).manual_seed(SEED)
    features = np.empty((locations, VIEWS, dimension), np.float32)
    for first in range(0, locations, 4096):
        rows = slice(first, first + 4096)
        signal = torch.from_numpy((deciles[area[rows]] - 5.5).astype(np.float32)) @ direction / 20
        shape = (len(signal), VIEWS, dimension)
        views = torch.randn(shape, generator=noise, device=device)
        features[rows] = (views + signal.to(device)[:, None]).cpu().numpy()
    return TrainingData(
        features,
        np.ones((locations, VIEWS), np.bool_),
        deciles[area].astype(np.float64),
        np.array([f"A{a:05}" for a in area]),
        np.array([f"L{i:06}" for i in range(locations)]),
        tuple(f"outcome {m}" for m in range(1, OUTCOMES + 1)),
        rows=np.arange(locations),
    )


def _train(data: TrainingData, directory: Path, *, epochs: int, batch: int = 128) -> TrainSettings:
    """Train one network a fold, which none of the epochs stops early."""
    settings = TrainSettings(
        learner="network", ensemble_size=1, epochs=epochs, patience=epochs, batch=batch
    )
    splits = make_splits(FoldSettings(k=FOLDS, final=False), data.areas, data.deciles, seed=SEED)
    tested = [split for split in splits if len(split.test)]
    cross_validate(data, tested, settings, seed=SEED, directory=directory, cache_key="made up")
    return settings


PARTS = {
    "equal": equal,
    "speed": speed,
    "memory": memory,
    "resume": resume,
    "folds": folds,
    "kernel": kernel,
    "training": training,
}


if __name__ == "__main__":
    main()
