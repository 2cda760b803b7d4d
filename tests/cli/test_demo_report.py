"""The sample city's own report in a real browser: offline, every switch, and without a fault."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

AXE = "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v =>"
AXE += "[v.impact, v.id, v.nodes.slice(0, 3).map(n => n.html + n.failureSummary)]))"


def shown(page: Any, layer: str, outcome: str) -> None:
    page.select_option("#layer", layer)
    page.wait_for_selector(f'#maps[data-drawn="{outcome} {layer}"]', state="attached")


def test_the_demo_s_report_opens_switches_finds_and_says_what_its_table_says(
    watch: Callable[..., Any], demo_once: Path
) -> None:
    address = (demo_once / "report.html").as_uri()
    opened = watch(address, viewport={"width": 1280, "height": 900}, offline=True)
    page = opened.page
    table = pd.read_parquet(demo_once / "areas.parquet").set_index(["outcome", "area"])
    locations = pd.read_parquet(demo_once / "locations.parquet").drop_duplicates("area")
    layers = page.locator("#layer option").all()
    for number, outcome in enumerate(dict.fromkeys(table.index.get_level_values("outcome"))):
        page.select_option("#outcome", value=str(number))
        for layer in layers:
            shown(page, str(layer.get_attribute("value")), outcome)
        for postcode, area in zip(locations["postcode"], locations["area"], strict=True):
            page.fill("#find", postcode)
            assert page.get_attribute("#card", "data-code") == area
            row, card = table.loc[(outcome, area)], page.locator("#card")
            assert (
                card.locator("dd[data-value=predicted]").inner_text()
                == f"{row['decile']} ({row['low']} to {row['high']})"
            )
            assert card.locator("dd[data-value=images]").inner_text() == str(row["n_views"])
            score = f"{row['score']:.3f}".replace("-0.000", "0.000").replace("-", "−")
            assert f"Its score, {score}, " in card.inner_text()
    assert opened.complaints == []
    assert [each for each in opened.requests if not each.startswith("data:")] == [address]

    package = find_spec("axe_playwright_python")
    if package is None or package.origin is None:
        pytest.skip("axe-playwright-python is not installed")
    axe = (Path(package.origin).parent / "axe.min.js").read_text(encoding="utf-8")
    page.evaluate(axe + "; 0")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = page.evaluate(AXE)
        assert [fault for fault in found if fault[0] in ("serious", "critical")] == []
