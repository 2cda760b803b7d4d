"""When nothing moves, a log has every thread's stack, a sentence names it, and the run goes on."""

from __future__ import annotations

import ctypes
import json
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streetgauge import watchdog
from streetgauge.cli.app import Screen
from streetgauge.pipeline.run import forget_stages
from streetgauge.progress import silent
from streetgauge.report.figures.draw import Each, processes
from streetgauge.settings import StudySettings
from streetgauge.study import Study, heartbeat
from streetgauge.study.heartbeat import Running
from streetgauge.watchdog import Watchdog

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 0.05)
    monkeypatch.setattr(watchdog, "GRACE", 0.4)


class Alarms(logging.Handler):
    """What the heartbeat logs, whatever the root logger has been set to by then."""

    def __init__(self) -> None:
        super().__init__()
        self.sentences: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.sentences.append(record.getMessage())

    def wait(self) -> str:
        end = time.monotonic() + 30
        while not self.sentences and time.monotonic() < end:
            time.sleep(0.05)
        assert self.sentences, "no alarm came"
        return self.sentences[0]


@pytest.fixture
def alarms() -> Iterator[Alarms]:
    handler = Alarms()
    heartbeat.log.addHandler(handler)
    heartbeat.log.setLevel(logging.WARNING)
    yield handler
    heartbeat.log.removeHandler(handler)
    heartbeat.log.setLevel(logging.NOTSET)


def work_in(folder: Path) -> int:
    (folder / f"begun-{os.getpid()}").touch()
    for _ in range(600):
        if (folder / "end").exists():
            break
        time.sleep(0.05)
    return os.getpid()


def stuck_worker(released: threading.Event) -> None:
    released.wait(30)


@posix
def test_stacks_are_written_while_native_code_holds_the_interpreter(
    tmp_path: Path, alarms: Alarms
) -> None:
    log = tmp_path / "stalled.log"
    run = Running(tmp_path / ".running.json", patience=1)
    with run.heartbeat(), run.stage("features", silent):
        run.watchdog.moved()
        ctypes.PyDLL(None).usleep(ctypes.c_uint(2_500_000))  # this call keeps the lock
        held = log.read_text("utf-8")
        assert "Timeout (" in held
        assert "in test_stacks_are_written_while" in held
        assert str(log) in alarms.wait()
        time.sleep(0.3)  # six looks
    assert len(alarms.sentences) == 1


def test_an_alarm_is_one_sentence_for_people_and_for_machines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    released = threading.Event()
    thread = threading.Thread(target=stuck_worker, args=(released,), name="stuck")
    Screen(machine=True)
    run = Running(tmp_path / ".running.json", patience=1)
    with run.heartbeat(), run.stage("features", silent):
        thread.start()
        time.sleep(2.2)
        released.set()
        thread.join()
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert (record["event"], record["level"]) == ("log", "warning")
    assert record["message"].endswith(
        f"the run continues, and what each thread is doing is in {run.watchdog.log}."
    )
    text = run.watchdog.log.read_text("utf-8")
    assert "in stuck_worker" in text
    assert f"{thread.ident:#018x} stuck" in text


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        return 0.0


def test_what_moves_raises_no_alarm_and_leaves_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(watchdog, "time", clock)
    run = Running(tmp_path / ".running.json")
    with run.stage("train", silent) as progress:
        for _ in range(3):
            clock.now += 50  # a part of the work begins, has one step, and ends
            with progress("train", 1, "epochs") as advance:
                assert run.watchdog.look("train") is None
                clock.now += 50
                advance(1)
                assert run.watchdog.look("train") is None
                clock.now += 50
            assert run.watchdog.look("train") is None
        assert run.watchdog.log.exists()
    assert list(tmp_path.iterdir()) == []


