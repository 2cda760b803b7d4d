"""Sums of draws are those of plain loops, and areas are drawn as they were held out."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from small_worlds import nearest
from streetgauge.errors import InputError
from streetgauge.evaluation import equal_count
from streetgauge.evaluation.metrics import cells, measure
from streetgauge.evaluation.resample import Sums, draw_units
from streetgauge.evaluation.scheme import describe_scheme
from streetgauge.settings import EvaluationSettings, FoldSettings

AREAS = pd.Index([f"A{i:02d}" for i in range(36)], name="area")
PLACE = pd.DataFrame(
    {"x": [100.0 * (i % 6) for i in range(36)], "y": [100.0 * (i // 6) for i in range(36)]}, AREAS
)
ABOUT = pd.DataFrame({"district": [f"D{i // 6}" for i in range(36)]}, AREAS)


def test_sums_are_those_of_a_loop_over_the_drawn_units():
    rng = np.random.default_rng(3)
    unit, weight = rng.integers(0, 7, 50), rng.uniform(0, 2, 50)
    cell, value = rng.integers(-1, 4, 50), rng.normal(size=50)
    sums = Sums(unit, weight)
    sums.add("x", cell, 4, value)
    sums.add("n", 0, 1)
    found = sums.drawn(30, np.random.default_rng(8))
    picks = np.random.default_rng(8).integers(0, 7, (30, 7))
    for d in range(30):
        expected, count = np.zeros(4), 0.0
        for u in picks[d]:
            for i in np.flatnonzero(unit == u):
                count += weight[i]
                if cell[i] >= 0:
                    expected[cell[i]] += weight[i] * value[i]
        np.testing.assert_allclose(found["x"][d], expected)
        np.testing.assert_allclose(found["n"][d], count)
    np.testing.assert_allclose(sums.totals()["n"], weight.sum())


def test_draws_do_not_depend_on_how_many_are_made_at_a_time(monkeypatch):
    sums = Sums(np.arange(40))
    sums.add("n", np.arange(40) % 5, 5)
    at_once = sums.drawn(60, np.random.default_rng(1))["n"]
    monkeypatch.setattr("streetgauge.evaluation.resample.CHUNK", 400)
    in_parts = sums.drawn(60, np.random.default_rng(1))["n"]
    assert (at_once.sum(1) == 40).all()
    assert (in_parts.sum(1) == 40).all()
    np.testing.assert_allclose(at_once.std(0), in_parts.std(0), rtol=0.6)


def test_errors_that_districts_share_make_the_block_bootstrap_wider():
    rng = np.random.default_rng(0)
    district = np.repeat(np.arange(40), 25)
    wrong = np.repeat(rng.integers(0, 4, 40), 25)  # all areas of a district are as far off
    spread = []
    for unit in (np.arange(1000), district):
        sums = Sums(unit)
        sums.add("error", 0, 1, wrong)
        sums.add("n", 0, 1)
        drawn = sums.drawn(2000, np.random.default_rng(1))
        spread.append((drawn["error"] / drawn["n"]).std())
    assert spread[1] == pytest.approx(wrong.std() / np.sqrt(40), rel=0.1)  # as 40 of them are
    assert spread[0] == pytest.approx(wrong.std() / np.sqrt(1000), rel=0.1)


def test_nothing_to_draw_is_no_error():
    sums = Sums(np.zeros(0, np.int64))
    sums.add("t", np.zeros(0, np.int64), 100)
    tables = sums.drawn(5, np.random.default_rng(0))["t"].reshape(5, 10, 10)
    assert np.isnan(measure(tables)["mae"]).all()


@pytest.mark.parametrize(
    ("folds", "unit", "n"),
    [
        ({}, "areas", 36),
        ({"unit": "location"}, "areas", 36),
        ({"scheme": "blocks", "block": 200.0}, "blocks", 9),
        ({"scheme": "leave-one-group-out", "group": "district"}, "district", 6),
        ({"unit": "district"}, "district", 6),
    ],
)
def test_areas_are_drawn_with_those_that_they_were_held_out_with(folds, unit, n):
    scheme = describe_scheme(FoldSettings(**folds), 3)
    code, record = draw_units(AREAS, EvaluationSettings(), scheme, PLACE, ABOUT)
    assert (record["unit"], record["n"], record["note"]) == (unit, n, None)
    assert code.nunique() == n
    shuffled = AREAS[np.random.default_rng(0).permutation(36)]
    again, _ = draw_units(shuffled, EvaluationSettings(), scheme, PLACE, ABOUT)
    pd.testing.assert_series_equal(again.sort_index(), code)


def test_blocks_can_be_asked_for_under_random_folds():
    settings = EvaluationSettings(bootstrap="blocks", block=200.0)
    code, record = draw_units(AREAS, settings, describe_scheme(FoldSettings(), 5), PLACE)
    assert record == {"unit": "blocks", "side": 200.0, "n": 9, "note": None}
    assert code.value_counts().eq(4).all()
    settings = EvaluationSettings(bootstrap="district")
    code, record = draw_units(AREAS, settings, {}, None, ABOUT)
    assert code.groupby(ABOUT["district"]).nunique().eq(1).all()
    assert record == {"unit": "district", "side": None, "n": 6, "note": None}


def test_a_handful_of_districts_is_too_few_and_it_says_so():
    about = pd.DataFrame({"district": ["N"] * 20 + ["S"] * 16}, AREAS)
    code, record = draw_units(AREAS, EvaluationSettings(bootstrap="district"), {}, None, about)
    assert record["unit"] == "areas"
    assert record["note"].startswith("only 2 of district")
    assert code.nunique() == 36


def test_an_area_without_a_position_or_a_district_is_drawn_alone():
    settings = EvaluationSettings(bootstrap="blocks", block=100.0)
    code, _ = draw_units(AREAS, settings, {}, PLACE.drop(AREAS[:2]))
    assert code[AREAS[0]] != code[AREAS[1]]
    about = ABOUT.assign(district=ABOUT["district"].where(~ABOUT.index.isin(AREAS[:2])))
    code, record = draw_units(AREAS, EvaluationSettings(bootstrap="district"), {}, None, about)
    assert code[AREAS[0]] != code[AREAS[1]]
    assert record["n"] == 8


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bootstrap": "blocks"}, "blocks need a side"),
        ({"bootstrap": "distrcit"}, "no column 'distrcit'.*district"),
    ],
)
def test_what_cannot_be_drawn_is_refused(settings, words):
    with pytest.raises(InputError, match=words):
        draw_units(AREAS, EvaluationSettings(**settings), {}, PLACE, ABOUT)


def test_on_real_boroughs_areas_drawn_one_by_one_promise_too_much(shared_data):
    london = shared_data / "london"
    shapes = f"zip://{london / 'LSOA_2011_London_gen_MHW.zip'}!LSOA/LSOA_2011_London_gen_MHW.shp"
    areas = gpd.read_file(shapes).set_index("LSOA11CD")
    income = pd.read_csv(
        london / "modelled-household-income-estimates-lsoa.csv", encoding="latin-1", dtype=str
    )
    income = income.set_index("Code")["Mean 2012/13"].str.replace(r"[^0-9]", "", regex=True)
    actual = pd.Series(equal_count(income.reindex(areas.index).astype(float)), areas.index)
    middle = areas.geometry.centroid
    place = pd.DataFrame({"x": middle.x, "y": middle.y}, areas.index)
    fold = pd.Series(np.random.default_rng(0).integers(1, 6, len(areas)), areas.index)
    guess = pd.Series(equal_count(nearest(actual, fold, place)), areas.index)
    width = {}
    for how in ({}, {"bootstrap": "blocks", "block": 5_000.0}, {"bootstrap": "district"}):
        about = pd.DataFrame({"district": areas["LAD11NM"]})
        unit, record = draw_units(areas.index, EvaluationSettings(**how), {}, place, about)
        sums = Sums(unit)
        sums.add("table", cells(actual, guess, 10), 100)
        drawn = sums.drawn(500, np.random.default_rng(1))["table"].reshape(-1, 10, 10)
        low, high = np.quantile(measure(drawn, ["mae"])["mae"], [0.05, 0.95])
        width[record["unit"]] = high - low
        assert record["n"] == {"areas": 4835, "blocks": 79, "district": 33}[record["unit"]]
    assert width["blocks"] > 2 * width["areas"]
    assert width["district"] > 2.5 * width["areas"]
