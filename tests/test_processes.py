"""Work goes on where the system has nothing that processes could share."""

from __future__ import annotations

import multiprocessing.context
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from streetgauge.processes import process_pool, undivided_products
from streetgauge.report.figures.draw import processes
from streetgauge.synthetic import make_city


def test_two_processes_do_what_is_asked() -> None:
    with process_pool(2) as pool:
        assert pool is not None
        assert list(pool.map(abs, [-1, 2])) == [1, 2]
    with process_pool(1) as pool:
        assert pool is None


def threads_of_products() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_products_of_matrices_are_not_divided_among_threads() -> None:
    with threadpool_limits(2, user_api="blas"):
        with undivided_products():
            assert threads_of_products() == {1}
        assert undivided_products()(threads_of_products)() == {1}
        assert threads_of_products() == {2}


def test_without_shared_memory_all_is_done_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container with no /dev/shm, or with one that cannot be written to."""
    make_city(tmp_path / "usual", seed=1, n_areas=12, n_locations=48, workers=1)

    def refuse(self: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(multiprocessing.context.BaseContext, "Lock", refuse)
    make_city(tmp_path / "city", seed=1, n_areas=12, n_locations=48, workers=2)
    for file in (tmp_path / "usual").rglob("*.jpg"):
        other = tmp_path / "city" / file.relative_to(tmp_path / "usual")
        assert other.read_bytes() == file.read_bytes()
    with processes(2) as each:
        assert list(each(abs, [-1, 2])) == [1, 2]
