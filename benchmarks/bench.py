"""The short form of every benchmark, as one Markdown table in docs/benchmarks.md.

    make bench
    .venv/bin/python benchmarks/bench.py [--only NAME...] [--page docs/benchmarks.md]

Each is a process of its own, one after the other. Those that read a finished study get the same
small one, which is made first, a stage a process, so that the CPU seconds and the peak memory of
every stage stand in the table as well. Ratios come first, because they depend less on the machine
and on what else it does. A benchmark that cannot run has a row that states why.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from _process import run_verb
from _table import ROW

HERE = Path(__file__).parent
STUDY = "STUDY"  # stands for the small study
STAGES = ("outcomes", "locations", "features", "train", "areas", "report")
AREAS, LOCATIONS = 60, 240  # of the small study
# How each is called; those without `--short` have their own words for it.
SHORT: dict[str, tuple[str, ...]] = {
    "features": ("--short",),
    "train": ("--short",),
    "splits": ("--short",),
    "areas": ("--short",),
    "outcomes": ("--short",),
    "nation": ("--areas", "200", "--no-quarter"),
    "many": ("--short",),
    "cluster": ("--short",),
    "gpu": ("--small", "--parts", "equal", "resume", "kernel"),
    "raster": ("--short",),
    "report": ("--short", STUDY),
    "best": ("--short", STUDY),
    "learners": ("--short", STUDY),
    "networks": ("--short", STUDY),
    "heads": ("--short",),
    "backbones": ("--short", STUDY),
    "engines": ("--short",),
    "intervals": ("--short", STUDY),
    "baselines": ("--short",),
    "sources": ("--short",),
    "concepts": ("--short",),
    "sampling": ("--short",),
    "survey": ("--short",),
    "change": ("--short",),
    "pool": ("--short",),
    "transfer": ("--short",),
    "kill": ("--short",),
    "fuzz": ("--short",),
}
LEFT_OUT = {
    "mutants": "not in this table: it runs tests for every change of the program, a minute each"
}
HEAD = "| what | ratio | to | figure |\n| --- | --- | --- | --- |\n"
BEGIN, END = "<!-- begin: written by make bench -->\n", "<!-- end -->"
CITY = "import pathlib, sys; from streetgauge.synthetic import make_city; "
CITY += f"make_city(pathlib.Path(sys.argv[1]), n_areas={AREAS}, n_locations={LOCATIONS})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every = ("stages", *SHORT)
    parser.add_argument("--only", nargs="+", choices=every, default=every)
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "benchmarks.md")
    parser.add_argument("--limit", type=int, default=300, help="seconds of each")
    args = parser.parse_args()
    start, rows = time.perf_counter(), []
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study"
        if "stages" in args.only or any(STUDY in SHORT[name] for name in args.only):
            rows += stages(study)
        for name in args.only:
            before, began = cpu_of_children(), time.perf_counter()
            if name in SHORT:
                rows += (found := measured(name, study, args.limit))
                print("\n".join(found))
            loads.append(os.getloadavg()[0])
            print(f"{name}: {time.perf_counter() - began:.0f} s, "
                  f"{cpu_of_children() - before:.0f} CPU s", flush=True)  # fmt: skip
    rows += [line(f"`{name}`", figure=why) for name, why in LEFT_OUT.items()]
    rows.sort(key=lambda row: not row.split(" | ")[1].strip())
    about = f"{machine()}; the load was {min(loads):.1f} to {max(loads):.1f}. All took "
    about += f"{time.perf_counter() - start:,.0f} s and {cpu_of_children():,.0f} CPU seconds."
    table = BEGIN + "\n" + about + "\n\n" + HEAD + "\n".join(rows) + "\n\n" + END
    print(table)
    page = args.page.read_text(encoding="utf-8")
    before, after = page.index(BEGIN), page.index(END) + len(END)
    args.page.write_text(page[:before] + table + page[after:], encoding="utf-8")


def stages(study: Path) -> list[str]:
    """Make the small study, a stage a process; give what each takes."""
    subprocess.run([sys.executable, "-c", CITY, str(study)], check=True, stdout=subprocess.DEVNULL)
    rows = []
    for verb in (*STAGES, "run", "check"):
        used = run_verb(verb, study)
        figure = f"{used.cpu:.1f} CPU s, {used.mebibytes:,.0f} MiB at most"
        after = "" if verb in STAGES else " when all is up to date"
        what = f"`{verb}`{after}, {AREAS} areas and {LOCATIONS} locations"
        rows.append(line(what, figure=figure))
    return rows


def measured(name: str, study: Path, limit: int) -> list[str]:
    """Give the rows of a benchmark's short form."""
    words = [str(study) if word == STUDY else word for word in SHORT[name]]
    command = [sys.executable, str(HERE / f"{name}.py"), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
        why = reason(done.stderr) if done.returncode else ""
        printed = done.stdout
    except subprocess.TimeoutExpired as late:
        printed = (late.stdout or b"").decode()
        why = f"stopped after {limit} s"
    rows = rows_of(name, printed)
    if not rows and not why:
        why = "it printed no figure"
    return rows + [line(f"`{name}`", figure=why)] * bool(why)


def rows_of(name: str, printed: str) -> list[str]:
    """Take the rows out of what a benchmark printed, or make them of its own Markdown table."""
    lines = printed.splitlines()
    if "--short" in SHORT[name]:
        return [f"| {each.removeprefix(ROW)}" for each in lines if each.startswith(ROW)]
    cells = [[cell.strip() for cell in each.strip("|").split("|")] for each in lines if "|" in each]
    head, *others = [each for each in cells if not set("".join(each)) <= set("-:")] or [[]]
    found = []
    for what, *values in others:
        named = zip(values, head[1:], strict=False)
        figure = ", ".join(v if n == "figure" else f"{v} {n}" for v, n in named if v)
        found.append(line(f"{name}: {what}", figure=figure))
    return found


def line(what: str, *, figure: str) -> str:
    """Give a row without a ratio."""
    return f"| {what} |  |  | {figure} |"


def reason(stderr: str) -> str:
    """State in a sentence why a benchmark ended early."""
    last = (stderr.strip().splitlines() or ["it ended without a word"])[-1]
    absent = re.match(r"ModuleNotFoundError: No module named '([\w.]+)'", last)
    return f"it needs {absent[1]}, which is not installed" if absent else last.split(" error: ")[-1]


def cpu_of_children() -> float:
    """Give the CPU seconds of all that was started and has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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
