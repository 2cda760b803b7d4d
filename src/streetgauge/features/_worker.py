"""What the machines of a cluster do: chunks of pictures decoded, computed, and written as shards.

A chunk travels as one row of a table. Its column ``chunk`` is text that says which pictures it is
of, ``data`` is their pixels and then their features, of those alone that could be used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from streetgauge.devices import working_threads
from streetgauge.errors import InputError
from streetgauge.features._nodes import NodeError
from streetgauge.features.backbones import Backbone
from streetgauge.features.network import Network, load_network
from streetgauge.features.preprocess import NOT_FINITE, PASS, features_of, preprocess_batch
from streetgauge.features.shards import ShardHeader, Skip, write_shard
from streetgauge.features.store import SIGNATURE
from streetgauge.features.work_list import Positions, WorkList
from streetgauge.imagery import QUALITY, PictureAt, raw_pictures
from streetgauge.imagery.panoramas import Cut

__all__ = ["Job", "Look", "decode", "packed", "try_network", "write"]

# Pictures that one thread of an actor computes at a time.
PART = 2 * PASS


@dataclass(frozen=True)
class Job:
    """What every worker is told.

    Parameters
    ----------
    folder : str
        Of the shards, the same path on every machine.
    token : str
        Name of a file in it, by which a machine sees that the folder is shared.
    backbone : Backbone
        The network.
    device, engine, precision : str
        Where and how it is computed.
    header : ShardHeader
        Of the shards.
    cores : dict of str to int
        Of each machine, by Ray's id of it.
    """

    folder: str
    token: str
    backbone: Backbone
    device: str
    engine: str
    precision: str
    header: ShardHeader
    cores: dict[str, int]


def packed(work_list: WorkList, positions: Positions) -> str:
    """One chunk as text: what a worker must know of its pictures."""
    return json.dumps(
        {
            "names": work_list.names(positions),
            "places": work_list.places[positions].tolist(),
            "rows": work_list.rows(positions),
        },
        ensure_ascii=False,
    )


def try_network(backbone: Backbone, device: str, engine: str, precision: str) -> dict[str, Any]:
    """Load a network on a worker and say what it is."""
    network = _loaded(backbone, device, engine, precision)
    names = ("engine", "device", "cosine", "batch")
    return {name: getattr(network, name) for name in names}


def _loaded(backbone: Backbone, device: str, engine: str, precision: str) -> Network:
    try:
        return load_network(backbone, device, engine, precision)  # type: ignore[arg-type]
    except InputError as error:
        raise NodeError.here(error.subject, error.reason, error.next_step) from None


def decode(table: pa.Table, job: Job) -> Iterator[pa.Table]:
    """Read the pictures of some chunks and prepare them for the network."""
    _require_shared(job)
    texts = table["chunk"].to_pylist()
    chunks = [_rows(json.loads(text)) for text in texts]
    raws = raw_pictures(row for rows in chunks for row in rows)
    for text, rows in zip(texts, chunks, strict=True):
        looked = preprocess_batch(rows, list(islice(raws, len(rows))), job.backbone)
        _require_pictures(rows, looked.reasons)
        yield _table(
            chunk=text,
            reasons=json.dumps(looked.reasons, ensure_ascii=False),
            signatures=looked.signatures,
            quality=looked.quality,
            data=looked.pixels[looked.whole],
        )


def _rows(chunk: dict[str, Any]) -> list[PictureAt]:
    return [
        PictureAt(path, member, None if cut is None else Cut(*cut))
        for path, member, cut in chunk["rows"]
    ]


class Look:
    """The network on a worker, for as long as it lasts, and pixels turned into features by it.

    Parameters
    ----------
    job : Job
        Which network.
    """

    def __init__(self, job: Job) -> None:
        ray: Any = import_module("ray")
        self._side = job.backbone.crop
        self._network: Network | NodeError
        try:
            self._network = _loaded(job.backbone, job.device, job.engine, job.precision)
        except NodeError as error:  # an actor that dies while it starts would not say why
            self._network = error
        node = ray.get_runtime_context().get_node_id()
        self._stack = ExitStack()
        self._pool = self._stack.enter_context(working_threads(job.cores.get(node)))

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Replace the pixels of chunks by features."""
        for row in range(table.num_rows):
            pixels = _array(table, "data", row, np.uint8).reshape(-1, self._side, self._side, 3)
            features = self._features(pixels)
            kept = {name: table[name][row].as_py() for name in table.column_names if name != "data"}
            bad = ~np.logical_and.reduce(np.isfinite(features), axis=1)
            if bad.any():
                kept |= _without(kept, bad)
            yield _table(**kept, data=features[~bad])

    def _features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        network = self._network
        if isinstance(network, NodeError):
            raise network
        if network.device != "cpu" or not len(pixels):
            features: npt.NDArray[np.float32] = self._pool.submit(
                features_of, network, pixels
            ).result()
            return features
        parts = [pixels[start : start + PART] for start in range(0, len(pixels), PART)]
        return np.concatenate(list(self._pool.map(lambda part: features_of(network, part), parts)))


