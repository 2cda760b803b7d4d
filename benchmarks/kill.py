"""Kill the program at random moments, let it go on, and compare what it ends with.

    python benchmarks/kill.py [--kills 50] [--seed 1] [--stages STAGE ...] [--at-writes]

A small synthetic city is run twice undisturbed, which must give the same. Then the kills are spread
evenly over the stages features, train, areas and report and the verb `predict`, and over the time
that each takes in a run; the seed chooses the moments. For each kill the study is put back to what
it was before the stage, a `run` is started, and it and all its processes are killed with SIGKILL at
that moment; a second `run` goes on. After it every artefact, every input, and the list of files
must be what they are undisturbed, and a third `run` must find nothing to do. `predict` is killed in
the same way, and given again. A kill counts for the stage that it hit, as the lines of `run --json`
tell; one that came too late does not count, and another is drawn. The next kill is for the stage
that was hit least. With --at-writes a kill waits, from its moment, until files have come or gone a
few times: few moments are within a write, and there a kill can do the most.

Prints a line for each kill on standard error and a table for each stage on standard output; ends
with 1 if anything differs, and then keeps its folder, with what differs in `different-N/`. Only the
command line is used. 50 kills took 25 minutes on two busy cores, an hour on one that fifteen
processes shared. Needs process groups, so no Windows. Trainings are too short here to write
checkpoints within a network, which come every 20 s.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from _table import add_short, row

CLI = [sys.executable, "-m", "streetgauge"]

# Every name of the program that this depends on. All other files are found, whatever their names.
PREDICT = "predict"
TARGETS = ("features", "train", "areas", "report", PREDICT)
INPUTS = ("study.toml", "data")  # of a study: never made by a stage
RECORD, HEARTBEAT, LOCATIONS = "run.json", ".running.json", "locations.parquet"
OUTCOMES = 2  # of the demo's; one would do, but a network that outcomes share needs two
FEWER = {'views = ["a", "b", "c", "d"]': 'views = ["a"]', "k = 5\n": "k = 3\n"}
QUICK = {  # added to the demo's settings, so that a kill takes seconds
    "features": 'engine = "torch"',  # begins to work sooner than others
    "train": "ensemble_size = 2\nepochs = 4\nwidth = 64",
    "evaluation": "draws = 100",
    "report": 'figures = "page"\nocclusion = false',
}

MOST_LATE = 20  # in a row; then no kill reaches a stage
MOST_CHANGES = 8  # of files, that a kill with --at-writes waits for
EVENTS = "events.out.tfevents.*"
NOT_BY_BYTES = {
    EVENTS: "times and process ids inside: how many each folder has",
    RECORD: "times inside, and hashes of folders with event files: all but hashes and decimals",
    "*.gpkg": "where bytes differ, all that its tables hold",
    "*.h5": "where bytes differ, its datasets and attributes",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-writes", action="store_true", help="kill when files come or go")
    parser.add_argument("--stages", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--work", type=Path, help="an empty or new folder, kept")
    add_short(parser, kills=1, stages=["areas"])
    args = parser.parse_args()
    work = args.work or Path(tempfile.mkdtemp(prefix="kill-"))
    work.mkdir(parents=True, exist_ok=True)
    if any(work.iterdir()):
        parser.error(f"{work} is not empty")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with it
    start = time.monotonic()
    bench = prepared(work.resolve())
    try:
        kill_all(bench, args)
    finally:  # also of those before it was stopped
        print_table(bench, args.seed, time.monotonic() - start)
    differs = any(tally.differences for tally in bench.tallies.values())
    if args.short:
        kills = sum(tally.kills for tally in bench.tallies.values())
        words = "other results" if differs else "the same results as undisturbed"
        row(f"{kills} kill while areas are computed, and a second run", "", "", words)
    if differs:
        print(f"what differs is in {work}")
    elif args.work is None:
        shutil.rmtree(work)
    sys.exit(differs)


@dataclass
class Tally:
    """What came of the kills of a stage."""

    kills: int = 0
    compared: int = 0
    differences: list[str] = field(default_factory=list)


@dataclass
class Bench:
    """The study that is killed, what it is undisturbed, and how long everything takes."""

    work: Path
    stages: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    other_bytes: Counter[str] = field(default_factory=Counter)
    missed: int = 0  # kills that came too late

    @property
    def study(self) -> Path:
        """Where the study always is, so that paths in its files are the same."""
        return self.work / "study"

    @property
    def city(self) -> Path:
        """Where a killed `predict` writes."""
        return self.work / "city"

    def before(self, stage: str) -> Path:
        """Where the study's files are as they are before a stage."""
        return self.work / f"before-{stage}"

    def whole(self, target: str) -> Path:
        """Where the undisturbed result is."""
        return self.work / ("whole-city" if target == PREDICT else "whole")

    def read_inputs(self) -> dict[str, str]:
        """Hash every file that no command may change."""
        places = [self.study / name for name in INPUTS]
        places += [self.work / "bundle", self.work / LOCATIONS]
        files = [f for place in places for f in (place.rglob("*") if place.is_dir() else [place])]
        return {str(f.relative_to(self.work)): digest(f) for f in files if f.is_file()}

    @property
    def predict(self) -> list[str]:
        """The command that predicts the city."""
        text = (self.study / INPUTS[0]).read_text(encoding="utf-8")
        images = self.study / tomllib.loads(text)["imagery"]["folder"]
        given = {"--images": images, "--locations": self.work / LOCATIONS, "--out": self.city}
        options = [str(part) for pair in given.items() for part in pair]
        return [PREDICT, str(self.work / "bundle"), *options]


