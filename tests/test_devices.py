"""How the machine's cores and memory are used."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from streetgauge import devices
from streetgauge.devices import abreast, working_threads

FAULTS = """
import resource, sys
import torch
from streetgauge.devices import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "keep":
    keep_freed_memory()
x = torch.ones(2**20)  # 4 MiB, of which eight are freed at once
for _ in range(10):
    many = [x + 1 for _ in range(8)]; del many
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(300):  # so often that what is fetched once, whenever it is, hardly counts
    many = [x + 1 for _ in range(8)]; del many
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_memory_that_is_retained_is_not_fetched_from_the_system_again() -> None:
    def faults(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True
        )
        return int(done.stdout)

    assert faults("keep") < faults("give back") / 10


@pytest.mark.parametrize(
    ("tasks", "cores", "threads"),
    [(5, 2, 3), (4, 2, 2), (6, 2, 2), (1, 2, 1), (0, 2, 1), (5, 1, 1), (5, 4, 5), (5, 16, 5)],
)
def test_no_core_waits_for_a_last_round_of_few_tasks(
    tasks: int, cores: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_cores", lambda: cores)
    assert abreast(tasks) == threads


def blas() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_while_threads_work_each_product_is_made_by_one_of_them() -> None:
    with threadpool_limits(2, user_api="blas"):
        with working_threads(2) as pool:
            assert pool.submit(blas).result() == {1}
        assert blas() == {2}


def test_what_is_going_on_when_something_fails_is_finished_in_the_same_way() -> None:
    left = threading.Event()

    def work() -> set[int]:
        left.wait(10)
        time.sleep(0.2)  # the block has been left by now
        return blas()

    def fail() -> None:
        with working_threads(1) as pool:
            waiting.append(pool.submit(work))
            left.set()
            raise KeyError

    waiting: list[Future[set[int]]] = []
    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(KeyError):
            fail()
        assert waiting[0].result() == {1}
