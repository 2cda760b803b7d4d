"""How fast a city is learnt, beside the plain loop that the published code runs.

    .venv/bin/python benchmarks/train.py [--locations 20000] [--study DIR] [--folder DIR]
                                         [--ways plain,one,narrow,all,...] [--repeats 3]
                                         [--steps 2000] [--seeds 5] [--no-mixup] [--short]

On simulated features [N, 4, 4096] of made-up deciles, or of those of a study that has its outcomes
and locations, in a feature store on disk, each way in a process of its own. With several seeds
each has its own city, folds and networks, and what is printed at the end is by how much the least
losses differ from the plain loop's, paired by seed.

plain       one outcome: batch 20, classes balanced by scanning the labels for each of them, four
            reads of the HDF5 file a location, float32, Adam at 1e-4
one         this package, one outcome, one fold, from the store
soonest     the same with batches of 128 and 64 units, until it is as good as "plain" was
narrow      the same with view layers of 64 units each, not 512, 256 and 128
all         this package, 12 outcomes x 5 folds
all-narrow  the same with view layers of 64 units
compressed  the same, on 48 principal components of the features, with 48 units
streamed    "one" with a memory budget of a quarter of the features

Settings are the defaults but for one network an outcome and fold (the default averages five),
every location alike as in the plain loop, and larger batches at higher rates; on components
without mixup. They are `SETTINGS`, `NARROW` and `COMPRESSED`.

The rate counts locations learnt from, once for each outcome and fold that learns from them, and
everything that a way needs is within its time: reading, standardisation, projection, validation,
and of "all" and "compressed" also calibration, bundles and the predictions of every location.
The loss is the head's own, weighted, of the first outcome on the same rows of fold 1's validation
part, at the weights that are kept. The least that "plain" comes to is what the others have to
reach; they are timed from their start to the end of the evaluation at which fold 1 has reached it;
of "soonest" as of "plain", evaluations are many and not on the clock. Of "all" and "compressed"
other folds are trained meanwhile, as many as `streetgauge.devices.abreast` gives.

The share of the peak counts the products of the view layers while learning, forward and backward,
and while looking at the validation part, forward; and the peak is that of large products at the
same precision, measured right before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from _table import add_short, row
from scipy.stats import t
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from streetgauge.devices import abreast, choose_precision
from streetgauge.features import FeatureStore
from streetgauge.io.files import atomic_path
from streetgauge.model import binomial, cross_validate, training
from streetgauge.model.network import view_widths, width_of
from streetgauge.model.reading import subsample
from streetgauge.model.training import (
    EVAL_ROWS,
    EpochFigures,
    Execution,
    balanced_weights,
    train_network,
)
from streetgauge.model.training_data import TrainingData
from streetgauge.settings import FoldSettings, TrainSettings
from streetgauge.splits import make_splits
from streetgauge.splits.folds import Split
from streetgauge.synthetic import simulate_features

VIEWS, SEED = 4, 2019
OUTCOMES, PER_AREA = 12, 8  # of a made-up city
# Locations alike, as in the plain loop: losses are then of the same weights.
SETTINGS = {
    "ensemble_size": 1,
    "sample_weighting": "locations",
    "batch": 1024,
    "learning_rate": 2e-3,
}
NARROW = {"width": 64}
SOONEST = {"width": 64, "batch": 128, "learning_rate": 4e-3, "epochs": 1, "patience": 1000}
COMPRESSED = {"components": 48, "width": 48, "batch": 4096, "learning_rate": 1.2e-2, "mixup": False}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--locations", type=int, default=20_000)
    arguments.add_argument("--folder", type=Path, help="where the store is kept between runs")
    arguments.add_argument("--study", type=Path, help="take labels and locations from it")
    arguments.add_argument("--steps", type=int, default=2000, help="of the plain loop")
    arguments.add_argument("--dimension", type=int, default=4096, help="of the features")
    arguments.add_argument("--seed", type=int, default=SEED)
    arguments.add_argument("--seeds", type=int, default=1, help="so many, from --seed on")
    arguments.add_argument("--epochs", type=int, default=40, help="at most")
    arguments.add_argument("--repeats", type=int, default=1, help="the fastest of each way counts")
    arguments.add_argument("--no-mixup", action="store_true", help="learn from locations alone")
    arguments.add_argument("--ways", default=",".join(WAYS))
    arguments.add_argument("--way", help=argparse.SUPPRESS)
    arguments.add_argument("--target", type=float, default=0.0, help="loss to reach, without plain")
    add_short(
        arguments,
        locations=4000,
        dimension=1024,
        steps=600,
        ways="plain,one,all-narrow,compressed",
    )
    given = arguments.parse_args()
    if given.study is not None and not (given.study / "outcomes.parquet").is_file():
        arguments.error(f"{given.study} has no outcomes.parquet: run `streetgauge outcomes` first")
    if given.way:
        print(json.dumps(WAYS[given.way](given)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        given.folder = given.folder or Path(scratch)
        given.folder.mkdir(parents=True, exist_ok=True)
        losses = []
        for seed in range(given.seed, given.seed + given.seeds):
            given.seed = seed
            losses.append({way: own["loss"] for way, own in _compare(given).items()})
            if given.seeds > 1:
                _path(given).unlink()
        if given.seeds > 1:
            _differ(pd.DataFrame(losses))


def _differ(losses: pd.DataFrame) -> None:
    """Print by how much the least losses of the seeds differ from the plain loop's."""
    print(losses.round(4).to_string())
    for way in losses.columns.drop("plain"):
        less = losses[way] - losses["plain"]
        error = less.std(ddof=1) / np.sqrt(len(less))
        half = t.ppf(0.95, len(less) - 1) * error
        print(f"{way} less plain: {less.mean():+.4f}, 90% interval {less.mean() - half:+.4f} to "
              f"{less.mean() + half:+.4f} over {len(less)} seeds")  # fmt: skip


