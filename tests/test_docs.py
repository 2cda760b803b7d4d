"""What the guide shows can be run as it stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from streetgauge.sample import make_city

GUIDE = Path(__file__).parents[1] / "docs"


def test_every_example_of_the_guide_runs(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_city(Path("streetgauge-demo"), seed=4, n_areas=12, n_locations=48, workers=1)
    for stage in ("outcomes", "locations", "features"):
        code, _, err = run(stage, "streetgauge-demo")
        assert code == 0, err
    names = {}
    for page in sorted(GUIDE.glob("*.md")):
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            exec(compile(block, page.name, "exec"), names)
    assert names["features"].shape == (len(names["ids"]), 4, 1280)
    assert len(list(Path("dressed").glob("*.jpg"))) == 4 * 8
    assert names["oracle"]["location_id"].tolist() == names["locations"]["location_id"].tolist()
