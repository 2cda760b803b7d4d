"""Locations become areas: by key, in equal counts, whatever the order of rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.evaluation import aggregate, classes_between, cut_points, equal_count


def predictions_of(scores: dict[str, list[float]], actual: dict[str, int | None] | None = None):
    rows = [
        {
            "location_id": f"{area}-{i}",
            "area": area,
            "fold": 1 + number % 3,
            "outcome": "income",
            "score": score,
            "actual_decile": (actual or {}).get(area),
        }
        for number, (area, values) in enumerate(scores.items())
        for i, score in enumerate(values)
    ]
    return pd.DataFrame(rows).astype({"actual_decile": "Int64"})


def test_an_area_gets_the_decile_of_the_mean_score_of_its_locations():
    # Means 0, 1, ... 19, out of locations that lie far on both sides of them.
    scores = {f"A{i:02d}": [i - 7.0, i + 7.0, float(i)] for i in range(20)}
    frame = aggregate(predictions_of(scores, {"A03": 2}))
    assert frame["score"].tolist() == [float(i) for i in range(20)]
    assert frame["decile"].tolist() == [1 + i // 2 for i in range(20)]
    assert frame["n_locations"].eq(3).all()
    assert frame["fold"].tolist() == [1 + i % 3 for i in range(20)]
    assert frame.set_index("area")["actual_decile"].dropna().to_dict() == {"A03": 2}
    assert frame["decile"].dtype == frame["actual_decile"].dtype == "Int64"


def test_the_order_of_rows_changes_no_bit():
    rng = np.random.default_rng(1)
    scores = {f"A{i:02d}": rng.normal(size=9).tolist() for i in range(40)}
    ordered = predictions_of(scores, {area: 1 + i % 10 for i, area in enumerate(scores)})
    shuffled = ordered.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(aggregate(ordered), aggregate(shuffled), check_exact=True)


def test_outcomes_are_cut_each_on_its_own():
    one = predictions_of({f"A{i}": [float(i)] for i in range(10)})
    other = one.assign(outcome="crime", score=-100 * one["score"])
    frame = aggregate(pd.concat([one, other])).set_index(["outcome", "area"])["decile"]
    assert frame["income"].tolist() == list(range(1, 11))
    assert frame["crime"].tolist() == list(range(10, 0, -1))


@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=11, max_size=300, unique=True),
    classes=st.integers(2, 10),
)
def test_without_ties_the_cut_has_equal_counts_in_the_order_of_the_values(values, classes):
    part = equal_count(values, classes)
    counts = np.bincount(part, minlength=classes + 1)[1:]
    # qcut's rule: the parts' edges lie on n - 1 steps, so counts may differ by two.
    assert counts.min() >= (len(values) - 1) // classes
    assert counts.max() <= (len(values) - 1) // classes + 2
    assert (np.diff(part[np.argsort(values)]) >= 0).all()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_ties_share_a_part_and_are_biased_neither_way(values):
    part = equal_count(values)
    assert ((part >= 1) & (part <= 10)).all()
    assert pd.Series(part).groupby(values).nunique().max() == 1
    # Turned round, position p becomes n - 1 - p: parts mirror, up to where an edge is hit.
    mirrored = 11 - equal_count([-value for value in values])
    assert np.abs(part - mirrored).max() <= 1


@pytest.mark.parametrize("size", [1, 2, 50])
def test_scores_that_are_all_equal_land_in_the_middle(size):
    assert set(equal_count([0.25] * size).tolist()) == {5}


@pytest.mark.parametrize("rule", ["mean-score", "mean-decile"])
def test_what_is_cut_is_cut_over_the_areas_with_an_actual_decile(rule):
    # The 40 without any score high: among all 80, those that are known would lie in the lower half.
    scores = {f"A{i:02d}": [float(i), float(i)] for i in range(80)}
    actual = {f"A{i:02d}": 1 + i // 4 for i in range(40)}
    found = aggregate(predictions_of(scores, actual), rule).set_index("area")
    known = found["actual_decile"].notna()
    assert (found.loc[known, "decile"] == found.loc[known, "actual_decile"]).all()
    assert (found.loc[~known, "decile"] == 10).all()  # that of the nearest among the known


def test_a_split_area_has_no_fold():
    rows = predictions_of({"A": [1.0, 2.0], "B": [3.0, 4.0]})
    rows.loc[rows["area"] == "A", "fold"] = [1, 2]
    with pytest.raises(InputError, match="two folds"):
        aggregate(rows)
    frame = aggregate(rows, split_areas=["A"]).set_index("area")
    assert frame["fold"].to_dict() == {"A": 0, "B": 2}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="score"), "no column 'score'"),
        (lambda f: f.assign(score=np.nan), "2 rows have no 'score'"),
        (lambda f: f.assign(area=["A", None]), "1 rows have no 'area'"),
        (lambda f: f.assign(location_id="same"), "same' appears more than once"),
        (lambda f: f.assign(area="A", fold=[1, 2]), "'A' has two folds"),
        (
            lambda f: f.assign(area="A", fold=1, actual_decile=[3, 4]),
            "'A' has two actual deciles",
        ),
    ],
)
def test_what_cannot_be_aggregated_is_refused(change, words):
    with pytest.raises(InputError, match=words):
        aggregate(change(predictions_of({"A": [1.0], "B": [2.0]})))


def test_further_scores_become_weighted_means_of_the_areas():
    given = predictions_of({"A": [1.0, 2.0], "B": [3.0]})
    given = given.assign(score_kernel=[4.0, 8.0, 6.0])
    weights = pd.Series([3.0, 1.0, 1.0], given["location_id"])
    found = aggregate(given, weights=weights, further=["score_kernel"])
    assert found["score_kernel"].tolist() == [5.0, 6.0]
    assert found["score"].tolist() == [1.25, 3.0]


def test_a_rule_that_is_not_known_is_refused():
    with pytest.raises(InputError, match="'vote' is not known"):
        aggregate(predictions_of({"A": [1.0]}), rule="vote")


def test_cut_points_lie_between_the_held_out_areas_of_neighbouring_classes() -> None:
    areas = pd.DataFrame(
        {
            "area": list("abcdef"),
            "outcome": "income",
            "fold": [1, 1, 2, 2, 0, 1],  # of fold 0 no area was held out
            "score": [1.0, 2.0, 4.0, 7.0, 100.0, 200.0],
            "decile": pd.array([1, 1, 2, 4, 3, 3], dtype="Int64"),
            "actual_decile": pd.array([1, 2, 3, 4, 4, pd.NA], dtype="Int64"),
        }
    )
    borders = cut_points(areas, classes=4)["income"]
    assert borders == [3.0, 5.5, 5.5]  # nothing is in class 3
    assert classes_between([-9, 3, 3.1, 5.5, 5.6], borders).tolist() == [1, 1, 2, 2, 4]
    lowest = cut_points(areas[areas["decile"] > 1], classes=4)["income"]
    assert classes_between([-1e300, 5, 6], lowest).tolist() == [2, 2, 4]  # as there, no 1