def _compare(given: argparse.Namespace) -> dict[str, dict[str, float]]:
    _make_store(given)
    size = given.locations * VIEWS * given.dimension * 4 / 2**30
    print(f"{given.locations:,} locations x {VIEWS} x {given.dimension:,} float32, {size:.1f} GiB")
    found: dict[str, dict[str, float]] = {}
    for way in given.ways.split(","):
        target = found.get("plain", {}).get("loss", given.target)
        command = [sys.executable, __file__, "--way", way, "--folder", str(given.folder)]
        command += ["--locations", str(given.locations), "--steps", str(given.steps)]
        command += ["--seed", str(given.seed), "--dimension", str(given.dimension)]
        command += [] if given.study is None else ["--study", str(given.study)]
        command += ["--epochs", str(given.epochs), "--target", str(target)]
        command += ["--no-mixup"] * given.no_mixup
        found[way] = max((_run(command) for _ in range(given.repeats)), key=lambda own: own["rate"])
        plain = found.get("plain", found[way])
        own = found[way]
        print(
            f"{way:11} {own['rate']:11,.0f} locations/s  x{own['rate'] / plain['rate']:7.1f}"
            f"   validation loss {own['loss']:.4f}   {own['seconds']:7.1f} s"
            f"   {own['memory']:.1f} GiB"
            + (
                f"   {own['share']:.0%} of {own['peak'] / 1e9:,.0f} GFLOP/s"
                if way != "plain"
                else ""
            ),
            flush=True,
        )
        if "mean" in own:
            print(f"{'':11} mean loss of all outcomes and folds {own['mean']:.4f}")
        if "reached" in own:
            ratio = plain["seconds"] / own["reached"] * own["abreast"]
            at = f"loss {target:.4f} reached in {own['reached']:.2f} s"
            print(
                f"{'':11} {at}, x{ratio:.0f}" if "plain" in found else f"{'':11} {at}", flush=True
            )
        if given.short and way != "plain":
            figure = f"{own['rate']:,.0f} locations a second"
            ratio = own["rate"] / plain["rate"]
            row(f"training, {WORDS[way]}", f"{ratio:,.0f}", "the plain loop", figure)
            loss, least = f"{own['loss'] / plain['loss']:.3f}", f"{own['loss']:.3f}"
            row(f"validation loss, {WORDS[way]}", loss, "the plain loop", least)
    return found


