"""What the page says, read as HTML."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from streetgauge.evaluation.layers import NOTHING, class_colours, difference_colours
from streetgauge.report import render

CLOSING = "</b></script><script>alert(4)</script>"


class Page(HTMLParser):
    """Text, attributes and the content of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in self.raw:
            self.raw[tag].append("")
        self.stack.append(tag)

    def handle_endtag(self, tag):
        while self.stack and self.stack.pop() != tag:
            pass

    def handle_data(self, data):
        if self.stack and self.stack[-1] in self.raw:
            self.raw[self.stack[-1]][-1] += data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def values(self, tag: str, name: str) -> list[str]:
        return [attributes[name] for t, attributes in self.tags if t == tag and name in attributes]

    @property
    def data(self) -> dict:
        return json.loads(self.raw["script"][0])


def test_it_shows_the_numbers_of_the_metrics(make_study):
    data = make_study(oracle=True)
    page = Page(render(data))
    for account in data.metrics["outcomes"].values():
        assert f"{account['metrics']['mae']['value']:.2f}" in page.text
        assert (
            f"{account['baselines']['nearest-areas']['kappa']:.2f}".replace("-", "−") in page.text
        )
        assert f"{account['oracle']['spearman']['value']:.2f}" in page.text
    assert "Share of the attainable" in page.text


def test_it_names_data_licence_run_and_what_was_excluded(make_study):
    text = Page(render(make_study())).text
    for words in (
        "Gridtown",
        "Two outcomes on a grid.",
        "Greater Gridtown Authority, OGL v3",
        "higher is better",
        "c0ffeec0ffee",
        "streetgauge 0.1.0",
        "train 12.5 s",
        "the image ends early",
        "no location lies in it",
    ):
        assert words in text


def test_of_paths_it_shows_the_file_name_only(make_study):
    html = render(make_study())
    assert "income.csv" in html
    assert "areas.gpkg" in html
    assert "/home/someone" not in html


def test_each_stage_says_what_it_did(make_study):
    stages = {
        "train": {"cache_key": "1f", "settings": {"k": 5}, "messages": ["5 folds", "9 areas"]}
    }
    text = Page(
        render(make_study(run={"format_version": 1, "files": {"/home/x": {}}, "stages": stages}))
    ).text
    assert "Stage train 5 folds; 9 areas" in text
    assert "1f" not in text
    assert "Format version" not in text
    assert "/home/x" not in text


def test_each_file_of_an_outcome_is_shown_with_its_own_hash(make_study):
    provenance = {
        "income": {"file": "/data/one.csv + /data/two.csv", "sha256": "1" * 64 + " + " + "2" * 64}
    }
    page = Page(render(make_study(provenance=provenance)))
    assert f"one.csv {'1' * 12} two.csv {'2' * 12}" in page.text
    assert page.values("code", "title") == [f"sha256 {'1' * 64}", f"sha256 {'2' * 64}"]


def test_the_data_in_the_page_are_those_of_the_table(make_study):
    data = make_study()
    payload = Page(render(data)).data
    for outcome in payload["outcomes"]:
        rows = data.table[data.table["outcome"] == outcome["name"]].set_index("area")
        for key, column in (
            ("decile", "decile"),
            ("low", "low"),
            ("high", "high"),
            ("actual", "actual_decile"),
            ("n", "n_locations"),
        ):
            own = outcome.get(key, payload["outcomes"][0][key])  # written once where it is the same
            found = dict(zip(payload["codes"], own, strict=True))
            known = rows[column].dropna().astype(int).to_dict()
            assert {area: value for area, value in found.items() if value is not None} == known


def test_rows_in_another_order_give_the_same_page(make_study):
    data = make_study()
    shuffled = replace(
        data,
        table=data.table.sample(frac=1, random_state=1),
        skips=data.skips.sample(frac=1, random_state=1),
    )
    assert render(shuffled) == render(data)


def test_areas_in_another_order_keep_their_own_shape_and_numbers(make_study):
    data = make_study()
    turned = replace(data, areas=data.areas.iloc[::-1])
    one, two = (Page(render(each)).data for each in (data, turned))
    assert one["codes"] == two["codes"][::-1]
    assert one["geometry"]["shapes"] == two["geometry"]["shapes"][::-1]
    assert one["outcomes"][0]["decile"] == two["outcomes"][0]["decile"][::-1]


def test_outcomes_stand_in_the_order_of_the_study(make_study):
    payload = Page(render(make_study())).data
    assert [outcome["label"] for outcome in payload["outcomes"]] == ["Household income", "Crime"]