# --- the study, undisturbed -----------------------------------------------------------------------


def prepared(work: Path) -> Bench:
    """Make the city, run it twice, and keep it as it was before each stage."""
    bench = Bench(work)
    study, heartbeat = bench.study, bench.study / HEARTBEAT
    tell("making a city")
    demo = ["demo", "--out", str(study), "--areas", "20", "--locations", "80", "-q"]
    with running(demo, work / "log") as process:  # only its city is of use: the run is killed
        wait(process, heartbeat.exists)
    restore(study)
    toml = study / INPUTS[0]
    toml.write_text(quick(toml.read_text(encoding="utf-8")), encoding="utf-8")

    tell("running it undisturbed")
    do(["run", "-q", str(study)], work / "log")
    keep(study, bench.whole("report"))
    bench.stages = list(json.loads((study / RECORD).read_text(encoding="utf-8"))["stages"])

    tell("running it again, stage by stage")
    restore(study)
    for stage in bench.stages:
        if stage in TARGETS:
            keep(study, bench.before(stage))
        do([stage, "-q", str(study)], work / "log")
    require_same(bench, study, "report")

    tell("timing each stage within a run")
    for stage in bench.stages:
        if stage in TARGETS:
            bench.seconds[stage] = timed_in_run(bench, stage)

    tell("predicting, twice")
    do(["export", str(study), "--out", str(work / "bundle")], work / "log")
    shutil.copy2(study / LOCATIONS, work / LOCATIONS)
    do(bench.predict, work / "log")
    bench.city.rename(bench.whole(PREDICT))
    with running(bench.predict, work / "log") as process:
        wait(process, bench.city.exists)
        start = time.monotonic()
        process.wait()
        bench.seconds[PREDICT] = time.monotonic() - start
    require(process.returncode, bench.predict, work / "log")
    require_same(bench, bench.city, PREDICT)

    bench.inputs = bench.read_inputs()
    bench.tallies = {target: Tally() for target in TARGETS}
    bench.other_bytes.clear()
    tell(", ".join(f"{name} {bench.seconds[name]:.1f} s" for name in TARGETS))
    return bench


def timed_in_run(bench: Bench, stage: str) -> float:
    """Give the seconds of a stage in a run that begins with it."""
    restore(bench.study, bench.before(stage))
    log, previous = bench.work / "log", bench.stages[bench.stages.index(stage) - 1]
    with running(["run", "--json", str(bench.study)], log) as process:
        wait(process, lambda: previous in finished_stages(log))
        start = time.monotonic()
        wait(process, lambda: stage in finished_stages(log))
        return time.monotonic() - start


