"""How a stage is run, whatever it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from streetgauge.errors import InputError
from streetgauge.pipeline.run import WORK, forget_stages, run_stage
from streetgauge.progress import Progress, silent
from streetgauge.study import Done, Study


def test_a_stage_computes_each_product_by_one_thread(
    city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def work(study: Study, key: str, progress: Progress) -> Done:
        blas = (each for each in threadpool_info() if each["user_api"] == "blas")
        seen.extend(each["num_threads"] for each in blas)
        return Done()

    (city / "locations.parquet").write_bytes(b"stands for locations")
    monkeypatch.setitem(WORK, "features", work)
    with threadpool_limits(2, user_api="blas"):
        run_stage(Study.open(city), "features", silent)
    assert seen
    assert set(seen) == {1}


@pytest.mark.parametrize("name", ["features", "train"])
def test_without_torch_nothing_is_removed_that_only_it_can_make(
    name: str, city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (city / "locations.parquet").write_bytes(b"stands for locations")
    made = city / "features" / "efficientnet-lite0.h5"
    made.parent.mkdir()
    made.write_bytes(b"stands for features")
    monkeypatch.setattr("streetgauge.errors.find_spec", lambda name: None)
    with pytest.raises(InputError, match="PyTorch: it is not installed"):
        forget_stages(Study.open(city), [name])
    assert made.exists()


def test_check_reports_that_torch_is_missing(
    city: Path, refuse: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streetgauge.errors.find_spec", lambda name: None)
    assert "PyTorch: it is not installed" in refuse("check", city)