def test_nothing_in_it_points_anywhere_else(make_study):
    html = render(make_study())
    page = Page(html)
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            target = attributes.get(name)
            assert target is None or target.startswith(("#", "data:,")), (tag, target)
        assert not [name for name in attributes if name.startswith("on")]
        assert "style" not in attributes  # the policy would refuse it
    assert not re.search(
        r"url\(|@import|https?://", "".join(page.raw["style"] + page.raw["script"])
    )


def test_its_policy_allows_its_own_script_and_style_and_nothing_else(make_study):
    page = Page(render(make_study()))
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for rule, content in (
        ("script-src", page.raw["script"][1]),
        ("style-src", page.raw["style"][0]),
    ):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_hostile_texts_stay_text(hostile):
    html = render(hostile)
    page = Page(html)
    assert page.text.count("<script>alert(1)</script>") >= 4  # title, label, setting, reason
    assert "onerror=alert(2)" in page.text
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert "img" not in {tag for tag, _ in page.tags}
    assert "<" not in page.raw["script"][0]  # nothing in the data can end their element
    assert page.data["names"][0] == "<script>alert(1)</script>"
    assert page.data["names"][1].startswith("</script ><!-- <script ><img")


def test_without_boundaries_it_has_no_map_and_says_why(make_study):
    data = make_study()
    page = Page(render(replace(data, areas=data.areas.drop(columns="geometry"))))
    assert "There is no map" in page.text
    assert "canvas" not in {tag for tag, _ in page.tags}
    assert page.data["geometry"] is None
    assert len(page.data["codes"]) == len(data.areas)


def test_what_is_not_defined_is_a_dash(make_study):
    data = make_study()
    table = data.table.assign(actual_decile=data.table["actual_decile"].where(lambda s: s.isna()))
    from streetgauge.evaluation import evaluate
    from streetgauge.settings import EvaluationSettings

    metrics = evaluate(table, EvaluationSettings(draws=100), seed=1)
    text = Page(render(make_study(table=table, metrics=metrics))).text
    assert "nothing is measured" in text
    assert "nan" not in text.lower().split()
    assert "None" not in text


def test_it_reports_if_nothing_was_excluded(make_study):
    data = make_study()
    text = Page(render(make_study(skips=data.skips.iloc[:0]))).text
    assert "Nothing was excluded." in text


def test_simulated_features_are_announced_at_the_top(make_study):
    assert "Simulated features." not in render(make_study())
    html = render(make_study(simulated=True))
    assert html.index("Simulated features.") < html.index("<main")
    assert html.count("imulated") == 1  # said once
    assert "From street images alone" in render(make_study())
    assert "From street images alone" not in html  # nobody may decide by what nobody saw


def test_the_headings_descend_one_by_one_and_ids_are_unique(make_study):
    page = Page(render(make_study()))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) <= 1
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for target in page.values("a", "href"):
        assert target[1:] in ids or target in ("#outcome=income", "#outcome=crime")


def test_every_header_cell_has_a_scope(make_study):
    page = Page(render(make_study()))
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")


@pytest.mark.parametrize("classes", [5, 10])
def test_any_number_of_classes_has_its_own_confusion_table(make_study, classes):
    data = make_study()
    metrics = {**data.metrics, "classes": classes}
    account = {
        **data.metrics["outcomes"]["income"],
        "confusion": np.eye(classes, dtype=int).tolist(),
    }
    metrics["outcomes"] = {"income": account}
    page = Page(render(make_study(metrics=metrics)))
    same = [a for t, a in page.tags if t == "td" and "same" in a.get("class", "")]
    assert len(same) == classes


def test_credits_of_open_imagery_are_shown_with_their_licence(make_study):
    line = "12 images by 3 contributors, Panoramax, CC BY-SA 4.0"
    page = Page(
        render(make_study(credits=[{"line": line, "licence_url": "https://creativecommons.org/x"}]))
    )
    assert line in page.text
    assert "(https://creativecommons.org/x)" in page.text
    assert "creativecommons" not in str(page.values("a", "href"))


def test_a_figure_is_an_image_whose_text_cannot_leave_it(make_study):
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(3)</script></svg>'
    hostile = SimpleNamespace(
        name="one", title=CLOSING, caption="<b>said</b>", alt='"><script>', svg=svg
    )
    page = Page(render(make_study(figures=[hostile])))
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert CLOSING in "".join(page.words)
    assert "<b>said</b>" in page.text
    source = next(s for s in page.values("img", "src"))
    assert base64.b64decode(source.split(",", 1)[1]).decode() == svg


def test_an_outcomes_table_has_every_method_in_its_group(make_study):
    data = make_study(oracle=True)
    text = Page(render(data)).text
    order = [text.index(words) for words in ("Without images", "The middle decile for every area")]
    assert order == sorted(order)
    assert "The 5 nearest areas" in text
    assert "Attainable" in text


