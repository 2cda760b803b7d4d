"""A lock keeps a second writer away, and goes with the process that holds it."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streetgauge.errors import InputError
from streetgauge.io.files import WriteLock

HOLD = """
import sys, time
from collections.abc import Callable
from pathlib import Path
from streetgauge.io.files import WriteLock
lock = WriteLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_writer_is_refused_until_the_first_has_released(tmp_path: Path) -> None:
    with WriteLock(tmp_path / "a.h5"):
        message = rf"a\.h5: process {os.getpid()} on .* is writing to it; wait for it to end"
        with pytest.raises(InputError, match=message):
            WriteLock(tmp_path / "a.h5")
        with WriteLock(tmp_path / "b.h5"):
            pass
    with WriteLock(tmp_path / "a.h5"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_holds_no_lock(tmp_path: Path) -> None:
    file = tmp_path / "a.h5"
    command = [sys.executable, "-c", HOLD, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"process {holder.pid} on "):
            WriteLock(file)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    WriteLock(file).release()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize(
    ("directory", "expected"), [(0o2775, 0o664), (0o755, 0o644), (0o700, 0o600)]
)
def test_who_may_write_into_the_directory_may_take_over_a_lock_that_was_left(
    directory: int, expected: int, tmp_path: Path
) -> None:
    (shared := tmp_path / "shared").mkdir()
    shared.chmod(directory)
    before = os.umask(0o022)
    try:
        with WriteLock(shared / "run.json"):
            assert stat.S_IMODE((shared / ".run.json.lock").stat().st_mode) == expected
    finally:
        os.umask(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_that_ends_does_not_release_the_lock_of_its_parent(tmp_path: Path) -> None:
    after = "import os\nif os.fork():\n    os.wait()\nelse:\n    sys.exit()\n"
    after += "print(Path(sys.argv[1]).with_name('.a.h5.lock').exists())"
    code = HOLD.replace("time.sleep(60)", after)
    command = [sys.executable, "-c", code, str(tmp_path / "a.h5")]
    parent = subprocess.run(command, capture_output=True, text=True, check=True)
    assert parent.stdout.split() == ["held", "True"]


@pytest.mark.skipif(os.name == "nt", reason="Windows locks otherwise")
@pytest.mark.parametrize("name", ["ENOSYS", "EOPNOTSUPP", "ENOLCK", "EINVAL"])
def test_a_file_system_without_locks_is_written_to_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(getattr(errno, name), "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with WriteLock(tmp_path / "a.h5") as lock:
        assert not lock.held
        with WriteLock(tmp_path / "a.h5") as other:  # nothing can prevent it there
            assert not other.held
    assert [each.name for each in tmp_path.iterdir()] in ([], [".a.h5.lock"])


@pytest.mark.skipif(os.name == "nt", reason="Windows locks otherwise")
def test_a_study_on_a_file_system_without_locks_is_run(
    grid: Path, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    for stage in ("outcomes", "locations", "features"):
        code, _, err = run(stage, grid)
        assert (code, "Traceback" in err) == (0, False), err
    assert run("info", grid / "outcomes.parquet")[0] == 0
