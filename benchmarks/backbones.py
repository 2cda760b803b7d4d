"""Which backbone, which engine: what they tell about areas, and how fast they are.

    python benchmarks/backbones.py [STUDY]            backbones by what a ridge learns from them
    python benchmarks/backbones.py --engines [NAME]   engines and precisions of one backbone
    python benchmarks/backbones.py --specs FOLDER     backbones and crops by what people see

The first takes a study that has been run (the demo, if none is given): every backbone looks at its
images, and a ridge regression from mean features of areas to each outcome is tested on areas
that it has not seen, five folds drawn ten times. The second looks at prepared images in memory;
VGG16 gets random weights, since how fast it is does not depend on them. The third takes the 100
street images of SPECS that people have compared, with their scores: a ridge is tested on images
that it has not seen, five folds drawn twenty times and one city left out at a time, with the square
at the centre and with the whole image squashed into it; all is paired with the default.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _table import add_short, row
from scipy.stats import rankdata
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from streetgauge.devices import working_threads
from streetgauge.errors import InputError
from streetgauge.features import Backbone, FrozenNetwork, get_backbone, load_network, prepare
from streetgauge.features.known_images import known_images
from streetgauge.features.places import read_head
from streetgauge.features.weights import weights_file
from streetgauge.imagery import find_views, read_image
from streetgauge.study import Study

NAMES = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
BLOCK = 256  # images at a time
PLACES = "places365-resnet18"
SCORES = ("wealthy", "beautiful", "lively", "safety", "boring", "depressing")
SPLITS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", type=Path, default=Path("streetgauge-demo"))
    parser.add_argument("--backbones", nargs="+", default=NAMES)
    parser.add_argument("--engines", nargs="?", const="efficientnet-lite0", metavar="NAME")
    parser.add_argument("--images", type=int, default=64, help="for --engines")
    parser.add_argument("--repeats", type=int, default=10, help="draws of five folds")
    parser.add_argument("--specs", type=Path, help="folder with scores.csv and its images")
    add_short(parser, backbones=["efficientnet-lite0"], repeats=1)
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores ({platform.machine()}), torch {torch.__version__}")
    if args.specs:
        specs(args.specs, [*args.backbones, PLACES])
    elif args.engines:
        engines(args.engines, args.images)
    else:
        backbones(Study.open(args.study), args.backbones, args.repeats, tell=args.short)


def backbones(study: Study, names: list[str], repeats: int, *, tell: bool = False) -> None:
    locations = pd.read_parquet(study.locations)
    outcomes = pd.read_parquet(study.outcomes).set_index("area")
    deciles = outcomes[[name for name in outcomes if name.endswith("_decile")]]
    imagery = study.settings.imagery
    assert imagery is not None
    views, _ = find_views(imagery, locations)
    whole = views.groupby("location_id")["view"].transform("size") == len(imagery.views)
    views = views[whole].merge(locations[["location_id", "area"]], on="location_id")
    for name in names:
        record = get_backbone(name)
        network = load_network(record)
        start = time.perf_counter()
        features, kept = look(views, network)
        rate = len(kept) / (time.perf_counter() - start)
        means = pd.DataFrame(features).groupby(kept["area"].to_numpy()).mean()
        known = deciles.loc[means.index]
        found = {
            outcome.removesuffix("_decile"): held_out(means.to_numpy(), known[outcome], repeats)
            for outcome in known
        }
        print(
            f"{name} ({network.engine}, {record.crop} px): {len(kept):,} images in "
            f"{len(means)} areas, {rate:.0f} images/s"
        )
        if tell:
            rho = np.mean([mean for mean, _ in found.values()])
            words = f"ρ {rho:.3f}, {rate:.0f} images a second of 256 x 192 pixels"
            row(f"a ridge on {name}, {len(means)} areas", "", "", words)
        for outcome, (mean, error) in found.items():
            print(f"  {outcome:20} Spearman {mean:.3f} (sd over draws {error:.3f})")
        print(f"  {'mean':20} Spearman {np.mean([mean for mean, _ in found.values()]):.3f}")


def look(views: pd.DataFrame, network: FrozenNetwork) -> tuple[np.ndarray, pd.DataFrame]:
    """Features of all images that can be read, and which they are."""
    record, parts, kept = network.backbone, [], []
    with working_threads() as pool:
        for start in range(0, len(views), BLOCK):
            paths = views["path"].iloc[start : start + BLOCK]
            ready = list(pool.map(lambda path: prepared(path, record), paths))
            good = [i for i, one in enumerate(ready) if one is not None]
            parts.append(network.features(np.stack([ready[i] for i in good])))
            kept += [start + i for i in good]
    return np.concatenate(parts), views.iloc[kept]


def prepared(path: str, record: Backbone) -> np.ndarray | None:
    try:
        return prepare(read_image(path), record)
    except Exception:  # the demo has broken images on purpose
        return None


def held_out(x: np.ndarray, y: pd.Series, repeats: int) -> tuple[float, float]:
    """Spearman's rho between deciles and what a ridge says of areas that it has not seen."""
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(1, 6, 11)))
    there = y.notna().to_numpy()
    x, target = x[there], y[there].to_numpy(float)
    rhos = []
    for seed in range(repeats):
        said = cross_val_predict(model, x, target, cv=KFold(5, shuffle=True, random_state=seed))
        rhos.append(np.corrcoef(rankdata(said), rankdata(target))[0, 1])
    return float(np.mean(rhos)), float(np.std(rhos))