def test_kinds_of_areas_and_what_is_not_defined_are_reported(make_study):
    data = make_study()
    account = data.metrics["outcomes"]["income"]
    assert "deprivation" in account["groups"]
    page = Page(render(data))
    for members in account["groups"].values():
        for name, each in members.items():
            assert name in page.text
            assert f"{each['mae']['value']:.2f}" in page.text
    assert "A constant ranks nothing" in page.text
    assert "a constant puts nothing in order" not in page.text  # not again for each outcome


def test_larger_units_have_their_own_table(make_study):
    data = make_study()
    assert "The same for larger units" not in render(data)
    account = {**data.metrics["outcomes"]["crime"], "n_areas": 31}
    metrics = {**data.metrics, "levels": {"msoa": {"outcomes": {"crime": account}}}}
    text = Page(render(make_study(metrics=metrics))).text
    assert "The same for larger units" in text
    assert "msoa Crime 31" in text


def test_a_city_with_too_many_postcodes_says_that_they_cannot_be_searched(make_study, monkeypatch):
    from streetgauge.report import map as page_map

    data = make_study()
    locations = pd.DataFrame({"postcode": ["AB1 1AA", "AB1 1AB"], "area": ["A000", "A001"]})
    page = Page(render(replace(data, locations=locations)))
    assert page.data["postcodes"] == "aAB11AA|aAB11AB"
    monkeypatch.setattr(page_map, "MOST_POSTCODES", 5)
    page = Page(render(replace(data, locations=locations)))
    assert page.data["postcodes"] is None
    assert "Postcodes cannot be searched for here: 2 would make this page slow" in page.text


def test_the_page_has_the_colours_of_the_gis_styles(make_study):
    light = render(make_study()).split("prefers-color-scheme: dark")[0]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", light))
    assert [colours[f"d{k}"] for k in range(1, 11)] == class_colours()
    assert [colours[f"x{k}"] for k in range(1, 10)] == list(difference_colours().values())
    assert colours["nothing"] == NOTHING


def test_wide_figures_fill_the_page_and_each_outcome_has_its_own_fold(make_study):
    def drawn(name, width, outcome=None):
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}pt" height="9pt"/>'
        more = {"caption": "What it shows.", "outcome": outcome}
        return SimpleNamespace(name=name, title=f"Title of {name}", svg=svg, **more)

    figures = [drawn("gain", 518.4), drawn("training-loss", 252)]
    figures.append(drawn("agreement-crime", 252, "crime"))
    figures.append(drawn("confusion-crime", 252, "crime"))
    html = render(make_study(figures=figures))
    assert '<figure id="figure-gain" class="wide">' in html
    assert '<figure id="figure-agreement-crime">' in html
    assert "<summary>Crime: 1 figure</summary>" in html
    assert "Title of confusion-crime" not in html  # the outcome's table has it


def test_what_was_excluded_counts_the_areas_of_its_locations(make_study):
    data = make_study()
    where = data.locations.assign(area="A001")
    text = Page(render(replace(data, locations=where))).text
    assert "the image ends early 3 1 1" in text


def test_a_table_is_named_once_before_its_cells():
    from streetgauge.report.text.provenance import cells

    assert cells(["QS1: Bad", "QS1: All", "KS2: None"]) == "QS1: Bad, All; KS2: None"
    assert cells(["Rank (where 1 is most)"]) == "Rank (where 1 is most)"


def _headline(html: str) -> str:
    """The text of the table with the figures of every outcome."""
    after = Page(html).text.partition("The figures of every outcome")[2]
    return after.partition("Read with care")[0]


def test_the_headline_table_has_the_best_estimate_next_to_images_alone(make_study):
    study = make_study()
    assert "Best estimate" not in _headline(render(study))
    best = {"metrics": {"mae": {"value": 1.23, "low": 1.11, "high": 1.35}}}
    own = study.metrics["outcomes"]["income"]
    ours = {m: {"value": None, "low": None, "high": None} for m in own["metrics"]}
    given = {"from": "images, places", "metrics": ours | best["metrics"], "gain": own["gain"]}
    given |= {k: own[k] for k in ("extremes", "intervals", "n_areas")}
    given |= {"gain_over_images": dict.fromkeys(("mae", "spearman"), ours["mae"])}
    outcomes = {**study.metrics["outcomes"], "income": {**own, "best": given}}
    head = _headline(render(replace(study, metrics={**study.metrics, "outcomes": outcomes})))
    assert "Best estimate: mean absolute error (deciles) Images alone: mean absolute" in head
    first = head.rpartition("Household income")[2]
    assert "1.23 1.11 to 1.35" in first[:60]
    assert head.rpartition("Crime")[2].strip().startswith("–")
