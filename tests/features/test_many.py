"""Many images, some broken in every way: the small version of benchmarks/many.py."""

from __future__ import annotations

import importlib
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def many() -> ModuleType:
    """Give the benchmark as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
        return importlib.import_module("many")


def test_every_location_of_many_is_done_or_excluded_with_its_reason(
    many: ModuleType, tmp_path: Path
) -> None:
    wrong = many.make(tmp_path / "images", 500, 0.03, seed=1)
    assert set(wrong.values()) == set(many.BROKEN)
    how = Namespace(images=2000, backbone="tiles", nodes=0, kill=False)
    skips, store = many.take_in(tmp_path, how)
    done = many.check(wrong, skips, store)
    assert done + len({location for location, _ in wrong}) == 500
