"""The short form of the benchmarks of speed, as one Markdown table in docs/benchmarks.md.

    make bench
    .venv/bin/python benchmarks/bench.py [--only NAME...] [--page docs/benchmarks.md]

Each is a process of its own, one after the other; the ratios stand first, because they depend less
on the machine and on what else it does. One that fails has a row that states why.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from _table import ROW

HERE = Path(__file__).parent
SHORT = ("features", "train", "splits", "areas")
LIMIT = 300  # seconds of each
HEAD = "| what | ratio | to | figure |\n| --- | --- | --- | --- |\n"
BEGIN, END = "<!-- begin: written by make bench -->\n", "<!-- end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SHORT, default=SHORT)
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "benchmarks.md")
    args = parser.parse_args()
    start, rows = time.perf_counter(), []
    loads = [os.getloadavg()[0]]
    for name in args.only:
        rows += measured(name)
        loads.append(os.getloadavg()[0])
        print(f"{name}: {time.perf_counter() - start:.0f} s so far", flush=True)
    about = f"{machine()}; the load was {min(loads):.1f} to {max(loads):.1f}."
    table = BEGIN + "\n" + about + "\n\n" + HEAD + "\n".join(rows) + "\n\n" + END
    print(table)
    page = args.page.read_text(encoding="utf-8")
    before, after = page.index(BEGIN), page.index(END) + len(END)
    args.page.write_text(page[:before] + table + page[after:], encoding="utf-8")


def measured(name: str) -> list[str]:
    """Give the rows of a benchmark's short form."""
    command = [sys.executable, str(HERE / f"{name}.py"), "--short"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        words = (done.stderr.strip().splitlines() or ["it ended"])[-1] if done.returncode else ""
        printed = done.stdout
    except subprocess.TimeoutExpired as late:
        printed = (late.stdout or b"").decode()
        words = f"stopped after {LIMIT} s"
    rows = [f"| {line.removeprefix(ROW)}" for line in printed.splitlines() if line.startswith(ROW)]
    return rows + [f"| `{name}` | | | {words} |"] * bool(words)


def machine() -> str:
    """Name the processor, the cores, the system and the versions that matter."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    cpu = found[1] if found else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{each} {version(each)}" for each in ("streetgauge", "torch", "numpy"))
    today = datetime.now(UTC).date()
    return f"{today}: {cpu}, {cores} cores, {platform.system()}, {versions}"


if __name__ == "__main__":
    main()
