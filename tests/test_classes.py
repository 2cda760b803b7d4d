"""The number of classes goes through the whole chain, from the official figures to the page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from small_worlds import change
from streetgauge.classes import crowded, equal_count, like_counts
from streetgauge.io.files import read_metadata
from streetgauge.settings import read_settings

SIMULATED = """
[features]
source = "simulated"
dimension = 16
views = 2
signal = 0.8
"""


@pytest.fixture
def plain(grid: Path) -> Path:
    """Give a fresh study with two outcomes, in one kind of folds."""
    change(grid, "k = 3", "k = 3\nother_folds = false")
    return grid


@pytest.fixture
def finished_plain(finished: Path) -> Path:
    """Give a study with two outcomes of which the features are made."""
    change(finished, "k = 3", "k = 3\nother_folds = false")
    return finished


def with_classes(study: Path, section: str, *, simulated: bool = False) -> Path:
    text = (study / "study.toml").read_text()
    if simulated:
        text = re.sub(r"\[features\].*?(?=\n\[folds\])", SIMULATED, text, flags=re.S)
    (study / "study.toml").write_text(f"{text}\n[deciles]\n{section}\n")
    return study


def page_of(study: Path) -> tuple[str, dict]:
    page = (study / "report.html").read_text("utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    payload = json.loads(found.group(1))
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", text).split()), payload


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 4, 5])
def test_every_stage_has_the_classes_of_the_study(
    classes: int, finished_plain: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    grid = with_classes(finished_plain, f"classes = {classes}", simulated=classes == 4)
    code, out, err = run("run", grid)
    assert code == 0, err
    assert f"{classes} classes" in out + err
    # Another number of classes makes everything anew but the features.
    assert ("features: up to date" in err) == (classes != 4)
    for stage in ("outcomes", "train", "areas", "report"):
        assert f"{stage}: up to date" not in err
    all_of_them = set(range(1, classes + 1))
    outcomes = pd.read_parquet(grid / "outcomes.parquet")
    for name in ("income", "illness"):
        counts = outcomes[f"{name}_decile"].value_counts()
        assert set(counts.index) == all_of_them
        assert counts.max() - counts.min() <= 1
    assert read_metadata(grid / "outcomes.parquet")["income"]["classes"] == classes
    predictions = pd.read_parquet(grid / "predictions.parquet")
    shares = [f"p{k}" for k in range(1, classes + 1)]
    assert [c for c in predictions if re.fullmatch(r"p\d+", c)] == shares
    assert np.allclose(predictions[shares].sum(axis=1), 1)
    assert set(predictions["decile"]) <= all_of_them
    areas = pd.read_parquet(grid / "areas.parquet")
    assert set(areas["decile"]) == all_of_them
    assert areas["high"].max() <= classes
    metrics = json.loads((grid / "metrics.json").read_text())
    assert metrics["classes"] == classes
    income = metrics["outcomes"]["income"]
    assert np.shape(income["confusion"]) == (classes, classes)
    assert income["metrics"]["spearman"]["value"] > 0.6
    bundle = json.loads((grid / "model" / "all" / "bundle.json").read_text())
    assert bundle["classes"] == classes
    if classes == 2:
        _the_page_speaks_of_classes_and_leaves_out_what_cannot_fail(grid)


def _the_page_speaks_of_classes_and_leaves_out_what_cannot_fail(study: Path) -> None:
    text, payload = page_of(study)
    findings, settings = text.split("All settings")
    assert "decile" not in findings
    assert "deciles.classes 2" in settings
    assert "1 is the worst-off half, 2 the best-off" in text
    assert "Same class" in text
    assert "Within 1" not in text
    assert (payload["unit"], payload["classes"], payload["apart"]) == ("class", 2, 1)


def test_as_many_areas_are_predicted_in_each_decile_of_the_nation_as_are_in_it(
    plain: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    table = pd.read_csv(plain / "outcomes.csv")
    # Twice as many areas elsewhere, all of them poorer and healthier than the study's median.
    rest = pd.DataFrame({"code": [f"W{i:08d}" for i in range(98)]})
    rest = rest.assign(income=np.arange(98) / 4, illness=np.arange(98) / 4)
    pd.concat([table, rest]).to_csv(plain / "outcomes.csv", index=False)
    with_classes(plain, 'classes = 5\nwithin = "nation"')
    code, _, err = run("run", plain)
    assert code == 0, err
    outcomes = pd.read_parquet(plain / "outcomes.parquet")
    areas = pd.read_parquet(plain / "areas.parquet")
    for name in ("income", "illness"):
        actual = outcomes[f"{name}_decile"].value_counts()
        assert actual.max() - actual.min() > 5
        predicted = areas[areas["outcome"] == name]["decile"].value_counts()
        assert predicted.to_dict() == actual.to_dict()
    text, _ = page_of(plain)
    assert "rank of an area among all areas of each statistic’s file: 1 is the worst-off" in text


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ("classes = 1", "deciles.classes: 1 is not allowed"),
        ("classes = 21", "deciles.classes: 21 is not allowed"),
        ('within = "country"', "deciles.within: 'country' "),
        ("klasses = 5", "deciles.klasses: this key is not known; did you mean 'classes'"),
        ('weights = { file = "x.csv", area = "a" }', "deciles.weights.population: this key is"),
    ],
)
def test_what_is_wrong_in_the_section_is_named(
    section: str, reason: str, grid: Path, refuse: Callable[..., str]
) -> None:
    assert reason in refuse("check", with_classes(grid, section))


def test_published_deciles_that_make_no_whole_classes_are_refused(
    grid: Path, refuse: Callable[..., str]
) -> None:
    text = (grid / "study.toml").read_text()
    more = '[outcomes.imd]\nsource = "deprivation"\nfile = "imd.csv"\ndeciles = "published"\n'
    (grid / "study.toml").write_text(f"{text}\n{more}")
    assert read_settings(grid / "study.toml").deciles.classes == 10
    assert "cannot be put together to 4 classes" in refuse("check", with_classes(grid, "classes=4"))


@pytest.mark.parametrize("classes", [2, 4, 5, 10])
def test_ties_at_the_lowest_position_are_qcut(classes: int) -> None:
    rng = np.random.default_rng(classes)
    for n in (classes, 49, 95, 4835):
        values = np.round(rng.normal(size=n), 3) + np.arange(n) * 1e-6 * (n < 100)
        expected = pd.qcut(values, classes, labels=False) + 1
        assert (equal_count(values, classes, ties="lowest") == expected).all()


def test_equal_weights_change_nothing_and_unequal_ones_share_out_the_people() -> None:
    rng = np.random.default_rng(2)
    values, people = rng.normal(size=1000), rng.integers(500, 3000, 1000)
    flat = equal_count(values, 10, ties="lowest", weights=np.full(1000, 1500.0))
    assert (flat == equal_count(values, 10, ties="lowest")).all()
    cut = equal_count(values, 10, ties="lowest", weights=people)
    held = np.bincount(cut, weights=people)[1:]
    assert np.abs(held - people.sum() / 10).max() <= people.max()
    assert np.abs(np.bincount(cut)[1:] - 100).max() > 2


def test_a_value_that_fills_a_class_is_found_and_one_that_does_not_is_let_be() -> None:
    assert crowded([0.0] * 30 + list(range(1, 71)), 10) == (0.0, 30)
    assert crowded([0.0] * 9 + list(range(1, 92)), 10) is None
    assert crowded([1.0, 2.0, 3.0], 2, weights=[1, 100, 1]) is None


def test_classes_of_given_sizes_are_met_exactly_where_there_are_no_ties() -> None:
    values = np.random.default_rng(5).permutation(60).astype(float)
    counts = [0, 7, 30, 0, 23]
    assert np.bincount(like_counts(values, counts), minlength=6)[1:].tolist() == counts
    half = like_counts(values[values < 30], counts)
    assert np.bincount(half, minlength=6)[1:].tolist() == [0, 4, 15, 0, 11]