def quick(text: str) -> str:
    """Give the demo's settings with fewer outcomes and quicker stages."""
    for heading in re.findall(r"(?m)^\[outcomes\.\w+\]$", text)[OUTCOMES:]:
        text = re.sub(rf"(?ms)^{re.escape(heading)}$.*?(?=^\[|\Z)", "", text)
    for many, few in FEWER.items():
        if many not in text:
            sys.exit(f"the demo's settings have no {many}")
        text = text.replace(many, few)
    for section, lines in QUICK.items():
        heading = f"[{section}]\n"
        if heading not in text:
            text += f"\n{heading}"
        text = text.replace(heading, f"{heading}{lines}\n")
    return text


def keep(study: Path, place: Path) -> None:
    """Copy what was made of a study, with modification times, by which the program knows files."""
    shutil.copytree(study, place, ignore=lambda at, _: INPUTS if Path(at) == study else ())


def restore(study: Path, place: Path | None = None) -> None:
    """Make the study what it was when it was kept; without a place, nothing is made yet."""
    for path in study.iterdir():
        if path.name not in INPUTS:
            remove(path)
    if place is not None:
        shutil.copytree(place, study, dirs_exist_ok=True)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def require_same(bench: Bench, place: Path, target: str) -> None:
    """End, if two undisturbed runs differ: then kills can show nothing."""
    _, found = compare(bench, place, target)
    if found:
        sys.exit("two undisturbed runs differ:\n" + "\n".join(found))


# --- kills ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moment:
    """So many seconds after the start of a stage or verb, and so many changes of files later."""

    target: str
    seconds: float
    changes: int

    def __str__(self) -> str:
        later = f" and {self.changes} changes" if self.changes else ""
        return f"{self.seconds:5.2f} s{later} after the start of {self.target}"