def _without(kept: dict[str, Any], bad: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Leave out pictures, counted among those that could be read, of which no number is finite."""
    reasons = json.loads(kept["reasons"])
    places = np.flatnonzero([reason is None for reason in reasons])[bad]
    quality = np.frombuffer(kept["quality"], dtype=QUALITY).copy()
    quality[places] = np.zeros((), dtype=QUALITY)
    for place in places:
        reasons[place] = NOT_FINITE
    return {"reasons": json.dumps(reasons, ensure_ascii=False), "quality": quality.tobytes()}


def write(table: pa.Table, job: Job) -> pa.Table:
    """Write the features of some chunks as one shard; say how many pictures it is of."""
    _require_shared(job)
    chunks = [json.loads(text) for text in table["chunk"].to_pylist()]
    ids = sorted({location for chunk in chunks for location, _ in chunk["names"]})
    row_of = {location: row for row, location in enumerate(ids)}
    shape = (len(ids), len(job.header.views))
    features = np.zeros((*shape, job.header.dimension), dtype=np.float32)
    present = np.zeros(shape, dtype=bool)
    signatures = np.zeros((*shape, SIGNATURE), dtype=np.uint8)
    quality = np.zeros(shape, dtype=QUALITY)
    skips: list[Skip] = []
    for number, chunk in enumerate(chunks):
        rows = np.array([row_of[location] for location, _ in chunk["names"]])
        places = np.array(chunk["places"])
        reasons = json.loads(table["reasons"][number].as_py())
        whole = np.array([reason is None for reason in reasons])
        data = _array(table, "data", number, np.float32).reshape(-1, job.header.dimension)
        features[rows[whole], places[whole]] = data
        present[rows, places] = whole
        found = _array(table, "signatures", number, np.uint8)
        signatures[rows, places] = found.reshape(-1, SIGNATURE)
        quality[rows, places] = _array(table, "quality", number, QUALITY)
        skips += [
            {"location_id": location, "view": view, "reason": reason}
            for (location, view), reason in zip(chunk["names"], reasons, strict=True)
            if reason is not None
        ]
    arrays = (features, present, signatures, quality)
    try:
        write_shard(Path(job.folder), job.header, ids, *arrays, skips)
    except OSError as error:
        raise NodeError.here(job.folder, f"a shard cannot be written: {error.strerror}") from None
    except InputError as error:
        raise NodeError.here(error.subject, error.reason, error.next_step) from None
    return pa.table({"pictures": [sum(len(chunk["names"]) for chunk in chunks)]})


def _table(**columns: Any) -> pa.Table:
    """One row; arrays become bytes."""
    return pa.table(
        {
            name: pa.array([value.tobytes()], pa.large_binary())
            if isinstance(value, np.ndarray)
            else pa.array([value], pa.large_binary() if isinstance(value, bytes) else pa.string())
            for name, value in columns.items()
        }
    )


def _array(table: pa.Table, name: str, row: int, dtype: Any) -> npt.NDArray[Any]:
    """Look at a row's bytes where they lie."""
    buffer = table[name][row].as_buffer()
    return np.frombuffer(buffer, dtype=dtype) if len(buffer) else np.zeros(0, dtype=dtype)


def _require_shared(job: Job) -> None:
    """Refuse to work on a machine, perhaps come later, that does not see the shards' folder."""
    if not (Path(job.folder) / job.token).exists():
        raise NodeError.here(
            job.folder, "this folder is not there", "share it at the same path on every machine"
        )


def _require_pictures(rows: Sequence[PictureAt], reasons: Sequence[str | None]) -> None:
    """Refuse to call pictures missing on a machine that does not see their folder at all."""
    for row, reason in zip(rows, reasons, strict=True):
        if reason is not None and "://" not in row.path and not Path(row.path).parent.is_dir():
            raise NodeError.here(
                row.path, "this picture cannot be read there", "share its folder at the same path"
            )
