from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streetgauge.errors import InputError
from streetgauge.model import reading
from streetgauge.model.reading import GIB, Reader, Standardisation, batches, forget_pages

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
    with pytest.raises(InputError, match="row 2, view 1, feature 2: inf is no finite number"):
        Standardisation.of(features, present, np.arange(5))
    present[2, 0] = False
    with pytest.raises(InputError, match="row 4, view 2, feature 1: nan is no finite number"):
        Standardisation.of(features, present, np.arange(5))
    Standardisation.of(features, present, np.arange(4))


def test_mean_and_sd_of_many_rows_are_told_by_rows_spread_over_them(
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
    with pytest.raises(InputError, match="row 700, view 2, feature 3: nan is no finite number"):
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
