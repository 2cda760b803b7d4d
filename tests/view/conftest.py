"""A study with made-up results, and its viewer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streetgauge.study import Study
from streetgauge.view import Viewer


@pytest.fixture
def study(grid: Path) -> Study:
    """Give a study with a report and a few other files that nobody computed."""
    (grid / "report.html").write_text("<!doctype html><title>R</title><body><p>Report</p></body>")
    (grid / "metrics.json").write_text('{"outcomes": {}}')
    (grid / "areas.gpkg").write_bytes(b"SQLite")
    (grid / "figures").mkdir()
    (grid / "figures" / "moran-income.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    return Study.open(grid)


@pytest.fixture
def viewer(study: Study) -> Iterator[Viewer]:
    with Viewer(study) as viewer:
        yield viewer
