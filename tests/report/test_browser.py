"""The page in a real browser: offline, on a phone, with the hand and with the keyboard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from streetgauge.report import render

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


class Opened:
    """A page from a file, with all that it asked for and complained of."""

    def __init__(self, browser, html: str, folder: Path, viewport=DESKTOP, **more) -> None:
        file = folder / "report.html"
        file.write_text(html, encoding="utf-8")
        context = browser.new_context(viewport=viewport, offline=True, **more)
        self.page = context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append("a dialog opened"))
        self.url = file.as_uri()
        self.page.goto(self.url)

    def drawn(self) -> str:
        """Wait for the map, and return what it was drawn for."""
        layer = self.page.get_attribute("#maps", "data-layer")
        # A selector: the page's policy forbids the eval that waiting for an expression needs.
        self.page.wait_for_selector(f'#maps[data-drawn$=" {layer}"]', state="attached")
        self.page.evaluate("() => new Promise(r => requestAnimationFrame(() => setTimeout(r, 30)))")
        return self.page.get_attribute("#maps", "data-drawn")

    def layer(self, name: str) -> None:
        self.page.locator(f"#layers label:has(input[value={name}])").click()
        self.drawn()

    def colours(self, layer: str) -> dict[tuple[int, int, int], int]:
        """How many pixels of the layer's canvas have which colour, edges left aside."""
        counts = self.page.evaluate(
            """layer => {
              const c = document.querySelector(`figure[data-layer=${layer}] .paint`);
              const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data, n = {};
              for (let i = 0; i < d.length; i += 4) {
                if (d[i + 3] < 255) continue;
                const k = `${d[i]},${d[i + 1]},${d[i + 2]}`;
                n[k] = (n[k] || 0) + 1;
              }
              return n;
            }""",
            layer,
        )
        return {tuple(map(int, k.split(","))): n for k, n in counts.items() if n > 200}

    def point(self, layer: str, column: int, row: int, columns=8, rows=6) -> tuple[float, float]:
        """Where the middle of a square of the grid is, in the window."""
        self.page.locator(f"figure[data-layer={layer}] .canvas").scroll_into_view_if_needed()
        box = self.page.locator(f"figure[data-layer={layer}] .paint").bounding_box()
        scale = min(box["width"] / columns, box["height"] / rows) * 0.96
        x = box["x"] + box["width"] / 2 + (column + 0.5 - columns / 2) * scale
        y = box["y"] + box["height"] / 2 - (row + 0.5 - rows / 2) * scale
        return x, y

    def card(self) -> dict[str, str]:
        items = self.page.locator("#card dd")
        return {
            items.nth(i).get_attribute("data-value"): items.nth(i).inner_text() for i in range(4)
        }


def expected(table: pd.DataFrame, outcome: str, area: str) -> dict[str, str]:
    kept = ["decile", "low", "high", "actual_decile", "n_locations"]
    row = table.set_index(["outcome", "area"]).loc[(outcome, area), kept].astype(int)
    off = row["decile"] - row["actual_decile"]
    signed = f"{abs(off)}" if not off else f"{'+' if off > 0 else '−'}{abs(off)}"
    return {
        "predicted": f"{row['decile']} ({row['low']} to {row['high']})",
        "actual": f"{row['actual_decile']}",
        "difference": signed,
        "locations": f"{row['n_locations']}",
    }


def test_it_opens_without_a_network_and_asks_for_nothing(browser, make_study, tmp_path):
    opened = Opened(browser, render(make_study()), tmp_path)
    opened.drawn()
    assert opened.requests == [opened.url]
    assert opened.complaints == []


def test_the_policy_stops_what_would_be_put_into_it(browser, make_study, tmp_path):
    html = render(make_study()).replace(
        "<main>", "<main><script>document.title = 'broken'</script>"
    )
    opened = Opened(browser, html, tmp_path)
    assert opened.page.title() != "broken"
    assert any("Content Security Policy" in text for text in opened.complaints)


