"""What the page states of who is missing, who is misjudged, and of responsible use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from streetgauge.analysis.coverage import measure_coverage
from streetgauge.report import ReportData
from streetgauge.report.text import coverage_of, responsible_use

LABELS = {"income": "Income"}
DECILE = pd.Series([k for k in range(1, 11) for _ in range(40)], [f"a{i:03d}" for i in range(400)])


def outcome(width: float = 2.0, low: float = 0.1) -> dict[str, Any]:
    gain = {"mae": {"value": low + 0.1, "low": low, "high": low + 0.2}}
    return {"intervals": {"mean_width": width}, "gain": gain}


def coverage(is_related: bool) -> dict[str, Any]:
    """Half of the areas of decile 1, or one in ten of every decile, have no image."""
    place = DECILE.groupby(DECILE).cumcount()
    none = ((DECILE == 1) & (place < 20)) if is_related else place < 4
    found = measure_coverage((~none).astype(int), DECILE)
    return {"classes": 10, "strata": "all", "outcomes": {"income": found}}


def fairness(difference: float, reported: bool = True) -> dict[str, Any]:
    each = {
        **{"outcome": "income", "column": "zone", "group": "harbour", "measure": "bias", "n": 30},
        **{"value": difference, "others": 0.0, "difference": difference},
        **{"low": difference - 0.2, "high": difference + 0.2, "q": 0.01, "reported": reported},
    }
    return {"classes": 10, "comparisons": [each], "small": [], "without": {}, "fewest": 10}


def page(**what: Any) -> ReportData:
    nothing = pd.DataFrame()
    metrics = {"classes": 10, "outcomes": {"income": what.pop("outcome", outcome())}}
    return ReportData("City", nothing, nothing, metrics, {}, nothing, nothing, **what)


SENTENCES: list[tuple[str, Callable[[], ReportData], Callable[[], ReportData]]] = [
    (
        "interval is 5.0 of 10 deciles wide",
        lambda: page(outcome=outcome(width=5.0)),
        lambda: page(outcome=outcome(width=3.9)),
    ),
    (
        "Do not cite the images as evidence for Income",
        lambda: page(outcome=outcome(low=-0.05)),
        lambda: page(outcome=outcome(low=0.05)),
    ),
    (
        "would lack 50% of those in decile 1 of Income",
        lambda: page(coverage=coverage(is_related=True)),
        lambda: page(coverage=coverage(is_related=False)),
    ),
    (
        "Could be harmed: the areas of zone harbour, by Income",
        lambda: page(fairness=fairness(1.2)),
        lambda: page(fairness=fairness(-1.2)),  # they are predicted worse off than they are
    ),
    (
        "Could be harmed",
        lambda: page(fairness=fairness(1.2)),
        lambda: page(fairness=fairness(1.2, reported=False)),
    ),
    (
        "licence is not known",
        lambda: page(imagery={"views": 4, "licence": None}),
        lambda: page(imagery={"views": 4, "licence": "CC BY 4.0"}),
    ),
    (
        "may show faces",
        lambda: page(images={"a": [{"src": "", "alt": "", "title": ""}]}),
        lambda: page(images={}),
    ),
]


@pytest.mark.parametrize(("sentence", "so", "not_so"), SENTENCES, ids=[s[0] for s in SENTENCES])
def test_a_caveat_stands_where_its_condition_holds_and_nowhere_else(
    sentence: str, so: Callable[[], ReportData], not_so: Callable[[], ReportData]
) -> None:
    assert sentence in " ".join(responsible_use(so(), LABELS))
    assert responsible_use(not_so(), LABELS) == []


def test_of_simulated_features_nobody_may_conclude_anything() -> None:
    assert responsible_use(page(outcome=outcome(width=9.0), simulated=True), LABELS) == []


def test_a_count_that_all_outcomes_share_is_stated_once() -> None:
    one = coverage(is_related=True)
    about = coverage_of(page(coverage=one), LABELS)
    assert about is not None
    assert about["common"] == "20 of 400 areas (5%) have no image."
    assert about["sentences"]["Income"].startswith("This is not random (p = 0.001")
    assert "In decile 1, 50% (37% to 63%) of the areas have none;" in about["sentences"]["Income"]
    assert about["rows"] == {"Income": ["50%", *["0%"] * 9]}
    fewer = measure_coverage(pd.Series(1, DECILE.index[:100]), DECILE[:100])
    two = one | {"outcomes": one["outcomes"] | {"crime": fewer}}
    both = coverage_of(page(coverage=two), LABELS)
    assert both is not None
    assert both["common"] == ""
    assert both["sentences"]["crime"] == "All 100 areas have images."
    assert coverage_of(page(), LABELS) is None
