"""What each source adds, in a world where that is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from streetgauge.evaluation.sources import compare_sources
from streetgauge.report.figures.study import sources as sketch_of
from streetgauge.report.text import source_sentences
from streetgauge.settings import EvaluationSettings

N = 200
CODES = pd.Index([f"a{i:03d}" for i in range(N)], name="area")


def compared(scores: dict[str, Any], share: float = 1.0, draws: int = 200) -> dict[str, Any]:
    """Compare sources that score areas whose deciles are known; ``b`` is in a share of them."""
    decile = np.arange(N) * 10 // N + 1
    frame = pd.DataFrame({"actual_decile": decile, "n_locations": 3, "fold": 1}, CODES)
    frame["actual_decile"] = frame["actual_decile"].astype("Int64")
    tables = []
    for name, score in scores.items():
        table = pd.DataFrame({"sources": name, "area": CODES, "score": score, "share": 1.0})
        table.loc[table.index >= share * N, "share"] = 0.0 if name == "b" else 1.0
        tables.append(table.sample(frac=1, random_state=len(tables)))  # joined by area
    given = (pd.concat(tables), frame.sample(frac=1, random_state=9))
    rng = np.random.default_rng(0)
    found = compare_sources(*given, EvaluationSettings(draws=draws), rng, classes=10)
    assert found is not None
    return found


def metrics_of(found: dict[str, Any]) -> dict[str, Any]:
    return {"interval_level": 0.9, "outcomes": {"income": {"sources": found}}}


@pytest.fixture(scope="module")
def two() -> dict[str, Any]:
    """Give a comparison where ``a`` knows the outcome, and ``b``, of half of the areas, nothing."""
    rng = np.random.default_rng(2)
    truth, noise = np.arange(N, dtype=float), rng.permutation(N).astype(float)
    return compared({"a": truth, "b": noise, "a + b": truth}, share=0.5)


def test_a_source_that_knows_all_adds_it_and_noise_adds_exactly_nothing(
    two: dict[str, Any],
) -> None:
    assert two["together"]["spearman"]["value"] == pytest.approx(1)
    assert two["adds"]["b"]["spearman"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    alone = two["alone"]["b"]["spearman"]["value"]
    assert abs(alone) < 0.2
    assert two["adds"]["a"]["spearman"]["value"] == pytest.approx(1 - alone)
    assert two["adds"]["a"]["spearman"]["low"] > 0.7
    assert two["adds"]["a"]["mae"]["value"] > 2  # positive: less error
    assert two["without"]["a"] == two["alone"]["b"]
    assert two["best_alone"] == "a"
    assert two["over_best_alone"]["mae"]["value"] == 0
    assert two["adds"]["b"]["n_areas"] == N / 2
    assert two["adds"]["a"]["n_areas"] == N


def test_of_three_sources_each_is_also_left_out() -> None:
    rng = np.random.default_rng(1)
    truth = np.arange(N, dtype=float)
    near, far = (truth + rng.normal(0, sd, N) for sd in (30, 90))
    scores = {"a": near, "b": far, "c": -truth, "a + b": near, "a + c": far, "b + c": -truth}
    found = compared({**scores, "a + b + c": truth})
    assert found["without"]["c"] == found["alone"]["a"]
    assert found["without"]["b"] == found["alone"]["b"]
    assert found["adds"]["a"]["spearman"]["value"] == pytest.approx(2)
    sketch = sketch_of(metrics_of(found), {"income": "Income"})
    assert sketch is not None
    assert sketch.table["used"].value_counts().to_dict() == {
        "alone": 3,
        "all but it": 3,
        "all together": 1,
    }


def test_the_sentence_says_what_is_sure_and_where_a_source_is_absent(two: dict[str, Any]) -> None:
    sentence = source_sentences(metrics_of(two), {"income": "Income"})["income"]
    assert sentence.startswith("Income: alone a ρ 1.00 and b ρ ")
    assert "together ρ 1.00" in sentence
    assert "more than chance for a" in sentence
    assert "b in 100" in sentence
    chance = compared(dict.fromkeys(("a", "b", "a + b"), np.arange(N, dtype=float)))
    sentence = source_sentences(metrics_of(chance), {"income": "Income"})["income"]
    assert "which chance could have given for any of them" in sentence
    assert "Not every source" not in sentence


def test_a_study_of_one_source_has_no_such_sentence_and_no_figure() -> None:
    metrics = {"interval_level": 0.9, "outcomes": {"income": {}}}
    assert source_sentences(metrics, {"income": "Income"}) == {}
    assert sketch_of(metrics, {"income": "Income"}) is None
