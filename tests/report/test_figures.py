"""Figures: what is in them, that they are whole files, and that they do not change."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from contextlib import contextmanager
from itertools import combinations
from xml.etree import ElementTree as Xml

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from PIL import Image
from tests.report.test_map import with_estimates

from streetgauge.evaluation import headline
from streetgauge.evaluation.layers import NOTHING
from streetgauge.report import draw_figures, draw_maps, processes, save_figures
from streetgauge.report.figures.drawing import short
from streetgauge.report.figures.slides import DOTS, HEIGHT, WIDTH, _legend, _Scale

SVG = "{http://www.w3.org/2000/svg}"
LABELS = {"income": "Household income", "crime": "Crime"}
PER_OUTCOME = ("confusion", "agreement", "reliability", "groups", "moran")


def course(outcomes=("income", "crime"), parts=2, looks=4):
    rows = [
        {"split": f"fold-{part}", "member": member, "step": look, "epoch": float(look)}
        | {"outcome": name, "train_loss": 3.0 / look, "validation_loss": 2.0 + 0.1 * look}
        | {"validation_tau": 0.1 * look + 0.01 * member}
        for part in range(1, parts + 1)
        for member in (1, 2)
        for look in range(1, looks + 1)
        for name in outcomes
    ]
    return pd.DataFrame(rows)


def figure(value, half=0.1):
    return {"value": value, "low": value - half, "high": value + half}


def whole(data):
    """Metrics and areas with all that any figure is drawn from."""
    kinds = {"random": data.metrics, "spatial": data.metrics}
    metrics = {**data.metrics, "headline": headline(kinds), "outcomes": {}}
    rng = np.random.default_rng(2)
    table = data.table.copy()
    p = rng.dirichlet(np.ones(10), len(table))
    table[[f"p{k}" for k in range(1, 11)]] = p
    table["residual_nearby"] = rng.normal(size=len(table))
    for name, account in data.metrics["outcomes"].items():
        residuals = {"value": 0.2, "expected": -0.02, "p": 0.01}
        one = {"n_areas": 5, "mae": figure(1.0), "bias": figure(-0.2)}
        metrics["outcomes"][name] = {
            **account,
            "structure": {"neighbours": "contiguity", "residuals": residuals},
            "groups": {"district": {"Left": one, "Right": {**one, "mae": figure(2.0)}}},
        }
    points = [
        {"outcome": name, "share": share, "start": start, "mae": figure(2 - share)}
        | {"spearman": figure(0.5 + share / 4)}
        for name in metrics["outcomes"]
        for start in ("tuned", "scratch")
        for share in (0.0, 0.1, 1.0)
        if share or start == "tuned"
    ]
    metrics["transfer"] = {"points": points, "interval_level": 0.9}
    of_curves = [
        {"outcome": name, "by": by, "value": value, "mae": figure(3 - value), "spearman": figure(0)}
        | {"n_training_areas": 40 * value, "locations_per_area": 3 * value, "views_per_location": 1}
        for name in metrics["outcomes"]
        for by, value in (("areas", 0.25), ("areas", 0.5), ("all", 1.0))
    ]
    return metrics, table, {"points": of_curves, "interval_level": 0.9, "classes": 10}


@pytest.fixture(scope="module")
def drawn(make_study):
    """Give metrics, areas and their figures; only to be read."""
    metrics, table, curves = whole(make_study())
    figures = draw_figures(metrics, table, LABELS, history=course(), curves=curves, paper=False)
    return metrics, table, {each.name: each for each in figures}


def test_every_figure_is_drawn_where_there_are_data_in_the_study_s_order(drawn):
    _, _, figures = drawn
    assert list(figures) == [
        *("gain", "methods", "transfer", "fewer-areas", "training-loss", "training-tau"),
        *(f"{kind}-{name}" for name in LABELS for kind in PER_OUTCOME),
    ]
    assert figures["moran-crime"].outcome == "crime"
    assert figures["gain"].outcome is None


def test_every_method_is_a_row_with_the_error_and_interval_that_the_metrics_have(make_study):
    metrics, table, _ = whole(make_study())
    own = metrics["outcomes"]["crime"]
    own["with_images"] = {"linear": {"mae": 1.25, "mae_interval": {"low": 1.0, "high": 1.5}}}
    own["baselines"] = {
        "random": {"mae": 3.3, "mae_interval": {"low": 3.0, "high": 3.6}},
        "kriging": {"mae": 1.75, "mae_interval": {"low": 1.5, "high": 2.0}},
    }
    figures = {each.name: each for each in draw_figures(metrics, table, LABELS, paper=False)}
    rows = figures["methods"].table.query("outcome == 'crime'").set_index("method")
    mapped = own["metrics"]["mae"]
    assert rows.drop(columns="outcome").T.to_dict("list") == {
        "kriging": ["without images", 1.75, 1.5, 2.0],
        "linear": ["other learners, with images", 1.25, 1.0, 1.5],
        "images": ["images alone", *(mapped[end] for end in ("value", "low", "high"))],
    }
    assert "Kriging" in figures["methods"].svg
    assert "Random" not in figures["methods"].svg


def test_without_any_other_method_there_is_nothing_to_compare_in_a_figure(make_study):
    metrics, table, _ = whole(make_study())
    for each in metrics["outcomes"].values():
        each |= {"baselines": {}, "with_images": {}}
    assert "methods" not in {
        each.name for each in draw_figures(metrics, table, LABELS, paper=False)
    }


def test_a_drawing_is_well_formed_says_what_it_is_and_shares_no_id(drawn):
    _, _, figures = drawn
    ids: list[str] = []
    for figure_ in figures.values():
        root = Xml.fromstring(figure_.svg)
        assert root.get("role") == "img"
        title, description = (root.find(f"{SVG}{tag}") for tag in ("title", "desc"))
        assert title.text == figure_.title
        assert description.text == figure_.caption == figure_.alt
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        own = [e.get("id") for e in root.iter() if e.get("id")]
        ids += own
        used = re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", figure_.svg)
        assert used
        assert set(used) <= set(own)
        # A page that forbids inline styles shows it all the same, and it asks nothing of anybody.
        assert "style=" not in figure_.svg
        assert "<style" not in figure_.svg
        links = re.findall(r"https?://[^\"]*", figure_.svg)
        assert set(links) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert len(ids) == len(set(ids))


def test_the_numbers_next_to_a_figure_are_those_of_the_metrics(drawn):
    metrics, table, figures = drawn
    account = metrics["outcomes"]["income"]
    counted = figures["confusion-income"].table
    square = counted.pivot_table(index="actual", columns="predicted", values="areas")
    assert square.to_numpy().astype(int).tolist() == account["confusion"]
    assert counted["areas"].sum() == account["n_areas"]

    cells = figures["gain"].table.set_index(["outcome", "folds", "metric"])
    for name in LABELS:
        told = metrics["headline"][name]["spatial"]["mae"]
        assert cells.loc[(name, "spatial", "mae"), "value"] == told["value"]
        assert cells.loc[(name, "spatial", "mae"), "over"] == told["over"]

    rows = table[(table["outcome"] == "income") & table["actual_decile"].notna()]
    means = rows.groupby("actual_decile")["decile"].mean()
    agreed = figures["agreement-income"].table.set_index("actual")
    assert agreed["mean_predicted"].tolist() == pytest.approx(means.astype(float).tolist())
    assert agreed["areas"].sum() == len(rows)
    held = (agreed["share_within_interval"] * agreed["areas"]).sum() / agreed["areas"].sum()
    assert held == pytest.approx(account["intervals"]["share"])

    groups = figures["groups-income"].table.set_index("group")
    assert groups.loc["Right", "mae"] == 2.0
    assert groups.loc["Left", "bias_low"] == pytest.approx(-0.3)
    tau = figures["training-tau"].table
    assert tau[(tau["outcome"] == "crime") & (tau["epoch"] == 4)]["validation_tau"].tolist() == [
        *(pytest.approx(0.415), pytest.approx(0.415))
    ]


def test_probabilities_that_are_right_lie_on_the_line():
    rng = np.random.default_rng(5)
    p = rng.dirichlet([0.6] * 4, 4000)
    actual = (rng.random((len(p), 1)) > np.cumsum(p, axis=1)).sum(1) + 1
    table = pd.DataFrame(p, columns=["p1", "p2", "p3", "p4"])
    table["area"] = [f"A{i:04d}" for i in range(len(p))]
    table = table.assign(outcome="o", decile=actual, actual_decile=actual, low=1, high=4)
    metrics = {"classes": 4, "interval_level": 0.9, "outcomes": {"o": blank(4)}, "headline": {}}
    (found,) = [f for f in draw_figures(metrics, table, paper=False) if f.name == "reliability-o"]
    told = found.table
    assert told["statements"].sum() == 3 * len(p)
    assert (told["share"] - told["mean_probability"]).abs().max() < 0.035
    assert ((told["low"] <= told["share"]) & (told["share"] <= told["high"])).all()
    wrong = table.assign(p1=table["p4"], p4=table["p1"])
    (found,) = [f for f in draw_figures(metrics, wrong, paper=False) if f.name == "reliability-o"]
    assert (found.table["share"] - found.table["mean_probability"]).abs().max() > 0.2


def blank(classes):
    nothing = {"value": None, "low": None, "high": None}
    return {
        "n_areas": 0,
        "confusion": [[0] * classes for _ in range(classes)],
        "metrics": dict.fromkeys(("mae", "exact", "within_1", "spearman"), nothing),
    }


def test_without_data_there_is_no_figure_and_no_error(make_study):
    data = make_study()
    metrics = {**data.metrics, "outcomes": {"income": blank(10)}}
    assert draw_figures(metrics, data.table.iloc[:0], paper=False) == []
    empty = data.table.assign(decile=pd.NA, actual_decile=pd.NA)
    assert draw_figures(metrics, empty, history=pd.DataFrame(), paper=False) == []
    assert draw_figures({**metrics, "outcomes": {}}, data.table, paper=False) == []
    # A study that its networks learned without a validation part has no course of tau.
    blind = course().assign(validation_tau=np.nan, validation_loss=np.nan)
    names = [f.name for f in draw_figures(metrics, empty, history=blind, paper=False)]
    assert names == ["training-loss"]
    names = draw_figures(metrics, empty, history=blind.assign(outcome="other"), paper=False)
    assert names == []


def test_missing_intervals_and_few_classes_are_drawn_without(make_study):
    data = make_study()
    account = data.metrics["outcomes"]["income"]
    few = {**account, "confusion": [[3, 1], [0, 4]]}
    table = data.table[data.table["outcome"] == "income"].assign(low=pd.NA, high=pd.NA)
    low = np.minimum(table["decile"], 2)
    table = table.assign(decile=low, actual_decile=np.minimum(table["actual_decile"], 2))
    metrics = {**data.metrics, "classes": 2, "outcomes": {"income": few}, "headline": {}}
    figures = {f.name: f for f in draw_figures(metrics, table, paper=False)}
    assert {"confusion-income", "agreement-income"} <= set(figures)
    assert figures["agreement-income"].table["mean_low"].isna().all()
    assert "deciles" not in figures["confusion-income"].caption


def test_names_cannot_leave_their_position_in_a_drawing_or_in_a_file_s_name(make_study, tmp_path):
    data = make_study()
    name = '../../<script>alert(1)</script>"$x^2$\x00'
    metrics = {**data.metrics, "headline": {}}
    metrics["outcomes"] = {name: data.metrics["outcomes"]["crime"]}
    table = data.table[data.table["outcome"] == "crime"].assign(outcome=name)
    figures = draw_figures(metrics, table, {name: name + "y" * 10_000}, paper=False)
    save_figures(figures, {name: b"map"}, tmp_path / "figures")
    files = sorted(p.name for p in (tmp_path / "figures").iterdir())
    assert [p.name for p in tmp_path.iterdir()] == ["figures"]
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_-]*\.(svg|csv|png)", file) for file in files)
    assert sum(file.startswith("map-") for file in files) == 1
    for each in figures:
        assert "<script" not in each.svg
        Xml.fromstring(each.svg)
        assert len(each.title) < 200


def test_the_same_study_gives_the_same_bytes_and_paper_files_with_their_fonts(make_study, tmp_path):
    data = make_study()
    metrics = {**data.metrics, "outcomes": {"income": data.metrics["outcomes"]["income"]}}
    for i in (1, 2):
        shuffled = data.table.sample(frac=1, random_state=i)
        figures = draw_figures(metrics, shuffled, LABELS)
        save_figures(figures, {}, tmp_path / str(i))
    files = sorted(p.name for p in (tmp_path / "1").iterdir())
    assert {f"confusion-income.{form}" for form in ("svg", "pdf", "png", "csv")} <= set(files)
    for file in files:
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()
    assert (tmp_path / "1" / "confusion-income.svg").read_bytes().startswith(b"<?xml")
    pdf = (tmp_path / "1" / "confusion-income.pdf").read_bytes()
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert b"/Subtype /Type3" not in pdf
    assert b"CreationDate" not in pdf
    picture = Image.open(tmp_path / "1" / "confusion-income.png")
    assert picture.width == 1050  # 89 mm at 300 dots an inch
    assert picture.mode == "RGB"  # some journals refuse an alpha channel
    assert picture.info["dpi"][0] == pytest.approx(300, abs=0.1)
    save_figures([], {}, tmp_path / "1")  # in the place of all that was there
    assert list((tmp_path / "1").iterdir()) == []


def test_a_user_s_own_settings_of_matplotlib_change_nothing(make_study):
    import matplotlib as mpl

    data = make_study()
    metrics = {**data.metrics, "outcomes": {"income": data.metrics["outcomes"]["income"]}}
    before = [f.svg for f in draw_figures(metrics, data.table, LABELS, paper=False)]
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "red"}):
        assert [f.svg for f in draw_figures(metrics, data.table, LABELS, paper=False)] == before
        assert mpl.rcParams["font.size"] == 30


def test_many_outcomes_share_one_figure_of_small_panels(make_study):
    data = make_study()
    names = [f"outcome{i:02d}" for i in range(12)]
    found = draw_figures(
        {**data.metrics, "outcomes": {name: blank(10) for name in names}, "headline": {}},
        data.table.iloc[:0],
        history=course(names),
        paper=False,
    )
    assert [f.name for f in found] == ["training-loss", "training-tau"]
    assert all(name in found[0].svg for name in names)


def test_long_text_is_cut_and_stays_on_its_line():
    assert short("abc\n\tdef") == "abc def"
    assert short("x" * 50, 10) == "x" * 9 + "…"
    assert short("a\x00b\x1f") == "a\ufffdb\ufffd"


def test_a_slide_has_both_maps_in_the_page_s_colours(make_study):
    data = make_study()
    maps = dict(draw_maps(data.areas, data.table, data.metrics, data.provenance, data.name))
    assert list(maps) == ["crime", "income"]
    picture = Image.open(io.BytesIO(maps["income"])).convert("RGB")
    assert picture.size == (1920, 1080)
    pixels = np.asarray(picture).reshape(-1, 3)
    seen = {tuple(int(x) for x in each) for each in np.unique(pixels, axis=0)}
    from streetgauge.evaluation.layers import class_colours

    for colour in (*class_colours(10), NOTHING):  # A007 has no location, A005 no actual income
        assert tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) in seen
    again = dict(draw_maps(data.areas, data.table, data.metrics, data.provenance, data.name))
    assert maps == again


def test_a_slide_shows_the_best_estimate_images_alone_and_the_actual_class_side_by_side(make_study):
    data = with_estimates(make_study())
    estimates = data.estimates.assign(best_decile=1, decile=10)
    maps = dict(draw_maps(data.areas, estimates, data.metrics, data.provenance, data.name))
    pixels = np.asarray(Image.open(io.BytesIO(maps["income"])).convert("RGB"))[200:900]
    from streetgauge.evaluation.layers import class_colours

    lowest, highest = (class_colours(10)[k] for k in (0, 9))
    third = pixels.shape[1] // 3
    for k, (there, absent) in enumerate([(lowest, highest), (highest, lowest)]):
        panel = pixels[:, k * third : (k + 1) * third].reshape(-1, 3)
        seen = {to_hex(each / 255) for each in np.unique(panel, axis=0)}
        assert there in seen
        assert absent not in seen


@pytest.mark.parametrize("classes", [2, 10, 40])
def test_nothing_in_the_legend_of_a_slide_lies_on_anything_else(classes):
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(WIDTH, HEIGHT), dpi=DOTS)
    _legend(canvas, _Scale.of(classes), ("worst off", "best off"), missing=True)
    texts = [each.get_text() for each in canvas.texts]
    assert {"worst off", "best off", "no value"} <= set(texts)
    (no_value,) = (each for each in canvas.texts if each.get_text() == "no value")
    boxes = [each.get_window_extent() for each in (*canvas.texts, *canvas.artists)]
    assert len(canvas.artists) == classes + 1
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert canvas.bbox.x0 < box.x0 < box.x1 < canvas.bbox.x1
    last = max(canvas.artists, key=lambda each: each.get_x())
    assert to_hex(last.get_facecolor()) == NOTHING  # next to what it means
    assert 0 < no_value.get_window_extent().x0 - last.get_window_extent().x1 < DOTS / 4


def test_the_line_of_a_moran_scatter_plot_is_named_with_its_slope(drawn):
    _, _, figures = drawn
    for name in LABELS:
        assert "slope: Moran’s I = 0.20" in figures[f"moran-{name}"].svg


def test_areas_without_boundaries_have_no_slide_and_without_a_crs_no_bar(make_study, make_grid):
    data = make_study()
    plain = pd.DataFrame(data.areas.drop(columns="geometry"))
    assert dict(draw_maps(plain, data.table, data.metrics, {}, "x")) == {}
    nowhere = make_grid().set_crs(None, allow_override=True)
    assert len(dict(draw_maps(nowhere, data.table, data.metrics, {}, "x"))) == 2
    holed = make_grid()
    holed.loc["A003", "geometry"] = None
    assert len(dict(draw_maps(holed, data.table, data.metrics, {}, "x"))) == 2


@pytest.mark.slow
def test_processes_side_by_side_draw_the_same_bytes(make_study):
    data = make_study()
    metrics, table, _ = whole(data)
    names = [f"outcome {k}" for k in range(2)]
    one = table[table["outcome"] == "income"]
    many = pd.concat([one.assign(outcome=name) for name in names])
    metrics |= {"outcomes": dict.fromkeys(names, metrics["outcomes"]["income"]), "headline": {}}
    del metrics["transfer"]
    told = []

    @contextmanager
    def progress(_what, total, _unit):
        told.append(total)
        yield told.append

    given = (data.areas, many, metrics, {}, "A city")
    drawn = []
    for n in (1, 2):
        with processes(n) as each:
            slides = draw_maps(*given, each=each)
            figures = draw_figures(metrics, many, each=each, progress=progress)
            drawn.append(([(f.name, f.svg, f.pdf, f.png) for f in figures], dict(slides)))
    alone, helped = drawn
    assert alone == helped
    assert [len(each) for each in alone] == [11, 2]
    half = len(told) // 2
    assert told[0] == sum(told[1:half]) == sum(told[half + 1 :])


def test_a_font_in_a_pdf_is_embedded_without_what_only_typesetting_needs(make_study):
    from fontTools import subset

    metrics, table, _ = whole(make_study())
    metrics |= {"outcomes": {"crime": metrics["outcomes"]["crime"]}, "transfer": {"points": []}}
    before = subset.load_font
    pdf = draw_figures(metrics, table[table["outcome"] == "crime"])[0].pdf
    assert b"/FontFile2" in pdf
    assert b"/CIDFontType2" in pdf
    assert subset.load_font is before


def test_what_draws_loads_neither_the_page_nor_what_measures_areas():
    code = (
        "import sys, streetgauge.report.figures.draw, streetgauge.report.figures.slides;"
        "print([m for m in ('jinja2', 'scipy.stats', 'geopandas', 'torch') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
