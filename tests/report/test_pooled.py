"""The page of several cities that predict each other."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from streetgauge.report import PooledCities, render_pooled
from streetgauge.report.text.pooling import pool_matrix, pool_sentences

HOSTILE = "</script ><script>alert(1)</script>"


def figure(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def result(first: str = "Leeds", second: str = "York") -> dict[str, Any]:
    """Give what pooling finds of two cities, of which the second has no labels of crime."""
    methods = {
        name: {"n_areas": 48, "spearman": figure(value), "mae": figure(2.0)}
        for name, value in {"others": 0.5, "own": 0.4, "pooled": 0.6, "best": 0.7}.items()
    }
    held = {"level": 0.9, "share": 0.875, "low": 0.75, "high": 0.95, "n_areas": 48}
    known = {"n_models": 5, "n_corrected": 5, "gain": 0.1, "methods": methods}
    known["intervals"] = held | {"mean_width": 4.25}
    blind = {"n_models": 0, "n_corrected": 0, "gain": None, "methods": {}, "intervals": None}
    pair = {"n_areas": 48, "mae": figure(2.0)}
    return {
        "cities": [{"name": name, "n_areas": 48} for name in (first, second)],
        "outcomes": ["income", "crime"],
        "classes": 10,
        "interval_level": 0.9,
        "notes": [],
        "matrix": [
            {"outcome": "income", "from": a, "to": b, "spearman": figure(value), **pair}
            for a, b, value in ((first, second, 0.31), (second, first, 0.52))
        ],
        "results": [
            {"outcome": outcome, "city": name, **(blind if outcome == "crime" else known)}
            for outcome in ("income", "crime")
            for name in (first, second)
        ],
    }


def cities(make_grid: Callable[..., Any], *names: str) -> PooledCities:
    """Give two cities whose areas have the same codes; the second's deciles are the reverse."""
    grid = make_grid()
    found = result(*names)
    tables = []
    for k, city in enumerate(found["cities"]):
        for outcome in found["outcomes"]:
            decile = np.arange(48) * 10 // 48 + 1
            decile = 11 - decile if k else decile
            rows = {"city": city["name"], "area": grid.index, "outcome": outcome, "fold": 1}
            rows |= {"actual_decile": decile, "pooled": decile, "best": decile, "n_locations": 3}
            for method in ("pooled", "best"):
                rows |= {
                    f"{method}_decile": decile,
                    f"{method}_low": np.maximum(decile - 1, 1),
                    f"{method}_high": np.minimum(decile + 2, 10),
                }
            tables.append(pd.DataFrame(rows))
    areas = {city["name"]: grid for city in found["cities"]}
    return PooledCities(found, pd.concat(tables), areas, {"income": "Household income"})


def text(page: str, name: str) -> str:
    """Give the text of a section."""
    found = re.search(rf'<details id="{name}">.*?</details>', page, re.S)
    assert found is not None
    return " ".join(re.sub("<[^>]*>", " ", found[0]).split())


def test_the_matrix_has_a_row_for_each_that_predicts_and_a_cell_for_each_city() -> None:
    rows = dict(pool_matrix(result(), "income"))
    assert [*rows] == ["Leeds", "York", "all others", "its own labels", "both", "best estimate"]
    value = {title: [cell and cell["value"] for cell in cells] for title, cells in rows.items()}
    assert value["Leeds"] == [None, 0.31]
    assert value["York"] == [0.52, None]
    assert value["best estimate"] == [0.7, 0.7]
    assert dict(pool_matrix(result(), "crime"))["both"] == [None, None]


def test_sections_have_the_matrix_and_how_often_intervals_hold(
    make_grid: Callable[..., Any],
) -> None:
    page = render_pooled(cities(make_grid))
    matrix, held = text(page, "matrix"), text(page, "intervals")
    assert "Leeds – 0.31 0.21 to 0.41" in matrix
    assert "York 0.52 0.42 to 0.62 –" in matrix
    assert "its own labels – –" in matrix  # of crime
    assert "Household income 90% 88% 75% to 95% 48 4.2" in held
    assert "crime" not in held
    assert "hold the actual class in 88% of 48 held-out areas" in text(page, "pool")
    assert "Deciles of different cities cannot be compared" in page


def test_names_of_cities_do_not_leave_their_place_and_the_page_says_where_there_is_no_map(
    make_grid: Callable[..., Any],
) -> None:
    pooled = cities(make_grid, HOSTILE, "York")
    page = render_pooled(pooled)
    assert HOSTILE not in page
    assert "<script>alert" not in page
    bare = {city: each[["name"]] for city, each in pooled.areas.items()}
    page = render_pooled(replace(pooled, areas=bare))
    assert "There is no map: the studies’ areas come from tables without boundaries" in page
    assert "cities stand next to each other" not in page


def test_a_city_without_enough_labels_is_named_with_what_its_intervals_rest_on() -> None:
    found = result()
    found["results"] = [each for each in found["results"] if each["outcome"] == "crime"]
    assert pool_sentences(found)[0].startswith("Leeds has too few labels to measure with")


def test_the_map_has_the_cities_side_by_side_and_a_card_with_the_best_estimates_interval(
    show: Callable[..., Any], make_grid: Callable[..., Any]
) -> None:
    opened = show(render_pooled(cities(make_grid)), color_scheme="light")
    assert opened.drawn().endswith(" best")
    assert opened.asked == [opened.url]
    assert opened.complaints == []
    colours = {}
    # Both cities lie in boxes of 1,000 with 120 between: 17 squares in all, of 8 and 8.
    for name, column in (("first", 0), ("second", 8.96)):
        x, y = opened.point("best", column, 0, columns=16.96, rows=6)
        colours[name] = opened.seen(x, y)
    assert colours == {"first": (165, 0, 38), "second": (49, 54, 149)}  # deciles 1 and 10
    opened.page.fill("#find", "York: A003")
    opened.page.press("#find", "Enter")
    card = opened.page.inner_text("#card")
    assert "Square 3" in card
    assert "9 to 10" in card
