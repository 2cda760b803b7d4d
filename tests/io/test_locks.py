"""A lock keeps a second writer away, and goes with the process that holds it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from streetgauge.errors import InputError
from streetgauge.io.files import WriteLock

HOLD = """
import sys, time
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
