from __future__ import annotations

import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from streetgauge.model import BinomialOrdinalClassifier, fitting
from streetgauge.model import classifier as classifier_module
from streetgauge.settings import TrainSettings
from streetgauge.splits import Split

QUICK = {"epochs": 8, "ensemble_size": 2, "batch": 32, "width": 64, "device": "cpu"}
QUICK |= {"learner": "network", "random_state": 0}
ALONE = QUICK | {"ensemble_size": 1}

# Checks that ask for something that the method does not promise, with the reason.
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "repeated rows are dealt to other batches and to another validation part than weighted ones"
    ),
}


def expected(estimator: BaseEstimator) -> dict[str, str]:
    return EXPECTED_FAILURES


@parametrize_with_checks([BinomialOrdinalClassifier(**ALONE)], expected_failed_checks=expected)
def test_it_is_a_classifier_to_scikit_learn(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)


def test_views_may_be_flat_or_apart(make_world: Any) -> None:
    world = make_world()
    y = world.deciles[:, 0]
    apart = BinomialOrdinalClassifier(**QUICK).fit(world.features, y, groups=world.areas)
    flat = BinomialOrdinalClassifier(n_views=3, **QUICK)
    flat.fit(world.features.reshape(len(y), -1), y, groups=world.areas)
    np.testing.assert_array_equal(
        apart.score_samples(world.features),
        flat.score_samples(world.features.reshape(len(y), -1)),
    )
    tensor = torch.from_numpy(world.features)
    np.testing.assert_array_equal(
        BinomialOrdinalClassifier(**QUICK).fit(tensor, y, groups=world.areas).predict(tensor),
        apart.predict(world.features),
    )
    with pytest.raises(ValueError, match="n_views=5"):
        BinomialOrdinalClassifier(n_views=5).fit(np.zeros((6, 7)), [0, 1] * 3)


def test_it_works_in_a_pipeline_under_cross_validation_by_area(make_world: Any) -> None:
    world = make_world()
    model = make_pipeline(StandardScaler(), BinomialOrdinalClassifier(n_views=3, **QUICK))
    scores = cross_val_score(
        clone(model),
        world.features.reshape(len(world.ids), -1),
        world.deciles[:, 0],
        groups=world.areas,
        cv=GroupKFold(3),
        scoring="neg_mean_absolute_error",
    )
    assert scores.mean() > -1.8  # by chance it is below -3


def test_no_area_is_trained_on_and_stopped_on(make_world: Any) -> None:
    world = make_world()
    model = BinomialOrdinalClassifier(**ALONE)
    model.fit(world.features, world.deciles[:, 0], groups=world.areas)
    assert model.record_.training_areas == 34
    assert model.record_.validation_areas == 6
    assert model.record_.validation_locations == 36


ABSENT = {"tune", "source_dropout"}  # nothing is tuned, and features are of one source


def test_its_defaults_are_those_of_a_study() -> None:
    given = BinomialOrdinalClassifier().get_params()
    study = TrainSettings().model_dump()
    own = {"n_views", "classes", "validation", "random_state"}
    assert given.keys() - own == study.keys() - ABSENT
    assert {name: study[name] for name in given.keys() - own} == {
        name: given[name] for name in given.keys() - own
    }


