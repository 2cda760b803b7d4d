from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from streetgauge.model import fitting
from streetgauge.model.fitting import match_scores, untested
from streetgauge.model.model import outputs_of, scores_of
from streetgauge.model.network import Network
from streetgauge.model.reading import Reader, Standardisation
from streetgauge.settings import TrainSettings
from streetgauge.splits.schemes import Split


def test_tuned_scores_get_the_mean_and_the_sd_of_those_before(make_world: Any) -> None:
    world = make_world()
    rows = np.arange(0, len(world.ids), 2)
    scale = Standardisation.of(world.features, world.present, rows)
    reader = Reader(world.features, world.present, scale, torch.device("cpu"))
    start = Network(8, [1, 2], TrainSettings(network="shared", ensemble_size=1, dropout=0.0))
    # Tuning that has moved and stretched everything and taught nothing.
    tuned = start.calibrated(torch.tensor([2.0, -1.0]), torch.tensor([0.25, 3.0]))
    calibration = np.array([[0.5, 2.0], [-0.3, 0.7]])
    found = match_scores(start, calibration, tuned, reader, rows)

    def scored(network: Network) -> np.ndarray:
        return scores_of(network, outputs_of(network, reader, rows)).astype(float)

    before = calibration[:, 0] + calibration[:, 1] * scored(start)
    after = found[:, 0] + found[:, 1] * scored(tuned)
    np.testing.assert_allclose(after, before, atol=1e-4)
    assert found[:, 1] == pytest.approx(calibration[:, 1] / [0.25, 3.0], rel=1e-3)


def test_the_scale_comes_from_all_that_is_not_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [np.array(rows) for rows in ([7, 1], [4], [2, 5])]
    split = Split("fold-1", 1, *parts, {"near": np.array([8]), "no label": np.array([0, 6])})
    assert untested(split).tolist() == [0, 1, 4, 6, 7, 8]
    monkeypatch.setattr(fitting, "UNTESTED_ROWS", 3)
    assert len(untested(split)) == 3
