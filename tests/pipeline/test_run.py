"""How a stage is run, whatever it does."""

from __future__ import annotations

from pathlib import Path

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from streetgauge.pipeline.run import WORK, run_stage
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
