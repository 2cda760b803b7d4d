from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from streetgauge.errors import InputError
from streetgauge.model import Bundle, binomial, cross_validate, crossvalidation, training
from streetgauge.model.bundle import area_hashes
from streetgauge.model.crossvalidation import CALIBRATION_SCORES, HistoryLog
from streetgauge.model.reading import Reader
from streetgauge.model.training import Checkpoint, EpochFigures
from streetgauge.settings import FoldSettings, TrainSettings
from streetgauge.splits import Split, ViewIdentity, make_splits

OUTCOMES = ["income", "health"]
PARTS = ["fold-1", "fold-2", "fold-3", "all"]


def splits_of(world: Any) -> list[Split]:
    return make_splits(FoldSettings(k=3, validation=0.2), world.areas, world.deciles, seed=0)


def run(world: Any, directory: Path, *, epochs: int = 4, **changes: Any) -> pd.DataFrame:
    given: dict[str, Any] = {
        "settings": TrainSettings(
            learner="network", epochs=epochs, batch=64, ensemble_size=2, device="cpu"
        ),
        "seed": 5,
        "directory": directory,
        "cache_key": "same",
    }
    about = {"outcomes": OUTCOMES, "source": {"backbone": "table"}}
    about |= {
        name: changes.pop(name) for name in ("outcomes", "classes", "rows") if name in changes
    }
    given |= changes
    splits = given.pop("splits", None) or splits_of(world)
    return cross_validate(world.data(**about), splits, **given)


