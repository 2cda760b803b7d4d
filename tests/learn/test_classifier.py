from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from streetgauge.learn import BinomialOrdinalClassifier

QUICK = {"epochs": 8, "batch": 32, "device": "cpu", "random_state": 0}

# Checks that ask for something that the method does not promise, with the reason.
EXPECTED_FAILURES = {
    "check_classifiers_train": "one score orders all classes: decision_function is 1-D for any K",
    "check_classifiers_classes": "takes the class from the largest of K decision values, as above",
    "check_methods_subset_invariance": "float32: a product's last bits vary with the batch",
    "check_sample_weight_equivalence_on_dense_data": (
        "repeated rows are dealt to other batches and to another validation part than weighted ones"
    ),
}


def expected(estimator: BaseEstimator) -> dict[str, str]:
    return EXPECTED_FAILURES


@parametrize_with_checks([BinomialOrdinalClassifier(**QUICK)], expected_failed_checks=expected)
def test_it_is_a_classifier_to_scikit_learn(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)


def test_views_may_be_flat_or_apart(make_world: Any) -> None:
    world = make_world()
    y = world.deciles[:, 0]
    apart = BinomialOrdinalClassifier(**QUICK).fit(world.features, y, groups=world.areas)
    flat = BinomialOrdinalClassifier(n_views=3, **QUICK)
    flat.fit(world.features.reshape(len(y), -1), y, groups=world.areas)
    np.testing.assert_array_equal(
        apart.decision_function(world.features),
        flat.decision_function(world.features.reshape(len(y), -1)),
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


def test_no_area_is_learnt_from_and_stopped_on(make_world: Any) -> None:
    world = make_world()
    model = BinomialOrdinalClassifier(**QUICK).fit(
        world.features, world.deciles[:, 0], groups=world.areas
    )
    assert model.record_.training_areas == 34
    assert model.record_.validation_areas == 6
    assert model.record_.validation_locations == 36


def test_the_score_orders_classes_and_probabilities_follow_from_it(make_world: Any) -> None:
    world = make_world()
    y = np.array(["a poor", "b fair", "c good"])[np.digitize(world.deciles[:, 0], [4, 7])]
    model = BinomialOrdinalClassifier(**QUICK).fit(world.features, y)
    score, p = model.decision_function(world.features), model.predict_proba(world.features)
    assert model.classes_.tolist() == ["a poor", "b fair", "c good"]
    assert score.shape == y.shape
    one = 1 / (1 + np.exp(-score))
    np.testing.assert_allclose(p, np.array([(1 - one) ** 2, 2 * one * (1 - one), one**2]).T)
    np.testing.assert_array_equal(model.predict(world.features), model.classes_[p.argmax(1)])
    assert (np.diff(score[np.argsort(y, kind="stable")].reshape(3, -1).mean(1)) > 0).all()


def test_names_that_need_no_torch_do_not_import_it() -> None:
    code = "import sys, streetgauge.learn as l; l.area_folds; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
