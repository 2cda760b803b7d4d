"""Learning: the binomial head, the network, folds, the training loop, bundles.

Names are imported when they are asked for: folds need no torch, and torch takes a second.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streetgauge.learn.blocks import block_side, second_folds
    from streetgauge.learn.bundle import Bundle
    from streetgauge.learn.classifier import BinomialOrdinalClassifier
    from streetgauge.learn.crossvalidation import cross_validate
    from streetgauge.learn.fitting import fit_model
    from streetgauge.learn.folds import area_folds, validation_part
    from streetgauge.learn.membership import (
        areas_in_two_parts,
        folds_frame,
        never_used,
        read_splits,
        split_locations,
        split_notes,
        splits_frame,
        stored_folds,
    )
    from streetgauge.learn.model import Model, Predictions
    from streetgauge.learn.network import Network
    from streetgauge.learn.shares import take_share
    from streetgauge.learn.splits import Split, make_splits
    from streetgauge.learn.splitter import AreaSplit
    from streetgauge.learn.training import train_network

_MODULES = {
    "area_folds": "folds",
    "validation_part": "folds",
    "block_side": "blocks",
    "second_folds": "blocks",
    "cross_validate": "crossvalidation",
    "Bundle": "bundle",
    "areas_in_two_parts": "membership",
    "folds_frame": "membership",
    "never_used": "membership",
    "read_splits": "membership",
    "split_locations": "membership",
    "split_notes": "membership",
    "splits_frame": "membership",
    "stored_folds": "membership",
    "Model": "model",
    "Predictions": "model",
    "fit_model": "fitting",
    "Network": "network",
    "Split": "splits",
    "make_splits": "splits",
    "AreaSplit": "splitter",
    "take_share": "shares",
    "train_network": "training",
    "BinomialOrdinalClassifier": "classifier",
}

__all__ = [
    "AreaSplit",
    "BinomialOrdinalClassifier",
    "Bundle",
    "Model",
    "Network",
    "Predictions",
    "Split",
    "area_folds",
    "areas_in_two_parts",
    "block_side",
    "cross_validate",
    "fit_model",
    "folds_frame",
    "make_splits",
    "never_used",
    "read_splits",
    "second_folds",
    "split_locations",
    "split_notes",
    "splits_frame",
    "stored_folds",
    "take_share",
    "train_network",
    "validation_part",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
