"""Sections of the page on what further commands have found."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from streetgauge.report import ReportData, render

HOSTILE = "<script>alert(1)</script>"
CHANGE = {
    "other": HOSTILE,
    "classes": 10,
    "n_areas": 48,
    "false_discovery_rate": 0.05,
    "outcomes": {"income": {"n_flagged": 3, "detectable": 2.04, "shift": -0.51}, "crime": None},
    "only": {"first": [], "second": ["X1"]},
    "seen": [],
    "notes": [],
}
SAMPLE = {
    "n_locations": 5,
    "n_areas": 2,
    "error": {"now": 2.0, "planned": 1.5, "at_random": 1.8},
    "travel": None,
    "budget": 5,
    "cost": 5.0,
}
SURVEY = {
    "survey": "survey.csv",
    "standard_error": {"survey": 2.0, "combined": 1.0},
    "n": {"survey and images": 40},
    "images_weight": 0.6,
    "area_variance": 1.0,
    "coefficients": {
        "constant": {"value": 10.0, "standard_error": 1.0},
        "income": {"value": 2.0, "standard_error": 0.5},
    },
    "unknown": [],
}


def section(page: str, name: str) -> str:
    """Give the text of a section."""
    found = re.search(rf'<details id="{name}">.*?</details>', page, re.S)
    assert found is not None
    return " ".join(re.sub("<[^>]*>", " ", found[0]).split())


def test_what_was_asked_has_a_section_with_its_finding_its_figures_and_its_map(
    make_study: Callable[..., ReportData],
) -> None:
    page = render(make_study(change=CHANGE, sample=SAMPLE, survey=SURVEY))
    assert HOSTILE not in page
    change, sample, survey = (section(page, name) for name in ("change", "sample", "survey"))
    assert "Change is detected in 3" in change
    assert "−0.5 2.0" in change
    assert "cannot be distinguished from another camera or season" in change
    assert "with images of the second year only (X1)" in change
    assert "Now 2.00 With the plan 1.50 As many at random 1.80" in sample
    assert "the median standard error is 1 with images" in survey
    assert "constant 10 1" in survey
    for name, text in {"change": change, "sample": sample, "survey": survey}.items():
        assert f"The map is {name}.png in the study’s directory" in text


def test_no_section_stands_of_what_was_not_asked_and_no_map_without_boundaries(
    make_study: Callable[..., ReportData],
) -> None:
    data = make_study(sample=SAMPLE | {"travel": 500.0})
    page = render(replace(data, areas=pd.DataFrame(index=data.areas.index)))
    for name in ("change", "survey"):
        assert f'<details id="{name}"' not in page
    text = section(page, "sample")
    assert "at random" not in text
    assert "All areas are in sample.parquet" in text