def _run(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def plain(given: argparse.Namespace) -> dict[str, float]:
    """Train one network as the published port does, for so many steps."""
    data = _Data(given)
    split = data.splits()[0]
    labels = data.deciles[:, 0]
    views = nn.Sequential(
        nn.Linear(given.dimension, 512),
        nn.ReLU(),
        nn.Linear(512, 256),
        nn.ReLU(),
        nn.Linear(256, 128),
        nn.ReLU(),
    )
    rest = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1))
    parameters = [*views.parameters(), *rest.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-4, weight_decay=1e-4)
    chance = np.random.default_rng(given.seed)

    def score(file: h5py.File, rows: np.ndarray) -> torch.Tensor:
        each = [[file["features"][row, view] for row in rows] for view in range(VIEWS)]
        x = torch.from_numpy(np.array(each)) / 8  # the port scales features by 8
        return rest(views(x).mean(0))

    held = subsample(split.validation, EVAL_ROWS)
    shown = torch.from_numpy(data.store.features[held]).transpose(0, 1) / 8
    known = torch.from_numpy(labels[held]).float()[:, None]
    weight = torch.from_numpy(data.weight(split)[held, :1])
    best, best_at = np.inf, 0.0
    steps, start, away = 0, time.perf_counter(), 0.0
    with h5py.File(data.store.path) as file:
        while steps < given.steps:
            batch = []
            for k in range(1, 11):
                members = split.training[labels[split.training] == k]
                batch.extend(chance.choice(members, 2))
            target = torch.from_numpy(labels[batch]).float()[:, None]
            loss = binomial.loss(score(file, np.array(batch)), target)
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
            steps += 1
            if steps % 50 == 0:  # what it has reached is not on its clock
                pause = time.perf_counter()
                with torch.inference_mode():
                    now = float(binomial.loss(rest(views(shown).mean(0)), known, weight)[0])
                if now < best:
                    best, best_at = now, time.perf_counter() - start - away
                away += time.perf_counter() - pause
    seconds = time.perf_counter() - start - away
    return _said(steps * 20 / seconds, best, best_at or seconds)


def one(given: argparse.Namespace, **changes: object) -> dict[str, float]:
    """Train one outcome of one fold."""
    data, split = _first(given)
    figures: list[tuple[float, EpochFigures]] = []
    settings = _settings(given, changes)
    peak = _peak()
    start = time.perf_counter()
    train_network(
        data,
        (split.training, split.validation),
        settings,
        seed=given.seed,
        network_seeds=[given.seed],
        execution=Execution(
            on_epoch=lambda epoch: figures.append((time.perf_counter() - start, epoch))
        ),
    )
    seconds = time.perf_counter() - start
    losses = [float(epoch.validation_loss[0]) for _, epoch in figures]
    learnt = len(split.training) * figures[-1][1].epoch
    seen = len(figures) * len(subsample(split.validation, EVAL_ROWS))
    found = _said(learnt / seconds, min(losses), seconds)
    found |= _share(given.dimension, learnt, seen, seconds, settings, peak)
    reached = [at for (at, _), loss in zip(figures, losses, strict=True) if loss <= given.target]
    return found | ({"reached": reached[0], "abreast": 1} if reached else {})


def narrow(given: argparse.Namespace) -> dict[str, float]:
    """Train one outcome of one fold with fewer units."""
    return one(given, **NARROW)


class _GoodEnoughError(Exception):
    pass


def soonest(given: argparse.Namespace) -> dict[str, float]:
    """Train one outcome of one fold till it is as good as it has to be, looked at as "plain" is."""
    away = 0.0

    def off_the_clock(step: Callable) -> Callable:
        def timed(*arguments: object) -> object:
            nonlocal away
            start = time.perf_counter()
            result = step(*arguments)
            away += time.perf_counter() - start
            return result

        return timed

    training.EVAL_EVERY = 512
    training._Loop.evaluate = off_the_clock(training._Loop.evaluate)
    data, split = _first(given)
    settings = _settings(given, SOONEST)
    peak = _peak()
    last: list[EpochFigures] = []

    def note(figures: EpochFigures) -> None:
        last[:] = [figures]
        if float(figures.validation_loss[0]) <= given.target:
            raise _GoodEnoughError

    start = time.perf_counter()
    with contextlib.suppress(_GoodEnoughError):
        train_network(
            data,
            (split.training, split.validation),
            settings,
            seed=given.seed,
            network_seeds=[given.seed],
            execution=Execution(on_epoch=note),
        )
    seconds = time.perf_counter() - start - away
    learnt, loss = len(split.training) * last[0].epoch, float(last[0].validation_loss[0])
    found = _said(learnt / seconds, loss, seconds) | _share(
        given.dimension, learnt, 0, seconds, settings, peak
    )
    return found | ({"reached": seconds, "abreast": 1} if loss <= given.target else {})


