"""Every picture through the frozen network, into a store; stopped at any time, and resumed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from os import cpu_count
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from streetgauge.devices import working_threads
from streetgauge.errors import InputError
from streetgauge.features.backbones import Backbone, get_backbone
from streetgauge.features.network import Network, load_network
from streetgauge.features.store import FeatureStore, usable
from streetgauge.features.transform import prepare, transform_json
from streetgauge.imagery import PictureError, read_picture
from streetgauge.progress import Progress, silent
from streetgauge.skips import skips_frame

__all__ = ["extract_pictures"]

Pixels = npt.NDArray[np.uint8]
# Of a picture: its features, or why it could not be read.
Looked = npt.NDArray[np.float32] | PictureError

# Chunks a core that may be under way or waiting to be written: bounds the memory.
AHEAD = 2


@dataclass(frozen=True)
class _Picture:
    """One picture, with its place in the store."""

    slot: int
    place: int  # of the view
    location: str
    view: str
    path: str


Chunk = list[_Picture]
Skip = dict[str, str | None]


def extract_pictures(
    views: pd.DataFrame,
    locations: Sequence[str],
    path: Path,
    backbone: str | Backbone = "efficientnet-lite0",
    *,
    view_names: Sequence[str],
    require: Literal["all", "any"] = "all",
    device: str = "auto",
    batch: int = 64,
    stamp: str = "",
    progress: Progress = silent,
) -> pd.DataFrame:
    """Compute the features of pictures into a store.

    Locations go through the network in chunks that depend on the input alone, so that a run that
    was stopped and resumed writes the same bytes as one that was not. A store at ``path`` with the
    same stamp, locations, views and backbone is resumed; any other store is replaced.

    Parameters
    ----------
    views : DataFrame
        ``location_id``, ``view``, ``path``, as `streetgauge.imagery.find_views` gives them.
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
        Whether a location with a broken picture is left out, or kept without that view.
    device : {"auto", "cpu", "cuda", "mps"}
        Where the network runs.
    batch : int
        Pictures at a time, rounded down to whole locations, at least one.
    stamp : str
        Hash of all inputs and settings: what must be equal to resume.
    progress : Progress
        Told of every picture.

    Returns
    -------
    DataFrame
        ``location_id, view, area, stage, reason``: one row for every picture that could not be
        read. The same rows whether or not the run was stopped on the way.

    Raises
    ------
    InputError
        If the backbone or the device is not there, ``views`` has a picture twice, or the file at
        ``path`` is something else than a store.
    """
    record = get_backbone(backbone) if isinstance(backbone, str) else backbone
    ids = sorted({str(location) for location in locations})
    names = [str(view) for view in view_names]
    store = _store(path, ids, names, record, stamp)
    chunks = _chunks(views, ids, names, require, max(1, batch // len(names)))
    skips: list[Skip] = []
    pending = [chunk for chunk in chunks if not _is_settled(store, chunk, record, skips)]
    if pending:
        network = load_network(record, device)
        total = sum(map(len, pending))
        with working_threads() as pool, progress("features", total, "pictures") as advance:
            for chunk, looked in _look_ahead(pending, network, pool):
                skips += _keep(store, chunk, looked, require)
                advance(len(chunk))
    suffix = ", and all views are needed" if require == "all" else ""
    for skip in skips:
        skip["reason"] = f"{skip['reason']}{suffix}"
    return skips_frame(skips)


def _store(
    path: Path, ids: list[str], views: list[str], backbone: Backbone, stamp: str
) -> FeatureStore:
    """Open the store to go on with, or make a new one."""
    attributes = {
        "backbone": backbone.name,
        "weights_sha256": backbone.sha256,
        "transform": transform_json(backbone),
        "stamp": stamp,
        "licence": backbone.licence,
    }
    if path.exists():
        store = FeatureStore.open(path, writable=True)
        same = (
            attributes.items() <= store.attributes.items()
            and list(store.views) == views
            and store.location_ids.tolist() == ids
        )
        if same:
            return store
    return FeatureStore.create(path, ids, views, backbone.dimension, attributes)


def _chunks(
    views: pd.DataFrame, ids: list[str], names: list[str], require: str, size: int
) -> list[Chunk]:
    """Pictures in the order of the store, a fixed number of locations at a time."""
    slot_of = {location: slot for slot, location in enumerate(ids)}
    place_of = {view: place for place, view in enumerate(names)}
    found: dict[int, dict[int, _Picture]] = {}
    columns = (views[name].tolist() for name in ("location_id", "view", "path"))
    for location, view, path in zip(*columns, strict=True):
        if location not in slot_of or view not in place_of:
            continue  # find_views has said so, or the caller wants only some locations
        picture = _Picture(slot_of[location], place_of[view], location, view, path)
        if found.setdefault(picture.slot, {}).setdefault(picture.place, picture) is not picture:
            raise InputError(f"location {location!r}", f"view {view!r} has two pictures")
    needed = len(names) if require == "all" else 1
    slots = [slot for slot in sorted(found) if len(found[slot]) >= needed]
    return [
        [found[slot][place] for slot in slots[i : i + size] for place in sorted(found[slot])]
        for i in range(0, len(slots), size)
    ]


def _is_settled(store: FeatureStore, chunk: Chunk, backbone: Backbone, skips: list[Skip]) -> bool:
    """Whether a run before this one has finished the chunk; its broken pictures go to ``skips``.

    Why a picture was broken is found by reading it again. If it is whole now, the chunk is redone.
    """
    if not all(store.tried[picture.slot] for picture in chunk):
        return False
    broken = [picture for picture in chunk if not store.present[picture.slot, picture.place]]
    reasons = [_read(picture.path, backbone) for picture in broken]
    if not all(isinstance(reason, PictureError) for reason in reasons):
        return False
    skips += [_skip(p, r) for p, r in zip(broken, reasons, strict=True)]  # type: ignore[arg-type]
    return True


def _look_ahead(
    chunks: list[Chunk], network: Network, pool: Executor
) -> Iterator[tuple[Chunk, list[Looked]]]:
    """Chunks with their features, in order; the next few are worked on meanwhile."""
    waiting: deque[tuple[Chunk, Future[list[Looked]]]] = deque()
    for chunk in chunks:
        waiting.append((chunk, pool.submit(_look, chunk, network)))
        if len(waiting) > AHEAD * (cpu_count() or 1):
            first, future = waiting.popleft()
            yield first, future.result()
    for first, future in waiting:
        yield first, future.result()


def _look(chunk: Chunk, network: Network) -> list[Looked]:
    """Read the pictures of a chunk and compute the features of those that are whole."""
    pictures = [_read(picture.path, network.backbone) for picture in chunk]
    whole = [pixels for pixels in pictures if not isinstance(pixels, PictureError)]
    features = iter(network.features(np.stack(whole)) if whole else ())
    return [one if isinstance(one, PictureError) else next(features) for one in pictures]


def _keep(store: FeatureStore, chunk: Chunk, looked: list[Looked], require: str) -> list[Skip]:
    """Write one chunk to the store; say which pictures were broken."""
    slots = sorted({picture.slot for picture in chunk})
    row_of = {slot: row for row, slot in enumerate(slots)}
    _, n_views, dimension = store.features.shape
    features = np.zeros((len(slots), n_views, dimension), dtype=np.float32)
    present = np.zeros((len(slots), n_views), dtype=bool)
    skips = []
    for picture, one in zip(chunk, looked, strict=True):
        if isinstance(one, PictureError):
            skips.append(_skip(picture, one))
        else:
            features[row_of[picture.slot], picture.place] = one
            present[row_of[picture.slot], picture.place] = True
    store.write(slots, features, present, usable(present, require))
    return skips


def _read(path: str, backbone: Backbone) -> Pixels | PictureError:
    """One picture, ready for the network, or why not."""
    try:
        return prepare(read_picture(path), backbone)
    except PictureError as error:
        return error


def _skip(picture: _Picture, error: PictureError) -> Skip:
    return {"location_id": picture.location, "view": picture.view, "reason": error.reason}
