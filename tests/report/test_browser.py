"""The page in a real browser: offline, on a phone, with the hand and with the keyboard."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from streetgauge.report import render, render_map

PHONE = {"width": 390, "height": 844}


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


def test_it_opens_without_a_network_and_asks_for_nothing(show, make_study):
    opened = show(render(make_study()))
    opened.drawn()
    assert opened.asked == [opened.url]
    assert opened.complaints == []


def test_the_policy_stops_what_would_be_put_into_it(show, make_study):
    html = render(make_study()).replace(
        "</main>", "<script>document.title = 'broken'</script></main>"
    )
    opened = show(html)
    assert opened.page.title() != "broken"
    assert any("Content Security Policy" in text for text in opened.complaints)


def test_the_three_maps_paint_the_deciles_in_their_colours(show, make_study):
    opened = show(render(make_study()), color_scheme="light")
    assert opened.drawn().endswith(" predicted")
    opened.layer("all")
    palette = {(165, 0, 38), (215, 48, 39), (244, 109, 67), (253, 174, 97), (254, 224, 144)}
    palette |= {(224, 243, 248), (171, 217, 233), (116, 173, 209), (69, 117, 180), (49, 54, 149)}
    assert set(opened.colours("predicted")) >= palette
    assert set(opened.colours("actual")) >= palette
    assert (235, 232, 224) in opened.colours("difference")  # no difference
    assert not palette & set(opened.colours("difference"))


def test_a_squares_colour_is_that_of_its_decile(show, make_study):
    data = make_study()
    opened = show(render(data), color_scheme="light")
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


def test_switches_change_what_is_shown(show, make_study):
    opened = show(render(make_study()))
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
    opened.drawn("crime")
    assert opened.colours("predicted") != before


@pytest.mark.parametrize(("outcome", "label"), [("income", "Household income"), ("crime", "Crime")])
def test_a_click_shows_the_numbers_of_the_frame_and_the_pointer_the_name(
    show, make_study, outcome, label
):
    data = make_study()
    opened = show(render(data))
    opened.drawn()
    opened.page.select_option("#outcome", label=label)
    for layer, (column, row) in (("predicted", (2, 1)), ("actual", (7, 5)), ("difference", (0, 3))):
        area = f"A{8 * row + column:03d}"
        opened.layer(layer)
        opened.page.mouse.click(*opened.point(layer, column, row))
        assert opened.page.get_attribute("#card", "data-code") == area
        assert opened.page.is_visible("#card")
        assert f"Square {8 * row + column}" in opened.page.inner_text("#tip")
        assert opened.card() == expected(data.table, outcome, area)
        assert f"Square {8 * row + column}" in opened.page.inner_text("#card")
    opened.page.mouse.move(2, 2)
    assert opened.page.is_hidden("#tip")
    opened.page.click("#card .close")
    assert opened.page.is_hidden("#card")


def test_an_area_without_predictions_says_so(show, make_study):
    opened = show(render(make_study()))
    opened.drawn()
    opened.page.mouse.click(*opened.point("predicted", 7, 0))
    card = opened.card()
    assert card["predicted"] == "–"
    assert card["locations"] == "0"


def test_the_keyboard_reaches_every_neighbour_and_lets_go(show, make_study):
    data = make_study()
    opened = show(render(data))
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


def test_zooming_keeps_the_hover_true(show, make_study):
    opened = show(render(make_study()))
    opened.layer("predicted")
    x, y = opened.point("predicted", 3, 2)
    opened.page.mouse.dblclick(x, y)
    opened.drawn()
    box = opened.page.locator("figure[data-layer=predicted] .paint").bounding_box()
    opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert "Square 19" in opened.page.inner_text("#tip")
    opened.page.click("#whole")
    opened.drawn()
    opened.page.mouse.move(*opened.point("predicted", 0, 0))
    assert "Square 0" in opened.page.inner_text("#tip")


def test_an_area_is_found_by_name_and_by_code(show, make_study):
    opened = show(render(make_study()))
    opened.drawn()
    for text in ("square 12", "A012", "Square 12 · A012"):
        opened.page.fill("#find", text)
        assert opened.page.get_attribute("#card", "data-code") == "A012"


@pytest.mark.parametrize("page", [render, render_map])
def test_hostile_names_are_shown_as_text_and_do_nothing(show, hostile, page):
    opened = show(page(hostile))
    opened.drawn()
    opened.page.mouse.click(*opened.point("predicted", 0, 0))
    assert opened.page.inner_text("#tip b") == "<script>alert(1)</script>"
    assert opened.page.inner_text("#card h3") == "<script>alert(1)</script>"
    opened.page.mouse.click(*opened.point("predicted", 1, 0))
    assert opened.page.inner_text("#card h3") == hostile.areas.loc["A001", "name"]
    assert opened.page.inner_text("h1") == "<script>alert(1)</script>"
    assert opened.page.locator("img").count() == 0
    assert opened.complaints == []
    assert opened.asked == [opened.url]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_scrolls_sideways_and_a_tap_shows_the_area(show, make_study, scheme):
    data = make_study(oracle=True)
    opened = show(render(data), PHONE, color_scheme=scheme, has_touch=True, is_mobile=True)
    assert opened.drawn().endswith(" predicted")
    wide = opened.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    opened.page.touchscreen.tap(*opened.point("predicted", 2, 1))
    assert opened.card() == expected(data.table, "income", "A010")
    background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(251, 250, 247)", "dark": "rgb(20, 23, 27)"}[scheme]


def test_the_card_of_an_area_that_was_searched_for_fits_a_phone(show, make_study):
    opened = show(render(make_study()), PHONE)
    opened.drawn()
    opened.page.fill("#find", "A010")
    for item in opened.page.locator("#card dd").all():
        box, card = item.bounding_box(), opened.page.locator("#card").bounding_box()
        assert box["x"] + box["width"] <= card["x"] + card["width"]


def test_a_long_name_does_not_widen_a_phones_page(show, make_study, make_grid):
    areas = make_grid()
    areas["name"] = "Llanfairpwllgwyngyll" * 6
    long = "Averyveryverylongoutcomenamewithoutanyblank" * 2
    data = make_study(areas, name=long, provenance={"income": {"label": long}})
    opened = show(render(data), PHONE)
    opened.drawn()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_boundaries_the_page_works_and_areas_can_be_looked_up(show, make_study):
    data = make_study()
    table = pd.DataFrame(data.areas.drop(columns="geometry"))
    opened = show(render(replace(data, areas=table)))
    assert "There is no map" in opened.page.inner_text("#areas")
    opened.page.fill("#find", "A012")
    assert opened.card() == expected(data.table, "income", "A012")
    assert opened.complaints == []


def test_it_prints_with_its_maps_and_without_its_switches(show, make_study):
    opened = show(render(make_study()))
    opened.drawn()
    opened.page.emulate_media(media="print")
    assert opened.page.is_hidden("#controls")
    assert opened.page.pdf().count(b"/Subtype /Image") >= 2  # no other image is on this page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_paper_gets_a_map_of_each_outcome_in_light_colours(show, make_study, scheme):
    opened = show(render(make_study()), color_scheme=scheme)
    opened.drawn()
    colour = "getComputedStyle(document.documentElement).getPropertyValue('--edge').trim()"
    before = opened.page.evaluate(colour)
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert opened.page.evaluate(colour) == before
    painted = """async () => {
      const image = document.querySelector("#sheets img");
      await image.decode();
      const sheet = document.createElement("canvas");
      sheet.width = image.naturalWidth; sheet.height = image.naturalHeight;
      const pen = sheet.getContext("2d");
      pen.drawImage(image, 0, 0);
      const bytes = pen.getImageData(0, 0, sheet.width, sheet.height).data;
      const seen = new Set();
      for (let i = 0; i < bytes.length; i += 4) seen.add(bytes.slice(i, i + 3).join());
      return [...seen];
    }"""
    seen = opened.page.evaluate(painted)
    assert "165,0,38" in seen  # decile 1 as on a light screen
    assert "194,24,58" not in seen  # and not as on a dark one
    opened.page.emulate_media(media="print")
    assert opened.page.locator("#sheets figcaption").all_inner_texts() == [
        "Household income",
        "Crime",
    ]
    assert opened.page.locator("#sheets img").first.is_visible()
    assert opened.page.is_hidden("#maps")
    opened.page.emulate_media(media="screen")
    opened.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert opened.page.locator("#sheets img").count() == 0
    assert opened.complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("page", [render, render_map])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_label_of_ten_thousand_characters_is_text_and_widens_no_page(
    show, make_study, page, width
):
    long = "<script>alert(1)</script>" + "L" * 10_000
    data = make_study(provenance={"income": {"label": long}})
    opened = show(page(data), {"width": width, "height": 844})
    opened.drawn()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.page.evaluate("document.documentElement.scrollHeight") < 20_000
    assert opened.page.locator("#outcome option").first.text_content() == long
    assert opened.complaints == []
