"""Every way to hold out areas: folds, blocks, buffers, districts, classes. No torch in here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streetgauge.splits.blocks import block_side, second_folds
    from streetgauge.splits.folds import area_folds, validation_part
    from streetgauge.splits.membership import (
        areas_in_two_parts,
        folds_frame,
        never_used,
        read_splits,
        split_locations,
        split_notes,
        splits_frame,
        stored_folds,
    )
    from streetgauge.splits.schemes import Split, make_splits
    from streetgauge.splits.shares import take_share
    from streetgauge.splits.splitter import AreaSplit

_MODULES = {
    "area_folds": "folds",
    "validation_part": "folds",
    "block_side": "blocks",
    "second_folds": "blocks",
    "areas_in_two_parts": "membership",
    "folds_frame": "membership",
    "never_used": "membership",
    "read_splits": "membership",
    "split_locations": "membership",
    "split_notes": "membership",
    "splits_frame": "membership",
    "stored_folds": "membership",
    "Split": "schemes",
    "make_splits": "schemes",
    "AreaSplit": "splitter",
    "take_share": "shares",
}

__all__ = [
    "AreaSplit",
    "Split",
    "area_folds",
    "areas_in_two_parts",
    "block_side",
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
    "validation_part",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
