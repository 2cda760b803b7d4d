"""A few damaged files of every kind; `benchmarks/fuzz.py` tries thousands."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        return importlib.import_module("fuzz")


@pytest.mark.skipif(sys.platform == "win32", reason="it forks")
def test_two_damaged_files_of_every_kind_end_in_a_sentence_or_in_what_they_state(
    fuzz: ModuleType, finished_once: Path, tmp_path: Path
) -> None:
    study = Path(shutil.copytree(finished_once, tmp_path / "study"))
    kinds = len(fuzz.kinds_of(study, tmp_path / "work"))
    assert kinds >= 20
    tally = fuzz.fuzz(study, tmp_path / "work", 2 * kinds, seed=2026)
    assert tally.faults == []
    assert sum(counts.total() for counts in tally.counts.values()) == 2 * kinds


def test_a_reader_that_ignores_checksums_is_found_to_be_silently_wrong(
    fuzz: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "numbers"
    file.write_bytes(bytes(range(64)))
    kind = fuzz.Kind("numbers", file, lambda path: list(path.read_bytes()), checked=True)
    tally = fuzz.Tally()
    fuzz.run_all([fuzz.Case(kind, seed) for seed in range(5)], 30, tally)
    assert tally.counts["numbers"]["wrong"] == 5


def test_a_reader_that_hangs_or_dies_is_counted_and_the_next_file_goes_on(
    fuzz: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "numbers"
    file.write_bytes(bytes(64))

    def read(path: Path) -> str:
        changed = path.read_bytes() != bytes(64)
        while changed and path.name == "numbers":
            pass
        return ""

    kind = fuzz.Kind("numbers", file, read)
    tally = fuzz.Tally()
    fuzz.run_all([fuzz.Case(kind, seed) for seed in range(2)], 0.5, tally)
    assert tally.counts["numbers"] == {"hang": 2}
    assert file.read_bytes() == bytes(64)
