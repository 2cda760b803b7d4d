"""A world of two sources that each carry half of what the outcome follows from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from streetgauge.features.joint import Part
from streetgauge.model.learners import fit_learner
from streetgauge.model.training_data import TrainingData
from streetgauge.settings import TrainSettings
from streetgauge.splits.folds import Split

AREAS, LOCATIONS, TESTED = 200, 3, 60


@dataclass(frozen=True)
class Views:
    """Views [N, V, D] of one source, and which locations have it."""

    features: NDArray[np.float32]
    here: NDArray[np.bool_]


@dataclass(frozen=True)
class World:
    """Locations of areas whose decile is that of the sum of two hidden numbers."""

    sources: dict[str, Views]
    deciles: NDArray[np.float64]
    areas: NDArray[np.str_]

    @classmethod
    def of(cls, seed: int) -> World:
        """Draw it: each source shows one of the numbers, with noise; ``noise`` shows nothing."""
        rng = np.random.default_rng(seed)
        hidden = rng.normal(size=(AREAS, 2))
        decile = np.ceil(rankdata(hidden.sum(axis=1)) / AREAS * 10)
        area = np.repeat(np.arange(AREAS), LOCATIONS)
        n = len(area)
        sources = {}
        for name, shown, views, dimension in (("sat", 0, 1, 8), ("street", 1, 3, 12)):
            features = rng.normal(size=(n, views, dimension))
            features[..., 0] += 1.5 * hidden[area, shown, None]
            sources[name] = Views(features.astype(np.float32), np.ones(n, np.bool_))
        noise = rng.normal(size=(n, 1, 512)).astype(np.float32)
        sources["noise"] = Views(noise, np.ones(n, np.bool_))
        return cls(sources, decile, np.array([f"a{a:03d}" for a in area]))

    def lacking(self, name: str, areas: NDArray[np.bool_]) -> World:
        """Give the world where some areas [A] lack a source; what it held there is garbage now."""
        gone = np.repeat(areas, LOCATIONS)
        views = self.sources[name].features.copy()
        views[gone] = np.nan
        return World({**self.sources, name: Views(views, ~gone)}, self.deciles, self.areas)

    def data(self, *names: str) -> TrainingData:
        """Put some of the sources side by side, in the order given, as a joint store would."""
        chosen = {name: self.sources[name] for name in names}
        parts = Part.in_order({n: each.features.shape[1:] for n, each in chosen.items()})
        return joined(chosen, parts, self)

    def rho(self, *names: str, **settings: object) -> float:
        """Train on some of the areas by these sources, and give Spearman's rho of the others."""
        predicted, truth = self.predictions(self.data(*names), **settings)
        return float(spearmanr(predicted, truth).statistic)

    def predictions(
        self, data: TrainingData, **settings: object
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give the mean scores and the deciles of the tested areas."""
        rows = np.arange(len(self.areas))
        code = rows // LOCATIONS
        test, rest = rows[code >= AREAS - TESTED], rows[code < AREAS - TESTED]
        held = code[rest] % 7 == 0
        split = Split("fold-1", 1, rest[~held], rest[held], test, {})
        asked = {"learner": "kernel", "ensemble_size": 1, "epochs": 15, "device": "cpu"}
        asked |= {"precision": "float32", **settings}
        model, _ = fit_learner(data, split, TrainSettings.model_validate(asked), seed=3)
        score = model.predict(data.features, data.present, test, "cpu").score[:, 0]
        mean = score.reshape(-1, LOCATIONS).mean(axis=1)
        return mean, self.deciles[AREAS - TESTED :]


def joined(sources: Mapping[str, Views], parts: tuple[Part, ...], world: World) -> TrainingData:
    """Make training data of sources side by side."""
    n = len(world.areas)
    width = max(part.dimension for part in parts)
    features = np.zeros((n, sum(part.count for part in parts), width), np.float32)
    present = np.zeros(features.shape[:2], np.bool_)
    for part in parts:
        own = sources[part.name]
        features[own.here, part.views, : part.dimension] = own.features[own.here]
        present[own.here, part.views] = True
    ids = np.array([f"l{i:04d}" for i in range(n)])
    deciles = np.repeat(world.deciles, LOCATIONS)[:, None]
    if len(parts) == 1:
        parts = ()
    return TrainingData(features, present, deciles, world.areas, ids, ("income",), parts=parts)
