"""What a stage takes, run by the command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Used(NamedTuple):
    """CPU seconds, and the most memory that was held at a time."""

    cpu: float
    mebibytes: float


def run_verb(verb: str, study: Path) -> Used:
    """Run ``streetgauge VERB STUDY``; end this program if it fails."""
    words = [sys.executable, "-m", "streetgauge", verb, str(study), "-q"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"`streetgauge {verb}` ended with {process.returncode}")
    unit = 1024 if sys.platform != "darwin" else 2**20
    return Used(used.ru_utime + used.ru_stime, used.ru_maxrss / unit)
