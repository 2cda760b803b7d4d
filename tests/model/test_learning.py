"""What can be learnt is learnt, and where there is nothing to learn, nothing is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from streetgauge.evaluation import aggregate
from streetgauge.model import cross_validate
from streetgauge.model.training_data import TrainingData
from streetgauge.settings import FoldSettings, TrainSettings
from streetgauge.splits import make_splits
from streetgauge.synthetic import simulate_features, simulated_oracle

AREAS, PER_AREA = 120, 6


@pytest.fixture(scope="module")
def city() -> dict[str, Any]:
    """120 areas with two outcomes that hang together; features say half of what there is."""
    rng = np.random.default_rng(3)
    latent = rng.normal(size=(AREAS, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])
    deciles = latent.argsort(0).argsort(0) * 10 // AREAS + 1
    area = np.repeat(np.arange(AREAS), PER_AREA)
    ids = [f"L{i:05d}" for i in range(len(area))]
    labels = pd.DataFrame(deciles[area].astype(float), index=ids, columns=["income", "health"])
    names = np.array([f"A{i:03d}" for i in area])
    features = simulate_features(labels, names, dimension=32, views=3, signal=0.3, seed=1)
    oracle = simulated_oracle(labels, names, views=3, signal=0.3, seed=1)
    return {"labels": labels, "areas": names, "features": features, "oracle": oracle}


def areas_of(city: dict[str, Any], labels: pd.DataFrame, folder: Path) -> pd.DataFrame:
    splits = make_splits(FoldSettings(final=False), city["areas"], labels.to_numpy(), seed=2)
    predictions = cross_validate(
        TrainingData(
            city["features"],
            np.ones(city["features"].shape[:2], np.bool_),
            labels.to_numpy(),
            city["areas"],
            labels.index.to_numpy(str),
            list(labels.columns),
        ),
        splits,
        TrainSettings(learner="network", device="cpu", ensemble_size=2, epochs=12),
        seed=2,
        directory=folder,
        cache_key="",
    )
    return aggregate(predictions, "mean-score")


def agreement(areas: pd.DataFrame) -> dict[str, float]:
    known = areas.astype({"actual_decile": float})
    return {o: own["score"].corr(own["actual_decile"]) for o, own in known.groupby("outcome")}


def test_training_reaches_nine_tenths_of_what_the_attainable_scores_hold(
    city: dict[str, Any], tmp_path: Path
) -> None:
    found = agreement(areas_of(city, city["labels"], tmp_path))
    best = city["oracle"].set_index("location_id").groupby(city["areas"]).mean()
    truth = city["labels"].groupby(city["areas"]).first()
    for outcome, r in found.items():
        possible = best[outcome].corr(truth[outcome])
        assert 0.6 < possible < 0.95
        assert r > 0.9 * possible


def test_training_on_permuted_labels_finds_nothing(city: dict[str, Any], tmp_path: Path) -> None:
    truth = city["labels"].groupby(city["areas"]).first()
    dealt = truth.sample(frac=1, random_state=5).set_axis(truth.index).loc[city["areas"]]
    labels = dealt.set_axis(city["labels"].index)
    for r in agreement(areas_of(city, labels, tmp_path)).values():
        # Folds take turns to be learnt from, hence a little wider than chance.
        assert abs(r) < 1.96 * 1.5 / np.sqrt(AREAS)
