"""The first screen, the map's switches and what one can take away, in a real browser."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest
from PIL import Image
from tests.report.test_gallery import composed
from tests.report.test_map import place, row_of, with_estimates

from streetgauge.report import render, render_map

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


def saved(opened, button: str) -> bytes:
    with opened.page.expect_download() as caught:
        opened.page.click(button)
    return Path(caught.value.path()).read_bytes()


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_first_screen_has_the_title_a_verdict_for_each_outcome_and_the_map(
    show, make_study, viewport
):
    opened = show(render(with_estimates(make_study())), viewport)
    opened.drawn()
    page = opened.page
    assert "2 outcomes of 48 areas, estimated from street images at" in page.inner_text("header")
    for item in page.locator(".verdicts li").all():
        assert item.locator(".verdict").inner_text() in ("Use", "Use with care", "Do not use")
    for shown in (page.locator("h1"), page.locator(".verdicts"), page.locator("#maps")):
        box = shown.bounding_box()
        assert box["y"] >= 0
        assert box["y"] + min(box["height"], 200) <= viewport["height"]
    assert page.locator("details[open]").count() == 0
    page.evaluate("window.scrollTo({top: 900, behavior: 'instant'})")
    assert page.locator(".contents").bounding_box()["y"] == 0
    page.click(".contents a[href='#care']")
    assert page.is_visible("#care .caveats")


def test_a_verdict_shows_its_outcome_and_the_address_what_is_shown(show, make_study):
    data = with_estimates(make_study())
    opened = show(render(data))
    opened.drawn("income")
    page = opened.page
    assert "#" not in page.evaluate("location.href")
    page.click(".verdicts a[href='#outcome=crime']")
    opened.drawn("crime")
    opened.layer("actual")
    page.mouse.click(*opened.point("actual", *place("A012")))
    assert page.evaluate("location.href").endswith("#outcome=crime&layer=actual&area=A012")
    other = show(render(data))
    other.page.goto("about:blank")
    other.page.goto(f"{opened.url}#outcome=crime&layer=actual&area=A012")
    assert other.drawn() == "crime actual"
    assert other.page.get_attribute("#card", "data-code") == "A012"
    other.page.goto("about:blank")
    other.page.goto(f"{opened.url}#outcome=none&layer=none&area=none")
    assert other.drawn() == "income best"
    assert other.page.is_hidden("#card")
    other.page.goto("about:blank")
    other.page.goto(f"{opened.url}#made")
    assert other.page.is_visible("#excluded")
    assert opened.complaints == other.complaints == []


def test_five_classes_join_two_and_wide_intervals_are_hatched(show, make_study):
    data = make_study()
    rows = data.table.query("outcome == 'income'")
    opened = show(render(data), color_scheme="light")
    opened.drawn()
    area = rows.loc[rows["decile"] == 2, "area"].iloc[0]
    opened.page.check("#five")
    opened.drawn()
    labels = opened.page.locator(".legend .swatches button").all_inner_texts()
    assert labels[:5] == ["1–2", "3–4", "5–6", "7–8", "9–10"]
    if opened.page.is_visible("#hatch"):
        opened.page.uncheck("#hatch")
        opened.drawn()
    assert opened.seen(*opened.point("predicted", *place(area))) == opened.variable("--d1")
    wide = data.table.assign(low=1, high=data.table["decile"].clip(5, 6))
    opened = show(render(replace(data, table=wide)), color_scheme="light")
    opened.drawn()
    n = int((wide.query("outcome == 'income'")["high"] == 6).sum())
    assert f"wider than 5 deciles ({n})" in opened.page.inner_text("#hatch-field")
    before = opened.page.locator("figure[data-layer=predicted] .paint").screenshot()
    opened.page.uncheck("#hatch")
    opened.drawn()
    assert opened.page.locator("figure[data-layer=predicted] .paint").screenshot() != before


def test_two_outcomes_stand_next_to_each_other(show, make_study):
    data = make_study()
    opened = show(render(data), color_scheme="light")
    opened.layer("pair")
    names = opened.page.locator("#maps figure:visible figcaption").all_inner_texts()
    assert names == ["Household income", "Crime"]
    area = next(
        a
        for a in data.areas.index.drop("A007")
        if row_of(data, "income", a)["decile"] != row_of(data, "crime", a)["decile"]
    )
    for k, outcome in enumerate(("income", "crime")):
        box = opened.page.locator("#maps figure:visible .paint").nth(k).bounding_box()
        scale = min(box["width"] / 8, box["height"] / 6) * 0.96
        column, row = place(area)
        x = box["x"] + box["width"] / 2 + (column - 3.5) * scale
        y = box["y"] + box["height"] / 2 - (row - 2.5) * scale
        opened.page.mouse.move(x, y)
        lines = opened.page.locator("#tip span").all_inner_texts()
        assert lines[0].startswith(
            f"Predicted: decile {int(row_of(data, outcome, area)['decile'])} "
        )
    opened.page.select_option("#second", label="Household income")
    names = opened.page.locator("#maps figure:visible figcaption").all_inner_texts()
    assert names == ["Household income", "Household income"]


def test_what_is_shown_can_be_saved_as_a_table_boundaries_and_an_image(
    show, make_study, make_grid, tmp_path
):
    areas = make_grid()
    areas.loc["A001", "name"] = '=HYPERLINK("x"),\n"quoted"'
    data = make_study(areas)
    opened = show(render(data), accept_downloads=True, color_scheme="light")
    opened.drawn()
    rows = list(csv.DictReader(io.StringIO(saved(opened, "#csv").decode("utf-8-sig"), newline="")))
    assert [row["area"] for row in rows] == list(areas.index)
    assert rows[1]["name"] == "'" + areas.loc["A001", "name"]
    own = row_of(data, "income", "A012")
    names = ["decile", "low", "high", "actual_decile", "n_locations"]
    assert [rows[12][n] for n in names] == [str(int(own[n])) for n in names]
    assert rows[7]["decile"] == ""

    file = tmp_path / "saved.geojson"
    file.write_bytes(saved(opened, "#geojson"))
    found = gpd.read_file(file).set_index("area").to_crs(areas.crs)
    assert found["decile"].dropna().astype(int).to_dict() == (
        data.table.query("outcome == 'income'").set_index("area")["decile"].astype(int).to_dict()
    )
    off = found.geometry.symmetric_difference(areas.geometry, align=True).area
    assert (off < 0.01 * areas.area).all()
    first = json.loads(file.read_text())["features"][0]["geometry"]["coordinates"][0][0]
    assert first[0] == first[-1]

    image = Image.open(io.BytesIO(saved(opened, "#png"))).convert("RGB")
    colours = {colour for n, colour in image.getcolors(1 << 24) if n > 200}
    assert {(165, 0, 38), (49, 54, 149)} <= colours
    assert opened.complaints == []
    assert opened.asked == [opened.url]


def test_a_ring_in_another_is_a_hole_of_the_boundaries(show, make_study, make_grid, tmp_path):
    areas = make_grid()
    hole = areas.geometry["A009"].buffer(-200)
    areas.loc["A009", "geometry"] = areas.geometry["A009"].difference(hole)
    opened = show(render_map(make_study(areas)), accept_downloads=True)
    opened.drawn()
    file = tmp_path / "saved.geojson"
    file.write_bytes(saved(opened, "#geojson"))
    found = gpd.read_file(file).set_index("area").to_crs(areas.crs).geometry["A009"]
    assert found.area == pytest.approx(areas.geometry["A009"].area, rel=0.01)


def test_on_a_phone_the_card_lies_below_the_map(show, make_study):
    opened = show(render(make_study()), PHONE, has_touch=True, is_mobile=True)
    opened.drawn()
    opened.page.touchscreen.tap(*opened.point("predicted", 2, 1))
    card = opened.page.locator("#card").bounding_box()
    frame = opened.page.locator("#maps").bounding_box()
    assert card["y"] >= frame["y"] + frame["height"]
    assert opened.page.is_hidden("#tip")


def test_the_wheel_zooms_with_ctrl_only_and_says_so(show, make_study):
    opened = show(render(make_study()))
    opened.drawn()
    opened.page.mouse.move(*opened.point("predicted", 3, 3))
    opened.page.mouse.wheel(0, 10)
    assert opened.page.is_visible("#wheel")
    before = opened.page.locator("figure[data-layer=predicted] .paint").screenshot()
    opened.page.keyboard.down("Control")
    opened.page.mouse.wheel(0, -200)
    opened.page.keyboard.up("Control")
    opened.drawn()
    assert opened.page.locator("figure[data-layer=predicted] .paint").screenshot() != before


def test_the_address_of_an_area_with_a_hostile_code_is_text(show, make_study, make_grid):
    areas = make_grid().rename(index={"A012": "<b>&=#%"})
    data = make_study(areas)
    opened = show(render(data))
    opened.drawn()
    opened.page.fill("#find", "<b>&=#%")
    address = opened.page.evaluate("location.href")
    opened.page.goto("about:blank")
    opened.page.goto(address)
    opened.drawn()
    assert opened.page.get_attribute("#card", "data-code") == "<b>&=#%"


def test_an_image_of_the_gallery_enlarges_and_closes_by_keyboard(show, make_study):
    opened = show(render(make_study(gallery=composed(10**6))))
    opened.drawn()
    opened.unfold("images")
    small = opened.page.locator("#images .enlarge").first
    small.focus()
    opened.page.keyboard.press("Enter")
    large = opened.page.locator("#enlarged svg")
    assert large.bounding_box()["width"] > small.bounding_box()["width"]
    opened.page.keyboard.press("Escape")
    assert opened.page.is_hidden("#enlarged")
    assert opened.complaints == []


def test_districts_are_listed_by_the_mean_of_their_areas(show, make_study):
    data = with_estimates(make_study())
    opened = show(render(data))
    opened.drawn()
    opened.unfold("districts")
    rows = opened.page.locator("#districts tbody tr").all_inner_texts()
    table = data.estimates.query("outcome == 'income'").set_index("area")["best_decile"]
    means = table.astype(float).groupby(data.areas["district"]).mean().sort_values()
    assert [row.split("\t")[0] for row in rows] == list(means.index)
    assert [row.split("\t")[2] for row in rows] == [f"{mean:.1f}" for mean in means]


def test_a_search_on_a_phone_brings_the_whole_card_into_view(show, make_study):
    opened = show(render(make_study()), PHONE, has_touch=True, is_mobile=True)
    opened.drawn()
    map_of = opened.page.locator("#maps").bounding_box()
    assert map_of["y"] + map_of["height"] <= PHONE["height"]  # all of it on the first screen
    opened.page.fill("#find", "A009")
    opened.page.press("#find", "Enter")
    opened.drawn()
    card = opened.page.locator("#card").bounding_box()  # within the viewport
    assert card["y"] >= 0
    assert card["y"] + card["height"] <= PHONE["height"] + 1
    assert opened.page.locator("#card").get_attribute("data-code") == "A009"


def test_a_page_of_one_area_in_a_district_of_a_hostile_name_works(show, make_study, make_grid):
    areas = make_grid(1, 1).assign(district="__proto__")
    (code,) = areas.index
    data = make_study()
    table = data.table[data.table["area"] == data.table["area"].iloc[0]].assign(area=code)
    opened = show(render(replace(data, areas=areas, table=table)))
    opened.drawn()
    opened.unfold("districts")
    assert opened.page.locator("#districts tbody tr th").all_inner_texts() == ["__proto__"]


def test_hatching_and_the_layer_of_uncertainty_are_of_the_best_estimate(show, make_study):
    data = with_estimates(make_study())
    wide = data.estimates.assign(best_low=1, best_high=8)
    opened = show(render(replace(data, table=wide[wide["area"] != "A007"], estimates=wide)))
    opened.drawn()
    hatched = "Hatched: the interval is wider than 5 deciles."
    assert hatched in opened.page.inner_text("#explained")
    opened.page.uncheck("#hatch")
    opened.drawn()
    assert hatched not in opened.page.inner_text("#explained")
    opened.layer("uncertainty")
    assert "the interval of the best estimate" in opened.page.inner_text("#explained")
    opened.page.mouse.move(*opened.point("uncertainty", *place("A012")))
    assert opened.page.locator("#tip span").inner_text() == "8 of 10 deciles wide"


def test_a_pointer_on_each_control_of_the_map_gets_an_explanation(show, make_study):
    opened = show(render(with_estimates(make_study())))
    opened.drawn()
    opened.unfold("districts")
    controls = (
        ".field:visible, .zoom button, #hatch-field, .tools label, .take button, .verdict, "
        ".verdicts small, .legend > span, .legend .swatches button, #maps figcaption, "
        "#districts th[scope=col]"
    )
    found = opened.page.locator(controls)
    assert found.count() > 30
    silent = [each.inner_text() for each in found.all() if not each.get_attribute("title")]
    assert silent == []


def test_a_phone_gives_the_reasons_of_the_outcome_that_is_shown(show, make_study):
    opened = show(render(with_estimates(make_study())), PHONE)
    opened.drawn("income")
    reasons = opened.page.locator(".verdicts small")
    assert [each.is_visible() for each in reasons.all()] == [True, False]
    opened.page.click(".verdicts a[href='#outcome=crime']")
    opened.drawn("crime")
    assert [each.is_visible() for each in reasons.all()] == [False, True]


def test_without_boundaries_the_outcome_that_is_shown_is_marked(show, make_study):
    data = make_study()
    areas = pd.DataFrame(data.areas.drop(columns="geometry"))
    opened = show(render(replace(data, areas=areas)), PHONE)
    assert "Household income" in opened.page.locator(".verdicts [aria-current]").inner_text()
    opened.page.select_option("#outcome", label="Crime")
    assert "Crime" in opened.page.locator(".verdicts [aria-current]").inner_text()
    assert opened.complaints == []