def bytes_of(directory: Path) -> dict[str, bytes]:
    files = [directory / "history.jsonl"]
    files += [file for part in PARTS for file in sorted((directory / part).iterdir())]
    return {str(file.relative_to(directory)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def world(make_world: Any) -> Any:
    return make_world()


@pytest.fixture(scope="module")
def done(world: Any, tmp_path_factory: Any) -> tuple[pd.DataFrame, Path]:
    directory = tmp_path_factory.mktemp("model")
    return run(world, directory), directory


def test_predictions_fit_their_contract(done: tuple[pd.DataFrame, Path], world: Any) -> None:
    frame, _ = done
    columns = ["location_id", "area", "fold", "outcome", "score", "decile", "actual_decile"]
    assert list(frame) == [*columns, *(f"p{k}" for k in range(1, 11)), "score_sd"]
    assert frame.dtypes.astype(str).to_dict() == {
        **dict.fromkeys(("location_id", "area", "outcome"), "str"),
        **dict.fromkeys(("fold", "decile"), "int64"),
        "score": "float64",
        "actual_decile": "Int64",
        **{f"p{k}": "float32" for k in range(1, 11)},
        "score_sd": "float64",
    }
    assert len(frame) == 2 * len(world.ids)
    pd.testing.assert_frame_equal(
        frame, frame.sort_values(["outcome", "location_id"], ignore_index=True)
    )
    probabilities = frame.filter(regex=r"^p\d").to_numpy()
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    own = binomial.probabilities(frame["score"].to_numpy(), 10)
    np.testing.assert_array_equal(own.argmax(1) + 1, frame["decile"])
    truth = pd.DataFrame(world.deciles, index=world.ids, columns=OUTCOMES).stack()
    keys = pd.MultiIndex.from_frame(frame[["location_id", "outcome"]])
    np.testing.assert_array_equal(frame["actual_decile"], truth.loc[keys])


def test_probabilities_are_thousandths_near_the_models_own_and_have_a_sum_of_exactly_1(
    done: tuple[pd.DataFrame, Path], world: Any
) -> None:
    frame, directory = done
    rounded = frame.filter(regex=r"^p\d").to_numpy()
    np.testing.assert_array_equal(rounded * 1024, np.rint(rounded * 1024))
    np.testing.assert_array_equal(rounded.sum(1), 1)
    assert rounded.min() >= 0
    part = (frame["fold"] == 1) & (frame["outcome"] == "health")
    rows = np.searchsorted(world.ids, frame.loc[part, "location_id"].to_numpy(str))
    own = Bundle.load(directory / "fold-1").predict(world.features, rows=rows, device="cpu")
    off = np.cumsum(rounded[part], axis=1) - np.cumsum(own.probabilities[:, 1], axis=1)
    assert 0 < np.abs(off).max() <= 1 / 2048 + 1e-12


def test_areas_that_were_held_out_are_put_in_order(done: tuple[pd.DataFrame, Path]) -> None:
    frame, _ = done
    for _, one in frame.groupby("outcome"):
        by_area = one.groupby("area")[["score", "actual_decile"]].mean().astype(float)
        assert spearmanr(by_area["score"], by_area["actual_decile"]).statistic > 0.8


def test_a_location_is_predicted_by_the_model_that_has_not_seen_its_area(
    done: tuple[pd.DataFrame, Path], world: Any
) -> None:
    frame, directory = done
    for i in (1, 2, 3):
        bundle = Bundle.load(directory / f"fold-{i}")
        part = frame[(frame["fold"] == i) & (frame["outcome"] == "health")]
        rows = np.searchsorted(world.ids, part["location_id"].to_numpy(str))
        said = bundle.predict(world.features, rows=rows, device="cpu")
        np.testing.assert_array_equal(said.score[:, 1].astype(np.float32), part["score"])
        others = 40 - part["area"].nunique()  # what stops one member, the other learns
        assert bundle.training.training_areas == bundle.training.validation_areas == others


def test_a_network_alone_does_not_learn_from_the_areas_that_stop_it(
    world: Any, tmp_path: Path
) -> None:
    settings = TrainSettings(learner="network", epochs=1, batch=64, ensemble_size=1, device="cpu")
    frame = run(world, tmp_path, settings=settings)
    for i, one in frame.groupby("fold"):
        record = Bundle.load(tmp_path / f"fold-{i}").training
        assert record is not None
        assert record.validation_areas == round(0.2 * (40 - one["area"].nunique()))
        assert record.training_areas + record.validation_areas + one["area"].nunique() == 40


def test_held_out_labels_and_features_do_not_reach_the_model(
    done: tuple[pd.DataFrame, Path], world: Any, tmp_path: Path
) -> None:
    _, directory = done
    splits = splits_of(world)
    changed = world.take(np.arange(len(world.ids)))
    changed.deciles[splits[0].test] = 11 - changed.deciles[splits[0].test]
    changed.features[splits[0].test] += 100
    run(changed, tmp_path, splits=splits)
    for file, same in (("fold-1", True), ("fold-2", False)):
        ours, theirs = (
            (d / file / "weights.safetensors").read_bytes() for d in (directory, tmp_path)
        )
        assert (ours == theirs) is same


def test_the_order_of_the_rows_changes_nothing(
    done: tuple[pd.DataFrame, Path], world: Any, tmp_path: Path
) -> None:
    frame, directory = done
    shuffled = world.take(np.random.default_rng(0).permutation(len(world.ids)))
    pd.testing.assert_frame_equal(run(shuffled, tmp_path), frame, check_exact=True)
    assert bytes_of(tmp_path) == bytes_of(directory)


def test_locations_may_lie_anywhere_in_the_store(
    done: tuple[pd.DataFrame, Path], world: Any, tmp_path: Path
) -> None:
    frame, directory = done
    rows = np.random.default_rng(1).permutation(len(world.ids) + 50)[: len(world.ids)]
    features = np.full((len(world.ids) + 50, 3, 8), np.nan, np.float32)
    present = np.zeros(features.shape[:2], np.bool_)
    features[rows], present[rows] = world.features, world.present
    stored = replace(world, features=features, present=present)
    found = run(stored, tmp_path, rows=rows, splits=splits_of(world))
    pd.testing.assert_frame_equal(found, frame, check_exact=True)
    assert bytes_of(tmp_path) == bytes_of(directory)


def test_a_part_that_is_done_is_not_trained_again_unless_something_changed(
    world: Any, tmp_path: Path
) -> None:
    def times() -> list[int]:
        return [(tmp_path / part / "README.md").stat().st_mtime_ns for part in PARTS]

    first = run(world, tmp_path, epochs=1)
    before = times()
    pd.testing.assert_frame_equal(run(world, tmp_path, epochs=1), first, check_exact=True)
    assert times() == before

    (tmp_path / "fold-2" / "weights.safetensors").write_bytes(b"half")
    pd.testing.assert_frame_equal(run(world, tmp_path, epochs=1), first, check_exact=True)
    assert [a == b for a, b in zip(times(), before, strict=True)] == [True, False, True, True]

    run(world, tmp_path, epochs=1, cache_key="other")
    assert not set(times()) & set(before)


KILLED = """
import os
import sys
from pathlib import Path
from types import SimpleNamespace
sys.path[:0] = [{tests!r}, {helpers!r}, {here!r}]
from conftest import build_world
from test_crossvalidation import run
if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):  # one core: one part after the other
        os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
    run(build_world(), Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_run_that_was_killed_while_training_and_run_again_gives_the_same_bytes(
    done: tuple[pd.DataFrame, Path], world: Any, tmp_path: Path
) -> None:
    frame, directory = done
    script = tmp_path / "script.py"
    here = Path(__file__).parent
    paths = {"tests": here.parent, "helpers": here.parent / "helpers", "here": here}
    script.write_text(KILLED.format(**{name: str(path) for name, path in paths.items()}))
    target = tmp_path / "model"
    with subprocess.Popen([sys.executable, str(script), str(target)]) as process:
        second = target / "logs" / "fold-2" / "history.jsonl"
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if second.is_file() and second.stat().st_size:  # in the middle of fold 2
                break
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (target / "fold-1" / "bundle.json").is_file()
    assert not (target / "all").exists()
    (target / ".fold-2.abc").mkdir()  # as if it had been killed while it wrote the bundle

    pd.testing.assert_frame_equal(run(world, target), frame, check_exact=True)
    assert bytes_of(target) == bytes_of(directory)
    assert not list(target.glob(".*"))


def test_members_learn_from_all_areas_between_them_and_are_averaged(
    world: Any, tmp_path: Path
) -> None:
    settings = TrainSettings(
        learner="network", network="shared", ensemble_size=3, epochs=4, batch=64, device="cpu"
    )
    frame = run(world, tmp_path / "one", settings=settings)
    pd.testing.assert_frame_equal(run(world, tmp_path / "two", settings=settings), frame)
    bundle = Bundle.load(tmp_path / "one" / "fold-1")
    assert bundle.model.network.ensemble_size == 3
    split = splits_of(world)[0]
    others = len(np.unique(world.areas)) - len(np.unique(world.areas[split.test]))
    assert bundle.training.training_areas == bundle.training.validation_areas == others
    lines = (tmp_path / "one" / "history.jsonl").read_text().splitlines()
    assert {json.loads(line)["member"] for line in lines} == {1, 2, 3}
    for _, own in frame.groupby("outcome"):
        by_area = own.groupby("area")[["score", "actual_decile"]].mean().astype(float)
        assert spearmanr(by_area["score"], by_area["actual_decile"]).statistic > 0.8


def test_progress_counts_the_epochs_of_all_parts(world: Any, tmp_path: Path) -> None:
    told: list[Any] = []
    first: list[int] = []

    @contextmanager
    def progress(description: str, total: int, unit: str) -> Iterator[Any]:
        told.append((description, total, unit))
        yield told.append

    for _ in range(2):  # trained, and then found trained already
        told.clear()
        run(world, tmp_path, epochs=2, progress=progress)
        assert told[0] == ("train", 16, "epochs")  # 2 of 2 members of 4 parts
        assert sum(told[1:]) == 16
        first = first or told[1:]
    assert sorted(first) == [0] * 4 + [1] * 16  # one by one, as they are done


def test_a_missing_label_is_predicted_and_stays_missing(world: Any, tmp_path: Path) -> None:
    partly = world.take(np.arange(len(world.ids)))
    partly.deciles[partly.areas == "A007", 0] = np.nan
    frame = run(partly, tmp_path, epochs=1)
    missing = frame[frame["actual_decile"].isna()]
    assert set(missing["area"]) == {"A007"}
    assert set(missing["outcome"]) == {"income"}
    assert missing["score"].notna().all()


def test_what_does_not_fit_is_refused(world: Any, tmp_path: Path) -> None:
    n = len(world.ids)

    def refused(reason: str, splits: Any = None, **changes: Any) -> None:
        with pytest.raises(InputError, match=reason):
            run(replace(world, **changes), tmp_path, splits=splits, epochs=1)
        assert not any(tmp_path.glob("fold-*"))

    refused("'L00004' appears more than once", ids=np.where(np.arange(n) == 3, "L00004", world.ids))
    refused("has no view at all", present=world.present & (np.arange(n) != 3)[:, None])
    halves = np.arange(0, n, 2), np.arange(1, n, 4), np.arange(3, n, 4)
    refused("in two parts of fold-1", splits=[Split("fold-1", 1, *halves)])
    refused("none of the classes 1 to 10", deciles=world.deciles + 1)
    splits = splits_of(world)
    refused("does not fit the others", splits=splits, areas=world.areas[1:])
    nothing = world.deciles.copy()
    nothing[:, 1] = np.nan
    refused(
        "outcome 'health': no area of the training part has a label",
        splits=splits,
        deciles=nothing,
    )


def test_parts_trained_at_once_keep_to_the_memory_between_them(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live: weakref.WeakSet[Reader] = weakref.WeakSet()
    most, windows, lock, read = [0], [0], threading.Lock(), Reader._window

    def noted(self: Reader, rows: np.ndarray) -> Reader:
        window = read(self, rows)
        with lock:
            live.add(window)
            windows[0] += 1
            most[0] = max(most[0], sum(each.features.nbytes for each in list(live)))
        time.sleep(0.002)  # the other part reads its own meanwhile
        return window

    monkeypatch.setattr(Reader, "_window", noted)
    memory = world.features.nbytes / 2 / 2**30
    settings = TrainSettings(
        learner="network", epochs=3, batch=16, ensemble_size=1, device="cpu", memory=memory
    )
    run(world, tmp_path, settings=settings)
    block = world.features[:1].nbytes * 8  # blocks differ by a row
    assert windows[0] > len(PARTS) * 3 * 2
    assert most[0] <= world.features.nbytes / 2 + len(PARTS) * block


def test_history_is_json_also_without_a_validation_part(world: Any, tmp_path: Path) -> None:
    splits = [replace(split, validation=split.validation[:0]) for split in splits_of(world)]
    settings = TrainSettings(learner="network", epochs=2, batch=64, ensemble_size=1, device="cpu")
    run(world, tmp_path, settings=settings, splits=splits)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    said = [json.loads(line, parse_constant=refuse) for line in lines]
    assert said[0]["validation_mae"] is None
    assert said[0]["train_loss"] > 0


@pytest.mark.parametrize("part", ["training", "test"])
def test_a_feature_that_is_no_number_is_named_by_its_row_in_the_store_and_its_location(
    world: Any, tmp_path: Path, part: str
) -> None:
    n = len(world.ids)
    row_of = np.random.default_rng(0).permutation(n + 20)[:n]
    features = np.zeros((n + 20, *world.features.shape[1:]), np.float32)
    features[row_of] = world.features
    folds = FoldSettings(scheme="train-test", final=False)
    (split,) = make_splits(folds, world.areas, world.deciles, seed=0)
    location = int(getattr(split, part)[4])
    features[row_of[location], 1, 2] = np.inf
    with pytest.raises(InputError) as caught:
        cross_validate(
            replace(
                world.data(OUTCOMES),
                features=features,
                present=np.ones(features.shape[:2], bool),
                rows=row_of,
            ),
            [split],
            TrainSettings(learner="network", epochs=1, batch=64, ensemble_size=1, device="cpu"),
            seed=5,
            directory=tmp_path,
            cache_key="same",
        )
    where = f"features, row {row_of[location]} (location '{world.ids[location]}'), view 2, feature"
    assert where in str(caught.value)


def test_bundles_know_the_areas_that_were_trained_on_and_not_those_held_out(
    done: tuple[pd.DataFrame, Path], world: Any
) -> None:
    for split in splits_of(world):
        learned = Bundle.load(done[1] / split.name).area_hashes
        parts = [split.training, split.validation]
        assert learned == area_hashes(world.areas[np.concatenate(parts)])
        assert area_hashes(world.areas[split.test]).isdisjoint(learned or ())


def test_each_figure_is_written_under_its_own_name(tmp_path: Path) -> None:
    told: list[int] = []
    figures = EpochFigures(
        3,
        1.5,
        *(np.array(pair, np.float32) for pair in ((1, 2), (3, 4), (5, 6), (7, np.nan))),
        np.array([True, False]),
    )
    with HistoryLog(tmp_path / "fold-1", "fold-1", OUTCOMES, told.append) as diary:
        diary.note(2, figures)
        text = (tmp_path / "fold-1" / "history.jsonl").read_text()  # there while training goes on
    assert told == [0]  # half an epoch is none
    income, health = (json.loads(line) for line in text.splitlines())
    about = {"split": "fold-1", "member": 2, "step": 3, "epoch": 1.5}
    names = ("train_loss", "validation_loss", "validation_mae", "validation_tau")
    assert income == {
        **about,
        **{"outcome": "income", "training": True},
        **dict(zip(names, (1, 3, 5, 7), strict=True)),
    }
    assert health == {
        **about,
        **{"outcome": "health", "training": False},
        **dict(zip(names, (2, 4, 6, None), strict=True)),
    }
    shown = EventAccumulator(str(tmp_path / "fold-1")).Reload()
    for outcome, values in (("income", (1, 3, 5, 7)), ("health", (2, 4, 6))):
        for name, value in zip(names, values, strict=False):
            (scalar,) = shown.Scalars(f"{outcome}/{name}/member-2")
            assert (scalar.step, scalar.value) == (3, value)


def test_without_tensorboard_everything_else_is_the_same(
    done: tuple[pd.DataFrame, Path],
    world: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("tensorboard", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    with caplog.at_level("INFO"):
        predictions = run(world, tmp_path)
    pd.testing.assert_frame_equal(predictions, done[0])
    assert bytes_of(tmp_path) == bytes_of(done[1])
    messages = [record.getMessage() for record in caplog.records]
    missing = "TensorBoard logs are not written; pip install 'streetgauge[tensorboard]'"
    assert messages.count(missing) == 1
    assert {file.name for file in (tmp_path / "logs").glob("*/*")} == {"history.jsonl"}


def test_each_part_has_a_seed_of_its_own(done: tuple[pd.DataFrame, Path]) -> None:
    assert len({Bundle.load(done[1] / part).seed for part in PARTS}) == len(PARTS)


@pytest.mark.parametrize("changed", ["splits", "settings", "seed"])
def test_what_was_made_from_something_else_is_made_anew(
    world: Any, tmp_path: Path, changed: str
) -> None:
    def made() -> dict[str, bytes]:
        return {part: (tmp_path / part / "bundle.json").read_bytes() for part in PARTS}

    run(world, tmp_path, epochs=1)
    before = made()
    other = {
        "splits": {
            "splits": make_splits(
                FoldSettings(k=3, validation=0.2, train_size=0.5),
                world.areas,
                world.deciles,
                seed=0,
            )
        },
        "settings": {
            "settings": TrainSettings(
                learner="network", epochs=1, batch=32, ensemble_size=2, device="cpu"
            ),
        },
        "seed": {"seed": 6},
    }[changed]
    run(world, tmp_path, epochs=1, **other)
    assert not set(made().values()) & set(before.values())


def test_a_training_that_was_interrupted_goes_on_from_its_checkpoint_and_leaves_none(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossvalidation, "Checkpoint", partial(Checkpoint, every=0))
    looks: list[int] = []
    part_of = training.EpochSampler.part

    def noted(self: training.EpochSampler, look: int, batch: int) -> Any:
        looks.append(look)
        return part_of(self, look, batch)

    monkeypatch.setattr(training.EpochSampler, "part", noted)
    splits = splits_of(world)[:1]
    frame = run(world, tmp_path / "whole", splits=splits)
    assert looks == [1, 2, 3, 4, 1, 2, 3, 4]  # of both members
    assert not (tmp_path / "whole" / "checkpoints").exists()

    @contextmanager
    def progress(*words: Any) -> Iterator[Any]:
        yield stop

    def stop(epochs: int) -> None:
        if len(looks) == 7:  # the second member's third
            raise KeyboardInterrupt

    looks.clear()
    with pytest.raises(KeyboardInterrupt):
        run(world, tmp_path / "killed", splits=splits, progress=progress)
    assert any((tmp_path / "killed" / "checkpoints").iterdir())
    looks.clear()
    again = run(world, tmp_path / "killed", splits=splits)
    assert looks == [3, 4]  # what had been kept is not done again
    pd.testing.assert_frame_equal(again, frame, check_exact=True)
    assert not (tmp_path / "killed" / "checkpoints").exists()


def test_calibration_scores_are_stored_where_one_part_is_tested_and_of_labelled_locations_only(
    world: Any, done: tuple[pd.DataFrame, Path], tmp_path: Path
) -> None:
    assert not (
        done[1] / CALIBRATION_SCORES
    ).exists()  # each of three shows how wrong the others may be
    partly = world.take(np.random.default_rng(3).permutation(len(world.ids)))
    partly.deciles[partly.areas == "A007", 0] = np.nan
    (split,) = make_splits(
        FoldSettings(scheme="train-validation-test", final=False),
        partly.areas,
        partly.deciles,
        seed=2,
    )
    assert "A007" not in partly.areas[split.test]
    run(partly, tmp_path, splits=[split], epochs=1)
    calibration = pd.read_parquet(tmp_path / CALIBRATION_SCORES)
    learned = np.concatenate([split.training, split.validation])
    truth = pd.DataFrame(partly.deciles[learned], partly.ids[learned], OUTCOMES).stack().dropna()
    keys = calibration[["location_id", "outcome"]]
    assert len(calibration) == len(truth) == len(keys.drop_duplicates())
    np.testing.assert_array_equal(
        calibration["actual_decile"].astype(float), truth.loc[pd.MultiIndex.from_frame(keys)]
    )
    assert not ((calibration["area"] == "A007") & (calibration["outcome"] == "income")).any()


def test_what_only_copies_in_the_test_part_show_is_learned_only_if_they_are_allowed(
    make_world: Any, tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    world = make_world(n_areas=60, per_area=3, views=2, dimension=12, seed=4)
    # Features know nothing but which two areas are copies of each other, with the same deciles.
    half = rng.normal(size=(90, 2, 12)).astype(np.float32)
    deciles = np.repeat(rng.permutation(np.arange(30)) // 3 + 1.0, 3)[:, None]
    world = replace(
        world, features=np.concatenate([half, half]), deciles=np.concatenate([deciles, deciles])
    )
    there = {"present": world.present, "done": np.ones(180, bool)}
    store: Any = SimpleNamespace(
        features=world.features, signature=np.zeros((180, 2, 16), np.uint8), **there
    )
    splits = make_splits(FoldSettings(k=4, final=False), world.areas, world.deciles, seed=0)
    settings = TrainSettings(learner="kernel")
    rho = {}
    for name, identity in (("allow", None), ("exclude", ViewIdentity.of(store))):
        how = {"seed": 1, "directory": tmp_path / name, "cache_key": name}
        data = world.data(["y"], identity=identity)
        frame = cross_validate(data, splits, settings, **how)
        areas = frame.groupby("area")[["score", "actual_decile"]].mean()
        rho[name] = spearmanr(areas["score"], areas["actual_decile"]).statistic
    assert rho["allow"] > 0.5
    assert rho["exclude"] < 0.3
