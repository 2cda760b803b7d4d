"""A full disk and a scheduler's signal end a run with one sentence, and the next run goes on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from safetensors import SafetensorError

from small_worlds import change
from streetgauge.errors import InputError, Stopped
from streetgauge.io.files import atomic_directory, atomic_path, full_disk, write_table, write_text
from streetgauge.study import heartbeat
from streetgauge.study.heartbeat import read_running

Run = Callable[..., tuple[int, str, str]]
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
linux = pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_of_a_scheduler_ends_a_run_as_ctrl_c_does(
    plain: Path, name: str, run: Run
) -> None:
    # A run states once a second where it is, so its training must take longer than that.
    change(plain, "epochs = 5", "epochs = 400\npatience = 400")
    command = [sys.executable, "-m", "streetgauge", "run", str(plain)]
    number = getattr(signal, name)
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # tests may be run by nohup
    )
    while process.poll() is None:  # however long a busy machine needs to come to training
        about = read_running(plain / ".running.json")
        if about is not None and about["stage"] == "train":
            break
        time.sleep(0.05)
    process.send_signal(number)
    process.send_signal(number)  # schedulers repeat themselves
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    sentence = (
        f"It was stopped by {name}; what is done stays, and the same command goes on from it."
    )
    assert err.splitlines()[-1] == f"Error: {sentence}"
    left = read_running(plain / ".running.json")
    assert left is not None
    assert (left["stopped"], left["alive"]) == (sentence, False)
    assert not (plain / ".run.json.lock").exists()
    assert "features" in json.loads((plain / "run.json").read_text())["stages"]
    if name == "SIGTERM":
        change(plain, "epochs = 400\npatience = 400", "epochs = 5")
        assert run("run", plain)[0] == 0


SLOW = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
except BaseException:
    raise ImportError("as compiled modules do where one that they load fails") from None
"""


LOADS = """
import time
from importlib import import_module
from streetgauge.cli.signals import EndingBySignal
with EndingBySignal():
    assert import_module("loads_slowly").time is time
    print("loaded", flush=True)
    time.sleep(10)
"""


@posix
def test_a_signal_waits_for_a_module_that_is_being_loaded(tmp_path: Path) -> None:
    (tmp_path / "loads_slowly.py").write_text(SLOW)
    # In a process of its own: a signal that is not caught would end the one that tests run in.
    ended = subprocess.run(
        [sys.executable, "-c", LOADS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    )
    assert ended.returncode == 143, ended.stderr
    assert ended.stdout == "loaded\n"
    assert "Error" not in ended.stderr


LOST = """
import os, signal, time
from streetgauge.cli.signals import EndingBySignal
class Held:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        time.sleep(0.01)  # the handler's error is raised here, where Python passes over it
        print("let go", flush=True)
with EndingBySignal():
    held = Held()
    del held
    time.sleep(10)
    print("not ended")
"""


@posix
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", -signal.SIGINT)])
def test_a_signal_within_a_destructor_is_not_lost(name: str, code: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOST.format(name=name)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: [signal.signal(each, signal.SIG_DFL) for each in (2, 15)],
    )
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == ""
    assert "Exception ignored" not in ended.stderr


def test_a_signal_that_is_ignored_stays_so(run: Run) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert run("--version")[0] == 0
    assert signal.getsignal(signal.SIGTERM) == before
    assert Stopped("SIGHUP", 1).code == 129


def test_a_clock_set_back_makes_no_dead_run_alive_and_no_live_one_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 0.05)
    file = tmp_path / ".running.json"
    now = time.time()
    with heartbeat.Running(file).heartbeat():
        monkeypatch.setattr(heartbeat.time, "time", lambda: now - 3600)
        about = read_running(file)
        assert about is not None
        assert about["alive"]
        content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"heartbeat": now}))
    about = read_running(file)
    assert about is not None
    assert not about["alive"]


@linux
def test_a_full_disk_is_named_with_the_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": range(100_000)})
    for name, write in (
        ("a.txt", lambda path: write_text("x" * 100_000, path)),
        ("a.parquet", lambda path: write_table(frame, path)),
    ):
        file = tmp_path / name
        file.write_text("old")
        stem, suffix = name.split(".")
        (tmp_path / f".{stem}.{os.getpid()}.tmp.{suffix}").symlink_to("/dev/full")
        with pytest.raises(OSError, match="No space left on device; free some") as caught:
            write(file)
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(file)
        assert file.read_text() == "old"
        assert sorted(each.name for each in tmp_path.glob(".a.*")) == []


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (SafetensorError("Error while serializing: I/O error: No space left (os error 28)"), True),
        (RuntimeError("sqlite3_exec(COMMIT) failed: database or disk is full"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (InputError("a", "no space left in this sentence"), False),
        (ValueError("os error 280"), False),
    ],
)
def test_whichever_library_meets_a_full_disk_it_is_the_same_error(
    error: Exception, is_full: bool, tmp_path: Path
) -> None:
    found = full_disk(error, tmp_path / "a.gpkg")
    assert (found is not None) == is_full
    if found is not None:
        assert found.filename == str(tmp_path / "a.gpkg")
        assert full_disk(found, tmp_path) is None  # named once
    for inside in (atomic_path(tmp_path / "x"), atomic_directory(tmp_path / "y")):
        with pytest.raises(OSError if is_full else type(error)) as caught, inside:
            raise error
        assert is_full or caught.value is error


def test_an_error_on_a_disk_without_any_room_is_one_of_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError("Failed to create file")
    assert full_disk(error, tmp_path / "none" / "a") is None
    usage = shutil.disk_usage(tmp_path)._replace(free=4096)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert full_disk(error, tmp_path / "none" / "a") is not None


@pytest.mark.parametrize("stage", ["outcomes", "locations", "features", "train", "areas", "report"])
def test_a_stage_on_a_full_disk_ends_in_one_sentence_that_names_a_file(
    finished_once: Path, small_disk: Any, run: Run, stage: str
) -> None:
    study = Path(shutil.copytree(finished_once, small_disk.place / "study"))
    record = json.loads((study / "run.json").read_text())
    del record["stages"][stage]
    (study / "run.json").write_text(json.dumps(record))
    for folder in ("model", "other-folds") if stage == "train" else ():
        shutil.rmtree(study / folder)
    # What folds write first is no failure yet.
    small_disk.fill(64 << 10 if stage == "train" else 4 << 10)
    small_disk.refuse(study, stage, study)


@pytest.mark.parametrize("command", ["predict", "export", "curves", "map", "compare"])
def test_a_command_on_a_full_disk_ends_in_one_sentence_and_the_old_file_stays(
    finished_once: Path, small_disk: Any, run: Run, command: str
) -> None:
    study = Path(shutil.copytree(finished_once, small_disk.place / "study"))
    bundle, out = study.with_name("bundle"), study.with_name("out")
    city = ["--features", *(finished_once / "features").glob("*.h5")]
    city += ["--locations", finished_once / "locations.parquet"]
    words = {
        "predict": [bundle, *city, "--out", out],
        "export": [study, "--out", bundle, "--force"],
        "curves": [study],
        "map": [study],
        "compare": [study, study, "--out", out],
    }[command]
    if command in ("predict", "export"):
        assert run("export", study, "--out", bundle)[0] == 0
    if command == "map":
        assert run("map", study)[0] == 0
    small_disk.fill(4 << 10)
    before = contents(small_disk.place)
    small_disk.refuse(small_disk.place, command, *words)
    after = contents(small_disk.place)
    assert {name: after.get(name) for name in before} == before


def contents(place: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in place.rglob("*") if file.is_file()}
