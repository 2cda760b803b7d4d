"""Several sources of features in one model: what they add, what noise costs, what may be absent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from source_worlds import AREAS, LOCATIONS, TESTED, World
from streetgauge.model.bundle import Bundle
from streetgauge.model.learners import fit_learner
from streetgauge.model.network import Network, SourceDropout
from streetgauge.model.sources import source_weights
from streetgauge.settings import TrainSettings
from streetgauge.splits.folds import Split

LEARNERS = ("kernel", "ridge", "network")


@pytest.mark.parametrize("learner", LEARNERS)
def test_two_sources_of_half_the_signal_each_do_better_together_than_the_better_one(
    learner: str,
) -> None:
    world = World.of(1)
    alone = max(world.rho(name, learner=learner) for name in ("sat", "street"))
    assert world.rho("sat", "street", learner=learner) >= alone + 0.05


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_source_of_512_columns_of_noise_costs_a_hundredth_at_most(learner: str) -> None:
    costs = []
    for seed in (0, 1) if learner == "kernel" else (0, 1, 2):
        world = World.of(seed)
        whole = world.rho("sat", "street", learner=learner)
        costs.append(whole - world.rho("noise", "sat", "street", learner=learner))
    assert np.mean(costs) <= 0.01


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_source_that_half_of_the_areas_lack_still_helps_the_others(learner: str) -> None:
    lacks = np.arange(AREAS) % 2 == 0
    world = World.of(1).lacking("sat", lacks)
    tested = ~lacks[AREAS - TESTED :]
    both, truth = world.predictions(world.data("sat", "street"), learner=learner)
    street, _ = world.predictions(world.data("street"), learner=learner)
    assert np.isfinite(both).all()
    rho = [spearmanr(each[tested], truth[tested]).statistic for each in (street, both)]
    assert rho[1] >= rho[0] + 0.05
    # Those that lack it are told by what they have, about as well as without the other source.
    rest = [spearmanr(each[~tested], truth[~tested]).statistic for each in (street, both)]
    assert rest[1] >= rest[0] - 0.1


def test_what_stands_where_a_source_is_absent_is_never_read() -> None:
    world = World.of(1).lacking("sat", np.arange(AREAS) % 2 == 0)
    data = world.data("sat", "street")
    filled = np.where(data.present[..., None], data.features, np.float32(7e4))
    for learner in LEARNERS:
        first, _ = world.predictions(data, learner=learner)
        second, _ = world.predictions(replace(data, features=filled), learner=learner)
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_source_that_no_training_area_has_makes_no_difference(learner: str) -> None:
    tested = np.arange(AREAS) >= AREAS - TESTED
    only_there = World.of(1).lacking("sat", ~tested)
    nowhere = only_there.lacking("sat", np.ones(AREAS, np.bool_))
    found = [w.predictions(w.data("sat", "street"), learner=learner) for w in (only_there, nowhere)]
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert spearmanr(*found[0]).statistic > 0.5


@pytest.mark.parametrize("learner", [*LEARNERS, "stack"])
def test_the_order_of_sources_makes_no_difference(learner: str) -> None:
    world = World.of(2)
    asked = {"learner": learner, "epochs": 3}
    one, _ = world.predictions(world.data("sat", "street"), **asked)
    other, _ = world.predictions(world.data("street", "sat"), **asked)
    np.testing.assert_array_equal(one, other)


def test_a_source_that_tells_nothing_hardly_counts_in_a_network() -> None:
    data = World.of(3).data("noise", "sat", "street")
    weights = source_weights(data, np.arange(len(data.areas)), seed=0)
    assert weights["noise"] < 0.3
    assert min(weights["sat"], weights["street"]) > 0.9


def test_source_dropout_takes_its_share_and_never_all_sources() -> None:
    layer = SourceDropout(0.5)
    layer.generator = torch.Generator().manual_seed(0)
    there = torch.ones(4000, 2, dtype=torch.bool)
    there[:1000, 1] = False
    left = layer(there)
    assert left.any(1).all()
    assert not left[:1000, 1].any()
    # Of two sources one is taken with 2 x .25; both, which are put back, and none with .25 each.
    assert float((left[1000:].sum(1) == 1).float().mean()) == pytest.approx(0.5, abs=0.03)
    layer.eval()
    assert torch.equal(layer(there), there)


def test_a_network_averages_over_the_sources_that_a_location_has() -> None:
    data = World.of(0).data("sat", "street")
    settings = TrainSettings(ensemble_size=1, device="cpu")
    network = Network(0, [1], settings, parts=data.parts).eval()
    torch.nn.init.normal_(network.score.weight)
    views = torch.from_numpy(data.features[:5])
    there = torch.ones(5, 4, dtype=torch.bool)
    only = {name: there.clone() for name in ("sat", "street")}
    only["sat"][:, 1:] = False
    only["street"][:, :1] = False

    def pooled(present: torch.Tensor) -> torch.Tensor:
        return network._over_sources(views, present)[0]

    mean = (pooled(only["sat"]) + pooled(only["street"])) / 2
    torch.testing.assert_close(pooled(there), mean)


@pytest.mark.parametrize("learner", ["kernel", "stack"])
def test_a_bundle_knows_its_sources_and_predicts_the_same_when_it_is_read(
    tmp_path: Path, learner: str
) -> None:
    data = World.of(0).data("sat", "street")
    rows = np.arange(len(data.areas))
    code = rows // LOCATIONS
    settings = TrainSettings.model_validate(
        {"learner": learner, "ensemble_size": 1, "epochs": 2, "device": "cpu"}
    )
    split = Split("all", 0, rows[code % 5 > 0], rows[code % 5 == 0], rows[:0], {})
    model, record = fit_learner(data, split, settings, seed=1)
    source = {
        "parts": [part.as_json() for part in data.parts],
        "sources": {"sat": {"views": ["1"]}, "street": {"views": ["1", "2", "3"]}},
    }
    bundle = Bundle(model, ("income",), "all", settings, 1, "", record, source)
    bundle.save(tmp_path / "bundle")
    read = Bundle.load(tmp_path / "bundle")
    assert [*read.sources] == ["sat", "street"]
    before, after = (each.predict(data.features, data.present) for each in (bundle, read))
    np.testing.assert_array_equal(before.score, after.score)