def test_every_parameter_reaches_the_training(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reached(Exception):  # noqa: N818
        pass

    told: list[tuple[Any, dict[str, Any]]] = []

    def noted(*given: Any, **named: Any) -> None:
        told.append((given, named))
        raise Reached

    monkeypatch.setattr(classifier_module, "fit_learner", noted)
    other: dict[str, Any] = {
        "learner": "kernel",
        **{"network": "paper-2019", "pooling": "attention", "width": 96, "ensemble_size": 1},
        **{"head": "emd", "dropout": 0.35, "epochs": 7, "batch": 33, "learning_rate": 0.0123},
        **{"schedule": "plateau", "weight_decay": 0.0321, "noise": 0.777, "patience": 5},
        **{"components": 5, "precision": "bfloat16", "memory": 0.5, "device": "cpu"},
        **{name: not getattr(TrainSettings(), name) for name in ("mixup",)},
        "sample_weighting": {"areas": "locations", "locations": "areas"}[
            TrainSettings().sample_weighting
        ],
    }
    world = make_world()
    weight = 1.0 + np.arange(len(world.ids)) % 3
    model = BinomialOrdinalClassifier(**other, validation=0.4, random_state=11)
    with pytest.raises(Reached):
        model.fit(world.features, world.deciles[:, 0], world.areas, weight)
    ((given, named),) = told
    (settings,) = (each for each in given if isinstance(each, TrainSettings))
    assert {name: getattr(settings, name) for name in other} == other
    assert other.keys() == TrainSettings.model_fields.keys() - ABSENT
    differing = {name for name in other if other[name] != getattr(TrainSettings(), name)}
    assert differing >= other.keys() - {"ensemble_size", "device"}
    (split,) = (each for each in given if isinstance(each, Split))
    assert len(set(world.areas[split.validation])) == round(0.4 * len(set(world.areas)))
    assert named["seed"] == 11
    np.testing.assert_array_equal(given[0].sample_weight, weight)


def test_members_learn_from_all_groups_between_them(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    areas = pd.factorize(world.areas)[0]
    parts = []

    def train_network(data: Any, indices: Any, *rest: Any, **more: Any) -> Any:
        training, stopping = indices
        parts.append((set(areas[training]), set(areas[stopping])))
        return whole(data, indices, *rest, **more)

    whole = fitting.train_network
    monkeypatch.setattr(fitting, "train_network", train_network)
    model = BinomialOrdinalClassifier(**QUICK | {"ensemble_size": 3, "epochs": 1})
    model.fit(world.features, world.deciles[:, 0], groups=world.areas)
    assert model.record_.training_areas == model.record_.validation_areas == 40
    assert len(parts) == 3
    for trained, stopping in parts:
        assert trained == set(range(40)) - stopping
    assert sorted(area for _, stopping in parts for area in stopping) == list(range(40))
    with pytest.raises(
        ValueError, match=r"ensemble_size=3 need .* belong to 2; use ensemble_size=2"
    ):
        model.fit(world.features[:12], world.deciles[:12, 0], groups=world.areas[:12])


def three_classes(world: Any) -> np.ndarray:
    return np.array(["a poor", "b fair", "c good"])[np.digitize(world.deciles[:, 0], [4, 7])]


def test_the_score_orders_classes_and_probabilities_follow_from_it(make_world: Any) -> None:
    world = make_world()
    y = three_classes(world)
    model = BinomialOrdinalClassifier(**QUICK).fit(world.features, y)
    score, p = model.score_samples(world.features), model.predict_proba(world.features)
    assert model.classes_.tolist() == ["a poor", "b fair", "c good"]
    assert score.shape == y.shape
    one = 1 / (1 + np.exp(-score))
    np.testing.assert_allclose(p, np.array([(1 - one) ** 2, 2 * one * (1 - one), one**2]).T)
    np.testing.assert_array_equal(model.predict(world.features), model.classes_[p.argmax(1)])
    np.testing.assert_allclose(model.decision_function(world.features), np.log(p))
    assert (np.diff(score[np.argsort(y, kind="stable")].reshape(3, -1).mean(1)) > 0).all()


def test_of_two_classes_the_decision_is_the_score(make_world: Any) -> None:
    world = make_world()
    y = world.deciles[:, 0] > 5
    model = BinomialOrdinalClassifier(**QUICK).fit(world.features, y)
    assert model.classes_.tolist() == [False, True]
    decision = model.decision_function(world.features)
    np.testing.assert_allclose(decision, model.score_samples(world.features), atol=1e-9)
    np.testing.assert_array_equal(model.predict(world.features), decision > 0)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([-3, 0, 40]),
        np.array([1.0, 2.0, 5.0]),
        np.array(["a", "b", "c"], object),
        np.array(["2019-01", "2020-01", "2021-01"]),
    ],
)
def test_labels_of_any_sortable_type_are_a_scale(make_world: Any, labels: np.ndarray) -> None:
    world = make_world()
    place = np.digitize(world.deciles[:, 0], [4, 7])
    model = BinomialOrdinalClassifier(**QUICK).fit(world.features, labels[place])
    plain = BinomialOrdinalClassifier(**QUICK).fit(world.features, place)
    np.testing.assert_array_equal(model.classes_, labels)
    np.testing.assert_array_equal(
        model.predict(world.features), labels[plain.predict(world.features)]
    )


