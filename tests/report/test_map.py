"""The map in a real browser: layers, legend, divider, postcodes, faults of accessibility."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from shapely.geometry import box

from streetgauge.report import PredictedCity, render, render_predicted, render_predicted_map

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
LAYERS = ["predicted", "actual", "difference", "uncertainty", "locations", "images", "flags"]
LAYERS += ["all", "pair", "swipe"]
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><style>rect {fill: red}</style>'
    '<rect style="opacity: 1" width="9" height="9"/></svg>'
)


def deepened(data):
    """Give the study what a new areas.parquet has, postcodes and a figure."""
    areas = list(data.areas.index)
    number = data.table["area"].map({a: i for i, a in enumerate(areas)})
    table = data.table.assign(
        n_views=pd.array(number % 13 + 5, dtype="Int64"),
        share_with_images=(number % 5 + 1) / 5,
        disagreement=(number % 7) / 4,
        outside_aoa=pd.array(number == 2, dtype="boolean"),
        error_cluster=np.where(number == 3, "high", None),
        status=np.where(number == 4, "too few locations", "measured"),
    )
    codes = [f"AB{i // 9 + 1} {i % 9 + 1}{end}" for i in range(len(areas)) for end in ("AA", "ZZ")]
    locations = pd.DataFrame({"postcode": codes, "area": np.repeat(areas, 2)})
    locations["location_id"] = locations["postcode"].str.replace(" ", "")
    figure = SimpleNamespace(name="one", title="A figure", caption="What it shows.", svg=SVG)
    return replace(data, table=table, locations=locations, figures=[figure])


@pytest.fixture
def opened(show, make_study):
    opened = show(render(deepened(make_study())), color_scheme="light", has_touch=False)
    opened.drawn()
    return opened


def values(opened) -> list[str]:
    """The layers that one can choose."""
    options = opened.page.locator("#layer option")
    return [options.nth(i).get_attribute("value") for i in range(options.count())]


def place(area: str) -> tuple[int, int]:
    return int(area[1:]) % 8, int(area[1:]) // 8


def row_of(data, outcome: str, area: str) -> pd.Series:
    return data.table.set_index(["outcome", "area"]).loc[(outcome, area)]


def test_every_layer_paints_for_every_outcome_without_a_complaint(opened):
    assert values(opened) == LAYERS
    painted = set()
    for outcome, label in (("income", "Household income"), ("crime", "Crime")):
        opened.page.select_option("#outcome", label=label)
        for layer in LAYERS:
            opened.page.select_option("#layer", layer)
            opened.drawn(outcome)
            shown = opened.page.locator("#maps figure:visible")
            assert shown.count() == {"all": 3, "pair": 2}.get(layer, 1)
            if layer not in ("all", "pair", "swipe"):
                assert shown.get_attribute("data-layer") == layer
                picture = opened.page.locator(f"figure[data-layer={layer}] .paint").screenshot()
                assert len(Image.open(BytesIO(picture)).convert("RGB").getcolors(1 << 20)) > 3
                painted.add((layer, picture))
    assert len(painted) >= 11  # all differ but the images' and locations', which may be alike
    assert opened.complaints == []
    assert opened.asked == [opened.url]


def with_estimates(data):
    """Give the study best estimates, also of the area that has no location."""
    best = 11 - data.table["decile"]
    low, high = best.clip(2, 9) - 1, best.clip(2, 9) + 1
    table = data.table.assign(best_decile=best, best_low=low, best_high=high)
    without = table.drop_duplicates("outcome").assign(
        **dict.fromkeys(["score", "decile", "low", "high"], pd.NA),
        **{"area": "A007", "n_locations": 0, "best_decile": 3, "best_low": 2, "best_high": 4},
    )
    return replace(data, table=table, estimates=pd.concat([table, without], ignore_index=True))


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE])
def test_the_best_estimate_is_the_first_map_next_to_images_alone(show, make_study, viewport):
    data = with_estimates(make_study())
    opened = show(render(data), viewport=viewport, color_scheme="light", has_touch=False)
    opened.drawn()
    shown = opened.page.locator("#maps figure:visible")
    assert [shown.nth(i).get_attribute("data-layer") for i in range(shown.count())] == ["best"]
    best = int(row_of(data, "income", "A012")["best_decile"])
    assert opened.seen(*opened.point("best", *place("A012"))) == opened.variable(f"--d{best}")
    point = opened.point("best", *place("A007"))
    assert opened.seen(*point) == opened.variable("--d3")
    opened.layer("best")
    assert opened.page.locator("#maps figure:visible").count() == 1
    opened.page.mouse.click(*opened.point("best", *place("A007")))
    found = opened.card(99)
    assert found["best estimate"] == "3 (2 to 4)"
    assert found["predicted"] == "\N{EN DASH}"
    assert "Without images" in opened.page.inner_text("#card")

    def strip(name):
        steps = "(steps, name) => steps.map((step) => step.classList.contains(name))"
        flags = opened.page.locator("#card .strip i").evaluate_all(steps, name)
        return [k for k, there in enumerate(flags, 1) if there]

    assert (strip("predicted"), strip("inside")) == ([3], [2, 3, 4])
    opened.layer("predicted")
    opened.page.mouse.click(*opened.point("predicted", *place("A012")))
    row = row_of(data, "income", "A012")
    assert strip("predicted") == [int(row["decile"])]
    assert strip("inside") == list(range(int(row["low"]), int(row["high"]) + 1))
    assert opened.complaints == []


def test_the_width_of_an_interval_and_flags_have_the_legends_colours(opened, make_study):
    data = deepened(make_study())
    area = "A012"
    row = row_of(data, "income", area)
    opened.layer("uncertainty")
    tint = round(1 + 8 * int(row["high"] - row["low"]) / 9)
    assert opened.seen(*opened.point("uncertainty", *place(area))) == opened.variable(f"--s{tint}")
    opened.layer("flags")
    for area, name in (("A004", "--f1"), ("A002", "--f2"), ("A003", "--f3"), ("A005", "--f0")):
        assert opened.seen(*opened.point("flags", *place(area))) == opened.variable(name)


def test_the_card_has_the_frames_numbers_and_the_areas_rank_among_all(opened, make_study):
    data = deepened(make_study())
    opened.layer("flags")
    opened.page.mouse.click(*opened.point("flags", *place("A002")))
    row, scores = row_of(data, "income", "A002"), data.table.query("outcome == 'income'")["score"]
    found = opened.card(99)
    assert found["predicted"] == f"{row['decile']} ({row['low']} to {row['high']})"
    assert found["images"] == str(row["n_views"])
    assert found["postcodes with images"] == f"{100 * row['share_with_images']:.0f}%"
    assert found["disagreement"] == f"{row['disagreement']:.2f} deciles"
    below = round(100 * (scores < row["score"]).sum() / (len(scores) - 1))
    text = opened.page.inner_text("#card")
    assert f"is higher than that of {below}% of the areas" in text
    assert "outside the training distribution" in text
    assert opened.page.locator("#card .places rect").count() > 5


def test_every_areas_score_is_rounded_once(opened, make_study):
    data = deepened(make_study())
    for area, score in data.table.query("outcome == 'income'").set_index("area")["score"].items():
        opened.page.fill("#find", area)
        assert f"Its score, {score:.3f}, ".replace("-", "−") in opened.page.inner_text("#card")


def test_an_area_is_found_by_postcode_however_it_is_typed(opened):
    for typed in ("AB2 4ZZ", "ab24zz", " ab2  4zz "):
        opened.page.fill("#find", "AB1 1AA")
        assert opened.page.get_attribute("#card", "data-code") == "A000"
        opened.page.fill("#find", typed)
        assert opened.page.get_attribute("#card", "data-code") == "A012"
        assert "lies in Square 12." in opened.page.inner_text("#found")


def test_what_is_not_found_is_reported_and_part_of_a_name_is_enough(opened):
    opened.page.fill("#find", "AB9 9XX")
    assert opened.page.inner_text("#found") == ""  # one may still be typing
    opened.page.keyboard.press("Enter")
    assert "No area, code or postcode is called “AB9 9XX”." in opened.page.inner_text("#found")
    opened.page.fill("#find", "are 17")
    opened.page.keyboard.press("Enter")
    assert opened.page.get_attribute("#card", "data-code") == "A017"


def test_the_divider_shows_predicted_left_and_actual_right(opened, make_study):
    data = deepened(make_study())
    rows = data.table.query("outcome == 'income'").dropna(subset="actual_decile")
    area = rows[(rows["decile"] - rows["actual_decile"]).abs() > 1]["area"].iloc[0]
    row = row_of(data, "income", area)
    opened.layer("swipe")
    point = opened.point("swipe", *place(area))
    opened.page.focus("#divider")
    opened.page.keyboard.press("Home")
    assert opened.page.get_attribute("#divider", "aria-valuenow") == "0"
    assert opened.seen(*point) == opened.variable(f"--d{row['actual_decile']}")
    opened.page.keyboard.press("End")
    assert opened.seen(*point) == opened.variable(f"--d{row['decile']}")
    opened.page.keyboard.press("ArrowLeft")
    assert opened.page.get_attribute("#divider", "aria-valuenow") == "98"
    handle = opened.page.locator("#divider").bounding_box()
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    opened.page.mouse.move(x, y)
    opened.page.mouse.down()
    opened.page.mouse.move(x - 400, y, steps=4)
    opened.page.mouse.up()
    share = int(opened.page.get_attribute("#divider", "aria-valuenow"))
    width = opened.page.locator("figure[data-layer=swipe] .canvas").bounding_box()["width"]
    assert abs(share - (98 - 100 * 400 / width)) < 3


def test_a_class_of_the_legend_fades_the_areas_of_the_others(opened, make_study):
    data = deepened(make_study())
    rows = data.table.query("outcome == 'income'")
    kept, other = (rows.loc[rows["decile"] == k, "area"].iloc[0] for k in (10, 1))
    opened.layer("predicted")
    inside, outside = (opened.point("predicted", *place(a)) for a in (kept, other))
    button = opened.page.locator('.legend button[data-bin="9"]')
    assert re.match(r"10: \d+ areas predicted", button.get_attribute("aria-label"))
    button.click()
    opened.drawn()
    assert button.get_attribute("aria-pressed") == "true"
    assert opened.seen(*inside) == opened.variable("--d10")
    assert opened.seen(*outside) != opened.variable("--d1")
    # By keyboard: one stop, arrows from there, Escape forgets.
    opened.page.locator('.legend button[tabindex="0"]').focus()
    opened.page.keyboard.press("Home")
    opened.page.keyboard.press("Enter")
    opened.drawn()
    assert opened.seen(*outside) == opened.variable("--d1")
    opened.page.keyboard.press("Escape")
    opened.drawn()
    assert opened.page.locator('.legend [aria-pressed="true"]').count() == 0
    assert opened.seen(*inside) == opened.variable("--d10")


def test_a_figure_is_drawn_with_its_own_style_and_printed(opened):
    opened.unfold("figures")
    assert opened.page.locator("#figures img").evaluate("i => i.complete && i.naturalWidth > 0")
    opened.page.locator("#figures img").scroll_into_view_if_needed()
    box = opened.page.locator("#figures img").bounding_box()
    assert opened.seen(box["x"] + 30, box["y"] + 30) == (255, 0, 0)
    assert opened.complaints == []


def test_paper_has_maps_tables_and_figures_and_nothing_folded_away(opened):
    short = opened.page.pdf()
    opened.page.check("#print-all")
    pdf = opened.page.pdf()
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Subtype /Image") >= 2
    assert short.count(b"/Type /Page\n") <= 4 < pdf.count(b"/Type /Page\n")
    assert opened.page.evaluate("[...document.querySelectorAll('details')].some(d => !d.open)")
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert opened.page.evaluate("[...document.querySelectorAll('details')].every(d => d.open)")
    opened.page.emulate_media(media="print", color_scheme="dark")
    for shown in ("table.headline thead", "table.measures", "table.confusion", "#figures img"):
        assert opened.page.locator(shown).first.is_visible()
    for hidden in ("#controls", "#divider", ".legend .all", ".contents", "#tools"):
        assert not opened.page.locator(hidden).first.is_visible()
    paper = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(show, make_study, scheme, viewport):
    package = find_spec("axe_playwright_python")
    if package is None or package.origin is None:
        pytest.skip("axe-playwright-python is not installed")
    axe = (Path(package.origin).parent / "axe.min.js").read_text(encoding="utf-8")
    data = deepened(make_study(oracle=True))
    # Every shade that a cell of the confusion table can have.
    data.metrics["outcomes"]["income"]["confusion"] = np.arange(100).reshape(10, 10).tolist()
    page = show(render(data), viewport, color_scheme=scheme)
    page.drawn()
    page.page.evaluate(axe + "; 0")
    for layer, folds in (("swipe", "[open]"), ("pair", "")):
        page.layer(layer)
        page.page.fill("#find", "A002")
        unfold = "folds => document.querySelectorAll(`details${folds}`).forEach(d => d.open = true)"
        page.page.evaluate(unfold, folds)
        found = page.page.evaluate(
            "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v =>"
            "[v.impact, v.id, v.nodes.slice(0, 3).map(n => n.html + n.failureSummary)]))"
        )
        assert [f for f in found if f[0] in ("serious", "critical")] == []


def test_a_name_of_ten_thousand_characters_shows_as_text_and_breaks_nothing(
    show, make_study, make_grid
):
    long = "<b>" + "Aname" * 2000
    areas = make_grid()
    areas.loc["A000", "name"] = long
    data = deepened(make_study(areas, provenance={"income": {"label": long}}))
    opened = show(render(data), PHONE)
    opened.drawn()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert opened.page.locator("#outcome option").first.text_content() == long
    assert opened.page.locator("article h3").first.text_content() == long
    assert opened.page.evaluate("document.documentElement.scrollHeight") < 60_000
    opened.page.fill("#find", "A000")
    assert opened.page.locator("#card h3").text_content() == long
    assert opened.complaints == []


def crooked_squares(side=70):
    rng = np.random.default_rng(3)
    codes = pd.Index([f"E{i:08d}" for i in range(side * side)], name="area")
    corners = rng.uniform(-30, 30, (side + 1, side + 1, 2)) + 500 * np.stack(
        np.meshgrid(np.arange(side + 1), np.arange(side + 1), indexing="ij"), -1
    )
    shapes = [
        box(*np.r_[corners[i, j], corners[i + 1, j + 1]]) for i in range(side) for j in range(side)
    ]
    names = [f"Place {i}" for i in range(side**2)]
    return gpd.GeoDataFrame({"name": names, "geometry": shapes}, index=codes, crs=27700)


def a_large_city(data, areas):
    """Give these areas 12 outcomes and 330,000 postcodes; the figures are a small study's."""
    count, codes, rng = len(areas), areas.index, np.random.default_rng(3)
    frames, one = [], data.metrics["outcomes"]["income"]
    names = [f"outcome {k}" for k in range(12)]
    for name in names:
        decile = rng.integers(1, 11, count)
        frames.append(
            pd.DataFrame(
                {
                    **{"area": codes, "outcome": name, "fold": 1, "n_locations": 68},
                    **{"score": rng.normal(size=count), "decile": decile},
                    **{"low": np.maximum(decile - 2, 1), "high": np.minimum(decile + 2, 10)},
                    **{"actual_decile": rng.integers(1, 11, count), "n_views": 272},
                    "share_with_images": rng.random(count),
                    "outside_aoa": rng.random(count) < 0.05,
                    "disagreement": rng.gamma(4, 0.3, count),
                }
            )
        )
    table = pd.concat(frames, ignore_index=True)
    whole = ["decile", "low", "high", "actual_decile", "n_locations", "n_views"]
    table = table.astype(dict.fromkeys(whole, "Int64"))
    number = np.arange(330_000)
    ends = np.array([a + b for a in "ABDEFGHJLN" for b in "PQRSTUWXYZ"])
    # Neighbouring postcodes lie in the same area or one beside it, as real ones do.
    postcodes = [f"Z{n // 1000} {n // 100 % 10}{ends[n % 100]}" for n in number]
    near = np.minimum(number * count // 330_000 + rng.integers(0, 3, len(number)), count - 1)
    return replace(
        data,
        areas=areas,
        table=table,
        provenance={},
        metrics={**data.metrics, "outcomes": dict.fromkeys(names, one), "headline": {}},
        locations=pd.DataFrame({"postcode": postcodes, "area": codes[near]}),
    )


@pytest.mark.slow
@pytest.mark.parametrize("city", ["squares", "London"])
def test_a_page_of_londons_size_is_small_paints_and_finds_a_postcode(
    show, make_study, city, request
):
    if city == "London":
        london = request.getfixturevalue("shared_data") / "london"
        file = f"/vsizip/{london}/LSOA_2011_London_gen_MHW.zip/LSOA/LSOA_2011_London_gen_MHW.shp"
        areas = gpd.read_file(file, columns=["LSOA11CD", "LSOA11NM", "LAD11NM"])
        areas = areas.rename(
            columns={"LSOA11CD": "area", "LSOA11NM": "name", "LAD11NM": "district"}
        )
        areas = areas.set_index("area")
    else:
        areas = crooked_squares()
    data = a_large_city(make_study(), areas)
    html = render(data)
    assert len(html.encode()) < 8_000_000
    opened = show(html)
    opened.drawn()
    for layer in ("uncertainty", "flags", "swipe", "all"):
        opened.layer(layer)
    where = data.locations.set_index("postcode")["area"]
    for postcode in ("Z0 0AP", "Z217 5JT"):
        opened.page.fill("#find", postcode)
        assert opened.page.get_attribute("#card", "data-code") == where[postcode]
    row = row_of(data, "outcome 0", where["Z217 5JT"])
    assert opened.card(99)["predicted"] == f"{row['decile']} ({row['low']} to {row['high']})"
    assert opened.complaints == []
    assert opened.asked == [opened.url]


def test_the_pages_of_a_city_without_labels_paint_its_deciles_and_compare_them_with_nothing(
    show, make_study
):
    data = deepened(make_study())
    table = data.table.drop(columns=["low", "high", "actual_decile", "n_views"])
    city = PredictedCity(
        name="Elsewhere",
        bundle_name="gridtown-bundle",
        bundle={
            "name": "all",
            "outcomes": ["income", "crime"],
            "classes": 10,
            "source": {"study": "Gridtown", "outcomes": {"income": {"label": "<b>Income"}}},
            "settings": {"learner": "network"},
            "training": {"training_locations": 1234, "training_areas": 56},
            "metrics": None,
            "licence": None,
            "code_version": "0.1.0",
        },
        held_out="Every area was held out.",
        figures=[("<b>Income", "48", "1.10", "0.80", "1.60 (constant)", "+0.50")],
        cut_points={"income": [-1e308 * 1.7, *range(8)], "crime": list(range(9))},
        locations=pd.DataFrame({"location_id": ["L1"], "area": ["A000"]}),
        areas=data.areas,
        table=table.assign(dissimilarity_index=0.5),
        skips=data.skips,
    )
    for html in (render_predicted(city), render_predicted_map(city)):
        opened = show(html, color_scheme="light", has_touch=False)
        opened.drawn()
        assert values(opened) == ["predicted", "spread", "locations", "flags", "all", "pair"]
        row = row_of(data, "income", "A012")
        point = opened.point("predicted", *place("A012"))
        assert opened.seen(*point) == opened.variable(f"--d{row['decile']}")
        opened.page.mouse.click(*point)
        found = opened.card(99)
        assert found["predicted"] == str(row["decile"])
        assert not found.keys() & {"actual", "difference", "official"}
        assert found["disagreement"] == f"{row['disagreement']:.2f} deciles"
        opened.layer("spread")
        tint = round(1 + 8 * int(2 * row["disagreement"]) / 4)
        point = opened.point("spread", *place("A012"))
        assert opened.seen(*point) == opened.variable(f"--s{tint}")
        assert "no error of its own is known" in opened.page.inner_text("header")
        assert opened.complaints == []
        assert opened.asked == [opened.url]
    opened = show(render_predicted(city), PHONE)
    text = re.sub(r"\s+", " ", opened.page.text_content("main"))
    assert "Bundle “gridtown-bundle”, model “all”, of Gridtown: trained on 1,234 locations" in text
    assert "Figures of Gridtown, not of Elsewhere" in text
    assert "1 of 47 areas (2%) is outside the training distribution" in text
    cut = opened.page.locator("table:has-text('Mean scores between') tbody tr").first
    assert cut.locator("td").first.text_content() == "-∞"
    assert cut.locator("th").text_content() == "<b>Income"
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_page_of_many_areas_whose_numbers_are_text_shows_what_the_plain_one_shows(
    opened, show, make_study, monkeypatch
):
    monkeypatch.setattr("streetgauge.report.map.MANY_AREAS", 10)
    html = render(deepened(make_study()))
    assert '"per_unit"' in html
    other = show(html, color_scheme="light", has_touch=False)
    for outcome in ("Household income", "Crime"):
        for layer in ("predicted", "difference", "uncertainty", "locations", "flags"):
            for each in (opened, other):
                each.page.select_option("#outcome", label=outcome)
                each.page.select_option("#layer", layer)
                each.drawn()
            assert other.colours(layer) == opened.colours(layer)
    for each in (opened, other):
        each.page.select_option("#layer", "predicted")
        each.page.fill("#find", "A005")
        each.page.keyboard.press("Enter")
    assert other.card() == opened.card()
    assert all("getImageData" in each for each in other.complaints)  # of this test itself