def specs(folder: Path, names: list[str]) -> None:
    table = pd.read_csv(folder / "scores.csv")
    images = [read_image(folder / name) for name in table["file"]]
    cities = table["city"].to_numpy()
    print(f"{len(table)} images of {len(np.unique(cities))} cities, {SPLITS} splits")
    rhos: dict[tuple[str, str], np.ndarray] = {}  # [outcomes, splits], then the city left out
    y = table[list(SCORES)].to_numpy(float)
    for name in names:
        for crop in ("centre", "squashed"):
            features = of_crop(images, name, squashed=crop == "squashed")
            rhos[name, crop] = people_s(features, y, cities)
            if name == PLACES:
                attributes = read_head(weights_file(get_backbone(name)), "attributes")
                rhos["102 attributes", crop] = people_s(
                    attributes.scores(features.astype(float)), y, cities
                )
    default = rhos["efficientnet-lite0", "centre"]
    for kind, columns in (("5 folds", slice(SPLITS)), ("city left out", slice(SPLITS, None))):
        print(f"{kind:36} " + " ".join(f"{score:>16}" for score in (*SCORES, "mean", "gain")))
        for (name, crop), found in rhos.items():
            own = found[:, columns]
            cells = [interval(row) for row in [*own, own.mean(axis=0)]]
            paired = interval((own - default[:, columns]).mean(axis=0))
            print(f"{name:25} {crop:10} " + " ".join(f"{c:>16}" for c in (*cells, paired)))


def of_crop(images: list[np.ndarray], name: str, *, squashed: bool) -> np.ndarray:
    record = replace(get_backbone(name), squash=squashed)
    network = load_network(record)
    return network.features(np.stack([prepare(image, record) for image in images]))


def people_s(x: np.ndarray, y: np.ndarray, cities: np.ndarray) -> np.ndarray:
    """Spearman's rho of each score [M] in each split of five folds, then in each city left out."""
    ridge = RidgeCV(np.logspace(0, 6, 13), alpha_per_target=True)
    model = make_pipeline(StandardScaler(), ridge)
    every = np.ones(len(y), bool)
    found = []
    for seed in range(SPLITS):
        folds = KFold(5, shuffle=True, random_state=seed)
        found.append((every, cross_val_predict(model, x, y, cv=folds)))
    left_out = cross_val_predict(model, x, y, groups=cities, cv=LeaveOneGroupOut())
    found += [(cities == city, left_out) for city in np.unique(cities)]
    columns = range(y.shape[1])
    return np.array([[spearman(p[at, m], y[at, m]) for at, p in found] for m in columns])


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def interval(values: np.ndarray) -> str:
    """Mean, and the range that 90% of the splits (or all cities) fall in."""
    low, high = np.quantile(values, [0.05, 0.95])
    return f"{values.mean():.2f} ({low:.2f}-{high:.2f})"


def engines(name: str, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        own = random_vgg(Path(folder)) if name.startswith("vgg16") else None
        record = get_backbone(name, weights=own)
        images = known_images(count, record.crop, seed=3)
        for engine in ("torch", "openvino"):
            for precision in ("float32", "bfloat16", "int8"):
                start = time.perf_counter()
                try:
                    network = load_network(record, "cpu", engine, precision)  # type: ignore[arg-type]
                except InputError as error:
                    print(f"{engine:9} {precision:9} {error}")
                    continue
                loaded = time.perf_counter() - start
                print(
                    f"{engine:9} {precision:9} {rate(network, images):7.1f} images/s   "
                    f"cosine {network.cosine:.5f}   loaded in {loaded:.1f} s",
                    flush=True,
                )


def rate(network: FrozenNetwork, images: np.ndarray) -> float:
    """Images a second with a caller on every core, as in extraction; the best of three."""
    with working_threads() as pool:
        callers = pool._max_workers
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            list(pool.map(network.features, [images] * callers))
            seconds.append(time.perf_counter() - start)
    return callers * len(images) / min(seconds[1:])


def random_vgg(folder: Path) -> Path:
    from safetensors.torch import save_file

    from streetgauge.features.architectures import VGG16

    torch.manual_seed(0)
    module = VGG16()
    for value in module.parameters():
        if value.ndim > 1:
            torch.nn.init.normal_(value, 0, (2 / value[0].numel()) ** 0.5)
        else:
            torch.nn.init.zeros_(value)
    save_file(module.state_dict(), folder / "vgg16.safetensors")
    return folder / "vgg16.safetensors"


if __name__ == "__main__":
    main()