def test_steps_that_are_longer_raise_one_alarm_in_a_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(watchdog, "time", clock)
    dog = Watchdog(tmp_path / "stalled.log", patience=60)
    alarms = []
    for _ in range(2):
        with dog.watching():
            for second in range(1, 361):
                clock.now += 1
                if second % 90 == 0:
                    dog.moved()
                alarms.append(dog.look("train") is not None)
    assert [i + 1 for i, alarm in enumerate(alarms) if alarm] == [60, 420]


def test_forcing_a_stage_removes_the_log_of_earlier_runs(tmp_path: Path) -> None:
    study = Study(tmp_path / "study.toml", StudySettings.model_construct())
    log = study.running.watchdog.log
    log.write_text("old")
    with study.running.watchdog.watching():
        pass
    assert log.read_text() == "old"
    forget_stages(study, ["train"])
    assert not log.exists()


def test_a_directory_that_nothing_can_be_written_to_is_not_watched(tmp_path: Path) -> None:
    dog = Watchdog(tmp_path / "missing" / "stalled.log", patience=0)
    with dog.watching():
        assert dog.look("train") is None


# Last: what has worker processes asks them, too.
Workers = tuple[Each, Path]


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """Give two worker processes, and the file of a run whose log they answer in."""
    if not Path("/proc/self/status").exists():
        pytest.skip("workers are asked on Linux")
    file = tmp_path_factory.mktemp("workers") / ".running.json"
    with Watchdog(Running(file).watchdog.log).watching(), processes(2) as each:
        yield each, file


@contextmanager
def one_stopped(each: Each, folder: Path) -> Iterator[tuple[int, int]]:
    """Stop the first of two workers; in the end it goes on, and both end their work."""
    results = each(work_in, [folder, folder])
    while len(begun := list(folder.glob("begun-*"))) < 2:  # processes start slowly
        time.sleep(0.05)
    first, second = (int(file.name.partition("-")[2]) for file in begun)
    os.kill(first, signal.SIGSTOP)
    try:
        yield first, second
    finally:
        os.kill(first, signal.SIGCONT)
        (folder / "end").touch()
    assert set(results) == {first, second}  # the run went on


@posix
def test_a_stage_whose_worker_process_is_stopped_leaves_the_stacks_of_all_that_can_answer(
    tmp_path: Path, workers: Workers, alarms: Alarms
) -> None:
    each, file = workers
    run = Running(file, patience=1)
    run.watchdog.log.write_bytes(b"")
    stopped = one_stopped(each, tmp_path)
    with stopped as (first, second), run.heartbeat(), run.stage("report", silent):
        sentence = alarms.wait()
        # Pools of other tests in this process may have workers that are still there.
        children = {each.pid for each in multiprocessing.active_children()}
    text = run.watchdog.log.read_text("utf-8")
    main, *others = re.split(r"^Process (?=\d)", text, flags=re.MULTILINE)
    assert "in test_a_stage_whose_worker" in main  # of the main thread
    assert "in look" in main  # of the thread that looks
    stacks = {int(part.partition(",")[0]): part for part in others}
    assert {first, second} <= set(stacks) == children
    assert "it gives no answer" in stacks[first]
    assert "in work_in" in stacks[second]
    assert sentence.startswith("report: no progress for 1 s")
    assert str(run.watchdog.log) in sentence


@posix
def test_one_stopped_worker_is_noticed_while_the_others_move_on(
    tmp_path: Path, workers: Workers, alarms: Alarms
) -> None:
    each, file = workers
    run = Running(file, patience=1)
    run.watchdog.log.write_bytes(b"")
    end = time.monotonic() + 30
    stopped = one_stopped(each, tmp_path)
    with stopped as (first, _), run.heartbeat(), run.stage("report", silent):
        while not alarms.sentences and time.monotonic() < end:
            run.watchdog.moved()
            time.sleep(0.05)
        time.sleep(0.5)
    (sentence,) = alarms.sentences  # once
    assert sentence.startswith(f"report: worker process {first} has been stopped for 1 s; ")
    assert "in work_in" in run.watchdog.log.read_text("utf-8")
