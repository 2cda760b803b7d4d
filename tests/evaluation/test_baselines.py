"""Baselines know the other folds' labels, and nothing of their own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from small_worlds import nearest
from streetgauge.classes import equal_count
from streetgauge.evaluation.baselines import Folds, constant


def world(n=600, seed=2, folds=5):
    """Actual deciles that have nothing to do with where an area is."""
    rng = np.random.default_rng(seed)
    index = pd.Index([f"A{i:04d}" for i in range(n)], name="area")
    actual = pd.Series(rng.integers(1, 11, n), index, dtype="Int64")
    fold = pd.Series(rng.integers(1, folds + 1, n), index)
    place = pd.DataFrame(rng.uniform(0, 1e4, (n, 2)), index, columns=["x", "y"])
    return actual, fold, place


def test_the_constant_is_the_median_of_the_other_folds():
    actual = pd.Series([1, 1, 1, 9, 9, 10], list("abcdef"), dtype="Int64")
    fold = pd.Series([1, 1, 1, 2, 2, 2], list("abcdef"))
    assert constant(actual, fold).tolist() == [9, 9, 9, 1, 1, 1]


def test_the_constant_is_a_decile_even_where_two_are_in_the_middle():
    actual = pd.Series([5, 6, 1], list("abc"), dtype="Int64")
    assert constant(actual, pd.Series([1, 1, 2], list("abc")))["c"] == 5


def test_labels_of_the_held_out_fold_do_not_leak():
    # Labels are unrelated to place: whoever finds the own area among the neighbours gets all right.
    actual, fold, place = world()
    score = nearest(actual, fold, place, neighbours=1)
    assert (score == actual.astype(float)).mean() < 0.2


def test_a_method_is_never_given_an_area_that_it_is_asked_for():
    actual, fold, _ = world(n=60)
    whole = pd.DataFrame({"area": actual.index, "decile": actual.to_numpy(int)})
    training_areas = pd.concat(
        [whole.assign(fold=f) for f in fold.unique()]
    )  # all of them, wrongly
    told = []
    Folds(actual, fold, training_areas).predict(
        lambda training, query: told.append((training, query)) or 0.0
    )
    assert len(told) == fold.nunique()
    for training, query in told:
        assert not training.index.isin(query).any()
        assert len(training) + len(query) == 60


def test_other_labels_in_the_held_out_fold_change_none_of_its_scores():
    actual, fold, place = world()
    mine = fold == 3
    other = actual.where(~mine, 11 - actual)
    before, after = (nearest(a, fold, place) for a in (actual, other))
    pd.testing.assert_series_equal(before[mine], after[mine])
    assert (before[~mine] != after[~mine]).any()
    assert (constant(other, fold)[mine] == constant(actual, fold)[mine]).all()


def test_where_position_decides_all_the_nearest_areas_know_it():
    _, fold, place = world(n=2000)
    actual = pd.qcut(place["x"], 10, labels=False).add(1).astype("Int64")
    found = pd.Series(equal_count(nearest(actual, fold, place)), actual.index)
    assert (found - actual).abs().mean() < 0.3
    assert found.value_counts().between(170, 230).all()  # equal counts, like the predictions


def test_the_nearest_areas_are_those_with_an_actual_decile():
    place = pd.DataFrame({"x": [0.0, 1, 2, 9], "y": 0.0}, list("abcd"))
    fold = pd.Series([1, 2, 2, 2], list("abcd"))
    actual = pd.Series([5, None, 7, 9], list("abcd"), dtype="Int64")
    assert nearest(actual, fold, place, neighbours=1)["a"] == 7
    assert nearest(actual, fold, place, weighted=False)["a"] == 8
    weighted = (7 / 2 + 9 / 9) / (1 / 2 + 1 / 9)  # by one over the distance
    assert nearest(actual, fold, place)["a"] == pytest.approx(weighted)


def test_an_area_without_a_position_gets_the_mean_and_is_no_neighbour():
    place = pd.DataFrame({"x": [0.0, 1, 2], "y": 0.0}, list("abc"))
    fold = pd.Series([1, 2, 2, 2, 1], list("abcde"))
    actual = pd.Series([5, 2, 4, 9, 1], list("abcde"), dtype="Int64")
    score = nearest(actual, fold, place, weighted=False)  # d and e have no place
    assert score["a"] == 3
    assert score["e"] == 5


def test_the_order_of_rows_and_of_coordinates_does_not_matter():
    actual, fold, place = world(n=300)
    place = place.round(-3)  # many areas equally far away
    order = np.random.default_rng(0).permutation(300)
    one = nearest(actual, fold, place)
    two = nearest(actual.iloc[order], fold, place.iloc[order[::-1]])
    pd.testing.assert_series_equal(one, two.sort_index(), check_names=False)


def others(actual, fold):
    """What networks of folds train on, as a table."""
    rows = [
        pd.DataFrame(
            {"fold": part, "area": actual.index[fold != part], "decile": actual[fold != part]}
        )
        for part in fold.unique()
    ]
    return pd.concat(rows, ignore_index=True).sample(frac=1, random_state=0)


def test_given_that_the_other_folds_were_trained_on_nothing_changes():
    actual, fold, place = world()
    training_areas = others(actual, fold)
    for neighbours in (1, 5):
        before = nearest(actual, fold, place, neighbours=neighbours)
        after = nearest(actual, fold, place, neighbours=neighbours, training_areas=training_areas)
        pd.testing.assert_series_equal(before, after, check_exact=True)
    pd.testing.assert_series_equal(constant(actual, fold), constant(actual, fold, training_areas))


def test_an_area_that_the_network_did_not_learn_from_is_nobodys_neighbour():
    # Position decides all, but what lies within 1 km of a tested area was excluded.
    _, fold, place = world(n=1500)
    actual = pd.qcut(place["x"], 10, labels=False).add(1).astype("Int64")
    distance = (place["x"].to_numpy()[:, None] - place["x"].to_numpy()).__abs__()
    tested = (fold == 1).to_numpy() & (place["x"] < 500).to_numpy()
    far = (distance[:, tested] > 1000).all(axis=1)
    training_areas = pd.DataFrame({"fold": 1, "area": actual.index[far], "decile": actual[far]})
    score = nearest(
        actual[tested], fold[tested], place, neighbours=1, training_areas=training_areas
    )
    assert score.min() == actual[far].min() > actual[tested].max()


def test_areas_that_are_never_tested_are_trained_on():
    actual = pd.Series([5, 1], list("ab"), dtype="Int64")
    fold = pd.Series([1, 1], list("ab"))
    place = pd.DataFrame({"x": [0.0, 10, 1, 9], "y": 0.0}, list("abcd"))
    training_areas = pd.DataFrame({"fold": 1, "area": ["c", "d"], "decile": [4, 8]})
    assert nearest(actual, fold, place, neighbours=1, training_areas=training_areas).tolist() == [
        4,
        8,
    ]
    assert constant(actual, fold, training_areas).tolist() == [4, 4]
    assert constant(actual, fold, training_areas.assign(fold=2)).isna().all()


def test_with_one_fold_there_is_nothing_to_learn_from():
    actual, fold, place = world(folds=1)
    assert constant(actual, fold).isna().all()
    assert nearest(actual, fold, place).isna().all()


@pytest.mark.parametrize("neighbours", [1, 5, 10_000])
def test_any_number_of_neighbours_gives_every_area_a_decile(neighbours):
    actual, fold, place = world(n=80)
    assert nearest(actual, fold, place, neighbours=neighbours).between(1, 10).all()
