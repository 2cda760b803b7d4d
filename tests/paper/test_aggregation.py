"""From locations to areas: the README's rule, the code's rule, and three of predicted deciles."""

from __future__ import annotations

import statistics
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streetgauge.evaluation import aggregate, equal_count

RULES = ("mean-score", "mean-decile", "mean", "median", "majority")


def frame_of(rows):
    """Rows (area, score, decile) of one outcome, each a location."""
    frame = pd.DataFrame(rows, columns=["area", "score", "decile"])
    frame["location_id"] = [f"L{i:04d}" for i in range(len(frame))]
    return frame.assign(fold=1, outcome="income", actual_decile=pd.array([pd.NA] * len(frame)))


def equal_parts(values, classes):
    """Parts of equal count by pandas' ranks; ties go where the middle one of them would."""
    position = pd.Series(values).rank(method="average") - 1
    if position.min() == position.max():
        return np.full(len(position), -(-classes // 2))
    part = np.ceil(classes * position / (len(position) - 1) - 1e-9).astype(int)
    return part.clip(1, classes).to_numpy()


def plainly(frame, rule, classes):
    """The same, area by area, with Python's own round: halves to the even number."""
    frame = frame.assign(part=equal_parts(frame["score"], classes))
    found = {}
    for area, rows in frame.groupby("area"):
        said = rows["decile"].tolist()
        if rule == "mean-decile":
            found[area] = round(sum(rows["part"].tolist()) / len(rows))
        elif rule == "mean":
            found[area] = round(sum(said) / len(said))
        elif rule == "median":
            found[area] = round(statistics.median(said))
        elif rule == "majority":
            counts = Counter(said)
            tied = [k for k in counts if counts[k] == max(counts.values())]
            mean = sum(said) / len(said)
            found[area] = min(tied, key=lambda k: (round(abs(k - mean), 9), k))
        else:
            found[area] = statistics.fmean(rows["score"])
    if rule == "mean-score":
        return dict(zip(found, equal_parts(list(found.values()), classes).tolist(), strict=True))
    return found


@st.composite
def cities(draw):
    classes = draw(st.integers(2, 12))
    row = st.tuples(
        st.sampled_from("ABCDEFG"), st.integers(-8, 8).map(float), st.integers(1, classes)
    )
    return draw(st.lists(row, min_size=1, max_size=60)), classes


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=60, deadline=None)
@given(case=cities())
def test_a_rule_is_what_a_plain_loop_gives(rule, case):
    rows, classes = case
    frame = frame_of(rows)
    found = aggregate(frame, rule, classes).set_index("area")["decile"].to_dict()
    assert found == plainly(frame, rule, classes)


@pytest.mark.parametrize(
    ("rule", "deciles", "expected"),
    [
        ("mean", [4, 5], 4),  # halves to the even number, down
        ("mean", [5, 6], 6),  # and up
        ("median", [1, 4, 5, 10], 4),
        ("median", [1, 5, 6, 10], 6),
        ("majority", [1, 1, 9, 9, 8], 9),  # mean 5.6: 9 is nearer than 1
        ("majority", [3, 3, 7, 7], 3),  # equally near: the lower
    ],
)
def test_halves_and_ties_go_where_documented(rule, deciles, expected):
    found = aggregate(frame_of([("A", 0.0, k) for k in deciles]), rule)
    assert found["decile"].tolist() == [expected]


def city(seed, areas=500):
    """Locations whose scores differ within areas as much as areas do; 1 to 39 in an area."""
    rng = np.random.default_rng(seed)
    area = np.repeat(np.arange(areas), rng.integers(1, 40, areas))
    score = rng.normal(size=areas)[area] + rng.normal(size=len(area))
    names = [f"E{code:04d}" for code in rng.permutation(areas)[area]]
    rows = zip(names, score.tolist(), rng.integers(1, 11, len(area)).tolist(), strict=True)
    return frame_of(list(rows)).sample(frac=1, random_state=seed)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mean_score_and_mean_decile_are_those_of_pandas_qcut(seed):
    frame = city(seed)
    mean = frame.groupby("area")["score"].mean()
    by_score = pd.qcut(mean, 10, labels=range(1, 11)).astype(int)
    tenth = pd.qcut(frame["score"], 10, labels=range(1, 11)).astype(int)
    by_decile = tenth.groupby(frame["area"]).mean().round().astype(int)
    for rule, expected in (("mean-score", by_score), ("mean-decile", by_decile)):
        found = aggregate(frame, rule).set_index("area")["decile"]
        assert found.to_dict() == expected.to_dict()
    assert (by_score != by_decile).mean() > 0.3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rounded_mean_median_and_majority_are_those_of_numpy(seed):
    frame = city(seed)
    deciles = frame.groupby("area")["decile"]
    found = {rule: aggregate(frame, rule).set_index("area")["decile"] for rule in RULES[2:]}
    assert found["mean"].to_dict() == np.rint(deciles.mean()).to_dict()
    assert found["median"].to_dict() == np.rint(deciles.median()).to_dict()
    for area, own in deciles:
        counts = np.bincount(own, minlength=11)
        assert counts[found["majority"][area]] == counts.max()


def test_a_hundredth_is_extreme_by_the_mean_of_deciles_and_a_tenth_by_the_mean_score():
    # Locations differ within areas as much as areas do.
    rng = np.random.default_rng(0)
    areas, each = 2000, 27
    score = np.repeat(rng.normal(size=areas), each) + rng.normal(size=areas * each)
    frame = frame_of(
        list(
            zip(
                np.repeat([f"A{i:04d}" for i in range(areas)], each),
                score,
                [1] * len(score),
                strict=True,
            )
        )
    )
    by_score = aggregate(frame, "mean-score")["decile"].value_counts(normalize=True)
    by_decile = aggregate(frame, "mean-decile")["decile"].value_counts(normalize=True)
    for extreme in (1, 10):
        assert by_score[extreme] == pytest.approx(0.1, abs=0.001)
        assert 0.005 < by_decile[extreme] < 0.02


@pytest.mark.parametrize("size", [10, 11, 85, 101, 483, 4835])
def test_without_ties_the_cut_is_that_of_pandas(size):
    values = np.random.default_rng(size).permutation(size) * 3.0
    expected = pd.qcut(values, 10, labels=False) + 1
    np.testing.assert_array_equal(equal_count(values), expected)
