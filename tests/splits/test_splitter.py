"""The splitter works wherever scikit-learn takes a ``cv``."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_validate, permutation_test_score

from streetgauge.model import BinomialOrdinalClassifier
from streetgauge.splits import AreaSplit

rng = np.random.default_rng(0)
SIDE = 8
NAMES = np.array([f"E{i:02d}" for i in rng.permutation(SIDE * SIDE)])
OF = rng.integers(0, SIDE * SIDE, 400)
GROUPS = NAMES[OF]
Y = OF % 10 + 1
X = rng.normal(size=(400, 3)) + Y[:, None]
PLACES = pd.DataFrame(
    {"x": np.arange(SIDE * SIDE) % SIDE * 500.0, "y": np.arange(SIDE * SIDE) // SIDE * 500.0},
    index=NAMES,
)
DISTRICTS = pd.Series(["north" if y > 1500 else "south" for y in PLACES["y"]], index=NAMES)
SPLITTERS = {
    "k-fold": AreaSplit(k=3),
    "blocks": AreaSplit("blocks", block=1000.0, k=3, coordinates=PLACES),
    "buffered": AreaSplit(k=3, buffer=400.0, coordinates=PLACES),
    "districts": AreaSplit("leave-one-group-out", districts=DISTRICTS),
    "train-test": AreaSplit("train-test", test=0.3),
    "units": AreaSplit(k=2, units=DISTRICTS),
}


@pytest.mark.parametrize("name", SPLITTERS)
def test_it_is_a_cv_of_scikit_learn(name: str) -> None:
    cv = SPLITTERS[name]
    found = cross_validate(Ridge(), X, Y, groups=GROUPS, cv=cv, return_indices=True)
    assert len(found["test_score"]) == cv.get_n_splits(X, Y, GROUPS)
    assert np.isfinite(found["test_score"]).all()
    for train, test in zip(found["indices"]["train"], found["indices"]["test"], strict=True):
        assert not set(GROUPS[train]) & set(GROUPS[test])
    search = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=cv).fit(X, Y, groups=GROUPS)
    assert search.best_params_["alpha"] in (0.1, 1.0)
    assert repr(cv).startswith("AreaSplit(")


def test_it_cross_validates_this_packages_classifier() -> None:
    model = BinomialOrdinalClassifier(epochs=2, random_state=0)
    found = cross_validate(model, X, Y, groups=GROUPS, cv=AreaSplit(k=2), params={"groups": GROUPS})
    assert np.isfinite(found["test_score"]).all()


def test_a_router_of_metadata_passes_the_groups_on() -> None:
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=AreaSplit(k=3))
        search.fit(X, Y, groups=GROUPS)
    assert search.n_splits_ == 3


def test_coordinates_and_districts_are_found_by_area_so_parts_of_the_rows_can_be_split() -> None:
    inner = np.flatnonzero(Y > 3)
    cv = SPLITTERS["buffered"]
    place = PLACES.loc[GROUPS[inner]].to_numpy()
    for train, test in cv.split(X[inner], Y[inner], GROUPS[inner]):
        away = np.linalg.norm(place[train][:, None] - place[test], axis=2)
        assert away.min() > 400
    by_row = AreaSplit(k=3, buffer=400.0, coordinates=place)
    for one, other in zip(
        by_row.split(X[inner], Y[inner], GROUPS[inner]),
        cv.split(X[inner], Y[inner], GROUPS[inner]),
        strict=True,
    ):
        np.testing.assert_array_equal(one[0], other[0])


def test_the_classes_asked_for_are_tested_and_no_other() -> None:
    cv = AreaSplit("by-class", classes=[1, 10])
    ((train, test),) = cv.split(X, Y, GROUPS)
    assert cv.get_n_splits(X, Y, GROUPS) == 1
    assert set(Y[test]) == {1, 10}
    assert not set(Y[train]) & {1, 10}
    two = np.column_stack([np.ones_like(Y), Y])
    ((_, same),) = AreaSplit("by-class", classes=[1, 10], column=1).split(X, two, GROUPS)
    np.testing.assert_array_equal(test, same)


def test_a_share_is_trained_on_and_is_within_each_larger_share() -> None:
    whole, half, tenth = (
        next(AreaSplit(k=2, train_size=share).split(X, Y, GROUPS)) for share in (1.0, 0.5, 0.1)
    )
    assert set(tenth[0]) < set(half[0]) < set(whole[0])
    assert len(set(GROUPS[half[0]])) == pytest.approx(len(set(GROUPS[whole[0]])) / 2, abs=1)
    for _, test in (half, tenth):
        np.testing.assert_array_equal(test, whole[1])


def test_a_share_of_the_locations_is_taken_within_the_areas() -> None:
    whole, half = (
        next(AreaSplit(k=2, train_size=share, train_size_unit="locations").split(X, Y, GROUPS))
        for share in (1.0, 0.5)
    )
    assert len(half[0]) == round(len(whole[0]) / 2)
    taken = pd.Series(GROUPS[half[0]]).value_counts()
    assert (taken < pd.Series(GROUPS).value_counts()[taken.index]).any()  # areas are cut through


def test_the_share_that_is_tested_is_of_the_areas() -> None:
    for share in (0.3, 0.6):
        ((_, test),) = AreaSplit("train-test", test=share).split(X, Y, GROUPS)
        assert len(set(GROUPS[test])) == round(share * len(set(GROUPS)))


def test_units_are_held_whole() -> None:
    for train, test in SPLITTERS["units"].split(X, Y, GROUPS):
        assert not set(DISTRICTS[GROUPS[train]]) & set(DISTRICTS[GROUPS[test]])


def test_without_a_number_each_split_is_another_and_a_state_is_gone_through() -> None:
    cv = AreaSplit(k=2, random_state=None)
    first, second = (next(cv.split(X, Y, GROUPS))[1].tolist() for _ in range(2))
    assert first != second
    one, other = (
        next(AreaSplit(k=2, random_state=np.random.RandomState(3)).split(X, Y, GROUPS))[1]
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, other)


def test_districts_are_tested_one_after_the_other() -> None:
    tested = [
        set(DISTRICTS[GROUPS[test]])
        for _, test in SPLITTERS["districts"].split(X, Y, groups=GROUPS)
    ]
    assert tested == [{"north"}, {"south"}]


def test_classes_can_be_names_or_missing_and_there_need_be_none() -> None:
    names = np.array([f"class {y}" for y in Y])
    for y in (names, np.where(rng.random(400) < 0.2, np.nan, Y), None, np.column_stack([Y, Y])):
        parts = list(AreaSplit(k=4).split(X, y, GROUPS))
        assert sorted(np.concatenate([test for _, test in parts])) == list(range(400))


def test_it_does_not_touch_the_state_of_chance() -> None:
    np.random.seed(1)  # noqa: NPY002
    permutation_test_score(Ridge(), X, Y, groups=GROUPS, cv=AreaSplit(k=2), n_permutations=2)
    once = [test.tolist() for _, test in AreaSplit(k=2).split(X, Y, GROUPS)]
    assert once == [test.tolist() for _, test in AreaSplit(k=2).split(X, Y, GROUPS)]
    other = [test.tolist() for _, test in AreaSplit(k=2, random_state=1).split(X, Y, GROUPS)]
    assert once != other


@pytest.mark.parametrize(
    ("splitter", "groups", "says"),
    [
        (AreaSplit(), None, "groups: there are none; give the area of every row"),
        (AreaSplit(k=1), GROUPS, r"AreaSplit.k: .*greater than or equal to 2"),
        (AreaSplit("blocks", coordinates=PLACES), GROUPS, "needs 'block'"),
        (AreaSplit("blocks", block=1.0), GROUPS, "AreaSplit.coordinates: .*x and y in metres"),
        (AreaSplit(buffer=1.0), GROUPS, "AreaSplit.coordinates: .*x and y in metres"),
        (AreaSplit(), GROUPS[:10], "inconsistent numbers of samples"),
        (AreaSplit("by-class"), GROUPS, "needs 'classes'"),
        (AreaSplit("by-class", classes=[11]), GROUPS, "class"),
        (AreaSplit("by-class", classes=[1], column=3), GROUPS, "y3"),
        (AreaSplit(train_size=0.0), GROUPS, "AreaSplit.train_size: "),
        (AreaSplit("k-fould"), GROUPS, r"AreaSplit.scheme: .*'k-fold'"),
        (AreaSplit("leave-one-group-out"), GROUPS, "AreaSplit.districts: .*which district"),
        (AreaSplit(buffer=9.0, coordinates=PLACES.iloc[1:]), GROUPS, "none of its locations has"),
    ],
)
def test_what_cannot_be_split_is_refused(
    splitter: AreaSplit, groups: np.ndarray | None, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        list(splitter.split(X, Y, groups))
