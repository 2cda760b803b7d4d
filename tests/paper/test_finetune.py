"""A trained city's network in another city: as it is, and tuned on a share of its areas.

Of the paper: with 1% of the target city's data a performance like that of training on all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from streetgauge.model import Bundle, cross_validate, fit_model
from streetgauge.model.transfer import Start
from streetgauge.settings import TrainSettings
from streetgauge.splits import take_share

TRAIN = TrainSettings(learner="network", device="cpu", epochs=8, ensemble_size=2)


@pytest.fixture(scope="module")
def lender(make_city: Callable[..., Any]) -> Bundle:
    """A model of another city, in which the same features show the same deciles."""
    there = make_city(n_areas=120, per_area=4, seed=1)
    (split,) = there.split(scheme="train-only")
    model, record = fit_model(there.data(), split, TRAIN, seed=3)
    source = {"study": "There", "backbone": "table", "views": ["a", "b", "c", "d"]}
    return Bundle(model, there.outcomes, "all", TRAIN, 3, "x", record, source)


@pytest.fixture(scope="module")
def here(make_city: Callable[..., Any]) -> Any:
    """Give a city in another light."""
    return make_city(n_areas=120, per_area=4, noise=2.5, light=1.0, seed=2)


@pytest.fixture(scope="module")
def unlike(make_city: Callable[..., Any]) -> Any:
    """Give a city that shows its deciles in half in another way."""
    return make_city(n_areas=120, per_area=4, noise=2.5, light=1.0, unlike=1.0, seed=2)


def learned(
    here: Any,
    lender: Bundle | None,
    share: float,
    place: Path,
    tune: str = "all",
    **changes: Any,
) -> pd.DataFrame:
    splits = here.split(5, k=3, final=False)
    splits = [take_share(split, here.areas, here.deciles, share, 5) for split in splits]
    return cross_validate(
        here.data(),
        splits,
        TRAIN.model_copy(update={"tune": tune, **changes}),
        seed=5,
        directory=place,
        cache_key="s",
        start=None if lender is None else Start(lender.model, TRAIN),
    )


def by_area(predictions: pd.DataFrame) -> dict[str, float]:
    """Spearman's correlation of the mean scores of areas with their deciles."""
    means = predictions.astype({"actual_decile": float}).groupby(["outcome", "area"])
    table = means[["score", "actual_decile"]].mean()
    return {name: spearmanr(*own.to_numpy().T).statistic for name, own in table.groupby("outcome")}


def test_with_a_hundredth_of_the_areas_it_is_as_with_all_and_far_from_training_on_these_alone(
    here: Any, lender: Bundle, tmp_path: Path
) -> None:
    tuned = by_area(learned(here, lender, 0.01, tmp_path / "tuned"))
    alone = by_area(learned(here, None, 0.01, tmp_path / "alone"))
    whole = by_area(learned(here, None, 1.0, tmp_path / "whole"))
    for outcome in here.outcomes:
        assert tuned[outcome] > whole[outcome] - 0.05
        assert tuned[outcome] > alone[outcome] + 0.1
        assert tuned[outcome] > 0.8


def test_tuning_on_a_third_learns_what_is_unlike_in_the_other_city(
    unlike: Any, lender: Bundle, tmp_path: Path
) -> None:
    as_it_is = by_area(learned(unlike, lender, 0.0, tmp_path / "as it is"))
    tuned = by_area(learned(unlike, lender, 0.3, tmp_path / "tuned"))
    assert as_it_is["health"] < 0.6
    assert tuned["health"] > as_it_is["health"] + 0.3
    assert min(tuned.values()) > 0.8


def test_without_labels_it_is_the_bundle_s_own_prediction_to_the_bit(
    here: Any, lender: Bundle, tmp_path: Path
) -> None:
    predictions = learned(here, lender, 0.0, tmp_path)
    for fold, rows in predictions.groupby("fold"):
        # In the same blocks of locations, since how a product is blocked shows in the last bits.
        one = rows[rows["outcome"] == "income"]
        places = np.flatnonzero(np.isin(here.ids, one["location_id"]))
        said = lender.predict(here.features, here.present, rows=places, device="cpu")
        found = one.set_index("location_id").loc[here.ids[places]]
        own = said.to_frame(here.ids[places], lender.outcomes)
        own = own[own["outcome"] == "income"].set_index("location_id")
        for column in ("score", "decile", "p3", "score_sd"):
            np.testing.assert_array_equal(found[column], own[column])
        assert Bundle.load(tmp_path / f"fold-{fold}").training is None


def test_what_is_tuned_moves_and_what_is_not_stays(
    unlike: Any, lender: Bundle, tmp_path: Path
) -> None:
    before = lender.model.network.state_dict()
    for tune in ("head", "scaled", "all"):
        learned(unlike, lender, 0.3, tmp_path / tune, tune, epochs=3)
    moved = {}
    for tune in ("head", "scaled", "all"):
        after = Bundle.load(tmp_path / tune / "fold-1").model.network.state_dict()
        moved[tune] = float((after["views.0.dense.weight"] - before["views.0.dense.weight"]).std())
        assert (after["location.dense.weight"] != before["location.dense.weight"]).any()
    assert moved["head"] == 0
    assert 0 < moved["scaled"] < moved["all"] / 3


def test_the_standardisation_is_the_lender_s(here: Any, lender: Bundle, tmp_path: Path) -> None:
    learned(here, lender, 0.1, tmp_path)
    tuned = Bundle.load(tmp_path / "fold-2").model
    np.testing.assert_array_equal(tuned.standardisation.mean, lender.model.standardisation.mean)


def test_test_only_tests_all_of_another_city_with_the_network_as_it_is(
    here: Any, lender: Bundle, tmp_path: Path
) -> None:
    predictions = cross_validate(
        here.data(),
        here.split(scheme="test-only"),
        TRAIN,
        seed=5,
        directory=tmp_path,
        cache_key="s",
        start=Start(lender.model, TRAIN),
    )
    expected = lender.predict(here.features, here.present, device="cpu").score
    for m, outcome in enumerate(here.outcomes):
        own = predictions[predictions["outcome"] == outcome].set_index("location_id")
        assert len(own) == len(here.ids)
        # Blocks of other locations: the last bits may differ.
        np.testing.assert_allclose(own["score"].loc[here.ids], expected[:, m], atol=1e-4)