def test_an_ordered_categorical_keeps_its_order(make_world: Any) -> None:
    world = make_world()
    names = ["poor", "fair", "good", "splendid"]  # not their alphabetical order; one never occurs
    place = np.digitize(world.deciles[:, 0], [4, 7])
    y = pd.Series(pd.Categorical.from_codes(place, names, ordered=True))
    model = BinomialOrdinalClassifier(**QUICK).fit(world.features, y)
    assert model.classes_.tolist() == names[:3]
    plain = BinomialOrdinalClassifier(**QUICK).fit(world.features, place)
    np.testing.assert_array_equal(
        model.score_samples(world.features), plain.score_samples(world.features)
    )


def test_a_scale_that_is_given_holds_where_a_class_is_missing(make_world: Any) -> None:
    world = make_world()
    some = world.deciles[:, 0] != 7
    model = BinomialOrdinalClassifier(classes=range(1, 11), **QUICK)
    model.fit(world.features[some], world.deciles[some, 0])
    assert model.predict_proba(world.features).shape == (len(some), 10)
    assert model.classes_.tolist() == list(range(1, 11))
    with pytest.raises(ValueError, match=r"y\[\d+\] is 10\.0, none of classes="):
        model.set_params(classes=range(1, 10)).fit(world.features, world.deciles[:, 0])
    with pytest.raises(ValueError, match="names 2 more than once"):
        model.set_params(classes=[1, 2, 2]).fit(world.features, world.deciles[:, 0])


@pytest.mark.parametrize("head", ["clm", "emd", "exponential"])
def test_other_heads_give_probabilities_of_their_own(make_world: Any, head: str) -> None:
    world = make_world()
    y = three_classes(world)
    model = BinomialOrdinalClassifier(head=head, **QUICK)
    model.fit(world.features, y, groups=world.areas)
    p = model.predict_proba(world.features)
    np.testing.assert_allclose(p.sum(1), 1)
    assert (model.predict(world.features) == y).mean() > 0.65  # by chance a third
    np.testing.assert_array_equal(model.predict(world.features), model.classes_[p.argmax(1)])


def test_a_view_that_is_all_nan_is_absent(make_world: Any) -> None:
    world = make_world()
    absent = np.random.default_rng(0).random(world.present.shape) < 0.3
    absent[:, 0] = False
    gappy = world.features.copy()
    gappy[absent] = np.nan
    y = world.deciles[:, 0]
    model = BinomialOrdinalClassifier(n_views=3, **QUICK)
    assert model.__sklearn_tags__().input_tags.allow_nan
    assert not BinomialOrdinalClassifier().__sklearn_tags__().input_tags.allow_nan
    model.fit(gappy.reshape(len(y), -1), y, groups=world.areas)
    said = model.score_samples(gappy.reshape(len(y), -1))
    assert np.isfinite(said).all()
    assert spearmanr(said, y).statistic > 0.8

    apart = BinomialOrdinalClassifier(**QUICK).fit(gappy, y, groups=world.areas)
    np.testing.assert_array_equal(apart.score_samples(gappy), said)
    # A location of which one view is missing is a location of two views.
    two = world.features[:, :2]
    padded = np.concatenate([two, np.full_like(two[:, :1], np.nan)], 1)
    np.testing.assert_allclose(
        apart.score_samples(padded), apart.score_samples(two), rtol=1e-4, atol=1e-5
    )
    spoilt = world.features.copy()
    spoilt[absent] = 1e6  # what stands there matters, if it is not NaN
    assert not np.allclose(apart.score_samples(spoilt), said)


