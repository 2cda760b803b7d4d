"""The scripts of `benchmarks/`: every one has a short form, and one that fails states why."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = {file.stem for file in FOLDER.glob("[!_]*.py")} - {"bench"}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("bench")


def test_every_benchmark_has_a_short_form_or_a_reason_why_it_has_none(bench: ModuleType) -> None:
    assert {*bench.SHORT, *bench.LEFT_OUT} == SCRIPTS
    for name, words in bench.SHORT.items():
        for word in words:
            text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
            known = "add_short(" if word == "--short" else f'"{word}"'
            assert not word.startswith("--") or known in text, (name, word)


def test_a_benchmark_that_fails_has_one_row_that_states_why_and_no_traceback(
    bench: ModuleType, tmp_path: Path
) -> None:
    (row,) = bench.measured("best", tmp_path / "none", 100)
    assert re.fullmatch(r"\| `best` \|  \|  \| [^|]*none[^|]* \|", row)
    traceback = "Traceback (most recent call last):\n  File\nModuleNotFoundError: No module named "
    assert bench.reason(traceback + "'ray'\n") == "it needs ray, which is not installed"
    assert bench.reason("usage: x\nx.py: error: there is no folder y\n") == "there is no folder y"


def test_a_table_that_a_benchmark_prints_becomes_rows_that_name_its_columns(
    bench: ModuleType,
) -> None:
    printed = "200 areas\n\n| stage | CPU s | growth |\n| --- | ---: | ---: |\n| train | 3.1 |  |\n"
    assert bench.rows_of("nation", printed) == ["| nation: train |  |  | 3.1 CPU s |"]


def test_the_benchmark_of_a_gpu_imports_nothing_that_a_machine_with_one_may_lack() -> None:
    absent = {"geopandas", "pyogrio", "shapely", "pyproj", "matplotlib", "openvino", "jinja2"}
    code = f"import sys, gpu; print('imported', *({absent} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=FOLDER, check=True
    )
    assert done.stdout.split() == ["imported"]
