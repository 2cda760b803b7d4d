"""Damaged files of a study's own end in one sentence that names them, and never hang."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from streetgauge.io.formats import metrics_fault
from streetgauge.study.heartbeat import read_running

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def study(finished_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_once, tmp_path / "study"))


def changed(file: Path, *keys: str, value: Any) -> None:
    """Put a value into a JSON file, at the end of these keys."""
    content = json.loads(file.read_text(encoding="utf-8"))
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    file.write_text(json.dumps(content), encoding="utf-8")


def test_a_record_nested_too_deeply_or_of_odd_entries_is_as_if_it_were_not_there(
    run: Run, study: Path
) -> None:
    record = (study / "run.json").read_bytes()
    (study / "run.json").write_text(DEEP, encoding="utf-8")
    assert "not done" in run("info", study)[1]
    odd_makers = ({"versions": None}, {"streetgauge": "1", "python": "3", "platform": "x"})
    odd_entries = (("outputs", 7), ("messages", 5), ("messages", [5]))
    for key, odd in (*odd_entries, *(("made_by", each) for each in odd_makers)):
        (study / "run.json").write_bytes(record)
        changed(study / "run.json", "stages", "areas", key, value=odd)
        code, out, err = run("info", study)
        assert code == 0, err
        assert "not done" in out


def test_a_heartbeat_nested_too_deeply_is_nobodys(study: Path) -> None:
    (study / ".running.json").write_text(DEEP, encoding="utf-8")
    assert read_running(study / ".running.json") is None


def test_metrics_nested_too_deeply_or_of_odd_types_are_named_with_the_command_that_makes_them(
    refuse: Refuse, study: Path, finished_once: Path
) -> None:
    file = study / "metrics.json"
    whole = file.read_bytes()
    file.write_text(DEEP, encoding="utf-8")
    again = f"make it again with `streetgauge areas {study} --force`"
    said = refuse("compare", study, finished_once)
    assert f"{file}: its JSON is nested too deeply; {again}" in said
    for keys, odd in (
        (("outcomes",), 3),
        (("scheme",), [1]),
        (("interval_level",), "x"),
        (("outcomes", "income"), None),
        (("outcomes", "income", "bootstrap"), 3),
        (("outcomes", "income", "metrics"), [1]),
        (("outcomes", "income", "metrics", "mae"), "low"),
        (("outcomes", "income", "metrics", "mae"), {"value": [1]}),
        (("other_folds", "outcomes"), "none"),
    ):
        file.write_bytes(whole)
        changed(file, *keys, value=odd)
        said = refuse("compare", study, finished_once)
        assert f"{'.'.join(keys)}" in said
        assert f"is not what `areas` writes; {again}" in said


def test_metrics_of_a_finished_study_have_no_fault(finished_once: Path) -> None:
    assert metrics_fault(json.loads((finished_once / "metrics.json").read_text())) == ""


def test_a_bundle_of_odd_types_is_refused_before_it_predicts(
    refuse: Refuse, study: Path, tmp_path: Path
) -> None:
    bundle, store = study / "model" / "all", study / "features" / "shares.h5"
    (tmp_path / "places.csv").write_text("location_id\nP00001\n")
    given = ("--features", store, "--locations", tmp_path / "places.csv", "--out", tmp_path / "o")
    whole = (bundle / "bundle.json").read_bytes()
    (bundle / "bundle.json").write_text(DEEP, encoding="utf-8")
    for words in (("info", bundle), ("predict", bundle, *given)):
        assert "bundle.json: its JSON is nested too deeply" in refuse(*words)
    for keys, odd in (
        (("source",), "x"),
        (("source", "outcomes"), 3),
        (("source", "outcomes", "income"), [1]),
        (("source", "views"), 3),
        (("metrics",), [1]),
        (("metrics",), {"outcomes": {"income": 3}}),
        (("settings",), 3),
    ):
        (bundle / "bundle.json").write_bytes(whole)
        changed(bundle / "bundle.json", *keys, value=odd)
        said = refuse("predict", bundle, *given)
        assert "bundle.json: this does not describe a bundle" in said
    assert not (tmp_path / "o").exists()


def test_a_rule_nested_too_deeply_is_no_rule_but_a_text(
    run: Run, study: Path, tmp_path: Path
) -> None:
    changed(study / "model" / "all" / "bundle.json", "source", "transform", value=DEEP)
    (tmp_path / "places.csv").write_text("location_id\nP00001\n")
    code, _, err = run(
        *("predict", study / "model" / "all", "--features", study / "features" / "shares.h5"),
        *("--locations", tmp_path / "places.csv", "--out", tmp_path / "o"),
    )
    assert code == 0, err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_link_in_a_store_is_looked_at_and_not_followed(
    refuse: Refuse, study: Path, tmp_path: Path
) -> None:
    store, pipe = study / "features" / "shares.h5", tmp_path / "pipe.h5"
    os.mkfifo(pipe)
    whole = store.read_bytes()
    for name in ("done", "location_id", "features"):
        for link in (h5py.ExternalLink(str(pipe), name), h5py.SoftLink("/attempted")):
            store.write_bytes(whole)
            with h5py.File(store, "r+") as file:
                del file[name]
                file[name] = link
            said = refuse("info", store)  # of a pipe that nobody writes to, this would never end
            assert f"{store}: {name!r} is not laid out as in a feature store" in said
    assert "this is not a feature store" in refuse("info", pipe)
