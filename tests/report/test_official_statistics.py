"""The page says where each outcome comes from, and how it came to the study's areas."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from streetgauge.report import ReportData, render
from streetgauge.report import text as words

CRIME: dict[str, Any] = {
    "label": "Crime",
    "direction": "higher-is-better",
    "source": "deprivation",
    "vintage": "2019",
    "areas": "LSOA 2011",
    "cells": ["Crime Rank (where 1 is most deprived)", "Crime Decile"],
    "file": "File_2.xlsx",
    "sha256": "ab" * 32,
    "publisher": "Ministry of Housing",
    "licence": "Open Government Licence v3.0",
    "n_areas": 46,
    "n_missing": 2,
}
LOOKUP: dict[str, Any] = {
    "file": "exact_fit.csv",
    "sha256": "cd" * 32,
    "from": "LSOA 2011",
    "to": "LSOA 2021",
    "unchanged": 4659,
    "split": 313,
    "merged": 22,
    "irregular": 2,
    "absent": 0,
    "weights": "equal weights",
}


def texts(page: str) -> str:
    """What a reader sees, in one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_each_outcome_s_provenance_stands_in_its_row(
    make_study: Callable[..., ReportData],
) -> None:
    page = render(make_study(provenance={"crime": CRIME, "income": {"label": "Income"}}))
    table = page[page.index('class="sources"') :]
    row = next(row for row in table.split("<tr>") if "deprivation" in row)
    for key in ("label", "source", "vintage", "areas", "file", "sha256", "publisher", "licence"):
        assert CRIME[key] in row, key
    for text in ("higher is better", "Crime Rank (where 1 is most deprived), Crime Decile", "46"):
        assert text in row
    assert "not complete" in row


def test_what_a_lookup_did_is_reported_in_words_with_all_its_counts(
    make_study: Callable[..., ReportData],
) -> None:
    provenance = {"crime": CRIME | {"lookup": LOOKUP}, "income": {"label": "Income"}}
    shown = texts(render(make_study(provenance=provenance)))
    assert (
        "Crime: values of LSOA 2011 areas were carried to LSOA 2021 areas by exact_fit.csv "
        "(sha256 cdcdcdcdcdcd). Of the study’s areas: 4,659 unchanged; 313 parts of a split area, "
        "with the whole’s value; 22 merged, with the mean (equal weights); 2 redrawn irregularly, "
        "without a value." in shown
    )
    caveat = "Values of LSOA 2011 areas were carried to LSOA 2021 areas for Crime. How many"
    assert caveat in shown
    without = texts(render(make_study()))
    assert "were carried" not in without


@pytest.mark.parametrize(
    ("more", "end"),
    [
        ({"weights": "the lookup's numbers of people"}, "2 redrawn irregularly."),
        ({"absent": 1, "irregular": 0}, "; 1 not in the lookup, without a value."),
    ],
)
def test_only_what_happened_is_reported(more: dict[str, Any], end: str) -> None:
    assert words.carried({"lookup": LOOKUP | more}).endswith(end)


def test_a_lookup_that_was_not_needed_is_not_mentioned() -> None:
    assert words.carried(CRIME) == ""