def streamed(given: argparse.Namespace) -> dict[str, float]:
    """Train one outcome within a quarter of the memory that its features take."""
    return one(given, memory=given.locations * VIEWS * given.dimension * 4 / 2**30 / 4)


def everything(given: argparse.Namespace, **changes: object) -> dict[str, float]:
    """Train all outcomes of all folds."""
    data = _Data(given)
    splits = [split for split in data.splits() if len(split.test)]
    settings = _settings(given, changes)
    peak = _peak()
    with tempfile.TemporaryDirectory() as scratch:
        began, start = time.time(), time.perf_counter()
        cross_validate(
            TrainingData(
                data.store.features,
                data.store.present,
                data.deciles,
                data.areas,
                data.ids,
                data.outcomes,
            ),
            splits,
            settings,
            seed=given.seed,
            directory=Path(scratch),
            cache_key="",
        )
        seconds = time.perf_counter() - start
        lines = (Path(scratch) / "history.jsonl").read_text().splitlines()
        events = EventAccumulator(str(Path(scratch) / "logs" / splits[0].name)).Reload()
        scalars = events.Scalars(f"{data.outcomes[0]}/validation_loss")
    history = pd.DataFrame([json.loads(line) for line in lines])
    means = history[history["split"] == splits[0].name].groupby("step")["validation_loss"].mean()
    loss = next(step.value for step in scalars if step.step == means.idxmin())
    epochs = history.groupby("split")["epoch"].max()
    steps_of = history.groupby("split")["step"].max()
    learnt = sum(len(split.training) * epochs[split.name] for split in splits)
    seen = sum(
        len(subsample(split.validation, EVAL_ROWS)) * steps_of[split.name] for split in splits
    )
    found = _said(learnt / seconds * len(data.outcomes), loss, seconds)
    found |= _share(given.dimension, learnt, seen, seconds, settings, peak)
    kept = history.groupby(["split", "step"])["validation_loss"].mean()
    found["mean"] = float(kept.groupby("split").min().mean())
    reached = [step.wall_time - began for step in scalars if step.value <= given.target]
    side_by_side = len(data.outcomes) * abreast(len(splits))
    return found | ({"reached": reached[0], "abreast": side_by_side} if reached else {})


def everything_narrow(given: argparse.Namespace) -> dict[str, float]:
    """Train all outcomes of all folds with fewer units."""
    return everything(given, **NARROW)


def compressed(given: argparse.Namespace) -> dict[str, float]:
    """Train all outcomes of all folds on principal components."""
    return everything(given, **COMPRESSED)


class _Data:
    """The store, and labels in the order of its rows."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.store = FeatureStore.open(_path(given))
        places, labels = _city(given)
        self.seed = given.seed
        self.ids, self.areas = places["location_id"].to_numpy(str), places["area"].to_numpy(str)
        self.deciles = labels.to_numpy(np.float32)
        self.outcomes = list(labels.columns)
        assert (self.store.location_ids == self.ids).all()

    def splits(self) -> list:
        return make_splits(FoldSettings(), self.areas, self.deciles, seed=self.seed)

    def weight(self, split: object) -> np.ndarray:
        return balanced_weights(self.deciles, split.training)


def _city(given: argparse.Namespace) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give locations with their areas, and their deciles."""
    if given.study is None:
        return _made_up(given.locations, given.seed)
    table = pd.read_parquet(given.study / "outcomes.parquet").set_index("area")
    labels = table[[name for name in table if name.endswith("_decile")]]
    places = pd.read_parquet(given.study / "locations.parquet")
    places = places[places["area"].isin(labels.index)].sample(given.locations, random_state=SEED)
    places = places.sort_values("location_id", ignore_index=True)
    own = labels.reindex(places["area"]).astype("Float64").astype("float64")
    return places, own.set_index(pd.Index(places["location_id"])).rename(columns=_outcome)


