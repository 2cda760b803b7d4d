"""Batches, their memory, and principal components."""

from __future__ import annotations

import errno
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from streetgauge.errors import InputError
from streetgauge.model import fit_model, reading
from streetgauge.model.model import outputs_of
from streetgauge.model.network import Network
from streetgauge.model.optimiser import Adam
from streetgauge.model.reading import (
    GIB,
    Reader,
    Standardisation,
    batches,
    forget_pages,
    principal_components,
)
from streetgauge.model.training import train_network
from streetgauge.model.training_data import TrainingData
from streetgauge.settings import FoldSettings, TrainSettings
from streetgauge.splits import make_splits

CPU = torch.device("cpu")


@pytest.fixture
def stored(tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A memory map of 101 locations whose features say which row and view they are of."""
    features = np.lib.format.open_memmap(tmp_path / "features.npy", "w+", np.float32, (101, 3, 4))
    features[:] = np.arange(101 * 3).reshape(101, 3, 1) + np.arange(4) / 10
    features.flush()
    return np.load(tmp_path / "features.npy", mmap_mode="r"), np.ones((101, 3), np.bool_)


def test_a_batch_has_its_rows_in_order_standardised(stored: Any) -> None:
    features, present = stored
    scale = Standardisation(np.full(4, 2, np.float32), np.full(4, 5, np.float32))
    rows = np.array([7, 3, 99])
    for dtype, exact in ((torch.float32, 1e-6), (torch.bfloat16, 4e-3)):
        batch = Reader(features, present, scale, CPU, dtype).batch(rows)
        assert batch.views.dtype == dtype
        assert batch.present is None
        np.testing.assert_allclose(
            batch.views.float().numpy(), (features[rows] - 2) / 5, rtol=exact, atol=1e-6
        )
    with_gap = present.copy()
    with_gap[3, 1] = False
    batch = Reader(features, with_gap, scale, CPU).batch(rows)
    np.testing.assert_array_equal(batch.present, with_gap[rows])


def test_half_precision_stores_are_read_as_well(stored: Any) -> None:
    features, present = stored
    scale = Standardisation(np.full(4, 2, np.float32), np.full(4, 5, np.float32))
    half = features.astype(np.float16)
    batch = Reader(half, present, scale, CPU).batch(np.array([5, 1]))
    expected = (half[[5, 1]].astype(np.float32) - 2) / 5
    np.testing.assert_allclose(batch.views.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("windows", [1, 3])
def test_an_epoch_has_every_row_once_and_its_own_features(stored: Any, windows: int) -> None:
    features, present = stored
    rows = np.arange(1, 101)
    memory = features[rows].nbytes / GIB / windows
    reader = Reader(features, present, None, CPU, memory=memory)
    seen = []
    for epoch in range(2):
        order = np.random.default_rng(epoch)
        dealt = []
        for batch in reader.epoch(rows, 10, order):
            assert len(batch.rows) <= 10
            np.testing.assert_array_equal(batch.views.numpy(), features[batch.rows])
            dealt.append(batch.rows)
        assert sorted(np.concatenate(dealt)) == rows.tolist()
        seen.append(np.concatenate(dealt))
    assert not np.array_equal(*seen)
    again = reader.epoch(rows, 10, np.random.default_rng(0))
    np.testing.assert_array_equal(np.concatenate([b.rows for b in again]), seen[0])


def test_windows_are_of_other_blocks_every_epoch_spread_over_the_file(
    stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, present = stored
    held: list[np.ndarray] = []
    read = Reader._window

    def noted(self: Reader, rows: np.ndarray) -> Reader:
        held.append(rows)
        return read(self, rows)

    monkeypatch.setattr(Reader, "_window", noted)
    reader = Reader(features, present, None, CPU, memory=25 * features[0].nbytes / GIB)
    order = np.random.default_rng(0)
    for _ in range(2):
        for _ in reader.epoch(np.arange(101), 10, order):
            pass
    first, second = held[0], held[4]
    assert set(first) != set(second)
    for rows in held:
        assert (np.diff(rows) > 0).all()  # read in the order of the file
        assert rows[-1] - rows[0] > 50  # eight blocks from all over a file of 101 rows


def test_letting_go_of_pages_loses_no_change_of_the_users(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", np.zeros((1000, 2, 8), np.float32))
    features = np.load(tmp_path / "features.npy", mmap_mode="c")
    features[:] = 7  # in memory only
    forget_pages(features[3:])
    assert (features == 7).all()


def test_windows_hold_no_more_than_the_memory_allows(
    stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, present = stored
    held: list[int] = []
    read = Reader._window

    def noted(self: Reader, rows: np.ndarray) -> Reader:
        held.append(len(rows))
        return read(self, rows)

    monkeypatch.setattr(Reader, "_window", noted)
    reader = Reader(features, present, None, CPU, memory=25 * features[0].nbytes / GIB)
    for _ in reader.epoch(np.arange(100), 10, np.random.default_rng(0)):
        pass
    assert len(held) == 4
    assert max(held) <= 27  # blocks differ by one row
    assert sum(held) == 100


def test_batches_hold_every_row_once_and_are_nearly_of_one_size() -> None:
    dealt = list(batches(np.arange(101), 10, np.random.default_rng(0)))
    assert sorted(np.concatenate(dealt)) == list(range(101))
    assert {len(rows) for rows in dealt} == {9, 10}


def test_features_are_standardised_by_the_views_that_are_there() -> None:
    rng = np.random.default_rng(0)
    features = (1000 + 3 * rng.normal(size=(3000, 2, 4))).astype(np.float32)
    features[:, :, 3] = 7  # never varies
    present = rng.random((3000, 2)) < 0.8
    features[~present] = np.nan
    rows = rng.permutation(3000)[:2500]
    rows = rows[present[rows].any(1)]
    scale = Standardisation.of(features, present, rows)
    seen = features[rows][present[rows]].astype(np.float64)
    np.testing.assert_allclose(scale.mean, seen.mean(0), rtol=1e-6)
    np.testing.assert_allclose(scale.sd[:3], seen.std(0)[:3], rtol=1e-4)
    assert scale.sd[3] == 1
    reader = Reader(features, present, scale, CPU)
    batch = reader.batch(rows).views.numpy()[present[rows]]
    assert np.abs(batch.mean(0)).max() < 1e-3
    assert np.abs(batch[:, 3]).max() < 1e-4


def test_a_feature_that_is_no_number_is_named() -> None:
    features = np.zeros((5, 2, 3), np.float32)
    features[2, 0, 1] = np.inf
    features[4, 1, 0] = np.nan
    present = np.ones((5, 2), np.bool_)
    with pytest.raises(InputError, match="row 2, view 1, feature 2: inf is not a finite number"):
        Standardisation.of(features, present, np.arange(5))
    present[2, 0] = False
    with pytest.raises(InputError, match="row 4, view 2, feature 1: nan is not a finite number"):
        Standardisation.of(features, present, np.arange(5))
    Standardisation.of(features, present, np.arange(4))


def test_mean_and_sd_of_many_rows_are_estimated_from_rows_spread_over_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(np.linspace(0, 9, 900)[:, None, None], size=(900, 2, 3))
    features, present = features.astype(np.float32), np.ones((900, 2), bool)
    rows = np.arange(900)
    whole = Standardisation.of(features, present, rows)
    monkeypatch.setattr(reading, "ENOUGH", 300)
    some = Standardisation.of(features, present, rows)
    assert not np.array_equal(whole.mean, some.mean)
    np.testing.assert_allclose(some.mean, whole.mean, atol=0.3)
    np.testing.assert_allclose(some.sd, whole.sd, rtol=0.1)
    few = Standardisation.of(features, present, reading.subsample(rows, 300))
    np.testing.assert_array_equal(some.mean, few.mean)


def test_a_row_with_no_number_is_named_wherever_it_was_met(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features = np.zeros((900, 2, 3), np.float32)
    present = np.ones((900, 2), bool)
    features[700, 1, 2] = np.nan
    reader = Reader(features, present, None, CPU)
    reader.refuse_non_finite(np.arange(700))
    with pytest.raises(InputError, match="row 700, view 2, feature 3: nan is not a finite number"):
        reader.refuse_non_finite(np.arange(900))


def test_one_window_is_let_go_of_before_the_next_is_read(
    stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, present = stored
    live: weakref.WeakSet[Reader] = weakref.WeakSet()
    read = Reader._window

    def noted(self: Reader, rows: np.ndarray) -> Reader:
        assert not len(live)
        window = read(self, rows)
        live.add(window)
        return window

    monkeypatch.setattr(Reader, "_window", noted)
    reader = Reader(features, present, None, CPU, memory=25 * features[0].nbytes / GIB)
    assert sum(len(b.rows) for b in reader.epoch(np.arange(100), 10, np.random.default_rng(0)))


def test_readers_share_the_memory_of_windows_but_not_what_is_mapped_once(stored: Any) -> None:
    features, present = stored
    rows = np.arange(100)

    def windows(fits: int, sharing: int) -> int:
        memory = (fits + 0.5) * features[0].nbytes / GIB
        return Reader(features, present, None, CPU, memory=memory, sharing=sharing).windows(rows)

    assert windows(100, 6) == 1  # the map is there once for all
    assert windows(50, 1) == 2
    assert windows(50, 3) == 6


@pytest.mark.parametrize("memory", [1e-12, 1e-7])
@pytest.mark.parametrize("count", [1, 5, 17, 100])
def test_a_memory_too_small_for_a_window_still_reads_every_row_once(
    stored: Any, memory: float, count: int
) -> None:
    features, present = stored
    reader = Reader(features, present, None, CPU, memory=memory)
    rows, order = np.arange(1, 1 + count), np.random.default_rng(0)
    for held in (False, True):
        dealt = [batch.rows for batch in reader.epoch(rows, 10, order, windowed=held)]
        assert sorted(np.concatenate(dealt)) == rows.tolist()
    assert sorted(np.concatenate(reader.shuffled(rows, 2, order))) == rows.tolist()


RAISED = [
    MemoryError("Unable to allocate 8.00 GiB for an array with shape (1, 2)"),
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes."),
    RuntimeError("MPS backend out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    RuntimeError("could not create a primitive"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]


def fit(world: Any, memory: float = 8.0) -> Any:
    settings = TrainSettings(epochs=1, ensemble_size=1, device="cpu", batch=16, memory=memory)
    folds = FoldSettings(scheme="train-only", validation=0.2)
    (split,) = make_splits(folds, world.areas, world.deciles, seed=3)
    return fit_model(world.data(["a", "b"]), split, settings, seed=3)[0]


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("error", RAISED, ids=lambda error: f"{type(error).__name__} {error}"[:40])
@pytest.mark.parametrize(
    ("owner", "name"),
    [(Adam, "step"), (Network, "forward"), (Reader, "_window"), (Reader, "batch")],
    ids=["step", "scoring", "window", "batch"],
)
def test_what_to_lower_is_reported_when_training_runs_out_of_memory(
    make_world: Any, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, error: Exception
) -> None:
    monkeypatch.setattr(owner, name, failing(error))
    with pytest.raises(InputError, match=r"memory: it does not suffice.*'train\.batch'") as caught:
        fit(make_world(), memory=1e-6)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", RAISED, ids=lambda error: f"{type(error).__name__} {error}"[:40])
def test_predicting_says_it_too(
    make_world: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    world = make_world()
    model = fit(world)
    monkeypatch.setattr(Reader, "batch", failing(error))
    with pytest.raises(InputError, match=r"memory: it does not suffice.*fewer locations"):
        model.predict(world.features, world.present)
    with pytest.raises(InputError, match="memory: it does not suffice"):
        model.member_scores(world.features, world.present, [np.arange(3)])


def test_what_comes_before_and_after_the_steps_is_covered_and_so_is_a_training_alone(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Standardisation, "of", failing(MemoryError()))
    with pytest.raises(InputError, match=r"'train\.memory' or 'train\.ensemble_size'"):
        fit(make_world())
    world = make_world()
    rows = np.arange(100)
    with pytest.raises(InputError, match=r"'train\.memory' or 'train\.ensemble_size'"):
        train_network(
            world.data(["a", "b"]),
            (rows, rows[:0]),
            TrainSettings(device="cpu"),
            seed=1,
            network_seeds=[1, 2],
        )


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes differ"),
        RuntimeError("could not create a primitive descriptor for a matmul primitive"),
        OSError(errno.EIO, "broken"),
    ],
)
def test_other_errors_stay_what_they_are(
    make_world: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(Adam, "step", failing(error))
    with pytest.raises(type(error), match=str(error.args[-1])):
        fit(make_world())


@pytest.fixture(scope="module")
def reader() -> Reader:
    """Features of rank 5 in 40 dimensions, but for a little noise; a fifth of the views absent."""
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(600, 3, 5)) * [5, 4, 3, 2, 1]
    features = spread @ rng.normal(size=(5, 40)) + 0.01 * rng.normal(size=(600, 3, 40))
    present = rng.random((600, 3)) < 0.8
    present[:, 0] = True
    features = features.astype(np.float32)
    features[~present] = np.nan
    scale = Standardisation.of(features, present, np.arange(400))
    return Reader(features, present, scale, CPU)


def seen_by(reader: Reader, rows: np.ndarray) -> np.ndarray:
    batch = reader.batch(rows)
    views = batch.views if batch.present is None else batch.views[batch.present]
    return views.reshape(-1, views.shape[-1]).double().numpy()


def test_components_are_those_of_the_singular_value_decomposition(reader: Reader) -> None:
    training = np.arange(400)
    basis = principal_components(reader, training, 4, 1).double().numpy()
    _, _, directions = np.linalg.svd(seen_by(reader, training), full_matrices=False)
    unit = basis / np.linalg.norm(basis, axis=0)
    np.testing.assert_allclose(np.abs((unit * directions[:4].T).sum(0)), 1, atol=1e-3)
    projected = seen_by(reader, training) @ basis
    assert np.mean(projected**2) == pytest.approx(1, rel=1e-4)


def test_rows_that_are_held_are_found_in_any_order_and_others_are_refused(reader: Reader) -> None:
    rows = np.array([7, 30, 31, 500])
    basis = principal_components(reader, np.arange(400), 4, 1)
    held = reader.projected(rows, basis)
    order = np.array([500, 7, 31, 30])
    np.testing.assert_allclose(
        seen_by(held, order), seen_by(reader, order) @ basis.numpy(), rtol=1e-4
    )
    for other in (8, 501):
        with pytest.raises(IndexError):
            held.batch(np.array([7, other]))


def test_few_rows_are_standardised_once_and_batches_stay_the_same(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.array([500, 7, 31, 30])
    once = reader.held(rows)
    assert once is not reader
    assert once.scale is None
    np.testing.assert_array_equal(seen_by(once, rows), seen_by(reader, rows))
    monkeypatch.setattr(reading, "HELD", 4 * 3 * 40 * 4 - 1)
    assert reader.held(rows) is reader
    monkeypatch.undo()
    small = Reader(reader.source, reader.present, reader.scale, CPU, memory=1e-9)
    assert small.held(np.arange(100)) is small  # what is read in windows is not held either


def test_components_come_from_the_training_part_alone(reader: Reader) -> None:
    spoilt = Reader(reader.source.copy(), reader.present, reader.scale, CPU)
    spoilt.features[400:] = 1e6
    one, other = (principal_components(r, np.arange(400), 3, 1) for r in (reader, spoilt))
    assert torch.equal(one, other)


@pytest.mark.parametrize("variant", ["shared", "port-2020", "paper-2019"])
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_a_network_with_its_projection_gives_on_features_what_it_gave_on_components(
    reader: Reader, variant: Any, pooling: Any
) -> None:
    rows = np.arange(500)
    basis = principal_components(reader, rows[:400], 5, 1)
    small = Network(
        5,
        [1, 2],
        TrainSettings(network=variant, pooling=pooling, width=16, ensemble_size=1, dropout=0.0),
    ).eval()
    if small.direct is not None:
        small.direct.weight.data += 0.1
    whole = small.fold_projection(basis)
    assert whole.views[0].dense.weight.shape[1:] == (40, 16)
    assert small.views[0].dense.weight.shape[1:] == (5, 16)  # it is left as it was
    torch.testing.assert_close(
        outputs_of(whole, reader, rows),
        outputs_of(small, reader.projected(rows, basis), rows),
        rtol=1e-3,
        atol=1e-4,
    )


def test_a_trained_network_gives_on_all_features_what_it_gave_on_the_components(
    reader: Reader,
) -> None:
    rng = np.random.default_rng(1)
    target = rng.integers(1, 11, (600, 2)).astype(np.float32)
    keys = np.arange(600)
    data = TrainingData(reader.source, reader.present, target, keys, keys, ["income", "health"])
    trained = train_network(
        data,
        (np.arange(400), np.arange(400, 500)),
        TrainSettings(components=6, epochs=2, precision="float32", device="cpu"),
        seed=1,
        network_seeds=[1, 2],
    )
    inputs = (each.views[0].dense.weight.shape[1] for each in (trained.as_trained, trained.network))
    assert tuple(inputs) == (6, 40)
    rows = np.arange(350, 500)
    whole = Reader(reader.source, reader.present, trained.standardisation, CPU)
    torch.testing.assert_close(
        outputs_of(trained.network, whole, rows), trained.outputs(rows), rtol=1e-4, atol=1e-4
    )


def test_components_are_those_of_rows_by_chance_not_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streetgauge.model.reading.SAMPLE", 100)
    features = np.zeros((1000, 2, 30), np.float32)
    chance = np.random.default_rng(0)
    features[:100, :, 0] = chance.normal(size=(100, 2))  # the first vary in one direction
    features[100:, :, 1] = chance.normal(size=(900, 2))
    reader = Reader(features, np.ones((1000, 2), np.bool_), None, CPU)
    basis = principal_components(reader, np.arange(1000), 1, 3)
    assert int(basis.abs().argmax()) == 1


def test_more_components_than_features_are_refused(reader: Reader) -> None:
    with pytest.raises(InputError, match="40 components of 40 features compress nothing"):
        principal_components(reader, np.arange(400), 40, 1)


def test_the_seed_decides(reader: Reader) -> None:
    def found(seed: int) -> Any:
        return principal_components(reader, np.arange(400), 3, seed)

    assert torch.equal(found(1), found(1))


def test_no_rows_have_no_outputs(reader: Reader) -> None:
    network: Any = SimpleNamespace(
        eval=lambda: None,
        score=SimpleNamespace(bias=np.zeros(6)),
        ensemble_size=3,
        head=SimpleNamespace(outputs=10),
    )
    none = np.array([], dtype=np.int64)
    assert outputs_of(network, reader, none).shape == (0, 2, 10)
    assert outputs_of(network, reader, none, each=True).shape == (0, 3, 2, 10)
