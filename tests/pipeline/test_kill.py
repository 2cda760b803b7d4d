"""A run that is killed and run again ends with what it would have made undisturbed."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from small_worlds import keep_outcomes
from streetgauge.synthetic import make_city

RUN = [sys.executable, "-m", "streetgauge", "run", "-q"]


@pytest.fixture
def city(tmp_path: Path) -> Path:
    """Give a small city with images, and settings that make only training last a while."""
    place = tmp_path / "city"
    make_city(place, seed=5, n_areas=12, n_locations=48, workers=1)
    keep_outcomes(place, "income")
    file = place / "study.toml"
    text = file.read_text(encoding="utf-8")
    assert "[train]" not in text
    assert "[report]" not in text
    text = text.replace("k = 5", "k = 3").replace("[features]", '[features]\nengine = "torch"')
    text += "\n[train]\nensemble_size = 2\nepochs = 6\npatience = 6\nwidth = 128\n"
    text += '\n[report]\nfigures = "none"\nocclusion = false\n'
    file.write_text(text, encoding="utf-8")
    return place


def kill_when(study: Path, half_done: Callable[[], bool]) -> None:
    """Start a run and kill it, without any warning, as soon as something is half done."""
    process = subprocess.Popen([*RUN, str(study)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not half_done():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run never came so far"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def contents(study: Path) -> dict[str, str]:
    """Give the hash of every file that was made, but for logs and the record of the run itself."""
    made = [p for p in study.rglob("*") if p.is_file() and p.relative_to(study).parts[0] != "data"]
    return {
        str(p.relative_to(study)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in made
        if "logs" not in p.relative_to(study).parts and p.name not in ("run.json", "areas.gpkg")
    }


@pytest.mark.slow
def test_killed_in_features_and_in_training_ends_with_the_same_files(
    run: Callable[..., tuple[int, str, str]], city: Path, tmp_path: Path
) -> None:
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(city, undisturbed)
    assert run("run", undisturbed)[0] == 0

    store = city / "features" / "efficientnet-lite0.h5"

    def features_are_half_done() -> bool:
        if not store.exists():
            return False
        with h5py.File(store) as file:
            done = np.asarray(file["done"])
        return 0 < done.sum() < len(done) * 0.8

    kill_when(city, features_are_half_done)
    assert not (city / "predictions.parquet").exists()
    kill_when(city, lambda: (city / "model" / "fold-2" / "bundle.json").exists())
    assert not (city / "predictions.parquet").exists()
    # And in the folds beside the study's own, when its own are done.
    kill_when(city, lambda: (city / "other-folds" / "model" / "fold-2" / "bundle.json").exists())
    assert not (city / "other-folds" / "predictions.parquet").exists()
    assert run("run", city)[0] == 0

    killed, whole = contents(city), contents(undisturbed)
    assert killed.keys() == whole.keys()
    assert [name for name in whole if killed[name] != whole[name]] == []
    assert {"predictions.parquet", "metrics.json", "report.html"} <= whole.keys()
    other = {"predictions.parquet", "model/fold-1/bundle.json"}
    assert {f"other-folds/{name}" for name in other} <= whole.keys()