def test_the_three_maps_paint_the_deciles_in_their_colours(browser, make_study, tmp_path):
    opened = Opened(browser, render(make_study()), tmp_path, color_scheme="light")
    assert opened.drawn().endswith(" all")
    palette = {(165, 0, 38), (215, 48, 39), (244, 109, 67), (253, 174, 97), (254, 224, 144)}
    palette |= {(224, 243, 248), (171, 217, 233), (116, 173, 209), (69, 117, 180), (49, 54, 149)}
    assert set(opened.colours("predicted")) >= palette
    assert set(opened.colours("actual")) >= palette
    assert (235, 232, 224) in opened.colours("difference")  # no difference
    assert not palette & set(opened.colours("difference"))


def test_a_squares_colour_is_that_of_its_decile(browser, make_study, tmp_path):
    data = make_study()
    opened = Opened(browser, render(data), tmp_path, color_scheme="light")
    opened.drawn()
    area = data.table.query("outcome == 'income' and decile == 10")["area"].iloc[0]
    number = int(area[1:])
    x, y = opened.point("predicted", number % 8, number // 8)
    colour = opened.page.evaluate(
        "([x, y]) => { const c = document.querySelector('figure[data-layer=predicted] .paint');"
        "const r = c.getBoundingClientRect(), s = c.width / r.width, pen = c.getContext('2d');"
        "return [...pen.getImageData((x - r.left) * s, (y - r.top) * s, 1, 1).data]; }",
        [x, y],
    )
    assert colour[:3] == [49, 54, 149]


def test_switches_change_what_is_shown(browser, make_study, tmp_path):
    opened = Opened(browser, render(make_study()), tmp_path)
    opened.drawn()
    before = opened.colours("predicted")
    for layer in ("predicted", "actual", "difference", "all"):
        opened.layer(layer)
        shown = opened.page.locator("#maps figure:visible")
        assert shown.count() == (3 if layer == "all" else 1)
        if layer != "all":
            assert shown.get_attribute("data-layer") == layer
            assert opened.page.locator(".legend[data-scale]:visible").count() == 1
    opened.page.select_option("#outcome", label="Crime")
    opened.page.wait_for_selector('#maps[data-drawn="crime all"]', state="attached")
    assert opened.colours("predicted") != before


@pytest.mark.parametrize(("outcome", "label"), [("income", "Household income"), ("crime", "Crime")])
def test_hovering_shows_the_numbers_of_the_frame(browser, make_study, tmp_path, outcome, label):
    data = make_study()
    opened = Opened(browser, render(data), tmp_path)
    opened.drawn()
    opened.page.select_option("#outcome", label=label)
    for layer, (column, row) in (("predicted", (2, 1)), ("actual", (7, 5)), ("difference", (0, 3))):
        area = f"A{8 * row + column:03d}"
        opened.page.mouse.move(*opened.point(layer, column, row))
        assert opened.page.get_attribute("#card", "data-code") == area
        assert opened.page.is_visible("#card")
        assert opened.card() == expected(data.table, outcome, area)
        assert f"Square {8 * row + column}" in opened.page.inner_text("#card")
    opened.page.mouse.move(2, 2)
    assert opened.page.is_hidden("#card")


def test_an_area_without_predictions_says_so(browser, make_study, tmp_path):
    opened = Opened(browser, render(make_study()), tmp_path)
    opened.drawn()
    opened.page.mouse.move(*opened.point("predicted", 7, 0))
    card = opened.card()
    assert card["predicted"] == "–"
    assert card["locations"] == "0"


def test_the_keyboard_reaches_every_neighbour_and_lets_go(browser, make_study, tmp_path):
    data = make_study()
    opened = Opened(browser, render(data), tmp_path)
    opened.drawn()
    opened.page.focus("#maps")
    for key, area in (
        ("ArrowRight", "A000"),  # the first press chooses the first area
        ("ArrowRight", "A001"),
        ("ArrowUp", "A009"),
        ("ArrowLeft", "A008"),
        ("ArrowDown", "A000"),
        ("ArrowDown", "A000"),
    ):
        opened.page.keyboard.press(key)
        assert opened.page.get_attribute("#card", "data-code") == area
    assert opened.card() == expected(data.table, "income", "A000")
    opened.page.keyboard.press("Escape")
    assert opened.page.is_hidden("#card")


def test_zooming_keeps_the_hover_true(browser, make_study, tmp_path):
    opened = Opened(browser, render(make_study()), tmp_path)
    opened.layer("predicted")
    x, y = opened.point("predicted", 3, 2)
    opened.page.mouse.dblclick(x, y)
    opened.drawn()
    box = opened.page.locator("figure[data-layer=predicted] .paint").bounding_box()
    opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert opened.page.get_attribute("#card", "data-code") == "A019"
    opened.page.click("#whole")
    opened.drawn()
    opened.page.mouse.move(*opened.point("predicted", 0, 0))
    assert opened.page.get_attribute("#card", "data-code") == "A000"


def test_an_area_is_found_by_name_and_by_code(browser, make_study, tmp_path):
    opened = Opened(browser, render(make_study()), tmp_path)
    opened.drawn()
    for text in ("square 12", "A012", "Square 12 · A012"):
        opened.page.fill("#find", text)
        assert opened.page.get_attribute("#card", "data-code") == "A012"


def test_hostile_names_are_shown_as_text_and_do_nothing(browser, hostile, tmp_path):
    opened = Opened(browser, render(hostile), tmp_path)
    opened.drawn()
    opened.page.mouse.move(*opened.point("predicted", 0, 0))
    assert opened.page.inner_text("#card h3") == "<script>alert(1)</script>"
    opened.page.mouse.move(*opened.point("predicted", 1, 0))
    assert opened.page.inner_text("#card h3") == hostile.areas.loc["A001", "name"]
    assert opened.page.inner_text("h1") == "<script>alert(1)</script>"
    assert opened.page.locator("img").count() == 0
    assert opened.complaints == []
    assert opened.requests == [opened.url]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_scrolls_sideways_and_a_tap_shows_the_area(
    browser, make_study, tmp_path, scheme
):
    data = make_study(oracle=True)
    opened = Opened(
        browser, render(data), tmp_path, PHONE, color_scheme=scheme, has_touch=True, is_mobile=True
    )
    assert opened.drawn().endswith(" predicted")
    wide = opened.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    opened.page.touchscreen.tap(*opened.point("predicted", 2, 1))
    assert opened.card() == expected(data.table, "income", "A010")
    background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(251, 250, 247)", "dark": "rgb(20, 23, 27)"}[scheme]


def test_a_long_name_does_not_widen_a_phones_page(browser, make_study, make_grid, tmp_path):
    areas = make_grid()
    areas["name"] = "Llanfairpwllgwyngyll" * 6
    long = "Averyveryverylongoutcomenamewithoutanyblank" * 2
    data = make_study(areas, name=long, provenance={"income": {"label": long}})
    opened = Opened(browser, render(data), tmp_path, PHONE)
    opened.drawn()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_boundaries_the_page_works_and_areas_can_be_looked_up(
    browser, make_study, tmp_path
):
    data = make_study()
    table = pd.DataFrame(data.areas.drop(columns="geometry"))
    opened = Opened(browser, render(replace(data, areas=table)), tmp_path)
    assert "There is no map" in opened.page.inner_text("#areas")
    opened.page.fill("#find", "A012")
    assert opened.card() == expected(data.table, "income", "A012")
    assert opened.complaints == []


def test_it_prints_with_its_maps_and_without_its_switches(browser, make_study, tmp_path):
    opened = Opened(browser, render(make_study()), tmp_path)
    opened.drawn()
    opened.page.emulate_media(media="print")
    assert opened.page.is_hidden("#controls")
    assert opened.page.is_visible("figure[data-layer=predicted] .paint")
    assert len(opened.page.pdf()) > 10_000
