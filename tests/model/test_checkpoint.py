from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from streetgauge.errors import InputError
from streetgauge.model import training as module
from streetgauge.model.training import Checkpoint

TENSORS = {"a": torch.arange(3.0), "b": torch.zeros(2, dtype=torch.uint8)}


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "deep" / "c.safetensors", "cache_key", every=0)
    assert kept.load() is None
    kept.save(TENSORS, {"epoch": 3, "state": 2**127})
    tensors, said = kept.load() or ({}, {})
    assert said == {"cache_key": "cache_key", "layout": module.LAYOUT, "epoch": 3, "state": 2**127}
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    kept.remove()
    assert kept.load() is None


def test_a_checkpoint_of_another_training_or_half_a_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    Checkpoint(path, "one", every=0).save(TENSORS, {})
    assert Checkpoint(path, "other").load() is None
    whole = path.read_bytes()
    for length in (0, 5, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert Checkpoint(path, "one").load() is None


def test_a_checkpoint_of_another_version_s_layout_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Checkpoint(tmp_path / "c.safetensors", "one", every=0)
    kept.save(TENSORS, {})
    assert kept.load() is not None
    monkeypatch.setattr(module, "LAYOUT", module.LAYOUT + 1)
    assert kept.load() is None


def test_none_is_written_before_it_is_time(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "c.safetensors", "cache_key", every=3600)
    kept.save(TENSORS, {})
    assert kept.load() is None


def test_a_full_disk_is_said_and_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Checkpoint(tmp_path / "c.safetensors", "cache_key", every=0)
    kept.save(TENSORS, {"epoch": 1})

    def full(tensors: Any, path: Path, **given: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(InputError, match=r"No space left.*free some disk space"):
        kept.save(TENSORS, {"epoch": 2})
    monkeypatch.undo()
    assert (kept.load() or ({}, {}))[1]["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]
