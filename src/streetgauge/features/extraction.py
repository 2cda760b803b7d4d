"""What a run of extraction has to know, wherever it is done: the images, the network, the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from streetgauge.errors import InputError
from streetgauge.features.backbones import Backbone
from streetgauge.features.lookup import get_backbone
from streetgauge.imagery import ImageSource, image_sources
from streetgauge.skips import skips_frame


@dataclass(frozen=True, eq=False)
class Extraction:
    """Images, the network for them, and the store for its features.

    Parameters
    ----------
    views : DataFrame
        ``location_id``, ``view``, ``path`` and so on, as `streetgauge.imagery.find_views` gives
        them.
    locations : sequence of str
        The locations that the store has a slot for. With ``require="all"`` those of them that
        lack a view in ``views`` are not read.
    path : Path
        The store.
    backbone : str or Backbone
        The network.
    view_names : sequence of str
        The views, in the store's order.
    require : {"all", "any"}
        Whether a location with a broken image is excluded, or used without that view.
    device : {"auto", "cpu", "cuda", "mps"}
        Where the network runs; with "auto" a store that is resumed retains its own.
    engine : {"auto", "torch", "openvino", "onnxruntime"}
        What computes it; with "auto" a store that is resumed retains its own.
    precision : {"float32", "bfloat16", "int8"}
        What it is computed in.
    dtype : {"float32", "float16"}
        How features are stored.
    cache_key : str
        Hash of all inputs and settings: what must be equal to resume without reading the
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
        """List which images are read in which order, and where each belongs.

        Raises
        ------
        InputError
            If a view has two images.
        """
        return WorkList(self.views, self.locations, self.view_names, self.require)


Positions = npt.NDArray[np.intp]
# Why images could not be used, by location and view: an image has one reason.
Reasons = dict[tuple[str, str], str]

# Of an image that is a file of its own, and whole.
_PLAIN: dict[str, Any] = {
    "member": "",
    **dict.fromkeys(("heading", "panorama_heading", "pitch", "fov", "size"), np.nan),
}


class WorkList:
    """P images in the order in which they are best read, and where each belongs.

    Parameters
    ----------
    views : DataFrame
        As `streetgauge.imagery.find_views` gives them, in any order. Rows of other locations and
        views are excluded, as are locations that lack a view if all are required.
    locations : iterable of str
        Those of the store.
    view_names : sequence of str
        Those of the store, in its order.
    require : {"all", "any"}
        What a location must have.

    Attributes
    ----------
    ids : list of str, [N]
        Locations, sorted.
    slots, columns : array of int, [P]
        Row and view of each image in the store.
    streamed : array of bool, [P]
        Whether it lies in an archive.
    """

    def __init__(
        self, views: pd.DataFrame, locations: Iterable[str], view_names: Sequence[str], require: str
    ) -> None:
        self.ids = sorted({str(location) for location in locations})
        self.view_names = [str(view) for view in view_names]
        self.require = require
        slots = pd.Index(self.ids, dtype="str").get_indexer(pd.Index(views["location_id"]))
        columns = pd.Index(self.view_names, dtype="str").get_indexer(pd.Index(views["view"]))
        usable = np.flatnonzero((slots >= 0) & (columns >= 0))
        where = slots[usable] * len(self.view_names) + columns[usable]
        _refuse_twice(views, usable, where)
        counts = np.bincount(slots[usable], minlength=len(self.ids))
        needed = len(self.view_names) if require == "all" else 1
        enough = counts[slots[usable]] >= needed
        usable, where = usable[enough], where[enough]
        absent = {name: value for name, value in _PLAIN.items() if name not in views}
        views = views.assign(**absent).iloc[usable]
        streamed = (views["member"] != "").to_numpy()
        # Archives are in the order of reading; plain files can be read in any.
        order = np.arange(len(usable)) if streamed.any() else np.argsort(where, kind="stable")
        self.slots: Positions = slots[usable][order]
        self.columns: Positions = columns[usable][order]
        self.streamed = streamed[order]
        self._views = views.iloc[order]

    def __len__(self) -> int:
        return len(self.slots)

    def table(self, positions: Positions) -> pa.Table:
        """Where these images are, as `image_sources` takes it, and their positions as ``index``."""
        frame = self._views.iloc[positions][["path", *_PLAIN]].assign(index=positions)
        return pa.Table.from_pandas(frame, preserve_index=False)

    def rows(self, positions: Positions) -> list[ImageSource]:
        """Where these images are."""
        return image_sources(self._views.iloc[positions])

    def names(self, positions: Positions) -> list[tuple[str, str]]:
        """Location and view of these images."""
        return [
            (self.ids[slot], self.view_names[column])
            for slot, column in zip(self.slots[positions], self.columns[positions], strict=True)
        ]

    def reasons(self, positions: Positions, reasons: Sequence[str | None]) -> Reasons:
        """Why those of some images that cannot be used are not; None of the others."""
        named = zip(self.names(positions), reasons, strict=True)
        return {name: reason for name, reason in named if reason is not None}

    def skips(self, reasons: Reasons) -> pd.DataFrame:
        """Images that cannot be used as a frame of skips, one row each."""
        suffix = ", and all views are needed" if self.require == "all" else ""
        return skips_frame(
            {"location_id": location, "view": view, "reason": f"{reason}{suffix}"}
            for (location, view), reason in reasons.items()
        )

    def mask(self, positions: Positions | None = None) -> npt.NDArray[np.bool_]:
        """Which of the store's views are among these images: [N, V]."""
        chosen = np.zeros((len(self.ids), len(self.view_names)), dtype=bool)
        at = slice(None) if positions is None else positions
        chosen[self.slots[at], self.columns[at]] = True
        return chosen

    def counts(self, positions: Positions | None = None) -> Positions:
        """How many images, of these, each location has: [N]."""
        slots = self.slots if positions is None else self.slots[positions]
        return np.bincount(slots, minlength=len(self.ids))


def _refuse_twice(views: pd.DataFrame, usable: Positions, where: Positions) -> None:
    order = np.argsort(where, kind="stable")
    again = np.flatnonzero(np.diff(where[order]) == 0)
    if len(again):
        location, view = views[["location_id", "view"]].iloc[usable[order[again[0]]]]
        raise InputError(
            f"location {location!r}", f"view {view!r} has two images", "remove one of the two"
        )
