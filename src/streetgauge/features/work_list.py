"""Which images a store is made of, each with its place in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from streetgauge.errors import InputError
from streetgauge.imagery import ImageSource, image_sources
from streetgauge.skips import skips_frame

__all__ = ["WorkList", "Positions", "Reasons"]

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
        views are left out, as are locations that lack a view if all are required.
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
    slots, places : array of int, [P]
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
        places = pd.Index(self.view_names, dtype="str").get_indexer(pd.Index(views["view"]))
        kept = np.flatnonzero((slots >= 0) & (places >= 0))
        where = slots[kept] * len(self.view_names) + places[kept]
        _refuse_twice(views, kept, where)
        counts = np.bincount(slots[kept], minlength=len(self.ids))
        needed = len(self.view_names) if require == "all" else 1
        enough = counts[slots[kept]] >= needed
        kept, where = kept[enough], where[enough]
        absent = {name: value for name, value in _PLAIN.items() if name not in views}
        views = views.assign(**absent).iloc[kept]
        streamed = (views["member"] != "").to_numpy()
        # Archives are in the order of reading; plain files can be read in any.
        order = np.arange(len(kept)) if streamed.any() else np.argsort(where, kind="stable")
        self.slots: Positions = slots[kept][order]
        self.places: Positions = places[kept][order]
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
            (self.ids[slot], self.view_names[place])
            for slot, place in zip(self.slots[positions], self.places[positions], strict=True)
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
        chosen[self.slots[at], self.places[at]] = True
        return chosen

    def counts(self, positions: Positions | None = None) -> Positions:
        """How many images, of these, each location has: [N]."""
        slots = self.slots if positions is None else self.slots[positions]
        return np.bincount(slots, minlength=len(self.ids))


def _refuse_twice(views: pd.DataFrame, kept: Positions, where: Positions) -> None:
    order = np.argsort(where, kind="stable")
    again = np.flatnonzero(np.diff(where[order]) == 0)
    if len(again):
        location, view = views[["location_id", "view"]].iloc[kept[order[again[0]]]]
        raise InputError(f"location {location!r}", f"view {view!r} has two images")
