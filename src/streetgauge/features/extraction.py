"""What a run of extraction has to know, wherever it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from streetgauge.features.backbones import Backbone, get_backbone
from streetgauge.features.work_list import WorkList

__all__ = ["Extraction"]


@dataclass(frozen=True, eq=False)
class Extraction:
    """Images, the network that is to look at them, and the store for its features.

    Parameters
    ----------
    views : DataFrame
        ``location_id``, ``view``, ``path`` and so on, as `streetgauge.imagery.find_views` gives
        them.
    locations : sequence of str
        The locations that the store has a slot for. With ``require="all"`` those of them that
        lack a view in ``views`` are not looked at.
    path : Path
        The store.
    backbone : str or Backbone
        The network.
    view_names : sequence of str
        The views, in the store's order.
    require : {"all", "any"}
        Whether a location with a broken image is left out, or kept without that view.
    device : {"auto", "cpu", "cuda", "mps"}
        Where the network runs; with "auto" a store that is gone on with keeps its own.
    engine : {"auto", "torch", "openvino", "onnxruntime"}
        What computes it; with "auto" a store that is gone on with keeps its own.
    precision : {"float32", "bfloat16", "int8"}
        What it is computed in.
    dtype : {"float32", "float16"}
        How features are kept.
    cache_key : str
        Hash of all inputs and settings: what must be equal to resume without a look at the
        images.
    """

    views: pd.DataFrame
    locations: Sequence[str]
    path: Path
    backbone: str | Backbone = "efficientnet-lite0"
    _: KW_ONLY
    view_names: Sequence[str]
    require: Literal["all", "any"] = "all"
    device: str = "auto"
    engine: str = "auto"
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    dtype: Literal["float32", "float16"] = "float32"
    cache_key: str = ""

    @property
    def record(self) -> Backbone:
        """The network's record."""
        return get_backbone(self.backbone) if isinstance(self.backbone, str) else self.backbone

    def work_list(self) -> WorkList:
        """Say which images are read in which order, and where each belongs.

        Raises
        ------
        InputError
            If a view has two images.
        """
        return WorkList(self.views, self.locations, self.view_names, self.require)
