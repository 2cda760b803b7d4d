"""The losses of a training can be read from the event files, as the published code writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from streetgauge.model import cross_validate
from streetgauge.settings import TrainSettings

PARTS = ["fold-1", "fold-2", "fold-3", "all"]


@pytest.fixture(scope="module")
def done(make_city: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    city, directory = make_city(n_areas=40, dimension=8), tmp_path_factory.mktemp("model")
    cross_validate(
        city.data(),
        city.split(k=3, validation=0.2),
        TrainSettings(learner="network", epochs=4, batch=64, ensemble_size=2, device="cpu"),
        seed=5,
        directory=directory,
        cache_key="same",
    )
    return directory


def test_history_and_tensorboard_tell_every_epoch(done: Path) -> None:
    lines = [json.loads(line) for line in (done / "history.jsonl").read_text().splitlines()]
    told = pd.DataFrame(lines)
    assert list(told["split"].unique()) == PARTS
    assert set(told["outcome"]) == {"income", "health"}
    for _, epochs in told.groupby(["split", "outcome", "member"])["epoch"]:
        assert epochs.tolist() == list(range(1, len(epochs) + 1))
    assert told["epoch"].max() <= 4
    assert told[["train_loss", "validation_loss", "validation_mae"]].notna().all(axis=None)
    shown = {part: EventAccumulator(str(done / "logs" / part)).Reload() for part in PARTS}
    figures = ["train_loss", "validation_loss", "validation_mae", "validation_tau"]
    for (part, outcome, member), looks in told.groupby(["split", "outcome", "member"]):
        for name in figures:
            tag = f"{outcome}/{name}" + (f"/member-{member}" if member > 1 else "")
            scalars = shown[part].Scalars(tag)
            assert [scalar.step for scalar in scalars] == looks["step"].tolist()
            np.testing.assert_allclose([s.value for s in scalars], looks[name], rtol=1e-6)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("outcome", ["income", "health"])
def test_training_and_validation_losses_are_in_the_event_file_and_fall(
    done: Path, part: str, outcome: str
) -> None:
    shown = EventAccumulator(str(done / "logs" / part)).Reload()
    assert len(list((done / "logs" / part).glob("events.out.tfevents.*"))) == 1
    for name in ("train_loss", "validation_loss"):
        values = [scalar.value for scalar in shown.Scalars(f"{outcome}/{name}")]
        assert len(values) == 4
        assert np.isfinite(values).all()
        assert 1 < values[-1] < values[0] < 8  # even of all classes it is log 10 = 2.3
