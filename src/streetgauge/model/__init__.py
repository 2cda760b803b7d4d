"""The model: the binomial head, the network, the training loop, cross-validation, bundles.

Names are imported when they are asked for: torch takes a second.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streetgauge.model.bundle import Bundle
    from streetgauge.model.classifier import BinomialOrdinalClassifier
    from streetgauge.model.crossvalidation import cross_validate
    from streetgauge.model.fitting import fit_model
    from streetgauge.model.model import Model, Predictions
    from streetgauge.model.network import Network
    from streetgauge.model.training import train_network


_MODULES = {
    "cross_validate": "crossvalidation",
    "Bundle": "bundle",
    "Model": "model",
    "Predictions": "model",
    "fit_model": "fitting",
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
    "cross_validate",
    "fit_model",
    "train_network",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
