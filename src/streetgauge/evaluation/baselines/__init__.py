"""What is known of an area without an image, or by the plainest use of one, in the same folds.

Every method knows the actual deciles of the very areas that the network of an area's fold could
train on, no more and no fewer.
"""

from streetgauge.evaluation.baselines.folds import (
    Chance,
    Folds,
    Method,
    constant,
    middle,
    out_of_fold,
)
from streetgauge.evaluation.baselines.methods import (
    CHANCE,
    CONSTANT,
    BaselinePrediction,
    Baselines,
    density,
)
from streetgauge.evaluation.baselines.placements import BetterPlaced, Placements
from streetgauge.evaluation.baselines.ridge import Ridge, RidgeAndKriging, smooth_columns
from streetgauge.evaluation.baselines.spatial import Kriging, Nearest

__all__ = [
    "CHANCE",
    "CONSTANT",
    "Baselines",
    "BetterPlaced",
    "Chance",
    "Folds",
    "BaselinePrediction",
    "Kriging",
    "Method",
    "Nearest",
    "Placements",
    "Ridge",
    "RidgeAndKriging",
    "constant",
    "density",
    "middle",
    "out_of_fold",
    "smooth_columns",
]