def kill_all(bench: Bench, args: argparse.Namespace) -> None:
    """Kill as many times as is asked for."""
    rng = random.Random(args.seed)
    share = max(1, args.kills // len(args.stages))
    done = late = 0
    while done < args.kills:
        target = min(args.stages, key=lambda name: (bench.tallies[name].kills, rng.random()))
        # One kill in each of the equal parts of a stage's time, unless that came too late.
        part = (bench.tallies[target].kills % share + rng.random()) / share
        part = rng.random() if late else part
        changes = rng.randint(1, MOST_CHANGES) if args.at_writes else 0
        moment = Moment(target, part * bench.seconds[target], changes)
        hit, failure = (kill_predict if target == PREDICT else kill_run)(bench, moment)
        if hit is None:
            bench.missed, late = bench.missed + 1, late + 1
            tell(f"   - too late: {moment}")
            if late == MOST_LATE:
                sys.exit(f"{late} kills of {target} in a row came too late")
            continue
        late, done = 0, done + 1
        tally = bench.tallies[hit]
        place = bench.city if hit == PREDICT else bench.study
        compared, found = compare(bench, place, hit)
        found = [*failure, *found, *changed_inputs(bench)]
        tally.kills += 1
        tally.compared += compared
        tally.differences += [f"kill {done}, {hit}: {what}" for what in found]
        tell(f"{done:>4} {hit}: killed {moment}: {len(found)} differences")
        for what in first(found, 6):
            tell(f"       {what}")
        if found:
            keep(place, bench.work / f"different-{done}")


def kill_run(bench: Bench, moment: Moment) -> tuple[str | None, list[str]]:
    """Kill a run and let another go on: the stage that was hit, and how the other failed."""
    study, log = bench.study, bench.work / "log"
    restore(study, bench.before(moment.target))
    previous = bench.stages[bench.stages.index(moment.target) - 1]
    command = ["run", "--json", str(study)]
    killed = kill(command, log, lambda: previous in finished_stages(log), moment, study)
    left = [name for name in bench.stages if name not in finished_stages(log)]
    if not killed or not left:
        return None, []
    failure = attempt(["run", "-q", str(study)], log)
    record = (study / RECORD).read_bytes()
    failure += attempt(["run", "-q", str(study)], log)
    if (study / RECORD).read_bytes() != record:
        failure.append("the run after the one that went on did a stage again")
    return left[0], failure


def kill_predict(bench: Bench, moment: Moment) -> tuple[str | None, list[str]]:
    """Kill `predict` and give it again: its name, and how that failed."""
    remove(bench.city)
    log = bench.work / "log"
    if not kill(bench.predict, log, bench.city.exists, moment, bench.city):
        return None, []
    # One that was killed when its last file was written has ended all the same.
    return PREDICT, attempt([*bench.predict, "--force"], log)


def kill(
    command: list[str], log: Path, begun: Callable[[], bool], moment: Moment, place: Path
) -> bool:
    """Start a command and kill it at a moment after it has begun; whether it was still at work."""
    with running(command, log) as process:
        wait(process, begun)
        until = time.monotonic() + moment.seconds
        wait(process, lambda: time.monotonic() >= until)
        for _ in range(moment.changes):
            names = names_in(place)
            wait(process, lambda: names_in(place) != names)  # noqa: B023 - called at once
    if process.returncode not in (0, -signal.SIGKILL):
        sys.exit(f"{' '.join(command)} failed before it was killed:\n{log.read_text()}")
    return process.returncode != 0


def names_in(place: Path) -> set[str]:
    """Give the names of all that was made in a folder so far, without those of who looks on."""
    found = set()
    for at, folders, files in os.walk(place):
        folders[:] = [name for name in folders if name not in INPUTS]
        found |= {
            f"{at}/{name}"
            for name in [*folders, *files]
            if not name.startswith((HEARTBEAT, "stalled"))
        }
    return found


def finished_stages(log: Path) -> set[str]:
    """Read which stages a run with --json has finished, or found up to date, so far."""
    found = set()
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            found.add(json.loads(line).get("stage"))
        except ValueError:  # the last line, half written
            continue
    return found - {None}


# --- commands -------------------------------------------------------------------------------------


@contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command; kill it at the end of the block, with all processes that it has started."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*CLI, *command], stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait(process: subprocess.Popen[bytes], true: Callable[[], bool]) -> None:
    """Wait until something is true or the command has ended."""
    while process.poll() is None and not true():
        time.sleep(0.002)


def do(command: list[str], log: Path) -> None:
    """Do a command that must not fail."""
    with running(command, log) as process:
        process.wait()
    require(process.returncode, command, log)


def require(returncode: int, command: list[str], log: Path) -> None:
    if returncode:
        sys.exit(f"{' '.join(command)} failed:\n{log.read_text()}")


def attempt(command: list[str], log: Path) -> list[str]:
    """Do a command; say how it failed, if it did."""
    with running(command, log) as process:
        process.wait()
    if not process.returncode:
        return []
    last = (log.read_text(encoding="utf-8").splitlines() or [""])[-1]
    return [f"`{command[0]}` after the kill ended with {process.returncode}: {last}"]


# --- comparison -----------------------------------------------------------------------------------


def compare(bench: Bench, place: Path, target: str) -> tuple[int, list[str]]:
    """Compare a folder with the undisturbed one: how many files, and what differs."""
    here, there = made(place), made(bench.whole(target))
    here_events, there_events = split_events(here), split_events(there)
    found = []
    for name in sorted(here.keys() | there.keys()):
        if name not in there:
            found.append(f"{name}: only after a kill")
        elif name not in here:
            found.append(f"{name}: missing")
        elif here[name].read_bytes() != there[name].read_bytes():
            read = reader(name)
            if read is None or not same(read, here[name], there[name]):
                found.append(f"{name}: another content")
            elif name != RECORD:
                bench.other_bytes[name] += 1
    for folder in sorted(here_events.keys() | there_events.keys()):
        if here_events[folder] != there_events[folder]:
            count = f"{here_events[folder]}, not {there_events[folder]}"
            found.append(f"{folder}: number of event files: {count}")
    return len(here.keys() | there.keys()), found


def made(place: Path) -> dict[str, Path]:
    """Give every file below a folder but a study's inputs, hidden ones too."""
    files = {p.relative_to(place): p for p in place.rglob("*") if p.is_file()}
    return {p.as_posix(): file for p, file in files.items() if p.parts[0] not in INPUTS}


def split_events(files: dict[str, Path]) -> Counter[str]:
    """Take out TensorBoard's event files; count them by folder."""
    events = [name for name in files if fnmatch(Path(name).name, EVENTS)]
    for name in events:
        del files[name]
    return Counter(Path(name).parent.as_posix() for name in events)


def changed_inputs(bench: Bench) -> list[str]:
    """Say which inputs are not what they were."""
    now, was = bench.read_inputs(), bench.inputs
    names = sorted(now.keys() | was.keys())
    return [f"{name}: an input has changed" for name in names if now.get(name) != was.get(name)]


def reader(name: str) -> Callable[[Path], Any] | None:
    """Give what reads the content of a file of which bytes say too little."""
    if name == RECORD:
        return record_of
    return {".gpkg": tables_of, ".h5": datasets_of}.get(Path(name).suffix)


def same(read: Callable[[Path], Any], one: Path, other: Path) -> bool:
    """Whether two files have the same content; one that cannot be read has not."""
    try:
        return bool(read(one) == read(other))
    except (OSError, ValueError, sqlite3.Error):
        return False


def record_of(path: Path) -> Any:
    """Read a JSON file without hashes, times and decimals."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        varies = re.compile(r"[0-9a-f]{64}|\d{4}-\d\d-\d\dT[\d:.+]+")
        hidden = isinstance(value, float) or (isinstance(value, str) and varies.fullmatch(value))
        return None if hidden else value

    return plain(json.loads(path.read_text(encoding="utf-8")))


def tables_of(path: Path) -> list[str]:
    """Read a SQLite file as the statements that make it."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return list(connection.iterdump())


def datasets_of(path: Path) -> dict[str, Any]:
    """Read the datasets and attributes of an HDF5 file."""
    found: dict[str, Any] = {}

    def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
        found[f"{name}@"] = {key: np.asarray(value).tolist() for key, value in item.attrs.items()}
        if isinstance(item, h5py.Dataset):
            values = np.asarray(item)
            content = values.tolist() if values.dtype == object else values.tobytes()
            found[name] = (str(values.dtype), values.shape, content)

    with h5py.File(path) as file:
        note("", file)
        file.visititems(note)
    return found


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


# --- what is printed ------------------------------------------------------------------------------


def tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def first(lines: list[str], most: int) -> list[str]:
    """Give the first lines, and how many more there are."""
    more = len(lines) - most
    return [*lines[:most], *([f"and {more} more"] if more > 0 else [])]


def print_table(bench: Bench, seed: int, seconds: float) -> None:
    print(f"{'stage':<10}{'kills':>7}{'artefacts compared':>21}{'differences':>13}")
    all_of = bench.tallies.values()
    total = Tally(
        sum(tally.kills for tally in all_of),
        sum(tally.compared for tally in all_of),
        [what for tally in all_of for what in tally.differences],
    )
    for name, tally in [*bench.tallies.items(), ("in all", total)]:
        print(f"{name:<10}{tally.kills:>7}{tally.compared:>21,}{len(tally.differences):>13}")
    print(f"\nseed {seed}, {bench.missed} kills came too late and do not count; {seconds:.0f} s")
    print(f"{len(bench.inputs)} inputs hashed after every kill; all artefacts by bytes, but for")
    for name, how in NOT_BY_BYTES.items():
        print(f"  {name:<24}{how}")
    for name, times in sorted(bench.other_bytes.items()):
        print(f"  {name}: other bytes, same content, after {times} kills")
    for what in first(total.differences, 40):
        print(f"DIFFERS {what}")


if __name__ == "__main__":
    main()
