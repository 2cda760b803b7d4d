"""What makes the features of a study out of date."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from streetgauge.errors import InputError
from streetgauge.features import FeatureStore
from streetgauge.io import files
from streetgauge.pipeline.info import file_info
from streetgauge.pipeline.run import WORK, run_stage
from streetgauge.progress import Progress, silent
from streetgauge.study import Done, Study, stages
from streetgauge.study.stages import stage_named


@pytest.fixture
def city(city: Path) -> Path:
    """Give a study whose network is an ONNX file; it is never run."""
    nets = city / "nets"
    nets.mkdir()
    (nets / "net.onnx").write_bytes(b"no network")
    (nets / "net.toml").write_text("mean = [0, 0, 0]\nstd = [1, 1, 1]\n")
    file = city / "study.toml"
    text = file.read_text(encoding="utf-8")
    assert "[features]\n" in text
    line = f"[features]\nbackbone = {json.dumps('onnx:nets/net.onnx')}\n"
    kept = [row for row in text.splitlines() if not row.startswith("backbone")]
    file.write_text("\n".join(kept).replace("[features]\n", line) + "\n", encoding="utf-8")
    (city / "locations.parquet").write_bytes(b"stands for locations")
    return city


def key(city: Path) -> str:
    return Study.open(city).key(stage_named("features"), upstream=False)


def test_editing_the_rule_next_to_an_onnx_file_makes_features_out_of_date(city: Path) -> None:
    before = key(city)
    assert key(city) == before
    (city / "nets" / "net.toml").write_text("mean = [0, 0, 0]\nstd = [2, 2, 2]\n")
    changed = key(city)
    assert changed != before
    (city / "nets" / "other.toml").write_text("")
    assert key(city) == changed


def test_new_weights_next_to_an_onnx_file_make_features_out_of_date(
    city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "external_data", lambda _: ["net.data"])
    (city / "nets" / "net.data").write_bytes(b"one")
    before = key(city)
    (city / "nets" / "net.data").write_bytes(b"another")
    assert key(city) != before


def store(path: Path, locations: int = 3, tried: int = 3) -> None:
    path.parent.mkdir(exist_ok=True)
    about = {"backbone": "b", "weights_sha256": "", "transform": "{}", "cache_key": ""}
    ids = [f"L{i}" for i in range(locations)]
    with FeatureStore.create(path, ids, ["a", "b"], 5, about) as new:
        slots = np.arange(tried)
        new.write(slots, np.ones((tried, 2, 5), np.float32), np.ones((tried, 2), dtype=bool))


@pytest.mark.parametrize("force", [True, False])
def test_a_store_of_a_newer_version_is_never_written_over(city: Path, force: bool) -> None:
    study = Study.open(city)
    store(study.features)
    with h5py.File(study.features, "r+") as file:
        file.attrs["format_version"] = 99
    before = study.features.read_bytes()
    newer = r"a newer streetgauge made it \(format 99; this one reads 4\); upgrade"
    with pytest.raises(InputError, match=newer):
        run_stage(study, "features", silent, force=force)
    assert study.features.read_bytes() == before


def test_what_is_stored_of_a_run_that_was_stopped_is_reported(city: Path) -> None:
    study = Study.open(city)
    assert file_info(city)["stage features"] == "not done"
    store(study.features, locations=3, tried=0)
    assert file_info(city)["stage features"] == "not done"
    store(study.features, locations=3, tried=2)
    assert file_info(city)["stage features"] == "not done, but 2 of 3 locations are stored"
    assert file_info(city)["stage train"] == "not done"


def test_a_forced_run_that_was_killed_is_not_done_and_goes_on(
    city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = replace(stage_named("features"), writes=lambda study: (study.features,))
    monkeypatch.setattr(stages, "STAGES", (stage,))

    def first(study: Study, key: str, progress: Progress) -> Done:
        store(study.features)
        return Done()

    def work(kill: bool) -> Callable[[Study, str, Progress], Done]:
        def make(study: Study, key: str, progress: Progress) -> Done:
            assert kill or FeatureStore.open(study.features).attempted.sum() == 2
            store(study.features, tried=2 if kill else 3)
            if kill:
                raise KeyboardInterrupt
            return Done(("all of it",))

        return make

    study = Study.open(city)
    monkeypatch.setitem(WORK, "features", first)
    run_stage(study, "features", silent)
    whole = study.features.read_bytes()
    assert file_info(city)["stage features"].startswith("up to date")
    monkeypatch.setitem(WORK, "features", work(kill=True))
    with pytest.raises(KeyboardInterrupt):
        run_stage(Study.open(city), "features", silent, force=True)
    assert file_info(city)["stage features"] == "not done, but 2 of 3 locations are stored"
    monkeypatch.setitem(WORK, "features", work(kill=False))
    run_stage(Study.open(city), "features", silent)
    assert file_info(city)["stage features"].startswith("up to date")
    assert study.features.read_bytes() == whole


def test_a_store_says_its_shape(tmp_path: Path) -> None:
    store(tmp_path / "s.h5")
    assert file_info(tmp_path / "s.h5")["shape"] == "[3, 2, 5] float32"