def _made_up(locations: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make areas whose outcomes have half of their variance in common."""
    rng = np.random.default_rng(seed)
    shape = (-(-locations // PER_AREA), OUTCOMES)
    values = rng.normal(size=(shape[0], 1)) + rng.normal(size=shape)
    deciles = values.argsort(axis=0).argsort(axis=0) * 10 // shape[0] + 1.0
    area = np.arange(locations) % shape[0]
    ids = pd.Index([f"L{i:06}" for i in range(locations)], name="location_id")
    places = pd.DataFrame({"location_id": ids, "area": [f"A{i:05}" for i in area]})
    return places, pd.DataFrame(deciles[area], ids, [f"outcome{i}" for i in range(OUTCOMES)])


def _outcome(column: str) -> str:
    return column.removesuffix("_decile")


def _path(given: argparse.Namespace) -> Path:
    return given.folder / f"city-{given.locations}-{given.dimension}-{given.seed}.h5"


def _make_store(given: argparse.Namespace) -> None:
    if _path(given).is_file():
        return
    places, labels = _city(given)
    views = list("abcd")
    with (
        atomic_path(_path(given)) as path,  # a store that was left half made is none
        FeatureStore.create(
            path, places["location_id"], views, given.dimension, {"backbone": "simulated"}
        ) as store,
    ):
        for start in range(0, len(places), 2048):
            slots = np.arange(start, min(start + 2048, len(places)))
            features = simulate_features(
                labels.iloc[slots],
                places["area"].iloc[slots],
                dimension=given.dimension,
                views=VIEWS,
                signal=0.5,
                seed=given.seed,
            )
            store.write(slots, features, np.ones(features.shape[:2], np.bool_))


def _said(rate: float, loss: float, seconds: float) -> dict[str, float]:
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"rate": rate, "loss": loss, "seconds": seconds, "memory": used}


def _first(given: argparse.Namespace) -> tuple[TrainingData, Split]:
    """Give the first outcome's data, and the first fold."""
    data = _Data(given)
    split = data.splits()[0]
    weight = data.weight(split)[:, :1]
    return TrainingData(
        data.store.features,
        data.store.present,
        data.deciles[:, :1],
        data.areas,
        data.ids,
        data.outcomes[:1],
        sample_weight=weight,
    ), split


def _settings(given: argparse.Namespace, changes: dict[str, object]) -> TrainSettings:
    own = {"epochs": given.epochs, "mixup": not given.no_mixup}
    return TrainSettings.model_validate(SETTINGS | own | changes)


def _share(
    dimension: int, learnt: float, seen: float, seconds: float, settings: TrainSettings, peak: float
) -> dict[str, float]:
    """Say which share of the peak it takes to learn from and to look at so many locations."""
    width, second, third = view_widths(width_of(settings))
    first = (settings.components or dimension) * width
    others = width * second + second * third
    # One product forward and two backward; one in the first layer, which hands no gradient on.
    operations = 2 * VIEWS * (learnt * (2 * first + 3 * others) + seen * (first + others))
    return {"share": operations / seconds / peak, "peak": peak}


def _peak() -> float:
    """Measure the operations a second of large matrix products at the precision of training."""
    dtype = choose_precision("auto", torch.device("cpu"))
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    best = np.inf
    for _ in range(20):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best


WORDS = {
    "one": "one outcome, one fold",
    "all-narrow": "12 outcomes x 5 folds, width 64",
    "compressed": "12 outcomes x 5 folds on 48 components",
}
WAYS = {
    "plain": plain,
    "one": one,
    "soonest": soonest,
    "narrow": narrow,
    "streamed": streamed,
    "all": everything,
    "all-narrow": everything_narrow,
    "compressed": compressed,
}


if __name__ == "__main__":
    main()