@pytest.mark.parametrize(
    ("row", "view", "value", "reason"),
    [
        (5, 1, np.nan, "X is NaN in row 5, view 1, feature 2"),
        (6, 0, np.inf, r"X is infinite \(inf\) in row 6, view 0, feature 2"),
        (7, slice(None), np.nan, "all of row 7"),
    ],
)
def test_features_that_are_no_numbers_are_named(
    make_world: Any, row: int, view: Any, value: float, reason: str
) -> None:
    world = make_world()
    model = BinomialOrdinalClassifier(**QUICK)
    model.set_params(epochs=1).fit(world.features, world.deciles[:, 0])
    spoilt = world.features.copy()
    spoilt[row, view, slice(None) if isinstance(view, slice) else 2] = value
    for call in (lambda: model.fit(spoilt, world.deciles[:, 0]), lambda: model.predict(spoilt)):
        with pytest.raises(ValueError, match=reason) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "fitted", "reason"),
    [
        ({}, {"groups": ["a"] * 240}, "belong to one group"),
        ({}, {"groups": ["a"] * 239 + [None]}, r"groups\[239\] is missing"),
        ({}, {"groups": ["a", "b"]}, "inconsistent numbers of samples"),
        ({}, {"sample_weight": np.r_[1.0, np.zeros(239)]}, "belong to one group"),
        ({}, {"sample_weight": -np.ones(240)}, "[Nn]egative"),
        ({"n_views": 0}, {}, "n_views=0 is not a number of views"),
        ({"validation": 1.5}, {}, "validation=1.5 is not a share"),
        ({"epochs": 0}, {}, "epochs=0 cannot be used; it should be greater than or equal to 1"),
        ({"network": "resnet"}, {}, "network='resnet' cannot be used"),
        ({"head": "binomal"}, {}, "head='binomal' cannot be used"),
        ({"device": "abacus"}, {}, "device='abacus' cannot be used"),
    ],
)
def test_what_cannot_be_used_is_a_value_error_of_one_sentence(
    make_world: Any, changes: dict[str, Any], fitted: dict[str, Any], reason: str
) -> None:
    world = make_world()
    model = BinomialOrdinalClassifier(**QUICK | {"epochs": 1} | changes)
    flat = world.features.reshape(240, -1)
    with pytest.raises(ValueError, match=reason) as caught:
        model.fit(flat, world.deciles[:, 0], **fitted)
    assert "\n" not in str(caught.value)


def test_a_class_that_only_the_validation_part_has_is_reported(make_world: Any) -> None:
    world = make_world(n_areas=10)  # an area of each class
    alone = BinomialOrdinalClassifier(**ALONE)
    with pytest.warns(UserWarning, match="occurs only in the groups that decide when to stop"):
        alone.fit(world.features, world.deciles[:, 0], groups=world.areas)
    together = BinomialOrdinalClassifier(**QUICK)  # what stops one trains the other
    with warnings.catch_warnings(action="error", category=UserWarning):
        together.fit(world.features, world.deciles[:, 0], groups=world.areas)


def test_a_sample_of_weight_0_is_as_good_as_absent(make_world: Any) -> None:
    world = make_world()
    y, weight = world.deciles[:, 0], np.ones(240)
    weight[[0, 17, 100, 239]] = 0
    spoilt = world.features.copy()
    spoilt[weight == 0] = 1e6
    kept = weight > 0
    one, other = (BinomialOrdinalClassifier(**QUICK) for _ in range(2))
    one.fit(spoilt, y, groups=world.areas, sample_weight=weight)
    other.fit(world.features[kept], y[kept], groups=world.areas[kept])
    np.testing.assert_array_equal(
        one.score_samples(world.features), other.score_samples(world.features)
    )


