"""Pictures, or tables of numbers, as one vector a view; and the file that keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streetgauge.features.backbones import BACKBONES, Backbone, get_backbone
from streetgauge.features.store import FeatureStore
from streetgauge.features.transform import prepare

if TYPE_CHECKING:
    from streetgauge.features._columns import read_columns
    from streetgauge.features.cluster import extract_on_cluster
    from streetgauge.features.export import export_store
    from streetgauge.features.extract import extract_pictures
    from streetgauge.features.extraction import Extraction
    from streetgauge.features.intake import take_in_shards
    from streetgauge.features.network import Network, load_network
    from streetgauge.features.table import join_table
    from streetgauge.features.weights import settled

__all__ = [
    "BACKBONES",
    "Backbone",
    "Extraction",
    "FeatureStore",
    "Network",
    "export_store",
    "extract_on_cluster",
    "extract_pictures",
    "get_backbone",
    "join_table",
    "load_network",
    "prepare",
    "read_columns",
    "settled",
    "take_in_shards",
]

# What needs torch or scipy is imported when first asked for.
_LATE = {
    "Extraction": "extraction",
    "Network": "network",
    "export_store": "export",
    "extract_on_cluster": "cluster",
    "extract_pictures": "extract",
    "join_table": "table",
    "load_network": "network",
    "read_columns": "_columns",
    "settled": "weights",
    "take_in_shards": "intake",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
