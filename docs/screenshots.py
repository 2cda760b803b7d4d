"""Take docs/images/report*.png: the report of a study on a desk, on a phone and in the dark.

Run it as ``python docs/screenshots.py streetgauge-demo`` after `streetgauge demo`; it needs
Playwright and Chromium.
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).resolve().parent / "images"
CHROMIUM = "/usr/bin/chromium"
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def main(study: Path) -> None:
    """Open the report as readers do, and save what they see."""
    report = (study / "report.html").resolve().as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport=DESK, color_scheme="light")
        open_at(page, report)
        save(page.screenshot(), "report")

        page = browser.new_page(
            viewport=PHONE, color_scheme="light", device_scale_factor=2, has_touch=True
        )
        open_at(page, report)
        save(page.screenshot(), "report-phone")

        page = browser.new_page(viewport=DESK, color_scheme="dark")
        open_at(page, report)
        page.select_option("#layer", "swipe")
        for worst in range(3):
            page.locator(f'.legend:visible button[data-bin="{worst}"]').click()
        page.evaluate("document.querySelector('#areas').scrollIntoView({behavior: 'instant'})")
        box = page.locator("figure[data-layer=swipe] .canvas").bounding_box()
        page.mouse.click(box["x"] + 0.33 * box["width"], box["y"] + 0.3 * box["height"])
        page.wait_for_timeout(300)
        save(page.screenshot(), "report-dark")
        browser.close()


def open_at(page: Any, address: str) -> None:
    """Open the report and wait for its map."""
    page.goto(address)
    page.wait_for_selector("#maps[data-drawn]", state="attached")
    page.wait_for_timeout(300)


def save(png: bytes, name: str) -> None:
    """Write an image with as few colours as it needs: a third of the size, and no difference."""
    image = Image.open(BytesIO(png)).convert("RGB")
    path = IMAGES / f"{name}.png"
    image.quantize(255, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {image.width} x {image.height}, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
