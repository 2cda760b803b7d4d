"""The viewer in a real browser, while a real run goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streetgauge.study import Study
from streetgauge.view import Viewer

WAIT = 120_000  # milliseconds; the machine may be busy


def wait(page, selector: str) -> None:
    page.wait_for_selector(selector, timeout=WAIT)


def test_the_page_follows_a_run_to_its_report_and_the_report_follows_its_file(
    watch, grid: Path
) -> None:
    file = grid / "study.toml"
    small = file.read_text().replace("k = 3", "k = 2\nother_folds = false\nfinal = false")
    file.write_text(small)
    study = Study.open(grid)
    with Viewer(study) as viewer:
        looker = watch(viewer.ticket())
        page = looker.page
        assert page.url == f"{viewer.address}live"
        wait(looker.page, "text=Nothing has been done yet")
        assert page.text_content("#name") == "Grid"
        assert page.locator('#stages > li[data-state="not done"]').count() == 6
        assert not page.is_visible("#curves")
        run = subprocess.Popen(
            [sys.executable, "-m", "streetgauge", "run", str(grid), "--quiet"],
            stdout=subprocess.DEVNULL,
        )
        wait(looker.page, '[data-stage="outcomes"][data-state="done"]')
        wait(looker.page, '[data-stage="train"][data-state="running"]')
        wait(looker.page, "#curves svg polyline")
        assert "Household income" in page.text_content("#charts")
        page.wait_for_url("**/report.html", timeout=WAIT)
        assert run.wait(timeout=60) == 0
        assert page.text_content("h1") == "Grid"
        assert page.locator("#streetgauge-run").count() == 0

        # The report is made anew: the page that is open shows it by itself.
        text = study.report.read_text(encoding="utf-8")
        assert "<h1>Grid</h1>" in text
        study.report.write_text(text.replace("<h1>Grid</h1>", "<h1>Grid, again</h1>"))
        wait(looker.page, 'h1:has-text("Grid, again")')

        # And says when the study runs.
        said = {"heartbeat": time.time(), "since": time.time(), "stage_since": 0, "stopped": None}
        bar = {"task": "images", "done": 1, "total": 2, "unit": "images", "since": 0}
        said |= {"stage": "features", "bars": [bar]}
        study.running.file.write_text(json.dumps(said))
        wait(looker.page, "#streetgauge-run")
        assert page.text_content("#streetgauge-run") == "A run is under way: features: 50%"
        page.click("#streetgauge-run")
        wait(looker.page, '[data-stage="features"] progress')
        assert page.text_content('[data-stage="features"] .more').startswith("images: 1 of 2")
        assert looker.complaints == []
        # The ticket's own address, and nothing else that is not behind the token.
        assert all(url.startswith(viewer.address) for url in looker.requests[1:])


HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def test_what_a_study_says_shows_as_text_and_a_screen_reader_can_read_it(watch, grid: Path) -> None:
    file = grid / "study.toml"
    text = file.read_text().replace('name = "Grid"', f'name = "{HOSTILE}"')
    file.write_text(text.replace("Household income", HOSTILE))
    log = grid / "model" / "logs" / HOSTILE.replace("/", "") / "history.jsonl"
    log.parent.mkdir(parents=True)
    look = {"epoch": 1, "outcome": "income", "validation_mae": 2.0}
    log.write_text(json.dumps(look) + "\n" + json.dumps(look | {"epoch": 2}) + "\n")
    study = Study.open(grid)
    study.running.file.write_text(
        json.dumps(
            {
                "heartbeat": 0,
                "since": 0,
                "stage_since": 0,
                "stage": HOSTILE,
                "bars": [],
                "stopped": None,
            }
        )
    )
    with Viewer(study) as viewer:
        for scheme, width in (("light", 1280), ("dark", 390)):
            size = {"width": width, "height": 844}
            looker = watch(f"{viewer.address}live", color_scheme=scheme, viewport=size)
            wait(looker.page, "#curves svg")
            assert looker.page.text_content("#name") == HOSTILE
            assert looker.page.text_content("figcaption") == HOSTILE
            assert HOSTILE in looker.page.text_content("#stopped")
            assert looker.page.locator("img").count() == 0
            assert looker.complaints == []
            wide = looker.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width
            assert faults(looker.page) == []


def faults(page) -> list[str]:
    """Ask axe-core, in a copy of the page whose policy lets it in."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core here")
    html = page.content().replace("<script>", '<script type="text/plain">')
    copy = page.context.new_page()
    copy.set_content(html)
    found = axe.Axe().run(copy).response["violations"]
    copy.close()
    return [f"{each['id']}: {each['help']}" for each in found if each["impact"] != "minor"]


def test_another_page_can_neither_frame_nor_read_the_study(browser, grid: Path) -> None:
    (grid / "report.html").write_text("<!doctype html><title>R</title><p>secret</p>")
    with Viewer(Study.open(grid)) as viewer, Viewer(Study.open(grid)) as other:
        page = browser.new_context().new_page()
        page.goto(f"http://127.0.0.1:{other.port}/")  # any page of another server on this machine
        html = f'<iframe src="{viewer.address}report.html"></iframe>'
        page.set_content(html)
        page.wait_for_timeout(500)
        assert all("secret" not in frame.content() for frame in page.frames)
        page.goto("about:blank")
        said = page.evaluate(
            """address => fetch(address).then(a => a.text(), error => "refused")""",
            f"{viewer.address}metrics.json",
        )
        assert said == "refused"
        page.context.close()