def test_the_order_of_samples_does_not_decide_who_is_held_out(make_world: Any) -> None:
    world = make_world()
    order = np.random.default_rng(0).permutation(240)
    models = []
    for w in (world, world.take(order)):
        model = BinomialOrdinalClassifier(**QUICK)
        models.append(model.fit(w.features, w.deciles[:, 0], groups=w.areas))
    one, other = (m.record_ for m in models)
    assert one.validation_locations == other.validation_locations
    said = [m.score_samples(world.features) for m in models]
    assert spearmanr(*said).statistic > 0.95


def test_a_memory_map_is_read_where_it_lies(
    make_world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, views, dimension = 4_000, 4, 256
    rng = np.random.default_rng(0)
    y = rng.integers(1, 5, n)
    stored = (y[:, None, None] + rng.normal(size=(n, views, dimension))).astype(np.float32)
    np.save(tmp_path / "X.npy", stored)
    settings = QUICK | {"epochs": 1, "batch": 512}
    given = []

    def fit_model(data: Any, *rest: Any, **more: Any) -> Any:
        given.append(data.features)
        return fitting.fit_model(data, *rest, **more)

    monkeypatch.setattr(classifier_module, "fit_learner", fit_model)
    for shape in ((n, views, dimension), (n, views * dimension)):
        X = np.load(tmp_path / "X.npy", mmap_mode="r").reshape(shape)
        model = BinomialOrdinalClassifier(n_views=views, **settings)
        model.fit(X[:200], y[:200])  # modules are loaded before memory is watched
        tracemalloc.start()
        model.fit(X, y)
        model.predict(X)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert np.shares_memory(given[-1], X)
        assert peak < X.nbytes / 3
    in_memory = BinomialOrdinalClassifier(**settings).fit(stored, y)
    np.testing.assert_array_equal(in_memory.predict_proba(X[:5].reshape(5, views, -1)),
                                  model.predict_proba(X[:5]))  # fmt: skip


def test_half_precision_features_are_used_as_they_are(make_world: Any) -> None:
    world = make_world()
    half = world.features.astype(np.float16)
    model = BinomialOrdinalClassifier(**QUICK).fit(half, world.deciles[:, 0])
    whole = BinomialOrdinalClassifier(**QUICK).fit(half.astype(np.float32), world.deciles[:, 0])
    np.testing.assert_allclose(
        model.score_samples(half), whole.score_samples(half.astype(np.float32)), atol=1e-3
    )


def test_the_prediction_of_a_sample_does_not_depend_on_its_company(make_world: Any) -> None:
    world = make_world(dimension=50)
    model = BinomialOrdinalClassifier(**QUICK | {"ensemble_size": 5})
    model.fit(world.features, world.deciles[:, 0])
    together = model.score_samples(world.features)
    for rows in ([3], [200, 3], range(3, 60)):
        apart = model.score_samples(world.features[list(rows)])
        np.testing.assert_array_equal(apart, together[list(rows)])


def test_another_number_of_features_or_views_is_seen(make_world: Any) -> None:
    world = make_world()
    model = BinomialOrdinalClassifier(**QUICK).fit(world.features, world.deciles[:, 0])
    assert model.n_features_in_ == 8
    assert model.score_samples(world.features[:, :1]).shape == (240,)  # fewer views are no harm
    with pytest.raises(ValueError, match=r"X has 5 features a view, but .* expecting 8"):
        model.predict(world.features[:, :, :5])


@pytest.mark.filterwarnings("ignore:class .* occurs only in the groups that decide when to stop")
def test_groups_and_weights_find_their_way_through_cross_validation(make_world: Any) -> None:
    world = make_world()
    weight = np.random.default_rng(0).integers(0, 3, 240).astype(float)
    seen = []

    class Watched(BinomialOrdinalClassifier):
        def fit(self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> Any:
            seen.append((X, groups, sample_weight))
            return super().fit(X, y, groups=groups, sample_weight=sample_weight)

    with config_context(enable_metadata_routing=True):
        model = Watched(**QUICK).set_fit_request(groups=True, sample_weight=True)
        model.set_score_request(sample_weight=False)
        found = cross_validate(
            model,
            world.features,
            world.deciles[:, 0],
            cv=GroupKFold(3),
            params={"groups": world.areas, "sample_weight": weight},
        )
    assert (found["test_score"] > 0.15).all()  # exact hits of one class in ten
    for X, groups, given in seen:
        rows = [np.flatnonzero((world.features == x).all((1, 2)))[0] for x in X]
        np.testing.assert_array_equal(groups, world.areas[rows])
        np.testing.assert_array_equal(given, weight[rows])
    assert len(seen) == 3


@pytest.mark.slow
def test_it_can_be_searched_for_settings_in_a_pipeline(make_world: Any) -> None:
    world = make_world()
    model = make_pipeline(StandardScaler(), BinomialOrdinalClassifier(n_views=3, **QUICK))
    grid = {
        "binomialordinalclassifier__head": ["binomial", "clm"],
        "binomialordinalclassifier__learning_rate": np.array([1e-6, 1e-3]),
        "binomialordinalclassifier__batch": np.array([32]),
    }
    search = GridSearchCV(model, grid, cv=GroupKFold(2), scoring="neg_mean_absolute_error")
    search.fit(world.features.reshape(240, -1), world.deciles[:, 0], groups=world.areas)
    assert search.best_params_["binomialordinalclassifier__learning_rate"] == 1e-3
    assert search.score_samples(world.features.reshape(240, -1)).shape == (240,)


def test_samples_count_by_their_weight(make_world: Any) -> None:
    world = make_world()
    true = world.deciles[:, 0]
    wrong = np.arange(240) % 2 == 1
    y = np.where(wrong, 11 - true, true)  # half of the labels are upside down
    model = BinomialOrdinalClassifier(**QUICK)
    model.fit(world.features, y, groups=world.areas, sample_weight=np.where(wrong, 1e-9, 1.0))
    assert spearmanr(model.score_samples(world.features), true).statistic > 0.8
    model.fit(world.features, y, groups=world.areas, sample_weight=np.where(wrong, 1.0, 1e-9))
    assert spearmanr(model.score_samples(world.features), true).statistic < -0.8


@pytest.mark.parametrize("head", ["binomial", "clm"])
def test_what_is_saved_says_the_same_when_it_is_read(
    make_world: Any, tmp_path: Path, head: str
) -> None:
    world = make_world()
    flat = pd.DataFrame(world.features.reshape(240, -1)).add_prefix("f")
    y = three_classes(world)
    model = BinomialOrdinalClassifier(n_views=3, head=head, **QUICK).fit(flat, y)
    model.save(tmp_path / "model")
    again = BinomialOrdinalClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(flat), model.predict_proba(flat))
    np.testing.assert_array_equal(again.predict(flat), model.predict(flat))
    assert again.classes_.dtype == model.classes_.dtype
    assert again.feature_names_in_.tolist() == model.feature_names_in_.tolist()
    assert again.get_params() == model.get_params() | {"classes": model.classes_.tolist()}
    assert clone(again).fit(flat, y).classes_.tolist() == model.classes_.tolist()
    with pytest.raises(ValueError, match="is missing"):
        BinomialOrdinalClassifier.load(tmp_path)


def test_its_score_is_accuracy(make_world: Any) -> None:
    world = make_world()
    y = world.deciles[:, 0]
    model = BinomialOrdinalClassifier(**QUICK).fit(world.features, y)
    assert model.score(world.features, y) == (model.predict(world.features) == y).mean()


def test_names_that_need_no_torch_do_not_import_it() -> None:
    code = "import sys, streetgauge.splits as s; s.area_folds; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


def test_texts_are_not_sorted_silently() -> None:
    X, y = np.random.default_rng(1).normal(size=(30, 3)), np.repeat(["low", "mid", "high"], 10)
    with pytest.warns(UserWarning, match=r"alphabet \(high < low < mid\); give classes="):
        BinomialOrdinalClassifier(**ALONE).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = BinomialOrdinalClassifier(classes=["low", "mid", "high"], **ALONE).fit(X, y)
    assert list(model.classes_) == ["low", "mid", "high"]
