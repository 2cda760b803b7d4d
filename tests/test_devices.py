"""How the machine's cores and memory are used."""

from __future__ import annotations

import subprocess
import sys

import pytest
from threadpoolctl import threadpool_info

from streetgauge.devices import working_threads

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
for _ in range(50):
    many = [x + 1 for _ in range(8)]; del many
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_memory_that_is_kept_is_not_fetched_from_the_system_again() -> None:
    def faults(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True
        )
        return int(done.stdout)

    assert faults("keep") < faults("give back") / 10


def test_while_threads_work_each_product_is_made_by_one_of_them() -> None:
    def blas() -> set[int]:
        return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}

    before = blas()
    with working_threads(2) as pool:
        assert pool.submit(blas).result() == {1}
    assert blas() == before
