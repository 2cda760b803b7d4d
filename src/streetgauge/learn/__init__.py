"""Learning: the binomial head, the network, folds, the training loop, bundles.

Names are imported when they are asked for: folds need no torch, and torch takes a second.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streetgauge.learn.bundle import Bundle
    from streetgauge.learn.classifier import BinomialOrdinalClassifier
    from streetgauge.learn.crossvalidation import cross_validate
    from streetgauge.learn.folds import area_folds, validation_part
    from streetgauge.learn.model import Model, Predictions, fit_model
    from streetgauge.learn.network import Network
    from streetgauge.learn.training import train_network

_MODULES = {
    "area_folds": "folds",
    "validation_part": "folds",
    "cross_validate": "crossvalidation",
    "Bundle": "bundle",
    "Model": "model",
    "Predictions": "model",
    "fit_model": "model",
    "Network": "network",
    "train_network": "training",
    "BinomialOrdinalClassifier": "classifier",
}

__all__ = [
    "BinomialOrdinalClassifier",
    "Bundle",
    "Model",
    "Network",
    "Predictions",
    "area_folds",
    "cross_validate",
    "fit_model",
    "train_network",
    "validation_part",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
