"""What is wrong in the published code, and must never be wrong here; in the order of the guide.

The table is in docs/from-the-paper.md.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.special import expit
from scipy.stats import spearmanr

from streetgauge.features import FeatureStore
from streetgauge.imagery import ImageSource, raw_images
from streetgauge.imagery.archives import list_archive
from streetgauge.model import Model, binomial, fit_model
from streetgauge.model.calibration import Scored, calibrate
from streetgauge.model.fitting import ensemble_parts
from streetgauge.model.training import EpochFigures, Execution, balanced_weights
from streetgauge.settings import FoldSettings, TrainSettings
from streetgauge.splits import LocationColumns, Split, make_splits

Run = Callable[..., tuple[int, str, str]]


# --- 1, 2: a location without features, an image that cannot be read ------------------------------


def brightness(images: np.ndarray) -> np.ndarray:
    return np.repeat(images.mean(axis=(1, 2, 3), dtype=np.float32)[:, np.newaxis], 4096, axis=1)


@pytest.mark.parametrize("require", ["all", "any"])
@pytest.mark.parametrize(
    "content", [None, b"", b"no image", b"half"], ids=["absent", "empty", "text", "cut off"]
)
def test_an_image_that_is_missing_or_damaged_moves_no_features_to_another_location(
    tmp_path: Path, extract_with: Callable[..., pd.DataFrame], require: str, content: bytes | None
) -> None:
    ids = [f"L{i}" for i in range(5)]
    for i in range(5):
        for view, letter in enumerate("abcd"):
            grey = 40 * i + 10 * view + 5
            Image.new("L", (230, 224), grey).save(tmp_path / f"L{i}_{letter}.png")
    broken = tmp_path / "L2_b.png"
    whole = broken.read_bytes()
    broken.unlink()
    if content is not None:
        broken.write_bytes(whole[: len(whole) // 2] if content == b"half" else content)
    extract_with(brightness, tmp_path, "{location_id}_{view}.png", ids, require)
    store = FeatureStore.open(tmp_path / "features.h5")
    for i, row in enumerate(store.rows(ids)):
        if i == 2 and require == "all":
            assert row == -1
            continue
        expected = 40.0 * i + 10 * np.arange(4) + 5
        expected[1] *= i != 2  # zeros, and said to be absent
        np.testing.assert_allclose(store.features[row, :, 0], expected)
        assert store.present[row].tolist() == [True, i != 2, True, True]


@pytest.fixture
def trained(grid_writer: Callable[..., Path], run: Run, tmp_path: Path) -> Path:
    """A study trained on a table that lacks a location early in the file."""
    study = grid_writer(tmp_path / "study", side=5, per_area=6)
    table = pd.read_csv(study / "features.csv")
    table[table["place"] != "P00020"].to_csv(study / "features.csv", index=False)
    file = study / "study.toml"
    text = file.read_text(encoding="utf-8")
    folds = '[folds]\nscheme = "train-test"\ntest = 0.4\nfinal = false\nother_folds = false'
    text = text.replace("[folds]\nk = 3", folds)
    file.write_text(text, encoding="utf-8")
    for stage in ("outcomes", "locations", "features", "train"):
        code, _, err = run(stage, study)
        assert code == 0, err
    return study


def test_behind_a_location_without_features_every_location_keeps_its_own_label(
    trained: Path,
) -> None:
    values = pd.read_csv(trained / "outcomes.csv").set_index("code")
    predictions = pd.read_parquet(trained / "predictions.parquet")
    assert "P00020" not in set(predictions["location_id"])
    assert set(pd.read_parquet(trained / "skipped.parquet")["location_id"]) == {"P00020"}
    for outcome, high_is_worst in (("income", False), ("illness", True)):
        labels = range(10, 0, -1) if high_is_worst else range(1, 11)
        decile = pd.qcut(values[outcome], 10, labels=labels).astype(int)
        own = predictions[predictions["outcome"] == outcome]
        # Six locations an area, in the order of the areas.
        areas = [f"E{int(place[1:]) // 6:08d}" for place in own["location_id"]]
        assert own["area"].tolist() == areas
        assert own["actual_decile"].tolist() == decile.loc[areas].tolist()
        assert own["location_id"].max() > "P00130"
        assert spearmanr(own["score"], own["actual_decile"].astype(int)).statistic > 0.5


# --- 3: noise while testing, no seed, checkpoints chosen on training data -------------------------


def parts(city: Any) -> Split:
    (split,) = city.split(scheme="train-validation-test", validation=0.3, final=False)
    return split


def fit(
    city: Any, seed: int = 1, split: Split | None = None, **changes: Any
) -> tuple[Model, list[EpochFigures], list[float]]:
    settings = TrainSettings(
        **{"network": "port-2020", "ensemble_size": 1, "epochs": 6, "batch": 32, "device": "cpu"}
        | {"noise": 0.05, "precision": "float32", "dropout": 0.0, "mixup": False}
        | changes
    )
    figures: list[EpochFigures] = []
    model, record = fit_model(
        city.data(),
        split or parts(city),
        settings,
        seed=seed,
        execution=Execution(on_epoch=lambda member, each: figures.append(each)),
    )
    return model, figures, record.best_epoch


def same_weights(one: Model, other: Model) -> bool:
    theirs = other.network.state_dict()
    return all(torch.equal(x, theirs[name]) for name, x in one.network.state_dict().items())


def test_noise_is_for_training_only(make_city: Callable[..., Any]) -> None:
    city = make_city(n_areas=40)
    city.features[1:40] = city.features[0]  # with noise they would differ
    model, _, _ = fit(city, epochs=1, noise=5.0)
    scores = [model.predict(city.features, city.present, device="cpu").score for _ in range(2)]
    np.testing.assert_array_equal(*scores)
    np.testing.assert_array_equal(scores[0][:40], scores[0][:1].repeat(40, axis=0))
    quiet, _, _ = fit(city, epochs=1, noise=0.0)
    assert not same_weights(quiet, model)


@pytest.mark.parametrize("changes", [{}, {"network": "shared", "dropout": 0.5, "mixup": True}])
def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(
    make_city: Callable[..., Any], changes: dict[str, Any]
) -> None:
    first, again, other = (fit(make_city(), seed, epochs=2, **changes)[0] for seed in (1, 1, 2))
    assert same_weights(first, again)
    assert not same_weights(first, other)


def test_a_member_is_stopped_by_areas_that_it_was_not_trained_on(
    make_city: Callable[..., Any],
) -> None:
    city = make_city()
    rows = np.arange(len(city.ids))
    split = Split("fold-1", 1, rows[rows % 7 > 1], rows[rows % 7 == 1], rows[rows % 7 == 0])
    pool = np.sort(np.concatenate([split.training, split.validation]))
    parts = ensemble_parts(city.data(), split, pool, 5, 1)
    assert len(parts) == 5
    for training, stopping in parts:
        assert not set(city.areas[training]) & set(city.areas[stopping])
        assert sorted([*training, *stopping]) == pool.tolist()
    assert sorted(np.concatenate([stopping for _, stopping in parts])) == pool.tolist()


def test_what_decides_when_to_stop_is_not_trained_on(make_city: Callable[..., Any]) -> None:
    city, other = make_city(), make_city()
    split = parts(city)
    other.deciles[split.validation] = 11 - other.deciles[split.validation]
    other.features[split.validation] *= -1
    one, two = (
        np.array([f.train_loss for f in fit(each, split=split, epochs=3, patience=9)[1]])
        for each in (city, other)
    )
    np.testing.assert_array_equal(one, two)


def test_the_weights_are_those_of_the_least_loss_on_areas_that_are_not_trained_on(
    make_city: Callable[..., Any],
) -> None:
    city = make_city(noise=3.0, n_areas=40, per_area=3, seed=2)  # hard, so that it overfits soon
    changes = {"epochs": 12, "patience": 12, "learning_rate": 3e-3}
    model, figures, best = fit(city, **changes)
    training = np.array([each.train_loss for each in figures]).argmin(axis=0) + 1
    validation = np.array([each.validation_loss for each in figures]).argmin(axis=0) + 1
    assert best == validation.tolist()
    assert (validation + 3 < training).all(), "choose another city"
    for m, epoch in enumerate(best):
        stopped, _, _ = fit(city, **changes | {"epochs": int(epoch)})
        alone = [each.network.pick([m]).state_dict() for each in (model, stopped)]
        assert all(torch.equal(x, alone[1][name]) for name, x in alone[0].items())


# --- 4: a quadratic split, areas in sorted order, a seed that is dropped --------------------------


@pytest.mark.parametrize("scheme", [{"scheme": "blocks", "block": 3000.0}, {"k": 5}])
def test_londons_size_is_split_in_seconds(scheme: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    n = 4835
    area = np.concatenate([np.arange(n), rng.integers(0, n, 156_581 - n)])
    start = time.process_time()
    make_splits(
        FoldSettings(**scheme),
        np.array([f"E{i:08d}" for i in range(n)])[area],
        rng.integers(1, 11, (n, 12))[area],
        seed=0,
        columns=LocationColumns(coordinates=np.column_stack([area % 70, area // 70]) * 600.0),
    )
    assert time.process_time() - start < 15  # about 1 second; far from quadratic


@pytest.mark.parametrize(
    "scheme",
    [
        {"k": 3},
        {"k": 3, "unit": "msoa"},
        {"k": 3, "unit": "location"},  # without a constraint
        {"scheme": "train-validation-test", "test": 0.3},
        {"scheme": "train-validation-test", "test": 0.3, "unit": "location"},
    ],
)
def test_another_seed_gives_other_parts(
    make_city: Callable[..., Any], scheme: dict[str, Any]
) -> None:
    city = make_city()
    once, again, other = (city.split(seed, **scheme) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once[0].test, again[0].test)
    np.testing.assert_array_equal(once[0].validation, again[0].validation)
    assert set(once[0].test) != set(other[0].test)
    assert set(once[0].validation) != set(other[0].validation)


def test_chance_and_not_the_alphabet_says_which_areas_are_held_out_together(
    make_city: Callable[..., Any],
) -> None:
    city = make_city()
    first = sorted(set(city.areas))[:5]
    folds = []
    for seed in range(30):
        tests = [set(city.areas[split.test]) for split in city.split(seed, k=5, final=False)]
        folds.append([next(i for i, test in enumerate(tests) if area in test) for area in first])
    assert len({tuple(each) for each in folds}) > 20


# --- 5: a logarithm that overflows at large scores ------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("h", [1e4, -1e4, 88.8, -104, 0.0])
def test_values_and_gradients_stay_finite_where_p_rounds_to_0_or_1(
    dtype: torch.dtype, h: float
) -> None:
    score = torch.full((10, 1), h, dtype=dtype, requires_grad=True)
    target = torch.arange(1.0, 11.0)[:, None]
    log_p = binomial.log_probabilities(score)
    assert log_p.isfinite().all()
    loss = binomial.loss(score, target)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert score.grad is not None
    assert score.grad.isfinite().all()


def test_the_loss_at_large_scores_is_right_where_the_naive_formulas_overflow_or_go_flat() -> None:
    h = torch.tensor([[200.0]], requires_grad=True)
    worst = torch.tensor([[1.0]])
    assert torch.log1p(torch.exp(h)).isinf()  # the log of 1 + exp, written down as it is
    assert (1 - torch.sigmoid(h)).item() == 0  # p itself leaves nothing to take the log of
    loss = binomial.loss(h, worst)
    loss.sum().backward()
    assert loss.item() == pytest.approx(9 * 200)
    assert h.grad is not None
    assert h.grad.item() == pytest.approx(9)  # still says which way to go


# --- 6: scores of several networks pooled as if on one scale --------------------------------------


def sample(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True scores, and classes drawn from them."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 1.5, n)
    return true, rng.binomial(9, expit(true)) + 1.0


def scored(score: np.ndarray, target: np.ndarray) -> Scored:
    return Scored(score, target, np.ones(len(score)))


def test_pooled_folds_are_in_the_right_order_though_their_networks_are_shifted() -> None:
    shifts, stretches = [1.5, -1, 0.5, -0.5, 0], [1, 0.5, 2, 1, 1]
    raw, pooled, truth = [], [], []
    for fold, (shift, stretch) in enumerate(zip(shifts, stretches, strict=True)):
        true, classes = sample(900, fold)
        h = (true - shift) * stretch
        a, b = calibrate(
            scored(h[:500], classes[:500]), scored(h[500:700], classes[500:700]), areas=40
        )
        raw.append(h[700:])
        pooled.append(a + b * h[700:])
        truth.append(true[700:])
    right = np.concatenate(truth)
    assert spearmanr(np.concatenate(raw), right).statistic < 0.87
    assert spearmanr(np.concatenate(pooled), right).statistic > 0.98


# --- 7: exit status, GPU, pickles, archives -------------------------------------------------------


def test_success_is_status_0_without_a_gpu_and_bad_input_is_status_2(grid: Path) -> None:
    words = [sys.executable, "-m", "streetgauge", "outcomes", str(grid)]
    no_gpu = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    assert subprocess.run(words, env=no_gpu, capture_output=True).returncode == 0
    (grid / "outcomes.csv").unlink()
    failed = subprocess.run(words, env=no_gpu, capture_output=True, text=True)
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr


def test_nothing_that_a_study_writes_is_a_pickle(trained: Path) -> None:
    files = [file for file in trained.rglob("*") if file.is_file()]
    assert {".parquet", ".h5", ".safetensors", ".json"} <= {file.suffix for file in files}
    for file in files:
        content = file.read_bytes()
        assert content[:1] != b"\x80", file  # how a pickle begins
        assert b"data.pkl" not in content, file  # how torch.save keeps one
        assert file.suffix not in {".pkl", ".pickle", ".pt", ".pth", ".npy", ".npz"}


def write_tar(path: Path, files: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_nothing_is_written_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "p.tgz", [("../../evil.png", b"x"), ("a.png", b"y")])
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = sorted(tmp_path.rglob("*"))
    listing = list_archive(str(path))
    list(
        raw_images([ImageSource(str(path), name) for name in (*listing.members, "../../evil.png")])
    )
    assert sorted(tmp_path.rglob("*")) == before


# --- 8: ten scans of the training set a batch, four reads a batch, row by row ---------------------


def test_balanced_weights_let_every_class_count_the_same() -> None:
    target = np.array([[1], [1], [1], [2], [np.nan], [3], [2]], np.float32)
    rows = np.arange(5)  # the training part: class 3 is not in it
    weight = balanced_weights(target, rows)[:, 0]
    np.testing.assert_allclose(weight, [2 / 3] * 3 + [2, 0, 0, 2], rtol=1e-6)
    doubled = balanced_weights(target, rows, [2, 1, 1, 1, 1, 1, 1])[:, 0]
    assert doubled[0] == pytest.approx(2 * doubled[1])
    assert doubled[:3].sum() == pytest.approx(doubled[3])


def test_an_epoch_takes_a_fifth_of_the_time_that_450_locations_a_second_would(
    make_city: Callable[..., Any],
) -> None:
    city = make_city(n_areas=2000, per_area=5, dimension=8)
    start = time.process_time()
    fit(city, epochs=1, batch=128, width=64)
    taken = time.process_time() - start  # of all cores
    assert taken < len(parts(city).training) / 450 / 5
