"""What the page says of concepts: sentences from numbers, and each caveat only where it holds."""

from __future__ import annotations

from typing import Any

import pytest

from streetgauge.report import render
from streetgauge.report.gallery import Shot
from streetgauge.report.text import concept_caveats, concepts_of

LABELS = {"income": "Household income", "crime": "Crime"}
CAUSE, ALIKE, DISTRICTS = "not a cause", "go together", "Neighbours are alike"
LIGHT, FEW, WITHOUT = "Season, weather", "as few as", "Areas without images"
NETWORKS = "Names such as imagenet kite"


def row(concept: str = "edges", difference: float = 0.8, **more: Any) -> dict[str, Any]:
    return {
        "concept": concept,
        "n_areas": 300,
        "n_worst": 60,
        "n_best": 60,
        "worst": 0.1,
        "best": 0.25,
        "difference": difference,
        "low": difference - 0.2,
        "high": difference + 0.2,
        "effective": 250.0,
        "p": 0.001,
        "q": 0.004,
        "reported": True,
        **more,
    }


def estimate(value: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high}


def findings(*rows: dict[str, Any], known: int = 300, **more: Any) -> dict[str, Any]:
    readable = {
        "n_areas": 300,
        "concepts": estimate(0.61, 0.5, 0.7),
        "images": estimate(0.66, 0.6, 0.7),
        "difference": estimate(0.05, -0.02, 0.12),
    }
    return {
        "false_discovery_rate": 0.05,
        "tests": 10,
        "outcomes": {"income": {"rows": list(rows), "readable": readable, "n_areas": known}},
        "alike": [],
        "sources": {"appearance": ["edges", "sky", "greenery"], "imagenet": ["imagenet kite"]},
        **more,
    }


def test_concepts_are_named_by_which_end_shows_more() -> None:
    (each,) = concepts_of(
        findings(row("edges"), row("sky", -0.9), row("greenery", 1.2), row("hue", reported=False)),
        LABELS,
    )
    assert each["label"] == "Household income"
    assert each["sentence"] == (
        "Images of the best off areas show more greenery and edges and less sky than those of the "
        "worst off."
    )
    assert [r["name"] for r in each["rows"]] == ["greenery", "sky", "edges"]
    assert each["rows"][1]["difference"] == "−0.90"
    assert each["rows"][1]["span"] == "−1.10 to −0.70"


def test_nothing_reported_and_nothing_compared_are_different_sentences() -> None:
    (none,) = concepts_of(findings(row(reported=False)), LABELS)
    assert none["sentence"].startswith("No concept differs clearly")
    assert none["rows"] == []
    assert "too few areas" in concepts_of(findings(), LABELS)[0]["sentence"]


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (estimate(0.05, -0.02, 0.12), "not clearly different"),
        (estimate(0.05, 0.02, 0.12), "the full model explains more"),
        (estimate(-0.05, -0.12, -0.02), "the concepts explain more"),
    ],
)
def test_the_readable_model_stands_next_to_the_full_one(
    difference: dict[str, Any], words: str
) -> None:
    found = findings(row())
    found["outcomes"]["income"]["readable"]["difference"] = difference
    (each,) = concepts_of(found, LABELS)
    assert "ρ 0.61 (0.50 to 0.70) in the same folds, the full model 0.66" in each["readable"]
    assert words in each["readable"]
    found["outcomes"]["income"]["readable"] = None
    assert concepts_of(found, LABELS)[0]["readable"] == ""


@pytest.mark.parametrize(
    ("words", "there", "absent"),
    [
        (CAUSE, findings(row()), findings(row(reported=False))),
        (
            ALIKE,
            findings(row(), alike=[{"concepts": ["edges", "sky"], "spearman": -0.8}]),
            findings(row()),
        ),
        (DISTRICTS, findings(row(effective=149.0)), findings(row(effective=151.0))),
        (NETWORKS, findings(row(), row("imagenet kite")), findings(row())),
        (LIGHT, findings(row("greenery")), findings(row("greenery", reported=False), row())),
        (FEW, findings(row(n_best=29)), findings(row(n_best=30))),
        (WITHOUT, findings(row(), known=301), findings(row(), known=300)),
    ],
)
def test_each_caveat_is_there_where_it_holds_and_nowhere_else(
    words: str, there: dict[str, Any], absent: dict[str, Any]
) -> None:
    assert any(words in caveat for caveat in concept_caveats(there, LABELS))
    assert not any(words in caveat for caveat in concept_caveats(absent, LABELS))


def test_caveats_give_the_numbers() -> None:
    found = findings(row("greenery", effective=40.2, n_worst=12), known=320)
    text = " ".join(concept_caveats(found, LABELS))
    assert "40 independent areas of 300" in text
    assert "12 areas at an end" in text
    assert "20 of 320 (6%) for Household income" in text


def test_the_page_has_the_section_only_with_concepts_and_escapes_names(make_study) -> None:
    plain = render(make_study())
    assert 'id="concepts"' not in plain
    hostile = '"><script>alert(1)</script>'
    shot = Shot("L1", "a", "data:image/jpeg;base64,", 96, 72, "CC0-1.0", hostile)
    page = render(
        make_study(
            concepts=findings(row(hostile), row("edges")),
            concept_examples={hostile: {"most": [shot], "least": [shot]}},
        )
    )
    assert 'id="concepts"' in page
    assert hostile not in page
    assert "What they look like" in page
    assert "What they look like" not in render(make_study(concepts=findings(row())))
