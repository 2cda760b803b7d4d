"""Weights, order and bad input of the rules; what each rule computes is in tests/paper."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.evaluation import RULES, aggregate, equal_count


def frame_of(rows, classes=10):
    """Rows (area, score, decile) of one outcome, each a location."""
    frame = pd.DataFrame(rows, columns=["area", "score", "decile"])
    frame["location_id"] = [f"L{i:04d}" for i in range(len(frame))]
    return frame.assign(fold=1, outcome="income", actual_decile=pd.array([pd.NA] * len(frame)))


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_knows_the_order_of_rows(rule):
    rng = np.random.default_rng(2)
    rows = [(f"A{i % 40}", rng.normal(), int(rng.integers(1, 11))) for i in range(400)]
    frame = frame_of(rows)
    weights = pd.Series(rng.integers(0, 5, 400).astype(float), frame["location_id"])
    one = aggregate(frame, rule, weights=weights)
    two = aggregate(
        frame.sample(frac=1, random_state=1), rule, weights=weights.sample(frac=1, random_state=2)
    )
    pd.testing.assert_frame_equal(one, two, check_exact=True)


@pytest.mark.parametrize("rule", RULES)
def test_a_weight_of_three_is_three_locations(rule):
    rng = np.random.default_rng(5)
    rows = [
        (f"A{i % 30:02d}", float(rng.integers(-50, 50)), int(rng.integers(1, 11)))
        for i in range(200)
    ]
    frame, times = frame_of(rows), rng.integers(1, 4, 200)
    weighted = aggregate(frame, rule, weights=pd.Series(times * 7.0, frame["location_id"]))
    copies = frame.loc[frame.index.repeat(times)]
    copies = copies.assign(location_id=[f"C{i:04d}" for i in range(len(copies))])
    repeated = aggregate(copies, rule)
    if rule == "mean-decile":  # locations are cut each once
        part = equal_count(frame["score"])
        mean = pd.Series(part * times).groupby(frame["area"]).sum()
        expected = np.rint(mean / pd.Series(times).groupby(frame["area"]).sum())
        assert weighted["decile"].tolist() == expected.astype(int).tolist()
    else:
        assert weighted["decile"].tolist() == repeated["decile"].tolist()
    np.testing.assert_allclose(weighted["score"], repeated["score"])
    assert (weighted["n_locations"] == frame.groupby("area").size().to_numpy()).all()


def test_a_location_without_people_counts_nothing_but_an_area_of_such_is_averaged_plainly():
    frame = frame_of([("A", 1.0, 1), ("A", 9.0, 1), ("B", 2.0, 1), ("B", 4.0, 1)])
    people = pd.Series({"L0000": 10.0, "L0002": 0.0})
    assert aggregate(frame, weights=people)["score"].tolist() == [1.0, 3.0]


def test_classes_of_unequal_count_are_cut_alike_by_both_rules():
    frame = frame_of([(f"A{i:02d}", float(i), 1) for i in range(20)])
    counts = {"income": [15, 5]}
    for rule in ("mean-score", "mean-decile"):
        assert aggregate(frame, rule, 2, counts)["decile"].value_counts().to_dict() == {1: 15, 2: 5}


@pytest.mark.parametrize(
    ("change", "rule", "words"),
    [
        (lambda f: f.drop(columns="decile"), "median", "no column 'decile'"),
        (lambda f: f.assign(decile=[1, 11]), "majority", "'decile' is not 1 to 10"),
        (lambda f: f.assign(actual_decile=[0, 1]), "mean-score", "'actual_decile' is not 1 to 10"),
        (
            lambda f: f.assign(**{f"p{k}": 0.1 + 0.01 * (k == 3) for k in range(1, 11)}),
            "mean-score",
            "location 'L0000' for 'income': p1 to p10 sum to 1.01, not 1",
        ),
        (
            lambda f: f.assign(**{f"p{k}": 0.1 for k in range(1, 11)}).assign(p4=[0.1, np.nan]),
            "mean-score",
            "location 'L0001' for 'income': one is missing or negative",
        ),
    ],
)
def test_what_a_rule_cannot_use_is_refused(change, rule, words):
    with pytest.raises(InputError, match=words):
        aggregate(change(frame_of([("A", 1.0, 1), ("B", 2.0, 3)])), rule)


def test_a_negative_weight_is_refused():
    frame = frame_of([("A", 1.0, 1), ("B", 2.0, 3)])
    with pytest.raises(InputError, match="'L0001'"):
        aggregate(frame, weights=pd.Series({"L0000": 1.0, "L0001": -1.0}))


def test_what_p_and_decile_hold_does_not_matter_to_the_default_rule():
    frame = frame_of([("A", 1.0, 1), ("B", 2.0, 3)])
    assert aggregate(frame.drop(columns="decile"))["decile"].tolist() == [1, 10]


def test_nothing_tested_makes_an_empty_table_with_all_columns():
    empty = frame_of([("A", 1.0, 1)]).iloc[:0]
    for rule in RULES:
        found = aggregate(empty, rule)
        assert list(found.columns)[:2] == ["area", "outcome"]
        assert found.empty
