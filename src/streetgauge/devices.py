"""Where the numbers are computed: the device of a setting, and how the CPU's cores are used."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

from streetgauge.errors import InputError

# Of glibc's mallopt (malloc.h): what to set, and to how many bytes.
FROM_THE_SYSTEM = (-3, 32 * 2**20)  # M_MMAP_THRESHOLD, at its most
GIVEN_BACK = (-1, 256 * 2**20)  # M_TRIM_THRESHOLD


def choose_device(name: str) -> torch.device:
    """Find the device of a setting; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises
    ------
    InputError
        If the machine has no such device.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, available in there.items() if available))
    if not there.get(name, False):
        raise InputError(
            f"device {name!r}", "torch finds none on this machine", 'use device = "auto"'
        )
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Find the precision of a setting; ``auto`` takes bfloat16 where products of it are fast.

    Products are rounded to 8 bits and summed in float32; weights, sums and losses stay in float32.
    """
    if name == "auto":
        fast = _has_fast_bfloat16(device)
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def _has_fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":  # emulated, it is slower than float32
        asks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, ask, bool)() for ask in asks)
    return False


def keep_freed_memory() -> None:
    """Let this process retain up to 256 MiB that each of its threads has freed, for their next use.

    A step of training allocates and frees the same few megabytes again and again. glibc gives
    these back to the system at once, which hands them out anew page by page, zeroed: a third of a
    small network's step. Elsewhere than on glibc nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(*FROM_THE_SYSTEM)
        mallopt(*GIVEN_BACK)


def abreast(tasks: int) -> int:
    """Give how many threads do so many tasks, all alike and long, the soonest.

    One a core, but where a last round of fewer tasks would leave cores idle: these go along with
    the rounds before, and the system divides the cores among them. Five tasks on two cores are
    done as three and two, in the time of five halves of a task and not of three.
    """
    cores = _cores()
    rounds = max(1, tasks // cores)
    return max(1, math.ceil(tasks / rounds))


@contextmanager
def working_threads(count: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Threads, one a core if not set otherwise, that each compute on their own.

    Torch would rather share every product among the cores, which then wait for each other, the
    longer the busier the machine is; and sums would depend on the number of cores. So would NumPy
    and SciPy, even products of two numbers. What is going on is finished when the block is left,
    what is waiting is not begun. How many threads a product takes holds for the whole process:
    blocks may lie within each other, but not overlap.

    Parameters
    ----------
    count : int, optional
        How many threads; as many as this process may use cores if not given.
    """
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(
        max_workers=count or _cores(),
        thread_name_prefix="streetgauge",
        initializer=torch.set_num_threads,
        initargs=(1,),
    )
    # TF32 would round to 10 bits on some GPUs, and cuDNN's fastest choices vary between runs.
    exact = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    try:
        with exact, threadpool_limits(1, user_api="blas"):
            try:
                yield pool
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        torch.set_num_threads(threads)  # the last word on it counts for new threads


def _cores() -> int:
    """Cores that this process may use, which a container or a queue may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
